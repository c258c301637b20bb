//! Effects make the same data again, wherever they are replayed.
//!
//! ```text
//!   random commands ──> our shards, simulated ──> effects of every turn, joined to one order
//!                            │                          ├──> our server, empty, on another number of shards
//!                            │                          └──> redis-server 7.0.15, empty
//!                            └───── DEBUG DIGEST, PEXPIRETIME, groups of streams: the same on all three
//! ```
//!
//! The world's time is far ahead of the machine's, so that nothing expires where effects are replayed: what expires says
//! so itself. Commands whose effects 7.0 does not know (times of fields, above all) are replayed into ours alone.
//!
//! `PROPTEST_CASES` asks for more workloads, `PROPTEST_RNG_SEED` for the same ones again; a failing one is made smaller.

#![allow(unreachable_pub, reason = "a test has no users: `pub` says what another file of it uses")]

#[path = "support/mod.rs"]
mod support;

#[path = "replay/cluster.rs"]
mod cluster;
#[path = "replay/inventory.rs"]
mod inventory;
#[path = "replay/workload.rs"]
mod workload;

use cluster::{Cluster, Words};
use inventory::Inventory;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use support::{Client, Reply, Server, encode};
use torc_engine::command::EngineOptions;
use torc_engine::journal::Effect;
use torc_engine::values::Encodings;
use torc_server::settings::Settings;
use workload::Choice;

/// The wall clock of the shards that run the commands: far behind every clock of a machine.
const START_MS: i64 = 3_600_000_000_000;
const CONNECTIONS: usize = 4;

/// Low thresholds: collections are large in no time. With `is_long`, what may be worked off in slices is.
fn settings(is_long: bool) -> Settings {
    let encodings = Encodings {
        hash_listpack_entries_max: 6,
        set_intset_entries_max: 6,
        set_listpack_entries_max: 6,
        sorted_set_listpack_entries_max: 6,
        stream_node_entries_max: 5,
        hyperloglog_sparse_bytes_max: 100,
        ..Encodings::default()
    };
    let standard = EngineOptions::default();
    let units_at_once = if is_long { 0 } else { standard.units_at_once };
    Settings { engine: EngineOptions { encodings, units_at_once, ..standard }, ..Settings::default() }
}

/// The same for the real server.
const REAL_ARGUMENTS: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--hash-max-listpack-entries",
    "6",
    "--set-max-intset-entries",
    "6",
    "--zset-max-listpack-entries",
    "6",
    "--stream-node-max-entries",
    "5",
    "--hll-sparse-max-bytes",
    "100",
];

/// What a workload came to on our shards.
struct Played {
    effects: Vec<Effect>,
    errors: usize,
    inventory: Inventory,
}

fn play(choices: &[Choice], seed: u64, shards: usize, with_newer: bool) -> Played {
    let mut cluster = Cluster::new(seed, shards, CONNECTIONS, &settings(seed % 2 == 1), START_MS);
    // Some of what a connection sends is in transactions: how many commands are still to come of each.
    let mut left = [0; CONNECTIONS];
    let mut random = fastrand::Rng::with_seed(seed);
    for (count, choice) in choices.iter().enumerate() {
        let words = workload::words(choice, count, cluster.now_ms(), with_newer);
        let left = &mut left[choice.connection];
        if *left == 0 && random.u8(..8) == 0 {
            cluster.send(choice.connection, &[b"MULTI".to_vec()]);
            *left = random.usize(1..6);
        }
        cluster.send(choice.connection, &words);
        if *left > 0 {
            *left -= 1;
            if *left == 0 {
                cluster.send(choice.connection, &[b"EXEC".to_vec()]);
            }
        }
        cluster.turns(choice.turns);
        cluster.wait_ms(choice.wait_ms);
    }
    for (connection, left) in left.into_iter().enumerate() {
        if left > 0 {
            cluster.send(connection, &[b"EXEC".to_vec()]);
        }
    }
    take(cluster)
}

/// What it comes to, when all has been answered.
fn take(mut cluster: Cluster) -> Played {
    cluster.settle(0);
    let errors = cluster.errors;
    cluster.stop_time();
    // What is due by now goes, whoever would have asked for it; then nothing happens by itself any more.
    let mut lines = Vec::new();
    for database in 0..inventory::DATABASES {
        lines.push(vec![b"SELECT".to_vec(), database.to_string().into_bytes()]);
        lines.extend(workload::names().map(|name| vec![b"HDEL".to_vec(), name, b"none".to_vec()]));
    }
    cluster.ask(&lines);
    let inventory = inventory::take(&mut |lines| cluster.ask(lines), true);
    Played { effects: cluster.take_effects(), errors, inventory }
}

/// Words to send to make the effects again.
fn lines(effects: &[Effect]) -> Vec<Words> {
    let mut lines = vec![vec![b"SELECT".to_vec(), b"0".to_vec()]];
    let mut selected = 0;
    for effect in effects {
        if effect.database != selected {
            selected = effect.database;
            lines.push(vec![b"SELECT".to_vec(), selected.to_string().into_bytes()]);
        }
        lines.push(effect.arguments.clone());
    }
    lines
}

fn shown(words: &[Vec<u8>]) -> String {
    let words: Vec<_> = words.iter().map(|word| word[..word.len().min(60)].escape_ascii().to_string()).collect();
    words.join(" ")
}

/// Into our server, on so many shards; its clock is a day behind, so that nothing expires there.
fn replay_into_ours(lines: &[Words], seed: u64, shards: usize) -> Result<Inventory, String> {
    let mut cluster = Cluster::new(seed ^ 1, shards, 1, &settings(false), START_MS - 86_400_000);
    for piece in lines.chunks(100) {
        for (words, reply) in piece.iter().zip(cluster.ask(piece)) {
            if reply.is_error() {
                return Err(format!("ours refuses an effect: {} -> {reply}", shown(words)));
            }
        }
    }
    Ok(inventory::take(&mut |lines| cluster.ask(lines), true))
}

fn ask_real(client: &mut Client, lines: &[Words]) -> Vec<Reply> {
    client.send(&lines.iter().flat_map(|words| encode(words)).collect::<Vec<u8>>());
    lines.iter().map(|_| client.reply()).collect()
}

fn replay_into_real(lines: &[Words], client: &mut Client) -> Result<Inventory, String> {
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    for piece in lines.chunks(100) {
        for (words, reply) in piece.iter().zip(ask_real(client, piece)) {
            if reply.is_error() {
                return Err(format!("the real server refuses an effect: {} -> {reply}", shown(words)));
            }
        }
    }
    Ok(inventory::take(&mut |lines| ask_real(client, lines), false))
}

fn compare(ours: &Inventory, theirs: &Inventory, who: &str, is_ours: bool, effects: &[Words]) -> Result<(), String> {
    let differences = inventory::differences(ours, theirs, is_ours);
    if ours.digest == theirs.digest && differences.is_empty() {
        return Ok(());
    }
    let mut text = format!("{who}: digest {} there, {} here\n{differences}effects:\n", theirs.digest, ours.digest);
    for words in effects.iter().rev().take(60).rev() {
        writeln!(text, "  {}", shown(words)).expect("memory");
    }
    Err(text)
}

/// What the workloads of a test came to.
#[derive(Default)]
struct Summary {
    workloads: usize,
    commands: usize,
    errors: usize,
    effects: usize,
    names: BTreeMap<String, usize>,
    keys: usize,
    encodings: BTreeMap<String, usize>,
}

impl Summary {
    fn add(&mut self, choices: &[Choice], played: &Played) {
        self.workloads += 1;
        self.commands += choices.len();
        self.errors += played.errors;
        self.effects += played.effects.len();
        self.keys += played.inventory.items.len();
        for effect in &played.effects {
            *self.names.entry(String::from_utf8_lossy(&effect.arguments[0]).to_uppercase()).or_default() += 1;
        }
    }

    fn add_encodings(
        &mut self,
        who: &str,
        ours: &Inventory,
        real: &Inventory,
        effects: &[Words],
    ) -> Result<(), String> {
        for (key, item) in &ours.items {
            let Some(other) = real.items.get(key) else { continue };
            let pair = format!("{who}: {} {} there, {} here", item.kind, other.encoding, item.encoding);
            let reason = inventory::reason(item, other).ok_or_else(|| {
                let about = effects.iter().filter(|words| words.contains(&key.1)).map(|words| shown(words));
                format!("{}: {pair}\n{}", key.1.escape_ascii(), about.collect::<Vec<_>>().join("\n"))
            })?;
            if item.encoding != other.encoding {
                *self.encodings.entry(format!("{pair}: {reason}")).or_default() += 1;
            }
        }
        Ok(())
    }

    fn print(&self, seed: u64) {
        let Self { workloads, commands, errors, effects, names, keys, encodings } = self;
        println!(
            "{workloads} workloads, {commands} commands, {errors} errors, {effects} effects, {keys} keys; PROPTEST_RNG_SEED={seed}"
        );
        println!("effects: {names:?}");
        for (pair, count) in encodings {
            println!("encodings: {count} times {pair}");
        }
    }
}

/// Runs workloads; the seed is printed before, so that a run that is cut off can be had again.
fn with_workloads(cases: u32, mut check: impl FnMut(&[Choice], u64) -> Result<(), String>) -> u64 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("PROPTEST_RNG_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number("PROPTEST_CASES").map_or(cases, |cases| (cases as u32).div_ceil(8));
    println!("PROPTEST_RNG_SEED={seed} runs these {cases} workloads again");
    let config = Config {
        cases,
        max_shrink_iters: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let check = RefCell::new(&mut check);
    let strategy = (workload::choices(CONNECTIONS), proptest::prelude::any::<u64>());
    let outcome = TestRunner::new(config)
        .run(&strategy, |(choices, seed)| (check.borrow_mut())(&choices, seed).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("PROPTEST_RNG_SEED={seed}: {failure}");
    }
    seed
}

#[test]
fn effects_make_the_same_data_in_ours_and_in_the_real_server() {
    let real = Server::real(REAL_ARGUMENTS);
    let mut client = real.as_ref().map(Server::client);
    let summary = RefCell::new(Summary::default());
    let seed = with_workloads(64, |choices, seed| {
        let shards = 2 + (seed % 3) as usize;
        let played = play(choices, seed, shards, false);
        let lines = lines(&played.effects);
        let copy = replay_into_ours(&lines, seed, if shards == 2 { 3 } else { 1 })?;
        compare(&played.inventory, &copy, "ours", true, &lines)?;
        summary.borrow_mut().add_encodings("ours", &played.inventory, &copy, &lines)?;
        if let Some(client) = &mut client {
            let copy = replay_into_real(&lines, client)?;
            compare(&played.inventory, &copy, "the real server", false, &lines)?;
            summary.borrow_mut().add_encodings("the real server", &played.inventory, &copy, &lines)?;
        }
        summary.borrow_mut().add(choices, &played);
        Ok(())
    });
    summary.borrow().print(seed);
}

#[test]
fn effects_that_only_newer_servers_know_make_the_same_data_in_ours() {
    let summary = RefCell::new(Summary::default());
    let seed = with_workloads(64, |choices, seed| {
        let shards = 2 + (seed % 3) as usize;
        let played = play(choices, seed, shards, true);
        let lines = lines(&played.effects);
        let copy = replay_into_ours(&lines, seed, if shards == 2 { 3 } else { 1 })?;
        compare(&played.inventory, &copy, "ours", true, &lines)?;
        summary.borrow_mut().add(choices, &played);
        Ok(())
    });
    summary.borrow().print(seed);
}

/// Plays some commands while keys expire, many times, and replays what was told.
fn check_around_expiry(rounds: u64, play: impl Fn(&mut Cluster, &mut dyn FnMut(&mut Cluster, usize, &str), u64)) {
    for seed in 0..rounds {
        let shards = 2 + (seed % 3) as usize;
        let mut cluster = Cluster::new(seed, shards, CONNECTIONS, &settings(false), START_MS);
        let mut send = |cluster: &mut Cluster, connection: usize, line: &str| {
            let words: Words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            cluster.send(connection, &words);
        };
        play(&mut cluster, &mut send, seed);
        let played = take(cluster);
        let lines = lines(&played.effects);
        let copy = replay_into_ours(&lines, seed, 1).expect("effects are accepted");
        let same = compare(&played.inventory, &copy, "ours", true, &lines);
        assert!(same.is_ok(), "seed {seed}, {shards} shards: {}", same.unwrap_err());
    }
}

/// Two unions of one source, the second of which finds it expired, and readers between them.
#[test]
fn a_source_that_expires_between_two_units_is_told_of_between_them() {
    check_around_expiry(150, |cluster, send, seed| {
        send(cluster, 0, "SADD t1 a");
        send(cluster, 0, "SADD t0 z");
        send(cluster, 0, &format!("PEXPIREAT t1 {}", START_MS + 10));
        cluster.settle(0);
        while cluster.now_ms() < START_MS + 9 {
            cluster.turns(20);
        }
        // Around the end of its life there is always something under way.
        for count in 0.. {
            if cluster.now_ms() > START_MS + 10 {
                break;
            }
            let connection = (seed as usize + count) % CONNECTIONS;
            let line = match count % 4 {
                0 => "SUNIONSTORE t2 t1 t0".to_owned(),
                1 => "SMEMBERS t1".to_owned(),
                2 => format!("SUNIONSTORE t{} t0 t1", 3 + count / 4 % 2),
                _ => "SINTER t0 t1".to_owned(),
            };
            send(cluster, connection, &line);
            cluster.turns(2 + seed as usize % 10);
        }
    });
}

/// EXEC writes keys on several shards, one of which holds what has expired and not been found.
#[test]
fn what_a_unit_finds_expired_is_told_of_before_it() {
    check_around_expiry(60, |cluster, send, seed| {
        for name in ["s1", "s2", "s3"] {
            send(cluster, 0, &format!("SET {name} old PXAT {}", START_MS + 1));
        }
        cluster.settle(0);
        cluster.wait_ms(2);
        let connection = seed as usize % CONNECTIONS;
        let pairs = if seed % 2 == 0 { "s1 a s2 b s3 c" } else { "s3 c s2 b s1 a" };
        for line in ["MULTI", &format!("MSETEX 3 {pairs} PX 100000"), "INCR n1", "EXEC"] {
            send(cluster, connection, line);
        }
    });
}
