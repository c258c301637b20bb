//! Values that go to another key or database: RENAME, RENAMENX, MOVE, COPY. All see source and destination in one
//! keyspace; of a destination that is only overwritten they look at nothing but whether it exists.

use super::super::errors::{NO_SUCH_KEY, SAME_OBJECT, database, is, syntax};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds};
use crate::journal::EventClass;
use crate::keyspace::{Key, Keyspace};

/// `RENAME key newkey`
pub(super) fn rename(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    rename_key(execution, arguments, true)?;
    execution.reply.ok();
    Ok(())
}

/// `RENAMENX key newkey`
pub(super) fn renamenx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let renamed = rename_key(execution, arguments, false)?;
    execution.reply.integer(i64::from(renamed));
    Ok(())
}

fn rename_key(execution: &mut Execution<'_>, arguments: &[&[u8]], replace: bool) -> Result<bool, CommandError> {
    let Execution { keyspace, database, now, .. } = &mut *execution;
    let (source, destination) = (keyspace.key(arguments[1]), keyspace.key(arguments[2]));
    if !keyspace.exists(*database, &source, *now) {
        return Err(NO_SUCH_KEY.into());
    }
    if source.bytes == destination.bytes || (!replace && keyspace.exists(*database, &destination, *now)) {
        return Ok(false);
    }
    relocate(keyspace, (*database, &source), (*database, &destination), *now);
    execution.effect(&[b"RENAME", source.bytes, destination.bytes]);
    execution.event(EventClass::Generic, "rename_from", source.bytes);
    execution.event(EventClass::Generic, "rename_to", destination.bytes);
    Ok(true)
}

/// Moves a key that is there: one change.
fn relocate(keyspace: &mut Keyspace, from: (usize, &Key<'_>), to: (usize, &Key<'_>), now: Milliseconds) {
    let dirty = keyspace.dirty;
    if let Some(entry) = keyspace.take(from.0, from.1, now) {
        keyspace.arrive(to.0, to.1, entry, now);
    }
    keyspace.dirty = dirty + 1;
}

/// `MOVE key db`
pub(super) fn move_key(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, database: from, now, .. } = &mut *execution;
    let (from, now) = (*from, *now);
    let to = database(arguments[2], keyspace.database_count())?;
    if to == from {
        return Err(SAME_OBJECT.into());
    }
    let key = keyspace.key(arguments[1]);
    let free = keyspace.exists(from, &key, now) && !keyspace.exists(to, &key, now);
    if free {
        relocate(keyspace, (from, &key), (to, &key), now);
        execution.effect(&[b"MOVE", key.bytes, arguments[2]]);
        execution.event(EventClass::Generic, "move_from", key.bytes);
        execution.keyspace.journal.event(to, EventClass::Generic, "move_to", key.bytes);
    }
    execution.reply.integer(i64::from(free));
    Ok(())
}

/// `COPY source destination [DB db] [REPLACE]`
pub(super) fn copy(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, database: from, now, .. } = &mut *execution;
    let (mut to, mut replace) = (*from, false);
    let mut rest = &arguments[3..];
    while let [word, more @ ..] = rest {
        rest = more;
        if is(word, "REPLACE") {
            replace = true;
        } else if is(word, "DB")
            && let [number, more @ ..] = rest
        {
            to = database(number, keyspace.database_count())?;
            rest = more;
        } else {
            return Err(syntax());
        }
    }
    let (source, destination) = (keyspace.key(arguments[1]), keyspace.key(arguments[2]));
    if to == *from && source.bytes == destination.bytes {
        return Err(SAME_OBJECT.into());
    }
    let entry = keyspace.find(*from, &source, *now, access).map(|entry| entry.to_owned());
    let copied = match entry {
        Some(entry) if replace || !keyspace.exists(to, &destination, *now) => {
            keyspace.arrive(to, &destination, entry, *now);
            true
        }
        _ => false,
    };
    if copied {
        report_copy(execution, to, arguments);
    }
    execution.reply.integer(i64::from(copied));
    Ok(())
}

/// The copy happened, so it replaces whatever is there.
fn report_copy(execution: &mut Execution<'_>, to: usize, arguments: &[&[u8]]) {
    let (source, destination) = (arguments[1], arguments[2]);
    let mut number = itoa::Buffer::new();
    execution.effect(&[b"COPY", source, destination, b"DB", number.format(to).as_bytes(), b"REPLACE"]);
    execution.keyspace.journal.event(to, EventClass::Generic, "copy_to", destination);
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn renaming() {
        let shard = &mut Shard::default();
        shard.check("MSET a 1 b 2", "+OK\r\n");
        shard.check("EXPIRE a 100", ":1\r\n");
        shard.check("RENAME none a", "-ERR no such key\r\n");
        shard.check("RENAME none none", "-ERR no such key\r\n");
        shard.check("RENAME a a", "+OK\r\n");
        shard.check("RENAMENX a a", ":0\r\n");
        shard.check("RENAMENX a b", ":0\r\n");
        shard.check("RENAME a b", "+OK\r\n");
        shard.check("MGET a b", "*2\r\n$-1\r\n$1\r\n1\r\n");
        shard.check("TTL b", ":100\r\n");
        shard.check("RENAMENX b c", ":1\r\n");
        shard.check("SET d 1", "+OK\r\n");
        shard.check("RENAME d c", "+OK\r\n");
        shard.check("TTL c", ":-1\r\n");
        shard.check("DBSIZE", ":1\r\n");
    }

    #[test]
    fn moving_between_databases() {
        let shard = &mut Shard::default();
        shard.check("SET a 1 EX 100", "+OK\r\n");
        let same = "-ERR source and destination objects are the same\r\n";
        shard.check("MOVE a 0", same);
        shard.check("MOVE none 0", same);
        shard.check("MOVE a 16", "-ERR DB index is out of range\r\n");
        shard.check("MOVE a -1", "-ERR DB index is out of range\r\n");
        shard.check("MOVE a x", "-ERR value is not an integer or out of range\r\n");
        let range = "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n";
        shard.check("MOVE a 99999999999", range);
        shard.check("MOVE none 1", ":0\r\n");
        shard.check("MOVE a 1", ":1\r\n");
        shard.check("EXISTS a", ":0\r\n");
        shard.check("SET a 2", "+OK\r\n");
        shard.check("MOVE a 1", ":0\r\n");
        shard.database = 1;
        shard.check("GET a", "$1\r\n1\r\n");
        shard.check("TTL a", ":100\r\n");
    }

    #[test]
    fn copying() {
        let shard = &mut Shard::default();
        shard.check("SET a 1 EX 100", "+OK\r\n");
        shard.check("COPY a b", ":1\r\n");
        shard.check("TTL b", ":100\r\n");
        shard.check("SET a 2", "+OK\r\n");
        shard.check("COPY a b", ":0\r\n");
        shard.check("COPY a b REPLACE REPLACE", ":1\r\n");
        shard.check("GET b", "$1\r\n2\r\n");
        shard.check("TTL b", ":-1\r\n");
        shard.check("COPY none b REPLACE", ":0\r\n");
        let same = "-ERR source and destination objects are the same\r\n";
        shard.check("COPY a a REPLACE", same);
        shard.check("COPY a a DB 0", same);
        shard.check("COPY a a DB 3 REPLACE", ":1\r\n");
        shard.check("COPY a b DB 99", "-ERR DB index is out of range\r\n");
        shard.check("COPY a b DB x", "-ERR value is not an integer or out of range\r\n");
        shard.check("COPY a b DB", "-ERR syntax error\r\n");
        shard.check("COPY a b FOO", "-ERR syntax error\r\n");
        shard.database = 3;
        shard.check("GET a", "$1\r\n2\r\n");
    }
}
