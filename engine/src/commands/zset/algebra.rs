//! Several sorted sets at once: unions, intersections and differences, as replies, as numbers, and stored. A plain set may
//! stand for a sorted set whose scores are all 1.
//!
//! ```text
//!   union          all members of all inputs, sorted by name; the scores of equal names, in the inputs' order, are one
//!   intersection   the members of the smallest input that all others have
//!   difference     the members of the first input that none of the others has
//!                  -> sorted by score and name -> reply, or packed into the destination
//! ```
//!
//! Sums of doubles depend on their order: it is the real server's, the smallest input first. Large sets are worked on in
//! slices ([`combination`](super::combination)).

use super::super::double::{self};
use super::super::errors::{is, syntax, wrong_type};
use super::combination::{self, Combination};
use super::{Listing, sorted_set_of};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds, parse_integer};
use crate::journal::EventClass;
use crate::keyspace::{DatabaseId, Keyspace};
use crate::long::report_ahead;
use crate::values::large::{Scored, SortedTree};
use crate::values::set::SetRef;
use crate::values::sorted_set::{self, SortedSetRef};
use crate::values::{NewCollection, StringRef, Type};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Members in the order of score and name.
type Members<'k> = Vec<(f64, Cow<'k, [u8]>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Intersection,
    Union,
    Difference,
}

/// How the scores of equal members become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Aggregate {
    #[default]
    Sum,
    Minimum,
    Maximum,
    /// The sum of the inputs' weights.
    Count,
}

impl Aggregate {
    fn parse(word: &[u8]) -> Option<Self> {
        let names = [("SUM", Self::Sum), ("MIN", Self::Minimum), ("MAX", Self::Maximum), ("COUNT", Self::Count)];
        names.into_iter().find(|(name, _)| is(word, name)).map(|(_, aggregate)| aggregate)
    }

    /// What an input's score counts.
    pub(super) fn weigh(self, score: f64, weight: f64) -> f64 {
        if self == Self::Count { weight } else { score * weight }
    }

    /// Infinities of both signs add up to zero.
    pub(super) fn join(self, sum: f64, score: f64) -> f64 {
        match self {
            Self::Sum | Self::Count => number(sum + score),
            Self::Minimum if score < sum => score,
            Self::Maximum if score > sum => score,
            Self::Minimum | Self::Maximum => sum,
        }
    }
}

/// Zero in the place of what is not a number.
pub(super) fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set or sorted set.
#[derive(Clone, Copy)]
enum Source<'k> {
    Sorted(SortedSetRef<'k>),
    Plain(SetRef<'k>),
}

impl<'k> Source<'k> {
    fn len(&self) -> u64 {
        match self {
            Self::Sorted(set) => set.len(),
            Self::Plain(set) => set.len() as u64,
        }
    }

    fn score(&self, member: StringRef<'_>) -> Option<f64> {
        match self {
            Self::Sorted(set) => member.with_bytes(|member| set.score(member)),
            Self::Plain(set) => set.contains_ref(member).then_some(1.0),
        }
    }

    /// Visits members until `visit` says that it has enough.
    fn each(&self, visit: impl FnMut(Scored<'k>) -> bool) {
        match self {
            Self::Sorted(set) => set.iter().all(visit),
            Self::Plain(set) => set.iter().map(|member| Scored { score: 1.0, member }).all(visit),
        };
    }
}

/// A key's set, if there is one, and its weight.
#[derive(Clone, Copy)]
struct Input<'k> {
    source: Option<Source<'k>>,
    weight: f64,
}

impl Input<'_> {
    fn len(&self) -> u64 {
        self.source.map_or(0, |source| source.len())
    }
}

type Inputs<'k> = SmallVec<[Input<'k>; 4]>;

/// What follows the keys.
#[derive(Clone, Debug, Default)]
struct Options {
    weights: SmallVec<[f64; 4]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Zero: none.
    limit: u64,
}

/// What a command does with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

impl Options {
    fn parse(words: &[&[u8]], operation: Operation, purpose: Purpose, key_count: usize) -> Result<Self, CommandError> {
        let combines = operation != Operation::Difference && purpose != Purpose::Count;
        let (mut options, mut rest) = (Self::default(), words);
        while let [word, more @ ..] = rest {
            rest = more;
            if combines
                && is(word, "WEIGHTS")
                && let Some((weights, more)) = rest.split_at_checked(key_count)
            {
                let no_weight = || CommandError::from("ERR weight value is not a float");
                let weights = weights.iter().map(|weight| double::parse(weight).ok_or_else(no_weight));
                options.weights = weights.collect::<Result<_, _>>()?;
                rest = more;
            } else if combines
                && is(word, "AGGREGATE")
                && let [name, more @ ..] = rest
            {
                options.aggregate = Aggregate::parse(name).ok_or_else(syntax)?;
                rest = more;
            } else if purpose == Purpose::Reply && is(word, "WITHSCORES") {
                options.with_scores = true;
            } else if purpose == Purpose::Count
                && is(word, "LIMIT")
                && let [limit, more @ ..] = rest
            {
                let limit = parse_integer(limit).and_then(|limit| u64::try_from(limit).ok());
                options.limit = limit.ok_or(CommandError::from("ERR LIMIT can't be negative"))?;
                rest = more;
            } else {
                return Err(syntax());
            }
        }
        Ok(options)
    }
}

/// Arguments in two parts.
type Parts<'a, 'b> = (&'b [&'a [u8]], &'b [&'a [u8]]);

/// The number of keys, and the arguments behind it divided into keys and options.
fn counted_keys<'a, 'b>(arguments: &'b [&'a [u8]], name: &str) -> Result<Parts<'a, 'b>, CommandError> {
    let count = super::super::errors::integer(arguments[0])?;
    if count < 1 {
        return Err(format!("ERR at least 1 input key is needed for '{name}' command").into());
    }
    let rest = &arguments[1..];
    usize::try_from(count).ok().and_then(|count| rest.split_at_checked(count)).ok_or_else(syntax)
}

/// Looks all keys up, in order, as reads of the client. Each look-up may remove an expired key and so move others: what was
/// found is looked up again when all have been.
fn check(execution: &mut Execution<'_>, keys: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, database, now, .. } = execution;
    for key in keys {
        let entry = keyspace.find(*database, &keyspace.key(key), *now, access);
        if entry.is_some_and(|entry| !matches!(entry.kind(), Type::SortedSet | Type::Set)) {
            return Err(wrong_type());
        }
    }
    Ok(())
}

/// The sets of keys that have been checked.
fn read<'k>(keyspace: &'k Keyspace, database: usize, now: Milliseconds, keys: &[&[u8]], weights: &[f64]) -> Inputs<'k> {
    let weights = weights.iter().copied().chain(std::iter::repeat(1.0));
    let input = |(key, weight): (&&[u8], f64)| {
        let entry = keyspace.peek(database, &keyspace.key(key), now);
        let source = entry.map(|entry| match entry.kind() {
            Type::Set => Source::Plain(SetRef::new(entry.form(), entry.packed_bytes(), entry.object())),
            _ => Source::Sorted(sorted_set_of(entry)),
        });
        Input { source, weight }
    };
    keys.iter().zip(weights).map(input).collect()
}

/// Visits the members that all inputs have, with their joined scores.
fn intersect<'k>(mut inputs: Inputs<'k>, aggregate: Aggregate, mut visit: impl FnMut(Scored<'k>) -> bool) {
    inputs.sort_by_key(Input::len);
    let Some((Input { source: Some(smallest), weight }, others)) = inputs.split_first() else { return };
    smallest.each(|Scored { score, member }| {
        let first = number(aggregate.weigh(score, *weight));
        let joined = others.iter().try_fold(first, |sum, Input { source, weight }| {
            let score = source.as_ref()?.score(member)?;
            Some(aggregate.join(sum, aggregate.weigh(score, *weight)))
        });
        joined.is_none_or(|score| visit(Scored { score, member }))
    });
}

/// All members, with their joined scores, by name.
fn unite<'k>(mut inputs: Inputs<'k>, aggregate: Aggregate) -> Members<'k> {
    inputs.sort_by_key(Input::len);
    let mut members: Members<'k> = Vec::new();
    for Input { source, weight } in inputs {
        let Some(source) = source else { continue };
        source.each(|Scored { score, member }| {
            members.push((number(aggregate.weigh(score, weight)), member.to_bytes()));
            true
        });
    }
    // Stable: equal names stay in the order of their inputs.
    members.sort_by(|a, b| a.1.cmp(&b.1));
    members.dedup_by(|next, kept| {
        let is_same = next.1 == kept.1;
        if is_same {
            kept.0 = aggregate.join(kept.0, next.0);
        }
        is_same
    });
    members
}

/// Visits the members of the first input that no other has.
fn subtract<'k>(inputs: &Inputs<'k>, mut visit: impl FnMut(Scored<'k>) -> bool) {
    let Some((Input { source: Some(first), .. }, others)) = inputs.split_first() else { return };
    first.each(|scored| {
        let is_elsewhere =
            others.iter().filter_map(|other| other.source).any(|other| other.score(scored.member).is_some());
        is_elsewhere || visit(scored)
    });
}

/// The result of an operation, in order.
fn combine<'k>(operation: Operation, inputs: Inputs<'k>, aggregate: Aggregate) -> Members<'k> {
    let mut members: Members<'k> = Vec::new();
    let mut push = |Scored { score, member }: Scored<'k>| {
        members.push((score, member.to_bytes()));
        true
    };
    match operation {
        Operation::Intersection => intersect(inputs, aggregate, push),
        Operation::Difference => subtract(&inputs, &mut push),
        Operation::Union => members = unite(inputs, aggregate),
    }
    let order = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    members.sort_by(|a, b| order(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
    members
}

/// Checks the keys behind their number, then parses the options: errors come in this order.
fn check_and_parse<'a, 'b>(
    execution: &mut Execution<'_>,
    arguments: &'b [&'a [u8]],
    operation: Operation,
    purpose: Purpose,
    name: &str,
) -> Result<(&'b [&'a [u8]], Options), CommandError> {
    let (keys, words) = counted_keys(arguments, name)?;
    check(execution, keys)?;
    let options = Options::parse(words, operation, purpose, keys.len())?;
    Ok((keys, options))
}

/// Hands over work on large sets, if it is that: all of them are frozen now.
fn is_begun_later(
    execution: &mut Execution<'_>,
    operation: Operation,
    keys: &[&[u8]],
    parsed: &Options,
    purpose: combination::Purpose,
) -> bool {
    let Execution { keyspace, database, now, options, later, .. } = execution;
    let inputs = read(keyspace, *database, *now, keys, &parsed.weights);
    // An estimate from above tells small sets without taking hold of them.
    let members: u64 = inputs.iter().map(Input::len).sum();
    if members.saturating_mul(keys.len() as u64 + 1) <= options.units_at_once {
        return false;
    }
    let frozen = inputs.iter().zip(keys).map(|(Input { weight, .. }, key)| {
        let entry = keyspace.peek(*database, &keyspace.key(key), *now)?;
        Some(combination::Input { value: entry.to_owned().value, weight: *weight })
    });
    let (frozen, aggregate) = (frozen.collect(), parsed.aggregate);
    let (hasher, units_max) = (keyspace.member_hasher(), options.units_at_once);
    let work = Combination::begin(operation, aggregate, frozen, purpose, hasher, units_max);
    let Some(work) = work else { return false };
    later.put(work);
    true
}

fn reply_members(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    operation: Operation,
    name: &str,
) -> CommandResult {
    let (keys, parsed) = check_and_parse(execution, &arguments[1..], operation, Purpose::Reply, name)?;
    let listing = Listing::with_scores(parsed.with_scores);
    if is_begun_later(execution, operation, keys, &parsed, combination::Purpose::Reply(listing)) {
        return Ok(());
    }
    let Execution { keyspace, reply, database, now, .. } = execution;
    let members = combine(operation, read(keyspace, *database, *now, keys, &parsed.weights), parsed.aggregate);
    let scored = members.iter().map(|(score, member)| Scored { score: *score, member: StringRef::Bytes(member) });
    listing.reply_all(reply, scored);
    Ok(())
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX | COUNT] [WITHSCORES]`
pub(super) fn zunion(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, arguments, Operation::Union, "zunion")
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX | COUNT] [WITHSCORES]`
pub(super) fn zinter(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, arguments, Operation::Intersection, "zinter")
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub(super) fn zdiff(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_members(execution, arguments, Operation::Difference, "zdiff")
}

/// Puts members that are in order under a key in the place of what is there, and replies with their number. The effect is
/// the command itself; without members, a removal.
pub(in super::super) fn store_result(
    execution: &mut Execution<'_>,
    effect: &[&[u8]],
    destination: &[u8],
    members: &[(f64, impl AsRef<[u8]>)],
    event: &'static str,
) {
    let (hasher, limits) = (execution.keyspace.member_hasher(), &execution.options.encodings);
    let result = (!members.is_empty()).then(|| sorted_set::from_ordered(members, limits, hasher));
    commit(execution, destination, result, Some(effect), event);
    execution.reply.integer(members.len() as i64);
}

/// Puts what has been made in slices in its place, if that is still there, and replies with its length; whether it was.
pub(in super::super) fn store_made(
    execution: &mut Execution<'_>,
    database: DatabaseId,
    destination: &[u8],
    result: SortedTree,
    event: &'static str,
) -> bool {
    let length = result.len();
    execution.reply.integer(length as i64);
    let Some(database) = execution.keyspace.database_of(database) else { return false };
    execution.database = database;
    let (limits, hasher) = (&execution.options.encodings, execution.keyspace.member_hasher());
    let result = (length > 0).then(|| sorted_set::made(result, limits, hasher));
    commit(execution, destination, result, None, event);
    true
}

/// Puts a result in the place of what is under a key. Without an effect to report, that has been done.
fn commit(
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
            if let Some(effect) = effect {
                execution.effect(effect);
            }
            execution.event(EventClass::SortedSet, event, destination);
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

fn store(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    operation: Operation,
    name: &'static str,
) -> CommandResult {
    let (keys, parsed) = check_and_parse(execution, &arguments[2..], operation, Purpose::Store, name)?;
    let (database, destination) = (execution.keyspace.database_id(execution.database), arguments[1]);
    let purpose = combination::Purpose::Store { database, destination: destination.into(), event: name };
    if is_begun_later(execution, operation, keys, &parsed, purpose) {
        report_ahead(execution, destination, arguments);
        return Ok(());
    }
    let inputs = read(execution.keyspace, execution.database, execution.now, keys, &parsed.weights);
    let members = combine(operation, inputs, parsed.aggregate);
    // On their own feet: the destination may be one of the sources.
    let members: Vec<(f64, Vec<u8>)> = members.into_iter().map(|(score, name)| (score, name.into_owned())).collect();
    store_result(execution, arguments, arguments[1], &members, name);
    Ok(())
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX | COUNT]`
pub(super) fn zunionstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Union, "zunionstore")
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX | COUNT]`
pub(super) fn zinterstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Intersection, "zinterstore")
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub(super) fn zdiffstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    store(execution, arguments, Operation::Difference, "zdiffstore")
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub(super) fn zintercard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let operation = Operation::Intersection;
    let (keys, parsed) = check_and_parse(execution, &arguments[1..], operation, Purpose::Count, "zintercard")?;
    let purpose = combination::Purpose::Count { limit: parsed.limit };
    if is_begun_later(execution, operation, keys, &parsed, purpose) {
        return Ok(());
    }
    let inputs = read(execution.keyspace, execution.database, execution.now, keys, &parsed.weights);
    let mut count = 0;
    intersect(inputs, parsed.aggregate, |_| {
        count += 1;
        count != parsed.limit
    });
    execution.reply.integer(count as i64);
    Ok(())
}
