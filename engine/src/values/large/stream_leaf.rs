//! A leaf of a [`StreamTree`](super::StreamTree): some entries that follow each other, in the listpack that the real
//! server keeps them in (and writes to its files), behind the ID that their IDs are told relative to.
//!
//! ```text
//!   leaf     ┌ ID of the first entry: 16, big endian ┬ listpack ────────────┬ room ┐
//!   listpack ┌ master ┬ entry ┬ entry ┬ ...
//!   master     live entries, deleted entries, number of fields, its fields ..., 0
//!   entry      flags, ms - first's ms, sequence - first's sequence,
//!                [if its fields are the master's:]  value ...
//!                [else:]  number of fields, (field, value) ...
//!              number of the elements in front of this one
//! ```
//!
//! A deleted entry stays where it is and is marked. A leaf whose entries are all deleted goes.

use super::chunk::{self, Chunk, Format};
use super::tree::Leaf;
use crate::values::listpack::{self, Element, Encoded, HEADER_BYTES, Listpack, Packed};
use crate::values::page::size_class;
use crate::values::stream::StreamId;
use smallvec::SmallVec;
use std::ops::Range;

/// What a leaf has in front of its listpack.
const HEAD_BYTES: usize = chunk::HEADER_BYTES + StreamId::BYTES;

/// The block that a leaf which is still written to may take before it is full, in bytes: a power of two, so that no
/// block of the allocator is left half empty.
const BLOCK_BYTES: usize = 4096;

/// The flag of an entry that is deleted.
const DELETED: i64 = 1;
/// The flag of an entry whose fields are the master's.
const SAME_FIELDS: i64 = 2;

/// The longest listpack of a leaf, in bytes.
pub(super) const LIST_BYTES_MAX: u64 = listpack::BYTES_MAX as u64;

/// The format of the chunks.
pub(super) struct Entries;

impl Format for Entries {}

/// The leaf itself.
#[derive(Clone)]
pub(super) struct StreamLeaf(Chunk<Entries>);

/// Elements of an entry or a master on their way into a listpack.
type Elements<'a> = SmallVec<[Encoded<'a>; 16]>;

/// The listpack of a leaf while it is changed.
struct Changing<'a> {
    leaf: &'a mut StreamLeaf,
    heap_bytes: &'a mut usize,
}

impl Packed for Changing<'_> {
    fn bytes(&self) -> &[u8] {
        self.leaf.list().as_bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let total = self.bytes().len();
        &mut self.leaf.0.make_mut()[StreamId::BYTES..][..total]
    }

    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let old_len = self.bytes().len();
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let new_len = old_len + added - range.len();
        self.leaf.reserve(new_len, self.heap_bytes);
        let bytes = &mut self.leaf.0.make_mut()[StreamId::BYTES..];
        bytes.copy_within(range.end..old_len, range.start + added);
        let mut at = range.start;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes[..size_of::<u32>()].copy_from_slice(&(new_len as u32).to_le_bytes());
    }
}

impl StreamLeaf {
    /// A leaf with one entry, and its bytes of heap. `fields` are fields and values in turn.
    pub(super) fn of(id: StreamId, fields: &[&[u8]]) -> (Self, usize) {
        let block_bytes = size_class(HEAD_BYTES + listpack::EMPTY.len());
        let mut head = [0; StreamId::BYTES + listpack::EMPTY.len()];
        head[..StreamId::BYTES].copy_from_slice(&id.to_bytes());
        head[StreamId::BYTES..].copy_from_slice(&listpack::EMPTY);
        let mut leaf = Self(Chunk::with_ends(block_bytes, &head, &[]));
        let mut bytes = block_bytes;
        let mut master: Elements<'_> = SmallVec::new();
        master.extend([1, 0, (fields.len() / 2) as i64].map(Encoded::integer));
        master.extend(fields.iter().step_by(2).map(|field| Encoded::new(field)));
        master.push(Encoded::integer(0));
        let entry = entry(StreamId::MIN, StreamId::MIN, fields, true);
        leaf.append_elements(&[&master, &entry], &mut bytes);
        (leaf, bytes)
    }

    /// A leaf without entries, which its tree lets go of.
    pub(super) fn clear(&mut self, bytes: &mut usize) {
        let block_bytes = size_class(HEAD_BYTES + listpack::EMPTY.len());
        let mut head = [0; StreamId::BYTES + listpack::EMPTY.len()];
        head[StreamId::BYTES..].copy_from_slice(&listpack::EMPTY);
        *bytes += block_bytes;
        *bytes -= self.0.heap_bytes();
        self.0 = Chunk::with_ends(block_bytes, &head, &[]);
    }

    /// The entries, to be read.
    #[inline]
    pub(super) fn node(&self) -> Node<'_> {
        let id = self.0.bytes().first_chunk().copied().expect("a leaf is whole");
        Node { first_id: StreamId::from_bytes(id), list: self.list() }
    }

    #[inline]
    fn list(&self) -> Listpack<'_> {
        let bytes = &self.0.bytes()[StreamId::BYTES..];
        let total = u32::from_le_bytes(*bytes.first_chunk().expect("a leaf is whole")) as usize;
        Listpack::new(&bytes[..total])
    }

    /// Whether its block stays one of those that fit the allocator when an entry of so many bytes of text is added.
    pub(super) fn fits_block(&self, text_bytes: usize, texts: usize) -> bool {
        // Of what stands in front of each text and behind it, and of the numbers of an entry, mostly less.
        const ENTRY_BYTES: usize = 14;
        HEAD_BYTES + self.list().as_bytes().len() + text_bytes + 2 * texts + ENTRY_BYTES <= BLOCK_BYTES
    }

    /// Adds an entry behind all others.
    pub(super) fn append(&mut self, id: StreamId, fields: &[&[u8]], bytes: &mut usize) {
        let node = self.node();
        let (first_id, live) = (node.first_id, node.live());
        let is_same = node.has_fields(fields);
        let entry = entry(id, first_id, fields, is_same);
        self.append_elements(&[&entry], bytes);
        listpack::replace(
            &mut Changing { leaf: self, heap_bytes: bytes },
            HEADER_BYTES,
            &Encoded::integer(live as i64 + 1),
        );
    }

    fn append_elements(&mut self, runs: &[&Elements<'_>], bytes: &mut usize) {
        let list = self.list();
        let (end, mut count) = (list.end(), list.len());
        let added: usize = runs.iter().map(|run| run.iter().map(Encoded::len).sum::<usize>()).sum();
        let total = end + added + 1;
        self.reserve(total, bytes);
        let list = &mut self.0.make_mut()[StreamId::BYTES..][..total];
        let mut at = end;
        for run in runs {
            run.iter().for_each(|element| at += element.write(&mut list[at..]));
            count += run.len();
        }
        list[at] = listpack::END;
        listpack::write_header(list, count);
    }

    /// Makes room for a listpack of that length: as long as the leaf may grow on, in leaps.
    fn reserve(&mut self, list_bytes: usize, bytes: &mut usize) {
        let (needed, present) = (HEAD_BYTES + list_bytes, self.0.heap_bytes());
        if needed > present {
            let wished = if needed < BLOCK_BYTES { (present * 2).min(BLOCK_BYTES) } else { 0 };
            self.move_to_block(size_class(needed.max(wished)), bytes);
        }
    }

    /// Gives back the room that it does not need.
    pub(super) fn shrink(&mut self, bytes: &mut usize) {
        let block_bytes = size_class(HEAD_BYTES + self.list().as_bytes().len());
        if block_bytes < self.0.heap_bytes() {
            self.move_to_block(block_bytes, bytes);
        }
    }

    fn move_to_block(&mut self, block_bytes: usize, bytes: &mut usize) {
        let used = StreamId::BYTES + self.list().as_bytes().len();
        let chunk = Chunk::with_ends(block_bytes, &self.0.bytes()[..used], &[]);
        *bytes += block_bytes;
        *bytes -= self.0.heap_bytes();
        self.0 = chunk;
    }

    /// Marks the entries at these positions, which are not deleted yet.
    pub(super) fn delete(&mut self, positions: &[usize], bytes: &mut usize) {
        let node = self.node();
        let (live, deleted) = (node.live() as i64, node.deleted() as i64);
        if positions.len() as i64 == live {
            return self.clear(bytes);
        }
        let list = &mut Changing { leaf: self, heap_bytes: bytes };
        // A flag with the mark is as long as without it, so nothing moves.
        for &at in positions {
            let flags = integer_at(Listpack::new(list.bytes()), at) | DELETED;
            listpack::replace(list, at, &Encoded::integer(flags));
        }
        let gone = positions.len() as i64;
        listpack::replace(list, HEADER_BYTES, &Encoded::integer(live - gone));
        let at = Listpack::new(list.bytes()).next(HEADER_BYTES);
        listpack::replace(list, at, &Encoded::integer(deleted + gone));
    }
}

/// The elements of an entry.
fn entry<'a>(id: StreamId, first: StreamId, fields: &[&'a [u8]], is_same: bool) -> Elements<'a> {
    let mut elements: Elements<'a> = SmallVec::new();
    let pairs = fields.len() / 2;
    let flags = if is_same { SAME_FIELDS } else { 0 };
    let numbers = [flags, id.ms.wrapping_sub(first.ms) as i64, id.sequence.wrapping_sub(first.sequence) as i64];
    elements.extend(numbers.map(Encoded::integer));
    if is_same {
        elements.extend(fields.iter().skip(1).step_by(2).map(|value| Encoded::new(value)));
    } else {
        elements.push(Encoded::integer(pairs as i64));
        elements.extend(fields.iter().map(|text| Encoded::new(text)));
    }
    elements.push(Encoded::integer(elements.len() as i64));
    elements
}

#[inline]
fn integer_at(list: Listpack<'_>, at: usize) -> i64 {
    list.get(at).as_integer().unwrap_or_default()
}

/// Entries that stand together, as they stand in a file: a listpack, and the ID that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    first_id: StreamId,
    list: Listpack<'a>,
}

impl<'a> Node<'a> {
    /// The ID that the others are told relative to: that of the entry which was the first.
    pub fn first_id(self) -> StreamId {
        self.first_id
    }

    /// The listpack.
    pub fn list(self) -> Listpack<'a> {
        self.list
    }

    /// Number of entries that are not deleted.
    #[inline]
    pub fn live(self) -> u64 {
        if self.list.is_empty() { 0 } else { integer_at(self.list, HEADER_BYTES) as u64 }
    }

    /// Number of entries that are deleted.
    pub fn deleted(self) -> u64 {
        integer_at(self.list, self.list.next(HEADER_BYTES)) as u64
    }

    /// The ID of the last entry, deleted or not.
    pub fn last_id(self) -> StreamId {
        NodeEntries::at_end(self).previous().map_or(self.first_id, |entry| entry.entry.id)
    }

    /// The entries that are not deleted.
    pub fn entries(self) -> impl Iterator<Item = StreamEntry<'a>> {
        let mut entries = NodeEntries::at_start(self);
        std::iter::from_fn(move || entries.next_live())
    }

    /// Position of the number of fields.
    fn fields_at(self) -> usize {
        self.list.next(self.list.next(HEADER_BYTES))
    }

    /// Whether these are the fields of its master.
    fn has_fields(self, fields: &[&[u8]]) -> bool {
        let at = self.fields_at();
        if integer_at(self.list, at) as usize != fields.len() / 2 {
            return false;
        }
        let mut scratch = itoa::Buffer::new();
        let stored = self.list.iter_from(self.list.next(at));
        fields.iter().step_by(2).zip(stored).all(|(field, stored)| stored.as_bytes(&mut scratch) == *field)
    }
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamEntry<'a> {
    /// Its ID.
    pub id: StreamId,
    list: Listpack<'a>,
    pairs: usize,
    /// Position of the first field, or of the first value where the fields are the master's.
    at: usize,
    /// Position of the master's first field.
    fields_at: usize,
    is_same: bool,
}

impl<'a> StreamEntry<'a> {
    /// How many fields it has.
    pub fn field_count(&self) -> usize {
        self.pairs
    }

    /// Fields and values.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let is_same = self.is_same;
        let mut fields = self.list.iter_from(if is_same { self.fields_at } else { self.at });
        let mut values = self.list.iter_from(self.at);
        let pairs = std::iter::from_fn(move || {
            let field = fields.next()?;
            Some((field, if is_same { values.next()? } else { fields.next()? }))
        });
        pairs.take(self.pairs)
    }
}

/// An entry where it stands.
pub(super) struct Standing<'a> {
    pub(super) entry: StreamEntry<'a>,
    pub(super) is_deleted: bool,
    /// Where it begins: the position of its flags.
    pub(super) at: usize,
}

/// A place between the entries of a node, to go forward and back from.
#[derive(Clone, Copy)]
pub(super) struct NodeEntries<'a> {
    node: Node<'a>,
    /// Position of the master's first field, and how many there are.
    fields_at: usize,
    fields: usize,
    /// Position of the first entry.
    start: usize,
    at: usize,
}

impl<'a> NodeEntries<'a> {
    pub(super) fn at_start(node: Node<'a>) -> Self {
        let list = node.list;
        let count_at = node.fields_at();
        let (fields, fields_at) = (integer_at(list, count_at) as usize, list.next(count_at));
        // Behind the fields stands a zero.
        let start = (0..=fields).fold(fields_at, |at, _| list.next(at));
        Self { node, fields_at, fields, start, at: start }
    }

    pub(super) fn at_end(node: Node<'a>) -> Self {
        Self { at: node.list.end(), ..Self::at_start(node) }
    }

    /// The entry that begins at a position, and the position of its last element.
    #[inline]
    fn read(&self, at: usize) -> Standing<'a> {
        let list = self.node.list;
        let flags = integer_at(list, at);
        let ms_at = list.next(at);
        let sequence_at = list.next(ms_at);
        let first = self.node.first_id;
        let id = StreamId::new(
            first.ms.wrapping_add(integer_at(list, ms_at) as u64),
            first.sequence.wrapping_add(integer_at(list, sequence_at) as u64),
        );
        let behind = list.next(sequence_at);
        let is_same = flags & SAME_FIELDS != 0;
        let (pairs, data_at) =
            if is_same { (self.fields, behind) } else { (integer_at(list, behind) as usize, list.next(behind)) };
        let entry = StreamEntry { id, list, pairs, at: data_at, fields_at: self.fields_at, is_same };
        Standing { entry, is_deleted: flags & DELETED != 0, at }
    }

    /// The entry behind this place.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Standing<'a>> {
        let list = self.node.list;
        if self.at >= list.end() {
            return None;
        }
        let standing = self.read(self.at);
        let StreamEntry { pairs, at, is_same, .. } = standing.entry;
        let elements = if is_same { pairs } else { 2 * pairs };
        // And the count behind them.
        self.at = (0..=elements).fold(at, |at, _| list.next(at));
        Some(standing)
    }

    /// The entry in front of this place.
    #[inline]
    pub(super) fn previous(&mut self) -> Option<Standing<'a>> {
        let list = self.node.list;
        if self.at <= self.start {
            return None;
        }
        let count_at = list.previous(self.at);
        let elements = integer_at(list, count_at) as usize;
        self.at = (0..elements).fold(count_at, |at, _| list.previous(at));
        Some(self.read(self.at))
    }

    /// The next entry that is not deleted.
    #[inline]
    pub(super) fn next_live(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let standing = self.next()?;
            if !standing.is_deleted {
                return Some(standing.entry);
            }
        }
    }

    /// The entry before that is not deleted.
    #[inline]
    pub(super) fn previous_live(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let standing = self.previous()?;
            if !standing.is_deleted {
                return Some(standing.entry);
            }
        }
    }
}

impl Leaf for StreamLeaf {
    type Key = StreamId;

    const HEAD_LINES: usize = 1;

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.address()
    }

    #[inline]
    fn weight(&self) -> u64 {
        self.node().live()
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Leaves are never joined: where they begin and end can be seen from outside, by what `MAXLEN ~` leaves.
    fn is_small(&self) -> bool {
        false
    }

    fn absorb(&mut self, _: &Self, _: &mut usize) -> bool {
        false
    }
}

#[cfg(test)]
impl StreamLeaf {
    /// Checks that all is as drawn.
    pub(super) fn audit(&self) {
        let node = self.node();
        assert!(Listpack::validate(node.list.as_bytes()).is_some());
        let mut entries = NodeEntries::at_start(node);
        let (mut live, mut deleted, mut last) = (0, 0, None);
        while let Some(standing) = entries.next() {
            *(if standing.is_deleted { &mut deleted } else { &mut live }) += 1;
            assert!(last < Some(standing.entry.id));
            last = Some(standing.entry.id);
            let mut back = entries;
            assert_eq!(back.previous().map(|standing| standing.entry.id), last);
        }
        assert_eq!((node.live(), node.deleted(), Some(node.last_id())), (live, deleted, last));
    }
}
