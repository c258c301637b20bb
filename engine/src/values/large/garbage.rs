//! Trees, and maps, that nobody holds any more, to be freed a slice at a time.
//!
//! A frozen view may be the last holder of millions of blocks, and may be dropped anywhere: with a client that went away
//! in the middle of a reply, say. So the drop of a large tree only puts its root here; the owner of the thread calls
//! [`collect`] in its idle moments. Which shard of the thread a tree belonged to does not matter any more.
//!
//! What freeing costs is counted in *units*, by the block and by its bytes: a block is little to let go, but with the last one in its
//! page that page goes back to the system.

use std::cell::RefCell;

/// What freeing a block of so many bytes costs.
pub fn units(bytes: usize) -> usize {
    1 + bytes / 1024
}

/// A tree without its kind.
pub(super) trait Remains {
    /// Frees so many units, or less if nothing is left; takes what it freed off the budget. Whether something is left.
    fn free_slice(&mut self, budget: &mut usize) -> bool;
}

thread_local! {
    static PILE: RefCell<Vec<Box<dyn Remains>>> = const { RefCell::new(Vec::new()) };
}

/// Puts a tree on the pile; gives it back if the thread is ending.
pub(super) fn discard(remains: Box<dyn Remains>) {
    // When the thread ends the pile may be gone already: the box is dropped then, all at once.
    let _ = PILE.try_with(|pile| pile.borrow_mut().push(remains));
}

/// Values without a tree, and the units of each.
struct Each<I>(I, usize);

impl<I: Iterator> Remains for Each<I> {
    fn free_slice(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 {
            if self.0.next().is_none() {
                return false;
            }
            *budget = budget.saturating_sub(self.1);
        }
        true
    }
}

/// Values that go at once unless they are more.
const AT_ONCE_MAX: usize = 64;
const BYTES_AT_ONCE_MAX: usize = 256 << 10;

/// Gives up a map, or what else consists of many values of about so many bytes each: at once if they are few, else in slices.
pub(crate) fn discard_each<C>(values: C, bytes: usize)
where
    C: IntoIterator + 'static,
    C::IntoIter: ExactSizeIterator,
{
    let values = values.into_iter();
    if values.len() > AT_ONCE_MAX || values.len() * bytes > BYTES_AT_ONCE_MAX {
        discard(Box::new(Each(values, units(bytes))));
    }
}

/// Frees blocks of trees that were dropped on this thread, of about as many units as are left of the budget; whether more is left.
/// Cheap when nothing is.
pub fn collect(left: &mut usize) -> bool {
    PILE.with(|pile| {
        loop {
            let Some(mut remains) = pile.borrow_mut().pop() else { return false };
            if remains.free_slice(left) {
                pile.borrow_mut().push(remains);
            }
            if *left == 0 {
                return !pile.borrow().is_empty();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_frees_so_many_bytes_at_the_most() {
        const BYTES: usize = 16 << 10;
        let chunks: Vec<Vec<u8>> = (0..500).map(|_| Vec::with_capacity(BYTES)).collect();
        while collect(&mut { usize::MAX }) {}
        discard_each(chunks, BYTES);
        let budget = 100;
        let mut slices = 1;
        while collect(&mut { budget }) {
            slices += 1;
        }
        let freed_in_each = budget * 1024 + BYTES;
        assert!(slices >= 500 * BYTES / freed_in_each, "{slices}");
        // Few, and little, go at once.
        discard_each((0..64).map(|_| vec![0_u8; 100]).collect::<Vec<_>>(), 100);
        assert!(!collect(&mut { 1 }));
    }
}
