//! When a core stood still: times in which it ran neither the server nor anybody else of this machine, because the hypervisor had
//! taken it or did work of its own. A client's wait is told apart by this into the server's part and the machine's.
//!
//! ```text
//!   probe on each core, SCHED_FIFO, before all others: each 250 us   |  |  |  |  .               |  |  |
//!                                                                            due ^               ^ ran: late by this
//!   timer interrupts while the server runs (perf, 4,000 a second)      | | | | |              | | | |
//!   standstill: the gap without as many periods as there were interrupts in it, and one more   -------
//! ```
//! The first of all threads of a core runs late only if nobody runs there, or if the kernel is busy in a call that it does not
//! break off. The latter may be the server's doing (pages given back, large sends), and then interrupts go on: the kernel holds them back for
//! microseconds. Where the clients are, a gap is not the server's in any case.
//!
//! Why not by what the kernel says of stolen time: it is not all of it. Turns of the server in which it had answered one PING and nothing
//! else took up to 8 ms of CPU time by its thread's clock; in one of 6.4 ms there was no interrupt for more than the half.
//!
//! Not seen, and so left to the server: standstills of less than two periods. `perf` and `chrt` must be there and allowed (root).

use crate::compare::server::Server;
use crate::compare::{Failure, Outcome};
use rustix::thread::{ClockId, CpuSet, Timespec};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::NamedTempFile;

/// Nanoseconds of CLOCK_MONOTONIC.
pub type Moment = u64;

/// How often a probe looks, and how often the server is interrupted.
const PERIOD_NS: u64 = 250_000;

/// A probe that runs later than this has seen a gap; a wake-up takes some 5 to 50 us.
const LATE_NS: u64 = 150_000;

/// How long the recorder takes to begin, by far.
const SETTLE: Duration = Duration::from_millis(500);

/// The time now.
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One wake-up of a probe that came late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    due: Moment,
    ran: Moment,
    /// Whether this is the server's core.
    is_servers: bool,
}

/// Watches the cores of a server and its clients until it is finished or dropped.
#[derive(Debug)]
pub struct Recorder {
    perf: Child,
    file: NamedTempFile,
    gaps: Arc<Mutex<Vec<Gap>>>,
    stop: Arc<AtomicBool>,
    probes: Vec<JoinHandle<()>>,
}

impl Recorder {
    /// Begins.
    ///
    /// # Errors
    /// Where a core is not there, or `perf` or `chrt` are not, or may not do what they are asked for.
    pub fn start(server: &Server, server_core: usize, client_core: usize) -> Outcome<Self> {
        let file = NamedTempFile::new()?;
        let perf = Command::new("perf")
            .args(["record", "--quiet", "--pid", &server.process_id().to_string(), "--event", "cpu-clock"])
            .args(["--count", &PERIOD_NS.to_string(), "--clockid", "mono", "--output"])
            .arg(file.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure(format!("perf, which tells when the server ran: {error}")))?;
        let mut recorder = Self { perf, file, gaps: Arc::default(), stop: Arc::default(), probes: Vec::new() };
        recorder.watch(server_core, true)?;
        recorder.watch(client_core, false)?;
        std::thread::sleep(SETTLE);
        Ok(recorder)
    }

    fn watch(&mut self, core: usize, is_servers: bool) -> Outcome<()> {
        let (gaps, stop) = (self.gaps.clone(), self.stop.clone());
        let (tell, told) = std::sync::mpsc::channel();
        self.probes.push(std::thread::spawn(move || {
            let may = go_first(core);
            let is_first = may.is_ok();
            let _ = tell.send(may);
            if is_first {
                probe(is_servers, &gaps, &stop);
            }
        }));
        told.recv().map_err(|_| Failure("a probe ended".to_owned()))?.map_err(Failure)
    }

    /// Ends, and tells when the cores stood still meanwhile.
    ///
    /// # Errors
    /// Where the kernel did not tell of all interrupts: that there were none would mean nothing.
    pub fn finish(mut self) -> Outcome<Standstills> {
        self.end();
        let told = |arguments: &[&str]| -> Outcome<String> {
            let output = Command::new("perf").args(arguments).arg("--input").arg(self.file.path()).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let counts = told(&["report", "--stats"])?;
        if let Some(line) = counts.lines().find(|line| line.contains(" THROTTLE ") || line.contains(" LOST")) {
            return Err(Failure(format!("perf did not record all interrupts: {}", line.trim())));
        }
        let interrupts = interrupts(&told(&["script", "--ns", "--fields", "time"])?)?;
        if interrupts.is_empty() {
            return Err(Failure("perf recorded no interrupt of the server".to_owned()));
        }
        let gaps = std::mem::take(&mut *self.gaps.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Standstills::new(gaps, interrupts))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for probe in self.probes.drain(..) {
            let _ = probe.join();
        }
        let process = rustix::process::Pid::from_child(&self.perf);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
        let _ = self.perf.wait();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Not after `finish`: the number could be another's by then.
        if matches!(self.perf.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// The calling thread on this core, before all others there.
fn go_first(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("core {core} for a probe: {error}"))?;
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    match Command::new("chrt").args(["--fifo", "--pid", "50", &thread]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("a probe before all others: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("chrt: {error}")),
    }
}

fn probe(is_servers: bool, gaps: &Mutex<Vec<Gap>>, stop: &AtomicBool) {
    let mut due = now();
    while !stop.load(Ordering::Relaxed) {
        due += PERIOD_NS;
        let request = Timespec { tv_sec: (due / 1_000_000_000) as i64, tv_nsec: (due % 1_000_000_000) as i64 };
        while rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request).is_err() {}
        let ran = now();
        if ran - due > LATE_NS {
            gaps.lock().unwrap_or_else(PoisonError::into_inner).push(Gap { due, ran, is_servers });
            due = ran;
        }
    }
}

/// When cores stood still.
#[derive(Debug, Default)]
pub struct Standstills {
    /// In the order of their begins, each cut off at its begin by what the server ran in it.
    gaps: Vec<(Moment, Moment)>,
}

impl Standstills {
    fn new(gaps: Vec<Gap>, mut interrupts: Vec<Moment>) -> Self {
        interrupts.sort_unstable();
        let still = |gap: Gap| {
            let within =
                interrupts.partition_point(|at| *at <= gap.ran) - interrupts.partition_point(|at| *at < gap.due);
            let server_ns = if gap.is_servers { (within as u64 + 1) * PERIOD_NS } else { 0 };
            (gap.due + server_ns < gap.ran).then_some((gap.due + server_ns, gap.ran))
        };
        let mut gaps: Vec<_> = gaps.into_iter().filter_map(still).collect();
        gaps.sort_unstable();
        Self { gaps }
    }

    /// For how many nanoseconds of a wait some core stood still, each moment counted once.
    pub fn within(&self, begun: Moment, ended: Moment) -> u64 {
        let mut still_ns = 0;
        let mut from = begun;
        for &(due, ran) in self.gaps.iter().take_while(|(due, _)| *due < ended) {
            let to = ran.min(ended);
            still_ns += to.saturating_sub(due.max(from));
            from = from.max(to);
        }
        still_ns
    }
}

/// Reads lines of seconds and nanoseconds: ` 49641.504360556: `.
fn interrupts(lines: &str) -> Outcome<Vec<Moment>> {
    let moment = |text: &str| {
        let (seconds, nanoseconds) = text.trim().trim_end_matches(':').split_once('.')?;
        (nanoseconds.len() == 9).then_some(())?;
        Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + nanoseconds.parse::<u64>().ok()?)
    };
    let read = |line: &str| moment(line).ok_or_else(|| Failure(format!("perf script: {line:?} is no time")));
    lines.lines().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn found(gaps: &[(Moment, Moment)]) -> Standstills {
        Standstills { gaps: gaps.to_vec() }
    }

    #[test]
    fn a_gap_in_which_the_server_is_interrupted_is_the_servers() {
        let gap = Gap { due: 10 * MS, ran: 18 * MS, is_servers: true };
        let busy: Vec<Moment> = (0..100).map(|number| number * PERIOD_NS).collect();
        assert_eq!(Standstills::new(vec![gap], busy).within(0, 100 * MS), 0);
        let half: Vec<Moment> = (0..56).map(|number| number * PERIOD_NS).collect();
        assert_eq!(Standstills::new(vec![gap], half.clone()).within(0, 100 * MS), 4 * MS - PERIOD_NS);
        assert_eq!(Standstills::new(vec![gap], vec![9 * MS, 19 * MS]).within(0, 100 * MS), 8 * MS - PERIOD_NS);
        let clients = Gap { is_servers: false, ..gap };
        assert_eq!(Standstills::new(vec![clients], half).within(0, 100 * MS), 8 * MS);
    }

    #[test]
    fn only_what_lies_in_a_wait_is_the_machines() {
        let found = found(&[(20, 80), (200, 300)]);
        assert_eq!(found.within(0, 100), 60);
        assert_eq!(found.within(50, 100), 30);
        assert_eq!(found.within(30, 70), 40);
        assert_eq!(found.within(80, 200), 0);
        assert_eq!(found.within(0, 1000), 160);
    }

    #[test]
    fn cores_that_stand_still_at_once_count_once() {
        assert_eq!(found(&[(20, 60), (40, 80)]).within(0, 100), 60);
        assert_eq!(found(&[(20, 80), (40, 60)]).within(0, 100), 60);
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(interrupts(" 49641.504360556: \n 0.000000001:\n").unwrap(), [49_641_504_360_556, 1]);
        assert!(interrupts("1.5:\n").is_err());
        assert!(interrupts("no samples\n").is_err());
    }
}
