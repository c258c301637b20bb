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
    /// Encrypted.
    pub over_tls: bool,
    /// After so many commands a connection gives way to a new one.
    pub commands_a_connection: Option<u64>,
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
    if mix.over_tls {
        command.args(["--tls", "--tls-skip-verify"]);
    }
    if let Some(commands) = mix.commands_a_connection {
        command.args(["--reconnect-interval", &commands.to_string()]);
    }
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
            .args(["-k", if mix.commands_a_connection.is_some() { "0" } else { "1" }])
            .args(if mix.over_tls { &["--tls", "--insecure"][..] } else { &[] })
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

/// Random numbers that are the same in each run (xorshift64, Marsaglia 2003).
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// A connection that counts the replies it gets.
#[derive(Debug)]
pub struct Connection {
    /// Its socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// A new one.
    pub fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024], filled: 0 })
    }

    /// Sends commands in batches, two under way at a time, and waits for all replies.
    pub fn send_all(&mut self, mut commands: impl Iterator<Item = Vec<String>>) -> Outcome<()> {
        let (mut unread, mut batch) = (0, Vec::new());
        loop {
            batch.clear();
            let mut count = 0;
            for words in commands.by_ref().take(256) {
                encode(&words.iter().map(String::as_bytes).collect::<Vec<_>>(), &mut batch);
                count += 1;
            }
            self.stream.write_all(&batch)?;
            self.expect(unread)?;
            unread = count;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Reads so many replies, none of which may be an error.
    pub fn expect(&mut self, count: u64) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            let mut taken = 0;
            while left > 0
                && let Some(bytes) = reply_bytes(&self.buffer[taken..self.filled])?
            {
                taken += bytes;
                left -= 1;
            }
            self.buffer.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            if left > 0 {
                if self.filled == self.buffer.len() {
                    self.buffer.resize(self.buffer.len() * 2, 0);
                }
                match self.stream.read(&mut self.buffer[self.filled..])? {
                    0 => return Err(Failure("the server closed a connection".to_owned())),
                    bytes => self.filled += bytes,
                }
            }
        }
        Ok(())
    }
}

/// Length of the first whole RESP2 reply; `None` where it is not all there.
fn reply_bytes(input: &[u8]) -> Outcome<Option<usize>> {
    let (mut at, mut left) = (0, 1_u64);
    while left > 0 {
        let Some(end) = input[at..].windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let line = &input[at..at + end];
        let number = || std::str::from_utf8(line.get(1..)?).ok()?.parse::<i64>().ok();
        at += end + 2;
        left -= 1;
        match line.first() {
            Some(b'+' | b':') => {}
            Some(b'$') => at += usize::try_from(number().unwrap_or(-1)).map_or(0, |bytes| bytes + 2),
            Some(b'*') => left += u64::try_from(number().unwrap_or(-1)).unwrap_or(0),
            _ => return Err(Failure(format!("a command was answered by {}", String::from_utf8_lossy(line)))),
        }
        if at > input.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_whole() {
        for reply in
            ["+OK\r\n", ":12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "*0\r\n"]
        {
            let bytes = [reply.as_bytes(), b"+next\r\n"].concat();
            assert_eq!(reply_bytes(&bytes).expect("a reply"), Some(reply.len()), "{reply:?}");
            for cut in 0..reply.len() {
                assert_eq!(reply_bytes(&bytes[..cut]).expect("a part"), None, "{reply:?} to {cut}");
            }
        }
        assert!(reply_bytes(b"-ERR no\r\n").is_err());
    }
}
