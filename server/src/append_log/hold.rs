//! Replies that wait for the log, between the core and the driver: to the core such a send is under way.
//!
//! They go in the order in which they came, so each waits for the first one at most as long as for itself: what a later one
//! waits for is never less. A connection has one send under way, so none overtakes another of its own.

use super::{AppendLog, Awaited};
use crate::reactor::driver::{Notice, Segment, Socket, Tag};
use std::collections::VecDeque;

/// A send that has not begun.
#[derive(Debug)]
pub struct Send {
    /// Where to.
    pub socket: Socket,
    /// What.
    pub segments: Vec<Segment>,
    /// Whose.
    pub tag: Tag,
    /// When its end is wanted.
    pub notice: Notice,
}

/// A shard's replies that wait.
#[derive(Debug, Default)]
pub struct Withheld {
    sends: VecDeque<(Awaited, Send)>,
}

impl Withheld {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// One more.
    pub fn push(&mut self, awaited: Awaited, send: Send) {
        self.sends.push_back((awaited, send));
    }

    /// The next one that may go.
    pub fn pop(&mut self, log: &AppendLog) -> Option<Send> {
        let (awaited, _) = self.sends.front()?;
        if log.has_reached(*awaited) { self.sends.pop_front().map(|(_, send)| send) } else { None }
    }

    /// The send of a socket that is to be closed: it will not go.
    pub fn take(&mut self, socket: Socket) -> Option<Send> {
        let index = self.sends.iter().position(|(_, send)| send.socket == socket)?;
        self.sends.remove(index).map(|(_, send)| send)
    }
}
