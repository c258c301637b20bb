//! Saves on a disk that fails, from a seed: short, torn and failed writes, a full disk, failed fsyncs, and the power going out anywhere.
//!
//! ```text
//!   one client   SET count n, MSET of n to keys of all shards ...     SAVE, every now and then
//!                wide texts, changed while it saves: they spill
//!   the disk     fails now and then; at some step the power goes: what was not synced is lost, whole, torn or zeroed
//!   then         dump.rdb is a whole file of one instant, not older than the last SAVE that was answered OK
//! ```
//! 200 seeds, or as many as `TORC_SIMULATION_SEEDS` says.

#[path = "support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use support::{Reply, encode, words};
use torc_engine::transaction::rules::Rules;
use torc_persistence::rdb::file::{Item, Scanner};
use torc_persistence::rdb::input::Input;
use torc_server::command_table::CommandTable;
use torc_server::config::Config;
use torc_server::core::Core;
use torc_server::core_loop::CoreLoop;
use torc_server::log::Log;
use torc_server::reactor::driver::{Address, Driver, Wait};
use torc_server::reactor::simulated::{ClientEnd, Faults, SimulatedDriver, World};
use torc_server::settings::Settings;
use torc_server::shared::Shared;

const FILE: &str = "/data/dump.rdb";
const PARTS: usize = 8;
/// Texts that are large beside what may be kept for the disk, with one seed in so many.
const WIDE: usize = 6;
const WIDE_SEEDS: u64 = 4;
const WIDE_BYTES: usize = 200_000;

struct Server {
    world: World,
    shards: Vec<CoreLoop<SimulatedDriver>>,
    client: ClientEnd,
    received: Vec<u8>,
    random: fastrand::Rng,
    /// Turns until the power goes out.
    turns_left: u64,
    /// How many wide texts there are.
    wide: usize,
}

/// The power went out.
struct Out;

impl Server {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let faults = Faults {
            network_delay_ns: (1_000, 20_000),
            disk_delay_ns: (1_000, 500_000),
            short_transfer_per_million: random.u32(..200_000),
            io_error_per_million: *random.choice(&[0, 5_000, 50_000]).expect("some"),
            no_space_per_million: *random.choice(&[0, 5_000, 50_000]).expect("some"),
            ..Faults::calm()
        };
        let count = random.usize(1..=5);
        let world = World::new(seed, count, faults);
        let mut config = Config::default();
        config.keyspace.databases = 4;
        config.process.directory = "/data".into();
        config.persistence.database_file = b"dump.rdb".to_vec();
        config.persistence.sums = true;
        config.persistence.syncs_meanwhile = random.bool();
        config.persistence.snapshot_buffer_bytes_max = 1 << 20;
        let log = Log::new(&config.log);
        let table = CommandTable::new(torc_server::commands::rows());
        let shared = Arc::new(Shared::new(count, config, table, seed, Rules::default(), log));
        let settings = Arc::new(Settings::default());
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
        let shards = (0..count).map(|index| {
            let driver = world.driver(index);
            let (clock_world, start_ms) = (world.clone(), driver.clock().wall_ms);
            let read_clock = Box::new(move || start_ms + (clock_world.now_ns() / 1_000_000) as i64);
            let core = Core::new(index, shared.clone(), settings.clone(), seed + index as u64, read_clock);
            let mut core_loop = CoreLoop::new(driver, core);
            if index == 0 {
                core_loop.core.begin_turn(core_loop.driver.clock());
                core_loop.listen(&address, 128).expect("an address");
            }
            core_loop
        });
        let shards = shards.collect();
        let client = world.connect(&address);
        let wide = if seed.is_multiple_of(WIDE_SEEDS) { WIDE } else { 0 };
        // To save them takes longer.
        let turns_left = random.u64(200..if wide > 0 { 20_000 } else { 6_000 });
        Self { world, shards, client, received: Vec::new(), random, turns_left, wide }
    }

    fn turn(&mut self) -> Result<(), Out> {
        self.turns_left = self.turns_left.checked_sub(1).ok_or(Out)?;
        let shard = self.random.usize(..self.shards.len());
        self.shards[shard].turn(Wait::Not).expect("a turn");
        self.world.advance(self.world.now_ns() + self.random.u64(0..30_000));
        Ok(())
    }

    fn reply(&mut self) -> Result<Reply, Out> {
        loop {
            self.received.extend(self.client.receive());
            if !self.received.is_empty()
                && let Some((reply, length)) = Reply::parse(&self.received)
            {
                self.received.drain(..length);
                return Ok(reply);
            }
            self.turn()?;
        }
    }

    fn send(&mut self, line: &str) {
        self.client.send(&encode(&words(line)));
    }
}

/// What has become certain before the power went out.
#[derive(Default)]
struct Seen {
    /// The number that was set last.
    count: u64,
    /// The number that a good SAVE has at least.
    saved: Option<u64>,
    good: u64,
    failed: u64,
    /// Bytes of wide texts that saves have spilled.
    spilled: u64,
}

fn info_number(info: &Reply, field: &str) -> u64 {
    let info = info.text();
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).expect("a figure")
}

fn live(server: &mut Server, seen: &mut Seen) -> Result<(), Out> {
    for number in 0..400 {
        server.send(&format!("SET filler:{number} {number:0>600}"));
        server.reply()?;
    }
    for wide in 0..server.wide {
        server.send(&format!("SETRANGE wide:{wide} {} end", WIDE_BYTES - 3));
        server.reply()?;
    }
    loop {
        seen.count += 1;
        let number = seen.count;
        let parts: Vec<String> = (0..PARTS).map(|part| format!("part:{part} {number}")).collect();
        server.send(&format!("MSET {}", parts.join(" ")));
        if server.random.u32(..12) != 0 {
            assert!(!server.reply()?.is_error());
            continue;
        }
        // Writes behind it go on while it saves.
        server.send("SAVE");
        for later in 1..=3 {
            let parts: Vec<String> = (0..PARTS).map(|part| format!("part:{part} {}", number + later)).collect();
            server.send(&format!("MSET {}", parts.join(" ")));
        }
        let widens = server.wide > 0;
        if widens {
            server.send("MULTI");
            (0..server.wide).for_each(|wide| server.send(&format!("SETRANGE wide:{wide} 0 {number:0>9}")));
            server.send("EXEC");
        }
        seen.count += 3;
        assert!(!server.reply()?.is_error());
        if server.reply()?.is_error() {
            seen.failed += 1;
        } else {
            seen.good += 1;
            seen.saved = Some(number);
        }
        for _ in 0..3 + if widens { server.wide + 2 } else { 0 } {
            assert!(!server.reply()?.is_error());
        }
        server.send("INFO persistence");
        seen.spilled += info_number(&server.reply()?, "snapshot_spilled_bytes");
    }
}

/// The numbers of the parts in a file. Its wide texts are those of one instant.
fn parts(file: &[u8]) -> Result<Vec<u64>, String> {
    let mut scanner = Scanner::new(true);
    scanner.feed(file);
    let (mut parts, mut wide) = (Vec::new(), Vec::new());
    loop {
        match scanner.next(true).map_err(|malformed| malformed.to_string())?.ok_or("it has no end")? {
            Item::End if wide.windows(2).all(|pair| pair[0] == pair[1]) => return Ok(parts),
            Item::End => return Err(format!("wide texts of several instants: {wide:?}")),
            Item::Entry(entry) if entry.key.starts_with(b"wide:") => {
                let text = Input::new(entry.value).text().map_err(|malformed| malformed.to_string())?;
                let (number, rest) = text.split_at(9);
                let rest = rest.strip_suffix(b"end").ok_or("its end is not there")?;
                if text.len() != WIDE_BYTES || rest.iter().any(|byte| *byte != 0) {
                    return Err(format!("a wide text has become another: {} bytes", text.len()));
                }
                wide.push(number.to_vec());
            }
            Item::Entry(entry) if entry.key.starts_with(b"part:") => {
                let text = Input::new(entry.value).text().map_err(|malformed| malformed.to_string())?;
                parts.push(String::from_utf8_lossy(&text).parse().map_err(|_| "no number")?);
            }
            _ => {}
        }
    }
}

#[test]
fn a_file_is_whole_and_not_older_than_the_last_good_save() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match from_environment("TORC_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("TORC_SIMULATION_SEEDS").unwrap_or(200),
    };
    let (mut good, mut failed, mut files, mut spilled) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let mut server = Server::new(seed);
        let mut seen = Seen::default();
        let Err(Out) = live(&mut server, &mut seen) else { unreachable!("it ends with the power") };
        server.world.crash_disk();
        let file = server.world.read_file(FILE);
        let again = format!("seed {seed} (TORC_SIMULATION_SEED={seed})");
        match file {
            None => assert_eq!(seen.saved, None, "{again}: the file is gone"),
            Some(file) => {
                let parts = parts(&file).unwrap_or_else(|reason| panic!("{again}: {reason}"));
                assert!(parts.windows(2).all(|pair| pair[0] == pair[1]), "{again}: {parts:?}");
                let number = parts.first().copied().unwrap_or(0);
                let least = seen.saved.unwrap_or(0);
                assert!((least..=seen.count).contains(&number), "{again}: {number}, saved {least}, {}", seen.count);
                files += 1;
            }
        }
        good += seen.good;
        failed += seen.failed;
        spilled += seen.spilled;
    }
    println!("{good} good saves, {failed} failed ones, {files} files, {spilled} bytes spilled");
    if seeds.end - seeds.start >= 100 {
        assert!(spilled > WIDE_BYTES as u64, "{spilled} bytes spilled");
        assert!(good > 100 && failed > 20 && files > 20, "{good} good saves, {failed} failed ones, {files} files");
    }
}
