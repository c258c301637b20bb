//! The limits of memory, seen by a client: one for all shards, kept by eviction, of keys or of clients, or by refusal.

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
/// What was flushed comes back before keys go: wherever it was.
#[test]
fn what_was_flushed_costs_no_keys() {
    const KEYS: usize = 50;
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        // Room for the keys of one round, and not for those of two.
        limit(&mut client, 9 << 20, "allkeys-lru");
        for _ in 0..10 {
            client.call("FLUSHDB");
            for key in 0..KEYS {
                client.call(&format!("SETRANGE {key} 100000 x"));
            }
        }
        // Two a round when it came back at the next tick. A shard that gets no time may be late once.
        let evicted = client.info_number("evicted_keys");
        assert!(evicted < 5, "{shards} shards: {evicted} keys went");
    }
}

/// Ten clients are told of each key that goes, which takes more memory than the key had.
#[test]
fn what_clients_are_told_of_evicted_keys_has_no_more_evicted() {
    const KEYS: usize = 300;
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let long = "x".repeat(1000);
        let mut readers: Vec<Client> = (0..10).map(|_| server.client()).collect();
        for reader in &mut readers {
            reader.call("HELLO 3");
            assert_eq!(reader.ask("CLIENT TRACKING ON"), "+OK");
        }
        for key in 0..KEYS {
            client.call(&format!("SET {key}{long} x"));
            for reader in &mut readers {
                reader.call(&format!("GET {key}{long}"));
            }
        }
        let bytes_max = client.info_number("used_memory") - 40_000;
        let set =
            format!("CONFIG SET maxmemory-eviction-tenacity 100 maxmemory {bytes_max} maxmemory-policy allkeys-lru");
        assert_eq!(client.ask(&set), "+OK");
        support::eventually("keys go", || client.info_number("evicted_keys") > 0);
        for reader in &mut readers {
            assert!(reader.receive().is_some_and(|push| matches!(push, support::Reply::Push(_))));
        }
        // What is on its way to a shard that gets no time costs keys; but not all of them.
        let least = if shards == 1 { KEYS * 2 / 3 } else { KEYS / 10 };
        let keys = client.call("DBSIZE").integer() as usize;
        assert!(keys > least, "{shards} shards: of {KEYS} keys {keys} are left");
    }
}

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

/// A client of that name that has sent the beginning of a command of so many bytes.
fn hog(server: &Server, name: &str, bytes: usize) -> Client {
    let mut client = server.client();
    assert_eq!(client.ask(&format!("CLIENT SETNAME {name}")), "+OK");
    client.send(format!("*2\r\n${bytes}\r\n{}", "x".repeat(bytes)).as_bytes());
    client
}

/// Names of all clients and what they take.
fn clients_memory(client: &mut Client) -> Vec<(String, u64)> {
    let field = |line: &str, name: &str| {
        let found = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.expect("the field").to_string()
    };
    let list = client.call("CLIENT LIST").text();
    list.lines().map(|line| (field(line, "name"), field(line, "tot-mem").parse().expect("a number"))).collect()
}

fn count(clients: &[(String, u64)], name: &str) -> usize {
    clients.iter().filter(|(known, _)| known == name).count()
}

#[test]
fn the_largest_clients_go_first_over_all_shards_and_no_more_than_must() {
    const EACH: usize = 5;
    for shards in [1, 2, 3] {
        let server = Server::torc(shards, &[]);
        let mut control = server.client();
        assert_eq!(
            (control.ask("CLIENT NO-EVICT on"), control.ask("CLIENT SETNAME control")),
            ("+OK".into(), "+OK".into())
        );
        let sizes = [("small", 100_000), ("middle", 300_000), ("large", 1_000_000)];
        let hogs: Vec<Client> = (0..EACH).flat_map(|_| sizes).map(|(name, bytes)| hog(&server, name, bytes)).collect();
        let mut clients = Vec::new();
        support::eventually("all has arrived", || {
            clients = clients_memory(&mut control);
            sizes.iter().all(|(name, bytes)| {
                clients.iter().filter(|(known, taken)| known == name && *taken as usize > *bytes).count() == EACH
            })
        });
        assert_eq!(control.info_number("mem_clients_normal"), clients.iter().map(|(_, taken)| taken).sum::<u64>());
        let mut left = [EACH; 3];
        // One, the rest of its size, one more: what has gone is there no more as soon as the limit is answered.
        for (goes, evicted) in [(1, 1), (EACH - 1, EACH), (1, EACH + 1), (EACH - 1, 2 * EACH), (2, 2 * EACH + 2)] {
            let size = left.iter().rposition(|count| *count > 0).expect("somebody");
            left[size] -= goes;
            let taken: u64 = clients_memory(&mut control).iter().map(|(_, taken)| taken).sum();
            let each = clients.iter().find(|(name, _)| name == sizes[size].0).expect("one of them").1;
            // A byte less than what is left when one fewer has gone.
            let limit = taken - each * (goes as u64 - 1) - 1;
            assert_eq!(control.ask(&format!("CONFIG SET maxmemory-clients {limit}")), "+OK");
            let after = clients_memory(&mut control);
            let counts = sizes.map(|(name, _)| count(&after, name));
            assert_eq!(counts, left, "{shards} shards, limit {limit} of {taken}");
            assert_eq!(control.info_number("evicted_clients"), evicted as u64);
        }
        assert_eq!(hogs.len(), 3 * EACH);
        assert!(server.log().contains("Evicting client: id="), "{}", server.log());
        assert_eq!(control.ask("CONFIG RESETSTAT"), "+OK");
        assert_eq!(control.info_number("evicted_clients"), 0);
    }
}

#[test]
fn a_client_that_grows_past_the_limit_has_the_largest_one_evicted() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &["--maxmemory-clients", "2mb"]);
        let mut control = server.client();
        let mut large = hog(&server, "large", 1_200_000);
        support::eventually("it has arrived", || {
            clients_memory(&mut control).iter().any(|(_, taken)| *taken > 1_200_000)
        });
        let mut others: Vec<Client> = (0..2 * shards).map(|_| hog(&server, "small", 800_000 / (2 * shards))).collect();
        support::eventually("all of them have arrived", || {
            clients_memory(&mut control).iter().filter(|(name, taken)| name == "small" && *taken > 100_000).count()
                == 2 * shards
        });
        let known = |control: &mut Client| count(&clients_memory(control), "large");
        assert_eq!((known(&mut control), control.info_number("evicted_clients")), (1, 0));
        others.push(hog(&server, "last", 300_000));
        assert!(large.is_closed_by_server());
        assert_eq!(known(&mut control), 0);
        assert_eq!(control.info_number("evicted_clients"), 1);
        let after = clients_memory(&mut control);
        assert_eq!((count(&after, "small"), count(&after, "last")), (2 * shards, 1));
    }
}

#[test]
fn who_is_not_to_be_evicted_stays_and_a_part_of_the_limit_of_memory_is_a_limit() {
    let server = Server::torc(2, &[]);
    let mut control = server.client();
    assert_eq!(control.ask("CLIENT NO-EVICT on"), "+OK");
    // A part of nothing is no limit.
    assert_eq!(control.ask("CONFIG SET maxmemory-clients 1%"), "+OK");
    let mut kept = server.client();
    assert_eq!(kept.ask("CLIENT NO-EVICT on"), "+OK");
    kept.send(format!("*2\r\n$500000\r\n{}", "x".repeat(400_000)).as_bytes());
    support::eventually("it has arrived", || clients_memory(&mut control).iter().any(|(_, taken)| *taken > 500_000));
    let mut other = hog(&server, "other", 150_000);
    support::eventually("it has arrived as well", || count(&clients_memory(&mut control), "other") == 1);
    // 200 KiB of 20 MB.
    assert_eq!(control.ask("CONFIG SET maxmemory 20000000"), "+OK");
    assert!(other.is_closed_by_server());
    let left = clients_memory(&mut control);
    assert_eq!((count(&left, "other"), left.iter().filter(|(_, taken)| *taken > 500_000).count()), (0, 1));
    assert_eq!(control.info_number("evicted_clients"), 1);
    // Each shard may have told it.
    assert!((1..=2).contains(&server.log().matches("Over client maxmemory").count()), "{}", server.log());
    // It goes as soon as it may.
    kept.send(&vec![b'x'; 100_000]);
    kept.send(b"\r\n$1\r\nx\r\n");
    assert!(kept.reply().to_string().starts_with("-ERR unknown command"));
    assert_eq!(control.ask("CONFIG SET maxmemory-clients 0"), "+OK");
    let mut third = hog(&server, "third", 5_000_000);
    support::eventually("there is no limit any more", || {
        clients_memory(&mut control).iter().any(|(name, taken)| name == "third" && *taken > 5_000_000)
    });
    assert_eq!(control.ask("CONFIG SET maxmemory-clients 2mb"), "+OK");
    assert!(third.is_closed_by_server());
}

#[test]
fn all_that_a_client_has_the_server_keep_counts() {
    let server = Server::torc(3, &[]);
    let mut control = server.client();
    let taken = |control: &mut Client, name: &str| {
        clients_memory(control).into_iter().find(|(known, _)| known == name).map_or(0, |(_, taken)| taken)
    };
    let long = "n".repeat(1000);
    for (kind, lines) in [
        ("watches", vec![format!("WATCH {long}1 {long}2")]),
        ("listens", vec![format!("SUBSCRIBE {long}1"), format!("PSUBSCRIBE {long}2")]),
        ("tracks", vec![format!("CLIENT TRACKING on BCAST PREFIX {long}1 PREFIX {long}2")]),
        ("queues", vec!["MULTI".to_owned(), format!("SET {long} {long}")]),
    ] {
        let mut client = server.client();
        client.ask(&format!("CLIENT SETNAME {kind}"));
        let before = taken(&mut control, kind);
        // What is told in RESP3 needs no other connection.
        client.call("HELLO 3");
        for line in lines {
            client.call(&line);
        }
        let after = taken(&mut control, kind);
        assert!((before + 2000..before + 6000).contains(&after), "{kind}: {before} and then {after}");
        client.call("RESET");
        assert!(taken(&mut control, kind) < before + 2000, "{kind}");
    }
}

#[test]
fn readers_that_do_not_read_are_evicted_and_no_keys() {
    // On several shards some keys go before the clients do: replies on their way are left out of the limit by their lengths, and
    // what their buffers take beyond that is not.
    for shards in [1] {
        let server = Server::torc(shards, &[]);
        let mut control = server.client();
        assert_eq!(control.ask("CLIENT NO-EVICT on"), "+OK");
        for index in 0..50 {
            assert_eq!(control.ask(&format!("SETRANGE key:{index} 9999 x")), ":10000");
        }
        let bytes_max = limit(&mut control, 8 << 20, "allkeys-lru");
        assert_eq!(control.ask("CONFIG SET maxmemory-clients 3mb"), "+OK");
        let mut readers: Vec<Client> = (0..20).map(|_| server.client()).collect();
        let all: Vec<String> = (0..50).map(|index| format!("key:{index}")).collect();
        let command = encode(&support::words(&format!("MGET {}", all.join(" ")))).repeat(4);
        support::eventually("some are evicted", || {
            readers.retain_mut(|reader| reader.sends(&command));
            control.info_number("evicted_clients") > 0
        });
        assert_eq!(control.call("DBSIZE").integer(), 50, "{shards} shards, limit {bytes_max}");
        assert_eq!(control.info_number("evicted_keys"), 0);
    }
}
