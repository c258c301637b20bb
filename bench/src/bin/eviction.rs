//! How well Torc and a peer choose what to give up: hit ratios of a read-through cache under a limit of memory.
//!
//! ```text
//!   one trace (keys by Zipf's law, a part of them shifting) ──┬──> Torc   GET; on a miss SET     hits / reads
//!                                                             └──> peer   the same, in step
//! ```
//! Both servers see the same reads at the same moments, since ages are counted in seconds. Both hold the same number of keys,
//! whatever a key and the buffers around it cost: the limit of each is moved until that is so.
//!
//! ```text
//! cargo build --release && cargo run --release -p torc-bench --bin eviction
//! ```

use clap::Parser;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use torc_bench::compare::Outcome;
use torc_bench::compare::server::{Contender, Server};

/// Compares the hit ratios of two servers under a limit of memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server in question.
    #[arg(long, default_value = "target/release/torc-server")]
    torc: PathBuf,
    /// The server it is held against.
    #[arg(long, default_value = "redis-server")]
    peer: PathBuf,
    /// Shards of Torc.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Policies, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "allkeys-lru,allkeys-lfu,allkeys-random")]
    policies: Vec<String>,
    /// Keys that the trace draws from.
    #[arg(long, default_value_t = 200_000)]
    keys: usize,
    /// Keys that fit.
    #[arg(long, default_value_t = 20_000)]
    fitting: usize,
    /// Exponent of Zipf's law.
    #[arg(long, default_value_t = 0.9)]
    exponent: f64,
    /// Every so many reads the popularity of all keys moves on by one place in a hundred; 0 never.
    #[arg(long, default_value_t = 200_000)]
    shift_reads: usize,
    /// Reads a second.
    #[arg(long, default_value_t = 50_000)]
    rate: usize,
    /// Seconds a policy and round, the first fifth of which is not counted.
    #[arg(long, default_value_t = 40)]
    seconds: usize,
    /// Rounds, each with other chances.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Bytes a value.
    #[arg(long, default_value_t = 200)]
    value_bytes: usize,
}

/// Reads sent at once.
const PIPELINE: usize = 100;
/// So often in a round the limit is moved, and, in its counted part, the keys are counted.
const LOOKS: usize = 200;

/// Numbers from a seed: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks by Zipf's law: the sums of the chances up to each.
fn zipf_sums(keys: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += 1.0 / (rank as f64).powf(exponent);
            sum
        })
        .collect();
    sums.iter_mut().for_each(|partial| *partial /= sum);
    sums
}

/// A server as a cache.
struct Cache {
    _server: Server,
    stream: BufReader<TcpStream>,
    label: String,
    hits: usize,
    reads: usize,
    keys_seen: usize,
    looks: usize,
    bytes_max: i64,
}

impl Cache {
    fn start(contender: &Contender) -> Outcome<Self> {
        let server = Server::start(contender)?;
        let stream = BufReader::new(TcpStream::connect(server.address)?);
        stream.get_ref().set_nodelay(true)?;
        let label = contender.label.clone();
        Ok(Self { _server: server, stream, label, hits: 0, reads: 0, keys_seen: 0, looks: 0, bytes_max: 0 })
    }

    fn send(&mut self, commands: &[Vec<&[u8]>]) -> Outcome<()> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        Ok(self.stream.get_mut().write_all(&bytes)?)
    }

    /// The next reply: a text, or none for null.
    fn reply(&mut self) -> Outcome<Option<Vec<u8>>> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        match line.strip_prefix('$') {
            None => Ok(Some(line.as_bytes().to_vec())),
            Some("-1") => Ok(None),
            Some(length) => {
                let mut bytes = vec![0; length.parse::<usize>().unwrap_or(0) + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Some(bytes))
            }
        }
    }

    fn call(&mut self, words: &[&str]) -> Outcome<String> {
        self.send(&[words.iter().map(|word| word.as_bytes()).collect()])?;
        Ok(String::from_utf8_lossy(&self.reply()?.unwrap_or_default()).into_owned())
    }

    /// Empties it and sets the limit to what so many keys take.
    fn prepare(&mut self, policy: &str, arguments: &Arguments, value: &[u8]) -> Outcome<()> {
        self.call(&["CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", policy])?;
        self.call(&["FLUSHALL"])?;
        std::thread::sleep(Duration::from_millis(500));
        let names: Vec<String> = (0..arguments.fitting).map(|number| format!("fill:{number:07}")).collect();
        for chunk in names.chunks(PIPELINE) {
            let sets: Vec<Vec<&[u8]>> = chunk.iter().map(|name| vec![&b"SET"[..], name.as_bytes(), value]).collect();
            self.send(&sets)?;
            for _ in chunk {
                self.reply()?;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        let report = self.call(&["INFO", "memory"])?;
        let used = report.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap_or("0").trim().to_owned();
        self.call(&["CONFIG", "SET", "maxmemory", &used])?;
        self.bytes_max = used.parse().unwrap_or(0);
        (self.hits, self.reads, self.keys_seen, self.looks) = (0, 0, 0, 0);
        Ok(())
    }

    /// Takes the replies to the reads that were sent, and writes what was missing.
    fn answer(&mut self, names: &[String], value: &[u8], counts: bool) -> Outcome<()> {
        let mut missing: Vec<Vec<&[u8]>> = Vec::new();
        for name in names {
            match self.reply()? {
                Some(_) => self.hits += usize::from(counts),
                None => missing.push(vec![b"SET", name.as_bytes(), value]),
            }
            self.reads += usize::from(counts);
        }
        self.send(&missing)?;
        for _ in &missing {
            self.reply()?;
        }
        Ok(())
    }

    fn keys(&mut self) -> Outcome<usize> {
        Ok(self.call(&["DBSIZE"])?.trim_start_matches(':').parse().unwrap_or(0))
    }

    fn look(&mut self) -> Outcome<()> {
        self.keys_seen += self.keys()?;
        self.looks += 1;
        Ok(())
    }

    /// Moves the limit towards the one at which so many keys fit.
    fn calibrate(&mut self, fitting: usize, value_bytes: usize) -> Outcome<()> {
        let missing = fitting as i64 - self.keys()? as i64;
        self.bytes_max += missing * (value_bytes as i64 + 50) / 2;
        let bytes_max = self.bytes_max.to_string();
        self.call(&["CONFIG", "SET", "maxmemory", &bytes_max])?;
        Ok(())
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let contenders =
        [Contender::new(&arguments.torc, arguments.shards, None)?, Contender::new(&arguments.peer, 1, None)?];
    let mut caches = [Cache::start(&contenders[0])?, Cache::start(&contenders[1])?];
    let sums = zipf_sums(arguments.keys, arguments.exponent);
    let value = vec![b'v'; arguments.value_bytes];
    println!(
        "{} keys by Zipf's law, exponent {}, {} fit; {} reads a second; {} on {} shards against {}.\n",
        arguments.keys,
        arguments.exponent,
        arguments.fitting,
        arguments.rate,
        caches[0].label,
        arguments.shards,
        caches[1].label
    );
    println!("| policy | round | Torc: hits | peer | keys held | peer |\n|---|--:|--:|--:|--:|--:|");
    for policy in &arguments.policies {
        for round in 1..=arguments.rounds {
            for cache in &mut caches {
                cache.prepare(policy, arguments, &value)?;
            }
            run_round(&mut caches, &sums, &value, Random(round as u64), arguments)?;
            let ratio = |cache: &Cache| cache.hits as f64 * 100.0 / cache.reads.max(1) as f64;
            let held = |cache: &Cache| cache.keys_seen / cache.looks.max(1);
            let [torc, peer] = &caches;
            println!(
                "| {policy} | {round} | {:.2} % | {:.2} % | {} | {} |",
                ratio(torc),
                ratio(peer),
                held(torc),
                held(peer)
            );
        }
    }
    Ok(())
}

fn run_round(
    caches: &mut [Cache; 2],
    sums: &[f64],
    value: &[u8],
    mut random: Random,
    arguments: &Arguments,
) -> Outcome<()> {
    let batches = arguments.rate * arguments.seconds / PIPELINE;
    let between_looks = (batches / LOOKS).max(1);
    let began = Instant::now();
    for batch in 0..batches {
        let counts = batch >= batches / 5;
        let shift = (batch * PIPELINE).checked_div(arguments.shift_reads).unwrap_or(0) * arguments.keys / 100;
        let names: Vec<String> = (0..PIPELINE)
            .map(|_| {
                let fraction = random.fraction();
                let rank = sums.partition_point(|sum| *sum < fraction);
                format!("key:{:08}", (rank * 7919 + shift) % arguments.keys)
            })
            .collect();
        let gets: Vec<Vec<&[u8]>> = names.iter().map(|name| vec![&b"GET"[..], name.as_bytes()]).collect();
        for cache in &mut *caches {
            cache.send(&gets)?;
        }
        for cache in &mut *caches {
            cache.answer(&names, value, counts)?;
            if batch % between_looks == 0 {
                if counts {
                    cache.look()?;
                }
                cache.calibrate(arguments.fitting, arguments.value_bytes)?;
            }
        }
        let due = Duration::from_secs_f64((batch + 1) as f64 * PIPELINE as f64 / arguments.rate as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
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
