//! CLIENT PAUSE: commands wait where they are dispatched, their connections stop reading, until a time or CLIENT UNPAUSE.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use std::collections::BTreeSet;

/// A pause in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    until_ns: u64,
    only_writes: bool,
}

/// The pause of a shard, and who waits for its end.
#[derive(Debug, Default)]
pub(super) struct PauseState {
    pause: Option<Pause>,
    waiting: Vec<ConnectionKey>,
}

impl Core {
    /// Begins a pause. One in force already is only made longer and wider.
    pub fn pause_clients(&mut self, until_ns: u64, only_writes: bool) {
        let before = self.pause.pause.filter(|pause| pause.until_ns > self.clock.monotonic_ns);
        self.pause.pause = Some(Pause {
            until_ns: before.map_or(until_ns, |pause| pause.until_ns.max(until_ns)),
            only_writes: only_writes && before.is_none_or(|pause| pause.only_writes),
        });
    }

    /// Ends the pause: who waited goes on in the next local run.
    pub fn unpause_clients(&mut self) {
        self.pause.pause = None;
        self.resumable.append(&mut self.pause.waiting);
    }

    /// Whether a pause is in force: nothing is expired meanwhile.
    pub fn is_paused(&self) -> bool {
        self.pause.pause.is_some()
    }

    /// Whether the pause in force is one of writers that ends then.
    pub fn is_paused_until(&self, until_ns: u64) -> bool {
        self.pause.pause == Some(Pause { until_ns, only_writes: true })
    }

    /// How many connections wait for its end.
    pub(super) fn paused_clients(&self) -> usize {
        let is_here = |key: &ConnectionKey| {
            let slot = &self.connections[key.index as usize];
            slot.generation == key.generation && slot.connection.is_some()
        };
        let keys: BTreeSet<ConnectionKey> = self.pause.waiting.iter().copied().filter(is_here).collect();
        keys.len()
    }

    /// Ends a pause whose time is over.
    pub(super) fn end_pause_when_due(&mut self) {
        if self.pause.pause.is_some_and(|pause| pause.until_ns <= self.clock.monotonic_ns) {
            self.unpause_clients();
        }
    }

    /// Whether the command has to wait; then its connection reads no more until the end of the pause.
    #[inline]
    pub(super) fn waits_for_pause(
        &mut self,
        connection: &mut Connection,
        may_write: impl FnOnce(&Self) -> bool,
    ) -> bool {
        let Some(pause) = self.pause.pause else { return false };
        if connection.is_own() || pause.only_writes && !may_write(self) {
            return false;
        }
        connection.paused = true;
        self.pause.waiting.push(connection.key);
        true
    }
}
