//! A stream: entries by ID, and what consumer groups and producers have been told of them.
//!
//! ```text
//!   Stream ── log ──> Log ── entries ──> StreamTree: the real server's nodes      cloned in O(1), copied per chunk
//!     │
//!     ├ groups, by name ──> Group ── pending ──> IdTree: ID, consumer, time and number of deliveries
//!     │                       └ consumers ──> Consumer ── held ──> IdTree: IDs
//!     └ idempotency ──> what each producer has added of late
//! ```
//!
//! * A pending entry is stored once, in its group's tree; a consumer holds IDs. Both are kept alike by [`Group`].
//! * The last ID never goes back; the highest deleted one and the number of entries ever added outlive the entries: they
//!   tell how far a group is behind ([`Log::lag`]).
//! * A stream is large at once: it is an [`Object`](super::Object) with its first entry. An empty one exists, its key stays.
//! * `bytes` is exact after each call, save for what maps take inside.
//! * Views may be held, and dropped, by other threads. Whoever is the last frees a huge stream in slices: trees, groups,
//!   consumers and names each go to the thread's pile.

mod group;
mod id;
mod idempotency;
mod trim;

pub use group::{Consumer, ConsumerNumber, Group, Pending};
pub use id::{IdText, StreamId};
pub use idempotency::{Idempotency, IdempotencyLimits, Seen};
pub use trim::{Pieces, References, Threshold, Trim, Trimmed, Trimming};

use super::Encodings;
use super::large::{Full, StreamTree, discard_each};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an entry of a map takes besides what it points at, about, in bytes.
const MAP_ENTRY_BYTES: usize = 40;

/// Why an entry is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its ID is not higher than all before.
    NotHigher,
    /// Its texts are longer than a node may be.
    TooLarge,
}

/// The ID that an entry is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// By the clock: `*`.
    Generated,
    /// Of this time, numbered: `ms-*`.
    Of(u64),
    /// Just this.
    Given(StreamId),
}

/// The entries of a stream, and what is known of those that went.
#[derive(Clone, Default)]
pub struct Log {
    entries: StreamTree,
    last_id: StreamId,
    deleted_id_max: StreamId,
    entries_added: u64,
}

/// A stream; cloning it gives a frozen view and copies no entries.
#[derive(Clone, Default)]
pub struct Stream {
    log: Log,
    groups: Arc<BTreeMap<Arc<[u8]>, Arc<Group>>>,
    /// Of all groups.
    groups_bytes: usize,
    idempotency: Option<Arc<Idempotency>>,
}

impl Log {
    /// The entries.
    #[inline]
    pub fn entries(&self) -> &StreamTree {
        &self.entries
    }

    /// The highest ID that an entry ever had.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The highest ID of an entry that was deleted (not trimmed).
    pub fn deleted_id_max(&self) -> StreamId {
        self.deleted_id_max
    }

    /// Number of entries ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The ID of the first entry, zero if there is none.
    pub fn first_id(&self) -> StreamId {
        self.entries.first().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// The ID of the last entry that is there.
    pub fn last_present_id(&self) -> Option<StreamId> {
        self.entries.last().map(|entry| entry.id)
    }

    /// The ID that a new entry gets; none if it would not be higher than all before.
    pub fn id_for(&self, wish: NewId, now_ms: u64) -> Option<StreamId> {
        let id = match wish {
            NewId::Generated => StreamId::generate(self.last_id, now_ms)?,
            NewId::Of(ms) if ms == self.last_id.ms => StreamId::new(ms, self.last_id.sequence.checked_add(1)?),
            NewId::Of(ms) => StreamId::new(ms, 0),
            NewId::Given(id) => id,
        };
        (id > self.last_id).then_some(id)
    }

    /// Adds an entry. `fields` are fields and values in turn.
    pub fn append(&mut self, id: StreamId, fields: &[&[u8]], limits: &Encodings) -> Result<(), Refused> {
        if id <= self.last_id {
            return Err(Refused::NotHigher);
        }
        self.entries.append(id, fields, limits).map_err(|Full| Refused::TooLarge)?;
        // A file may say anything of what was added before.
        self.entries_added = self.entries_added.saturating_add(1);
        self.last_id = id;
        Ok(())
    }

    /// Deletes an entry; whether it was there. Groups may go on holding its ID.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let is_deleted = self.entries.remove(id);
        if is_deleted {
            self.deleted_id_max = self.deleted_id_max.max(id);
        }
        is_deleted
    }

    /// Sets what XSETID sets.
    pub fn set_last_id(&mut self, id: StreamId, entries_added: Option<u64>, deleted_id_max: Option<StreamId>) {
        self.last_id = id;
        self.entries_added = entries_added.unwrap_or(self.entries_added);
        self.deleted_id_max = deleted_id_max.unwrap_or(self.deleted_id_max);
    }

    /// Whether an entry at or behind an ID was deleted (as far as it is known: only the last one is).
    fn has_gap_from(&self, id: StreamId) -> bool {
        self.deleted_id_max != StreamId::MIN
            && id <= self.deleted_id_max
            && self.deleted_id_max >= self.first_id()
            && !self.entries.is_empty()
    }

    /// How many entries were ever added up to an ID, where that can be told.
    pub fn count_up_to(&self, id: StreamId) -> Option<i64> {
        let (added, length) = (self.entries_added as i64, self.entries.len() as i64);
        if added == 0 {
            return Some(0);
        }
        if length == 0 && id <= self.last_id {
            return Some(added);
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(added);
        }
        let first = self.first_id();
        if self.deleted_id_max == StreamId::MIN || self.deleted_id_max < first {
            if id < first {
                return Some(added - length);
            }
            if id == first {
                return Some(added - length + 1);
            }
        }
        None
    }

    /// What the counter of a group is once it has read an entry that it had not.
    pub fn entries_read_after(&self, group: &Group, id: StreamId) -> Option<i64> {
        match group.entries_read() {
            Some(count) if !self.has_gap_from(id) => Some(count.wrapping_add(1)),
            counter if self.entries_added == 0 => counter,
            _ => self.count_up_to(id),
        }
    }

    /// How many entries a group has not been told of, where that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added as i64;
        if added == 0 {
            return Some(0);
        }
        let read = group.entries_read().filter(|_| !self.has_gap_from(group.last_id()));
        Some(added.wrapping_sub(read.or_else(|| self.count_up_to(group.last_id()))?))
    }
}

impl Stream {
    /// The entries.
    #[inline]
    pub fn entries(&self) -> &StreamTree {
        &self.log.entries
    }

    /// The entries, and what is known of those that went.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The same, to be changed.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Bytes of heap, what views share included.
    pub fn bytes(&self) -> usize {
        self.log.entries.bytes()
            + self.groups_bytes
            + self.idempotency.as_ref().map_or(0, |producers| producers.bytes())
    }

    /// The groups with their names, in the order of these.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    /// A group.
    #[inline]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// Adds a group; whether there was none of that name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.groups_bytes += group_bytes(name, &group);
        Arc::make_mut(&mut self.groups).insert(name.into(), Arc::new(group));
        true
    }

    /// Removes a group; whether there was one.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        if !self.groups.contains_key(name) {
            return false;
        }
        let Some(group) = Arc::make_mut(&mut self.groups).remove(name) else { return false };
        self.groups_bytes -= group_bytes(name, &group);
        true
    }

    /// Changes a group, if there is one.
    pub fn change_group<R>(&mut self, name: &[u8], change: impl FnOnce(&Log, &mut Group) -> R) -> Option<R> {
        if !self.groups.contains_key(name) {
            return None;
        }
        let group = Arc::make_mut(&mut self.groups).get_mut(name)?;
        let group = Arc::make_mut(group);
        let before = group.bytes();
        let result = change(&self.log, group);
        self.groups_bytes = self.groups_bytes + group.bytes() - before;
        Some(result)
    }

    /// Whether a group may still be told of an entry, or has been and did not acknowledge it. So it is of groups that are
    /// not there: nobody has acknowledged anything.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups.values().any(|group| group.last_id() < id || group.pending(id).is_some())
    }

    /// Takes an entry off the pending ones of all groups; the names of those that had it.
    pub fn release_everywhere(&mut self, id: StreamId) -> Vec<Arc<[u8]>> {
        let holds = self.groups.iter().filter(|(_, group)| group.pending(id).is_some());
        let names: Vec<_> = holds.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.change_group(name, |_, group| group.release(id));
        }
        names
    }

    /// What producers have added of late.
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_deref()
    }

    /// The same, to be changed.
    pub fn idempotency_mut(&mut self) -> &mut Idempotency {
        Arc::make_mut(self.idempotency.get_or_insert_default())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.groups.is_empty()
            && let Some(groups) = Arc::into_inner(std::mem::take(&mut self.groups))
        {
            discard_each(groups, size_of::<Group>());
        }
    }
}

fn group_bytes(name: &[u8], group: &Group) -> usize {
    MAP_ENTRY_BYTES + name.len() + size_of::<Group>() + group.bytes()
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stream").field("length", &self.entries().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
