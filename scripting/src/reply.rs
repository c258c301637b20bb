//! Replies in both directions: what a script answers, as a tree that the shard encodes with its one encoder; and a reader
//! of the encoded replies that a script's own calls get.

/// What a script or function answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing: the null of the client's protocol.
    Null,
    /// A number.
    Integer(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// A status line, without line ends.
    Status(Vec<u8>),
    /// An error line with its code, without the leading dash and without line ends.
    Error {
        /// The line.
        line: Vec<u8>,
        /// Whether statistics of errors have it already, since it is a command's own.
        is_counted: bool,
    },
    /// A list.
    Array(Vec<Reply>),
    /// Pairs, flat: key, value, key, value.
    Map(Vec<Reply>),
    /// A set.
    Set(Vec<Reply>),
    /// A double.
    Double(f64),
    /// Yes or no; as the client's protocol has it.
    Boolean(bool),
    /// Digits.
    BigNumber(Vec<u8>),
    /// A text and what it is, in three letters.
    Verbatim {
        /// Three letters.
        format: [u8; 3],
        /// The text.
        text: Vec<u8>,
    },
}

impl Reply {
    /// An error that no command has counted yet; line ends become spaces.
    pub fn error(line: impl Into<Vec<u8>>) -> Self {
        Self::Error { line: one_line(line.into()), is_counted: false }
    }
}

/// Line ends become spaces: statuses and errors are lines.
pub(crate) fn one_line(mut line: Vec<u8>) -> Vec<u8> {
    line.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    line
}

/// One piece of an encoded reply; the elements of an aggregate follow it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Integer(i64),
    Bulk(&'a [u8]),
    /// RESP2's null, of strings and arrays.
    Nil,
    /// RESP3's.
    Null,
    Status(&'a [u8]),
    Error(&'a [u8]),
    Array(usize),
    Map(usize),
    Set(usize),
    Boolean(bool),
    Double(f64),
    BigNumber(&'a [u8]),
    Verbatim {
        format: &'a [u8],
        text: &'a [u8],
    },
}

/// Reads an encoded reply piece by piece.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(reply: &'a [u8]) -> Self {
        Self { rest: reply }
    }

    /// The next piece; nothing if the bytes are not a reply, which our own encoder does not make.
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        let (&kind, _) = self.rest.split_first()?;
        let line = self.line()?;
        Some(match kind {
            b':' => Token::Integer(integer(line)?),
            b'+' => Token::Status(line),
            b'-' => Token::Error(line),
            b'$' => match integer(line)? {
                -1 => Token::Nil,
                length => Token::Bulk(self.text(length)?),
            },
            b'=' => {
                let text = self.text(integer(line)?)?;
                Token::Verbatim { format: text.get(..3)?, text: text.get(4..)? }
            }
            b'*' | b'>' => match integer(line)? {
                -1 => Token::Nil,
                length => Token::Array(self.count(length)?),
            },
            b'~' => Token::Set(self.count(integer(line)?)?),
            b'%' => Token::Map(self.count(integer(line)?)?),
            b'|' => {
                // Attributes say something about the reply behind them that scripts do not see.
                for _ in 0..self.count(integer(line)?)?.checked_mul(2)? {
                    self.skip()?;
                }
                return self.next();
            }
            b'_' => Token::Null,
            b'#' => Token::Boolean(line == b"t"),
            b',' => Token::Double(std::str::from_utf8(line).ok()?.parse().ok()?),
            b'(' => Token::BigNumber(line),
            _ => return None,
        })
    }

    fn skip(&mut self) -> Option<()> {
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            left += match self.next()? {
                Token::Array(length) | Token::Set(length) => length,
                Token::Map(length) => length.checked_mul(2)?,
                _ => 0,
            };
        }
        Some(())
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.rest.get(1..end)?;
        self.rest = &self.rest[end + 2..];
        Some(line)
    }

    fn text(&mut self, length: i64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let text = self.rest.get(..length)?;
        self.rest = self.rest.get(length..)?.strip_prefix(b"\r\n")?;
        Some(text)
    }

    /// A number of elements; each takes bytes, so there are no more than those.
    fn count(&self, length: i64) -> Option<usize> {
        usize::try_from(length).ok().filter(|&length| length <= self.rest.len())
    }
}

fn integer(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let bytes = b":-5\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n+OK\r\n-ERR x\r\n*2\r\n%1\r\n~0\r\n#t\r\n,3.5\r\n(123\r\n=6\r\ntxt:ab\r\n";
        let mut reader = Reader::new(bytes);
        let expected = [
            Token::Integer(-5),
            Token::Bulk(b"a\r\n"),
            Token::Nil,
            Token::Nil,
            Token::Null,
            Token::Status(b"OK"),
            Token::Error(b"ERR x"),
            Token::Array(2),
            Token::Map(1),
            Token::Set(0),
            Token::Boolean(true),
            Token::Double(3.5),
            Token::BigNumber(b"123"),
            Token::Verbatim { format: b"txt", text: b"ab" },
        ];
        for token in expected {
            assert_eq!(reader.next(), Some(token));
        }
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn attributes_are_skipped() {
        assert_eq!(Reader::new(b"|1\r\n+a\r\n*1\r\n:1\r\n:7\r\n").next(), Some(Token::Integer(7)));
    }

    #[test]
    fn broken_bytes_are_nothing() {
        for bytes in [&b""[..], b":", b":x\r\n", b"$5\r\nab\r\n", b"*99\r\n", b"?\r\n", b"=2\r\nab\r\n", b"$-2\r\n"] {
            assert_eq!(Reader::new(bytes).next(), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
