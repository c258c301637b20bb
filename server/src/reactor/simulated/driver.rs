//! A shard's driver in the simulated world, and what the world keeps for each shard.
//!
//! Calls are queued and take effect in the next `turn`, as submissions do; only `listen`, `shutdown` and `close` of a
//! listener act at once, as in the ring's driver.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::driver::{
    Address, BufferId, Clock, DetachedSocket, Driver, Ends, Event, FileOperation, Notice, Segment, Socket,
    SocketOptions, Tag, Wait,
};
use super::network::{Acceptor, EndId, Holder};
use super::{Action, State, WALL_START_MS};

/// Between the last byte taken and the event.
const SENT_DELAY_NS: (u64, u64) = (0, 10_000);
/// Between the call to stop and the stream's end.
const STOP_DELAY_NS: (u64, u64) = (0, 50_000);

/// What a socket is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Listener { uid: u64, tag: Tag },
    Connection(EndId),
}

#[derive(Clone, Copy, Debug)]
struct Receiving {
    tag: Tag,
    /// Whether the call has reached the world.
    is_submitted: bool,
    is_stopping: bool,
}

#[derive(Debug)]
struct Sending {
    uid: u64,
    tag: Tag,
    segments: Vec<Segment>,
    notice: Notice,
    is_submitted: bool,
    /// Set when it is over and the event is on its way.
    result: Option<Result<(), i32>>,
}

/// A socket of a shard.
#[derive(Debug)]
pub(super) struct SocketState {
    uid: u64,
    role: Role,
    receiving: Option<Receiving>,
    sending: Option<Sending>,
    is_in_readable: bool,
}

impl SocketState {
    pub(super) fn new(uid: u64, role: Role) -> Self {
        Self { uid, role, receiving: None, sending: None, is_in_readable: false }
    }
}

/// What the world keeps for a shard.
#[derive(Debug, Default)]
pub(super) struct ShardState {
    /// Counts drivers: actions of an earlier one find nothing.
    pub(super) life: u64,
    has_driver: bool,
    pub(super) events: VecDeque<Event>,
    /// Those that come with the next turn, but make none.
    late_events: Vec<Event>,
    sockets: Vec<Option<SocketState>>,
    sockets_free: Vec<u32>,
    /// Sockets whose stream has something to deliver, in the order in which it came.
    readable: VecDeque<u32>,
    pub(super) is_woken: bool,
    pub(super) is_woken_from_outside: Arc<AtomicBool>,
}

impl ShardState {
    pub(super) fn insert(&mut self, socket: SocketState) -> u32 {
        let number = self.sockets_free.pop().unwrap_or(self.sockets.len() as u32);
        if number as usize == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[number as usize] = Some(socket);
        number
    }

    fn remove(&mut self, number: u32) -> Option<SocketState> {
        let socket = self.sockets.get_mut(number as usize)?.take()?;
        self.sockets_free.push(number);
        Some(socket)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut SocketState> {
        self.sockets.get_mut(number as usize)?.as_mut()
    }

    fn get(&self, number: u32) -> Option<&SocketState> {
        self.sockets.get(number as usize)?.as_ref()
    }

    #[track_caller]
    fn socket(&mut self, socket: Socket) -> &mut SocketState {
        self.get_mut(socket.0).unwrap_or_else(|| panic!("{socket:?} is not open"))
    }

    pub(super) fn listener_tag(&self, number: u32) -> Tag {
        match self.get(number).map(|socket| socket.role) {
            Some(Role::Listener { tag, .. }) => tag,
            _ => 0,
        }
    }

    pub(super) fn mark_readable(&mut self, number: u32) {
        if let Some(socket) = self.get_mut(number)
            && !socket.is_in_readable
            && socket.receiving.is_some_and(|receiving| receiving.is_submitted)
        {
            socket.is_in_readable = true;
            self.readable.push_back(number);
        }
    }
}

impl State {
    /// Everything of a send has left, or it failed: its event follows.
    pub(super) fn sent_all(&mut self, shard: usize, number: u32, result: Result<(), i32>) {
        let Some(sending) = self.shards[shard].get_mut(number).and_then(|socket| socket.sending.as_mut()) else {
            return;
        };
        if !sending.is_submitted || sending.result.is_some() {
            return;
        }
        sending.result = Some(result);
        let uid = sending.uid;
        self.schedule_after(SENT_DELAY_NS, Action::Sent { shard, number, uid });
    }

    pub(super) fn finish_send(&mut self, shard: usize, number: u32, uid: u64) {
        let Some(socket) = self.shards[shard].get_mut(number) else { return };
        if socket.sending.as_ref().is_none_or(|sending| sending.uid != uid) {
            return;
        }
        if let Some(Sending { tag, segments, notice, result, .. }) = socket.sending.take() {
            let result = result.unwrap_or(Ok(())).map_err(io::Error::from_raw_os_error);
            let is_late = notice == Notice::WithNext && result.is_ok();
            let (event, shard) = (Event::Sent { tag, segments, result }, &mut self.shards[shard]);
            if is_late { shard.late_events.push(event) } else { shard.events.push_back(event) }
        }
    }

    fn start_send(&mut self, shard: usize, number: u32) {
        let Some(socket) = self.shards[shard].get_mut(number) else { return };
        let (Role::Connection(end), Some(sending)) = (socket.role, &mut socket.sending) else { return };
        sending.is_submitted = true;
        let bytes: Vec<u8> = sending.segments.iter().flat_map(Segment::as_slice).copied().collect();
        let Some(end_state) = self.network.end(end) else { return };
        if end_state.is_reset || end_state.is_finished {
            return self.sent_all(shard, number, Err(libc::EPIPE));
        }
        end_state.outgoing.extend(bytes);
        self.pump(end);
    }

    fn start_stream(&mut self, shard: usize, number: u32) {
        let Some(socket) = self.shards[shard].get_mut(number) else { return };
        if let (Role::Connection(end), Some(receiving)) = (socket.role, &mut socket.receiving) {
            receiving.is_submitted = true;
            self.notify(end);
        }
    }

    pub(super) fn finish_receiving(&mut self, shard: usize, number: u32, uid: u64) {
        let Some(socket) = self.shards[shard].get_mut(number) else { return };
        let is_stopping = socket.uid == uid && socket.receiving.is_some_and(|receiving| receiving.is_stopping);
        if is_stopping && let Some(receiving) = socket.receiving.take() {
            let result = Err(io::ErrorKind::Interrupted.into());
            self.shards[shard].events.push_back(Event::ReceiveEnded { tag: receiving.tag, result });
        }
    }

    fn close_socket(&mut self, shard: usize, number: u32) {
        if let Some(socket) = self.shards[shard].remove(number) {
            match socket.role {
                Role::Listener { uid, .. } => self.network.remove_listener(uid),
                Role::Connection(end) => self.close_end(end, false),
            }
        }
    }

    /// The process is gone.
    fn end_life(&mut self, shard: usize) {
        for number in 0..self.shards[shard].sockets.len() as u32 {
            if let Some(Role::Connection(end)) = self.shards[shard].get(number).map(|socket| socket.role)
                && let Some(end) = self.network.end(end)
            {
                // What the process had not handed over entirely is cut where it stands.
                end.outgoing.clear();
            }
            self.close_socket(shard, number);
        }
        let life = self.shards[shard].life + 1;
        let outside = Arc::clone(&self.shards[shard].is_woken_from_outside);
        self.shards[shard] = ShardState { life, is_woken_from_outside: outside, ..ShardState::default() };
    }
}

/// A call that takes effect in the next turn.
enum Submission {
    StartReceiving(u32),
    StopReceiving(u32, u64),
    Send(u32),
    Connect(Address, Tag),
    File(FileOperation, Tag),
    Wake(usize),
    Close(u32),
}

/// One shard's driver.
pub struct SimulatedDriver {
    state: Rc<RefCell<State>>,
    shard: usize,
    life: u64,
    submissions: Vec<Submission>,
    /// Lent buffers by id.
    buffers: Vec<Option<Vec<u8>>>,
    buffers_free: Vec<u16>,
    last_wait: Wait,
}

impl SimulatedDriver {
    pub(super) fn new(state: Rc<RefCell<State>>, shard: usize) -> Self {
        let (life, count) = {
            let mut state = state.borrow_mut();
            assert!(!state.shards[shard].has_driver, "shard {shard} has a driver already");
            state.shards[shard].has_driver = true;
            (state.shards[shard].life, state.faults.receive_buffers)
        };
        let buffers_free = (0..count as u16).rev().collect();
        let buffers = vec![None; count];
        Self { state, shard, life, submissions: Vec::new(), buffers, buffers_free, last_wait: Wait::Not }
    }

    /// Whether a turn would do or return something now.
    pub fn has_events(&self) -> bool {
        let state = self.state.borrow();
        let shard = &state.shards[self.shard];
        !self.submissions.is_empty()
            || !shard.events.is_empty()
            || shard.is_woken
            || shard.is_woken_from_outside.load(Ordering::Acquire)
            || (!shard.readable.is_empty() && !self.buffers_free.is_empty())
    }

    /// What the last turn was told to wait for: the shard sleeps until then, or until [`Self::has_events`].
    pub fn last_wait(&self) -> Wait {
        self.last_wait
    }

    fn submit(&mut self) {
        let state = &mut *self.state.borrow_mut();
        let (shard, life) = (self.shard, self.life);
        for submission in self.submissions.drain(..) {
            match submission {
                Submission::StartReceiving(number) => state.start_stream(shard, number),
                Submission::StopReceiving(number, uid) => {
                    state.schedule_after(STOP_DELAY_NS, Action::StopReceiving { shard, number, uid });
                }
                Submission::Send(number) => state.start_send(shard, number),
                Submission::Connect(address, tag) => {
                    let action = Action::Connect { shard, life, address, tag };
                    state.schedule_after(state.faults.network_delay_ns, action);
                }
                Submission::File(operation, tag) => {
                    let action = Action::File { shard, life, operation: Box::new(operation), tag };
                    state.schedule_after(state.faults.disk_delay_ns, action);
                }
                Submission::Wake(shard) => state.schedule_after(state.faults.wake_delay_ns, Action::Wake { shard }),
                Submission::Close(number) => state.close_socket(shard, number),
            }
        }
    }

    /// Delivers what arrived to the streams, as far as there are buffers.
    fn deliver(&mut self, events: &mut Vec<Event>) {
        let shared = Rc::clone(&self.state);
        let state = &mut *shared.borrow_mut();
        for _ in 0..state.shards[self.shard].readable.len() {
            let Some(number) = state.shards[self.shard].readable.pop_front() else { break };
            let Some(socket) = state.shards[self.shard].get_mut(number) else { continue };
            socket.is_in_readable = false;
            if let (Role::Connection(end), Some(receiving)) = (socket.role, socket.receiving) {
                self.deliver_to(state, number, end, receiving.tag, events);
            }
        }
    }

    fn deliver_to(&mut self, state: &mut State, number: u32, end: EndId, tag: Tag, events: &mut Vec<Event>) {
        loop {
            let Some(end_state) = state.network.end(end) else { return };
            let count = end_state.arrived.len().min(state.faults.receive_buffer_bytes);
            if count == 0 {
                let result = match (end_state.is_reset, end_state.has_end_arrived) {
                    (true, _) => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
                    (false, true) => Ok(()),
                    (false, false) => return,
                };
                if let Some(socket) = state.shards[self.shard].get_mut(number) {
                    socket.receiving = None;
                }
                events.push(Event::ReceiveEnded { tag, result });
                return;
            }
            let Some(id) = self.buffers_free.pop() else {
                return state.shards[self.shard].mark_readable(number);
            };
            let is_short = state.happens(state.faults.short_transfer_per_million);
            let count = if is_short { state.random.usize(1..=count) } else { count };
            self.buffers[usize::from(id)] = Some(state.take_arrived(end, count));
            events.push(Event::Received { tag, buffer: BufferId(id) });
            if is_short {
                // The rest comes in a later turn.
                return state.notify(end);
            }
        }
    }
}

impl Driver for SimulatedDriver {
    fn clock(&self) -> Clock {
        let state = self.state.borrow();
        let wall_ms = WALL_START_MS + (state.now_ns / 1_000_000) as i64 + state.wall_offset_ms;
        Clock { monotonic_ns: state.now_ns, wall_ms }
    }

    fn busy_ns(&self) -> u64 {
        // As if it had never slept, so that shards gather whenever they have the clients for it.
        self.clock().monotonic_ns
    }

    fn listen(&mut self, address: &Address, _backlog: u32, reuse_port: bool, tag: Tag) -> io::Result<Socket> {
        let state = &mut *self.state.borrow_mut();
        // The listener knows its socket's number, and the socket its listener's: the number is the one to be given next.
        let number = state.shards[self.shard].insert(SocketState::new(0, Role::Listener { uid: 0, tag }));
        match state.listen(address, Acceptor::Shard { shard: self.shard, socket: number }, reuse_port) {
            Ok(uid) => {
                state.shards[self.shard].socket(Socket(number)).role = Role::Listener { uid, tag };
                Ok(Socket(number))
            }
            Err(error) => {
                state.shards[self.shard].remove(number);
                Err(error)
            }
        }
    }

    fn accept_on(&mut self, _: OwnedFd, address: &Address, _: Tag) -> Socket {
        unreachable!("a simulated shard was given a socket of the system, bound to {address:?}")
    }

    fn configure(&mut self, socket: Socket, _options: SocketOptions) {
        self.state.borrow_mut().shards[self.shard].socket(socket);
    }

    fn ends(&self, socket: Socket) -> Ends {
        let state = self.state.borrow();
        match state.shards[self.shard].get(socket.0).map(|socket| socket.role) {
            Some(Role::Connection(end)) => state.network.ends(end),
            Some(Role::Listener { uid, .. }) => Ends { local: state.network.listener_name(uid), ..Ends::default() },
            None => Ends::default(),
        }
    }

    fn start_receiving(&mut self, socket: Socket, tag: Tag) {
        let mut state = self.state.borrow_mut();
        let socket_state = state.shards[self.shard].socket(socket);
        assert!(socket_state.receiving.is_none(), "one receive stream per socket");
        socket_state.receiving = Some(Receiving { tag, is_submitted: false, is_stopping: false });
        self.submissions.push(Submission::StartReceiving(socket.0));
    }

    fn stop_receiving(&mut self, socket: Socket, tag: Tag) {
        let mut state = self.state.borrow_mut();
        let socket_state = state.shards[self.shard].socket(socket);
        let uid = socket_state.uid;
        let Some(receiving) = &mut socket_state.receiving else { return };
        assert_eq!(receiving.tag, tag, "another stream's tag");
        if !std::mem::replace(&mut receiving.is_stopping, true) {
            self.submissions.push(Submission::StopReceiving(socket.0, uid));
        }
    }

    fn received(&self, buffer: BufferId) -> &[u8] {
        self.buffers[usize::from(buffer.0)].as_deref().expect("a lent buffer")
    }

    fn recycle(&mut self, buffer: BufferId) {
        let bytes = self.buffers[usize::from(buffer.0)].take();
        assert!(bytes.is_some(), "recycled twice");
        self.buffers_free.push(buffer.0);
    }

    fn send(&mut self, socket: Socket, segments: Vec<Segment>, tag: Tag, notice: Notice) {
        let mut state = self.state.borrow_mut();
        let uid = state.uid();
        let socket_state = state.shards[self.shard].socket(socket);
        assert!(socket_state.sending.is_none(), "one send per socket");
        socket_state.sending = Some(Sending { uid, tag, segments, notice, is_submitted: false, result: None });
        self.submissions.push(Submission::Send(socket.0));
    }

    fn shutdown(&mut self, socket: Socket) {
        let mut state = self.state.borrow_mut();
        if let Role::Connection(end) = state.shards[self.shard].socket(socket).role {
            state.shut_down_end(end);
        }
    }

    fn close(&mut self, socket: Socket) {
        let mut state = self.state.borrow_mut();
        let socket_state = state.shards[self.shard].socket(socket);
        let is_busy = socket_state.receiving.is_some() || socket_state.sending.is_some();
        assert!(!is_busy, "closed with something under way: {socket_state:?}");
        match socket_state.role {
            Role::Listener { .. } => state.close_socket(self.shard, socket.0),
            Role::Connection(_) => self.submissions.push(Submission::Close(socket.0)),
        }
    }

    fn connect(&mut self, address: &Address, tag: Tag) {
        self.submissions.push(Submission::Connect(address.clone(), tag));
    }

    fn detach(&mut self, socket: Socket) -> DetachedSocket {
        let mut state = self.state.borrow_mut();
        let socket_state = state.shards[self.shard].remove(socket.0).expect("an open socket");
        let is_busy = socket_state.receiving.is_some() || socket_state.sending.is_some();
        assert!(!is_busy, "detached with something under way: {socket_state:?}");
        let Role::Connection(end) = socket_state.role else { panic!("detached a listener") };
        if let Some(end) = state.network.end(end) {
            end.holder = Holder::Nobody;
        }
        DetachedSocket((end.connection * 2) as i64 + end.side as i64)
    }

    fn attach(&mut self, socket: DetachedSocket) -> Socket {
        let end = EndId { connection: socket.0 as u64 / 2, side: (socket.0 % 2) as usize };
        Socket(self.state.borrow_mut().hold(end, self.shard))
    }

    fn file(&mut self, operation: FileOperation, tag: Tag) {
        self.submissions.push(Submission::File(operation, tag));
    }

    fn wake(&mut self, shard: usize) {
        self.submissions.push(Submission::Wake(shard));
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.last_wait = wait;
        self.submit();
        {
            let mut state = self.state.borrow_mut();
            let shard = &mut state.shards[self.shard];
            let is_woken_from_outside = shard.is_woken_from_outside.swap(false, Ordering::AcqRel);
            if std::mem::take(&mut shard.is_woken) || is_woken_from_outside {
                events.push(Event::Woken);
            }
            events.append(&mut shard.late_events);
            events.extend(shard.events.drain(..));
        }
        self.deliver(events);
        Ok(())
    }
}

impl Drop for SimulatedDriver {
    fn drop(&mut self) {
        self.state.borrow_mut().end_life(self.shard);
    }
}
