//! A tree from leaves that come in their order, one at a time: what is built in slices.
//!
//! ```text
//!   level 2   [branch]                        each level collects siblings; when it has enough of them, they become a
//!   level 1   [branch] [branch] [branch]      branch, which goes one level up
//!   level 0   [leaf] [leaf]  <── the next leaf
//! ```

use super::super::chunk::Shared;
use super::{Branch, FILLED_CHILDREN, Leaf, Node, Totals, Tree};

/// Siblings on their way into a branch: where each begins, itself, and its elements.
type Siblings<L> = Vec<(<L as Leaf>::Key, Node<L>, u64)>;

/// A tree in the making.
pub(in super::super) struct TreeBuilder<L: Leaf> {
    /// None of them is empty.
    levels: Vec<Siblings<L>>,
    len: u64,
}

fn branch_of<L: Leaf>(siblings: Siblings<L>) -> (L::Key, Node<L>, u64) {
    let branch = Branch::of(siblings);
    let (key, count) = (branch.keys[0], branch.count());
    (key, Node::Branch(Shared::new(branch)), count)
}

impl<L: Leaf> TreeBuilder<L> {
    pub(in super::super) fn new() -> Self {
        Self { levels: Vec::new(), len: 0 }
    }

    /// Adds a leaf behind all that were added; `key` is where it begins.
    pub(in super::super) fn push(&mut self, key: L::Key, leaf: L) {
        let count = leaf.weight();
        debug_assert!(count > 0, "no leaf is empty");
        self.len += count;
        self.push_at(0, (key, Node::Leaf(leaf), count));
    }

    fn push_at(&mut self, level: usize, node: (L::Key, Node<L>, u64)) {
        if level == self.levels.len() {
            self.levels.push(Vec::with_capacity(FILLED_CHILDREN));
        }
        if self.levels[level].len() == FILLED_CHILDREN {
            let siblings = std::mem::replace(&mut self.levels[level], Vec::with_capacity(FILLED_CHILDREN));
            self.push_at(level + 1, branch_of(siblings));
        }
        self.levels[level].push(node);
    }

    /// The tree of all that was added; the builder is empty then.
    pub(in super::super) fn finish(&mut self) -> Tree<L> {
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels.get(level).is_some_and(|top| top.len() > 1) {
            let siblings = std::mem::take(&mut self.levels[level]);
            self.push_at(level + 1, branch_of(siblings));
            level += 1;
        }
        let root = self.levels.pop().and_then(|mut top| top.pop()).map(|node| node.1);
        self.levels.clear();
        let totals = root.as_ref().map_or(Totals::default(), Node::totals);
        Tree { root, len: std::mem::take(&mut self.len), totals }
    }
}

impl<L: Leaf> Drop for TreeBuilder<L> {
    /// What was given up goes the way of all trees: it is freed in slices.
    fn drop(&mut self) {
        drop(self.finish());
    }
}
