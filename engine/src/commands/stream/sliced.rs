//! What grows with a stream beside its reads, in slices: XAUTOCLAIM, XPENDING, XGROUP DELCONSUMER, XINFO STREAM FULL, and
//! trimming with regard to what groups refer to.
//!
//! What changes is changed in a copy of the stream, which takes its place in the end: the key is locked until then. What is
//! told is told from the stream as it was.

use super::add::Added;
use super::claim::{Claim, Query, Taking};
use super::{info, reply_entry, reply_id, report_trimmed};
use crate::command::{Execution, Milliseconds};
use crate::journal::EventClass;
use crate::keyspace::EntryMut;
use crate::long::{Locked, LongWork, STEP_BYTES_MAX, Step};
use crate::reply::Reply;
use crate::values::stream::{ConsumerNumber, Group, Stream, StreamId, Trimming};
use crate::values::{Collection, Object, Type};
use std::sync::Arc;

/// What changing a group's references to an entry costs, in units of listing one.
pub(super) const REFERENCE_UNITS: u64 = 8;

/// Entries, or IDs, between two looks at how much has been encoded.
const RUN: u64 = 32;

/// Puts a changed copy in place of a stream; false if that went meanwhile.
fn put(execution: &mut Execution<'_>, key: &Locked, changed: Stream, note: impl FnOnce(&mut EntryMut<'_>)) -> bool {
    if !key.enter(execution) {
        return false;
    }
    let hashed = execution.keyspace.key(key.name());
    let (database, now) = (execution.database, execution.now);
    let Ok(Some(mut entry)) = execution.keyspace.edit(database, &hashed, Type::Stream, now) else { return false };
    entry.change_object(|object| *object = Object::Stream(Box::new(changed)));
    note(&mut entry);
    true
}

/// XAUTOCLAIM.
pub(super) struct LongClaim {
    key: Locked,
    group: Vec<u8>,
    claim: Claim,
    stream: Stream,
    /// Nothing any more once it is in place.
    changed: Option<Stream>,
    taking: Taking,
    /// How many IDs have been listed: of those that were claimed, then of those that were released.
    listed: usize,
}

impl LongClaim {
    pub(super) fn new(key: Locked, stream: &Stream, group: &[u8], claim: Claim, taking: Taking) -> Self {
        let changed = Some(stream.clone());
        Self { key, group: group.to_vec(), claim, stream: stream.clone(), changed, taking, listed: 0 }
    }

    fn commit(&mut self, execution: &mut Execution<'_>, changed: Stream) {
        let position = changed.group(&self.group).map(|group| (group.last_id(), group.entries_read()));
        let reply = &mut execution.reply;
        reply.array(3);
        reply_id(reply, self.taking.cursor);
        reply.array(self.taking.changes.claimed.len());
        if let Some(position) = position
            && put(execution, &self.key, changed, |_| ())
        {
            self.taking.report(execution, self.key.name(), &self.group, position);
        }
    }

    fn list(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let (reply, changes) = (&mut execution.reply, &self.taking.changes);
        let (claimed, released) = (&changes.claimed, &changes.released);
        let before = reply.buffer().len();
        for _ in 0..budget {
            if self.listed == claimed.len() {
                reply.array(released.len());
            }
            match (claimed.get(self.listed), released.get(self.listed.saturating_sub(claimed.len()))) {
                (Some((id, _)), _) => match self.stream.entries().get(id).filter(|_| !self.claim.only_ids) {
                    Some(entry) => reply_entry(reply, &entry),
                    None => reply_id(reply, id),
                },
                (None, Some(id)) => reply_id(reply, id),
                (None, None) => return Step::Done,
            }
            self.listed += 1;
            if reply.buffer().len() - before > STEP_BYTES_MAX {
                break;
            }
        }
        Step::More
    }
}

impl LongWork for LongClaim {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(mut changed) = self.changed.take() else { return self.list(execution, budget) };
        let (taking, claim) = (&mut self.taking, &self.claim);
        let is_over = changed
            .change_group(&self.group, |log, group| taking.take(log, group, claim, None, budget / REFERENCE_UNITS + 1));
        if is_over == Some(false) {
            self.changed = Some(changed);
        } else {
            self.commit(execution, changed);
        }
        Step::More
    }

    fn only_reads(&self) -> bool {
        self.changed.is_none()
    }
}

/// XPENDING with a range.
pub(super) struct LongQuery {
    stream: Stream,
    group: Vec<u8>,
    query: Query,
    number: Option<ConsumerNumber>,
    now: Milliseconds,
    /// Where it goes on; none at the end.
    next: Option<StreamId>,
    count: u64,
    is_listing: bool,
}

impl LongQuery {
    pub(super) fn new(
        stream: &Stream,
        group: &[u8],
        query: Query,
        number: Option<ConsumerNumber>,
        now: Milliseconds,
    ) -> Self {
        let next = Some(query.from);
        Self { stream: stream.clone(), group: group.to_vec(), query, number, now, next, count: 0, is_listing: false }
    }
}

impl LongWork for LongQuery {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let reply = &mut execution.reply;
        let Some(group) = self.stream.group(&self.group) else { return Step::Done };
        let (before, mut left) = (reply.buffer().len(), budget);
        let mut is_over = self.next.is_none();
        if let Some(from) = self.next {
            let wanted = if self.is_listing { self.count } else { self.query.count - self.count };
            let mut found = 0;
            let mut entries = self.query.entries(group, self.number, from);
            loop {
                if left == 0 || reply.buffer().len() - before > STEP_BYTES_MAX {
                    break;
                }
                left -= 1;
                let next = if found < wanted { entries.next() } else { None };
                let Some((id, pending)) = next else {
                    is_over = true;
                    break;
                };
                self.next = id.next();
                if self.query.is_idle(&pending, self.now) {
                    found += 1;
                    if self.is_listing {
                        Query::reply_one(group, (id, pending), self.now, reply);
                    }
                }
                if self.next.is_none() {
                    is_over = true;
                    break;
                }
            }
            self.count = if self.is_listing { self.count - found } else { self.count + found };
        }
        match (is_over, self.is_listing) {
            (false, _) => Step::More,
            (true, true) => Step::Done,
            (true, false) => {
                reply.array(self.count as usize);
                (self.next, self.is_listing) = (Some(self.query.from), true);
                Step::More
            }
        }
    }

    fn only_reads(&self) -> bool {
        true
    }
}

/// XGROUP DELCONSUMER.
pub(super) struct LongRemoval {
    key: Locked,
    group: Vec<u8>,
    consumer: Vec<u8>,
    changed: Option<Stream>,
    pending: u64,
}

impl LongRemoval {
    pub(super) fn new(key: Locked, stream: &Stream, group: &[u8], consumer: &[u8], pending: u64) -> Self {
        let changed = Some(stream.clone());
        Self { key, group: group.to_vec(), consumer: consumer.to_vec(), changed, pending }
    }
}

impl LongWork for LongRemoval {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(mut changed) = self.changed.take() else { return Step::Done };
        let count = (budget / REFERENCE_UNITS + 1) as usize;
        let is_left = changed.change_group(&self.group, |_, group| {
            let number = group.find_consumer(&self.consumer)?;
            let held = group.held_from(number, StreamId::MIN).take(count).map(|(id, _)| id);
            let ids: Vec<StreamId> = held.collect();
            for id in &ids {
                group.release(*id);
            }
            Some(ids.len() == count)
        });
        if is_left.flatten() == Some(true) {
            self.changed = Some(changed);
            return Step::More;
        }
        changed.change_group(&self.group, |_, group| group.remove_consumer(&self.consumer));
        execution.reply.integer(self.pending as i64);
        if put(execution, &self.key, changed, |entry| entry.changed(1)) {
            execution.effect(&[b"XGROUP", b"DELCONSUMER", self.key.name(), &self.group, &self.consumer]);
            execution.event(EventClass::Stream, "xgroup-delconsumer", self.key.name());
        }
        Step::Done
    }
}

/// XTRIM, and XADD with an entry that was added to the copy.
pub(super) struct LongTrim {
    key: Locked,
    changed: Option<Stream>,
    trimming: Trimming,
    added: Option<Added>,
}

impl LongTrim {
    pub(super) fn new(key: Locked, changed: Stream, trimming: Trimming, added: Option<Added>) -> Self {
        Self { key, changed: Some(changed), trimming, added }
    }
}

impl LongWork for LongTrim {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(mut changed) = self.changed.take() else { return Step::Done };
        if !self.trimming.step(&mut changed, budget) {
            self.changed = Some(changed);
            return Step::More;
        }
        let trimmed = self.trimming.take_result();
        let length = changed.entries().len();
        match self.added.take() {
            Some(added) => {
                reply_id(&mut execution.reply, added.id);
                if put(execution, &self.key, changed, |entry| entry.changed(1)) {
                    added.report(execution, self.key.name(), &trimmed);
                }
            }
            None => {
                execution.reply.integer(trimmed.count as i64);
                if trimmed.count > 0 && put(execution, &self.key, changed, |entry| entry.changed(trimmed.count)) {
                    report_trimmed(execution, self.key.name(), &trimmed, length);
                }
            }
        }
        Step::Done
    }
}

/// Where XINFO STREAM FULL stands, behind what has been told.
enum Place {
    /// In the entries: the ID that comes next.
    Entries(Option<StreamId>),
    Groups,
    /// In the pending entries of the group.
    Pending(Option<StreamId>),
    Consumers,
    /// In the pending entries of a consumer.
    Held(ConsumerNumber, Option<StreamId>),
}

/// XINFO STREAM FULL.
pub(super) struct LongInfo {
    stream: Stream,
    count_max: u64,
    place: Place,
    /// How many are left to be told where it stands.
    left: u64,
    /// Groups, and consumers of the first of them, that are left; the last first.
    groups: Vec<Arc<[u8]>>,
    consumers: Vec<ConsumerNumber>,
}

impl LongInfo {
    /// What follows the head.
    pub(super) fn new(stream: &Stream, count_max: u64) -> Self {
        let mut groups: Vec<Arc<[u8]>> = stream.groups().map(|(name, _)| name.into()).collect();
        groups.reverse();
        let left = stream.entries().len().min(count_max);
        let place = Place::Entries(Some(StreamId::MIN));
        Self { stream: stream.clone(), count_max, place, left, groups, consumers: Vec::new() }
    }

    /// About how much there is to be told.
    pub(super) fn units(&self) -> u64 {
        let told = |there: u64| there.min(self.count_max);
        let of_group = |group: &Group| {
            let held = told(group.pending_count()).saturating_mul(group.consumer_count() as u64);
            told(group.pending_count()) + held.min(group.pending_count()) + group.consumer_count() as u64
        };
        self.left + self.stream.groups().map(|(_, group)| 1 + of_group(group)).sum::<u64>()
    }

    fn group(&self) -> Option<(&[u8], &Group)> {
        let name = self.groups.last()?;
        Some((name, self.stream.group(name)?))
    }

    /// Tells the next ones where it stands; none if nothing is left there.
    fn tell_run(&mut self, reply: &mut Reply<'_>) -> Option<()> {
        let run = Some(self.left.min(RUN)).filter(|run| *run > 0)?;
        let count = run as usize;
        let mut next = None;
        let mut told = |id: StreamId| next = id.next();
        match self.place {
            Place::Entries(from) => {
                for entry in self.stream.entries().range(from?, StreamId::MAX).take(count) {
                    reply_entry(reply, &entry);
                    told(entry.id);
                }
                self.place = Place::Entries(next);
            }
            Place::Pending(from) => {
                let (_, group) = self.group()?;
                for (id, pending) in group.pending_from(from?).take(count) {
                    info::pending(reply, group, id, pending);
                    told(id);
                }
                self.place = Place::Pending(next);
            }
            Place::Held(number, from) => {
                for (id, pending) in self.group()?.1.held_from(number, from?).take(count) {
                    info::held(reply, id, pending);
                    told(id);
                }
                self.place = Place::Held(number, next);
            }
            Place::Groups | Place::Consumers => return None,
        }
        self.left -= run;
        Some(())
    }

    /// Tells what stands between them, and goes on; none at the end.
    fn tell_head(&mut self, reply: &mut Reply<'_>) -> Option<()> {
        match self.place {
            Place::Entries(_) => {
                reply.bulk(b"groups");
                reply.array(self.groups.len());
                self.place = Place::Groups;
            }
            Place::Groups => {
                let (name, group) = self.group()?;
                info::group_head(reply, name, self.stream.log(), group, self.count_max);
                let left = group.pending_count().min(self.count_max);
                let mut consumers: Vec<ConsumerNumber> = group.consumers().map(|(number, _)| number).collect();
                consumers.reverse();
                (self.left, self.consumers) = (left, consumers);
                self.place = Place::Pending(Some(StreamId::MIN));
            }
            Place::Pending(_) => {
                reply.bulk(b"consumers");
                reply.array(self.consumers.len());
                self.place = Place::Consumers;
            }
            Place::Consumers => match self.consumers.pop() {
                None => {
                    self.groups.pop();
                    self.place = Place::Groups;
                }
                Some(number) => {
                    let consumer = self.group()?.1.consumer(number)?;
                    info::consumer_head(reply, consumer, self.count_max);
                    self.left = consumer.held_count().min(self.count_max);
                    self.place = Place::Held(number, Some(StreamId::MIN));
                }
            },
            Place::Held(..) => self.place = Place::Consumers,
        }
        Some(())
    }
}

impl LongWork for LongInfo {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let before = execution.reply.buffer().len();
        let mut left = budget.div_ceil(RUN);
        while left > 0 && execution.reply.buffer().len() - before < STEP_BYTES_MAX {
            left -= 1;
            let reply = &mut execution.reply;
            if self.tell_run(reply).is_none() && self.tell_head(reply).is_none() {
                return Step::Done;
            }
        }
        Step::More
    }
}
