//! Clients that wait: every element is popped exactly once, whoever dies and whatever times out, on any number of shards.
//!
//! ```text
//!   producers   RPUSH of values that nobody else pushes, alone or in transactions, to lists on all shards
//!   movers      BLMOVE, LMOVE between the lists
//!   consumers   BLPOP, BRPOP, BLMPOP of several lists, with short timeouts; some die while they wait
//!   auditor     when all are through: what was popped and what is left is what was pushed, but for at most one element for
//!               each client that died with an answer on its way
//! ```

use super::client::{ClientPlan, Script};
use super::command::{Command, Reply};
use super::judge::judge;
use super::run::Plan;
use super::workload::{name_on, random_faults, random_settings};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use torc_engine::transaction::rules::Rules;

/// What the clients of a run have come to.
#[derive(Default)]
struct Score {
    pushed: RefCell<BTreeSet<String>>,
    popped: RefCell<BTreeSet<String>>,
    /// Clients that died and may have been given an element.
    lost: Cell<usize>,
    producing: Cell<usize>,
    running: Cell<usize>,
}

fn add(cell: &Cell<usize>, change: isize) {
    cell.set(cell.get().wrapping_add_signed(change));
}

fn words(line: &str) -> Command {
    Command::Words(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

fn text(reply: &Reply) -> Result<String, String> {
    match reply {
        Reply::Bulk(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        other => Err(format!("not an element: {other:?}")),
    }
}

fn take(score: &Score, value: String) -> Result<(), String> {
    if !score.pushed.borrow().contains(&value) {
        return Err(format!("{value} was never pushed"));
    }
    if score.popped.borrow_mut().insert(value.clone()) { Ok(()) } else { Err(format!("{value} was popped twice")) }
}

/// Pushes, in pipelines and in transactions. Its replies are sure to come: connections are not reset.
fn producer(names: Vec<String>, score: Rc<Score>, mut times: usize) -> Script {
    add(&score.producing, 1);
    add(&score.running, 1);
    Box::new(move |dice, _| {
        if times == 0 {
            add(&score.producing, -1);
            add(&score.running, -1);
            return Ok(Vec::new());
        }
        times -= 1;
        let push = |dice: &mut super::client::Dice| {
            let value = format!("v{}", dice.number());
            score.pushed.borrow_mut().insert(value.clone());
            let (verb, name) = (["RPUSH", "LPUSH"][dice.random.usize(..2)], &names[dice.random.usize(..names.len())]);
            words(&format!("{verb} {name} {value}"))
        };
        let mut pipeline: Vec<Command> = (0..dice.random.usize(1..4)).map(|_| push(dice)).collect();
        if dice.percent(30) {
            pipeline.insert(0, words("MULTI"));
            pipeline.push(words("EXEC"));
        }
        Ok(pipeline)
    })
}

/// A time that a client waits, in seconds.
fn timeout(dice: &mut super::client::Dice) -> String {
    format!("0.{:04}", dice.random.u32(1..200))
}

/// Moves elements about while somebody produces.
fn mover(names: Vec<String>, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    Box::new(move |dice, _| {
        if score.producing.get() == 0 {
            add(&score.running, -1);
            return Ok(Vec::new());
        }
        let mut name = || names[dice.random.usize(..names.len())].clone();
        let (from, to) = (name(), name());
        Ok(vec![match dice.random.u8(..4) {
            0 => words(&format!("LMOVE {from} {to} LEFT RIGHT")),
            1 => words(&format!("RPOPLPUSH {from} {to}")),
            _ => words(&format!("BLMOVE {from} {to} LEFT RIGHT {}", timeout(dice))),
        }])
    })
}

/// Pops until nobody produces and nothing is left for it.
fn consumer(names: Vec<String>, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    let (mut is_waiting, mut is_last) = (false, false);
    Box::new(move |dice, replies| {
        match replies {
            [] if is_waiting => add(&score.lost, 1),
            [] => {}
            [Reply::Array(parts)] => match parts.as_slice() {
                // As an absent array is read.
                [] if is_last => {
                    add(&score.running, -1);
                    return Ok(Vec::new());
                }
                [] => {}
                [_, Reply::Array(values)] => values.iter().try_for_each(|value| take(&score, text(value)?))?,
                [_, value] => take(&score, text(value)?)?,
                other => return Err(format!("not what a pop answers: {other:?}")),
            },
            other => return Err(format!("not what a pop answers: {other:?}")),
        }
        is_waiting = true;
        is_last = score.producing.get() == 0;
        let first = dice.random.usize(..names.len());
        let some: Vec<&str> = (0..=dice.random.usize(..3)).map(|n| names[(first + n) % names.len()].as_str()).collect();
        let (count, some) = (some.len(), some.join(" "));
        Ok(vec![match dice.random.u8(..3) {
            0 => words(&format!("BLMPOP {} {count} {some} LEFT", timeout(dice))),
            1 => words(&format!("BRPOP {some} {}", timeout(dice))),
            _ => words(&format!("BLPOP {some} {}", timeout(dice))),
        }])
    })
}

fn auditor(names: Vec<String>, score: Rc<Score>) -> Script {
    let mut has_asked = false;
    Box::new(move |_, replies| {
        if !has_asked {
            has_asked = score.running.get() == 0;
            let lists = names.iter().map(|name| words(&format!("LRANGE {name} 0 -1")));
            return Ok(if has_asked { lists.collect() } else { vec![words("PING")] });
        }
        if replies.is_empty() {
            has_asked = false;
            return Ok(vec![words("PING")]);
        }
        for reply in replies {
            let Reply::Array(values) = reply else { return Err(format!("not a list: {reply:?}")) };
            values.iter().try_for_each(|value| take(&score, text(value)?))?;
        }
        let (pushed, popped) = (score.pushed.borrow().len(), score.popped.borrow().len());
        if pushed > popped + score.lost.get() {
            let lost: Vec<_> = score.pushed.borrow().difference(&score.popped.borrow()).cloned().collect();
            return Err(format!("lost: {lost:?}, but only {} clients died", score.lost.get()));
        }
        Ok(Vec::new())
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let lists = random.usize(1..=5);
    let name = |number: usize| {
        String::from_utf8(name_on(number % shards, shards, (b'a' + number as u8) as char)).expect("letters")
    };
    let names: Vec<String> = (0..lists).map(name).collect();
    let score = Rc::new(Score::default());
    let mut clients: Vec<ClientPlan> = Vec::new();
    for _ in 0..random.usize(1..=2) {
        clients.push(ClientPlan::patient(producer(names.clone(), score.clone(), random.usize(1..15))));
    }
    for _ in 0..random.usize(..=2) {
        let deaths_max = [0, 2][random.usize(..2)];
        clients.push(ClientPlan {
            dies_percent: 5,
            deaths_max,
            ..ClientPlan::patient(mover(names.clone(), score.clone()))
        });
    }
    for _ in 0..random.usize(1..=4) {
        let deaths_max = [0, 0, 3][random.usize(..3)];
        let script = consumer(names.clone(), score.clone());
        clients.push(ClientPlan { dies_percent: 5, deaths_max, ..ClientPlan::patient(script) });
    }
    clients.push(ClientPlan::patient(auditor(names, score)));
    Plan {
        seed,
        shards,
        databases: 1,
        rules: Rules::default(),
        faults: torc_server::reactor::simulated::Faults { reset_per_million: 0, ..random_faults(random) },
        settings: random_settings(random),
        clients,
        names: vec![b"unused".to_vec()],
        step_ns_max: [2_000, 50_000, 200_000][random.usize(..3)],
        loses_wakes: false,
        stops_after: None,
        death: None,
    }
}

#[test]
fn every_element_is_popped_exactly_once() {
    for seed in crate::seeds() {
        let plan = random_plan(seed);
        let shards = plan.shards;
        if let Err(failure) = judge(plan) {
            panic!("seed {seed}, {shards} shards: {failure}");
        }
    }
}
