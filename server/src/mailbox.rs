//! What travels between shards. Every message carries its sender's time; an answer goes home in the node of the question.
//!
//! ```text
//!   connection's shard                                   owner's shard
//!   Batch of requests  ── Message::Requests ──────────>  runs each, encodes the replies into the batch
//!                      <───────── Message::Replies ────  the same node
//!                      <───────── Message::Piece ──────  of a long reply, one for each Credit and a few ahead
//!                       ── Message::Credit ───────────>
//!   a long command      ── Message::Ask ──────────────>  looks keys up as they were at the command's instant
//!                      <───────── Message::Answer ─────
//!   Part of a multicast ── Message::Part ─────────────>  runs at its position when granted and flagged
//!                      <──────── Message::PartDone ────  the same node
//! ```

use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use crate::core::connection::{ConnectionKey, MovedConnection, RunId};
use crate::reactor::driver::DetachedSocket;
use std::sync::Arc;
use torc_engine::command::{FindFilter, Milliseconds};
use torc_engine::keyspace::OwnedEntry;
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::ClientContext;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::transaction::overlay::{Finish, Gathered, KeyRead};
use torc_engine::transaction::schedule::{Claim, Ticket};

/// A message in its node.
pub type Envelope = Box<Node<Message>>;

/// What a shard tells another.
#[derive(Debug)]
pub enum Message {
    /// Commands for keys that the receiver owns.
    Requests(Batch),
    /// The same batch, answered.
    Replies(Batch),
    /// A part of a multicast.
    Part(Part),
    /// The same part, done.
    PartDone(Part),
    /// The next piece of a long reply.
    Piece(Box<Piece>),
    /// The client has room for more of a long reply, or none is wanted any more.
    Credit { run: RunId, is_wanted: bool },
    /// A long command asks what keys held at its instant.
    Ask(Box<Ask>),
    /// The same, answered.
    Answer(Box<Ask>),
    /// Memory is short: the receiver is to evict what it owes (`core::memory`).
    Evict,
    /// A new connection, accepted by the shard that listens.
    Adopt(DetachedSocket),
    /// A connection that moves here with its session.
    Move(Box<MovedConnection>),
}

/// What keys of one shard held at the instant of a command that another shard coordinates.
#[derive(Debug)]
pub struct Ask {
    /// The shard that coordinates it, and the transaction there: which instant is meant.
    pub unit: (usize, u64),
    /// The command's name there, as one that is worked off in slices.
    pub run: RunId,
    /// The keys, and which of those asked for each is.
    pub keys: Vec<(usize, Vec<u8>)>,
    /// What they held, in the same order.
    pub values: Vec<Option<OwnedEntry>>,
}

/// A piece of a reply that its owner's shard produces in slices.
#[derive(Debug)]
pub struct Piece {
    /// The command, as the connection's shard has asked it.
    pub request: Request,
    /// The shard that works on it.
    pub owner: usize,
    /// Its name there.
    pub run: RunId,
    /// What is new of the reply.
    pub reply: ReplyBuffer,
    /// Whether that is the end of it.
    pub is_last: bool,
}

/// Arguments of one or many commands, packed so that they can travel.
#[derive(Debug, Default, Clone)]
pub struct PackedArguments {
    /// All of them, without gaps.
    pub bytes: Vec<u8>,
    /// End of each in `bytes`; an argument starts where the one before it ends.
    ends: Vec<usize>,
}

impl PackedArguments {
    /// Copies one command's arguments.
    pub fn new(arguments: &[&[u8]]) -> Self {
        let mut packed = Self::default();
        packed.add(arguments);
        packed
    }

    /// Copies a command's arguments behind those that are there; returns the index of the first.
    pub fn add(&mut self, arguments: &[&[u8]]) -> usize {
        let first = self.ends.len();
        for argument in arguments {
            self.bytes.extend_from_slice(argument);
            self.ends.push(self.bytes.len());
        }
        first
    }

    /// `count` arguments from the index `first` on.
    pub fn range(&self, first: usize, count: usize) -> smallvec::SmallVec<[&[u8]; 8]> {
        let mut from = if first == 0 { 0 } else { self.ends[first - 1] };
        let ends = self.ends[first..first + count].iter();
        ends.map(|&end| &self.bytes[std::mem::replace(&mut from, end)..end]).collect()
    }

    /// All arguments.
    pub fn slices(&self) -> smallvec::SmallVec<[&[u8]; 8]> {
        self.range(0, self.ends.len())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// What a reused batch keeps of an unusually large buffer, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// One command in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who asked, on the batch's origin.
    pub connection: ConnectionKey,
    /// Where the reply belongs among the connection's replies.
    pub sequence: u64,
    /// What.
    pub entry: &'static CommandEntry,
    /// For whom.
    pub client: ClientContext,
    /// Slot and hash of its only key.
    pub key: Option<(u16, u64)>,
    /// Whether it counts as under way on the connection's own shard.
    pub here: bool,
    /// Index of the first argument in the batch's list of ends, and how many there are.
    pub first_argument: u32,
    /// Number of arguments.
    pub argument_count: u32,
}

/// Where a request's reply ends in the batch's reply buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyEnd {
    /// Here: (end in `bytes`, end in `shared`).
    At(usize, usize),
    /// It waits for a lock and comes in a message of its own.
    Later,
}

/// Commands of one shard's connections for one owner.
#[derive(Debug)]
pub struct Batch {
    /// Where the connections are.
    pub origin: usize,
    /// Where the keys are.
    pub owner: usize,
    /// The sender's time.
    pub now: Milliseconds,
    /// The commands in order.
    pub requests: Vec<Request>,
    /// Their arguments.
    pub arguments: PackedArguments,
    /// The replies.
    pub replies: ReplyBuffer,
    /// One for each request that has been looked at.
    pub reply_ends: Vec<ReplyEnd>,
}

impl Batch {
    /// An empty batch.
    pub fn new(origin: usize, owner: usize) -> Self {
        Self {
            origin,
            owner,
            now: 0,
            requests: Vec::new(),
            arguments: PackedArguments::default(),
            replies: ReplyBuffer::default(),
            reply_ends: Vec::new(),
        }
    }

    /// Adds a command, copying its arguments.
    pub fn add(&mut self, request: Request, arguments: &[&[u8]]) {
        let first_argument = self.arguments.add(arguments) as u32;
        self.requests.push(Request { first_argument, argument_count: arguments.len() as u32, ..request });
    }

    /// Makes the batch usable again, without the memory of an unusually large one.
    pub fn reset(&mut self) {
        self.requests.clear();
        self.arguments.clear();
        self.reply_ends.clear();
        self.replies.clear();
        self.replies.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// A command that waits for a lock, with everything that it needs.
#[derive(Debug)]
pub struct Deferred {
    /// Where its connection is.
    pub origin: usize,
    /// The shard's time when it arrived: that of its position.
    pub now: Milliseconds,
    /// The command.
    pub request: Request,
    /// Its arguments.
    pub arguments: PackedArguments,
}

/// What a part of a multicast is to do on its shard.
#[derive(Debug)]
pub enum Work {
    /// One hop: run the command on the arguments that belong here.
    Command { entry: &'static CommandEntry, client: ClientContext, arguments: PackedArguments },
    /// First hop: read these keys and hold the locks; or begin an instant, and hold what may be written.
    Read { keys: Vec<KeyRead>, instant: Option<Arc<InstantRequest>> },
    /// Last hop: write, and release what the ticket holds.
    Write { ticket: Ticket, finish: Finish },
    /// The server's own: no keys.
    Control(Arc<ControlRequest>),
}

/// Which keys a command may ask for after its first hop.
#[derive(Debug)]
pub struct InstantRequest {
    /// What tells them from others.
    pub filter: FindFilter,
    /// The command's arguments.
    pub arguments: PackedArguments,
    /// Its database.
    pub database: usize,
}

/// What became of it.
#[derive(Debug, Default)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    None,
    /// The encoded reply of the part.
    Reply(ReplyBuffer),
    /// The values read, and the ticket under which the locks are held.
    Values { ticket: Ticket, gathered: Gathered },
    /// The server's own.
    Control(ControlReply),
}

/// One shard's part of a multicast.
#[derive(Debug)]
pub struct Part {
    /// What all parts share.
    pub header: Arc<Multicast>,
    /// The shard that sent it.
    pub coordinator: usize,
    /// The transaction there.
    pub transaction: u64,
    /// Which part of it this is.
    pub index: usize,
    /// Its locks.
    pub claim: Claim,
    /// What to do.
    pub work: Work,
    /// What came of it.
    pub outcome: Outcome,
}
