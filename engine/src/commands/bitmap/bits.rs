//! Bits in a run of bytes, a word at a time. Bit 0 is the most significant one of byte 0.

/// The number of ones from bit `first` to bit `last`, both included and within the bytes.
pub(super) fn count(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (middle, edges) = split(bytes, first, last, 0);
    edges.into_iter().map(|edge| u64::from(edge.count_ones())).sum::<u64>() + count_bytes(middle)
}

fn count_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The whole bytes between `first` and `last`, and the two bytes at the edges with `filler` in the bits outside of the
/// range. Where one byte is both edges, the second is all `filler`.
fn split(bytes: &[u8], first: u64, last: u64, filler: u8) -> (&[u8], [u8; 2]) {
    let (first_byte, last_byte) = ((first >> 3) as usize, (last >> 3) as usize);
    let head_mask = 0xff >> (first & 7);
    let tail_mask = !(0x7f >> (last & 7));
    let masked = |byte: u8, mask: u8| (byte & mask) | (filler & !mask);
    if first_byte == last_byte {
        return (&[], [masked(bytes[first_byte], head_mask & tail_mask), filler]);
    }
    let edges = [masked(bytes[first_byte], head_mask), masked(bytes[last_byte], tail_mask)];
    (&bytes[first_byte + 1..last_byte], edges)
}

/// The position of the first bit that is `wanted`, from bit `first` to bit `last`, both included and within the bytes.
pub(super) fn find(bytes: &[u8], first: u64, last: u64, wanted: bool) -> Option<u64> {
    let filler = if wanted { 0 } else { 0xff };
    let (middle, [head, tail]) = split(bytes, first, last, filler);
    let in_byte = |byte: u8| (byte != filler).then(|| u64::from((byte ^ filler).leading_zeros()));
    if let Some(position) = in_byte(head) {
        return Some((first & !7) + position);
    }
    if let Some(position) = find_in_bytes(middle, filler) {
        return Some((first & !7) + 8 + position);
    }
    in_byte(tail).map(|position| (last & !7) + position)
}

/// The position of the first bit that differs from those of `filler`, all ones or all zeros.
fn find_in_bytes(bytes: &[u8], filler: u8) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let nothing = [filler; 8];
    if let Some(index) = words.iter().position(|word| *word != nothing) {
        let differing = u64::from_be_bytes(words[index]) ^ u64::from_be_bytes(nothing);
        return Some(index as u64 * 64 + u64::from(differing.leading_zeros()));
    }
    let index = rest.iter().position(|byte| *byte != filler)?;
    Some(words.len() as u64 * 64 + index as u64 * 8 + u64::from((rest[index] ^ filler).leading_zeros()))
}

/// The bytes that a field of up to 64 bits may touch.
const FIELD_BYTES_MAX: usize = 9;

/// How far the last bit of a field lies from the end of the 128 bits that begin with the field's first byte.
fn field_shift(offset: u64, width: u32) -> u32 {
    u128::BITS - (offset & 7) as u32 - width
}

fn field_mask(width: u32) -> u128 {
    (1 << width) - 1
}

/// The part of the bytes that a field touches; what lies behind their end is missing.
fn field_range(length: usize, offset: u64) -> std::ops::Range<usize> {
    let start = ((offset >> 3) as usize).min(length);
    start..length.min(start + FIELD_BYTES_MAX)
}

fn load(bytes: &[u8]) -> u128 {
    let mut window = [0; 16];
    window[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(window)
}

/// The `width` bits (1 to 64) at `offset` as a number, the first bit the most significant one.
pub(super) fn field(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let window = load(&bytes[field_range(bytes.len(), offset)]);
    ((window >> field_shift(offset, width)) & field_mask(width)) as u64
}

/// Writes the lowest `width` bits of a number at `offset`; they lie within the bytes.
pub(super) fn set_field(bytes: &mut [u8], offset: u64, width: u32, value: u64) {
    let range = field_range(bytes.len(), offset);
    let bytes = &mut bytes[range];
    let (shift, mask) = (field_shift(offset, width), field_mask(width));
    let window = (load(bytes) & !(mask << shift)) | ((u128::from(value) & mask) << shift);
    let length = bytes.len();
    bytes.copy_from_slice(&window.to_be_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit(bytes: &[u8], position: u64) -> bool {
        bytes.get((position / 8) as usize).is_some_and(|byte| byte >> (7 - position % 8) & 1 == 1)
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![4 => Just(0), 4 => Just(0xff), 1 => any::<u8>()];
        proptest::collection::vec(byte, 1..60)
    }

    proptest! {
        #[test]
        fn counting_and_finding_as_bit_by_bit(bytes in bytes(), a in 0u64..480, b in 0u64..480) {
            let bits = bytes.len() as u64 * 8;
            let (first, last) = ((a % bits).min(b % bits), (a % bits).max(b % bits));
            let ones = (first..=last).filter(|position| bit(&bytes, *position)).count() as u64;
            prop_assert_eq!(count(&bytes, first, last), ones);
            for wanted in [false, true] {
                let position = (first..=last).find(|position| bit(&bytes, *position) == wanted);
                prop_assert_eq!(find(&bytes, first, last, wanted), position);
            }
        }

        #[test]
        fn fields_as_bit_by_bit(mut bytes in bytes(), offset in 0u64..600, width in 1u32..=64, value: u64) {
            let expected =
                (0..u64::from(width)).fold(0u64, |field, index| field << 1 | u64::from(bit(&bytes, offset + index)));
            prop_assert_eq!(field(&bytes, offset, width), expected);
            let end = offset + u64::from(width);
            if end <= bytes.len() as u64 * 8 {
                let before = bytes.clone();
                set_field(&mut bytes, offset, width, value);
                prop_assert_eq!(field(&bytes, offset, width), value & (u64::MAX >> (64 - width)));
                let outside = (0..offset).chain(end..bytes.len() as u64 * 8);
                for position in outside {
                    prop_assert_eq!(bit(&bytes, position), bit(&before, position));
                }
            }
        }
    }
}
