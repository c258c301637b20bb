//! A bare RESP loop under load, in one process: what a way of waiting for sockets costs, without a store behind it.
//!
//! ```text
//!   load thread (core 1)                             server thread (core 0)
//!   50 connections, one batch under way on each ───> a loop that counts commands and answers them
//!   phase: WARM ──> MEASURED ──> OVER (atomic)  ───> Meter: thread CPU and commands at both edges
//! ```
//!
//! GET and SET 10:1 of 100 bytes. Figures are CPU microseconds of the server's thread (user + system) a command. Variants run
//! in alternating rounds, so that a drift of the machine meets all of them alike; the median of the rounds is shown.

#![allow(unsafe_code)] // bare rings and epoll: what is measured is the kernel's interface itself

pub mod epoll;
pub mod glommio_sockets;
mod load;
pub mod ring;
pub mod wakes;

use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;
pub const CONNECTIONS: usize = 50;
/// The bytes of a value.
const VALUE_BYTES: usize = 100;
/// What a connection reads at once, where the loop has a buffer for each.
const INPUT_BYTES: usize = 16 << 10;
/// One SET among so many commands.
const SET_EVERY: usize = 11;

const WARM: u32 = 0;
const MEASURED: u32 = 1;
const OVER: u32 = 2;

/// What one round sends.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub pipeline: usize,
    /// The bytes of a GET's value.
    pub value_bytes: usize,
    pub measured: Duration,
}

impl Workload {
    pub fn new(pipeline: usize, measured: Duration) -> Self {
        Self { pipeline, value_bytes: VALUE_BYTES, measured }
    }
}

/// The phase of a round, set by the load and seen by the server.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<AtomicU32>);

/// CPU time of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub user_us: f64,
    pub system_us: f64,
}

/// CPU time that this thread has used.
pub fn thread_cpu() -> Cpu {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure, which is valid as zeroes too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    let microseconds = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    Cpu { user_us: microseconds(usage.ru_utime), system_us: microseconds(usage.ru_stime) }
}

/// Keeps this thread on a core; says so where it cannot.
pub fn pin(core: usize) {
    // SAFETY: a set of zeroes is an empty set; the calls read and write only it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result != 0 {
        eprintln!("cannot pin to core {core}: {}", std::io::Error::last_os_error());
    }
}

/// Measures the server's thread between the edges of the phase.
pub struct Meter {
    phase: Phase,
    seen: u32,
    commands: u64,
    start: (Cpu, u64),
    end: (Cpu, u64),
}

impl Meter {
    pub fn new(phase: Phase) -> Self {
        Self { phase, seen: WARM, commands: 0, start: (Cpu::default(), 0), end: (Cpu::default(), 0) }
    }

    /// So many commands were answered. Called a batch or a turn: it costs a load when nothing changes.
    pub fn count(&mut self, commands: usize) {
        self.commands += commands as u64;
        let phase = self.phase.0.load(Ordering::Relaxed);
        if phase == self.seen {
            return;
        }
        self.seen = phase;
        let now = (thread_cpu(), self.commands);
        if phase == MEASURED {
            self.start = now;
        } else {
            self.end = now;
        }
    }

    /// CPU time a command.
    pub fn cost(&self) -> Cpu {
        let commands = (self.end.1 - self.start.1).max(1) as f64;
        Cpu {
            user_us: (self.end.0.user_us - self.start.0.user_us) / commands,
            system_us: (self.end.0.system_us - self.start.0.system_us) / commands,
        }
    }
}

/// Turns requests into replies. Knows just enough of the protocol to find the ends of requests.
pub struct Responder {
    value_reply: Vec<u8>,
}

impl Responder {
    pub fn new(value_bytes: usize) -> Self {
        let mut value_reply = format!("${value_bytes}\r\n").into_bytes();
        value_reply.resize(value_reply.len() + value_bytes, b'v');
        value_reply.extend_from_slice(b"\r\n");
        Self { value_reply }
    }

    /// Answers every whole request of `input` through `reply`; how many bytes they took, and how many they were.
    pub fn answer(&self, input: &[u8], mut reply: impl FnMut(&[u8])) -> (usize, usize) {
        let (mut taken, mut commands) = (0, 0);
        while let Some((length, is_get)) = request_length(&input[taken..]) {
            taken += length;
            commands += 1;
            reply(if is_get { &self.value_reply } else { b"+OK\r\n" });
        }
        (taken, commands)
    }

    /// As [`Self::answer`], for input that may start or end in the middle of a request: the rest stays in `leftover`.
    pub fn answer_stream(&self, leftover: &mut Vec<u8>, input: &[u8], mut reply: impl FnMut(&[u8])) -> usize {
        if leftover.is_empty() {
            let (taken, commands) = self.answer(input, reply);
            leftover.extend_from_slice(&input[taken..]);
            return commands;
        }
        leftover.extend_from_slice(input);
        let (taken, commands) = self.answer(leftover, &mut reply);
        leftover.drain(..taken);
        commands
    }
}

/// The length of the request that `input` starts with, if it is whole, and whether it is a GET (of two arguments).
fn request_length(input: &[u8]) -> Option<(usize, bool)> {
    let (count, mut at) = number_line(input, b'*')?;
    for _ in 0..count {
        let (length, used) = number_line(&input[at..], b'$')?;
        at += used + length + 2;
        if at > input.len() {
            return None;
        }
    }
    Some((at, count == 2))
}

/// The number in a line like `*2\r\n`, and the line's length.
fn number_line(input: &[u8], kind: u8) -> Option<(usize, usize)> {
    assert!(input.first().is_none_or(|first| *first == kind), "the load sends whole requests");
    let mut value = 0;
    for (index, byte) in input.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            _ => return (input.len() > index + 1).then_some((value, index + 2)),
        }
    }
    None
}

/// One thing to measure.
pub struct Variant<'a> {
    pub name: &'a str,
    /// Serves [`CONNECTIONS`] connections of a listener until all are closed; the cost of a command.
    pub serve: &'a dyn Fn(Workload) -> Cpu,
}

/// Measures all variants in alternating rounds and prints one table; the first variant is what the others are compared with.
pub fn compare(title: &str, variants: &[Variant<'_>], workloads: &[(&str, Workload)], rounds: usize) {
    let mut costs: Vec<Vec<Vec<Cpu>>> = vec![vec![Vec::new(); workloads.len()]; variants.len()];
    for _ in 0..rounds {
        for (workload_index, (_, workload)) in workloads.iter().enumerate() {
            for (variant_index, variant) in variants.iter().enumerate() {
                costs[variant_index][workload_index].push((variant.serve)(*workload));
            }
        }
    }
    let mut table = format!("\n### {title}\n\n| variant |");
    for (name, _) in workloads {
        let _ = write!(table, " {name}: us a command (user + system) | ratio |");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|---|".repeat(workloads.len()));
    table.push('\n');
    for (variant_index, variant) in variants.iter().enumerate() {
        let _ = write!(table, "| {} |", variant.name);
        for (rounds, first) in costs[variant_index].iter().zip(&costs[0]) {
            let total = |cpu: &Cpu| cpu.user_us + cpu.system_us;
            let (user, system) =
                (median(rounds.iter().map(|cpu| cpu.user_us)), median(rounds.iter().map(|cpu| cpu.system_us)));
            // Within a round, so that a drift between rounds falls out.
            let ratio = median(rounds.iter().zip(first).map(|(this, first)| total(this) / total(first)));
            let _ = write!(table, " {:.3} ({user:.3} + {system:.3}) | {ratio:.3} |", median(rounds.iter().map(total)));
        }
        table.push('\n');
    }
    println!("{table}");
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
