//! Reading much of several streams, in slices: what [`read`](super::read) does at once to little.
//!
//! ```text
//!   taking    stream by stream: what each has for the client is counted, and noted in a copy of the stream if a group reads
//!   commit    the copies take the streams' places; keys are free from now on
//!   listing   the same is encoded, from the streams as they were
//! ```
//!
//! * So the reply is made as fast as the client takes it, and takes no memory meanwhile but for the IDs that were claimed.
//! * A read without a group changes nothing: it is counted only where a limit says how far it goes.
//! * Entries to be claimed come in the order of their last delivery; they are put in a heap, of which as many are taken as
//!   the client wants.

use super::super::chunks::Chunks;
use super::read::{From, Options, has_room_for_more, is_idle, nothing_to_read};
use super::{PendingEffects, effect_of_position, effect_of_release, reply_entry, reply_fields, reply_id};
use crate::command::{Execution, Milliseconds};
use crate::journal::EventClass;
use crate::long::{Locked, LongWork, STEP_BYTES_MAX, Step};
use crate::reply::{Protocol, Reply, ReplyBuffer};
use crate::values::large::StreamEntry;
use crate::values::stream::{ConsumerNumber, Group, Pending, Stream, StreamId};
use crate::values::{Collection, Object, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What noting an entry for a group costs, in units of listing one.
pub(super) const NOTED_UNITS: u64 = 8;

/// Who reads, and how.
struct Manner {
    /// The group and the consumer.
    reader: Option<(Vec<u8>, Vec<u8>)>,
    count_max: u64,
    claim_idle_ms: Option<i64>,
    is_acknowledged: bool,
    block_ms: Option<i64>,
    now: Milliseconds,
    protocol: Protocol,
}

/// What is left of the limits of all streams together.
struct Tally {
    entries: u64,
    entries_left: u64,
    /// Bytes of the streams that are done.
    bytes: usize,
    /// Bytes of this stream's entries, if they are limited.
    body_bytes: usize,
    bytes_max: usize,
    scratch: ReplyBuffer,
}

impl Tally {
    fn has_room(&self) -> bool {
        has_room_for_more(self.entries_left, self.entries, self.bytes + self.body_bytes, self.bytes_max)
    }

    /// Counts an entry, and its bytes if they matter.
    fn count(&mut self, protocol: Protocol, encode: impl FnOnce(&mut Reply<'_>)) {
        self.entries += 1;
        self.entries_left -= 1;
        if self.bytes_max < usize::MAX {
            encode(&mut Reply::new(&mut self.scratch, protocol));
            self.body_bytes += self.scratch.len();
            self.scratch = ReplyBuffer::default();
        }
    }
}

/// How far a stream has been gone through.
#[derive(Clone, Copy)]
struct Cursor {
    /// Of the claimed ones.
    claimed: usize,
    /// The next ID of the others; none behind the last.
    next: Option<StreamId>,
}

/// Where the taking of one stream stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unopened,
    /// Pending entries from this ID on are looked at, whether they may be claimed.
    Collecting(StreamId),
    Claiming,
    Rest,
    Closed,
}

/// One of the streams.
struct Source {
    key: Locked,
    stream: Stream,
    from: From,
    phase: Phase,
    cursor: Cursor,
    /// By the time of delivery.
    claimable: BinaryHeap<Reverse<(i64, StreamId)>>,
    any_claimable: bool,
    claimed: Chunks<StreamId>,
    /// The copy that is changed.
    changed: Option<Stream>,
    consumer: Option<(ConsumerNumber, bool)>,
    released: Vec<StreamId>,
    effects: PendingEffects,
    has_moved: bool,
    /// The consumer was given an entry that it did not have.
    was_given_any: bool,
    is_served: bool,
    count: u64,
}

/// An entry for the client.
struct Item<'a> {
    id: StreamId,
    entry: Option<StreamEntry<'a>>,
    pending: Option<Pending>,
}

impl Source {
    fn new(key: Locked, stream: &Stream, from: From, effects: PendingEffects) -> Self {
        let next = match from {
            From::Behind(id) | From::History(id) => id.next(),
            From::Last => stream.log().last_present_id(),
            From::New => None,
        };
        Self {
            key,
            stream: stream.clone(),
            from,
            phase: Phase::Unopened,
            cursor: Cursor { claimed: 0, next },
            claimable: BinaryHeap::new(),
            any_claimable: false,
            claimed: Chunks::default(),
            changed: None,
            consumer: None,
            released: Vec::new(),
            effects,
            has_moved: false,
            was_given_any: false,
            is_served: false,
            count: 0,
        }
    }

    fn group<'a>(&'a self, manner: &Manner) -> Option<&'a Group> {
        self.stream.group(&manner.reader.as_ref()?.0)
    }

    /// The next items behind the claimed ones, as the stream was, until `visit` has had enough; whether it had, or they are
    /// all.
    fn visit(&self, cursor: &mut Cursor, manner: &Manner, count: u64, mut visit: impl FnMut(Item<'_>) -> bool) -> bool {
        let Some(from) = cursor.next else { return true };
        let entries = self.stream.entries();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut left = count;
        let mut show = |item: Item<'_>| {
            left -= 1;
            cursor.next = item.id.next();
            visit(item)
        };
        let is_enough = match (self.from, self.group(manner)) {
            (From::History(_), Some(group)) => {
                let held = self.consumer.into_iter().flat_map(|(consumer, _)| group.held_from(consumer, from));
                let mut items = held.take(count).map(|(id, pending)| {
                    let entry = entries.get(id);
                    Item { id, entry, pending: Some(pending) }
                });
                items.any(|item| !show(item))
            }
            _ => {
                let mut items = entries.range(from, StreamId::MAX).take(count);
                items.any(|entry| !show(Item { id: entry.id, entry: Some(entry), pending: None }))
            }
        };
        is_enough || left > 0
    }

    /// Encodes an item.
    fn encode(&self, manner: &Manner, is_claimed: bool, item: &Item<'_>, reply: &mut Reply<'_>) {
        if manner.reader.is_none() {
            item.entry.iter().for_each(|entry| reply_entry(reply, entry));
            return;
        }
        let tells_deliveries = manner.claim_idle_ms.is_some() && !matches!(self.from, From::History(_));
        reply.array(if tells_deliveries { 4 } else { 2 });
        reply_id(reply, item.id);
        match &item.entry {
            Some(entry) => reply_fields(reply, entry),
            None => reply.null_array(),
        }
        if tells_deliveries {
            let pending = item.pending.filter(|_| is_claimed);
            reply.integer(pending.map_or(0, |pending| pending.idle_ms(manner.now)));
            reply.integer(pending.map_or(0, |pending| pending.deliveries as i64));
        }
    }

    /// What stands before its entries.
    fn head(&self, reply: &mut Reply<'_>) {
        if reply.protocol() == Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(self.key.name());
        reply.array(self.count as usize);
    }

    /// Takes about so many units' worth of what it has.
    fn take(&mut self, manner: &Manner, tally: &mut Tally, budget: u64) {
        match self.phase {
            Phase::Unopened => self.open(manner, tally),
            Phase::Collecting(from) => self.collect(manner, from, budget),
            Phase::Claiming => self.claim(manner, tally, budget / NOTED_UNITS + 1),
            Phase::Rest if manner.reader.is_some() => self.take_for_group(manner, tally, budget / NOTED_UNITS + 1),
            Phase::Rest => self.take_plain(manner, tally, budget),
            Phase::Closed => {}
        }
        if self.phase == Phase::Closed && self.is_served {
            let mut head = ReplyBuffer::default();
            self.head(&mut Reply::new(&mut head, manner.protocol));
            tally.bytes += head.len() + std::mem::take(&mut tally.body_bytes);
        }
    }

    fn open(&mut self, manner: &Manner, tally: &Tally) {
        let Some(group) = self.group(manner) else {
            self.phase = Phase::Rest;
            return;
        };
        let has_new = self.stream.log().last_present_id().is_some_and(|last| last > group.last_id());
        let behind = group.last_id().next();
        self.phase = match (self.from, manner.claim_idle_ms) {
            (From::History(_), _) => Phase::Rest,
            _ if !tally.has_room() => Phase::Closed,
            (_, Some(_)) => Phase::Collecting(StreamId::MIN),
            (_, None) if has_new => Phase::Rest,
            (_, None) => Phase::Closed,
        };
        if !matches!(self.from, From::History(_)) {
            self.cursor.next = behind;
            self.any_claimable = has_new;
        }
        self.is_served = self.phase == Phase::Rest;
        self.admit(manner);
    }

    /// The consumer is heard of, whether or not there is something; it is added if need be.
    fn admit(&mut self, manner: &Manner) {
        let Some((group, name)) = &manner.reader else { return };
        let mut changed = self.stream.clone();
        self.consumer = changed.change_group(group, |_, group| group.see_consumer(name, manner.now)).flatten();
        self.changed = Some(changed);
    }

    /// Looks at pending entries; they may be claimed if they have been idle for so long.
    fn collect(&mut self, manner: &Manner, from: StreamId, budget: u64) {
        let Self { stream, claimable, any_claimable, .. } = self;
        let group = manner.reader.as_ref().and_then(|reader| stream.group(&reader.0));
        let (Some(group), Some(idle_ms)) = (group, manner.claim_idle_ms) else { return };
        let mut left = budget;
        for (id, pending) in group.pending_from(from) {
            if left == 0 {
                self.phase = Phase::Collecting(id);
                return;
            }
            left -= 1;
            if is_idle(&pending, manner.now, idle_ms) {
                claimable.push(Reverse((pending.delivered_at, id)));
                *any_claimable = *any_claimable || stream.entries().get(id).is_some();
            }
        }
        self.is_served = *any_claimable;
        self.phase = if *any_claimable { Phase::Claiming } else { Phase::Closed };
    }

    /// Whether one entry more may be taken.
    fn has_room(&self, manner: &Manner, tally: &Tally) -> bool {
        self.count < manner.count_max && tally.has_room()
    }

    fn claim(&mut self, manner: &Manner, tally: &mut Tally, count: u64) {
        let (Some((group_name, _)), Some((consumer, _))) = (&manner.reader, self.consumer) else { return };
        let Some(mut changed) = self.changed.take() else { return };
        changed.change_group(group_name, |_, group| {
            for _ in 0..count {
                let next = if self.has_room(manner, tally) { self.claimable.pop() } else { None };
                let Some(Reverse((_, id))) = next else {
                    self.phase = Phase::Rest;
                    return;
                };
                let Some(pending) = group.pending(id) else { continue };
                let Some(entry) = self.stream.entries().get(id) else {
                    group.release(id);
                    self.released.push(id);
                    continue;
                };
                let item = Item { id, entry: Some(entry), pending: Some(pending) };
                tally.count(manner.protocol, |reply| self.encode(manner, true, &item, reply));
                let noted = noted(consumer, manner, pending.deliveries_with_this());
                group.set_pending(id, noted);
                self.effects.add(id, noted);
                self.was_given_any = true;
                self.claimed.push(id);
                self.count += 1;
            }
        });
        self.changed = Some(changed);
    }

    /// What a group is told of: new entries, or what the consumer has, again.
    fn take_for_group(&mut self, manner: &Manner, tally: &mut Tally, count: u64) {
        let (Some((group_name, _)), Some((consumer, _))) = (&manner.reader, self.consumer) else { return };
        let Some(mut changed) = self.changed.take() else { return };
        let is_history = matches!(self.from, From::History(_));
        let (mut cursor, mut effects) = (self.cursor, std::mem::take(&mut self.effects));
        let (mut taken, mut has_moved, mut was_given_any) = (0, false, false);
        let is_over = changed.change_group(group_name, |log, group| {
            self.visit(&mut cursor, manner, count, |item| {
                if self.count + taken >= manner.count_max || !tally.has_room() {
                    return false;
                }
                tally.count(manner.protocol, |reply| self.encode(manner, false, &item, reply));
                taken += 1;
                if !is_history {
                    let read = log.entries_read_after(group, item.id);
                    group.set_position(item.id, read);
                    has_moved = true;
                }
                let deliveries = item.pending.map_or(1, |pending| pending.deliveries_with_this());
                // What is in the stream no more stays as it is.
                if item.entry.is_some() && (is_history || !manner.is_acknowledged) {
                    let noted = noted(consumer, manner, deliveries);
                    group.set_pending(item.id, noted);
                    effects.add(item.id, noted);
                    was_given_any |= !is_history;
                }
                true
            })
        });
        self.cursor = cursor;
        self.effects = effects;
        self.count += taken;
        self.has_moved |= has_moved;
        self.was_given_any |= was_given_any;
        self.changed = Some(changed);
        if is_over != Some(false) {
            self.phase = Phase::Closed;
        }
    }

    fn take_plain(&mut self, manner: &Manner, tally: &mut Tally, count: u64) {
        let (mut cursor, mut taken) = (self.cursor, 0);
        if tally.bytes_max == usize::MAX {
            // They need not be looked at.
            let there = cursor.next.map_or(0, |from| self.stream.entries().count(from, StreamId::MAX));
            self.count = there.min(manner.count_max).min(tally.entries_left);
            tally.entries += self.count;
            tally.entries_left -= self.count;
            self.phase = Phase::Closed;
        } else if self.visit(&mut cursor, manner, count, |item| {
            if self.count + taken >= manner.count_max || !tally.has_room() {
                return false;
            }
            tally.count(manner.protocol, |reply| self.encode(manner, false, &item, reply));
            taken += 1;
            true
        }) {
            self.phase = Phase::Closed;
        }
        self.cursor = cursor;
        self.count += taken;
        self.is_served = self.count > 0;
    }

    /// Puts the copy in place, and tells.
    fn commit(&mut self, execution: &mut Execution<'_>, group: &[u8], consumer: &[u8]) {
        let Some(mut changed) = self.changed.take() else { return };
        if !self.key.enter(execution) {
            return;
        }
        let is_new_consumer = self.consumer.is_some_and(|(_, is_new)| is_new);
        if let (Some((consumer, _)), true) = (self.consumer, self.was_given_any) {
            changed.change_group(group, |_, group| group.note_active(consumer, Some(execution.now)));
        }
        let Some(position) = changed.group(group).map(|group| (group.last_id(), group.entries_read())) else { return };
        let name = self.key.name();
        let key = execution.keyspace.key(name);
        let (database, now) = (execution.database, execution.now);
        let Ok(Some(mut entry)) = execution.keyspace.edit(database, &key, Type::Stream, now) else { return };
        entry.change_object(|object| *object = Object::Stream(Box::new(changed)));
        let changes = u64::from(self.is_served) + u64::from(is_new_consumer);
        if changes > 0 {
            entry.changed(changes);
        }
        if is_new_consumer {
            execution.event(EventClass::Stream, "xgroup-createconsumer", name);
            execution.effect(&[b"XGROUP", b"CREATECONSUMER", name, group, consumer]);
        }
        effect_of_release(execution, name, group, &self.released);
        std::mem::take(&mut self.effects).report(execution, position.0);
        if self.has_moved {
            effect_of_position(execution, name, group, position.0, position.1);
        }
    }
}

/// How an entry is noted that was handed to a consumer.
fn noted(consumer: ConsumerNumber, manner: &Manner, deliveries: u64) -> Pending {
    Pending { consumer: Some(consumer), delivered_at: manner.now, deliveries }
}

enum Stage {
    /// Of the stream of a number.
    Taking(usize),
    /// Of the stream of a number: so many entries of it have been listed, up to there.
    Listing(usize, u64, Cursor),
}

/// A read of much.
pub(super) struct LongRead {
    manner: Manner,
    tally: Tally,
    sources: Vec<Source>,
    stage: Stage,
}

impl LongRead {
    /// What is needed of the options; streams are added with [`LongRead::add`].
    pub(super) fn new(options: &Options<'_>, execution: &Execution<'_>) -> Self {
        let reader = options.reader.map(|reader| (reader.group.to_vec(), reader.consumer.to_vec()));
        let manner = Manner {
            reader,
            count_max: options.count_max.unwrap_or(u64::MAX),
            claim_idle_ms: options.claim_idle_ms,
            is_acknowledged: options.is_acknowledged,
            block_ms: options.block_ms,
            now: execution.now,
            protocol: execution.reply.protocol(),
        };
        let tally = Tally {
            entries: 0,
            entries_left: options.total_max.unwrap_or(u64::MAX),
            bytes: 0,
            body_bytes: 0,
            bytes_max: options.reply_bytes_max.unwrap_or(usize::MAX),
            scratch: ReplyBuffer::default(),
        };
        Self { manner, tally, sources: Vec::new(), stage: Stage::Taking(0) }
    }

    /// One more stream.
    pub(super) fn add(&mut self, execution: &Execution<'_>, key: &[u8], stream: &Stream, from: From) {
        let wanted = execution.keyspace.journal.wants_effects();
        let effects = match &self.manner.reader {
            Some((group, consumer)) => PendingEffects::new(wanted, key, group, consumer),
            None => PendingEffects::default(),
        };
        self.sources.push(Source::new(Locked::new(execution, key), stream, from, effects));
    }

    /// All has been taken: what groups keep is put in place.
    fn commit(&mut self, execution: &mut Execution<'_>) -> Step {
        if let Some((group, consumer)) = &self.manner.reader {
            self.sources.iter_mut().for_each(|source| source.commit(execution, group, consumer));
        }
        self.sources.retain(|source| source.is_served);
        let Some(first) = self.sources.first() else {
            nothing_to_read(execution, self.manner.block_ms);
            return Step::Done;
        };
        match self.manner.protocol {
            Protocol::Resp2 => execution.reply.array(self.sources.len()),
            Protocol::Resp3 => execution.reply.map(self.sources.len()),
        }
        first.head(&mut execution.reply);
        self.stage = Stage::Listing(0, 0, self.start_of(0));
        Step::More
    }

    /// Where the listing of a stream begins.
    fn start_of(&self, number: usize) -> Cursor {
        let source = &self.sources[number];
        let next = match source.from {
            From::Behind(id) | From::History(id) => id.next(),
            From::Last => source.stream.log().last_present_id(),
            From::New => source.group(&self.manner).and_then(|group| group.last_id().next()),
        };
        Cursor { claimed: 0, next }
    }

    /// Lists about so many entries; the stage then, none at the end.
    fn list(
        &self,
        (number, listed, mut cursor): (usize, u64, Cursor),
        budget: u64,
        reply: &mut Reply<'_>,
    ) -> Option<Stage> {
        /// Entries between two looks at how much has been encoded.
        const RUN: u64 = 32;
        let (source, before) = (&self.sources[number], reply.buffer().len());
        let (mut listed, until) = (listed, source.count.min(listed.saturating_add(budget)));
        while listed < until && reply.buffer().len() - before < STEP_BYTES_MAX {
            if let Some(id) = source.claimed.get(cursor.claimed) {
                cursor.claimed += 1;
                let pending = source.group(&self.manner).and_then(|group| group.pending(id));
                let item = Item { id, entry: source.stream.entries().get(id), pending };
                source.encode(&self.manner, true, &item, reply);
                listed += 1;
                continue;
            }
            let run = RUN.min(until - listed);
            source.visit(&mut cursor, &self.manner, run, |item| {
                source.encode(&self.manner, false, &item, reply);
                true
            });
            listed += run;
        }
        if listed < source.count {
            return Some(Stage::Listing(number, listed, cursor));
        }
        let next = self.sources.get(number + 1)?;
        next.head(reply);
        Some(Stage::Listing(number + 1, 0, self.start_of(number + 1)))
    }
}

impl LongWork for LongRead {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.stage {
            Stage::Taking(number) => match self.sources.get_mut(number) {
                None => return self.commit(execution),
                Some(source) => {
                    source.take(&self.manner, &mut self.tally, budget);
                    if source.phase == Phase::Closed {
                        self.stage = Stage::Taking(number + 1);
                    }
                }
            },
            Stage::Listing(number, listed, cursor) => {
                match self.list((number, listed, cursor), budget, &mut execution.reply) {
                    Some(stage) => self.stage = stage,
                    None => return Step::Done,
                }
            }
        }
        Step::More
    }

    fn only_reads(&self) -> bool {
        matches!(self.stage, Stage::Listing(..))
    }
}
