//! Decimal texts, sums and printing in the x87 extended format that the real server computes INCRBYFLOAT in, done on
//! integers so that the bytes are the same on every processor.
//!
//! ```text
//!   value = mantissa (64 bits) x 2^exponent        exponent in -16445 ..= 16320
//!   parse:  digits x 10^n  ──> big integer (n >= 0) or 69-bit quotient and remainder (n < 0) ──> round to 64 bits
//!   add:    align at 126 bits, keep what falls off as one sticky bit ──> round to 64 bits
//!   print:  all integer digits, 17 decimals, trailing zeros cut (the real server's "%.17Lf", human form)
//! ```
//!
//! Every step rounds once, to nearest, ties to even, from the exact value: the definition that glibc and the x87 follow.
//! Checked against the real server on random texts and sums. On hosts whose `long double` is not the x87 format the real
//! server answers differently from itself on x86-64; we answer as on x86-64 everywhere.

use std::cmp::Ordering;

/// The least exponent: that of the smallest denormal number.
const EXPONENT_MIN: i32 = -16445;
/// The exponent of the largest finite number.
const EXPONENT_MAX: i32 = 16320;
/// Texts this long or longer are refused, in bytes (the real server's buffer).
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Decimal exponents beyond this are out of range for any text within [`TEXT_BYTES_MAX`].
const DECIMAL_EXPONENT_MAX: i64 = 100_000;
/// Digits after the point.
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u128 = 10u128.pow(DECIMALS as u32);

/// A finite number in extended precision.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble {
    negative: bool,
    /// Its top bit is set unless the number is zero or denormal (exponent at its minimum).
    mantissa: u64,
    exponent: i32,
}

/// What a text that is no finite number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// `inf` and its spellings.
    Infinite,
    /// Anything else: not a number, too large, or too small to be told from zero.
    Invalid,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, mantissa: 0, exponent: EXPONENT_MIN };
    /// The largest finite number.
    pub const MAX: Self = Self { negative: false, mantissa: u64::MAX, exponent: EXPONENT_MAX };

    /// The number of a text, as C's `strtold` reads it: decimal or hexadecimal, the whole text, no space before it.
    pub fn parse(text: &[u8]) -> Result<Self, NotFinite> {
        if text.len() >= TEXT_BYTES_MAX {
            return Err(NotFinite::Invalid);
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Err(NotFinite::Infinite);
        }
        let magnitude = match unsigned {
            [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(digits),
            _ => parse_decimal(unsigned),
        };
        magnitude.map(|magnitude| Self { negative, ..magnitude }).ok_or(NotFinite::Invalid)
    }

    /// The number nearest to the sum. None: it is infinite.
    pub fn plus(self, other: Self) -> Option<Self> {
        let (large, small) =
            if self.compare_magnitude(other) == Ordering::Less { (other, self) } else { (self, other) };
        if large.mantissa == 0 {
            return Some(Self::ZERO);
        }
        // 62 bits below the larger number's last one, and one above for the carry.
        let distance = (large.exponent - small.exponent) as u32;
        let high = u128::from(large.mantissa) << 62;
        let low_exact = u128::from(small.mantissa) << 62;
        let low = low_exact.checked_shr(distance).unwrap_or(0);
        let lost = low_exact != low.checked_shl(distance).unwrap_or(0);
        let sum = if large.negative == small.negative {
            (high + low) | u128::from(lost)
        } else {
            // What is lost makes the smaller number a little larger: borrow one, then something is left over.
            (high - low - u128::from(lost)) | u128::from(lost)
        };
        if sum == 0 {
            return Some(Self::ZERO);
        }
        let magnitude = round(sum, false, large.exponent - 62)?;
        Some(Self { negative: large.negative, ..magnitude })
    }

    /// The number with its sign turned.
    #[must_use]
    pub const fn negate(self) -> Self {
        Self { negative: !self.negative && self.mantissa != 0, ..self }
    }

    /// Whether it is below zero.
    pub const fn is_negative(self) -> bool {
        self.negative && self.mantissa != 0
    }

    /// Order by value.
    pub fn compare(self, other: Self) -> Ordering {
        match (self.is_negative(), other.is_negative()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }

    fn compare_magnitude(self, other: Self) -> Ordering {
        // A larger exponent means a larger number: mantissas are normalised, or the exponent is at its minimum.
        let key = |number: Self| if number.mantissa == 0 { (i32::MIN, 0) } else { (number.exponent, number.mantissa) };
        key(self).cmp(&key(other))
    }

    /// The text the real server stores and replies: up to 17 decimals, no trailing zeros, never `-0`.
    pub fn format(self) -> String {
        let (integer, fraction) = if self.exponent >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift_left(self.exponent as u32);
            (whole.into_decimal(), 0)
        } else {
            let (integer, fraction) = self.split();
            (integer.to_string(), fraction)
        };
        let mut text = String::with_capacity(integer.len() + DECIMALS + 2);
        if self.negative && (integer != "0" || fraction != 0) {
            text.push('-');
        }
        text.push_str(&integer);
        if fraction != 0 {
            let decimals = format!("{fraction:0DECIMALS$}");
            text.push('.');
            text.push_str(decimals.trim_end_matches('0'));
        }
        text
    }

    /// Integer part and rounded decimals of a number with bits below the point.
    fn split(self) -> (u128, u128) {
        let bits = self.exponent.unsigned_abs();
        let mantissa = u128::from(self.mantissa);
        if bits > 126 {
            return (0, 0);
        }
        let (integer, below) = (mantissa >> bits, mantissa & ((1 << bits) - 1));
        let scaled = below * TEN_TO_DECIMALS;
        let (quotient, rest, half) = (scaled >> bits, scaled & ((1 << bits) - 1), 1 << (bits - 1));
        let up = rest > half || (rest == half && quotient % 2 == 1);
        let fraction = quotient + u128::from(up);
        if fraction == TEN_TO_DECIMALS { (integer + 1, 0) } else { (integer, fraction) }
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> Self {
        let magnitude = round(u128::from(value.unsigned_abs()), false, 0).unwrap_or(Self::ZERO);
        Self { negative: value < 0, ..magnitude }
    }
}

/// The number nearest to `significand` x 2^`exponent`, where `more` says that the exact value lies above that by less
/// than one unit of the significand (which then has more than 64 bits). None: infinite.
fn round(significand: u128, more: bool, exponent: i32) -> Option<LongDouble> {
    if significand == 0 {
        return Some(LongDouble::ZERO);
    }
    let bits = 128 - significand.leading_zeros() as i32;
    let shift = (bits - 64).max(EXPONENT_MIN - exponent);
    let mut exponent = exponent + shift;
    let mut mantissa = if shift <= 0 {
        significand << -shift
    } else if shift > 127 {
        0
    } else {
        let rest = significand & ((1 << shift) - 1);
        let half = 1 << (shift - 1);
        let kept = significand >> shift;
        kept + u128::from(rest > half || (rest == half && (more || kept % 2 == 1)))
    };
    if mantissa > u128::from(u64::MAX) {
        mantissa >>= 1;
        exponent += 1;
    }
    if mantissa == 0 {
        return Some(LongDouble::ZERO);
    }
    (exponent <= EXPONENT_MAX).then_some(LongDouble { negative: false, mantissa: mantissa as u64, exponent })
}

/// Splits `digits[.digits][<mark>[sign]digits]`. None: the text is something else.
fn split_number(text: &[u8], mark: u8, is_digit: fn(&u8) -> bool) -> Option<(Vec<u8>, i64, i64)> {
    let end = text.iter().position(|byte| byte.eq_ignore_ascii_case(&mark)).unwrap_or(text.len());
    let (number, exponent) = text.split_at(end);
    let point = number.iter().position(|byte| *byte == b'.');
    let (whole, decimals) = point.map_or((number, &b""[..]), |point| (&number[..point], &number[point + 1..]));
    let digits = [whole, decimals].concat();
    if digits.is_empty() || !digits.iter().all(is_digit) {
        return None;
    }
    let exponent = match exponent {
        [] => 0,
        [_, b'-', digits @ ..] => -saturating_number(digits)?,
        [_, b'+', digits @ ..] | [_, digits @ ..] => saturating_number(digits)?,
    };
    Some((digits, decimals.len() as i64, exponent))
}

/// A number of decimal digits, held below anything that could still matter.
fn saturating_number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(DECIMAL_EXPONENT_MAX)))
}

fn parse_decimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, decimals, exponent) = split_number(text, b'e', u8::is_ascii_digit)?;
    let exponent = exponent - decimals;
    let significant = digits.len() - digits.iter().take_while(|digit| **digit == b'0').count();
    if significant == 0 {
        return Some(LongDouble::ZERO);
    }
    // Beyond these the number is infinite, or zero although its digits are not: out of range either way.
    if significant as i64 + exponent > 4940 || (significant as i64 + exponent) < -4960 {
        return None;
    }
    let mut number = Big::from_decimal(&digits);
    let rounded = if exponent >= 0 {
        number.multiply_by_ten_to(exponent as u32);
        let (top, more, dropped) = number.top_bits();
        round(top, more, dropped as i32)?
    } else {
        let mut divisor = Big::from(1);
        divisor.multiply_by_ten_to(exponent.unsigned_abs() as u32);
        // Brings the quotient to 68 or 69 bits: enough to round from, with the remainder as the rest.
        let shift = divisor.bits() as i32 + 68 - number.bits() as i32;
        if shift >= 0 {
            number.shift_left(shift as u32);
        } else {
            divisor.shift_left(shift.unsigned_abs());
        }
        let (quotient, more) = number.divide(&divisor);
        round(quotient, more, -shift)?
    };
    (rounded.mantissa != 0).then_some(rounded)
}

fn parse_hexadecimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, decimals, exponent) = split_number(text, b'p', u8::is_ascii_hexdigit)?;
    let mut number = Big::from(0);
    for digit in &digits {
        number.multiply_add(16, u64::from((*digit as char).to_digit(16)?));
    }
    if number.bits() == 0 {
        return Some(LongDouble::ZERO);
    }
    let (top, more, dropped) = number.top_bits();
    let exponent = exponent - 4 * decimals + i64::from(dropped);
    let rounded = round(top, more, exponent.clamp(-DECIMAL_EXPONENT_MAX, DECIMAL_EXPONENT_MAX) as i32)?;
    (rounded.mantissa != 0).then_some(rounded)
}

/// A natural number of any size, limbs from the lowest; no zero limb at the top.
struct Big(Vec<u64>);

impl From<u64> for Big {
    fn from(value: u64) -> Self {
        Self(if value == 0 { Vec::new() } else { vec![value] })
    }
}

impl Big {
    const TEN_TO_19: u64 = 10u64.pow(19);

    fn from_decimal(digits: &[u8]) -> Self {
        let mut number = Self(Vec::with_capacity(digits.len() / 19 + 1));
        for chunk in digits.chunks(19) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
            number.multiply_add(10u64.pow(chunk.len() as u32), value);
        }
        number
    }

    fn bits(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 64 - top.leading_zeros())
    }

    fn multiply_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for limb in &mut self.0 {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    fn multiply_by_ten_to(&mut self, exponent: u32) {
        for _ in 0..exponent / 19 {
            self.multiply_add(Self::TEN_TO_19, 0);
        }
        self.multiply_add(10u64.pow(exponent % 19), 0);
    }

    fn shift_left(&mut self, bits: u32) {
        if self.0.is_empty() {
            return;
        }
        self.multiply_add(1 << (bits % 64), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, bits as usize / 64));
    }

    /// The top 128 bits, whether any bit below them is set, and how many there are below.
    fn top_bits(&self) -> (u128, bool, u32) {
        let dropped = self.bits().saturating_sub(128);
        let (limbs, offset) = (dropped as usize / 64, dropped % 64);
        let limb = |index: usize| u128::from(self.0.get(limbs + index).copied().unwrap_or(0));
        let window = limb(0) >> offset | limb(1) << (64 - offset);
        let top = if offset == 0 { limb(0) | limb(1) << 64 } else { window | limb(2) << (128 - offset) };
        let more = self.0[..limbs].iter().any(|limb| *limb != 0) || limb(0) & ((1 << offset) - 1) != 0;
        (top, more, dropped)
    }

    /// Quotient, known to fit, and whether a remainder is left: shift and subtract, one bit a step.
    fn divide(mut self, divisor: &Self) -> (u128, bool) {
        let steps = (self.bits() + 1).saturating_sub(divisor.bits());
        let mut shifted = Self(divisor.0.clone());
        shifted.shift_left(steps);
        let mut quotient = 0;
        for _ in 0..=steps {
            quotient <<= 1;
            if self.compare(&shifted) != Ordering::Less {
                self.subtract(&shifted);
                quotient |= 1;
            }
            shifted.halve();
        }
        (quotient, !self.0.is_empty())
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (index, limb) in self.0.iter_mut().enumerate() {
            let (first, under) = limb.overflowing_sub(other.0.get(index).copied().unwrap_or(0));
            let (second, under_again) = first.overflowing_sub(u64::from(borrow));
            *limb = second;
            borrow = under || under_again;
        }
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let low = *limb & 1;
            *limb = *limb >> 1 | carry << 63;
            carry = low;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u128;
            for limb in self.0.iter_mut().rev() {
                rest = rest << 64 | u128::from(*limb);
                *limb = (rest / u128::from(Self::TEN_TO_19)) as u64;
                rest %= u128::from(Self::TEN_TO_19);
            }
            chunks.push(rest as u64);
            self.trim();
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        text.extend(chunks.iter().rev().map(|chunk| format!("{chunk:019}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(texts: &[&str]) -> String {
        let numbers = texts.iter().map(|text| LongDouble::parse(text.as_bytes()).expect("a number"));
        numbers.fold(LongDouble::ZERO, |sum, number| sum.plus(number).expect("finite")).format()
    }

    #[test]
    fn sums_as_the_real_server_prints_them() {
        for (texts, expected) in [
            (&["0"][..], "0"),
            (&["-0"], "0"),
            (&["0.1"], "0.1"),
            (&["0.1", "0.2"], "0.3"),
            (&["0.3", "5.0e3"], "5000.29999999999999982"),
            (&["10.50", "0.1"], "10.6"),
            (&["5.0e3", "2.0e2"], "5200"),
            (&["3", "-3"], "0"),
            (&["-1e-20"], "0"),
            (&["0x1.8p1"], "3"),
            (&["0x10"], "16"),
            (&["1e20"], "100000000000000000000"),
            (&["1e23"], "100000000000000000000000"),
            (&["9223372036854775807", "0.5"], "9223372036854775807.5"),
            (&["9223372036854775807", "1"], "9223372036854775808"),
            (&["17179869184.000000000001"], "17179869184"),
            (&["1.999999999999999999999"], "2"),
            (&["-1.5", "0.25"], "-1.25"),
            (&["1e-17"], "0.00000000000000001"),
            (&["5e-18"], "0"),
            (&["6e-18"], "0.00000000000000001"),
        ] {
            assert_eq!(sum(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn the_largest_and_smallest_numbers() {
        let largest = "1.18973149535723176502126385303097020516906332229462420044032373389e+4932";
        let max = LongDouble::parse(largest.as_bytes()).expect("finite");
        assert_eq!(max.compare(LongDouble::MAX), Ordering::Equal);
        assert!(max.plus(LongDouble::parse(b"1e4913").expect("finite")).is_none());
        assert!(max.plus(LongDouble::parse(b"1e4000").expect("finite")).is_some());
        assert_eq!(max.format().len(), 4933);
        assert!(max.plus(max.negate()).expect("zero").format() == "0");
        for (text, error) in [
            ("1.2e4932", NotFinite::Invalid),
            ("1e999999999999999999999", NotFinite::Invalid),
            ("1e-4960", NotFinite::Invalid),
            ("1e-999999999999999999999", NotFinite::Invalid),
            ("0x1p-16446", NotFinite::Invalid),
            ("inf", NotFinite::Infinite),
            ("-Infinity", NotFinite::Infinite),
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()).err(), Some(error), "{text}");
        }
        assert!(LongDouble::parse(b"0x1p-16445").is_ok());
        assert!(LongDouble::parse(b"1e-4950").is_ok());
        assert!(LongDouble::parse(b"0e999999999999").is_ok());
    }

    #[test]
    fn texts_that_are_no_numbers() {
        for text in [
            "", " 1", "1 ", "nan", "abc", ".", "-", "+-1", "1e", "1e+", "0x", "0xg", "0x1p", "1.2.3", "1,5", "1\0",
            "in",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()).err(), Some(NotFinite::Invalid), "{text:?}");
        }
        assert!(LongDouble::parse(&vec![b'1'; TEXT_BYTES_MAX]).is_err());
        for text in ["1.", ".5", "+1", "1E+2", "0X1P-1", "00001", "-.5e-0001"] {
            assert!(LongDouble::parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn double_sums_agree_where_doubles_are_exact() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            // Quarters of 40-bit integers: exact in a double, their sums too.
            let mut draw = || (random.i64(-(1 << 40)..1 << 40) as f64) / 4.0;
            let (a, b) = (draw(), draw());
            assert_eq!(
                sum(&[&a.to_string(), &b.to_string()]),
                (a + b).to_string().replace("-0", if a + b == 0.0 { "0" } else { "-0" })
            );
        }
    }

    #[test]
    fn comparison_follows_the_value() {
        let texts = ["-1e30", "-2", "-1", "-1e-10", "0", "1e-4940", "1e-10", "0.5", "1", "1.5", "2", "1e30"];
        let numbers: Vec<_> = texts.iter().map(|text| LongDouble::parse(text.as_bytes()).expect("a number")).collect();
        for (i, a) in numbers.iter().enumerate() {
            for (j, b) in numbers.iter().enumerate() {
                assert_eq!(a.compare(*b), i.cmp(&j), "{} {}", texts[i], texts[j]);
            }
        }
    }
}
