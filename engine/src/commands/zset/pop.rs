//! Members from an end or at random: ZPOPMIN, ZPOPMAX, ZMPOP, ZRANDMEMBER, and BZPOPMIN, BZPOPMAX, BZMPOP, which may wait for
//! some.

use super::super::blocking::{nothing, timeout_ms};
use super::super::errors::{above_zero, is, pop_count, positive, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::removal::{ListedRemoval, Removal};
use super::{Listing, edit, report_removal, sorted_set_of, walk};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::keyspace::Value;
use crate::values::Type;
use crate::values::large::SortedTree;
use crate::values::sorted_set::{self, SortedSetRef};
use std::ops::Range;

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
    let Execution { keyspace, reply, database, now, options, .. } = execution;
    let key = keyspace.key(name);
    let Some(mut entry) = keyspace.edit(*database, &key, crate::values::Type::SortedSet, *now)? else {
        return Ok(false);
    };
    let set = SortedSetRef::of(&entry);
    let (length, count) = (set.len(), count.min(set.len()));
    let ranks = if end == End::Lowest { 0..count } else { length - count..length };
    if let SortedSetRef::Tree(tree) = set
        && (Removal::is_long(options, &ranks, tree) || options.is_long_part(count, length, tree.bytes()))
    {
        listing.open(reply, count as usize);
        let view = tree.clone();
        pop_in_slices(execution, name, end, view, ranks, listing);
        return Ok(true);
    }
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

/// The same for many members, whose number has been told.
fn pop_in_slices(
    execution: &mut Execution<'_>,
    name: &[u8],
    end: End,
    view: SortedTree,
    ranks: Range<u64>,
    listing: Listing,
) {
    let count = ranks.end - ranks.start;
    let listing = walk(&view, ranks.clone(), end == End::Highest, listing);
    execution.effect(&[end.event().as_bytes(), name, itoa::Buffer::new().format(count).as_bytes()]);
    if count < view.len() {
        let removal = Some(Removal::begin(execution, name, view, ranks, end.event()));
        return execution.later.put(ListedRemoval { removal, listing });
    }
    let key = execution.keyspace.key(name);
    if let Ok(Some(mut entry)) = edit(execution, &key) {
        entry.changed(count);
        entry.remove();
        report_removal(execution, end.event(), name, true);
    }
    execution.later.put(listing);
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

/// `BZPOPMIN key [key ...] timeout`
pub(super) fn bzpopmin(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_or_wait(execution, arguments, End::Lowest)
}

/// `BZPOPMAX key [key ...] timeout`
pub(super) fn bzpopmax(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_or_wait(execution, arguments, End::Highest)
}

fn pop_or_wait(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    let [_, keys @ .., timeout] = arguments else { return Err(syntax()) };
    timeout_ms(timeout)?;
    for key in keys {
        let keyspace_key = execution.keyspace.key(key);
        if edit(execution, &keyspace_key)?.is_some() {
            execution.reply.array(3);
            execution.reply.bulk(key);
            pop_some(execution, key, end, 1, Listing::Bare)?;
            return Ok(());
        }
    }
    nothing(execution);
    execution.reply.null_array();
    Ok(())
}

/// `ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]`
pub(super) fn zmpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_from_first(execution, arguments, None)
}

/// `BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]`
pub(super) fn bzmpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_from_first(execution, &arguments[1..], Some(arguments[1]))
}

/// The arguments begin in front of the number of keys.
fn pop_from_first(execution: &mut Execution<'_>, arguments: &[&[u8]], timeout: Option<&[u8]>) -> CommandResult {
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
    if let Some(timeout) = timeout {
        timeout_ms(timeout)?;
    }
    for key in keys {
        let keyspace_key = execution.keyspace.key(key);
        if edit(execution, &keyspace_key)?.is_some() {
            execution.reply.array(2);
            execution.reply.bulk(key);
            pop_some(execution, key, end, count, Listing::Pairs)?;
            return Ok(());
        }
    }
    if timeout.is_some() {
        nothing(execution);
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
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::SortedSet)?;
    let set = entry.map(sorted_set_of);
    if let (Some(entry), Some(set), Some(choice)) = (entry, set, choice) {
        let length = set.len() as usize;
        let count = choice.count(length);
        let is_long = match set {
            SortedSetRef::Tree(tree) => options.is_long_part(count as u64, tree.len(), tree.bytes()),
            // Few members, of which any number may be wanted; each is looked for from the first one on.
            SortedSetRef::Listpack(_) => count > length && options.is_long((count * length) as u64, 0),
        };
        if is_long {
            listing.open(reply, count);
            let view = entry.to_owned().value;
            later.put_boxed(choose(view, length, choice, random, move |view: &Value, number, reply| {
                let set = SortedSetRef::new(view.packed_bytes(), view.object());
                set.at(number).into_iter().for_each(|scored| listing.reply(reply, scored));
            }));
            return Ok(());
        }
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
