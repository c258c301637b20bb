//! A collection too large for one run of bytes: a tree of chunks, shared by reference count within its thread.
//!
//! Each variant answers the same few questions, so that the keyspace handles all of them alike: what it is called, how
//! many bytes of heap it takes (kept up to date by the tree itself), and how it travels to another thread. A clone is a
//! frozen view of the whole, made in constant time; the next change of either copies only the chunks on its path. Dropped,
//! a huge one is freed in slices ([`large::collect`](super::large::collect)).

use super::StringRef;
use super::field_times::FieldTimes;
use super::large::{HashTree, ListTree, MemberHasher, Scored, SortedTree};
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

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::Set(_) | Self::Hash(_) => "hashtable",
            Self::SortedSet(_) => "skiplist",
            Self::List(_) => "quicklist",
            Self::Stream(_) => "stream",
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

    /// The whole in a form that may go to another thread.
    pub fn to_travelling(&self) -> Travelling {
        match self {
            Self::Set(tree) => {
                let mut members = Texts::default();
                tree.iter().for_each(|element| members.push(element.name()));
                Travelling::Set(tree.hasher().clone(), members)
            }
            Self::Hash(hash) => {
                let (mut texts, mut times) = (Texts::default(), Vec::new());
                for (index, element) in hash.tree.iter().enumerate() {
                    texts.push(element.name());
                    texts.push(element.value.unwrap_or(StringRef::Bytes(&[])));
                    times.extend(element.expires_at.map(|at| (index, at)));
                }
                Travelling::Hash(hash.tree.hasher().clone(), texts, times)
            }
            Self::SortedSet(tree) => {
                let (mut members, mut scores) = (Texts::default(), Vec::new());
                for Scored { score, member } in tree {
                    members.push(member);
                    scores.push(score);
                }
                Travelling::SortedSet(tree.hasher().clone(), members, scores)
            }
            Self::List(tree) => {
                let mut elements = Texts::default();
                tree.iter().for_each(|element| elements.push(element.as_string()));
                Travelling::List(elements)
            }
            Self::Stream(stream) => Travelling::Stream(stream.clone()),
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Object").field(&self.kind()).finish()
    }
}

/// An [`Object`] on its way to another thread.
#[derive(Clone)]
pub enum Travelling {
    /// Members.
    Set(MemberHasher, Texts),
    /// Fields and values in turn, and the times of some fields by their number.
    Hash(MemberHasher, Texts, Vec<(usize, i64)>),
    /// Members and their scores, in order.
    SortedSet(MemberHasher, Texts, Vec<f64>),
    /// Elements, in order.
    List(Texts),
    /// Chunks and groups as they are: they may be shared between threads, and be changed by whoever holds them alone.
    Stream(Box<Stream>),
}

impl Travelling {
    /// The collection again.
    pub fn arrive(self) -> Object {
        match self {
            Self::Set(hasher, members) => {
                let mut tree = HashTree::new(hasher);
                members.iter().for_each(|member| {
                    tree.add(member);
                });
                Object::Set(tree)
            }
            Self::Hash(hasher, texts, times) => {
                let mut hash = LargeHash::new(hasher);
                let (mut texts, mut times) = (texts.iter(), times.into_iter().peekable());
                let mut index = 0;
                while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
                    let at = times.next_if(|(number, _)| *number == index).map(|(_, at)| at);
                    hash.tree.set(field, value, at);
                    hash.times.change(field, None, at);
                    index += 1;
                }
                Object::Hash(hash)
            }
            Self::SortedSet(hasher, members, scores) => {
                let mut tree = SortedTree::new(hasher);
                members.iter().zip(scores).for_each(|(member, score)| {
                    tree.insert(member, score);
                });
                Object::SortedSet(tree)
            }
            Self::List(elements) => {
                let mut tree = ListTree::new();
                elements.iter().for_each(|element| tree.push_back(element));
                Object::List(tree)
            }
            Self::Stream(stream) => Object::Stream(stream),
        }
    }
}

impl std::fmt::Debug for Travelling {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Travelling")
    }
}

/// Texts one behind the other, each after its length.
#[derive(Clone, Default)]
pub struct Texts(Vec<u8>);

impl Texts {
    fn push(&mut self, text: StringRef<'_>) {
        text.with_bytes(|text| {
            self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.0.extend_from_slice(text);
        });
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let (text, behind) = behind.split_at(u64::from_le_bytes(*length) as usize);
            rest = behind;
            Some(text)
        })
    }
}
