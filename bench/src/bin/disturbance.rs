//! Whether clients are disturbed by others who have begun something and do not end it: how long the answer to a command takes
//! while nobody else is there, and while others sleep in the middle of a transaction, watch the same keys, or let a script loop
//! for ever.
//!
//! ```text
//!   load         clients that GET and SET keys of one shard, one command at a time        their waits are measured
//!   disturbers   come, do their part, are silent while the load is measured, and go
//! ```
//! Every disturbance is measured between two times of quiet, round after round; what is shown is the median of the rounds.
//! The script runs on another shard than the load's keys, on a core of its own: clients share theirs with the load's shard. On
//! a server of one thread it stops everybody until it is killed, which is what its row shows then.
//!
//! `cargo run --profile quick -p torc-bench --bin disturbance -- --server target/quick/torc-server --server redis-server`

use clap::Parser;
use hdrhistogram::Histogram;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use torc_bench::compare::server::{Contender, Server};
use torc_bench::compare::{Failure, Outcome};

/// Measures how long answers take while others sleep, watch or loop.
#[derive(Parser)]
struct Options {
    /// A server to measure; may be repeated.
    #[arg(long)]
    server: Vec<PathBuf>,
    /// Shards of Torc, on cores of their own as far as there are any.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// The server's cores.
    #[arg(long, default_value = "0,1")]
    server_cores: String,
    /// The clients' core.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Clients of the load.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Clients that disturb.
    #[arg(long, default_value_t = 200)]
    disturbers: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Keys of the load, and the one of the script: their tags are in different halves of the slots.
const KEYS: u64 = 1000;
const LOAD_TAG: &str = "{a}";
const SCRIPT_KEY: &str = "{b}";

/// What others do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// Nothing.
    None,
    /// MULTI and writes of the load's keys, then silence.
    SleepingTransactions,
    /// WATCH of the load's keys, then silence.
    SleepingWatchers,
    /// A script that never ends, until it is killed.
    EndlessScript,
}

const ROWS: [(Disturbance, &str); 4] = [
    (Disturbance::None, "nobody"),
    (Disturbance::SleepingTransactions, "clients that sleep in MULTI, with writes of these keys queued"),
    (Disturbance::SleepingWatchers, "clients that sleep and watch these keys"),
    (Disturbance::EndlessScript, "a script that loops for ever on another shard"),
];

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn send(&mut self, line: &str) -> Outcome<()> {
        Ok(self.stream.get_mut().write_all(line.as_bytes())?)
    }

    /// A reply of one line or one string; its first line.
    fn reply(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if let Some(length) = line.strip_prefix('$').and_then(|text| text.trim().parse::<u64>().ok()) {
            std::io::copy(&mut self.stream.by_ref().take(length + 2), &mut std::io::sink())?;
        }
        Ok(line)
    }

    fn call(&mut self, line: &str) -> Outcome<String> {
        self.send(line)?;
        self.reply()
    }
}

/// Commands after which a connection is where its keys are.
const WARM_UP_COMMANDS: u64 = 1100;

/// One client of the load: a GET or SET of some key.
fn call(client: &mut Client, number: u64, count: u64) -> Outcome<String> {
    let key = (count + number).wrapping_mul(7919) % KEYS;
    client.call(&if count.is_multiple_of(10) {
        format!("SET {LOAD_TAG}:{key} {count}\r\n")
    } else {
        format!("GET {LOAD_TAG}:{key}\r\n")
    })
}

fn warmed_up(address: SocketAddr, number: u64) -> Outcome<Client> {
    let mut client = Client::connect(address)?;
    for count in 0..WARM_UP_COMMANDS {
        call(&mut client, number, count)?;
    }
    Ok(client)
}

/// For waits of up to some minutes.
fn histogram() -> Outcome<Histogram<u64>> {
    Histogram::new_with_max(600_000_000_000, 3).map_err(|error| Failure(error.to_string()))
}

/// Its waits for so long, in nanoseconds.
fn load(mut client: Client, number: u64, time: Duration) -> Outcome<Histogram<u64>> {
    let mut waits = histogram()?;
    let begun = Instant::now();
    let mut last = begun;
    for count in 0..u64::MAX {
        call(&mut client, number, count)?;
        let now = Instant::now();
        waits.saturating_record((now - last).as_nanos() as u64);
        last = now;
        if now - begun > time {
            break;
        }
    }
    Ok(waits)
}

/// The disturbers have begun; they end when this is dropped, and the script when it is killed.
struct Disturbers {
    clients: Vec<Client>,
}

impl Disturbers {
    fn begin(disturbance: Disturbance, address: SocketAddr, count: usize) -> Outcome<Self> {
        let count = match disturbance {
            Disturbance::None => 0,
            Disturbance::EndlessScript => 1,
            Disturbance::SleepingTransactions | Disturbance::SleepingWatchers => count,
        };
        let mut clients = (0..count).map(|_| Client::connect(address)).collect::<Outcome<Vec<_>>>()?;
        for client in &mut clients {
            match disturbance {
                Disturbance::None => {}
                Disturbance::SleepingTransactions => {
                    client.call("MULTI\r\n")?;
                    for key in 0..20 {
                        client.call(&format!("SET {LOAD_TAG}:{key} asleep\r\n"))?;
                    }
                }
                Disturbance::SleepingWatchers => {
                    for key in 0..20 {
                        client.call(&format!("WATCH {LOAD_TAG}:{key}\r\n"))?;
                    }
                }
                Disturbance::EndlessScript => client.send(&format!("EVAL \"while true do end\" 1 {SCRIPT_KEY}\r\n"))?,
            }
        }
        Ok(Self { clients })
    }

    /// How long SCRIPT KILL takes, until the one that looped has its error.
    fn kill_script(&mut self, address: SocketAddr) -> Outcome<Duration> {
        let begun = Instant::now();
        let mut killer = Client::connect(address)?;
        while !killer.call("SCRIPT KILL\r\n")?.starts_with("+OK") {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(Failure("the script cannot be killed".to_owned()));
            }
        }
        self.clients[0].reply()?;
        Ok(begun.elapsed())
    }
}

/// What has been measured while one disturbance lasted, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Row {
    commands_a_second: f64,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    kill: Duration,
}

fn measure(disturbance: Disturbance, address: SocketAddr, options: &Options) -> Outcome<Row> {
    let time = Duration::from_secs(options.seconds);
    let numbers = 0..options.clients as u64;
    let clients = numbers.clone().map(|number| warmed_up(address, number)).collect::<Outcome<Vec<_>>>()?;
    let mut disturbers = Disturbers::begin(disturbance, address, options.disturbers)?;
    let start = |(client, number)| std::thread::spawn(move || load(client, number, time).map_err(|failure| failure.0));
    let threads: Vec<_> = clients.into_iter().zip(numbers).map(start).collect();
    std::thread::sleep(time);
    let kill = match disturbance {
        Disturbance::EndlessScript => disturbers.kill_script(address)?,
        _ => Duration::ZERO,
    };
    let mut waits = histogram()?;
    for thread in threads {
        let of_client =
            thread.join().map_err(|_| Failure("a client of the load panicked".to_owned()))?.map_err(Failure)?;
        waits.add(of_client).map_err(|error| Failure(error.to_string()))?;
    }
    let quantile = |part| waits.value_at_quantile(part);
    Ok(Row {
        commands_a_second: waits.len() as f64 / time.as_secs_f64(),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        p999_ns: quantile(0.999),
        kill,
    })
}

/// The rounds of one server: for each disturbance, what was measured in each.
fn rounds(contender: &Contender, options: &Options) -> Outcome<Vec<Vec<Row>>> {
    let server = Server::start(contender)?;
    let mut client = Client::connect(server.address)?;
    for key in 0..KEYS {
        client.call(&format!("SET {LOAD_TAG}:{key} value\r\n"))?;
    }
    let mut rows = vec![Vec::new(); ROWS.len()];
    for round in 0..options.rounds {
        for (rows, (disturbance, name)) in rows.iter_mut().zip(ROWS) {
            let row = measure(disturbance, server.address, options)?;
            eprintln!("{}, round {round}, {name}: p99 {} us", contender.label, row.p99_ns / 1000);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn median<T: PartialOrd + Copy>(rows: &[Row], of: impl Fn(&Row) -> T) -> T {
    let mut values: Vec<T> = rows.iter().map(of).collect();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(options.client_core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| Failure(format!("core {} for the clients: {error}", options.client_core)))?;
    println!("| server | disturbed by | commands a second | p50 us | p99 us | p99.9 us | SCRIPT KILL ms |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for program in &options.server {
        let contender = Contender::new(program, options.shards, Some(options.server_cores.clone()))?;
        for ((disturbance, name), rows) in ROWS.iter().zip(rounds(&contender, &options)?) {
            let us = |of: fn(&Row) -> u64| median(&rows, of) as f64 / 1e3;
            let (p50, p99, p999) = (us(|row| row.p50_ns), us(|row| row.p99_ns), us(|row| row.p999_ns));
            let rate = median(&rows, |row| row.commands_a_second);
            let kill = median(&rows, |row| row.kill).as_secs_f64() * 1e3;
            let kill = if *disturbance == Disturbance::EndlessScript { format!("{kill:.1}") } else { String::new() };
            println!("| {} | {name} | {rate:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {kill} |", contender.label);
        }
    }
    Ok(())
}
