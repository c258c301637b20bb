//! XINFO: what a stream, its groups and their consumers look like inside.

use super::super::errors::{NO_SUCH_KEY, integer, is};
use super::super::introspection::reply_help;
use super::group::wrong_subcommand;
use super::sliced::LongInfo;
use super::{find, no_group_of_key, reply_entry, reply_id};
use crate::command::{CommandError, CommandResult, Execution};
use crate::long::{LongWork, Step};
use crate::reply::Reply;
use crate::values::stream::{Consumer, Group, Log, Pending, Stream, StreamId};

/// How many entries, and pending ones of each group and consumer, FULL tells.
const COUNT_DEFAULT: usize = 10;

/// When a consumer was given an entry that never was given one, and how long ago that is.
const NEVER: i64 = -1;

/// `XINFO STREAM key [FULL [COUNT count]]`, `XINFO GROUPS key`, `XINFO CONSUMERS key group`, `XINFO HELP`
pub(super) fn xinfo(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let subcommand = arguments[1];
    if is(subcommand, "HELP") {
        help(&mut execution.reply);
        return Ok(());
    }
    let now = execution.now;
    let (stream, reply) = find(execution, arguments[2])?;
    let stream = stream.ok_or(CommandError::from(NO_SUCH_KEY))?;
    match &arguments[3..] {
        [name] if is(subcommand, "CONSUMERS") => {
            let group = stream.group(name).ok_or_else(|| no_group_of_key(arguments[2], name))?;
            consumers(reply, group, now);
        }
        [] if is(subcommand, "GROUPS") => groups(reply, stream),
        [] => summary(reply, stream),
        options => {
            let count_max = count(subcommand, options)? as u64;
            let work = LongInfo::new(stream, count_max);
            full_head(reply, stream, count_max);
            return run(execution, work);
        }
    }
    Ok(())
}

/// Tells the rest of FULL: at once if it is little.
fn run(execution: &mut Execution<'_>, work: LongInfo) -> CommandResult {
    if execution.options.is_long(work.units(), 0) {
        execution.later.put(work);
        return Ok(());
    }
    let mut work = work;
    while work.step(execution, u64::MAX) == Step::More {}
    Ok(())
}

fn help(reply: &mut Reply<'_>) {
    reply_help(
        reply,
        "XINFO",
        &[
            ("CONSUMERS <key> <group>", &["What is known of a group's consumers."]),
            ("GROUPS <key>", &["What is known of a stream's groups."]),
            ("STREAM <key> [FULL [COUNT <count>]]", &["What is known of a stream."]),
        ],
    );
}

/// The count of `FULL [COUNT count]`.
fn count(subcommand: &[u8], options: &[&[u8]]) -> Result<usize, CommandError> {
    let count = match options {
        [full] if is(full, "FULL") => return Ok(COUNT_DEFAULT),
        [full, word, count] if is(full, "FULL") && is(word, "COUNT") => integer(count)?,
        _ => return Err(wrong_subcommand("XINFO", subcommand)),
    };
    Ok(match usize::try_from(count) {
        Ok(0) => usize::MAX,
        Ok(count) => count,
        Err(_) => COUNT_DEFAULT,
    })
}

fn reply_number(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn reply_named_id(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

/// A number that may be unknown.
fn reply_known(reply: &mut Reply<'_>, name: &str, value: Option<i64>) {
    reply.bulk(name.as_bytes());
    match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    }
}

/// What the short and the full answer have in common, with the number of pairs that follow.
fn head(reply: &mut Reply<'_>, stream: &Stream, pairs_behind: usize) {
    let (log, entries) = (stream.log(), stream.entries());
    let idempotency = stream.idempotency();
    reply.map(7 + if idempotency.is_some() { 6 } else { 0 } + pairs_behind);
    reply_number(reply, "length", entries.len() as i64);
    reply_number(reply, "radix-tree-keys", entries.node_count() as i64);
    reply_number(reply, "radix-tree-nodes", radix_tree_nodes(stream));
    reply_named_id(reply, "last-generated-id", log.last_id());
    reply_named_id(reply, "max-deleted-entry-id", log.deleted_id_max());
    reply_number(reply, "entries-added", log.entries_added() as i64);
    reply_named_id(reply, "recorded-first-entry-id", log.first_id());
    if let Some(known) = idempotency {
        reply_number(reply, "idmp-duration", known.limits().duration_s.into());
        reply_number(reply, "idmp-maxsize", known.limits().count_max.into());
        reply_number(reply, "pids-tracked", known.producer_count() as i64);
        reply_number(reply, "iids-tracked", known.name_count() as i64);
        reply_number(reply, "iids-added", known.added as i64);
        reply_number(reply, "iids-duplicates", known.duplicates as i64);
    }
}

/// How many nodes the real server's radix tree would have over the nodes' IDs; of a long stream, about.
///
/// A tree over texts of one length has a node for each text's end, one wherever texts part, and one for each run of bytes
/// that are no choice.
fn radix_tree_nodes(stream: &Stream) -> i64 {
    const COUNTED_MAX: u64 = 1000;
    let count = stream.entries().node_count();
    if count > COUNTED_MAX {
        return (count + count / 8) as i64;
    }
    let ids: Vec<[u8; StreamId::BYTES]> = stream.entries().nodes().map(|node| node.first_id().to_bytes()).collect();
    nodes_below(&ids, 0)
}

fn nodes_below(ids: &[[u8; StreamId::BYTES]], depth: usize) -> i64 {
    let ([first, ..], [.., last]) = (ids, ids) else { return 1 };
    let shared = first.iter().zip(last).skip(depth).take_while(|(a, b)| a == b).count();
    let parting = depth + shared;
    let run = i64::from(shared > 0);
    if parting == StreamId::BYTES {
        return run + 1;
    }
    let children = ids.chunk_by(|a, b| a[parting] == b[parting]);
    run + 1 + children.map(|below| nodes_below(below, parting + 1)).sum::<i64>()
}

fn summary(reply: &mut Reply<'_>, stream: &Stream) {
    head(reply, stream, 3);
    reply_number(reply, "groups", stream.groups().len() as i64);
    for (name, entry) in [("first-entry", stream.entries().first()), ("last-entry", stream.entries().last())] {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(reply, &entry),
            None => reply.null(),
        }
    }
}

/// Writes what stands in front of the entries.
fn full_head(reply: &mut Reply<'_>, stream: &Stream, count_max: u64) {
    head(reply, stream, 2);
    reply.bulk(b"entries");
    reply.array(stream.entries().len().min(count_max) as usize);
}

/// Writes what stands in front of the pending entries of a group.
pub(super) fn group_head(reply: &mut Reply<'_>, name: &[u8], log: &Log, group: &Group, count_max: u64) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    position(reply, log, group);
    reply_number(reply, "pel-count", group.pending_count() as i64);
    reply.bulk(b"pending");
    reply.array(group.pending_count().min(count_max) as usize);
}

/// Writes what stands in front of the pending entries of a consumer.
pub(super) fn consumer_head(reply: &mut Reply<'_>, consumer: &Consumer, count_max: u64) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    reply_number(reply, "seen-time", consumer.seen_at);
    reply_number(reply, "active-time", consumer.active_at.unwrap_or(NEVER));
    reply_number(reply, "pel-count", consumer.held_count() as i64);
    reply.bulk(b"pending");
    reply.array(consumer.held_count().min(count_max) as usize);
}

/// How far a group has been told of the stream.
fn position(reply: &mut Reply<'_>, log: &Log, group: &Group) {
    reply_named_id(reply, "last-delivered-id", group.last_id());
    reply_known(reply, "entries-read", group.entries_read());
    reply_known(reply, "lag", log.lag(group));
}

/// Writes a pending entry of a group.
pub(super) fn pending(reply: &mut Reply<'_>, group: &Group, id: StreamId, pending: Pending) {
    reply.array(4);
    reply_id(reply, id);
    reply.bulk(group.name_of(pending.consumer));
    reply.integer(pending.delivered_at);
    reply.integer(pending.deliveries as i64);
}

/// Writes a pending entry of a consumer.
pub(super) fn held(reply: &mut Reply<'_>, id: StreamId, pending: Pending) {
    reply.array(3);
    reply_id(reply, id);
    reply.integer(pending.delivered_at);
    reply.integer(pending.deliveries as i64);
}

fn groups(reply: &mut Reply<'_>, stream: &Stream) {
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply_number(reply, "consumers", group.consumer_count() as i64);
        reply_number(reply, "pending", group.pending_count() as i64);
        position(reply, stream.log(), group);
    }
}

fn consumers(reply: &mut Reply<'_>, group: &Group, now: i64) {
    reply.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply_number(reply, "pending", consumer.held_count() as i64);
        let since = |at: i64| now.saturating_sub(at).max(0);
        reply_number(reply, "idle", since(consumer.seen_at));
        reply_number(reply, "inactive", consumer.active_at.map_or(NEVER, since));
    }
}
