//! What a file holds, in figures.

use std::collections::BTreeMap;
use torc_engine::values::Type;
use torc_persistence::rdb::kinds;

/// How many of the largest values are told.
const LARGEST_MAX: usize = 5;

/// Keys of a database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys {
    /// In all.
    pub(crate) count: u64,
    /// Of these, with an expiry.
    pub(crate) expiring: u64,
    /// Of these, whose time is over.
    pub(crate) expired: u64,
}

/// Figures.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// By database.
    pub(crate) databases: BTreeMap<u64, Keys>,
    /// By type: keys and bytes in the file.
    pub(crate) types: BTreeMap<&'static str, (u64, u64)>,
    /// Bytes, type, database and key, from the largest down.
    pub(crate) largest: Vec<(u64, &'static str, u64, Vec<u8>)>,
    /// Libraries of functions.
    pub(crate) libraries: u64,
}

impl Statistics {
    /// Counts a key.
    pub(crate) fn add(&mut self, database: u64, key: &[u8], kind: u8, bytes: u64, expires_at: Option<i64>, now: i64) {
        let keys = self.databases.entry(database).or_default();
        keys.count += 1;
        keys.expiring += u64::from(expires_at.is_some());
        keys.expired += u64::from(expires_at.is_some_and(|at| at < now));
        let name = type_name(kind);
        let (count, sum) = self.types.entry(name).or_default();
        *count += 1;
        *sum += bytes;
        let is_large =
            self.largest.len() < LARGEST_MAX || self.largest.last().is_some_and(|(least, ..)| bytes > *least);
        if is_large {
            let at = self.largest.partition_point(|(other, ..)| *other >= bytes);
            self.largest.insert(at, (bytes, name, database, key.to_vec()));
            self.largest.truncate(LARGEST_MAX);
        }
    }

    /// Of all databases.
    pub(crate) fn total(&self) -> Keys {
        self.databases.values().fold(Keys::default(), |sum, keys| Keys {
            count: sum.count + keys.count,
            expiring: sum.expiring + keys.expiring,
            expired: sum.expired + keys.expired,
        })
    }

    /// As lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, keys) in &self.databases {
            lines.push(format!(
                "database {number}: {} keys, {} expiring, {} of these already expired",
                keys.count, keys.expiring, keys.expired
            ));
        }
        for (name, (count, bytes)) in &self.types {
            lines.push(format!("type {name}: {count} keys, {bytes} bytes in the file"));
        }
        for (bytes, name, database, key) in &self.largest {
            lines.push(format!("largest: {bytes} bytes, {name} \"{}\" of database {database}", key.escape_ascii()));
        }
        if self.libraries > 0 {
            lines.push(format!("libraries of functions: {}", self.libraries));
        }
        lines
    }
}

/// The type of a kind of value, as TYPE names it.
pub(crate) fn type_name(kind: u8) -> &'static str {
    match kind {
        kinds::STRING => type_text(Type::String),
        kinds::LIST | kinds::LIST_ZIPLIST | kinds::LIST_QUICKLIST | kinds::LIST_QUICKLIST_2 => type_text(Type::List),
        kinds::SET | kinds::SET_INTSET | kinds::SET_LISTPACK => type_text(Type::Set),
        kinds::SORTED_SET | kinds::SORTED_SET_2 | kinds::SORTED_SET_ZIPLIST | kinds::SORTED_SET_LISTPACK => {
            type_text(Type::SortedSet)
        }
        kinds::MODULE | kinds::MODULE_BEFORE_RELEASE => "module",
        kinds::STREAM | kinds::STREAM_2 | kinds::STREAM_3 | kinds::STREAM_4 | kinds::STREAM_5 => {
            type_text(Type::Stream)
        }
        _ => type_text(Type::Hash),
    }
}

fn type_text(kind: Type) -> &'static str {
    match kind {
        Type::String => "string",
        Type::List => "list",
        Type::Set => "set",
        Type::SortedSet => "zset",
        Type::Hash => "hash",
        Type::Stream => "stream",
    }
}

/// How a kind is written, in the words of the stock tools.
pub(crate) fn kind_name(kind: u8) -> &'static str {
    const NAMES: [&str; 28] = [
        "string",
        "list-linked",
        "set-hashtable",
        "zset-v1",
        "hash-hashtable",
        "zset-v2",
        "module-pre-release",
        "module-value",
        "",
        "hash-zipmap",
        "list-ziplist",
        "set-intset",
        "zset-ziplist",
        "hash-ziplist",
        "quicklist",
        "stream",
        "hash-listpack",
        "zset-listpack",
        "quicklist-v2",
        "stream-v2",
        "set-listpack",
        "stream-v3",
        "hash-hashtable-md",
        "hash-listpack-md-pre-release",
        "hash-hashtable-md",
        "hash-listpack-md",
        "stream-v4",
        "stream-v5",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("unknown")
}
