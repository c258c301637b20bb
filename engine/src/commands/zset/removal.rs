//! Many members that go, in slices: ZREMRANGEBY*, ZPOPMIN and ZPOPMAX with a large count.
//!
//! What is left of the set is made aside, with the key locked; it takes the set's place in one step. All of a set goes at
//! once, as its key does.

use super::{edit, report_removal};
use crate::command::{EngineOptions, Execution};
use crate::keyspace::DatabaseId;
use crate::long::{LongWork, Step};
use crate::values::large::{SortedCut, SortedTree};
use crate::values::{Collection, Object};
use std::ops::Range;

/// Units of a member that is removed at once.
const UNITS_A_MEMBER: u64 = 4;

/// Members on their way out of a set.
pub(super) struct Removal {
    /// None once it is over.
    cut: Option<SortedCut>,
    count: u64,
    database: DatabaseId,
    key: Vec<u8>,
    event: &'static str,
}

impl Removal {
    /// Whether the removal of some ranks, which are not all, is to be done in slices.
    pub(super) fn is_long(options: &EngineOptions, ranks: &Range<u64>, set: &SortedTree) -> bool {
        let count = ranks.end - ranks.start;
        count > 0 && count < set.len() && options.is_long(count.saturating_mul(UNITS_A_MEMBER), 0)
    }

    /// A removal from a set as it is now, which nobody will change before it is over.
    pub(super) fn begin(
        execution: &Execution<'_>,
        key: &[u8],
        set: SortedTree,
        ranks: Range<u64>,
        event: &'static str,
    ) -> Self {
        let (count, database) = (ranks.end - ranks.start, execution.keyspace.database_id(execution.database));
        Self { cut: Some(SortedCut::removal(set, ranks)), count, database, key: key.into(), event }
    }

    /// Does about `budget` units more; whether the set is what it is to be.
    pub(super) fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> bool {
        let is_over = self.cut.as_mut().is_none_or(|cut| cut.step(budget));
        let Some(left) = self.cut.take_if(|_| is_over).map(SortedCut::into_set) else { return is_over };
        // The database may have been emptied meanwhile.
        let Some(database) = execution.keyspace.database_of(self.database) else { return true };
        execution.database = database;
        let key = execution.keyspace.key(&self.key);
        if let Ok(Some(mut entry)) = edit(execution, &key) {
            entry.changed(self.count);
            entry.change_object(|object| *object = Object::SortedSet(left));
            report_removal(execution, self.event, &self.key, false);
        }
        true
    }
}

/// One that is told by its number of members.
pub(super) struct RangeRemoval(pub(super) Removal);

impl LongWork for RangeRemoval {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        if !self.0.step(execution, budget) {
            return Step::More;
        }
        execution.reply.integer(self.0.count as i64);
        Step::Done
    }
}

/// One whose members are listed, once they are gone.
pub(super) struct ListedRemoval<W> {
    /// None once it is over.
    pub(super) removal: Option<Removal>,
    pub(super) listing: W,
}

impl<W: LongWork> LongWork for ListedRemoval<W> {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(removal) = &mut self.removal else { return self.listing.step(execution, budget) };
        if removal.step(execution, budget) {
            self.removal = None;
        }
        Step::More
    }

    fn only_reads(&self) -> bool {
        self.removal.is_none()
    }
}
