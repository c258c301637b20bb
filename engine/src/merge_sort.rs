//! Sorting in slices.
//!
//! ```text
//!   push    rows; each so many of them are sorted: a run
//!   merge   the WAYS oldest runs into one, some rows a step, until no more than WAYS are left
//!   next    the rows in order: the last merge is not made but read
//! ```
//!
//! * Rows that compare as equal come out in any order: where theirs matters, let the comparison say so.
//! * No run is longer than what is wanted of the result: what stands behind that in its run stands behind it in all.
//! * Runs lie in chunks, and a merge frees the chunks it has used up: nothing large is moved or freed at once.
//! * Many ways, since what is compared at the heads of the runs stays in the caches: it is fetched once a merge, not once a
//!   comparison.

use crate::values::large::discard_each;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Runs that are merged at a time.
const WAYS: usize = 64;

/// Rows of a chunk of a run.
const ROWS_A_CHUNK: usize = 512;

/// Sorted rows, in chunks; the first `used` of the first one are gone. No chunk is empty.
struct Run<R> {
    chunks: VecDeque<Vec<R>>,
    used: usize,
    length: usize,
}

impl<R: Copy> Run<R> {
    fn empty() -> Self {
        Self { chunks: VecDeque::new(), used: 0, length: 0 }
    }

    fn push(&mut self, row: R) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == chunk.capacity()) {
            self.chunks.push_back(Vec::with_capacity(ROWS_A_CHUNK));
        }
        self.chunks.back_mut().expect("one was there or added").push(row);
        self.length += 1;
    }

    fn head(&self) -> Option<&R> {
        self.chunks.front().map(|chunk| &chunk[self.used])
    }

    fn pop(&mut self) -> Option<R> {
        let row = *self.head()?;
        self.used += 1;
        self.length -= 1;
        if self.used == self.chunks[0].len() {
            self.chunks.pop_front();
            self.used = 0;
        }
        Some(row)
    }
}

/// Frees runs in slices.
fn discard_runs<R: 'static>(runs: impl IntoIterator<Item = Run<R>>) {
    let chunks: Vec<_> = runs.into_iter().flat_map(|run| run.chunks).collect();
    discard_each(chunks, ROWS_A_CHUNK * size_of::<R>());
}

/// Runs on their way into one: a heap of the heads of all that are not used up, the least on top.
struct Merge<R> {
    heads: Vec<Head<R>>,
    runs: Vec<Run<R>>,
}

/// The head of a run, where comparing finds it at once.
#[derive(Clone, Copy)]
struct Head<R> {
    row: R,
    run: usize,
}

impl<R: Copy> Merge<R> {
    fn of(runs: impl Iterator<Item = Run<R>>, compare: &impl Fn(&R, &R) -> Ordering) -> Self {
        let runs: Vec<Run<R>> = runs.collect();
        let head = |(run, rows): (usize, &Run<R>)| rows.head().map(|row| Head { row: *row, run });
        let mut merge = Self { heads: runs.iter().enumerate().filter_map(head).collect(), runs };
        for place in (0..merge.heads.len() / 2).rev() {
            merge.sink(place, compare);
        }
        merge
    }

    fn sink(&mut self, mut place: usize, compare: &impl Fn(&R, &R) -> Ordering) {
        let Some(sinking) = self.heads.get(place).copied() else { return };
        loop {
            let mut child = 2 * place + 1;
            let Some(left) = self.heads.get(child) else { break };
            let mut least = left;
            if let Some(right) = self.heads.get(child + 1)
                && compare(&right.row, &left.row) == Ordering::Less
            {
                (child, least) = (child + 1, right);
            }
            if compare(&least.row, &sinking.row) != Ordering::Less {
                break;
            }
            self.heads[place] = *least;
            place = child;
        }
        self.heads[place] = sinking;
    }

    fn pop(&mut self, compare: &impl Fn(&R, &R) -> Ordering) -> Option<R> {
        let top = self.heads.first_mut()?;
        let run = &mut self.runs[top.run];
        let row = run.pop();
        match run.head() {
            Some(next) => top.row = *next,
            None => {
                self.heads.swap_remove(0);
            }
        }
        self.sink(0, compare);
        row
    }
}

/// Rows on their way into order. `compare` is the same in each call.
pub(crate) struct Sorter<R: Copy + 'static> {
    /// Of all rows, so many are wanted.
    wanted: usize,
    run_rows: usize,
    open: Vec<R>,
    runs: VecDeque<Run<R>>,
    merge: Option<(Merge<R>, Run<R>)>,
    last: Option<Merge<R>>,
}

impl<R: Copy + 'static> Drop for Sorter<R> {
    /// What nobody wanted goes in slices.
    fn drop(&mut self) {
        let merges = self.last.take().into_iter().chain(self.merge.take().map(|(merge, _)| merge));
        discard_runs(self.runs.drain(..).chain(merges.flat_map(|merge| merge.runs)));
    }
}

impl<R: Copy + 'static> Sorter<R> {
    /// For rows of which the first `wanted` are; each `run_rows` of them are sorted at once.
    pub(crate) fn new(wanted: usize, run_rows: usize) -> Self {
        Self { wanted, run_rows, open: Vec::new(), runs: VecDeque::new(), merge: None, last: None }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: R, compare: impl Fn(&R, &R) -> Ordering) {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(self.run_rows);
        }
        self.open.push(row);
        if self.open.len() >= self.run_rows {
            self.end_run(compare);
        }
    }

    fn end_run(&mut self, compare: impl Fn(&R, &R) -> Ordering) {
        let mut rows = std::mem::take(&mut self.open);
        rows.sort_unstable_by(compare);
        if self.wanted < rows.len() {
            rows.truncate(self.wanted);
            rows.shrink_to_fit();
        }
        if !rows.is_empty() {
            self.runs.push_back(Run { length: rows.len(), chunks: VecDeque::from([rows]), used: 0 });
        }
    }

    /// Goes on for about `budget` rows when all have been pushed; whether what is left is [`Sorter::next`].
    pub(crate) fn merge(&mut self, budget: u64, compare: impl Fn(&R, &R) -> Ordering) -> bool {
        if self.last.is_some() {
            return true;
        }
        if !self.open.is_empty() {
            self.end_run(&compare);
        }
        for _ in 0..budget {
            let Some((merge, merged)) = &mut self.merge else {
                if self.runs.len() <= WAYS {
                    self.last = Some(Merge::of(self.runs.drain(..), &compare));
                    return true;
                }
                // No more than are needed to leave as many as the last one takes.
                let ways = WAYS.min(self.runs.len() - WAYS + 1);
                self.merge = Some((Merge::of(self.runs.drain(..ways), &compare), Run::empty()));
                continue;
            };
            let row = if merged.length == self.wanted { None } else { merge.pop(&compare) };
            match row {
                Some(row) => merged.push(row),
                None => {
                    let Some((rest, merged)) = self.merge.take() else { continue };
                    discard_runs(rest.runs);
                    self.runs.push_back(merged);
                }
            }
        }
        false
    }

    /// The next row in order, of those that are wanted.
    pub(crate) fn next(&mut self, compare: impl Fn(&R, &R) -> Ordering) -> Option<R> {
        self.wanted = self.wanted.checked_sub(1)?;
        self.last.as_mut()?.pop(&compare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_whatever_the_slices() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..60 {
            let (length, run_rows) = (random.usize(..9000), random.usize(1..40));
            let wanted = if random.bool() { usize::MAX } else { random.usize(..=length) };
            let mut sorter = Sorter::new(wanted, run_rows);
            let mut expected: Vec<(u32, usize)> = Vec::new();
            for index in 0..length {
                let row = (random.u32(..300), index);
                expected.push(row);
                sorter.push(row, Ord::cmp);
            }
            while !sorter.merge(random.u64(1..50), Ord::cmp) {}
            expected.sort_unstable();
            expected.truncate(wanted);
            let sorted: Vec<_> = std::iter::from_fn(|| sorter.next(Ord::cmp)).collect();
            assert_eq!(sorted, expected, "{length} {run_rows} {wanted}");
        }
    }
}
