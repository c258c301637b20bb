//! WATCH: each key's owner keeps a version of it, the connection keeps what it has seen (`engine/src/keyspace/watch.rs`).
//!
//! ```text
//!   WATCH a b    keys all ours, nothing in the way: at once
//!                else a multicast: each owner looks at its position in line, under a shared lock; meanwhile the
//!                connection runs nothing, as EXEC will have to know what was seen
//!   EXEC         validates where it executes, and forgets (`core::unit`)
//!   DISCARD, UNWATCH, RESET, the client's end:     Message::Unwatch, which nobody waits for
//! ```

use super::Core;
use super::connection::{Connection, ConnectionKey};
use super::coordinator::Kind;
use crate::command_table::CommandEntry;
use crate::mailbox::{Message, Outcome, PackedArguments, Request, Work};
use std::collections::BTreeMap;
use torc_engine::keyspace::{Seen, slot_of};
use torc_engine::reply::Reply;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::schedule::{Claim, Mode};

impl Core {
    /// WATCH of these keys; leaves its reply, or a place for it.
    pub fn watch(&mut self, connection: &mut Connection, entry: &'static CommandEntry, keys: &[&[u8]]) {
        let database = connection.session.client.database;
        let is_ours = |key: &&[u8]| self.shared.shard_of(slot_of(key)) == self.index;
        if connection.outstanding() == 0 && self.schedule.is_idle() && keys.iter().all(is_ours) {
            let now = self.shard.now();
            let seen: Vec<Seen> =
                keys.iter().map(|key| self.shard.keyspace.watch(database as usize, key, now)).collect();
            self.note_seen(connection, seen);
            let protocol = connection.protocol();
            return Reply::new(connection.output.tail(), protocol).ok();
        }
        let mut groups: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for key in keys {
            groups.entry(self.shared.shard_of(slot_of(key))).or_default().push(key);
        }
        let parts = groups.into_iter().map(|(shard, keys)| {
            let intents = keys.iter().map(|key| self.intent(key, Mode::Read)).collect();
            (shard, Claim::Keys(intents), Work::Watch { database, keys: PackedArguments::new(&keys) })
        });
        let parts = parts.collect();
        connection.is_waiting = true;
        self.start(connection, entry, Kind::Watch, parts);
    }

    /// All owners have answered.
    pub(super) fn watch_begun(&mut self, outcomes: Vec<Outcome>, request: Option<Request>) {
        let seen = outcomes.into_iter().flat_map(|outcome| match outcome {
            Outcome::Watched(seen) => seen,
            _ => Vec::new(),
        });
        let seen: Vec<Seen> = seen.collect();
        let Some(request) = request else { return };
        let Some(mut connection) = self.take_connection(request.connection) else { return self.unwatch(seen) };
        self.note_seen(&mut connection, seen);
        connection.is_waiting = false;
        let protocol = connection.protocol();
        self.put_connection(connection);
        self.deliver(request, |out| Reply::new(out, protocol).ok());
    }

    /// What is watched already need not be watched twice.
    fn note_seen(&mut self, connection: &mut Connection, seen: Vec<Seen>) {
        let twice = seen.into_iter().filter(|seen| !connection.transaction.watch(*seen)).collect();
        self.unwatch(twice);
    }

    /// These keys are watched no more.
    pub fn unwatch(&mut self, seen: Vec<Seen>) {
        if seen.is_empty() {
            return;
        }
        let mut groups: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            groups.entry(self.shared.shard_of(seen.slot)).or_default().push(seen);
        }
        for (shard, mut seen) in groups {
            if shard == self.index {
                self.unwatch_here(&mut seen);
            } else {
                self.send_home(shard, Node::new(Message::Unwatch(seen)));
            }
        }
    }

    /// The same of keys that are ours.
    pub(super) fn unwatch_here(&mut self, seen: &mut Vec<Seen>) {
        self.still_as_seen(seen, 0);
    }

    /// Forgets keys that were watched; whether all are as they were seen.
    pub(super) fn still_as_seen(&mut self, seen: &mut Vec<Seen>, now: i64) -> bool {
        let keyspace = &mut self.shard.keyspace;
        // Each is to be forgotten, also behind one that has changed.
        seen.drain(..).fold(true, |is_same, seen| keyspace.unwatch(&seen, now) & is_same)
    }

    /// A client is gone: nothing of its transaction is left anywhere.
    pub(super) fn forget_transaction(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection_mut(key) else { return };
        let watched = connection.transaction.take_watched();
        self.unwatch(watched);
    }
}
