//! BITOP: a new bitmap out of others. Shorter ones count as padded with zeros to the length of the longest.
//!
//! The result is made a block at a time, which stays in the processor's first cache while every source passes over it.
//! With X the first source and Y the others:
//!
//! ```text
//!   AND, OR, XOR   of all             NOT     of the one
//!   DIFF           X & !(Y | Y ..)    DIFF1   !X & (Y | Y ..)
//!   ANDOR          X &  (Y | Y ..)    ONE     bits set in exactly one of all
//! ```

use super::super::errors::{is, syntax, wrong_type};
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::keyspace::{DatabaseId, Value};
use crate::long::{LongWork, Step, report_ahead};
use crate::values::{Blob, Content, Form, INLINE_BYTES_MAX, OwnedString};

const BLOCK_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    Diff,
    Diff1,
    AndOr,
    One,
}

impl Operation {
    const NAMES: [(&'static str, Self); 8] = [
        ("AND", Self::And),
        ("OR", Self::Or),
        ("XOR", Self::Xor),
        ("NOT", Self::Not),
        ("DIFF", Self::Diff),
        ("DIFF1", Self::Diff1),
        ("ANDOR", Self::AndOr),
        ("ONE", Self::One),
    ];

    /// The operation of that name, if it can be done with so many sources.
    fn parse(word: &[u8], sources: usize) -> Result<Self, CommandError> {
        let (name, operation) = Self::NAMES.into_iter().find(|(name, _)| is(word, name)).ok_or_else(syntax)?;
        match operation {
            Self::Not if sources != 1 => Err("ERR BITOP NOT must be called with a single source key.".into()),
            Self::Diff | Self::Diff1 | Self::AndOr if sources < 2 => {
                Err(format!("ERR BITOP {name} must be called with at least two source keys.").into())
            }
            operation => Ok(operation),
        }
    }

    /// Whether redis-server 7.0 knows it, so that it may stand in a log.
    fn is_old(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Xor | Self::Not)
    }

    /// Fills a block that begins at `start` of the result. There is at least one source.
    fn fill(self, block: &mut [u8], start: usize, sources: &[&[u8]]) {
        let length = block.len();
        let part = |source: &'_ [u8]| -> std::ops::Range<usize> {
            let from = start.min(source.len());
            from..source.len().min(start + length)
        };
        let first = &sources[0][part(sources[0])];
        match self {
            Self::And | Self::Or | Self::Xor | Self::Not => {
                let (covered, rest) = block.split_at_mut(first.len());
                covered.copy_from_slice(first);
                rest.fill(0);
            }
            Self::Diff | Self::Diff1 | Self::AndOr | Self::One => block.fill(0),
        }
        let others = sources[1..].iter().map(|source| &source[part(source)]);
        match self {
            Self::And => others.for_each(|other| and(block, other)),
            Self::Or => others.for_each(|other| combine(block, other, |a, b| a | b)),
            Self::Xor => others.for_each(|other| combine(block, other, |a, b| a ^ b)),
            Self::Not => block.iter_mut().for_each(|byte| *byte = !*byte),
            Self::Diff | Self::Diff1 | Self::AndOr => {
                others.for_each(|other| combine(block, other, |a, b| a | b));
                match self {
                    Self::Diff1 => combine(block, first, |others, x| others & !x),
                    Self::AndOr => and(block, first),
                    _ => {
                        combine(block, first, |others, x| x & !others);
                        block[first.len()..].fill(0);
                    }
                }
            }
            Self::One => {
                let mut several = [0; BLOCK_BYTES];
                let several = &mut several[..length];
                for source in std::iter::once(first).chain(others) {
                    for ((seen, several), byte) in block.iter_mut().zip(several.iter_mut()).zip(source) {
                        *several |= *seen & byte;
                        *seen |= byte;
                    }
                }
                combine(block, several, |seen, several| seen & !several);
            }
        }
    }
}

/// Changes each byte of a block with the one at its place in `other`, as far as that reaches.
fn combine(block: &mut [u8], other: &[u8], operation: impl Fn(u8, u8) -> u8) {
    block.iter_mut().zip(other).for_each(|(byte, other)| *byte = operation(*byte, *other));
}

fn and(block: &mut [u8], other: &[u8]) {
    combine(block, other, |a, b| a & b);
    block[other.len()..].fill(0);
}

/// A source as a read of the client; a large one is shared, not copied.
fn source(execution: &mut Execution<'_>, key: &[u8]) -> Result<Option<OwnedString>, CommandError> {
    let access = execution.access();
    let key = execution.keyspace.key(key);
    match execution.keyspace.find(execution.database, &key, execution.now, access).map(|entry| entry.to_owned().value) {
        None => Ok(None),
        Some(Value::String(string)) => Ok(Some(string)),
        Some(_) => Err(wrong_type()),
    }
}

/// `BITOP operation destination key [key ...]`
pub(super) fn bitop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (destination, keys) = (arguments[2], &arguments[3..]);
    let operation = Operation::parse(arguments[1], keys.len())?;
    let sources: Vec<_> = keys.iter().map(|key| source(execution, key)).collect::<Result<_, _>>()?;
    let mut scratch = vec![itoa::Buffer::new(); sources.len()];
    let texts: Vec<&[u8]> = sources
        .iter()
        .zip(&mut scratch)
        .map(|(source, scratch)| source.as_ref().map_or(&[][..], |source| source.as_ref().as_bytes(scratch)))
        .collect();
    let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    if execution.options.is_long(units(length, sources.len()), 0) {
        let effect = operation.is_old().then_some(arguments);
        return begin_later(execution, operation, sources, length, destination, effect);
    }
    if length == 0 {
        remove(execution, destination);
    } else {
        let mut result = Blob::zeroed(length);
        for (index, block) in result.as_mut_slice().chunks_mut(BLOCK_BYTES).enumerate() {
            operation.fill(block, index * BLOCK_BYTES, &texts);
        }
        let told = if operation.is_old() { Told::Command(arguments) } else { Told::Result };
        store(execution, destination, result, told);
    }
    execution.reply.integer(length as i64);
    Ok(())
}

/// Work that it is to make so many bytes out of so many sources: a unit is a block of one of them.
fn units(length: usize, sources: usize) -> u64 {
    length.div_ceil(BLOCK_BYTES) as u64 * (sources as u64 + 1)
}

/// A long result in the making.
struct Combination {
    operation: Operation,
    sources: Vec<Option<OwnedString>>,
    result: Blob,
    made: usize,
    database: DatabaseId,
    destination: Vec<u8>,
    /// Whether the effect has been reported.
    is_told: bool,
}

fn begin_later(
    execution: &mut Execution<'_>,
    operation: Operation,
    sources: Vec<Option<OwnedString>>,
    length: usize,
    destination: &[u8],
    effect: Option<&[&[u8]]>,
) -> CommandResult {
    let database = execution.keyspace.database_id(execution.database);
    let (result, is_told) = (Blob::zeroed(length), effect.is_some());
    if let Some(effect) = effect {
        report_ahead(execution, destination, effect);
    }
    let destination = destination.to_vec();
    execution.later.put(Combination { operation, sources, result, made: 0, database, destination, is_told });
    Ok(())
}

impl LongWork for Combination {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let mut scratch = vec![itoa::Buffer::new(); self.sources.len()];
        let texts: Vec<&[u8]> = self
            .sources
            .iter()
            .zip(&mut scratch)
            .map(|(source, scratch)| source.as_ref().map_or(&[][..], |source| source.as_ref().as_bytes(scratch)))
            .collect();
        let blocks = (budget / (texts.len() as u64 + 1)).max(1) as usize;
        let end = self.result.len().min(self.made.saturating_add(blocks.saturating_mul(BLOCK_BYTES)));
        for block in self.result.as_mut_slice()[self.made..end].chunks_mut(BLOCK_BYTES) {
            self.operation.fill(block, self.made, &texts);
            self.made += block.len();
        }
        let length = self.result.len();
        if self.made < length {
            return Step::More;
        }
        if let Some(database) = execution.keyspace.database_of(self.database) {
            execution.database = database;
            let result = std::mem::replace(&mut self.result, Blob::new(&[]));
            let effect = if self.is_told { Told::Ahead } else { Told::Result };
            store(execution, &self.destination, result, effect);
        }
        execution.reply.integer(length as i64);
        Step::Done
    }
}

/// How the effect of a result is reported.
enum Told<'a> {
    /// As the command.
    Command(&'a [&'a [u8]]),
    /// As the value, where older servers do not know the command.
    Result,
    /// It has been.
    Ahead,
}

fn remove(execution: &mut Execution<'_>, destination: &[u8]) {
    let key = execution.keyspace.key(destination);
    if execution.keyspace.remove(execution.database, &key, execution.now) {
        execution.effect(&[b"DEL", destination]);
        execution.event(EventClass::Generic, "del", destination);
    }
}

/// Puts the result under its key.
fn store(execution: &mut Execution<'_>, destination: &[u8], result: Blob, told: Told<'_>) {
    let key = execution.keyspace.key(destination);
    let (database, now) = (execution.database, execution.now);
    // What replaces an expired value reports its end first.
    execution.keyspace.settle_expired(database, &key, now, true);
    match told {
        Told::Command(arguments) => execution.effect(arguments),
        Told::Result => execution.effect(&[b"SET", destination, result.as_slice()]),
        Told::Ahead => {}
    }
    if result.len() > INLINE_BYTES_MAX {
        let content = Content::Blob { blob: result, form: Form::STRING };
        execution.keyspace.replace(database, &key, content, now);
    } else {
        execution.keyspace.replace(database, &key, Content::text(result.as_slice(), true), now);
    }
    execution.keyspace.dirty += 1;
    execution.event(EventClass::String, "set", destination);
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use super::*;
    use proptest::prelude::*;

    /// One byte of the result by the definitions at the head of this file.
    fn byte(operation: Operation, bytes: &[u8]) -> u8 {
        let (first, others) = (bytes[0], bytes[1..].iter().fold(0, |all, byte| all | byte));
        match operation {
            Operation::And => bytes.iter().fold(0xff, |all, byte| all & byte),
            Operation::Or => first | others,
            Operation::Xor => bytes.iter().fold(0, |all, byte| all ^ byte),
            Operation::Not => !first,
            Operation::Diff => first & !others,
            Operation::Diff1 => others & !first,
            Operation::AndOr => first & others,
            Operation::One => (0..8)
                .filter(|bit| bytes.iter().filter(|byte| **byte >> bit & 1 == 1).count() == 1)
                .fold(0, |all, bit| all | 1 << bit),
        }
    }

    proptest! {
        #[test]
        fn results_as_byte_by_byte(
            sources in proptest::collection::vec((0..5000usize, any::<u64>()), 1..6),
            operation in proptest::sample::select(Operation::NAMES.to_vec()),
        ) {
            let (name, operation) = operation;
            let shard = &mut Shard::default();
            let sources: Vec<Vec<u8>> = sources.into_iter().map(|(length, seed)| {
                let mut random = fastrand::Rng::with_seed(seed);
                (0..length).map(|_| random.u8(..)).collect()
            }).collect();
            let sources = if operation == Operation::Not { &sources[..1] } else { &sources[..] };
            let names: Vec<String> = (0..sources.len()).map(|index| format!("key{index}")).collect();
            for (name, source) in names.iter().zip(sources) {
                shard.execute(crate::reply::Protocol::Resp2, &[b"SET", name.as_bytes(), source]);
            }
            let length = sources.iter().map(Vec::len).max().unwrap_or(0);
            if Operation::parse(name.as_bytes(), sources.len()).is_ok() {
                shard.check(&format!("BITOP {name} key0 {}", names.join(" ")), &format!(":{length}\r\n"));
                let expected: Vec<u8> = (0..length).map(|index| {
                    let bytes: Vec<u8> =
                        sources.iter().map(|source| source.get(index).copied().unwrap_or(0)).collect();
                    byte(operation, &bytes)
                }).collect();
                let reply = shard.execute(crate::reply::Protocol::Resp2, &[b"GETRANGE", b"key0", b"0", b"-1"]);
                prop_assert!(reply.ends_with(&[&expected, &b"\r\n"[..]].concat()));
            }
        }
    }

    #[test]
    fn sources_and_operations_are_checked() {
        let shard = &mut Shard::default();
        shard.check("BITOP NAND d a", "-ERR syntax error\r\n");
        shard.check("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key.\r\n");
        for name in ["DIFF", "DIFF1", "ANDOR"] {
            let expected = format!("-ERR BITOP {name} must be called with at least two source keys.\r\n");
            shard.check(&format!("BITOP {} d a", name.to_lowercase()), &expected);
        }
        shard.check("BITOP ONE d a", ":0\r\n");
        shard.check("SET d 123 EX 100", "+OK\r\n");
        shard.check("BITOP OR d d", ":3\r\n");
        shard.check("GET d", "$3\r\n123\r\n");
        shard.check("OBJECT ENCODING d", "$3\r\nraw\r\n");
        shard.check("TTL d", ":-1\r\n");
        shard.check("BITOP OR d none", ":0\r\n");
        shard.check("EXISTS d", ":0\r\n");
    }
}
