//! Reading a part of a stream: XLEN, XRANGE, XREVRANGE.

use super::super::errors::{integer, is, syntax};
use super::{find, ids, reply_entry};
use crate::command::{CommandError, CommandResult, Execution};

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
    let (stream, reply) = find(execution, arguments[1])?;
    let Some(stream) = stream else {
        reply.array(0);
        return Ok(());
    };
    if count_max == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let entries = stream.entries();
    let count = entries.count(from, to).min(count_max.unwrap_or(u64::MAX)) as usize;
    reply.array(count);
    if is_backward {
        entries.range_back(from, to).take(count).for_each(|entry| reply_entry(reply, &entry));
    } else {
        entries.range(from, to).take(count).for_each(|entry| reply_entry(reply, &entry));
    }
    Ok(())
}

/// `XRANGE key start end [COUNT count]`
pub(super) fn xrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    range(execution, arguments, false)
}

/// `XREVRANGE key end start [COUNT count]`
pub(super) fn xrevrange(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    range(execution, arguments, true)
}
