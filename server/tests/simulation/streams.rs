//! Clients that wait for streams, on any number of shards.
//!
//! ```text
//!   producers   XADD of values that nobody else adds, alone or in transactions
//!   followers   XREAD BLOCK behind the last that they have seen: each hears every entry once, in order, whoever dies
//!   workers     XREADGROUP BLOCK of one group: each entry is given to one of them, but for those whose client died
//!   meddlers    CLIENT UNBLOCK and CLIENT KILL of workers
//!   auditor     reads for the group what nobody has read
//! ```

use super::client::{ClientPlan, Script};
use super::command::{Command, Reply};
use super::judge::judge_each;
use super::run::Plan;
use super::waiting::{Score, add, meddler, take, text, words};
use super::workload::{name_on, plan_of};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Makes the groups, then adds.
fn producer(names: Vec<String>, score: Rc<Score>, mut times: usize) -> Script {
    add(&score.producing, 1);
    add(&score.running, 1);
    let mut has_begun = false;
    Box::new(move |dice, _| {
        if !std::mem::replace(&mut has_begun, true) {
            return Ok(names.iter().map(|name| words(&format!("XGROUP CREATE {name} g 0 MKSTREAM"))).collect());
        }
        if times == 0 {
            add(&score.producing, -1);
            add(&score.running, -1);
            return Ok(Vec::new());
        }
        times -= 1;
        let mut pipeline: Vec<Command> = Vec::new();
        for _ in 0..dice.random.usize(1..4) {
            let value = format!("v{}", dice.number());
            score.pushed.borrow_mut().insert(value.clone());
            let name = &names[dice.random.usize(..names.len())];
            pipeline.push(words(&format!("XADD {name} * f {value}")));
        }
        if dice.percent(30) {
            pipeline.insert(0, words("MULTI"));
            pipeline.push(words("EXEC"));
        }
        Ok(pipeline)
    })
}

/// An entry that has been read.
struct Read {
    name: String,
    id: (u64, u64),
    value: String,
}

/// The entries in a reply of XREAD or XREADGROUP.
fn entries(reply: &Reply) -> Result<Vec<Read>, String> {
    let unknown = || format!("not what a stream is read with: {reply:?}");
    let list = |reply: &Reply| match reply {
        Reply::Array(parts) => Ok(parts.clone()),
        _ => Err(unknown()),
    };
    let mut all = Vec::new();
    for stream in list(reply)? {
        let [name, own] = <[Reply; 2]>::try_from(list(&stream)?).map_err(|_| unknown())?;
        for entry in list(&own)? {
            let [id, fields] = <[Reply; 2]>::try_from(list(&entry)?).map_err(|_| unknown())?;
            let id = text(&id)?;
            let (ms, sequence) = id.split_once('-').ok_or_else(unknown)?;
            let id = (ms.parse().map_err(|_| unknown())?, sequence.parse().map_err(|_| unknown())?);
            let value = list(&fields)?.get(1).map(text).ok_or_else(unknown)??;
            all.push(Read { name: text(&name)?, id, value });
        }
    }
    Ok(all)
}

/// Hears all entries of all streams.
fn follower(names: Vec<String>, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    let mut seen: BTreeMap<String, (u64, u64)> = names.iter().map(|name| (name.clone(), (0, 0))).collect();
    let (mut heard, mut is_last) = (Vec::<String>::new(), false);
    Box::new(move |dice, replies| {
        if let [reply] = replies {
            let read = entries(reply)?;
            if read.is_empty() && is_last {
                heard.sort_unstable();
                let pushed = score.pushed.borrow();
                if !heard.iter().eq(&*pushed) {
                    let missing: Vec<_> = pushed.iter().filter(|value| !heard.contains(value)).collect();
                    return Err(format!("{} of {} entries were heard, not {missing:?}", heard.len(), pushed.len()));
                }
                add(&score.running, -1);
                return Ok(Vec::new());
            }
            for Read { name, id, value } in read {
                let last = seen.get_mut(&name).ok_or("a stream that nobody asked for")?;
                if id <= *last {
                    return Err(format!("{value} of {name} came behind a later entry, or again"));
                }
                *last = id;
                heard.push(value);
            }
        }
        is_last = score.producing.get() == 0;
        let ids = seen.values().map(|(ms, sequence)| format!("{ms}-{sequence}"));
        let (names, ids): (Vec<&String>, Vec<String>) = seen.keys().zip(ids).unzip();
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        let count = if dice.percent(50) { format!("COUNT {} ", dice.random.u8(1..4)) } else { String::new() };
        let block_ms = dice.random.u32(1..20);
        Ok(vec![words(&format!("XREAD {count}BLOCK {block_ms} STREAMS {} {}", names.join(" "), ids.join(" ")))])
    })
}

/// Is given entries of the group, one at a time.
fn worker(names: Vec<String>, score: Rc<Score>) -> Script {
    add(&score.running, 1);
    let (mut is_waiting, mut is_last) = (false, false);
    Box::new(move |dice, replies| {
        match replies {
            [] => {
                add(&score.lost, isize::from(std::mem::take(&mut is_waiting)));
                return Ok(vec![words("CLIENT ID")]);
            }
            [Reply::Integer(id)] => score.consumers.borrow_mut().push(*id),
            [Reply::Error(text)] if text.starts_with("NOGROUP") => {}
            [Reply::Error(text)] if text.starts_with("UNBLOCKED") && !is_last => {}
            [Reply::Error(text)] if text.starts_with("UNBLOCKED") => {
                add(&score.running, -1);
                return Ok(Vec::new());
            }
            [reply] => {
                let read = entries(reply)?;
                if read.is_empty() && is_last {
                    add(&score.running, -1);
                    return Ok(Vec::new());
                }
                // One of each stream at most; who dies may have been given so many.
                read.into_iter().try_for_each(|read| take(&score, read.value))?;
            }
            other => return Err(format!("not what a stream is read with: {other:?}")),
        }
        is_waiting = true;
        is_last = score.producing.get() == 0;
        let first = dice.random.usize(..names.len());
        let some: Vec<&str> = (0..=dice.random.usize(..2)).map(|n| names[(first + n) % names.len()].as_str()).collect();
        let marks = vec![">"; some.len()].join(" ");
        let (some, block_ms) = (some.join(" "), dice.random.u32(1..20));
        Ok(vec![words(&format!("XREADGROUP GROUP g c COUNT 1 BLOCK {block_ms} STREAMS {some} {marks}"))])
    })
}

fn auditor(names: Vec<String>, score: Rc<Score>, streams_read: usize) -> Script {
    let mut has_asked = false;
    Box::new(move |_, replies| {
        if !has_asked {
            has_asked = score.running.get() == 0;
            let rest = names.iter().map(|name| words(&format!("XREADGROUP GROUP g auditor STREAMS {name} >")));
            return Ok(if has_asked { rest.collect() } else { vec![words("PING")] });
        }
        for reply in replies {
            entries(reply)?.into_iter().try_for_each(|read| take(&score, read.value))?;
        }
        score.lost.set(score.lost.get() * streams_read);
        score.audit()?;
        Ok(Vec::new())
    })
}

fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let name = |number: usize| {
        String::from_utf8(name_on(number % shards, shards, (b'a' + number as u8) as char)).expect("letters")
    };
    let names: Vec<String> = (0..random.usize(1..=4)).map(name).collect();
    let score = Rc::new(Score::default());
    let mut clients: Vec<ClientPlan> = Vec::new();
    for _ in 0..random.usize(1..=2) {
        clients.push(ClientPlan::patient(producer(names.clone(), score.clone(), random.usize(1..12))));
    }
    let kills_percent = [0, 10, 40][random.usize(..3)];
    for _ in 0..random.usize(..=2) {
        let deaths_max = [0, 3][random.usize(..2)];
        let script = follower(names.clone(), score.clone());
        clients.push(ClientPlan { dies_percent: 5, deaths_max, ..ClientPlan::patient(script) });
    }
    for _ in 0..random.usize(..=3) {
        let deaths_max = [0, 0, 3][random.usize(..3)];
        let script = worker(names.clone(), score.clone());
        let is_killed = kills_percent > 0;
        clients.push(ClientPlan { dies_percent: 5, deaths_max, is_killed, ..ClientPlan::patient(script) });
    }
    for _ in 0..random.usize(..=1) {
        clients.push(ClientPlan::patient(meddler(score.clone(), kills_percent)));
    }
    clients.push(ClientPlan::patient(auditor(names, score, 2)));
    plan_of(seed, shards, random, clients)
}

#[test]
fn every_entry_is_heard_by_all_who_follow_and_given_to_one_of_a_group() {
    judge_each(crate::seeds(), random_plan);
}
