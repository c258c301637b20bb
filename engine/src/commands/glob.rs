//! Patterns of KEYS, SCAN MATCH, CONFIG GET and their like.
//!
//! `*` any bytes, `?` one byte, `[abc]` `[a-z]` `[^a]` one of a class, `\` takes the next byte as it is. Three habits of
//! the real server are kept: a class may end with the pattern instead of `]`, no pattern but the empty one matches the
//! empty text, and nothing matches by way of more than 1,000 stars (its bound of a recursion that is not needed here).
//!
//! Only the last `*` is ever gone back to, since whatever an earlier one could take, the last can take too: at most
//! pattern x text steps, however many stars a client sends.

/// Whether letters match their other case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They do not (keys).
    Sensitive,
    /// They do (names of commands and directives).
    Insensitive,
}

/// A match goes through at most so many stars, those at the end and those behind another star not counted.
const STARS_MAX: usize = 1000;

/// Whether the whole text fits the pattern.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut position) = (0, 0);
    // Behind the last star, and the first byte of the text that it has not taken.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while position < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            if pattern[at] != b'*' {
                stars += 1;
                if stars > STARS_MAX {
                    return false;
                }
            }
            retry = Some((at, position));
            continue;
        }
        if let Some(length) = match_one(&pattern[at..], text[position], case) {
            at += length;
            position += 1;
        } else {
            let Some((behind_star, taken)) = retry else { return false };
            at = behind_star;
            position = taken + 1;
            retry = Some((at, position));
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Length of the pattern's first element if the byte fits it. The element is not a star.
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let same = |a: u8, b: u8| a == b || (case == Case::Insensitive && a.eq_ignore_ascii_case(&b));
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => match_class(class, byte, case).map(|length| length + 1),
        [b'\\', literal, ..] => same(literal, byte).then_some(2),
        [literal, ..] => same(literal, byte).then_some(1),
    }
}

/// Length of a class, its opening bracket not counted, if the byte is in it.
fn match_class(class: &[u8], byte: u8, case: Case) -> Option<usize> {
    let fold = |byte: u8| if case == Case::Insensitive { byte.to_ascii_lowercase() } else { byte };
    let byte = fold(byte);
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        at += match *class.get(at..).unwrap_or_default() {
            [] => break,
            [b'\\', literal, ..] => {
                found |= fold(literal) == byte;
                2
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (fold(from.min(to)), fold(from.max(to)));
                found |= (from..=to).contains(&byte);
                3
            }
            [literal, ..] => {
                found |= fold(literal) == byte;
                1
            }
        };
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_match_goes_through_a_thousand_stars_at_most() {
        let text = "a".repeat(5_000);
        let fits = |pattern: String| matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive);
        assert!(fits("*a".repeat(1_000)));
        assert!(!fits("*a".repeat(1_001)));
        assert!(fits("*a".repeat(1_000) + "*"));
        assert!(fits("*".repeat(5_000) + "a"));
    }

    #[test]
    fn patterns_as_the_real_server_reads_them() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("[a-]", "a", true),
            ("[a-]", "b", false),
            ("[abc", "b", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("[]", "]", false),
            ("[^]", "x", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c", "abcab", false),
            ("user:*:name", "user:1:2:name", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive), expected, "{pattern} {text}");
        }
        assert!(matches(b"MaX*[A-C]?", b"maxMemoryBx", Case::Insensitive));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let (pattern, text) = ("a*".repeat(200) + "b", "a".repeat(5_000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive));
    }

    /// The plain definition, exponential in the stars.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|taken| model(rest, &text[taken..])),
            _ => match text {
                [] => false,
                [byte, more @ ..] => match_one(pattern, *byte, Case::Sensitive)
                    .is_some_and(|length| model(pattern.get(length..).unwrap_or_default(), more)),
            },
        }
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_star_is_enough(
            pattern in proptest::collection::vec(proptest::sample::select(&b"ab*?[]^-\\"[..]), 0..9),
            text in proptest::collection::vec(proptest::sample::select(&b"ab]-"[..]), 1..7),
        ) {
            prop_assert_eq!(matches(&pattern, &text, Case::Sensitive), model(&pattern, &text));
        }
    }
}
