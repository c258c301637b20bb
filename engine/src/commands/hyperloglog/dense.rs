//! All registers, six bits each, from the low bits of a byte to the high ones and on into the next: four in three bytes.

use super::registers::{Histogram, REGISTERS};

const BITS: usize = 6;
const MASK: u32 = (1 << BITS) - 1;

/// Length of the registers, in bytes.
pub(super) const DENSE_BYTES: usize = REGISTERS * BITS / 8;

/// The three bytes that a register is in, and how far up its bits begin.
fn place(index: usize) -> (usize, usize) {
    (index / 4 * 3, index % 4 * BITS)
}

fn load([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

/// Sets a register to `rank` if that is more than it has; whether it was.
pub(super) fn raise(registers: &mut [u8], index: usize, rank: u8) -> bool {
    let (at, shift) = place(index);
    let Some(group) = registers[at..].first_chunk_mut::<3>() else { return false };
    let word = load(*group);
    if u32::from(rank) <= word >> shift & MASK {
        return false;
    }
    let word = word & !(MASK << shift) | u32::from(rank) << shift;
    group.copy_from_slice(&word.to_le_bytes()[..3]);
    true
}

/// The ranks in order.
pub(super) fn ranks(registers: &[u8]) -> impl Iterator<Item = u8> {
    let (groups, _) = registers.as_chunks::<3>();
    groups.iter().flat_map(|group| {
        let word = load(*group);
        [0, 1, 2, 3].map(|number| (word >> (number * BITS) & MASK) as u8)
    })
}

/// Raises each of `union` to the rank here.
pub(super) fn merge(registers: &[u8], union: &mut [u8; REGISTERS]) {
    union.iter_mut().zip(ranks(registers)).for_each(|(highest, rank)| *highest = rank.max(*highest));
}

pub(super) fn histogram(registers: &[u8]) -> Histogram {
    let mut histogram = Histogram::new();
    ranks(registers).for_each(|rank| histogram.add(rank, 1));
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut registers, mut model) = (vec![0; DENSE_BYTES], vec![0; REGISTERS]);
        for _ in 0..100_000 {
            let (index, rank) = (random.usize(..REGISTERS), random.u8(..64));
            assert_eq!(raise(&mut registers, index, rank), rank > model[index]);
            model[index] = rank.max(model[index]);
        }
        assert!(ranks(&registers).eq(model));
    }
}
