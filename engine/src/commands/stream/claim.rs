//! What consumers of a group have not acknowledged: XCLAIM, XAUTOCLAIM, XPENDING.

use super::super::errors::{integer, is, syntax};
use super::{
    change, effect_of_pending, effect_of_position, effect_of_release, find, ids, no_group, reply_entry, reply_id,
};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::journal::EventClass;
use crate::reply::{Reply, ReplyBuffer};
use crate::values::stream::{ConsumerNumber, Group, Log, Pending, StreamId};

/// How entries are claimed.
#[derive(Default)]
struct Claim {
    /// Only those that have been idle for so long, in ms.
    idle_ms: i64,
    delivered_at: Option<i64>,
    deliveries: Option<u64>,
    is_forced: bool,
    only_ids: bool,
    /// The group has been told of the stream up to there, at least.
    last_id: StreamId,
}

/// What claiming has changed.
#[derive(Default)]
struct Changes {
    is_new_consumer: bool,
    claimed: Vec<(StreamId, Pending)>,
    /// Entries that are in the stream no more.
    released: Vec<StreamId>,
    has_moved: bool,
}

/// Entries of one group on their way to a consumer.
struct Claiming<'g, 'r, 'b> {
    log: &'g Log,
    group: &'g mut Group,
    name: &'g [u8],
    now: i64,
    claim: &'g Claim,
    consumer: Option<ConsumerNumber>,
    reply: &'r mut Reply<'b>,
    changes: Changes,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Claimed,
    Left,
    /// It is in the stream no more, nor pending.
    Gone,
}

impl Claiming<'_, '_, '_> {
    /// The consumer, who is added if need be.
    fn consumer(&mut self) -> Option<ConsumerNumber> {
        if self.consumer.is_none() {
            self.consumer = match self.group.find_consumer(self.name) {
                Some(consumer) => {
                    self.group.note_seen(consumer, self.now);
                    Some(consumer)
                }
                None => {
                    self.changes.is_new_consumer = true;
                    self.group.add_consumer(self.name, self.now)
                }
            };
        }
        self.consumer
    }

    /// Claims an entry if it may be, and writes it.
    fn take(&mut self, id: StreamId) -> Fate {
        let pending = self.group.pending(id);
        let Some(entry) = self.log.entries().get(id) else {
            if self.group.release(id) {
                self.changes.released.push(id);
                return Fate::Gone;
            }
            return Fate::Left;
        };
        let is_idle = |pending: &Pending| {
            self.claim.idle_ms == 0
                || pending.consumer.is_none()
                || self.now.saturating_sub(pending.delivered_at) >= self.claim.idle_ms
        };
        let only_ids = self.claim.only_ids;
        let counted = match pending {
            Some(pending) if is_idle(&pending) => {
                if only_ids {
                    pending.deliveries
                } else {
                    pending.deliveries_with_this()
                }
            }
            None if self.claim.is_forced => 1 + u64::from(!only_ids),
            _ => return Fate::Left,
        };
        let claimed = Pending {
            consumer: self.consumer(),
            delivered_at: self.claim.delivered_at.unwrap_or(self.now),
            deliveries: self.claim.deliveries.unwrap_or(counted),
        };
        self.group.set_pending(id, claimed);
        self.changes.claimed.push((id, claimed));
        if self.claim.only_ids {
            reply_id(self.reply, id);
        } else {
            reply_entry(self.reply, &entry);
        }
        Fate::Claimed
    }
}

/// Counts and tells what claiming has changed.
fn report(
    execution: &mut Execution<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    changes: &Changes,
    (last_id, read): (StreamId, Option<i64>),
) {
    let changed = changes.claimed.len() + changes.released.len() + usize::from(changes.is_new_consumer);
    execution.keyspace.dirty += changed as u64;
    if changes.is_new_consumer {
        execution.event(EventClass::Stream, "xgroup-createconsumer", key);
        execution.effect(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }
    effect_of_release(execution, key, group, &changes.released);
    if execution.keyspace.journal.wants_effects() {
        for &(id, pending) in &changes.claimed {
            effect_of_pending(execution, key, group, (id, pending, consumer), last_id);
        }
    }
    if changes.has_moved && changes.claimed.is_empty() {
        execution.keyspace.dirty += u64::from(changes.released.is_empty());
        effect_of_position(execution, key, group, last_id, read);
    }
}

/// An integer argument with an error of its own.
fn argument(text: &[u8], error: &'static str) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::from(error))
}

impl Claim {
    /// The options of XCLAIM.
    fn parse(options: &[&[u8]], idle_ms: i64, now: i64) -> Result<Self, CommandError> {
        let mut claim = Self { idle_ms, ..Self::default() };
        let mut delivered_at = None;
        let mut rest = options;
        while let [word, behind @ ..] = rest {
            rest = behind;
            match behind {
                _ if is(word, "FORCE") => claim.is_forced = true,
                _ if is(word, "JUSTID") => claim.only_ids = true,
                [value, behind @ ..] => {
                    rest = behind;
                    match word {
                        word if is(word, "IDLE") => {
                            let idle_ms = argument(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                            delivered_at = Some(now.wrapping_sub(idle_ms));
                        }
                        word if is(word, "TIME") => {
                            delivered_at = Some(argument(value, "ERR Invalid TIME option argument for XCLAIM")?);
                        }
                        word if is(word, "RETRYCOUNT") => {
                            let count = argument(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                            claim.deliveries = u64::try_from(count).ok();
                        }
                        word if is(word, "LASTID") => claim.last_id = ids::strict(value)?,
                        word => return Err(CommandError::echo("ERR Unrecognized XCLAIM option '", word, "'")),
                    }
                }
                [] => return Err(CommandError::echo("ERR Unrecognized XCLAIM option '", word, "'")),
            }
        }
        // A time that makes no sense is taken for now.
        claim.delivered_at = delivered_at.filter(|at| (0..=now).contains(at));
        Ok(claim)
    }
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID id]`
pub(super) fn xclaim(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, group, name, now) = (arguments[1], arguments[2], arguments[3], execution.now);
    if find(execution, key)?.0.and_then(|stream| stream.group(group)).is_none() {
        return Err(no_group(key, group, ""));
    }
    let idle_ms = argument(arguments[4], "ERR Invalid min-idle-time argument for XCLAIM")?.max(0);
    let ids: Vec<StreamId> = arguments[5..].iter().map_while(|text| ids::strict(text).ok()).collect();
    let claim = Claim::parse(&arguments[5 + ids.len()..], idle_ms, now)?;
    let mut body = ReplyBuffer::default();
    let protocol = execution.reply.protocol();
    let done = change(execution, key, |stream, _| {
        stream.change_group(group, |log, group| {
            let has_moved = claim.last_id > group.last_id();
            if has_moved {
                group.set_position(claim.last_id, group.entries_read());
            }
            let reply = &mut Reply::new(&mut body, protocol);
            let changes = Changes { has_moved, ..Changes::default() };
            let mut claiming = Claiming { log, group, name, now, claim: &claim, consumer: None, reply, changes };
            for id in ids {
                claiming.take(id);
            }
            let changes = claiming.changes;
            (changes, (group.last_id(), group.entries_read()))
        })
    })?;
    let Some((changes, position)) = done.flatten() else { return Err(no_group(key, group, "")) };
    execution.reply.array(changes.claimed.len());
    execution.reply.buffer().append(&mut body);
    report(execution, key, group, name, &changes, position);
    Ok(())
}

/// `[COUNT count] [JUSTID]` of XAUTOCLAIM.
fn automatic_options(options: &[&[u8]]) -> Result<(u64, bool), CommandError> {
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (mut count, mut only_ids) = (100, false);
    let mut rest = options;
    while let [word, behind @ ..] = rest {
        rest = behind;
        match behind {
            [value, behind @ ..] if is(word, "COUNT") => {
                let value = parse_integer(value).filter(|count| (1..=COUNT_MAX).contains(count));
                count = value.ok_or(CommandError::from("ERR COUNT must be > 0"))? as u64;
                rest = behind;
            }
            _ if is(word, "JUSTID") => only_ids = true,
            _ => return Err(syntax()),
        }
    }
    Ok((count, only_ids))
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub(super) fn xautoclaim(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    /// How many entries are looked at for each that may be claimed.
    const ATTEMPTS: u64 = 10;
    let (key, group, name, now) = (arguments[1], arguments[2], arguments[3], execution.now);
    let idle_ms = argument(arguments[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = ids::start(arguments[5])?;
    let (mut count, only_ids) = automatic_options(&arguments[6..])?;
    if find(execution, key)?.0.and_then(|stream| stream.group(group)).is_none() {
        return Err(no_group(key, group, ""));
    }
    let claim = Claim { idle_ms, only_ids, ..Claim::default() };
    let mut body = ReplyBuffer::default();
    let protocol = execution.reply.protocol();
    let done = change(execution, key, |stream, _| {
        stream.change_group(group, |log, group| {
            let reply = &mut Reply::new(&mut body, protocol);
            let changes = Changes::default();
            let mut claiming = Claiming { log, group, name, now, claim: &claim, consumer: None, reply, changes };
            let (mut attempts, mut next) = (count.saturating_mul(ATTEMPTS), Some(start));
            let mut cursor = StreamId::MIN;
            while let Some(from) = next {
                let Some((id, _)) = claiming.group.pending_from(from).next() else { break };
                if attempts == 0 || count == 0 {
                    cursor = id;
                    break;
                }
                attempts -= 1;
                count -= u64::from(claiming.take(id) != Fate::Left);
                next = id.next();
            }
            let changes = claiming.changes;
            (changes, cursor, (group.last_id(), group.entries_read()))
        })
    })?;
    let Some((changes, cursor, position)) = done.flatten() else { return Err(no_group(key, group, "")) };
    let reply = &mut execution.reply;
    reply.array(3);
    reply_id(reply, cursor);
    reply.array(changes.claimed.len());
    reply.buffer().append(&mut body);
    reply.array(changes.released.len());
    changes.released.iter().for_each(|id| reply_id(reply, *id));
    report(execution, key, group, name, &changes, position);
    Ok(())
}

/// Which pending entries are asked for.
struct Query<'a> {
    idle_ms: i64,
    from: StreamId,
    to: StreamId,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// `[IDLE ms] start end count [consumer]`; nothing if there is nothing.
    fn parse(arguments: &[&'a [u8]]) -> Result<Option<Self>, CommandError> {
        if !matches!(arguments.len(), 0 | 3..=6) {
            return Err(syntax());
        }
        let (idle_ms, rest) = match arguments {
            [] => return Ok(None),
            [word, idle_ms, rest @ ..] if is(word, "IDLE") => {
                let idle_ms = integer(idle_ms)?;
                (idle_ms, if rest.len() < 3 { return Err(syntax()) } else { rest })
            }
            rest => (0, rest),
        };
        let &[from, to, count, ref rest @ ..] = rest else { return Err(syntax()) };
        let count = u64::try_from(integer(count)?).unwrap_or(0);
        let (from, to) = (ids::start(from)?, ids::end(to)?);
        Ok(Some(Self { idle_ms, from, to, count, consumer: rest.first().copied() }))
    }

    /// Writes the entries.
    fn reply(&self, group: &Group, now: i64, reply: &mut Reply<'_>) {
        let consumer = self.consumer.map(|name| group.find_consumer(name));
        let number = match consumer {
            Some(None) => return reply.array(0),
            Some(number) => number,
            None => None,
        };
        let entries: Box<dyn Iterator<Item = (StreamId, Pending)>> = match number {
            Some(number) => Box::new(group.held_from(number, self.from)),
            None => Box::new(group.pending_from(self.from)),
        };
        let is_idle = |pending: &Pending| {
            self.idle_ms == 0 || pending.consumer.is_none() || now.saturating_sub(pending.delivered_at) >= self.idle_ms
        };
        let asked = entries.take_while(|(id, _)| *id <= self.to).filter(|(_, pending)| is_idle(pending));
        let asked: Vec<_> = asked.take(usize::try_from(self.count).unwrap_or(usize::MAX)).collect();
        reply.array(asked.len());
        for (id, pending) in asked {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(group.name_of(pending.consumer));
            reply.integer(if pending.consumer.is_some() { pending.idle_ms(now) } else { -1 });
            reply.integer(pending.deliveries as i64);
        }
    }
}

/// Writes how many entries are pending, of which IDs, and for whom.
fn reply_summary(group: &Group, reply: &mut Reply<'_>) {
    reply.array(4);
    reply.integer(group.pending_count() as i64);
    let Some((first, last)) = group.pending_ends() else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    reply_id(reply, first);
    reply_id(reply, last);
    let holders = || group.consumers().filter(|(_, consumer)| consumer.held_count() > 0);
    reply.array(holders().count());
    for (_, consumer) in holders() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.held_count() as i64);
    }
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub(super) fn xpending(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, name, now) = (arguments[1], arguments[2], execution.now);
    let query = Query::parse(&arguments[3..])?;
    let (stream, reply) = find(execution, key)?;
    let Some(group) = stream.and_then(|stream| stream.group(name)) else { return Err(no_group(key, name, "")) };
    match query {
        None => reply_summary(group, reply),
        Some(query) => query.reply(group, now, reply),
    }
    Ok(())
}
