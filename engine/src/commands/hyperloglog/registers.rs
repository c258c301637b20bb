//! From an element to its register, and from registers to an estimate of how many elements there were.
//!
//! An element's hash gives the register (its low 14 bits) and a rank: the position of the first one among the other 50.
//! Each register keeps the highest rank seen. The estimate is the one of Otmar Ertl, "New cardinality estimation
//! algorithms for HyperLogLog sketches" (arXiv:1702.01284), from the histogram of ranks, with the functions sigma and tau
//! for empty and for saturated registers.

/// Bits of the hash that choose the register.
const INDEX_BITS: u32 = 14;
/// Bits of the hash that give the rank.
const RANK_BITS: u32 = u64::BITS - INDEX_BITS;
/// Number of registers.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;
/// Registers come from foreign bytes, too, and have six bits.
const RANKS: usize = 64;

const HASH_SEED: u64 = 0xadc8_3b19;

/// MurmurHash64A, as published by Austin Appleby: part of the format.
fn hash(element: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = HASH_SEED ^ (element.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = element.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        hash = (hash ^ (word ^ word >> SHIFT).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

/// The register that an element belongs to, and its rank: 1 to 51.
pub(in crate::commands) fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    (hash as usize & (REGISTERS - 1), rank as u8)
}

/// How many registers have which rank.
pub(super) struct Histogram([u32; RANKS]);

impl Histogram {
    pub(super) fn new() -> Self {
        Self([0; RANKS])
    }

    /// Counts registers of one rank, below 64.
    pub(super) fn add(&mut self, rank: u8, count: usize) {
        self.0[rank as usize % RANKS] += count as u32;
    }

    /// The estimate, in the order of operations of the real server, so that it is the same to the last bit. Registers
    /// that no hash can make may give no number at all; then it is the one that the real server shows.
    pub(super) fn estimate(&self) -> i64 {
        /// 0.5 / ln(2)
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        let registers = REGISTERS as f64;
        let saturated = f64::from(self.0[RANK_BITS as usize + 1]);
        let mut z = registers * tau((registers - saturated) / registers);
        for rank in (1..=RANK_BITS as usize).rev() {
            z = (z + f64::from(self.0[rank])) * 0.5;
        }
        z += registers * sigma(f64::from(self.0[0]) / registers);
        let estimate = ALPHA * registers * registers / z;
        if estimate.is_finite() { estimate.round() as i64 } else { i64::MIN }
    }
}

/// For the part `x` of registers that are empty.
#[allow(clippy::float_cmp)] // it ends when another term changes nothing
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// For the part `x` of registers that are not saturated.
#[allow(clippy::float_cmp)] // as above
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near() {
        for count in [0, 1, 10, 1000, 20_000, 300_000u64] {
            let mut ranks = vec![0; REGISTERS];
            for number in 0..count {
                let (index, rank) = place(&number.to_le_bytes());
                ranks[index] = rank.max(ranks[index]);
            }
            let mut histogram = Histogram::new();
            ranks.iter().for_each(|rank| histogram.add(*rank, 1));
            let error = histogram.estimate().abs_diff(count as i64);
            assert!(error as f64 <= count as f64 * 0.03, "{count}: {error}");
        }
    }

    #[test]
    fn every_histogram_has_an_answer() {
        for rank in 0..RANKS as u8 {
            let mut histogram = Histogram::new();
            histogram.add(rank, REGISTERS);
            histogram.estimate();
            let mut histogram = Histogram::new();
            histogram.add(rank, REGISTERS / 2);
            histogram.add(63, REGISTERS / 2);
            histogram.estimate();
        }
    }
}
