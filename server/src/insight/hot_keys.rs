//! HOTKEYS: which keys commands spend the most time on, or send and receive the most bytes for.
//!
//! ```text
//!   START ──multicast──> each shard counts the keys that are its own    Tally: by key, bounded
//!   GET   ──multicast──> tallies of all shards, joined, the largest few
//! ```
//! * A key belongs to one shard, so no key is counted twice, and no shard looks at another's counts.
//! * A tally holds [`KEYS_MAX`] keys. When it is full the smaller half of them goes: a key that is hot comes back at once, and has
//!   lost less than what made it small. So counts of the largest are a little low at most, and a new key costs O(1) on average.
//! * With a sampling ratio of n one command in n is counted, n times: counts stay those of all commands.
//! * A command of several keys is shared out among them. One whose keys are on several shards is not counted.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Keys that a shard counts at once.
const KEYS_MAX: usize = 4096;
/// Bytes that are told of a key's name to who shows it.
const NAME_BYTES_MAX: usize = 1024;

/// What is to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotKeysSettings {
    /// Time.
    pub cpu: bool,
    /// Bytes.
    pub net: bool,
    /// Keys that GET shows of each.
    pub count: usize,
    /// One command in so many.
    pub ratio: u64,
    /// When it began, wall milliseconds.
    pub began_ms: i64,
    /// When it ends by itself, wall milliseconds.
    pub until_ms: i64,
}

impl HotKeysSettings {
    /// What makes a key hot.
    pub fn measure(&self, cost: &Cost) -> u64 {
        if self.cpu { cost.took_ns } else { cost.bytes }
    }
}

/// What a key has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time that commands on it took.
    pub took_ns: u64,
    /// Bytes of these and of their replies.
    pub bytes: u64,
}

impl Cost {
    /// And this.
    pub fn add(&mut self, other: Self) {
        self.took_ns += other.took_ns;
        self.bytes += other.bytes;
    }

    fn times(self, factor: u64) -> Self {
        Self { took_ns: self.took_ns * factor, bytes: self.bytes * factor }
    }

    fn shared_by(self, keys: u64) -> Self {
        Self { took_ns: self.took_ns / keys.max(1), bytes: self.bytes / keys.max(1) }
    }
}

/// The keys of a shard that have cost the most.
#[derive(Clone, Debug, Default)]
pub struct Costliest {
    /// What all commands of the shard have cost.
    pub all: Cost,
    /// A few of its keys, of long names the beginnings.
    pub keys: Vec<(Box<[u8]>, Cost)>,
}

/// One shard's counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What is counted.
    pub settings: HotKeysSettings,
    /// All commands, those without keys among them.
    pub all: Cost,
    by_key: HashMap<Box<[u8]>, Cost>,
    /// Commands until the next one that is counted by its keys.
    until_next: u64,
}

impl Tally {
    /// Nothing counted.
    pub fn new(settings: HotKeysSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// A command has run; whether its keys are to be counted.
    #[inline]
    pub fn begin(&mut self, cost: Cost) -> bool {
        self.all.add(cost);
        if self.until_next > 0 {
            self.until_next -= 1;
            return false;
        }
        self.until_next = self.settings.ratio.saturating_sub(1);
        true
    }

    /// Of a command on so many keys, this one's part.
    pub fn count(&mut self, key: &[u8], keys: u64, cost: Cost) {
        let cost = cost.times(self.settings.ratio.max(1)).shared_by(keys);
        if let Some(sum) = self.by_key.get_mut(key) {
            return sum.add(cost);
        }
        if self.by_key.len() >= KEYS_MAX {
            self.forget_half();
        }
        self.by_key.insert(key.into(), cost);
    }

    fn forget_half(&mut self) {
        let score = |cost: &Cost| cost.took_ns.max(cost.bytes);
        let mut scores: Vec<u64> = self.by_key.values().map(score).collect();
        let middle = scores.len() / 2;
        let (_, median, _) = scores.select_nth_unstable(middle);
        let (median, mut equals) = (*median, KEYS_MAX / 2);
        self.by_key.retain(|_, cost| {
            // Of those that are just as large some go, or nothing might.
            let is_equal = score(cost) == median && equals > 0;
            equals -= usize::from(is_equal);
            score(cost) > median || (score(cost) == median && !is_equal)
        });
    }

    /// And these.
    pub fn join(&mut self, other: Self) {
        self.all.add(other.all);
        for (key, cost) in other.by_key {
            self.by_key.entry(key).or_default().add(cost);
        }
    }

    /// The costliest few, in no order: by time where that is counted, else by bytes.
    pub fn costliest(&self, count: usize) -> Costliest {
        let mut keys: Vec<(&Box<[u8]>, Cost)> = self.by_key.iter().map(|(key, cost)| (key, *cost)).collect();
        if keys.len() > count {
            keys.select_nth_unstable_by_key(count, |(_, cost)| Reverse(self.settings.measure(cost)));
            keys.truncate(count);
        }
        let name = |key: &[u8]| Box::from(&key[..key.len().min(NAME_BYTES_MAX)]);
        Costliest { all: self.all, keys: keys.into_iter().map(|(key, cost)| (name(key), cost)).collect() }
    }

    /// The largest few by a measure, the largest first; those that have nothing of it are left out.
    pub fn largest(&self, measure: impl Fn(&Cost) -> u64) -> Vec<(&[u8], u64)> {
        let mut all: Vec<(&[u8], u64)> =
            self.by_key.iter().map(|(key, cost)| (&**key, measure(cost))).filter(|(_, cost)| *cost > 0).collect();
        all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        all.truncate(self.settings.count);
        all
    }
}

/// A session that has been begun, whether it is over or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct HotKeysSession {
    /// What is counted.
    pub settings: HotKeysSettings,
    /// When it was ended, wall milliseconds.
    pub ended_ms: Option<i64>,
    /// Processor time of the process when it began, in user mode and in the kernel, and when it was ended, in milliseconds.
    pub cpu_ms: [[u64; 2]; 2],
}

impl HotKeysSession {
    /// Whether it goes on.
    pub fn is_active(&self, now_ms: i64) -> bool {
        self.ended_ms.is_none() && now_ms < self.settings.until_ms
    }

    /// How long it has been going on, or was, in milliseconds.
    pub fn duration_ms(&self, now_ms: i64) -> i64 {
        let end_ms = self.ended_ms.unwrap_or(now_ms).min(self.settings.until_ms);
        (end_ms - self.settings.began_ms).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ratio: u64) -> Tally {
        Tally::new(HotKeysSettings { cpu: true, net: true, count: 3, ratio, began_ms: 0, until_ms: i64::MAX })
    }

    #[test]
    fn the_hot_keys_of_many_are_found_and_the_tally_has_a_bound() {
        let mut tally = tally(1);
        for round in 0..200_000_u64 {
            let (hot, cold) = (format!("hot{}", round % 3), format!("cold{round}"));
            for key in [hot, cold] {
                let cost = Cost { took_ns: 100, bytes: 10 };
                assert!(tally.begin(cost));
                tally.count(key.as_bytes(), 1, cost);
            }
            assert!(tally.by_key.len() <= KEYS_MAX);
        }
        let mut names: Vec<&[u8]> = tally.largest(|cost| cost.bytes).into_iter().map(|(key, _)| key).collect();
        names.sort_unstable();
        assert_eq!(names, [b"hot0", b"hot1", b"hot2"]);
        assert_eq!(tally.all, Cost { took_ns: 40_000_000, bytes: 4_000_000 });
    }

    #[test]
    fn the_costliest_are_by_time_where_that_is_counted() {
        let mut tally = tally(1);
        for (key, took_ns, bytes) in [("slow", 900, 1), ("large", 1, 900), ("neither", 2, 2)] {
            let cost = Cost { took_ns, bytes };
            tally.begin(cost);
            tally.count(key.as_bytes(), 1, cost);
        }
        let names = |tally: &Tally, count| {
            let mut names: Vec<_> = tally.costliest(count).keys.into_iter().map(|(key, _)| key).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&tally, 1), [Box::from(b"slow".as_slice())]);
        assert_eq!(names(&tally, 9).len(), 3);
        assert_eq!(tally.costliest(1).all, Cost { took_ns: 903, bytes: 903 });
        tally.settings.cpu = false;
        assert_eq!(names(&tally, 1), [Box::from(b"large".as_slice())]);
    }

    #[test]
    fn samples_stand_for_all_and_keys_share_a_command() {
        let mut tally = tally(10);
        let cost = Cost { took_ns: 100, bytes: 10 };
        for _ in 0..1000 {
            if tally.begin(cost) {
                tally.count(b"a", 2, cost);
                tally.count(b"b", 2, cost);
            }
        }
        let mut other = Tally::new(tally.settings);
        other.begin(cost);
        other.count(b"c", 1, Cost { took_ns: 10_000, bytes: 0 });
        tally.join(other);
        assert_eq!(tally.largest(|cost| cost.took_ns), [(b"c".as_slice(), 100_000), (b"a", 50_000), (b"b", 50_000)]);
        assert_eq!(tally.largest(|cost| cost.bytes).len(), 2);
    }

    #[test]
    fn a_session_ends_by_itself() {
        let settings = HotKeysSettings { began_ms: 1000, until_ms: 3000, ..HotKeysSettings::default() };
        let session = HotKeysSession { settings, ..HotKeysSession::default() };
        assert!(session.is_active(2999) && !session.is_active(3000));
        assert_eq!((session.duration_ms(2500), session.duration_ms(9000)), (1500, 2000));
    }
}
