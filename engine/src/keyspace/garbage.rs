//! What has left the databases but whose memory has not come back yet.
//!
//! Flushing a database only moves its groups here; a very long string or a large collection that is removed comes here
//! too. The owner of the shard calls [`Keyspace::collect_garbage`](super::Keyspace::collect_garbage) in its idle moments until nothing is left.

use super::database::{Database, Group};
use crate::values::{Blob, Leftover, Object};

/// A blob at least this long is not freed by the command that lets it go, in bytes: giving so many pages back to the
/// system takes longer than the rest of the command.
const DEFERRED_BYTES_MIN: usize = 64 << 10;

/// What an entry costs to free in units of the budget is one; a blob costs one for each so many bytes.
const BLOB_BYTES_PER_UNIT: usize = 64 << 10;

/// Elements of a large collection that are freed at a time.
const OBJECT_SLICE: usize = 64;

#[derive(Default)]
pub(super) struct Garbage {
    blobs: Vec<Blob>,
    objects: Vec<Box<Object>>,
    databases: Vec<Vec<Option<Box<Group>>>>,
}

impl Garbage {
    /// Takes what a removed entry left behind.
    #[inline]
    pub(super) fn discard(&mut self, leftover: Option<Leftover>) {
        match leftover {
            Some(Leftover::Blob(blob)) if blob.capacity() >= DEFERRED_BYTES_MIN => self.blobs.push(blob),
            Some(Leftover::Object(object)) => self.objects.push(object),
            Some(Leftover::Blob(_)) | None => {}
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
            if let Some(object) = self.objects.last_mut() {
                left = left.saturating_sub(OBJECT_SLICE);
                if object.free_slice(OBJECT_SLICE) {
                    self.objects.pop();
                }
                continue;
            }
            let Some(groups) = self.databases.last_mut() else { return false };
            match groups.last_mut() {
                None => {
                    self.databases.pop();
                }
                Some(Some(group)) if group.occupied != 0 => {
                    let lane = group.occupied.trailing_zeros() as usize;
                    let (blobs, objects) = (&mut self.blobs, &mut self.objects);
                    let keep = |leftover| match leftover {
                        Leftover::Blob(blob) if blob.capacity() >= DEFERRED_BYTES_MIN => blobs.push(blob),
                        Leftover::Blob(_) => {}
                        Leftover::Object(object) => objects.push(object),
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
        !(self.blobs.is_empty() && self.objects.is_empty() && self.databases.is_empty())
    }
}
