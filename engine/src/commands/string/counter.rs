//! Numbers in strings: INCR and its kin, INCRBYFLOAT, INCREX.

use super::super::errors::{NOT_FINITE, NOT_FLOAT, NOT_INTEGER, OVERFLOW, integer, is, syntax};
use super::super::expire_time::{RawTime, Unit};
use super::super::long_double::{LongDouble, NotFinite};
use super::super::report;
use super::set::Lifetime;
use super::{find_quietly, peek, remove};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::journal::EventClass;
use crate::keyspace::{Expiry, OwnedEntry, Value};
use crate::reply::Reply;
use crate::values::{OwnedString, StringRef};
use std::cmp::Ordering;

/// `INCR key`
pub(super) fn incr(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    increment(execution, arguments, 1)
}

/// `DECR key`
pub(super) fn decr(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    increment(execution, arguments, -1)
}

/// `INCRBY key increment`
pub(super) fn incrby(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    increment(execution, arguments, integer(arguments[2])?)
}

/// `DECRBY key decrement`
pub(super) fn decrby(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let decrement = integer(arguments[2])?.checked_neg().ok_or(CommandError::from("ERR decrement would overflow"))?;
    increment(execution, arguments, decrement)
}

fn increment(execution: &mut Execution<'_>, arguments: &[&[u8]], delta: i64) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let old = match keyspace.peek(*database, &key, *now) {
        None => 0,
        Some(entry) => integer_of(super::string_of(entry)?)?,
    };
    let new = old.checked_add(delta).ok_or(CommandError::from(OVERFLOW))?;
    keyspace.set_integer(*database, &key, new, Expiry::Keep, *now);
    reply.integer(new);
    execution.effect(arguments);
    execution.event(EventClass::String, "incrby", arguments[1]);
    Ok(())
}

fn integer_of(value: StringRef<'_>) -> Result<i64, CommandError> {
    value.as_integer().ok_or_else(|| NOT_INTEGER.into())
}

/// A stored number; absent: zero. None: infinite.
fn float_of(value: Option<StringRef<'_>>) -> Result<Option<LongDouble>, CommandError> {
    match value {
        None => Ok(Some(LongDouble::ZERO)),
        Some(StringRef::Integer(value)) => Ok(Some(value.into())),
        Some(value) => value.with_bytes(|text| parse_float(text, NOT_FLOAT)),
    }
}

/// A stored or given number. None: infinite, which is well formed, but nothing can be done with it.
fn parse_float(text: &[u8], not_float: &'static str) -> Result<Option<LongDouble>, CommandError> {
    match LongDouble::parse(text) {
        Ok(number) => Ok(Some(number)),
        Err(NotFinite::Infinite) => Ok(None),
        Err(NotFinite::Invalid) => Err(not_float.into()),
    }
}

fn not_finite() -> CommandError {
    NOT_FINITE.into()
}

/// Stores a number's text as text, though it may look like an integer, as the real server does.
fn store_float(execution: &mut Execution<'_>, key: &[u8], text: &str, expiry: Expiry) {
    let expires_at = match expiry {
        Expiry::Keep => find_quietly(execution, key).and_then(|entry| entry.expires_at()),
        Expiry::Clear => None,
        Expiry::At(at) => Some(at),
    };
    let key = execution.keyspace.key(key);
    let value = Value::String(OwnedString::text(text.as_bytes()));
    execution.keyspace.put(execution.database, &key, OwnedEntry::new(value, expires_at), execution.now);
    report::string_set(execution, key.bytes, text.as_bytes(), expiry, "incrbyfloat");
}

/// `INCRBYFLOAT key increment`
pub(super) fn incrbyfloat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let old = float_of(peek(execution, arguments[1])?)?;
    let delta = parse_float(arguments[2], NOT_FLOAT)?;
    let sum = old.zip(delta).and_then(|(old, delta)| old.plus(delta));
    let text = sum.ok_or_else(not_finite)?.format();
    store_float(execution, arguments[1], &text, Expiry::Keep);
    execution.reply.bulk(text.as_bytes());
    Ok(())
}

/// INCREX: its options as they were given, each at most once.
#[derive(Default)]
struct IncrexOptions<'a> {
    by_integer: Option<&'a [u8]>,
    by_float: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    persist: bool,
    only_without_expiry: bool,
    time: Option<RawTime<'a>>,
}

impl<'a> IncrexOptions<'a> {
    fn parse(arguments: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = more;
            if let Some(flag) = options.flag(word) {
                if std::mem::replace(flag, true) {
                    return Err(syntax());
                }
                continue;
            }
            let [operand, more @ ..] = rest else { return Err(syntax()) };
            rest = more;
            if let Some(unit) = Unit::of(word) {
                if options.time.replace(RawTime { unit, text: operand }).is_some() {
                    return Err(syntax());
                }
            } else if options.operand(word).ok_or_else(syntax)?.replace(operand).is_some() {
                return Err(syntax());
            }
        }
        let both_increments = options.by_integer.is_some() && options.by_float.is_some();
        if both_increments || (options.persist && (options.time.is_some() || options.only_without_expiry)) {
            return Err(syntax());
        }
        if options.only_without_expiry && options.time.is_none() {
            return Err("ERR ENX flag requires an expiration".into());
        }
        Ok(options)
    }

    fn flag(&mut self, word: &[u8]) -> Option<&mut bool> {
        if is(word, "SATURATE") {
            Some(&mut self.saturate)
        } else if is(word, "PERSIST") {
            Some(&mut self.persist)
        } else if is(word, "ENX") {
            Some(&mut self.only_without_expiry)
        } else {
            None
        }
    }

    fn operand(&mut self, word: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        if is(word, "BYINT") {
            Some(&mut self.by_integer)
        } else if is(word, "BYFLOAT") {
            Some(&mut self.by_float)
        } else if is(word, "LBOUND") {
            Some(&mut self.lower)
        } else if is(word, "UBOUND") {
            Some(&mut self.upper)
        } else {
            None
        }
    }

    fn lifetime(&self) -> Lifetime<'a> {
        match self.time {
            Some(time) => Lifetime::Until(time),
            None if self.persist => Lifetime::Persist,
            None => Lifetime::Keep,
        }
    }
}

/// The numbers INCREX counts in: the same steps for integers and for floats.
trait Number: Copy {
    /// Type limits, the bounds where none are given.
    const LIMITS: (Self, Self);
    const ZERO: Self;
    fn parse(text: &[u8], not_integer: &'static str, not_float: &'static str) -> Result<Self, CommandError>;
    fn of(value: Option<StringRef<'_>>) -> Result<Self, CommandError>;
    fn order(self, other: Self) -> Ordering;
    fn plus(self, other: Self) -> Option<Self>;
    fn minus(self, other: Self) -> Option<Self>;
    fn is_below_zero(self) -> bool;
    fn store(self, execution: &mut Execution<'_>, key: &[u8], expiry: Expiry);
    fn reply(self, reply: &mut Reply<'_>);
}

impl Number for i64 {
    const LIMITS: (Self, Self) = (Self::MIN, Self::MAX);
    const ZERO: Self = 0;
    fn parse(text: &[u8], not_integer: &'static str, _: &'static str) -> Result<Self, CommandError> {
        parse_integer(text).ok_or_else(|| not_integer.into())
    }
    fn of(value: Option<StringRef<'_>>) -> Result<Self, CommandError> {
        value.map_or(Ok(0), integer_of)
    }
    fn order(self, other: Self) -> Ordering {
        self.cmp(&other)
    }
    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }
    fn minus(self, other: Self) -> Option<Self> {
        self.checked_sub(other)
    }
    fn is_below_zero(self) -> bool {
        self < 0
    }
    fn store(self, execution: &mut Execution<'_>, key: &[u8], expiry: Expiry) {
        let key = execution.keyspace.key(key);
        execution.keyspace.set_integer(execution.database, &key, self, expiry, execution.now);
        let mut text = itoa::Buffer::new();
        report::string_set(execution, key.bytes, text.format(self).as_bytes(), expiry, "incrby");
    }
    fn reply(self, reply: &mut Reply<'_>) {
        reply.integer(self);
    }
}

impl Number for LongDouble {
    const LIMITS: (Self, Self) = (Self::MAX.negate(), Self::MAX);
    const ZERO: Self = Self::ZERO;
    fn parse(text: &[u8], _: &'static str, not_float: &'static str) -> Result<Self, CommandError> {
        parse_float(text, not_float)?.ok_or_else(not_finite)
    }
    fn of(value: Option<StringRef<'_>>) -> Result<Self, CommandError> {
        float_of(value)?.ok_or_else(not_finite)
    }
    fn order(self, other: Self) -> Ordering {
        self.compare(other)
    }
    fn plus(self, other: Self) -> Option<Self> {
        LongDouble::plus(self, other)
    }
    fn minus(self, other: Self) -> Option<Self> {
        LongDouble::plus(self, other.negate())
    }
    fn is_below_zero(self) -> bool {
        self.is_negative()
    }
    fn store(self, execution: &mut Execution<'_>, key: &[u8], expiry: Expiry) {
        store_float(execution, key, &self.format(), expiry);
    }
    fn reply(self, reply: &mut Reply<'_>) {
        reply.double_text(&self.format());
    }
}

/// `INCREX key [BYINT integer | BYFLOAT number] [LBOUND number] [UBOUND number] [SATURATE]
/// [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST] [ENX]`
pub(super) fn increx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = IncrexOptions::parse(&arguments[2..])?;
    match options.by_float {
        Some(delta) => increment_within::<LongDouble>(execution, arguments[1], Some(delta), &options),
        None => increment_within::<i64>(execution, arguments[1], options.by_integer, &options),
    }
}

fn increment_within<N: Number>(
    execution: &mut Execution<'_>,
    key: &[u8],
    delta: Option<&[u8]>,
    options: &IncrexOptions<'_>,
) -> CommandResult {
    let delta = delta.unwrap_or(b"1");
    let delta =
        N::parse(delta, "ERR Increment is not an integer or out of range", "ERR Increment is not a valid float")?;
    let bound = |text: Option<&[u8]>, limit, not_integer, not_float| {
        text.map_or(Ok(limit), |text| N::parse(text, not_integer, not_float))
    };
    let lower = bound(
        options.lower,
        N::LIMITS.0,
        "ERR LBOUND is not an integer or out of range",
        "ERR LBOUND is not a valid float",
    )?;
    let upper = bound(
        options.upper,
        N::LIMITS.1,
        "ERR UBOUND is not an integer or out of range",
        "ERR UBOUND is not a valid float",
    )?;
    if lower.order(upper) == Ordering::Greater {
        return Err("ERR LBOUND can't be greater than UBOUND".into());
    }
    let expiry = match options.lifetime() {
        Lifetime::Keep => Expiry::Keep,
        lifetime => lifetime.resolve(execution.now, "increx")?,
    };
    let old = N::of(peek(execution, key)?)?;
    let sum = old.plus(delta);
    let within = sum.filter(|sum| sum.order(lower) != Ordering::Less && sum.order(upper) != Ordering::Greater);
    let (new, applied) = match (within, options.saturate) {
        (Some(new), _) => (new, delta),
        (None, false) => return reply_pair(execution, old, N::ZERO),
        (None, true) => {
            let below = sum.map_or(delta.is_below_zero(), |sum| sum.order(lower) == Ordering::Less);
            let new = if below { lower } else { upper };
            (new, new.minus(old).ok_or(CommandError::from(OVERFLOW))?)
        }
    };
    let has_expiry = find_quietly(execution, key).is_some_and(|entry| entry.expires_at().is_some());
    match expiry {
        Expiry::At(_) if options.only_without_expiry && has_expiry => new.store(execution, key, Expiry::Keep),
        Expiry::At(at) if at <= execution.now => {
            remove(execution, key);
        }
        expiry => new.store(execution, key, expiry),
    }
    reply_pair(execution, new, applied)
}

fn reply_pair<N: Number>(execution: &mut Execution<'_>, value: N, applied: N) -> CommandResult {
    execution.reply.array(2);
    value.reply(&mut execution.reply);
    applied.reply(&mut execution.reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn integers_are_counted() {
        let shard = &mut Shard::default();
        shard.check("INCR n", ":1\r\n");
        shard.check("INCRBY n 41", ":42\r\n");
        shard.check("DECR n", ":41\r\n");
        shard.check("DECRBY n 50", ":-9\r\n");
        shard.check("OBJECT ENCODING n", "$3\r\nint\r\n");
        shard.check("EXPIRE n 100", ":1\r\n");
        shard.check("INCR n", ":-8\r\n");
        shard.check("TTL n", ":100\r\n");
        shard.check("INCRBY n x", "-ERR value is not an integer or out of range\r\n");
        shard.check("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n");
        shard.check("SET n 9223372036854775807", "+OK\r\n");
        shard.check("INCR n", "-ERR increment or decrement would overflow\r\n");
        shard.check("SET s ' 1'", "+OK\r\n");
        shard.check("INCR s", "-ERR value is not an integer or out of range\r\n");
        shard.check("SETRANGE r 0 10", ":2\r\n");
        shard.check("INCR r", ":11\r\n");
    }

    #[test]
    fn floats_are_added() {
        let shard = &mut Shard::default();
        shard.check("INCRBYFLOAT f 0.1", "$3\r\n0.1\r\n");
        shard.check("INCRBYFLOAT f 0.2", "$3\r\n0.3\r\n");
        shard.check("EXPIRE f 100", ":1\r\n");
        shard.check("INCRBYFLOAT f 5.0e3", "$22\r\n5000.29999999999999982\r\n");
        shard.check("TTL f", ":100\r\n");
        shard.check("SET i 3", "+OK\r\n");
        shard.check("INCRBYFLOAT i 1", "$1\r\n4\r\n");
        shard.check("OBJECT ENCODING i", "$6\r\nembstr\r\n");
        shard.check("INCR i", ":5\r\n");
        shard.check("INCRBYFLOAT i x", "-ERR value is not a valid float\r\n");
        shard.check("INCRBYFLOAT i nan", "-ERR value is not a valid float\r\n");
        shard.check("INCRBYFLOAT i inf", "-ERR increment would produce NaN or Infinity\r\n");
        shard.check("SET s abc", "+OK\r\n");
        shard.check("INCRBYFLOAT s 1", "-ERR value is not a valid float\r\n");
        shard.check("SET s inf", "+OK\r\n");
        shard.check("INCRBYFLOAT s 1", "-ERR increment would produce NaN or Infinity\r\n");
        shard.check("INCRBYFLOAT s x", "-ERR value is not a valid float\r\n");
    }

    #[test]
    fn increx_counts_within_bounds() {
        let shard = &mut Shard::default();
        let pair = |a: i64, b: i64| format!("*2\r\n:{a}\r\n:{b}\r\n");
        for (line, value, applied) in [
            ("INCREX n", 1, 1),
            ("INCREX n BYINT 9", 10, 9),
            ("INCREX n BYINT 10 UBOUND 15", 10, 0),
            ("INCREX n BYINT 10 UBOUND 15 SATURATE", 15, 5),
            ("INCREX n BYINT -20 LBOUND 5", 15, 0),
            ("INCREX n BYINT -20 LBOUND 5 saturate", 5, -10),
            ("INCREX n LBOUND 0 BYINT 100 UBOUND 10 SATURATE", 10, 5),
            ("INCREX n BYINT 5 UBOUND 3", 10, 0),
            ("INCREX n BYINT 5 UBOUND 3 SATURATE", 3, -7),
            ("INCREX n BYINT -5 UBOUND 0", -2, -5),
            ("INCREX none BYINT 15 UBOUND 10", 0, 0),
            ("INCREX big BYINT 9223372036854775800", 9_223_372_036_854_775_800, 9_223_372_036_854_775_800),
            ("INCREX big BYINT 100", 9_223_372_036_854_775_800, 0),
            ("INCREX big BYINT 100 SATURATE", i64::MAX, 7),
        ] {
            shard.check(line, &pair(value, applied));
        }
        shard.check("EXISTS none", ":0\r\n");
        shard.check("INCREX low BYINT -9223372036854775808", &pair(i64::MIN, i64::MIN));
        let overflow = "-ERR increment or decrement would overflow\r\n";
        shard.check("INCREX low BYINT -1 LBOUND 5 SATURATE", overflow);
    }

    #[test]
    fn increx_floats() {
        let shard = &mut Shard::default();
        shard.check("SET f 1.5", "+OK\r\n");
        shard.check("INCREX f BYFLOAT 0.25", "*2\r\n$4\r\n1.75\r\n$4\r\n0.25\r\n");
        shard.check_resp3("INCREX f BYFLOAT 10 UBOUND 5.5", "*2\r\n,1.75\r\n,0\r\n");
        shard.check_resp3("INCREX f BYFLOAT 10 UBOUND 5.5 SATURATE", "*2\r\n,5.5\r\n,3.75\r\n");
        shard.check("INCREX f BYINT 1", "-ERR value is not an integer or out of range\r\n");
        shard.check("INCREX f BYFLOAT x", "-ERR Increment is not a valid float\r\n");
        shard.check("INCREX f BYFLOAT 1 LBOUND x", "-ERR LBOUND is not a valid float\r\n");
        shard.check("INCREX f BYFLOAT inf", "-ERR increment would produce NaN or Infinity\r\n");
        shard.check("INCREX f BYFLOAT 1 LBOUND 2.5 UBOUND 1", "-ERR LBOUND can't be greater than UBOUND\r\n");
    }

    #[test]
    fn increx_expiry() {
        let shard = &mut Shard::default();
        let pair = |a: i64, b: i64| format!("*2\r\n:{a}\r\n:{b}\r\n");
        shard.check("INCREX n EX 100 ENX", &pair(1, 1));
        shard.check("TTL n", ":100\r\n");
        shard.check("INCREX n EX 10 ENX", &pair(2, 1));
        shard.check("TTL n", ":100\r\n");
        shard.check("INCREX n EXAT 1 ENX", &pair(3, 1));
        shard.check("TTL n", ":100\r\n");
        shard.check("INCREX n", &pair(4, 1));
        shard.check("TTL n", ":100\r\n");
        shard.check("INCREX n UBOUND 4 EX 5", &pair(4, 0));
        shard.check("TTL n", ":100\r\n");
        shard.check("INCREX n PX 5000", &pair(5, 1));
        shard.check("PTTL n", ":5000\r\n");
        shard.check("INCREX n PERSIST", &pair(6, 1));
        shard.check("TTL n", ":-1\r\n");
        shard.check("INCREX n EXAT 1", &pair(7, 1));
        shard.check("EXISTS n", ":0\r\n");
        shard.check("INCREX n ENX", "-ERR ENX flag requires an expiration\r\n");
        shard.check("INCREX n EX 0", "-ERR invalid expire time in 'increx' command\r\n");
        shard.check("INCREX n BYINT 1.5", "-ERR Increment is not an integer or out of range\r\n");
        shard.check("INCREX n UBOUND x", "-ERR UBOUND is not an integer or out of range\r\n");
        for options in [
            "FOO",
            "BYINT 1 BYFLOAT 1",
            "BYINT 1 BYINT 2",
            "EX 10 PX 10",
            "EX 10 EX 10",
            "EX 10 PERSIST",
            "PERSIST ENX",
            "PERSIST PERSIST",
            "SATURATE SATURATE",
            "LBOUND 0 LBOUND 1",
            "BYINT",
        ] {
            shard.check(&format!("INCREX n {options}"), "-ERR syntax error\r\n");
        }
    }
}
