//! The list of a table's pages: an array of pointers that never moves more than one chunk's worth at once.
//!
//! ```text
//!   1 page           root ──> page
//!   2 to 512         root ──> [page, page, ...]                 as long as the allocator's size class
//!   more             root ──> [chunk, chunk, ...] ──> [512 pages]
//! ```
//!
//! Sixteen bytes with the table's own counter, so that the tables of 64 slots lie close together.

use super::page::{Ledger, Page, size_class};
use super::prefetch;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};

/// Pages in a chunk.
const CHUNK: usize = 512;

const POINTER_BYTES: usize = size_of::<Page>();

/// A pointer to a page's block or to an array, as the drawing has it. Like a page of alignment 1, for the same reason.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Pointer(*mut u8);

/// Pages in order, with room for the owner's count of keys.
///
/// Invariant: `root` leads to `pages` initialised pages as drawn above, in arrays whose lengths follow from `pages`.
pub(super) struct Directory {
    root: *mut Pointer,
    pages: u32,
    /// For the table: number of keys in all pages.
    pub(super) keys: u32,
}

/// Pointers that an array of `count` has room for.
fn room(count: usize) -> usize {
    size_class(count * POINTER_BYTES) / POINTER_BYTES
}

fn layout(room: usize) -> Layout {
    Layout::array::<Page>(room).expect("a directory fits the address space")
}

/// An array with `new_room` pointers in the place of one with `old_room`; with room for none it is null.
///
/// SAFETY: `array` came from here with `old_room`, and is not used again.
unsafe fn resize(array: *mut Pointer, old_room: usize, new_room: usize, ledger: &mut Ledger) -> *mut Pointer {
    ledger.bytes = ledger.bytes + new_room * POINTER_BYTES - old_room * POINTER_BYTES;
    // SAFETY: no layout used is of size zero; the rest is the caller's promise.
    let result = unsafe {
        match (old_room, new_room) {
            _ if old_room == new_room => return array,
            (0, _) => alloc(layout(new_room)),
            (_, 0) => {
                dealloc(array.cast(), layout(old_room));
                return std::ptr::null_mut();
            }
            _ => realloc(array.cast(), layout(old_room), layout(new_room).size()),
        }
    };
    if result.is_null() {
        handle_alloc_error(layout(new_room));
    }
    result.cast()
}

impl Directory {
    /// No pages; allocates nothing.
    pub(super) const fn new() -> Self {
        Self { root: std::ptr::null_mut(), pages: 0, keys: 0 }
    }

    /// Number of pages.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.pages as usize
    }

    /// Where the pointer to a page stands, with `root` pointing at the field of that name.
    ///
    /// SAFETY: `root` points at the root of a directory of `pages` pages, and `index` is less than that.
    #[inline]
    unsafe fn place(root: *mut *mut Pointer, pages: usize, index: usize) -> *mut Page {
        // SAFETY: the root itself, the array or the chunks hold `pages` pointers, by the caller's promise.
        unsafe {
            match pages {
                1 => root.cast(),
                2..=CHUNK => root.read().cast::<Page>().add(index),
                _ => root.read().add(index / CHUNK).read().0.cast::<Page>().add(index % CHUNK),
            }
        }
    }

    /// The page of that index.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &Page {
        assert!(index < self.len());
        // SAFETY: checked just above; the place is only read.
        unsafe { &*Self::place((&raw const self.root).cast_mut(), self.len(), index) }
    }

    /// The page of that index.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Page {
        assert!(index < self.len());
        // SAFETY: checked just above; `&mut self` makes us the only user.
        unsafe { &mut *Self::place(&raw mut self.root, self.len(), index) }
    }

    /// Asks for the cache line with the pointer to a page.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        if (2..=CHUNK).contains(&self.len()) {
            prefetch::address(self.root.wrapping_add(index).cast());
        }
    }

    /// Adds a page at the end.
    pub(super) fn push(&mut self, page: Page, ledger: &mut Ledger) {
        let (pages, first) = (self.len(), self.root);
        self.reshape(pages, pages + 1, ledger);
        self.pages += 1;
        // SAFETY: `reshape` made room for one page more; the places written hold nothing that needs dropping. Where the
        // root was the only page itself, it moves into the array.
        unsafe {
            if pages == 1 {
                self.root.write(Pointer(first.cast()));
            }
            Self::place(&raw mut self.root, pages + 1, pages).write(page);
        }
    }

    /// Takes the last page off.
    pub(super) fn pop(&mut self, ledger: &mut Ledger) -> Option<Page> {
        let pages = self.len();
        if pages == 0 {
            return None;
        }
        // SAFETY: the last place holds a page, which nobody reads there again.
        let page = unsafe { Self::place(&raw mut self.root, pages, pages - 1).read() };
        // SAFETY: of two pages in an array, the one that stays becomes the root itself.
        let only = (pages == 2).then(|| unsafe { self.root.read().0 });
        self.reshape(pages, pages - 1, ledger);
        if let Some(only) = only {
            self.root = only.cast();
        }
        self.pages -= 1;
        Some(page)
    }

    /// Gives the arrays the lengths that go with `new` pages instead of `old`, one more or one less. The pointers in
    /// what remains stay; for one page and for none there is no array.
    fn reshape(&mut self, old: usize, new: usize, ledger: &mut Ledger) {
        let (old_chunks, new_chunks) = (old.div_ceil(CHUNK), new.div_ceil(CHUNK));
        if old.max(new) <= CHUNK {
            let array_room = |pages: usize| if pages < 2 { 0 } else { room(pages) };
            // SAFETY: arrays of this kind are made here only, with the room that follows from their pages.
            self.root = unsafe { resize(self.root, array_room(old), array_room(new), ledger) };
        } else if new_chunks > old_chunks {
            // SAFETY: as above; the list has room for one chunk more, which is written before anybody reads it. What was
            // the only chunk has its full room by then.
            unsafe {
                let only = self.root;
                let old_room = if old_chunks == 1 { 0 } else { room(old_chunks) };
                self.root = resize(self.root, old_room, room(new_chunks), ledger);
                if old_chunks == 1 {
                    self.root.write(Pointer(only.cast()));
                }
                let chunk = resize(std::ptr::null_mut(), 0, CHUNK, ledger);
                self.root.add(old_chunks).write(Pointer(chunk.cast()));
            }
        } else if new_chunks < old_chunks {
            // SAFETY: as above; the last chunk holds no page any more.
            unsafe {
                resize(self.root.add(new_chunks).read().0.cast(), CHUNK, 0, ledger);
                let first = self.root.read();
                let new_room = if new_chunks == 1 { 0 } else { room(new_chunks) };
                self.root = resize(self.root, room(old_chunks), new_room, ledger);
                if new_chunks == 1 {
                    self.root = first.0.cast();
                }
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The owner's ledger no longer counts these bytes; a directory that is dropped has been detached.
        let mut detached = Ledger { bytes: usize::MAX / 2, moved: 0 };
        while self.pop(&mut detached).is_some() {}
    }
}

#[cfg(test)]
impl Directory {
    /// Bytes of the arrays.
    pub(super) fn array_bytes(&self) -> usize {
        POINTER_BYTES
            * match self.len() {
                0 | 1 => 0,
                pages @ 2..=CHUNK => room(pages),
                pages => room(pages.div_ceil(CHUNK)) + pages.div_ceil(CHUNK) * CHUNK,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_their_places_through_every_shape() {
        let mut ledger = Ledger::default();
        let mut directory = Directory::new();
        let count = 3 * CHUNK + 5;
        // The room asked for tells the pages apart by their blocks' sizes.
        let size = |index: usize| 100 + 16 * (index % 200);
        for index in 0..count {
            let before = ledger.bytes;
            directory.push(Page::with_room(size(index), &mut ledger), &mut ledger);
            assert!(ledger.bytes - before <= 4096 + 4096 + 512, "push {index} took {}", ledger.bytes - before);
        }
        for index in 0..count {
            let mut alone = Ledger::default();
            Page::with_room(size(index), &mut alone).free(&mut Ledger { bytes: alone.bytes, moved: 0 }, drop);
            assert_eq!(directory.get(index).block_bytes(), alone.bytes, "{index}");
        }
        for index in (0..count).rev() {
            let page = directory.pop(&mut ledger).unwrap();
            assert!(page.block_bytes() >= size(index));
            page.free(&mut ledger, drop);
        }
        assert_eq!((directory.len(), ledger.bytes), (0, 0));
        assert!(directory.pop(&mut ledger).is_none());
    }
}
