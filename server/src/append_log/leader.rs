//! The shard that leads: from the queue to the disk, again and again until there is nothing more.
//!
//! ```text
//!   take the queue -> sequencer -> output -> write [always: a durable one] -> publish tickets, wake who waits -> again
//!                                                     [everysec: once a second, beside the writes]
//! ```
//!
//! Everything that can fail leaves the writer in a state from which the next attempt goes on; see `writer`.

use super::group_commit::{Failure, is_one_write};
use super::output::Piece;
use super::writer::{CurrentFile, FailedWrite, ManifestFailure, Writer, write_once};
use super::{AppendLog, take_queue};
use crate::config::AppendFsync;
use crate::reactor::operations::FileHandle;
use crate::tasks::Tasks;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
/// Where no reply waits for the disk, writes are so far apart: each costs as much as several commands.
const GATHER: Duration = Duration::from_millis(1);
/// Where replies wait, this part of the time that the last write and sync took is spent on waiting for company.
const GATHER_PART: u64 = 4;
/// A sync that nobody waits for and that takes longer than this holds up writes.
const SLOW_SYNC_NS: u64 = 2 * SECOND_NS;

/// A sync beside the writes.
#[derive(Debug, Default)]
pub(super) enum Background {
    /// There is none.
    #[default]
    Idle,
    /// Since when, on the leader's clock.
    Running(u64),
    /// It is over.
    Done(SyncDone),
}

/// What a sync came to.
#[derive(Debug)]
pub(super) struct SyncDone {
    result: io::Result<()>,
    generation: u64,
    ticket: u64,
    /// How many writes it covers, how long the file was, and which database was selected there.
    writes: u64,
    length: u64,
    database: Option<usize>,
}

/// A shard's access to the log.
pub struct ShardLog {
    log: Arc<AppendLog>,
    tasks: Tasks,
    /// The current file, as this shard's driver knows it.
    file: RefCell<Option<(u64, Rc<FileHandle>)>>,
    background: Arc<Mutex<Background>>,
}

impl ShardLog {
    /// Of a shard.
    pub fn new(log: Arc<AppendLog>, tasks: Tasks) -> Rc<Self> {
        let background = log.background.clone();
        Rc::new(Self { log, tasks, file: RefCell::default(), background })
    }

    /// At the end of a turn: leads if something waits and nobody does. Whether a task has begun.
    #[inline]
    pub fn look(self: &Rc<Self>, wall_ms: i64) -> bool {
        if !self.log.wants_leader() {
            return false;
        }
        self.log.note_time(wall_ms);
        self.lead()
    }

    /// From time to time: syncs that are due, and another attempt if the disk has failed. Whether a task has begun.
    pub fn cron(self: &Rc<Self>) -> bool {
        let now_ns = self.tasks.executor.now_ns();
        let (log, at_ns) = (&self.log, self.log.next_attempt_ns.load(Ordering::SeqCst));
        if at_ns == 0 {
            log.next_attempt_ns.store(now_ns + SECOND_NS, Ordering::SeqCst);
        }
        let has_unsynced = log.has_unsynced.load(Ordering::SeqCst) && log.policy() != AppendFsync::No;
        // Where replies wait, or the process is about to end, nothing waits for the end of the second.
        let is_due = now_ns >= at_ns || (has_unsynced && log.policy() == AppendFsync::Always);
        if is_due && (log.refuses() || has_unsynced || log.is_stalled.load(Ordering::SeqCst)) {
            self.log.next_attempt_ns.store(now_ns + SECOND_NS, Ordering::SeqCst);
            self.log.is_stalled.store(false, Ordering::SeqCst);
            return self.lead();
        }
        false
    }

    fn lead(self: &Rc<Self>) -> bool {
        if self.log.is_led.swap(true, Ordering::SeqCst) {
            return false;
        }
        let this = self.clone();
        self.tasks.spawn(async move { this.run().await });
        true
    }

    async fn run(self: Rc<Self>) {
        loop {
            let writer = self.log.writer().take();
            match writer {
                Some(mut writer) => {
                    self.work(&mut writer).await;
                    if is_one_write(&self.log, &writer)
                        && let Some(group_commit) = self.log.group_commit.get()
                    {
                        // The lead goes with it.
                        match group_commit.lead(self.log.clone(), writer) {
                            Ok(()) => return,
                            Err(returned) => {
                                writer = returned;
                                let gone = io::Error::other("its thread is gone");
                                self.fail(&writer, "Error writing to the AOF file", &gone);
                            }
                        }
                    }
                    self.log.publish(&writer);
                    if self.log.is_on() {
                        *self.log.writer() = Some(writer);
                    }
                }
                // The log has been switched off since.
                None => drop(self.log.take_queued()),
            }
            self.log.is_led.store(false, Ordering::SeqCst);
            // What was pushed between the last look and this is nobody's else.
            if !self.log.wants_leader() || self.log.is_led.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    async fn work(self: &Rc<Self>, writer: &mut Writer) {
        loop {
            if let Err(error) = self.settle_disk(writer).await {
                return self.fail(writer, "Fail to fsync the AOF file", &error);
            }
            if self.is_held_up_by_sync() {
                self.log.is_stalled.store(true, Ordering::SeqCst);
                return;
            }
            let failure = writer.failure.take();
            if let Some(Failure::Error(error)) = failure {
                writer.note_failed_commit(&error);
                self.fail(writer, "Error writing to the AOF file", &error);
                if writer.must_replace {
                    continue;
                }
                return;
            }
            let began_ns = self.tasks.executor.now_ns();
            self.log.has_left.store(false, Ordering::SeqCst);
            take_queue(&self.log, writer);
            if let Some(delay) = self.log.write_delay() {
                self.tasks.executor.sleep(delay).await;
            }
            // What was taken in part is a shard's to see to: the thread would write the same part again and again.
            if failure.is_none() && self.log.group_commit.get().is_some() && is_one_write(&self.log, writer) {
                return;
            }
            if let Err(error) = self.write_pending(writer).await {
                self.fail(writer, "Error writing to the AOF file", &error);
                if writer.must_replace {
                    continue;
                }
                return;
            }
            self.log.queued_bytes.fetch_sub(std::mem::take(&mut writer.taken_bytes), Ordering::Relaxed);
            self.log.written.store(writer.complete, Ordering::SeqCst);
            match self.log.policy() {
                AppendFsync::Always => {
                    if let Err(error) = self.sync_now(writer).await {
                        writer.must_replace = true;
                        self.fail(writer, "Fail to fsync the AOF file", &error);
                        continue;
                    }
                    self.log.durable.store(writer.complete, Ordering::SeqCst);
                }
                AppendFsync::EverySecond if !self.log.is_sync_put_off() => self.sync_in_background(writer).await,
                // The system syncs when it likes, and we hear of no failure: nothing is kept for one.
                AppendFsync::EverySecond | AppendFsync::No => {
                    writer.note_synced(writer.writes(), writer.file.length, writer.output.database());
                }
            }
            self.log.has_unsynced.store(!writer.unsynced.is_empty(), Ordering::SeqCst);
            self.recover();
            self.wake_waiting();
            self.change_manifest(writer).await;
            self.gather(began_ns).await;
            if !self.log.has_queued() {
                if writer.closes && self.sync_now(writer).await.is_ok() {
                    self.log.is_on.store(false, Ordering::SeqCst);
                }
                return;
            }
        }
    }

    /// Waits for what is worth being written with what has gathered.
    async fn gather(&self, began_ns: u64) {
        let wait = if self.log.policy() != AppendFsync::Always {
            // Nobody waits for this: what comes now is written together.
            GATHER
        } else if self.log.has_queued() {
            // Clients that have just been answered soon send more: in a part of the time that a sync takes most of them come
            // back, and share the next one with those that wait already. Else two groups would take turns.
            let took_ns = self.tasks.executor.now_ns() - began_ns;
            Duration::from_nanos(took_ns / GATHER_PART).min(GATHER)
        } else {
            return;
        };
        self.tasks.executor.sleep(wait).await;
    }

    /// What a rewrite has come to.
    async fn change_manifest(&self, writer: &mut Writer) {
        for mut rebased in std::mem::take(&mut writer.bases) {
            let taken = writer.take_base(&self.tasks.operations, &rebased).await;
            if taken.is_ok() {
                self.log.figures().base_size = writer.size();
            }
            self.log.publish(writer);
            rebased.may_be_named |= matches!(taken, Err(ManifestFailure::Unsure(_)));
            if taken.is_err() && rebased.may_be_named {
                // Either manifest may be there after a crash: the files of both are kept, until it is known.
                writer.bases.push(rebased);
                self.log.next_attempt_ns.store(self.tasks.executor.now_ns() + SECOND_NS, Ordering::SeqCst);
                self.log.is_stalled.store(true, Ordering::SeqCst);
                return;
            }
            let outcome = taken.map_err(|failure| error_text(&failure.into()));
            *self.log.rebased.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
        if std::mem::take(&mut writer.has_removed) {
            let mut manifest = writer.manifest.clone();
            manifest.history.clear();
            // Else the next start removes what the manifest calls history.
            if writer.place.write_manifest(&self.tasks.operations, &manifest).await.is_ok() {
                writer.manifest = manifest;
            }
        }
    }

    fn wake_waiting(&self) {
        self.log.take_waiting(|shard| self.tasks.operations.wake(shard));
    }

    async fn write_pending(&self, writer: &mut Writer) -> io::Result<()> {
        while let Some(piece) = writer.pending.pop_front() {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Fence(number) => {
                    if let Err(error) = self.sync_now(writer).await {
                        writer.must_replace = true;
                        writer.pending.push_front(Piece::Fence(number));
                        return Err(error);
                    }
                    let switched = writer.switch_file(&self.tasks.operations, self.log.next_generation()).await;
                    match switched {
                        // Which of the two files a manifest calls the last one has to be known before more is written.
                        Err(ManifestFailure::Unsure(error)) => {
                            writer.pending.push_front(Piece::Fence(number));
                            return Err(error);
                        }
                        // Where no other file can begin the log goes on in this one, and the rewrite fails.
                        Err(ManifestFailure::Before(error)) => self.log.pass_fence(number, Err(error_text(&error))),
                        Ok(sequence) => self.log.pass_fence(number, Ok(sequence)),
                    }
                    continue;
                }
            };
            let file = match self.file(&writer.file).await {
                Ok(file) => file,
                Err(error) => {
                    writer.pending.push_front(Piece::Bytes(bytes));
                    return Err(error);
                }
            };
            // One operation instead of two; it covers what it writes, so nothing else may wait for a sync.
            let durable = self.log.policy() == AppendFsync::Always && writer.unsynced.is_empty();
            match write_all(&file, writer.file.length, bytes, durable).await {
                Ok(bytes) => {
                    writer.file.length += bytes.len() as u64;
                    writer.unsynced.push_back(bytes);
                    if durable {
                        self.note_synced_now(writer);
                    }
                }
                Err((error, bytes)) => {
                    if durable {
                        writer.note_failed_commit(&error);
                    }
                    writer.pending.push_front(Piece::Bytes(bytes));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The current file for this shard's driver.
    async fn file(&self, current: &CurrentFile) -> io::Result<Rc<FileHandle>> {
        if let Some((generation, file)) = &*self.file.borrow()
            && *generation == current.generation
        {
            return Ok(file.clone());
        }
        let file = Rc::new(self.tasks.operations.open_for_writing(&current.path).await?);
        *self.file.borrow_mut() = Some((current.generation, file.clone()));
        Ok(file)
    }

    /// All that is written is on disk when this ends.
    async fn sync_now(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.unsynced.is_empty() {
            return Ok(());
        }
        let file = self.file(&writer.file).await?;
        file.sync(true).await?;
        self.note_synced_now(writer);
        Ok(())
    }

    fn note_synced_now(&self, writer: &mut Writer) {
        writer.note_synced(writer.writes(), writer.file.length, writer.output.database());
        writer.last_sync_ns = self.tasks.executor.now_ns();
        self.log.figures().syncs += 1;
    }

    /// Begins a sync if one is due; writes go on meanwhile.
    async fn sync_in_background(self: &Rc<Self>, writer: &mut Writer) {
        let now_ns = self.tasks.executor.now_ns();
        if writer.unsynced.is_empty() || now_ns < writer.last_sync_ns + SECOND_NS {
            return;
        }
        let Ok(file) = self.file(&writer.file).await else { return };
        {
            let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*background, Background::Idle) {
                return;
            }
            *background = Background::Running(now_ns);
        }
        writer.last_sync_ns = now_ns;
        let mut done = SyncDone {
            result: Ok(()),
            generation: writer.file.generation,
            ticket: writer.complete,
            writes: writer.writes(),
            length: writer.file.length,
            database: writer.output.database(),
        };
        let this = self.clone();
        self.tasks.spawn(async move {
            done.result = file.sync(true).await;
            *this.background.lock().unwrap_or_else(PoisonError::into_inner) = Background::Done(done);
            this.log.is_stalled.store(false, Ordering::SeqCst);
            // Somebody has to hear of it: the leader, or who leads next.
            this.lead();
        });
    }

    /// Whether a sync has been running for so long that writes wait for it.
    fn is_held_up_by_sync(&self) -> bool {
        let Background::Running(since_ns) = *self.background.lock().unwrap_or_else(PoisonError::into_inner) else {
            return false;
        };
        let is_slow = self.tasks.executor.now_ns() > since_ns + SLOW_SYNC_NS;
        self.log.figures().delayed_syncs += u64::from(is_slow);
        is_slow
    }

    /// Hears of a sync that is over, and replaces the file if one has failed.
    async fn settle_disk(&self, writer: &mut Writer) -> io::Result<()> {
        let done = {
            let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::take(&mut *background) {
                Background::Done(done) => Some(done),
                other => {
                    *background = other;
                    None
                }
            }
        };
        // Of a file that is written to no more it says nothing: that was synced when it was left.
        if let Some(done) = done.filter(|done| done.generation == writer.file.generation) {
            match done.result {
                Ok(()) => {
                    writer.note_synced(done.writes, done.length, done.database);
                    self.log.durable.fetch_max(done.ticket, Ordering::SeqCst);
                    self.log.figures().syncs += 1;
                }
                Err(error) => {
                    writer.must_replace = true;
                    self.fail(writer, "Fail to fsync the AOF file", &error);
                }
            }
        }
        if writer.must_replace {
            writer.replace_file(&self.tasks.operations, self.log.next_generation()).await?;
            self.log.durable.store(self.log.written(), Ordering::SeqCst);
            tracing::warn!("The log goes on in {} since a sync of the last file failed", writer.file.path.display());
        }
        Ok(())
    }

    /// Writes are refused from now on, and what failed is tried again later.
    fn fail(&self, writer: &Writer, what: &str, error: &io::Error) {
        let reason = error_text(error);
        if !self.log.refuses.swap(true, Ordering::SeqCst) {
            tracing::warn!(
                "{what}: {reason}. Writes are refused until this has succeeded; it is tried again each second"
            );
        }
        self.log.figures().failure = Some(reason);
        self.log.next_attempt_ns.store(self.tasks.executor.now_ns() + SECOND_NS, Ordering::SeqCst);
        self.log.publish(writer);
        self.wake_waiting();
    }

    fn recover(&self) {
        if self.log.refuses.swap(false, Ordering::SeqCst) {
            self.log.figures().failure = None;
            tracing::warn!("AOF write error looks solved. The server can write again.");
        }
    }

    /// What all shards share.
    pub fn log(&self) -> &AppendLog {
        &self.log
    }
}

/// Writes all at once. What was taken in part is cut off and written again, unless the disk takes no more than that.
async fn write_all(
    file: &FileHandle,
    offset: u64,
    mut bytes: Vec<u8>,
    durable: bool,
) -> Result<Vec<u8>, (io::Error, Vec<u8>)> {
    let mut taken_before = None;
    loop {
        let failed = match write_once(file, offset, bytes, durable).await {
            Ok(bytes) => return Ok(bytes),
            Err(failed) => failed,
        };
        let FailedWrite { error, bytes: returned, written } = failed;
        bytes = returned;
        if let Some(error) = error {
            return Err((error, bytes));
        }
        tracing::warn!("Short write while writing to the AOF file: (nwritten={written}, expected={})", bytes.len());
        if let Err(error) = file.truncate(offset).await {
            tracing::warn!(
                "Could not remove short write from the append-only file. The next attempt writes over it; a crash before that \
                 leaves a tail that 'aof-load-truncated yes' cuts off: {error}"
            );
            return Err((error, bytes));
        }
        if taken_before.replace(written) == Some(written) {
            return Err((io::ErrorKind::StorageFull.into(), bytes));
        }
    }
}

/// An error in the system's words, as the real server tells it.
pub(super) fn error_text(error: &io::Error) -> String {
    const FULL: &str = "No space left on device";
    if error.kind() == io::ErrorKind::StorageFull {
        return FULL.to_owned();
    }
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
