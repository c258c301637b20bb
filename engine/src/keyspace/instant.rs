//! Walks over a database as it was at one instant, while it goes on changing. KEYS is one; so will a snapshot be.
//!
//! ```text
//!   all places, in the global order of (slot, position):
//!
//!   0 ───────────────── next ──────────────────────────────────── end
//!     the walk has passed │   ▒▒▒      ▒▒        ▒▒▒▒▒    ▒: served ahead
//!
//!   a change at a place that is neither:   the page that holds it is shown to the walk first, as it is, and is ▒ from then on
//! ```
//!
//! Nothing is frozen and nothing copied but what the walk itself keeps: *the writer serves the walk first*, a page of some
//! dozen keys at most once. Pages split and merge meanwhile without harm, since what has been served is known as intervals
//! of positions. Without a walk a change costs one look at an empty list.
//!
//! * Every change of a key, its value or its expiry goes through [`Walks::serve`] before it is made: insert, overwrite,
//!   change in place, removal, expiry.
//! * A flush leaves the tables to the walks on them; the last one gives them to the garbage. SWAPDB moves a walk's database
//!   to another number, which does not matter to it.
//! * Who asks for a walk holds its sink; a walk whose sink is gone ends by itself.
//! * A walk that never moves is an [`Instant`]: what changes is kept for it, what does not is where it was, and so single keys
//!   can be looked up as they were. SORT reads so what elements name.

use super::clock::AccessPolicy;
use super::database::Database;
use super::garbage::Garbage;
use super::key::KeyHasher;
use super::slot::SLOTS;
use super::{Entry, Key, Keyspace, OwnedEntry};
use crate::command::Milliseconds;
use crate::values::PackedEntry;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};

/// Where a walk shows each key, once.
pub trait WalkSink {
    /// A key that was there at the walk's instant, with its value then.
    fn key(&mut self, key: &[u8], entry: &Entry<'_>);
}

/// A walk's sink, shared with whoever asked for it.
pub type SharedSink = Rc<RefCell<dyn WalkSink>>;

/// Names a walk of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkId(u64);

/// A place in the order of a walk.
type Place = (u16, u64);

struct Walk {
    id: WalkId,
    /// The database, by its name.
    database: u64,
    /// The same, once it has been flushed.
    detached: Option<Rc<Database>>,
    /// Keys whose time is over then are not shown.
    now: Milliseconds,
    /// The first place it has not passed; none when it has passed all.
    next: Option<Place>,
    /// First and last places of what was served ahead, in one slot each.
    served: BTreeMap<Place, u64>,
    sink: Weak<RefCell<dyn WalkSink>>,
}

/// What the keyspace knows besides its tables.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) hasher: &'a KeyHasher,
    pub(super) policy: AccessPolicy,
}

impl Surroundings<'_> {
    fn position(&self, entry: PackedEntry<'_>) -> u64 {
        self.hasher.hash(entry.key()).reverse_bits()
    }
}

impl Walk {
    /// Whether a place needs not be shown any more.
    fn is_done_with(&self, place: Place) -> bool {
        let Some(next) = self.next else { return true };
        let served = self.served.range(..=place).next_back();
        place < next || served.is_some_and(|(first, last)| first.0 == place.0 && place.1 <= *last)
    }

    /// Whether something from `first` to `last` in a slot has been passed or served.
    fn has_begun(&self, first: Place, last: u64) -> bool {
        self.is_done_with(first) || self.served.range(first..=(first.0, last)).next().is_some()
    }

    /// Shows what it has not seen of the page at a position; the last position of that page, and how many keys it has.
    fn see_page(&mut self, database: &Database, place: Place, around: Surroundings<'_>) -> Option<(u64, usize)> {
        let table = database.table(place.0)?;
        let (index, end) = table.interval(place.1)?;
        let (first, last) = ((place.0, table.interval_start(index)), end.wrapping_sub(1));
        let is_untouched = !self.has_begun(first, last);
        let sink = self.sink.upgrade()?;
        let mut sink = sink.borrow_mut();
        let page = table.page(index);
        for entry in page.entries() {
            let is_new = is_untouched || !self.is_done_with((place.0, around.position(entry)));
            if is_new && !entry.is_expired(self.now) {
                sink.key(entry.key(), &Entry::new(entry, around.policy));
            }
        }
        Some((last, page.len()))
    }

    /// Something at a place is about to change.
    fn serve(&mut self, database: &Database, place: Place, around: Surroundings<'_>) {
        if self.is_done_with(place) {
            return;
        }
        let Some((last, _)) = self.see_page(database, place, around) else {
            // The slot is empty: nothing in it is from before.
            self.served.insert((place.0, 0), u64::MAX);
            return;
        };
        let first = database.table(place.0).and_then(|table| Some(table.interval_start(table.interval(place.1)?.0)));
        let first = (place.0, first.unwrap_or(place.1));
        // Pages that have been merged into this one since they were served.
        while let Some((inner, _)) = self.served.range(first..=(place.0, last)).next() {
            let inner = *inner;
            self.served.remove(&inner);
        }
        self.served.insert(first, last);
    }

    /// Goes on for about `budget` keys.
    fn step(&mut self, database: &Database, budget: u64, around: Surroundings<'_>) {
        let mut left = budget.max(1);
        while left > 0
            && let Some((slot, position)) = self.next
        {
            let Some(occupied) = database.next_occupied(slot as usize) else {
                self.next = None;
                break;
            };
            let place = if occupied == slot { (slot, position) } else { (occupied, 0) };
            self.next = Some(place);
            let Some((last, keys)) = self.see_page(database, place, around) else {
                self.next = None;
                break;
            };
            left = left.saturating_sub(1 + keys as u64);
            self.next = match last.checked_add(1) {
                Some(position) => Some((occupied, position)),
                None if (occupied as usize) + 1 < SLOTS => Some((occupied + 1, 0)),
                None => None,
            };
            let next = self.next.unwrap_or((u16::MAX, u64::MAX));
            while self.served.first_key_value().is_some_and(|((slot, _), last)| (*slot, *last) < next) {
                self.served.pop_first();
            }
        }
    }
}

/// The walks under way.
#[derive(Default)]
pub(super) struct Walks {
    walks: Vec<Walk>,
    next_id: u64,
}

impl Walks {
    /// Whether there are none, as nearly always.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// Shows what is at a position of a slot, and beside it, to all walks that have not seen it.
    #[cold]
    pub(super) fn serve(&mut self, database: &Database, slot: u16, position: u64, around: Surroundings<'_>) {
        let concerned = |walk: &&mut Walk| walk.database == database.id && walk.detached.is_none();
        self.walks.iter_mut().filter(concerned).for_each(|walk| walk.serve(database, (slot, position), around));
    }

    /// A database has been flushed: gives it back if no walk is on it.
    pub(super) fn detach(&mut self, database: Database) -> Option<Database> {
        let is_on_it = |walk: &&mut Walk| walk.database == database.id && walk.detached.is_none();
        let mut concerned = self.walks.iter_mut().filter(is_on_it).peekable();
        if concerned.peek().is_none() {
            return Some(database);
        }
        let walks: Vec<_> = concerned.collect();
        let shared = Rc::new(database);
        walks.into_iter().for_each(|walk| walk.detached = Some(shared.clone()));
        None
    }

    /// Ends the walks that nobody waits for, or one; what only they had goes to the garbage.
    pub(super) fn end(&mut self, ended: Option<WalkId>, garbage: &mut Garbage) {
        for index in (0..self.walks.len()).rev() {
            let walk = &self.walks[index];
            if Some(walk.id) == ended || walk.sink.strong_count() == 0 {
                let walk = self.walks.swap_remove(index);
                if let Some(database) = walk.detached.and_then(Rc::into_inner) {
                    garbage.discard_database(database);
                }
            }
        }
    }
}

impl Keyspace {
    /// Begins a walk over all keys of a database as it is now.
    pub fn begin_walk(&mut self, database: usize, now: Milliseconds, sink: &SharedSink) -> WalkId {
        let id = WalkId(self.walks.next_id);
        self.walks.next_id += 1;
        let (database, detached, next) = (self.databases[database].id, None, Some((0, 0)));
        let (served, sink) = (BTreeMap::new(), Rc::downgrade(sink));
        self.walks.walks.push(Walk { id, database, detached, now, next, served, sink });
        id
    }

    /// Shows about `budget` keys more; whether some are left. A walk that has come to its end is no more.
    pub fn step_walk(&mut self, id: WalkId, budget: u64) -> bool {
        let around = Surroundings { hasher: &self.hasher, policy: self.access_policy };
        let Some(walk) = self.walks.walks.iter_mut().find(|walk| walk.id == id) else { return false };
        let detached = walk.detached.clone();
        let database = detached.as_deref();
        let database = database.or_else(|| self.databases.iter().find(|database| database.id == walk.database));
        if let Some(database) = database {
            walk.step(database, budget, around);
        }
        if database.is_some() && walk.next.is_some() {
            return true;
        }
        drop(detached);
        self.walks.end(Some(id), &mut self.garbage);
        false
    }
}

/// Which keys will be looked up.
pub type KeyFilter = Box<dyn Fn(&[u8]) -> bool>;

/// What keys of an [`Instant`] held that have changed since, or stood beside one that has.
struct Kept {
    wants: KeyFilter,
    entries: HashMap<Vec<u8>, OwnedEntry>,
}

impl WalkSink for Kept {
    fn key(&mut self, key: &[u8], entry: &Entry<'_>) {
        if (self.wants)(key) {
            self.entries.insert(key.to_vec(), entry.to_owned());
        }
    }
}

/// A database as it is at one instant, as far as some keys are concerned. It ends when it is dropped.
pub struct Instant {
    walk: WalkId,
    kept: Rc<RefCell<Kept>>,
    _sink: SharedSink,
}

impl Keyspace {
    /// From now on the keys that a filter wants can be looked up as they are now.
    pub fn begin_instant(&mut self, database: usize, now: Milliseconds, wants: KeyFilter) -> Instant {
        let kept = Rc::new(RefCell::new(Kept { wants, entries: HashMap::new() }));
        let sink: SharedSink = kept.clone();
        Instant { walk: self.begin_walk(database, now, &sink), kept, _sink: sink }
    }

    /// What a key held at an instant; a large value is shared. One that was expired then is absent.
    pub fn look_up_at(&self, instant: &Instant, key: &Key<'_>) -> Option<OwnedEntry> {
        let walk = self.walks.walks.iter().find(|walk| walk.id == instant.walk)?;
        if walk.is_done_with((key.slot, key.hash.reverse_bits())) {
            return instant.kept.borrow().entries.get(key.bytes).cloned();
        }
        let there = || self.databases.iter().find(|database| database.id == walk.database);
        let database = walk.detached.as_deref().or_else(there)?;
        let packed = database.entry(key.slot, database.find(key)?)?;
        (!packed.is_expired(walk.now)).then(|| Entry::new(packed, self.access_policy).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expiry, Key};
    use super::*;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct Names(Vec<(Vec<u8>, Vec<u8>)>);

    impl WalkSink for Names {
        fn key(&mut self, key: &[u8], entry: &Entry<'_>) {
            let value = entry.string().map_or(Vec::new(), |text| text.to_bytes().into_owned());
            self.0.push((key.to_vec(), value));
        }
    }

    /// One slot, few slots or many: pages split and merge in different ways.
    fn name(number: u32, shape: u32) -> Vec<u8> {
        match shape % 3 {
            0 => format!("{{one}}{number}").into_bytes(),
            1 => format!("{{{}}}{number}", number % 5).into_bytes(),
            _ => format!("key:{number}").into_bytes(),
        }
    }

    fn change(keyspace: &mut Keyspace, random: &mut fastrand::Rng, shape: u32, now: &mut Milliseconds) {
        let name = name(random.u32(..700), shape);
        let key = Key::new(&name, &keyspace.hasher().clone());
        let database = random.usize(..2);
        match random.u32(..40) {
            0..12 => {
                let expiry = if random.bool() { Expiry::At(*now + random.i64(-3..40)) } else { Expiry::Clear };
                keyspace.set_string(database, &key, random.u32(..).to_string().as_bytes(), expiry, *now);
            }
            12..28 => drop(keyspace.remove(database, &key, *now)),
            28 => drop(keyspace.append(database, &key, b"more than fits into a page, so that it moves", *now)),
            29 => drop(keyspace.set_expiry(database, &key, Some(*now + random.i64(-3..40)), *now)),
            30..34 => {
                *now += random.i64(0..4);
                keyspace.expire_step(*now, random.usize(1..50));
            }
            34 if random.u32(..20) == 0 => drop(keyspace.flush(Some(database))),
            35 if random.u32(..10) == 0 => keyspace.swap_databases(0, 1),
            36 => drop(keyspace.collect_garbage(10)),
            _ => drop(keyspace.find(database, &key, *now, super::super::Access::Touch)),
        }
    }

    fn there_is(keyspace: &Keyspace, database: usize, now: Milliseconds) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
        let mut all = BTreeSet::new();
        keyspace.keys(database, now, &mut |key, entry| {
            all.insert((key.to_vec(), entry.string().expect("a string").to_bytes().into_owned()));
        });
        all
    }

    #[test]
    fn a_walk_shows_what_was_there_at_its_instant_whatever_happens_meanwhile() {
        let mut flushed = 0;
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut keyspace = Keyspace::new(2, KeyHasher::with_seed(seed));
            let mut now = 1000;
            let fill = random.usize(..3000);
            (0..fill).for_each(|_| change(&mut keyspace, &mut random, seed as u32, &mut now));
            let mut walks = Vec::new();
            for _ in 0..3 {
                (0..random.usize(..200)).for_each(|_| change(&mut keyspace, &mut random, seed as u32, &mut now));
                let names = Rc::new(RefCell::new(Names::default()));
                let sink: SharedSink = names.clone();
                let database = random.usize(..2);
                let id = keyspace.begin_walk(database, now, &sink);
                walks.push((id, names, sink, there_is(&keyspace, database, now)));
            }
            // One of them loses interest.
            let dropped = random.bool().then(|| walks.pop());
            while let Some(index) = (!walks.is_empty()).then(|| random.usize(..walks.len())) {
                (0..random.usize(..20)).for_each(|_| change(&mut keyspace, &mut random, seed as u32, &mut now));
                flushed += usize::from(keyspace.walks.walks.iter().any(|walk| walk.detached.is_some()));
                if keyspace.step_walk(walks[index].0, random.u64(1..100)) {
                    continue;
                }
                let (_, names, _, expected) = walks.swap_remove(index);
                let shown = std::mem::take(&mut names.borrow_mut().0);
                let all: BTreeSet<_> = shown.iter().cloned().collect();
                assert_eq!(all.len(), shown.len(), "seed {seed}: a key was shown twice");
                assert!(all == expected, "seed {seed}: {} of {} keys", all.len(), expected.len());
            }
            drop(dropped);
            keyspace.collect_garbage(1);
            assert!(keyspace.walks.is_empty());
            keyspace.databases.iter().for_each(|database| database.audit(None));
        }
        assert!(flushed > 100, "{flushed}");
    }

    #[test]
    fn keys_can_be_looked_up_as_they_were_whatever_happens_meanwhile() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut keyspace = Keyspace::new(2, KeyHasher::with_seed(seed));
            let mut now = 1000;
            let fill = random.usize(..2000);
            (0..fill).for_each(|_| change(&mut keyspace, &mut random, seed as u32, &mut now));
            let expected = there_is(&keyspace, 0, now);
            let is_odd = |name: &[u8]| name.last().is_some_and(|last| last % 2 == 1);
            let instant = keyspace.begin_instant(0, now, Box::new(is_odd));
            for _ in 0..300 {
                (0..random.usize(..20)).for_each(|_| change(&mut keyspace, &mut random, seed as u32, &mut now));
                let name = name(random.u32(..700), seed as u32);
                if is_odd(&name) {
                    let found = keyspace.look_up_at(&instant, &keyspace.key(&name));
                    let found = found.and_then(|entry| Some(entry.value.as_string()?.to_bytes().into_owned()));
                    let was = expected.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
                    assert_eq!(found, was, "seed {seed}: {}", name.escape_ascii());
                }
            }
            drop(instant);
            keyspace.collect_garbage(1);
            assert!(keyspace.walks.is_empty());
        }
    }
}
