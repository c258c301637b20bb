//! Encrypted connections on their shard: between the reactor's bytes and the parser, and between replies and what is sent.
//!
//! ```text
//!   received ──> Transport ──┬─ Plain ────────────────────────────────────> run_received
//!                            ├─ Unseen: does it begin as TLS does? ───────> Plain, or its end
//!                            └─ Encrypted ┬─ handshake: to the thread (`crate::tls::handshakes`); what comes meanwhile is kept
//!                                         └─ open: records ──> plain bytes ─> run_received
//!   replies ──> output ──┬─ Plain ────────────────────────────────────────> Want::Send
//!                        └─ Encrypted: unsent ── so much at a time ── records ─> Want::Send
//! ```
//! What is not encrypted pays a look at its kind for each piece that is received, and for each time that something may be sent.
//!
//! Bounds: of what comes while the thread has the session, [`ARRIVED_BYTES_PAUSE`], then nothing more is read; of what is on its way out,
//! [`SEND_BYTES_MAX`] encrypted, and the replies themselves, which count for the limits of output as others do. The time in which a
//! client leaves its handshake waiting is bounded by [`HANDSHAKE_NS`].

use super::Core;
use super::connection::{Connection, ConnectionFigures, ConnectionKey, Phase, SessionState};
use super::connections::{PROTECTED_MODE_TEXT, Want, hold_back, notice_for};
use crate::reactor::driver::{Ends, Notice, Segment, Socket};
use crate::tls::handshakes::Step;
use crate::tls::session::{Failure, Progress, is_tls};
use crate::tls::{Acceptor, Session};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that came while the thread has the session; with more, the client is not read.
const ARRIVED_BYTES_PAUSE: usize = 64 << 10;
/// More than that may be on its way already; this cannot be.
const ARRIVED_BYTES_MAX: usize = 8 << 20;
/// Plain bytes that are encrypted for one send: three records, whose memory is kept for the next.
const SEND_BYTES_MAX: usize = 48 << 10;
/// For so long a client may keep its handshake waiting, in nanoseconds.
const HANDSHAKE_NS: u64 = 10_000_000_000;
/// The buffers of records that a shard keeps between two of them.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// What stands between a connection's socket and its commands.
#[derive(Debug, Default)]
pub enum Transport {
    /// Nothing, and nothing has come yet.
    #[default]
    Unseen,
    /// Nothing.
    Plain,
    /// TLS.
    Encrypted(Box<Encrypted>),
}

/// How an encrypted connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshaking,
    Open,
    /// It cannot go on; an alert may be left to be sent.
    Failed,
}

/// An encrypted connection.
#[derive(Debug)]
pub struct Encrypted {
    /// None while the thread has it.
    session: Option<Box<Session>>,
    state: State,
    /// What has come meanwhile.
    arrived: Vec<u8>,
    /// Replies that are being sent, and how much of the first has been encrypted.
    unsent: VecDeque<Segment>,
    unsent_from: usize,
    /// Plain bytes of the send that is under way.
    sending_bytes: usize,
    /// The client has been told that nothing more will come.
    has_closed: bool,
    /// Since when the client is waited for, monotonic nanoseconds, and for how long it was before that.
    waits_since_ns: u64,
    waited_ns: u64,
}

impl Encrypted {
    fn new(acceptor: Arc<Acceptor>, now_ns: u64) -> Result<Self, Failure> {
        Ok(Self {
            session: Some(Box::new(Session::new(acceptor)?)),
            state: State::Handshaking,
            arrived: Vec::new(),
            unsent: VecDeque::new(),
            unsent_from: 0,
            sending_bytes: 0,
            has_closed: false,
            waits_since_ns: now_ns,
            waited_ns: 0,
        })
    }

    fn has_outgoing(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_outgoing())
    }

    fn is_overdue(&self, now_ns: u64) -> bool {
        let waits_ns = if self.session.is_some() { now_ns.saturating_sub(self.waits_since_ns) } else { 0 };
        self.state == State::Handshaking && self.waited_ns + waits_ns > HANDSHAKE_NS
    }

    /// Encrypts as much as goes into one send, behind what TLS itself has to say. `spare` is where it is written;
    /// `emptied` takes the buffers of replies that have been encrypted whole.
    fn next_send(&mut self, spare: Vec<u8>, mut emptied: impl FnMut(Vec<u8>)) -> Result<Vec<u8>, Failure> {
        let Some(session) = &mut self.session else {
            emptied(spare);
            return Ok(Vec::new());
        };
        let mut outgoing = session.take_outgoing(Vec::new());
        if outgoing.is_empty() {
            outgoing = spare;
        } else {
            emptied(spare);
        }
        session.take_outgoing(outgoing);
        while self.sending_bytes < SEND_BYTES_MAX
            && let Some(first) = self.unsent.front()
        {
            let rest = &first.as_slice()[self.unsent_from..];
            let piece = &rest[..rest.len().min(SEND_BYTES_MAX - self.sending_bytes)];
            session.encrypt(piece)?;
            self.sending_bytes += piece.len();
            self.unsent_from += piece.len();
            if self.unsent_from == first.as_slice().len() {
                self.unsent_from = 0;
                if let Some(Segment::Owned(buffer)) = self.unsent.pop_front() {
                    emptied(buffer);
                }
            }
        }
        Ok(session.take_outgoing(Vec::new()))
    }
}

impl Transport {
    /// Whether it is TLS.
    #[inline]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Encrypted(_))
    }

    /// What it takes, in bytes: replies that wait to be encrypted count as replies.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Encrypted(encrypted) => size_of::<Encrypted>() + size_of::<Session>() + encrypted.arrived.capacity(),
            Self::Unseen | Self::Plain => 0,
        }
    }

    /// Whether what is received is what the client means.
    #[inline]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Whether its session is on the thread for handshakes.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Encrypted(encrypted) if encrypted.session.is_none())
    }

    /// A send of so many bytes is over: how many of what the client reads.
    pub fn note_sent(&mut self, bytes: usize) -> usize {
        if let Self::Encrypted(encrypted) = self { std::mem::take(&mut encrypted.sending_bytes) } else { bytes }
    }
}

impl Connection {
    fn encrypted(&mut self) -> Option<&mut Encrypted> {
        if let Transport::Encrypted(encrypted) = &mut self.transport { Some(encrypted) } else { None }
    }

    /// Whether nothing is left to be sent, that which is awaited included; but for a send under way.
    pub fn is_drained(&self) -> bool {
        match &self.transport {
            Transport::Encrypted(encrypted) if encrypted.state == State::Failed => !encrypted.has_outgoing(),
            Transport::Encrypted(encrypted) => {
                let nothing_left = encrypted.unsent.is_empty() && !encrypted.has_outgoing();
                nothing_left && self.output.is_empty()
            }
            _ => self.output.is_empty(),
        }
    }

    /// Whether replies may be taken to be encrypted.
    fn has_replies_to_encrypt(&self) -> bool {
        let Transport::Encrypted(encrypted) = &self.transport else { return false };
        encrypted.state == State::Open && encrypted.unsent.is_empty() && !self.output.ready.is_empty()
    }
}

/// Coming and going.
impl Core {
    /// Takes a new encrypted connection in, as [`Core::admit`] does others. One that is refused cannot be told why: there is no key yet.
    pub fn admit_encrypted(&mut self, socket: Socket, ends: Ends) -> Option<ConnectionKey> {
        let now_ns = self.clock.monotonic_ns;
        let acceptor = self.shared.tls.acceptor().filter(|_| self.shared.connections() <= self.settings.clients_max);
        let encrypted = acceptor.and_then(|acceptor| Encrypted::new(acceptor, now_ns).ok());
        let Some(encrypted) = encrypted else {
            self.counters.rejected += 1;
            self.shared.gauges[self.index].connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        self.counters.accepted += 1;
        let id = self.shared.take_client_id();
        let figures = ConnectionFigures { created_ns: now_ns, active_ns: now_ns, ..ConnectionFigures::default() };
        let session = SessionState::new(self.new_access());
        let key = self.insert_connection(id, Some(socket), ends, session, figures);
        if let Some(connection) = self.connection_mut(key) {
            connection.transport = Transport::Encrypted(Box::new(encrypted));
        }
        Some(key)
    }

    /// Bytes of a connection that is not known to be plain.
    pub(super) fn received_otherwise(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if connection.transport.is_encrypted() {
            return self.received_encrypted(connection, bytes);
        }
        connection.transport = Transport::Plain;
        if is_tls(bytes) {
            let Ends { peer, local, .. } = &connection.ends;
            tracing::warn!("A client speaks TLS on a port without it (addr={peer} laddr={local})");
            connection.output.tail().bytes.extend_from_slice(b"-ERR Protocol error: TLS on a port without TLS\r\n");
            self.counters.errors.count(b"ERR");
            connection.phase = Phase::Closing;
            return self.mark_dirty(connection);
        }
        self.run_received(connection, bytes);
    }

    fn received_encrypted(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let (key, now_ns) = (connection.key, self.clock.monotonic_ns);
        if connection.phase == Phase::Dead {
            return;
        }
        let Some(encrypted) = connection.encrypted() else { return };
        if encrypted.state == State::Open && encrypted.session.is_some() {
            return self.read_records(connection, bytes);
        }
        match (encrypted.state, encrypted.session.take()) {
            (State::Failed, session) => encrypted.session = session,
            (_, Some(mut session)) => {
                session.take(bytes);
                encrypted.waited_ns += now_ns.saturating_sub(encrypted.waits_since_ns);
                if !self.shared.tls.handshakes.give(self.index, key, session) {
                    connection.phase = Phase::Dead;
                }
            }
            (_, None) => {
                encrypted.arrived.extend_from_slice(bytes);
                let bytes = encrypted.arrived.len();
                if bytes > ARRIVED_BYTES_MAX {
                    connection.phase = Phase::Dead;
                }
                connection.paused |= bytes > ARRIVED_BYTES_PAUSE;
            }
        }
        self.mark_dirty(connection);
    }

    /// Runs what the records hold.
    fn read_records(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let (mut buffer, mut plain) = std::mem::take(&mut self.records);
        plain.clear();
        let outcome = decrypt(connection, bytes, &mut buffer, &mut plain);
        if !plain.is_empty() {
            self.run_received(connection, &plain);
        }
        if buffer.capacity() <= SCRATCH_BYTES_MAX && plain.capacity() <= SCRATCH_BYTES_MAX {
            self.records = (buffer, plain);
        }
        match outcome {
            Ok(Progress::Ended) => self.client_ended(connection),
            Ok(_) => {}
            Err(failure) => fail(connection, &failure),
        }
        self.mark_dirty(connection);
    }

    /// The client has said that it sends no more; what it has sent is still answered.
    fn client_ended(&mut self, connection: &mut Connection) {
        connection.at_end = true;
        if connection.blocked_on.is_some() {
            connection.phase = Phase::Dead;
        } else if matches!(connection.phase, Phase::Moving(_)) {
            connection.phase = Phase::Open;
        }
        self.resumable.push(connection.key);
    }

    /// A session comes back from the thread.
    pub fn handshake_made_a_step(&mut self, key: ConnectionKey, step: Step) {
        let Some(mut connection) = self.take_connection(key) else { return };
        let now_ns = self.clock.monotonic_ns;
        if let Some(encrypted) = connection.encrypted() {
            encrypted.session = Some(step.session);
            encrypted.waits_since_ns = now_ns;
            match step.outcome {
                Ok(Progress::Handshaking) => {
                    let arrived = std::mem::take(&mut encrypted.arrived);
                    if !arrived.is_empty() {
                        self.received_encrypted(&mut connection, &arrived);
                    }
                }
                Ok(progress) => self.opened(&mut connection, &step.plain, progress),
                Err(failure) => fail(&mut connection, &failure),
            }
            // Commands run in the local run, behind what this turn has found in the inbox.
            self.resumable.push(key);
            self.mark_dirty(&mut connection);
        }
        self.put_connection(connection);
    }

    /// The handshake is over: the client is known, and what it has sent behind it is kept for the local run.
    fn opened(&mut self, connection: &mut Connection, plain: &[u8], progress: Progress) {
        connection.figures.active_ns = self.clock.monotonic_ns;
        let Some(encrypted) = connection.encrypted() else { return };
        encrypted.state = State::Open;
        let arrived = std::mem::take(&mut encrypted.arrived);
        let user = encrypted.session.as_ref().and_then(|session| session.user());
        if self.settings.protected_mode && self.users.default_user().has_no_password && !connection.ends.is_loopback {
            self.counters.rejected += 1;
            connection.output.tail().bytes.extend_from_slice(PROTECTED_MODE_TEXT.as_bytes());
            connection.phase = Phase::Closing;
            return;
        }
        if let Some(user) = user {
            self.log_in_by_certificate(connection, &user);
        }
        let (mut buffer, mut all) = (Vec::new(), plain.to_vec());
        let outcome =
            if arrived.is_empty() { Ok(progress) } else { decrypt(connection, &arrived, &mut buffer, &mut all) };
        connection.figures.received_bytes += all.len() as u64;
        self.counters.received_bytes += all.len() as u64;
        connection.query_buffer.keep(&all);
        match outcome {
            Ok(Progress::Ended) => self.client_ended(connection),
            Ok(_) => {}
            Err(failure) => fail(connection, &failure),
        }
    }

    /// `tls-auth-clients-user`: the user that a certificate names is logged in, if there is one of that name that may log in.
    fn log_in_by_certificate(&mut self, connection: &mut Connection, user: &str) {
        match self.users.find(user.as_bytes()).filter(|user| user.is_enabled).cloned() {
            Some(user) => self.log_in(connection, user),
            None => tracing::debug!(id = connection.id, user, "No user is named as in the client's certificate"),
        }
    }

    /// A client that lets its handshake wait is sent away.
    pub(super) fn look_at_handshake(&mut self, key: ConnectionKey) {
        let now_ns = self.clock.monotonic_ns;
        let Some(connection) = self.connection_mut(key) else { return };
        if connection.encrypted().is_some_and(|encrypted| encrypted.is_overdue(now_ns))
            && connection.phase != Phase::Dead
        {
            let Ends { peer, local, .. } = &connection.ends;
            let seconds = HANDSHAKE_NS / 1_000_000_000;
            tracing::warn!(
                "Error accepting a client connection: no handshake within {seconds} seconds (addr={peer} laddr={local})"
            );
            connection.phase = Phase::Dead;
        }
    }
}

/// Sending.
impl Core {
    /// Encrypts and sends what is ready, unless more is to go with it.
    pub(super) fn send_encrypted(
        &mut self,
        key: ConnectionKey,
        socket: Socket,
        carry_out: &mut impl FnMut(&mut Self, ConnectionKey, Want),
    ) {
        let (now_ns, pushes_ns) = (self.clock.monotonic_ns, self.pace.in_haste(self.settings.gather_ns_max));
        let mut spares = [self.spare_buffers.pop().unwrap_or_default(), self.spare_buffers.pop().unwrap_or_default()];
        let Some(connection) = self.connection_mut(key) else { return };
        if connection.phase == Phase::Dead || connection.is_sending {
            spares.into_iter().for_each(|spare| self.keep_buffer(spare));
            return;
        }
        let (is_due, mut is_newly_held) = (connection.has_replies_to_encrypt(), false);
        if is_due && hold_back(connection, now_ns, pushes_ns) {
            is_newly_held = !std::mem::replace(&mut connection.is_held, true);
        } else if is_due {
            connection.hold_until_ns = None;
            connection.sending_bytes += connection.output.ready.len();
            let segments = connection.output.take_segments(std::mem::take(&mut spares[0]));
            if let Some(encrypted) = connection.encrypted() {
                encrypted.unsent.extend(segments);
            }
        }
        let mut emptied = Vec::new();
        let ends = connection.phase == Phase::Closing && connection.is_drained();
        let Some(encrypted) = connection.encrypted() else { return };
        if ends && encrypted.state == State::Open && !std::mem::replace(&mut encrypted.has_closed, true) {
            // One that cannot say so ends all the same.
            let _ = encrypted.session.as_mut().map(|session| session.close());
        }
        let [unused, spare] = spares;
        emptied.push(unused);
        let outgoing = encrypted.next_send(spare, |buffer| emptied.push(buffer));
        let outgoing = outgoing.unwrap_or_else(|failure| {
            fail(connection, &failure);
            Vec::new()
        });
        connection.is_sending = !outgoing.is_empty();
        let has_more = connection
            .encrypted()
            .is_none_or(|it| it.state != State::Open || !it.unsent.is_empty() || it.has_outgoing());
        let notice = if has_more { Notice::Prompt } else { notice_for(connection, outgoing.len()) };
        if is_newly_held {
            self.held.push(key);
        }
        emptied.into_iter().for_each(|buffer| self.keep_buffer(buffer));
        if outgoing.is_empty() {
            self.keep_buffer(outgoing);
        } else {
            carry_out(self, key, Want::Send(socket, vec![Segment::Owned(outgoing)], notice));
        }
    }
}

/// The plain bytes of records of a connection in use.
fn decrypt(
    connection: &mut Connection,
    bytes: &[u8],
    buffer: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<Progress, Failure> {
    let session = connection.encrypted().and_then(|encrypted| encrypted.session.as_mut());
    session.map_or(Ok(Progress::Open), |session| session.read_now(bytes, buffer, plain))
}

/// It cannot go on: nothing more of it is run, and what it would be sent is dropped; but for an alert.
fn fail(connection: &mut Connection, failure: &Failure) {
    let Transport::Encrypted(encrypted) = &mut connection.transport else { return };
    let Ends { peer, local, .. } = &connection.ends;
    let what = if encrypted.state == State::Open {
        "Closing a client connection"
    } else {
        "Error accepting a client connection"
    };
    tracing::warn!("{what}: {} (addr={peer} laddr={local})", failure.0);
    encrypted.state = State::Failed;
    encrypted.unsent.clear();
    (encrypted.arrived, encrypted.unsent_from) = (Vec::new(), 0);
    if connection.phase != Phase::Dead {
        connection.phase = Phase::Closing;
    }
}
