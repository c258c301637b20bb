//! Holds Torc against a peer: both are started in turn on this machine, pinned, and driven by the same load generator.
//!
//! ```text
//!   round 1: Torc, peer    round 2: Torc, peer   ...        one server at a time, fresh for each round
//!
//!   core 0   server ────────── loopback TCP ────────── load   core 1
//!              └─ /proc: CPU of all its threads before and after, resident memory
//! ```
//! A machine drifts: it warms up, and neighbours come and go. So rounds alternate, a ratio is taken within a round, where
//! both servers met the same machine, and the report gives the median of the ratios and not the ratio of the medians.
//!
//! What is counted is the server's CPU time per command. Throughput is shown too, but where the load generator has one
//! core it is often the slower of the two, and then operations per second measure it and not the server.
//!
//! - `server`: start, pin, stop, `/proc`. - `load`: memtier or redis-benchmark, and a loader of our own.
//! - `workloads`: what runs in a round. - `collections`: the data types. - `transactions`: scripts, MULTI, messages, queues.
//! - `encrypted`: TLS.
//! - `report`: medians, Markdown, raw values. - `plot`: the picture.

pub mod collections;
pub mod encrypted;
pub mod load;
pub mod plot;
pub mod report;
pub mod server;
pub mod transactions;
pub mod workloads;

use std::fmt;

/// What went wrong, as a sentence for the person who measures.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The outcome of a step of a measurement.
pub type Outcome<T> = Result<T, Failure>;

/// The middle value; the mean of the two middle ones where their count is even. `None` of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
