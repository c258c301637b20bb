//! A consumer group: how far it has been told of the stream, and what its consumers have not acknowledged.

use super::{MAP_ENTRY_BYTES, StreamId};
use crate::values::large::{IdTree, discard_each};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of an ID, the time of delivery, the number of deliveries and the consumer.
const PENDING_BYTES: usize = StreamId::BYTES + 8 + 8 + 4;

/// A consumer, as its group numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerNumber(u32);

impl ConsumerNumber {
    /// Stands for none.
    const NONE: u32 = u32::MAX;
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who has it; none once it was given back.
    pub consumer: Option<ConsumerNumber>,
    /// When it was delivered last.
    pub delivered_at: i64,
    /// How often.
    pub deliveries: u64,
}

impl Pending {
    fn to_record(self, id: StreamId) -> [u8; PENDING_BYTES] {
        let mut record = [0; PENDING_BYTES];
        record[..16].copy_from_slice(&id.to_bytes());
        record[16..24].copy_from_slice(&self.delivered_at.to_le_bytes());
        record[24..32].copy_from_slice(&self.deliveries.to_le_bytes());
        let consumer = self.consumer.map_or(ConsumerNumber::NONE, |consumer| consumer.0);
        record[32..].copy_from_slice(&consumer.to_le_bytes());
        record
    }

    fn of_record(record: &[u8; PENDING_BYTES]) -> Self {
        let word = |at: usize| *record[at..].first_chunk().expect("a record is whole");
        let consumer = u32::from_le_bytes(*record.last_chunk().expect("a record is whole"));
        Self {
            consumer: (consumer != ConsumerNumber::NONE).then_some(ConsumerNumber(consumer)),
            delivered_at: i64::from_le_bytes(word(16)),
            deliveries: u64::from_le_bytes(word(24)),
        }
    }

    /// How often it was delivered with one time more. Clients and logs count in 63 bits.
    pub fn deliveries_with_this(&self) -> u64 {
        self.deliveries.saturating_add(1).min(i64::MAX as u64)
    }

    /// How long ago it was delivered, in ms: not less than nothing.
    pub fn idle_ms(&self, now: i64) -> i64 {
        now.saturating_sub(self.delivered_at).max(0)
    }
}

/// A consumer of a group.
#[derive(Clone)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it was last heard of.
    pub seen_at: i64,
    /// When it was last given an entry; none if never.
    pub active_at: Option<i64>,
    held: IdTree<{ StreamId::BYTES }>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn held_count(&self) -> u64 {
        self.held.len()
    }

    fn bytes(&self) -> usize {
        MAP_ENTRY_BYTES + size_of::<Self>() + self.name.len() + self.held.bytes()
    }
}

/// A count of entries, if it is one. Numbers of a stream that came from elsewhere may make it anything; below 0 is how files and
/// commands say that it is not known.
fn counted(entries_read: Option<i64>) -> Option<i64> {
    entries_read.filter(|count| *count >= 0)
}

/// A consumer group.
#[derive(Clone)]
pub struct Group {
    last_id: StreamId,
    entries_read: Option<i64>,
    pending: IdTree<PENDING_BYTES>,
    /// By their numbers; a number that is free again has none.
    consumers: Vec<Option<Arc<Consumer>>>,
    free: Vec<ConsumerNumber>,
    names: BTreeMap<Arc<[u8]>, ConsumerNumber>,
    /// Of all consumers.
    consumers_bytes: usize,
}

impl Group {
    /// A group that has been told of the stream up to an ID, and of so many entries, if that is known.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Self {
        Self {
            last_id,
            entries_read: counted(entries_read),
            pending: IdTree::default(),
            consumers: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            consumers_bytes: 0,
        }
    }

    /// Up to where it has been told of the stream.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// How many entries were ever added up to there, if that is known.
    pub fn entries_read(&self) -> Option<i64> {
        self.entries_read
    }

    /// Sets both.
    pub fn set_position(&mut self, last_id: StreamId, entries_read: Option<i64>) {
        self.last_id = last_id;
        self.entries_read = counted(entries_read);
    }

    /// Bytes of heap, what views share included.
    pub fn bytes(&self) -> usize {
        self.pending.bytes() + self.consumers_bytes
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerNumber, &Consumer)> {
        self.names.values().filter_map(|&number| Some((number, self.consumer(number)?)))
    }

    /// How many consumers there are.
    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// The consumer of a name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.names.get(name).copied()
    }

    /// The consumer of a number.
    pub fn consumer(&self, number: ConsumerNumber) -> Option<&Consumer> {
        self.consumers.get(number.0 as usize)?.as_deref()
    }

    /// The name of who has an entry; empty if nobody does.
    pub fn name_of(&self, consumer: Option<ConsumerNumber>) -> &[u8] {
        consumer.and_then(|number| self.consumer(number)).map_or(&[], Consumer::name)
    }

    /// Adds a consumer; none if there is one of that name.
    pub fn add_consumer(&mut self, name: &[u8], now: i64) -> Option<ConsumerNumber> {
        if self.names.contains_key(name) {
            return None;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.consumers.push(None);
                ConsumerNumber((self.consumers.len() - 1) as u32)
            }
        };
        let name: Arc<[u8]> = name.into();
        let consumer =
            Arc::new(Consumer { name: name.clone(), seen_at: now, active_at: None, held: IdTree::default() });
        self.consumers_bytes += consumer.bytes();
        self.consumers[number.0 as usize] = Some(consumer);
        self.names.insert(name, number);
        Some(number)
    }

    /// Removes a consumer with what it has not acknowledged, which was so many entries; none if there is no such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<u64> {
        let number = self.names.remove(name)?;
        let consumer = self.consumers[number.0 as usize].take()?;
        self.free.push(number);
        self.consumers_bytes -= consumer.bytes();
        for (id, _) in consumer.held.iter_from(StreamId::MIN) {
            self.pending.remove(id);
        }
        Some(consumer.held.len())
    }

    /// Notes that a consumer was heard of, who is added if need be; the number, and whether there was none of that name.
    pub fn see_consumer(&mut self, name: &[u8], now: i64) -> Option<(ConsumerNumber, bool)> {
        let Some(number) = self.find_consumer(name) else { return Some((self.add_consumer(name, now)?, true)) };
        self.change_consumer(number, |consumer| consumer.seen_at = now);
        Some((number, false))
    }

    /// Notes that a consumer was given an entry; none if that was never so.
    pub fn note_active(&mut self, number: ConsumerNumber, at: Option<i64>) {
        self.change_consumer(number, |consumer| consumer.active_at = at);
    }

    fn change_consumer(&mut self, number: ConsumerNumber, change: impl FnOnce(&mut Consumer)) {
        let Some(Some(consumer)) = self.consumers.get_mut(number.0 as usize) else { return };
        let consumer = Arc::make_mut(consumer);
        let before = consumer.bytes();
        change(consumer);
        self.consumers_bytes = self.consumers_bytes + consumer.bytes() - before;
    }

    /// How many entries are pending.
    pub fn pending_count(&self) -> u64 {
        self.pending.len()
    }

    /// The lowest and the highest ID that is pending.
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        Some((self.pending.first()?, self.pending.last()?))
    }

    /// What is known of an entry, if it is pending.
    #[inline]
    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(id).map(Pending::of_record)
    }

    /// The pending entries from an ID on.
    pub fn pending_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, Pending)> {
        self.pending.iter_from(id).map(|(id, record)| (id, Pending::of_record(record)))
    }

    /// Those of one consumer.
    pub fn held_from(&self, consumer: ConsumerNumber, id: StreamId) -> impl Iterator<Item = (StreamId, Pending)> {
        let held = self.consumer(consumer).map(|consumer| consumer.held.iter_from(id));
        held.into_iter().flatten().filter_map(|(id, _)| Some((id, self.pending(id)?)))
    }

    /// Makes an entry pending, or changes what is known of it: who has it, too.
    pub fn set_pending(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending(id).and_then(|before| before.consumer);
        if before != pending.consumer {
            self.unlink(before, id);
            if let Some(number) = pending.consumer {
                self.change_consumer(number, |consumer| {
                    consumer.held.insert(&id.to_bytes());
                });
            }
        }
        self.pending.insert(&pending.to_record(id));
    }

    /// Takes an entry off the pending ones; whether it was one.
    pub fn release(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending(id) else { return false };
        self.unlink(pending.consumer, id);
        self.pending.remove(id)
    }

    fn unlink(&mut self, consumer: Option<ConsumerNumber>, id: StreamId) {
        if let Some(number) = consumer {
            self.change_consumer(number, |consumer| {
                consumer.held.remove(id);
            });
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.consumers), size_of::<Consumer>());
        discard_each(std::mem::take(&mut self.names), 0);
    }
}

#[cfg(test)]
impl Consumer {
    pub(super) fn shared_name(&self) -> &Arc<[u8]> {
        &self.name
    }
}

#[cfg(test)]
impl Group {
    /// Checks that consumers hold what is theirs, and that bytes are counted right.
    pub(in crate::values) fn audit(&self) {
        self.pending.audit();
        let mut bytes = 0;
        let mut held = 0;
        for (number, consumer) in self.consumers() {
            consumer.held.audit();
            bytes += consumer.bytes();
            held += consumer.held_count();
            for (id, _) in consumer.held.iter_from(StreamId::MIN) {
                assert_eq!(self.pending(id).and_then(|pending| pending.consumer), Some(number));
            }
        }
        assert_eq!(self.consumers_bytes, bytes);
        let owned = self.pending_from(StreamId::MIN).filter(|(_, pending)| pending.consumer.is_some());
        assert_eq!(owned.count() as u64, held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_below_zero_is_not_known() {
        let mut group = Group::new(StreamId::default(), Some(-7));
        assert_eq!(group.entries_read(), None);
        group.set_position(StreamId::default(), Some(3));
        assert_eq!(group.entries_read(), Some(3));
        group.set_position(StreamId::default(), Some(i64::MIN));
        assert_eq!(group.entries_read(), None);
    }
}
