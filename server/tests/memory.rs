//! The limit of memory, seen by a client: one for all shards, kept by eviction or by refusal.

mod support;

use support::{Client, Server, encode};

const OUT_OF_MEMORY: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
const VALUE_BYTES: usize = 4096;
/// What a storm sends at once. Where the server gets no time for it, all of it may be under way when the limit is met.
const UNDER_WAY_BYTES: u64 = 200 * (VALUE_BYTES as u64 + 1024);

/// Sets the limit so far above what is used now.
fn limit(client: &mut Client, headroom: u64, policy: &str) -> u64 {
    let bytes_max = client.info_number("used_memory") + headroom;
    assert_eq!(client.ask(&format!("CONFIG SET maxmemory {bytes_max} maxmemory-policy {policy}")), "+OK");
    bytes_max
}

/// Writes many values over several connections at once; how many were refused.
fn storm(server: &Server, name: impl Fn(usize) -> String, count: usize, options: &str) -> usize {
    let value = "x".repeat(VALUE_BYTES);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut refused = 0;
    for first in (0..count).step_by(200) {
        for (index, client) in clients.iter_mut().enumerate() {
            let commands: Vec<u8> = (first..first + 200)
                .filter(|number| number % 4 == index)
                .flat_map(|number| encode(&support::words(&format!("SET {} {value}{options}", name(number)))))
                .collect();
            client.send(&commands);
        }
        for client in &mut clients {
            for _ in 0..50 {
                let reply = client.reply().to_string();
                assert!(reply == "+OK" || reply == OUT_OF_MEMORY, "{reply}");
                refused += usize::from(reply != "+OK");
            }
        }
    }
    refused
}

#[test]
fn a_storm_of_writes_stays_within_the_limit() {
    for shards in [1, 2, 5] {
        for (policy, options) in [
            ("allkeys-lru", ""),
            ("allkeys-lfu", ""),
            ("allkeys-random", ""),
            ("volatile-ttl", " EX 100000"),
            ("allkeys-lrm", ""),
        ] {
            let server = Server::torc(shards, &[]);
            let mut client = server.client();
            let bytes_max = limit(&mut client, 20 << 20, policy);
            let refused = storm(&server, |number| format!("key:{number}"), 20_000, options);
            let (peak, used) = (client.info_number("used_memory_peak"), client.info_number("used_memory"));
            let what = format!("{policy} on {shards} shards, limit {bytes_max}, peak {peak}, used {used}");
            assert_eq!(refused, 0, "{what}");
            assert!(peak <= bytes_max + bytes_max / 50 + UNDER_WAY_BYTES, "{what}");
            // What was under way when the last keys were evicted is given back by now.
            assert!(used >= bytes_max - bytes_max / 50 - UNDER_WAY_BYTES, "{what}");
            let keys = client.call("DBSIZE").integer() as u64;
            assert_eq!(keys + client.info_number("evicted_keys"), 20_000, "{what}");
            assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
            assert_eq!(client.info_number("evicted_keys"), 0);
        }
    }
}

/// One shard gets all the writes, the other has all that was there before and nobody uses any more.
#[test]
fn a_shard_evicts_for_another() {
    for shards in [2, 5] {
        for policy in ["allkeys-lru", "volatile-ttl"] {
            let server = Server::torc(shards, &[]);
            let mut client = server.client();
            storm(&server, |number| format!("{{a}}{number}"), 6_000, " EX 1000");
            // What is old must look so: clocks count seconds.
            std::thread::sleep(std::time::Duration::from_millis(3100));
            let bytes_max = limit(&mut client, 0, policy);
            let expiry = if policy == "allkeys-lru" { " EX 100000" } else { "" };
            let refused = storm(&server, |number| format!("{{b}}{number}"), 5_000, expiry);
            assert_eq!(refused, 0);
            let peak = client.info_number("used_memory_peak");
            let most = bytes_max + bytes_max / 50 + UNDER_WAY_BYTES;
            assert!(peak <= most, "{policy} on {shards} shards: {peak} of {bytes_max}");
            let count = |client: &mut Client, pattern: &str| client.call(&format!("KEYS {pattern}")).elements().len();
            let (old, new) = (count(&mut client, "{a}*"), count(&mut client, "{b}*"));
            // Some 5,000 and 1,000 where both shards have a core; fewer where the one that owes gets no time, as what cannot
            // wait for it is then paid for by the writing shard. Without the other's part nothing old would go.
            assert!(new > 2_500 && old < 3_600, "{policy} on {shards} shards: {old} old, {new} new");
        }
    }
}

#[test]
fn without_anything_to_evict_writes_are_refused() {
    for shards in [1, 2, 5] {
        for policy in ["noeviction", "volatile-lru", "volatile-random"] {
            let server = Server::torc(shards, &[]);
            let mut client = server.client();
            let bytes_max = limit(&mut client, 8 << 20, policy);
            let refused = storm(&server, |number| format!("key:{number}"), 4_000, "");
            let peak = client.info_number("used_memory_peak");
            assert!(refused > 1_000, "{policy} on {shards} shards: {refused}");
            let most = bytes_max + bytes_max / 50 + UNDER_WAY_BYTES;
            assert!(peak <= most, "{policy} on {shards} shards: {peak} of {bytes_max}");
            // What takes memory is refused wherever its keys are; what does not is served.
            assert_eq!(client.ask(&format!("CONFIG SET maxmemory {}", bytes_max - (1 << 20))), "+OK");
            for line in [
                "SET a 1",
                "MSET a 1 b 2 c 3 d 4 e 5",
                "RENAME key:0 other",
                "COPY key:0 other",
                "LPUSH l 1",
                "SUNIONSTORE x y z",
            ] {
                let refused = client.ask(line) == OUT_OF_MEMORY;
                assert_eq!(refused, line != "RENAME key:0 other", "{line}: {policy} on {shards} shards");
            }
            assert_eq!(client.ask("GET a"), "nil");
            assert_eq!(client.ask("DEL key:1 key:2 other"), ":3");
            assert_eq!(client.info_number("evicted_keys"), 0);
            assert!(client.info("errorstat_OOM").starts_with("count="));
            assert_eq!(client.ask("CONFIG SET maxmemory 0"), "+OK");
            assert_eq!(client.ask("SET a 1"), "+OK");
        }
    }
}

#[test]
fn a_limit_that_falls_evicts_in_the_background() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let before = client.info_number("used_memory");
        storm(&server, |number| format!("key:{number}"), 10_000, "");
        let bytes_max = before + (10 << 20);
        assert_eq!(client.ask(&format!("CONFIG SET maxmemory-policy allkeys-random maxmemory {bytes_max}")), "+OK");
        support::eventually("memory is back under its limit", || {
            // INFO itself takes a little.
            client.info_number("used_memory") <= bytes_max + (64 << 10)
        });
        assert!(client.info_number("evicted_keys") > 6_000);
        support::eventually("nothing is owed", || client.info_number("current_eviction_exceeded_time") == 0);
    }
}

/// The count is the allocator's: what goes comes back, wherever it was taken.
#[test]
fn memory_that_is_given_back_is_counted_so() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let before = client.info_number("used_memory");
        assert!(client.info_number("used_memory_startup") > 0);
        storm(&server, |number| format!("key:{number}"), 10_000, "");
        client.call(&format!("RPUSH list {}", "element ".repeat(1000)));
        let full = client.info_number("used_memory");
        assert!(full > before + 40_000_000 && full < before + 60_000_000, "{before} {full}");
        assert!(client.info_number("used_memory_dataset") > 40_000_000);
        assert_eq!(client.ask("FLUSHALL"), "+OK");
        // Tables and buffers may stay.
        support::eventually("memory comes back", || client.info_number("used_memory") < before + 3_000_000);
        assert!(client.info_number("used_memory_peak") >= full);
    }
}
