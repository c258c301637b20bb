//! Which files a log consists of, and in which order they are to be read.
//!
//! ```text
//!   file appendonly.aof.3.base.rdb seq 3 type b          at most one: read first
//!   file appendonly.aof.6.incr.aof seq 6 type h          no longer needed, to be removed
//!   file appendonly.aof.7.incr.aof seq 7 type i          read in order; numbers only rise
//!   file appendonly.aof.8.incr.aof seq 8 type i          the last one is written to
//! ```
//!
//! Keys other than these three are passed over, so that a newer server may add some. Checks and words are those of Redis 7.

use crate::words::{quote, split_words};
use std::fmt;

/// Longest line with its end, in bytes.
const LINE_LENGTH_MAX: usize = 1024;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name in the directory of the log.
    pub name: Vec<u8>,
    /// Its number, among the files of its kind.
    pub sequence: i64,
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Everything up to a moment.
    pub base: Option<LogFile>,
    /// What came behind, in order.
    pub incremental: Vec<LogFile>,
    /// What is no longer needed.
    pub history: Vec<LogFile>,
    /// The highest number of a base that has been there.
    pub last_base: i64,
    /// The same of incremental files.
    pub last_incremental: i64,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadManifest {
    /// In the words of the real server.
    pub reason: &'static str,
    /// The line with its number, if it is about one.
    pub line: Option<(usize, Vec<u8>)>,
}

impl fmt::Display for BadManifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, line)) = &self.line {
            write!(formatter, "line {number} ('{}'): ", String::from_utf8_lossy(line))?;
        }
        formatter.write_str(self.reason)
    }
}

/// The name of a manifest.
pub fn manifest_name(log_name: &str) -> String {
    format!("{log_name}.manifest")
}

/// The name that a manifest has until it is whole.
pub fn temporary_manifest_name(log_name: &str) -> String {
    format!("temp-{log_name}.manifest")
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What the real server would not start with.
    pub fn parse(text: &[u8]) -> Result<Self, BadManifest> {
        let bad = |reason| BadManifest { reason, line: None };
        let mut manifest = Self::default();
        if text.is_empty() {
            return Err(bad("Found an empty AOF manifest"));
        }
        let mut rest = text;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let window = &rest[..rest.len().min(LINE_LENGTH_MAX)];
            let end = window.iter().position(|&byte| byte == b'\n');
            let length = end.map_or(window.len(), |end| end + 1);
            let (line, behind) = rest.split_at(length);
            rest = behind;
            if line[0] == b'#' {
                continue;
            }
            if end.is_none() {
                return Err(bad("The AOF manifest file contains too long line"));
            }
            let line = trim(line);
            let about_line = |reason| BadManifest { reason, line: Some((number, line.to_vec())) };
            manifest.take_line(line).map_err(about_line)?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        // What is behind a zero byte is not seen by a server that takes lines for C strings: such a line is no manifest's.
        let words = split_words(line).filter(|_| !line.contains(&0)).ok_or(INVALID)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(INVALID);
        }
        let (mut name, mut sequence, mut kind) = (None, 0, None);
        for pair in words.chunks_exact(2) {
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" if pair[1].iter().any(|&byte| matches!(byte, b'/' | b'\\')) => {
                    return Err("File can't be a path, just a filename");
                }
                b"file" => name = Some(pair[1].clone()),
                b"seq" => sequence = leading_integer(&pair[1]),
                b"type" => kind = pair[1].first().copied(),
                _ => {}
            }
        }
        let name = name.filter(|name| !name.is_empty() && name != b"." && name != b"..").ok_or(INVALID)?;
        let file = LogFile { name, sequence };
        match kind.ok_or(INVALID)? {
            _ if sequence == 0 => return Err(INVALID),
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.last_base = sequence;
                self.base = Some(file);
            }
            b'h' => self.history.push(file),
            b'i' if sequence <= self.last_incremental => return Err("Found a non-monotonic sequence number"),
            b'i' => {
                self.last_incremental = sequence;
                self.incremental.push(file);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest as it is written.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let base = self.base.iter().map(|file| (file, 'b'));
        let history = self.history.iter().map(|file| (file, 'h'));
        let incremental = self.incremental.iter().map(|file| (file, 'i'));
        for (LogFile { name, sequence }, kind) in base.chain(history).chain(incremental) {
            out.extend_from_slice(b"file ");
            let is_plain = name.iter().all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\''));
            out.extend_from_slice(&if is_plain { name.clone() } else { quote(name) });
            out.extend_from_slice(format!(" seq {sequence} type {kind}\n").as_bytes());
        }
        out
    }

    /// Whether it names no file that has data.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incremental.is_empty()
    }

    /// A new base takes the place of what was; the old one is history.
    pub fn begin_base(&mut self, log_name: &str, is_rdb: bool) -> LogFile {
        self.last_base = self.last_base.saturating_add(1);
        let format = if is_rdb { "rdb" } else { "aof" };
        let name = format!("{log_name}.{}.base.{format}", self.last_base).into_bytes();
        let file = LogFile { name, sequence: self.last_base };
        self.history.extend(self.base.replace(file.clone()));
        file
    }

    /// A new file behind the others.
    pub fn begin_incremental(&mut self, log_name: &str) -> LogFile {
        self.last_incremental = self.last_incremental.saturating_add(1);
        let name = format!("{log_name}.{}.incr.aof", self.last_incremental).into_bytes();
        let file = LogFile { name, sequence: self.last_incremental };
        self.incremental.push(file.clone());
        file
    }

    /// Incremental files with lower numbers are in the base: history.
    pub fn retire_before(&mut self, sequence: i64) {
        let (old, kept) = std::mem::take(&mut self.incremental).into_iter().partition(|file| file.sequence < sequence);
        self.incremental = kept;
        self.history.extend::<Vec<_>>(old);
    }
}

/// A file's name says whether it is an RDB file.
pub fn is_rdb_name(name: &[u8]) -> bool {
    name.ends_with(b".rdb")
}

fn trim(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// What C's `atoll` makes of it.
fn leading_integer(word: &[u8]) -> i64 {
    let blank = word.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let word = &word[blank..];
    let (is_negative, digits) = match word {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut value = 0i64;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        let digit = i64::from(digit - b'0');
        value = value.saturating_mul(10);
        value = if is_negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(text: &str) -> &'static str {
        Manifest::parse(text.as_bytes()).expect_err(text).reason
    }

    #[test]
    fn a_name_with_a_quote_comes_back() {
        let manifest = Manifest::parse(b"file 'it\\'s' seq 2 type i\n").expect("a manifest");
        assert_eq!(manifest.incremental[0].name, b"it's");
        assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest));
    }

    #[test]
    fn what_is_no_manifest_is_refused_in_the_words_of_the_real_server() {
        const FORMAT: &str = "Invalid AOF manifest file format";
        let long = "file a seq 1 type b ".repeat(60);
        for (text, expected) in [
            ("", "Found an empty AOF manifest"),
            ("\n", FORMAT),
            ("file a seq 1 type i\n\nfile b seq 2 type i\n", FORMAT),
            ("filx a seq 1 type b\n", FORMAT),
            ("file a type i\n", FORMAT),
            ("file a seq 1 type i odd\n", FORMAT),
            ("file a seq 0 type i\n", FORMAT),
            ("file a seq one type i\n", FORMAT),
            ("file \"\" seq 1 type i\n", FORMAT),
            ("file .. seq 1 type i\n", FORMAT),
            ("file \"a seq 1 type i\n", FORMAT),
            ("file a\0b seq 1 type i\n", FORMAT),
            ("file a seq 1 type \"\"\n", FORMAT),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            ("file a/b seq 1 type b\n", "File can't be a path, just a filename"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq -1 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq 1 type i", "The AOF manifest file contains too long line"),
            (&format!("{long}\n"), "The AOF manifest file contains too long line"),
        ] {
            assert_eq!(reason(text), expected, "{text}");
        }
        let bad = Manifest::parse(b"#comment\nfile a seq 1 type x\n").expect_err("x");
        assert_eq!(bad.to_string(), "line 2 ('file a seq 1 type x'): Unknown AOF file type");
    }

    #[test]
    fn a_manifest_is_written_as_the_real_server_writes_it() {
        let mut manifest = Manifest::default();
        manifest.begin_base("appendonly.aof", true);
        let first = manifest.begin_incremental("appendonly.aof");
        assert_eq!(first.name, b"appendonly.aof.1.incr.aof");
        let text = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
        assert_eq!(manifest.text(), text.as_bytes());
        let second = manifest.begin_incremental("appendonly.aof");
        manifest.begin_base("appendonly.aof", false);
        manifest.retire_before(second.sequence);
        let text = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.1.base.rdb seq 1 type h\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        assert_eq!(manifest.text(), text.as_bytes());
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn unknown_keys_gaps_and_comments_are_passed_over() {
        let text = "#\nfile a seq 1 type b newkey newvalue\n FILE  'b c' SEQ 1x TYPE incr\r\nfile d seq 3 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        assert_eq!(manifest.base.as_ref().map(|file| file.sequence), Some(1));
        assert_eq!(manifest.incremental[0], LogFile { name: b"b c".to_vec(), sequence: 1 });
        assert_eq!(manifest.last_incremental, 3);
        assert!(String::from_utf8_lossy(&manifest.text()).contains("file \"b c\" seq 1 type i\n"));
    }

    proptest! {
        #[test]
        fn names_of_any_bytes_survive(
            names in prop::collection::vec(
                prop::collection::vec(any::<u8>().prop_filter("no path", |byte| !matches!(byte, 0 | b'/' | b'\\')), 1..40), 1..5),
        ) {
            prop_assume!(names.iter().all(|name| name != b"." && name != b".."));
            let mut manifest = Manifest::default();
            for name in names {
                let file = manifest.begin_incremental("x");
                if let Some(last) = manifest.incremental.last_mut() {
                    *last = LogFile { name, sequence: file.sequence };
                }
            }
            prop_assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest));
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&text);
        }
    }
}
