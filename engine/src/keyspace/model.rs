//! The keyspace against a simple model: random operations on both, then the same answers.
//!
//! `TORC_KEYSPACE_OPERATIONS` sets the number of operations of the long run, `TORC_KEYSPACE_SEED` its seed.

use super::*;
use crate::command::parse_integer;
use crate::values::OwnedString;
use std::collections::BTreeMap;

const DATABASES: usize = 3;

/// With this as the time, nothing is expired: shows what is there, whatever its expiry.
const BEFORE_ALL_TIME: Milliseconds = i64::MIN;

#[derive(Clone, Debug, PartialEq)]
struct ModelValue {
    text: Vec<u8>,
    integer: bool,
    raw: bool,
    expires_at: Option<Milliseconds>,
}

impl ModelValue {
    fn encoding(&self) -> &'static str {
        match self {
            Self { integer: true, .. } => "int",
            Self { raw: false, text, .. } if text.len() <= 44 => "embstr",
            _ => "raw",
        }
    }

    fn is_expired(&self, now: Milliseconds) -> bool {
        self.expires_at.is_some_and(|at| now > at)
    }
}

type Model = BTreeMap<Vec<u8>, ModelValue>;

struct Pair {
    keyspace: Keyspace,
    models: Vec<Model>,
    now: Milliseconds,
    random: fastrand::Rng,
    dirty: u64,
    universe: Universe,
}

/// Which keys an operation may name.
#[derive(Clone, Copy)]
struct Universe {
    keys: usize,
    one_slot: bool,
}

impl Pair {
    fn new(seed: u64, universe: Universe) -> Self {
        Self {
            keyspace: Keyspace::new(DATABASES, KeyHasher::with_seed(seed)),
            models: vec![Model::new(); DATABASES],
            now: 1_000_000,
            random: fastrand::Rng::with_seed(seed),
            dirty: 0,
            universe,
        }
    }

    fn name(&mut self) -> Vec<u8> {
        let number = self.random.usize(..self.universe.keys);
        let tag = if self.universe.one_slot { "{tag}" } else { "" };
        match number % 50 {
            0 => format!("{tag}{number}{}", "long".repeat(60 + number % 40)).into_bytes(),
            1 => format!("{tag}{number}{}", "x".repeat(255 - tag.len() - number.to_string().len())).into_bytes(),
            2 if number == 2 => Vec::new(),
            _ => format!("{tag}key:{number}").into_bytes(),
        }
    }

    fn text(&mut self) -> Vec<u8> {
        let length = match self.random.u32(..100) {
            0..10 => return self.random.i64(..).to_string().into_bytes(),
            10..20 => return self.random.i64(-20..2000).to_string().into_bytes(),
            20..60 => self.random.usize(..45),
            60..80 => self.random.usize(40..INLINE_BYTES_MAX + 2),
            80..99 => self.random.usize(100..1000),
            _ => self.random.usize(1000..100_000),
        };
        let byte = self.random.alphanumeric() as u8;
        vec![byte; length]
    }

    fn expiry(&mut self) -> Option<Milliseconds> {
        match self.random.u32(..20) {
            0..10 => None,
            10..15 => Some(self.now + self.random.i64(0..3_000)),
            15..17 => Some(self.now + self.random.i64(0..1_000_000)),
            17 => Some(self.now - self.random.i64(0..1_000)),
            18 => Some(self.random.choice([i64::MIN, i64::MAX, 0, -1, 1 << 42, 1 << 55]).unwrap_or(0)),
            _ => Some(self.now),
        }
    }

    /// The model's value if it is live; a dead one is removed, as an access does.
    fn live(&mut self, database: usize, name: &[u8]) -> Option<&mut ModelValue> {
        let now = self.now;
        if self.models[database].get(name).is_some_and(|value| value.is_expired(now)) {
            self.models[database].remove(name);
        }
        self.models[database].get_mut(name)
    }

    fn step(&mut self, growing: bool) {
        let database = if self.random.u32(..10) == 0 { self.random.usize(..DATABASES) } else { 0 };
        let name = self.name();
        let hasher = self.keyspace.hasher().clone();
        let key = Key::new(&name, &hasher);
        let grow = if growing { 40 } else { 10 };
        match self.random.u32(..100) {
            roll if roll < grow => self.set(database, &key),
            roll if roll < 50 => {
                let expected = self.live(database, &name).is_some();
                self.models[database].remove(&name);
                self.dirty += u64::from(expected);
                assert_eq!(self.keyspace.remove(database, &key, self.now), expected);
            }
            50..60 => self.read(database, &key),
            60..65 => self.append(database, &key),
            65..70 => self.write_at(database, &key),
            70..76 => {
                let at = self.expiry();
                let expected = self.live(database, &name).map(|value| value.expires_at = at).is_some();
                self.dirty += u64::from(expected);
                assert_eq!(self.keyspace.set_expiry(database, &key, at, self.now), expected);
            }
            76..82 => self.move_value(database, &key),
            82..86 => {
                let value = self.random.i64(..);
                let expires_at = self.live(database, &name).and_then(|value| value.expires_at);
                let text = value.to_string().into_bytes();
                let model = ModelValue { text, integer: true, raw: false, expires_at };
                self.models[database].insert(name.clone(), model);
                self.dirty += 1;
                self.keyspace.set_integer(database, &key, value, Expiry::Keep, self.now);
            }
            86..92 => self.now += self.random.i64(0..50),
            92..98 => self.expire_step(),
            98 => {
                let budget = self.random.usize(..50);
                self.keyspace.collect_garbage(budget);
            }
            _ => self.rarely(),
        }
        assert_eq!(self.keyspace.len(database), self.models[database].len());
        assert_eq!(self.keyspace.dirty, self.dirty);
    }

    fn set(&mut self, database: usize, key: &Key<'_>) {
        let text = self.text();
        let at = self.expiry();
        let expiry = match (at, self.random.bool()) {
            (Some(at), _) => Expiry::At(at),
            (None, true) => Expiry::Clear,
            (None, false) => Expiry::Keep,
        };
        let kept = self.live(database, key.bytes).and_then(|value| value.expires_at);
        let expires_at = if expiry == Expiry::Keep { kept } else { at };
        let integer = text.len() <= 20 && parse_integer(&text).is_some();
        self.keyspace.set_string(database, key, &text, expiry, self.now);
        self.dirty += 1;
        self.models[database].insert(key.bytes.to_vec(), ModelValue { text, integer, raw: false, expires_at });
    }

    fn read(&mut self, database: usize, key: &Key<'_>) {
        let expected = self.live(database, key.bytes).cloned();
        let random_access = self.random.choice([Access::Touch, Access::NoTouch]).unwrap_or(Access::Touch);
        let before = self.keyspace.statistics;
        let found = self.keyspace.find(database, key, self.now, random_access);
        let seen = found.map(|entry| {
            let text = entry.string().unwrap().to_bytes().into_owned();
            assert_eq!(entry.string().unwrap().len(), text.len());
            if random_access == Access::Touch {
                assert_eq!(entry.idle_seconds(self.now), 0);
            }
            (text, entry.encoding_name(), entry.expires_at())
        });
        assert_eq!(seen, expected.as_ref().map(|value| (value.text.clone(), value.encoding(), value.expires_at)));
        let after = self.keyspace.statistics;
        let (hit, miss) = (u64::from(expected.is_some()), u64::from(expected.is_none()));
        assert_eq!((after.hits - before.hits, after.misses - before.misses), (hit, miss));
        assert_eq!(self.keyspace.exists(database, key, self.now), expected.is_some());
    }

    fn append(&mut self, database: usize, key: &Key<'_>) {
        let suffix = self.text();
        let expected = if let Some(value) = self.live(database, key.bytes) {
            value.text.extend_from_slice(&suffix);
            (value.integer, value.raw) = (false, true);
            value.text.len()
        } else {
            let integer = suffix.len() <= 20 && parse_integer(&suffix).is_some();
            let value = ModelValue { text: suffix.clone(), integer, raw: false, expires_at: None };
            self.models[database].insert(key.bytes.to_vec(), value);
            suffix.len()
        };
        self.dirty += 1;
        assert_eq!(self.keyspace.append(database, key, &suffix, self.now), expected);
    }

    fn write_at(&mut self, database: usize, key: &Key<'_>) {
        let offset = self.random.usize(..300);
        let bytes = if self.random.u32(..5) == 0 { Vec::new() } else { self.text() };
        let old = self.live(database, key.bytes).cloned();
        let expected = if bytes.is_empty() {
            old.map_or(0, |value| value.text.len())
        } else {
            let empty = ModelValue { text: Vec::new(), integer: false, raw: true, expires_at: None };
            let mut value = ModelValue { integer: false, raw: true, ..old.unwrap_or(empty) };
            value.text.resize(value.text.len().max(offset + bytes.len()), 0);
            value.text[offset..offset + bytes.len()].copy_from_slice(&bytes);
            let length = value.text.len();
            self.models[database].insert(key.bytes.to_vec(), value);
            self.dirty += 1;
            length
        };
        assert_eq!(self.keyspace.write_at(database, key, offset, &bytes, self.now), expected);
    }

    /// RENAME, COPY and MOVE in small: out of one place, into another.
    fn move_value(&mut self, database: usize, key: &Key<'_>) {
        let (to, name) = (self.random.usize(..DATABASES), self.name());
        let hasher = self.keyspace.hasher().clone();
        let target = Key::new(&name, &hasher);
        let expected = self.models[database].get(key.bytes).filter(|value| !value.is_expired(self.now)).cloned();
        let entry = if self.random.bool() {
            self.models[database].remove(key.bytes);
            self.dirty += u64::from(expected.is_some());
            self.keyspace.take(database, key, self.now)
        } else {
            self.keyspace.peek(database, key, self.now).map(|entry| entry.to_owned())
        };
        assert_eq!(entry.is_some(), expected.is_some());
        if let (Some(entry), Some(value)) = (entry, expected) {
            let Value::String(string) = &entry.value else { panic!("only strings are written") };
            assert_eq!((string.as_ref().to_bytes().as_ref(), entry.expires_at), (&value.text[..], value.expires_at));
            self.keyspace.put(to, &target, entry, self.now);
            self.models[to].insert(name.clone(), value);
            self.dirty += 1;
        }
    }

    fn expire_step(&mut self) {
        let budget = self.random.usize(..60);
        let progress = self.keyspace.expire_step(self.now, budget);
        let Self { keyspace, models, now, .. } = self;
        let before: usize = models.iter().map(Model::len).sum();
        for (database, model) in models.iter_mut().enumerate() {
            model.retain(|name, value| {
                let key = keyspace.key(name);
                !value.is_expired(*now) || keyspace.peek(database, &key, BEFORE_ALL_TIME).is_some()
            });
        }
        assert_eq!(progress.expired, before - models.iter().map(Model::len).sum::<usize>());
    }

    fn rarely(&mut self) {
        match self.random.u32(..40) {
            0 => {
                let one = self.random.usize(1..DATABASES);
                let which = if self.random.u32(..10) == 0 { None } else { Some(one) };
                let mut expected = 0;
                for (database, model) in self.models.iter_mut().enumerate() {
                    if which.is_none_or(|one| one == database) {
                        expected += model.len();
                        model.clear();
                    }
                }
                self.dirty += expected as u64;
                assert_eq!(self.keyspace.flush(which), expected);
            }
            1 => {
                let (a, b) = (self.random.usize(..DATABASES), self.random.usize(..DATABASES));
                self.models.swap(a, b);
                self.dirty += 1;
                self.keyspace.swap_databases(a, b);
            }
            2 => self.now += 5_000,
            _ => {
                let drawn = self.keyspace.random_key(0, &mut self.random, self.now);
                let live = |name: &Vec<u8>| self.models[0].get(name).is_some_and(|value| !value.is_expired(self.now));
                assert!(drawn.as_ref().is_none_or(live), "{drawn:?}");
            }
        }
    }

    /// Compares everything.
    fn check(&mut self) {
        for database in 0..DATABASES {
            let model = &self.models[database];
            let mut seen = BTreeMap::new();
            let mut slots = BTreeMap::new();
            let mut cursor = ScanCursor::START;
            let budget = self.random.usize(..100);
            loop {
                cursor = self.keyspace.scan(database, cursor, budget, BEFORE_ALL_TIME, &mut |name, entry| {
                    let value = (entry.string().unwrap().to_bytes().into_owned(), entry.encoding_name());
                    assert!(seen.insert(name.to_vec(), (value, entry.expires_at())).is_none(), "seen twice");
                    *slots.entry(slot_of(name)).or_insert(0) += 1;
                });
                if cursor == ScanCursor::START {
                    break;
                }
            }
            assert_eq!(seen.len(), model.len());
            for (name, value) in model {
                assert_eq!(seen[name], ((value.text.clone(), value.encoding()), value.expires_at));
                let key = self.keyspace.key(name);
                assert_eq!(self.keyspace.peek(database, &key, self.now).is_none(), value.is_expired(self.now));
            }
            for (slot, count) in slots {
                assert_eq!(self.keyspace.slot_len(database, slot), count);
            }
            let times: Vec<_> = model.values().filter_map(|value| value.expires_at).collect();
            assert_eq!(self.keyspace.volatile_len(database), times.len());
            let sum: i128 = times.iter().map(|at| *at as i128).sum();
            let mean = if times.is_empty() { 0 } else { sum / times.len() as i128 - self.now as i128 };
            assert_eq!(self.keyspace.average_ttl_ms(database, self.now) as i128, mean.clamp(0, i64::MAX as i128));
            self.keyspace.databases[database].audit(self.keyspace.slot_in_walk(database));
        }
    }
}

fn run(seed: u64, operations: usize, universe: Universe) {
    let mut pair = Pair::new(seed, universe);
    for operation in 0..operations {
        pair.step((operation / (operations / 6).max(1)).is_multiple_of(2));
        if operation.is_multiple_of((operations / 20).max(1)) {
            pair.check();
        }
    }
    pair.check();
    // Whatever has an end ends: two seconds after its time nothing is left of it.
    pair.now += 2_000_000;
    while pair.keyspace.expire_step(pair.now, 1000).more {}
    for (database, model) in pair.models.iter_mut().enumerate() {
        model.retain(|_, value| value.expires_at.is_none_or(|at| at > pair.now));
        assert_eq!(pair.keyspace.len(database), model.len());
    }
    pair.check();
    pair.keyspace.flush(None);
    assert_eq!(pair.keyspace.used_bytes(), 0);
    while pair.keyspace.collect_garbage(100) {}
}

fn environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_million_random_operations() {
    let operations = environment("TORC_KEYSPACE_OPERATIONS", 1_000_000);
    let seed = environment("TORC_KEYSPACE_SEED", 1) as u64;
    println!("TORC_KEYSPACE_SEED={seed} TORC_KEYSPACE_OPERATIONS={operations}");
    run(seed, operations / 4, Universe { keys: 5_000, one_slot: false });
    run(seed + 1, operations / 4, Universe { keys: 5_000, one_slot: true });
    run(seed + 2, operations / 4, Universe { keys: 60, one_slot: true });
    run(seed + 3, operations / 4, Universe { keys: 1_000, one_slot: true });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn short_histories(seed: u64, operations in 1usize..600, keys in 3usize..100, one_slot: bool) {
        run(seed, operations, Universe { keys, one_slot });
    }
}

#[test]
fn a_string_travels_to_other_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
    let key = keyspace.key(b"large");
    keyspace.set_string(0, &key, &[b'x'; 1000], Expiry::Clear, 0);
    let owned = keyspace.take(0, &key, 0).unwrap();
    let Value::String(OwnedString::Large(blob)) = &owned.value else { panic!("a long string is a blob") };
    let reply = blob.to_bytes();
    let travelling = is_send(owned);
    let there = move || {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        let name = keyspace.key(b"elsewhere");
        keyspace.put(0, &name, travelling, 0);
        keyspace.append(0, &name, b"y", 0);
        let entry = keyspace.peek(0, &name, 0).unwrap();
        assert_eq!(entry.string().unwrap().len(), 1001);
    };
    std::thread::spawn(there).join().unwrap();
    assert_eq!(reply.len(), 1000);
}
