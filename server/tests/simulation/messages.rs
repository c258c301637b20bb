//! Publishers and subscribers on up to eight shards.
//!
//! ```text
//!   publisher p:   SET key n   PUBLISH news "p n"   ...      in pipelines, keys anywhere; whom it counts hears, if nobody goes
//!   stays:         SUBSCRIBE news                            hears from each publisher n, n + 1, ... to the last
//!   comes, goes:   SUBSCRIBE news, UNSUBSCRIBE, SUBSCRIBE ...   the same, with gaps between what it subscribed to
//!   reader:        GET key, for the latest message that anybody has heard: it finds at least that
//! ```

use super::client::{ClientPlan, Script};
use super::command::{Command, Reply};
use super::run::{Plan, run};
use super::workload::{name_on, random_faults, random_settings};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use torc_engine::transaction::rules::Rules;

/// What all of a run know of each other.
#[derive(Default)]
struct Scene {
    /// How many messages each publisher has sent so far.
    sent: Vec<usize>,
    /// How many have subscribed to stay, and know it.
    staying: usize,
    /// The latest number that anybody has heard of each publisher.
    heard: Vec<Option<usize>>,
    /// Of each message, by publisher and number: how many it was for, as its publisher was told, and how many heard it.
    counted: BTreeMap<(usize, usize), i64>,
    ears: BTreeMap<(usize, usize), i64>,
    failures: Vec<String>,
}

type Shared = Rc<RefCell<Scene>>;

fn words(words: &[&str]) -> Command {
    Command::Words(words.iter().map(|word| word.as_bytes().to_vec()).collect())
}

fn text(reply: &Reply) -> &str {
    let Reply::Bulk(text) = reply else { return "" };
    std::str::from_utf8(text).unwrap_or_default()
}

/// Sends so many messages; each is counted by at least those who stay.
fn publisher(scene: &Shared, own: usize, keys: u16, mut budget: usize) -> Script {
    let scene = scene.clone();
    let mut awaited: Vec<(Option<usize>, usize)> = Vec::new();
    Box::new(move |dice, replies| {
        let mut scene = scene.borrow_mut();
        for ((message, staying), reply) in awaited.drain(..).zip(replies) {
            let (Some(number), Reply::Integer(count)) = (message, reply) else { continue };
            if (*count as usize) < staying {
                return Err(format!("a message of {own} was for {count}, {staying} listen"));
            }
            scene.counted.insert((own, number), *count);
        }
        let mut commands = Vec::new();
        for _ in 0..dice.random.usize(1..12).min(budget) {
            budget -= 1;
            let number = scene.sent[own];
            scene.sent[own] += 1;
            commands.push(Command::set(own as u16 % keys, number.to_string().into_bytes().into()));
            commands.push(words(&["PUBLISH", "news", &format!("{own} {number}")]));
            awaited.extend([(None, 0), (Some(number), scene.staying)]);
        }
        Ok(commands)
    })
}

/// What one subscriber has heard: the next number of each publisher, once it has heard one.
fn ear(scene: &Shared, next: &Rc<RefCell<Vec<Option<usize>>>>) -> super::client::Ear {
    let (scene, next) = (scene.clone(), next.clone());
    Box::new(move |reply| {
        let Reply::Array(parts) = reply else { return false };
        if parts.first().map(text) != Some("message") {
            return false;
        }
        let mut scene = scene.borrow_mut();
        let message = parts.get(2).map(text).and_then(|message| message.split_once(' '));
        let parsed =
            message.and_then(|(own, number)| Some((own.parse::<usize>().ok()?, number.parse::<usize>().ok()?)));
        let Some((own, number)) = parsed else {
            scene.failures.push(format!("not a message: {reply:?}"));
            return true;
        };
        let expected = &mut next.borrow_mut()[own];
        if expected.is_some_and(|expected| expected != number) {
            scene.failures.push(format!("heard {number} of {own} instead of {expected:?}"));
        }
        *expected = Some(number + 1);
        *scene.ears.entry((own, number)).or_default() += 1;
        scene.heard[own] = scene.heard[own].max(Some(number));
        true
    })
}

/// Subscribes once and stays. What is sent from then on is in `owed`.
fn stayer(scene: &Shared, owed: &Rc<RefCell<Option<Vec<usize>>>>) -> Script {
    let (scene, owed) = (scene.clone(), owed.clone());
    let mut has_asked = false;
    Box::new(move |_, replies| {
        if !std::mem::replace(&mut has_asked, true) {
            return Ok(vec![words(&["SUBSCRIBE", "news"])]);
        }
        if replies.len() == 1 {
            let mut scene = scene.borrow_mut();
            *owed.borrow_mut() = Some(scene.sent.clone());
            scene.staying += 1;
        }
        Ok(Vec::new())
    })
}

/// Subscribes and unsubscribes in turn: what it hears between has no gap.
fn visitor(next: &Rc<RefCell<Vec<Option<usize>>>>, mut visits: usize) -> Script {
    let next = next.clone();
    let mut is_in = false;
    Box::new(move |_, _| {
        if visits == 0 {
            return Ok(Vec::new());
        }
        is_in = !is_in;
        if is_in {
            next.borrow_mut().fill(None);
            return Ok(vec![words(&["SUBSCRIBE", "news"])]);
        }
        visits -= 1;
        Ok(vec![words(&["UNSUBSCRIBE", "news"])])
    })
}

/// Whoever learns of a message finds what its publisher did before.
fn reader(scene: &Shared, keys: u16, mut budget: usize) -> Script {
    let scene = scene.clone();
    let mut asked: Option<(usize, usize)> = None;
    Box::new(move |dice, replies| {
        if let (Some((own, number)), [Reply::Bulk(found)]) = (asked.take(), replies) {
            let found: usize = std::str::from_utf8(found).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            // Publishers may share keys: then only the last of them is sure.
            if found < number && (keys as usize) >= scene.borrow().sent.len() {
                return Err(format!("{found} was read after {number} of {own} was heard"));
            }
        }
        if budget == 0 {
            return Ok(Vec::new());
        }
        budget -= 1;
        let own = dice.random.usize(..scene.borrow().sent.len());
        let Some(number) = scene.borrow().heard[own] else { return Ok(vec![Command::Ping]) };
        asked = Some((own, number));
        Ok(vec![Command::Get(own as u16 % keys)])
    })
}

fn check(seed: u64) -> Result<usize, String> {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let publishers = random.usize(1..=4);
    let keys = random.u16(1..6);
    let scene: Shared = Shared::default();
    scene.borrow_mut().sent = vec![0; publishers];
    scene.borrow_mut().heard = vec![None; publishers];
    let mut faults = random_faults(random);
    // Who is reset has heard only a part.
    faults.reset_per_million = 0;
    let slow = |random: &mut fastrand::Rng, plan: ClientPlan| ClientPlan {
        reads_percent: [100, 50, 10][random.usize(..3)],
        ..plan
    };
    let mut clients = Vec::new();
    for own in 0..publishers {
        let script = publisher(&scene, own, keys, random.usize(1..80));
        clients.push(slow(random, ClientPlan::patient(script)));
    }
    let mut stayers = Vec::new();
    for _ in 0..random.usize(1..5) {
        let (next, owed) = (Rc::new(RefCell::new(vec![None; publishers])), Rc::new(RefCell::new(None)));
        let plan =
            ClientPlan { ear: Some(ear(&scene, &next)), lingers: true, ..ClientPlan::patient(stayer(&scene, &owed)) };
        clients.push(slow(random, plan));
        stayers.push((next, owed));
    }
    let visitors = random.usize(0..3);
    for _ in 0..visitors {
        let next = Rc::new(RefCell::new(vec![None; publishers]));
        let plan = ClientPlan::patient(visitor(&next, random.usize(1..8)));
        clients.push(slow(random, ClientPlan { ear: Some(ear(&scene, &next)), ..plan }));
    }
    clients.push(ClientPlan::patient(reader(&scene, keys, random.usize(1..40))));
    let names = (0..keys).map(|key| name_on(key as usize % shards, shards, (b'a' + key as u8) as char)).collect();
    let outcome = run(Plan {
        seed,
        shards,
        databases: 1,
        rules: Rules::default(),
        faults,
        settings: random_settings(random),
        clients,
        names,
        step_ns_max: [2_000, 50_000, 200_000][random.usize(..3)],
        loses_wakes: false,
        stops_after: None,
        death: None,
    });
    let scene = scene.borrow();
    if let Some(failure) = outcome.failures.first().or(scene.failures.first()) {
        return Err(failure.clone());
    }
    for (next, owed) in stayers {
        let owed = owed.borrow().clone().ok_or("a subscriber was not answered")?;
        for (own, (first, next)) in owed.into_iter().zip(&*next.borrow()).enumerate() {
            if first < scene.sent[own] && *next != Some(scene.sent[own]) {
                return Err(format!("of {} messages of {own} the last heard is before {next:?}", scene.sent[own]));
            }
        }
    }
    let unheard = |(message, count): &(&(usize, usize), &i64)| scene.ears.get(message).copied().unwrap_or(0) < **count;
    if visitors == 0
        && let Some((message, count)) = scene.counted.iter().find(unheard)
    {
        return Err(format!("{message:?} was for {count}, {:?} heard it", scene.ears.get(message)));
    }
    Ok(scene.sent.iter().sum())
}

#[test]
fn subscribers_hear_everything_once_in_the_order_of_each_publisher() {
    let mut messages = 0;
    for seed in crate::seeds() {
        messages += check(seed).unwrap_or_else(|failure| {
            panic!(
                "seed {seed}: {failure}\nrun it again: TORC_SIMULATION_SEED={seed} cargo test -p torc-server messages"
            )
        });
    }
    println!("{messages} messages");
}
