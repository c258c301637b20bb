//! Records by stream ID: a counted tree of arrays. Each record is an ID in its binary form and some bytes more, of the
//! same length in all.
//!
//! ```text
//!   leaf   ┌ records: u16 ┬ ID: 16, big endian ┬ RECORD - 16 bytes ┬ ID ... ┬ room ┐
//! ```
//!
//! What consumer groups are made of: pending entries in the order of their IDs, and the IDs that a consumer holds. New IDs
//! are mostly the highest, so a full leaf at the end is left full.

use super::chunk::{self, Chunk, Format};
use super::tree::{Branch, Leaf, Split, Tree, Walk};
use crate::values::page::size_class;
use crate::values::stream::StreamId;

/// The block of a full leaf, in bytes.
const LEAF_BYTES_MAX: usize = 1024;
const COUNT_BYTES: usize = 2;
const HEAD_BYTES: usize = chunk::HEADER_BYTES + COUNT_BYTES;

struct Records;

impl Format for Records {}

#[derive(Clone)]
struct IdLeaf<const RECORD: usize>(Chunk<Records>);

impl<const RECORD: usize> IdLeaf<RECORD> {
    const RECORDS_MAX: usize = (LEAF_BYTES_MAX - HEAD_BYTES) / RECORD;

    /// A leaf of these records.
    fn of(records: &[u8]) -> Self {
        let count = (records.len() / RECORD) as u16;
        let mut chunk = Chunk::with_ends(size_class(HEAD_BYTES + records.len()), &count.to_le_bytes(), &[]);
        chunk.make_mut()[COUNT_BYTES..][..records.len()].copy_from_slice(records);
        Self(chunk)
    }

    #[inline]
    fn len(&self) -> usize {
        u16::from_le_bytes(*self.0.bytes().first_chunk().expect("a leaf is whole")) as usize
    }

    #[inline]
    fn records(&self) -> &[[u8; RECORD]] {
        self.0.bytes()[COUNT_BYTES..].as_chunks().0.split_at(self.len()).0
    }

    #[inline]
    fn record(&self, index: usize) -> Option<&[u8; RECORD]> {
        self.records().get(index)
    }

    /// The place of an ID, or where it would go.
    fn place(&self, id: StreamId) -> Result<usize, usize> {
        self.records().binary_search_by_key(&id, id_of)
    }

    fn replace(&mut self, records: &[u8], bytes: &mut usize) {
        let new = Self::of(records);
        *bytes += new.0.heap_bytes();
        *bytes -= self.0.heap_bytes();
        *self = new;
    }

    /// Puts a record in front of that of an index; there must be room for it.
    fn insert(&mut self, index: usize, record: &[u8; RECORD], bytes: &mut usize) {
        let count = self.len();
        let at = COUNT_BYTES + index * RECORD;
        let end = COUNT_BYTES + count * RECORD;
        let needed = HEAD_BYTES + (count + 1) * RECORD;
        if needed > self.0.heap_bytes() {
            // In leaps, since more are to come.
            let block_bytes = size_class(needed.max((2 * needed).min(LEAF_BYTES_MAX)));
            let chunk = Chunk::with_ends(block_bytes, &self.0.bytes()[..end], &[]);
            *bytes += block_bytes;
            *bytes -= self.0.heap_bytes();
            self.0 = chunk;
        }
        let data = self.0.make_mut();
        data.copy_within(at..end, at + RECORD);
        data[at..at + RECORD].copy_from_slice(record);
        data[..COUNT_BYTES].copy_from_slice(&((count + 1) as u16).to_le_bytes());
    }

    fn remove(&mut self, index: usize) {
        let (count, at) = (self.len(), COUNT_BYTES + index * RECORD);
        let data = self.0.make_mut();
        data.copy_within(at + RECORD..COUNT_BYTES + count * RECORD, at);
        data[..COUNT_BYTES].copy_from_slice(&((count - 1) as u16).to_le_bytes());
    }

    /// Puts a record where it belongs; splits a full leaf.
    fn insert_or_split(&mut self, index: usize, record: &[u8; RECORD], bytes: &mut usize) -> Split<Self> {
        let count = self.len();
        if count < Self::RECORDS_MAX {
            self.insert(index, record, bytes);
            return None;
        }
        if index == count {
            let right = Self::of(record);
            *bytes += right.0.heap_bytes();
            return Some((id_of(record), right));
        }
        let (left, right) = self.records().split_at(count / 2);
        let (left, mut right) = (left.as_flattened().to_vec(), Self::of(right.as_flattened()));
        *bytes += right.0.heap_bytes();
        let key = right.record(0).map(id_of)?;
        self.replace(&left, bytes);
        if index > count / 2 {
            right.insert(index - count / 2, record, bytes);
        } else {
            self.insert(index, record, bytes);
        }
        Some((key, right))
    }
}

#[inline]
fn id_of<const RECORD: usize>(record: &[u8; RECORD]) -> StreamId {
    StreamId::from_bytes(*record.first_chunk().expect("a record begins with an ID"))
}

impl<const RECORD: usize> Leaf for IdLeaf<RECORD> {
    type Key = StreamId;

    const HEAD_LINES: usize = 1;

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.address()
    }

    #[inline]
    fn weight(&self) -> u64 {
        self.len() as u64
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    fn is_small(&self) -> bool {
        self.len() < Self::RECORDS_MAX / 4
    }

    fn absorb(&mut self, right: &Self, bytes: &mut usize) -> bool {
        if self.len() + right.len() > Self::RECORDS_MAX * 3 / 4 {
            return false;
        }
        let joined = [self.records(), right.records()].concat();
        self.replace(joined.as_flattened(), bytes);
        *bytes -= right.0.heap_bytes();
        true
    }
}

/// Records by ID; cloning it gives a frozen view and copies nothing.
#[derive(Clone)]
pub struct IdTree<const RECORD: usize>(Tree<IdLeaf<RECORD>>);

impl<const RECORD: usize> Default for IdTree<RECORD> {
    fn default() -> Self {
        Self(Tree::default())
    }
}

#[inline]
fn child_of<const RECORD: usize>(branch: &Branch<IdLeaf<RECORD>>, id: StreamId) -> usize {
    branch.later_keys().partition_point(|key| *key <= id)
}

impl<const RECORD: usize> IdTree<RECORD> {
    /// Number of records.
    #[inline]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap, what views share included.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The record of an ID.
    pub fn get(&self, id: StreamId) -> Option<&[u8; RECORD]> {
        let leaf = self.0.leaf(|branch| child_of(branch, id))?;
        leaf.record(leaf.place(id).ok()?)
    }

    /// Puts a record there in place of the one with its ID; whether there was none.
    pub fn insert(&mut self, record: &[u8; RECORD]) -> bool {
        let id = id_of(record);
        let Some((path, leaf)) = self.0.locate(|branch| child_of(branch, id)) else {
            self.0.plant(IdLeaf::of(record));
            return true;
        };
        match leaf.place(id) {
            Ok(index) => {
                self.0.edit(&path, |leaf, _| {
                    let at = COUNT_BYTES + index * RECORD;
                    leaf.0.make_mut()[at..at + RECORD].copy_from_slice(record);
                    ((), None)
                });
                false
            }
            Err(index) => {
                self.0.edit(&path, |leaf, bytes| ((), leaf.insert_or_split(index, record, bytes)));
                true
            }
        }
    }

    /// Removes the record of an ID; whether there was one.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Some((path, leaf)) = self.0.locate(|branch| child_of(branch, id)) else { return false };
        let Ok(index) = leaf.place(id) else { return false };
        self.0.edit(&path, |leaf, _| (leaf.remove(index), None));
        true
    }

    /// The records from an ID on.
    pub fn iter_from(&self, id: StreamId) -> IdIter<'_, RECORD> {
        let walk = self.0.walk(|branch| child_of(branch, id));
        let index = walk.leaf().map_or(0, |leaf| leaf.place(id).unwrap_or_else(|index| index));
        IdIter { walk, index }
    }

    /// The lowest ID.
    pub fn first(&self) -> Option<StreamId> {
        self.0.leaf(|_| 0)?.record(0).map(id_of)
    }

    /// The highest ID.
    pub fn last(&self) -> Option<StreamId> {
        self.0.leaf(|branch| branch.len() - 1)?.records().last().map(id_of)
    }
}

/// Records in order.
pub struct IdIter<'a, const RECORD: usize> {
    walk: Walk<'a, IdLeaf<RECORD>>,
    index: usize,
}

impl<'a, const RECORD: usize> Iterator for IdIter<'a, RECORD> {
    type Item = (StreamId, &'a [u8; RECORD]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.walk.leaf()?;
            if let Some(record) = leaf.record(self.index) {
                self.index += 1;
                return Some((id_of(record), record));
            }
            self.walk.next()?;
            self.index = 0;
        }
    }
}

#[cfg(test)]
impl<const RECORD: usize> IdTree<RECORD> {
    /// Counts everything anew.
    pub(in crate::values) fn audit(&self) {
        let mut last = None;
        self.0.audit(|key, leaf| {
            for record in leaf.records() {
                assert!(last < Some(id_of(record)) && key.is_none_or(|key| key <= id_of(record)));
                last = Some(id_of(record));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_map_and_its_views_are_frozen() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut tree, mut model) = (IdTree::<24>::default(), BTreeMap::new());
        let mut views = Vec::new();
        for step in 0..60_000_u64 {
            let is_growing = step / 10_000 % 2 == 0;
            let id = if random.bool() { StreamId::new(step, 1) } else { StreamId::new(random.u64(..=step), 1) };
            if random.u32(..10) < if is_growing { 8 } else { 2 } {
                let mut record = [0; 24];
                record[..16].copy_from_slice(&id.to_bytes());
                record[16..].copy_from_slice(&random.u64(..).to_le_bytes());
                assert_eq!(tree.insert(&record), model.insert(id, record).is_none());
            } else {
                let id = if is_growing { id } else { tree.iter_from(id).next().map_or(id, |(id, _)| id) };
                assert_eq!(tree.remove(id), model.remove(&id).is_some());
            }
            assert_eq!((tree.len(), tree.get(id)), (model.len() as u64, model.get(&id)));
            if random.u32(..2000) == 0 {
                views.push((tree.clone(), model.clone()));
                tree.audit();
            }
        }
        views.push((tree, model));
        for (tree, model) in views {
            tree.audit();
            let from = StreamId::new(random.u64(..60_000), 0);
            assert!(tree.iter_from(from).eq(model.range(from..).map(|(id, record)| (*id, record))));
            assert_eq!(tree.first(), model.keys().next().copied());
            assert_eq!(tree.last(), model.keys().next_back().copied());
        }
    }
}
