//! Several sets at once: intersections, unions and differences, as replies, as numbers, and stored.
//!
//! * Intersection: the members of the smallest set that all others have.
//! * Difference: the members of the first set that none of the others has.
//! * Union: the members of each set that no set before it has; of many sets, all in one new set.
//!
//! Nothing is copied for a reply but into it. Large sets are worked on in slices ([`combination`](super::combination)). All sets are of one keyspace, and the result goes there too: spreading over
//! shards is the dispatcher's work.

use super::super::errors::{is, syntax};
use super::super::string::reply_string;
use super::combination::{Combination, Purpose};
use super::{new_set, set_of};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds, parse_integer};
use crate::journal::EventClass;
use crate::keyspace::{Access, Keyspace};
use crate::long::report_ahead;
use crate::values::set::{self, SetRef};
use crate::values::{Element, Encodings, NewCollection, StringRef, Type};
use smallvec::SmallVec;

/// A union of more sets than this is collected in a new set, since looking into all earlier ones would take longer.
pub(super) const UNION_LOOKED_UP_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Intersection,
    Union,
    Difference,
}

/// The sets of some keys; none where a key is absent.
type Sets<'k> = SmallVec<[Option<SetRef<'k>>; 4]>;

/// Looks all keys up, in order, as reads of the client. Each look-up may remove an expired key and so move others: what was
/// found is looked up again when all have been.
fn read_sets(
    keyspace: &mut Keyspace,
    database: usize,
    keys: &[&[u8]],
    now: Milliseconds,
    access: Access,
) -> CommandResult {
    for key in keys {
        keyspace.find_typed(database, &keyspace.key(key), now, access, Type::Set)?;
    }
    Ok(())
}

/// Visits the members of a result until `visit` says that it has enough.
fn each_member<'k>(
    operation: Operation,
    mut sets: Sets<'k>,
    make_set: impl FnOnce(StringRef<'_>) -> NewCollection,
    add: impl Fn(&mut NewCollection, StringRef<'_>) -> bool,
    mut visit: impl FnMut(StringRef<'k>) -> bool,
) {
    match operation {
        Operation::Intersection => {
            if sets.iter().any(Option::is_none) {
                return;
            }
            sets.sort_by_key(|set| set.map_or(0, |set| set.len()));
            let Some((Some(smallest), others)) = sets.split_first() else { return };
            let in_all = |member: &StringRef<'_>| others.iter().flatten().all(|set| set.contains_ref(*member));
            smallest.iter().filter(in_all).all(visit);
        }
        Operation::Difference => {
            let Some((Some(first), others)) = sets.split_first_mut() else { return };
            others.sort_by_key(|set| std::cmp::Reverse(set.map_or(0, |set| set.len())));
            let in_none = |member: &StringRef<'_>| !others.iter().flatten().any(|set| set.contains_ref(*member));
            first.iter().filter(in_none).all(visit);
        }
        Operation::Union if sets.len() <= UNION_LOOKED_UP_MAX => {
            for (index, set) in sets.iter().enumerate() {
                let is_new =
                    |member: &StringRef<'_>| !sets[..index].iter().flatten().any(|set| set.contains_ref(*member));
                if !set.iter().flat_map(SetRef::iter).filter(is_new).all(&mut visit) {
                    return;
                }
            }
        }
        Operation::Union => {
            let mut members = sets.iter().flatten().flat_map(SetRef::iter);
            let Some(first) = members.next() else { return };
            let mut seen = make_set(first);
            add(&mut seen, first);
            if visit(first) {
                members.filter(|member| add(&mut seen, *member)).all(visit);
            }
        }
    }
}

/// Runs an operation on keys that have been read; `visit` gets the members until it says that it has enough.
fn run<'k>(
    keyspace: &'k Keyspace,
    place: (usize, Milliseconds),
    limits: &Encodings,
    operation: Operation,
    keys: &[&[u8]],
    visit: impl FnMut(StringRef<'k>) -> bool,
) {
    let (database, now) = place;
    let hasher = keyspace.member_hasher();
    let sets = keys.iter().map(|key| keyspace.peek(database, &keyspace.key(key), now).map(set_of)).collect();
    let make_set = |first: StringRef<'_>| new_set(hasher, Element::from(first), 1, limits);
    let add = |seen: &mut NewCollection, member: StringRef<'_>| set::add(seen, member.into(), limits, hasher);
    each_member(operation, sets, make_set, add, visit);
}

/// Hands over work on large sets, if it is that: all of them are frozen now. Types have not been checked.
fn is_begun_later(execution: &mut Execution<'_>, operation: Operation, keys: &[&[u8]], purpose: Purpose) -> bool {
    let Execution { keyspace, database, now, options, later, .. } = execution;
    let entries = || keys.iter().map(|key| keyspace.peek(*database, &keyspace.key(key), *now));
    // An estimate from below tells small sets without taking hold of them.
    let lengths = entries().flatten().map(|entry| set_of(entry).len() as u64);
    if lengths.sum::<u64>().saturating_mul(keys.len() as u64) <= options.units_at_once {
        return false;
    }
    if entries().flatten().any(|entry| entry.kind() != Type::Set) {
        return false;
    }
    let sets = entries().map(|entry| entry.map(|entry| entry.to_owned().value)).collect();
    let Some(work) = Combination::begin(operation, sets, purpose, options.units_at_once) else { return false };
    later.put(work);
    true
}

fn reply_members(execution: &mut Execution<'_>, operation: Operation, keys: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    read_sets(execution.keyspace, execution.database, keys, execution.now, access)?;
    if is_begun_later(execution, operation, keys, Purpose::Reply) {
        return Ok(());
    }
    let Execution { keyspace, reply, database, now, options, .. } = execution;
    let mut members: Vec<StringRef<'_>> = Vec::new();
    run(keyspace, (*database, *now), &options.encodings, operation, keys, |member| {
        members.push(member);
        true
    });
    reply.set(members.len());
    members.into_iter().for_each(|member| reply_string(reply, member));
    Ok(())
}

/// `SINTER key [key ...]`
pub(super) fn sinter(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, Operation::Intersection, &arguments[1..])
}

/// `SUNION key [key ...]`
pub(super) fn sunion(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, Operation::Union, &arguments[1..])
}

/// `SDIFF key [key ...]`
pub(super) fn sdiff(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, Operation::Difference, &arguments[1..])
}

fn store(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    operation: Operation,
    event: &'static str,
) -> CommandResult {
    let (access, destination, keys) = (execution.access(), arguments[1], &arguments[2..]);
    read_sets(execution.keyspace, execution.database, keys, execution.now, access)?;
    let database = execution.keyspace.database_id(execution.database);
    if is_begun_later(execution, operation, keys, Purpose::Store { database, destination: destination.into(), event }) {
        report_ahead(execution, destination, arguments);
        return Ok(());
    }
    let Execution { keyspace, database, now, options, .. } = execution;
    let (limits, hasher) = (&options.encodings, keyspace.member_hasher().clone());
    let mut result: Option<NewCollection> = None;
    run(keyspace, (*database, *now), limits, operation, keys, |member| {
        let element = Element::from(member);
        let result = result.get_or_insert_with(|| new_set(&hasher, element, 1, limits));
        set::add(result, element, limits, &hasher);
        true
    });
    let count = result.as_ref().map_or(0, |result| SetRef::of(result).len());
    commit(execution, destination, result, Some(arguments), event);
    execution.reply.integer(count as i64);
    Ok(())
}

/// Puts a result in the place of what is under a key. Without an effect to report, that has been done.
pub(super) fn commit(
    execution: &mut Execution<'_>,
    destination: &[u8],
    result: Option<NewCollection>,
    effect: Option<&[&[u8]]>,
    event: &'static str,
) {
    let Execution { keyspace, database, now, .. } = execution;
    let key = keyspace.key(destination);
    match result {
        Some(mut result) => {
            keyspace.create(*database, &key, &mut result, *now);
            keyspace.dirty += 1;
            if let Some(arguments) = effect {
                execution.effect(arguments);
            }
            execution.event(EventClass::Set, event, destination);
        }
        None if keyspace.remove(*database, &key, *now) => {
            if effect.is_some() {
                execution.effect(&[b"DEL", destination]);
            }
            execution.event(EventClass::Generic, "del", destination);
        }
        None => {}
    }
}

/// `SINTERSTORE destination key [key ...]`
pub(super) fn sinterstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Intersection, "sinterstore")
}

/// `SUNIONSTORE destination key [key ...]`
pub(super) fn sunionstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Union, "sunionstore")
}

/// `SDIFFSTORE destination key [key ...]`
pub(super) fn sdiffstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Difference, "sdiffstore")
}

/// Arguments in two parts.
type Parts<'a, 'b> = (&'b [&'a [u8]], &'b [&'a [u8]]);

/// The number of keys, and the rest behind it.
fn counted_keys<'a, 'b>(arguments: &'b [&'a [u8]]) -> Result<Parts<'a, 'b>, CommandError> {
    let count = parse_integer(arguments[1])
        .filter(|count| *count > 0)
        .ok_or(CommandError::from("ERR numkeys should be greater than 0"))?;
    let rest = &arguments[2..];
    usize::try_from(count)
        .ok()
        .and_then(|count| rest.split_at_checked(count))
        .ok_or_else(|| "ERR Number of keys can't be greater than number of args".into())
}

/// `[LIMIT limit]`, and APPROX where it is known: the exact number is as good. No limit is zero.
fn parse_limit(words: &[&[u8]], knows_approximation: bool) -> Result<usize, CommandError> {
    let mut limit = 0;
    let mut rest = words;
    while let [word, more @ ..] = rest {
        rest = more;
        if knows_approximation && is(word, "APPROX") {
            continue;
        }
        let ([number, more @ ..], true) = (rest, is(word, "LIMIT")) else { return Err(syntax()) };
        rest = more;
        limit = parse_integer(number)
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or(CommandError::from("ERR LIMIT can't be negative"))?;
    }
    Ok(limit)
}

fn count_members(execution: &mut Execution<'_>, arguments: &[&[u8]], operation: Operation) -> CommandResult {
    let (keys, options) = counted_keys(arguments)?;
    let limit = parse_limit(options, operation == Operation::Union)?;
    let access = execution.access();
    read_sets(execution.keyspace, execution.database, keys, execution.now, access)?;
    if is_begun_later(execution, operation, keys, Purpose::Count { limit }) {
        return Ok(());
    }
    let Execution { keyspace, reply, database, now, options, .. } = execution;
    let mut count = 0;
    run(keyspace, (*database, *now), &options.encodings, operation, keys, |_| {
        count += 1;
        count != limit
    });
    reply.integer(count as i64);
    Ok(())
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
pub(super) fn sintercard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_members(execution, arguments, Operation::Intersection)
}

/// `SUNIONCARD numkeys key [key ...] [APPROX] [LIMIT limit]`
pub(super) fn sunioncard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_members(execution, arguments, Operation::Union)
}

/// `SDIFFCARD numkeys key [key ...] [LIMIT limit]`
pub(super) fn sdiffcard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_members(execution, arguments, Operation::Difference)
}
