//! EXEC: the queue of a transaction as one unit.
//!
//! ```text
//!   everything ours, nothing in the way ──> one after the other, here and now
//!   else a unit (`core::unit`):
//!     no WATCH on a second shard, no value that one shard needs of another ──> one stage
//!     else                                                                 ──> lock and validate; then stages
//! ```
//!
//! Where a command belongs:
//!
//! | command | |
//! |---|---|
//! | one key, or all keys on one shard | its owner |
//! | MSET, MGET, DEL ... of several shards | cut up: each shard its part, in the order of the queue; replies are merged |
//! | RENAME, SINTERSTORE, SORT BY ... of several shards | an overlay in the middle of the unit: values to the coordinator, writes back |
//! | FLUSHALL, DBSIZE, KEYS | a step on every shard |
//! | the server's own: SELECT, CONFIG, INFO | the connection's shard, in its turn; what it asks all shards is a step there |
//!
//! Keys are locked before anything runs. Those that may be any (FLUSHALL, SCAN, SORT BY) lock every shard whole: `Claim::Alone`.

use super::Core;
use super::batches::shards_of;
use super::blocked::Waiter;
use super::connection::{Connection, ConnectionKey, ReplyMode};
use super::coordinator::{Kind, ValuesWanted, merge};
use super::inbox::claim_of;
use super::multi::{Queue, Queued, Watching};
use super::observe::{Seen, reply_bytes};
use super::script_step::ScriptStep;
use super::session::{Conclude, Session, SessionHandler};
use super::tracking::Address;
use super::unit::{Answered, Captured, Steps, UnitRun, values_of};
use super::unit_tasks::UnitTask;
use crate::access::User;
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::control::ControlRequest;
use crate::mailbox::{KnownKey, PackedArguments};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use torc_engine::command::{Flags, KeyFlags, Spread};
use torc_engine::keyspace::slot_of;
use torc_engine::long::{Progress, Unfinished};
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};
use torc_engine::shard::{ClientContext, Shard};
use torc_engine::transaction::overlay::{Finish, KeyRead, Overlay};
use torc_engine::transaction::schedule::{Claim, Intent, Mode};

/// A queue that is being run as a unit.
pub(super) struct Exec {
    /// Whose it is.
    pub(super) connection: ConnectionKey,
    /// Who waits if the one command finds nothing.
    pub(super) waiter: Option<Arc<Waiter>>,
    /// Shards in whose lines it is to wait.
    waits: Vec<usize>,
    /// What was watched has changed.
    pub(super) is_aborted: bool,
    /// The name that EXEC was called by, if it is to be shown when it is known whether it runs.
    shown_as: Option<Box<[u8]>>,
    /// A script is under way.
    pub(super) script: Option<Box<ScriptStep>>,
    /// It gives up the thread for a moment.
    pub(super) is_paused: bool,
    /// It is no transaction: the reply is the one command's.
    is_single: bool,
    /// The next place: commands and the calls of scripts among them have ascending ones.
    number: usize,
    queue: Queue,
    /// The user whom scripts run for.
    pub(super) user: u64,
    /// For whom commands run; SELECT and HELLO in the queue change it.
    client: ClientContext,
    /// The first command that no stage has had yet.
    next: usize,
    answers: Vec<Answer>,
    sources: Vec<ReplyBuffer>,
    /// A task that waits until all before it is done.
    task: Option<(Asking, UnitTask)>,
    /// A question that waits for a stage of its own.
    question: Option<(Asking, ControlRequest, Conclude)>,
    /// What becomes of the answers to the question under way.
    concluding: Option<(Asking, Arc<ControlRequest>, Conclude)>,
    /// A command whose values are awaited.
    overlay: Option<Box<OverlayStep>>,
    /// What commands have made of values, for the next stage: by shard, with the command's place.
    writes: Vec<(usize, usize, Finish)>,
}

/// A command that asks all shards, or waits for a task.
pub(super) struct Asking {
    pub(super) place: usize,
    pub(super) entry: &'static CommandEntry,
    /// What may have to be remembered of it.
    arguments: Option<Box<PackedArguments>>,
}

/// What there is of a command's reply.
#[derive(Default)]
struct Answer {
    /// Its place.
    number: usize,
    /// Made here.
    own: ReplyBuffer,
    /// In replies of shards.
    pieces: SmallVec<[Piece; 1]>,
    /// How they are one, if there are several: for `Gather` with the places of each one's elements.
    merge: Option<(Spread, Vec<Vec<usize>>)>,
    /// CLIENT REPLY OFF came before it.
    is_muted: bool,
}

/// Which of the replies of shards, and from where to where in it.
type Piece = (usize, Range<(usize, usize)>);

/// A command in the middle of a unit whose keys are on several shards.
struct OverlayStep {
    place: usize,
    entry: &'static CommandEntry,
    arguments: PackedArguments,
    client: ClientContext,
    keys: Vec<KeyRead>,
    /// Shards that hold its keys, and which.
    shards: Vec<usize>,
    places: Vec<Vec<usize>>,
    asks: bool,
    /// Set when it has begun, and asks for more.
    begun: Option<Begun>,
}

struct Begun {
    temporary: Shard,
    unfinished: Unfinished,
    out: ReplyBuffer,
    questions: Vec<Vec<u8>>,
    asked: Vec<(usize, Vec<usize>)>,
}

/// What a queue will touch.
#[derive(Default)]
pub(super) struct Plan {
    intents: BTreeMap<usize, SmallVec<[Intent; 4]>>,
    /// It may touch any key.
    is_global: bool,
    /// It may ask all shards.
    asks_all: bool,
}

impl Exec {
    /// `waiter` is set for a single command outside of MULTI, which waits if it finds nothing.
    pub(super) fn new(
        connection: ConnectionKey,
        client: ClientContext,
        queue: Queue,
        waiter: Option<Arc<Waiter>>,
    ) -> Self {
        let mut answers = Vec::new();
        answers.resize_with(queue.commands.len(), Answer::default);
        let is_single = waiter.is_some();
        Self {
            connection,
            waiter,
            waits: Vec::new(),
            is_aborted: false,
            shown_as: None,
            script: None,
            is_paused: false,
            is_single,
            number: 0,
            queue,
            user: User::NOBODY,
            client,
            next: 0,
            answers,
            sources: Vec::new(),
            task: None,
            question: None,
            concluding: None,
            overlay: None,
            writes: Vec::new(),
        }
    }

    /// A script by itself, for a user.
    pub(super) fn of_script(connection: ConnectionKey, client: ClientContext, user: u64, queue: Queue) -> Self {
        Self { is_single: true, user, ..Self::new(connection, client, queue, None) }
    }

    /// Whether it is a script by itself.
    pub(super) fn is_script(&self) -> bool {
        self.is_single && self.waiter.is_none()
    }

    /// Whether there is a script among its commands.
    pub(super) fn has_script(&self) -> bool {
        self.queue.has_script
    }

    /// Whether a script is under way.
    pub(super) fn is_in_script(&self) -> bool {
        self.script.is_some()
    }

    /// The arguments of the only command.
    pub(super) fn arguments(&self) -> &PackedArguments {
        &self.queue.arguments
    }

    /// The first command.
    pub(super) fn entry(&self) -> &'static CommandEntry {
        self.queue.commands[0].entry
    }

    /// For whom the next command runs.
    pub(super) fn client(&self) -> ClientContext {
        self.client
    }

    /// The same, from now on; who it was before.
    pub(super) fn replace_client(&mut self, client: ClientContext) -> ClientContext {
        std::mem::replace(&mut self.client, client)
    }

    /// The next place.
    pub(super) fn take_number(&mut self) -> usize {
        self.number += 1;
        self.number - 1
    }

    /// What there is of the reply to the command, or the call, at a place.
    fn answer_at(&mut self, place: usize) -> &mut Answer {
        if let Some(step) = &mut self.script
            && let Some(call) = &mut step.call
            && call.answer.number == place
        {
            return &mut call.answer;
        }
        let begun = &self.answers[..self.next];
        let index = begun.partition_point(|answer| answer.number < place);
        &mut self.answers[index]
    }

    /// The part of it that is made here.
    pub(super) fn own_reply(&mut self, place: usize) -> &mut ReplyBuffer {
        &mut self.answer_at(place).own
    }

    fn is_through(&self) -> bool {
        let has_more = self.asks() || self.overlay.is_some() || self.concluding.is_some() || self.script.is_some();
        self.next == self.queue.commands.len() && !has_more
    }

    /// Whether a command waits to ask for something when all before it is done.
    fn asks(&self) -> bool {
        self.question.is_some() || self.task.is_some()
    }

    /// The task that it waits for, if all before that is done.
    pub(super) fn take_task(&mut self) -> Option<(Asking, UnitTask)> {
        self.task.take()
    }

    /// All shards are asked in the next stage.
    pub(super) fn ask(&mut self, asking: Asking, question: ControlRequest, conclude: Conclude) {
        self.question = Some((asking, question, conclude));
    }

    /// Notes which command each reply of a stage is of.
    pub(super) fn keep_replies(&mut self, answered: Vec<Answered>) {
        for Answered { places, outcome, .. } in answered {
            let mut from = (0, 0);
            for (place, end) in places.into_iter().zip(&outcome.reply_ends) {
                let to = end.get().unwrap_or(from);
                let source = self.sources_now().len();
                self.answer_at(place as usize).pieces.push((source, from..to));
                from = to;
            }
            self.sources_now().push(outcome.replies);
        }
    }

    /// Replies of shards: those of what a script asks go when it has them.
    fn sources_now(&mut self) -> &mut Vec<ReplyBuffer> {
        match &mut self.script {
            Some(step) if step.call.is_some() => &mut step.call.as_mut().expect("just seen").sources,
            _ => &mut self.sources,
        }
    }

    /// The whole reply.
    pub(super) fn reply(&mut self, protocol: Protocol, out: &mut ReplyBuffer) {
        if !self.is_single {
            Reply::new(out, protocol).array(self.answers.len());
        }
        for answer in std::mem::take(&mut self.answers).into_iter().filter(|answer| !answer.is_muted) {
            answer.write(&self.sources, protocol, out);
        }
    }
}

impl Answer {
    /// The reply, of what is here and in replies of shards.
    fn write(self, sources: &[ReplyBuffer], protocol: Protocol, out: &mut ReplyBuffer) {
        let Self { mut own, pieces, merge: kind, .. } = self;
        out.append(&mut own);
        let piece = |(source, range): Piece, out: &mut ReplyBuffer| out.append_part(&sources[source], range);
        match kind {
            Some((spread, places)) => {
                let parts = pieces.into_iter().map(|part| {
                    let mut buffer = ReplyBuffer::default();
                    piece(part, &mut buffer);
                    buffer
                });
                merge(spread, parts.collect(), &places, &mut Reply::new(out, protocol));
            }
            None => pieces.into_iter().for_each(|part| piece(part, out)),
        }
    }
}

/// What a script asks, under way.
pub(super) struct Call {
    answer: Answer,
    sources: Vec<ReplyBuffer>,
}

impl Call {
    /// At a place.
    pub(super) fn new(number: usize) -> Self {
        Self { answer: Answer { number, ..Answer::default() }, sources: Vec::new() }
    }

    /// The reply, encoded.
    pub(super) fn reply(self, protocol: Protocol) -> Vec<u8> {
        let mut out = ReplyBuffer::default();
        self.answer.write(&self.sources, protocol, &mut out);
        if out.shared.is_empty() { out.bytes } else { out.flatten() }
    }
}

impl Plan {
    /// These shards, each whole.
    pub(super) fn alone(shards: impl Iterator<Item = usize>) -> Self {
        let intents = shards.map(|shard| (shard, SmallVec::new())).collect();
        Self { intents, is_global: true, asks_all: false }
    }
}

impl Core {
    /// EXEC, by that name, of an open transaction that nothing has broken.
    pub fn exec(&mut self, connection: &mut Connection, entry: &'static CommandEntry, name: &[u8]) {
        let (mut queue, watching) = connection.transaction.take();
        self.refuse_in_queue(connection, &mut queue);
        if self.is_all_here(connection, &queue, watching) {
            self.exec_here(connection, &queue, watching);
            if self.shared.shards() > 1 {
                self.follow_keys(connection, self.index);
            }
            return connection.transaction.give_back(queue);
        }
        if watching.is_none()
            && let Some(owners) = self.owners_of(&queue)
        {
            if owners.iter().all(|owner| *owner == owners[0]) {
                self.follow_keys(connection, owners[0] as usize);
            }
            self.show_commands(connection, &queue);
            self.join_batches(connection, entry, &queue, &owners);
            return connection.transaction.give_back(queue);
        }
        let plan = self.plan(&queue);
        if let (1, Some((&owner, _))) = (plan.intents.len(), plan.intents.first_key_value()) {
            self.follow_keys(connection, owner);
        }
        let shown_as = (self.pubsub.is_monitored && watching.is_some()).then(|| name.into());
        self.shows_later = shown_as.is_some();
        if shown_as.is_none() {
            self.show_commands(connection, &queue);
        }
        let user = connection.session.access.user_to_ask();
        let exec = Exec { shown_as, user, ..Exec::new(connection.key, connection.session.client, *queue, None) };
        self.start_unit(connection, entry, exec, watching, plan);
    }

    /// Those who watch all commands see the queue in front of EXEC itself, if it runs.
    fn show_commands(&mut self, connection: &Connection, queue: &Queue) {
        if self.pubsub.is_monitored {
            for (Queued { entry, .. }, arguments) in queue.commands.iter().zip(queue.arguments.commands()) {
                self.monitor(connection, entry, &arguments);
            }
        }
    }

    /// The same of an EXEC of which it is known only now whether it runs.
    pub(super) fn show_later(&mut self, exec: &mut Exec, entry: &'static CommandEntry, is_valid: bool) {
        let Some(name) = exec.shown_as.take() else { return };
        let Some(connection) = self.take_connection(exec.connection) else { return };
        if is_valid {
            self.show_commands(&connection, &exec.queue);
        }
        self.monitor(&connection, entry, &[&name]);
        self.put_connection(connection);
    }

    /// Whether it can run inline: all keys ours, nothing of the connection under way, no lock held.
    fn is_all_here(&self, connection: &Connection, queue: &Queue, watching: Option<Watching>) -> bool {
        if connection.outstanding() != 0 || !self.schedule.is_idle() {
            return false;
        }
        let is_ours = |slot| self.shared.shard_of(slot) == self.index;
        let is_here = |Queued { entry, key, offset }: &Queued| match (entry.target, key.get()) {
            // It may run for long, and be ended.
            (Target::Engine(_), _) if entry.is_script => false,
            (Target::Engine(_), Some((slot, _))) => is_ours(slot),
            (Target::Engine(_), None) => {
                let arguments = queue.arguments.slices_at(*offset);
                match entry.keys {
                    KeyPlan::None => self.shared.shards() == 1,
                    KeyPlan::One(index) => is_ours(slot_of(arguments[index])),
                    KeyPlan::Many => self.owner_of_keys(entry, &arguments) == Some(self.index),
                }
            }
            // The others may ask other shards.
            (Target::Session(_), _) => entry.spec.flags.has(Flags::FAST),
        };
        queue.commands.iter().all(is_here) && watching.is_none_or(|watching| watching.shards == 1 << self.index)
    }

    fn exec_here(&mut self, connection: &mut Connection, queue: &Queue, watching: Option<Watching>) {
        let now = self.shard.now();
        let is_valid = self.still_as_seen(watching.map(|watching| watching.watcher), now);
        let mut reply = Reply::new(connection.output.tail(), connection.session.client.protocol);
        if !is_valid {
            return reply.null_array();
        }
        reply.array(queue.commands.len());
        self.show_commands(connection, queue);
        let history = self.shard.keyspace.journal.begin_unit();
        let mut stopwatch = self.stopwatch();
        for (Queued { entry, key, .. }, arguments) in queue.commands.iter().zip(queue.arguments.commands()) {
            self.count_in_unit(Some(connection), entry);
            let out = connection.output.tail();
            let from = (out.bytes.len(), out.shared.len());
            match entry.target {
                Target::Engine(_) => {
                    let client = connection.session.client;
                    self.run_whole(entry, &arguments, *key, client, now, connection.output.tail());
                    if client.tracks {
                        self.remember(
                            entry,
                            &arguments,
                            Address { shard: self.index as u32, connection: connection.key },
                        );
                    }
                }
                Target::Session(handler) => {
                    let mut session = Session { core: self, connection, entry };
                    if let Err(error) = handler(&mut session, &arguments) {
                        self.counters.calls.failed[entry.id] += 1;
                        self.fail(connection, &error);
                    }
                }
            }
            if self.observer.is_on {
                let out = connection.output.tail();
                let end = (out.bytes.len(), out.shared.len());
                let seen = Seen { took_ns: stopwatch.split(), reply_bytes: reply_bytes(out, from, end) };
                let by = Address { shard: self.index as u32, connection: connection.key };
                self.observe(entry, seen, &arguments, by);
            }
        }
        // What its session commands may have called.
        self.observer.runs_here = connection.figures.last_command;
        let unit = (self.index, self.coordinator.take_id());
        self.shard.keyspace.journal.end_unit(history, unit);
        self.serve_ready_after(connection.key);
    }

    /// A command of a transaction counts as any other.
    pub(super) fn count_in_unit(&mut self, connection: Option<&mut Connection>, entry: &CommandEntry) {
        self.counters.commands += 1;
        self.counters.calls.calls[entry.id] += 1;
        if let Some(connection) = connection {
            connection.figures.commands += 1;
        }
    }

    /// Which keys of which shards a queue will touch.
    pub(super) fn plan(&self, queue: &Queue) -> Plan {
        let mut plan = Plan::default();
        for (Queued { entry, key, .. }, arguments) in queue.commands.iter().zip(queue.arguments.commands()) {
            self.plan_command(&mut plan, entry, *key, &arguments);
        }
        if plan.is_global || plan.asks_all {
            for shard in 0..self.shared.shards() {
                plan.intents.entry(shard).or_default();
            }
        }
        plan
    }

    /// Whether a command may touch any key of any shard.
    pub(super) fn is_about_any_key(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        match (entry.target, entry.keys) {
            _ if entry.is_script => true,
            // What it does with keys it does as a command of the engine that it names itself.
            (Target::Session(_), keys) => keys != KeyPlan::None || entry.spec.flags.has(Flags::TOUCHES_ARBITRARY_KEYS),
            (Target::Engine(_), KeyPlan::None) => {
                entry.spec.spread.is_on_all_shards() || entry.spec.spread == Spread::Walk
            }
            (Target::Engine(_), _) => entry.discovery(arguments).is_some(),
        }
    }

    fn plan_command(&self, plan: &mut Plan, entry: &CommandEntry, key: KnownKey, arguments: &[&[u8]]) {
        plan.is_global |= self.is_about_any_key(entry, arguments);
        if let (Some((slot, hash)), Target::Engine(_)) = (key.get(), entry.target) {
            let intents = plan.intents.entry(self.shared.shard_of(slot)).or_default();
            return intents.push(Intent { fingerprint: hash, slot, mode: Mode::of(entry.is_write, entry.is_write) });
        }
        match (entry.target, entry.keys) {
            (Target::Session(_), _) => plan.asks_all |= !entry.spec.flags.has(Flags::FAST),
            (Target::Engine(_), KeyPlan::None) => {}
            _ if plan.is_global => {}
            (Target::Engine(_), _) => {
                let Claim::Keys(intents) = claim_of(&self.shared.hasher, entry, arguments) else { return };
                let mut intents = intents.into_iter();
                let mut add = |index: usize, _| {
                    let shard = self.shared.shard_of(slot_of(arguments[index]));
                    plan.intents.entry(shard).or_default().extend(intents.next());
                };
                match entry.keys {
                    KeyPlan::One(index) => add(index, KeyFlags::NONE),
                    _ => drop(entry.spec.visit_keys(arguments, add)),
                }
            }
        }
    }

    pub(super) fn start_unit(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        exec: Exec,
        watching: Option<Watching>,
        mut plan: Plan,
    ) {
        // Which keys are watched there is known to each shard.
        for shard in watching.into_iter().flat_map(|watching| shards_of(watching.shards)) {
            plan.intents.entry(shard).or_default();
        }
        let is_write = exec.queue.is_write;
        let (mut run, claims, locks_first) = self.planned(exec, plan, is_write, watching.is_some());
        let (steps, is_last) =
            if locks_first { (Steps::default(), false) } else { self.next_steps(&mut run, Some(connection)) };
        run.holds_connection = !is_last;
        connection.is_waiting |= !is_last;
        let parts = run.first_stage(steps, is_last, claims, watching);
        self.start(connection, entry, Kind::Unit(Box::new(run)), parts);
    }

    /// A unit with what it locks on each shard, and whether it does so in a stage of its own.
    pub(super) fn planned(
        &self,
        exec: Exec,
        mut plan: Plan,
        is_write: bool,
        is_watching: bool,
    ) -> (UnitRun, BTreeMap<usize, Claim>, bool) {
        // Commands without keys, or whose arguments name none, run here.
        plan.intents.entry(self.index).or_default();
        let has_several = plan.intents.len() > 1;
        let run = UnitRun::new(exec, plan.intents.keys().copied(), is_write);
        let claims = plan
            .intents
            .into_iter()
            .map(|(shard, intents)| (shard, if plan.is_global { Claim::Alone } else { Claim::Keys(intents) }));
        let wants_effects = self.shard.keyspace.journal.wants_effects();
        let is_told_first = is_watching && self.pubsub.is_monitored;
        (run, claims.collect(), is_told_first || has_several && (is_watching || is_write && wants_effects))
    }

    /// What the next stage is to do, and whether it is the last.
    pub(super) fn next_steps(&mut self, run: &mut UnitRun, connection: Option<&mut Connection>) -> (Steps, bool) {
        let mut steps = Steps::default();
        let shards: SmallVec<[usize; 8]> = run.tickets.keys().copied().collect();
        let exec = &mut run.exec;
        for (shard, place, finish) in exec.writes.drain(..) {
            steps.write(shard, place, finish);
        }
        if let Some(waiter) = &exec.waiter {
            exec.waits.drain(..).for_each(|shard| steps.wait(shard, waiter.clone()));
        }
        if let Some(OverlayStep { begun: Some(begun), client, entry, .. }) = exec.overlay.as_deref() {
            for (shard, numbers) in &begun.asked {
                let read = |&number: &usize| KeyRead {
                    database: client.database as usize,
                    key: begun.questions[number].clone(),
                    stub: false,
                    mode: Mode::Read,
                };
                steps.read(*shard, numbers.iter().map(read).collect(), entry.spec.flags.has(Flags::READONLY));
            }
            return (steps, false);
        }
        if exec.script.is_some() && exec.question.is_none() {
            self.script_steps(run, &mut steps);
        }
        self.next_commands(run, &mut steps, connection);
        let exec = &mut run.exec;
        if exec.script.as_ref().is_some_and(|step| step.call.is_none()) && !exec.is_paused {
            self.script_steps(run, &mut steps);
        }
        let exec = &mut run.exec;
        // A question sees what came before it: that goes first.
        if steps.is_empty()
            && let Some((asking, request, conclude)) = exec.question.take()
        {
            let request = Arc::new(request);
            shards.iter().for_each(|shard| steps.ask(*shard, request.clone()));
            exec.concluding = Some((asking, request, conclude));
        }
        let is_last = exec.is_through();
        (steps, is_last)
    }

    /// Commands of the queue that the next stage may do, up to one that has to wait for what it asks.
    fn next_commands(&mut self, run: &mut UnitRun, steps: &mut Steps, mut connection: Option<&mut Connection>) {
        let is_begun = run.is_begun();
        let exec = &mut run.exec;
        let queue = std::mem::take(&mut exec.queue);
        while exec.next < queue.commands.len() && exec.overlay.is_none() && !exec.asks() && exec.script.is_none() {
            let index = exec.next;
            let Queued { entry, key, offset } = queue.commands[index];
            // It runs here when all shards hold what it may want, and what comes before it is done.
            if entry.is_script && (!is_begun || !steps.is_empty()) {
                break;
            }
            exec.next += 1;
            let place = exec.take_number();
            exec.answers[index].number = place;
            let arguments = queue.arguments.slices_at(offset);
            if !exec.is_single {
                self.count_in_unit(connection.as_deref_mut(), entry);
            }
            if entry.is_script {
                self.begin_script_step(exec, place, entry, &arguments);
                continue;
            }
            let Target::Session(handler) = entry.target else {
                self.place_command(exec, steps, place, entry, &arguments, key);
                continue;
            };
            let Some(connection) = connection.as_deref_mut() else { continue };
            match self.run_session(connection, &mut exec.answers[index].own, entry, handler, &arguments) {
                Captured::Nothing => {}
                Captured::Question(request, conclude) => {
                    let arguments = self.observer.keep(entry, &arguments);
                    exec.ask(Asking { place, entry, arguments }, request, conclude);
                }
                Captured::Task(task) => {
                    let arguments = self.observer.keep(entry, &arguments);
                    exec.task = Some((Asking { place, entry, arguments }, task));
                }
                Captured::Command(entry, arguments) => {
                    self.place_command(exec, steps, place, entry, &arguments.slices(), None.into());
                }
            }
            exec.client = connection.session.client;
            if connection.session.reply_mode == ReplyMode::Off {
                exec.answers[index..].iter_mut().for_each(|answer| answer.is_muted = true);
            } else {
                exec.answers[index..].iter_mut().for_each(|answer| answer.is_muted = false);
            }
        }
        exec.queue = queue;
    }

    /// A session command in its turn; what it encodes goes to `own`.
    fn run_session(
        &mut self,
        connection: &mut Connection,
        own: &mut ReplyBuffer,
        entry: &'static CommandEntry,
        handler: SessionHandler,
        arguments: &[&[u8]],
    ) -> Captured {
        let output = std::mem::take(&mut connection.output);
        let mut stopwatch = self.stopwatch();
        self.capture = Some(Captured::Nothing);
        let mut session = Session { core: self, connection, entry };
        let result = handler(&mut session, arguments);
        let captured = self.capture.take().unwrap_or(Captured::Nothing);
        if let Err(error) = result {
            self.counters.calls.failed[entry.id] += 1;
            self.fail(connection, &error);
        }
        *own = std::mem::replace(&mut connection.output, output).ready;
        if self.observer.is_on && !matches!(captured, Captured::Question(..) | Captured::Task(_)) {
            let seen = Seen { took_ns: stopwatch.split(), reply_bytes: own.len() };
            let by = Address { shard: self.index as u32, connection: connection.key };
            self.observe(entry, seen, arguments, by);
        }
        captured
    }

    /// A command of the engine goes to where it belongs.
    pub(super) fn place_command(
        &mut self,
        exec: &mut Exec,
        steps: &mut Steps,
        place: usize,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        key: KnownKey,
    ) {
        let client = exec.client;
        let command = (place, entry, client);
        let owner = match (key.get(), entry.keys) {
            (Some((slot, _)), _) => Some(self.shared.shard_of(slot)),
            (None, KeyPlan::One(index)) => Some(self.shared.shard_of(slot_of(arguments[index]))),
            // What a shard answers is no reply yet, also where it is the only one.
            (None, KeyPlan::None) if entry.spec.spread == Spread::AllShardsDigest => None,
            (None, KeyPlan::None) => self.owner_without_keys(entry, arguments, client.database as usize),
            (None, KeyPlan::Many) => self.owner_of_keys(entry, arguments),
        };
        if let Some(owner) = owner {
            steps.command(owner, command, arguments, key, true);
            if let Some(waiter) = &exec.waiter {
                steps.may_wait(owner, waiter.clone());
            }
            return;
        }
        match entry.spec.spread {
            Spread::Walk => {
                let (request, conclude) = Self::walk_question(entry, arguments, client.database as usize);
                let arguments = self.observer.keep(entry, arguments);
                exec.question = Some((Asking { place, entry, arguments }, request, conclude));
            }
            spread if spread.is_on_all_shards() => {
                for shard in 0..self.shared.shards() {
                    let is_told = shard == 0 || !spread.is_told_once();
                    steps.command(shard, command, arguments, key, is_told);
                }
                steps.are_one(place);
                exec.answer_at(place).merge = Some((spread, Vec::new()));
            }
            spread @ (Spread::Sum | Spread::AllOk | Spread::Gather) => {
                let Some(groups) = self.shared.split(entry, arguments) else {
                    // A key without its value: any shard will say so.
                    return steps.command(self.index, command, arguments, key, true);
                };
                let mut places = Vec::new();
                for (shard, (arguments, group)) in groups {
                    steps.command(shard, command, &arguments, key, true);
                    places.push(group);
                }
                steps.are_one(place);
                exec.answer_at(place).merge = Some((spread, places));
            }
            _ => self.place_overlay(exec, steps, place, entry, arguments),
        }
    }

    fn place_overlay(
        &mut self,
        exec: &mut Exec,
        steps: &mut Steps,
        place: usize,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) {
        let client = exec.client;
        let Some(wanted) = self.values_wanted(entry, arguments, client.database as usize) else { return };
        let ValuesWanted { keys, groups, discovery } = wanted;
        let asks = discovery.is_some();
        for (shard, numbers) in &groups {
            let keys = numbers.iter().map(|&number| keys[number].clone()).collect();
            steps.read(*shard, keys, entry.spec.flags.has(Flags::READONLY));
        }
        let (shards, places) = groups.into_iter().unzip();
        let arguments = PackedArguments::new(arguments);
        let step = OverlayStep { place, entry, arguments, client, keys, shards, places, asks, begun: None };
        exec.overlay = Some(Box::new(step));
    }

    /// The answers to a stage that is not the last.
    pub(super) fn exec_answered(&mut self, run: &mut UnitRun, mut answered: Vec<Answered>, id: u64, took_ns: u64) {
        let protocol = run.exec.client.protocol;
        if let Some((asking, request, conclude)) = run.exec.concluding.take() {
            if let Some(next) = self.next_round(&request) {
                return run.exec.ask(asking, next, conclude);
            }
            let replies = answered.iter_mut().filter_map(|answered| answered.outcome.answers.pop());
            let replies = replies.collect();
            let own = run.exec.own_reply(asking.place);
            conclude(self, replies, &mut Reply::new(own, protocol));
            let reply_bytes = own.len();
            let by = Address { shard: self.index as u32, connection: run.exec.connection };
            self.observe_asked(&asking, took_ns, reply_bytes, by);
        }
        if let Some(step) = run.exec.overlay.take() {
            self.overlay_answered(run, *step, &mut answered, id);
        }
        run.exec.keep_replies(answered);
    }

    /// A command that has asked has its answer.
    pub(super) fn observe_asked(&mut self, asking: &Asking, took_ns: u64, reply_bytes: usize, by: Address) {
        if self.observer.is_on {
            let arguments = asking.arguments.as_ref().map(|arguments| arguments.slices()).unwrap_or_default();
            self.observe(asking.entry, Seen { took_ns, reply_bytes }, &arguments, by);
        }
    }

    /// Values that a command has asked for are there: it goes on, up to its end or further questions.
    fn overlay_answered(&mut self, run: &mut UnitRun, mut step: OverlayStep, answered: &mut [Answered], id: u64) {
        const STEP_UNITS: u64 = 1 << 16;
        let Target::Engine(handler) = step.entry.target else { return };
        let mut stopwatch = self.stopwatch();
        let begun = step.begun.take();
        let packed = std::mem::take(&mut step.arguments);
        let arguments = packed.slices();
        let unit = (self.index, id);
        let (keys, parts, client) = (&step.keys, &step.places, step.client);
        let (now, has_let_go) = (run.now, false);
        let overlay = Overlay { handler, arguments: &arguments, client, keys, parts, unit, now, has_let_go };
        let (mut temporary, mut unfinished, mut out) = if let Some(mut begun) = begun {
            begun.unfinished.answer(values_of(answered, &begun.asked, begun.questions.len()));
            (begun.temporary, Some(begun.unfinished), begun.out)
        } else {
            let gathered = step.shards.iter().map(|shard| {
                let answered = answered.iter_mut().find(|answered| answered.shard == *shard);
                answered.and_then(|answered| answered.outcome.gathered.pop()).unwrap_or_default()
            });
            let mut out = ReplyBuffer::default();
            let (temporary, unfinished) = overlay.begin(gathered.collect(), step.asks, &self.shard, &mut out);
            (temporary, unfinished, out)
        };
        while let Some(mut work) = unfinished.take() {
            let questions = work.questions();
            if !questions.is_empty() {
                let asked = self.places_by_shard(questions.iter().map(Vec::as_slice)).into_iter().collect();
                step.begun = Some(Begun { temporary, unfinished: work, out, questions, asked });
                drop(arguments);
                step.arguments = packed;
                run.exec.overlay = Some(Box::new(step));
                return;
            }
            if work.step(&mut temporary, STEP_UNITS, &mut out) == Progress::More {
                unfinished = Some(work);
            }
        }
        let errors = self.error_count();
        if run.exec.waiter.is_some() && temporary.keyspace.found_nothing {
            self.shard.count_for(&temporary);
            run.exec.waits.extend_from_slice(&step.shards);
            return;
        }
        let finishes = overlay.finish(temporary, &mut self.shard);
        self.note_failure(step.entry, errors);
        if self.observer.is_on {
            let by = Address { shard: self.index as u32, connection: run.exec.connection };
            let seen = Seen { took_ns: stopwatch.split(), reply_bytes: out.len() };
            self.observe(step.entry, seen, &arguments, by);
        }
        for (&shard, finish) in step.shards.iter().zip(finishes) {
            run.exec.writes.push((shard, step.place, finish));
        }
        *run.exec.own_reply(step.place) = out;
    }
}
