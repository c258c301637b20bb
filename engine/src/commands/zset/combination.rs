//! Several large sorted sets at once, in slices: what [`algebra`](super::algebra) does at once to small ones.
//!
//! Each walked member goes to the builder of a new sorted set, with its joined score: the smallest input's that all others
//! have (intersection), the first one's that no other has (difference), one input after the other (union: the builder joins
//! the scores of equal members, in the inputs' order). The new set is what is stored, or a frozen view to be listed.

use super::Listing;
use super::algebra::{Aggregate, Operation, number, store_made};
use crate::command::Execution;
use crate::keyspace::{DatabaseId, Value};
use crate::long::{LongWork, Step};
use crate::values::large::{MemberHasher, Scored, SortedBuilder, SortedCut, SortedTree};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::{StringRef, Type};
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
    stage: Stage,
}

enum Stage {
    /// Members are walked; without a builder they are only counted.
    Walk(Option<SortedBuilder>),
    /// The set is made of them.
    Build(SortedBuilder),
    /// It is listed, from a rank on.
    List(SortedTree, u64),
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
        let counts = matches!(purpose, Purpose::Count { .. });
        let stage = Stage::Walk((!counts).then(|| SortedBuilder::new(members, hasher.clone())));
        let (input, rank, count) = (0, 0, 0);
        Some(Self { operation, aggregate, inputs, walked, purpose, input, rank, count, stage })
    }

    /// The next members, about `budget` units of them; whether those were the last that matter.
    fn walk(&mut self, budget: u64) -> bool {
        let Stage::Walk(builder) = &mut self.stage else { return true };
        let limit = if let Purpose::Count { limit } = self.purpose { limit } else { 0 };
        let looked_up = if self.operation == Operation::Union { 0 } else { self.inputs.len() as u64 - 1 };
        let units_each = 1 + looked_up * UNITS_A_LOOK_UP + builder.as_ref().map_or(0, |_| SortedBuilder::UNITS_A_PUSH);
        let mut left = (budget / units_each).max(1);
        while left > 0 && self.input < self.walked {
            let (inputs, count) = (&self.inputs, &mut self.count);
            let length = inputs[self.input].len();
            let run = self.rank..length.min(self.rank + left);
            let (operation, aggregate, at) = (self.operation, self.aggregate, self.input);
            let goes_on = inputs[at].each(run.clone(), |Scored { score, member }| {
                let Some(score) = joined(operation, aggregate, inputs, at, member, score) else { return true };
                *count += 1;
                if let Some(builder) = builder {
                    builder.push(Scored { score, member });
                }
                limit == 0 || *count < limit
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

    /// The set is made: it is stored, or its listing begins.
    fn conclude(&mut self, execution: &mut Execution<'_>, result: SortedTree) -> Step {
        let length = result.len();
        match &self.purpose {
            Purpose::Count { .. } => {}
            Purpose::Reply(listing) => {
                listing.open(&mut execution.reply, length as usize);
                self.stage = Stage::List(result, 0);
                return if length == 0 { Step::Done } else { Step::More };
            }
            Purpose::Store { database, destination, event } => {
                store_made(execution, *database, destination, result, event);
            }
        }
        Step::Done
    }
}

/// Units of a look-up of a member in another input, of which nothing is in the caches.
const UNITS_A_LOOK_UP: u64 = 8;

/// Members that a step lists at the most, so that what is ahead of a client stays bounded.
const LISTED_AT_ONCE: u64 = 4096;

/// The score of a walked member in the result, if it is in it; in a union, what this input adds to it.
fn joined(
    operation: Operation,
    aggregate: Aggregate,
    inputs: &[Input],
    walked: usize,
    member: StringRef<'_>,
    score: f64,
) -> Option<f64> {
    let first = number(aggregate.weigh(score, inputs[walked].weight));
    match operation {
        Operation::Union => Some(first),
        Operation::Intersection => member.with_bytes(|member| {
            inputs[1..].iter().try_fold(first, |sum, input| {
                Some(aggregate.join(sum, aggregate.weigh(input.score(member)?, input.weight)))
            })
        }),
        Operation::Difference => {
            let is_in = |input: &Input| member.with_bytes(|member| input.score(member)).is_some();
            (!inputs[1..].iter().any(is_in)).then_some(score)
        }
    }
}

impl LongWork for Combination {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match &mut self.stage {
            Stage::Walk(_) => {
                if !self.walk(budget) {
                    return Step::More;
                }
                let Stage::Walk(Some(builder)) = std::mem::replace(&mut self.stage, Stage::Walk(None)) else {
                    execution.reply.integer(self.count as i64);
                    return Step::Done;
                };
                self.stage = Stage::Build(builder);
                Step::More
            }
            Stage::Build(builder) => {
                let aggregate = self.aggregate;
                if !builder.step(budget, |sum, score| aggregate.join(sum, score)) {
                    return Step::More;
                }
                let Stage::Build(builder) = std::mem::replace(&mut self.stage, Stage::Walk(None)) else {
                    return Step::Done;
                };
                self.conclude(execution, builder.into_set())
            }
            Stage::List(result, from) => {
                let Purpose::Reply(listing) = self.purpose else { return Step::Done };
                let to = result.len().min(*from + budget.min(LISTED_AT_ONCE));
                let members = SortedSetRef::Tree(result).range(*from..to, false);
                members.for_each(|scored| listing.reply(&mut execution.reply, scored));
                *from = to;
                if to == result.len() { Step::Done } else { Step::More }
            }
        }
    }
}

/// The members of some ranks of a view, on their way to a destination.
pub(super) struct RangeStore {
    database: DatabaseId,
    destination: Vec<u8>,
    way: Way,
}

#[allow(clippy::large_enum_variant)] // one for each command under way
enum Way {
    /// Most of the view: what is left without the others.
    Cut(Option<SortedCut>),
    /// Little of it: a set of its own.
    Copy { view: SortedTree, ranks: Range<u64>, builder: Option<SortedBuilder> },
}

impl RangeStore {
    pub(super) fn new(view: SortedTree, ranks: Range<u64>, database: DatabaseId, destination: &[u8]) -> Self {
        let way = if SortedCut::is_for_part(&ranks, view.len()) {
            Way::Cut(Some(SortedCut::part(view, ranks)))
        } else {
            let builder = Some(SortedBuilder::new(ranks.end - ranks.start, view.hasher().clone()));
            Way::Copy { view, ranks, builder }
        };
        Self { database, destination: destination.into(), way }
    }

    /// About `budget` units more; the set, when it is made.
    fn make(&mut self, budget: u64) -> Option<SortedTree> {
        match &mut self.way {
            Way::Cut(cut) => {
                let is_over = cut.as_mut().is_none_or(|cut| cut.step(budget));
                cut.take_if(|_| is_over).map(SortedCut::into_set)
            }
            Way::Copy { view, ranks, builder } => {
                let building = builder.as_mut()?;
                if ranks.is_empty() {
                    let is_over = building.step(budget, |_, score| score);
                    return builder.take_if(|_| is_over).map(SortedBuilder::into_set);
                }
                let end = ranks.end.min(ranks.start + (budget / SortedBuilder::UNITS_A_PUSH).max(1));
                SortedSetRef::Tree(view).range(ranks.start..end, false).for_each(|scored| building.push(scored));
                ranks.start = end;
                None
            }
        }
    }
}

impl LongWork for RangeStore {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(result) = self.make(budget) else { return Step::More };
        store_made(execution, self.database, &self.destination, result, "zrangestore");
        Step::Done
    }
}
