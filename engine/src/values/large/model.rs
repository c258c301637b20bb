//! Each large form against a simple model: random operations on both, with views frozen, kept and dropped in between; then
//! the same answers, exact bytes, and views that are still what they were.
//!
//! `TORC_LARGE_OPERATIONS` sets the number of operations of the long runs, `TORC_LARGE_SEED` their seed.

mod hash;
mod list;
mod rope;
mod sorted;

/// A value, its model and their views.
trait Pair {
    /// An empty value; `profile` is any number, to vary sizes and mixes by.
    fn new(seed: u64, profile: u64) -> Self;
    /// One random operation.
    fn step(&mut self);
    /// Compares all there is.
    fn check(&self);
}

fn run<P: Pair>(seed: u64, profile: u64, operations: u64) {
    let mut pair = P::new(seed, profile);
    // Checks cost as much as the value is large: ever fewer of them.
    let mut next_check = 1;
    for operation in 0..operations {
        pair.step();
        if operation == next_check {
            pair.check();
            next_check += 1 + next_check / 2;
        }
    }
    pair.check();
    drop(pair);
    while super::collect(&mut { 1000 }) {}
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run_long<P: Pair>() {
    let (seed, operations) = (environment("TORC_LARGE_SEED", 1), environment("TORC_LARGE_OPERATIONS", 40_000));
    for profile in 0..4 {
        run::<P>(seed, profile, operations / 4);
    }
}

/// Bytes of a length, which differ by number.
fn text(number: u64, length: usize) -> Vec<u8> {
    let mut text = number.to_string().into_bytes();
    text.resize(length.max(text.len()), b'.');
    text
}
