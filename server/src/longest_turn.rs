//! The longest turn of a shard: what a client may have to wait for that comes in the middle of it. And how many turns there were,
//! and what all of them took.
//!
//! ```text
//!   turns        |--|-|---|--|-------------|--|-|-
//!   looks        x       x   x             x    x       at the begin of a turn, 0.5 ms after the last one at the earliest
//!   CPU time          a    b        c         d         the longest of them: the longest turn, by 0.5 ms too much at the most
//! ```
//! It is the thread's CPU time that is looked at: a core that the kernel or a hypervisor takes away in the middle of a turn makes
//! clients wait as well, but is not the server's doing. A look is a system call, some 0.2 us, so turns that are short share one.

/// Turns are not told apart within such a time.
const LOOK_NS: u64 = 500_000;

/// The most CPU time of a turn.
#[derive(Debug, Default)]
pub struct LongestTurn {
    /// When the clock was last looked at, and the CPU time that it showed.
    last: Option<(u64, u64)>,
    longest_ns: u64,
    /// Turns, and the CPU time between the first look and the last.
    turns: u64,
    spent_ns: u64,
}

impl LongestTurn {
    /// A turn begins; `cpu_ns` gives the thread's CPU time.
    #[inline]
    pub fn begin_turn(&mut self, now_ns: u64, cpu_ns: impl FnOnce() -> u64) {
        self.turns += 1;
        let is_due = self.last.is_none_or(|(looked_ns, _)| now_ns.saturating_sub(looked_ns) >= LOOK_NS);
        if is_due {
            self.look(now_ns, cpu_ns());
        }
    }

    fn look(&mut self, now_ns: u64, cpu_ns: u64) {
        if let Some((_, before_ns)) = self.last.replace((now_ns, cpu_ns)) {
            let spent_ns = cpu_ns.saturating_sub(before_ns);
            self.longest_ns = self.longest_ns.max(spent_ns);
            self.spent_ns += spent_ns;
        }
    }

    /// How many turns there were, and the CPU time that they took, in nanoseconds; without those of the last half of a millisecond.
    pub fn all(&self) -> [u64; 2] {
        [self.turns, self.spent_ns]
    }

    /// The longest turn, in nanoseconds of CPU time; up to 0.5 ms of others may be in it.
    pub fn ns(&self) -> u64 {
        self.longest_ns
    }

    /// CONFIG RESETSTAT. The turn that asks for it does not count.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_is_seen_and_short_ones_are_no_longer_than_a_look() {
        let (mut longest, mut now_ns, mut cpu_ns) = (LongestTurn::default(), 0, 0);
        let mut turn = |longest: &mut LongestTurn, wall_ns: u64, busy_ns: u64| {
            longest.begin_turn(now_ns, || cpu_ns);
            (now_ns, cpu_ns) = (now_ns + wall_ns, cpu_ns + busy_ns);
        };
        (0..10_000).for_each(|_| turn(&mut longest, 20_000, 20_000));
        assert!((LOOK_NS..2 * LOOK_NS).contains(&longest.ns()), "{longest:?}");
        let [turns, spent_ns] = longest.all();
        assert_eq!(turns, 10_000);
        assert!((200_000_000 - LOOK_NS..=200_000_000).contains(&spent_ns), "{longest:?}");
        // A core that is taken away is not a long turn.
        turn(&mut longest, 50_000_000, 300_000);
        turn(&mut longest, 20_000, 20_000);
        assert!(longest.ns() < 2 * LOOK_NS, "{longest:?}");
        turn(&mut longest, 8_000_000, 7_000_000);
        turn(&mut longest, 20_000, 20_000);
        assert!((7_000_000..7_000_000 + LOOK_NS).contains(&longest.ns()), "{longest:?}");
        longest.reset();
        (0..100).for_each(|_| turn(&mut longest, 400_000, 400_000));
        assert!(longest.ns() < 2 * LOOK_NS, "{longest:?}");
    }
}
