//! What is measured, and how a round of it goes.

use super::load::{Mix, Seen, Tool, encode, fill};
use super::server::{Contender, Server};
use super::{Failure, Outcome, collections, encrypted, transactions};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Connections that send the load.
const CONNECTIONS: u64 = 50;
/// Depth of pipeline of commands on collections.
const COLLECTION_DEPTH: u64 = 16;

/// A group of workloads that share a start of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// GET:SET 10:1 at three depths of pipeline.
    Throughput,
    /// The same without pipeline, alone and beside many idle connections.
    Idle,
    /// Resident memory a key, without and with TTL.
    Memory,
    /// Two shards against one, both cores shared with the load.
    Shards,
    /// Commands on collections, small and large.
    Collections,
    /// Resident memory of collections.
    CollectionsMemory,
    /// Scripts, transactions, messages, queues.
    Transactions,
    /// The load of the first over TLS, and connections that come for one command.
    Encrypted,
}

impl Workload {
    /// All, in the order in which they run.
    pub const ALL: [Self; 8] = [
        Self::Throughput,
        Self::Idle,
        Self::Memory,
        Self::Shards,
        Self::Collections,
        Self::CollectionsMemory,
        Self::Transactions,
        Self::Encrypted,
    ];

    /// As `--workload` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Idle => "idle",
            Self::Memory => "memory",
            Self::Shards => "shards",
            Self::Collections => "collections",
            Self::CollectionsMemory => "collections-memory",
            Self::Transactions => "transactions",
            Self::Encrypted => "encrypted",
        }
    }
}

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What drives the servers.
    pub tool: Tool,
    /// Cores of the load.
    pub load_cores: Option<String>,
    /// Keys that are there before the load begins.
    pub keys: u64,
    /// Bytes a value.
    pub value_bytes: usize,
    /// Depth of pipeline and commands at it.
    pub depths: Vec<(u64, u64)>,
    /// Idle connections.
    pub idle_connections: usize,
    /// Keys of the memory workload.
    pub memory_keys: u64,
    /// Commands of each case of the collections.
    pub collection_commands: u64,
    /// Scripts and transactions of each case of these.
    pub transactions: u64,
    /// Cores that Torc's shards share with the load where it has several.
    pub shared_cores: Option<String>,
    /// Only these cases of the collections or transactions; all where it is empty.
    pub cases: Vec<String>,
}

/// One number of one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was measured: `pipeline 16`.
    pub case: String,
    /// The unit or kind: see the constants below.
    pub metric: &'static str,
    /// Which contender, by position.
    pub contender: usize,
    /// From one.
    pub round: usize,
    /// The number.
    pub value: f64,
}

/// Commands a second.
pub const OPS: &str = "ops/s";
/// Server CPU a command, microseconds.
pub const CPU: &str = "CPU us";
/// Server CPU outside of the kernel a command, microseconds.
pub const USER: &str = "user CPU us";
/// Latency.
pub const P50: &str = "p50 ms";
/// Latency.
pub const P99: &str = "p99 ms";
/// Latency.
pub const P999: &str = "p99.9 ms";
/// The part of the time in which a thread of the server was ready and had no core.
pub const WAITING: &str = "waiting share";
/// Resident bytes for each key or connection.
pub const BYTES: &str = "bytes";

/// Where the samples of a run go.
pub struct Recorder<'a> {
    /// Which contender.
    pub contender: usize,
    /// Which round.
    pub round: usize,
    /// What was found.
    pub samples: &'a mut Vec<Sample>,
}

impl Recorder<'_> {
    pub(super) fn add(&mut self, case: &str, metric: &'static str, value: f64) {
        let (contender, round) = (self.contender, self.round);
        self.samples.push(Sample { case: case.to_owned(), metric, contender, round, value });
    }
}

impl Plan {
    /// One round of one workload with all contenders, one after the other, each on a server of its own. With commands on collections
    /// they take turns case by case.
    pub fn run(
        &self,
        workload: Workload,
        contenders: &[Contender],
        round: usize,
        samples: &mut Vec<Sample>,
    ) -> Outcome<()> {
        if workload == Workload::Collections {
            let recorder = &mut Recorder { contender: 0, round, samples };
            let (depth, commands) = (COLLECTION_DEPTH, self.collection_commands);
            return collections::run_commands(contenders, &self.cases, depth, commands, recorder);
        }
        for (position, contender) in contenders.iter().enumerate() {
            eprintln!("{}, round {round}: {}", workload.name(), contender.label);
            self.run_alone(workload, contender, &mut Recorder { contender: position, round, samples })?;
        }
        Ok(())
    }

    fn run_alone(&self, workload: Workload, contender: &Contender, recorder: &mut Recorder<'_>) -> Outcome<()> {
        match workload {
            // Collections take turns case by case.
            Workload::Collections => Ok(()),
            Workload::Throughput | Workload::Shards => {
                let server = self.start_filled(contender)?;
                for &(pipeline, requests) in &self.depths {
                    let mix = self.mix(pipeline, requests);
                    self.measure(&server, &format!("pipeline {pipeline}"), &mix, recorder)?;
                }
                Ok(())
            }
            Workload::Idle => self.run_idle(contender, recorder),
            Workload::Memory => {
                self.run_memory(contender, "without TTL", false, recorder)?;
                self.run_memory(contender, "with TTL", true, recorder)
            }
            Workload::CollectionsMemory => collections::run_memory(|| Server::start(contender), &self.cases, recorder),
            Workload::Transactions => {
                let start = |shards: usize| match shards {
                    1 => Server::start(contender),
                    _ => Server::start(&contender.with_shards(shards, self.shared_cores.clone())),
                };
                transactions::run(start, &self.cases, self.transactions, recorder)
            }
            Workload::Encrypted => encrypted::run(self, contender, recorder),
        }
    }

    pub(super) fn start_filled(&self, contender: &Contender) -> Outcome<Server> {
        let server = Server::start(contender)?;
        let value = vec![b'x'; self.value_bytes];
        fill(server.address, self.keys, |number, out| {
            encode(&[b"SET", self.tool.key(number).as_bytes(), &value], out);
        })?;
        Ok(server)
    }

    pub(super) fn mix(&self, pipeline: u64, requests: u64) -> Mix {
        let (keys, value_bytes) = (self.keys, self.value_bytes);
        Mix {
            requests,
            connections: CONNECTIONS,
            pipeline,
            keys,
            value_bytes,
            over_tls: false,
            commands_a_connection: None,
        }
    }

    pub(super) fn measure(&self, server: &Server, case: &str, mix: &Mix, to: &mut Recorder<'_>) -> Outcome<()> {
        let before = server.cpu()?;
        let seen = self.tool.run(server.address, mix, self.load_cores.as_deref())?;
        let used = server.cpu()?.since(before);
        let Seen { commands, commands_per_s, p50_ms, p99_ms, p999_ms } = seen;
        let cpu_us = used.total_s * 1e6 / commands;
        to.add(case, OPS, commands_per_s);
        to.add(case, CPU, cpu_us);
        to.add(case, USER, used.user_s * 1e6 / commands);
        to.add(case, P50, p50_ms);
        to.add(case, P99, p99_ms);
        if let Some(p999_ms) = p999_ms {
            to.add(case, P999, p999_ms);
        }
        to.add(case, WAITING, used.waiting_s / (used.total_s + used.waiting_s).max(1e-9));
        eprintln!("    {case}: {commands_per_s:.0} ops/s, {cpu_us:.3} us of server CPU a command, p99 {p99_ms:.3} ms");
        Ok(())
    }

    fn run_idle(&self, contender: &Contender, recorder: &mut Recorder<'_>) -> Outcome<()> {
        let requests = self.depths.first().map_or(1_000_000, |(_, requests)| *requests);
        let server = self.start_filled(contender)?;
        self.measure(&server, "alone", &self.mix(1, requests), recorder)?;
        let before = server.resident_bytes()?;
        let idle = open_idle(&server, self.idle_connections)?;
        let bytes = (server.resident_bytes()? - before) / idle.len() as f64;
        recorder.add("an idle connection", BYTES, bytes);
        eprintln!("    {} idle connections: {bytes:.0} resident bytes each", idle.len());
        self.measure(&server, "beside idle connections", &self.mix(1, requests), recorder)
    }

    fn run_memory(&self, contender: &Contender, case: &str, with_ttl: bool, to: &mut Recorder<'_>) -> Outcome<()> {
        let server = Server::start(contender)?;
        let before = server.resident_bytes()?;
        fill(server.address, self.memory_keys, |number, out| {
            let (key, value) = (format!("{number:016}"), format!("{number:032}"));
            let words: [&[u8]; 5] = [b"SET", key.as_bytes(), value.as_bytes(), b"EX", b"864000"];
            encode(if with_ttl { &words } else { &words[..3] }, out);
        })?;
        let bytes = (server.resident_bytes()? - before) / self.memory_keys as f64;
        to.add(case, BYTES, bytes);
        eprintln!("    {} keys {case}: {bytes:.1} resident bytes each", self.memory_keys);
        Ok(())
    }
}

/// Connections that have each asked for one PING and then say nothing.
fn open_idle(server: &Server, count: usize) -> Outcome<Vec<TcpStream>> {
    let mut idle = Vec::with_capacity(count);
    for opened in 0..count {
        let open = || -> std::io::Result<TcpStream> {
            let mut stream = TcpStream::connect(server.address)?;
            stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
            stream.read_exact(&mut [0; 7])?;
            Ok(stream)
        };
        let stream = open().map_err(|error| {
            Failure(format!("only {opened} of {count} idle connections opened: {error} (does `ulimit -n` allow more?)"))
        })?;
        idle.push(stream);
    }
    Ok(idle)
}
