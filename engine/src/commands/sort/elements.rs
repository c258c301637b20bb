//! Many short texts in one piece of memory.

use crate::keyspace::Entry;
use crate::values::list::{End, ListRef};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::{StringRef, Type};
use std::ops::Index;

/// Texts by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Elements {
    /// What a list, a set or a sorted set holds, in its own order or, where it has one, backwards.
    pub(super) fn of(entry: Entry<'_>, backwards: bool) -> Self {
        let mut elements = Self::default();
        let (bytes, object) = (entry.packed_bytes(), entry.object());
        match entry.kind() {
            Type::List => {
                let from = if backwards { End::Right } else { End::Left };
                ListRef::new(bytes, object).iter(from).for_each(|element| elements.push(element));
            }
            Type::Set => SetRef::new(entry.form(), bytes, object).iter().for_each(|member| elements.push(member)),
            _ => {
                let set = SortedSetRef::new(bytes, object);
                set.range(0..set.len(), backwards).for_each(|scored| elements.push(scored.member));
            }
        }
        elements
    }

    pub(super) fn push(&mut self, text: StringRef<'_>) {
        self.bytes.extend_from_slice(text.as_bytes(&mut itoa::Buffer::new()));
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| &self[index])
    }
}

impl Index<usize> for Elements {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}
