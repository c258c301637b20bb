//! CRC-64 with the polynomial of Jones, bits reflected: what RDB files and DUMP payloads end with.
//!
//! ```text
//!   sum(a b) = shift(sum(a), bits of b) ^ sum(b)       so pieces may be summed apart, and put together in order
//! ```
//!
//! Long pieces are folded by carry-less multiplication where the processor can (crc-fast); of short ones, for which that takes a
//! start-up of its own, eight bytes are taken a step, by eight tables. `shift` multiplies by a power of x, in the field that the polynomial
//! spans, with one multiplication for each bit of the length.

use std::sync::atomic::{AtomicBool, Ordering};

/// Of the whole process: for tests of what reads broken bytes.
static IS_SKIPPED: AtomicBool = AtomicBool::new(false);

/// From now on, or no longer, sums that come with payloads and files are not looked at.
pub fn skip(is_skipped: bool) {
    IS_SKIPPED.store(is_skipped, Ordering::Relaxed);
}

/// Whether they are not.
pub fn is_skipped() -> bool {
    IS_SKIPPED.load(Ordering::Relaxed)
}

/// x^64 + ..., reflected.
const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();

/// Bytes a step.
const LANES: usize = 8;

static TABLES: [[u64; 256]; LANES] = tables();

const fn tables() -> [[u64; 256]; LANES] {
    let mut tables = [[0; 256]; LANES];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut lane = 1;
    while lane < LANES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[lane - 1][byte];
            tables[lane][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        lane += 1;
    }
    tables
}

/// From so many bytes on folding is quicker than tables.
const FOLDED_BYTES_MIN: usize = 64;

/// The sum of what had the sum `sum` (0 at the beginning) with `bytes` behind it.
#[inline]
pub fn update(sum: u64, bytes: &[u8]) -> u64 {
    if bytes.len() < FOLDED_BYTES_MIN {
        return by_tables(sum, bytes);
    }
    let mut digest = crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc64Redis, sum);
    digest.update(bytes);
    digest.finalize()
}

fn by_tables(mut sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<LANES>();
    for word in words {
        let mixed = (sum ^ u64::from_le_bytes(*word)).to_le_bytes();
        sum = 0;
        for (lane, byte) in mixed.iter().enumerate() {
            sum ^= TABLES[LANES - 1 - lane][usize::from(*byte)];
        }
    }
    rest.iter().fold(sum, |sum, byte| TABLES[0][usize::from(sum as u8 ^ byte)] ^ (sum >> 8))
}

/// The sum of some bytes.
pub fn of(bytes: &[u8]) -> u64 {
    update(0, bytes)
}

/// The sum of two pieces in a row, from their sums and the length of the second.
pub fn combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    // x^(8 * length), by squares; the sums have the highest power in the lowest bit.
    let (mut shifted, mut square, mut left) = (first, X_TO_THE_8, second_bytes);
    while left > 0 {
        if left & 1 == 1 {
            shifted = multiply(shifted, square);
        }
        square = multiply(square, square);
        left >>= 1;
    }
    shifted ^ second
}

/// x^8, reflected.
const X_TO_THE_8: u64 = 1 << (63 - 8);

/// The product of two polynomials, less multiples of ours.
const fn multiply(mut left: u64, mut right: u64) -> u64 {
    let mut product = 0;
    while right != 0 {
        // The highest bit stands for x^0.
        if right >> 63 == 1 {
            product ^= left;
        }
        right <<= 1;
        left = if left & 1 == 1 { (left >> 1) ^ POLYNOMIAL } else { left >> 1 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_that_is_published_for_it() {
        assert_eq!(of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(of(b""), 0);
    }

    proptest! {
        #[test]
        fn pieces_come_to_the_whole(
            first in prop::collection::vec(any::<u8>(), 0..2000),
            second in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let whole = [&first[..], &second[..]].concat();
            prop_assert_eq!(update(of(&first), &second), of(&whole));
            prop_assert_eq!(by_tables(of(&first), &second), of(&whole));
            prop_assert_eq!(combine(of(&first), of(&second), second.len() as u64), of(&whole));
        }
    }
}
