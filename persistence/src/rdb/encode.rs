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
//! Long texts are compressed if the output does that.

use super::output::Output;
use super::{Dialect, Version, encode_stream, kinds};
use torc_engine::keyspace::Value;
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

/// How a value is written.
pub fn plan(value: &Value, readers: Readers) -> Plan {
    let at = |kind, version| Plan { kind, version };
    let oldest = Version::LISTPACKS;
    match value {
        Value::String(_) => at(kinds::STRING, oldest),
        Value::Packed(_, form) => match *form {
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
        Value::Object(object) => match &**object {
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
pub fn value(value: &Value, plan: Plan, out: &mut Output<'_>) {
    match value {
        Value::String(string) => string_text(string.as_ref(), out),
        Value::Packed(blob, form) => packed(blob.as_slice(), *form, plan.kind, out),
        Value::Object(object) => match &**object {
            Object::Set(tree) => set(tree, out),
            Object::Hash(hash) => large_hash(hash, plan.kind, out),
            Object::SortedSet(tree) => sorted_set(tree, out),
            Object::List(tree) => list(tree, out),
            Object::Stream(stream) => encode_stream::stream(stream, plan.kind, out),
        },
    }
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

fn set(tree: &HashTree, out: &mut Output<'_>) {
    out.number(tree.len());
    for member in tree {
        string_text(member.name(), out);
    }
}

fn large_hash(hash: &LargeHash, kind: u8, out: &mut Output<'_>) {
    let earliest = hash.times.earliest().unwrap_or(0);
    if kind == kinds::HASH_WITH_TIMES {
        out.i64(earliest);
    }
    out.number(hash.tree.len());
    for field in &hash.tree {
        if kind == kinds::HASH_WITH_TIMES {
            out.number(field.expires_at.map_or(0, |at| (at - earliest) as u64 + 1));
        }
        string_text(field.name(), out);
        string_text(field.value.unwrap_or(StringRef::Bytes(b"")), out);
        if kind == kinds::HASH_WITH_TIMES_2 {
            out.i64(field.expires_at.unwrap_or(-1));
        }
    }
}

fn sorted_set(tree: &SortedTree, out: &mut Output<'_>) {
    out.number(tree.len());
    for scored in tree.iter_back_from(tree.len()) {
        string_text(scored.member, out);
        out.raw(&scored.score.to_le_bytes());
    }
}

fn list(tree: &ListTree, out: &mut Output<'_>) {
    out.number(tree.chunks().count() as u64);
    for chunk in tree.chunks() {
        match chunk {
            ListChunk::Packed(list) => {
                out.number(2);
                out.plain_text(list.as_bytes());
            }
            ListChunk::Single(blob) => {
                out.number(1);
                out.plain_text(blob.as_slice());
            }
        }
    }
}
