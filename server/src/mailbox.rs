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
//!   what subscribers   ── Message::Notices ──────────>  tells its connections
//!   are to be told     <──────── Message::NoticesTold ─  the same, for the credit
//!   Part of a multicast ── Message::Part ─────────────>  runs at its position when granted and flagged
//!                      <──────── Message::PartDone ────  the same node
//!   transactions in company ── Message::Units ────────>  runs one after the other, in the order of all such
//!                      <──────── Message::UnitsDone ───  the same node;  UnitLate: of one that had to wait
//!   watched keys        ── Message::Unwatch ──────────>  forgets them; nobody waits for that
//!   a slow command      <───── Message::Noted ────────  remembered with the client's name
//!   a client that waits ── Message::Forget, Recheck ──>  its lines
//!                      <───── Message::Served, Retry ──
//!   a script that must <──────────── Message::Rerun ──  undone, to be begun again with the shards that it needs
//!   have other shards
//! ```

use crate::access::User;
use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use crate::core::blocked::Waiter;
use crate::core::connection::{ConnectionKey, MovedConnection, RunId};
use crate::core::pubsub::Notices;
use crate::core::script_step::Rerun;
use crate::insight::command_log::Noted;
use crate::reactor::driver::DetachedSocket;
use crate::tasks::Assignment;
use std::num::NonZeroU16;
use std::sync::Arc;
use torc_engine::command::{FindFilter, Milliseconds};
use torc_engine::keyspace::{OwnedEntry, Watcher};
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
    /// Transactions that need one stage.
    Units(Box<UnitBatch>),
    /// The same, done but for those that had to wait.
    UnitsDone(Box<UnitBatch>),
    /// One of those, done.
    UnitLate(Box<LateUnit>),
    /// The next piece of a long reply.
    Piece(Box<Piece>),
    /// The client has room for more of a long reply, or none is wanted any more.
    Credit { run: RunId, is_wanted: bool },
    /// A long command asks what keys held at its instant.
    Ask(Box<Ask>),
    /// The same, answered.
    Answer(Box<Ask>),
    /// A command of a connection of the receiver is to be remembered.
    Noted(Box<(ConnectionKey, Noted)>),
    /// It watches no more.
    Unwatch(Watcher),
    /// A client of the receiver that waited has been served.
    Served { number: u64, reply: ReplyBuffer },
    /// A client of the receiver that waits is to try again with all locks.
    Retry(Arc<Waiter>),
    /// A script of the receiver's connection has been undone: it is to be begun again.
    Rerun(Box<Rerun>),
    /// It waits no more.
    Forget(Arc<Waiter>),
    /// It was preferred, and has taken nothing.
    Recheck(Arc<Waiter>),
    /// What connections of the receiver are to be told.
    Notices(Box<Notices>),
    /// The same, told.
    NoticesTold(Box<Notices>),
    /// Memory is short: the receiver is to evict what it owes (`core::memory`).
    Evict,
    /// Clients take too much: the receiver's largest are to go (`core::client_memory`).
    EvictClients,
    /// A new connection, accepted by the shard that listens.
    Adopt(DetachedSocket, bool),
    /// Something that a task of another shard wants done (`tasks`).
    Assignment(Assignment),
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

/// Arguments of one or many commands in one run of bytes, so that they travel in few cache lines.
///
/// ```text
///   count u32 | length u32, bytes | length u32, bytes | ...   count u32 | ...        in this machine's order of bytes
///               length = u32::MAX: the true one follows as u64
/// ```
#[derive(Debug, Default, Clone)]
pub struct PackedArguments {
    bytes: Vec<u8>,
}

impl PackedArguments {
    /// Copies one command's arguments.
    pub fn new(arguments: &[&[u8]]) -> Self {
        let mut packed = Self::default();
        packed.add(arguments);
        packed
    }

    /// Copies a command's arguments behind those that are there.
    pub fn add(&mut self, arguments: &[&[u8]]) {
        self.bytes.extend_from_slice(&(arguments.len() as u32).to_ne_bytes());
        for argument in arguments {
            match u32::try_from(argument.len()) {
                Ok(length) if length < u32::MAX => self.bytes.extend_from_slice(&length.to_ne_bytes()),
                _ => {
                    self.bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
                    self.bytes.extend_from_slice(&(argument.len() as u64).to_ne_bytes());
                }
            }
            self.bytes.extend_from_slice(argument);
        }
    }

    /// Copies commands that are packed already: those in these bytes.
    pub fn add_packed(&mut self, source: &Self, range: std::ops::Range<usize>) {
        self.bytes.extend_from_slice(&source.bytes[range]);
    }

    /// Bytes that they take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The arguments of each command, in the order in which they were added.
    pub fn commands(&self) -> PackedCommands<'_> {
        PackedCommands { rest: &self.bytes }
    }

    /// The arguments of the first, or only, command.
    pub fn slices(&self) -> Arguments<'_> {
        self.commands().next().unwrap_or_default()
    }

    /// The arguments of the command that was added when there were so many bytes.
    pub fn slices_at(&self, offset: usize) -> Arguments<'_> {
        PackedCommands { rest: &self.bytes[offset..] }.next().unwrap_or_default()
    }

    /// Forgets them, and gives back the memory of unusually many.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// The commands in a run of packed arguments.
#[derive(Clone, Debug)]
pub struct PackedCommands<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PackedCommands<'a> {
    type Item = Arguments<'a>;

    #[inline]
    fn next(&mut self) -> Option<Arguments<'a>> {
        let rest = &mut self.rest;
        let count = take_u32(rest)?;
        let arguments = (0..count).map_while(|_| {
            let length = match take_u32(rest)? {
                u32::MAX => u64::from_ne_bytes(*rest.split_off(..8)?.first_chunk()?) as usize,
                length => length as usize,
            };
            rest.split_off(..length)
        });
        Some(arguments.collect())
    }
}

/// One command's arguments where they are packed.
pub type Arguments<'a> = smallvec::SmallVec<[&'a [u8]; 8]>;

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*rest.split_off(..4)?.first_chunk()?))
}

/// What a reused batch keeps of an unusually large buffer, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// One command in a batch. Small, because each travels to another core and is read again when it comes home.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who asked, on the batch's origin.
    pub connection: ConnectionKey,
    /// What.
    pub entry: &'static CommandEntry,
    /// For whom.
    pub client: ClientContext,
    /// Its only key; of a script, the user that it runs for.
    pub key: KnownKey,
    /// Where the reply belongs among the connection's replies.
    pub sequence: Sequence,
    /// Whether it counts as under way on the connection's own shard.
    pub here: bool,
}

/// Numbers the replies that a connection awaits; goes round, and far fewer are awaited than would be confused then.
pub type Sequence = u32;

/// Slot and hash of a command's only key, if it has just one and that is known. A script, which has no such key, has the id
/// of its user in this place: a request is to stay small.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
pub struct KnownKey {
    hash: u64,
    /// One more than the slot.
    slot: Option<NonZeroU16>,
}

impl From<Option<(u16, u64)>> for KnownKey {
    #[inline]
    fn from(key: Option<(u16, u64)>) -> Self {
        key.map_or(Self { hash: 0, slot: None }, |(slot, hash)| Self { hash, slot: NonZeroU16::new(slot + 1) })
    }
}

impl KnownKey {
    /// Of a script, which runs for this user.
    #[inline]
    pub fn of_user(id: u64) -> Self {
        Self { hash: id, slot: None }
    }

    /// The user that a script runs for.
    #[inline]
    pub fn user(self) -> u64 {
        if self.slot.is_some() { User::NOBODY } else { self.hash }
    }

    /// Slot and hash.
    #[inline]
    pub fn get(self) -> Option<(u16, u64)> {
        Some((self.slot?.get() - 1, self.hash))
    }
}

/// Where a request's reply ends in the batch's reply buffer: its end in `bytes` and, in the upper bits, in `shared`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyEnd(u64);

impl ReplyEnd {
    /// It waits for a lock and comes in a message of its own.
    pub const LATER: Self = Self(u64::MAX);
    /// A terabyte of replies in one batch is more than the memory of its commands, all of them long ones in slices, allows.
    const BYTES_BITS: u32 = 40;

    /// The reply that was appended last.
    #[inline]
    pub fn of(replies: &ReplyBuffer) -> Self {
        Self(replies.bytes.len() as u64 | (replies.shared.len() as u64) << Self::BYTES_BITS)
    }

    /// Ends in `bytes` and in `shared`; none if it comes later.
    #[inline]
    pub fn get(self) -> Option<(usize, usize)> {
        let bytes = self.0 & ((1 << Self::BYTES_BITS) - 1);
        (self != Self::LATER).then_some((bytes as usize, (self.0 >> Self::BYTES_BITS) as usize))
    }
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
        self.arguments.add(arguments);
        self.requests.push(request);
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
    /// A stage of a list of commands that is one unit.
    Unit(Box<UnitStage>),
    /// Begin to watch these keys of a database.
    Watch { watcher: Watcher, database: u32, keys: PackedArguments },
    /// Take in a connection that moves here with its session.
    Arrive(Option<Box<MovedConnection>>),
    /// Forget a connection that has moved away.
    Leave(ConnectionKey),
}

/// What a shard does of a unit between two looks of its coordinator (`core::unit`).
#[derive(Debug, Default)]
pub struct UnitStage {
    /// Under which the shard holds the unit's keys; none in its first stage.
    pub ticket: Option<Ticket>,
    /// The unit's one time; 0 in its first stage, whose multicast has it.
    pub now: Milliseconds,
    /// The keys are free after this one.
    pub is_last: bool,
    /// Its effects are told as one.
    pub is_told: bool,
    /// A script has a part in it, and may take long.
    pub has_script: bool,
    /// What it does may be undone: begun in the first stage, and decided in the last.
    pub undo: Undo,
    /// How many shards have a part in it.
    pub shares: usize,
    /// What must not have changed, in the first stage; forgotten then.
    pub watched: Option<Watcher>,
    /// What is to be done, in order.
    pub steps: Vec<UnitStep>,
    /// Of the steps that are commands, in order.
    pub arguments: PackedArguments,
}

/// What becomes of a unit's changes that may be undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undo {
    /// Nothing new.
    #[default]
    AsBefore,
    /// They may be undone from now on.
    Begin,
    /// They stay.
    Keep,
    /// They are undone.
    Undo,
}

/// One thing that a unit wants of a shard.
#[derive(Debug)]
pub enum UnitStep {
    /// Run a command on the arguments that belong here.
    Command {
        place: u32,
        entry: &'static CommandEntry,
        client: ClientContext,
        key: KnownKey,
        is_told: bool,
        /// Another shard's part of it counts.
        is_further_part: bool,
        /// Who waits if it finds nothing.
        waiter: Option<Arc<Waiter>>,
    },
    /// Hand over what these keys hold, to a command that only reads or not.
    Read { keys: Vec<KeyRead>, is_read_only: bool },
    /// A command has found nothing in the values that it got: its client waits.
    Wait(Arc<Waiter>),
    /// Write what a command made of values.
    Write { place: u32, finish: Finish },
    /// The server's own.
    Control(Arc<ControlRequest>),
}

/// What came of a stage.
#[derive(Debug, Default)]
pub struct UnitOutcome {
    /// Under which the keys are held from now on.
    pub ticket: Option<Ticket>,
    /// Whether what was watched is unchanged; if not, nothing was done, and nothing is held.
    pub is_valid: bool,
    /// The replies of the commands, and where each ends.
    pub replies: ReplyBuffer,
    /// One for each command.
    pub reply_ends: Vec<ReplyEnd>,
    /// One for each step that reads.
    pub gathered: Vec<Gathered>,
    /// One for each question.
    pub answers: Vec<ControlReply>,
    /// The client waits.
    pub is_waiting: bool,
}

/// Transactions of one shard's connections, as far as they concern another (`core::unit_batches`).
#[derive(Debug, Default)]
pub struct UnitBatch {
    /// What all parts of the group share.
    pub header: Arc<Multicast>,
    /// Where the connections are.
    pub coordinator: usize,
    /// Where the keys are.
    pub owner: usize,
    /// Its group there.
    pub group: u64,
    /// In order.
    pub units: Vec<BatchedUnit>,
    /// Their commands.
    pub steps: Vec<BatchedStep>,
    /// Of these, in order.
    pub arguments: PackedArguments,
    /// The replies.
    pub replies: ReplyBuffer,
    /// One for each step.
    pub reply_ends: Vec<ReplyEnd>,
}

impl UnitBatch {
    /// Makes it usable again, without the memory of an unusually large one.
    pub fn reset(&mut self) {
        const KEPT_STEPS_MAX: usize = 4096;
        self.units.clear();
        self.steps.clear();
        self.reply_ends.clear();
        self.steps.shrink_to(KEPT_STEPS_MAX);
        self.reply_ends.shrink_to(KEPT_STEPS_MAX);
        self.arguments.clear();
        self.replies.clear();
        self.replies.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// One transaction in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchedUnit {
    /// Its place in the group.
    pub number: u32,
    /// Whose it is.
    pub connection: ConnectionKey,
    /// For whom.
    pub client: ClientContext,
    /// Its first step in the batch; the next unit's ends them.
    pub first_step: usize,
    /// It writes on this shard only: its effects are told as one.
    pub is_told_as_one: bool,
    /// It had to wait, and is answered by a message of its own.
    pub is_late: bool,
    /// How long it took.
    pub took_ns: u64,
}

/// One command in it.
#[derive(Clone, Copy, Debug)]
pub struct BatchedStep {
    /// What.
    pub entry: &'static CommandEntry,
    /// Its only key.
    pub key: KnownKey,
}

/// A transaction of a batch that has to wait on one shard.
#[derive(Debug)]
pub struct LateUnit {
    /// As in its batch.
    pub header: Arc<Multicast>,
    /// As in its batch.
    pub coordinator: usize,
    /// As in its batch.
    pub owner: usize,
    /// As in its batch.
    pub group: u64,
    /// As in its batch.
    pub unit: BatchedUnit,
    /// Its commands.
    pub steps: Vec<BatchedStep>,
    /// Of these, in order.
    pub arguments: PackedArguments,
    /// The replies.
    pub replies: ReplyBuffer,
    /// One for each step.
    pub reply_ends: Vec<ReplyEnd>,
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
    /// A stage of a unit.
    Unit(Box<UnitOutcome>),
    /// How many keys more are watched from now on, and their lengths in all.
    Watched { keys: usize, bytes: usize },
}

impl Outcome {
    /// Bytes of replies in it.
    pub fn reply_bytes(&self) -> usize {
        match self {
            Self::Reply(reply) => reply.bytes.len(),
            Self::Unit(outcome) => outcome.replies.bytes.len(),
            _ => 0,
        }
    }
}

/// One shard's part of a multicast.
#[derive(Debug)]
pub struct Part {
    /// What all parts share.
    pub header: Arc<Multicast>,
    /// The shard that sent it.
    pub coordinator: usize,
    /// The connection there whose command it is, if it is one's.
    pub connection: Option<ConnectionKey>,
    /// Whether what it reads is remembered for that connection.
    pub tracks: bool,
    /// The transaction there.
    pub transaction: u64,
    /// Which part of it this is.
    pub index: usize,
    /// How many parts there are.
    pub parts: usize,
    /// Its locks.
    pub claim: Claim,
    /// What to do.
    pub work: Work,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_out_as_they_went_in() {
        let commands: [&[&[u8]]; 4] = [&[b"GET", b"key"], &[b""], &[], &[b"SET", b"k", &[0xff; 300]]];
        let mut packed = PackedArguments::default();
        commands.iter().for_each(|command| packed.add(command));
        let out: Vec<Arguments<'_>> = packed.commands().collect();
        assert_eq!(out.len(), commands.len());
        assert!(out.iter().zip(commands).all(|(out, command)| out.as_slice() == command));
        assert_eq!(packed.slices().as_slice(), commands[0]);
        assert!(PackedArguments::default().slices().is_empty());
    }

    #[test]
    fn a_known_key_and_the_end_of_a_reply_keep_what_they_are_made_of() {
        for key in [None, Some((0, 0)), Some((16_383, u64::MAX))] {
            assert_eq!(KnownKey::from(key).get(), key);
        }
        let mut replies = ReplyBuffer::default();
        assert_eq!(ReplyEnd::of(&replies).get(), Some((0, 0)));
        replies.bytes.resize(70_000, 0);
        replies.shared.push((5, bytes::Bytes::new()));
        assert_eq!(ReplyEnd::of(&replies).get(), Some((70_000, 1)));
        assert_eq!(ReplyEnd::LATER.get(), None);
    }

    #[test]
    fn a_request_fits_its_share_of_a_cache_line() {
        assert!(size_of::<Request>() <= 40, "{}", size_of::<Request>());
    }
}
