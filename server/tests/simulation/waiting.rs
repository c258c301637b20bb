//! Clients that wait: every element is popped exactly once, whoever dies and whatever times out, on any number of shards.
//!
//! ```text
//!   producers   RPUSH, LPUSH, ZADD of values that nobody else adds, alone or in transactions, to keys on all shards
//!   movers      BLMOVE, BLMOVEM, LMOVE between the lists, from one to the next
//!   consumers   BLPOP, BRPOP, BLMPOP of several lists, BZPOPMIN, BZPOPMAX, BZMPOP of sorted sets, with short timeouts
//!   meddlers    CLIENT UNBLOCK and CLIENT KILL of consumers, some of which die by themselves, too
//!   auditor     when all are through: what was popped and what is left is what was added, but for at most one element for
//!               each time that a consumer died with an answer on its way
//! ```

use super::client::{ClientPlan, Dice, Script};
use super::command::{Command, Reply};
use super::judge::judge_each;
use super::run::Plan;
use super::workload::{name_on, plan_of};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What the clients of a run have come to.
#[derive(Default)]
pub struct Score {
    pub pushed: RefCell<BTreeSet<String>>,
    pub popped: RefCell<BTreeSet<String>>,
    /// Deaths of clients that may have been given an element.
    pub lost: Cell<usize>,
    pub producing: Cell<usize>,
    pub running: Cell<usize>,
    /// Connections of consumers.
    pub consumers: RefCell<Vec<i64>>,
}

impl Score {
    /// Whether all that was added has been given out, but for what dead clients may have got.
    pub fn audit(&self) -> Result<(), String> {
        let (pushed, popped, lost) = (self.pushed.borrow(), self.popped.borrow(), self.lost.get());
        if pushed.len() <= popped.len() + lost {
            return Ok(());
        }
        let missing: Vec<_> = pushed.difference(&popped).collect();
        Err(format!("lost: {missing:?}, but only {lost} clients died"))
    }
}

/// The keys of a run.
#[derive(Clone)]
struct Keys {
    lists: Vec<String>,
    sets: Vec<String>,
}

pub fn add(cell: &Cell<usize>, change: isize) {
    cell.set(cell.get().wrapping_add_signed(change));
}

pub fn words(line: &str) -> Command {
    Command::Words(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

pub fn text(reply: &Reply) -> Result<String, String> {
    match reply {
        Reply::Bulk(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        other => Err(format!("not an element: {other:?}")),
    }
}

pub fn take(score: &Score, value: String) -> Result<(), String> {
    if !score.pushed.borrow().contains(&value) {
        return Err(format!("{value} was never pushed"));
    }
    if score.popped.borrow_mut().insert(value.clone()) { Ok(()) } else { Err(format!("{value} was popped twice")) }
}

fn one<'a>(names: &'a [String], dice: &mut Dice) -> &'a str {
    &names[dice.random.usize(..names.len())]
}

/// Adds, in pipelines and in transactions. Its replies are sure to come: connections are not reset.
fn producer(keys: Keys, score: Rc<Score>, mut times: usize) -> Script {
    add(&score.producing, 1);
    add(&score.running, 1);
    Box::new(move |dice, _| {
        if times == 0 {
            add(&score.producing, -1);
            add(&score.running, -1);
            return Ok(Vec::new());
        }
        times -= 1;
        let push = |dice: &mut Dice| {
            let value = format!("v{}", dice.number());
            score.pushed.borrow_mut().insert(value.clone());
            match dice.random.u8(..3) {
                0 => words(&format!("RPUSH {} {value}", one(&keys.lists, dice))),
                1 => words(&format!("LPUSH {} {value}", one(&keys.lists, dice))),
                _ => {
                    let score = dice.random.u8(..9);
                    words(&format!("ZADD {} {score} {value}", one(&keys.sets, dice)))
                }
            }
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
fn timeout(dice: &mut Dice) -> String {
    format!("0.{:04}", dice.random.u32(1..200))
}

/// Moves elements about while somebody produces: from a list to its neighbour, so that one move feeds the next.
fn mover(keys: Keys, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    Box::new(move |dice, _| {
        if score.producing.get() == 0 {
            add(&score.running, -1);
            return Ok(Vec::new());
        }
        let lists = &keys.lists;
        let number = dice.random.usize(..lists.len());
        let (from, to) = (&lists[number], &lists[(number + dice.random.usize(..3) % 2) % lists.len()]);
        Ok(vec![match dice.random.u8(..6) {
            0 => words(&format!("LMOVE {from} {to} LEFT RIGHT")),
            1 => words(&format!("RPOPLPUSH {from} {to}")),
            2 => words(&format!("BLMOVEM {from} {to} LEFT RIGHT {} COUNT 3 OBO", timeout(dice))),
            3 => words(&format!("BLMOVEM {from} {to} RIGHT LEFT {} EXACTLY 2 BULK", timeout(dice))),
            _ => words(&format!("BLMOVE {from} {to} LEFT RIGHT {}", timeout(dice))),
        }])
    })
}

/// What a consumer asks.
fn pop(keys: &Keys, dice: &mut Dice) -> Command {
    let is_list = dice.percent(60);
    let names = if is_list { &keys.lists } else { &keys.sets };
    let first = dice.random.usize(..names.len());
    let some: Vec<&str> = (0..=dice.random.usize(..3)).map(|n| names[(first + n) % names.len()].as_str()).collect();
    let (count, some, timeout) = (some.len(), some.join(" "), timeout(dice));
    words(&match (dice.random.u8(..3), is_list) {
        (0, true) => format!("BLMPOP {timeout} {count} {some} LEFT"),
        (1, true) => format!("BRPOP {some} {timeout}"),
        (_, true) => format!("BLPOP {some} {timeout}"),
        (0, false) => format!("BZMPOP {timeout} {count} {some} MAX"),
        (1, false) => format!("BZPOPMAX {some} {timeout}"),
        (_, false) => format!("BZPOPMIN {some} {timeout}"),
    })
}

/// The element that a pop has given; none if it has waited in vain.
fn popped(reply: &Reply) -> Result<Option<String>, String> {
    let unknown = || Err(format!("not what a pop answers: {reply:?}"));
    let parts = match reply {
        Reply::Array(parts) => parts,
        Reply::Error(text) if text.starts_with("UNBLOCKED") => return Ok(None),
        _ => return unknown(),
    };
    match parts.as_slice() {
        // As an absent array is read.
        [] => Ok(None),
        [_, Reply::Array(values)] => match values.as_slice() {
            [Reply::Array(pair)] => text(&pair[0]).map(Some),
            [value] => text(value).map(Some),
            _ => unknown(),
        },
        [_, value] | [_, value, _] => text(value).map(Some),
        _ => unknown(),
    }
}

/// Pops until nobody produces and nothing is left for it.
fn consumer(keys: Keys, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    let (mut is_waiting, mut is_last) = (false, false);
    Box::new(move |dice, replies| {
        match replies {
            // It is new, or has died.
            [] => {
                add(&score.lost, isize::from(std::mem::take(&mut is_waiting)));
                return Ok(vec![words("CLIENT ID")]);
            }
            [Reply::Integer(id)] => score.consumers.borrow_mut().push(*id),
            [reply] => match popped(reply)? {
                Some(value) => take(&score, value)?,
                None if is_last => {
                    add(&score.running, -1);
                    return Ok(Vec::new());
                }
                None => {}
            },
            other => return Err(format!("not what a pop answers: {other:?}")),
        }
        is_waiting = true;
        is_last = score.producing.get() == 0;
        Ok(vec![pop(&keys, dice)])
    })
}

/// Has consumers give up, or end.
pub fn meddler(score: Rc<Score>, kills_percent: u8) -> Script {
    Box::new(move |dice, _| {
        if score.producing.get() == 0 {
            return Ok(Vec::new());
        }
        let consumers = score.consumers.borrow();
        if consumers.is_empty() {
            return Ok(vec![words("PING")]);
        }
        let id = consumers[dice.random.usize(..consumers.len())];
        Ok(vec![words(&match dice.random.u8(..3) {
            _ if dice.percent(kills_percent) => format!("CLIENT KILL ID {id}"),
            0 => format!("CLIENT UNBLOCK {id}"),
            1 => format!("CLIENT UNBLOCK {id} TIMEOUT"),
            _ => format!("CLIENT UNBLOCK {id} ERROR"),
        })])
    })
}

fn auditor(keys: Keys, score: Rc<Score>) -> Script {
    let mut has_asked = false;
    Box::new(move |_, replies| {
        if !has_asked {
            has_asked = score.running.get() == 0;
            let lists = keys.lists.iter().map(|name| words(&format!("LRANGE {name} 0 -1")));
            let sets = keys.sets.iter().map(|name| words(&format!("ZRANGE {name} 0 -1")));
            return Ok(if has_asked { lists.chain(sets).collect() } else { vec![words("PING")] });
        }
        if replies.is_empty() {
            has_asked = false;
            return Ok(vec![words("PING")]);
        }
        for reply in replies {
            let Reply::Array(values) = reply else { return Err(format!("not a list: {reply:?}")) };
            values.iter().try_for_each(|value| take(&score, text(value)?))?;
        }
        score.audit()?;
        Ok(Vec::new())
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let name = |number: usize, letter: u8| {
        String::from_utf8(name_on(number % shards, shards, (letter + number as u8) as char)).expect("letters")
    };
    let keys = Keys {
        lists: (0..random.usize(1..=5)).map(|number| name(number, b'a')).collect(),
        sets: (0..random.usize(1..=3)).map(|number| name(number, b'm')).collect(),
    };
    let score = Rc::new(Score::default());
    let mut clients: Vec<ClientPlan> = Vec::new();
    for _ in 0..random.usize(1..=2) {
        clients.push(ClientPlan::patient(producer(keys.clone(), score.clone(), random.usize(1..15))));
    }
    for _ in 0..random.usize(..=3) {
        let deaths_max = [0, 2][random.usize(..2)];
        let script = mover(keys.clone(), score.clone());
        clients.push(ClientPlan { dies_percent: 5, deaths_max, ..ClientPlan::patient(script) });
    }
    let kills_percent = [0, 10, 40][random.usize(..3)];
    for _ in 0..random.usize(1..=4) {
        let deaths_max = [0, 0, 3][random.usize(..3)];
        let script = consumer(keys.clone(), score.clone());
        let is_killed = kills_percent > 0;
        clients.push(ClientPlan { dies_percent: 5, deaths_max, is_killed, ..ClientPlan::patient(script) });
    }
    for _ in 0..random.usize(..=1) {
        clients.push(ClientPlan::patient(meddler(score.clone(), kills_percent)));
    }
    clients.push(ClientPlan::patient(auditor(keys, score)));
    plan_of(seed, shards, random, clients)
}

#[test]
fn every_element_is_popped_exactly_once() {
    judge_each(crate::seeds(), random_plan);
}
