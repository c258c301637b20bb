//! systemd's watchdog is fed while all shards serve.

use crate::support::server::{TORC, free_port, new_directory};
use crate::support::{Client, PATIENCE, eventually};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server whose supervisor is this test; ends with it.
struct Watched {
    child: Child,
    port: u16,
    directory: PathBuf,
    socket: UnixDatagram,
}

impl Watched {
    /// On so many shards, with a watchdog that bites after two seconds.
    fn start(shards: usize) -> Self {
        let (directory, port) = (new_directory(), free_port());
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let mut start = Command::new(TORC);
        start.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--supervised", "systemd"]);
        start.args(["--shards", &shards.to_string(), "--logfile", "log", "--enable-debug-command", "yes"]);
        start.args(["--busy-reply-threshold", "100"]).current_dir(&directory).stdin(Stdio::null());
        let child = start.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").spawn().expect("it starts");
        let watched = Self { child, port, directory, socket };
        eventually("it serves", || Client::try_connect(port).is_ok());
        watched
    }

    /// Whether it is fed within so long.
    fn is_fed(&self, limit: Duration) -> bool {
        self.socket.set_read_timeout(Some(limit)).expect("a limit");
        let mut words = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut words) {
            if words[..length].starts_with(b"WATCHDOG=1") {
                return true;
            }
        }
        false
    }

    /// Waits until it has noticed that a shard hangs, and throws away what came before.
    fn is_starved(&self) {
        let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        eventually("it is not fed any more", || log().contains("watchdog is not fed any more"));
        self.socket.set_nonblocking(true).expect("a socket");
        let mut words = [0; 4096];
        while self.socket.recv(&mut words).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket");
    }
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
        let watched = Watched::start(shards);
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
    let watched = Watched::start(2);
    assert!(watched.is_fed(PATIENCE));
    let mut client = Client::connect(watched.port);
    client.send(b"DEBUG SLEEP 100000\r\n");
    watched.is_starved();
    assert!(!watched.is_fed(Duration::from_millis(1500)));
}
