//! Blocks shared by reference count, which their sole holder may change: what trees are made of.
//!
//! ```text
//!   Shared<T> ──> ┌ references: u32 ┬ T ............. ┐         a branch
//!                 └─────────────────┴─────────────────┘
//!   Chunk<F>  ──> ┌ references: u32 ┬ capacity: u32 ┬ bytes ... ┐   a leaf; F says what the bytes mean
//!                 └─────────────────┴───────────────┴───────────┘
//! ```
//!
//! * Like `Arc` without weak references: a pointer of eight bytes, and "am I the only one?" is one load. The count is
//!   atomic, so a frozen view may be read, and dropped, by another shard.
//! * The bytes of a chunk may hold references themselves ([`Format`]): they are counted when a copy of the bytes is made
//!   and given up with the last holder of a block.
//! * All bytes of a chunk are initialised, so whoever reads them needs no `unsafe`.
//! * Blocks are asked for with alignment one: the binding of our allocator would ask for `size + alignment - 1` bytes
//!   unless the size is a power of two, which takes the next size class. The allocator aligns them by eight all the same,
//!   and that is checked.

use crate::values::page::size_class;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Alignment of all blocks, in bytes.
const ALIGNMENT: usize = 8;

/// A block of at least that many bytes.
fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: no block is of size zero, each has a header.
    let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
    assert!(block.addr().get().is_multiple_of(ALIGNMENT), "the allocator aligns all blocks of this size");
    block
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 1).expect("a block of a tree is small")
}

/// One holder more.
fn retain(references: &AtomicU32) {
    // Relaxed: whoever clones holds a reference already, so the block cannot go away meanwhile.
    let before = references.fetch_add(1, Ordering::Relaxed);
    // Half of the counter is left as a margin for other threads in the same place.
    assert!(before < u32::MAX / 2, "too many references to one block");
}

/// One holder less; whether that was the last one.
fn release(references: &AtomicU32) -> bool {
    // Release, then acquire for the last one: all uses by other holders happen before the block is freed.
    if references.fetch_sub(1, Ordering::Release) != 1 {
        return false;
    }
    fence(Ordering::Acquire);
    true
}

/// Whether nobody else holds the block.
fn is_sole(references: &AtomicU32) -> bool {
    // Acquire: pairs with the release of former holders, whose last reads are over then.
    references.load(Ordering::Acquire) == 1
}

#[repr(C)]
struct Counted<T> {
    references: AtomicU32,
    value: T,
}

/// A value under a reference count.
pub(super) struct Shared<T>(NonNull<Counted<T>>);

// SAFETY: as for `Arc`: holders on several threads read the value, the last one may drop it on any thread.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Bytes of heap that each takes.
    pub(super) const HEAP_BYTES: usize = size_class(size_of::<Counted<T>>());

    pub(super) fn new(value: T) -> Self {
        const { assert!(align_of::<Counted<T>>() <= ALIGNMENT) };
        let block = allocate(Self::HEAP_BYTES).cast::<Counted<T>>();
        // SAFETY: the block is ours, long enough and aligned.
        unsafe { block.write(Counted { references: AtomicU32::new(1), value }) };
        Self(block)
    }

    pub(super) fn references(&self) -> &AtomicU32 {
        let block = self.0;
        // SAFETY: the block lives as long as a reference to it; the count is only used atomically.
        unsafe { &(*block.as_ptr()).references }
    }

    /// Whether nobody else holds the value.
    #[inline]
    pub(super) fn is_sole(&self) -> bool {
        is_sole(self.references())
    }

    /// The value, to change it, if nobody else holds it.
    #[inline]
    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        let block = self.0;
        // SAFETY: the sole reference is borrowed mutably, so nobody else reads or writes the value.
        self.is_sole().then(|| unsafe { &mut (*block.as_ptr()).value })
    }

    /// Gives the reference up; the value, if it was the last one. Of several holders who do so at once, on several
    /// threads, exactly one gets it.
    pub(super) fn leave(self) -> Option<T> {
        let block = self.0;
        let is_last = release(self.references());
        std::mem::forget(self);
        if !is_last {
            return None;
        }
        // SAFETY: that was the last reference, and its drop will not run: the value is moved out once and the block freed
        // once, with the layout it was made with.
        unsafe {
            let value = std::ptr::read(&raw const (*block.as_ptr()).value);
            dealloc(block.as_ptr().cast(), layout(Self::HEAP_BYTES));
            Some(value)
        }
    }

    /// The value, to change it; copied first if somebody else holds it.
    #[inline]
    pub(super) fn make_mut(&mut self) -> &mut T
    where
        T: Clone,
    {
        if !self.is_sole() {
            *self = Self::new((**self).clone());
        }
        let block = self.0;
        // SAFETY: the sole reference is borrowed mutably: it was so before, or the value was made just above.
        unsafe { &mut (*block.as_ptr()).value }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let block = self.0;
        // SAFETY: the block lives as long as a reference to it; writers need `&mut self` and be the sole holder.
        unsafe { &(*block.as_ptr()).value }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        retain(self.references());
        Self(self.0)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if release(self.references()) {
            let block = self.0;
            // SAFETY: that was the last reference; the block was made with this layout.
            unsafe {
                std::ptr::drop_in_place(&raw mut (*block.as_ptr()).value);
                dealloc(block.as_ptr().cast(), layout(Self::HEAP_BYTES));
            }
        }
    }
}

/// What the bytes of a chunk mean, as far as they refer to something.
pub(super) trait Format {
    /// Counts the references in bytes that were copied from another chunk's.
    fn retain(_bytes: &[u8]) {}
    /// Gives up the references in bytes that will be freed.
    fn release(_bytes: &mut [u8]) {}
}

#[repr(C)]
struct Header {
    references: AtomicU32,
    /// Size of the whole block.
    capacity: u32,
}

/// What a chunk has besides its bytes.
pub(super) const HEADER_BYTES: usize = size_of::<Header>();

/// Bytes under a reference count.
pub(super) struct Chunk<F: Format>(NonNull<Header>, PhantomData<F>);

// SAFETY: as for `Arc`; what bytes refer to is `Send` and `Sync` itself (blobs).
unsafe impl<F: Format> Send for Chunk<F> {}
// SAFETY: as above.
unsafe impl<F: Format> Sync for Chunk<F> {}

impl<F: Format> Chunk<F> {
    /// A block of `block_bytes` in all that begins with `head` and ends with `tail`; zeros between. Their references are
    /// not counted again.
    pub(super) fn with_ends(block_bytes: usize, head: &[u8], tail: &[u8]) -> Self {
        assert!(HEADER_BYTES + head.len() + tail.len() <= block_bytes);
        let capacity = u32::try_from(block_bytes).expect("a chunk is small");
        let header = allocate(block_bytes).cast::<Header>();
        let gap = block_bytes - HEADER_BYTES - head.len() - tail.len();
        // SAFETY: the block is ours and aligned; header, head, gap and tail together are as long as it is.
        unsafe {
            header.write(Header { references: AtomicU32::new(1), capacity });
            let bytes = header.cast::<u8>().as_ptr().add(HEADER_BYTES);
            std::ptr::copy_nonoverlapping(head.as_ptr(), bytes, head.len());
            std::ptr::write_bytes(bytes.add(head.len()), 0, gap);
            std::ptr::copy_nonoverlapping(tail.as_ptr(), bytes.add(head.len() + gap), tail.len());
        }
        Self(header, PhantomData)
    }

    fn header(&self) -> &Header {
        let header = self.0;
        // SAFETY: the block lives as long as a reference to it; the count is atomic, the capacity never changes.
        unsafe { header.as_ref() }
    }

    /// Bytes of heap that the block takes.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.header().capacity as usize
    }

    fn data(&self) -> NonNull<u8> {
        let header = self.0;
        // SAFETY: the bytes follow the header in the same block.
        unsafe { header.cast::<u8>().add(HEADER_BYTES) }
    }

    /// The bytes, all of them.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes behind the header are initialised, and writers need `&mut self` and be the sole holder.
        unsafe { std::slice::from_raw_parts(self.data().as_ptr(), self.heap_bytes() - HEADER_BYTES) }
    }

    /// Where the block begins, for prefetching.
    #[inline]
    pub(super) fn address(&self) -> *const u8 {
        let block = self.0;
        block.as_ptr().cast()
    }

    /// Whether nobody else holds the block.
    #[inline]
    pub(super) fn is_sole(&self) -> bool {
        is_sole(&self.header().references)
    }

    /// The bytes, to change them; copied first if somebody else holds them.
    #[inline]
    pub(super) fn make_mut(&mut self) -> &mut [u8] {
        if !self.is_sole() {
            let copy = Self::with_ends(self.heap_bytes(), self.bytes(), &[]);
            F::retain(copy.bytes());
            *self = copy;
        }
        // SAFETY: as in `bytes`; the sole reference is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data().as_ptr(), self.heap_bytes() - HEADER_BYTES) }
    }

    /// Gives the block up after its content was copied into these others, with all references in it: they move there, or
    /// count as copies if somebody else goes on holding this block.
    pub(super) fn succeeded_by(self, successors: &[&Self]) {
        if self.is_sole() {
            self.deallocate();
            std::mem::forget(self);
        } else {
            successors.iter().for_each(|successor| F::retain(successor.bytes()));
        }
    }

    fn deallocate(&self) {
        let block = self.0;
        // SAFETY: the block was made with this layout; the callers are its last holders and use it no more.
        unsafe { dealloc(block.as_ptr().cast(), layout(self.heap_bytes())) };
    }
}

impl<F: Format> Clone for Chunk<F> {
    fn clone(&self) -> Self {
        retain(&self.header().references);
        Self(self.0, PhantomData)
    }
}

impl<F: Format> Drop for Chunk<F> {
    fn drop(&mut self) {
        if release(&self.header().references) {
            // SAFETY: as in `bytes`, and that was the last reference.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(self.data().as_ptr(), self.heap_bytes() - HEADER_BYTES) };
            F::release(bytes);
            self.deallocate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    impl Format for Plain {}

    #[test]
    fn writers_copy_what_others_hold() {
        let mut chunk = Chunk::<Plain>::with_ends(64, b"head", b"tail");
        let view = chunk.clone();
        assert_eq!((chunk.bytes().len(), chunk.heap_bytes(), chunk.is_sole()), (56, 64, false));
        chunk.make_mut()[0] = b'H';
        assert!(chunk.is_sole() && view.is_sole());
        assert_eq!((&chunk.bytes()[..5], &view.bytes()[..5]), (&b"Head\0"[..], &b"head\0"[..]));
        assert_eq!(&chunk.bytes()[51..], b"\0tail");
        let address = chunk.bytes().as_ptr();
        assert_eq!(chunk.make_mut().as_ptr(), address, "the sole holder writes in place");
    }

    #[test]
    fn shared_values_are_dropped_once_and_copied_for_writers() {
        let mut value = Shared::new(vec![String::from("a")]);
        let view = value.clone();
        assert!(value.get_mut().is_none());
        value.make_mut().push(String::from("b"));
        assert_eq!((value.len(), view.len()), (2, 1));
        drop(view);
        assert!(value.get_mut().is_some());
    }

    #[test]
    fn the_last_holder_on_any_thread_frees() {
        let chunk = Chunk::<Plain>::with_ends(1024, &[7; 1000], &[]);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let held = chunk.clone();
                std::thread::spawn(move || (0..1000).for_each(|_| assert_eq!(held.clone().bytes()[999], 7)))
            })
            .collect();
        drop(chunk);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
