//! Several large sets at once, in slices: what [`algebra`](super::algebra) does at once to small ones.
//!
//! ```text
//!   walked       the sets whose members may be in the result: the smallest (intersection), the first (difference), all
//!   kept         each walked member is looked up in the sets that decide: one unit of work for each set
//!
//!   to be counted   kept members are counted
//!   to be stored    they go into a new set, which replaces the destination in the last step
//!   to be listed    walked twice: first a bit is noted for each walked member, kept or not, then, with their number known,
//!                   the kept ones are encoded. So a reply takes a bit a member in memory, however slow its client
//! ```
//!
//! A union of many sets is collected in one new set; a list of it is a list of that set.

use super::algebra::{Operation, UNION_LOOKED_UP_MAX, commit};
use super::new_set;
use crate::command::Execution;
use crate::keyspace::{DatabaseId, Value};
use crate::long::{LongWork, Step};
use crate::values::set::{self, SetRef};
use crate::values::{Element, NewCollection, StringRef};

/// A frozen set.
fn set_of(value: &Value) -> SetRef<'_> {
    SetRef::new(value.form(), value.packed_bytes(), value.object())
}

/// What becomes of the members of the result.
pub(super) enum Purpose {
    /// They are listed.
    Reply,
    /// Their number is told, if it is below the limit; 0 is none.
    Count { limit: usize },
    /// They are stored.
    Store { database: DatabaseId, destination: Vec<u8>, event: &'static str },
}

/// Where the work stands.
enum Stage {
    /// Members are walked: so many kept.
    Choosing(usize),
    /// The members whose bit is set are listed.
    Listing,
    /// The members of the new set are listed, from a rank on.
    ListingNew(usize),
}

/// A set operation on frozen sets.
pub(super) struct Combination {
    operation: Operation,
    /// In the order in which members are looked up; what is absent is left out where that changes nothing.
    sets: Vec<Value>,
    walked: usize,
    purpose: Purpose,
    stage: Stage,
    /// The set and the rank in it where the walk stands, and how many it has passed.
    set: usize,
    rank: usize,
    passed: u64,
    bits: Vec<u64>,
    new: Option<NewCollection>,
}

/// What the walk has to go over.
struct Plan {
    /// How many of the sets, from the first on.
    walked: usize,
    members: u64,
    /// Looked up for each member.
    lookups: u64,
}

impl Combination {
    /// Sorts the sets as the operation wants them; an empty plan where the result is empty.
    fn plan(operation: Operation, sets: &mut [Option<Value>]) -> Plan {
        let length = |set: &Option<Value>| set.as_ref().map_or(0, |set| set_of(set).len() as u64);
        let others = sets.len() as u64 - 1;
        match operation {
            Operation::Intersection => {
                sets.sort_by_key(length);
                Plan { walked: 1, members: length(&sets[0]), lookups: others }
            }
            Operation::Difference => {
                sets[1..].sort_by_key(|set| std::cmp::Reverse(length(set)));
                Plan { walked: 1, members: length(&sets[0]), lookups: others }
            }
            Operation::Union => {
                let members = sets.iter().map(length).sum();
                Plan { walked: sets.len(), members, lookups: others.min(UNION_LOOKED_UP_MAX as u64) }
            }
        }
    }

    /// The work on these sets, if it is more than `units_max`; else nothing, and the sets are given up.
    pub(super) fn begin(
        operation: Operation,
        sets: Vec<Option<Value>>,
        purpose: Purpose,
        units_max: u64,
    ) -> Option<Self> {
        let mut sets = sets;
        let Plan { walked, members, lookups } = Self::plan(operation, &mut sets);
        let units = members.saturating_mul(1 + lookups);
        if units <= units_max || units == 0 {
            return None;
        }
        // The first set is there, or there were no members; others that are absent decide nothing, nor are walked.
        let walked = sets[..walked].iter().flatten().count();
        let sets: Vec<Value> = sets.into_iter().flatten().collect();
        let lists = matches!(purpose, Purpose::Reply);
        let is_collected = Self::is_collected(operation, sets.len());
        let words = if lists && !is_collected { members.div_ceil(64) as usize } else { 0 };
        Some(Self {
            operation,
            sets,
            walked,
            purpose,
            stage: Stage::Choosing(0),
            set: 0,
            rank: 0,
            passed: 0,
            bits: vec![0; words],
            new: None,
        })
    }

    /// A union of many sets is collected whatever it is for.
    fn is_collected(operation: Operation, sets: usize) -> bool {
        operation == Operation::Union && sets > UNION_LOOKED_UP_MAX
    }

    /// Visits the next members, about `budget` units of them; whether those were the last, or `visit` had enough.
    fn walk(
        &mut self,
        budget: u64,
        units_each: u64,
        mut visit: impl FnMut(&[Value], usize, u64, StringRef<'_>) -> bool,
    ) -> bool {
        let mut left = (budget / units_each).max(1);
        while left > 0 && self.set < self.walked {
            let set = set_of(&self.sets[self.set]);
            let count = left.min((set.len() - self.rank) as u64) as usize;
            for member in set.iter_from(self.rank).take(count) {
                let goes_on = visit(&self.sets, self.set, self.passed, member);
                self.passed += 1;
                if !goes_on {
                    return true;
                }
            }
            left -= count as u64;
            self.rank += count;
            if self.rank == set.len() {
                (self.set, self.rank) = (self.set + 1, 0);
            }
        }
        self.set == self.walked
    }

    /// Walks and keeps, or not; whether all members have been seen.
    fn choose(&mut self, execution: &Execution<'_>, kept: &mut usize, budget: u64) -> bool {
        let (operation, limits) = (self.operation, &execution.options.encodings);
        let hasher = execution.keyspace.member_hasher();
        let is_collected = Self::is_collected(operation, self.sets.len());
        let limit = if let Purpose::Count { limit } = self.purpose { limit } else { 0 };
        let builds = is_collected || matches!(self.purpose, Purpose::Store { .. });
        let (mut bits, mut new) = (std::mem::take(&mut self.bits), self.new.take());
        let units = self.sets.len() as u64;
        let is_over = self.walk(budget, units, |sets, index, number, member| {
            if !is_collected && !is_kept(operation, sets, index, member) {
                return true;
            }
            let element = Element::from(member);
            let is_new = !builds
                || set::add(new.get_or_insert_with(|| new_set(hasher, element, 1, limits)), element, limits, hasher);
            *kept += usize::from(is_new);
            if let Some(word) = bits.get_mut((number / 64) as usize) {
                *word |= 1 << (number % 64);
            }
            *kept != limit || limit == 0
        });
        (self.bits, self.new) = (bits, new);
        is_over
    }

    /// Encodes the members that were kept; whether those were the last.
    fn list(&mut self, execution: &mut Execution<'_>, budget: u64) -> bool {
        let bits = std::mem::take(&mut self.bits);
        let reply = &mut execution.reply;
        let is_over = self.walk(budget, 1, |_, _, number, member| {
            if bits[(number / 64) as usize] >> (number % 64) & 1 == 1 {
                super::reply_string(reply, member);
            }
            true
        });
        self.bits = bits;
        is_over
    }

    /// All members have been seen, `kept` are in the result.
    fn conclude(&mut self, execution: &mut Execution<'_>, kept: usize) -> Step {
        match &self.purpose {
            Purpose::Count { .. } => execution.reply.integer(kept as i64),
            Purpose::Reply => {
                execution.reply.set(kept);
                (self.set, self.rank, self.passed) = (0, 0, 0);
                self.stage = if self.new.is_some() { Stage::ListingNew(0) } else { Stage::Listing };
                return Step::More;
            }
            Purpose::Store { database, destination, event } => {
                if let Some(database) = execution.keyspace.database_of(*database) {
                    execution.database = database;
                    commit(execution, destination, self.new.take(), None, event);
                }
                execution.reply.integer(kept as i64);
            }
        }
        Step::Done
    }
}

/// Whether a member of a walked set is in the result.
fn is_kept(operation: Operation, sets: &[Value], walked: usize, member: StringRef<'_>) -> bool {
    let is_in = |set: &Value| set_of(set).contains_ref(member);
    match operation {
        Operation::Intersection => sets[1..].iter().all(is_in),
        Operation::Difference => !sets[1..].iter().any(is_in),
        Operation::Union => !sets[..walked].iter().any(is_in),
    }
}

impl LongWork for Combination {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.stage {
            Stage::Choosing(mut kept) => {
                let is_over = self.choose(execution, &mut kept, budget);
                self.stage = Stage::Choosing(kept);
                if is_over { self.conclude(execution, kept) } else { Step::More }
            }
            Stage::Listing => {
                if self.list(execution, budget.min(LISTED_AT_ONCE)) {
                    Step::Done
                } else {
                    Step::More
                }
            }
            Stage::ListingNew(rank) => {
                let Some(new) = &self.new else { return Step::Done };
                let (set, count) = (SetRef::of(new), budget.min(LISTED_AT_ONCE) as usize);
                let reply = &mut execution.reply;
                set.iter_from(rank).take(count).for_each(|member| super::reply_string(reply, member));
                self.stage = Stage::ListingNew(rank + count);
                if rank + count >= set.len() { Step::Done } else { Step::More }
            }
        }
    }
}

/// Members that a step lists at the most, so that what is ahead of a client stays bounded: large ones are sent from where
/// they are stored.
const LISTED_AT_ONCE: u64 = 4096;
