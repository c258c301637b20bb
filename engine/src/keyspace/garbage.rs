//! What has left the databases but whose memory has not come back yet.
//!
//! Flushing a database only moves its groups here; a very long string that is removed comes here too. Large collections
//! have a pile of their own, the thread's ([`large::collect`]). The owner of the shard calls [`Keyspace::collect_garbage`](super::Keyspace::collect_garbage) in its idle moments until nothing is left.

use super::database::{Database, Group};
use crate::values::{Blob, Leftover, large};

/// A blob at least this long is not freed by the command that lets it go, in bytes: giving so many pages back to the
/// system takes longer than the rest of the command.
const DEFERRED_BYTES_MIN: usize = 64 << 10;

/// What an entry costs to free in units of the budget is one; a blob costs one for each so many bytes.
const BLOB_BYTES_PER_UNIT: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Garbage {
    blobs: Vec<Blob>,
    databases: Vec<Vec<Option<Box<Group>>>>,
}

impl Garbage {
    /// Takes what a removed entry left behind.
    #[inline]
    pub(super) fn discard(&mut self, leftover: Option<Leftover>) {
        match leftover {
            Some(Leftover::Blob(blob)) if blob.capacity() >= DEFERRED_BYTES_MIN => self.blobs.push(blob),
            // A large one goes to the thread's pile as it is dropped.
            Some(Leftover::Blob(_) | Leftover::Object(_)) | None => {}
        }
    }

    /// Takes all groups of a database.
    pub(super) fn discard_database(&mut self, database: Database) {
        if !database.groups.is_empty() {
            self.databases.push(database.groups);
        }
    }

    /// Frees about `budget` entries; whether more is left.
    pub(super) fn collect(&mut self, budget: usize) -> bool {
        let mut left = budget.max(1);
        while left > 0 {
            if let Some(blob) = self.blobs.pop() {
                left = left.saturating_sub(1 + blob.capacity() / BLOB_BYTES_PER_UNIT);
                continue;
            }
            let Some(groups) = self.databases.last_mut() else { break };
            match groups.last_mut() {
                None => {
                    self.databases.pop();
                }
                Some(Some(group)) if group.occupied != 0 => {
                    let lane = group.occupied.trailing_zeros() as usize;
                    let blobs = &mut self.blobs;
                    let keep = |leftover| {
                        if let Leftover::Blob(blob) = leftover
                            && blob.capacity() >= DEFERRED_BYTES_MIN
                        {
                            blobs.push(blob);
                        }
                    };
                    match group.tables[lane].free_last_page(keep) {
                        Some(keys) => left = left.saturating_sub(1 + keys),
                        None => group.occupied &= !(1 << lane),
                    }
                }
                Some(_) => {
                    groups.pop();
                    left -= 1;
                }
            }
        }
        let more = large::collect(left);
        more || !(self.blobs.is_empty() && self.databases.is_empty())
    }
}
