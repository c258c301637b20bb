//! Failed authentications by address: whoever guesses passwords is heard less and less.
//!
//! ```text
//!   AUTH ── nobody has failed lately (one load) ──────────────────────────> the password is looked at
//!     └─ somebody has ──> lock ──> this address, as often as the limit says? ──> refused, and the connection ends
//!                                                   └─ no ──> the password is looked at ── wrong ──> lock ──> one more
//! ```
//! An address has a window, which begins with its first failure and is over so many seconds later, whatever it does meanwhile:
//! so nobody is kept out for longer than a window by others behind the same address. A password that is right does not set the
//! count back, or one who knows a password could guess others' for ever.
//!
//! All windows are of one length, so they end in the order in which they began: the oldest is the first of a queue, for who
//! forgets what is over and for who needs room.
//!
//! Invariants: a place of the queue is an address of the table and the other way round; there are [`ORIGINS_MAX`] at the most.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Addresses that are remembered, a few hundred kilobytes of them; the next one takes the place of the oldest.
const ORIGINS_MAX: usize = 4096;

/// Where somebody connects from, as far as that tells one from another: an address of IPv4, or a network of IPv6. Who has one
/// address of such a network has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An address, also where it is written as one of IPv6.
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl Origin {
    /// Of an address with a port, as CLIENT LIST shows it. None is what has no address.
    pub fn of(peer: &str) -> Option<Self> {
        let address: SocketAddr = peer.parse().ok()?;
        Some(match address.ip().to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::V4(bits) => std::net::Ipv4Addr::from_bits(bits).fmt(formatter),
            Self::V6(bits) => write!(formatter, "{}/64", std::net::Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

/// How much is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimit {
    /// `auth-failure-limit`: failures in a window; 0 is no limit.
    pub failures_max: u32,
    /// `auth-failure-window`, in milliseconds.
    pub window_ms: u64,
}

/// The window of an address.
#[derive(Clone, Copy, Debug)]
struct Window {
    began_ms: u64,
    failures: u32,
    /// Somebody has been told that the limit is reached.
    is_told: bool,
}

#[derive(Debug, Default)]
struct Table {
    windows: HashMap<Origin, Window>,
    by_age: VecDeque<Origin>,
}

impl Table {
    /// Forgets windows that are over.
    fn forget(&mut self, limit: AttemptLimit, now_ms: u64) {
        while let Some(oldest) = self.by_age.front()
            && self.windows[oldest].began_ms.saturating_add(limit.window_ms) <= now_ms
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.by_age.pop_front() {
            self.windows.remove(&oldest);
        }
    }
}

/// Those who have failed lately, over all shards. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Attempts {
    table: Mutex<Table>,
    /// How many addresses are in the table: without any, nobody takes the lock.
    count: AtomicUsize,
    refused: AtomicU64,
    refused_origins: AtomicU64,
}

impl Attempts {
    /// Held for moments only. A panic ends the process, so what was locked then is nobody's concern.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how many milliseconds an address is not listened to any more; none if it is.
    pub fn refuses(&self, origin: impl FnOnce() -> Option<Origin>, limit: AttemptLimit, now_ms: u64) -> Option<u64> {
        if limit.failures_max == 0 || self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let origin = origin()?;
        let mut table = self.table();
        table.forget(limit, now_ms);
        self.count.store(table.windows.len(), Ordering::Relaxed);
        let window = table.windows.get(&origin).filter(|window| window.failures >= limit.failures_max)?;
        self.refused.fetch_add(1, Ordering::Relaxed);
        Some(window.began_ms.saturating_add(limit.window_ms).saturating_sub(now_ms))
    }

    /// An address has failed once more. Gives the time until it is heard again where that has just become too often.
    pub fn note_failure(&self, origin: Origin, limit: AttemptLimit, now_ms: u64) -> Option<u64> {
        if limit.failures_max == 0 {
            return None;
        }
        let mut guard = self.table();
        let table = &mut *guard;
        table.forget(limit, now_ms);
        if !table.windows.contains_key(&origin) {
            if table.by_age.len() >= ORIGINS_MAX {
                table.forget_oldest();
            }
            table.by_age.push_back(origin);
        }
        let fresh = Window { began_ms: now_ms, failures: 0, is_told: false };
        let window = table.windows.entry(origin).or_insert(fresh);
        window.failures = window.failures.saturating_add(1);
        let is_news = window.failures >= limit.failures_max && !window.is_told;
        window.is_told |= is_news;
        let rest_ms = window.began_ms.saturating_add(limit.window_ms).saturating_sub(now_ms);
        self.count.store(table.windows.len(), Ordering::Relaxed);
        self.refused_origins.fetch_add(u64::from(is_news), Ordering::Relaxed);
        is_news.then_some(rest_ms)
    }

    /// How many authentications were refused unseen.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How often an address has reached the limit.
    pub fn refused_origins(&self) -> u64 {
        self.refused_origins.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT: the counts, not who is refused.
    pub fn reset_counts(&self) {
        self.refused.store(0, Ordering::Relaxed);
        self.refused_origins.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: AttemptLimit = AttemptLimit { failures_max: 3, window_ms: 1000 };

    fn v4(number: u32) -> Origin {
        Origin::V4(number)
    }

    fn refuses(attempts: &Attempts, origin: Origin, now_ms: u64) -> Option<u64> {
        attempts.refuses(|| Some(origin), LIMIT, now_ms)
    }

    #[test]
    fn addresses_and_networks() {
        let origin = |text: &str| Origin::of(text).expect("an address").to_string();
        for (peer, shown) in [
            ("192.0.2.7:80", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::9]:1", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(origin(peer), shown);
        }
        for peer in ["", "/tmp/socket:0", "192.0.2.7", "?:0"] {
            assert_eq!(Origin::of(peer), None, "{peer}");
        }
    }

    #[test]
    fn a_window_begins_with_the_first_failure_and_ends_by_itself() {
        let attempts = Attempts::default();
        assert_eq!(attempts.note_failure(v4(1), LIMIT, 0), None);
        assert_eq!(attempts.note_failure(v4(1), LIMIT, 600), None);
        assert_eq!(refuses(&attempts, v4(1), 600), None, "two are not three");
        assert_eq!(attempts.note_failure(v4(1), LIMIT, 700), Some(300), "told once");
        assert_eq!(attempts.note_failure(v4(1), LIMIT, 700), None, "another shard had looked before");
        assert_eq!(refuses(&attempts, v4(1), 700), Some(300));
        assert_eq!(refuses(&attempts, v4(1), 999), Some(1), "trying does not make it longer");
        assert_eq!(refuses(&attempts, v4(2), 999), None, "others are others");
        assert_eq!(refuses(&attempts, v4(1), 1000), None);
        assert_eq!((attempts.refused(), attempts.refused_origins()), (2, 1));
        assert_eq!(attempts.count.load(Ordering::Relaxed), 0, "nobody takes the lock any more");
        assert_eq!(attempts.note_failure(v4(1), LIMIT, 1000), None, "it begins anew");
    }

    #[test]
    fn a_limit_that_changes_holds_for_what_was_before() {
        let attempts = Attempts::default();
        (0..2).for_each(|_| assert_eq!(attempts.note_failure(v4(1), LIMIT, 0), None));
        let refuses = |limit| attempts.refuses(|| Some(v4(1)), limit, 10);
        assert_eq!(refuses(AttemptLimit { failures_max: 2, ..LIMIT }), Some(990));
        assert_eq!(refuses(AttemptLimit { failures_max: 0, ..LIMIT }), None);
        assert_eq!(refuses(AttemptLimit { failures_max: 2, window_ms: 10 }), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let attempts = Attempts::default();
        for _ in 0..3 {
            attempts.note_failure(v4(0), LIMIT, 0);
        }
        for number in 1..ORIGINS_MAX as u32 {
            attempts.note_failure(v4(number), LIMIT, 1);
        }
        assert!(refuses(&attempts, v4(0), 1).is_some(), "as many as there may be");
        attempts.note_failure(v4(u32::MAX), LIMIT, 1);
        assert_eq!(refuses(&attempts, v4(0), 1), None);
        let table = attempts.table();
        assert_eq!((table.windows.len(), table.by_age.len()), (ORIGINS_MAX, ORIGINS_MAX));
    }
}
