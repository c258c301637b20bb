//! Lines for the system's log (RFC 3164), as `syslog(3)` writes them: one datagram each to `/dev/log`.
//!
//! ```text
//!   <priority>Nov 23 14:14:15 ident[pid]: message
//!   priority = facility * 8 + severity
//! ```
//! A daemon that restarts comes back as another socket of the same name, so a line that cannot be sent connects anew, once. What
//! cannot be sent then is lost here; the log file or standard output has it.

use crate::config::SyslogFacility;
use jiff::Zoned;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tracing::Level;

/// Where daemons listen.
pub const SOCKET: &str = "/dev/log";

/// A way to the system's log.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    ident: String,
    facility: SyslogFacility,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Syslog {
    /// For lines under a name (`syslog-ident`) and of a kind (`syslog-facility`).
    pub fn new(path: &Path, ident: &[u8], facility: SyslogFacility) -> Self {
        let ident = String::from_utf8_lossy(ident).into_owned();
        Self { path: path.to_owned(), ident, facility, socket: Mutex::default() }
    }

    /// Sends a line.
    pub fn write(&self, level: Level, now: &Zoned, message: &str) {
        let severity = match level {
            Level::ERROR | Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 6,
            Level::TRACE => 7,
        };
        let (priority, time) = (self.facility.number() * 8 + severity, now.strftime("%b %e %H:%M:%S"));
        let line = format!("<{priority}>{time} {}[{}]: {message}", self.ident, std::process::id());
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            let connected = socket.take().or_else(|| self.connect());
            let Some(connected) = connected else { return };
            if connected.send(line.as_bytes()).is_ok() {
                *socket = Some(connected);
                return;
            }
        }
    }

    /// The log waits for nobody: a daemon that does not read loses lines.
    fn connect(&self) -> Option<UnixDatagram> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(&self.path).ok()?;
        Some(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_priority_time_and_name_and_a_daemon_may_come_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let syslog = Syslog::new(&path, b"torc-1", SyslogFacility::Local3);
        let now: Zoned = "2026-11-03T14:14:15[UTC]".parse().expect("a time");
        let received = |daemon: &UnixDatagram| {
            let mut bytes = [0; 256];
            let length = daemon.recv(&mut bytes).expect("a line");
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        syslog.write(Level::INFO, &now, "nobody hears this");
        for (level, priority) in
            [(Level::ERROR, 156), (Level::WARN, 156), (Level::INFO, 157), (Level::DEBUG, 158), (Level::TRACE, 159)]
        {
            let daemon = UnixDatagram::bind(&path).expect("a socket");
            syslog.write(level, &now, "Ready");
            let process = std::process::id();
            assert_eq!(received(&daemon), format!("<{priority}>Nov  3 14:14:15 torc-1[{process}]: Ready"));
            std::fs::remove_file(&path).expect("removed");
        }
    }
}
