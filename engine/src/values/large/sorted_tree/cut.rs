//! Members of a range of ranks go, at once or in slices; or all the others do.
//!
//! ```text
//!   tree    ────│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│────    cut off in O(log n), whatever its length
//!   index   ─▒──▒▒─▒───▒──▒▒─▒──▒─▒──▒─    few: each member is looked up; many: the index is read through once
//! ```
//!
//! Slices work on a copy, which shares with the set what they have not changed: whoever has the set sees it whole.

use super::super::hash_build::HashFilter;
use super::super::hash_leaf::{Element, Field};
use super::super::hash_tree::HashTree;
use super::super::sorted_leaf::{Scored, SortedLeaf, member_bytes};
use super::super::tree::Tree;
use super::{SortedIter, SortedTree, score_of};
use crate::values::StringRef;
use std::cmp::Ordering;
use std::ops::Range;

/// Reading an element of the index costs so much less than finding one.
const FINDING_TO_READING: u64 = 8;

fn members<'a>(tree: &'a Tree<SortedLeaf>, ranks: &Range<u64>) -> impl Iterator<Item = Scored<'a>> + use<'a> {
    let mut rest = ranks.start;
    let walk = tree.walk(|branch| branch.child_of_rank(&mut rest));
    let members = SortedIter { walk, index: rest as usize, rank: ranks.start, len: tree.len() };
    members.take((ranks.end - ranks.start) as usize)
}

/// Takes ranks, which must be there, out of a tree.
fn cut(tree: &mut Tree<SortedLeaf>, ranks: Range<u64>) {
    let mut left = ranks.end - ranks.start;
    let mut may_have_whole_leaves = true;
    while left > 0 {
        let mut rest = ranks.start;
        let Some((path, leaf)) = tree.locate(|branch| branch.child_of_rank(&mut rest)) else { return };
        let here = left.min(leaf.len() as u64 - rest);
        if here < left && std::mem::take(&mut may_have_whole_leaves) {
            left -= tree.cut(ranks.start..ranks.start + left);
            continue;
        }
        tree.edit(&path, |leaf, bytes| ((0..here).for_each(|_| leaf.remove(rest as usize, bytes)), None));
        left -= here;
    }
}

/// Takes a member out of an index.
fn forget(index: &mut HashTree, shared_bytes: &mut usize, Scored { score, member }: &Scored<'_>) {
    let member = member_bytes(member);
    // An element without a name is the only one with its score.
    let found = index.locate(index.hasher().hash(member), member, |value| score_of(value) == *score);
    let Ok((place, element)) = found else { unreachable!("the index knows all members") };
    *shared_bytes -= shared_bytes_of(&element);
    index.remove_place(place);
}

/// What an element of the index counts towards the bytes that the tree has, too.
fn shared_bytes_of(element: &Element<'_>) -> usize {
    if let Field::Text(StringRef::Shared(blob)) = element.field { blob.heap_bytes() } else { 0 }
}

impl SortedTree {
    /// Removes the members of some ranks, which must be there: a look-up for each.
    pub fn remove_range(&mut self, ranks: Range<u64>) {
        let Self { tree, index, shared_bytes } = self;
        members(tree, &ranks).for_each(|scored| forget(index, shared_bytes, &scored));
        cut(tree, ranks);
    }
}

/// The first or last of a range: its score and name.
type End = (f64, Vec<u8>);

/// How an element of the index compares with an end of the range; `None` where scores say that it is neither.
fn compare(element: &Element<'_>, score: f64, end: &End) -> Ordering {
    let by_score = score.partial_cmp(&end.0).unwrap_or(Ordering::Equal);
    by_score.then_with(|| match element.field {
        Field::Text(member) => member_bytes(&member).cmp(&end.1),
        // The only one with its score: it is the end.
        Field::Position(_) => Ordering::Equal,
    })
}

enum Way {
    /// One member after the other.
    Each,
    /// Through the index, with what stays of it.
    Index { filter: Box<HashFilter>, first: End, last: End, shared_bytes: usize },
}

/// A set that loses members, in slices.
pub struct SortedCut {
    set: SortedTree,
    ranks: Range<u64>,
    /// The ranks go; or they stay, and all others go.
    removes: bool,
    way: Way,
}

impl SortedCut {
    /// Removes the members of ranks that are there.
    pub fn removal(set: SortedTree, ranks: Range<u64>) -> Self {
        let is_each = (ranks.end - ranks.start).saturating_mul(FINDING_TO_READING) <= set.len();
        let way = if is_each { Way::Each } else { Self::through_index(&set, &ranks) };
        Self { set, ranks, removes: true, way }
    }

    /// Removes all members but those of ranks that are there. To be used where these are many.
    pub fn part(set: SortedTree, ranks: Range<u64>) -> Self {
        let way = Self::through_index(&set, &ranks);
        Self { set, ranks, removes: false, way }
    }

    /// Whether a part is so much of a set that it is best made by removing the rest.
    pub fn is_for_part(ranks: &Range<u64>, length: u64) -> bool {
        (ranks.end - ranks.start).saturating_mul(FINDING_TO_READING) > length
    }

    fn through_index(set: &SortedTree, ranks: &Range<u64>) -> Way {
        let end =
            |rank: u64| set.at(rank).map_or((0.0, Vec::new()), |end| (end.score, member_bytes(&end.member).to_vec()));
        if ranks.is_empty() {
            return Way::Each;
        }
        let filter = Box::new(HashFilter::new(set.index.clone()));
        Way::Index { filter, first: end(ranks.start), last: end(ranks.end - 1), shared_bytes: 0 }
    }

    /// Does about `budget` units more; whether that was all.
    pub fn step(&mut self, budget: u64) -> bool {
        let Self { set, ranks, removes, way } = self;
        match way {
            Way::Each => {
                let count = (budget / FINDING_TO_READING).clamp(1, (ranks.end - ranks.start).max(1));
                let end = ranks.end.min(ranks.start + count);
                set.remove_range(ranks.start..end);
                ranks.end -= end - ranks.start;
                ranks.is_empty()
            }
            Way::Index { filter, first, last, shared_bytes } => {
                let is_over = filter.step(budget, |element| {
                    let score = element.value.map_or(0.0, score_of);
                    let is_inside = compare(element, score, first).is_ge() && compare(element, score, last).is_le();
                    let stays = is_inside != *removes;
                    *shared_bytes += if stays { shared_bytes_of(element) } else { 0 };
                    stays
                });
                if is_over {
                    set.index = filter.finish();
                    set.shared_bytes = *shared_bytes;
                    if *removes {
                        cut(&mut set.tree, ranks.clone());
                    } else {
                        let length = set.tree.len();
                        cut(&mut set.tree, ranks.end..length);
                        cut(&mut set.tree, 0..ranks.start);
                    }
                }
                is_over
            }
        }
    }

    /// What is left, once all is done.
    pub fn into_set(self) -> SortedTree {
        self.set
    }
}
