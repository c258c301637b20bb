//! A script whose keys are on several shards: a unit whose steps the script decides, one after the other.
//!
//! ```text
//!   its own shard, inline or as a message                      a unit (core::unit)
//!     asks for a key of another shard ── undone there ──────>    these shards alone: locks
//!     its keys are of several shards, or it is known  ──────>    the script runs on the coordinator; what it asks is
//!       to look further than they say                              here:       run at once, in place
//!                                                                  elsewhere:  a stage of that shard; it waits meanwhile
//!     asks for a shard that the unit does not have ── undone, and begun again with that one, too
//! ```
//!
//! * The lock is the shard. So a script cannot wait in a circle, and what it has been found to need is at most all shards:
//!   it is begun again once for each, and where that has happened a few times it is given all at once ([`Habits`]).
//! * What is undone has never been: values, events, messages, counts, versions of watched keys ([`begin_undoable`]).
//! * A script in EXEC is the same in the middle of the queue. Such a unit has every shard from the beginning.
//! * A connection whose script may yet be begun again runs nothing behind it meanwhile.
//! * A run that goes on for long gives up the thread as any; its shards tell whoever asks that they are busy.
//!
//! [`Habits`]: crate::scripting::Habits
//! [`begin_undoable`]: torc_engine::keyspace::Keyspace::begin_undoable

use super::Core;
use super::batches::{ShardSet, shards_of};
use super::connection::Connection;
use super::dispatch::Flow;
use super::exec::{Call, Exec, Plan};
use super::multi::Queue;
use super::unit::{Steps, UnitRun};
use crate::command_table::CommandEntry;
use crate::mailbox::{Message, PackedArguments, Request};
use crate::scripting::{Missed, Place, ScriptRun, TICKS_A_SLICE, Went, all_shards, encode, shards_of_command};
use std::collections::VecDeque;
use torc_engine::command::CommandError;
use torc_engine::keyspace::slot_of;
use torc_engine::reply::{Protocol, Reply};
use torc_engine::shard::ClientContext;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;

/// A script in the middle of a unit.
pub(super) struct ScriptStep {
    /// Where its reply belongs.
    place: usize,
    run: ScriptRun,
    client: ClientContext,
    /// What it waits for.
    pub(super) call: Option<Call>,
}

/// A script that another shard has undone.
#[derive(Debug)]
pub struct Rerun {
    /// The command, as its connection has sent it.
    pub request: Request,
    /// The shards that it is known to need.
    pub shards: ShardSet,
    /// Its arguments.
    pub arguments: PackedArguments,
}

/// A unit whose script goes on in the next turn.
pub(super) struct Parked {
    run: UnitRun,
    id: u64,
    client: ClientContext,
    request: Option<Request>,
}

/// Units whose scripts go on in the next turn, of the connections of this shard.
pub(super) type ParkedUnits = VecDeque<Parked>;

/// Where a script begins.
impl Core {
    /// A script that is to have several shards from the beginning begins with them; if it is one, how the input goes on.
    #[inline]
    pub(super) fn begins_as_unit(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) -> Option<Flow> {
        if !entry.is_script || self.shared.shards() == 1 {
            return None;
        }
        let shards = self.shards_of_script(entry, arguments)?;
        if shards == all_shards(&self.shared) && self.waits_for_units(connection) {
            return Some(Flow::NotRun);
        }
        self.count(connection, entry);
        self.begin_script_unit(connection, entry, arguments, shards);
        Some(Flow::Next)
    }

    /// The shards that a script is to have from the beginning; none if that is the one of its keys.
    fn shards_of_script(&self, entry: &'static CommandEntry, arguments: &[&[u8]]) -> Option<ShardSet> {
        let name = || self.script_name(arguments);
        if self.scripting.habits.borrow().is_wide(name) {
            return Some(all_shards(&self.shared));
        }
        Some(self.declared_shards(entry, arguments)).filter(|shards| shards.count_ones() > 1)
    }

    fn declared_shards(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> ShardSet {
        let mut shards = 0;
        let _ = entry.spec.visit_keys(arguments, |index, _| {
            shards |= 1 << self.shared.shard_of(slot_of(arguments[index]));
        });
        shards
    }

    /// What a client calls it: a text, a digest, a function.
    fn script_name(&self, arguments: &[&[u8]]) -> u64 {
        self.shared.hasher.hash(arguments.get(1).copied().unwrap_or_default())
    }

    /// A script for a connection that is at hand, with these shards.
    pub(super) fn begin_script_unit(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        shards: ShardSet,
    ) {
        connection.is_waiting = true;
        self.observer.runs_here = None;
        let request = Self::expect_reply(connection, entry, true);
        self.launch_script(request, shards, PackedArguments::new(arguments));
    }

    /// A script has been undone for want of these shards: again, with them.
    pub(super) fn run_script_again(&mut self, origin: usize, request: Request, missed: Missed, arguments: &[&[u8]]) {
        let arguments = missed.arguments.unwrap_or_else(|| PackedArguments::new(arguments));
        let rerun = Rerun { request, shards: missed.shards, arguments };
        if origin == self.index {
            return self.rerun_script(rerun);
        }
        self.send_home(origin, Node::new(Message::Rerun(Box::new(rerun))));
    }

    /// The same, on the connection's shard.
    pub(super) fn rerun_script(&mut self, rerun: Rerun) {
        let Rerun { request, shards, arguments } = rerun;
        let name = self.script_name(&arguments.slices());
        let is_wide = {
            let mut habits = self.scripting.habits.borrow_mut();
            habits.note_miss(name);
            habits.is_wide(|| name)
        };
        let shards = if is_wide { all_shards(&self.shared) } else { shards };
        if let Some(connection) = self.connection_mut(request.connection) {
            connection.is_waiting = true;
        }
        self.begin_script_again(Rerun { request, shards, arguments }, self.clock.monotonic_ns);
    }

    /// A script begins again, unless it is to have every shard and has to wait for that; it has been undone then.
    pub(super) fn begin_script_again(&mut self, rerun: Rerun, since_ns: u64) {
        let is_about_all = rerun.shards | 1 << self.index == all_shards(&self.shared);
        let rerun = if is_about_all { self.script_waits_for_units(rerun, since_ns) } else { Some(rerun) };
        if let Some(Rerun { request, shards, arguments }) = rerun {
            self.launch_script(request, shards, arguments);
        }
    }

    fn launch_script(&mut self, request: Request, shards: ShardSet, arguments: PackedArguments) {
        let (entry, client, connection) = (request.entry, request.client, request.connection);
        let queue = Queue::one(entry, &arguments.slices());
        let exec = Exec::of_script(connection, client, request.key.user(), queue);
        let shards = shards | 1 << self.index;
        let (mut run, claims, _) = self.planned(exec, Plan::alone(shards_of(shards)), entry.is_write, false);
        run.holds_connection = true;
        run.is_undoable = shards != all_shards(&self.shared) || self.scripting.undoes_killed.get();
        let parts = run.first_stage(Steps::default(), false, claims, None);
        let (header, id) = (Multicast::new(), self.take_transaction_id());
        self.flush_batches();
        self.await_stage(id, &header, run, &parts, client, Some(request));
        self.multicast(&header, id, (Some(connection), client.tracks), parts);
    }

    /// The unit's script has missed: undone, and begun again with these shards, too.
    pub(super) fn relaunch_script(&mut self, run: &UnitRun, missed: ShardSet, request: Request) {
        let arguments = run.exec.arguments().clone();
        let shards = run.shards() | missed;
        self.rerun_script(Rerun { request, shards, arguments });
    }
}

/// What it does.
impl Core {
    /// A script's turn in a unit has come; its shards are the unit's.
    pub(super) fn begin_script_step(
        &mut self,
        exec: &mut Exec,
        place: usize,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) {
        let client = exec.client();
        self.prepare_script(entry, client, exec.user);
        match ScriptRun::prepare(&self.scripting, entry.spec.name, arguments, client.database as usize) {
            Ok(mut run) => {
                run.is_monitored(self.shard.keyspace.journal.audience().borrow().monitors() != 0);
                exec.script = Some(Box::new(ScriptStep { place, run, client, call: None }));
            }
            Err(CommandError(text)) => {
                self.counters.errors.count(&text);
                Reply::new(exec.own_reply(place), client.protocol).error_bytes(&text);
            }
        }
    }

    /// Goes on with a script up to what it asks, which becomes a part of the next stage.
    pub(super) fn script_steps(&mut self, run: &mut UnitRun, steps: &mut Steps) {
        let Some(mut step) = run.exec.script.take() else { return };
        if let Some(call) = step.call.take() {
            let protocol = protocol_of(&step.run);
            step.run.exchange().reply = call.reply(protocol);
        }
        let place = &mut Place::Unit { now: run.now, databases: self.shard.keyspace.database_count() };
        match step.run.go_on(place, TICKS_A_SLICE) {
            Went::Done(reply) => self.script_ends(run, *step, &reply),
            Went::Paused => {
                let may_be_undone = self.scripting.undoes_killed.get() && run.is_undoable;
                step.run.is_long(&run.exec.arguments().slices(), run.now, run.shards(), may_be_undone);
                (run.exec.is_paused, run.exec.script) = (true, Some(step));
            }
            Went::Elsewhere(shards) => run.missed = Some(shards),
            Went::Asks(entry) => {
                let arguments: PackedArguments = packed(step.run.exchange().arguments.iter());
                let arguments = arguments.slices();
                let needed = shards_of_command(&self.shared, self.index, entry, &arguments);
                if needed & !run.shards() != 0 {
                    run.missed = Some(needed);
                    return;
                }
                run.asked |= needed;
                let is_told = step.run.tells_effects();
                let (database, protocol) = (step.run.database() as u32, protocol_of(&step.run));
                let client = ClientContext { database, protocol, in_script: true, ..step.client };
                let number = run.exec.take_number();
                step.call = Some(Call::new(number));
                run.exec.script = Some(step);
                let outside = run.exec.replace_client(client);
                self.place_command(&mut run.exec, steps, number, entry, &arguments, None.into());
                run.exec.replace_client(outside);
                if !is_told {
                    steps.are_not_told();
                }
            }
        }
    }

    fn script_ends(&mut self, run: &mut UnitRun, mut step: ScriptStep, reply: &torc_scripting::Reply) {
        if let torc_scripting::Reply::Error { line, is_counted: false } = reply {
            self.counters.errors.count(line);
        }
        let own = run.exec.own_reply(step.place);
        encode(reply, &mut Reply::new(own, step.client.protocol));
        if step.run.is_to_undo() {
            run.is_undone = true;
        } else {
            step.run.settle();
            if run.exec.is_script() {
                self.learn_of_script(run);
            }
        }
    }

    /// Whether it would have done with less.
    fn learn_of_script(&mut self, run: &UnitRun) {
        let arguments = run.exec.arguments().slices();
        let declared = match self.declared_shards(run.exec.entry(), &arguments) {
            0 => 1 << self.index,
            declared => declared,
        };
        if run.asked & !declared == 0 {
            let name = self.script_name(&arguments);
            self.scripting.habits.borrow_mut().note_needless(name);
        }
    }

    /// A unit's script is not through: others have their turn.
    pub(super) fn park(&mut self, run: UnitRun, id: u64, client: ClientContext, request: Option<Request>) {
        self.parked.push_back(Parked { run, id, client, request });
    }

    /// A slice of such a script.
    pub(super) fn parked_slice(&mut self) {
        if let Some(Parked { run, id, client, request }) = self.parked.pop_front() {
            self.go_on_with_unit(run, id, client, request);
        }
    }

    /// Tells those who watch commands what scripts have called.
    #[inline]
    pub(super) fn tell_script_lines(&mut self) {
        if !self.scripting.lines.borrow().is_empty() {
            self.monitor_script_lines();
        }
    }
}

fn protocol_of(run: &ScriptRun) -> Protocol {
    match run.exchange().protocol {
        torc_scripting::Protocol::Resp2 => Protocol::Resp2,
        torc_scripting::Protocol::Resp3 => Protocol::Resp3,
    }
}

fn packed<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> PackedArguments {
    let arguments: smallvec::SmallVec<[&[u8]; 8]> = arguments.collect();
    PackedArguments::new(&arguments)
}
