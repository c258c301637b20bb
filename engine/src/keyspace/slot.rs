//! Which of the 16384 slots a key belongs to: CRC16 of its hashtag, or of the whole key, modulo 16384.
//!
//! The CRC is the XMODEM one (polynomial x^16 + x^12 + x^5 + 1, nothing reflected, starting at zero). Sixteen bytes are
//! taken in one step ("slicing"): table `k` holds the remainders of each byte followed by `k` zero bytes, and the
//! remainder of sixteen bytes is the sum of the sixteen remainders.

/// Number of slots; the same in and out of cluster mode.
pub const SLOTS: usize = 16384;

const STEP: usize = 16;

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
    // Starting at zero, zeros in front change nothing: what does not fill a step goes first, as if it did.
    let (first, steps) = bytes.split_at(bytes.len() % STEP);
    let mut crc = 0u16;
    for (table, &byte) in TABLES[..first.len()].iter().rev().zip(first) {
        crc ^= table[byte as usize];
    }
    for step in steps.as_chunks::<STEP>().0 {
        // The bytes so far weigh like two more bytes in front of what follows.
        let mut sum = TABLES[STEP - 1][(step[0] ^ (crc >> 8) as u8) as usize];
        sum ^= TABLES[STEP - 2][(step[1] ^ crc as u8) as usize];
        for index in 2..STEP {
            sum ^= TABLES[STEP - 1 - index][step[index] as usize];
        }
        crc = sum;
    }
    crc
}

/// Up to this length, looking at words here is quicker than a call, in bytes.
const SHORT_BYTES_MAX: usize = 40;

/// Whether there is a `{`, eight bytes at a time.
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = key.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        // A byte becomes zero where it was a brace; borrowing from a zero byte sets its highest bit.
        let zeroed = u64::from_ne_bytes(*word) ^ (ONES * b'{' as u64);
        found |= zeroed.wrapping_sub(ONES) & !zeroed & HIGHS;
    }
    found != 0 || rest.contains(&b'{')
}

/// The slot of a key. Only what stands between the first `{` and the first `}` behind it counts, if that is not empty.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashtag(key).unwrap_or(key)) % SLOTS as u16
}

#[inline]
fn hashtag(key: &[u8]) -> Option<&[u8]> {
    if key.len() <= SHORT_BYTES_MAX && !has_open_brace(key) {
        return None;
    }
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
        fn braces_are_found(key in "[a-z{}z]{0,50}") {
            prop_assert_eq!(has_open_brace(key.as_bytes()), key.contains('{'));
        }

        #[test]
        fn slicing_equals_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc16(&bytes), bit_by_bit(&bytes));
        }
    }
}
