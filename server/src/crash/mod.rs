//! The last words of a process that crashes: what happened, on which shard, in which command, and from where.
//!
//! ```text
//!   thread that crashes                          thread `crash`, asleep since the start
//!     SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT
//!     (a panic ends in SIGABRT)
//!     note: signal, address, return addresses ── pipe ──> names of the functions; the report, to the log
//!     wait, 5 s at the most              <── pipe ── done
//!     default action: the process ends as it would have, and leaves its core file
//! ```
//! * The handler itself touches nothing that may be broken or locked: no memory is taken, nothing is formatted.
//! * If the report cannot be written (the thread that crashed holds the lock of the log), the process ends all the same.
//! * Nothing that users have stored is in a report: a command is named, its arguments are not. A panic's message may quote
//!   what it is about, so it is left out with `hide-user-data-from-log`.

mod signals;

use crate::config::Log;
use crate::shared::Shared;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// `crash-log-enabled` and `hide-user-data-from-log`.
static IS_ON: AtomicBool = AtomicBool::new(true);
static HIDES_USER_DATA: AtomicBool = AtomicBool::new(false);

/// The shards, which know what they are at, once they are there.
static SHARDS: OnceLock<Arc<Shared>> = OnceLock::new();

/// Reports name the command that a shard has begun last.
pub fn ask_shards(shared: &Arc<Shared>) {
    // Of several servers in a process, as tests have them, the first is asked.
    let _ = SHARDS.set(shared.clone());
}

/// What the handler noted.
pub(crate) struct Crash {
    /// The signal's number.
    pub(crate) signal: i32,
    /// What says where it came from, as the kernel gives it.
    pub(crate) code: i32,
    /// The address that was accessed.
    pub(crate) address: usize,
    /// The thread's number.
    pub(crate) thread: i32,
    /// Return addresses, the innermost first.
    pub(crate) frames: Vec<usize>,
}

/// Signals that end a process that is broken, and their names.
const FATAL: [(i32, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGABRT, "SIGABRT"),
];

/// Watches for fatal signals and panics from here on. Called once, after the process has gone to the background.
pub fn watch(log: &Log) -> io::Result<()> {
    reconfigure(log);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let hides_user_data = HIDES_USER_DATA.load(Ordering::Relaxed);
        let text = if hides_user_data { "(not shown: hide-user-data-from-log)" } else { text.unwrap_or("(no text)") };
        tracing::error!("Panic at {place}: {text}");
        // No shard goes on with half a change, in no build.
        std::process::abort();
    }));
    let (notes, told) = io::pipe()?;
    let (finished, finish) = io::pipe()?;
    std::thread::Builder::new().name("crash".to_owned()).spawn(move || report_when_told(notes, finish))?;
    signals::install(told, finished, FATAL.map(|(signal, _)| signal))
}

/// Follows a CONFIG SET.
pub fn reconfigure(log: &Log) {
    IS_ON.store(log.has_crash_reports, Ordering::Relaxed);
    HIDES_USER_DATA.store(log.hides_user_data, Ordering::Relaxed);
}

/// The thread that writes the report: not the one that crashed, whose stack may be used up.
fn report_when_told(mut notes: io::PipeReader, mut finish: io::PipeWriter) {
    if notes.read_exact(&mut [0]).is_err() {
        return;
    }
    if IS_ON.load(Ordering::Relaxed)
        && let Some(crash) = signals::noted()
    {
        let thread = std::fs::read_to_string(format!("/proc/self/task/{}/comm", crash.thread)).unwrap_or_default();
        let shard = thread.trim_end().strip_prefix("shard-").and_then(|number| number.parse().ok());
        let command = shard.and_then(|shard| SHARDS.get()?.command_begun(shard));
        tracing::error!("{}", report(&crash, thread.trim_end(), command));
    }
    // The handler goes on by itself if it does not hear of this.
    let _ = finish.write_all(&[1]);
}

/// `thread` by its name, and the command that it was at.
fn report(crash: &Crash, thread: &str, command: Option<&str>) -> String {
    let name = FATAL.iter().find(|(signal, _)| *signal == crash.signal).map_or("unknown", |(_, name)| name);
    let mut lines = vec![
        "=== TORC BUG REPORT START: please send all of it with what was being done ===".to_owned(),
        format!(
            "Torc {} crashed by signal: {} ({name}), si_code: {}",
            env!("CARGO_PKG_VERSION"),
            crash.signal,
            crash.code
        ),
    ];
    if crash.signal != libc::SIGABRT {
        lines.push(format!("Accessing address: {:#x}", crash.address));
    }
    lines.push(format!("Thread: {thread} ({})", crash.thread));
    lines.push(format!("Command: {}", command.unwrap_or("none")));
    lines.push("------ STACK TRACE ------".to_owned());
    for &frame in &crash.frames {
        let mut named = false;
        // What is looked up is the call, not what comes after it.
        backtrace::resolve(frame.wrapping_sub(1) as *mut _, |symbol| {
            let function = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
            let place = match (symbol.filename(), symbol.lineno()) {
                (Some(file), Some(line)) => format!(" at {}:{line}", file.display()),
                _ => String::new(),
            };
            lines.push(format!("{frame:#018x} {function}{place}"));
            named = true;
        });
        if !named {
            lines.push(format!("{frame:#018x} ?"));
        }
    }
    lines.push("=== TORC BUG REPORT END ===".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn here() -> Vec<usize> {
        let mut frames = Vec::new();
        backtrace::trace(|frame| {
            frames.push(frame.ip() as usize);
            frames.len() < 16
        });
        frames
    }

    #[test]
    fn a_report_names_signal_command_and_functions() {
        let crash = Crash { signal: libc::SIGSEGV, code: 1, address: 16, thread: 1, frames: here() };
        let text = report(&crash, "shard-0", Some("get"));
        for part in ["by signal: 11 (SIGSEGV)", "address: 0x10\n", "Command: get\n", "crash::tests::here", "REPORT END"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let crash = Crash { signal: libc::SIGABRT, frames: vec![0, usize::MAX], ..crash };
        let text = report(&crash, "shard-0", None);
        assert!(text.contains("Command: none\n") && !text.contains("Accessing"), "{text}");
    }
}
