//! When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST.

use super::super::errors::is;
use super::super::expire_time::{RawTime, Unit};
use super::super::report;
use super::inspect;
use crate::command::{CommandError, CommandResult, Execution, Milliseconds};

/// On what condition an expiry is set. NX excludes the others, GT excludes LT.
#[derive(Clone, Copy, Debug, Default)]
struct ExpireOptions {
    /// NX: only where there is none.
    absent: bool,
    /// XX: only where there is one.
    present: bool,
    /// GT: only if it becomes later; no expiry is the latest.
    later: bool,
    /// LT: only if it becomes earlier.
    earlier: bool,
}

impl ExpireOptions {
    fn parse(words: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        for word in words {
            if is(word, "NX") {
                options.absent = true;
            } else if is(word, "XX") {
                options.present = true;
            } else if is(word, "GT") {
                options.later = true;
            } else if is(word, "LT") {
                options.earlier = true;
            } else {
                return Err(CommandError::echo("ERR Unsupported option ", word, ""));
            }
        }
        if options.absent && (options.present || options.later || options.earlier) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if options.later && options.earlier {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(options)
    }

    fn allow(self, at: Milliseconds, present: Option<Milliseconds>) -> bool {
        !(self.absent && present.is_some()
            || self.present && present.is_none()
            || self.later && present.is_none_or(|present| at <= present)
            || self.earlier && present.is_some_and(|present| at >= present))
    }
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub(super) fn expire(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, Unit::EX, "expire")
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpire(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, Unit::PX, "pexpire")
}

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`
pub(super) fn expireat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, Unit::EXAT, "expireat")
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpireat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_expiry(execution, arguments, Unit::PXAT, "pexpireat")
}

fn set_expiry(execution: &mut Execution<'_>, arguments: &[&[u8]], unit: Unit, command: &str) -> CommandResult {
    let options = ExpireOptions::parse(&arguments[3..])?;
    let Execution { keyspace, reply, database, now, .. } = execution;
    let at = RawTime { unit, text: arguments[2] }.any(*now, command)?;
    let key = keyspace.key(arguments[1]);
    let present = keyspace.peek(*database, &key, *now).map(|entry| entry.expires_at());
    let changed = match present {
        Some(present) if options.allow(at, present) => {
            if at <= *now {
                keyspace.remove(*database, &key, *now)
            } else {
                keyspace.set_expiry(*database, &key, Some(at), *now)
            }
        }
        _ => false,
    };
    reply.integer(i64::from(changed));
    if changed && at <= execution.now {
        report::removed(execution, key.bytes);
    } else if changed {
        report::expiry_set(execution, key.bytes, at);
    }
    Ok(())
}

/// `PERSIST key`
pub(super) fn persist(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let volatile = keyspace.peek(*database, &key, *now).is_some_and(|entry| entry.expires_at().is_some());
    let changed = volatile && keyspace.set_expiry(*database, &key, None, *now);
    reply.integer(i64::from(changed));
    if changed {
        report::expiry_taken(execution, key.bytes);
    }
    Ok(())
}

/// Replies -2 for no key, -1 for no expiry, else what `show` makes of the time.
fn reply_expiry(
    execution: &mut Execution<'_>,
    key: &[u8],
    show: impl FnOnce(Milliseconds, Milliseconds) -> i64,
) -> CommandResult {
    let now = execution.now;
    let shown = match inspect(execution, key).map(|entry| entry.expires_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(at, now),
    };
    execution.reply.integer(shown);
    Ok(())
}

const fn rounded_seconds(milliseconds: i64) -> i64 {
    ((milliseconds as i128 + 500) / 1000) as i64
}

/// `TTL key`
pub(super) fn ttl(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments[1], |at, now| rounded_seconds(at.saturating_sub(now).max(0)))
}

/// `PTTL key`
pub(super) fn pttl(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments[1], |at, now| at.saturating_sub(now).max(0))
}

/// `EXPIRETIME key`
pub(super) fn expiretime(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments[1], |at, _| rounded_seconds(at))
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_expiry(execution, arguments[1], |at, _| at)
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn expiry_is_set_shown_and_taken_away() {
        let shard = &mut Shard::default();
        shard.check("SET a 1", "+OK\r\n");
        shard.check("TTL a", ":-1\r\n");
        shard.check("TTL none", ":-2\r\n");
        shard.check("PERSIST a", ":0\r\n");
        shard.check("EXPIRE a 100", ":1\r\n");
        shard.check("EXPIRE none 100", ":0\r\n");
        shard.check("TTL a", ":100\r\n");
        shard.check("PTTL a", ":100000\r\n");
        let at = shard.now + 100_000;
        shard.check("PEXPIRETIME a", &format!(":{at}\r\n"));
        shard.check("EXPIRETIME a", &format!(":{}\r\n", (at + 500) / 1000));
        shard.now += 99_501;
        shard.check("TTL a", ":0\r\n");
        shard.now += 499;
        shard.check("PTTL a", ":0\r\n");
        shard.now += 1;
        shard.check("PTTL a", ":-2\r\n");
        shard.check("SET a 1 PX 10", "+OK\r\n");
        shard.check("PERSIST a", ":1\r\n");
        shard.check("PTTL a", ":-1\r\n");
        shard.check("PEXPIREAT a 9223372036854775807", ":1\r\n");
        shard.check("EXPIRETIME a", ":9223372036854776\r\n");
    }

    #[test]
    fn conditions() {
        let shard = &mut Shard::default();
        shard.check("SET a 1", "+OK\r\n");
        for (line, changed) in [
            ("EXPIRE a 100 XX", 0),
            ("EXPIRE a 100 GT", 0),
            ("EXPIRE a 100 LT", 1),
            ("EXPIRE a 200 LT", 0),
            ("EXPIRE a 100 GT", 0),
            ("EXPIRE a 200 nx", 0),
            ("PEXPIRE a 200000 gt", 1),
            ("EXPIRE a 300 XX GT", 1),
            ("EXPIRE a 50 XX XX LT", 1),
            ("EXPIREAT a 0 GT", 0),
            ("EXPIREAT a 0 LT", 1),
            ("EXPIRE a 10", 0),
        ] {
            shard.check(line, &format!(":{changed}\r\n"));
        }
        shard.check("SET a 1", "+OK\r\n");
        shard.check("EXPIRE a 10 NX", ":1\r\n");
        let mixed = "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n";
        for options in ["NX XX", "NX GT", "LT NX"] {
            shard.check(&format!("EXPIRE a 10 {options}"), mixed);
        }
        let mixed = "-ERR GT and LT options at the same time are not compatible\r\n";
        shard.check("EXPIRE a 10 GT LT", mixed);
        shard.check("EXPIRE none x FOO", "-ERR Unsupported option FOO\r\n");
    }

    #[test]
    fn times_out_of_range_and_in_the_past() {
        let shard = &mut Shard::default();
        shard.check("SET a 1", "+OK\r\n");
        shard.check("EXPIRE a x", "-ERR value is not an integer or out of range\r\n");
        for (command, time) in [
            ("expire", i64::MAX),
            ("expire", i64::MIN),
            ("expire", i64::MAX / 1000),
            ("pexpire", i64::MAX),
            ("expireat", i64::MAX / 1000 + 1),
        ] {
            let error = format!("-ERR invalid expire time in '{command}' command\r\n");
            shard.check(&format!("{command} a {time}"), &error);
            shard.check(&format!("{command} none {time}"), &error);
        }
        for line in ["EXPIRE a 0", "EXPIRE a -1", "EXPIRE a -9223372036854770", "PEXPIREAT a -9223372036854775808"] {
            shard.check("SET a 1", "+OK\r\n");
            shard.check(line, ":1\r\n");
            shard.check("EXISTS a", ":0\r\n");
        }
    }
}
