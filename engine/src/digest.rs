//! Digests of data: 40 digits that two servers share if they hold the same, whatever their encodings, their number of shards
//! and the order in which it came. The scheme is that of DEBUG DIGEST of Redis, so that its servers can be compared with ours.
//!
//! ```text
//!   unordered   total ^= SHA1(part)                  keys, members, fields
//!   ordered     total  = SHA1(total ^ SHA1(part))    elements of a list, entries of a stream, a field and its value
//!
//!   database    xor of SHA1(digest of a key)         over shards the parts are added, then, in the order of databases:
//!   all         total = SHA1(total ^ SHA1(number)) ^ digest of the database       for each that has keys
//! ```
//!
//! * Keys and fields whose time is over count as long as they are there; of a time only whether there is one.
//! * What is digested is of one instant: small values at once when the walk comes by, large ones later, from views of them.
//!   So a writer that serves the walk first never waits for more than a page of small values.

use crate::command::{CommandResult, Execution, Milliseconds};
use crate::commands::DoubleText;
use crate::keyspace::{Entry, OwnedEntry, SharedSink, Value, WalkId, WalkSink};
use crate::long::{LongWork, Step};
use crate::reply::{Reply, ReplyBuffer};
use crate::values::hash::HashRef;
use crate::values::list::{End, ListRef};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::stream::{Stream, StreamId};
use crate::values::{Object, StringRef, Type};
use sha1::{Digest as _, Sha1};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// 160 bits that stand for some data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds a part without regard to order.
    fn add(&mut self, part: &[u8]) {
        self.add_hash(&Sha1::digest(part).into());
    }

    /// Adds a part behind those that are there.
    fn append(&mut self, part: &[u8]) {
        self.append_hash(&Sha1::digest(part).into());
    }

    fn add_hash(&mut self, hash: &[u8; 20]) {
        self.0.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
    }

    fn append_hash(&mut self, hash: &[u8; 20]) {
        self.add_hash(hash);
        self.0 = Sha1::digest(self.0).into();
    }

    fn append_text(&mut self, text: StringRef<'_>) {
        text.with_bytes(|bytes| self.append(bytes));
    }

    /// In hexadecimal.
    pub fn to_text(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The number that stands for a type.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::SortedSet => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// Bytes of a string that are digested in the time of a unit of work, about.
const BYTES_A_UNIT: u64 = 256;

/// Adds elements from a number on, as many as the budget allows; the number to go on from, none at the end.
fn add_elements(view: View<'_>, digest: &mut Digest, from: u64, budget: &mut u64) -> Option<u64> {
    let length = match view {
        View::Set(set) => set.len() as u64,
        View::List(list) => list.len(),
        View::SortedSet(set) => set.len(),
        View::Hash(hash) => hash.len_with_due() as u64,
    };
    let to = from.saturating_add(*budget).min(length);
    let count = (to - from) as usize;
    *budget -= to - from;
    match view {
        View::Set(set) => {
            set.iter_from(from as usize).take(count).for_each(|member| member.with_bytes(|member| digest.add(member)));
        }
        View::List(list) => list.range(from..to, End::Left).for_each(|element| digest.append_text(element)),
        View::SortedSet(set) => {
            for scored in set.range(from..to, false) {
                let mut pair = Digest::default();
                pair.append_text(scored.member);
                pair.append(DoubleText::new(scored.score).as_str().as_bytes());
                digest.add(&pair.0);
            }
        }
        View::Hash(hash) => {
            for field in hash.iter_from(from as usize).take(count) {
                let mut pair = Digest::default();
                pair.append_text(field.name);
                pair.append_text(field.value);
                if field.expires_at.is_some() {
                    pair.add(b"!!hexpire!!");
                }
                digest.add(&pair.0);
            }
        }
    }
    (to < length).then_some(to)
}

/// Adds entries from an ID on, as many as the budget allows; the ID to go on from, none at the end.
fn add_entries(stream: &Stream, digest: &mut Digest, from: StreamId, budget: &mut u64) -> Option<StreamId> {
    for entry in stream.entries().range(from, StreamId::MAX) {
        if *budget == 0 {
            return Some(entry.id);
        }
        digest.append(format!("{}.{}", entry.id.ms, entry.id.sequence).as_bytes());
        for (field, value) in entry.fields() {
            digest.append_text(field.into());
            digest.append_text(value.into());
        }
        *budget = budget.saturating_sub(1 + entry.field_count() as u64);
    }
    None
}

/// A collection whose elements have numbers.
#[derive(Clone, Copy)]
enum View<'a> {
    Set(SetRef<'a>),
    List(ListRef<'a>),
    SortedSet(SortedSetRef<'a>),
    Hash(HashRef<'a>),
}

/// Where the digest of a value goes on.
enum Position {
    /// Of a string: how many bytes are in.
    Bytes(Sha1, usize),
    Element(u64),
    Entry(StreamId),
}

/// A value whose digest is made in pieces.
struct Unfinished {
    digest: Digest,
    entry: OwnedEntry,
    position: Position,
}

impl Unfinished {
    /// Adds the value to a digest that may have something in it.
    fn new(mut digest: Digest, entry: OwnedEntry) -> Self {
        digest.append(&type_number(entry.value.kind()).to_be_bytes());
        let position = match entry.value.kind() {
            Type::String => Position::Bytes(Sha1::new(), 0),
            Type::Stream => Position::Entry(StreamId::MIN),
            _ => Position::Element(0),
        };
        Self { digest, entry, position }
    }

    /// Goes on for about as many elements as the budget allows, and takes them off it; whether something is left.
    fn step(&mut self, budget: &mut u64) -> bool {
        let value = &self.entry.value;
        let (form, bytes, object) = (value.form(), value.packed_bytes(), value.object());
        let is_done = match (&mut self.position, value, object) {
            (Position::Bytes(hash, done), Value::String(text), _) => {
                let mut scratch = itoa::Buffer::new();
                let text = text.as_ref();
                let rest = &text.as_bytes(&mut scratch)[*done..];
                let piece = &rest[..rest.len().min(budget.saturating_mul(BYTES_A_UNIT) as usize)];
                hash.update(piece);
                *done += piece.len();
                *budget -= (piece.len() as u64).div_ceil(BYTES_A_UNIT);
                let is_done = piece.len() == rest.len();
                if is_done {
                    self.digest.append_hash(&hash.finalize_reset().into());
                }
                is_done
            }
            (Position::Entry(id), _, Some(Object::Stream(stream))) => {
                let next = add_entries(stream, &mut self.digest, *id, budget);
                *id = next.unwrap_or_default();
                next.is_none()
            }
            (Position::Element(index), ..) => {
                let view = match value.kind() {
                    Type::Set => View::Set(SetRef::new(form, bytes, object)),
                    Type::List => View::List(ListRef::new(bytes, object)),
                    Type::SortedSet => View::SortedSet(SortedSetRef::new(bytes, object)),
                    _ => View::Hash(HashRef::new(form, bytes, object)),
                };
                let next = add_elements(view, &mut self.digest, *index, budget);
                *index = next.unwrap_or_default();
                next.is_none()
            }
            _ => unreachable!("a position is of its value's type"),
        };
        if is_done && self.entry.expires_at.is_some() {
            self.digest.add(b"!!expire!!");
        }
        !is_done
    }

    /// All of it at once.
    fn run_to_end(mut self) -> Digest {
        let mut budget = u64::MAX;
        while self.step(&mut budget) {}
        self.digest
    }
}

/// The digest of a value that is in no table.
#[cfg(test)]
pub(crate) fn digest_of(entry: OwnedEntry) -> String {
    Unfinished::new(Digest::default(), entry).run_to_end().to_text()
}

/// The digest of one shard's slice of a database.
#[derive(Default)]
struct Slice {
    digest: Digest,
    /// Values to be digested later: those that are large.
    large: VecDeque<Unfinished>,
    /// Units of work since the last look.
    units: u64,
}

impl Slice {
    /// Digests large values, as far as the budget goes; whether some are left.
    fn step_large(&mut self, budget: &mut u64) -> bool {
        while let Some(first) = self.large.front_mut() {
            if *budget == 0 || first.step(budget) {
                return true;
            }
            let digest = first.digest;
            self.large.pop_front();
            self.digest.add(&digest.0);
            *budget = budget.saturating_sub(1);
        }
        false
    }
}

impl WalkSink for Slice {
    fn key(&mut self, key: &[u8], entry: &Entry<'_>) {
        /// What is digested at once at most, in bytes: some dozen elements.
        const SMALL_BYTES_MAX: usize = 320;
        let mut digest = Digest::default();
        digest.append(key);
        let value = Unfinished::new(digest, entry.to_owned());
        let bytes = entry.string().map(|text| text.len()).or(entry.packed_bytes().map(<[u8]>::len));
        match bytes {
            Some(..=SMALL_BYTES_MAX) => {
                let digest = value.run_to_end();
                self.digest.add(&digest.0);
            }
            _ => self.large.push_back(value),
        }
        self.units += 1 + bytes.map_or(0, |bytes| bytes.min(SMALL_BYTES_MAX) as u64 / 16);
    }
}

/// Every key counts that is there, whenever its time is over.
const ALWAYS: Milliseconds = Milliseconds::MIN;

/// One database: its walk until that has come to its end.
struct DatabaseWork {
    slice: Rc<RefCell<Slice>>,
    /// Keeps the walk going.
    _sink: SharedSink,
    walk: Option<WalkId>,
}

/// All databases of a shard, as they were at one instant. The reply is for [`merge`].
struct DatasetWork(Vec<DatabaseWork>);

impl LongWork for DatasetWork {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let mut left = budget;
        for work in &mut self.0 {
            loop {
                if work.slice.borrow_mut().step_large(&mut left) || left == 0 {
                    return Step::More;
                }
                let Some(walk) = work.walk else { break };
                if !execution.keyspace.step_walk(walk, 1) {
                    work.walk = None;
                }
                left = left.saturating_sub(1 + std::mem::take(&mut work.slice.borrow_mut().units));
            }
        }
        let mut encoded = Vec::with_capacity(self.0.len() * PART_BYTES);
        for work in &self.0 {
            encoded.extend_from_slice(&work.slice.borrow().digest.0);
        }
        execution.reply.bulk(&encoded);
        Step::Done
    }
}

/// Bytes of a database in a shard's reply.
const PART_BYTES: usize = 20;

/// Digests this shard's slices of all databases, for [`merge`].
pub fn digest_dataset(execution: &mut Execution<'_>, _: &[&[u8]]) -> CommandResult {
    let keyspace = &mut *execution.keyspace;
    let works = (0..keyspace.database_count()).map(|database| {
        let slice = Rc::new(RefCell::new(Slice::default()));
        let sink: SharedSink = slice.clone();
        let walk = (keyspace.len(database) > 0).then(|| keyspace.begin_walk(database, ALWAYS, &sink));
        DatabaseWork { slice, _sink: sink, walk }
    });
    let works = works.collect();
    execution.later.put(DatasetWork(works));
    Ok(())
}

/// The digest of the whole, of what each shard has answered to [`digest_dataset`].
pub fn merge(parts: &[ReplyBuffer], reply: &mut Reply<'_>) {
    let mut databases: Vec<Digest> = Vec::new();
    for part in parts {
        let header = memchr::memchr(b'\n', &part.bytes).map_or(0, |end| end + 1);
        let (slices, _) = part.bytes[header..].as_chunks::<PART_BYTES>();
        databases.resize(databases.len().max(slices.len()), Digest::default());
        databases.iter_mut().zip(slices).for_each(|(database, slice)| database.add_hash(slice));
    }
    let mut total = Digest::default();
    // A database with keys whose digests add up to nothing is not to be met with.
    for (number, database) in databases.iter().enumerate().filter(|(_, database)| **database != Digest::default()) {
        total.append(&(number as u32).to_be_bytes());
        total.add_hash(&database.0);
    }
    reply.status(&total.to_text());
}

/// The values of some keys: a digest for each, zeros where there is none.
struct ValuesWork(VecDeque<Option<Unfinished>>);

impl LongWork for ValuesWork {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let mut left = budget;
        while let Some(value) = self.0.front_mut() {
            if left == 0 || value.as_mut().is_some_and(|value| value.step(&mut left)) {
                return Step::More;
            }
            let digest = value.as_ref().map_or(Digest::default(), |value| value.digest);
            execution.reply.status(&digest.to_text());
            self.0.pop_front();
            left = left.saturating_sub(1);
        }
        Step::Done
    }
}

/// `... key [key ...]`: digests the values of keys, without their names.
pub fn digest_values(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let keys = &arguments[1..];
    execution.reply.array(keys.len());
    let values = keys.iter().map(|key| {
        let key = execution.keyspace.key(key);
        let entry = execution.keyspace.peek(execution.database, &key, ALWAYS)?.to_owned();
        Some(Unfinished::new(Digest::default(), entry))
    });
    let values = values.collect();
    execution.later.put(ValuesWork(values));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::EngineOptions;
    use crate::commands::all;
    use crate::keyspace::KeyHasher;
    use crate::long::Progress;
    use crate::reply::Protocol;
    use crate::shard::{ClientContext, Shard};

    const NOW: Milliseconds = 1_700_000_000_000;

    fn run(shard: &mut Shard, database: usize, line: &str) {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let command = all().find(|command| command.spec.name == name).expect("a command");
        let mut out = ReplyBuffer::default();
        let client = ClientContext { database: database as u32, ..ClientContext::default() };
        shard.execute(command.run, &arguments, client, NOW, &mut out);
        assert!(!out.bytes.starts_with(b"-"), "{line}: {}", out.bytes.escape_ascii());
    }

    fn shard() -> Shard {
        Shard::new(16, KeyHasher::with_seed(1), EngineOptions::default(), 1)
    }

    fn merged(parts: &[ReplyBuffer]) -> String {
        let mut out = ReplyBuffer::default();
        merge(parts, &mut Reply::new(&mut out, Protocol::Resp2));
        String::from_utf8_lossy(&out.flatten()).into_owned()
    }

    fn digest(shard: &mut Shard) -> ReplyBuffer {
        let mut out = ReplyBuffer::default();
        shard.execute(digest_dataset, &[b"digest"], ClientContext::default(), NOW, &mut out);
        out
    }

    const DATA: &[&str] = &[
        "SET s text",
        "SET n 12345",
        "SET v volatile PX 100000000",
        "RPUSH l c b a 1 2 3 b",
        "SADD set a b c 1",
        "SADD ints 3 1 2 99999999999",
        "ZADD z 1 a 2.5 b -0 c 1e300 d inf e -inf f 3.0000000001 7",
        "HSET h f 1 g two 3 3",
        "PEXPIRE h 90000000",
        "XADD st 1-1 f 1 g 2",
        "XADD st 1-2 f 1 g 2",
        "XADD st 5-0 other x",
        "SETRANGE big 100000 x",
    ];

    /// What redis-server 7.0.15 says of the same.
    #[test]
    fn digits_are_those_of_the_real_server() {
        let mut shard = shard();
        assert_eq!(merged(&[digest(&mut shard)]), format!("+{}\r\n", "0".repeat(40)));
        for line in DATA {
            run(&mut shard, 0, line);
        }
        assert_eq!(merged(&[digest(&mut shard)]), "+949692b657fd0b3a06417dacdc002f193790bb19\r\n");
        run(&mut shard, 3, "SET s text");
        run(&mut shard, 9, "RPUSH l a");
        assert_eq!(merged(&[digest(&mut shard)]), "+11d7864a2168b2f313a2c4915ab454e283c28406\r\n");
        let mut out = ReplyBuffer::default();
        let keys: [&[u8]; 5] = [b"digest", b"z", b"none", b"st", b"big"];
        shard.execute(digest_values, &keys, ClientContext::default(), NOW, &mut out);
        let lines = String::from_utf8_lossy(&out.flatten()).into_owned();
        assert_eq!(
            lines.split("\r\n").collect::<Vec<_>>(),
            [
                "*4",
                "+f812e14c87f42fb01cc19442054955d2c2eeb085",
                "+0000000000000000000000000000000000000000",
                "+907fc04ecd631bf0a77da71055959333e0679e87",
                "+1eba2354d69c473ac200fcb20b259df08dc8a100",
                "",
            ]
        );
    }

    #[test]
    fn parts_of_several_shards_add_up() {
        let mut whole = shard();
        let mut parts = [shard(), shard(), shard()];
        for number in 0..300 {
            for (database, line) in [(0, format!("SET key:{number} x")), (number % 5, format!("RPUSH l{number} a b"))] {
                run(&mut whole, database, &line);
                run(&mut parts[number % 3], database, &line);
            }
        }
        let parts: Vec<_> = parts.iter_mut().map(digest).collect();
        assert_eq!(merged(&parts), merged(&[digest(&mut whole)]));
        assert_ne!(merged(&parts[..2]), merged(&parts));
    }

    #[test]
    fn a_field_that_expires_counts_otherwise_and_its_time_does_not() {
        let digests = ["HSET h f 1", "HPEXPIREAT h 1700000009000 FIELDS 1 f", "HPEXPIREAT h 1700000008000 FIELDS 1 f"];
        let mut shard = shard();
        let [none, some, other] = digests.map(|line| {
            run(&mut shard, 0, line);
            merged(&[digest(&mut shard)])
        });
        assert!(none != some && some == other);
    }

    #[test]
    fn in_slices_it_is_the_digest_of_one_instant() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut shard = shard();
        let line = |random: &mut fastrand::Rng| {
            let (key, word) = (random.u32(..40), random.u32(..2000));
            match random.u32(..9) {
                0 => format!("SET s{key} {}", "x".repeat(random.usize(..3000))),
                1 => format!("RPUSH l{key} {word} {word}"),
                2 => format!("SADD m{key} {word} a{word}"),
                3 => format!("ZADD z{key} {word} {word}"),
                4 => format!("HSET h{key} {word} {word}"),
                5 => format!("XADD x{key} * {word} {word}"),
                6 => format!("PEXPIREAT h{key} {}", NOW + i64::from(word) - 100),
                7 => format!("SPOP m{key}"),
                _ => format!("DEL {}{key}", ["s", "l", "m", "z", "h", "x"][random.usize(..6)]),
            }
        };
        for round in 0..20 {
            for _ in 0..3000 {
                run(&mut shard, random.usize(..3), &line(&mut random));
            }
            let expected = merged(&[digest(&mut shard)]);
            let mut out = ReplyBuffer::default();
            let begun = shard.begin(digest_dataset, &[b"digest"], ClientContext::default(), NOW, &mut out);
            let mut begun = begun.expect("work");
            let mut steps = 1;
            while begun.step(&mut shard, random.u64(1..200), &mut out) == Progress::More {
                steps += 1;
                for _ in 0..random.usize(..20) {
                    run(&mut shard, random.usize(..3), &line(&mut random));
                }
                if random.u32(..200) == 0 {
                    run(&mut shard, 0, "SWAPDB 0 1");
                }
                if random.u32(..400) == 0 {
                    run(&mut shard, 0, "FLUSHDB");
                }
            }
            assert_eq!(merged(&[out]), expected, "round {round}");
            assert!(steps > 10, "{steps}");
        }
    }
}
