//! Logs with everything in them, in any order: what comes of them is the same on the real server and on any number of shards.

use super::support::server::new_directory;
use super::support::{Server, encode};
use super::{EVERY_SECOND, digest};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// A command on some of a few keys, so that they meet.
fn command(random: &mut fastrand::Rng) -> String {
    let key = |random: &mut fastrand::Rng| format!("key:{}", random.u8(..24));
    let keys = |random: &mut fastrand::Rng, with: &str| {
        (0..random.usize(1..6)).fold(String::new(), |mut text, _| {
            let _ = write!(text, " {}{with}", key(random));
            text
        })
    };
    let (one, other, number) = (key(random), key(random), random.u8(..20));
    match random.u8(..30) {
        0..3 => format!("SET {one} {number}"),
        3 => format!("APPEND {one} x{number}"),
        4 => format!("INCRBY {one} {number}"),
        5..7 => format!("RPUSH {one} a{number} b"),
        7 => format!("LPOP {one}"),
        8..10 => format!("SADD {one} m{number} n"),
        10 => format!("HSET {one} f{number} v"),
        11 => format!("ZADD {one} {number} m{number}"),
        12 => format!("PEXPIREAT {one} 33000000000{number:03}"),
        13..15 => format!("MSET{}", keys(random, &format!(" {number}"))),
        15..17 => format!("DEL{}", keys(random, "")),
        17 => format!("UNLINK{}", keys(random, "")),
        18 => format!("RENAME {one} {other}"),
        19 => format!("COPY {one} {other} REPLACE"),
        20 => format!("SMOVE {one} {other} n"),
        21 => format!("SUNIONSTORE {one}{}", keys(random, "")),
        22 => format!("LMOVE {one} {other} LEFT RIGHT"),
        23 => format!("BITOP OR {one}{}", keys(random, "")),
        24 => format!("MOVE {one} {}", random.u8(..3)),
        25 => format!("XADD {one} * f {number}").replace('*', &format!("9999999999999-{}", random.u32(..))),
        26 => format!("XGROUP CREATE {one} g{number} 0 MKSTREAM"),
        27 if random.u8(..20) == 0 => "FLUSHDB".to_owned(),
        28 if random.u8(..4) == 0 => "SWAPDB 0 1".to_owned(),
        _ => format!("SELECT {}", random.u8(..3)),
    }
}

/// A log of so many commands and transactions.
fn log(seed: u64, count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = encode(&["SELECT", "0"]);
    let mut add = |line: &str| text.extend(encode(&line.split(' ').collect::<Vec<_>>()));
    // Stretches in which nearly all is for one shard, and such in which nothing is.
    for _ in 0..count {
        if random.u8(..12) == 0 {
            add("MULTI");
            (0..random.usize(..6)).for_each(|_| add(&command(&mut random)));
            add(if random.u8(..8) == 0 { "DISCARD" } else { "EXEC" });
        } else if random.u8(..40) == 0 {
            (0..200).for_each(|index| add(&format!("SET key:{} {index}", random.u8(..24))));
        } else {
            add(&command(&mut random));
        }
    }
    text
}

fn directory_of(log: &[u8]) -> PathBuf {
    let directory = new_directory();
    let files = directory.join("appendonlydir");
    fs::create_dir(&files).expect("a directory");
    fs::write(files.join("appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n")
        .expect("a manifest");
    fs::write(files.join("appendonly.aof.1.incr.aof"), log).expect("a log");
    directory
}

#[test]
fn a_log_of_everything_comes_to_the_same_on_any_number_of_shards() {
    for seed in 0..6 {
        let log = log(seed, 1_500);
        // As a client: what fails must not be in a log that the real server is to load.
        let Some(real) = Server::real(&["--enable-debug-command", "yes"]) else { return };
        let mut client = real.client();
        client.send(&log);
        client.send(&encode(&["ECHO", "the end"]));
        while client.reply().to_string() != "\"the end\"" {}
        let expected = digest(&real);
        for shards in [1, 2, 5] {
            let ours = Server::torc_on(directory_of(&log), shards, EVERY_SECOND);
            assert_eq!(digest(&ours), expected, "seed {seed}, {shards} shards");
        }
    }
}

#[test]
fn a_transaction_without_its_end_is_not_run_on_any_shard() {
    let whole = log(7, 200);
    let mut cut = whole.clone();
    for line in ["SELECT 0", "MULTI", "SET key:1 half", "SET key:2 half", "SET key:3 half", "DEL key:4"] {
        cut.extend(encode(&line.split(' ').collect::<Vec<_>>()));
    }
    for shards in [1, 2, 5] {
        let expected = digest(&Server::torc_on(directory_of(&whole), shards, EVERY_SECOND));
        let ours = Server::torc_on(directory_of(&cut), shards, EVERY_SECOND);
        assert_eq!(digest(&ours), expected, "{shards} shards");
    }
}
