//! Loading: a file of keys and values comes to all shards at once.
//!
//! ```text
//!   file ──> reader (task) ──> pieces ──> cutter (task of the shard that loads): Scanner finds where items end
//!                                          │  each key's bytes, uncopied but once, into the open batch of its shard
//!                                          ▼
//!                      every shard: decodes and puts what is its own         a few batches of a shard are under way
//! ```
//!
//! * Meanwhile commands are answered `-LOADING`, but for those that say they may run ([`Gate`](crate::core::gate::Gate)).
//! * Nothing is evicted, told to anybody or expired by the clock while it is loaded. A key whose time is over is left out, unless more of its
//!   history is to follow (the base of a log).
//! * Whatever is wrong with the file is one clear error, with the place in the file, and nothing is served.

mod batch;
mod delivery;
mod pieces;
mod procedure;
mod startup;

pub use batch::Batch;
pub use delivery::{Delivery, Receipt};
pub use pieces::Pieces;
pub use procedure::{LoadFailure, Loaded, load};
pub use startup::{Reload, begin, end, reload, source};

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// A file that is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is, for the progress; 0 if nobody knows.
    pub bytes: u64,
    /// Whether more of the keys' history is to follow, so that those whose time is over are kept until then.
    pub is_base: bool,
    /// What becomes of a key that is there already.
    pub twice: Twice,
}

/// What becomes of a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// The file is broken.
    Refused,
    /// The later one counts.
    Replaces,
}

/// How far a load has come; for INFO. Of the last one, when it is over.
#[derive(Debug, Default)]
pub struct LoadFigures {
    /// Whether one is under way.
    pub is_loading: AtomicBool,
    /// When it began, wall milliseconds.
    pub began_ms: AtomicI64,
    /// How long the files are.
    pub bytes: AtomicU64,
    /// What has been gone through of them.
    pub bytes_done: AtomicU64,
    /// Keys that were loaded.
    pub keys: AtomicU64,
    /// Keys that were left out, since their time was over.
    pub keys_expired: AtomicU64,
    /// Collections without elements, as old servers have written them; left out.
    pub keys_empty: AtomicU64,
}

impl LoadFigures {
    /// A load of so many bytes begins.
    pub fn begin(&self, bytes: u64, now_ms: i64) {
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        for count in [&self.bytes_done, &self.keys, &self.keys_expired, &self.keys_empty] {
            count.store(0, Ordering::Relaxed);
        }
        self.is_loading.store(true, Ordering::SeqCst);
    }

    /// It is over.
    pub fn end(&self) {
        self.is_loading.store(false, Ordering::SeqCst);
    }
}
