//! Walks over keys in their global order (SCAN, KEYS) and picks at random (RANDOMKEY).

use super::cursor::ScanCursor;
use super::database::Database;
use super::slot::SLOTS;
use super::{Entry, Keyspace};
use crate::command::Milliseconds;
use crate::values::PackedEntry;

/// How often RANDOMKEY draws again when it meets an expired key.
const RANDOM_TRIES_MAX: usize = 100;

/// Entries a page may have to be drawn from fairly; at a mean of a dozen, hardly one in a million has more.
const PAGE_ENTRIES_DRAWN: usize = 64;

impl Keyspace {
    /// Visits keys in the global order from `cursor` on, about `budget` of them, and returns where to go on;
    /// [`ScanCursor::START`] when that was all of this keyspace. A key that is there from the first call of a walk to its
    /// last is visited, whatever happens to other keys meanwhile. Expired ones are skipped.
    pub fn scan(
        &self,
        database: usize,
        cursor: ScanCursor,
        budget: usize,
        now: Milliseconds,
        visit: &mut dyn FnMut(&[u8], &Entry<'_>),
    ) -> ScanCursor {
        let mut left = budget.max(1);
        let (mut slot, mut position) = (cursor.slot() as usize, cursor.position());
        while let Some(occupied) = self.databases[database].next_occupied(slot) {
            if occupied as usize != slot {
                (slot, position) = (occupied as usize, 0);
            }
            while let Some(end) = self.scan_page(database, occupied, position, &mut left, now, visit) {
                if end == 0 {
                    break;
                }
                position = end;
                if left == 0 {
                    return ScanCursor::new(occupied, position);
                }
            }
            (slot, position) = (slot + 1, 0);
            if left == 0 {
                // Straight to the next key, so that the last call is not an empty one.
                let next = self.databases[database].next_occupied(slot).map_or(SLOTS, usize::from);
                return ScanCursor::at_slot(next);
            }
        }
        ScanCursor::START
    }

    /// Visits the part at and after `position` of the page that holds it; returns the first position behind the page.
    fn scan_page(
        &self,
        database: usize,
        slot: u16,
        position: u64,
        left: &mut usize,
        now: Milliseconds,
        visit: &mut dyn FnMut(&[u8], &Entry<'_>),
    ) -> Option<u64> {
        let table = self.databases[database].table(slot)?;
        let (index, end) = table.interval(position)?;
        // A walk stops at ends of pages; only if pages have been merged since does it go on in the middle of one.
        let in_the_middle = position != table.interval_start(index);
        for entry in table.page(index).entries() {
            if in_the_middle && self.hasher.hash(entry.key()).reverse_bits() < position {
                continue;
            }
            *left = left.saturating_sub(1);
            if !entry.is_expired(now) {
                visit(entry.key(), &Entry::new(entry, self.access_policy));
            }
        }
        Some(end)
    }

    /// Visits all keys that are not expired.
    pub fn keys(&self, database: usize, now: Milliseconds, visit: &mut dyn FnMut(&[u8], &Entry<'_>)) {
        self.scan(database, ScanCursor::START, usize::MAX, now, visit);
    }

    /// A key that is not expired, each with the same chance. None when there is none, or after a bounded number of tries
    /// in a database of mostly expired keys.
    pub fn random_key(&mut self, database: usize, random: &mut fastrand::Rng, now: Milliseconds) -> Option<Vec<u8>> {
        (0..RANDOM_TRIES_MAX)
            .find_map(|_| self.databases[database].random_entry(random).filter(|entry| !entry.is_expired(now)))
            .map(|entry| entry.key().to_vec())
    }
}

impl Database {
    fn random_entry(&self, random: &mut fastrand::Rng) -> Option<PackedEntry<'_>> {
        if self.keys == 0 {
            return None;
        }
        // Slots by their number of keys ...
        let mut nth = random.usize(..self.keys);
        let mut passes = |keys: usize| {
            let here = nth < keys;
            nth -= if here { 0 } else { keys };
            here
        };
        let group = self.groups.iter().flatten().find(|group| passes(group.keys))?;
        let table = group.tables.iter().find(|table| passes(table.len()))?;
        // ... then pages by theirs: as if each had the same number of seats, draw until somebody sits there.
        let seat = (0..RANDOM_TRIES_MAX).find_map(|_| {
            let page = table.page(random.usize(..table.page_count()));
            let seat = random.usize(..PAGE_ENTRIES_DRAWN);
            (seat < page.len()).then(|| page.entry(seat))
        });
        seat.or_else(|| (0..table.page_count()).find_map(|index| table.page(index).entries().next()))
    }
}
