//! SET with all its options, the commands it replaced, and GETEX.

use super::super::errors::{is, syntax};
use super::super::expire_time::{RawTime, Unit};
use super::super::report;
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
                report::expiry_taken(execution, key);
            }
        }
        (Lifetime::Until(_), Expiry::At(at)) if at <= now => {
            remove(execution, key);
        }
        (Lifetime::Until(_), Expiry::At(at))
            if execution.keyspace.set_expiry(database, &keyspace_key, Some(at), now) =>
        {
            report::expiry_set(execution, key, at);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn set_with_options() {
        let shard = &mut Shard::default();
        for (line, reply) in [
            ("SET a 1 XX", "$-1\r\n"),
            ("SET a 1 NX GET", "$-1\r\n"),
            ("SET a 2 NX GET", "$1\r\n1\r\n"),
            ("SET a 2 nx", "$-1\r\n"),
            ("GET a", "$1\r\n1\r\n"),
            ("SET a 3 XX GET", "$1\r\n1\r\n"),
            ("SET a 3 XX XX GET GET", "$1\r\n3\r\n"),
            ("SET a 4 EX 10", "+OK\r\n"),
            ("TTL a", ":10\r\n"),
            ("SET a 5 KEEPTTL", "+OK\r\n"),
            ("TTL a", ":10\r\n"),
            ("SET a 5 EX 10 EX 20", "+OK\r\n"),
            ("TTL a", ":20\r\n"),
            ("SET a 6", "+OK\r\n"),
            ("TTL a", ":-1\r\n"),
            ("SET a 7 PXAT 1700000000500", "+OK\r\n"),
            ("PTTL a", ":500\r\n"),
            ("SET a 7 EXAT 1700000001", "+OK\r\n"),
            ("PTTL a", ":1000\r\n"),
            ("SET a 8 PXAT 1 GET", "$1\r\n7\r\n"),
            ("EXISTS a", ":0\r\n"),
            ("SET a 8 PXAT 1", "+OK\r\n"),
            ("EXISTS a", ":0\r\n"),
        ] {
            shard.check(line, reply);
        }
        shard.check_resp3("SET a 1 XX", "_\r\n");
        for options in
            ["foo", "EX", "EX 10 PX 10", "EX 10 KEEPTTL", "KEEPTTL EXAT 5", "NX XX", "XX GET EX", "PERSIST", "EX PX"]
        {
            let error = if options == "EX PX" { "value is not an integer or out of range" } else { "syntax error" };
            shard.check(&format!("SET a 1 {options}"), &format!("-ERR {error}\r\n"));
        }
        let invalid = "-ERR invalid expire time in 'set' command\r\n";
        for time in ["EX 0", "EX -1", "EX 9223372036854775807", "PX 9223372036854775807", "EXAT 0", "PXAT -5"] {
            shard.check(&format!("SET a 1 {time}"), invalid);
        }
        shard.check("SET a 1 EX x", "-ERR value is not an integer or out of range\r\n");
    }

    #[test]
    fn set_as_it_was_spelt_once() {
        let shard = &mut Shard::default();
        shard.check("SETNX a 1", ":1\r\n");
        shard.check("SETNX a 2", ":0\r\n");
        shard.check("SETEX a 10 2", "+OK\r\n");
        shard.check("TTL a", ":10\r\n");
        shard.check("PSETEX a 500 3", "+OK\r\n");
        shard.check("PTTL a", ":500\r\n");
        shard.check("SETEX a 0 x", "-ERR invalid expire time in 'setex' command\r\n");
        shard.check("PSETEX a -1 x", "-ERR invalid expire time in 'psetex' command\r\n");
        shard.check("SETEX a x x", "-ERR value is not an integer or out of range\r\n");
        shard.check("GETSET a 4", "$1\r\n3\r\n");
        shard.check("TTL a", ":-1\r\n");
        shard.check("GETSET none 4", "$-1\r\n");
        shard.check("GETDEL none", "$1\r\n4\r\n");
        shard.check("GETDEL none", "$-1\r\n");
        shard.check("APPEND b 12", ":2\r\n");
        shard.check("OBJECT ENCODING b", "$3\r\nint\r\n");
        shard.check("APPEND b 3", ":3\r\n");
        shard.check("OBJECT ENCODING b", "$3\r\nraw\r\n");
    }

    #[test]
    fn append_stops_at_the_longest_string() {
        let shard = &mut Shard::default();
        shard.options.string_length_max = 5;
        shard.check("APPEND a 123456", ":6\r\n");
        shard.check("APPEND a 7", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
        shard.check("SET a 1234", "+OK\r\n");
        shard.check("APPEND a 5", ":5\r\n");
    }

    #[test]
    fn getex() {
        let shard = &mut Shard::default();
        shard.check("SET a 1", "+OK\r\n");
        for (line, ttl) in [
            ("GETEX a", -1),
            ("GETEX a EX 10", 10_000),
            ("GETEX a", 10_000),
            ("GETEX a PX 500", 500),
            ("GETEX a PERSIST PERSIST", -1),
            ("GETEX a EXAT 1700000010", 10_000),
            ("GETEX a PXAT 1", -2),
        ] {
            shard.check(line, "$1\r\n1\r\n");
            shard.check("PTTL a", &format!(":{ttl}\r\n"));
        }
        shard.check("GETEX none EX 0", "$-1\r\n");
        shard.check("GETEX none EX abc", "$-1\r\n");
        shard.check("SET a 1", "+OK\r\n");
        shard.check("GETEX a EX 0", "-ERR invalid expire time in 'getex' command\r\n");
        shard.check("GETEX a EX abc", "-ERR value is not an integer or out of range\r\n");
        for options in ["FOO", "EX", "KEEPTTL", "EX 10 PX 5", "PERSIST EX 10", "EX 10 PERSIST"] {
            shard.check(&format!("GETEX a {options}"), "-ERR syntax error\r\n");
        }
    }

    #[test]
    fn a_key_lives_through_its_last_millisecond() {
        let shard = &mut Shard::default();
        shard.check("SET a 1 PX 10", "+OK\r\n");
        shard.now += 10;
        shard.check("GET a", "$1\r\n1\r\n");
        shard.check("INCR a", ":2\r\n");
        shard.now += 1;
        shard.check("INCR a", ":1\r\n");
        shard.check("PTTL a", ":-1\r\n");
    }
}
