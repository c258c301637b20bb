//! What values should be, in the simplest structures that can say it.

use super::super::harness::Shard;
use super::super::hyperloglog;
use super::{KEY, Model, Words, bulk, integer, parts, words};
use crate::command::Milliseconds;
use crate::reply::Protocol;
use crate::values::Type;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn run(shard: &mut Shard, line: &[&[u8]]) -> Vec<u8> {
    shard.execute(Protocol::Resp2, line)
}

/// A short text, an integer, sometimes a long text.
fn text(random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u32(..40) {
        0..16 => random.i64(-20..60).to_string().into_bytes(),
        16..19 => random.i64(..).to_string().into_bytes(),
        19..38 => format!("t{}", random.u32(..60)).into_bytes(),
        38 => vec![random.alphanumeric() as u8; random.usize(60..140)],
        _ => vec![random.alphanumeric() as u8; random.usize(300..3000)],
    }
}

/// The number of a random choice in text.
fn number(value: impl std::fmt::Display) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A string.
#[derive(Clone, Default)]
pub(super) struct Text(Option<Vec<u8>>);

impl Model for Text {
    const KIND: Type = Type::String;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        let text = text(random);
        let length = self.0.as_ref().map_or(0, Vec::len);
        let written = |old: &mut Option<Vec<u8>>, at: usize, text: &[u8]| {
            let bytes = old.get_or_insert_default();
            bytes.resize(bytes.len().max(at + text.len()), 0);
            bytes[at..at + text.len()].copy_from_slice(text);
            integer(bytes.len() as i64)
        };
        match random.u32(..20) {
            0..3 => {
                self.0 = Some(text.clone());
                (words(&[b"SET", KEY, &text]), Some(b"+OK\r\n".to_vec()))
            }
            3 => {
                let value = random.i64(-1000..1000);
                self.0 = Some(number(value));
                (words(&[b"SET", KEY, &number(value)]), None)
            }
            4..9 => {
                let expected = written(&mut self.0, length, &text);
                (words(&[b"APPEND", KEY, &text]), expected)
            }
            9..14 => {
                let far = if random.u32(..40) == 0 { 50_000 } else { 0 };
                let at = random.usize(..=length + 3) + far;
                let expected = written(&mut self.0, at, &text);
                (words(&[b"SETRANGE", KEY, &number(at), &text]), expected)
            }
            14..17 => {
                let at = random.usize(..=length);
                let bit = random.usize(..8);
                let bytes = self.0.get_or_insert_default();
                bytes.resize(bytes.len().max(at + 1), 0);
                let old = bytes[at] >> (7 - bit) & 1;
                bytes[at] ^= 1 << (7 - bit);
                let line = [b"SETBIT", KEY, &number(at * 8 + bit), &number(1 - old)];
                (words(&line), integer(i64::from(old)))
            }
            _ => {
                let (from, to) = (random.usize(..=length), random.usize(..=length + 5));
                let part: Vec<u8> = self.0.iter().flatten().take(to + 1).skip(from).copied().collect();
                (words(&[b"GETRANGE", KEY, &number(from), &number(to)]), Some(bulk(&part)))
            }
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        let expected = self.0.as_ref().map_or(b"$-1\r\n".to_vec(), |text| bulk(text));
        assert!(run(shard, &[b"GET", key]) == expected);
    }
}

/// A list.
#[derive(Clone, Default)]
pub(super) struct List(VecDeque<Vec<u8>>);

impl Model for List {
    const KIND: Type = Type::List;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        let text = text(random);
        let length = self.0.len();
        let index = random.usize(..=length);
        match random.u32(..24) {
            0..5 if length < 300 => {
                self.0.extend([text.clone(), b"2".to_vec()]);
                (words(&[b"RPUSH", KEY, &text, b"2"]), integer(length as i64 + 2))
            }
            5..10 if length < 300 => {
                self.0.push_front(text.clone());
                (words(&[b"LPUSH", KEY, &text]), integer(length as i64 + 1))
            }
            10..13 => {
                let expected = self.0.pop_front().map_or(b"$-1\r\n".to_vec(), |text| bulk(&text));
                (words(&[b"LPOP", KEY]), Some(expected))
            }
            13..15 => {
                let expected = self.0.pop_back().map_or(b"$-1\r\n".to_vec(), |text| bulk(&text));
                (words(&[b"RPOP", KEY]), Some(expected))
            }
            15..18 if index < length => {
                self.0[index].clone_from(&text);
                (words(&[b"LSET", KEY, &number(index), &text]), Some(b"+OK\r\n".to_vec()))
            }
            18..20 if index < length => {
                let pivot = self.0[index].clone();
                let first = self.0.iter().position(|other| *other == pivot).expect("itself");
                self.0.insert(first, text.clone());
                (words(&[b"LINSERT", KEY, b"BEFORE", &pivot, &text]), integer(length as i64 + 1))
            }
            20..22 => {
                self.0.retain(|other| *other != text);
                let removed = length - self.0.len();
                (words(&[b"LREM", KEY, b"0", &text]), integer(removed as i64))
            }
            22 if length > 100 => {
                self.0.truncate(length - 10);
                self.0.drain(..5);
                (words(&[b"LTRIM", KEY, b"5", b"-11"]), Some(b"+OK\r\n".to_vec()))
            }
            _ => {
                let expected = self.0.get(index).map_or(b"$-1\r\n".to_vec(), |text| bulk(text));
                (words(&[b"LINDEX", KEY, &number(index)]), Some(expected))
            }
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        let elements = parts(&run(shard, &[b"LRANGE", key, b"0", b"-1"]));
        assert!(elements.iter().eq(self.0.iter()), "{} elements for {}", elements.len(), self.0.len());
    }
}

/// A set.
#[derive(Clone, Default)]
pub(super) struct Set(BTreeSet<Vec<u8>>);

impl Set {
    fn change(&mut self, random: &mut fastrand::Rng, member: Vec<u8>) -> (Words, Option<Vec<u8>>) {
        match random.u32(..20) {
            0..11 if self.0.len() < 200 => {
                let is_new = self.0.insert(member.clone());
                (words(&[b"SADD", KEY, &member]), integer(i64::from(is_new)))
            }
            11..15 => {
                let was_there = self.0.remove(&member);
                (words(&[b"SREM", KEY, &member]), integer(i64::from(was_there)))
            }
            15..17 => (words(&[b"SPOP", KEY]), None),
            17 => (words(&[b"SPOP", KEY, &number(random.u32(..6))]), None),
            _ => (words(&[b"SISMEMBER", KEY, &member]), integer(i64::from(self.0.contains(&member)))),
        }
    }
}

impl Model for Set {
    const KIND: Type = Type::Set;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        let member = text(random);
        self.change(random, member)
    }

    fn learn(&mut self, words: &Words, reply: &[u8]) {
        if words[0] == b"SPOP" {
            for member in parts(reply) {
                assert!(self.0.remove(&member), "{} was no member", member.escape_ascii());
            }
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        let members = parts(&run(shard, &[b"SMEMBERS", key]));
        assert_eq!(members.len(), self.0.len());
        assert!(members.into_iter().collect::<BTreeSet<_>>() == self.0);
    }
}

/// A set whose members are integers.
#[derive(Clone, Default)]
pub(super) struct IntegerSet(Set);

impl Model for IntegerSet {
    const KIND: Type = Type::Set;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        // As wide as two, four and eight bytes.
        let member = [random.i64(-60..60), random.i64(-60..60) << 20, random.i64(-30..30) << 50][random.usize(..3)];
        self.0.change(random, number(member))
    }

    fn learn(&mut self, words: &Words, reply: &[u8]) {
        self.0.learn(words, reply);
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        self.0.check(shard, key);
    }
}

/// A hash whose fields may have times.
#[derive(Clone, Default)]
pub(super) struct Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<Milliseconds>)>);

impl Hash {
    fn expire(&mut self, now: Milliseconds) {
        self.0.retain(|_, (_, at)| at.is_none_or(|at| now <= at));
    }
}

impl Model for Hash {
    const KIND: Type = Type::Hash;

    fn step(&mut self, random: &mut fastrand::Rng, now: Milliseconds) -> (Words, Option<Vec<u8>>) {
        self.expire(now);
        let (field, value) = (text(random), text(random));
        let is_there = self.0.contains_key(&field);
        match random.u32(..20) {
            0..9 if self.0.len() < 200 => {
                self.0.insert(field.clone(), (value.clone(), None));
                (words(&[b"HSET", KEY, &field, &value]), integer(i64::from(!is_there)))
            }
            9..12 => {
                self.0.remove(&field);
                (words(&[b"HDEL", KEY, &field]), integer(i64::from(is_there)))
            }
            12..15 => {
                let at = now + random.i64(-5..400);
                match self.0.get_mut(&field) {
                    Some(_) if at <= now => drop(self.0.remove(&field)),
                    Some((_, time)) => *time = Some(at),
                    None => {}
                }
                (words(&[b"HPEXPIREAT", KEY, &number(at), b"FIELDS", b"1", &field]), None)
            }
            15 => {
                if let Some((_, time)) = self.0.get_mut(&field) {
                    *time = None;
                }
                (words(&[b"HPERSIST", KEY, b"FIELDS", b"1", &field]), None)
            }
            16 => {
                let at = now + random.i64(1..400);
                self.0.insert(field.clone(), (value.clone(), Some(at)));
                (words(&[b"HSETEX", KEY, b"PXAT", &number(at), b"FIELDS", b"1", &field, &value]), integer(1))
            }
            _ => {
                let expected = self.0.get(&field).map_or(b"$-1\r\n".to_vec(), |(value, _)| bulk(value));
                (words(&[b"HGET", KEY, &field]), Some(expected))
            }
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        let mut model = self.clone();
        model.expire(shard.now);
        let all = parts(&run(shard, &[b"HGETALL", key]));
        assert_eq!(all.len(), model.0.len() * 2);
        for pair in all.chunks(2) {
            let (value, at) = &model.0[&pair[0]];
            assert!(pair[1] == *value);
            let time = run(shard, &[b"HPEXPIRETIME", key, b"FIELDS", b"1", &pair[0]]);
            assert_eq!(parts(&time), [number(at.unwrap_or(-1))]);
        }
    }
}

/// A sorted set.
#[derive(Clone, Default)]
pub(super) struct SortedSet(BTreeMap<Vec<u8>, f64>);

impl SortedSet {
    fn in_order(&self) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = self.0.iter().map(|(member, score)| (*score, member.clone())).collect();
        all.sort_by(|one, other| one.0.partial_cmp(&other.0).expect("numbers").then_with(|| one.1.cmp(&other.1)));
        all
    }
}

impl Model for SortedSet {
    const KIND: Type = Type::SortedSet;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        let member = text(random);
        let score = [f64::from(random.i32(-9..9)), f64::from(random.i32(-4000..4000)) / 8.0][random.usize(..2)];
        match random.u32(..20) {
            0..10 if self.0.len() < 200 => {
                let is_new = self.0.insert(member.clone(), score).is_none();
                (words(&[b"ZADD", KEY, &number(score), &member]), integer(i64::from(is_new)))
            }
            10..12 => {
                let sum = self.0.get(&member).copied().unwrap_or(0.0) + score;
                self.0.insert(member.clone(), sum);
                (words(&[b"ZINCRBY", KEY, &number(score), &member]), Some(bulk(&number(sum))))
            }
            12..15 => {
                let was_there = self.0.remove(&member).is_some();
                (words(&[b"ZREM", KEY, &member]), integer(i64::from(was_there)))
            }
            15 => {
                for (_, member) in self.in_order().into_iter().take(2) {
                    self.0.remove(&member);
                }
                (words(&[b"ZPOPMIN", KEY, b"2"]), None)
            }
            16 => {
                let all = self.in_order();
                let start = random.usize(..=all.len());
                let removed: Vec<_> = all.into_iter().skip(start).take(4).collect();
                for (_, member) in &removed {
                    self.0.remove(member);
                }
                let line = [b"ZREMRANGEBYRANK", KEY, &number(start), &number(start + 3)];
                (words(&line), integer(removed.len() as i64))
            }
            _ => {
                let rank = self.in_order().iter().position(|(_, other)| *other == member);
                let expected = rank.map_or(Some(b"$-1\r\n".to_vec()), |rank| integer(rank as i64));
                (words(&[b"ZRANK", KEY, &member]), expected)
            }
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        let all = parts(&run(shard, &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]));
        let expected = self.in_order();
        assert_eq!(all.len(), expected.len() * 2);
        for (pair, (score, member)) in all.chunks(2).zip(expected) {
            let text = std::str::from_utf8(&pair[1]).expect("a score");
            assert!(pair[0] == member && text.parse() == Ok(score), "{text} for {score}");
        }
    }
}

/// Fields and values of an entry.
type Fields = Vec<Vec<u8>>;

/// A stream with one group of one consumer.
#[derive(Clone, Default)]
pub(super) struct Stream {
    entries: BTreeMap<u64, Fields>,
    last: u64,
    /// What the group has been told of last, and what it has not acknowledged; none without a group.
    group: Option<(u64, BTreeSet<u64>)>,
}

impl Stream {
    fn id(&self, random: &mut fastrand::Rng) -> u64 {
        random.u64(self.last.saturating_sub(80)..=self.last)
    }
}

fn id_text(id: u64) -> Vec<u8> {
    format!("{id}-0").into_bytes()
}

impl Model for Stream {
    const KIND: Type = Type::Stream;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        let choice = if self.last == 0 { 0 } else { random.u32(..20) };
        match (choice, &mut self.group) {
            (0..9, _) => {
                self.last += random.u64(1..3);
                let mut fields = vec![b"f".to_vec(), text(random)];
                if random.bool() {
                    fields.extend([text(random), text(random)]);
                }
                self.entries.insert(self.last, fields.clone());
                let id = id_text(self.last);
                ([words(&[b"XADD", KEY, &id]), fields].concat(), Some(bulk(&id)))
            }
            (9..12, _) => {
                let id = self.id(random);
                let was_there = self.entries.remove(&id).is_some();
                (words(&[b"XDEL", KEY, &id_text(id)]), integer(i64::from(was_there)))
            }
            (12, _) => {
                let length = self.entries.len();
                let kept = length.saturating_sub(random.usize(..20)).min(150);
                while self.entries.len() > kept {
                    self.entries.pop_first();
                }
                (words(&[b"XTRIM", KEY, b"MAXLEN", &number(kept)]), integer((length - kept) as i64))
            }
            (13.., None) => {
                self.group = Some((0, BTreeSet::new()));
                (words(&[b"XGROUP", b"CREATE", KEY, b"g", b"0"]), Some(b"+OK\r\n".to_vec()))
            }
            (13..16, Some((told, pending))) => {
                let count = random.usize(1..5);
                let new: Vec<u64> = self.entries.range(*told + 1..).take(count).map(|(id, _)| *id).collect();
                *told = new.last().copied().unwrap_or(*told);
                pending.extend(new);
                (words(&[b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", &number(count), b"STREAMS", KEY, b">"]), None)
            }
            (16..18, Some((_, pending))) => {
                let nth = random.usize(..=pending.len());
                let id = pending.iter().nth(nth).copied().unwrap_or(0);
                let was_there = pending.remove(&id);
                (words(&[b"XACK", KEY, b"g", &id_text(id)]), integer(i64::from(was_there)))
            }
            (18, Some(_)) if random.u32(..10) == 0 => {
                self.group = None;
                (words(&[b"XGROUP", b"DESTROY", KEY, b"g"]), integer(1))
            }
            _ => (words(&[b"XLEN", KEY]), integer(self.entries.len() as i64)),
        }
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        if self.last == 0 {
            return assert_eq!(run(shard, &[b"EXISTS", key]), b":0\r\n");
        }
        let all = parts(&run(shard, &[b"XRANGE", key, b"-", b"+"]));
        let expected: Vec<Vec<u8>> =
            self.entries.iter().flat_map(|(id, fields)| [vec![id_text(*id)], fields.clone()].concat()).collect();
        assert!(all == expected, "{} texts for {}", all.len(), expected.len());
        if let Some((_, pending)) = &self.group {
            let all = parts(&run(shard, &[b"XPENDING", key, b"g", b"-", b"+", b"100000"]));
            let ids: Vec<Vec<u8>> = all.chunks(4).map(|entry| entry[0].clone()).collect();
            assert_eq!(ids, pending.iter().map(|id| id_text(*id)).collect::<Vec<_>>());
        }
    }
}

/// A HyperLogLog: the highest rank of each register that has one.
#[derive(Clone, Default)]
pub(super) struct Cardinality {
    ranks: BTreeMap<usize, u8>,
    is_there: bool,
}

impl Model for Cardinality {
    const KIND: Type = Type::String;

    fn step(&mut self, random: &mut fastrand::Rng, _: Milliseconds) -> (Words, Option<Vec<u8>>) {
        if random.u32(..8) == 0 && self.is_there {
            return (words(&[b"PFCOUNT", KEY]), None);
        }
        let elements: Words = (0..random.usize(..6)).map(|_| number(random.u32(..5000))).collect();
        let mut is_changed = !std::mem::replace(&mut self.is_there, true);
        for element in &elements {
            let (register, rank) = hyperloglog::place(element);
            let known = self.ranks.entry(register).or_default();
            is_changed |= rank > *known;
            *known = rank.max(*known);
        }
        ([words(&[b"PFADD", KEY]), elements].concat(), integer(i64::from(is_changed)))
    }

    fn check(&self, shard: &mut Shard, key: &[u8]) {
        if !self.is_there {
            return assert_eq!(run(shard, &[b"EXISTS", key]), b":0\r\n");
        }
        // What looks at registers makes them dense: on a copy.
        assert_eq!(run(shard, &[b"COPY", key, b"copy", b"REPLACE"]), b":1\r\n");
        let estimates = [run(shard, &[b"PFCOUNT", b"copy"]), run(shard, &[b"PFMERGE", b"union", b"copy"]), {
            let ranks = parts(&run(shard, &[b"PFDEBUG", b"GETREG", b"copy"]));
            let expected = (0..ranks.len()).map(|index| number(self.ranks.get(&index).copied().unwrap_or(0)));
            assert!(ranks.len() == 1 << 14 && ranks.iter().eq(expected.collect::<Vec<_>>().iter()));
            run(shard, &[b"PFCOUNT", b"copy"])
        }];
        assert_eq!(estimates[0], estimates[2], "sparse and dense estimate alike");
        assert_eq!(run(shard, &[b"PFCOUNT", b"union"]), estimates[0]);
        run(shard, &[b"DEL", b"copy", b"union"]);
    }
}
