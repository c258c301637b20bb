//! A string as its readers see it ([`StringRef`]) and as it travels outside of a table ([`OwnedString`]).

use super::blob::Blob;
use crate::command::parse_integer;
use std::borrow::Cow;

/// The longest text that the real server calls `embstr`, in bytes.
pub const EMBEDDED_BYTES_MAX: usize = 44;

/// The longest text that may be a canonical i64, in bytes.
const INTEGER_BYTES_MAX: usize = 20;

/// The integer that a text is stored as, where it is the one canonical text of it.
pub fn stored_integer(text: &[u8]) -> Option<i64> {
    if text.len() > INTEGER_BYTES_MAX { None } else { parse_integer(text) }
}

/// A string in a table.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'a> {
    /// Kept as a number; its text is the canonical decimal one.
    Integer(i64),
    /// Short enough to stand beside its key.
    Bytes(&'a [u8]),
    /// In a block of its own, which a reply may share.
    Shared(&'a Blob),
}

impl<'a> StringRef<'a> {
    /// Length of the text, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Integer(value) => integer_text_len(*value),
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(blob) => blob.len(),
        }
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text; an integer's is written into `scratch`.
    pub fn as_bytes<'s>(&self, scratch: &'s mut itoa::Buffer) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Self::Integer(value) => scratch.format(*value).as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Shared(blob) => blob.as_slice(),
        }
    }

    /// Calls `use_text` with the text.
    pub fn with_bytes<R>(&self, use_text: impl FnOnce(&[u8]) -> R) -> R {
        use_text(self.as_bytes(&mut itoa::Buffer::new()))
    }

    /// The text, borrowed where it exists as such.
    pub fn to_bytes(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Integer(value) => Cow::Owned(itoa::Buffer::new().format(*value).as_bytes().to_vec()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Shared(blob) => Cow::Borrowed(blob.as_slice()),
        }
    }

    /// The number, if the text is a canonical i64.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Bytes(bytes) => parse_integer(bytes),
            Self::Shared(blob) => stored_integer(blob.as_slice()),
        }
    }
}

/// A string outside of a table: on its way to another key, another shard, or into a table for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedString {
    /// Kept as a number.
    Integer(i64),
    /// Short.
    Small {
        /// The text.
        bytes: Box<[u8]>,
        /// Whether `OBJECT ENCODING` says `raw` however short it is (after APPEND, SETRANGE).
        raw: bool,
    },
    /// Long; the block is shared, not copied.
    Large(Blob),
}

impl OwnedString {
    /// The string as SET stores it: an integer if it is the canonical text of one.
    pub fn new(text: &[u8]) -> Self {
        stored_integer(text).map_or_else(|| Self::text(text), Self::Integer)
    }

    /// The string kept as text even if it is a number's (INCRBYFLOAT).
    pub fn text(text: &[u8]) -> Self {
        Self::Small { bytes: text.into(), raw: false }
    }

    /// The string kept as text that `OBJECT ENCODING` calls `raw` (SETRANGE, SETBIT).
    pub fn raw(text: &[u8]) -> Self {
        Self::Small { bytes: text.into(), raw: true }
    }

    /// The string as a reader sees it.
    pub fn as_ref(&self) -> StringRef<'_> {
        match self {
            Self::Integer(value) => StringRef::Integer(*value),
            Self::Small { bytes, .. } => StringRef::Bytes(bytes),
            Self::Large(blob) => StringRef::Shared(blob),
        }
    }
}

fn integer_text_len(value: i64) -> usize {
    usize::from(value < 0) + value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_length_of_their_text() {
        for value in [0, 1, 9, 10, 99, 100, -1, -9, -10, i64::MAX, i64::MIN] {
            assert_eq!(StringRef::Integer(value).len(), value.to_string().len(), "{value}");
        }
    }

    #[test]
    fn only_canonical_integers_become_numbers() {
        for (text, integer) in [("12", Some(12)), ("012", None), ("-0", None), ("1e3", None), (" 1", None)] {
            assert_eq!(stored_integer(text.as_bytes()), integer, "{text}");
            assert_eq!(OwnedString::new(text.as_bytes()).as_ref().to_bytes(), text.as_bytes());
        }
    }
}
