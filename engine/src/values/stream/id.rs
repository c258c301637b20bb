//! The ID of an entry: a time in milliseconds and a number within that time. IDs are ordered, and grow in a stream.

use std::ops::Deref;

/// The ID of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch, as the one who added the entry saw it.
    pub ms: u64,
    /// Which of the entries of that time.
    pub sequence: u64,
}

impl StreamId {
    /// Lower than that of any entry.
    pub const MIN: Self = Self { ms: 0, sequence: 0 };
    /// The highest there is.
    pub const MAX: Self = Self { ms: u64::MAX, sequence: u64::MAX };
    /// Bytes of its binary form.
    pub const BYTES: usize = 16;

    /// An ID of two numbers.
    pub const fn new(ms: u64, sequence: u64) -> Self {
        Self { ms, sequence }
    }

    /// The ID behind it.
    pub fn next(self) -> Option<Self> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The ID in front of it.
    pub fn previous(self) -> Option<Self> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    /// The ID of an entry that is added now, behind the last one: the clock may stand still or go back, IDs do not.
    pub fn generate(last: Self, now_ms: u64) -> Option<Self> {
        if now_ms > last.ms { Some(Self::new(now_ms, 0)) } else { last.next() }
    }

    /// Its binary form, which is ordered as the IDs are: big endian.
    #[inline]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.sequence)).to_be_bytes()
    }

    /// The ID of a binary form.
    #[inline]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self::new((number >> 64) as u64, number as u64)
    }

    /// Its text, as clients read it.
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::BYTES_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.sequence).as_bytes());
        text
    }
}

/// The text of an ID.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl IdText {
    const BYTES_MAX: usize = 20 + 1 + 20;

    fn push(&mut self, text: &[u8]) {
        let start = self.len as usize;
        self.bytes[start..start + text.len()].copy_from_slice(text);
        self.len += text.len() as u8;
    }
}

impl Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_text_and_bytes() {
        let id = StreamId::new(5, u64::MAX);
        assert_eq!(id.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).previous(), Some(id));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
        assert_eq!(&*StreamId::MAX.text(), b"18446744073709551615-18446744073709551615");
        assert_eq!(&*StreamId::new(7, 12).text(), b"7-12");
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert!(StreamId::new(1, 300).to_bytes() < StreamId::new(256, 0).to_bytes());
    }

    #[test]
    fn generated_ids_only_grow() {
        let last = StreamId::new(100, 4);
        assert_eq!(StreamId::generate(last, 101), Some(StreamId::new(101, 0)));
        assert_eq!(StreamId::generate(last, 100), Some(StreamId::new(100, 5)));
        assert_eq!(StreamId::generate(last, 7), Some(StreamId::new(100, 5)));
        assert_eq!(StreamId::generate(StreamId::MAX, 7), None);
    }
}
