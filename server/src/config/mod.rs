//! Configuration: what `redis.conf`, the command line and CONFIG SET may say, as one typed [`Config`].
//!
//! ```text
//!   file, includes, stdin, --directives ──load──┐
//!                                               ├──> words ──table row──> typed value ──> Config
//!   CONFIG SET name value ... ────────change────┘                                           │
//!   CONFIG GET pattern ... <──────────── the row writes the value as text <─────────────────┘
//! ```
//! - `table`: one row a directive: name, old name, grammar, default, when it may change, where its value lives.
//! - `directive`: what a row is and the simple grammars; `special`: the values with a grammar of their own.
//! - `load`: the command line, files, includes; `glob`: patterns. Words and quotes are those of `torc_persistence::words`.
//! - `access`: CONFIG GET and SET.
//!
//! Invariants:
//! 1. A `Config` is valid: every field went through its row's grammar and range.
//! 2. A change of several directives happens whole or not at all: it is made on a copy.
//! 3. Nothing here acts. Whoever owns the listener, the log or a limit compares the old and the new `Config` and acts.

mod access;
mod choices;
mod directive;
mod glob;
mod load;
mod special;
mod table;

pub use access::{Change, ConfigSetError};
pub use choices::{AppendFsync, EvictionPolicy, LogLevel, Permission, Supervisor};
pub use directive::{Directive, Mutability};
pub use load::{Host, LineOrigin, Loaded, Machine, Start, StartError};
pub use special::{BindAddress, KeyspaceEvents, OutputLimit, OutputLimits, Percentiles, SavePoint, ShutdownOptions};
pub use table::directive;
pub use torc_engine::values::Encodings;
pub use torc_persistence::words::{quote, split_words};

use std::collections::BTreeMap;
use std::path::PathBuf;
use torc_persistence::rdb::Version;
use torc_persistence::rdb::encode::Readers;

/// Everything that can be configured. Cheap enough to copy for a change; shards share it behind an `Arc`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `shards`: threads that own a part of the keyspace.
    pub shards: u16,
    /// `gather-time-us`: how long a busy shard lets requests gather at most, in microseconds; 0 is not at all.
    pub gather_time_us: u64,
    /// `redis-version`: the version that INFO and HELLO tell clients.
    pub redis_version: String,
    /// Where to listen.
    pub network: Network,
    /// Limits of clients.
    pub clients: Clients,
    /// Who may do what.
    pub security: Security,
    /// The process as the system sees it.
    pub process: Process,
    /// Where lines of the log go.
    pub log: Log,
    /// Memory limit and eviction.
    pub memory: Memory,
    /// The databases.
    pub keyspace: KeyspaceOptions,
    /// When a value changes from a compact encoding to a general one.
    pub encodings: Encodings,
    /// Slow log and latency.
    pub observation: Observation,
    /// Snapshots and the append-only file.
    pub persistence: Persistence,
    /// `busy-reply-threshold`: a script that runs longer makes others hear BUSY.
    pub script_busy_after_ms: i64,
    /// `script-kill-undo`: a script that has written can be killed, and what it has written is undone.
    pub script_kill_undo: bool,
    /// Values of directives that nothing looks at, as text, so that CONFIG GET gives back what was set.
    kept: BTreeMap<&'static str, Vec<u8>>,
}

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `port`: 0 is no TCP.
    pub port: u16,
    /// `bind`: none is every address.
    pub bind: Vec<BindAddress>,
    /// `unixsocket`.
    pub unix_socket: Option<PathBuf>,
    /// `unixsocketperm`: 0 leaves what the umask gives.
    pub unix_socket_mode: u32,
    /// `tcp-backlog`: connections that wait to be accepted.
    pub backlog: u32,
    /// `tcp-keepalive`: seconds between probes; 0 is none.
    pub keepalive_s: u32,
    /// `protected-mode`: without a password, only loopback clients are served.
    pub protected_mode: bool,
}

/// Limits of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// `maxclients`.
    pub count_max: u32,
    /// `timeout`: an idle client is closed after so long; 0 is never.
    pub idle_timeout_s: u32,
    /// `client-query-buffer-limit`: unparsed input.
    pub query_buffer_bytes_max: u64,
    /// `proto-max-bulk-len`: one argument.
    pub bulk_bytes_max: u64,
    /// `tracking-table-max-keys`.
    pub tracked_keys_max: u64,
    /// `client-output-buffer-limit`.
    pub output_limits: OutputLimits,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `requirepass`: the default user's password.
    pub password: Option<Vec<u8>>,
    /// `enable-protected-configs`.
    pub protected_configs: Permission,
    /// `enable-debug-command`.
    pub debug_command: Permission,
    /// `enable-module-command`.
    pub module_command: Permission,
}

/// The process as the system sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// `dir`, absolute.
    pub directory: PathBuf,
    /// `daemonize`.
    pub daemonize: bool,
    /// `supervised`.
    pub supervised: Supervisor,
    /// Who was found to watch the process when it started; no directive.
    pub supervised_by: Supervisor,
    /// The file that was read at the start, absolute; no directive.
    pub config_file: Option<PathBuf>,
    /// `pidfile`.
    pub pid_file: Option<PathBuf>,
    /// `set-proc-title`.
    pub set_title: bool,
    /// `proc-title-template`.
    pub title_template: Vec<u8>,
    /// `always-show-logo`: there is none, but the line of it that programs look for.
    pub always_show_logo: bool,
    /// `disable-thp`: memory comes in small pages, whatever the system would give.
    pub without_huge_pages: bool,
    /// `hz`: how often background work runs, per second.
    pub hz: u32,
    /// `dynamic-hz`: more often with many clients.
    pub dynamic_hz: bool,
    /// `shutdown-on-sigint`.
    pub on_sigint: ShutdownOptions,
    /// `shutdown-on-sigterm`.
    pub on_sigterm: ShutdownOptions,
    /// `shutdown-timeout`: how long a shutdown waits.
    pub shutdown_timeout_s: u32,
}

/// Where lines of the log go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// `loglevel`.
    pub level: LogLevel,
    /// `logfile`: none is standard output.
    pub file: Option<PathBuf>,
}

/// Memory limit and eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `maxmemory`: 0 is no limit.
    pub bytes_max: u64,
    /// `maxmemory-policy`.
    pub policy: EvictionPolicy,
    /// `maxmemory-samples`.
    pub samples: u32,
    /// `maxmemory-eviction-tenacity`: 0 to 100.
    pub eviction_tenacity: u32,
    /// `lfu-log-factor`.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`.
    pub lfu_decay_minutes: u32,
}

/// The databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceOptions {
    /// `databases`.
    pub databases: u32,
    /// `notify-keyspace-events`.
    pub events: KeyspaceEvents,
    /// `active-expire-effort`: 1 to 10.
    pub expire_effort: u8,
    /// `lazyfree-lazy-eviction`.
    pub lazy_eviction: bool,
    /// `lazyfree-lazy-expire`.
    pub lazy_expire: bool,
    /// `lazyfree-lazy-server-del`.
    pub lazy_server_delete: bool,
    /// `lazyfree-lazy-user-del`.
    pub lazy_user_delete: bool,
    /// `lazyfree-lazy-user-flush`.
    pub lazy_user_flush: bool,
}

/// Slow log and latency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// `slowlog-log-slower-than`: negative is never, 0 is always.
    pub slow_log_threshold_us: i64,
    /// `slowlog-max-len`.
    pub slow_log_entries_max: u64,
    /// `latency-monitor-threshold`: 0 is off.
    pub latency_monitor_threshold_ms: i64,
    /// `latency-tracking`: histograms a command.
    pub latency_tracking: bool,
    /// `latency-tracking-info-percentiles`.
    pub percentiles: Percentiles,
}

/// The append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendLogConfig {
    /// `appendfilename`.
    pub file: Vec<u8>,
    /// `appenddirname`.
    pub directory: Vec<u8>,
    /// `no-appendfsync-on-rewrite`.
    pub puts_off_syncs: bool,
    /// `auto-aof-rewrite-percentage`: 0 is never.
    pub rewrite_percentage: u32,
    /// `auto-aof-rewrite-min-size`.
    pub rewrite_bytes_min: u64,
    /// `aof-load-truncated`.
    pub loads_truncated: bool,
    /// `aof-load-corrupt-tail-max-size`.
    pub corrupt_tail_max: u64,
    /// `aof-use-rdb-preamble`.
    pub base_is_rdb: bool,
    /// `aof-timestamp-enabled`.
    pub stamps: bool,
}

/// Snapshots and the append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// `save`.
    pub save: Vec<SavePoint>,
    /// `dbfilename`.
    pub database_file: Vec<u8>,
    /// `rdbcompression`.
    pub compresses: bool,
    /// `rdbchecksum`.
    pub sums: bool,
    /// `rdb-save-incremental-fsync`.
    pub syncs_meanwhile: bool,
    /// `rdb-version`: the version of the format that files have at least; 0 is the lowest that holds the data.
    pub version_min: u16,
    /// `stop-writes-on-bgsave-error`.
    pub refuses_unsaved: bool,
    /// `snapshot-buffer-limit`: bytes that a shard may keep for the disk before a save ends.
    pub snapshot_buffer_bytes_max: u64,
    /// `appendonly`.
    pub append_only: bool,
    /// `appendfsync`.
    pub append_fsync: AppendFsync,
    /// What else there is to say about the log.
    pub append_log: AppendLogConfig,
}

impl Persistence {
    /// Who is to be able to read what is written.
    pub fn readers(&self) -> Readers {
        let version = Version(self.version_min).max(Version::LISTPACKS);
        Readers { version, ..Readers::default() }
    }
}
