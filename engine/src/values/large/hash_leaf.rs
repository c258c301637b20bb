//! A leaf of a [`HashTree`](super::HashTree): some dozens of elements in a chunk of just the size they need.
//!
//! ```text
//!   ┌ count: 2 ┬ entry bytes: 2 ┬ references: 2 ┬ 2 ┬ tags: 1 each ┬ distances: 2 each ┬ room ┬ entry ┬ entry ┐
//!   └──────────┴────────────────┴───────────────┴───┴──────────────┴───────────────────┴──────┴───────┴───────┘
//!                                                     grow ───────────────────────────>   <──────────── grow
//!
//!   entry   ┌ head: 1 ┬ [length: 1] ┬ text, or position: 4, or reference: 8 ┬ [0xfe, expiry: 8] ┬ [head: 1 ┬ value ] ┐
//!           └─────────┴─────────────┴───────────────────────────────────────┴───────────────────┴──────────┴─────────┘
//! ```
//!
//! * As in the pages of the keyspace: a look-up compares tags, and reads only entries whose tag fits; the order of the
//!   entries means nothing; distances count from the chunk's end, so a larger chunk takes both ends over as they are.
//! * The head of a field: the lowest seven bits are its length, or say what stands there instead; the eighth, whether a
//!   value follows.
//! * A field may be given by its position alone: the index of a sorted set does not repeat a member that can be found by
//!   its score.

use super::chunk::{self, Chunk, Format};
use super::garbage;
use super::hasher::{Hash, MemberHasher};
use super::reference::{self, REFERENCE_BYTES};
use super::tree::{Leaf, Split};
use crate::values::page::size_class;
use crate::values::prefetch;
use crate::values::{Blob, StringRef};
use smallvec::SmallVec;

/// The block of a full leaf, in bytes.
pub(super) const LEAF_BYTES_MAX: usize = 1024;

/// A field or a value that is longer than this has a block of its own, in bytes.
pub(super) const INLINE_BYTES_MAX: usize = 250;

/// A leaf with less in it is joined with a neighbour, in bytes.
const USED_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;

/// Two leaves are joined if the result is not longer, in bytes.
const JOINED_BYTES_MAX: usize = LEAF_BYTES_MAX * 3 / 4;

const HEAD_BYTES: usize = 8;
const TAG_BYTES: usize = 1;
const DISTANCE_BYTES: usize = 2;

const COUNT_AT: usize = 0;
const ENTRY_BYTES_AT: usize = 2;
const REFERENCES_AT: usize = 4;

/// In the head of a field: a value follows.
const VALUED: u8 = 0x80;
/// The largest length that a field's head holds itself.
const SHORT_MAX: usize = 0x7b;
/// Instead of a length: it stands in the next byte.
const LONGER: u8 = 0x7c;
/// Instead of a length: a reference follows.
const REFERENCE: u8 = 0x7d;
/// Instead of a length: a position follows.
const POSITION: u8 = 0x7e;

/// Instead of the head of a value: an expiry, then the head.
const EXPIRY: u8 = 0xfe;
/// Instead of a value's length: a reference follows.
const VALUE_REFERENCE: u8 = 0xff;

const EXPIRY_BYTES: usize = 1 + size_of::<i64>();
const POSITION_BYTES: usize = size_of::<u32>();

/// What an element is known by.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// Its text.
    Text(StringRef<'a>),
    /// The position of its hash; its text stands elsewhere.
    Position(u32),
}

/// An element as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The field or member.
    pub field: Field<'a>,
    /// The value; a set has none.
    pub value: Option<StringRef<'a>>,
    /// When the field expires, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

impl<'a> Element<'a> {
    /// The text of the field or member; empty where only its position is known.
    pub fn name(&self) -> StringRef<'a> {
        match self.field {
            Field::Text(text) => text,
            Field::Position(_) => StringRef::Bytes(&[]),
        }
    }
}

/// A text that left a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Old {
    /// Short.
    Bytes(SmallVec<[u8; 40]>),
    /// In a block of its own, now the caller's to share or to free.
    Large(Blob),
}

impl Old {
    pub(super) fn new(text: StringRef<'_>) -> Self {
        match text {
            StringRef::Shared(blob) => Self::Large(blob.clone()),
            text => Self::Bytes(text.with_bytes(SmallVec::from_slice)),
        }
    }

    /// A text as it would leave a tree.
    pub(super) fn of(text: &[u8]) -> Self {
        if text.len() > INLINE_BYTES_MAX {
            Self::Large(Blob::new(text))
        } else {
            Self::Bytes(SmallVec::from_slice(text))
        }
    }

    /// The text as a reader sees it.
    pub fn as_ref(&self) -> StringRef<'_> {
        match self {
            Self::Bytes(bytes) => StringRef::Bytes(bytes),
            Self::Large(blob) => StringRef::Shared(blob),
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Large(blob) => blob.as_slice(),
        }
    }
}

/// An element to be written.
#[derive(Clone, Copy)]
pub(super) struct Draft<'d> {
    pub(super) field: Field<'d>,
    pub(super) value: Option<StringRef<'d>>,
    pub(super) expires_at: Option<i64>,
}

/// What the bytes of an entry are.
#[derive(Clone, Copy)]
struct Parts {
    /// Where the field's text (or what stands for it) begins and ends.
    field: (usize, usize),
    field_kind: u8,
    expires_at: Option<i64>,
    /// Where the value's text begins; the entry ends with it.
    value: Option<usize>,
    value_is_reference: bool,
    end: usize,
}

/// Reads the entry that begins with these bytes.
#[inline]
fn parse(entry: &[u8]) -> Parts {
    let head = entry[0];
    let (start, length) = match head & !VALUED {
        LONGER => (2, entry[1] as usize),
        REFERENCE => (1, REFERENCE_BYTES),
        POSITION => (1, POSITION_BYTES),
        length => (1, length as usize),
    };
    let field = (start, start + length);
    let mut parts = Parts {
        field,
        field_kind: head & !VALUED,
        expires_at: None,
        value: None,
        value_is_reference: false,
        end: field.1,
    };
    if head & VALUED != 0 {
        let mut at = field.1;
        if entry[at] == EXPIRY {
            parts.expires_at = Some(i64::from_le_bytes(array(&entry[at + 1..])));
            at += EXPIRY_BYTES;
        }
        parts.value_is_reference = entry[at] == VALUE_REFERENCE;
        let length = if parts.value_is_reference { REFERENCE_BYTES } else { entry[at] as usize };
        parts.value = Some(at + 1);
        parts.end = at + 1 + length;
    }
    parts
}

/// The first bytes of a slice as an array.
#[inline]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("entries are whole")
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(array(&bytes[at..])) as usize
}

#[inline]
fn set_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

impl<'a> Element<'a> {
    /// SAFETY: the bytes begin with a whole entry of a leaf, whose references are alive.
    #[inline]
    unsafe fn read(entry: &'a [u8], parts: &Parts) -> Self {
        let text = |(start, end): (usize, usize), is_reference: bool| {
            if is_reference {
                // SAFETY: by the caller's promise.
                StringRef::Shared(unsafe { reference::read(&entry[start..]) })
            } else {
                StringRef::Bytes(&entry[start..end])
            }
        };
        let field = if parts.field_kind == POSITION {
            Field::Position(u32::from_le_bytes(array(&entry[parts.field.0..])))
        } else {
            Field::Text(text(parts.field, parts.field_kind == REFERENCE))
        };
        let value = parts.value.map(|start| text((start, parts.end), parts.value_is_reference));
        Self { field, value, expires_at: parts.expires_at }
    }
}

impl<'d> Draft<'d> {
    fn of(element: &Element<'d>) -> Self {
        Self { field: element.field, value: element.value, expires_at: element.expires_at }
    }

    fn field_len(&self) -> usize {
        match self.field {
            Field::Position(_) => 1 + POSITION_BYTES,
            Field::Text(text) => match text.len() {
                length if length <= SHORT_MAX => 1 + length,
                length if length <= INLINE_BYTES_MAX => 2 + length,
                _ => 1 + REFERENCE_BYTES,
            },
        }
    }

    /// Bytes from the field's end on.
    fn value_len(&self) -> usize {
        let Some(value) = self.value else { return 0 };
        let text = if value.len() <= INLINE_BYTES_MAX { value.len() } else { REFERENCE_BYTES };
        1 + text + if self.expires_at.is_some() { EXPIRY_BYTES } else { 0 }
    }

    pub(super) fn packed_len(&self) -> usize {
        self.field_len() + self.value_len()
    }

    /// Writes the entry; how many references it has, and the bytes of heap that they stand for.
    fn write(&self, into: &mut [u8]) -> (usize, usize) {
        let (field, value) = into.split_at_mut(self.field_len());
        let valued = if self.value.is_some() { VALUED } else { 0 };
        let mut heap_bytes = 0;
        match self.field {
            Field::Position(position) => {
                field[0] = POSITION | valued;
                field[1..].copy_from_slice(&position.to_le_bytes());
            }
            Field::Text(text) => {
                let length = text.len();
                if length > INLINE_BYTES_MAX {
                    field[0] = REFERENCE | valued;
                    heap_bytes = reference::write_text(text, &mut field[1..]);
                } else {
                    let start = if length <= SHORT_MAX { 1 } else { 2 };
                    field[0] = if start == 1 { length as u8 } else { LONGER } | valued;
                    field[start - 1] = if start == 1 { field[0] } else { length as u8 };
                    text.with_bytes(|text| field[start..].copy_from_slice(text));
                }
            }
        }
        let references = usize::from(heap_bytes > 0);
        let (value_references, value_bytes) = self.write_value(value);
        (references + value_references, heap_bytes + value_bytes)
    }

    fn write_value(&self, into: &mut [u8]) -> (usize, usize) {
        let Some(value) = self.value else { return (0, 0) };
        let mut into = into;
        if let Some(at) = self.expires_at {
            into[0] = EXPIRY;
            into[1..EXPIRY_BYTES].copy_from_slice(&at.to_le_bytes());
            into = &mut into[EXPIRY_BYTES..];
        }
        if value.len() > INLINE_BYTES_MAX {
            into[0] = VALUE_REFERENCE;
            return (1, reference::write_text(value, &mut into[1..]));
        }
        into[0] = value.len() as u8;
        value.with_bytes(|value| into[1..].copy_from_slice(value));
        (0, 0)
    }
}

/// The format of the chunks: which of the bytes are references.
pub(super) struct Entries;

impl Entries {
    /// Calls `visit` with the bytes of each reference.
    fn references(bytes: &[u8], mut visit: impl FnMut(&[u8])) {
        if u16_at(bytes, REFERENCES_AT) == 0 {
            return;
        }
        for index in 0..u16_at(bytes, COUNT_AT) {
            let entry = entry_bytes(bytes, index);
            let parts = parse(entry);
            if parts.field_kind == REFERENCE {
                visit(&entry[parts.field.0..]);
            }
            if let Some(start) = parts.value
                && parts.value_is_reference
            {
                visit(&entry[start..]);
            }
        }
    }
}

impl Format for Entries {
    fn retain(bytes: &[u8]) {
        // SAFETY: the bytes are a copy of a leaf's, so what is marked as a reference is one.
        Self::references(bytes, |reference| unsafe { reference::retain(reference) });
    }

    fn release(bytes: &mut [u8]) {
        // SAFETY: the bytes are a leaf's, and nobody reads them any more.
        Self::references(bytes, |reference| drop(unsafe { reference::take(reference) }));
    }
}

#[inline]
fn distance(bytes: &[u8], index: usize) -> usize {
    let count = u16_at(bytes, COUNT_AT);
    u16_at(bytes, HEAD_BYTES + count * TAG_BYTES + index * DISTANCE_BYTES)
}

/// The bytes from an entry's first one on.
#[inline]
fn entry_bytes(bytes: &[u8], index: usize) -> &[u8] {
    &bytes[bytes.len() - distance(bytes, index)..]
}

/// The bytes of a leaf that no tree counts yet: it will count them when it gets the leaf.
pub(super) fn uncounted() -> usize {
    usize::MAX / 2
}

/// The leaf itself.
#[derive(Clone)]
pub(super) struct HashLeaf(Chunk<Entries>);

impl HashLeaf {
    /// An empty leaf with room for an entry of that length.
    pub(super) fn with_room(packed_len: usize) -> Self {
        let used = HEAD_BYTES + TAG_BYTES + DISTANCE_BYTES + packed_len;
        Self(Chunk::with_ends(block_bytes(used), &[0; HEAD_BYTES], &[]))
    }

    /// An empty leaf with room for all that a leaf takes, to be filled and then [fitted](Self::fit).
    pub(super) fn roomy() -> Self {
        Self(Chunk::with_ends(LEAF_BYTES_MAX, &[0; HEAD_BYTES], &[]))
    }

    /// Takes the block that it needs.
    pub(super) fn fit(&mut self) {
        if block_bytes(self.used()) < self.0.heap_bytes() {
            self.move_to_block(block_bytes(self.used()), &mut uncounted());
        }
    }

    /// The same leaf with those elements only that are wanted; none without any.
    pub(super) fn only(&self, mut is_wanted: impl FnMut(&Element<'_>) -> bool) -> Option<Self> {
        let wanted: SmallVec<[bool; 128]> = self.elements().map(|element| is_wanted(&element)).collect();
        if wanted.iter().all(|is_wanted| *is_wanted) {
            return Some(self.clone());
        }
        if !wanted.contains(&true) {
            return None;
        }
        let mut part = Self::roomy();
        for ((tag, element), _) in self.tagged().zip(&wanted).filter(|(_, is_wanted)| **is_wanted) {
            part.insert(tag, &Draft::of(&element), &mut uncounted());
        }
        part.fit();
        Some(part)
    }

    fn tagged(&self) -> impl Iterator<Item = (u8, Element<'_>)> {
        self.tags().iter().copied().zip(self.elements())
    }

    /// Number of elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        u16_at(self.0.bytes(), COUNT_AT)
    }

    /// Bytes in use.
    #[inline]
    fn used(&self) -> usize {
        let bytes = self.0.bytes();
        HEAD_BYTES + u16_at(bytes, COUNT_AT) * (TAG_BYTES + DISTANCE_BYTES) + u16_at(bytes, ENTRY_BYTES_AT)
    }

    fn tags(&self) -> &[u8] {
        let bytes = self.0.bytes();
        &bytes[HEAD_BYTES..HEAD_BYTES + u16_at(bytes, COUNT_AT)]
    }

    /// An element by its number, which is good until the next change of the leaf.
    #[inline]
    pub(super) fn element(&self, index: usize) -> Element<'_> {
        assert!(index < self.len());
        let entry = entry_bytes(self.0.bytes(), index);
        // SAFETY: distances lead to whole entries, and the leaf holds their references.
        unsafe { Element::read(entry, &parse(entry)) }
    }

    /// All elements.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.len()).map(|index| self.element(index))
    }

    /// The number of the element with that field. One that is known by its position alone is believed if `accept` says so
    /// of its value.
    #[inline]
    pub(super) fn find(&self, hash: Hash, field: &[u8], accept: impl Fn(StringRef<'_>) -> bool) -> Option<usize> {
        memchr::memchr_iter(hash.tag, self.tags()).find(|&index| {
            let element = self.element(index);
            match element.field {
                Field::Text(StringRef::Bytes(text)) => text == field,
                Field::Text(StringRef::Shared(blob)) => blob.as_slice() == field,
                Field::Text(StringRef::Integer(_)) => false,
                Field::Position(position) => position == hash.position && element.value.is_some_and(&accept),
            }
        })
    }

    /// Asks for the entry that [`HashLeaf::find`] will look at first.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: Hash) {
        if let Some(index) = memchr::memchr(hash.tag, self.tags()) {
            let entry = entry_bytes(self.0.bytes(), index);
            prefetch::line(entry);
            prefetch::address(entry.as_ptr().wrapping_add(64));
        }
    }

    /// Adds an element whose field is not here yet.
    pub(super) fn insert(&mut self, tag: u8, draft: &Draft<'_>, bytes: &mut usize) {
        let length = draft.packed_len();
        self.reserve(TAG_BYTES + DISTANCE_BYTES + length, bytes);
        let data = self.0.make_mut();
        let (count, entry_bytes) = (u16_at(data, COUNT_AT), u16_at(data, ENTRY_BYTES_AT) + length);
        let distances = HEAD_BYTES + count * TAG_BYTES;
        data.copy_within(distances..distances + count * DISTANCE_BYTES, distances + TAG_BYTES);
        data[distances] = tag;
        set_u16(data, distances + TAG_BYTES + count * DISTANCE_BYTES, entry_bytes);
        let start = data.len() - entry_bytes;
        let (references, heap_bytes) = draft.write(&mut data[start..start + length]);
        set_u16(data, COUNT_AT, count + 1);
        set_u16(data, ENTRY_BYTES_AT, entry_bytes);
        set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) + references);
        *bytes += heap_bytes;
    }

    /// Gives an element another value and expiry; `draft` has the same field.
    pub(super) fn set_value(&mut self, index: usize, draft: &Draft<'_>, bytes: &mut usize) {
        let old = parse(entry_bytes(self.0.bytes(), index));
        let new_end = old.field.1 + draft.value_len();
        if new_end > old.end {
            self.reserve(new_end - old.end, bytes);
        }
        // A reference that is kept alive until the new one is written, which may be the same.
        let _old = self.forget_value(index, &old, bytes);
        let data = self.0.make_mut();
        shift(data, index, old.field.1, new_end as isize - old.end as isize);
        let start = data.len() - distance(data, index);
        data[start] = data[start] & !VALUED | if draft.value.is_some() { VALUED } else { 0 };
        let (references, heap_bytes) = draft.write_value(&mut data[start + old.field.1..start + new_end]);
        set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) + references);
        *bytes += heap_bytes;
        self.shrink(bytes);
    }

    /// Takes the reference of a value out, whose bytes will be overwritten.
    fn forget_value(&mut self, index: usize, parts: &Parts, bytes: &mut usize) -> Option<Blob> {
        let start = parts.value.filter(|_| parts.value_is_reference)?;
        let data = self.0.make_mut();
        // SAFETY: the leaf is ours alone, and the caller overwrites the reference or closes it up.
        let blob = unsafe { reference::take(&entry_bytes(data, index)[start..]) };
        *bytes -= blob.heap_bytes();
        set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) - 1);
        Some(blob)
    }

    /// Removes an element; the last one takes its number.
    pub(super) fn remove(&mut self, index: usize, bytes: &mut usize) {
        let parts = parse(entry_bytes(self.0.bytes(), index));
        let _value = self.forget_value(index, &parts, bytes);
        let data = self.0.make_mut();
        if parts.field_kind == REFERENCE {
            // SAFETY: the leaf is ours alone, and the entry is closed up below.
            let blob = unsafe { reference::take(&entry_bytes(data, index)[parts.field.0..]) };
            *bytes -= blob.heap_bytes();
            set_u16(data, REFERENCES_AT, u16_at(data, REFERENCES_AT) - 1);
        }
        shift(data, index, 0, -(parts.end as isize));
        let last = u16_at(data, COUNT_AT) - 1;
        let distances = HEAD_BYTES + (last + 1) * TAG_BYTES;
        data[HEAD_BYTES + index] = data[HEAD_BYTES + last];
        let moved = distance(data, last);
        set_u16(data, distances + index * DISTANCE_BYTES, moved);
        data.copy_within(distances..distances + last * DISTANCE_BYTES, distances - TAG_BYTES);
        set_u16(data, COUNT_AT, last);
        self.shrink(bytes);
    }

    /// Makes room for so many bytes more.
    fn reserve(&mut self, more: usize, bytes: &mut usize) {
        let needed = self.used() + more;
        if needed + chunk::HEADER_BYTES > self.0.heap_bytes() {
            self.move_to_block(block_bytes(needed), bytes);
        }
    }

    /// Takes a smaller block if this one is too large by far, but not for the next elements.
    fn shrink(&mut self, bytes: &mut usize) {
        let block = block_bytes(self.used() + self.used() / 8);
        if block < self.0.heap_bytes() && self.len() > 0 {
            self.move_to_block(block, bytes);
        }
    }

    fn move_to_block(&mut self, block_bytes: usize, bytes: &mut usize) {
        let data = self.0.bytes();
        let (head, tail) = (self.used() - u16_at(data, ENTRY_BYTES_AT), data.len() - u16_at(data, ENTRY_BYTES_AT));
        let chunk = Chunk::with_ends(block_bytes, &data[..head], &data[tail..]);
        *bytes += block_bytes;
        *bytes -= self.0.heap_bytes();
        let old = std::mem::replace(&mut self.0, chunk);
        old.succeeded_by(&[&self.0]);
    }

    /// Whether an entry of that length makes too large a leaf.
    #[inline]
    pub(super) fn is_full_for(&self, packed_len: usize) -> bool {
        self.used() + TAG_BYTES + DISTANCE_BYTES + packed_len + chunk::HEADER_BYTES > LEAF_BYTES_MAX
    }

    /// Moves the upper half of the positions to a new leaf; `None` if all positions are the same.
    pub(super) fn split(&mut self, hasher: &MemberHasher, bytes: &mut usize) -> Split<Self> {
        let count = self.len();
        let position = |index| match self.element(index).field {
            Field::Position(position) => position,
            Field::Text(text) => text.with_bytes(|text| hasher.hash(text).position),
        };
        let positions: SmallVec<[u32; 128]> = (0..count).map(position).collect();
        let boundary = boundary(&positions)?;
        let data = self.0.bytes();
        let lengths: SmallVec<[usize; 128]> = (0..count).map(|index| parse(entry_bytes(data, index)).end).collect();
        let mut sides = [Half::default(), Half::default()];
        for (position, length) in positions.iter().zip(&lengths) {
            let side = &mut sides[usize::from(*position >= boundary)];
            side.count += 1;
            side.entry_bytes += length;
        }
        let mut halves = sides.map(|side| side.chunk());
        let mut filled = [(0, 0); 2];
        for (index, (position, length)) in positions.iter().zip(&lengths).enumerate() {
            let right = usize::from(*position >= boundary);
            let (count, entry_bytes) = &mut filled[right];
            *entry_bytes += length;
            let half = halves[right].make_mut();
            let start = half.len() - *entry_bytes;
            half[start..start + length].copy_from_slice(&self::entry_bytes(data, index)[..*length]);
            half[HEAD_BYTES + *count] = data[HEAD_BYTES + index];
            set_u16(half, HEAD_BYTES + sides[right].count * TAG_BYTES + *count * DISTANCE_BYTES, *entry_bytes);
            *count += 1;
        }
        let [mut left, mut right] = halves;
        if u16_at(data, REFERENCES_AT) > 0 {
            count_references(&mut left);
            count_references(&mut right);
        }
        *bytes += left.heap_bytes() + right.heap_bytes();
        *bytes -= self.0.heap_bytes();
        let old = std::mem::replace(&mut self.0, left);
        old.succeeded_by(&[&self.0, &right]);
        Some((boundary, Self(right)))
    }
}

/// How much goes to one side of a split.
#[derive(Clone, Copy, Default)]
struct Half {
    count: usize,
    entry_bytes: usize,
}

impl Half {
    /// A chunk with room for it, and a little more.
    fn chunk(self) -> Chunk<Entries> {
        let used = HEAD_BYTES + self.count * (TAG_BYTES + DISTANCE_BYTES) + self.entry_bytes;
        let mut head = [0; HEAD_BYTES];
        set_u16(&mut head, COUNT_AT, self.count);
        set_u16(&mut head, ENTRY_BYTES_AT, self.entry_bytes);
        Chunk::with_ends(block_bytes(used), &head, &[])
    }
}

/// Counts the references of a chunk whose head does not know them yet.
fn count_references(chunk: &mut Chunk<Entries>) {
    let data = chunk.make_mut();
    set_u16(data, REFERENCES_AT, usize::from(u16::MAX));
    let mut count = 0;
    Entries::references(data, |_| count += 1);
    set_u16(data, REFERENCES_AT, count);
}

/// The block for so many bytes in use.
fn block_bytes(used: usize) -> usize {
    let block = size_class(chunk::HEADER_BYTES + used);
    assert!(u16::try_from(block).is_ok(), "more elements of one position than a sound hash can give");
    block
}

/// A position that parts these in two sets of about the same size. A sound hash spreads them evenly, so the middle between
/// the ends will mostly do.
fn boundary(positions: &[u32]) -> Option<u32> {
    let (low, high) = (*positions.iter().min()?, *positions.iter().max()?);
    if low == high {
        return None;
    }
    let middle = low + (high - low).div_ceil(2);
    let above = positions.iter().filter(|position| **position >= middle).count();
    if (positions.len() / 3..=positions.len() * 2 / 3).contains(&above) {
        return Some(middle);
    }
    let mut sorted: SmallVec<[u32; 128]> = positions.iter().copied().collect();
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2];
    // The lowest one cannot be the boundary: nothing would be below it.
    if median > low { Some(median) } else { sorted.into_iter().find(|position| *position > low) }
}

/// Moves the bytes of all entries in front of `offset` of entry `index` down by `delta` (up if negative).
fn shift(data: &mut [u8], index: usize, offset: usize, delta: isize) {
    if delta == 0 {
        return;
    }
    let (count, entry_bytes) = (u16_at(data, COUNT_AT), u16_at(data, ENTRY_BYTES_AT));
    let moved = distance(data, index);
    let low = data.len() - entry_bytes;
    let end = data.len() - moved + offset;
    data.copy_within(low..end, low.strict_add_signed(-delta));
    let distances = HEAD_BYTES + count * TAG_BYTES;
    for place in data[distances..distances + count * DISTANCE_BYTES].chunks_exact_mut(DISTANCE_BYTES) {
        let old = u16::from_le_bytes([place[0], place[1]]);
        let change = if old as usize >= moved { delta as i16 } else { 0 };
        place.copy_from_slice(&old.wrapping_add_signed(change).to_le_bytes());
    }
    set_u16(data, ENTRY_BYTES_AT, entry_bytes.strict_add_signed(delta));
}

impl Leaf for HashLeaf {
    type Key = u32;

    const HEAD_LINES: usize = 4;

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
        Entries::references(self.0.bytes(), |reference| {
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
        let needed = self.used() + right.used() - HEAD_BYTES;
        if needed > JOINED_BYTES_MAX {
            return false;
        }
        self.reserve(right.used() - HEAD_BYTES, bytes);
        for (tag, element) in right.tagged() {
            self.insert(tag, &Draft::of(&element), bytes);
        }
        *bytes -= right.heap_bytes();
        true
    }

    fn units_to_free(&self) -> usize {
        garbage::units(self.heap_bytes()) + u16_at(self.0.bytes(), REFERENCES_AT)
    }
}

#[cfg(test)]
impl HashLeaf {
    /// Checks that the entries fill their bytes.
    pub(super) fn audit(&self) {
        let bytes = self.0.bytes();
        let lengths: usize = (0..self.len()).map(|index| parse(entry_bytes(bytes, index)).end).sum();
        assert_eq!(lengths, u16_at(bytes, ENTRY_BYTES_AT));
        assert!(self.used() <= bytes.len());
        let mut references = 0;
        Entries::references(bytes, |_| references += 1);
        assert_eq!(references, u16_at(bytes, REFERENCES_AT));
    }
}
