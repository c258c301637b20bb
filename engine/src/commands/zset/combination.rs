//! Several large sorted sets at once, in slices: what [`algebra`](super::algebra) does at once to small ones.
//!
//! Each walked member goes into a new sorted set, with its joined score: the smallest input's that all others have
//! (intersection), the first one's that no other has (difference), one input after the other (union: a member that is there
//! already has its scores joined, in the inputs' order). The new set is what is stored, or a frozen view to be listed.

use super::Listing;
use super::algebra::{Aggregate, Operation, commit, number};
use crate::command::Execution;
use crate::keyspace::{DatabaseId, Value};
use crate::long::{LongWork, Step};
use crate::values::large::{MemberHasher, Scored};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::{NewCollection, Type, sorted_set};
use std::ops::Range;

/// What becomes of the result.
pub(super) enum Purpose {
    /// It is listed.
    Reply(Listing),
    /// The number of its members is told, if it is below the limit; 0 is none.
    Count { limit: u64 },
    /// It is stored.
    Store { database: DatabaseId, destination: Vec<u8>, event: &'static str },
}

/// A frozen set or sorted set, with its weight.
pub(super) struct Input {
    pub(super) value: Value,
    pub(super) weight: f64,
}

impl Input {
    fn len(&self) -> u64 {
        match self.plain() {
            Some(set) => set.len() as u64,
            None => self.sorted().len(),
        }
    }

    fn plain(&self) -> Option<SetRef<'_>> {
        let set = SetRef::new(self.value.form(), self.value.packed_bytes(), self.value.object());
        (self.value.kind() == Type::Set).then_some(set)
    }

    fn sorted(&self) -> SortedSetRef<'_> {
        SortedSetRef::new(self.value.packed_bytes(), self.value.object())
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self.plain() {
            Some(set) => set.contains(member).then_some(1.0),
            None => self.sorted().score(member),
        }
    }

    /// Visits the members of some ranks until `visit` says that it has enough.
    fn each(&self, ranks: Range<u64>, mut visit: impl FnMut(Scored<'_>) -> bool) -> bool {
        match self.plain() {
            Some(set) => {
                let members = set.iter_from(ranks.start as usize).take((ranks.end - ranks.start) as usize);
                members.map(|member| Scored { score: 1.0, member }).all(&mut visit)
            }
            None => self.sorted().range(ranks, false).all(visit),
        }
    }
}

/// A set operation on frozen sorted sets.
pub(super) struct Combination {
    operation: Operation,
    aggregate: Aggregate,
    /// In the order in which scores are joined.
    inputs: Vec<Input>,
    /// How many of them are walked.
    walked: usize,
    purpose: Purpose,
    /// Where the walk stands.
    input: usize,
    rank: u64,
    /// Kept members, where they are only counted.
    count: u64,
    result: NewCollection,
    /// Where the listing stands, once it has begun.
    listed: Option<u64>,
}

impl Combination {
    /// The work on these sets, if it is more than `units_max`. What is absent is `None`.
    pub(super) fn begin(
        operation: Operation,
        aggregate: Aggregate,
        inputs: Vec<Option<Input>>,
        purpose: Purpose,
        hasher: &MemberHasher,
        units_max: u64,
    ) -> Option<Self> {
        let mut inputs = inputs;
        let length = |input: &Option<Input>| input.as_ref().map_or(0, Input::len);
        if operation != Operation::Difference {
            inputs.sort_by_key(length);
        }
        let (walked, members) = match operation {
            Operation::Union => (inputs.iter().flatten().count(), inputs.iter().map(length).sum()),
            Operation::Intersection | Operation::Difference => (1, length(&inputs[0])),
        };
        if members.saturating_mul(inputs.len() as u64 + 1) <= units_max || members == 0 {
            return None;
        }
        let inputs = inputs.into_iter().flatten().collect();
        let result = sorted_set::empty_tree(hasher);
        let (input, rank, count, listed) = (0, 0, 0, None);
        Some(Self { operation, aggregate, inputs, walked, purpose, input, rank, count, result, listed })
    }

    /// The next members, about `budget` units of them; whether those were the last that matter.
    fn walk(&mut self, execution: &Execution<'_>, budget: u64) -> bool {
        let (limits, hasher) = (&execution.options.encodings, execution.keyspace.member_hasher());
        let limit = if let Purpose::Count { limit } = self.purpose { limit } else { 0 };
        let counts = matches!(self.purpose, Purpose::Count { .. });
        // A member that goes into the result costs several times one that is looked up.
        let units_each = self.inputs.len() as u64 + if counts { 0 } else { 4 };
        let mut left = (budget / units_each).max(1);
        while left > 0 && self.input < self.walked {
            let (inputs, result, count) = (&self.inputs, &mut self.result, &mut self.count);
            let length = inputs[self.input].len();
            let run = self.rank..length.min(self.rank + left);
            let (operation, aggregate, at) = (self.operation, self.aggregate, self.input);
            let goes_on = inputs[at].each(run.clone(), |Scored { score, member }| {
                member.with_bytes(|member| {
                    let known =
                        (operation == Operation::Union).then(|| SortedSetRef::of(result).score(member)).flatten();
                    let joined = joined(operation, aggregate, inputs, at, member, score, known);
                    let Some(score) = joined else { return true };
                    *count += 1;
                    if known.is_some_and(|known| known == score && known.to_bits() != score.to_bits()) {
                        // Zero and minus zero have the same place, but are told apart in replies.
                        sorted_set::remove(result, member);
                    }
                    if !counts {
                        sorted_set::insert(result, member, score, limits, hasher);
                    }
                    limit == 0 || *count < limit
                })
            });
            if !goes_on {
                return true;
            }
            left -= run.end - run.start;
            self.rank = run.end;
            if run.end == length {
                (self.input, self.rank) = (self.input + 1, 0);
            }
        }
        self.input == self.walked
    }

    /// The next members of the result.
    fn list(&mut self, execution: &mut Execution<'_>, from: u64, budget: u64, listing: Listing) -> Step {
        let result = SortedSetRef::of(&self.result);
        let to = result.len().min(from + budget.min(LISTED_AT_ONCE));
        result.range(from..to, false).for_each(|scored| listing.reply(&mut execution.reply, scored));
        self.listed = Some(to);
        if to == result.len() { Step::Done } else { Step::More }
    }
}

/// Members that a step lists at the most, so that what is ahead of a client stays bounded.
const LISTED_AT_ONCE: u64 = 4096;

/// The score of a walked member in the result, if it is in it. Known is what the result has of it already.
fn joined(
    operation: Operation,
    aggregate: Aggregate,
    inputs: &[Input],
    walked: usize,
    member: &[u8],
    score: f64,
    known: Option<f64>,
) -> Option<f64> {
    let first = number(aggregate.weigh(score, inputs[walked].weight));
    match operation {
        Operation::Union => Some(known.map_or(first, |known| aggregate.join(known, first))),
        Operation::Intersection => inputs[1..].iter().try_fold(first, |sum, input| {
            Some(aggregate.join(sum, aggregate.weigh(input.score(member)?, input.weight)))
        }),
        Operation::Difference => inputs[1..].iter().all(|input| input.score(member).is_none()).then_some(score),
    }
}

impl LongWork for Combination {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        if let (Some(from), Purpose::Reply(listing)) = (self.listed, &self.purpose) {
            let listing = *listing;
            return self.list(execution, from, budget, listing);
        }
        if !self.walk(execution, budget) {
            return Step::More;
        }
        let length = SortedSetRef::of(&self.result).len();
        match &self.purpose {
            Purpose::Count { .. } => execution.reply.integer(self.count as i64),
            Purpose::Reply(listing) => {
                listing.open(&mut execution.reply, length as usize);
                self.listed = Some(0);
                return if length == 0 { Step::Done } else { Step::More };
            }
            Purpose::Store { database, destination, event } => {
                if let Some(database) = execution.keyspace.database_of(*database) {
                    execution.database = database;
                    let (limits, hasher) = (&execution.options.encodings, execution.keyspace.member_hasher());
                    let result = std::mem::replace(&mut self.result, sorted_set::empty());
                    let result = (length > 0).then(|| sorted_set::made(result, limits, hasher));
                    commit(execution, destination, result, None, event);
                }
                execution.reply.integer(length as i64);
            }
        }
        Step::Done
    }
}

/// The members of some ranks of a view, on their way to a destination.
pub(super) struct RangeStore {
    pub(super) view: crate::values::large::SortedTree,
    pub(super) ranks: Range<u64>,
    pub(super) database: DatabaseId,
    pub(super) destination: Vec<u8>,
    pub(super) result: NewCollection,
}

impl LongWork for RangeStore {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let (limits, hasher) = (&execution.options.encodings, execution.keyspace.member_hasher());
        let end = self.ranks.end.min(self.ranks.start + (budget / 4).max(1));
        for Scored { score, member } in SortedSetRef::Tree(&self.view).range(self.ranks.start..end, false) {
            member.with_bytes(|member| sorted_set::insert(&mut self.result, member, score, limits, hasher));
        }
        self.ranks.start = end;
        if !self.ranks.is_empty() {
            return Step::More;
        }
        let count = SortedSetRef::of(&self.result).len();
        if let Some(database) = execution.keyspace.database_of(self.database) {
            execution.database = database;
            let (limits, hasher) = (&execution.options.encodings, execution.keyspace.member_hasher());
            let result = std::mem::replace(&mut self.result, sorted_set::empty());
            let result = sorted_set::made(result, limits, hasher);
            commit(execution, &self.destination, Some(result), None, "zrangestore");
        }
        execution.reply.integer(count as i64);
        Step::Done
    }
}
