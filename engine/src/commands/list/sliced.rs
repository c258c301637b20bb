//! Long lists looked through in slices: by LPOS, which only reads, and by LREM and LINSERT, whose key is locked meanwhile.
//!
//! ```text
//!   LREM      the list is copied (O(1)), and what is equal taken off the copy run by run; the copy takes the list's place
//!   LINSERT   the list is looked through; the element goes in when its place is known
//! ```

use super::report;
use crate::command::Execution;
use crate::journal::EventClass;
use crate::long::{Locked, LongWork, Step};
use crate::values::large::ListTree;
use crate::values::list::{self, End, ListRef, equals};
use crate::values::{Collection, Element, Object, Type};
use std::ops::Range;

/// What taking a run of elements off costs, in units of looking at one.
const REMOVAL_UNITS: u64 = 16;

/// A search through the elements of a view, from an end on.
pub(super) struct Scan {
    pub(super) list: ListTree,
    pub(super) wanted: Vec<u8>,
    from: End,
    /// How many elements are looked at.
    elements_max: u64,
    looked_at: u64,
}

/// Whether a search goes on behind a match.
pub(super) enum Found {
    /// It does; the match has cost so many units.
    Next(u64),
    /// It was the last one that matters.
    Enough,
}

impl Scan {
    pub(super) fn new(list: &ListTree, wanted: &[u8], from: End, elements_max: u64) -> Self {
        let elements_max = elements_max.min(list.len());
        Self { list: list.clone(), wanted: wanted.to_vec(), from, elements_max, looked_at: 0 }
    }

    /// Looks at about so many elements more, and shows the indexes of those that are equal; whether the search is over.
    pub(super) fn look(&mut self, budget: u64, mut found: impl FnMut(u64) -> Found) -> bool {
        let (length, start) = (self.list.len(), self.looked_at);
        let run = start..self.elements_max.min(start.saturating_add(budget));
        let indexes = match self.from {
            End::Left => run.clone(),
            End::Right => length - run.end..length - run.start,
        };
        let wanted = Element::of(&self.wanted);
        let mut left = budget;
        for (number, element) in run.zip(ListRef::Tree(&self.list).range(indexes, self.from)) {
            self.looked_at = number + 1;
            left = left.saturating_sub(1);
            if equals(element, wanted) {
                let index = if self.from == End::Left { number } else { length - 1 - number };
                match found(index) {
                    Found::Next(units) => left = left.saturating_sub(units),
                    Found::Enough => return true,
                }
            }
            if left == 0 {
                break;
            }
        }
        self.looked_at == self.elements_max
    }
}

/// LREM.
pub(super) struct Removal {
    key: Locked,
    count: Vec<u8>,
    scan: Scan,
    /// The list without what has been taken off so far.
    list: ListTree,
    /// Equal elements side by side that have not been taken off yet: indexes in the view.
    run: Range<u64>,
    removed: u64,
    removed_max: u64,
}

impl Removal {
    pub(super) fn new(
        key: Locked,
        list: &ListTree,
        (count, text): (&[u8], &[u8]),
        from: End,
        removed_max: u64,
    ) -> Self {
        let scan = Scan::new(list, text, from, u64::MAX);
        Self { key, count: count.to_vec(), scan, list: list.clone(), run: 0..0, removed: 0, removed_max }
    }

    /// Takes about so many units' worth of elements off; whether that was all.
    fn remove(&mut self, budget: u64) -> bool {
        let Self { scan, list, run, removed, removed_max, .. } = self;
        let from = scan.from;
        let is_over = scan.look(budget, |index| {
            *removed += 1;
            let mut units = 0;
            match *run {
                Range { start, end } if end == index => *run = start..index + 1,
                Range { start, end } if start == index + 1 && from == End::Right => *run = index..end,
                _ => {
                    // Of those counted already, neither the run nor the one behind it has been taken off.
                    let off = *removed - 1 - (run.end - run.start);
                    take_off(list, run, from, off);
                    *run = index..index + 1;
                    units = REMOVAL_UNITS;
                }
            }
            if removed == removed_max { Found::Enough } else { Found::Next(units) }
        });
        if is_over {
            let off = self.removed - (self.run.end - self.run.start);
            take_off(&mut self.list, &self.run, from, off);
            self.run = 0..0;
        }
        is_over
    }

    /// Puts the new list in place, and tells.
    fn commit(&mut self, execution: &mut Execution<'_>) {
        execution.reply.integer(self.removed as i64);
        if self.removed == 0 || !self.key.enter(execution) {
            return;
        }
        let is_gone = self.list.is_empty();
        let list = std::mem::take(&mut self.list);
        let key = execution.keyspace.key(self.key.name());
        let Execution { keyspace, database, now, options, .. } = &mut *execution;
        let Ok(Some(mut entry)) = keyspace.edit(*database, &key, Type::List, *now) else { return };
        entry.changed(self.removed);
        if is_gone {
            entry.remove();
        } else {
            entry.change_object(|object| *object = Object::List(list));
            list::shrink(&mut entry, &options.encodings);
        }
        execution.effect(&[b"LREM", self.key.name(), &self.count, &self.scan.wanted]);
        report(execution, "lrem", self.key.name(), is_gone);
    }
}

/// Takes a run of a view's indexes off a list from which `off` elements before it, as seen from the end where the search
/// began, are gone already.
fn take_off(list: &mut ListTree, run: &Range<u64>, from: End, off: u64) {
    let shift = if from == End::Left { off } else { 0 };
    if !run.is_empty() {
        list.remove(run.start - shift, run.end - run.start);
    }
}

impl LongWork for Removal {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        if !self.remove(budget) {
            return Step::More;
        }
        self.commit(execution);
        Step::Done
    }
}

/// LINSERT.
pub(super) struct Insertion {
    key: Locked,
    scan: Scan,
    /// BEFORE or AFTER, as the client wrote it, and how far behind the pivot that is.
    place: (Vec<u8>, u64),
    text: Vec<u8>,
}

impl Insertion {
    pub(super) fn new(key: Locked, list: &ListTree, pivot: &[u8], place: (&[u8], u64), text: &[u8]) -> Self {
        let scan = Scan::new(list, pivot, End::Left, u64::MAX);
        Self { key, scan, place: (place.0.to_vec(), place.1), text: text.to_vec() }
    }

    fn commit(&mut self, execution: &mut Execution<'_>, index: u64) {
        let pivot = std::mem::take(&mut self.scan.wanted);
        // Nobody else holds the list now, unless somebody does: its chunks need not be copied.
        let length = std::mem::take(&mut self.scan.list).len() + 1;
        execution.reply.integer(length as i64);
        if !self.key.enter(execution) {
            return;
        }
        let key = execution.keyspace.key(self.key.name());
        let Execution { keyspace, database, now, options, .. } = &mut *execution;
        let Ok(Some(mut entry)) = keyspace.edit(*database, &key, Type::List, *now) else { return };
        list::insert(&mut entry, index, &self.text, &options.encodings);
        entry.changed(1);
        execution.effect(&[b"LINSERT", self.key.name(), &self.place.0, &pivot, &self.text]);
        execution.event(EventClass::List, "linsert", self.key.name());
    }
}

impl LongWork for Insertion {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let mut pivot = None;
        let is_over = self.scan.look(budget, |index| {
            pivot = Some(index);
            Found::Enough
        });
        match pivot {
            Some(pivot) => self.commit(execution, pivot + self.place.1),
            None if is_over => execution.reply.integer(-1),
            None => return Step::More,
        }
        Step::Done
    }
}
