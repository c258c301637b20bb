//! The seeded simulation: the server's own code, one to eight shards, many clients, a network and a clock, on one thread.
//!
//! ```text
//!   workload (clients, faults, limits from a seed) ─> run (every atomic step an event) ─> history ─> checker
//!                                                      └─ trace (what the shards ran when: a hint) ────^
//! ```
//! What is checked:
//! 1. One order of all commands explains every reply: strict serializability, so single keys are linearizable and no MGET
//!    sees half an MSET; each connection's writes come in the order of sending, as `server/ARCHITECTURE.md` promises. *(checker)*
//! 2. No reply is lost, doubled or torn, whatever the network does: delays, short reads and writes, resets. *(client)*
//! 3. Nobody hangs, and every lock is free in the end, also when a client dies at any point. *(run, deaths)*
//! 4. WATCH loses no update, and EXEC is seen whole. *(transactions; EXEC is a command of the checker, too)*
//! 5. A subscriber hears every message behind its subscription, once, in the order of each publisher, and not before what its
//!    publisher did before. *(messages)*
//! 6. What clients wait for is given out exactly once, or told to each that follows. *(waiting, streams)*
//! 7. Who caches what it has read, and forgets what it is told to, has what the server has when all is quiet. *(tracking)*
//! 8. A script may look at any key, and what is undone of it has never been. *(scripts; EVAL is a command of the checker, too)*
//! 9. All this can be seen to fail: each rule of order, switched off, has its counterexample. *(rules)*
//!
//! Longer runs and failures:
//! * `cargo test -p torc-server --test simulation` runs 200 seeds, and 10,000 with `TORC_SIMULATION_SEEDS=10000` in front
//!   (some minutes); `TORC_SIMULATION_FIRST=7` begins elsewhere.
//! * A failure prints its seed and the command that runs it again, step for step: `TORC_SIMULATION_SEED=7`. With
//!   `TORC_SIMULATION_HISTORY=1` and `-- --nocapture` that shows all that clients sent and got.

#![allow(unreachable_pub, reason = "a test has no users: `pub` says what another file of it uses")]

mod simulation {
    pub mod checker;
    pub mod client;
    pub mod collections;
    pub mod command;
    pub mod coroutine;
    mod deaths;
    pub mod driver;
    pub mod judge;
    mod messages;
    pub mod rules;
    pub mod run;
    mod scripts;
    mod streams;
    pub mod trace;
    mod tracking;
    mod transactions;
    pub mod waiting;
    pub mod workload;
}

use simulation::judge::{judge, transcript};
use simulation::run::{Outcome, run};
use simulation::workload::random_plan;
use std::fmt::{self, Display};
use std::time::Instant;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What the seeds of a run came to together.
#[derive(Default)]
struct Summary {
    seeds: u64,
    commands: usize,
    steps: u64,
    lock_waits: u64,
    moves: u64,
    undecided: u64,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.commands += outcome.history.len();
        self.steps += outcome.steps;
        self.lock_waits += outcome.lock_waits;
        self.moves += outcome.moved;
        self.undecided += u64::from(!outcome.is_decided);
    }
}

impl Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, commands, steps, lock_waits, moves, undecided } = self;
        write!(
            formatter,
            "{seeds} seeds clean: {commands} commands, {steps} steps, {lock_waits} waits for locks, {moves} moves of \
             connections, {undecided} histories undecided"
        )
    }
}

/// The seeds that are asked for: one, or so many from one on.
fn seeds() -> std::ops::Range<u64> {
    match number_from_environment("TORC_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number_from_environment("TORC_SIMULATION_FIRST").unwrap_or(0);
            first..first + number_from_environment("TORC_SIMULATION_SEEDS").unwrap_or(200)
        }
    }
}

#[test]
fn random_histories_keep_every_promise() {
    const PROGRESS_SEEDS: u64 = 1000;
    let shows_history = std::env::var_os("TORC_SIMULATION_HISTORY").is_some();
    let began = Instant::now();
    let mut summary = Summary::default();
    for seed in seeds() {
        let plan = random_plan(seed);
        let (shards, names) = (plan.shards, plan.names.clone());
        let outcome = judge(plan).unwrap_or_else(|failure| {
            panic!(
                "seed {seed}, {shards} shards: {failure}\nrun it again: TORC_SIMULATION_SEED={seed} \
                 cargo test -p torc-server --test simulation random_histories"
            )
        });
        if shows_history {
            print!("{}", transcript(&outcome.history, &names));
        }
        summary.add(&outcome);
        if summary.seeds.is_multiple_of(PROGRESS_SEEDS) {
            println!("{summary}; {:.0?}", began.elapsed());
        }
    }
    println!("{summary}; {:.1?}", began.elapsed());
    assert!(summary.undecided <= 1 + summary.seeds / 50, "too many histories could not be decided: {summary}");
}

#[test]
fn a_seed_runs_the_same_again() {
    for seed in 0..20 {
        let names = random_plan(seed).names;
        let [once, again] = [run(random_plan(seed)), run(random_plan(seed))];
        assert_eq!((once.steps, once.fingerprint), (again.steps, again.fingerprint), "seed {seed}");
        assert_eq!(transcript(&once.history, &names), transcript(&again.history, &names), "seed {seed}");
    }
}

#[test]
fn a_lost_wake_is_found() {
    let found = (0..20).find_map(|seed| {
        let mut plan = random_plan(seed);
        plan.loses_wakes = true;
        judge(plan).err()
    });
    let text = found.expect("a shard sleeps for ever").text;
    assert!(text.contains("a wake-up was lost") || text.contains("stuck"), "{text}");
}
