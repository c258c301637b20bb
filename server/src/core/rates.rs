//! How much happens a second: differences of counters, taken by the cron, averaged over the last samples.

use crate::control::RateFigures;

/// Samples averaged.
const SAMPLES: usize = 16;
/// Time between two samples, at least.
const SAMPLE_NS: u64 = 100_000_000;

/// How many figures.
const FIGURES: usize = 5;

/// Commands, bytes received, bytes sent; turns, and nanoseconds of CPU time that they took.
type Totals = [u64; FIGURES];

/// The rates of a shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Option<(u64, Totals)>,
    samples: [[f64; FIGURES]; SAMPLES],
    next: usize,
    /// The largest buffers lately.
    pub(super) buffers: RecentBuffers,
}

impl Rates {
    /// Takes a sample if one is due.
    pub(super) fn sample(&mut self, now_ns: u64, totals: Totals) {
        let Some((then_ns, before)) = self.last else {
            self.last = Some((now_ns, totals));
            return;
        };
        let elapsed_ns = now_ns.saturating_sub(then_ns);
        if elapsed_ns < SAMPLE_NS {
            return;
        }
        let seconds = elapsed_ns as f64 / 1e9;
        // Counters that were reset meanwhile count as still.
        self.samples[self.next] = std::array::from_fn(|n| totals[n].saturating_sub(before[n]) as f64 / seconds);
        self.next = (self.next + 1) % SAMPLES;
        self.last = Some((now_ns, totals));
    }

    /// The averages.
    pub(super) fn figures(&self) -> RateFigures {
        let average = |n: usize| self.samples.iter().map(|sample| sample[n]).sum::<f64>() / SAMPLES as f64;
        let [commands, received_bytes, sent_bytes, turns, turns_ns] = std::array::from_fn(average);
        RateFigures { commands, received_bytes, sent_bytes, turns, turns_ns }
    }
}

/// Seconds for which the largest buffers are remembered.
const RECENT_S: usize = 8;

/// The largest buffers of the last seconds.
#[derive(Debug, Default)]
pub(super) struct RecentBuffers {
    /// By second: which it is, and the largest then.
    seconds: [(u64, [usize; 2]); RECENT_S],
}

impl RecentBuffers {
    /// So much there was in this second.
    pub(super) fn note(&mut self, second: u64, bytes: [usize; 2]) {
        let (of, largest) = &mut self.seconds[second as usize % RECENT_S];
        if std::mem::replace(of, second) != second {
            *largest = [0, 0];
        }
        *largest = std::array::from_fn(|index| largest[index].max(bytes[index]));
    }

    /// The largest until now.
    pub(super) fn largest(&self, second: u64) -> [usize; 2] {
        let recent = self.seconds.iter().filter(|(of, _)| of + RECENT_S as u64 > second);
        recent.fold([0, 0], |most, (_, bytes)| std::array::from_fn(|index| bytes[index].max(most[index])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_flow_has_its_rate_and_dies_away() {
        let mut rates = Rates::default();
        for tick in 0..=SAMPLES as u64 {
            rates.sample(tick * SAMPLE_NS, [tick * 10, tick * 20, 0, tick, 0]);
            // Too early: no sample.
            rates.sample(tick * SAMPLE_NS + 1, [tick * 10 + 5, 0, 0, 0, 0]);
        }
        let rounded = |rates: &Rates| {
            let figures = rates.figures();
            [figures.commands, figures.received_bytes, figures.sent_bytes, figures.turns]
                .map(|rate| rate.round() as u64)
        };
        assert_eq!(rounded(&rates), [100, 200, 0, 10]);
        for tick in 1..=SAMPLES as u64 {
            rates.sample((SAMPLES as u64 + tick) * SAMPLE_NS, [0; FIGURES]);
        }
        assert_eq!(rounded(&rates), [0; 4]);
    }

    #[test]
    fn large_buffers_are_forgotten_after_some_seconds() {
        let mut recent = RecentBuffers::default();
        recent.note(100, [7, 1]);
        recent.note(100, [5, 2]);
        recent.note(103, [1, 1]);
        assert_eq!(recent.largest(107), [7, 2]);
        assert_eq!(recent.largest(108), [1, 1]);
        recent.note(108, [0, 0]);
        assert_eq!((recent.largest(110), recent.largest(200)), ([1, 1], [0, 0]));
    }
}
