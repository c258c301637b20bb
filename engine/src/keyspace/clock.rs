//! The 24 bits of access clock that each entry carries, read by eviction, `OBJECT IDLETIME` and `OBJECT FREQ`.
//!
//! * Recency (LRU policies): seconds of the last access, modulo 2^24 (194 days).
//! * Modification (LRM policies): the same of the last change.
//! * Frequency (LFU policies): 16 bits of minutes of the last decay, then 8 bits of a logarithmic counter, as the Redis
//!   documentation ("Key eviction", the LFU mode) describes it: the counter rises with a probability that falls as it
//!   grows, and falls by one for each decay period without an access.

use crate::command::Milliseconds;

const CLOCK_MASK: u32 = 0xff_ffff;

/// The counter of a new key, so that it is not evicted before it had a chance.
const COUNTER_INITIAL: u8 = 5;

/// What the access clock of entries means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessPolicy {
    /// Time of the last access.
    #[default]
    Recency,
    /// Time of the last change (LRM policies): reads leave it alone.
    Modification,
    /// How often it is accessed.
    Frequency {
        /// `lfu-log-factor`: the higher, the slower the counter saturates.
        log_factor: u32,
        /// `lfu-decay-time`: minutes after which the counter falls by one; 0 never.
        decay_minutes: u32,
    },
}

fn seconds(now: Milliseconds) -> u32 {
    now.div_euclid(1000) as u32 & CLOCK_MASK
}

fn minutes(now: Milliseconds) -> u16 {
    now.div_euclid(60_000) as u16
}

/// Seconds since the access that a recency clock tells of.
pub(super) fn idle_seconds(clock: u32, now: Milliseconds) -> u64 {
    (seconds(now).wrapping_sub(clock) & CLOCK_MASK) as u64
}

/// The second since the epoch of the access that a recency clock tells of.
pub(super) fn last_access_second(clock: u32, now: Milliseconds) -> u64 {
    (now.max(0) as u64 / 1000).saturating_sub(idle_seconds(clock, now))
}

impl AccessPolicy {
    /// The clock of a key that is written for the first time.
    #[inline]
    pub(super) fn fresh(self, now: Milliseconds) -> u32 {
        match self {
            Self::Recency | Self::Modification => seconds(now),
            Self::Frequency { .. } => (minutes(now) as u32) << 8 | COUNTER_INITIAL as u32,
        }
    }

    /// The clock of a key that was used as is told here, as far as that is what it tells.
    pub(super) fn told(self, idle_s: Option<u64>, frequency: Option<u8>, now: Milliseconds) -> Option<u32> {
        match self {
            Self::Recency | Self::Modification => {
                idle_s.map(|idle| seconds(now).wrapping_sub(idle.min(u64::from(CLOCK_MASK)) as u32) & CLOCK_MASK)
            }
            Self::Frequency { .. } => frequency.map(|counter| (minutes(now) as u32) << 8 | u32::from(counter)),
        }
    }

    /// The clock after one more read.
    #[inline]
    pub(super) fn read(self, clock: u32, now: Milliseconds, random: &mut fastrand::Rng) -> u32 {
        if self == Self::Modification { clock } else { self.touched(clock, now, random) }
    }

    /// The clock after one more change.
    #[inline]
    pub(super) fn touched(self, clock: u32, now: Milliseconds, random: &mut fastrand::Rng) -> u32 {
        let Self::Frequency { log_factor, .. } = self else { return seconds(now) };
        let mut counter = self.counter(clock, now);
        let above = counter.saturating_sub(COUNTER_INITIAL) as u64;
        let one_in = above * log_factor as u64 + 1;
        if counter < u8::MAX && random.u64(..one_in) == 0 {
            counter += 1;
        }
        (minutes(now) as u32) << 8 | counter as u32
    }

    /// The counter of a frequency clock, decayed until now.
    pub(super) fn counter(self, clock: u32, now: Milliseconds) -> u8 {
        let counter = clock as u8;
        let Self::Frequency { decay_minutes: decay_minutes @ 1.., .. } = self else { return counter };
        let periods = u32::from(minutes(now).wrapping_sub((clock >> 8) as u16)) / decay_minutes;
        counter.saturating_sub(periods.min(u32::from(u8::MAX)) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_wrap() {
        let clock = AccessPolicy::Recency.fresh(0xff_fff0 * 1000);
        assert_eq!(idle_seconds(clock, 0xff_fff0 * 1000 + 999), 0);
        assert_eq!(idle_seconds(clock, 0x100_0010 * 1000), 32);
    }

    #[test]
    fn the_counter_rises_slower_and_slower_and_decays() {
        let mut random = fastrand::Rng::with_seed(1);
        let policy = AccessPolicy::Frequency { log_factor: 10, decay_minutes: 1 };
        let mut clock = policy.fresh(0);
        assert_eq!(policy.counter(clock, 0), COUNTER_INITIAL);
        let mut after = [0u8; 3];
        for accesses in 1..=100_000 {
            clock = policy.touched(clock, 0, &mut random);
            match accesses {
                100 => after[0] = policy.counter(clock, 0),
                10_000 => after[1] = policy.counter(clock, 0),
                100_000 => after[2] = policy.counter(clock, 0),
                _ => {}
            }
        }
        // The documentation's table for factor 10: 10, 18 (1,000), 142 (100,000) within chance.
        assert!((6..20).contains(&after[0]) && after[0] < after[1] && after[1] < after[2], "{after:?}");
        assert!((110..180).contains(&after[2]), "{after:?}");
        assert_eq!(policy.counter(clock, 3 * 60_000), after[2] - 3);
        assert_eq!(policy.counter(clock, 10_000 * 60_000), 0);
    }
}
