//! Bytes that are written: what [`Input`](super::input::Input) reads.

use crate::lzf::Compressor;

/// The shortest text that is compressed.
const COMPRESSED_BYTES_MIN: usize = 21;

/// Appends to a buffer.
pub struct Output<'a> {
    /// The buffer.
    pub bytes: &'a mut Vec<u8>,
    /// Compresses long texts; none if they are to stay as they are.
    pub compressor: Option<&'a mut Compressor>,
}

impl<'a> Output<'a> {
    /// Appends to a buffer, without compression.
    pub fn plain(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes, compressor: None }
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A length, or a number that stands as one.
    #[inline]
    pub fn number(&mut self, number: u64) {
        match number {
            0..64 => self.byte(number as u8),
            64..16384 => self.raw(&(0x4000 | number as u16).to_be_bytes()),
            16384..=0xffff_ffff => {
                self.byte(0x80);
                self.raw(&(number as u32).to_be_bytes());
            }
            _ => {
                self.byte(0x81);
                self.raw(&number.to_be_bytes());
            }
        }
    }

    /// A time.
    pub fn i64(&mut self, number: i64) {
        self.raw(&number.to_le_bytes());
    }

    /// A number as a text.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        if let Ok(number) = i8::try_from(number) {
            self.raw(&[0xc0, number as u8]);
        } else if let Ok(number) = i16::try_from(number) {
            self.byte(0xc1);
            self.raw(&number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.byte(0xc2);
            self.raw(&number.to_le_bytes());
        } else {
            let mut scratch = itoa::Buffer::new();
            let text = scratch.format(number).as_bytes();
            self.number(text.len() as u64);
            self.raw(text);
        }
    }

    /// A text: as a number if it is a short one, compressed if that helps.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        // The longest that is written as a number: -2147483648.
        if text.len() <= 11
            && let Some(number) = torc_engine::values::string::stored_integer(text)
            && i32::try_from(number).is_ok()
        {
            return self.integer(number);
        }
        self.plain_text(text);
    }

    /// A text that is not to be written as a number, such as packed bytes are; compressed if that helps.
    pub fn plain_text(&mut self, text: &[u8]) {
        if text.len() >= COMPRESSED_BYTES_MIN && self.compressed(text) {
            return;
        }
        self.number(text.len() as u64);
        self.raw(text);
    }

    /// A text compressed, if that makes it shorter. The head stands in front of what it is about, so that is moved once its
    /// length is known.
    fn compressed(&mut self, text: &[u8]) -> bool {
        let Some(compressor) = &mut self.compressor else { return false };
        let start = self.bytes.len();
        if !compressor.compress(text, self.bytes) {
            return false;
        }
        let packed_bytes = self.bytes.len() - start;
        let mut head = Vec::with_capacity(1 + 9 + 9);
        let mut output = Output::plain(&mut head);
        output.byte(0xc3);
        output.number(packed_bytes as u64);
        output.number(text.len() as u64);
        self.bytes.splice(start..start, head);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Input;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(number: u64, integer: i64, text: Vec<u8>, digits in -5_000_000_000i64..5_000_000_000) {
            let mut compressor = Compressor::default();
            let mut bytes = Vec::new();
            let mut output = Output { bytes: &mut bytes, compressor: Some(&mut compressor) };
            let repeated = text.repeat(9);
            let digits = digits.to_string().into_bytes();
            output.number(number);
            output.integer(integer);
            output.text(&text);
            output.text(&repeated);
            output.text(&digits);
            let mut input = Input::new(&bytes);
            prop_assert_eq!(input.number().unwrap(), number);
            prop_assert_eq!(input.text().unwrap().into_owned(), integer.to_string().into_bytes());
            prop_assert_eq!(input.text().unwrap().into_owned(), text);
            prop_assert_eq!(input.text().unwrap().into_owned(), repeated);
            prop_assert_eq!(input.text().unwrap().into_owned(), digits);
            prop_assert_eq!(input.left(), 0);
        }
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        for (text, expected) in [
            (&b"127"[..], &[0xc0, 127][..]),
            (b"-32768", &[0xc1, 0, 0x80]),
            (b"2147483647", &[0xc2, 0xff, 0xff, 0xff, 0x7f]),
            (b"007", &[3, b'0', b'0', b'7']),
            (b"+1", &[2, b'+', b'1']),
        ] {
            let mut bytes = Vec::new();
            Output::plain(&mut bytes).text(text);
            assert_eq!(bytes, expected, "{}", text.escape_ascii());
        }
    }
}
