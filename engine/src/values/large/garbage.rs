//! Trees, and maps, that nobody holds any more, to be freed a slice at a time.
//!
//! A frozen view may be the last holder of millions of blocks, and may be dropped anywhere: with a client that went away
//! in the middle of a reply, say. So the drop of a large tree only puts its root here; the owner of the thread calls
//! [`collect`] in its idle moments. Which shard of the thread a tree belonged to does not matter any more.

use std::cell::RefCell;

/// A tree without its kind.
pub(super) trait Remains {
    /// Frees so many blocks, or less if nothing is left; takes what it freed off the budget. Whether something is left.
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

/// Values without a tree, each of which counts as a block.
struct Each<I>(I);

impl<I: Iterator> Remains for Each<I> {
    fn free_slice(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 {
            if self.0.next().is_none() {
                return false;
            }
            *budget -= 1;
        }
        true
    }
}

/// Values that go at once unless they are more.
const AT_ONCE_MAX: usize = 64;

/// Gives up a map, or what else consists of many values, each of which is soon freed: at once if they are few, else in
/// slices.
pub(crate) fn discard_each<C>(values: C)
where
    C: IntoIterator + 'static,
    C::IntoIter: ExactSizeIterator,
{
    let values = values.into_iter();
    if values.len() > AT_ONCE_MAX {
        discard(Box::new(Each(values)));
    }
}

/// Frees blocks of trees that were dropped on this thread, about as many as are left of the budget; whether more is left.
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
