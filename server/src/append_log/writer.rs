//! What the leader works with: where the log has come to in its files, and what to do when the disk fails.
//!
//! ```text
//!   file:   ...synced....|....written, kept in memory....|  pending (not written)
//!                        ^ synced_length                 ^ length
//! ```
//!
//! | what fails | what happens |
//! |---|---|
//! | a write ends early | the file is cut back to where it began, and all is written once more: of several writes that no sync divides, a power loss may leave the later ones alone, in the middle of a file that nobody could read |
//! | a write (no space, an error) | the file is cut back to where the write began, a whole record; writes are refused; tried again each second |
//! | an fdatasync, or a durable write for another reason than space | the file is cut back to what is known to be on disk, and never synced again for data: after a failure the system takes lost pages for clean. What was written since is kept in memory, and goes into a new file, which the manifest names when it is on disk |
//!
//! Until that has succeeded writes are refused, reads go on, and replies that wait for the disk wait on: nothing that was
//! acknowledged is lost, and nothing is acknowledged that may be.

use super::Rebased;
use super::group_commit::Failure;
use super::output::{Output, Piece};
use super::sequencer::Sequencer;
use crate::reactor::operations::{FileHandle, Operations};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use torc_persistence::aof::manifest::{LogFile, Manifest, manifest_name, temporary_manifest_name};

/// Where the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory of its files.
    pub directory: PathBuf,
    /// `appendfilename`.
    pub name: String,
}

impl Place {
    /// A file there.
    pub fn path(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.directory.join(std::ffi::OsStr::from_bytes(name))
    }

    /// The manifest.
    pub fn manifest_path(&self) -> PathBuf {
        self.directory.join(manifest_name(&self.name))
    }

    /// Puts a manifest in the place of the one that is there; lasting when this ends.
    pub(super) async fn write_manifest(
        &self,
        operations: &Operations,
        manifest: &Manifest,
    ) -> Result<(), ManifestFailure> {
        let temporary = self.directory.join(temporary_manifest_name(&self.name));
        let prepared = async {
            let file = operations.create(&temporary, 0o644).await?;
            file.write_all_at(0, manifest.text()).await?;
            file.sync(false).await?;
            file.close().await?;
            // The files that it names are to be there when it is.
            operations.sync_directory(&self.directory).await
        };
        prepared.await.map_err(ManifestFailure::Before)?;
        operations.rename(&temporary, &self.manifest_path()).await.map_err(ManifestFailure::Unsure)?;
        operations.sync_directory(&self.directory).await.map_err(ManifestFailure::Unsure)
    }
}

/// Why a manifest was not put in the place of another.
#[derive(Debug)]
pub(super) enum ManifestFailure {
    /// The other one is there.
    Before(io::Error),
    /// Either may be, after a crash.
    Unsure(io::Error),
}

impl From<io::Error> for ManifestFailure {
    fn from(error: io::Error) -> Self {
        Self::Before(error)
    }
}

impl From<ManifestFailure> for io::Error {
    fn from((ManifestFailure::Before(error) | ManifestFailure::Unsure(error)): ManifestFailure) -> Self {
        error
    }
}

/// The file that is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentFile {
    /// Rises with each file.
    pub generation: u64,
    /// Its number in the manifest; 0 as long as no manifest names it.
    pub sequence: i64,
    /// Which it is.
    pub path: PathBuf,
    /// How long it is, as far as it holds whole records.
    pub length: u64,
    /// What of it is known to be on disk.
    pub synced_length: u64,
}

/// A write that was not taken whole, and all that was to be written.
pub(super) struct FailedWrite {
    /// None if a part was taken.
    pub(super) error: Option<io::Error>,
    pub(super) bytes: Vec<u8>,
    pub(super) written: usize,
}

/// See the file's head.
#[derive(Debug)]
pub struct Writer {
    pub(super) place: Place,
    pub(super) manifest: Manifest,
    pub(super) file: CurrentFile,
    pub(super) sequencer: Sequencer,
    pub(super) output: Output,
    /// What is to be written, in order.
    pub(super) pending: VecDeque<Piece>,
    /// What was written since the last sync that succeeded, and the database that was selected then.
    pub(super) unsynced: VecDeque<Vec<u8>>,
    /// How many writes came before those.
    pub(super) synced_writes: u64,
    pub(super) synced_database: Option<usize>,
    /// Everything up to this ticket is in `pending` or written.
    pub(super) complete: u64,
    /// Bytes of records that have been taken from the queue and are not written.
    pub(super) taken_bytes: u64,
    pub(super) last_sync_ns: u64,
    /// Why the last write failed, if nobody has seen to it.
    pub(super) failure: Option<Failure>,
    /// A sync has failed: the file is to be replaced before anything else.
    pub(super) must_replace: bool,
    /// How long the other files are, with their numbers; the base is 0.
    pub(super) others: Vec<(i64, u64)>,
    /// Bases that are on disk and that the manifest does not name.
    pub(super) bases: Vec<Rebased>,
    /// What was history has been removed.
    pub(super) has_removed: bool,
    /// It ends when all is written.
    pub(super) closes: bool,
}

impl Writer {
    /// Goes on at the end of a file that holds whole records.
    pub fn new(shards: usize, place: Place, manifest: Manifest, file: CurrentFile, others: Vec<(i64, u64)>) -> Self {
        Self {
            place,
            manifest,
            file,
            sequencer: Sequencer::new(shards),
            output: Output::default(),
            pending: VecDeque::new(),
            unsynced: VecDeque::new(),
            synced_writes: 0,
            synced_database: None,
            complete: 0,
            taken_bytes: 0,
            last_sync_ns: 0,
            failure: None,
            must_replace: false,
            others,
            bases: Vec::new(),
            has_removed: false,
            closes: false,
        }
    }

    /// The name of a file that no manifest names yet.
    pub(super) fn temporary_name(&self) -> Vec<u8> {
        format!("temp-{}-{}.incr", self.place.name, self.file.generation + 1).into_bytes()
    }

    /// Goes on in a new file, which the manifest names. The number of the one before.
    pub(super) async fn switch_file(
        &mut self,
        operations: &Operations,
        generation: u64,
    ) -> Result<i64, ManifestFailure> {
        let mut manifest = self.manifest.clone();
        let LogFile { name, sequence } = manifest.begin_incremental(&self.place.name);
        let path = self.place.path(&name);
        let file = operations.create(&path, 0o644).await?;
        file.sync(false).await?;
        drop(file);
        self.place.write_manifest(operations, &manifest).await?;
        self.manifest = manifest;
        let before = self.file.sequence;
        self.others.push((before, self.file.length));
        self.file = CurrentFile { generation, sequence, path, length: 0, synced_length: 0 };
        self.synced_database = None;
        self.output.forget_database();
        Ok(before)
    }

    /// A base takes the place of what it covers. The files that are history then.
    pub(super) async fn take_base(
        &mut self,
        operations: &Operations,
        rebased: &Rebased,
    ) -> Result<Vec<LogFile>, ManifestFailure> {
        let mut manifest = self.manifest.clone();
        manifest.history.extend(manifest.base.replace(rebased.base.clone()));
        manifest.last_base = rebased.base.sequence;
        manifest.retire_before(rebased.covers.saturating_add(1));
        let mut file = self.file.clone();
        if file.sequence == 0 {
            let LogFile { name, sequence } = manifest.begin_incremental(&self.place.name);
            file.path = self.place.path(&name);
            file.sequence = sequence;
            operations.rename(&self.file.path, &file.path).await?;
            // Until the manifest names it, another attempt finds it under this name.
            self.file.path.clone_from(&file.path);
        }
        self.place.write_manifest(operations, &manifest).await?;
        let history = manifest.history.clone();
        self.manifest = manifest;
        self.file = file;
        self.others.retain(|(sequence, _)| *sequence > rebased.covers && *sequence != 0);
        self.others.push((0, rebased.bytes));
        Ok(history)
    }

    /// Whether there is something to be done beside writing.
    pub(super) fn has_chores(&self) -> bool {
        !self.bases.is_empty() || self.has_removed || self.closes
    }

    /// Whether a leader who found it would have something to do.
    pub(super) fn has_work(&self) -> bool {
        self.failure.is_some() || !self.pending.is_empty() || self.has_chores()
    }

    /// A durable write has failed. Where there is no space it is known what became of it; else it may have failed on its way to the
    /// disk.
    pub(super) fn note_failed_commit(&mut self, error: &io::Error) {
        self.must_replace |= error.kind() != io::ErrorKind::StorageFull;
    }

    /// How long all files are together.
    pub(super) fn size(&self) -> u64 {
        self.others.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.file.length
    }

    /// How many writes there have been.
    pub(super) fn writes(&self) -> u64 {
        self.synced_writes + self.unsynced.len() as u64
    }

    /// So many writes are on disk, which made the file so long.
    pub(super) fn note_synced(&mut self, writes: u64, length: u64, database: Option<usize>) {
        if writes >= self.synced_writes {
            let count = (writes - self.synced_writes).min(self.unsynced.len() as u64);
            self.unsynced.drain(..count as usize);
            self.synced_writes += count;
            self.file.synced_length = self.file.synced_length.max(length);
            self.synced_database = database;
        }
    }

    /// Cuts the file back to what is on disk, and goes on in a new one with all that is not. If this fails, it may be
    /// tried again.
    pub(super) async fn replace_file(&mut self, operations: &Operations, generation: u64) -> io::Result<()> {
        let old = operations.open_for_writing(&self.file.path).await?;
        old.truncate(self.file.synced_length).await?;
        // Of its length, which is written elsewhere than the data that were lost.
        old.sync(false).await?;
        drop(old);
        let mut manifest = self.manifest.clone();
        let LogFile { name, sequence } = if self.file.sequence == 0 {
            // No manifest names it: the same name is as good.
            LogFile { name: self.temporary_name(), sequence: 0 }
        } else {
            manifest.begin_incremental(&self.place.name)
        };
        let path = self.place.path(&name);
        let new = operations.create(&path, 0o644).await?;
        let mut bytes = Vec::new();
        if let Some(database) = self.synced_database {
            torc_persistence::aof::text::write_select(&mut bytes, database);
        }
        self.unsynced.iter().for_each(|kept| bytes.extend_from_slice(kept));
        let length = bytes.len() as u64;
        new.write_all_at(0, bytes).await?;
        new.sync(false).await?;
        drop(new);
        if manifest != self.manifest {
            self.place.write_manifest(operations, &manifest).await?;
            self.manifest = manifest;
            self.others.push((self.file.sequence, self.file.synced_length));
        }
        let old = std::mem::replace(
            &mut self.file,
            CurrentFile { generation, sequence, path, length, synced_length: length },
        );
        if old.sequence == 0 {
            drop(operations.unlink(&old.path).await);
        }
        self.synced_writes = self.writes();
        self.unsynced.clear();
        self.must_replace = false;
        Ok(())
    }
}

/// Writes all at once, and gives the bytes back as they were.
pub(super) async fn write_once(
    file: &FileHandle,
    offset: u64,
    bytes: Vec<u8>,
    durable: bool,
) -> Result<Vec<u8>, FailedWrite> {
    match file.write_at(offset, bytes, durable).await {
        Ok((written, bytes)) if written == bytes.len() => Ok(bytes),
        Ok((written, bytes)) => Err(FailedWrite { error: None, bytes, written }),
        Err(failure) => {
            Err(FailedWrite { error: Some(failure.error), bytes: failure.buffer.unwrap_or_default(), written: 0 })
        }
    }
}
