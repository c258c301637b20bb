//! The slab of connections: who is here, who waits for what, and what the core loop is to do for whom.

use super::client_memory::Counted;
use super::connection::{
    Affinity, Connection, ConnectionFigures, ConnectionKey, MovedConnection, Output, Phase, Receiving, SessionState,
};
use super::encrypted::Transport;
use super::multi::Transaction;
use super::query_buffer::QueryBuffer;
use super::{Arrival, ConnectionSlot, Core};
use crate::connection::parser::Parser;
use crate::mailbox::{Message, Request};
use crate::reactor::driver::{DetachedSocket, Ends, Notice, Segment, Socket};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_engine::reply::ReplyBuffer;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::schedule::Ticket;

/// More than this keeps memory, or a client that does not read, too long to be heard of only when something else happens.
const LATE_NOTICE_BYTES_MAX: usize = 16 << 10;

/// What the core loop is to do for a connection.
#[derive(Debug)]
pub enum Want {
    /// Send these; one at a time.
    Send(Socket, Vec<Segment>, Notice),
    /// Start the receive stream.
    StartReceiving(Socket),
    /// End it.
    StopReceiving(Socket),
    /// End both directions, so that what is under way ends.
    Shutdown(Socket),
    /// Give the descriptor back; the connection is gone.
    Close(Socket),
    /// Detach it and call [`Core::depart`].
    Detach(Socket),
}

/// Whoever makes more once this is gone, or ends with it, is to hear at once that it is; others when there is something to do.
pub(super) fn notice_for(connection: &Connection, bytes: usize) -> Notice {
    let is_awaited = connection.phase != Phase::Open
        || connection.paused
        || !connection.runs.is_empty()
        || !connection.output.is_empty()
        || bytes > LATE_NOTICE_BYTES_MAX;
    if is_awaited { Notice::Prompt } else { Notice::WithNext }
}

/// What limits count of a client's replies. As the real servers keep them: the first 16 KiB, in a buffer that each client has
/// anyway, not; the others in pieces of that size.
fn limited_output_bytes(output_bytes: usize) -> u64 {
    const PIECE_BYTES: usize = 16 << 10;
    output_bytes.saturating_sub(PIECE_BYTES).next_multiple_of(PIECE_BYTES) as u64
}

impl Core {
    pub(super) fn take_connection(&mut self, key: ConnectionKey) -> Option<Box<Connection>> {
        let slot = self.connections.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.connection.take() } else { None }
    }

    pub(super) fn put_connection(&mut self, connection: Box<Connection>) {
        let index = connection.key.index as usize;
        let connection = self.connections[index].connection.insert(connection);
        let key = connection.key;
        if self.pubsub.has_held() {
            self.push_held(key);
        }
    }

    /// A connection by its key.
    pub fn connection_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        let slot = self.connections.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.connection.as_deref_mut() } else { None }
    }

    /// All connections of this shard.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter_map(|slot| slot.connection.as_deref())
    }

    /// Keys of all connections of this shard.
    pub fn connection_keys(&self) -> Vec<ConnectionKey> {
        self.connections().map(|connection| connection.key).collect()
    }

    /// The shard that a new connection goes to.
    pub fn choose_home(&mut self) -> usize {
        self.accept_cursor = self.shared.quietest_shard(self.accept_cursor);
        self.shared.gauges[self.accept_cursor].connections.fetch_add(1, Ordering::Relaxed);
        self.accept_cursor
    }

    /// Sends a connection that was accepted here to its home.
    pub fn send_to_home(&mut self, home: usize, socket: DetachedSocket, is_encrypted: bool) {
        self.counters.messages_sent += 1;
        self.shared.mailboxes.push_home(home, Node::new(Message::Adopt(socket, is_encrypted)));
        self.wake_if_asleep(home);
    }

    /// Takes a new connection in; [`Core::choose_home`] has counted it. None, with the text to send, if it is refused.
    pub fn admit(&mut self, socket: Socket, ends: Ends) -> Result<ConnectionKey, &'static str> {
        let refusal = if self.shared.connections() > self.settings.clients_max {
            Some("-ERR max number of clients reached\r\n")
        } else if self.settings.protected_mode && self.users.default_user().has_no_password && !ends.is_loopback {
            Some(PROTECTED_MODE_TEXT)
        } else {
            None
        };
        if let Some(text) = refusal {
            self.counters.rejected += 1;
            self.shared.gauges[self.index].connections.fetch_sub(1, Ordering::Relaxed);
            return Err(text);
        }
        self.counters.accepted += 1;
        let id = self.shared.take_client_id();
        let now_ns = self.clock.monotonic_ns;
        let figures = ConnectionFigures { created_ns: now_ns, active_ns: now_ns, ..ConnectionFigures::default() };
        let session = SessionState::new(self.new_access());
        Ok(self.insert_connection(id, Some(socket), ends, session, figures))
    }

    pub(crate) fn insert_connection(
        &mut self,
        id: u64,
        socket: Option<Socket>,
        ends: Ends,
        session: SessionState,
        figures: ConnectionFigures,
    ) -> ConnectionKey {
        let index = self.free_connections.pop().unwrap_or_else(|| {
            self.connections.push(ConnectionSlot::default());
            self.connections.len() as u32 - 1
        });
        let slot = &mut self.connections[index as usize];
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        let key = ConnectionKey { index, generation: slot.generation };
        let connection = Box::new(Connection {
            id,
            key,
            socket,
            ends,
            transport: Transport::default(),
            session,
            figures,
            parser: Parser::default(),
            query_buffer: QueryBuffer::default(),
            transaction: Transaction::default(),
            blocked_on: None,
            lets_pass: false,
            is_waiting: false,
            output: Output::default(),
            outstanding_here: 0,
            outstanding_elsewhere: 0,
            open_batches: 0,
            open_batches_turn: 0,
            interests: None,
            affinity: Affinity::default(),
            has_written: false,
            phase: Phase::Open,
            receiving: Receiving::Off,
            sending_bytes: 0,
            is_sending: false,
            paused: false,
            is_next_turn: false,
            turn_bytes: 0,
            waits_for_answers: false,
            runs: SmallVec::new(),
            streams: SmallVec::new(),
            at_end: false,
            hold_until_ns: None,
            is_held: false,
            waits_for_units_since_ns: None,
            is_dirty: true,
            soft_limit_since_ns: None,
            counted: Counted::default(),
        });
        slot.connection = Some(connection);
        self.connection_count += 1;
        self.dirty.push(key);
        key
    }

    /// Takes in a connection that another shard sent. From now on it is one of ours; it runs nothing before its socket has
    /// been attached.
    pub(super) fn arrive(&mut self, moved: MovedConnection) {
        let MovedConnection { socket, id, ends, transport, session, figures, query_buffer, transaction } = moved;
        let key = self.insert_connection(id, None, ends, session, figures);
        let Some(connection) = self.connection_mut(key) else { return };
        connection.transport = transport;
        connection.query_buffer = query_buffer;
        connection.transaction = transaction;
        // Users may have changed since it left.
        self.update_access(key, 0);
        self.arrivals.push(Arrival::Moved(key, socket));
    }

    /// The socket of a connection that has arrived.
    pub fn attached(&mut self, key: ConnectionKey, socket: Socket) {
        let Some(connection) = self.connection_mut(key) else { return };
        connection.socket = Some(socket);
        self.resumable.push(key);
        self.mark_dirty_key(key);
    }

    /// Sends a connection to the shard that it moves to; its socket has been detached.
    ///
    /// One multicast says that it is there, and no longer here. So whoever asks all shards (CLIENT LIST, CLIENT KILL) finds
    /// it: the two meet in one order on both. There it counts as soon as it is met, whatever waits in front of it, here as long
    /// as anything does; so it may be found twice, never not at all.
    pub fn depart(&mut self, key: ConnectionKey, socket: DetachedSocket) {
        let Some(connection) = self.connection_mut(key) else { return };
        let Phase::Moving(target) = connection.phase else { return };
        connection.socket = None;
        let moved = MovedConnection {
            socket,
            id: connection.id,
            ends: connection.ends.clone(),
            transport: std::mem::take(&mut connection.transport),
            session: connection.session.clone(),
            figures: connection.figures.clone(),
            query_buffer: std::mem::take(&mut connection.query_buffer),
            transaction: std::mem::take(&mut connection.transaction),
        };
        self.counters.connections_moved += 1;
        self.count_client(key, false);
        let gauges = &self.shared.gauges;
        gauges[self.index].connections.fetch_sub(1, Ordering::Relaxed);
        gauges[target].connections.fetch_add(1, Ordering::Relaxed);
        self.start_move((self.index, key), (target, moved));
    }

    /// A connection that has left has arrived.
    pub(super) fn has_arrived(&mut self, key: ConnectionKey, ticket: Option<Ticket>) {
        self.free_slot(key);
        self.release(ticket);
    }

    fn free_slot(&mut self, key: ConnectionKey) {
        let slot = &mut self.connections[key.index as usize];
        // Who still names it finds nobody, instead of a connection whose command is under way.
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        let counted = slot.connection.take().map(|connection| connection.counted);
        self.free_connections.push(key.index);
        self.connection_count -= 1;
        self.uncount_client(counted.unwrap_or_default());
    }

    /// The connection reads no more commands and closes when its replies are out.
    pub fn begin_close(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection_mut(key).filter(|connection| !connection.has_left()) {
            if connection.phase != Phase::Dead {
                connection.phase = Phase::Closing;
            }
            self.mark_dirty_key(key);
        }
    }

    /// The connection closes at once.
    pub fn kill(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection_mut(key).filter(|connection| !connection.has_left()) {
            connection.phase = Phase::Dead;
            self.mark_dirty_key(key);
        }
    }

    /// The same by somebody's order, who is to find when it is answered that nobody listens there any more.
    pub fn cut_off(&mut self, key: ConnectionKey) {
        self.kill(key);
        self.forget_listener(key);
    }

    /// The receive stream has ended.
    pub fn receive_ended(&mut self, key: ConnectionKey, result: std::io::Result<()>) {
        let Some(connection) = self.connection_mut(key) else { return };
        connection.receiving = Receiving::Off;
        match result {
            // End of file: commands that arrived before it are still answered.
            Ok(()) if connection.blocked_on.is_some() => self.kill(key),
            Ok(()) => {
                connection.at_end = true;
                if matches!(connection.phase, Phase::Moving(_)) {
                    connection.phase = Phase::Open;
                }
                self.resumable.push(key);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.mark_dirty_key(key),
            Err(_) => self.kill(key),
        }
    }

    /// A send is over.
    pub fn sent(&mut self, key: ConnectionKey, segments: Vec<Segment>, result: std::io::Result<()>) {
        let bytes: usize = segments.iter().map(|segment| segment.as_slice().len()).sum();
        self.counters.writes += 1;
        for segment in segments {
            if let Segment::Owned(buffer) = segment {
                self.keep_buffer(buffer);
            }
        }
        let Some(connection) = self.connection_mut(key) else { return };
        let bytes = connection.transport.note_sent(bytes);
        connection.is_sending = false;
        connection.sending_bytes = connection.sending_bytes.saturating_sub(bytes);
        connection.has_written &= connection.outstanding() > 0 || !connection.is_drained();
        connection.figures.sent_bytes += bytes as u64;
        if result.is_err() {
            connection.phase = Phase::Dead;
        }
        self.counters.sent_bytes += bytes as u64;
        // Now, since its next command may be in this turn, and about the limit of clients' memory.
        self.recount_client(key);
        self.mark_dirty_key(key);
        self.consider_resuming(key);
    }

    /// Whether a connection has written something that it has no reply to.
    pub fn has_written(&mut self, key: ConnectionKey) -> bool {
        self.connection_mut(key).is_some_and(|connection| connection.has_written)
    }

    pub(super) fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        const SPARE_BUFFERS_MAX: usize = 256;
        const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;
        let is_fit = buffer.capacity() <= SPARE_BUFFER_BYTES_MAX && !self.memory.has_told();
        if is_fit && self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }

    /// Hands a reply to a connection's place, if the connection is still there.
    pub(super) fn deliver(&mut self, request: Request, fill: impl FnOnce(&mut ReplyBuffer)) {
        let Some(connection) = self.connection_mut(request.connection) else { return };
        connection.deliver(&request, fill);
        self.mark_dirty_key(request.connection);
        self.consider_resuming(request.connection);
    }

    /// A paused connection goes on when half of what stopped it is gone: at once if it has sent nothing meanwhile, else in
    /// the next local run.
    pub(super) fn consider_resuming(&mut self, key: ConnectionKey) {
        self.wake_producers(key);
        let (unsent_max, outstanding_max) = (self.settings.unsent_pause_bytes / 2, self.settings.outstanding_max / 2);
        let Some(connection) = self.connection_mut(key) else { return };
        let goes_on = connection.paused
            && connection.phase == Phase::Open
            && connection.runs.is_empty()
            && !connection.is_waiting
            && connection.output_bytes() <= unsent_max
            && connection.output.outstanding() <= outstanding_max;
        if goes_on && connection.query_buffer.is_empty() && !connection.at_end {
            connection.go_on();
            self.mark_dirty_key(key);
        } else if goes_on && !self.resumable.contains(&key) {
            self.resumable.push(key);
        }
    }

    /// Runs what paused connections had sent; part of the local run.
    pub fn run_resumable(&mut self) {
        self.end_pause_when_due();
        self.end_waits_when_due();
        self.look_at_units_when_due();
        for key in std::mem::take(&mut self.resumable) {
            self.resume(key);
        }
        let limit = self.settings.in_flight_bytes_max / 2;
        if !self.starved.is_empty() && self.in_flight_bytes.iter().all(|bytes| *bytes <= limit) {
            for key in std::mem::take(&mut self.starved) {
                self.resume(key);
            }
        }
    }

    /// Whether a local run is due without any new bytes.
    pub fn has_resumable(&self) -> bool {
        !self.resumable.is_empty() || !self.arrivals.is_empty()
    }

    pub(super) fn mark_dirty(&mut self, connection: &mut Connection) {
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(connection.key);
        }
    }

    /// Puts a connection on the list that [`Core::settle`] works off.
    pub fn mark_dirty_key(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection_mut(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// When the first held reply is due, monotonic nanoseconds.
    pub fn next_hold_ns(&self) -> Option<u64> {
        let held = self.held.iter().filter_map(|key| self.connections[key.index as usize].connection.as_ref());
        held.filter_map(|connection| connection.hold_until_ns).min()
    }

    /// Lets go of replies that have been held long enough, and forgets those that went; part of a turn.
    pub fn release_held(&mut self) {
        let now_ns = self.clock.monotonic_ns;
        let mut held = std::mem::take(&mut self.held);
        held.retain(|key| {
            let Some(connection) = self.connection_mut(*key) else { return false };
            connection.is_held = connection.hold_until_ns.is_some_and(|until_ns| until_ns > now_ns);
            let (is_held, is_due) = (connection.is_held, connection.hold_until_ns.is_some());
            if !is_held && is_due {
                self.mark_dirty_key(*key);
            }
            is_held
        });
        self.held = held;
    }

    /// Asks, for each connection that something happened to, what is to be done.
    pub fn settle(&mut self, mut carry_out: impl FnMut(&mut Self, ConnectionKey, Want)) {
        self.keep_client_limit();
        self.replies_are_counted();
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(connection) = self.connection_mut(key) {
                connection.is_dirty = false;
            }
            self.settle_one(key, &mut carry_out);
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// Sends what is ready, unless more is to go with it.
    fn send_ready(
        &mut self,
        key: ConnectionKey,
        socket: Socket,
        carry_out: &mut impl FnMut(&mut Self, ConnectionKey, Want),
    ) {
        let now_ns = self.clock.monotonic_ns;
        let pushes_ns = self.pace.in_haste(self.settings.gather_ns_max);
        let mut spare = self.spare_buffers.pop();
        let Some(connection) = self.connection_mut(key) else { return };
        let may_send = connection.phase != Phase::Dead && !connection.is_sending && !connection.output.ready.is_empty();
        if may_send && hold_back(connection, now_ns, pushes_ns) {
            if !std::mem::replace(&mut connection.is_held, true) {
                self.held.push(key);
            }
        } else if may_send {
            connection.hold_until_ns = None;
            let bytes = connection.output.ready.len();
            connection.is_sending = true;
            connection.sending_bytes = bytes;
            let segments = connection.output.take_segments(spare.take().unwrap_or_default());
            let notice = notice_for(connection, bytes);
            carry_out(self, key, Want::Send(socket, segments, notice));
        }
        if let Some(spare) = spare {
            self.spare_buffers.push(spare);
        }
    }

    fn settle_one(&mut self, key: ConnectionKey, carry_out: &mut impl FnMut(&mut Self, ConnectionKey, Want)) {
        // Between two shards there is nothing to be done for it.
        let Some(connection) = self.connection_mut(key) else { return };
        let (Some(socket), is_encrypted) = (connection.socket, connection.transport.is_encrypted()) else { return };
        self.check_output_limit(key);
        if is_encrypted {
            self.send_encrypted(key, socket, carry_out);
        } else {
            self.send_ready(key, socket, carry_out);
        }
        let Some(connection) = self.connection_mut(key) else { return };
        if connection.phase == Phase::Closing && connection.blocked_on.is_some() {
            // What it waits for may never come.
            connection.phase = Phase::Dead;
        }
        if connection.phase == Phase::Dead {
            self.end_wait_of(key);
        }
        let Some(connection) = self.connection_mut(key) else { return };
        let quiet = !connection.is_sending && connection.is_drained();
        if connection.phase == Phase::Closing && quiet {
            connection.phase = Phase::Dead;
        }
        if connection.phase == Phase::Dead {
            self.abandon_long(key);
            self.forget_listener(key);
        }
        let Some(connection) = self.connection_mut(key) else { return };
        let want = match (connection.phase, connection.receiving) {
            // Of one that waits for a key the end is to be noticed.
            (Phase::Open, Receiving::Off)
                if (!connection.paused || connection.blocked_on.is_some()) && !connection.at_end =>
            {
                connection.receiving = Receiving::On;
                Want::StartReceiving(socket)
            }
            // One that only waits for its turn need not stop, unless it sends faster than it is served.
            (Phase::Open, Receiving::On)
                if connection.paused
                    && connection.blocked_on.is_none()
                    && (!connection.is_next_turn || connection.query_buffer.len() > TURN_BACKLOG_BYTES_MAX) =>
            {
                connection.receiving = Receiving::Stopping;
                Want::StopReceiving(socket)
            }
            (Phase::Moving(_), Receiving::On) => {
                connection.receiving = Receiving::Stopping;
                Want::StopReceiving(socket)
            }
            (Phase::Moving(_), Receiving::Off) if quiet => Want::Detach(socket),
            (Phase::Dead, Receiving::On) => {
                connection.receiving = Receiving::Stopping;
                Want::Shutdown(socket)
            }
            (Phase::Dead, Receiving::Off) if connection.is_sending => Want::Shutdown(socket),
            (Phase::Dead, Receiving::Off) => {
                self.forget_transaction(key);
                self.free_slot(key);
                self.shared.gauges[self.index].connections.fetch_sub(1, Ordering::Relaxed);
                Want::Close(socket)
            }
            _ => return,
        };
        carry_out(self, key, want);
    }

    /// `client-output-buffer-limit`.
    pub(super) fn check_output_limit(&mut self, key: ConnectionKey) {
        let (limit, pubsub) = (self.settings.output_limit, self.settings.output_limit_pubsub);
        let now_ns = self.clock.monotonic_ns;
        let Some(connection) = self.connection_mut(key) else { return };
        let limit = if connection.is_listener() { pubsub } else { limit };
        if (limit.hard_bytes == 0 && limit.soft_bytes == 0) || connection.phase == Phase::Dead {
            return;
        }
        let bytes = limited_output_bytes(connection.output_bytes());
        let over_hard = limit.hard_bytes > 0 && bytes >= limit.hard_bytes;
        let over_soft = limit.soft_bytes > 0 && bytes >= limit.soft_bytes;
        let since = connection.soft_limit_since_ns;
        connection.soft_limit_since_ns = if over_soft { since.or(Some(now_ns)) } else { None };
        let soft_s = connection.soft_limit_since_ns.map_or(0, |since| now_ns.saturating_sub(since) / 1_000_000_000);
        if over_hard || (over_soft && soft_s > limit.soft_s) {
            tracing::warn!(id = connection.id, bytes, "Client closed for overcoming of output buffer limits.");
            connection.phase = Phase::Dead;
            self.counters.output_limit_disconnections += 1;
        }
    }

    /// The cron: idle clients are closed, unused memory is given back, output limits with a time are looked at.
    pub fn connections_cron(&mut self) {
        if !self.cron_runs {
            return;
        }
        let now_ns = self.clock.monotonic_ns;
        let counters = &self.counters;
        let [turns, turns_ns] = self.longest_turn.all();
        let totals = [counters.commands, counters.received_bytes, counters.sent_bytes, turns, turns_ns];
        self.rates.sample(now_ns, totals);
        let mut largest = [0, 0];
        let timeout_ns = self.settings.idle_timeout_s * 1_000_000_000;
        for key in self.connection_keys() {
            self.check_output_limit(key);
            self.look_at_handshake(key);
            let Some(connection) = self.connection_mut(key) else { continue };
            let idle_ns = now_ns.saturating_sub(connection.figures.active_ns);
            let waiting = [connection.query_buffer.capacity(), connection.output_bytes()];
            largest = std::array::from_fn(|index| waiting[index].max(largest[index]));
            let frame_bytes = connection.parser.frame_bytes_known();
            connection.query_buffer.trim(Duration::from_nanos(idle_ns), frame_bytes);
            if idle_ns > IDLE_AFTER_NS {
                connection.output.trim();
                connection.transaction.trim();
            }
            if timeout_ns > 0
                && idle_ns > timeout_ns
                && connection.phase == Phase::Open
                && connection.outstanding() == 0
                && !connection.is_subscriber()
                && !connection.is_own()
            {
                tracing::debug!(id = connection.id, "Closing idle client");
                connection.phase = Phase::Dead;
            }
            if connection.phase == Phase::Dead {
                self.mark_dirty_key(key);
            }
            self.recount_client(key);
        }
        self.rates.buffers.note(now_ns / 1_000_000_000, largest);
    }
}

/// Replies that wait for company from other shards wait this long at the most, in nanoseconds.
const HOLD_NS: u64 = 500_000;
/// A client that waits for its turn with more than this is not read meanwhile.
const TURN_BACKLOG_BYTES_MAX: usize = 256 << 10;
/// From this many bytes on they do not wait.
const HOLD_BYTES_MAX: usize = 16 * 1024;

/// Whether what is ready should wait for replies that are on their way from other shards: a pipeline whose keys are on
/// several shards is then answered by one send instead of one a gap. What a busy shard has for those who only listen waits
/// for `pushes_ns`, so that one send to each of them takes the messages of several turns.
pub(super) fn hold_back(connection: &mut Connection, now_ns: u64, pushes_ns: u64) -> bool {
    let longest_ns = if connection.outstanding() > 0 {
        HOLD_NS
    } else if connection.is_listener() && connection.figures.active_ns < now_ns {
        pushes_ns
    } else {
        0
    };
    if longest_ns == 0 || connection.output.ready.len() > HOLD_BYTES_MAX {
        return false;
    }
    let until_ns = *connection.hold_until_ns.get_or_insert(now_ns + longest_ns);
    now_ns < until_ns
}

/// A client silent for so long keeps no buffers, in nanoseconds.
const IDLE_AFTER_NS: u64 = 2_000_000_000;

/// Generations fit in the tag of an event beside kind and index.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

pub(super) const PROTECTED_MODE_TEXT: &str = "-DENIED Torc is running in protected mode because no password is set and this connection \
does not come from the loopback interface. To accept it: set a password with 'requirepass' (CONFIG SET requirepass from a \
loopback connection, or the configuration file), or bind only trusted interfaces and set 'protected-mode no'.\r\n";
