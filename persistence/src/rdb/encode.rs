//! One value: from what the engine keeps to the bytes of a file, in the lowest version that can hold it.
//!
//! ```text
//!   string                     a text, a number where it is one
//!   list                       nodes: listpacks as they stand in the tree, long elements by themselves
//!   set        of integers     as it stands
//!              packed          its members (from version 11 on, as it stands)
//!   hash, sorted set, packed   as it stands
//!   hash with times            version 12: relative to the earliest; for Valkey: version 80, as they are
//!   trees                      their elements in order; of sorted sets from the highest down, as the real server writes
//!   streams                    nodes as they stand; what has no place in version 10 raises it
//! ```
//!
//! Long texts are compressed if the output does that. A large value is written step by step ([`Steps`]): at once by taking all of them
//! in a row, or between other work, from a view that nobody changes.

use super::encode_stream::StreamPlace;
use super::output::Output;
use super::{Dialect, Version, encode_stream, kinds};
use torc_engine::keyspace::{Entry, Value};
use torc_engine::values::large::{HashTree, ListChunk, ListTree, SortedTree};
use torc_engine::values::object::LargeHash;
use torc_engine::values::{Element, Form, Listpack, Object, StringRef, Type};

/// What the reader of the bytes is to understand.
#[derive(Clone, Copy, Debug)]
pub struct Readers {
    /// The version that may be used even where a lower one would do.
    pub version: Version,
    /// Which family's forms are used where they differ.
    pub dialect: Dialect,
}

impl Default for Readers {
    fn default() -> Self {
        Self { version: Version::LISTPACKS, dialect: Dialect::Redis }
    }
}

/// How a value is going to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The byte in front of it.
    pub kind: u8,
    /// The lowest version that knows it.
    pub version: Version,
}

/// A value where it lies: by itself, or in its table.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// A string.
    String(StringRef<'a>),
    /// A small collection, packed.
    Packed(&'a [u8], Form),
    /// A large collection.
    Object(&'a Object),
}

impl<'a> View<'a> {
    /// Of a value by itself.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::String(string) => Self::String(string.as_ref()),
            Value::Packed(blob, form) => Self::Packed(blob.as_slice(), *form),
            Value::Object(object) => Self::Object(object),
        }
    }

    /// Of one in its table.
    #[inline]
    pub fn of_entry(entry: &Entry<'a>) -> Self {
        if let Some(string) = entry.string() {
            return Self::String(string);
        }
        match (entry.object(), entry.packed_bytes()) {
            (Some(object), _) => Self::Object(object),
            (None, bytes) => Self::Packed(bytes.unwrap_or_default(), entry.form()),
        }
    }
}

/// How a value is written.
pub fn plan(view: View<'_>, readers: Readers) -> Plan {
    let at = |kind, version| Plan { kind, version };
    let oldest = Version::LISTPACKS;
    match view {
        View::String(_) => at(kinds::STRING, oldest),
        View::Packed(_, form) => match form {
            Form::HASH_WITH_TIMES if readers.dialect == Dialect::Valkey => {
                at(kinds::HASH_WITH_TIMES_2, Version::VALKEY_MIN)
            }
            Form::HASH_WITH_TIMES => at(kinds::HASH_LISTPACK_WITH_TIMES, Version::FIELD_TIMES),
            Form::INTEGER_SET => at(kinds::SET_INTSET, oldest),
            _ => match form.kind() {
                Type::String => at(kinds::STRING, oldest),
                Type::Hash => at(kinds::HASH_LISTPACK, oldest),
                Type::List => at(kinds::LIST_QUICKLIST_2, oldest),
                Type::Set if readers.version >= Version::PACKED_SETS => at(kinds::SET_LISTPACK, Version::PACKED_SETS),
                Type::Set => at(kinds::SET, oldest),
                Type::SortedSet => at(kinds::SORTED_SET_LISTPACK, oldest),
                Type::Stream => at(kinds::STREAM_2, oldest),
            },
        },
        View::Object(object) => match object {
            Object::Set(_) => at(kinds::SET, oldest),
            Object::Hash(hash) if hash.times.is_empty() => at(kinds::HASH, oldest),
            Object::Hash(_) if readers.dialect == Dialect::Valkey => at(kinds::HASH_WITH_TIMES_2, Version::VALKEY_MIN),
            Object::Hash(_) => at(kinds::HASH_WITH_TIMES, Version::FIELD_TIMES),
            Object::SortedSet(_) => at(kinds::SORTED_SET_2, oldest),
            Object::List(_) => at(kinds::LIST_QUICKLIST_2, oldest),
            Object::Stream(stream) => encode_stream::plan(stream, readers),
        },
    }
}

/// Appends a value, of the kind that [`plan`] says, which is written elsewhere.
#[inline]
pub fn value(view: View<'_>, plan: Plan, out: &mut Output<'_>) {
    match view {
        View::String(string) => string_text(string, out),
        View::Packed(bytes, form) => packed(bytes, form, plan.kind, out),
        View::Object(object) => {
            let mut steps = Steps::default();
            while !steps.step(object, plan, usize::MAX, out) {}
        }
    }
}

/// How far a large value has been written.
#[derive(Debug, Default)]
pub struct Steps {
    /// Whether what stands in front of its elements is there.
    is_begun: bool,
    /// Elements that are there.
    done: u64,
    stream: StreamPlace,
}

impl Steps {
    /// Appends about `budget` elements more of a value that has not changed since the first step; whether that was all.
    pub fn step(&mut self, object: &Object, plan: Plan, budget: usize, out: &mut Output<'_>) -> bool {
        if let Object::Stream(stream) = object {
            return self.stream.step(stream, plan.kind, budget, out);
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            head(object, plan.kind, out);
        }
        let from = self.done;
        self.done += match object {
            Object::Set(tree) => set(tree, from, budget, out),
            Object::Hash(hash) => large_hash(hash, plan.kind, from, budget, out),
            Object::SortedSet(tree) => sorted_set(tree, from, budget, out),
            Object::List(tree) => list(tree, from, budget, out),
            Object::Stream(_) => 0,
        };
        self.done >= object.len()
    }
}

/// What stands in front of the elements.
fn head(object: &Object, kind: u8, out: &mut Output<'_>) {
    match object {
        Object::Hash(hash) if kind == kinds::HASH_WITH_TIMES => out.i64(hash.times.earliest().unwrap_or(0)),
        _ => {}
    }
    out.number(match object {
        Object::List(tree) => tree.chunk_count(),
        object => object.len(),
    });
}

fn string_text(string: StringRef<'_>, out: &mut Output<'_>) {
    match string {
        StringRef::Integer(number) => out.integer(number),
        StringRef::Bytes(text) => out.text(text),
        StringRef::Shared(blob) => out.text(blob.as_slice()),
    }
}

fn element(element: Element<'_>, out: &mut Output<'_>) {
    match element {
        Element::Integer(number) => out.integer(number),
        Element::Text(text) => out.text(text),
    }
}

fn packed(bytes: &[u8], form: Form, kind: u8, out: &mut Output<'_>) {
    let list = || Listpack::new(bytes);
    match kind {
        kinds::LIST_QUICKLIST_2 => {
            out.number(1);
            out.number(2);
            out.plain_text(bytes);
        }
        kinds::SET => {
            out.number(list().len() as u64);
            list().iter().for_each(|member| element(member, out));
        }
        kinds::HASH_LISTPACK_WITH_TIMES => {
            let earliest = triples(list()).find_map(|(_, _, at)| at);
            out.i64(earliest.unwrap_or(0));
            out.plain_text(bytes);
        }
        kinds::HASH_WITH_TIMES_2 => {
            out.number(list().len() as u64 / 3);
            for (field, value, at) in triples(list()) {
                element(field, out);
                element(value, out);
                out.i64(at.unwrap_or(-1));
            }
        }
        _ => {
            debug_assert!(form.kind() != Type::Stream, "a stream is a tree");
            out.plain_text(bytes);
        }
    }
}

/// Fields, values, and when they expire.
fn triples(list: Listpack<'_>) -> impl Iterator<Item = (Element<'_>, Element<'_>, Option<i64>)> {
    let mut elements = list.iter();
    std::iter::from_fn(move || {
        let (field, value, at) = (elements.next()?, elements.next()?, elements.next()?);
        Some((field, value, at.as_integer().filter(|at| *at != 0)))
    })
}

fn set(tree: &HashTree, from: u64, budget: usize, out: &mut Output<'_>) -> u64 {
    let members = tree.iter_from(from).take(budget);
    members.map(|member| string_text(member.name(), out)).count() as u64
}

fn large_hash(hash: &LargeHash, kind: u8, from: u64, budget: usize, out: &mut Output<'_>) -> u64 {
    let earliest = hash.times.earliest().unwrap_or(0);
    let mut count = 0;
    for field in hash.tree.iter_from(from).take(budget) {
        if kind == kinds::HASH_WITH_TIMES {
            out.number(field.expires_at.map_or(0, |at| (at - earliest) as u64 + 1));
        }
        string_text(field.name(), out);
        string_text(field.value.unwrap_or(StringRef::Bytes(b"")), out);
        if kind == kinds::HASH_WITH_TIMES_2 {
            out.i64(field.expires_at.unwrap_or(-1));
        }
        count += 1;
    }
    count
}

fn sorted_set(tree: &SortedTree, from: u64, budget: usize, out: &mut Output<'_>) -> u64 {
    let mut count = 0;
    for scored in tree.iter_back_from(tree.len() - from).take(budget) {
        string_text(scored.member, out);
        out.raw(&scored.score.to_le_bytes());
        count += 1;
    }
    count
}

fn list(tree: &ListTree, from: u64, budget: usize, out: &mut Output<'_>) -> u64 {
    let mut count = 0;
    for chunk in tree.chunks_from(from) {
        match chunk {
            ListChunk::Packed(list) => {
                out.number(2);
                out.plain_text(list.as_bytes());
                count += list.len() as u64;
            }
            ListChunk::Single(blob) => {
                out.number(1);
                out.plain_text(blob.as_slice());
                count += 1;
            }
        }
        if count >= budget as u64 {
            break;
        }
    }
    count
}
