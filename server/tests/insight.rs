//! What the server remembers of its own work, over several shards: slow log, command log, latency, histograms, the configuration's file.

mod support;

use std::collections::BTreeMap;
use support::{Client, Reply, Server, eventually, key_of_each_shard};

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

/// The commands in a log, the newest first.
fn logged(client: &mut Client, question: &str) -> Vec<String> {
    let words = |entry: &Reply| entry.elements()[3].elements().iter().map(Reply::text).collect::<Vec<_>>().join(" ");
    client.call(question).elements().iter().map(words).collect()
}

fn calls(client: &mut Client, command: &str) -> u64 {
    let fields = client.info(&format!("cmdstat_{command}"));
    let calls = fields.split(',').find_map(|field| field.strip_prefix("calls=")).expect("a number of calls");
    calls.parse().expect("a number")
}

#[test]
fn entries_of_all_shards_are_in_one_order_with_their_clients() {
    for shards in [1, 2, 5] {
        let server =
            Server::torc(shards, &[&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000"], DEBUG].concat());
        let mut client = server.client();
        let keys = key_of_each_shard(&mut client, shards);
        assert_eq!(client.ask("CLIENT SETNAME one"), "+OK");
        assert_eq!(client.ask("SLOWLOG RESET"), "+OK");
        for key in &keys {
            assert_eq!(client.ask(&format!("SET {key} 1")), "+OK");
        }
        assert_eq!(client.ask("DEBUG SLEEP 0"), "+OK");
        let entries = client.call("SLOWLOG GET -1");
        let ids: Vec<i64> = entries.elements().iter().map(|entry| entry.elements()[0].integer()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "{ids:?}");
        let expected: Vec<String> = ["DEBUG SLEEP 0".to_owned()]
            .into_iter()
            .chain(keys.iter().rev().map(|key| format!("SET {key} 1")))
            .chain(["SLOWLOG RESET".to_owned()])
            .collect();
        assert_eq!(logged(&mut client, "SLOWLOG GET -1")[1..], expected, "{shards} shards");
        for entry in entries.elements() {
            assert_eq!(entry.elements()[5].text(), "one");
            assert!(entry.elements()[4].text().starts_with("127.0.0.1:"));
        }
    }
}

#[test]
fn a_slow_command_is_kept_wherever_it_runs() {
    for shards in [1, 2, 5] {
        let server = Server::torc(
            shards,
            &[&["--slowlog-log-slower-than", "30000", "--latency-monitor-threshold", "30"], DEBUG].concat(),
        );
        let mut client = server.client();
        assert_eq!(client.ask("DEBUG SLEEP 0.05"), "+OK");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("DEBUG SLEEP 0.05"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), "[+OK]");
        let log = logged(&mut client, "SLOWLOG GET -1");
        assert_eq!(log.iter().filter(|command| *command == "DEBUG SLEEP 0.05").count(), 2, "{log:?}");
        assert!(!log.iter().any(|command| command == "EXEC"), "{log:?}");
        let latest = client.call("LATENCY LATEST");
        let event = &latest.elements()[0];
        assert_eq!(event.elements()[0].text(), "command");
        assert!(event.elements()[3].integer() >= 50);
        assert!(client.call("LATENCY GRAPH command").text().starts_with("command - high "));
        assert!(client.call("LATENCY DOCTOR").text().contains("command: "));
        assert!(client.call("LATENCY RESET").integer() >= 1);
        assert_eq!(client.ask("LATENCY LATEST"), "[]");
    }
}

#[test]
fn every_call_is_in_a_histogram_however_it_ran() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let keys = key_of_each_shard(&mut client, shards);
        assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
        let all = keys.join(" ");
        for key in &keys {
            assert_eq!(client.ask(&format!("SET {key} 1")), "+OK");
            assert_eq!(client.ask(&format!("GET {key}")), "\"1\"");
            assert_eq!(client.ask(&format!("EVAL \"return redis.call('get', KEYS[1])\" 1 {key}")), "\"1\"");
        }
        assert_eq!(client.ask(&format!("EXISTS {all}")), format!(":{shards}"));
        let script = "for _, key in ipairs(KEYS) do redis.call('incr', key) end";
        assert_eq!(client.ask(&format!("EVAL \"{script}\" {shards} {all}")), "nil");
        for watch in [false, true] {
            if watch {
                assert_eq!(client.ask(&format!("WATCH {}", keys[0])), "+OK");
            }
            assert_eq!(client.ask("MULTI"), "+OK");
            keys.iter().for_each(|key| assert_eq!(client.ask(&format!("INCR {key}")), "+QUEUED"));
            assert_eq!(client.ask(&format!("MGET {all}")), "+QUEUED");
            assert_eq!(client.call("EXEC").elements().len(), shards + 1);
        }
        assert_eq!(client.ask("RPUSH list a"), ":1");
        assert_eq!(client.ask("BLPOP list other 0"), "[\"list\" \"a\"]");
        let mut waiting = server.client();
        waiting.send(&support::encode(&["BLPOP", "list", "other", "0"]));
        eventually("it waits", || client.info_number("blocked_clients") == 1);
        assert_eq!(client.ask("RPUSH other b"), ":1");
        assert_eq!(waiting.reply().elements().len(), 2);
        assert_eq!(client.ask("DBSIZE"), format!(":{shards}"));
        let random = client.ask("RANDOMKEY");
        assert!(keys.iter().any(|key| random == format!("\"{key}\"")), "{random}");
        let reply = client.call("LATENCY HISTOGRAM");
        let told: BTreeMap<String, u64> =
            reply.elements().chunks(2).map(|pair| (pair[0].text(), pair[1].elements()[1].integer() as u64)).collect();
        for command in [
            "set",
            "get",
            "eval",
            "exists",
            "incr",
            "mget",
            "exec",
            "multi",
            "watch",
            "blpop",
            "rpush",
            "dbsize",
            "randomkey",
        ] {
            assert_eq!(told.get(command).copied(), Some(calls(&mut client, command)), "{command}, {shards} shards");
        }
    }
}

#[test]
fn time_is_measured_on_every_path() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    let keys = key_of_each_shard(&mut client, 2);
    assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
    let all = keys.join(" ");
    for _ in 0..50 {
        client.call(&format!("MSET {} 1 {} 2", keys[0], keys[1]));
        client.call(&format!("EVAL \"return redis.call('incr', KEYS[1])\" 1 {}", keys[0]));
        client.call("MULTI");
        client.call(&format!("DEL {all}"));
        client.call("EXEC");
    }
    for command in ["mset", "eval", "incr", "exec", "del"] {
        let fields = client.info(&format!("cmdstat_{command}"));
        assert!(!fields.contains("usec=0,"), "{command}: {fields}");
    }
}

#[test]
fn the_file_is_rewritten_and_read_again() {
    let directory = support::server::new_directory();
    let file = directory.join("torc.conf");
    let text = "# ours\nshards 2\nsave 10 1\n\n# a limit\nmaxmemory 100mb\nslowlog-max-len 7\nslowlog-max-len 8\n";
    std::fs::write(&file, text).expect("a file");
    let server = Server::torc_with_file(&file);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET maxmemory 200mb timeout 50 save \"\""), "+OK");
    assert_eq!(client.ask("CONFIG REWRITE"), "+OK");
    let written = std::fs::read_to_string(&file).expect("a file");
    let expected = "# ours\nshards 2\nsave \"\"\n\n# a limit\nmaxmemory 200mb\nslowlog-max-len 8\n";
    assert!(written.starts_with(expected), "{written}");
    assert!(written.contains("# Generated by CONFIG REWRITE\n") && written.contains("\ntimeout 50\n"), "{written}");
    drop(client);
    drop(server);
    let server = Server::torc_with_file(&file);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG GET timeout"), "[\"timeout\" \"50\"]");
    assert_eq!(client.ask("CONFIG GET save"), "[\"save\" \"\"]");
    assert_eq!(client.ask("CONFIG REWRITE"), "+OK");
    // The port is another one each time.
    let but_port = |text: &str| text.lines().filter(|line| !line.starts_with("port ")).collect::<Vec<_>>().join("\n");
    assert_eq!(but_port(&std::fs::read_to_string(&file).expect("a file")), but_port(&written));
    let plain = Server::torc(1, &[]);
    assert_eq!(plain.client().ask("CONFIG REWRITE"), "-ERR The server is running without a config file");
}
