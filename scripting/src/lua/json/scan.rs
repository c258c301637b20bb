//! JSON in tokens, as the parser of cjson sees it: numbers as C's `strtod` reads them, infinities and hexadecimal digits
//! by an option.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its text is [`Scanner::text`] until the next token.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Kind {
    /// What errors call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

/// A token and where it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) index: usize,
}

/// Reads a text.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    string: Vec<u8>,
    is_invalid_read: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], is_invalid_read: bool) -> Self {
        Self { text, at: 0, string: Vec::new(), is_invalid_read }
    }

    /// The text of the last token that was one.
    pub(super) fn text(&self) -> &[u8] {
        &self.string
    }

    /// How much has been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The byte so far ahead; zero behind the end, as in C.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    pub(super) fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let index = self.at;
        let single = |kind| Some((kind, 1));
        let found = match self.peek(0) {
            b'{' => single(Kind::ObjectBegin),
            b'}' => single(Kind::ObjectEnd),
            b'[' => single(Kind::ArrayBegin),
            b']' => single(Kind::ArrayEnd),
            b',' => single(Kind::Comma),
            b':' => single(Kind::Colon),
            0 if self.at >= self.text.len() => Some((Kind::End, 0)),
            // A zero byte ends the text, too; what is behind it is never looked at.
            0 => Some((Kind::End, 0)),
            b'"' => return self.string(index),
            b'-' | b'0'..=b'9' => {
                if !self.is_invalid_read && self.is_invalid_number() {
                    return Token { kind: Kind::Error("invalid number"), index };
                }
                return self.number(index);
            }
            _ if self.rest().starts_with(b"true") => Some((Kind::Boolean(true), 4)),
            _ if self.rest().starts_with(b"false") => Some((Kind::Boolean(false), 5)),
            _ if self.rest().starts_with(b"null") => Some((Kind::Null, 4)),
            b'i' | b'I' | b'n' | b'N' | b'+' if self.is_invalid_read && self.is_invalid_number() => {
                return self.number(index);
            }
            _ => None,
        };
        match found {
            Some((kind, length)) => {
                self.at += length;
                Token { kind, index }
            }
            None => Token { kind: Kind::Error("invalid token"), index },
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// Numbers that C reads and JSON does not have.
    fn is_invalid_number(&self) -> bool {
        let mut rest = self.rest();
        if rest.first() == Some(&b'+') {
            return true;
        }
        rest = rest.strip_prefix(b"-").unwrap_or(rest);
        match rest.first() {
            Some(b'0') => rest.get(1).is_some_and(|byte| byte | 0x20 == b'x' || byte.is_ascii_digit()),
            Some(byte) if *byte <= b'9' => false,
            _ => {
                let is = |word: &[u8]| rest.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
                is(b"inf") || is(b"nan")
            }
        }
    }

    fn number(&mut self, index: usize) -> Token {
        match strtod(self.rest()) {
            Some((number, length)) => {
                self.at += length;
                Token { kind: Kind::Number(number), index }
            }
            None => Token { kind: Kind::Error("invalid number"), index },
        }
    }

    fn string(&mut self, begin: usize) -> Token {
        let mut string = std::mem::take(&mut self.string);
        string.clear();
        self.at += 1;
        let kind = loop {
            match self.peek(0) {
                b'"' => {
                    self.at += 1;
                    break Kind::String;
                }
                0 => break Kind::Error("unexpected end of string"),
                b'\\' => {
                    let plain = match self.peek(1) {
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        b'u' => {
                            if self.unicode(&mut string) {
                                continue;
                            }
                            break Kind::Error("invalid unicode escape code");
                        }
                        _ => break Kind::Error("invalid escape code"),
                    };
                    string.push(plain);
                    self.at += 2;
                }
                byte => {
                    string.push(byte);
                    self.at += 1;
                }
            }
        };
        self.string = string;
        let index = if kind == Kind::String { begin } else { self.at };
        Token { kind, index }
    }

    fn hexadecimal(&self, ahead: usize) -> Option<u32> {
        let digits = self.text.get(self.at + ahead..self.at + ahead + 4)?;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
    }

    /// Reads `\uXXXX`, or two of them that belong together.
    fn unicode(&mut self, string: &mut Vec<u8>) -> bool {
        let Some(mut code) = self.hexadecimal(2) else { return false };
        let mut length = 6;
        if code & 0xF800 == 0xD800 {
            if code & 0x400 != 0 || self.peek(6) != b'\\' || self.peek(7) != b'u' {
                return false;
            }
            match self.hexadecimal(8) {
                Some(low) if low & 0xFC00 == 0xDC00 => {
                    code = (((code & 0x3FF) << 10) | (low & 0x3FF)) + 0x1_0000;
                    length = 12;
                }
                _ => return false,
            }
        }
        let Some(character) = char::from_u32(code) else { return false };
        string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        true
    }
}

/// What C's `strtod` reads at the beginning of a text, and how long it is.
pub(super) fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let sign_length = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let rest = &text[sign_length..];
    let is = |word: &[u8]| rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    if is(b"infinity") {
        return Some((sign * f64::INFINITY, sign_length + 8));
    }
    if is(b"inf") {
        return Some((sign * f64::INFINITY, sign_length + 3));
    }
    if is(b"nan") {
        return Some((f64::NAN.copysign(sign), sign_length + 3));
    }
    if is(b"0x") {
        if let Some((number, length)) = hexadecimal_float(&rest[2..]) {
            return Some((sign * number, sign_length + 2 + length));
        }
        return Some((sign * 0.0, sign_length + 1));
    }
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    let mut has_digits = whole > 0;
    if rest.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if has_digits || fraction > 0 {
            has_digits = true;
            end += 1 + fraction;
        }
    }
    if !has_digits {
        return None;
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(rest.get(end + 1), Some(b'-' | b'+')));
        let exponent = if end + 1 + signed <= rest.len() { digits(end + 1 + signed) } else { 0 };
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    let number = std::str::from_utf8(&rest[..end]).ok()?.parse::<f64>().ok()?;
    Some((sign * number, sign_length + end))
}

/// Hexadecimal digits, perhaps with a fraction and a power of two.
fn hexadecimal_float(text: &[u8]) -> Option<(f64, usize)> {
    let digit = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let (mut value, mut at, mut scale, mut count) = (0.0_f64, 0, 0_i32, 0);
    while let Some(digit) = digit(at) {
        value = value * 16.0 + f64::from(digit);
        at += 1;
        count += 1;
    }
    if text.get(at) == Some(&b'.') && (count > 0 || digit(at + 1).is_some()) {
        at += 1;
        while let Some(digit) = digit(at) {
            value = value * 16.0 + f64::from(digit);
            scale = scale.saturating_sub(4);
            at += 1;
            count += 1;
        }
    }
    if count == 0 {
        return None;
    }
    if matches!(text.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'-' | b'+')));
        let digits = text.get(at + 1 + sign..).unwrap_or(&[]).iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            let exponent =
                std::str::from_utf8(&text[at + 1..at + 1 + sign + digits]).ok()?.parse::<i32>().unwrap_or(i32::MAX / 2);
            scale = scale.saturating_add(exponent);
            at += 1 + sign + digits;
        }
    }
    Some((value * 2.0_f64.powi(scale), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, expected) in [
            ("1", Some((1.0, 1))),
            ("-1.5e3,", Some((-1500.0, 6))),
            ("1e", Some((1.0, 1))),
            ("1e+x", Some((1.0, 1))),
            (".5", Some((0.5, 2))),
            ("5.", Some((5.0, 2))),
            ("0x1F", Some((31.0, 4))),
            ("0x1.8p1", Some((3.0, 7))),
            ("0xg", Some((0.0, 1))),
            ("-inf]", Some((f64::NEG_INFINITY, 4))),
            ("Infinity", Some((f64::INFINITY, 8))),
            ("-", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(strtod(text.as_bytes()), expected, "{text}");
        }
    }
}
