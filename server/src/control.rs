//! What the server itself asks all shards: figures, settings, clients. Travels as parts of a multicast without keys.

use crate::core::Core;
use crate::settings::Settings;
use std::sync::Arc;

/// A question to every shard.
#[derive(Debug)]
pub enum ControlRequest {
    /// New settings, at one position of every shard's history.
    Apply(Arc<Settings>),
    /// Figures for INFO.
    Figures,
    /// CONFIG RESETSTAT.
    ResetFigures,
    /// For RANDOMKEY: how many keys the database has, and one of them.
    RandomKey { database: usize },
}

/// A shard's answer.
#[derive(Debug)]
pub enum ControlReply {
    /// Done.
    Done,
    /// Figures for INFO.
    Figures(Box<ShardFigures>),
    /// For RANDOMKEY.
    RandomKey { keys: usize, key: Option<Vec<u8>> },
}

/// One database of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseFigures {
    /// Keys, expired ones that are still there included.
    pub keys: usize,
    /// Keys with a time to live.
    pub volatile_keys: usize,
    /// Their average, in milliseconds.
    pub average_ttl_ms: i64,
}

/// One shard's figures.
#[derive(Clone, Debug, Default)]
pub struct ShardFigures {
    /// Which shard.
    pub shard: usize,
    /// Commands run for clients of this shard.
    pub commands: u64,
    /// Calls of each command, by its id.
    pub calls: Vec<u64>,
    /// Connections now.
    pub connections: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused by maxclients.
    pub rejected: u64,
    /// Bytes from clients.
    pub received_bytes: u64,
    /// Bytes to clients.
    pub sent_bytes: u64,
    /// Error replies.
    pub errors: u64,
    /// Requests sent to other shards.
    pub requests_sent: u64,
    /// Messages pushed to other shards.
    pub messages_sent: u64,
    /// Multicasts started here.
    pub multicasts: u64,
    /// Units that waited for a lock.
    pub lock_waits: u64,
    /// Connections that moved away from here.
    pub connections_moved: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Wakes sent to sleeping shards.
    pub wakes: u64,
    /// Keys found, keys missed, keys expired.
    pub hits: u64,
    /// Keys missed.
    pub misses: u64,
    /// Keys expired.
    pub expired: u64,
    /// Bytes in pages and blobs.
    pub used_bytes: usize,
    /// Changes of the dataset.
    pub dirty: u64,
    /// Bytes that replies wait in.
    pub output_bytes: usize,
    /// Bytes of requests not yet run.
    pub query_bytes: usize,
    /// Per database.
    pub databases: Vec<DatabaseFigures>,
}

/// Answers on a shard.
pub fn answer(core: &mut Core, request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Apply(settings) => {
            core.apply_settings(settings);
            ControlReply::Done
        }
        ControlRequest::Figures => ControlReply::Figures(Box::new(core.figures())),
        ControlRequest::ResetFigures => {
            core.reset_figures();
            ControlReply::Done
        }
        ControlRequest::RandomKey { database } => {
            let (keys, key) = core.random_key(*database);
            ControlReply::RandomKey { keys, key }
        }
    }
}
