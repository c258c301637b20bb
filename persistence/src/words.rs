//! Splits one line into words the way `redis.conf`, the command line, inline commands and manifests do.
//!
//! ```text
//!   between words ──"──> in double quotes: \n \r \t \a \b \xHH; a backslash takes any other byte as it is
//!        │        ──'──> in single quotes: only \' is an escape
//!        └── else ─────> bare, up to the next space; a quote in the middle opens a quoted end of the same word
//! ```
//! A closing quote ends the word: a space or the end of the line must follow. A quote left open is an error.

/// The words of a line, or `None` where its quotes do not balance.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blank = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
    }
}

/// A word in double quotes such that [`split_words`] gives it back byte for byte.
pub fn quote(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len() + 2);
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
    out
}

/// What C's `isspace` says in the "C" locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Appends one word to `word` and returns the rest of the line.
fn take_word<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match line {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(line),
            [b'"', rest @ ..] => return take_double_quoted(rest, word),
            [b'\'', rest @ ..] => return take_single_quoted(rest, word),
            [byte, rest @ ..] => {
                word.push(*byte);
                line = rest;
            }
        }
    }
}

fn take_double_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match line {
            [] => return None,
            [b'"', rest @ ..] => return after_closing_quote(rest),
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(*high) << 4 | hex_digit(*low), rest)
            }
            [b'\\', escaped, rest @ ..] => (unescape(*escaped), rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        word.push(byte);
        line = rest;
    }
}

fn take_single_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match line {
            [] => return None,
            [b'\'', rest @ ..] => return after_closing_quote(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        word.push(byte);
        line = rest;
    }
}

fn after_closing_quote(rest: &[u8]) -> Option<&[u8]> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => None,
        _ => Some(rest),
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.to_ascii_lowercase().wrapping_sub(b'a').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, expected: Option<&[&str]>) {
        let found = split_words(line.as_bytes());
        let expected = expected.map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_quotes_and_escapes() {
        check("", Some(&[]));
        check("  \t ", Some(&[]));
        check("save 3600 1", Some(&["save", "3600", "1"]));
        check("save \"\"", Some(&["save", ""]));
        check(r#"a "b c" 'd e'"#, Some(&["a", "b c", "d e"]));
        check(r#""a\"b\n\x41\q""#, Some(&["a\"b\nAq"]));
        check(r"'a\'b\n'", Some(&["a'b\\n"]));
        check(r#"foo"bar baz""#, Some(&["foobar baz"]));
        check(r#""\x4g""#, Some(&["x4g"]));
        check("a\x0bb", Some(&["a\x0bb"]));
    }

    #[test]
    fn unbalanced_quotes_are_an_error() {
        for line in ["\"", "'", "\"abc", "'abc", "\"a\"b", "'a'b", "x \"a\\", "a \"b\"\"c\""] {
            check(line, None);
        }
    }

    proptest! {
        #[test]
        fn quoting_then_splitting_gives_the_words_back(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..6)) {
            let mut line = Vec::new();
            for word in &words {
                line.extend_from_slice(&quote(word));
                line.push(b' ');
            }
            prop_assert_eq!(split_words(&line), Some(words));
        }

        #[test]
        fn bare_words_are_what_lies_between_spaces(text in "[a-z0-9 \t]{0,40}") {
            let expected: Vec<Vec<u8>> = text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
            prop_assert_eq!(split_words(text.as_bytes()), Some(expected));
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = split_words(&line);
        }
    }
}
