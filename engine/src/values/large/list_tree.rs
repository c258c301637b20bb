//! A list: a counted tree of listpacks, as the real server's quicklist, but with indexes found in O(log n).
//!
//! Elements come and go mostly at the ends, so a leaf that is full there is left full and the new element begins another.
//! An insert in the middle of a full leaf splits it. Where listpacks begin and end is the tree's own affair: it follows
//! from the sizes of chunks, not from the directives about quicklist nodes.

use super::hash_leaf::Old;
use super::list_leaf::{Content, ListElement, ListLeaf, PACKED_TEXT_BYTES_MAX};
use super::tree::{Path, Tree, Walk};
use crate::values::listpack::{self, Listpack};
use crate::values::{Blob, StringRef};

/// A list; cloning it gives a frozen view and copies nothing.
#[derive(Clone, Default)]
pub struct ListTree(Tree<ListLeaf>);

impl ListTree {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A list of the elements of listpacks, which follow each other.
    pub fn from_listpack(list: Listpack<'_>) -> Self {
        let mut tree = Self::new();
        let mut scratch = itoa::Buffer::new();
        list.iter().for_each(|element| tree.push_back(element.as_bytes(&mut scratch)));
        tree
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap, what views share included.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The element of an index.
    pub fn get(&self, index: u64) -> Option<ListElement<'_>> {
        let mut rest = index;
        let leaf = self.0.leaf(|branch| branch.child_of_rank(&mut rest))?;
        (index < self.len()).then(|| leaf.element(rest as usize))
    }

    /// Adds an element in front of all.
    pub fn push_front(&mut self, text: &[u8]) {
        self.push(&Path::FIRST, text, |_| 0);
    }

    /// Adds an element behind all.
    pub fn push_back(&mut self, text: &[u8]) {
        self.push(&Path::LAST, text, ListLeaf::len);
    }

    /// Adds an element to the leaf at an end, where `place` says.
    #[inline]
    fn push(&mut self, end: &Path, text: &[u8], place: impl FnOnce(&ListLeaf) -> usize) {
        if self.0.is_bare() {
            return self.0.plant(ListLeaf::of(text).0);
        }
        self.0.edit(end, |leaf, bytes| {
            let at = place(leaf);
            ((), if leaf.try_insert(at, text, bytes) { None } else { Some(beside(leaf, at == 0, text, bytes)) })
        });
    }

    /// Puts an element in front of the one of an index, or behind all if the index is the length.
    pub fn insert(&mut self, index: u64, text: &[u8]) {
        let index = index.min(self.len());
        let mut rest = index;
        let Some((path, leaf)) = self.0.locate(|branch| branch.child_of_rank(&mut rest)) else {
            return self.0.plant(ListLeaf::of(text).0);
        };
        let (at, len) = (rest as usize, leaf.len());
        if text.len() > PACKED_TEXT_BYTES_MAX && at > 0 && at < len {
            // It gets a leaf of its own between two halves.
            self.0.edit(&path, |leaf, bytes| ((), leaf.split_at(at, bytes)));
            return self.insert_behind(index - 1, text);
        }
        self.0.edit(&path, |leaf, bytes| {
            if leaf.try_insert(at, text, bytes) {
                return ((), None);
            }
            if at == 0 || at == len {
                return ((), Some(beside(leaf, at == 0, text, bytes)));
            }
            let middle = leaf.middle();
            let mut split = leaf.split_at(middle, bytes);
            let inserted = match &mut split {
                Some(((), right)) if at > middle => right.try_insert(at - middle, text, bytes),
                _ => leaf.try_insert(at, text, bytes),
            };
            debug_assert!(inserted, "half of a leaf has room for any element that is packed");
            ((), split)
        });
    }

    /// Puts an element into a leaf of its own behind the leaf of another one, which is its last.
    fn insert_behind(&mut self, index: u64, text: &[u8]) {
        let mut rest = index;
        let Some((path, _)) = self.0.locate(|branch| branch.child_of_rank(&mut rest)) else { return };
        self.0.edit(&path, |leaf, bytes| ((), Some(beside(leaf, false, text, bytes))));
    }

    /// Gives an element another text; whether there is one of that index.
    pub fn set(&mut self, index: u64, text: &[u8]) -> bool {
        let mut rest = index;
        if index >= self.len() {
            return false;
        }
        let Some((path, _)) = self.0.locate(|branch| branch.child_of_rank(&mut rest)) else { return false };
        let is_done = self.0.edit(&path, |leaf, bytes| (leaf.try_replace(rest as usize, text, bytes), None));
        if !is_done {
            self.insert(index + 1, text);
            self.remove(index, 1);
        }
        true
    }

    /// Removes up to `count` elements from an index on.
    pub fn remove(&mut self, index: u64, count: u64) {
        let (is_first, is_last) = (index == 0 && !self.is_empty(), index.checked_add(1) == Some(self.len()));
        if count == 1 && (is_first || is_last) {
            let end = if is_first { &Path::FIRST } else { &Path::LAST };
            let place = |leaf: &ListLeaf| if is_first { 0 } else { leaf.len() - 1 };
            return self.0.edit(end, |leaf, bytes| (leaf.remove(place(leaf), 1, bytes), None));
        }
        let mut left = count.min(self.len().saturating_sub(index));
        let mut may_have_whole_leaves = true;
        while left > 0 {
            let mut rest = index;
            let Some((path, leaf)) = self.0.locate(|branch| branch.child_of_rank(&mut rest)) else { return };
            let here = left.min(leaf.len() as u64 - rest);
            if here < left && std::mem::take(&mut may_have_whole_leaves) {
                left -= self.0.cut(index..index + left);
                continue;
            }
            self.0.edit(&path, |leaf, bytes| (leaf.remove(rest as usize, here as usize, bytes), None));
            left -= here;
        }
    }

    /// Shows the first element and removes it. There is one.
    #[inline]
    pub fn remove_front(&mut self, show: impl FnOnce(StringRef<'_>)) {
        self.remove_shown(&Path::FIRST, |_| 0, show);
    }

    /// Shows the last element and removes it. There is one.
    #[inline]
    pub fn remove_back(&mut self, show: impl FnOnce(StringRef<'_>)) {
        self.remove_shown(&Path::LAST, |leaf| leaf.len() - 1, show);
    }

    #[inline]
    fn remove_shown(&mut self, end: &Path, place: impl FnOnce(&ListLeaf) -> usize, show: impl FnOnce(StringRef<'_>)) {
        self.0.edit(end, |leaf, bytes| {
            let index = place(leaf);
            show(leaf.element(index).as_string());
            (leaf.remove_only(index, 1, bytes), None)
        });
    }

    /// Removes the first element and hands it over.
    pub fn pop_front(&mut self) -> Option<Old> {
        self.pop(&Path::FIRST, |_| 0)
    }

    /// Removes the last element and hands it over.
    pub fn pop_back(&mut self) -> Option<Old> {
        self.pop(&Path::LAST, |leaf| leaf.len() - 1)
    }

    #[inline]
    fn pop(&mut self, end: &Path, place: impl FnOnce(&ListLeaf) -> usize) -> Option<Old> {
        if self.is_empty() {
            return None;
        }
        Some(self.0.edit(end, |leaf, bytes| (leaf.take(place(leaf), bytes), None)))
    }

    /// Removes the element of an index and hands it over.
    pub fn take(&mut self, index: u64) -> Option<Old> {
        if index >= self.len() {
            return None;
        }
        let mut rest = index;
        let (path, _) = self.0.locate(|branch| branch.child_of_rank(&mut rest))?;
        Some(self.0.edit(&path, |leaf, bytes| (leaf.take(rest as usize, bytes), None)))
    }

    /// The elements from an index on. A walk of a view may stop anywhere and go on from [`ListIter::index`].
    pub fn iter_from(&self, index: u64) -> ListIter<'_> {
        let index = index.min(self.len());
        let mut rest = index;
        let walk = self.0.walk(|branch| branch.child_of_rank(&mut rest));
        let elements = Elements::of(walk.leaf(), |list| list.seek(rest as usize).unwrap_or(list.end()), rest == 0);
        ListIter { walk, elements, index, len: self.len() }
    }

    /// All elements.
    pub fn iter(&self) -> ListIter<'_> {
        self.iter_from(0)
    }

    /// The elements below an index, backwards: the first one is that of `index - 1`.
    pub fn iter_back_from(&self, index: u64) -> ListIterBack<'_> {
        let index = index.min(self.len());
        let mut rest = index;
        let walk = self.0.walk(|branch| branch.child_of_rank(&mut rest));
        let elements = Elements::of(walk.leaf(), |list| list.seek(rest as usize).unwrap_or(list.end()), rest > 0);
        ListIterBack { walk, elements, index }
    }

    /// The listpacks (or single large elements) that make up the list, in order: its form in a file.
    pub fn chunks(&self) -> impl Iterator<Item = ListChunk<'_>> {
        self.chunks_from(0)
    }

    /// How many there are.
    pub fn chunk_count(&self) -> u64 {
        self.0.leaves()
    }

    /// The same from the one that holds an index on.
    pub fn chunks_from(&self, index: u64) -> impl Iterator<Item = ListChunk<'_>> {
        let mut rest = index;
        let mut walk = self.0.walk(|branch| branch.child_of_rank(&mut rest));
        let mut next = walk.leaf();
        std::iter::from_fn(move || {
            let leaf = next?;
            next = walk.next();
            Some(match leaf.content() {
                Content::Packed(list) => ListChunk::Packed(list),
                Content::Single(blob) => ListChunk::Single(blob),
            })
        })
    }

    /// Frees about `budget` blocks; whether something is left. After the first call there is nothing else to be done with
    /// the list.
    pub fn drop_slice(&mut self, budget: usize) -> bool {
        self.0.drop_slice(budget)
    }
}

/// A leaf of its own for an element beside another leaf, whose right neighbour it becomes, or which becomes its.
#[cold]
fn beside(leaf: &mut ListLeaf, is_in_front: bool, text: &[u8], bytes: &mut usize) -> ((), ListLeaf) {
    let (mut new, new_bytes) = ListLeaf::of(text);
    *bytes += new_bytes;
    if is_in_front {
        std::mem::swap(leaf, &mut new);
    }
    ((), new)
}

impl<'a> IntoIterator for &'a ListTree {
    type Item = ListElement<'a>;
    type IntoIter = ListIter<'a>;

    fn into_iter(self) -> ListIter<'a> {
        self.iter()
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub enum ListChunk<'a> {
    /// Elements.
    Packed(Listpack<'a>),
    /// One large element.
    Single(&'a Blob),
}

/// A place in a leaf.
#[derive(Clone, Copy)]
enum Elements<'a> {
    Packed(Listpack<'a>, usize),
    /// And whether it is still to come.
    Single(&'a Blob, bool),
    None,
}

impl<'a> Elements<'a> {
    fn of(leaf: Option<&'a ListLeaf>, at: impl FnOnce(Listpack<'a>) -> usize, is_to_come: bool) -> Self {
        match leaf.map(ListLeaf::content) {
            Some(Content::Packed(list)) => Self::Packed(list, at(list)),
            Some(Content::Single(blob)) => Self::Single(blob, is_to_come),
            None => Self::None,
        }
    }
}

/// Elements of a list, forward.
#[derive(Clone)]
pub struct ListIter<'a> {
    walk: Walk<'a, ListLeaf>,
    elements: Elements<'a>,
    index: u64,
    len: u64,
}

impl ListIter<'_> {
    /// The index of the element that comes next.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl<'a> Iterator for ListIter<'a> {
    type Item = ListElement<'a>;

    #[inline]
    fn next(&mut self) -> Option<ListElement<'a>> {
        loop {
            match &mut self.elements {
                Elements::Packed(list, at) if *at < list.end() => {
                    let element = ListElement::Packed(list.get(*at));
                    *at = list.next(*at);
                    self.index += 1;
                    return Some(element);
                }
                Elements::Single(blob, is_to_come) if *is_to_come => {
                    *is_to_come = false;
                    self.index += 1;
                    return Some(ListElement::Single(blob));
                }
                _ => {
                    let leaf = Some(self.walk.next()?);
                    self.elements = Elements::of(leaf, |_| listpack::HEADER_BYTES, true);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.index) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ListIter<'_> {}

/// Elements of a list, backwards.
#[derive(Clone)]
pub struct ListIterBack<'a> {
    walk: Walk<'a, ListLeaf>,
    elements: Elements<'a>,
    index: u64,
}

impl ListIterBack<'_> {
    /// The index above the element that comes next, as [`ListTree::iter_back_from`] takes it.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl<'a> Iterator for ListIterBack<'a> {
    type Item = ListElement<'a>;

    #[inline]
    fn next(&mut self) -> Option<ListElement<'a>> {
        loop {
            match &mut self.elements {
                Elements::Packed(list, at) if *at > listpack::HEADER_BYTES => {
                    *at = list.previous(*at);
                    self.index -= 1;
                    return Some(ListElement::Packed(list.get(*at)));
                }
                Elements::Single(blob, is_to_come) if *is_to_come => {
                    *is_to_come = false;
                    self.index -= 1;
                    return Some(ListElement::Single(blob));
                }
                _ => {
                    let leaf = Some(self.walk.previous()?);
                    self.elements = Elements::of(leaf, Listpack::end, true);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.index as usize, Some(self.index as usize))
    }
}

impl ExactSizeIterator for ListIterBack<'_> {}

#[cfg(test)]
impl ListTree {
    /// Counts everything anew.
    pub(in crate::values) fn audit(&self) {
        self.0.audit(|_, leaf| leaf.audit());
    }
}
