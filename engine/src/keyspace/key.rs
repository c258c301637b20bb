//! A key with what is computed of it once: its slot and its hash.

use super::slot::slot_of;
use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The keyed hash of keys. All shards use the same seed, so that a SCAN position means the same everywhere.
#[derive(Clone)]
pub struct KeyHasher {
    state: RandomState,
    seed: u64,
}

impl KeyHasher {
    /// A hasher from a seed, which should be secret against floods of colliding keys.
    pub fn with_seed(seed: u64) -> Self {
        let mut generator = fastrand::Rng::with_seed(seed);
        let mut draw = || generator.u64(..);
        Self { state: RandomState::with_seeds(draw(), draw(), draw(), draw()), seed }
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The seed it was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// A key, its slot and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key's bytes.
    pub bytes: &'a [u8],
    /// Its slot.
    pub slot: u16,
    /// Its hash by the keyspace's hasher.
    pub hash: u64,
}

impl<'a> Key<'a> {
    /// Computes slot and hash.
    #[inline]
    pub fn new(bytes: &'a [u8], hasher: &KeyHasher) -> Self {
        Self { bytes, slot: slot_of(bytes), hash: hasher.hash(bytes) }
    }
}
