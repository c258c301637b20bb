//! The one log: what all shards change, in one order, in one file at a time.
//!
//! ```text
//!   shard 0 ── records of a turn ──┐  queue          one shard leads at a time (leader)
//!   shard 1 ── records of a turn ──┼─> (tickets) ──> sequencer ──> output ──> write ──> fdatasync ──> durable ticket
//!   shard 2 ── records of a turn ──┘                                                                       │
//!                                      replies that wait for it go (withheld) <── wake ────────────────────┘
//! ```
//!
//! A shard pushes what its commands did before anything leaves it that could tell of it: an answer to another shard, a message,
//! what is sent to a client. So what anybody has seen is in the queue, and a reply that is about to leave depends on
//! nothing behind the queue's last ticket. With `appendfsync always` it waits until all up to that ticket is on disk, whoever
//! pushed it; so answers between shards need not say what they depend on.
//!
//! **Leading.** Whoever has pushed looks whether somebody leads; if not, he does, as a task of his own ring, until the queue is
//! empty. He writes all that has gathered as one range: the more shards and clients write, the more share one fdatasync.
//! He lets go of the lead, then looks at the queue once more, so nothing stays behind.
//!
//! **When the disk fails** see `writer`.

mod command_base;
mod feed;
mod group_commit;
mod hold;
mod lanes;
mod leader;
mod opening;
pub mod output;
mod reload;
mod rewrite;
pub mod sequencer;
mod writer;

pub use hold::{Send, Withheld};
pub use leader::ShardLog;
pub use opening::{Plan, begin, bytes_to_load, open};
pub use reload::reload;
pub use rewrite::{AtCut, Rebased, Rewrites};
pub use writer::{CurrentFile, Place, Writer};

use crate::config::AppendFsync;
use crate::reactor::driver::Waker;
use group_commit::GroupCommit;
use output::Piece;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use torc_engine::journal::Record;
use torc_persistence::aof::manifest::{LogFile, Manifest};

/// So many bytes may wait to be written before replies wait, too, whatever the policy says: clients that write faster than the
/// disk takes are slowed down by it, and memory stays bounded.
const QUEUED_BYTES_MAX: u64 = 64 << 20;

/// Something pushed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) shard: usize,
    pub(crate) ticket: u64,
    pub(crate) what: Pushed,
}

/// What is pushed.
#[derive(Debug)]
pub(crate) enum Pushed {
    Records(Vec<Record>),
    Fence(u64),
    /// A base is on disk.
    Base(Rebased),
    /// What was history is gone.
    Removed,
    /// The log ends behind what has been pushed.
    Close,
}

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    ticket: u64,
}

/// What all shards know of the log.
#[derive(Debug)]
pub struct AppendLog {
    queue: Mutex<Queue>,
    /// The last ticket.
    pushed: AtomicU64,
    /// Everything up to this ticket has been written.
    written: AtomicU64,
    /// Everything up to this ticket is on disk.
    durable: AtomicU64,
    /// Bytes pushed and not yet written.
    queued_bytes: AtomicU64,
    /// Whether changes are logged.
    is_on: AtomicBool,
    policy: AtomicU8,
    /// Whether somebody leads.
    is_led: AtomicBool,
    /// What the leader works with; none while he does.
    writer: Mutex<Option<Box<Writer>>>,
    /// Shards that withhold replies.
    waiting: Box<[AtomicBool]>,
    /// The disk has failed: writes are refused.
    refuses: AtomicBool,
    figures: Mutex<Figures>,
    background: Arc<Mutex<leader::Background>>,
    /// When a sync is due, or the next attempt after a failure, on the leader's clock.
    next_attempt_ns: AtomicU64,
    /// Whether something is written and not on disk.
    has_unsynced: AtomicBool,
    /// Writes wait for a sync.
    is_stalled: AtomicBool,
    /// What counts as a slow write, and the slowest that nobody has heard of.
    slow_write_ns: AtomicU64,
    slowest_write_ns: AtomicU64,
    /// The last ticket that has been taken from the queue.
    taken: AtomicU64,
    /// A leader has let go of what is not done.
    has_left: AtomicBool,
    /// Who writes while replies wait, where there are threads; else the shard that leads.
    group_commit: OnceLock<GroupCommit>,
    /// `aof-timestamp-enabled`, and the time, in milliseconds since 1970.
    stamps: AtomicBool,
    wall_ms: AtomicI64,
    /// `no-appendfsync-on-rewrite` holds: another file is being written, too.
    puts_off_syncs: AtomicBool,
    /// See [`AppendLog::is_replayed`].
    is_replayed: AtomicBool,
    /// The last fence that was passed, and the number of the file that begins behind it.
    passed: Mutex<Option<(u64, Result<i64, String>)>>,
    next_fence: AtomicU64,
    next_generation: AtomicU64,
    /// DEBUG AOF-FLUSH-SLEEP: how long each write waits, in microseconds.
    write_delay_us: AtomicU64,
    /// What became of a new base: the files that are history then.
    rebased: Mutex<Option<Result<Vec<LogFile>, String>>>,
    rewrites: Mutex<Rewrites>,
    /// The directory, while it is this process's own.
    claim: Mutex<Option<File>>,
    /// As it is on disk.
    manifest: Mutex<Manifest>,
}

/// What INFO and the checks of commands tell of the log.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long the log's files are together.
    pub size: u64,
    /// How long they were after the last rewrite.
    pub base_size: u64,
    /// Why writes are refused.
    pub failure: Option<String>,
    /// How often a write had to wait for an fdatasync that took long.
    pub delayed_syncs: u64,
    /// Whether an fdatasync is under way that nobody waits for.
    pub is_syncing: bool,
    /// Bytes that were written and are not yet synced.
    pub unsynced_bytes: u64,
    /// How often a sync succeeded.
    pub syncs: u64,
}

impl AppendLog {
    /// Of so many shards; off.
    pub fn new(shards: usize) -> Self {
        Self {
            queue: Mutex::default(),
            pushed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            is_on: AtomicBool::new(false),
            policy: AtomicU8::new(AppendFsync::EverySecond as u8),
            is_led: AtomicBool::new(false),
            writer: Mutex::new(None),
            waiting: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            refuses: AtomicBool::new(false),
            figures: Mutex::default(),
            background: Arc::default(),
            next_attempt_ns: AtomicU64::new(0),
            has_unsynced: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            slow_write_ns: AtomicU64::new(u64::MAX),
            slowest_write_ns: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
            group_commit: OnceLock::new(),
            stamps: AtomicBool::new(false),
            wall_ms: AtomicI64::new(0),
            puts_off_syncs: AtomicBool::new(false),
            is_replayed: AtomicBool::new(false),
            passed: Mutex::default(),
            next_fence: AtomicU64::new(1),
            next_generation: AtomicU64::new(1),
            write_delay_us: AtomicU64::new(0),
            rebased: Mutex::default(),
            rewrites: Mutex::default(),
            claim: Mutex::default(),
            manifest: Mutex::default(),
        }
    }

    /// Whether changes are logged.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether there is a file to be written to. Between this and [`Self::is_on`] a log is being started, or stopped.
    pub fn is_open(&self) -> bool {
        self.is_led.load(Ordering::SeqCst) || self.writer().is_some()
    }

    fn writer(&self) -> MutexGuard<'_, Option<Box<Writer>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to tell.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When what was written has to be on disk.
    pub fn policy(&self) -> AppendFsync {
        match self.policy.load(Ordering::Relaxed) {
            policy if policy == AppendFsync::Always as u8 => AppendFsync::Always,
            policy if policy == AppendFsync::No as u8 => AppendFsync::No,
            _ => AppendFsync::EverySecond,
        }
    }

    /// `appendfsync`.
    pub fn set_policy(&self, policy: AppendFsync) {
        self.policy.store(policy as u8, Ordering::SeqCst);
    }

    /// Starts the thread that writes while replies wait for the disk; it wakes shards by these.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start_group_commit(&self, wakers: Vec<Box<dyn Waker>>) -> std::io::Result<()> {
        let started = GroupCommit::start(wakers)?;
        self.group_commit.get_or_init(|| started);
        Ok(())
    }

    /// The log is open: what is pushed from now on goes to its file.
    pub fn open(&self, mut writer: Box<Writer>) {
        writer.sequencer.note_ticket(self.pushed());
        self.publish(&writer);
        *self.writer() = Some(writer);
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Records of a shard, in their order among all. The ticket.
    pub fn push(&self, shard: usize, records: Vec<Record>) -> u64 {
        let bytes: usize = records.iter().map(Record::byte_count).sum();
        self.queued_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.push_entry(shard, Pushed::Records(records))
    }

    /// A shard's place of a fence.
    pub fn push_fence(&self, shard: usize, number: u64) -> u64 {
        self.push_entry(shard, Pushed::Fence(number))
    }

    pub(crate) fn push_entry(&self, shard: usize, what: Pushed) -> u64 {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.ticket += 1;
        let ticket = queue.ticket;
        queue.entries.push(Entry { shard, ticket, what });
        self.pushed.store(ticket, Ordering::SeqCst);
        ticket
    }

    pub(crate) fn take_queued(&self) -> Vec<Entry> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.taken.store(queue.ticket, Ordering::SeqCst);
        std::mem::take(&mut queue.entries)
    }

    #[inline]
    fn has_queued(&self) -> bool {
        self.pushed() > self.taken.load(Ordering::SeqCst)
    }

    /// Whether something waits for a leader who may write it.
    #[inline]
    fn wants_leader(&self) -> bool {
        (self.has_queued() || self.has_left.load(Ordering::SeqCst))
            && !self.is_led.load(Ordering::SeqCst)
            && !self.refuses()
            && !self.is_stalled.load(Ordering::SeqCst)
    }

    /// `aof-timestamp-enabled`.
    pub fn set_stamps(&self, stamps: bool) {
        self.stamps.store(stamps, Ordering::Relaxed);
    }

    /// For tests: each write waits for so long.
    pub fn set_write_delay(&self, delay: Duration) {
        self.write_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    fn write_delay(&self) -> Option<Duration> {
        let delay_us = self.write_delay_us.load(Ordering::Relaxed);
        (delay_us > 0).then(|| Duration::from_micros(delay_us))
    }

    /// While a base is written: `no-appendfsync-on-rewrite`.
    pub fn put_off_syncs(&self, puts_off: bool) {
        self.puts_off_syncs.store(puts_off, Ordering::Relaxed);
    }

    /// While the log's files are loaded: time stands still.
    #[inline]
    pub fn is_replayed(&self) -> bool {
        self.is_replayed.load(Ordering::Relaxed)
    }

    /// The files begin to be loaded, or are.
    pub fn set_replayed(&self, is_replayed: bool) {
        self.is_replayed.store(is_replayed, Ordering::SeqCst);
    }

    /// Before the process ends: whatever is written goes to disk at once, and is awaited. Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        if self.is_on() && self.policy() != AppendFsync::Always {
            self.set_policy(AppendFsync::Always);
            self.is_stalled.store(false, Ordering::SeqCst);
        }
        !self.is_on()
            || self.refuses()
            || (self.durable() >= self.pushed() && !self.has_unsynced.load(Ordering::SeqCst))
    }

    fn note_time(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }

    fn time_to_write(&self) -> Option<i64> {
        self.stamps.load(Ordering::Relaxed).then(|| self.wall_ms.load(Ordering::Relaxed) / 1000)
    }

    fn is_sync_put_off(&self) -> bool {
        self.puts_off_syncs.load(Ordering::Relaxed)
    }

    /// A number for a fence.
    pub fn next_fence(&self) -> u64 {
        self.next_fence.fetch_add(1, Ordering::SeqCst)
    }

    fn next_generation(&self) -> u64 {
        self.next_generation.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether the log has passed that fence: the number of the last file before it, or why no other has begun.
    pub fn passed_fence(&self, number: u64) -> Option<Result<i64, String>> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.as_ref().filter(|(last, _)| *last == number).map(|(_, outcome)| outcome.clone())
    }

    fn pass_fence(&self, number: u64, outcome: Result<i64, String>) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, outcome));
    }

    /// Rewrites of the log.
    pub fn rewrites(&self) -> MutexGuard<'_, Rewrites> {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest as it is on disk.
    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What INFO tells.
    fn publish(&self, writer: &Writer) {
        self.manifest().clone_from(&writer.manifest);
        let mut figures = self.figures();
        figures.size = writer.size();
        figures.unsynced_bytes = writer.unsynced.iter().map(|kept| kept.len() as u64).sum();
        let background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        figures.is_syncing = matches!(*background, leader::Background::Running(_));
    }

    /// The last ticket that was given.
    pub fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::SeqCst)
    }

    /// Everything up to this ticket has been written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Everything up to this ticket is on disk.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// Whether replies wait for the disk.
    #[inline]
    pub fn is_awaited(&self) -> bool {
        self.is_on() && self.policy() == AppendFsync::Always
    }

    /// What a reply has to wait for that is about to leave.
    #[inline]
    pub fn holds_back(&self) -> Hold {
        if self.is_on() { self.hold() } else { Hold::Not }
    }

    fn hold(&self) -> Hold {
        if self.policy() == AppendFsync::Always {
            let ticket = self.pushed();
            let awaited = Awaited { ticket, on_disk: true };
            return match ticket > self.durable() {
                false => Hold::Not,
                // What is read goes on. What was written, or may have been, waits until it can be acknowledged.
                true if self.refuses() => Hold::Writers(awaited),
                true => Hold::All(awaited),
            };
        }
        let is_far_behind = self.queued_bytes.load(Ordering::Relaxed) > QUEUED_BYTES_MAX && !self.refuses();
        if is_far_behind { Hold::All(Awaited { ticket: self.pushed(), on_disk: false }) } else { Hold::Not }
    }

    /// Whether the log has come so far.
    pub fn has_reached(&self, awaited: Awaited) -> bool {
        // Who no longer waits for the disk waits for the write at most.
        let reached =
            if awaited.on_disk && self.policy() == AppendFsync::Always { self.durable() } else { self.written() };
        reached >= awaited.ticket
    }

    /// A shard withholds replies: it is woken when the log has come further. It must look once more after this.
    pub fn wait_here(&self, shard: usize) {
        self.waiting[shard].store(true, Ordering::SeqCst);
    }

    fn take_waiting(&self, mut wake: impl FnMut(usize)) {
        for (shard, waits) in self.waiting.iter().enumerate() {
            if waits.load(Ordering::SeqCst) && waits.swap(false, Ordering::SeqCst) {
                wake(shard);
            }
        }
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Whether writes are refused.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// The error that a write is refused with.
    pub fn refusal(&self) -> String {
        let figures = self.figures();
        format!("MISCONF Errors writing to the AOF file: {}", figures.failure.as_deref().unwrap_or("unknown"))
    }
}

/// Whether a reply waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may go.
    Not,
    /// It waits if its client has written something that was not acknowledged.
    Writers(Awaited),
    /// It waits.
    All(Awaited),
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    ticket: u64,
    on_disk: bool,
}

/// Takes what has gathered, as far as it may go out, into what is to be written.
fn take_queue(log: &AppendLog, writer: &mut Writer) {
    for entry in log.take_queued() {
        match entry.what {
            Pushed::Records(records) => {
                writer.taken_bytes += records.iter().map(|record| record.byte_count() as u64).sum::<u64>();
                writer.sequencer.push(entry.shard, entry.ticket, records);
            }
            Pushed::Fence(number) => writer.sequencer.push_fence(entry.shard, entry.ticket, number),
            Pushed::Base(rebased) => writer.bases.push(rebased),
            Pushed::Removed => writer.has_removed = true,
            Pushed::Close => writer.closes = true,
        }
        writer.sequencer.note_ticket(entry.ticket);
    }
    writer.output.set_time(log.time_to_write());
    writer.sequencer.drain(&mut writer.output);
    for piece in writer.output.take() {
        match (writer.pending.back_mut(), piece) {
            // What failed and what has gathered since is one write.
            (Some(Piece::Bytes(bytes)), Piece::Bytes(more)) => bytes.extend_from_slice(&more),
            (_, piece) => writer.pending.push_back(piece),
        }
    }
    writer.complete = writer.sequencer.complete();
}
