//! What is asked by rank, score or name: ZRANGE with its older relatives, ZRANGESTORE, ZCOUNT, ZLEXCOUNT, ZREMRANGEBY*.
//!
//! Each of them finds the ranks of its range first, then reads or removes these.

use super::super::errors::{integer, is, syntax};
use super::bounds::Bounds;
use super::combination::RangeStore;
use super::removal::{RangeRemoval, Removal};
use super::{Listing, edit, find, report_removal, sorted_set_of, store_result, walk};
use crate::command::{CommandError, CommandResult, Execution};
use crate::long::report_ahead;
use crate::values::Type;
use crate::values::sorted_set::{self, SortedSetRef};
use std::ops::Range;

/// What a range is given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// What a command leaves its client to say.
#[derive(Clone, Copy, Debug)]
struct Dialect {
    by: Option<By>,
    downward: Option<bool>,
    /// Whether scores may be asked for.
    lists: bool,
}

impl Dialect {
    const fn of(by: By, downward: bool) -> Self {
        Self { by: Some(by), downward: Some(downward), lists: true }
    }
}

/// A range that a client asks for.
#[derive(Clone, Copy, Debug)]
struct RangeRequest<'a> {
    bounds: Bounds<'a>,
    downward: bool,
    with_scores: bool,
    /// Members of the range to pass over; of a negative number of them, all.
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> RangeRequest<'a> {
    /// From `min max [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`.
    fn parse(arguments: &[&'a [u8]], dialect: Dialect) -> Result<Self, CommandError> {
        let Dialect { mut by, mut downward, lists } = dialect;
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut rest = &arguments[2..];
        while let [word, more @ ..] = rest {
            rest = more;
            if lists && is(word, "WITHSCORES") {
                with_scores = true;
            } else if let ([first, count, more @ ..], true) = (rest, is(word, "LIMIT")) {
                (offset, limit) = (integer(first)?, integer(count)?);
                rest = more;
            } else if downward.is_none() && is(word, "REV") {
                downward = Some(true);
            } else if by.is_none() && is(word, "BYLEX") {
                by = Some(By::Name);
            } else if by.is_none() && is(word, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(syntax());
            }
        }
        let (by, downward) = (by.unwrap_or(By::Rank), downward.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            let only = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(only.into());
        }
        if with_scores && by == By::Name {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX".into());
        }
        let (min, max) = (arguments[0], arguments[1]);
        let bounds = match (by, downward) {
            (By::Rank, _) => Bounds::ranks(min, max)?,
            (By::Score, false) => Bounds::scores(min, max)?,
            (By::Score, true) => Bounds::scores(max, min)?,
            (By::Name, false) => Bounds::names(min, max)?,
            (By::Name, true) => Bounds::names(max, min)?,
        };
        let (offset, limit) = if by == By::Rank { (0, -1) } else { (offset, limit) };
        Ok(Self { bounds, downward, with_scores, offset, limit })
    }

    /// The ranks that are asked for.
    fn ranks_in(&self, set: SortedSetRef<'_>) -> Range<u64> {
        let Range { start, end } = self.bounds.ranks_in(set, self.downward);
        let offset = u64::try_from(self.offset).unwrap_or(u64::MAX).min(end - start);
        let count = u64::try_from(self.limit).unwrap_or(u64::MAX).min(end - start - offset);
        if self.downward { end - offset - count..end - offset } else { start + offset..start + offset + count }
    }
}

fn reply_range(execution: &mut Execution<'_>, arguments: &[&[u8]], dialect: Dialect) -> CommandResult {
    let request = RangeRequest::parse(&arguments[2..], dialect)?;
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::SortedSet)?;
    let Some(set) = entry.map(sorted_set_of) else {
        reply.array(0);
        return Ok(());
    };
    let (ranks, listing) = (request.ranks_in(set), Listing::with_scores(request.with_scores));
    if let SortedSetRef::Tree(tree) = set
        && options.is_long_part(ranks.end - ranks.start, tree.len(), tree.bytes())
    {
        listing.open(reply, (ranks.end - ranks.start) as usize);
        later.put(walk(tree, ranks, request.downward, listing));
        return Ok(());
    }
    listing.reply_all(reply, set.range(ranks, request.downward));
    Ok(())
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub(super) fn zrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect { by: None, downward: None, lists: true })
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub(super) fn zrevrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect::of(By::Rank, true))
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrangebyscore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect::of(By::Score, false))
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrevrangebyscore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect::of(By::Score, true))
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub(super) fn zrangebylex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect::of(By::Name, false))
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub(super) fn zrevrangebylex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_range(execution, arguments, Dialect::of(By::Name, true))
}

/// `ZRANGESTORE destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub(super) fn zrangestore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let request = RangeRequest::parse(&arguments[3..], Dialect { by: None, downward: None, lists: false })?;
    let options = execution.options;
    let (set, _) = find(execution, arguments[2])?;
    let ranks = set.map(|set| request.ranks_in(set));
    if let (Some(SortedSetRef::Tree(tree)), Some(ranks)) = (set, ranks)
        && options.is_long_part(ranks.end - ranks.start, tree.len(), tree.bytes())
    {
        let view = tree.clone();
        let (database, destination) = (execution.keyspace.database_id(execution.database), arguments[1].to_vec());
        report_ahead(execution, arguments[1], arguments);
        execution.later.put(RangeStore::new(view, ranks, database, &destination));
        return Ok(());
    }
    // Upwards in any case: a result has its own order.
    let members: Vec<(f64, Vec<u8>)> = set.map_or_else(Vec::new, |set| {
        let members = set.range(request.ranks_in(set), false);
        members.map(|scored| (scored.score, scored.member.to_bytes().into_owned())).collect()
    });
    store_result(execution, arguments, arguments[1], &members, "zrangestore");
    Ok(())
}

fn count(execution: &mut Execution<'_>, key: &[u8], bounds: Bounds<'_>) -> CommandResult {
    let (set, reply) = find(execution, key)?;
    let ranks = set.map_or(0..0, |set| bounds.ranks_in(set, false));
    reply.integer((ranks.end - ranks.start) as i64);
    Ok(())
}

/// `ZCOUNT key min max`
pub(super) fn zcount(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count(execution, arguments[1], Bounds::scores(arguments[2], arguments[3])?)
}

/// `ZLEXCOUNT key min max`
pub(super) fn zlexcount(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count(execution, arguments[1], Bounds::names(arguments[2], arguments[3])?)
}

fn remove(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    bounds: Bounds<'_>,
    event: &'static str,
) -> CommandResult {
    let (key, options) = (execution.keyspace.key(arguments[1]), execution.options);
    let (mut removed, mut is_empty, mut by_rank) = (0, false, None);
    if let Some(mut entry) = edit(execution, &key)? {
        let set = SortedSetRef::of(&entry);
        let ranks = bounds.ranks_in(set, false);
        by_rank = told_by_rank(&bounds, set, &ranks);
        removed = ranks.end - ranks.start;
        is_empty = removed == set.len();
        if let SortedSetRef::Tree(tree) = set
            && Removal::is_long(options, &ranks, tree)
        {
            let view = tree.clone();
            let removal = Removal::begin(execution, arguments[1], view, ranks, event);
            tell_removal(execution, arguments, by_rank);
            execution.later.put(RangeRemoval(removal));
            return Ok(());
        }
        entry.changed(removed);
        if is_empty {
            entry.remove();
        } else {
            sorted_set::remove_range(&mut entry, ranks);
        }
    }
    execution.reply.integer(removed as i64);
    if removed > 0 {
        tell_removal(execution, arguments, by_rank);
        report_removal(execution, event, arguments[1], is_empty);
    }
    Ok(())
}

/// First and last rank of a range of names among members of several scores. Redis says nothing of such a range, and what it is
/// depends on how the members are kept; told by rank it is the same everywhere.
fn told_by_rank(bounds: &Bounds<'_>, set: SortedSetRef<'_>, ranks: &Range<u64>) -> Option<[String; 2]> {
    let score_at = |rank: u64| set.at(rank).map(|at| at.score);
    let is_mixed = matches!(bounds, Bounds::Names(_)) && score_at(0) != score_at(set.len().saturating_sub(1));
    (is_mixed && !ranks.is_empty()).then(|| [ranks.start, ranks.end - 1].map(|rank| rank.to_string()))
}

fn tell_removal(execution: &mut Execution<'_>, arguments: &[&[u8]], by_rank: Option<[String; 2]>) {
    match by_rank {
        Some([first, last]) => {
            execution.effect(&[b"ZREMRANGEBYRANK", arguments[1], first.as_bytes(), last.as_bytes()]);
        }
        None => execution.effect(arguments),
    }
}

/// `ZREMRANGEBYRANK key start stop`
pub(super) fn zremrangebyrank(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    remove(execution, arguments, Bounds::ranks(arguments[2], arguments[3])?, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`
pub(super) fn zremrangebyscore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    remove(execution, arguments, Bounds::scores(arguments[2], arguments[3])?, "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`
pub(super) fn zremrangebylex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    remove(execution, arguments, Bounds::names(arguments[2], arguments[3])?, "zremrangebylex")
}
