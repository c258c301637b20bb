//! The table of directives: every name that Redis 7.0 to 8.10 and Valkey 8.1 know, and Torc's own. A new directive is one
//! row, and where it has an effect, one field of [`Config`].

use super::Config;
use super::choices::{
    AppendFsync, CertificateUser, ClientAuth, EvictionPolicy, LogLevel, OomScoreAdj, Permission, Supervisor,
    SyslogFacility,
};
use super::directive::Home::{self, Kept};
use super::directive::Notation::{MemoryOrPercent, Octal};
use super::directive::{Directive, Words, checked_text, choice, flag, integer, memory, number, special, text};
use super::load::DEFAULT_REDIS_VERSION;
use super::special;

const INT_MIN: i128 = i32::MIN as i128;
const INT_MAX: i128 = i32::MAX as i128;
const UINT_MAX: i128 = u32::MAX as i128;
const LONG_MAX: i128 = i64::MAX as i128;
const ULONG_MAX: i128 = u64::MAX as i128;
const MIB: i128 = 1 << 20;

/// As many as the data path can tell apart.
const SHARDS_MAX: i128 = crate::shared::SHARDS_MAX as i128;

/// A yes/no field.
macro_rules! flag_at {
    ($($path:tt)+) => { Home::Field { get: |config: &Config| config.$($path)+, set: |config, value| config.$($path)+ = value } };
}

/// A number field of any width; the row's range must fit it, which a test checks.
macro_rules! number_at {
    ($($path:tt)+) => {
        Home::Field { get: |config: &Config| i128::from(config.$($path)+), set: |config, value| config.$($path)+ = value as _ }
    };
}

/// A field that holds an enum made by `choice!`.
macro_rules! choice_at {
    ($choice:ident, $($path:tt)+) => {
        Home::Field { get: |config: &Config| config.$($path)+ as usize, set: |config, index| config.$($path)+ = $choice::ALL[index] }
    };
}

/// A field that holds a path or none.
macro_rules! path_at {
    ($($path:tt)+) => {
        Home::Field {
            get: |config: &Config| special::path_text(config.$($path)+.as_ref()),
            set: |config, text| config.$($path)+ = special::optional_path(text),
        }
    };
}

/// A field of bytes.
macro_rules! bytes_at {
    ($($path:tt)+) => { Home::Field { get: |config: &Config| config.$($path)+.clone(), set: |config, text| config.$($path)+ = text } };
}

/// The row of that name, old names too, in any case of letters; and the name as the table spells it.
pub fn directive(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    DIRECTIVES.iter().find_map(|row| {
        let names = [Some(row.name), row.alias];
        names.into_iter().flatten().find(|known| known.as_bytes().eq_ignore_ascii_case(name)).map(|known| (row, known))
    })
}

/// Names of all directives.
pub fn names() -> impl Iterator<Item = &'static str> {
    DIRECTIVES.iter().map(|row| row.name)
}

/// Names that older versions knew, which are read over with one value.
pub(super) const RETIRED: &[&str] = &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// Lines that are no directive of the table and that Torc must refuse, as a server that ignores them is not safe.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("loadmodule", "modules cannot be loaded into Torc"),
    ("sentinel", "Sentinel mode is not supported in this version of Torc"),
    (
        "preload-file",
        "a file to start from is put into 'dir', under the names that 'dbfilename' and 'appenddirname' say",
    ),
];

/// Every row.
#[rustfmt::skip]
pub(super) static DIRECTIVES: &[Directive] = &[
    // Torc's own.
    integer("shards", 1, SHARDS_MAX, 1, number_at!(shards)).at_start(),
    integer("gather-time-us", 0, 10_000, 400, number_at!(gather_time_us)),
    checked_text("redis-version", DEFAULT_REDIS_VERSION, special::check_version, Home::Field {
        get: |config| config.redis_version.clone().into_bytes(),
        set: |config, text| config.redis_version = String::from_utf8_lossy(&text).into_owned(),
    }).at_start(),

    // The control plane.
    integer("admin-port", 0, 65_535, 0, number_at!(admin.port)).at_start(),
    special("admin-bind", Words::Many, "127.0.0.1 -::1", special::set_admin_bind, special::get_admin_bind).at_start(),
    checked_text("admin-token", "", special::check_token, Home::Field {
        get: |config| config.admin.token.clone().unwrap_or_default(),
        set: |config, text| config.admin.token = (!text.is_empty()).then_some(text),
    }).at_start().secret(),

    // Network.
    integer("port", 0, 65_535, 6379, number_at!(network.port)),
    special("bind", Words::Many, "* -::*", special::set_bind, special::get_bind),
    text("unixsocket", "", path_at!(network.unix_socket)).at_start(),
    number("unixsocketperm", Octal, 0, 0o777, 0, number_at!(network.unix_socket_mode)).at_start(),
    text("unixsocketgroup", "", Kept).at_start(),
    integer("tcp-backlog", 0, INT_MAX, 511, number_at!(network.backlog)).at_start(),
    integer("tcp-keepalive", 0, INT_MAX, 300, number_at!(network.keepalive_s)),
    flag("protected-mode", true, flag_at!(network.protected_mode)),
    text("bind-source-addr", "", Kept),
    integer("socket-mark-id", 0, UINT_MAX, 0, Kept).at_start(),
    integer("rdma-port", 0, 65_535, 0, Kept).at_start(),
    text("rdma-bind", "", Kept).at_start(),
    memory("rdma-rx-size", 64 * 1024, 16 * MIB, MIB, Kept).at_start(),
    integer("rdma-completion-vector", -1, 1024, -1, Kept).at_start(),
    integer("max-new-connections-per-cycle", 1, 1000, 10, Kept),
    integer("max-new-tls-connections-per-cycle", 1, 1000, 1, Kept),
    integer("io-threads", 1, 256, 1, Kept).at_start(),
    flag("io-threads-do-reads", false, Kept).at_start(),
    flag("io-threads-always-active", false, Kept).hidden(),
    integer("events-per-io-thread", 0, INT_MAX, 2, Kept),
    integer("prefetch-batch-max-size", 0, 128, 16, Kept),
    integer("lookahead", 1, INT_MAX, 16, Kept),

    // Clients.
    integer("maxclients", 1, UINT_MAX, 10_000, number_at!(clients.count_max)),
    integer("timeout", 0, INT_MAX, 0, number_at!(clients.idle_timeout_s)),
    memory("client-query-buffer-limit", MIB, LONG_MAX, 1 << 30, number_at!(clients.query_buffer_bytes_max)),
    memory("proto-max-bulk-len", MIB, LONG_MAX, 512 * MIB, number_at!(clients.bulk_bytes_max)),
    special("client-output-buffer-limit", Words::Many,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        special::set_output_limits, special::get_output_limits),
    number("maxmemory-clients", MemoryOrPercent, -100, LONG_MAX, 0, number_at!(clients.memory_max)),
    integer("tracking-table-max-keys", 0, LONG_MAX, 1_000_000, number_at!(clients.tracked_keys_max)),
    integer("client-default-resp", 2, 3, 2, Kept).at_start().hidden(),

    // Security.
    text("requirepass", "", Home::Field {
        get: |config| config.security.password.clone().unwrap_or_default(),
        set: |config, text| config.security.password = (!text.is_empty()).then_some(text),
    }).secret(),
    choice("enable-protected-configs", Permission::NAMES, 0, choice_at!(Permission, security.protected_configs)).at_start(),
    choice("enable-debug-command", Permission::NAMES, 0, choice_at!(Permission, security.debug_command)).at_start(),
    choice("enable-module-command", Permission::NAMES, 0, choice_at!(Permission, security.module_command)).at_start().no_effect(),
    text("aclfile", "", path_at!(security.users_file)).at_start(),
    integer("acllog-max-len", 0, LONG_MAX, 128, number_at!(security.denied_log_entries_max)),
    integer("auth-failure-limit", 0, INT_MAX, 100, number_at!(security.auth_failures_max)),
    integer("auth-failure-window", 1, 86_400, 60, number_at!(security.auth_failure_window_s)),
    choice("acl-pubsub-default", &["allchannels", "resetchannels"], 1, Home::Field {
        get: |config| usize::from(!config.security.new_users_have_all_channels),
        set: |config, index| config.security.new_users_have_all_channels = index == 0,
    }),

    // Process.
    special("dir", Words::One, ".", special::set_directory, |config| {
        special::path_text(Some(&config.process.directory))
    }).protected(),
    flag("daemonize", false, flag_at!(process.daemonize)).at_start(),
    choice("supervised", Supervisor::NAMES, 3, choice_at!(Supervisor, process.supervised)).at_start(),
    text("pidfile", "", path_at!(process.pid_file)).at_start(),
    flag("set-proc-title", true, flag_at!(process.set_title)).at_start(),
    checked_text("proc-title-template", "{title} {listen-addr} {server-mode}", special::check_title,
        bytes_at!(process.title_template)),
    flag("always-show-logo", false, flag_at!(process.always_show_logo)).at_start(),
    integer("hz", 0, INT_MAX, 10, Home::Field {
        get: |config| i128::from(config.process.hz),
        // A hint: brought into the range that makes sense instead of refused.
        set: |config, value| config.process.hz = value.clamp(1, 500) as u32,
    }),
    flag("dynamic-hz", true, flag_at!(process.dynamic_hz)).no_effect(),
    special("shutdown-on-sigint", Words::Many, "default", special::set_on_sigint, special::get_on_sigint).no_effect(),
    special("shutdown-on-sigterm", Words::Many, "default", special::set_on_sigterm, special::get_on_sigterm).no_effect(),
    integer("shutdown-timeout", 0, INT_MAX, 10, number_at!(process.shutdown_timeout_s)).no_effect(),
    choice("oom-score-adj", OomScoreAdj::NAMES, 0, choice_at!(OomScoreAdj, process.oom_score_adj)),
    special("oom-score-adj-values", Words::Many, "0 200 800", special::set_oom_scores, special::get_oom_scores),
    flag("disable-thp", true, flag_at!(process.without_huge_pages)).at_start(),
    text("server-cpulist", "", Kept).alias("server_cpulist").at_start(),
    text("bio-cpulist", "", Kept).alias("bio_cpulist").at_start(),
    text("aof-rewrite-cpulist", "", Kept).alias("aof_rewrite_cpulist").at_start(),
    text("bgsave-cpulist", "", Kept).alias("bgsave_cpulist").at_start(),
    text("ignore-warnings", "", Kept),
    text("locale-collate", "", Kept),
    text("availability-zone", "", Kept),
    flag("extended-redis-compatibility", false, Kept),

    // Log.
    choice("loglevel", LogLevel::NAMES, LogLevel::Notice as usize, choice_at!(LogLevel, log.level)),
    text("logfile", "", path_at!(log.file)).at_start(),
    choice("log-format", &["legacy", "logfmt"], 0, Kept),
    choice("log-timestamp-format", &["legacy", "iso8601", "milliseconds"], 0, Kept),
    flag("syslog-enabled", false, flag_at!(log.goes_to_syslog)).at_start(),
    text("syslog-ident", "redis", bytes_at!(log.syslog_ident)).at_start(),
    choice("syslog-facility", SyslogFacility::NAMES, 1, choice_at!(SyslogFacility, log.syslog_facility)).at_start(),
    flag("crash-log-enabled", true, flag_at!(log.has_crash_reports)),
    flag("crash-memcheck-enabled", true, Kept),
    flag("use-exit-on-panic", false, Kept).hidden(),
    flag("enable-debug-assert", false, Kept).at_start().hidden(),
    text("debug-context", "", Kept).hidden(),
    flag("hide-user-data-from-log", false, flag_at!(log.hides_user_data)),
    integer("watchdog-period", 0, INT_MAX, 0, Kept).hidden(),

    // Memory.
    memory("maxmemory", 0, ULONG_MAX, 0, number_at!(memory.bytes_max)),
    choice("maxmemory-policy", EvictionPolicy::NAMES, EvictionPolicy::NoEviction as usize,
        choice_at!(EvictionPolicy, memory.policy)),
    integer("maxmemory-samples", 1, INT_MAX, 5, number_at!(memory.samples)),
    integer("maxmemory-eviction-tenacity", 0, 100, 10, number_at!(memory.eviction_tenacity)),
    integer("lfu-log-factor", 0, INT_MAX, 10, number_at!(memory.lfu_log_factor)),
    integer("lfu-decay-time", 0, INT_MAX, 1, number_at!(memory.lfu_decay_minutes)),
    flag("activedefrag", false, Kept),
    integer("active-defrag-cycle-min", 1, 99, 1, Kept),
    integer("active-defrag-cycle-max", 1, 99, 25, Kept),
    integer("active-defrag-cycle-us", 0, 100_000, 500, Kept),
    integer("active-defrag-threshold-lower", 0, 1000, 10, Kept),
    integer("active-defrag-threshold-upper", 0, 1000, 100, Kept),
    memory("active-defrag-ignore-bytes", 1, LONG_MAX, 100 * MIB, Kept),
    integer("active-defrag-max-scan-fields", 1, LONG_MAX, 1000, Kept),
    flag("jemalloc-bg-thread", true, Kept),
    flag("activerehashing", true, Kept),

    // Keyspace.
    integer("databases", 1, INT_MAX, 16, number_at!(keyspace.databases)).at_start(),
    special("notify-keyspace-events", Words::One, "", special::set_events, special::get_events),
    integer("active-expire-effort", 1, 10, 1, number_at!(keyspace.expire_effort)).no_effect(),
    // Values are freed in slices whatever these say; they are kept for clients that read them.
    flag("lazyfree-lazy-eviction", false, flag_at!(keyspace.lazy_eviction)).no_effect(),
    flag("lazyfree-lazy-expire", false, flag_at!(keyspace.lazy_expire)).no_effect(),
    flag("lazyfree-lazy-server-del", false, flag_at!(keyspace.lazy_server_delete)).no_effect(),
    flag("lazyfree-lazy-user-del", false, flag_at!(keyspace.lazy_user_delete)),
    flag("lazyfree-lazy-user-flush", false, flag_at!(keyspace.lazy_user_flush)).no_effect(),
    flag("lazyexpire-nested-arbitrary-keys", true, Kept),
    flag("import-mode", false, Kept),

    // Encodings.
    integer("hash-max-listpack-entries", 0, LONG_MAX, 512, number_at!(encodings.hash_listpack_entries_max)).alias("hash-max-ziplist-entries"),
    memory("hash-max-listpack-value", 0, LONG_MAX, 64, number_at!(encodings.hash_listpack_value_bytes_max)).alias("hash-max-ziplist-value"),
    integer("list-max-listpack-size", INT_MIN, INT_MAX, -2, number_at!(encodings.list_listpack_size_max)).alias("list-max-ziplist-size"),
    integer("list-compress-depth", 0, INT_MAX, 0, number_at!(encodings.list_compress_depth)).no_effect(),
    integer("set-max-intset-entries", 0, LONG_MAX, 512, number_at!(encodings.set_intset_entries_max)),
    integer("set-max-listpack-entries", 0, LONG_MAX, 128, number_at!(encodings.set_listpack_entries_max)),
    integer("set-max-listpack-value", 0, LONG_MAX, 64, number_at!(encodings.set_listpack_value_bytes_max)),
    integer("zset-max-listpack-entries", 0, LONG_MAX, 128, number_at!(encodings.sorted_set_listpack_entries_max)).alias("zset-max-ziplist-entries"),
    memory("zset-max-listpack-value", 0, LONG_MAX, 64, number_at!(encodings.sorted_set_listpack_value_bytes_max)).alias("zset-max-ziplist-value"),
    memory("stream-node-max-bytes", 0, LONG_MAX, 4096, number_at!(encodings.stream_node_bytes_max)).no_effect(),
    integer("stream-node-max-entries", 0, LONG_MAX, 100, number_at!(encodings.stream_node_entries_max)).no_effect(),
    memory("hll-sparse-max-bytes", 0, LONG_MAX, 3000, number_at!(encodings.hyperloglog_sparse_bytes_max)),

    memory("array-slice-size", 1, LONG_MAX, 4096, Kept),
    integer("array-sparse-kmin", 0, LONG_MAX, 5, Kept),
    integer("array-sparse-kmax", 0, LONG_MAX, 10, Kept),
    integer("hash-min-template-entries", 0, LONG_MAX, 0, Kept),
    integer("hash-max-template-entries", 0, LONG_MAX, 0, Kept),
    integer("hash-rdb-load-min-template-entries", 0, LONG_MAX, 0, Kept),
    integer("hash-rdb-load-max-template-entries", 0, LONG_MAX, 0, Kept),
    integer("hash-rdb-load-template-disassembly-threshold", 0, LONG_MAX, 0, Kept),
    integer("stream-idmp-duration", 1, 86_400, 100, Kept),
    integer("stream-idmp-maxsize", 1, 10_000, 100, Kept),
    flag("vset-force-single-threaded-execution", false, Kept).at_start(),

    // Slow log and latency.
    integer("slowlog-log-slower-than", -1, LONG_MAX, 10_000, number_at!(observation.slow_log_threshold_us)).alias("commandlog-execution-slower-than"),
    integer("slowlog-max-len", 0, LONG_MAX, 128, number_at!(observation.slow_log_entries_max)).alias("commandlog-slow-execution-max-len"),
    integer("slowlog-entry-max-argc", 2, INT_MAX, 32, number_at!(observation.entry_arguments_max)),
    integer("slowlog-entry-max-string-len", 1, LONG_MAX, 128, number_at!(observation.entry_argument_bytes_max)),
    integer("commandlog-request-larger-than", -1, LONG_MAX, MIB, number_at!(observation.request_bytes_min)),
    integer("commandlog-large-request-max-len", 0, LONG_MAX, 128, number_at!(observation.large_request_entries_max)),
    integer("commandlog-reply-larger-than", -1, LONG_MAX, MIB, number_at!(observation.reply_bytes_min)),
    integer("commandlog-large-reply-max-len", 0, LONG_MAX, 128, number_at!(observation.large_reply_entries_max)),
    integer("latency-monitor-threshold", 0, LONG_MAX, 0, number_at!(observation.latency_monitor_threshold_ms)),
    flag("key-memory-histograms", false, Kept).at_start(),
    flag("latency-tracking", true, flag_at!(observation.latency_tracking)),
    special("latency-tracking-info-percentiles", Words::Many, "50 99 99.9", special::set_percentiles, special::get_percentiles),

    // Scripts.
    integer("busy-reply-threshold", 0, LONG_MAX, 5000, number_at!(script_busy_after_ms)).alias("lua-time-limit"),
    flag("script-kill-undo", false, flag_at!(script_kill_undo)),
    flag("lua-enable-insecure-api", false, Kept).alias("lua-enable-deprecated-api").hidden(),

    // Persistence.
    special("save", Words::Many, "3600 1 300 100 60 10000", special::set_save, special::get_save),
    checked_text("dbfilename", "dump.rdb", special::check_database_file, bytes_at!(persistence.database_file)).protected(),
    flag("appendonly", false, flag_at!(persistence.append_only)),
    choice("appendfsync", AppendFsync::NAMES, 0, choice_at!(AppendFsync, persistence.append_fsync)),
    checked_text("appendfilename", "appendonly.aof", special::check_append_file, bytes_at!(persistence.append_log.file)).at_start(),
    checked_text("appenddirname", "appendonlydir", special::check_append_directory, bytes_at!(persistence.append_log.directory)).at_start(),
    flag("no-appendfsync-on-rewrite", false, flag_at!(persistence.append_log.puts_off_syncs)),
    integer("auto-aof-rewrite-percentage", 0, INT_MAX, 100, number_at!(persistence.append_log.rewrite_percentage)),
    memory("auto-aof-rewrite-min-size", 0, LONG_MAX, 64 * MIB, number_at!(persistence.append_log.rewrite_bytes_min)),
    flag("aof-load-truncated", true, flag_at!(persistence.append_log.loads_truncated)),
    memory("aof-load-corrupt-tail-max-size", 0, LONG_MAX, 0, number_at!(persistence.append_log.corrupt_tail_max)),
    flag("aof-use-rdb-preamble", true, flag_at!(persistence.append_log.base_is_rdb)),
    flag("aof-timestamp-enabled", false, flag_at!(persistence.append_log.stamps)),
    flag("aof-rewrite-incremental-fsync", true, Kept),
    flag("aof-disable-auto-gc", false, Kept).hidden(),
    flag("rdbcompression", true, flag_at!(persistence.compresses)),
    flag("rdbchecksum", true, flag_at!(persistence.sums)).at_start(),
    integer("rdb-version", 0, 14, 0, number_at!(persistence.version_min)),
    memory("snapshot-buffer-limit", 1 << 20, LONG_MAX, 256 * MIB, number_at!(persistence.snapshot_buffer_bytes_max)),
    flag("rdb-del-sync-files", false, Kept),
    flag("rdb-save-incremental-fsync", true, flag_at!(persistence.syncs_meanwhile)),
    choice("rdb-version-check", &["strict", "relaxed"], 0, Kept),
    integer("rdb-key-save-delay", INT_MIN, INT_MAX, 0, number_at!(persistence.key_save_delay_us)).hidden(),
    integer("key-load-delay", INT_MIN, INT_MAX, 0, number_at!(persistence.key_load_delay_us)).hidden(),
    integer("loading-process-events-interval-bytes", 1024, INT_MAX, 2 * MIB, Kept).hidden(),
    flag("stop-writes-on-bgsave-error", true, flag_at!(persistence.refuses_unsaved)),
    choice("sanitize-dump-payload", &["no", "yes", "clients"], 0, Kept),
    choice("propagation-error-behavior", &["ignore", "panic", "panic-on-replicas"], 0, Kept),

    text("backupdirname", "backupdir", Kept).at_start(),
    integer("backup-sealed-ttl", 0, LONG_MAX, 0, Kept),

    // Replication.
    special("replicaof", Words::Many, "", special::set_replica_of, special::get_replica_of).alias("slaveof").at_start().no_effect(),
    text("masterauth", "", Kept).alias("primaryauth").secret(),
    text("masteruser", "", Kept).alias("primaryuser").secret(),
    flag("replica-serve-stale-data", true, Kept).alias("slave-serve-stale-data"),
    flag("replica-read-only", true, Kept).alias("slave-read-only"),
    flag("replica-ignore-maxmemory", true, Kept).alias("slave-ignore-maxmemory"),
    flag("replica-lazy-flush", false, Kept).alias("slave-lazy-flush"),
    integer("replica-priority", 0, INT_MAX, 100, Kept).alias("slave-priority"),
    text("replica-announce-ip", "", Kept).alias("slave-announce-ip"),
    integer("replica-announce-port", 0, 65_535, 0, Kept).alias("slave-announce-port"),
    flag("replica-announced", true, Kept),
    flag("replica-ignore-disk-write-errors", false, Kept),
    memory("replica-full-sync-buffer-limit", 0, ULONG_MAX, 0, Kept),
    integer("min-replicas-to-write", 0, INT_MAX, 0, Kept).alias("min-slaves-to-write"),
    integer("min-replicas-max-lag", 0, INT_MAX, 10, Kept).alias("min-slaves-max-lag"),
    memory("repl-backlog-size", 1, LONG_MAX, MIB, Kept),
    integer("repl-backlog-ttl", 0, LONG_MAX, 3600, Kept),
    integer("repl-timeout", 1, INT_MAX, 60, Kept),
    integer("repl-ping-replica-period", 1, INT_MAX, 10, Kept).alias("repl-ping-slave-period"),
    flag("repl-disable-tcp-nodelay", false, Kept),
    flag("repl-diskless-sync", true, Kept),
    integer("repl-diskless-sync-delay", 0, INT_MAX, 5, Kept),
    integer("repl-diskless-sync-max-replicas", 0, INT_MAX, 0, Kept),
    choice("repl-diskless-load", &["disabled", "on-empty-db", "swapdb", "flush-before-load"], 0, Kept),
    flag("repl-rdb-channel", false, Kept),
    text("repl-compression", "no", Kept),
    integer("repl-compression-max-latency", 0, LONG_MAX, 0, Kept),
    flag("dual-channel-replication-enabled", false, Kept),

    // Cluster.
    flag("cluster-enabled", false, Kept).at_start(),
    text("cluster-config-file", "nodes.conf", Kept).at_start(),
    integer("cluster-node-timeout", 0, LONG_MAX, 15_000, Kept),
    integer("cluster-port", 0, 65_535, 0, Kept).at_start(),
    integer("cluster-ping-interval", 0, LONG_MAX, 0, Kept).hidden(),
    integer("cluster-migration-barrier", 0, INT_MAX, 1, Kept),
    integer("cluster-replica-validity-factor", 0, INT_MAX, 10, Kept).alias("cluster-slave-validity-factor"),
    flag("cluster-replica-no-failover", false, Kept).alias("cluster-slave-no-failover"),
    flag("cluster-require-full-coverage", true, Kept),
    flag("cluster-allow-reads-when-down", false, Kept),
    flag("cluster-allow-pubsubshard-when-down", true, Kept),
    flag("cluster-allow-replica-migration", true, Kept),
    memory("cluster-link-sendbuf-limit", 0, ULONG_MAX, 0, Kept),
    text("cluster-announce-ip", "", Kept),
    integer("cluster-announce-port", 0, 65_535, 0, Kept),
    integer("cluster-announce-bus-port", 0, 65_535, 0, Kept),
    integer("cluster-announce-tls-port", 0, 65_535, 0, Kept),
    checked_text("cluster-announce-hostname", "", special::check_host_name, Kept),
    text("cluster-announce-human-nodename", "", Kept),
    text("cluster-announce-client-ipv4", "", Kept),
    text("cluster-announce-client-ipv6", "", Kept),
    choice("cluster-preferred-endpoint-type", &["ip", "hostname", "unknown-endpoint"], 0, Kept),
    integer("cluster-blacklist-ttl", 0, LONG_MAX, 60, Kept),
    integer("cluster-manual-failover-timeout", 1, INT_MAX, 5000, Kept),
    integer("cluster-compatibility-sample-ratio", 0, 100, 0, Kept),
    flag("cluster-slot-stats-enabled", false, Kept),
    memory("cluster-slot-migration-handoff-max-lag-bytes", 0, LONG_MAX, MIB, Kept),
    integer("cluster-slot-migration-write-pause-timeout", 0, LONG_MAX, 10_000, Kept),
    integer("cluster-slot-migration-max-archived-tasks", 1, INT_MAX, 32, Kept).hidden(),

    // TLS.
    integer("tls-port", 0, 65_535, 0, number_at!(tls.port)),
    text("tls-cert-file", "", path_at!(tls.identity.certificate_file)),
    text("tls-key-file", "", path_at!(tls.identity.key_file)),
    text("tls-key-file-pass", "", bytes_at!(tls.identity.key_password)).secret(),
    text("tls-client-cert-file", "", path_at!(tls.client_identity.certificate_file)),
    text("tls-client-key-file", "", path_at!(tls.client_identity.key_file)),
    text("tls-client-key-file-pass", "", bytes_at!(tls.client_identity.key_password)).secret(),
    text("tls-dh-params-file", "", Kept),
    text("tls-ca-cert-file", "", path_at!(tls.ca_file)),
    text("tls-ca-cert-dir", "", path_at!(tls.ca_directory)),
    choice("tls-auth-clients", ClientAuth::NAMES, ClientAuth::Yes as usize, choice_at!(ClientAuth, tls.client_auth)),
    choice("tls-auth-clients-user", CertificateUser::NAMES, 0, choice_at!(CertificateUser, tls.user_from)),
    integer("tls-auto-reload-interval", 0, INT_MAX, 0, number_at!(tls.reload_interval_s)),
    // Nothing is replicated, and there is no cluster: the files are looked at, and there is nothing to encrypt.
    flag("tls-replication", false, flag_at!(tls.replication)).no_effect(),
    flag("tls-cluster", false, flag_at!(tls.cluster)).no_effect(),
    text("tls-expected-peer-name", "", Kept),
    text("tls-protocols", "", bytes_at!(tls.protocols)),
    text("tls-ciphers", "", bytes_at!(tls.ciphers)),
    text("tls-ciphersuites", "", bytes_at!(tls.cipher_suites)),
    flag("tls-prefer-server-ciphers", false, flag_at!(tls.prefers_own_ciphers)),
    flag("tls-session-caching", true, flag_at!(tls.caches_sessions)),
    integer("tls-session-cache-size", 0, INT_MAX, 20_480, number_at!(tls.sessions_max)),
    integer("tls-session-cache-timeout", 0, INT_MAX, 300, number_at!(tls.session_lifetime_s)),
];

#[cfg(test)]
mod tests {
    use super::super::directive::{Context, Kind};
    use super::super::load::tests::{FakeMachine, load, load_with};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_there_once() {
        let mut names = HashSet::new();
        for row in DIRECTIVES {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert!(row.alias.is_none_or(|alias| names.insert(alias)), "{:?} twice", row.alias);
        }
        for name in RETIRED.iter().chain(REFUSED.iter().map(|(name, _)| name)) {
            assert!(!names.contains(name), "{name} is a row and is not");
        }
    }

    #[test]
    fn every_name_that_other_servers_know_is_known_here() {
        let names = include_str!("known_names.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let is_known =
            |name: &str| directive(name.as_bytes()).is_some() || REFUSED.iter().any(|(refused, _)| *refused == name);
        let missing: Vec<&str> = names.clone().filter(|name| !is_known(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(names.count() > 250);
    }

    #[test]
    fn every_number_field_holds_both_ends_of_its_range() {
        let mut host = FakeMachine::default();
        let mut context = Context { host: &mut host, first_save: true, at_run_time: true };
        for row in DIRECTIVES {
            let Kind::Integer { min, max, default, notation, .. } = row.kind else { continue };
            assert!((min..=max).contains(&default), "{}", row.name);
            // hz is brought into range on purpose; a percentage is not written as it is held.
            if row.name == "hz" || notation == MemoryOrPercent {
                continue;
            }
            for value in [min.max(0), max] {
                let text = if notation == Octal { format!("{value:o}") } else { value.to_string() };
                let mut config = Config::default();
                row.set(&mut config, &[text.clone().into_bytes()], &mut context).expect("in range");
                assert_eq!(String::from_utf8_lossy(&row.get(&config)), text, "{}", row.name);
            }
        }
    }

    /// The lines of `torc.conf` that are directives with their defaults.
    fn documented_lines() -> impl Iterator<Item = &'static str> {
        let lines = include_str!("../../../torc.conf").lines().filter_map(|line| line.strip_prefix("# "));
        lines.filter(|line| {
            let word = line.split(' ').next().unwrap_or_default();
            // A sentence may begin with the name of a directive.
            directive(word.as_bytes()).is_some_and(|(_, name)| name == word)
        })
    }

    #[test]
    fn the_documented_file_names_every_directive_with_its_default() {
        let documented: HashSet<&str> = documented_lines().filter_map(|line| line.split(' ').next()).collect();
        for row in DIRECTIVES {
            assert!(documented.contains(row.name), "{} is not in torc.conf", row.name);
        }
        let text: String =
            documented_lines().filter(|line| !line.starts_with("shards")).map(|line| format!("{line}\n")).collect();
        let (loaded, plain) = (load_with(&["s", "/c"], &[("/c", &text)]), load(&["s"]));
        for row in DIRECTIVES {
            let [ours, default] = [&loaded.config, &plain.config].map(|config| String::from_utf8(row.get(config)));
            assert_eq!(ours, default, "{}", row.name);
        }
        load_with(&["s", "/c"], &[("/c", include_str!("../../../torc.conf"))]);
    }

    #[test]
    fn names_are_found_in_any_case_and_by_their_old_spelling() {
        assert_eq!(directive(b"PORT").map(|found| found.1), Some("port"));
        assert_eq!(
            directive(b"Slave-Priority").map(|(row, name)| (row.name, name)),
            Some(("replica-priority", "slave-priority"))
        );
        assert!(directive(b"nosuch").is_none());
    }
}
