//! How much happens a second: differences of counters, taken by the cron, averaged over the last samples.

use crate::control::RateFigures;

/// Samples averaged.
const SAMPLES: usize = 16;
/// Time between two samples, at least.
const SAMPLE_NS: u64 = 100_000_000;

/// Commands, bytes received, bytes sent.
type Totals = [u64; 3];

/// The rates of a shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Option<(u64, Totals)>,
    samples: [[f64; 3]; SAMPLES],
    next: usize,
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
        RateFigures { commands: average(0), received_bytes: average(1), sent_bytes: average(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_flow_has_its_rate_and_dies_away() {
        let mut rates = Rates::default();
        for tick in 0..=SAMPLES as u64 {
            rates.sample(tick * SAMPLE_NS, [tick * 10, tick * 20, 0]);
            // Too early: no sample.
            rates.sample(tick * SAMPLE_NS + 1, [tick * 10 + 5, 0, 0]);
        }
        let rounded = |rates: &Rates| {
            let figures = rates.figures();
            [figures.commands, figures.received_bytes, figures.sent_bytes].map(|rate| rate.round() as u64)
        };
        assert_eq!(rounded(&rates), [100, 200, 0]);
        for tick in 1..=SAMPLES as u64 {
            rates.sample((SAMPLES as u64 + tick) * SAMPLE_NS, [0; 3]);
        }
        assert_eq!(rounded(&rates), [0, 0, 0]);
    }
}
