//! A huge value that goes, whatever lets it go: its memory comes back in slices, and the counters follow.

mod support;

use support::{Client, Server, encode, eventually, words};

const ELEMENTS: usize = 40_000;
/// Elements a command while values are built.
const AT_ONCE: usize = 500;
/// What a server takes for its buffers, tables and the connection may differ from case to case.
const SLACK_BYTES: u64 = 400_000;

/// Makes a huge value of a type under a key.
fn build(client: &mut Client, kind: &str, key: &str) {
    if kind == "string" {
        return assert_eq!(client.ask(&format!("SETRANGE {key} 8000000 x")), ":8000001");
    }
    for first in (0..ELEMENTS).step_by(AT_ONCE) {
        let numbers = first..first + AT_ONCE;
        let commands: Vec<String> = match kind {
            "stream" => numbers.map(|number| format!("XADD {key} {}-1 field value:{number}", number + 1)).collect(),
            _ => {
                let (name, element): (&str, fn(usize) -> String) = match kind {
                    "list" => ("RPUSH", |number| format!(" element:{number:020}")),
                    "set" => ("SADD", |number| format!(" member:{number:020}")),
                    "hash" => ("HSET", |number| format!(" field:{number} value:{number:020}")),
                    _ => ("ZADD", |number| format!(" {number} member:{number:020}")),
                };
                vec![format!("{name} {key}{}", numbers.map(element).collect::<String>())]
            }
        };
        client.send(&commands.iter().flat_map(|line| encode(&words(line))).collect::<Vec<u8>>());
        commands.iter().for_each(|line| assert!(!client.reply().is_error(), "{line}"));
    }
    assert_eq!(client.ask(&format!("TYPE {key}")), format!("+{kind}"));
}

/// Lets the value go.
fn let_go(client: &mut Client, way: &str, key: &str) {
    match way {
        "an overwrite" => assert_eq!(client.ask(&format!("SET {key} small")), "+OK"),
        "expiry" => assert_eq!(client.ask(&format!("PEXPIRE {key} 1")), ":1"),
        "a flush" => assert_eq!(client.ask("FLUSHALL ASYNC"), "+OK"),
        "eviction" => {
            let half = client.info_number("used_memory") / 2;
            assert_eq!(client.ask(&format!("CONFIG SET maxmemory-policy allkeys-lru maxmemory {half}")), "+OK");
        }
        command => assert_eq!(client.ask(&format!("{command} {key}")), ":1"),
    }
}

#[test]
fn memory_of_huge_values_comes_back_whatever_lets_them_go() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        for kind in ["string", "list", "set", "hash", "zset", "stream"] {
            for way in ["UNLINK", "DEL", "an overwrite", "expiry", "a flush", "eviction"] {
                let what = format!("{kind} by {way} on {shards} shards");
                assert_eq!(client.ask("FLUSHALL"), "+OK");
                eventually("nothing is pending", || client.info_number("lazyfree_pending_objects") == 0);
                assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
                let before = client.info_number("used_memory");
                build(&mut client, kind, "key");
                let full = client.info_number("used_memory");
                assert!(full > before + 2 * SLACK_BYTES, "{what}: {before} {full}");
                assert_eq!(client.info_number("lazyfreed_objects"), 0, "{what}");
                let_go(&mut client, way, "key");
                eventually(&format!("memory of a {what} comes back"), || {
                    client.info_number("used_memory") < before + SLACK_BYTES
                });
                eventually(&format!("a {what} is counted"), || client.info_number("lazyfreed_objects") == 1);
                assert_eq!(client.info_number("lazyfree_pending_objects"), 0, "{what}");
                let exists = client.ask("EXISTS key");
                assert_eq!(exists, if way == "an overwrite" { ":1" } else { ":0" }, "{what}");
                assert_eq!(client.ask("CONFIG SET maxmemory 0"), "+OK");
            }
        }
    }
}

/// What the process takes of the system falls, too, and not only when somebody asks for memory again. A server to each
/// type: pages that an earlier type left would be taken again, and what is built would not show.
#[test]
fn pages_of_a_huge_value_go_back_to_the_system() {
    for shards in [1, 3] {
        for kind in ["list", "set", "hash", "zset", "stream"] {
            let server = Server::torc(shards, &[]);
            let mut client = server.client();
            let keys: Vec<String> = (0..8).map(|number| format!("{kind}:{number}")).collect();
            let before = server.resident_bytes();
            keys.iter().for_each(|key| build(&mut client, kind, key));
            let full = server.resident_bytes();
            assert!(full > before + 2_000_000, "{kind}: {before} {full}");
            assert_eq!(client.ask(&format!("DEL {}", keys.join(" "))), ":8");
            let (wanted, mut left) = (full - (full - before) / 4, 0);
            let falls = || {
                left = server.resident_bytes();
                left < wanted
            };
            eventually(&format!("the pages of a {kind} go back"), falls);
            assert!(left < wanted, "{kind} on {shards} shards: {before} {full} {left}");
        }
    }
}

#[test]
fn a_small_value_is_freed_by_the_command() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    for line in ["RPUSH key a b c", "SADD key a b c", "SET key value", "XADD key * field value"] {
        client.call(line);
        assert_eq!(client.ask("UNLINK key"), ":1");
    }
    assert_eq!(client.info_number("lazyfreed_objects"), 0);
}

/// A command of very many arguments leaves nothing of their number behind.
#[test]
fn room_for_many_arguments_is_given_back() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let before = client.info_number("used_memory");
        let members: String = (0..100_000).map(|number| format!(" {number}")).collect();
        assert_eq!(client.ask(&format!("SADD key{members}")), ":100000");
        assert_eq!(client.ask("UNLINK key"), ":1");
        eventually("memory comes back", || client.info_number("used_memory") < before + 1_000_000);
    }
}
