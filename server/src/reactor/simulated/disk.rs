//! Files in memory, with what is written and what would survive a power loss kept apart.
//!
//! ```text
//!   write ──> data (what reads see)                names: path -> inode (what opens see)
//!         └─> unsynced changes ──sync──> durable   unsynced name changes ──SyncDirectory──> durable_names
//!
//!   crash: durable + each unsynced change: lost, whole, torn or zeroed;  durable_names + a prefix of the name changes
//! ```
//!
//! A sync that fails forgets the changes: they are in `data`, no later sync makes them durable (as Linux marks the pages
//! clean). Operations take effect when they complete, so operations under way at the same time may do so in any order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::driver::{Event, File, FileFailure, FileOperation, FileOutcome, FileResult, Tag};
use super::State;

/// A torn write ends at a multiple of this.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLength(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[*offset..end].copy_from_slice(bytes);
            }
            Self::SetLength(length) => data.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { path: PathBuf, inode: u64 },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        let is_there = |path: &Path| same_directory(path.parent().unwrap_or(Path::new("")), directory);
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => is_there(path),
            Self::Rename { from, to } => is_there(from) || is_there(to),
        }
    }
}

fn same_directory(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| if path == Path::new(".") { PathBuf::new() } else { path.to_owned() };
    plain(one) == plain(other)
}

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.data);
        self.unsynced.push(change);
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenFile {
    inode: u64,
    can_read: bool,
    can_write: bool,
    appends: bool,
}

/// Who opened a file: a shard's driver, in one of its lives. A dead one's operations still under way find their files.
type Owner = (usize, u64);

/// The disk of the world.
#[derive(Debug, Default)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    open: BTreeMap<(Owner, u32), OpenFile>,
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Disk {
    pub(super) fn read_whole(&self, path: &Path) -> Option<Vec<u8>> {
        self.names.get(path).and_then(|inode| self.inodes.get(inode)).map(|inode| inode.data.clone())
    }

    pub(super) fn write_whole(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let inode = self.new_inode();
        self.inodes.insert(inode, Inode { data: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        self.names.insert(path.clone(), inode);
        self.durable_names.insert(path, inode);
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn used_bytes(&self) -> u64 {
        self.inodes.values().map(|inode| inode.data.len() as u64).sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn opened(&mut self, owner: Owner, file: File) -> io::Result<(OpenFile, &mut Inode)> {
        let open = *self.open.get(&(owner, file.0)).ok_or_else(|| error(libc::EBADF))?;
        let inode = self.inodes.get_mut(&open.inode).ok_or_else(|| error(libc::EBADF))?;
        Ok((open, inode))
    }

    fn open(
        &mut self,
        owner: Owner,
        path: PathBuf,
        create: bool,
        truncate: bool,
        mut open: OpenFile,
    ) -> io::Result<File> {
        open.inode = match self.names.get(&path) {
            Some(inode) => *inode,
            None if create => {
                let inode = self.new_inode();
                self.inodes.insert(inode, Inode::default());
                self.change_names(NameChange::Link { path, inode });
                inode
            }
            None => return Err(error(libc::ENOENT)),
        };
        if truncate && let Some(inode) = self.inodes.get_mut(&open.inode) {
            inode.change(Change::SetLength(0));
        }
        let mut number = 0;
        while self.open.contains_key(&(owner, number)) {
            number += 1;
        }
        self.open.insert((owner, number), open);
        Ok(File(number))
    }

    fn read(&mut self, owner: Owner, file: File, offset: u64, buffer: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let (open, inode) = self.opened(owner, file)?;
        if !open.can_read {
            return Err(error(libc::EBADF));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.data.len());
        let end = inode.data.len().min(start.saturating_add(max));
        buffer.clear();
        buffer.extend_from_slice(&inode.data[start..end]);
        Ok(end - start)
    }

    fn write(&mut self, owner: Owner, file: File, offset: u64, buffer: &[u8], max: usize) -> io::Result<usize> {
        let (open, inode) = self.opened(owner, file)?;
        if !open.can_write {
            return Err(error(libc::EBADF));
        }
        let count = buffer.len().min(max);
        let offset = if open.appends { inode.data.len() } else { offset as usize };
        inode.change(Change::Write { offset, bytes: buffer[..count].to_vec() });
        Ok(count)
    }

    /// What the last write has changed, and how long the file is, lasts; what was written before may not.
    fn sync_last_write(&mut self, owner: Owner, file: File) -> io::Result<()> {
        let (_, inode) = self.opened(owner, file)?;
        let last = inode.unsynced.len().saturating_sub(1);
        let changes = std::mem::take(&mut inode.unsynced);
        for (index, change) in changes.into_iter().enumerate() {
            if index == last || matches!(change, Change::SetLength(_)) {
                change.apply(&mut inode.durable);
            } else {
                inode.unsynced.push(change);
            }
        }
        Ok(())
    }

    fn sync(&mut self, owner: Owner, file: File, fails: bool) -> io::Result<()> {
        let (_, inode) = self.opened(owner, file)?;
        let changes = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(error(libc::EIO));
        }
        for change in changes {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    fn sync_directory(&mut self, directory: &Path) {
        let changes = std::mem::take(&mut self.unsynced_names);
        for change in changes {
            if change.is_in(directory) {
                change.apply(&mut self.durable_names);
            } else {
                self.unsynced_names.push(change);
            }
        }
    }

    fn existing(&self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) { Ok(()) } else { Err(error(libc::ENOENT)) }
    }

    /// Loses what a power loss loses.
    pub(super) fn crash(&mut self, random: &mut fastrand::Rng) {
        self.open.clear();
        let survivors = random.usize(0..=self.unsynced_names.len());
        for change in self.unsynced_names.drain(..).take(survivors) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for inode in self.inodes.values_mut() {
            for change in std::mem::take(&mut inode.unsynced) {
                if let Some(change) = survivor(change, inode.durable.len(), random) {
                    change.apply(&mut inode.durable);
                }
            }
            inode.data.clone_from(&inode.durable);
        }
        let names = &self.names;
        self.inodes.retain(|number, _| names.values().any(|inode| inode == number));
    }
}

/// What is left of an unsynced change, of a file that is so long.
fn survivor(change: Change, length: usize, random: &mut fastrand::Rng) -> Option<Change> {
    let fate = random.u8(0..4);
    match change {
        _ if fate == 0 => None,
        Change::Write { offset, mut bytes } if fate == 1 => {
            let sectors = random.usize(0..=bytes.len() / SECTOR_BYTES);
            // Cut at a boundary of the file, or, within the first sector, anywhere.
            let kept = if sectors == 0 { random.usize(0..=bytes.len()) } else { sectors * SECTOR_BYTES };
            bytes.truncate(kept);
            Some(Change::Write { offset, bytes })
        }
        // The file has become longer, and its blocks were not written: what was there before is there.
        Change::Write { offset, bytes } if fate == 2 => Some(Change::SetLength(length.max(offset + bytes.len()))),
        whole => Some(whole),
    }
}

fn transferred(result: io::Result<usize>, buffer: Vec<u8>) -> FileResult {
    match result {
        Ok(count) => Ok(FileOutcome::Transferred(count, buffer)),
        Err(error) => Err(FileFailure::with_buffer(error, buffer)),
    }
}

impl State {
    pub(super) fn finish_file(&mut self, shard: usize, life: u64, operation: FileOperation, tag: Tag) {
        let is_dead = self.shards[shard].life != life;
        // The process died with this under way: the kernel may or may not have done it.
        if is_dead && self.random.bool() {
            return;
        }
        let result = self.perform((shard, life), operation);
        if !is_dead {
            self.shards[shard].events.push_back(Event::FileDone { tag, result });
        }
    }

    fn perform(&mut self, owner: Owner, operation: FileOperation) -> FileResult {
        let fails = self.happens(self.faults.io_error_per_million);
        match operation {
            FileOperation::Sync { file, .. } => {
                self.disk.sync(owner, file, fails)?;
                return Ok(FileOutcome::Done);
            }
            FileOperation::Close { .. } => {}
            FileOperation::Read { buffer, .. } | FileOperation::Write { buffer, .. } if fails => {
                return Err(FileFailure::with_buffer(error(libc::EIO), buffer));
            }
            _ if fails => return Err(error(libc::EIO).into()),
            _ => {}
        }
        match operation {
            FileOperation::Open { path, read, write, create, truncate, append, mode: _ } => {
                let open = OpenFile { inode: 0, can_read: read, can_write: write || append, appends: append };
                Ok(FileOutcome::Opened(self.disk.open(owner, path, create, truncate, open)?))
            }
            FileOperation::Read { file, offset, mut buffer } => {
                let max = self.transfer_max(buffer.capacity());
                let result = self.disk.read(owner, file, offset, &mut buffer, max);
                transferred(result, buffer)
            }
            FileOperation::Write { file, offset, buffer, durable, urgency: _ } => {
                let is_full = self.disk.used_bytes() + buffer.len() as u64 > self.faults.disk_bytes_max;
                if is_full || self.happens(self.faults.no_space_per_million) {
                    return Err(FileFailure::with_buffer(error(libc::ENOSPC), buffer));
                }
                let max = self.transfer_max(buffer.len());
                let written = self.disk.write(owner, file, offset, &buffer, max);
                if durable && self.happens(self.faults.io_error_per_million) {
                    // It was taken, and is lost on its way to the disk.
                    drop(self.disk.sync(owner, file, true));
                    return Err(FileFailure::with_buffer(error(libc::EIO), buffer));
                }
                let synced = if durable { self.disk.sync_last_write(owner, file) } else { Ok(()) };
                transferred(synced.and(written), buffer)
            }
            FileOperation::Truncate { file, length } => {
                let (_, inode) = self.disk.opened(owner, file)?;
                inode.change(Change::SetLength(length as usize));
                Ok(FileOutcome::Done)
            }
            FileOperation::Rename { from, to } => {
                self.disk.existing(&from)?;
                self.disk.change_names(NameChange::Rename { from, to });
                Ok(FileOutcome::Done)
            }
            FileOperation::Unlink { path } => {
                self.disk.existing(&path)?;
                self.disk.change_names(NameChange::Unlink { path });
                Ok(FileOutcome::Done)
            }
            FileOperation::SyncDirectory { path } => {
                self.disk.sync_directory(&path);
                Ok(FileOutcome::Done)
            }
            FileOperation::Close { file } => {
                let closed = self.disk.open.remove(&(owner, file.0));
                closed.map(|_| FileOutcome::Done).ok_or_else(|| error(libc::EBADF).into())
            }
            FileOperation::Sync { .. } => unreachable!("handled above"),
        }
    }

    /// How much a transfer moves: all, or, where it is to be short, at least one byte.
    fn transfer_max(&mut self, wanted: usize) -> usize {
        if wanted > 1 && self.happens(self.faults.short_transfer_per_million) {
            return self.random.usize(1..wanted);
        }
        wanted
    }
}
