//! What keys held at the instant of a command that goes on: SORT, whose elements name keys of any shard.
//!
//! ```text
//!   first hop       every shard, held whole for a moment: begins the instant
//!   then, in slices the coordinator's run asks for keys ──> each shard answers ──> the run goes on
//!   last hop        every shard: writes, and the instant ends
//! ```
//!
//! A run asks for a few hundred keys at a time, so an answer takes less than a slice; while it waits it is stepped by nobody.

use super::Core;
use super::connection::RunId;
use super::long::Run;
use crate::mailbox::{Ask, InstantRequest, Message};
use std::collections::HashMap;
use torc_engine::command::Milliseconds;
use torc_engine::keyspace::{Instant, OwnedEntry, slot_of};
use torc_engine::transaction::inbox::Node;

/// The instants that commands of other shards, and our own, may ask for: by coordinator and transaction.
pub(super) type Instants = HashMap<(usize, u64), Instant>;

/// What a run has asked for.
pub(super) struct Awaited {
    values: Vec<Option<OwnedEntry>>,
    /// Shards that have not answered.
    remaining: usize,
}

impl Core {
    /// The first hop of a command that will ask.
    pub(super) fn begin_instant(&mut self, unit: (usize, u64), request: &InstantRequest, now: Milliseconds) {
        let wants = (request.filter)(&request.arguments.slices());
        let instant = self.shard.keyspace.begin_instant(request.database, now, wants);
        self.instants.insert(unit, instant);
    }

    /// Asks for what a run wants to know before its next step; whether it has to wait.
    pub(super) fn ask(&mut self, id: RunId, run: &mut Run) -> bool {
        let keys = run.unfinished.questions();
        let Some(unit) = run.overlay.as_ref().map(|overlay| overlay.unit(self.index)) else { return false };
        if keys.is_empty() {
            return false;
        }
        let mut values = Vec::new();
        values.resize_with(keys.len(), || None);
        let mut asks: Vec<Vec<(usize, Vec<u8>)>> = vec![Vec::new(); self.shared.shards()];
        for (number, key) in keys.into_iter().enumerate() {
            asks[self.shared.shard_of(slot_of(&key))].push((number, key));
        }
        let mut remaining = 0;
        for (shard, keys) in asks.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            if shard == self.index {
                for (number, key) in &keys {
                    values[*number] = self.look_up_at(unit, key);
                }
                continue;
            }
            remaining += 1;
            let ask = Ask { unit, run: id, keys, values: Vec::new() };
            self.send_home(shard, Node::new(Message::Ask(Box::new(ask))));
        }
        if remaining == 0 {
            run.unfinished.answer(values);
            return false;
        }
        run.awaited = Some(Awaited { values, remaining });
        true
    }

    fn look_up_at(&self, unit: (usize, u64), key: &[u8]) -> Option<OwnedEntry> {
        let keyspace = &self.shard.keyspace;
        keyspace.look_up_at(self.instants.get(&unit)?, &keyspace.key(key))
    }

    /// Another shard's command asks.
    pub(super) fn asked(&mut self, mut ask: Box<Ask>) {
        ask.values = ask.keys.iter().map(|(_, key)| self.look_up_at(ask.unit, key)).collect();
        self.send_home(ask.unit.0, Node::new(Message::Answer(ask)));
    }

    /// An answer to a command of ours, which may have ended meanwhile.
    pub(super) fn answered(&mut self, ask: Ask) {
        let Some(run) = self.long.run_mut(ask.run) else { return };
        let Some(awaited) = &mut run.awaited else { return };
        for ((number, _), value) in ask.keys.into_iter().zip(ask.values) {
            awaited.values[number] = value;
        }
        awaited.remaining -= 1;
        if awaited.remaining == 0 {
            let values = run.awaited.take().map_or(Vec::new(), |awaited| awaited.values);
            run.unfinished.answer(values);
            self.long.wake(ask.run);
        }
    }
}
