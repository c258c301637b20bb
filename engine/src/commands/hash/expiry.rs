//! When fields expire: HEXPIRE and its kin, HTTL and its kin, HPERSIST. Each answers with one number a field.

use super::super::errors::{integer, is};
use super::{edit, finish_removal, hash_of};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds, parse_integer};
use crate::journal::EventClass;
use crate::keyspace::Access;
use crate::reply::Reply;
use crate::values::Type;
use crate::values::hash::{self, HashRef};

/// The latest time that a field may expire, in milliseconds since 1970.
const LATEST_MS: i64 = (1 << 46) - 1;

/// There is no such field.
const NO_FIELD: i64 = -2;
/// The field has no expiry.
const NO_EXPIRY: i64 = -1;
/// The condition is not met.
const NOT_MET: i64 = 0;
/// It has been done.
const DONE: i64 = 1;
/// The time was over: the field has been removed.
const REMOVED: i64 = 2;

/// How the number of a time is meant.
#[derive(Clone, Copy)]
pub(super) struct TimeUnit {
    pub(super) seconds: bool,
    pub(super) absolute: bool,
}

impl TimeUnit {
    /// The time as milliseconds since 1970.
    pub(super) fn parse(self, text: &[u8], now: Milliseconds, command: &str) -> Result<Milliseconds, CommandError> {
        let number = integer(text)?;
        if number < 0 {
            return Err("ERR invalid expire time, must be >= 0".into());
        }
        let scaled = if self.seconds { number.checked_mul(1000) } else { Some(number) };
        scaled
            .and_then(|time| time.checked_add(if self.absolute { 0 } else { now }))
            .filter(|at| *at <= LATEST_MS)
            .ok_or_else(|| format!("ERR invalid expire time in '{command}' command").into())
    }
}

/// The fields of `FIELDS numfields field [field ...]`, which is all of `words`.
pub(super) fn parse_fields<'a, 'b>(
    words: &'b [&'a [u8]],
    not_positive: &'static str,
) -> Result<&'b [&'a [u8]], CommandError> {
    let [word, count, fields @ ..] = words else { return Err(missing_fields()) };
    if !is(word, "FIELDS") {
        return Err(missing_fields());
    }
    let count = parse_integer(count).filter(|count| *count > 0).ok_or(CommandError::from(not_positive))?;
    if count != fields.len() as i64 {
        return Err("ERR The `numfields` parameter must match the number of arguments".into());
    }
    Ok(fields)
}

fn missing_fields() -> CommandError {
    "ERR Mandatory argument FIELDS is missing or not at the right position".into()
}

pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// On what condition an expiry is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Absent,
    Present,
    Later,
    Earlier,
}

impl Condition {
    fn of(word: &[u8]) -> Option<Self> {
        [("NX", Self::Absent), ("XX", Self::Present), ("GT", Self::Later), ("LT", Self::Earlier)]
            .into_iter()
            .find_map(|(name, condition)| is(word, name).then_some(condition))
    }

    fn allows(self, at: Milliseconds, present: Option<Milliseconds>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => present.is_none(),
            Self::Present => present.is_some(),
            Self::Later => present.is_some_and(|present| at > present),
            Self::Earlier => present.is_none_or(|present| at < present),
        }
    }
}

fn set_expiry(execution: &mut Execution<'_>, arguments: &[&[u8]], unit: TimeUnit, command: &str) -> CommandResult {
    let now = execution.now;
    let key = execution.keyspace.key(arguments[1]);
    execution.keyspace.peek_typed(execution.database, &key, now, Type::Hash)?;
    let at = unit.parse(arguments[2], now, command)?;
    let (condition, rest) = match Condition::of(arguments[3]) {
        Some(condition) => (condition, &arguments[4..]),
        None => (Condition::Always, &arguments[3..]),
    };
    let fields = parse_fields(rest, "ERR Parameter `numFields` should be greater than 0")?;
    let Execution { keyspace, reply, database, .. } = execution;
    let Some(mut entry) = edit(keyspace, *database, &key, now)? else {
        reply_all(reply, fields, NO_FIELD);
        return Ok(());
    };
    let is_over = at <= now;
    let mut changed: Vec<&[u8]> = Vec::new();
    reply.array(fields.len());
    for name in fields {
        let present = HashRef::of(&entry).get(name, now).map(|field| field.expires_at);
        let answer = match present {
            None => NO_FIELD,
            Some(present) if !condition.allows(at, present) => NOT_MET,
            Some(_) if is_over => {
                hash::remove(&mut entry, name);
                REMOVED
            }
            Some(_) => {
                hash::set_expiry(&mut entry, name, Some(at));
                DONE
            }
        };
        if answer > 0 {
            changed.push(name);
        }
        reply.integer(answer);
    }
    entry.changed(changed.len() as u64);
    if changed.is_empty() {
        return Ok(());
    }
    if is_over {
        let effect = [&b"HDEL"[..], arguments[1]].into_iter().chain(changed.iter().copied());
        entry.effect(&effect.collect::<Vec<_>>());
        finish_removal(entry, arguments[1], &changed);
        return Ok(());
    }
    entry.note_due(at);
    report_expiry(&mut entry, arguments[1], at, &changed);
    entry.event_of_parts(EventClass::Hash, "hexpire", arguments[1], changed);
    Ok(())
}

/// Reports that fields expire at a time.
pub(super) fn report_expiry(entry: &mut crate::keyspace::EntryMut<'_>, key: &[u8], at: Milliseconds, fields: &[&[u8]]) {
    if entry.journal().wants_effects() {
        let (at, count) = (at.to_string(), fields.len().to_string());
        let head = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", count.as_bytes()];
        entry.effect(&head.into_iter().chain(fields.iter().copied()).collect::<Vec<_>>());
    }
}

fn reply_all(reply: &mut Reply<'_>, fields: &[&[u8]], answer: i64) {
    reply.array(fields.len());
    fields.iter().for_each(|_| reply.integer(answer));
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hexpire(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, TimeUnit { seconds: true, absolute: false }, "hexpire")
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hpexpire(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, TimeUnit { seconds: false, absolute: false }, "hpexpire")
}

/// `HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hexpireat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, TimeUnit { seconds: true, absolute: true }, "hexpireat")
}

/// `HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub(super) fn hpexpireat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, TimeUnit { seconds: false, absolute: true }, "hpexpireat")
}

fn reply_expiry(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    show: impl Fn(Milliseconds, Milliseconds) -> i64,
) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let hash = keyspace.find_typed(*database, &key, *now, Access::NoTouch, Type::Hash)?.map(hash_of);
    let fields = parse_fields(&arguments[2..], NOT_POSITIVE)?;
    reply.array(fields.len());
    for name in fields {
        let field = hash.and_then(|hash| hash.get(name, *now));
        reply.integer(match field.map(|field| field.expires_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => show(at, *now),
        });
    }
    Ok(())
}

/// `HTTL key FIELDS numfields field [field ...]`
pub(super) fn httl(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments, |at, now| (at - now + 999) / 1000)
}

/// `HPTTL key FIELDS numfields field [field ...]`
pub(super) fn hpttl(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments, |at, now| at - now)
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hexpiretime(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments, |at, _| (at + 999) / 1000)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub(super) fn hpexpiretime(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments, |at, _| at)
}

/// `HPERSIST key FIELDS numfields field [field ...]`
pub(super) fn hpersist(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    keyspace.peek_typed(*database, &key, *now, Type::Hash)?;
    let fields = parse_fields(&arguments[2..], NOT_POSITIVE)?;
    let Some(mut entry) = edit(keyspace, *database, &key, *now)? else {
        reply_all(reply, fields, NO_FIELD);
        return Ok(());
    };
    let mut changed: Vec<&[u8]> = Vec::new();
    reply.array(fields.len());
    for name in fields {
        let answer = match HashRef::of(&entry).get(name, *now).map(|field| field.expires_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(_)) => {
                hash::set_expiry(&mut entry, name, None);
                changed.push(name);
                DONE
            }
        };
        reply.integer(answer);
    }
    entry.changed(changed.len() as u64);
    if !changed.is_empty() {
        entry.effect(arguments);
        entry.event_of_parts(EventClass::Hash, "hpersist", arguments[1], changed);
    }
    Ok(())
}
