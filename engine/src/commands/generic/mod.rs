//! Commands on keys of any type: the command rows and the plain ones. Expiry is in [`expire`], moving and copying in
//! [`relocate`], OBJECT in [`object`], SCAN and KEYS in [`scan`].

mod expire;
mod object;
mod relocate;
mod rows;
pub mod scan;

pub use rows::COMMANDS;

use super::report;
use crate::command::{CommandResult, Execution};
use crate::keyspace::{Access, Entry};

/// Looks a key up for a command that tells of it without using it: counted as a read, but not as an access.
fn inspect<'e>(execution: &'e mut Execution<'_>, key: &[u8]) -> Option<Entry<'e>> {
    let key = execution.keyspace.key(key);
    execution.keyspace.find(execution.database, &key, execution.now, Access::NoTouch)
}

/// Replies with how many of the keys `happens` to.
fn count_keys(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    mut happens: impl FnMut(&mut Execution<'_>, &[u8]) -> bool,
) -> CommandResult {
    let count = arguments[1..].iter().filter(|key| happens(execution, key)).count();
    execution.reply.integer(count as i64);
    Ok(())
}

/// `DEL key [key ...]`, also `UNLINK`: memory of large values always comes back in slices.
fn del(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_keys(execution, arguments, |execution, key| {
        let key = execution.keyspace.key(key);
        let removed = execution.keyspace.remove(execution.database, &key, execution.now);
        if removed {
            report::removed(execution, key.bytes);
        }
        removed
    })
}

/// `EXISTS key [key ...]`
fn exists(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_keys(execution, arguments, |execution, key| inspect(execution, key).is_some())
}

/// `TOUCH key [key ...]`
fn touch(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    count_keys(execution, arguments, |execution, key| {
        let key = execution.keyspace.key(key);
        execution.keyspace.find(execution.database, &key, execution.now, Access::Touch).is_some()
    })
}

/// `TYPE key`
fn type_of(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let name = inspect(execution, arguments[1]).map_or("none", |entry| entry.type_name());
    execution.reply.status(name);
    Ok(())
}

/// `RANDOMKEY`, on this shard
fn randomkey(execution: &mut Execution<'_>, _arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, random, .. } = execution;
    match keyspace.random_key(*database, random, *now) {
        None => reply.null(),
        Some(key) => reply.bulk(&key),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;

    #[test]
    fn keys_are_counted_and_removed() {
        let shard = &mut Shard::default();
        shard.check("MSET a 1 b 2 c 3", "+OK\r\n");
        shard.check("EXISTS a a none", ":2\r\n");
        shard.check("TOUCH a none b", ":2\r\n");
        shard.check("TYPE a", "+string\r\n");
        shard.check("TYPE none", "+none\r\n");
        shard.check("DEL a a none", ":1\r\n");
        shard.check("UNLINK b c none", ":2\r\n");
        shard.check("RANDOMKEY", "$-1\r\n");
        shard.check("SET only 1", "+OK\r\n");
        shard.check("RANDOMKEY", "$4\r\nonly\r\n");
        shard.check("DEL", "-ERR wrong number of arguments for 'del' command\r\n");
    }

    #[test]
    fn looking_at_a_key_is_no_access() {
        let shard = &mut Shard::default();
        shard.check("SET a 1", "+OK\r\n");
        shard.now += 100_000;
        for line in ["EXISTS a", "TYPE a", "TTL a", "OBJECT ENCODING a", "OBJECT IDLETIME a"] {
            shard.run(line);
        }
        shard.check("OBJECT IDLETIME a", ":100\r\n");
        shard.check("TOUCH a", ":1\r\n");
        shard.check("OBJECT IDLETIME a", ":0\r\n");
        let statistics = shard.keyspace.statistics;
        shard.check("EXISTS a none", ":1\r\n");
        assert_eq!(shard.keyspace.statistics.hits, statistics.hits + 1);
        assert_eq!(shard.keyspace.statistics.misses, statistics.misses + 1);
    }
}
