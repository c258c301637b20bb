//! Collections under their keys: how a family finds, makes and changes them.
//!
//! A collection is one of two things, and a family handles both: a run of packed bytes of some [`Form`] (in the page, or in
//! a blob once it is longer than [`Form::inline_bytes_max`]; families need not care which), or
//! an [`Object`]. When the packed bytes pass the thresholds in [`EngineOptions`](crate::command::EngineOptions), the family
//! builds the object and puts it in their place. An empty collection does not exist: who takes the last element removes
//! the key.
//!
//! ```text
//!   read     keyspace.find_typed(database, &key, now, access, Type::Set)?   -> None: no such key
//!               entry.packed_bytes() + entry.form()  |  entry.object()
//!
//!   write    match keyspace.edit(database, &key, Type::Set, now)? {
//!                None        => keyspace.create(database, &key, &mut new_collection, now),
//!                Some(entry) => listpack::append(&mut entry, &[...])        where it stands, no copy of the whole
//!                               entry.change_object(|object| ...)
//!                               entry.become_object(object)                 too large now
//!                               entry.changed(n)                            counts for `dirty`, as the real server counts
//!                               entry.remove()                              empty now
//!            }
//!   replace  keyspace.create(...)                                           whatever was there (*STORE); no expiry
//! ```
//!
//! * `?` turns [`WrongType`] into the client's error.
//! * [`EntryMut`] is [`Packed`]: the functions of [`listpack`](crate::values::listpack) and
//!   [`intset`](crate::values::intset) work on it. It is a [`Collection`], as is [`NewCollection`]: what a family writes for
//!   any `Collection` ([`crate::values::set`], say) serves the key that is there, the one that is new, and results on their
//!   way to a destination.
//! * Expiry and key stay as they are; the access clock is touched by `find_typed` (if told so) and `edit`.
//! * Nothing here counts into `dirty` save what is said by [`EntryMut::changed`] and `keyspace.dirty += n`. A handler that
//!   answers an error must not have changed it.
//! * For commands over shards nothing is to be done: values travel by themselves, and a handler sees one keyspace.

use super::sizes::SizeClass;
use super::{Entry, Expiry, Key, Keyspace, Removal};
use crate::command::{CommandError, Milliseconds};
use crate::journal::{EventClass, Journal};
use crate::values::page::due_second;
use crate::values::{Collection, Content, Form, NewCollection, Object, Packed, PackedEntry, Place, Type};
use std::ops::Range;

/// The key holds another type than the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

impl From<WrongType> for CommandError {
    #[cold]
    fn from(_: WrongType) -> Self {
        crate::commands::wrong_type()
    }
}

impl Keyspace {
    /// [`Keyspace::find`] for a command on one type.
    #[inline]
    pub fn find_typed(
        &mut self,
        database: usize,
        key: &Key<'_>,
        now: Milliseconds,
        access: super::Access,
        kind: Type,
    ) -> Result<Option<Entry<'_>>, WrongType> {
        typed(self.find(database, key, now, access), kind)
    }

    /// [`Keyspace::peek`] for a command on one type.
    #[inline]
    pub fn peek_typed(
        &self,
        database: usize,
        key: &Key<'_>,
        now: Milliseconds,
        kind: Type,
    ) -> Result<Option<Entry<'_>>, WrongType> {
        typed(self.peek(database, key, now), kind)
    }

    /// Looks a collection up to change it: an expired one is removed and absent, the access clock is touched.
    #[inline]
    pub fn edit(
        &mut self,
        database: usize,
        key: &Key<'_>,
        kind: Type,
        now: Milliseconds,
    ) -> Result<Option<EntryMut<'_>>, WrongType> {
        let Some(place) = self.live_place(database, key, now) else { return Ok(None) };
        let size = self.databases[database].settle_size_of(key.slot, place);
        self.before_change(database, key);
        let (page, index, _) = self.databases[database].at(key.slot, place);
        let entry = page.entry(index);
        if entry.value_type() != kind {
            return Err(WrongType);
        }
        let (before, size) = (entry.clock(), size.unwrap_or_else(|| SizeClass::of_entry(entry)));
        let clock = self.access_policy.touched(before, now, &mut self.random);
        if clock != before {
            page.set_clock(index, clock);
        }
        self.databases[database].note_changing(key.slot, place, size);
        Ok(Some(EntryMut { keyspace: self, database, slot: key.slot, place }))
    }

    /// Puts a collection without an expiry under a key, whatever was there.
    pub fn create(&mut self, database: usize, key: &Key<'_>, collection: &mut NewCollection, now: Milliseconds) {
        self.replace(database, key, collection.content(), now);
    }

    /// Puts a value without an expiry under a key, whatever was there.
    pub fn replace(&mut self, database: usize, key: &Key<'_>, content: Content<'_>, now: Milliseconds) {
        if self.wants_overwrites() {
            let kind = content.kind();
            return self.reporting_overwrite(database, key, kind, now, |keyspace| {
                keyspace.store_uncounted(database, key, content, Expiry::Clear, now);
            });
        }
        self.store_uncounted(database, key, content, Expiry::Clear, now);
    }

    /// Removes a key without counting it into `dirty`; false if it is absent or expired.
    pub fn remove_uncounted(&mut self, database: usize, key: &Key<'_>, now: Milliseconds) -> bool {
        let Some(place) = self.live_place(database, key, now) else { return false };
        self.remove_place(database, key.slot, place, Removal::Uncounted);
        true
    }
}

#[inline]
fn typed(entry: Option<Entry<'_>>, kind: Type) -> Result<Option<Entry<'_>>, WrongType> {
    match entry {
        Some(entry) if entry.kind() != kind => Err(WrongType),
        entry => Ok(entry),
    }
}

/// A collection in its table, to be changed where it stands.
pub struct EntryMut<'a> {
    keyspace: &'a mut Keyspace,
    database: usize,
    slot: u16,
    /// Good as long as this lives: nothing else changes the table meanwhile.
    place: Place,
}

impl<'a> EntryMut<'a> {
    /// A change has begun.
    #[inline]
    pub(super) fn new(keyspace: &'a mut Keyspace, database: usize, slot: u16, place: Place) -> Self {
        let target = &mut keyspace.databases[database];
        target.note_changing(slot, place, SizeClass::of_entry(target.entry_at(slot, place)));
        Self { keyspace, database, slot, place }
    }
}

impl EntryMut<'_> {
    #[inline]
    fn packed_entry(&self) -> PackedEntry<'_> {
        self.keyspace.databases[self.database].entry_at(self.slot, self.place)
    }

    /// What a reader sees.
    #[inline]
    pub fn view(&self) -> Entry<'_> {
        Entry::new(self.packed_entry(), self.keyspace.access_policy)
    }

    /// The bytes of a raw string for changes in place, if there are so many and nobody else holds them.
    #[inline]
    pub fn raw_string_mut(&mut self, length_min: usize) -> Option<&mut [u8]> {
        let (page, index, _) = self.keyspace.databases[self.database].at(self.slot, self.place);
        page.raw_string_mut(index, length_min)
    }

    fn set_content(&mut self, content: Content<'_>) {
        let (page, index, ledger) = self.keyspace.databases[self.database].at(self.slot, self.place);
        let leftover = page.rewrite_value(index, content, ledger);
        self.keyspace.garbage.discard(leftover);
    }

    /// Notes that a part of the value is due at a time: a field of a hash.
    pub fn note_due(&mut self, at: Milliseconds) {
        let database = &mut self.keyspace.databases[self.database];
        let (page, _, _) = database.at(self.slot, self.place);
        page.note_due(at);
        database.note_due(self.slot, due_second(at));
    }

    /// Where changes are reported.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.keyspace.journal
    }

    /// Reports a change in canonical form.
    #[inline]
    pub fn effect(&mut self, arguments: &[&[u8]]) {
        self.keyspace.journal.effect(self.database, arguments);
    }

    /// Reports an event.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        self.keyspace.journal.event(self.database, class, name, key);
    }

    /// Reports an event with the parts of the value that it is about.
    #[inline]
    pub fn event_of_parts<'p>(
        &mut self,
        class: EventClass,
        name: &'static str,
        key: &[u8],
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) {
        self.keyspace.journal.event_of_parts(self.database, class, name, key, parts);
    }

    /// Counts changes.
    #[inline]
    pub fn changed(&mut self, count: u64) {
        self.keyspace.dirty += count;
    }

    /// Removes the key, whose last element is gone. Not counted.
    pub fn remove(self) {
        self.keyspace.remove_place(self.database, self.slot, self.place, Removal::Uncounted);
    }
}

impl Collection for EntryMut<'_> {
    #[inline]
    fn form(&self) -> Form {
        self.packed_entry().form()
    }

    #[inline]
    fn object(&self) -> Option<&Object> {
        self.packed_entry().object()
    }

    /// Memory is accounted for.
    #[inline]
    fn change_object<R>(&mut self, change: impl FnOnce(&mut Object) -> R) -> Option<R> {
        let (page, index, ledger) = self.keyspace.databases[self.database].at(self.slot, self.place);
        page.change_object(index, ledger, change)
    }

    fn become_packed(&mut self, bytes: &[u8], form: Form) {
        self.set_content(Content::packed(bytes, form));
    }

    fn become_object(&mut self, object: Object) {
        self.set_content(Content::Object(Box::new(object)));
    }
}

impl Packed for EntryMut<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.packed_entry().packed_bytes().unwrap_or_default()
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (page, index, ledger) = self.keyspace.databases[self.database].at(self.slot, self.place);
        page.packed_bytes_mut(index, ledger).unwrap_or_default()
    }

    #[inline]
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let (page, index, ledger) = self.keyspace.databases[self.database].at(self.slot, self.place);
        page.splice(index, range, parts, ledger);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, KeyHasher};
    use super::*;
    use crate::values::{Encoded, INLINE_COLLECTION_BYTES_MAX, Listpack, listpack};
    use std::collections::BTreeMap;

    const NOW: Milliseconds = 1_000_000;

    fn elements(bytes: &[u8]) -> Vec<Vec<u8>> {
        Listpack::validate(bytes).expect("well formed").iter().map(|element| element.to_bytes().into_owned()).collect()
    }

    /// Adds to, changes and takes from one collection; the model's copy likewise.
    fn change(keyspace: &mut Keyspace, name: &[u8], model: &mut Vec<Vec<u8>>, random: &mut fastrand::Rng) {
        let key = Key::new(name, &keyspace.hasher().clone());
        let length_max = if random.u32(..8) == 0 { 300 } else { 20 };
        let text = vec![random.alphanumeric() as u8; random.usize(..length_max)];
        let entry = keyspace.edit(0, &key, Type::List, NOW).expect("a list");
        let Some(mut entry) = entry else {
            assert!(model.is_empty());
            model.push(text.clone());
            let bytes = listpack::build([crate::values::Element::of(&text)]);
            keyspace.create(0, &key, &mut NewCollection::packed(&bytes, Form::LIST), NOW);
            return;
        };
        assert_eq!((entry.form(), elements(entry.bytes())), (Form::LIST, model.clone()));
        let index = random.usize(..model.len());
        let at = Listpack::new(entry.bytes()).seek(index).expect("an element");
        match random.u32(..if model.len() > 30 { 12 } else { 6 }) {
            0 | 1 => {
                listpack::insert(&mut entry, at, &[Encoded::new(&text)]);
                model.insert(index, text);
            }
            2 => {
                listpack::append(&mut entry, &[Encoded::new(&text)]);
                model.push(text);
            }
            3 => {
                listpack::replace(&mut entry, at, &Encoded::new(&text));
                model[index] = text;
            }
            4 => {
                let same_length = vec![b'q'; model[index].len()];
                listpack::replace(&mut entry, at, &Encoded::new(&same_length));
                model[index] = same_length;
            }
            _ => {
                listpack::remove(&mut entry, at, 1);
                model.remove(index);
                if model.is_empty() {
                    entry.remove();
                }
            }
        }
    }

    #[test]
    fn packed_values_change_where_they_stand() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(3));
        let mut models: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let mut views = Vec::new();
        for step in 0..30_000 {
            let number = random.usize(..40);
            let name = format!("{}{number}", if number < 5 { "long".repeat(80) } else { String::new() }).into_bytes();
            let model = models.entry(name.clone()).or_default();
            change(&mut keyspace, &name, model, &mut random);
            let key = keyspace.key(&name);
            match random.u32(..20) {
                0 => {
                    let at = random.bool().then(|| NOW + random.i64(0..100));
                    assert_eq!(keyspace.set_expiry(0, &key, at, NOW), !model.is_empty());
                }
                1 if !model.is_empty() => {
                    let entry = keyspace.peek(0, &key, NOW).expect("present");
                    views.push((entry.to_owned(), model.clone()));
                }
                2 => {
                    // Out of its table, and back.
                    let entry = keyspace.take(0, &key, NOW);
                    assert_eq!(entry.is_some(), !model.is_empty());
                    if let Some(entry) = entry {
                        keyspace.put(0, &key, entry, NOW);
                    }
                }
                _ => {}
            }
            if step % 500 == 0 {
                keyspace.databases[0].audit(None);
                for (name, model) in &models {
                    let entry = keyspace.peek(0, &keyspace.key(name), NOW);
                    let bytes = entry.map_or(Vec::new(), |entry| elements(entry.packed_bytes().expect("packed")));
                    assert_eq!(bytes, *model);
                }
            }
        }
        for (entry, model) in views {
            let super::super::Value::Packed(blob, Form::LIST) = entry.value else { panic!("a packed list") };
            assert_eq!(elements(blob.as_slice()), model);
        }
    }

    #[test]
    fn types_are_told_apart() {
        let mut keyspace = Keyspace::new(1, KeyHasher::with_seed(3));
        let key = Key::new(b"key", &keyspace.hasher().clone());
        for length in [10, INLINE_COLLECTION_BYTES_MAX * 2] {
            let bytes = listpack::build([crate::values::Element::Text(&vec![b'x'; length])]);
            keyspace.replace(0, &key, Content::packed(&bytes, Form::HASH), NOW);
            assert!(keyspace.edit(0, &key, Type::Set, NOW).is_err());
            assert!(keyspace.find_typed(0, &key, NOW, Access::Touch, Type::List).is_err());
            let entry = keyspace.find(0, &key, NOW, Access::Touch).expect("present");
            assert!(entry.string().is_none());
            assert_eq!((entry.type_name(), entry.encoding_name()), ("hash", "listpack"));
            // A text written over it is a text, whatever block it comes to stand in.
            keyspace.set_string(0, &key, &vec![b'y'; length + 7], Expiry::Clear, NOW);
            let entry = keyspace.peek(0, &key, NOW).expect("present");
            assert_eq!(entry.string().map(|text| text.len()), Some(length + 7));
            assert!(keyspace.edit(0, &key, Type::Hash, NOW).is_err());
        }
    }
}
