//! A search among many places, in slices: what [`search`](super::search) does at once where there are few.
//!
//! ```text
//!   scan    the cells' ranks of the frozen set ──> rows of the places inside: rank, distance
//!   order   some of all:  partial sort of the rows       all of them:  runs and merges       or none
//!   tell    reply: place by place       store: into the builder of a sorted set, which takes the destination's place
//! ```

use super::super::chunks::Chunks;
use super::super::double::DoubleText;
use super::super::partial_sort::PartialSort;
use super::super::report::Remade;
use super::super::zset::store_made;
use super::cell::Point;
use super::search::{Details, Order};
use super::shape::Shape;
use crate::command::Execution;
use crate::keyspace::DatabaseId;
use crate::long::{LongWork, STEP_BYTES_MAX, Step};
use crate::merge_sort::Sorter;
use crate::values::large::{Scored, SortedBuilder, SortedTree};
use std::cmp::Ordering;
use std::ops::Range;

/// Units of a row where it is told of: its member is looked for by its rank.
const UNITS_A_ROW: u64 = 4;
/// Rows that are sorted at once.
const RUN_ROWS: usize = 1024;

/// Which places are wanted.
pub(super) struct Choice {
    /// So many will do, wherever they are.
    pub(super) enough: usize,
    /// Zero: all.
    pub(super) count: usize,
    pub(super) order: Option<Order>,
    /// Metres in the unit of distances.
    pub(super) unit: f64,
}

/// What becomes of them.
pub(super) enum Purpose {
    Reply(Details),
    Store {
        database: DatabaseId,
        destination: Vec<u8>,
        /// Scores are distances.
        distances: bool,
        event: &'static str,
        /// Whether the result itself is told to logs, and what is.
        is_told: bool,
        told: Option<Remade>,
    },
}

/// A place inside.
#[derive(Clone, Copy)]
struct Row {
    /// In metres.
    distance: f64,
    rank: u64,
}

/// Where a row stands, by distance.
#[derive(Clone, Copy)]
struct Sorted {
    distance: f64,
    index: usize,
}

enum Stage {
    Scan,
    SortPart(PartialSort, Order),
    Sort {
        pushed: usize,
        sorter: Sorter<Sorted>,
        order: Order,
    },
    /// Rows are told of: from the sorter, or as they stand; so many have been.
    Tell {
        told: usize,
        sorter: Option<(Sorter<Sorted>, Order)>,
    },
    Build,
    /// The effects of a set are put together; so many members have been.
    TellSet(SortedTree, u64),
}

/// The search.
pub(super) struct Search {
    set: SortedTree,
    shape: Shape,
    /// What is to be looked at, in reverse.
    ranks: Vec<Range<u64>>,
    choice: Choice,
    purpose: Purpose,
    rows: Chunks<Row>,
    stage: Stage,
    /// How many rows are wanted, when all have been found.
    length: usize,
    builder: Option<SortedBuilder>,
}

impl Search {
    pub(super) fn new(set: SortedTree, shape: Shape, ranks: Vec<Range<u64>>, choice: Choice, purpose: Purpose) -> Self {
        let ranks = ranks.into_iter().rev().collect();
        Self {
            set,
            shape,
            ranks,
            choice,
            purpose,
            rows: Chunks::default(),
            stage: Stage::Scan,
            length: 0,
            builder: None,
        }
    }

    /// Looks at the next members; whether those were all that matter.
    fn scan(&mut self, budget: u64) -> bool {
        let mut left = (budget / self.shape.units()).max(1);
        while left > 0
            && let Some(ranks) = self.ranks.last_mut()
        {
            let run = left.min(ranks.end - ranks.start);
            for (rank, scored) in (ranks.start..ranks.start + run).zip(self.set.iter_from(ranks.start)) {
                if let Some(distance) = self.shape.distance_m(Point::of_score(scored.score)) {
                    self.rows.push(Row { distance, rank });
                    if self.rows.len() == self.choice.enough {
                        return true;
                    }
                }
            }
            ranks.start += run;
            left -= run;
            if ranks.is_empty() {
                self.ranks.pop();
                // Empty ones take a turn, too.
                left = left.saturating_sub(1);
            }
        }
        self.ranks.is_empty()
    }

    /// All have been found.
    fn order(&mut self) -> Stage {
        let found = self.rows.len();
        self.length = if self.choice.count > 0 { self.choice.count.min(found) } else { found };
        let stores = matches!(self.purpose, Purpose::Store { .. });
        match self.choice.order {
            // A set has its own order.
            Some(order) if self.length == found && !stores => self.sort(order),
            Some(order) if self.length < found => Stage::SortPart(PartialSort::new(found, 0..self.length), order),
            _ => Stage::Tell { told: 0, sorter: None },
        }
    }

    fn sort(&self, order: Order) -> Stage {
        Stage::Sort { pushed: 0, sorter: Sorter::new(self.length, RUN_ROWS), order }
    }

    /// Tells of the next rows; whether those were all.
    fn tell(&mut self, execution: &mut Execution<'_>, budget: u64) -> bool {
        let Self { set, rows, stage, length, purpose, builder, choice, .. } = self;
        let Stage::Tell { told, sorter } = stage else { return true };
        if *told == 0 {
            match purpose {
                Purpose::Reply(_) => execution.reply.array(*length),
                Purpose::Store { .. } => *builder = Some(SortedBuilder::new(*length as u64, set.hasher().clone())),
            }
        }
        let bytes = execution.reply.buffer().len();
        for _ in 0..(budget / UNITS_A_ROW).max(1) {
            if *told == *length || execution.reply.buffer().len() - bytes > STEP_BYTES_MAX {
                break;
            }
            let index = match sorter {
                Some((sorter, order)) => sorter.next(|a, b| compare(*order, a, b)).map_or(*told, |sorted| sorted.index),
                None => *told,
            };
            *told += 1;
            let Row { distance, rank } = rows.at(index);
            let (Some(scored), distance) = (set.at(rank), distance / choice.unit) else { continue };
            match (&purpose, builder.as_mut()) {
                (Purpose::Store { distances, .. }, Some(builder)) => {
                    let score = if *distances { distance } else { scored.score };
                    builder.push(Scored { score, member: scored.member });
                }
                (Purpose::Reply(details), _) => details.reply(&mut execution.reply, scored, distance),
                (Purpose::Store { .. }, None) => {}
            }
        }
        *told == *length
    }

    /// Puts the set in its place.
    fn store(&mut self, execution: &mut Execution<'_>, set: SortedTree) {
        let length = set.len();
        let Purpose::Store { database, destination, event, is_told, told, .. } = &mut self.purpose else { return };
        if let (Some(number), true) = (execution.keyspace.database_of(*database), *is_told) {
            execution.database = number;
            let key = execution.keyspace.key(destination);
            execution.keyspace.settle_expired(number, &key, execution.now, true);
            match told.take() {
                Some(told) if length > 0 => told.tell(execution),
                _ if length == 0 && execution.keyspace.peek(number, &key, execution.now).is_some() => {
                    execution.effect(&[b"DEL", destination]);
                }
                _ => {}
            }
        }
        if store_made(execution, *database, destination, set, event) {
            // Each member counts as a change, unlike in other commands that store a result.
            execution.keyspace.dirty += length.saturating_sub(1);
        }
    }
}

fn compare(order: Order, a: &Sorted, b: &Sorted) -> Ordering {
    order.compare(a.distance, b.distance).then(a.index.cmp(&b.index))
}

impl LongWork for Search {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match &mut self.stage {
            Stage::Scan => {
                if self.scan(budget) {
                    self.stage = self.order();
                }
            }
            Stage::SortPart(sort, order) => {
                let order = *order;
                let mut rows = self.rows.compared_by(|a, b| order.compare(a.distance, b.distance));
                match sort.step(&mut rows, budget) {
                    Ok(false) => {}
                    Ok(true) => self.stage = Stage::Tell { told: 0, sorter: None },
                    Err(_) => self.stage = self.sort(order),
                }
            }
            Stage::Sort { pushed, sorter, order } => {
                let order = *order;
                for _ in 0..budget {
                    if *pushed == self.rows.len() {
                        break;
                    }
                    let sorted = Sorted { distance: self.rows.at(*pushed).distance, index: *pushed };
                    sorter.push(sorted, |a, b| compare(order, a, b));
                    *pushed += 1;
                }
                if *pushed == self.rows.len() && sorter.merge(budget, |a, b| compare(order, a, b)) {
                    let sorter = std::mem::replace(sorter, Sorter::new(0, 1));
                    self.stage = Stage::Tell { told: 0, sorter: Some((sorter, order)) };
                }
            }
            Stage::Tell { .. } => {
                if self.tell(execution, budget) {
                    if self.builder.is_none() {
                        return Step::Done;
                    }
                    self.stage = Stage::Build;
                }
            }
            Stage::Build => {
                let is_over = self.builder.as_mut().is_none_or(|builder| builder.step(budget, |_, score| score));
                let Some(builder) = self.builder.take_if(|_| is_over) else { return Step::More };
                self.stage = Stage::TellSet(builder.into_set(), 0);
            }
            Stage::TellSet(set, from) => {
                if let Purpose::Store { told: Some(told), .. } = &mut self.purpose
                    && *from < set.len()
                {
                    let to = set.len().min(*from + (budget / UNITS_A_ROW).max(1));
                    for scored in set.iter_from(*from).take((to - *from) as usize) {
                        let score = DoubleText::new(scored.score);
                        scored.member.with_bytes(|member| told.add(&[score.as_str().as_bytes(), member]));
                    }
                    *from = to;
                    return Step::More;
                }
                let set = std::mem::replace(set, SortedTree::new(execution.keyspace.member_hasher().clone()));
                self.store(execution, set);
                return Step::Done;
            }
        }
        Step::More
    }
}
