//! The sections of INFO, in the real server's order and names; `shards` is Torc's own.

use super::process::ProcessFigures;
use crate::access::Reason;
use crate::config::Config;
use crate::control::{DatabaseFigures, ShardFigures};
use crate::core::CallCounts;
use crate::insight::histograms::Histograms;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use torc_engine::error_counts::ErrorCounts;
use torc_engine::keyspace::KeySizes;
use torc_engine::values::Type;
use torc_scripting::libraries::Engine;

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Shards,
    Replication,
    Threads,
    Cpu,
    Modules,
    CommandStats,
    ErrorStats,
    LatencyStats,
    Cluster,
    Keyspace,
    KeySizes,
    Debug,
}

/// In the order in which they are shown, with the name that asks for each.
const SECTIONS: [(Section, &str); 17] = [
    (Section::Server, "server"),
    (Section::Clients, "clients"),
    (Section::Memory, "memory"),
    (Section::Persistence, "persistence"),
    (Section::Stats, "stats"),
    (Section::Shards, "shards"),
    (Section::Replication, "replication"),
    (Section::Threads, "threads"),
    (Section::Cpu, "cpu"),
    (Section::Modules, "modules"),
    (Section::CommandStats, "commandstats"),
    (Section::ErrorStats, "errorstats"),
    (Section::LatencyStats, "latencystats"),
    (Section::Cluster, "cluster"),
    (Section::Keyspace, "keyspace"),
    (Section::KeySizes, "keysizes"),
    (Section::Debug, "debug"),
];

/// Which sections were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sections(Vec<Section>);

impl Sections {
    /// Names, and the groups `default`, `all` and `everything`; nothing is `default`. Unknown names are no error. `debug` is in
    /// no group: it has to be asked for.
    pub(super) fn parse(names: &[&[u8]]) -> Self {
        let is_wanted = |section: Section, own_name: &str| {
            let is_grouped = section != Section::Debug;
            let is_default =
                is_grouped && !matches!(section, Section::CommandStats | Section::LatencyStats | Section::KeySizes);
            let fits = |name: &&[u8]| match name.to_ascii_lowercase().as_slice() {
                b"default" => is_default,
                b"all" => is_grouped && section != Section::Modules,
                b"everything" => is_grouped,
                name => name == own_name.as_bytes(),
            };
            if names.is_empty() { is_default } else { names.iter().any(fits) }
        };
        Self(SECTIONS.iter().filter(|(section, name)| is_wanted(*section, name)).map(|(section, _)| *section).collect())
    }
}

impl Sections {
    /// Whether shards are to tell what became of each command, and how large values are.
    pub(super) fn is_detailed(&self) -> bool {
        [Section::CommandStats, Section::LatencyStats, Section::KeySizes].iter().any(|section| self.0.contains(section))
    }
}

/// All that INFO knows.
pub(super) struct Report<'a> {
    shared: &'a Shared,
    config: Config,
    process: ProcessFigures,
    shards: &'a [ShardFigures],
    now_us: i64,
}

impl<'a> Report<'a> {
    /// Of these shards, now.
    pub(super) fn new(shared: &'a Shared, shards: &'a [ShardFigures], now_us: i64) -> Self {
        Self { shared, config: shared.config().clone(), process: ProcessFigures::read(), shards, now_us }
    }

    /// The sections as text.
    pub(super) fn write(&self, sections: &Sections) -> String {
        let mut text = Text(String::with_capacity(4096));
        for section in &sections.0 {
            match section {
                Section::Server => self.server(&mut text),
                Section::Clients => self.clients(&mut text),
                Section::Memory => self.memory(&mut text),
                Section::Persistence => self.persistence(&mut text),
                Section::Stats => self.stats(&mut text),
                Section::Shards => self.shards(&mut text),
                Section::Replication => self.replication(&mut text),
                Section::Threads => self.threads(&mut text),
                Section::Cpu => self.cpu(&mut text),
                Section::Modules => text.title("Modules"),
                Section::CommandStats => self.command_stats(&mut text),
                Section::ErrorStats => self.error_stats(&mut text),
                Section::LatencyStats => self.latency_stats(&mut text),
                Section::Cluster => {
                    text.title("Cluster");
                    text.field("cluster_enabled", 0);
                }
                Section::Keyspace => self.keyspace(&mut text),
                Section::KeySizes => self.key_sizes(&mut text),
                Section::Debug => self.debug(&mut text),
            }
        }
        text.0
    }

    fn sum(&self, figure: impl Fn(&ShardFigures) -> u64) -> u64 {
        self.shards.iter().map(figure).sum()
    }

    fn server(&self, text: &mut Text) {
        let config = &self.config;
        let uptime_s = (self.now_us / 1000 - self.shared.started_ms).max(0) / 1000;
        text.title("Server");
        text.field("redis_version", &config.redis_version);
        text.field("torc_version", env!("CARGO_PKG_VERSION"));
        text.field("redis_mode", "standalone");
        text.field("os", format_args!("Linux {} {}", self.process.kernel, std::env::consts::ARCH));
        text.field("arch_bits", usize::BITS);
        text.field("monotonic_clock", "POSIX clock_gettime");
        text.field("multiplexing_api", "io_uring");
        text.field("process_id", std::process::id());
        text.field("process_supervised", config.process.supervised_by.name());
        text.field("run_id", &self.shared.run_id);
        text.field("tcp_port", config.main_port());
        text.field("server_time_usec", self.now_us);
        text.field("uptime_in_seconds", uptime_s);
        text.field("uptime_in_days", uptime_s / 86_400);
        text.field("hz", config.process.hz);
        text.field("configured_hz", config.process.hz);
        text.field("lru_clock", (self.now_us / 1_000_000) & 0x00ff_ffff);
        text.field("executable", self.process.executable.display());
        let file = config.process.config_file.as_ref().map(|file| file.display().to_string());
        text.field("config_file", file.unwrap_or_default());
        text.field("io_threads_active", 0);
        text.field("shards", self.shards.len());
    }

    fn clients(&self, text: &mut Text) {
        text.title("Clients");
        text.field("connected_clients", self.sum(|shard| shard.connections as u64));
        text.field("cluster_connections", 0);
        text.field("maxclients", self.config.clients.count_max);
        let recent = |index: usize| self.shards.iter().map(|shard| shard.recent_max_bytes[index]).max().unwrap_or(0);
        text.field("client_recent_max_input_buffer", recent(0));
        text.field("client_recent_max_output_buffer", recent(1));
        text.field("client_query_buffer_bytes", self.sum(|shard| shard.query_bytes as u64));
        text.field("client_output_buffer_bytes", self.sum(|shard| shard.output_bytes as u64));
        text.field("blocked_clients", self.sum(|shard| shard.blocked as u64));
        text.field("tracking_clients", self.sum(|shard| shard.tracking[0] as u64));
        text.field("pubsub_clients", self.sum(|shard| shard.subscribers as u64));
        text.field("watching_clients", self.sum(|shard| shard.watching as u64));
        text.field("clients_in_timeout_table", 0);
        text.field("total_watched_keys", self.sum(|shard| shard.watched_keys as u64));
        text.field("total_blocking_keys", self.sum(|shard| shard.awaited_keys[0] as u64));
        text.field("total_blocking_keys_on_nokey", self.sum(|shard| shard.awaited_keys[1] as u64));
    }

    /// `used_memory` is what the allocator has handed out; where it does not count, what the keyspace knows of.
    fn memory(&self, text: &mut Text) {
        let process = &self.process;
        let MemoryFigures { used, peak, startup, dataset, overhead } = MemoryFigures::of(self.shared, self.shards);
        text.title("Memory");
        text.bytes("used_memory", used);
        text.bytes("used_memory_rss", process.resident_bytes);
        text.bytes("used_memory_peak", peak);
        text.field("used_memory_peak_perc", format_args!("{:.2}%", percent(used, peak)));
        text.field("used_memory_overhead", overhead);
        text.field("used_memory_startup", startup);
        text.field("used_memory_dataset", dataset);
        let of_all = percent(dataset, used.saturating_sub(startup)).min(100.0);
        text.field("used_memory_dataset_perc", format_args!("{of_all:.2}%"));
        text.field("allocator_allocated", used);
        text.field("allocator_active", process.resident_bytes.max(used));
        text.field("allocator_resident", process.resident_bytes.max(used));
        text.bytes("total_system_memory", process.machine_bytes);
        self.scripts(text);
        text.bytes("maxmemory", self.config.memory.bytes_max);
        text.field("maxmemory_policy", self.config.memory.policy.name());
        let ratio = |whole: u64, part: u64| if part == 0 { 0.0 } else { whole as f64 / part as f64 };
        let surplus = |whole: u64, part: u64| whole as i64 - part as i64;
        text.field("allocator_frag_ratio", format_args!("{:.2}", ratio(process.resident_bytes.max(used), used)));
        text.field("allocator_frag_bytes", process.resident_bytes.saturating_sub(used));
        text.field("allocator_rss_ratio", "1.00");
        text.field("allocator_rss_bytes", 0);
        text.field("rss_overhead_ratio", "1.00");
        text.field("rss_overhead_bytes", 0);
        text.field("mem_fragmentation_ratio", format_args!("{:.2}", ratio(process.resident_bytes, used)));
        text.field("mem_fragmentation_bytes", surplus(process.resident_bytes, used));
        text.field("mem_not_counted_for_evict", 0);
        text.field("mem_replication_backlog", 0);
        text.field("mem_total_replication_buffers", 0);
        text.field("mem_clients_slaves", 0);
        text.field("mem_clients_normal", self.sum(|shard| shard.client_bytes as u64));
        text.field("mem_cluster_links", 0);
        text.field("mem_aof_buffer", self.shared.append_log.queued_bytes());
        text.field("mem_allocator", "mimalloc");
        // No table is rebuilt: one grows by a page at a time.
        text.field("mem_overhead_db_hashtable_rehashing", 0);
        text.field("active_defrag_running", 0);
        text.field("lazyfree_pending_objects", self.sum(|shard| shard.garbage_pending as u64));
        text.field("lazyfreed_objects", self.sum(|shard| shard.lazily_freed));
    }

    /// Texts are kept once, interpreters on each shard.
    fn scripts(&self, text: &mut Text) {
        let functions = self.shared.scripting.functions();
        let (libraries, count) = Engine::ALL.iter().fold((0, 0), |(libraries, count), engine| {
            let of_engine = functions.counts(*engine);
            (libraries + of_engine.0, count + of_engine.1)
        });
        let function_bytes: u64 = functions.libraries().map(|library| library.code.len() as u64).sum();
        let (script_count, script_bytes) = {
            let scripts = self.shared.scripting.scripts();
            (scripts.len(), scripts.bytes() as u64)
        };
        let vm_eval = self.sum(|shard| shard.interpreter_bytes[0] as u64);
        let vm_functions = self.sum(|shard| shard.interpreter_bytes[1] as u64);
        text.bytes("used_memory_lua", vm_eval);
        text.field("used_memory_vm_eval", vm_eval);
        text.field("used_memory_scripts_eval", script_bytes);
        text.field("number_of_cached_scripts", script_count);
        text.field("number_of_functions", count);
        text.field("number_of_libraries", libraries);
        text.field("used_memory_vm_functions", vm_functions);
        text.bytes("used_memory_vm_total", vm_eval + vm_functions);
        text.field("used_memory_functions", function_bytes);
        text.bytes("used_memory_scripts", script_bytes + function_bytes);
    }

    /// `*_cow_size` is what the shards keep for the disk: nothing is copied because of a snapshot but that.
    fn persistence(&self, text: &mut Text) {
        let (shared, now_ms) = (self.shared, self.now_us / 1000);
        let loading = &shared.loading;
        let is_loading = loading.is_loading.load(Relaxed);
        let saves = shared.saves.figures().clone();
        let running = saves.running.as_ref();
        let of_running = |figure: fn(&Snapshot) -> u64| running.map_or(0, |(snapshot, _)| figure(snapshot));
        let (kept, peak) = (
            of_running(|snapshot| snapshot.kept_bytes.load(Relaxed)),
            of_running(|snapshot| snapshot.kept_bytes_peak.load(Relaxed)),
        );
        let (done, all) = (
            of_running(|snapshot| snapshot.keys_done.load(Relaxed)),
            of_running(|snapshot| snapshot.keys.load(Relaxed)),
        );
        text.title("Persistence");
        text.field("loading", u8::from(is_loading));
        text.field("async_loading", 0);
        text.field("current_cow_peak", peak);
        text.field("current_cow_size", kept);
        text.field("current_cow_size_age", 0);
        text.field("current_fork_perc", format_args!("{:.2}", percent(done, all)));
        text.field("current_save_keys_processed", done);
        text.field("current_save_keys_total", all);
        text.field("rdb_changes_since_last_save", self.sum(|shard| shard.dirty).saturating_sub(saves.dirty_at_last));
        text.field("rdb_bgsave_in_progress", u8::from(running.is_some()));
        text.field("rdb_last_save_time", saves.last_s);
        text.field("rdb_last_bgsave_status", if saves.is_last_good { "ok" } else { "err" });
        text.field("rdb_last_bgsave_time_sec", saves.last_took_s.unwrap_or(-1));
        text.field("rdb_current_bgsave_time_sec", running.map_or(-1, |(_, began_ms)| (now_ms - began_ms) / 1000));
        text.field("rdb_saves", saves.good);
        text.field("rdb_last_cow_size", saves.last_kept_bytes);
        text.field("snapshot_buffered_bytes", kept);
        text.field("snapshot_buffered_bytes_peak", running.map_or(saves.last_kept_bytes, |_| peak));
        text.field("snapshot_view_bytes", of_running(|snapshot| snapshot.view_bytes.load(Relaxed)));
        let spilled = of_running(|snapshot| snapshot.spilled_bytes.load(Relaxed));
        text.field("snapshot_spilled_bytes", running.map_or(saves.last_spilled_bytes, |_| spilled));
        text.field("rdb_last_load_keys_expired", loading.keys_expired.load(Relaxed));
        text.field("rdb_last_load_keys_loaded", loading.keys.load(Relaxed));
        self.append_log(text, now_ms);
        if is_loading {
            self.loading(text, now_ms);
        }
    }

    fn append_log(&self, text: &mut Text, now_ms: i64) {
        let log = &self.shared.append_log;
        let (figures, rewrites) = (log.figures().clone(), log.rewrites().clone());
        let status = |is_good| if is_good { "ok" } else { "err" };
        text.field("aof_enabled", u8::from(log.is_on()));
        text.field("aof_rewrite_in_progress", u8::from(rewrites.running_since_ms.is_some()));
        text.field("aof_rewrite_scheduled", u8::from(rewrites.is_scheduled));
        text.field("aof_last_rewrite_time_sec", rewrites.last_took_s.unwrap_or(-1));
        let current_s = rewrites.running_since_ms.map_or(-1, |since_ms| (now_ms - since_ms).max(0) / 1000);
        text.field("aof_current_rewrite_time_sec", current_s);
        text.field("aof_last_bgrewrite_status", status(rewrites.is_last_good));
        text.field("aof_rewrites", rewrites.count);
        text.field("aof_rewrites_consecutive_failures", rewrites.failures);
        text.field("aof_last_write_status", status(figures.failure.is_none()));
        text.field("aof_last_cow_size", 0);
        text.field("module_fork_in_progress", 0);
        text.field("module_fork_last_cow_size", 0);
        if log.is_on() {
            text.field("aof_current_size", figures.size);
            text.field("aof_base_size", figures.base_size);
            text.field("aof_pending_rewrite", 0);
            text.field("aof_buffer_length", log.queued_bytes());
            text.field("aof_pending_bio_fsync", u8::from(figures.is_syncing));
            text.field("aof_delayed_fsync", figures.delayed_syncs);
        }
    }

    fn loading(&self, text: &mut Text, now_ms: i64) {
        let loading = &self.shared.loading;
        let (began_ms, all, done) =
            (loading.began_ms.load(Relaxed), loading.bytes.load(Relaxed), loading.bytes_done.load(Relaxed));
        let elapsed_s = ((now_ms - began_ms) / 1000).max(0) as u64;
        let left_s = (elapsed_s * all.saturating_sub(done)).checked_div(done).unwrap_or(1);
        text.field("loading_start_time", began_ms / 1000);
        text.field("loading_total_bytes", all);
        text.field("loading_rdb_used_mem", 0);
        text.field("loading_loaded_bytes", done);
        text.field("loading_loaded_perc", format_args!("{:.2}", percent(done, all)));
        text.field("loading_eta_seconds", left_s);
    }

    fn stats(&self, text: &mut Text) {
        let rate = |figure: fn(&ShardFigures) -> f64| self.shards.iter().map(figure).sum::<f64>();
        text.title("Stats");
        text.field("total_connections_received", self.sum(|shard| shard.accepted));
        text.field("total_commands_processed", self.sum(|shard| shard.commands));
        text.field("instantaneous_ops_per_sec", rate(|shard| shard.rates.commands).round());
        text.field("total_net_input_bytes", self.sum(|shard| shard.received_bytes));
        text.field("total_net_output_bytes", self.sum(|shard| shard.sent_bytes));
        text.field("total_net_repl_input_bytes", 0);
        text.field("total_net_repl_output_bytes", 0);
        let input = rate(|shard| shard.rates.received_bytes) / 1024.0;
        text.field("instantaneous_input_kbps", format_args!("{input:.2}"));
        let output = rate(|shard| shard.rates.sent_bytes) / 1024.0;
        text.field("instantaneous_output_kbps", format_args!("{output:.2}"));
        text.field("instantaneous_input_repl_kbps", "0.00");
        text.field("instantaneous_output_repl_kbps", "0.00");
        text.field("rejected_connections", self.sum(|shard| shard.rejected));
        text.field("sync_full", 0);
        text.field("sync_partial_ok", 0);
        text.field("sync_partial_err", 0);
        text.field("expired_keys", self.sum(|shard| shard.expired));
        text.field("expired_time_cap_reached_count", self.sum(|shard| shard.expiry[0]));
        text.field("expire_cycle_cpu_milliseconds", self.sum(|shard| shard.expiry[1]) / 1_000_000);
        text.field("evicted_keys", self.sum(|shard| shard.evicted));
        text.field("evicted_clients", self.sum(|shard| shard.evicted_clients));
        text.field("evicted_scripts", self.shared.scripting.scripts().evicted());
        let since_ms = self.shared.exceeded_since_ms.load(Relaxed);
        let current_ms = if since_ms == 0 { 0 } else { (self.now_us / 1000 - since_ms).max(0) };
        text.field("total_eviction_exceeded_time", self.shared.exceeded_total_ms.load(Relaxed) + current_ms);
        text.field("current_eviction_exceeded_time", current_ms);
        text.field("keyspace_hits", self.sum(|shard| shard.hits));
        text.field("keyspace_misses", self.sum(|shard| shard.misses));
        let channels = self.shards.first().map_or([0; 4], |shard| shard.channels);
        for (name, count) in ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"].iter().zip(channels) {
            text.field(name, count);
        }
        text.field("latest_fork_usec", 0);
        text.field("total_forks", 0);
        text.field("migrate_cached_sockets", 0);
        text.field("slave_expires_tracked_keys", 0);
        for name in ["hits", "misses", "key_hits", "key_misses"] {
            text.field(&format!("active_defrag_{name}"), 0);
        }
        text.field("total_active_defrag_time", 0);
        text.field("current_active_defrag_time", 0);
        text.field("tracking_total_keys", self.sum(|shard| shard.tracking[1] as u64));
        text.field("tracking_total_items", self.sum(|shard| shard.tracking[2] as u64));
        text.field("tracking_total_prefixes", self.shards.first().map_or(0, |shard| shard.channels[3]));
        text.field("unexpected_error_replies", 0);
        text.field("total_error_replies", self.sum(|shard| shard.errors.total()));
        text.field("dump_payload_sanitizations", 0);
        text.field("total_reads_processed", self.sum(|shard| shard.reads));
        text.field("total_writes_processed", self.sum(|shard| shard.writes));
        text.field("io_threaded_reads_processed", 0);
        text.field("io_threaded_writes_processed", 0);
        let disconnections = |index: usize| self.sum(|shard| shard.limit_disconnections[index]);
        text.field("client_query_buffer_limit_disconnections", disconnections(0));
        text.field("client_output_buffer_limit_disconnections", disconnections(1));
        let took = |index: usize| self.sum(|shard| shard.turns_took[index]);
        text.field("eventloop_cycles", took(0));
        text.field("eventloop_duration_sum", took(1) / 1000);
        text.field("eventloop_duration_cmd_sum", took(2) / 1000);
        let turns = rate(|shard| shard.rates.turns);
        text.field("instantaneous_eventloop_cycles_per_sec", turns.round());
        let each_us = if turns == 0.0 { 0.0 } else { rate(|shard| shard.rates.turns_ns) / turns / 1000.0 };
        text.field("instantaneous_eventloop_duration_usec", each_us.round());
        self.denials(text);
    }

    /// What the turns are made of. No turn waits for the append-only file: its own thread writes it.
    fn debug(&self, text: &mut Text) {
        let most = |figure: fn(&ShardFigures) -> u64| self.shards.iter().map(figure).max().unwrap_or(0);
        text.title("Debug");
        text.field("eventloop_duration_aof_sum", 0);
        text.field("eventloop_duration_cron_sum", self.sum(|shard| shard.cron_took_ns) / 1000);
        text.field("eventloop_duration_max", most(|shard| shard.longest_turn_ns) / 1000);
        text.field("eventloop_cmd_per_cycle_max", most(|shard| shard.turn_commands_max));
    }

    fn denials(&self, text: &mut Text) {
        for reason in Reason::ALL {
            let name = match reason {
                Reason::Command => "cmd",
                Reason::Database => "db",
                reason => reason.name(),
            };
            text.field(&format!("acl_access_denied_{name}"), self.shared.access.denied_count(reason));
        }
        let attempts = &self.shared.access.attempts;
        text.field("auth_attempts_refused", attempts.refused());
        text.field("auth_addresses_refused", attempts.refused_origins());
    }

    fn shards(&self, text: &mut Text) {
        text.title("Shards");
        text.field("shards", self.shards.len());
        text.field("cross_shard_requests", self.sum(|shard| shard.requests_sent));
        text.field("cross_shard_messages", self.sum(|shard| shard.messages_sent));
        text.field("multicasts", self.sum(|shard| shard.multicasts));
        text.field("lock_waits", self.sum(|shard| shard.lock_waits));
        text.field("connections_moved", self.sum(|shard| shard.connections_moved));
        for shard in self.shards {
            let keys: usize = shard.databases.iter().map(|database| database.keys).sum();
            text.field(
                &format!("shard{}", shard.shard),
                format_args!(
                    "commands={},ops_per_sec={},connections={},keys={keys},cross_shard_requests={},\
                     cross_shard_messages={},multicasts={},lock_waits={},connections_moved={},wakes={},turns={},\
                     longest_turn_us={}",
                    shard.commands,
                    shard.rates.commands.round(),
                    shard.connections,
                    shard.requests_sent,
                    shard.messages_sent,
                    shard.multicasts,
                    shard.lock_waits,
                    shard.connections_moved,
                    shard.wakes,
                    shard.turns,
                    shard.longest_turn_ns / 1000,
                ),
            );
        }
    }

    fn replication(&self, text: &mut Text) {
        text.title("Replication");
        text.field("role", "master");
        text.field("connected_slaves", 0);
        text.field("master_failover_state", "no-failover");
        text.field("master_replid", &self.shared.run_id);
        text.field("master_replid2", "0".repeat(40));
        text.field("master_repl_offset", 0);
        text.field("second_repl_offset", -1);
        text.field("repl_backlog_active", 0);
        text.field("repl_backlog_size", 0);
        text.field("repl_backlog_first_byte_offset", 0);
        text.field("repl_backlog_histlen", 0);
    }

    /// Each shard is the thread of its clients' input and output.
    fn threads(&self, text: &mut Text) {
        text.title("Threads");
        for ShardFigures { shard, connections, reads, writes, .. } in self.shards {
            text.field(
                &format!("io_thread_{shard}"),
                format_args!("clients={connections},read={reads},write={writes}"),
            );
        }
    }

    fn cpu(&self, text: &mut Text) {
        let process = &self.process;
        text.title("CPU");
        for (name, seconds) in [
            ("used_cpu_sys", process.system_s),
            ("used_cpu_user", process.user_s),
            ("used_cpu_sys_children", process.children_system_s),
            ("used_cpu_user_children", process.children_user_s),
        ] {
            text.field(name, format_args!("{seconds:.6}"));
        }
    }

    /// Commands in EXEC and in scripts count, too; what they took is in the time of EXEC, or of the script, as well.
    fn command_stats(&self, text: &mut Text) {
        text.title("Commandstats");
        for entry in self.shared.table.all() {
            let sum = |of: fn(&CallCounts) -> &Vec<u64>| {
                self.sum(|shard| of(&shard.calls).get(entry.id).copied().unwrap_or(0))
            };
            let (calls, rejected, failed) =
                (sum(|counts| &counts.calls), sum(|counts| &counts.rejected), sum(|counts| &counts.failed));
            let took_us = sum(|counts| &counts.took_ns) / 1000;
            if calls + rejected + failed > 0 {
                let each_us = if calls == 0 { 0.0 } else { took_us as f64 / calls as f64 };
                let time = format_args!("usec={took_us},usec_per_call={each_us:.2}").to_string();
                let counts = format_args!("rejected_calls={rejected},failed_calls={failed}").to_string();
                text.field(&format!("cmdstat_{}", entry.full_name), format_args!("calls={calls},{time},{counts}"));
            }
        }
    }

    fn error_stats(&self, text: &mut Text) {
        let mut errors = ErrorCounts::default();
        self.shards.iter().for_each(|shard| errors.add(&shard.errors));
        text.title("Errorstats");
        for (kind, count) in errors.kinds() {
            text.field(&format!("errorstat_{kind}"), format_args!("count={count}"));
        }
    }

    /// Nothing while nobody keeps it.
    fn latency_stats(&self, text: &mut Text) {
        text.title("Latencystats");
        let observation = &self.config.observation;
        if !observation.latency_tracking {
            return;
        }
        let mut histograms = Histograms::default();
        self.shards.iter().for_each(|shard| histograms.add(&shard.histograms));
        for entry in self.shared.table.all() {
            let Some(distribution) = histograms.of(entry.id) else { continue };
            let shown = observation.percentiles.0.iter().zip(observation.percentiles.names());
            let shown =
                shown.map(|(percentile, name)| format!("p{name}={:.3}", distribution.percentile_us(*percentile)));
            let name = format!("latency_percentiles_usec_{}", entry.full_name);
            text.field(&name, shown.collect::<Vec<_>>().join(","));
        }
    }

    /// The names that Redis gives the types, and sizes in powers of two.
    fn key_sizes(&self, text: &mut Text) {
        text.title("Keysizes");
        for database in 0..self.shared.databases {
            let mut sizes: Option<KeySizes> = None;
            for of_shard in self.shards.iter().filter_map(|shard| shard.key_sizes.get(database)?.as_deref()) {
                sizes.get_or_insert_default().add(of_shard);
            }
            let Some(sizes) = sizes else { continue };
            for (kind, name) in SIZED_TYPES {
                let counts = sizes.of(kind).iter().enumerate().filter(|(_, count)| **count > 0);
                let counts: Vec<String> =
                    counts.map(|(class, count)| format!("{}={count}", size_label(class))).collect();
                if !counts.is_empty() {
                    text.field(&format!("db{database}_distrib_{name}"), counts.join(","));
                }
            }
        }
    }

    fn keyspace(&self, text: &mut Text) {
        text.title("Keyspace");
        for database in 0..self.shared.databases {
            let total = DatabaseFigures::total(self.shards, database);
            if total.keys > 0 {
                let DatabaseFigures { keys, volatile_keys, average_ttl_ms, .. } = total;
                text.field(
                    &format!("db{database}"),
                    format_args!("keys={keys},expires={volatile_keys},avg_ttl={average_ttl_ms}"),
                );
            }
        }
    }
}

/// The types whose sizes are told.
const SIZED_TYPES: [(Type, &str); 5] = [
    (Type::String, "strings_sizes"),
    (Type::List, "lists_items"),
    (Type::Set, "sets_items"),
    (Type::SortedSet, "zsets_items"),
    (Type::Hash, "hashes_items"),
];

/// The least size of a class: `0`, `1`, `2`, ... `512`, `1K`, ...
fn size_label(class: usize) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    match class.checked_sub(1) {
        None => "0".to_owned(),
        Some(bits) => format!("{}{}", 1 << (bits % 10), UNITS[(bits / 10).min(UNITS.len() - 1)]),
    }
}

/// Where memory is, over all shards, in bytes.
pub(in crate::commands) struct MemoryFigures {
    /// Handed out by the allocator.
    pub used: u64,
    /// The most of it so far.
    pub peak: u64,
    /// Of it, when the server had started.
    pub startup: u64,
    /// Of it, keys and values.
    pub dataset: u64,
    /// Of it, the rest.
    pub overhead: u64,
}

impl MemoryFigures {
    /// Now.
    pub(in crate::commands) fn of(shared: &Shared, shards: &[ShardFigures]) -> Self {
        let dataset: u64 = shards.iter().map(|shard| shard.used_bytes as u64).sum();
        let taken: i64 = shards.iter().map(|shard| shard.allocated_bytes).sum();
        let used = u64::try_from(taken + shared.unpublished_bytes.load(Relaxed)).unwrap_or(0);
        let peak = shared.peak_bytes.fetch_max(used as i64, Relaxed).max(used as i64) as u64;
        let startup = shared.startup_bytes.load(Relaxed).max(0) as u64;
        Self { used, peak, startup, dataset: dataset.min(used), overhead: used.saturating_sub(dataset) }
    }
}

/// A part of a whole, in percent.
pub(in crate::commands) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Lines in the making.
struct Text(String);

impl Text {
    fn title(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        self.line(format_args!("# {name}"));
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}:{value}"));
    }

    /// A number of bytes, and again for human eyes.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human_bytes(bytes));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{line}\r\n");
    }
}

/// `1.61M`, as the real server shortens it.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Section> {
        let names: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        Sections::parse(&names).0
    }

    #[test]
    fn sections_by_name_and_by_group() {
        assert_eq!(parse("keyspace SERVER server"), [Section::Server, Section::Keyspace]);
        assert_eq!(parse("nosuch"), []);
        assert_eq!(parse(""), parse("default"));
        assert!(!parse("").contains(&Section::CommandStats));
        assert!(parse("all").contains(&Section::CommandStats));
        assert_eq!(parse("everything").len(), SECTIONS.len() - 1);
        assert_eq!(parse("default commandstats latencystats keysizes"), parse("everything"));
        assert_eq!(parse("debug"), [Section::Debug]);
    }

    #[test]
    fn sizes_are_named_by_powers_of_two() {
        assert_eq!(
            [0, 1, 2, 10, 11, 20, 21, 30, 31].map(size_label),
            ["0", "1", "2", "512", "1K", "512K", "1M", "512M", "1G"]
        );
    }

    #[test]
    fn bytes_for_human_eyes() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_683_808, "1.61M"), (25_276_510_208, "23.54G")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
