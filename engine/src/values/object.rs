//! A collection too large for one run of bytes: a tree of chunks, shared by reference count, also with other threads.
//!
//! Each variant answers the same few questions, so that the keyspace handles all of them alike: what it is called, how
//! many bytes of heap it takes (kept up to date by the tree itself). A clone is a frozen view of the whole, made in constant
//! time, and may travel to another shard; the next change of either copies only the chunks on its path. Dropped, a huge
//! one is freed in slices ([`large::collect`](super::large::collect)).

use super::field_times::FieldTimes;
use super::large::{Foresight, HashTree, ListTree, MemberHasher, SortedTree};
use super::packed::Type;
use super::stream::Stream;

/// A large collection. A further one is a variant here and an arm in each method below.
#[derive(Clone)]
pub enum Object {
    /// A set.
    Set(HashTree),
    /// A hash.
    Hash(LargeHash),
    /// A sorted set.
    SortedSet(SortedTree),
    /// A list.
    List(ListTree),
    /// A stream, whatever its length.
    Stream(Box<Stream>),
}

/// A hash: fields and values, and when fields expire.
#[derive(Clone)]
pub struct LargeHash {
    /// Fields with their values and times.
    pub tree: HashTree,
    /// The times in order. Invariant: as in the tree.
    pub times: FieldTimes,
}

impl LargeHash {
    /// An empty one.
    pub fn new(hasher: MemberHasher) -> Self {
        Self { tree: HashTree::new(hasher), times: FieldTimes::default() }
    }
}

impl Object {
    /// The type.
    pub fn kind(&self) -> Type {
        match self {
            Self::Set(_) => Type::Set,
            Self::Hash(_) => Type::Hash,
            Self::SortedSet(_) => Type::SortedSet,
            Self::List(_) => Type::List,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// Looks an element up beside others, if elements are found by their hash.
    #[inline]
    pub fn foresee<'t>(&'t self, element: &[u8], others: &mut Foresight<'t>) {
        match self {
            Self::Set(tree) => tree.foresee(element, others),
            Self::Hash(hash) => hash.tree.foresee(element, others),
            Self::SortedSet(tree) => tree.index().foresee(element, others),
            Self::List(_) | Self::Stream(_) => {}
        }
    }

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::Set(_) | Self::Hash(_) => "hashtable",
            Self::SortedSet(_) => "skiplist",
            Self::List(_) => "quicklist",
            Self::Stream(_) => "stream",
        }
    }

    /// Number of elements; of a stream, entries and groups.
    #[allow(clippy::len_without_is_empty)] // the empty ones are no objects, but for streams
    pub fn len(&self) -> u64 {
        match self {
            Self::Set(tree) => tree.len(),
            Self::Hash(hash) => hash.tree.len(),
            Self::SortedSet(tree) => tree.len(),
            Self::List(tree) => tree.len(),
            Self::Stream(stream) => stream.entries().len() + stream.groups().len() as u64,
        }
    }

    /// Bytes of heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        let inside = match self {
            Self::Set(tree) => tree.bytes(),
            Self::Hash(hash) => hash.tree.bytes() + hash.times.heap_bytes(),
            Self::SortedSet(tree) => tree.bytes(),
            Self::List(tree) => tree.bytes(),
            Self::Stream(stream) => size_of::<Stream>() + stream.bytes(),
        };
        size_of::<Self>() + inside
    }

    /// The time of what in it is due first, if anything is.
    pub fn earliest_due(&self) -> Option<i64> {
        match self {
            Self::Set(_) | Self::SortedSet(_) | Self::List(_) | Self::Stream(_) => None,
            Self::Hash(hash) => hash.times.earliest(),
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Object").field(&self.kind()).finish()
    }
}

#[cfg(test)]
impl Object {
    /// Counts everything in it anew.
    pub(crate) fn audit(&self) {
        match self {
            Self::Set(tree) => tree.audit(),
            Self::Hash(hash) => {
                hash.tree.audit();
                let times = hash.tree.iter().filter(|field| field.expires_at.is_some()).count();
                assert_eq!(hash.times.due_count(i64::MAX), times, "a time is in the tree and in the order of times");
            }
            Self::SortedSet(tree) => tree.audit(),
            Self::List(tree) => tree.audit(),
            Self::Stream(stream) => stream.audit(),
        }
    }
}
