//! Sorting a part of a slice, with the real server's order of equal elements.
//!
//! A client that asks for the nearest ten sees which of those equally far are among them. The real server's choice is
//! that of one algorithm: the quicksort of Bentley and McIlroy ("Engineering a Sort Function", 1993) with BSD's switch to
//! insertion where nothing had to be swapped, going only into parts that overlap the wanted range.
//!
//! ```text
//!   pivot: median of 3, of 9 past 40 elements
//!   [ = pivot | < pivot |  not yet looked at  | > pivot | = pivot ]   ->   [ < | = | > ]
//!     0         equal     left         right    equal_right
//! ```
//!
//! That switch makes it quadratic for input made for the purpose; so its comparisons are counted, and past a bound the
//! rest is left to the standard library.

use std::cmp::Ordering;
use std::ops::Range;

/// Comparisons an element before it is given up.
const COMPARISONS_MAX: usize = 64;
/// Comparisons that are always allowed: they take a few milliseconds.
const COMPARISONS_FREE: usize = 1 << 20;

/// Puts those elements in order whose places in the whole order are in `wanted`.
pub(super) fn partial_sort<T>(elements: &mut [T], wanted: Range<usize>, compare: impl Fn(&T, &T) -> Ordering) {
    let budget = elements.len().saturating_mul(COMPARISONS_MAX).max(COMPARISONS_FREE);
    let mut sorter = Sorter { compare: &compare, wanted, budget };
    if sorter.sort(elements, 0) == Err(GivenUp) {
        elements.sort_by(compare);
    }
}

/// The comparisons are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GivenUp;

struct Sorter<'c, C> {
    compare: &'c C,
    wanted: Range<usize>,
    budget: usize,
}

impl<C> Sorter<'_, C> {
    fn compare<T>(&mut self, elements: &[T], a: usize, b: usize) -> Result<Ordering, GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
        self.budget = self.budget.checked_sub(1).ok_or(GivenUp)?;
        Ok((self.compare)(&elements[a], &elements[b]))
    }

    fn insertion_sort<T>(&mut self, elements: &mut [T]) -> Result<(), GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
        for end in 1..elements.len() {
            let mut index = end;
            while index > 0 && self.compare(elements, index - 1, index)?.is_gt() {
                elements.swap(index - 1, index);
                index -= 1;
            }
        }
        Ok(())
    }

    fn median<T>(&mut self, elements: &[T], [a, b, c]: [usize; 3]) -> Result<usize, GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
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

    fn pivot<T>(&mut self, elements: &[T]) -> Result<usize, GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
        let (mut first, mut middle, mut last) = (0, elements.len() / 2, elements.len() - 1);
        if elements.len() == 7 {
            return Ok(middle);
        }
        if elements.len() > 40 {
            let step = elements.len() / 8;
            first = self.median(elements, [first, first + step, first + 2 * step])?;
            middle = self.median(elements, [middle - step, middle, middle + step])?;
            last = self.median(elements, [last - 2 * step, last - step, last])?;
        }
        self.median(elements, [first, middle, last])
    }

    /// Sorts what is wanted of a part that begins at place `start` of the whole.
    fn sort<T>(&mut self, mut elements: &mut [T], mut start: usize) -> Result<(), GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
        loop {
            let length = elements.len();
            if length < 7 {
                return self.insertion_sort(elements);
            }
            let Some(parts) = self.partition(elements)? else { return self.insertion_sort(elements) };
            let less = parts.start;
            if less > 1 && self.is_wanted(start, less) {
                self.sort(&mut elements[..less], start)?;
            }
            if length - parts.end <= 1 || !self.is_wanted(start + parts.end, length - parts.end) {
                return Ok(());
            }
            elements = &mut elements[parts.end..];
            start += parts.end;
        }
    }

    fn is_wanted(&self, start: usize, length: usize) -> bool {
        self.wanted.start < start + length && start < self.wanted.end
    }

    /// Puts what is less than a pivot in front, what is greater behind; where those that equal it are. None:
    /// nothing had to be swapped, so all may be in order.
    fn partition<T>(&mut self, elements: &mut [T]) -> Result<Option<Range<usize>>, GivenUp>
    where
        C: Fn(&T, &T) -> Ordering,
    {
        let (length, pivot) = (elements.len(), self.pivot(elements)?);
        elements.swap(0, pivot);
        let (mut equal, mut left, mut right, mut equal_right) = (1, 1, length - 1, length - 1);
        let mut has_swapped = false;
        loop {
            while left <= right {
                match self.compare(elements, left, 0)? {
                    Ordering::Greater => break,
                    Ordering::Equal => {
                        has_swapped = true;
                        elements.swap(equal, left);
                        equal += 1;
                    }
                    Ordering::Less => {}
                }
                left += 1;
            }
            while left <= right {
                match self.compare(elements, right, 0)? {
                    Ordering::Less => break,
                    Ordering::Equal => {
                        has_swapped = true;
                        elements.swap(right, equal_right);
                        equal_right -= 1;
                    }
                    Ordering::Greater => {}
                }
                right -= 1;
            }
            if left > right {
                break;
            }
            elements.swap(left, right);
            has_swapped = true;
            left += 1;
            right -= 1;
        }
        if !has_swapped {
            return Ok(None);
        }
        let (less, greater) = (left - equal, equal_right - right);
        let count = equal.min(less);
        (0..count).for_each(|index| elements.swap(index, left - count + index));
        let count = greater.min(length - 1 - equal_right);
        (0..count).for_each(|index| elements.swap(left + index, length - count + index));
        Ok(Some(less..length - greater))
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
