//! Streams: the command rows, and what the commands have in common.
//!
//! ```text
//!   add      XADD XTRIM XDEL XDELEX XSETID XCFGSET      what is in a stream
//!   range    XLEN XRANGE XREVRANGE                      reading a part of one
//!   read     XREAD XREADGROUP                           reading what is new in several; `sliced_read` reads much
//!   group    XGROUP XACK XACKDEL XNACK                  consumer groups
//!   claim    XCLAIM XAUTOCLAIM XPENDING                 what consumers have not acknowledged
//!   info     XINFO
//!   sliced   what is too much of these to be done at once
//! ```
//!
//! Effects are written in Redis 7.0's syntax, with IDs in full, times absolute and lengths exact: XREADGROUP tells XCLAIM and
//! XGROUP SETID. Three have none there and are told as themselves: XCFGSET, XIDMPRECORD and XNACK.

mod add;
mod arguments;
mod claim;
mod delete;
mod group;
mod ids;
mod info;
mod range;
mod read;
mod rows;
mod sliced;
mod sliced_read;
pub mod waiting;

pub use rows::COMMANDS;

use crate::command::{CommandError, Execution};
use crate::journal::EventClass;
use crate::keyspace::{Entry, WrongType};
use crate::reply::Reply;
use crate::values::collection::Collection;
use crate::values::large::StreamEntry;
use crate::values::stream::{Pending, Stream, StreamId, Trimmed};
use crate::values::{Element, NewCollection, Object, Type};
use std::sync::Arc;

/// The stream of an entry that is one.
fn stream_of(entry: Entry<'_>) -> Option<&Stream> {
    match entry.object() {
        Some(Object::Stream(stream)) => Some(stream),
        _ => None,
    }
}

/// Looks a stream up as a read of the client; with the reply to write.
fn find<'e, 'r>(
    execution: &'e mut Execution<'r>,
    key: &[u8],
) -> Result<(Option<&'e Stream>, &'e mut Reply<'r>), WrongType> {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::Stream)?;
    Ok((entry.and_then(stream_of), reply))
}

/// Looks a stream up before it may be changed; it is not counted as a read.
fn peek<'e>(execution: &'e Execution<'_>, key: &[u8]) -> Result<Option<&'e Stream>, WrongType> {
    let key = execution.keyspace.key(key);
    let entry = execution.keyspace.peek_typed(execution.database, &key, execution.now, Type::Stream)?;
    Ok(entry.and_then(stream_of))
}

/// Changes a stream, if there is one. Neither counted nor reported.
fn change<'r, R>(
    execution: &mut Execution<'r>,
    key: &[u8],
    change: impl FnOnce(&mut Stream, &mut Reply<'r>) -> R,
) -> Result<Option<R>, CommandError> {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::Stream, *now)? else { return Ok(None) };
    let result = entry.change_object(|object| match object {
        Object::Stream(stream) => Some(change(stream, reply)),
        _ => None,
    });
    Ok(result.flatten())
}

/// Puts a stream under a key where there is none.
fn create(execution: &mut Execution<'_>, key: &[u8], stream: Stream) {
    let Execution { keyspace, database, now, .. } = execution;
    let key = keyspace.key(key);
    keyspace.create(*database, &key, &mut NewCollection::object(Object::Stream(Box::new(stream))), *now);
}

fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Integer(value) => reply.bulk_integer(value),
        Element::Text(text) => reply.bulk(text),
    }
}

fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(&id.text());
}

/// Fields and values of an entry.
fn reply_fields(reply: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    reply.array(2 * entry.field_count());
    for (field, value) in entry.fields() {
        reply_element(reply, field);
        reply_element(reply, value);
    }
}

/// An entry: its ID, and fields and values.
fn reply_entry(reply: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply_fields(reply, entry);
}

/// The error about a group that is not there.
#[cold]
fn no_group(key: &[u8], group: &[u8], after: &str) -> CommandError {
    let shown = |text: &[u8]| text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let parts: [&[u8]; 5] = [b"NOGROUP No such key '", &shown(key), b"' or consumer group '", &shown(group), b"'"];
    [&parts.concat()[..], after.as_bytes()].concat().into()
}

/// The error about a group that is not there, of commands which found the key.
#[cold]
fn no_group_of_key(key: &[u8], group: &[u8]) -> CommandError {
    let before = CommandError::echo("NOGROUP No such consumer group '", group, "' for key name '");
    let key = CommandError::echo("", key, "'");
    [&before.0[..], &key.0[..]].concat().into()
}

/// A decimal, as an argument of an effect.
fn decimal(value: impl itoa::Integer) -> Vec<u8> {
    itoa::Buffer::new().format(value).as_bytes().to_vec()
}

/// The effects that make entries pending as they are now, of one consumer: XCLAIM of all with the same time and number of
/// deliveries that follow each other.
#[derive(Default)]
struct PendingEffects {
    is_wanted: bool,
    head: [Vec<u8>; 3],
    /// Without LASTID's value in the end, save the last one, which ends with its IDs.
    effects: Vec<Vec<Vec<u8>>>,
    /// What the last one is about.
    open: Option<Pending>,
}

impl PendingEffects {
    /// IDs of one effect.
    const IDS_MAX: usize = 1024;
    const HEAD: usize = 5;

    fn new(is_wanted: bool, key: &[u8], group: &[u8], consumer: &[u8]) -> Self {
        let head = if is_wanted { [key.to_vec(), group.to_vec(), consumer.to_vec()] } else { <_>::default() };
        Self { is_wanted, head, ..Self::default() }
    }

    /// One more entry.
    fn add(&mut self, id: StreamId, pending: Pending) {
        if !self.is_wanted {
            return;
        }
        let is_full = self.effects.last().is_none_or(|effect| effect.len() == Self::HEAD + Self::IDS_MAX);
        if is_full || self.open != Some(pending) {
            self.close();
            let [key, group, consumer] = self.head.clone();
            self.effects.push(vec![b"XCLAIM".to_vec(), key, group, consumer, b"0".to_vec()]);
            self.open = Some(pending);
        }
        self.effects.last_mut().into_iter().for_each(|effect| effect.push(id.text().to_vec()));
    }

    fn close(&mut self) {
        let (Some(pending), Some(effect)) = (self.open.take(), self.effects.last_mut()) else { return };
        let (time, count) = (decimal(pending.delivered_at), decimal(pending.deliveries));
        effect.extend([b"TIME".to_vec(), time, b"RETRYCOUNT".to_vec(), count]);
        effect.extend([b"FORCE".to_vec(), b"JUSTID".to_vec(), b"LASTID".to_vec()]);
    }

    /// Reports them; the group has been told of the stream up to that ID.
    fn report(mut self, execution: &mut Execution<'_>, last_id: StreamId) {
        self.close();
        for mut effect in self.effects {
            effect.push(last_id.text().to_vec());
            execution.keyspace.journal.effect_owned(execution.database, effect);
        }
    }
}

/// The effect that gives an entry back to the group as it is now.
fn effect_of_return(execution: &mut Execution<'_>, key: &[u8], group: &[u8], id: StreamId, pending: Pending) {
    let (count, id) = (decimal(pending.deliveries), id.text());
    execution.effect(&[b"XNACK", key, group, b"FAIL", b"IDS", b"1", &id, b"RETRYCOUNT", &count, b"FORCE"]);
}

/// The effect that sets how far a group has been told of the stream.
fn effect_of_position(execution: &mut Execution<'_>, key: &[u8], group: &[u8], last_id: StreamId, read: Option<i64>) {
    let (id, read) = (last_id.text(), decimal(read.unwrap_or(-1)));
    execution.effect(&[b"XGROUP", b"SETID", key, group, &id, b"ENTRIESREAD", &read]);
}

/// The effects that take entries off the pending ones of a group, put together one by one.
#[derive(Default)]
struct ReleaseEffects {
    is_wanted: bool,
    head: [Vec<u8>; 2],
    effects: Vec<Vec<Vec<u8>>>,
}

impl ReleaseEffects {
    const HEAD: usize = 3;

    fn new(is_wanted: bool, key: &[u8], group: &[u8]) -> Self {
        let head = if is_wanted { [key.to_vec(), group.to_vec()] } else { <_>::default() };
        Self { is_wanted, head, effects: Vec::new() }
    }

    /// One more entry.
    fn add(&mut self, id: StreamId) {
        if !self.is_wanted {
            return;
        }
        if self.effects.last().is_none_or(|effect| effect.len() == Self::HEAD + PendingEffects::IDS_MAX) {
            let [key, group] = self.head.clone();
            self.effects.push(vec![b"XACK".to_vec(), key, group]);
        }
        self.effects.last_mut().into_iter().for_each(|effect| effect.push(id.text().to_vec()));
    }

    /// Reports them.
    fn report(self, execution: &mut Execution<'_>) {
        let database = execution.database;
        self.effects.into_iter().for_each(|effect| execution.keyspace.journal.effect_owned(database, effect));
    }
}

/// The effect of entries that a group is not to hold any more.
fn effect_of_release(execution: &mut Execution<'_>, key: &[u8], group: &[u8], ids: &[StreamId]) {
    effect_on_ids(execution, &[b"XACK", key, group], ids);
}

/// A command that ends with IDs, as an effect; nothing if there are none.
fn effect_on_ids(execution: &mut Execution<'_>, head: &[&[u8]], ids: &[StreamId]) {
    if ids.is_empty() || !execution.keyspace.journal.wants_effects() {
        return;
    }
    let texts: Vec<_> = ids.iter().map(|id| id.text()).collect();
    let mut arguments = head.to_vec();
    arguments.extend(texts.iter().map(|text| &**text));
    execution.effect(&arguments);
}

/// The effects of references that went with their entries.
fn effects_of_released(execution: &mut Execution<'_>, key: &[u8], released: &[(Arc<[u8]>, StreamId)]) {
    for (group, id) in released {
        effect_of_release(execution, key, group, &[*id]);
    }
}

/// Tells that entries were trimmed; so many are left.
fn report_trimmed(execution: &mut Execution<'_>, key: &[u8], trimmed: &Trimmed, length: u64) {
    execution.event(EventClass::Stream, "xtrim", key);
    if !trimmed.is_scattered {
        execution.effect(&[b"XTRIM", key, b"MAXLEN", b"=", &decimal(length)]);
    }
    effects_of_trimmed(execution, key, trimmed);
}

/// The effects of entries, and references, that went one by one.
fn effects_of_trimmed(execution: &mut Execution<'_>, key: &[u8], trimmed: &Trimmed) {
    trimmed.scattered.iter().for_each(|ids| effect_on_ids(execution, &[b"XDEL", key], ids));
    trimmed.released.iter().for_each(|released| effects_of_released(execution, key, released));
}

#[cfg(test)]
mod tests;
