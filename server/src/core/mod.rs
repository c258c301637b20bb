//! One shard's logic without its I/O: connections, dispatch, inbox, transactions. `core_loop` feeds it completions and
//! carries out what it asks for; the simulation does the same with a driver of its own.
//!
//! ```text
//!   a turn:   1 reap completions      (core_loop)
//!             2 read the clock        (core_loop)
//!             3 drain the inbox       Core::drain_inbox       work for our keys, answers for our connections
//!             4 run local commands    Core::received          parse, dispatch, execute or batch
//!             5 tasks                 expiry, cron, a slice of a long command
//!             6 push open batches     Core::flush_batches     then wakes, sends, sleep
//! ```
//! This order is one of the rules that the promise to clients rests on (`server/ARCHITECTURE.md`): until 4 has ended,
//! nothing is acted on that another core did after 3 began.

mod access;
mod batches;
pub mod blocked;
pub mod client_memory;
pub mod connection;
pub mod connections;
mod coordinator;
mod dispatch;
pub mod encrypted;
mod errands;
mod exec;
mod flushes;
pub mod gate;
mod inbox;
mod instants;
mod long;
mod memory;
pub mod multi;
pub(crate) mod observe;
pub mod own_client;
pub(crate) mod owners;
mod pause;
pub mod pubsub;
pub mod query_buffer;
mod rates;
pub mod script_step;
mod scripts;
pub mod session;
pub mod shutdown;
pub mod snapshot;
pub mod tracking;
mod unit;
mod unit_batches;
mod unit_tasks;
mod walks;
mod watch;
pub mod whole;

use crate::access::Users;
use crate::command_table::CommandEntry;
use crate::control::{DatabaseFigures, ShardFigures};
use crate::insight::histograms::{Histograms, Recorder};
use crate::longest_turn::LongestTurn;
use crate::mailbox::{self, Deferred, Envelope, LateUnit};
use crate::pace::Pace;
use crate::reactor::driver::Clock;
use crate::scripting::ShardScripting;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tasks::Tasks;
pub(crate) use access::check_found_keys;
pub(crate) use batches::ShardSet;
use connection::{Connection, ConnectionKey};
use coordinator::Coordinator;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_engine::audience::Topic;
use torc_engine::error_counts::ErrorCounts;
use torc_engine::journal::{EventClasses, Record};
use torc_engine::shard::Shard;
use torc_engine::transaction::schedule::Schedule;

/// What became of commands, by their ids.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    /// Called.
    pub calls: Vec<u64>,
    /// Not called: arguments, rights or memory were not as they should be.
    pub rejected: Vec<u64>,
    /// Called, and answered with an error.
    pub failed: Vec<u64>,
    /// Nanoseconds that they took, on the connection's shard and where their keys are. What EXEC and scripts run is in the time
    /// of these as well.
    pub took_ns: Vec<u64>,
}

impl CallCounts {
    /// Of so many commands.
    pub fn new(ids: usize) -> Self {
        Self { calls: vec![0; ids], rejected: vec![0; ids], failed: vec![0; ids], took_ns: vec![0; ids] }
    }
}

impl CallCounts {
    /// A command took so long, or its likes did. What is not in the table counts nowhere.
    #[inline]
    pub fn add_time(&mut self, id: usize, took_ns: u64) {
        if let Some(sum_ns) = self.took_ns.get_mut(id) {
            *sum_ns += took_ns;
        }
    }

    /// And these.
    pub fn add(&mut self, others: &Self) {
        let add = |ours: &mut Vec<u64>, theirs: &[u64]| {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        };
        add(&mut self.calls, &others.calls);
        add(&mut self.rejected, &others.rejected);
        add(&mut self.failed, &others.failed);
        add(&mut self.took_ns, &others.took_ns);
    }
}

/// Counters of one shard, plain numbers of one thread.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// See [`ShardFigures`].
    pub commands: u64,
    /// By command id.
    pub calls: CallCounts,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused.
    pub rejected: u64,
    /// Bytes from clients.
    pub received_bytes: u64,
    /// Bytes to clients.
    pub sent_bytes: u64,
    /// Pieces of input.
    pub reads: u64,
    /// Sends.
    pub writes: u64,
    /// Error replies of this room (the engine counts its own).
    pub errors: ErrorCounts,
    /// Requests to other shards.
    pub requests_sent: u64,
    /// Messages to other shards.
    pub messages_sent: u64,
    /// Multicasts.
    pub multicasts: u64,
    /// Connections that moved away.
    pub connections_moved: u64,
    /// Turns.
    pub turns: u64,
    /// The most commands of a turn.
    pub turn_commands_max: u64,
    /// What regular work between commands took, in nanoseconds.
    pub cron_took_ns: u64,
    /// Wakes.
    pub wakes: u64,
    /// Keyspace events.
    pub events: u64,
    /// Expiry cycles whose time was over before their work, ...
    pub expiry_cut_short: u64,
    /// ... and what all of them took, in nanoseconds.
    pub expiry_took_ns: u64,
    /// Clients evicted.
    pub evicted_clients: u64,
    /// Clients closed for what they have not read, ...
    pub output_limit_disconnections: u64,
    /// ... and for what they have sent without an end.
    pub query_limit_disconnections: u64,
}

impl Counters {
    /// Nothing counted, of so many commands.
    pub fn new(ids: usize) -> Self {
        Self { calls: CallCounts::new(ids), ..Self::default() }
    }
}

/// A unit that waits in the schedule.
#[derive(Debug)]
pub enum Waiting {
    /// A command of one connection.
    Command(Box<Deferred>),
    /// A part of a multicast, in its node.
    Part(Envelope),
    /// A transaction that came in company.
    Unit(Box<LateUnit>),
}

#[derive(Default)]
struct ConnectionSlot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// Takes a shard's effects at the end of each turn, in the order in which they took effect and before the turn's replies
/// leave for clients. Those of several shards are joined as [`torc_engine::journal`] says.
pub type EffectSink = Box<dyn FnMut(Vec<Record>)>;

/// One shard.
pub struct Core {
    /// Which shard this is.
    pub index: usize,
    /// What all share.
    pub shared: Arc<Shared>,
    /// The data.
    pub shard: Shard,
    /// Settings in force here.
    pub settings: Arc<Settings>,
    /// Users in force here.
    pub users: Arc<Users>,
    /// Counters.
    pub counters: Counters,
    /// The turn's clock.
    pub clock: Clock,
    schedule: Schedule<Waiting>,
    coordinator: Coordinator,
    connections: Vec<ConnectionSlot>,
    free_connections: Vec<u32>,
    connection_count: usize,
    /// Connections whose sends, receive stream or life want attention.
    dirty: Vec<ConnectionKey>,
    /// Connections that stopped reading for want of credit, by the shard that they wait for.
    starved: Vec<ConnectionKey>,
    /// Commands on every shard that wait for units of several.
    whole_waits: whole::WholeWaits,
    /// Connections whose ready replies wait for those of other shards.
    held: Vec<ConnectionKey>,
    /// Paused connections that may go on in the next local run.
    resumable: Vec<ConnectionKey>,
    /// Commands that are worked off in slices.
    long: long::LongRuns,
    instants: instants::Instants,
    /// Units whose scripts go on in the next turn.
    parked: script_step::ParkedUnits,
    /// Clients that wait for keys.
    blocked: blocked::Blocked,
    /// Transactions that need one stage.
    unit_batches: unit_batches::UnitBatches,
    /// Effects of units that are not through.
    unit_effects: unit::UnitEffects,
    /// Set while a session command runs as a part of a unit: what it would have sent itself.
    capture: Option<unit::Captured>,
    /// The EXEC that has just begun is shown to those who watch all commands when it is known whether it runs.
    shows_later: bool,
    /// What keeps all commands of a kind from running.
    pub gate: gate::Gate,
    /// What waits in the middle of its work.
    pub tasks: Tasks,
    /// Snapshots under way.
    snapshots: snapshot::Snapshots,
    /// Open batches, by destination; our own index is the batch to ourselves.
    batches: batches::OpenBatches,
    /// Bytes of requests under way to each shard.
    in_flight_bytes: Vec<usize>,
    /// Nodes for reuse.
    spare_nodes: Vec<Envelope>,
    /// Buffers for reuse by outputs.
    spare_buffers: Vec<Vec<u8>>,
    /// Scratch for records of encrypted connections: as they came, and what was in them.
    records: (Vec<u8>, Vec<u8>),
    /// Shards to be woken with the next submit.
    wakes: Vec<usize>,
    /// Connections that came from elsewhere and wait to be attached: by the core loop.
    arrivals: Vec<Arrival>,
    /// Whether keys are expired without being asked for; only DEBUG says no.
    pub active_expire: bool,
    /// Whether regular background work is done; only DEBUG says no.
    pub cron_runs: bool,
    /// How busy it is, and how it sleeps.
    pub pace: Pace,
    /// The most CPU time that a turn took.
    pub longest_turn: LongestTurn,
    memory: memory::MemoryLimit,
    client_limit: client_memory::ClientLimit,
    observer: observe::Observer,
    /// What counts as taken by this shard: the allocator's count for its thread, or, where that is not there, what the
    /// keyspace knows.
    pub measure_bytes: fn(&Shard) -> i64,
    /// The allocator's count for threads that are no shards.
    pub read_unpublished_bytes: fn() -> i64,
    pause: pause::PauseState,
    pubsub: pubsub::PubSub,
    tracking: tracking::TrackingTable,
    /// Its interpreters, and what they run.
    pub scripting: Rc<ShardScripting>,
    script_hold: scripts::ScriptHold,
    rates: rates::Rates,
    lookahead: dispatch::Lookahead,
    accept_cursor: usize,
    effects: Option<EffectSink>,
    read_clock: Box<dyn Fn() -> i64>,
    /// Wall microseconds, for TIME; none where the clock counts milliseconds.
    pub read_precise_clock: Option<fn() -> i64>,
    /// Whether commands are measured: not by a clock that stands still meanwhile.
    measures: bool,
}

/// What the loop has to take in.
#[derive(Debug)]
pub enum Arrival {
    /// The server listens elsewhere than this shard, which accepts for all, knows.
    Listeners,
    /// A socket of another shard's, just accepted, and whether it is to be encrypted.
    New(crate::reactor::driver::DetachedSocket, bool),
    /// The socket of a connection that is in the slab already.
    Moved(ConnectionKey, crate::reactor::driver::DetachedSocket),
}

/// The engine's part, and what it knows of the server around it.
fn new_shard(shared: &Shared, settings: &Settings, seed: u64, index: usize, scripting: &Rc<ShardScripting>) -> Shard {
    let mut shard = Shard::new(shared.databases, shared.hasher.clone(), settings.engine.clone(), seed);
    shard.next_shard_cursor = shared.cursor_behind(index);
    shard.companion = Some(scripting.clone());
    shard
}

impl Core {
    /// An empty shard. `read_clock` gives wall milliseconds: read once after the last push of a multicast.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        settings: Arc<Settings>,
        seed: u64,
        read_clock: Box<dyn Fn() -> i64>,
    ) -> Self {
        let shards = shared.shards();
        let scripting = Rc::new(ShardScripting::new(&shared, index));
        let shard = new_shard(&shared, &settings, seed, index, &scripting);
        Self {
            index,
            shard,
            users: shared.access.users(),
            counters: Counters::new(shared.table.ids),
            clock: Clock::default(),
            schedule: Schedule::default(),
            coordinator: Coordinator::default(),
            connections: Vec::new(),
            free_connections: Vec::new(),
            connection_count: 0,
            dirty: Vec::new(),
            starved: Vec::new(),
            whole_waits: whole::WholeWaits::default(),
            held: Vec::new(),
            resumable: Vec::new(),
            long: long::LongRuns::default(),
            instants: instants::Instants::default(),
            parked: script_step::ParkedUnits::default(),
            blocked: blocked::Blocked::default(),
            unit_batches: unit_batches::UnitBatches::default(),
            unit_effects: unit::UnitEffects::default(),
            capture: None,
            shows_later: false,
            gate: gate::Gate::default(),
            tasks: Tasks::default(),
            snapshots: snapshot::Snapshots::default(),
            batches: batches::OpenBatches::new(shards),
            in_flight_bytes: vec![0; shards],
            spare_nodes: Vec::new(),
            spare_buffers: Vec::new(),
            records: Default::default(),
            wakes: Vec::new(),
            arrivals: Vec::new(),
            active_expire: true,
            cron_runs: true,
            pace: Pace::default(),
            longest_turn: LongestTurn::default(),
            memory: memory::MemoryLimit::new(&settings),
            client_limit: client_memory::ClientLimit::default(),
            observer: observe::Observer::new(settings.observation, shared.table.ids),
            measure_bytes: |shard| shard.keyspace.used_bytes() as i64,
            read_unpublished_bytes: || 0,
            pause: pause::PauseState::default(),
            pubsub: pubsub::PubSub::new(shards),
            tracking: tracking::TrackingTable::default(),
            scripting,
            script_hold: scripts::ScriptHold::default(),
            rates: rates::Rates::default(),
            lookahead: dispatch::Lookahead::default(),
            accept_cursor: index,
            effects: None,
            read_clock,
            read_precise_clock: None,
            measures: false,
            settings,
            shared,
        }
        .begun()
    }

    /// As the settings say.
    fn begun(mut self) -> Self {
        self.listen_to_events();
        self.apply_log_settings();
        self.apply_client_limit(&self.settings.clone());
        self.scripting.undoes_killed.set(self.settings.undoes_killed_scripts);
        self
    }

    /// Begins a turn: the clock has been read after the completions were reaped.
    pub fn begin_turn(&mut self, clock: Clock) {
        self.clock = clock;
        self.gate.set_unlogged(self.shared.append_log.refuses());
        self.gate.set_awaited(self.shared.append_log.is_awaited());
        self.counters.turns += 1;
        let gauges = &self.shared.gauges[self.index];
        gauges.turns.store(self.counters.turns, Ordering::Relaxed);
        gauges.command_begun.store(0, Ordering::Relaxed);
        let in_last_turn = self.counters.commands.saturating_sub(gauges.commands.load(Ordering::Relaxed));
        gauges.commands.store(self.counters.commands, Ordering::Relaxed);
        self.counters.turn_commands_max = self.counters.turn_commands_max.max(in_last_turn);
        gauges.dirty.store(self.shard.keyspace.dirty, Ordering::Relaxed);
        self.publish_memory();
        self.look_at_debts();
        self.log_pending(None);
    }

    /// A command is about to run, for who asks what the shard is at: the control plane, a report of a crash.
    #[inline]
    pub(crate) fn begins(&self, entry: &CommandEntry) {
        self.shared.gauges[self.index].command_begun.store(entry.id + 1, Ordering::Relaxed);
    }

    /// Local work runs at the turn's clock, or at the shard's time if that is ahead.
    pub fn begin_local_run(&mut self) {
        if self.shared.append_log.is_replayed() {
            // What a log says of keys is done to them whether or not their time is over by now.
            return;
        }
        self.shard.advance_time(self.clock.wall_ms);
    }

    /// Whether every rule of order is kept; only tests say no.
    fn rules(&self) -> torc_engine::transaction::rules::Rules {
        self.shared.mailboxes.rules()
    }

    /// Wall microseconds now, as TIME tells them; not before the turn's clock.
    pub fn wall_us(&self) -> i64 {
        let turn_us = self.clock.wall_ms.saturating_mul(1000);
        self.read_precise_clock.map_or(turn_us, |read| read().max(turn_us))
    }

    /// Whether anything here is locked, or waits for a lock.
    pub fn holds_locks(&self) -> bool {
        !self.schedule.is_idle()
    }

    /// How many errors this shard's data have been answered with: what a command changes here is its own.
    #[inline]
    fn error_count(&self) -> u64 {
        self.shard.errors().total()
    }

    /// A command has run here; there were so many errors before.
    #[inline]
    fn note_failure(&mut self, entry: &CommandEntry, errors_before: u64) {
        if self.error_count() != errors_before
            && let Some(failed) = self.counters.calls.failed.get_mut(entry.id)
        {
            *failed += 1;
        }
    }

    /// New settings.
    pub fn apply_settings(&mut self, settings: &Arc<Settings>) {
        self.settings = settings.clone();
        self.shard.set_options(settings.engine.clone());
        self.apply_memory_settings();
        self.apply_client_limit(settings);
        self.apply_log_settings();
        self.apply_observation();
        self.scripting.undoes_killed.set(settings.undoes_killed_scripts);
        self.listen_to_events();
        self.look_at_saves();
    }

    fn apply_log_settings(&self) {
        let log = &self.shared.append_log;
        log.set_policy(self.settings.append_fsync);
        log.set_stamps(self.settings.stamps_log);
        log.time_writes(self.settings.observation.spike_ns);
    }

    /// Events are collected if somebody might hear of them.
    fn listen_to_events(&mut self) {
        let events = self.settings.events;
        let journal = &mut self.shard.keyspace.journal;
        let is_heard = journal.audience().borrow().may_hear_of_keys();
        let classes = if is_heard { events.classes() } else { EventClasses::default() };
        journal.listen_to_events(classes, events.has_subkeys());
    }

    /// From now on this takes the effects of what runs here, instead of the log: for tests.
    pub fn listen_to_effects(&mut self, sink: EffectSink) {
        self.shard.keyspace.journal.listen_to_effects(true);
        self.effects = Some(sink);
    }

    /// Hands over what commands have done, before anything leaves that could tell of it.
    #[inline]
    pub fn hand_over_effects(&mut self) {
        if self.shard.keyspace.journal.has_effects() {
            self.push_effects();
        }
    }

    #[cold]
    fn push_effects(&mut self) {
        let records = self.shard.keyspace.journal.take_effects();
        match &mut self.effects {
            Some(sink) => sink(records),
            None => {
                self.shared.append_log.push(self.index, records);
            }
        }
    }

    /// One slice of active expiry and of freeing; bounded work. True if more is due at once.
    pub fn housekeeping_slice(&mut self, clock: impl Fn() -> u64) -> bool {
        const EXPIRE_BUDGET_ENTRIES: usize = 2_000;
        self.pay_owed_memory();
        let mut more = self.collect_garbage(&clock) || self.is_behind_with_memory();
        more |= self.tidy_readers();
        // Locked keys are not expired: with anything in the schedule expiry waits for the next slice.
        let rests = self.is_paused() || self.gate.is_loading();
        if self.schedule.is_idle() && self.active_expire && self.cron_runs && !rests {
            let (stopwatch, began_ns) = (self.stopwatch_of_events(), clock());
            let is_cut_short = self.shard.keyspace.expire_step(self.shard.now(), EXPIRE_BUDGET_ENTRIES).more;
            more |= is_cut_short;
            self.counters.expiry_cut_short += u64::from(is_cut_short);
            self.counters.expiry_took_ns += clock().saturating_sub(began_ns);
            self.note_event("expire-cycle", stopwatch);
        }
        more
    }

    /// Who has just emptied a small database finds that its memory is back, as where FLUSHALL and DEL free at once; and who
    /// has written, that the limit is kept, though it is this shard that makes the room.
    pub fn free_before_telling(&mut self) {
        self.pay_owed_memory();
        let read = self.read_precise_clock;
        self.collect_garbage(|| read.map_or(0, |read| read().max(0) as u64 * 1000));
    }

    /// Frees what was let go, for the time of a slice. What giving memory back takes is known only when it is done: that of a
    /// block may be nothing, or that of many pages, so little is freed between two looks at the clock. Whether more is left.
    pub fn collect_garbage(&mut self, clock: impl Fn() -> u64) -> bool {
        const SLICE_NS: u64 = 400_000;
        const BUDGET_MAX: usize = 2_000;
        const BUDGET_STEP: usize = 20;
        let began_ns = clock();
        for _ in 0..BUDGET_MAX / BUDGET_STEP {
            if !self.shard.keyspace.collect_garbage(BUDGET_STEP) {
                return false;
            }
            if clock().saturating_sub(began_ns) >= SLICE_NS {
                break;
            }
        }
        true
    }

    /// Figures for INFO.
    pub fn figures(&self) -> ShardFigures {
        // Before the figures themselves take memory.
        let allocated_bytes = (self.measure_bytes)(&self.shard);
        let keyspace = &self.shard.keyspace;
        let now = self.shard.now();
        let databases = (0..keyspace.database_count()).map(|database| DatabaseFigures {
            keys: keyspace.len(database),
            volatile_keys: keyspace.volatile_len(database),
            average_ttl_ms: keyspace.average_ttl_ms(database, now),
            table_bytes: keyspace.table_bytes(database),
        });
        let connections = || self.connections.iter().filter_map(|slot| slot.connection.as_deref());
        ShardFigures {
            shard: self.index,
            interpreter_bytes: self.scripting.interpreters.memory_bytes(),
            commands: self.counters.commands,
            calls: CallCounts::default(),
            histograms: Histograms::default(),
            connections: self.connection_count - self.tasks.own_clients.len(),
            blocked: self.paused_clients() + self.blocked.clients() + self.tasks.awaited_answers.get(),
            awaited_keys: self.blocked.keys(),
            watching: connections().filter(|connection| connection.transaction.watched_keys() > 0).count(),
            watched_keys: keyspace.watched_keys(),
            subscribers: self.pubsub.subscribers(),
            channels: {
                let audience = keyspace.journal.audience().borrow();
                [Topic::Channel, Topic::Pattern, Topic::ShardChannel, Topic::Prefix].map(|topic| audience.len(topic))
            },
            tracking: self.tracking.figures(),
            accepted: self.counters.accepted,
            rejected: self.counters.rejected,
            received_bytes: self.counters.received_bytes,
            sent_bytes: self.counters.sent_bytes,
            reads: self.counters.reads,
            writes: self.counters.writes,
            errors: self.errors(),
            requests_sent: self.counters.requests_sent,
            messages_sent: self.counters.messages_sent,
            multicasts: self.counters.multicasts,
            lock_waits: self.schedule.waits(),
            connections_moved: self.counters.connections_moved,
            turns: self.counters.turns,
            wakes: self.counters.wakes,
            hits: keyspace.statistics.hits,
            misses: keyspace.statistics.misses,
            expired: keyspace.statistics.expired,
            evicted: keyspace.statistics.evicted,
            evicted_clients: self.counters.evicted_clients,
            limit_disconnections: [self.counters.query_limit_disconnections, self.counters.output_limit_disconnections],
            client_bytes: connections().filter(|it| !it.is_own()).map(Connection::memory_bytes).sum(),
            lazily_freed: keyspace.statistics.lazily_freed,
            garbage_pending: keyspace.garbage_pending(),
            allocated_bytes,
            used_bytes: keyspace.used_bytes(),
            dirty: keyspace.dirty,
            output_bytes: connections().map(Connection::output_bytes).sum(),
            query_bytes: connections().map(|connection| connection.query_buffer.capacity()).sum(),
            longest_turn_ns: self.longest_turn.ns(),
            turn_commands_max: self.counters.turn_commands_max,
            cron_took_ns: self.counters.cron_took_ns,
            turns_took: self.turns_took(),
            recent_max_bytes: self.rates.buffers.largest(self.clock.monotonic_ns / 1_000_000_000),
            expiry: [self.counters.expiry_cut_short, self.counters.expiry_took_ns],
            key_sizes: Vec::new(),
            rates: self.rates.figures(),
            databases: databases.collect(),
        }
    }

    /// The figures with what is long: what became of each command and how long it took here, and the sizes of values.
    pub fn detailed_figures(&mut self) -> ShardFigures {
        // In this order: what the copies take is no part of the memory that the figures tell of.
        let figures = self.figures();
        let keyspace = &mut self.shard.keyspace;
        let key_sizes = (0..keyspace.database_count()).map(|database| keyspace.key_sizes(database)).collect();
        ShardFigures { calls: self.calls(), histograms: self.histograms(), key_sizes, ..figures }
    }

    /// How many turns there were, what they took, and what commands of clients took of it; EXEC takes what its commands take.
    fn turns_took(&self) -> [u64; 3] {
        let [turns, took_ns] = self.longest_turn.all();
        let exec = self.shared.table.find(b"exec").map(|entry| entry.id);
        let commands = self.counters.calls.took_ns.iter().enumerate();
        [turns, took_ns, commands.filter(|(id, _)| Some(*id) != exec).map(|(_, took_ns)| took_ns).sum()]
    }

    /// What clients have been answered, those of scripts among them.
    fn errors(&self) -> ErrorCounts {
        let mut errors = self.counters.errors.clone();
        errors.add(self.shard.errors());
        errors.add(&self.scripting.errors.borrow());
        errors
    }

    /// What commands have become, those of scripts among them.
    fn calls(&self) -> CallCounts {
        let mut calls = self.counters.calls.clone();
        calls.add(&self.scripting.calls.borrow());
        calls
    }

    /// How long commands took here, those of scripts among them.
    pub fn histograms(&self) -> Histograms {
        let mut histograms = self.observer.histograms.histograms();
        histograms.add(&self.scripting.histograms.borrow().histograms());
        histograms
    }

    /// CONFIG RESETSTAT.
    pub fn reset_figures(&mut self) {
        let turns = self.counters.turns;
        self.counters = Counters { calls: CallCounts::new(self.shared.table.ids), turns, ..Counters::default() };
        self.longest_turn.reset();
        self.shard.reset_errors();
        *self.scripting.errors.borrow_mut() = ErrorCounts::default();
        *self.scripting.calls.borrow_mut() = CallCounts::new(self.shared.table.ids);
        self.observer.histograms = Recorder::new(self.shared.table.ids);
        *self.scripting.histograms.borrow_mut() = Recorder::new(self.shared.table.ids);
        self.shared.scripting.scripts().reset_evicted();
        self.shard.keyspace.statistics = torc_engine::keyspace::Statistics::default();
        self.shared.exceeded_total_ms.store(0, Ordering::Relaxed);
        self.shared.access.reset_counts();
        self.publish_memory();
    }

    /// Shards to be woken with the next submit.
    pub fn take_wakes(&mut self, mut wake: impl FnMut(usize)) {
        for shard in self.wakes.drain(..) {
            wake(shard);
        }
    }

    /// The server listens elsewhere than before.
    pub fn listen_elsewhere(&mut self) {
        if self.index == 0 {
            self.arrivals.push(Arrival::Listeners);
        }
    }

    /// What the loop has to take in since it was last asked.
    pub fn take_arrivals(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    /// Whether something from another shard is there to be acted on.
    pub fn has_messages(&self) -> bool {
        self.schedule.has_flagged() || !self.shared.mailboxes.is_empty(self.index)
    }

    /// Whether the shard may sleep: announces it, then looks at inbox and flags once more.
    pub fn may_sleep(&self) -> bool {
        let mailboxes = &self.shared.mailboxes;
        if self.schedule.has_flagged() || !mailboxes.announce_sleep(self.index) {
            return false;
        }
        if self.schedule.has_flagged() {
            mailboxes.wake_up(self.index);
            return false;
        }
        true
    }

    /// The shard is awake.
    pub fn woke_up(&self) {
        self.shared.mailboxes.wake_up(self.index);
    }

    /// Whether nothing of any transaction is under way here: every lock is free.
    pub fn is_quiet(&self) -> bool {
        self.schedule.is_idle()
            && self.coordinator.is_empty()
            && self.unit_batches.is_empty()
            && self.long.is_empty()
            && self.parked.is_empty()
            && self.blocked.is_empty()
            && self.shared.mailboxes.is_empty(self.index)
    }

    fn wake_if_asleep(&mut self, shard: usize) {
        if shard != self.index && self.shared.mailboxes.take_sleeper(shard) {
            self.counters.wakes += 1;
            self.wakes.push(shard);
        }
    }

    fn part_mut(envelope: &mut Envelope) -> &mut mailbox::Part {
        match &mut envelope.message {
            mailbox::Message::Part(part) => part,
            _ => unreachable!("only parts are kept as parts"),
        }
    }
}
