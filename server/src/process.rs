//! The process as the system sees it: its directory, its place in the background, its pid file, and who watches it.
//!
//! ```text
//!   establish   enter `dir` ── who supervises? ── daemonize: fork ──> the parent waits for the child's word
//!      │                                            │ child: a session of its own, no standard streams
//!   listening ── announce: pid file                 │
//!   accepting ── ready: the parent ends with 0 <────┤   supervisor: ready
//!   a start that fails: the parent says why, 1 <────┘
//!   orderly end ── leave: pid file removed              supervisor: stopping
//! ```
//! A start in the background ends, for whoever called it, when clients are served or when it is clear that they will not
//! be: unlike a parent that ends at once, it can be waited for and its failure is seen.

use crate::allocator;
use crate::config::{Config, Supervisor};
use crate::process_title;
use crate::server::StartFailure;
use sd_notify::NotifyState;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The pid file of a start in the background that names none.
const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";
/// What a child in the background tells its parent when it serves; anything else is why it does not.
const SERVING: &[u8] = b"\0";

/// What the process owes to the system around it.
#[derive(Debug, Default)]
pub struct Presence {
    pid_file: Option<PathBuf>,
    /// The process that started this one and waits to hear how it went.
    parent: Option<UnixStream>,
    supervisor: Option<Supervisor>,
    /// For the log, which is not there yet when this is found out.
    warning: Option<&'static str>,
    title_refused: Option<String>,
}

impl Presence {
    /// Enters the directory, finds the supervisor and goes to the background, as configured. Called once, before there
    /// are threads. Where the process forks, the parent does not return.
    pub fn establish(config: &mut Config) -> Result<Self, StartFailure> {
        let directory = &config.process.directory;
        std::env::set_current_dir(directory)
            .map_err(|error| StartFailure(format!("Can't chdir to '{}': {error}", directory.display())))?;
        if config.process.without_huge_pages {
            // Where the kernel knows no huge pages there is nothing to be done without.
            let _ = rustix::thread::disable_transparent_huge_pages(true);
        }
        allocator::give_memory_back_at_once();
        let mut presence = Self::default();
        presence.find_supervisor(config.process.supervised, |name| std::env::var_os(name).is_some());
        config.process.supervised_by = presence.supervisor.unwrap_or(Supervisor::No);
        // Signals reach the whole session when its terminal goes: a server lives on.
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::new(AtomicBool::new(false)))
            .map_err(|error| StartFailure(format!("SIGHUP cannot be ignored: {error}")))?;
        if config.process.daemonize && presence.supervisor.is_none() {
            config.process.pid_file.get_or_insert_with(|| DEFAULT_PID_FILE.into());
            presence.go_to_background()?;
        }
        if config.process.set_title
            && let Err(error) = process_title::take_place(config)
        {
            presence.title_refused = Some(error.to_string());
        }
        // Absolute, so that the same file is removed after a CONFIG SET dir.
        presence.pid_file = config.process.pid_file.as_ref().map(|path| config.process.directory.join(path));
        Ok(presence)
    }

    /// Supervisors say that they are there by a variable of the environment.
    fn find_supervisor(&mut self, wanted: Supervisor, is_set: impl Fn(&str) -> bool) {
        let candidates: &[_] = match wanted {
            Supervisor::No => return,
            Supervisor::Auto => &[(Supervisor::Upstart, "UPSTART_JOB"), (Supervisor::Systemd, "NOTIFY_SOCKET")],
            Supervisor::Upstart => &[(Supervisor::Upstart, "UPSTART_JOB")],
            Supervisor::Systemd => &[(Supervisor::Systemd, "NOTIFY_SOCKET")],
        };
        let found = candidates.iter().find(|(_, variable)| is_set(variable));
        self.supervisor = found.map(|(supervisor, _)| *supervisor);
        self.warning = match (wanted, self.supervisor) {
            (Supervisor::Upstart, None) => Some("upstart supervision error: UPSTART_JOB not found!"),
            (Supervisor::Systemd, None) => Some("systemd supervision error: NOTIFY_SOCKET not found!"),
            _ => None,
        };
    }

    fn go_to_background(&mut self) -> Result<(), StartFailure> {
        let failed = |error| StartFailure(format!("Cannot go to the background: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        match fork::fork().map_err(failed)? {
            fork::Fork::Parent(_) => {
                drop(theirs);
                end_as_told(ours)
            }
            fork::Fork::Child => {
                drop(ours);
                fork::setsid().map_err(failed)?;
                fork::redirect_stdio().map_err(failed)?;
                self.parent = Some(theirs);
                Ok(())
            }
        }
    }

    /// All addresses are bound, nobody is served yet: writes the pid file. One that cannot be written is told of in the
    /// log, and stops nothing.
    pub fn announce(&mut self) {
        if let Some(warning) = self.warning {
            tracing::warn!("{warning}");
        }
        if let Some(reason) = &self.title_refused {
            tracing::warn!("The title of the process stays as it is: {reason}");
        }
        let Some(path) = &self.pid_file else { return };
        if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
            tracing::warn!("Failed to write PID file: {error} ({})", path.display());
        }
    }

    /// Clients are served.
    pub fn ready(&mut self) {
        if let Some(parent) = self.parent.take() {
            tell(parent, SERVING);
        }
        match self.supervisor {
            Some(Supervisor::Systemd) => {
                notify(&[NotifyState::Status("Ready to accept connections"), NotifyState::Ready]);
            }
            Some(Supervisor::Upstart) => {
                tracing::info!("supervised by upstart, will stop to signal readiness");
                let _ = signal_hook::low_level::raise(signal_hook::consts::SIGSTOP);
            }
            _ => {}
        }
    }

    /// The start came to nothing.
    pub fn failed(&mut self, reason: &str) {
        if let Some(parent) = self.parent.take() {
            tell(parent, reason.as_bytes());
        }
    }

    /// The server ends in order.
    pub fn leave(self) {
        if self.supervisor == Some(Supervisor::Systemd) {
            notify(&[NotifyState::Stopping]);
        }
        if let Some(path) = &self.pid_file {
            tracing::info!("Removing the pid file.");
            let _ = std::fs::remove_file(path);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}

/// A parent that is gone needs no word.
fn tell(mut parent: UnixStream, word: &[u8]) {
    let _ = parent.write_all(word).and_then(|()| parent.shutdown(Shutdown::Both));
}

/// The parent's end: when the child has said its word, or died without one.
fn end_as_told(mut child: UnixStream) -> ! {
    let mut word = Vec::new();
    let heard = child.read_to_end(&mut word);
    if heard.is_ok() && word == SERVING {
        std::process::exit(0);
    }
    let reason = if word.is_empty() { "The server in the background ended without a word.".into() } else { word };
    eprintln!("{}", String::from_utf8_lossy(&reason));
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisors_are_found_by_their_variables() {
        let find = |wanted, variables: &[&str]| {
            let mut presence = Presence::default();
            presence.find_supervisor(wanted, |name| variables.contains(&name));
            (presence.supervisor, presence.warning.is_some())
        };
        let both = ["NOTIFY_SOCKET", "UPSTART_JOB"];
        assert_eq!(find(Supervisor::No, &both), (None, false));
        assert_eq!(find(Supervisor::Auto, &both), (Some(Supervisor::Upstart), false));
        assert_eq!(find(Supervisor::Auto, &["NOTIFY_SOCKET"]), (Some(Supervisor::Systemd), false));
        assert_eq!(find(Supervisor::Auto, &[]), (None, false));
        assert_eq!(find(Supervisor::Systemd, &both), (Some(Supervisor::Systemd), false));
        assert_eq!(find(Supervisor::Systemd, &["UPSTART_JOB"]), (None, true));
        assert_eq!(find(Supervisor::Upstart, &[]), (None, true));
    }
}
