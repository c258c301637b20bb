//! Trimming: entries go from the front, until the stream is short enough or begins high enough.
//!
//! 1. Whole nodes go as long as nothing in them is to be kept.
//! 2. If that leaves too much and the caller wants it exact, entries of the first node that is left are marked.
//! 3. A limit stops before the node that would pass it.
//!
//! Entries that groups refer to may be kept ([`References::Acknowledged`]); then entries are looked at one by one.

use super::{Stream, StreamId};
use crate::values::large::{Node, StreamTree, discard_each};
use std::sync::Arc;

/// What is to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// So many entries: MAXLEN.
    Length(u64),
    /// The entries from this ID on: MINID.
    Id(StreamId),
}

/// What becomes of groups' references to an entry that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum References {
    /// They stay, and lead nowhere.
    #[default]
    Keep,
    /// They go, too.
    Delete,
    /// An entry that groups still refer to stays.
    Acknowledged,
}

/// What to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is to be left.
    pub threshold: Threshold,
    /// More may be left: only whole nodes go.
    pub is_approximate: bool,
    /// The most entries to remove; zero is no limit.
    pub limit: u64,
    /// What groups keep.
    pub references: References,
}

/// What may be as many as a stream has entries: in pieces that never move, and are freed in slices.
#[derive(Debug)]
pub struct Pieces<T: 'static>(Vec<Vec<T>>);

impl<T: 'static> Default for Pieces<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: 'static> Drop for Pieces<T> {
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.0), Self::PIECE_ROWS * size_of::<T>());
    }
}

impl<T: 'static> Pieces<T> {
    /// Rows of a piece.
    pub const PIECE_ROWS: usize = 512;

    fn push(&mut self, row: T) {
        match self.0.last_mut() {
            // A few rows need no whole piece.
            None => self.0.push(vec![row]),
            Some(piece) if piece.len() < Self::PIECE_ROWS => piece.push(row),
            Some(_) => {
                let mut piece = Vec::with_capacity(Self::PIECE_ROWS);
                piece.push(row);
                self.0.push(piece);
            }
        }
    }

    /// The pieces; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &[T]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// What was trimmed.
#[derive(Debug, Default)]
pub struct Trimmed {
    /// How many entries went.
    pub count: u64,
    /// Not just the first ones went.
    pub is_scattered: bool,
    /// Their IDs then, if somebody wants to be told.
    pub scattered: Pieces<StreamId>,
    /// References that went with them, if somebody wants to be told.
    pub released: Pieces<(Arc<[u8]>, StreamId)>,
}

/// A trim under way. One that keeps references is done with its first step, whatever the length of the stream; another
/// looks at each entry that goes, or is to stay.
pub struct Trimming {
    trim: Trim,
    /// The entries as they were; no more of them where there is nothing else to do.
    view: Option<StreamTree>,
    /// The first entry that was not looked at.
    next: StreamId,
    /// How many entries are left, and how many have been looked at.
    length: u64,
    looked_at: u64,
    /// Whether somebody wants to be told which.
    is_told: bool,
    trimmed: Trimmed,
}

impl Trimming {
    /// Begins a trim of a stream, to which all steps belong. `is_told`: what went one by one is kept for the result.
    pub fn new(stream: &mut Stream, trim: &Trim, is_told: bool) -> Self {
        let has_groups = stream.groups().len() > 0;
        let view = stream.log.entries.clone();
        let length = view.len();
        let (trim, next, trimmed) = (*trim, StreamId::MIN, Trimmed::default());
        let mut trimming = Self { trim, view: Some(view), next, length, looked_at: 0, is_told, trimmed };
        if trim.references != References::Acknowledged || !has_groups {
            trimming.trimmed.count = stream.trim_front(&trim);
            if trim.references == References::Keep || !has_groups {
                trimming.view = None;
            }
        }
        trimming
    }

    /// About how many entries a trim looks at, one by one.
    pub fn looks_at(stream: &Stream, trim: &Trim) -> u64 {
        if trim.references == References::Keep || stream.groups().len() == 0 {
            return 0;
        }
        let entries = stream.entries();
        match trim.threshold {
            Threshold::Length(_) if trim.references == References::Acknowledged => entries.len(),
            Threshold::Length(max) => entries.len().saturating_sub(max),
            Threshold::Id(min) => entries.rank(min),
        }
    }

    /// Looks at about so many entries and groups more; whether the trim is over.
    pub fn step(&mut self, stream: &mut Stream, budget: u64) -> bool {
        let Some(view) = self.view.take() else { return true };
        let units = 1 + stream.groups().len() as u64;
        let is_over = if self.trim.references == References::Acknowledged {
            self.look(stream, &view, budget / units + 1)
        } else {
            self.release(stream, &view, budget / units + 1)
        };
        if !is_over {
            self.view = Some(view);
        }
        is_over
    }

    /// What was trimmed, at the end.
    pub fn take_result(&mut self) -> Trimmed {
        std::mem::take(&mut self.trimmed)
    }

    /// Takes references to entries that went.
    fn release(&mut self, stream: &mut Stream, view: &StreamTree, count: u64) -> bool {
        let until = self.trimmed.count.min(self.looked_at.saturating_add(count));
        let count = usize::try_from(until - self.looked_at).unwrap_or(usize::MAX);
        for entry in view.range(self.next, StreamId::MAX).take(count) {
            let names = stream.release_everywhere(entry.id);
            if self.is_told {
                names.into_iter().for_each(|name| self.trimmed.released.push((name, entry.id)));
            }
            self.next = entry.id.next().unwrap_or(entry.id);
        }
        self.looked_at = until;
        until == self.trimmed.count
    }

    /// Removes entries that no group refers to, from the front; those that are referred to stay and count as left.
    fn look(&mut self, stream: &mut Stream, view: &StreamTree, count: u64) -> bool {
        let trim = self.trim;
        let mut left = count;
        for node in view.nodes_from(self.next) {
            if left == 0 {
                self.next = node.first_id();
                return false;
            }
            left = left.saturating_sub(node.live());
            self.looked_at += node.live();
            let is_past = Stream::is_past(trim.threshold, node, self.length);
            if trim.limit > 0 && self.looked_at > trim.limit || trim.is_approximate && !is_past {
                break;
            }
            for entry in node.entries() {
                let is_kept = match trim.threshold {
                    Threshold::Length(max) => self.length <= max,
                    Threshold::Id(min) => entry.id >= min,
                };
                if is_kept {
                    return true;
                }
                if !stream.is_referenced(entry.id) {
                    // A gap, as XDEL leaves it.
                    stream.log.delete(entry.id);
                    self.trimmed.count += 1;
                    self.trimmed.is_scattered = true;
                    if self.is_told {
                        self.trimmed.scattered.push(entry.id);
                    }
                    self.length -= 1;
                }
            }
        }
        true
    }
}

impl Stream {
    /// Removes entries.
    pub fn trim(&mut self, trim: &Trim) -> Trimmed {
        let mut trimming = Trimming::new(self, trim, true);
        while !trimming.step(self, u64::MAX) {}
        trimming.take_result()
    }

    /// Whether a node may go as a whole, by what is wanted.
    fn is_past(threshold: Threshold, node: Node<'_>, length: u64) -> bool {
        match threshold {
            Threshold::Length(max) => length - node.live() >= max,
            Threshold::Id(min) => node.last_id() < min,
        }
    }

    /// Removes the first entries; how many.
    fn trim_front(&mut self, trim: &Trim) -> u64 {
        let before = self.log.entries.len();
        if trim.threshold == Threshold::Length(0) && trim.limit == 0 {
            // All at once; the blocks are freed in slices.
            self.log.entries = StreamTree::default();
            return before;
        }
        let past = match trim.threshold {
            Threshold::Length(max) => before.saturating_sub(max),
            Threshold::Id(min) => self.log.entries.entries_before_node_of(min),
        };
        self.log.entries.remove_first_nodes(if trim.limit > 0 { past.min(trim.limit) } else { past });
        // What is left to go is in a node or two.
        while let Some(node) = self.log.entries.first_node() {
            let length = self.log.entries.len();
            if matches!(trim.threshold, Threshold::Length(max) if length <= max) {
                break;
            }
            if trim.limit > 0 && before - length + node.live() > trim.limit {
                break;
            }
            if Self::is_past(trim.threshold, node, length) {
                self.log.entries.remove_first_node();
                continue;
            }
            if !trim.is_approximate {
                let count = match trim.threshold {
                    Threshold::Length(max) => length - max,
                    Threshold::Id(min) => node.entries().take_while(|entry| entry.id < min).count() as u64,
                };
                self.log.entries.remove_in_first_node(count);
            }
            break;
        }
        before - self.log.entries.len()
    }
}
