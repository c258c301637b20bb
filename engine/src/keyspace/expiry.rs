//! The expiry cycle: removes keys whose time is over, whether anybody asks for them or not.
//!
//! Each page, slot, group of slots and database knows a second before which nothing in it is due. The walk goes through
//! the databases in the order of slots and positions and enters only what may be due:
//!
//! 1. Take the next slot whose bound is reached. Set its bound to "never": from here to the end of the slot, the walk's
//!    own position stands for what it has not seen.
//! 2. Go through its pages by position. In those whose bound is reached, remove what is due and find the bound anew.
//!    Lower the slot's bound to each page's.
//! 3. After the last slot of a group, the group's bound is the least of its slots'; after the last group likewise.
//!
//! The budget may end the walk between any two pages; it goes on from there in the next call. Bounds are whole seconds,
//! rounded up, so a page is entered once for all keys of a second and never in vain, and a key goes at most a second (and
//! the time until the next calls) late. A bound that is too early because its key has left or lives longer now costs one
//! visit, which corrects it.

use super::changes::Changes;
use super::database::{Database, GROUP_SLOTS, split_slot};
use super::garbage::Garbage;
use super::instant::{Surroundings, Walks};
use super::sizes::SizeClass;
use super::slot::SLOTS;
use super::{EntryMut, ExpireProgress, Key, Keyspace};
use crate::command::Milliseconds;
use crate::commands::remove_due;
use crate::journal::Journal;
use crate::values::NEVER_S;
use smallvec::SmallVec;

/// Where the walk is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExpiryWalk {
    database: usize,
    slot: usize,
    /// In the middle of the slot: the position to go on from.
    position: Option<u64>,
}

/// One call of `expire_step`.
struct Step<'a> {
    now: Milliseconds,
    /// The second of `now`: bounds up to this are reached.
    second: u32,
    left: usize,
    expired: usize,
    garbage: &'a mut Garbage,
    journal: &'a mut Journal,
    changes: &'a mut Changes,
    /// The number of the database it is in.
    database: usize,
    /// Hashes with fields that are due.
    hashes: Vec<(usize, Vec<u8>)>,
    walks: &'a mut Walks,
    around: Surroundings<'a>,
}

impl Keyspace {
    /// Removes keys whose time is over, looking at about `budget` entries and pages at most, going on where the last call
    /// stopped. Not due is not visited: a call without work costs a comparison for each database.
    pub fn expire_step(&mut self, now: Milliseconds, budget: usize) -> ExpireProgress {
        let second = (now.div_euclid(1000)).clamp(0, (NEVER_S - 1) as i64) as u32;
        let (garbage, journal, changes) = (&mut self.garbage, &mut self.journal, &mut self.changes);
        let (left, hashes, walks) = (budget.max(1), Vec::new(), &mut self.walks);
        let around = Surroundings { hasher: &self.hasher, policy: self.access_policy };
        let mut step =
            Step { now, second, left, expired: 0, garbage, journal, changes, database: 0, hashes, walks, around };
        let mut more = false;
        // Once more than there are databases: the first one's beginning may be behind the walk.
        for _ in 0..=self.databases.len() {
            step.database = self.walk.database;
            more = !self.databases[self.walk.database].expire(&mut self.walk, &mut step);
            if more {
                break;
            }
            let next = self.walk.database + 1;
            let database = if next == self.databases.len() { 0 } else { next };
            self.walk = ExpiryWalk { database, ..Default::default() };
        }
        let (expired, left, hashes) = (step.expired, step.left, step.hashes);
        self.statistics.expired += expired as u64;
        let fields_left = self.expire_fields(hashes, now, left.max(1));
        ExpireProgress { expired, more: more || fields_left }
    }

    /// Removes fields whose time is over from some hashes, about `budget` of them; whether some are left.
    fn expire_fields(&mut self, hashes: Vec<(usize, Vec<u8>)>, now: Milliseconds, budget: usize) -> bool {
        let mut left = budget;
        for (database, name) in hashes {
            let key = Key::new(&name, &self.hasher);
            let Some(place) = self.live_place(database, &key, now) else { continue };
            self.before_change(database, &key);
            let (entry, removed) = remove_due(EntryMut::new(self, database, key.slot, place), &name, now, left);
            left = left.saturating_sub(removed);
            // Put under the bounds anew, so that what is left has its turn.
            if let Some(mut entry) = entry
                && let Some(at) = entry.view().part_due()
            {
                entry.note_due(at);
            }
            if removed > 0 && self.changes.is_wanted() {
                self.changes.gone(&name);
            }
        }
        left == 0
    }

    /// The slot of a database in whose middle the walk is.
    pub(super) fn slot_in_walk(&self, database: usize) -> Option<u16> {
        (self.walk.database == database && self.walk.position.is_some()).then_some(self.walk.slot as u16)
    }

    /// Gives the walk up before databases change under it; what it had begun counts as due again.
    pub(super) fn abandon_expiry_walk(&mut self) {
        let walk = std::mem::take(&mut self.walk);
        if walk.position.is_some() {
            self.databases[walk.database].note_due(walk.slot as u16, 0);
        }
    }
}

impl Database {
    /// Goes on to the end of this database; false if the budget ended before.
    fn expire(&mut self, walk: &mut ExpiryWalk, step: &mut Step<'_>) -> bool {
        if walk.position.is_none() && self.earliest_s > step.second {
            return true;
        }
        while walk.slot < SLOTS {
            if walk.position.is_some() || self.enter_slot(walk, step.second) {
                if !self.expire_slot(walk, step) {
                    return false;
                }
                self.leave_slot(walk);
            }
        }
        self.earliest_s = self.groups.iter().flatten().map(|group| group.group_earliest_s).min().unwrap_or(NEVER_S);
        true
    }

    /// Whether the slot is due; then the walk is at its beginning, else at the next slot or group.
    fn enter_slot(&mut self, walk: &mut ExpiryWalk, second: u32) -> bool {
        let (group, lane) = split_slot(walk.slot as u16);
        let due = match self.groups.get_mut(group).and_then(Option::as_deref_mut) {
            Some(group) if group.group_earliest_s <= second => {
                let due = group.earliest_s[lane] <= second;
                if due {
                    group.earliest_s[lane] = NEVER_S;
                    walk.position = Some(0);
                }
                due
            }
            _ => {
                walk.slot = (group + 1) * GROUP_SLOTS;
                return false;
            }
        };
        if !due {
            self.leave_slot(walk);
        }
        due
    }

    fn leave_slot(&mut self, walk: &mut ExpiryWalk) {
        let (group, lane) = split_slot(walk.slot as u16);
        if lane == GROUP_SLOTS - 1
            && let Some(group) = self.groups.get_mut(group).and_then(Option::as_deref_mut)
        {
            group.group_earliest_s = group.earliest_s.iter().copied().min().unwrap_or(NEVER_S);
        }
        walk.position = None;
        walk.slot += 1;
    }

    /// Goes on to the end of the slot; false if the budget ended before.
    fn expire_slot(&mut self, walk: &mut ExpiryWalk, step: &mut Step<'_>) -> bool {
        let slot = walk.slot as u16;
        while let Some(position) = walk.position {
            if step.left == 0 {
                return false;
            }
            let (table, _) = self.table_mut(slot);
            let Some((index, end)) = table.interval(position) else { break };
            table.prefetch_page(end.reverse_bits());
            step.left -= 1;
            if table.page(index).earliest_s() <= step.second {
                self.expire_page(slot, index, step);
            } else {
                let earliest_s = table.page(index).earliest_s();
                self.note_due(slot, earliest_s);
            }
            walk.position = (end != 0).then_some(end);
        }
        true
    }

    /// Removes what is due from a page.
    fn expire_page(&mut self, slot: u16, index: usize, step: &mut Step<'_>) {
        if !step.walks.is_empty() {
            step.walks.serve(self, slot, (index as u64).reverse_bits(), step.around);
        }
        self.settle_size();
        let (table, ledger) = self.table_mut(slot);
        let (mut removed, mut expiry_sum, mut sizes) = (0, 0, SmallVec::<[SizeClass; 16]>::new());
        let entries = table.page(index).len();
        step.left = step.left.saturating_sub(entries);
        for entry in (0..entries).rev() {
            let packed = table.page(index).entry(entry);
            if packed.part_due().is_some_and(|at| step.now > at) && !packed.is_expired(step.now) {
                step.hashes.push((step.database, packed.key().to_vec()));
            }
            if let Some(at) = table.page(index).entry(entry).expires_at()
                && step.now > at
            {
                if step.changes.is_wanted() {
                    step.changes.gone(table.page(index).entry(entry).key());
                }
                if step.journal.is_listening() {
                    step.journal.expired(step.database, table.page(index).entry(entry).key());
                }
                sizes.push(SizeClass::of_entry(table.page(index).entry(entry)));
                step.garbage.discard(table.remove_at(index, entry, ledger));
                removed += 1;
                expiry_sum += at as i128;
            }
        }
        table.page_mut(index).refresh_earliest();
        let earliest_s = table.page(index).earliest_s();
        if removed > 0 {
            self.shrink(slot);
            step.expired += removed;
            self.note_expired(slot, removed, expiry_sum);
            sizes.into_iter().for_each(|size| self.uncount_size(size));
        }
        self.note_due(slot, earliest_s);
    }
}
