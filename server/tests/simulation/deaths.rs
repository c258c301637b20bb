//! A client that dies at every point of a command on several shards: no lock may stay held, and whatever the command had
//! done is all or nothing.
//!
//! ```text
//!   victim     connects │ SET a, SET b │ the command │ goes      run n: dies in front of step n, by a close or by a reset
//!   witnesses  MGET a b, SET a or b, again and again             n goes from the connect to the end
//! ```
//! Every run is checked as all are: the witnesses get their replies, the shards come to rest with nothing held, and one
//! order explains what was seen, with the victim's last commands in it or not.

use super::client::{ClientPlan, Death, Script};
use super::command::Command;
use super::judge::judge;
use super::rules::{plan, repeat};
use super::run::Plan;
use torc_engine::transaction::rules::Rules;

/// Keys 0 and 1 are on two shards; a third one may have the victim's connection.
const SHARDS: usize = 3;
const SEEDS: u64 = 1;
const STEPS_MAX: u64 = 10_000;

fn victim(command: fn() -> Command) -> ClientPlan {
    let mut pipelines =
        vec![vec![command()], vec![Command::set(0, b"from"[..].into()), Command::set(1, b"to"[..].into())]];
    let script: Script = Box::new(move |_, _| Ok(pipelines.pop().unwrap_or_default()));
    ClientPlan::patient(script)
}

fn witness() -> ClientPlan {
    repeat(4, |dice| {
        let key = dice.random.u16(..2);
        vec![Command::MGet(vec![0, 1]), Command::set(key, dice.value())]
    })
}

fn scene(seed: u64, command: fn() -> Command, death: Option<(u64, Death)>) -> Plan {
    Plan { death, ..plan(seed, Rules::default(), SHARDS, vec![victim(command), witness(), witness()]) }
}

fn survives_every_death(command: fn() -> Command) {
    for seed in 0..SEEDS {
        for death in [Death::Close, Death::Reset] {
            let died_at = |step: u64| match judge(scene(seed, command, Some((step, death)))) {
                Ok(outcome) => outcome.has_died,
                Err(failure) => panic!("seed {seed}, {death:?} in front of step {step}: {failure}"),
            };
            let first = (0..STEPS_MAX).find(|step| died_at(*step)).expect("the victim connects");
            let last =
                (first + 1..STEPS_MAX).take_while(|step| died_at(*step)).last().expect("it is there for a while");
            assert!(last < STEPS_MAX - 1, "seed {seed}: the victim is there for longer than {STEPS_MAX} steps");
        }
    }
}

#[test]
fn of_a_rename() {
    survives_every_death(|| Command::Rename(0, 1));
}

#[test]
fn of_a_copy() {
    survives_every_death(|| Command::Copy { from: 0, to: 1, database: 0, replace: true });
}

#[test]
fn of_an_msetnx_that_finds_a_key() {
    survives_every_death(|| Command::MSetNx(vec![(0, b"x"[..].into()), (1, b"y"[..].into())]));
}

#[test]
fn of_an_mset() {
    survives_every_death(|| Command::MSet(vec![(0, b"x"[..].into()), (1, b"y"[..].into())]));
}

#[test]
fn of_a_flushall() {
    survives_every_death(|| Command::FlushAll);
}

fn two_sets() -> [Command; 2] {
    [Command::set(0, b"x"[..].into()), Command::set(1, b"y"[..].into())]
}

#[test]
fn of_an_exec() {
    survives_every_death(|| Command::Exec(two_sets().into()));
}

#[test]
fn of_an_exec_that_watches_both_shards() {
    survives_every_death(|| Command::Watched([&[Command::Get(0)], &two_sets()[..]].concat()));
}

#[test]
fn of_an_exec_whose_values_travel() {
    survives_every_death(|| Command::Exec(vec![two_sets()[0].clone(), Command::Rename(0, 1), two_sets()[0].clone()]));
}
