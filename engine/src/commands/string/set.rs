//! SET with all its options, the commands it replaced, and GETEX.

use super::super::errors::{is, syntax};
use super::super::expire_time::{RawTime, Unit};
use super::condition::{ValueTest, allows_write};
use super::{exists, find_quietly, remove, reply_value, set_string};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds};
use crate::keyspace::Expiry;

/// On what condition SET writes.
#[derive(Clone, Copy, Debug)]
enum Condition<'a> {
    Always,
    /// NX
    Absent,
    /// XX
    Present,
    /// IFEQ and its kin.
    Value(ValueTest<'a>),
}

/// What becomes of the expiry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lifetime<'a> {
    /// No word about it.
    Default,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// EX PX EXAT PXAT
    Until(RawTime<'a>),
}

impl<'a> Lifetime<'a> {
    /// The same option again replaces its time; another one beside it is refused.
    pub(super) fn set_until(&mut self, unit: Unit, text: &'a [u8]) -> CommandResult {
        match self {
            Self::Default => {}
            Self::Until(time) if time.unit == unit => {}
            _ => return Err(syntax()),
        }
        *self = Self::Until(RawTime { unit, text });
        Ok(())
    }

    /// KEEPTTL or PERSIST, not beside another.
    pub(super) fn set_plain(&mut self, wanted: Self) -> CommandResult {
        if !matches!((&self, &wanted), (Self::Default, _) | (Self::Keep, Self::Keep) | (Self::Persist, Self::Persist)) {
            return Err(syntax());
        }
        *self = wanted;
        Ok(())
    }

    /// What a write is to do with the expiry; the time itself has to be in range.
    pub(super) fn resolve(&self, now: Milliseconds, command: &str) -> Result<Expiry, CommandError> {
        Ok(match self {
            Self::Default | Self::Persist => Expiry::Clear,
            Self::Keep => Expiry::Keep,
            Self::Until(time) => Expiry::At(time.positive(now, command)?),
        })
    }
}

struct SetOptions<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime<'a>,
    get: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(arguments: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self { condition: Condition::Always, lifetime: Lifetime::Default, get: false };
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = more;
            if is(word, "NX") && matches!(options.condition, Condition::Always | Condition::Absent) {
                options.condition = Condition::Absent;
            } else if is(word, "XX") && matches!(options.condition, Condition::Always | Condition::Present) {
                options.condition = Condition::Present;
            } else if is(word, "GET") {
                options.get = true;
            } else if is(word, "KEEPTTL") {
                options.lifetime.set_plain(Lifetime::Keep)?;
            } else {
                let [operand, more @ ..] = rest else { return Err(syntax()) };
                rest = more;
                if let Some(unit) = Unit::of(word) {
                    options.lifetime.set_until(unit, operand)?;
                } else if let (Some(test), Condition::Always) = (ValueTest::of(word, operand), options.condition) {
                    options.condition = Condition::Value(test);
                } else {
                    return Err(syntax());
                }
            }
        }
        Ok(options)
    }
}

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET]
/// [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL]`
pub(super) fn set(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, value) = (arguments[1], arguments[2]);
    if arguments.len() == 3 {
        set_string(execution, key, value, Expiry::Clear);
        execution.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(&arguments[3..])?;
    let expiry = options.lifetime.resolve(execution.now, "set")?;
    let allowed = match options.condition {
        Condition::Value(test) => allows_write(execution, key, &test)?,
        Condition::Always => true,
        Condition::Absent => !exists(execution, key),
        Condition::Present => exists(execution, key),
    };
    if options.get {
        reply_value(execution, key)?;
    } else if allowed {
        execution.reply.ok();
    } else {
        execution.reply.null();
    }
    if allowed {
        write_or_remove(execution, key, value, expiry);
    }
    Ok(())
}

/// Stores the value, or removes the key where its time is over before it began.
pub(super) fn write_or_remove(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    match expiry {
        Expiry::At(at) if at <= execution.now => {
            remove(execution, key);
        }
        _ => set_string(execution, key, value, expiry),
    }
}

/// `SETNX key value`
pub(super) fn setnx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let absent = !exists(execution, arguments[1]);
    if absent {
        set_string(execution, arguments[1], arguments[2], Expiry::Clear);
    }
    execution.reply.integer(i64::from(absent));
    Ok(())
}

/// `SETEX key seconds value`
pub(super) fn setex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_until(execution, arguments, Unit::EX, "setex")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_until(execution, arguments, Unit::PX, "psetex")
}

fn set_until(execution: &mut Execution<'_>, arguments: &[&[u8]], unit: Unit, command: &str) -> CommandResult {
    let at = RawTime { unit, text: arguments[2] }.positive(execution.now, command)?;
    set_string(execution, arguments[1], arguments[3], Expiry::At(at));
    execution.reply.ok();
    Ok(())
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST]`
pub(super) fn getex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, mut rest) = (arguments[1], &arguments[2..]);
    let mut lifetime = Lifetime::Default;
    while let [word, more @ ..] = rest {
        rest = more;
        if is(word, "PERSIST") {
            lifetime.set_plain(Lifetime::Persist)?;
        } else if let Some(unit) = Unit::of(word)
            && let [time, more @ ..] = rest
        {
            lifetime.set_until(unit, time)?;
            rest = more;
        } else {
            return Err(syntax());
        }
    }
    // The time is looked at only where there is a string to expire.
    let expiry = match find_quietly(execution, key) {
        Some(entry) if entry.string().is_some() => lifetime.resolve(execution.now, "getex")?,
        _ => Expiry::Keep,
    };
    reply_value(execution, key)?;
    let keyspace_key = execution.keyspace.key(key);
    let (database, now) = (execution.database, execution.now);
    match (lifetime, expiry) {
        (Lifetime::Persist, _) => {
            let volatile = find_quietly(execution, key).is_some_and(|entry| entry.expires_at().is_some());
            if volatile {
                execution.keyspace.set_expiry(database, &keyspace_key, None, now);
            }
        }
        (Lifetime::Until(_), Expiry::At(at)) if at <= now => {
            remove(execution, key);
        }
        (Lifetime::Until(_), Expiry::At(at)) => {
            execution.keyspace.set_expiry(database, &keyspace_key, Some(at), now);
        }
        _ => {}
    }
    Ok(())
}
