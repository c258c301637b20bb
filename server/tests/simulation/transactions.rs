//! WATCH: no update is lost and none is done twice, whoever dies, on any number of shards.
//!
//! ```text
//!   counters c0 c1 ... on all shards, and a sum
//!   client:   WATCH c; GET c ──> MULTI; SET c n + 1; INCRBY sum 1; EXEC ──> done, or once more if it was nil
//!   reader:   MULTI; GET of all; EXEC, or MGET of all                   ──> the sum is the sum
//!   auditor:  when all are through                                      ──> the sum is the number of EXECs that were done,
//!                                                                           give or take those whose client died
//! ```

use super::client::{ClientPlan, Script};
use super::command::{Command, Reply};
use super::judge::judge_each;
use super::run::Plan;
use super::workload::{name_on, plan_of, random_faults};
use std::cell::Cell;
use std::rc::Rc;

/// What the clients of a run have come to.
#[derive(Default)]
struct Score {
    done: Cell<i64>,
    unknown: Cell<i64>,
    /// Clients that are not through.
    running: Cell<usize>,
}

fn add(cell: &Cell<i64>) {
    cell.set(cell.get() + 1);
}

fn words(line: &str) -> Command {
    Command::Words(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

fn number(reply: &Reply) -> Result<i64, String> {
    match reply {
        Reply::Nil => Ok(0),
        Reply::Bulk(text) => {
            let text = String::from_utf8_lossy(text);
            text.parse().map_err(|_| format!("a counter holds {text}"))
        }
        other => Err(format!("not a counter: {other:?}")),
    }
}

/// Where a client is.
enum At {
    Begin,
    /// It has asked for the value of this counter.
    Watching(usize),
    /// It has asked for EXEC.
    Executing,
}

/// Raises counters by one, `times` times, each time at the first try that nobody interferes with.
fn counter(names: Vec<String>, score: Rc<Score>, mut times: usize, ways: u8) -> Script {
    score.running.set(score.running.get() + 1);
    let mut at = At::Begin;
    Box::new(move |dice, replies| {
        match (&at, replies) {
            (At::Begin | At::Watching(_), []) => {}
            (At::Executing, []) => {
                // The connection is gone: nobody knows.
                add(&score.unknown);
                times -= 1;
            }
            (At::Watching(counter), [Reply::Status(_), value]) => {
                let name = &names[*counter];
                let next = number(value)? + 1;
                at = At::Executing;
                let mut pipeline = vec![words("MULTI"), words(&format!("SET {name} {next}")), words("INCR {sum}")];
                match ways {
                    // What stands in the way of one stage.
                    1 => pipeline.push(words(&format!("RENAME {name} {{other}}{name}"))),
                    2 => pipeline.push(words("DBSIZE")),
                    _ => {}
                }
                if ways == 1 {
                    pipeline.push(words(&format!("RENAME {{other}}{name} {name}")));
                }
                pipeline.push(words("EXEC"));
                return Ok(pipeline);
            }
            (At::Executing, [.., Reply::Array(replies)]) if replies.len() > 1 => {
                add(&score.done);
                times -= 1;
            }
            // As an absent array is read.
            (At::Executing, [.., Reply::Array(_)]) => {}
            (_, replies) => return Err(format!("not what a transaction answers: {replies:?}")),
        }
        if times == 0 {
            score.running.set(score.running.get() - 1);
            return Ok(Vec::new());
        }
        let counter = dice.random.usize(..names.len());
        at = At::Watching(counter);
        Ok(vec![words(&format!("WATCH {}", names[counter])), words(&format!("GET {}", names[counter]))])
    })
}

/// Reads all counters and the sum, until everybody has been through for the whole of a look.
fn reader(names: Vec<String>, score: Rc<Score>) -> Script {
    let mut is_last = false;
    Box::new(move |dice, replies| {
        let values = match replies {
            [] => None,
            [.., Reply::Array(values)] => Some(values.iter().map(number).collect::<Result<Vec<i64>, String>>()?),
            other => return Err(format!("not what a reader gets: {other:?}")),
        };
        if let Some((sum, counters)) = values.as_deref().and_then(<[i64]>::split_last) {
            if counters.iter().sum::<i64>() != *sum {
                return Err(format!("half a transaction: {values:?}"));
            }
            let (done, unknown) = (score.done.get(), score.unknown.get());
            if is_last && !(done..=done + unknown).contains(sum) {
                return Err(format!("{sum} updates, but {done} were answered, and {unknown} not"));
            }
            if is_last {
                return Ok(Vec::new());
            }
        }
        is_last = score.running.get() == 0;
        if dice.percent(50) {
            return Ok(vec![words(&format!("MGET {} {{sum}}", names.join(" ")))]);
        }
        let gets = names.iter().map(|name| words(&format!("GET {name}")));
        Ok(std::iter::once(words("MULTI")).chain(gets).chain([words("GET {sum}"), words("EXEC")]).collect())
    })
}

/// Begins transactions and never ends one, until everybody else is through.
fn sleeper(names: Vec<String>, score: Rc<Score>) -> Script {
    let mut has_begun = false;
    Box::new(move |_, _| {
        if score.running.get() == 0 {
            return Ok(Vec::new());
        }
        if std::mem::replace(&mut has_begun, true) {
            return Ok(vec![words("PING")]);
        }
        Ok(vec![words(&format!("WATCH {}", names.join(" "))), words("MULTI"), words(&format!("SET {} 0", names[0]))])
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let counters = random.usize(1..=4);
    let name = |number: usize| {
        String::from_utf8(name_on(number % shards, shards, (b'a' + number as u8) as char)).expect("letters")
    };
    let names: Vec<String> = (0..counters).map(name).collect();
    let score = Rc::new(Score::default());
    let (times, ways) = (random.usize(1..12), random.u8(..3));
    let count = random.usize(1..=5);
    let mut clients: Vec<ClientPlan> = Vec::new();
    for _ in 0..count {
        let script = counter(names.clone(), score.clone(), times, ways);
        let deaths_max = [0, 0, 3][random.usize(..3)];
        clients.push(ClientPlan { dies_percent: 10, deaths_max, ..ClientPlan::patient(script) });
    }
    clients.push(ClientPlan::patient(reader(names.clone(), score.clone())));
    clients.push(ClientPlan::patient(sleeper(names, score)));
    let faults = random_faults(random);
    let plan = plan_of(seed, shards, random, clients);
    Plan { databases: 2, faults, step_ns_max: plan.step_ns_max.min(50_000), ..plan }
}

#[test]
fn no_update_is_lost_and_nobody_sees_half_of_one() {
    judge_each(crate::seeds(), random_plan);
}
