//! Writes on condition of the value: IFEQ IFNE IFDEQ IFDNE of SET and DELEX, and the digest they compare.
//!
//! The digest is the XXH3 hash of the text, 64 bits, seed 0, as sixteen hexadecimal digits.

use super::super::errors::is;
use super::{find_quietly, peek, read, remove, string_of};
use crate::command::{CommandError, CommandResult, Execution, wrong_arity};
use crate::values::StringRef;
use twox_hash::XxHash3_64;

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
    match read(execution, arguments[1])?.map(digest_of) {
        None => execution.reply.null(),
        Some(digest) => execution.reply.bulk(format!("{digest:016x}").as_bytes()),
    }
    Ok(())
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub(super) fn delex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let passes = match *arguments {
        [_, _] => true,
        [_, key, word, operand] => {
            let test = ValueTest::of(word, operand)
                .ok_or(CommandError("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE".into()))?;
            match find_quietly(execution, key) {
                None => false,
                Some(entry) => {
                    let value = entry
                        .string()
                        .ok_or(CommandError("ERR Key should be of string type if conditions are specified".into()))?;
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
