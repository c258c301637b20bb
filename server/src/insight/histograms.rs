//! How long commands took, a histogram for each that has run: from 1 ns to 1 s, to two digits.
//!
//! ```text
//!   a command ──> Recorder.recent, eight bytes each ──when it is full──> Histograms, one for each command
//!                                                   ──when somebody asks──> a copy of these, with what is recent
//! ```
//! * A histogram is several cache lines that a command has displaced by the time it ends. Those of many are worked off at once,
//!   when they wait for memory together.
//!
//! One is made when its command first runs, and grows with the longest time that it has seen: 1 KiB for each doubling of it, so
//! 8 KiB for 16 us, and 24 KiB at most.

use hdrhistogram::Histogram;

const LOWEST_NS: u64 = 1;
const HIGHEST_NS: u64 = 1_000_000_000;
const DIGITS: u8 = 2;
/// As far as a new one reaches: the least that there may be.
const FIRST_REACH_NS: u64 = 2;
/// The first bound that LATENCY HISTOGRAM shows; each further one is twice the one before.
const FIRST_BOUND_NS: u64 = 1024;

/// As many as are worked off at once.
const RECENT: usize = 64;

/// What writes histograms, one for each of a number of ids.
#[derive(Clone, Debug)]
pub struct Recorder {
    histograms: Histograms,
    /// Ids and nanoseconds that are not in them yet; the first `recent_len` are filled.
    recent: [(u32, u32); RECENT],
    recent_len: usize,
}

impl Recorder {
    /// Of so many commands, none of which has run.
    pub fn new(ids: usize) -> Self {
        Self { histograms: Histograms::new(ids), recent: [(0, 0); RECENT], recent_len: 0 }
    }

    /// A command took so long; what is longer than can be told counts as the longest.
    #[inline]
    pub fn record(&mut self, id: usize, took_ns: u64) {
        self.recent[self.recent_len % RECENT] = (id as u32, took_ns.clamp(LOWEST_NS, HIGHEST_NS) as u32);
        self.recent_len += 1;
        if self.recent_len == RECENT {
            self.work_off();
        }
    }

    #[cold]
    fn work_off(&mut self) {
        self.histograms.record_all(&self.recent);
        self.recent_len = 0;
    }

    /// All that has been recorded.
    pub fn histograms(&self) -> Histograms {
        let mut histograms = self.histograms.clone();
        histograms.record_all(&self.recent[..self.recent_len]);
        histograms
    }
}

/// By the ids of commands.
#[derive(Clone, Debug, Default)]
pub struct Histograms(Vec<Option<Box<Histogram<u64>>>>);

impl Histograms {
    fn new(ids: usize) -> Self {
        Self(vec![None; ids])
    }

    /// Ids, and nanoseconds within the bounds.
    fn record_all(&mut self, commands: &[(u32, u32)]) {
        for (id, took_ns) in commands {
            let Some(place) = self.0.get_mut(*id as usize) else { continue };
            let histogram = place.get_or_insert_with(|| Box::new(new_histogram()));
            histogram.record(u64::from(*took_ns)).expect("it grows as far as is needed");
        }
    }

    /// And these.
    pub fn add(&mut self, others: &Self) {
        self.0.resize(self.0.len().max(others.0.len()), None);
        for (ours, theirs) in self.0.iter_mut().zip(&others.0) {
            let Some(theirs) = theirs else { continue };
            match ours {
                Some(ours) => ours.add(&**theirs).expect("it grows as far as is needed"),
                None => *ours = Some(theirs.clone()),
            }
        }
    }

    /// Of one command, if it has run.
    pub fn of(&self, id: usize) -> Option<Distribution<'_>> {
        self.0.get(id)?.as_deref().map(Distribution)
    }
}

#[cold]
fn new_histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(LOWEST_NS, FIRST_REACH_NS, DIGITS).expect("bounds that are in order");
    histogram.auto(true);
    histogram
}

/// How long one command took.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a>(&'a Histogram<u64>);

impl Distribution<'_> {
    /// How often it ran.
    pub fn calls(self) -> u64 {
        self.0.len()
    }

    /// Within which time so much of all were done, in microseconds.
    pub fn percentile_us(self, percentile: f64) -> f64 {
        self.0.value_at_quantile(percentile / 100.0) as f64 / 1000.0
    }

    /// Bounds in microseconds, and how many were done within each; bounds that add none are left out.
    pub fn cumulative(self) -> Vec<(u64, u64)> {
        let (all, mut before, mut bound_ns) = (self.calls(), 0, FIRST_BOUND_NS);
        let mut steps = Vec::new();
        while before < all {
            let highest_ns = self.0.highest_equivalent(bound_ns);
            let within = if bound_ns >= HIGHEST_NS { all } else { self.0.count_between(0, highest_ns) };
            if within > before {
                steps.push((highest_ns / 1000, within));
            }
            (before, bound_ns) = (within, bound_ns * 2);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart_and_shards_add_up() {
        let mut one = Recorder::new(3);
        let mut other = Recorder::new(3);
        one.record(1, 500);
        one.record(1, 1_500);
        other.record(1, 40_000);
        other.record(2, 5_000_000_000);
        // No command of the table.
        other.record(3, 1);
        let mut sum = one.histograms();
        sum.add(&other.histograms());
        assert!(sum.of(0).is_none() && sum.of(3).is_none() && sum.of(9).is_none());
        let distribution = sum.of(1).expect("it has run");
        assert_eq!(distribution.calls(), 3);
        assert_eq!(distribution.cumulative(), [(1, 1), (2, 2), (66, 3)]);
        let p100 = distribution.percentile_us(100.0);
        assert!((40.0..40.4).contains(&p100), "{p100}");
        // Longer than can be told.
        assert_eq!(sum.of(2).expect("it has run").cumulative().last().map(|last| last.1), Some(1));
        // A long time comes to a histogram that reaches less far, and to one that is added to another.
        one.record(1, 900_000_000);
        let mut sum = other.histograms();
        sum.add(&one.histograms());
        assert_eq!(sum.of(1).expect("it has run").calls(), 4);
        assert!((899_000.0..910_000.0).contains(&sum.of(1).expect("it has run").percentile_us(100.0)));
    }

    #[test]
    fn whoever_asks_sees_every_command_however_many_are_recent() {
        let mut recorder = Recorder::new(2);
        for count in 1..=3 * RECENT as u64 {
            recorder.record(usize::from(count % 3 == 0), count);
            let histograms = recorder.histograms();
            let calls = |id| histograms.of(id).map_or(0, Distribution::calls);
            assert_eq!((calls(0), calls(1)), (count - count / 3, count / 3));
        }
    }
}
