//! Each type against a simple model, through its commands and in all its forms, with views frozen, put back, kept and
//! dropped in between: in the end every view is still what it was.
//!
//! ```text
//!   step        a random command; the model says the reply where it can, and what there is afterwards
//!   freeze      the value as COPY, a walk or a long command would hold it, with the model of that moment
//!   put back    a view becomes the value: both share all of it, and writers must copy
//!   check       value and views, each laid out under a key of its own, hold what their models say
//! ```
//!
//! `TORC_TYPE_OPERATIONS` is the number of operations a type, `TORC_TYPE_SEED` their seed.

use super::harness::Shard;
use crate::command::Milliseconds;
use crate::digest::digest_of;
use crate::keyspace::OwnedEntry;
use crate::reply::Protocol;
use crate::values::{Encodings, Type};

mod models;

/// A command as it is sent.
type Words = Vec<Vec<u8>>;

/// The key that commands change, and one that views are laid out under.
const KEY: &[u8] = b"key";
const SHOWN: &[u8] = b"shown";

/// What a value of a type should be.
trait Model: Clone + Default {
    /// The type.
    const KIND: Type;

    /// A random command on [`KEY`] with its reply, if the model knows it, after the model has done the same.
    fn step(&mut self, random: &mut fastrand::Rng, now: Milliseconds) -> (Words, Option<Vec<u8>>);

    /// Learns from the reply of a command that was random itself, and checks that it could be.
    fn learn(&mut self, _words: &Words, _reply: &[u8]) {}

    /// Compares all there is under a key.
    fn check(&self, shard: &mut Shard, key: &[u8]);
}

/// Words of text.
fn words(line: &[&[u8]]) -> Words {
    line.iter().map(|word| word.to_vec()).collect()
}

fn integer(number: i64) -> Option<Vec<u8>> {
    Some(format!(":{number}\r\n").into_bytes())
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// The bulk strings of a reply of one level, and numbers as text.
fn parts(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = reply;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = (&rest[..end - 1], &rest[end + 1..]);
        rest = behind;
        match line[0] {
            b'$' if line != b"$-1" => {
                let length: usize = std::str::from_utf8(&line[1..]).expect("a number").parse().expect("a length");
                parts.push(rest[..length].to_vec());
                rest = &rest[length + 2..];
            }
            b':' | b'+' => parts.push(line[1..].to_vec()),
            _ => {}
        }
    }
    parts
}

/// A view with what it should be.
struct View<M> {
    entry: Option<OwnedEntry>,
    digest: String,
    model: M,
}

struct Run<M> {
    shard: Shard,
    model: M,
    views: Vec<View<M>>,
    random: fastrand::Rng,
    forms: std::collections::BTreeSet<&'static str>,
}

impl<M: Model> Run<M> {
    fn new(seed: u64) -> Self {
        let mut shard = Shard::default();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut few = |usual: u64| [usual, 4, 12, 40][random.usize(..4)];
        let standard = Encodings::default();
        shard.options.encodings = Encodings {
            hash_listpack_entries_max: few(standard.hash_listpack_entries_max),
            list_listpack_size_max: few(1 << 20) as i32,
            set_intset_entries_max: few(standard.set_intset_entries_max),
            set_listpack_entries_max: few(standard.set_listpack_entries_max),
            sorted_set_listpack_entries_max: few(standard.sorted_set_listpack_entries_max),
            stream_node_entries_max: few(standard.stream_node_entries_max),
            hyperloglog_sparse_bytes_max: [3000, 300, 60][random.usize(..3)],
            ..standard
        };
        // Other keys, so that pages fill up, split and merge.
        for number in 0..200 {
            shard.run(&format!("SET other:{number} {}", "x".repeat(number % 90)));
        }
        Self { shard, model: M::default(), views: Vec::new(), random, forms: std::collections::BTreeSet::new() }
    }

    fn entry(&mut self) -> Option<OwnedEntry> {
        let key = self.shard.keyspace.key(KEY);
        let now = self.shard.now;
        let entry = self.shard.keyspace.peek(0, &key, now)?;
        self.forms.insert(entry.encoding_name());
        assert_eq!(entry.kind(), M::KIND);
        Some(entry.to_owned())
    }

    fn freeze(&mut self) {
        let entry = self.entry();
        let digest = entry.clone().map_or(String::new(), digest_of);
        self.views.push(View { entry, digest, model: self.model.clone() });
    }

    /// Lays a value out under another key and looks at it there.
    fn check_view(&mut self, view: &View<M>) {
        let key = self.shard.keyspace.key(SHOWN);
        let now = self.shard.now;
        assert_eq!(view.entry.clone().map_or(String::new(), digest_of), view.digest, "a view has changed");
        match view.entry.clone() {
            Some(entry) => self.shard.keyspace.put(0, &key, entry, now),
            None => drop(self.shard.keyspace.remove(0, &key, now)),
        }
        view.model.check(&mut self.shard, SHOWN);
        self.shard.run("DEL shown");
        if self.random.bool() {
            self.shard.keyspace.collect_garbage(3);
        }
    }

    fn put_back(&mut self, view: &View<M>) {
        let key = self.shard.keyspace.key(KEY);
        let now = self.shard.now;
        match view.entry.clone() {
            Some(entry) => self.shard.keyspace.put(0, &key, entry, now),
            None => drop(self.shard.keyspace.remove(0, &key, now)),
        }
        self.model = view.model.clone();
    }

    fn step(&mut self) {
        match self.random.u32(..400) {
            0..8 => self.freeze(),
            8..10 if !self.views.is_empty() => {
                let view = self.views.swap_remove(self.random.usize(..self.views.len()));
                self.check_view(&view);
                if self.random.bool() {
                    self.put_back(&view);
                }
            }
            10..14 if self.views.len() > 5 => {
                self.views.swap_remove(self.random.usize(..self.views.len()));
                crate::values::large::collect(&mut self.random.usize(1..50));
            }
            14 => {
                self.shard.run("DEL key");
                self.model = M::default();
            }
            15 => {
                let number = self.random.u32(..200);
                self.shard.run(&format!("SET other:{number} {}", "y".repeat(self.random.usize(..90))));
            }
            16 => self.shard.now += self.random.i64(0..40),
            _ => {
                let now = self.shard.now;
                let (words, expected) = self.model.step(&mut self.random, now);
                let arguments: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                let reply = self.shard.execute(Protocol::Resp2, &arguments);
                let shown = || arguments.join(&b' ').escape_ascii().to_string();
                if let Some(expected) = expected {
                    assert_eq!(reply.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{}", shown());
                }
                assert!(!reply.starts_with(b"-"), "{} {}", shown(), reply.escape_ascii());
                self.model.learn(&words, &reply);
            }
        }
    }

    fn check(&mut self) {
        self.model.clone().check(&mut self.shard, KEY);
        self.shard.keyspace.audit();
    }
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Operations on one key before another begins.
const OPERATIONS_A_LIFE: u64 = 4000;

fn run<M: Model>(forms: &[&str]) {
    let (seed, operations) = (environment("TORC_TYPE_SEED", 1), environment("TORC_TYPE_OPERATIONS", 24_000));
    let mut seen = std::collections::BTreeSet::new();
    for life in 0..operations.div_ceil(OPERATIONS_A_LIFE) {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(life);
        println!("seed {seed}");
        let mut run = Run::<M>::new(seed);
        for operation in 0..OPERATIONS_A_LIFE {
            run.step();
            if operation % 100 == 0 {
                run.check();
            }
        }
        run.check();
        for view in std::mem::take(&mut run.views) {
            run.check_view(&view);
        }
        run.shard.keyspace.audit();
        seen.extend(run.forms);
    }
    assert!(forms.iter().all(|form| seen.contains(form)), "{seen:?}");
}

#[test]
fn strings() {
    run::<models::Text>(&["int", "embstr", "raw"]);
}

#[test]
fn lists() {
    run::<models::List>(&["listpack", "quicklist"]);
}

#[test]
fn sets_of_texts_and_integers() {
    run::<models::Set>(&["listpack", "hashtable"]);
}

#[test]
fn sets_of_integers() {
    run::<models::IntegerSet>(&["intset", "hashtable"]);
}

#[test]
fn hashes_with_times() {
    run::<models::Hash>(&["listpack", "listpackex", "hashtable"]);
}

#[test]
fn sorted_sets() {
    run::<models::SortedSet>(&["listpack", "skiplist"]);
}

#[test]
fn streams_with_a_group() {
    run::<models::Stream>(&["stream"]);
}

#[test]
fn cardinalities_sparse_and_dense() {
    run::<models::Cardinality>(&["raw"]);
}
