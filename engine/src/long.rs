//! Commands whose work grows with the data: done in slices, on frozen views, while other clients go on.
//!
//! ```text
//!   handler ── little to do ──> encodes its reply, as ever
//!      │
//!      └────── much to do ────> execution.later.put(work)   the views are taken: this is the command's one instant
//!                                     │
//!        owner of the shard:  step, other clients, step, other clients, ... step: Done
//!                             a read:   its elements go out slice by slice, as fast as the client takes them
//!                             a write:  the new value grows aside; the last step puts it in place (`commit`)
//! ```
//!
//! * A handler stays one function: it looks up, parses, answers errors, encodes what is known (the length of an array, of a
//!   view that does not change), and hands over what is left as [`LongWork`]. What it froze costs O(1) (a clone of a root).
//! * Work is counted in *units*, about an element each. The owner says how many a step may take, and learns from its clock
//!   how many fit in a slice; so tests and the simulation cut where they like.
//! * A write holds its destination's lock from the views' instant to the commit, so nobody sees the key in between, and
//!   its effect is reported at that instant: in the order of the log the sources are what the views are. What empties or
//!   renumbers databases meanwhile is not held up: the commit finds its database by identity, or finds it gone.
//! * A write that has little to do but much to tell (LPOP of a million elements) makes its change at once, or in its first
//!   slices, and goes on as a read of what it froze before: [`LongWork::only_reads`]. Its keys are free by then.
//! * Where nothing may come between (a unit of several commands) the same work runs to its end at once:
//!   [`Unfinished::run_to_end`].

use crate::command::{CommandResult, EngineOptions, Execution, Milliseconds};
use crate::keyspace::DatabaseId;
use crate::keyspace::OwnedEntry;
use crate::reply::{Reply, ReplyBuffer};
use crate::shard::{ClientContext, Shard};
use bytes::Bytes;
use std::ops::Range;

/// Up to so many units a command does its work at once, unless its options say otherwise: about 50 us.
pub const UNITS_AT_ONCE: u64 = 1024;

/// Up to so many bytes a command copies at once; about 50 us too.
const BYTES_AT_ONCE: u64 = 256 << 10;

impl EngineOptions {
    /// Whether so many units of work, with so many bytes to be copied in all, are too much to be done at once.
    #[inline]
    pub fn is_long(&self, units: u64, bytes: u64) -> bool {
        units > self.units_at_once || (bytes > BYTES_AT_ONCE && units > 1)
    }

    /// As [`EngineOptions::is_long`] for a part of a collection of `length` elements and `bytes` in all.
    #[inline]
    pub fn is_long_part(&self, units: u64, length: u64, bytes: usize) -> bool {
        self.is_long(units, (bytes as u64 / length.max(1)).saturating_mul(units))
    }
}

/// A step ends early when it has encoded so many bytes: a client's backlog stays bounded whatever the size of elements.
pub const STEP_BYTES_MAX: usize = 128 << 10;

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is.
    More,
    /// The reply is complete, and what was to be written is.
    Done,
    /// The command ends with this error; nothing of a reply has been encoded.
    Failed(&'static str),
}

/// What the owner of a command that has begun is told of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The reply is complete.
    Done,
}

/// What a command has left to do. Dropped before its end, it has changed nothing.
pub trait LongWork {
    /// Does about `budget` units, and encodes what they give. The execution has the time of the command's first step.
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step;

    /// The keys that it wants to know the values of before it goes on, where the keyspace holds those keys only that the
    /// command names ([`Keyspace::is_partial`]). Its owner looks them up as they were at the command's instant.
    ///
    /// [`Keyspace::is_partial`]: crate::keyspace::Keyspace::is_partial
    fn questions(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Their values, in the same order.
    fn answers(&mut self, _values: Vec<Option<OwnedEntry>>) {}

    /// Whether it can do nothing before it has been answered.
    fn awaits_answers(&self) -> bool {
        false
    }

    /// Whether it may look at any key of the shard until its end: then nothing else runs there meanwhile.
    fn holds_shard(&self) -> bool {
        false
    }

    /// Whether all that is left is to encode what was frozen: the command's writes are in place, so its keys are free, and
    /// the keyspace is not looked at any more.
    fn only_reads(&self) -> bool {
        false
    }
}

/// Where a handler puts what it has left to do.
#[derive(Default)]
pub struct Later(Option<Box<dyn LongWork>>);

impl Later {
    /// Hands work over. What the handler has encoded stays in front of it; it encodes no more.
    pub fn put(&mut self, work: impl LongWork + 'static) {
        self.put_boxed(Box::new(work));
    }

    /// The same.
    pub fn put_boxed(&mut self, work: Box<dyn LongWork>) {
        debug_assert!(self.0.is_none(), "a command is one piece of work");
        self.0 = Some(work);
    }

    /// What was handed over.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Box<dyn LongWork>> {
        self.0.take()
    }
}

/// A command that has begun.
pub struct Unfinished {
    work: Box<dyn LongWork>,
    client: ClientContext,
    now: Milliseconds,
}

impl Unfinished {
    /// A command that has handed over its work.
    pub(crate) fn new(work: Box<dyn LongWork>, client: ClientContext, now: Milliseconds) -> Self {
        Self { work, client, now }
    }

    /// About `budget` units more; what they give is appended to `out`.
    pub fn step(&mut self, shard: &mut Shard, budget: u64, out: &mut ReplyBuffer) -> Progress {
        let mut execution = shard.execution(self.client, self.now, out);
        match self.work.step(&mut execution, budget.max(1)) {
            Step::More => Progress::More,
            Step::Done => Progress::Done,
            Step::Failed(text) => {
                execution.reply.error(text);
                shard.count_error(text.as_bytes());
                Progress::Done
            }
        }
    }

    /// The keys that the command must know the values of before its next step: see [`LongWork::questions`].
    pub fn questions(&mut self) -> Vec<Vec<u8>> {
        self.work.questions()
    }

    /// Their values, in the same order.
    pub fn answer(&mut self, values: Vec<Option<OwnedEntry>>) {
        self.work.answers(values);
    }

    /// Whether a step would do nothing, for want of these.
    pub fn awaits_answers(&self) -> bool {
        self.work.awaits_answers()
    }

    /// Whether the command has written all that it will write, and looks at no key any more.
    pub fn only_reads(&self) -> bool {
        self.work.only_reads()
    }

    /// Whether nothing else may run on its shard before its end.
    pub fn holds_shard(&self) -> bool {
        self.work.holds_shard()
    }

    /// All that is left, at once: for units in whose middle nothing else may happen.
    pub fn run_to_end(mut self, shard: &mut Shard, out: &mut ReplyBuffer) {
        while self.step(shard, u64::MAX / 2, out) == Progress::More {}
    }
}

impl Execution<'_> {
    /// Does what a handler has left to do, to its end.
    pub(crate) fn finish(&mut self) -> CommandResult {
        let Some(mut work) = self.later.take() else { return Ok(()) };
        loop {
            match work.step(self, u64::MAX / 2) {
                Step::More => {}
                Step::Done => return Ok(()),
                Step::Failed(text) => return Err(text.into()),
            }
        }
    }
}

impl std::fmt::Debug for Unfinished {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Unfinished").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Reports the effect of a command that will replace its destination later, and before that the end of what has expired
/// there: the destination is locked from now on, so nothing comes between for those who replay it.
pub fn report_ahead(execution: &mut Execution<'_>, destination: &[u8], effect: &[&[u8]]) {
    let key = execution.keyspace.key(destination);
    execution.keyspace.settle_expired(execution.database, &key, execution.now, true);
    execution.effect(effect);
}

/// The key that a command will change in a later step, and holds until then.
pub struct Locked {
    database: DatabaseId,
    name: Vec<u8>,
}

impl Locked {
    /// A key of the execution's database.
    pub fn new(execution: &Execution<'_>, name: &[u8]) -> Self {
        Self { database: execution.keyspace.database_id(execution.database), name: name.to_vec() }
    }

    /// The key.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Makes the key's database that of the execution, whatever number it has by now; false if it was flushed meanwhile, and
    /// nothing is left to be changed.
    pub fn enter(&self, execution: &mut Execution<'_>) -> bool {
        let database = execution.keyspace.database_of(self.database);
        execution.database = database.unwrap_or(execution.database);
        database.is_some()
    }
}

/// What visits a run of ranks of a view, for [`ViewWalk`].
type Visit<V> = dyn FnMut(&V, Range<u64>, &mut Reply<'_>);

/// The common read: each element of a range of a view, in order, into a reply whose header stands.
pub struct ViewWalk<V> {
    view: V,
    ranks: Range<u64>,
    visit: Box<Visit<V>>,
}

impl<V> ViewWalk<V> {
    /// A walk over ranks; `visit` encodes those that it is given.
    pub fn new(view: V, ranks: Range<u64>, visit: impl FnMut(&V, Range<u64>, &mut Reply<'_>) + 'static) -> Self {
        Self { view, ranks, visit: Box::new(visit) }
    }
}

impl<V> LongWork for ViewWalk<V> {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        /// Ranks between two looks at how much has been encoded.
        const RUN: u64 = 64;
        let bytes = execution.reply.buffer().len();
        let mut left = budget;
        while left > 0 && !self.ranks.is_empty() {
            let run = left.min(RUN).min(self.ranks.end - self.ranks.start);
            let start = self.ranks.start;
            (self.visit)(&self.view, start..start + run, &mut execution.reply);
            self.ranks.start += run;
            left -= run;
            if execution.reply.buffer().len() - bytes > STEP_BYTES_MAX {
                break;
            }
        }
        if self.ranks.is_empty() { Step::Done } else { Step::More }
    }

    fn only_reads(&self) -> bool {
        true
    }
}

/// Elements of a reply whose number is known only when the last has been found: encoded, and kept in pieces that never
/// move.
#[derive(Default)]
pub struct Collected {
    count: usize,
    /// Of closed pieces.
    bytes: usize,
    pieces: std::collections::VecDeque<Bytes>,
    open: ReplyBuffer,
}

impl Collected {
    /// A piece is closed at this length, in bytes.
    const PIECE_BYTES: usize = 64 << 10;

    /// Adds an element, which `encode` encodes.
    pub fn add(&mut self, protocol: crate::reply::Protocol, encode: impl FnOnce(&mut Reply<'_>)) {
        self.count += 1;
        encode(&mut Reply::new(&mut self.open, protocol));
        if self.open.bytes.len() >= Self::PIECE_BYTES {
            self.close_piece();
        }
    }

    fn close_piece(&mut self) {
        let open = std::mem::take(&mut self.open);
        let mut from = 0;
        self.bytes += open.bytes.len();
        let bytes = Bytes::from(open.bytes);
        for (at, value) in open.shared {
            self.pieces.push_back(bytes.slice(from..at));
            self.pieces.push_back(value);
            from = at;
        }
        self.pieces.push_back(bytes.slice(from..));
    }

    /// Number of elements so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// No more elements come: pieces are handed out from now on.
    pub fn close(&mut self) {
        self.close_piece();
    }

    /// Moves pieces to a reply, as many as a step may encode; whether some are left.
    pub fn hand_out(&mut self, reply: &mut Reply<'_>) -> Step {
        let mut moved = 0;
        while moved < STEP_BYTES_MAX {
            let Some(piece) = self.pieces.pop_front() else { return Step::Done };
            moved += piece.len();
            reply.splice(piece);
        }
        if self.pieces.is_empty() { Step::Done } else { Step::More }
    }
}
