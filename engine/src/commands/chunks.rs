//! Many rows in chunks that never move: what a long command collects.

use super::partial_sort::Places;
use std::cmp::Ordering;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 4096;

/// Rows by number.
#[derive(Debug)]
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, row: T) {
        match self.0.last_mut() {
            // A few rows need no whole chunk.
            None => self.0.push(vec![row]),
            Some(chunk) if chunk.len() < CHUNK_ROWS => chunk.push(row),
            Some(_) => {
                self.0.push(Vec::with_capacity(CHUNK_ROWS));
                self.push(row);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK_ROWS + last.len())
    }

    pub(super) fn get(&self, index: usize) -> Option<T> {
        self.0.get(index / CHUNK_ROWS)?.get(index % CHUNK_ROWS).copied()
    }

    pub(super) fn at(&self, index: usize) -> T {
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
        (self.1)(&self.0.at(a), &self.0.at(b))
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (first, second) = (self.0.at(a), self.0.at(b));
        self.0.set(a, second);
        self.0.set(b, first);
    }
}
