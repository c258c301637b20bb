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
        if list::pop_from_tree(&mut entry, end, &options.encodings, tell) {
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

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use std::collections::VecDeque;

    /// One element at a time, in each way to say so, from a tree down to a listpack and to nothing.
    #[test]
    fn single_elements_leave_either_end_of_a_list_of_any_form() {
        let (mut shard, mut model) = (Shard::default(), VecDeque::new());
        for number in 0..2_000 {
            let text = format!("element:{number}");
            shard.check(&format!("RPUSH l {text}"), &format!(":{}\r\n", number + 1));
            model.push_back(text);
        }
        shard.check("OBJECT ENCODING l", "$9\r\nquicklist\r\n");
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let mut forms = vec!["quicklist".to_owned()];
        for turn in 0.. {
            let (command, at_left, head) = [
                ("LPOP l", true, ""),
                ("RPOP l", false, ""),
                ("LPOP l 1", true, "*1\r\n"),
                ("RPOP l 1", false, "*1\r\n"),
                ("LMPOP 1 l LEFT", true, "*2\r\n$1\r\nl\r\n*1\r\n"),
                ("BRPOP l 0", false, "*2\r\n$1\r\nl\r\n"),
            ][turn % 6];
            let Some(text) = (if at_left { model.pop_front() } else { model.pop_back() }) else { break };
            let dirty = shard.keyspace.dirty;
            shard.check(command, &format!("{head}{}", bulk(&text)));
            assert_eq!(shard.keyspace.dirty, dirty + 1);
            shard.check("LLEN l", &format!(":{}\r\n", model.len()));
            if let Some(form) = shard.run("OBJECT ENCODING l").split("\r\n").nth(1)
                && !model.is_empty()
                && forms.last().is_none_or(|last| last != form)
            {
                forms.push(form.to_owned());
            }
        }
        shard.check("EXISTS l", ":0\r\n");
        assert_eq!(forms, ["quicklist", "listpack"]);
    }
}
