//! A hash table that grows and shrinks by one page at a time (linear hashing).
//!
//! ```text
//!   pages   0   1   2   3   4   5 │         8 > 6 >= 4: four home pages, of which 0 and 1 have been split
//!           │   │               │ │         into 0 + 4 and 1 + 5
//!         split             halves│
//!   page of a hash: its low 3 bits; if there is no such page yet, its low 2 bits
//! ```
//!
//! An insert that brings the mean number of keys in a page above the table's [`Density`] splits the one page whose turn it
//! is, so no insert ever does more than that. Removal that brings it well below merges the last page back where it came
//! from.
//!
//! **Positions.** Pages go by the *low* bits of the hash. With its bits reversed, a hash is called a position; pages then
//! go by the *first* bits of positions, so each page holds exactly the keys of one interval of positions, a split cuts
//! an interval in two, and a merge joins two. That makes walks safe against growth: a walk that has gone through
//! `0..position` has seen each key there that was there all the time.

use super::directory::Directory;
use super::packed::{Draft, Leftover, PackedEntry};
use super::page::{Ledger, Page};
use super::prefetch;

/// The mean number of keys in a page that a table keeps to, in sixteenths.
///
/// All slots get their keys at the same pace. If their tables kept to the same mean, they would all go through the sizes of
/// pages in step, and the allocator would be left with holes of the sizes just left. So the mean differs from slot to slot
/// by up to two. Measured at 10M keys of 16 + 32 bytes, bytes of RSS a key: 12 everywhere 71.7; varied around 8, 10, 12, 16:
/// 68.4, 68.4, 69.7, 71.5. More keys in a page also mean longer moves in it.
#[derive(Clone, Copy, Debug)]
pub struct Density(u32);

impl Density {
    const LEAST: u32 = 7 * 16;
    const VARIANTS: u32 = 64;

    /// The density of the table of that number among its like.
    #[inline]
    pub const fn varied(number: usize) -> Self {
        Self(Self::LEAST + Self::LEAST * (number as u32 % Self::VARIANTS) / Self::VARIANTS)
    }

    /// Whether so many keys want more pages.
    #[inline]
    const fn is_above(self, keys: usize, pages: usize) -> bool {
        keys * 16 > pages * self.0 as usize
    }

    /// Whether so many keys would do with one page less. A third below the density, so that tables do not go back and
    /// forth.
    #[inline]
    const fn is_far_below(self, keys: usize, pages: usize) -> bool {
        keys * 24 < (pages - 1) * self.0 as usize
    }
}

/// Where a key is, until the next change of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    page: u32,
    entry: u32,
}

/// The keys of one slot. Sixteen bytes; an empty one has nothing on the heap.
pub struct Table(Directory);

/// The bits of the hash that a tag is made of; far from those that choose the page.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The page, of so many, that a hash belongs to.
#[inline]
fn page_of(hash: u64, pages: usize) -> usize {
    let level = pages.ilog2();
    let index = hash as usize & ((2 << level) - 1);
    if index < pages { index } else { index & ((1 << level) - 1) }
}

/// Number of bits of the position that all keys of a page share.
#[inline]
fn shared_bits(index: usize, pages: usize) -> u32 {
    let level = pages.ilog2();
    let split = pages - (1 << level);
    level + u32::from(index < split || index >= 1 << level)
}

impl Default for Table {
    fn default() -> Self {
        Self(Directory::new())
    }
}

impl Table {
    /// Number of keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.keys as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.keys == 0
    }

    /// Number of pages.
    pub fn page_count(&self) -> usize {
        self.0.len()
    }

    /// A page by number, for those who pick at random.
    pub fn page(&self, index: usize) -> &Page {
        self.0.get(index)
    }

    /// Looks a key up.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        if self.0.len() == 0 {
            return None;
        }
        let page = page_of(hash, self.0.len());
        let entry = self.0.get(page).find(tag(hash), key)?;
        Some(Place { page: page as u32, entry: entry as u32 })
    }

    /// The entry at a place.
    #[inline]
    pub fn entry(&self, place: Place) -> PackedEntry<'_> {
        self.0.get(place.page as usize).entry(place.entry as usize)
    }

    /// The page and index of a place, to change the entry there.
    #[inline]
    pub fn at(&mut self, place: Place) -> (&mut Page, usize) {
        (self.0.get_mut(place.page as usize), place.entry as usize)
    }

    /// Adds a key that is not here yet. `hash_of` is the hash that all calls use.
    pub fn insert(
        &mut self,
        hash: u64,
        draft: Draft<'_>,
        density: Density,
        hash_of: impl Fn(&[u8]) -> u64,
        ledger: &mut Ledger,
    ) {
        if self.0.len() == 0 {
            self.0.push(Page::with_room(draft.packed_len(), ledger), ledger);
        }
        let page = page_of(hash, self.0.len());
        self.0.get_mut(page).insert(tag(hash), draft, ledger);
        self.0.keys += 1;
        if density.is_above(self.len(), self.0.len()) {
            self.split(hash_of, ledger);
        }
    }

    /// Removes a key and hands over what its value owned. Pages are merged by [`Table::shrink`].
    pub fn remove(&mut self, place: Place, ledger: &mut Ledger) -> Option<Leftover> {
        let (page, entry) = self.at(place);
        let leftover = page.remove(entry, ledger);
        self.0.keys -= 1;
        leftover
    }

    /// Merges pages while there are too many, two at most: as many as one removal or one visited page needs.
    pub fn shrink(&mut self, density: Density, ledger: &mut Ledger) {
        if self.is_empty() {
            while let Some(page) = self.0.pop(ledger) {
                page.free(ledger, drop);
            }
            return;
        }
        for _ in 0..2 {
            let pages = self.0.len();
            if pages == 1 || !density.is_far_below(self.len(), pages) {
                return;
            }
            let last = pages - 1;
            let home = last - (1 << last.ilog2());
            if let Some(page) = self.0.pop(ledger) {
                self.0.get_mut(home).merge(page, ledger);
            }
        }
    }

    fn split(&mut self, hash_of: impl Fn(&[u8]) -> u64, ledger: &mut Ledger) {
        let pages = self.0.len();
        let level = pages.ilog2();
        let source = pages - (1 << level);
        let half = self.0.get_mut(source).split(|entry| hash_of(entry.key()) >> level & 1 == 1, ledger);
        self.0.push(half, ledger);
    }

    /// The page that holds a position, and the first position behind it; zero at the end of all. None if the table is
    /// empty.
    pub fn interval(&self, position: u64) -> Option<(usize, u64)> {
        let pages = self.0.len();
        if pages == 0 {
            return None;
        }
        let index = page_of(position.reverse_bits(), pages);
        let width = 1u64.checked_shl(64 - shared_bits(index, pages)).unwrap_or(0);
        Some((index, self.interval_start(index).wrapping_add(width)))
    }

    /// The first position of a page.
    pub fn interval_start(&self, index: usize) -> u64 {
        (index as u64).reverse_bits()
    }

    /// A page by number, to change it.
    pub fn page_mut(&mut self, index: usize) -> &mut Page {
        self.0.get_mut(index)
    }

    /// Removes an entry by numbers; the last entry of the page takes its number.
    pub fn remove_at(&mut self, page: usize, entry: usize, ledger: &mut Ledger) -> Option<Leftover> {
        self.remove(Place { page: page as u32, entry: entry as u32 }, ledger)
    }

    /// Frees the last page, of a table that has been detached from its ledger, and hands over what its values owned;
    /// returns how many keys went, or `None` when nothing is left.
    pub fn free_last_page(&mut self, discard: impl FnMut(Leftover)) -> Option<usize> {
        let mut detached = Ledger { bytes: usize::MAX / 2, moved: 0 };
        let page = self.0.pop(&mut detached)?;
        let keys = page.len();
        self.0.keys -= keys as u32;
        page.free(&mut detached, discard);
        Some(keys)
    }

    /// First stage of prefetching a look-up: this table's own line.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::line(self);
    }

    /// Second stage: the pointer to the page.
    #[inline]
    pub fn prefetch_directory(&self, hash: u64) {
        if self.0.len() > 0 {
            self.0.prefetch(page_of(hash, self.0.len()));
        }
    }

    /// Third stage: the page's header, tags and distances.
    #[inline]
    pub fn prefetch_page(&self, hash: u64) {
        if self.0.len() > 0 {
            self.0.get(page_of(hash, self.0.len())).prefetch_header();
        }
    }

    /// Fourth stage: the entry.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if self.0.len() > 0 {
            self.0.get(page_of(hash, self.0.len())).prefetch_entry(tag(hash));
        }
    }
}

#[cfg(test)]
impl Table {
    /// Bytes of heap, counted anew.
    pub(crate) fn audit(&self) -> usize {
        let pages = (0..self.page_count()).map(|index| self.page(index));
        assert_eq!(self.len(), pages.clone().map(Page::len).sum::<usize>());
        self.0.array_bytes() + pages.map(Page::heap_bytes).sum::<usize>()
    }
}
