//! The seeded simulation: the server's own code, one to eight shards, many clients, a network and a clock, on one thread.
//!
//! ```text
//!   workload (clients, faults, limits from a seed) ─> run (every atomic step an event) ─> history ─> checker
//! ```
//! * `cargo test -p torc-server --test simulation` runs 200 seeds.
//! * `TORC_SIMULATION_SEEDS=10000 cargo test ...` runs so many; `TORC_SIMULATION_FIRST=7` begins elsewhere.
//! * `TORC_SIMULATION_HISTORY=1` prints what clients sent and got.
//! * A failure prints its seed: `TORC_SIMULATION_SEED=7 cargo test ...` runs that one again, step for step.

#![allow(unreachable_pub)] // a test has no users: `pub` here says what another file of it uses

#[path = "simulation/checker.rs"]
mod checker;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/command.rs"]
mod command;
#[path = "simulation/coroutine.rs"]
mod coroutine;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/workload.rs"]
mod workload;

use checker::Verdict;
use run::{Outcome, Plan};
use std::time::Instant;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs a plan and checks what it left; the first thing that is wrong.
fn judge(plan: Plan) -> (Outcome, Verdict) {
    let names = plan.names.clone();
    let t0 = Instant::now();
    let mut outcome = run::run(plan);
    let t1 = Instant::now();
    if !outcome.failures.is_empty() {
        let text = outcome.failures.remove(0);
        return (outcome, Verdict::Violation(text));
    }
    if std::env::var_os("TORC_SIMULATION_HISTORY").is_some() {
        for operation in &outcome.seen.history {
            println!("{}", checker::describe(operation, &names));
        }
    }
    let verdict = checker::check(&outcome.seen.history, &names);
    if verdict == Verdict::Undecided {
        let pending = outcome
            .seen
            .history
            .iter()
            .filter(|o| o.reply.is_none() && o.command.is_ordered() && o.command.is_write())
            .count();
        let sessions = outcome
            .seen
            .history
            .iter()
            .filter(|o| o.reply.is_none())
            .map(|o| o.session)
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        println!(
            "run {:?} check {:?} steps {} commands {} pending {pending} in {sessions} {:?}",
            t1 - t0,
            t1.elapsed(),
            outcome.steps,
            outcome.seen.history.len(),
            verdict == Verdict::Undecided
        );
    }
    let verdict = match verdict {
        Verdict::Violation(mut text) => {
            text.push_str("  in short:\n");
            for operation in checker::minimise(&outcome.seen.history, &names) {
                text.push_str(&format!("    {}\n", checker::describe(&operation, &names)));
            }
            Verdict::Violation(text)
        }
        other => other,
    };
    (outcome, verdict)
}

#[test]
fn random_histories_keep_every_promise() {
    let seeds = match number_from_environment("TORC_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number_from_environment("TORC_SIMULATION_FIRST").unwrap_or(0);
            first..first + number_from_environment("TORC_SIMULATION_SEEDS").unwrap_or(200)
        }
    };
    let started = Instant::now();
    let (mut steps, mut commands, mut undecided, mut moved, mut lock_waits) = (0, 0, 0, 0, 0);
    for seed in seeds.clone() {
        let plan = workload::random_plan(seed);
        let shards = plan.shards;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(plan)));
        let Ok((outcome, verdict)) = caught else {
            panic!("seed {seed} shards {shards}: the server panicked; TORC_SIMULATION_SEED={seed} runs it again")
        };
        if let Verdict::Violation(text) = verdict {
            panic!("seed {seed} shards {shards}: {text}\nTORC_SIMULATION_SEED={seed} runs it again");
        }
        undecided += u64::from(verdict == Verdict::Undecided);
        steps += outcome.steps;
        commands += outcome.seen.history.len();
        moved += outcome.moved;
        lock_waits += outcome.lock_waits;
        let done = seed - seeds.start + 1;
        if done % 500 == 0 {
            println!("{done} seeds, {commands} commands, {steps} steps, {:.0?}", started.elapsed());
        }
    }
    println!(
        "{} seeds clean in {:.1?}: {commands} commands, {steps} steps, {lock_waits} waits for locks, {moved} moves, \
         {undecided} undecided",
        seeds.end - seeds.start,
        started.elapsed()
    );
    assert!(undecided * 20 <= seeds.end - seeds.start, "{undecided} histories could not be decided");
}
