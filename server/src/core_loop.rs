//! The loop of one shard: completions in, completions' consequences out. The only place where [`Core`] meets a driver.
//!
//! ```text
//!   loop {  1 reap completions           driver.turn
//!           2 read the clock
//!           3 drain the inbox            work for our keys, answers for our connections
//!           4 run local commands         received bytes, connections that resume
//!           5 leave                      push open batches (drain what was for ourselves), settle connections (sends),
//!                                        wake sleepers
//!           6 housekeeping               expiry, freeing, cron, when due; a slice of a long command; then leave again
//!             sleep if there is nothing: announce, look again, then wait in the next `turn`  }
//! ```
//!
//! Where there is something to do in 6, what leaves in 5 is submitted before it, so that nobody waits for two turns with slices in
//! them; otherwise 5 is left to the end. What completes meanwhile belongs to the next turn.

use crate::append_log::{Hold, Send, ShardLog, Withheld};
use crate::core::connection::{ConnectionKey, Phase};
use crate::core::connections::{GENERATION_MASK, Want};
use crate::core::own_client::NOWHERE;
use crate::core::{Arrival, Core};
use crate::listening::{Changes, Place};
use crate::pace::{Asked, Gathering, SOON_NS};
use crate::reactor::driver::{Address, Clock, Driver, Event, Notice, Socket, Tag, Wait};
use crate::reactor::executor::{Executor, Handle};
use crate::reactor::operations::Operations;
use crate::tasks::Tasks;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_engine::transaction::interleave::{Step, point};

/// Kinds of tags, in their top byte.
const TAG_CONNECTION: u64 = 1 << 56;
const TAG_LISTENER: u64 = 2 << 56;
/// The listener's connections are encrypted.
const LISTENER_ENCRYPTED: u64 = 1;
const TAG_REFUSED: u64 = 3 << 56;
const TAG_KIND: u64 = 0xff << 56;

fn connection_tag(key: ConnectionKey) -> Tag {
    TAG_CONNECTION | (((key.generation & GENERATION_MASK) as u64) << 32) | key.index as u64
}

fn connection_key(tag: Tag) -> ConnectionKey {
    ConnectionKey { index: tag as u32, generation: (tag >> 32) as u32 & GENERATION_MASK }
}

fn cron_period_ns(core: &Core) -> u64 {
    1_000_000_000 / core.settings.hz.max(1) as u64
}

/// After a message from another shard, how long a shard looks for the next one before it sleeps, in nanoseconds. A wake-up
/// costs both sides more than that.
const SPIN_NS: u64 = 10_000;

/// A shard with its driver.
pub struct CoreLoop<D: Driver> {
    /// The driver.
    pub driver: D,
    /// The logic.
    pub core: Core,
    /// What waits in the middle of its work: the cron's clock, and operations on files and connections of our own.
    executor: Executor,
    operations: Operations,
    /// Empty between turns but for what has come early to the next one.
    events: Vec<Event>,
    listeners: Vec<(Place, Socket)>,
    cron: Rc<CronClock>,
    /// The log, and replies that wait for it.
    log: Rc<ShardLog>,
    withheld: Withheld,
    more_housekeeping: bool,
    /// Whether this turn has sent something to a client.
    has_sent: bool,
    /// A message may be answered by another soon: no sleep before.
    spin_until_ns: u64,
    /// The same of a client that mostly sends something soon.
    look_until_ns: u64,
    stopping_since_ns: Option<u64>,
}

/// Between the cron's task and the loop.
#[derive(Debug, Default)]
struct CronClock {
    is_due: Cell<bool>,
    period_ns: Cell<u64>,
}

impl CronClock {
    /// Ticks for ever; ends with the executor.
    async fn tick(self: Rc<Self>, timers: Handle) {
        loop {
            timers.sleep(Duration::from_nanos(self.period_ns.get())).await;
            self.is_due.set(true);
        }
    }
}

/// Tasks polled in a turn, so that many ready tasks do not hold up clients.
const TASK_POLLS_A_TURN: usize = 64;
/// While the server stops, its shards look often whether the others are done.
const STOPPING_TICK_NS: u64 = 10_000_000;

/// After this long, connections that do not drain are cut at shutdown.
const SHUTDOWN_GRACE_NS: u64 = 5_000_000_000;

impl<D: Driver> CoreLoop<D> {
    /// A shard that listens nowhere yet.
    pub fn new(driver: D, mut core: Core) -> Self {
        let executor = Executor::new();
        let operations = Operations::default();
        core.tasks = Tasks::new(executor.handle(), operations.clone());
        let cron = Rc::new(CronClock { is_due: Cell::new(true), period_ns: Cell::new(0) });
        cron.period_ns.set(cron_period_ns(&core));
        executor.advance(driver.clock().monotonic_ns);
        drop(executor.handle().spawn(cron.clone().tick(executor.handle())));
        let log = ShardLog::new(core.shared.append_log.clone(), core.tasks.clone());
        Self {
            driver,
            core,
            executor,
            operations,
            events: Vec::new(),
            listeners: Vec::new(),
            cron,
            log,
            withheld: Withheld::default(),
            more_housekeeping: false,
            has_sent: false,
            spin_until_ns: 0,
            look_until_ns: 0,
            stopping_since_ns: None,
        }
    }

    /// Listens, and accepts connections for all shards here.
    pub fn listen(&mut self, address: &Address, backlog: u32) -> io::Result<()> {
        let socket = self.driver.listen(address, backlog, false, TAG_LISTENER)?;
        self.listeners.push((Place { address: address.clone(), is_encrypted: false }, socket));
        Ok(())
    }

    /// Accepts connections for all shards where the server listens now, and nowhere else.
    pub fn take_listeners(&mut self) {
        let Changes { opened, ended } = self.core.shared.listening.take_changes();
        for (_, socket) in self.listeners.extract_if(.., |(place, _)| ended.contains(place)) {
            self.driver.close(socket);
        }
        for (place, listener) in opened {
            let tag = TAG_LISTENER | if place.is_encrypted { LISTENER_ENCRYPTED } else { 0 };
            let socket = self.driver.accept_on(listener, &place.address, tag);
            self.listeners.push((place, socket));
        }
    }

    /// Turns until the server stops and every connection of this shard is gone.
    pub fn run(&mut self) -> io::Result<()> {
        let mut wait = Wait::Not;
        while !self.is_stopped() {
            self.turn(wait)?;
            wait = self.next_wait();
        }
        Ok(())
    }

    /// One turn.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.driver.turn(wait, &mut events)?;
        match wait {
            Wait::Not => {}
            Wait::Gather { .. } => {
                let is_sent = |event: &Event| matches!(event, Event::Sent { .. });
                self.core.pace.waited(events.iter().all(is_sent) && !self.core.has_messages());
            }
            Wait::Until(_) | Wait::Forever => {
                self.core.woke_up();
                self.core.pace.waited(false);
            }
        }
        if self.stopping_since_ns.is_some() {
            self.core.shared.begin_last_turn(self.core.index);
        }
        let clock = self.driver.clock();
        let asked = Asked { commands: self.core.counters.commands, reads: self.core.counters.reads };
        self.core.pace.begin_turn(clock.monotonic_ns, asked, || self.driver.busy_ns());
        self.core.longest_turn.begin_turn(clock.monotonic_ns, || self.driver.busy_ns());
        self.core.begin_turn(clock);
        let drain_first = self.core.shared.mailboxes.rules().turn_order;
        if drain_first && self.core.drain_inbox() {
            self.spin_until_ns = clock.monotonic_ns + SPIN_NS;
        }
        point(Step::Drain);
        self.core.begin_local_run();
        self.arrivals();
        self.core.run_resumable();
        let has_news = events.iter().any(|event| !matches!(event, Event::Sent { .. } | Event::Woken));
        // What has been sent first: replies that clients have must not cost keys when memory is short.
        for event in events.iter_mut().filter(|event| matches!(event, Event::Sent { .. })) {
            let sent = std::mem::replace(event, Event::Woken);
            self.complete(sent);
        }
        self.core.keep_memory_limit();
        for event in events.drain(..) {
            self.complete(event);
        }
        self.events = events;
        if !drain_first && self.core.drain_inbox() {
            self.spin_until_ns = clock.monotonic_ns + SPIN_NS;
        }
        self.executor.advance(clock.monotonic_ns);
        self.executor.run_ready(TASK_POLLS_A_TURN);
        self.core.run_errands();
        self.operations.submit(&mut self.driver);
        let has_garbage = self.core.shard.keyspace.has_garbage();
        if self.more_housekeeping || has_garbage || self.core.has_long_work() || self.core.has_snapshot_work() {
            self.leave();
            self.driver.turn(Wait::Not, &mut self.events)?;
        }
        self.housekeeping();
        let driver = &self.driver;
        self.core.long_slice(|| driver.clock().monotonic_ns);
        self.core.snapshot_slice(|| driver.clock().monotonic_ns);
        self.leave();
        let has_sent = std::mem::take(&mut self.has_sent);
        if has_news {
            // What was looked for has come: the look ends, unless there is a reason for another.
            let is_expected = self.core.pace.turned(clock.monotonic_ns, has_sent);
            self.look_until_ns = if is_expected { clock.monotonic_ns + SOON_NS } else { 0 };
        }
        self.shutdown_step(clock);
        Ok(())
    }

    /// What the turn has come to goes to other shards, and to clients.
    fn leave(&mut self) {
        let is_drained_first = self.core.shared.mailboxes.rules().turn_order;
        if self.core.flush_batches() && is_drained_first {
            // Some of it was for ourselves: the next turn may be a while.
            self.core.drain_inbox();
        }
        self.core.tell_before_leaving();
        self.core.tell_broadcasts();
        self.core.release_held();
        self.lead_log();
        self.settle();
        let driver = &mut self.driver;
        self.core.take_wakes(|shard| driver.wake(shard));
    }

    /// How long the next turn may wait: not at all while there is work.
    pub fn next_wait(&mut self) -> Wait {
        let has_work = self.more_housekeeping || self.core.has_resumable() || self.core.has_long_work();
        let has_work = has_work || self.core.has_snapshot_work() || self.core.shard.keyspace.has_garbage();
        let has_work = has_work || !self.events.is_empty();
        if has_work || self.executor.has_ready() || self.core.has_messages() {
            return Wait::Not;
        }
        let deadlines = [
            self.executor.next_deadline_ns(),
            self.core.next_hold_ns(),
            self.core.next_timeout_ns(),
            self.core.next_look_at_units_ns(),
            self.core.next_snapshot_ns(),
        ];
        let deadline_ns = deadlines.into_iter().flatten().min();
        // Replies that wait for the disk are not to wait for clients.
        let gather_ns_max = if self.withheld.is_empty() { self.core.settings.gather_ns_max } else { 0 };
        if let Some(Gathering { events, at_most_ns }) = self.core.pace.gathering(gather_ns_max) {
            let left_ns = deadline_ns.map_or(u64::MAX, |at_ns| at_ns.saturating_sub(self.core.clock.monotonic_ns));
            return Wait::Gather { events, at_most_ns: left_ns.min(at_most_ns) };
        }
        if self.core.clock.monotonic_ns < self.spin_until_ns.max(self.look_until_ns) || !self.core.may_sleep() {
            return Wait::Not;
        }
        deadline_ns.map_or(Wait::Forever, Wait::Until)
    }

    /// Whether the server stops and nothing is left on any shard.
    pub fn is_stopped(&self) -> bool {
        self.stopping_since_ns.is_some() && self.core.shared.is_done()
    }

    fn complete(&mut self, event: Event) {
        let event = self.operations.complete(event);
        if let Some(event) = event.and_then(|event| self.operations.streams.complete(event, &mut self.driver)) {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Received { tag, buffer } => {
                self.core.received(connection_key(tag), self.driver.received(buffer));
                self.driver.recycle(buffer);
            }
            Event::ReceiveEnded { tag, result } if tag & TAG_KIND == TAG_CONNECTION => {
                self.core.receive_ended(connection_key(tag), result);
            }
            Event::Sent { tag, segments, result } if tag & TAG_KIND == TAG_CONNECTION => {
                self.core.sent(connection_key(tag), segments, result);
            }
            Event::Sent { tag, .. } if tag & TAG_KIND == TAG_REFUSED => self.driver.close(Socket(tag as u32)),
            Event::Accepted { socket, tag } => self.accepted(socket, tag & LISTENER_ENCRYPTED != 0),
            Event::AcceptFailed { error, .. } => {
                tracing::warn!(
                    "Accepting a connection failed: {error}; trying again (raise the limit of open files if this stays)"
                );
            }
            Event::ReceiveEnded { .. }
            | Event::Sent { .. }
            | Event::Connected { .. }
            | Event::FileDone { .. }
            | Event::Woken => {}
        }
    }

    fn accepted(&mut self, socket: Socket, is_encrypted: bool) {
        if self.stopping_since_ns.is_some() {
            return self.driver.close(socket);
        }
        let home = self.core.choose_home();
        if home == self.core.index {
            self.admit(socket, is_encrypted);
        } else {
            let detached = self.driver.detach(socket);
            self.core.send_to_home(home, detached, is_encrypted);
        }
    }

    fn admit(&mut self, socket: Socket, is_encrypted: bool) {
        let ends = self.driver.ends(socket);
        if !ends.is_unix {
            self.driver.configure(socket, self.core.settings.socket);
        }
        if is_encrypted {
            if self.core.admit_encrypted(socket, ends).is_none() {
                self.driver.close(socket);
            }
        } else if let Err(refusal) = self.core.admit(socket, ends) {
            let segments = vec![crate::reactor::driver::Segment::Owned(refusal.as_bytes().to_vec())];
            self.driver.send(socket, segments, TAG_REFUSED | socket.0 as u64, Notice::Prompt);
        }
    }

    fn arrivals(&mut self) {
        for arrival in self.core.take_arrivals() {
            match arrival {
                Arrival::Listeners => self.take_listeners(),
                Arrival::New(socket, is_encrypted) => {
                    let socket = self.driver.attach(socket);
                    self.admit(socket, is_encrypted);
                }
                Arrival::Moved(key, socket) => {
                    let socket = self.driver.attach(socket);
                    self.core.attached(key, socket);
                }
            }
        }
    }

    /// Writes what has gathered in the log, if nobody else does.
    #[inline]
    fn lead_log(&mut self) {
        if self.log.look(self.core.clock.wall_ms) {
            self.executor.run_ready(TASK_POLLS_A_TURN);
            self.operations.submit(&mut self.driver);
        }
    }

    fn settle(&mut self) {
        let (driver, has_sent) = (&mut self.driver, &mut self.has_sent);
        let shard_log = self.log.clone();
        let (log, withheld) = (shard_log.log(), &mut self.withheld);
        if !withheld.is_empty() {
            while let Some(Send { socket, segments, tag, notice }) = withheld.pop(log) {
                driver.send(socket, segments, tag, notice);
            }
        }
        self.core.settle(|core, key, want| match want {
            // A client of the server's own.
            Want::Send(NOWHERE, segments, _) => core.answered_own(key, segments),
            Want::StopReceiving(NOWHERE) | Want::Shutdown(NOWHERE) => {
                core.receive_ended(key, Err(io::ErrorKind::Interrupted.into()));
            }
            Want::StartReceiving(NOWHERE) | Want::Close(NOWHERE) | Want::Detach(NOWHERE) => {}
            Want::Send(socket, segments, notice) => {
                let tag = connection_tag(key);
                let awaited = match log.holds_back() {
                    Hold::Not => None,
                    Hold::Writers(awaited) => core.has_written(key).then_some(awaited),
                    Hold::All(awaited) => Some(awaited),
                };
                *has_sent = true;
                match awaited {
                    Some(awaited) => withheld.push(awaited, Send { socket, segments, tag, notice }),
                    None => driver.send(socket, segments, tag, notice),
                }
            }
            Want::StartReceiving(socket) => driver.start_receiving(socket, connection_tag(key)),
            Want::StopReceiving(socket) => driver.stop_receiving(socket, connection_tag(key)),
            Want::Shutdown(socket) => {
                if let Some(Send { segments, .. }) = withheld.take(socket) {
                    core.sent(key, segments, Err(io::ErrorKind::ConnectionAborted.into()));
                }
                driver.shutdown(socket);
            }
            Want::Close(socket) => driver.close(socket),
            Want::Detach(socket) => {
                let detached = driver.detach(socket);
                core.depart(key, detached);
            }
        });
        // What came further meanwhile wakes nobody who had not said that he waits.
        while !withheld.is_empty() {
            log.wait_here(self.core.index);
            let Some(Send { socket, segments, tag, notice }) = withheld.pop(log) else { break };
            driver.send(socket, segments, tag, notice);
        }
    }

    fn housekeeping(&mut self) {
        let is_due = self.cron.is_due.replace(false);
        if !is_due && !self.more_housekeeping && !self.core.is_behind_with_memory() {
            // What was let go comes back at once: the limit of memory is not to find it taken, and have keys evicted.
            if self.core.shard.keyspace.has_garbage() {
                let driver = &self.driver;
                self.core.collect_garbage(|| driver.clock().monotonic_ns);
            }
            return;
        }
        let began_ns = self.driver.clock().monotonic_ns;
        if is_due {
            let period_ns =
                if self.stopping_since_ns.is_some() { STOPPING_TICK_NS } else { cron_period_ns(&self.core) };
            self.cron.period_ns.set(period_ns);
            self.core.connections_cron();
            self.core.memory_cron();
            self.core.observation_cron();
            self.log.cron();
            self.core.rewrites_cron();
            self.core.saves_cron();
        }
        let driver = &self.driver;
        self.more_housekeeping = self.core.housekeeping_slice(|| driver.clock().monotonic_ns);
        self.core.counters.cron_took_ns += self.driver.clock().monotonic_ns.saturating_sub(began_ns);
    }

    /// At shutdown: no new connections, replies out, then the end.
    fn shutdown_step(&mut self, clock: Clock) {
        if self.core.index == 0 && self.core.cron_runs && self.core.shared.signal.load(Ordering::Relaxed) != 0 {
            self.core.look_at_signals();
        }
        if !self.core.shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let since = if let Some(since) = self.stopping_since_ns {
            since
        } else {
            self.core.shared.listening.end();
            for (_, listener) in std::mem::take(&mut self.listeners) {
                self.driver.close(listener);
            }
            self.stopping_since_ns = Some(clock.monotonic_ns);
            clock.monotonic_ns
        };
        let cut = clock.monotonic_ns.saturating_sub(since) > SHUTDOWN_GRACE_NS;
        for key in self.core.connection_keys() {
            match self.core.connection_mut(key).map(|connection| connection.phase) {
                Some(Phase::Open | Phase::Moving(_)) if !cut => self.core.begin_close(key),
                Some(Phase::Dead) | None => {}
                Some(_) if cut => self.core.kill(key),
                Some(_) => {}
            }
        }
        self.settle();
        let is_done = self.core.connections().next().is_none()
            && self.core.is_quiet()
            && self.core.shared.append_log.is_settled();
        self.core.shared.gauges[self.core.index].is_done.store(is_done, Ordering::SeqCst);
    }
}
