//! WATCH: each key's owner knows who watches it, the connection as whom it watches on which shards (`engine/src/keyspace/watch.rs`).
//!
//! ```text
//!   WATCH a b    keys all ours, nothing in the way: at once
//!                else a multicast: each owner looks at its position in line, under a shared lock; meanwhile the
//!                connection runs nothing, as EXEC will have to know what was seen
//!   EXEC         asks each owner once, where it executes, and forgets (`core::unit`)
//!   DISCARD, UNWATCH, RESET, the client's end:     Message::Unwatch, which nobody waits for
//! ```
//!
//! However many keys are watched, to ask about them and to let them go takes a moment. An EXEC locks them with its own keys, on shards
//! where they are very many the shard instead.

use super::Core;
use super::batches::shards_of;
use super::connection::{Connection, ConnectionKey};
use super::coordinator::Kind;
use super::multi::Watching;
use crate::command_table::CommandEntry;
use crate::mailbox::{Message, Outcome, PackedArguments, Request, Work};
use std::collections::BTreeMap;
use torc_engine::command::Milliseconds;
use torc_engine::keyspace::{Watcher, slot_of};
use torc_engine::reply::Reply;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::schedule::{Claim, Intent, Mode};

/// Where a transaction watches more keys of a shard than that, it takes the shard instead of them.
const LOCKED_KEYS_MAX: usize = 1024;

impl Core {
    /// WATCH of these keys; leaves its reply, or a place for it.
    pub fn watch(&mut self, connection: &mut Connection, entry: &'static CommandEntry, keys: &[&[u8]]) {
        let database = connection.session.client.database;
        let watcher = match connection.transaction.watching() {
            Some(watching) => watching.watcher,
            None => self.new_watcher(),
        };
        let is_ours = |key: &&[u8]| self.shared.shard_of(slot_of(key)) == self.index;
        if connection.outstanding() == 0 && self.schedule.is_idle() && keys.iter().all(is_ours) {
            let now = self.shard.now();
            let (keys, bytes) = self.watch_here(watcher, database, keys, now);
            connection.transaction.watch(Watching { watcher, shards: 1 << self.index }, keys, bytes);
            let protocol = connection.protocol();
            return Reply::new(connection.output.tail(), protocol).ok();
        }
        let mut groups: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for key in keys {
            groups.entry(self.shared.shard_of(slot_of(key))).or_default().push(key);
        }
        let shards = groups.keys().fold(0, |shards, shard| shards | 1 << shard);
        let parts = groups.into_iter().map(|(shard, keys)| {
            let intents = keys.iter().map(|key| self.intent(key, Mode::Read)).collect();
            (shard, Claim::Keys(intents), Work::Watch { watcher, database, keys: PackedArguments::new(&keys) })
        });
        let parts = parts.collect();
        connection.is_waiting = true;
        self.start(connection, entry, Kind::Watch(Watching { watcher, shards }), parts);
    }

    fn new_watcher(&mut self) -> Watcher {
        Watcher(self.take_transaction_id() << u8::BITS | self.index as u64)
    }

    /// Keys that are ours are watched from now on; how many more that makes, and the lengths of these.
    pub(super) fn watch_here(
        &mut self,
        watcher: Watcher,
        database: u32,
        keys: &[&[u8]],
        now: Milliseconds,
    ) -> (usize, usize) {
        let keyspace = &mut self.shard.keyspace;
        let new = keys.iter().filter(|key| keyspace.watch(watcher, database as usize, key, now));
        new.fold((0, 0), |(keys, bytes), key| (keys + 1, bytes + key.len()))
    }

    /// All owners have answered.
    pub(super) fn watch_begun(&mut self, watching: Watching, outcomes: Vec<Outcome>, request: Option<Request>) {
        let Some(request) = request else { return };
        let Some(mut connection) = self.take_connection(request.connection) else {
            return self.unwatch(Some(watching));
        };
        for outcome in outcomes {
            if let Outcome::Watched { keys, bytes } = outcome {
                connection.transaction.watch(watching, keys, bytes);
            }
        }
        connection.is_waiting = false;
        let protocol = connection.protocol();
        self.put_connection(connection);
        self.deliver(request, |out| Reply::new(out, protocol).ok());
    }

    /// Nothing is watched under this name any more.
    pub fn unwatch(&mut self, watching: Option<Watching>) {
        let Some(Watching { watcher, shards }) = watching else { return };
        for shard in shards_of(shards) {
            if shard == self.index {
                self.shard.keyspace.unwatch(watcher);
            } else {
                self.send_home(shard, Node::new(Message::Unwatch(watcher)));
            }
        }
    }

    /// Whether all is as it was seen; nothing is watched under this name from now on.
    pub(super) fn still_as_seen(&mut self, watcher: Option<Watcher>, now: Milliseconds) -> bool {
        let Some(watcher) = watcher else { return true };
        let is_same = self.shard.keyspace.is_as_seen(watcher, now);
        self.shard.keyspace.unwatch(watcher);
        is_same
    }

    /// A unit locks what was watched, too: it must be the same until the unit is through.
    pub(super) fn claim_watched(&self, claim: &mut Claim, watcher: Watcher) {
        let Claim::Keys(intents) = claim else { return };
        match self.shard.keyspace.watched_by(watcher, LOCKED_KEYS_MAX) {
            Some(keys) => {
                intents.extend(keys.map(|(slot, fingerprint)| Intent { fingerprint, slot, mode: Mode::Read }))
            }
            None => *claim = Claim::Alone,
        }
    }

    /// A client is gone: nothing of its transaction is left anywhere.
    pub(super) fn forget_transaction(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection_mut(key) else { return };
        let watching = connection.transaction.take_watching();
        self.unwatch(watching);
    }
}
