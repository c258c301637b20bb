//! Writes on condition of the value: IFEQ IFNE IFDEQ IFDNE of SET and DELEX, and the digest they compare.
//!
//! The digest is the XXH3 hash of the text, 64 bits, seed 0, as sixteen hexadecimal digits. That of a long text is made in slices,
//! of a view of it.

use super::super::errors::is;
use super::{find_quietly, peek, read, remove, string_of};
use crate::command::{CommandError, CommandResult, Execution, wrong_arity};
use crate::keyspace::Value;
use crate::long::{LongWork, Step};
use crate::values::{OwnedString, StringRef};
use std::hash::Hasher;
use twox_hash::XxHash3_64;

/// Bytes that are digested in about the time of a unit.
const UNIT_BYTES: usize = 256;

/// What the present value must be for a write to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueTest<'a> {
    /// IFEQ: this text.
    Equal(&'a [u8]),
    /// IFNE: another text, or no value.
    NotEqual(&'a [u8]),
    /// IFDEQ: a text of this digest.
    DigestEqual(&'a [u8]),
    /// IFDNE: a text of another digest, or no value.
    DigestNotEqual(&'a [u8]),
}

impl<'a> ValueTest<'a> {
    /// The test that an option's word and the argument behind it name.
    pub(super) fn of(word: &[u8], operand: &'a [u8]) -> Option<Self> {
        if is(word, "IFEQ") {
            Some(Self::Equal(operand))
        } else if is(word, "IFNE") {
            Some(Self::NotEqual(operand))
        } else if is(word, "IFDEQ") {
            Some(Self::DigestEqual(operand))
        } else if is(word, "IFDNE") {
            Some(Self::DigestNotEqual(operand))
        } else {
            None
        }
    }

    /// Whether an absent key passes.
    pub(super) const fn passes_absent(&self) -> bool {
        matches!(self, Self::NotEqual(_) | Self::DigestNotEqual(_))
    }

    /// Whether the value passes. The form of a digest is looked at only here: an absent key gives no error for it.
    pub(super) fn passes(&self, value: StringRef<'_>) -> Result<bool, CommandError> {
        Ok(match self {
            Self::Equal(text) => value.with_bytes(|value| value == *text),
            Self::NotEqual(text) => value.with_bytes(|value| value != *text),
            Self::DigestEqual(hex) => parse_digest(hex)? == digest_of(value),
            Self::DigestNotEqual(hex) => parse_digest(hex)? != digest_of(value),
        })
    }
}

fn digest_of(value: StringRef<'_>) -> u64 {
    value.with_bytes(XxHash3_64::oneshot)
}

fn parse_digest(hex: &[u8]) -> Result<u64, CommandError> {
    let well_formed = hex.len() == 16 && hex.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(hex)
        .ok()
        .filter(|_| well_formed)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .ok_or_else(|| "ERR digest must be exactly 16 hexadecimal characters".into())
}

/// `DIGEST key`
pub(super) fn digest(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = execution.options;
    let Some(value) = read(execution, arguments[1])? else {
        execution.reply.null();
        return Ok(());
    };
    if !options.is_long((value.len() / UNIT_BYTES) as u64, 0) {
        let digest = digest_of(value);
        execution.reply.bulk(format!("{digest:016x}").as_bytes());
        return Ok(());
    }
    let key = execution.keyspace.key(arguments[1]);
    let entry = execution.keyspace.peek(execution.database, &key, execution.now);
    if let Some(Value::String(text)) = entry.map(|entry| entry.to_owned().value) {
        execution.later.put(Digest { text, hasher: XxHash3_64::new(), digested: 0 });
    }
    Ok(())
}

/// The digest of a long text in the making.
struct Digest {
    text: OwnedString,
    hasher: XxHash3_64,
    /// Bytes so far.
    digested: usize,
}

impl LongWork for Digest {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Self { text, hasher, digested } = self;
        let is_over = text.as_ref().with_bytes(|bytes| {
            let rest = &bytes[*digested..];
            let part = &rest[..rest.len().min((budget as usize).saturating_mul(UNIT_BYTES))];
            hasher.write(part);
            *digested += part.len();
            part.len() == rest.len()
        });
        if !is_over {
            return Step::More;
        }
        execution.reply.bulk(format!("{:016x}", hasher.finish()).as_bytes());
        Step::Done
    }

    fn only_reads(&self) -> bool {
        true
    }
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn delex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let passes = match *arguments {
        [_, _] => true,
        [_, key, word, operand] => {
            let test = ValueTest::of(word, operand)
                .ok_or(CommandError::from("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?;
            match find_quietly(execution, key) {
                None => false,
                Some(entry) => {
                    let value = entry
                        .string()
                        .ok_or(CommandError::from("ERR Key should be of string type if conditions are specified"))?;
                    test.passes(value)?
                }
            }
        }
        _ => return Err(wrong_arity("delex", None)),
    };
    let removed = passes && remove(execution, arguments[1]);
    execution.reply.integer(i64::from(removed));
    Ok(())
}

/// `DELIFEQ key value`
pub(super) fn delifeq(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let equal = peek(execution, arguments[1])?.is_some_and(|value| value.with_bytes(|value| value == arguments[2]));
    let removed = equal && remove(execution, arguments[1]);
    execution.reply.integer(i64::from(removed));
    Ok(())
}

/// Whether SET may go on, given the test and what the key holds now.
pub(super) fn allows_write(execution: &Execution<'_>, key: &[u8], test: &ValueTest<'_>) -> Result<bool, CommandError> {
    match find_quietly(execution, key) {
        None => Ok(test.passes_absent()),
        Some(entry) => test.passes(string_of(entry)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    const WRONG_DIGEST: &str = "-ERR digest must be exactly 16 hexadecimal characters\r\n";

    #[test]
    fn digests() {
        let shard = &mut Shard::default();
        shard.check("DIGEST none", "$-1\r\n");
        shard.check("SET a 'Hello world'", "+OK\r\n");
        shard.check("DIGEST a", "$16\r\nb6acb9d84a38ff74\r\n");
        let zeros = "v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd";
        shard.check(&format!("SET a {zeros}"), "+OK\r\n");
        shard.check("DIGEST a", "$16\r\n00006c38adf31777\r\n");
        shard.check("MSET n 12345 t 12345", "+OK\r\n");
        assert_eq!(shard.run("DIGEST n"), shard.run("DIGEST t"));
    }

    #[test]
    fn removal_on_condition() {
        let shard = &mut Shard::default();
        for (line, removed) in [
            ("DELEX a", 1),
            ("DELEX none", 0),
            ("DELEX a IFEQ 'Hello world'", 1),
            ("DELEX a ifeq other", 0),
            ("DELEX a IFNE other", 1),
            ("DELEX a IFNE 'Hello world'", 0),
            ("DELEX a IFDEQ b6acb9d84a38ff74", 1),
            ("DELEX a IFDEQ B6ACB9D84A38FF74", 1),
            ("DELEX a IFDEQ b6acb9d84a38ff75", 0),
            ("DELEX a IFDNE b6acb9d84a38ff75", 1),
            ("DELEX a IFDNE b6acb9d84a38ff74", 0),
            ("DELEX none IFEQ x", 0),
            ("DELEX none IFNE x", 0),
            ("DELEX none IFDEQ 123", 0),
            ("DELIFEQ a 'Hello world'", 1),
            ("DELIFEQ a other", 0),
            ("DELIFEQ none other", 0),
        ] {
            shard.check("SET a 'Hello world'", "+OK\r\n");
            shard.check(line, &format!(":{removed}\r\n"));
            let expected = if line.contains("none") { 1 } else { 1 - removed };
            shard.check("EXISTS a", &format!(":{expected}\r\n"));
        }
        shard.check("SET a 1", "+OK\r\n");
        shard.check("DELEX a IFEQ", "-ERR wrong number of arguments for 'delex' command\r\n");
        shard.check("DELEX a IFEQ 1 2", "-ERR wrong number of arguments for 'delex' command\r\n");
        assert!(shard.run("DELEX a IF 1").starts_with("-ERR Invalid condition"));
        for digest in ["''", "123", "00006c38adf317777", "g0006c38adf31777", "+0006c38adf31777"] {
            shard.check(&format!("DELEX a IFDEQ {digest}"), WRONG_DIGEST);
            shard.check(&format!("SET a 2 IFDNE {digest}"), WRONG_DIGEST);
        }
        shard.check("DELEX a IFEQ 1", ":1\r\n");
    }

    #[test]
    fn set_on_condition() {
        let shard = &mut Shard::default();
        for (line, reply, now) in [
            ("SET a new IFEQ 'Hello world'", "+OK\r\n", "new"),
            ("SET a new IFEQ other", "$-1\r\n", "Hello world"),
            ("SET a new IFNE other", "+OK\r\n", "new"),
            ("SET a new IFNE 'Hello world'", "$-1\r\n", "Hello world"),
            ("SET a new IFDEQ b6acb9d84a38ff74", "+OK\r\n", "new"),
            ("SET a new IFDNE b6acb9d84a38ff74", "$-1\r\n", "Hello world"),
            ("SET a new IFEQ 'Hello world' GET", "$11\r\nHello world\r\n", "new"),
            ("SET a new GET IFEQ other", "$11\r\nHello world\r\n", "Hello world"),
            ("SET a new IFNE other EX 10", "+OK\r\n", "new"),
        ] {
            shard.check("SET a 'Hello world'", "+OK\r\n");
            shard.check(line, reply);
            shard.check("GET a", &format!("${}\r\n{now}\r\n", now.len()));
        }
        shard.check("TTL a", ":10\r\n");
        shard.check("SET none x IFEQ y", "$-1\r\n");
        shard.check("SET none x IFDEQ 1", "$-1\r\n");
        shard.check("SET none x IFEQ y GET", "$-1\r\n");
        shard.check("EXISTS none", ":0\r\n");
        shard.check("SET none x IFDNE 1", "+OK\r\n");
        for options in ["IFEQ", "IFEQ 1 IFNE 2", "NX IFEQ 1", "IFEQ 1 XX", "IFEQ 1 IFEQ 1"] {
            shard.check(&format!("SET a 1 {options}"), "-ERR syntax error\r\n");
        }
    }
}
