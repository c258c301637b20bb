//! Which shards turn, and what those hang on that do not.
//!
//! ```text
//!   turns gauge ── changed since the last look? ── yes: its pulse beats
//!                                                └ no, for so long ──> Hang: the command that it has begun last
//!   scripts that run for long ── for so long ────> Hang: the shard turns, but its keys are the script's
//! ```
//! A script that runs for long gives up the thread, so its shard turns, and SCRIPT KILL reaches it. For everybody who wants
//! something of that shard it hangs all the same.

use crate::scripting::Running;
use crate::shared::Shared;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use torc_scripting::Sha;

/// How often the pulse is felt.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// A shard that does not turn, or serves only a script, for this long is not ready.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(1);
/// A shard that does not turn for this long is reported in the log.
const STALL_REPORTED_AFTER: Duration = Duration::from_secs(2);

/// What is known of a shard's pulse.
#[derive(Clone, Debug)]
struct Pulse {
    turns: u64,
    since: Instant,
    reported: bool,
}

/// A shard that does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hang {
    pub(super) shard: usize,
    pub(super) duration: Duration,
    /// Whether it turns: only a script has it then.
    pub(super) turns: bool,
    /// The name of the command that it is at, if it is one.
    pub(super) command: Option<String>,
    /// The script's SHA, or the function's name.
    pub(super) script: Option<String>,
}

impl std::fmt::Display for Hang {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.turns { "has served only a script" } else { "has not turned" };
        write!(formatter, "Shard {} {what} for {} ms: ", self.shard, self.duration.as_millis())?;
        match (&self.command, &self.script) {
            (Some(command), Some(script)) => write!(formatter, "{command} {script}"),
            (Some(command), None) => write!(formatter, "a long {command}, or no processor time"),
            (None, _) => formatter.write_str("a long command, or no processor time"),
        }
    }
}

/// The pulses of all shards.
#[derive(Debug)]
pub(super) struct Pulses(Vec<Pulse>);

impl Pulses {
    /// All beat at `now`.
    pub(super) fn new(shards: usize, now: Instant) -> Self {
        Self(vec![Pulse { turns: 0, since: now, reported: false }; shards])
    }

    /// Looks at all; lines for the log where one has stopped or come back.
    pub(super) fn feel(&mut self, shared: &Shared, now: Instant) -> Vec<String> {
        let is_stopping = shared.stopping.load(Ordering::Relaxed);
        let mut lines = Vec::new();
        for (shard, pulse) in self.0.iter_mut().enumerate() {
            let turns = shared.gauges[shard].turns.load(Ordering::Relaxed);
            if let Some(line) = pulse.feel(turns, now, shard, || shared.command_begun(shard).map(str::to_owned)) {
                lines.push(line);
            }
        }
        // Shards that have ended turn no more.
        if is_stopping { Vec::new() } else { lines }
    }

    /// Who has not turned for so long: idle perhaps, and to be woken.
    pub(super) fn quiet(&self, now: Instant, after: Duration) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(move |shard| self.age(*shard, now) >= after)
    }

    /// For how long a shard has not been seen to turn.
    pub(super) fn age(&self, shard: usize, now: Instant) -> Duration {
        now.saturating_duration_since(self.0[shard].since)
    }

    /// Who has not served for so long.
    pub(super) fn hangs(&self, shared: &Shared, now: Instant, after: Duration) -> Vec<Hang> {
        let scripts = if shared.scripting.has_long_scripts() { shared.scripting.running() } else { Vec::new() };
        let hang_of = |shard: usize| {
            let stalled = self.age(shard, now);
            if stalled >= after {
                let command = shared.command_begun(shard).map(str::to_owned);
                return Some(Hang { shard, duration: stalled, turns: false, command, script: None });
            }
            let holder = scripts.iter().find(|running| running.shards >> shard & 1 != 0)?;
            let duration = running_for(holder);
            (duration >= after).then(|| script_hang(shard, duration, holder))
        };
        (0..self.0.len()).filter_map(hang_of).collect()
    }
}

impl Pulse {
    /// Takes a shard's count of turns; a line for the log where its pulse stopped or came back.
    fn feel(
        &mut self,
        turns: u64,
        now: Instant,
        shard: usize,
        command: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let stalled = now.saturating_duration_since(self.since);
        if turns != self.turns {
            let was_reported = self.reported;
            *self = Self { turns, since: now, reported: false };
            return was_reported.then(|| format!("Shard {shard} turns again after {} ms", stalled.as_millis()));
        }
        if stalled < STALL_REPORTED_AFTER || self.reported {
            return None;
        }
        self.reported = true;
        Some(Hang { shard, duration: stalled, turns: false, command: command(), script: None }.to_string())
    }
}

fn running_for(running: &Running) -> Duration {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    Duration::from_millis(u64::try_from(now_ms - running.started_ms).unwrap_or(0))
}

/// Which script, not what it was given.
fn script_hang(shard: usize, duration: Duration, running: &Running) -> Hang {
    let name = running.command.first().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase());
    let sha = || {
        let source = running.command.get(1)?;
        let is_sha = name.as_deref().is_some_and(|name| name.starts_with("evalsha"));
        let sha = if is_sha { Sha::parse(source)? } else { Sha::of(source) };
        Some(String::from_utf8_lossy(sha.as_bytes()).into_owned())
    };
    let script = running.function.clone().or_else(sha);
    Hang { shard, duration, turns: true, command: name, script }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_pulse_is_reported_once_and_its_return_too() {
        let start = Instant::now();
        let mut pulse = Pulse { turns: 5, since: start, reported: false };
        let mut feel =
            |turns, after_s| pulse.feel(turns, start + Duration::from_secs(after_s), 0, || Some("debug".to_owned()));
        assert!(feel(5, 1).is_none());
        assert_eq!(
            feel(5, 3).expect("it has stopped"),
            "Shard 0 has not turned for 3000 ms: a long debug, or no processor time"
        );
        assert!(feel(5, 4).is_none());
        let line = feel(6, 5).expect("its return");
        assert!(line.contains("turns again after 5000 ms"), "{line}");
    }

    #[test]
    fn what_is_long_ago_is_quiet() {
        let start = Instant::now();
        let mut pulses = Pulses::new(3, start);
        let later = start + Duration::from_secs(1);
        pulses.0[1].since = later;
        assert_eq!(pulses.quiet(later, Duration::from_millis(500)).collect::<Vec<_>>(), [0, 2]);
    }
}
