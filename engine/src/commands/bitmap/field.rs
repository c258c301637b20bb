//! BITFIELD: integers of any width at any bit of a string.
//!
//! All operations are parsed before the first one runs; then the string is made long enough for all of them, once.

use super::super::errors::{integer, is, syntax};
use super::super::string::room::is_made_first;
use super::{bit_offset, bits, change, read};
use crate::command::{CommandError, CommandResult, EngineOptions, Execution, parse_integer};
use crate::journal::EventClass;
use smallvec::SmallVec;

const BAD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Its lowest bits are taken.
    Wrap,
    /// The nearest one that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

/// `i16`, `u8` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    signed: bool,
    width: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let (signed, width, width_max) = match text {
            [b'i', width @ ..] => (true, width, 64),
            [b'u', width @ ..] => (false, width, 63),
            _ => return Err(BAD_TYPE.into()),
        };
        match parse_integer(width) {
            Some(width) if (1..=width_max).contains(&width) => Ok(Self { signed, width: width as u32 }),
            _ => Err(BAD_TYPE.into()),
        }
    }

    /// The number that these bits are.
    fn number(self, bits: u64) -> i64 {
        let unused = u64::BITS - self.width;
        if self.signed { ((bits << unused) as i64) >> unused } else { (bits << unused >> unused) as i64 }
    }

    /// The number that is stored for `value`; none if it fits not and nothing is to be written.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = if self.signed {
            (-(1i128 << (self.width - 1)), (1i128 << (self.width - 1)) - 1)
        } else {
            (0, (1i128 << self.width) - 1)
        };
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.number(value as u64)),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// One of the command's operations.
#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: Kind,
    offset: u64,
    action: Action,
    overflow: Overflow,
}

type Operations = SmallVec<[Operation; 4]>;
/// What the operations answer.
type Values = SmallVec<[Option<i64>; 4]>;

impl Operation {
    /// Parses what follows the key, in the order in which the real server finds mistakes.
    fn parse_all(arguments: &[&[u8]], options: &EngineOptions) -> Result<Operations, CommandError> {
        let mut operations = Operations::new();
        let mut overflow = Overflow::Wrap;
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = match more {
                [kind, offset, more @ ..] if is(word, "GET") => {
                    operations.push(Self::parse(kind, offset, overflow, options)?);
                    more
                }
                [kind, offset, value, more @ ..] if is(word, "SET") => {
                    let field = Self::parse(kind, offset, overflow, options)?;
                    operations.push(Self { action: Action::Set(integer(value)?), ..field });
                    more
                }
                [kind, offset, value, more @ ..] if is(word, "INCRBY") => {
                    let field = Self::parse(kind, offset, overflow, options)?;
                    operations.push(Self { action: Action::Increment(integer(value)?), ..field });
                    more
                }
                [name, more @ ..] if is(word, "OVERFLOW") => {
                    overflow = if is(name, "WRAP") {
                        Overflow::Wrap
                    } else if is(name, "SAT") {
                        Overflow::Saturate
                    } else if is(name, "FAIL") {
                        Overflow::Fail
                    } else {
                        return Err("ERR Invalid OVERFLOW type specified".into());
                    };
                    more
                }
                _ => return Err(syntax()),
            };
        }
        Ok(operations)
    }

    /// An operation that reads a field.
    fn parse(kind: &[u8], offset: &[u8], overflow: Overflow, options: &EngineOptions) -> Result<Self, CommandError> {
        let kind = Kind::parse(kind)?;
        let offset = bit_offset(offset, Some(kind.width), options)?;
        Ok(Self { kind, offset, action: Action::Get, overflow })
    }

    fn writes(&self) -> bool {
        self.action != Action::Get
    }

    /// How long the string must be for this to be written, in bytes.
    fn length_needed(&self) -> usize {
        (self.offset + u64::from(self.kind.width)).div_ceil(8) as usize
    }

    fn get(&self, bytes: &[u8]) -> i64 {
        self.kind.number(bits::field(bytes, self.offset, self.kind.width))
    }

    /// Runs on a string that is long enough; gives the reply and whether a value was changed, or written where
    /// `is_longer`.
    fn run(&self, bytes: &mut [u8], is_longer: bool) -> (Option<i64>, bool) {
        let old = self.get(bytes);
        let value = match self.action {
            Action::Get => return (Some(old), false),
            Action::Set(value) if self.kind.signed => i128::from(value),
            // A negative one is taken for the large number of the same bits.
            Action::Set(value) => i128::from(value as u64),
            Action::Increment(by) => i128::from(old) + i128::from(by),
        };
        let Some(new) = self.kind.fit(value, self.overflow) else { return (None, false) };
        bits::set_field(bytes, self.offset, self.kind.width, new as u64);
        let is_set = matches!(self.action, Action::Set(_));
        (Some(if is_set { old } else { new }), is_longer || old != new)
    }
}

fn reply_all(execution: &mut Execution<'_>, values: &[Option<i64>]) {
    execution.reply.array(values.len());
    for value in values {
        match value {
            Some(value) => execution.reply.integer(*value),
            None => execution.reply.null(),
        }
    }
}

/// Answers operations that only read.
fn read_fields(execution: &mut Execution<'_>, key: &[u8], operations: &[Operation]) -> CommandResult {
    let get_all = |bytes: &[u8]| -> Values { operations.iter().map(|operation| Some(operation.get(bytes))).collect() };
    let values = read(execution, key, get_all)?;
    reply_all(execution, &values.unwrap_or_else(|| get_all(&[])));
    Ok(())
}

/// `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment ...]`
pub(super) fn bitfield(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key = arguments[1];
    let operations = Operation::parse_all(&arguments[2..], execution.options)?;
    let writers = operations.iter().filter(|operation| operation.writes());
    let Some(length) = writers.map(Operation::length_needed).max() else {
        return read_fields(execution, key, &operations);
    };
    if is_made_first(execution, (bitfield, arguments), key, length) {
        return Ok(());
    }
    let mut changes = 0;
    let mut values = Values::new();
    let is_longer = change(execution, key, length, |bytes, is_longer| {
        for operation in &operations {
            let (value, changed) = operation.run(bytes, is_longer);
            values.push(value);
            changes += u64::from(changed);
        }
        is_longer
    })?;
    // As in the real server, a string that only grew for an operation that failed counts as unchanged. It did change.
    if changes > 0 || is_longer {
        execution.effect(arguments);
    }
    if changes > 0 {
        execution.keyspace.dirty += changes;
        execution.event(EventClass::String, "setbit", key);
    }
    reply_all(execution, &values);
    Ok(())
}

/// `BITFIELD_RO key [GET type offset ...]`
pub(super) fn bitfield_ro(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let operations = Operation::parse_all(&arguments[2..], execution.options)?;
    if operations.iter().any(Operation::writes) {
        return Err("ERR BITFIELD_RO only supports the GET subcommand".into());
    }
    read_fields(execution, arguments[1], &operations)
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use super::*;

    #[test]
    fn values_that_do_not_fit() {
        let kind = |text: &str| Kind::parse(text.as_bytes()).expect("a type");
        for (text, value, wrapped, saturated) in [
            ("u8", 256, 0, 255),
            ("u8", -1, 255, 0),
            ("i8", 128, -128, 127),
            ("i8", -129, 127, -128),
            ("i1", 1, -1, 0),
            ("i64", i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            ("i64", i128::from(i64::MIN) - 1, i64::MAX, i64::MIN),
            ("u63", 1 << 63, 0, i64::MAX),
            ("u63", i128::from(u64::MAX), i64::MAX, i64::MAX),
        ] {
            let fit = |overflow| kind(text).fit(value, overflow);
            assert_eq!(fit(Overflow::Wrap), Some(wrapped), "{text} {value}");
            assert_eq!(fit(Overflow::Saturate), Some(saturated), "{text} {value}");
            assert_eq!(fit(Overflow::Fail), None, "{text} {value}");
        }
    }

    #[test]
    fn fields_are_written_and_read() {
        let shard = &mut Shard::default();
        shard.check(
            "BITFIELD k SET u8 #1 200 GET u8 8 GET i8 #1 INCRBY u8 #1 100",
            "*4\r\n:0\r\n:200\r\n:-56\r\n:44\r\n",
        );
        shard.check("BITFIELD k OVERFLOW SAT INCRBY u8 8 300 OVERFLOW FAIL INCRBY u8 8 1", "*2\r\n:255\r\n$-1\r\n");
        shard.check_resp3("BITFIELD k OVERFLOW FAIL SET u8 8 -1", "*1\r\n_\r\n");
        shard.check("BITFIELD k OVERFLOW SAT SET u8 8 -1", "*1\r\n:255\r\n");
        shard.check(
            "BITFIELD k SET i64 3 -2 GET i64 3 GET u63 4",
            "*3\r\n:574208952489738240\r\n:-2\r\n:9223372036854775806\r\n",
        );
        shard.check("STRLEN k", ":9\r\n");
        shard.check("BITFIELD_RO k GET u4 1000000 GET i2 2", "*2\r\n:0\r\n:1\r\n");
        shard.check("BITFIELD none GET u8 0 OVERFLOW SAT", "*1\r\n:0\r\n");
        shard.check("BITFIELD none", "*0\r\n");
        shard.check("EXISTS none", ":0\r\n");
        shard.check("SET number 12", "+OK\r\n");
        shard.check("BITFIELD number INCRBY u8 0 1", "*1\r\n:50\r\n");
        shard.check("GET number", "$2\r\n22\r\n");
    }

    #[test]
    fn mistakes_are_found_in_order_and_before_any_change() {
        let shard = &mut Shard::default();
        for (line, error) in [
            ("SET u8 0", "syntax error"),
            ("SET u8 0 1 GET", "syntax error"),
            ("SET u8 0 1 OVERFLOW NEVER SET x", "Invalid OVERFLOW type specified"),
            ("SET u8 -1 x", "bit offset is not an integer or out of range"),
            ("SET u8 #-1 x", "bit offset is not an integer or out of range"),
            ("SET u8 #9223372036854775807 x", "bit offset is not an integer or out of range"),
            ("SET u8 #288230376151711744 x", "bit offset is not an integer or out of range"),
            ("SET u8 4294967296 1", "bit offset is not an integer or out of range"),
            ("SET u8 0 x", "value is not an integer or out of range"),
        ] {
            shard.check(&format!("BITFIELD k SET u8 0 1 {line}"), &format!("-ERR {error}\r\n"));
        }
        for kind in ["u64", "i65", "i0", "u-1", "U8", "8", "''", "u", "i08"] {
            shard.check(&format!("BITFIELD k SET {kind} -1 x"), &format!("-{BAD_TYPE}\r\n"));
        }
        shard.check("BITFIELD_RO k SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand\r\n");
        shard.check("EXISTS k", ":0\r\n");
    }
}
