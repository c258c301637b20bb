//! What applications build on, under load: scripts, transactions in one slot and over two shards, messages, queues.
//!
//! ```text
//!   in pipelines   50 connections, in turn: read 16 replies, send the next 16     EVALSHA, MULTI ... EXEC
//!   PUBLISH        4 connections send; 100 others listen, and are read by a thread of their own
//!   BLPOP          one client waits, the other pushes, both are answered: a pair
//! ```
//! What is counted is a script, a transaction, a message, a pair. Over two shards Torc has two cores, which it shares with
//! the load; the peer is one server on its core that runs the same transactions.

use super::load::{Connection, Numbers, encode};
use super::server::{CpuTime, Server};
use super::workloads::{CPU, OPS, Recorder, USER};
use super::{Failure, Outcome};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that send pipelines.
const CONNECTIONS: usize = 50;
/// Scripts or transactions in a pipeline.
const DEPTH: u64 = 16;
/// Pipelines that are prepared and then sent again and again.
const BURSTS: usize = 2_048;
/// Keys to choose from.
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
const SETS: u64 = 5;
const PUBLISHERS: usize = 4;
const SUBSCRIBERS: usize = 100;

/// Counts what a client has done in a span of time, and says when the next span begins.
const LIMITER: &str = "local count = redis.call('INCR', KEYS[1]) \
                       if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                       return redis.call('PTTL', KEYS[1])";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Script,
    OneSlot,
    TwoShards,
    Publish,
    Queue,
}

impl Case {
    const ALL: [Self; 5] = [Self::Script, Self::OneSlot, Self::TwoShards, Self::Publish, Self::Queue];

    fn name(self) -> &'static str {
        match self {
            Self::Script => "EVALSHA of a rate limiter",
            Self::OneSlot => "MULTI of 5 SETs in one slot",
            Self::TwoShards => "MULTI of 5 SETs over 2 shards",
            Self::Publish => "PUBLISH to 100 subscribers",
            Self::Queue => "BLPOP and LPUSH",
        }
    }

    fn shards(self) -> usize {
        if self == Self::TwoShards { 2 } else { 1 }
    }
}

/// One round of every case, each on a server of its own; `count` scripts or transactions, and fewer of what costs more.
pub fn run(
    start: impl Fn(usize) -> Outcome<Server>,
    only: &[String],
    count: u64,
    to: &mut Recorder<'_>,
) -> Outcome<()> {
    for case in Case::ALL {
        let wanted = only.is_empty() || only.iter().any(|name| case.name().eq_ignore_ascii_case(name));
        if !wanted {
            continue;
        }
        let server = start(case.shards())?;
        match case {
            Case::Publish => publish(&server, count / 10, to)?,
            Case::Queue => queue(&server, count / 10, to)?,
            _ => pipelines(&server, case, count, to)?,
        }
    }
    Ok(())
}

fn record(case: Case, used: CpuTime, seconds: f64, count: u64, to: &mut Recorder<'_>) {
    let (name, count) = (case.name(), count as f64);
    let cpu_us = used.total_s * 1e6 / count;
    to.add(name, OPS, count / seconds);
    to.add(name, CPU, cpu_us);
    to.add(name, USER, used.user_s * 1e6 / count);
    eprintln!("    {name}: {cpu_us:.3} us of server CPU each, {:.0} a second", count / seconds);
}

/// The bytes of one script or transaction, and how many replies it gets.
fn unit(case: Case, sha: &str, numbers: &mut Numbers, out: &mut Vec<u8>) -> u64 {
    let value = [b'v'; VALUE_BYTES];
    if case == Case::Script {
        let key = format!("limit:{}", numbers.below(KEYS));
        encode(&[b"EVALSHA", sha.as_bytes(), b"1", key.as_bytes(), b"100000"], out);
        return 1;
    }
    encode(&[b"MULTI"], out);
    let tag = numbers.below(KEYS);
    for number in 0..SETS {
        let key =
            if case == Case::OneSlot { format!("{{{tag}}}:{number}") } else { format!("key:{}", numbers.below(KEYS)) };
        encode(&[b"SET", key.as_bytes(), &value], out);
    }
    encode(&[b"EXEC"], out);
    SETS + 2
}

fn pipelines(server: &Server, case: Case, count: u64, to: &mut Recorder<'_>) -> Outcome<()> {
    let sha = if case == Case::Script { load_script(server.address)? } else { String::new() };
    let mut numbers = Numbers(0x0DDB_1A5E_5BAD_5EED);
    let mut replies = 0;
    let bursts: Vec<Vec<u8>> = (0..BURSTS)
        .map(|_| {
            let mut burst = Vec::new();
            replies = (0..DEPTH).map(|_| unit(case, &sha, &mut numbers, &mut burst)).sum();
            burst
        })
        .collect();
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(server.address)).collect::<Outcome<Vec<_>>>()?;
    let (before, started) = (server.cpu()?, Instant::now());
    let rounds = (count / DEPTH) as usize;
    for number in 0..rounds + CONNECTIONS {
        let connection = &mut connections[number % CONNECTIONS];
        if number >= CONNECTIONS {
            connection.expect(replies)?;
        }
        if number < rounds {
            connection.stream.write_all(&bursts[number % BURSTS])?;
        }
    }
    let (used, seconds) = (server.cpu()?.since(before), started.elapsed().as_secs_f64());
    record(case, used, seconds, rounds as u64 * DEPTH, to);
    Ok(())
}

fn load_script(address: SocketAddr) -> Outcome<String> {
    let mut stream = TcpStream::connect(address)?;
    let mut load = Vec::new();
    encode(&[b"SCRIPT", b"LOAD", LIMITER.as_bytes()], &mut load);
    stream.write_all(&load)?;
    // $40, the digest, and two line ends.
    let mut reply = [0; 47];
    stream.read_exact(&mut reply)?;
    let sha = std::str::from_utf8(&reply[5..45]).map_err(|error| Failure(error.to_string()))?;
    Ok(sha.to_owned())
}

fn publish(server: &Server, count: u64, to: &mut Recorder<'_>) -> Outcome<()> {
    let listeners = Listeners::subscribe(server.address)?;
    let mut connections = (0..PUBLISHERS).map(|_| Connection::open(server.address)).collect::<Outcome<Vec<_>>>()?;
    let mut burst = Vec::new();
    (0..DEPTH).for_each(|_| encode(&[b"PUBLISH", b"news", &[b'm'; 64]], &mut burst));
    let (before, started) = (server.cpu()?, Instant::now());
    let rounds = count / (DEPTH * PUBLISHERS as u64);
    for _ in 0..rounds {
        for connection in &mut connections {
            connection.stream.write_all(&burst)?;
        }
        for connection in &mut connections {
            connection.expect(DEPTH)?;
        }
    }
    let (used, seconds) = (server.cpu()?.since(before), started.elapsed().as_secs_f64());
    drop(listeners);
    record(Case::Publish, used, seconds, rounds * DEPTH * PUBLISHERS as u64, to);
    Ok(())
}

/// Subscribers, and the thread that reads what they are sent.
struct Listeners {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    fn subscribe(address: SocketAddr) -> Outcome<Self> {
        let mut streams = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"SUBSCRIBE news\r\n")?;
            let answered = stream.read(&mut [0; 100])?;
            stream.set_nonblocking(true)?;
            if answered > 0 {
                streams.push(stream);
            }
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while !flag.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    // Until there is nothing yet, or the end: both are no matter here.
                    while matches!(stream.read(&mut buffer), Ok(1..)) {}
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It ends by itself; what it might have panicked with says nothing of the server.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn queue(server: &Server, count: u64, to: &mut Recorder<'_>) -> Outcome<()> {
    let (mut consumer, mut producer) = (Connection::open(server.address)?, Connection::open(server.address)?);
    let (before, started) = (server.cpu()?, Instant::now());
    for _ in 0..count {
        consumer.stream.write_all(b"*3\r\n$5\r\nBLPOP\r\n$5\r\nqueue\r\n$1\r\n0\r\n")?;
        producer.stream.write_all(b"*3\r\n$5\r\nLPUSH\r\n$5\r\nqueue\r\n$1\r\nx\r\n")?;
        producer.expect(1)?;
        consumer.expect(1)?;
    }
    let (used, seconds) = (server.cpu()?.since(before), started.elapsed().as_secs_f64());
    record(Case::Queue, used, seconds, count, to);
    Ok(())
}
