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
//! - `access`: CONFIG GET and SET; `rewrite`: CONFIG REWRITE; `without_effect`: why a directive does nothing.
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
mod rewrite;
mod special;
mod table;
mod without_effect;

pub use access::{Change, ConfigSetError};
pub use choices::{
    AppendFsync, CertificateUser, ClientAuth, EvictionPolicy, LogLevel, OomScoreAdj, Permission, Supervisor,
    SyslogFacility,
};
pub use directive::{Directive, Mutability};
pub use load::{Host, LineOrigin, Loaded, Machine, Start, StartError};
pub use rewrite::check_text;
pub(crate) use special::plain_text;
pub use special::{BindAddress, KeyspaceEvents, OutputLimit, OutputLimits, Percentiles, SavePoint, ShutdownOptions};
pub use table::{directive, names};
pub use torc_engine::values::Encodings;
pub use torc_persistence::words::{quote, split_words};

use crate::access::AccessSettings;
use crate::access::file::UserLine;
use crate::command_table::Renaming;
use std::collections::BTreeMap;
use std::path::PathBuf;
use torc_persistence::rdb::Version;
use torc_persistence::rdb::encode::Readers;

/// Everything that can be configured. Cheap enough to copy for a change; shards share it behind an `Arc`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `shards`: threads that own a part of the keyspace.
    pub shards: u16,
    /// `gather-time-us`: how long a busy shard lets requests gather at most, in microseconds; 0 is not at all. Up to four times as
    /// long where clients send many commands at once.
    pub gather_time_us: u64,
    /// `redis-version`: the version that INFO and HELLO tell clients.
    pub redis_version: String,
    /// Where to listen.
    pub network: Network,
    /// Connections that are encrypted.
    pub tls: Tls,
    /// Limits of clients.
    pub clients: Clients,
    /// Where the control plane is to be asked.
    pub admin: Admin,
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
    /// `bind`: with none there is no TCP.
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

/// Where the control plane is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// `admin-port`: HTTP for metrics, health and the console; 0 is none.
    pub port: u16,
    /// `admin-bind`.
    pub bind: Vec<BindAddress>,
    /// `admin-token`: who asks for more than `/health` has to show it. Needed where others than this machine can ask.
    pub token: Option<Vec<u8>>,
}

impl Admin {
    /// Whether nobody from elsewhere gets in without a token; or what to do about it.
    fn check(&self) -> Result<(), String> {
        if self.port == 0 {
            return Ok(());
        }
        if self.bind.is_empty() {
            return Err("'admin-bind' names no address, but 'admin-port' is set".to_owned());
        }
        match self.bind.iter().find(|bind| !bind.is_loopback()) {
            Some(bind) if self.token.is_none() => Err(format!(
                "'admin-bind {bind}' lets other machines reach the admin port: set 'admin-token', or leave only loopback addresses"
            )),
            _ => Ok(()),
        }
    }
}

/// Connections that are encrypted; [`crate::tls`] makes of it what they are served with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `tls-port`: 0 is none.
    pub port: u16,
    /// Who we are to clients.
    pub identity: TlsIdentity,
    /// Who we are to other servers; without it, who we are to clients.
    pub client_identity: TlsIdentity,
    /// `tls-ca-cert-file`: whose clients are let in.
    pub ca_file: Option<PathBuf>,
    /// `tls-ca-cert-dir`.
    pub ca_directory: Option<PathBuf>,
    /// `tls-auth-clients`.
    pub client_auth: ClientAuth,
    /// `tls-auth-clients-user`: what of a client's certificate names its user.
    pub user_from: CertificateUser,
    /// `tls-protocols`: none is all that there are.
    pub protocols: Vec<u8>,
    /// `tls-ciphers`: for TLS 1.2, in OpenSSL's words.
    pub ciphers: Vec<u8>,
    /// `tls-ciphersuites`: for TLS 1.3.
    pub cipher_suites: Vec<u8>,
    /// `tls-prefer-server-ciphers`.
    pub prefers_own_ciphers: bool,
    /// `tls-session-caching`.
    pub caches_sessions: bool,
    /// `tls-session-cache-size`: 0 is as many as there may be.
    pub sessions_max: u32,
    /// `tls-session-cache-timeout`.
    pub session_lifetime_s: u32,
    /// `tls-auto-reload-interval`: how often files are looked at, in seconds; 0 is never.
    pub reload_interval_s: u32,
    /// `tls-replication`.
    pub replication: bool,
    /// `tls-cluster`.
    pub cluster: bool,
}

impl Tls {
    /// Whether anything is encrypted: only then need the files be there.
    pub fn is_used(&self) -> bool {
        self.port != 0 || self.replication || self.cluster
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsIdentity {
    /// `tls-cert-file`: the certificate and those between it and the authority.
    pub certificate_file: Option<PathBuf>,
    /// `tls-key-file`.
    pub key_file: Option<PathBuf>,
    /// `tls-key-file-pass`.
    pub key_password: Vec<u8>,
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
    /// `maxmemory-clients`: bytes, or less than 0 for a part of `maxmemory` in percent; 0 is no limit.
    pub memory_max: i64,
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
    /// `user` lines.
    pub users: Vec<UserLine>,
    /// `aclfile`: where users are instead.
    pub users_file: Option<PathBuf>,
    /// `acl-pubsub-default allchannels`.
    pub new_users_have_all_channels: bool,
    /// `acllog-max-len`.
    pub denied_log_entries_max: u64,
    /// `auth-failure-limit`: failed authentications of an address in a window before it is refused; 0 is no limit.
    pub auth_failures_max: u32,
    /// `auth-failure-window`: how long a window is.
    pub auth_failure_window_s: u32,
    /// `rename-command` lines: old names and new ones, in order.
    pub renamings: Vec<Renaming>,
    /// `enable-protected-configs`.
    pub protected_configs: Permission,
    /// `enable-debug-command`.
    pub debug_command: Permission,
    /// `enable-module-command`.
    pub module_command: Permission,
}

impl Security {
    /// What rules of users depend on.
    pub fn access_settings(&self) -> AccessSettings {
        AccessSettings { new_users_have_all_channels: self.new_users_have_all_channels }
    }
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
    /// `oom-score-adj`.
    pub oom_score_adj: OomScoreAdj,
    /// `oom-score-adj-values`: of a primary, a replica, and a process in the background, which there is none of.
    pub oom_scores: [i32; 3],
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
    /// `syslog-enabled`.
    pub goes_to_syslog: bool,
    /// `syslog-ident`.
    pub syslog_ident: Vec<u8>,
    /// `syslog-facility`.
    pub syslog_facility: SyslogFacility,
    /// `crash-log-enabled`: a report of a crash is written.
    pub has_crash_reports: bool,
    /// `hide-user-data-from-log`: no text that may quote stored data.
    pub hides_user_data: bool,
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
    /// `slowlog-entry-max-argc`: of a command in this log or one of its likes.
    pub entry_arguments_max: u32,
    /// `slowlog-entry-max-string-len`: of each of its arguments.
    pub entry_argument_bytes_max: u64,
    /// `commandlog-request-larger-than`: negative is never.
    pub request_bytes_min: i64,
    /// `commandlog-large-request-max-len`.
    pub large_request_entries_max: u64,
    /// `commandlog-reply-larger-than`: negative is never.
    pub reply_bytes_min: i64,
    /// `commandlog-large-reply-max-len`.
    pub large_reply_entries_max: u64,
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
    /// `rdb-key-save-delay`: microseconds that a snapshot waits after each key, for tests; a negative number counts as none.
    pub key_save_delay_us: i64,
    /// `key-load-delay`: the same of a load.
    pub key_load_delay_us: i64,
    /// `snapshot-buffer-limit`: bytes that a shard may keep for the disk before a save ends.
    pub snapshot_buffer_bytes_max: u64,
    /// `appendonly`.
    pub append_only: bool,
    /// `appendfsync`.
    pub append_fsync: AppendFsync,
    /// What else there is to say about the log.
    pub append_log: AppendLogConfig,
}

impl Config {
    /// The port that a server is named by: the one without TLS, if there is one; 0 where it listens on none.
    pub fn main_port(&self) -> u16 {
        if self.network.port > 0 { self.network.port } else { self.tls.port }
    }

    /// `maxmemory-clients` in bytes: 0 is no limit, and a part of no limit is none. Too little to talk to the server at all is not
    /// meant.
    pub fn client_bytes_max(&self) -> u64 {
        const BYTES_MIN: u64 = 128 << 10;
        let bytes = match self.clients.memory_max {
            percent @ ..0 => (self.memory.bytes_max as f64 * percent.unsigned_abs() as f64 / 100.0) as u64,
            bytes => bytes as u64,
        };
        if bytes == 0 { 0 } else { bytes.max(BYTES_MIN) }
    }
}

impl Persistence {
    /// Who is to be able to read what is written.
    pub fn readers(&self) -> Readers {
        let version = Version(self.version_min).max(Version::LISTPACKS);
        Readers { version, ..Readers::default() }
    }
}
