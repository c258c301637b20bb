//! A file of commands goes through a connection of the server's own: as any client's do, on all shards, in order, with
//! transactions, scripts and databases. Nobody reads the replies.
//!
//! ```text
//!   file ──> pieces ──> Frames: whole commands, and up to where the file is whole ──> connection of shard 0 ──> all shards
//!                                                                                     at most BACKLOG_MAX wait there
//! ```
//!
//! While the server loads, time stands still in the past: what a log says about keys is done to them, whether or not their
//! time is over by now. A transaction that the file does not end is never run: the connection only queues it.

use crate::core::Core;
use crate::core::connection::{ConnectionFigures, ConnectionKey, SessionState};
use crate::reactor::driver::{Ends, Socket};
use crate::reactor::operations::FileHandle;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_persistence::aof::frames::{BadFrame, End, Frame, Frames};

/// The socket of the connection that has none.
pub const NOWHERE: Socket = Socket(u32::MAX);

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes that wait at the connection while more is read.
const BACKLOG_MAX: usize = 512 << 10;

/// How far a file could be read.
#[derive(Debug)]
pub struct Fed {
    /// Up to here it holds whole commands and transactions.
    pub whole: u64,
    /// Where reading stopped, if that is not the end.
    pub stopped: Option<Stopped>,
}

/// Why reading stopped before the end of the file.
#[derive(Debug)]
pub enum Stopped {
    /// The last command is not whole.
    InCommand,
    /// The last transaction is not.
    InTransaction,
    /// What stands there is no command.
    Bad(BadFrame),
}

/// Why a file could not be fed.
#[derive(Debug)]
pub enum FeedFailure {
    /// It cannot be read.
    Unreadable(io::Error),
    /// There is no such command.
    Unknown(Vec<u8>, u64),
}

impl Core {
    /// A connection that no client has.
    pub fn admit_own(&mut self) -> ConnectionKey {
        self.shared.gauges[self.index].connections.fetch_add(1, Ordering::Relaxed);
        let session = SessionState { authenticated: true, ..SessionState::default() };
        self.insert_connection(0, Some(NOWHERE), Ends::default(), session, ConnectionFigures::default())
    }

    /// How many bytes a connection has sent that have not been run; nothing if all of its commands are answered.
    fn backlog_of(&mut self, key: ConnectionKey) -> Option<usize> {
        let connection = self.connection_mut(key)?;
        let bytes = connection.query_buffer.len();
        (bytes > 0 || connection.outstanding() > 0 || connection.paused).then_some(bytes)
    }
}

/// Feeds what a file has from an offset on.
pub async fn feed(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    file: &FileHandle,
    (offset, length): (u64, u64),
) -> Result<Fed, FeedFailure> {
    let key = tasks.on_core(Core::admit_own).await;
    let fed = feed_to(tasks, shared, file, (offset, length), key).await;
    // All of it has been done, on all shards.
    while tasks.on_core(move |core| core.backlog_of(key)).await.is_some() {
        tasks.executor.sleep(Duration::ZERO).await;
    }
    tasks.on_core(move |core| core.kill(key)).await;
    fed
}

async fn feed_to(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    file: &FileHandle,
    (mut offset, length): (u64, u64),
    key: ConnectionKey,
) -> Result<Fed, FeedFailure> {
    let mut frames = Frames::new(offset, length);
    let mut buffer = Vec::with_capacity(PIECE_BYTES);
    loop {
        buffer.clear();
        buffer = file.read_at(offset, buffer).await.map_err(|failure| FeedFailure::Unreadable(failure.error))?;
        if buffer.is_empty() {
            let stopped = match frames.end() {
                End::Whole => None,
                End::InFrame => Some(Stopped::InCommand),
                End::InTransaction => Some(Stopped::InTransaction),
            };
            return Ok(Fed { whole: frames.whole_up_to(), stopped });
        }
        offset += buffer.len() as u64;
        frames.push(&buffer);
        let mut commands = Vec::with_capacity(buffer.len());
        let bad = loop {
            match frames.next_frame() {
                Ok(None) => break None,
                Ok(Some(Frame::Remark { .. })) => {}
                Ok(Some(Frame::Command(command))) => {
                    if shared.table.find(command.name()).is_none() {
                        return Err(FeedFailure::Unknown(command.name().to_vec(), command.offset));
                    }
                    commands.extend_from_slice(command.bytes);
                }
                Err(bad) => break Some(bad),
            }
        };
        shared.loading.bytes_done.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let mut backlog = tasks
            .on_core(move |core| {
                core.received(key, &commands);
                core.backlog_of(key)
            })
            .await;
        while backlog.is_some_and(|bytes| bytes > BACKLOG_MAX) {
            tasks.executor.sleep(Duration::ZERO).await;
            backlog = tasks.on_core(move |core| core.backlog_of(key)).await;
        }
        if let Some(bad) = bad {
            let stopped = if bad.is_cut() { Stopped::InCommand } else { Stopped::Bad(bad) };
            return Ok(Fed { whole: frames.whole_up_to(), stopped: Some(stopped) });
        }
    }
}
