//! The drain: work for our keys, answers for our connections.

use super::memory::OUT_OF_MEMORY;
use super::observe::{Seen, reply_bytes};
use super::tracking::Address;
use super::{Arrival, Core, Waiting};
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::control;
use crate::mailbox::{
    Batch, Deferred, Envelope, Message, Outcome, PackedArguments, PackedCommands, Part, ReplyEnd, Request, Work,
};
use crate::tasks::Assignment;
use smallvec::SmallVec;
use torc_engine::command::{Foreseen, Milliseconds};
use torc_engine::keyspace::{Key, KeyHasher, OnExpired, slot_of};
use torc_engine::long::Unfinished;
use torc_engine::reply::{Reply, ReplyBuffer};
use torc_engine::shard::ClientContext;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::transaction::overlay;
use torc_engine::transaction::schedule::{Claim, Entry, Intent, Mode, Ticket};

/// Requests of a batch whose pages are fetched ahead.
const WARMED_REQUESTS: usize = 16;

/// The arguments of a batch once more, for what is to be fetched ahead; read only where somebody asks.
struct Ahead<'a> {
    arguments: PackedCommands<'a>,
    /// So many commands are not to be looked at.
    behind: usize,
}

impl Core {
    /// Takes everything that is in the inbox and acts on it in order, then on parts whose flag has been set.
    /// Whether there was anything.
    pub fn drain_inbox(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut any = false;
        for envelope in shared.mailboxes.drain(self.index) {
            self.message(envelope);
            self.run_ready();
            any = true;
        }
        self.learn_time();
        self.schedule.poll_flags();
        self.run_ready();
        any
    }

    /// The time of a multicast counts from the moment at which it is known here, also if it cannot run yet: what comes
    /// behind it does not run at an earlier one.
    #[inline]
    pub(super) fn learn_time(&mut self) {
        if let Some(time) = self.schedule.newly_flagged()
            && self.rules().clocks
        {
            self.shard.advance_time(time);
        }
    }

    fn message(&mut self, mut envelope: Envelope) {
        match &mut envelope.message {
            Message::Requests(_) => self.run_batch(envelope),
            Message::Replies(batch) => {
                self.deliver_batch(batch);
                self.keep_node(envelope);
            }
            Message::Part(_) => self.enter_part(envelope),
            Message::Units(_) => self.run_unit_batch(envelope),
            Message::UnitsDone(_) => self.units_done(envelope),
            Message::UnitLate(_) => {
                let Node { message, .. } = *envelope;
                if let Message::UnitLate(late) = message {
                    self.late_unit_done(*late);
                }
            }
            Message::Evict => self.pay_owed_memory(),
            Message::EvictClients => self.evict_owed_clients(),
            Message::Served { number, reply } => self.served(*number, std::mem::take(reply)),
            Message::Retry(waiter) => self.retry_or_pass(waiter),
            Message::Forget(waiter) => self.forget_waiter(waiter),
            Message::Rerun(_) => {
                let Node { message, .. } = *envelope;
                if let Message::Rerun(rerun) = message {
                    self.rerun_script(*rerun);
                }
            }
            Message::Recheck(waiter) => self.recheck(waiter),
            Message::Noted(noted) => self.log_note(noted.0, noted.1.clone()),
            Message::Unwatch(watcher) => self.shard.keyspace.unwatch(*watcher),
            Message::PartDone(part) => {
                let part = std::mem::replace(part, Part::nothing(self.index));
                self.part_done(part);
            }
            Message::Credit { run, is_wanted } => self.credit(*run, *is_wanted),
            Message::NoticesTold(notices) => self.notices_told(notices),
            Message::Notices(_) => {
                let Node { message, .. } = *envelope;
                if let Message::Notices(notices) = message {
                    self.take_notices(notices);
                }
            }
            Message::Piece(_) => {
                let Node { message, .. } = *envelope;
                if let Message::Piece(piece) = message {
                    self.piece(*piece);
                }
            }
            Message::Ask(_) | Message::Answer(_) => {
                let Node { message, .. } = *envelope;
                match message {
                    Message::Ask(ask) => self.asked(ask),
                    Message::Answer(ask) => self.answered(*ask),
                    _ => unreachable!("matched above"),
                }
            }
            Message::Assignment(_) => {
                let Node { message, .. } = *envelope;
                if let Message::Assignment(Assignment(act)) = message {
                    act(self);
                }
            }
            Message::Adopt(..) => {
                let Node { message, .. } = *envelope;
                if let Message::Adopt(socket, is_encrypted) = message {
                    self.arrivals.push(Arrival::New(socket, is_encrypted));
                }
            }
        }
    }

    /// Commands of another shard's connections (or of our own, sent through the inbox to keep their order).
    fn run_batch(&mut self, mut envelope: Envelope) {
        let Message::Requests(batch) = &mut envelope.message else { return };
        self.shard.advance_time(if self.rules().clocks { batch.now } else { self.clock.wall_ms });
        let (mut stopwatch, looks_at_each) = (self.stopwatch(), self.observer.is_on);
        let (mut last, mut from) = (None, (0, 0));
        let mut ahead = Ahead { arguments: batch.arguments.commands(), behind: 0 };
        for (index, (request, arguments)) in batch.requests.iter().zip(batch.arguments.commands()).enumerate() {
            if index % WARMED_REQUESTS == 0 {
                self.warm_requests(&batch.requests[index..], &mut ahead);
            }
            if let Some(last) = last.replace(request.entry.id)
                && last != request.entry.id
                && !looks_at_each
            {
                self.lap(&mut stopwatch, last);
            }
            let reply_end = self.run_request(batch.origin, request, &arguments, &mut batch.replies);
            batch.reply_ends.push(reply_end);
            if !looks_at_each {
                continue;
            }
            let took_ns = stopwatch.split();
            if let Some(to) = reply_end.get() {
                let by = Address { shard: batch.origin as u32, connection: request.connection };
                let seen = Seen { took_ns, reply_bytes: reply_bytes(&batch.replies, from, to) };
                from = to;
                self.observe(request.entry, seen, &arguments, by);
            } else {
                self.counters.calls.add_time(request.entry.id, took_ns);
            }
        }
        if let (Some(last), false) = (last, looks_at_each) {
            self.lap(&mut stopwatch, last);
        }
        batch.now = self.shard.now();
        // What this has cost in keys is on its way before whoever reads the replies can ask for more.
        self.keep_memory_limit();
        self.batch_is_done(envelope);
    }

    /// One command of a batch: where its reply ends.
    #[inline]
    fn run_request(
        &mut self,
        origin: usize,
        request: &Request,
        arguments: &[&[u8]],
        replies: &mut ReplyBuffer,
    ) -> ReplyEnd {
        self.about_to_run(request.entry);
        if !self.schedule.is_idle()
            && let Some(reply_end) = self.hold_up(origin, request, arguments, replies)
        {
            return reply_end;
        }
        self.prepare_script(request.entry, request.client, request.key.user());
        if request.entry.takes_memory && !self.has_room() {
            self.counters.errors.count(OUT_OF_MEMORY);
            Reply::new(replies, request.client.protocol).error_bytes(OUT_OF_MEMORY);
        } else if let Target::Engine(handler) = request.entry.target {
            let now = self.shard.now();
            let (before, errors) = ((replies.bytes.len(), replies.shared.len()), self.shard.errors().total());
            let unfinished = match (request.key.get(), request.entry.keys) {
                (Some((slot, hash)), KeyPlan::One(index)) => {
                    let key = Key { bytes: arguments[index], slot, hash };
                    self.shard.begin_hashed(handler, arguments, &key, request.client, now, replies)
                }
                _ => self.shard.begin(handler, arguments, request.client, now, replies),
            };
            self.note_failure(request.entry, errors);
            let by = Address { shard: origin as u32, connection: request.connection };
            self.note_command(request.entry, arguments, request.client, by);
            if self.shard.keyspace.has_ready() {
                // Who is served here gets it by another message than this batch.
                self.serve_ready();
            }
            if request.entry.is_script && self.script_has_missed(origin, *request, arguments) {
                return ReplyEnd::LATER;
            }
            if let Some(unfinished) = unfinished {
                let beginning = replies.split_off(before);
                self.go_on_later(unfinished, origin, (*request, beginning), arguments, None);
                return ReplyEnd::LATER;
            }
        }
        ReplyEnd::of(replies)
    }

    /// Puts a command that may not run now in line, or refuses it where a script keeps the shard. None: it may run.
    fn hold_up(
        &mut self,
        origin: usize,
        request: &Request,
        arguments: &[&[u8]],
        replies: &mut ReplyBuffer,
    ) -> Option<ReplyEnd> {
        self.learn_time();
        let claim = self.claim_of(request.entry, arguments);
        if self.schedule.may_run(&claim) {
            return None;
        }
        if let Some(busy) = self.busy_with_script(request.entry) {
            self.counters.errors.count(busy.as_bytes());
            Reply::new(replies, request.client.protocol).error(busy);
            return Some(ReplyEnd::of(replies));
        }
        let (now, arguments) = (self.shard.now(), PackedArguments::new(arguments));
        self.defer(claim, Deferred { origin, now, request: *request, arguments });
        Some(ReplyEnd::LATER)
    }

    /// A batch goes home, with its replies.
    fn batch_is_done(&mut self, mut envelope: Envelope) {
        let Message::Requests(Batch { origin, .. }) = envelope.message else { return };
        let placeholder = Message::Replies(Batch::new(0, 0));
        if let Message::Requests(batch) = std::mem::replace(&mut envelope.message, placeholder) {
            self.replies_leave(batch.replies.bytes.len());
            envelope.message = Message::Replies(batch);
        }
        if origin == self.index { self.message(envelope) } else { self.send_home(origin, envelope) }
    }

    /// Brings the pages of the next requests into the caches.
    fn warm_requests(&self, requests: &[Request], ahead: &mut Ahead<'_>) {
        let requests = &requests[..requests.len().min(WARMED_REQUESTS)];
        if requests.len() < 2 {
            return;
        }
        let keys = requests.iter().filter_map(|request| {
            let (slot, hash) = request.key.get()?;
            Some((request.client.database as usize, slot, hash))
        });
        for (database, slot, hash) in keys.clone() {
            self.shard.keyspace.prefetch(database, &Key { bytes: &[], slot, hash });
        }
        self.warm_keys(keys);
        self.warm_values(requests, ahead);
    }

    /// The same for what they read of values that stand elsewhere.
    fn warm_values(&self, requests: &[Request], ahead: &mut Ahead<'_>) {
        if requests.iter().all(|request| request.entry.spec.foreseen == Foreseen::Entry) {
            ahead.behind += requests.len();
            return;
        }
        let skipped = std::mem::take(&mut ahead.behind);
        let arguments = ahead.arguments.by_ref().skip(skipped).take(requests.len());
        let values = requests.iter().zip(arguments).filter_map(|(request, arguments)| {
            let KeyPlan::One(key) = request.entry.keys else { return None };
            let (slot, hash) = request.key.get()?;
            let argument = |index: usize| arguments.get(index).copied();
            let element = request.entry.spec.foreseen.element(argument)?;
            Some((request.client.database as usize, Key { bytes: argument(key)?, slot, hash }, element))
        });
        self.shard.keyspace.prefetch_values(values);
    }

    pub(super) fn send_home(&mut self, shard: usize, envelope: Envelope) {
        self.tell_before_leaving();
        self.counters.messages_sent += 1;
        self.shared.mailboxes.push_home(shard, envelope);
        self.wake_if_asleep(shard);
    }

    /// Puts a unit into the schedule, which is known to conflict.
    pub(super) fn defer(&mut self, claim: Claim, deferred: Deferred) {
        match self.schedule.enter(claim, None, false, Waiting::Command(Box::new(deferred))) {
            Entry::Queued(_) => {}
            Entry::Run(body, ticket) => self.run_waiting(body, ticket),
        }
    }

    /// Runs every unit whose turn has come. A release may make the next one ready.
    pub(super) fn run_ready(&mut self) {
        while let Some((ticket, body)) = self.schedule.next_ready() {
            self.run_waiting(body, Some(ticket));
        }
    }

    pub(super) fn run_waiting(&mut self, body: Waiting, ticket: Option<Ticket>) {
        match body {
            Waiting::Command(deferred) => {
                let not_before = ticket.map_or(deferred.now, |ticket| self.schedule.not_before(ticket));
                self.run_deferred(*deferred, not_before, ticket);
            }
            Waiting::Part(envelope) => self.run_part(envelope, ticket),
            Waiting::Unit(late) => self.run_late_unit(late, ticket),
        }
    }

    /// What waited runs at the time of its position: the shard's own may have passed that of a multicast behind it.
    fn run_deferred(&mut self, deferred: Deferred, not_before: Milliseconds, ticket: Option<Ticket>) {
        let Deferred { origin, now, request, arguments } = deferred;
        let now = now.max(not_before);
        let mut batch = Batch::new(origin, self.index);
        let arguments = arguments.slices();
        let Target::Engine(handler) = request.entry.target else { return };
        self.has_room();
        self.prepare_script(request.entry, request.client, request.key.user());
        self.begins(request.entry);
        self.shard.keyspace.on_expired = if request.entry.is_write { OnExpired::Tell } else { OnExpired::Leave };
        let (errors, mut stopwatch) = (self.error_count(), self.stopwatch());
        let unfinished = self.shard.begin(handler, &arguments, request.client, now, &mut batch.replies);
        self.note_failure(request.entry, errors);
        let took_ns = stopwatch.split();
        let by = Address { shard: origin as u32, connection: request.connection };
        self.note_command(request.entry, &arguments, request.client, by);
        if let Some(unfinished) = unfinished {
            self.go_on_later(unfinished, origin, (request, batch.replies), &arguments, ticket);
            return self.serve_ready();
        }
        self.release(ticket);
        self.serve_ready();
        if request.entry.is_script && self.script_has_missed(origin, request, &arguments) {
            return;
        }
        if self.observer.is_on {
            let seen = Seen { took_ns, reply_bytes: batch.replies.len() };
            self.observe(request.entry, seen, &arguments, by);
        }
        batch.reply_ends.push(ReplyEnd::of(&batch.replies));
        batch.requests.push(request);
        batch.now = now;
        self.replies_leave(batch.replies.bytes.len());
        if origin == self.index {
            self.deliver_batch(&mut batch);
        } else {
            self.send_home(origin, Node::new(Message::Replies(batch)));
        }
    }

    /// Hands replies to the connections that wait for them; those of one connection often follow each other.
    fn deliver_batch(&mut self, batch: &mut Batch) {
        let mut from = (0, 0);
        let mut rest = batch.requests.iter().zip(&batch.reply_ends).peekable();
        while let Some(&(Request { connection: key, .. }, _)) = rest.peek() {
            let mut connection = self.connection_mut(*key);
            while let Some((request, reply_end)) = rest.next_if(|(request, _)| request.connection == *key) {
                let Some(end) = reply_end.get() else { continue };
                if let Some(connection) = &mut connection {
                    connection.deliver(request, |out| out.append_part(&batch.replies, from..end));
                }
                from = end;
            }
            self.mark_dirty_key(*key);
            self.consider_resuming(*key);
        }
        self.replies_come(batch.replies.bytes.len());
        // A command that waited comes home in a batch without arguments: its bytes were given back with the first.
        self.in_flight_bytes[batch.owner] -= batch.arguments.len();
        batch.reset();
    }

    /// A part of a multicast arrives: it takes its locks at this position.
    fn enter_part(&mut self, mut envelope: Envelope) {
        let rules = self.rules();
        let part = Self::part_mut(&mut envelope);
        if let Work::Write { ticket, .. } = part.work {
            self.instants.remove(&(part.coordinator, part.transaction));
            if let Some(Waiting::Part(mut envelope)) = self.schedule.wait_to_write(ticket, Waiting::Part(envelope)) {
                self.last_hop_here(Self::part_mut(&mut envelope));
            }
            return;
        }
        if let Work::Arrive(moved) = &mut part.work {
            // It waits for nothing here: its client may be told at once that the shard is busy.
            if let Some(moved) = moved.take() {
                self.arrive(*moved);
            }
            return self.part_is_done(envelope);
        }
        let hold = match &part.work {
            // Its keys are held since its first stage.
            Work::Unit(stage) if stage.ticket.is_some() => {
                let ticket = stage.ticket;
                return self.run_part(envelope, ticket);
            }
            Work::Unit(stage) => !stage.is_last,
            work => matches!(work, Work::Read { .. }),
        };
        let mut claim = std::mem::replace(&mut part.claim, Claim::Place);
        if let Work::Unit(stage) = &part.work
            && let Some(watcher) = stage.watched
        {
            self.claim_watched(&mut claim, watcher);
        }
        self.relax(&mut claim);
        let claim = if matches!(claim, Claim::Whole | Claim::Alone) && !rules.cuts { Claim::Place } else { claim };
        let header = part.header.clone();
        let flag = if rules.flag { Some(&header) } else { None };
        self.learn_time();
        // The flags of all multicasts before this one are set by now: none of them is left behind it.
        self.schedule.poll_flags();
        self.run_ready();
        match self.schedule.enter(claim, flag, hold, Waiting::Part(envelope)) {
            Entry::Queued(_) => {}
            Entry::Run(body, ticket) => self.run_waiting(body, ticket),
        }
    }

    /// The last hop: its locks are held, nobody has seen these keys since the first.
    fn last_hop_here(&mut self, part: &mut Part) {
        if let Work::Write { ticket, finish } = &mut part.work {
            let (ticket, finish) = (*ticket, std::mem::take(finish));
            self.has_room();
            overlay::apply(&mut self.shard, finish);
            self.tell_changes(part.asker());
            self.schedule.release(ticket);
            self.serve_ready();
        }
    }

    pub(super) fn part_time(&mut self, header: &Multicast) -> Milliseconds {
        if !self.rules().clocks {
            return self.clock.wall_ms;
        }
        // All parts and hops use the multicast's one time. Without the flag rule (tests) it may not be known yet.
        let now = header.now();
        self.shard.advance_time(now);
        if now == 0 { self.shard.now() } else { now }
    }

    fn run_part(&mut self, mut envelope: Envelope, ticket: Option<Ticket>) {
        if matches!(Self::part_mut(&mut envelope).work, Work::Write { .. }) {
            // Another command held what it writes.
            return self.last_hop_here(Self::part_mut(&mut envelope));
        }
        // Whether there is any was decided for all parts together, where they come from.
        self.has_room();
        let header = Self::part_mut(&mut envelope).header.clone();
        let now = self.part_time(&header);
        let mut stopwatch = self.stopwatch();
        let part = Self::part_mut(&mut envelope);
        let asker = part.asker();
        match &mut part.work {
            Work::Command { .. } => {
                let (replies, unfinished) = self.run_command_part(part, now);
                self.release(ticket);
                self.serve_ready();
                part.took_ns = stopwatch.split();
                if let Some(unfinished) = unfinished {
                    return self.part_goes_on_later(unfinished, envelope, replies);
                }
                part.outcome = Outcome::Reply(replies);
            }
            Work::Read { keys, instant } => {
                let gathered = overlay::gather(&mut self.shard, keys, now);
                if let (true, Some(reader)) = (part.tracks, asker) {
                    keys.iter().for_each(|read| self.remember_key(&read.key, reader));
                }
                let ticket = ticket.expect("a unit that holds has a ticket");
                if let Some(request) = instant.take() {
                    let written = keys.iter().filter(|read| read.writes());
                    let intents = written.map(|read| self.intent(&read.key, Mode::Write)).collect();
                    self.schedule.narrow(ticket, intents);
                    self.begin_instant((part.coordinator, part.transaction), &request, now);
                }
                part.outcome = Outcome::Values { ticket, gathered };
            }
            Work::Control(request) => {
                let request = request.clone();
                part.outcome = Outcome::Control(control::answer(self, &request));
                self.release(ticket);
            }
            Work::Unit(_) => self.run_unit_stage(part, ticket, now),
            Work::Watch { watcher, database, keys } => {
                let (keys, bytes) = self.watch_here(*watcher, *database, &keys.slices(), now);
                self.release(ticket);
                part.outcome = Outcome::Watched { keys, bytes };
            }
            Work::Leave(key) => self.has_arrived(*key, ticket),
            Work::Write { .. } | Work::Arrive(_) => unreachable!("seen to before"),
        }
        Self::part_mut(&mut envelope).took_ns += stopwatch.split();
        self.part_is_done(envelope);
    }

    /// A command on the keys that are ours: its reply, and what is left to do.
    fn run_command_part(&mut self, part: &mut Part, now: Milliseconds) -> (ReplyBuffer, Option<Unfinished>) {
        let (mut replies, mut unfinished) = (ReplyBuffer::default(), None);
        let Work::Command { entry, client, arguments } = &part.work else { return (replies, None) };
        let arguments = arguments.slices();
        if let Target::Engine(handler) = entry.target {
            let (told, errors) = (self.shard.keyspace.journal.len(), self.error_count());
            self.about_to_run(entry);
            unfinished = self.shard.begin(handler, &arguments, *client, now, &mut replies);
            if part.index == 0 {
                // Each part fails with the command.
                self.note_failure(entry, errors);
            }
            if entry.spec.spread.is_told_once() {
                debug_assert!(unfinished.is_none(), "its effects are shared out now");
                let unit = (part.coordinator, part.transaction);
                let shares = self.shared.shards();
                self.shard.keyspace.journal.share_since(told, unit, shares, part.index == 0);
            } else if entry.is_write && part.parts > 1 {
                let unit = (part.coordinator, part.transaction);
                self.shard.keyspace.journal.share_part(told, unit, part.parts, part.index);
            }
        }
        if let Some(by) = part.asker() {
            self.note_command(entry, &arguments, *client, by);
        }
        (replies, unfinished)
    }

    /// A part goes home.
    pub(super) fn part_is_done(&mut self, mut envelope: Envelope) {
        let part = Self::part_mut(&mut envelope);
        let (coordinator, bytes) = (part.coordinator, part.outcome.reply_bytes());
        self.replies_leave(bytes);
        envelope.message = match std::mem::replace(&mut envelope.message, Message::PartDone(Part::nothing(0))) {
            Message::Part(part) => Message::PartDone(part),
            other => other,
        };
        if coordinator == self.index {
            self.message(envelope);
        } else {
            self.send_home(coordinator, envelope);
        }
    }

    /// A command has run here for a connection: what it has changed is told, what it has read may be remembered.
    #[inline]
    pub(super) fn note_command(
        &mut self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        client: ClientContext,
        by: Address,
    ) {
        if client.tracks && entry.is_script {
            self.remember_script_reads(by);
        }
        self.tell_changes(Some(by));
        if client.tracks {
            self.remember(entry, arguments, by);
        }
    }

    pub(super) fn release(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.schedule.release(ticket);
        }
    }

    /// The intents of a command on this shard.
    /// The claim of a command that is about to take its place here.
    pub(super) fn claim_of(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Claim {
        let mut claim = claim_of(&self.shared.hasher, entry, arguments);
        self.relax(&mut claim);
        claim
    }

    /// What a unit wants of a key.
    pub(super) fn intent(&self, key: &[u8], mode: Mode) -> Intent {
        intent(&self.shared.hasher, key, mode)
    }

    /// Sources that will not expire are read like any key: nobody here has an expiry, and nobody in front may set one.
    fn relax(&self, claim: &mut Claim) {
        let Claim::Keys(intents) = claim else { return };
        for intent in intents.iter_mut().filter(|intent| intent.mode == Mode::Source) {
            let may_expire = self.shard.keyspace.may_expire(intent.slot);
            if !may_expire && !self.schedule.may_change(intent.fingerprint) {
                intent.mode = Mode::Read;
            }
        }
    }

    /// Before any command's handler: what it does with a key whose time is over, and what a report of a crash says.
    #[inline]
    pub(super) fn about_to_run(&mut self, entry: &CommandEntry) {
        self.begins(entry);
        // While clients are paused nothing expires.
        self.shard.keyspace.on_expired = match (self.schedule.is_idle() && !self.is_paused(), entry.is_write) {
            (true, _) => OnExpired::Remove,
            (false, true) => OnExpired::Tell,
            (false, false) => OnExpired::Leave,
        };
    }

    pub(super) fn keep_node(&mut self, envelope: Envelope) {
        const SPARE_NODES_MAX: usize = 64;
        if self.spare_nodes.len() < SPARE_NODES_MAX {
            self.spare_nodes.push(envelope);
        }
    }
}

/// The intents of a command: its keys, or the whole shard if it touches all without naming them.
pub(super) fn claim_of(hasher: &KeyHasher, entry: &CommandEntry, arguments: &[&[u8]]) -> Claim {
    if entry.is_script {
        return Claim::Alone;
    }
    let mut intents = SmallVec::new();
    match entry.keys {
        KeyPlan::None => {
            return if entry.spec.spread.is_on_all_shards() { Claim::Whole } else { Claim::Place };
        }
        KeyPlan::One(index) => {
            if let Some(key) = arguments.get(index) {
                intents.push(intent(hasher, key, Mode::of(entry.is_write, entry.is_write)));
            }
        }
        KeyPlan::Many => {
            let _ = entry.spec.visit_keys(arguments, |index, flags| {
                let mode = Mode::of(entry.is_write && flags.writes(), entry.is_write);
                intents.push(intent(hasher, arguments[index], mode));
            });
        }
    }
    Claim::Keys(intents)
}

/// What a unit wants of a key.
pub(super) fn intent(hasher: &KeyHasher, key: &[u8], mode: Mode) -> Intent {
    Intent { fingerprint: hasher.hash(key), slot: slot_of(key), mode }
}

impl Part {
    /// The connection whose command it is a part of.
    pub(super) fn asker(&self) -> Option<Address> {
        Some(Address { shard: self.coordinator as u32, connection: self.connection? })
    }

    /// A part without content, to leave in the place of one that is taken.
    pub fn nothing(shard: usize) -> Self {
        Self {
            header: std::sync::Arc::default(),
            coordinator: shard,
            connection: None,
            tracks: false,
            transaction: u64::MAX,
            index: 0,
            parts: 0,
            claim: Claim::Place,
            work: Work::Read { keys: Vec::new(), instant: None },
            outcome: Outcome::None,
            took_ns: 0,
        }
    }
}
