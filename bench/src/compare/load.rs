//! What drives a server: memtier_benchmark where it is installed, else redis-benchmark; and a loader of our own that fills
//! a server with keys faster than either.

use super::server::pinned;
use super::{Failure, Outcome};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// Commands that the loader sends before it reads their replies. Two batches are under way at a time.
const LOADER_BATCH: u64 = 512;

/// A load generator that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Mixes GET and SET in one run and reports p99.9.
    Memtier,
    /// Knows one command a run, so the mix is two runs, and no p99.9.
    RedisBenchmark,
}

/// A mix of ten GETs to one SET over keys that all exist.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Commands in all.
    pub requests: u64,
    /// Connections.
    pub connections: u64,
    /// Commands under way a connection.
    pub pipeline: u64,
    /// Keys to choose from.
    pub keys: u64,
    /// Bytes a value.
    pub value_bytes: usize,
}

/// What a load generator saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Commands that were answered.
    pub commands: f64,
    /// A second.
    pub commands_per_s: f64,
    /// Half of the replies took at most so long.
    pub p50_ms: f64,
    /// All but one of a hundred.
    pub p99_ms: f64,
    /// All but one of a thousand, where the tool tells.
    pub p999_ms: Option<f64>,
}

impl Tool {
    /// The best that is installed.
    pub fn find() -> Outcome<Self> {
        let runs = |program: &str| {
            let outcome = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            outcome.is_ok_and(|status| status.success())
        };
        if runs("memtier_benchmark") {
            Ok(Self::Memtier)
        } else if runs("redis-benchmark") {
            Ok(Self::RedisBenchmark)
        } else {
            Err(Failure("neither memtier_benchmark nor redis-benchmark is installed".to_owned()))
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memtier => "memtier_benchmark",
            Self::RedisBenchmark => "redis-benchmark",
        }
    }

    /// The name under which it looks for a key.
    pub fn key(self, number: u64) -> String {
        match self {
            Self::Memtier => format!("memtier-{number}"),
            Self::RedisBenchmark => format!("key:{:012}", number - 1),
        }
    }

    /// Runs the mix to its end.
    pub fn run(self, address: SocketAddr, mix: &Mix, cores: Option<&str>) -> Outcome<Seen> {
        match self {
            Self::Memtier => run_memtier(address, mix, cores),
            Self::RedisBenchmark => run_redis_benchmark(address, mix, cores),
        }
    }
}

fn run_memtier(address: SocketAddr, mix: &Mix, cores: Option<&str>) -> Outcome<Seen> {
    let per_client = (mix.requests / mix.connections).max(1);
    let mut command = pinned(Path::new("memtier_benchmark"), cores);
    command
        .args(["-s", &address.ip().to_string(), "-p", &address.port().to_string(), "--hide-histogram"])
        .args(["--ratio", "1:10", "--key-pattern", "R:R", "--key-minimum", "1"])
        .args(["--key-maximum", &mix.keys.to_string(), "-d", &mix.value_bytes.to_string()])
        .args(["-t", "1", "-c", &mix.connections.to_string(), "--pipeline", &mix.pipeline.to_string()])
        .args(["-n", &per_client.to_string()]);
    let text = output(command)?;
    let row = |name: &str| -> Option<Vec<f64>> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or_default()).collect())
    };
    // Type, Ops/sec, Hits/sec, Misses/sec, Avg., p50, p99, p99.9, KB/sec
    match row("Totals").as_deref() {
        Some([commands_per_s, _, misses_per_s, _, p50_ms, p99_ms, p999_ms, ..]) => {
            if *misses_per_s > commands_per_s / 100.0 {
                return Err(Failure("memtier asked for keys that are not there".to_owned()));
            }
            Ok(Seen {
                commands: (per_client * mix.connections) as f64,
                commands_per_s: *commands_per_s,
                p50_ms: *p50_ms,
                p99_ms: *p99_ms,
                p999_ms: Some(*p999_ms),
            })
        }
        _ => Err(Failure(format!("memtier_benchmark printed no totals:\n{text}"))),
    }
}

fn run_redis_benchmark(address: SocketAddr, mix: &Mix, cores: Option<&str>) -> Outcome<Seen> {
    let value = "x".repeat(mix.value_bytes);
    let sets = (mix.requests / 11).max(1);
    let gets = (mix.requests - sets).max(1);
    let (mut seconds, mut seen) = (0.0, Seen::default());
    for (requests, words) in [(sets, vec!["SET", "key:__rand_int__", &value]), (gets, vec!["GET", "key:__rand_int__"])]
    {
        let mut command = pinned(Path::new("redis-benchmark"), cores);
        command
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "--csv"])
            .args(["-n", &requests.to_string(), "-c", &mix.connections.to_string()])
            .args(["-P", &mix.pipeline.to_string(), "-r", &mix.keys.to_string()])
            .args(&words);
        let text = output(command)?;
        let last = text.lines().rfind(|line| line.starts_with('"')).unwrap_or_default();
        let fields: Vec<f64> =
            last.split(',').map(|field| field.trim_matches('"').parse().unwrap_or_default()).collect();
        // test, rps, avg, min, p50, p95, p99, max
        let [_, per_second, _, _, p50_ms, _, p99_ms, ..] = fields.as_slice() else {
            return Err(Failure(format!("redis-benchmark printed no result:\n{text}")));
        };
        seconds += requests as f64 / per_second;
        // The latencies of the GETs, which are ten of eleven.
        (seen.p50_ms, seen.p99_ms) = (*p50_ms, *p99_ms);
    }
    seen.commands = (sets + gets) as f64;
    seen.commands_per_s = seen.commands / seconds;
    Ok(seen)
}

fn output(mut command: Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let program = command.get_program().display();
    Err(Failure(format!("{program} ended with {}: {}", output.status, complaint.trim())))
}

/// Sets `count` keys over one connection; `command` gives the words of the SET for a number from one.
pub fn fill(address: SocketAddr, count: u64, mut command: impl FnMut(u64, &mut Vec<u8>)) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut unread = 0;
    let mut batch = Vec::new();
    let mut next = 1;
    while next <= count {
        let end = (next + LOADER_BATCH).min(count + 1);
        batch.clear();
        (next..end).for_each(|number| command(number, &mut batch));
        stream.write_all(&batch)?;
        // The batch before this one is answered while the server works on this one.
        read_ok(&mut stream, unread)?;
        unread = end - next;
        next = end;
    }
    read_ok(&mut stream, unread)
}

/// Reads so many `+OK`.
fn read_ok(stream: &mut TcpStream, count: u64) -> Outcome<()> {
    const OK: &[u8] = b"+OK\r\n";
    let mut replies = vec![0; count as usize * OK.len()];
    stream.read_exact(&mut replies)?;
    match replies.chunks_exact(OK.len()).find(|reply| *reply != OK) {
        None => Ok(()),
        Some(_) => Err(Failure(format!("a SET was answered by {}", String::from_utf8_lossy(&replies)))),
    }
}

/// Appends a command as RESP.
pub fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
