//! What all shard threads of a process share: the mailboxes, the command table, and a few counters.

use crate::access::SharedAccess;
use crate::append_log::AppendLog;
use crate::command_table::CommandTable;
use crate::config::Config;
use crate::core::client_memory::ClientShares;
use crate::core::whole::UnitsUnderWay;
use crate::insight::Insight;
use crate::listening::Listening;
use crate::loading::LoadFigures;
use crate::log::Log;
use crate::mailbox::Message;
use crate::reactor::whole_files::FileTurns;
use crate::scripting::SharedScripting;
use crate::snapshot::Saves;
use crate::tls::Tls;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use torc_engine::keyspace::{KeyHasher, SLOTS, ScanCursor};
use torc_engine::transaction::multicast::Mailboxes;
use torc_engine::transaction::rules::Rules;

/// Figures that other threads read while the shard runs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    /// Connections on this shard, those on their way to it included.
    pub connections: AtomicUsize,
    /// Turns of the loop, for the heartbeat.
    pub turns: AtomicU64,
    /// Commands run.
    pub commands: AtomicU64,
    /// The id, from one, of the command that was begun last in this turn; 0 is none. For who asks why it does not turn.
    pub command_begun: AtomicUsize,
    /// Bytes that this shard's thread has taken, as of the last turn.
    pub allocated_bytes: AtomicI64,
    /// Replies that were made here for clients, beyond the small ones, in bytes ...
    pub replies_made_bytes: AtomicU64,
    /// ... and those that this shard, as the clients', counts as theirs.
    pub replies_taken_bytes: AtomicU64,
    /// Changes of the data.
    pub dirty: AtomicU64,
    /// Keys that the eviction policy may choose from.
    pub evictable: AtomicUsize,
    /// The urgency of the one that would go next.
    pub urgency: AtomicU64,
    /// Bytes that other shards have asked this one to free. The one figure here that others write.
    pub owed_bytes: AtomicI64,
    /// What its clients have just been told about keys, in bytes of memory: about to be sent.
    pub told_bytes: AtomicI64,
    /// While the server stops: this shard is between two turns, and has nothing left to do.
    pub is_done: AtomicBool,
    /// Turns since then.
    pub last_turns: AtomicU64,
}

/// Shared by all shards of one server.
pub struct Shared {
    /// The inboxes.
    pub mailboxes: Mailboxes<Message>,
    /// The commands.
    pub table: CommandTable,
    /// One a shard.
    pub gauges: Box<[Gauges]>,
    /// Keys are hashed alike on all shards.
    pub hasher: KeyHasher,
    /// Number of databases.
    pub databases: usize,
    /// The one configuration; shards work with [`crate::settings::Settings`] derived from it.
    config: Mutex<Config>,
    /// Users, and what they were denied.
    pub access: SharedAccess,
    /// The log.
    pub log: Log,
    /// When the process started, wall milliseconds.
    pub started_ms: i64,
    /// Forty hexadecimal digits that name this run of the process.
    pub run_id: String,
    /// Bytes taken by threads that are no shards.
    pub unpublished_bytes: AtomicI64,
    /// The most bytes that were taken at once.
    pub peak_bytes: AtomicI64,
    /// Bytes taken when the server had started.
    pub startup_bytes: AtomicI64,
    /// Since when memory is above its limit, wall milliseconds; 0 when it is not.
    pub exceeded_since_ms: AtomicI64,
    /// For how long it was, in milliseconds, that time left out.
    pub exceeded_total_ms: AtomicI64,
    /// What clients take.
    pub clients: ClientShares,
    /// What commands on every shard do not get in front of.
    pub units_under_way: UnitsUnderWay,
    /// How many connections have copies of what they have read, and want to hear when it changes.
    pub trackers: AtomicUsize,
    /// What is changed, in one order.
    pub append_log: Arc<AppendLog>,
    /// What all shards remember of their work.
    pub insight: Insight,
    /// Scripts and libraries of functions.
    pub scripting: SharedScripting,
    /// Saves, and what became of them.
    pub saves: Saves,
    /// How far the load has come.
    pub loading: LoadFigures,
    /// What encrypted connections are served with.
    pub tls: Tls,
    /// Where it listens.
    pub listening: Listening,
    /// Files of the configuration that are being read or replaced.
    pub file_turns: FileTurns,
    /// The server is to stop.
    pub stopping: AtomicBool,
    /// Nothing was left to do on any shard.
    has_ended: AtomicBool,
    /// It is to stop as soon as the data are saved.
    pub shutting_down: AtomicBool,
    /// A signal that nobody has seen to.
    pub signal: AtomicI32,
    next_snapshot_number: AtomicU64,
    next_client_id: AtomicU64,
    next_waiter_number: AtomicU64,
}

impl Shared {
    /// For `shards` shards; at most [`SHARDS_MAX`], the width of a connection's set of open batches.
    pub fn new(shards: usize, config: Config, table: CommandTable, seed: u64, rules: Rules, log: Log) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "the configuration keeps shards in range");
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut random = fastrand::Rng::with_seed(seed);
        let client_bytes_max = config.client_bytes_max();
        Self {
            mailboxes: Mailboxes::new(shards, rules),
            gauges: (0..shards).map(|_| Gauges::default()).collect(),
            hasher: KeyHasher::with_seed(seed),
            databases: config.keyspace.databases as usize,
            access: SharedAccess::new(&table, &config.security),
            table,
            config: Mutex::new(config),
            log,
            started_ms: since_epoch.as_ref().map_or(0, |elapsed| elapsed.as_millis() as i64),
            run_id: (0..40).map(|_| random.digit(16)).collect(),
            unpublished_bytes: AtomicI64::new(0),
            peak_bytes: AtomicI64::new(0),
            startup_bytes: AtomicI64::new(0),
            exceeded_since_ms: AtomicI64::new(0),
            exceeded_total_ms: AtomicI64::new(0),
            clients: ClientShares::new(shards, client_bytes_max),
            units_under_way: UnitsUnderWay::default(),
            trackers: AtomicUsize::new(0),
            append_log: Arc::new(AppendLog::new(shards)),
            insight: Insight::default(),
            scripting: SharedScripting::default(),
            saves: Saves::new(since_epoch.as_ref().map_or(0, |elapsed| elapsed.as_millis() as i64)),
            loading: LoadFigures::default(),
            tls: Tls::default(),
            listening: Listening::default(),
            file_turns: FileTurns::default(),
            stopping: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            shutting_down: AtomicBool::new(false),
            signal: AtomicI32::new(0),
            next_snapshot_number: AtomicU64::new(1),
            next_client_id: AtomicU64::new(1),
            next_waiter_number: AtomicU64::new(1),
        }
    }

    /// The configuration, for reading or for a change. Held for moments only.
    pub fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.gauges.len()
    }

    /// The shard that owns a slot: contiguous ranges of slots, so that walking shards in order walks slots in order.
    #[inline]
    pub fn shard_of(&self, slot: u16) -> usize {
        slot as usize * self.shards() / SLOTS
    }

    /// The first slot of a shard.
    pub fn first_slot(&self, shard: usize) -> usize {
        (shard * SLOTS).div_ceil(self.shards())
    }

    /// The command that a shard has begun last in the turn that it is in.
    pub fn command_begun(&self, shard: usize) -> Option<&str> {
        let id = self.gauges.get(shard)?.command_begun.load(Ordering::Relaxed).checked_sub(1)?;
        self.table.all().find(|entry| entry.id == id).map(|entry| entry.full_name.as_str())
    }

    /// The cursor with which a walk over all keys goes on behind those of a shard.
    pub fn cursor_behind(&self, shard: usize) -> u64 {
        let is_last = shard + 1 == self.shards();
        if is_last { 0 } else { ScanCursor::at_slot(self.first_slot(shard + 1)).to_u64() }
    }

    /// A CLIENT ID, rising over all shards.
    pub fn take_client_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no other snapshot of the process has.
    pub fn take_snapshot_number(&self) -> u64 {
        self.next_snapshot_number.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a client that begins to wait, rising over all shards.
    pub fn take_waiter_number(&self) -> u64 {
        self.next_waiter_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections over all shards.
    pub fn connections(&self) -> usize {
        self.gauges.iter().map(|gauges| gauges.connections.load(Ordering::Relaxed)).sum()
    }

    /// While the server stops: a shard begins a turn, and is not done until it says so.
    pub fn begin_last_turn(&self, shard: usize) {
        let gauges = &self.gauges[shard];
        gauges.is_done.store(false, Ordering::SeqCst);
        gauges.last_turns.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether every shard has nothing left to do, and no message is on its way to any. Looked at twice: a shard may have taken a message
    /// after it was looked at, and have sent one to another whose inbox was empty before. Where nobody has begun a turn
    /// between the two looks, nobody has. What one shard has found holds for all.
    pub fn is_done(&self) -> bool {
        let is_done = || {
            let is_idle = |shard: usize| self.gauges[shard].is_done.load(Ordering::SeqCst);
            (0..self.shards()).all(is_idle) && (0..self.shards()).all(|shard| self.mailboxes.is_empty(shard))
        };
        let turns = || self.gauges.iter().map(|gauges| gauges.last_turns.load(Ordering::SeqCst)).sum::<u64>();
        if self.has_ended.load(Ordering::SeqCst) {
            return true;
        }
        let before = turns();
        let has_ended = is_done() && is_done() && turns() == before;
        self.has_ended.fetch_or(has_ended, Ordering::SeqCst);
        has_ended
    }

    /// The shard with the fewest connections; ties go to the first after `after`.
    pub fn quietest_shard(&self, after: usize) -> usize {
        let shards = self.shards();
        let rotated = (1..=shards).map(|step| (after + step) % shards);
        rotated.min_by_key(|&shard| self.gauges[shard].connections.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// Most shards of one process.
pub const SHARDS_MAX: usize = 128;
