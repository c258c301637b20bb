//! Why a directive that is accepted does nothing: one sentence for each, told at the start for those that are set.

/// The beginnings of names, and why what begins so has no effect. The first that fits counts.
const REASONS: &[(&str, &str)] = &[
    ("io-threads", "each shard does the input and output of its own clients; 'shards' says how many there are"),
    ("events-per-io-thread", "each shard does the input and output of its own clients"),
    ("prefetch-batch-max-size", "what a batch of commands will look at is always fetched ahead"),
    ("lookahead", "commands are parsed 32 ahead, so that what they look at is on its way"),
    ("max-new-", "connections are accepted by the kernel's ring, not in a cycle"),
    ("rdma-", "there is no transport over RDMA"),
    ("socket-mark-id", "sockets carry no mark"),
    ("bind-source-addr", "connections to other servers leave from the address that the system chooses"),
    ("unixsocketgroup", "the socket belongs to the group of the process"),
    ("client-default-resp", "connections begin with RESP2, as the protocol says"),
    ("tls-dh-params-file", "keys are agreed on by curves, which need no parameters"),
    ("tls-replication", "this version does not replicate"),
    ("tls-cluster", "this version is no member of a cluster"),
    ("tls-expected-peer-name", "this version does not replicate, and is no member of a cluster"),
    ("enable-module-command", "there are no modules"),
    ("dynamic-hz", "background work is done in slices whenever a shard turns"),
    ("shutdown-", "the data are saved where there are save points, and clients get their replies, as without options"),
    (
        "server-cpulist",
        "shards are pinned to the cores that the process may use: restrict these with taskset or CPUAffinity=",
    ),
    ("bio-cpulist", "there are no background threads but that of the log"),
    ("aof-rewrite-cpulist", "the log is rewritten by the shards themselves"),
    ("bgsave-cpulist", "snapshots are written by the shards themselves"),
    ("ignore-warnings", "no start is refused because of a warning"),
    ("locale-collate", "texts are compared byte by byte"),
    ("availability-zone", "nothing asks where a server is"),
    ("extended-redis-compatibility", "clients are always told what Redis would tell them"),
    ("log-format", "lines of the log have one form"),
    ("log-timestamp-format", "lines of the log have one form"),
    ("syslog-", "the log goes to standard output or to 'logfile'; the system's journal reads the first"),
    ("crash-memcheck-enabled", "a broken invariant ends the process with a line in the log and a stack"),
    ("use-exit-on-panic", "a broken invariant ends the process"),
    ("enable-debug-assert", "assertions are chosen when the server is built"),
    ("debug-context", "there is no report that would show it"),
    ("watchdog-period", "the control plane watches the shards all the time"),
    (
        "active-defrag",
        "small values are packed in pages that are written anew as they change: nothing is left to defragment",
    ),
    (
        "activedefrag",
        "small values are packed in pages that are written anew as they change: nothing is left to defragment",
    ),
    ("jemalloc-bg-thread", "the allocator is mimalloc, which gives memory back as it falls free"),
    ("activerehashing", "tables grow a page at a time and are never hashed anew"),
    ("active-expire-effort", "expired keys are removed in slices until none is left"),
    ("lazyfree-lazy-", "values are always freed in slices"),
    ("lazyexpire-nested-arbitrary-keys", "a key whose time is over is removed wherever it is met"),
    ("import-mode", "a key whose time is over is removed wherever it is met"),
    ("list-compress-depth", "lists are not compressed"),
    ("array-", "there are no arrays"),
    ("vset-", "there are no vector sets"),
    ("hash-min-template-entries", "each hash has the names of its fields"),
    ("hash-max-template-entries", "each hash has the names of its fields"),
    ("hash-rdb-load-", "each hash has the names of its fields"),
    ("stream-idmp-", "each stream begins with 100 seconds and 100 names of a producer: XCFGSET changes that"),
    ("key-memory-histograms", "how large keys are is asked for key by key, with MEMORY USAGE"),
    ("backup", "there is no BACKUP: snapshots and the files of the log are copied as they are"),
    ("stream-node-max-", "streams are trees of chunks whose size is fixed"),
    ("lua-enable-insecure-api", "scripts cannot leave their sandbox"),
    ("aof-rewrite-incremental-fsync", "what is rewritten is synchronized as it is written"),
    ("aof-disable-auto-gc", "files of the log that are no longer needed are removed"),
    ("rdb-del-sync-files", "no files are written for replicas"),
    ("rdb-version-check", "a file of a newer version is read as far as its content is known"),
    ("loading-process-events-interval-bytes", "clients are served while data are loaded"),
    ("sanitize-dump-payload", "every payload is checked"),
    ("propagation-error-behavior", "a command whose effects are known cannot fail when they are applied"),
    ("replica", "this version does not replicate"),
    ("repl-", "this version does not replicate"),
    ("master", "this version does not replicate"),
    ("min-replicas-", "this version does not replicate"),
    ("dual-channel-replication-enabled", "this version does not replicate"),
    ("cluster-", "this version is no member of a cluster"),
];

/// Why, in words that go on after a colon.
pub(super) fn reason(name: &str) -> &'static str {
    let found = REASONS.iter().find(|(beginning, _)| name.starts_with(beginning));
    found.map_or("nothing in this server depends on it", |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::super::directive::Effect;
    use super::super::table::DIRECTIVES;
    use super::*;

    #[test]
    fn every_directive_without_effect_has_a_reason_of_its_own() {
        for row in DIRECTIVES.iter().filter(|row| row.effect == Effect::None) {
            assert!(REASONS.iter().any(|(beginning, _)| row.name.starts_with(beginning)), "{}", row.name);
        }
        for (beginning, reason) in REASONS {
            assert!(!reason.ends_with('.'), "{reason}");
            let is_used = DIRECTIVES.iter().any(|row| row.name.starts_with(beginning));
            assert!(is_used, "{beginning}");
        }
    }
}
