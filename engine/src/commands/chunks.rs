//! Many rows in chunks that never move: what a long command collects.

use super::partial_sort::Places;
use std::cmp::Ordering;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 4096;

/// Rows by number.
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T: Copy> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, row: T) {
        if self.0.last().is_none_or(|chunk| chunk.len() == CHUNK_ROWS) {
            self.0.push(Vec::with_capacity(CHUNK_ROWS));
        }
        self.0.last_mut().expect("one was there or added").push(row);
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK_ROWS + last.len())
    }

    pub(super) fn get(&self, index: usize) -> T {
        self.0[index / CHUNK_ROWS][index % CHUNK_ROWS]
    }

    fn set(&mut self, index: usize, row: T) {
        self.0[index / CHUNK_ROWS][index % CHUNK_ROWS] = row;
    }

    /// The rows, to be sorted in part.
    pub(super) fn compared_by<C: Fn(&T, &T) -> Ordering>(&mut self, compare: C) -> ComparedChunks<'_, T, C> {
        ComparedChunks(self, compare)
    }
}

/// Rows with their order.
pub(super) struct ComparedChunks<'c, T, C>(&'c mut Chunks<T>, C);

impl<T: Copy, C: Fn(&T, &T) -> Ordering> Places for ComparedChunks<'_, T, C> {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        (self.1)(&self.0.get(a), &self.0.get(b))
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (first, second) = (self.0.get(a), self.0.get(b));
        self.0.set(a, second);
        self.0.set(b, first);
    }
}
