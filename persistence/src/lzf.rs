//! LZF, the compression of texts in RDB files: literals, and references to what came before.
//!
//! ```text
//!   000LLLLL  literal ...              L + 1 bytes as they are
//!   LLLDDDDD  dddddddd                 L + 2 bytes from D * 256 + d + 1 back                  L = 1 .. 6
//!   111DDDDD  llllllll  dddddddd       l + 9 bytes from there
//! ```

/// The longest text that a compressed one of so many bytes may stand for: a reference of three bytes gives 264.
pub fn length_max(packed_bytes: usize) -> usize {
    packed_bytes.saturating_mul(264 / 3).saturating_add(264)
}

/// The text of just so many bytes; none if the input is none.
pub fn decompress(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > length_max(packed.len()) {
        return None;
    }
    let mut text = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((&control, behind)) = rest.split_first() {
        let count = usize::from(control >> 5);
        if count == 0 {
            let (literal, behind) = behind.split_at_checked(usize::from(control) + 1)?;
            text.extend_from_slice(literal);
            rest = behind;
        } else {
            let (more, behind) = if count == 7 { behind.split_first()? } else { (&0, behind) };
            let (&low, behind) = behind.split_first()?;
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
            let from = text.len().checked_sub(distance)?;
            let count = count + usize::from(*more) + 2;
            // It may repeat what it has just written: then what can be copied at once doubles.
            let end = text.len() + count;
            while text.len() < end {
                let run = (end - text.len()).min(text.len() - from);
                text.extend_from_within(from..from + run);
            }
            rest = behind;
        }
        if text.len() > length {
            return None;
        }
    }
    (text.len() == length).then_some(text)
}

const HASH_BITS: u32 = 14;
const DISTANCE_MAX: usize = 1 << 13;
const REFERENCE_BYTES_MAX: usize = 264;
const LITERAL_BYTES_MAX: usize = 32;

/// After so many bytes, as a power of two, without a reference the search takes a larger step.
const STEP_SHIFT: u32 = 6;

/// Compresses texts; keeps its table from one to the next, as clearing it would take longer than a short text does.
pub struct Compressor {
    /// Where three bytes of that hash stood last. Places are counted through all texts, so that those of earlier ones are
    /// known by being less than `base`.
    seen: Box<[u32]>,
    /// The place of the text's first byte.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { seen: vec![0; 1 << HASH_BITS].into(), base: 1 }
    }
}

fn hash(text: &[u8], at: usize) -> usize {
    let three = u32::from_le_bytes([text[at], text[at + 1], text[at + 2], 0]);
    (three.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

impl Compressor {
    /// Appends the text to `out`, compressed, if that makes it shorter by some bytes; else leaves `out` as it is.
    pub fn compress(&mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        // As others do: a saving of less than four bytes is none.
        let (start, Some(bytes_max)) = (out.len(), text.len().checked_sub(4)) else { return false };
        let Ok(length) = u32::try_from(text.len()) else { return false };
        let base = match self.base.checked_add(length) {
            Some(next) => std::mem::replace(&mut self.base, next),
            None => {
                self.seen.fill(0);
                self.base = length.saturating_add(1);
                1
            }
        };
        let (mut at, mut literal) = (0, 0);
        while at + 2 < text.len() {
            let slot = &mut self.seen[hash(text, at)];
            let before = std::mem::replace(slot, base.saturating_add(at as u32)).checked_sub(base);
            let before = before.map(|before| before as usize).filter(|before| at - before <= DISTANCE_MAX);
            let length = before.map_or(0, |before| common(text, before, at));
            let Some(before) = before.filter(|_| length >= 3) else {
                // The longer nothing was found, the larger the steps: what does not repeat is gone through quickly.
                at += 1 + ((at - literal) >> STEP_SHIFT);
                continue;
            };
            put_literals(&text[literal..at], out);
            let (distance, count) = (at - before - 1, length - 2);
            if count < 7 {
                out.push((count << 5) as u8 | (distance >> 8) as u8);
            } else {
                out.extend_from_slice(&[7 << 5 | (distance >> 8) as u8, (count - 7) as u8]);
            }
            out.push(distance as u8);
            at += length;
            literal = at;
            if out.len() - start > bytes_max {
                break;
            }
        }
        put_literals(&text[literal..], out);
        let is_shorter = out.len() - start <= bytes_max;
        if !is_shorter {
            out.truncate(start);
        }
        is_shorter
    }
}

/// How many bytes are the same from two places on, as far as a reference reaches.
fn common(text: &[u8], before: usize, at: usize) -> usize {
    let longest = REFERENCE_BYTES_MAX.min(text.len() - at);
    let (one, other) = (&text[before..before + longest], &text[at..at + longest]);
    let (ones, _) = one.as_chunks::<8>();
    let (others, _) = other.as_chunks::<8>();
    for (number, (one, other)) in ones.iter().zip(others).enumerate() {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return number * 8 + difference.trailing_zeros() as usize / 8;
        }
    }
    let same = ones.len() * 8;
    same + one[same..].iter().zip(&other[same..]).take_while(|(one, other)| one == other).count()
}

fn put_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERAL_BYTES_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        Compressor::default().compress(text, &mut out).then(|| out.split_off(6))
    }

    #[test]
    fn runs_and_references() {
        assert_eq!(decompress(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        assert_eq!(decompress(&[0, b'a', 0x20, 0], 4).unwrap(), b"aaaa");
        assert_eq!(decompress(&[0, b'a', 0xe0, 1, 0], 11).unwrap(), b"aaaaaaaaaaa");
    }

    #[test]
    fn broken_bytes_are_refused() {
        for packed in [&[5, b'a'][..], &[0x20, 0], &[0, b'a', 0x20, 9], &[0, b'a', 0xe0], &[0, b'a']] {
            assert_eq!(decompress(packed, 4), None, "{packed:?}");
        }
        assert_eq!(decompress(&[0, b'a'], usize::MAX), None, "nothing is allocated for a length that cannot be");
    }

    #[test]
    fn what_does_not_get_shorter_is_left() {
        assert_eq!(compressed(b"abcdefghijklmnopqrstuvwxyz"), None);
        assert_eq!(compressed(b""), None);
        let long = vec![b'x'; 100_000];
        let packed = compressed(&long).expect("it repeats");
        assert!(packed.len() < 1_300, "{}", packed.len());
        assert_eq!(decompress(&packed, long.len()).unwrap(), long);
    }

    proptest! {
        #[test]
        fn texts_come_back(pieces in prop::collection::vec((0usize..6, 1usize..400), 0..40)) {
            let words: [&[u8]; 6] = [b"user:", b"0123456789", b"\x00\x00\x00", b"abcabcabd", b"z", b"\xff\xfe\xfd"];
            let text: Vec<u8> =
                pieces.iter().flat_map(|(word, count)| words[*word].iter().cycle().take(*count).copied()).collect();
            if let Some(packed) = compressed(&text) {
                prop_assert!(packed.len() + 4 <= text.len());
                prop_assert_eq!(decompress(&packed, text.len()), Some(text));
            }
        }

        #[test]
        fn any_input_is_borne(packed: Vec<u8>, length in 0usize..5_000) {
            if let Some(text) = decompress(&packed, length) {
                prop_assert_eq!(text.len(), length);
            }
        }
    }
}
