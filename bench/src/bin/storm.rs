//! Connections that come and go: a thousand a second, half of them over TLS, some with a wrong password, some that say half of
//! something; beside them one client that goes on, and is the one that is measured.
//!
//! ```text
//!   workers    connect, (handshake), AUTH, PING, close     at a rate; or handshakes alone, as fast as they go (--handshakes)
//!   steady     SET, GET, a millisecond later the next      p50, p99, longest of each second
//!   main       each second a line: connections, the steady client's waits, the server's memory and descriptors
//! ```
//! The end is part of it: connections must all be gone, descriptors as many as before, memory within a bound of what it was when the
//! server was warm. It exits with 1 if not, if one answer was another than expected, or if the steady client failed.
//!
//! What the steady client waits for is the machine's doing, too. The server's own word is `longest_turn_us` of INFO: the most
//! processor time that a shard went on with before it looked at its clients again.
//!
//! `cargo run --release -p torc-bench --bin storm -- --server target/release/torc-server`

use clap::Parser;
use hdrhistogram::Histogram;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use torc_bench::compare::encrypted::{Identity, with_tls};
use torc_bench::compare::server::{Contender, Server};
use torc_bench::compare::{Failure, Outcome};

/// Opens and closes connections, and looks at what becomes of the server and of one that stays.
#[derive(Parser)]
struct Options {
    /// The server.
    #[arg(long)]
    server: PathBuf,
    /// Its shards.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// How long connections come and go.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections a second.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Instead: so many handshakes of TLS in full, as fast as they go.
    #[arg(long)]
    handshakes: Option<u64>,
    /// Threads that connect.
    #[arg(long, default_value_t = 8)]
    workers: u64,
    /// Seconds before, in which the steady client is alone.
    #[arg(long, default_value_t = 5)]
    quiet: u64,
    /// How much the server may grow after the first quarter of the time, in MiB.
    #[arg(long, default_value_t = 32)]
    growth_mib_max: u64,
    /// The server's cores, as taskset writes them.
    #[arg(long)]
    cores: Option<String>,
}

/// Ends a run that hangs; far beyond what anything here needs.
const PATIENCE: Duration = Duration::from_mins(2);
const USER: &str = "guest";
const PASSWORD: &str = "right";

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// Authenticates, is answered, goes.
    Whole,
    /// Has a wrong password, and is told.
    WrongPassword,
    /// Goes in the middle of its first words.
    Half,
    /// Says half and stays, until the server has had enough (TLS) or all is over.
    Silent,
}

impl Visit {
    /// Of a hundred one is silent and four go early; of ten one has a wrong password.
    fn of(number: u64) -> Self {
        match number % 100 {
            0 => Self::Silent,
            1..=4 => Self::Half,
            rest if rest % 10 == 5 => Self::WrongPassword,
            _ => Self::Whole,
        }
    }
}

/// Where to go, and what has become of it.
struct Storm {
    plain: SocketAddr,
    encrypted: SocketAddr,
    config: Arc<ClientConfig>,
    is_over: AtomicBool,
    visits: AtomicU64,
    failures: AtomicU64,
    /// The first failure.
    reason: Mutex<Option<String>>,
    /// Those that are silent, and whether the server is to end them.
    silent: Mutex<Vec<(TcpStream, bool)>>,
    /// Nanoseconds that the steady client has waited, in this second.
    waits: Mutex<Histogram<u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds that fit")
}

fn open(address: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Storm {
    fn new(plain: SocketAddr, port: u16, identity: &Identity) -> Outcome<Self> {
        let failed = |error: &dyn std::fmt::Display| Failure(format!("no client of TLS: {error}"));
        let certificate = CertificateDer::from_pem_file(&identity.certificate).map_err(|error| failed(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| failed(&error))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Each handshake in full.
        config.resumption = Resumption::disabled();
        let mut encrypted = plain;
        encrypted.set_port(port);
        Ok(Self {
            plain,
            encrypted,
            config: Arc::new(config),
            is_over: AtomicBool::new(false),
            visits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            reason: Mutex::default(),
            silent: Mutex::default(),
            waits: Mutex::new(histogram()),
        })
    }

    fn session(&self) -> Outcome<ClientConnection> {
        let name = ServerName::try_from("localhost").map_err(|error| Failure(error.to_string()))?;
        ClientConnection::new(self.config.clone(), name).map_err(|error| Failure(error.to_string()))
    }

    /// A connection over TLS, when hands have been shaken.
    fn open_encrypted(&self) -> Outcome<StreamOwned<ClientConnection, TcpStream>> {
        let mut stream = StreamOwned::new(self.session()?, open(self.encrypted)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// Half of the first words, on a connection that is kept or let go.
    fn half(&self, is_encrypted: bool) -> Outcome<TcpStream> {
        let mut words = format!("*3\r\n$4\r\nAUTH\r\n$5\r\n{USER}").into_bytes();
        if is_encrypted {
            words.clear();
            self.session()?.write_tls(&mut words)?;
        }
        let mut stream = open(if is_encrypted { self.encrypted } else { self.plain })?;
        stream.write_all(&words[..words.len() / 2])?;
        Ok(stream)
    }

    /// One connection, from its beginning to its end.
    fn visit(&self, number: u64) -> Outcome<()> {
        let (is_encrypted, visit) = (number.is_multiple_of(2), Visit::of(number / 2));
        match visit {
            Visit::Half => drop(self.half(is_encrypted)?),
            Visit::Silent => locked(&self.silent).push((self.half(is_encrypted)?, is_encrypted)),
            Visit::Whole | Visit::WrongPassword if is_encrypted => converse(self.open_encrypted()?, visit)?,
            Visit::Whole | Visit::WrongPassword => converse(open(self.plain)?, visit)?,
        }
        Ok(())
    }

    fn note(&self, outcome: Outcome<()>) {
        self.visits.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
            locked(&self.reason).get_or_insert(failure.0);
        }
    }

    /// A worker's part of the visits, each at its time, or later where the machine does not keep up.
    fn work(&self, worker: u64, options: &Options) {
        let (began, count) = (Instant::now(), options.rate * options.seconds);
        for number in (worker..count).step_by(options.workers as usize) {
            let due = Duration::from_secs_f64(number as f64 / options.rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            if began.elapsed() > Duration::from_secs(options.seconds) {
                return;
            }
            self.note(self.visit(number));
        }
    }

    /// A worker's part of the handshakes.
    fn shake_hands(&self, worker: u64, count: u64, workers: u64) {
        for _ in (worker..count).step_by(workers as usize) {
            self.note(self.open_encrypted().and_then(|stream| converse(stream, Visit::Whole)));
        }
    }

    /// The client that stays.
    fn stay(&self, mut client: Steady) -> Outcome<Steady> {
        for number in 0_u64.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let begun = Instant::now();
            let command = if number.is_multiple_of(2) { "SET steady 1\r\n" } else { "GET steady\r\n" };
            let reply = client.ask(command)?;
            if reply != "OK" && reply != "1" {
                return Err(Failure(format!("{command:?} was answered with {reply:?}")));
            }
            let waited_ns = begun.elapsed().as_nanos() as u64;
            locked(&self.waits).saturating_record(waited_ns.max(1));
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(client)
    }
}

/// AUTH and PING, as far as the password goes.
fn converse(stream: impl Read + Write, visit: Visit) -> Outcome<()> {
    let mut stream = BufReader::new(stream);
    let mut say = |words: &str, wanted: &str| -> Outcome<()> {
        stream.get_mut().write_all(words.as_bytes())?;
        stream.get_mut().flush()?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.starts_with(wanted) { Ok(()) } else { Err(Failure(format!("{words:?} was answered with {line:?}"))) }
    };
    if visit == Visit::WrongPassword {
        return say(&format!("AUTH {USER} wrong\r\n"), "-WRONGPASS");
    }
    say(&format!("AUTH {USER} {PASSWORD}\r\n"), "+OK")?;
    say("PING\r\n", "+PONG")
}

/// The client that stays, and is asked for figures.
struct Steady(BufReader<TcpStream>);

impl Steady {
    /// A reply of a line, or a text.
    fn ask(&mut self, command: &str) -> Outcome<String> {
        self.0.get_mut().write_all(command.as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some(length) = line.strip_prefix('$') else {
            return Ok(line.trim_start_matches('+').trim_end().to_owned());
        };
        let length: usize = length.trim_end().parse().map_err(|_| Failure(format!("no length: {line:?}")))?;
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text)?;
        text.truncate(length);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn connected_clients(&mut self) -> Outcome<u64> {
        let text = self.ask("INFO clients\r\n")?;
        let found = text.lines().find_map(|line| line.strip_prefix("connected_clients:")?.parse().ok());
        found.ok_or_else(|| Failure("INFO has no connected_clients".to_owned()))
    }

    /// The longest turn of any shard since it was last asked for.
    fn longest_turn_us(&mut self) -> Outcome<u64> {
        let text = self.ask("INFO shards\r\n")?;
        self.ask("CONFIG RESETSTAT\r\n")?;
        let turns = text.split("longest_turn_us=").skip(1);
        let turns = turns.filter_map(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok());
        turns.max().ok_or_else(|| Failure("INFO has no longest_turn_us".to_owned()))
    }
}

fn descriptors(server: &Server) -> Outcome<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", server.process_id()))?.count())
}

/// Waits of the steady client, in milliseconds.
fn shown(waits: &Histogram<u64>) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    let at = |quantile| ms(waits.value_at_quantile(quantile));
    format!("{} | {:.2} | {:.2} | {:.2}", waits.len(), at(0.5), at(0.99), ms(waits.max()))
}

/// A line of the table for each second, the first in any case, as long as a condition holds; resident MiB of each second, and all waits together.
fn watch(storm: &Storm, server: &Server, mut goes_on: impl FnMut() -> bool) -> Outcome<(Vec<f64>, Histogram<u64>)> {
    println!(
        "| second | connections | asked by the steady client | p50 ms | p99 ms | longest ms | resident MiB | descriptors |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    let (mut resident, mut all, mut before) = (Vec::new(), histogram(), storm.visits.load(Ordering::Relaxed));
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let waits = std::mem::replace(&mut *locked(&storm.waits), histogram());
        let visits = storm.visits.load(Ordering::Relaxed);
        resident.push(server.resident_bytes()? / f64::from(1 << 20));
        let (second, mib) = (resident.len(), resident[resident.len() - 1]);
        println!("| {second} | {} | {} | {mib:.1} | {} |", visits - before, shown(&waits), descriptors(server)?);
        all.add(&waits).map_err(|error| Failure(error.to_string()))?;
        before = visits;
        if !goes_on() {
            return Ok((resident, all));
        }
    }
}

/// Whether all is as it was before.
fn conclude(storm: &Storm, server: &Server, steady: &mut Steady, descriptors_before: usize) -> Outcome<Vec<String>> {
    let mut wrong = Vec::new();
    for (mut stream, is_ended_by_server) in std::mem::take(&mut *locked(&storm.silent)) {
        // An end, or a reset, but not silence.
        let ended = !is_ended_by_server
            || !matches!(
                stream.read(&mut [0; 1024]).map_err(|error| error.kind()),
                Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            );
        if !ended {
            wrong.push("a handshake that was never finished is still waited for".to_owned());
        }
    }
    let began = Instant::now();
    loop {
        let (clients, open) = (steady.connected_clients()?, descriptors(server)?);
        if clients == 1 && open <= descriptors_before {
            break;
        }
        if began.elapsed() > PATIENCE {
            wrong.push(format!(
                "{clients} clients are connected and {open} descriptors open, not 1 and {descriptors_before}"
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let failures = storm.failures.load(Ordering::Relaxed);
    if let Some(reason) = locked(&storm.reason).take() {
        wrong.push(format!("{failures} connections were not answered as expected; the first: {reason}"));
    }
    Ok(wrong)
}

fn measure(options: &Options) -> Outcome<Vec<String>> {
    let identity = Identity::ecdsa()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let contender = Contender::new(&options.server, options.shards, options.cores.clone())?;
    let server = Server::start(&with_tls(&contender, port, &identity))?;
    let storm = Storm::new(server.address, port, &identity)?;
    let mut steady = Steady(BufReader::new(open(server.address)?));
    steady.ask(&format!("ACL SETUSER {USER} on >{PASSWORD} ~* +@all\r\n"))?;
    // What the first handshake needs is there.
    storm.open_encrypted().and_then(|stream| converse(stream, Visit::Whole))?;
    while steady.connected_clients()? > 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let descriptors_before = descriptors(&server)?;
    steady.longest_turn_us()?;
    let mut wrong = Vec::new();
    let (resident, waits, steady) = std::thread::scope(|scope| {
        let staying = scope.spawn(|| storm.stay(steady));
        let watched = (|| {
            println!("{}, {} shards. Nobody else:", contender.label, options.shards);
            let mut seconds = 1..options.quiet;
            watch(&storm, &server, || seconds.next().is_some())?;
            let began = Instant::now();
            let storm = &storm;
            let workers: Vec<_> = (0..options.workers)
                .map(|worker| {
                    scope.spawn(move || match options.handshakes {
                        Some(count) => storm.shake_hands(worker, count, options.workers),
                        None => storm.work(worker, options),
                    })
                })
                .collect();
            println!("\nThe storm:");
            let watched = watch(storm, &server, || workers.iter().any(|worker| !worker.is_finished()))?;
            let (count, took_s) = (storm.visits.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
            println!("\n{count} connections in {took_s:.1} s, {:.0} a second", count as f64 / took_s);
            Ok::<_, Failure>(watched)
        })();
        storm.is_over.store(true, Ordering::Relaxed);
        let steady = staying.join().map_err(|_| Failure("the steady client has ended".to_owned()))?;
        let (resident, waits) = watched?;
        Ok::<_, Failure>((resident, waits, steady?))
    })?;
    let mut steady = steady;
    println!("asked | p50 ms | p99 ms | longest ms of the steady client: {}", shown(&waits));
    println!("longest turn of a shard: {} us of processor time", steady.longest_turn_us()?);
    wrong.extend(conclude(&storm, &server, &mut steady, descriptors_before)?);
    let warm = resident[resident.len() / 4];
    let growth = resident.iter().fold(0.0_f64, |most, mib| most.max(mib - warm));
    println!("resident: {warm:.1} MiB when warm, {growth:.1} MiB more at the most");
    if growth > options.growth_mib_max as f64 {
        wrong.push(format!("the server has grown by {growth:.1} MiB, more than {}", options.growth_mib_max));
    }
    Ok(wrong)
}

fn main() -> std::process::ExitCode {
    match measure(&Options::parse()) {
        Ok(wrong) if wrong.is_empty() => std::process::ExitCode::SUCCESS,
        Ok(wrong) => {
            wrong.iter().for_each(|reason| eprintln!("storm: {reason}"));
            std::process::ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("storm: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
