//! A long string: a counted tree of chunks of bytes, so that a write costs what it writes, however long the string and
//! whoever holds a view of it.
//!
//! * All leaves but the last are full. (So no write moves what it does not change.)
//! * Zeros between the old end and a far offset are one chunk, shared as often as it is needed.

use super::chunk::{self, Chunk, Format};
use super::tree::{Leaf, Tree};
use crate::values::page::size_class;

/// The block of a full leaf, in bytes.
const LEAF_BYTES_MAX: usize = 4096;

const LENGTH_BYTES: usize = 4;

/// Bytes of the string in a full leaf.
pub const CHUNK_BYTES: usize = LEAF_BYTES_MAX - chunk::HEADER_BYTES - LENGTH_BYTES;

/// More zero leaves than this are added by building the branches anew.
const ZERO_LEAVES_MAX: usize = 64;

/// Plain bytes.
pub(super) struct Bytes;

impl Format for Bytes {}

/// `┌ length: u32 ┬ bytes ┬ room ┐`
#[derive(Clone)]
pub(super) struct RopeLeaf(Chunk<Bytes>);

impl RopeLeaf {
    fn new(bytes: &[u8]) -> Self {
        let block_bytes = size_class(chunk::HEADER_BYTES + LENGTH_BYTES + bytes.len());
        let mut chunk = Chunk::with_ends(block_bytes, &(bytes.len() as u32).to_le_bytes(), &[]);
        chunk.make_mut()[LENGTH_BYTES..LENGTH_BYTES + bytes.len()].copy_from_slice(bytes);
        Self(chunk)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        let bytes = self.0.bytes();
        let length = u32::from_le_bytes(*bytes.first_chunk().expect("a leaf is whole")) as usize;
        &bytes[LENGTH_BYTES..LENGTH_BYTES + length]
    }

    /// Writes as many of the bytes as belong here, from an offset that is not behind the end; how many.
    fn write(&mut self, offset: usize, bytes: &[u8], heap_bytes: &mut usize) -> usize {
        let length = self.bytes().len();
        let written = bytes.len().min(CHUNK_BYTES - offset);
        let end = (offset + written).max(length);
        if LENGTH_BYTES + end > self.0.bytes().len() {
            let old = self.0.bytes();
            // What grows once will grow again.
            let larger = Chunk::with_ends(LEAF_BYTES_MAX, old, &[]);
            *heap_bytes += LEAF_BYTES_MAX - self.0.heap_bytes();
            self.0 = larger;
        }
        let own = self.0.make_mut();
        own[..LENGTH_BYTES].copy_from_slice(&(end as u32).to_le_bytes());
        own[LENGTH_BYTES + offset..LENGTH_BYTES + offset + written].copy_from_slice(&bytes[..written]);
        written
    }
}

impl Leaf for RopeLeaf {
    type Key = ();

    const HEAD_LINES: usize = 1;

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.address()
    }

    #[inline]
    fn weight(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    fn is_small(&self) -> bool {
        false
    }

    fn absorb(&mut self, _right: &Self, _bytes: &mut usize) -> bool {
        false
    }
}

/// A long string; cloning it gives a frozen view and copies nothing.
#[derive(Clone, Default)]
pub struct Rope(Tree<RopeLeaf>);

impl Rope {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rope of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Tree::from_leaves(bytes.chunks(CHUNK_BYTES).map(|piece| ((), RopeLeaf::new(piece)))))
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap; each place of a chunk that is shared counts.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The byte at an offset.
    pub fn byte(&self, offset: u64) -> Option<u8> {
        let mut rest = offset;
        let leaf = self.0.leaf(|branch| branch.child_of_rank(&mut rest))?;
        leaf.bytes().get(rest as usize).copied()
    }

    /// The bytes of a range, in pieces; as much of the range as there is.
    pub fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = &[u8]> {
        let mut rest = start;
        let mut walk = self.0.walk(|branch| branch.child_of_rank(&mut rest));
        let mut next = walk.leaf();
        let mut left = end.min(self.len()).saturating_sub(start);
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let bytes = next?.bytes();
            next = walk.next();
            let piece = &bytes[rest as usize..];
            let piece = &piece[..(left as usize).min(piece.len())];
            rest = 0;
            left -= piece.len() as u64;
            Some(piece)
        })
    }

    /// The whole in one run of bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() as usize);
        self.pieces(0, self.len()).for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.write_at(self.len(), bytes);
    }

    /// Writes bytes at an offset; what lies between the old end and the offset becomes zero.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        if offset > self.len() {
            self.add_zeros(offset - self.len());
        }
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let mut rest = offset;
            let Some((path, _)) = self.0.locate(|branch| branch.child_of_rank(&mut rest)) else {
                let (first, others) = bytes.split_at(bytes.len().min(CHUNK_BYTES));
                self.0.plant(RopeLeaf::new(first));
                offset += first.len() as u64;
                bytes = others;
                continue;
            };
            let written = self.0.edit(&path, |leaf, heap_bytes| {
                if rest as usize == CHUNK_BYTES {
                    // Behind the last leaf, which is full.
                    let new = RopeLeaf::new(&bytes[..bytes.len().min(CHUNK_BYTES)]);
                    *heap_bytes += new.heap_bytes();
                    return (new.bytes().len(), Some(((), new)));
                }
                (leaf.write(rest as usize, bytes, heap_bytes), None)
            });
            offset += written as u64;
            bytes = &bytes[written..];
        }
    }
}

impl Rope {
    fn add_zeros(&mut self, count: u64) {
        static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
        let last_bytes = (self.len() % CHUNK_BYTES as u64) as usize;
        let mut left = count;
        if last_bytes > 0 {
            let filled = left.min((CHUNK_BYTES - last_bytes) as u64);
            self.append(&ZEROS[..filled as usize]);
            left -= filled;
        }
        let full = (left / CHUNK_BYTES as u64) as usize;
        if full > ZERO_LEAVES_MAX {
            let mut walk = self.0.walk(|_| 0);
            let old = std::iter::successors(walk.leaf(), move |_| walk.next()).cloned();
            let zeros = std::iter::repeat_n(RopeLeaf::new(&ZEROS), full);
            self.0 = Tree::from_leaves(old.chain(zeros).map(|leaf| ((), leaf)));
        } else {
            (0..full).for_each(|_| self.append(&ZEROS));
        }
        self.append(&ZEROS[..(left % CHUNK_BYTES as u64) as usize]);
    }

    /// Frees about `budget` blocks; whether something is left. After the first call there is nothing else to be done with
    /// the rope.
    pub fn drop_slice(&mut self, budget: usize) -> bool {
        self.0.drop_slice(budget)
    }
}

#[cfg(test)]
impl Rope {
    /// Counts everything anew.
    pub(super) fn audit(&self) {
        let mut left = self.len();
        self.0.audit(|_, leaf| {
            let length = leaf.bytes().len();
            assert_eq!(length as u64, left.min(CHUNK_BYTES as u64));
            left -= length as u64;
        });
    }
}
