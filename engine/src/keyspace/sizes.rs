//! How many keys of each type have values of which size (INFO keysizes): for each database, by powers of two.
//!
//! ```text
//!   a key comes, goes, is written anew    the old class is counted off, the new one on: two numbers in a line that stays cached
//!   a collection is changed in place      its class is noted as the change begins (`Changing`); it is counted when the next change
//!                                         in the database begins, or when somebody asks
//! ```
//! A change in place has many ends, in all families, and one beginning: that is why what it comes to is looked at later, at the
//! place where it began. Invariant: between two changes every entry of a database is counted in its class, but for the one that is
//! noted as changing; that one's place is good until then, since nothing moves entries without beginning a change.
//!
//! The size of a string is its length, of a collection how many elements it has (fields whose time is over count until they are
//! removed). Class 0 is of empty values, class n of sizes from 2^(n-1) up to below 2^n. Streams are counted, and nobody is told.

use super::Keyspace;
use super::database::Database;
use crate::values::{Content, Form, IntegerSet, Listpack, Object, PackedEntry, Place, StringRef, Type};

/// Classes of size.
pub const SIZE_CLASSES: usize = 50;
/// Types.
const TYPES: usize = 6;

/// The class of a value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeClass(u16);

impl SizeClass {
    #[inline]
    fn new(kind: Type, size: u64) -> Self {
        let class = (u64::BITS - size.leading_zeros()).min(SIZE_CLASSES as u32 - 1);
        Self((kind as usize * SIZE_CLASSES) as u16 + class as u16)
    }

    #[inline]
    fn of_string(string: &StringRef<'_>) -> Self {
        Self::new(Type::String, string.len() as u64)
    }

    #[inline]
    fn of_object(object: &Object) -> Self {
        Self::new(object.kind(), object.len())
    }

    #[inline]
    fn of_packed(form: Form, bytes: &[u8]) -> Self {
        let elements = |each: usize| if bytes.is_empty() { 0 } else { Listpack::new(bytes).len() / each };
        let size = match form {
            Form::STRING | Form::RAW_STRING => bytes.len(),
            Form::HASH | Form::SORTED_SET => elements(2),
            Form::HASH_WITH_TIMES => elements(3),
            Form::INTEGER_SET if !bytes.is_empty() => IntegerSet::new(bytes).len(),
            _ => elements(1),
        };
        Self::new(form.kind(), size as u64)
    }

    /// Of what is in a page.
    #[inline]
    pub(super) fn of_entry(entry: PackedEntry<'_>) -> Self {
        match (entry.object(), entry.packed_bytes()) {
            (Some(object), _) => Self::of_object(object),
            (None, Some(bytes)) => Self::of_packed(entry.form(), bytes),
            (None, None) => Self::of_string(&entry.string()),
        }
    }

    /// Of what is about to be written.
    #[inline]
    pub(super) fn of_content(content: &Content<'_>) -> Self {
        match content {
            Content::Integer(value) => Self::of_string(&StringRef::Integer(*value)),
            Content::Text { bytes, form } => Self::of_packed(*form, bytes),
            Content::Blob { blob, form } => Self::of_packed(*form, blob.as_slice()),
            Content::Object(object) => Self::of_object(object),
        }
    }
}

/// How many keys there are of each type and class of size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySizes([u64; TYPES * SIZE_CLASSES]);

impl Default for KeySizes {
    fn default() -> Self {
        Self([0; TYPES * SIZE_CLASSES])
    }
}

impl KeySizes {
    /// How many there are of a type, by class.
    pub fn of(&self, kind: Type) -> &[u64] {
        &self.0[kind as usize * SIZE_CLASSES..][..SIZE_CLASSES]
    }

    /// And these.
    pub fn add(&mut self, others: &Self) {
        self.0.iter_mut().zip(&others.0).for_each(|(ours, theirs)| *ours += theirs);
    }
}

/// A value that is being changed where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changing {
    slot: u16,
    place: Place,
    before: SizeClass,
}

impl Database {
    fn sizes_mut(&mut self) -> &mut KeySizes {
        self.sizes.get_or_insert_default()
    }

    /// A key has come.
    #[inline]
    pub(super) fn count_size(&mut self, class: SizeClass) {
        self.sizes_mut().0[class.0 as usize] += 1;
    }

    /// A key goes.
    #[inline]
    pub(super) fn uncount_size(&mut self, class: SizeClass) {
        self.sizes_mut().0[class.0 as usize] -= 1;
    }

    /// A value has been written in the place of another.
    #[inline]
    pub(super) fn recount_size(&mut self, before: SizeClass, after: SizeClass) {
        if before != after {
            self.uncount_size(before);
            self.count_size(after);
        }
    }

    /// A value is about to be changed where it stands, and is counted when it has been.
    #[inline]
    pub(super) fn note_changing(&mut self, slot: u16, place: Place, before: SizeClass) {
        debug_assert!(self.changing.is_none(), "a change has begun, and the one before it has been counted");
        self.changing = Some(Changing { slot, place, before });
    }

    /// The same of the one value that is about to be changed again. Its class, if it was the last to be changed.
    #[inline]
    pub(super) fn settle_size_of(&mut self, slot: u16, place: Place) -> Option<SizeClass> {
        let changing = self.changing.filter(|changing| changing.slot == slot && changing.place == place)?;
        self.changing = None;
        let after = SizeClass::of_entry(self.entry_at(slot, place));
        self.recount_size(changing.before, after);
        Some(after)
    }

    /// Before each change: the one before it is over.
    #[inline]
    pub(super) fn settle_size(&mut self) {
        if let Some(Changing { slot, place, before }) = self.changing.take() {
            let after = SizeClass::of_entry(self.entry_at(slot, place));
            self.recount_size(before, after);
        }
    }
}

impl Keyspace {
    /// How many keys of a database have which size; none if there are no keys.
    pub fn key_sizes(&mut self, database: usize) -> Option<Box<KeySizes>> {
        let database = &mut self.databases[database];
        database.settle_size();
        database.sizes.clone().filter(|_| database.keys > 0)
    }
}

#[cfg(test)]
impl Database {
    /// Counts all keys anew.
    pub(super) fn audit_sizes<'a>(&self, entries: impl Iterator<Item = PackedEntry<'a>>) {
        let mut counted = KeySizes::default();
        entries.for_each(|entry| counted.0[SizeClass::of_entry(entry).0 as usize] += 1);
        let mut known = self.sizes.as_deref().cloned().unwrap_or_default();
        if let Some(Changing { slot, place, before }) = self.changing {
            known.0[before.0 as usize] -= 1;
            known.0[SizeClass::of_entry(self.entry_at(slot, place)).0 as usize] += 1;
        }
        assert_eq!(counted, known, "sizes");
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::harness::Shard;
    use crate::reply::Protocol;
    use crate::values::Type;

    /// The sizes of all types, as INFO names them.
    fn sizes(shard: &mut Shard) -> String {
        let Some(sizes) = shard.keyspace.key_sizes(0) else { return String::new() };
        let mut told = Vec::new();
        for kind in [Type::String, Type::List, Type::Set, Type::SortedSet, Type::Hash, Type::Stream] {
            for (class, count) in sizes.of(kind).iter().enumerate().filter(|(_, count)| **count > 0) {
                told.push(format!("{}:{}={count}", kind.name(), if class == 0 { 0 } else { 1 << (class - 1) }));
            }
        }
        told.join(" ")
    }

    #[test]
    fn each_way_to_change_a_value_is_counted() {
        let mut shard = Shard::default();
        for (line, expected) in [
            ("set s abc", "string:2=1"),
            ("append s defgh", "string:8=1"),
            ("setrange s 15 x", "string:16=1"),
            ("set s 12345", "string:4=1"),
            ("incrby s 9999999999", "string:8=1"),
            ("set s ''", "string:2=1"),
            ("del s", ""),
            ("rpush l a b c", "list:2=1"),
            ("lpush l d", "list:4=1"),
            ("rpoplpush l m", "list:1=1 list:2=1"),
            ("ltrim l 0 0", "list:1=2"),
            ("lpop m", "list:1=1"),
            ("set l text", "string:4=1"),
            ("sadd t 1 2 3 4", "string:4=1 set:4=1"),
            ("sadd t a b c d", "string:4=1 set:8=1"),
            ("rename t l", "set:8=1"),
            ("copy l n", "set:8=2"),
            ("spop n 7", "set:1=1 set:8=1"),
            ("sdiffstore n l n", "set:4=1 set:8=1"),
            ("sinterstore n l nosuch", "set:8=1"),
            ("hset h a 1 b 2", "set:8=1 hash:2=1"),
            ("hexpire h 1000 fields 1 a", "set:8=1 hash:2=1"),
            ("hdel h a", "set:8=1 hash:1=1"),
            ("zadd z 1 a 2 b 3 c 4 d", "set:8=1 zset:4=1 hash:1=1"),
            ("zremrangebyrank z 0 1", "set:8=1 zset:2=1 hash:1=1"),
            ("xadd x 1 a 1", "set:8=1 zset:2=1 hash:1=1 stream:1=1"),
            ("pfadd p a", "string:16=1 set:8=1 zset:2=1 hash:1=1 stream:1=1"),
            ("del l z h x p", ""),
            ("set e 1 px 1", "string:1=1"),
            ("flushall", ""),
        ] {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let reply = shard.execute(Protocol::Resp2, &arguments);
            assert!(!reply.starts_with(b"-"), "{line}: {}", String::from_utf8_lossy(&reply));
            assert_eq!(sizes(&mut shard), expected, "{line}");
        }
    }

    #[test]
    fn large_values_are_counted_alike() {
        let mut shard = Shard::default();
        let mut run = |line: &str| {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            shard.execute(Protocol::Resp2, &arguments);
            sizes(&mut shard)
        };
        let many = |from: usize, to: usize| (from..to).map(|n| format!("{n} m{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(run(&format!("zadd z {}", many(0, 600))), "zset:512=1");
        assert_eq!(run(&format!("zadd z {}", many(600, 1024))), "zset:1024=1");
        assert_eq!(run("zremrangebyscore z 100 2000"), "zset:64=1");
        assert_eq!(run(&format!("hset h {}", many(0, 600))), "zset:64=1 hash:512=1");
        assert_eq!(run("hdel h 1 2"), "zset:64=1 hash:512=1");
        assert_eq!(run(&format!("rpush l {}", many(0, 2000))), "list:2048=1 zset:64=1 hash:512=1");
        assert_eq!(run("ltrim l 0 99"), "list:64=1 zset:64=1 hash:512=1");
        assert_eq!(run(&format!("set s {}", "x".repeat(100_000))), "string:65536=1 list:64=1 zset:64=1 hash:512=1");
        assert_eq!(run("set s x"), "string:1=1 list:64=1 zset:64=1 hash:512=1");
    }
}
