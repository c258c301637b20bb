//! Connections that the server opens itself, for tasks: `connect -> send, receive -> drop`.
//!
//! ```text
//!   task: stream.send(..).await      loop: streams.submit(&mut driver)       driver
//!     │      ─────────────────────────────────> send(socket, tag)
//!     └─ woken <── streams.complete(event) <── Sent, Received, ReceiveEnded { tag }
//!         what has come waits here, RECEIVED_MAX bytes at the most
//! ```
//!
//! Invariants: bytes are received from the beginning, whether or not somebody waits for them, so that an end is noticed; a
//! peer that sends more than is asked of it is cut off. A slot is freed when neither a receive nor a send is under way any more,
//! so its tag always finds what it was made for; a stream that is dropped is shut down, and its socket closed when both are over.
//! Tags are those of [`super::operations`] ([`TAG_BIT`] set), told apart by the kind of event.

use super::driver::{Driver, Event, Notice, Segment, Socket, Tag};
use super::operations::TAG_BIT;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Bytes that may wait for a task. Who sends more speaks a language that nobody here has begun.
const RECEIVED_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Line {
    socket: Socket,
    received: Vec<u8>,
    /// How receiving ended.
    ended: Option<io::ErrorKind>,
    is_sending: bool,
    /// How a send ended, and its buffer.
    sent: Option<(io::Result<()>, Vec<u8>)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Nobody has it any more.
    is_dropped: bool,
}

#[derive(Debug)]
enum Request {
    StartReceiving(Socket, Tag),
    Send(Socket, Vec<u8>, Tag),
    Shutdown(Socket),
    Close(Socket),
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Option<Line>>,
    free: Vec<usize>,
    requests: Vec<Request>,
}

/// The connections of one shard that tasks have opened. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    state: Rc<RefCell<State>>,
}

/// One of them; shut down when it is dropped.
#[derive(Debug)]
pub struct Stream {
    state: Rc<RefCell<State>>,
    index: usize,
}

impl Streams {
    /// A connection that has been made.
    pub fn open(&self, socket: Socket) -> Stream {
        let mut state = self.state.borrow_mut();
        let index = state.free.pop().unwrap_or(state.lines.len());
        if index == state.lines.len() {
            state.lines.push(None);
        }
        state.lines[index] = Some(Line {
            socket,
            received: Vec::new(),
            ended: None,
            is_sending: false,
            sent: None,
            reader: None,
            writer: None,
            is_dropped: false,
        });
        state.requests.push(Request::StartReceiving(socket, TAG_BIT | index as Tag));
        Stream { state: self.state.clone(), index }
    }

    /// Hands everything that tasks asked for to the driver.
    pub fn submit(&self, driver: &mut impl Driver) {
        for request in std::mem::take(&mut self.state.borrow_mut().requests) {
            match request {
                Request::StartReceiving(socket, tag) => driver.start_receiving(socket, tag),
                Request::Send(socket, bytes, tag) => {
                    driver.send(socket, vec![Segment::Owned(bytes)], tag, Notice::Prompt);
                }
                Request::Shutdown(socket) => driver.shutdown(socket),
                Request::Close(socket) => driver.close(socket),
            }
        }
    }

    /// Takes an event of one of these connections and wakes its task; gives every other event back.
    pub fn complete(&self, event: Event, driver: &mut impl Driver) -> Option<Event> {
        let waker = match event {
            Event::Received { tag, buffer } if tag & TAG_BIT != 0 => {
                let waker = self.state.borrow_mut().received(tag, driver.received(buffer));
                driver.recycle(buffer);
                waker
            }
            Event::ReceiveEnded { tag, result } if tag & TAG_BIT != 0 => {
                self.state.borrow_mut().receive_ended(tag, result)
            }
            Event::Sent { tag, segments, result } if tag & TAG_BIT != 0 => {
                self.state.borrow_mut().sent(tag, segments, result)
            }
            other => return Some(other),
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }
}

impl State {
    fn line(&mut self, tag: Tag) -> Option<&mut Line> {
        let line = self.lines.get_mut((tag & !TAG_BIT) as usize).and_then(Option::as_mut);
        debug_assert!(line.is_some(), "an event of a connection that is gone");
        line
    }

    fn received(&mut self, tag: Tag, bytes: &[u8]) -> Option<Waker> {
        let line = self.line(tag)?;
        if line.is_dropped || line.ended.is_some() {
            return None;
        }
        if line.received.len() + bytes.len() > RECEIVED_MAX {
            let socket = line.socket;
            self.requests.push(Request::Shutdown(socket));
            return None;
        }
        line.received.extend_from_slice(bytes);
        line.reader.take()
    }

    fn receive_ended(&mut self, tag: Tag, result: io::Result<()>) -> Option<Waker> {
        let line = self.line(tag)?;
        line.ended = Some(result.map_or_else(|error| error.kind(), |()| io::ErrorKind::UnexpectedEof));
        let reader = line.reader.take();
        self.close_when_over(tag);
        reader
    }

    fn sent(&mut self, tag: Tag, segments: Vec<Segment>, result: io::Result<()>) -> Option<Waker> {
        let line = self.line(tag)?;
        line.is_sending = false;
        let buffer = segments.into_iter().find_map(|segment| match segment {
            Segment::Owned(buffer) => Some(buffer),
            Segment::Shared(_) => None,
        });
        line.sent = Some((result, buffer.unwrap_or_default()));
        let writer = line.writer.take();
        self.close_when_over(tag);
        writer
    }

    /// Gives back what nobody has any more and nothing is under way of.
    fn close_when_over(&mut self, tag: Tag) {
        let index = (tag & !TAG_BIT) as usize;
        let is_over = |line: &mut Line| line.is_dropped && line.ended.is_some() && !line.is_sending;
        if let Some(line) = self.lines[index].take_if(is_over) {
            self.requests.push(Request::Close(line.socket));
            self.free.push(index);
        }
    }
}

impl Stream {
    /// Sends all of the buffer, which comes back empty; one send at a time. A send that nobody waits for any more goes on.
    pub async fn send(&self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        {
            let mut state = self.state.borrow_mut();
            let State { lines, requests, .. } = &mut *state;
            let Some(line) = lines[self.index].as_mut().filter(|line| !line.is_sending && line.ended.is_none()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            (line.is_sending, line.sent) = (true, None);
            requests.push(Request::Send(line.socket, bytes, TAG_BIT | self.index as Tag));
        }
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let line = state.lines[self.index].as_mut().expect("a stream has its line");
            match line.sent.take() {
                Some((result, mut buffer)) => {
                    buffer.clear();
                    Poll::Ready(result.map(|()| buffer))
                }
                None => {
                    line.writer = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Adds what has come, and waits for it if nothing has; an error at the end.
    pub async fn receive(&self, into: &mut Vec<u8>) -> io::Result<()> {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let line = state.lines[self.index].as_mut().expect("a stream has its line");
            if !line.received.is_empty() {
                into.append(&mut line.received);
                return Poll::Ready(Ok(()));
            }
            if let Some(kind) = line.ended {
                return Poll::Ready(Err(kind.into()));
            }
            line.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether the peer has neither left nor said anything that nobody has asked for.
    pub fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.lines[self.index].as_ref().is_some_and(|line| line.ended.is_none() && line.received.is_empty())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        let State { lines, requests, .. } = &mut *state;
        let Some(line) = &mut lines[self.index] else { return };
        line.is_dropped = true;
        if line.ended.is_none() || line.is_sending {
            requests.push(Request::Shutdown(line.socket));
        }
        state.close_when_over(TAG_BIT | self.index as Tag);
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::{Address, Wait};
    use super::super::operations::Operations;
    use super::super::simulated::{ClientEnd, Faults, ListenerEnd, SimulatedDriver, World};
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::Context;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A shard that has connected to a peer which the test plays.
    struct Shard {
        world: World,
        driver: SimulatedDriver,
        operations: Operations,
        listener: ListenerEnd,
    }

    impl Shard {
        fn new(seed: u64) -> Self {
            let faults = Faults { network_delay_ns: (1_000, 200_000), ..Faults::calm() };
            let world = World::new(seed, 1, faults);
            let listener = world.listen(&address());
            let (driver, operations) = (world.driver(0), Operations::default());
            Self { world, driver, operations, listener }
        }

        /// Until nothing more happens.
        fn settle(&mut self) {
            loop {
                self.operations.submit(&mut self.driver);
                let mut events = Vec::new();
                self.driver.turn(Wait::Not, &mut events).expect("a turn");
                let is_quiet = events.is_empty();
                for event in events {
                    let left = self.operations.streams.complete(event, &mut self.driver);
                    let left = left.and_then(|event| self.operations.complete(event));
                    assert!(left.is_none(), "{left:?}");
                }
                if is_quiet && !self.world.step() {
                    return;
                }
            }
        }

        /// Runs something to its end.
        fn run<F: Future>(&mut self, future: F) -> F::Output {
            let mut future = pin!(future);
            for _ in 0..1000 {
                if let Poll::Ready(value) = poll(future.as_mut()) {
                    return value;
                }
                self.settle();
            }
            panic!("it does not end")
        }

        fn connect(&mut self) -> (Stream, ClientEnd) {
            let operations = self.operations.clone();
            let stream = self.run(operations.connect(address())).expect("a connection");
            (stream, self.listener.accept().expect("it came"))
        }

        /// Lines that are in use.
        fn lines(&self) -> usize {
            self.operations.streams.state.borrow().lines.iter().flatten().count()
        }
    }

    fn address() -> Address {
        Address::Tcp("127.0.0.1:7000".parse().expect("an address"))
    }

    #[test]
    fn bytes_go_both_ways_and_a_buffer_comes_back_empty() {
        for seed in 0..20 {
            let mut shard = Shard::new(seed);
            let (stream, peer) = shard.connect();
            let sent = vec![7_u8; 300_000];
            let buffer = shard.run(async {
                let mut sending = pin!(stream.send(sent.clone()));
                std::future::poll_fn(|context| {
                    peer.receive();
                    sending.as_mut().poll(context)
                })
                .await
            });
            assert!(buffer.expect("sent").is_empty());
            assert!(stream.is_idle());
            peer.send(b"an answer");
            shard.settle();
            assert!(!stream.is_idle(), "nobody has asked for it");
            let mut received = b"so far: ".to_vec();
            shard.run(stream.receive(&mut received)).expect("it is there");
            assert_eq!(received, b"so far: an answer");
            assert!(stream.is_idle());
        }
    }

    #[test]
    fn what_came_in_front_of_the_end_is_received_before_it() {
        let mut shard = Shard::new(1);
        let (stream, peer) = shard.connect();
        peer.send(b"last words");
        peer.finish_sending();
        shard.settle();
        assert!(!stream.is_idle());
        let mut received = Vec::new();
        shard.run(stream.receive(&mut received)).expect("what came");
        assert_eq!(received, b"last words");
        for _ in 0..2 {
            let ended = shard.run(stream.receive(&mut received)).expect_err("the end");
            assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
        }
        let refused = shard.run(stream.send(b"into the void".to_vec())).expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn one_send_at_a_time() {
        let mut shard = Shard::new(2);
        let (stream, _peer) = shard.connect();
        let mut first = pin!(stream.send(vec![1; 10]));
        assert!(poll(first.as_mut()).is_pending());
        let second = shard.run(stream.send(vec![2; 10])).expect_err("one is under way");
        assert_eq!(second.kind(), io::ErrorKind::BrokenPipe);
        shard.run(first).expect("sent");
    }

    #[test]
    fn a_peer_that_sends_without_end_is_cut_off() {
        let mut shard = Shard::new(3);
        let (stream, peer) = shard.connect();
        for _ in 0..40 {
            peer.send(&[3; 64 << 10]);
            shard.settle();
        }
        let mut received = Vec::new();
        shard.run(stream.receive(&mut received)).expect("what was kept");
        assert!(received.len() <= RECEIVED_MAX, "{} bytes were kept", received.len());
        assert!(shard.run(stream.receive(&mut received)).is_err(), "then the end");
    }

    #[test]
    fn a_dropped_stream_is_shut_down_and_its_line_used_again() {
        for seed in 0..20 {
            let mut shard = Shard::new(seed);
            for round in 0..5 {
                let (stream, peer) = shard.connect();
                // Dropped while it sends, while it is sent to, and at rest.
                if round % 3 == 0 {
                    let mut sending = Box::pin(stream.send(vec![1; 100_000]));
                    assert!(poll(sending.as_mut()).is_pending());
                } else if round % 3 == 1 {
                    peer.send(b"unheard");
                }
                drop(stream);
                shard.settle();
                peer.receive();
                assert!(peer.is_ended() || peer.is_reset(), "round {round}: the peer is told");
                peer.close();
                shard.settle();
                assert_eq!(shard.lines(), 0, "round {round}");
            }
            assert_eq!(shard.operations.streams.state.borrow().lines.len(), 1, "one line, again and again");
        }
    }
}
