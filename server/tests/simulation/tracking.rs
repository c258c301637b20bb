//! Client-side caching: a client that keeps what it has read until it is told otherwise keeps nothing for too long.
//!
//! ```text
//!   writers    SET, DEL, MSET, transactions, now and then FLUSHALL, on keys of all shards
//!   trackers   HELLO 3, CLIENT TRACKING ON (all, OPTIN, BCAST, NOLOOP); GET into a cache; an invalidation takes out of it
//!              when all writers are through: what is in the cache is what the server has
//! ```
//! Replies and invalidations count in the order in which they come.

use super::client::{ClientPlan, Dice, Ear, Script};
use super::command::{Command, Reply};
use super::judge::judge_each;
use super::run::Plan;
use super::waiting::words;
use super::workload::{name_on, plan_of};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What a tracker has sent, and waits for.
enum Asked {
    Nothing,
    /// A value for the cache.
    Value(String),
    /// A value that the cache must have.
    Check(String),
    /// A write of its own: whether it is told of that or not, the cached value is gone.
    Own(String),
}

#[derive(Default)]
struct Cache {
    asked: VecDeque<Asked>,
    values: BTreeMap<String, Reply>,
    failure: Option<String>,
}

impl Cache {
    fn hear(&mut self, reply: &Reply) -> bool {
        if let Reply::Push(parts) = reply {
            match parts.as_slice() {
                [_, Reply::Array(keys)] => {
                    for key in keys {
                        let Reply::Bulk(key) = key else { continue };
                        self.values.remove(&String::from_utf8_lossy(key).into_owned());
                    }
                }
                _ => self.values.clear(),
            }
            return true;
        }
        match self.asked.pop_front() {
            Some(Asked::Value(key)) => drop(self.values.insert(key, reply.clone())),
            Some(Asked::Own(key)) => drop(self.values.remove(&key)),
            Some(Asked::Check(key)) => {
                if self.values.get(&key).is_some_and(|cached| cached != reply) {
                    self.failure = Some(format!("{key} is {reply:?}, but {:?} is cached", self.values[&key]));
                }
            }
            Some(Asked::Nothing) | None => {}
        }
        false
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    OptIn,
    Broadcast,
    NoLoop,
}

fn set(names: &[String], dice: &mut Dice) -> (String, Command) {
    let name = names[dice.random.usize(..names.len())].clone();
    let command = words(&format!("SET {name} {}", dice.number()));
    (name, command)
}

/// Who writes, by itself or among its reads.
#[derive(Default)]
struct Writing {
    writers: Cell<usize>,
    trackers: Cell<usize>,
}

/// What a client writes that dies may come at any time: such a one writes nothing.
fn tracker(names: Vec<String>, mode: Mode, cache: Rc<RefCell<Cache>>, writing: Rc<Writing>, writes: bool) -> Script {
    writing.trackers.set(writing.trackers.get() + 1);
    let (mut is_quiet, mut quiet_rounds) = (false, 0);
    Box::new(move |dice, replies| {
        let mut cache = cache.borrow_mut();
        if let Some(failure) = cache.failure.take() {
            return Err(failure);
        }
        let mut pipeline = Vec::new();
        let mut send = |cache: &mut Cache, asked: Asked, command: Command| {
            cache.asked.push_back(asked);
            pipeline.push(command);
        };
        if replies.is_empty() {
            // New, or again.
            (cache.asked, cache.values) = Default::default();
            quiet_rounds = 0;
            send(&mut cache, Asked::Nothing, words("HELLO 3"));
            let how = match mode {
                Mode::All => "",
                Mode::OptIn => " OPTIN",
                Mode::Broadcast => " BCAST",
                Mode::NoLoop => " NOLOOP",
            };
            send(&mut cache, Asked::Nothing, words(&format!("CLIENT TRACKING ON{how}")));
            return Ok(pipeline);
        }
        if writing.writers.get() == 0 {
            if !std::mem::replace(&mut is_quiet, true) {
                writing.trackers.set(writing.trackers.get() - 1);
            }
            quiet_rounds = if writing.trackers.get() == 0 { quiet_rounds + 1 } else { 1 };
        }
        match quiet_rounds {
            0 => {
                for _ in 0..dice.random.usize(1..6) {
                    if writes && dice.percent(15) {
                        let (name, command) = set(&names, dice);
                        send(&mut cache, Asked::Own(name), command);
                        continue;
                    }
                    let name = names[dice.random.usize(..names.len())].clone();
                    let is_chosen = dice.percent(70);
                    if mode == Mode::OptIn && is_chosen {
                        send(&mut cache, Asked::Nothing, words("CLIENT CACHING YES"));
                    }
                    let get = words(&format!("GET {name}"));
                    let is_kept = mode != Mode::OptIn || is_chosen;
                    send(&mut cache, if is_kept { Asked::Value(name) } else { Asked::Nothing }, get);
                }
            }
            // What was on its way has come when these are answered; broadcasts are told at the end of a turn.
            1..5 => send(&mut cache, Asked::Nothing, words("PING")),
            5 => {
                let names: Vec<String> = cache.values.keys().cloned().collect();
                for name in names {
                    let get = words(&format!("GET {name}"));
                    send(&mut cache, Asked::Check(name), get);
                }
                send(&mut cache, Asked::Nothing, words("PING"));
            }
            _ => {}
        }
        Ok(pipeline)
    })
}

fn writer(names: Vec<String>, writing: Rc<Writing>, mut times: usize) -> Script {
    writing.writers.set(writing.writers.get() + 1);
    Box::new(move |dice, _| {
        if times == 0 {
            writing.writers.set(writing.writers.get() - 1);
            return Ok(Vec::new());
        }
        times -= 1;
        let some = |dice: &mut Dice| set(&names, dice).1;
        Ok(match dice.random.u8(..10) {
            0 => vec![words(&format!("DEL {} {}", names[0], names[dice.random.usize(..names.len())]))],
            1 => vec![words(&format!(
                "MSET {} {} {} {}",
                names[0],
                dice.number(),
                names[names.len() - 1],
                dice.number()
            ))],
            2..5 => vec![words("MULTI"), some(dice), some(dice), some(dice), words("EXEC")],
            5 if dice.percent(30) => vec![words("FLUSHALL")],
            6 => vec![words(&format!("RENAME {} {}", names[0], names[names.len() - 1]))],
            _ => vec![some(dice), some(dice)],
        })
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let name = |number: usize| {
        String::from_utf8(name_on(number % shards, shards, (b'a' + number as u8) as char)).expect("letters")
    };
    let names: Vec<String> = (0..random.usize(2..=6)).map(name).collect();
    let writing = Rc::new(Writing::default());
    let mut clients: Vec<ClientPlan> = Vec::new();
    for _ in 0..random.usize(1..=3) {
        clients.push(ClientPlan::patient(writer(names.clone(), writing.clone(), random.usize(1..25))));
    }
    for _ in 0..random.usize(1..=3) {
        let cache = Rc::new(RefCell::new(Cache::default()));
        let heard = cache.clone();
        let ear: Ear = Box::new(move |reply| heard.borrow_mut().hear(reply));
        let mode = [Mode::All, Mode::OptIn, Mode::Broadcast, Mode::NoLoop][random.usize(..4)];
        let deaths_max = [0, 0, 2][random.usize(..3)];
        let script = tracker(names.clone(), mode, cache, writing.clone(), deaths_max == 0);
        clients.push(ClientPlan {
            ear: Some(ear),
            dies_percent: 3,
            deaths_max,
            reads_percent: [100, 50, 10][random.usize(..3)],
            ..ClientPlan::patient(script)
        });
    }
    plan_of(seed, shards, random, clients)
}

#[test]
fn what_is_cached_is_what_the_server_has_when_all_is_quiet() {
    judge_each(crate::seeds(), random_plan);
}
