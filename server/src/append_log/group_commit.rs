//! The thread that waits for the disk while replies do (`appendfsync always`).
//!
//! ```text
//!   the shard that leads ── writer, and a range to write ──> thread:  durable write ──> tickets, wakes ──> queue ──> again
//!            ^                                                  │
//!            └── woken: the writer lies in the log again <──────┘  nothing waits, or it takes more than a write
//! ```
//!
//! A ring gives a write of a file to a thread of the kernel, hears of its end when the shard's turn comes, and only then can the
//! shard give it the next: two more waits for a core a round, between which the disk has nothing to do. This thread begins the next
//! write with all that has gathered the moment the last one is on disk.
//!
//! Invariants: while it has the writer it leads, and no shard does. It writes ranges and nothing else: a fence, a manifest, another
//! policy, a failure are a shard's, which finds the writer as if it had just come to that point itself. It never waits for a
//! shard, so no shard ever waits for it but for what is on its way to the disk.

use super::output::Piece;
use super::writer::{CurrentFile, Writer};
use super::{AppendLog, take_queue};
use crate::config::AppendFsync;
use crate::insight::clock::now_ns;
use crate::reactor::driver::Waker;
use rustix::io::{Errno, IoSlice, ReadWriteFlags, pwritev2};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};

/// Why a durable write did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    Error(io::Error),
    /// A part was taken. A shard cuts it off and sees whether there is room.
    Short,
}

/// What the thread is given.
struct Job {
    log: Arc<AppendLog>,
    writer: Box<Writer>,
}

/// The thread, as shards know it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct GroupCommit {
    jobs: Sender<Job>,
}

impl GroupCommit {
    /// Starts it.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(wakers: Vec<Box<dyn Waker>>) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || run(&received, &wakers))?;
        Ok(Self { jobs })
    }

    /// Gives it the lead. The writer comes back if the thread is gone.
    pub(super) fn lead(&self, log: Arc<AppendLog>, writer: Box<Writer>) -> Result<(), Box<Writer>> {
        self.jobs.send(Job { log, writer }).map_err(|returned| returned.0.writer)
    }
}

/// Whether there is one range to be written, and nothing else to be done.
pub(super) fn is_one_write(log: &AppendLog, writer: &Writer) -> bool {
    log.policy() == AppendFsync::Always
        && !log.refuses()
        && log.time_to_write().is_none()
        && log.write_delay().is_none()
        && matches!(writer.pending.front(), Some(Piece::Bytes(_)))
        && writer.pending.len() == 1
        && writer.unsynced.is_empty()
        && !(writer.has_chores() || writer.must_replace)
}

fn run(jobs: &Receiver<Job>, wakers: &[Box<dyn Waker>]) {
    let mut open = None;
    while let Ok(Job { log, mut writer }) = jobs.recv() {
        commit(&log, &mut writer, &mut open, |shard| wakers[shard].wake());
        log.give_back(writer);
        if log.wants_leader()
            && let Some(waker) = wakers.first()
        {
            waker.wake();
        }
    }
}

/// Writes what there is and what gathers meanwhile, as long as it takes no more than that.
fn commit(log: &AppendLog, writer: &mut Writer, open: &mut Option<(u64, File)>, mut wake: impl FnMut(usize)) {
    while is_one_write(log, writer) {
        let Some(Piece::Bytes(bytes)) = writer.pending.pop_front() else { return };
        let written = log.timed(|| write_durably(open, &writer.file, &bytes));
        if let Err(error) = written {
            writer.pending.push_front(Piece::Bytes(bytes));
            writer.failure = Some(error);
            return;
        }
        writer.file.length += bytes.len() as u64;
        writer.unsynced.push_back(bytes);
        writer.note_synced(writer.writes(), writer.file.length, writer.output.database());
        log.note_committed(writer);
        log.take_waiting(&mut wake);
        if log.has_queued() {
            take_queue(log, writer);
        }
    }
}

/// Writes all of it, and waits until it is on disk.
fn write_durably(open: &mut Option<(u64, File)>, current: &CurrentFile, bytes: &[u8]) -> Result<(), Failure> {
    let file = match open {
        Some((generation, file)) if *generation == current.generation => file,
        _ => {
            let file = OpenOptions::new().write(true).open(&current.path).map_err(Failure::Error)?;
            &mut open.insert((current.generation, file)).1
        }
    };
    loop {
        match pwritev2(&*file, &[IoSlice::new(bytes)], current.length, ReadWriteFlags::DSYNC) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(Failure::Short),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::Error(errno.into())),
        }
    }
}

impl AppendLog {
    /// Writes that take so long are told of.
    pub fn time_writes(&self, threshold_ns: u64) {
        self.slow_write_ns.store(threshold_ns, Ordering::Relaxed);
    }

    /// The slowest write since the last question, if one was slow.
    pub fn take_slowest_write(&self) -> Option<u64> {
        let took_ns = self.slowest_write_ns.load(Ordering::Relaxed);
        (took_ns > 0).then(|| self.slowest_write_ns.swap(0, Ordering::Relaxed)).filter(|took_ns| *took_ns > 0)
    }

    fn timed<R>(&self, write: impl FnOnce() -> R) -> R {
        let threshold_ns = self.slow_write_ns.load(Ordering::Relaxed);
        if threshold_ns == u64::MAX {
            return write();
        }
        let began_ns = now_ns();
        let written = write();
        let took_ns = now_ns().saturating_sub(began_ns);
        if took_ns >= threshold_ns {
            self.slowest_write_ns.fetch_max(took_ns, Ordering::Relaxed);
        }
        written
    }

    /// What was written is on disk.
    fn note_committed(&self, writer: &mut Writer) {
        self.queued_bytes.fetch_sub(std::mem::take(&mut writer.taken_bytes), Ordering::Relaxed);
        self.written.store(writer.complete, Ordering::SeqCst);
        self.durable.store(writer.complete, Ordering::SeqCst);
        let mut figures = self.figures();
        figures.size = writer.size();
        figures.syncs += 1;
    }

    /// The writer lies where the next leader finds it.
    fn give_back(&self, writer: Box<Writer>) {
        self.publish(&writer);
        self.has_left.store(writer.has_work(), Ordering::SeqCst);
        *self.writer() = Some(writer);
        self.is_led.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Pushed};
    use super::*;
    use torc_persistence::aof::manifest::Manifest;

    /// A log that waits for the disk, with a range to be written to a file of a directory of its own.
    fn begun() -> (std::path::PathBuf, AppendLog, Writer) {
        let directory = tempfile::Builder::new().prefix("torc-commit-").tempdir().expect("a directory").keep();
        let path = directory.join("log");
        std::fs::write(&path, "").expect("a file");
        let place = Place { directory: directory.clone(), name: "log".to_owned() };
        let file = CurrentFile { generation: 1, sequence: 1, path, length: 0, synced_length: 0 };
        let mut writer = Writer::new(1, place, Manifest::default(), file, Vec::new());
        writer.pending.push_back(Piece::Bytes(b"*1\r\n$4\r\nPING\r\n".to_vec()));
        let log = AppendLog::new(1);
        log.set_policy(AppendFsync::Always);
        (directory, log, writer)
    }

    #[test]
    fn what_is_written_is_there_and_a_chore_that_came_meanwhile_is_left_to_a_shard() {
        for chore in [None, Some(Pushed::Close), Some(Pushed::Removed)] {
            let (directory, log, mut writer) = begun();
            let has_chore = chore.is_some();
            let ticket = chore.map(|chore| log.push_entry(0, chore));
            commit(&log, &mut writer, &mut None, |_| ());
            assert_eq!(std::fs::read(directory.join("log")).expect("it is there"), b"*1\r\n$4\r\nPING\r\n");
            assert_eq!((writer.file.synced_length, writer.unsynced.len()), (14, 0));
            assert_eq!(writer.pending.len(), 0);
            log.give_back(Box::new(writer));
            assert_eq!(log.has_left.load(Ordering::SeqCst), has_chore, "{ticket:?}");
            std::fs::remove_dir_all(directory).expect("it goes");
        }
    }

    #[test]
    fn a_failure_keeps_what_was_to_be_written() {
        let (directory, log, mut writer) = begun();
        writer.file.path = directory.join("nowhere").join("log");
        commit(&log, &mut writer, &mut None, |_| ());
        assert!(matches!(&writer.failure, Some(Failure::Error(error)) if error.kind() == io::ErrorKind::NotFound));
        assert_eq!((writer.pending.len(), writer.file.length), (1, 0));
        assert!(writer.has_work());
        std::fs::remove_dir_all(directory).expect("it goes");
    }
}
