//! Keys of one shard, as they stand in a file.

use super::Twice;
use crate::core::Core;
use std::ops::Range;
use std::sync::atomic::Ordering;
use torc_engine::keyspace::{Expiry, Key, OwnedEntry};
use torc_persistence::rdb::decode::{self, Decoded, Target};
use torc_persistence::rdb::file::Entry;
use torc_persistence::rdb::input::Input;
use torc_persistence::rdb::{Dialect, kinds, packed_form};

/// What is taken for the next batch because the last one needed it, at most, in bytes.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// Keys without a value that a batch names in the log; all are counted.
const EMPTY_TOLD_MAX: u64 = 16;

/// One key.
#[derive(Debug)]
struct Item {
    database: usize,
    key: Range<usize>,
    kind: u8,
    value: Range<usize>,
    expires_at: Option<i64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

/// Keys of one shard, their values undecoded.
#[derive(Debug)]
pub struct Batch {
    dialect: Dialect,
    is_base: bool,
    twice: Twice,
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Batch {
    /// An empty one.
    pub fn new(is_base: bool, twice: Twice) -> Self {
        Self { dialect: Dialect::Redis, is_base, twice, bytes: Vec::new(), items: Vec::new() }
    }

    /// Another of the same file.
    pub fn fresh(&self) -> Self {
        let bytes = Vec::with_capacity(self.bytes.capacity().min(KEPT_BYTES_MAX));
        Self { bytes, items: Vec::with_capacity(self.items.len()), ..*self }
    }

    /// Adds a key of a database, from a file of that family.
    pub fn add(&mut self, dialect: Dialect, database: usize, entry: &Entry<'_>) {
        self.dialect = dialect;
        let at = self.bytes.len();
        let split = at + entry.key.len();
        self.bytes.extend_from_slice(&entry.key);
        self.bytes.extend_from_slice(entry.value);
        self.items.push(Item {
            database,
            key: at..split,
            kind: entry.kind,
            value: split..split + entry.value.len(),
            expires_at: entry.expires_at,
            idle_s: entry.idle_s,
            frequency: entry.frequency,
        });
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Puts the keys where they belong; else what is wrong with the first that cannot be.
    pub fn put(&self, core: &mut Core) -> Result<(), String> {
        let now = core.clock.wall_ms.max(core.shard.now());
        let figures = core.shared.clone();
        let figures = &figures.loading;
        let (mut expired, mut empty) = (0, 0);
        for item in &self.items {
            if !self.is_base && item.expires_at.is_some_and(|at| at < now) {
                expired += 1;
            } else if !self.put_item(core, item, now)? {
                let name = self.bytes[item.key.clone()].escape_ascii();
                if empty < EMPTY_TOLD_MAX {
                    tracing::info!("skipping empty key: {name}");
                }
                empty += 1;
            }
        }
        figures.keys_expired.fetch_add(expired, Ordering::Relaxed);
        figures.keys_empty.fetch_add(empty, Ordering::Relaxed);
        figures.keys.fetch_add(self.items.len() as u64 - expired - empty, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it was a value; else a collection without elements.
    fn put_item(&self, core: &mut Core, item: &Item, now: i64) -> Result<bool, String> {
        let name = &self.bytes[item.key.clone()];
        let value = &self.bytes[item.value.clone()];
        let key = Key::new(name, &core.shared.hasher);
        let keyspace = &mut core.shard.keyspace;
        let before = keyspace.len(item.database);
        let broken = |malformed: &dyn std::fmt::Display| {
            let (name, form) = (name.escape_ascii(), packed_form(item.kind));
            let broken = format!("key '{name}' in DB {}: {form} integrity check failed: {malformed}", item.database);
            tracing::warn!("Internal error in RDB reading: {broken}");
            broken
        };
        if item.kind == kinds::STRING && item.idle_s.is_none() && item.frequency.is_none() {
            let text = Input::new(value).text().map_err(|malformed| broken(&malformed))?;
            let expiry = item.expires_at.map_or(Expiry::Clear, Expiry::At);
            keyspace.set_string(item.database, &key, &text, expiry, now);
        } else {
            let limits = &core.shard.options.encodings;
            let target = Target { limits, hasher: keyspace.member_hasher(), dialect: self.dialect };
            let decoded = decode::value(item.kind, &mut Input::new(value), target);
            let Decoded::Value(value) = decoded.map_err(|malformed| broken(&malformed))? else { return Ok(false) };
            let entry = OwnedEntry::new(value, item.expires_at);
            let entry = keyspace.told_use(entry, item.idle_s, item.frequency, now);
            keyspace.put(item.database, &key, entry, now);
        }
        if self.twice == Twice::Refused && keyspace.len(item.database) == before {
            return Err(format!("RDB has duplicated key '{}' in DB {}", name.escape_ascii(), item.database));
        }
        Ok(true)
    }
}
