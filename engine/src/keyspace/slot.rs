//! Which of the 16384 slots a key belongs to: CRC16 of its hashtag, or of the whole key, modulo 16384.
//!
//! The CRC is the XMODEM one (polynomial x^16 + x^12 + x^5 + 1, nothing reflected, starting at zero). Eight bytes are
//! taken in one step ("slicing"): table `k` holds the remainders of each byte followed by `k` zero bytes, and the
//! remainder of eight bytes is the sum of the eight remainders.

/// Number of slots; the same in and out of cluster mode.
pub const SLOTS: usize = 16384;

const STEP: usize = 8;

static TABLES: [[u16; 256]; STEP] = remainders();

const fn remainders() -> [[u16; 256]; STEP] {
    let mut tables = [[0u16; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 0x8000 != 0;
            remainder <<= 1;
            if carry {
                remainder ^= 0x1021;
            }
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < STEP {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for step in steps {
        // The bytes so far weigh like two more bytes in front of what follows.
        let first = step[0] ^ (crc >> 8) as u8;
        let second = step[1] ^ crc as u8;
        crc = TABLES[7][first as usize]
            ^ TABLES[6][second as usize]
            ^ TABLES[5][step[2] as usize]
            ^ TABLES[4][step[3] as usize]
            ^ TABLES[3][step[4] as usize]
            ^ TABLES[2][step[5] as usize]
            ^ TABLES[1][step[6] as usize]
            ^ TABLES[0][step[7] as usize];
    }
    for &byte in rest {
        crc = (crc << 8) ^ TABLES[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// The slot of a key. Only what stands between the first `{` and the first `}` behind it counts, if that is not empty.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashtag(key).unwrap_or(key)) % SLOTS as u16
}

fn hashtag(key: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'{', key)?;
    let inner = &key[open + 1..];
    let length = memchr::memchr(b'}', inner)?;
    (length > 0).then(|| &inner[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit_by_bit(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ ((*byte as u16) << 8), |crc, _| (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 })
        })
    }

    #[test]
    fn published_values() {
        // The check value of the XMODEM variant, and slots that CLUSTER KEYSLOT of the real server gives.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("", 0), ("key:000000000001", 8924)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn hashtags() {
        for (key, same) in [
            ("{user1000}.following", "user1000"),
            ("foo{bar}{zap}", "bar"),
            ("foo{{bar}}zap", "{bar"),
            ("x}{bar}", "bar"),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot_of(same.as_bytes()), "{key}");
        }
        for whole in ["foo{}{bar}", "foo{bar", "foo}bar", "{}"] {
            assert_eq!(slot_of(whole.as_bytes()), bit_by_bit(whole.as_bytes()) % SLOTS as u16, "{whole}");
        }
    }

    proptest! {
        #[test]
        fn slicing_equals_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc16(&bytes), bit_by_bit(&bytes));
        }
    }
}
