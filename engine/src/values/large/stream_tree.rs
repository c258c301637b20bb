//! The entries of a stream: a counted tree of the real server's nodes, by ID.
//!
//! Entries come at the end, and go from the front by whole nodes or anywhere by a mark in their node. Where nodes begin
//! follows from `stream-node-max-bytes` and `stream-node-max-entries` as in the real server, with one exception: a node
//! that is limited by bytes ends where its block of the allocator does, which is at most an entry earlier.

use super::stream_leaf::{LIST_BYTES_MAX, Node, NodeEntries, StreamEntry, StreamLeaf};
use super::tree::{Branch, Path, Tree, Walk};
use crate::values::Encodings;
use crate::values::stream::StreamId;
use smallvec::SmallVec;

/// The entries of a stream; cloning it gives a frozen view and copies nothing.
#[derive(Clone, Default)]
pub struct StreamTree {
    tree: Tree<StreamLeaf>,
}

/// The entry's texts are longer than a node may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The child that an ID is below.
#[inline]
fn child_of(branch: &Branch<StreamLeaf>, id: StreamId) -> usize {
    branch.later_keys().partition_point(|key| *key <= id)
}

impl StreamTree {
    /// Number of entries.
    #[inline]
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap, what views share included.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// Number of nodes.
    pub fn node_count(&self) -> u64 {
        self.tree.leaves()
    }

    /// Adds an entry, whose ID is higher than all that ever were. `fields` are fields and values in turn.
    pub fn append(&mut self, id: StreamId, fields: &[&[u8]], limits: &Encodings) -> Result<(), Full> {
        let text_bytes = fields.iter().map(|text| text.len() as u64).sum();
        if text_bytes > LIST_BYTES_MAX {
            return Err(Full);
        }
        if self.tree.is_bare() {
            self.tree.plant(StreamLeaf::of(id, fields).0);
            return Ok(());
        }
        self.tree.edit(&Path::LAST, |leaf, bytes| {
            if takes(leaf, text_bytes, fields.len(), limits) {
                return (leaf.append(id, fields, bytes), None);
            }
            leaf.shrink(bytes);
            let (new, new_bytes) = StreamLeaf::of(id, fields);
            *bytes += new_bytes;
            ((), Some((id, new)))
        });
        Ok(())
    }

    /// The entry of an ID, where it stands.
    fn find(&self, id: StreamId) -> Option<(Path, usize, StreamEntry<'_>)> {
        let (path, leaf) = self.tree.locate(|branch| child_of(branch, id))?;
        let mut entries = NodeEntries::at_start(leaf.node());
        loop {
            let standing = entries.next()?;
            if standing.entry.id >= id {
                let is_it = standing.entry.id == id && !standing.is_deleted;
                return is_it.then_some((path, standing.at, standing.entry));
            }
        }
    }

    /// The entry of an ID.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.find(id).map(|(_, _, entry)| entry)
    }

    /// How many entries have a lower ID.
    pub fn rank(&self, id: StreamId) -> u64 {
        let mut rank = 0;
        let leaf = self.tree.leaf(|branch| {
            let index = child_of(branch, id);
            rank += branch.counts()[..index].iter().sum::<u64>();
            index
        });
        let lower = leaf.map(|leaf| leaf.node().entries().take_while(|entry| entry.id < id).count());
        rank + lower.unwrap_or(0) as u64
    }

    /// How many entries there are from one ID to another, both included.
    pub fn count(&self, from: StreamId, to: StreamId) -> u64 {
        let end = to.next().map_or(self.len(), |next| self.rank(next));
        end.saturating_sub(if from == StreamId::MIN { 0 } else { self.rank(from) })
    }

    /// Removes the entry of an ID; whether there was one.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Some((path, at, _)) = self.find(id) else { return false };
        self.delete(&path, &[at]);
        true
    }

    fn delete(&mut self, path: &Path, positions: &[usize]) {
        self.tree.edit(path, |leaf, bytes| (leaf.delete(positions, bytes), None));
    }

    /// Removes the first node.
    pub fn remove_first_node(&mut self) {
        if let Some((path, _)) = self.tree.locate(|_| 0) {
            self.tree.edit(&path, |leaf, bytes| (leaf.clear(bytes), None));
        }
    }

    /// Removes as many of the first nodes as have no more than so many entries together.
    pub fn remove_first_nodes(&mut self, entries_max: u64) {
        self.tree.cut(0..entries_max);
    }

    /// How many entries are in the nodes in front of the one that holds an ID, or would: all of them have lower IDs, the
    /// deleted ones too.
    pub fn entries_before_node_of(&self, id: StreamId) -> u64 {
        let mut before = 0;
        self.tree.leaf(|branch| {
            let index = child_of(branch, id);
            before += branch.counts()[..index].iter().sum::<u64>();
            index
        });
        before
    }

    /// Removes the first `count` entries of the first node.
    pub fn remove_in_first_node(&mut self, count: u64) {
        let Some((path, leaf)) = self.tree.locate(|_| 0) else { return };
        let mut entries = NodeEntries::at_start(leaf.node());
        let live = std::iter::from_fn(|| entries.next()).filter(|standing| !standing.is_deleted);
        let positions: SmallVec<[usize; 32]> =
            live.map(|standing| standing.at).take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        if !positions.is_empty() {
            self.delete(&path, &positions);
        }
    }

    /// The first node.
    pub fn first_node(&self) -> Option<Node<'_>> {
        self.tree.leaf(|_| 0).map(StreamLeaf::node)
    }

    /// The node that holds an ID, or would.
    pub fn node_of(&self, id: StreamId) -> Option<Node<'_>> {
        self.tree.leaf(|branch| child_of(branch, id)).map(StreamLeaf::node)
    }

    /// All nodes in order: the stream's form in a file.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.nodes_from(StreamId::MIN)
    }

    /// The nodes from the one on that holds an ID, or would.
    pub fn nodes_from(&self, id: StreamId) -> impl Iterator<Item = Node<'_>> {
        let mut walk = self.tree.walk(|branch| child_of(branch, id));
        let mut next = walk.leaf();
        std::iter::from_fn(move || {
            let leaf = next?;
            next = walk.next();
            Some(leaf.node())
        })
    }

    /// The first entry.
    pub fn first(&self) -> Option<StreamEntry<'_>> {
        self.range(StreamId::MIN, StreamId::MAX).next()
    }

    /// The last entry.
    pub fn last(&self) -> Option<StreamEntry<'_>> {
        self.range_back(StreamId::MIN, StreamId::MAX).next()
    }

    /// The entries from one ID to another, both included. A walk of a view may stop anywhere and go on behind the last ID.
    #[inline]
    pub fn range(&self, from: StreamId, to: StreamId) -> StreamIter<'_> {
        let walk = self.tree.walk(|branch| child_of(branch, from));
        let entries = walk.leaf().map(|leaf| NodeEntries::at_start(leaf.node()));
        StreamIter { walk, entries, from, to }
    }

    /// The same, beginning with the last one.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> StreamIterBack<'_> {
        let walk = self.tree.walk(|branch| child_of(branch, to));
        let entries = walk.leaf().map(|leaf| NodeEntries::at_end(leaf.node()));
        StreamIterBack { walk, entries, from, to }
    }

    /// Frees about `budget` blocks; whether something is left. After the first call there is nothing else to be done with
    /// the stream.
    pub fn drop_slice(&mut self, budget: usize) -> bool {
        self.tree.drop_slice(budget)
    }
}

/// Whether a node may have one more entry.
fn takes(leaf: &StreamLeaf, text_bytes: u64, texts: usize, limits: &Encodings) -> bool {
    // The default of the limit, up to which a node is kept within a block.
    const BOUNDED_BYTES_MAX: u64 = 4096;
    let bytes_max = match limits.stream_node_bytes_max {
        0 => LIST_BYTES_MAX,
        limit => limit.min(LIST_BYTES_MAX),
    };
    let node = leaf.node();
    if node.list().as_bytes().len() as u64 + text_bytes >= bytes_max {
        return false;
    }
    if bytes_max <= BOUNDED_BYTES_MAX && !leaf.fits_block(text_bytes as usize, texts) {
        return false;
    }
    limits.stream_node_entries_max == 0 || node.live() + node.deleted() < limits.stream_node_entries_max
}

/// Entries in order.
#[derive(Clone)]
pub struct StreamIter<'a> {
    walk: Walk<'a, StreamLeaf>,
    entries: Option<NodeEntries<'a>>,
    from: StreamId,
    to: StreamId,
}

impl<'a> Iterator for StreamIter<'a> {
    type Item = StreamEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            match self.entries.as_mut()?.next_live() {
                Some(entry) if entry.id < self.from => {}
                Some(entry) if entry.id > self.to => self.entries = None,
                Some(entry) => return Some(entry),
                None => self.entries = self.walk.next().map(|leaf| NodeEntries::at_start(leaf.node())),
            }
        }
    }
}

/// Entries from the last to the first.
#[derive(Clone)]
pub struct StreamIterBack<'a> {
    walk: Walk<'a, StreamLeaf>,
    entries: Option<NodeEntries<'a>>,
    from: StreamId,
    to: StreamId,
}

impl<'a> Iterator for StreamIterBack<'a> {
    type Item = StreamEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            match self.entries.as_mut()?.previous_live() {
                Some(entry) if entry.id > self.to => {}
                Some(entry) if entry.id < self.from => self.entries = None,
                Some(entry) => return Some(entry),
                None => self.entries = self.walk.previous().map(|leaf| NodeEntries::at_end(leaf.node())),
            }
        }
    }
}

#[cfg(test)]
impl StreamTree {
    /// Counts everything anew.
    pub(in crate::values) fn audit(&self) {
        self.tree.audit(|key, leaf| {
            assert!(key.is_none_or(|key| key <= leaf.node().first_id()));
            leaf.audit();
        });
    }
}
