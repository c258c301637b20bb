//! One bit: SETBIT, GETBIT.

use super::super::string::room::is_made_first;
use super::{bit_offset, change, change_in_place, read};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::journal::EventClass;

/// The mask of a bit within its byte.
fn mask(offset: u64) -> u8 {
    0x80 >> (offset & 7)
}

/// `SETBIT key offset value`
pub(super) fn setbit(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let offset = bit_offset(arguments[2], None, execution.options)?;
    let on = match parse_integer(arguments[3]) {
        Some(value @ (0 | 1)) => value == 1,
        _ => return Err(CommandError::from("ERR bit is not an integer or out of range")),
    };
    let (byte, mask) = ((offset >> 3) as usize, mask(offset));
    let put = |bytes: &mut [u8]| {
        let was_on = bytes[byte] & mask != 0;
        if was_on != on {
            bytes[byte] ^= mask;
        }
        was_on
    };
    let (was_on, is_longer) = match change_in_place(execution, arguments[1], byte + 1, put)? {
        Some(was_on) => (was_on, false),
        None if is_made_first(execution, (setbit, arguments), arguments[1], byte + 1) => return Ok(()),
        None => change(execution, arguments[1], byte + 1, |bytes, is_longer| (put(bytes), is_longer))?,
    };
    if is_longer || was_on != on {
        execution.keyspace.dirty += 1;
        execution.effect(&[b"SETBIT", arguments[1], arguments[2], arguments[3]]);
        execution.event(EventClass::String, "setbit", arguments[1]);
    }
    execution.reply.integer(i64::from(was_on));
    Ok(())
}

/// `GETBIT key offset`
pub(super) fn getbit(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let offset = bit_offset(arguments[2], None, execution.options)?;
    let is_on = |bytes: &[u8]| bytes.get((offset >> 3) as usize).is_some_and(|byte| byte & mask(offset) != 0);
    let is_on = read(execution, arguments[1], is_on)?.unwrap_or(false);
    execution.reply.integer(i64::from(is_on));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn bits_are_set_and_read() {
        let shard = &mut Shard::default();
        for offset in [0, 1, 7, 8, 300, 5000, 1_000_000] {
            shard.check(&format!("GETBIT k {offset}"), ":0\r\n");
            shard.check(&format!("SETBIT k {offset} 1"), ":0\r\n");
            shard.check(&format!("SETBIT k {offset} 1"), ":1\r\n");
            shard.check(&format!("GETBIT k {offset}"), ":1\r\n");
            shard.check("STRLEN k", &format!(":{}\r\n", offset / 8 + 1));
        }
        shard.check("BITCOUNT k", ":7\r\n");
        shard.check("SETBIT k 0 0", ":1\r\n");
        shard.check("BITCOUNT k", ":6\r\n");
    }

    #[test]
    fn bad_offsets_and_values_are_refused() {
        let shard = &mut Shard::default();
        let bad_offset = "-ERR bit offset is not an integer or out of range\r\n";
        for offset in ["-1", "4294967296", "9223372036854775807", "99999999999999999999", "x", "#1", "1.0"] {
            shard.check(&format!("SETBIT k {offset} 1"), bad_offset);
            shard.check(&format!("GETBIT k {offset}"), bad_offset);
        }
        for value in ["2", "-1", "x", "10", "''"] {
            shard.check(&format!("SETBIT k 0 {value}"), "-ERR bit is not an integer or out of range\r\n");
        }
        shard.check("EXISTS k", ":0\r\n");
        shard.check("GETBIT k 4294967295", ":0\r\n");
    }

    /// A string as it was when somebody began to look at it stays that, whatever its size.
    #[test]
    fn a_view_of_a_string_does_not_see_its_bits_change() {
        for length in [10, 1000, 100_000] {
            let mut shard = Shard::default();
            shard.check(&format!("SETBIT k {} 1", length * 8 - 1), ":0\r\n");
            let key = shard.keyspace.key(b"k");
            let view = shard.keyspace.peek(0, &key, shard.now).expect("present").to_owned();
            shard.check("SETBIT k 3 1", ":0\r\n");
            shard.check("BITCOUNT k", ":2\r\n");
            let crate::keyspace::Value::String(string) = view.value else { panic!("a string") };
            let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
            assert_eq!(string.as_ref().with_bytes(|bytes| (bytes.len(), ones(bytes))), (length, 1));
            drop(string);
            shard.check("SETBIT k 4 1", ":0\r\n");
            shard.check("BITCOUNT k", ":3\r\n");
        }
    }
}
