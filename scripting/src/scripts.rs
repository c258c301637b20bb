//! Scripts by their SHA: what `SCRIPT LOAD` and `EVAL` leave for `EVALSHA`.
//!
//! What was loaded stays until it is flushed. What was only evaluated stays as one of the last 500: programs that build
//! their scripts from values would fill the memory otherwise.

use crate::libraries::FunctionFlags;
use crate::shebang;
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::sync::Arc;

/// Evaluated scripts that are kept.
const EVALUATED_MAX: usize = 500;

/// The SHA-1 of a script, as 40 hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha([u8; 40]);

impl Sha {
    /// Of this text.
    pub fn of(text: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha1::digest(text)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(digits)
    }

    /// Of these digits in any case, if there are 40 bytes.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let mut sha: [u8; 40] = digits.try_into().ok()?;
        sha.make_ascii_lowercase();
        Some(Self(sha))
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    /// The digits; what was parsed may be no digits, and is no text then.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A script.
#[derive(Debug)]
pub struct Script {
    /// What it is known by.
    pub sha: Sha,
    /// The whole text.
    pub source: Box<[u8]>,
    /// Its flags; nothing without a first line of the form `#!lua`, which leaves the old rules in place.
    pub flags: Option<FunctionFlags>,
    shebang_bytes: usize,
}

impl Script {
    /// A script with this text, unless its first line is wrong.
    pub fn new(source: &[u8]) -> Result<Self, Vec<u8>> {
        let (flags, shebang_bytes) = shebang::of_script(source)?;
        Ok(Self { sha: Sha::of(source), source: source.into(), flags, shebang_bytes })
    }

    /// What the interpreter sees: all behind the first line's text, so that lines keep their numbers.
    pub(crate) fn code(&self) -> &[u8] {
        &self.source[self.shebang_bytes..]
    }
}

#[derive(Debug)]
struct Entry {
    script: Arc<Script>,
    is_loaded: bool,
    used: u64,
}

/// The scripts that a server knows.
#[derive(Debug, Default)]
pub struct Scripts {
    entries: HashMap<Sha, Entry>,
    evaluated: usize,
    uses: u64,
    bytes: usize,
    /// How many went to make room.
    evicted: u64,
}

impl Scripts {
    /// The script, which counts as a use of it.
    pub fn get(&mut self, sha: &Sha) -> Option<Arc<Script>> {
        self.uses += 1;
        let entry = self.entries.get_mut(sha)?;
        entry.used = self.uses;
        Some(entry.script.clone())
    }

    /// Whether it is known.
    pub fn has(&self, sha: &Sha) -> bool {
        self.entries.contains_key(sha)
    }

    /// Keeps a script: for good if it was loaded, else as one of the last.
    pub fn insert(&mut self, script: Arc<Script>, is_loaded: bool) {
        self.uses += 1;
        let used = self.uses;
        if let Some(entry) = self.entries.get_mut(&script.sha) {
            entry.used = used;
            if is_loaded && !entry.is_loaded {
                entry.is_loaded = true;
                self.evaluated -= 1;
            }
            return;
        }
        if !is_loaded {
            if self.evaluated >= EVALUATED_MAX {
                self.evict();
            }
            self.evaluated += 1;
        }
        self.bytes += script.source.len();
        self.entries.insert(script.sha, Entry { script, is_loaded, used });
    }

    /// Forgets all.
    pub fn flush(&mut self) {
        *self = Self { uses: self.uses, evicted: self.evicted, ..Self::default() };
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of their texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many went to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets how many that were.
    pub fn reset_evicted(&mut self) {
        self.evicted = 0;
    }

    fn evict(&mut self) {
        let oldest = self.entries.iter().filter(|(_, entry)| !entry.is_loaded).min_by_key(|(_, entry)| entry.used);
        if let Some(sha) = oldest.map(|(sha, _)| *sha)
            && let Some(entry) = self.entries.remove(&sha)
        {
            self.bytes -= entry.script.source.len();
            self.evaluated -= 1;
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(number: usize) -> Arc<Script> {
        Arc::new(Script::new(format!("return {number}").as_bytes()).unwrap())
    }

    #[test]
    fn sha_is_that_of_the_text() {
        assert_eq!(Sha::of(b"return 1").as_str(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"), Some(Sha::of(b"return 1")));
        assert_eq!(Sha::parse(b"e0"), None);
    }

    #[test]
    fn the_last_evaluated_and_all_loaded_stay() {
        let mut scripts = Scripts::default();
        scripts.insert(script(0), true);
        scripts.insert(script(1), false);
        scripts.insert(script(2), false);
        scripts.get(&script(1).sha);
        for number in 3..=EVALUATED_MAX {
            scripts.insert(script(number), false);
        }
        assert_eq!(scripts.len(), EVALUATED_MAX + 1);
        scripts.insert(script(EVALUATED_MAX + 1), false);
        assert!(scripts.has(&script(0).sha), "loaded");
        assert!(scripts.has(&script(1).sha), "used");
        assert!(!scripts.has(&script(2).sha), "the oldest use");
        assert_eq!(scripts.len(), EVALUATED_MAX + 1);
        scripts.flush();
        assert!(scripts.is_empty());
        assert_eq!(scripts.bytes(), 0);
    }

    #[test]
    fn what_is_loaded_later_stays() {
        let mut scripts = Scripts::default();
        scripts.insert(script(0), false);
        scripts.insert(script(0), true);
        for number in 1..2 * EVALUATED_MAX {
            scripts.insert(script(number), false);
        }
        assert!(scripts.has(&script(0).sha));
    }
}
