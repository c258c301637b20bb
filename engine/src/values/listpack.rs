//! The listpack: a run of elements in one block of bytes, the packed format of small lists, hashes, sets and sorted sets.
//!
//! ```text
//!   ┌ total bytes: u32 ┬ elements: u16 ┬ element ┬ element ┬ ... ┬ 0xff ┐     little endian
//!   └──────────────────┴───────────────┴─────────┴─────────┴─────┴──────┘
//!   element:  ┌ encoding and data ─────────────────────────┬ length of that, readable from behind: 1 to 5 ┐
//!             │ 0xxxxxxx                   0 to 127        │
//!             │ 10xxxxxx text              up to 63 bytes  │
//!             │ 110xxxxx xxxxxxxx          13-bit integer  │
//!             │ 1110xxxx xxxxxxxx text     up to 4095      │
//!             │ f1 f2 f3 f4 + 2 3 4 8      integer         │
//!             │ f0 + u32 text              longer texts    │
//!             └────────────────────────────────────────────┴──────────────────────────────────────────────┘
//! ```
//!
//! The format is that of the real server's files, byte for byte (its description: "Listpack specification"). A text that is
//! the canonical decimal of an i64 is an integer, in the shortest of its encodings; so two elements are equal exactly when
//! their encodings are, and a search compares bytes.
//!
//! Changes are made through [`Packed`], a run of bytes that can replace a range of itself: a `Vec` in tests and while a
//! value is built, the value of a key where it stands ([`crate::keyspace::EntryMut`]) otherwise. Positions are offsets of
//! elements; [`Listpack::end`] is the one behind the last. Everything here trusts the bytes to be well formed, and panics
//! where they are not: foreign bytes go through [`Listpack::validate`] first.

use super::string::stored_integer;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// Bytes in front of the first element.
pub const HEADER_BYTES: usize = 6;
/// A listpack without elements.
pub const EMPTY: [u8; 7] = [7, 0, 0, 0, 0, 0, 0xff];
/// The longest that a listpack may become, in bytes: the real server refuses more.
pub const BYTES_MAX: usize = 1 << 30;

/// The byte behind the last element.
pub(super) const END: u8 = 0xff;
/// In the header: so many elements that they must be counted.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// A run of bytes that holds a packed value.
pub trait Packed {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, to change them in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Puts `parts`, one after the other, in the place of the bytes `range`.
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]);
}

impl Packed for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        if range.start == self.len() {
            return parts.iter().for_each(|part| self.extend_from_slice(part));
        }
        Vec::splice(self, range, parts.iter().copied().flatten().copied());
    }
}

impl<const N: usize> Packed for SmallVec<[u8; N]> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let (length, removed) = (self.len(), range.len());
        if added > removed {
            self.resize(length + added - removed, 0);
        }
        self.copy_within(range.end..length, range.start + added);
        self.truncate(length + added - removed);
        let mut at = range.start;
        for part in parts {
            self[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }
}

/// An element as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// The canonical text of a number, kept as the number.
    Integer(i64),
    /// Any other text.
    Text(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element that a text is stored as.
    #[inline]
    pub fn of(text: &'a [u8]) -> Self {
        stored_integer(text).map_or(Self::Text(text), Self::Integer)
    }

    /// The text; an integer's is written into `scratch`.
    #[inline]
    pub fn as_bytes<'s>(&self, scratch: &'s mut itoa::Buffer) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Self::Integer(value) => scratch.format(*value).as_bytes(),
            Self::Text(text) => text,
        }
    }

    /// The text, borrowed where it exists as such.
    pub fn to_bytes(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Integer(value) => Cow::Owned(itoa::Buffer::new().format(*value).as_bytes().to_vec()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// Length of the text, in bytes.
    pub fn text_len(&self) -> usize {
        match self {
            Self::Integer(value) => itoa::Buffer::new().format(*value).len(),
            Self::Text(text) => text.len(),
        }
    }

    /// The number, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(value) = self { Some(*value) } else { None }
    }
}

/// An element ready to be written or searched for: what stands in front of its text, the text, and the length behind.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    tail_len: u8,
    tail: [u8; 5],
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// The encoding of a text.
    #[inline]
    pub fn new(text: &'a [u8]) -> Self {
        match stored_integer(text) {
            Some(value) => Self::integer(value),
            None => Self::text(text),
        }
    }

    /// The encoding of an element.
    pub fn of(element: Element<'a>) -> Self {
        match element {
            Element::Integer(value) => Self::integer(value),
            Element::Text(text) => Self::text(text),
        }
    }

    /// The encoding of a number.
    #[inline]
    pub fn integer(value: i64) -> Self {
        let bytes = value.to_le_bytes();
        let mut head = [0; 9];
        head[1..].copy_from_slice(&bytes);
        let head_len = match value {
            0..=127 => {
                head[0] = value as u8;
                1
            }
            -4096..=4095 => {
                head[0] = 0xc0 | (value >> 8) as u8 & 0x1f;
                head[1] = value as u8;
                2
            }
            _ if i16::try_from(value).is_ok() => {
                head[0] = 0xf1;
                3
            }
            -0x80_0000..=0x7f_ffff => {
                head[0] = 0xf2;
                4
            }
            _ if i32::try_from(value).is_ok() => {
                head[0] = 0xf3;
                5
            }
            _ => {
                head[0] = 0xf4;
                9
            }
        };
        Self::finish(head, head_len, &[])
    }

    fn text(text: &'a [u8]) -> Self {
        let mut head = [0; 9];
        let length = text.len();
        let head_len = match length {
            0..=63 => {
                head[0] = 0x80 | length as u8;
                1
            }
            64..=4095 => {
                head[0] = 0xe0 | (length >> 8) as u8;
                head[1] = length as u8;
                2
            }
            _ => {
                head[0] = 0xf0;
                head[1..5].copy_from_slice(&(length as u32).to_le_bytes());
                5
            }
        };
        Self::finish(head, head_len, text)
    }

    #[inline]
    fn finish(head: [u8; 9], head_len: u8, text: &'a [u8]) -> Self {
        let data_len = head_len as usize + text.len();
        let tail_len = back_length_len(data_len);
        let mut tail = [0; 5];
        // Seven bits a byte, the highest first; all but the first byte are marked, so that it ends when read from behind.
        for (place, byte) in tail[..tail_len].iter_mut().rev().enumerate() {
            *byte = (data_len >> (7 * place)) as u8 & 0x7f | 0x80;
        }
        tail[0] &= 0x7f;
        Self { head, head_len, tail_len: tail_len as u8, tail, text }
    }

    /// Bytes that it takes in a listpack.
    #[inline]
    pub fn len(&self) -> usize {
        self.data_len() + self.tail_len as usize
    }

    /// Never: an element takes two bytes at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    #[inline]
    fn data_len(&self) -> usize {
        self.head_len as usize + self.text.len()
    }

    /// What is to be written, one after the other.
    #[inline]
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len as usize], self.text, &self.tail[..self.tail_len as usize]]
    }

    /// Writes it to the front of these bytes, of which there are enough; how many it took.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) -> usize {
        let (head_len, tail_len) = (self.head_len as usize, self.tail_len as usize);
        let out = &mut out[..head_len + self.text.len() + tail_len];
        let (data, tail) = out.split_at_mut(head_len + self.text.len());
        // Mostly a byte on either side, and no text of a number: not worth calls.
        match head_len {
            1 => data[0] = self.head[0],
            _ => data[..head_len].copy_from_slice(&self.head[..head_len]),
        }
        if !self.text.is_empty() {
            data[head_len..].copy_from_slice(self.text);
        }
        match tail {
            [byte] => *byte = self.tail[0],
            _ => tail.copy_from_slice(&self.tail[..tail_len]),
        }
        out.len()
    }

    /// Its last eight bytes in a listpack, if it has so many.
    #[inline]
    fn closing(&self) -> Option<[u8; 8]> {
        let mut closing = [0; 8];
        let mut left = closing.len();
        for part in self.parts().into_iter().rev() {
            let taken = part.len().min(left);
            closing[left - taken..left].copy_from_slice(&part[part.len() - taken..]);
            left -= taken;
        }
        (left == 0).then_some(closing)
    }

    /// Whether these bytes begin with this element. They are long enough for an element.
    #[inline]
    fn is_at(&self, bytes: &[u8]) -> bool {
        let head_len = self.head_len as usize;
        bytes[0] == self.head[0]
            && bytes[..head_len] == self.head[..head_len]
            && (self.text.is_empty() || bytes[head_len..head_len + self.text.len()] == *self.text)
    }
}

/// Length of the length behind an element, by the length of the element in front of it. The bounds are the real server's:
/// one less than fits, save the first.
#[inline]
const fn back_length_len(data_len: usize) -> usize {
    match data_len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Length of a whole element by its first byte; 0 where more bytes must be read.
static ELEMENT_LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut first = 0;
    while first < 256 {
        lengths[first] = match first {
            0..=0x7f => 2,
            0x80..=0xbf => (first - 0x80 + 2) as u8,
            0xc0..=0xdf => 3,
            0xf1 => 4,
            0xf2 => 5,
            0xf3 => 6,
            0xf4 => 10,
            _ => 0,
        };
        first += 1;
    }
    lengths
};

/// Length of the whole element that these bytes begin with.
#[inline]
fn element_len(bytes: &[u8]) -> usize {
    let length = ELEMENT_LENGTHS[bytes[0] as usize] as usize;
    if length != 0 { length } else { long_text_len(bytes) }
}

/// The length of elements that are mostly as long as the last one: the processor goes on with that while it still waits for
/// the bytes that say so, where a length that is read would hold up the next step.
struct LikeTheLast {
    head: u8,
    length: usize,
}

impl Default for LikeTheLast {
    fn default() -> Self {
        Self { head: END, length: 0 }
    }
}

impl LikeTheLast {
    #[inline]
    fn element_len(&mut self, bytes: &[u8]) -> usize {
        if bytes[0] == self.head { self.length } else { self.learn(bytes) }
    }

    /// Out of line, so that the choice above is a jump that can be foretold.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, bytes: &[u8]) -> usize {
        let length = ELEMENT_LENGTHS[bytes[0] as usize] as usize;
        if length == 0 {
            return long_text_len(bytes);
        }
        (self.head, self.length) = (bytes[0], length);
        length
    }
}

fn long_text_len(bytes: &[u8]) -> usize {
    let data_len = match bytes[0] {
        0xe0..=0xef => 2 + (((bytes[0] & 0x0f) as usize) << 8 | bytes[1] as usize),
        0xf0 => 5 + u32_at(bytes, 1) as usize,
        other => panic!("no element of a listpack begins with {other:#x}"),
    };
    data_len + back_length_len(data_len)
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The element that these bytes begin with.
#[inline]
fn decode(bytes: &[u8]) -> Element<'_> {
    let first = bytes[0];
    let integer = |length: usize| {
        let mut wide = [0; 8];
        wide[8 - length..].copy_from_slice(&bytes[1..=length]);
        Element::Integer(i64::from_le_bytes(wide) >> (64 - 8 * length))
    };
    match first {
        0..=0x7f => Element::Integer(first as i64),
        0x80..=0xbf => Element::Text(&bytes[1..][..(first & 0x3f) as usize]),
        0xc0..=0xdf => {
            let bits = ((first & 0x1f) as i64) << 8 | bytes[1] as i64;
            Element::Integer(bits << 51 >> 51)
        }
        0xe0..=0xef => Element::Text(&bytes[2..][..((first & 0x0f) as usize) << 8 | bytes[1] as usize]),
        0xf0 => Element::Text(&bytes[5..][..u32_at(bytes, 1) as usize]),
        0xf1 => integer(2),
        0xf2 => integer(3),
        0xf3 => integer(4),
        _ => integer(8),
    }
}

/// A listpack to read.
#[derive(Clone, Copy, Debug)]
pub struct Listpack<'a>(&'a [u8]);

impl<'a> Listpack<'a> {
    /// Bytes that are a well-formed listpack.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Foreign bytes, if they are a well-formed listpack in every byte, with every number in its shortest encoding.
    pub fn validate(bytes: &'a [u8]) -> Option<Self> {
        let total = bytes.len();
        if total < EMPTY.len() || u32_at(bytes, 0) as usize != total || bytes[total - 1] != END {
            return None;
        }
        let (mut at, mut count) = (HEADER_BYTES, 0usize);
        while at < total - 1 {
            let rest = &bytes[at..total - 1];
            let element = well_formed(rest)?;
            at += element.len();
            count += 1;
        }
        let said = u16::from_le_bytes([bytes[4], bytes[5]]);
        (said == COUNT_UNKNOWN || said as usize == count).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Number of elements; past 65,534 they are counted.
    #[inline]
    pub fn len(self) -> usize {
        match u16::from_le_bytes([self.0[4], self.0[5]]) {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize,
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0[HEADER_BYTES] == END
    }

    /// The position behind the last element.
    #[inline]
    pub fn end(self) -> usize {
        self.0.len() - 1
    }

    /// The element at a position.
    #[inline]
    pub fn get(self, at: usize) -> Element<'a> {
        decode(&self.0[at..])
    }

    /// The position behind the element at `at`.
    #[inline]
    pub fn next(self, at: usize) -> usize {
        at + element_len(&self.0[at..])
    }

    /// The position of the element in front of `at`.
    #[inline]
    pub fn previous(self, at: usize) -> usize {
        let (mut data_len, mut tail_len) = (0, 0);
        loop {
            let byte = self.0[at - 1 - tail_len];
            data_len |= ((byte & 0x7f) as usize) << (7 * tail_len);
            tail_len += 1;
            if byte & 0x80 == 0 {
                return at - tail_len - data_len;
            }
        }
    }

    /// The position of the element of that index, from whichever end is nearer; `None` past the end.
    pub fn seek(self, index: usize) -> Option<usize> {
        let count = self.len();
        if index >= count {
            return None;
        }
        if index <= count / 2 {
            return Some((0..index).fold(HEADER_BYTES, |at, _| self.next(at)));
        }
        Some((index..count).fold(self.end(), |at, _| self.previous(at)))
    }

    /// The first element at or behind `from` that equals `wanted`, looking at each `stride`-th; with its position.
    #[inline]
    pub fn find_from(self, from: usize, wanted: &Encoded<'_>, stride: usize) -> Option<usize> {
        let (mut at, end) = (from, self.end());
        let wanted_len = wanted.len();
        let closing = wanted.closing();
        let (mut names, mut others) = (LikeTheLast::default(), LikeTheLast::default());
        while at < end {
            let rest = &self.0[at..];
            let length = names.element_len(rest);
            // Names of one kind begin alike and are of one length; they differ near their ends.
            let may_be = match closing {
                Some(closing) => length == wanted_len && rest[length - 8..length] == closing,
                None => length == wanted_len,
            };
            if may_be && wanted.is_at(rest) {
                return Some(at);
            }
            at += length;
            for _ in 1..stride {
                at += others.element_len(&self.0[at..]);
            }
        }
        None
    }

    /// The first of all elements that equals `wanted`.
    #[inline]
    pub fn find(self, wanted: &Encoded<'_>) -> Option<usize> {
        self.find_from(HEADER_BYTES, wanted, 1)
    }

    /// The same of an element that is most likely not there: where the end of its text is nowhere in the bytes, which many
    /// bytes at a time are searched for, no element is looked at. Names of one kind differ near their ends.
    #[inline]
    pub fn find_new(self, wanted: &Encoded<'_>) -> Option<usize> {
        const ENDING_BYTES: usize = 6;
        const SEARCHED_BYTES_MIN: usize = 128;
        // A number is not in its text, but neither is an equal one.
        let text = wanted.text;
        if text.len() >= ENDING_BYTES
            && self.0.len() >= SEARCHED_BYTES_MIN
            && memchr::memmem::find(self.0, &text[text.len() - ENDING_BYTES..]).is_none()
        {
            return None;
        }
        self.find(wanted)
    }

    /// All elements in order.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        self.iter_from(HEADER_BYTES)
    }

    /// The elements at and behind a position.
    #[inline]
    pub fn iter_from(self, at: usize) -> Iter<'a> {
        Iter { rest: &self.0[at..self.end()] }
    }

    /// Fields and values, or members and scores: elements two by two.
    #[inline]
    pub fn pairs(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let mut elements = self.iter();
        std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
    }
}

/// The bytes of the element in front, if it is well formed and, where it is a number or could be one, in the one right
/// encoding.
fn well_formed(rest: &[u8]) -> Option<&[u8]> {
    let head_len = match *rest.first()? {
        0xe0..=0xef => 2,
        0xf0 => 5,
        0xf5..=END => return None,
        _ => 1,
    };
    if rest.len() < head_len {
        return None;
    }
    let element = rest.get(..element_len(rest))?;
    let encoded = match decode(element) {
        Element::Text(text) => Encoded::new(text),
        Element::Integer(value) => Encoded::integer(value),
    };
    let mut at = 0;
    let equal = encoded.len() == element.len()
        && encoded.parts().iter().all(|part| {
            at += part.len();
            element[at - part.len()..at] == **part
        });
    equal.then_some(element)
}

/// Elements from front to end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let element = decode(self.rest);
        self.rest = &self.rest[element_len(self.rest)..];
        Some(element)
    }
}

/// Sets the header after a change: the total from the length, and the number of elements from what it was.
#[inline]
fn set_header(packed: &mut impl Packed, count_before: u16, added: isize) {
    let bytes = packed.bytes_mut();
    let total = (bytes.len() as u32).to_le_bytes();
    bytes[..4].copy_from_slice(&total);
    let count = if count_before == COUNT_UNKNOWN {
        // Fewer now, perhaps: they are counted again, as seldom as elements leave a listpack of that many.
        if added >= 0 { COUNT_UNKNOWN } else { Listpack(bytes).iter().count().min(COUNT_UNKNOWN as usize) as u16 }
    } else {
        (count_before as isize + added).min(COUNT_UNKNOWN as isize) as u16
    };
    bytes[4..6].copy_from_slice(&count.to_le_bytes());
}

/// Writes the header of a listpack whose elements have been written by others.
#[inline]
pub(super) fn write_header(bytes: &mut [u8], count: usize) {
    let total = (bytes.len() as u32).to_le_bytes();
    bytes[..4].copy_from_slice(&total);
    bytes[4..6].copy_from_slice(&(count.min(COUNT_UNKNOWN as usize) as u16).to_le_bytes());
}

#[inline]
fn count_in_header(packed: &impl Packed) -> u16 {
    let bytes = packed.bytes();
    u16::from_le_bytes([bytes[4], bytes[5]])
}

/// Puts elements in the place of the `removed` elements that take the bytes `range`.
#[inline]
fn splice(packed: &mut impl Packed, range: Range<usize>, removed: usize, elements: &[Encoded<'_>]) {
    let count = count_in_header(packed);
    if let [element] = elements {
        packed.splice(range, &element.parts());
    } else {
        let parts: SmallVec<[&[u8]; 12]> = elements.iter().flat_map(Encoded::parts).collect();
        packed.splice(range, &parts);
    }
    set_header(packed, count, elements.len() as isize - removed as isize);
}

/// Puts elements in front of the position `at`.
#[inline]
pub fn insert(packed: &mut impl Packed, at: usize, elements: &[Encoded<'_>]) {
    splice(packed, at..at, 0, elements);
}

/// Puts elements behind the last one.
#[inline]
pub fn append(packed: &mut impl Packed, elements: &[Encoded<'_>]) {
    let end = Listpack(packed.bytes()).end();
    insert(packed, end, elements);
}

/// Puts another element in the place of the one at `at`. One of equal length is written over it and nothing moves.
#[inline]
pub fn replace(packed: &mut impl Packed, at: usize, element: &Encoded<'_>) {
    let old_len = element_len(&packed.bytes()[at..]);
    if old_len != element.len() {
        return splice(packed, at..at + old_len, 1, &[*element]);
    }
    let mut rest = &mut packed.bytes_mut()[at..at + old_len];
    for part in element.parts() {
        let (here, behind) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = behind;
    }
}

/// Removes `count` elements from the one at `at` on.
pub fn remove(packed: &mut impl Packed, at: usize, count: usize) {
    let list = Listpack(packed.bytes());
    let end = (0..count).fold(at, |at, _| list.next(at));
    splice(packed, at..end, count, &[]);
}

/// Whether elements of so many bytes of text in all can be added without the listpack becoming too long.
#[inline]
pub fn has_room(bytes: &[u8], text_bytes: usize) -> bool {
    bytes.len() + text_bytes <= BYTES_MAX
}

/// A listpack of these elements.
pub fn build<'e>(elements: impl IntoIterator<Item = Element<'e>>) -> Vec<u8> {
    let mut bytes = EMPTY.to_vec();
    bytes.pop();
    let mut count = 0usize;
    for element in elements {
        for part in Encoded::of(element).parts() {
            bytes.extend_from_slice(part);
        }
        count += 1;
    }
    bytes.push(END);
    write_header(&mut bytes, count);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listpack_of(texts: &[&[u8]]) -> Vec<u8> {
        build(texts.iter().map(|text| Element::of(text)))
    }

    fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
        Listpack::validate(bytes).expect("well formed").iter().map(|element| element.to_bytes().into_owned()).collect()
    }

    /// Long and short lists, members that are there or end alike, numbers, and texts within others.
    #[test]
    fn what_is_most_likely_new_is_found_where_it_is_there() {
        for count in [0, 3, 40, 200] {
            let mut bytes = listpack_of(&[b"x", b"77", b"123456789", b"a text that is longer than most"]);
            let names: Vec<String> = (0..count).map(|number| format!("member:{number:05}")).collect();
            names.iter().for_each(|name| append(&mut bytes, &[Encoded::new(name.as_bytes())]));
            let list = Listpack::new(&bytes);
            let asked = (0..count + 3).map(|number| format!("member:{number:05}"));
            let more =
                ["x", "77", "78", "123456789", "23456789", "longer", "than most", "r:00001", "", "00000000000000001"];
            for text in asked.chain(more.map(str::to_owned)) {
                let wanted = Encoded::new(text.as_bytes());
                assert_eq!(list.find_new(&wanted), list.find(&wanted), "{text} among {count}");
            }
            assert!(list.find_new(&Encoded::new(b"123456789")).is_some());
            assert_eq!(list.find_new(&Encoded::new(b"member:00002")).is_some(), count > 2);
        }
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let bytes = listpack_of(&[b"1", b"-1", b"hello", b"4096", b"12345678", b"9223372036854775807"]);
        let expected = [
            &[40, 0, 0, 0, 6, 0][..],
            &[0x01, 1],
            &[0xdf, 0xff, 2],
            &[0x85, b'h', b'e', b'l', b'l', b'o', 6],
            &[0xf1, 0x00, 0x10, 3],
            &[0xf3, 0x4e, 0x61, 0xbc, 0x00, 5],
            &[0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9],
            &[0xff],
        ];
        let mut expected = expected.concat();
        expected[0] = expected.len() as u8;
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_length_and_number_comes_back() {
        let lengths = [0, 1, 62, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_377, 16_378, 16_379, 16_383, 70_000];
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
        all.push(vec![b'y'; 2_097_200]);
        let edges = [0, 127, 128, 4095, 4096, 32_767, 32_768, 0x7f_ffff, 0x80_0000, i32::MAX as i64, i64::MAX];
        for edge in edges {
            all.extend([edge, edge - 1, -edge, -edge - 1].map(|number| number.to_string().into_bytes()));
        }
        let bytes = build(all.iter().map(|text| Element::of(text)));
        assert_eq!(texts(&bytes), all);
        let list = Listpack::new(&bytes);
        for (index, text) in all.iter().enumerate() {
            let at = list.seek(index).expect("an element");
            assert_eq!(list.get(at).to_bytes(), *text);
            assert_eq!(list.previous(list.next(at)), at);
            let first = all.iter().position(|other| other == text).and_then(|index| list.seek(index));
            assert_eq!(list.find(&Encoded::new(text)), first);
        }
        assert_eq!(list.seek(all.len()), None);
    }

    #[test]
    fn more_elements_than_the_header_counts() {
        let mut bytes = build((0..70_000).map(Element::Integer));
        assert_eq!(Listpack::validate(&bytes).map(Listpack::len), Some(70_000));
        append(&mut bytes, &[Encoded::new(b"last")]);
        assert_eq!(Listpack::new(&bytes).len(), 70_001);
        remove(&mut bytes, HEADER_BYTES, 10_000);
        assert_eq!((&bytes[4..6], Listpack::new(&bytes).len()), (&60_001u16.to_le_bytes()[..], 60_001));
    }

    #[test]
    fn foreign_bytes_are_looked_at_in_every_byte() {
        let good = listpack_of(&[b"field", b"12", &[b'v'; 100], b"70000"]);
        assert!(Listpack::validate(&good).is_some());
        for at in 0..good.len() {
            for flip in 1..=255u8 {
                let mut bad = good.clone();
                bad[at] ^= flip;
                // Whatever is let through is read without a fault.
                if let Some(list) = Listpack::validate(&bad) {
                    assert_eq!(list.iter().count(), list.len());
                }
            }
            assert!(Listpack::validate(&good[..at]).is_none());
        }
        // A number as a text, and one in too long an encoding.
        assert!(Listpack::validate(&[10, 0, 0, 0, 1, 0, 0x81, b'7', 2, 0xff]).is_none());
        assert!(Listpack::validate(&[11, 0, 0, 0, 1, 0, 0xf1, 7, 0, 3, 0xff]).is_none());
        assert!(Listpack::validate(&[7, 0, 0, 0, 0xff, 0xff, 0xff]).is_some_and(Listpack::is_empty));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-200i64..200).prop_map(|number| number.to_string().into_bytes()),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..8),
            (60usize..140).prop_map(|length| vec![b'x'; length]),
            prop_oneof![Just(4095usize), Just(4096), Just(20_000)].prop_map(|length| vec![b'z'; length]),
        ]
    }

    /// What is done, where (a fraction of the length), and with what.
    type Operation = (u8, f64, Vec<u8>, Vec<u8>);

    fn play(operations: &[Operation]) {
        let mut bytes = EMPTY.to_vec();
        let mut small: SmallVec<[u8; 32]> = SmallVec::from_slice(&EMPTY);
        let mut model: Vec<Vec<u8>> = Vec::new();
        for (kind, place, first, second) in operations {
            let index = (*place * (model.len() + 1) as f64) as usize;
            let list = Listpack::new(&bytes);
            let at = list.seek(index).unwrap_or(list.end());
            let elements = [Encoded::new(first), Encoded::new(second)];
            match kind {
                0 => {
                    insert(&mut bytes, at, &elements);
                    insert(&mut small, at, &elements);
                    model.splice(index..index, [first.clone(), second.clone()]);
                }
                1 => {
                    append(&mut bytes, &elements[..1]);
                    append(&mut small, &elements[..1]);
                    model.push(first.clone());
                }
                2 if index < model.len() => {
                    replace(&mut bytes, at, &elements[0]);
                    replace(&mut small, at, &elements[0]);
                    model[index].clone_from(first);
                }
                3 if index < model.len() => {
                    let count = 2.min(model.len() - index);
                    remove(&mut bytes, at, count);
                    remove(&mut small, at, count);
                    model.drain(index..index + count);
                }
                _ => {
                    // Strides that end at the end, as those of pairs do.
                    let left = model.len().saturating_sub(index);
                    let stride = [3, 2, 1].into_iter().find(|stride| left.is_multiple_of(*stride)).unwrap_or(1);
                    let found = list.find_from(at, &elements[0], stride);
                    let expected = (index..model.len()).step_by(stride).find(|index| model[*index] == *first);
                    assert_eq!(found, expected.and_then(|index| list.seek(index)));
                }
            }
            assert_eq!(texts(&bytes), model);
            assert_eq!(bytes[..], small[..]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_are_those_of_a_vector(
            operations in proptest::collection::vec((0u8..5, 0.0..1.0, text(), text()), 1..60),
        ) {
            play(&operations);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            if bytes.len() >= EMPTY.len() {
                let total = (bytes.len() as u32).to_le_bytes();
                bytes[..4].copy_from_slice(&total);
                *bytes.last_mut().expect("long enough") = END;
            }
            if let Some(list) = Listpack::validate(&bytes) {
                prop_assert_eq!(list.iter().count(), list.len());
            }
        }
    }
}
