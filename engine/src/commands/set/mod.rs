//! Sets: the command rows and the commands on one set. Those on several are in [`algebra`], random choices in [`random`].

mod algebra;
mod combination;
mod random;
mod rows;

pub use rows::COMMANDS;

use super::element_scan::{self, LongScan};
use super::string::reply_string;
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::keyspace::{Entry, EntryMut, WrongType};
use crate::long::{LongWork, ViewWalk};
use crate::values::large::{HashTree, MemberHasher};
use crate::values::set::{self, SetRef};
use crate::values::{Element, Encodings, NewCollection, Object, StringRef, Type};

/// The set of an entry that is one.
fn set_of(entry: Entry<'_>) -> SetRef<'_> {
    SetRef::new(entry.form(), entry.packed_bytes(), entry.object())
}

/// Looks a set up as a read of the client.
fn find<'e>(execution: &'e mut Execution<'_>, key: &[u8]) -> Result<Option<SetRef<'e>>, WrongType> {
    let access = execution.access();
    let key = execution.keyspace.key(key);
    let entry = execution.keyspace.find_typed(execution.database, &key, execution.now, access, Type::Set)?;
    Ok(entry.map(set_of))
}

/// A set that will hold about `expected` members, the first of which is given.
fn new_set(hasher: &MemberHasher, first: Element<'_>, expected: usize, limits: &Encodings) -> NewCollection {
    match set::empty_form(first, expected, limits) {
        Some((bytes, form)) => NewCollection::packed(bytes, form),
        None => NewCollection::object(Object::Set(HashTree::new(hasher.clone()))),
    }
}

/// `SADD key member [member ...]`
fn sadd(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, options, .. } = execution;
    let (key, members) = (keyspace.key(arguments[1]), &arguments[2..]);
    let (limits, hasher) = (&options.encodings, keyspace.member_hasher().clone());
    let add_all =
        |set: &mut dyn FnMut(Element<'_>) -> bool| members.iter().filter(|member| set(Element::of(member))).count();
    let added = match keyspace.edit(*database, &key, Type::Set, *now)? {
        Some(mut entry) => {
            let added = add_all(&mut |member| set::add(&mut entry, member, limits, &hasher));
            entry.changed(added as u64);
            added
        }
        None => {
            let mut new = new_set(&hasher, Element::of(members[0]), members.len(), limits);
            let added = add_all(&mut |member| set::add(&mut new, member, limits, &hasher));
            keyspace.create(*database, &key, &mut new, *now);
            keyspace.dirty += added as u64;
            added
        }
    };
    reply.integer(added as i64);
    if added > 0 {
        execution.effect(arguments);
        execution.event(EventClass::Set, "sadd", arguments[1]);
    }
    Ok(())
}

/// Removes the key if the set has become empty; whether it has.
fn remove_if_empty(entry: EntryMut<'_>) -> bool {
    let is_empty = SetRef::of(&entry).is_empty();
    if is_empty {
        entry.remove();
    }
    is_empty
}

/// `SREM key member [member ...]`
fn srem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key = execution.keyspace.key(arguments[1]);
    let (mut removed, mut is_empty) = (0, false);
    if let Some(mut entry) = execution.keyspace.edit(execution.database, &key, Type::Set, execution.now)? {
        removed = arguments[2..].iter().filter(|member| set::remove(&mut entry, member)).count();
        entry.changed(removed as u64);
        is_empty = remove_if_empty(entry);
    }
    execution.reply.integer(removed as i64);
    if removed > 0 {
        execution.effect(arguments);
        execution.event(EventClass::Set, "srem", arguments[1]);
    }
    if is_empty {
        execution.event(EventClass::Generic, "del", arguments[1]);
    }
    Ok(())
}

/// `SCARD key`
fn scard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let count = find(execution, arguments[1])?.map_or(0, |set| set.len());
    execution.reply.integer(count as i64);
    Ok(())
}

/// `SISMEMBER key member`
fn sismember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let is_member = find(execution, arguments[1])?.is_some_and(|set| set.contains(arguments[2]));
    execution.reply.integer(i64::from(is_member));
    Ok(())
}

/// `SMISMEMBER key member [member ...]`
fn smismember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let set = keyspace.find_typed(*database, &key, *now, access, Type::Set)?.map(set_of);
    reply.array(arguments.len() - 2);
    for member in &arguments[2..] {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

/// All members of a view, slice by slice.
fn walk(tree: &HashTree) -> impl LongWork + 'static {
    ViewWalk::new(tree.clone(), 0..tree.len(), |tree: &HashTree, ranks, reply| {
        let members = tree.iter_from(ranks.start).take((ranks.end - ranks.start) as usize);
        members.for_each(|element| reply_string(reply, element.name()));
    })
}

/// `SMEMBERS key`
fn smembers(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let set = keyspace.find_typed(*database, &key, *now, access, Type::Set)?.map(set_of);
    reply.set(set.map_or(0, |set| set.len()));
    if let Some(SetRef::Tree(tree)) = set
        && options.is_long(tree.len(), tree.bytes() as u64)
    {
        later.put(walk(tree));
        return Ok(());
    }
    set.iter().flat_map(SetRef::iter).for_each(|member| reply_string(reply, member));
    Ok(())
}

/// `SMOVE source destination member`
fn smove(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let [_, from, to, member] = *arguments else { return Err(CommandError::from("ERR syntax error")) };
    let Execution { keyspace, database, now, options, .. } = execution;
    let (source, destination) = (keyspace.key(from), keyspace.key(to));
    if keyspace.peek(*database, &source, *now).is_none() {
        execution.reply.integer(0);
        return Ok(());
    }
    keyspace.peek_typed(*database, &destination, *now, Type::Set)?;
    let Some(mut entry) = keyspace.edit(*database, &source, Type::Set, *now)? else { return Ok(()) };
    if from == to {
        let is_member = SetRef::of(&entry).contains(member);
        execution.reply.integer(i64::from(is_member));
        return Ok(());
    }
    if !set::remove(&mut entry, member) {
        execution.reply.integer(0);
        return Ok(());
    }
    entry.changed(1);
    let is_empty = remove_if_empty(entry);
    keyspace.journal.effect(*database, &[b"SREM", from, member]);
    keyspace.journal.event(*database, EventClass::Set, "srem", from);
    if is_empty {
        keyspace.journal.event(*database, EventClass::Generic, "del", from);
    }
    let (limits, hasher) = (&options.encodings, keyspace.member_hasher().clone());
    let element = Element::of(member);
    let is_new = if let Some(mut entry) = keyspace.edit(*database, &destination, Type::Set, *now)? {
        set::add(&mut entry, element, limits, &hasher)
    } else {
        let mut new = new_set(&hasher, element, 1, limits);
        set::add(&mut new, element, limits, &hasher);
        keyspace.create(*database, &destination, &mut new, *now);
        true
    };
    keyspace.dirty += u64::from(is_new);
    execution.reply.integer(1);
    if is_new {
        execution.effect(&[b"SADD", to, member]);
        execution.event(EventClass::Set, "sadd", to);
    }
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let cursor = element_scan::cursor(arguments)?;
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::Set)?;
    if let Some(SetRef::Tree(tree)) = entry.map(set_of) {
        let size = (tree.len(), tree.bytes());
        let work = LongScan::begin(
            arguments,
            None,
            options,
            size,
            || tree.clone(),
            |tree: &HashTree, from, count, show| tree.scan(from, count, |element| show(Some((element.name(), None)))),
        )?;
        if let Some(work) = work {
            later.put(work);
            return Ok(());
        }
    }
    element_scan::reply_scan(reply, arguments, None, entry, |entry, scan, reply| {
        let mut count = 0;
        let mut visit = |member: StringRef<'_>| {
            if member.with_bytes(|name| scan.wants(name)) {
                reply_string(reply, member);
                count += 1;
            }
        };
        let next = match set_of(entry) {
            SetRef::Tree(tree) => tree.scan(cursor, scan.count, |element| visit(element.name())),
            small => {
                small.iter().for_each(visit);
                0
            }
        };
        (next, count)
    })
}
