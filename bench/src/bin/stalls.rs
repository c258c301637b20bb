//! How long others wait while one client asks for something large: the longest answer to a PING sent every 100 us by a
//! second client, while a first one runs commands on collections of millions of elements.
//!
//! ```text
//!   first client    fill, then each command in turn, its reply read as fast as it comes
//!   second client   PING, wait for the answer, 100 us later the next ...          longest wait = stall
//! ```
//! *Longest turn* is what Torc itself says (INFO shards): the most CPU time that a turn of a shard took. That leaves out what the
//! hypervisor takes away, so it is the part of a stall that the server can do something about; a PING waits for the rest of a turn.
//!
//! The server has a core for itself; both clients share another, where the second goes before the first. Where the host takes a core
//! away, that is no stall of the server's: a wait is told without what probes on both cores saw of it (`torc_bench::standstill`), and
//! beside it as the client saw it. `(nothing)` says what is left of that by itself. What is shown is the worst of the rounds.
//!
//! `cargo run --profile quick -p torc-bench --bin stalls -- --server target/quick/torc-server --server redis-server`

use clap::Parser;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use torc_bench::compare::server::{Contender, Server};
use torc_bench::compare::{Failure, Outcome};
use torc_bench::standstill::{Moment, Recorder, Standstills, now};

/// Measures the longest stall of a second client.
#[derive(Parser)]
struct Options {
    /// A server to measure; may be repeated.
    #[arg(long)]
    server: Vec<PathBuf>,
    /// Shards of Torc.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Only these commands, by their beginning; those that others need must be named, too.
    #[arg(long)]
    command: Vec<String>,
    /// Elements of each collection, and keys.
    #[arg(long, default_value_t = 5_000_000)]
    elements: u64,
    /// How often all of it is measured, each time with a fresh server; the worst of the rounds is shown.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The server's core.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The clients' core.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
}

impl Options {
    fn commands(&self) -> impl Iterator<Item = &'static &'static str> + '_ {
        let is_wanted =
            |command: &&&str| self.command.is_empty() || self.command.iter().any(|name| command.starts_with(name));
        COMMANDS.iter().filter(is_wanted)
    }
}

/// How long nothing is asked for, to see what the machine does by itself: as long as the longest commands take.
const NOTHING: Duration = Duration::from_secs(10);
const NO_COMMAND: &str = "(nothing)";

/// Nice values of the client that reads, and of the one that measures (which only root may have).
const READER_NICE: i32 = 10;
const PINGER_NICE: i32 = -20;

/// HyperLogLogs, and how often each is told of a hundred elements: they are dense then.
const SKETCHES: u64 = 1000;
const SKETCH_ROUNDS: u64 = 30;

/// Stands for the names of all HyperLogLogs.
const ALL_SKETCHES: &str = "{sketches}";

/// What is run, in this order.
const COMMANDS: &[&str] = &[
    "SMEMBERS set",
    "HGETALL hash",
    "LRANGE list 0 -1",
    "ZRANGE zset 0 -1 WITHSCORES",
    "SUNIONSTORE copy set set2",
    "ZUNIONSTORE zcopy 2 zset zset2",
    "SINTER set set2",
    "SORT list ALPHA DESC LIMIT 0 1000000",
    "SORT numbers BY key:* GET key:* LIMIT 0 1000000",
    "SORT numbers BY key:* DESC GET # STORE sorted",
    "ZINTERSTORE zcopy2 2 zset zset2",
    "ZRANGESTORE zcopy3 zset 1000 -1000",
    "ZREMRANGEBYRANK zcopy3 0 2500000",
    "ZREMRANGEBYSCORE zset2 100000 200000",
    "ZPOPMIN zset2 1000000",
    "GEOSEARCH places FROMLONLAT 0 0 BYRADIUS 5000 km ASC COUNT 100000 WITHDIST",
    "GEOSEARCHSTORE near places FROMLONLAT 0 0 BYRADIUS 8000 km STOREDIST",
    "KEYS *",
    "SCAN 0 COUNT 10000000",
    "SSCAN set 0 COUNT 10000000",
    "LREM list 0 member:0000000007",
    "LINSERT list BEFORE none text",
    "COPY list list2",
    "LPOP list2 1000000",
    "LTRIM list2 1000000 2000000",
    "SPOP set2 1000000",
    "PFCOUNT {sketches}",
    "PFMERGE merged {sketches}",
    "XRANGE stream - +",
    "XREADGROUP GROUP g first STREAMS stream >",
    "XPENDING stream g - + 10000000",
    "XAUTOCLAIM stream g second 0 0 COUNT 10000000 JUSTID",
    "XINFO STREAM stream FULL COUNT 0",
    "XGROUP DELCONSUMER stream g second",
    "XTRIM stream MAXLEN 1000",
    "DEL set",
    "DEL hash",
    "DEL zcopy",
    "FLUSHALL",
];

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(1 << 20, stream) })
    }

    fn send(&mut self, text: &str) -> Outcome<()> {
        Ok(self.stream.get_mut().write_all(text.as_bytes())?)
    }

    /// The longest turn of any shard since it was last asked for; none of a server that does not tell.
    fn longest_turn(&mut self) -> Outcome<Option<Duration>> {
        self.send("INFO shards\r\nCONFIG RESETSTAT\r\n")?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let length: usize = line.trim_start_matches('$').trim_end().parse().unwrap_or(0);
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text)?;
        self.skip_reply()?;
        let text = String::from_utf8_lossy(&text);
        let turns = text.split("longest_turn_us=").skip(1);
        let turns = turns.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        Ok(turns.max().map(Duration::from_micros))
    }

    /// Reads one reply and forgets it; its length in bytes.
    fn skip_reply(&mut self) -> Outcome<u64> {
        let mut awaited = 1;
        let mut bytes = 0;
        let mut line = Vec::new();
        while awaited > 0 {
            line.clear();
            bytes += self.stream.read_until(b'\n', &mut line)? as u64;
            let number = || String::from_utf8_lossy(&line[1..]).trim().parse::<i64>().unwrap_or(0);
            awaited -= 1;
            match line.first() {
                Some(b'*') => awaited += number().max(0),
                Some(b'$') if number() >= 0 => {
                    let length = number() as u64 + 2;
                    bytes += std::io::copy(&mut self.stream.by_ref().take(length), &mut std::io::sink())?;
                }
                _ => {}
            }
        }
        Ok(bytes)
    }

    /// Many commands at once, many times: `line` writes the one of a number.
    fn fill(&mut self, count: u64, line: impl Fn(&mut String, u64)) -> Outcome<()> {
        const BATCH: u64 = 1000;
        let mut text = String::new();
        for from in (0..count).step_by(BATCH as usize) {
            text.clear();
            let to = count.min(from + BATCH);
            (from..to).for_each(|number| line(&mut text, number));
            self.send(&text)?;
            for _ in from..to {
                self.skip_reply()?;
            }
        }
        Ok(())
    }
}

/// Appends to a text, which cannot fail.
fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// Whether a key, or keys that begin so, are needed for what is measured.
fn is_needed(commands: &[&str], name: &str) -> bool {
    let names = |command: &&str| {
        let is_named = command.split(' ').any(|word| word == name || word.starts_with(&format!("{name}:")));
        is_named
            || command.starts_with("FLUSHALL")
            || name == "key" && matches!(command.get(..4), Some("KEYS" | "SCAN"))
    };
    commands.iter().any(names)
}

/// Fills a server with what the commands are about: 100 elements a command.
fn fill(client: &mut Client, elements: u64, commands: &[&str]) -> Outcome<()> {
    const EACH: u64 = 100;
    let is_needed = |name| is_needed(commands, name);
    let batches = elements / EACH;
    let each = |text: &mut String, head: &str, batch: u64, element: &dyn Fn(&mut String, u64)| {
        text.push_str(head);
        (batch * EACH..(batch + 1) * EACH).for_each(|number| element(text, number));
        text.push_str("\r\n");
    };
    let name = |text: &mut String, number: u64| add(text, format_args!(" member:{number:010}"));
    let number_text = |text: &mut String, number: u64| add(text, format_args!(" {number}"));
    let field = |text: &mut String, number: u64| add(text, format_args!(" field:{number} value:{number}"));
    let scored = |text: &mut String, number: u64| {
        add(text, format_args!(" {} member:{number:010}", number.wrapping_mul(7919) % 1_000_003));
    };
    let place = |text: &mut String, number: u64| {
        let (longitude, latitude) = (number.wrapping_mul(7919) % 360, number.wrapping_mul(104_729) % 170);
        let (longitude, latitude) = (longitude as f64 - 179.5, latitude as f64 - 84.5);
        add(text, format_args!(" {longitude} {latitude} member:{number:010}"));
    };
    type Words<'a> = &'a dyn Fn(&mut String, u64);
    let collections: [(&str, &str, u64, Words<'_>); 8] = [
        ("SADD", "set", 0, &name),
        ("SADD", "set2", batches / 2, &name),
        ("HSET", "hash", 0, &field),
        ("ZADD", "zset", 0, &scored),
        ("ZADD", "zset2", batches / 2, &scored),
        ("RPUSH", "list", 0, &name),
        ("RPUSH", "numbers", 0, &number_text),
        ("GEOADD", "places", 0, &place),
    ];
    for (command, key, shift, element) in collections.into_iter().filter(|(_, key, ..)| is_needed(key)) {
        let head = format!("{command} {key}");
        client.fill(batches, |text, batch| each(text, &head, batch + shift, element))?;
    }
    if is_needed(ALL_SKETCHES) {
        client.fill(SKETCHES * SKETCH_ROUNDS, |text, batch| {
            each(text, &format!("PFADD sketch:{}", batch % SKETCHES), batch, &name);
        })?;
    }
    if is_needed("stream") {
        client.fill(elements, |text, number| add(text, format_args!("XADD stream * field {number}\r\n")))?;
        client.fill(1, |text, _| text.push_str("XGROUP CREATE stream g 0\r\n"))?;
    }
    if !is_needed("key") {
        return Ok(());
    }
    client.fill(batches, |text, batch| {
        each(text, "MSET", batch, &|text, number| add(text, format_args!(" key:{number} {number}")));
    })
}

/// The nice value of the calling thread: 0 names it to Linux, not its process.
fn set_nice(value: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, value) {
        eprintln!("nice value {value}: {error}; the clients may get into each other's way");
    }
}

/// A wait that is longer is looked at.
const LONG_WAIT_NS: u64 = 1_000_000;

/// What the client that measures has seen since it was last asked: from when to when it waited long, and its longest wait.
#[derive(Debug, Default)]
struct Waits {
    long: Vec<(Moment, Moment)>,
    longest_ns: u64,
}

/// What has been measured of a command.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    took: Duration,
    /// The longest wait without what the machine took of it.
    stall: Duration,
    /// The longest wait as the client saw it.
    seen: Duration,
    turn: Option<Duration>,
}

impl Row {
    fn worst(self, other: Self) -> Self {
        Self {
            took: self.took.max(other.took),
            stall: self.stall.max(other.stall),
            seen: self.seen.max(other.seen),
            turn: self.turn.max(other.turn),
        }
    }
}

/// Sends PING every 100 us until told to stop.
fn ping(address: SocketAddr, stop: &AtomicBool, waits: &Mutex<Waits>) -> Outcome<()> {
    set_nice(PINGER_NICE);
    let mut client = Client::connect(address)?;
    while !stop.load(Ordering::Relaxed) {
        let begun = now();
        client.send("PING\r\n")?;
        client.skip_reply()?;
        let ended = now();
        let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.longest_ns = waits.longest_ns.max(ended - begun);
        if ended - begun > LONG_WAIT_NS {
            waits.long.push((begun, ended));
        }
        drop(waits);
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// A command, and what the client that measures saw meanwhile.
#[derive(Debug)]
struct Seen {
    command: &'static str,
    took: Duration,
    turn: Option<Duration>,
    waits: Waits,
}

impl Seen {
    fn row(&self, standstills: &Standstills) -> Row {
        let without = |&(begun, ended): &(Moment, Moment)| (ended - begun) - standstills.within(begun, ended);
        let short_ns = self.waits.longest_ns.min(LONG_WAIT_NS);
        let stall_ns = self.waits.long.iter().map(without).fold(short_ns, u64::max);
        let [stall, seen] = [stall_ns, self.waits.longest_ns].map(Duration::from_nanos);
        Row { took: self.took, stall, seen, turn: self.turn }
    }
}

fn measure(contender: &Contender, options: &Options) -> Outcome<Vec<Row>> {
    let server = Server::start(contender)?;
    let mut client = Client::connect(server.address)?;
    eprintln!("{}: filling", contender.label);
    let commands: Vec<&str> = options.commands().copied().collect();
    fill(&mut client, options.elements, &commands)?;
    let recorder = Recorder::start(&server, options.server_core, options.client_core)?;
    let (stop, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Waits::default())));
    let address = server.address;
    let pinging = {
        let (stop, waits) = (stop.clone(), waits.clone());
        std::thread::spawn(move || ping(address, &stop, &waits).map_err(|failure| format!("{failure:?}")))
    };
    set_nice(READER_NICE);
    let seen = |client: &mut Client, command: &'static str, took: Duration| -> Outcome<Seen> {
        let take = || std::mem::take(&mut *waits.lock().unwrap_or_else(PoisonError::into_inner));
        let waits = take();
        let turn = client.longest_turn()?;
        take();
        Ok(Seen { command, took, turn, waits })
    };
    seen(&mut client, NO_COMMAND, Duration::ZERO)?;
    std::thread::sleep(NOTHING);
    let mut all = vec![seen(&mut client, NO_COMMAND, NOTHING)?];
    for command in options.commands() {
        let begun = Instant::now();
        let names: String = (0..SKETCHES).map(|number| format!("sketch:{number} ")).collect();
        client.send(&format!("{}\r\n", command.replace(ALL_SKETCHES, names.trim_end())))?;
        client.skip_reply()?;
        let took = begun.elapsed();
        // What it left to be freed belongs to it.
        std::thread::sleep(Duration::from_millis(1500));
        all.push(seen(&mut client, command, took)?);
    }
    stop.store(true, Ordering::Relaxed);
    let _ = pinging.join();
    let standstills = recorder.finish()?;
    let tell = |seen: &Seen| {
        let row = seen.row(&standstills);
        eprintln!("{}: {}: {row:?}", contender.label, seen.command);
        row
    };
    Ok(all.iter().map(tell).collect())
}

/// For each row the worst of all rounds.
fn worst(rounds: &[Vec<Row>]) -> Vec<Row> {
    let rows = rounds.iter().map(Vec::len).min().unwrap_or(0);
    let of_row = |row: usize| rounds.iter().map(|round| round[row]).reduce(Row::worst).unwrap_or_default();
    (0..rows).map(of_row).collect()
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(options.client_core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| Failure(format!("core {} for the clients: {error}", options.client_core)))?;
    let mut columns = Vec::new();
    for program in &options.server {
        let contender = Contender::new(program, options.shards, Some(options.server_core.to_string()))?;
        let rounds = (0..options.rounds).map(|_| measure(&contender, &options)).collect::<Outcome<Vec<_>>>()?;
        columns.push((contender.label.clone(), worst(&rounds)));
    }
    let labels: Vec<String> = columns
        .iter()
        .map(|(label, _)| format!(" {label}: stall ms | as seen ms | longest turn ms | takes ms |"))
        .collect();
    println!("| command |{}", labels.concat());
    println!("|---|{}", "---:|---:|---:|---:|".repeat(columns.len()));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    for (index, command) in std::iter::once(&NO_COMMAND).chain(options.commands()).enumerate() {
        let cells = columns.iter().map(|(_, rows)| {
            let Row { took, stall, seen, turn } = rows[index];
            let turn = turn.map_or_else(|| "-".to_owned(), |turn| format!("{:.1}", milliseconds(turn)));
            let [stall, seen, took] = [stall, seen, took].map(milliseconds);
            format!(" {stall:.1} | {seen:.1} | {turn} | {took:.0} |")
        });
        println!("| `{command}` |{}", cells.collect::<String>());
    }
    Ok(())
}
