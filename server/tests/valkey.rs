//! Files exchanged with a built Valkey, both ways: snapshots and logs, of all kinds of values. VALKEY_SERVER names its program; without it
//! the tests say so and pass.
//!
//! ```text
//!   ours on 1, 2, 5 shards ──> SAVE, or a log ──> Valkey ──> DEBUG DIGEST the same ──> more, SAVE, a rewrite ──> ours: the same
//!   payloads of DUMP ──> RESTORE, MIGRATE both ways
//! ```

#[path = "support/mod.rs"]
mod support;

use support::values::{arguments, fill};
use support::{Client, Reply, Server, eventually};

/// A library of functions, a hash whose fields expire, other databases: beside what is of all kinds.
fn fill_all(client: &mut Client) {
    fill(client);
    let library = b"#!lua name=lib\nredis.register_function('f', function() return 7 end)".as_slice();
    assert_eq!(client.call_bytes(&[b"FUNCTION", b"LOAD", b"REPLACE", library]).text(), "lib");
    for line in ["SELECT 9", "SET elsewhere 1 PXAT 33000000000000", "SELECT 0"] {
        assert_eq!(client.ask(line), "+OK");
    }
}

/// What all keys are. Valkey writes scores into its digests as short as they can be, 7.0 with 17 digits: sorted sets are told
/// by their members and the numbers that their scores are.
fn digest(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let mut told = Vec::new();
    for database in 0..16 {
        client.ask(&format!("SELECT {database}"));
        let keys = client.call("KEYS *").sorted();
        for key in keys.elements().iter().map(Reply::bytes) {
            let shown = key.escape_ascii();
            // To the minute: MIGRATE tells how long a key has left, not until when.
            let expires = client.call_bytes(&[b"PEXPIRETIME", key]).integer() / 60_000;
            let value = if client.call_bytes(&[b"TYPE", key]).text() == "zset" {
                let members = client.call_bytes(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
                let pairs = members.elements().chunks(2).map(|pair| {
                    let score: f64 = pair[1].text().parse().expect("a score");
                    format!("{} {:x}", pair[0].bytes().escape_ascii(), score.to_bits())
                });
                pairs.collect::<Vec<_>>().join(",")
            } else {
                client.call_bytes(&[b"DEBUG", b"DIGEST-VALUE", key]).to_string()
            };
            told.push(format!("{database} {shown} {expires} {value}"));
        }
    }
    told
}

#[test]
fn snapshots_are_exchanged() {
    for (shards, is_low) in [(1, false), (2, true), (5, false)] {
        let ours = Server::torc(shards, &arguments(is_low));
        fill_all(&mut ours.client());
        assert_eq!(ours.client().ask("SAVE"), "+OK");
        let before = digest(&ours);
        let Some(valkey) = Server::valkey(Some(ours.kill()), &arguments(is_low)) else { return };
        assert_eq!(digest(&valkey), before, "Valkey has read something else of {shards} shards");
        let mut client = valkey.client();
        assert_eq!(client.ask("FCALL f 0"), ":7");
        assert_eq!(client.ask("SET other 1"), "+OK");
        assert_eq!(client.ask("SAVE"), "+OK");
        let before = digest(&valkey);
        let ours = Server::torc_on(valkey.kill(), shards, &arguments(is_low));
        assert_eq!(digest(&ours), before, "we have read something else on {shards} shards");
        assert_eq!(ours.client().ask("FCALL f 0"), ":7");
    }
}

#[test]
fn logs_are_exchanged() {
    for (shards, preamble) in [(1, "yes"), (2, "no"), (5, "yes")] {
        let log = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        let arguments = [&arguments(false)[..], &log].concat();
        let ours = Server::torc(shards, &arguments);
        fill_all(&mut ours.client());
        let before = digest(&ours);
        let Some(valkey) = Server::valkey(Some(ours.end()), &arguments) else { return };
        assert_eq!(digest(&valkey), before, "Valkey has read something else of {shards} shards");
        let mut client = valkey.client();
        assert!(!client.call("BGREWRITEAOF").is_error());
        eventually("the base is there", || client.info("aof_rewrite_in_progress") == "0");
        assert_eq!(client.ask("SET other 1"), "+OK");
        let before = digest(&valkey);
        let ours = Server::torc_on(valkey.end(), shards, &arguments);
        assert_eq!(digest(&ours), before, "we have read something else on {shards} shards");
        let mut client = ours.client();
        assert!(!client.call("BGREWRITEAOF").is_error());
        eventually("the base is there", || client.info("aof_rewrite_in_progress") == "0");
        assert_eq!(client.ask("SET more 1"), "+OK");
        let before = digest(&ours);
        let Some(valkey) = Server::valkey(Some(ours.end()), &arguments) else { return };
        assert_eq!(digest(&valkey), before, "Valkey has read something else after a rewrite");
    }
}

#[test]
fn keys_go_over_one_by_one() {
    let Some(valkey) = Server::valkey(None, &arguments(false)) else { return };
    for shards in [1, 2, 5] {
        let ours = Server::torc(shards, &arguments(false));
        let (mut here, mut there) = (ours.client(), valkey.client());
        assert_eq!(there.ask("FLUSHALL"), "+OK");
        fill(&mut here);
        let before = digest(&ours);
        let names: Vec<String> = here.call("KEYS *").elements().iter().map(Reply::text).collect();
        let list = names.join(" ");
        let go =
            |client: &mut Client, port: u16| client.ask(&format!("MIGRATE 127.0.0.1 {port} \"\" 0 30000 KEYS {list}"));
        assert_eq!(go(&mut here, valkey.port), "+OK");
        assert_eq!((here.ask("DBSIZE"), digest(&valkey)), (":0".to_owned(), before.clone()));
        assert_eq!(go(&mut there, ours.port), "+OK");
        assert_eq!((there.ask("DBSIZE"), digest(&ours)), (":0".to_owned(), before));
    }
}
