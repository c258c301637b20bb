//! `/metrics`: INFO's fields under the names that redis_exporter gives them, so that dashboards and alerts made for it go on;
//! what it has no name for, in its manner; and per shard, `torc_shard_*`.

use super::pages::ShardView;
use super::report::{Report, pair};
use std::fmt::{Display, Write};

/// A kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Summary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Summary => "summary",
        }
    }
}

/// Fields that are gauges, and their metrics behind `redis_`; nothing: the same name. `ok` and `err` are 1 and 0.
#[rustfmt::skip]
const GAUGES: &[(&str, &str)] = &[
    // Server and clients.
    ("uptime_in_seconds", ""), ("process_id", ""), ("io_threads_active", ""), ("connected_clients", ""),
    ("blocked_clients", ""), ("maxclients", "max_clients"), ("tracking_clients", ""), ("pubsub_clients", ""),
    ("watching_clients", ""), ("clients_in_timeout_table", ""), ("cluster_connections", ""),
    ("total_watched_keys", ""), ("total_blocking_keys", ""), ("total_blocking_keys_on_nokey", ""),
    ("client_query_buffer_bytes", ""), ("client_output_buffer_bytes", ""),
    ("client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes"),
    ("client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes"),
    // Memory.
    ("allocator_active", "allocator_active_bytes"), ("allocator_allocated", "allocator_allocated_bytes"),
    ("allocator_resident", "allocator_resident_bytes"), ("allocator_frag_ratio", ""), ("allocator_frag_bytes", ""),
    ("allocator_rss_ratio", ""), ("allocator_rss_bytes", ""), ("used_memory", "memory_used_bytes"),
    ("used_memory_rss", "memory_used_rss_bytes"), ("used_memory_peak", "memory_used_peak_bytes"),
    ("used_memory_lua", "memory_used_lua_bytes"), ("used_memory_vm_eval", "memory_used_vm_eval_bytes"),
    ("used_memory_scripts_eval", "memory_used_scripts_eval_bytes"), ("used_memory_overhead", "memory_used_overhead_bytes"),
    ("used_memory_startup", "memory_used_startup_bytes"), ("used_memory_dataset", "memory_used_dataset_bytes"),
    ("number_of_cached_scripts", ""), ("number_of_functions", ""), ("number_of_libraries", ""),
    ("used_memory_vm_functions", "memory_used_vm_functions_bytes"), ("used_memory_vm_total", "memory_used_vm_total_bytes"),
    ("used_memory_scripts", "memory_used_scripts_bytes"), ("used_memory_functions", "memory_used_functions_bytes"),
    ("total_system_memory", "total_system_memory_bytes"), ("maxmemory", "memory_max_bytes"),
    ("mem_fragmentation_ratio", ""), ("mem_fragmentation_bytes", ""), ("mem_clients_slaves", ""), ("mem_clients_normal", ""),
    ("mem_cluster_links", "mem_cluster_links_bytes"), ("mem_aof_buffer", "mem_aof_buffer_bytes"),
    ("mem_not_counted_for_evict", "mem_not_counted_for_eviction_bytes"),
    ("mem_total_replication_buffers", "mem_total_replication_buffers_bytes"), ("active_defrag_running", ""),
    ("lazyfree_pending_objects", ""),
    // Persistence.
    ("loading", "loading_dump_file"), ("async_loading", ""), ("loading_total_bytes", ""), ("loading_loaded_bytes", ""),
    ("rdb_changes_since_last_save", ""), ("rdb_bgsave_in_progress", ""), ("rdb_last_save_time", "rdb_last_save_timestamp_seconds"),
    ("rdb_last_bgsave_status", ""), ("rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec"),
    ("rdb_current_bgsave_time_sec", "rdb_current_bgsave_duration_sec"), ("rdb_last_cow_size", "rdb_last_cow_size_bytes"),
    ("current_save_keys_processed", ""), ("current_save_keys_total", ""), ("snapshot_buffered_bytes", ""),
    ("snapshot_view_bytes", ""), ("aof_enabled", ""), ("aof_rewrite_in_progress", ""), ("aof_rewrite_scheduled", ""),
    ("aof_last_rewrite_time_sec", "aof_last_rewrite_duration_sec"), ("aof_current_rewrite_time_sec", "aof_current_rewrite_duration_sec"),
    ("aof_last_cow_size", "aof_last_cow_size_bytes"), ("aof_current_size", "aof_current_size_bytes"),
    ("aof_base_size", "aof_base_size_bytes"), ("aof_pending_rewrite", ""), ("aof_buffer_length", ""),
    ("aof_pending_bio_fsync", ""), ("aof_delayed_fsync", ""), ("aof_last_bgrewrite_status", ""), ("aof_last_write_status", ""),
    ("module_fork_in_progress", ""), ("module_fork_last_cow_size", ""),
    // Statistics.
    ("instantaneous_ops_per_sec", ""), ("instantaneous_input_kbps", ""), ("instantaneous_output_kbps", ""),
    ("pubsub_channels", ""), ("pubsub_patterns", ""), ("pubsubshard_channels", ""), ("latest_fork_usec", "latest_fork_seconds"),
    ("tracking_total_keys", ""), ("tracking_total_items", ""), ("tracking_total_prefixes", ""),
    ("active_defrag_hits", "defrag_hits"), ("active_defrag_misses", "defrag_misses"),
    ("active_defrag_key_hits", "defrag_key_hits"), ("active_defrag_key_misses", "defrag_key_misses"),
    ("expired_stale_perc", "expired_stale_percentage"), ("expired_time_cap_reached_count", "expired_time_cap_reached_total"),
    ("migrate_cached_sockets", "migrate_cached_sockets_total"), ("slave_expires_tracked_keys", ""),
    ("sync_full", "replica_resyncs_full"), ("sync_partial_ok", "replica_partial_resync_accepted"),
    ("sync_partial_err", "replica_partial_resync_denied"), ("current_eviction_exceeded_time", "current_eviction_exceeded_milliseconds"),
    // Replication and cluster.
    ("connected_slaves", ""), ("master_repl_offset", ""), ("second_repl_offset", ""), ("repl_backlog_active", "repl_backlog_is_active"),
    ("repl_backlog_size", "replication_backlog_bytes"), ("repl_backlog_first_byte_offset", ""),
    ("repl_backlog_histlen", "repl_backlog_history_bytes"), ("cluster_enabled", ""),
];

/// Fields that only grow.
#[rustfmt::skip]
const COUNTERS: &[(&str, &str)] = &[
    ("total_connections_received", "connections_received_total"), ("total_commands_processed", "commands_processed_total"),
    ("rejected_connections", "rejected_connections_total"), ("total_net_input_bytes", "net_input_bytes_total"),
    ("total_net_output_bytes", "net_output_bytes_total"), ("total_net_repl_input_bytes", "net_repl_input_bytes_total"),
    ("total_net_repl_output_bytes", "net_repl_output_bytes_total"), ("expired_keys", "expired_keys_total"),
    ("evicted_keys", "evicted_keys_total"), ("evicted_clients", "evicted_clients_total"), ("evicted_scripts", "evicted_scripts_total"),
    ("keyspace_hits", "keyspace_hits_total"), ("keyspace_misses", "keyspace_misses_total"),
    ("total_eviction_exceeded_time", "eviction_exceeded_milliseconds_total"), ("lazyfreed_objects", "lazyfreed_objects_total"),
    ("auth_attempts_refused", "auth_attempts_refused_total"), ("auth_addresses_refused", "auth_addresses_refused_total"),
    ("rdb_saves", "rdb_saves_total"), ("aof_rewrites", "aof_rewrites_total"),
    ("unexpected_error_replies", ""), ("total_error_replies", ""), ("dump_payload_sanitizations", ""),
    ("total_reads_processed", ""), ("total_writes_processed", ""), ("io_threaded_reads_processed", ""), ("io_threaded_writes_processed", ""),
    ("used_cpu_sys", "cpu_sys_seconds_total"), ("used_cpu_user", "cpu_user_seconds_total"),
    ("used_cpu_sys_children", "cpu_sys_children_seconds_total"), ("used_cpu_user_children", "cpu_user_children_seconds_total"),
    ("used_cpu_sys_main_thread", "cpu_sys_main_thread_seconds_total"), ("used_cpu_user_main_thread", "cpu_user_main_thread_seconds_total"),
];

/// Fields that are labels of `redis_instance_info`.
const LABELS: [&str; 9] = [
    "role",
    "redis_version",
    "redis_mode",
    "os",
    "maxmemory_policy",
    "tcp_port",
    "run_id",
    "process_id",
    "master_replid",
];

/// A metric of a shard: its name, its kind, what it says, and its value.
type OfShard = (&'static str, Kind, &'static str, fn(&ShardView) -> f64);

/// What is told of each shard, behind `torc_shard_`.
const OF_SHARDS: &[OfShard] = &[
    ("commands_total", Kind::Counter, "Commands run for clients of the shard", |view| {
        view.known.figures.commands as f64
    }),
    ("ops_per_second", Kind::Gauge, "Commands a second, lately", |view| view.known.figures.rates.commands),
    ("connections", Kind::Gauge, "Clients of the shard", |view| view.known.figures.connections as f64),
    ("blocked_clients", Kind::Gauge, "Of them, those that wait", |view| view.known.figures.blocked as f64),
    ("keys", Kind::Gauge, "Keys", |view| {
        view.known.figures.databases.iter().map(|database| database.keys).sum::<usize>() as f64
    }),
    ("memory_used_bytes", Kind::Gauge, "Bytes in keys and values", |view| view.known.figures.used_bytes as f64),
    ("memory_allocated_bytes", Kind::Gauge, "Bytes that its thread has taken, less those it gave back", |view| {
        view.known.figures.allocated_bytes as f64
    }),
    ("keyspace_hits_total", Kind::Counter, "Keys found", |view| view.known.figures.hits as f64),
    ("keyspace_misses_total", Kind::Counter, "Keys missed", |view| view.known.figures.misses as f64),
    ("cross_shard_requests_total", Kind::Counter, "Requests to other shards", |view| {
        view.known.figures.requests_sent as f64
    }),
    ("cross_shard_messages_total", Kind::Counter, "Messages to other shards", |view| {
        view.known.figures.messages_sent as f64
    }),
    ("lock_waits_total", Kind::Counter, "Units that waited for a lock", |view| view.known.figures.lock_waits as f64),
    ("wakes_total", Kind::Counter, "Sleeping shards that it woke", |view| view.known.figures.wakes as f64),
    ("turns_total", Kind::Counter, "Turns of its loop", |view| view.known.figures.turns as f64),
    (
        "longest_turn_seconds",
        Kind::Gauge,
        "The most processor time of a turn since the last CONFIG RESETSTAT",
        |view| view.known.figures.longest_turn_ns as f64 / 1e9,
    ),
    ("heartbeat_age_seconds", Kind::Gauge, "How long ago it was seen to turn", |view| view.heartbeat_age.as_secs_f64()),
    ("hanging_seconds", Kind::Gauge, "For how long it has not served, 0 while it does", |view| {
        view.hang.as_ref().map_or(0.0, |hang| hang.duration.as_secs_f64())
    }),
    ("stale", Kind::Gauge, "1: it did not answer, these are its last known figures", |view| {
        f64::from(u8::from(view.known.is_stale))
    }),
    ("figures_age_seconds", Kind::Gauge, "How old its figures are", |view| {
        view.age.map_or(f64::NAN, |age| age.as_secs_f64())
    }),
];

/// The whole page.
pub(super) fn write(report: &Report, views: &[ShardView], database_count: usize) -> String {
    let mut page = Page(String::with_capacity(32 * 1024));
    page.head("redis_up", Kind::Gauge, "The server answers");
    page.line("redis_up", &[], 1);
    let labels: Vec<_> = LABELS.iter().filter_map(|name| Some((*name, report.get(name)?))).collect();
    page.head("redis_instance_info", Kind::Gauge, "Which server this is");
    page.line("redis_instance_info", &labels, 1);
    if let (Some(now_us), Some(uptime_s)) = (report.number("server_time_usec"), report.number("uptime_in_seconds")) {
        page.head("redis_start_time_seconds", Kind::Gauge, "When the process started");
        page.line("redis_start_time_seconds", &[], (now_us / 1e6 - uptime_s).floor());
    }
    fields(&mut page, report, Kind::Gauge, GAUGES);
    fields(&mut page, report, Kind::Counter, COUNTERS);
    commands(&mut page, report);
    latency(&mut page, report);
    errors(&mut page, report);
    databases(&mut page, report, database_count);
    shards(&mut page, report, views);
    page.0
}

fn fields(page: &mut Page, report: &Report, kind: Kind, rows: &[(&str, &str)]) {
    for (field, metric) in rows {
        let Some(value) = report.get(field) else { continue };
        let metric = format!("redis_{}", if metric.is_empty() { field } else { metric });
        let value = match value {
            "ok" => "1".to_owned(),
            "err" => "0".to_owned(),
            _ => match (value.parse::<f64>(), *field) {
                (Ok(us), "latest_fork_usec") => (us / 1e6).to_string(),
                (Ok(_), _) => value.to_owned(),
                (Err(_), _) => continue,
            },
        };
        page.head(&metric, kind, format_args!("{field} of INFO"));
        page.line(&metric, &[], value);
    }
}

fn commands(page: &mut Page, report: &Report) {
    let rows: [(&str, &str, &str); 4] = [
        ("calls", "redis_commands_total", "Calls of each command"),
        ("usec", "redis_commands_duration_seconds_total", "Time that each command took"),
        ("rejected_calls", "redis_commands_rejected_calls_total", "Calls that were refused before they ran"),
        ("failed_calls", "redis_commands_failed_calls_total", "Calls that were answered with an error"),
    ];
    for (field, metric, help) in rows {
        page.head(metric, Kind::Counter, help);
        for (name, pairs) in report.lists("cmdstat_") {
            let Some(value) = pair(&pairs, field) else { continue };
            let label = [("cmd", name)];
            match value.parse::<f64>() {
                Ok(us) if field == "usec" => page.line(metric, &label, us / 1e6),
                Ok(_) => page.line(metric, &label, value),
                Err(_) => {}
            }
        }
    }
}

/// Percentiles of each command, where they are kept.
fn latency(page: &mut Page, report: &Report) {
    const METRIC: &str = "redis_latency_percentiles_usec";
    let mut lists = report.lists("latency_percentiles_usec_").peekable();
    if lists.peek().is_none() {
        return;
    }
    page.head(METRIC, Kind::Summary, "Percentiles of the time that each command took");
    for (name, points) in lists {
        for (point, usec) in points.iter().filter(|(_, usec)| usec.parse::<f64>().is_ok()) {
            page.line(METRIC, &[("cmd", name), ("quantile", point.trim_start_matches('p'))], usec);
        }
        let Some((_, stats)) = report.lists("cmdstat_").find(|(command, _)| *command == name) else { continue };
        for (field, suffix) in [("usec", "_sum"), ("calls", "_count")] {
            if let Some(value) = pair(&stats, field) {
                page.line(&format!("{METRIC}{suffix}"), &[("cmd", name)], value);
            }
        }
    }
}

fn errors(page: &mut Page, report: &Report) {
    page.head("redis_errors_total", Kind::Counter, "Error replies by their first word");
    for (kind, pairs) in report.lists("errorstat_") {
        if let Some(count) = pair(&pairs, "count") {
            page.line("redis_errors_total", &[("err", kind)], count);
        }
    }
}

fn databases(page: &mut Page, report: &Report, database_count: usize) {
    let databases = || report.lists("db").filter(|(rest, _)| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let rows: [(&str, &str, &str, f64); 3] = [
        ("keys", "redis_db_keys", "Keys of each database", 1.0),
        ("expires", "redis_db_keys_expiring", "Keys with a time to live", 1.0),
        ("avg_ttl", "redis_db_avg_ttl_seconds", "Their average time to live", 1000.0),
    ];
    for (field, metric, help, divisor) in rows {
        page.head(metric, Kind::Gauge, help);
        for (index, pairs) in databases() {
            if let Some(Ok(value)) = pair(&pairs, field).map(str::parse::<f64>) {
                page.line(metric, &[("db", &format!("db{index}"))], value / divisor);
            }
        }
        // A database that has become empty is told of as such, not left out.
        if field == "avg_ttl" {
            continue;
        }
        for index in (0..database_count).filter(|index| !databases().any(|(found, _)| found == index.to_string())) {
            page.line(metric, &[("db", &format!("db{index}"))], 0);
        }
    }
}

fn shards(page: &mut Page, report: &Report, views: &[ShardView]) {
    page.head("torc_info", Kind::Gauge, "Which version of Torc this is");
    page.line("torc_info", &[("version", report.get("torc_version").unwrap_or_default())], 1);
    page.head("torc_shards", Kind::Gauge, "Shards of this server");
    page.line("torc_shards", &[], views.len());
    for (name, kind, help, of) in OF_SHARDS {
        let metric = format!("torc_shard_{name}");
        page.head(&metric, *kind, help);
        for view in views {
            page.line(&metric, &[("shard", &view.known.figures.shard.to_string())], of(view));
        }
    }
}

/// Lines in the making. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn head(&mut self, metric: &str, kind: Kind, help: impl Display) {
        let _ = write!(self.0, "# HELP {metric} {help}\n# TYPE {metric} {}\n", kind.name());
    }

    fn line(&mut self, metric: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(metric);
        for (index, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{name}=\"", if index == 0 { '{' } else { ',' });
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_field_and_every_metric_is_there_once() {
        let (mut names, mut metrics) = (HashSet::new(), HashSet::new());
        for (field, metric) in GAUGES.iter().chain(COUNTERS) {
            assert!(names.insert(field), "{field} twice");
            assert!(metrics.insert(if metric.is_empty() { field } else { metric }), "{metric} twice");
        }
    }

    #[test]
    fn fields_become_metrics() {
        let text = "maxmemory_policy:no\"evict\\ion\r\nused_memory:18446744073709551615\r\nrdb_last_bgsave_status:err\r\n\
                    latest_fork_usec:250\r\ncmdstat_client|list:calls=2,usec=5,rejected_calls=0,failed_calls=1\r\n\
                    latency_percentiles_usec_client|list:p50=1.003,p99.9=9.02\r\nerrorstat_ERR:count=3\r\n\
                    db3:keys=4,expires=1,avg_ttl=1500\r\nkeyspace_hits:7\r\n";
        let page = write(&Report::parse(text), &[], 5);
        for line in [
            "redis_up 1",
            "redis_instance_info{maxmemory_policy=\"no\\\"evict\\\\ion\"} 1",
            "# TYPE redis_memory_used_bytes gauge\nredis_memory_used_bytes 18446744073709551615",
            "redis_rdb_last_bgsave_status 0",
            "redis_latest_fork_seconds 0.00025",
            "redis_commands_total{cmd=\"client|list\"} 2",
            "redis_commands_duration_seconds_total{cmd=\"client|list\"} 0.000005",
            "redis_latency_percentiles_usec{cmd=\"client|list\",quantile=\"99.9\"} 9.02",
            "redis_latency_percentiles_usec_sum{cmd=\"client|list\"} 5",
            "redis_errors_total{err=\"ERR\"} 3",
            "redis_db_avg_ttl_seconds{db=\"db3\"} 1.5",
            "redis_db_keys{db=\"db4\"} 0",
            "# TYPE redis_keyspace_hits_total counter\nredis_keyspace_hits_total 7",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line} is not in:\n{page}");
        }
    }
}
