//! One run: shards, clients, network and clock on one thread, each next step chosen from the seed.
//!
//! ```text
//!   each step:  a client looks at its connection, or one shard runs to its next atomic step; the clock moves a little
//!   sometimes:  the weather changes: how quick each shard is (some stand still), how fast time passes;
//!               a shard loses its core right before a push, a flag or its sleep
//!   all asleep, nothing on the wire:  the clock jumps to the nearest deadline
//! ```
//! A shard that sleeps runs again only when its driver has something for it: a lost wake-up leaves its work lying there,
//! and the run ends with everybody asleep and a client that waits.
//!
//! What a run looks at itself:
//! 1. Somebody gets something within [`STUCK_STEPS`]; nobody sleeps with work in its inbox or waits for a sleeper.
//! 2. When every client is gone and all sleep: no lock is held, no transaction open, no connection left over.
//! 3. Told to stop, every shard ends.

use super::checker::Operation;
use super::client::{Client, ClientPlan, Death, Observations};
use super::coroutine::{Pause, ShardCoroutine};
use super::driver::SleepingDriver;
use super::trace;
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_engine::command::Spec;
use torc_engine::transaction::interleave::Step;
use torc_engine::transaction::rules::Rules;
use torc_server::command_table::{CommandTable, Target};
use torc_server::config::Config;
use torc_server::core::Core;
use torc_server::core_loop::CoreLoop;
use torc_server::log::Log;
use torc_server::reactor::driver::{Address, Driver, Wait, Waker};
use torc_server::reactor::simulated::{Faults, World};
use torc_server::settings::Settings;
use torc_server::shared::Shared;

/// What a run is made of.
pub struct Plan {
    /// Where every choice comes from.
    pub seed: u64,
    /// How many shards.
    pub shards: usize,
    /// Databases of the server.
    pub databases: u32,
    /// Rules in force.
    pub rules: Rules,
    /// How the network misbehaves.
    pub faults: Faults,
    /// Limits of the server.
    pub settings: Settings,
    /// Who uses it.
    pub clients: Vec<ClientPlan>,
    /// Names of the keys.
    pub names: Vec<Vec<u8>>,
    /// How fast time may pass: the most nanoseconds a step.
    pub step_ns_max: u64,
    /// A bug on purpose: wakes between shards get lost.
    pub loses_wakes: bool,
    /// The server is told to stop after so many steps, whatever goes on; else when all clients are through.
    pub stops_after: Option<u64>,
    /// The first client dies after so many steps.
    pub death: Option<(u64, Death)>,
}

/// What a run came to.
pub struct Outcome {
    /// Every command with its reply, in the order of sending.
    pub history: Vec<Operation>,
    /// What was seen to be wrong.
    pub failures: Vec<String>,
    /// Whether the history was checked to its end.
    pub is_decided: bool,
    /// Whether the planned death met a connected client.
    pub has_died: bool,
    /// Steps taken.
    pub steps: u64,
    /// Times that connections moved.
    pub moved: u64,
    /// Units that waited for a lock.
    pub lock_waits: u64,
    /// A digest of every step: equal for equal seeds.
    pub fingerprint: u64,
}

/// What a shard lets others know between two turns.
#[derive(Default)]
struct Status {
    is_quiet: Cell<bool>,
    connections: Cell<usize>,
    moved: Cell<u64>,
    lock_waits: Cell<u64>,
    /// When a command that waits for units looks at them again, or a held reply is due: nobody wakes it.
    looks_at_ns: Cell<Option<u64>>,
}

struct ShardRun {
    coroutine: ShardCoroutine<std::io::Result<()>>,
    status: Rc<Status>,
    pause: Option<Pause>,
    speed: u32,
    /// It has lost its core in the middle of a step.
    stalled_until: u64,
}

/// Steps without anything for a client after which the shards are held to be stuck.
const STUCK_STEPS: u64 = 150_000;
const RUN_STEPS_MAX: u64 = 5_000_000;
const STOP_STEPS_MAX: u64 = 300_000;
/// The world's wall clock at its time 0.
const WALL_START_MS: i64 = 1_700_000_000_000;

struct Run {
    world: World,
    address: Address,
    shared: Arc<Shared>,
    shards: Vec<ShardRun>,
    clients: Vec<Client>,
    names: Vec<Vec<u8>>,
    seen: Observations,
    random: fastrand::Rng,
    steps: u64,
    stops_after: Option<u64>,
    death: Option<(u64, Death)>,
    has_died: bool,
    last_progress: u64,
    weather_until: u64,
    step_ns_max: u64,
    step_ns: u64,
    client_share: u32,
    stalls_per_thousand: u32,
    fingerprint: u64,
}

const COMMANDS: &[&str] = &[
    "append",
    "bitop",
    "blmove",
    "blmovem",
    "blmpop",
    "blpop",
    "brpop",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "client",
    "copy",
    "dbsize",
    "del",
    "discard",
    "eval",
    "exec",
    "exists",
    "flushall",
    "flushdb",
    "geoadd",
    "geosearchstore",
    "get",
    "getdel",
    "hello",
    "incr",
    "keys",
    "linsert",
    "lmove",
    "lpop",
    "lpush",
    "lrange",
    "lrem",
    "ltrim",
    "mget",
    "move",
    "mset",
    "msetex",
    "msetnx",
    "multi",
    "persist",
    "pexpireat",
    "pexpiretime",
    "pfadd",
    "pfcount",
    "pfmerge",
    "ping",
    "publish",
    "randomkey",
    "rename",
    "renamenx",
    "rpoplpush",
    "rpush",
    "sadd",
    "scan",
    "script",
    "select",
    "set",
    "smembers",
    "sort",
    "spop",
    "strlen",
    "subscribe",
    "swapdb",
    "touch",
    "unlink",
    "unsubscribe",
    "unwatch",
    "watch",
    "xadd",
    "xgroup",
    "xrange",
    "xread",
    "xreadgroup",
    "xtrim",
    "zadd",
    "zrange",
    "zremrangebyrank",
];

/// Only the commands in use: a table lives as long as the process.
fn command_rows() -> impl Iterator<Item = (&'static Spec, Target)> {
    torc_server::commands::rows().filter(|(spec, _)| COMMANDS.contains(&spec.name))
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Outcome {
    let mut run = Run::new(plan);
    let mut failures: Vec<String> = run.run_clients().err().into_iter().collect();
    // What clients have seen to be wrong ends the run in the middle.
    if failures.is_empty() && run.seen.failures.is_empty() && !run.seen.is_stopping {
        failures.extend(run.left_behind());
    }
    if failures.is_empty() {
        failures.extend(run.stop().err());
    }
    failures.append(&mut run.seen.failures);
    let mut history = std::mem::take(&mut run.seen.history);
    trace::end(&mut history, &run.names, run.shards.len());
    Outcome {
        failures,
        is_decided: true,
        has_died: run.has_died,
        steps: run.steps,
        moved: run.shards.iter().map(|shard| shard.status.moved.get()).sum(),
        lock_waits: run.shards.iter().map(|shard| shard.status.lock_waits.get()).sum(),
        fingerprint: run.fingerprint,
        history,
    }
}

impl Run {
    fn new(plan: Plan) -> Self {
        let world = World::new(plan.seed, plan.shards, plan.faults);
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
        let mut config = Config::default();
        config.keyspace.databases = plan.databases;
        let log = Log::new(&config.log);
        let table = CommandTable::new(trace::begin(command_rows()));
        let shared = Arc::new(Shared::new(plan.shards, config, table, plan.seed, plan.rules, log));
        let settings = Arc::new(plan.settings);
        let shards = (0..plan.shards).map(|index| {
            let driver = SleepingDriver { inner: world.driver(index), loses_wakes: plan.loses_wakes };
            let clock_world = world.clone();
            let read_clock = Box::new(move || wall_ms(&clock_world));
            assert_eq!(driver.clock().wall_ms, read_clock(), "the world's wall clock begins elsewhere");
            let core = Core::new(index, shared.clone(), settings.clone(), plan.seed + index as u64, read_clock);
            ShardRun::new(CoreLoop::new(driver, core), (index == 0).then(|| address.clone()))
        });
        let shards = shards.collect();
        Self {
            world,
            address,
            shared,
            shards,
            clients: plan.clients.into_iter().map(Client::new).collect(),
            names: plan.names,
            seen: Observations::new(plan.seed ^ 0x5eed),
            random: fastrand::Rng::with_seed(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            steps: 0,
            stops_after: plan.stops_after,
            death: plan.death,
            has_died: false,
            last_progress: 0,
            weather_until: 0,
            step_ns_max: plan.step_ns_max,
            step_ns: 0,
            client_share: 10,
            stalls_per_thousand: 0,
            fingerprint: 0,
        }
    }

    /// Until every client is done and the shards have come to rest: closed connections are noticed, replies for the dead
    /// discarded.
    fn run_clients(&mut self) -> Result<(), String> {
        let patience_steps = 3 * (self.shards.len() + self.clients.len());
        let mut idle_steps = 0;
        let mut is_at_rest = false;
        while !(is_at_rest && self.clients.iter().all(Client::is_done)) {
            if self.stops_after.is_some_and(|steps| self.steps >= steps) {
                self.begin_stop();
                return Ok(());
            }
            idle_steps = if self.step_somebody()? { 0 } else { idle_steps + 1 };
            is_at_rest = idle_steps > patience_steps && !self.sweep()? && self.jump()?;
            self.check_progress()?;
            if !self.seen.failures.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A client looks or a shard runs to its next pause; whether anything came of it.
    fn step_somebody(&mut self) -> Result<bool, String> {
        self.change_weather();
        self.end_a_life();
        let is_active = if self.random.u32(..100) < self.client_share {
            let client = self.random.usize(..self.clients.len());
            self.look(client, false)
        } else {
            let shard = self.choose_shard();
            self.step(shard)?
        };
        self.pass_time();
        Ok(is_active)
    }

    fn end_a_life(&mut self) {
        if let Some((_, death)) = self.death.take_if(|(step, _)| *step == self.steps) {
            self.has_died = self.clients[0].is_connected();
            self.clients[0].die(death);
        }
    }

    fn check_progress(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps - self.last_progress > STUCK_STEPS || self.steps > RUN_STEPS_MAX {
            let pauses: Vec<_> = self.shards.iter().map(|shard| shard.pause).collect();
            return Err(format!("stuck: no client has got anything for {STUCK_STEPS} steps; shards are at {pauses:?}"));
        }
        Ok(())
    }

    fn change_weather(&mut self) {
        if self.steps < self.weather_until {
            return;
        }
        self.weather_until = self.steps + self.random.u64(20..600);
        for shard in &mut self.shards {
            shard.speed = [0, 1, 1, 4, 4, 30][self.random.usize(..6)];
        }
        let magnitude = self.random.u32(..4);
        self.step_ns = self.step_ns_max >> (3 * magnitude);
        self.client_share = [5, 15, 40][self.random.usize(..3)];
        self.stalls_per_thousand = [0, 5, 50][self.random.usize(..3)];
    }

    fn choose_shard(&mut self) -> usize {
        let total: u32 = (0..self.shards.len()).map(|shard| self.speed(shard)).sum();
        if total == 0 {
            return self.random.usize(..self.shards.len());
        }
        let mut ticket = self.random.u32(..total);
        for shard in 0..self.shards.len() {
            let speed = self.speed(shard);
            if ticket < speed {
                return shard;
            }
            ticket -= speed;
        }
        0
    }

    fn pass_time(&mut self) {
        if self.step_ns > 0 {
            let step_ns = self.random.u64(..=self.step_ns);
            self.world.advance(self.world.now_ns() + step_ns);
        }
    }

    /// One look of a client; whether anything came of it.
    fn look(&mut self, client: usize, urgent: bool) -> bool {
        self.seen.dice.now_ms = wall_ms(&self.world);
        let clock = self.seen.clock;
        let active = self.clients[client].look(&self.world, &self.address, &self.names, &mut self.seen, urgent);
        if active || clock != self.seen.clock {
            self.last_progress = self.steps;
        }
        self.note(0x100 + client as u64 + (u64::from(active) << 32));
        active
    }

    /// A shard runs to its next pause; whether it did anything.
    fn step(&mut self, index: usize) -> Result<bool, String> {
        let shard = &mut self.shards[index];
        let was_asleep = shard.is_asleep();
        match shard.coroutine.resume() {
            Ok(pause) => {
                shard.pause = Some(pause);
                let is_delicate = matches!(pause, Pause::Step(Step::Push | Step::Flag | Step::Sleep));
                if is_delicate && self.random.u32(..1000) < self.stalls_per_thousand {
                    let steps_max = if self.random.bool() { 200 } else { 2_000 };
                    shard.stalled_until = self.steps + self.random.u64(20..steps_max);
                }
                self.note(index as u64 + step_number(pause));
                Ok(!(was_asleep && self.shards[index].is_asleep()))
            }
            Err(result) => Err(format!("shard {index} ended: {result:?}")),
        }
    }

    fn note(&mut self, what: u64) {
        self.fingerprint = (self.fingerprint.rotate_left(5) ^ what).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Everyone once; whether anybody did anything.
    fn sweep(&mut self) -> Result<bool, String> {
        let mut active = false;
        for client in 0..self.clients.len() {
            active |= self.look(client, true);
        }
        for shard in 0..self.shards.len() {
            if self.speed(shard) > 0 {
                active |= self.step(shard)?;
            }
        }
        // While some stand still the world goes on; when nothing is left that could happen, they go on too.
        let stands_still = |shard: &usize| self.speed(*shard) == 0;
        let still: Vec<usize> = (0..self.shards.len()).filter(stands_still).collect();
        if active || still.is_empty() || self.world.step() {
            return Ok(active || !still.is_empty());
        }
        for shard in still {
            active |= self.step(shard)?;
        }
        Ok(active)
    }

    /// How often a shard gets its turn; 0 while it stands still.
    fn speed(&self, shard: usize) -> u32 {
        let shard = &self.shards[shard];
        if shard.stalled_until > self.steps { 0 } else { shard.speed }
    }

    /// Everybody sleeps. Moves the clock to what happens next; if that is only the shards' own housekeeping, nobody may be
    /// waiting for anything. Whether nothing will happen any more.
    fn jump(&mut self) -> Result<bool, String> {
        let gathering = self.shards.iter().filter_map(|shard| match shard.pause {
            Some(Pause::Gathering { until_ns }) => Some(until_ns),
            _ => shard.status.looks_at_ns.get().map(|at_ns| at_ns.max(self.world.now_ns() + 1)),
        });
        let event_ns = self.world.next_event_time().unwrap_or(u64::MAX);
        if let Some(until_ns) = gathering.min().filter(|until_ns| *until_ns < event_ns) {
            self.world.advance(until_ns);
            return Ok(false);
        }
        if self.world.step() {
            return Ok(false);
        }
        let unread: Vec<usize> =
            (0..self.shards.len()).filter(|shard| !self.shared.mailboxes.is_empty(*shard)).collect();
        if !unread.is_empty() {
            return Err(format!("a wake-up was lost: all shards sleep, and the inboxes of {unread:?} are not empty"));
        }
        if self.clients.iter().all(Client::is_done) {
            return Ok(true);
        }
        let awaited: Vec<String> = (self.seen.history.iter().filter(|operation| operation.reply.is_none()))
            .map(|operation| format!("\n  {operation:?}"))
            .collect();
        let left = self.left_behind().join("; ");
        Err(format!("all sleep, and a client still waits; {left}; no reply to:{}", awaited.concat()))
    }

    /// What must not be there when every client is gone and everybody sleeps.
    fn left_behind(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            if !shard.status.is_quiet.get() {
                failures.push(format!("shard {index} still holds a lock or a transaction"));
            }
        }
        let there: usize = self.shards.iter().map(|shard| shard.status.connections.get()).sum();
        let live = self.clients.iter().filter(|client| client.is_connected()).count();
        if there != live {
            failures.push(format!("{there} connections on the shards, {live} clients"));
        }
        failures
    }

    fn begin_stop(&mut self) {
        self.seen.is_stopping = true;
        self.shared.stopping.store(true, Ordering::SeqCst);
        (0..self.shards.len()).for_each(|shard| self.world.waker(shard).wake());
    }

    /// Tells the server to stop, and waits until every shard has ended.
    fn stop(&mut self) -> Result<(), String> {
        self.begin_stop();
        let mut running: Vec<usize> = (0..self.shards.len()).collect();
        for step in 0..STOP_STEPS_MAX {
            if running.is_empty() {
                return Ok(());
            }
            let chosen = self.random.usize(..running.len());
            let index = running[chosen];
            let was_asleep = self.shards[index].is_asleep();
            match self.shards[index].coroutine.resume() {
                Ok(pause) => {
                    self.shards[index].pause = Some(pause);
                    let is_asleep = was_asleep && self.shards[index].is_asleep();
                    self.world.advance(self.world.now_ns() + if is_asleep { 100_000 } else { 1_000 });
                }
                Err(Ok(())) => drop(running.remove(chosen)),
                Err(Err(error)) => return Err(format!("shard {index} ended with {error}")),
            }
            if step % 16 == 0 && !self.clients.is_empty() {
                let client = self.random.usize(..self.clients.len());
                self.look(client, true);
            }
        }
        Err(format!("shards {running:?} do not end"))
    }
}

fn wall_ms(world: &World) -> i64 {
    WALL_START_MS + (world.now_ns() / 1_000_000) as i64
}

/// What a pause adds to the fingerprint.
fn step_number(pause: Pause) -> u64 {
    match pause {
        Pause::Step(Step::Push) => 1 << 8,
        Pause::Step(Step::Lock) => 2 << 8,
        Pause::Step(Step::Flag) => 3 << 8,
        Pause::Step(Step::Drain) => 4 << 8,
        Pause::Step(Step::Sleep) => 5 << 8,
        Pause::Asleep => 6 << 8,
        Pause::Gathering { .. } => 7 << 8,
    }
}

impl ShardRun {
    fn is_asleep(&self) -> bool {
        matches!(self.pause, Some(Pause::Asleep | Pause::Gathering { .. }))
    }

    fn new(mut core_loop: CoreLoop<SleepingDriver>, listens: Option<Address>) -> Self {
        let status = Rc::new(Status::default());
        let shared_status = status.clone();
        let body = move || {
            let clock = core_loop.driver.clock();
            core_loop.core.begin_turn(clock);
            if let Some(address) = listens {
                core_loop.listen(&address, 128)?;
            }
            let mut wait = Wait::Not;
            while !core_loop.is_stopped() {
                core_loop.turn(wait)?;
                wait = core_loop.next_wait();
                let core = &core_loop.core;
                shared_status.is_quiet.set(core.is_quiet());
                shared_status.connections.set(core.connections().count());
                shared_status.moved.set(core.counters.connections_moved);
                let looks = [core.next_look_at_units_ns(), core.next_hold_ns()];
                shared_status.looks_at_ns.set(looks.into_iter().flatten().min());
            }
            shared_status.lock_waits.set(core_loop.core.figures().lock_waits);
            Ok(())
        };
        Self { coroutine: ShardCoroutine::new(body), status, pause: None, speed: 1, stalled_until: 0 }
    }
}
