//! A list of commands that is one unit, atomic and isolated over shards, whatever the commands are: what EXEC runs
//! (`core::exec` says which commands, and where each belongs).
//!
//! ```text
//!   coordinator                                        each shard that has to do with it
//!   first stage: a multicast with the unit's claim ──> locks at this position; validates what was watched; steps
//!   what came of it                                <── replies, values, tickets
//!   more stages, as data flows from shard to shard ──> steps under the ticket, in place
//!   last stage                                     ──> steps, the effects are told as one, locks released
//! ```
//!
//! * A unit whose steps are known without an answer has one stage: one message a shard, and no ticket.
//! * Steps of later stages bypass the schedule: their keys are held, so nobody else sees or changes them, and nobody can tell
//!   that they change one after the other. A barrier waits for the unit's end, and so does whoever asks for one of its keys.
//! * Each stage does as much as it can: per shard any number of commands, then the values of a command whose keys are on
//!   several shards. What was made of those values goes ahead of the next stage's steps.
//! * All steps run at the time of the first stage, each to its end: a command that would be worked off in slices is not.
//! * Effects are kept until the last stage. It is a multicast, and its parts run where they meet the shard: so journals hear
//!   of units in one order everywhere. A unit of one stage that writes on several shards could run in different orders, so
//!   where somebody listens to effects it takes its locks in a stage of their own.
//! * A unit belongs to its coordinator: it ends, and frees its locks, whatever becomes of the client.

use super::Core;
use super::batches::ShardSet;
use super::blocked::Waiter;
use super::exec::Exec;
use super::multi::Watching;
use super::observe::{Seen, reply_bytes};
use super::session::Conclude;
use super::tracking::Address;
use super::unit_tasks::UnitTask;
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::control::{self, ControlRequest};
use crate::mailbox::{
    KnownKey, Outcome, PackedArguments, Part, ReplyEnd, Request, Undo, UnitOutcome, UnitStage, UnitStep, Work,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use torc_engine::command::Milliseconds;
use torc_engine::journal::{Effects, Share};
use torc_engine::keyspace::{Key, OwnedEntry};
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::ClientContext;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::transaction::overlay::{self, Finish, Gathered, KeyRead};
use torc_engine::transaction::schedule::{Claim, Ticket};

/// Which unit: its coordinator, and the coordinator's number for it.
pub(super) type UnitName = (usize, u64);

/// Effects of units that are not through: with the place, counted from 1, of the command that made each.
pub(super) type UnitEffects = HashMap<UnitName, (Vec<u32>, Effects)>;

/// What a session command would have sent itself, were it not part of a unit.
pub(super) enum Captured {
    /// Nothing.
    Nothing,
    /// A question to all shards.
    Question(ControlRequest, Conclude),
    /// A command of the engine.
    Command(&'static CommandEntry, PackedArguments),
    /// What has to be waited for.
    Task(UnitTask),
}

/// What a stage came to, as it comes home.
pub(super) struct StageDone {
    pub(super) id: u64,
    pub(super) client: ClientContext,
    /// The time of the stage's multicast.
    pub(super) now: Milliseconds,
    pub(super) shards: SmallVec<[usize; 8]>,
    pub(super) outcomes: Vec<Outcome>,
    /// What the longest of its parts took.
    pub(super) took_ns: u64,
}

/// What the next stage is to do, by shard.
#[derive(Default)]
pub(super) struct Steps {
    parts: BTreeMap<usize, UnitStage>,
}

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.values().all(|part| part.steps.is_empty())
    }

    /// Whether all of it is for one shard.
    fn is_only_for(&self, shard: usize) -> bool {
        self.parts.len() == 1 && self.parts.contains_key(&shard)
    }

    /// Nobody is told of the effects of these commands.
    pub(super) fn are_not_told(&mut self) {
        for step in self.parts.values_mut().flat_map(|part| &mut part.steps) {
            if let UnitStep::Command { is_told, .. } = step {
                *is_told = false;
            }
        }
    }

    /// A command; its arguments are those of the shard.
    pub(super) fn command(
        &mut self,
        shard: usize,
        (place, entry, client): (usize, &'static CommandEntry, ClientContext),
        arguments: &[&[u8]],
        key: KnownKey,
        is_told: bool,
    ) {
        let part = self.parts.entry(shard).or_default();
        let (place, is_further_part, waiter) = (place as u32, false, None);
        part.steps.push(UnitStep::Command { place, entry, client, key, is_told, is_further_part, waiter });
        part.arguments.add(arguments);
    }

    /// The command at this place has parts on several shards: it is one.
    pub(super) fn are_one(&mut self, place: usize) {
        let last = self.parts.values_mut().filter_map(|part| part.steps.last_mut());
        let mut is_known = false;
        for step in last {
            if let UnitStep::Command { place: other, is_further_part, .. } = step
                && *other as usize == place
            {
                *is_further_part = std::mem::replace(&mut is_known, true);
            }
        }
    }

    /// If the last command of a shard finds nothing, its client waits.
    pub(super) fn may_wait(&mut self, shard: usize, who: Arc<Waiter>) {
        let steps = self.parts.get_mut(&shard).map(|part| &mut part.steps);
        if let Some(UnitStep::Command { waiter, .. }) = steps.and_then(|steps| steps.last_mut()) {
            *waiter = Some(who);
        }
    }

    pub(super) fn wait(&mut self, shard: usize, waiter: Arc<Waiter>) {
        self.parts.entry(shard).or_default().steps.push(UnitStep::Wait(waiter));
    }

    /// For a command that only reads, or not.
    pub(super) fn read(&mut self, shard: usize, keys: Vec<KeyRead>, is_read_only: bool) {
        self.parts.entry(shard).or_default().steps.push(UnitStep::Read { keys, is_read_only });
    }

    pub(super) fn write(&mut self, shard: usize, place: usize, finish: Finish) {
        self.parts.entry(shard).or_default().steps.push(UnitStep::Write { place: place as u32, finish });
    }

    pub(super) fn ask(&mut self, shard: usize, request: Arc<ControlRequest>) {
        self.parts.entry(shard).or_default().steps.push(UnitStep::Control(request));
    }
}

/// A stage's answers from one shard.
pub(super) struct Answered {
    pub(super) shard: usize,
    /// Places of the commands whose replies follow, in order.
    pub(super) places: Vec<u32>,
    pub(super) outcome: UnitOutcome,
}

/// A unit under way, on its coordinator.
pub(super) struct UnitRun {
    /// What decides about the steps.
    pub(super) exec: Exec,
    /// All shards that have to do with it, each with what it holds under; none before the first stage.
    pub(super) tickets: BTreeMap<usize, Option<Ticket>>,
    /// For each part of the stage under way: places of its commands.
    places: Vec<Vec<u32>>,
    pub(super) now: Milliseconds,
    pub(super) is_write: bool,
    /// Its connection runs nothing before it has ended.
    pub(super) holds_connection: bool,
    is_last: bool,
    /// What it does may be undone.
    pub(super) is_undoable: bool,
    /// Nothing that it has done is to stay.
    pub(super) is_undone: bool,
    /// Its script needs these shards: undone, and begun again with them.
    pub(super) missed: Option<ShardSet>,
    /// The shards that its script has asked.
    pub(super) asked: ShardSet,
    /// What its stages took, added.
    pub(super) took_ns: u64,
}

impl UnitRun {
    pub(super) fn new(exec: Exec, shards: impl Iterator<Item = usize>, is_write: bool) -> Self {
        let tickets = shards.map(|shard| (shard, None)).collect();
        Self {
            exec,
            tickets,
            places: Vec::new(),
            now: 0,
            is_write,
            holds_connection: false,
            is_last: false,
            is_undoable: false,
            is_undone: false,
            missed: None,
            asked: 0,
            took_ns: 0,
        }
    }

    /// The shards that it has.
    pub(super) fn shards(&self) -> ShardSet {
        self.tickets.keys().fold(0, |shards, shard| shards | 1 << shard)
    }

    /// Whether its locks are held.
    pub(super) fn is_begun(&self) -> bool {
        self.tickets.values().all(Option::is_some)
    }

    /// What each shard is sent of a stage.
    fn parts(&mut self, mut steps: Steps, is_last: bool, wants_all: bool) -> Vec<(usize, UnitStage)> {
        let shares = self.tickets.len();
        self.is_last = is_last;
        let (has_script, is_told, now) = (self.exec.has_script(), self.is_write, self.now);
        let undo = match (self.is_undoable, is_last) {
            (true, true) if self.is_undone => Undo::Undo,
            (true, true) => Undo::Keep,
            (true, false) if !self.is_begun() => Undo::Begin,
            _ => Undo::AsBefore,
        };
        let parts = self.tickets.iter().filter_map(|(&shard, &ticket)| {
            let part = steps.parts.remove(&shard);
            if part.is_none() && !wants_all {
                return None;
            }
            let part = part.unwrap_or_default();
            Some((shard, UnitStage { ticket, now, is_last, is_told, has_script, undo, shares, ..part }))
        });
        let parts: Vec<_> = parts.collect();
        debug_assert!(steps.parts.is_empty(), "a unit's shards are known before it begins");
        let places_of = |stage: &UnitStage| {
            let places = stage.steps.iter().filter_map(|step| match step {
                UnitStep::Command { place, .. } => Some(*place),
                _ => None,
            });
            places.collect()
        };
        self.places = parts.iter().map(|(_, stage)| places_of(stage)).collect();
        parts
    }

    /// The first stage: every shard hears of it.
    pub(super) fn first_stage(
        &mut self,
        steps: Steps,
        is_last: bool,
        mut claims: BTreeMap<usize, Claim>,
        watching: Option<Watching>,
    ) -> Vec<(usize, Claim, Work)> {
        let parts = self.parts(steps, is_last, true).into_iter().map(|(shard, mut stage)| {
            stage.watched =
                watching.filter(|watching| watching.shards & 1 << shard != 0).map(|watching| watching.watcher);
            let claim = claims.remove(&shard).unwrap_or(Claim::Keys(SmallVec::new()));
            (shard, claim, Work::Unit(Box::new(stage)))
        });
        parts.collect()
    }
}

/// On the shards.
impl Core {
    /// A stage of a unit reaches this shard, and may run.
    pub(super) fn run_unit_stage(&mut self, part: &mut Part, ticket: Option<Ticket>, now: Milliseconds) {
        let (name, asker, tracks) = ((part.coordinator, part.transaction), part.asker(), part.tracks);
        let Work::Unit(stage) = &mut part.work else { return };
        let now = if stage.ticket.is_some() { stage.now } else { now };
        let mut outcome =
            UnitOutcome { is_valid: self.still_as_seen(stage.watched.take(), now), ..UnitOutcome::default() };
        if stage.undo == Undo::Begin {
            self.shard.begin_undoable();
        }
        if stage.has_script && stage.ticket.is_none() && !stage.is_last {
            self.script_begins();
        }
        if outcome.is_valid {
            self.run_steps(stage, now, (name, asker, tracks), &mut outcome);
        }
        if stage.is_last || !outcome.is_valid {
            if stage.has_script {
                self.script_is_over();
            }
            if stage.undo == Undo::Undo {
                self.shard.undo_changes(now);
                self.unit_effects.remove(&name);
            } else if outcome.is_valid {
                if stage.undo == Undo::Keep {
                    self.shard.keep_changes();
                    self.tell_changes(asker);
                }
                self.tell_unit(name, stage);
            }
            self.release(ticket);
            self.serve_ready();
        } else {
            outcome.ticket = ticket;
        }
        part.outcome = Outcome::Unit(Box::new(outcome));
    }

    fn run_steps(
        &mut self,
        stage: &mut UnitStage,
        now: Milliseconds,
        (name, asker, tracks): (UnitName, Option<Address>, bool),
        outcome: &mut UnitOutcome,
    ) {
        let arguments = std::mem::take(&mut stage.arguments);
        let mut arguments = arguments.commands();
        let is_told_as_one = stage.is_told && self.shard.keyspace.journal.wants_effects();
        for step in std::mem::take(&mut stage.steps) {
            let history = self.shard.keyspace.journal.len();
            // What only reads comes before all that the unit changes: it tells no more than which keys had expired by then.
            let (mut told_at, mut is_told) = (0, true);
            match step {
                UnitStep::Command { place, entry, client, key, is_told: tells, is_further_part, waiter } => {
                    (told_at, is_told) = (place + 1, tells);
                    let arguments = arguments.next().unwrap_or_default();
                    let before = (outcome.replies.bytes.len(), outcome.replies.shared.len());
                    self.shard.keyspace.found_nothing = false;
                    let mut stopwatch = self.stopwatch();
                    self.run_whole(entry, &arguments, key, client, now, &mut outcome.replies);
                    let took_ns = stopwatch.split();
                    if let Some(by) = asker {
                        self.note_command(entry, &arguments, client, by);
                    }
                    if let Some(waiter) = waiter.filter(|_| self.shard.keyspace.found_nothing) {
                        outcome.replies.split_off(before);
                        outcome.is_waiting = true;
                        self.line_up(&waiter);
                    } else if let (true, Some(by)) = (self.observer.is_on, asker) {
                        let end = (outcome.replies.bytes.len(), outcome.replies.shared.len());
                        let seen = Seen { took_ns, reply_bytes: reply_bytes(&outcome.replies, before, end) };
                        self.observe_step(entry, seen, &arguments, by, is_further_part);
                    }
                    outcome.reply_ends.push(ReplyEnd::of(&outcome.replies));
                }
                UnitStep::Wait(waiter) => {
                    outcome.is_waiting = true;
                    self.line_up(&waiter);
                }
                UnitStep::Read { keys, is_read_only } => {
                    outcome.gathered.push(overlay::gather(&mut self.shard, &keys, now));
                    if let Some(reader) = asker.filter(|_| tracks && is_read_only) {
                        keys.iter().for_each(|read| self.remember_key(&read.key, reader));
                    }
                }
                UnitStep::Write { place, mut finish } => {
                    told_at = place + 1;
                    let share = finish.share.take();
                    overlay::apply(&mut self.shard, finish);
                    self.keep_unit_effects(name, told_at, share.map(|share| share.effects).unwrap_or_default());
                }
                UnitStep::Control(request) => outcome.answers.push(control::answer(self, &request)),
            }
            if is_told_as_one || !is_told {
                let effects = self.shard.keyspace.journal.take_since(history);
                self.keep_unit_effects(name, told_at, if is_told { effects } else { Effects::default() });
            }
        }
    }

    fn keep_unit_effects(&mut self, name: UnitName, place: u32, effects: Effects) {
        let (places, kept) = self.unit_effects.entry(name).or_default();
        places.extend(std::iter::repeat_n(place, effects.len()));
        kept.append(&effects);
    }

    /// A command at one go.
    pub(super) fn run_whole(
        &mut self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        key: KnownKey,
        client: ClientContext,
        now: Milliseconds,
        out: &mut ReplyBuffer,
    ) {
        let Target::Engine(handler) = entry.target else { return };
        self.prepare_script(entry, client, key.user());
        self.about_to_run(entry);
        let errors = self.error_count();
        let unfinished = match (key.get(), entry.keys) {
            (Some((slot, hash)), KeyPlan::One(index)) => {
                let key = Key { bytes: arguments[index], slot, hash };
                self.shard.begin_hashed(handler, arguments, &key, client, now, out)
            }
            _ => self.shard.begin(handler, arguments, client, now, out),
        };
        if let Some(unfinished) = unfinished {
            unfinished.run_to_end(&mut self.shard, out);
        }
        self.note_failure(entry, errors);
    }

    /// A command of a unit has run here; a further part of one has been observed elsewhere.
    pub(super) fn observe_step(
        &mut self,
        entry: &CommandEntry,
        seen: Seen,
        arguments: &[&[u8]],
        by: Address,
        is_further_part: bool,
    ) {
        if is_further_part {
            self.counters.calls.add_time(entry.id, seen.took_ns);
        } else {
            self.observe(entry, seen, arguments, by);
        }
    }

    /// The unit is through on this shard: the journal hears of it.
    fn tell_unit(&mut self, name: UnitName, stage: &UnitStage) {
        let (places, effects) = self.unit_effects.remove(&name).unwrap_or_default();
        let journal = &mut self.shard.keyspace.journal;
        if journal.wants_effects() && stage.is_told && (stage.shares > 1 || !effects.is_empty()) {
            journal.add_share(Share { unit: name, shares: stage.shares, effects, places, is_apart: false });
        }
    }
}

/// On the coordinator.
impl Core {
    /// A stage has been answered by all shards that it was sent to.
    pub(super) fn unit_stage_done(&mut self, mut run: UnitRun, stage: StageDone, request: Option<Request>) {
        let StageDone { id, client, now, shards, outcomes, took_ns } = stage;
        run.took_ns += took_ns;
        if run.now == 0 {
            run.now = now;
        }
        let mut is_valid = true;
        let mut answered = Vec::with_capacity(shards.len());
        let places = std::mem::take(&mut run.places);
        for ((shard, outcome), places) in shards.into_iter().zip(outcomes).zip(places) {
            let Outcome::Unit(outcome) = outcome else { continue };
            is_valid &= outcome.is_valid;
            run.tickets.insert(shard, outcome.ticket);
            answered.push(Answered { shard, places, outcome: *outcome });
        }
        if let Some(request) = &request {
            self.show_later(&mut run.exec, request.entry, is_valid);
        }
        if run.is_last {
            return self.unit_ends(run, is_valid.then_some(answered), client, request);
        }
        if !is_valid {
            // Nothing has been done anywhere; those that hold let go.
            run.is_write = false;
            run.tickets.retain(|_, ticket| ticket.is_some());
            run.exec.is_aborted = true;
            return self.send_stage(run, Steps::default(), true, id, client, request);
        }
        self.exec_answered(&mut run, answered, id, took_ns);
        self.go_on_with_unit(run, id, client, request);
    }

    /// Sends the next stage, after all that can be done here without an answer from elsewhere.
    pub(super) fn go_on_with_unit(
        &mut self,
        mut run: UnitRun,
        id: u64,
        client: ClientContext,
        request: Option<Request>,
    ) {
        let connection = run.exec.connection;
        loop {
            let mut at_hand = self.take_connection(connection);
            let (steps, is_last) = self.next_steps(&mut run, at_hand.as_deref_mut());
            if let Some(connection) = at_hand {
                self.put_connection(connection);
            }
            if run.missed.is_some() {
                run.is_undone = true;
                return self.send_stage(run, Steps::default(), true, id, client, request);
            }
            if std::mem::take(&mut run.exec.is_paused) && steps.is_empty() {
                return self.park(run, id, client, request);
            }
            if steps.is_empty()
                && let Some(task) = run.exec.take_task()
            {
                return self.wait_for_task(task, run, id, client, request);
            }
            if steps.is_empty() && !is_last {
                // A script has ended, and it is the next command's turn.
                continue;
            }
            if is_last || !run.exec.is_in_script() || !steps.is_only_for(self.index) {
                return self.send_stage(run, steps, is_last, id, client, request);
            }
            let mut stopwatch = self.stopwatch();
            let answered = self.run_stage_here(&mut run, steps, id, client.tracks);
            let took_ns = stopwatch.split();
            run.took_ns += took_ns;
            self.exec_answered(&mut run, answered, id, took_ns);
        }
    }

    /// A stage that is for this shard only.
    fn run_stage_here(&mut self, run: &mut UnitRun, steps: Steps, id: u64, tracks: bool) -> Vec<Answered> {
        let asker = Address { shard: self.index as u32, connection: run.exec.connection };
        let parts = run.parts(steps, false, false);
        let mut answered = Vec::with_capacity(1);
        for ((shard, mut stage), places) in parts.into_iter().zip(std::mem::take(&mut run.places)) {
            let mut outcome = UnitOutcome::default();
            self.run_steps(&mut stage, run.now, ((self.index, id), Some(asker), tracks), &mut outcome);
            answered.push(Answered { shard, places, outcome });
        }
        answered
    }

    fn send_stage(
        &mut self,
        mut run: UnitRun,
        steps: Steps,
        is_last: bool,
        id: u64,
        client: ClientContext,
        request: Option<Request>,
    ) {
        let parts = run.parts(steps, is_last, is_last);
        if parts.is_empty() {
            return self.unit_ends(run, Some(Vec::new()), client, request);
        }
        let parts = parts.into_iter().map(|(shard, stage)| (shard, Claim::Place, Work::Unit(Box::new(stage))));
        let parts: Vec<_> = parts.collect();
        // What comes of it is awaited under the same name.
        let header = Multicast::new();
        let asker = Some(run.exec.connection);
        self.await_stage(id, &header, run, &parts, client, request);
        self.multicast(&header, id, (asker, client.tracks), parts);
    }

    fn unit_ends(
        &mut self,
        mut run: UnitRun,
        answered: Option<Vec<Answered>>,
        client: ClientContext,
        request: Option<Request>,
    ) {
        if let Some(waiter) = run.exec.waiter.clone() {
            let is_waiting = answered.iter().flatten().any(|answered| answered.outcome.is_waiting);
            match request {
                Some(request) if is_waiting => return self.wait_begins(waiter.number, request),
                _ => self.wait_was_needless(&waiter),
            }
        }
        if let (Some(missed), Some(request)) = (run.missed, request) {
            return self.relaunch_script(&run, missed, request);
        }
        self.tell_script_lines();
        self.tell_script_denials(self.index, run.exec.connection);
        let mut out = ReplyBuffer::default();
        match answered {
            Some(answered) if !run.exec.is_aborted => {
                run.exec.keep_replies(answered);
                run.exec.reply(client.protocol, &mut out);
            }
            _ => torc_engine::reply::Reply::new(&mut out, client.protocol).null_array(),
        }
        // A single command that might have waited has been observed where it ran.
        if let (None, Some(request)) = (&run.exec.waiter, &request) {
            let seen = Seen { took_ns: run.took_ns, reply_bytes: out.len() };
            self.observe_late(request, seen, Some(run.exec.arguments()));
        }
        // Otherwise the connection may be waiting for something else by now.
        if run.holds_connection
            && let Some(connection) = self.connection_mut(run.exec.connection)
        {
            connection.is_waiting = false;
        }
        if let Some(request) = request {
            self.deliver(request, |place| place.append(&mut out));
        }
    }
}

/// Values that came home, in the order in which they were asked for.
pub(super) fn values_of(
    answered: &mut [Answered],
    shards: &[(usize, Vec<usize>)],
    count: usize,
) -> Vec<Option<OwnedEntry>> {
    let mut values = Vec::new();
    values.resize_with(count, || None);
    for (shard, places) in shards {
        let Some(answered) = answered.iter_mut().find(|answered| answered.shard == *shard) else { continue };
        let Some(Gathered(gathered)) = answered.outcome.gathered.pop() else { continue };
        for (value, &place) in gathered.into_iter().zip(places) {
            values[place] = value;
        }
    }
    values
}
