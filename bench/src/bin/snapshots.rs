//! Snapshots held against a peer's: how long they take, how long their file takes to be loaded, and what clients notice meanwhile.
//!
//! ```text
//!   fill ──> BGSAVE alone: seconds                                     file ──> start: seconds until it serves
//!        ──> writes at half of what it can: p99.9     the same with one BGSAVE after the other: p99.9, most memory
//!        ──> ten hashes of a million fields, one client that writes them: its longest wait, alone and during BGSAVE
//! ```
//! Rounds alternate between the servers; what is shown is the median. Values are random, so they do not get shorter when compressed: the
//! compressor's work is there, its gain is not.
//!
//! `cargo run --release -p torc-bench --bin snapshots -- --server target/release/torc-server --server redis-server`

use clap::Parser;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use torc_bench::compare::load::{Connection, Numbers, encode, fill};
use torc_bench::compare::server::{Contender, Server};
use torc_bench::compare::{Failure, Outcome, median};

/// Measures snapshots.
#[derive(Parser)]
struct Options {
    /// A server to measure; may be repeated. The last one is the peer of the others.
    #[arg(long)]
    server: Vec<PathBuf>,
    /// Shards of Torc.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Keys of 16 bytes with values of 100.
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Fields of each of the ten hashes.
    #[arg(long, default_value_t = 1_000_000)]
    fields: u64,
    /// Seconds of each measurement under load.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const VALUE_BYTES: usize = 100;
const HASHES: u64 = 10;
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
const PATIENCE: Duration = Duration::from_secs(600);

/// What is measured of a server in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    save_s: f64,
    load_s: f64,
    file_mb: f64,
    p999_before_ms: f64,
    p999_during_ms: f64,
    memory_ratio: f64,
    wait_before_ms: f64,
    wait_during_ms: f64,
    ran_before_ms: f64,
    ran_during_ms: f64,
}

/// A connection for single commands.
struct Caller(TcpStream);

impl Caller {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// A reply that comes in one piece, as all do that are asked for here.
    fn call(&mut self, line: &str) -> Outcome<String> {
        self.0.write_all(line.as_bytes())?;
        self.0.write_all(b"\r\n")?;
        let mut buffer = vec![0; 64 << 10];
        let mut text = String::new();
        loop {
            let bytes = self.0.read(&mut buffer)?;
            text.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
            if bytes == 0 || text.ends_with("\r\n") {
                return Ok(text);
            }
        }
    }

    fn is_saving(&mut self) -> Outcome<bool> {
        Ok(self.call("INFO persistence")?.contains("rdb_bgsave_in_progress:1"))
    }

    /// One BGSAVE, to its end.
    fn save(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        let said = self.call("BGSAVE")?;
        if !said.starts_with('+') {
            return Err(Failure(format!("BGSAVE was answered by {said}")));
        }
        while self.is_saving()? {
            if begun.elapsed() > PATIENCE {
                return Err(Failure("the save does not end".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        if !self.call("INFO persistence")?.contains("rdb_last_bgsave_status:ok") {
            return Err(Failure("the save has failed".to_owned()));
        }
        Ok(took)
    }
}

/// Calls something over and over on a thread of its own until it is dropped.
struct Meanwhile {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Meanwhile {
    fn repeat(mut act: impl FnMut() + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                act();
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One BGSAVE after the other, until it is dropped.
fn saving(address: SocketAddr) -> Outcome<Meanwhile> {
    let mut caller = Caller::connect(address)?;
    Ok(Meanwhile::repeat(move || {
        if let Err(Failure(reason)) = caller.save() {
            eprintln!("{reason}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }))
}

fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Memory of a process that is its own, its children's included: what a fork shares counts once.
fn memory_bytes(process: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let private = |child: &str| {
        let rollup = std::fs::read_to_string(format!("/proc/{child}/smaps_rollup")).unwrap_or_default();
        let of = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        of("Private_Dirty:") + of("Private_Clean:")
    };
    resident_bytes(process) + children.split_whitespace().map(private).sum::<u64>()
}

/// SETs of keys that are there, from fifty connections; the rate and the p99.9 in ms.
fn writes(address: SocketAddr, options: &Options, rate: Option<f64>) -> Outcome<(f64, f64)> {
    const CONNECTIONS: u64 = 50;
    let mut command = Command::new("memtier_benchmark");
    command
        .args(["-s", &address.ip().to_string(), "-p", &address.port().to_string(), "--hide-histogram"])
        .args(["--ratio", "1:0", "--key-pattern", "R:R", "--key-minimum", "1", "--random-data"])
        .args(["--key-prefix", "key:", "--key-maximum", &options.keys.to_string(), "-d", &VALUE_BYTES.to_string()])
        .args(["-t", "1", "-c", &CONNECTIONS.to_string(), "--test-time", &options.seconds.to_string()]);
    if let Some(rate) = rate {
        command.args(["--rate-limiting", &((rate / CONNECTIONS as f64) as u64).max(1).to_string()]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("Totals"));
    let fields: Vec<f64> =
        line.unwrap_or_default().split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // Ops/sec, Hits/sec, Misses/sec, Avg., p50, p99, p99.9, KB/sec
    match fields[..] {
        [rate, _, _, _, _, _, p999_ms, ..] => Ok((rate, p999_ms)),
        _ => Err(Failure(format!("memtier_benchmark printed no totals:\n{text}"))),
    }
}

/// The longest of the waits of a client that writes all hashes in turn, in ms; and the most that the server's threads have run
/// during one, as the scheduler counts it: that leaves out what the host took away.
fn longest_wait(server: &Server, options: &Options) -> Outcome<(f64, f64)> {
    let mut caller = Caller::connect(server.address)?;
    let running_ns = server.running_ns()?;
    let mut most_ns = 0;
    let mut numbers = Numbers(7);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        for hash in 0..HASHES {
            let (at, ran_ns) = (Instant::now(), running_ns());
            caller.call(&format!(
                "HSET hash:{hash} field:{} {}",
                numbers.below(options.fields),
                numbers.below(1 << 40)
            ))?;
            longest = longest.max(at.elapsed());
            most_ns = most_ns.max(running_ns() - ran_ns);
        }
    }
    Ok((longest.as_secs_f64() * 1e3, most_ns as f64 / 1e6))
}

/// This thread, and those that it starts, run on these cores.
fn run_on(cores: &[usize]) -> Outcome<()> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| Failure(format!("cores {cores:?}: {error}")))
}

fn fill_keys(address: SocketAddr, options: &Options) -> Outcome<()> {
    let mut numbers = Numbers(42);
    fill(address, options.keys, |number, out| {
        let value: Vec<u8> = (0..VALUE_BYTES).map(|_| b'!' + numbers.below(94) as u8).collect();
        encode(&[b"SET", format!("key:{number}").as_bytes(), &value], out);
    })
}

fn fill_hashes(address: SocketAddr, options: &Options) -> Outcome<()> {
    let mut connection = Connection::open(address)?;
    const FIELDS_A_COMMAND: u64 = 100;
    let commands = (0..HASHES).flat_map(|hash| {
        (0..options.fields.div_ceil(FIELDS_A_COMMAND)).map(move |at| {
            let mut words = vec!["HSET".to_owned(), format!("hash:{hash}")];
            for field in at * FIELDS_A_COMMAND..(at + 1) * FIELDS_A_COMMAND {
                words.extend([format!("field:{field}"), format!("value:{field}")]);
            }
            words
        })
    });
    connection.send_all(commands)
}

/// A server in a directory, with its snapshots allowed.
fn start(contender: &Contender, directory: &Path) -> Outcome<(Server, Duration)> {
    let mut contender = contender.clone();
    let directory = directory.display().to_string();
    contender.arguments.extend(["--dir".to_owned(), directory]);
    let begun = Instant::now();
    let server = Server::start(&contender)?;
    let mut caller = Caller::connect(server.address)?;
    while caller.call("INFO persistence")?.contains("loading:1") || caller.call("GET key:1")?.starts_with("-LOADING") {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((server, begun.elapsed()))
}

fn round(contender: &Contender, options: &Options) -> Outcome<Row> {
    let temporary = tempfile::Builder::new().prefix("torc-snapshots-").tempdir()?;
    let directory = temporary.path().to_path_buf();
    let mut row = Row::default();
    {
        let (server, _) = start(contender, &directory)?;
        let address = server.address;
        fill_keys(address, options)?;
        let mut caller = Caller::connect(address)?;
        row.save_s = caller.save()?.as_secs_f64();
        row.file_mb = std::fs::metadata(directory.join("dump.rdb"))?.len() as f64 / 1e6;
        let (capacity, _) = writes(address, options, None)?;
        (_, row.p999_before_ms) = writes(address, options, Some(capacity / 2.0))?;
        let before = resident_bytes(server.process_id());
        let process = server.process_id();
        let peak = Arc::new(std::sync::atomic::AtomicU64::new(before));
        let seen = peak.clone();
        let saves = saving(address)?;
        let watcher = Meanwhile::repeat(move || {
            seen.fetch_max(memory_bytes(process), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        });
        (_, row.p999_during_ms) = writes(address, options, Some(capacity / 2.0))?;
        drop(watcher);
        drop(saves);
        row.memory_ratio = peak.load(Ordering::Relaxed) as f64 / before as f64;
    }
    let (server, load) = start(contender, &directory)?;
    row.load_s = load.as_secs_f64();
    drop(server);
    std::fs::remove_dir_all(&directory)?;
    std::fs::create_dir_all(&directory)?;
    // One thread on a core of its own, the clients on another: what is measured is the server.
    let (server, _) = start(&contender.with_shards(1, Some(SERVER_CORE.to_string())), &directory)?;
    fill_hashes(server.address, options)?;
    run_on(&[CLIENT_CORE])?;
    (row.wait_before_ms, row.ran_before_ms) = longest_wait(&server, options)?;
    let saves = saving(server.address)?;
    (row.wait_during_ms, row.ran_during_ms) = longest_wait(&server, options)?;
    drop(saves);
    run_on(&[SERVER_CORE, CLIENT_CORE])?;
    drop(server);
    std::fs::remove_dir_all(&directory)?;
    Ok(row)
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    let contenders = options
        .server
        .iter()
        .map(|program| Contender::new(program, options.shards, None))
        .collect::<Outcome<Vec<_>>>()?;
    let mut rows = vec![Vec::new(); contenders.len()];
    for number in 0..options.rounds {
        for (contender, rows) in contenders.iter().zip(&mut rows) {
            let row = round(contender, &options)?;
            eprintln!("round {number}, {}: {row:?}", contender.label);
            rows.push(row);
        }
    }
    println!(
        "| server | BGSAVE s | file MB | load s | p99.9 ms before, during, ratio | memory | longest wait ms before, during | of the server |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (contender, rows) in contenders.iter().zip(&rows) {
        let of = |figure: fn(&Row) -> f64| median(rows.iter().map(figure)).unwrap_or_default();
        println!(
            "| {} | {:.2} | {:.0} | {:.2} | {:.2}, {:.2}, {:.2} | {:.3} | {:.2}, {:.2} | {:.2}, {:.2} |",
            contender.label,
            of(|row| row.save_s),
            of(|row| row.file_mb),
            of(|row| row.load_s),
            of(|row| row.p999_before_ms),
            of(|row| row.p999_during_ms),
            of(|row| row.p999_during_ms / row.p999_before_ms),
            of(|row| row.memory_ratio),
            of(|row| row.wait_before_ms),
            of(|row| row.wait_during_ms),
            of(|row| row.ran_before_ms),
            of(|row| row.ran_during_ms),
        );
    }
    if let Some((peer, others)) = rows.split_last() {
        for (rows, contender) in others.iter().zip(&contenders) {
            let ratio = |figure: fn(&Row) -> f64| {
                median(rows.iter().zip(peer).map(|(own, other)| figure(own) / figure(other))).unwrap_or_default()
            };
            let (save, load) = (ratio(|row| row.save_s), ratio(|row| row.load_s));
            println!("\n{} against its peer: BGSAVE {save:.2}, load {load:.2}", contender.label);
        }
    }
    Ok(())
}
