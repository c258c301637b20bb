//! File operations on the ring: each is a short chain of submissions whose buffers and paths live here until it is over.
//!
//! ```text
//!  Open, Read, Write, Sync, Truncate, Rename, Unlink, Close:   one submission
//!  SyncDirectory:   openat ──> fsync ──> close (the result is the first failure's, or the fsync's)
//! ```
//!
//! Invariant: what a submission under way points to (a path, a buffer) is owned by its `Task` and not touched before the
//! completion. Moving a `Task` is allowed: `CString` and `Vec` keep their bytes where they are.

use io_uring::{opcode, squeue, types};
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::driver::{File, FileFailure, FileOperation, FileOutcome, FileResult, Tag, Urgency};

/// The kernel moves at most this much in one call.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

/// What is under way for one operation.
#[derive(Debug)]
enum Step {
    Open { path: CString, flags: i32, mode: u32 },
    Read { descriptor: RawFd, offset: u64, buffer: Vec<u8> },
    Write { descriptor: RawFd, offset: u64, buffer: Vec<u8>, durable: bool, urgency: Urgency },
    Sync { descriptor: RawFd, data_only: bool },
    Truncate { descriptor: RawFd, length: u64 },
    Rename { from: CString, to: CString },
    Unlink { path: CString },
    Close { descriptor: RawFd },
    OpenDirectory { path: CString },
    SyncDirectory { descriptor: RawFd },
    CloseDirectory { descriptor: RawFd, synced: i32 },
}

#[derive(Debug)]
struct Task {
    tag: Tag,
    step: Step,
}

/// What the driver does next for a task.
pub(super) enum Next {
    /// Submit this for the task.
    Submit(squeue::Entry),
    /// The operation is over.
    Done(Tag, FileResult),
}

/// Open files and operations under way.
#[derive(Debug)]
pub(super) struct Files {
    /// Descriptors by `File`; `None` is free.
    open: Vec<Option<RawFd>>,
    open_free: Vec<u32>,
    tasks: Vec<Option<Task>>,
    tasks_free: Vec<u32>,
    /// Whether the ring can truncate (Linux 6.9); else a plain system call does.
    can_truncate: bool,
}

impl Files {
    pub(super) fn new(can_truncate: bool) -> Self {
        let (open, open_free) = (Vec::new(), Vec::new());
        Self { open, open_free, tasks: Vec::new(), tasks_free: Vec::new(), can_truncate }
    }

    /// Takes the operation in: its task's index, and what to do.
    pub(super) fn start(&mut self, operation: FileOperation, tag: Tag) -> (u32, Next) {
        match self.first_step(operation) {
            Ok(step) => {
                let index = self.insert(Task { tag, step });
                (index, self.submit(index))
            }
            Err(failure) => (0, Next::Done(tag, Err(failure))),
        }
    }

    fn first_step(&mut self, operation: FileOperation) -> Result<Step, FileFailure> {
        Ok(match operation {
            FileOperation::Open { path, read, write, create, truncate, append, mode } => {
                Step::Open { path: terminated(&path)?, flags: open_flags(read, write, create, truncate, append)?, mode }
            }
            FileOperation::Read { file, offset, mut buffer } => {
                buffer.clear();
                match self.descriptor(file) {
                    Ok(descriptor) => Step::Read { descriptor, offset, buffer },
                    Err(error) => return Err(FileFailure::with_buffer(error, buffer)),
                }
            }
            FileOperation::Write { file, offset, buffer, durable, urgency } => match self.descriptor(file) {
                Ok(descriptor) => Step::Write { descriptor, offset, buffer, durable, urgency },
                Err(error) => return Err(FileFailure::with_buffer(error, buffer)),
            },
            FileOperation::Sync { file, data_only } => Step::Sync { descriptor: self.descriptor(file)?, data_only },
            FileOperation::Truncate { file, length } => Step::Truncate { descriptor: self.descriptor(file)?, length },
            FileOperation::Rename { from, to } => Step::Rename { from: terminated(&from)?, to: terminated(&to)? },
            FileOperation::Unlink { path } => Step::Unlink { path: terminated(&path)? },
            FileOperation::SyncDirectory { path } => {
                let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
                Step::OpenDirectory { path: terminated(&path)? }
            }
            FileOperation::Close { file } => {
                let descriptor = self.descriptor(file)?;
                self.open[file.0 as usize] = None;
                self.open_free.push(file.0);
                Step::Close { descriptor }
            }
        })
    }

    /// The submission of the task's present step.
    fn submit(&mut self, index: u32) -> Next {
        let here = types::Fd(libc::AT_FDCWD);
        let Some(task) = self.tasks[index as usize].as_mut() else { unreachable!("a task under way") };
        let entry = match &mut task.step {
            Step::Open { path, flags, mode } => {
                opcode::OpenAt::new(here, path.as_ptr()).flags(*flags).mode(*mode).build()
            }
            Step::Read { descriptor, offset, buffer } => {
                let length = buffer.capacity().min(TRANSFER_BYTES_MAX) as u32;
                opcode::Read::new(types::Fd(*descriptor), buffer.as_mut_ptr(), length).offset(*offset).build()
            }
            Step::Write { descriptor, offset, buffer, durable, urgency } => {
                let length = buffer.len().min(TRANSFER_BYTES_MAX) as u32;
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                let write = opcode::Write::new(types::Fd(*descriptor), buffer.as_ptr(), length).offset(*offset);
                write.rw_flags(flags).ioprio(priority(*urgency)).build()
            }
            Step::Sync { descriptor, data_only } => {
                let flags = if *data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(types::Fd(*descriptor)).flags(flags).build()
            }
            Step::Truncate { descriptor, length } if self.can_truncate => {
                opcode::Ftruncate::new(types::Fd(*descriptor), *length).build()
            }
            Step::Truncate { descriptor, length } => {
                let result = truncate(*descriptor, *length);
                let tag = task.tag;
                self.remove(index);
                return Next::Done(tag, result.map(|()| FileOutcome::Done).map_err(FileFailure::from));
            }
            Step::Rename { from, to } => opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build(),
            Step::Unlink { path } => opcode::UnlinkAt::new(here, path.as_ptr()).build(),
            Step::OpenDirectory { path } => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                opcode::OpenAt::new(here, path.as_ptr()).flags(flags).build()
            }
            Step::SyncDirectory { descriptor } => opcode::Fsync::new(types::Fd(*descriptor)).build(),
            Step::Close { descriptor } | Step::CloseDirectory { descriptor, .. } => {
                opcode::Close::new(types::Fd(*descriptor)).build()
            }
        };
        Next::Submit(entry)
    }

    /// The task's submission completed with this result.
    pub(super) fn complete(&mut self, index: u32, result: i32) -> Next {
        let Some(Task { tag, step }) = self.remove(index) else { unreachable!("a completion of a task under way") };
        if matches!(-result, libc::EINTR | libc::EAGAIN) && !matches!(step, Step::Close { .. }) {
            return self.go_on(tag, step);
        }
        let transferred = |buffer: Vec<u8>| match outcome(result) {
            Ok(count) => Ok(FileOutcome::Transferred(count, buffer)),
            Err(error) => Err(FileFailure::with_buffer(error, buffer)),
        };
        let done = |result: io::Result<usize>| result.map(|_| FileOutcome::Done).map_err(FileFailure::from);
        let result = match step {
            Step::OpenDirectory { .. } if result >= 0 => {
                return self.go_on(tag, Step::SyncDirectory { descriptor: result });
            }
            Step::SyncDirectory { descriptor } => {
                return self.go_on(tag, Step::CloseDirectory { descriptor, synced: result });
            }
            Step::CloseDirectory { synced, .. } => done(outcome(synced)),
            Step::Open { .. } => match outcome(result) {
                Ok(_) => Ok(FileOutcome::Opened(self.insert_open(result))),
                Err(error) => Err(error.into()),
            },
            Step::Read { mut buffer, .. } => {
                if let Ok(count) = usize::try_from(result) {
                    // SAFETY: the kernel wrote `count` bytes from the start, and was given no more than the capacity.
                    unsafe { buffer.set_len(count) };
                }
                transferred(buffer)
            }
            Step::Write { buffer, .. } => transferred(buffer),
            _ => done(outcome(result)),
        };
        Next::Done(tag, result)
    }

    fn go_on(&mut self, tag: Tag, step: Step) -> Next {
        // The index just freed is the one taken again: the driver submits under the same.
        let index = self.insert(Task { tag, step });
        self.submit(index)
    }

    fn insert(&mut self, task: Task) -> u32 {
        if let Some(index) = self.tasks_free.pop() {
            self.tasks[index as usize] = Some(task);
            return index;
        }
        self.tasks.push(Some(task));
        self.tasks.len() as u32 - 1
    }

    fn remove(&mut self, index: u32) -> Option<Task> {
        let task = self.tasks.get_mut(index as usize)?.take()?;
        self.tasks_free.push(index);
        Some(task)
    }

    fn insert_open(&mut self, descriptor: RawFd) -> File {
        if let Some(index) = self.open_free.pop() {
            self.open[index as usize] = Some(descriptor);
            return File(index);
        }
        self.open.push(Some(descriptor));
        File(self.open.len() as u32 - 1)
    }

    fn descriptor(&self, file: File) -> io::Result<RawFd> {
        let descriptor = self.open.get(file.0 as usize).copied().flatten();
        descriptor.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for descriptor in self.open.iter().flatten() {
            // SAFETY: a descriptor that this table owns, closed once.
            unsafe { libc::close(*descriptor) };
        }
    }
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// A best effort, as everything is: but the least of it in the background.
fn priority(urgency: Urgency) -> u16 {
    const BEST_EFFORT: u16 = 2 << 13;
    const LEAST: u16 = 7;
    match urgency {
        // That of the thread.
        Urgency::Normal => 0,
        Urgency::Background => BEST_EFFORT | LEAST,
    }
}

fn terminated(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[allow(clippy::fn_params_excessive_bools)] // the fields of `FileOperation::Open`
fn open_flags(read: bool, write: bool, create: bool, truncate: bool, append: bool) -> io::Result<i32> {
    let access = match (read, write || append) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        (true, false) => libc::O_RDONLY,
        (false, false) => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    let flag = |on: bool, flag: i32| if on { flag } else { 0 };
    Ok(access
        | libc::O_CLOEXEC
        | flag(create, libc::O_CREAT)
        | flag(truncate, libc::O_TRUNC)
        | flag(append, libc::O_APPEND))
}

fn truncate(descriptor: RawFd, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: no memory is involved.
    if unsafe { libc::ftruncate(descriptor, length) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
