//! Numbers as texts, in the form of C's `%.<n>g`: what Lua shows has 14 digits, what a command is given has 17.

use std::io::Write;

/// Digits of a number that becomes an argument of a command.
const ARGUMENT_DIGITS: usize = 17;

/// Hands the text of a command's numeric argument to `then`.
pub(super) fn with_text<R>(number: f64, then: impl FnOnce(&[u8]) -> R) -> R {
    // Whole numbers with less than 17 digits look the same, and are most of what scripts pass.
    if number.fract() == 0.0 && number.abs() < 1e16 && (number != 0.0 || number.is_sign_positive()) {
        return then(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    then(general(number, ARGUMENT_DIGITS).as_bytes())
}

/// The number as `printf("%.<digits>g")` writes it.
pub(super) fn general(number: f64, digits: usize) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan".to_owned() } else { "nan".to_owned() };
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let digits = digits.max(1);
    let scientific = format!("{number:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    without_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A C cast of a double to `long long`: out of range, all is the least.
pub(super) fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

/// A C cast of a double to `int`, as the compilers of this platform make it.
pub(super) fn to_int(number: f64) -> i32 {
    if number > -2_147_483_649.0 && number < 2_147_483_648.0 { number as i32 } else { i32::MIN }
}

/// What Lua's `tonumber` makes of a text: C's `strtod` or hexadecimal digits, and spaces around.
pub(super) fn from_text(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hexadecimal, 16).ok().map(|value| sign * value as f64);
    }
    if digits.starts_with(['+', '-']) {
        return None;
    }
    digits.parse::<f64>().ok().map(|value| sign * value)
}

/// Appends `text` formatted as above, without an allocation of its own.
pub(super) fn append_general(out: &mut Vec<u8>, number: f64, digits: usize) {
    if number.fract() == 0.0
        && number.abs() < 10_f64.powi(digits.min(15) as i32)
        && (number != 0.0 || number.is_sign_positive())
    {
        out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        let _ = out.write_all(general(number, digits).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_printf_writes_them() {
        for (number, digits, text) in [
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (1e17, 17, "1e+17"),
            (1e16, 17, "10000000000000000"),
            (1e14, 14, "1e+14"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (123_456_789_012_345_680.0, 17, "1.2345678901234568e+17"),
            (1e-5, 14, "1e-05"),
            (0.000_1, 14, "0.0001"),
            (-3.25, 14, "-3.25"),
            (5e-324, 17, "4.9406564584124654e-324"),
            (f64::INFINITY, 14, "inf"),
            (-0.0, 17, "-0"),
            (100.0, 1, "1e+02"),
        ] {
            assert_eq!(general(number, digits), text);
        }
    }

    #[test]
    fn arguments_keep_their_digits() {
        for (number, text) in
            [(3.0, "3"), (-7.0, "-7"), (0.1, "0.10000000000000001"), (1e15, "1000000000000000"), (-0.0, "-0")]
        {
            assert_eq!(with_text(number, |bytes| bytes.to_vec()), text.as_bytes());
        }
    }

    #[test]
    fn casts_are_those_of_c() {
        assert_eq!(truncated(1e20), i64::MIN);
        assert_eq!(truncated(f64::NAN), i64::MIN);
        assert_eq!(truncated(-3.99), -3);
        assert_eq!(to_int(1e10), i32::MIN);
    }
}
