//! A leaf of a [`ListTree`](super::ListTree): a listpack as it would stand in a file, or one element that is too large for
//! that.
//!
//! ```text
//!   packed   ┌ start: 2 ┬ room ┬ listpack: total bytes, count, elements, 0xff ┬ room ┐
//!   single   ┌ 0: 2 ┬ - 2 ┬ reference: 8 ┐        (no listpack begins at 0)
//! ```
//! Room may be on either side, as in a double-ended queue: elements are put and taken at an end without moving the others. A change
//! moves what is on the shorter side of it; where there is no room on that side, the whole listpack goes to the other end of the block.

use super::chunk::{self, Chunk, Format};
use super::hash_leaf::Old;
use super::reference::{self, REFERENCE_BYTES};
use super::tree::{Leaf, Split};
use crate::values::listpack::{self, Encoded, Listpack, Packed};
use crate::values::page::size_class;
use crate::values::{Blob, StringRef};
use std::ops::Range;

/// The block of a full leaf, in bytes.
const LEAF_BYTES_MAX: usize = 4096;

/// Bytes of the longest listpack.
const PACKED_BYTES_MAX: usize = LEAF_BYTES_MAX - chunk::HEADER_BYTES - START_BYTES;

/// Where the listpack begins, in front of all.
const START_BYTES: usize = 2;

/// Where the reference to a single element stands.
const REFERENCE_AT: usize = 4;

/// A text that is longer has a leaf and a block of its own, in bytes: either half of a full leaf has room for any other.
pub(super) const PACKED_TEXT_BYTES_MAX: usize = 1000;

/// A leaf with less in it is joined with a neighbour, in bytes.
const USED_BYTES_MIN: usize = PACKED_BYTES_MAX / 4;

/// Two leaves are joined if the result is not longer, in bytes.
const JOINED_BYTES_MAX: usize = PACKED_BYTES_MAX * 3 / 4;

/// Bytes of the total in the head of a listpack.
const TOTAL_BYTES: usize = 4;

/// The block for a listpack of so many bytes.
fn block_bytes_for(packed_bytes: usize) -> usize {
    size_class(chunk::HEADER_BYTES + START_BYTES + packed_bytes)
}

/// Where the listpack in a chunk begins; zero if there is a reference instead.
#[inline]
fn start(bytes: &[u8]) -> usize {
    u16::from_le_bytes(*bytes.first_chunk().expect("a leaf is whole")) as usize
}

/// Where it ends.
#[inline]
fn end(bytes: &[u8]) -> usize {
    let start = start(bytes);
    start + u32::from_le_bytes(*bytes[start..].first_chunk().expect("a leaf is whole")) as usize
}

/// The end of the block that has the room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    InFront,
    Behind,
}

/// A block with a listpack.
fn place(block_bytes: usize, packed: &[u8], room: Room) -> Chunk<Elements> {
    let at = match room {
        Room::InFront => block_bytes - chunk::HEADER_BYTES - packed.len(),
        Room::Behind => START_BYTES,
    };
    let mut chunk = Chunk::with_ends(block_bytes, &(at as u16).to_le_bytes(), &[]);
    chunk.make_mut()[at..at + packed.len()].copy_from_slice(packed);
    chunk
}

/// The format of the chunks.
pub(super) struct Elements;

impl Format for Elements {
    fn retain(bytes: &[u8]) {
        if start(bytes) == 0 {
            // SAFETY: the bytes are a copy of a leaf's, which has a reference there.
            unsafe { reference::retain(&bytes[REFERENCE_AT..]) };
        }
    }

    fn release(bytes: &mut [u8]) {
        if start(bytes) == 0 {
            // SAFETY: the bytes are a leaf's, and nobody reads them any more.
            drop(unsafe { reference::take(&bytes[REFERENCE_AT..]) });
        }
    }
}

/// What is in a leaf.
pub(super) enum Content<'a> {
    Packed(Listpack<'a>),
    Single(&'a Blob),
}

/// The leaf itself.
#[derive(Clone)]
pub(super) struct ListLeaf(Chunk<Elements>);

/// The listpack of a leaf while it is changed: takes a larger block where it must.
struct Growing<'a> {
    leaf: &'a mut ListLeaf,
    heap_bytes: &'a mut usize,
}

impl Packed for Growing<'_> {
    fn bytes(&self) -> &[u8] {
        self.leaf.packed()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.leaf.0.make_mut();
        let packed = start(bytes)..end(bytes);
        &mut bytes[packed]
    }

    #[inline]
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let old_len = self.leaf.packed().len();
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let new_len = old_len + added - range.len();
        // The shorter side moves.
        let room = if range.start < old_len - range.end { Room::InFront } else { Room::Behind };
        self.make_room(room, new_len);
        let bytes = self.leaf.0.make_mut();
        let old = start(bytes)..end(bytes);
        let mut new_start = old.start;
        match room {
            Room::InFront => {
                new_start = old.end - new_len;
                move_down(bytes, old.start..old.start + range.start, new_start);
                bytes[..START_BYTES].copy_from_slice(&(new_start as u16).to_le_bytes());
            }
            Room::Behind => bytes.copy_within(old.start + range.end..old.end, old.start + range.start + added),
        }
        let mut at = new_start + range.start;
        for part in parts {
            // What is around a short text is a byte on either side.
            match part {
                [byte] => bytes[at] = *byte,
                _ => bytes[at..at + part.len()].copy_from_slice(part),
            }
            at += part.len();
        }
        bytes[new_start..new_start + TOTAL_BYTES].copy_from_slice(&(new_len as u32).to_le_bytes());
    }
}

/// Moves what is in front of a change, mostly no more than the head.
#[inline]
fn move_down(bytes: &mut [u8], from: Range<usize>, to: usize) {
    match bytes[from.clone()].first_chunk::<{ listpack::HEADER_BYTES }>() {
        Some(head) if from.len() == listpack::HEADER_BYTES => {
            let head = *head;
            bytes[to..to + listpack::HEADER_BYTES].copy_from_slice(&head);
        }
        _ => bytes.copy_within(from, to),
    }
}

impl Growing<'_> {
    /// Room on that side for the listpack to become so long.
    #[inline]
    fn make_room(&mut self, room: Room, new_len: usize) {
        let bytes = self.leaf.0.bytes();
        let (start, end) = (start(bytes), end(bytes));
        let is_there = match room {
            Room::InFront => new_len <= end - START_BYTES,
            Room::Behind => start + new_len <= bytes.len(),
        };
        if !is_there {
            self.move_for(room, new_len);
        }
    }

    #[cold]
    fn move_for(&mut self, room: Room, new_len: usize) {
        let block_bytes = block_bytes_for(new_len).max(self.leaf.0.heap_bytes());
        self.leaf.move_to_block(block_bytes, room, self.heap_bytes);
    }
}

impl ListLeaf {
    /// A leaf with one element, and its bytes of heap.
    pub(super) fn of(text: &[u8]) -> (Self, usize) {
        if text.len() <= PACKED_TEXT_BYTES_MAX {
            let encoded = Encoded::new(text);
            let block_bytes = block_bytes_for(listpack::EMPTY.len() + encoded.len());
            let mut leaf = Self(place(block_bytes, &listpack::EMPTY, Room::Behind));
            let mut heap_bytes = block_bytes;
            listpack::append(&mut Growing { leaf: &mut leaf, heap_bytes: &mut heap_bytes }, &[encoded]);
            return (leaf, heap_bytes);
        }
        let block_bytes = size_class(chunk::HEADER_BYTES + REFERENCE_AT + REFERENCE_BYTES);
        let mut chunk = Chunk::with_ends(block_bytes, &[], &[]);
        let text_bytes = reference::write_text(StringRef::Bytes(text), &mut chunk.make_mut()[REFERENCE_AT..]);
        (Self(chunk), block_bytes + text_bytes)
    }

    /// A leaf with the elements of a listpack (not too many bytes of them), and its bytes of heap.
    pub(super) fn of_packed(list: Listpack<'_>) -> (Self, usize) {
        let block_bytes = block_bytes_for(list.as_bytes().len());
        (Self(place(block_bytes, list.as_bytes(), Room::Behind)), block_bytes)
    }

    /// What is in it.
    #[inline]
    pub(super) fn content(&self) -> Content<'_> {
        if start(self.0.bytes()) == 0 {
            // SAFETY: the leaf holds its reference.
            return Content::Single(unsafe { reference::read(&self.0.bytes()[REFERENCE_AT..]) });
        }
        Content::Packed(Listpack::new(self.packed()))
    }

    /// The listpack.
    #[inline]
    fn packed(&self) -> &[u8] {
        let bytes = self.0.bytes();
        &bytes[start(bytes)..end(bytes)]
    }

    /// Number of elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.content() {
            Content::Packed(list) => list.len(),
            Content::Single(_) => 1,
        }
    }

    /// The element of an index.
    pub(super) fn element(&self, index: usize) -> ListElement<'_> {
        match self.content() {
            Content::Packed(list) => ListElement::Packed(list.get(list.seek(index).expect("the index is in the leaf"))),
            Content::Single(blob) => ListElement::Single(blob),
        }
    }

    fn grow(&mut self, heap_bytes: &mut usize, change: impl FnOnce(&mut Growing<'_>)) {
        change(&mut Growing { leaf: self, heap_bytes });
    }

    /// Puts an element in front of the one with that index, unless that makes too large a leaf.
    pub(super) fn try_insert(&mut self, index: usize, text: &[u8], bytes: &mut usize) -> bool {
        let Content::Packed(list) = self.content() else { return false };
        let encoded = Encoded::new(text);
        if text.len() > PACKED_TEXT_BYTES_MAX || list.as_bytes().len() + encoded.len() > PACKED_BYTES_MAX {
            return false;
        }
        let at = list.seek(index).unwrap_or(list.end());
        self.grow(bytes, |leaf| listpack::insert(leaf, at, &[encoded]));
        true
    }

    /// Gives an element another text, unless that makes too large a leaf.
    pub(super) fn try_replace(&mut self, index: usize, text: &[u8], bytes: &mut usize) -> bool {
        let Content::Packed(list) = self.content() else { return false };
        let encoded = Encoded::new(text);
        if text.len() > PACKED_TEXT_BYTES_MAX || list.as_bytes().len() + encoded.len() > PACKED_BYTES_MAX {
            return false;
        }
        let at = list.seek(index).expect("the index is in the leaf");
        self.grow(bytes, |leaf| listpack::replace(leaf, at, &encoded));
        self.shrink(bytes);
        true
    }

    /// Removes `count` elements from an index on; not all of a leaf with a single one.
    pub(super) fn remove(&mut self, index: usize, count: usize, bytes: &mut usize) {
        self.remove_only(index, count, bytes);
        self.shrink(bytes);
    }

    /// The same in the block that there is: for a leaf at an end, which is taken from until it is empty, or filled again.
    pub(super) fn remove_only(&mut self, index: usize, count: usize, bytes: &mut usize) {
        let Content::Packed(list) = self.content() else {
            // The leaf itself goes: an empty listpack has no elements either.
            let (mut empty, block_bytes) = Self::of_packed(Listpack::new(&listpack::EMPTY));
            *bytes += block_bytes;
            *bytes -= self.heap_bytes();
            std::mem::swap(self, &mut empty);
            return;
        };
        let at = list.seek(index).expect("the index is in the leaf");
        self.grow(bytes, |leaf| listpack::remove(leaf, at, count));
    }

    /// Removes one element and hands it over.
    #[inline]
    pub(super) fn take(&mut self, index: usize, bytes: &mut usize) -> Old {
        let old = Old::new(self.element(index).as_string());
        self.remove(index, 1, bytes);
        old
    }

    /// Takes a smaller block if this one is too large by far, but not for the next elements.
    fn shrink(&mut self, bytes: &mut usize) {
        let used = self.packed().len();
        let block_bytes = block_bytes_for(used + used / 4);
        if block_bytes < self.0.heap_bytes() {
            self.move_to_block(block_bytes, Room::Behind, bytes);
        }
    }

    fn move_to_block(&mut self, block_bytes: usize, room: Room, bytes: &mut usize) {
        let chunk = place(block_bytes, self.packed(), room);
        *bytes += block_bytes;
        *bytes -= self.0.heap_bytes();
        std::mem::replace(&mut self.0, chunk).succeeded_by(&[&self.0]);
    }

    /// Moves the elements from an index on to a new leaf; nothing if it would be empty, or this one.
    pub(super) fn split_at(&mut self, index: usize, bytes: &mut usize) -> Split<Self> {
        let Content::Packed(list) = self.content() else { return None };
        let at = list.seek(index).filter(|_| index > 0)?;
        let (right, right_bytes) = Self::of_packed(Listpack::new(&part(list, at..list.end(), list.len() - index)));
        let (left, left_bytes) = Self::of_packed(Listpack::new(&part(list, listpack::HEADER_BYTES..at, index)));
        *bytes += left_bytes + right_bytes;
        *bytes -= self.0.heap_bytes();
        *self = left;
        Some(((), right))
    }

    /// The index that parts the leaf into two of about as many bytes.
    pub(super) fn middle(&self) -> usize {
        let Content::Packed(list) = self.content() else { return 0 };
        let half = list.end() / 2;
        let (mut at, mut index) = (listpack::HEADER_BYTES, 0);
        while at < half {
            at = list.next(at);
            index += 1;
        }
        index.min(list.len() - 1)
    }
}

/// The listpack of some elements of another.
fn part(list: Listpack<'_>, range: Range<usize>, count: usize) -> Vec<u8> {
    let total = listpack::EMPTY.len() + range.len();
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&(total as u32).to_le_bytes());
    bytes.extend_from_slice(&(count as u16).to_le_bytes());
    bytes.extend_from_slice(&list.as_bytes()[range]);
    bytes.push(listpack::EMPTY[listpack::EMPTY.len() - 1]);
    bytes
}

/// An element of a list.
#[derive(Clone, Copy, Debug)]
pub enum ListElement<'a> {
    /// In a listpack.
    Packed(listpack::Element<'a>),
    /// In a block of its own, which a reply may share.
    Single(&'a Blob),
}

impl<'a> ListElement<'a> {
    /// The element as a string.
    pub fn as_string(&self) -> StringRef<'a> {
        match *self {
            Self::Packed(listpack::Element::Integer(value)) => StringRef::Integer(value),
            Self::Packed(listpack::Element::Text(text)) => StringRef::Bytes(text),
            Self::Single(blob) => StringRef::Shared(blob),
        }
    }
}

impl Leaf for ListLeaf {
    type Key = ();

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
            + match self.content() {
                Content::Packed(_) => 0,
                Content::Single(blob) => blob.heap_bytes(),
            }
    }

    #[inline]
    fn is_small(&self) -> bool {
        match self.content() {
            Content::Packed(list) => list.as_bytes().len() < USED_BYTES_MIN,
            Content::Single(_) => false,
        }
    }

    fn absorb(&mut self, right: &Self, bytes: &mut usize) -> bool {
        let (Content::Packed(left_list), Content::Packed(right_list)) = (self.content(), right.content()) else {
            return false;
        };
        if left_list.end() + right_list.end() > JOINED_BYTES_MAX {
            return false;
        }
        let elements = &right_list.as_bytes()[listpack::HEADER_BYTES..right_list.end()];
        let (at, count) = (left_list.end(), left_list.len() + right_list.len());
        let mut growing = Growing { leaf: self, heap_bytes: bytes };
        growing.splice(at..at, &[elements]);
        growing.bytes_mut()[TOTAL_BYTES..listpack::HEADER_BYTES].copy_from_slice(&(count as u16).to_le_bytes());
        *bytes -= right.heap_bytes();
        true
    }
}

#[cfg(test)]
impl ListLeaf {
    /// Checks that a listpack is one.
    pub(super) fn audit(&self) {
        if let Content::Packed(list) = self.content() {
            assert!(Listpack::validate(list.as_bytes()).is_some());
            assert!(self.0.heap_bytes() <= LEAF_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the last byte of the listpack is, and its first.
    fn ends(leaf: &ListLeaf) -> (*const u8, *const u8) {
        (leaf.packed().as_ptr_range().end, leaf.packed().as_ptr())
    }

    #[test]
    fn at_an_end_nothing_else_moves_while_there_is_room() {
        let (mut leaf, mut bytes) = ListLeaf::of(b"middle");
        // The first to come in front makes room there, for the following, too.
        assert!(leaf.try_insert(0, &[b'x'; 105], &mut bytes));
        let (back, _) = ends(&leaf);
        let room = start(leaf.0.bytes()) - START_BYTES;
        assert!(room >= 8, "{room}");
        assert!(leaf.try_insert(0, b"front", &mut bytes));
        assert_eq!(ends(&leaf).0, back);
        leaf.remove(0, 1, &mut bytes);
        assert_eq!(ends(&leaf).0, back);
        let (_, front) = ends(&leaf);
        leaf.remove(1, 1, &mut bytes);
        assert!(leaf.try_insert(1, b"last", &mut bytes));
        assert_eq!(ends(&leaf).1, front);
        assert_eq!(bytes, leaf.heap_bytes());
        leaf.audit();
    }

    #[test]
    fn a_queue_may_go_through_one_leaf_for_ever() {
        for is_forward in [true, false] {
            let (mut leaf, mut bytes) = ListLeaf::of(b"0");
            for number in 1..2_000_u32 {
                let (new, old) = if is_forward { (leaf.len(), 0) } else { (0, leaf.len()) };
                assert!(leaf.try_insert(new, number.to_string().as_bytes(), &mut bytes));
                if number > 50 {
                    leaf.remove(old, 1, &mut bytes);
                }
                leaf.audit();
            }
            let newest = if is_forward { leaf.len() - 1 } else { 0 };
            assert_eq!(leaf.len(), 51);
            assert!(leaf.element(newest).as_string().with_bytes(|text| text == b"1999"));
            assert_eq!(bytes, leaf.heap_bytes());
            assert!(bytes <= 512, "{bytes}");
        }
    }
}
