//! The counted tree of chunks under all large values; see the module's head for the drawing and the invariants.
//!
//! 1. A look-up goes down from the root; at each branch its caller's `find` chooses a child.
//! 2. A write first looks up the same way and remembers its [`Path`]; only when something will change does
//!    [`Tree::edit`] go down that path again and make each block on it the tree's own.
//! 3. The change of a leaf may split it, empty it or leave it small. On the way up each branch corrects its count, takes
//!    the new sibling in (and splits, if it is full), lets an empty child go, or joins a small one with a neighbour.
//! 4. [`Tree::cut`] takes all leaves of a range of ranks away with the branches above them, which are freed in slices: it
//!    looks at the children of two branches a level, whatever the length of the range. So each branch knows the totals
//!    below it.

mod build;

pub(super) use build::TreeBuilder;

use super::chunk::Shared;
use super::garbage::{self, Remains};
use crate::values::prefetch;
use smallvec::SmallVec;
use std::ops::Range;

/// The most children of a branch. Few in tests, whose trees are to be deep.
pub(super) const FAN_OUT: usize = if cfg!(test) { 8 } else { 46 };

/// The size class that a branch is to fit, whatever its keys, in bytes.
const BRANCH_BYTES_MAX: usize = 1536;

/// A branch with fewer children is joined with a neighbour.
const CHILDREN_MIN: usize = FAN_OUT / 4;

/// Two neighbours are joined if that leaves some room.
const JOINED_CHILDREN_MAX: usize = FAN_OUT * 3 / 4;

/// The children of a branch that is built as a whole: nearly full, with room for some more.
const FILLED_CHILDREN: usize = FAN_OUT * 7 / 8;

/// Deeper than any tree: a dozen children a branch at least, and fewer than 2^64 leaves.
const HEIGHT_MAX: usize = 16;

/// A chunk of elements.
pub(super) trait Leaf: Clone + Send + Sync + 'static {
    /// Where a leaf begins in the tree's order.
    type Key: Copy + Send + Sync + 'static;

    /// Number of elements (bytes, of a rope).
    fn weight(&self) -> u64;

    /// Bytes of heap, with all that its elements refer to; counted anew.
    fn heap_bytes(&self) -> usize;

    /// Whether it should be joined with a neighbour.
    fn is_small(&self) -> bool;

    /// Takes the elements of its right neighbour in, unless that makes too large a leaf. Keeps `bytes`.
    fn absorb(&mut self, right: &Self, bytes: &mut usize) -> bool;

    /// Cache lines at its beginning that a look-up reads.
    const HEAD_LINES: usize;

    /// Where it begins, with its reference count.
    fn address(&self) -> *const u8;

    /// What freeing it costs ([`garbage::units`]).
    fn units_to_free(&self) -> usize {
        garbage::units(self.heap_bytes())
    }
}

#[allow(clippy::large_enum_variant)] // both are arrays of as many pointers
enum Children<L: Leaf> {
    Branches(SmallVec<[Shared<Branch<L>>; FAN_OUT]>),
    Leaves(SmallVec<[L; FAN_OUT]>),
}

impl<L: Leaf> Clone for Children<L> {
    fn clone(&self) -> Self {
        self.prefetch();
        match self {
            Self::Branches(branches) => Self::Branches(branches.clone()),
            Self::Leaves(leaves) => Self::Leaves(leaves.clone()),
        }
    }
}

impl<L: Leaf> Children<L> {
    /// Asks for the counts of all children at once: a count is changed in one atomic step, and the next one would wait for
    /// the first one's cache line.
    fn prefetch(&self) {
        match self {
            Self::Branches(branches) => branches.iter().for_each(|branch| prefetch::line(branch.references())),
            Self::Leaves(leaves) => leaves.iter().for_each(|leaf| prefetch::address(leaf.address())),
        }
    }
}

impl<L: Leaf> Drop for Children<L> {
    fn drop(&mut self) {
        self.prefetch();
    }
}

/// What there is below a branch besides elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// Bytes of heap.
    bytes: usize,
    leaves: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.leaves += other.leaves;
    }

    fn subtract(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.leaves -= other.leaves;
    }

    /// Changes as another one did since it was `before`.
    fn follow(&mut self, before: Self, after: Self) {
        self.bytes = self.bytes.wrapping_add(after.bytes.wrapping_sub(before.bytes));
        self.leaves = self.leaves.wrapping_add(after.leaves.wrapping_sub(before.leaves));
    }
}

/// An inner node.
#[derive(Clone)]
pub(super) struct Branch<L: Leaf> {
    /// Of all below it, without itself.
    below: Totals,
    keys: SmallVec<[L::Key; FAN_OUT]>,
    counts: SmallVec<[u64; FAN_OUT]>,
    children: Children<L>,
}

/// A subtree.
#[derive(Clone)]
enum Node<L: Leaf> {
    Branch(Shared<Branch<L>>),
    Leaf(L),
}

/// The numbers of the children on the way from the root to a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    steps: [u8; HEIGHT_MAX],
    height: u8,
}

impl Path {
    const ROOT: Self = Self { steps: [0; HEIGHT_MAX], height: 0 };
    /// To the first leaf, whatever the height.
    pub(super) const FIRST: Self = Self::ROOT;
    /// To the last leaf: no branch has so many children, and more than there are means the last one.
    pub(super) const LAST: Self = Self { steps: [u8::MAX; HEIGHT_MAX], height: 0 };

    fn push(&mut self, index: usize) {
        self.steps[self.height as usize] = index as u8;
        self.height += 1;
    }
}

/// What the change of a leaf leaves behind besides the leaf: its right half, if it was split.
pub(super) type Split<L> = Option<(<L as Leaf>::Key, L)>;

/// What a change below a branch means to it.
struct Outcome<R, K, T> {
    result: R,
    /// Elements that came (modulo 2^64: or went).
    delta: u64,
    /// A new right sibling, where it begins, and its elements.
    split: Option<(K, T, u64)>,
}

/// A counted tree; cloning it copies nothing.
pub(super) struct Tree<L: Leaf> {
    root: Option<Node<L>>,
    len: u64,
    totals: Totals,
}

impl<L: Leaf> Branch<L> {
    /// Number of children.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The keys of all children but the first.
    #[inline]
    pub(super) fn later_keys(&self) -> &[L::Key] {
        &self.keys[1..]
    }

    /// The elements of each child.
    #[inline]
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The child that holds the element of that rank, which becomes its rank in the child. Past the end: the last.
    #[inline]
    pub(super) fn child_of_rank(&self, rank: &mut u64) -> usize {
        let last = self.len() - 1;
        for (index, count) in self.counts[..last].iter().enumerate() {
            if *rank < *count {
                return index;
            }
            *rank -= count;
        }
        last
    }

    /// Asks for the pointer to a child.
    #[inline]
    pub(super) fn prefetch_child(&self, index: usize) {
        match &self.children {
            Children::Branches(branches) => prefetch::line(&branches[index]),
            Children::Leaves(leaves) => prefetch::line(&leaves[index]),
        }
    }

    /// Asks for what a look-up reads before it knows which child it goes to.
    fn prefetch_keys(&self) {
        let keys: *const u8 = std::ptr::from_ref(&self.keys).cast();
        (0..=size_of_val(&self.keys) / 64).for_each(|line| prefetch::address(keys.wrapping_add(64 * line)));
        prefetch::line(&self.counts);
        prefetch::line(&self.children);
    }

    /// The first leaf below a child.
    pub(super) fn first_leaf(&self, index: usize) -> &L {
        let mut branch = self;
        let mut index = index;
        loop {
            match &branch.children {
                Children::Leaves(leaves) => return &leaves[index],
                Children::Branches(branches) => branch = &branches[index],
            }
            index = 0;
        }
    }

    fn child(&self, index: usize) -> NodeRef<'_, L> {
        match &self.children {
            Children::Branches(branches) => NodeRef::Branch(&branches[index]),
            Children::Leaves(leaves) => NodeRef::Leaf(&leaves[index]),
        }
    }

    /// A branch above siblings: where each begins, itself, and its elements.
    fn of(nodes: impl IntoIterator<Item = (L::Key, Node<L>, u64)>) -> Self {
        let (mut keys, mut counts) = (SmallVec::new(), SmallVec::new());
        let (mut branches, mut leaves) = (SmallVec::new(), SmallVec::new());
        for (key, node, count) in nodes {
            keys.push(key);
            counts.push(count);
            match node {
                Node::Branch(branch) => branches.push(branch),
                Node::Leaf(leaf) => leaves.push(leaf),
            }
        }
        debug_assert!(branches.is_empty() || leaves.is_empty(), "siblings are of one kind");
        let children = if leaves.is_empty() { Children::Branches(branches) } else { Children::Leaves(leaves) };
        const { assert!(Shared::<Self>::HEAP_BYTES <= BRANCH_BYTES_MAX) };
        let mut branch = Self { below: Totals::default(), keys, counts, children };
        branch.below = branch.totals_of(0..branch.len());
        branch
    }

    /// Of some children with all below them.
    fn totals_of(&self, children: Range<usize>) -> Totals {
        let mut totals = Totals::default();
        match &self.children {
            Children::Branches(branches) => branches[children].iter().for_each(|branch| totals.add(branch.totals())),
            Children::Leaves(leaves) => {
                leaves[children.clone()].iter().for_each(|leaf| prefetch::address(leaf.address()));
                leaves[children].iter().for_each(|leaf| totals.add(leaf_totals(leaf)));
            }
        }
        totals
    }

    /// Moves the children from `index` on to a new branch.
    fn split_off(&mut self, index: usize) -> Self {
        let below = self.totals_of(index..self.len());
        self.below.subtract(below);
        let children = match &mut self.children {
            Children::Branches(branches) => Children::Branches(branches.drain(index..).collect()),
            Children::Leaves(leaves) => Children::Leaves(leaves.drain(index..).collect()),
        };
        let (keys, counts) = (self.keys.drain(index..).collect(), self.counts.drain(index..).collect());
        Self { below, keys, counts, children }
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl<L: Leaf> Shared<Branch<L>> {
    /// Of the branch with all below it.
    fn totals(&self) -> Totals {
        let below = self.below;
        Totals { bytes: below.bytes + Self::HEAP_BYTES, ..below }
    }
}

fn leaf_totals<L: Leaf>(leaf: &L) -> Totals {
    Totals { bytes: leaf.heap_bytes(), leaves: 1 }
}

enum NodeRef<'a, L: Leaf> {
    Branch(&'a Shared<Branch<L>>),
    Leaf(&'a L),
}

/// A look-up in steps, each of which asks for the lines that the next one reads.
pub(super) enum Descent<'t, L: Leaf> {
    /// At a branch: the child is to be chosen.
    At(&'t Branch<L>),
    /// The child is chosen.
    Chosen(&'t Branch<L>, usize),
    /// At a leaf.
    Leaf(&'t L),
}

impl<'t, L: Leaf> Descent<'t, L> {
    fn to(node: NodeRef<'t, L>) -> Self {
        match node {
            NodeRef::Branch(branch) => {
                let branch: &'t Branch<L> = branch;
                branch.prefetch_keys();
                Self::At(branch)
            }
            NodeRef::Leaf(leaf) => {
                prefetch_head(leaf);
                Self::Leaf(leaf)
            }
        }
    }

    /// The next step; the leaf after the last one.
    #[inline]
    pub(super) fn step(self, find: impl FnOnce(&Branch<L>) -> usize) -> Result<Self, &'t L> {
        match self {
            Self::At(branch) => {
                let child = find(branch);
                branch.prefetch_child(child);
                Ok(Self::Chosen(branch, child))
            }
            Self::Chosen(branch, child) => Ok(Self::to(branch.child(child))),
            Self::Leaf(leaf) => Err(leaf),
        }
    }
}

impl<L: Leaf> Node<L> {
    fn as_ref(&self) -> NodeRef<'_, L> {
        match self {
            Self::Branch(branch) => NodeRef::Branch(branch),
            Self::Leaf(leaf) => NodeRef::Leaf(leaf),
        }
    }

    fn totals(&self) -> Totals {
        match self {
            Self::Branch(branch) => branch.totals(),
            Self::Leaf(leaf) => leaf_totals(leaf),
        }
    }
}

impl<L: Leaf> Default for Tree<L> {
    fn default() -> Self {
        Self { root: None, len: 0, totals: Totals::default() }
    }
}

impl<L: Leaf> Clone for Tree<L> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len, totals: self.totals }
    }
}

impl<L: Leaf> Tree<L> {
    /// Number of elements.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of heap of all that can be reached.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.totals.bytes
    }

    /// Number of leaves.
    pub(super) fn leaves(&self) -> u64 {
        self.totals.leaves
    }

    /// The leaf that `find` leads to.
    #[inline]
    pub(super) fn leaf(&self, mut find: impl FnMut(&Branch<L>) -> usize) -> Option<&L> {
        let mut node = self.root.as_ref()?.as_ref();
        loop {
            match node {
                NodeRef::Leaf(leaf) => {
                    prefetch_head(leaf);
                    return Some(leaf);
                }
                NodeRef::Branch(branch) => node = branch.child(find(branch)),
            }
        }
    }

    /// The beginning of a look-up in steps.
    #[inline]
    pub(super) fn descent(&self) -> Option<Descent<'_, L>> {
        Some(Descent::to(self.root.as_ref()?.as_ref()))
    }

    /// The leaf that `find` leads to, and the way there.
    #[inline]
    pub(super) fn locate(&self, mut find: impl FnMut(&Branch<L>) -> usize) -> Option<(Path, &L)> {
        let mut path = Path::ROOT;
        let mut node = self.root.as_ref()?.as_ref();
        loop {
            match node {
                NodeRef::Leaf(leaf) => {
                    prefetch_head(leaf);
                    return Some((path, leaf));
                }
                NodeRef::Branch(branch) => {
                    let index = find(branch);
                    path.push(index);
                    node = branch.child(index);
                }
            }
        }
    }

    /// The leaf at the end of a path, which must be of this tree as it is.
    pub(super) fn leaf_at(&self, path: &Path) -> &L {
        let mut steps = path.steps.iter();
        let leaf = self.leaf(|_| steps.next().map_or(0, |step| *step as usize));
        leaf.expect("a path leads through a tree that is not empty")
    }

    /// A walk that begins at the leaf that `find` leads to.
    pub(super) fn walk(&self, mut find: impl FnMut(&Branch<L>) -> usize) -> Walk<'_, L> {
        let mut walk = Walk { branches: SmallVec::new(), leaf: None };
        let mut node = self.root.as_ref().map(Node::as_ref);
        while let Some(NodeRef::Branch(branch)) = node {
            let index = find(branch);
            walk.branches.push((branch, index));
            node = Some(branch.child(index));
        }
        if let Some(NodeRef::Leaf(leaf)) = node {
            walk.leaf = Some(leaf);
        }
        walk
    }

    /// A tree of these leaves in this order, each with the key where it begins.
    pub(super) fn from_leaves(leaves: impl IntoIterator<Item = (L::Key, L)>) -> Self {
        let with_weight = |(key, leaf): (L::Key, L)| {
            let count = leaf.weight();
            (key, Node::Leaf(leaf), count)
        };
        let mut level: Vec<(L::Key, Node<L>, u64)> = leaves.into_iter().map(with_weight).collect();
        let len = level.iter().map(|node| node.2).sum();
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / FILLED_CHILDREN + 1);
            let mut nodes = level.into_iter().peekable();
            while nodes.peek().is_some() {
                let branch = Branch::of(nodes.by_ref().take(FILLED_CHILDREN));
                let (key, count) = (branch.keys[0], branch.count());
                above.push((key, Node::Branch(Shared::new(branch)), count));
            }
            level = above;
        }
        let root = level.pop().map(|node| node.1);
        let totals = root.as_ref().map_or(Totals::default(), Node::totals);
        Self { root, len, totals }
    }

    /// Whether there is no leaf at all.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        self.root.is_none()
    }

    /// Makes the first leaf of an empty tree.
    pub(super) fn plant(&mut self, leaf: L) {
        debug_assert!(self.root.is_none());
        self.len = leaf.weight();
        self.totals = leaf_totals(&leaf);
        self.root = Some(Node::Leaf(leaf));
    }

    /// Changes the leaf at the end of a path (which must be of this tree as it is). `change` keeps the bytes of leaves that
    /// it is given up to date, and hands back the right part of a leaf that it splits.
    #[inline]
    pub(super) fn edit<R>(&mut self, path: &Path, change: impl FnOnce(&mut L, &mut usize) -> (R, Split<L>)) -> R {
        let root = self.root.as_mut().expect("a path leads through a tree that is not empty");
        let (result, delta, split) = match root {
            Node::Leaf(leaf) => {
                let outcome = edit_leaf(leaf, self.len, &mut self.totals, change);
                (outcome.result, outcome.delta, outcome.split.map(|(key, leaf, count)| (key, Node::Leaf(leaf), count)))
            }
            Node::Branch(branch) => {
                let outcome = branch.make_mut().edit(&path.steps, &mut self.totals, change);
                let split = outcome.split.map(|(key, branch, count)| (key, Node::Branch(branch), count));
                (outcome.result, outcome.delta, split)
            }
        };
        self.len = self.len.wrapping_add(delta);
        match split {
            Some((key, right, right_count)) => {
                let left = self.root.take().expect("there is a root");
                // The first key says nothing.
                let branch = Branch::of([(key, left, self.len - right_count), (key, right, right_count)]);
                self.totals.bytes += Shared::<Branch<L>>::HEAP_BYTES;
                self.root = Some(Node::Branch(Shared::new(branch)));
            }
            None => self.lower_root(),
        }
        result
    }

    /// Takes all leaves away that lie whole within a range of ranks, to be freed in slices; how many elements they had.
    pub(super) fn cut(&mut self, ranks: Range<u64>) -> u64 {
        if ranks.start == 0 && ranks.end >= self.len {
            return std::mem::take(self).len;
        }
        let Some(Node::Branch(root)) = &mut self.root else { return 0 };
        let mut gone = Vec::new();
        let removed = root.make_mut().cut(&ranks, &mut self.totals, &mut gone);
        self.len -= removed;
        self.lower_root();
        if gone.iter().any(|node| matches!(node, Node::Branch(_))) {
            garbage::discard(Box::new(gone));
        }
        removed
    }

    /// Lets go of a root that is empty or has one child only.
    fn lower_root(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
        while let Some(Node::Branch(branch)) = &self.root
            && branch.len() == 1
        {
            let child = match &branch.children {
                Children::Branches(branches) => Node::Branch(branches[0].clone()),
                Children::Leaves(leaves) => Node::Leaf(leaves[0].clone()),
            };
            self.totals.bytes -= Shared::<Branch<L>>::HEAP_BYTES;
            self.root = Some(child);
        }
    }

    /// Frees about `budget` blocks of a tree that is used no more; whether something is left. The tree must not be read
    /// any more, and its numbers stay those of the whole.
    pub(super) fn drop_slice(&mut self, budget: usize) -> bool {
        let mut left = budget.max(1);
        self.free_slice(&mut left)
    }

    /// Counts bytes and elements anew, checks what must hold, and calls `visit` with each leaf and its key, the lowest of
    /// all but for the first leaf.
    #[cfg(test)]
    pub(super) fn audit(&self, mut visit: impl FnMut(Option<L::Key>, &L)) {
        let mut totals = Totals::default();
        let len = self.root.as_ref().map_or(0, |root| audit(root.as_ref(), None, &mut totals, &mut visit).0);
        assert_eq!((self.len, self.totals), (len, totals));
    }
}

/// Elements below a node, and its height.
#[cfg(test)]
fn audit<L: Leaf>(
    node: NodeRef<'_, L>,
    key: Option<L::Key>,
    totals: &mut Totals,
    visit: &mut impl FnMut(Option<L::Key>, &L),
) -> (u64, usize) {
    let branch = match node {
        NodeRef::Leaf(leaf) => {
            assert!(leaf.weight() > 0);
            totals.add(leaf_totals(leaf));
            visit(key, leaf);
            return (leaf.weight(), 0);
        }
        NodeRef::Branch(branch) => branch,
    };
    let before = *totals;
    assert!(branch.len() > 0 && branch.keys.len() == branch.len() && branch.len() <= FAN_OUT);
    let mut below = None;
    for index in 0..branch.len() {
        let key = if index == 0 { key } else { Some(branch.keys[index]) };
        let (count, height) = audit(branch.child(index), key, totals, visit);
        assert_eq!(count, branch.counts[index]);
        assert!(below.is_none_or(|below| below == height), "all leaves are equally deep");
        below = Some(height);
    }
    let mut counted = Totals::default();
    counted.follow(before, *totals);
    assert_eq!(branch.below, counted);
    totals.bytes += Shared::<Branch<L>>::HEAP_BYTES;
    (branch.count(), below.map_or(1, |below| below + 1))
}

/// Asks for all that a look-up reads of a leaf, except for the elements themselves.
#[inline]
fn prefetch_head<L: Leaf>(leaf: &L) {
    (0..L::HEAD_LINES).for_each(|line| prefetch::address(leaf.address().wrapping_add(64 * line)));
}

/// Changes a leaf that had so many elements.
#[inline]
fn edit_leaf<L: Leaf, R>(
    leaf: &mut L,
    before: u64,
    totals: &mut Totals,
    change: impl FnOnce(&mut L, &mut usize) -> (R, Split<L>),
) -> Outcome<R, L::Key, L> {
    debug_assert_eq!(before, leaf.weight());
    let (result, split) = change(leaf, &mut totals.bytes);
    totals.leaves += u64::from(split.is_some());
    let split = split.map(|(key, right)| {
        let count = right.weight();
        (key, right, count)
    });
    let after = leaf.weight() + split.as_ref().map_or(0, |split| split.2);
    Outcome { result, delta: after.wrapping_sub(before), split }
}

impl<L: Leaf> Branch<L> {
    /// Changes the leaf at the end of a path that begins here.
    fn edit<R>(
        &mut self,
        path: &[u8],
        totals: &mut Totals,
        change: impl FnOnce(&mut L, &mut usize) -> (R, Split<L>),
    ) -> Outcome<R, L::Key, Shared<Self>> {
        let before = *totals;
        let (result, delta, inserted) = self.edit_child(path, totals, change);
        self.below.follow(before, *totals);
        match inserted {
            Some(index) if self.len() >= FAN_OUT => {
                let split = Some(self.split(index, &mut totals.bytes));
                Outcome { result, delta, split }
            }
            _ => Outcome { result, delta, split: None },
        }
    }

    /// The same, for all below; what came of it, elements that came, and where a child was inserted, if one was.
    #[inline]
    fn edit_child<R>(
        &mut self,
        path: &[u8],
        totals: &mut Totals,
        change: impl FnOnce(&mut L, &mut usize) -> (R, Split<L>),
    ) -> (R, u64, Option<usize>) {
        let index = (path[0] as usize).min(self.len() - 1);
        match &mut self.children {
            Children::Leaves(leaves) => {
                let Outcome { result, delta, split } =
                    edit_leaf(&mut leaves[index], self.counts[index], totals, change);
                self.counts[index] = self.counts[index].wrapping_add(delta);
                if let Some((key, right, count)) = split {
                    leaves.insert(index + 1, right);
                    self.insert_beside(index, key, count);
                    return (result, delta, Some(index + 1));
                }
                if self.counts[index] == 0 {
                    totals.subtract(leaf_totals(&leaves.remove(index)));
                    self.keys.remove(index);
                    self.counts.remove(index);
                } else if leaves[index].is_small() {
                    self.join_leaf(index, totals);
                }
                (result, delta, None)
            }
            Children::Branches(branches) => {
                let Outcome { result, delta, split } = branches[index].make_mut().edit(&path[1..], totals, change);
                self.counts[index] = self.counts[index].wrapping_add(delta);
                if let Some((key, right, count)) = split {
                    branches.insert(index + 1, right);
                    self.insert_beside(index, key, count);
                    return (result, delta, Some(index + 1));
                }
                if branches[index].len() == 0 {
                    branches.remove(index);
                    totals.bytes -= Shared::<Self>::HEAP_BYTES;
                    self.keys.remove(index);
                    self.counts.remove(index);
                } else if branches[index].len() < CHILDREN_MIN {
                    self.join_branch(index, &mut totals.bytes);
                }
                (result, delta, None)
            }
        }
    }

    /// Notes that the child behind that of an index is its right part.
    fn insert_beside(&mut self, index: usize, key: L::Key, count: u64) {
        self.counts[index] -= count;
        self.keys.insert(index + 1, key);
        self.counts.insert(index + 1, count);
    }

    /// Splits a branch that became full with the child at `index`: in the middle or, if children keep coming at an end,
    /// near there.
    fn split(&mut self, index: usize, bytes: &mut usize) -> (L::Key, Shared<Self>, u64) {
        let middle = match index {
            FAN_OUT.. => unreachable!("a branch is split before it overflows"),
            index if index == self.len() - 1 => FAN_OUT - FAN_OUT / 8,
            1 => FAN_OUT / 8,
            _ => FAN_OUT / 2,
        };
        let right = self.split_off(middle);
        *bytes += Shared::<Self>::HEAP_BYTES;
        let (key, count) = (right.keys[0], right.count());
        (key, Shared::new(right), count)
    }

    /// Takes all leaves away that lie whole within a range of ranks, which is not all of the branch; how many elements
    /// they had. What is freed goes to `gone`.
    fn cut(&mut self, ranks: &Range<u64>, totals: &mut Totals, gone: &mut Vec<Node<L>>) -> u64 {
        let before = *totals;
        let (mut whole, mut in_part): (Range<usize>, SmallVec<[usize; 2]>) = (0..0, SmallVec::new());
        let (mut start, mut removed) = (0, 0);
        for index in 0..self.len() {
            let end = start + self.counts[index];
            if ranks.start <= start && end <= ranks.end {
                whole = if whole.is_empty() { index..index + 1 } else { whole.start..index + 1 };
                removed += self.counts[index];
            } else if start < ranks.end && ranks.start < end {
                in_part.push(index);
                if let Children::Branches(branches) = &mut self.children {
                    let within = ranks.start.saturating_sub(start)..ranks.end - start;
                    let count = branches[index].make_mut().cut(&within, totals, gone);
                    self.counts[index] -= count;
                    removed += count;
                }
            }
            start = end;
        }
        totals.subtract(self.totals_of(whole.clone()));
        match &mut self.children {
            Children::Branches(branches) => gone.extend(branches.drain(whole.clone()).map(Node::Branch)),
            Children::Leaves(leaves) => gone.extend(leaves.drain(whole.clone()).map(Node::Leaf)),
        }
        self.keys.drain(whole.clone());
        self.counts.drain(whole.clone());
        // What is left of children in part may be little. The later one goes first: its neighbours keep their places.
        for index in in_part.into_iter().rev() {
            let index = if index >= whole.end { index - whole.len() } else { index };
            if matches!(&self.children, Children::Branches(branches) if branches[index].len() < CHILDREN_MIN) {
                self.join_branch(index, &mut totals.bytes);
            }
        }
        self.below.follow(before, *totals);
        removed
    }

    /// The left one of a child and the neighbour that it may be joined with.
    fn left_of_pair(&self, index: usize) -> Option<usize> {
        match (index, self.len()) {
            (_, 0 | 1) => None,
            (index, len) if index + 1 < len => Some(index),
            (index, _) => Some(index - 1),
        }
    }

    fn join_leaf(&mut self, index: usize, totals: &mut Totals) {
        let Some(left) = self.left_of_pair(index) else { return };
        let Children::Leaves(leaves) = &mut self.children else { return };
        let (lefts, rights) = leaves.split_at_mut(left + 1);
        if lefts[left].absorb(&rights[0], &mut totals.bytes) {
            leaves.remove(left + 1);
            totals.leaves -= 1;
            self.keys.remove(left + 1);
            self.counts[left] += self.counts.remove(left + 1);
        }
    }

    fn join_branch(&mut self, index: usize, bytes: &mut usize) {
        let Some(left) = self.left_of_pair(index) else { return };
        let Children::Branches(branches) = &mut self.children else { return };
        if branches[left].len() + branches[left + 1].len() > JOINED_CHILDREN_MAX {
            return;
        }
        let mut right = branches.remove(left + 1);
        let below = right.below;
        let mut right = match right.get_mut() {
            Some(right) => right.split_off(0),
            None => (*right).clone(),
        };
        *bytes -= Shared::<Self>::HEAP_BYTES;
        // The key of its first child said nothing until now.
        right.keys[0] = self.keys.remove(left + 1);
        self.counts[left] += self.counts.remove(left + 1);
        let left = branches[left].make_mut();
        left.below.add(below);
        left.keys.append(&mut right.keys);
        left.counts.append(&mut right.counts);
        match (&mut left.children, &mut right.children) {
            (Children::Branches(left), Children::Branches(right)) => left.append(right),
            (Children::Leaves(left), Children::Leaves(right)) => left.append(right),
            _ => unreachable!("siblings are of one kind"),
        }
    }
}

/// Frees blocks below a node that is used no more, from its end; what is left of it.
fn free_below<L: Leaf>(node: Node<L>, budget: &mut usize) -> Option<Node<L>> {
    let branch = match node {
        Node::Leaf(leaf) => {
            *budget = budget.saturating_sub(leaf.units_to_free());
            return None;
        }
        Node::Branch(branch) => branch,
    };
    // Somebody else may hold it too, or give it up at this very moment: whoever is the last frees what is below.
    let branch = if branch.is_sole() { Some(branch) } else { branch.leave().map(Shared::new) };
    if let Some(mut branch) = branch
        && let Some(own) = branch.get_mut()
    {
        while *budget > 0 {
            let child = match &mut own.children {
                Children::Branches(branches) => branches.pop().map(Node::Branch),
                Children::Leaves(leaves) => leaves.pop().map(Node::Leaf),
            };
            let Some(child) = child else { break };
            match (free_below(child, budget), &mut own.children) {
                (Some(Node::Branch(rest)), Children::Branches(branches)) => branches.push(rest),
                (Some(Node::Leaf(rest)), Children::Leaves(leaves)) => leaves.push(rest),
                _ => {}
            }
        }
        let is_left = match &own.children {
            Children::Branches(branches) => !branches.is_empty(),
            Children::Leaves(leaves) => !leaves.is_empty(),
        };
        if is_left {
            return Some(Node::Branch(branch));
        }
    }
    *budget = budget.saturating_sub(1);
    None
}

impl<L: Leaf> Remains for Option<Node<L>> {
    fn free_slice(&mut self, budget: &mut usize) -> bool {
        *self = self.take().and_then(|root| free_below(root, budget));
        self.is_some()
    }
}

impl<L: Leaf> Remains for Vec<Node<L>> {
    fn free_slice(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 {
            let Some(node) = self.pop() else { return false };
            self.extend(free_below(node, budget));
        }
        !self.is_empty()
    }
}

impl<L: Leaf> Remains for Tree<L> {
    fn free_slice(&mut self, budget: &mut usize) -> bool {
        self.root.free_slice(budget)
    }
}

impl<L: Leaf> Drop for Tree<L> {
    fn drop(&mut self) {
        let Some(Node::Branch(branch)) = &self.root else { return };
        // One level of branches has a few dozen leaves, which may go at once.
        if matches!(branch.children, Children::Leaves(_)) {
            return;
        }
        if let Some(Node::Branch(branch)) = self.root.take()
            && let Some(branch) = branch.leave()
        {
            garbage::discard(Box::new(Some(Node::Branch(Shared::new(branch)))));
        }
    }
}

/// A place between the leaves of a tree, to go forward and back from.
#[derive(Clone)]
pub(super) struct Walk<'a, L: Leaf> {
    branches: SmallVec<[(&'a Branch<L>, usize); 6]>,
    leaf: Option<&'a L>,
}

impl<'a, L: Leaf> Walk<'a, L> {
    /// The leaf where it stands; none at the end, or before the beginning.
    #[inline]
    pub(super) fn leaf(&self) -> Option<&'a L> {
        self.leaf
    }

    /// Where the leaves end that begin where the walk stands: the next leaf's key.
    pub(super) fn next_key(&self) -> Option<L::Key> {
        self.branches.iter().rev().find_map(|(branch, index)| branch.keys.get(index + 1)).copied()
    }

    /// To the next leaf.
    pub(super) fn next(&mut self) -> Option<&'a L> {
        self.leaf = None;
        while let Some((branch, index)) = self.branches.pop() {
            if index + 1 < branch.len() {
                self.descend(branch, index + 1, |_| 0);
                break;
            }
        }
        self.leaf
    }

    /// To the previous leaf.
    pub(super) fn previous(&mut self) -> Option<&'a L> {
        self.leaf = None;
        while let Some((branch, index)) = self.branches.pop() {
            if index > 0 {
                self.descend(branch, index - 1, |branch| branch.len() - 1);
                break;
            }
        }
        self.leaf
    }

    fn descend(&mut self, branch: &'a Branch<L>, index: usize, end: impl Fn(&Branch<L>) -> usize) {
        let (mut branch, mut index) = (branch, index);
        loop {
            self.branches.push((branch, index));
            match branch.child(index) {
                NodeRef::Leaf(leaf) => return self.leaf = Some(leaf),
                NodeRef::Branch(below) => {
                    branch = below;
                    index = end(below);
                }
            }
        }
    }
}
