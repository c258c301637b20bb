//! IDs as clients write them: `ms-sequence`, `ms`, `ms-*`, `-`, `+`, and with a bracket the ends of an interval.

use crate::command::{CommandError, parse_integer};
use crate::values::stream::{NewId, StreamId};

const INVALID: &str = "ERR Invalid stream ID specified as stream command argument";

/// The longest text that may be an ID, in bytes.
const TEXT_BYTES_MAX: usize = 127;

/// A decimal as the real server reads it here: where it is not a plain one, as C's `strtoull` does, which takes leading
/// zeros and signs.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_integer(text) {
        return u64::try_from(value).ok();
    }
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// The two parts of an ID, and the second one's text.
fn parts(text: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    match text.iter().position(|byte| *byte == b'-') {
        Some(at) => Some((number(&text[..at])?, Some(&text[at + 1..]))),
        None => Some((number(text)?, None)),
    }
}

fn parse(text: &[u8], missing_sequence: u64) -> Option<StreamId> {
    let (ms, sequence) = parts(text)?;
    Some(StreamId::new(ms, sequence.map_or(Some(missing_sequence), number)?))
}

/// An ID, where `-` and `+` are none.
pub(super) fn strict(text: &[u8]) -> Result<StreamId, CommandError> {
    parse(text, 0).ok_or(CommandError::from(INVALID))
}

/// An ID, where `-` and `+` are the lowest and the highest.
pub(super) fn loose(text: &[u8], missing_sequence: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => parse(text, missing_sequence).ok_or(CommandError::from(INVALID)),
    }
}

/// The ID of a new entry.
pub(super) fn new_id(text: &[u8]) -> Result<NewId, CommandError> {
    match parts(text) {
        _ if text == b"*" => Ok(NewId::Generated),
        Some((ms, Some(b"*"))) => Ok(NewId::Of(ms)),
        _ => strict(text).map(NewId::Given),
    }
}

/// The lower end of an interval.
pub(super) fn start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            strict(rest)?.next().ok_or("ERR invalid start ID for the interval".into())
        }
        _ => loose(text, 0),
    }
}

/// The upper end of an interval.
pub(super) fn end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            let id = parse(rest, u64::MAX).ok_or(CommandError::from(INVALID))?;
            id.previous().ok_or("ERR invalid end ID for the interval".into())
        }
        _ => loose(text, u64::MAX),
    }
}

/// Some IDs, all of which must be right.
pub(super) fn all(texts: &[&[u8]]) -> Result<Vec<StreamId>, CommandError> {
    texts.iter().map(|text| strict(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_the_real_server_reads_them() {
        for (text, id) in [
            ("1-2", Some((1, 2))),
            ("1", Some((1, 0))),
            ("007-02", Some((7, 2))),
            ("+7-+2", Some((7, 2))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("18446744073709551616", None),
            ("1--2", None),
            ("1--02", Some((1, u64::MAX - 1))),
            ("1\0x", Some((1, 0))),
            ("-", None),
            ("+", None),
            ("", None),
            ("-1", None),
            ("1-", None),
            ("1-*", None),
            ("*", None),
            ("1-2-3", None),
        ] {
            let read = strict(text.as_bytes()).ok();
            assert_eq!(read, id.map(|(ms, sequence)| StreamId::new(ms, sequence)), "{text}");
        }
        assert!(strict(&[b'0'; 128]).is_err() && strict(&[b'0'; 127]).is_ok());
        assert_eq!(new_id(b"5-*"), Ok(NewId::Of(5)));
        assert_eq!(end(b"(0"), Ok(StreamId::new(0, u64::MAX - 1)));
        assert!(end(b"(0-0").is_err() && start(b"(18446744073709551615-18446744073709551615").is_err());
    }
}
