//! Whole databases: DBSIZE, FLUSHALL, FLUSHDB, SWAPDB. Each runs on every shard at one point of the order.

use super::errors::{DATABASE_RANGE, is, syntax};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{ASYNC_OR_SYNC, integer};
use crate::command::{Categories, Command, CommandError, CommandResult, Execution, Flags, Spec, Spread, parse_integer};

const DATABASE: Spec = Spec {
    group: "server",
    own_categories: Categories::KEYSPACE.or(Categories::DANGEROUS),
    flags: Flags::WRITE,
    spread: Spread::AllShardsOk,
    ..Spec::BASE
};

/// Every command on whole databases.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "dbsize",
            arity: Exact(1),
            own_categories: Categories::KEYSPACE,
            flags: Flags::READONLY.or(Flags::FAST),
            spread: Spread::AllShardsSum,
            summary: "Counts the keys of the database",
            tips: &["request_policy:all_shards", "response_policy:agg_sum"],
            ..DATABASE
        },
        run: dbsize,
    },
    Command {
        spec: Spec {
            name: "flushall",
            arity: AtLeast(1),
            complexity: "O(1) for the caller; memory of the N keys comes back in the background",
            summary: "Removes all keys of all databases",
            spread: Spread::AllShardsOkOnDisk,
            arguments: &[ASYNC_OR_SYNC],
            history: &[("4.0.0", "New option: `ASYNC`."), ("6.2.0", "New option: `SYNC`.")],
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            ..DATABASE
        },
        run: flushall,
    },
    Command {
        spec: Spec {
            name: "flushdb",
            arity: AtLeast(1),
            complexity: "O(1) for the caller; memory of the N keys comes back in the background",
            summary: "Removes all keys of the database",
            arguments: &[ASYNC_OR_SYNC],
            history: &[("4.0.0", "New option: `ASYNC`."), ("6.2.0", "New option: `SYNC`.")],
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            ..DATABASE
        },
        run: flushdb,
    },
    Command {
        spec: Spec {
            name: "swapdb",
            arity: Exact(3),
            flags: Flags::WRITE.or(Flags::FAST),
            since: "4.0.0",
            complexity: "O(1), and O(N) in the number of clients that watch or wait for keys in either database",
            summary: "Exchanges two databases",
            arguments: &[integer("index1"), integer("index2")],
            ..DATABASE
        },
        run: swapdb,
    },
];

/// `DBSIZE`, on this shard
fn dbsize(execution: &mut Execution<'_>, _arguments: &[&[u8]]) -> CommandResult {
    let length = execution.keyspace.len(execution.database);
    execution.reply.integer(length as i64);
    Ok(())
}

/// `[ASYNC | SYNC]`: checked, and without effect, since memory always comes back in slices.
fn check_flush_options(arguments: &[&[u8]]) -> CommandResult {
    match arguments {
        [_] => Ok(()),
        [_, mode] if is(mode, "ASYNC") || is(mode, "SYNC") => Ok(()),
        _ => Err(syntax()),
    }
}

/// `FLUSHALL [ASYNC | SYNC]`
fn flushall(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    check_flush_options(arguments)?;
    execution.keyspace.touch_flushed(None, execution.now);
    execution.keyspace.flush(None);
    execution.keyspace.all_flushes += 1;
    execution.effect(&[b"FLUSHALL"]);
    execution.reply.ok();
    Ok(())
}

/// `FLUSHDB [ASYNC | SYNC]`
fn flushdb(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    check_flush_options(arguments)?;
    execution.keyspace.touch_flushed(Some(execution.database), execution.now);
    execution.keyspace.flush(Some(execution.database));
    execution.effect(&[b"FLUSHDB"]);
    execution.reply.ok();
    Ok(())
}

/// `SWAPDB index1 index2`
fn swapdb(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let index = |text: &[u8], error: &'static str| {
        parse_integer(text).filter(|index| i32::try_from(*index).is_ok()).ok_or(CommandError::from(error))
    };
    let first = index(arguments[1], "ERR invalid first DB index")?;
    let second = index(arguments[2], "ERR invalid second DB index")?;
    let count = execution.keyspace.database_count();
    let in_range = |index: i64| usize::try_from(index).ok().filter(|index| *index < count);
    let (Some(first), Some(second)) = (in_range(first), in_range(second)) else {
        return Err(DATABASE_RANGE.into());
    };
    if first != second {
        execution.keyspace.touch_swapped(first, second, execution.now);
        execution.keyspace.swap_databases(first, second);
        execution.effect(arguments);
    }
    execution.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;

    #[test]
    fn databases_are_counted_emptied_and_exchanged() {
        let shard = &mut Shard::default();
        shard.check("MSET a 1 b 2", "+OK\r\n");
        shard.check("DBSIZE", ":2\r\n");
        shard.check("SWAPDB 0 1", "+OK\r\n");
        shard.check("DBSIZE", ":0\r\n");
        shard.check("SET c 3", "+OK\r\n");
        shard.check("FLUSHDB", "+OK\r\n");
        shard.check("SWAPDB 0 0", "+OK\r\n");
        shard.check("SWAPDB 1 0", "+OK\r\n");
        shard.check("DBSIZE", ":2\r\n");
        shard.check("FLUSHALL sync", "+OK\r\n");
        shard.check("DBSIZE", ":0\r\n");
        for line in ["FLUSHALL FOO", "FLUSHDB ASYNC SYNC"] {
            shard.check(line, "-ERR syntax error\r\n");
        }
        shard.check("SWAPDB x y", "-ERR invalid first DB index\r\n");
        shard.check("SWAPDB 99999999999 1", "-ERR invalid first DB index\r\n");
        shard.check("SWAPDB 0 y", "-ERR invalid second DB index\r\n");
        shard.check("SWAPDB 0 16", "-ERR DB index is out of range\r\n");
        shard.check("SWAPDB 0 -1", "-ERR DB index is out of range\r\n");
    }
}
