//! Scripts that never end, on keys that they do not name: killed at any moment, they have never been.
//!
//! ```text
//!   endless:  EVAL: sets all keys, says which are its own or not, then loops     ──> an error: killed
//!   killer:   SCRIPT KILL, again and again                                       ──> OK or NOTBUSY
//!   writer:   EVAL: one more than a key has, into all keys                       ──> one more than ever before
//!   reader:   MGET of all                                                        ──> all the same, and never what was undone
//! ```

use super::client::{ClientPlan, Script};
use super::command::{Command, Reply};
use super::judge::judge_each;
use super::run::Plan;
use super::workload::{name_on, plan_of};
use std::cell::Cell;
use std::rc::Rc;
use torc_server::settings::Settings;

const ENDLESS: &str = "for _, name in ipairs(ARGV) do redis.call('set', name, 'half') end while true do end";
const ONE_MORE: &str = "local n = (tonumber(redis.call('get', ARGV[1]) or 0) or 0) + 1 \
    for _, name in ipairs(ARGV) do redis.call('set', name, n) end return n";

/// How many clients are not through.
type Running = Rc<Cell<usize>>;

/// A script over all names, of which it declares so many.
fn eval(script: &str, names: &[String], declared: usize) -> Command {
    let mut words: Vec<Vec<u8>> = vec!["EVAL".into(), script.into(), declared.to_string().into()];
    words.extend(names.iter().take(declared).chain(names).map(|name| name.clone().into_bytes()));
    Command::Words(words)
}

fn words(line: &str) -> Command {
    Command::Words(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

fn endless(names: Vec<String>, running: Running, mut times: usize) -> Script {
    running.set(running.get() + 1);
    Box::new(move |dice, replies| {
        match replies {
            [] => {}
            [Reply::Error(text)] if text.contains("killed by user") => times -= 1,
            other => return Err(format!("not what a killed script answers: {other:?}")),
        }
        if times == 0 {
            running.set(running.get() - 1);
            return Ok(Vec::new());
        }
        Ok(vec![eval(ENDLESS, &names, dice.random.usize(..=names.len()))])
    })
}

fn killer(running: Running) -> Script {
    Box::new(move |_, replies| {
        if let [Reply::Error(text)] = replies
            && !text.starts_with("NOTBUSY")
        {
            return Err(format!("SCRIPT KILL answers {text}"));
        }
        Ok(if running.get() == 0 { Vec::new() } else { vec![words("SCRIPT KILL")] })
    })
}

fn writer(names: Vec<String>, running: Running, mut times: usize) -> Script {
    running.set(running.get() + 1);
    let mut last = 0;
    Box::new(move |dice, replies| {
        if let [reply] = replies {
            let Reply::Integer(number) = reply else { return Err(format!("not a number: {reply:?}")) };
            if *number <= last {
                return Err(format!("{number} behind {last}"));
            }
            last = *number;
            times -= 1;
        }
        if times == 0 {
            running.set(running.get() - 1);
            return Ok(Vec::new());
        }
        Ok(vec![eval(ONE_MORE, &names, dice.random.usize(..=names.len()))])
    })
}

fn reader(names: Vec<String>, writes: i64, running: Running) -> Script {
    let mut is_last = false;
    Box::new(move |_, replies| {
        if let [Reply::Array(values)] = replies {
            if values.windows(2).any(|pair| pair[0] != pair[1]) || values.contains(&Reply::Bulk(b"half"[..].into())) {
                return Err(format!("half of a script: {values:?}"));
            }
            if is_last {
                let all = Reply::Bulk(writes.to_string().into_bytes().into());
                return if values[0] == all { Ok(Vec::new()) } else { Err(format!("{values:?}, not {all:?}")) };
            }
        }
        is_last = running.get() == 0;
        Ok(vec![words(&format!("MGET {}", names.join(" ")))])
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let count = random.usize(1..=4);
    let names: Vec<String> = (0..count)
        .map(|number| {
            String::from_utf8(name_on(number % shards, shards, (b'a' + number as u8) as char)).expect("letters")
        })
        .collect();
    let running = Running::default();
    let (writers, times) = (random.usize(1..=3), random.usize(1..=5));
    let mut clients: Vec<ClientPlan> =
        (0..writers).map(|_| ClientPlan::patient(writer(names.clone(), running.clone(), times))).collect();
    clients.push(ClientPlan::patient(endless(names.clone(), running.clone(), random.usize(1..=3))));
    clients.push(ClientPlan::patient(reader(names.clone(), (writers * times) as i64, running.clone())));
    clients.push(ClientPlan::patient(killer(running)));
    let plan = plan_of(seed, shards, random, clients);
    let settings = Settings { undoes_killed_scripts: true, busy_after_ns: 0, ..plan.settings };
    Plan { settings, step_ns_max: plan.step_ns_max.min(50_000), ..plan }
}

#[test]
fn what_is_killed_has_never_been() {
    judge_each(crate::seeds().take(SEEDS_MAX), random_plan);
}

/// A script that never ends takes its time until it is looked at.
const SEEDS_MAX: usize = 50;
