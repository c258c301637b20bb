//! A shard's part of a snapshot: what it has at the cut, turned into pieces of the file.
//!
//! ```text
//!   walks, one a database ──┐ small values: encoded where they lie                    Pieces ──> two writers (pieces.rs)
//!   writers ahead of them ──┴─> Recorder ── bytes ── 128 KiB: sealed ──> extent ──>    │  the walk adds up to PENDING_BYTES_MAX,
//!                               │                                                      ▼  writers as much as they record
//!                               └ large values: views, in line ── a few hundred elements a step ──> extents in a row
//! ```
//!
//! A slice takes what is in line before it walks on, so that views are let go soon. It stops when the disk has enough to do; then the
//! end of a write goes on with it.
//!
//! **When writers are ahead** of the disk, what is kept for it grows, since they never wait:
//!
//! | kept: encoded, or held by views that writers left in line | what happens |
//! |---|---|
//! | more than a quarter of `snapshot-buffer-limit` | no rests; views are encoded although the disk has enough to do; a value whose length is unknown is spilled (`pieces.rs`) instead of being encoded twice |
//! | encoded bytes beyond the limit | the save ends |
//!
//! A view holds what its value was at the cut, so views never hold more than there was then.

use super::pieces::Pieces;
use super::{Extent, Order, Snapshot, UseTold};
use crate::tasks::Tasks;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_engine::command::Milliseconds;
use torc_engine::keyspace::{Entry, Keyspace, OwnedEntry, SharedSink, Value, WalkId, WalkSink};
use torc_engine::values::{Object, StringRef};
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::encode::{self, Plan, Steps, View};
use torc_persistence::rdb::file::{Use, write_key, write_select};
use torc_persistence::rdb::kinds;
use torc_persistence::rdb::output::Output;

/// A piece is sealed when it has so many bytes. Larger ones cost the kernel far more (`bench/snapshots.md`).
const PIECE_BYTES: usize = 128 << 10;
/// The walk waits while so many bytes of a shard have not been written.
const PENDING_BYTES_MAX: usize = 4 << 20;
/// Values that take more than this are recorded step by step, in bytes.
const LARGE_BYTES_MIN: usize = 32 << 10;
/// Texts longer than this are not compressed: that is one step.
const COMPRESSED_BYTES_MAX: usize = 128 << 10;
/// An encoded value is kept up to so many bytes until its length is known; of a longer one it is counted first.
pub const KEPT_BYTES_MAX: usize = 8 << 20;
/// Keys that the walk shows between two looks at the clock, and elements of a large value.
const KEYS_A_STEP: u64 = 48;
const ELEMENTS_A_STEP: usize = 192;

/// What is recorded and has no place in the file yet.
struct Recorder {
    snapshot: Arc<Snapshot>,
    now: Milliseconds,
    compressor: Option<Compressor>,
    /// The piece that is being filled, and the database of what it holds.
    bytes: Vec<u8>,
    database: Option<u64>,
    sealed: VecDeque<Vec<u8>>,
    large: VecDeque<Large>,
    spare: Vec<Vec<u8>>,
    keys: u64,
    /// Bytes in `sealed`.
    sealed_bytes: usize,
    /// Bytes that views may come to hold alone, since writers left them.
    view_bytes: usize,
    /// The walk records, not a writer.
    is_walking: bool,
}

/// A value that is recorded step by step.
struct Large {
    database: u64,
    key: Box<[u8]>,
    entry: OwnedEntry,
    used: Use,
    /// What it may come to hold, if a writer left it.
    view_bytes: usize,
}

/// What a walk over a database shows its keys to.
struct DatabaseSink {
    database: u64,
    recorder: Rc<RefCell<Recorder>>,
}

impl WalkSink for DatabaseSink {
    fn key(&mut self, key: &[u8], entry: &Entry<'_>) {
        self.recorder.borrow_mut().record(self.database, key, entry);
    }
}

impl Recorder {
    fn record(&mut self, database: u64, key: &[u8], entry: &Entry<'_>) {
        self.keys += 1;
        let used = match self.snapshot.order.use_told {
            UseTold::Not => Use::Unknown,
            UseTold::Idle => Use::IdleSeconds(entry.idle_seconds(self.now)),
            UseTold::Frequency => Use::Frequency(entry.frequency(self.now)),
        };
        let view = View::of_entry(entry);
        let bytes_max = self.snapshot.order.step_bytes_max();
        let (bytes, is_large) = match view {
            View::String(StringRef::Shared(blob)) => (blob.len(), blob.len() > COMPRESSED_BYTES_MAX.min(bytes_max)),
            View::Object(object) => (object.heap_bytes(), object.heap_bytes() > LARGE_BYTES_MIN.min(bytes_max)),
            View::String(_) | View::Packed(..) => (0, false),
        };
        if is_large {
            let view_bytes = if self.is_walking { 0 } else { bytes };
            self.view_bytes += view_bytes;
            self.snapshot.view_bytes.fetch_add(view_bytes as u64, Ordering::Relaxed);
            self.large.push_back(Large { database, key: key.into(), entry: entry.to_owned(), used, view_bytes });
            return;
        }
        let plan = encode::plan(view, self.snapshot.order.readers);
        self.snapshot.needs(plan.version);
        let mut out = Output { bytes: &mut self.bytes, compressor: self.compressor.as_mut() };
        if self.database.replace(database) != Some(database) {
            write_select(database, &mut out);
        }
        write_key(key, plan.kind, entry.expires_at(), used, &mut out);
        encode::value(view, plan, &mut out);
        if self.bytes.len() >= self.snapshot.order.piece_bytes() {
            self.seal();
        }
    }

    /// A view is let go.
    fn let_go(&mut self, large: Large) {
        self.view_bytes -= large.view_bytes;
        self.snapshot.view_bytes.fetch_sub(large.view_bytes as u64, Ordering::Relaxed);
    }

    /// What has been recorded so far is a piece.
    fn seal(&mut self) {
        if !self.bytes.is_empty() {
            let fresh = self.spare.pop().unwrap_or_default();
            let piece = std::mem::replace(&mut self.bytes, fresh);
            self.sealed_bytes += piece.len();
            self.snapshot.note_kept(piece.len() as u64, 0);
            self.sealed.push_back(piece);
            self.database = None;
        }
    }
}

/// A large value that is being recorded.
struct LargeWriter {
    large: Large,
    plan: Plan,
    place: Place,
    bytes: Vec<u8>,
    mode: Mode,
}

enum Place {
    Head,
    Elements(Steps),
    /// So many bytes of a text are there.
    Text(usize),
}

enum Mode {
    /// Encoded, and kept until the length is known.
    Kept(Vec<Vec<u8>>, usize),
    /// Encoded for nothing but the length.
    Counted(u64),
    /// Encoded into another file, until the length is known.
    Spilled(Extent),
    /// Encoded for good, from an offset on.
    Placed(u64),
}

impl LargeWriter {
    fn new(large: Large, snapshot: &Snapshot) -> Self {
        let plan = encode::plan(View::of(&large.entry.value), snapshot.order.readers);
        snapshot.needs(plan.version);
        Self { large, plan, place: Place::Head, bytes: Vec::new(), mode: Mode::Kept(Vec::new(), 0) }
    }

    /// Encodes some more into `bytes`; whether that was all.
    fn encode(&mut self, compressor: Option<&mut Compressor>) -> bool {
        let Large { database, key, entry, used, .. } = &self.large;
        let mut out = Output { bytes: &mut self.bytes, compressor };
        match (&mut self.place, &entry.value) {
            (Place::Head, value) => {
                write_select(*database, &mut out);
                write_key(key, self.plan.kind, entry.expires_at, *used, &mut out);
                self.place = match value {
                    Value::Object(_) => Place::Elements(Steps::default()),
                    _ => Place::Text(0),
                };
                false
            }
            (Place::Elements(steps), Value::Object(object)) => {
                steps.step(object, self.plan, elements_a_step(object), &mut out)
            }
            (Place::Text(done), value) => {
                let text = value.as_string().map_or(&[][..], |text| match text {
                    StringRef::Shared(blob) => blob.as_slice(),
                    StringRef::Bytes(bytes) => bytes,
                    StringRef::Integer(_) => &[],
                });
                if *done == 0 {
                    debug_assert!(self.plan.kind == kinds::STRING);
                    out.number(text.len() as u64);
                }
                let end = text.len().min(*done + COMPRESSED_BYTES_MAX);
                out.raw(&text[*done..end]);
                *done = end;
                end == text.len()
            }
            (Place::Elements(_), _) => true,
        }
    }
}

/// Fewer, if they are long.
fn elements_a_step(object: &Object) -> usize {
    const STEP_BYTES: usize = 32 << 10;
    let mean_bytes = object.heap_bytes() / object.len().max(1) as usize;
    (STEP_BYTES / mean_bytes.max(1)).clamp(1, ELEMENTS_A_STEP)
}

impl Order {
    /// What the walk leaves to the disk before it waits.
    fn walk_bytes_max(&self) -> usize {
        PENDING_BYTES_MAX.min(self.buffer_bytes_max / 8)
    }

    /// Values and pieces of more than this are not made in one step: dozens of keys are recorded at once.
    fn step_bytes_max(&self) -> usize {
        self.buffer_bytes_max / 64
    }

    fn piece_bytes(&self) -> usize {
        PIECE_BYTES.min(self.step_bytes_max())
    }

    /// An encoded value is kept up to so many bytes until its length is known.
    fn value_bytes_max(&self) -> usize {
        KEPT_BYTES_MAX.min(self.buffer_bytes_max / 8)
    }
}

/// How fast a snapshot goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a slice may take.
    pub slice_ns: u64,
    /// `rdb-key-save-delay`: how long it waits after each key.
    pub key_delay_ns: u64,
}

/// A shard's part of one snapshot.
pub struct Part {
    snapshot: Arc<Snapshot>,
    walks: VecDeque<(WalkId, SharedSink)>,
    recorder: Rc<RefCell<Recorder>>,
    large: Option<Box<LargeWriter>>,
    pieces: Rc<Pieces>,
    /// With `rdb-key-save-delay`: no sooner than that.
    resume_ns: u64,
}

impl Part {
    /// At the cut: everything that the shard has from now on is recorded as it is now. Also how many keys each database has, and how
    /// many of these expire.
    pub fn begin(snapshot: &Arc<Snapshot>, keyspace: &mut Keyspace, now: Milliseconds, tasks: &Tasks) -> Self {
        let recorder = Rc::new(RefCell::new(Recorder {
            snapshot: snapshot.clone(),
            now,
            compressor: snapshot.order.compresses.then(Compressor::default),
            bytes: Vec::new(),
            database: None,
            sealed: VecDeque::new(),
            large: VecDeque::new(),
            spare: Vec::new(),
            keys: 0,
            sealed_bytes: 0,
            view_bytes: 0,
            is_walking: false,
        }));
        let mut walks = VecDeque::new();
        for database in 0..keyspace.database_count() {
            if !keyspace.is_empty(database) {
                let sink = DatabaseSink { database: database as u64, recorder: recorder.clone() };
                let sink: SharedSink = Rc::new(RefCell::new(sink));
                // Keys whose time is over are still counted, and so they are recorded.
                walks.push_back((keyspace.begin_walk(database, Milliseconds::MIN, &sink), sink));
            }
        }
        let pieces = Pieces::begin(snapshot, tasks);
        Self { snapshot: snapshot.clone(), walks, recorder, large: None, pieces, resume_ns: 0 }
    }

    /// Which snapshot.
    pub fn number(&self) -> u64 {
        self.snapshot.number
    }

    /// When the next slice may begin.
    pub fn resume_ns(&self) -> u64 {
        self.resume_ns
    }

    /// Whether it ends here.
    pub fn is_failed(&self) -> bool {
        self.snapshot.is_failed()
    }

    /// Whether a slice would get anywhere.
    pub fn has_work(&self) -> bool {
        if self.pieces.is_closed() {
            return false;
        }
        self.snapshot.is_failed() || (self.has_room() && !self.is_held_up())
    }

    /// Whether the disk may be given more: by the walk until it has enough to do, of views as much as may be kept for it.
    fn has_room(&self) -> bool {
        let order = &self.snapshot.order;
        let is_about_views = order.is_much(self.recorder.borrow().view_bytes);
        let bytes_max = if is_about_views { order.buffer_bytes_max / 2 } else { order.walk_bytes_max() };
        self.pieces.pending_bytes() < bytes_max
    }

    /// Encoded bytes that wait for the disk.
    fn kept_bytes(&self) -> usize {
        self.recorder.borrow().sealed_bytes + self.pieces.pending_bytes()
    }

    /// Whether writers ahead of the walk have recorded so much that it is not to rest.
    pub fn is_pressed(&self) -> bool {
        self.snapshot.order.is_much(self.kept_bytes() + self.recorder.borrow().view_bytes)
    }

    /// Whether what is recorded has to wait until extents can be taken. Then the shard is woken.
    fn is_held_up(&self) -> bool {
        !self.snapshot.has_begun() && (self.large.is_some() || !self.recorder.borrow().sealed.is_empty())
    }

    /// Records until a slice's time is over, the disk has enough to do, or all is recorded.
    pub fn slice(&mut self, keyspace: &mut Keyspace, tasks: &Tasks, pace: Pace, clock: &impl Fn() -> u64) {
        if self.pieces.is_closed() {
            return;
        }
        if self.snapshot.is_failed() {
            return self.give_up(tasks);
        }
        let began_ns = clock();
        if began_ns < self.resume_ns && pace.key_delay_ns > 0 {
            return;
        }
        let (slice_ns, keys_a_step) = if pace.key_delay_ns > 0 { (0, 1) } else { (pace.slice_ns, KEYS_A_STEP) };
        let mut is_over = false;
        while !is_over && self.has_room() {
            is_over = !self.step(keyspace, tasks, keys_a_step);
            self.submit_sealed(tasks);
            if self.is_held_up() || clock().saturating_sub(began_ns) >= slice_ns {
                break;
            }
        }
        // What commands have recorded ahead counts, too.
        self.submit_sealed(tasks);
        let keys = self.note_progress();
        self.resume_ns = began_ns.saturating_add(keys.saturating_mul(pace.key_delay_ns));
        let (kept, limit) = (self.kept_bytes(), self.snapshot.order.buffer_bytes_max);
        let recorder = self.recorder.borrow();
        if kept > limit {
            self.snapshot.fail(format!(
                "the disk is too slow for what is being written: {kept} bytes of a shard wait for it, and \
                 snapshot-buffer-limit is {limit}; raise it, or save when less is written"
            ));
        }
        let is_whole = is_over && self.resume_ns <= began_ns && recorder.sealed.is_empty() && recorder.bytes.is_empty();
        drop(recorder);
        if is_whole {
            self.pieces.close(tasks);
        }
    }

    /// A step; whether there may be another.
    fn step(&mut self, keyspace: &mut Keyspace, tasks: &Tasks, keys_a_step: u64) -> bool {
        if self.large.is_none() {
            let next = self.recorder.borrow_mut().large.pop_front();
            self.large = next.map(|large| Box::new(LargeWriter::new(large, &self.snapshot)));
        }
        if self.large.is_some() {
            if self.snapshot.has_begun() {
                self.step_large(tasks);
            }
            return true;
        }
        let Some((walk, _)) = self.walks.front() else {
            self.recorder.borrow_mut().seal();
            return false;
        };
        self.recorder.borrow_mut().is_walking = true;
        if !keyspace.step_walk(*walk, keys_a_step) {
            self.walks.pop_front();
        }
        self.recorder.borrow_mut().is_walking = false;
        true
    }

    /// A few elements of the large value.
    fn step_large(&mut self, tasks: &Tasks) {
        let is_pressed = self.is_pressed();
        let Self { large: Some(writer), snapshot, pieces, recorder, .. } = self else { return };
        let is_all = writer.encode(recorder.borrow_mut().compressor.as_mut());
        if writer.bytes.len() < snapshot.order.piece_bytes() && !is_all {
            return;
        }
        let piece = std::mem::take(&mut writer.bytes);
        let length = piece.len() as u64;
        match &mut writer.mode {
            Mode::Kept(kept, bytes) => {
                *bytes += piece.len();
                kept.push(piece);
                if is_all {
                    let mut offset = snapshot.take_extent(*bytes as u64);
                    for piece in std::mem::take(kept) {
                        let length = piece.len() as u64;
                        pieces.submit(snapshot, offset, piece);
                        offset += length;
                    }
                } else if *bytes > snapshot.order.value_bytes_max() {
                    writer.mode = if is_pressed {
                        let mut of_all = Extent::default();
                        std::mem::take(kept)
                            .into_iter()
                            .for_each(|piece| pieces.spill(snapshot, tasks, piece, &mut of_all));
                        Mode::Spilled(of_all)
                    } else {
                        Mode::Counted(*bytes as u64)
                    };
                }
            }
            Mode::Counted(bytes) => {
                *bytes += length;
                if is_all {
                    writer.mode = Mode::Placed(snapshot.take_extent(*bytes));
                    writer.place = Place::Head;
                    return;
                }
            }
            Mode::Spilled(of_all) => {
                pieces.spill(snapshot, tasks, piece, of_all);
                if is_all {
                    of_all.offset = snapshot.take_extent(of_all.bytes);
                    pieces.place_spilled(*of_all);
                }
            }
            Mode::Placed(offset) => {
                pieces.submit(snapshot, *offset, piece);
                *offset += length;
            }
        }
        if is_all && let Some(writer) = self.large.take() {
            self.recorder.borrow_mut().let_go(writer.large);
        }
    }

    /// Sealed pieces take their extents.
    fn submit_sealed(&mut self, tasks: &Tasks) {
        if !self.snapshot.has_begun() {
            return;
        }
        let mut recorder = self.recorder.borrow_mut();
        while let Some(piece) = recorder.sealed.pop_front() {
            recorder.sealed_bytes -= piece.len();
            self.snapshot.note_kept(0, piece.len() as u64);
            let offset = self.snapshot.take_extent(piece.len() as u64);
            self.pieces.submit(&self.snapshot, offset, piece);
        }
        self.pieces.take_spare(&mut recorder.spare);
        self.pieces.wake_writers(tasks);
    }

    /// How many keys more have been recorded.
    fn note_progress(&self) -> u64 {
        let keys = std::mem::take(&mut self.recorder.borrow_mut().keys);
        self.snapshot.keys_done.fetch_add(keys, Ordering::Relaxed);
        keys
    }

    /// It cannot be finished: nothing is kept for it.
    fn give_up(&mut self, tasks: &Tasks) {
        self.walks.clear();
        let mut recorder = self.recorder.borrow_mut();
        recorder.large.extend(self.large.take().map(|writer| writer.large));
        let kept: usize = recorder.sealed.drain(..).map(|piece| piece.len()).sum();
        self.snapshot.note_kept(0, kept as u64);
        while let Some(large) = recorder.large.pop_front() {
            recorder.let_go(large);
        }
        recorder.bytes.clear();
        drop(recorder);
        self.pieces.close(tasks);
    }
}
