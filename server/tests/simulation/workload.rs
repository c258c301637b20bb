//! What clients do: random mixes from a seed.

use super::client::{ClientPlan, Dice, Script};
use super::collections::{self, Collection};
use super::command::{Command, Footprint, Key, Reply};
use super::run::Plan;
use std::collections::HashSet;
use torc_engine::command::EngineOptions;
use torc_engine::keyspace::{SLOTS, slot_of};
use torc_engine::transaction::rules::Rules;
use torc_server::reactor::simulated::Faults;
use torc_server::settings::Settings;

/// A name that one shard of several owns.
pub fn name_on(shard: usize, shards: usize, letter: char) -> Vec<u8> {
    let names = (0..).map(|number: u32| format!("{letter}{number}").into_bytes());
    let mut names = names.filter(|name| slot_of(name) as usize * shards / SLOTS == shard);
    names.next().expect("every shard owns slots")
}

/// How much of what a random client sends.
#[derive(Clone, Copy, Debug)]
struct Mix {
    reads: u32,
    writes: u32,
    several_keys: u32,
    several_hops: u32,
    whole: u32,
    expiry: u32,
    unordered: u32,
    collections: u32,
    sorted: u32,
    /// How often in a hundred a command is a transaction of several.
    transactions: u8,
    /// How often in a hundred it is a script that runs several.
    scripts: u8,
    databases: usize,
    /// Whether replies are sure to come, so that what only they tell may be asked for.
    pops: bool,
}

impl Mix {
    fn random(random: &mut fastrand::Rng, databases: usize, scans: bool) -> Self {
        let mut weight = |choices: &[u32]| choices[random.usize(..choices.len())];
        Self {
            reads: weight(&[10, 40]),
            writes: weight(&[5, 20, 40]),
            several_keys: weight(&[0, 10, 40]),
            several_hops: weight(&[0, 10, 40]),
            whole: if scans { 0 } else { weight(&[0, 0, 3, 10]) },
            expiry: weight(&[0, 0, 10, 30]),
            unordered: weight(&[0, 5]),
            collections: weight(&[0, 10, 40]),
            sorted: weight(&[0, 0, 10, 40]),
            transactions: weight(&[0, 0, 5, 30]) as u8,
            scripts: weight(&[0, 0, 5, 30]) as u8,
            databases: weight(&[1, 1, databases as u32]) as usize,
            pops: false,
        }
    }

    fn command(&self, dice: &mut Dice, keys: Key) -> Command {
        if self.transactions > 0 && dice.percent(self.transactions) {
            return self.transaction(dice, keys);
        }
        if self.scripts > 0 && dice.percent(self.scripts) {
            return self.script(dice, keys);
        }
        self.single(dice, keys)
    }

    /// A script, which says what all, some or none of its keys are.
    fn script(&self, dice: &mut Dice, keys: Key) -> Command {
        let commands = self.several(dice, keys);
        let Footprint::Keys(mut declared) = Command::Exec(commands.clone()).footprint() else {
            return Command::Script { declared: Vec::new(), commands };
        };
        let percent = [0, 50, 100][dice.random.usize(..3)];
        declared.sort_unstable();
        declared.dedup();
        declared.retain(|_| dice.percent(percent));
        Command::Script { declared, commands }
    }

    /// Some commands as one, but for those whose outcome the checker has to guess.
    fn transaction(&self, dice: &mut Dice, keys: Key) -> Command {
        let mut commands = self.several(dice, keys);
        if dice.percent(40) {
            return Command::Watched(std::iter::once(Command::Get(key(dice, keys))).chain(commands).collect());
        }
        if self.scripts > 0 && dice.percent(20) {
            let place = dice.random.usize(..=commands.len());
            commands.insert(place, self.script(dice, keys));
        }
        Command::Exec(commands)
    }

    fn several(&self, dice: &mut Dice, keys: Key) -> Vec<Command> {
        let is_plain = |command: &Command| {
            let is_told = matches!(command, Command::On(Collection::PopAny(..)));
            command.is_ordered() && command.expires_at().is_none() && !is_told
        };
        let count = dice.random.usize(1..=5);
        let commands = std::iter::from_fn(|| Some(self.single(dice, keys))).filter(is_plain);
        commands.take(count).collect()
    }

    fn single(&self, dice: &mut Dice, keys: Key) -> Command {
        let weights = [
            self.reads,
            self.writes,
            self.several_keys,
            self.several_hops,
            self.whole,
            self.expiry,
            self.unordered,
            self.collections,
            self.sorted,
        ];
        let mut ticket = dice.random.u32(..weights.iter().sum::<u32>());
        let mut kind = 0;
        while ticket >= weights[kind] {
            ticket -= weights[kind];
            kind += 1;
        }
        match kind {
            0 => read(dice, keys),
            1 => write(dice, keys),
            2 => several_keys(dice, keys),
            3 => several_hops(dice, keys, self.databases),
            4 => whole(dice, self.databases),
            5 => expiry(dice, keys),
            6 => unordered(dice, self.databases),
            7 => Command::On(Collection::random(dice, keys, self.pops)),
            _ => sorted(dice, keys),
        }
    }
}

fn key(dice: &mut Dice, keys: Key) -> Key {
    dice.random.u16(..keys)
}

fn some_keys(dice: &mut Dice, keys: Key) -> Vec<Key> {
    (0..dice.random.usize(2..=4)).map(|_| key(dice, keys)).collect()
}

fn read(dice: &mut Dice, keys: Key) -> Command {
    let one = key(dice, keys);
    match dice.random.u8(..10) {
        0 => Command::Strlen(one),
        1 => Command::ExpireTime(one),
        2 => Command::Exists(vec![one]),
        _ => Command::Get(one),
    }
}

fn write(dice: &mut Dice, keys: Key) -> Command {
    let key = key(dice, keys);
    match dice.random.u8(..10) {
        0 => Command::Incr(key),
        1 => Command::Append(key, dice.suffix()),
        2 => Command::GetDel(key),
        3 => Command::Set { key, value: dice.value(), expires_at: None, if_absent: true, get: false },
        // These show what they put an end to: it leaves the checker less to guess.
        4..8 => Command::Set { key, value: dice.value(), expires_at: None, if_absent: false, get: true },
        _ => Command::set(key, dice.value()),
    }
}

fn several_keys(dice: &mut Dice, keys: Key) -> Command {
    let some = some_keys(dice, keys);
    match dice.random.u8(..10) {
        0 => Command::Del(some),
        1 => Command::Unlink(some),
        2 => Command::Exists(some),
        3 => Command::Touch(some),
        4..7 => Command::MSet(some.into_iter().map(|key| (key, dice.value())).collect()),
        _ => Command::MGet(some),
    }
}

fn several_hops(dice: &mut Dice, keys: Key, databases: usize) -> Command {
    let (from, to) = (key(dice, keys), key(dice, keys));
    let database = dice.random.usize(..databases);
    match dice.random.u8(..10) {
        0..2 => Command::Rename(from, to),
        2..4 => Command::Duplicate { from, to },
        4 => Command::RenameNx(from, to),
        5 if databases > 1 => Command::Move { key: from, database },
        5..8 => Command::Copy { from, to, database, replace: dice.percent(50) },
        _ => Command::MSetNx(some_keys(dice, keys).into_iter().map(|key| (key, dice.value())).collect()),
    }
}

fn whole(dice: &mut Dice, databases: usize) -> Command {
    match dice.random.u8(..10) {
        0 => Command::FlushAll,
        1 => Command::FlushDb,
        2 if databases > 1 => Command::SwapDb(dice.random.usize(..databases), dice.random.usize(..databases)),
        2..6 => Command::DbSize,
        _ => Command::Keys,
    }
}

fn expiry(dice: &mut Dice, keys: Key) -> Command {
    // Few instants: each is a fork for the checker.
    const GRID_MS: i64 = 8;
    let key = key(dice, keys);
    let at = (dice.now_ms / GRID_MS + dice.random.i64(0..4)) * GRID_MS;
    match dice.random.u8(..10) {
        0 => Command::Persist(key),
        1..3 => Command::ExpireAt(key, at),
        3 => Command::MSetEx(some_keys(dice, keys).into_iter().map(|key| (key, dice.value())).collect(), at),
        _ => Command::Set { key, value: dice.value(), expires_at: Some(at), if_absent: false, get: dice.percent(85) },
    }
}

fn unordered(dice: &mut Dice, databases: usize) -> Command {
    match dice.random.u8(..4) {
        0 => Command::Ping,
        1 if databases > 1 => Command::Select(dice.random.usize(..databases)),
        2 => Command::Scan { cursor: 0, count: 10 },
        _ => Command::RandomKey,
    }
}

/// Keys behind those of [`collections`]: two sorted sets, then a list.
const SORTED_KEYS: Key = 3;

/// Sorted sets that name string keys, and a list of what these hold.
fn sorted(dice: &mut Dice, keys: Key) -> Command {
    let first = keys + collections::KEYS;
    let (set, other, list) = (first + dice.random.u16(..2), first + dice.random.u16(..2), first + 2);
    match dice.random.u8(..12) {
        0..5 => Command::Place { key: set, member: key(dice, keys) },
        5 => Command::Cut { key: set, last: dice.random.i64(0..3) },
        6 => Command::Members(set),
        7 => Command::Near { from: set, to: other },
        8..10 => Command::SortInto { from: set, to: list, keys },
        _ => Command::Elements(list),
    }
}

/// Sends `budget` random commands in random pipelines.
fn random_script(mix: Mix, keys: Key, mut budget: usize, pipeline_max: usize) -> Script {
    Box::new(move |dice, _| {
        let count = dice.random.usize(1..=pipeline_max).min(budget);
        budget -= count;
        Ok((0..count).map(|_| mix.command(dice, keys)).collect())
    })
}

/// Walks the keyspace again and again while others make it grow and shrink: names that stay are returned each time.
fn scanner(stable: usize, mut walks: usize) -> Script {
    let name = |number: usize| format!("stays:{number}").into_bytes();
    let mut filled = 0;
    let mut cursor = 0;
    let mut found: HashSet<Vec<u8>> = HashSet::new();
    Box::new(move |dice, replies| {
        if filled < stable {
            // A pipeline that was lost is sent again.
            filled += replies.iter().filter(|reply| **reply == Reply::ok()).count();
            if filled < stable {
                return Ok((filled..stable)
                    .take(5)
                    .map(|number| Command::Fill { name: name(number), remove: false })
                    .collect());
            }
        } else if let [Reply::Array(parts)] = replies {
            let [Reply::Bulk(next), Reply::Array(names)] = parts.as_slice() else {
                return Err(format!("not a reply to SCAN: {parts:?}"));
            };
            let bulk = |name: &Reply| if let Reply::Bulk(name) = name { Some(name.to_vec()) } else { None };
            found.extend(names.iter().filter_map(bulk));
            cursor = std::str::from_utf8(next).ok().and_then(|text| text.parse().ok()).ok_or("not a cursor")?;
            if cursor == 0 {
                walks -= 1;
                let missing = (0..stable).map(name).find(|name| !found.contains(name));
                if let Some(name) = missing {
                    return Err(format!("SCAN has not returned {}", String::from_utf8_lossy(&name)));
                }
                found.clear();
            }
        }
        if walks == 0 { Ok(Vec::new()) } else { Ok(vec![Command::Scan { cursor, count: dice.random.usize(1..30) }]) }
    })
}

/// Makes the keyspace grow and shrink.
fn filler(mut budget: usize) -> Script {
    Box::new(move |dice, _| {
        let count = dice.random.usize(1..20).min(budget);
        budget -= count;
        let command = |dice: &mut Dice| Command::Fill {
            name: format!("comes:{}", dice.random.u8(..)).into_bytes(),
            remove: dice.percent(40),
        };
        Ok((0..count).map(|_| command(dice)).collect())
    })
}

/// A plan for clients that check themselves what they see: nobody's connection is reset, all else is random.
pub fn plan_of(seed: u64, shards: usize, random: &mut fastrand::Rng, clients: Vec<ClientPlan>) -> Plan {
    Plan {
        seed,
        shards,
        databases: 1,
        rules: Rules::default(),
        faults: Faults { reset_per_million: 0, ..random_faults(random) },
        settings: random_settings(random),
        clients,
        names: vec![b"unused".to_vec()],
        step_ns_max: [2_000, 50_000, 200_000][random.usize(..3)],
        loses_wakes: false,
        stops_after: None,
        death: None,
    }
}

pub fn random_faults(random: &mut fastrand::Rng) -> Faults {
    let small = Faults {
        segment_bytes_max: 400,
        window_bytes: 2000,
        receive_buffers: 8,
        receive_buffer_bytes: 256,
        network_delay_ns: (1_000, 300_000),
        ..Faults::calm()
    };
    match random.u8(..10) {
        0..3 => Faults::calm(),
        3 => Faults::rough(),
        4 => Faults { reset_per_million: 3_000, ..small },
        5 => Faults { short_transfer_per_million: 300_000, window_bytes: 40, ..small },
        _ => small,
    }
}

pub fn random_settings(random: &mut fastrand::Rng) -> Settings {
    let mut pick = |choices: &[usize]| choices[random.usize(..choices.len())];
    Settings {
        hz: pick(&[1, 1, 100, 500]) as u32,
        outstanding_max: pick(&[1, 2, 5, 1024, 1024]),
        unsent_pause_bytes: pick(&[16, 500, 1 << 20, 1 << 20]),
        turn_bytes_min: 0,
        turn_bytes_max: pick(&[50, 300, 1 << 20, 1 << 20]),
        in_flight_bytes_max: pick(&[16, 200, 16 << 20, 16 << 20]),
        affinity_window_commands: pick(&[1, 5, 20, 512]) as u16,
        gather_ns_max: pick(&[0, 20_000, 400_000]) as u64,
        // Whether what can be worked off in slices is, however little there is to do.
        engine: EngineOptions { units_at_once: pick(&[0, 1024]) as u64, ..EngineOptions::default() },
        unit_patience_ns: pick(&[0, 5_000_000]) as u64,
        long_unit_patience_ns: pick(&[0, 20_000, 60_000_000_000]) as u64,
        ..Settings::default()
    }
}

/// One client, with so many commands to send.
fn random_client(random: &mut fastrand::Rng, mix: Mix, keys: Key, commands: usize, is_reset: bool) -> ClientPlan {
    // What a dead client had sent may have happened at any time or never: few such commands, or nobody can tell.
    let dies = random.u8(..6) == 0;
    let pipelines: &[usize] = if dies || is_reset { &[1, 1, 2, 4] } else { &[1, 1, 3, 10, 40] };
    let mix = Mix { pops: mix.pops && !dies, ..mix };
    let pipeline_max = pipelines[random.usize(..pipelines.len())];
    ClientPlan {
        script: random_script(mix, keys, commands, pipeline_max),
        depth: [0, 0, pipeline_max / 2, 2 * pipeline_max][random.usize(..4)],
        reads_percent: [100, 100, 50, 5][random.usize(..4)],
        dies_percent: [2, 20][random.usize(..2)],
        deaths_max: if dies { random.u32(1..3) } else { 0 },
        half_closes: random.u8(..4) == 0,
        lingers: random.u8(..4) == 0,
        is_killed: false,
        ear: None,
    }
}

/// The run of a seed: any number of shards, any mix, any weather.
pub fn random_plan(seed: u64) -> Plan {
    let random = &mut fastrand::Rng::with_seed(seed);
    let shards = random.usize(1..=8);
    let databases = 3;
    let keys: Key = random.u16(2..10);
    let scans = random.u8(..4) == 0;
    let count = random.usize(2..=7);
    let commands = [15, 40, 100, 300][random.usize(..4)];
    let faults = random_faults(random);
    let is_reset = faults.reset_per_million > 0;
    let stops_after = (random.u8(..8) == 0).then(|| random.u64(500..20_000));
    let mix = Mix::random(random, databases, scans);
    let mix = Mix { pops: !is_reset && stops_after.is_none(), ..mix };
    let mut clients: Vec<ClientPlan> =
        (0..count).map(|_| random_client(random, mix, keys, commands / count, is_reset)).collect();
    if scans {
        clients.push(ClientPlan::patient(scanner(random.usize(1..60), 3)));
        clients.push(ClientPlan::patient(filler(200)));
    }
    Plan {
        seed,
        shards,
        databases: databases as u32,
        rules: Rules::default(),
        faults,
        settings: random_settings(random),
        clients,
        names: (0..keys + collections::KEYS + SORTED_KEYS)
            .map(|key| name_on(key as usize % shards, shards, (b'a' + key as u8) as char))
            .collect(),
        step_ns_max: [2_000, 50_000, 200_000][random.usize(..3)],
        loses_wakes: false,
        stops_after,
        death: None,
    }
}
