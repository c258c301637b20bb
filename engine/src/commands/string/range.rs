//! Parts of strings: GETRANGE, SUBSTR, SETRANGE.

use super::super::errors::{OFFSET_RANGE, integer};
use super::room::is_made_first;
use super::{check_length, peek, read};
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::reply::SHARE_BYTES_MIN;
use crate::values::StringRef;

/// The bytes from `start` to `end`, both included, negative ones counted from the end.
fn part(text: &[u8], start: i64, end: i64) -> &[u8] {
    let length = text.len() as i64;
    // Two ends on the wrong side of the text, in the wrong order, hold nothing even after they are cut to the text.
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_start = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if start > end { &[] } else { &text[start as usize..=end as usize] }
}

/// `GETRANGE key start end`, also `SUBSTR`
pub(super) fn getrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (start, end) = (integer(arguments[2])?, integer(arguments[3])?);
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    match keyspace.find(*database, &key, *now, access) {
        None => reply.bulk(b""),
        Some(entry) => match super::string_of(entry)? {
            // A long part is sent from where it is stored.
            StringRef::Shared(blob) => {
                let (whole, part) = (blob.as_slice(), part(blob.as_slice(), start, end));
                if part.len() >= SHARE_BYTES_MIN {
                    let from = part.as_ptr().addr() - whole.as_ptr().addr();
                    reply.bulk_shared(blob.to_bytes().slice(from..from + part.len()));
                } else {
                    reply.bulk(part);
                }
            }
            text => text.with_bytes(|text| reply.bulk(part(text, start, end))),
        },
    }
    Ok(())
}

/// `SETRANGE key offset value`
pub(super) fn setrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, bytes) = (arguments[1], arguments[3]);
    let offset = usize::try_from(integer(arguments[2])?).map_err(|_| CommandError::from(OFFSET_RANGE))?;
    let length = peek(execution, key)?.map_or(0, |value| value.len());
    if bytes.is_empty() {
        execution.reply.integer(length as i64);
        return Ok(());
    }
    check_length(execution, (offset as u64).saturating_add(bytes.len() as u64))?;
    if is_made_first(execution, (setrange, arguments), key, offset + bytes.len()) {
        return Ok(());
    }
    let key = execution.keyspace.key(key);
    let length = execution.keyspace.write_at(execution.database, &key, offset, bytes, execution.now);
    execution.effect(arguments);
    execution.event(EventClass::String, "setrange", arguments[1]);
    execution.reply.integer(length as i64);
    Ok(())
}

/// `STRLEN key`
pub(super) fn strlen(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let length = read(execution, arguments[1])?.map_or(0, |value| value.len());
    execution.reply.integer(length as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use super::part;

    #[test]
    fn parts_as_the_real_server_cuts_them() {
        for (start, end, expected) in [
            (0, 3, "Hell"),
            (0, -1, "Hello World"),
            (-4, -1, "orld"),
            (5, 3, ""),
            (5, 5000, " World"),
            (-5000, 10000, "Hello World"),
            (0, -100, "H"),
            (1, -100, ""),
            (-1, -100, ""),
            (-100, -99, "H"),
            (-100, -100, "H"),
            (-100, -101, ""),
            (i64::MIN, i64::MAX, "Hello World"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(part(b"Hello World", start, end), expected.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
        assert_eq!(part(b"", -1, -1), b"");
    }

    #[test]
    fn ranges_are_read_and_written() {
        let shard = &mut Shard::default();
        shard.check("SET a Hello", "+OK\r\n");
        shard.check("GETRANGE a 1 2", "$2\r\nel\r\n");
        shard.check("SUBSTR a -2 -1", "$2\r\nlo\r\n");
        shard.check("GETRANGE none x 1", "-ERR value is not an integer or out of range\r\n");
        shard.check("GETRANGE none 0 -1", "$0\r\n\r\n");
        shard.check("SETRANGE a 6 you", ":9\r\n");
        shard.check("GET a", "$9\r\nHello\0you\r\n");
        shard.check("SETRANGE none 0 ''", ":0\r\n");
        shard.check("EXISTS none", ":0\r\n");
        shard.check("SETRANGE none 2 x", ":3\r\n");
        shard.check("GET none", "$3\r\n\0\0x\r\n");
        shard.check("SETRANGE a -1 x", "-ERR offset is out of range\r\n");
        shard.check("SETRANGE a 9223372036854775807 ''", ":9\r\n");
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
        shard.check("SETRANGE a 536870911 xx", too_long);
        shard.check("SETRANGE a 9223372036854775807 xx", too_long);
        shard.check("STRLEN a", ":9\r\n");
        shard.check("STRLEN nothing", ":0\r\n");
        shard.check("SET n -123", "+OK\r\n");
        shard.check("STRLEN n", ":4\r\n");
        shard.check("GETRANGE n 0 1", "$2\r\n-1\r\n");
        shard.check("SETRANGE n 0 ''", ":4\r\n");
        shard.check("OBJECT ENCODING n", "$3\r\nint\r\n");
        shard.check("SETRANGE n 0 1", ":4\r\n");
        shard.check("GET n", "$4\r\n1123\r\n");
        shard.check("OBJECT ENCODING n", "$3\r\nraw\r\n");
    }
}
