//! Members come and go: ZADD, ZINCRBY, ZREM.

use super::super::double::{self, reply_double};
use super::super::errors::{is, syntax};
use super::{edit, remove_if_empty, report_removal};
use crate::command::{CommandError, CommandResult, EngineOptions, Execution};
use crate::journal::EventClass;
use crate::keyspace::Key;
use crate::values::large::MemberHasher;
use crate::values::sorted_set::{self, SortedSetRef};
use crate::values::{Collection, Type};

const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct AddOptions {
    pub(in super::super) only_new: bool,
    pub(in super::super) only_known: bool,
    only_greater: bool,
    only_less: bool,
    pub(in super::super) counts_changed: bool,
    increments: bool,
}

impl AddOptions {
    /// The options, and the scores and members behind them.
    fn parse<'b, 'a>(arguments: &'b [&'a [u8]]) -> (Self, &'b [&'a [u8]]) {
        let (mut options, mut rest) = (Self::default(), arguments);
        while let [word, more @ ..] = rest {
            let option = if is(word, "NX") {
                &mut options.only_new
            } else if is(word, "XX") {
                &mut options.only_known
            } else if is(word, "GT") {
                &mut options.only_greater
            } else if is(word, "LT") {
                &mut options.only_less
            } else if is(word, "CH") {
                &mut options.counts_changed
            } else if is(word, "INCR") {
                &mut options.increments
            } else {
                break;
            };
            *option = true;
            rest = more;
        }
        (options, rest)
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        let Self { only_new, only_known, only_greater, only_less, increments, .. } = self;
        if only_new && only_known {
            return Err("ERR XX and NX options at the same time are not compatible".into());
        }
        if [only_new, only_greater, only_less].into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
        }
        if increments && pairs > 1 {
            return Err("ERR INCR option supports a single increment-element pair".into());
        }
        Ok(())
    }

    /// Whether a member must be looked at before it may be written.
    fn looks_first(self) -> bool {
        self.only_new || self.only_known || self.only_greater || self.only_less || self.increments
    }
}

/// What has become of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Added(f64),
    Changed(f64),
    /// It has this score already.
    Same(f64),
    /// The options do not allow it.
    Refused,
}

/// Adds one member or changes its score.
#[inline]
fn add(
    set: &mut impl Collection,
    member: &[u8],
    score: f64,
    options: AddOptions,
    engine: &EngineOptions,
    hasher: &MemberHasher,
) -> Result<Outcome, CommandError> {
    let limits = &engine.encodings;
    let mut score = score;
    if options.looks_first() {
        let known = SortedSetRef::of(set).score(member);
        let Some(old) = known else {
            if options.only_known {
                return Ok(Outcome::Refused);
            }
            sorted_set::insert(set, member, score, limits, hasher);
            return Ok(Outcome::Added(score));
        };
        if options.only_new {
            return Ok(Outcome::Refused);
        }
        if options.increments {
            score += old;
        }
        if score.is_nan() {
            return Err(NOT_A_NUMBER.into());
        }
        if options.only_less && score >= old || options.only_greater && score <= old {
            return Ok(Outcome::Refused);
        }
    }
    Ok(match sorted_set::insert(set, member, score, limits, hasher) {
        None => Outcome::Added(score),
        Some(old) if old == score => Outcome::Same(score),
        Some(_) => Outcome::Changed(score),
    })
}

/// Adds members that are given after their scores.
fn add_all(execution: &mut Execution<'_>, arguments: &[&[u8]], options: AddOptions, pairs: &[&[u8]]) -> CommandResult {
    let scores: smallvec::SmallVec<[f64; 8]> =
        pairs.iter().step_by(2).map(|text| double::argument(text)).collect::<Result<_, _>>()?;
    let members = pairs.iter().skip(1).step_by(2).copied();
    add_scored(execution, arguments, arguments[1], options, scores.into_iter().zip(members))
}

/// Adds members with their scores; `effect` tells of it.
pub(in super::super) fn add_scored<'a>(
    execution: &mut Execution<'_>,
    effect: &[&[u8]],
    key: &[u8],
    options: AddOptions,
    members: impl Iterator<Item = (f64, &'a [u8])>,
) -> CommandResult {
    let key = execution.keyspace.key(key);
    let (mut added, mut changed, mut last) = (0, 0, Outcome::Refused);
    let mut count = |outcome: Outcome| {
        added += u64::from(matches!(outcome, Outcome::Added(_)));
        changed += u64::from(matches!(outcome, Outcome::Changed(_)));
        last = outcome;
    };
    let Execution { keyspace, database, now, options: engine, .. } = execution;
    let hasher = keyspace.member_hasher().clone();
    if let Some(mut entry) = keyspace.edit(*database, &key, Type::SortedSet, *now)? {
        for (score, member) in members {
            count(add(&mut entry, member, score, options, engine, &hasher)?);
        }
    } else if !options.only_known {
        let mut new = sorted_set::empty();
        for (score, member) in members {
            count(add(&mut new, member, score, options, engine, &hasher)?);
        }
        keyspace.create(*database, &key, &mut new, *now);
    }
    execution.keyspace.dirty += added + changed;
    let reply = &mut execution.reply;
    if !options.increments {
        reply.integer(if options.counts_changed { added + changed } else { added } as i64);
    } else if let Outcome::Added(score) | Outcome::Changed(score) | Outcome::Same(score) = last {
        reply_double(reply, score);
    } else {
        reply.null();
    }
    if added + changed > 0 {
        report_addition(execution, effect, options.increments, &key);
    }
    Ok(())
}

fn report_addition(execution: &mut Execution<'_>, arguments: &[&[u8]], increments: bool, key: &Key<'_>) {
    execution.effect(arguments);
    execution.event(EventClass::SortedSet, if increments { "zincr" } else { "zadd" }, key.bytes);
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub(super) fn zadd(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (options, pairs) = AddOptions::parse(&arguments[2..]);
    if pairs.is_empty() || pairs.len() % 2 != 0 {
        return Err(syntax());
    }
    options.check(pairs.len() / 2)?;
    add_all(execution, arguments, options, pairs)
}

/// `ZINCRBY key increment member`
pub(super) fn zincrby(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = AddOptions { increments: true, ..AddOptions::default() };
    add_all(execution, arguments, options, &arguments[2..])
}

/// `ZREM key member [member ...]`
pub(super) fn zrem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key = execution.keyspace.key(arguments[1]);
    let (mut removed, mut is_empty) = (0, false);
    if let Some(mut entry) = edit(execution, &key)? {
        removed = arguments[2..].iter().filter(|member| sorted_set::remove(&mut entry, member).is_some()).count();
        entry.changed(removed as u64);
        is_empty = remove_if_empty(entry);
    }
    execution.reply.integer(removed as i64);
    if removed > 0 {
        execution.effect(arguments);
        report_removal(execution, "zrem", key.bytes, is_empty);
    }
    Ok(())
}
