//! What producers have added of late, so that what they send twice is added once.
//!
//! Each producer has up to `count_max` of the names that it gave its entries, for `duration_ms` each; the oldest go first.

use super::{MAP_ENTRY_BYTES, StreamId};
use crate::values::large::discard_each;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// For how long names are kept, and how many of each producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// In seconds.
    pub duration_s: u32,
    /// Of each producer.
    pub count_max: u32,
}

impl Default for IdempotencyLimits {
    fn default() -> Self {
        Self { duration_s: 100, count_max: 100 }
    }
}

/// An entry that a producer has added before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(pub StreamId);

#[derive(Clone, Default)]
struct Producer {
    /// By their names: the entries, and when the names are forgotten.
    entries: BTreeMap<Arc<[u8]>, (StreamId, i64)>,
    /// Names in the order in which they came, with the same times.
    order: VecDeque<(i64, Arc<[u8]>)>,
}

impl Producer {
    /// Forgets the oldest name; what it took.
    fn forget_first(&mut self) -> usize {
        let Some((_, name)) = self.order.pop_front() else { return 0 };
        self.entries.remove(&name);
        name_bytes(&name)
    }

    fn forget_due(&mut self, now: i64) -> usize {
        let mut freed = 0;
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            freed += self.forget_first();
        }
        freed
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.entries), 0);
        discard_each(std::mem::take(&mut self.order), 0);
    }
}

fn name_bytes(name: &[u8]) -> usize {
    2 * MAP_ENTRY_BYTES + name.len()
}

fn producer_bytes(name: &[u8]) -> usize {
    MAP_ENTRY_BYTES + size_of::<Producer>() + name.len()
}

/// The producers of a stream.
#[derive(Clone, Default)]
pub struct Idempotency {
    limits: IdempotencyLimits,
    producers: BTreeMap<Arc<[u8]>, Arc<Producer>>,
    bytes: usize,
    /// Entries that were added with a name.
    pub added: u64,
    /// Entries that were not, being there already.
    pub duplicates: u64,
}

impl Idempotency {
    /// The limits.
    pub fn limits(&self) -> IdempotencyLimits {
        self.limits
    }

    /// Sets other limits, and then forgets all producers.
    pub fn set_limits(&mut self, limits: IdempotencyLimits) {
        if limits != self.limits {
            self.limits = limits;
            discard_each(std::mem::take(&mut self.producers), 0);
            self.bytes = 0;
        }
    }

    /// Bytes of heap, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    /// Each producer with the names that it gave entries, oldest first, and the entries.
    pub fn producers(
        &self,
    ) -> impl ExactSizeIterator<Item = (&[u8], impl ExactSizeIterator<Item = (&[u8], StreamId)>)> {
        self.producers.iter().map(|(name, producer)| {
            let entries = producer.order.iter().map(|(_, name)| {
                let id = producer.entries.get(name).map_or(StreamId::MIN, |(id, _)| *id);
                (&**name, id)
            });
            (&**name, entries)
        })
    }

    /// Whether it says more than that nobody has used it.
    pub fn is_of_note(&self) -> bool {
        !self.producers.is_empty()
            || self.added > 0
            || self.duplicates > 0
            || self.limits != IdempotencyLimits::default()
    }

    /// How many producers are known.
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// How many names are known.
    pub fn name_count(&self) -> usize {
        self.producers.values().map(|producer| producer.entries.len()).sum()
    }

    /// The entry that a producer has added under a name.
    pub fn find(&self, producer: &[u8], name: &[u8], now: i64) -> Option<Seen> {
        let (id, until) = *self.producers.get(producer)?.entries.get(name)?;
        (until > now).then_some(Seen(id))
    }

    /// Notes that a producer has added an entry under a name.
    pub fn note(&mut self, producer: &[u8], name: &[u8], id: StreamId, now: i64) {
        if !self.producers.contains_key(producer) {
            self.bytes += producer_bytes(producer);
        }
        let known = Arc::make_mut(self.producers.entry(producer.into()).or_default());
        let mut freed = known.forget_due(now);
        // A file may say that none are kept.
        while known.order.len() >= (self.limits.count_max as usize).max(1) {
            freed += known.forget_first();
        }
        if known.entries.contains_key(name) {
            // Recorded anew, by a log.
            known.order.retain(|(_, other)| &**other != name);
            freed += name_bytes(name);
        }
        let name: Arc<[u8]> = name.into();
        self.bytes = self.bytes + name_bytes(&name) - freed;
        let until = now.saturating_add(i64::from(self.limits.duration_s) * 1000);
        known.order.push_back((until, name.clone()));
        known.entries.insert(name, (id, until));
    }

    /// Forgets what is due of some producer or other, so that those who went away take no memory for ever.
    pub fn forget_due(&mut self, now: i64) {
        const PRODUCERS_MAX: usize = 4;
        let due =
            self.producers.iter().filter(|(_, producer)| producer.order.front().is_some_and(|(at, _)| *at <= now));
        let due: Vec<Arc<[u8]>> = due.take(PRODUCERS_MAX).map(|(name, _)| name.clone()).collect();
        for name in due {
            let Some(producer) = self.producers.get_mut(&name) else { continue };
            self.bytes -= Arc::make_mut(producer).forget_due(now);
            if producer.order.is_empty() {
                self.producers.remove(&name);
                self.bytes -= producer_bytes(&name);
            }
        }
    }
}

impl Drop for Idempotency {
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.producers), 0);
    }
}

#[cfg(test)]
impl Idempotency {
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.producers.values().flat_map(|producer| producer.entries.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_forgotten_by_time_and_by_number() {
        let mut producers = Idempotency::default();
        producers.set_limits(IdempotencyLimits { duration_s: 10, count_max: 3 });
        for number in 1..=4_u64 {
            producers.note(b"p", number.to_string().as_bytes(), StreamId::new(number, 0), 1000 * number as i64);
        }
        producers.note(b"q", b"1", StreamId::new(9, 0), 5000);
        assert_eq!((producers.producer_count(), producers.name_count()), (2, 4));
        assert_eq!(producers.find(b"p", b"1", 5000), None, "one too many");
        assert_eq!(producers.find(b"p", b"2", 5000), Some(Seen(StreamId::new(2, 0))));
        assert_eq!(producers.find(b"q", b"1", 5000), Some(Seen(StreamId::new(9, 0))));
        assert_eq!(producers.find(b"p", b"2", 12_000), None, "too old");
        producers.forget_due(14_000);
        assert_eq!((producers.producer_count(), producers.name_count()), (1, 1));
        producers.forget_due(100_000);
        assert_eq!((producers.producer_count(), producers.bytes), (0, 0));
    }
}
