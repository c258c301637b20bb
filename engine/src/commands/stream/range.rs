//! Reading a part of a stream: XLEN, XRANGE, XREVRANGE.

use super::super::errors::{integer, is, syntax};
use super::{find, ids, reply_entry, stream_of};
use crate::command::{CommandError, CommandResult, Execution};
use crate::long::{LongWork, ViewWalk};
use crate::values::Type;
use crate::values::large::{StreamEntry, StreamTree};
use crate::values::stream::StreamId;
use smallvec::SmallVec;

/// So many entries are found before they are encoded.
const FEW: usize = 16;

/// `XLEN key`
pub(super) fn xlen(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (stream, reply) = find(execution, arguments[1])?;
    reply.integer(stream.map_or(0, |stream| stream.entries().len()) as i64);
    Ok(())
}

/// `[COUNT count]`, the last one if there are several.
fn count(mut options: &[&[u8]]) -> Result<Option<u64>, CommandError> {
    let mut count = None;
    while let [word, value, rest @ ..] = options {
        if !is(word, "COUNT") {
            return Err(syntax());
        }
        count = Some(u64::try_from(integer(value)?).unwrap_or(0));
        options = rest;
    }
    if options.is_empty() { Ok(count) } else { Err(syntax()) }
}

fn range(execution: &mut Execution<'_>, arguments: &[&[u8]], is_backward: bool) -> CommandResult {
    let (first, last) = if is_backward { (3, 2) } else { (2, 3) };
    let from = ids::start(arguments[first])?;
    let to = ids::end(arguments[last])?;
    let count_max = count(&arguments[4..])?;
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::Stream)?;
    let Some(stream) = entry.and_then(stream_of) else {
        reply.array(0);
        return Ok(());
    };
    if count_max == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let entries = stream.entries();
    if let Some(few) = count_max.filter(|count| *count <= FEW as u64)
        && !options.is_long_part(few, entries.len(), entries.bytes())
    {
        // Looking at them is cheaper than counting what is in front of them.
        let mut found = SmallVec::<[StreamEntry<'_>; FEW]>::new();
        if is_backward {
            found.extend(entries.range_back(from, to).take(few as usize));
        } else {
            found.extend(entries.range(from, to).take(few as usize));
        }
        reply.array(found.len());
        found.iter().for_each(|entry| reply_entry(reply, entry));
        return Ok(());
    }
    let count = entries.count(from, to).min(count_max.unwrap_or(u64::MAX));
    reply.array(count as usize);
    if options.is_long_part(count, entries.len(), entries.bytes()) {
        later.put(walk(entries, (from, to), count, is_backward));
    } else if is_backward {
        entries.range_back(from, to).take(count as usize).for_each(|entry| reply_entry(reply, &entry));
    } else {
        entries.range(from, to).take(count as usize).for_each(|entry| reply_entry(reply, &entry));
    }
    Ok(())
}

/// So many entries from one ID to another, slice by slice; backward, from the last to the first.
fn walk(
    entries: &StreamTree,
    (from, to): (StreamId, StreamId),
    count: u64,
    is_backward: bool,
) -> impl LongWork + 'static {
    let (mut from, mut to) = (from, to);
    ViewWalk::new(entries.clone(), 0..count, move |entries: &StreamTree, turns, reply| {
        let count = (turns.end - turns.start) as usize;
        if is_backward {
            for entry in entries.range_back(from, to).take(count) {
                reply_entry(reply, &entry);
                // Only the first of all IDs has none before it, and nothing comes then.
                to = entry.id.previous().unwrap_or(to);
            }
        } else {
            for entry in entries.range(from, to).take(count) {
                reply_entry(reply, &entry);
                from = entry.id.next().unwrap_or(from);
            }
        }
    })
}

/// `XRANGE key start end [COUNT count]`
pub(super) fn xrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    range(execution, arguments, false)
}

/// `XREVRANGE key end start [COUNT count]`
pub(super) fn xrevrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    range(execution, arguments, true)
}
