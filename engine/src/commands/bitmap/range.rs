//! Parts of a bitmap: BITCOUNT, BITPOS.

use super::super::errors::{integer, is, syntax};
use super::{bits, read};
use crate::command::{CommandError, CommandResult, EngineOptions, Execution};
use crate::long::{LongWork, Step};
use crate::values::{Blob, StringRef};

/// What the two ends of a range count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        if is(word, "BIT") {
            Ok(Self::Bit)
        } else if is(word, "BYTE") {
            Ok(Self::Byte)
        } else {
            Err(syntax())
        }
    }

    /// The first and the last bit from `start` to `end`, both included, negative ones counted from the end, cut to the
    /// string; none if nothing is left.
    fn bits(self, start: i64, end: i64, byte_count: usize) -> Option<(u64, u64)> {
        let length = byte_count as i64 * if self == Self::Bit { 8 } else { 1 };
        let from_start = |index: i64| if index < 0 { (length + index).max(0) } else { index };
        let (start, end) = (from_start(start), from_start(end).min(length - 1));
        if start > end {
            return None;
        }
        match self {
            Self::Bit => Some((start as u64, end as u64)),
            Self::Byte => Some((start as u64 * 8, end as u64 * 8 + 7)),
        }
    }
}

/// `BITCOUNT key [start [end [BYTE | BIT]]]`: newer servers look at the range first, also where there is no key.
pub(super) fn bitcount(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (start, end, unit) = match &arguments[2..] {
        [] => (0, -1, Unit::Byte),
        [start] => (integer(start)?, -1, Unit::Byte),
        [start, end] => (integer(start)?, integer(end)?, Unit::Byte),
        [start, end, unit] => {
            let (start, unit) = (integer(start)?, Unit::parse(unit)?);
            (start, integer(end)?, unit)
        }
        _ => return Err(syntax()),
    };
    let mut long = None;
    let options = execution.options;
    let count = read(execution, arguments[1], |bytes| {
        // Two ends before the string, in the wrong order, would both be cut to its first byte.
        let is_empty = start < 0 && end < 0 && start > end;
        let range = if is_empty { None } else { unit.bits(start, end, bytes.len()) };
        long = range.filter(|range| is_long(options, *range));
        if long.is_some() { 0 } else { range.map_or(0, |(first, last)| bits::count(bytes, first, last)) }
    })?;
    if let Some(work) = LongLook::begin(execution, arguments[1], long, Look::Count(0)) {
        execution.later.put(work);
    } else {
        execution.reply.integer(count.unwrap_or(0) as i64);
    }
    Ok(())
}

/// Bytes that a unit of work looks at.
const BYTES_PER_UNIT: u64 = 1024;

/// Whether a range of bits, both ends included, is too long to be looked at at once.
fn is_long(options: &EngineOptions, (first, last): (u64, u64)) -> bool {
    options.is_long((last - first) / 8 / BYTES_PER_UNIT, 0)
}

/// What is looked for in a long bitmap.
enum Look {
    /// Ones; so many up to now.
    Count(u64),
    /// The first bit of a value; what to answer if there is none.
    Find(bool, i64),
}

/// A walk over the bits of a long bitmap, both ends included.
struct LongLook {
    bitmap: Blob,
    next: u64,
    last: u64,
    look: Look,
}

impl LongLook {
    fn begin(execution: &Execution<'_>, key: &[u8], bits: Option<(u64, u64)>, look: Look) -> Option<Self> {
        let (next, last) = bits?;
        let key = execution.keyspace.key(key);
        match execution.keyspace.peek(execution.database, &key, execution.now)?.string()? {
            StringRef::Shared(bitmap) => Some(Self { bitmap: bitmap.clone(), next, last, look }),
            _ => None,
        }
    }
}

impl LongWork for LongLook {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let end = self.last.min(self.next.saturating_add(budget.saturating_mul(8 * BYTES_PER_UNIT)) | 7);
        let (bytes, is_last) = (self.bitmap.as_slice(), end == self.last);
        let answer = match &mut self.look {
            Look::Count(ones) => {
                *ones += bits::count(bytes, self.next, end);
                is_last.then_some(*ones as i64)
            }
            Look::Find(wanted, absent) => {
                let found = bits::find(bytes, self.next, end, *wanted).map(|position| position as i64);
                found.or(is_last.then_some(*absent))
            }
        };
        self.next = end + 1;
        let Some(answer) = answer else { return Step::More };
        execution.reply.integer(answer);
        Step::Done
    }
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub(super) fn bitpos(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let wanted = match integer(arguments[2])? {
        bit @ (0 | 1) => bit == 1,
        _ => return Err("ERR The bit argument must be 1 or 0.".into()),
    };
    let (start, end, unit) = match &arguments[3..] {
        [] => (0, None, Unit::Byte),
        [start] => (integer(start)?, None, Unit::Byte),
        [start, end] => (integer(start)?, Some(integer(end)?), Unit::Byte),
        [start, end, unit] => {
            let (start, unit) = (integer(start)?, Unit::parse(unit)?);
            (start, Some(integer(end)?), unit)
        }
        _ => return Err(syntax()),
    };
    let mut long = None;
    let options = execution.options;
    let position = read(execution, arguments[1], |bytes| {
        let (first, last) = unit.bits(start, end.unwrap_or(-1), bytes.len())?;
        long = Some((first, last)).filter(|range| is_long(options, *range));
        let found = if long.is_some() { None } else { bits::find(bytes, first, last, wanted) };
        // Without an end the zeros behind the string count, too.
        found.or((!wanted && end.is_none()).then_some(bytes.len() as u64 * 8))
    })?;
    let absent = if wanted { None } else { Some(0) };
    let position = position.unwrap_or(absent).map_or(-1, |position| position as i64);
    if let Some(work) = LongLook::begin(execution, arguments[1], long, Look::Find(wanted, position)) {
        execution.later.put(work);
    } else {
        execution.reply.integer(position);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn ones_are_counted_in_a_range() {
        let shard = &mut Shard::default();
        shard.check("SET k foobar", "+OK\r\n");
        for (range, count) in [
            ("", 26),
            ("0 0", 4),
            ("1 1", 6),
            ("0 -1", 26),
            ("5 30 BIT", 17),
            ("-100 100 bit", 26),
            ("-1 -2", 0),
            ("9 9", 0),
            ("-100 -90", 4),
            ("3 3 BIT", 0),
        ] {
            shard.check(&format!("BITCOUNT k {range}"), &format!(":{count}\r\n"));
        }
        shard.check("BITCOUNT k 3", ":10\r\n");
        shard.check("BITCOUNT k 0 1 BITS", "-ERR syntax error\r\n");
        shard.check("BITCOUNT k 0 1 BIT x", "-ERR syntax error\r\n");
        shard.check("BITCOUNT k x 1", "-ERR value is not an integer or out of range\r\n");
        shard.check("BITCOUNT none x", "-ERR value is not an integer or out of range\r\n");
    }

    #[test]
    fn the_first_bit_is_found() {
        let shard = &mut Shard::default();
        shard.check("SETRANGE k 3 x", ":4\r\n");
        shard.check("SETRANGE k 0 \u{7f}", ":4\r\n");
        for (search, position) in [
            ("1", 1),
            ("0", 0),
            ("1 1", 25),
            ("0 4", -1),
            ("1 1 2", -1),
            ("1 2 30 BIT", 2),
            ("0 1 7 BIT", -1),
            ("0 -1", 24),
            ("1 -100 -90", 1),
            ("1 3 2", -1),
        ] {
            shard.check(&format!("BITPOS k {search}"), &format!(":{position}\r\n"));
        }
        shard.check("BITFIELD ones SET i16 0 -1", "*1\r\n:0\r\n");
        shard.check("BITPOS ones 0", ":16\r\n");
        shard.check("BITPOS ones 0 1", ":16\r\n");
        shard.check("BITPOS ones 0 0 -1", ":-1\r\n");
        shard.check("BITPOS none 0 1", ":0\r\n");
        shard.check("BITPOS none 0 x", "-ERR value is not an integer or out of range\r\n");
        shard.check("BITPOS none 1", ":-1\r\n");
        shard.check("SET empty ''", "+OK\r\n");
        shard.check("BITPOS empty 0", ":-1\r\n");
        shard.check("BITPOS k 2", "-ERR The bit argument must be 1 or 0.\r\n");
        shard.check("BITPOS k 1 0 -1 x", "-ERR syntax error\r\n");
        shard.check("BITPOS k 1 0 -1 BIT x", "-ERR syntax error\r\n");
    }
}
