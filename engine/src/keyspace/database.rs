//! One database: a table for each slot, in groups of 64.
//!
//! ```text
//!   groups[256] ──> Group ┬ tables[64]      16 bytes each; an empty one owns nothing
//!                         ├ earliest_s[64]  a second before which nothing in that slot is due
//!                         ├ occupied        a bit for each slot that has keys
//!                         ├ keys            number of keys
//!                         └ group_earliest_s
//! ```
//!
//! An untouched database owns nothing, a group comes with the first key in its slots. The seconds at each level (page,
//! slot, group, database) are lower bounds: writes lower them, only the expiry walk raises them.

use super::eviction::GroupSums;
use super::key::{Key, KeyHasher};
use super::sizes::{Changing, KeySizes};
use super::slot::SLOTS;
use crate::command::Milliseconds;
use crate::values::page::due_second;
use crate::values::table::Density;
use crate::values::{Draft, Ledger, NEVER_S, PackedEntry, Page, Place, Table};

/// Slots in a group.
pub(super) const GROUP_SLOTS: usize = 64;

/// Groups in a database.
pub(super) const GROUPS: usize = SLOTS / GROUP_SLOTS;

pub(super) struct Group {
    pub(super) tables: [Table; GROUP_SLOTS],
    pub(super) earliest_s: [u32; GROUP_SLOTS],
    pub(super) group_earliest_s: u32,
    pub(super) occupied: u64,
    pub(super) keys: usize,
}

impl Group {
    fn new() -> Box<Self> {
        Box::new(Self {
            tables: std::array::from_fn(|_| Table::default()),
            earliest_s: [NEVER_S; GROUP_SLOTS],
            group_earliest_s: NEVER_S,
            occupied: 0,
            keys: 0,
        })
    }
}

/// The group of a slot, and its number in the group.
#[inline]
pub(super) fn split_slot(slot: u16) -> (usize, usize) {
    let slot = slot as usize % SLOTS;
    (slot / GROUP_SLOTS, slot % GROUP_SLOTS)
}

pub(super) struct Database {
    /// Its name, whatever number it has: given by the keyspace, another one after each flush.
    pub(super) id: u64,
    /// Empty until the first key comes.
    pub(super) groups: Vec<Option<Box<Group>>>,
    pub(super) keys: usize,
    /// Keys that have an expiry.
    pub(super) volatile: usize,
    /// Sum of the times of expiry, for their mean.
    expiry_sum: i128,
    pub(super) earliest_s: u32,
    pub(super) ledger: Ledger,
    pub(super) group_sums: GroupSums,
    /// Of which size values are; there from the first key on.
    pub(super) sizes: Option<Box<KeySizes>>,
    /// The value that is being changed where it stands.
    pub(super) changing: Option<Changing>,
}

impl Database {
    /// An empty one of that name.
    pub(super) fn empty(id: u64) -> Self {
        Self {
            id,
            groups: Vec::new(),
            keys: 0,
            volatile: 0,
            expiry_sum: 0,
            earliest_s: NEVER_S,
            ledger: Ledger::default(),
            group_sums: GroupSums::default(),
            sizes: None,
            changing: None,
        }
    }

    #[inline]
    pub(super) fn group(&self, index: usize) -> Option<&Group> {
        self.groups.get(index)?.as_deref()
    }

    /// Bytes that the groups take: what is beside the ledger.
    pub(super) fn table_bytes(&self) -> usize {
        let groups = self.groups.iter().flatten().count();
        self.groups.capacity() * size_of::<Option<Box<Group>>>() + groups * size_of::<Group>()
    }

    /// The table of a slot, if its group has ever had a key.
    #[inline]
    pub(super) fn table(&self, slot: u16) -> Option<&Table> {
        let (group, lane) = split_slot(slot);
        Some(&self.group(group)?.tables[lane])
    }

    /// The table of a slot for changes, with the ledger; the group is made if need be.
    #[inline]
    pub(super) fn table_mut(&mut self, slot: u16) -> (&mut Table, &mut Ledger) {
        let (group, lane) = split_slot(slot);
        if self.groups.is_empty() {
            self.groups.resize_with(GROUPS, || None);
        }
        let group = self.groups[group].get_or_insert_with(Group::new);
        (&mut group.tables[lane], &mut self.ledger)
    }

    /// Whether a key of that slot may have an expiry.
    pub(super) fn may_expire(&self, slot: u16) -> bool {
        let (group, lane) = split_slot(slot);
        self.group(group).is_some_and(|group| group.earliest_s[lane] != NEVER_S)
    }

    #[inline]
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Place> {
        self.table(key.slot)?.find(key.hash, key.bytes)
    }

    /// The entry at a place.
    #[inline]
    pub(super) fn entry(&self, slot: u16, place: Place) -> Option<PackedEntry<'_>> {
        Some(self.table(slot)?.entry(place))
    }

    /// The entry at a place of a slot that has keys.
    #[inline]
    pub(super) fn entry_at(&self, slot: u16, place: Place) -> PackedEntry<'_> {
        self.table(slot).expect("a place is in a table").entry(place)
    }

    /// The page and index of a place, and the ledger.
    #[inline]
    pub(super) fn at(&mut self, slot: u16, place: Place) -> (&mut Page, usize, &mut Ledger) {
        let (table, ledger) = self.table_mut(slot);
        let (page, index) = table.at(place);
        (page, index, ledger)
    }

    /// Merges pages of a slot after removals.
    #[inline]
    pub(super) fn shrink(&mut self, slot: u16) {
        let (table, ledger) = self.table_mut(slot);
        table.shrink(Density::varied(slot as usize), ledger);
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: &Key<'_>, draft: Draft<'_>, hasher: &KeyHasher) {
        let expires_at = draft.expires_at;
        let (table, ledger) = self.table_mut(key.slot);
        table.insert(key.hash, draft, Density::varied(key.slot as usize), |bytes| hasher.hash(bytes), ledger);
        self.keys += 1;
        let (group, lane) = split_slot(key.slot);
        if let Some(group) = &mut self.groups[group] {
            group.keys += 1;
            group.occupied |= 1 << lane;
        }
        self.note_expiry(key.slot, None, expires_at);
    }

    /// Counts a removal that the slot's table has just seen.
    pub(super) fn note_removal(&mut self, slot: u16, expires_at: Option<Milliseconds>) {
        self.note_removals(slot, 1);
        self.note_expiry(slot, expires_at, None);
    }

    fn note_removals(&mut self, slot: u16, count: usize) {
        self.keys -= count;
        let (group, lane) = split_slot(slot);
        if let Some(group) = &mut self.groups[group] {
            group.keys -= count;
            if group.tables[lane].is_empty() {
                group.occupied &= !(1 << lane);
            }
        }
    }

    /// Gives back the group of a slot if it has no keys any more. Not on every removal, since a key that comes and goes
    /// would make it anew each time; but where memory is short, groups without keys must not take the room of those with.
    pub(super) fn drop_group_if_empty(&mut self, slot: u16) {
        if let Some(group) = self.groups.get_mut(split_slot(slot).0)
            && group.as_ref().is_some_and(|group| group.keys == 0)
        {
            *group = None;
        }
    }

    /// Counts the removal of several keys that had an expiry; `expiry_sum` is the sum of their times.
    pub(super) fn note_expired(&mut self, slot: u16, count: usize, expiry_sum: i128) {
        self.note_removals(slot, count);
        self.volatile -= count;
        self.expiry_sum -= expiry_sum;
    }

    /// Counts a change of a key's expiry.
    #[inline]
    pub(super) fn note_expiry(&mut self, slot: u16, old: Option<Milliseconds>, new: Option<Milliseconds>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.volatile -= 1;
            self.expiry_sum -= at as i128;
        }
        if let Some(at) = new {
            self.volatile += 1;
            self.expiry_sum += at as i128;
            self.note_due(slot, due_second(at));
        }
    }

    /// Lowers the bounds above a page.
    pub(super) fn note_due(&mut self, slot: u16, second: u32) {
        let (group, lane) = split_slot(slot);
        self.earliest_s = self.earliest_s.min(second);
        if let Some(group) = self.groups.get_mut(group).and_then(Option::as_deref_mut) {
            group.group_earliest_s = group.group_earliest_s.min(second);
            group.earliest_s[lane] = group.earliest_s[lane].min(second);
        }
    }

    pub(super) fn average_ttl_ms(&self, now: Milliseconds) -> i64 {
        if self.volatile == 0 {
            return 0;
        }
        let mean = self.expiry_sum / self.volatile as i128 - now as i128;
        mean.clamp(0, i64::MAX as i128) as i64
    }

    /// The first slot at or after `slot` that has keys.
    pub(super) fn next_occupied(&self, slot: usize) -> Option<u16> {
        let (mut group, mut lane) = (slot / GROUP_SLOTS, slot % GROUP_SLOTS);
        while group < GROUPS {
            let occupied = self.group(group).map_or(0, |group| group.occupied) >> lane << lane;
            if occupied != 0 {
                return Some((group * GROUP_SLOTS + occupied.trailing_zeros() as usize) as u16);
            }
            (group, lane) = (group + 1, 0);
        }
        None
    }
}

#[cfg(test)]
impl Database {
    /// Checks every count and bound against what the pages hold. The bound of the slot in whose middle the expiry walk is
    /// does not hold.
    pub(super) fn audit(&self, in_walk: Option<u16>) {
        let (mut bytes, mut keys, mut volatile) = (0, 0, 0);
        for (number, group) in self.groups.iter().enumerate() {
            let Some(group) = group else { continue };
            let mut group_keys = 0;
            for (lane, table) in group.tables.iter().enumerate() {
                bytes += table.audit();
                group_keys += table.len();
                let slot = number * GROUP_SLOTS + lane;
                let walked = in_walk == Some(slot as u16);
                assert_eq!(group.occupied >> lane & 1 == 1, !table.is_empty(), "slot {slot}");
                for page in (0..table.page_count()).map(|index| table.page(index)) {
                    volatile += page.entries().filter(|entry| entry.expires_at().is_some()).count();
                    page.entries().filter_map(|entry| entry.object()).for_each(crate::values::Object::audit);
                    let due = page.entries().filter_map(PackedEntry::expires_at).map(due_second).min();
                    assert!(page.earliest_s() <= due.unwrap_or(NEVER_S));
                    assert!(walked || group.earliest_s[lane] <= page.earliest_s());
                }
                assert!(group.group_earliest_s <= group.earliest_s[lane], "slot {slot}");
            }
            assert!(self.earliest_s <= group.group_earliest_s);
            assert_eq!(group.keys, group_keys);
            keys += group_keys;
        }
        assert_eq!((self.ledger.bytes, self.keys, self.volatile), (bytes, keys, volatile));
        let tables = self.groups.iter().flatten().flat_map(|group| &group.tables);
        let pages = tables.flat_map(|table| (0..table.page_count()).map(|index| table.page(index)));
        self.audit_sizes(pages.flat_map(Page::entries));
    }
}
