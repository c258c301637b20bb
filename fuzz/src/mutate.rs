//! Changes to bytes: some blind, some that know how lengths are written.

/// Longer inputs only take longer.
pub const BYTES_MAX: usize = 64 << 10;

/// Lengths and numbers as files have them, from the harmless to those that lie.
const LENGTHS: &[&[u8]] = &[
    &[0],
    &[1],
    &[0x3f],
    &[0x40, 0x40],
    &[0x7f, 0xff],
    &[0x80, 0, 0, 0, 0],
    &[0x80, 0, 1, 0, 0],
    &[0x80, 0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0, 0, 0, 1, 0, 0, 0, 0],
    &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xc0, 0x80],
    &[0xc1, 0, 0x80],
    &[0xc2, 0, 0, 0, 0x80],
    &[0xc3, 4, 0x40, 0xff, 0, b'a', 0x20, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
];

/// Changes the bytes in one to six places.
pub fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut fastrand::Rng) {
    for _ in 0..=random.usize(..6) {
        change(bytes, others, random);
        bytes.truncate(BYTES_MAX);
    }
}

/// A place, more often near the front, where lengths and counts are.
fn place(length: usize, random: &mut fastrand::Rng) -> usize {
    let most = if random.bool() { length.min(48) } else { length };
    random.usize(..=most)
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = place(bytes.len(), random);
    match random.u8(..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add_signed(random.i8(-2..=2)),
        3 => {
            let length = LENGTHS[random.usize(..LENGTHS.len())];
            let end = if random.bool() { at } else { (at + length.len()).min(bytes.len()) };
            bytes.splice(at..end, length.iter().copied());
        }
        4 => {
            let end = (at + random.usize(..16)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + random.usize(..64)).min(bytes.len());
            let run: Vec<u8> = bytes[at..end].to_vec();
            let to = place(bytes.len(), random);
            bytes.splice(to..to, run);
        }
        6 => {
            if let Some(other) = random.choice(others) {
                let from = place(other.len(), random);
                let end = (from + random.usize(..128)).min(other.len());
                let replaced = if random.bool() { at } else { (at + end - from).min(bytes.len()) };
                bytes.splice(at..replaced, other[from..end].iter().copied());
            }
        }
        7 if random.u8(..4) == 0 => bytes.truncate(at),
        _ => {
            let run: Vec<u8> = (0..random.usize(..8)).map(|_| random.u8(..)).collect();
            bytes.splice(at..at, run);
        }
    }
}
