//! Commands that build a value again, in the syntax of Redis 7.0: what a log without an RDB base begins with, and what a file of
//! values is when it is turned into one.
//!
//! ```text
//!   string   SET                        list   RPUSH, 64 at a time       hash   HSET, 64 fields at a time
//!   set      SADD, 64 at a time         sorted set   ZADD, 64 at a time         HPEXPIREAT for fields that expire: 7.4 and on
//!   stream   XADD ...  XSETID  XGROUP CREATE  XGROUP CREATECONSUMER  XCLAIM ... JUSTID FORCE
//!   then     PEXPIREAT
//! ```
//!
//! What is pending although its entry is gone can be claimed by no command. So the entry is added, with nothing in it, claimed, and
//! deleted again before XSETID says what was deleted last. A stream's memory of its producers, and what was given back to a
//! group, have no command; [`is_all_told`] says whether there is such.

use std::collections::BTreeSet;
use torc_engine::keyspace::Value;
use torc_engine::values::hash::HashRef;
use torc_engine::values::list::{End, ListRef};
use torc_engine::values::set::SetRef;
use torc_engine::values::sorted_set::SortedSetRef;
use torc_engine::values::stream::{Group, Idempotency, Stream, StreamId};
use torc_engine::values::{Object, Type};

/// Elements in one command.
pub const ITEMS_MAX: usize = 64;

/// Takes commands.
pub type Emit<'e> = dyn FnMut(&[&[u8]]) + 'e;

/// Calls `emit` with each command.
pub fn value(key: &[u8], value: &Value, expires_at: Option<i64>, emit: &mut Emit<'_>) {
    let (form, bytes, object) = (value.form(), value.packed_bytes(), value.object());
    match value.kind() {
        Type::String => {
            if let Value::String(text) = value {
                text.as_ref().with_bytes(|text| emit(&[b"SET", key, text]));
            }
        }
        Type::List => {
            let list = ListRef::new(bytes, object);
            let texts = list.iter(End::Left).map(|element| [element.to_bytes().into_owned()]);
            batches(b"RPUSH", key, texts, emit);
        }
        Type::Set => {
            let texts = SetRef::new(form, bytes, object).iter().map(|member| [member.to_bytes().into_owned()]);
            batches(b"SADD", key, texts, emit);
        }
        Type::SortedSet => {
            let scored = SortedSetRef::new(bytes, object);
            let pairs =
                scored.iter().map(|one| [score_text(one.score).into_bytes(), one.member.to_bytes().into_owned()]);
            batches(b"ZADD", key, pairs, emit);
        }
        Type::Hash => hash(key, HashRef::new(form, bytes, object), emit),
        Type::Stream => {
            if let Some(Object::Stream(one)) = object {
                stream(key, one, emit);
            }
        }
    }
    if let Some(at) = expires_at {
        emit(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

/// Whether commands tell all of the value.
pub fn is_all_told(value: &Value) -> bool {
    let Some(Object::Stream(stream)) = value.object() else { return true };
    let was_given_back =
        |group: &Group| group.pending_from(StreamId::MIN).any(|(_, pending)| pending.consumer.is_none());
    !stream.idempotency().is_some_and(Idempotency::is_of_note)
        && !stream.groups().any(|(_, group)| was_given_back(group))
}

/// A score that reads as the same number everywhere.
pub fn score_text(score: f64) -> String {
    let size = score.abs();
    if score == 0.0 || !score.is_finite() || (1e-5..1e17).contains(&size) {
        format!("{score}")
    } else {
        format!("{score:e}")
    }
}

fn batches<const N: usize>(name: &[u8], key: &[u8], items: impl Iterator<Item = [Vec<u8>; N]>, emit: &mut Emit<'_>) {
    let mut batch: Vec<[Vec<u8>; N]> = Vec::with_capacity(ITEMS_MAX);
    let mut flush = |batch: &mut Vec<[Vec<u8>; N]>| {
        if !batch.is_empty() {
            let words: Vec<&[u8]> = [name, key].into_iter().chain(batch.iter().flatten().map(Vec::as_slice)).collect();
            emit(&words);
            batch.clear();
        }
    };
    for item in items {
        batch.push(item);
        if batch.len() == ITEMS_MAX {
            flush(&mut batch);
        }
    }
    flush(&mut batch);
}

fn hash(key: &[u8], fields: HashRef<'_>, emit: &mut Emit<'_>) {
    let pairs =
        fields.iter_from(0).map(|field| [field.name.to_bytes().into_owned(), field.value.to_bytes().into_owned()]);
    batches(b"HSET", key, pairs, emit);
    for field in fields.iter_from(0) {
        if let Some(at) = field.expires_at {
            let at = at.to_string();
            field.name.with_bytes(|name| emit(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", name]));
        }
    }
}

fn id_text(id: StreamId) -> String {
    format!("{}-{}", id.ms, id.sequence)
}

/// What groups hold of entries that are gone.
fn held_and_gone(stream: &Stream) -> BTreeSet<StreamId> {
    let held = stream.groups().flat_map(|(_, group)| group.pending_from(StreamId::MIN));
    held.map(|(id, _)| id)
        .filter(|id| *id > StreamId::MIN && *id <= stream.log().last_id() && stream.entries().get(*id).is_none())
        .collect()
}

fn stream(key: &[u8], stream: &Stream, emit: &mut Emit<'_>) {
    let log = stream.log();
    let gone = held_and_gone(stream);
    let mut fillers = gone.iter().copied().peekable();
    for entry in stream.entries().range(StreamId::MIN, StreamId::MAX) {
        while let Some(id) = fillers.next_if(|id| *id < entry.id) {
            emit(&[b"XADD", key, id_text(id).as_bytes(), b"x", b"y"]);
        }
        let id = id_text(entry.id);
        let texts: Vec<Vec<u8>> =
            entry.fields().flat_map(|(field, value)| [field, value]).map(|text| text.to_bytes().into_owned()).collect();
        let words = [&b"XADD"[..], key, id.as_bytes()].into_iter().chain(texts.iter().map(Vec::as_slice));
        emit(&words.collect::<Vec<_>>());
    }
    for id in fillers {
        emit(&[b"XADD", key, id_text(id).as_bytes(), b"x", b"y"]);
    }
    let last = id_text(log.last_id());
    if stream.entries().is_empty() && gone.is_empty() {
        // The least ID is refused; whatever is added here goes at once.
        let added = if log.last_id() == StreamId::MIN { "0-1" } else { &last };
        emit(&[b"XADD", key, b"MAXLEN", b"0", added.as_bytes(), b"x", b"y"]);
    }
    let set_id = |emit: &mut Emit<'_>| {
        let (added, deleted) = (log.entries_added().to_string(), id_text(log.deleted_id_max()));
        emit(&[
            b"XSETID",
            key,
            last.as_bytes(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            deleted.as_bytes(),
        ]);
    };
    if gone.is_empty() {
        set_id(emit);
    }
    for (name, one) in stream.groups() {
        group(key, name, one, emit);
    }
    if !gone.is_empty() {
        for id in gone {
            emit(&[b"XDEL", key, id_text(id).as_bytes()]);
        }
        set_id(emit);
    }
}

fn group(key: &[u8], name: &[u8], group: &Group, emit: &mut Emit<'_>) {
    let (last, read) = (id_text(group.last_id()), group.entries_read().unwrap_or(-1).to_string());
    emit(&[b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
    for (number, consumer) in group.consumers() {
        emit(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
        for (id, pending) in group.held_from(number, StreamId::MIN) {
            let (id, at, count) = (id_text(id), pending.delivered_at.to_string(), pending.deliveries.to_string());
            emit(&[
                b"XCLAIM",
                key,
                name,
                consumer.name(),
                b"0",
                id.as_bytes(),
                b"TIME",
                at.as_bytes(),
                b"RETRYCOUNT",
                count.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ]);
        }
    }
}
