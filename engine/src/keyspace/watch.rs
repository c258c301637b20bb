//! Keys that somebody wants to hear of when they change: those that transactions watch, and those that clients wait for.
//!
//! ```text
//!   WATCH k ──> entry of k: version, number of watchers          absent keys have one, too
//!   change  ──> Journal::event ──> version = next number         each change reports an event, whether or not it is told
//!   EXEC    ──> same version, and a key that lived then lives now: unchanged
//!   a client waits for k: a change puts k among those that are ready, which the shard looks at when the unit is through
//! ```
//!
//! * Versions are drawn from one rising number: one that was seen before an entry went and came again is never seen again.
//! * That a key's time is over changes no version: whoever saw it alive notices that it is not, and whoever saw it gone does
//!   not care when it is removed.
//! * A database that is emptied or exchanged changes the keys that live in it before or after.
//! * Memory is linear in the keys watched. A shard without any pays one look at the set of events that anybody hears.
//!
//! A command on the values of several shards runs on a temporary keyspace: its watches only [collect](Watches::collecting)
//! which keys changed, for their owners.

use super::{Held, Key, KeyHasher, Keyspace};
use crate::command::Milliseconds;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
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

/// What a client knows of a key that it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The database.
    pub database: u32,
    /// Whether the key was there, and its time not over.
    pub was_live: bool,
    /// The key's slot.
    pub slot: u16,
    /// The key's hash.
    pub hash: u64,
    /// The key's length.
    pub key_bytes: u32,
    version: u64,
}

#[derive(Debug)]
struct Watched {
    key: Box<[u8]>,
    version: u64,
    watchers: u32,
    /// How many wait for it.
    waiters: u32,
    is_ready: bool,
}

/// The keys of one shard that are watched.
#[derive(Default)]
pub struct Watches {
    keys: HashMap<KeyName, Watched, KeyNames>,
    /// How many of these have watchers; others are waited for.
    watched: usize,
    /// The last version drawn.
    version: u64,
    hasher: Option<KeyHasher>,
    collected: Option<HashSet<KeyName>>,
    /// Keys that are waited for and have changed.
    ready: VecDeque<KeyName>,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watches").field("keys", &self.keys.len()).finish_non_exhaustive()
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
        self.keys.is_empty() && self.collected.is_none()
    }

    /// Versions are again what they were.
    pub(super) fn restore(&mut self, versions: HashMap<KeyName, u64>) {
        for (name, version) in versions {
            if let Some(watched) = self.keys.get_mut(&name) {
                watched.version = version;
            }
        }
    }

    /// A key has changed; `held` keeps the versions that may come back.
    pub(crate) fn touch(&mut self, database: usize, key: &[u8], held: Option<&mut Held>) {
        let Some(hasher) = &self.hasher else { return };
        let name = (database as u32, hasher.hash(key));
        if let Some(collected) = &mut self.collected {
            collected.insert(name);
        }
        if let Some(watched) = self.keys.get_mut(&name) {
            if let Some(held) = held {
                held.versions.entry(name).or_insert(watched.version);
            }
            self.version += 1;
            watched.version = self.version;
            watched.note_ready(name, &mut self.ready);
        }
    }
}

impl Watches {
    /// Something beside a key's value has changed: those who wait for the key may want to know.
    pub(crate) fn note(&mut self, database: usize, key: &[u8]) {
        let Some(hasher) = &self.hasher else { return };
        let name = (database as u32, hasher.hash(key));
        if let Some(watched) = self.keys.get_mut(&name) {
            watched.note_ready(name, &mut self.ready);
        }
    }
}

impl Watched {
    fn note_ready(&mut self, name: KeyName, ready: &mut VecDeque<KeyName>) {
        if self.waiters > 0 && !std::mem::replace(&mut self.is_ready, true) {
            ready.push_back(name);
        }
    }
}

impl Keyspace {
    /// A client begins to watch a key: what it sees now. To be taken back by [`Keyspace::unwatch`].
    pub fn watch(&mut self, database: usize, key: &[u8], now: Milliseconds) -> Seen {
        let Key { slot, hash, .. } = self.key(key);
        let was_live = self.peek(database, &Key { bytes: key, slot, hash }, now).is_some();
        let watches = &mut self.journal.watches;
        let version = match watches.keys.entry((database as u32, hash)) {
            Entry::Occupied(mut entry) => {
                watches.watched += usize::from(entry.get().watchers == 0);
                entry.get_mut().watchers += 1;
                entry.get().version
            }
            Entry::Vacant(entry) => {
                watches.watched += 1;
                watches.version += 1;
                let version = watches.version;
                let (waiters, is_ready) = (0, false);
                entry.insert(Watched { key: key.into(), version, watchers: 1, waiters, is_ready });
                version
            }
        };
        self.journal.note_watches();
        Seen { database: database as u32, was_live, slot, hash, key_bytes: key.len() as u32, version }
    }

    /// A client watches a key no more; whether it is what the client has seen.
    pub fn unwatch(&mut self, seen: &Seen, now: Milliseconds) -> bool {
        let name = (seen.database, seen.hash);
        let Some(watched) = self.journal.watches.keys.get(&name) else { return false };
        let key = Key { bytes: &watched.key, slot: seen.slot, hash: seen.hash };
        let is_same = watched.version == seen.version
            && (!seen.was_live || self.peek(seen.database as usize, &key, now).is_some());
        let mut is_last = false;
        self.let_go(name, |watched| {
            is_last = watched.watchers == 1;
            watched.watchers = watched.watchers.saturating_sub(1);
        });
        self.journal.watches.watched -= usize::from(is_last);
        is_same
    }

    /// A client begins to wait for a key, until [`Keyspace::await_no_more`].
    pub fn await_key(&mut self, database: usize, key: &Key<'_>) {
        let name = (database as u32, key.hash);
        let watches = &mut self.journal.watches;
        let new = || Watched { key: key.bytes.into(), version: 0, watchers: 0, waiters: 0, is_ready: false };
        let version = &mut watches.version;
        let watched = watches.keys.entry(name).or_insert_with(|| {
            *version += 1;
            Watched { version: *version, ..new() }
        });
        watched.waiters += 1;
        self.journal.note_watches();
    }

    /// A client waits for a key no more.
    pub fn await_no_more(&mut self, name: (u32, u64)) {
        self.let_go(name, |watched| watched.waiters = watched.waiters.saturating_sub(1));
    }

    /// Whether a key that is waited for has changed.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.journal.watches.ready.is_empty()
    }

    /// The first such key, once.
    pub fn take_ready(&mut self) -> Option<(u32, u64)> {
        let name = self.journal.watches.ready.pop_front()?;
        if let Some(watched) = self.journal.watches.keys.get_mut(&name) {
            watched.is_ready = false;
        }
        Some(name)
    }

    /// Puts a key among them.
    pub fn mark_ready(&mut self, name: (u32, u64)) {
        let watches = &mut self.journal.watches;
        if let Some(watched) = watches.keys.get_mut(&name) {
            watched.note_ready(name, &mut watches.ready);
        }
    }

    fn let_go(&mut self, name: KeyName, act: impl FnOnce(&mut Watched)) {
        if let Entry::Occupied(mut entry) = self.journal.watches.keys.entry(name) {
            act(entry.get_mut());
            if entry.get().watchers == 0 && entry.get().waiters == 0 {
                entry.remove();
            }
        }
        if self.journal.watches.keys.is_empty() {
            // Who watched very many keys leaves nothing behind.
            self.journal.watches.keys.shrink_to(WATCHES_KEPT);
            self.journal.note_watches();
        }
    }

    /// Number of keys that are watched.
    pub fn watched_keys(&self) -> usize {
        self.journal.watches.watched
    }

    /// One database, or all, is about to be emptied: those who watch keys that live in it are told.
    pub(crate) fn touch_flushed(&mut self, database: Option<usize>, now: Milliseconds) {
        self.touch_watched(|keyspace, watched_in, key| {
            database.is_none_or(|database| database == watched_in) && keyspace.peek(watched_in, key, now).is_some()
        });
    }

    /// Two databases are about to be exchanged: those who watch keys that live in either are told.
    pub(crate) fn touch_swapped(&mut self, first: usize, second: usize, now: Milliseconds) {
        self.touch_watched(|keyspace, watched_in, key| {
            let lives_in = |database| keyspace.peek(database, key, now).is_some();
            (watched_in == first || watched_in == second) && (lives_in(first) || lives_in(second))
        });
    }

    fn touch_watched(&mut self, changes: impl Fn(&Self, usize, &Key<'_>) -> bool) {
        if self.journal.watches.keys.is_empty() {
            return;
        }
        let mut watches = std::mem::take(&mut self.journal.watches);
        let mut held = self.journal.held.take();
        for ((database, hash), watched) in &mut watches.keys {
            let key = Key { hash: *hash, ..Key::new(&watched.key, &self.hasher) };
            if changes(self, *database as usize, &key) {
                if let Some(held) = &mut held {
                    held.versions.entry((*database, *hash)).or_insert(watched.version);
                }
                watches.version += 1;
                watched.version = watches.version;
                watched.note_ready((*database, *hash), &mut watches.ready);
            }
        }
        self.journal.watches = watches;
        self.journal.held = held;
    }
}

/// Room for so many keys is kept while none is watched.
const WATCHES_KEPT: usize = 64;

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

    #[test]
    fn a_change_is_seen_by_those_who_watched_before_and_not_by_those_who_watch_after() {
        let keyspace = &mut keyspace();
        let (before, other) = (keyspace.watch(0, b"k", 0), keyspace.watch(0, b"other", 0));
        set(keyspace, b"k", Expiry::Clear);
        let after = keyspace.watch(0, b"k", 0);
        let elsewhere = keyspace.watch(1, b"k", 0);
        assert_eq!(keyspace.watched_keys(), 3);
        assert_eq!([before, other, after, elsewhere].map(|seen| keyspace.unwatch(&seen, 0)), [false, true, true, true]);
        assert_eq!(keyspace.watched_keys(), 0);
        assert!(keyspace.journal.watches.is_empty());
    }

    #[test]
    fn an_entry_that_went_and_came_again_is_another_one() {
        let keyspace = &mut keyspace();
        let first = keyspace.watch(0, b"k", 0);
        assert!(keyspace.unwatch(&first, 0));
        let second = keyspace.watch(0, b"k", 0);
        assert!(!keyspace.unwatch(&first, 0));
        assert!(!keyspace.unwatch(&second, 0), "the count has been taken already");
    }

    #[test]
    fn a_key_that_lived_must_live_and_one_that_was_over_may_go() {
        let keyspace = &mut keyspace();
        set(keyspace, b"k", Expiry::At(1000));
        let (alive, over) = (keyspace.watch(0, b"k", 1000), keyspace.watch(0, b"k", 1001));
        let key = Key::new(b"k", &keyspace.hasher.clone());
        let late = keyspace.watch(0, b"k", 1001);
        assert!(!keyspace.unwatch(&alive, 1001), "it is over, and still there");
        assert!(keyspace.find(0, &key, 1001, Access::Touch).is_none());
        assert!(keyspace.unwatch(&over, 1001), "its removal is no change");
        set(keyspace, b"k", Expiry::Clear);
        assert!(!keyspace.unwatch(&late, 1001), "a new value is");
    }

    #[test]
    fn flushes_and_exchanges_change_what_lives_before_or_after() {
        for (flushes, expected) in [(true, [false, true, true, true]), (false, [false, true, true, false])] {
            let keyspace = &mut keyspace();
            set(keyspace, b"lives", Expiry::Clear);
            set(keyspace, b"over", Expiry::At(10));
            let seen = [(0, &b"lives"[..]), (0, b"none"), (0, b"over"), (1, b"lives")];
            let seen = seen.map(|(database, name)| keyspace.watch(database, name, 100));
            if flushes {
                keyspace.touch_flushed(Some(0), 100);
                keyspace.flush(Some(0));
            } else {
                keyspace.touch_swapped(0, 1, 100);
                keyspace.swap_databases(0, 1);
            }
            // A key that was seen alive is noticed to be gone without that, too.
            let is_same = seen.map(|seen| keyspace.unwatch(&Seen { was_live: false, ..seen }, 100));
            assert_eq!(is_same, expected, "flushes: {flushes}");
        }
    }
}
