//! One key with its value, packed into a run of bytes of a page.
//!
//! ```text
//!   ┌ meta: 1 ┬ clock: 3 ┬ key length: 1 ┬ text length: 2 ┬ expiry: 8 ┬ key ┬ value ┐
//!   │         │          │               │ short texts    │ if any    │     │ number, text, or pointer
//!   └─────────┴──────────┴───────────────┴────────────────┴───────────┴─────┴───────┘
//!   meta:  type: 3 │ long key │ expiry │ variant │ kind: 2
//! ```
//!
//! * Kinds: an integer takes 8 bytes; a run of bytes up to [`Form::inline_bytes_max`] stands here ("text"), a longer one is a
//!   pointer to a [`Blob`]; a large collection is a pointer to an [`Object`].
//! * A run of bytes is the text of a string or a small collection in the packed format of its type; [`Form`] is the type
//!   with the one bit that tells its two packed formats apart.
//! * A key of more than 255 bytes is a pointer to a blob, too.
//!
//! Nothing is aligned, so a 16-byte key with a 32-byte text takes 55 bytes.

use super::Listpack;
use super::blob::Blob;
use super::hash::HashRef;
use super::large::Foresight;
use super::object::Object;
use super::string::{OwnedString, StringRef};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The longest text that stands in a page, in bytes. A blob costs 24 bytes more, a block of the allocator and a cache
/// miss; a longer limit makes the moves inside a page longer.
pub const INLINE_BYTES_MAX: usize = 128;

/// The longest packed collection that stands in a page, in bytes. It is longer than that of texts, which are mostly written as a
/// whole: a block of the allocator wastes an eighth of what a hash of ten fields takes.
pub const INLINE_COLLECTION_BYTES_MAX: usize = 320;

/// The longest key that stands in a page, in bytes: its length is one byte.
const INLINE_KEY_BYTES_MAX: usize = 255;

const KIND: u8 = 0b11;
const VARIANT: u8 = 1 << 2;
const EXPIRY: u8 = 1 << 3;
const LONG_KEY: u8 = 1 << 4;
const TYPE_SHIFT: u32 = 5;

const INTEGER: u8 = 0;
const TEXT: u8 = 1;
const BLOB: u8 = 2;
const OBJECT: u8 = 3;
/// The bit that blobs and objects have in common: a value outside of the page.
const OUTSIDE: u8 = BLOB & OBJECT;

const CLOCK_AT: usize = 1;
const KEY_LENGTH_AT: usize = 4;
const TEXT_LENGTH_AT: usize = 5;
const TEXT_LENGTH_BYTES: usize = 2;
const POINTER_BYTES: usize = size_of::<Blob>();
const EXPIRY_BYTES: usize = size_of::<i64>();

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    /// Texts and numbers.
    String,
    /// Fields with values.
    Hash,
    /// Elements in an order.
    List,
    /// Distinct members.
    Set,
    /// Members ordered by score.
    SortedSet,
    /// Entries by ID.
    Stream,
}

impl Type {
    /// Every type.
    pub const ALL: [Self; 6] = [Self::String, Self::List, Self::Set, Self::SortedSet, Self::Hash, Self::Stream];

    /// The answer of TYPE.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Stream => "stream",
        }
    }
}

/// What a run of bytes is: a type, and which of its two packed formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form(u8);

impl Form {
    /// A text.
    pub const STRING: Self = Self::of(Type::String);
    /// A text that `OBJECT ENCODING` calls `raw` however short it is.
    pub const RAW_STRING: Self = Self::of(Type::String).variant();
    /// A listpack of fields and values in turn.
    pub const HASH: Self = Self::of(Type::Hash);
    /// A listpack of fields, values and times of expiry in turn, those that expire first in front.
    pub const HASH_WITH_TIMES: Self = Self::of(Type::Hash).variant();
    /// A listpack of elements.
    pub const LIST: Self = Self::of(Type::List);
    /// A listpack of members.
    pub const SET: Self = Self::of(Type::Set);
    /// An integer set.
    pub const INTEGER_SET: Self = Self::of(Type::Set).variant();
    /// A listpack of members and scores in turn, by score.
    pub const SORTED_SET: Self = Self::of(Type::SortedSet);

    /// The first format of a type.
    pub const fn of(kind: Type) -> Self {
        Self((kind as u8) << TYPE_SHIFT)
    }

    const fn variant(self) -> Self {
        Self(self.0 | VARIANT)
    }

    /// The type.
    #[inline]
    pub const fn kind(self) -> Type {
        type_of(self.0)
    }

    /// The longest run of bytes of this form that stands in a page.
    #[inline]
    pub const fn inline_bytes_max(self) -> usize {
        if matches!(self.kind(), Type::String) { INLINE_BYTES_MAX } else { INLINE_COLLECTION_BYTES_MAX }
    }

    /// Whether it is the second of its type's formats.
    #[inline]
    pub const fn is_variant(self) -> bool {
        self.0 & VARIANT != 0
    }
}

/// The type in a meta byte.
#[inline]
const fn type_of(meta: u8) -> Type {
    match meta >> TYPE_SHIFT {
        1 => Type::Hash,
        2 => Type::List,
        3 => Type::Set,
        4 => Type::SortedSet,
        5 => Type::Stream,
        _ => Type::String,
    }
}

/// What a value was that owned memory outside of its page: handed over by whoever removes it, since freeing it may be
/// worth putting off.
#[derive(Debug)]
pub enum Leftover {
    /// A long run of bytes.
    Blob(Blob),
    /// A large collection.
    Object(Box<Object>),
}

/// What stands in a page: a view of one entry.
///
/// Invariant: `start` points at a whole, well-formed entry as drawn above, which stays as it is for `'a`.
#[derive(Clone, Copy)]
pub struct PackedEntry<'a> {
    start: NonNull<u8>,
    page: PhantomData<&'a [u8]>,
}

impl<'a> PackedEntry<'a> {
    /// SAFETY: `start` points at an entry written by [`Draft::write`] that nobody changes during `'a`.
    #[inline]
    pub(super) unsafe fn at(start: NonNull<u8>) -> Self {
        Self { start, page: PhantomData }
    }

    #[inline]
    fn byte(self, offset: usize) -> u8 {
        // SAFETY: called with offsets inside of the fixed part only.
        unsafe { self.start.add(offset).read() }
    }

    #[inline]
    fn slice(self, offset: usize, length: usize) -> &'a [u8] {
        // SAFETY: called with ranges that the entry's own lengths span, by the invariant.
        unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), length) }
    }

    #[inline]
    fn blob(self, offset: usize) -> &'a Blob {
        // SAFETY: called where the meta byte says that a blob's pointer stands; a `Blob` has alignment 1.
        unsafe { self.start.add(offset).cast::<Blob>().as_ref() }
    }

    #[inline]
    fn number(self, offset: usize) -> i64 {
        // SAFETY: called where the meta byte says that eight bytes of number stand.
        unsafe { self.start.add(offset).cast::<i64>().read_unaligned() }
    }

    #[inline]
    fn kind(self) -> u8 {
        self.byte(0) & KIND
    }

    #[inline]
    fn has(self, flag: u8) -> bool {
        self.byte(0) & flag != 0
    }

    #[inline]
    fn text_len(self) -> usize {
        // SAFETY: called where the meta byte says that a text's length stands.
        unsafe { self.start.add(TEXT_LENGTH_AT).cast::<u16>().read_unaligned() as usize }
    }

    #[inline]
    fn expiry_offset(self) -> usize {
        TEXT_LENGTH_AT + if self.kind() == TEXT { TEXT_LENGTH_BYTES } else { 0 }
    }

    #[inline]
    fn key_offset(self) -> usize {
        self.expiry_offset() + if self.has(EXPIRY) { EXPIRY_BYTES } else { 0 }
    }

    #[inline]
    fn value_offset(self) -> usize {
        self.key_offset() + self.byte(KEY_LENGTH_AT) as usize
    }

    #[inline]
    fn value_len(self) -> usize {
        if self.kind() == TEXT { self.text_len() } else { POINTER_BYTES }
    }

    /// Length of the whole entry, in bytes.
    #[inline]
    pub fn packed_len(self) -> usize {
        self.value_offset() + self.value_len()
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let (offset, length) = (self.key_offset(), self.byte(KEY_LENGTH_AT) as usize);
        if self.has(LONG_KEY) { self.blob(offset).as_slice() } else { self.slice(offset, length) }
    }

    /// Whether this is the key. Short keys are compared here, without a call.
    #[inline]
    pub fn has_key(self, key: &[u8]) -> bool {
        let stored = self.key();
        if stored.len() != key.len() {
            return false;
        }
        let word = |bytes: &[u8]| bytes.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk));
        let last_word = |bytes: &[u8]| bytes.last_chunk().map(|chunk| u64::from_ne_bytes(*chunk));
        // The two words overlap below 16 bytes, and in front of 24 there is one more between them.
        match key.len() {
            8..=16 => word(stored) == word(key) && last_word(stored) == last_word(key),
            17..=24 => {
                word(stored) == word(key)
                    && word(&stored[8..]) == word(&key[8..])
                    && last_word(stored) == last_word(key)
            }
            _ => stored == key,
        }
    }

    /// The absolute time of expiry, in ms.
    #[inline]
    pub fn expires_at(self) -> Option<i64> {
        self.has(EXPIRY).then(|| self.number(self.expiry_offset()))
    }

    /// Whether its time is over: strictly later than the time of expiry, as the real server sees it.
    #[inline]
    pub fn is_expired(self, now: i64) -> bool {
        self.expires_at().is_some_and(|at| now > at)
    }

    /// The 24 bits of access clock.
    #[inline]
    pub fn clock(self) -> u32 {
        u32::from_le_bytes([self.byte(CLOCK_AT), self.byte(CLOCK_AT + 1), self.byte(CLOCK_AT + 2), 0])
    }

    /// The type and packed format.
    #[inline]
    pub fn form(self) -> Form {
        Form(self.byte(0) & (u8::MAX << TYPE_SHIFT | VARIANT))
    }

    /// The type of the value.
    #[inline]
    pub fn value_type(self) -> Type {
        type_of(self.byte(0))
    }

    /// The string; of a small collection, its packed bytes as one. Of an [`Object`], an empty one.
    #[inline]
    pub fn string(self) -> StringRef<'a> {
        let offset = self.value_offset();
        match self.kind() {
            INTEGER => StringRef::Integer(self.number(offset)),
            TEXT => StringRef::Bytes(self.slice(offset, self.value_len())),
            BLOB => StringRef::Shared(self.blob(offset)),
            _ => StringRef::Bytes(&[]),
        }
    }

    /// The packed bytes of a small collection; none of an [`Object`].
    #[inline]
    pub fn packed_bytes(self) -> Option<&'a [u8]> {
        let offset = self.value_offset();
        match self.kind() {
            TEXT => Some(self.slice(offset, self.value_len())),
            BLOB => Some(self.blob(offset).as_slice()),
            _ => None,
        }
    }

    /// The large value, if it is one.
    #[inline]
    pub fn object(self) -> Option<&'a Object> {
        // SAFETY: the meta byte says that a pointer stands there, to an object that the entry owns; whoever changes it
        // holds the entry exclusively.
        (self.kind() == OBJECT).then(|| unsafe { &*self.object_pointer() })
    }

    /// Asks for a packed value, or looks an element of a large one up, beside others. False if there is nothing to be asked for.
    #[inline]
    pub fn foresee(self, element: Option<&[u8]>, others: &mut Foresight<'a>) -> bool {
        match self.kind() {
            OBJECT => {
                let (Some(object), Some(element)) = (self.object(), element) else { return false };
                object.foresee(element, others);
            }
            BLOB => others.push_packed(self.blob(self.value_offset())),
            _ => return false,
        }
        true
    }

    /// When the first part of the value is due: a field of a hash.
    #[inline]
    pub fn part_due(self) -> Option<i64> {
        if self.value_type() != Type::Hash {
            return None;
        }
        HashRef::new(self.form(), self.packed_bytes(), self.object()).earliest()
    }

    /// SAFETY: of an entry of kind [`OBJECT`] only.
    #[inline]
    unsafe fn object_pointer(self) -> *mut Object {
        // SAFETY: the pointer's eight bytes stand there, at any alignment.
        unsafe { self.start.add(self.value_offset()).cast::<*mut Object>().read_unaligned() }
    }

    /// Bytes of heap outside of the page that this entry owns.
    #[inline]
    pub fn heap_bytes(self) -> usize {
        let mut sum = 0;
        if self.byte(0) & (OUTSIDE | LONG_KEY) != 0 {
            sum += match self.kind() {
                BLOB => self.blob(self.value_offset()).heap_bytes(),
                _ => self.object().map_or(0, Object::heap_bytes),
            };
            sum += if self.has(LONG_KEY) { self.blob(self.key_offset()).heap_bytes() } else { 0 };
        }
        sum
    }
}

/// The parts of [`PackedEntry`] that change an entry where it stands. The callers, all in the page, hold it exclusively.
pub(super) struct PackedEntryMut(NonNull<u8>);

impl PackedEntryMut {
    /// SAFETY: as [`PackedEntry::at`], and nobody else looks at the entry while the result is in use.
    #[inline]
    pub(super) unsafe fn at(start: NonNull<u8>) -> Self {
        Self(start)
    }

    fn view(&self) -> PackedEntry<'_> {
        // SAFETY: by the promise to `at`; the borrow of `self` keeps writers away.
        unsafe { PackedEntry::at(self.0) }
    }

    pub(super) fn set_clock(&mut self, clock: u32) {
        let bytes = clock.to_le_bytes();
        // SAFETY: the clock's three bytes are in the fixed part.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(CLOCK_AT).as_ptr(), 3) };
    }

    /// The blob that holds the value, if one does.
    pub(super) fn blob_mut(&mut self) -> Option<&mut Blob> {
        let view = self.view();
        if view.kind() != BLOB {
            return None;
        }
        let offset = view.value_offset();
        // SAFETY: the meta byte says that a blob's pointer stands here; exclusive by the promise to `at`.
        Some(unsafe { self.0.add(offset).cast::<Blob>().as_mut() })
    }

    /// The object that holds the value, if one does.
    pub(super) fn object_mut(&mut self) -> Option<&mut Object> {
        let view = self.view();
        // SAFETY: the pointer leads to an object that the entry owns; exclusive by the promise to `at`.
        (view.kind() == OBJECT).then(|| unsafe { &mut *view.object_pointer() })
    }

    /// The bytes that stand in the page itself, if they do.
    pub(super) fn text_mut(&mut self) -> Option<&mut [u8]> {
        let view = self.view();
        let (offset, length) = (view.value_offset(), view.value_len());
        // SAFETY: the meta byte says that a text of that length stands here; exclusive by the promise to `at`.
        (view.kind() == TEXT).then(|| unsafe { std::slice::from_raw_parts_mut(self.0.add(offset).as_ptr(), length) })
    }

    /// The packed bytes, wherever they stand; a blob is no longer shared afterwards.
    ///
    /// SAFETY: the promise to [`PackedEntryMut::at`] holds as long as the result is in use.
    pub(super) unsafe fn into_bytes_mut<'a>(self) -> Option<&'a mut [u8]> {
        let view = self.view();
        let (offset, length) = (view.value_offset(), view.value_len());
        match view.kind() {
            // SAFETY: as in `text_mut`.
            TEXT => Some(unsafe { std::slice::from_raw_parts_mut(self.0.add(offset).as_ptr(), length) }),
            // SAFETY: as in `blob_mut`.
            BLOB => Some(unsafe { self.0.add(offset).cast::<Blob>().as_mut() }.as_mut_slice()),
            _ => None,
        }
    }

    /// Sets the packed format.
    pub(super) fn set_form(&mut self, form: Form) {
        let meta = self.view().byte(0);
        // SAFETY: the meta byte is the first of the fixed part.
        unsafe { self.0.write(meta & (KIND | EXPIRY | LONG_KEY) | form.0) };
    }

    /// Where the value begins in the entry.
    pub(super) fn value_place(&self) -> usize {
        self.view().value_offset()
    }

    /// Writes the length of a text.
    ///
    /// SAFETY: the entry is a text, and its bytes have been moved, or are about to be, for that length.
    pub(super) unsafe fn set_text_len(&mut self, length: usize) {
        // SAFETY: the length's bytes are in the fixed part of a text's entry.
        unsafe { self.0.add(TEXT_LENGTH_AT).cast::<u16>().write_unaligned(length as u16) };
    }

    /// Offset of the expiry, or where it would go, and whether there is one.
    pub(super) fn expiry_place(&self) -> (usize, bool) {
        (self.view().expiry_offset(), self.view().has(EXPIRY))
    }

    /// Writes the expiry.
    ///
    /// SAFETY: for `Some`, the eight bytes at the expiry's offset are the expiry's; for `None`, they have been closed up
    /// or will be before anything else reads the entry.
    pub(super) unsafe fn set_expiry(&mut self, at: Option<i64>) {
        let (offset, _) = self.expiry_place();
        let meta = self.view().byte(0);
        // SAFETY: by the caller's promise.
        unsafe {
            match at {
                Some(at) => {
                    self.0.write(meta | EXPIRY);
                    self.0.add(offset).cast::<i64>().write_unaligned(at);
                }
                None => self.0.write(meta & !EXPIRY),
            }
        }
    }

    /// Writes a value over one of the same kind and length with an expiry where there was one; false, and nothing written,
    /// if it is not so.
    #[inline]
    pub(super) fn overwrite(&mut self, draft: &Draft<'_>) -> bool {
        let view = self.view();
        if view.has(EXPIRY) != draft.expires_at.is_some() {
            return false;
        }
        let value_at = view.value_offset();
        match draft.content {
            // SAFETY: an integer's eight bytes stand there.
            Content::Integer(value) if view.kind() == INTEGER => unsafe {
                self.0.add(value_at).cast::<i64>().write_unaligned(value);
            },
            // SAFETY: a text of that length stands there.
            Content::Text { bytes, form } if view.kind() == TEXT && view.value_len() == bytes.len() => unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(value_at).as_ptr(), bytes.len());
                self.0.write(view.byte(0) & (KIND | EXPIRY | LONG_KEY) | form.0);
            },
            _ => return false,
        }
        if let Some(at) = draft.expires_at {
            // SAFETY: the entry has an expiry, as checked above.
            unsafe { self.set_expiry(Some(at)) };
        }
        self.set_clock(draft.clock);
        true
    }

    /// Moves out what is owned outside of the page: the value's part and the key's.
    ///
    /// SAFETY: the entry's bytes are forgotten or written anew afterwards.
    #[inline]
    pub(super) unsafe fn take_owned(&mut self) -> (Option<Leftover>, Option<Blob>) {
        let view = self.view();
        if view.byte(0) & (OUTSIDE | LONG_KEY) == 0 {
            return (None, None);
        }
        // SAFETY: the meta byte says where blobs stand; the caller forgets these copies of the pointers.
        let read = |offset: usize| unsafe { self.0.add(offset).cast::<Blob>().read() };
        let value = match view.kind() {
            BLOB => Some(Leftover::Blob(read(view.value_offset()))),
            // SAFETY: an entry of this kind owns the box that its pointer came from, and forgets it.
            OBJECT => Some(Leftover::Object(unsafe { Box::from_raw(view.object_pointer()) })),
            _ => None,
        };
        let key = view.has(LONG_KEY).then(|| read(view.key_offset()));
        (value, key)
    }
}

/// A value about to be written into a page.
#[derive(Debug)]
pub enum Content<'a> {
    /// An integer.
    Integer(i64),
    /// A run of at most [`Form::inline_bytes_max`] bytes.
    Text {
        /// The bytes.
        bytes: &'a [u8],
        /// What they are.
        form: Form,
    },
    /// A longer one.
    Blob {
        /// The bytes.
        blob: Blob,
        /// What they are.
        form: Form,
    },
    /// A large collection.
    Object(Box<Object>),
}

impl<'a> Content<'a> {
    /// The type.
    pub fn kind(&self) -> Type {
        match self {
            Self::Integer(_) => Type::String,
            Self::Text { form, .. } | Self::Blob { form, .. } => form.kind(),
            Self::Object(object) => object.kind(),
        }
    }

    /// A run of bytes where it belongs by its length.
    #[inline]
    pub fn packed(bytes: &'a [u8], form: Form) -> Self {
        if bytes.len() <= form.inline_bytes_max() {
            Self::Text { bytes, form }
        } else {
            Self::Blob { blob: Blob::new(bytes), form }
        }
    }

    /// A text where it belongs by its length.
    #[inline]
    pub fn text(bytes: &'a [u8], raw: bool) -> Self {
        Self::packed(bytes, if raw { Form::RAW_STRING } else { Form::STRING })
    }

    /// A long run of bytes where it belongs by its length.
    pub fn from_blob(blob: &'a Blob, form: Form) -> Self {
        if blob.len() <= form.inline_bytes_max() {
            Self::Text { bytes: blob.as_slice(), form }
        } else {
            Self::Blob { blob: blob.clone(), form }
        }
    }

    /// A string from outside of a table.
    pub fn from_owned(string: &'a OwnedString) -> Self {
        match string {
            OwnedString::Integer(value) => Self::Integer(*value),
            OwnedString::Small { bytes, raw } => Self::text(bytes, *raw),
            OwnedString::Large(blob) if blob.len() <= INLINE_BYTES_MAX => Self::text(blob.as_slice(), true),
            OwnedString::Large(blob) => Self::Blob { blob: blob.clone(), form: Form::STRING },
        }
    }

    /// When the first part of the value is due.
    #[inline]
    pub fn part_due(&self) -> Option<i64> {
        let may_have_due_parts = match self {
            Self::Text { form, .. } | Self::Blob { form, .. } => *form == Form::HASH_WITH_TIMES,
            Self::Object(_) => true,
            Self::Integer(_) => false,
        };
        if may_have_due_parts { self.first_part_due() } else { None }
    }

    /// Out of the way of strings.
    #[cold]
    fn first_part_due(&self) -> Option<i64> {
        match self {
            Self::Object(object) => object.earliest_due(),
            Self::Text { bytes, form: Form::HASH_WITH_TIMES } => Listpack::new(bytes).iter().nth(2)?.as_integer(),
            Self::Blob { blob, form: Form::HASH_WITH_TIMES } => {
                Listpack::new(blob.as_slice()).iter().nth(2)?.as_integer()
            }
            _ => None,
        }
        .filter(|at| *at != 0)
    }

    #[inline]
    fn len(&self) -> usize {
        if let Self::Text { bytes, .. } = self { bytes.len() + TEXT_LENGTH_BYTES } else { POINTER_BYTES }
    }

    /// The meta byte without what the key and the expiry add.
    #[inline]
    fn meta(&self) -> u8 {
        match self {
            Self::Integer(_) => INTEGER,
            Self::Text { form, .. } => TEXT | form.0,
            Self::Blob { form, .. } => BLOB | form.0,
            Self::Object(object) => OBJECT | Form::of(object.kind()).0,
        }
    }
}

/// An entry about to be written into a page.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The 24 bits of access clock.
    pub clock: u32,
    /// When it expires, in ms.
    pub expires_at: Option<i64>,
    /// The value.
    pub content: Content<'a>,
}

impl Draft<'_> {
    #[inline]
    fn has_long_key(&self) -> bool {
        self.key.len() > INLINE_KEY_BYTES_MAX
    }

    #[inline]
    fn key_bytes(&self) -> usize {
        if self.has_long_key() { POINTER_BYTES } else { self.key.len() }
    }

    /// Length that the entry will have, in bytes.
    #[inline]
    pub fn packed_len(&self) -> usize {
        let expiry_bytes = if self.expires_at.is_some() { EXPIRY_BYTES } else { 0 };
        TEXT_LENGTH_AT + expiry_bytes + self.key_bytes() + self.content.len()
    }

    /// Writes the entry. A long key goes into `key_blob` if the caller has it as such already, else into a new one.
    ///
    /// SAFETY: `start` is the start of [`Draft::packed_len`] bytes that belong to the caller alone and hold no blob.
    #[inline]
    pub(super) unsafe fn write(self, start: NonNull<u8>, key_blob: Option<Blob>) {
        let has_long_key = self.has_long_key();
        let key_bytes = self.key_bytes();
        let mut meta = self.content.meta() | if has_long_key { LONG_KEY } else { 0 };
        let mut offset =
            TEXT_LENGTH_AT + if matches!(self.content, Content::Text { .. }) { TEXT_LENGTH_BYTES } else { 0 };
        // SAFETY: the parts written follow one another and add up to `packed_len` bytes, which the caller owns.
        unsafe {
            start.add(KEY_LENGTH_AT).write(key_bytes as u8);
            if let Some(at) = self.expires_at {
                meta |= EXPIRY;
                start.add(offset).cast::<i64>().write_unaligned(at);
                offset += EXPIRY_BYTES;
            }
            let key_at = start.add(offset);
            if has_long_key {
                key_at.cast::<Blob>().write(key_blob.unwrap_or_else(|| Blob::new(self.key)));
            } else {
                std::ptr::copy_nonoverlapping(self.key.as_ptr(), key_at.as_ptr(), key_bytes);
            }
            let value_at = key_at.add(key_bytes);
            match self.content {
                Content::Integer(value) => value_at.cast::<i64>().write_unaligned(value),
                Content::Text { bytes, .. } => {
                    start.add(TEXT_LENGTH_AT).cast::<u16>().write_unaligned(bytes.len() as u16);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), value_at.as_ptr(), bytes.len());
                }
                Content::Blob { blob, .. } => value_at.cast::<Blob>().write(blob),
                Content::Object(object) => value_at.cast::<*mut Object>().write_unaligned(Box::into_raw(object)),
            }
            start.write(meta);
            PackedEntryMut::at(start).set_clock(self.clock);
        }
    }
}
