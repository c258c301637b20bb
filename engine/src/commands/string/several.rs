//! Several strings at once: MGET, MSET, MSETNX, MSETEX. They see the keys of one keyspace; spreading over shards is the
//! dispatcher's work, by the rows' `spread`.

use super::super::errors::{is, syntax};
use super::super::expire_time::Unit;
use super::set::{Lifetime, write_or_remove};
use super::{exists, reply_string, set_string};
use crate::command::{CommandError, CommandResult, Execution, parse_integer, wrong_arity};
use crate::keyspace::Expiry;

/// `MGET key [key ...]`
pub(super) fn mget(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    reply.array(arguments.len() - 1);
    for argument in &arguments[1..] {
        let key = keyspace.key(argument);
        match keyspace.find(*database, &key, *now, access).and_then(|entry| entry.string()) {
            None => reply.null(),
            Some(value) => reply_string(reply, value),
        }
    }
    Ok(())
}

/// Key and value pairs of MSET and MSETNX.
fn pairs<'a, 'b>(arguments: &'b [&'a [u8]], command: &str) -> Result<&'b [[&'a [u8]; 2]], CommandError> {
    match arguments[1..].as_chunks() {
        (pairs, []) => Ok(pairs),
        _ => Err(wrong_arity(command, None)),
    }
}

/// `MSET key value [key value ...]`
pub(super) fn mset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    for [key, value] in pairs(arguments, "mset")? {
        set_string(execution, key, value, Expiry::Clear);
    }
    execution.reply.ok();
    Ok(())
}

/// `MSETNX key value [key value ...]`
pub(super) fn msetnx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let pairs = pairs(arguments, "msetnx")?;
    let absent = !pairs.iter().any(|[key, _]| exists(execution, key));
    if absent {
        for [key, value] in pairs {
            set_string(execution, key, value, Expiry::Clear);
        }
    }
    execution.reply.integer(i64::from(absent));
    Ok(())
}

struct MsetexOptions<'a> {
    /// NX: false, XX: true.
    wanted_presence: Option<bool>,
    lifetime: Lifetime<'a>,
}

impl<'a> MsetexOptions<'a> {
    fn parse(arguments: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self { wanted_presence: None, lifetime: Lifetime::Default };
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = more;
            if is(word, "NX") && options.wanted_presence != Some(true) {
                options.wanted_presence = Some(false);
            } else if is(word, "XX") && options.wanted_presence != Some(false) {
                options.wanted_presence = Some(true);
            } else if is(word, "KEEPTTL") {
                options.lifetime.set_plain(Lifetime::Keep)?;
            } else if let Some(unit) = Unit::of(word)
                && let [time, more @ ..] = rest
            {
                options.lifetime.set_until(unit, time)?;
                rest = more;
            } else {
                return Err(syntax());
            }
        }
        Ok(options)
    }
}

/// `MSETEX numkeys key value [key value ...] [NX | XX]
/// [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL]`
pub(super) fn msetex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let count = parse_integer(arguments[1])
        .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
        .ok_or(CommandError::from("ERR invalid numkeys value"))? as usize;
    if arguments.len() < 2 + count * 2 {
        return Err("ERR wrong number of key-value pairs".into());
    }
    let (pairs, options) = arguments[2..].split_at(count * 2);
    let (pairs, _) = pairs.as_chunks::<2>();
    let options = MsetexOptions::parse(options)?;
    let expiry = options.lifetime.resolve(execution.now, "msetex")?;
    let allowed =
        options.wanted_presence.is_none_or(|present| pairs.iter().all(|[key, _]| exists(execution, key) == present));
    if allowed {
        for [key, value] in pairs {
            write_or_remove(execution, key, value, expiry);
        }
    }
    execution.reply.integer(i64::from(allowed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn mset_and_mget() {
        let shard = &mut Shard::default();
        shard.check("MSET a 1 b 2 a 3", "+OK\r\n");
        shard.check("MGET a none b", "*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n");
        shard.check_resp3("MGET none", "*1\r\n_\r\n");
        shard.check("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
        shard.check("MSETNX a", "-ERR wrong number of arguments for 'msetnx' command\r\n");
        shard.check("MSETNX n 1 b", "-ERR wrong number of arguments for 'msetnx' command\r\n");
        shard.check("MSETNX n 1 a 2", ":0\r\n");
        shard.check("EXISTS n", ":0\r\n");
        shard.check("MSETNX n 1 m 2 n 3", ":1\r\n");
        shard.check("MGET n m", "*2\r\n$1\r\n3\r\n$1\r\n2\r\n");
        shard.check("EXPIRE a 100", ":1\r\n");
        shard.check("MSET a 1", "+OK\r\n");
        shard.check("TTL a", ":-1\r\n");
    }

    #[test]
    fn msetex() {
        let shard = &mut Shard::default();
        shard.check("MSETEX 2 a 1 b 2 EX 100", ":1\r\n");
        shard.check("TTL b", ":100\r\n");
        shard.check("MSETEX 2 a 3 n 4 NX", ":0\r\n");
        shard.check("MSETEX 2 a 3 n 4 XX", ":0\r\n");
        shard.check("EXISTS n", ":0\r\n");
        shard.check("MSETEX 2 a 3 b 4 xx keepttl", ":1\r\n");
        shard.check("MGET a b", "*2\r\n$1\r\n3\r\n$1\r\n4\r\n");
        shard.check("TTL a", ":100\r\n");
        shard.check("MSETEX 1 a 5", ":1\r\n");
        shard.check("TTL a", ":-1\r\n");
        shard.check("MSETEX 1 n 5 px 5000 nx", ":1\r\n");
        shard.check("PTTL n", ":5000\r\n");
        shard.check("MSETEX 1 n 5 PXAT 1", ":1\r\n");
        shard.check("EXISTS n", ":0\r\n");
        for count in ["x", "0", "-1", "2147483648"] {
            shard.check(&format!("MSETEX {count} a 1 EX 10"), "-ERR invalid numkeys value\r\n");
        }
        for line in ["MSETEX 2 a 1 b", "MSETEX 2147483647 a 1 EX 10", "MSETEX 2 a 1"] {
            shard.check(line, "-ERR wrong number of key-value pairs\r\n");
        }
        for options in ["FOO", "NX XX", "EX 10 PX 5", "EXAT 1 PXAT 1", "KEEPTTL EX 1", "EX", "EX 1 KEEPTTL"] {
            shard.check(&format!("MSETEX 1 a 1 {options}"), "-ERR syntax error\r\n");
        }
        shard.check("MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command\r\n");
        shard.check("MSETEX 1 a 1 EX x", "-ERR value is not an integer or out of range\r\n");
    }
}
