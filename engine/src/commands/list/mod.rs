//! Lists: the command rows and the commands on elements by their index or text. Those that take elements off an end are
//! in [`pop`], those that move elements between lists in [`transfer`].
//!
//! Blocking variants are not here: they are these commands, tried again by the server when a list is pushed to.

mod pop;
mod position;
mod rows;
mod sliced;
mod sliced_transfer;
mod transfer;

pub use rows::COMMANDS;
pub(super) use transfer::elements_needed;

use super::errors::{NO_SUCH_KEY, integer, is, syntax};
use super::string::reply_string;
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::keyspace::{Entry, EntryMut, WrongType};
use crate::long::{Locked, ViewWalk};
use crate::reply::Reply;
use crate::values::large::ListTree;
use crate::values::list::{self, End, ListRef};
use crate::values::{Element, Type};
use sliced::{Insertion, Removal};

impl End {
    /// LEFT or RIGHT, in any case.
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word {
            _ if is(word, "LEFT") => Ok(Self::Left),
            _ if is(word, "RIGHT") => Ok(Self::Right),
            _ => Err(syntax()),
        }
    }

    /// The end across from it.
    fn other(self) -> Self {
        if self == Self::Left { Self::Right } else { Self::Left }
    }

    /// The command that adds an element there, and its event.
    fn push_name(self) -> &'static str {
        if self == Self::Left { "lpush" } else { "rpush" }
    }

    /// The command that removes an element there, and its event.
    fn pop_name(self) -> &'static str {
        if self == Self::Left { "lpop" } else { "rpop" }
    }
}

/// The list of an entry that is one.
pub(super) fn list_of(entry: Entry<'_>) -> ListRef<'_> {
    ListRef::new(entry.packed_bytes(), entry.object())
}

/// Looks a list up as a read of the client; with the reply to write.
fn find<'e, 'r>(
    execution: &'e mut Execution<'r>,
    key: &[u8],
) -> Result<(Option<ListRef<'e>>, &'e mut Reply<'r>), WrongType> {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::List)?;
    Ok((entry.map(list_of), reply))
}

/// Removes the key if the list has become empty; whether it has.
fn remove_if_empty(entry: EntryMut<'_>) -> bool {
    let is_empty = ListRef::of(&entry).is_empty();
    if is_empty {
        entry.remove();
    }
    is_empty
}

/// Reports an event, and that the key is gone with its last element.
fn report(execution: &mut Execution<'_>, event: &'static str, key: &[u8], is_gone: bool) {
    execution.event(EventClass::List, event, key);
    if is_gone {
        execution.event(EventClass::Generic, "del", key);
    }
}

/// Adds elements at an end of a list, which is made if need be; its length then. Neither counted nor reported.
fn push_to<T: AsRef<[u8]>>(
    execution: &mut Execution<'_>,
    key: &[u8],
    end: End,
    texts: &[T],
) -> Result<u64, CommandError> {
    let Execution { keyspace, database, now, options, .. } = execution;
    let key = keyspace.key(key);
    let length = match keyspace.edit(*database, &key, Type::List, *now)? {
        Some(mut entry) => list::push(&mut entry, end, texts, &options.encodings),
        None => {
            let mut new = list::empty();
            list::push(&mut new, end, texts, &options.encodings);
            keyspace.create(*database, &key, &mut new, *now);
            texts.len() as u64
        }
    };
    Ok(length)
}

fn push(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    let length = push_to(execution, arguments[1], end, &arguments[2..])?;
    execution.keyspace.dirty += arguments.len() as u64 - 2;
    execution.reply.integer(length as i64);
    execution.effect(arguments);
    execution.event(EventClass::List, end.push_name(), arguments[1]);
    Ok(())
}

/// The same if there is such a list.
fn push_if_exists(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    let key = execution.keyspace.key(arguments[1]);
    if execution.keyspace.peek_typed(execution.database, &key, execution.now, Type::List)?.is_none() {
        execution.reply.integer(0);
        return Ok(());
    }
    push(execution, arguments, end)
}

/// `LPUSH key element [element ...]`
fn lpush(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    push(execution, arguments, End::Left)
}

/// `RPUSH key element [element ...]`
fn rpush(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    push(execution, arguments, End::Right)
}

/// `LPUSHX key element [element ...]`
fn lpushx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    push_if_exists(execution, arguments, End::Left)
}

/// `RPUSHX key element [element ...]`
fn rpushx(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    push_if_exists(execution, arguments, End::Right)
}

/// `LLEN key`
fn llen(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (list, reply) = find(execution, arguments[1])?;
    reply.integer(list.map_or(0, |list| list.len()) as i64);
    Ok(())
}

/// `LINDEX key index`
fn lindex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (list, reply) = find(execution, arguments[1])?;
    let Some(list) = list else {
        reply.null();
        return Ok(());
    };
    match list.index(integer(arguments[2])?).and_then(|index| list.get(index)) {
        Some(element) => reply_string(reply, element),
        None => reply.null(),
    }
    Ok(())
}

/// `LRANGE key start stop`
fn lrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (first, last) = (integer(arguments[2])?, integer(arguments[3])?);
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let list = keyspace.find_typed(*database, &key, *now, access, Type::List)?.map(list_of);
    let indexes = list.map_or(0..0, |list| list.indexes(first, last));
    let count = indexes.end - indexes.start;
    reply.array(count as usize);
    if let Some(ListRef::Tree(tree)) = list
        && options.is_long_part(count, tree.len(), tree.bytes())
    {
        later.put(ViewWalk::new(tree.clone(), indexes, |tree: &ListTree, indexes, reply| {
            ListRef::Tree(tree).range(indexes, End::Left).for_each(|element| reply_string(reply, element));
        }));
        return Ok(());
    }
    let elements = list.map(|list| list.range(indexes, End::Left));
    elements.into_iter().flatten().for_each(|element| reply_string(reply, element));
    Ok(())
}

/// `LSET key index element`
fn lset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, database, now, options, .. } = &mut *execution;
    let key = keyspace.key(arguments[1]);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::List, *now)? else { return Err(NO_SUCH_KEY.into()) };
    let index = integer(arguments[2])?;
    let index = ListRef::of(&entry).index(index).ok_or(CommandError::from("ERR index out of range"))?;
    list::set(&mut entry, index, arguments[3], &options.encodings);
    entry.changed(1);
    execution.reply.ok();
    execution.effect(arguments);
    execution.event(EventClass::List, "lset", arguments[1]);
    Ok(())
}

/// `LINSERT key BEFORE | AFTER pivot element`
fn linsert(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let behind = match arguments[2] {
        word if is(word, "BEFORE") => 0,
        word if is(word, "AFTER") => 1,
        _ => return Err(syntax()),
    };
    let locked = Locked::new(execution, arguments[1]);
    let Execution { keyspace, reply, database, now, options, later, .. } = &mut *execution;
    let key = keyspace.key(arguments[1]);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::List, *now)? else {
        reply.integer(0);
        return Ok(());
    };
    if let ListRef::Tree(tree) = ListRef::of(&entry)
        && options.is_long(tree.len(), tree.bytes() as u64)
    {
        later.put(Insertion::new(locked, tree, arguments[3], (arguments[2], behind), arguments[4]));
        return Ok(());
    }
    let found = ListRef::of(&entry).find(Element::of(arguments[3]), End::Left).next();
    let Some(pivot) = found else {
        reply.integer(-1);
        return Ok(());
    };
    list::insert(&mut entry, pivot + behind, arguments[4], &options.encodings);
    entry.changed(1);
    reply.integer(ListRef::of(&entry).len() as i64);
    execution.effect(arguments);
    execution.event(EventClass::List, "linsert", arguments[1]);
    Ok(())
}

/// `LREM key count element`
fn lrem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (from, count) = match integer(arguments[2])? {
        0 => (End::Left, u64::MAX),
        count => (if count > 0 { End::Left } else { End::Right }, count.unsigned_abs()),
    };
    let locked = Locked::new(execution, arguments[1]);
    let Execution { keyspace, database, now, options, later, .. } = &mut *execution;
    let key = keyspace.key(arguments[1]);
    let (mut removed, mut is_gone) = (0, false);
    if let Some(mut entry) = keyspace.edit(*database, &key, Type::List, *now)? {
        if let ListRef::Tree(tree) = ListRef::of(&entry)
            && options.is_long(tree.len(), tree.bytes() as u64)
        {
            later.put(Removal::new(locked, tree, (arguments[2], arguments[3]), from, count));
            return Ok(());
        }
        removed = list::remove_equal(&mut entry, arguments[3], from, count, &options.encodings);
        entry.changed(removed);
        is_gone = remove_if_empty(entry);
    }
    execution.reply.integer(removed as i64);
    if removed > 0 {
        execution.effect(arguments);
        report(execution, "lrem", arguments[1], is_gone);
    }
    Ok(())
}

/// `LTRIM key start stop`
fn ltrim(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (first, last) = (integer(arguments[2])?, integer(arguments[3])?);
    let Execution { keyspace, database, now, options, .. } = &mut *execution;
    let key = keyspace.key(arguments[1]);
    if let Some(mut entry) = keyspace.edit(*database, &key, Type::List, *now)? {
        let list = ListRef::of(&entry);
        let (length, kept) = (list.len(), list.indexes(first, last));
        let removed = length - (kept.end - kept.start);
        entry.changed(removed);
        if removed == length {
            entry.remove();
        } else {
            list::keep(&mut entry, kept, &options.encodings);
        }
        if removed > 0 {
            execution.effect(arguments);
        }
        // Told even where nothing went.
        report(execution, "ltrim", arguments[1], removed == length);
    }
    execution.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;
    use super::*;

    /// Events and counted changes of a line, as text.
    fn told(shard: &mut Shard, line: &str) -> String {
        let before = shard.keyspace.dirty;
        shard.run(line);
        let (_, events) = shard.keyspace.journal.take();
        let names = events.iter().map(|event| format!("{} {}", event.name, event.key.escape_ascii()));
        format!("{} {}", shard.keyspace.dirty - before, names.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn events_and_changes_are_those_of_the_real_server() {
        let shard = &mut Shard::default();
        shard.keyspace.journal.listen(false, &[EventClass::List, EventClass::Generic]);
        for (line, expected) in [
            ("RPUSH l a b c d e f", "6 rpush l"),
            ("LPUSHX l 1 2", "2 lpush l"),
            ("LPUSHX none 1 2", "0 "),
            ("LPOP l", "1 lpop l"),
            ("RPOP l 2", "2 rpop l"),
            ("LPOP l 0", "0 "),
            ("LSET l 0 x", "1 lset l"),
            ("LINSERT l BEFORE x y", "1 linsert l"),
            ("LINSERT l BEFORE none y", "0 "),
            ("LREM l 0 y", "1 lrem l"),
            ("LREM l 0 none", "0 "),
            ("LTRIM l 0 -1", "0 ltrim l"),
            ("LTRIM l 1 -2", "2 ltrim l"),
            ("LMOVE l l LEFT RIGHT", "1 rpush l, lpop l"),
            ("LMOVE l m LEFT LEFT", "1 lpush m, lpop l"),
            ("RPOPLPUSH m n", "1 lpush n, rpop m, del m"),
            ("LMPOP 2 m l LEFT COUNT 2", "2 lpop l, del l"),
            ("LMPOP 2 m n RIGHT", "1 rpop n, del n"),
            ("LTRIM l 5 1", "0 "),
            ("RPUSH l a b", "2 rpush l"),
            ("LTRIM l 5 1", "2 ltrim l, del l"),
            ("RPUSH l a a", "2 rpush l"),
            ("LREM l 0 a", "2 lrem l, del l"),
        ] {
            assert_eq!(told(shard, line), expected, "{line}");
        }
    }

    #[test]
    fn forms_follow_the_directive() {
        let shard = &mut Shard::default();
        shard.options.encodings.list_listpack_size_max = 4;
        shard.check("RPUSH l 1 2 3 4", ":4\r\n");
        shard.check("OBJECT ENCODING l", "$8\r\nlistpack\r\n");
        shard.check("RPUSH l 5", ":5\r\n");
        shard.check("OBJECT ENCODING l", "$9\r\nquicklist\r\n");
        shard.check("TYPE l", "+list\r\n");
        shard.check("COPY l m", ":1\r\n");
        shard.check("LTRIM l 0 1", "+OK\r\n");
        shard.check("OBJECT ENCODING l", "$8\r\nlistpack\r\n");
        shard.check("LRANGE m 0 -1", "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n");
        shard.check("DEL m", ":1\r\n");
    }
}
