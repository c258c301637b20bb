//! Connections: two ends, and a stream of bytes in each direction.
//!
//! ```text
//!   end A: outgoing ──pump: random segments, random delays, never overtaking──> arrived :end B
//!          └────────────── in_flight_bytes <= window ───────────────────────────┘
//!                            (given back when B reads, then A pumps again)
//! ```
//!
//! The end of a stream and a reset travel like segments. Bytes that reach a closed end come back as a reset, and so does a
//! close with unread bytes, as in TCP. Bytes that arrived before a reset can still be read.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::super::driver::{Address, Ends, Event, Socket, Tag};
use super::driver::{Role, SocketState};
use super::{Action, State};

/// How long a listener waits after a failed accept.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// One of the two ends of a connection: 0 opened it, 1 accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) connection: u64,
    pub(super) side: usize,
}

impl EndId {
    pub(super) fn other(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }
}

/// What can reach an end.
#[derive(Debug)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody yet: in a listener's queue, or between two drivers.
    Nobody,
    /// A test.
    Client,
    /// A shard's socket.
    Shard {
        shard: usize,
        socket: u32,
    },
    Closed,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) holder: Holder,
    /// Its address as the other end sees it.
    name: String,
    /// Bytes to read here.
    pub(super) arrived: VecDeque<u8>,
    /// Whether the other side's end of stream is behind them.
    pub(super) has_end_arrived: bool,
    pub(super) is_reset: bool,
    /// Bytes written here that the window did not take yet.
    pub(super) outgoing: VecDeque<u8>,
    /// Bytes from here that the other end has not read.
    in_flight_bytes: usize,
    /// Nothing from here may arrive before this.
    last_arrival_ns: u64,
    /// No more will be written here; and whether that is on its way.
    pub(super) is_finished: bool,
    is_end_sent: bool,
}

impl End {
    fn new(holder: Holder, name: String) -> Self {
        Self {
            holder,
            name,
            arrived: VecDeque::new(),
            has_end_arrived: false,
            is_reset: false,
            outgoing: VecDeque::new(),
            in_flight_bytes: 0,
            last_arrival_ns: 0,
            is_finished: false,
            is_end_sent: false,
        }
    }
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    is_unix: bool,
}

/// Who takes the connections to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptor {
    Shard { shard: usize, socket: u32 },
    Test,
}

#[derive(Debug)]
struct ListenerState {
    name: String,
    acceptor: Acceptor,
    can_share: bool,
    is_failing: bool,
    /// For a test's listener: what it can accept.
    queue: VecDeque<u64>,
}

/// All connections and listeners.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<u64, Connection>,
    listeners: BTreeMap<u64, ListenerState>,
    next_port: u16,
}

/// The name of an address, unique in the world.
fn name_of(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix { path, .. } => format!("{}:0", path.display()),
    }
}

impl Network {
    pub(super) fn end(&mut self, end: EndId) -> Option<&mut End> {
        self.connections.get_mut(&end.connection).map(|connection| &mut connection.ends[end.side])
    }

    pub(super) fn ends(&self, end: EndId) -> Ends {
        let Some(connection) = self.connections.get(&end.connection) else { return Ends::default() };
        let peer = connection.ends[1 - end.side].name.clone();
        let local = connection.ends[end.side].name.clone();
        let is_loopback = connection.is_unix || peer.starts_with("127.") || peer.starts_with("[::1]");
        Ends { peer, local, is_loopback, is_unix: connection.is_unix, descriptor: None }
    }

    pub(super) fn listener_name(&self, listener: u64) -> String {
        self.listeners.get(&listener).map(|listener| listener.name.clone()).unwrap_or_default()
    }

    fn port(&mut self) -> u16 {
        self.next_port = (self.next_port + 1) % 20_000;
        40_000 + self.next_port
    }

    pub(super) fn remove_listener(&mut self, listener: u64) {
        self.listeners.remove(&listener);
    }

    pub(super) fn take_from_queue(&mut self, listener: u64) -> Option<EndId> {
        let connection = self.listeners.get_mut(&listener)?.queue.pop_front()?;
        let end = EndId { connection, side: 1 };
        self.end(end)?.holder = Holder::Client;
        Some(end)
    }
}

/// Listening and connecting.
impl State {
    pub(super) fn listen(&mut self, address: &Address, acceptor: Acceptor, can_share: bool) -> io::Result<u64> {
        let mut name = name_of(address);
        if let Address::Tcp(address) = address
            && address.port() == 0
        {
            let mut address = *address;
            address.set_port(self.network.port());
            name = address.to_string();
        }
        let is_taken = |other: &&ListenerState| other.name == name && !(can_share && other.can_share);
        if self.network.listeners.values().find(is_taken).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let uid = self.uid();
        let listener = ListenerState { name, acceptor, can_share, is_failing: false, queue: VecDeque::new() };
        self.network.listeners.insert(uid, listener);
        Ok(uid)
    }

    /// Opens a connection to whoever listens; `None` if nobody does.
    pub(super) fn open(&mut self, address: &Address, holder: Holder) -> Option<EndId> {
        let name = name_of(address);
        let listeners = self.network.listeners.iter().filter(|(_, listener)| listener.name == name);
        let listeners: Vec<u64> = listeners.map(|(uid, _)| *uid).collect();
        if listeners.is_empty() {
            return None;
        }
        let listener = listeners[self.random.usize(0..listeners.len())];
        let is_unix = matches!(address, Address::Unix { .. });
        let own_name = if is_unix { name.clone() } else { format!("127.0.0.1:{}", self.network.port()) };
        let connection = self.uid();
        let ends = [End::new(holder, own_name), End::new(Holder::Nobody, name)];
        self.network.connections.insert(connection, Connection { ends, is_unix });
        self.schedule_after(self.faults.network_delay_ns, Action::Accept { listener, connection });
        Some(EndId { connection, side: 0 })
    }

    pub(super) fn accept(&mut self, listener: u64, connection: u64) {
        let end = EndId { connection, side: 1 };
        let Some(acceptor) = self.network.listeners.get(&listener).map(|listener| listener.acceptor) else {
            return self.close_end(end, true);
        };
        let Acceptor::Shard { shard, socket } = acceptor else {
            if let Some(listener) = self.network.listeners.get_mut(&listener) {
                listener.queue.push_back(connection);
            }
            return;
        };
        let tag = self.shards[shard].listener_tag(socket);
        let fails = self.happens(self.faults.accept_failure_per_million);
        if let Some(listener) = self.network.listeners.get_mut(&listener) {
            let is_news = fails && !listener.is_failing;
            listener.is_failing = fails;
            if is_news {
                let error = io::Error::from_raw_os_error(libc::EMFILE);
                self.shards[shard].events.push_back(Event::AcceptFailed { tag, error });
            }
        }
        if fails {
            return self.schedule_at(self.now_ns + ACCEPT_PAUSE_NS, Action::Accept { listener, connection });
        }
        let socket = self.hold(end, shard);
        self.shards[shard].events.push_back(Event::Accepted { tag, socket: Socket(socket) });
    }

    /// Gives an end a socket of a shard.
    pub(super) fn hold(&mut self, end: EndId, shard: usize) -> u32 {
        let uid = self.uid();
        let socket = self.shards[shard].insert(SocketState::new(uid, Role::Connection(end)));
        if let Some(end) = self.network.end(end) {
            end.holder = Holder::Shard { shard, socket };
        }
        socket
    }

    pub(super) fn finish_connect(&mut self, shard: usize, life: u64, address: &Address, tag: Tag) {
        if self.shards[shard].life != life {
            return;
        }
        let is_refused = self.happens(self.faults.connect_failure_per_million);
        let end = if is_refused { None } else { self.open(address, Holder::Nobody) };
        let result = match end {
            Some(end) => Ok(Socket(self.hold(end, shard))),
            None => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
        };
        self.shards[shard].events.push_back(Event::Connected { tag, result });
    }
}

/// The streams.
impl State {
    /// Moves what was written at an end towards the other, as far as the window goes.
    pub(super) fn pump(&mut self, from: EndId) {
        loop {
            let (window_bytes, segment_bytes_max) = (self.faults.window_bytes, self.faults.segment_bytes_max);
            let Some(end) = self.network.end(from) else { return };
            let room = window_bytes.saturating_sub(end.in_flight_bytes);
            let count = end.outgoing.len().min(room).min(segment_bytes_max);
            if count == 0 {
                break;
            }
            let count = self.random.usize(1..=count);
            let Some(end) = self.network.end(from) else { return };
            let bytes: Vec<u8> = end.outgoing.drain(..count).collect();
            end.in_flight_bytes += count;
            if self.happens(self.faults.reset_per_million) {
                self.travel(from, Arrival::Reset);
                self.travel(from.other(), Arrival::Reset);
                return;
            }
            self.travel(from, Arrival::Bytes(bytes));
        }
        self.finish_outgoing(from);
    }

    /// What follows when everything written at an end is on its way.
    fn finish_outgoing(&mut self, from: EndId) {
        let Some(end) = self.network.end(from) else { return };
        if !end.outgoing.is_empty() {
            return;
        }
        let must_send_end = end.is_finished && !end.is_end_sent;
        end.is_end_sent |= must_send_end;
        if let Holder::Shard { shard, socket } = end.holder {
            self.sent_all(shard, socket, Ok(()));
        }
        if must_send_end {
            self.travel(from, Arrival::End);
        }
    }

    /// Sends something from an end to the other; it arrives after everything that was sent there before.
    fn travel(&mut self, from: EndId, arrival: Arrival) {
        let (least_ns, most_ns) = self.faults.network_delay_ns;
        let time_ns = self.now_ns + self.random.u64(least_ns..=most_ns);
        let Some(end) = self.network.end(from) else { return };
        end.last_arrival_ns = end.last_arrival_ns.max(time_ns);
        let time_ns = end.last_arrival_ns;
        self.schedule_at(time_ns, Action::Arrive(from.other(), arrival));
    }

    pub(super) fn arrive(&mut self, at: EndId, arrival: Arrival) {
        let Some(end) = self.network.end(at) else { return };
        if end.is_reset {
            return;
        }
        if end.holder == Holder::Closed {
            if let Arrival::Bytes(_) = arrival {
                self.travel(at, Arrival::Reset);
            }
            return;
        }
        match arrival {
            Arrival::Bytes(bytes) => end.arrived.extend(bytes),
            Arrival::End => end.has_end_arrived = true,
            Arrival::Reset => {
                end.is_reset = true;
                end.outgoing.clear();
                if let Holder::Shard { shard, socket } = end.holder {
                    self.sent_all(shard, socket, Err(libc::ECONNRESET));
                }
            }
        }
        self.notify(at);
    }

    /// Tells the holder's stream, if there is one, that there is something to read.
    pub(super) fn notify(&mut self, at: EndId) {
        let Some(end) = self.network.end(at) else { return };
        let is_readable = !end.arrived.is_empty() || end.has_end_arrived || end.is_reset;
        if let Holder::Shard { shard, socket } = end.holder
            && is_readable
        {
            self.shards[shard].mark_readable(socket);
        }
    }

    /// Takes up to `max` arrived bytes, which lets the other end go on.
    pub(super) fn take_arrived(&mut self, at: EndId, max: usize) -> Vec<u8> {
        let Some(end) = self.network.end(at) else { return Vec::new() };
        let count = end.arrived.len().min(max);
        let bytes: Vec<u8> = end.arrived.drain(..count).collect();
        if let Some(other) = self.network.end(at.other()) {
            other.in_flight_bytes = other.in_flight_bytes.saturating_sub(count);
        }
        if count > 0 {
            self.pump(at.other());
        }
        bytes
    }

    /// Closes an end: with a reset if told, or if there is something unread; else with an end of stream behind what was
    /// written.
    pub(super) fn close_end(&mut self, at: EndId, with_reset: bool) {
        let Some(end) = self.network.end(at) else { return };
        if end.holder == Holder::Closed {
            return;
        }
        end.holder = Holder::Closed;
        let is_reset = end.is_reset;
        if (with_reset || !end.arrived.is_empty()) && !is_reset {
            end.outgoing.clear();
            self.travel(at, Arrival::Reset);
        } else if !is_reset {
            end.is_finished = true;
            self.pump(at);
        }
        if self.network.end(at.other()).is_some_and(|other| other.holder == Holder::Closed) {
            self.network.connections.remove(&at.connection);
        }
    }

    /// Ends both directions of an end that stays open.
    pub(super) fn shut_down_end(&mut self, at: EndId) {
        let Some(end) = self.network.end(at) else { return };
        let holder = end.holder;
        let is_cut = !end.outgoing.is_empty();
        end.outgoing.clear();
        end.has_end_arrived = true;
        end.is_finished = true;
        if let (true, Holder::Shard { shard, socket }) = (is_cut, holder) {
            self.sent_all(shard, socket, Err(libc::EPIPE));
        }
        self.pump(at);
        self.notify(at);
    }
}
