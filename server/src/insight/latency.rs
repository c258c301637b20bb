//! The latency monitor: moments in which something took longer than `latency-monitor-threshold`, by event.
//!
//! ```text
//!   event            what took so long                                          noted by
//!   command          a command; fast-command: one that never should             core::observe
//!   expire-cycle     one slice of active expiry                                 Core::housekeeping_slice
//!   eviction-cycle   one slice of eviction                                      core::memory
//!   aof-fsync-always a write of the log that replies wait for                    append_log::group_commit
//! ```
//! Slices of 0.4 ms are the longest that Torc does on purpose of anything but a single step of a command, so an event here is a step
//! that cannot be cut, a disk, or a machine that gave the shard no time.
//!
//! An event keeps one sample a second, the worst, for the last [`SAMPLES_MAX`] seconds in which there was one.

use std::collections::{BTreeMap, VecDeque};

/// Samples that an event keeps.
const SAMPLES_MAX: usize = 160;
/// Columns of a graph, and its rows.
const GRAPH_COLUMNS: usize = 80;
const GRAPH_ROWS: usize = 4;

/// The worst of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Wall seconds.
    pub at_s: i64,
    /// How long it took.
    pub took_ms: u64,
}

/// What is known of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    samples: VecDeque<Sample>,
    /// The worst since the last reset.
    pub worst_ms: u64,
}

impl Series {
    /// The oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The newest.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    fn add(&mut self, sample: Sample) {
        self.worst_ms = self.worst_ms.max(sample.took_ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s >= sample.at_s => last.took_ms = last.took_ms.max(sample.took_ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }

    fn lowest_and_highest(&self) -> (u64, u64) {
        let all = || self.samples.iter().map(|sample| sample.took_ms);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }

    /// The series as a picture: a column a sample, its height by how long that took, its age below.
    pub fn graph(&self, event: &str, now_s: i64) -> String {
        let (low, high) = self.lowest_and_highest();
        let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", self.worst_ms);
        text.push_str(&"-".repeat(GRAPH_COLUMNS));
        text.push('\n');
        let all: Vec<Sample> = self.samples.iter().copied().collect();
        for part in all.chunks(GRAPH_COLUMNS) {
            draw(part, (low, high), now_s, &mut text);
        }
        text
    }

    /// One line for the doctor.
    fn told(&self, now_s: i64) -> String {
        let count = self.samples.len() as u64;
        let average = self.samples.iter().map(|sample| sample.took_ms).sum::<u64>() / count.max(1);
        let deviation = self.samples.iter().map(|sample| sample.took_ms.abs_diff(average)).sum::<u64>() / count.max(1);
        let since_s = self.samples.front().map_or(0, |first| now_s - first.at_s).max(1);
        let period_s = since_s as f64 / count.max(1) as f64;
        format!(
            "{count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {period_s:.2} sec). \
             Worst all time event {}ms.",
            self.worst_ms
        )
    }
}

/// Columns side by side, `#` from the ground to where a sample ends, which shows its sign.
fn draw(samples: &[Sample], (low, high): (u64, u64), now_s: i64, text: &mut String) {
    const ENDS: [char; 3] = ['_', 'o', '#'];
    let steps = GRAPH_ROWS * ENDS.len();
    let height = |sample: &Sample| {
        let share = (sample.took_ms - low) as f64 / (high - low).max(1) as f64;
        if high == low { steps - 1 } else { (share * (steps - 1) as f64) as usize }
    };
    let heights: Vec<usize> = samples.iter().map(height).collect();
    let mut line = |characters: Vec<char>| {
        text.push_str(characters.iter().collect::<String>().trim_end());
        text.push('\n');
    };
    for row in (0..GRAPH_ROWS).rev() {
        let cell = |height: &usize| match height / ENDS.len() {
            top if top == row => ENDS[height % ENDS.len()],
            top if top > row => '|',
            _ => ' ',
        };
        line(heights.iter().map(cell).collect());
    }
    text.push('\n');
    let ages: Vec<Vec<char>> = samples.iter().map(|sample| age(now_s - sample.at_s).chars().collect()).collect();
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// `5s`, `3m`, `2h`, `9d`.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Everything that was too long, by event.
#[derive(Debug, Default)]
pub struct LatencyEvents(BTreeMap<&'static str, Series>);

impl LatencyEvents {
    /// Something took so long.
    pub fn add(&mut self, event: &'static str, at_s: i64, took_ms: u64) {
        self.0.entry(event).or_default().add(Sample { at_s, took_ms });
    }

    /// By name, in any case of letters.
    pub fn find(&self, event: &[u8]) -> Option<(&'static str, &Series)> {
        let found = self.0.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(event));
        found.map(|(name, series)| (*name, series))
    }

    /// By name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.0.iter().map(|(name, series)| (*name, series))
    }

    /// Forgets these events, or all; how many.
    pub fn reset(&mut self, events: &[&[u8]]) -> usize {
        let before = self.0.len();
        let is_meant = |name: &str| events.iter().any(|event| event.eq_ignore_ascii_case(name.as_bytes()));
        self.0.retain(|name, _| !events.is_empty() && !is_meant(name));
        before - self.0.len()
    }

    /// What a doctor would say of it. `slow_log_us`: the threshold of the slow log, if it is on.
    pub fn diagnosis(&self, threshold_ms: u64, slow_log_us: Option<u64>, now_s: i64) -> String {
        if self.0.is_empty() {
            return match threshold_ms {
                0 => "Latency monitoring is disabled. CONFIG SET latency-monitor-threshold <milliseconds> makes the \
                      server keep what takes that long.\n"
                    .to_owned(),
                _ => format!("No latency spike of {threshold_ms} ms or more has been seen.\n"),
            };
        }
        let mut text = "Latency spikes have been observed in this server.\n\n".to_owned();
        let mut advice: Vec<String> = Vec::new();
        for (number, (event, series)) in self.all().enumerate() {
            text.push_str(&format!("{}. {event}: {}\n", number + 1, series.told(now_s)));
            for line in advice_for(event, threshold_ms, slow_log_us) {
                if !advice.contains(&line) {
                    advice.push(line);
                }
            }
        }
        text.push_str("\nHere is some advice:\n\n");
        advice.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        text
    }
}

/// What may be done about an event.
fn advice_for(event: &str, threshold_ms: u64, slow_log_us: Option<u64>) -> Vec<String> {
    let slow_log = match slow_log_us {
        Some(us) if us / 1000 <= threshold_ms => {
            "The slow log names the commands: SLOWLOG GET. What works through a large value in one step (a script, a \
             command inside MULTI) holds up the other clients of its shard meanwhile."
                .to_owned()
        }
        _ => format!(
            "The slow log does not record all of these commands. CONFIG SET slowlog-log-slower-than {} makes it.",
            threshold_ms * 1000
        ),
    };
    let machine = "Commands that do little were held up, so the shard had no processor for a while: look for other \
                   programs on its core, for a hypervisor that takes its time (redis-cli --intrinsic-latency 100), \
                   and run torc-server --check-system.";
    let disk = "The log waits for its disk. A local disk, one that the log need not share with snapshots, or \
                appendfsync everysec instead of always shortens that.";
    let memory = "Much memory had to be freed at once. Keys expire and are evicted in slices of less than a \
                  millisecond: longer ones mean that the system takes its time to take memory back, or that the \
                  shard had no processor.";
    let lines: &[&str] = match event {
        "command" => return vec![slow_log],
        "fast-command" => &[machine],
        "expire-cycle" | "eviction-cycle" => &[memory, machine],
        _ => &[disk],
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_worst_and_a_series_has_a_bound() {
        let mut events = LatencyEvents::default();
        for (at_s, took_ms) in [(10, 5), (10, 9), (10, 7), (12, 3)] {
            events.add("command", at_s, took_ms);
        }
        let (name, series) = events.find(b"COMMAND").expect("an event");
        let samples: Vec<_> = series.samples().map(|sample| (sample.at_s, sample.took_ms)).collect();
        assert_eq!((name, samples, series.worst_ms), ("command", vec![(10, 9), (12, 3)], 9));
        (0..1000).for_each(|second| events.add("aof-write", second, 1));
        assert_eq!(events.find(b"aof-write").map(|(_, series)| series.samples().len()), Some(SAMPLES_MAX));
        assert_eq!(events.reset(&[b"nosuch"]), 0);
        assert_eq!(events.reset(&[b"AOF-write"]), 1);
        assert_eq!(events.reset(&[]), 1);
    }

    #[test]
    fn a_graph_has_a_column_a_sample() {
        let mut events = LatencyEvents::default();
        for (at_s, took_ms) in [(0, 300), (3, 400), (70, 500)] {
            events.add("command", at_s, took_ms);
        }
        let graph = events.find(b"command").expect("an event").1.graph("command", 75);
        let rows: Vec<&str> = graph.lines().collect();
        assert_eq!(rows[0], "command - high 500 ms, low 300 ms (all time high 500 ms)");
        assert_eq!(rows[2..6], ["  #", "  |", " #|", "_||"]);
        assert_eq!(rows[7..9], ["115", "mms"]);
    }

    #[test]
    fn the_doctor_knows_when_nobody_measures() {
        let mut events = LatencyEvents::default();
        assert!(events.diagnosis(0, None, 0).contains("disabled"));
        assert!(events.diagnosis(100, None, 0).starts_with("No latency spike"));
        events.add("command", 5, 200);
        events.add("aof-fsync-always", 5, 300);
        let told = events.diagnosis(100, None, 10);
        assert!(told.contains("CONFIG SET slowlog-log-slower-than 100000") && told.contains("disk"), "{told}");
        assert!(events.diagnosis(100, Some(10_000), 10).contains("SLOWLOG GET"));
    }
}
