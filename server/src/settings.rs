//! What of the configuration the data path looks at: plain numbers, one copy a shard, replaced whole by a multicast.

use crate::access::AttemptLimit;
use crate::config::{AppendFsync, Config, KeyspaceEvents, Observation};
use crate::insight::command_log::EntryLimits;
use crate::reactor::driver::SocketOptions;
use torc_engine::command::EngineOptions;
use torc_engine::keyspace::EvictionPolicy;

/// A class of clients for `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// Closed at once above this many bytes; 0 is no limit.
    pub hard_bytes: u64,
    /// Closed when above this many bytes ...
    pub soft_bytes: u64,
    /// ... for this many seconds.
    pub soft_s: u64,
}

/// `maxmemory` and what belongs to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemorySettings {
    /// `maxmemory`: 0 is no limit.
    pub bytes_max: u64,
    /// `maxmemory-policy` with `maxmemory-samples`; none is `noeviction`.
    pub policy: Option<EvictionPolicy>,
    /// `maxmemory-eviction-tenacity`.
    pub eviction_tenacity: u32,
}

/// What commands are looked at for. A threshold that nothing reaches is one that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservationSettings {
    /// `slowlog-log-slower-than`, in nanoseconds.
    pub slow_ns: u64,
    /// `latency-monitor-threshold`, in nanoseconds.
    pub spike_ns: u64,
    /// `latency-tracking`: every command is timed.
    pub tracks_latency: bool,
    /// `commandlog-request-larger-than`.
    pub request_bytes_min: usize,
    /// `commandlog-reply-larger-than`.
    pub reply_bytes_min: usize,
    /// `slowlog-max-len` and its likes, in the order of [`crate::insight::command_log::Reason`].
    pub entries_max: [usize; 3],
    /// `slowlog-entry-max-argc` and `slowlog-entry-max-string-len`.
    pub entry_limits: EntryLimits,
}

impl Default for ObservationSettings {
    fn default() -> Self {
        Self {
            slow_ns: u64::MAX,
            spike_ns: u64::MAX,
            tracks_latency: false,
            request_bytes_min: usize::MAX,
            reply_bytes_min: usize::MAX,
            entries_max: [128; 3],
            entry_limits: EntryLimits::default(),
        }
    }
}

impl From<&Observation> for ObservationSettings {
    fn from(config: &Observation) -> Self {
        let lengths = [config.slow_log_entries_max, config.large_request_entries_max, config.large_reply_entries_max];
        let bytes = |threshold: i64, length: u64| match usize::try_from(threshold) {
            Ok(bytes) if length > 0 => bytes,
            _ => usize::MAX,
        };
        let slow_ns = match u64::try_from(config.slow_log_threshold_us) {
            Ok(us) if config.slow_log_entries_max > 0 => us.saturating_mul(1000),
            _ => u64::MAX,
        };
        let spike_ns = match u64::try_from(config.latency_monitor_threshold_ms) {
            Ok(ms @ 1..) => ms.saturating_mul(1_000_000),
            _ => u64::MAX,
        };
        Self {
            slow_ns,
            spike_ns,
            tracks_latency: config.latency_tracking,
            request_bytes_min: bytes(config.request_bytes_min, lengths[1]),
            reply_bytes_min: bytes(config.reply_bytes_min, lengths[2]),
            entries_max: lengths.map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            entry_limits: EntryLimits {
                arguments_max: config.entry_arguments_max as usize,
                argument_bytes_max: usize::try_from(config.entry_argument_bytes_max).unwrap_or(usize::MAX),
            },
        }
    }
}

/// The data path's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `appendfsync`.
    pub append_fsync: AppendFsync,
    /// `aof-timestamp-enabled`.
    pub stamps_log: bool,
    /// `maxclients`.
    pub clients_max: usize,
    /// `timeout`: seconds after which an idle client is closed; 0 is never.
    pub idle_timeout_s: u64,
    /// `tcp-keepalive` and no delay.
    pub socket: SocketOptions,
    /// `client-query-buffer-limit` in bytes.
    pub query_buffer_max: u64,
    /// `maxmemory-clients` in bytes; 0 is no limit.
    pub client_bytes_max: u64,
    /// `client-output-buffer-limit normal`.
    pub output_limit: OutputLimit,
    /// `client-output-buffer-limit pubsub`.
    pub output_limit_pubsub: OutputLimit,
    /// `tracking-table-max-keys`: keys that are remembered for CLIENT TRACKING; 0 is no limit.
    pub tracked_keys_max: u64,
    /// `proto-max-bulk-len`.
    pub bulk_length_max: u64,
    /// `protected-mode`.
    pub protected_mode: bool,
    /// `acllog-max-len`.
    pub denied_log_entries_max: u64,
    /// `auth-failure-limit` and its window.
    pub attempts: AttemptLimit,
    /// The limit of memory.
    pub memory: MemorySettings,
    /// What commands are looked at for.
    pub observation: ObservationSettings,
    /// `notify-keyspace-events`.
    pub events: KeyspaceEvents,
    /// `busy-reply-threshold`: for how long a script runs before others hear BUSY, in nanoseconds; 0 is for ever.
    pub busy_after_ns: u64,
    /// `script-kill-undo`: whether a script that has written can be killed, and undone.
    pub undoes_killed_scripts: bool,
    /// Whether there is a save point.
    pub has_save_points: bool,
    /// `stop-writes-on-bgsave-error`: whether writes are refused that could not be saved.
    pub refuses_unsaved: bool,
    /// `rdb-key-save-delay`, in nanoseconds: what a snapshot waits after each key.
    pub key_save_delay_ns: u64,
    /// `hz`: how often a second the cron runs.
    pub hz: u32,
    /// `active-expire-effort` and its like are the engine's.
    pub engine: EngineOptions,
    /// `gather-time-us`: how long a busy shard lets requests gather at most, in nanoseconds; 0 is not at all.
    pub gather_ns_max: u64,
    /// A client's unsent replies above this many bytes stop the reading of its commands.
    pub unsent_pause_bytes: usize,
    /// A client that has run commands of so many bytes in a turn goes on in the next one if this one has taken long, ...
    pub turn_bytes_min: usize,
    /// ... and with so many in any case.
    pub turn_bytes_max: usize,
    /// Awaited replies above this stop the reading of a client's commands.
    pub outstanding_max: usize,
    /// Bytes under way to one other shard above this stop the reading of the commands that go there.
    pub in_flight_bytes_max: usize,
    /// How long a command on every shard waits for units of several hops before it gets in line behind them, in nanoseconds; ...
    pub unit_patience_ns: u64,
    /// ... and for those that are long.
    pub long_unit_patience_ns: u64,
    /// Commands between two looks at where most of a connection's commands go.
    pub affinity_window_commands: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            append_fsync: AppendFsync::EverySecond,
            stamps_log: false,
            clients_max: 10_000,
            idle_timeout_s: 0,
            socket: SocketOptions { keepalive_s: 300, no_delay: true },
            query_buffer_max: 1 << 30,
            client_bytes_max: 0,
            output_limit: OutputLimit::default(),
            output_limit_pubsub: OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_s: 60 },
            tracked_keys_max: 1_000_000,
            bulk_length_max: 512 << 20,
            protected_mode: true,
            denied_log_entries_max: 128,
            attempts: AttemptLimit { failures_max: 100, window_ms: 60_000 },
            memory: MemorySettings::default(),
            observation: ObservationSettings::default(),
            events: KeyspaceEvents::default(),
            busy_after_ns: 5_000_000_000,
            undoes_killed_scripts: false,
            has_save_points: false,
            refuses_unsaved: true,
            key_save_delay_ns: 0,
            hz: 10,
            engine: EngineOptions::default(),
            gather_ns_max: 400_000,
            unsent_pause_bytes: 1 << 20,
            turn_bytes_min: 16 << 10,
            turn_bytes_max: 1 << 20,
            outstanding_max: 1024,
            in_flight_bytes_max: 16 << 20,
            unit_patience_ns: 5_000_000,
            long_unit_patience_ns: 60_000_000_000,
            affinity_window_commands: 512,
        }
    }
}

impl From<&Config> for Settings {
    /// What the data path looks at of a configuration; what is not a directive keeps its default.
    fn from(config: &Config) -> Self {
        let limit = |limit: crate::config::OutputLimit| OutputLimit {
            hard_bytes: limit.hard_bytes,
            soft_bytes: limit.soft_bytes,
            soft_s: u64::from(limit.soft_seconds),
        };
        Self {
            append_fsync: config.persistence.append_fsync,
            stamps_log: config.persistence.append_log.stamps,
            clients_max: config.clients.count_max as usize,
            idle_timeout_s: config.clients.idle_timeout_s as u64,
            socket: SocketOptions { keepalive_s: config.network.keepalive_s, no_delay: true },
            query_buffer_max: config.clients.query_buffer_bytes_max,
            client_bytes_max: config.client_bytes_max(),
            output_limit: limit(config.clients.output_limits.normal),
            output_limit_pubsub: limit(config.clients.output_limits.pubsub),
            tracked_keys_max: config.clients.tracked_keys_max,
            bulk_length_max: config.clients.bulk_bytes_max,
            protected_mode: config.network.protected_mode,
            denied_log_entries_max: config.security.denied_log_entries_max,
            attempts: AttemptLimit {
                failures_max: config.security.auth_failures_max,
                window_ms: u64::from(config.security.auth_failure_window_s) * 1000,
            },
            memory: MemorySettings {
                bytes_max: config.memory.bytes_max,
                policy: config.memory.policy.to_engine(config.memory.samples),
                eviction_tenacity: config.memory.eviction_tenacity,
            },
            observation: ObservationSettings::from(&config.observation),
            events: config.keyspace.events,
            undoes_killed_scripts: config.script_kill_undo,
            has_save_points: !config.persistence.save.is_empty(),
            refuses_unsaved: config.persistence.refuses_unsaved,
            key_save_delay_ns: config.persistence.key_save_delay_us.max(0) as u64 * 1000,
            busy_after_ns: (config.script_busy_after_ms.max(0) as u64).saturating_mul(1_000_000),
            hz: config.process.hz,
            gather_ns_max: config.gather_time_us * 1000,
            engine: EngineOptions {
                string_length_max: config.clients.bulk_bytes_max,
                lazy_free: config.keyspace.lazy_user_delete,
                frequency_counters: config.memory.policy.is_lfu(),
                shares_integers: config.memory.bytes_max == 0 || !config.memory.policy.needs_clocks(),
                access_policy: config
                    .memory
                    .policy
                    .access(config.memory.lfu_log_factor, config.memory.lfu_decay_minutes),
                encodings: config.encodings,
                ..EngineOptions::default()
            },
            ..Self::default()
        }
    }
}
