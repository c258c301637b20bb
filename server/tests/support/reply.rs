//! Replies as a tree, and as text in which each sequence of bytes has a text of its own:
//!
//! ```text
//!   +OK   -ERR text   :12   "bulk \r\n \x00"   nil ($-1)   nil* (*-1)   ["a" :1]                      RESP2
//!   _     #t   ,1.5   (12345   ={txt:text}   {"key" => "value", ...}   ~["a" "b"]   >["push"]         RESP3
//! ```

use std::fmt::{self, Display, Formatter};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Verbatim(Vec<u8>),
    NullBulk,
    NullArray,
    Null,
    Boolean(bool),
    /// A number as it was sent: `,` a double, `(` a big one.
    Number(char, Vec<u8>),
    Array(Vec<Reply>),
    /// Keys and values in turn.
    Map(Vec<Reply>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    /// The first reply in these bytes and its length; none if it is not whole. Panics at bytes that are no reply, or a
    /// reply written in another way than servers do.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let (line, mut used) = (&bytes[1..end], end + 2);
        let number = || {
            let text = std::str::from_utf8(line).expect("a number");
            let number: i64 = text.parse().unwrap_or_else(|_| panic!("no number: {text}"));
            assert_eq!(number.to_string(), text, "numbers have one form");
            number
        };
        let reply = match bytes[0] {
            b'+' => Self::Status(line.to_vec()),
            b'-' => Self::Error(line.to_vec()),
            b':' => Self::Integer(number()),
            b'_' if line.is_empty() => Self::Null,
            b'#' if line == b"t" || line == b"f" => Self::Boolean(line == b"t"),
            kind @ (b',' | b'(') => Self::Number(kind as char, line.to_vec()),
            b'$' if number() == -1 => Self::NullBulk,
            b'*' if number() == -1 => Self::NullArray,
            kind @ (b'$' | b'=') => {
                let length = usize::try_from(number()).expect("a length");
                let text = bytes.get(used..used + length + 2)?;
                assert_eq!(&text[length..], b"\r\n", "a bulk string ends with a line end");
                used += length + 2;
                let text = text[..length].to_vec();
                if kind == b'$' { Self::Bulk(text) } else { Self::Verbatim(text) }
            }
            kind @ (b'*' | b'%' | b'~' | b'>') => {
                let count = number() * if kind == b'%' { 2 } else { 1 };
                let mut elements = Vec::new();
                for _ in 0..count {
                    let (element, length) = Self::parse(&bytes[used..])?;
                    elements.push(element);
                    used += length;
                }
                match kind {
                    b'*' => Self::Array(elements),
                    b'%' => Self::Map(elements),
                    b'~' => Self::Set(elements),
                    _ => Self::Push(elements),
                }
            }
            _ => panic!("not a reply: {}", bytes[..used].escape_ascii()),
        };
        Some((reply, used))
    }

    /// With the elements of every array, set and map in a fixed order, for replies that have none.
    pub fn sorted(self) -> Self {
        let sort = |elements: Vec<Self>| {
            let mut elements: Vec<_> = elements.into_iter().map(Self::sorted).collect();
            elements.sort();
            elements
        };
        match self {
            Self::Array(elements) => Self::Array(sort(elements)),
            Self::Set(elements) => Self::Set(sort(elements)),
            Self::Map(elements) => {
                let mut pairs: Vec<_> = elements.chunks(2).map(<[Self]>::to_vec).collect();
                pairs.sort();
                Self::Map(pairs.concat().into_iter().map(Self::sorted).collect())
            }
            other => other,
        }
    }

    /// The bytes of a string of any kind.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Status(text) | Self::Error(text) | Self::Bulk(text) | Self::Number(_, text) => text,
            // Three letters and a colon say what the text is.
            Self::Verbatim(text) => &text[4..],
            other => panic!("not a string: {other}"),
        }
    }

    /// A string of any kind as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A number.
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not a number: {other}"),
        }
    }

    /// The elements of an array, set, push or map.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) | Self::Map(elements) | Self::Set(elements) | Self::Push(elements) => elements,
            other => panic!("has no elements: {other}"),
        }
    }

    /// The value of a key in a map, or in an array of keys and values.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.elements().chunks(2).find(|pair| pair[0].bytes() == key.as_bytes()).map(|pair| &pair[1])
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

impl Display for Reply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, opening: &str, elements: &[Self]| {
            f.write_str(opening)?;
            for (index, element) in elements.iter().enumerate() {
                write!(f, "{}{element}", if index > 0 { " " } else { "" })?;
            }
            f.write_str("]")
        };
        match self {
            Self::Status(text) => write!(f, "+{}", text.escape_ascii()),
            Self::Error(text) => write!(f, "-{}", quoted(text).replace("\\\"", "\"")),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(text) => write!(f, "\"{}\"", quoted(text)),
            Self::Verbatim(text) => write!(f, "={{{}}}", quoted(text)),
            Self::NullBulk => f.write_str("nil"),
            Self::NullArray => f.write_str("nil*"),
            Self::Null => f.write_str("_"),
            Self::Boolean(value) => f.write_str(if *value { "#t" } else { "#f" }),
            Self::Number(kind, text) => write!(f, "{kind}{}", text.escape_ascii()),
            Self::Array(elements) => list(f, "[", elements),
            Self::Set(elements) => list(f, "~[", elements),
            Self::Push(elements) => list(f, ">[", elements),
            Self::Map(elements) => {
                f.write_str("{")?;
                for (index, pair) in elements.chunks(2).enumerate() {
                    write!(f, "{}{} => {}", if index > 0 { ", " } else { "" }, pair[0], pair[1])?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Escaped so that it stands between double quotes on one line.
fn quoted(text: &[u8]) -> String {
    text.escape_ascii().to_string().replace("\\'", "'")
}
