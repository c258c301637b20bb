//! Clients that wait for a key: BLPOP, BLMOVE, BZPOPMIN and their like, on keys of any shard.
//!
//! ```text
//!   connection's shard                        owners of the keys
//!   begin_wait: here, or a unit        ──>    the command finds nothing: under its locks, into the line of each key
//!   WaitState: place of the reply, deadline   Line: waiters, longest waiting first
//!                                             a key is ready, at the end of the unit that made it so:
//!   served     <── the reply ──────────────      claims the first waiter, runs its command for this key
//!   retry      <── a key it needs is not ours    claims it, and lets its shard try again, as a new unit
//!   timeout, CLIENT UNBLOCK, the client's end: claims the waiter itself;  then Forget ──> lines
//! ```
//!
//! * A waiter has one token: whoever takes it from waiting decides, so nothing is handed out twice, and what a timeout
//!   has won is given to nobody.
//! * Lines are served when a unit has released what it held, and before the next command on the key runs: nobody takes
//!   what a waiter is due. What serving makes ready (BLMOVE into a list that others wait for) is served in the same go.
//! * Who serves never asks another shard. Where the destination of a BLMOVE is elsewhere, or a key is in the middle of
//!   another unit, the waiter tries again with all locks, and keeps its number, and so its place, if it finds nothing.
//! * Until it has been said by all owners that they have it in their lines, a waiter is neither timed out nor tried again.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use super::dispatch::Flow;
use super::exec::Exec;
use super::multi::Queue;
use super::observe::Seen;
use super::tracking::Address;
use crate::command_table::CommandEntry;
use crate::mailbox::{Message, PackedArguments, Request};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torc_engine::command::CommandError;
use torc_engine::commands::blocking::{Wait, elements};
use torc_engine::commands::stream::waiting::{News, news, settled_id};
use torc_engine::keyspace::{Key, KeyNames, slot_of};
use torc_engine::reply::{Reply, ReplyBuffer};
use torc_engine::shard::ClientContext;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::values::Type;

/// A command that waits, as all shards know it.
#[derive(Debug)]
pub struct Waiter {
    /// Set by whoever decides about it.
    is_claimed: AtomicBool,
    /// Where its connection is.
    pub origin: usize,
    /// Which it is there.
    connection: ConnectionKey,
    /// Its place in every line: the lowest has waited longest.
    pub number: u64,
    entry: &'static CommandEntry,
    client: ClientContext,
    arguments: PackedArguments,
    /// What it waits for; none if its arguments are not right, and it comes to an error.
    wait: Option<Wait>,
    /// Slots and hashes of the keys that it waits for.
    keys: SmallVec<[(u16, u64); 2]>,
}

impl Waiter {
    /// Whether the caller is the one that decides.
    fn claim(&self) -> bool {
        !self.is_claimed.swap(true, Ordering::AcqRel)
    }

    /// Whose command it is.
    fn address(&self) -> Address {
        Address { shard: self.origin as u32, connection: self.connection }
    }

    fn is_over(&self) -> bool {
        self.is_claimed.load(Ordering::Acquire)
    }

    fn again(&self) -> Arc<Self> {
        Arc::new(Self {
            is_claimed: AtomicBool::new(false),
            arguments: self.arguments.clone(),
            keys: self.keys.clone(),
            ..*self
        })
    }
}

/// Why a client waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its time is over, or somebody says so.
    TimedOut,
    /// CLIENT UNBLOCK ... ERROR.
    Unblocked,
    /// It may no longer do what it waits for: the error.
    Denied(&'static str),
    /// It is gone.
    Dead,
}

/// A client of this shard that waits.
struct WaitState {
    waiter: Arc<Waiter>,
    connection: ConnectionKey,
    /// None while a unit is under way, which has it.
    request: Option<Request>,
    deadline_ns: Option<u64>,
    /// What came meanwhile.
    reply: Option<ReplyBuffer>,
    over: Option<Over>,
    is_to_retry: bool,
    /// This is not the first try: others may have been passed over for it.
    is_retry: bool,
}

/// Who waits for a key.
struct Line {
    key: Box<[u8]>,
    slot: u16,
    /// By number. As many as there are connections, at most, for each key that a connection names.
    waiters: Vec<Arc<Waiter>>,
    /// Of those that read a stream: behind which ID, by number.
    behind: HashMap<u64, Vec<u8>>,
}

/// The waiting of a shard: of its connections, and for its keys.
#[derive(Default)]
pub(super) struct Blocked {
    waits: BTreeMap<u64, WaitState>,
    deadlines: BTreeSet<(u64, u64)>,
    lines: HashMap<(u32, u64), Line, KeyNames>,
    /// Streams with readers that were in the middle of a unit when they changed.
    postponed: Vec<(u32, u64)>,
}

impl Blocked {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.lines.is_empty()
    }

    /// Number of clients of this shard that wait: that all owners have in their lines, so that who sees the client counted sees
    /// its keys counted, too.
    pub(super) fn clients(&self) -> usize {
        self.waits.values().filter(|state| state.request.is_some() || state.is_retry).count()
    }

    /// Number of keys of this shard that are waited for, and of those that readers in a group wait for: these hear of the
    /// key's end, too.
    pub(super) fn keys(&self) -> [usize; 2] {
        let has_group = |line: &&Line| line.waiters.iter().any(|waiter| waiter.entry.spec.name == "xreadgroup");
        [self.lines.len(), self.lines.values().filter(has_group).count()]
    }
}

/// On the connection's shard.
impl Core {
    /// A command that may wait.
    pub(super) fn begin_wait(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) -> Flow {
        self.count(connection, entry);
        let client = connection.session.client;
        let is_here = connection.outstanding() == 0
            && self.schedule.is_idle()
            && self.owner_of_keys(entry, arguments) == Some(self.index);
        if is_here {
            let now = self.shard.now();
            self.shard.keyspace.found_nothing = false;
            let out = connection.output.tail();
            let before = (out.bytes.len(), out.shared.len());
            self.run_whole(entry, arguments, None.into(), client, now, out);
            if !std::mem::take(&mut self.shard.keyspace.found_nothing) {
                self.serve_ready_after(connection.key);
                return Flow::Next;
            }
            connection.output.tail().split_off(before);
        }
        self.observer.runs_here = None;
        let waiter = self.new_waiter(entry, (connection.key, client), arguments);
        let number = waiter.number;
        let timeout_ms = waiter.wait.map_or(0, |wait| wait.timeout_ms);
        let deadline_ns =
            (timeout_ms > 0).then(|| self.clock.monotonic_ns.saturating_add(timeout_ms.saturating_mul(1_000_000)));
        let state = WaitState {
            waiter: waiter.clone(),
            connection: connection.key,
            request: None,
            deadline_ns,
            reply: None,
            over: None,
            is_to_retry: false,
            is_retry: false,
        };
        self.blocked.waits.insert(number, state);
        connection.blocked_on = Some(number);
        connection.is_waiting = true;
        if is_here {
            let request = Self::expect_reply(connection, entry, true);
            self.line_up(&waiter);
            self.wait_begins(number, request);
            connection.lets_pass = true;
        } else {
            let queue = Queue::one(entry, arguments);
            let plan = self.plan(&queue);
            let exec = Exec::new(connection.key, client, queue, Some(waiter));
            self.start_unit(connection, entry, exec, None, plan);
        }
        Flow::Next
    }

    fn new_waiter(
        &self,
        entry: &'static CommandEntry,
        (connection, client): (ConnectionKey, ClientContext),
        arguments: &[&[u8]],
    ) -> Arc<Waiter> {
        let wait = Wait::of(entry.spec.name, arguments);
        let range = wait.map_or(0..0, |wait| wait.keys.0..wait.keys.0 + wait.keys.1);
        let hashed = |key: &&[u8]| {
            let Key { slot, hash, .. } = Key::new(key, &self.shared.hasher);
            (slot, hash)
        };
        Arc::new(Waiter {
            is_claimed: AtomicBool::new(false),
            origin: self.index,
            connection,
            number: self.shared.take_waiter_number(),
            entry,
            client,
            arguments: PackedArguments::new(arguments),
            wait,
            keys: arguments[range].iter().map(hashed).collect(),
        })
    }

    /// All lines have the waiter; what has happened meanwhile counts now.
    pub(super) fn wait_begins(&mut self, number: u64, request: Request) {
        let Some(state) = self.blocked.waits.get_mut(&number) else { return };
        state.request = Some(request);
        if let Some(deadline_ns) = state.deadline_ns {
            self.blocked.deadlines.insert((deadline_ns, number));
        }
        if let Some(reply) = state.reply.take() {
            return self.wait_ends(number, reply);
        }
        if state.is_to_retry {
            return self.retry(number);
        }
        if let Some(over) = state.over {
            self.end_wait(number, over);
            return;
        }
        let connection = state.connection;
        if let Some(connection) = self.connection_mut(connection) {
            connection.lets_pass = true;
            connection.output.let_pass();
        }
        self.mark_dirty_key(connection);
    }

    /// A try has come to something: nobody waits.
    pub(super) fn wait_was_needless(&mut self, waiter: &Arc<Waiter>) {
        let Some(state) = self.blocked.waits.remove(&waiter.number) else { return };
        if let Some(connection) = self.connection_mut(state.connection) {
            connection.blocked_on = None;
            connection.is_waiting = false;
        }
        if state.is_retry {
            self.tell_owners(waiter, Message::Recheck);
        }
    }

    /// A shard has served the waiter.
    pub(super) fn served(&mut self, number: u64, reply: ReplyBuffer) {
        match self.blocked.waits.get_mut(&number) {
            Some(state) if state.request.is_none() => state.reply = Some(reply),
            Some(_) => self.wait_ends(number, reply),
            // The client has died since.
            None => {}
        }
    }

    fn wait_ends(&mut self, number: u64, mut reply: ReplyBuffer) {
        let Some(state) = self.blocked.waits.remove(&number) else { return };
        if let Some(deadline_ns) = state.deadline_ns {
            self.blocked.deadlines.remove(&(deadline_ns, number));
        }
        self.tell_owners(&state.waiter, Message::Forget);
        if let Some(connection) = self.connection_mut(state.connection) {
            connection.blocked_on = None;
            connection.is_waiting = false;
            connection.lets_pass = false;
        }
        if let Some(request) = state.request {
            self.deliver(request, |out| out.append(&mut reply));
        }
    }

    /// Ends a wait, unless somebody is about to serve it, or has to be waited for.
    fn end_wait(&mut self, number: u64, over: Over) -> bool {
        let Some(state) = self.blocked.waits.get_mut(&number) else { return false };
        if state.request.is_none() {
            state.over = Some(over);
            return true;
        }
        let is_ours = state.waiter.claim();
        if !is_ours && over != Over::Dead {
            return false;
        }
        let mut out = ReplyBuffer::default();
        let mut reply = Reply::new(&mut out, state.waiter.client.protocol);
        match over {
            Over::TimedOut => reply.null_array(),
            Over::Unblocked => {
                const TEXT: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
                self.counters.errors.count(TEXT.as_bytes());
                self.counters.calls.failed[state.waiter.entry.id] += 1;
                reply.error(TEXT);
            }
            Over::Denied(text) => reply.error(text),
            Over::Dead => {}
        }
        self.wait_ends(number, out);
        true
    }

    /// What a client waits with, and in which database.
    pub(super) fn what_waits(&self, number: u64) -> Option<(&'static CommandEntry, PackedArguments, u32)> {
        let waiter = &self.blocked.waits.get(&number)?.waiter;
        Some((waiter.entry, waiter.arguments.clone(), waiter.client.database))
    }

    /// Ends a wait, unless somebody is about to serve it; whether it did, or will.
    pub(super) fn end_wait_of_number(&mut self, number: u64, over: Over) -> bool {
        self.end_wait(number, over)
    }

    /// A connection is gone.
    pub(super) fn end_wait_of(&mut self, key: ConnectionKey) {
        let number = self.connection_mut(key).and_then(|connection| connection.blocked_on.take());
        if let Some(number) = number {
            self.end_wait(number, Over::Dead);
        }
    }

    /// CLIENT UNBLOCK, where the client is.
    pub fn unblock(&mut self, id: u64, over: Over) -> bool {
        let number = self.connections().find(|connection| connection.id == id).and_then(|found| found.blocked_on);
        number.is_some_and(|number| self.end_wait(number, over))
    }

    /// When the first wait is over, monotonic nanoseconds.
    pub fn next_timeout_ns(&self) -> Option<u64> {
        self.blocked.deadlines.first().map(|(deadline_ns, _)| *deadline_ns)
    }

    /// Ends the waits whose time is over; part of the local run.
    pub(super) fn end_waits_when_due(&mut self) {
        while let Some(&(deadline_ns, number)) = self.blocked.deadlines.first() {
            if deadline_ns > self.clock.monotonic_ns {
                break;
            }
            self.blocked.deadlines.pop_first();
            self.end_wait(number, Over::TimedOut);
        }
    }

    /// An owner has claimed the waiter and could not serve it: once more, with all locks; or, if its client is gone, the next
    /// one in line.
    pub(super) fn retry_or_pass(&mut self, waiter: &Arc<Waiter>) {
        if self.blocked.waits.contains_key(&waiter.number) {
            self.retry(waiter.number);
        } else {
            self.tell_owners(waiter, Message::Recheck);
        }
    }

    fn retry(&mut self, number: u64) {
        let Some(state) = self.blocked.waits.get_mut(&number) else { return };
        let Some(request) = state.request.take() else {
            state.is_to_retry = true;
            return;
        };
        if let Some(deadline_ns) = state.deadline_ns {
            self.blocked.deadlines.remove(&(deadline_ns, number));
        }
        let waiter = state.waiter.again();
        (state.is_to_retry, state.is_retry, state.waiter) = (false, true, waiter.clone());
        let connection = state.connection;
        if let Some(connection) = self.connection_mut(connection) {
            connection.lets_pass = false;
        }
        let queue = Queue::one(waiter.entry, &waiter.arguments.slices());
        let plan = self.plan(&queue);
        let exec = Exec::new(connection, waiter.client, queue, Some(waiter.clone()));
        let (mut run, claims, locks_first) = self.planned(exec, plan, true, false);
        run.holds_connection = true;
        let (steps, is_last) = if locks_first { Default::default() } else { self.next_steps(&mut run, None) };
        let parts = run.first_stage(steps, is_last, claims, None);
        let (header, id) = (Multicast::new(), self.take_transaction_id());
        self.await_stage(id, &header, run, &parts, waiter.client, Some(request));
        self.multicast(&header, id, (Some(connection), false), parts);
    }

    /// Tells the owners of a waiter's keys something of it.
    fn tell_owners(&mut self, waiter: &Arc<Waiter>, message: fn(Arc<Waiter>) -> Message) {
        let mut owners: SmallVec<[usize; 4]> =
            waiter.keys.iter().map(|(slot, _)| self.shared.shard_of(*slot)).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            if owner != self.index {
                self.send_home(owner, Node::new(message(waiter.clone())));
                continue;
            }
            match message(waiter.clone()) {
                Message::Forget(waiter) => self.forget_waiter(&waiter),
                Message::Recheck(waiter) => self.recheck(&waiter),
                _ => {}
            }
        }
    }
}

/// On the owners of the keys.
impl Core {
    /// A waiter's keys that are ours, by hash, with the place of each among its keys.
    fn awaited_here<'a>(&self, waiter: &'a Waiter) -> impl Iterator<Item = (usize, u16, u64)> + use<'a> {
        let (shared, index) = (self.shared.clone(), self.index);
        let keys = waiter.keys.iter().enumerate().map(|(place, (slot, hash))| (place, *slot, *hash));
        keys.filter(move |(_, slot, _)| shared.shard_of(*slot) == index)
    }

    /// Puts a waiter into the line of each of its keys that are ours.
    pub(super) fn line_up(&mut self, waiter: &Arc<Waiter>) {
        let Some(wait) = waiter.wait else { return };
        let (database, arguments) = (waiter.client.database, waiter.arguments.slices());
        let now = self.shard.now();
        for (place, slot, hash) in self.awaited_here(waiter) {
            let index = wait.keys.0 + place;
            let key = Key { bytes: arguments[index], slot, hash };
            let settled = (wait.kind == Type::Stream).then(|| {
                let entry = self.shard.keyspace.peek(database as usize, &key, now);
                settled_id(entry, arguments[index + wait.keys.1])
            });
            let line = self.blocked.lines.entry((database, hash)).or_insert_with(|| Line {
                key: key.bytes.into(),
                slot,
                waiters: Vec::new(),
                behind: HashMap::new(),
            });
            if let Some(id) = settled {
                line.behind.entry(waiter.number).or_insert(id);
            }
            match line.waiters.binary_search_by_key(&waiter.number, |other| other.number) {
                // Named twice, or it comes again.
                Ok(place) => line.waiters[place] = waiter.clone(),
                Err(place) => {
                    line.waiters.insert(place, waiter.clone());
                    self.shard.keyspace.await_key(database as usize, &key);
                }
            }
        }
    }

    /// A waiter waits no more.
    pub(super) fn forget_waiter(&mut self, waiter: &Waiter) {
        for (_, _, hash) in self.awaited_here(waiter) {
            let name = (waiter.client.database, hash);
            let Some(line) = self.blocked.lines.get_mut(&name) else { continue };
            if let Ok(place) = line.waiters.binary_search_by_key(&waiter.number, |other| other.number) {
                self.leave_line(name, place);
            }
        }
    }

    fn leave_line(&mut self, name: (u32, u64), place: usize) {
        let Some(line) = self.blocked.lines.get_mut(&name) else { return };
        let waiter = line.waiters.remove(place);
        line.behind.remove(&waiter.number);
        if line.waiters.is_empty() {
            self.blocked.lines.remove(&name);
        }
        self.shard.keyspace.await_no_more(name);
    }

    /// A waiter that was preferred has taken nothing: the next ones may.
    pub(super) fn recheck(&mut self, waiter: &Waiter) {
        for (_, _, hash) in self.awaited_here(waiter) {
            self.shard.keyspace.mark_ready((waiter.client.database, hash));
        }
        self.serve_ready();
    }

    /// A unit is through: whoever waits for what it has made ready gets it.
    #[inline]
    pub(super) fn serve_ready(&mut self) {
        if self.shard.keyspace.has_ready() || !self.blocked.postponed.is_empty() {
            self.serve_all();
        }
    }

    /// The same behind a command of a connection of ours: what that has changed is told as its own.
    #[inline]
    pub(super) fn serve_ready_after(&mut self, connection: ConnectionKey) {
        if self.shard.keyspace.has_ready() || !self.blocked.postponed.is_empty() {
            self.tell_changes(Some(Address { shard: self.index as u32, connection }));
            self.serve_all();
        }
    }

    #[cold]
    fn serve_all(&mut self) {
        for name in std::mem::take(&mut self.blocked.postponed) {
            self.shard.keyspace.mark_ready(name);
        }
        while let Some(name) = self.shard.keyspace.take_ready() {
            self.serve_readers(name);
            self.serve_line(name);
        }
    }

    /// Those who wait to read a stream: all that it has something for.
    fn serve_readers(&mut self, name: (u32, u64)) {
        let Some(line) = self.blocked.lines.get(&name) else { return };
        let readers: Vec<_> =
            line.waiters.iter().filter(|waiter| line.behind.contains_key(&waiter.number)).cloned().collect();
        if readers.is_empty() {
            return;
        }
        if self.schedule.is_held(name.1) {
            // What its unit makes of it is seen when that is through.
            return self.blocked.postponed.push(name);
        }
        for waiter in readers {
            self.serve_reader(name, &waiter);
        }
    }

    fn serve_reader(&mut self, name: (u32, u64), waiter: &Arc<Waiter>) {
        let now = self.shard.now();
        let (Some(wait), arguments) = (waiter.wait, waiter.arguments.slices()) else { return };
        let Some(line) = self.blocked.lines.get(&name) else { return };
        let Some(id) = line.behind.get(&waiter.number).cloned() else { return };
        let (key, slot) = (line.key.clone(), line.slot);
        let hashed = Key { bytes: &key, slot, hash: name.1 };
        let entry = self.shard.keyspace.peek(name.0 as usize, &hashed, now);
        let news = news(entry, &key, wait.group(&arguments), &id);
        if news == News::None && !waiter.is_over() {
            return;
        }
        let is_ours = waiter.claim();
        // Its other lines here need it no more; those elsewhere hear of it from its own shard.
        self.forget_waiter(waiter);
        if !is_ours {
            return;
        }
        let mut out = ReplyBuffer::default();
        if let News::Error(CommandError(text)) = news {
            self.counters.errors.count(&text);
            self.counters.calls.failed[waiter.entry.id] += 1;
            Reply::new(&mut out, waiter.client.protocol).error_bytes(&text);
        } else {
            let words = wait.for_stream(&arguments, &key, &id);
            let mut stopwatch = self.stopwatch();
            self.run_whole(waiter.entry, &words, None.into(), waiter.client, now, &mut out);
            self.tell_changes(Some(waiter.address()));
            self.observe_served(waiter, stopwatch.split(), out.len());
        }
        self.answer(waiter, out);
    }

    /// What a client has waited for is observed as it was sent.
    fn observe_served(&mut self, waiter: &Waiter, took_ns: u64, reply_bytes: usize) {
        if self.observer.is_on {
            self.observe(waiter.entry, Seen { took_ns, reply_bytes }, &waiter.arguments.slices(), waiter.address());
        }
    }

    fn answer(&mut self, waiter: &Waiter, reply: ReplyBuffer) {
        if waiter.origin == self.index {
            self.served(waiter.number, reply);
        } else {
            self.send_home(waiter.origin, Node::new(Message::Served { number: waiter.number, reply }));
        }
    }

    fn serve_line(&mut self, name: (u32, u64)) {
        let now = self.shard.now();
        // What those are to find that have been sent to try elsewhere.
        let mut promised = 0;
        loop {
            let Some(line) = self.blocked.lines.get(&name) else { return };
            let key = Key { bytes: &line.key, slot: line.slot, hash: name.1 };
            let Some(entry) = self.shard.keyspace.peek(name.0 as usize, &key, now) else { return };
            let (kind, elements) = (entry.kind(), elements(entry));
            if kind == Type::Stream || elements <= promised {
                return;
            }
            let wants = |waiter: &Arc<Waiter>| {
                let suits = |wait: Wait| wait.kind == kind && wait.elements <= elements - promised;
                waiter.is_over() || waiter.wait.is_some_and(suits)
            };
            let Some(place) = line.waiters.iter().position(wants) else { return };
            let waiter = line.waiters[place].clone();
            self.leave_line(name, place);
            if !waiter.claim() {
                continue;
            }
            if self.can_serve(&waiter, name.1) {
                self.serve(&waiter, name.1, now);
            } else {
                promised += waiter.wait.map_or(1, |wait| wait.elements);
                if waiter.origin == self.index {
                    self.retry_or_pass(&waiter);
                } else {
                    self.send_home(waiter.origin, Node::new(Message::Retry(waiter)));
                }
            }
        }
    }

    /// Whether all that the waiter's command touches is ours, and no unit is in the middle of it.
    fn can_serve(&self, waiter: &Waiter, hash: u64) -> bool {
        if self.schedule.is_idle() && self.shared.shards() == 1 {
            return true;
        }
        let arguments = waiter.arguments.slices();
        let destination = waiter.wait.and_then(|wait| wait.destination).map(|index| arguments[index]);
        let is_free = |destination: &[u8]| {
            self.shared.shard_of(slot_of(destination)) == self.index
                && !self.schedule.is_held(self.shared.hasher.hash(destination))
        };
        !self.schedule.is_held(hash) && destination.is_none_or(is_free)
    }

    fn serve(&mut self, waiter: &Arc<Waiter>, hash: u64, now: i64) {
        let arguments = waiter.arguments.slices();
        let Some(wait) = waiter.wait else { return };
        let place = waiter.keys.iter().position(|(_, other)| *other == hash).unwrap_or_default();
        let words = wait.for_key(&arguments, wait.keys.0 + place);
        let (mut out, mut stopwatch) = (ReplyBuffer::default(), self.stopwatch());
        self.run_whole(waiter.entry, &words, None.into(), waiter.client, now, &mut out);
        self.tell_changes(Some(waiter.address()));
        self.observe_served(waiter, stopwatch.split(), out.len());
        // Its other lines here need it no more; those elsewhere hear of it from its own shard.
        self.forget_waiter(waiter);
        self.answer(waiter, out);
    }
}
