//! Commands on every shard beside units that hold keys of several shards for long.
//!
//! ```text
//!   DBSIZE, KEYS, FLUSHALL, SORT BY ...,  wait on every shard for all units before them, and hold back all behind them
//!   an EXEC with such a one or a script,
//!   a script that needs every shard
//!   ZUNIONSTORE of millions               holds its keys for as long as its slices take: seconds
//! ```
//! The first behind the second would keep every client waiting for so long. So it does not get there: while a unit of several hops
//! that may write is under way, a command on every shard waits where it is dispatched, and takes no position. Nobody is behind it
//! but what its own client sends; that is not read. A script that has been undone, as it turned out to need every shard, waits in the
//! same way before it is begun again.
//!
//! * Most such units end after two messages. Only for one that works in slices the wait is longer than
//!   [`unit_patience_ns`](Settings::unit_patience_ns). All are counted for the time in which that is not known yet.
//! * To wait in front of the multicast changes no order: the command has not begun. The count is a hint, not a lock: who looks at it
//!   an instant too early is a barrier in front of that unit, as if there were no count.
//! * However many long units follow each other, a command waits for
//!   [`long_unit_patience_ns`](Settings::long_unit_patience_ns) at the most.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use super::script_step::Rerun;
#[cfg(doc)]
use crate::settings::Settings;
use std::sync::atomic::{AtomicUsize, Ordering};

/// When who waits looks again, in nanoseconds.
const LOOK_AGAIN_NS: u64 = 500_000;

/// Units of several hops that may write, of all shards.
#[derive(Debug, Default)]
pub struct UnitsUnderWay {
    all: AtomicUsize,
    long: AtomicUsize,
}

impl UnitsUnderWay {
    /// Whether there is one that works in slices.
    fn is_long(&self) -> bool {
        self.long.load(Ordering::Relaxed) > 0
    }

    fn is_empty(&self) -> bool {
        self.all.load(Ordering::Relaxed) == 0
    }
}

/// How far a unit has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Counted {
    #[default]
    Not,
    UnderWay,
    Long,
}

/// The commands of a shard's clients that wait for these units.
#[derive(Debug, Default)]
pub(super) struct WholeWaits {
    waiting: Vec<ConnectionKey>,
    /// Scripts that are to be begun again, and since when; at most one a connection.
    scripts: Vec<(Rerun, u64)>,
    /// When they look again, monotonic nanoseconds.
    look_at_ns: u64,
}

impl Core {
    /// A unit of several hops that may write begins.
    pub(super) fn count_unit(&self) -> Counted {
        self.shared.units_under_way.all.fetch_add(1, Ordering::Relaxed);
        Counted::UnderWay
    }

    /// It works in slices from now on.
    pub(super) fn count_as_long(&self, counted: &mut Counted) {
        if *counted == Counted::UnderWay {
            *counted = Counted::Long;
            self.shared.units_under_way.long.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its last hop is on its way.
    pub(super) fn uncount(&self, counted: &mut Counted) {
        let before = std::mem::take(counted);
        if before == Counted::Long {
            self.shared.units_under_way.long.fetch_sub(1, Ordering::Relaxed);
        }
        if before != Counted::Not {
            self.shared.units_under_way.all.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a command on every shard has to wait; then its connection reads no more until it has been dispatched again.
    pub(super) fn waits_for_units(&mut self, connection: &mut Connection) -> bool {
        let since_ns = *connection.waits_for_units_since_ns.get_or_insert(self.clock.monotonic_ns);
        if !self.has_to_wait_for_units(since_ns) {
            connection.waits_for_units_since_ns = None;
            return false;
        }
        connection.paused = true;
        self.whole_waits.waiting.push(connection.key);
        self.look_at_units_later();
        true
    }

    /// The same of a script that is to be begun again, and has waited since then; given back if it may begin.
    pub(super) fn script_waits_for_units(&mut self, rerun: Rerun, since_ns: u64) -> Option<Rerun> {
        if !self.has_to_wait_for_units(since_ns) {
            return Some(rerun);
        }
        self.whole_waits.scripts.push((rerun, since_ns));
        self.look_at_units_later();
        None
    }

    /// Whether who has waited since then goes on waiting.
    pub(crate) fn has_to_wait_for_units(&self, since_ns: u64) -> bool {
        let (units, settings) = (&self.shared.units_under_way, &self.settings);
        let patience_ns = if units.is_long() { settings.long_unit_patience_ns } else { settings.unit_patience_ns };
        !units.is_empty() && self.clock.monotonic_ns.saturating_sub(since_ns) < patience_ns
    }

    fn look_at_units_later(&mut self) {
        self.whole_waits.look_at_ns = self.clock.monotonic_ns + LOOK_AGAIN_NS;
    }

    /// When those who wait for units are to look again, monotonic nanoseconds.
    pub fn next_look_at_units_ns(&self) -> Option<u64> {
        let WholeWaits { waiting, scripts, look_at_ns } = &self.whole_waits;
        (!waiting.is_empty() || !scripts.is_empty()).then_some(*look_at_ns)
    }

    /// They look again; part of the local run.
    pub(super) fn look_at_units_when_due(&mut self) {
        if self.whole_waits.look_at_ns <= self.clock.monotonic_ns {
            self.resumable.append(&mut self.whole_waits.waiting);
            for (rerun, since_ns) in std::mem::take(&mut self.whole_waits.scripts) {
                self.begin_script_again(rerun, since_ns);
            }
        }
    }
}
