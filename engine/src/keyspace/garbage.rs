//! What has left the databases but whose memory has not come back yet.
//!
//! ```text
//!   objects    large collections    ──one after the other──> the thread's pile of trees (large::collect)
//!   blobs      very long strings, packed collections: the pages of one go back bit by bit, then the block
//!   databases  groups of flushed ones, page by page
//! ```
//!
//! Whatever lets a value go (DEL, an overwrite, expiry, eviction) only moves it here, and a flush moves whole groups. The
//! owner of the shard calls [`Keyspace::collect_garbage`](super::Keyspace::collect_garbage) in its idle moments until nothing is left. A
//! flushed key, and a value that came alone, is counted as pending until it is gone, then as freed.

use super::Statistics;
use super::database::{Database, Group};
use crate::values::{Blob, Leftover, Object, large};

/// A blob at least this long is not freed by the command that lets it go, in bytes: giving so many pages back to the
/// system takes longer than the rest of the command.
const DEFERRED_BYTES_MIN: usize = 64 << 10;

/// A collection of at most so many elements is freed by the command that lets it go.
const ELEMENTS_AT_ONCE_MAX: u64 = 64;

/// So many bytes of a block give their pages back at a time.
const FORGOTTEN_AT_ONCE_BYTES: usize = 256 << 10;

/// Gives the pages of some bytes back to the system, as far as it can: whatever they hold then.
pub type ForgetPages = fn(&mut [u8]);

pub(super) struct Garbage {
    blobs: Vec<Blob>,
    /// One of them, of which so many bytes still have their pages.
    fading: Option<(Blob, usize)>,
    pub(super) forget_pages: ForgetPages,
    #[allow(clippy::vec_box)] // boxed where they come from: to let one go allocates nothing
    objects: Vec<Box<Object>>,
    /// The trees of the last object taken are on the thread's pile.
    is_freeing: bool,
    databases: Vec<Vec<Option<Box<Group>>>>,
    /// Keys in them.
    flushed_keys: usize,
}

impl Default for Garbage {
    fn default() -> Self {
        Self {
            blobs: Vec::new(),
            fading: None,
            forget_pages: |_| (),
            objects: Vec::new(),
            is_freeing: false,
            databases: Vec::new(),
            flushed_keys: 0,
        }
    }
}

impl Garbage {
    /// Takes what a removed entry left behind.
    #[inline]
    pub(super) fn discard(&mut self, leftover: Option<Leftover>) {
        match leftover {
            Some(Leftover::Blob(blob)) if blob.capacity() >= DEFERRED_BYTES_MIN => self.blobs.push(blob),
            Some(Leftover::Object(object)) if object.len() > ELEMENTS_AT_ONCE_MAX => self.objects.push(object),
            Some(Leftover::Blob(_) | Leftover::Object(_)) | None => {}
        }
    }

    /// Takes all groups of a database.
    pub(super) fn discard_database(&mut self, database: Database) {
        if !database.groups.is_empty() {
            self.flushed_keys += database.keys;
            self.databases.push(database.groups);
        }
    }

    /// Values that wait to be freed (`lazyfree_pending_objects`).
    pub(super) fn pending(&self) -> usize {
        let begun = usize::from(self.is_freeing) + usize::from(self.fading.is_some());
        self.blobs.len() + self.objects.len() + begun + self.flushed_keys
    }

    /// Whether there is anything to free.
    pub(super) fn is_some(&self) -> bool {
        !(self.objects.is_empty() && self.blobs.is_empty() && self.databases.is_empty())
            || self.is_freeing
            || self.fading.is_some()
    }

    /// Frees about `budget` units ([`large::units`]); whether more is left.
    pub(super) fn collect(&mut self, budget: usize, statistics: &mut Statistics) -> bool {
        let mut left = budget.max(1);
        // Trees first: those of one object are gone before the next is looked at.
        while left > 0 && !large::collect(&mut left) {
            if std::mem::take(&mut self.is_freeing) {
                statistics.lazily_freed += 1;
            }
            if let Some(object) = self.objects.pop() {
                self.is_freeing = true;
                drop(object);
                left = left.saturating_sub(1);
            } else if let Some(fading) = self.fading.take() {
                self.fading = self.fade(fading, &mut left);
                statistics.lazily_freed += u64::from(self.fading.is_none());
            } else if let Some(blob) = self.blobs.pop() {
                // Bytes that others hold stay as they are.
                let bytes = if blob.is_unique() { blob.len() } else { 0 };
                self.fading = Some((blob, bytes));
            } else if !self.databases.is_empty() {
                self.collect_flushed(&mut left, statistics);
            } else {
                return false;
            }
        }
        true
    }

    /// Gives pages of a block back, from its end, and then the block.
    fn fade(&self, (mut blob, bytes): (Blob, usize), left: &mut usize) -> Option<(Blob, usize)> {
        if bytes <= FORGOTTEN_AT_ONCE_BYTES {
            *left = left.saturating_sub(large::units(bytes));
            return None;
        }
        let kept = bytes - FORGOTTEN_AT_ONCE_BYTES;
        (self.forget_pages)(&mut blob.as_mut_slice()[kept..bytes]);
        *left = left.saturating_sub(large::units(FORGOTTEN_AT_ONCE_BYTES));
        Some((blob, kept))
    }

    /// Frees a page, or a group that is empty, of what was flushed.
    fn collect_flushed(&mut self, left: &mut usize, statistics: &mut Statistics) {
        let Some(groups) = self.databases.last_mut() else { return };
        match groups.last_mut() {
            None => {
                self.databases.pop();
            }
            Some(Some(group)) if group.occupied != 0 => {
                let lane = group.occupied.trailing_zeros() as usize;
                let (blobs_before, blobs) = (self.blobs.len(), &mut self.blobs);
                let keep = |leftover| {
                    if let Leftover::Blob(blob) = leftover
                        && blob.capacity() >= DEFERRED_BYTES_MIN
                    {
                        blobs.push(blob);
                    }
                };
                match group.tables[lane].free_last_page(keep) {
                    Some(keys) => {
                        *left = left.saturating_sub(1 + keys);
                        self.flushed_keys -= keys;
                        // Those that wait on as blobs are counted when these go.
                        statistics.lazily_freed += (keys + blobs_before - self.blobs.len()) as u64;
                    }
                    None => group.occupied &= !(1 << lane),
                }
            }
            Some(_) => {
                groups.pop();
                // The trees that came first may have used the budget up.
                *left = left.saturating_sub(1);
            }
        }
    }
}
