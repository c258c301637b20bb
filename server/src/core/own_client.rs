//! A client of the server's own: a task that sends commands as any client does, and waits for their replies.
//!
//! ```text
//!   task: client.ask(commands, replies).await ── errand ──> Core::received(key, bytes) ──> all shards
//!      └─ woken <── bytes of replies gather here <── Core::answered_own <── what would go to its socket
//! ```
//! So a procedure of the server that is about keys needs no code for locks, order, transactions or several shards: it says WATCH, MULTI
//! and EXEC. Nothing that is meant to keep clients away holds it up (a pause, the limit of memory, a disk that fails), since it acts for
//! a command that has come past all that; CLIENT LIST, MONITOR and the counts of clients do not show it.
//!
//! Invariant: a client asks one question at a time, so what gathers is bounded by what it has asked for.

use super::Core;
use super::connection::{Connection, ConnectionFigures, ConnectionKey, SessionState};
use crate::access::Access;
use crate::reactor::driver::{Ends, Segment, Socket};
use crate::tasks::Tasks;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use torc_engine::command::parse_integer;
use torc_engine::journal::write_command;

/// The socket of a connection that has none.
pub const NOWHERE: Socket = Socket(u32::MAX);

/// Where replies of one client gather.
#[derive(Default)]
struct Replies {
    bytes: RefCell<Vec<u8>>,
    waker: Cell<Option<Waker>>,
}

/// The clients of the server's own on a shard. Clones share one state.
#[derive(Clone, Default)]
pub struct OwnClients(Rc<RefCell<Vec<Known>>>);

/// One of them, and where its replies gather.
type Known = (ConnectionKey, Rc<Replies>);

impl OwnClients {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn replies(&self, key: ConnectionKey) -> Option<Rc<Replies>> {
        self.0.borrow().iter().find(|(other, _)| *other == key).map(|(_, replies)| replies.clone())
    }
}

impl Connection {
    /// Whether it is one of the server's own.
    #[inline]
    pub fn is_own(&self) -> bool {
        self.socket == Some(NOWHERE)
    }
}

impl Core {
    /// A connection that no client has.
    pub fn admit_own(&mut self) -> ConnectionKey {
        self.shared.gauges[self.index].connections.fetch_add(1, Ordering::Relaxed);
        let session = SessionState::new(Access::of_the_server(&self.users));
        self.insert_connection(0, Some(NOWHERE), Ends::default(), session, ConnectionFigures::default())
    }

    /// Whether a connection has sent commands that are not answered.
    pub fn has_backlog(&mut self, key: ConnectionKey) -> bool {
        self.connection_mut(key).is_some_and(|connection| {
            !connection.query_buffer.is_empty() || connection.outstanding() > 0 || connection.paused
        })
    }

    /// What a client of our own is answered.
    pub fn answered_own(&mut self, key: ConnectionKey, segments: Vec<Segment>) {
        if let Some(replies) = self.tasks.own_clients.replies(key) {
            let mut bytes = replies.bytes.borrow_mut();
            segments.iter().for_each(|segment| bytes.extend_from_slice(segment.as_slice()));
            if let Some(waker) = replies.waker.take() {
                waker.wake();
            }
        }
        self.sent(key, segments, Ok(()));
    }
}

/// A reply, of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnReply {
    /// `+` or `:`.
    Plain(Vec<u8>),
    /// `-`.
    Error(Vec<u8>),
    /// A text.
    Bulk(Vec<u8>),
    /// Nothing.
    Null,
    /// Several, of which only the number is told.
    Array(usize),
}

impl OwnReply {
    /// As a number.
    pub fn integer(&self) -> Option<i64> {
        if let Self::Plain(text) = self { parse_integer(text) } else { None }
    }
}

/// It; gone when it is dropped.
pub struct OwnClient {
    tasks: Tasks,
    key: ConnectionKey,
    replies: Rc<Replies>,
}

impl OwnClient {
    /// On the tasks' shard, with a database selected.
    pub async fn new(tasks: &Tasks, database: u32) -> Self {
        let replies = Rc::new(Replies::default());
        let kept = replies.clone();
        let admit = move |core: &mut Core| {
            let key = core.admit_own();
            core.tasks.own_clients.0.borrow_mut().push((key, kept));
            if let Some(connection) = core.connection_mut(key) {
                connection.session.client.database = database;
            }
            key
        };
        let key = tasks.on_core(admit).await;
        Self { tasks: tasks.clone(), key, replies }
    }

    /// Sends commands, and waits for so many replies.
    pub async fn ask(&self, commands: Vec<u8>, count: usize) -> Vec<OwnReply> {
        let key = self.key;
        self.tasks.on_core(move |core| core.received(key, &commands)).await;
        let (mut replies, mut position) = (Vec::with_capacity(count.min(64)), 0);
        poll_fn(|context| {
            let mut bytes = self.replies.bytes.borrow_mut();
            while let Some((reply, end)) = parse(&bytes, position) {
                position = end;
                replies.push(reply);
            }
            if replies.len() < count {
                self.replies.waker.set(Some(context.waker().clone()));
                return Poll::Pending;
            }
            *bytes = Vec::new();
            Poll::Ready(())
        })
        .await;
        replies
    }

    /// One command, one reply.
    pub async fn call(&self, arguments: &[&[u8]]) -> OwnReply {
        let mut command = Vec::new();
        write_command(&mut command, arguments);
        self.ask(command, 1).await.pop().unwrap_or(OwnReply::Null)
    }
}

impl Drop for OwnClient {
    fn drop(&mut self) {
        let key = self.key;
        self.tasks.leave(Box::new(move |core| {
            core.tasks.own_clients.0.borrow_mut().retain(|(other, _)| *other != key);
            core.kill(key);
        }));
    }
}

/// The reply at a position, and where it ends; nothing if it is not all there.
fn parse(bytes: &[u8], position: usize) -> Option<(OwnReply, usize)> {
    let Line { kind, text, end } = line(bytes, position)?;
    let text = &bytes[text];
    let count = || parse_integer(text).and_then(|count| usize::try_from(count).ok());
    match kind {
        b'+' | b':' => Some((OwnReply::Plain(text.to_vec()), end)),
        b'-' => Some((OwnReply::Error(text.to_vec()), end)),
        b'$' => match count() {
            None => Some((OwnReply::Null, end)),
            Some(length) => {
                let content = bytes.get(end..end + length)?;
                (bytes.len() >= end + length + 2).then(|| (OwnReply::Bulk(content.to_vec()), end + length + 2))
            }
        },
        _ => match count() {
            None => Some((OwnReply::Null, end)),
            Some(count) => {
                let mut end = end;
                for _ in 0..count {
                    end = parse(bytes, end)?.1;
                }
                Some((OwnReply::Array(count), end))
            }
        },
    }
}

/// A line of a reply.
struct Line {
    kind: u8,
    text: Range<usize>,
    end: usize,
}

fn line(bytes: &[u8], position: usize) -> Option<Line> {
    let rest = bytes.get(position..)?;
    let length = memchr::memchr(b'\n', rest)?;
    let text_end = position + length.saturating_sub(1);
    Some(Line { kind: *rest.first()?, text: position + 1..text_end.max(position + 1), end: position + length + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_off_where_they_end_and_only_when_they_are_whole() {
        let bytes = b"+OK\r\n:12\r\n$-1\r\n$3\r\na\n\r\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n-ERR no\r\n";
        let text = |text: &str| text.as_bytes().to_vec();
        let expected = [
            OwnReply::Plain(text("OK")),
            OwnReply::Plain(text("12")),
            OwnReply::Null,
            OwnReply::Bulk(text("a\n\r")),
            OwnReply::Null,
            OwnReply::Array(2),
            OwnReply::Error(text("ERR no")),
        ];
        let (mut position, mut ends) = (0, vec![0]);
        for expected in &expected {
            let (reply, end) = parse(bytes, position).expect("whole");
            assert_eq!(reply, *expected);
            position = end;
            ends.push(end);
        }
        assert_eq!(position, bytes.len());
        for length in 0..bytes.len() {
            let begun = ends.iter().rev().find(|end| **end <= length).copied().unwrap_or(0);
            assert_eq!(parse(&bytes[..length], begun), None, "{length}");
        }
        assert_eq!(expected[1].integer(), Some(12));
    }
}
