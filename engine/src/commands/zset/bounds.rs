//! Bounds of ranges by score and by name, and what ranks they mean in a sorted set.

use super::super::double;
use crate::command::CommandError;
use crate::values::sorted_set::SortedSetRef;
use std::ops::Range;

const NO_SCORE: &str = "ERR min or max is not a float";
const NO_NAME: &str = "ERR min or max not valid string range item";

/// `(number` or `number`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreBound {
    score: f64,
    is_exclusive: bool,
}

impl ScoreBound {
    fn parse(text: &[u8]) -> Option<Self> {
        let (number, is_exclusive) = match text {
            [b'(', number @ ..] => (number, true),
            number => (number, false),
        };
        Some(Self { score: double::parse_bound(number)?, is_exclusive })
    }
}

/// `-`, `+`, `(name` or `[name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameBound<'a> {
    Lowest,
    Highest,
    Name { name: &'a [u8], is_exclusive: bool },
}

impl<'a> NameBound<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            [b'-'] => Some(Self::Lowest),
            [b'+'] => Some(Self::Highest),
            [b'(', name @ ..] => Some(Self::Name { name, is_exclusive: true }),
            [b'[', name @ ..] => Some(Self::Name { name, is_exclusive: false }),
            _ => None,
        }
    }

    /// How many members are below a range that begins here, or in or below one that ends here.
    fn rank(self, set: SortedSetRef<'_>, is_end: bool) -> u64 {
        match self {
            Self::Lowest => 0,
            Self::Highest => set.len(),
            Self::Name { name, is_exclusive } => set.rank_of_member(name, is_end != is_exclusive),
        }
    }
}

/// A range of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bounds<'a> {
    /// First and last rank; negative ones count from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Names(NameRange<'a>),
}

/// From a score to a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoreRange {
    min: ScoreBound,
    max: ScoreBound,
}

/// From a name to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameRange<'a> {
    min: NameBound<'a>,
    max: NameBound<'a>,
}

impl<'a> Bounds<'a> {
    pub(super) fn ranks(first: &[u8], last: &[u8]) -> Result<Self, CommandError> {
        Ok(Self::Ranks(super::super::errors::integer(first)?, super::super::errors::integer(last)?))
    }

    pub(super) fn scores(min: &[u8], max: &[u8]) -> Result<Self, CommandError> {
        match (ScoreBound::parse(min), ScoreBound::parse(max)) {
            (Some(min), Some(max)) => Ok(Self::Scores(ScoreRange { min, max })),
            _ => Err(NO_SCORE.into()),
        }
    }

    pub(super) fn names(min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        match (NameBound::parse(min), NameBound::parse(max)) {
            (Some(min), Some(max)) => Ok(Self::Names(NameRange { min, max })),
            _ => Err(NO_NAME.into()),
        }
    }

    /// The ranks in a sorted set, counted from its lowest member, or of `Ranks`, if so told, from its highest; an empty
    /// range is one whose start is its end.
    pub(super) fn ranks_in(&self, set: SortedSetRef<'_>, downward: bool) -> Range<u64> {
        let length = set.len();
        let (start, end) = match *self {
            Self::Ranks(first, last) => {
                let from_front = |rank: i64| if rank < 0 { rank.saturating_add_unsigned(length) } else { rank };
                let first = from_front(first).max(0) as u64;
                let end = (from_front(last).saturating_add(1).max(0) as u64).min(length);
                if downward && first < end { (length - end, length - first) } else { (first, end) }
            }
            Self::Scores(ScoreRange { min, max }) => {
                (set.rank_of_score(min.score, min.is_exclusive), set.rank_of_score(max.score, !max.is_exclusive))
            }
            Self::Names(NameRange { min, max }) => (min.rank(set, false), max.rank(set, true)),
        };
        start.min(end)..end
    }
}
