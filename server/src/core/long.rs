//! Long commands: a slice of one a turn, so that other clients of the shard never wait for more than that.
//!
//! ```text
//!   handler hands over ──> run ──> ready: [run] [run] ...     one step a turn, round and round
//!                                    │  ▲
//!          no room at the client ────┘  └──── room: a send is over, a credit comes
//!
//!   where a reply goes        how far production may be ahead of the client
//!   Here      our client      `BACKLOG_BYTES_MAX` not yet handed to the socket
//!   Away      another shard   `PIECES_AHEAD` pieces without a credit; the client's shard gives one when it has room
//!   Part      a multicast     kept whole: the coordinator must know every part's length first
//! ```
//!
//! * A slice is several steps, and the clock is looked at after each: what a unit takes changes from one stage of a command to
//!   the next by a factor of ten and more. How many units fit in a step is learnt from it, for each run by itself. A clock that
//!   stands still during a turn teaches nothing: the simulation cuts in steps as long as a first one, one a turn.
//! * A client whose own shard works for it runs nothing else meanwhile. What runs on other shards goes on, as its answers
//!   are awaited anyway.
//! * A run that only reads ends with its client. One that writes has its place in the order already: it always ends
//!   with its commit, heard or not, and only then are its keys free; so it waits for no client. What is left to tell then is
//!   a read as any other.

use super::Core;
use super::connection::{Connection, ConnectionKey, Phase, RunId, Stream};
use super::coordinator::OverlayRun;
use super::instants::Awaited;
use super::observe::Seen;
use super::tracking::Address;
use crate::command_table::CommandEntry;
use crate::mailbox::{Envelope, Message, Outcome, PackedArguments, Piece, Request};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use torc_engine::command::Flags;
use torc_engine::long::{Progress, STEP_BYTES_MAX, Unfinished};
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::Shard;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::schedule::{Intent, Mode, Ticket};

/// What a slice should take, in nanoseconds, and each of its steps.
const SLICE_NS: u64 = 400_000;
const STEP_NS: u64 = 50_000;
/// Units of a run's first step, and the least and the most of any.
const UNITS_A_STEP: u64 = 512;
const UNITS_MIN: u64 = 16;
const UNITS_MAX: u64 = 512;
/// A client with more than this ready for its socket gets no more yet, in bytes.
const BACKLOG_BYTES_MAX: usize = 256 << 10;
/// Pieces that another shard may send before it hears that there is room.
const PIECES_AHEAD: u32 = 2;

/// Where a run's reply goes.
enum Destination {
    /// To a connection of this shard.
    Here(Request),
    /// To a connection of another shard.
    Away { origin: usize, request: Request, credit: u32, reply: ReplyBuffer },
    /// Into the outcome of a part of a multicast.
    Part { envelope: Envelope, reply: ReplyBuffer },
}

/// A command that is worked off in slices.
pub(super) struct Run {
    pub(super) unfinished: Unfinished,
    destination: Destination,
    /// Under which it holds what it will write.
    ticket: Option<Ticket>,
    /// The values of other shards that it works on, if it does.
    pub(super) overlay: Option<Box<OverlayRun>>,
    /// What it has asked other shards: it takes no step before they have answered.
    pub(super) awaited: Option<Awaited>,
    budget: u64,
    /// Nobody wants the reply any more.
    is_abandoned: bool,
    /// What its slices took, and how long its reply is so far.
    seen: Seen,
    /// What may have to be remembered of it.
    kept: Option<Box<PackedArguments>>,
}

impl Run {
    fn new(
        unfinished: Unfinished,
        destination: Destination,
        ticket: Option<Ticket>,
        overlay: Option<Box<OverlayRun>>,
    ) -> Self {
        Self {
            unfinished,
            destination,
            ticket,
            overlay,
            awaited: None,
            budget: UNITS_A_STEP,
            is_abandoned: false,
            seen: Seen::default(),
            kept: None,
        }
    }

    /// The connection whose command it is.
    fn asker(&self, shard: usize) -> Option<Address> {
        match &self.destination {
            Destination::Here(request) => Some(Address { shard: shard as u32, connection: request.connection }),
            Destination::Away { origin, request, .. } => {
                Some(Address { shard: *origin as u32, connection: request.connection })
            }
            Destination::Part { .. } => None,
        }
    }

    fn entry(&self) -> Option<&'static CommandEntry> {
        match &self.destination {
            Destination::Here(request) | Destination::Away { request, .. } => Some(request.entry),
            Destination::Part { .. } => None,
        }
    }

    fn is_write(&self) -> bool {
        self.holds_keys() && !self.unfinished.only_reads()
    }

    fn holds_keys(&self) -> bool {
        self.ticket.is_some() || self.overlay.as_ref().is_some_and(|overlay| overlay.writes())
    }
}

/// The long commands of a shard.
#[derive(Default)]
pub(super) struct LongRuns {
    runs: BTreeMap<RunId, Run>,
    ready: VecDeque<RunId>,
    next: RunId,
}

impl LongRuns {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The run has something to do, if it is not in line already.
    pub(super) fn wake(&mut self, run: RunId) {
        if self.runs.contains_key(&run) && !self.ready.contains(&run) {
            self.ready.push_back(run);
        }
    }

    pub(super) fn run_mut(&mut self, run: RunId) -> Option<&mut Run> {
        self.runs.get_mut(&run)
    }

    fn add(&mut self, run: Run) -> RunId {
        let id = self.next;
        self.next += 1;
        self.runs.insert(id, run);
        self.ready.push_back(id);
        id
    }
}

/// Steps of a run until a slice's time is over, or something else has to be seen to; what the last one came to.
fn slice(
    (unfinished, budget): (&mut Unfinished, &mut u64),
    shard: &mut Shard,
    out: &mut ReplyBuffer,
    clock: &impl Fn() -> u64,
    seen: &mut Seen,
) -> Progress {
    let (began_ns, bytes, reads) = (clock(), out.len(), unfinished.only_reads());
    let mut before_ns = began_ns;
    loop {
        let progress = unfinished.step(shard, *budget, out);
        let now_ns = clock();
        let took_ns = now_ns.saturating_sub(before_ns);
        if took_ns > 0 {
            let fitting = (u128::from(*budget) * u128::from(STEP_NS) / u128::from(took_ns)) as u64;
            *budget = fitting.min(*budget * 2).clamp(UNITS_MIN, UNITS_MAX);
        }
        let is_late = took_ns == 0 || now_ns.saturating_sub(began_ns) + STEP_NS > SLICE_NS;
        let is_enough = is_late || out.len() - bytes >= STEP_BYTES_MAX;
        if progress == Progress::Done || is_enough || unfinished.only_reads() != reads || unfinished.awaits_answers() {
            seen.took_ns += now_ns.saturating_sub(began_ns);
            seen.reply_bytes += out.len() - bytes;
            return progress;
        }
        before_ns = now_ns;
    }
}

/// What a slice came to.
enum Went {
    /// It may go on.
    On,
    /// It waits for room.
    Waits,
    /// It is over.
    Over,
}

impl From<Progress> for Went {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::More => Self::On,
            Progress::Done => Self::Over,
        }
    }
}

impl Core {
    /// Whether a slice is due.
    pub fn has_long_work(&self) -> bool {
        !self.long.ready.is_empty() || !self.parked.is_empty()
    }

    /// Number of long commands under way.
    pub fn long_commands(&self) -> usize {
        self.long.runs.len()
    }

    /// A command that has begun inline for a connection, which is at hand, goes on in slices.
    pub(super) fn connection_goes_on_later(
        &mut self,
        connection: &mut Connection,
        unfinished: Unfinished,
        request: Request,
        arguments: &[&[u8]],
    ) {
        let ticket = self.hold_on(&unfinished, request.entry, arguments, None);
        let kept = self.observer.keep(request.entry, arguments);
        let id = self.add_run(Run { kept, ..Run::new(unfinished, Destination::Here(request), ticket, None) });
        connection.runs.push(id);
    }

    /// A command that has begun for a connection goes on in slices; its reply has a place, and a beginning.
    pub(super) fn go_on_later(
        &mut self,
        unfinished: Unfinished,
        origin: usize,
        (request, mut beginning): (Request, ReplyBuffer),
        arguments: &[&[u8]],
        ticket: Option<Ticket>,
    ) {
        let ticket = self.hold_on(&unfinished, request.entry, arguments, ticket);
        if origin == self.index {
            if let Some(connection) = self.connection_mut(request.connection) {
                connection.output.grow(request.sequence, |out| out.append(&mut beginning));
            }
            let kept = self.observer.keep(request.entry, arguments);
            self.add_run_here(unfinished, request, ticket, (None, kept));
        } else {
            let destination = Destination::Away { origin, request, credit: PIECES_AHEAD, reply: beginning };
            let kept = self.observer.keep(request.entry, arguments);
            self.add_run(Run { kept, ..Run::new(unfinished, destination, ticket, None) });
        }
    }

    /// A part of a multicast that has begun goes on in slices; its locks are free.
    pub(super) fn part_goes_on_later(&mut self, unfinished: Unfinished, envelope: Envelope, reply: ReplyBuffer) {
        self.add_run(Run::new(unfinished, Destination::Part { envelope, reply }, None, None));
    }

    /// A command on the values of several shards goes on in slices; without these if it only reads what it has frozen.
    pub(super) fn overlay_goes_on_later(
        &mut self,
        unfinished: Unfinished,
        (request, mut beginning): (Request, ReplyBuffer),
        rest: (Option<Box<OverlayRun>>, Option<Box<PackedArguments>>),
    ) {
        if let Some(connection) = self.connection_mut(request.connection) {
            connection.output.grow(request.sequence, |out| out.append(&mut beginning));
        }
        self.add_run_here(unfinished, request, None, rest);
    }

    /// A first step does no more than would have been done at once.
    fn add_run(&mut self, run: Run) -> RunId {
        let at_once = self.shard.options.units_at_once;
        self.long.add(Run { budget: run.budget.min(at_once.max(UNITS_MIN)), ..run })
    }

    fn add_run_here(
        &mut self,
        unfinished: Unfinished,
        request: Request,
        ticket: Option<Ticket>,
        (overlay, kept): (Option<Box<OverlayRun>>, Option<Box<PackedArguments>>),
    ) {
        let id = self.add_run(Run { kept, ..Run::new(unfinished, Destination::Here(request), ticket, overlay) });
        if let Some(connection) = self.connection_mut(request.connection) {
            connection.runs.push(id);
        }
    }

    /// A command that writes goes on holding the keys that it will write; one that reads, or has written, has frozen what it
    /// reads, and holds nothing. Whoever waited may be ready now: the caller's [`Core::run_ready`] follows.
    fn hold_on(
        &mut self,
        unfinished: &Unfinished,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        ticket: Option<Ticket>,
    ) -> Option<Ticket> {
        if unfinished.holds_shard() {
            self.script_begins();
            return Some(self.schedule.hold_whole(ticket));
        }
        if !entry.is_write || unfinished.only_reads() {
            if let Some(ticket) = ticket {
                self.schedule.release(ticket);
            }
            return None;
        }
        let mut intents: SmallVec<[Intent; 4]> = SmallVec::new();
        let _ = entry.spec.visit_keys(arguments, |index, flags| {
            if flags.writes() {
                intents.push(self.intent(arguments[index], Mode::Write));
            }
        });
        Some(self.schedule.hold_on(ticket, intents))
    }

    /// One slice of one run whose turn it is. `clock` is in nanoseconds.
    pub fn long_slice(&mut self, clock: impl Fn() -> u64) {
        self.parked_slice();
        let Some(id) = self.long.ready.pop_front() else { return };
        let Some(mut run) = self.long.runs.remove(&id) else { return };
        let went = self.step_run(id, &mut run, &clock);
        self.tell_slice(run.asker(self.index));
        if !matches!(went, Went::Over) && run.holds_keys() && run.unfinished.only_reads() {
            self.let_go(&mut run);
        }
        let went = if matches!(went, Went::On) && self.ask(id, &mut run) { Went::Waits } else { went };
        match went {
            Went::On => {
                self.long.runs.insert(id, run);
                self.long.ready.push_back(id);
            }
            Went::Waits => {
                self.long.runs.insert(id, run);
            }
            Went::Over => self.end_run(id, run),
        }
    }

    /// What a slice has read for a client that tracks, if it is a script's, and what it has changed.
    fn tell_slice(&mut self, by: Option<Address>) {
        if let Some(reader) = by
            && !self.scripting.reads.borrow().is_empty()
        {
            self.remember_script_reads(reader);
        }
        self.tell_changes(by);
    }

    /// Whether it is over because nobody wants to hear of it.
    fn is_needless(&mut self, run: &mut Run) -> bool {
        run.is_abandoned |= match &run.destination {
            Destination::Here(request) => self.is_gone(request.connection),
            Destination::Away { .. } | Destination::Part { .. } => false,
        };
        run.is_abandoned && !run.is_write()
    }

    fn step_run(&mut self, id: RunId, run: &mut Run, clock: &impl Fn() -> u64) -> Went {
        if self.is_needless(run) {
            return Went::Over;
        }
        if run.awaited.is_some() {
            return Went::Waits;
        }
        let is_write = run.is_write();
        match &mut run.destination {
            Destination::Here(request) => {
                let request = *request;
                let Some(mut connection) = self.take_connection(request.connection) else {
                    return self.step_unheard(run, clock);
                };
                // A write never waits for its client: others wait for its keys, and its reply is short.
                let has_room = |connection: &Connection| {
                    let backlog = connection.output.backlog_bytes(request.sequence);
                    is_write || backlog.is_some_and(|bytes| bytes + connection.sending_bytes < BACKLOG_BYTES_MAX)
                };
                if !has_room(&connection) {
                    self.put_connection(connection);
                    return Went::Waits;
                }
                let shard = run.overlay.as_mut().map_or(&mut self.shard, |overlay| &mut overlay.temporary);
                let stepped = (&mut run.unfinished, &mut run.budget);
                let seen = &mut run.seen;
                let step = connection.output.grow(request.sequence, |out| slice(stepped, shard, out, clock, seen));
                let went = match step {
                    Progress::Done => Went::Over,
                    Progress::More if has_room(&connection) => Went::On,
                    Progress::More => Went::Waits,
                };
                self.mark_dirty(&mut connection);
                self.put_connection(connection);
                went
            }
            Destination::Away { .. } if run.is_abandoned => self.step_unheard(run, clock),
            Destination::Away { credit: 0, .. } => Went::Waits,
            Destination::Away { origin, request, credit, reply } => {
                let stepped = (&mut run.unfinished, &mut run.budget);
                let step = slice(stepped, &mut self.shard, reply, clock, &mut run.seen);
                self.tell_slice(Some(Address { shard: *origin as u32, connection: request.connection }));
                if step == Progress::More && reply.is_empty() {
                    return Went::On;
                }
                if step == Progress::Done && run.unfinished.holds_shard() && self.scripting.missed.borrow().is_some() {
                    return Went::Over;
                }
                *credit -= 1;
                let (origin, is_spent, is_last) = (*origin, *credit == 0, step == Progress::Done);
                let (request, reply) = (*request, std::mem::take(reply));
                let piece = Piece { request, owner: self.index, run: id, reply, is_last };
                if is_last {
                    self.free_keys(run); // Whoever waits for them hears after the client, but here they are free now.
                }
                self.send_home(origin, Node::new(Message::Piece(Box::new(piece))));
                match (is_last, is_spent) {
                    (true, _) => Went::Over,
                    (false, true) => Went::Waits,
                    (false, false) => Went::On,
                }
            }
            Destination::Part { reply, .. } => {
                slice((&mut run.unfinished, &mut run.budget), &mut self.shard, reply, clock, &mut run.seen).into()
            }
        }
    }

    /// A write whose client has gone.
    fn step_unheard(&mut self, run: &mut Run, clock: &impl Fn() -> u64) -> Went {
        let shard = run.overlay.as_mut().map_or(&mut self.shard, |overlay| &mut overlay.temporary);
        let nobody = &mut ReplyBuffer::default();
        slice((&mut run.unfinished, &mut run.budget), shard, nobody, clock, &mut run.seen).into()
    }

    fn is_gone(&mut self, key: ConnectionKey) -> bool {
        self.connection_mut(key).is_none_or(|connection| connection.phase == Phase::Dead)
    }

    fn free_keys(&mut self, run: &mut Run) {
        if let Some(ticket) = run.ticket.take() {
            if run.unfinished.holds_shard() {
                self.script_is_over();
            }
            self.schedule.release(ticket);
        }
    }

    /// All that a command writes is written: others may have its keys, whatever is still to be told.
    fn let_go(&mut self, run: &mut Run) {
        self.free_keys(run);
        if let Some(overlay) = run.overlay.take() {
            self.end_overlay(*overlay);
        }
        self.serve_ready();
        self.run_ready();
    }

    fn end_run(&mut self, id: RunId, mut run: Run) {
        self.free_keys(&mut run);
        if let Some(overlay) = run.overlay.take() {
            self.end_overlay(*overlay);
        }
        self.serve_ready();
        if run.unfinished.holds_shard() {
            match &run.destination {
                Destination::Here(request) => {
                    let request = *request;
                    if let Some(connection) = self.connection_mut(request.connection) {
                        connection.runs.retain(|other| *other != id);
                    }
                    if self.script_has_missed(self.index, request, &[]) {
                        return self.run_ready();
                    }
                }
                Destination::Away { origin, request, .. } => {
                    let (origin, request) = (*origin, *request);
                    if self.script_has_missed(origin, request, &[]) {
                        return self.run_ready();
                    }
                }
                Destination::Part { .. } => {}
            }
        }
        if let (true, Some(entry), Some(by)) = (self.observer.is_on, run.entry(), run.asker(self.index)) {
            let arguments = run.kept.as_ref().map(|kept| kept.slices()).unwrap_or_default();
            self.observe(entry, run.seen, &arguments, by);
        } else if let Some(entry) = run.entry() {
            self.counters.calls.add_time(entry.id, run.seen.took_ns);
        }
        let writes = run.entry().is_some_and(|entry| entry.spec.flags.has(Flags::WRITE));
        match run.destination {
            Destination::Here(request) => {
                if let Some(connection) = self.connection_mut(request.connection) {
                    connection.runs.retain(|other| *other != id);
                    if writes {
                        self.deliver_when_told(request, ReplyBuffer::default());
                    } else {
                        self.deliver(request, |_| ());
                    }
                }
            }
            Destination::Away { .. } => {}
            Destination::Part { mut envelope, reply } => {
                let part = Self::part_mut(&mut envelope);
                part.outcome = Outcome::Reply(reply);
                part.took_ns += run.seen.took_ns;
                self.part_is_done(envelope);
            }
        }
        self.run_ready();
    }

    /// A piece of a long reply from another shard.
    pub(super) fn piece(&mut self, piece: Piece) {
        let Piece { request, owner, run, mut reply, is_last } = piece;
        let key = request.connection;
        if self.is_gone(key) {
            if !is_last {
                self.send_credit(owner, run, false);
            }
            return;
        }
        let Some(connection) = self.connection_mut(key) else { return };
        if is_last {
            connection.deliver(&request, |out| out.append(&mut reply));
        } else {
            connection.output.grow(request.sequence, |out| out.append(&mut reply));
            connection.streams.push(Stream { owner, run, sequence: request.sequence });
        }
        self.mark_dirty_key(key);
        self.consider_resuming(key);
    }

    /// What the client has taken makes room for more: those who produce go on.
    pub(super) fn wake_producers(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection_mut(key) else { return };
        if connection.runs.is_empty() && connection.streams.is_empty() {
            return;
        }
        let sending = connection.sending_bytes;
        let output = &connection.output;
        let mut heard: SmallVec<[Stream; 1]> = SmallVec::new();
        connection.streams.retain(|stream| {
            let backlog = output.backlog_bytes(stream.sequence);
            let has_room = backlog.is_some_and(|bytes| bytes + sending < BACKLOG_BYTES_MAX);
            if has_room {
                heard.push(*stream);
            }
            !has_room
        });
        for run in connection.runs.clone() {
            self.long.wake(run);
        }
        for Stream { owner, run, .. } in heard {
            self.send_credit(owner, run, true);
        }
    }

    /// The client is gone: what was to be sent to it is not wanted any more.
    pub(super) fn abandon_long(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection_mut(key) else { return };
        let (runs, streams) = (std::mem::take(&mut connection.runs), std::mem::take(&mut connection.streams));
        for run in runs {
            self.long.wake(run);
        }
        for Stream { owner, run, .. } in streams {
            self.send_credit(owner, run, false);
        }
    }

    fn send_credit(&mut self, owner: usize, run: RunId, is_wanted: bool) {
        self.send_home(owner, Node::new(Message::Credit { run, is_wanted }));
    }

    /// A client on another shard has room for a piece, or is gone.
    pub(super) fn credit(&mut self, id: RunId, is_wanted: bool) {
        let Some(run) = self.long.runs.get_mut(&id) else { return };
        if let Destination::Away { credit, .. } = &mut run.destination {
            *credit += 1;
        }
        run.is_abandoned |= !is_wanted;
        self.long.wake(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use torc_engine::command::{CommandResult, EngineOptions, Execution};
    use torc_engine::keyspace::KeyHasher;
    use torc_engine::long::{LongWork, Step};
    use torc_engine::shard::ClientContext;

    thread_local! {
        static NOW_NS: Cell<u64> = const { Cell::new(0) };
    }

    /// Units of a stage, and what each of them takes.
    const STAGES: [(u64, u64); 3] = [(100_000, 10), (10_000, 2_000), (100_000, 10)];

    /// Work whose units take two hundred times as long in the middle as before.
    struct Stages {
        stage: usize,
        left: u64,
    }

    impl LongWork for Stages {
        fn step(&mut self, _: &mut Execution<'_>, budget: u64) -> Step {
            let done = budget.min(self.left);
            NOW_NS.set(NOW_NS.get() + done * STAGES[self.stage].1);
            self.left -= done;
            if self.left == 0 {
                self.stage += 1;
                let Some(next) = STAGES.get(self.stage) else { return Step::Done };
                self.left = next.0;
            }
            Step::More
        }
    }

    fn handler(execution: &mut Execution<'_>, _: &[&[u8]]) -> CommandResult {
        execution.later.put(Stages { stage: 0, left: STAGES[0].0 });
        Ok(())
    }

    #[test]
    fn a_slice_ends_soon_where_units_take_longer_all_at_once() {
        let mut shard = Shard::new(1, KeyHasher::with_seed(1), EngineOptions::default(), 1);
        let mut out = ReplyBuffer::default();
        let unfinished = shard.begin(handler, &[], ClientContext::default(), 0, &mut out);
        let (mut unfinished, mut budget) = (unfinished.expect("work"), UNITS_A_STEP);
        let (mut longest_ns, mut slices, mut seen) = (0, 0, Seen::default());
        loop {
            let began_ns = NOW_NS.get();
            let parts = (&mut unfinished, &mut budget);
            let progress = slice(parts, &mut shard, &mut out, &|| NOW_NS.get(), &mut seen);
            longest_ns = longest_ns.max(NOW_NS.get() - began_ns);
            slices += 1;
            if progress == Progress::Done {
                break;
            }
        }
        let dear_ns = STAGES[1].0 * STAGES[1].1;
        assert!(longest_ns <= SLICE_NS + UNITS_MAX * STAGES[1].1, "{longest_ns}");
        assert!(longest_ns <= 1_500_000, "{longest_ns}");
        assert_eq!(seen.took_ns, NOW_NS.get());
        // And not one a turn because it has been dear once.
        assert!(slices <= 10 + 2 * dear_ns / SLICE_NS, "{slices}");
    }
}
