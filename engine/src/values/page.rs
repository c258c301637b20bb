//! A page: a dozen or so entries in one heap block of just the size they need.
//!
//! ```text
//!   ┌ header: 18 ┬ tags: 1 each ┬ distances: 2 each ┬ room ... ┬ entry ┬ entry ┬ entry ┐
//!   │            │ grow ────────────────────────>   │          │   <──────────── grow  │
//!   └────────────┴──────────────┴───────────────────┴──────────┴───────┴───────┴───────┘
//!                                                              │<── distance of an ───>│
//!                                                                   entry to the end
//! ```
//!
//! * A tag is eight bits of the key's hash: a look-up compares sixteen at once and reads only entries whose tag fits.
//! * The n-th tag and the n-th distance belong together; their order means nothing. Removal moves the last into the gap.
//! * Entries are measured from the block's end, so a block of another size takes them over with two copies. They lie
//!   without gaps: what shrinks or goes is closed up by one move of the entries below it.
//! * Blocks have the sizes that the allocator would round up to anyway, so rounding is not lost but used.

use super::StringRef;
use super::blob::Blob;
use super::object::Object;
use super::packed::{Content, Draft, Form, INLINE_COLLECTION_BYTES_MAX, Leftover, PackedEntry, PackedEntryMut};
use super::prefetch;
use smallvec::SmallVec;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// What tables count as they work, for statistics and for tests of bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Bytes of heap that pages, directories and blobs take.
    pub bytes: usize,
    /// Entries copied from page to page by splits and merges so far.
    pub moved: u64,
}

/// An expiry far off or none at all, in the coarse clock of page headers.
pub const NEVER_S: u32 = u32::MAX;

/// The first whole second of which it is certain that an entry that expires `at` is due.
#[inline]
pub fn due_second(at: i64) -> u32 {
    (at.div_euclid(1000) + 1).clamp(0, (NEVER_S - 1) as i64) as u32
}

#[repr(C, packed)]
struct Header {
    /// Of the last snapshot epoch that has had this page's entries handed over; a split inherits it. Zero until there are
    /// snapshots.
    version: u64,
    /// No entry is due before this second (see [`due_second`]). May be too early, never too late.
    earliest_s: u32,
    /// Number of entries.
    count: u16,
    /// Bytes that the entries take at the end of the block.
    entry_bytes: u16,
    /// Size of the block.
    capacity: u16,
}

const HEADER_BYTES: usize = size_of::<Header>();
const TAG_BYTES: usize = 1;
const DISTANCE_BYTES: usize = 2;

/// Tags compared at once. Every block is long enough that reading so many past the last one stays inside.
const GROUP: usize = 16;

const BLOCK_BYTES_MIN: usize = 48;

const CACHE_LINE_BYTES: usize = 64;
/// What a larger entry has beyond this, the processor notices to be read in order.
const PREFETCHED_ENTRY_BYTES_MAX: usize = 256;
/// Header, tags and distances of a page with a dozen entries.
const COMMON_HEAD_BYTES: usize = HEADER_BYTES + 12 * (TAG_BYTES + DISTANCE_BYTES);

/// Distances have 16 bits. With a dozen entries a page on average and a sound hash this is never near.
const BLOCK_BYTES_MAX: usize = 56 << 10;

/// The allocator's size class that holds `bytes`: multiples of 16, from 128 on four steps to each power of two.
#[inline]
pub(super) const fn size_class(bytes: usize) -> usize {
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    bytes.next_multiple_of(1 << (usize::BITS - 3 - (bytes - 1).leading_zeros()))
}

/// A page. Owns its block and what its entries point to. It stays on its thread, since large values are shared there
/// without atomic counts.
///
/// Invariant: the block has `capacity` bytes, laid out as drawn above; each distance is that of a whole entry.
#[repr(C, packed)]
pub struct Page(NonNull<Header>);

impl Page {
    /// An empty page with room for an entry of that length.
    pub fn with_room(packed_len: usize, ledger: &mut Ledger) -> Self {
        Self::allocate(HEADER_BYTES + TAG_BYTES + DISTANCE_BYTES + packed_len, ledger)
    }

    fn layout(capacity: usize) -> Layout {
        // Alignment 1: the binding of our allocator asks for `size + alignment - 1` bytes unless the size is a power of
        // two, which would take the next size class (measured: 78.7 instead of 69 bytes of RSS a key).
        Layout::from_size_align(capacity, align_of::<Header>()).expect("a page is small")
    }

    /// An empty page in a block of at least `needed` bytes.
    fn allocate(needed: usize, ledger: &mut Ledger) -> Self {
        let capacity = size_class(needed.max(BLOCK_BYTES_MIN));
        assert!(capacity <= BLOCK_BYTES_MAX, "more keys of one hash prefix than a sound hash can give");
        let layout = Self::layout(capacity);
        // SAFETY: the layout is not of size zero.
        let block = unsafe { alloc(layout) };
        let Some(header) = NonNull::new(block.cast::<Header>()) else { handle_alloc_error(layout) };
        let empty = Header { version: 0, earliest_s: NEVER_S, count: 0, entry_bytes: 0, capacity: capacity as u16 };
        // SAFETY: the block is ours and at least that long.
        unsafe {
            header.cast::<u8>().write_bytes(0, BLOCK_BYTES_MIN);
            header.write(empty);
        }
        ledger.bytes += capacity;
        Self(header)
    }

    /// Gives the block back without a look at the entries, which live on elsewhere or have been dropped.
    fn free_block(self, ledger: &mut Ledger) {
        ledger.bytes -= self.capacity();
        self.deallocate();
        std::mem::forget(self);
    }

    fn deallocate(&self) {
        let layout = Self::layout(self.capacity());
        // SAFETY: the block was made with this layout; the callers forget the page, or are its drop.
        unsafe { dealloc(self.block(), layout) };
    }

    #[inline]
    fn block(&self) -> *mut u8 {
        let block = self.0;
        block.as_ptr().cast()
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the block begins with a header, by the invariant.
        unsafe { &*self.block().cast() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: the block begins with a header, and `&mut self` makes us its only user.
        unsafe { &mut *self.block().cast() }
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.header().capacity as usize
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.header().count as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No entry is due before this second; [`NEVER_S`] if none has an expiry.
    #[inline]
    pub fn earliest_s(&self) -> u32 {
        self.header().earliest_s
    }

    /// Bytes of the block.
    #[inline]
    pub fn block_bytes(&self) -> usize {
        self.capacity()
    }

    /// Bytes of heap: the block and what the entries point to.
    pub(super) fn heap_bytes(&self) -> usize {
        self.capacity() + self.entries().map(PackedEntry::heap_bytes).sum::<usize>()
    }

    #[inline]
    fn byte_at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.capacity());
        let block = self.0;
        // SAFETY: all callers stay within the block, by the invariant.
        unsafe { block.cast::<u8>().add(offset) }
    }

    #[inline]
    fn distance_pointer(&self, index: usize) -> NonNull<u16> {
        debug_assert!(index <= self.len());
        self.byte_at(HEADER_BYTES + self.len() * TAG_BYTES + index * DISTANCE_BYTES).cast()
    }

    #[inline]
    fn distance(&self, index: usize) -> usize {
        debug_assert!(index < self.len());
        // SAFETY: `index` is that of an entry, so its distance is initialised; it may stand at an odd address.
        unsafe { self.distance_pointer(index).read_unaligned() as usize }
    }

    #[inline]
    fn entry_start(&self, index: usize) -> NonNull<u8> {
        self.byte_at(self.capacity() - self.distance(index))
    }

    /// The tag of an entry.
    fn tag(&self, index: usize) -> u8 {
        debug_assert!(index < self.len());
        // SAFETY: there is a tag for each entry.
        unsafe { self.byte_at(HEADER_BYTES + index).read() }
    }

    /// The entry of that index; an index is good until the next change of the page.
    #[inline]
    pub fn entry(&self, index: usize) -> PackedEntry<'_> {
        assert!(index < self.len());
        // SAFETY: distances lead to whole entries, by the invariant, and the borrow of the page keeps writers away.
        unsafe { PackedEntry::at(self.entry_start(index)) }
    }

    #[inline]
    fn entry_mut(&mut self, index: usize) -> PackedEntryMut {
        assert!(index < self.len());
        // SAFETY: as in `entry`; the callers keep `&mut self` while they use it.
        unsafe { PackedEntryMut::at(self.entry_start(index)) }
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = PackedEntry<'_>> {
        (0..self.len()).map(|index| self.entry(index))
    }

    /// A bit for each of the (at most [`GROUP`]) entries from `base` on whose tag is `tag`.
    #[inline]
    fn matches(&self, base: usize, tag: u8) -> u32 {
        // SAFETY: a group that begins at a tag ends inside of what is initialised: with eight entries or more the
        // distances alone are long enough, with fewer the block's beginning, which is zeroed when it is made.
        let bits = unsafe { equal_bytes(self.byte_at(HEADER_BYTES + base), tag) };
        bits & u32::MAX >> (32 - (self.len() - base).min(GROUP))
    }

    /// The index of a key with that tag.
    #[inline]
    pub fn find(&self, tag: u8, key: &[u8]) -> Option<usize> {
        for base in (0..self.len()).step_by(GROUP) {
            let mut bits = self.matches(base, tag);
            while bits != 0 {
                let index = base + bits.trailing_zeros() as usize;
                if self.entry(index).has_key(key) {
                    return Some(index);
                }
                bits &= bits - 1;
            }
        }
        None
    }

    /// Asks for the first entry whose tag is `tag`: as many cache lines as an entry of this page's mean length may touch,
    /// within reason.
    #[inline]
    pub fn prefetch_entry(&self, tag: u8) {
        for base in (0..self.len()).step_by(GROUP) {
            let bits = self.matches(base, tag);
            if bits != 0 {
                let start = self.entry_start(base + bits.trailing_zeros() as usize).as_ptr();
                let header = self.header();
                let mean_bytes = (u32::from(header.entry_bytes) / u32::from(header.count)) as usize;
                for offset in (0..mean_bytes.min(PREFETCHED_ENTRY_BYTES_MAX)).step_by(CACHE_LINE_BYTES) {
                    prefetch::address(start.wrapping_add(offset));
                }
                // The line of its last byte, where the steps end before it.
                return prefetch::address(start.wrapping_add(mean_bytes.min(PREFETCHED_ENTRY_BYTES_MAX)));
            }
        }
    }

    /// Asks for the header, tags and distances, which may begin anywhere in a cache line.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch::address(self.block());
        prefetch::address(self.block().wrapping_add(COMMON_HEAD_BYTES));
    }

    /// Adds an entry whose key is not here yet.
    pub fn insert(&mut self, tag: u8, draft: Draft<'_>, ledger: &mut Ledger) {
        let length = draft.packed_len();
        self.note_expiry(draft.expires_at);
        let start = self.push(tag, length, ledger);
        // SAFETY: `push` left `length` bytes there that belong to the new entry.
        unsafe { draft.write(start, None) };
        ledger.bytes += self.entry(self.len() - 1).heap_bytes();
    }

    /// Makes a last entry of `length` bytes, to be written by the caller.
    fn push(&mut self, tag: u8, length: usize, ledger: &mut Ledger) -> NonNull<u8> {
        self.reserve(TAG_BYTES + DISTANCE_BYTES + length, ledger);
        let count = self.len();
        let distances = self.distance_pointer(0).cast::<u8>();
        // SAFETY: `reserve` made room for one more of each; distances move up by one tag.
        unsafe {
            std::ptr::copy(distances.as_ptr(), distances.add(TAG_BYTES).as_ptr(), count * DISTANCE_BYTES);
            self.byte_at(HEADER_BYTES + count).write(tag);
        }
        let header = self.header_mut();
        header.count += 1;
        header.entry_bytes += length as u16;
        let distance = header.entry_bytes;
        // SAFETY: the place of the new distance lies in the room reserved.
        unsafe { self.distance_pointer(count).write_unaligned(distance) };
        self.entry_start(count)
    }

    /// Writes an entry anew in the place of the one at `index`, which has the same key. Hands over what the old value owned.
    pub fn rewrite(&mut self, index: usize, draft: Draft<'_>, ledger: &mut Ledger) -> Option<Leftover> {
        self.note_expiry(draft.expires_at);
        if self.entry_mut(index).overwrite(&draft) {
            return None;
        }
        let (old_len, new_len) = (self.entry(index).packed_len(), draft.packed_len());
        ledger.bytes -= self.entry(index).heap_bytes();
        // SAFETY: the entry's bytes are written anew below, before anything reads them.
        let (value, key) = unsafe { self.entry_mut(index).take_owned() };
        if new_len != old_len {
            self.resize(index, 0, new_len as isize - old_len as isize, ledger);
        }
        let start = self.entry_start(index);
        // SAFETY: the entry has `new_len` bytes now, and its blobs have been taken.
        unsafe { draft.write(start, key) };
        ledger.bytes += self.entry(index).heap_bytes();
        value
    }

    /// Removes an entry; hands over as `rewrite`.
    pub fn remove(&mut self, index: usize, ledger: &mut Ledger) -> Option<Leftover> {
        let (length, last) = (self.entry(index).packed_len(), self.len() - 1);
        ledger.bytes -= self.entry(index).heap_bytes();
        // SAFETY: the entry's bytes are closed up below.
        let (value, _key) = unsafe { self.entry_mut(index).take_owned() };
        self.shift(index, 0, -(length as isize));
        // SAFETY: indexes up to `last` exist; the last tag and distance move into the gap, then the distances move down
        // by one tag.
        unsafe {
            let tag = self.tag(last);
            self.byte_at(HEADER_BYTES + index).write(tag);
            let distance = self.distance_pointer(last).read_unaligned();
            self.distance_pointer(index).write_unaligned(distance);
            let distances = self.distance_pointer(0).cast::<u8>();
            std::ptr::copy(distances.as_ptr(), distances.sub(TAG_BYTES).as_ptr(), last * DISTANCE_BYTES);
        }
        self.header_mut().count = last as u16;
        self.shrink(ledger);
        value
    }

    /// Sets the access clock of an entry.
    #[inline]
    pub fn set_clock(&mut self, index: usize, clock: u32) {
        self.entry_mut(index).set_clock(clock);
    }

    /// Sets or takes away the expiry of an entry.
    pub fn set_expiry(&mut self, index: usize, at: Option<i64>, ledger: &mut Ledger) {
        const BYTES: isize = size_of::<i64>() as isize;
        let (place, present) = self.entry_mut(index).expiry_place();
        self.note_expiry(at);
        match (present, at) {
            (false, Some(_)) => self.resize(index, place, BYTES, ledger),
            (true, None) => self.shift(index, place, -BYTES),
            _ => {}
        }
        if present || at.is_some() {
            // SAFETY: the eight bytes were there, have just been opened, or have just been closed up.
            unsafe { self.entry_mut(index).set_expiry(at) };
        }
    }

    /// Changes the blob of a value in place; `None` if the value is no blob.
    pub fn change_blob<R>(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        change: impl FnOnce(&mut Blob) -> R,
    ) -> Option<R> {
        let mut entry = self.entry_mut(index);
        let blob = entry.blob_mut()?;
        ledger.bytes -= blob.heap_bytes();
        let result = change(blob);
        ledger.bytes += blob.heap_bytes();
        Some(result)
    }

    /// Changes the object of a value in place; `None` if the value is none.
    pub fn change_object<R>(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        change: impl FnOnce(&mut Object) -> R,
    ) -> Option<R> {
        let mut entry = self.entry_mut(index);
        let object = entry.object_mut()?;
        ledger.bytes -= object.heap_bytes();
        let result = change(object);
        ledger.bytes += object.heap_bytes();
        Some(result)
    }

    /// The packed bytes of a value for changes in place; `None` if it has none. A blob that others hold is copied.
    pub fn packed_bytes_mut(&mut self, index: usize, ledger: &mut Ledger) -> Option<&mut [u8]> {
        self.change_blob(index, ledger, |blob| {
            blob.as_mut_slice();
        });
        // SAFETY: `&mut self` is held as long as the result.
        unsafe { self.entry_mut(index).into_bytes_mut() }
    }

    /// The bytes of a string, if it is raw already, there are so many of them, and nobody else holds them: changing them takes no
    /// memory.
    #[inline]
    pub fn raw_string_mut(&mut self, index: usize, length_min: usize) -> Option<&mut [u8]> {
        let entry = self.entry(index);
        let is_at_hand = match entry.string() {
            StringRef::Shared(blob) => blob.len() >= length_min && blob.is_unique(),
            StringRef::Bytes(bytes) => bytes.len() >= length_min && entry.form() == Form::RAW_STRING,
            StringRef::Integer(_) => false,
        };
        // SAFETY: `&mut self` is held as long as the result.
        is_at_hand.then(|| unsafe { self.entry_mut(index).into_bytes_mut() })?
    }

    /// Puts `parts` in the place of the bytes `range` of a value's packed bytes. Past
    /// [`Form::inline_bytes_max`] they become a blob, well below it they come back. The caller knows that the value has packed bytes.
    pub fn splice(&mut self, index: usize, range: Range<usize>, parts: &[&[u8]], ledger: &mut Ledger) {
        let in_blob = self.change_blob(index, ledger, |blob| {
            blob.splice(range.clone(), parts);
            blob.len()
        });
        if let Some(length) = in_blob {
            if length <= self.entry(index).form().inline_bytes_max() / 2 {
                self.bring_back(index, ledger);
            }
            return;
        }
        let Some(old) = self.entry(index).packed_bytes() else { return };
        assert!(range.start <= range.end && range.end <= old.len(), "a range of this value");
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let new_length = old.len() - range.len() + added;
        if new_length > self.entry(index).form().inline_bytes_max() {
            let all: SmallVec<[&[u8]; 16]> =
                [&old[..range.start]].into_iter().chain(parts.iter().copied()).chain([&old[range.end..]]).collect();
            let (blob, form) = (Blob::of_parts(&all), self.entry(index).form());
            drop(all);
            self.rewrite_value(index, Content::Blob { blob, form }, ledger);
            return;
        }
        let delta = added as isize - range.len() as isize;
        let place = self.entry_mut(index).value_place() + range.start;
        if delta != 0 {
            self.resize(index, place, delta, ledger);
            // SAFETY: the value's bytes have just been moved for that length.
            unsafe { self.entry_mut(index).set_text_len(new_length) };
        }
        let mut entry = self.entry_mut(index);
        let mut rest = entry.text_mut().map_or(&mut [][..], |text| &mut text[range.start..]);
        for part in parts {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
    }

    #[cold]
    fn bring_back(&mut self, index: usize, ledger: &mut Ledger) {
        let bytes: SmallVec<[u8; INLINE_COLLECTION_BYTES_MAX]> =
            self.entry(index).packed_bytes().unwrap_or_default().into();
        let form = self.entry(index).form();
        self.rewrite_value(index, Content::Text { bytes: &bytes, form }, ledger);
    }

    /// Gives an entry another value and leaves the rest as it is; hands over as `rewrite`.
    #[cold]
    pub fn rewrite_value(&mut self, index: usize, content: Content<'_>, ledger: &mut Ledger) -> Option<Leftover> {
        let entry = self.entry(index);
        let key: SmallVec<[u8; 64]> = entry.key().into();
        let draft = Draft { key: &key, clock: entry.clock(), expires_at: entry.expires_at(), content };
        self.rewrite(index, draft, ledger)
    }

    /// Sets which of its type's packed formats a value has.
    pub fn set_form(&mut self, index: usize, form: Form) {
        self.entry_mut(index).set_form(form);
    }

    /// Notes that something in this page is due at a time, though no entry expires then: a field of a hash.
    #[inline]
    pub fn note_due(&mut self, at: i64) {
        self.note_expiry(Some(at));
    }

    #[inline]
    fn note_expiry(&mut self, at: Option<i64>) {
        if let Some(at) = at {
            let header = self.header_mut();
            header.earliest_s = header.earliest_s.min(due_second(at));
        }
    }

    /// Finds out the earliest expiry anew after entries were removed.
    pub fn refresh_earliest(&mut self) {
        let times = self.entries().flat_map(|entry| [entry.expires_at(), entry.part_due()]);
        let earliest_s = times.flatten().map(due_second).min();
        self.header_mut().earliest_s = earliest_s.unwrap_or(NEVER_S);
    }

    #[inline]
    fn used(&self) -> usize {
        let header = self.header();
        HEADER_BYTES + header.count as usize * (TAG_BYTES + DISTANCE_BYTES) + header.entry_bytes as usize
    }

    /// Makes an entry longer or shorter by `delta` bytes at `offset` of it; the bytes in front of `offset` stay the same.
    fn resize(&mut self, index: usize, offset: usize, delta: isize, ledger: &mut Ledger) {
        if delta > 0 {
            self.reserve(delta as usize, ledger);
        }
        self.shift(index, offset, delta);
        if delta < 0 {
            self.shrink(ledger);
        }
    }

    /// Moves the bytes of all entries in front of `offset` of entry `index` down by `delta` (up if negative).
    fn shift(&mut self, index: usize, offset: usize, delta: isize) {
        let (capacity, entry_bytes) = (self.capacity(), self.header().entry_bytes as usize);
        let distance = self.distance(index);
        let low = self.byte_at(capacity - entry_bytes).as_ptr();
        let length = entry_bytes - distance + offset;
        // SAFETY: `length` bytes from `low` on are those of entries, up to `offset` of this one; the room below is long
        // enough for a positive `delta`, and a negative one covers bytes of this very entry from `offset` on.
        unsafe { std::ptr::copy(low, low.offset(-delta), length) };
        for other in 0..self.len() {
            let pointer = self.distance_pointer(other);
            // SAFETY: each entry has a distance, at any alignment.
            unsafe {
                let old = pointer.read_unaligned();
                let moved = if old as usize >= distance { delta as i16 } else { 0 };
                pointer.write_unaligned(old.wrapping_add_signed(moved));
            }
        }
        self.header_mut().entry_bytes = (entry_bytes as isize + delta) as u16;
    }

    /// Makes room for so many bytes more.
    #[inline]
    fn reserve(&mut self, bytes: usize, ledger: &mut Ledger) {
        let needed = self.used() + bytes;
        if needed > self.capacity() {
            self.move_to_block(needed, ledger);
        }
    }

    /// Takes a smaller block where more than half of this one is unused.
    #[inline]
    fn shrink(&mut self, ledger: &mut Ledger) {
        if self.used() * 2 < self.capacity() && self.capacity() > BLOCK_BYTES_MIN {
            self.move_to_block(self.used(), ledger);
        }
    }

    #[cold]
    fn move_to_block(&mut self, needed: usize, ledger: &mut Ledger) {
        let mut other = Self::allocate(needed, ledger);
        let old = self.header();
        let (count, entry_bytes, capacity) = (old.count, old.entry_bytes, other.header().capacity);
        let moved = Header { version: old.version, earliest_s: old.earliest_s, count, entry_bytes, capacity };
        *other.header_mut() = moved;
        let front = count as usize * (TAG_BYTES + DISTANCE_BYTES);
        let back = entry_bytes as usize;
        // SAFETY: both blocks hold the front and the back apart from each other: `needed` covers them.
        unsafe {
            let (from, to) = (self.byte_at(HEADER_BYTES), other.byte_at(HEADER_BYTES));
            std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), front);
            let (from, to) = (self.byte_at(self.capacity() - back), other.byte_at(capacity as usize - back));
            std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), back);
        }
        std::mem::replace(self, other).free_block(ledger);
    }

    /// Moves a whole entry of another page here, bit by bit; the other page must forget it.
    fn adopt(&mut self, other: &Self, index: usize, ledger: &mut Ledger) {
        let (entry, tag) = (other.entry(index), other.tag(index));
        let (length, expires_at, part_due) = (entry.packed_len(), entry.expires_at(), entry.part_due());
        self.note_expiry(expires_at);
        self.note_expiry(part_due);
        let to = self.push(tag, length, ledger);
        // SAFETY: `push` left `length` bytes; the pages are different blocks.
        unsafe { std::ptr::copy_nonoverlapping(other.entry_start(index).as_ptr(), to.as_ptr(), length) };
        ledger.moved += 1;
    }

    /// Moves the entries for which `goes` is true into a page of their own; both pages get blocks of just their size.
    pub fn split(&mut self, goes: impl Fn(PackedEntry<'_>) -> bool, ledger: &mut Ledger) -> Self {
        let mut sizes = [HEADER_BYTES; 2];
        let sides: SmallVec<[bool; 64]> = self.entries().map(goes).collect();
        for (entry, side) in self.entries().zip(&sides) {
            sizes[usize::from(*side)] += TAG_BYTES + DISTANCE_BYTES + entry.packed_len();
        }
        let mut halves = sizes.map(|size| {
            let mut half = Self::allocate(size, ledger);
            half.header_mut().version = self.header().version;
            half
        });
        for (index, side) in sides.into_iter().enumerate() {
            halves[usize::from(side)].adopt(self, index, ledger);
        }
        let [stay, go] = halves;
        std::mem::replace(self, stay).free_block(ledger);
        go
    }

    /// Takes all entries of another page in.
    pub fn merge(&mut self, other: Self, ledger: &mut Ledger) {
        let needed = other.used() - HEADER_BYTES;
        self.reserve(needed, ledger);
        for index in 0..other.len() {
            self.adopt(&other, index, ledger);
        }
        let version = self.header().version.min(other.header().version);
        self.header_mut().version = version;
        other.free_block(ledger);
    }

    /// Drops the page and hands over what its entries owned.
    pub fn free(mut self, ledger: &mut Ledger, mut discard: impl FnMut(Leftover)) {
        ledger.bytes -= self.heap_bytes();
        for index in 0..self.len() {
            // SAFETY: the entries' bytes go away with the block, just below.
            let (value, _key) = unsafe { self.entry_mut(index).take_owned() };
            value.into_iter().for_each(&mut discard);
        }
        self.deallocate();
        std::mem::forget(self);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        for index in 0..self.len() {
            // SAFETY: the entries' bytes go away with the block, just below.
            drop(unsafe { self.entry_mut(index).take_owned() });
        }
        self.deallocate();
    }
}

/// A bit for each of the 16 bytes from `start` on that equals `byte`.
///
/// SAFETY: the 16 bytes lie in one allocation.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn equal_bytes(start: NonNull<u8>, byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: SSE2 belongs to every x86-64; the load needs no alignment.
    unsafe {
        let group = _mm_loadu_si128(start.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8(byte as i8))) as u32
    }
}

/// A bit for each of the 16 bytes from `start` on that equals `byte`.
///
/// SAFETY: the 16 bytes lie in one allocation.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn equal_bytes(start: NonNull<u8>, byte: u8) -> u32 {
    // SAFETY: by the caller's promise.
    let group = unsafe { start.cast::<[u8; GROUP]>().read() };
    group.iter().enumerate().fold(0, |bits, (index, other)| bits | u32::from(*other == byte) << index)
}

#[cfg(test)]
mod tests {
    use super::super::packed::Content;
    use super::*;

    fn insert(page: &mut Page, tag: u8, key: &[u8], ledger: &mut Ledger) {
        let content = Content::text(b"value", false);
        page.insert(tag, Draft { key, clock: 0, expires_at: None, content }, ledger);
    }

    #[test]
    fn keys_of_every_length_are_told_apart_by_every_byte() {
        let mut ledger = Ledger::default();
        for length in (0..40).chain([254, 255, 256, 1000]) {
            let mut page = Page::with_room(0, &mut ledger);
            let key: Vec<u8> = (0..length).map(|index| index as u8).collect();
            insert(&mut page, 7, &key, &mut ledger);
            assert_eq!((page.find(7, &key), page.find(8, &key)), (Some(0), None));
            for index in 0..length {
                let mut other = key.clone();
                other[index] ^= 1;
                assert_eq!(page.find(7, &other), None, "byte {index} of {length}");
            }
            assert_eq!(page.find(7, &[&key[..], b"x"].concat()), None);
            page.free(&mut ledger, drop);
        }
        assert_eq!(ledger.bytes, 0);
    }

    #[test]
    fn every_count_of_equal_tags_is_searched() {
        let mut ledger = Ledger::default();
        let mut page = Page::with_room(0, &mut ledger);
        for number in 0..100u8 {
            insert(&mut page, number % 3, &[number], &mut ledger);
            for earlier in 0..=number {
                assert_eq!(page.find(earlier % 3, &[earlier]), Some(earlier as usize));
                assert_eq!(page.find((earlier + 1) % 3, &[earlier]), None);
            }
        }
        page.free(&mut ledger, drop);
    }

    #[test]
    fn size_classes_are_the_allocators() {
        for (bytes, class) in [
            (1, 16),
            (48, 48),
            (65, 80),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (640, 640),
            (641, 768),
            (1025, 1280),
        ] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
