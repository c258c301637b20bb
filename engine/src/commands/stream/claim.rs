//! What consumers of a group have not acknowledged: XCLAIM, XAUTOCLAIM, XPENDING.

use super::super::chunks::Chunks;
use super::super::errors::{integer, is, syntax};
use super::sliced::{LongClaim, LongQuery, REFERENCE_UNITS};
use super::{
    PendingEffects, ReleaseEffects, change, effect_of_position, find, ids, no_group, reply_entry, reply_id, stream_of,
};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::journal::EventClass;
use crate::long::Locked;
use crate::reply::{Reply, ReplyBuffer};
use crate::values::Type;
use crate::values::stream::{Consumer, ConsumerNumber, Group, Log, Pending, StreamId};

/// How entries are claimed.
#[derive(Default)]
pub(super) struct Claim {
    /// Only those that have been idle for so long, in ms.
    idle_ms: i64,
    delivered_at: Option<i64>,
    deliveries: Option<u64>,
    is_forced: bool,
    pub(super) only_ids: bool,
    /// The group has been told of the stream up to there, at least.
    last_id: StreamId,
}

/// What claiming has changed.
#[derive(Default)]
pub(super) struct Changes {
    is_new_consumer: bool,
    pub(super) claimed: Chunks<(StreamId, Pending)>,
    /// Entries that are in the stream no more.
    pub(super) released: Chunks<StreamId>,
    has_moved: bool,
    /// What is to be told of both: put together on the way, since they may be many.
    claims: PendingEffects,
    releases: ReleaseEffects,
}

impl Changes {
    fn new(is_wanted: bool, key: &[u8], group: &[u8], consumer: &[u8]) -> Self {
        let claims = PendingEffects::new(is_wanted, key, group, consumer);
        Self { claims, releases: ReleaseEffects::new(is_wanted, key, group), ..Self::default() }
    }
}

/// Entries of one group on their way to a consumer.
struct Claiming<'g, 'r, 'b> {
    log: &'g Log,
    group: &'g mut Group,
    name: &'g [u8],
    now: i64,
    claim: &'g Claim,
    consumer: &'g mut Option<ConsumerNumber>,
    /// Where they are told at once.
    reply: Option<&'r mut Reply<'b>>,
    changes: &'g mut Changes,
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
    /// Notes once that the consumer was heard of, who is added if need be.
    fn see_consumer(&mut self) {
        if self.consumer.is_none()
            && let Some((consumer, is_new)) = self.group.see_consumer(self.name, self.now)
        {
            *self.consumer = Some(consumer);
            self.changes.is_new_consumer = is_new;
        }
    }

    /// Claims an entry if it may be, and writes it.
    fn take(&mut self, id: StreamId) -> Fate {
        let pending = self.group.pending(id);
        let Some(entry) = self.log.entries().get(id) else {
            if self.group.release(id) {
                self.changes.released.push(id);
                self.changes.releases.add(id);
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
            consumer: *self.consumer,
            delivered_at: self.claim.delivered_at.unwrap_or(self.now),
            deliveries: self.claim.deliveries.unwrap_or(counted),
        };
        self.group.set_pending(id, claimed);
        if self.changes.claimed.is_empty()
            && let Some(consumer) = claimed.consumer
        {
            self.group.note_active(consumer, Some(self.now));
        }
        self.changes.claimed.push((id, claimed));
        self.changes.claims.add(id, claimed);
        if let Some(reply) = &mut self.reply {
            if self.claim.only_ids {
                reply_id(reply, id);
            } else {
                reply_entry(reply, &entry);
            }
        }
        Fate::Claimed
    }
}

/// How far XAUTOCLAIM has come.
pub(super) struct Taking {
    name: Vec<u8>,
    now: i64,
    consumer: Option<ConsumerNumber>,
    pub(super) changes: Changes,
    next: Option<StreamId>,
    count: u64,
    attempts: u64,
    /// Where the next one is to begin; zero at the end.
    pub(super) cursor: StreamId,
}

impl Taking {
    /// How many entries are looked at for each that may be claimed.
    const ATTEMPTS: u64 = 10;

    fn new(name: &[u8], now: i64, start: StreamId, count: u64, changes: Changes) -> Self {
        Self {
            name: name.to_vec(),
            now,
            consumer: None,
            changes,
            next: Some(start),
            count,
            attempts: count.saturating_mul(Self::ATTEMPTS),
            cursor: StreamId::MIN,
        }
    }

    /// Looks at so many pending entries more; whether those were the last.
    pub(super) fn take(
        &mut self,
        log: &Log,
        group: &mut Group,
        claim: &Claim,
        reply: Option<&mut Reply<'_>>,
        budget: u64,
    ) -> bool {
        let Self { name, now, consumer, changes, next, count, attempts, cursor } = self;
        let mut claiming = Claiming { log, group, name, now: *now, claim, consumer, reply, changes };
        claiming.see_consumer();
        for _ in 0..budget {
            let Some((id, _)) = next.and_then(|from| claiming.group.pending_from(from).next()) else { return true };
            if *attempts == 0 || *count == 0 {
                *cursor = id;
                return true;
            }
            *attempts -= 1;
            *count -= u64::from(claiming.take(id) != Fate::Left);
            *next = id.next();
        }
        false
    }

    /// Counts and tells what has changed.
    pub(super) fn report(
        &mut self,
        execution: &mut Execution<'_>,
        key: &[u8],
        group: &[u8],
        position: (StreamId, Option<i64>),
    ) {
        report(execution, key, group, &self.name, &mut self.changes, position);
    }
}

/// Counts and tells what claiming has changed.
fn report(
    execution: &mut Execution<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    changes: &mut Changes,
    (last_id, read): (StreamId, Option<i64>),
) {
    let changed = changes.claimed.len() + changes.released.len() + usize::from(changes.is_new_consumer);
    execution.keyspace.dirty += changed as u64;
    if changes.is_new_consumer {
        execution.event(EventClass::Stream, "xgroup-createconsumer", key);
        execution.effect(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }
    std::mem::take(&mut changes.releases).report(execution);
    std::mem::take(&mut changes.claims).report(execution, last_id);
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
    let mut changes = Changes::new(execution.keyspace.journal.wants_effects(), key, group, name);
    let done = change(execution, key, |stream, _| {
        stream.change_group(group, |log, group| {
            let has_moved = claim.last_id > group.last_id();
            if has_moved {
                group.set_position(claim.last_id, group.entries_read());
            }
            let reply = Some(&mut Reply::new(&mut body, protocol));
            changes.has_moved = has_moved;
            let (claim, consumer, changes) = (&claim, &mut None, &mut changes);
            let mut claiming = Claiming { log, group, name, now, claim, consumer, reply, changes };
            claiming.see_consumer();
            for id in ids {
                claiming.take(id);
            }
            (group.last_id(), group.entries_read())
        })
    })?;
    let Some(position) = done.flatten() else { return Err(no_group(key, group, "")) };
    execution.reply.array(changes.claimed.len());
    execution.reply.buffer().append(&mut body);
    report(execution, key, group, name, &mut changes, position);
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
    let (key, name, now) = (arguments[1], arguments[2], execution.now);
    let idle_ms = argument(arguments[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = ids::start(arguments[5])?;
    let (count, only_ids) = automatic_options(&arguments[6..])?;
    let (stream, _) = find(execution, key)?;
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(name)?))) else {
        return Err(no_group(key, name, ""));
    };
    let pending = group.pending_count();
    let units = pending.min(count.saturating_mul(Taking::ATTEMPTS)) + pending.min(count) * REFERENCE_UNITS;
    let view = stream.clone();
    let claim = Claim { idle_ms, only_ids, ..Claim::default() };
    let changes = Changes::new(execution.keyspace.journal.wants_effects(), key, name, arguments[3]);
    let mut taking = Taking::new(arguments[3], now, start, count, changes);
    if execution.options.is_long(units, 0) {
        let work = LongClaim::new(Locked::new(execution, key), &view, name, claim, taking);
        execution.later.put(work);
        return Ok(());
    }
    drop(view);
    let mut body = ReplyBuffer::default();
    let protocol = execution.reply.protocol();
    let done = change(execution, key, |stream, _| {
        stream.change_group(name, |log, group| {
            taking.take(log, group, &claim, Some(&mut Reply::new(&mut body, protocol)), u64::MAX);
            (group.last_id(), group.entries_read())
        })
    })?;
    let Some(position) = done.flatten() else { return Err(no_group(key, name, "")) };
    let (reply, changes) = (&mut execution.reply, &taking.changes);
    reply.array(3);
    reply_id(reply, taking.cursor);
    reply.array(changes.claimed.len());
    reply.buffer().append(&mut body);
    reply.array(changes.released.len());
    changes.released.iter().for_each(|id| reply_id(reply, id));
    taking.report(execution, key, name, position);
    Ok(())
}

/// Which pending entries are asked for.
pub(super) struct Query {
    idle_ms: i64,
    pub(super) from: StreamId,
    to: StreamId,
    pub(super) count: u64,
    consumer: Option<Vec<u8>>,
}

impl Query {
    /// `[IDLE ms] start end count [consumer]`; nothing if there is nothing.
    fn parse(arguments: &[&[u8]]) -> Result<Option<Self>, CommandError> {
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
        Ok(Some(Self { idle_ms, from, to, count, consumer: rest.first().map(|name| name.to_vec()) }))
    }

    /// The pending entries of the range from an ID on, idle or not; of one consumer or all.
    pub(super) fn entries<'g>(
        &self,
        group: &'g Group,
        number: Option<ConsumerNumber>,
        from: StreamId,
    ) -> impl Iterator<Item = (StreamId, Pending)> + use<'g> {
        let held = number.map(|number| group.held_from(number, from));
        let all = if held.is_none() { Some(group.pending_from(from)) } else { None };
        let to = self.to;
        held.into_iter().flatten().chain(all.into_iter().flatten()).take_while(move |(id, _)| *id <= to)
    }

    pub(super) fn is_idle(&self, pending: &Pending, now: i64) -> bool {
        self.idle_ms == 0 || pending.consumer.is_none() || now.saturating_sub(pending.delivered_at) >= self.idle_ms
    }

    /// How many entries are looked at, at the most.
    fn units(&self, group: &Group, number: Option<ConsumerNumber>) -> u64 {
        let held = number.and_then(|number| group.consumer(number));
        let there = held.map_or(group.pending_count(), Consumer::held_count);
        if self.idle_ms > 0 && self.count > 0 { there } else { there.min(self.count) }
    }

    /// Writes the entries.
    fn reply(&self, group: &Group, number: Option<ConsumerNumber>, now: i64, reply: &mut Reply<'_>) {
        let asked = self.entries(group, number, self.from).filter(|(_, pending)| self.is_idle(pending, now));
        let asked: Vec<_> = asked.take(usize::try_from(self.count).unwrap_or(usize::MAX)).collect();
        reply.array(asked.len());
        asked.into_iter().for_each(|entry| Self::reply_one(group, entry, now, reply));
    }

    /// Writes one entry.
    pub(super) fn reply_one(group: &Group, (id, pending): (StreamId, Pending), now: i64, reply: &mut Reply<'_>) {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(group.name_of(pending.consumer));
        reply.integer(if pending.consumer.is_some() { pending.idle_ms(now) } else { -1 });
        reply.integer(pending.deliveries as i64);
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
    let access = execution.access();
    let Execution { keyspace, reply, database, options, later, .. } = execution;
    let entry = keyspace.find_typed(*database, &keyspace.key(key), now, access, Type::Stream)?;
    let stream = entry.and_then(stream_of);
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(name)?))) else {
        return Err(no_group(key, name, ""));
    };
    let Some(query) = query else {
        reply_summary(group, reply);
        return Ok(());
    };
    let number = match &query.consumer {
        Some(consumer) => match group.find_consumer(consumer) {
            None => {
                reply.array(0);
                return Ok(());
            }
            number => number,
        },
        None => None,
    };
    if options.is_long(query.units(group, number), 0) {
        later.put(LongQuery::new(stream, name, query, number, now));
    } else {
        query.reply(group, number, now, reply);
    }
    Ok(())
}
