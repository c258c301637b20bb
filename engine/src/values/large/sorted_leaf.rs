//! A leaf of a [`SortedTree`](super::SortedTree): some dozens of members in the order of score, then member.
//!
//! ```text
//!   ┌ count: 2 ┬ entry bytes: 2 ┬ references: 2 ┬ 2 ┬ scores: 8 each ┬ distances: 2 each ┬ room ┬ member ┬ member ┐
//!   └──────────┴────────────────┴───────────────┴───┴────────────────┴───────────────────┴──────┴────────┴────────┘
//!                                                     grow ─────────────────────────────>   <────────────── grow
//!
//!   member   ┌ length: 1 ┬ text ┐   or   ┌ 0xff ┬ reference: 8 ┐
//!            └───────────┴──────┘        └──────┴──────────────┘
//! ```
//!
//! * Scores and distances are in order; the members' bytes lie in any order. A search reads the scores, which are beside
//!   each other, and a member only where scores are equal.
//! * Scores are compared as numbers: minus zero equals zero, and stays what it is. None is NaN.

#![allow(clippy::float_cmp)] // scores are equal if they are the same number, as in the real server

use super::chunk::{self, Chunk, Format};
use super::garbage;
use super::hash_leaf::{INLINE_BYTES_MAX, LEAF_BYTES_MAX, uncounted};
use super::reference::{self, REFERENCE_BYTES};
use super::tree::{Leaf, Split};
use crate::values::StringRef;
use crate::values::page::size_class;
use std::cmp::Ordering;

/// A leaf with less in it is joined with a neighbour, in bytes.
const USED_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;

/// Two leaves are joined if the result is not longer, in bytes.
const JOINED_BYTES_MAX: usize = LEAF_BYTES_MAX * 3 / 4;

const HEAD_BYTES: usize = 8;
const SCORE_BYTES: usize = 8;
const DISTANCE_BYTES: usize = 2;

const COUNT_AT: usize = 0;
const ENTRY_BYTES_AT: usize = 2;
const REFERENCES_AT: usize = 4;

/// Instead of a length: a reference follows.
const REFERENCE: u8 = 0xff;

/// A member and its score.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Never NaN.
    pub score: f64,
    /// The member.
    pub member: StringRef<'a>,
}

/// Where a leaf begins: a score, and the first bytes of a member as a number that sorts like them. Elements that are
/// equal in both are told apart by a look at the leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SortKey {
    pub(super) score: f64,
    pub(super) prefix: u64,
}

impl SortKey {
    pub(super) fn new(score: f64, member: &[u8]) -> Self {
        let mut prefix = [0; 8];
        let length = member.len().min(8);
        prefix[..length].copy_from_slice(&member[..length]);
        Self { score, prefix: u64::from_be_bytes(prefix) }
    }

    /// Whether it is before another one.
    #[inline]
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.score < other.score || self.score == other.score && self.prefix < other.prefix
    }
}

/// The bytes of a member.
#[inline]
pub(super) fn member_bytes<'a>(member: &'a StringRef<'_>) -> &'a [u8] {
    match member {
        StringRef::Bytes(bytes) => bytes,
        StringRef::Shared(blob) => blob.as_slice(),
        StringRef::Integer(_) => unreachable!("members are kept as texts"),
    }
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("a leaf is whole")) as usize
}

#[inline]
fn set_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// Bytes that a member takes among the entries.
pub(super) fn packed_len(member: &[u8]) -> usize {
    1 + if member.len() > INLINE_BYTES_MAX { REFERENCE_BYTES } else { member.len() }
}

#[inline]
fn entry_len(entry: &[u8]) -> usize {
    1 + if entry[0] == REFERENCE { REFERENCE_BYTES } else { entry[0] as usize }
}

#[inline]
fn distance_at(bytes: &[u8], index: usize) -> usize {
    HEAD_BYTES + u16_at(bytes, COUNT_AT) * SCORE_BYTES + index * DISTANCE_BYTES
}

/// The bytes from an entry's first one on.
#[inline]
fn entry_bytes(bytes: &[u8], index: usize) -> &[u8] {
    &bytes[bytes.len() - u16_at(bytes, distance_at(bytes, index))..]
}

/// The format of the chunks: which of the bytes are references.
pub(super) struct Members;

impl Members {
    fn references(bytes: &[u8], mut visit: impl FnMut(&[u8])) {
        if u16_at(bytes, REFERENCES_AT) > 0 {
            let entries = (0..u16_at(bytes, COUNT_AT)).map(|index| entry_bytes(bytes, index));
            entries.filter(|entry| entry[0] == REFERENCE).for_each(|entry| visit(&entry[1..]));
        }
    }
}

impl Format for Members {
    fn retain(bytes: &[u8]) {
        // SAFETY: the bytes are a copy of a leaf's, so what is marked as a reference is one.
        Self::references(bytes, |reference| unsafe { reference::retain(reference) });
    }

    fn release(bytes: &mut [u8]) {
        // SAFETY: the bytes are a leaf's, and nobody reads them any more.
        Self::references(bytes, |reference| drop(unsafe { reference::take(reference) }));
    }
}

/// The leaf itself.
#[derive(Clone)]
pub(super) struct SortedLeaf(Chunk<Members>);

impl SortedLeaf {
    /// A leaf with one member.
    pub(super) fn of(scored: &Scored<'_>) -> (Self, usize) {
        let used = HEAD_BYTES + SCORE_BYTES + DISTANCE_BYTES + packed_len(member_bytes(&scored.member));
        let mut leaf = Self(Chunk::with_ends(block_bytes(used), &[0; HEAD_BYTES], &[]));
        let mut bytes = leaf.0.heap_bytes();
        leaf.insert(0, scored, &mut bytes);
        (leaf, bytes)
    }

    /// An empty leaf with room for all that a leaf takes, to be filled and then [fitted](Self::fit).
    pub(super) fn roomy() -> Self {
        Self(Chunk::with_ends(LEAF_BYTES_MAX, &[0; HEAD_BYTES], &[]))
    }

    /// Adds a member behind the others, if it does not make too large a leaf; whether it has.
    pub(super) fn append(&mut self, scored: &Scored<'_>) -> bool {
        let fits = !self.is_full_for(packed_len(member_bytes(&scored.member)));
        if fits {
            self.insert(self.len(), scored, &mut uncounted());
        }
        fits
    }

    /// Takes the block that it needs.
    pub(super) fn fit(&mut self) {
        if block_bytes(self.used()) < self.0.heap_bytes() {
            self.move_to_block(block_bytes(self.used()), &mut uncounted());
        }
    }

    /// Number of members.
    #[inline]
    pub(super) fn len(&self) -> usize {
        u16_at(self.0.bytes(), COUNT_AT)
    }

    /// Bytes in use.
    #[inline]
    fn used(&self) -> usize {
        let bytes = self.0.bytes();
        HEAD_BYTES + u16_at(bytes, COUNT_AT) * (SCORE_BYTES + DISTANCE_BYTES) + u16_at(bytes, ENTRY_BYTES_AT)
    }

    /// The scores, in order.
    #[inline]
    fn scores(&self) -> &[[u8; SCORE_BYTES]] {
        let bytes = self.0.bytes();
        let (scores, _) = bytes[HEAD_BYTES..].as_chunks();
        &scores[..u16_at(bytes, COUNT_AT)]
    }

    /// The score of a member by its number.
    #[inline]
    pub(super) fn score(&self, index: usize) -> f64 {
        f64::from_le_bytes(self.scores()[index])
    }

    /// A member by its number.
    #[inline]
    pub(super) fn member(&self, index: usize) -> StringRef<'_> {
        assert!(index < self.len());
        let entry = entry_bytes(self.0.bytes(), index);
        if entry[0] == REFERENCE {
            // SAFETY: the leaf holds its references.
            StringRef::Shared(unsafe { reference::read(&entry[1..]) })
        } else {
            StringRef::Bytes(&entry[1..=entry[0] as usize])
        }
    }

    /// A member and its score by number.
    #[inline]
    pub(super) fn scored(&self, index: usize) -> Scored<'_> {
        Scored { score: self.score(index), member: self.member(index) }
    }

    /// How many scores are below this one, or not above it.
    #[inline]
    pub(super) fn count_below(&self, score: f64, or_equal: bool) -> usize {
        self.scores().partition_point(|bytes| {
            let other = f64::from_le_bytes(*bytes);
            other < score || or_equal && other == score
        })
    }

    /// How this leaf's first element compares with that one.
    pub(super) fn first_cmp(&self, score: f64, member: &[u8]) -> Ordering {
        let first = self.scored(0);
        first.score.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| member_bytes(&first.member).cmp(member))
    }

    /// The number of a member, or the one that it would have.
    #[inline]
    pub(super) fn search(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (self.count_below(score, false), self.len());
        if low < high && self.score(low) != score {
            return Err(low);
        }
        if low + 1 < high && self.score(low + 1) != score {
            high = low + 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.score(middle) > score {
                high = middle;
                continue;
            }
            match member_bytes(&self.member(middle)).cmp(member) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Puts a member in front of the one with that number.
    pub(super) fn insert(&mut self, index: usize, scored: &Scored<'_>, bytes: &mut usize) {
        let member = member_bytes(&scored.member);
        let length = packed_len(member);
        self.reserve(SCORE_BYTES + DISTANCE_BYTES + length, bytes);
        let data = self.0.make_mut();
        let (count, entry_bytes) = (u16_at(data, COUNT_AT), u16_at(data, ENTRY_BYTES_AT) + length);
        let (scores, distances) = (HEAD_BYTES, HEAD_BYTES + count * SCORE_BYTES);
        let (score_at, distance_at) = (scores + index * SCORE_BYTES, distances + index * DISTANCE_BYTES);
        let end = distances + count * DISTANCE_BYTES;
        data.copy_within(distance_at..end, distance_at + SCORE_BYTES + DISTANCE_BYTES);
        data.copy_within(score_at..distance_at, score_at + SCORE_BYTES);
        data[score_at..score_at + SCORE_BYTES].copy_from_slice(&scored.score.to_le_bytes());
        set_u16(data, distance_at + SCORE_BYTES, entry_bytes);
        let start = data.len() - entry_bytes;
        let entry = &mut data[start..start + length];
        if member.len() > INLINE_BYTES_MAX {
            entry[0] = REFERENCE;
            *bytes += reference::write_text(scored.member, &mut entry[1..]);
            set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) + 1);
        } else {
            entry[0] = member.len() as u8;
            entry[1..].copy_from_slice(member);
        }
        set_u16(data, COUNT_AT, count + 1);
        set_u16(data, ENTRY_BYTES_AT, entry_bytes);
    }

    /// Removes a member by its number.
    pub(super) fn remove(&mut self, index: usize, bytes: &mut usize) {
        let data = self.0.make_mut();
        let entry = entry_bytes(data, index);
        let length = entry_len(entry);
        if entry[0] == REFERENCE {
            // SAFETY: the leaf is ours alone, and the entry is closed up below.
            let blob = unsafe { reference::take(&entry[1..]) };
            *bytes -= blob.heap_bytes();
            set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) - 1);
        }
        let (count, entry_bytes) = (u16_at(data, COUNT_AT), u16_at(data, ENTRY_BYTES_AT));
        let distances = HEAD_BYTES + count * SCORE_BYTES;
        let end = distances + count * DISTANCE_BYTES;
        let removed = u16_at(data, distances + index * DISTANCE_BYTES);
        let low = data.len() - entry_bytes;
        data.copy_within(low..data.len() - removed, low + length);
        for place in data[distances..end].chunks_exact_mut(DISTANCE_BYTES) {
            let old = u16::from_le_bytes([place[0], place[1]]);
            let change = if old as usize > removed { length as u16 } else { 0 };
            place.copy_from_slice(&(old - change).to_le_bytes());
        }
        let (score_at, distance_at) = (HEAD_BYTES + index * SCORE_BYTES, distances + index * DISTANCE_BYTES);
        data.copy_within(score_at + SCORE_BYTES..distance_at, score_at);
        data.copy_within(distance_at + DISTANCE_BYTES..end, distance_at - SCORE_BYTES);
        set_u16(data, COUNT_AT, count - 1);
        set_u16(data, ENTRY_BYTES_AT, entry_bytes - length);
        self.shrink(bytes);
    }

    /// Gives a member another score that leaves it where it is.
    pub(super) fn set_score(&mut self, index: usize, score: f64) {
        let at = HEAD_BYTES + index * SCORE_BYTES;
        self.0.make_mut()[at..at + SCORE_BYTES].copy_from_slice(&score.to_le_bytes());
    }

    fn reserve(&mut self, more: usize, bytes: &mut usize) {
        let needed = self.used() + more;
        if needed + chunk::HEADER_BYTES > self.0.heap_bytes() {
            self.move_to_block(block_bytes(needed), bytes);
        }
    }

    /// Takes a smaller block if this one is too large by far, but not for the next members.
    fn shrink(&mut self, bytes: &mut usize) {
        let block = block_bytes(self.used() + self.used() / 8);
        if block < self.0.heap_bytes() && self.len() > 0 {
            self.move_to_block(block, bytes);
        }
    }

    fn move_to_block(&mut self, block_bytes: usize, bytes: &mut usize) {
        let data = self.0.bytes();
        let entry_bytes = u16_at(data, ENTRY_BYTES_AT);
        let chunk =
            Chunk::with_ends(block_bytes, &data[..self.used() - entry_bytes], &data[data.len() - entry_bytes..]);
        *bytes += block_bytes;
        *bytes -= self.0.heap_bytes();
        std::mem::replace(&mut self.0, chunk).succeeded_by(&[&self.0]);
    }

    /// Whether a member of that packed length makes too large a leaf.
    #[inline]
    pub(super) fn is_full_for(&self, packed_len: usize) -> bool {
        self.used() + SCORE_BYTES + DISTANCE_BYTES + packed_len + chunk::HEADER_BYTES > LEAF_BYTES_MAX
    }

    /// Inserts into a full leaf. In the middle it is split into halves; at an end the new member gets a leaf of its own, so
    /// that what comes in order leaves full leaves behind.
    pub(super) fn insert_split(&mut self, index: usize, scored: &Scored<'_>, bytes: &mut usize) -> Split<Self> {
        let count = self.len();
        if index == 0 || index == count {
            let (mut right, right_bytes) = Self::of(scored);
            *bytes += right_bytes;
            if index == 0 {
                std::mem::swap(self, &mut right);
            }
            return Some((right.key(), right));
        }
        let data = self.0.bytes();
        let lengths = (0..count).map(|index| entry_len(entry_bytes(data, index)) + SCORE_BYTES + DISTANCE_BYTES);
        let half = (self.used() - HEAD_BYTES) / 2;
        let mut left_bytes = 0;
        let middle = lengths.take_while(|length| {
            left_bytes += length;
            left_bytes <= half
        });
        let middle = middle.count().clamp(1, count - 1);
        let (left, mut right) = (self.part(0..middle), Self(self.part(middle..count)));
        *bytes += left.heap_bytes() + right.0.heap_bytes();
        *bytes -= self.0.heap_bytes();
        std::mem::replace(&mut self.0, left).succeeded_by(&[&self.0, &right.0]);
        if index <= middle {
            self.insert(index, scored, bytes);
        } else {
            right.insert(index - middle, scored, bytes);
        }
        Some((right.key(), right))
    }

    pub(super) fn key(&self) -> SortKey {
        let first = self.scored(0);
        SortKey::new(first.score, member_bytes(&first.member))
    }

    /// A chunk with some of the members.
    fn part(&self, range: std::ops::Range<usize>) -> Chunk<Members> {
        let data = self.0.bytes();
        let entries = range.clone().map(|index| {
            let entry = entry_bytes(data, index);
            &entry[..entry_len(entry)]
        });
        let entry_bytes: usize = entries.clone().map(<[u8]>::len).sum();
        let used = HEAD_BYTES + range.len() * (SCORE_BYTES + DISTANCE_BYTES) + entry_bytes;
        let mut head = [0; HEAD_BYTES];
        set_u16(&mut head, COUNT_AT, range.len());
        set_u16(&mut head, ENTRY_BYTES_AT, entry_bytes);
        let mut chunk = Chunk::with_ends(block_bytes(used), &head, &[]);
        let part = chunk.make_mut();
        let scores = HEAD_BYTES + range.start * SCORE_BYTES..HEAD_BYTES + range.end * SCORE_BYTES;
        part[HEAD_BYTES..HEAD_BYTES + scores.len()].copy_from_slice(&data[scores.clone()]);
        let (mut end, mut references) = (part.len(), 0);
        for (index, entry) in entries.enumerate() {
            part[end - entry.len()..end].copy_from_slice(entry);
            end -= entry.len();
            references += usize::from(entry[0] == REFERENCE);
            let distance = part.len() - end;
            set_u16(part, HEAD_BYTES + scores.len() + index * DISTANCE_BYTES, distance);
        }
        set_u16(part, REFERENCES_AT, references);
        chunk
    }
}

/// The block for so many bytes in use.
fn block_bytes(used: usize) -> usize {
    size_class(chunk::HEADER_BYTES + used)
}

impl Leaf for SortedLeaf {
    type Key = SortKey;

    const HEAD_LINES: usize = 5;

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.address()
    }

    #[inline]
    fn weight(&self) -> u64 {
        self.len() as u64
    }

    fn heap_bytes(&self) -> usize {
        let mut bytes = self.0.heap_bytes();
        Members::references(self.0.bytes(), |reference| {
            // SAFETY: the leaf holds its references.
            bytes += unsafe { reference::read(reference) }.heap_bytes();
        });
        bytes
    }

    #[inline]
    fn is_small(&self) -> bool {
        self.used() < USED_BYTES_MIN
    }

    fn absorb(&mut self, right: &Self, bytes: &mut usize) -> bool {
        if self.used() + right.used() - HEAD_BYTES > JOINED_BYTES_MAX {
            return false;
        }
        self.reserve(right.used() - HEAD_BYTES, bytes);
        for index in 0..right.len() {
            self.insert(self.len(), &right.scored(index), bytes);
        }
        *bytes -= right.heap_bytes();
        true
    }

    fn units_to_free(&self) -> usize {
        garbage::units(self.heap_bytes()) + u16_at(self.0.bytes(), REFERENCES_AT)
    }
}

#[cfg(test)]
impl SortedLeaf {
    /// Checks that the members fill their bytes.
    pub(super) fn audit(&self) {
        let bytes = self.0.bytes();
        let lengths: usize = (0..self.len()).map(|index| entry_len(entry_bytes(bytes, index))).sum();
        assert_eq!(lengths, u16_at(bytes, ENTRY_BYTES_AT));
        assert!(self.used() <= bytes.len());
        let mut references = 0;
        Members::references(bytes, |_| references += 1);
        assert_eq!(references, u16_at(bytes, REFERENCES_AT));
    }
}
