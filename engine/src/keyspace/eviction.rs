//! Eviction: gives up the keys that are worth the least when memory is short.
//!
//! ```text
//!   draw      by recency whole pages, each with the same chance; else keys, each with the same chance
//!   offer     them, scored by the policy, to the pool of the 16 best candidates
//!   pick      the best one, scored anew: who was used since goes back into the pool
//!   remove    DEL and `evicted` by the journal
//! ```
//!
//! The keys of a page stand beside each other in memory and have nothing in common but the first bits of their hash, so a
//! dozen of them are as good a sample as a dozen from anywhere, for one cache miss. Scores hold points in time, not ages,
//! so those drawn long ago compare with those drawn now.
//!
//! Many keys are equal, as clocks count seconds or minutes, and what is done with equals decides as much as the number of
//! samples (`hit_ratio` holds the choice against a model of the real server's):
//! * By recency the newest of a page is offered last and so goes first: who was read in the same second but has been here
//!   longer has proved more. Twice as many as `maxmemory-samples` are looked at, and the rest of the last page.
//! * By frequency there is no good order. The older first is right while popularity moves, the newer first while it
//!   does not, each at the other's cost; so chance decides. Nor are more samples better: they single out newcomers, none of
//!   which then lives long enough to be counted. So single keys are drawn, as many as `maxmemory-samples`. The same by
//!   expiry, which says nothing about use at all.
//!
//! Policies for keys with an expiry draw in the same way while such keys are common; else they follow the expiry cycle's
//! bounds to the pages that have some.
//!
//! The keyspace knows no limit: the owner of the shard calls [`Keyspace::evict`] until it has what it wants.

use super::clock::{AccessPolicy, last_access_second};
use super::database::{Database, GROUP_SLOTS, GROUPS, Group};
use super::{Key, Keyspace, Removal};
use crate::command::Milliseconds;
use crate::values::{NEVER_S, PackedEntry, Table};

/// What makes a key worth little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// Its access clock is old (LRU; LRM where the clock counts changes only).
    LeastRecent,
    /// It is seldom used (LFU).
    LeastFrequent,
    /// It expires soon.
    SoonestExpiry,
    /// Nothing: chance decides.
    Random,
}

/// A policy other than `noeviction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Which go first.
    pub order: EvictionOrder,
    /// Only keys that have an expiry.
    pub volatile_only: bool,
    /// `maxmemory-samples`: how many keys are looked at for each that is removed, as said above.
    pub samples: usize,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// A key is gone.
    Removed,
    /// None was found in this call that may go; there are some.
    NotFound,
    /// No key may ever go under this policy.
    Impossible,
}

/// How urgently a key should go; higher goes first. Zero is nobody.
pub type Urgency = u64;

/// Candidates kept from call to call.
const POOL_CANDIDATES: usize = 16;
/// Pages drawn a call and database, at most.
const DRAWS_MAX: usize = 16;
/// Pages looked at for keys with an expiry, where those are rare, at most.
const SEARCHED_PAGES_MAX: usize = 512;
/// After so many draws the sums by which groups are drawn are made anew.
const DRAWS_UNTIL_SUMS: u32 = 1024;

#[derive(Debug)]
struct Candidate {
    urgency: Urgency,
    database: usize,
    slot: u16,
    hash: u64,
    key: Box<[u8]>,
}

/// The best candidates seen lately, the most urgent last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    /// Under which they were scored.
    policy: Option<EvictionPolicy>,
}

impl Pool {
    fn wants(&self, urgency: Urgency) -> bool {
        self.candidates.len() < POOL_CANDIDATES || self.candidates[0].urgency < urgency
    }

    fn insert(&mut self, candidate: Candidate) {
        let same = |other: &Candidate| other.hash == candidate.hash && other.database == candidate.database;
        self.candidates.retain(|other| !(same(other) && other.key == candidate.key));
        if self.candidates.len() == POOL_CANDIDATES {
            self.candidates.remove(0);
        }
        // Behind its equals: who waits longer has had more time to be used.
        let at = self.candidates.partition_point(|other| other.urgency < candidate.urgency);
        self.candidates.insert(at, candidate);
    }
}

/// By how much groups weigh, for drawing one; a little out of date.
#[derive(Debug, Default)]
pub(super) struct GroupSums {
    /// Keys or pages in this group and those before it.
    sums: Vec<usize>,
    /// Which.
    draw: Option<Draw>,
    draws_left: u32,
}

/// What has the same chance in a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    /// Pages, of which all keys are taken. To choose slots by their keys instead would draw a key of a crowded slot several
    /// times as often as one that has its slot to itself, and those would grow old.
    Pages,
    /// Keys, of which a page yields one.
    Keys,
}

/// A page of a database.
type DrawnPage = (u16, usize);

impl EvictionPolicy {
    /// What is drawn with the same chance.
    fn draws(self) -> Draw {
        if self.order == EvictionOrder::LeastRecent { Draw::Pages } else { Draw::Keys }
    }

    /// How many keys are looked at for each that is removed.
    fn samples_wanted(self) -> usize {
        match self.order {
            EvictionOrder::LeastRecent => 2 * self.samples,
            EvictionOrder::LeastFrequent | EvictionOrder::SoonestExpiry => self.samples,
            EvictionOrder::Random => 1,
        }
        .max(1)
    }

    fn accepts(self, entry: PackedEntry<'_>) -> bool {
        !self.volatile_only || entry.expires_at().is_some()
    }

    fn urgency(self, entry: PackedEntry<'_>, access: AccessPolicy, now: Milliseconds) -> Urgency {
        match self.order {
            EvictionOrder::LeastRecent => u64::MAX - last_access_second(entry.clock(), now),
            EvictionOrder::LeastFrequent => u64::from(u8::MAX - access.counter(entry.clock(), now)) + 1,
            EvictionOrder::SoonestExpiry => u64::MAX - entry.expires_at().unwrap_or(i64::MAX).max(0) as u64,
            EvictionOrder::Random => 1,
        }
    }

    /// Whether a key elsewhere should so clearly go before one here that it is worth asking for. Counts of keys, which
    /// stand for urgency under a random policy, are compared like ages.
    pub fn is_clearly_before(self, theirs: Urgency, ours: Urgency, now: Milliseconds) -> bool {
        let longer = |theirs: u64, ours: u64| theirs > ours.saturating_add(ours / 4).saturating_add(1);
        let now_s = (now.max(0) / 1000) as u64;
        match self.order {
            _ if theirs == 0 || ours == 0 => theirs > ours,
            EvictionOrder::LeastRecent => {
                let age_s = |urgency: Urgency| now_s.saturating_sub(u64::MAX - urgency);
                longer(age_s(theirs), age_s(ours))
            }
            EvictionOrder::LeastFrequent => theirs > ours,
            EvictionOrder::SoonestExpiry => {
                let left_ms = |urgency: Urgency| (u64::MAX - urgency).saturating_sub(now.max(0) as u64);
                longer(left_ms(ours), left_ms(theirs))
            }
            EvictionOrder::Random => longer(theirs, ours),
        }
    }
}

impl Keyspace {
    /// How many keys a policy may choose from.
    pub fn evictable(&self, policy: EvictionPolicy) -> usize {
        self.databases.iter().map(|database| database.evictable(policy)).sum()
    }

    /// The urgency of the key that would go next; of a random policy, how many there are.
    pub fn eviction_urgency(&self, policy: EvictionPolicy) -> Urgency {
        match self.eviction.candidates.last() {
            _ if policy.order == EvictionOrder::Random => self.evictable(policy) as u64,
            Some(best) if self.eviction.policy == Some(policy) => best.urgency,
            _ => 0,
        }
    }

    /// Draws candidates, so that [`Keyspace::eviction_urgency`] knows some.
    pub fn sample_for_eviction(&mut self, policy: EvictionPolicy, now: Milliseconds) {
        if self.eviction.policy != Some(policy) {
            self.eviction = Pool { policy: Some(policy), ..Pool::default() };
        }
        if policy.order == EvictionOrder::Random {
            let mut nth = self.random.usize(..self.evictable(policy).max(1));
            let drawn = self.databases.iter().position(|database| {
                let count = database.evictable(policy);
                let is_here = nth < count;
                nth -= if is_here { 0 } else { count };
                is_here
            });
            return drawn.into_iter().for_each(|database| self.sample_database(database, policy, now));
        }
        for database in 0..self.databases.len() {
            if self.databases[database].evictable(policy) > 0 {
                self.sample_database(database, policy, now);
            }
        }
    }

    /// Looks at the candidates again: those that are gone, or were used since, make place.
    pub fn rescore_candidates(&mut self, policy: EvictionPolicy, now: Milliseconds) {
        for candidate in std::mem::take(&mut self.eviction.candidates) {
            let key = Key { bytes: &candidate.key, slot: candidate.slot, hash: candidate.hash };
            let Some(target) = self.databases.get(candidate.database) else { continue };
            let entry = target.find(&key).and_then(|place| target.entry(candidate.slot, place));
            if let Some(entry) = entry.filter(|entry| policy.accepts(*entry)) {
                let urgency = policy.urgency(entry, self.access_policy, now);
                self.eviction.insert(Candidate { urgency, ..candidate });
            }
        }
        self.eviction.policy = Some(policy);
    }

    /// Removes one key by a policy, none that is locked (told by its hash). Bounded work.
    pub fn evict(&mut self, policy: EvictionPolicy, now: Milliseconds, is_locked: impl Fn(u64) -> bool) -> Eviction {
        if self.evictable(policy) == 0 {
            return Eviction::Impossible;
        }
        self.sample_for_eviction(policy, now);
        // Each candidate is picked once, and once more where its urgency has changed.
        for _ in 0..2 * POOL_CANDIDATES {
            let Some(candidate) = self.eviction.candidates.pop() else { break };
            if is_locked(candidate.hash) {
                continue;
            }
            let key = Key { bytes: &candidate.key, slot: candidate.slot, hash: candidate.hash };
            let target = &self.databases[candidate.database];
            let Some(place) = target.find(&key) else { continue };
            let entry = target.entry_at(candidate.slot, place);
            if !policy.accepts(entry) {
                continue;
            }
            let urgency = policy.urgency(entry, self.access_policy, now);
            if urgency < candidate.urgency {
                if self.eviction.wants(urgency) {
                    self.eviction.insert(Candidate { urgency, ..candidate });
                }
                continue;
            }
            self.remove_place(candidate.database, candidate.slot, place, Removal::Evicted);
            self.databases[candidate.database].drop_group_if_empty(candidate.slot);
            return Eviction::Removed;
        }
        Eviction::NotFound
    }

    fn sample_database(&mut self, database: usize, policy: EvictionPolicy, now: Milliseconds) {
        let walked_slot = self.slot_in_walk(database);
        let wanted = policy.samples_wanted();
        let mut seen = 0;
        if policy.order == EvictionOrder::Random {
            // Chance decides each time: who was drawn before has had it.
            self.eviction.candidates.clear();
        }
        for _ in 0..DRAWS_MAX.max(wanted) {
            let Some(page) = self.databases[database].draw_page(policy.draws(), &mut self.random) else { break };
            seen += self.offer_page(database, page, policy, now);
            if seen >= wanted {
                return;
            }
        }
        if seen == 0
            && policy.volatile_only
            && let Some(page) = self.databases[database].find_volatile_page(walked_slot, &mut self.random)
        {
            self.offer_page(database, page, policy, now);
        }
    }

    /// Offers a page to the pool, or one key of it; how many there were.
    fn offer_page(
        &mut self,
        database: usize,
        (slot, page): DrawnPage,
        policy: EvictionPolicy,
        now: Milliseconds,
    ) -> usize {
        let Some(table) = self.databases[database].table(slot) else { return 0 };
        let (page, pool) = (table.page(page), &mut self.eviction);
        let offered = (0..page.len()).rev().filter(|index| policy.accepts(page.entry(*index)));
        let count = offered.clone().count();
        let (skipped, taken) = match policy.draws() {
            Draw::Pages => (0, count),
            Draw::Keys => (self.random.usize(..count.max(1)), 1),
        };
        for entry in offered.skip(skipped).take(taken).map(|index| page.entry(index)) {
            let urgency = policy.urgency(entry, self.access_policy, now);
            if pool.wants(urgency) {
                let hash = self.hasher.hash(entry.key());
                pool.insert(Candidate { urgency, database, slot, hash, key: entry.key().into() });
            }
        }
        taken.min(count)
    }
}

impl Database {
    fn evictable(&self, policy: EvictionPolicy) -> usize {
        if policy.volatile_only { self.volatile } else { self.keys }
    }

    /// A random page: each with the same chance, or with one like the number of keys around it.
    fn draw_page(&mut self, draw: Draw, random: &mut fastrand::Rng) -> Option<DrawnPage> {
        let weight = |table: &Table| if draw == Draw::Pages { table.page_count() } else { table.len() };
        let group_weight = |group: &Group| match draw {
            Draw::Pages => group.tables.iter().map(Table::page_count).sum(),
            Draw::Keys => group.keys,
        };
        if self.group_sums.draws_left == 0 || self.group_sums.draw != Some(draw) {
            let mut sum = 0;
            self.group_sums.sums.clear();
            self.group_sums.sums.extend(self.groups.iter().map(|group| {
                sum += group.as_deref().map_or(0, group_weight);
                sum
            }));
            self.group_sums.draw = Some(draw);
            self.group_sums.draws_left = DRAWS_UNTIL_SUMS;
        }
        self.group_sums.draws_left -= 1;
        let total = self.group_sums.sums.last().copied().unwrap_or(0);
        let number = if total > 0 {
            let nth = random.usize(..total);
            self.group_sums.sums.partition_point(|sum| *sum <= nth)
        } else {
            GROUPS
        };
        let drawn = self.group(number).filter(|group| group.keys > 0);
        let Some(group) = drawn else {
            // The sums are old, or nothing is there: made anew next time; the first key after a random slot does for now.
            self.group_sums.draws_left = 0;
            let slot = self.next_occupied(random.usize(..super::SLOTS)).or_else(|| self.next_occupied(0))?;
            let pages = self.table(slot)?.page_count();
            return Some((slot, random.usize(..pages)));
        };
        let mut nth = random.usize(..group_weight(group).max(1));
        let lane = group.tables.iter().position(|table| {
            let is_here = nth < weight(table);
            nth -= if is_here { 0 } else { weight(table) };
            is_here
        })?;
        let (slot, table) = ((number * GROUP_SLOTS + lane) as u16, &group.tables[lane]);
        let mut page = random.usize(..table.page_count());
        if draw == Draw::Keys {
            // Pages that wait for their split have twice the keys of the others: taken as often as they have keys.
            let keys_max = 2 * table.len() / table.page_count() + 1;
            for _ in 0..DRAWS_MAX {
                if random.usize(..keys_max) < table.page(page).len() {
                    break;
                }
                page = random.usize(..table.page_count());
            }
        }
        Some((slot, page))
    }

    /// Some page that has keys with an expiry, from a random group on. The slot in which the expiry cycle is has no bound.
    fn find_volatile_page(&self, walked_slot: Option<u16>, random: &mut fastrand::Rng) -> Option<DrawnPage> {
        let mut left = SEARCHED_PAGES_MAX;
        let (first_group, first_lane) = (random.usize(..GROUPS), random.usize(..GROUP_SLOTS));
        for group_step in 0..GROUPS {
            let number = (first_group + group_step) % GROUPS;
            let Some(group) = self.group(number) else { continue };
            for lane_step in 0..GROUP_SLOTS {
                let lane = (first_lane + lane_step) % GROUP_SLOTS;
                let slot = (number * GROUP_SLOTS + lane) as u16;
                let table = &group.tables[lane];
                if table.is_empty() || group.earliest_s[lane] == NEVER_S && walked_slot != Some(slot) {
                    continue;
                }
                let first_page = random.usize(..table.page_count());
                for page_step in 0..table.page_count() {
                    let page = (first_page + page_step) % table.page_count();
                    let has_expiry = |entry: PackedEntry<'_>| entry.expires_at().is_some();
                    if table.page(page).earliest_s() != NEVER_S && table.page(page).entries().any(has_expiry) {
                        return Some((slot, page));
                    }
                    left -= 1;
                    if left == 0 {
                        return None;
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Expiry, KeyHasher};
    use super::*;
    use crate::journal::EventClass;
    use EvictionOrder::{LeastFrequent, LeastRecent, Random, SoonestExpiry};

    const NOW: Milliseconds = 1_700_000_000_000;

    fn policy(order: EvictionOrder, volatile_only: bool) -> EvictionPolicy {
        EvictionPolicy { order, volatile_only, samples: 5 }
    }

    fn set(keyspace: &mut Keyspace, database: usize, name: &str, expiry: Expiry, now: Milliseconds) {
        let key = keyspace.key(name.as_bytes());
        keyspace.set_string(database, &key, b"value", expiry, now);
    }

    fn get(keyspace: &mut Keyspace, name: &str, now: Milliseconds) {
        let key = keyspace.key(name.as_bytes());
        keyspace.find(0, &key, now, Access::Touch);
    }

    fn has(keyspace: &Keyspace, database: usize, name: &str) -> bool {
        keyspace.peek(database, &keyspace.key(name.as_bytes()), 0).is_some()
    }

    /// Removes so many keys, of which there are enough.
    fn evict(keyspace: &mut Keyspace, policy: EvictionPolicy, count: usize, now: Milliseconds) {
        let mut removed = 0;
        for _ in 0..100 * count {
            match keyspace.evict(policy, now, |_| false) {
                Eviction::Removed => removed += 1,
                Eviction::NotFound => {}
                Eviction::Impossible => break,
            }
            if removed == count {
                return;
            }
        }
        panic!("{removed} of {count} keys were removed");
    }

    #[test]
    fn the_oldest_go_first() {
        for tag in ["", "{one slot}"] {
            let mut keyspace = Keyspace::new(2, KeyHasher::with_seed(1));
            let name = |number: usize| format!("{tag}{number}");
            (0..10_000)
                .for_each(|number| set(&mut keyspace, 0, &name(number), Expiry::Clear, NOW + number as i64 * 1000));
            evict(&mut keyspace, policy(LeastRecent, false), 2000, NOW + 10_000_000);
            let old = (0..2500).filter(|number| !has(&keyspace, 0, &name(*number))).count();
            let young = (5000..10_000).filter(|number| !has(&keyspace, 0, &name(*number))).count();
            assert!(old > 1600 && young < 20, "{tag}: {old} of the oldest quarter, {young} of the younger half");
            keyspace.databases[0].audit(None);
        }
    }

    #[test]
    fn who_is_used_stays() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        (0..300).for_each(|number| set(&mut keyspace, 0, &number.to_string(), Expiry::Clear, NOW));
        evict(&mut keyspace, policy(LeastRecent, false), 1, NOW + 1000);
        // By now they are candidates; those that are read meanwhile must not go.
        let survivors: Vec<String> =
            (0..300).map(|number| number.to_string()).filter(|name| has(&keyspace, 0, name)).take(50).collect();
        survivors.iter().for_each(|name| get(&mut keyspace, name, NOW + 50_000));
        evict(&mut keyspace, policy(LeastRecent, false), 200, NOW + 60_000);
        assert!(survivors.iter().all(|name| has(&keyspace, 0, name)));
    }

    #[test]
    fn reads_do_not_count_where_changes_do() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        keyspace.access_policy = AccessPolicy::Modification;
        (0..200).for_each(|number| set(&mut keyspace, 0, &number.to_string(), Expiry::Clear, NOW));
        (0..100).for_each(|number| get(&mut keyspace, &number.to_string(), NOW + 50_000));
        (100..200).for_each(|number| set(&mut keyspace, 0, &number.to_string(), Expiry::Clear, NOW + 50_000));
        evict(&mut keyspace, policy(LeastRecent, false), 100, NOW + 60_000);
        let unchanged = (0..100).filter(|number| !has(&keyspace, 0, &number.to_string())).count();
        assert!(unchanged > 85, "{unchanged}");
    }

    #[test]
    fn the_seldom_used_go_first() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        keyspace.access_policy = AccessPolicy::Frequency { log_factor: 1, decay_minutes: 0 };
        (0..200).for_each(|number| set(&mut keyspace, 0, &number.to_string(), Expiry::Clear, NOW));
        for number in (0..200).step_by(2) {
            (0..100).for_each(|_| get(&mut keyspace, &number.to_string(), NOW));
        }
        evict(&mut keyspace, policy(LeastFrequent, false), 90, NOW);
        assert!((0..200).step_by(2).all(|number| has(&keyspace, 0, &number.to_string())));
    }

    #[test]
    fn a_key_without_expiry_is_safe_from_volatile_policies() {
        for order in [LeastRecent, LeastFrequent, SoonestExpiry, Random] {
            let mut keyspace = Keyspace::new(2, KeyHasher::with_seed(1));
            (0..20_000).for_each(|number| set(&mut keyspace, 0, &format!("stays:{number}"), Expiry::Clear, NOW));
            let volatile = policy(order, true);
            assert_eq!(keyspace.evict(volatile, NOW, |_| false), Eviction::Impossible);
            for number in 0..3 {
                set(&mut keyspace, number % 2, &format!("goes:{number}"), Expiry::At(NOW + 1_000_000), NOW);
            }
            evict(&mut keyspace, volatile, 3, NOW);
            assert_eq!(keyspace.evict(volatile, NOW, |_| false), Eviction::Impossible, "{order:?}");
            assert_eq!((keyspace.len(0), keyspace.len(1), keyspace.statistics.evicted), (20_000, 0, 3));
        }
    }

    #[test]
    fn what_expires_soonest_goes_first() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        for number in 0..2000 {
            set(&mut keyspace, 0, &number.to_string(), Expiry::At(NOW + 1000 + number * 1000), NOW);
        }
        evict(&mut keyspace, policy(SoonestExpiry, true), 500, NOW);
        let late = (1000..2000).filter(|number| !has(&keyspace, 0, &number.to_string())).count();
        assert!(late < 5, "{late}");
    }

    #[test]
    fn chance_reaches_every_key_alike() {
        let mut counts = [0; 4];
        for seed in 0..400 {
            let mut keyspace = Keyspace::new(4, KeyHasher::with_seed(seed));
            // One database with most keys, one slot with most of these.
            (0..900).for_each(|number| set(&mut keyspace, 1, &format!("{{tag}}{number}"), Expiry::Clear, NOW));
            (0..50).for_each(|number| set(&mut keyspace, 1, &format!("a{number}"), Expiry::Clear, NOW));
            (0..50).for_each(|number| set(&mut keyspace, 3, &format!("b{number}"), Expiry::Clear, NOW));
            evict(&mut keyspace, policy(Random, false), 100, NOW);
            counts[0] += 100;
            counts[1] += 50 - (0..50).filter(|number| has(&keyspace, 1, &format!("a{number}"))).count();
            counts[3] += 50 - keyspace.len(3);
        }
        // Of 40,000 keys removed a twentieth each.
        assert!((1600..2400).contains(&counts[1]) && (1600..2400).contains(&counts[3]), "{counts:?}");
    }

    #[test]
    fn what_a_lock_holds_stays() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        (0..40).for_each(|number| set(&mut keyspace, 0, &number.to_string(), Expiry::Clear, NOW));
        let locked: Vec<u64> =
            (0..20).map(|number: i32| keyspace.hasher().hash(number.to_string().as_bytes())).collect();
        for _ in 0..1000 {
            keyspace.evict(policy(LeastRecent, false), NOW, |hash| locked.contains(&hash));
        }
        assert!((0..20).all(|number| has(&keyspace, 0, &number.to_string())));
        assert_eq!(keyspace.len(0), 20);
        assert_eq!(keyspace.evict(policy(Random, false), NOW, |_| true), Eviction::NotFound);
    }

    #[test]
    fn an_eviction_is_told_of() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        keyspace.journal.listen(true, &[EventClass::Evicted]);
        set(&mut keyspace, 0, "key", Expiry::Clear, NOW);
        let dirty = keyspace.dirty;
        evict(&mut keyspace, policy(LeastRecent, false), 1, NOW);
        let (effects, events) = keyspace.journal.take();
        assert_eq!(effects[0].arguments, [&b"DEL"[..], b"key"]);
        assert_eq!((events.len(), events[0].name, &events[0].key[..]), (1, "evicted", &b"key"[..]));
        assert_eq!((keyspace.statistics.evicted, keyspace.dirty), (1, dirty));
    }

    #[test]
    fn urgencies_of_two_shards_compare() {
        let lru = policy(LeastRecent, false);
        let at = |seconds_ago: u64| u64::MAX - (NOW as u64 / 1000 - seconds_ago);
        assert!(lru.is_clearly_before(at(100), at(10), NOW));
        assert!(!lru.is_clearly_before(at(100), at(90), NOW) && !lru.is_clearly_before(at(1), at(0), NOW));
        assert!(lru.is_clearly_before(at(0), 0, NOW) && !lru.is_clearly_before(0, at(0), NOW));
        let ttl = policy(SoonestExpiry, true);
        let left = |seconds: u64| u64::MAX - (NOW as u64 + seconds * 1000);
        assert!(ttl.is_clearly_before(left(10), left(100), NOW) && !ttl.is_clearly_before(left(90), left(100), NOW));
        assert!(policy(Random, false).is_clearly_before(200, 100, NOW));
    }
}
