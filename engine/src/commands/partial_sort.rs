//! Sorting a part of a slice, with the real server's order of equal elements.
//!
//! A client that asks for the nearest ten sees which of those equally far are among them. The real server's choice is
//! that of one algorithm: the quicksort of Bentley and McIlroy ("Engineering a Sort Function", 1993), going only into parts
//! that overlap the wanted range.
//!
//! ```text
//!   pivot: median of 3, of 9 past 40 elements
//!   [ = pivot | < pivot |  not yet looked at  | > pivot | = pivot ]   ->   [ < | = | > ]
//!     0         equal     left         right    equal_right
//! ```
//!
//! Input made for the purpose makes it quadratic; so its comparisons are counted, and past a bound the rest is left to a sort
//! that is not. It can be interrupted anywhere: places in many chunks are sorted in slices.

use std::cmp::Ordering;
use std::ops::Range;

/// Comparisons an element before it is given up.
const COMPARISONS_MAX: usize = 64;
/// Comparisons that are always allowed: they take a few milliseconds.
const COMPARISONS_FREE: usize = 1 << 20;

/// What is sorted: elements that are named by their places.
pub(super) trait Places {
    /// How what is at a place compares with what is at another.
    fn compare(&self, a: usize, b: usize) -> Ordering;
    /// Puts each in the place of the other.
    fn swap(&mut self, a: usize, b: usize);
}

struct Slice<'e, T, C>(&'e mut [T], C);

impl<T, C: Fn(&T, &T) -> Ordering> Places for Slice<'_, T, C> {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        (self.1)(&self.0[a], &self.0[b])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.0.swap(a, b);
    }
}

/// Puts those elements in order whose places in the whole order are in `wanted`.
pub(super) fn partial_sort<T>(elements: &mut [T], wanted: Range<usize>, compare: impl Fn(&T, &T) -> Ordering) {
    let mut sort = PartialSort::new(elements.len(), wanted);
    if sort.step(&mut Slice(elements, &compare), u64::MAX).is_err() {
        elements.sort_by(compare);
    }
}

/// The comparisons are used up: the elements are all there, in some order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp;

/// A sort that has begun.
pub(super) struct PartialSort {
    wanted: Range<usize>,
    /// Comparisons that are left.
    budget: usize,
    /// Parts that are not in order yet.
    parts: Vec<Range<usize>>,
    now: Now,
}

/// What is done with the part at hand.
enum Now {
    /// There is none.
    Nothing,
    /// What is in front of `end` is in order; the one that was there comes down to `index`.
    Insert { part: Range<usize>, end: usize, index: usize },
    /// The pivot is the first; places as in the drawing above.
    Part { part: Range<usize>, edges: Edges },
    /// What equals the pivot goes to the middle: `done` of them have.
    Gather { part: Range<usize>, edges: Edges, done: usize },
}

/// The edges of what a partition has found so far.
#[derive(Clone, Copy)]
struct Edges {
    equal: usize,
    left: usize,
    /// One place behind `right` of the drawing, and so is the next.
    right_end: usize,
    equal_right_end: usize,
    /// Whether `left` stands at what belongs to the right.
    is_left_found: bool,
}

impl PartialSort {
    /// Of so many elements, those are wanted whose places in the whole order are these.
    pub(super) fn new(length: usize, wanted: Range<usize>) -> Self {
        let budget = length.saturating_mul(COMPARISONS_MAX).max(COMPARISONS_FREE);
        Self { wanted, budget, parts: Vec::from_iter(Some(0..length)), now: Now::Nothing }
    }

    /// Goes on for about so many comparisons or swaps; whether what is wanted is in order.
    pub(super) fn step(&mut self, elements: &mut impl Places, steps: u64) -> Result<bool, GivenUp> {
        for _ in 0..steps {
            match std::mem::replace(&mut self.now, Now::Nothing) {
                Now::Nothing => {
                    let Some(part) = self.parts.pop() else { return Ok(true) };
                    self.now = self.begin(elements, part)?;
                }
                Now::Insert { part, end, index } => self.now = self.insert(elements, part, end, index)?,
                Now::Part { part, edges } => self.now = self.partition(elements, part, edges)?,
                Now::Gather { part, edges, done } => self.now = self.gather(elements, part, edges, done),
            }
        }
        Ok(false)
    }

    fn compare(&mut self, elements: &impl Places, a: usize, b: usize) -> Result<Ordering, GivenUp> {
        self.budget = self.budget.checked_sub(1).ok_or(GivenUp)?;
        Ok(elements.compare(a, b))
    }

    fn median(&mut self, elements: &impl Places, [a, b, c]: [usize; 3]) -> Result<usize, GivenUp> {
        Ok(if self.compare(elements, a, b)?.is_lt() {
            if self.compare(elements, b, c)?.is_lt() {
                b
            } else if self.compare(elements, a, c)?.is_lt() {
                c
            } else {
                a
            }
        } else if self.compare(elements, b, c)?.is_gt() {
            b
        } else if self.compare(elements, a, c)?.is_lt() {
            a
        } else {
            c
        })
    }

    fn pivot(&mut self, elements: &impl Places, part: &Range<usize>) -> Result<usize, GivenUp> {
        let length = part.len();
        let (mut first, mut middle, mut last) = (part.start, part.start + length / 2, part.end - 1);
        if length == 7 {
            return Ok(middle);
        }
        if length > 40 {
            let step = length / 8;
            first = self.median(elements, [first, first + step, first + 2 * step])?;
            middle = self.median(elements, [middle - step, middle, middle + step])?;
            last = self.median(elements, [last - 2 * step, last - step, last])?;
        }
        self.median(elements, [first, middle, last])
    }

    fn begin(&mut self, elements: &mut impl Places, part: Range<usize>) -> Result<Now, GivenUp> {
        if part.len() < 7 {
            return Ok(Now::Insert { end: part.start + 1, index: part.start + 1, part });
        }
        let pivot = self.pivot(elements, &part)?;
        elements.swap(part.start, pivot);
        let (start, end) = (part.start + 1, part.end);
        let edges = Edges { equal: start, left: start, right_end: end, equal_right_end: end, is_left_found: false };
        Ok(Now::Part { part, edges })
    }

    /// One comparison of an insertion sort.
    fn insert(
        &mut self,
        elements: &mut impl Places,
        part: Range<usize>,
        end: usize,
        index: usize,
    ) -> Result<Now, GivenUp> {
        if end >= part.end {
            return Ok(Now::Nothing);
        }
        if index > part.start && self.compare(elements, index - 1, index)?.is_gt() {
            elements.swap(index, index - 1);
            return Ok(Now::Insert { part, end, index: index - 1 });
        }
        Ok(Now::Insert { part, end: end + 1, index: end + 1 })
    }

    /// One comparison of a partition: puts what is less than the pivot in front, what is greater behind.
    fn partition(&mut self, elements: &mut impl Places, part: Range<usize>, mut edges: Edges) -> Result<Now, GivenUp> {
        let Edges { left, right_end, .. } = edges;
        if left >= right_end {
            return Ok(Now::Gather { part, edges, done: 0 });
        }
        let pivot = part.start;
        if !edges.is_left_found {
            match self.compare(elements, left, pivot)? {
                Ordering::Greater => edges.is_left_found = true,
                Ordering::Equal => {
                    elements.swap(edges.equal, left);
                    edges.equal += 1;
                    edges.left += 1;
                }
                Ordering::Less => edges.left += 1,
            }
            return Ok(Now::Part { part, edges });
        }
        let right = right_end - 1;
        edges.right_end = right;
        match self.compare(elements, right, pivot)? {
            Ordering::Less => {
                elements.swap(left, right);
                edges.left += 1;
                edges.is_left_found = false;
            }
            Ordering::Equal => {
                edges.equal_right_end -= 1;
                elements.swap(right, edges.equal_right_end);
            }
            Ordering::Greater => {}
        }
        Ok(Now::Part { part, edges })
    }

    /// One swap; at the end, what is less and what is greater are parts of their own.
    fn gather(&mut self, elements: &mut impl Places, part: Range<usize>, edges: Edges, done: usize) -> Now {
        let Edges { equal, left, equal_right_end, .. } = edges;
        let (less, greater) = (left - equal, equal_right_end - left);
        let in_front = (equal - part.start).min(less);
        let behind = greater.min(part.end - equal_right_end);
        if done < in_front {
            elements.swap(part.start + done, left - in_front + done);
        } else if done < in_front + behind {
            let done = done - in_front;
            elements.swap(left + done, part.end - behind + done);
        } else {
            let parts = [part.start..part.start + less, part.end - greater..part.end];
            // The first one is the next.
            for part in parts.into_iter().rev() {
                let is_wanted = self.wanted.start < part.end && part.start < self.wanted.end;
                if part.len() > 1 && is_wanted {
                    self.parts.push(part);
                }
            }
            return Now::Nothing;
        }
        Now::Gather { part, edges, done: done + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_part_is_that_of_the_whole_order() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..2000 {
            let (length, values) = (random.usize(0..300), random.usize(1..300));
            let mut elements: Vec<usize> = (0..length).map(|_| random.usize(..values)).collect();
            if round % 5 == 0 {
                elements.sort_unstable();
            }
            let mut sorted = elements.clone();
            sorted.sort_unstable();
            let start = random.usize(..=length);
            let end = random.usize(start..=length);
            partial_sort(&mut elements, start..end, usize::cmp);
            assert_eq!(elements[start..end], sorted[start..end]);
            elements.sort_unstable();
            assert_eq!(elements, sorted, "nothing is lost");
        }
    }

    #[test]
    fn input_that_makes_it_quadratic_is_bounded() {
        // An order that its elements take on while they are compared: each pivot turns out to be among the least.
        let length = 20_000;
        let state = std::cell::RefCell::new((vec![usize::MAX; length], 0, 0));
        let comparisons = std::cell::Cell::new(0);
        let compare = |a: &usize, b: &usize| {
            comparisons.set(comparisons.get() + 1);
            let (values, solid, candidate) = &mut *state.borrow_mut();
            if values[*a] == usize::MAX && values[*b] == usize::MAX {
                values[if *a == *candidate { *a } else { *b }] = *solid;
                *solid += 1;
            }
            if values[*a] == usize::MAX {
                *candidate = *a;
            } else if values[*b] == usize::MAX {
                *candidate = *b;
            }
            values[*a].cmp(&values[*b])
        };
        let mut elements: Vec<usize> = (0..length).collect();
        partial_sort(&mut elements, 0..length - 1, compare);
        assert!(comparisons.get() < 2 * COMPARISONS_MAX * length, "{}", comparisons.get());
    }
}
