//! What a shard's part has encoded, on its way into the file.
//!
//! ```text
//!   has a place    queue ──> two writers ──────────────────────────────────────────> dump
//!   has none yet   line ───> spiller ──> a file without a name ── length known ──> read back ──> dump
//! ```
//!
//! * *What has a place goes there, however much waits.* To put it elsewhere first would cost the same disk two writes and a read more.
//! * *A large value has no place before its length is known.* Where memory is short it is not encoded a second time: it goes into
//!   a file beside the dump which is unlinked as soon as it is open, and is copied to its place, checked by its sum.
//! * Bytes that wait are counted, in both lines; whoever fills them looks at that ([`Order::is_much`]).

use super::{Extent, Order, Snapshot};
use crate::reactor::operations::FileHandle;
use crate::tasks::Tasks;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_persistence::crc64;

/// Writes of a shard that are under way at a time.
const WRITERS: usize = 2;
/// The disk is told to begin after so many bytes of a writer.
const SYNC_BYTES: usize = 16 << 20;
/// Buffers that are kept for reuse, and how large they may be.
pub(super) const SPARE_PIECES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 512 << 10;
/// What was spilled is read back in pieces of so many bytes.
const COPIED_BYTES: usize = 256 << 10;

/// Buffers that are ready to be written, between the shard and its writers.
#[derive(Default)]
pub(super) struct Pieces {
    queue: RefCell<VecDeque<(u64, Vec<u8>)>>,
    spilled: RefCell<VecDeque<Spilled>>,
    has_spiller: Cell<bool>,
    spare: RefCell<Vec<Vec<u8>>>,
    extents: RefCell<Vec<Extent>>,
    /// Bytes in both lines, and with the writers.
    pending_bytes: Cell<usize>,
    is_closed: Cell<bool>,
    writers: Cell<usize>,
    /// By which the writers wait for pieces.
    name: u64,
}

/// For the spiller, in order.
enum Spilled {
    /// More of a value.
    Piece(Vec<u8>),
    /// That was all of it: here is its place.
    Place(Extent),
}

impl Pieces {
    /// With its writers.
    pub(super) fn begin(snapshot: &Arc<Snapshot>, tasks: &Tasks) -> Rc<Self> {
        let pieces = Rc::new(Self { writers: Cell::new(WRITERS), name: tasks.take_name(), ..Self::default() });
        for _ in 0..WRITERS {
            tasks.spawn(write_pieces(tasks.clone(), pieces.clone(), snapshot.clone()));
        }
        pieces
    }

    /// Bytes that wait for the disk.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes.get()
    }

    /// Whether no more come.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// No more come.
    pub(super) fn close(&self, tasks: &Tasks) {
        self.is_closed.set(true);
        tasks.wake(self.name);
    }

    /// A piece for a place.
    pub(super) fn submit(&self, snapshot: &Snapshot, offset: u64, piece: Vec<u8>) {
        self.extents.borrow_mut().push(snapshot.extent(offset, &piece));
        self.note_pending(snapshot, piece.len());
        self.queue.borrow_mut().push_back((offset, piece));
    }

    /// A piece of a value whose place is not known; what has been spilled of the value is counted.
    pub(super) fn spill(self: &Rc<Self>, snapshot: &Arc<Snapshot>, tasks: &Tasks, piece: Vec<u8>, of_all: &mut Extent) {
        if !self.has_spiller.replace(true) {
            self.writers.set(self.writers.get() + 1);
            tasks.spawn(spill(tasks.clone(), self.clone(), snapshot.clone()));
        }
        let extent = snapshot.extent(0, &piece);
        of_all.sum = crc64::combine(of_all.sum, extent.sum, extent.bytes);
        of_all.bytes += extent.bytes;
        snapshot.spilled_bytes.fetch_add(extent.bytes, Ordering::Relaxed);
        self.note_pending(snapshot, piece.len());
        self.spilled.borrow_mut().push_back(Spilled::Piece(piece));
    }

    /// Where the value belongs whose pieces have been spilled, and its sum.
    pub(super) fn place_spilled(&self, extent: Extent) {
        self.extents.borrow_mut().push(extent);
        self.spilled.borrow_mut().push_back(Spilled::Place(extent));
    }

    /// The writers look whether there is something.
    pub(super) fn wake_writers(&self, tasks: &Tasks) {
        if !self.queue.borrow().is_empty() || !self.spilled.borrow().is_empty() {
            tasks.wake(self.name);
        }
    }

    /// Buffers that have been written: `spare` has some of them then.
    pub(super) fn take_spare(&self, spare: &mut Vec<Vec<u8>>) {
        spare.append(&mut self.spare.borrow_mut());
        spare.truncate(SPARE_PIECES_MAX);
    }

    fn note_pending(&self, snapshot: &Snapshot, bytes: usize) {
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
        snapshot.note_kept(bytes as u64, 0);
    }

    fn note_written(&self, snapshot: &Snapshot, bytes: usize) {
        self.pending_bytes.set(self.pending_bytes.get() - bytes);
        snapshot.note_kept(0, bytes as u64);
    }
}

impl Order {
    /// Whether so many bytes of a shard are so much that a snapshot is not to rest.
    pub(super) fn is_much(&self, bytes: usize) -> bool {
        bytes > self.buffer_bytes_max / 4
    }
}

/// A writer is done. The last of a shard's writers says that its part is done.
async fn end_writer(tasks: &Tasks, pieces: &Pieces, snapshot: &Snapshot) {
    pieces.writers.set(pieces.writers.get() - 1);
    if pieces.writers.get() > 0 {
        return;
    }
    snapshot.part_done(pieces.extents.take());
    let (number, (shard, waits)) = (snapshot.number, snapshot.waits);
    tasks
        .on_core(move |core| {
            core.end_snapshot_part(number);
            core.run_on(shard, move |core| core.tasks.wake(waits));
        })
        .await;
}

/// Writes pieces until no more come.
async fn write_pieces(tasks: Tasks, pieces: Rc<Pieces>, snapshot: Arc<Snapshot>) {
    let path = &snapshot.order.temporary;
    let name = pieces.name;
    tasks.until(name, || snapshot.has_begun() && !pieces.queue.borrow().is_empty() || pieces.is_closed.get()).await;
    let file = if pieces.queue.borrow().is_empty() {
        None
    } else {
        match tasks.operations.open_for_writing(path).await {
            Ok(file) => Some(file.in_background()),
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
                Ok(buffer)
                    if pieces.spare.borrow().len() < SPARE_PIECES_MAX && buffer.capacity() <= SPARE_BYTES_MAX =>
                {
                    pieces.spare.borrow_mut().push(buffer);
                }
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
        pieces.note_written(&snapshot, length);
    }
    end_writer(&tasks, &pieces, &snapshot).await;
}

/// Writes what has no place yet, and copies it to its place, until no more comes.
async fn spill(tasks: Tasks, pieces: Rc<Pieces>, snapshot: Arc<Snapshot>) {
    let path = snapshot.take_spill_path();
    let mut files = None;
    let mut length = 0;
    loop {
        tasks.until(pieces.name, || !pieces.spilled.borrow().is_empty() || pieces.is_closed.get()).await;
        let Some(next) = pieces.spilled.borrow_mut().pop_front() else { break };
        let bytes = if let Spilled::Piece(piece) = &next { piece.len() } else { 0 };
        if !snapshot.is_failed() {
            let done = async {
                if files.is_none() {
                    files = Some(open_spill(&tasks, &snapshot, &path).await?);
                }
                let Some((spill, dump)) = &files else { return Ok(()) };
                match next {
                    Spilled::Piece(piece) => {
                        spill.write_all_at(length, piece).await.map_err(|failure| failure.error)?
                    }
                    Spilled::Place(extent) => return copy(spill, dump, extent, snapshot.order.sums).await,
                };
                Ok(())
            };
            let done: std::io::Result<()> = done.await;
            if let Err(error) = done {
                snapshot.fail(format!("spilling a large value to {} failed: {error}", path.display()));
            }
        }
        // A value begins where the file does.
        length = if bytes > 0 { length + bytes as u64 } else { 0 };
        pieces.note_written(&snapshot, bytes);
    }
    end_writer(&tasks, &pieces, &snapshot).await;
}

/// The file without a name, and the one that it is copied to.
async fn open_spill(tasks: &Tasks, snapshot: &Snapshot, path: &Path) -> std::io::Result<(FileHandle, FileHandle)> {
    const OWN: u32 = 0o600;
    let spill = tasks.operations.create(path, OWN).await?;
    tasks.operations.unlink(path).await?;
    let dump = tasks.operations.open_for_writing(&snapshot.order.temporary).await?;
    Ok((spill.in_background(), dump.in_background()))
}

/// Copies a value from the start of one file to its place in the other. Its room on the disk is given back.
async fn copy(spill: &FileHandle, dump: &FileHandle, extent: Extent, sums: bool) -> std::io::Result<()> {
    let (mut done, mut sum) = (0, 0);
    let mut buffer = Vec::with_capacity(COPIED_BYTES);
    while done < extent.bytes {
        buffer = spill.read_at(done, buffer).await.map_err(|failure| failure.error)?;
        if buffer.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate((extent.bytes - done).min(buffer.len() as u64) as usize);
        let length = buffer.len() as u64;
        if sums {
            sum = crc64::combine(sum, crc64::of(&buffer), length);
        }
        buffer = dump.write_all_at(extent.offset + done, buffer).await.map_err(|failure| failure.error)?;
        done += length;
    }
    if sum != extent.sum {
        return Err(std::io::Error::other("other bytes are read than were written"));
    }
    spill.truncate(0).await
}
