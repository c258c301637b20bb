//! Snapshots: all data as they are at one instant, in one file, while commands go on. No fork, no copy, no stop.
//!
//! ```text
//!   BGSAVE, SAVE, a save point ──> procedure (a task of the shard that was asked)
//!     1 cut        a multicast that takes every shard whole: each begins a walk over its databases (engine: keyspace/instant.rs)
//!     2 begin      the header's length is known: from here on the shards take extents of the file behind it
//!     3 ── each shard, a slice a turn (part.rs) ──────────────────────────────────────────────────────────────┐
//!          walk ──> recorder ──> pieces of 128 KiB ──> offset = next.fetch_add(length) ──> written by its ring │
//!          a command changes a key that the walk has not seen: its page is recorded first, as it was           │
//!          large values are kept as views (O(1)), and recorded step by step                                    │
//!     4 end        the header is written last, when the version is known that the values need; END, CRC-64 <───┘
//!                  (sums of the pieces, combined in the order of the file), fsync, rename, fsync of the directory
//! ```
//!
//! * *The cut is one instant of all shards*, since the multicast has one place in each shard's order and waits for what holds keys
//!   in front of it. A transaction is in it whole or not at all.
//! * Each piece begins with SELECT, so pieces may follow each other in any order. An extent is as long as what is in it: what takes one,
//!   has been encoded; of a value of more than [`part::KEPT_BYTES_MAX`] the length is found by encoding it once for nothing.
//! * The file has its name only when it is whole and on the disk. A save that fails leaves the one before, and says why.
//! * What a writer must record, and the disk has not taken, is bounded (`snapshot-buffer-limit`): the snapshot does not rest when much
//!   waits, large values are spilled to the disk (`pieces.rs`), and beyond the limit the save ends, not the writer.

pub mod part;
mod pieces;
pub mod procedure;

use crate::append_log::AtCut;
use crate::config::Config;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use torc_persistence::crc64;
use torc_persistence::rdb::Version;
use torc_persistence::rdb::encode::Readers;

/// A run of bytes of the file, and their checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// CRC-64 of them, or 0 where sums are not asked for.
    pub sum: u64,
}

/// How the use of keys is told in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseTold {
    /// Not at all: eviction does not ask for it.
    #[default]
    Not,
    /// Seconds since then.
    Idle,
    /// A logarithmic counter.
    Frequency,
}

/// What is asked of a snapshot.
#[derive(Clone, Debug)]
pub struct Order {
    /// The directory of both files.
    pub directory: PathBuf,
    /// The file as long as it is not whole.
    pub temporary: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// Whether it is the base of a log: said in the file.
    pub is_base: bool,
    /// What the log has to do with its cut.
    pub at_cut: Option<AtCut>,
    /// Whether commands that write wait from the cut on, for as long as the process lives.
    pub pauses_writes: bool,
    /// Whether nobody waits for it: FLUSHALL ends it.
    pub is_background: bool,
    /// The version and the family of those who are to read it.
    pub readers: Readers,
    /// `rdbcompression`.
    pub compresses: bool,
    /// `rdbchecksum`.
    pub sums: bool,
    /// `rdb-save-incremental-fsync`: the disk is told to begin before all is written.
    pub syncs_meanwhile: bool,
    /// How the use of keys is told.
    pub use_told: UseTold,
    /// Bytes that a shard may keep for the disk before the save ends.
    pub buffer_bytes_max: usize,
}

impl Order {
    /// A file of that name in the directory of the configuration.
    pub fn new(config: &Config) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let directory = config.process.directory.clone();
        let name = std::ffi::OsStr::from_bytes(&config.persistence.database_file);
        let persistence = &config.persistence;
        let use_told = match config.memory.policy {
            policy if policy.is_lfu() => UseTold::Frequency,
            policy if policy.needs_clocks() => UseTold::Idle,
            _ => UseTold::Not,
        };
        Self {
            // As the real server calls that of SAVE: there is one at a time.
            temporary: directory.join(format!("temp-{}.rdb", std::process::id())),
            file: directory.join(name),
            directory,
            is_base: false,
            at_cut: None,
            pauses_writes: false,
            is_background: false,
            readers: persistence.readers(),
            compresses: persistence.compresses,
            sums: persistence.sums,
            syncs_meanwhile: persistence.syncs_meanwhile,
            use_told,
            buffer_bytes_max: persistence.snapshot_buffer_bytes_max as usize,
        }
    }
}

/// A snapshot under way: what its shards share.
#[derive(Debug)]
pub struct Snapshot {
    /// Which one, of this process.
    pub number: u64,
    /// What was asked.
    pub order: Order,
    /// Keys that have been recorded.
    pub keys_done: AtomicU64,
    /// Keys at the cut.
    pub keys: AtomicU64,
    /// Bytes that shards keep for the disk.
    pub kept_bytes: AtomicU64,
    /// The most of them at one time.
    pub kept_bytes_peak: AtomicU64,
    /// Bytes that views may come to hold alone which writers left: at most what was there at the cut.
    pub view_bytes: AtomicU64,
    /// Bytes of large values that were written elsewhere first.
    pub spilled_bytes: AtomicU64,
    /// How often FLUSHALL had run at the cut; none as long as there is none.
    pub flushes_at_cut: AtomicU64,
    /// The shard and the name there of the task that waits for the parts.
    pub waits: (usize, u64),
    /// Files for what is spilled, so far.
    next_spill: AtomicU64,
    /// Where the next extent begins; 0 as long as the header's length is not known.
    next_offset: AtomicU64,
    /// The lowest version that knows all values so far.
    version: AtomicU16,
    is_failed: AtomicBool,
    failure: Mutex<Option<String>>,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Shards that are not done.
    left: usize,
    extents: Vec<Extent>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshot {
    /// Of so many shards.
    pub fn new(number: u64, order: Order, shards: usize, waits: (usize, u64)) -> Self {
        Self {
            number,
            version: AtomicU16::new(order.readers.version.0),
            order,
            keys_done: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            kept_bytes_peak: AtomicU64::new(0),
            view_bytes: AtomicU64::new(0),
            spilled_bytes: AtomicU64::new(0),
            next_spill: AtomicU64::new(0),
            flushes_at_cut: AtomicU64::new(u64::MAX),
            waits,
            next_offset: AtomicU64::new(0),
            is_failed: AtomicBool::new(false),
            failure: Mutex::default(),
            parts: Mutex::new(Parts { left: shards, extents: Vec::new() }),
        }
    }

    /// Extents begin here.
    fn begin_at(&self, offset: u64) {
        self.next_offset.store(offset, Ordering::Release);
    }

    /// Whether extents may be taken.
    pub fn has_begun(&self) -> bool {
        self.next_offset.load(Ordering::Acquire) != 0
    }

    /// An extent of just so many bytes: where it begins.
    pub fn take_extent(&self, bytes: u64) -> u64 {
        debug_assert!(self.has_begun());
        self.next_offset.fetch_add(bytes, Ordering::AcqRel)
    }

    /// A piece at a place, with its sum.
    fn extent(&self, offset: u64, piece: &[u8]) -> Extent {
        let sum = if self.order.sums { crc64::of(piece) } else { 0 };
        Extent { offset, bytes: piece.len() as u64, sum }
    }

    /// Where a shard may spill to: a file beside the other.
    fn take_spill_path(&self) -> PathBuf {
        let spill = self.next_spill.fetch_add(1, Ordering::Relaxed);
        self.order.temporary.with_extension(format!("spill-{}-{spill}", self.number))
    }

    /// A value needs this version.
    pub fn needs(&self, version: Version) {
        self.version.fetch_max(version.0, Ordering::Relaxed);
    }

    /// The version that all values need.
    pub fn version(&self) -> Version {
        Version(self.version.load(Ordering::Relaxed))
    }

    /// It cannot be finished. The first reason counts.
    pub fn fail(&self, reason: String) {
        lock(&self.failure).get_or_insert(reason);
        self.is_failed.store(true, Ordering::Release);
    }

    /// Whether it cannot be finished.
    pub fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::Acquire)
    }

    /// Why not, if so.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// A shard has written its part, or given it up.
    fn part_done(&self, mut extents: Vec<Extent>) {
        let mut parts = lock(&self.parts);
        parts.left -= 1;
        parts.extents.append(&mut extents);
    }

    /// Whether all have.
    fn is_done(&self) -> bool {
        lock(&self.parts).left == 0
    }

    /// Everything that was written, in the order of the file.
    fn take_extents(&self) -> Vec<Extent> {
        let mut extents = std::mem::take(&mut lock(&self.parts).extents);
        extents.sort_unstable_by_key(|extent| extent.offset);
        extents
    }

    /// Bytes come to be kept, or are kept no more.
    fn note_kept(&self, more: u64, less: u64) {
        let before = self.kept_bytes.fetch_add(more, Ordering::Relaxed);
        self.kept_bytes_peak.fetch_max(before + more, Ordering::Relaxed);
        self.kept_bytes.fetch_sub(less, Ordering::Relaxed);
    }
}

/// What became of saves: for INFO, LASTSAVE and the save points.
#[derive(Clone, Debug)]
pub struct SaveFigures {
    /// The one under way, and when it began, wall milliseconds.
    pub running: Option<(Arc<Snapshot>, i64)>,
    /// Whether one is to follow as soon as that is possible.
    pub is_scheduled: bool,
    /// When the last good one ended, or the server started; seconds.
    pub last_s: i64,
    /// Whether the last one was good.
    pub is_last_good: bool,
    /// How long the last took, in seconds; none if there was none.
    pub last_took_s: Option<i64>,
    /// When the last was begun, wall milliseconds.
    pub tried_ms: i64,
    /// How many were good.
    pub good: u64,
    /// Changes of all shards when the last good one was cut.
    pub dirty_at_last: u64,
    /// How often FLUSHALL had run at the cut of one that was good, or need not be saved.
    pub flushes_saved: u64,
    /// The most bytes that the last one kept for the disk.
    pub last_kept_bytes: u64,
    /// Bytes that the last one spilled.
    pub last_spilled_bytes: u64,
}

/// Saves of the process.
#[derive(Debug)]
pub struct Saves(Mutex<SaveFigures>);

impl Saves {
    /// None yet, at a wall time in milliseconds.
    pub fn new(now_ms: i64) -> Self {
        Self(Mutex::new(SaveFigures {
            running: None,
            is_scheduled: false,
            last_s: now_ms / 1000,
            is_last_good: true,
            last_took_s: None,
            tried_ms: 0,
            good: 0,
            dirty_at_last: 0,
            flushes_saved: 0,
            last_kept_bytes: 0,
            last_spilled_bytes: 0,
        }))
    }

    /// The figures, for reading or for a change. Held for moments only.
    pub fn figures(&self) -> MutexGuard<'_, SaveFigures> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(shards: usize) -> Snapshot {
        Snapshot::new(1, Order::new(&Config::default()), shards, (0, 0))
    }

    #[test]
    fn extents_lie_behind_each_other() {
        let snapshot = snapshot(2);
        assert!(!snapshot.has_begun());
        snapshot.begin_at(100);
        assert_eq!([snapshot.take_extent(5), snapshot.take_extent(7), snapshot.take_extent(1)], [100, 105, 112]);
        let extent = |offset, bytes| Extent { offset, bytes, sum: 0 };
        snapshot.part_done(vec![extent(112, 1), extent(100, 5)]);
        assert!(!snapshot.is_done());
        snapshot.part_done(vec![extent(105, 7)]);
        assert!(snapshot.is_done());
        assert_eq!(snapshot.take_extents(), [extent(100, 5), extent(105, 7), extent(112, 1)]);
    }

    #[test]
    fn the_first_reason_of_a_failure_counts() {
        let snapshot = snapshot(1);
        assert_eq!((snapshot.is_failed(), snapshot.failure()), (false, None));
        snapshot.fail("one".to_owned());
        snapshot.fail("two".to_owned());
        assert_eq!((snapshot.is_failed(), snapshot.failure()), (true, Some("one".to_owned())));
    }
}
