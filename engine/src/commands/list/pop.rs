//! Elements from an end: LPOP, RPOP, LMPOP, and BLPOP, BRPOP, BLMPOP, which may wait for some.

use super::super::blocking::{nothing, timeout_ms};
use super::super::errors::{above_zero, pop_count, positive, syntax};
use super::super::string::reply_string;
use super::report;
use crate::command::{CommandError, CommandResult, Execution, wrong_arity};
use crate::long::{LongWork, ViewWalk};
use crate::reply::Reply;
use crate::values::large::ListTree;
use crate::values::list::{self, End, ListRef};
use crate::values::{StringRef, Type};
use std::ops::Range;

/// How elements are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The one alone.
    Bare,
    /// In an array.
    Array,
    /// In an array, behind the name of the key.
    WithKey,
    /// The one, behind the name of the key.
    Pair,
}

/// Removes up to `count` elements from an end of a list and tells them; false, and no reply, if there is no such key.
fn pop_some(
    execution: &mut Execution<'_>,
    name: &[u8],
    end: End,
    count: u64,
    listing: Listing,
) -> Result<bool, CommandError> {
    let Execution { keyspace, reply, database, now, options, later, .. } = &mut *execution;
    let key = keyspace.key(name);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::List, *now)? else { return Ok(false) };
    if count == 1 {
        let tell = |element: StringRef<'_>| {
            begin_listing(reply, name, listing, 1);
            reply_string(reply, element);
        };
        if list::pop_from_tree(&mut entry, end, &options.encodings, tell).is_some() {
            entry.changed(1);
            report_pop(execution, name, end, 1, false);
            return Ok(true);
        }
    }
    let list = ListRef::of(&entry);
    let (length, indexes) = (list.len(), list.end(end, count));
    let count = indexes.end - indexes.start;
    begin_listing(reply, name, listing, count);
    match list {
        // They go at once; what is told of them is read from a view.
        ListRef::Tree(tree) if options.is_long_part(count, length, tree.bytes()) => {
            later.put(told_later(tree, &indexes, end));
        }
        list => list.range(indexes.clone(), end).for_each(|element| reply_string(reply, element)),
    }
    if count == 0 {
        return Ok(true);
    }
    entry.changed(count);
    if count == length {
        entry.remove();
    } else {
        list::remove(&mut entry, indexes, &options.encodings);
    }
    report_pop(execution, name, end, count, count == length);
    Ok(true)
}

/// What comes in front of so many elements.
#[inline]
fn begin_listing(reply: &mut Reply<'_>, name: &[u8], listing: Listing, count: u64) {
    if matches!(listing, Listing::WithKey | Listing::Pair) {
        reply.array(2);
        reply.bulk(name);
    }
    if matches!(listing, Listing::Array | Listing::WithKey) {
        reply.array(count as usize);
    }
}

/// The elements of some indexes, beginning with that of an end, slice by slice.
fn told_later(tree: &ListTree, indexes: &Range<u64>, end: End) -> impl LongWork + 'static {
    let (first, count) = (indexes.start, indexes.end - indexes.start);
    ViewWalk::new(tree.clone(), 0..count, move |tree: &ListTree, turns, reply| {
        let indexes = match end {
            End::Left => first + turns.start..first + turns.end,
            End::Right => first + count - turns.end..first + count - turns.start,
        };
        ListRef::Tree(tree).range(indexes, end).for_each(|element| reply_string(reply, element));
    })
}

/// Reports that elements went off an end.
pub(super) fn report_pop(execution: &mut Execution<'_>, key: &[u8], end: End, count: u64, is_gone: bool) {
    execution.effect(&[end.pop_name().as_bytes(), key, itoa::Buffer::new().format(count).as_bytes()]);
    report(execution, end.pop_name(), key, is_gone);
}

fn pop(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    let (count, listing) = match arguments[2..] {
        [] => (1, Listing::Bare),
        [count] => (positive(count)? as u64, Listing::Array),
        _ => return Err(wrong_arity(end.pop_name(), None)),
    };
    if !pop_some(execution, arguments[1], end, count, listing)? {
        match listing {
            Listing::Bare => execution.reply.null(),
            _ => execution.reply.null_array(),
        }
    }
    Ok(())
}

/// `LPOP key [count]`
pub(super) fn lpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop(execution, arguments, End::Left)
}

/// `RPOP key [count]`
pub(super) fn rpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop(execution, arguments, End::Right)
}

/// `BLPOP key [key ...] timeout`
pub(super) fn blpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_or_wait(execution, arguments, End::Left)
}

/// `BRPOP key [key ...] timeout`
pub(super) fn brpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_or_wait(execution, arguments, End::Right)
}

fn pop_or_wait(execution: &mut Execution<'_>, arguments: &[&[u8]], end: End) -> CommandResult {
    let [_, keys @ .., timeout] = arguments else { return Err(syntax()) };
    timeout_ms(timeout)?;
    for key in keys {
        if pop_some(execution, key, end, 1, Listing::Pair)? {
            return Ok(());
        }
    }
    nothing(execution);
    execution.reply.null_array();
    Ok(())
}

/// `LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub(super) fn lmpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_from_first(execution, arguments, None)
}

/// `BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub(super) fn blmpop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    pop_from_first(execution, &arguments[1..], Some(arguments[1]))
}

/// The arguments begin in front of the number of keys.
fn pop_from_first(execution: &mut Execution<'_>, arguments: &[&[u8]], timeout: Option<&[u8]>) -> CommandResult {
    let key_count = above_zero(arguments[1], "ERR numkeys should be greater than 0")?;
    let split = usize::try_from(key_count).ok().and_then(|count| arguments[2..].split_at_checked(count));
    let Some((keys, [end, options @ ..])) = split else { return Err(syntax()) };
    let end = End::parse(end)?;
    let count = pop_count(options)?;
    if let Some(timeout) = timeout {
        timeout_ms(timeout)?;
    }
    for key in keys {
        if pop_some(execution, key, end, count, Listing::WithKey)? {
            return Ok(());
        }
    }
    if timeout.is_some() {
        nothing(execution);
    }
    execution.reply.null_array();
    Ok(())
}
