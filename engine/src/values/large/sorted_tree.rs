//! A sorted set: a counted tree in the order of score, then member, and an index from a member to its score.
//!
//! ```text
//!   tree    (1.0, "ann") (1.0, "bob") (2.5, "zoe") ...
//!   index   by hash:  "ann" 1.0    "bob" 1.0    #8f31c02a 2.5
//! ```
//!
//! * The index does not repeat a longer member whose score no other has: it knows its 32-bit position instead, and the
//!   tree tells in one look-up whether it is the member asked for. Members with equal scores are named in the index, so
//!   that a walk in the order of hashes (ZSCAN) finds each of them, however many there are, without a search among its
//!   equals. So: *an element of the index that has no name is the only one with its score.*
//! * Short members are named always: a name takes little more than a position, and a look-up has not to ask the tree.
//! * A member too large for a leaf is one blob, which tree and index refer to.

#![allow(clippy::float_cmp)] // scores are equal if they are the same number, as in the real server

mod build;
mod cut;

pub use build::SortedBuilder;
pub use cut::SortedCut;

use super::hash_leaf::{Draft, Element, Field, Old};
use super::hash_tree::{HashTree, Place};
use super::hasher::{Hash, MemberHasher};
use super::sorted_leaf::{Scored, SortKey, SortedLeaf, member_bytes, packed_len};
use super::tree::{Branch, Path, Tree, Walk};
use crate::values::{StringRef, prefetch};
use std::cell::Cell;
use std::cmp::Ordering;

/// Members up to this length are named in the index whatever their scores, in bytes. With 16 the index of members of 16
/// bytes takes 13 bytes more a member, half of Redis's memory in all instead of 40 %, and a look-up costs a third.
const NAMED_BYTES_MAX: usize = 16;

/// Keys in a cache line.
const KEYS_PER_LINE: usize = 64 / size_of::<SortKey>();

/// Whether the index names a member.
fn wants_name(member: &[u8], is_tied: bool) -> bool {
    is_tied || member.len() <= NAMED_BYTES_MAX
}

/// A sorted set; cloning it gives a frozen view and copies nothing.
#[derive(Clone)]
pub struct SortedTree {
    tree: Tree<SortedLeaf>,
    index: HashTree,
    /// Bytes of blobs that the index names too.
    shared_bytes: usize,
}

/// Where a member is in the tree, or where it belongs.
#[derive(Clone, Copy)]
struct Spot {
    path: Path,
    index: usize,
    found: bool,
}

/// What the index knows of a member.
struct Known {
    score: f64,
    is_named: bool,
    place: Place,
    /// Where it is in the tree, if that was found out on the way.
    spot: Option<Spot>,
}

/// The child that holds a member, or where it belongs.
fn child_of(branch: &Branch<SortedLeaf>, key: &SortKey, member: &[u8]) -> usize {
    let keys = branch.later_keys();
    // A search would wait for one line after the other.
    keys.chunks(KEYS_PER_LINE).for_each(|line| prefetch::line(&line[0]));
    let mut below = keys.partition_point(|other| other.score < key.score);
    if keys.get(below).is_none_or(|other| other.score > key.score) {
        return below;
    }
    below += keys[below..].partition_point(|other| other.is_before(key));
    // Children whose keys are the same: their first members tell.
    let (mut low, mut high) = (below, below + keys[below..].partition_point(|other| !key.is_before(other)));
    while low < high {
        let middle = low.midpoint(high);
        if branch.first_leaf(middle + 1).first_cmp(key.score, member) == Ordering::Greater {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn score_of(value: StringRef<'_>) -> f64 {
    let bytes = member_bytes(&value).first_chunk().copied();
    f64::from_le_bytes(bytes.expect("the values of an index are scores"))
}

impl SortedTree {
    /// An empty one.
    pub fn new(hasher: MemberHasher) -> Self {
        Self { tree: Tree::default(), index: HashTree::new(hasher), shared_bytes: 0 }
    }

    /// The index from a member to its score.
    pub fn index(&self) -> &HashTree {
        &self.index
    }

    /// The hasher of the index.
    pub fn hasher(&self) -> &MemberHasher {
        self.index.hasher()
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap, what views share included.
    pub fn bytes(&self) -> usize {
        self.tree.bytes() + self.index.bytes() - self.shared_bytes
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.look_up(self.index.hasher().hash(member), member).map(|known| known.score)
    }

    /// The rank of a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        let score = self.score(member)?;
        Some((self.rank_in_order(score, member, false), score))
    }

    /// What the index knows of a member.
    #[inline]
    fn look_up(&self, hash: Hash, member: &[u8]) -> Option<Known> {
        // The place in the tree, where it had to be looked up to believe an entry without a name.
        let spot = Cell::new(None);
        let accept = |value: StringRef<'_>| {
            let found = self.spot(score_of(value), member).filter(|spot| spot.found);
            spot.set(found);
            found.is_some()
        };
        let (place, element) = self.index.locate(hash, member, accept).ok()?;
        let score = score_of(element.value?);
        Some(Known { score, is_named: is_named(&element), place, spot: spot.get() })
    }

    /// Where a member is in the tree, or where it belongs; `None` if the tree is empty.
    fn spot(&self, score: f64, member: &[u8]) -> Option<Spot> {
        let key = SortKey::new(score, member);
        let (path, leaf) = self.tree.locate(|branch| child_of(branch, &key, member))?;
        let found = leaf.search(score, member);
        let (Ok(index) | Err(index)) = found;
        Some(Spot { path, index, found: found.is_ok() })
    }

    /// Sets the score of a member, which must not be NaN; the old one.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        debug_assert!(!score.is_nan());
        let hash = self.index.hasher().hash(member);
        let known = self.look_up(hash, member);
        let Some(known) = known else {
            let text = Old::of(member);
            let (is_tied, _) = self.insert_into_tree(score, text.as_ref());
            self.insert_into_index(hash, text.as_ref(), score, is_tied);
            return None;
        };
        if known.score.to_bits() == score.to_bits() {
            return Some(known.score);
        }
        let spot = known.spot.or_else(|| self.spot(known.score, member)).expect("what the index knows is in the tree");
        if known.score == score {
            // Minus zero and zero: the order stays.
            self.tree.edit(&spot.path, |leaf, _| (leaf.set_score(spot.index, score), None));
            self.set_score_at(known.place, score);
            return Some(known.score);
        }
        let text = Old::new(self.tree.leaf_at(&spot.path).member(spot.index));
        self.tree.edit(&spot.path, |leaf, bytes| (leaf.remove(spot.index, bytes), None));
        let (is_tied, has_named) = self.insert_into_tree(score, text.as_ref());
        // Naming a neighbour may have moved the member's own entry.
        let place = if has_named {
            let found = self.index.locate(hash, member, |value| score_of(value) == known.score);
            found.expect("the index still has its old score").0
        } else {
            known.place
        };
        if known.is_named == wants_name(member, is_tied) {
            self.set_score_at(place, score);
        } else {
            self.remove_from_index(place);
            self.insert_into_index(hash, text.as_ref(), score, is_tied);
        }
        Some(known.score)
    }

    /// Adds a member to the tree: whether another one has its score, and whether that one got a name in the index, having
    /// been the only one so far.
    fn insert_into_tree(&mut self, score: f64, text: StringRef<'_>) -> (bool, bool) {
        let member = member_bytes(&text);
        let scored = Scored { score, member: text };
        let Some(spot) = self.spot(score, member) else {
            self.tree.plant(SortedLeaf::of(&scored).0);
            return (false, false);
        };
        let (is_tied, neighbour) = self.ties(score, member, &spot);
        self.tree.edit(&spot.path, |leaf, bytes| {
            if leaf.is_full_for(packed_len(member)) {
                return ((), leaf.insert_split(spot.index, &scored, bytes));
            }
            leaf.insert(spot.index, &scored, bytes);
            ((), None)
        });
        (is_tied, neighbour.is_some_and(|neighbour| self.name(score, &neighbour)))
    }

    /// Whether a member that belongs at a spot has a neighbour of the same score; and that one, if it may be the only one.
    fn ties(&self, score: f64, member: &[u8], spot: &Spot) -> (bool, Option<Old>) {
        let (leaf, index) = (self.tree.leaf_at(&spot.path), spot.index);
        let (before, after) = if index > 0 && index < leaf.len() {
            (Some(leaf.scored(index - 1)), Some(leaf.scored(index)))
        } else {
            let key = SortKey::new(score, member);
            let walk = self.tree.walk(|branch| child_of(branch, &key, member));
            let last = |leaf: &'_ SortedLeaf| leaf.len() - 1;
            let before = if index > 0 {
                Some((leaf, index - 1))
            } else {
                walk.clone().previous().map(|leaf| (leaf, last(leaf)))
            };
            let after =
                if index < leaf.len() { Some((leaf, index)) } else { walk.clone().next().map(|leaf| (leaf, 0)) };
            (before.map(|(leaf, index)| leaf.scored(index)), after.map(|(leaf, index)| leaf.scored(index)))
        };
        let [before, after] = [before, after].map(|neighbour| neighbour.filter(|other| other.score == score));
        match (before, after) {
            (None, None) => (false, None),
            // These two have had the same score before, or those beyond.
            (Some(_), Some(_)) => (true, None),
            (Some(_), None) if index > 1 && leaf.score(index - 2) == score => (true, None),
            (None, Some(_)) if index + 1 < leaf.len() && leaf.score(index + 1) == score => (true, None),
            (Some(other), None) | (None, Some(other)) => (true, Some(Old::new(other.member))),
        }
    }

    /// Sees to it that the index names a member that is no longer the only one with its score; whether it did not.
    fn name(&mut self, score: f64, member: &Old) -> bool {
        if wants_name(member.as_bytes(), false) {
            return false;
        }
        let hash = self.index.hasher().hash(member.as_bytes());
        let found = self.index.locate(hash, member.as_bytes(), |value| score_of(value) == score);
        let (place, element) = found.expect("the index knows all members");
        if is_named(&element) {
            return false;
        }
        // The value as it is: minus zero has the same score as zero.
        let score = element.value.map_or(score, score_of);
        self.index.remove_place(place);
        self.insert_into_index(hash, member.as_ref(), score, true);
        true
    }

    fn insert_into_index(&mut self, hash: Hash, member: StringRef<'_>, score: f64, is_tied: bool) {
        let field = if wants_name(member_bytes(&member), is_tied) {
            Field::Text(member)
        } else {
            Field::Position(hash.position)
        };
        if let Field::Text(StringRef::Shared(blob)) = field {
            self.shared_bytes += blob.heap_bytes();
        }
        let value = score.to_le_bytes();
        let draft = Draft { field, value: Some(StringRef::Bytes(&value)), expires_at: None };
        self.index.insert_at(self.index.vacancy(hash), hash, &draft);
    }

    fn set_score_at(&mut self, place: Place, score: f64) {
        let value = score.to_le_bytes();
        let draft = Draft { field: Field::Position(0), value: Some(StringRef::Bytes(&value)), expires_at: None };
        self.index.set_value_at(place, &draft);
    }

    fn remove_from_index(&mut self, place: Place) {
        if let Field::Text(StringRef::Shared(blob)) = self.index.element_at(place).field {
            self.shared_bytes -= blob.heap_bytes();
        }
        self.index.remove_place(place);
    }

    /// Removes a member; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let known = self.look_up(self.index.hasher().hash(member), member)?;
        let spot = known.spot.or_else(|| self.spot(known.score, member)).expect("what the index knows is in the tree");
        self.remove_from_index(known.place);
        self.tree.edit(&spot.path, |leaf, bytes| (leaf.remove(spot.index, bytes), None));
        Some(known.score)
    }

    /// Removes the member of a rank and hands it over.
    pub fn take_at(&mut self, rank: u64) -> Option<(Old, f64)> {
        if rank >= self.len() {
            return None;
        }
        let mut rest = rank;
        let (path, leaf) = self.tree.locate(|branch| branch.child_of_rank(&mut rest))?;
        let index = rest as usize;
        let (score, member) = (leaf.score(index), Old::new(leaf.member(index)));
        let hash = self.index.hasher().hash(member.as_bytes());
        // An element without a name is the only one with its score.
        let found = self.index.locate(hash, member.as_bytes(), |value| score_of(value) == score);
        let place = found.expect("the index knows all members").0;
        self.remove_from_index(place);
        self.tree.edit(&path, |leaf, bytes| (leaf.remove(index, bytes), None));
        Some((member, score))
    }

    /// The member of a rank.
    pub fn at(&self, rank: u64) -> Option<Scored<'_>> {
        let mut rest = rank;
        let leaf = self.tree.leaf(|branch| branch.child_of_rank(&mut rest))?;
        (rank < self.len()).then(|| leaf.scored(rest as usize))
    }

    /// How many members have a score below this one, or not above it: the rank where a range by score begins or ends.
    pub fn rank_of_score(&self, score: f64, or_equal: bool) -> u64 {
        let mut rank = 0;
        let leaf = self.tree.leaf(|branch| {
            let keys = branch.later_keys();
            let child = keys.partition_point(|key| key.score < score || or_equal && key.score == score);
            rank += branch.counts()[..child].iter().sum::<u64>();
            child
        });
        rank + leaf.map_or(0, |leaf| leaf.count_below(score, or_equal)) as u64
    }

    /// How many members are in front of this one, or not behind it, in a set whose members have all the same score: the
    /// rank where a range by name begins or ends.
    pub fn rank_of_member(&self, member: &[u8], or_equal: bool) -> u64 {
        self.at(0).map_or(0, |first| self.rank_in_order(first.score, member, or_equal))
    }

    /// How many elements are in front of this one, or not behind it; it need not be there.
    pub fn rank_in_order(&self, score: f64, member: &[u8], or_equal: bool) -> u64 {
        let (mut rank, key) = (0, SortKey::new(score, member));
        let leaf = self.tree.leaf(|branch| {
            let child = child_of(branch, &key, member);
            rank += branch.counts()[..child].iter().sum::<u64>();
            child
        });
        let place = leaf.map(|leaf| leaf.search(score, member));
        rank + match place {
            None => 0,
            Some(Ok(index)) => (index + usize::from(or_equal)) as u64,
            Some(Err(index)) => index as u64,
        }
    }

    /// The members from a rank on, upwards. A walk of a view may stop anywhere and go on from [`SortedIter::rank`].
    pub fn iter_from(&self, rank: u64) -> SortedIter<'_> {
        let (walk, index) = self.walk(rank);
        SortedIter { walk, index, rank: rank.min(self.len()), len: self.len() }
    }

    /// All members, upwards.
    pub fn iter(&self) -> SortedIter<'_> {
        self.iter_from(0)
    }

    /// The members below a rank, downwards: the first one is that of `rank - 1`.
    pub fn iter_back_from(&self, rank: u64) -> SortedIterBack<'_> {
        let rank = rank.min(self.len());
        let (walk, index) = self.walk(rank);
        SortedIterBack { walk, index, rank }
    }

    fn walk(&self, rank: u64) -> (Walk<'_, SortedLeaf>, usize) {
        let mut rest = rank.min(self.len());
        let walk = self.tree.walk(|branch| branch.child_of_rank(&mut rest));
        (walk, rest as usize)
    }

    /// A member at random, each as likely as every other.
    pub fn random(&self, random: &mut fastrand::Rng) -> Option<Scored<'_>> {
        if self.is_empty() { None } else { self.at(random.u64(..self.len())) }
    }

    /// Visits at least `count` members from a cursor on, as [`HashTree::scan`] does.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Scored<'a>)) -> u64 {
        self.index.scan(cursor, count, |element| {
            let score = element.value.map_or(0.0, score_of);
            let member = match element.field {
                Field::Text(member) => Some(member),
                Field::Position(_) => self.at(self.rank_of_score(score, false)).map(|only| only.member),
            };
            if let Some(member) = member {
                visit(Scored { score, member });
            }
        })
    }

    /// Frees about `budget` blocks; whether something is left. After the first call there is nothing else to be done with
    /// the set.
    pub fn drop_slice(&mut self, budget: usize) -> bool {
        self.tree.drop_slice(budget) || self.index.drop_slice(budget)
    }
}

impl<'a> IntoIterator for &'a SortedTree {
    type Item = Scored<'a>;
    type IntoIter = SortedIter<'a>;

    fn into_iter(self) -> SortedIter<'a> {
        self.iter()
    }
}

fn is_named(element: &Element<'_>) -> bool {
    matches!(element.field, Field::Text(_))
}

/// The members of a sorted set, upwards.
#[derive(Clone)]
pub struct SortedIter<'a> {
    walk: Walk<'a, SortedLeaf>,
    index: usize,
    rank: u64,
    len: u64,
}

impl SortedIter<'_> {
    /// The rank of the member that comes next.
    pub fn rank(&self) -> u64 {
        self.rank
    }
}

impl<'a> Iterator for SortedIter<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        let mut leaf = self.walk.leaf()?;
        if self.index >= leaf.len() {
            self.index = 0;
            leaf = self.walk.next()?;
        }
        let scored = leaf.scored(self.index);
        self.index += 1;
        self.rank += 1;
        Some(scored)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.rank) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for SortedIter<'_> {}

/// The members of a sorted set, downwards.
#[derive(Clone)]
pub struct SortedIterBack<'a> {
    walk: Walk<'a, SortedLeaf>,
    index: usize,
    rank: u64,
}

impl SortedIterBack<'_> {
    /// The rank above the member that comes next, as [`SortedTree::iter_back_from`] takes it.
    pub fn rank(&self) -> u64 {
        self.rank
    }
}

impl<'a> Iterator for SortedIterBack<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        let mut leaf = self.walk.leaf()?;
        if self.index == 0 {
            leaf = self.walk.previous()?;
            self.index = leaf.len();
        }
        self.index -= 1;
        self.rank -= 1;
        Some(leaf.scored(self.index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rank as usize, Some(self.rank as usize))
    }
}

impl ExactSizeIterator for SortedIterBack<'_> {}

#[cfg(test)]
impl SortedTree {
    /// Counts everything anew and checks that tree and index agree.
    pub(in crate::values) fn audit(&self) {
        self.index.audit();
        assert_eq!(self.index.len(), self.len());
        self.tree.audit(|key, leaf| {
            leaf.audit();
            let first = leaf.scored(0);
            let first = SortKey::new(first.score, member_bytes(&first.member));
            assert!(key.is_none_or(|key| !first.is_before(&key)));
        });
        let all: Vec<_> = self.iter().map(|scored| (scored.score, member_bytes(&scored.member).to_vec())).collect();
        assert!(all.is_sorted_by(|a, b| a.0 < b.0 || a.0 == b.0 && a.1 < b.1));
        let mut shared_bytes = 0;
        for element in &self.index {
            let score = element.value.map_or(0.0, score_of);
            match element.field {
                Field::Text(StringRef::Shared(blob)) => shared_bytes += blob.heap_bytes(),
                Field::Text(_) => {}
                Field::Position(_) => {
                    let first = all.partition_point(|other| other.0 < score);
                    assert!(all[first].0 == score && all.get(first + 1).is_none_or(|other| other.0 > score));
                }
            }
        }
        assert_eq!(shared_bytes, self.shared_bytes);
    }
}
