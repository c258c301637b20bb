//! The seam between a shard and the kernel. Two drivers stand behind it: `uring` (the ring) and `simulated` (a virtual
//! clock, network and disk from a seed). Everything that a shard waits for comes out of [`Driver::turn`] as an [`Event`];
//! nothing else in the server may block, read a clock or touch a descriptor.
//!
//! ```text
//!        submit (queued, no system call)                 turn: one submit, then reap
//!   shard ───────────────────────────────> driver ───────────────────────────────> kernel / simulated world
//!         <─────────────── Vec<Event> ────────────
//! ```
//!
//! Rules that both drivers keep and the tests rely on:
//! 1. At most one receive stream and one send are under way per socket.
//! 2. A buffer named by [`Event::Received`] stays valid and unchanged until [`Driver::recycle`] gives it back.
//! 3. Everything handed in comes back exactly once: a send with [`Event::Sent`], a file operation with
//!    [`Event::FileDone`], a receive stream with [`Event::ReceiveEnded`] after its last data, also on cancellation
//!    and close; so a connection's slot may be reused only when nothing of it is under way.
//! 4. `wake` reaches a peer that sleeps in `turn` and costs nothing lasting for one that does not.

use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What the owner of an operation wants back with its events, usually a slab index and a generation.
pub type Tag = u64;

/// A connected or listening socket as its driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub u32);

/// A filled receive buffer, lent by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub u16);

/// An open file as its driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File(pub u32);

/// The two clocks, read together once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Clock {
    /// Nanoseconds of a clock that never goes back.
    pub monotonic_ns: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
}

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix socket; the mode is set on the path after binding (listen only).
    Unix { path: PathBuf, mode: Option<u32> },
}

/// The two ends of a connection, as text for CLIENT LIST (`127.0.0.1:5`, `/tmp/s:0`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ends {
    /// The client's.
    pub peer: String,
    /// Ours.
    pub local: String,
    /// Whether the peer is on this machine by a loopback address or a Unix socket (protected-mode lets these in).
    pub is_loopback: bool,
    /// Whether it is a Unix socket.
    pub is_unix: bool,
    /// The descriptor's number, where there is one.
    pub descriptor: Option<i32>,
}

/// One piece of an outgoing message.
#[derive(Debug)]
pub enum Segment {
    /// Bytes from the connection's output buffer; the vector comes home in [`Event::Sent`] for reuse.
    Owned(Vec<u8>),
    /// A stored value, sent from where it is.
    Shared(Bytes),
}

impl Segment {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// When the event of a send is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// As soon as all is taken.
    Prompt,
    /// With the next turn, whatever makes it: the event ends no wait, unless the send fails or cannot be taken at once.
    WithNext,
}

/// How long [`Driver::turn`] may wait for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Submit and reap what is there.
    Not,
    /// Until an event, or until the monotonic clock reaches this.
    Until(u64),
    /// Until so many events other than the ends of sends, or for so long: one wake-up for several of them.
    Gather { events: u32, at_most_ns: u64 },
    /// Until an event.
    Forever,
}

/// What a write is beside others for the same disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    #[default]
    Normal,
    /// It gives way, where the disk's scheduler knows priorities.
    Background,
}

/// A file operation; paths are relative to the process's directory or absolute. Buffers travel with the operation.
#[derive(Debug)]
pub enum FileOperation {
    /// Opens; `create` truncates nothing by itself.
    Open { path: PathBuf, read: bool, write: bool, create: bool, truncate: bool, append: bool, mode: u32 },
    /// Reads up to the buffer's capacity at an offset.
    Read { file: File, offset: u64, buffer: Vec<u8> },
    /// Writes the buffer at an offset; may be short. Where `durable`, what was written, and the file's length, is on disk when it
    /// is done; a failure says no more of what is than a failed `Sync` does.
    Write { file: File, offset: u64, buffer: Vec<u8>, durable: bool, urgency: Urgency },
    /// fsync, or fdatasync where `data_only`.
    Sync { file: File, data_only: bool },
    /// Reserves or frees space up to `length`.
    Truncate { file: File, length: u64 },
    /// Atomically puts `from` in the place of `to`.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file.
    Unlink { path: PathBuf },
    /// fsync of a directory, so that a rename in it lasts.
    SyncDirectory { path: PathBuf },
    /// Closes.
    Close { file: File },
}

/// What a file operation came to.
#[derive(Debug)]
pub enum FileOutcome {
    /// From `Open`.
    Opened(File),
    /// From `Read` and `Write`: how many bytes, and the buffer back (a read's is cut to what was read).
    Transferred(usize, Vec<u8>),
    /// From the others.
    Done,
}

/// Why a file operation failed, and the buffer that was handed in with it.
#[derive(Debug)]
pub struct FileFailure {
    /// What the system says.
    pub error: io::Error,
    /// Of a read (its content is nobody's promise) or of a write (as it was handed in); else none.
    pub buffer: Option<Vec<u8>>,
}

impl FileFailure {
    /// Of a read or write.
    pub fn with_buffer(error: io::Error, buffer: Vec<u8>) -> Self {
        Self { error, buffer: Some(buffer) }
    }
}

impl From<io::Error> for FileFailure {
    fn from(error: io::Error) -> Self {
        Self { error, buffer: None }
    }
}

impl From<FileFailure> for io::Error {
    fn from(failure: FileFailure) -> Self {
        failure.error
    }
}

/// How a file operation ended.
pub type FileResult = Result<FileOutcome, FileFailure>;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A connection on a listener. The tag is the listener's.
    Accepted { tag: Tag, socket: Socket },
    /// Accepting failed (for example too few descriptors); the driver goes on listening by itself after a pause.
    AcceptFailed { tag: Tag, error: io::Error },
    /// Bytes arrived; give the buffer back with [`Driver::recycle`].
    Received { tag: Tag, buffer: BufferId },
    /// The receive stream is over: end of file (`Ok`), an error, or cancelled (`ErrorKind::Interrupted`).
    ReceiveEnded { tag: Tag, result: io::Result<()> },
    /// A send is over; all of it was taken by the kernel, or the error. The segments come back for reuse.
    Sent { tag: Tag, segments: Vec<Segment>, result: io::Result<()> },
    /// An outgoing connection is there, or failed.
    Connected { tag: Tag, result: io::Result<Socket> },
    /// A file operation is over; its buffer comes back either way.
    FileDone { tag: Tag, result: FileResult },
    /// Another shard called [`Driver::wake`] for us, or [`Waker::wake`] was called from another thread.
    Woken,
}

/// Options of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Seconds between keepalive probes; 0 switches them off.
    pub keepalive_s: u32,
    /// TCP_NODELAY.
    pub no_delay: bool,
}

/// Wakes a shard from outside of any shard thread (signals, control plane). Shards use [`Driver::wake`].
pub trait Waker: Send + Sync {
    /// Makes the shard's `turn` return soon.
    fn wake(&self);
}

/// The kernel, or a simulated world, as one shard sees it. Not `Send`: made and used on the shard's thread.
pub trait Driver {
    /// The clocks now.
    fn clock(&self) -> Clock;

    /// CPU time that this shard's thread has used, in nanoseconds.
    fn busy_ns(&self) -> u64;

    /// Binds, listens and accepts from now on. With `reuse_port`, several shards may listen on one address.
    fn listen(&mut self, address: &Address, backlog: u32, reuse_port: bool, tag: Tag) -> io::Result<Socket>;

    /// Accepts from now on where a socket of the system listens already, bound to this address. A simulated world has no
    /// such sockets.
    fn accept_on(&mut self, listener: OwnedFd, address: &Address, tag: Tag) -> Socket;

    /// Options of a connection.
    fn configure(&mut self, socket: Socket, options: SocketOptions);

    /// Both ends of a connection.
    fn ends(&self, socket: Socket) -> Ends;

    /// Starts the receive stream of a connection.
    fn start_receiving(&mut self, socket: Socket, tag: Tag);

    /// Ends it; [`Event::ReceiveEnded`] follows after data that was under way.
    fn stop_receiving(&mut self, socket: Socket, tag: Tag);

    /// The bytes of a received buffer.
    fn received(&self, buffer: BufferId) -> &[u8];

    /// Gives a received buffer back.
    fn recycle(&mut self, buffer: BufferId);

    /// Sends all segments in order; one [`Event::Sent`] when all are taken, or on error.
    fn send(&mut self, socket: Socket, segments: Vec<Segment>, tag: Tag, notice: Notice);

    /// Ends both directions at once without giving the descriptor back, so that a receive and a send under way end.
    fn shutdown(&mut self, socket: Socket);

    /// Gives the descriptor of a listener or of a connection back; nothing of it may be under way, but for a listener's accept.
    fn close(&mut self, socket: Socket);

    /// Connects.
    fn connect(&mut self, address: &Address, tag: Tag);

    /// Takes a connection out of this driver for another shard's: nothing of it may be under way.
    fn detach(&mut self, socket: Socket) -> DetachedSocket;

    /// Takes in a connection that another shard's driver detached.
    fn attach(&mut self, socket: DetachedSocket) -> Socket;

    /// Starts a file operation.
    fn file(&mut self, operation: FileOperation, tag: Tag);

    /// Wakes another shard; goes out with the next submit.
    fn wake(&mut self, shard: usize);

    /// Submits everything queued in one system call, waits as told, and appends what happened to `events`.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;
}

/// A connection between two drivers; may travel to another thread.
#[derive(Debug)]
pub struct DetachedSocket(pub i64);
