//! LMOVEM of many elements of a long list, in slices.
//!
//! ```text
//!   source    [ view: moved | left ]    the view stays as it was; `left` is a copy that is cut, in O(log n)
//!   moving    elements of the view, some a slice, are pushed to a copy of the destination (or to `left`: one list)
//!   commit    both copies take their lists' places, and all is told
//!   listing   the moved elements are read from the view once more, as fast as the client takes them
//! ```
//! Both lists are locked until the commit.

use super::super::report::Remade;
use super::transfer::Transfer;
use super::{list_of, remove_if_empty};
use crate::command::Execution;
use crate::commands::string::reply_string;
use crate::keyspace::Entry;
use crate::long::{Locked, LongWork, STEP_BYTES_MAX, Step};
use crate::values::large::ListTree;
use crate::values::list::{self, End, ListRef};
use crate::values::{Collection, NewCollection, Object, Type};
use std::ops::Range;

/// Elements between two looks at how much has been encoded.
const RUN: u64 = 64;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many elements have been pushed.
    Moving(u64),
    /// The lists are in place, and so many elements have been told.
    Listing(u64),
}

/// A transfer in the making.
pub(super) struct LongTransfer {
    source: Locked,
    /// The words of the transfer, which outlive those of the client.
    names: [Vec<u8>; 2],
    ends: [End; 2],
    is_bulk: bool,
    view: ListTree,
    /// What is moved, as indexes in the view.
    moved: Range<u64>,
    /// The source without that.
    left: ListTree,
    /// The destination with what has been pushed so far; none if it is the source.
    destination: Option<ListTree>,
    /// The effects of what has been pushed, where somebody is told of it.
    pushes: Option<Remade>,
    stage: Stage,
}

impl LongTransfer {
    /// A transfer of some elements of a view to a destination, as it stands.
    pub(super) fn new(
        execution: &Execution<'_>,
        transfer: &Transfer<'_>,
        view: &ListTree,
        moved: Range<u64>,
        destination: Option<Entry<'_>>,
    ) -> Self {
        let mut left = view.clone();
        left.remove(moved.start, moved.end - moved.start);
        let destination = (!transfer.is_within_one_list()).then(|| match destination.map(list_of) {
            None => ListTree::new(),
            Some(ListRef::Tree(tree)) => tree.clone(),
            Some(ListRef::Listpack(packed)) => ListTree::from_listpack(packed),
        });
        Self {
            source: Locked::new(execution, transfer.source),
            names: [transfer.source.to_vec(), transfer.destination.to_vec()],
            ends: [transfer.from, transfer.to],
            is_bulk: transfer.is_bulk,
            view: view.clone(),
            moved,
            left,
            destination,
            pushes: execution.keyspace.journal.wants_effects().then(|| transfer.push_effects()),
            stage: Stage::Moving(0),
        }
    }

    fn count(&self) -> u64 {
        self.moved.end - self.moved.start
    }

    /// The end of the run of moved elements from which they are pushed.
    fn first_pushed(&self) -> End {
        let [from, to] = self.ends;
        if self.is_bulk && from == to { from.other() } else { from }
    }

    /// The indexes in the view of some turns, counted from an end of what is moved.
    fn indexes(&self, end: End, turns: Range<u64>) -> Range<u64> {
        match end {
            End::Left => self.moved.start + turns.start..self.moved.start + turns.end,
            End::Right => self.moved.end - turns.end..self.moved.end - turns.start,
        }
    }

    /// Pushes about so many more.
    fn push(&mut self, from: u64, budget: u64) -> u64 {
        let until = self.count().min(from.saturating_add(budget));
        let (end, to) = (self.first_pushed(), self.ends[1]);
        let indexes = self.indexes(end, from..until);
        let mut staying = u64::from(from == 0 && self.transfer().turns_round(self.count(), self.view.len()));
        let target = self.destination.as_mut().unwrap_or(&mut self.left);
        for element in ListRef::Tree(&self.view).range(indexes, end) {
            element.with_bytes(|text| {
                match to {
                    End::Left => target.push_front(text),
                    End::Right => target.push_back(text),
                }
                match &mut self.pushes {
                    Some(pushes) if staying == 0 => pushes.add(&[text]),
                    _ => staying = 0,
                }
            });
        }
        until
    }

    /// Puts the lists in place, and tells.
    fn commit(&mut self, execution: &mut Execution<'_>) {
        execution.reply.array(self.count() as usize);
        if !self.source.enter(execution) {
            return;
        }
        let Execution { keyspace, database, now, options, .. } = &mut *execution;
        let source = keyspace.key(&self.names[0]);
        let Ok(Some(mut entry)) = keyspace.edit(*database, &source, Type::List, *now) else { return };
        entry.changed(self.count());
        let left = std::mem::take(&mut self.left);
        entry.change_object(|object| *object = Object::List(left));
        let is_source_gone = remove_if_empty(entry);
        if !is_source_gone && let Ok(Some(mut entry)) = keyspace.edit(*database, &source, Type::List, *now) {
            list::shrink(&mut entry, &options.encodings);
        }
        if let Some(tree) = self.destination.take() {
            let destination = keyspace.key(&self.names[1]);
            let object = Object::List(tree);
            match keyspace.edit(*database, &destination, Type::List, *now) {
                Ok(Some(mut entry)) => entry.become_object(object),
                _ => keyspace.create(*database, &destination, &mut NewCollection::object(object), *now),
            }
        }
        let pushes = self.pushes.take();
        self.transfer().report(execution, pushes, self.count(), is_source_gone, self.view.len());
    }

    fn transfer(&self) -> Transfer<'_> {
        Transfer {
            source: &self.names[0],
            destination: &self.names[1],
            from: self.ends[0],
            to: self.ends[1],
            count: self.count(),
            is_exact: false,
            is_bulk: self.is_bulk,
        }
    }

    /// Tells more of what was moved, in the order in which it stands in the destination; how many have been told then.
    fn list(&self, from: u64, budget: u64, execution: &mut Execution<'_>) -> u64 {
        let first = if self.ends[1] == End::Left { self.first_pushed().other() } else { self.first_pushed() };
        let reply = &mut execution.reply;
        let (before, mut told) = (reply.buffer().len(), from);
        let until = self.count().min(from.saturating_add(budget));
        while told < until && reply.buffer().len() - before < STEP_BYTES_MAX {
            let run = told..until.min(told + RUN);
            told = run.end;
            let indexes = self.indexes(first, run);
            ListRef::Tree(&self.view).range(indexes, first).for_each(|element| reply_string(reply, element));
        }
        told
    }
}

impl LongWork for LongTransfer {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.stage {
            Stage::Moving(pushed) => {
                let pushed = self.push(pushed, budget);
                self.stage = Stage::Moving(pushed);
                if pushed == self.count() {
                    self.commit(execution);
                    self.stage = Stage::Listing(0);
                }
            }
            Stage::Listing(told) => {
                let told = self.list(told, budget, execution);
                self.stage = Stage::Listing(told);
                if told == self.count() {
                    return Step::Done;
                }
            }
        }
        Step::More
    }

    fn only_reads(&self) -> bool {
        matches!(self.stage, Stage::Listing(_))
    }
}
