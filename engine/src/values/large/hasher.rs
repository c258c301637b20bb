//! The keyed hash of fields and members.

use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Hashes fields and members; a tree carries its own, so it means the same on every shard.
#[derive(Clone)]
pub struct MemberHasher(RandomState);

impl MemberHasher {
    /// A hasher from a seed, which should be secret against floods of colliding members.
    pub fn with_seed(seed: u64) -> Self {
        let mut generator = fastrand::Rng::with_seed(seed);
        let mut draw = || generator.u64(..);
        Self(RandomState::with_seeds(draw(), draw(), draw(), draw()))
    }

    /// Where a member stands in the order of its tree, and the tag it is found by.
    #[inline]
    pub(super) fn hash(&self, member: &[u8]) -> Hash {
        let mut hasher = self.0.build_hasher();
        hasher.write(member);
        let hash = hasher.finish();
        Hash { position: (hash >> 32) as u32, tag: hash as u8 }
    }
}

/// What is used of a member's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash {
    /// The order of a [`HashTree`](super::HashTree), and what SCAN cursors are.
    pub(super) position: u32,
    /// Bits that have nothing to do with the position; compared before the text is.
    pub(super) tag: u8,
}
