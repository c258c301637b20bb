//! Servers of a test's own: ours and, where there is one, the real one. Each has a free loopback port and a directory,
//! and ends with its test.

use super::{Client, PATIENCE};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The server under test.
pub const TORC: &str = env!("CARGO_BIN_EXE_torc-server");
/// The server to compare with.
const REAL: &str = "/usr/bin/redis-server";

/// A running server.
pub struct Server {
    child: Child,
    pub port: u16,
    /// Working directory, with the log in `log`.
    pub directory: PathBuf,
    /// For messages.
    pub name: String,
}

impl Server {
    /// Ours, on that many shards.
    pub fn torc(shards: usize, arguments: &[&str]) -> Self {
        let shards = shards.to_string();
        let arguments: Vec<&str> = ["--shards", &shards].into_iter().chain(arguments.iter().copied()).collect();
        Self::start(TORC, &format!("torc on {shards} shards"), &arguments)
    }

    /// Ours on what a server before it has left; the test removes the directory.
    pub fn torc_on(directory: PathBuf, shards: usize, arguments: &[&str]) -> Self {
        let shards = shards.to_string();
        let arguments: Vec<&str> = ["--shards", &shards].into_iter().chain(arguments.iter().copied()).collect();
        Self::start_in(TORC, "torc, once more", None, &arguments, Some(directory))
    }

    /// Ours, whose files may be so long at the most: the system takes a part of the write that goes beyond that, and no more.
    pub fn torc_with_short_files(kibibytes: usize, shards: usize, arguments: &[&str]) -> Self {
        let directory = new_directory();
        let script = directory.join("limited");
        let text = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f {}\nexec {TORC} \"$@\"\n", kibibytes * 2);
        std::fs::write(&script, text).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("it can be run");
        let shards = shards.to_string();
        let arguments: Vec<&str> = ["--shards", &shards].into_iter().chain(arguments.iter().copied()).collect();
        let script = script.to_str().expect("text").to_owned();
        Self::start_in(&script, "torc with short files", None, &arguments, Some(directory))
    }

    /// The real one on what a server before it has left.
    pub fn real_on(directory: PathBuf, arguments: &[&str]) -> Option<Self> {
        Path::new(REAL)
            .exists()
            .then(|| Self::start_in(REAL, "the real server, on it", None, arguments, Some(directory)))
    }

    /// Kills it, and gives what it leaves.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        std::mem::take(&mut self.directory)
    }

    /// Ends it in order, and gives what it leaves.
    pub fn end(mut self) -> PathBuf {
        self.signal("TERM");
        assert!(self.wait().success(), "{}", self.log());
        std::mem::take(&mut self.directory)
    }

    /// The real one; none, with a printed reason, where it is not installed.
    pub fn real(arguments: &[&str]) -> Option<Self> {
        if !Path::new(REAL).exists() {
            println!("not compared with the real server: there is no {REAL}");
            return None;
        }
        Some(Self::start(REAL, "the real server", arguments))
    }

    /// A Valkey, on what a server before it has left, if that is given; none, with a printed reason, where VALKEY_SERVER names none.
    pub fn valkey(left: Option<PathBuf>, arguments: &[&str]) -> Option<Self> {
        match std::env::var("VALKEY_SERVER") {
            Ok(program) if Path::new(&program).exists() => {
                Some(Self::start_in(&program, "Valkey", None, arguments, left))
            }
            _ => {
                println!("not exchanged with a Valkey: VALKEY_SERVER names none");
                None
            }
        }
    }

    /// Ours, with a configuration file.
    pub fn torc_with_file(file: &Path) -> Self {
        Self::start_with(TORC, "torc with a file", Some(file), &[])
    }

    /// The real one with a configuration file.
    pub fn real_with_file(file: &Path) -> Option<Self> {
        Path::new(REAL).exists().then(|| Self::start_with(REAL, "the real server with a file", Some(file), &[]))
    }

    fn start(program: &str, name: &str, arguments: &[&str]) -> Self {
        Self::start_with(program, name, None, arguments)
    }

    fn start_with(program: &str, name: &str, file: Option<&Path>, arguments: &[&str]) -> Self {
        Self::start_in(program, name, file, arguments, None)
    }

    fn start_in(program: &str, name: &str, file: Option<&Path>, arguments: &[&str], left: Option<PathBuf>) -> Self {
        // Another process may take the port between our look and the server's start.
        for _ in 0..20 {
            let port = free_port();
            let directory = left.clone().unwrap_or_else(new_directory);
            let log = File::create(directory.join("log")).expect("a log file");
            let mut command = Command::new(program);
            command.args(file).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(arguments);
            command.current_dir(&directory).stdin(Stdio::null());
            command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
            let child = command.spawn().unwrap_or_else(|error| panic!("{program} does not start: {error}"));
            let mut server = Self { child, port, directory, name: name.to_string() };
            if server.becomes_ready() {
                if left.is_some() {
                    server.becomes_loaded();
                }
                return server;
            }
            let log = server.log();
            assert!(log.contains("Address already in use"), "{name} does not start with {arguments:?}:\n{log}");
        }
        panic!("no free port");
    }

    /// Waits for the server to answer; false if it ended.
    fn becomes_ready(&mut self) -> bool {
        let began = Instant::now();
        loop {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            if let Ok(mut client) = Client::try_connect(self.port) {
                client.send(b"*3\r\n$4\r\nINFO\r\n$6\r\nserver\r\n$11\r\npersistence\r\n");
                // On a port that was taken meanwhile somebody else may answer.
                let ours = format!("process_id:{}\r\n", self.child.id());
                let is_ready = |text: &str| text.contains(&ours) && !text.contains("\r\nloading:1\r\n");
                if client.receive().is_some_and(|reply| reply.is_error() || is_ready(&reply.text())) {
                    return true;
                }
            }
            assert!(began.elapsed() < PATIENCE, "{} does not get ready:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has loaded what it began with.
    fn becomes_loaded(&mut self) {
        super::eventually("the data are loaded", || {
            assert!(self.is_running(), "{} has ended:\n{}", self.name, self.log());
            let Ok(mut client) = Client::try_connect(self.port) else { return false };
            client.send(b"*2\r\n$4\r\nINFO\r\n$11\r\npersistence\r\n");
            client.receive().is_some_and(|reply| reply.text().contains("\nloading:0\r\n"))
        });
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a running process").count()
    }

    /// Sends a signal, such as TERM.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(&mut self.child, &self.name)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.name, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn wait_for(child: &mut Child, name: &str) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if began.elapsed() >= PATIENCE {
            let _ = child.kill();
            panic!("{name} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs our program to its end, for starts that fail: exit code, and what it wrote.
pub fn run_to_end(command: &mut Command) -> (Option<i32>, String) {
    let directory = new_directory();
    let log = File::create(directory.join("log")).expect("a log file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    let mut child = command.spawn().expect("the program starts");
    let status = wait_for(&mut child, "a start that should fail");
    let text = fs::read_to_string(directory.join("log")).expect("what it wrote");
    let _ = fs::remove_dir_all(&directory);
    (status.code(), text)
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A new directory for a test: one that nobody had before, for what a killed test has left would be loaded.
pub fn new_directory() -> PathBuf {
    tempfile::Builder::new().prefix("torc-test-").tempdir().expect("a directory").keep()
}
