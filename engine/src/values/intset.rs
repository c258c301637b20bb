//! The integer set: distinct numbers in ascending order, all of one width, the packed format of small sets of integers.
//!
//! ```text
//!   ┌ width: u32 ┬ count: u32 ┬ number ┬ number ┬ ... ┐     little endian; a number takes 2, 4 or 8 bytes: the width
//!   └────────────┴────────────┴────────┴────────┴─────┘
//! ```
//!
//! The format is that of the real server's files. A number too wide for the others widens them all; they stay so when it
//! goes. As with the listpack, well-formed bytes are trusted, and changes go through [`Packed`].

use super::listpack::Packed;

/// Bytes in front of the first number.
const HEADER_BYTES: usize = 8;

/// A set without members.
pub const EMPTY: [u8; HEADER_BYTES] = [2, 0, 0, 0, 0, 0, 0, 0];

/// An integer set to read.
#[derive(Clone, Copy, Debug)]
pub struct IntegerSet<'a>(&'a [u8]);

/// The narrowest width for a number.
fn width_of(value: i64) -> usize {
    match value {
        _ if i16::try_from(value).is_ok() => 2,
        _ if i32::try_from(value).is_ok() => 4,
        _ => 8,
    }
}

impl<'a> IntegerSet<'a> {
    /// Bytes that are a well-formed integer set.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Foreign bytes, if they are a well-formed integer set: ascending, none twice.
    pub fn validate(bytes: &'a [u8]) -> Option<Self> {
        let set = Self(bytes);
        let fits = bytes.len() >= HEADER_BYTES
            && matches!(set.width(), 2 | 4 | 8)
            && set.len().checked_mul(set.width()) == Some(bytes.len() - HEADER_BYTES);
        (fits && set.iter().is_sorted_by(|a, b| a < b)).then_some(set)
    }

    #[inline]
    fn width(self) -> usize {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]) as usize
    }

    /// Number of members.
    #[inline]
    pub fn len(self) -> usize {
        u32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The member of that rank.
    #[inline]
    pub fn get(self, index: usize) -> i64 {
        let bytes = &self.0[HEADER_BYTES..];
        match self.width() {
            2 => i64::from(i16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]])),
            4 => i64::from(i32::from_le_bytes(std::array::from_fn(|byte| bytes[4 * index + byte]))),
            _ => i64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * index + byte])),
        }
    }

    /// The rank of a member, or the one it would have.
    #[inline]
    pub fn search(self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Ascending inserts are the usual way to fill a set.
        if high > 0 && value > self.get(high - 1) {
            return Err(high);
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether a number is a member.
    #[inline]
    pub fn contains(self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// The members, ascending.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i64> + DoubleEndedIterator + Clone + use<'a> {
        (0..self.len()).map(move |index| self.get(index))
    }
}

#[inline]
fn place(index: usize, width: usize) -> usize {
    HEADER_BYTES + index * width
}

fn set_len(packed: &mut impl Packed, length: usize) {
    packed.bytes_mut()[4..8].copy_from_slice(&(length as u32).to_le_bytes());
}

/// Adds a member; false if it is there.
pub fn insert(packed: &mut impl Packed, value: i64) -> bool {
    let set = IntegerSet(packed.bytes());
    let (width, length) = (set.width(), set.len());
    let needed = width_of(value);
    if needed > width {
        // Wider than all others, so in front of or behind all of them.
        let at = if value < 0 { 0 } else { length };
        let mut wide = Vec::with_capacity(place(length + 1, needed));
        wide.extend_from_slice(&(needed as u32).to_le_bytes());
        wide.extend_from_slice(&((length + 1) as u32).to_le_bytes());
        for index in 0..=length {
            let member = match index.cmp(&at) {
                std::cmp::Ordering::Less => set.get(index),
                std::cmp::Ordering::Equal => value,
                std::cmp::Ordering::Greater => set.get(index - 1),
            };
            wide.extend_from_slice(&member.to_le_bytes()[..needed]);
        }
        let whole = packed.bytes().len();
        packed.splice(0..whole, &[&wide]);
        return true;
    }
    let Err(at) = set.search(value) else { return false };
    packed.splice(place(at, width)..place(at, width), &[&value.to_le_bytes()[..width]]);
    set_len(packed, length + 1);
    true
}

/// Removes a member; false if it is not there.
pub fn remove(packed: &mut impl Packed, value: i64) -> bool {
    let set = IntegerSet(packed.bytes());
    if !set.contains(value) {
        return false;
    }
    set.search(value).is_ok_and(|index| {
        remove_at(packed, index);
        true
    })
}

/// Removes the member of a rank.
pub fn remove_at(packed: &mut impl Packed, index: usize) {
    let set = IntegerSet(packed.bytes());
    let (width, length) = (set.width(), set.len());
    packed.splice(place(index, width)..place(index + 1, width), &[]);
    set_len(packed, length - 1);
}

/// The integer set of these numbers, which ascend.
pub fn build(members: impl Iterator<Item = i64> + Clone) -> Vec<u8> {
    let width = members.clone().map(width_of).max().unwrap_or(2);
    let mut bytes = (width as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(members.clone().count() as u32).to_le_bytes());
    members.for_each(|member| bytes.extend_from_slice(&member.to_le_bytes()[..width]));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn bytes_are_those_of_the_real_server() {
        let mut bytes = EMPTY.to_vec();
        for value in [5, -1, 300] {
            assert!(insert(&mut bytes, value));
        }
        assert_eq!(bytes, [2, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 5, 0, 0x2c, 1]);
        assert!(insert(&mut bytes, 70_000));
        assert_eq!(bytes[..12], [4, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(remove(&mut bytes, 70_000) && !remove(&mut bytes, 70_000) && !remove(&mut bytes, i64::MAX));
        assert_eq!((bytes[0], bytes.len()), (4, 8 + 3 * 4));
    }

    #[test]
    fn foreign_bytes_are_checked() {
        for bad in [
            &[][..],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0, 1],
            &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0],
            &[2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0],
            &[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(IntegerSet::validate(bad).is_none(), "{bad:?}");
        }
        assert!(IntegerSet::validate(&EMPTY).is_some_and(IntegerSet::is_empty));
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![-20i64..20, -40_000i64..40_000, any::<i32>().prop_map(i64::from), any::<i64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_are_those_of_a_set(operations in proptest::collection::vec((0u8..4, number()), 1..120)) {
            let (mut bytes, mut model) = (EMPTY.to_vec(), BTreeSet::new());
            for (kind, value) in operations {
                if kind == 0 {
                    prop_assert_eq!(remove(&mut bytes, value), model.remove(&value));
                } else {
                    prop_assert_eq!(insert(&mut bytes, value), model.insert(value));
                }
                let set = IntegerSet::validate(&bytes).expect("well formed");
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!(set.contains(value), model.contains(&value));
            }
            let built = build(model.iter().copied());
            prop_assert!(IntegerSet::validate(&built).expect("well formed").iter().eq(model));
        }
    }
}
