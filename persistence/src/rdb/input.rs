//! Bytes that are read from the front: numbers, lengths and texts.
//!
//! ```text
//!   00LLLLLL                      a length of 6 bits
//!   01LLLLLL LLLLLLLL             of 14, big endian
//!   10000000 (4 bytes)            of 32, big endian
//!   10000001 (8 bytes)            of 64, big endian
//!   110000EE                      no length: a number of 1, 2 or 4 bytes, little endian, or (3) a compressed text
//! ```

use super::{Malformed, Result};
use crate::lzf;
use std::borrow::Cow;

/// A length, or how what follows is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many.
    Plain(u64),
    /// One of the special encodings.
    Encoded(u8),
}

/// Bytes, and how far they are read.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// These bytes, from the first on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes from a place up to here.
    pub fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or(&[])
    }

    /// So many bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Malformed::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// So many bytes, known when this is compiled.
    #[inline]
    pub fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        self.take(COUNT)?.try_into().map_err(|_| Malformed::Truncated)
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Eight bytes, as times stand in files.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Eight bytes of a number with a fraction.
    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A length or an encoding.
    #[inline]
    pub fn length(&mut self) -> Result<Length> {
        let first = self.byte()?;
        Ok(Length::Plain(match first >> 6 {
            0 => u64::from(first & 0x3f),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.array()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.array()?),
            3 => return Ok(Length::Encoded(first & 0x3f)),
            _ => return Err(Malformed::Invalid("a length of no known form")),
        }))
    }

    /// A number that stands as a length.
    #[inline]
    pub fn number(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Plain(number) => Ok(number),
            Length::Encoded(_) => Err(Malformed::Invalid("an encoded text where a number should be")),
        }
    }

    /// How many things follow, each of at least `bytes_min` bytes: no more than fit.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed::Truncated)?;
        if count.checked_mul(bytes_min).is_none_or(|bytes| bytes > self.left()) {
            return Err(Malformed::Truncated);
        }
        Ok(count)
    }

    /// A text, borrowed where it stands as it is.
    #[inline]
    pub fn text(&mut self) -> Result<Cow<'a, [u8]>> {
        let number = match self.length()? {
            Length::Plain(length) => {
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                return self.take(length).map(Cow::Borrowed);
            }
            Length::Encoded(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(3) => return self.compressed().map(Cow::Owned),
            Length::Encoded(_) => return Err(Malformed::Invalid("a text of no known encoding")),
        };
        Ok(Cow::Owned(number.to_string().into_bytes()))
    }

    fn compressed(&mut self) -> Result<Vec<u8>> {
        let packed = usize::try_from(self.number()?).map_err(|_| Malformed::Truncated)?;
        let length = usize::try_from(self.number()?).map_err(|_| Malformed::Truncated)?;
        lzf::decompress(self.take(packed)?, length)
            .ok_or(Malformed::Invalid("a compressed text that cannot be expanded"))
    }

    /// Goes past a text.
    #[inline]
    pub fn skip_text(&mut self) -> Result<()> {
        let bytes = match self.length()? {
            Length::Plain(length) => usize::try_from(length).map_err(|_| Malformed::Truncated)?,
            Length::Encoded(encoding @ 0..=2) => 1 << encoding,
            Length::Encoded(3) => {
                let packed = usize::try_from(self.number()?).map_err(|_| Malformed::Truncated)?;
                self.number()?;
                packed
            }
            Length::Encoded(_) => return Err(Malformed::Invalid("a text of no known encoding")),
        };
        self.take(bytes).map(drop)
    }

    /// A number with a fraction as files before version 8 have it: text behind its length, or one of three names.
    pub fn f64_text(&mut self) -> Result<f64> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            length => parse_f64(self.take(usize::from(length))?),
        }
    }

    /// Goes past one.
    pub fn skip_f64_text(&mut self) -> Result<()> {
        let length = self.byte()?;
        if length < 253 { self.take(usize::from(length)).map(drop) } else { Ok(()) }
    }
}

/// A number with a fraction in a text.
pub fn parse_f64(text: &[u8]) -> Result<f64> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Invalid("a score that is no number"))?;
    text.parse().map_err(|_| Malformed::Invalid("a score that is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_forms() {
        for (bytes, expected) in [
            (&[0x3f][..], Length::Plain(63)),
            (&[0x40, 0x40], Length::Plain(64)),
            (&[0x7f, 0xff], Length::Plain(16383)),
            (&[0x80, 0, 0, 0x40, 0], Length::Plain(16384)),
            (&[0x81, 0, 0, 0, 1, 0, 0, 0, 0], Length::Plain(1 << 32)),
            (&[0xc3], Length::Encoded(3)),
        ] {
            let mut input = Input::new(bytes);
            assert_eq!(input.length(), Ok(expected));
            assert_eq!(input.left(), 0);
        }
        assert_eq!(Input::new(&[0x82, 0, 0, 0, 0]).length(), Err(Malformed::Invalid("a length of no known form")));
        assert_eq!(Input::new(&[0x81, 0]).length(), Err(Malformed::Truncated));
    }

    #[test]
    fn texts_of_all_encodings_and_past_them() {
        for (bytes, expected) in [
            (&[3, b'a', b'b', b'c'][..], &b"abc"[..]),
            (&[0xc0, 0x85], b"-123"),
            (&[0xc1, 0x39, 0x30], b"12345"),
            (&[0xc2, 0x15, 0xcd, 0x5b, 0x07], b"123456789"),
            (&[0xc3, 4, 4, 0, b'a', 0x20, 0], b"aaaa"),
        ] {
            let mut input = Input::new(bytes);
            assert_eq!(input.text().unwrap(), expected);
            let mut skipped = Input::new(bytes);
            skipped.skip_text().unwrap();
            assert_eq!((input.left(), skipped.left()), (0, 0));
            for end in 0..bytes.len() {
                assert!(Input::new(&bytes[..end]).text().is_err());
                assert!(Input::new(&bytes[..end]).skip_text().is_err());
            }
        }
    }

    #[test]
    fn nothing_is_believed_that_does_not_fit() {
        let huge = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Input::new(&huge).count(1), Err(Malformed::Truncated));
        assert_eq!(Input::new(&huge).text(), Err(Malformed::Truncated));
        assert_eq!(Input::new(&[3, 0, 0]).count(1), Err(Malformed::Truncated));
        assert_eq!(Input::new(&[3, 0, 0, 0]).count(1), Ok(3));
    }

    #[test]
    fn scores_of_old_files() {
        for (bytes, expected) in
            [(&[4, b'-', b'1', b'.', b'5'][..], -1.5), (&[254], f64::INFINITY), (&[255], f64::NEG_INFINITY)]
        {
            assert_eq!(Input::new(bytes).f64_text(), Ok(expected));
        }
        assert!(Input::new(&[253]).f64_text().unwrap().is_nan());
        assert!(Input::new(&[1, b'x']).f64_text().is_err());
    }
}
