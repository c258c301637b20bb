//! Hash trees made in one go, in slices: of elements that come in the order of their positions, and of some of the elements
//! of another tree.

use super::hash_leaf::{Draft, Element, HashLeaf, uncounted};
use super::hash_tree::HashTree;
use super::hasher::{Hash, MemberHasher};
use super::tree::{Leaf, TreeBuilder};

/// A tree in the making. Elements with equal positions stay in one leaf.
pub(super) struct HashBuilder {
    leaves: TreeBuilder<HashLeaf>,
    /// The leaf that is filled now, the position where it begins, and the last one in it.
    open: Option<(HashLeaf, u32, u32)>,
}

impl HashBuilder {
    pub(super) fn new() -> Self {
        Self { leaves: TreeBuilder::new(), open: None }
    }

    /// Adds an element, whose position is not below that of the one before.
    pub(super) fn append(&mut self, hash: Hash, draft: &Draft<'_>) {
        let length = draft.packed_len();
        let is_next = |(leaf, _, last): &(HashLeaf, u32, u32)| leaf.is_full_for(length) && *last < hash.position;
        if self.open.as_ref().is_none_or(is_next) {
            self.close();
            self.open = Some((HashLeaf::roomy(), hash.position, hash.position));
        }
        if let Some((leaf, _, last)) = &mut self.open {
            debug_assert!(*last <= hash.position, "elements come in order");
            leaf.insert(hash.tag, draft, &mut uncounted());
            *last = hash.position;
        }
    }

    fn close(&mut self) {
        if let Some((mut leaf, first, _)) = self.open.take() {
            leaf.fit();
            self.leaves.push(first, leaf);
        }
    }

    /// The tree.
    pub(super) fn finish(&mut self, hasher: &MemberHasher) -> HashTree {
        self.close();
        HashTree::of_tree(self.leaves.finish(), hasher.clone())
    }
}

/// Some of the elements of a frozen tree on their way into another. Leaves that lose nothing are shared by both.
pub(super) struct HashFilter {
    view: HashTree,
    /// Elements that have been looked at, in whole leaves.
    rank: u64,
    /// Where the next leaf begins.
    next: u32,
    kept: Kept,
}

/// Leaves of the other tree.
struct Kept {
    leaves: TreeBuilder<HashLeaf>,
    /// The last one and where it begins: it may take the next one in.
    open: Option<(u32, HashLeaf)>,
}

impl Kept {
    fn add(&mut self, key: u32, leaf: HashLeaf) {
        if let Some((_, open)) = &mut self.open
            && (open.is_small() || leaf.is_small())
            && open.absorb(&leaf, &mut uncounted())
        {
            return;
        }
        if let Some((key, leaf)) = self.open.replace((key, leaf)) {
            self.leaves.push(key, leaf);
        }
    }
}

impl HashFilter {
    pub(super) fn new(view: HashTree) -> Self {
        Self { view, rank: 0, next: 0, kept: Kept { leaves: TreeBuilder::new(), open: None } }
    }

    /// Looks at about `budget` elements more; whether all have been.
    pub(super) fn step(&mut self, budget: u64, mut is_wanted: impl FnMut(&Element<'_>) -> bool) -> bool {
        let end = self.view.len().min(self.rank.saturating_add(budget.max(1)));
        let mut walk = self.view.leaves_from(self.rank);
        while let Some(leaf) = walk.leaf()
            && self.rank < end
        {
            let key = self.next;
            self.rank += leaf.len() as u64;
            self.next = walk.next_key().unwrap_or(u32::MAX);
            if let Some(part) = leaf.only(&mut is_wanted) {
                self.kept.add(key, part);
            }
            walk.next();
        }
        self.rank >= self.view.len()
    }

    /// The other tree.
    pub(super) fn finish(&mut self) -> HashTree {
        let Kept { leaves, open } = &mut self.kept;
        if let Some((key, leaf)) = open.take() {
            leaves.push(key, leaf);
        }
        HashTree::of_tree(leaves.finish(), self.view.hasher().clone())
    }
}
