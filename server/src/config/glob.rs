//! Patterns: `*`, `?`, `[a-z]`, `[^x]` and `\` before a character that stands for itself. CONFIG GET matches names with
//! them, and `include` matches files, a part of the path at a time.

use super::load::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Whether a name fits a pattern, letters of any case alike.
pub(super) fn matches_name(pattern: &[u8], name: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), name.to_ascii_lowercase().as_bytes())
}

/// Whether the text has a character that makes a pattern of it.
pub(super) fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The files that fit, sorted; none is no error. Names that begin with a dot fit only a pattern that does.
pub(super) fn files(pattern: &Path, host: &mut dyn Host) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let text = component.as_os_str().as_bytes();
        if !matches!(component, Component::Normal(_)) || !is_pattern(text) {
            for path in &mut found {
                path.push(component);
            }
            continue;
        }
        let mut longer = Vec::new();
        for path in &found {
            let mut names = host.list(path).unwrap_or_default();
            names.sort();
            let fits = |name: &OsStr| {
                let name = name.as_bytes();
                (name.first() != Some(&b'.') || text.first() == Some(&b'.')) && matches(text, name)
            };
            longer.extend(names.iter().filter(|name| fits(name)).map(|name| path.join(name)));
        }
        found = longer;
    }
    found
}

/// Matches with one place to go back to: the last star.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern + 1, at_text));
                at_pattern += 1;
                continue;
            }
            Some(_) => text.get(at_text).and_then(|&byte| matches_one(&pattern[at_pattern..], byte)),
            None if at_text == text.len() => return true,
            None => None,
        };
        if let Some(width) = step {
            at_pattern += width;
            at_text += 1;
        } else if let Some((after_star, covered)) = star.filter(|(_, covered)| *covered < text.len()) {
            // Let the star cover one byte more and try again.
            star = Some((after_star, covered + 1));
            (at_pattern, at_text) = (after_star, covered + 1);
        } else {
            return false;
        }
    }
}

/// How long the first element of the pattern is, if the byte fits it.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => {
            let (inside, width) = set_contains(rest, byte);
            inside.then_some(width + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in the set whose opening bracket was just read, and how long the set is with its closing one.
fn set_contains(set: &[u8], byte: u8) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut inside = false;
    while at < set.len() {
        match &set[at..] {
            [b']', ..] => return (inside != negated, at + 1),
            [b'\\', literal, ..] => {
                inside |= *literal == byte;
                at += 2;
            }
            [low, b'-', high, ..] if *high != b']' => {
                inside |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                inside |= *literal == byte;
                at += 1;
            }
            [] => break,
        }
    }
    (inside != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "port", true),
            ("p*t", "port", true),
            ("p*x", "port", false),
            ("P?RT", "port", true),
            ("po[a-z]t", "port", true),
            ("po[^r]t", "port", false),
            ("po[^x]t", "port", true),
            ("max*-*", "maxmemory-policy", true),
            ("*a*b*c", "xaxbxc", true),
            ("*a*b*c", "xaxbxcx", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("", "", true),
            ("", "x", false),
            ("[", "[", false),
        ] {
            assert_eq!(matches_name(pattern.as_bytes(), name), fits, "{pattern} {name}");
        }
    }

    /// The meaning of a star, a question mark and a letter, spelt out.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skip| model(rest, &text[skip..])),
            [b'?', rest @ ..] => !text.is_empty() && model(rest, &text[1..]),
            [letter, rest @ ..] => text.first() == Some(letter) && model(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn stars_agree_with_the_model(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(pattern in prop::collection::vec(any::<u8>(), 0..16), text in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = matches(&pattern, &text);
        }
    }
}
