//! Passwords, of which only hashes are kept: SHA-256, as hexadecimal digits where they are shown.

use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// Of a password.
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// From 64 hexadecimal digits in small letters, and no other form.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }

    /// Whether it is among these, in a time that does not tell how near it is to any.
    pub fn is_among(self, hashes: &[Self]) -> bool {
        let none = Choice::from(0);
        hashes.iter().fold(none, |found, hash| found | hash.0.ct_eq(&self.0)).into()
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_and_anything_else_is_refused() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(PasswordHash::of(b"abc").to_string(), text);
        assert_eq!(PasswordHash::parse(text.as_bytes()), Some(PasswordHash::of(b"abc")));
        for bad in [&text[1..], &text.to_uppercase(), &text.replace('b', "g"), ""] {
            assert_eq!(PasswordHash::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_hash_is_found_among_others() {
        let [a, b, c] = [&b"a"[..], b"b", b"c"].map(PasswordHash::of);
        assert!(a.is_among(&[b, a]) && b.is_among(&[b, a]) && !c.is_among(&[b, a]) && !a.is_among(&[]));
    }
}
