//! The clock that commands are measured with: monotonic, without a system call. Where the processor's counter runs at one speed it is
//! read as it is, which takes a third of the kernel's way of telling the time; elsewhere that way is taken.

use std::sync::LazyLock;

/// The clock, and what it said at first.
static CLOCK: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
    let clock = quanta::Clock::new();
    let first = clock.raw();
    (clock, first)
});

/// Learns how fast the counter runs: half a millisecond, or up to 200 while the machine is busy. So it is done before anybody is
/// served.
pub fn start() {
    LazyLock::force(&CLOCK);
}

/// Nanoseconds since [`start`].
#[inline]
pub fn now_ns() -> u64 {
    let (clock, first) = &*CLOCK;
    clock.delta_as_nanos(*first, clock.raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn time_goes_on_as_elsewhere() {
        let (began, before_ns) = (Instant::now(), now_ns());
        std::thread::sleep(Duration::from_millis(20));
        let within_ns = now_ns() - before_ns;
        let around_ns = began.elapsed().as_nanos() as u64;
        // What lies within another measurement is no longer than it, but for what the speed of the counter is off.
        assert!(within_ns >= 19_000_000, "{within_ns}");
        assert!(within_ns <= around_ns + around_ns / 100 + 1_000_000, "{within_ns} of {around_ns}");
    }
}
