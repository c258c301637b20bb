//! Choosing elements at random: SRANDMEMBER, HRANDFIELD, ZRANDMEMBER, and SPOP.

use super::errors::{OUT_OF_RANGE, integer};
use crate::command::CommandError;
use crate::long::{LongWork, ViewWalk};
use crate::reply::Reply;
use std::collections::BTreeSet;

/// A reply of more elements than this is refused: chosen with repetition, a handful of elements could fill any memory.
const CHOSEN_MAX: u64 = 1 << 24;

/// How many elements a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// So many different ones, or all.
    Distinct(usize),
    /// So many, the same one perhaps again.
    Repeated(usize),
}

impl Choice {
    /// How many elements of so many it comes to.
    pub(super) fn count(self, length: usize) -> usize {
        match self {
            Self::Distinct(count) => count.min(length),
            Self::Repeated(count) => count,
        }
    }

    /// From a count; a negative one allows repetition.
    pub(super) fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let count = integer(text)?;
        if count == i64::MIN {
            let (min, max) = (-i64::MAX, i64::MAX);
            return Err(format!("{OUT_OF_RANGE}, value must between {min} and {max}").into());
        }
        if count >= 0 {
            return Ok(Self::Distinct(count as usize));
        }
        if count.unsigned_abs() > CHOSEN_MAX {
            return Err(OUT_OF_RANGE.into());
        }
        Ok(Self::Repeated(count.unsigned_abs() as usize))
    }
}

/// `count` different numbers below `length`, ascending; `count` is at most `length`. Each choice is as likely as any other.
pub(super) fn distinct(count: usize, length: usize, random: &mut fastrand::Rng) -> Vec<usize> {
    if count == length {
        return (0..length).collect();
    }
    // Robert Floyd's: for each of the last `count` numbers, it or one below it, whichever is free.
    let mut chosen = BTreeSet::new();
    for last in length - count..length {
        let number = random.usize(..=last);
        if !chosen.insert(number) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

/// Floyd's way takes memory for each number: it is for so many at the most.
const DISTINCT_AT_ONCE: usize = 4096;

/// A choice out of a large view, made and listed slice by slice. `visit` encodes the element of a number.
pub(super) fn choose<V: 'static>(
    view: V,
    length: usize,
    choice: Choice,
    random: fastrand::Rng,
    visit: impl Fn(&V, u64, &mut Reply<'_>) + 'static,
) -> Box<dyn LongWork> {
    let mut random = random;
    match choice {
        Choice::Repeated(count) => Box::new(ViewWalk::new(view, 0..count as u64, move |view: &V, turns, reply| {
            turns.for_each(|_| visit(view, random.u64(..length as u64), reply));
        })),
        Choice::Distinct(count) if count.min(length) <= DISTINCT_AT_ONCE => {
            let count = count.min(length);
            let chosen = distinct(count, length, &mut random);
            Box::new(ViewWalk::new(view, 0..count as u64, move |view: &V, turns, reply| {
                turns.for_each(|turn| visit(view, chosen[turn as usize] as u64, reply));
            }))
        }
        Choice::Distinct(count) => {
            // One number after the other: each is taken with the chance of those still wanted among those still to come.
            let mut wanted = count.min(length) as u64;
            Box::new(ViewWalk::new(view, 0..length as u64, move |view: &V, numbers, reply| {
                for number in numbers {
                    if random.u64(..length as u64 - number) < wanted {
                        wanted -= 1;
                        visit(view, number, reply);
                    }
                }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_fair_and_distinct() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let chosen = distinct(3, 10, &mut random);
            assert!(chosen.len() == 3 && chosen.is_sorted_by(|a, b| a < b));
            chosen.iter().for_each(|number| counts[*number] += 1);
        }
        assert!(counts.iter().all(|count| (2700..3300).contains(count)), "{counts:?}");
        assert_eq!(distinct(4, 4, &mut random), [0, 1, 2, 3]);
    }
}
