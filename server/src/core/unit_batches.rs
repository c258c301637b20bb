//! Transactions whose commands each belong to one shard: nothing is asked before they run, so they travel in company.
//!
//! ```text
//!   EXEC ──> open batches of this turn ──> one multicast ──> each shard runs its part of one after the other, in one order
//!     what each command belongs to │                               │ a key is held: that one waits in line, and comes later
//!                                  └──> Group: who is owed what <──┴── the batch with all replies, LateUnit for each of those
//! ```
//!
//! * A batch is one run of steps, one of arguments, one of replies: an EXEC costs no allocation and no message of its own.
//! * It is pushed in front of whatever else leaves the shard, so a connection's later commands come behind it; its earlier
//!   ones are pushed when it joins.
//! * All units of a multicast meet in one order wherever they meet, also those that must wait: they stand in line by then.
//! * What is watched, asks, or needs values of another shard is a unit of its own (`core::unit`); so is one that writes on
//!   several shards where somebody listens to effects.

use super::connection::Connection;
use super::multi::{Queue, Queued};
use super::observe::{Seen, reply_bytes};
use super::tracking::Address;
use super::{Core, Waiting};
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::mailbox::{
    Arguments, BatchedStep, BatchedUnit, Envelope, LateUnit, Message, PackedArguments, ReplyEnd, Request, UnitBatch,
};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::ops::Range;
use torc_engine::command::{Milliseconds, Spread};
use torc_engine::journal::Share;
use torc_engine::keyspace::{Key, slot_of};
use torc_engine::reply::{Reply, ReplyBuffer};
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::transaction::schedule::{Claim, Entry, Intent, Mode, Ticket};

/// The shard of each command of a transaction.
pub(super) type Owners = SmallVec<[u8; 16]>;

/// Batches this full are pushed before the turn ends.
const ARGUMENT_BYTES_MAX: usize = 64 * 1024;
const UNITS_MAX: usize = 1024;
/// Steps whose pages are fetched ahead.
const WARMED_STEPS: usize = 16;

/// A transaction that is owed a reply.
struct OwedUnit {
    request: Request,
    /// Where its commands end among those of the group.
    commands_end: usize,
    /// Shards that have not answered.
    remaining: usize,
    /// What it took on the others, added.
    took_ns: u64,
}

/// What is sent in one multicast, until all of it has been answered.
#[derive(Default)]
struct Group {
    units: Vec<OwedUnit>,
    /// The shard of each command of each unit.
    owners: Vec<u8>,
    /// By shard: the batch to it, then none, then the same batch with its replies.
    parts: Vec<Option<Envelope>>,
    late: Vec<LateUnit>,
    argument_bytes: usize,
    /// Units that have not been answered.
    unanswered: usize,
}

/// The transactions of this shard's connections that travel in company.
#[derive(Default)]
pub(super) struct UnitBatches {
    open: Option<Group>,
    sent: HashMap<u64, Group>,
    /// Groups and batches for reuse.
    spare_group: Option<Group>,
    spare_batches: Vec<Envelope>,
}

impl UnitBatches {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.sent.is_empty()
    }
}

/// On the coordinator.
impl Core {
    /// The shard of each command, if each belongs to one and the transaction may travel in company.
    pub(super) fn owners_of(&self, queue: &Queue) -> Option<Owners> {
        let mut owners = Owners::new();
        let mut has_several = false;
        for Queued { entry, key, offset } in &queue.commands {
            let owner = self.owner_of_step(entry, key.get(), || queue.arguments.slices_at(*offset))?;
            has_several |= owners.last().is_some_and(|last| *last as usize != owner);
            owners.push(owner as u8);
        }
        let is_told_as_one = has_several && queue.is_write && self.shard.keyspace.journal.wants_effects();
        (!owners.is_empty() && !is_told_as_one).then_some(owners)
    }

    #[inline]
    fn owner_of_step<'a>(
        &self,
        entry: &CommandEntry,
        key: Option<(u16, u64)>,
        arguments: impl FnOnce() -> Arguments<'a>,
    ) -> Option<usize> {
        // A script may touch any key of its shard.
        if matches!(entry.target, Target::Session(_)) || entry.is_script {
            return None;
        }
        if let Some((slot, _)) = key {
            return Some(self.shared.shard_of(slot));
        }
        let arguments = arguments();
        match entry.keys {
            KeyPlan::One(index) => Some(self.shared.shard_of(slot_of(arguments[index]))),
            // It may read any key, of an only shard, too.
            KeyPlan::Many if entry.discovery(&arguments).is_some() => None,
            KeyPlan::Many => self.owner_of_keys(entry, &arguments),
            KeyPlan::None => {
                let is_anywhere = entry.spec.spread.is_on_all_shards() || entry.spec.spread == Spread::Walk;
                (!is_anywhere).then_some(self.index)
            }
        }
    }

    /// A transaction joins those that are about to leave.
    pub(super) fn join_batches(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        queue: &Queue,
        owners: &Owners,
    ) {
        if connection.open_batches_turn == self.counters.turns && connection.open_batches != 0 {
            // What this connection sent before comes before.
            self.flush_batches_to(std::mem::take(&mut connection.open_batches));
        }
        let mut group = self.unit_batches.open.take().unwrap_or_else(|| self.new_group());
        let is_here = owners.iter().any(|owner| *owner as usize == self.index);
        let request = Self::expect_reply(connection, entry, is_here);
        self.observer.runs_here = None;
        let number = group.units.len() as u32;
        let mut remaining = 0;
        let offsets = queue.commands.iter().map(|queued| queued.offset);
        let ends = offsets.skip(1).chain([queue.arguments.len()]);
        for ((Queued { entry, key, offset }, end), owner) in queue.commands.iter().zip(ends).zip(owners) {
            self.count_in_unit(Some(connection), entry);
            let owner = *owner as usize;
            let envelope = group.parts[owner].get_or_insert_with(|| self.new_unit_batch(owner));
            let Message::Units(batch) = &mut envelope.message else { continue };
            if batch.units.last().is_none_or(|last| last.number != number) {
                let (connection, client, first_step) = (request.connection, request.client, batch.steps.len());
                let (is_told_as_one, is_late, took_ns) = (false, false, 0);
                let unit = BatchedUnit { number, connection, client, first_step, is_told_as_one, is_late, took_ns };
                batch.units.push(unit);
                remaining += 1;
            }
            batch.steps.push(BatchedStep { entry, key: *key });
            batch.arguments.add_packed(&queue.arguments, *offset..end);
        }
        if let (1, Some(envelope)) = (remaining, &mut group.parts[owners[0] as usize])
            && let Message::Units(batch) = &mut envelope.message
            && let Some(unit) = batch.units.last_mut()
        {
            unit.is_told_as_one = queue.is_write;
        }
        group.owners.extend_from_slice(owners);
        group.units.push(OwedUnit { request, commands_end: group.owners.len(), remaining, took_ns: 0 });
        group.argument_bytes += queue.arguments.len();
        let is_full = group.argument_bytes > ARGUMENT_BYTES_MAX || group.units.len() >= UNITS_MAX;
        self.unit_batches.open = Some(group);
        if is_full {
            self.push_unit_batches();
        }
    }

    fn new_group(&mut self) -> Group {
        let mut group = self.unit_batches.spare_group.take().unwrap_or_default();
        group.parts.resize_with(self.shared.shards(), || None);
        group
    }

    /// An empty batch to a shard, in a node that has come home if there is one.
    fn new_unit_batch(&mut self, owner: usize) -> Envelope {
        let mut envelope =
            self.unit_batches.spare_batches.pop().unwrap_or_else(|| Node::new(Message::Units(Box::default())));
        if let Message::Units(batch) = &mut envelope.message {
            (batch.coordinator, batch.owner) = (self.index, owner);
        }
        envelope
    }

    /// Sends what has gathered; whether any of it was for ourselves.
    #[inline]
    pub(super) fn push_unit_batches(&mut self) -> bool {
        self.unit_batches.open.take().is_some_and(|group| self.send_group(group))
    }

    fn send_group(&mut self, mut group: Group) -> bool {
        self.tell_before_leaving();
        let (id, header) = (self.coordinator.take_ids(group.units.len() as u64), Multicast::new());
        let mut involved: SmallVec<[usize; 8]> = SmallVec::new();
        let mut parts: SmallVec<[(usize, Envelope); 8]> = SmallVec::new();
        for (shard, part) in group.parts.iter_mut().enumerate() {
            let Some(mut envelope) = part.take() else { continue };
            if let Message::Units(batch) = &mut envelope.message {
                (batch.group, batch.header) = (id, header.clone());
            }
            involved.push(shard);
            parts.push((shard, envelope));
        }
        group.unanswered = group.units.len();
        self.unit_batches.sent.insert(id, group);
        self.push_multicast(&header, parts, &involved);
        involved.contains(&self.index)
    }

    /// A shard's part of a group comes home.
    pub(super) fn units_done(&mut self, envelope: Envelope) {
        let Message::UnitsDone(batch) = &envelope.message else { return };
        let (id, owner) = (batch.group, batch.owner);
        let Some(mut group) = self.unit_batches.sent.remove(&id) else { return };
        group.parts[owner] = Some(envelope);
        let mut next = 0;
        while let Some(Message::UnitsDone(batch)) = group.parts[owner].as_ref().map(|part| &part.message)
            && let Some(BatchedUnit { number, is_late, took_ns, .. }) = batch.units.get(next)
        {
            let (number, took_ns) = (*number as usize, *took_ns);
            if !is_late {
                self.unit_answered(&mut group, number, took_ns);
            }
            next += 1;
        }
        self.keep_group(id, group);
    }

    /// The same of a unit that had to wait there.
    pub(super) fn late_unit_done(&mut self, late: LateUnit) {
        let (id, number, took_ns) = (late.group, late.unit.number as usize, late.unit.took_ns);
        let Some(mut group) = self.unit_batches.sent.remove(&id) else { return };
        group.late.push(late);
        self.unit_answered(&mut group, number, took_ns);
        self.keep_group(id, group);
    }

    fn keep_group(&mut self, id: u64, mut group: Group) {
        if group.unanswered > 0 {
            self.unit_batches.sent.insert(id, group);
            return;
        }
        for mut envelope in group.parts.drain(..).flatten() {
            const SPARE_BATCHES_MAX: usize = 16;
            let message = std::mem::replace(&mut envelope.message, Message::Evict);
            if let Message::UnitsDone(mut batch) = message
                && self.unit_batches.spare_batches.len() < SPARE_BATCHES_MAX
            {
                batch.reset();
                envelope.message = Message::Units(batch);
                self.unit_batches.spare_batches.push(envelope);
            }
        }
        group.reset();
        self.unit_batches.spare_group = Some(group);
    }

    /// One shard has answered a unit: with all answers there its client gets the reply.
    fn unit_answered(&mut self, group: &mut Group, number: usize, took_ns: u64) {
        let unit = &mut group.units[number];
        unit.took_ns += took_ns;
        unit.remaining -= 1;
        if unit.remaining > 0 {
            return;
        }
        let (request, took_ns) = (unit.request, unit.took_ns);
        group.unanswered -= 1;
        self.observe_late(&request, Seen { took_ns, reply_bytes: 0 }, None);
        let commands = number.checked_sub(1).map_or(0, |before| group.units[before].commands_end);
        let owners = &group.owners[commands..group.units[number].commands_end];
        let mut sources: SmallVec<[Option<Source<'_>>; 8]> = SmallVec::new();
        sources.resize_with(self.shared.shards(), || None);
        self.deliver(request, |out| {
            Reply::new(out, request.client.protocol).array(owners.len());
            for &owner in owners {
                let source = sources[owner as usize].get_or_insert_with(|| group.source(owner as usize, number));
                source.next(out);
            }
        });
    }
}

impl Group {
    /// Where the replies of a unit's commands on a shard are.
    fn source(&self, owner: usize, number: usize) -> Source<'_> {
        let late = self.late.iter().find(|late| late.unit.number as usize == number && late.owner == owner);
        if let Some(late) = late {
            return Source { replies: &late.replies, ends: &late.reply_ends, from: (0, 0) };
        }
        let Some(Message::UnitsDone(batch)) = self.parts[owner].as_ref().map(|part| &part.message) else {
            unreachable!("a unit is answered when all its shards have");
        };
        let place = batch.units.binary_search_by_key(&number, |unit| unit.number as usize);
        let first = place.map_or(0, |place| batch.units[place].first_step);
        let from = first.checked_sub(1).and_then(|before| batch.reply_ends[before].get());
        Source { replies: &batch.replies, ends: &batch.reply_ends[first..], from: from.unwrap_or_default() }
    }

    /// Makes it usable again, without the memory of an unusually large one.
    fn reset(&mut self) {
        self.units.clear();
        self.owners.clear();
        self.late.clear();
        self.units.shrink_to(UNITS_MAX);
        self.owners.shrink_to(8 * UNITS_MAX);
        self.argument_bytes = 0;
    }
}

/// Replies of one unit on one shard, one after the other.
struct Source<'a> {
    replies: &'a ReplyBuffer,
    ends: &'a [ReplyEnd],
    from: (usize, usize),
}

impl Source<'_> {
    fn next(&mut self, out: &mut ReplyBuffer) {
        let Some((end, rest)) = self.ends.split_first() else { return };
        let to = end.get().unwrap_or(self.from);
        out.append_part(self.replies, self.from..to);
        (self.ends, self.from) = (rest, to);
    }
}

/// On the shards.
impl Core {
    /// Transactions of another shard's connections, or of our own, as far as they concern this one.
    pub(super) fn run_unit_batch(&mut self, mut envelope: Envelope) {
        let Message::Units(batch) = &mut envelope.message else { return };
        let packed = std::mem::take(&mut batch.arguments);
        let mut arguments = packed.commands();
        self.learn_time();
        let is_flagged = !self.rules().flag || batch.header.is_enqueued();
        let now = if is_flagged { self.part_time(&batch.header) } else { 0 };
        // Whether there is any was decided for all parts together, where they come from.
        self.has_room();
        let mut warmed = 0;
        for index in 0..batch.units.len() {
            let steps = batch.steps_of(index);
            if steps.start >= warmed {
                warmed = steps.start + self.warm_steps(&batch.steps[steps.start..], &batch.units[index]);
            }
            if !is_flagged || !self.schedule.is_idle() {
                let commands: SmallVec<[_; 8]> = arguments.by_ref().take(steps.len()).collect();
                let claim = self.claim_of_steps(&batch.steps[steps.clone()], &commands);
                if !is_flagged || !self.schedule.may_run(&claim) {
                    let late = batch.defer(index, &commands);
                    self.defer_unit(claim, late);
                } else {
                    self.run_unit_of(batch, index, now, commands.into_iter());
                }
                continue;
            }
            self.run_unit_of(batch, index, now, arguments.by_ref());
        }
        batch.arguments = packed;
        let coordinator = batch.coordinator;
        if let Message::Units(batch) = std::mem::replace(&mut envelope.message, Message::Evict) {
            envelope.message = Message::UnitsDone(batch);
        }
        if coordinator == self.index { self.units_done(envelope) } else { self.send_home(coordinator, envelope) }
    }

    fn run_unit_of<'a>(
        &mut self,
        batch: &mut UnitBatch,
        index: usize,
        now: Milliseconds,
        arguments: impl Iterator<Item = Arguments<'a>>,
    ) {
        let steps = batch.steps_of(index);
        let UnitBatch { units, steps: all, replies, reply_ends, coordinator, group, .. } = batch;
        let unit = (&mut units[index], &all[steps]);
        self.run_unit_steps(unit, arguments, (*coordinator, *group), now, (replies, reply_ends));
        self.serve_ready();
    }

    /// Runs what a unit does here; it is told as one.
    fn run_unit_steps<'a>(
        &mut self,
        (unit, steps): (&mut BatchedUnit, &[BatchedStep]),
        arguments: impl Iterator<Item = Arguments<'a>>,
        (coordinator, group): (usize, u64),
        now: Milliseconds,
        (replies, reply_ends): (&mut ReplyBuffer, &mut Vec<ReplyEnd>),
    ) {
        let by = Address { shard: coordinator as u32, connection: unit.connection };
        let history = self.shard.keyspace.journal.len();
        let (mut stopwatch, looks_at_each) = (self.stopwatch(), self.observer.is_on);
        for (BatchedStep { entry, key }, arguments) in steps.iter().zip(arguments) {
            let from = (replies.bytes.len(), replies.shared.len());
            self.run_whole(entry, &arguments, *key, unit.client, now, replies);
            self.note_command(entry, &arguments, unit.client, by);
            let end = ReplyEnd::of(replies);
            reply_ends.push(end);
            if looks_at_each {
                let took_ns = stopwatch.split();
                unit.took_ns += took_ns;
                let reply_bytes = reply_bytes(replies, from, end.get().unwrap_or(from));
                self.observe(entry, Seen { took_ns, reply_bytes }, &arguments, by);
            }
        }
        let journal = &mut self.shard.keyspace.journal;
        if unit.is_told_as_one && journal.len() > history {
            let effects = journal.take_since(history);
            let unit = (coordinator, group + u64::from(unit.number));
            journal.add_share(Share { unit, shares: 1, effects, ..Share::default() });
        }
    }

    fn claim_of_steps(&self, steps: &[BatchedStep], arguments: &[Arguments<'_>]) -> Claim {
        let mut intents = SmallVec::new();
        for (BatchedStep { entry, key }, arguments) in steps.iter().zip(arguments) {
            match key.get() {
                Some((slot, hash)) => {
                    intents.push(Intent { fingerprint: hash, slot, mode: Mode::of(entry.is_write, entry.is_write) });
                }
                None => {
                    if let Claim::Keys(own) = self.claim_of(entry, arguments) {
                        intents.extend(own);
                    }
                }
            }
        }
        Claim::Keys(intents)
    }

    /// Something holds its keys, or its multicast is not through: it stands in line.
    fn defer_unit(&mut self, claim: Claim, late: Box<LateUnit>) {
        let header = late.header.clone();
        let flag = self.rules().flag.then_some(&header);
        match self.schedule.enter(claim, flag, false, Waiting::Unit(late)) {
            Entry::Queued(_) => {}
            Entry::Run(body, ticket) => self.run_waiting(body, ticket),
        }
    }

    /// Its turn has come.
    pub(super) fn run_late_unit(&mut self, mut late: Box<LateUnit>, ticket: Option<Ticket>) {
        let now = self.part_time(&late.header.clone());
        self.has_room();
        let LateUnit { coordinator, group, unit, steps, arguments, replies, reply_ends, .. } = &mut *late;
        let arguments = std::mem::take(arguments);
        self.run_unit_steps((unit, steps), arguments.commands(), (*coordinator, *group), now, (replies, reply_ends));
        self.release(ticket);
        self.serve_ready();
        if late.coordinator == self.index {
            self.late_unit_done(*late);
        } else {
            self.send_home(late.coordinator, Node::new(Message::UnitLate(late)));
        }
    }

    /// Brings the pages of the next steps into the caches; of how many.
    fn warm_steps(&self, steps: &[BatchedStep], unit: &BatchedUnit) -> usize {
        let steps = &steps[..steps.len().min(WARMED_STEPS)];
        let database = unit.client.database as usize;
        let keys = steps.iter().filter_map(|step| step.key.get().map(|(slot, hash)| (database, slot, hash)));
        for (database, slot, hash) in keys.clone() {
            self.shard.keyspace.prefetch(database, &Key { bytes: &[], slot, hash });
        }
        self.warm_keys(keys);
        steps.len()
    }
}

impl UnitBatch {
    /// The steps of a unit.
    fn steps_of(&self, index: usize) -> Range<usize> {
        let end = self.units.get(index + 1).map_or(self.steps.len(), |next| next.first_step);
        self.units[index].first_step..end
    }

    /// Takes a unit out, which will be answered alone; its replies here are empty.
    fn defer(&mut self, index: usize, commands: &[Arguments<'_>]) -> Box<LateUnit> {
        let steps = self.steps_of(index);
        let end = ReplyEnd::of(&self.replies);
        self.reply_ends.extend(steps.clone().map(|_| end));
        self.units[index].is_late = true;
        let mut arguments = PackedArguments::default();
        commands.iter().for_each(|command| arguments.add(command));
        Box::new(LateUnit {
            header: self.header.clone(),
            coordinator: self.coordinator,
            owner: self.owner,
            group: self.group,
            unit: self.units[index],
            steps: self.steps[steps].to_vec(),
            arguments,
            replies: ReplyBuffer::default(),
            reply_ends: Vec::new(),
        })
    }
}
