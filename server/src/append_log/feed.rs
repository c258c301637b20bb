//! A file of commands goes through connections of the server's own: as any client's do, with transactions, scripts and
//! databases. Nobody reads the replies.
//!
//! ```text
//!   file ──> Pieces ──> Frames: whole commands, and up to where the file is whole ──> Lanes ──> a connection of each shard
//! ```
//!
//! While the server loads, time stands still in the past: what a log says about keys is done to them, whether or not their
//! time is over by now. A transaction that the file does not end is never run.

use super::lanes::Lanes;
use crate::loading::Pieces;
use crate::reactor::operations::FileHandle;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_persistence::aof::frames::{BadFrame, End, Frame, Frames};

/// Bytes that are looked at at a time.
const PIECE_BYTES: usize = 256 << 10;

/// How far a file could be read.
#[derive(Debug)]
pub(super) struct Fed {
    /// Up to here it holds whole commands and transactions.
    pub whole: u64,
    /// Where reading stopped, if that is not the end.
    pub stopped: Option<Stopped>,
}

/// Why reading stopped before the end of the file.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The last command is not whole.
    InCommand,
    /// The last transaction is not.
    InTransaction,
    /// What stands there is no command.
    Bad(BadFrame),
}

/// Why a file could not be fed.
#[derive(Debug)]
pub(super) enum FeedFailure {
    /// It cannot be read.
    Unreadable(io::Error),
    /// There is no such command.
    Unknown(Vec<u8>, u64),
}

/// Feeds what a file has from an offset on.
pub(super) async fn feed(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    file: &Rc<FileHandle>,
    (offset, length): (u64, u64),
) -> Result<Fed, FeedFailure> {
    let mut lanes = Lanes::open(tasks, shared).await;
    let fed = feed_to(tasks, shared, file, (offset, length), &mut lanes).await;
    lanes.close().await;
    fed
}

async fn feed_to(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    file: &Rc<FileHandle>,
    (offset, length): (u64, u64),
    lanes: &mut Lanes,
) -> Result<Fed, FeedFailure> {
    let pieces = Pieces::of(tasks, file.clone(), offset);
    let mut frames = Frames::new(offset, length);
    loop {
        let piece = pieces.next().await.map_err(FeedFailure::Unreadable)?;
        if piece.is_empty() {
            let stopped = match frames.end() {
                End::Whole => None,
                End::InFrame => Some(Stopped::InCommand),
                End::InTransaction => Some(Stopped::InTransaction),
            };
            return Ok(Fed { whole: frames.whole_up_to(), stopped });
        }
        frames.push(&piece);
        let bad = loop {
            match frames.next_frame() {
                Ok(None) => break None,
                Ok(Some(Frame::Remark { .. })) => {}
                Ok(Some(Frame::Command(command))) => lanes.take(&command).await?,
                Err(bad) => break Some(bad),
            }
        };
        shared.loading.bytes_done.fetch_add(piece.len() as u64, Ordering::Relaxed);
        pieces.give_back(piece);
        lanes.send_full().await;
        if let Some(bad) = bad {
            let whole = frames.whole_up_to();
            let is_cut = bad.is_cut() || is_empty_from(file, whole.max(bad.offset)).await?;
            let stopped = if is_cut { Stopped::InCommand } else { Stopped::Bad(bad) };
            return Ok(Fed { whole, stopped: Some(stopped) });
        }
    }
}

/// Whether the file has nothing but zeros from an offset on: what a system leaves that had made the file longer, and lost its
/// power before it wrote what belongs there. It is no more than a file that ends too early.
async fn is_empty_from(file: &FileHandle, mut offset: u64) -> Result<bool, FeedFailure> {
    loop {
        let piece = file.read_at(offset, Vec::with_capacity(PIECE_BYTES)).await;
        let piece = piece.map_err(|failure| FeedFailure::Unreadable(failure.error))?;
        if piece.is_empty() || piece.iter().any(|byte| *byte != 0) {
            return Ok(piece.is_empty());
        }
        offset += piece.len() as u64;
    }
}
