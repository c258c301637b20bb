//! The simulated world: rules of the trait under faults, what the disk keeps, and that a seed replays.

use super::super::driver::{
    BufferId, Driver, Event, FileOperation, FileOutcome, Notice, Segment, Socket, SocketOptions, Urgency, Wait,
};
use super::super::executor::Executor;
use super::super::operations::Operations;
use super::*;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

const SEEDS: u64 = 60;

fn address() -> Address {
    Address::Tcp("127.0.0.1:6379".parse().unwrap())
}

/// A connection of the echo server.
#[derive(Default)]
struct Echo {
    queue: VecDeque<u8>,
    is_receiving: bool,
    is_sending: bool,
    is_broken: bool,
    has_ended: bool,
}

/// A shard that sends back what it receives.
struct EchoShard {
    driver: SimulatedDriver,
    connections: BTreeMap<u32, Echo>,
    trace: String,
}

impl EchoShard {
    fn new(world: &World, shard: usize) -> Self {
        let mut driver = world.driver(shard);
        driver.listen(&address(), 128, true, 0).unwrap();
        Self { driver, connections: BTreeMap::new(), trace: String::new() }
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        self.driver.turn(Wait::Forever, &mut events).unwrap();
        for event in events {
            let now_ns = self.driver.clock().monotonic_ns;
            writeln!(self.trace, "{now_ns} {event:?}").unwrap();
            self.handle(event);
        }
        let sockets: Vec<u32> = self.connections.keys().copied().collect();
        for socket in sockets {
            self.go_on(socket);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                self.driver.configure(socket, SocketOptions { keepalive_s: 0, no_delay: true });
                self.driver.start_receiving(socket, u64::from(socket.0));
                let fresh = self.connections.insert(socket.0, Echo { is_receiving: true, ..Echo::default() });
                assert!(fresh.is_none(), "a socket that is in use was given out");
            }
            Event::Received { tag, buffer } => {
                let bytes = self.driver.received(buffer).to_vec();
                self.driver.recycle(buffer);
                let connection = self.connections.get_mut(&(tag as u32)).unwrap();
                assert!(connection.is_receiving && !bytes.is_empty());
                connection.queue.extend(bytes);
            }
            Event::ReceiveEnded { tag, result } => {
                let connection = self.connections.get_mut(&(tag as u32)).unwrap();
                assert!(std::mem::replace(&mut connection.is_receiving, false), "ended twice");
                connection.has_ended = true;
                connection.is_broken |= result.is_err();
            }
            Event::Sent { tag, segments, result } => {
                assert_eq!(segments.len(), 2);
                let connection = self.connections.get_mut(&(tag as u32)).unwrap();
                assert!(std::mem::replace(&mut connection.is_sending, false), "sent twice");
                connection.is_broken |= result.is_err();
            }
            Event::AcceptFailed { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn go_on(&mut self, number: u32) {
        let connection = self.connections.get_mut(&number).unwrap();
        if connection.is_broken && connection.is_receiving {
            return self.driver.shutdown(Socket(number));
        }
        if connection.is_sending {
            return;
        }
        if !connection.is_broken && !connection.queue.is_empty() {
            let mut first: Vec<u8> = connection.queue.drain(..).collect();
            let second = first.split_off(first.len() / 2);
            connection.is_sending = true;
            let segments = vec![Segment::Owned(first), Segment::Shared(bytes::Bytes::from(second))];
            self.driver.send(Socket(number), segments, u64::from(number), Notice::Prompt);
        } else if connection.has_ended {
            self.connections.remove(&number);
            self.driver.close(Socket(number));
        }
    }
}

/// Lets shards and world run until nothing more happens.
fn settle(world: &World, shards: &mut [EchoShard]) {
    for _ in 0..1_000_000 {
        let busy: Vec<usize> = (0..shards.len()).filter(|shard| shards[*shard].driver.has_events()).collect();
        if busy.is_empty() {
            if !world.step() {
                return;
            }
            continue;
        }
        let shard = busy[world.random(0..busy.len() as u64) as usize];
        shards[shard].turn();
    }
    panic!("never settles");
}

/// Clients write random amounts, read now and then, and end in all ways; the shards' traces.
fn echo_run(seed: u64, faults: Faults) -> String {
    let world = World::new(seed, 2, faults);
    let mut shards: Vec<EchoShard> = (0..2).map(|shard| EchoShard::new(&world, shard)).collect();
    let mut clients: Vec<(ClientEnd, Vec<u8>, Vec<u8>)> = Vec::new();
    for _ in 0..6 {
        clients.push((world.connect(&address()), Vec::new(), Vec::new()));
    }
    for _ in 0..40 {
        let (client, written, read) = &mut clients[world.random(0..6) as usize];
        let bytes: Vec<u8> = (0..world.random(1..400)).map(|_| world.random(0..256) as u8).collect();
        client.send(&bytes);
        written.extend(bytes);
        if world.random(0..3) == 0 {
            read.extend(client.receive());
        }
        world.advance(world.now_ns() + world.random(0..2_000_000));
        for shard in &mut shards {
            if shard.driver.has_events() {
                shard.turn();
            }
        }
    }
    for (client, ..) in &clients {
        client.finish_sending();
    }
    while !clients.iter().all(|(client, ..)| client.is_ended()) {
        settle(&world, &mut shards);
        for (client, _, read) in &mut clients {
            read.extend(client.receive());
        }
    }
    for (number, (client, written, read)) in clients.iter().enumerate() {
        assert!(written.starts_with(read), "seed {seed}, client {number}: other bytes came back");
        assert!(
            client.is_reset() || read == written,
            "seed {seed}, client {number}: {} of {}",
            read.len(),
            written.len()
        );
        assert!(!client.is_reset() || faults.reset_per_million > 0, "seed {seed}, client {number}");
    }
    drop(clients);
    settle(&world, &mut shards);
    for shard in &shards {
        assert!(shard.connections.is_empty(), "seed {seed}");
        assert_eq!(shard.driver.ends(Socket(1)).peer, "");
    }
    shards.into_iter().map(|shard| shard.trace.clone()).collect()
}

#[test]
fn every_byte_comes_back_in_order() {
    for seed in 0..SEEDS {
        echo_run(seed, Faults::calm());
        echo_run(seed, Faults::rough());
    }
}

#[test]
fn a_seed_replays_and_another_differs() {
    let first = echo_run(7, Faults::rough());
    assert!(first.len() > 10_000);
    assert!(first == echo_run(7, Faults::rough()));
    assert!(first != echo_run(8, Faults::rough()));
}

/// A driver, and turns with the world's time going on until `found` has something.
fn until<T>(world: &World, driver: &mut SimulatedDriver, mut found: impl FnMut(Event) -> Option<T>) -> T {
    for _ in 0..10_000 {
        let mut events = Vec::new();
        driver.turn(Wait::Forever, &mut events).unwrap();
        let mut result = None;
        for event in events {
            result = found(event).or(result);
        }
        if let Some(result) = result {
            return result;
        }
        if !driver.has_events() {
            assert!(world.step(), "nothing will happen");
        }
    }
    panic!("nothing happened");
}

fn accepted(world: &World, driver: &mut SimulatedDriver) -> Socket {
    until(world, driver, |event| match event {
        Event::Accepted { socket, .. } => Some(socket),
        _ => None,
    })
}

#[test]
fn a_client_that_does_not_read_holds_the_send_back() {
    let faults = Faults { window_bytes: 1000, ..Faults::calm() };
    let world = World::new(1, 1, faults);
    let mut driver = world.driver(0);
    driver.listen(&address(), 16, false, 0).unwrap();
    let client = world.connect(&address());
    let socket = accepted(&world, &mut driver);
    driver.send(socket, vec![Segment::Owned(vec![5; 2500])], 1, Notice::Prompt);
    let mut events = Vec::new();
    driver.turn(Wait::Not, &mut events).unwrap();
    while world.step() {
        driver.turn(Wait::Not, &mut events).unwrap();
    }
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(client.receive_up_to(700).len() + client.receive().len(), 1000);
    world.step();
    while world.step() {}
    let mut count = 1000;
    while count < 2500 {
        count += client.receive().len();
        assert!(count == 2500 || world.step());
    }
    let result = until(&world, &mut driver, |event| match event {
        Event::Sent { result, .. } => Some(result),
        _ => None,
    });
    assert!(result.is_ok());
}

#[test]
fn shutdown_ends_a_stalled_send_and_the_stream() {
    let world = World::new(1, 1, Faults { window_bytes: 10, ..Faults::calm() });
    let mut driver = world.driver(0);
    driver.listen(&address(), 16, false, 0).unwrap();
    let _client = world.connect(&address());
    let socket = accepted(&world, &mut driver);
    driver.start_receiving(socket, 1);
    driver.send(socket, vec![Segment::Owned(vec![5; 100])], 2, Notice::Prompt);
    driver.turn(Wait::Not, &mut Vec::new()).unwrap();
    driver.shutdown(socket);
    let (mut is_sent, mut is_ended) = (false, false);
    until(&world, &mut driver, |event| {
        match event {
            Event::Sent { result, .. } => is_sent = result.is_err(),
            Event::ReceiveEnded { .. } => is_ended = true,
            other => panic!("{other:?}"),
        }
        (is_sent && is_ended).then_some(())
    });
    driver.close(socket);
}

#[test]
fn resets_and_refusals_are_seen() {
    let world = World::new(3, 1, Faults::calm());
    assert!(world.connect(&address()).is_refused());
    let mut driver = world.driver(0);
    driver.listen(&address(), 16, false, 0).unwrap();
    assert_eq!(driver.listen(&address(), 16, false, 0).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let client = world.connect(&address());
    let socket = accepted(&world, &mut driver);
    assert!(driver.ends(socket).is_loopback && driver.ends(socket).local == "127.0.0.1:6379");
    driver.start_receiving(socket, 1);
    client.reset();
    let error = until(&world, &mut driver, |event| match event {
        Event::ReceiveEnded { result, .. } => Some(result.unwrap_err()),
        _ => None,
    });
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    driver.close(socket);
    driver.connect(&Address::Tcp("127.0.0.1:1".parse().unwrap()), 5);
    let error = until(&world, &mut driver, |event| match event {
        Event::Connected { tag: 5, result } => Some(result.unwrap_err()),
        _ => None,
    });
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn shards_connect_to_servers_outside() {
    let world = World::new(3, 1, Faults::calm());
    let outside = Address::Tcp("10.0.0.1:7000".parse().unwrap());
    let listener = world.listen(&outside);
    let mut driver = world.driver(0);
    driver.connect(&outside, 5);
    let socket = until(&world, &mut driver, |event| match event {
        Event::Connected { result, .. } => Some(result.unwrap()),
        _ => None,
    });
    while world.step() {}
    let server = listener.accept().unwrap();
    assert!(listener.accept().is_none());
    server.send(b"hello");
    driver.start_receiving(socket, 1);
    let buffer = until(&world, &mut driver, |event| match event {
        Event::Received { buffer, .. } => Some(buffer),
        _ => None,
    });
    assert_eq!(driver.received(buffer), b"hello");
}

#[test]
fn a_connection_moves_between_shards() {
    let world = World::new(3, 2, Faults::calm());
    let (mut first, mut second) = (world.driver(0), world.driver(1));
    first.listen(&address(), 16, false, 0).unwrap();
    let client = world.connect(&address());
    let socket = accepted(&world, &mut first);
    client.send(b"early");
    while world.step() {}
    let socket = second.attach(first.detach(socket));
    second.start_receiving(socket, 9);
    let buffer = until(&world, &mut second, |event| match event {
        Event::Received { tag: 9, buffer } => Some(buffer),
        _ => None,
    });
    assert_eq!(second.received(buffer), b"early");
}

#[test]
fn wakes_arrive_later_and_once() {
    let world = World::new(3, 2, Faults::calm());
    let (mut first, mut second) = (world.driver(0), world.driver(1));
    first.wake(1);
    assert!(!second.has_events());
    first.turn(Wait::Not, &mut Vec::new()).unwrap();
    assert!(!second.has_events());
    while world.step() {}
    let mut events = Vec::new();
    second.turn(Wait::Until(5), &mut events).unwrap();
    assert!(matches!(events[..], [Event::Woken]) && !second.has_events());
    assert_eq!(second.last_wait(), Wait::Until(5));
    world.waker(1).wake();
    assert!(second.has_events());
    second.turn(Wait::Not, &mut events).unwrap();
    assert_eq!(events.len(), 2);
}

#[test]
fn a_dead_process_closes_its_connections() {
    let world = World::new(3, 1, Faults::calm());
    let mut driver = world.driver(0);
    driver.listen(&address(), 16, false, 0).unwrap();
    let client = world.connect(&address());
    let _ = accepted(&world, &mut driver);
    drop(driver);
    while world.step() {}
    assert!(client.is_ended());
    assert!(world.connect(&address()).is_refused());
    let mut driver = world.driver(0);
    driver.listen(&address(), 16, false, 0).unwrap();
    let _client = world.connect(&address());
    let _ = accepted(&world, &mut driver);
}

#[test]
#[should_panic(expected = "recycled twice")]
fn a_broken_rule_is_a_panic() {
    let world = World::new(3, 1, Faults::calm());
    world.driver(0).recycle(BufferId(0));
}

/// Drives tasks, driver and world together until the future is done.
fn block_on<T: 'static>(world: &World, shard: usize, future: impl FnOnce(Operations) -> Task<T>) -> T {
    let (executor, operations, mut driver) = (Executor::new(), Operations::default(), world.driver(shard));
    let result: Rc<RefCell<Option<T>>> = Rc::default();
    let (place, task) = (Rc::clone(&result), future(operations.clone()));
    executor.handle().spawn(async move {
        let value = task.await;
        *place.borrow_mut() = Some(value);
    });
    for _ in 0..100_000 {
        executor.advance(world.now_ns());
        executor.run_ready(100);
        if let Some(value) = result.borrow_mut().take() {
            return value;
        }
        operations.submit(&mut driver);
        let mut events = Vec::new();
        driver.turn(Wait::Not, &mut events).unwrap();
        let has_events = !events.is_empty();
        for event in events {
            assert!(operations.complete(event).is_none());
        }
        if !has_events && !driver.has_events() {
            world.step();
        }
    }
    panic!("never done");
}

type Task<T> = std::pin::Pin<Box<dyn std::future::Future<Output = T>>>;

/// The classic: write a new file, sync it, rename it over the old one, sync the directory.
async fn replace(operations: Operations, bytes: Vec<u8>) -> io::Result<()> {
    let file = operations.create("data/new", 0o644).await?;
    file.write_all_at(0, bytes).await?;
    file.sync(false).await?;
    file.close().await?;
    operations.rename(Path::new("data/new"), Path::new("data/file")).await?;
    operations.sync_directory(Path::new("data")).await
}

#[test]
fn a_careful_replace_survives_every_crash() {
    let (old, new) = (vec![1u8; 3000], vec![2u8; 5000]);
    let (mut olds, mut news) = (0, 0);
    for seed in 0..SEEDS * 5 {
        let world = World::new(seed, 1, Faults::rough());
        world.write_file("data/file", old.clone());
        let bytes = new.clone();
        let is_done = block_on(&world, 0, |operations| Box::pin(replace(operations, bytes))).is_ok();
        world.crash_disk();
        let found = world.read_file("data/file").unwrap();
        assert!(found == new || (!is_done && found == old), "seed {seed}, done {is_done}: {} bytes", found.len());
        *(if found == new { &mut news } else { &mut olds }) += 1;
    }
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
}

#[test]
fn a_careless_replace_does_not() {
    let mut damage = 0;
    for seed in 0..SEEDS {
        let world = World::new(seed, 1, Faults::calm());
        let write = |operations: Operations| async move {
            let file = operations.create("file", 0o644).await?;
            file.write_all_at(0, vec![2; 5000]).await?;
            operations.sync_directory(Path::new(".")).await
        };
        block_on(&world, 0, |operations| Box::pin(write(operations))).unwrap();
        world.crash_disk();
        damage += usize::from(world.read_file("file") != Some(vec![2; 5000]));
    }
    assert!(damage > 10, "{damage} of {SEEDS}");
}

#[test]
fn a_failed_sync_is_not_healed_by_the_next() {
    let world = World::new(5, 1, Faults { io_error_per_million: 0, ..Faults::calm() });
    let clone = world.clone();
    let write = |operations: Operations| async move {
        let file = operations.create("file", 0o644).await?;
        operations.sync_directory(Path::new("")).await?;
        file.write_all_at(0, b"lost".to_vec()).await?;
        clone.set_faults(Faults { io_error_per_million: 1_000_000, ..Faults::calm() });
        assert!(file.sync(false).await.is_err());
        clone.set_faults(Faults::calm());
        file.sync(false).await
    };
    block_on(&world, 0, |operations| Box::pin(write(operations))).unwrap();
    assert_eq!(world.read_file("file").unwrap(), b"lost");
    world.crash_disk();
    assert_eq!(world.read_file("file").unwrap(), b"");
}

#[test]
fn a_full_disk_says_so() {
    let world = World::new(5, 1, Faults { disk_bytes_max: 100, ..Faults::calm() });
    let write = |operations: Operations| async move {
        let file = operations.create("file", 0o644).await.unwrap();
        file.write_all_at(0, vec![1; 90]).await.unwrap();
        file.write_all_at(90, vec![1; 20]).await.unwrap_err()
    };
    let failure = block_on(&world, 0, |operations| Box::pin(write(operations)));
    assert_eq!((failure.error.raw_os_error(), failure.buffer), (Some(libc::ENOSPC), Some(vec![1; 20])));
}

#[test]
fn files_read_what_was_written() {
    for seed in 0..SEEDS {
        let faults = Faults { io_error_per_million: 0, no_space_per_million: 0, ..Faults::rough() };
        let world = World::new(seed, 1, faults);
        let work = |operations: Operations| async move {
            let file = operations.create("file", 0o644).await.unwrap();
            file.write_all_at(0, (0..200).collect()).await.unwrap();
            file.truncate(150).await.unwrap();
            let mut bytes = Vec::new();
            loop {
                let part = file.read_at(bytes.len() as u64, Vec::with_capacity(64)).await.unwrap();
                if part.is_empty() {
                    break;
                }
                bytes.extend(part);
            }
            assert_eq!(bytes, (0..150).collect::<Vec<u8>>());
            operations.unlink(Path::new("file")).await.unwrap();
            assert!(operations.open("file").await.is_err());
        };
        block_on(&world, 0, |operations| Box::pin(work(operations)));
        assert!(world.file_names().is_empty());
    }
}

#[test]
fn operations_abandoned_at_every_step_give_everything_back() {
    for abandon_after in 0..60 {
        let world = World::new(abandon_after, 1, Faults::calm());
        let listener = world.listen(&address());
        let (executor, operations, mut driver) = (Executor::new(), Operations::default(), world.driver(0));
        let inner = operations.clone();
        let task = executor.handle().spawn(async move {
            let _socket = inner.connect(address()).await;
            let _ = replace(inner.clone(), vec![1; 100]).await;
            let _held = inner.create("held", 0o600).await;
            let _ = inner.open("held").await;
            std::future::pending::<()>().await;
        });
        for step in 0..200 {
            if step == abandon_after {
                task.cancel();
            }
            executor.run_ready(10);
            operations.submit(&mut driver);
            let mut events = Vec::new();
            driver.turn(Wait::Not, &mut events).unwrap();
            for event in events {
                let back = operations.complete(event);
                let back = back.and_then(|event| operations.streams.complete(event, &mut driver));
                assert!(back.is_none(), "{back:?}");
            }
            world.step();
        }
        assert!(!operations.has_requests() && executor.task_count() == 0);
        assert_eq!(world.state.borrow().disk.open_count(), 0, "abandoned after {abandon_after}");
        drop(listener);
    }
}

#[test]
fn timeouts_cut_operations_short() {
    let world = World::new(1, 1, Faults { disk_delay_ns: (1_000_000, 1_000_000), ..Faults::calm() });
    let (executor, operations, mut driver) = (Executor::new(), Operations::default(), world.driver(0));
    let (handle, inner) = (executor.handle(), operations.clone());
    let join = handle.clone().spawn(async move {
        let limit = Duration::from_micros(1);
        assert!(handle.timeout(limit, inner.create("file", 0o600)).await.is_err());
    });
    for _ in 0..10 {
        executor.run_ready(10);
        operations.submit(&mut driver);
        let mut events = Vec::new();
        driver.turn(Wait::Not, &mut events).unwrap();
        for event in events {
            operations.complete(event);
        }
        let next = executor.next_deadline_ns().into_iter().chain(world.next_event_time()).min();
        world.advance(next.unwrap_or(0));
        executor.advance(world.now_ns());
    }
    assert!(join.is_finished());
    assert_eq!(world.state.borrow().disk.open_count(), 0);
}

#[test]
fn reads_of_a_closed_file_fail() {
    let world = World::new(1, 1, Faults::calm());
    let mut driver = world.driver(0);
    let mut done = |operation| {
        driver.file(operation, 4);
        until(&world, &mut driver, |event| match event {
            Event::FileDone { tag: 4, result } => Some(result),
            _ => None,
        })
    };
    world.write_file("file", b"abc".to_vec());
    let path = PathBuf::from("file");
    let open =
        FileOperation::Open { path, read: true, write: false, create: false, truncate: false, append: false, mode: 0 };
    let Ok(FileOutcome::Opened(file)) = done(open) else { panic!() };
    let write = FileOperation::Write { file, offset: 0, buffer: vec![1], durable: false, urgency: Urgency::Background };
    let failure = done(write).unwrap_err();
    assert_eq!((failure.error.raw_os_error(), failure.buffer), (Some(libc::EBADF), Some(vec![1])));
    assert!(done(FileOperation::Close { file }).is_ok());
    let read = FileOperation::Read { file, offset: 0, buffer: Vec::with_capacity(10) };
    let failure = done(read).unwrap_err();
    assert_eq!(failure.error.raw_os_error(), Some(libc::EBADF));
    assert_eq!(failure.buffer.expect("it comes back").capacity(), 10);
}
