//! Members from an end or at random: ZPOPMIN, ZPOPMAX, ZMPOP, ZRANDMEMBER.

use super::super::errors::{above_zero, is, pop_count, positive, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::{Listing, edit, report_removal, sorted_set_of};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::values::Type;
use crate::values::large::SortedTree;
use crate::values::sorted_set::{self, SortedSetRef};

/// Past this many, ZRANDMEMBER gives no scores: twice as many elements could not be counted.
const PAIRS_MAX: i64 = i64::MAX / 2;

/// An end of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lowest,
    Highest,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            Self::Lowest => "zpopmin",
            Self::Highest => "zpopmax",
        }
    }
}

/// Removes up to `count` members from an end of the sorted set and lists them; false, and no reply, if there is no
/// such key.
fn pop_some(
    execution: &mut Execution<'_>,
    name: &[u8],
    end: End,
    count: u64,
    listing: Listing,
) -> Result<bool, CommandError> {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(name);
    let Some(mut entry) = keyspace.edit(*database, &key, crate::values::Type::SortedSet, *now)? else {
        return Ok(false);
    };
    let set = SortedSetRef::of(&entry);
    let (length, count) = (set.len(), count.min(set.len()));
    let ranks = if end == End::Lowest { 0..count } else { length - count..length };
    listing.reply_all(reply, set.range(ranks.clone(), end == End::Highest));
    if count == 0 {
        return Ok(true);
    }
    entry.changed(count);
    if count == length {
        entry.remove();
    } else {
        sorted_set::remove_range(&mut entry, ranks);
    }
    execution.effect(&[end.event().as_bytes(), name, itoa::Buffer::new().format(count).as_bytes()]);
    report_removal(execution, end.event(), name, count == length);
    Ok(true)
}

fn pop(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    // One member without a count is not a list of one.
    let (count, listing) = match arguments[2..] {
        [] => (1, Listing::FlatPairs),
        [count] => (positive(count)?, Listing::WithScores),
        _ => return Err(syntax()),
    };
    if !pop_some(execution, arguments[1], end, count as u64, listing)? {
        execution.reply.array(0);
    }
    Ok(())
}

/// `ZPOPMIN key [count]`
pub(super) fn zpopmin(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop(execution, arguments, End::Lowest)
}

/// `ZPOPMAX key [count]`
pub(super) fn zpopmax(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop(execution, arguments, End::Highest)
}

/// `ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]`
pub(super) fn zmpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key_count = above_zero(arguments[1], "ERR numkeys should be greater than 0")?;
    let rest = &arguments[2..];
    let split = usize::try_from(key_count).ok().and_then(|count| rest.split_at_checked(count));
    let Some((keys, [end, options @ ..])) = split else { return Err(syntax()) };
    let end = if is(end, "MIN") {
        End::Lowest
    } else if is(end, "MAX") {
        End::Highest
    } else {
        return Err(syntax());
    };
    let count = pop_count(options)?;
    for key in keys {
        let keyspace_key = execution.keyspace.key(key);
        if edit(execution, &keyspace_key)?.is_some() {
            execution.reply.array(2);
            execution.reply.bulk(key);
            pop_some(execution, key, end, count, Listing::Pairs)?;
            return Ok(());
        }
    }
    execution.reply.null_array();
    Ok(())
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub(super) fn zrandmember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (choice, with_scores) = match arguments[2..] {
        [] => (None, false),
        [count, ref options @ ..] => (Some(Choice::parse(count)?), parse_with_scores(count, options)?),
    };
    let (access, listing) = (execution.access(), Listing::with_scores(with_scores));
    let Execution { keyspace, reply, database, now, random, options, later, .. } = execution;
    let random = random.fork();
    let key = keyspace.key(arguments[1]);
    let set = keyspace.find_typed(*database, &key, *now, access, Type::SortedSet)?.map(sorted_set_of);
    if let (Some(SortedSetRef::Tree(tree)), Some(choice)) = (set, choice)
        && options.is_long_part(choice.count(tree.len() as usize) as u64, tree.len(), tree.bytes())
    {
        let length = tree.len() as usize;
        listing.open(reply, choice.count(length));
        later.put_boxed(choose(tree.clone(), length, choice, random, move |tree: &SortedTree, number, reply| {
            tree.at(number).into_iter().for_each(|scored| listing.reply(reply, scored));
        }));
        return Ok(());
    }
    reply_random(set, reply, choice, listing, random);
    Ok(())
}

fn parse_with_scores(count: &[u8], options: &[&[u8]]) -> Result<bool, CommandError> {
    match options {
        [] => Ok(false),
        [word] if is(word, "WITHSCORES") => {
            let is_countable = parse_integer(count).is_some_and(|count| (-PAIRS_MAX..=PAIRS_MAX).contains(&count));
            if is_countable { Ok(true) } else { Err(super::super::errors::OUT_OF_RANGE.into()) }
        }
        _ => Err(syntax()),
    }
}

fn reply_random(
    set: Option<SortedSetRef<'_>>,
    reply: &mut crate::reply::Reply<'_>,
    choice: Option<Choice>,
    listing: Listing,
    mut random: fastrand::Rng,
) {
    match (set, choice) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => {
            let chosen = set.at(random.u64(..set.len()));
            chosen.into_iter().for_each(|scored| reply_string(reply, scored.member));
        }
        (Some(set), Some(Choice::Repeated(count))) => {
            listing.open(reply, count);
            for _ in 0..count {
                let chosen = set.at(random.u64(..set.len()));
                chosen.into_iter().for_each(|scored| listing.reply(reply, scored));
            }
        }
        (Some(set), Some(Choice::Distinct(count))) => {
            let count = count.min(set.len() as usize);
            listing.open(reply, count);
            let ranks = distinct(count, set.len() as usize, &mut random).into_iter();
            ranks.filter_map(|rank| set.at(rank as u64)).for_each(|scored| listing.reply(reply, scored));
        }
    }
}
