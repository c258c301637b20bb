//! A shard's slice of all databases.

mod cursor;
mod entry;
mod key;
mod slot;

pub use cursor::ScanCursor;
pub use entry::{Entry, OwnedEntry, Value};
pub use key::{Key, KeyHasher};
pub use slot::{SLOTS, slot_of};

use crate::command::Milliseconds;
use crate::values::{OwnedString, StringRef};
use entry::Record;
use std::collections::BTreeMap;

/// Whether a read counts as an access for LRU and LFU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does.
    Touch,
    /// It does not (OBJECT, TYPE, TTL, CLIENT NO-TOUCH).
    NoTouch,
}

/// What a write does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Leaves it (KEEPTTL, INCR).
    Keep,
    /// Takes it away (SET).
    Clear,
    /// Sets it.
    At(Milliseconds),
}

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Reads that found their key (`keyspace_hits`).
    pub hits: u64,
    /// Reads that did not (`keyspace_misses`).
    pub misses: u64,
    /// Keys removed because their time was over (`expired_keys`).
    pub expired: u64,
    /// Those of them that an access found before the expiry cycle did.
    pub expired_lazily: u64,
    /// Keys removed because memory was short (`evicted_keys`).
    pub evicted: u64,
}

/// What one call of [`Keyspace::expire_step`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Keys removed.
    pub expired: usize,
    /// Whether the budget ended before the work.
    pub more: bool,
}

type Table = BTreeMap<(u16, u64, Box<[u8]>), Record>;

/// All keys of one shard.
pub struct Keyspace {
    /// Counters for INFO.
    pub statistics: Statistics,
    /// Changes so far; each mutation adds one.
    pub dirty: u64,
    databases: Vec<Table>,
    hasher: KeyHasher,
}

fn place(key: &Key<'_>) -> (u16, u64, Box<[u8]>) {
    (key.slot, key.hash.reverse_bits(), key.bytes.into())
}

fn is_expired(record: &Record, now: Milliseconds) -> bool {
    record.expires_at.is_some_and(|at| now > at)
}

impl Keyspace {
    /// A keyspace of so many empty databases.
    pub fn new(database_count: usize, hasher: KeyHasher) -> Self {
        let databases = (0..database_count).map(|_| Table::new()).collect();
        Self { statistics: Statistics::default(), dirty: 0, databases, hasher }
    }

    /// The hasher of keys.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The key with its slot and hash.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key::new(bytes, &self.hasher)
    }

    /// Number of databases.
    pub fn database_count(&self) -> usize {
        self.databases.len()
    }

    fn drop_expired(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) {
        let place = place(key);
        if self.databases[database].get(&place).is_some_and(|record| is_expired(record, now)) {
            self.databases[database].remove(&place);
            self.statistics.expired += 1;
            self.statistics.expired_lazily += 1;
        }
    }

    /// Looks a key up for a client's read: counts a hit or a miss. An expired key is removed and absent.
    pub fn find(&mut self, database: usize, key: &Key<'_>, now: Milliseconds, access: Access) -> Option<Entry<'_>> {
        self.drop_expired(database, key, now);
        let Some(record) = self.databases[database].get_mut(&place(key)) else {
            self.statistics.misses += 1;
            return None;
        };
        self.statistics.hits += 1;
        if access == Access::Touch {
            record.clock = (now / 1000) as u32 & 0xff_ffff;
        }
        Some(Entry { record })
    }

    /// Looks a key up without counting, touching or removing anything; an expired one is absent.
    pub fn peek(&self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<Entry<'_>> {
        let record = self.databases[database].get(&place(key))?;
        (!is_expired(record, now)).then_some(Entry { record })
    }

    /// Whether the key is there; removes it if expired, counts and touches nothing.
    pub fn exists(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> bool {
        self.drop_expired(database, key, now);
        self.peek(database, key, now).is_some()
    }

    /// Asks the processor for the first cache line a look-up of this key needs. Call it for each key of a batch, then
    /// [`Keyspace::prefetch_page`] for each, then [`Keyspace::prefetch_entry`] for each, then run the batch.
    pub fn prefetch(&self, _database: usize, _key: &Key<'_>) {}

    /// The second stage of [`Keyspace::prefetch`].
    pub fn prefetch_page(&self, _database: usize, _key: &Key<'_>) {}

    /// The third stage of [`Keyspace::prefetch`].
    pub fn prefetch_entry(&self, _database: usize, _key: &Key<'_>) {}

    fn store(&mut self, database: usize, key: &Key<'_>, value: OwnedString, expiry: Expiry, now: Milliseconds) {
        self.drop_expired(database, key, now);
        let place = place(key);
        let expires_at = match expiry {
            Expiry::Keep => self.databases[database].get(&place).and_then(|record| record.expires_at),
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        let clock = (now / 1000) as u32 & 0xff_ffff;
        self.databases[database].insert(place, Record { value, expires_at, clock });
        self.dirty += 1;
    }

    /// Stores a string as SET does: as an integer where the text is the canonical one of an i64.
    pub fn set_string(&mut self, database: usize, key: &Key<'_>, value: &[u8], expiry: Expiry, now: Milliseconds) {
        self.store(database, key, OwnedString::new(value), expiry, now);
    }

    /// Stores an integer.
    pub fn set_integer(&mut self, database: usize, key: &Key<'_>, value: i64, expiry: Expiry, now: Milliseconds) {
        self.store(database, key, OwnedString::Integer(value), expiry, now);
    }

    /// Adds a suffix to a string and returns its new length. An absent key is created as SET does. The caller has made
    /// sure that the key holds a string, or nothing.
    pub fn append(&mut self, database: usize, key: &Key<'_>, suffix: &[u8], now: Milliseconds) -> usize {
        let Some(old) = self.peek(database, key, now).and_then(|entry| entry.string()) else {
            self.set_string(database, key, suffix, Expiry::Clear, now);
            return suffix.len();
        };
        let mut text = old.to_bytes().into_owned();
        text.extend_from_slice(suffix);
        self.store(database, key, OwnedString::raw(&text), Expiry::Keep, now);
        text.len()
    }

    /// Writes bytes at an offset of a string, padding with zeros, and returns its new length. Writing no bytes changes
    /// nothing. The caller has made sure that the key holds a string, or nothing.
    pub fn write_at(
        &mut self,
        database: usize,
        key: &Key<'_>,
        offset: usize,
        bytes: &[u8],
        now: Milliseconds,
    ) -> usize {
        let old = self.peek(database, key, now).and_then(|entry| entry.string());
        let mut text = old.map_or_else(Vec::new, |old| old.to_bytes().into_owned());
        if bytes.is_empty() {
            return text.len();
        }
        text.resize(text.len().max(offset + bytes.len()), 0);
        text[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.store(database, key, OwnedString::raw(&text), Expiry::Keep, now);
        text.len()
    }

    /// Puts a value, with its own expiry, in the key's place.
    pub fn put(&mut self, database: usize, key: &Key<'_>, entry: OwnedEntry, now: Milliseconds) {
        let Value::String(value) = entry.value;
        let expiry = entry.expires_at.map_or(Expiry::Clear, Expiry::At);
        self.store(database, key, value, expiry, now);
        if let (Some(clock), Some(record)) = (entry.clock, self.databases[database].get_mut(&place(key))) {
            record.clock = clock;
        }
    }

    /// Removes a key and hands its value over.
    pub fn take(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<OwnedEntry> {
        let entry = self.peek(database, key, now).map(|entry| entry.to_owned());
        self.remove(database, key, now);
        entry
    }

    /// Removes a key; false if it is absent or expired.
    pub fn remove(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> bool {
        self.drop_expired(database, key, now);
        let removed = self.databases[database].remove(&place(key)).is_some();
        self.dirty += u64::from(removed);
        removed
    }

    /// Sets or takes away a key's expiry; false if it is absent. A time that is over already removes nothing: that is the
    /// command's decision.
    pub fn set_expiry(&mut self, database: usize, key: &Key<'_>, at: Option<Milliseconds>, now: Milliseconds) -> bool {
        self.drop_expired(database, key, now);
        let Some(record) = self.databases[database].get_mut(&place(key)) else { return false };
        record.expires_at = at;
        self.dirty += 1;
        true
    }

    /// Number of keys of a database; those expired but not yet removed count.
    pub fn len(&self, database: usize) -> usize {
        self.databases[database].len()
    }

    /// Number of keys with an expiry; those expired but not yet removed count.
    pub fn volatile_len(&self, database: usize) -> usize {
        self.databases[database].values().filter(|record| record.expires_at.is_some()).count()
    }

    /// Mean time to live of the keys that have one, in ms (INFO keyspace).
    pub fn average_ttl_ms(&self, database: usize, now: Milliseconds) -> i64 {
        let times: Vec<i64> = self.databases[database].values().filter_map(|record| record.expires_at).collect();
        let sum: i128 = times.iter().map(|at| (at - now) as i128).sum();
        (sum / times.len().max(1) as i128).max(0) as i64
    }

    /// A key that is not expired, each with about the same chance. None when there is none, or after a bounded number of
    /// tries in a database of mostly expired keys.
    pub fn random_key(&mut self, database: usize, random: &mut fastrand::Rng, now: Milliseconds) -> Option<Vec<u8>> {
        let live: Vec<_> = self.databases[database].iter().filter(|(_, record)| !is_expired(record, now)).collect();
        random.choice(live).map(|((_, _, key), _)| key.to_vec())
    }

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
        let mut visited = 0;
        let mut last = None;
        for ((slot, position, key), record) in
            self.databases[database].range((cursor.slot(), cursor.position(), Box::default())..)
        {
            let here = ScanCursor::new(*slot, *position);
            if visited >= budget.max(1) && last != Some(here) {
                return here;
            }
            if !is_expired(record, now) {
                visit(key, &Entry { record });
            }
            visited += 1;
            last = Some(here);
        }
        ScanCursor::START
    }

    /// Visits all keys that are not expired.
    pub fn keys(&self, database: usize, now: Milliseconds, visit: &mut dyn FnMut(&[u8], &Entry<'_>)) {
        self.scan(database, ScanCursor::START, usize::MAX, now, visit);
    }

    /// Number of keys in a slot; those expired but not yet removed count.
    pub fn slot_len(&self, database: usize, slot: u16) -> usize {
        self.databases[database].keys().filter(|(of, _, _)| *of == slot).count()
    }

    /// Exchanges the contents of two databases.
    pub fn swap_databases(&mut self, a: usize, b: usize) {
        self.databases.swap(a, b);
        self.dirty += 1;
    }

    /// Empties one database or all, and returns how many keys there were. The memory comes back in
    /// [`Keyspace::collect_garbage`].
    pub fn flush(&mut self, database: Option<usize>) -> usize {
        let mut removed = 0;
        for (index, table) in self.databases.iter_mut().enumerate() {
            if database.is_none_or(|wanted| wanted == index) {
                removed += table.len();
                table.clear();
            }
        }
        self.dirty += removed as u64;
        removed
    }

    /// Frees memory of what was flushed, about `budget` entries of it; whether more is left.
    pub fn collect_garbage(&mut self, _budget: usize) -> bool {
        false
    }

    /// Removes keys whose time is over, looking at about `budget` entries at most.
    pub fn expire_step(&mut self, now: Milliseconds, budget: usize) -> ExpireProgress {
        let mut progress = ExpireProgress::default();
        for table in &mut self.databases {
            let due: Vec<_> = table
                .iter()
                .filter(|(_, record)| is_expired(record, now))
                .map(|(place, _)| place.clone())
                .take(budget - progress.expired)
                .collect();
            progress.expired += due.len();
            for place in due {
                table.remove(&place);
            }
        }
        self.statistics.expired += progress.expired as u64;
        progress.more = progress.expired >= budget;
        progress
    }

    /// Bytes that keys and values take in pages and blobs.
    pub fn used_bytes(&self) -> usize {
        let of = |text: StringRef<'_>| text.len() + 64;
        self.databases.iter().flat_map(BTreeMap::values).map(|record| of(record.value.as_ref())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_and_go() {
        let mut keyspace = Keyspace::new(16, KeyHasher::with_seed(1));
        let name = b"greeting".to_vec();
        let key = keyspace.key(&name);
        keyspace.set_string(0, &key, b"hello", Expiry::At(1000), 0);
        assert_eq!(keyspace.append(0, &key, b" world", 1), 11);
        let entry = keyspace.find(0, &key, 1000, Access::Touch).unwrap();
        assert_eq!(entry.string().unwrap().to_bytes(), &b"hello world"[..]);
        assert_eq!((entry.encoding_name(), entry.expires_at()), ("raw", Some(1000)));
        assert!(keyspace.find(0, &key, 1001, Access::Touch).is_none());
        assert_eq!((keyspace.statistics.hits, keyspace.statistics.misses, keyspace.statistics.expired), (1, 1, 1));
    }
}
