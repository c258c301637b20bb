//! The server's own shards on one thread, in a world of their own: what they report at the end of each turn is kept.
//!
//! ```text
//!   clients ──> network ──> core loops, one turn at a time, which one is next comes from the seed
//!                              └── effects of each turn ──> a history a shard ──> join ──> one order
//! ```

use crate::support::{Reply, encode};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use torc_engine::journal::{Effect, Record};
use torc_engine::transaction::rules::Rules;
use torc_persistence::aof::frames::{End, Frame, Frames};
use torc_server::append_log::output::{Output, Piece};
use torc_server::append_log::sequencer::Sequencer;
use torc_server::command_table::CommandTable;
use torc_server::config::{Config, Permission};
use torc_server::core::Core;
use torc_server::core_loop::CoreLoop;
use torc_server::log::Log;
use torc_server::reactor::driver::{Address, Driver, Wait};
use torc_server::reactor::simulated::{ClientEnd, Faults, SimulatedDriver, World};
use torc_server::settings::Settings;
use torc_server::shared::Shared;

/// A client's words.
pub type Words = Vec<Vec<u8>>;

/// Turns without a reply after which a cluster is held to be stuck.
const TURNS_MAX: usize = 2_000_000;

/// What each shard has reported, a piece a turn.
type History = Rc<RefCell<VecDeque<Record>>>;

/// The world's wall clock at its time 0.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// The world's wall clock, as a multicast reads it.
#[derive(Clone)]
struct WallClock {
    world: World,
    start_ms: Rc<Cell<i64>>,
}

impl WallClock {
    fn now_ms(&self) -> i64 {
        self.start_ms.get() + (self.world.now_ns() / 1_000_000) as i64
    }

    fn step_ms(&self, milliseconds: i64) {
        self.world.step_wall_clock(milliseconds);
        self.start_ms.set(self.start_ms.get() + milliseconds);
    }
}

struct Connection {
    end: ClientEnd,
    received: Vec<u8>,
    awaited: usize,
}

/// Shards, and connections to them.
pub struct Cluster {
    world: World,
    clock: WallClock,
    shards: Vec<CoreLoop<SimulatedDriver>>,
    histories: Vec<History>,
    connections: Vec<Connection>,
    random: fastrand::Rng,
    /// Replies so far, and how many of them were errors.
    pub replies: usize,
    pub errors: usize,
}

impl Cluster {
    /// So many shards and connections; the clock stands at a wall time.
    pub fn new(seed: u64, shards: usize, connections: usize, settings: &Settings, wall_ms: i64) -> Self {
        let faults = Faults { network_delay_ns: (1_000, 20_000), ..Faults::calm() };
        let world = World::new(seed, shards, faults);
        let mut config = Config::default();
        config.keyspace.databases = 4;
        config.security.debug_command = Permission::Yes;
        let log = Log::new(&config.log);
        let table = CommandTable::new(torc_server::commands::rows());
        let shared = Arc::new(Shared::new(shards, config, table, seed, Rules::default(), log));
        let settings = Arc::new(settings.clone());
        let clock = WallClock { world: world.clone(), start_ms: Rc::new(Cell::new(WALL_START_MS)) };
        clock.step_ms(wall_ms - WALL_START_MS);
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
        let histories: Vec<History> = (0..shards).map(|_| History::default()).collect();
        let shards = (0..shards).map(|index| {
            let driver = world.driver(index);
            let shard_clock = clock.clone();
            let read_clock = Box::new(move || shard_clock.now_ms());
            assert_eq!(driver.clock().wall_ms, clock.now_ms(), "the world's wall clock begins elsewhere");
            let core = Core::new(index, shared.clone(), settings.clone(), seed + index as u64, read_clock);
            let mut core_loop = CoreLoop::new(driver, core);
            let history = histories[index].clone();
            core_loop.core.listen_to_effects(Box::new(move |records| history.borrow_mut().extend(records)));
            if index == 0 {
                core_loop.core.begin_turn(core_loop.driver.clock());
                core_loop.listen(&address, 128).expect("an address");
            }
            core_loop
        });
        let shards = shards.collect();
        let mut cluster = Self {
            shards,
            histories,
            connections: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            replies: 0,
            errors: 0,
            world,
            clock,
        };
        for _ in 0..connections {
            let end = cluster.world.connect(&address);
            assert!(!end.is_refused());
            cluster.connections.push(Connection { end, received: Vec::new(), awaited: 0 });
        }
        cluster
    }

    /// The wall clock.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, milliseconds: u64) {
        self.world.advance(self.world.now_ns() + milliseconds * 1_000_000);
    }

    /// Stops the time that commands see: it never goes back, so it stands while the wall clock is behind it.
    pub fn stop_time(&mut self) {
        self.clock.step_ms(-86_400_000);
    }

    /// Some shards take a turn.
    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            let shard = self.random.usize(..self.shards.len());
            self.shards[shard].turn(Wait::Not).expect("a turn");
            self.world.advance(self.world.now_ns() + self.random.u64(0..3_000));
        }
    }

    /// Sends a command of a workload.
    pub fn send(&mut self, connection: usize, words: &[Vec<u8>]) {
        let connection = &mut self.connections[connection];
        connection.awaited += 1;
        connection.end.send(&encode(words));
    }

    /// What has arrived; the replies of one connection are kept.
    fn receive(&mut self, kept: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.received.extend(connection.end.receive());
            let mut used = 0;
            while let Some((reply, length)) = whole(&connection.received[used..]) {
                used += length;
                connection.awaited = connection.awaited.checked_sub(1).expect("a reply that nobody awaits");
                self.replies += 1;
                self.errors += usize::from(reply.is_error());
                if index == kept {
                    replies.push(reply);
                }
            }
            connection.received.drain(..used);
            assert!(!connection.end.is_ended(), "the server ended a connection");
        }
        replies
    }

    /// Until every reply is there; those of one connection.
    pub fn settle(&mut self, kept: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        for _ in 0..TURNS_MAX {
            replies.extend(self.receive(kept));
            if self.connections.iter().all(|connection| connection.awaited == 0) {
                return replies;
            }
            self.turns(self.shards.len());
            self.world.advance(self.world.now_ns() + 5_000);
        }
        panic!("a reply is missing");
    }

    /// Asks over the first connection, with nothing else under way.
    pub fn ask(&mut self, lines: &[Words]) -> Vec<Reply> {
        lines.iter().for_each(|words| self.send(0, words));
        let replies = self.settle(0);
        assert_eq!(replies.len(), lines.len());
        replies
    }

    /// Takes what was reported since the last time, as one order: shards push their records as they come, and what the
    /// sequencer puts out is read as a log is.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        let (mut sequencer, mut output) = (Sequencer::new(self.histories.len()), Output::default());
        let mut ticket = 0;
        while self.histories.iter().any(|history| !history.borrow().is_empty()) {
            let shard = self.random.usize(..self.histories.len());
            let Some(record) = self.histories[shard].borrow_mut().pop_front() else { continue };
            ticket += 1;
            sequencer.push(shard, ticket, vec![record]);
            if self.random.bool() {
                sequencer.drain(&mut output);
                assert!(sequencer.complete() <= ticket);
            }
        }
        sequencer.drain(&mut output);
        assert_eq!(sequencer.complete(), ticket, "histories wait for each other: {sequencer:?}");
        let pieces = output.take().into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Fence(_) => unreachable!("nobody has set one"),
        });
        effects_of(&pieces.collect::<Vec<_>>().concat())
    }
}

/// The commands of a log, without what it adds to them.
fn effects_of(log: &[u8]) -> Vec<Effect> {
    let mut frames = Frames::new(0, log.len() as u64);
    frames.push(log);
    let (mut effects, mut database) = (Vec::new(), 0);
    while let Some(frame) = frames.next_frame().expect("a log of our own") {
        let Frame::Command(command) = frame else { continue };
        match command.name() {
            b"SELECT" => {
                let number = command.arguments().nth(1).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                database = number.expect("a database");
            }
            b"MULTI" | b"EXEC" => {}
            _ => effects.push(Effect { database, arguments: command.arguments().map(<[u8]>::to_vec).collect() }),
        }
    }
    assert_eq!(frames.end(), End::Whole);
    effects
}

/// The first reply in the bytes, if it is whole.
fn whole(bytes: &[u8]) -> Option<(Reply, usize)> {
    if bytes.is_empty() { None } else { Reply::parse(bytes) }
}
