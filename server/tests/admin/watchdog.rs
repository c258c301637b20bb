//! systemd's watchdog is fed while all shards serve, and what systemd does when it is not: it ends the server and starts it again.

use crate::support::client::{encode, words};
use crate::support::server::{TORC, free_port, new_directory};
use crate::support::{Client, PATIENCE, eventually};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `WatchdogSec` of the unit.
const BITES_AFTER: Duration = Duration::from_secs(2);

/// A server whose supervisor is this test; ends with it.
struct Watched {
    child: Child,
    port: u16,
    directory: PathBuf,
    socket: UnixDatagram,
    arguments: Vec<String>,
}

impl Watched {
    /// On so many shards.
    fn start(shards: usize, arguments: &[&str]) -> Self {
        let directory = new_directory();
        let socket = UnixDatagram::bind(directory.join("notify")).expect("a socket");
        let fixed = ["--bind", "127.0.0.1", "--save", "", "--supervised", "systemd", "--logfile", "log"];
        let more = ["--enable-debug-command", "yes", "--busy-reply-threshold", "100"];
        let shards = shards.to_string();
        let arguments = [&fixed, more.as_slice(), &["--shards", &shards], arguments].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let (port, child) = start_serving(&directory, &socket, &arguments);
        Self { child, port, directory, socket, arguments }
    }

    /// What systemd does: waits until the watchdog has not been fed for as long as the unit says, ends the server with the
    /// watchdog's signal, and starts it again, since `Restart=` is `on-failure`. Gives the signal that it has ended by.
    fn is_bitten(&mut self) -> Option<i32> {
        while self.is_fed(BITES_AFTER) {}
        let process_id = libc::pid_t::try_from(self.child.id()).expect("an id");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(process_id).expect("an id"),
            rustix::process::Signal::ABORT,
        )
        .expect("it is there");
        let status = self.child.wait().expect("it ends");
        assert!(!status.success(), "a failure, or it would not be started again");
        (self.port, self.child) = start_serving(&self.directory, &self.socket, &self.arguments);
        status.signal()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Whether it is fed within so long.
    fn is_fed(&self, limit: Duration) -> bool {
        hears(&self.socket, "WATCHDOG=1", limit)
    }

    /// Waits until it has noticed that a shard hangs, and throws away what came before.
    fn is_starved(&self) {
        eventually("it is not fed any more", || self.log().contains("watchdog is not fed any more"));
        self.socket.set_nonblocking(true).expect("a socket");
        let mut words = [0; 4096];
        while self.socket.recv(&mut words).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket");
    }
}

/// Whether the server says that within so long after what it has said last.
fn hears(socket: &UnixDatagram, said: &str, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).expect("a limit");
    let mut words = [0; 4096];
    while let Ok(length) = socket.recv(&mut words) {
        if words[..length].split(|byte| *byte == b'\n').any(|line| line == said.as_bytes()) {
            return true;
        }
    }
    false
}

/// A server that serves, and its port: another one if somebody has taken the first meanwhile.
fn start_serving(directory: &Path, socket: &UnixDatagram, arguments: &[String]) -> (u16, Child) {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    for _ in 0..20 {
        let port = free_port();
        let mut child = start_program(directory, port, arguments);
        while child.try_wait().expect("it is ours").is_none() {
            if hears(socket, "READY=1", LOOK_EVERY) {
                return (port, child);
            }
        }
    }
    panic!("it does not start: {}", std::fs::read_to_string(directory.join("log")).unwrap_or_default());
}

fn start_program(directory: &Path, port: u16, arguments: &[String]) -> Child {
    let mut start = Command::new(TORC);
    start.args(["--port", &port.to_string()]).args(arguments).current_dir(directory).stdin(Stdio::null());
    start.env("NOTIFY_SOCKET", directory.join("notify")).env("WATCHDOG_USEC", BITES_AFTER.as_micros().to_string());
    start.spawn().expect("it starts")
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn it_is_fed_while_all_shards_serve_and_not_beside_an_endless_script() {
    for shards in [1, 5] {
        let watched = Watched::start(shards, &[]);
        assert!((0..5).all(|_| watched.is_fed(PATIENCE)));
        let mut client = Client::connect(watched.port);
        client.send(b"EVAL \"while true do end\" 1 key\r\n");
        watched.is_starved();
        assert!(!watched.is_fed(Duration::from_millis(1500)));
        eventually("the script is killed", || Client::connect(watched.port).ask("SCRIPT KILL") == "+OK");
        assert!(watched.is_fed(PATIENCE));
    }
}

#[test]
fn it_is_not_fed_while_shards_do_not_turn() {
    let watched = Watched::start(2, &[]);
    assert!(watched.is_fed(PATIENCE));
    let mut client = Client::connect(watched.port);
    client.send(b"DEBUG SLEEP 100000\r\n");
    watched.is_starved();
    assert!(!watched.is_fed(Duration::from_millis(1500)));
}

#[test]
fn who_hangs_is_ended_and_started_again_with_its_data() {
    const KEYS: usize = 500;
    for (shards, synchronized, hanging) in [
        (1, "always", "EVAL \"while true do end\" 1 key"),
        (4, "everysec", "EVAL \"redis.call('set', KEYS[1], 'half') while true do end\" 1 key"),
        (4, "always", "DEBUG SLEEP 100000"),
    ] {
        let mut watched = Watched::start(shards, &["--appendonly", "yes", "--appendfsync", synchronized]);
        assert!((0..3).all(|_| watched.is_fed(PATIENCE)));
        let mut client = Client::connect(watched.port);
        for number in 0..KEYS {
            assert_eq!(client.ask(&format!("SET key:{number} {number}")), "+OK");
        }
        client.send(&encode(&words(hanging)));
        assert_eq!(watched.is_bitten(), Some(libc::SIGABRT), "{hanging}");
        let log = watched.log();
        for said in ["watchdog is not fed any more", "BUG REPORT START", "SIGABRT"] {
            assert!(log.contains(said), "{hanging}: no {said} in {log}");
        }
        // It has said that it serves: nobody hears of loading any more.
        let mut client = Client::connect(watched.port);
        assert_eq!(client.ask("DBSIZE"), format!(":{KEYS}"), "{hanging}");
        for number in (0..KEYS).step_by(49) {
            assert_eq!(client.ask(&format!("GET key:{number}")), format!("\"{number}\""));
        }
        assert!((0..3).all(|_| watched.is_fed(PATIENCE)), "it is fed by the new one");
    }
}
