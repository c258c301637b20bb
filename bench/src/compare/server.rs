//! A server under measurement: started as our child on a port of its own, pinned to cores, read through `/proc`, and
//! ended with us.

use super::{Failure, Outcome};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer its first PING.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// `/proc/PID/stat` counts in hundredths of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program and how it is started.
#[derive(Clone, Debug)]
pub struct Contender {
    /// In tables: `torc 0.1.0`, `redis-server 7.0.15`.
    pub label: String,
    /// The program.
    pub program: PathBuf,
    /// Arguments of its own, after those that all get.
    pub arguments: Vec<String>,
    /// Cores to run on, as `taskset` writes them; `None` leaves the choice to the kernel.
    pub cores: Option<String>,
}

impl Contender {
    /// Asks the program for its version; only Torc is told how many shards to run.
    pub fn new(program: &Path, shards: usize, cores: Option<String>) -> Outcome<Self> {
        let found = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        let found = found.map_err(|error| Failure(format!("cannot run {}: {error}", program.display())))?;
        let text = String::from_utf8_lossy(&found.stdout);
        let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("of unknown version");
        let is_torc = text.starts_with("Torc");
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let arguments = if is_torc { vec!["--shards".to_owned(), shards.to_string()] } else { Vec::new() };
        Ok(Self { label: format!("{name} {version}"), program: program.to_owned(), arguments, cores })
    }

    /// The same with so many shards on these cores, if it has shards.
    pub fn with_shards(&self, shards: usize, cores: Option<String>) -> Self {
        let mut other = self.clone();
        if let Some(count) = other.arguments.last_mut() {
            *count = shards.to_string();
            other.cores = cores;
        }
        other
    }
}

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits for the first PONG.
    pub fn start(contender: &Contender) -> Outcome<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = pinned(&contender.program, contender.cores.as_deref());
        command
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--maxclients", "20000", "--loglevel", "warning"])
            .args(&contender.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = command.spawn().map_err(|error| Failure(format!("cannot start {}: {error}", contender.label)))?;
        let mut server = Self { process, address };
        let deadline = Instant::now() + START_TIMEOUT;
        while server.ping().is_err() {
            if let Some(status) = server.process.try_wait()? {
                return Err(Failure(format!("{} ended at once: {status}", contender.label)));
            }
            if Instant::now() > deadline {
                return Err(Failure(format!("{} does not answer PING", contender.label)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn ping(&self) -> Outcome<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        if line.starts_with("+PONG") { Ok(()) } else { Err(Failure(format!("PING was answered by {line:?}"))) }
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Outcome<CpuTime> {
        CpuTime::of(self.process.id())
    }

    /// A look at how long the threads that are there now have run, in nanoseconds, all together.
    pub fn running_ns(&self) -> Outcome<impl Fn() -> u64 + Send + 'static> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()))?;
        let paths = tasks.map(|task| Ok(task?.path().join("schedstat"))).collect::<std::io::Result<Vec<_>>>()?;
        let of_thread = |path: &std::path::PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(move || paths.iter().map(of_thread).sum())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Outcome<f64> {
        let status = read(&format!("/proc/{}/status", self.process.id()))?;
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        let kilobytes: f64 = kilobytes.ok_or_else(|| Failure("no VmRSS in /proc/PID/status".to_owned()))?;
        Ok(kilobytes * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is worth saving; the process is our child, so its id cannot mean another.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that runs on the given cores: `taskset` becomes the program, so the process id stays the child's.
pub fn pinned(program: &Path, cores: Option<&str>) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(program);
            command
        }
    }
}

/// CPU time of a process, all threads together.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// On a core: the scheduler's own nanoseconds.
    pub total_s: f64,
    /// Of that, outside of the kernel: the total split as `stat` splits it, which on most kernels is sampled by the timer
    /// tick, so it is good to a per cent or so over some seconds.
    pub user_s: f64,
    /// Ready to run while others had the core: how disturbed the measurement is.
    pub waiting_s: f64,
}

impl CpuTime {
    fn of(process: u32) -> Outcome<Self> {
        let stat = read(&format!("/proc/{process}/stat"))?;
        // The name in parentheses may hold spaces; the fields after it do not.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        let (user_s, system_s) = (ticks(11) / TICKS_PER_SECOND, ticks(12) / TICKS_PER_SECOND);
        let mut time = Self { total_s: 0.0, user_s, waiting_s: 0.0 };
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            time.total_s += numbers.first().copied().unwrap_or_default() / 1e9;
            time.waiting_s += numbers.get(1).copied().unwrap_or_default() / 1e9;
        }
        if time.total_s == 0.0 {
            time.total_s = user_s + system_s;
        }
        // Where the two clocks differ, the split follows the finer total.
        let ticked = user_s + system_s;
        if ticked > 0.0 {
            time.user_s = time.total_s * user_s / ticked;
        }
        Ok(time)
    }

    /// What was used since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            total_s: self.total_s - earlier.total_s,
            user_s: self.user_s - earlier.user_s,
            waiting_s: self.waiting_s - earlier.waiting_s,
        }
    }
}

fn read(path: &str) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| Failure(format!("cannot read {path}: {error}")))
}
