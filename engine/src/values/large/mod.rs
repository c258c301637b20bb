//! Large values: counted trees of chunks, shared by reference count and copied on write.
//!
//! ```text
//!   Tree ── root, elements in all, bytes in all
//!    │
//!    v
//!   ┌ branch ────────────────────────────────┐       keys:   where each child begins (none for lists and ropes)
//!   │ keys     ┊   -   ┊  k1   ┊  k2   ┊ ... │       counts: elements (or bytes of a rope) in each child, so ranks,
//!   │ counts   ┊  c0   ┊  c1   ┊  c2   ┊ ... │               indexes and random elements are found in O(log n)
//!   │ children ┊   │   ┊   │   ┊   │   ┊ ... │
//!   └──────────────┼───────┼───────┼─────────┘
//!                  v       v       v
//!               branches, ... , then leaves: chunks of packed elements
//!
//!   view = tree.clone()      shares the root: O(1), and stays what it was
//!   a write to the tree      copies the leaf and the branches above it that a view holds too; later writes find them its own
//! ```
//!
//! | form | order | leaf |
//! |---|---|---|
//! | [`HashTree`]: hash, set, index of a sorted set | 32 bits of the seeded hash | tags, distances, texts |
//! | [`SortedTree`]: sorted set | score, then member | scores, distances, members |
//! | [`ListTree`]: list | by index | a listpack, or one large element |
//! | [`Rope`]: string over 64 KiB | by offset | bytes |
//! | [`StreamTree`]: entries of a stream | by ID | a listpack |
//! | [`IdTree`]: pending entries of a consumer group | by ID | an array of records |
//!
//! **Invariants**
//! * All leaves are equally deep; no leaf and no branch is empty; an empty tree has no root.
//! * All elements of a child are at or behind its key and before the next one's. The key of a branch's first child says
//!   nothing: the branch's own key above it counts.
//! * A branch knows the bytes and the leaves below it, so a range of ranks is cut off in O(log n).
//! * Counts and the tree's bytes are exact after each call. *Bytes* are those of all blocks that can be reached from the
//!   root, also where a view shares them.
//! * Elements with equal positions are never split over two leaves of a `HashTree`, so a SCAN cursor is a position.
//! * An element too large for a leaf is a [`Blob`](crate::values::Blob), and the leaf holds a reference to it.
//! * Nothing drops a huge tree at once: a tree with more than one level of branches that nobody else holds goes to the
//!   thread's pile ([`collect`]) when it is dropped, and its owner may free it in slices (`drop_slice`).
//!
//! **Sizes.** A branch has up to 46 children and fits a size class of the allocator (up to 1,536 bytes): the first write after a
//! freeze copies one a level. A leaf is a block of just the size class that its elements need, up to 1 KiB where writes
//! are random (a write moves half of the leaf's bytes, the first one after a freeze copies them) and 4 KiB in lists and
//! ropes, whose writes are mostly at the ends. So leaves are full but for half a step of size classes, 6 %, where fixed
//! blocks would be filled by ln 2 = 69 %. (`benches/large_values.rs` measures them.)

mod chunk;
mod foresight;
mod garbage;
mod hash_build;
mod hash_leaf;
mod hash_tree;
mod hasher;
mod id_tree;
mod list_leaf;
mod list_tree;
#[cfg(test)]
mod model;
mod reference;
mod rope;
mod sorted_leaf;
mod sorted_tree;
mod stream_leaf;
mod stream_tree;
mod tree;

pub use foresight::Foresight;
pub(crate) use garbage::discard_each;
pub use garbage::{collect, units};
pub use hash_leaf::{Element, Field, Old};
pub use hash_tree::{HashIter, HashTree, Taken};
pub use hasher::MemberHasher;
pub use id_tree::{IdIter, IdTree};
pub use list_leaf::ListElement;
pub use list_tree::{ListChunk, ListIter, ListIterBack, ListTree};
pub use rope::{CHUNK_BYTES, Rope};
pub use sorted_leaf::Scored;
pub use sorted_tree::{SortedBuilder, SortedCut, SortedIter, SortedIterBack, SortedTree};
pub use stream_leaf::{Node, StreamEntry};
pub use stream_tree::{Full, StreamIter, StreamIterBack, StreamTree};
