//! What the server itself asks all shards: figures, settings, clients. Travels as parts of a multicast without keys.

use crate::access::{Denied, Users};
use crate::commands::client::{ClientFilter, client_line};
use crate::commands::server::{self, Switch};
use crate::core::blocked::Over;
use crate::core::connection::{Connection, ConnectionKey, Phase};
use crate::core::pubsub::AudienceChange;
use crate::core::tracking::Redirection;
use crate::core::{CallCounts, Core};
use crate::insight::histograms::Histograms;
use crate::insight::hot_keys::{HotKeysSettings, Tally};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::snapshot::procedure::Cut;
use std::sync::Arc;
use std::time::Duration;
use torc_engine::commands::generic::scan::ScanRequest;
use torc_engine::error_counts::ErrorCounts;
use torc_engine::keyspace::{KeySizes, ScanCursor};
use torc_scripting::libraries::Registry;

/// A question to every shard.
#[derive(Debug)]
pub enum ControlRequest {
    /// Changes are logged from now on, or no more.
    Log(bool),
    /// New settings, at one position of every shard's history.
    Apply(Arc<Settings>),
    /// The server listens elsewhere.
    Listen,
    /// Nothing: who has answered has done what came before it.
    Follow,
    /// Figures for INFO.
    Figures,
    /// The same, with how long each command took.
    DetailedFigures,
    /// CONFIG RESETSTAT.
    ResetFigures,
    /// For RANDOMKEY: how many keys the database has, and one of them.
    RandomKey { database: usize },
    /// For SCAN where there are few keys: those of each shard, from its beginning on.
    Scan { request: ScanRequest, database: usize },
    /// CLIENT LIST.
    Clients(ClientFilter),
    /// CLIENT KILL; the connection with `own_id` gets its reply before it closes. One that is between two shards may be found
    /// on both.
    KillClients { filter: ClientFilter, own_id: u64 },
    /// CLIENT PAUSE until a monotonic time.
    Pause { until_ns: u64, only_writes: bool },
    /// CLIENT UNPAUSE.
    Unpause,
    /// CLIENT UNBLOCK.
    Unblock { id: u64, over: Over },
    /// CLIENT TRACKING REDIRECT: who has that id.
    FindRedirection { id: u64 },
    /// New users; the connection with `own_id` is answered before it closes, if its user is gone.
    Users { users: Arc<Users>, own_id: u64 },
    /// A script that ran elsewhere was denied something; whose it was is a connection of that shard.
    Denied { shard: usize, connection: ConnectionKey, denied: Vec<Denied> },
    /// What connections of a shard listen to has changed; `listener`: who begins to, and is to be counted when all have heard.
    Subscribers { shard: usize, listener: Option<ConnectionKey>, changes: Vec<AudienceChange> },
    /// SCRIPT FLUSH.
    FlushScripts,
    /// New libraries of functions, and the command that made the change, if it was one.
    Functions(Arc<Registry>, Option<Vec<Vec<u8>>>),
    /// A snapshot begins: the cut.
    BeginSnapshot(Arc<Snapshot>),
    /// A save is over, well or not.
    SaveEnded,
    /// A load begins, or is over.
    Loading(bool),
    /// All databases are emptied, and nobody is told.
    Empty,
    /// Everything has gone and comes back from a log: time stands at 0.
    Rewind,
    /// HOTKEYS START, or STOP.
    CountKeys(Option<HotKeysSettings>),
    /// HOTKEYS GET.
    CountedKeys,
    /// HOTKEYS RESET.
    ForgetKeys,
    /// MEMORY PURGE.
    Purge,
    /// DEBUG: something goes on or off.
    Switch(Switch, bool),
    /// DEBUG SLEEP.
    Sleep(Duration),
    /// DEBUG POPULATE.
    Populate { database: usize, count: u64, prefix: Vec<u8>, value_bytes: Option<usize> },
}

impl ControlRequest {
    /// Whether it takes every shard whole: units that hold keys are over before it, and none has begun.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::BeginSnapshot(_) | Self::Empty | Self::Log(_))
    }
}

/// A shard's answer.
#[derive(Debug)]
pub enum ControlReply {
    /// Done.
    Done,
    /// What a snapshot begins with.
    Cut(Box<Cut>),
    /// Figures for INFO.
    Figures(Box<ShardFigures>),
    /// What keys have cost.
    CountedKeys(Box<Tally>),
    /// For RANDOMKEY.
    RandomKey { keys: usize, key: Option<Vec<u8>> },
    /// For SCAN: what was found, and where the shard goes on if that was not all.
    Scanned { shard: usize, keys: Vec<Vec<u8>>, next: Option<ScanCursor> },
    /// Ids, and lines of CLIENT LIST; a connection that is between two shards may be told of by both.
    Clients(Vec<(u64, Vec<u8>)>),
    /// The ids of those that are closed.
    Killed(Vec<u64>),
    /// How many.
    Count(usize),
    /// Where a connection is.
    Redirection(Option<Redirection>),
    /// The connection that this is about has left for another shard: the question is to be asked again.
    OnItsWay,
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
    /// Bytes that its tables take beside keys and values.
    pub table_bytes: usize,
}

impl DatabaseFigures {
    /// Of one database in all shards.
    pub fn total(shards: &[ShardFigures], database: usize) -> Self {
        let parts = || shards.iter().filter_map(|shard| shard.databases.get(database));
        let volatile_keys: usize = parts().map(|part| part.volatile_keys).sum();
        let ttl_ms: i128 = parts().map(|part| i128::from(part.average_ttl_ms) * part.volatile_keys as i128).sum();
        let average_ttl_ms = ttl_ms / volatile_keys.max(1) as i128;
        Self {
            keys: parts().map(|part| part.keys).sum(),
            volatile_keys,
            average_ttl_ms: average_ttl_ms as i64,
            table_bytes: parts().map(|part| part.table_bytes).sum(),
        }
    }
}

/// How much happened a second, lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateFigures {
    /// Commands run.
    pub commands: f64,
    /// Bytes from clients.
    pub received_bytes: f64,
    /// Bytes to clients.
    pub sent_bytes: f64,
    /// Turns.
    pub turns: f64,
    /// Nanoseconds of CPU time that they took.
    pub turns_ns: f64,
}

/// One shard's figures.
#[derive(Clone, Debug, Default)]
pub struct ShardFigures {
    /// Which shard.
    pub shard: usize,
    /// Commands run for clients of this shard.
    pub commands: u64,
    /// What became of each command, by its id, if that was asked for.
    pub calls: CallCounts,
    /// How long each command took, if that was asked for.
    pub histograms: Histograms,
    /// Connections now.
    pub connections: usize,
    /// Connections whose commands wait for the end of a CLIENT PAUSE.
    pub blocked: usize,
    /// Keys that clients wait for, and those that readers of streams in a group wait for.
    pub awaited_keys: [usize; 2],
    /// Connections that watch keys.
    pub watching: usize,
    /// Keys that are watched.
    pub watched_keys: usize,
    /// Connections that have subscribed.
    pub subscribers: usize,
    /// Channels, patterns, shard channels and prefixes that are listened to anywhere, as this shard knows.
    pub channels: [usize; 4],
    /// Connections that track, keys that have been read, and how often.
    pub tracking: [usize; 3],
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused by maxclients.
    pub rejected: u64,
    /// Bytes from clients.
    pub received_bytes: u64,
    /// Bytes to clients.
    pub sent_bytes: u64,
    /// Pieces of input from clients.
    pub reads: u64,
    /// Sends to clients.
    pub writes: u64,
    /// Error replies.
    pub errors: ErrorCounts,
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
    /// The most CPU time of a turn.
    pub longest_turn_ns: u64,
    /// The most commands of a turn.
    pub turn_commands_max: u64,
    /// Nanoseconds that regular work between commands took.
    pub cron_took_ns: u64,
    /// Turns since the start or the last CONFIG RESETSTAT, nanoseconds of CPU time that they took, and what commands took of it.
    pub turns_took: [u64; 3],
    /// The most input that a client had waiting lately, and the most replies, in bytes.
    pub recent_max_bytes: [usize; 2],
    /// How often the expiry cycle had more to do than it was given time for, and nanoseconds that it took.
    pub expiry: [u64; 2],
    /// Sizes of values by database, if that was asked for.
    pub key_sizes: Vec<Option<Box<KeySizes>>>,
    /// Wakes sent to sleeping shards.
    pub wakes: u64,
    /// Keys found, keys missed, keys expired.
    pub hits: u64,
    /// Keys missed.
    pub misses: u64,
    /// Keys expired.
    pub expired: u64,
    /// Bytes that the shard's thread has taken.
    pub allocated_bytes: i64,
    /// Bytes that the interpreters of scripts have taken, and those of functions.
    pub interpreter_bytes: [usize; 2],
    /// Keys evicted.
    pub evicted: u64,
    /// Clients evicted.
    pub evicted_clients: u64,
    /// Clients closed for what they have sent without an end, and for what they have not read.
    pub limit_disconnections: [u64; 2],
    /// What clients take, in bytes.
    pub client_bytes: usize,
    /// Values freed after the command that let them go.
    pub lazily_freed: u64,
    /// Values that wait for that.
    pub garbage_pending: usize,
    /// Bytes in pages and blobs.
    pub used_bytes: usize,
    /// Changes of the dataset.
    pub dirty: u64,
    /// Bytes that replies wait in.
    pub output_bytes: usize,
    /// Bytes of requests not yet run.
    pub query_bytes: usize,
    /// Rates.
    pub rates: RateFigures,
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
        ControlRequest::Follow => ControlReply::Done,
        ControlRequest::Listen => {
            core.listen_elsewhere();
            ControlReply::Done
        }
        ControlRequest::Figures => {
            core.free_before_telling();
            ControlReply::Figures(Box::new(core.figures()))
        }
        ControlRequest::DetailedFigures => {
            core.free_before_telling();
            ControlReply::Figures(Box::new(core.detailed_figures()))
        }
        ControlRequest::ResetFigures => {
            core.reset_figures();
            ControlReply::Done
        }
        ControlRequest::RandomKey { database } => core.random_key(*database),
        ControlRequest::Scan { request, database } => core.scan_few(request, *database),
        ControlRequest::Clients(filter) => {
            core.keep_client_limit();
            let (shard, now_ns) = (core.index, core.clock.monotonic_ns);
            let told = |connection: &Connection| (connection.id, client_line(connection, shard, now_ns));
            let fitting = fitting(core, filter, now_ns).filter(|connection| connection.phase != Phase::Dead);
            ControlReply::Clients(fitting.map(told).collect())
        }
        ControlRequest::KillClients { filter, own_id } => ControlReply::Killed(kill_clients(core, filter, *own_id)),
        ControlRequest::Pause { until_ns, only_writes } => {
            core.pause_clients(*until_ns, *only_writes);
            ControlReply::Done
        }
        ControlRequest::Unpause => {
            core.unpause_clients();
            ControlReply::Done
        }
        ControlRequest::Unblock { id, over } => ControlReply::Count(usize::from(core.unblock(*id, *over))),
        ControlRequest::FindRedirection { id } => core.find_redirection(*id),
        ControlRequest::Subscribers { shard, changes, .. } => {
            // Whose connections these are has heard already.
            if *shard != core.index {
                core.hear_of_subscribers(*shard, changes);
            }
            ControlReply::Done
        }
        ControlRequest::Users { .. } | ControlRequest::Denied { .. } => answer_about_users(core, request),
        ControlRequest::FlushScripts | ControlRequest::Functions(..) => answer_about_scripts(core, request),
        ControlRequest::CountKeys(_) | ControlRequest::CountedKeys | ControlRequest::ForgetKeys => {
            core.answer_about_keys(request)
        }
        ControlRequest::Purge
        | ControlRequest::Sleep(_)
        | ControlRequest::Populate { .. }
        | ControlRequest::Switch(..) => answer_to_operators(core, request),
        ControlRequest::Log(_)
        | ControlRequest::BeginSnapshot(_)
        | ControlRequest::SaveEnded
        | ControlRequest::Loading(_)
        | ControlRequest::Rewind
        | ControlRequest::Empty => answer_about_files(core, request),
    }
}

/// The same of what those want who look after the server, or test it.
fn answer_to_operators(core: &mut Core, request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Purge => {
            core.purge_memory();
            ControlReply::Done
        }
        ControlRequest::Sleep(duration) => {
            if let Some(debug) = core.shared.table.find(b"debug") {
                core.begins(debug);
            }
            std::thread::sleep(*duration);
            ControlReply::Done
        }
        ControlRequest::Populate { database, count, prefix, value_bytes } => {
            server::populate(core, *database, *count, prefix, *value_bytes);
            ControlReply::Done
        }
        ControlRequest::Switch(switch, is_on) => {
            match switch {
                Switch::ActiveExpire => core.active_expire = *is_on,
                Switch::Cron => core.cron_runs = *is_on,
            }
            ControlReply::Done
        }
        _ => ControlReply::Done,
    }
}

/// The same of what is about scripts.
fn answer_about_scripts(core: &mut Core, request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::FlushScripts => core.scripting.flush_scripts(),
        ControlRequest::Functions(functions, command) => {
            // Told by one shard, in the order of the changes.
            if let (0, Some(command)) = (core.index, command) {
                core.shard.keyspace.journal.effect_owned(0, command.clone());
            }
            core.scripting.set_functions(functions);
        }
        _ => {}
    }
    ControlReply::Done
}

/// The same of what is about users.
fn answer_about_users(core: &mut Core, request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Users { users, own_id } => core.apply_users(users, *own_id),
        ControlRequest::Denied { shard, connection, denied } if *shard == core.index => {
            core.tell_denials(*connection, denied);
        }
        _ => {}
    }
    ControlReply::Done
}

/// The same of what is about snapshots, the log, and loading.
fn answer_about_files(core: &mut Core, request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Log(is_on) => {
            core.hand_over_effects();
            core.shard.keyspace.journal.listen_to_effects(*is_on);
            ControlReply::Done
        }
        ControlRequest::BeginSnapshot(snapshot) => core.begin_snapshot(snapshot),
        ControlRequest::SaveEnded => {
            core.look_at_saves();
            ControlReply::Done
        }
        ControlRequest::Loading(is_loading) => {
            core.gate.set_loading(*is_loading);
            core.forget_flushes();
            ControlReply::Count(core.shard.keyspace.dirty as usize)
        }
        ControlRequest::Rewind => {
            core.shard.rewind();
            ControlReply::Done
        }
        ControlRequest::Empty => ControlReply::Count(core.shard.keyspace.flush(None)),
        _ => ControlReply::Done,
    }
}

/// Connections of clients, those that are meant.
fn fitting<'a>(core: &'a Core, filter: &'a ClientFilter, now_ns: u64) -> impl Iterator<Item = &'a Connection> {
    core.connections().filter(move |connection| !connection.is_own() && filter.fits(connection, now_ns))
}

fn kill_clients(core: &mut Core, filter: &ClientFilter, own_id: u64) -> Vec<u64> {
    let now_ns = core.clock.monotonic_ns;
    let fitting = fitting(core, filter, now_ns);
    let fitting: Vec<(ConnectionKey, u64, bool)> =
        fitting.map(|connection| (connection.key, connection.id, connection.has_left())).collect();
    for &(key, id, has_left) in &fitting {
        if has_left {
            // It is met where it has gone to.
            core.instruct_all(ControlRequest::KillClients { filter: ClientFilter::of_id(id), own_id });
        } else if id == own_id {
            core.begin_close(key);
        } else {
            core.cut_off(key);
        }
    }
    fitting.into_iter().map(|(_, id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_add_with_their_averages_weighed() {
        let shard = |keys, volatile_keys, average_ttl_ms| ShardFigures {
            databases: vec![
                DatabaseFigures::default(),
                DatabaseFigures { keys, volatile_keys, average_ttl_ms, table_bytes: 1 },
            ],
            ..ShardFigures::default()
        };
        let total = DatabaseFigures::total(&[shard(5, 1, 100), shard(4, 3, 200), shard(9, 0, 0)], 1);
        assert_eq!((total.keys, total.volatile_keys, total.average_ttl_ms), (18, 4, 175));
    }
}
