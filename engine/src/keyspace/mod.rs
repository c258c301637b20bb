//! A shard's slice of all databases: keys, values, expiry, walks.
//!
//! ```text
//!   Keyspace ──> Database ──> Group of 64 slots ──> Table ──> pages of a dozen packed entries (crate::values)
//!      │
//!      ├ typed     finding, making and changing collections
//!      ├ expiry    bounds at each level, a resumable walk
//!      ├ eviction  what goes when memory is short
//!      ├ changes   which keys have changed
//!      ├ sizes     how many keys have values of which size
//!      ├ walk      SCAN in the global order of (slot, position), RANDOMKEY
//!      ├ watch     who is told of changes
//!      ├ undo      takes a unit back
//!      ├ instant   walks over what was there at one instant (KEYS)
//!      └ garbage   what was flushed, freed in slices
//! ```
//!
//! No call does more than a bounded amount of work, save [`Keyspace::keys`] and what is proportional to the length of one
//! string. Growth splits one page per insert. A key is expired once `now` is later than its time; from then on it is
//! absent for every reader, and the first of access, overwrite and expiry walk removes it.

#[cfg(test)]
mod bounds;
mod changes;
mod clock;
mod cursor;
mod database;
mod entry;
mod eviction;
mod expiry;
mod garbage;
#[cfg(test)]
mod hit_ratio;
mod instant;
mod key;
#[cfg(test)]
mod model;
mod sizes;
mod slot;
mod typed;
mod undo;
mod walk;
mod watch;

pub use clock::AccessPolicy;
pub use cursor::ScanCursor;
pub use entry::{Entry, OwnedEntry, Value};
pub use eviction::{Eviction, EvictionOrder, EvictionPolicy, Urgency};
pub use instant::{Instant, KeyFilter, SharedSink, WalkId, WalkSink};
pub use key::{Key, KeyHasher};
pub use sizes::{KeySizes, SIZE_CLASSES};
pub use slot::{SLOTS, slot_of};
pub use typed::{EntryMut, WrongType};
pub use watch::{KeyNames, Watcher, Watches};

use crate::command::Milliseconds;
use crate::journal::{EventClass, Journal};
use crate::values::large::{Foresight, MemberHasher};
use crate::values::page::due_second;
use crate::values::string::stored_integer;
use crate::values::{Blob, Content, Draft, Form, INLINE_BYTES_MAX, Leftover, PackedEntry, Place, Type};
use changes::Changes;
use database::Database;
use eviction::Pool;
use expiry::ExpiryWalk;
pub use garbage::ForgetPages;
use garbage::Garbage;
use instant::{Surroundings, Walks};
use sizes::SizeClass;
pub(crate) use undo::Held;
use undo::Undo;

/// Whether a read counts as an access for LRU and LFU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does.
    Touch,
    /// It does not (TYPE, TTL, CLIENT NO-TOUCH).
    NoTouch,
    /// It does not, and nobody is told if there is no such key (OBJECT).
    Unnoticed,
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
    /// Values freed after the command that let them go (`lazyfreed_objects`).
    pub lazily_freed: u64,
}

/// What one call of [`Keyspace::expire_step`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Keys removed.
    pub expired: usize,
    /// Whether the budget ended before the work.
    pub more: bool,
}

/// Names what a database holds: it goes along in SWAPDB and ends with a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseId(u64);

/// Why a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    /// A command deleted it or moved it away.
    Command,
    /// The same, and the command counts its changes itself.
    Uncounted,
    /// Its time was over, and an access noticed.
    ExpiredLazily,
    /// Memory was short.
    Evicted,
}

/// Makes the seed for members another than the one for keys.
const MEMBER_SEED: u64 = 0x6d65_6d62_6572_7321;

/// What becomes of a key that a command only reads, and finds expired.
///
/// While work waits on a shard that may run at an earlier time than what overtakes it, the key stays: an MGET of two keys
/// must not miss the one that a GET beside it has found expired meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpired {
    /// It is removed.
    #[default]
    Remove,
    /// It stays, and nobody hears of it: the command writes nothing.
    Leave,
    /// It stays, and a log is to take it as gone, since what the command writes depends on that.
    Tell,
}

/// All keys of one shard.
pub struct Keyspace {
    /// Counters for INFO.
    pub statistics: Statistics,
    /// Changes so far; each mutation adds one.
    pub dirty: u64,
    /// How often FLUSHALL has run.
    pub all_flushes: u64,
    /// Where changes are reported.
    pub journal: Journal,
    /// What the access clocks of entries count; follows `maxmemory-policy`.
    pub access_policy: AccessPolicy,
    /// What becomes of a key that a command only reads, and finds expired.
    pub on_expired: OnExpired,
    /// A command that may wait has found nothing to do; taken by who can let it wait.
    pub found_nothing: bool,
    /// It holds the named keys of one command only, for which others are looked up elsewhere.
    pub is_partial: bool,
    databases: Vec<Database>,
    next_database_id: u64,
    hasher: KeyHasher,
    member_hasher: MemberHasher,
    /// The key that dispatch has hashed, while its command runs: where it lies, its length, slot and hash.
    known: Option<(usize, usize, u16, u64)>,
    walk: ExpiryWalk,
    walks: Walks,
    changes: Changes,
    eviction: Pool,
    garbage: Garbage,
    /// Set while what is changed can be undone.
    undo: Option<Box<Undo>>,
    /// For the access counters only; seeded like the hash.
    random: fastrand::Rng,
}

impl Keyspace {
    /// A keyspace of so many empty databases, at least one.
    pub fn new(database_count: usize, hasher: KeyHasher) -> Self {
        Self {
            statistics: Statistics::default(),
            dirty: 0,
            all_flushes: 0,
            journal: Journal::with_watches(Watches::new(hasher.clone())),
            access_policy: AccessPolicy::default(),
            on_expired: OnExpired::Remove,
            found_nothing: false,
            is_partial: false,
            databases: (0..).take(database_count.max(1)).map(Database::empty).collect(),
            next_database_id: database_count.max(1) as u64,
            walk: ExpiryWalk::default(),
            walks: Walks::default(),
            changes: Changes::default(),
            eviction: Pool::default(),
            garbage: Garbage::default(),
            undo: None,
            random: fastrand::Rng::with_seed(hasher.seed()),
            member_hasher: MemberHasher::with_seed(hasher.seed() ^ MEMBER_SEED),
            hasher,
            known: None,
        }
    }

    /// The hasher of keys.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// The hasher of fields and members in large collections.
    pub fn member_hasher(&self) -> &MemberHasher {
        &self.member_hasher
    }

    /// The key with its slot and hash.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        match self.known {
            Some((address, length, slot, hash)) if address == bytes.as_ptr().addr() && length == bytes.len() => {
                Key { bytes, slot, hash }
            }
            _ => Key::new(bytes, &self.hasher),
        }
    }

    /// Names a key that has been hashed, for as long as its bytes stay where they are; `None` before they move.
    #[inline]
    pub(crate) fn set_known(&mut self, key: Option<&Key<'_>>) {
        self.known = key.map(|key| (key.bytes.as_ptr().addr(), key.bytes.len(), key.slot, key.hash));
    }

    /// Number of databases.
    pub fn database_count(&self) -> usize {
        self.databases.len()
    }

    /// What a database is called as long as it is not flushed, whatever number it has.
    pub fn database_id(&self, database: usize) -> DatabaseId {
        DatabaseId(self.databases[database].id)
    }

    /// Whether a key of that slot may have an expiry, in any database.
    pub fn may_expire(&self, slot: u16) -> bool {
        self.databases.iter().any(|database| database.may_expire(slot))
    }

    /// The number of that database, unless it has been flushed.
    pub fn database_of(&self, DatabaseId(id): DatabaseId) -> Option<usize> {
        self.databases.iter().position(|database| database.id == id)
    }

    /// Looks a key up for a client's read: counts a hit or a miss. An expired key is absent; what becomes of it,
    /// [`Keyspace::on_expired`] says.
    #[inline]
    pub fn find(&mut self, database: usize, key: &Key<'_>, now: Milliseconds, access: Access) -> Option<Entry<'_>> {
        let Some(place) = self.place_for_read(database, key, now) else {
            self.statistics.misses += 1;
            if access != Access::Unnoticed {
                self.journal.event(database, EventClass::Miss, "keymiss", key.bytes);
            }
            return None;
        };
        self.statistics.hits += 1;
        let (page, index, _) = self.databases[database].at(key.slot, place);
        if access == Access::Touch {
            let before = page.entry(index).clock();
            let clock = self.access_policy.read(before, now, &mut self.random);
            // Most reads come within the same second: leave the line clean.
            if clock != before {
                page.set_clock(index, clock);
            }
        }
        Some(Entry::new(page.entry(index), self.access_policy))
    }

    /// Counts a client's read of a key that was looked up as it had been.
    pub fn count_read(&mut self, database: usize, key: &[u8], is_there: bool, access: Access) {
        if is_there {
            self.statistics.hits += 1;
            return;
        }
        self.statistics.misses += 1;
        if access != Access::Unnoticed {
            self.journal.event(database, EventClass::Miss, "keymiss", key);
        }
    }

    /// Looks a key up without counting, touching or removing anything; an expired one is absent.
    #[inline]
    pub fn peek(&self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<Entry<'_>> {
        let database = &self.databases[database];
        let packed = database.entry(key.slot, database.find(key)?)?;
        (!packed.is_expired(now)).then(|| Entry::new(packed, self.access_policy))
    }

    /// Whether the key is there; treats an expired one as [`Keyspace::find`] does, counts and touches nothing.
    pub fn exists(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> bool {
        self.place_for_read(database, key, now).is_some()
    }

    /// Asks the processor for the first cache line that a look-up of this key needs. Call it for each key of a batch, then
    /// [`Keyspace::prefetch_directory`], [`Keyspace::prefetch_page`] and [`Keyspace::prefetch_entry`], each for all of them,
    /// then run the batch.
    #[inline]
    pub fn prefetch(&self, database: usize, key: &Key<'_>) {
        if let Some(table) = self.databases[database].table(key.slot) {
            table.prefetch();
        }
    }

    /// The second stage of [`Keyspace::prefetch`].
    #[inline]
    pub fn prefetch_directory(&self, database: usize, key: &Key<'_>) {
        if let Some(table) = self.databases[database].table(key.slot) {
            table.prefetch_directory(key.hash);
        }
    }

    /// The third stage of [`Keyspace::prefetch`].
    #[inline]
    pub fn prefetch_page(&self, database: usize, key: &Key<'_>) {
        if let Some(table) = self.databases[database].table(key.slot) {
            table.prefetch_page(key.hash);
        }
    }

    /// The fourth stage of [`Keyspace::prefetch`].
    #[inline]
    pub fn prefetch_entry(&self, database: usize, key: &Key<'_>) {
        if let Some(table) = self.databases[database].table(key.slot) {
            table.prefetch_entry(key.hash);
        }
    }

    /// The fifth stage, for commands that read all of a packed value, or name an element of a hash, set or sorted set: those of
    /// large ones are looked up side by side. Ends early where there is nothing to be asked for, as of values that stand in their pages.
    #[inline]
    pub fn prefetch_values<'a>(&self, values: impl Iterator<Item = (usize, Key<'a>, Option<&'a [u8]>)>) {
        const IN_VAIN_MAX: usize = 2;
        let (mut foresight, mut in_vain) = (Foresight::default(), 0);
        for (database, key, element) in values {
            let database = &self.databases[database];
            let entry = database.find(&key).and_then(|place| database.entry(key.slot, place));
            if !entry.is_some_and(|entry| entry.foresee(element, &mut foresight)) {
                in_vain += 1;
                if in_vain == IN_VAIN_MAX {
                    break;
                }
            }
        }
        foresight.run();
    }

    /// Where a key is, for one that only looks.
    #[inline]
    fn place_for_read(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<Place> {
        let place = self.databases[database].find(key)?;
        if self.databases[database].entry(key.slot, place)?.is_expired(now) {
            match self.on_expired {
                OnExpired::Remove => self.remove_place(database, key.slot, place, Removal::ExpiredLazily),
                OnExpired::Leave => {}
                OnExpired::Tell => self.settle_expired(database, key, now, false),
            }
            return None;
        }
        Some(place)
    }

    /// For a command that will find the key absent once it is expired: removes it then, or, where it may not be removed
    /// now, reports that a log is to take it as gone.
    pub(crate) fn settle_expired(&mut self, database: usize, key: &Key<'_>, now: Milliseconds, may_remove: bool) {
        if may_remove {
            self.live_place(database, key, now);
        } else if self.journal.wants_effects() {
            self.report_expired(database, key, now);
        }
    }

    #[cold]
    fn report_expired(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) {
        let Some(place) = self.databases[database].find(key) else { return };
        if self.databases[database].entry(key.slot, place).is_some_and(|entry| entry.is_expired(now)) {
            self.journal.effect(database, &[b"DEL", key.bytes]);
        }
    }

    /// Where a key is, for one that may change it; an expired one is removed.
    #[inline]
    fn live_place(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<Place> {
        let place = self.databases[database].find(key)?;
        if self.databases[database].entry(key.slot, place)?.is_expired(now) {
            self.remove_place(database, key.slot, place, Removal::ExpiredLazily);
            return None;
        }
        Some(place)
    }

    #[inline]
    fn count_removal(&mut self, reason: Removal) {
        match reason {
            Removal::Command => self.dirty += 1,
            Removal::Uncounted => {}
            Removal::Evicted => self.statistics.evicted += 1,
            Removal::ExpiredLazily => {
                self.statistics.expired += 1;
                self.statistics.expired_lazily += 1;
            }
        }
    }

    /// Something at a key is about to change: walks see it as it is, and who wants to know is told. To be called before each
    /// change.
    #[inline]
    fn before_change(&mut self, database: usize, key: &Key<'_>) {
        self.databases[database].settle_size();
        if !self.walks.is_empty() {
            self.show_to_walks(database, key.slot, key.hash);
        }
        if self.changes.is_wanted() {
            self.changes.expect(key.bytes);
        }
        if self.undo.is_some() {
            self.note_for_undo(database, key.bytes, key.hash);
        }
    }

    fn show_to_walks(&mut self, database: usize, slot: u16, hash: u64) {
        let around = Surroundings { hasher: &self.hasher, policy: self.access_policy };
        self.walks.serve(&self.databases[database], slot, hash.reverse_bits(), around);
    }

    fn remove_place(&mut self, database: usize, slot: u16, place: Place, reason: Removal) {
        let leftover = self.detach_place(database, slot, place, reason);
        self.garbage.discard(leftover);
    }

    /// Removes a key and hands over what its value owned.
    fn detach_place(&mut self, database: usize, slot: u16, place: Place, reason: Removal) -> Option<Leftover> {
        if self.undo.is_some() {
            let key = self.databases[database].entry_at(slot, place).key().to_vec();
            self.note_for_undo(database, &key, self.hasher.hash(&key));
        }
        if !self.walks.is_empty() {
            let hash = self.hasher.hash(self.databases[database].entry_at(slot, place).key());
            self.show_to_walks(database, slot, hash);
        }
        if self.changes.is_wanted() {
            let key = self.databases[database].entry_at(slot, place).key();
            match reason {
                Removal::ExpiredLazily | Removal::Evicted => self.changes.gone(key),
                Removal::Command | Removal::Uncounted => self.changes.expect(key),
            }
        }
        let target = &mut self.databases[database];
        target.settle_size();
        target.uncount_size(SizeClass::of_entry(target.entry_at(slot, place)));
        let (table, ledger) = target.table_mut(slot);
        let expires_at = table.entry(place).expires_at();
        if self.journal.is_listening() {
            match reason {
                Removal::ExpiredLazily => self.journal.expired(database, table.entry(place).key()),
                Removal::Evicted => self.journal.evicted(database, table.entry(place).key()),
                Removal::Command | Removal::Uncounted => {}
            }
        }
        let leftover = table.remove(place, ledger);
        target.shrink(slot);
        target.note_removal(slot, expires_at);
        self.count_removal(reason);
        leftover
    }

    /// Writes a key, new or not.
    #[inline]
    fn store(&mut self, database: usize, key: &Key<'_>, content: Content<'_>, expiry: Expiry, now: Milliseconds) {
        self.dirty += 1;
        self.store_uncounted(database, key, content, expiry, now);
    }

    fn store_uncounted(
        &mut self,
        database: usize,
        key: &Key<'_>,
        content: Content<'_>,
        expiry: Expiry,
        now: Milliseconds,
    ) {
        let (part_due, size) = (content.part_due(), SizeClass::of_content(&content));
        self.before_change(database, key);
        let target = &mut self.databases[database];
        let Some(place) = target.find(key) else {
            let expires_at = if let Expiry::At(at) = expiry { Some(at) } else { None };
            let draft = Draft { key: key.bytes, clock: self.access_policy.fresh(now), expires_at, content };
            target.insert(key, draft, &self.hasher);
            target.count_size(size);
            self.journal.event(database, EventClass::New, "new", key.bytes);
            if let Some(at) = part_due {
                self.note_part_due(database, key, at);
            }
            return;
        };
        let (page, index, ledger) = target.at(key.slot, place);
        let old = page.entry(index);
        let (before, was_expired, old_size) = (old.expires_at(), old.is_expired(now), SizeClass::of_entry(old));
        let expires_at = match expiry {
            Expiry::Keep if !was_expired => before,
            Expiry::Keep | Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        let clock = self.access_policy.touched(old.clock(), now, &mut self.random);
        let leftover = page.rewrite(index, Draft { key: key.bytes, clock, expires_at, content }, ledger);
        target.note_expiry(key.slot, before, expires_at);
        target.recount_size(old_size, size);
        self.garbage.discard(leftover);
        if was_expired {
            self.count_removal(Removal::ExpiredLazily);
            self.journal.expired(database, key.bytes);
            self.journal.event(database, EventClass::New, "new", key.bytes);
        }
        if let Some(at) = part_due {
            self.note_part_due(database, key, at);
        }
    }

    /// Notes for the expiry cycle when the first part of a value is due.
    #[cold]
    fn note_part_due(&mut self, database: usize, key: &Key<'_>, at: Milliseconds) {
        let target = &mut self.databases[database];
        if let Some(place) = target.find(key) {
            let (page, _, _) = target.at(key.slot, place);
            page.note_due(at);
            target.note_due(key.slot, due_second(at));
        }
    }

    /// Stores a string as SET does: as an integer where the text is the canonical one of an i64.
    #[inline]
    pub fn set_string(&mut self, database: usize, key: &Key<'_>, value: &[u8], expiry: Expiry, now: Milliseconds) {
        if self.wants_overwrites() {
            return self.reporting_overwrite(database, key, Type::String, now, |keyspace| {
                keyspace.write_string(database, key, value, expiry, now);
            });
        }
        self.write_string(database, key, value, expiry, now);
    }

    #[inline]
    fn write_string(&mut self, database: usize, key: &Key<'_>, value: &[u8], expiry: Expiry, now: Milliseconds) {
        let content = match stored_integer(value) {
            Some(integer) => Content::Integer(integer),
            None if value.len() > INLINE_BYTES_MAX && self.overwrite_blob(database, key, value, expiry, now) => return,
            None => Content::text(value, false),
        };
        self.store(database, key, content, expiry, now);
    }

    #[inline]
    fn wants_overwrites(&self) -> bool {
        self.journal.wants_event(EventClass::Overwritten) || self.journal.wants_event(EventClass::TypeChanged)
    }

    /// Does a write that puts a value in the place of the one that is there, and reports that it did.
    #[cold]
    fn reporting_overwrite(
        &mut self,
        database: usize,
        key: &Key<'_>,
        kind: Type,
        now: Milliseconds,
        write: impl FnOnce(&mut Self),
    ) {
        let before = self.peek(database, key, now).map(|entry| entry.kind());
        write(self);
        if let Some(before) = before {
            self.journal.event(database, EventClass::Overwritten, "overwritten", key.bytes);
            if before != kind {
                self.journal.event(database, EventClass::TypeChanged, "type_changed", key.bytes);
            }
        }
    }

    /// Writes a long text over the one that is there, if its block will do.
    fn overwrite_blob(
        &mut self,
        database: usize,
        key: &Key<'_>,
        value: &[u8],
        expiry: Expiry,
        now: Milliseconds,
    ) -> bool {
        let Some(place) = self.live_place(database, key, now) else { return false };
        self.before_change(database, key);
        let target = &mut self.databases[database];
        let (page, index, ledger) = target.at(key.slot, place);
        let old_size = SizeClass::of_entry(page.entry(index));
        if page.change_blob(index, ledger, |blob| blob.try_overwrite(value)) != Some(true) {
            return false;
        }
        self.dirty += 1;
        // Whatever was packed in the block, it is a text now.
        page.set_form(index, Form::STRING);
        let old = page.entry(index);
        let (before, clock) = (old.expires_at(), self.access_policy.touched(old.clock(), now, &mut self.random));
        page.set_clock(index, clock);
        let after = match expiry {
            Expiry::Keep => before,
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        page.set_expiry(index, after, ledger);
        let size = SizeClass::of_entry(page.entry(index));
        target.note_expiry(key.slot, before, after);
        target.recount_size(old_size, size);
        true
    }

    /// Stores an integer.
    #[inline]
    pub fn set_integer(&mut self, database: usize, key: &Key<'_>, value: i64, expiry: Expiry, now: Milliseconds) {
        self.store(database, key, Content::Integer(value), expiry, now);
    }

    /// Adds a suffix to a string and returns its new length. An absent key is created as SET does. The caller has made
    /// sure that the key holds a string, or nothing.
    pub fn append(&mut self, database: usize, key: &Key<'_>, suffix: &[u8], now: Milliseconds) -> usize {
        let Some(length) = self.live_len(database, key, now) else {
            self.set_string(database, key, suffix, Expiry::Clear, now);
            return suffix.len();
        };
        self.splice(database, key, length, suffix, now)
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
        let length = self.live_len(database, key, now);
        if bytes.is_empty() {
            return length.unwrap_or(0);
        }
        self.splice(database, key, offset, bytes, now)
    }

    /// Gives a long string another block with the same bytes. Nobody is told: nothing has changed.
    pub fn replace_blob(&mut self, database: usize, key: &Key<'_>, blob: Blob, now: Milliseconds) {
        let Some(place) = self.live_place(database, key, now) else { return };
        let (page, index, ledger) = self.databases[database].at(key.slot, place);
        page.change_blob(index, ledger, |old| {
            debug_assert!(old.len() == blob.len(), "the key was locked");
            *old = blob;
        });
    }

    fn live_len(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<usize> {
        let place = self.live_place(database, key, now)?;
        Some(self.databases[database].entry(key.slot, place)?.string().len())
    }

    /// Writes bytes at an offset of the string at `key`, or of an empty one; it is called `raw` from then on.
    fn splice(&mut self, database: usize, key: &Key<'_>, offset: usize, bytes: &[u8], now: Milliseconds) -> usize {
        let end = offset + bytes.len();
        self.before_change(database, key);
        let target = &mut self.databases[database];
        let place = target.find(key);
        if let Some(place) = place {
            let (page, index, ledger) = target.at(key.slot, place);
            let old_size = SizeClass::of_entry(page.entry(index));
            let changed = page.change_blob(index, ledger, |blob| {
                blob.write_at(offset, bytes);
                blob.len()
            });
            if let Some(length) = changed {
                let clock = self.access_policy.touched(page.entry(index).clock(), now, &mut self.random);
                page.set_clock(index, clock);
                let size = SizeClass::of_entry(page.entry(index));
                target.recount_size(old_size, size);
                self.dirty += 1;
                return length;
            }
        }
        let mut scratch = itoa::Buffer::new();
        let old = place.and_then(|place| target.entry(key.slot, place)).map(PackedEntry::string);
        let old = old.as_ref().map_or(&[][..], |old| old.as_bytes(&mut scratch));
        let length = end.max(old.len());
        if length > INLINE_BYTES_MAX {
            let mut blob = Blob::zeroed(length);
            blob.write_at(0, old);
            blob.write_at(offset, bytes);
            self.store(database, key, Content::Blob { blob, form: Form::STRING }, Expiry::Keep, now);
        } else {
            let mut text = [0; INLINE_BYTES_MAX];
            text[..old.len()].copy_from_slice(old);
            text[offset..end].copy_from_slice(bytes);
            let content = Content::Text { bytes: &text[..length], form: Form::RAW_STRING };
            self.store(database, key, content, Expiry::Keep, now);
        }
        length
    }

    /// As [`Keyspace::put`], of a value that comes from another key or database: reported as one that is new here.
    pub fn arrive(&mut self, database: usize, key: &Key<'_>, entry: OwnedEntry, now: Milliseconds) {
        let existed = self.journal.wants_event(EventClass::New) && self.peek(database, key, now).is_some();
        if self.wants_overwrites() {
            let kind = entry.value.kind();
            self.reporting_overwrite(database, key, kind, now, |keyspace| keyspace.put(database, key, entry, now));
        } else {
            self.put(database, key, entry, now);
        }
        if existed {
            self.journal.event(database, EventClass::New, "new", key.bytes);
        }
    }

    /// A value that comes from elsewhere, with how it was used there: seconds since then, or a logarithmic counter.
    pub fn told_use(
        &self,
        entry: OwnedEntry,
        idle_s: Option<u64>,
        frequency: Option<u8>,
        now: Milliseconds,
    ) -> OwnedEntry {
        let clock = self.access_policy.told(idle_s, frequency, now);
        OwnedEntry { clock: clock.or(entry.clock), ..entry }
    }

    /// Puts a value, with its own expiry, in the key's place.
    pub fn put(&mut self, database: usize, key: &Key<'_>, entry: OwnedEntry, now: Milliseconds) {
        let OwnedEntry { value, expires_at, clock } = entry;
        let expiry = expires_at.map_or(Expiry::Clear, Expiry::At);
        match value {
            Value::Object(object) => self.store(database, key, Content::Object(object), expiry, now),
            value => self.store(database, key, value.content(), expiry, now),
        }
        let target = &mut self.databases[database];
        if let (Some(clock), Some(place)) = (clock, target.find(key)) {
            let (page, index, _) = target.at(key.slot, place);
            page.set_clock(index, clock);
        }
    }

    /// Removes a key and hands its value over.
    pub fn take(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> Option<OwnedEntry> {
        let place = self.live_place(database, key, now)?;
        let packed = self.databases[database].entry(key.slot, place)?;
        let owned = Entry::new(packed, self.access_policy).to_owned_without_leftover();
        Some(owned(self.detach_place(database, key.slot, place, Removal::Command)))
    }

    /// Removes a key; false if it is absent or expired.
    pub fn remove(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> bool {
        let Some(place) = self.live_place(database, key, now) else { return false };
        self.remove_place(database, key.slot, place, Removal::Command);
        true
    }

    /// Sets or takes away a key's expiry; false if it is absent. A time that is over already removes nothing: that is the
    /// command's decision.
    pub fn set_expiry(&mut self, database: usize, key: &Key<'_>, at: Option<Milliseconds>, now: Milliseconds) -> bool {
        let Some(place) = self.live_place(database, key, now) else { return false };
        self.before_change(database, key);
        let target = &mut self.databases[database];
        let (page, index, ledger) = target.at(key.slot, place);
        let before = page.entry(index).expires_at();
        page.set_expiry(index, at, ledger);
        target.note_expiry(key.slot, before, at);
        self.dirty += 1;
        true
    }

    /// Number of keys of a database; those expired but not yet removed count.
    pub fn len(&self, database: usize) -> usize {
        self.databases[database].keys
    }

    /// Whether a database has no keys.
    pub fn is_empty(&self, database: usize) -> bool {
        self.len(database) == 0
    }

    /// Number of keys with an expiry; those expired but not yet removed count.
    pub fn volatile_len(&self, database: usize) -> usize {
        self.databases[database].volatile
    }

    /// Mean time to live of the keys that have one, in ms (INFO keyspace).
    pub fn average_ttl_ms(&self, database: usize, now: Milliseconds) -> i64 {
        self.databases[database].average_ttl_ms(now)
    }

    /// Number of keys in a slot; those expired but not yet removed count.
    pub fn slot_len(&self, database: usize, slot: u16) -> usize {
        self.databases[database].table(slot).map_or(0, crate::values::Table::len)
    }

    /// Exchanges the contents of two databases.
    pub fn swap_databases(&mut self, a: usize, b: usize) {
        self.abandon_expiry_walk();
        self.databases.swap(a, b);
        self.note_exchanged(a, b);
        self.dirty += 1;
    }

    /// Empties one database or all, and returns how many keys there were. The memory comes back in
    /// [`Keyspace::collect_garbage`].
    pub fn flush(&mut self, database: Option<usize>) -> usize {
        self.abandon_expiry_walk();
        let mut removed = 0;
        for index in 0..self.databases.len() {
            if database.is_none_or(|wanted| wanted == index) {
                removed += self.databases[index].keys;
                let empty = Database::empty(self.next_database_id);
                self.next_database_id += 1;
                self.changes.flushed();
                let before = std::mem::replace(&mut self.databases[index], empty);
                self.note_emptied(index, before);
            }
        }
        self.dirty += removed as u64;
        removed
    }

    /// Says how the pages of a block go back to the system before the block itself, which would be done at once.
    pub fn forget_pages_by(&mut self, forget_pages: ForgetPages) {
        self.garbage.forget_pages = forget_pages;
    }

    /// Frees memory of what was flushed, and of who watched, about `budget` units of it; whether more is left.
    pub fn collect_garbage(&mut self, budget: usize) -> bool {
        if !self.walks.is_empty() {
            self.walks.end(None, &mut self.garbage);
        }
        let mut left = budget.max(1);
        self.forget_watched(&mut left) || self.garbage.collect(left, &mut self.statistics)
    }

    /// Values and flushed keys whose memory has not come back yet.
    pub fn garbage_pending(&self) -> usize {
        self.garbage.pending()
    }

    /// Whether memory waits to come back.
    #[inline]
    pub fn has_garbage(&self) -> bool {
        self.garbage.is_some()
    }

    /// Bytes that the tables of a database's slots take beside [`Keyspace::used_bytes`].
    pub fn table_bytes(&self, database: usize) -> usize {
        self.databases[database].table_bytes()
    }

    /// Bytes that keys and values take in pages and blobs, without what waits to be freed.
    pub fn used_bytes(&self) -> usize {
        self.databases.iter().map(|database| database.ledger.bytes).sum()
    }
}

#[cfg(test)]
impl Keyspace {
    /// Checks every count and bound, and all values that are trees. Expiry is not in the middle of a walk.
    pub(crate) fn audit(&self) {
        self.databases.iter().for_each(|database| database.audit(None));
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

    #[test]
    fn tables_come_with_the_keys_of_their_slots() {
        let mut keyspace = Keyspace::new(2, KeyHasher::with_seed(1));
        assert_eq!(keyspace.table_bytes(0), 0);
        let mut put = |name: &[u8]| {
            let key = keyspace.key(name);
            keyspace.set_string(0, &key, b"value", Expiry::Clear, 0);
            (keyspace.table_bytes(0), keyspace.table_bytes(1))
        };
        let (first, elsewhere) = put(b"{a}1");
        assert!(first > 0 && elsewhere == 0);
        assert_eq!(put(b"{a}2").0, first);
        assert!(put(b"{b}1").0 > first);
    }

    #[test]
    fn a_read_removes_an_expired_key_unless_told_to_leave_it() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(1));
        let name = b"key".to_vec();
        let key = keyspace.key(&name);
        keyspace.set_string(0, &key, b"value", Expiry::At(1000), 0);
        keyspace.on_expired = OnExpired::Leave;
        assert!(keyspace.find(0, &key, 1001, Access::Touch).is_none());
        assert!(!keyspace.exists(0, &key, 1001));
        assert!(keyspace.peek(0, &key, 1000).is_some(), "work at an earlier time still finds it");
        keyspace.on_expired = OnExpired::Remove;
        assert!(keyspace.find(0, &key, 1001, Access::Touch).is_none());
        assert!(keyspace.peek(0, &key, 1000).is_none());
    }
}
