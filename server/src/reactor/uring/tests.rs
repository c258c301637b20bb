//! The driver against the kernel: loopback sockets, temporary files, threads that only wake.

use super::super::driver::{File, FileOutcome, FileResult, Urgency, Waker};
use super::*;
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const TURNS_MAX: usize = 10_000;

fn small() -> Options {
    Options {
        submission_entries: 8,
        completion_entries: 16,
        receive_buffers: 4,
        receive_buffer_bytes: 256,
        spare_buffers_max: 64,
        ..Options::default()
    }
}

fn driver_with(options: &Options) -> UringDriver {
    UringDriver::new(0, Peers::new(2).unwrap(), options).unwrap()
}

fn driver() -> UringDriver {
    driver_with(&Options::default())
}

fn turn(driver: &mut UringDriver) -> Vec<Event> {
    let mut events = Vec::new();
    let deadline_ns = driver.clock().monotonic_ns + 1_000_000_000;
    driver.turn(Wait::Until(deadline_ns), &mut events).unwrap();
    events
}

/// Turns until `found` has something, handing it every event.
fn until<T>(driver: &mut UringDriver, mut found: impl FnMut(&mut UringDriver, Event) -> Option<T>) -> T {
    for _ in 0..TURNS_MAX {
        let mut result = None;
        for event in turn(driver) {
            let this = found(driver, event);
            result = result.or(this);
        }
        if let Some(result) = result {
            return result;
        }
    }
    panic!("nothing happened");
}

fn listen(driver: &mut UringDriver) -> (Socket, SocketAddr) {
    let listener = driver.listen(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 512, false, 1).unwrap();
    let address = driver.ends(listener).local.parse().unwrap();
    (listener, address)
}

fn accepted(driver: &mut UringDriver) -> Socket {
    until(driver, |_, event| match event {
        Event::Accepted { tag: 1, socket } => Some(socket),
        other => panic!("{other:?}"),
    })
}

fn connected(driver: &mut UringDriver) -> (TcpStream, Socket) {
    let (_, address) = listen(driver);
    let client = TcpStream::connect(address).unwrap();
    let socket = accepted(driver);
    (client, socket)
}

/// Receives until so many bytes are there.
fn receive(driver: &mut UringDriver, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        for event in turn(driver) {
            let Event::Received { buffer, .. } = event else { panic!("{event:?}") };
            bytes.extend_from_slice(driver.received(buffer));
            driver.recycle(buffer);
        }
    }
    bytes
}

fn receive_end(driver: &mut UringDriver) -> io::Result<()> {
    until(driver, |driver, event| match event {
        Event::ReceiveEnded { tag: 2, result } => Some(result),
        Event::Received { buffer, .. } => {
            driver.recycle(buffer);
            None
        }
        Event::Sent { .. } => None,
        other => panic!("{other:?}"),
    })
}

fn sent(driver: &mut UringDriver) -> (Vec<Segment>, io::Result<()>) {
    until(driver, |_, event| match event {
        Event::Sent { segments, result, .. } => Some((segments, result)),
        Event::ReceiveEnded { .. } => None,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_connection_receives_answers_and_ends() {
    let mut driver = driver();
    let (mut client, socket) = connected(&mut driver);
    let ends = driver.ends(socket);
    assert_eq!(ends.peer, client.local_addr().unwrap().to_string());
    assert_eq!(ends.local, client.peer_addr().unwrap().to_string());
    assert!(ends.is_loopback && !ends.is_unix);
    driver.configure(socket, SocketOptions { keepalive_s: 300, no_delay: true });

    driver.start_receiving(socket, 2);
    for _ in 0..3 {
        client.write_all(b"PING\r\n").unwrap();
        assert_eq!(receive(&mut driver, 6), b"PING\r\n");
        driver.send(socket, vec![Segment::Owned(b"+PONG\r\n".to_vec())], 3, Notice::Prompt);
        let (segments, result) = sent(&mut driver);
        assert!(result.is_ok() && segments.len() == 1);
        let mut answer = [0; 7];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    }
    drop(client);
    assert!(receive_end(&mut driver).is_ok());
    driver.close(socket);
    assert!(turn_now(&mut driver).is_empty());
}

fn turn_now(driver: &mut UringDriver) -> Vec<Event> {
    let mut events = Vec::new();
    driver.turn(Wait::Not, &mut events).unwrap();
    events
}

#[test]
fn a_reset_ends_the_stream_with_an_error() {
    let mut driver = driver();
    let (client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    assert!(turn_now(&mut driver).is_empty());
    let client = socket2::Socket::from(client);
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(receive_end(&mut driver).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stream_stops_and_starts_again_without_loss() {
    let mut driver = driver();
    let (mut client, socket) = connected(&mut driver);
    for round in 0..20u8 {
        driver.start_receiving(socket, 2);
        client.write_all(&[round]).unwrap();
        assert_eq!(receive(&mut driver, 1), [round]);
        driver.stop_receiving(socket, 2);
        assert_eq!(receive_end(&mut driver).unwrap_err().kind(), io::ErrorKind::Interrupted);
        client.write_all(&[100 + round]).unwrap();
        driver.start_receiving(socket, 2);
        assert_eq!(receive(&mut driver, 1), [100 + round]);
        driver.stop_receiving(socket, 2);
        driver.stop_receiving(socket, 2);
        assert_eq!(receive_end(&mut driver).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
    assert!(turn_now(&mut driver).is_empty());
}

#[test]
fn stopping_while_data_pours_in_ends_exactly_once() {
    let mut driver = driver_with(&small());
    let (mut client, socket) = connected(&mut driver);
    let writer = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..400_000u32).map(|index| index as u8).collect();
        client.write_all(&bytes).unwrap();
        bytes
    });
    let (mut bytes, mut is_over) = (Vec::new(), false);
    while !is_over {
        driver.start_receiving(socket, 2);
        let mut is_stopping = false;
        let mut is_running = true;
        while is_running {
            for event in turn(&mut driver) {
                match event {
                    Event::Received { tag: 2, buffer } => {
                        assert!(is_running, "data after the end");
                        bytes.extend_from_slice(driver.received(buffer));
                        driver.recycle(buffer);
                    }
                    Event::ReceiveEnded { tag: 2, result } => {
                        assert!(is_running, "ended twice");
                        is_running = false;
                        is_over = result.is_ok();
                    }
                    other => panic!("{other:?}"),
                }
            }
            if !is_stopping && is_running {
                driver.stop_receiving(socket, 2);
                is_stopping = true;
            }
        }
    }
    assert_eq!(bytes, writer.join().unwrap());
}

#[test]
fn all_buffers_lent_is_survived_in_order() {
    let mut driver = driver_with(&small());
    let (mut client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    let bytes: Vec<u8> = (0..20_000u32).map(|index| (index / 7) as u8).collect();
    client.write_all(&bytes).unwrap();
    drop(client);
    // Nothing is given back: after the ring's 4 buffers come the spares, and after those nothing.
    let mut held = Vec::new();
    for _ in 0..200 {
        for event in turn_now(&mut driver) {
            let Event::Received { buffer, .. } = event else { panic!("{event:?}") };
            held.push(buffer);
        }
    }
    assert_eq!(held.len(), 4 + 64);
    let mut got = Vec::new();
    for buffer in held {
        got.extend_from_slice(driver.received(buffer));
        driver.recycle(buffer);
    }
    let is_over = |driver: &mut UringDriver, event| match event {
        Event::Received { buffer, .. } => {
            got.extend_from_slice(driver.received(buffer));
            driver.recycle(buffer);
            None
        }
        Event::ReceiveEnded { result, .. } => Some(result),
        other => panic!("{other:?}"),
    };
    assert!(until(&mut driver, is_over).is_ok());
    assert_eq!(got, bytes);
}

#[test]
fn a_starved_stream_can_be_stopped() {
    let mut driver = driver_with(&Options { spare_buffers_max: 0, ..small() });
    let (mut client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    client.write_all(&[7; 4000]).unwrap();
    let mut held = Vec::new();
    while held.len() < 4 {
        for event in turn(&mut driver) {
            let Event::Received { buffer, .. } = event else { panic!("{event:?}") };
            held.push(buffer);
        }
    }
    assert!(turn_now(&mut driver).is_empty());
    driver.stop_receiving(socket, 2);
    assert_eq!(receive_end(&mut driver).unwrap_err().kind(), io::ErrorKind::Interrupted);
    for buffer in held {
        driver.recycle(buffer);
    }
    driver.start_receiving(socket, 2);
    assert_eq!(receive(&mut driver, 4000 - 4 * 256).len(), 4000 - 4 * 256);
}

#[test]
fn large_sends_that_are_tried_arrive_whole() {
    for segment_count in [1, 2, 1024, 1025] {
        let mut driver = driver();
        let (mut client, socket) = connected(&mut driver);
        let bytes = |index: usize| vec![index as u8; (8 << 20) / segment_count];
        let expected: Vec<u8> = (0..segment_count).flat_map(bytes).collect();
        driver.send(
            socket,
            (0..segment_count).map(|index| Segment::Owned(bytes(index))).collect(),
            3,
            Notice::WithNext,
        );
        // Nobody reads, so a part is taken, and the rest waits.
        assert!(turn_now(&mut driver).is_empty());
        let count = expected.len();
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            (bytes, client)
        });
        assert!(sent(&mut driver).1.is_ok());
        assert!(reader.join().unwrap().0 == expected, "{segment_count} segments");
    }
}

#[test]
fn large_sends_of_many_segments_arrive_in_order() {
    let mut driver = driver();
    let (mut client, socket) = connected(&mut driver);
    let mut expected = Vec::new();
    let mut segments = Vec::new();
    for index in 0..3000usize {
        let bytes: Vec<u8> = (0..index * 7 % 5000).map(|offset| (index + offset) as u8).collect();
        expected.extend_from_slice(&bytes);
        segments.push(if index % 2 == 0 { Segment::Owned(bytes) } else { Segment::Shared(Bytes::from(bytes)) });
    }
    let count = expected.len();
    let reader = std::thread::spawn(move || {
        // Twice: as sends that are tried first, and as sends that wait.
        let mut bytes = vec![0; 2 * count];
        client.read_exact(&mut bytes).unwrap();
        (bytes, client)
    });
    for notice in [Notice::WithNext, Notice::Prompt] {
        driver.send(socket, std::mem::take(&mut segments), 3, notice);
        let result;
        (segments, result) = sent(&mut driver);
        assert!(result.is_ok());
        assert_eq!(segments.len(), 3000);
    }
    assert!(reader.join().unwrap().0 == [&expected[..], &expected[..]].concat());
}

#[test]
fn a_send_whose_end_nobody_awaits_ends_no_wait() {
    let mut driver = driver();
    assert!(driver.tries_sends, "this kernel tells what it took of a send that is tried");
    let (mut client, socket) = connected(&mut driver);
    for segments in [
        vec![Segment::Owned(b"+OK\r\n".to_vec())],
        vec![Segment::Owned(b"+O".to_vec()), Segment::Owned(b"K\r\n".to_vec())],
    ] {
        let mut events = Vec::new();
        driver.send(socket, segments, 3, Notice::WithNext);
        let until_ns = driver.clock().monotonic_ns + 20_000_000;
        driver.turn(Wait::Until(until_ns), &mut events).unwrap();
        assert!(driver.clock().monotonic_ns >= until_ns, "it waited to the end: {events:?}");
        assert!(matches!(&events[..], [Event::Sent { tag: 3, result: Ok(()), .. }]), "{events:?}");
        let mut bytes = [0; 5];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"+OK\r\n");
    }
}

#[test]
fn a_send_that_is_tried_on_a_closed_connection_says_so_at_once() {
    let mut driver = driver();
    let (client, socket) = connected(&mut driver);
    drop(client);
    let error = loop {
        driver.send(socket, vec![Segment::Owned(b"to nobody".to_vec())], 3, Notice::WithNext);
        let mut events = Vec::new();
        driver.turn(Wait::Not, &mut events).unwrap();
        match events.pop() {
            // What the other side answers may be on its way.
            Some(Event::Sent { tag: 3, result: Ok(()), .. }) => {}
            Some(Event::Sent { tag: 3, result: Err(error), .. }) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn sending_nothing_is_done_at_once() {
    let mut driver = driver();
    let (_client, socket) = connected(&mut driver);
    driver.send(socket, vec![Segment::Owned(Vec::new())], 3, Notice::Prompt);
    assert!(sent(&mut driver).1.is_ok());
}

#[test]
fn shutdown_ends_a_stalled_send_and_the_receive() {
    let mut driver = driver();
    let (client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    driver.send(socket, vec![Segment::Owned(vec![1; 32 << 20])], 3, Notice::Prompt);
    for _ in 0..20 {
        assert!(turn_now(&mut driver).is_empty());
    }
    driver.shutdown(socket);
    let (mut is_sent, mut is_ended) = (false, false);
    while !is_sent || !is_ended {
        for event in turn(&mut driver) {
            match event {
                Event::Sent { tag: 3, segments, result } => {
                    assert!(!is_sent && result.is_err());
                    assert_eq!(segments[0].as_slice().len(), 32 << 20);
                    is_sent = true;
                }
                Event::ReceiveEnded { tag: 2, .. } => {
                    assert!(!is_ended);
                    is_ended = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    driver.close(socket);
    drop(client);
}

#[test]
fn who_sends_much_hears_of_the_end_at_once() {
    let mut driver = driver();
    let (client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    let sender =
        std::thread::spawn(move || (&client).write_all(&vec![1; 64 << 20]).expect_err("nobody takes all of it"));
    // A part is received, and then no more: the window closes.
    let buffer = until(&mut driver, |_, event| match event {
        Event::Received { buffer, .. } => Some(buffer),
        other => panic!("{other:?}"),
    });
    driver.shutdown(socket);
    until(&mut driver, |driver, event| match event {
        Event::Received { buffer, .. } => {
            driver.recycle(buffer);
            None
        }
        Event::ReceiveEnded { tag: 2, .. } => Some(()),
        other => panic!("{other:?}"),
    });
    driver.recycle(buffer);
    driver.close(socket);
    turn_now(&mut driver);
    let error = sender.join().unwrap();
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn full_queues_lose_nothing() {
    let mut driver = driver_with(&small());
    let (_, address) = listen(&mut driver);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut sockets = Vec::new();
    while sockets.len() < clients.len() {
        for event in turn(&mut driver) {
            let Event::Accepted { socket, .. } = event else { panic!("{event:?}") };
            driver.start_receiving(socket, u64::from(socket.0));
            sockets.push(socket);
        }
    }
    for client in &mut clients {
        client.write_all(&[9; 300]).unwrap();
    }
    let mut received = std::collections::BTreeMap::<Tag, usize>::new();
    while received.values().sum::<usize>() < 300 * clients.len() {
        for event in turn(&mut driver) {
            let Event::Received { tag, buffer } = event else { panic!("{event:?}") };
            *received.entry(tag).or_default() += driver.received(buffer).len();
            driver.recycle(buffer);
        }
    }
    assert!(received.len() == clients.len() && received.values().all(|count| *count == 300));
    for socket in &sockets {
        driver.send(*socket, vec![Segment::Owned(b"x".to_vec()), Segment::Owned(b"y".to_vec())], 3, Notice::WithNext);
    }
    let mut sent_count = 0;
    while sent_count < sockets.len() {
        sent_count +=
            turn(&mut driver).iter().filter(|event| matches!(event, Event::Sent { result: Ok(()), .. })).count();
    }
    for client in &mut clients {
        let mut answer = [0; 2];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"xy");
    }
}

#[test]
fn a_reused_slot_gets_only_its_own_events() {
    let mut driver = driver();
    let (_, address) = listen(&mut driver);
    let mut last = None;
    for round in 0..50u64 {
        let mut client = TcpStream::connect(address).unwrap();
        let socket = accepted(&mut driver);
        assert!(last.is_none_or(|last| last == socket));
        last = Some(socket);
        driver.start_receiving(socket, round);
        client.write_all(b"a").unwrap();
        let mut is_stopped = false;
        until(&mut driver, |driver, event| match event {
            Event::Received { tag, buffer } => {
                assert_eq!(tag, round);
                driver.recycle(buffer);
                driver.stop_receiving(socket, round);
                is_stopped = true;
                None
            }
            Event::ReceiveEnded { tag, result } => {
                assert!(tag == round && is_stopped && result.is_err());
                Some(())
            }
            other => panic!("{other:?}"),
        });
        driver.close(socket);
    }
}

#[test]
fn a_connection_moves_to_another_driver() {
    let peers = Peers::new(2).unwrap();
    let mut first = UringDriver::new(0, Arc::clone(&peers), &Options::default()).unwrap();
    let (mut client, socket) = connected(&mut first);
    let detached = first.detach(socket);
    let worker = std::thread::spawn(move || {
        let mut second = UringDriver::new(1, peers, &Options::default()).unwrap();
        let socket = second.attach(detached);
        second.start_receiving(socket, 2);
        assert_eq!(receive(&mut second, 2), b"hi");
        second.send(socket, vec![Segment::Owned(b"ho".to_vec())], 3, Notice::Prompt);
        assert!(sent(&mut second).1.is_ok());
    });
    client.write_all(b"hi").unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ho");
    worker.join().unwrap();
}

#[test]
fn connect_succeeds_and_fails() {
    let mut driver = driver();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    driver.connect(&Address::Tcp(address), 5);
    let socket = until(&mut driver, |_, event| match event {
        Event::Connected { tag: 5, result } => Some(result.unwrap()),
        other => panic!("{other:?}"),
    });
    let (mut accepted, _) = peer.accept().unwrap();
    driver.start_receiving(socket, 2);
    accepted.write_all(b"hello").unwrap();
    assert_eq!(receive(&mut driver, 5), b"hello");
    drop(peer);
    driver.connect(&Address::Tcp(address), 6);
    let error = until(&mut driver, |_, event| match event {
        Event::Connected { tag: 6, result } => Some(result.unwrap_err()),
        other => panic!("{other:?}"),
    });
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

fn scratch() -> PathBuf {
    tempfile::Builder::new().prefix("torc-uring-").tempdir().unwrap().keep()
}

#[test]
fn unix_sockets_replace_stale_files_and_have_modes() {
    use std::os::unix::fs::PermissionsExt;
    let directory = scratch();
    let path = directory.join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut driver = driver();
    let address = Address::Unix { path: path.clone(), mode: Some(0o700) };
    let listener = driver.listen(&address, 16, false, 1).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let mut client = UnixStream::connect(&path).unwrap();
    let socket = accepted(&mut driver);
    let ends = driver.ends(socket);
    assert_eq!(ends.peer, format!("{}:0", path.display()));
    assert_eq!(ends.local, ends.peer);
    assert!(ends.is_unix && ends.is_loopback);
    driver.start_receiving(socket, 2);
    client.write_all(b"hello").unwrap();
    assert_eq!(receive(&mut driver, 5), b"hello");
    driver.close(listener);
    assert!(!path.exists());

    std::fs::write(&path, "not a socket").unwrap();
    assert!(driver.listen(&address, 16, false, 1).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"not a socket");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn ipv6_has_brackets() {
    let mut driver = driver();
    let Ok(listener) = driver.listen(&Address::Tcp("[::1]:0".parse().unwrap()), 16, false, 1) else { return };
    let address: SocketAddr = driver.ends(listener).local.parse().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let socket = accepted(&mut driver);
    assert_eq!(driver.ends(socket).peer, format!("[::1]:{}", client.local_addr().unwrap().port()));
    assert!(driver.ends(socket).is_loopback);
}

#[test]
fn a_port_in_use_is_an_error_and_a_closed_listener_frees_it() {
    let mut driver = driver();
    let (listener, address) = listen(&mut driver);
    let error = driver.listen(&Address::Tcp(address), 16, false, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    driver.close(listener);
    driver.listen(&Address::Tcp(address), 16, false, 9).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    until(&mut driver, |_, event| match event {
        Event::Accepted { tag: 9, .. } => Some(()),
        other => panic!("{other:?}"),
    });
}

#[test]
fn shards_share_a_port() {
    let mut driver = driver();
    let first = driver.listen(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 16, true, 1).unwrap();
    let address = driver.ends(first).local.parse().unwrap();
    driver.listen(&Address::Tcp(address), 16, true, 2).unwrap();
}

fn file_done(driver: &mut UringDriver, operation: FileOperation) -> FileResult {
    driver.file(operation, 4);
    until(driver, |_, event| match event {
        Event::FileDone { tag: 4, result } => Some(result),
        other => panic!("{other:?}"),
    })
}

fn open_operation(path: PathBuf, create: bool) -> FileOperation {
    FileOperation::Open { path, read: true, write: true, create, truncate: false, append: false, mode: 0o600 }
}

#[test]
fn files_are_written_synced_renamed_and_removed() {
    let directory = scratch();
    let (temporary, path) = (directory.join("temporary"), directory.join("file"));
    let mut driver = driver();
    let Ok(FileOutcome::Opened(file)) = file_done(&mut driver, open_operation(temporary.clone(), true)) else {
        panic!()
    };
    let write = FileOperation::Write {
        file,
        offset: 0,
        buffer: b"hello world".to_vec(),
        durable: false,
        urgency: Urgency::Background,
    };
    assert!(matches!(file_done(&mut driver, write), Ok(FileOutcome::Transferred(11, _))));
    let sync = FileOperation::Sync { file, data_only: true };
    assert!(matches!(file_done(&mut driver, sync), Ok(FileOutcome::Done)));
    let sync = FileOperation::Sync { file, data_only: false };
    assert!(matches!(file_done(&mut driver, sync), Ok(FileOutcome::Done)));
    let truncate = FileOperation::Truncate { file, length: 5 };
    assert!(matches!(file_done(&mut driver, truncate), Ok(FileOutcome::Done)));
    let read = FileOperation::Read { file, offset: 1, buffer: Vec::with_capacity(64) };
    let Ok(FileOutcome::Transferred(4, bytes)) = file_done(&mut driver, read) else { panic!() };
    assert_eq!(bytes, b"ello");
    let rename = FileOperation::Rename { from: temporary.clone(), to: path.clone() };
    assert!(matches!(file_done(&mut driver, rename), Ok(FileOutcome::Done)));
    let sync = FileOperation::SyncDirectory { path: directory.clone() };
    assert!(matches!(file_done(&mut driver, sync), Ok(FileOutcome::Done)));
    assert!(!temporary.exists() && path.exists());
    assert!(matches!(file_done(&mut driver, FileOperation::Close { file }), Ok(FileOutcome::Done)));
    assert!(matches!(file_done(&mut driver, FileOperation::Unlink { path: path.clone() }), Ok(FileOutcome::Done)));
    assert!(!path.exists());

    let closed = FileOperation::Sync { file, data_only: false };
    assert_eq!(file_done(&mut driver, closed).unwrap_err().error.raw_os_error(), Some(libc::EBADF));
    let missing = open_operation(directory.join("missing"), false);
    assert_eq!(file_done(&mut driver, missing).unwrap_err().error.kind(), io::ErrorKind::NotFound);
    let missing = FileOperation::SyncDirectory { path: directory.join("missing") };
    assert_eq!(file_done(&mut driver, missing).unwrap_err().error.kind(), io::ErrorKind::NotFound);
    let bad = FileOperation::Unlink { path: PathBuf::from("a\0b") };
    assert_eq!(file_done(&mut driver, bad).unwrap_err().error.kind(), io::ErrorKind::InvalidInput);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn buffers_come_back_from_operations_that_fail() {
    let directory = scratch();
    let path = directory.join("file");
    std::fs::write(&path, b"abc").unwrap();
    let mut driver = driver();
    let open = |read, write| FileOperation::Open {
        path: path.clone(),
        read,
        write,
        create: false,
        truncate: false,
        append: false,
        mode: 0,
    };
    let mut check = |operation, bytes: &[u8]| {
        let failure = file_done(&mut driver, operation).unwrap_err();
        let buffer = failure.buffer.expect("it comes back");
        assert_eq!((failure.error.raw_os_error(), &*buffer, buffer.capacity()), (Some(libc::EBADF), bytes, 64));
    };
    let buffer = || {
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"precious");
        buffer
    };
    // Refused before the kernel sees them ...
    let file = File(7);
    check(
        FileOperation::Write { file, offset: 0, buffer: buffer(), durable: false, urgency: Urgency::Background },
        b"precious",
    );
    check(FileOperation::Read { file, offset: 0, buffer: buffer() }, b"");
    // ... and by the kernel.
    let Ok(FileOutcome::Opened(file)) = file_done(&mut driver, open(true, false)) else { panic!() };
    let write =
        FileOperation::Write { file, offset: 0, buffer: buffer(), durable: false, urgency: Urgency::Background };
    let failure = file_done(&mut driver, write).unwrap_err();
    assert_eq!((failure.error.raw_os_error(), failure.buffer), (Some(libc::EBADF), Some(b"precious".to_vec())));
    let Ok(FileOutcome::Opened(file)) = file_done(&mut driver, open(false, true)) else { panic!() };
    let read = FileOperation::Read { file, offset: 0, buffer: buffer() };
    let failure = file_done(&mut driver, read).unwrap_err();
    assert_eq!(
        (failure.error.raw_os_error(), failure.buffer.map(|buffer| buffer.capacity())),
        (Some(libc::EBADF), Some(64))
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn shards_and_threads_wake_a_sleeper() {
    let peers = Peers::new(2).unwrap();
    let mut first = UringDriver::new(0, Arc::clone(&peers), &Options::default()).unwrap();
    // Before the peer's ring is there, and twice in one turn: at least one, and nothing is lost.
    first.wake(1);
    first.wake(1);
    assert!(turn_now(&mut first).is_empty());
    let second_peers = Arc::clone(&peers);
    let (to_first, from_second) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let mut second = UringDriver::new(1, second_peers, &Options::default()).unwrap();
        for _ in 0..3 {
            let mut events = Vec::new();
            while events.is_empty() {
                second.turn(Wait::Forever, &mut events).unwrap();
            }
            assert!(matches!(events[..], [Event::Woken]), "{events:?}");
            to_first.send(()).unwrap();
        }
    });
    from_second.recv().unwrap();
    first.wake(1);
    assert!(turn_now(&mut first).is_empty());
    from_second.recv().unwrap();
    peers.waker(1).wake();
    from_second.recv().unwrap();
    worker.join().unwrap();
    // The peer is gone: the wake goes nowhere and does no harm.
    first.wake(1);
    assert!(turn_now(&mut first).is_empty());
    first.wake(0);
    assert!(matches!(turn_now(&mut first)[..], [Event::Woken]));
    assert!(turn_now(&mut first).is_empty());
}

#[test]
fn a_wake_after_an_early_submit_is_a_wake_of_its_own() {
    let peers = Peers::new(2).unwrap();
    let mut first = UringDriver::new(0, Arc::clone(&peers), &small()).unwrap();
    let mut second = UringDriver::new(1, Arc::clone(&peers), &small()).unwrap();
    for _ in 0..5 {
        first.wake(1);
        // Fills the queue of 8, so that the wake goes out before the turn.
        for _ in 0..10 {
            first.file(FileOperation::Unlink { path: PathBuf::from("missing/file") }, 4);
        }
        assert!(matches!(turn(&mut second)[..], [Event::Woken]));
        first.wake(1);
        turn_now(&mut first);
        assert!(matches!(turn(&mut second)[..], [Event::Woken]));
    }
}

#[test]
fn a_refused_ring_message_falls_back_to_the_eventfd() {
    let peers = Peers::new(2).unwrap();
    let mut first = UringDriver::new(0, Arc::clone(&peers), &Options::default()).unwrap();
    let no_ring = std::fs::File::open("/dev/null").unwrap();
    peers.set_ring(1, no_ring.as_raw_fd());
    first.wake(1);
    assert!(turn_now(&mut first).is_empty());
    assert!(turn_now(&mut first).is_empty());
    peers.clear_ring(1);
    let mut second = UringDriver::new(1, peers, &Options::default()).unwrap();
    assert!(matches!(turn(&mut second)[..], [Event::Woken]));
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let mut driver = driver();
    let start_ns = driver.clock().monotonic_ns;
    let mut events = Vec::new();
    while driver.clock().monotonic_ns < start_ns + 20_000_000 {
        driver.turn(Wait::Until(start_ns + 20_000_000), &mut events).unwrap();
    }
    driver.turn(Wait::Until(start_ns), &mut events).unwrap();
    assert!(events.is_empty());
}

#[test]
fn dropping_a_busy_driver_waits_for_the_kernel() {
    let mut driver = driver();
    let (client, socket) = connected(&mut driver);
    driver.start_receiving(socket, 2);
    driver.send(socket, vec![Segment::Owned(vec![1; 32 << 20])], 3, Notice::Prompt);
    assert!(turn_now(&mut driver).is_empty());
    let start = Instant::now();
    drop(driver);
    assert!(start.elapsed() < DROP_ROUND * DROP_ROUNDS);
    drop(client);
}

/// Runs a test of this binary, that is ignored in the common run, in a process of its own with few descriptors.
fn run_with_descriptor_limit(test: &str, limit: u64) {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("reactor::uring::tests::{test}"), "--ignored", "--test-threads=1"]);
    // SAFETY: the hook makes one system call.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn too_few_descriptors_are_told_once_and_survived() {
    run_with_descriptor_limit("accepts_with_few_descriptors", 40);
}

#[test]
#[ignore = "run by too_few_descriptors_are_told_once_and_survived in a process of its own"]
fn accepts_with_few_descriptors() {
    let mut driver = driver();
    let (_, address) = listen(&mut driver);
    let first = TcpStream::connect(address).unwrap();
    let mut sockets = vec![accepted(&mut driver)];
    let mut clients = vec![first];
    let mut failures = 0;
    // Each connection takes two descriptors here; the clients' end fails in the end, and ours has before.
    while let Ok(client) = TcpStream::connect(address) {
        clients.push(client);
    }
    for _ in 0..3 {
        for event in turn(&mut driver) {
            match event {
                Event::Accepted { socket, .. } => sockets.push(socket),
                Event::AcceptFailed { tag: 1, error } => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                    failures += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(failures, 1);
    assert!(sockets.len() < clients.len());
    let waiting = clients.split_off(sockets.len());
    drop(clients);
    // One gets the descriptor that became free; the next fails again, which is told again.
    let accepted_again = until(&mut driver, |_, event| match event {
        Event::Accepted { socket, .. } => Some(socket),
        Event::AcceptFailed { .. } => None,
        other => panic!("{other:?}"),
    });
    assert!(!sockets.contains(&accepted_again));
    drop(waiting);
}
