//! RANDOMKEY, and SCAN where there are few keys: questions to all shards, without a lock.
//!
//! SCAN's cursor is a slot and a position in it, so a call is one shard's: it ends where that shard's keys end, and the client
//! goes on with the next shard. An application with a handful of keys would make a call for each shard, and one that takes a small
//! database to be told in one call would miss some. So a call that begins is put to all shards where the one that is asked has
//! no more keys than the call may look at: each looks at as many of its own, and the cursor is where the first stopped that
//! has not come to its end. What the shards behind that one have found is not told, and found again.

use super::Core;
use super::session::Conclude;
use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use torc_engine::commands::generic::scan::{ScanRequest, reply_scan};
use torc_engine::keyspace::ScanCursor;

impl Core {
    /// What a walk over all shards asks them, and what becomes of their answers.
    pub(super) fn walk_question(
        entry: &CommandEntry,
        arguments: &[&[u8]],
        database: usize,
    ) -> (ControlRequest, Conclude) {
        if entry.spec.name == "scan"
            && let Ok(request) = ScanRequest::parse(arguments)
        {
            return Self::scan_question(request, database);
        }
        Self::random_key_question(database)
    }

    /// Whether a SCAN that begins is to be put to all shards.
    pub(super) fn is_scan_of_few(&self, arguments: &[&[u8]], database: usize) -> bool {
        let keys_here = self.shard.keyspace.len(database);
        ScanRequest::parse(arguments).is_ok_and(|request| request.is_of_few(keys_here))
    }

    fn scan_question(request: ScanRequest, database: usize) -> (ControlRequest, Conclude) {
        let conclude: Conclude = Box::new(|_, replies, reply| {
            let (mut found, mut cursor) = (Vec::new(), ScanCursor::START);
            let scanned = replies.into_iter().filter_map(|answer| match answer {
                ControlReply::Scanned { shard, keys, next } => Some((shard, keys, next)),
                _ => None,
            });
            let mut scanned: Vec<_> = scanned.collect();
            // In a transaction they come as shards have answered.
            scanned.sort_unstable_by_key(|(shard, ..)| *shard);
            for (_, keys, next) in scanned {
                found.extend(keys);
                if let Some(next) = next {
                    cursor = next;
                    break;
                }
            }
            reply_scan(reply, cursor, found.iter().map(Vec::as_slice));
        });
        (ControlRequest::Scan { request, database }, conclude)
    }

    /// For SCAN: keys of this shard, from its first slot on.
    pub(crate) fn scan_few(&mut self, request: &ScanRequest, database: usize) -> ControlReply {
        let (first, mut keys) = (ScanCursor::at_slot(self.shared.first_slot(self.index)), Vec::new());
        let (budget, now) = (request.count_of_few(), self.shard.now());
        let next = request.step(&self.shard.keyspace, database, first, budget, now, &mut |key| keys.push(key.to_vec()));
        ControlReply::Scanned { shard: self.index, keys, next: (next != ScanCursor::START).then_some(next) }
    }

    /// For RANDOMKEY.
    pub(crate) fn random_key(&mut self, database: usize) -> ControlReply {
        let now = self.shard.now();
        let mut random = self.shard.random().fork();
        let key = self.shard.keyspace.random_key(database, &mut random, now);
        ControlReply::RandomKey { keys: self.shard.keyspace.len(database), key }
    }

    /// What RANDOMKEY asks all shards, and how it chooses.
    fn random_key_question(database: usize) -> (ControlRequest, Conclude) {
        let conclude: Conclude = Box::new(|core, replies, reply| {
            let offers = replies.into_iter().filter_map(|answer| match answer {
                ControlReply::RandomKey { keys, key: Some(key) } => Some((keys.max(1), key)),
                _ => None,
            });
            let offers: Vec<(usize, Vec<u8>)> = offers.collect();
            let total: usize = offers.iter().map(|(keys, _)| keys).sum();
            if total == 0 {
                return reply.null();
            }
            let mut ticket = core.shard.random().usize(..total);
            for (keys, key) in offers {
                if ticket < keys {
                    return reply.bulk(&key);
                }
                ticket -= keys;
            }
        });
        (ControlRequest::RandomKey { database }, conclude)
    }
}
