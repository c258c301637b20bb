//! Commands on every shard while a unit on several of them takes long: nobody else waits for either.

mod support;

use std::io::ErrorKind;
use std::time::Duration;
use support::{Client, Server, encode, words};
use torc_engine::keyspace::{SLOTS, slot_of};

/// A name whose key is on a shard.
fn name_on(shard: usize, shards: usize, letter: char) -> String {
    let names = (0..).map(|number: u32| format!("{letter}{number}"));
    let mut names = names.filter(|name| slot_of(name.as_bytes()) as usize * shards / SLOTS == shard);
    names.next().expect("every shard owns slots")
}

fn fill(client: &mut Client, key: &str, members: std::ops::Range<usize>) {
    const AT_ONCE: usize = 1000;
    for first in members.clone().step_by(AT_ONCE) {
        let some = first..members.end.min(first + AT_ONCE);
        let line: String = some.map(|number| format!(" {number} member:{number}")).collect();
        assert!(!client.call(&format!("ZADD {key}{line}")).is_error());
    }
}

fn send(client: &mut Client, line: &str) {
    client.send(&encode(&words(line)));
}

/// Whether a reply is there, or has begun.
fn has_answer(client: &Client) -> bool {
    client.stream.set_nonblocking(true).expect("a socket");
    let peeked = client.stream.peek(&mut [0]);
    client.stream.set_nonblocking(false).expect("a socket");
    match peeked {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

/// A command on every shard, the last of these lines, while a union on several takes long: nobody waits for either.
fn others_go_on(shards: usize, lines: &[&str]) {
    let Some((whole, prepare)) = lines.split_last() else { return };
    let server = Server::torc(shards, &[]);
    let [mut long, mut waits, mut others] = [server.client(), server.client(), server.client()];
    let [first, second, stored] = [(0, 'a'), (1, 'b'), (1, 'c')].map(|(shard, letter)| name_on(shard, shards, letter));
    let keys: Vec<String> = (0..shards).map(|shard| name_on(shard, shards, 'k')).collect();
    // How fast the machine is decides how much it takes for the unit to be under way for long enough to be seen.
    let mut members = 50_000;
    loop {
        fill(&mut others, &first, 0..members);
        fill(&mut others, &second, members / 2..members * 3 / 2);
        let text = |line: &str| line.replace("MEMBERS", &members.to_string());
        prepare.iter().for_each(|line| assert!(!waits.call(&text(line)).is_error()));
        send(&mut long, &format!("ZUNIONSTORE {stored} 2 {first} {second}"));
        std::thread::sleep(Duration::from_millis(20));
        send(&mut waits, &text(whole));
        std::thread::sleep(Duration::from_millis(20));
        keys.iter().for_each(|key| assert_eq!(others.ask(&format!("SET {key} value")), "+OK"));
        let is_under_way = !has_answer(&long) && !has_answer(&waits);
        assert_eq!(long.reply().to_string(), format!(":{}", members * 3 / 2));
        assert!(!waits.reply().is_error());
        let left = others.ask(&format!("EXISTS {stored}"));
        assert_eq!(left, if *whole == "FLUSHDB" { ":0" } else { ":1" }, "{whole} came after the unit");
        if is_under_way {
            break;
        }
        members *= 2;
        assert!(members < 10_000_000, "{lines:?}: others have waited for the unit each time");
    }
}

#[test]
fn others_go_on_while_a_command_on_every_shard_waits_for_a_long_unit() {
    others_go_on(2, &["DBSIZE"]);
    others_go_on(2, &["FLUSHDB"]);
    others_go_on(5, &["KEYS member:*"]);
}

#[test]
fn others_go_on_while_a_transaction_about_any_key_waits_for_a_long_unit() {
    others_go_on(2, &["MULTI", "DBSIZE", "EXEC"]);
    others_go_on(3, &["MULTI", "EVAL return(1) 0", "EXEC"]);
    others_go_on(5, &["MULTI", "SORT other BY weight:*", "EXEC"]);
}

#[test]
fn others_go_on_while_a_script_with_keys_on_every_shard_waits_for_a_long_unit() {
    let keys: Vec<String> = (0..5).map(|shard| name_on(shard, 5, 'e')).collect();
    others_go_on(5, &[&format!("EVAL return(1) 5 {}", keys.join(" "))]);
}

/// The second time that it turns out that its keys do not say where it looks, it is given every shard.
#[test]
fn others_go_on_while_a_script_that_is_undone_for_every_shard_waits_for_a_long_unit() {
    let (declared, other) = (name_on(2, 3, 'd'), name_on(0, 3, 'f'));
    let script = format!("EVAL \"return redis.call('EXISTS', ARGV[1]) -- MEMBERS\" 1 {declared} {other}");
    others_go_on(3, &[&script, &script]);
}

/// All names that SCAN gives from 0 to 0, each once, and how many calls that took.
fn scanned(client: &mut Client, options: &str) -> (usize, usize) {
    let (mut cursor, mut names, mut calls) = ("0".to_owned(), std::collections::HashSet::new(), 0);
    loop {
        let reply = client.call(&format!("SCAN {cursor}{options}"));
        let [next, found] = reply.elements() else { panic!("{reply:?}") };
        calls += 1;
        for name in found.elements() {
            assert!(names.insert(name.text()), "twice: {name:?}");
        }
        if next.text() == "0" {
            return (names.len(), calls);
        }
        cursor = next.text();
    }
}

#[test]
fn few_keys_are_told_by_one_scan_and_many_by_several() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        assert_eq!(scanned(&mut client, ""), (0, 1));
        for shard in 0..shards {
            assert_eq!(client.ask(&format!("SET {} 1", name_on(shard, shards, 'f'))), "+OK");
        }
        assert_eq!(scanned(&mut client, ""), (shards, 1));
        assert_eq!(scanned(&mut client, " MATCH f* TYPE string"), (shards, 1));
        assert_eq!(scanned(&mut client, " MATCH nothing"), (0, 1));
        assert!(client.ask("SCAN 0 COUNT 0").starts_with("-ERR syntax"));
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask(&format!("SET {} 1", name_on(shards - 1, shards, 'g'))), "+QUEUED");
        assert_eq!(client.ask("SCAN 0"), "+QUEUED");
        let replies = client.call("EXEC");
        let [cursor, found] = replies.elements()[1].elements() else { panic!("{replies:?}") };
        assert_eq!((cursor.text(), found.elements().len()), ("0".to_owned(), shards + 1));
        // Many on one shard: the call ends there, and goes on there.
        for number in 0..2000 {
            let tag = name_on(shards / 2, shards, 't');
            assert_eq!(client.ask(&format!("SET {{{tag}}}{number} 1")), "+OK");
        }
        for options in ["", " COUNT 100", " COUNT 100000"] {
            assert_eq!(scanned(&mut client, options).0, 2000 + shards + 1, "{shards} shards{options}");
        }
    }
}
