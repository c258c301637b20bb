//! The log on a disk that fails: short, torn and failed writes, no space, syncs that fail, and power that goes at any moment.
//!
//! ```text
//!   world(seed) ──> shards open the log ──> clients write, the disk misbehaves ──> power goes ──> again, with another number of shards
//!                         └── must succeed on whatever the last crash left; then: all that was acknowledged is there, nothing by halves
//! ```
//! `TORC_LOG_SEEDS` says how many seeds are played; a failure names its seed, with the life as its last digit, and `TORC_LOG_SEED` plays
//! that one alone.

use super::support::{Reply, encode};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use torc_engine::transaction::rules::Rules;
use torc_server::append_log::{self, Place, Plan};
use torc_server::command_table::CommandTable;
use torc_server::config::{AppendFsync, Config};
use torc_server::core::Core;
use torc_server::core_loop::CoreLoop;
use torc_server::log::Log;
use torc_server::reactor::driver::{Address, Wait};
use torc_server::reactor::simulated::{ClientEnd, Faults, SimulatedDriver, World};
use torc_server::settings::Settings;
use torc_server::shared::Shared;

const SHARDS_MAX: usize = 4;
const CLIENTS: usize = 4;
const WALL_MS: i64 = 1_700_000_000_000;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TORC_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TORC_LOG_SEEDS").unwrap_or(60),
    }
}

fn plan() -> Plan {
    Plan {
        place: Place { directory: PathBuf::from("log"), name: "appendonly.aof".to_owned() },
        server_directory: PathBuf::from("."),
        loads_truncated: true,
        corrupt_tail_max: 0,
        base_is_rdb: true,
    }
}

/// A process: its shards and its connections.
struct Process {
    world: World,
    shards: Vec<CoreLoop<SimulatedDriver>>,
    random: fastrand::Rng,
}

impl Process {
    /// Starts, and loads what is there.
    fn start(world: &World, seed: u64, shards: usize) -> Self {
        let mut config = Config::default();
        config.keyspace.databases = 4;
        config.persistence.append_only = true;
        config.persistence.append_log.file = b"appendonly.aof".to_vec();
        config.persistence.append_log.directory = b"log".to_vec();
        config.persistence.sums = true;
        config.persistence.snapshot_buffer_bytes_max = 1 << 28;
        let log = Log::new(&config.log);
        let table = CommandTable::new(torc_server::commands::rows());
        let shared = Arc::new(Shared::new(shards, config, table, seed, Rules::default(), log));
        shared.append_log.set_replayed(true);
        shared.loading.begin(0, WALL_MS);
        let settings = Arc::new(Settings { append_fsync: AppendFsync::Always, ..Settings::default() });
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
        let (said, outcome) = mpsc::channel();
        let shards = (0..shards).map(|index| {
            let world_clock = world.clone();
            let read_clock = Box::new(move || WALL_MS + (world_clock.now_ns() / 1_000_000) as i64);
            let core = Core::new(index, shared.clone(), settings.clone(), seed + index as u64, read_clock);
            let mut core_loop = CoreLoop::new(world.driver(index), core);
            core_loop.core.gate.set_loading(true);
            if index == 0 {
                core_loop.listen(&address, 128).expect("an address");
                let tasks = core_loop.core.tasks.clone();
                tasks.spawn(append_log::begin(tasks.clone(), shared.clone(), plan(), said.clone()));
            }
            core_loop
        });
        let mut process =
            Self { world: world.clone(), shards: shards.collect(), random: fastrand::Rng::with_seed(seed) };
        for _ in 0..200_000 {
            if let Ok(outcome) = outcome.try_recv() {
                outcome.unwrap_or_else(|reason| {
                    panic!("seed {seed}: a start failed: {reason}; files: {:?}", world.file_names())
                });
                return process;
            }
            process.turns(4);
        }
        panic!("seed {seed}: a start does not end");
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            let shard = self.random.usize(..self.shards.len());
            self.shards[shard].turn(Wait::Not).expect("a turn");
            let _ = self.shards[shard].next_wait();
            self.world.advance(self.world.now_ns() + self.random.u64(0..40_000));
        }
    }

    fn connect(&self) -> ClientEnd {
        let end = self.world.connect(&Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379))));
        assert!(!end.is_refused());
        end
    }

    fn ask(&mut self, end: &ClientEnd, line: &str) -> Reply {
        end.send(&encode(&line.split(' ').collect::<Vec<_>>()));
        let mut received = Vec::new();
        for _ in 0..100_000 {
            received.extend(end.receive());
            if let Some((reply, _)) = (!received.is_empty()).then(|| Reply::parse(&received)).flatten() {
                return reply;
            }
            self.turns(4);
        }
        panic!("no reply to {line}");
    }
}

/// A client that repeats what was refused until it is done: appends to a list, sets two keys, runs a transaction.
struct Writer {
    number: usize,
    end: Option<ClientEnd>,
    received: Vec<u8>,
    step: usize,
    round: u64,
    /// The last round whose steps were each acknowledged, by step.
    acknowledged: [u64; 3],
    sent: [u64; 3],
}

impl Writer {
    fn send(&mut self) {
        let (number, round) = (self.number, self.round);
        let words = |line: String| encode(&line.split(' ').collect::<Vec<_>>());
        let bytes = match self.step {
            0 => words(format!("RPUSH l:{number} {round}")),
            1 => words(format!("MSET {{1}}p:{number} {round} {{2}}q:{number} {round} {{3}}r:{number} {round}")),
            _ => [
                words("MULTI".to_owned()),
                words(format!("SET {{4}}t:{number} {round}")),
                words(format!("SET {{5}}u:{number} {round}")),
                words("EXEC".to_owned()),
            ]
            .concat(),
        };
        self.sent[self.step] = round;
        if let Some(end) = &self.end {
            end.send(&bytes);
        }
    }

    /// Takes what has come; goes on when its step is answered.
    fn go_on(&mut self) {
        let Some(end) = &self.end else { return };
        self.received.extend(end.receive());
        let count = if self.step == 2 { 4 } else { 1 };
        let mut used = 0;
        let mut replies = Vec::new();
        while replies.len() < count && used < self.received.len() {
            let Some((reply, length)) = Reply::parse(&self.received[used..]) else { return };
            used += length;
            replies.push(reply);
        }
        if replies.len() < count {
            return;
        }
        self.received.drain(..used);
        let last = &replies[count - 1];
        if last.is_error() {
            assert!(last.to_string().contains("MISCONF") || last.to_string().contains("EXECABORT"), "{last}");
        } else {
            self.acknowledged[self.step] = self.round;
            self.step = (self.step + 1) % 3;
            self.round += u64::from(self.step == 0);
        }
        self.send();
    }
}

/// What must be there after a start.
fn check(process: &mut Process, writers: &mut [Writer], seed: u64) {
    let end = process.connect();
    for writer in writers {
        let number = writer.number;
        let list = process.ask(&end, &format!("LRANGE l:{number} 0 -1"));
        let Reply::Array(items) = list else { panic!("seed {seed}: {list}") };
        for (at, item) in items.iter().enumerate() {
            assert_eq!(item.text(), (at + 1).to_string(), "seed {seed}: l:{number} has a gap");
        }
        let last = items.len() as u64;
        assert!(
            (writer.acknowledged[0]..=writer.sent[0]).contains(&last),
            "seed {seed}: l:{number} has {last} of {:?}, {:?}",
            writer.acknowledged,
            writer.sent
        );
        for (step, keys) in [(1, &["{1}p", "{2}q", "{3}r"][..]), (2, &["{4}t", "{5}u"][..])] {
            let mut values = Vec::new();
            for key in keys {
                let reply = process.ask(&end, &format!("GET {key}:{number}"));
                values.push(if reply == Reply::NullBulk { 0 } else { reply.text().parse::<u64>().expect("a number") });
            }
            assert!(values.iter().all(|value| *value == values[0]), "seed {seed}: by halves: {values:?}");
            assert!(
                (writer.acknowledged[step]..=writer.sent[step]).contains(&values[0]),
                "seed {seed}: {keys:?} have {values:?} of {:?}, {:?}",
                writer.acknowledged,
                writer.sent
            );
        }
        (writer.step, writer.round, writer.received) = (0, last + 1, Vec::new());
        writer.acknowledged[0] = last;
    }
}

fn play(seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = Faults { disk_delay_ns: (5_000, 400_000), network_delay_ns: (1_000, 20_000), ..Faults::calm() };
    let rough = Faults {
        short_transfer_per_million: 100_000,
        io_error_per_million: 15_000,
        no_space_per_million: 15_000,
        ..disk
    };
    let world = World::new(seed, SHARDS_MAX, disk);
    let mut writers: Vec<Writer> = (0..CLIENTS)
        .map(|number| Writer {
            number,
            end: None,
            received: Vec::new(),
            step: 0,
            round: 1,
            acknowledged: [0; 3],
            sent: [0; 3],
        })
        .collect();
    for life in 0..4 {
        world.set_faults(disk);
        let mut process = Process::start(&world, seed * 10 + life, random.usize(1..=SHARDS_MAX));
        check(&mut process, &mut writers, seed);
        if random.u8(..4) > 0 {
            world.set_faults(rough);
        }
        for writer in &mut writers {
            writer.end = Some(process.connect());
            writer.send();
        }
        let admin = process.connect();
        for _ in 0..random.usize(10..1_500) {
            process.turns(3);
            writers.iter_mut().for_each(Writer::go_on);
            if random.u16(..300) == 0 {
                admin.send(&encode(&["BGREWRITEAOF"]));
            }
        }
        drop(process);
        writers.iter_mut().for_each(|writer| writer.end = None);
        world.crash_disk();
    }
    writers.iter().map(|writer| writer.acknowledged.iter().sum::<u64>() as usize).sum()
}

#[test]
fn nothing_acknowledged_is_lost_whatever_the_disk_does() {
    let played = seeds();
    let acknowledged: usize = played.clone().map(play).sum();
    assert!(
        acknowledged > 1_000 || played.end - played.start == 1,
        "the clients have hardly written anything: {acknowledged}"
    );
}
