//! How far memory goes above its limit while many clients write more than fits: Torc beside a peer.
//!
//! ```text
//!   writers   N connections, each a pipeline of SETs of large values  ──┐
//!                                                                       ├──> one server with `maxmemory`
//!   sampler   INFO memory every few ms, resident memory beside it     ──┘
//! ```
//! A storm writes several times what fits. With keys that are spread evenly all shards fill alike; with the others nine of
//! ten, or all, belong to one slot and so to one shard.
//!
//! ```text
//! cargo build --release && cargo run --release -p torc-bench --bin overshoot
//! ```

use clap::Parser;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use torc_bench::compare::server::{Contender, Server};
use torc_bench::compare::{Failure, Outcome};

/// Measures by how much servers overshoot their limit of memory in a storm of writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server in question.
    #[arg(long, default_value = "target/release/torc-server")]
    torc: PathBuf,
    /// The server it is held against.
    #[arg(long, default_value = "redis-server")]
    peer: PathBuf,
    /// Shards of Torc.
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// Policies, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "allkeys-lru,allkeys-lfu,volatile-ttl,noeviction")]
    policies: Vec<String>,
    /// The limit in MiB.
    #[arg(long, default_value_t = 128)]
    limit_mib: u64,
    /// How many times the limit is written.
    #[arg(long, default_value_t = 4)]
    times: u64,
    /// Bytes a value.
    #[arg(long, default_value_t = 4096)]
    value_bytes: usize,
    /// Connections that write.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Writes sent at once by each.
    #[arg(long, default_value_t = 64)]
    pipeline: usize,
    /// Milliseconds between two samples.
    #[arg(long, default_value_t = 2)]
    sample_ms: u64,
}

/// How keys are spread over slots: of ten keys, so many belong to one slot.
const SPREADS: [(&str, usize); 3] = [("even", 0), ("9 of 10 in one slot", 9), ("one slot", 10)];

/// A connection that sends commands and counts replies.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The next reply: its line, and the text that follows it, if one does.
    fn reply(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(Failure("the server closed the connection".to_owned()));
        }
        let line = line.trim_end().to_owned();
        let Some(Ok(length)) = line.strip_prefix('$').map(str::parse::<usize>) else { return Ok(line) };
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn call(&mut self, line: &str) -> Outcome<String> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    fn number(&mut self, section: &str, field: &str) -> Outcome<u64> {
        let report = self.call(&format!("INFO {section}"))?;
        let found = report.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok());
        found.ok_or_else(|| Failure(format!("no {field} in INFO {section}")))
    }
}

/// Writes a writer's part of the storm; how many writes were refused.
fn write(address: SocketAddr, writer: usize, together: usize, expires: bool, arguments: &Arguments) -> Outcome<u64> {
    let mut connection = Connection::open(address)?;
    let value = "v".repeat(arguments.value_bytes);
    let options = if expires { "$2\r\nEX\r\n$5\r\n90000\r\n" } else { "" };
    let words = if expires { 5 } else { 3 };
    let in_all = arguments.times * (arguments.limit_mib << 20) / arguments.value_bytes as u64;
    let rounds = in_all as usize / arguments.writers / arguments.pipeline;
    let mut refused = 0;
    for round in 0..rounds {
        let mut bytes = String::with_capacity(arguments.pipeline * (arguments.value_bytes + 100));
        for place in 0..arguments.pipeline {
            let number = (round * arguments.pipeline + place) * arguments.writers + writer;
            let tag = if number / arguments.writers % 10 < together { "{together}" } else { "" };
            let name = format!("{tag}{number:09}");
            let (name_bytes, value_bytes) = (name.len(), value.len());
            bytes +=
                &format!("*{words}\r\n$3\r\nSET\r\n${name_bytes}\r\n{name}\r\n${value_bytes}\r\n{value}\r\n{options}");
        }
        connection.0.get_mut().write_all(bytes.as_bytes())?;
        for _ in 0..arguments.pipeline {
            refused += u64::from(connection.reply()?.starts_with("-OOM"));
        }
    }
    Ok(refused)
}

/// What a storm came to.
#[derive(Debug, Default)]
struct Storm {
    used_bytes_max: u64,
    resident_bytes_max: f64,
    samples: u64,
    refused: u64,
    evicted: u64,
    used_bytes_end: u64,
}

fn sample(server: &Server, is_over: &AtomicBool, pause: Duration) -> Outcome<Storm> {
    let mut connection = Connection::open(server.address)?;
    let mut storm = Storm::default();
    while !is_over.load(Ordering::Relaxed) {
        storm.used_bytes_max = storm.used_bytes_max.max(connection.number("memory", "used_memory")?);
        storm.resident_bytes_max = storm.resident_bytes_max.max(server.resident_bytes()?);
        storm.samples += 1;
        thread::sleep(pause);
    }
    storm.used_bytes_max = storm.used_bytes_max.max(connection.number("memory", "used_memory_peak")?);
    storm.evicted = connection.number("stats", "evicted_keys")?;
    storm.used_bytes_end = connection.number("memory", "used_memory")?;
    Ok(storm)
}

fn run_storm(contender: &Contender, policy: &str, together: usize, arguments: &Arguments) -> Outcome<Storm> {
    let server = Server::start(contender)?;
    let limit = arguments.limit_mib << 20;
    let mut connection = Connection::open(server.address)?;
    let reply = connection.call(&format!("CONFIG SET maxmemory {limit} maxmemory-policy {policy}"))?;
    if reply != "+OK" {
        return Err(Failure(format!("{} refuses the limit: {reply}", contender.label)));
    }
    let is_over = AtomicBool::new(false);
    let expires = policy.starts_with("volatile");
    thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&server, &is_over, Duration::from_millis(arguments.sample_ms)));
        let address = server.address;
        let writers: Vec<_> = (0..arguments.writers)
            .map(|writer| scope.spawn(move || write(address, writer, together, expires, arguments)))
            .collect();
        let refused: Outcome<Vec<u64>> = writers.into_iter().map(join).collect();
        is_over.store(true, Ordering::Relaxed);
        let storm = join(sampler)?;
        Ok(Storm { refused: refused?.into_iter().sum(), ..storm })
    })
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, Outcome<T>>) -> Outcome<T> {
    handle.join().unwrap_or_else(|_| Err(Failure("a thread of the measurement failed".to_owned())))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let contenders =
        [Contender::new(&arguments.torc, arguments.shards, None)?, Contender::new(&arguments.peer, 1, None)?];
    let limit = (arguments.limit_mib << 20) as f64;
    println!(
        "Limit {} MiB, {} times as much written in values of {} B by {} connections, pipeline {}; Torc on {} shards.\n",
        arguments.limit_mib,
        arguments.times,
        arguments.value_bytes,
        arguments.writers,
        arguments.pipeline,
        arguments.shards
    );
    println!(
        "| policy | keys | server | highest used_memory | highest RSS | used_memory in the end | evicted | refused | samples |"
    );
    println!("|---|---|---|--:|--:|--:|--:|--:|--:|");
    for policy in &arguments.policies {
        for (spread, together) in SPREADS {
            for contender in &contenders {
                let storm = run_storm(contender, policy, together, arguments)?;
                let percent = |bytes: f64| format!("{:+.2} %", (bytes / limit - 1.0) * 100.0);
                println!(
                    "| {policy} | {spread} | {} | {} | {} | {} | {} | {} | {} |",
                    contender.label,
                    percent(storm.used_bytes_max as f64),
                    percent(storm.resident_bytes_max),
                    percent(storm.used_bytes_end as f64),
                    storm.evicted,
                    storm.refused,
                    storm.samples
                );
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
