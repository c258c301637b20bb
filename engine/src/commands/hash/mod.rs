//! Hashes: the command rows and the plain commands. Arithmetic is in [`counter`], random fields in [`random`], expiry of
//! fields in [`expiry`], and what reads or writes with expiry in [`timed`].
//!
//! A field whose time is over is absent for a reader. A writer removes such fields first ([`edit`]), the expiry cycle
//! does so for those that nobody writes.

mod counter;
mod expiry;
mod random;
mod rows;
mod timed;

pub use rows::COMMANDS;

use super::element_scan::{self, LongScan, Seen};
use super::string::reply_string;
use crate::command::{CommandError, CommandResult, Execution, Milliseconds, wrong_arity};
use crate::journal::EventClass;
use crate::keyspace::{Entry, EntryMut, Key, Keyspace, WrongType};
use crate::long::ViewWalk;
use crate::reply::Reply;
use crate::values::hash::{self, Field, FieldExpiry, HashRef};
use crate::values::large::HashTree;
use crate::values::object::LargeHash;
use crate::values::{Form, NewCollection, Type, listpack};
use smallvec::SmallVec;

/// The hash of an entry that is one.
fn hash_of(entry: Entry<'_>) -> HashRef<'_> {
    HashRef::new(entry.form(), entry.packed_bytes(), entry.object())
}

/// Looks a hash up as a read of the client and lets `answer` reply.
fn read(
    execution: &mut Execution<'_>,
    key: &[u8],
    answer: impl FnOnce(Option<HashRef<'_>>, Milliseconds, &mut Reply<'_>),
) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    let hash = keyspace.find_typed(*database, &key, *now, access, Type::Hash)?.map(hash_of);
    answer(hash, *now, reply);
    Ok(())
}

/// Looks a hash up to change it. Fields whose time is over are removed first, and with the last of them the hash.
#[inline]
fn edit<'e>(
    keyspace: &'e mut Keyspace,
    database: usize,
    key: &Key<'_>,
    now: Milliseconds,
) -> Result<Option<EntryMut<'e>>, WrongType> {
    let Some(entry) = keyspace.edit(database, key, Type::Hash, now)? else { return Ok(None) };
    if HashRef::of(&entry).earliest().is_none_or(|at| now <= at) {
        return Ok(Some(entry));
    }
    let (entry, _) = remove_due(entry, key.bytes, now, usize::MAX);
    Ok(entry)
}

/// Removes up to `max` fields whose time is over, reports them, and removes the hash with its last field. What is left of
/// it, and how many fields went.
pub(crate) fn remove_due<'e>(
    mut entry: EntryMut<'e>,
    key: &[u8],
    now: Milliseconds,
    max: usize,
) -> (Option<EntryMut<'e>>, usize) {
    let is_heard = entry.journal().is_listening();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let removed = hash::remove_due(&mut entry, now, max, |name| names.extend(is_heard.then(|| name.to_vec())));
    if is_heard && removed > 0 {
        let effect = [&b"HDEL"[..], key].into_iter().chain(names.iter().map(Vec::as_slice));
        entry.effect(&effect.collect::<Vec<_>>());
        entry.event_of_parts(EventClass::Hash, "hexpired", key, names.iter().map(Vec::as_slice));
    }
    if !is_empty(&entry) {
        return (Some(entry), removed);
    }
    entry.event(EventClass::Generic, "del", key);
    entry.remove();
    (None, removed)
}

fn is_empty(entry: &EntryMut<'_>) -> bool {
    HashRef::of(entry).len_with_due() == 0
}

/// Writes fields into the hash at a key, made if need be; returns how many are new.
fn write_fields(
    execution: &mut Execution<'_>,
    key: &[u8],
    pairs: &[[&[u8]; 2]],
    expiry: FieldExpiry,
) -> Result<usize, CommandError> {
    let Execution { keyspace, database, now, options, .. } = execution;
    let (key, limits, hasher) = (keyspace.key(key), &options.encodings, keyspace.member_hasher().clone());
    let mut is_new = true;
    let mut added = 0;
    if let Some(mut entry) = edit(keyspace, *database, &key, *now)? {
        is_new = false;
        for [name, value] in pairs {
            added += usize::from(hash::set(&mut entry, name, value, expiry, limits, &hasher));
        }
        if let FieldExpiry::At(at) = expiry {
            entry.note_due(at);
        }
    }
    if is_new {
        let mut new = NewCollection::packed(&listpack::EMPTY, Form::HASH);
        for [name, value] in pairs {
            added += usize::from(hash::set(&mut new, name, value, expiry, limits, &hasher));
        }
        keyspace.create(*database, &key, &mut new, *now);
    }
    keyspace.dirty += pairs.len() as u64;
    Ok(added)
}

fn set_fields(execution: &mut Execution<'_>, arguments: &[&[u8]], command: &str) -> Result<usize, CommandError> {
    let (pairs, []) = arguments[2..].as_chunks() else { return Err(wrong_arity(command, None)) };
    let added = write_fields(execution, arguments[1], pairs, FieldExpiry::Clear)?;
    execution.effect(arguments);
    execution.event_of_parts(EventClass::Hash, "hset", arguments[1], pairs.iter().map(|[name, _]| *name));
    Ok(added)
}

/// `HSET key field value [field value ...]`
fn hset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let added = set_fields(execution, arguments, "hset")?;
    execution.reply.integer(added as i64);
    Ok(())
}

/// `HMSET key field value [field value ...]`
fn hmset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    set_fields(execution, arguments, "hmset")?;
    execution.reply.ok();
    Ok(())
}

/// `HSETNX key field value`
fn hsetnx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, now) = (execution.keyspace.key(arguments[1]), execution.now);
    let entry = execution.keyspace.peek_typed(execution.database, &key, now, Type::Hash)?;
    let is_new = entry.is_none_or(|entry| hash_of(entry).get(arguments[2], now).is_none());
    if is_new {
        write_fields(execution, arguments[1], &[[arguments[2], arguments[3]]], FieldExpiry::Clear)?;
        execution.effect(&[b"HSET", arguments[1], arguments[2], arguments[3]]);
        execution.event_of_parts(EventClass::Hash, "hset", arguments[1], [arguments[2]]);
    }
    execution.reply.integer(i64::from(is_new));
    Ok(())
}

fn reply_value(reply: &mut Reply<'_>, field: Option<Field<'_>>) {
    match field {
        None => reply.null(),
        Some(field) => reply_string(reply, field.value),
    }
}

/// `HGET key field`
fn hget(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments[1], |hash, now, reply| {
        reply_value(reply, hash.as_ref().and_then(|hash| hash.get(arguments[2], now)));
    })
}

/// `HMGET key field [field ...]`
fn hmget(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments[1], |hash, now, reply| {
        reply.array(arguments.len() - 2);
        for name in &arguments[2..] {
            reply_value(reply, hash.as_ref().and_then(|hash| hash.get(name, now)));
        }
    })
}

/// Lists all fields behind a header for so many; those of a large hash slice by slice.
fn list_fields(
    execution: &mut Execution<'_>,
    key: &[u8],
    open: impl FnOnce(&mut Reply<'_>, usize),
    encode: impl Fn(&mut Reply<'_>, Field<'_>) + 'static,
) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let (key, now) = (keyspace.key(key), *now);
    let hash = keyspace.find_typed(*database, &key, now, access, Type::Hash)?.map(hash_of);
    open(reply, hash.map_or(0, |hash| hash.len(now)));
    if let Some(HashRef::Tree(LargeHash { tree, .. })) = hash
        && options.is_long(tree.len(), tree.bytes() as u64)
    {
        later.put(ViewWalk::new(tree.clone(), 0..tree.len(), move |tree: &HashTree, ranks, reply| {
            hash::fields_in(tree, ranks, now).for_each(|field| encode(reply, field));
        }));
        return Ok(());
    }
    hash.iter().flat_map(|hash| hash.iter(now)).for_each(|field| encode(reply, field));
    Ok(())
}

/// `HGETALL key`
fn hgetall(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    list_fields(
        execution,
        arguments[1],
        |reply, count| reply.map(count),
        |reply, field| {
            reply_string(reply, field.name);
            reply_string(reply, field.value);
        },
    )
}

/// `HKEYS key`
fn hkeys(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let open = |reply: &mut Reply<'_>, count| reply.array(count);
    list_fields(execution, arguments[1], open, |reply, field| reply_string(reply, field.name))
}

/// `HVALS key`
fn hvals(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let open = |reply: &mut Reply<'_>, count| reply.array(count);
    list_fields(execution, arguments[1], open, |reply, field| reply_string(reply, field.value))
}

/// `HLEN key`
fn hlen(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments[1], |hash, now, reply| reply.integer(hash.map_or(0, |hash| hash.len(now)) as i64))
}

/// `HEXISTS key field`
fn hexists(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments[1], |hash, now, reply| {
        reply.integer(i64::from(hash.is_some_and(|hash| hash.get(arguments[2], now).is_some())));
    })
}

/// `HSTRLEN key field`
fn hstrlen(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments[1], |hash, now, reply| {
        let field = hash.as_ref().and_then(|hash| hash.get(arguments[2], now));
        reply.integer(field.map_or(0, |field| field.value.len()) as i64);
    })
}

/// `HDEL key field [field ...]`
fn hdel(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let mut removed: SmallVec<[&[u8]; 8]> = SmallVec::new();
    if let Some(mut entry) = edit(keyspace, *database, &key, *now)? {
        removed.extend(arguments[2..].iter().copied().filter(|name| hash::remove(&mut entry, name)));
        entry.changed(removed.len() as u64);
        if !removed.is_empty() {
            entry.effect(arguments);
        }
        finish_removal(entry, arguments[1], &removed);
    }
    reply.integer(removed.len() as i64);
    Ok(())
}

/// Reports that fields were removed by a command, and removes the hash with its last one.
fn finish_removal(mut entry: EntryMut<'_>, key: &[u8], removed: &[&[u8]]) {
    if !removed.is_empty() {
        entry.event_of_parts(EventClass::Hash, "hdel", key, removed.iter().copied());
    }
    if is_empty(&entry) {
        entry.event(EventClass::Generic, "del", key);
        entry.remove();
    }
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
fn hscan(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let cursor = element_scan::cursor(arguments)?;
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::Hash)?;
    if let Some(HashRef::Tree(LargeHash { tree, .. })) = entry.map(hash_of) {
        let (size, now) = ((tree.len(), tree.bytes()), *now);
        let walk = move |tree: &HashTree, from, count, show: &mut dyn FnMut(Seen<'_>)| {
            tree.scan(from, count, |element| {
                let field = Field::of(element);
                show((!field.is_expired(now)).then_some((field.name, Some(field.value))));
            })
        };
        let work = LongScan::begin(arguments, Some("NOVALUES"), options, size, || tree.clone(), walk)?;
        if let Some(work) = work {
            later.put(work);
            return Ok(());
        }
    }
    element_scan::reply_scan(reply, arguments, Some("NOVALUES"), entry, |entry, scan, reply| {
        let mut count = 0;
        let next = hash_of(entry).scan(cursor, scan.count, *now, |field| {
            if !field.name.with_bytes(|name| scan.wants(name)) {
                return;
            }
            reply_string(reply, field.name);
            count += 1;
            if !scan.without_values {
                reply_string(reply, field.value);
                count += 1;
            }
        });
        (next, count)
    })
}
