//! Doubles as clients write and read them: scores, weights, bounds of ranges, coordinates.
//!
//! * In: what C's `strtod` takes whole, in decimal or hexadecimal; no NaN.
//! * Out: C's `%.17g`, which reads back as the same number.

use crate::command::CommandError;
use crate::reply::Reply;
use std::fmt::Write as _;

pub(crate) use super::errors::NOT_FLOAT;

/// Significant digits of `%.17g`.
const DIGITS: usize = 17;

/// Whole numbers below this have at most [`DIGITS`] digits.
const WHOLE_MAX: f64 = 1e17;

/// A number as an argument; neither blanks in front nor a number out of range is taken.
pub(crate) fn parse(text: &[u8]) -> Option<f64> {
    let value = read(text)?;
    let is_lost = value == 0.0 && !is_zero(text) || value.is_infinite() && !names_infinity(text);
    (!is_lost && !value.is_nan()).then_some(value)
}

/// A number as an argument, or the error.
pub(crate) fn argument(text: &[u8]) -> Result<f64, CommandError> {
    parse(text).ok_or(CommandError::from(NOT_FLOAT))
}

/// A number to sort by: read as leniently as a bound, but a number out of range is none.
pub(crate) fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let value = parse_bound(text)?;
    let is_lost = value == 0.0 && !is_zero(text) || value.is_infinite() && !names_infinity(text);
    (!is_lost).then_some(value)
}

/// A number as a bound of a range, which is read more leniently: up to a zero byte, blanks in front allowed, nothing is
/// zero, and a number out of range is the nearest there is.
pub(crate) fn parse_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(0);
    read(&text[start..]).filter(|value| !value.is_nan())
}

/// What the whole text says, rounded.
fn read(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if let [b'0', b'x' | b'X', digits @ ..] = magnitude {
        let value = read_hexadecimal(digits)?;
        return Some(if negative { -value } else { value });
    }
    if matches!(magnitude, [b'+' | b'-', ..]) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `digits[.digits][p[sign]exponent]`, behind `0x`.
fn read_hexadecimal(text: &[u8]) -> Option<f64> {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (mut significand, mut shift, mut is_behind_point, mut count) = (0u64, exponent, false, 0);
    for byte in digits {
        if *byte == b'.' && !is_behind_point {
            is_behind_point = true;
            continue;
        }
        let digit = u64::from((*byte as char).to_digit(16)?);
        count += 1;
        if significand >> 59 == 0 {
            significand = significand << 4 | digit;
            shift -= if is_behind_point { 4 } else { 0 };
        } else {
            // No room: only whether anything is there matters, for rounding.
            significand |= u64::from(digit != 0);
            shift += if is_behind_point { 0 } else { 4 };
        }
    }
    // In two steps, so that neither power is out of range while the result is not.
    let half = shift.clamp(-2200, 2200) / 2;
    let rest = shift.clamp(-2200, 2200) - half;
    (count > 0).then(|| significand as f64 * 2f64.powi(half) * 2f64.powi(rest))
}

fn read_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i32, |value, digit| (value * 10 + i32::from(digit - b'0')).min(100_000));
    Some(if negative { -value } else { value })
}

/// Whether a number's digits are all zeros.
fn is_zero(text: &[u8]) -> bool {
    let is_hexadecimal = text.iter().any(|byte| matches!(byte, b'x' | b'X'));
    let end = if is_hexadecimal { [b'p', b'P'] } else { [b'e', b'E'] };
    let significand = text.split(|byte| end.contains(byte)).next().unwrap_or_default();
    !significand.iter().any(|byte| byte.is_ascii_hexdigit() && *byte != b'0')
}

fn names_infinity(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'n' | b'N'))
}

/// A double as text.
#[derive(Clone, Default)]
pub(crate) struct DoubleText(smallvec::SmallVec<[u8; 32]>);

impl DoubleText {
    /// As `%.17g`; infinity is `inf`.
    pub(crate) fn new(value: f64) -> Self {
        let mut text = Self::default();
        if value.is_infinite() {
            text.0.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
        } else if value.trunc() == value && value.abs() < WHOLE_MAX {
            if value.is_sign_negative() && value == 0.0 {
                text.0.push(b'-');
            }
            text.0.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            text.write_digits(value);
        }
        text
    }

    fn write_digits(&mut self, value: f64) {
        let mut scientific = Self::default();
        let written = write!(scientific, "{:.*e}", DIGITS - 1, value.abs());
        debug_assert!(written.is_ok());
        let text = scientific.as_str();
        let (significand, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let digits = significand.bytes().filter(u8::is_ascii_digit).collect::<smallvec::SmallVec<[u8; 32]>>();
        let length = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
        if value < 0.0 {
            self.0.push(b'-');
        }
        if !(-4..DIGITS as i32).contains(&exponent) {
            self.write_point(&digits[..length], 1);
            let sign = if exponent < 0 { '-' } else { '+' };
            let written = write!(self, "e{sign}{:02}", exponent.abs());
            debug_assert!(written.is_ok());
        } else if exponent < 0 {
            self.0.extend_from_slice(b"0.");
            self.0.resize(self.0.len() + (-1 - exponent) as usize, b'0');
            self.0.extend_from_slice(&digits[..length]);
        } else {
            let whole = exponent as usize + 1;
            self.write_point(&digits[..length.max(whole)], whole);
        }
    }

    /// Digits, the first `whole` of which are in front of the point.
    fn write_point(&mut self, digits: &[u8], whole: usize) {
        self.0.extend_from_slice(&digits[..whole]);
        if digits.len() > whole {
            self.0.push(b'.');
            self.0.extend_from_slice(&digits[whole..]);
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Write for DoubleText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Encodes a double: of its own kind in RESP3, a bulk string in RESP2.
pub(crate) fn reply_double(reply: &mut Reply<'_>, value: f64) {
    reply.double_text(DoubleText::new(value).as_str());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_doubles() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.10000000000000001"),
            (-3.5, "-3.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e17, "1.5e+17"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568e+20"),
            (1e300, "1.0000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (4.9e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123.456, "123.456"),
        ] {
            assert_eq!(DoubleText::new(value).as_str(), text);
        }
    }

    #[test]
    fn arguments() {
        for (text, value) in [
            ("1", Some(1.0)),
            ("+1.5e1", Some(15.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("0x1p3", Some(8.0)),
            ("-0x.8", Some(-0.5)),
            ("0x1P-1074", Some(5e-324)),
            ("0x1ffffffffffffff8p0", Some(144_115_188_075_855_870.0 * 16.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0e999", Some(0.0)),
            ("4.9e-324", Some(5e-324)),
            ("1e400", None),
            ("1e-400", None),
            ("0x1p2000", None),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("0x", None),
            ("0x1p", None),
            ("--1", None),
            ("+-1", None),
            ("-", None),
            (".", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn weights() {
        for (text, value) in [
            ("", Some(0.0)),
            (" 1.5", Some(1.5)),
            ("1\0x", Some(1.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("0e9", Some(0.0)),
            ("1 ", None),
            (" ", None),
            ("1e400", None),
            ("1e-400", None),
            ("nan", None),
            ("x", None),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn bounds() {
        for (text, value) in [
            ("", Some(0.0)),
            (" 1", Some(1.0)),
            ("\t\r1", Some(1.0)),
            ("1\0x", Some(1.0)),
            ("1 ", None),
            (" ", None),
            ("1e400", Some(f64::INFINITY)),
            ("1e-400", Some(0.0)),
            ("nan", None),
            ("x", None),
        ] {
            assert_eq!(parse_bound(text.as_bytes()), value, "{text:?}");
        }
    }
}
