//! Commands in bytes that come in pieces, with their places in the file.
//!
//! ```text
//!   file:  SELECT 0 | SET a 1 | MULTI | INCR a | INCR b | EXEC | SET c 3 | SE          (the end, or what cannot be read)
//!                             ^ whole here while         ^ whole  ^ whole ^ a tail begins here
//!                               the transaction is open    again
//! ```
//!
//! [`Frames::whole_up_to`] is where a file may be cut so that all before it are whole commands and whole transactions: what the
//! real server keeps of a file that ends too early.
//!
//! Invariants: what is found depends on the bytes alone, never on how they were cut into pieces; each byte is looked at once,
//! however small the pieces are. Memory holds what has been pushed and not yet taken: a length in the file is held
//! against what is left of the file before anything is kept for it, and nothing is allocated by it.

use super::text::TIME_PREFIX;
use memchr::memchr;
use std::fmt;
use std::ops::Range;

/// Longest line with a number or a remark, in bytes.
const LINE_LENGTH_MAX: usize = 1024;
/// Places kept allocated from one command to the next.
const PLACES_KEPT_MAX: usize = 1024;

/// What stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A command.
    Command(Command<'a>),
    /// A line that begins with `#`, and when what follows was done, in seconds since 1970, if it says that.
    Remark {
        /// Where it begins in the file.
        offset: u64,
        /// The time.
        seconds: Option<i64>,
    },
}

/// A command of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// All of its bytes.
    pub bytes: &'a [u8],
    places: &'a [(usize, usize)],
}

impl<'a> Command<'a> {
    /// How many arguments it has, its name among them; at least one.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Its name and its arguments.
    pub fn arguments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.places.iter().map(move |&(start, length)| &bytes[start..start + length])
    }

    /// Its name.
    pub fn name(&self) -> &'a [u8] {
        let (start, length) = self.places[0];
        &self.bytes[start..start + length]
    }
}

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: Wrong,
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Another byte than the one that must stand there.
    Expected(u8, u8),
    /// A number that is none, or is out of range.
    Number(&'static str),
    /// A line without an end.
    Line,
    /// The length of an argument goes beyond the end of the file, by so many bytes.
    BeyondEnd(u64),
}

impl fmt::Display for BadFrame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |byte: &u8| byte.escape_ascii().to_string();
        match &self.what {
            Wrong::Expected(expected, found) => {
                write!(formatter, "expected '{}' but found '{}'", shown(expected), shown(found))?;
            }
            Wrong::Number(of) => write!(formatter, "{of} is no number in range")?,
            Wrong::Line => formatter.write_str("a line has no end")?,
            Wrong::BeyondEnd(missing) => {
                write!(formatter, "an argument goes {missing} bytes beyond the end of the file")?
            }
        }
        write!(formatter, " at offset {}", self.offset)
    }
}

impl BadFrame {
    /// Whether the file only ends too early, and holds nothing that is wrong.
    pub fn is_cut(&self) -> bool {
        matches!(self.what, Wrong::BeyondEnd(_))
    }
}

/// What is behind the last whole command and the last whole transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Whole,
    /// The beginning of a frame.
    InFrame,
    /// A transaction whose commands so far are whole.
    InTransaction,
}

/// Finds frames.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the current frame begins in `bytes`.
    start: usize,
    /// Where that is in the file.
    offset: u64,
    /// How long the file is.
    file_length: u64,
    /// How far the frame has been read, from its beginning.
    position: usize,
    /// How far a line's end has been looked for in vain, from the frame's beginning.
    looked: usize,
    /// Arguments still to come; none before the frame's first line.
    missing: Option<usize>,
    /// The length of the argument whose bytes are to come.
    length: Option<usize>,
    /// Where arguments are, from the frame's beginning.
    places: Vec<(usize, usize)>,
    /// Where a transaction began that has not ended.
    transaction: Option<u64>,
    is_broken: bool,
}

impl Frames {
    /// Of a file of this length, from an offset on.
    pub fn new(offset: u64, file_length: u64) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            offset,
            file_length,
            position: 0,
            looked: 0,
            missing: None,
            length: None,
            places: Vec::new(),
            transaction: None,
            is_broken: false,
        }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && (self.start == self.bytes.len() || self.start >= self.bytes.len() / 2) {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Up to here the file has whole commands and whole transactions only. Of a command that was just taken: with it.
    pub fn whole_up_to(&self) -> u64 {
        self.transaction.unwrap_or(self.offset)
    }

    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is left when all of the file has been pushed.
    pub fn end(&self) -> End {
        match self.transaction {
            _ if self.start < self.bytes.len() => End::InFrame,
            Some(_) => End::InTransaction,
            None => End::Whole,
        }
    }

    /// The next frame, or nothing if more bytes are needed.
    ///
    /// # Errors
    /// Once there was one, there is nothing more to be found.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, BadFrame> {
        if self.is_broken {
            return Ok(None);
        }
        let found = self.look();
        self.is_broken = found.is_err();
        Ok(match found? {
            None => None,
            Some(Found::Remark { offset, seconds }) => Some(Frame::Remark { offset, seconds }),
            Some(Found::Command { offset, range }) => {
                Some(Frame::Command(Command { offset, bytes: &self.bytes[range], places: &self.places }))
            }
        })
    }

    fn look(&mut self) -> Result<Option<Found>, BadFrame> {
        if self.missing.is_none() {
            let Some(&first) = self.bytes.get(self.start) else { return Ok(None) };
            if first == b'#' {
                return self.remark();
            }
            self.places.clear();
            self.places.shrink_to(PLACES_KEPT_MAX);
            let Some(count) = self.number(b'*', "the number of arguments", 1..i32::MAX as u64)? else {
                return Ok(None);
            };
            self.missing = Some(count as usize);
        }
        while self.missing != Some(0) {
            let length = match self.length {
                Some(length) => length,
                None => {
                    let Some(length) = self.number(b'$', "the length of an argument", 0..i64::MAX as u64)? else {
                        return Ok(None);
                    };
                    let behind = self.offset + self.position as u64;
                    let end = behind.saturating_add(length).saturating_add(2);
                    if end > self.file_length {
                        return Err(self.bad(self.position, Wrong::BeyondEnd(end - self.file_length)));
                    }
                    *self.length.insert(length as usize)
                }
            };
            if self.bytes.len() - self.start < self.position + length + 2 {
                return Ok(None);
            }
            let end = self.position + length;
            for (at, expected) in [(end, b'\r'), (end + 1, b'\n')] {
                let found = self.bytes[self.start + at];
                if found != expected {
                    return Err(self.bad(at, Wrong::Expected(expected, found)));
                }
            }
            self.places.push((self.position, length));
            self.position = end + 2;
            self.looked = self.position;
            self.length = None;
            self.missing = self.missing.map(|missing| missing - 1);
        }
        Ok(Some(self.command()))
    }

    fn command(&mut self) -> Found {
        let offset = self.offset;
        let range = self.start..self.start + self.position;
        let (place, length) = self.places[0];
        let name = &self.bytes[self.start + place..][..length];
        if name.len() <= 7 && self.places.len() == 1 {
            if name.eq_ignore_ascii_case(b"MULTI") {
                self.transaction.get_or_insert(offset);
            } else if name.eq_ignore_ascii_case(b"EXEC") || name.eq_ignore_ascii_case(b"DISCARD") {
                self.transaction = None;
            }
        }
        self.advance();
        Found::Command { offset, range }
    }

    /// Behind what has been read: a new frame begins.
    fn advance(&mut self) {
        self.start += self.position;
        self.offset += self.position as u64;
        (self.position, self.looked, self.missing) = (0, 0, None);
    }

    fn remark(&mut self) -> Result<Option<Found>, BadFrame> {
        let offset = self.offset;
        let Some(line) = self.line()? else { return Ok(None) };
        let line = &self.bytes[line];
        let seconds = line.strip_prefix(TIME_PREFIX).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.advance();
        Ok(Some(Found::Remark { offset, seconds }))
    }

    /// A line of one byte and a number. The position is behind it then.
    fn number(&mut self, kind: u8, of: &'static str, range: Range<u64>) -> Result<Option<u64>, BadFrame> {
        let at = self.position;
        let Some(&found) = self.bytes.get(self.start + at) else { return Ok(None) };
        if found != kind {
            return Err(self.bad(at, Wrong::Expected(kind, found)));
        }
        let Some(line) = self.line()? else { return Ok(None) };
        let digits = &self.bytes[line][1..];
        let is_number = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        let value = digits.iter().fold(0u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit & 15)));
        if !is_number || !range.contains(&value) {
            return Err(self.bad(at + 1, Wrong::Number(of)));
        }
        Ok(Some(value))
    }

    /// A line without its end. The position is behind it then.
    fn line(&mut self) -> Result<Option<Range<usize>>, BadFrame> {
        let from = self.start + self.looked.max(self.position);
        let window = self.bytes.len().min(self.start + self.position + LINE_LENGTH_MAX);
        let Some(found) = memchr(b'\n', &self.bytes[from.min(window)..window]) else {
            if window - self.start - self.position == LINE_LENGTH_MAX {
                return Err(self.bad(self.position, Wrong::Line));
            }
            self.looked = window - self.start;
            return Ok(None);
        };
        let (begin, end) = (self.start + self.position, from + found);
        if end == begin || self.bytes[end - 1] != b'\r' {
            let found = if end == begin { b'\n' } else { self.bytes[end - 1] };
            return Err(self.bad(end - self.start, Wrong::Expected(b'\r', found)));
        }
        self.position = end + 1 - self.start;
        self.looked = self.position;
        Ok(Some(begin..end - 1))
    }

    fn bad(&self, position: usize, what: Wrong) -> BadFrame {
        BadFrame { offset: self.offset + position as u64, what }
    }
}

enum Found {
    Command { offset: u64, range: Range<usize> },
    Remark { offset: u64, seconds: Option<i64> },
}

#[cfg(test)]
mod tests {
    use super::super::text::{EXEC, MULTI, write_command, write_select, write_time};
    use super::*;
    use proptest::prelude::*;

    /// Commands in words, remarks as times, how it ended, and up to where it is whole.
    type Seen = (Vec<(u64, Vec<Vec<u8>>)>, Vec<Option<i64>>, Result<End, BadFrame>, u64);

    fn read(file: &[u8], piece: usize) -> Seen {
        let mut frames = Frames::new(0, file.len() as u64);
        let (mut commands, mut times) = (Vec::new(), Vec::new());
        for piece in file.chunks(piece) {
            frames.push(piece);
            loop {
                match frames.next_frame() {
                    Ok(None) => break,
                    Ok(Some(Frame::Command(command))) => {
                        assert_eq!(&file[command.offset as usize..][..command.bytes.len()], command.bytes);
                        commands.push((command.offset, command.arguments().map(<[u8]>::to_vec).collect()));
                    }
                    Ok(Some(Frame::Remark { seconds, .. })) => times.push(seconds),
                    Err(bad) => return (commands, times, Err(bad), frames.whole_up_to()),
                }
            }
        }
        let end = frames.end();
        (commands, times, Ok(end), frames.whole_up_to())
    }

    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut file = Vec::new();
        let mut whole = vec![0];
        write_select(&mut file, 0);
        whole.push(file.len());
        write_time(&mut file, 1_700_000_000);
        whole.push(file.len());
        write_command(&mut file, &["SET", "key", "a\r\nb"]);
        whole.push(file.len());
        file.extend_from_slice(MULTI);
        write_command(&mut file, &["incr", "n"]);
        write_command(&mut file, &["INCR", ""]);
        file.extend_from_slice(EXEC);
        whole.push(file.len());
        file.extend_from_slice(b"#\r\n");
        whole.push(file.len());
        (file, whole)
    }

    #[test]
    fn a_file_cut_anywhere_is_whole_up_to_its_last_command_or_transaction() {
        let (file, whole) = sample();
        for length in 0..=file.len() {
            let kept = *whole.iter().rfind(|&&whole| whole <= length).expect("the beginning");
            for piece in [1, 2, 7, 1000] {
                let (_, _, end, up_to) = read(&file[..length], piece);
                assert_eq!(up_to, kept as u64, "cut at {length}");
                match end {
                    Ok(End::Whole) => assert_eq!(kept, length),
                    Ok(_) => assert!(kept < length),
                    Err(bad) => assert!(bad.is_cut() && kept < length, "{bad}"),
                }
            }
        }
        let (commands, times, end, _) = read(&file, 3);
        assert_eq!((commands.len(), end), (6, Ok(End::Whole)));
        assert_eq!(times, [Some(1_700_000_000), None]);
        assert_eq!(commands[1].1, [b"SET".to_vec(), b"key".to_vec(), b"a\r\nb".to_vec()]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (file, expected) in [
            ("SET a 1\r\n", "expected '*' but found 'S' at offset 0"),
            ("*0\r\n", "the number of arguments is no number in range at offset 1"),
            ("*-1\r\n", "the number of arguments is no number in range at offset 1"),
            ("*\r\n", "the number of arguments is no number in range at offset 1"),
            ("*2147483648\r\n", "the number of arguments is no number in range at offset 1"),
            ("*99999999999999999999\r\n", "the number of arguments is no number in range at offset 1"),
            ("*1\n", "expected '\\r' but found '1' at offset 2"),
            ("*1\r\n:3\r\n", "expected '$' but found ':' at offset 4"),
            ("*1\r\n$-1\r\n", "the length of an argument is no number in range at offset 5"),
            ("*1\r\n$9223372036854775807\r\n", "the length of an argument is no number in range at offset 5"),
            (
                "*1\r\n$9223372036854775806\r\nPING\r\n",
                "an argument goes 9223372036854775802 bytes beyond the end of the file at offset 26",
            ),
            ("*1\r\n$3\r\nPING\r\n", "expected '\\r' but found 'G' at offset 11"),
            ("*1\r\n$5\r\nPING\r\n", "an argument goes 1 bytes beyond the end of the file at offset 8"),
            ("*1\r\n$4\r\nPING\r\r", "expected '\\n' but found '\\r' at offset 13"),
        ] {
            for piece in [1, 5, 1000] {
                let (_, _, end, up_to) = read(file.as_bytes(), piece);
                assert_eq!(end.expect_err(file).to_string(), expected, "{file:?}");
                assert_eq!(up_to, 0);
            }
        }
        let endless = format!("*{}", "0".repeat(5000));
        assert_eq!(read(endless.as_bytes(), 100).2.expect_err("endless").what, Wrong::Line);
    }

    #[test]
    fn a_count_alone_takes_no_memory() {
        let mut frames = Frames::new(0, 1 << 40);
        frames.push(b"*2147483646\r\n$1099511627000\r\nabc");
        assert_eq!(frames.next_frame(), Ok(None));
        assert!(frames.places.capacity() + frames.bytes.capacity() < 10_000);
    }

    proptest! {
        #[test]
        fn commands_come_back_however_they_are_cut(
            commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5), 0..20),
            piece in 1usize..64,
        ) {
            let mut file = Vec::new();
            for words in &commands {
                write_command(&mut file, words);
            }
            let (found, _, end, up_to) = read(&file, piece);
            prop_assert_eq!(found.into_iter().map(|(_, words)| words).collect::<Vec<_>>(), commands);
            prop_assert_eq!((end, up_to), (Ok(End::Whole), file.len() as u64));
        }

        #[test]
        fn what_is_found_does_not_depend_on_the_pieces(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            piece in 1usize..32,
        ) {
            let (mut file, _) = sample();
            for (index, byte) in flips {
                let at = index.index(file.len());
                file[at] = byte;
            }
            prop_assert_eq!(read(&file, piece), read(&file, usize::MAX));
        }
    }
}
