//! Hit ratios of a read-through cache in virtual time: eviction beside a model of the real server's.
//!
//! ```text
//!   one trace (keys by Zipf's law) ──┬──> a keyspace that holds so many keys      hits / reads
//!                                    └──> the model, which holds as many          hits / reads
//! ```
//! The model draws `maxmemory-samples` random keys for each that goes, offers them to a pool of the 16 best, and removes the
//! best one of the pool that is still there, as the documentation of the real server says.

use super::{Access, AccessPolicy, Eviction, EvictionOrder, EvictionPolicy, Expiry, KeyHasher, Keyspace};
use crate::command::Milliseconds;

const NOW: Milliseconds = 1_700_000_000_000;
const KEYS: usize = 40_000;
const FITTING: usize = 4_000;
const SAMPLES: usize = 5;

/// What is read, and when.
#[derive(Clone, Copy, Debug)]
struct Trace {
    reads: usize,
    reads_per_second: usize,
    /// After so many reads quite other keys are popular; 0 never.
    shift_reads: usize,
    /// All keys belong to so many slots; 0 is all slots.
    slots: usize,
}

impl Trace {
    fn name(self, key: usize) -> String {
        if self.slots == 0 { format!("{key}") } else { format!("{{{}}}{key}", key % self.slots) }
    }
}

trait Cache {
    /// Whether the key is there.
    fn read(&mut self, key: usize, now: Milliseconds) -> bool;
    /// Adds it, and lets others go.
    fn write(&mut self, key: usize, now: Milliseconds);
}

struct Ours {
    keyspace: Keyspace,
    policy: EvictionPolicy,
    trace: Trace,
}

impl Cache for Ours {
    fn read(&mut self, key: usize, now: Milliseconds) -> bool {
        let name = self.trace.name(key);
        let key = self.keyspace.key(name.as_bytes());
        self.keyspace.find(0, &key, now, Access::Touch).is_some()
    }

    fn write(&mut self, key: usize, now: Milliseconds) {
        let name = self.trace.name(key);
        let key = self.keyspace.key(name.as_bytes());
        self.keyspace.set_string(0, &key, b"value", Expiry::Clear, now);
        while self.keyspace.len(0) > FITTING {
            assert_ne!(self.keyspace.evict(self.policy, now, |_| false), Eviction::Impossible);
        }
    }
}

struct Model {
    /// The clock of each key that is there.
    clocks: Vec<Option<u32>>,
    held: Vec<usize>,
    /// How idle, and which key.
    pool: Vec<(u64, usize)>,
    access: AccessPolicy,
    random: fastrand::Rng,
}

impl Model {
    fn idle(&self, clock: u32, now: Milliseconds) -> u64 {
        match self.access {
            AccessPolicy::Frequency { .. } => u64::from(u8::MAX - self.access.counter(clock, now)),
            _ => super::clock::idle_seconds(clock, now),
        }
    }

    fn evict(&mut self, now: Milliseconds) {
        for _ in 0..SAMPLES {
            let key = self.held[self.random.usize(..self.held.len())];
            let Some(clock) = self.clocks[key] else { continue };
            let idle = self.idle(clock, now);
            let at = self.pool.partition_point(|(other, _)| *other < idle);
            if self.pool.len() < 16 || at > 0 {
                self.pool.insert(at, (idle, key));
            }
            if self.pool.len() > 16 {
                self.pool.remove(0);
            }
        }
        while let Some((_, key)) = self.pool.pop() {
            if self.clocks[key].take().is_some() {
                self.held.retain(|other| *other != key);
                return;
            }
        }
    }
}

impl Cache for Model {
    fn read(&mut self, key: usize, now: Milliseconds) -> bool {
        let Some(clock) = &mut self.clocks[key] else { return false };
        *clock = self.access.touched(*clock, now, &mut self.random);
        true
    }

    fn write(&mut self, key: usize, now: Milliseconds) {
        self.clocks[key] = Some(self.access.fresh(now));
        self.held.push(key);
        while self.held.len() > FITTING {
            self.evict(now);
        }
    }
}

/// Hits in per cent of the reads behind the first fifth.
fn hit_ratio(trace: Trace, cache: &mut dyn Cache) -> f64 {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / (rank as f64).powf(0.9);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    let first_counted = trace.reads / 5;
    let mut hits = 0;
    for number in 0..trace.reads {
        let now = NOW + (number * 1000 / trace.reads_per_second) as i64;
        let chance = random.f64() * sum;
        let rank = sums.partition_point(|partial| *partial < chance);
        let shift = number.checked_div(trace.shift_reads).unwrap_or(0) * 401;
        let key = (rank * 7919 + shift) % KEYS;
        let is_hit = cache.read(key, now);
        if !is_hit {
            cache.write(key, now);
        }
        hits += usize::from(is_hit && number >= first_counted);
    }
    hits as f64 * 100.0 / (trace.reads - first_counted) as f64
}

#[test]
fn hit_ratios_are_no_lower_than_those_of_the_real_servers_choice() {
    let slow = Trace { reads: 300_000, reads_per_second: 400, shift_reads: 40_000, slots: 0 };
    let traces = [
        slow,
        Trace { shift_reads: 0, ..slow },
        Trace { slots: 3, ..slow },
        Trace { slots: 3, shift_reads: 0, ..slow },
        // Keys live for about a second: nearly all candidates are equal.
        Trace { reads_per_second: 10_000, ..slow },
    ];
    let frequency = AccessPolicy::Frequency { log_factor: 10, decay_minutes: 1 };
    for (order, access, tolerance) in [
        (EvictionOrder::LeastRecent, AccessPolicy::Recency, 0.0),
        // What is left is chance: another seed gives as much more or less.
        (EvictionOrder::LeastFrequent, frequency, 0.15),
    ] {
        for trace in traces {
            let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
            keyspace.access_policy = access;
            let policy = EvictionPolicy { order, volatile_only: false, samples: SAMPLES };
            let ours = hit_ratio(trace, &mut Ours { keyspace, policy, trace });
            let (clocks, random) = (vec![None; KEYS], fastrand::Rng::with_seed(2));
            let model = hit_ratio(trace, &mut Model { clocks, held: Vec::new(), pool: Vec::new(), access, random });
            println!("{order:?}: {ours:.2} %, the model {model:.2} %: {trace:?}");
            assert!(ours + tolerance >= model, "{order:?}: {ours:.2} %, the model {model:.2} %: {trace:?}");
        }
    }
}
