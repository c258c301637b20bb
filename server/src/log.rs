//! The log: events of `tracing`, written in the format that tools know from Redis.
//!
//! ```text
//!   4711:M 23 Nov 2026 14:14:15.556 * Ready to accept connections
//!   pid  role    local time         │ message
//!                                   └ . debug   - verbose   * notice   # warning
//! ```
//!
//! | here | `tracing` |
//! |---|---|
//! | warning | `error!`, `warn!` |
//! | notice | `info!` |
//! | verbose | `debug!` |
//! | debug | `trace!` |
//!
//! A line is one write in append mode, so lines of several threads never mix. The file is opened for each line: a file
//! that was moved away by log rotation, or a disk that was full for a while, needs no signal and loses no later line.
//! Libraries are heard from warning up.

use crate::config::{self, LogLevel};
use crate::syslog::{self, Syslog};
use jiff::Zoned;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// What the process is to others, as the letter after its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Takes writes.
    Primary = b'M',
    /// Follows another server.
    Replica = b'S',
    /// Watches others.
    Sentinel = b'X',
}

/// The log of the process; copies are the same log. What it holds can change at any time from any thread.
#[derive(Clone, Debug)]
pub struct Log(Arc<State>);

#[derive(Debug)]
struct State {
    level: AtomicU8,
    role: AtomicU8,
    /// `None` is standard output.
    file: RwLock<Option<PathBuf>>,
    /// The system's log, which gets the lines as well.
    syslog: Option<Syslog>,
}

impl Log {
    /// A log that nothing is written to yet: see [`Log::install`] and [`Log::subscriber`].
    pub fn new(options: &config::Log) -> Self {
        Self(Arc::new(State {
            level: AtomicU8::new(options.level as u8),
            role: AtomicU8::new(Role::Primary as u8),
            file: RwLock::new(options.file.clone()),
            syslog: options
                .goes_to_syslog
                .then(|| Syslog::new(Path::new(syslog::SOCKET), &options.syslog_ident, options.syslog_facility)),
        }))
    }

    /// Takes every event of the process from now on. False where something else does so already.
    pub fn install(&self) -> bool {
        tracing::subscriber::set_global_default(self.subscriber()).is_ok()
    }

    /// What turns events into lines of this log.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(Lines(self.clone()))
    }

    /// Takes over level and file after a change of the configuration.
    pub fn reconfigure(&self, options: &config::Log) {
        self.0.level.store(options.level as u8, Ordering::Relaxed);
        self.0.file.write().unwrap_or_else(PoisonError::into_inner).clone_from(&options.file);
        // Call sites remember whether anybody listens; make them ask again.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Changes the letter.
    pub fn set_role(&self, role: Role) {
        self.0.role.store(role as u8, Ordering::Relaxed);
    }

    fn threshold(&self) -> LevelFilter {
        match self.0.level.load(Ordering::Relaxed) {
            level if level == LogLevel::Debug as u8 => LevelFilter::TRACE,
            level if level == LogLevel::Verbose as u8 => LevelFilter::DEBUG,
            level if level == LogLevel::Notice as u8 => LevelFilter::INFO,
            level if level == LogLevel::Warning as u8 => LevelFilter::WARN,
            _ => LevelFilter::OFF,
        }
    }

    /// A log that cannot be written must not stop the server; standard error hears of it.
    fn write(&self, line: &str) {
        let file = self.0.file.read().unwrap_or_else(PoisonError::into_inner);
        let outcome = match file.as_deref() {
            None => io::stdout().lock().write_all(line.as_bytes()),
            Some(path) => std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
        };
        if outcome.is_err() && file.is_some() {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// Turns events into lines.
struct Lines(Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = metadata.target().starts_with("torc");
        let threshold = self.0.threshold();
        *metadata.level() <= threshold && (ours || *metadata.level() <= Level::WARN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.threshold())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mark = match *event.metadata().level() {
            Level::ERROR | Level::WARN => '#',
            Level::INFO => '*',
            Level::DEBUG => '-',
            Level::TRACE => '.',
        };
        let role = char::from(self.0.0.role.load(Ordering::Relaxed));
        let mut message = Message::default();
        event.record(&mut message);
        let now = Zoned::now();
        if let Some(syslog) = &self.0.0.syslog {
            syslog.write(*event.metadata().level(), &now, &format!("{}{}", message.text, message.fields));
        }
        self.0.write(&format_line(std::process::id(), role, &now, mark, &message));
    }
}

fn format_line(process: u32, role: char, now: &Zoned, mark: char, message: &Message) -> String {
    let time = now.strftime("%d %b %Y %H:%M:%S");
    let milliseconds = now.millisecond();
    format!("{process}:{role} {time}.{milliseconds:03} {mark} {}{}\n", message.text, message.fields)
}

/// The message of an event, and its fields as ` name=value`.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.text, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(level: LogLevel, file: &Path) -> config::Log {
        config::Log { level, file: Some(file.to_owned()), ..config::Log::default() }
    }

    /// The lines without what comes before the mark.
    fn lines(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.splitn(6, ' ').nth(5).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_line_has_the_format_that_tools_know() {
        let time: jiff::Timestamp = "2026-11-03T04:05:06.007Z".parse().expect("a time");
        let now = time.to_zoned(jiff::tz::TimeZone::UTC);
        let message = Message { text: "Server initialized".to_owned(), fields: String::new() };
        let line = format_line(4711, 'M', &now, '*', &message);
        assert_eq!(line, "4711:M 03 Nov 2026 04:05:06.007 * Server initialized\n");
    }

    #[test]
    fn level_file_and_role_change_while_it_runs() {
        let directory = tempfile::tempdir().expect("created");
        let (first, second) = (directory.path().join("a.log"), directory.path().join("b.log"));
        let log = Log::new(&options(LogLevel::Notice, &first));
        let say_all = || {
            tracing::trace!("a");
            tracing::debug!("b");
            tracing::info!("c");
            tracing::warn!("d");
            tracing::error!(shard = 3, "e");
        };
        tracing::subscriber::with_default(log.subscriber(), || {
            say_all();
            log.reconfigure(&options(LogLevel::Debug, &second));
            log.set_role(Role::Replica);
            say_all();
            log.reconfigure(&options(LogLevel::Nothing, &second));
            say_all();
        });
        assert_eq!(lines(&first), ["* c", "# d", "# e shard=3"]);
        assert_eq!(lines(&second), [". a", "- b", "* c", "# d", "# e shard=3"]);
        let text = std::fs::read_to_string(&second).expect("written");
        assert!(text.starts_with(&format!("{}:S ", std::process::id())), "{text}");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let directory = tempfile::tempdir().expect("created");
        let (file, moved) = (directory.path().join("a.log"), directory.path().join("a.log.1"));
        let log = Log::new(&options(LogLevel::Notice, &file));
        tracing::subscriber::with_default(log.subscriber(), || {
            tracing::info!("before");
            std::fs::rename(&file, &moved).expect("moved");
            tracing::info!("after");
        });
        assert_eq!((lines(&moved), lines(&file)), (vec!["* before".to_owned()], vec!["* after".to_owned()]));
    }

    #[test]
    fn libraries_are_heard_from_warning_up() {
        let directory = tempfile::tempdir().expect("created");
        let file = directory.path().join("a.log");
        let log = Log::new(&options(LogLevel::Debug, &file));
        tracing::subscriber::with_default(log.subscriber(), || {
            tracing::info!(target: "glommio", "quiet");
            tracing::warn!(target: "glommio", "loud");
        });
        assert_eq!(lines(&file), ["# loud"]);
    }
}
