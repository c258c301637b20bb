//! A long string in one heap block, shared by reference count.
//!
//! ```text
//!   Blob ──> ┌ length: u64 ┬ references: u32 ┬ spare: u32 ┬ bytes ...... ┬ spare bytes ┐
//!            └─────────────┴─────────────────┴────────────┴ length ──────┴ spare ──────┘
//! ```
//!
//! The table holds one reference; replies that are being sent hold others, perhaps on other threads, hence the atomic
//! count. Only a holder of the sole reference writes; everybody else copies first, so what a reply sends never changes.
//! A `Blob` has alignment 1: it lives at any byte of a packed page.

use super::page::size_class;
use super::prefetch;
use bytes::Bytes;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Spare room is added in doubles up to this length and by half the length beyond, in bytes.
const DOUBLING_BYTES_MAX: usize = 1 << 20;

/// Cache lines that [`Blob::prefetch`] asks for, and where [`Blob::prefetch_rest`] ends: about as much as a packed collection
/// has by default.
const FIRST_LINES: usize = 3;
const LINES_MAX: usize = 48;

#[repr(C)]
struct Header {
    length: u64,
    references: AtomicU32,
    spare: u32,
}

const HEADER_BYTES: usize = size_of::<Header>();

/// The header of a block fresh from the allocator, or nothing if there was no memory.
#[allow(clippy::cast_ptr_alignment)] // blocks are made with the header's alignment
fn block_header(block: *mut u8) -> Option<NonNull<Header>> {
    NonNull::new(block.cast())
}

/// A reference to the block drawn at the head of this file; cloning it copies no bytes.
#[repr(C, packed)]
pub struct Blob(NonNull<Header>);

// SAFETY: the count is atomic, and the bytes and the other fields are written only through `&mut Blob` by a holder of the
// sole reference (`is_unique`), so threads only ever read what is shared.
unsafe impl Send for Blob {}
// SAFETY: as above; `&Blob` gives out only shared reads of the bytes and the atomic count.
unsafe impl Sync for Blob {}

impl Blob {
    /// A blob with these bytes and no spare room.
    pub fn new(bytes: &[u8]) -> Self {
        Self::with_capacity(bytes, bytes.len())
    }

    /// A blob with these bytes in a block with room for `capacity`.
    pub fn with_capacity(bytes: &[u8], capacity: usize) -> Self {
        let blob = Self::allocate(bytes.len(), capacity.max(bytes.len()), false);
        // SAFETY: the block was made with room for at least `bytes.len()` bytes and nobody else knows it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), blob.data(), bytes.len()) };
        blob
    }

    /// A blob of zeros; for long ones the system hands out pages that are zero already.
    pub fn zeroed(length: usize) -> Self {
        Self::allocate(length, length, true)
    }

    fn layout(capacity: usize) -> Layout {
        let size = capacity.checked_add(HEADER_BYTES).expect("a string's length fits the address space");
        Layout::from_size_align(size, align_of::<Header>()).expect("a string's length fits the address space")
    }

    fn allocate(length: usize, capacity: usize, zeroed: bool) -> Self {
        let capacity = capacity.min(length + u32::MAX as usize);
        let layout = Self::layout(capacity);
        // SAFETY: the layout is never of size zero, the header alone has some.
        let pointer = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        let Some(header) = block_header(pointer) else { handle_alloc_error(layout) };
        // SAFETY: the block is at least a header long, aligned for it, and ours alone.
        unsafe {
            header.write(Header {
                length: length as u64,
                references: AtomicU32::new(1),
                spare: (capacity - length) as u32,
            });
        }
        Self(header)
    }

    fn header(&self) -> &Header {
        let header = self.0;
        // SAFETY: the block lives as long as a reference to it, and a header is only written through `&mut self` by the
        // holder of the sole reference.
        unsafe { header.as_ref() }
    }

    fn data(&self) -> *mut u8 {
        let header = self.0;
        // SAFETY: the bytes follow the header in the same block.
        unsafe { header.as_ptr().cast::<u8>().add(HEADER_BYTES) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.header().length as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes fit without a new block.
    pub fn capacity(&self) -> usize {
        let header = self.header();
        header.length as usize + header.spare as usize
    }

    /// Bytes of heap that the block takes.
    pub fn heap_bytes(&self) -> usize {
        HEADER_BYTES + self.capacity()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `length` bytes behind the header are initialised, and nobody writes them while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.data(), self.len()) }
    }

    /// Asks for the header and the first bytes.
    #[inline]
    pub fn prefetch(&self) {
        self.prefetch_lines(0..FIRST_LINES);
    }

    /// Asks for what follows them, up to a few KiB. Reads the length, so the header should be there.
    #[inline]
    pub fn prefetch_rest(&self) {
        let lines = (HEADER_BYTES + self.len()).div_ceil(64);
        self.prefetch_lines(FIRST_LINES..lines.min(LINES_MAX));
    }

    fn prefetch_lines(&self, lines: Range<usize>) {
        let header: *const u8 = self.0.as_ptr().cast();
        lines.for_each(|line| prefetch::address(header.wrapping_add(64 * line)));
    }

    /// The bytes as a shared buffer that keeps the block alive; copies nothing.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Whether this is the only reference, so that it may be written.
    pub fn is_unique(&self) -> bool {
        // Acquire: pairs with the release in `drop`, so that the last reads of former holders are over.
        self.header().references.load(Ordering::Acquire) == 1
    }

    /// Replaces the whole content if that needs no new block and wastes no more than half of the old one.
    pub fn try_overwrite(&mut self, bytes: &[u8]) -> bool {
        let capacity = self.capacity();
        let fits =
            bytes.len() <= capacity && bytes.len() >= capacity / 2 && u32::try_from(capacity - bytes.len()).is_ok();
        if !fits || !self.is_unique() {
            return false;
        }
        // SAFETY: sole reference, and the capacity was checked just above.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data(), bytes.len());
            self.set_len(bytes.len());
        }
        true
    }

    /// Adds bytes at the end; amortised constant time a byte where nobody else holds the block.
    pub fn append(&mut self, suffix: &[u8]) {
        let length = self.len();
        self.make_room(length + suffix.len());
        // SAFETY: `make_room` left a block that is ours alone with that capacity.
        unsafe {
            std::ptr::copy_nonoverlapping(suffix.as_ptr(), self.data().add(length), suffix.len());
            self.set_len(length + suffix.len());
        }
    }

    /// Writes bytes at an offset; what lies between the old end and the offset becomes zero.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("a string's length fits the address space");
        let length = self.len();
        if offset / 2 > self.capacity() {
            // Mostly zeros: take them from the system instead of writing them.
            let mut grown = Self::zeroed(end);
            grown.write_at(0, self.as_slice());
            grown.write_at(offset, bytes);
            *self = grown;
            return;
        }
        self.make_room(end);
        // SAFETY: the block is ours alone and holds at least `end` bytes; of the range written, `length..offset` lies
        // behind the old end.
        unsafe {
            if offset > length {
                std::ptr::write_bytes(self.data().add(length), 0, offset - length);
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data().add(offset), bytes.len());
            self.set_len(length.max(end));
        }
    }

    /// A blob without bytes, with the room that this one would have if it grew to `length`, and for its own bytes at least.
    pub fn empty_with_room(&self, length: usize) -> Self {
        let capacity = if length <= self.capacity() { self.capacity() } else { Self::grown_capacity(length) };
        Self::with_capacity(&[], capacity.max(self.len()))
    }

    /// The room that a string gets which grows to `length`.
    fn grown_capacity(length: usize) -> usize {
        length + length.min(DOUBLING_BYTES_MAX).max(length / 2)
    }

    /// A blob of these parts one after the other, in a block of just the allocator's size.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let blob = Self::allocate(length, Self::packed_capacity(length), false);
        // SAFETY: the block has room for the sum of the parts, and nobody else knows it.
        unsafe { blob.write_parts(0, parts) };
        blob
    }

    /// The room that comes with a block for `length` bytes anyway.
    fn packed_capacity(length: usize) -> usize {
        size_class(length + HEADER_BYTES) - HEADER_BYTES
    }

    /// SAFETY: the caller holds the sole reference, and the parts fit the capacity from `offset` on.
    unsafe fn write_parts(&self, mut offset: usize, parts: &[&[u8]]) {
        for part in parts {
            // SAFETY: by the caller's promise; a part lies elsewhere, since the block is only ours.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), self.data().add(offset), part.len()) };
            offset += part.len();
        }
    }

    /// Puts `parts` in the place of the bytes `range`. Grows to the allocator's next size only, for values that are many
    /// and small; gives room back when more than half is unused.
    pub fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let (length, capacity) = (self.len(), self.capacity());
        assert!(range.start <= range.end && range.end <= length, "a range of this blob");
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let new_length = length - range.len() + added;
        if new_length > capacity || new_length < capacity / 2 || !self.is_unique() {
            let other = Self::allocate(new_length, Self::packed_capacity(new_length), false);
            let (head, tail) = (&self.as_slice()[..range.start], &self.as_slice()[range.end..]);
            // SAFETY: the new block is ours alone and holds the three together.
            unsafe {
                other.write_parts(0, &[head]);
                other.write_parts(range.start, parts);
                other.write_parts(range.start + added, &[tail]);
            }
            *self = other;
            return;
        }
        // SAFETY: sole reference, and the capacity was checked just above; the tail moves before the parts are written.
        unsafe {
            let tail = self.data().add(range.end);
            std::ptr::copy(tail, self.data().add(range.start + added), length - range.end);
            self.write_parts(range.start, parts);
            self.set_len(new_length);
        }
    }

    /// The bytes for changes in place; copies them first if others hold them, too.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if !self.is_unique() {
            *self = Self::of_parts(&[self.as_slice()]);
        }
        // SAFETY: sole reference; `length` bytes behind the header are initialised.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.len()) }
    }

    /// SAFETY: the caller holds the sole reference, `length` fits the capacity, that many bytes are initialised, and what
    /// is left of the capacity fits a u32.
    unsafe fn set_len(&mut self, length: usize) {
        let capacity = self.capacity();
        let mut header = self.0;
        // SAFETY: sole reference by the caller's promise.
        let header = unsafe { header.as_mut() };
        header.length = length as u64;
        header.spare = (capacity - length) as u32;
    }

    /// Leaves a block that is ours alone and has room for `needed` bytes; keeps the content.
    fn make_room(&mut self, needed: usize) {
        let unique = self.is_unique();
        let capacity = self.capacity();
        if unique && needed <= capacity {
            return;
        }
        let target = if needed <= capacity { needed } else { Self::grown_capacity(needed) };
        let target = target.max(self.len()).min(self.len() + u32::MAX as usize);
        if !unique {
            *self = Self::with_capacity(self.as_slice(), target);
            return;
        }
        let layout = Self::layout(target);
        let header = self.0;
        // SAFETY: the block was made with `Self::layout(capacity)`; sole reference; the new size is not zero.
        let pointer = unsafe { realloc(header.as_ptr().cast(), Self::layout(capacity), layout.size()) };
        let Some(header) = block_header(pointer) else { handle_alloc_error(layout) };
        self.0 = header;
        let spare = (target - self.len()) as u32;
        // SAFETY: sole reference to a block that holds a header.
        unsafe { (*header.as_ptr()).spare = spare };
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        // Relaxed: whoever clones holds a reference already, so the block cannot go away meanwhile.
        let before = self.header().references.fetch_add(1, Ordering::Relaxed);
        // Half of the counter is left as a margin for other threads in the same place.
        assert!(before < u32::MAX / 2, "too many references to one string");
        Self(self.0)
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        // Release, then acquire for the last one: all uses by other holders happen before the block is freed.
        if self.header().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let layout = Self::layout(self.capacity());
        let header = self.0;
        // SAFETY: that was the last reference, and the block was made with this layout.
        unsafe { dealloc(header.as_ptr().cast(), layout) };
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Blob").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Blob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_pointer_that_may_stand_anywhere() {
        assert_eq!(size_of::<Blob>(), 8);
        assert_eq!(size_of::<Option<Blob>>(), 8);
        assert_eq!(align_of::<Blob>(), 1);
    }

    #[test]
    fn appends_in_place_with_room_to_spare() {
        let mut blob = Blob::new(b"");
        let mut blocks = 0;
        let mut last = blob.data();
        for index in 0..100_000u32 {
            blob.append(&index.to_le_bytes());
            blocks += usize::from(last != blob.data());
            last = blob.data();
        }
        assert_eq!(blob.len(), 400_000);
        assert!(blob.as_slice().chunks(4).zip(0u32..).all(|(chunk, index)| chunk == index.to_le_bytes()));
        assert!(blocks < 40, "{blocks} blocks for one growing string");
    }

    #[test]
    fn writers_copy_what_others_hold() {
        let mut blob = Blob::with_capacity(b"hello", 100);
        let reply = blob.to_bytes();
        let view = blob.clone();
        blob.append(b" world");
        blob.write_at(0, b"J");
        assert_eq!(&blob.as_slice(), b"Jello world");
        assert_eq!((&reply[..], view.as_slice()), (&b"hello"[..], &b"hello"[..]));
        assert!(!view.clone().try_overwrite(b"other"));
        drop((reply, view));
        assert!(blob.is_unique());
    }

    #[test]
    fn writes_beyond_the_end_are_zero_padded() {
        let mut blob = Blob::with_capacity(b"xxxxxxxxxxxxxxxxxxxx", 64);
        assert!(!blob.try_overwrite(b"ab"), "less than half of the block would be used");
        assert!(blob.try_overwrite(&[b'y'; 40]));
        blob.write_at(44, b"end");
        assert_eq!(blob.len(), 47);
        assert_eq!(&blob.as_slice()[38..], b"yy\0\0\0\0end");
        blob.write_at(10_000, b"far");
        assert_eq!(blob.len(), 10_003);
        assert_eq!(&blob.as_slice()[..2], b"yy");
        assert!(blob.as_slice()[47..10_000].iter().all(|byte| *byte == 0));
        blob.write_at(5, b"zz");
        assert_eq!((blob.len(), &blob.as_slice()[4..8]), (10_003, &b"yzzy"[..]));
    }

    #[test]
    fn ranges_are_replaced_in_place_unless_others_look() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut blob, mut model) = (Blob::new(b""), Vec::new());
        for _ in 0..2000 {
            let view = (random.u32(..4) == 0).then(|| (blob.clone(), model.clone()));
            let start = random.usize(..=model.len());
            let end = if random.bool() { start } else { random.usize(start..=model.len()) };
            let parts = [vec![random.u8(..); random.usize(..40)], vec![random.u8(..); random.usize(..10)]];
            blob.splice(start..end, &[&parts[0], &parts[1]]);
            model.splice(start..end, parts.concat());
            if let Some(byte) = blob.as_mut_slice().first_mut() {
                *byte ^= 1;
                model[0] ^= 1;
            }
            assert_eq!(blob.as_slice(), model);
            assert!(blob.capacity() <= (model.len() * 2).max(64), "{} for {}", blob.capacity(), model.len());
            assert!(view.is_none_or(|(blob, model)| blob.as_slice() == model));
        }
        let held = blob.clone();
        blob.splice(0..0, &[b"x"]);
        let block = blob.data();
        blob.splice(0..1, &[b"y"]);
        assert_eq!((blob.data(), held.is_unique()), (block, true));
    }

    #[test]
    fn the_last_holder_on_any_thread_frees() {
        let blob = Blob::new(&[7; 1000]);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let held = blob.clone();
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        assert_eq!(held.clone().as_slice()[999], 7);
                    }
                })
            })
            .collect();
        drop(blob);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
