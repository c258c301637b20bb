//! A shard's part of a snapshot: what it has at the cut, turned into pieces of the file.
//!
//! ```text
//!   walks, one a database ──┐ small values: encoded where they lie                    Pieces ──> two writers
//!   writers ahead of them ──┴─> Recorder ── bytes ── 128 KiB: sealed ──> extent ──>    │  at most PENDING_BYTES_MAX
//!                               │                                                      ▼
//!                               └ large values: views, in line ── a few hundred elements a step ──> extents in a row
//! ```
//!
//! A slice takes what is in line before it walks on, so that views are let go soon. It stops when the disk has enough to do; then the
//! end of a write goes on with it.

use super::{Extent, Snapshot, UseTold};
use crate::tasks::Tasks;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_engine::command::Milliseconds;
use torc_engine::keyspace::{Entry, Keyspace, OwnedEntry, SharedSink, Value, WalkId, WalkSink};
use torc_engine::values::{Object, StringRef};
use torc_persistence::crc64;
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::encode::{self, Plan, Steps, View};
use torc_persistence::rdb::file::{Use, write_key, write_select};
use torc_persistence::rdb::kinds;
use torc_persistence::rdb::output::Output;

/// A piece is sealed when it has so many bytes.
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

/// Buffers that are ready to be written, between the shard and its writers.
#[derive(Default)]
struct Pieces {
    queue: RefCell<VecDeque<(u64, Vec<u8>)>>,
    spare: RefCell<Vec<Vec<u8>>>,
    extents: RefCell<Vec<Extent>>,
    pending_bytes: Cell<usize>,
    is_closed: Cell<bool>,
    writers: Cell<usize>,
}

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
}

/// A value that is recorded step by step.
struct Large {
    database: u64,
    key: Box<[u8]>,
    entry: OwnedEntry,
    used: Use,
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
        let is_large = match view {
            View::String(StringRef::Shared(blob)) => blob.len() > COMPRESSED_BYTES_MAX,
            View::Object(object) => object.heap_bytes() > LARGE_BYTES_MIN,
            View::String(_) | View::Packed(..) => false,
        };
        if is_large {
            self.large.push_back(Large { database, key: key.into(), entry: entry.to_owned(), used });
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
        if self.bytes.len() >= PIECE_BYTES {
            self.seal();
        }
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
        let Large { database, key, entry, used } = &self.large;
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

/// A shard's part of one snapshot.
pub struct Part {
    snapshot: Arc<Snapshot>,
    walks: VecDeque<(WalkId, SharedSink)>,
    recorder: Rc<RefCell<Recorder>>,
    large: Option<Box<LargeWriter>>,
    pieces: Rc<Pieces>,
    /// By which its writers wait for pieces.
    name: u64,
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
        let part = Self {
            snapshot: snapshot.clone(),
            walks,
            recorder,
            large: None,
            pieces: Rc::new(Pieces { writers: Cell::new(WRITERS), ..Pieces::default() }),
            name: tasks.take_name(),
        };
        for _ in 0..WRITERS {
            let (tasks, pieces, snapshot, name) =
                (tasks.clone(), part.pieces.clone(), part.snapshot.clone(), part.name);
            tasks.clone().spawn(write_pieces(tasks, pieces, snapshot, name));
        }
        part
    }

    /// Which snapshot.
    pub fn number(&self) -> u64 {
        self.snapshot.number
    }

    /// Whether a slice would get anywhere.
    pub fn has_work(&self) -> bool {
        if self.pieces.is_closed.get() {
            return false;
        }
        let has_room = self.pieces.pending_bytes.get() < PENDING_BYTES_MAX;
        self.snapshot.is_failed() || (has_room && !self.is_held_up())
    }

    /// Whether writers ahead of the walk have recorded so much that it is not to rest.
    pub fn is_pressed(&self) -> bool {
        self.recorder.borrow().sealed_bytes > self.snapshot.order.buffer_bytes_max / 4
    }

    /// Whether what is recorded has to wait until extents can be taken. Then the shard is woken.
    fn is_held_up(&self) -> bool {
        !self.snapshot.has_begun() && (self.large.is_some() || !self.recorder.borrow().sealed.is_empty())
    }

    /// Records until a slice's time is over, the disk has enough to do, or all is recorded.
    pub fn slice(&mut self, keyspace: &mut Keyspace, tasks: &Tasks, slice_ns: u64, clock: &impl Fn() -> u64) {
        if self.pieces.is_closed.get() {
            return;
        }
        if self.snapshot.is_failed() {
            return self.give_up(tasks);
        }
        let began_ns = clock();
        let mut is_over = false;
        while !is_over && self.pieces.pending_bytes.get() < PENDING_BYTES_MAX {
            is_over = !self.step(keyspace);
            self.submit_sealed(tasks);
            if self.is_held_up() || clock().saturating_sub(began_ns) >= slice_ns {
                break;
            }
        }
        // What commands have recorded ahead counts, too.
        self.submit_sealed(tasks);
        self.note_progress();
        let recorder = self.recorder.borrow();
        let (kept, limit) =
            (recorder.sealed_bytes + self.pieces.pending_bytes.get(), self.snapshot.order.buffer_bytes_max);
        if kept > limit {
            self.snapshot.fail(format!(
                "the disk is too slow for what is being written: {kept} bytes of a shard wait for it, and \
                 snapshot-buffer-limit is {limit}; raise it, or save when less is written"
            ));
        }
        let is_whole = is_over && recorder.sealed.is_empty() && recorder.bytes.is_empty();
        drop(recorder);
        if is_whole {
            self.close(tasks);
        }
    }

    /// A step; whether there may be another.
    fn step(&mut self, keyspace: &mut Keyspace) -> bool {
        if self.large.is_none() {
            let next = self.recorder.borrow_mut().large.pop_front();
            self.large = next.map(|large| Box::new(LargeWriter::new(large, &self.snapshot)));
        }
        if self.large.is_some() {
            if self.snapshot.has_begun() {
                self.step_large();
            }
            return true;
        }
        let Some((walk, _)) = self.walks.front() else {
            self.recorder.borrow_mut().seal();
            return false;
        };
        if !keyspace.step_walk(*walk, KEYS_A_STEP) {
            self.walks.pop_front();
        }
        true
    }

    /// A few elements of the large value.
    fn step_large(&mut self) {
        let Some(writer) = &mut self.large else { return };
        let is_all = {
            let mut recorder = self.recorder.borrow_mut();
            writer.encode(recorder.compressor.as_mut())
        };
        if writer.bytes.len() < PIECE_BYTES && !is_all {
            return;
        }
        match &mut writer.mode {
            Mode::Kept(pieces, bytes) => {
                *bytes += writer.bytes.len();
                pieces.push(std::mem::take(&mut writer.bytes));
                if is_all {
                    let mut offset = self.snapshot.take_extent(*bytes as u64);
                    for piece in std::mem::take(pieces) {
                        let length = piece.len() as u64;
                        submit(&self.pieces, &self.snapshot, offset, piece);
                        offset += length;
                    }
                    self.large = None;
                } else if *bytes > KEPT_BYTES_MAX {
                    writer.mode = Mode::Counted(*bytes as u64);
                }
            }
            Mode::Counted(bytes) => {
                *bytes += writer.bytes.len() as u64;
                writer.bytes.clear();
                if is_all {
                    writer.mode = Mode::Placed(self.snapshot.take_extent(*bytes));
                    writer.place = Place::Head;
                }
            }
            Mode::Placed(offset) => {
                let piece = std::mem::take(&mut writer.bytes);
                let length = piece.len() as u64;
                submit(&self.pieces, &self.snapshot, *offset, piece);
                *offset += length;
                if is_all {
                    self.large = None;
                }
            }
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
            submit(&self.pieces, &self.snapshot, offset, piece);
        }
        recorder.spare.append(&mut self.pieces.spare.borrow_mut());
        if !self.pieces.queue.borrow().is_empty() {
            tasks.wake(self.name);
        }
    }

    fn note_progress(&self) {
        let keys = std::mem::take(&mut self.recorder.borrow_mut().keys);
        self.snapshot.keys_done.fetch_add(keys, Ordering::Relaxed);
    }

    /// No more pieces come.
    fn close(&mut self, tasks: &Tasks) {
        self.pieces.is_closed.set(true);
        tasks.wake(self.name);
    }

    fn give_up(&mut self, tasks: &Tasks) {
        self.walks.clear();
        self.large = None;
        let mut recorder = self.recorder.borrow_mut();
        let kept: usize = recorder.sealed.drain(..).map(|piece| piece.len()).sum();
        self.snapshot.note_kept(0, kept as u64);
        recorder.large.clear();
        recorder.bytes.clear();
        drop(recorder);
        self.close(tasks);
    }
}

fn submit(pieces: &Pieces, snapshot: &Snapshot, offset: u64, piece: Vec<u8>) {
    let bytes = piece.len();
    let sum = if snapshot.order.sums { crc64::of(&piece) } else { 0 };
    pieces.extents.borrow_mut().push(Extent { offset, bytes: bytes as u64, sum });
    pieces.pending_bytes.set(pieces.pending_bytes.get() + bytes);
    snapshot.note_kept(bytes as u64, 0);
    pieces.queue.borrow_mut().push_back((offset, piece));
}

/// Writes of a shard that are under way at a time.
const WRITERS: usize = 2;
/// The disk is told to begin after so many bytes of a writer.
const SYNC_BYTES: usize = 16 << 20;
/// Buffers that are kept for reuse.
const SPARE_PIECES_MAX: usize = 8;

/// Writes pieces until no more come. The last of a shard's writers says that its part is done.
async fn write_pieces(tasks: Tasks, pieces: Rc<Pieces>, snapshot: Arc<Snapshot>, name: u64) {
    let path = &snapshot.order.temporary;
    tasks.until(name, || snapshot.has_begun() && !pieces.queue.borrow().is_empty() || pieces.is_closed.get()).await;
    let file = if pieces.queue.borrow().is_empty() {
        None
    } else {
        match tasks.operations.open_for_writing(path).await {
            Ok(file) => Some(file),
            Err(error) => {
                snapshot.fail(format!("opening {} failed: {error}", path.display()));
                None
            }
        }
    };
    let mut unsynced = 0;
    loop {
        tasks.until(name, || !pieces.queue.borrow().is_empty() || pieces.is_closed.get()).await;
        let Some((offset, bytes)) = pieces.queue.borrow_mut().pop_front() else { break };
        let length = bytes.len();
        if let Some(file) = file.as_ref().filter(|_| !snapshot.is_failed()) {
            match file.write_all_at(offset, bytes).await {
                Ok(buffer) if pieces.spare.borrow().len() < SPARE_PIECES_MAX => pieces.spare.borrow_mut().push(buffer),
                Ok(_) => {}
                Err(failure) => snapshot.fail(format!("writing {} failed: {}", path.display(), failure.error)),
            }
            unsynced += length;
            if snapshot.order.syncs_meanwhile && unsynced >= SYNC_BYTES {
                unsynced = 0;
                if let Err(error) = file.sync(true).await {
                    snapshot.fail(format!("fsync of {} failed: {error}", path.display()));
                }
            }
        }
        pieces.pending_bytes.set(pieces.pending_bytes.get() - length);
        snapshot.note_kept(0, length as u64);
    }
    pieces.writers.set(pieces.writers.get() - 1);
    if pieces.writers.get() == 0 {
        snapshot.part_done(pieces.extents.take());
        let (number, (shard, waits)) = (snapshot.number, snapshot.waits);
        tasks
            .on_core(move |core| {
                core.end_snapshot_part(number);
                core.run_on(shard, move |core| core.tasks.wake(waits));
            })
            .await;
    }
}
