//! Trimming: entries go from the front, until the stream is short enough or begins high enough.
//!
//! 1. Whole nodes go as long as nothing in them is to be kept.
//! 2. If that leaves too much and the caller wants it exact, entries of the first node that is left are marked.
//! 3. A limit stops before the node that would pass it.
//!
//! Entries that groups refer to may be kept ([`References::Acknowledged`]); then entries are looked at one by one.

use super::{Stream, StreamId};
use crate::values::large::{Node, StreamTree};
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

/// What was trimmed.
#[derive(Debug, Default)]
pub struct Trimmed {
    /// How many entries went.
    pub count: u64,
    /// Their IDs, where not just the first ones went.
    pub scattered: Vec<StreamId>,
    /// References that went with them.
    pub released: Vec<(Arc<[u8]>, StreamId)>,
}

impl Stream {
    /// Removes entries.
    pub fn trim(&mut self, trim: &Trim) -> Trimmed {
        match trim.references {
            References::Acknowledged if self.groups().len() > 0 => self.trim_acknowledged(trim),
            References::Delete if self.groups().len() > 0 => {
                let gone = self.log.entries.clone();
                let count = self.trim_front(trim);
                let mut trimmed = Trimmed { count, ..Trimmed::default() };
                let ids = gone.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id);
                for id in ids.take(usize::try_from(count).unwrap_or(usize::MAX)) {
                    let names = self.release_everywhere(id);
                    trimmed.released.extend(names.into_iter().map(|name| (name, id)));
                }
                trimmed
            }
            _ => Trimmed { count: self.trim_front(trim), ..Trimmed::default() },
        }
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

    /// Removes entries that no group refers to, from the front; those that are referred to stay and count as left.
    fn trim_acknowledged(&mut self, trim: &Trim) -> Trimmed {
        let view = self.log.entries.clone();
        let (mut length, mut looked_at) = (view.len(), 0);
        let mut trimmed = Trimmed::default();
        for node in view.nodes() {
            looked_at += node.live();
            let is_past = Self::is_past(trim.threshold, node, length);
            if trim.limit > 0 && looked_at > trim.limit || trim.is_approximate && !is_past {
                break;
            }
            for entry in node.entries() {
                let is_kept = match trim.threshold {
                    Threshold::Length(max) => length <= max,
                    Threshold::Id(min) => entry.id >= min,
                };
                if is_kept {
                    return trimmed;
                }
                if !self.is_referenced(entry.id) {
                    // A gap, as XDEL leaves it.
                    self.log.delete(entry.id);
                    trimmed.count += 1;
                    trimmed.scattered.push(entry.id);
                    length -= 1;
                }
            }
        }
        trimmed
    }
}
