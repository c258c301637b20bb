//! `file operation -> await` and `connect -> await`: one-shot completions between tasks and a driver's events.
//!
//! ```text
//!   task: files.open(..).await        loop: operations.submit(&mut driver)        driver
//!     │  request + a slot (tag) ──────────────> file(operation, tag) ───────────────>
//!     └─ woken <── slot filled <── operations.complete(event) <── FileDone { tag } ──
//! ```
//!
//! Invariants: a slot is freed by its completion, never before, so a tag always finds the slot that it was made for. A
//! future that is dropped abandons its slot; when the completion comes, what it brought is given back (an opened file or a
//! connected socket is closed). What goes over a connection is in [`super::streams`]. All tags have [`TAG_BIT`] set: the loop's own tags must not.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::driver::{
    Address, Driver, Event, File, FileFailure, FileOperation, FileOutcome, FileResult, Socket, Tag, Urgency,
};
use super::streams::{Stream, Streams};

/// Set in every tag of an awaited operation.
pub const TAG_BIT: Tag = 1 << 63;

/// What an operation came to.
#[derive(Debug)]
enum Completion {
    File(FileResult),
    Connected(io::Result<Socket>),
}

enum Slot {
    Free,
    Waiting(Option<Waker>),
    Done(Completion),
    Abandoned,
}

enum Request {
    File(FileOperation, Tag),
    Connect(Address, Tag),
    Close(Socket),
    Wake(usize),
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    free: Vec<usize>,
    requests: Vec<Request>,
}

impl State {
    fn start(&mut self, request: impl FnOnce(Tag) -> Request) -> usize {
        let index = self.free.pop().unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(Slot::Free);
        }
        self.slots[index] = Slot::Waiting(None);
        self.requests.push(request(TAG_BIT | index as Tag));
        index
    }

    fn release(&mut self, index: usize) -> Slot {
        self.free.push(index);
        std::mem::replace(&mut self.slots[index], Slot::Free)
    }

    /// Nobody wants this any more: what it opened is closed.
    fn give_back(&mut self, completion: Completion) {
        match completion {
            Completion::File(Ok(FileOutcome::Opened(file))) => self.close_unseen(file),
            Completion::Connected(Ok(socket)) => self.requests.push(Request::Close(socket)),
            _ => {}
        }
    }

    fn close_unseen(&mut self, file: File) {
        let index = self.start(|tag| Request::File(FileOperation::Close { file }, tag));
        self.slots[index] = Slot::Abandoned;
    }
}

/// Starts operations for tasks. Clones share one state.
#[derive(Clone, Default)]
pub struct Operations {
    state: Rc<RefCell<State>>,
    /// Connections that have been made.
    pub streams: Streams,
}

impl Operations {
    /// Hands everything that tasks asked for to the driver.
    pub fn submit(&self, driver: &mut impl Driver) {
        let requests = std::mem::take(&mut self.state.borrow_mut().requests);
        for request in requests {
            match request {
                Request::File(operation, tag) => driver.file(operation, tag),
                Request::Connect(address, tag) => driver.connect(&address, tag),
                Request::Close(socket) => driver.close(socket),
                Request::Wake(shard) => driver.wake(shard),
            }
        }
        self.streams.submit(driver);
    }

    /// Whether there is something to submit.
    pub fn has_requests(&self) -> bool {
        !self.state.borrow().requests.is_empty()
    }

    /// Takes an event that belongs to an awaited operation and wakes its task; gives every other event back.
    pub fn complete(&self, event: Event) -> Option<Event> {
        let (tag, completion) = match event {
            Event::FileDone { tag, result } if tag & TAG_BIT != 0 => (tag, Completion::File(result)),
            Event::Connected { tag, result } if tag & TAG_BIT != 0 => (tag, Completion::Connected(result)),
            other => return Some(other),
        };
        let waker = {
            let mut state = self.state.borrow_mut();
            let index = (tag & !TAG_BIT) as usize;
            match state.slots.get_mut(index) {
                Some(Slot::Waiting(waker)) => {
                    let waker = waker.take();
                    state.slots[index] = Slot::Done(completion);
                    waker
                }
                Some(Slot::Abandoned) => {
                    state.release(index);
                    state.give_back(completion);
                    None
                }
                _ => {
                    debug_assert!(false, "a completion that nobody asked for");
                    None
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    fn file(&self, operation: FileOperation) -> Pending {
        let index = self.state.borrow_mut().start(|tag| Request::File(operation, tag));
        Pending { state: Rc::clone(&self.state), index: Some(index) }
    }

    async fn file_done(&self, operation: FileOperation) -> io::Result<()> {
        file_result(self.file(operation).await)?;
        Ok(())
    }

    /// Connects. Whoever does not want to wait any longer drops this: a connection that comes later is closed.
    pub async fn connect(&self, address: Address) -> io::Result<Stream> {
        let index = self.state.borrow_mut().start(|tag| Request::Connect(address, tag));
        let pending = Pending { state: Rc::clone(&self.state), index: Some(index) };
        match pending.await {
            Completion::Connected(result) => Ok(self.streams.open(result?)),
            Completion::File(_) => Err(wrong_kind()),
        }
    }

    /// Wakes another shard, if it sleeps.
    pub fn wake(&self, shard: usize) {
        self.state.borrow_mut().requests.push(Request::Wake(shard));
    }

    /// Opens a file for reading.
    pub async fn open(&self, path: impl Into<PathBuf>) -> io::Result<FileHandle> {
        let (path, mode) = (path.into(), 0);
        self.open_with(FileOperation::Open {
            path,
            read: true,
            write: false,
            create: false,
            truncate: false,
            append: false,
            mode,
        })
        .await
    }

    /// Makes a file, empty, for writing.
    pub async fn create(&self, path: impl Into<PathBuf>, mode: u32) -> io::Result<FileHandle> {
        let path = path.into();
        self.open_with(FileOperation::Open {
            path,
            read: true,
            write: true,
            create: true,
            truncate: true,
            append: false,
            mode,
        })
        .await
    }

    /// Opens a file that is there, for writing, as it is.
    pub async fn open_for_writing(&self, path: impl Into<PathBuf>) -> io::Result<FileHandle> {
        let (path, mode) = (path.into(), 0);
        self.open_with(FileOperation::Open {
            path,
            read: true,
            write: true,
            create: false,
            truncate: false,
            append: false,
            mode,
        })
        .await
    }

    /// Opens as told by a [`FileOperation::Open`].
    pub async fn open_with(&self, operation: FileOperation) -> io::Result<FileHandle> {
        match file_result(self.file(operation).await)? {
            FileOutcome::Opened(file) => {
                Ok(FileHandle { operations: self.clone(), file: Some(file), urgency: Urgency::Normal })
            }
            _ => Err(wrong_kind()),
        }
    }

    /// Atomically puts `from` in the place of `to`; lasting after [`Self::sync_directory`].
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.file_done(FileOperation::Rename { from: from.to_owned(), to: to.to_owned() }).await
    }

    /// Removes a file.
    pub async fn unlink(&self, path: &Path) -> io::Result<()> {
        self.file_done(FileOperation::Unlink { path: path.to_owned() }).await
    }

    /// Makes renames and removals in a directory last.
    pub async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.file_done(FileOperation::SyncDirectory { path: path.to_owned() }).await
    }
}

/// An open file; closed when dropped.
pub struct FileHandle {
    operations: Operations,
    /// `None` only after `close`.
    file: Option<File>,
    /// Of what is written by this handle.
    urgency: Urgency,
}

impl FileHandle {
    /// What is written by this handle gives way to other writes.
    pub fn in_background(mut self) -> Self {
        self.urgency = Urgency::Background;
        self
    }

    fn id(&self) -> io::Result<File> {
        self.file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads up to the buffer's capacity at an offset; empty at the end of the file. The buffer comes back on failure too.
    pub async fn read_at(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>, FileFailure> {
        let operation = FileOperation::Read { file: self.id()?, offset, buffer };
        match file_result(self.operations.file(operation).await)? {
            FileOutcome::Transferred(_, buffer) => Ok(buffer),
            _ => Err(wrong_kind().into()),
        }
    }

    /// Writes at an offset; may be short. The buffer comes back as it was, with how much of it was written: on disk, if it is to
    /// be `durable`.
    pub async fn write_at(&self, offset: u64, buffer: Vec<u8>, durable: bool) -> Result<(usize, Vec<u8>), FileFailure> {
        let urgency = self.urgency;
        let operation = FileOperation::Write { file: self.id()?, offset, buffer, durable, urgency };
        match file_result(self.operations.file(operation).await)? {
            FileOutcome::Transferred(count, buffer) => Ok((count, buffer)),
            _ => Err(wrong_kind().into()),
        }
    }

    /// Writes all of the buffer at an offset, going on after short writes; the buffer comes back empty, for reuse. On
    /// failure it comes back with what is not written, so that its owner knows where the file ends and loses nothing.
    pub async fn write_all_at(&self, mut offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>, FileFailure> {
        while !buffer.is_empty() {
            let (file, urgency) = (self.id()?, self.urgency);
            let operation = FileOperation::Write { file, offset, buffer, durable: false, urgency };
            let FileOutcome::Transferred(count, returned) = file_result(self.operations.file(operation).await)? else {
                return Err(wrong_kind().into());
            };
            buffer = returned;
            if count == 0 {
                return Err(FileFailure::with_buffer(io::ErrorKind::WriteZero.into(), buffer));
            }
            buffer.drain(..count);
            offset += count as u64;
        }
        Ok(buffer)
    }

    /// fsync, or fdatasync.
    pub async fn sync(&self, data_only: bool) -> io::Result<()> {
        self.operations.file_done(FileOperation::Sync { file: self.id()?, data_only }).await
    }

    /// Cuts or extends the file.
    pub async fn truncate(&self, length: u64) -> io::Result<()> {
        self.operations.file_done(FileOperation::Truncate { file: self.id()?, length }).await
    }

    /// Closes and says how it went.
    pub async fn close(mut self) -> io::Result<()> {
        let file = self.id()?;
        self.file = None;
        self.operations.file_done(FileOperation::Close { file }).await
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.operations.state.borrow_mut().close_unseen(file);
        }
    }
}

/// An operation under way.
struct Pending {
    state: Rc<RefCell<State>>,
    /// `None` when it is over.
    index: Option<usize>,
}

impl Future for Pending {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let Some(index) = self.index else { return Poll::Pending };
        let completion = {
            let mut state = self.state.borrow_mut();
            let Some(completion) = state.release_if_done(index) else {
                state.slots[index] = Slot::Waiting(Some(context.waker().clone()));
                return Poll::Pending;
            };
            completion
        };
        self.index = None;
        Poll::Ready(completion)
    }
}

impl State {
    fn release_if_done(&mut self, index: usize) -> Option<Completion> {
        if !matches!(self.slots[index], Slot::Done(_)) {
            return None;
        }
        match self.release(index) {
            Slot::Done(completion) => Some(completion),
            _ => None,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        let mut state = self.state.borrow_mut();
        match state.release_if_done(index) {
            Some(completion) => state.give_back(completion),
            None => state.slots[index] = Slot::Abandoned,
        }
    }
}

fn file_result(completion: Completion) -> FileResult {
    match completion {
        Completion::File(result) => result,
        Completion::Connected(_) => Err(wrong_kind().into()),
    }
}

/// The driver answered with another kind of event than was asked for.
fn wrong_kind() -> io::Error {
    io::Error::other("the driver answered another question")
}
