//! Bitmaps: strings seen as bits, the first one the most significant bit of the first byte; what lies behind the end is
//! zero.
//!
//! ```text
//!   bits        the bytes themselves: count, find, fields of up to 64 bits
//!   single      SETBIT GETBIT                range    BITCOUNT BITPOS, and the parts of a string they look at
//!   field       BITFIELD BITFIELD_RO         combine  BITOP
//! ```
//!
//! Changes are made in place ([`change`]); only what was no raw string yet, or is too short, is written anew.

mod bits;
mod combine;
mod field;
mod range;
mod rows;
mod single;

pub use rows::COMMANDS;

use super::errors::wrong_type;
use crate::command::{CommandError, EngineOptions, Execution, parse_integer};
use crate::keyspace::EntryMut;
use crate::values::{Collection, Form, Packed, StringRef, Type};

const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";

/// A bit's position within the longest string allowed; written as `#n`, the n-th field of `width` bits.
fn bit_offset(text: &[u8], width: Option<u32>, options: &EngineOptions) -> Result<u64, CommandError> {
    let offset = match (text, width) {
        ([b'#', index @ ..], Some(width)) => parse_integer(index).and_then(|index| index.checked_mul(i64::from(width))),
        _ => parse_integer(text),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset >> 3 < options.string_length_max).ok_or_else(|| BIT_OFFSET.into())
}

/// Looks a string up as a read of the client and calls `look` with its bytes; `None` if the key is absent.
fn read<R>(
    execution: &mut Execution<'_>,
    key: &[u8],
    look: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, CommandError> {
    let access = execution.access();
    let key = execution.keyspace.key(key);
    let entry = execution.keyspace.find_typed(execution.database, &key, execution.now, access, Type::String)?;
    Ok(entry.and_then(|entry| entry.string()).map(|string| string.with_bytes(look)))
}

/// Whether a string's bytes may be changed where they stand: OBJECT ENCODING calls it `raw` already.
fn is_raw(entry: &EntryMut<'_>) -> bool {
    entry.form() == Form::RAW_STRING || matches!(entry.view().string(), Some(StringRef::Shared(_)))
}

/// Calls `change` with the bytes of the string under a key, if it has so many and they may be changed where they stand.
fn change_in_place<R>(
    execution: &mut Execution<'_>,
    key: &[u8],
    length: usize,
    change: impl FnOnce(&mut [u8]) -> R,
) -> Result<Option<R>, CommandError> {
    let key = execution.keyspace.key(key);
    let entry = execution.keyspace.edit(execution.database, &key, Type::String, execution.now)?;
    Ok(entry.and_then(|mut entry| entry.raw_string_mut(length).map(change)))
}

/// Makes the string under a key at least `length` bytes long, which is at least one, and calls `change` with its bytes and
/// whether there are more of them now. Nothing is counted into `dirty`.
fn change<R>(
    execution: &mut Execution<'_>,
    key: &[u8],
    length: usize,
    change: impl FnOnce(&mut [u8], bool) -> R,
) -> Result<R, CommandError> {
    let Execution { keyspace, database, now, .. } = execution;
    let (key, database, now) = (keyspace.key(key), *database, *now);
    let old_length = match keyspace.edit(database, &key, Type::String, now)? {
        Some(mut entry) if entry.bytes().len() >= length && is_raw(&entry) => {
            return Ok(change(entry.bytes_mut(), false));
        }
        Some(entry) => entry.view().string().map_or(0, |string| string.len()),
        None => 0,
    };
    let dirty = keyspace.dirty;
    if old_length < length {
        keyspace.write_at(database, &key, length - 1, &[0], now);
    } else {
        keyspace.append(database, &key, &[], now);
    }
    keyspace.dirty = dirty;
    let mut entry = keyspace.edit(database, &key, Type::String, now)?.ok_or_else(wrong_type)?;
    Ok(change(entry.bytes_mut(), old_length < length))
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;
    use crate::journal::EventClass;

    /// Runs lines and tells what was reported: the effects and the names of the events.
    fn reports(shard: &mut Shard, lines: &[&str]) -> (Vec<String>, Vec<&'static str>) {
        shard.keyspace.journal.listen(true, &[EventClass::String, EventClass::Generic]);
        lines.iter().for_each(|line| assert!(!shard.run(line).starts_with('-'), "{line}"));
        let (effects, events) = shard.keyspace.journal.take();
        let effects = effects.iter().map(|effect| String::from_utf8_lossy(&effect.arguments.join(&b' ')).into_owned());
        (effects.collect(), events.iter().map(|event| event.name).collect())
    }

    #[test]
    fn changes_are_reported_and_counted_once() {
        let shard = &mut Shard::default();
        let dirty = shard.keyspace.dirty;
        let (effects, events) = reports(
            shard,
            &[
                "SETBIT a 7 1",
                "SETBIT a 7 1",
                "SETBIT a 9 0",
                "BITFIELD a SET u8 0 1 INCRBY u8 8 1",
                "BITFIELD a GET u8 0",
                "BITFIELD a OVERFLOW FAIL SET u2 0 4",
                "BITOP NOT b a",
                "BITOP AND b none none",
                "BITOP AND b none none",
            ],
        );
        let expected =
            ["SETBIT a 7 1", "SETBIT a 9 0", "BITFIELD a SET u8 0 1 INCRBY u8 8 1", "BITOP NOT b a", "DEL b"];
        assert_eq!(effects, expected);
        assert_eq!(events, ["setbit", "setbit", "setbit", "set", "del"]);
        assert_eq!(shard.keyspace.dirty - dirty, 5);
    }

    #[test]
    fn newer_operations_are_reported_by_their_result() {
        let shard = &mut Shard::default();
        shard.check("MSET x a y b", "+OK\r\n");
        let (effects, _) = reports(shard, &["BITOP OR z x y", "BITOP ONE z x y", "BITOP DIFF z none none"]);
        assert_eq!(effects, ["BITOP OR z x y", "SET z \u{3}", "DEL z"]);
    }

    #[test]
    fn strings_of_every_kind_are_changed() {
        let shard = &mut Shard::default();
        let long = "y".repeat(200);
        for (text, offset) in [("12", 7), ("abc", 7), ("", 7), (long.as_str(), 7), (long.as_str(), 9999)] {
            shard.check(&format!("SET k '{text}' EX 100"), "+OK\r\n");
            shard.check("COPY k copy REPLACE", ":1\r\n");
            shard
                .check(&format!("SETBIT k {offset} 0"), &format!(":{}\r\n", u8::from(offset == 7 && !text.is_empty())));
            shard.check("OBJECT ENCODING k", "$3\r\nraw\r\n");
            shard.check("TTL k", ":100\r\n");
            shard.check("STRLEN k", &format!(":{}\r\n", text.len().max(offset / 8 + 1)));
            // What shared the bytes has them still.
            shard.check("GET copy", &format!("${}\r\n{text}\r\n", text.len()));
        }
    }
}
