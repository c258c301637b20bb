//! Keys that somebody wants to hear of when they change: those that transactions watch, and those that clients wait for.
//!
//! ```text
//!   WATCH k ──> k: who watches it        the watcher: its keys, whether any has changed, until when all that lived live
//!   change  ──> Journal::event ──> k's watchers are told           each change reports an event, whether or not it is told
//!   EXEC    ──> one look at the watcher, whatever the number of its keys
//!   a client waits for k: a change puts k among those that are ready, which the shard looks at when the unit is through
//! ```
//!
//! * A watcher is named anew after each EXEC: what its keys still know of it means nothing then, and is forgotten in slices
//!   ([`Keyspace::forget_watched`]).
//! * That a key's time is over tells nobody: whoever saw it alive knows when its time is over, and whoever saw it gone does
//!   not care when it is removed. A change of that time is a change.
//! * A database that is emptied or exchanged changes the keys that live in it before or after. Of a watcher that has heard of no
//!   change yet, those live now that lived when it saw them.
//! * Memory is linear in the keys watched. A shard without any pays one look at the set of events that anybody hears.
//!
//! A command on the values of several shards runs on a temporary keyspace: its watches only [collect](Watches::collecting)
//! which keys changed, for their owners.

use super::{Held, Key, KeyHasher, Keyspace};
use crate::command::Milliseconds;
use crate::journal::Journal;
use smallvec::SmallVec;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// A key of a database, by its hash: two keys that collide are taken for one, which costs a retry.
type KeyName = (u32, u64);

/// For tables by the names of keys, whose hashes are seeded already.
pub type KeyNames = BuildHasherDefault<NameHasher>;

/// The hash of a key as it is, turned by the number of its database.
#[derive(Debug, Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u32(&mut self, database: u32) {
        self.0 = self.0.rotate_left(7) ^ u64::from(database);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = self.0.rotate_left(7) ^ hash;
    }
}

/// Who watches: a client, from its first WATCH to its next EXEC. No name is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watcher(pub u64);

/// A watched key.
#[derive(Debug)]
struct Watched {
    key: Box<[u8]>,
    /// In order. Some may have gone already.
    watchers: SmallVec<[Watcher; 2]>,
}

/// A key that is waited for.
#[derive(Debug)]
struct Awaited {
    key: Box<[u8]>,
    waiters: u32,
    is_ready: bool,
}

/// What is known of a watcher.
#[derive(Debug)]
struct Sight {
    /// Its keys, with their slots.
    keys: BTreeMap<KeyName, u16>,
    /// One of them has changed.
    is_changed: bool,
    /// The first end of those that lived, if they end.
    lives_until: Milliseconds,
    /// The databases in which some lived.
    lived_in: SmallVec<[u32; 2]>,
}

impl Default for Sight {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), is_changed: false, lives_until: Milliseconds::MAX, lived_in: SmallVec::new() }
    }
}

/// The keys of one shard that are watched, or waited for.
#[derive(Default)]
pub struct Watches {
    /// In nodes: whoever watches very many keys makes no table double, nor be freed at once.
    watched: BTreeMap<KeyName, Watched>,
    watchers: BTreeMap<Watcher, Sight>,
    /// Keys that still know watchers who have gone.
    leaving: Vec<(Watcher, BTreeMap<KeyName, u16>)>,
    awaited: HashMap<KeyName, Awaited, KeyNames>,
    hasher: Option<KeyHasher>,
    collected: Option<HashSet<KeyName>>,
    /// Keys that are waited for and have changed.
    ready: VecDeque<KeyName>,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watches").field("keys", &self.watched.len()).finish_non_exhaustive()
    }
}

impl Watches {
    /// None yet.
    pub(super) fn new(hasher: KeyHasher) -> Self {
        Self { hasher: Some(hasher), ..Self::default() }
    }

    /// Nobody watches, but what changes is collected.
    pub(crate) fn collecting(hasher: KeyHasher) -> Self {
        Self { collected: Some(HashSet::new()), ..Self::new(hasher) }
    }

    /// What has been collected.
    pub(crate) fn take_collected(&mut self) -> HashSet<KeyName> {
        self.collected.take().unwrap_or_default()
    }

    /// Whether nobody wants to hear of anything.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.awaited.is_empty() && self.collected.is_none()
    }

    /// What these watchers heard of has not been.
    pub(super) fn restore(&mut self, told: Vec<Watcher>) {
        for watcher in told {
            if let Some(sight) = self.watchers.get_mut(&watcher) {
                sight.is_changed = false;
            }
        }
    }

    /// A key has changed; `held` keeps who hears of a first change, which may be undone.
    pub(crate) fn touch(&mut self, database: usize, key: &[u8], held: Option<&mut Held>) {
        let Some(hasher) = &self.hasher else { return };
        let name = (database as u32, hasher.hash(key));
        if let Some(collected) = &mut self.collected {
            collected.insert(name);
        }
        if !self.watched.is_empty()
            && let Some(watched) = self.watched.get(&name)
        {
            tell(&mut self.watchers, &watched.watchers, held);
        }
        self.note_ready(name);
    }

    /// Something beside a key's value has changed: those who wait for the key may want to know.
    pub(crate) fn note(&mut self, database: usize, key: &[u8]) {
        let Some(hasher) = &self.hasher else { return };
        self.note_ready((database as u32, hasher.hash(key)));
    }

    fn note_ready(&mut self, name: KeyName) {
        if !self.awaited.is_empty()
            && let Some(awaited) = self.awaited.get_mut(&name)
            && !std::mem::replace(&mut awaited.is_ready, true)
        {
            self.ready.push_back(name);
        }
    }

    /// Forgets who watches a key.
    fn forget(&mut self, watcher: Watcher, name: KeyName) {
        if let Some(watched) = self.watched.get_mut(&name) {
            if let Ok(place) = watched.watchers.binary_search(&watcher) {
                watched.watchers.remove(place);
            }
            if watched.watchers.is_empty() {
                self.watched.remove(&name);
            }
        }
    }
}

/// Watchers hear of a change.
fn tell(sights: &mut BTreeMap<Watcher, Sight>, watchers: &[Watcher], mut held: Option<&mut Held>) {
    for watcher in watchers {
        if let Some(sight) = sights.get_mut(watcher)
            && !std::mem::replace(&mut sight.is_changed, true)
            && let Some(held) = &mut held
        {
            held.told.push(*watcher);
        }
    }
}

/// So many keys are forgotten by who unwatches them.
const FORGOTTEN_AT_ONCE_MAX: usize = 64;

impl Keyspace {
    /// A client begins to watch a key, until [`Keyspace::unwatch`]; what it saw first counts. False if it has watched it before.
    pub fn watch(&mut self, watcher: Watcher, database: usize, key: &[u8], now: Milliseconds) -> bool {
        let Key { slot, hash, .. } = self.key(key);
        let found = self.peek(database, &Key { bytes: key, slot, hash }, now);
        let lives_until = found.map(|entry| entry.expires_at().unwrap_or(Milliseconds::MAX));
        let (watches, name) = (&mut self.journal.watches, (database as u32, hash));
        let sight = watches.watchers.entry(watcher).or_default();
        if sight.keys.insert(name, slot).is_some() {
            return false;
        }
        if let Some(lives_until) = lives_until {
            sight.lives_until = sight.lives_until.min(lives_until);
            if !sight.lived_in.contains(&name.0) {
                sight.lived_in.push(name.0);
            }
        }
        let new = || Watched { key: key.into(), watchers: SmallVec::new() };
        let watchers = &mut watches.watched.entry(name).or_insert_with(new).watchers;
        if let Err(place) = watchers.binary_search(&watcher) {
            watchers.insert(place, watcher);
        }
        self.journal.note_watches();
        true
    }

    /// Whether all is as a watcher saw it.
    pub fn is_as_seen(&self, watcher: Watcher, now: Milliseconds) -> bool {
        let sight = self.journal.watches.watchers.get(&watcher);
        sight.is_some_and(|sight| !sight.is_changed && now <= sight.lives_until)
    }

    /// The keys that it watches, by their slots and hashes; none if they are more than so many.
    pub fn watched_by(&self, watcher: Watcher, keys_max: usize) -> Option<impl Iterator<Item = (u16, u64)> + '_> {
        let keys = self.journal.watches.watchers.get(&watcher).map(|sight| &sight.keys);
        let is_few = keys.is_none_or(|keys| keys.len() <= keys_max);
        is_few.then(|| keys.into_iter().flatten().map(|((_, hash), slot)| (*slot, *hash)))
    }

    /// It watches nothing more: what is left is to forget its keys, at once if they are few.
    pub fn unwatch(&mut self, watcher: Watcher) {
        let watches = &mut self.journal.watches;
        let Some(Sight { keys, .. }) = watches.watchers.remove(&watcher) else { return };
        if keys.len() > FORGOTTEN_AT_ONCE_MAX {
            return watches.leaving.push((watcher, keys));
        }
        keys.into_keys().for_each(|name| watches.forget(watcher, name));
        self.journal.note_watches();
    }

    /// Forgets keys of watchers that have gone, for so many units; whether more are left.
    pub fn forget_watched(&mut self, left: &mut usize) -> bool {
        /// A key's nodes are looked for in memory.
        const UNITS_A_KEY: usize = 4;
        let watches = &mut self.journal.watches;
        if watches.leaving.is_empty() {
            return false;
        }
        while *left > 0
            && let Some((watcher, keys)) = watches.leaving.last_mut()
        {
            *left = left.saturating_sub(UNITS_A_KEY);
            let (watcher, next) = (*watcher, keys.pop_first());
            match next {
                Some((name, _)) => watches.forget(watcher, name),
                None => drop(watches.leaving.pop()),
            }
        }
        let is_left = !watches.leaving.is_empty();
        self.journal.note_watches();
        is_left
    }

    /// A client begins to wait for a key, until [`Keyspace::await_no_more`].
    pub fn await_key(&mut self, database: usize, key: &Key<'_>) {
        let new = || Awaited { key: key.bytes.into(), waiters: 0, is_ready: false };
        self.journal.watches.awaited.entry((database as u32, key.hash)).or_insert_with(new).waiters += 1;
        self.journal.note_watches();
    }

    /// A client waits for a key no more.
    pub fn await_no_more(&mut self, name: (u32, u64)) {
        let watches = &mut self.journal.watches;
        if let Entry::Occupied(mut entry) = watches.awaited.entry(name) {
            entry.get_mut().waiters = entry.get().waiters.saturating_sub(1);
            if entry.get().waiters == 0 {
                entry.remove();
            }
        }
        if watches.awaited.is_empty() {
            // Many who waited leave nothing behind.
            watches.awaited.shrink_to(AWAITED_KEPT);
            self.journal.note_watches();
        }
    }

    /// Whether a key that is waited for has changed.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.journal.watches.ready.is_empty()
    }

    /// The first such key, once.
    pub fn take_ready(&mut self) -> Option<(u32, u64)> {
        let name = self.journal.watches.ready.pop_front()?;
        if let Some(awaited) = self.journal.watches.awaited.get_mut(&name) {
            awaited.is_ready = false;
        }
        Some(name)
    }

    /// Puts a key among them.
    pub fn mark_ready(&mut self, name: (u32, u64)) {
        self.journal.watches.note_ready(name);
    }

    /// Number of keys that are watched.
    pub fn watched_keys(&self) -> usize {
        self.journal.watches.watched.len()
    }

    /// One database, or all, is about to be emptied: those who watch keys that live in it are told.
    pub(crate) fn touch_flushed(&mut self, database: Option<usize>, now: Milliseconds) {
        let is_flushed = |number: u32| database.is_none_or(|database| database == number as usize);
        let Journal { watches, held, .. } = &mut self.journal;
        let of_flushed = watches.watchers.iter().filter(|(_, sight)| sight.lived_in.iter().copied().any(is_flushed));
        let changed: Vec<Watcher> = of_flushed.map(|(watcher, _)| *watcher).collect();
        tell(&mut watches.watchers, &changed, held.as_deref_mut());
        self.wake_awaited(|keyspace, awaited_in, key| {
            is_flushed(awaited_in) && keyspace.peek(awaited_in as usize, key, now).is_some()
        });
    }

    /// Two databases are about to be exchanged: those who watch keys that live in either are told.
    pub(crate) fn touch_swapped(&mut self, first: usize, second: usize, now: Milliseconds) {
        let changes = |keyspace: &Self, watched_in: u32, key: &Key<'_>| {
            let lives_in = |database| keyspace.peek(database, key, now).is_some();
            (watched_in as usize == first || watched_in as usize == second) && (lives_in(first) || lives_in(second))
        };
        let mut watches = std::mem::take(&mut self.journal.watches);
        let mut held = self.journal.held.take();
        for ((database, hash), watched) in &watches.watched {
            let key = Key { hash: *hash, ..Key::new(&watched.key, &self.hasher) };
            if changes(self, *database, &key) {
                tell(&mut watches.watchers, &watched.watchers, held.as_deref_mut());
            }
        }
        self.journal.watches = watches;
        self.journal.held = held;
        self.wake_awaited(changes);
    }

    /// Those who wait for a key look again, if something is so of it.
    fn wake_awaited(&mut self, changes: impl Fn(&Self, u32, &Key<'_>) -> bool) {
        let awaited = &self.journal.watches.awaited;
        let changed = awaited.iter().filter(|((database, hash), awaited)| {
            let key = Key { hash: *hash, ..Key::new(&awaited.key, &self.hasher) };
            changes(self, *database, &key)
        });
        let changed: Vec<KeyName> = changed.map(|(name, _)| *name).collect();
        changed.into_iter().for_each(|name| self.journal.watches.note_ready(name));
    }
}

/// Room for so many keys is kept while none is waited for.
const AWAITED_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Access, Expiry};

    fn keyspace() -> Keyspace {
        Keyspace::new(2, KeyHasher::with_seed(1))
    }

    fn set(keyspace: &mut Keyspace, name: &[u8], expiry: Expiry) {
        let key = keyspace.key(name);
        keyspace.set_string(0, &key, b"v", expiry, 0);
        keyspace.journal.event(0, crate::journal::EventClass::String, "set", name);
    }

    /// A watcher for each of these keys.
    fn each_by_its_own(keyspace: &mut Keyspace, keys: &[(usize, &[u8])], now: Milliseconds) -> Vec<Watcher> {
        let watcher = |(number, (database, name)): (usize, &(usize, &[u8]))| {
            let watcher = Watcher(100 + number as u64);
            assert!(keyspace.watch(watcher, *database, name, now));
            watcher
        };
        keys.iter().enumerate().map(watcher).collect()
    }

    #[test]
    fn a_change_is_seen_by_those_who_watched_before_and_not_by_those_who_watch_after() {
        let keyspace = &mut keyspace();
        let [before, other, after, elsewhere] = [1, 2, 3, 4].map(Watcher);
        keyspace.watch(before, 0, b"k", 0);
        keyspace.watch(other, 0, b"other", 0);
        set(keyspace, b"k", Expiry::Clear);
        keyspace.watch(after, 0, b"k", 0);
        keyspace.watch(elsewhere, 1, b"k", 0);
        assert!(!keyspace.watch(before, 0, b"k", 0), "again");
        assert_eq!(keyspace.watched_keys(), 3);
        let is_same = [before, other, after, elsewhere].map(|watcher| keyspace.is_as_seen(watcher, 0));
        assert_eq!(is_same, [false, true, true, true], "what was seen first counts");
        [before, other, after, elsewhere].into_iter().for_each(|watcher| keyspace.unwatch(watcher));
        assert_eq!(keyspace.watched_keys(), 0);
        assert!(keyspace.journal.watches.is_empty());
        assert!(!keyspace.is_as_seen(other, 0), "who has gone has seen nothing");
    }

    #[test]
    fn a_key_that_lived_must_live_and_one_that_was_over_may_go() {
        let keyspace = &mut keyspace();
        let [alive, over, late] = [1, 2, 3].map(Watcher);
        set(keyspace, b"k", Expiry::At(1000));
        keyspace.watch(alive, 0, b"k", 1000);
        keyspace.watch(over, 0, b"k", 1001);
        let key = Key::new(b"k", &keyspace.hasher.clone());
        keyspace.watch(late, 0, b"k", 1001);
        assert!(keyspace.is_as_seen(alive, 1000));
        assert!(!keyspace.is_as_seen(alive, 1001), "it is over, and still there");
        assert!(keyspace.find(0, &key, 1001, Access::Touch).is_none());
        assert!(keyspace.is_as_seen(over, 1001), "its removal is no change");
        set(keyspace, b"k", Expiry::Clear);
        assert!(!keyspace.is_as_seen(late, 1001), "a new value is");
    }

    #[test]
    fn flushes_and_exchanges_change_what_lives_before_or_after() {
        for (flushes, expected) in [(true, [false, true, true, true]), (false, [false, true, true, false])] {
            let keyspace = &mut keyspace();
            set(keyspace, b"lives", Expiry::Clear);
            set(keyspace, b"over", Expiry::At(10));
            let keys: [(usize, &[u8]); 4] = [(0, b"lives"), (0, b"none"), (0, b"over"), (1, b"lives")];
            let watchers = each_by_its_own(keyspace, &keys, 100);
            if flushes {
                keyspace.touch_flushed(Some(0), 100);
                keyspace.flush(Some(0));
            } else {
                keyspace.touch_swapped(0, 1, 100);
                keyspace.swap_databases(0, 1);
            }
            let is_same: Vec<bool> = watchers.iter().map(|watcher| keyspace.is_as_seen(*watcher, 100)).collect();
            assert_eq!(is_same, expected, "flushes: {flushes}");
        }
    }

    #[test]
    fn very_many_keys_are_asked_about_at_once_and_forgotten_in_slices() {
        const KEYS: u64 = 10_000;
        let keyspace = &mut keyspace();
        let [many, few] = [1, 2].map(Watcher);
        (0..KEYS).for_each(|key| assert!(keyspace.watch(many, 0, &key.to_le_bytes(), 0)));
        (0..3_u64).for_each(|key| assert!(keyspace.watch(few, 0, &key.to_le_bytes(), 0)));
        assert!(
            keyspace.watched_by(many, 100).is_none()
                && keyspace.watched_by(few, 100).is_some_and(|keys| keys.count() == 3)
        );
        assert!(keyspace.is_as_seen(many, 0));
        keyspace.unwatch(many);
        assert_eq!(keyspace.watched_keys() as u64, KEYS, "nothing has been looked at");
        let mut slices = 1;
        let budget = 100;
        let mut before = keyspace.watched_keys();
        while keyspace.collect_garbage(budget) {
            slices += 1;
            let now = keyspace.watched_keys();
            assert!(before - now <= budget, "{before} {now}");
            before = now;
        }
        assert!(slices >= KEYS as usize / budget, "{slices}");
        assert_eq!(keyspace.watched_keys(), 3);
        set(keyspace, &0_u64.to_le_bytes(), Expiry::Clear);
        assert!(!keyspace.is_as_seen(few, 0));
        keyspace.unwatch(few);
        assert!(keyspace.journal.watches.is_empty());
    }
}
