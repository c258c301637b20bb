//! Many rows in chunks that never move: what a long command collects.

use super::partial_sort::Places;
use crate::values::large::discard_each;
use std::cmp::Ordering;

/// Rows by number. Many go in slices, as what views hold does.
#[derive(Debug)]
pub(super) struct Chunks<T: Copy + 'static>(Vec<Vec<T>>);

impl<T: Copy + 'static> Drop for Chunks<T> {
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.0), Self::CHUNK_ROWS * size_of::<T>());
    }
}

impl<T: Copy + 'static> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + 'static> Chunks<T> {
    /// Rows of a chunk: as many as fit in a few pages.
    const CHUNK_ROWS: usize = (16 << 10) / size_of::<T>();

    pub(super) fn push(&mut self, row: T) {
        match self.0.last_mut() {
            // A few rows need no whole chunk.
            None => self.0.push(vec![row]),
            Some(chunk) if chunk.len() < Self::CHUNK_ROWS => chunk.push(row),
            Some(_) => {
                self.0.push(Vec::with_capacity(Self::CHUNK_ROWS));
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
        self.0.last().map_or(0, |last| (self.0.len() - 1) * Self::CHUNK_ROWS + last.len())
    }

    pub(super) fn get(&self, index: usize) -> Option<T> {
        self.0.get(index / Self::CHUNK_ROWS)?.get(index % Self::CHUNK_ROWS).copied()
    }

    pub(super) fn at(&self, index: usize) -> T {
        self.0[index / Self::CHUNK_ROWS][index % Self::CHUNK_ROWS]
    }

    fn set(&mut self, index: usize, row: T) {
        self.0[index / Self::CHUNK_ROWS][index % Self::CHUNK_ROWS] = row;
    }

    /// The rows, to be sorted in part.
    pub(super) fn compared_by<C: Fn(&T, &T) -> Ordering>(&mut self, compare: C) -> ComparedChunks<'_, T, C> {
        ComparedChunks(self, compare)
    }
}

/// Rows with their order.
pub(super) struct ComparedChunks<'c, T: Copy + 'static, C>(&'c mut Chunks<T>, C);

impl<T: Copy + 'static, C: Fn(&T, &T) -> Ordering> Places for ComparedChunks<'_, T, C> {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        (self.1)(&self.0.at(a), &self.0.at(b))
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (first, second) = (self.0.at(a), self.0.at(b));
        self.0.set(a, second);
        self.0.set(b, first);
    }
}
