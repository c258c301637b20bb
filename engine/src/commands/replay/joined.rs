//! The same over several shards: commands run on the owner of their keys, or as overlays; the shards' journals are joined.

use super::super::all;
use super::super::harness;
use super::{KEYS, digest, random_line};
use crate::command::{Command, Milliseconds, Spec};
use crate::journal::{Effect, Event, EventClass, Record, Share};
use crate::keyspace::{KeyHasher, slot_of};
use crate::reply::{Protocol, ReplyBuffer};
use crate::shard::{ClientContext, Shard};
use crate::transaction::overlay::{self, KeyRead, Overlay};
use std::collections::VecDeque;

/// Shards without a server around them: one command at a time.
pub(in crate::commands) struct Cluster {
    pub(in crate::commands) shards: Vec<Shard>,
    histories: Vec<VecDeque<Record>>,
    events: Vec<Event>,
    pub(in crate::commands) now: Milliseconds,
    units: u64,
    pub(in crate::commands) overlays: usize,
}

impl Cluster {
    pub(in crate::commands) fn new(shards: usize) -> Self {
        let mut options = harness::Shard::default().options;
        options.encodings.hash_listpack_entries_max = 6;
        options.encodings.set_listpack_entries_max = 6;
        options.encodings.sorted_set_listpack_entries_max = 6;
        options.encodings.list_listpack_size_max = 4;
        let shard = |seed| {
            let mut shard = Shard::new(16, KeyHasher::with_seed(1), options.clone(), seed);
            shard.keyspace.journal.listen(true, &[EventClass::Set, EventClass::Generic]);
            shard
        };
        Self {
            shards: (0..shards as u64).map(shard).collect(),
            histories: vec![VecDeque::new(); shards],
            events: Vec::new(),
            now: 1_700_000_000_000,
            units: 0,
            overlays: 0,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let name = line.split(' ').next().expect("a name").to_ascii_lowercase();
        let command = all().find(|command| command.spec.name == name).expect("a command");
        let reply = self.execute(&command.spec, command, &arguments, ClientContext::default());
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Runs a command whose arity is right, whatever else its arguments are.
    pub(in crate::commands) fn execute(
        &mut self,
        spec: &Spec,
        command: &Command,
        arguments: &[&[u8]],
        client: ClientContext,
    ) -> Vec<u8> {
        let keys = overlay::keys_of(spec, arguments, client.database as usize).unwrap_or_default();
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, read) in keys.iter().enumerate() {
            let shard = usize::from(slot_of(&read.key)) % self.shards.len();
            match parts.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, places)) => places.push(place),
                None => parts.push((shard, vec![place])),
            }
        }
        let mut out = ReplyBuffer::default();
        match parts[..] {
            [] => self.shards[0].execute(command.run, arguments, client, self.now, &mut out),
            [(shard, _)] => self.shards[shard].execute(command.run, arguments, client, self.now, &mut out),
            _ => self.run_overlay(command, arguments, &keys, parts, client, &mut out),
        }
        for (shard, history) in self.shards.iter_mut().zip(&mut self.histories) {
            let (records, events) = shard.keyspace.journal.take_records();
            history.extend(records);
            self.events.extend(events);
        }
        out.flatten()
    }

    fn run_overlay(
        &mut self,
        command: &Command,
        arguments: &[&[u8]],
        keys: &[KeyRead],
        parts: Vec<(usize, Vec<usize>)>,
        client: ClientContext,
        out: &mut ReplyBuffer,
    ) {
        self.units += 1;
        self.overlays += 1;
        let (owners, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let gathered = owners.iter().zip(&parts).map(|(&owner, places)| {
            let reads: Vec<KeyRead> = places.iter().map(|&place| keys[place].clone()).collect();
            overlay::gather(&mut self.shards[owner], &reads, self.now)
        });
        let gathered = gathered.collect();
        let coordinator = self.units as usize % self.shards.len();
        let overlay = Overlay {
            handler: command.run,
            arguments,
            client,
            keys,
            parts: &parts,
            unit: (coordinator, self.units),
            now: self.now,
            has_let_go: false,
        };
        let finishes = overlay.run(gathered, &mut self.shards[coordinator], out);
        for (owner, finish) in owners.into_iter().zip(finishes) {
            overlay::apply(&mut self.shards[owner], finish);
        }
    }

    /// Forgets what was reported so far.
    pub(in crate::commands) fn forget(&mut self) {
        self.histories.iter_mut().for_each(VecDeque::clear);
        self.events.clear();
    }

    /// The histories as one: whichever shard comes first goes on, up to a unit that others have not come to.
    fn join(&mut self, random: &mut fastrand::Rng) -> Vec<Effect> {
        let mut joined = Vec::new();
        while self.histories.iter().any(|history| !history.is_empty()) {
            let shard = random.usize(..self.histories.len());
            match self.histories[shard].front().cloned() {
                None => {}
                Some(Record::Effects(effects)) => {
                    joined.extend(effects.to_words());
                    self.histories[shard].pop_front();
                }
                Some(Record::Share(Share { unit, shares, .. })) => {
                    let is_at_unit = |history: &&mut VecDeque<Record>| matches!(history.front(), Some(Record::Share(share)) if share.unit == unit);
                    let arrived: Vec<_> = self.histories.iter_mut().filter(is_at_unit).collect();
                    if arrived.len() == shares {
                        let tellers =
                            arrived.into_iter().filter_map(VecDeque::pop_front).filter_map(|record| match record {
                                Record::Share(share) if !share.effects.is_empty() => Some(share.effects.to_words()),
                                _ => None,
                            });
                        let told: Vec<_> = tellers.collect();
                        assert_eq!(told.len(), 1, "told once");
                        joined.extend(told.concat());
                    }
                }
            }
        }
        joined
    }

    pub(in crate::commands) fn dirty(&self) -> u64 {
        self.shards.iter().map(|shard| shard.keyspace.dirty).sum()
    }
}

const SEVERAL: &[&str] = &[
    "SMOVE K K F",
    "SMOVE K K F",
    "SINTERSTORE K K K",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "SUNIONSTORE K K K K",
    "ZUNIONSTORE K 2 K K WEIGHTS 2 1",
    "ZINTERSTORE K 2 K K AGGREGATE MAX",
    "ZDIFFSTORE K 2 K K",
    "ZRANGESTORE K K 0 2",
    "COPY K K REPLACE",
    "COPY K K",
    "RENAME K K",
    "RENAMENX K K",
    "PFMERGE K K K",
    "BITOP XOR K K K",
    "BITOP ONE K K K",
    "MSETNX K N K N",
    "LMOVE K K LEFT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 3 K K K LEFT COUNT 2",
    "LMOVEM K K LEFT LEFT COUNT 2 OBO",
    "LMOVEM K K RIGHT LEFT EXACTLY 2 BULK",
    "SORT K ALPHA STORE K",
    "GEOSEARCHSTORE K K FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST",
    "GEORADIUS K 15 37 100 km STORE K",
    "MSETEX 2 K N K N NX",
];

/// Commands on one key, all of which report effects. Few strings, as a type that is wrong stops most others.
const SINGLE: &[&str] = &[
    "SADD K F F F",
    "SADD K F F F",
    "SADD K 1 2 3 N",
    "SPOP K 2",
    "SREM K F F",
    "ZADD K N F N F N F",
    "ZADD K N F",
    "GEOADD K 15 37 F 15.1 37.1 F",
    "ZINCRBY K N F",
    "ZPOPMIN K 2",
    "ZREM K F",
    "HSET K F N F text",
    "HPEXPIREAT K T FIELDS 2 F F",
    "PFADD K F F",
    "SETBIT K 77 1",
    "RPUSH K F F F",
    "LPUSH K F F N",
    "LPOP K 2",
];

#[test]
fn effects_of_several_shards_make_the_same_data_again() {
    let mut random = fastrand::Rng::with_seed(7);
    let patterns = [SINGLE, SINGLE, SEVERAL].concat();
    for shards in [2, 5] {
        let mut cluster = Cluster::new(shards);
        let mut copy = harness::Shard::default();
        for step in 0..20_000 {
            let line = random_line(&mut random, &patterns, cluster.now);
            cluster.run(&line);
            if random.u32(..40) == 0 {
                let (key, at) = (random.usize(..KEYS), cluster.now + random.i64(1..30));
                cluster.run(&format!("PEXPIREAT key:{key} {at}"));
            }
            cluster.now += random.i64(0..4);
            if step % 50 == 0 {
                compare(&mut cluster, &mut copy, &mut random, &line);
            }
        }
        assert!(cluster.overlays > 3000 && cluster.dirty() > 5000, "{} {}", cluster.overlays, cluster.dirty());
    }
}

fn compare(cluster: &mut Cluster, copy: &mut harness::Shard, random: &mut fastrand::Rng, line: &str) {
    // What is due goes now, so that only what stays is compared.
    for shard in &mut cluster.shards {
        while shard.keyspace.expire_step(cluster.now, 1000).more {}
    }
    (0..KEYS).for_each(|number| drop(cluster.run(&format!("HDEL key:{number} none"))));
    for effect in cluster.join(random) {
        let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
        let reply = copy.execute(Protocol::Resp2, &arguments);
        let shown: Vec<_> = arguments.iter().map(|argument| argument.escape_ascii().to_string()).collect();
        assert!(!reply.starts_with(b"-"), "{}: {}", shown.join(" "), reply.escape_ascii());
    }
    let ours = digest(|line| cluster.run(line));
    assert_eq!(ours, digest(|line| copy.run(line)), "after {line}");
}

#[test]
fn a_unit_on_several_shards_is_told_once() {
    let mut cluster = Cluster::new(5);
    for line in ["SADD key:0 a b", "SADD {c} b c"] {
        cluster.run(line);
    }
    cluster.forget();
    let dirty = cluster.dirty();
    assert_eq!(cluster.run("SMOVE key:0 {c} a"), ":1\r\n");
    assert_eq!(cluster.overlays, 1, "on two shards");
    assert_eq!(cluster.dirty() - dirty, 2);
    let effects = cluster.join(&mut fastrand::Rng::with_seed(1));
    let lines: Vec<Vec<u8>> = effects.iter().map(|effect| effect.arguments.join(&b' ')).collect();
    assert_eq!(lines, [&b"SREM key:0 a"[..], b"SADD {c} a"]);
    let events: Vec<_> = cluster.events.iter().map(|event| (event.name, event.key.as_slice())).collect();
    assert_eq!(events, [("srem", &b"key:0"[..]), ("sadd", b"{c}")]);
    // What changes nothing is told nobody.
    cluster.run("SMOVE key:0 {c} none");
    assert_eq!((cluster.join(&mut fastrand::Rng::with_seed(1)), cluster.dirty() - dirty), (vec![], 2));
}
