//! Sessions that clients may come back to (`tls-session-caching`): the keys of a connection that was, for a shorter handshake of the
//! next one. Bounded in number and in time; the oldest goes first.

use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `tls-session-cache-size 0` is this many.
const COUNT_MAX: usize = 1 << 20;

/// Secrets: not shown.
#[derive(Default)]
struct Kept {
    by_name: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// Names by age, those that were taken up included.
    order: VecDeque<Vec<u8>>,
}

/// The cache of one acceptor.
pub(super) struct Sessions {
    kept: Mutex<Kept>,
    count_max: usize,
    lifetime: Duration,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count_max", &self.count_max).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(count_max: u32, lifetime_s: u32) -> Self {
        let count_max = if count_max == 0 { COUNT_MAX } else { (count_max as usize).min(COUNT_MAX) };
        Self { kept: Mutex::default(), count_max, lifetime: Duration::from_secs(u64::from(lifetime_s)) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_at(&self, now: Instant, name: Vec<u8>, session: Vec<u8>) {
        let mut kept = self.kept();
        while kept.order.len() >= self.count_max
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_name.remove(&oldest);
        }
        kept.order.push_back(name.clone());
        kept.by_name.insert(name, (now, session));
    }

    fn get_at(&self, now: Instant, name: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept();
        let (since, session) = kept.by_name.get(name)?;
        (now.duration_since(*since) < self.lifetime).then(|| session.clone())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(Instant::now(), key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_at(Instant::now(), key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.get_at(Instant::now(), key);
        self.kept().by_name.remove(key);
        found
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_in_number_and_time_and_taken_once() {
        let sessions = Sessions::new(3, 10);
        let now = Instant::now();
        for name in 0..5_u8 {
            sessions.put_at(now, vec![name], vec![name; 2]);
        }
        let there = |name: u8, after_s| sessions.get_at(now + Duration::from_secs(after_s), &[name]);
        assert_eq!([0, 1, 2, 3, 4].map(|name| there(name, 9).is_some()), [false, false, true, true, true]);
        assert_eq!(there(4, 10), None);
        assert_eq!(sessions.take(&[3]), Some(vec![3; 2]));
        assert_eq!((sessions.take(&[3]), sessions.get(&[3])), (None, None));
        for name in 5..50_u8 {
            sessions.put_at(now, vec![name], vec![]);
            let kept = sessions.kept();
            assert!(kept.order.len() <= 3 && kept.by_name.len() <= 3);
        }
    }
}
