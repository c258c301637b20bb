//! Bytes to arguments: the request side of RESP2 and RESP3, and inline commands. Source: the Redis serialization
//! protocol specification; limits and error texts as the real server's.
//!
//! ```text
//!   received:  * 2 \r \n $ 3 \r \n G E T \r \n $ 5 \r \n h e l | (the rest has not arrived)
//!              ^ frame start       ^^^^^ span 0            ^ position, bulk length 5 awaited
//! ```
//!
//! No I/O and no copies: an argument is a span of the received bytes. The caller hands over a slice that begins at the
//! start of a frame and gets back either one command and where it ended, or how many bytes are missing at least. In the
//! second case it keeps the unconsumed bytes, appends what arrives, and calls again: the parser remembers how far it got,
//! so no byte is looked at twice however small the pieces are, and one reservation of the missing bytes is enough for a
//! large argument.
//!
//! Invariants: all positions are relative to the frame's start. What a frame gives, command or error, depends on its
//! bytes and the limits alone, never on how it was cut into pieces. Nothing is allocated by a count that the client
//! claims, only by what has arrived.

use memchr::{memchr, memchr2};
use smallvec::SmallVec;
use std::borrow::Cow;
use torc_engine::command::parse_integer;

/// Longest inline request and longest `*` or `$` line, in bytes.
const LINE_LENGTH_MAX: usize = 64 * 1024;
/// Most arguments of one command.
const ARGUMENT_COUNT_MAX: i64 = i32::MAX as i64;
/// Most arguments of a command before authentication.
const UNAUTHENTICATED_ARGUMENT_COUNT_MAX: i64 = 10;
/// Longest argument before authentication, in bytes.
const UNAUTHENTICATED_BULK_LENGTH_MAX: i64 = 16 * 1024;
/// Spans kept allocated from one command to the next; more go back after use.
const SPANS_KEPT_MAX: usize = 1024;

/// What the connection allows at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `proto-max-bulk-len`: the longest argument, in bytes.
    pub bulk_length_max: u64,
    /// Whether the client has authenticated, or need not.
    pub authenticated: bool,
}

/// What came out of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One command of at least one argument; the next frame begins at `consumed`.
    Command {
        /// Bytes that this command, and empty requests before it, took.
        consumed: usize,
    },
    /// No whole command. Bytes before `consumed` were empty requests; the rest must be handed in again with more.
    Incomplete {
        /// Bytes that need not be kept.
        consumed: usize,
        /// At least this many bytes must follow before a command can be whole. At least one.
        missing: usize,
    },
}

/// A request that breaks the protocol: the reply is [`ProtocolError::text`], then the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline request without a line end within the limit.
    InlineTooLong,
    /// A `*` line without an end.
    MultibulkLineTooLong,
    /// A `$` line without an end.
    BulkLineTooLong,
    /// A `*` line that is no number, or too large a one.
    MultibulkLength,
    /// More arguments than a stranger may send.
    UnauthenticatedMultibulkLength,
    /// This byte stood where `$` should.
    ExpectedDollar(u8),
    /// A `$` line that is no number, negative, or over `proto-max-bulk-len`.
    BulkLength,
    /// A longer argument than a stranger may send.
    UnauthenticatedBulkLength,
    /// Quotes of an inline request that do not pair.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The error reply's text, `ERR Protocol error: ...`. Bytes, since the offending byte is quoted.
    pub fn text(self) -> Cow<'static, [u8]> {
        let text: &'static [u8] = match self {
            Self::InlineTooLong => b"ERR Protocol error: too big inline request",
            Self::MultibulkLineTooLong => b"ERR Protocol error: too big mbulk count string",
            Self::BulkLineTooLong => b"ERR Protocol error: too big bulk count string",
            Self::MultibulkLength => b"ERR Protocol error: invalid multibulk length",
            Self::UnauthenticatedMultibulkLength => b"ERR Protocol error: unauthenticated multibulk length",
            Self::BulkLength => b"ERR Protocol error: invalid bulk length",
            Self::UnauthenticatedBulkLength => b"ERR Protocol error: unauthenticated bulk length",
            Self::UnbalancedQuotes => b"ERR Protocol error: unbalanced quotes in request",
            Self::ExpectedDollar(byte) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                // A line end in it would end the reply.
                let shown = if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
                text.extend_from_slice(&[shown, b'\'']);
                return text.into();
            }
        };
        text.into()
    }
}

/// Where one argument lies in its source bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of its first byte.
    pub offset: usize,
    /// In bytes.
    pub length: usize,
}

/// A frame's progress. One per connection; small while idle.
#[derive(Debug, Default)]
pub struct Parser {
    /// Everything before this has become spans or was a line that has been read.
    position: usize,
    /// Bytes from `position` on that hold no line end.
    scanned: usize,
    /// Arguments of the frame that are still to come; 0 between frames.
    remaining: usize,
    /// Length of the argument that is awaited at `position`, if its `$` line has been read.
    awaited_length: Option<usize>,
    /// The arguments found.
    spans: SmallVec<[Span; 8]>,
    /// An inline request's arguments, if it had quotes; then the spans point in here.
    unquoted: Option<Vec<u8>>,
}

/// Outcome of one step within a frame.
enum Step {
    /// Went on to this position.
    Done(usize),
    /// At least this many bytes are missing.
    Missing(usize),
}

impl Parser {
    /// Looks for one command at the start of `received`, going on where the call before stopped.
    pub fn parse(&mut self, received: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let mut consumed = 0;
        loop {
            let frame = &received[consumed..];
            match self.parse_frame(frame, limits)? {
                Step::Missing(missing) => return Ok(Parsed::Incomplete { consumed, missing }),
                Step::Done(end) => {
                    self.position = 0;
                    self.scanned = 0;
                    if !self.spans.is_empty() {
                        self.rebase(consumed);
                        return Ok(Parsed::Command { consumed: consumed + end });
                    }
                    consumed += end;
                }
            }
        }
    }

    /// The common case of [`Parser::parse`] without its state: at the start of `received` stands a command that has arrived whole,
    /// with short lines. Its arguments go behind those in `spans`, `base` added to where they are; the command's length. `None` for
    /// anything else, and nothing is changed: `parse` says what it is.
    #[inline]
    pub fn parse_whole(&self, received: &[u8], base: usize, limits: &Limits, spans: &mut Vec<Span>) -> Option<usize> {
        if !self.is_between_frames() || !limits.authenticated {
            return None;
        }
        let (count, digits) = short_number(received.strip_prefix(b"*")?)?;
        let first = spans.len();
        let mut position = 1 + digits + 2;
        for _ in 0..count {
            let line = received[position..].strip_prefix(b"$");
            let bulk = line.and_then(short_number).map(|(length, digits)| (position + 1 + digits + 2, length as usize));
            let Some((offset, length)) = bulk.filter(|(offset, length)| {
                *length as u64 <= limits.bulk_length_max && offset + length + 2 <= received.len()
            }) else {
                spans.truncate(first);
                return None;
            };
            spans.push(Span { offset: base + offset, length });
            position = offset + length + 2;
        }
        (count > 0).then_some(position)
    }

    /// Number of arguments of the command found last.
    pub fn argument_count(&self) -> usize {
        self.spans.len()
    }

    /// The arguments of the command found last; `received` as it was handed to [`Parser::parse`].
    pub fn arguments<'a>(&'a self, received: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let source = self.unquoted.as_deref().unwrap_or(received);
        self.spans.iter().map(move |span| &source[span.offset..span.offset + span.length])
    }

    /// Spans of the command found last, relative to `received`; none where quotes forced a copy.
    pub fn spans(&self) -> Option<&[Span]> {
        self.unquoted.is_none().then_some(self.spans.as_slice())
    }

    /// At least so many bytes the frame that has been begun will have, as far as its lines tell.
    pub fn frame_bytes_known(&self) -> usize {
        self.position.saturating_add(self.awaited_length.map_or(0, |length| length.saturating_add(2)))
    }

    /// Of the frame that has been begun: so many of its bytes have been read, and so many of them are its arguments'.
    pub fn frame_bytes_read(&self) -> (usize, usize) {
        if self.remaining == 0 {
            return (0, 0);
        }
        (self.position, self.spans.iter().map(|span| span.length).sum())
    }

    /// Whether no frame has been begun.
    pub fn is_between_frames(&self) -> bool {
        self.remaining == 0 && self.scanned == 0
    }

    /// Empty requests may stand before a command: its spans then move to where the caller's slice begins.
    fn rebase(&mut self, by: usize) {
        if by > 0 && self.unquoted.is_none() {
            self.spans.iter_mut().for_each(|span| span.offset += by);
        }
    }

    fn parse_frame(&mut self, frame: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        if self.remaining == 0 {
            self.spans.clear();
            if self.spans.capacity() > SPANS_KEPT_MAX {
                self.spans = SmallVec::new();
            }
            self.unquoted = None;
            match frame.first() {
                None => return Ok(Step::Missing(1)),
                Some(b'*') => match self.multibulk_header(frame, limits)? {
                    Step::Done(position) if self.remaining > 0 => self.position = position,
                    step => return Ok(step),
                },
                Some(_) => return self.inline(frame),
            }
        }
        self.bulks(frame, limits)
    }

    /// The `*<count>` line. Leaves `remaining` at 0 for an empty request.
    fn multibulk_header(&mut self, frame: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        let (count, next) = match short_number(&frame[1..]) {
            Some((count, digits)) => (i64::from(count), 1 + digits + 2),
            None => match self.line(frame, ProtocolError::MultibulkLineTooLong)? {
                None => return Ok(Step::Missing(1)),
                Some(end) => (parse_integer(&frame[1..end]).ok_or(ProtocolError::MultibulkLength)?, end + 2),
            },
        };
        if count > ARGUMENT_COUNT_MAX {
            return Err(ProtocolError::MultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGUMENT_COUNT_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.remaining = count.max(0) as usize;
        self.scanned = 0;
        Ok(Step::Done(next))
    }

    /// All arguments of a multibulk that have arrived.
    fn bulks(&mut self, frame: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
        loop {
            if self.awaited_length.is_none() {
                self.whole_bulks(frame, limits);
                if self.remaining == 0 {
                    return Ok(Step::Done(self.position));
                }
                self.awaited_length = self.bulk_header(frame, limits)?;
            }
            let Some(length) = self.awaited_length else { return Ok(Step::Missing(1)) };
            let arrived = frame.len() - self.position;
            let whole = length.saturating_add(2);
            if arrived < whole {
                return Ok(Step::Missing(whole - arrived));
            }
            // The two bytes that end an argument are not looked at, as in the real server.
            self.spans.push(Span { offset: self.position, length });
            self.position += whole;
            self.awaited_length = None;
            self.remaining -= 1;
        }
    }

    /// The common case of [`Parser::bulks`], in registers: short `$` lines, arguments that have arrived whole. Stops in
    /// front of the first that is not.
    #[inline]
    fn whole_bulks(&mut self, frame: &[u8], limits: &Limits) {
        let length_max = if limits.authenticated { limits.bulk_length_max } else { 0 };
        let (mut position, mut remaining) = (self.position, self.remaining);
        while remaining > 0 {
            let Some(line) = frame[position..].strip_prefix(b"$") else { break };
            let Some((length, digits)) = short_number(line) else { break };
            let (offset, length) = (position + 1 + digits + 2, length as usize);
            if length as u64 > length_max || frame.len() < offset + length + 2 {
                break;
            }
            self.spans.push(Span { offset, length });
            position = offset + length + 2;
            remaining -= 1;
        }
        if position > self.position {
            // What had been searched of the line at the old position is behind us.
            self.scanned = 0;
        }
        (self.position, self.remaining) = (position, remaining);
    }

    /// The `$<length>` line; moves behind it. None: it has not arrived.
    fn bulk_header(&mut self, frame: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.line(frame, ProtocolError::BulkLineTooLong)? else { return Ok(None) };
        let line = &frame[self.position..end];
        let digits = line.strip_prefix(b"$").ok_or(ProtocolError::ExpectedDollar(frame[self.position]))?;
        let length = parse_integer(digits).ok_or(ProtocolError::BulkLength)?;
        if length < 0 || length as u64 > limits.bulk_length_max {
            return Err(ProtocolError::BulkLength);
        }
        if length > UNAUTHENTICATED_BULK_LENGTH_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        self.position = end + 2;
        self.scanned = 0;
        Ok(Some(length as usize))
    }

    /// Position of the carriage return that ends the line at `position`, once the byte behind it has arrived too.
    fn line(&mut self, frame: &[u8], too_long: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let line = &frame[self.position..];
        match memchr(b'\r', &line[self.scanned..]).map(|index| self.scanned + index) {
            Some(end) if end > LINE_LENGTH_MAX => Err(too_long),
            Some(end) if end + 1 < line.len() => Ok(Some(self.position + end)),
            Some(end) => {
                self.scanned = end;
                Ok(None)
            }
            None if line.len() > LINE_LENGTH_MAX => Err(too_long),
            None => {
                self.scanned = line.len();
                Ok(None)
            }
        }
    }

    fn inline(&mut self, frame: &[u8]) -> Result<Step, ProtocolError> {
        let end = match memchr(b'\n', &frame[self.scanned..]).map(|index| self.scanned + index) {
            Some(end) if end <= LINE_LENGTH_MAX => end,
            None if frame.len() <= LINE_LENGTH_MAX => {
                self.scanned = frame.len();
                return Ok(Step::Missing(1));
            }
            _ => return Err(ProtocolError::InlineTooLong),
        };
        let line = &frame[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr2(b'"', b'\'', line).is_none() {
            self.plain_words(line);
        } else {
            self.quoted_words(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        }
        Ok(Step::Done(end + 1))
    }

    /// Splits a line without quotes; a backslash means itself.
    fn plain_words(&mut self, line: &[u8]) {
        let mut position = 0;
        while let Some(start) = line[position..].iter().position(|byte| !is_blank(*byte)) {
            let offset = position + start;
            let length = line[offset..].iter().position(|byte| ends_word(*byte)).unwrap_or(line.len() - offset);
            self.spans.push(Span { offset, length });
            position = offset + length;
        }
    }

    /// Splits a line with quotes, copying the words without them. None: the quotes do not pair.
    fn quoted_words(&mut self, line: &[u8]) -> Option<()> {
        let mut words = Vec::with_capacity(line.len());
        let mut rest = line;
        while let Some(start) = rest.iter().position(|byte| !is_blank(*byte)) {
            rest = &rest[start..];
            let offset = words.len();
            loop {
                rest = match *rest {
                    [] => break,
                    [byte, ..] if ends_word(byte) => break,
                    // A closing quote ends the word.
                    [b'"', ref quoted @ ..] => {
                        rest = unquote_double(quoted, &mut words)?;
                        break;
                    }
                    [b'\'', ref quoted @ ..] => {
                        rest = unquote_single(quoted, &mut words)?;
                        break;
                    }
                    [byte, ref more @ ..] => {
                        words.push(byte);
                        more
                    }
                };
            }
            self.spans.push(Span { offset, length: words.len() - offset });
        }
        self.unquoted = Some(words);
        Some(())
    }
}

/// The number that a line begins with, and how many digits it has: one to four, no leading zero, the carriage return
/// and one more byte behind them. None for anything else, also if the line's end has not arrived.
#[inline]
fn short_number(line: &[u8]) -> Option<(u32, usize)> {
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    match *line {
        [a, b'\r', _, ..] if digit(a) <= 9 => Some((digit(a), 1)),
        [a @ b'1'..=b'9', b, b'\r', _, ..] if digit(b) <= 9 => Some((digit(a) * 10 + digit(b), 2)),
        [a @ b'1'..=b'9', b, c, b'\r', _, ..] if digit(b) <= 9 && digit(c) <= 9 => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 3))
        }
        [a @ b'1'..=b'9', b, c, d, b'\r', _, ..] if digit(b) <= 9 && digit(c) <= 9 && digit(d) <= 9 => {
            Some((digit(a) * 1000 + digit(b) * 100 + digit(c) * 10 + digit(d), 4))
        }
        _ => None,
    }
}

/// What separates words, and may follow a closing quote.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// What ends a word outside of quotes. Fewer than [`is_blank`], as in the real server.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Appends what stands in double quotes, escapes resolved, and returns what follows them.
fn unquote_double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match *rest {
            [] => return None,
            [b'"', ref more @ ..] => return more.first().is_none_or(|byte| is_blank(*byte)).then_some(more),
            [b'\\', b'x', high, low, ref more @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push((hexadecimal(high) << 4) | hexadecimal(low));
                more
            }
            [b'\\', escaped, ref more @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                more
            }
            [byte, ref more @ ..] => {
                word.push(byte);
                more
            }
        };
    }
}

/// Appends what stands in single quotes, where only the quote itself can be escaped, and returns what follows.
fn unquote_single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match *rest {
            [] => return None,
            [b'\\', b'\'', ref more @ ..] => {
                word.push(b'\'');
                more
            }
            [b'\'', ref more @ ..] => return more.first().is_none_or(|byte| is_blank(*byte)).then_some(more),
            [byte, ref more @ ..] => {
                word.push(byte);
                more
            }
        };
    }
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// What the tests and the fuzz target hold against any input: fed in pieces or whole, it gives the same commands and the
/// same error. The first byte of `data` chooses limits and the lengths of the pieces.
#[doc(hidden)]
pub fn check_pieces(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else { return };
    let limits = Limits { bulk_length_max: 1 << (seed & 0x1f), authenticated: seed & 0x20 == 0 };
    let whole = feed(stream, &limits, std::iter::once(stream.len()));
    assert_eq!(whole, feed(stream, &limits, std::iter::repeat(1)), "byte by byte");
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    assert_eq!(whole, feed(stream, &limits, std::iter::repeat_with(|| random.usize(1..40))), "in pieces");
}

type Fed = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// What stands in front of the pieces, as far as [`Parser::parse_whole`] is concerned.
const BASE: usize = 1000;

/// The short way says what the long one does, or nothing.
fn check_whole(parser: &Parser, (length, spans): (Option<usize>, &[Span]), parsed: &Result<Parsed, ProtocolError>) {
    let Some(length) = length else { return assert!(spans.is_empty(), "what was found of no command is taken back") };
    assert_eq!(*parsed, Ok(Parsed::Command { consumed: length }));
    let expected = parser.spans().into_iter().flatten();
    assert!(spans.iter().copied().eq(expected.map(|span| Span { offset: span.offset + BASE, ..*span })));
}

/// Plays a connection: appends the pieces to a buffer, takes out commands.
fn feed(stream: &[u8], limits: &Limits, pieces: impl Iterator<Item = usize>) -> Fed {
    let (mut parser, mut buffer, mut commands, mut sent) = (Parser::default(), Vec::new(), Vec::new(), 0);
    let mut missing_length = 0;
    for piece in pieces {
        let end = stream.len().min(sent + piece);
        buffer.extend_from_slice(&stream[sent..end]);
        sent = end;
        loop {
            let mut spans = vec![Span { offset: 0, length: 0 }];
            let whole = parser.parse_whole(&buffer, BASE, limits, &mut spans);
            let parsed = parser.parse(&buffer, limits);
            check_whole(&parser, (whole, &spans[1..]), &parsed);
            match parsed {
                Ok(Parsed::Command { consumed }) => {
                    assert!(buffer.len() >= missing_length, "a command came before the missing bytes");
                    missing_length = 0;
                    commands.push(parser.arguments(&buffer).map(<[u8]>::to_vec).collect());
                    buffer.drain(..consumed);
                }
                Ok(Parsed::Incomplete { consumed, missing }) => {
                    assert!(missing > 0);
                    buffer.drain(..consumed);
                    missing_length = buffer.len() + missing;
                    break;
                }
                Err(error) => return (commands, Some(error)),
            }
        }
        if sent == stream.len() {
            break;
        }
    }
    (commands, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: Limits = Limits { bulk_length_max: 512 << 20, authenticated: true };
    const STRANGER: Limits = Limits { authenticated: false, ..OPEN };

    /// The stream's commands, one a line, arguments in brackets, then the error.
    fn run(stream: &[u8], limits: &Limits) -> String {
        let (commands, error) = feed(stream, limits, std::iter::once(stream.len()));
        let words = |command: &Vec<Vec<u8>>| command.iter().map(|word| format!("[{}]", word.escape_ascii())).collect();
        let mut text: String =
            commands.iter().flat_map(|command| [words(command), vec!["\n".into()]].concat()).collect();
        if let Some(error) = error {
            text += &error.text().escape_ascii().to_string().replace("ERR Protocol error: ", "! ");
        }
        text
    }

    #[test]
    fn requests_as_the_real_server_reads_them() {
        for (stream, expected) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], "[PING]\n"),
            (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "[ECHO][]\n"),
            (b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\0\xff\r\n", "[ECHO][\\r\\n\\x00\\xff]\n"),
            (b"*0\r\n*-1\r\n*-99\r\n\r\n\n  \r\nPING\r\n", "[PING]\n"),
            (b"*1\r\n$4\r\nPINGxx*1\r\n$1\r\na\r\nb\n", "[PING]\n[a]\n[b]\n"),
            (b"*1\rX$4\rXPINGxx", "[PING]\n"),
            (b"*x\r\n", "! invalid multibulk length"),
            (b"*\r\n", "! invalid multibulk length"),
            (b"*01\r\n", "! invalid multibulk length"),
            (b"*2147483647\r\n", ""),
            (b"*2147483648\r\n", "! invalid multibulk length"),
            (b"*99999999999999999999\r\n", "! invalid multibulk length"),
            (b"*1\r\nx4\r\n", "! expected \\'$\\', got \\'x\\'"),
            (b"*1\r\n\xff4\r\n", "! expected \\'$\\', got \\'\\xff\\'"),
            (b"*1\r\n\r\n", "! expected \\'$\\', got \\' \\'"),
            (b"*1\r\n$-1\r\n", "! invalid bulk length"),
            (b"*1\r\n$\r\n", "! invalid bulk length"),
            (b"*1\r\n$01\r\n", "! invalid bulk length"),
            (b"*1\r\n$4xx\r\n", "! invalid bulk length"),
            (b"*1\r\n$536870912\r\n", ""),
            (b"*1\r\n$536870913\r\n", "! invalid bulk length"),
        ] {
            assert_eq!(run(stream, &OPEN), expected, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn inline_words_and_quotes() {
        for (stream, expected) in [
            (&b"SET a 1\r\n GET\ta \n"[..], "[SET][a][1]\n[GET][a]\n"),
            (b"ECHO 'a\\'b'\r\nECHO \"\\x41\\n\\q\"\r\n", "[ECHO][a\\'b]\n[ECHO][A\\nq]\n"),
            (b"ECHO \"\\r\\t\\b\\a\\\\\\\"\"\r\n", "[ECHO][\\r\\t\\x08\\x07\\\\\\\"]\n"),
            (b"ECHO a\"b c\"\r\n", "[ECHO][ab c]\n"),
            (b"ECHO \"\" ''\r\n", "[ECHO][][]\n"),
            (b"ECHO \\x41\r\n", "[ECHO][\\\\x41]\n"),
            (b"ECHO \"\\x4\"\r\n", "[ECHO][x4]\n"),
            (b"ECHO '\\n'\r\n", "[ECHO][\\\\n]\n"),
            (b"ECHO a\rb\r\n", "[ECHO][a][b]\n"),
            (b"\x0bECHO\x0ba\r\n", "[ECHO\\x0ba]\n"),
            (b"ECHO 'a'\x0bb\r\n", "[ECHO][a][b]\n"),
            (b"ECHO \xff\x01\r\n", "[ECHO][\\xff\\x01]\n"),
            (b"PING \"a\r\n", "! unbalanced quotes in request"),
            (b"PING 'a\r\n", "! unbalanced quotes in request"),
            (b"ECHO \"a\"b\r\n", "! unbalanced quotes in request"),
            (b"ECHO 'a'b\r\n", "! unbalanced quotes in request"),
            (b"ECHO \"a\\\r\n", "! unbalanced quotes in request"),
        ] {
            assert_eq!(run(stream, &OPEN), expected, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn what_has_been_read_of_a_frame_is_told() {
        for (stream, expected) in [
            (&b""[..], (0, 0)),
            (b"*3\r\n$3", (4, 0)),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nk", (17, 3)),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\nabc", (24, 4)),
            (b"*1\r\n$4\r\nPING\r\n", (0, 0)),
            (b"PIN", (0, 0)),
        ] {
            let mut parser = Parser::default();
            assert!(parser.parse(stream, &OPEN).is_ok());
            assert_eq!(parser.frame_bytes_read(), expected, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn strangers_may_send_little() {
        assert_eq!(run(b"*10\r\n$16384\r\n", &STRANGER), "");
        assert_eq!(run(b"*11\r\n", &STRANGER), "! unauthenticated multibulk length");
        assert_eq!(run(b"*10\r\n$16385\r\n", &STRANGER), "! unauthenticated bulk length");
    }

    #[test]
    fn lines_without_an_end_are_refused_at_the_limit() {
        for (prefix, error) in [
            ("", "! too big inline request"),
            ("*", "! too big mbulk count string"),
            ("*1\r\n$", "! too big bulk count string"),
        ] {
            let line_start = prefix.rfind('\n').map_or(0, |index| index + 1);
            let mut stream = prefix.as_bytes().to_vec();
            stream.resize(line_start + LINE_LENGTH_MAX, b'1');
            assert_eq!(run(&stream, &OPEN), "");
            stream.push(b'1');
            assert_eq!(run(&stream, &OPEN), error);
            stream.extend_from_slice(b"\r\n");
            assert_eq!(run(&stream, &OPEN), error, "also when the end comes in the same piece");
        }
    }

    #[test]
    fn a_large_argument_asks_once_for_all_its_bytes() {
        let mut parser = Parser::default();
        let mut buffer = b"*2\r\n$3\r\nGET\r\n$1000000\r\nab".to_vec();
        let missing = 1_000_000;
        assert_eq!(parser.parse(&buffer, &OPEN), Ok(Parsed::Incomplete { consumed: 0, missing }));
        assert!(!parser.is_between_frames());
        buffer.resize(buffer.len() + missing, b'c');
        assert_eq!(parser.parse(&buffer, &OPEN), Ok(Parsed::Command { consumed: buffer.len() }));
        assert_eq!(parser.arguments(&buffer).map(<[u8]>::len).collect::<Vec<_>>(), [3, 1_000_000]);
        assert!(parser.is_between_frames());
    }

    #[test]
    fn empty_requests_are_let_go_and_spans_stay_right() {
        let mut parser = Parser::default();
        let stream = b"\r\n*0\r\n*1\r\n$4\r\nPING\r\n*0\r\n*";
        assert_eq!(parser.parse(stream, &OPEN), Ok(Parsed::Command { consumed: 20 }));
        assert_eq!(parser.spans(), Some(&[Span { offset: 14, length: 4 }][..]));
        assert_eq!(parser.parse(&stream[20..], &OPEN), Ok(Parsed::Incomplete { consumed: 4, missing: 1 }));
    }

    #[test]
    fn an_endless_length_does_not_overflow() {
        let limits = Limits { bulk_length_max: u64::MAX, authenticated: true };
        assert_eq!(run(b"*1\r\n$9223372036854775807\r\nab\r\n", &limits), "");
    }

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), Just(vec![b'x'; 300])]
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_commands(
            commands in proptest::collection::vec(proptest::collection::vec(word(), 0..6), 0..6), seed in any::<u8>()
        ) {
            let mut data = vec![seed | 0x0f];
            for command in &commands {
                data.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
                for word in command {
                    data.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                    data.extend_from_slice(word);
                    data.extend_from_slice(b"\r\n");
                }
            }
            check_pieces(&data);
            let (found, error) = feed(&data[1..], &OPEN, std::iter::repeat(7));
            let expected: Vec<_> = commands.into_iter().filter(|command| !command.is_empty()).collect();
            prop_assert_eq!((found, error), (expected, None));
        }

        #[test]
        fn any_bytes_in_any_pieces(data in proptest::collection::vec(
            prop_oneof![4 => proptest::sample::select(&b"*$0123\r\n\"'\\x4 ab-"[..]), 1 => any::<u8>()], 0..200
        )) {
            check_pieces(&data);
        }
    }

    #[test]
    fn mutated_streams() {
        let seeds: [&[u8]; 4] = [
            b"\x1f*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            b"\x1fSET a \"b\\x41c\" 'd'\r\nPING\r\n",
            b"\x3f*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n",
            b"\x03*2\r\n$8\r\nabcdefgh\r\n$9\r\nabcdefghi\r\n",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..4000 {
            let mut data = seeds[round % seeds.len()].to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(0..data.len());
                match random.u8(0..4) {
                    0 => data[at] = random.u8(..),
                    1 => data.insert(at, *random.choice(b"*$0123456789\r\n\"'\\x-").expect("not empty")),
                    2 if data.len() > 2 => drop(data.remove(at)),
                    _ => data.extend_from_within(at..),
                }
                data.truncate(4096);
            }
            check_pieces(&data);
        }
    }
}
