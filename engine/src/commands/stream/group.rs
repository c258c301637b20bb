//! Consumer groups: XGROUP, XACK, XNACK.

use super::super::errors::{integer, is, syntax};
use super::super::introspection::reply_help;
use super::delete::counted_ids;
use super::sliced::{LongRemoval, REFERENCE_UNITS};
use super::{
    change, create, effect_of_position, effect_of_release, effect_of_return, find, ids, no_group, no_group_of_key, peek,
};
use crate::command::{CommandError, CommandResult, Execution, wrong_arity};
use crate::journal::EventClass;
use crate::long::Locked;
use crate::values::stream::{Consumer, Group, Pending, Stream, StreamId};

/// `XGROUP CREATE | CREATECONSUMER | DELCONSUMER | DESTROY | SETID | HELP ...`
pub(super) fn xgroup(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    match arguments[1] {
        word if is(word, "HELP") => help(execution),
        word if is(word, "CREATE") => create_group(execution, arguments)?,
        word if is(word, "SETID") => set_id(execution, arguments)?,
        word if is(word, "DESTROY") => destroy(execution, arguments)?,
        word if is(word, "CREATECONSUMER") => create_consumer(execution, arguments)?,
        word if is(word, "DELCONSUMER") => delete_consumer(execution, arguments)?,
        _ => return Err(syntax()),
    }
    Ok(())
}

fn help(execution: &mut Execution<'_>) {
    reply_help(
        &mut execution.reply,
        "XGROUP",
        &[
            (
                "CREATE <key> <group> <id|$> [MKSTREAM] [ENTRIESREAD <count>]",
                &[
                    "Add a group that reads what comes behind <id>, or what comes from now on.",
                    "MKSTREAM makes the stream if there is none, ENTRIESREAD sets how many",
                    "entries were ever added up to <id>.",
                ],
            ),
            ("CREATECONSUMER <key> <group> <consumer>", &["Add a consumer."]),
            ("DELCONSUMER <key> <group> <consumer>", &["Remove a consumer and what is pending for it."]),
            ("DESTROY <key> <group>", &["Remove a group."]),
            ("SETID <key> <group> <id|$> [ENTRIESREAD <count>]", &["Have a group go on behind <id>."]),
        ],
    );
}

#[cold]
pub(super) fn wrong_subcommand(container: &str, word: &[u8]) -> CommandError {
    let after = format!("'. Try {container} HELP.");
    CommandError::echo(
        "ERR unknown subcommand or wrong number of arguments for '",
        &word[..word.len().min(128)],
        &after,
    )
}

/// What stands behind the ID.
#[derive(Default)]
struct GroupOptions {
    makes_stream: bool,
    entries_read: Option<i64>,
}

impl GroupOptions {
    fn parse(arguments: &[&[u8]], is_create: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut rest = arguments.get(5..).unwrap_or_default();
        while let [word, behind @ ..] = rest {
            rest = behind;
            match behind {
                _ if is_create && is(word, "MKSTREAM") => options.makes_stream = true,
                [count, behind @ ..] if is(word, "ENTRIESREAD") => {
                    let count = integer(count)?;
                    if count < -1 {
                        return Err("ERR value for ENTRIESREAD must be positive or -1".into());
                    }
                    options.entries_read = Some(count).filter(|count| *count >= 0);
                    rest = behind;
                }
                _ => return Err(wrong_subcommand("XGROUP", arguments[1])),
            }
        }
        Ok(options)
    }
}

/// The stream of a subcommand that needs one; and the group, if it needs one.
fn require<'e>(
    execution: &'e Execution<'_>,
    arguments: &[&[u8]],
    needs_group: bool,
) -> Result<&'e Stream, CommandError> {
    const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
         MKSTREAM option to create an empty stream automatically.";
    let stream = peek(execution, arguments[2])?.ok_or(CommandError::from(NO_KEY))?;
    if needs_group && stream.group(arguments[3]).is_none() {
        return Err(no_group_of_key(arguments[2], arguments[3]));
    }
    Ok(stream)
}

fn create_group(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = GroupOptions::parse(arguments, true)?;
    let (key, name) = (arguments[2], arguments[3]);
    let last_id = if options.makes_stream {
        peek(execution, key)?.map(|stream| stream.log().last_id())
    } else {
        Some(require(execution, arguments, false)?.log().last_id())
    };
    if arguments.len() > 8 {
        return Err(wrong_subcommand("XGROUP", arguments[1]));
    }
    let id = if arguments[4] == b"$" { last_id.unwrap_or_default() } else { ids::strict(arguments[4])? };
    let group = Group::new(id, options.entries_read);
    if last_id.is_some() {
        let is_new = change(execution, key, |stream, _| stream.add_group(name, group))?;
        if is_new != Some(true) {
            return Err("BUSYGROUP Consumer Group name already exists".into());
        }
    } else {
        let mut stream = Stream::default();
        stream.add_group(name, group);
        create(execution, key, stream);
    }
    execution.reply.ok();
    execution.keyspace.dirty += 1;
    let (id, read) = (id.text(), super::decimal(options.entries_read.unwrap_or(-1)));
    let mut effect: Vec<&[u8]> = vec![b"XGROUP", b"CREATE", key, name, &id];
    if options.makes_stream {
        effect.push(b"MKSTREAM");
    }
    effect.extend([&b"ENTRIESREAD"[..], &read]);
    execution.effect(&effect);
    execution.event(EventClass::Stream, "xgroup-create", key);
    Ok(())
}

fn set_id(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = GroupOptions::parse(arguments, false)?;
    let last_id = require(execution, arguments, true)?.log().last_id();
    if arguments.len() > 7 {
        return Err(wrong_subcommand("XGROUP", arguments[1]));
    }
    let (key, name) = (arguments[2], arguments[3]);
    let id = if arguments[4] == b"$" { last_id } else { ids::loose(arguments[4], 0)? };
    change(execution, key, |stream, _| {
        stream.change_group(name, |_, group| group.set_position(id, options.entries_read));
    })?;
    execution.reply.ok();
    execution.keyspace.dirty += 1;
    effect_of_position(execution, key, name, id, options.entries_read);
    execution.event(EventClass::Stream, "xgroup-setid", key);
    Ok(())
}

fn destroy(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    require(execution, arguments, false)?;
    let is_gone = change(execution, arguments[2], |stream, _| stream.remove_group(arguments[3]))?.unwrap_or(false);
    execution.reply.integer(is_gone.into());
    if is_gone {
        execution.keyspace.dirty += 1;
        execution.effect(arguments);
        execution.event(EventClass::Stream, "xgroup-destroy", arguments[2]);
    }
    Ok(())
}

fn create_consumer(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    require(execution, arguments, true)?;
    let now = execution.now;
    let added = change(execution, arguments[2], |stream, _| {
        stream.change_group(arguments[3], |_, group| group.add_consumer(arguments[4], now))
    })?;
    let is_new = added.flatten().flatten().is_some();
    execution.reply.integer(is_new.into());
    if is_new {
        execution.keyspace.dirty += 1;
        execution.effect(arguments);
        execution.event(EventClass::Stream, "xgroup-createconsumer", arguments[2]);
    }
    Ok(())
}

fn delete_consumer(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let stream = require(execution, arguments, true)?;
    let group = stream.group(arguments[3]);
    let held = group.and_then(|group| group.consumer(group.find_consumer(arguments[4])?));
    let pending = held.map_or(0, Consumer::held_count);
    if execution.options.is_long(pending.saturating_mul(REFERENCE_UNITS), 0) {
        let key = Locked::new(execution, arguments[2]);
        let work = LongRemoval::new(key, stream, arguments[3], arguments[4], pending);
        execution.later.put(work);
        return Ok(());
    }
    let removed = change(execution, arguments[2], |stream, _| {
        stream.change_group(arguments[3], |_, group| group.remove_consumer(arguments[4]))
    })?;
    let pending = removed.flatten().flatten();
    execution.reply.integer(pending.unwrap_or(0) as i64);
    if pending.is_some() {
        execution.keyspace.dirty += 1;
        execution.effect(arguments);
        execution.event(EventClass::Stream, "xgroup-delconsumer", arguments[2]);
    }
    Ok(())
}

/// `XACK key group id [id ...]`
pub(super) fn xack(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, group) = (arguments[1], arguments[2]);
    let (stream, reply) = find(execution, key)?;
    if stream.and_then(|stream| stream.group(group)).is_none() {
        reply.integer(0);
        return Ok(());
    }
    let ids = ids::all(&arguments[3..])?;
    let released = change(execution, key, |stream, _| {
        stream.change_group(group, |_, group| ids.into_iter().filter(|id| group.release(*id)).collect::<Vec<_>>())
    })?;
    let released = released.flatten().unwrap_or_default();
    execution.reply.integer(released.len() as i64);
    execution.keyspace.dirty += released.len() as u64;
    effect_of_release(execution, key, group, &released);
    Ok(())
}

/// What XNACK makes of the number of deliveries.
#[derive(Clone, Copy)]
enum Deliveries {
    /// The last one did not count: SILENT.
    OneLess,
    /// FAIL
    Unchanged,
    /// FATAL, or as RETRYCOUNT says.
    Fixed(u64),
}

impl Deliveries {
    fn of(self, before: Option<u64>) -> u64 {
        match self {
            Self::OneLess => before.unwrap_or(0).saturating_sub(1),
            Self::Unchanged => before.unwrap_or(0),
            Self::Fixed(count) => count,
        }
    }
}

/// What stands behind the group of XNACK: mode, IDs, and whether entries that are not pending become so.
fn nack_options(arguments: &[&[u8]]) -> Result<(Deliveries, Vec<StreamId>, bool), CommandError> {
    let [mode, word, rest @ ..] = arguments else { return Err(wrong_arity("xnack", None)) };
    let mut deliveries = match *mode {
        mode if is(mode, "SILENT") => Deliveries::OneLess,
        mode if is(mode, "FAIL") => Deliveries::Unchanged,
        mode if is(mode, "FATAL") => Deliveries::Fixed(i64::MAX as u64),
        _ => return Err(syntax()),
    };
    if !is(word, "IDS") {
        return Err(syntax());
    }
    let (ids, mut rest) = counted_ids(rest)?;
    let mut is_forced = false;
    while let [word, behind @ ..] = rest {
        rest = behind;
        match behind {
            _ if is(word, "FORCE") => is_forced = true,
            [count, behind @ ..] if is(word, "RETRYCOUNT") => {
                let count = u64::try_from(integer(count)?);
                let negative = "ERR Invalid RETRYCOUNT option argument for XNACK";
                deliveries = Deliveries::Fixed(count.map_err(|_| CommandError::from(negative))?);
                rest = behind;
            }
            _ => return Err(syntax()),
        }
    }
    Ok((deliveries, ids, is_forced))
}

/// `XNACK key group SILENT | FAIL | FATAL IDS count id [id ...] [RETRYCOUNT count] [FORCE]`
pub(super) fn xnack(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, group) = (arguments[1], arguments[2]);
    let (deliveries, ids, is_forced) = nack_options(&arguments[3..])?;
    if peek(execution, key)?.and_then(|stream| stream.group(group)).is_none() {
        return Err(no_group(key, group, ""));
    }
    let given_back = change(execution, key, |stream, _| {
        stream.change_group(group, |log, group| {
            let mut given_back = Vec::new();
            for id in ids {
                let before = group.pending(id);
                if before.is_none() && !(is_forced && log.entries().get(id).is_some()) {
                    continue;
                }
                let deliveries = deliveries.of(before.map(|pending| pending.deliveries));
                let pending = Pending { consumer: None, delivered_at: 0, deliveries };
                group.set_pending(id, pending);
                given_back.push((id, pending));
            }
            given_back
        })
    })?;
    let given_back = given_back.flatten().unwrap_or_default();
    execution.reply.integer(given_back.len() as i64);
    execution.keyspace.dirty += given_back.len() as u64;
    for (id, pending) in given_back {
        effect_of_return(execution, key, group, id, pending);
    }
    Ok(())
}
