//! When the fields of a large hash expire, in the order of their times: what is due next is known without a walk.
//!
//! It stands beside the hash's tree and is shared by views as a whole, since a view has no use for it but to be restored
//! from. The times themselves stand with the fields.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes that an entry takes besides the field's text, about.
const ENTRY_BYTES: usize = 40;

/// Times with their fields, in order.
type Times = BTreeSet<(i64, Box<[u8]>)>;

/// Times of expiry, in milliseconds since 1970, with their fields.
#[derive(Clone, Debug, Default)]
pub struct FieldTimes {
    /// None for the many hashes without such fields.
    times: Option<Arc<Times>>,
    bytes: usize,
}

impl FieldTimes {
    /// Bytes of heap, about.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Number of fields that expire.
    pub fn len(&self) -> usize {
        self.times.as_ref().map_or(0, |times| times.len())
    }

    /// Whether no field expires.
    pub fn is_empty(&self) -> bool {
        self.times.is_none()
    }

    /// The earliest time.
    pub fn earliest(&self) -> Option<i64> {
        self.times.as_ref()?.first().map(|(at, _)| *at)
    }

    /// The field that expires first, if its time is over.
    pub fn first_due(&self, now: i64) -> Option<&[u8]> {
        let (at, field) = self.times.as_ref()?.first()?;
        (now > *at).then_some(field)
    }

    /// Number of fields whose time is over.
    pub fn due_count(&self, now: i64) -> usize {
        self.times.as_ref().map_or(0, |times| times.iter().take_while(|(at, _)| now > *at).count())
    }

    /// Notes that the time of a field changed.
    pub fn change(&mut self, field: &[u8], old: Option<i64>, new: Option<i64>) {
        if old == new {
            return;
        }
        let times = Arc::make_mut(self.times.get_or_insert_default());
        if let Some(old) = old
            && times.remove(&(old, field.into()))
        {
            self.bytes -= ENTRY_BYTES + field.len();
        }
        if let Some(new) = new
            && times.insert((new, field.into()))
        {
            self.bytes += ENTRY_BYTES + field.len();
        }
        if times.is_empty() {
            self.times = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_known_and_bytes_come_back() {
        let mut times = FieldTimes::default();
        times.change(b"a", None, Some(20));
        times.change(b"b", None, Some(10));
        let view = times.clone();
        times.change(b"b", Some(10), Some(30));
        assert_eq!((times.earliest(), view.earliest(), times.len()), (Some(20), Some(10), 2));
        assert_eq!((times.first_due(20), times.first_due(21), times.due_count(31)), (None, Some(&b"a"[..]), 2));
        times.change(b"a", Some(20), None);
        times.change(b"b", Some(30), None);
        assert_eq!((times.heap_bytes(), times.is_empty(), times.earliest()), (0, true, None));
    }
}
