//! A hash in whichever of its forms: a listpack of pairs, a listpack of triples once a field has had an expiry, or a tree.
//!
//! ```text
//!   pairs     field value field value ...                        up to `hash-max-listpack-entries` fields, texts of at
//!   triples   field value time field value time ...              most `hash-max-listpack-value` bytes
//!             those that expire first in front, those that never do (time 0) at the end
//!   tree      LargeHash: a HashTree, and the times in order
//! ```
//!
//! A field whose time is over is absent for every reader; it takes room until [`remove_due`] removes it. What is due first
//! is known at once in each form. It never goes back to a smaller form.

use super::collection::Collection;
use super::large::{HashIter, HashTree, MemberHasher};
use super::listpack::{self, Encoded, HEADER_BYTES};
use super::object::LargeHash;
use super::{Element, Encodings, Form, Listpack, Object, StringRef};
use std::ops::Range;

/// A field with what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: StringRef<'a>,
    /// Its value.
    pub value: StringRef<'a>,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

impl<'a> Field<'a> {
    /// An element of a tree.
    /// That of an element of a tree.
    pub fn of(element: super::large::Element<'a>) -> Self {
        let value = element.value.unwrap_or(StringRef::Bytes(&[]));
        Self { name: element.name(), value, expires_at: element.expires_at }
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| now > at)
    }
}

/// The fields of some ranks of a tree, but for those whose time is over.
pub fn fields_in(tree: &HashTree, ranks: Range<u64>, now: i64) -> impl Iterator<Item = Field<'_>> {
    let elements = tree.iter_from(ranks.start).take((ranks.end - ranks.start) as usize);
    elements.map(Field::of).filter(move |field| !field.is_expired(now))
}

/// What a write does to a field's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// Leaves it.
    Keep,
    /// Takes it away.
    Clear,
    /// Sets it.
    At(i64),
}

impl FieldExpiry {
    fn resolve(self, before: Option<i64>) -> Option<i64> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::At(at) => Some(at),
        }
    }
}

/// A hash to read.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    /// Small.
    Pairs(Listpack<'a>),
    /// Small, and fields may expire.
    Triples(Listpack<'a>),
    /// Large.
    Tree(&'a LargeHash),
}

/// The time in a triple; zero is none.
fn time_of(element: Element<'_>) -> Option<i64> {
    element.as_integer().filter(|at| *at != 0)
}

impl<'a> HashRef<'a> {
    /// The hash that an entry holds.
    #[inline]
    pub fn new(form: Form, bytes: Option<&'a [u8]>, object: Option<&'a Object>) -> Self {
        match (object, bytes) {
            (Some(Object::Hash(hash)), _) => Self::Tree(hash),
            (_, Some(bytes)) if form == Form::HASH => Self::Pairs(Listpack::new(bytes)),
            (_, Some(bytes)) => Self::Triples(Listpack::new(bytes)),
            (_, None) => Self::Pairs(Listpack::new(&listpack::EMPTY)),
        }
    }

    /// The hash that a collection holds.
    #[inline]
    pub fn of(collection: &'a impl Collection) -> Self {
        Self::new(collection.form(), Some(collection.bytes()), collection.object())
    }

    /// When the first of its fields expires.
    pub fn earliest(&self) -> Option<i64> {
        match self {
            Self::Pairs(_) => None,
            Self::Triples(list) => list.iter().nth(2).and_then(time_of),
            Self::Tree(hash) => hash.times.earliest(),
        }
    }

    /// Number of fields whose time is over.
    pub fn due_count(&self, now: i64) -> usize {
        if self.earliest().is_none_or(|at| now <= at) {
            return 0;
        }
        match self {
            Self::Tree(hash) => hash.times.due_count(now),
            _ => self.all().take_while(|field| field.is_expired(now)).count(),
        }
    }

    /// Number of fields, those whose time is over too.
    #[inline]
    pub fn len_with_due(&self) -> usize {
        match self {
            Self::Pairs(list) => list.len() / 2,
            Self::Triples(list) => list.len() / 3,
            Self::Tree(hash) => hash.tree.len() as usize,
        }
    }

    /// Number of fields.
    #[inline]
    pub fn len(&self, now: i64) -> usize {
        self.len_with_due() - self.due_count(now)
    }

    /// A field.
    #[inline]
    pub fn get(&self, name: &'a [u8], now: i64) -> Option<Field<'a>> {
        let field = match self {
            Self::Pairs(list) => {
                let at = list.find_from(HEADER_BYTES, &Encoded::new(name), 2)?;
                let value = list.get(list.next(at)).into();
                return Some(Field { name: StringRef::Bytes(name), value, expires_at: None });
            }
            Self::Triples(list) => {
                let at = list.find_from(HEADER_BYTES, &Encoded::new(name), 3)?;
                let mut behind = list.iter_from(list.next(at));
                let value = behind.next()?.into();
                Field { name: StringRef::Bytes(name), value, expires_at: behind.next().and_then(time_of) }
            }
            Self::Tree(hash) => {
                let element = hash.tree.get(name)?;
                let value = element.value.unwrap_or(StringRef::Bytes(&[]));
                Field { name: StringRef::Bytes(name), value, expires_at: element.expires_at }
            }
        };
        (!field.is_expired(now)).then_some(field)
    }

    /// The fields from a number on, those whose time is over too.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let seek = |list: Listpack<'a>, index| list.iter_from(list.seek(index).unwrap_or(list.end()));
        match *self {
            Self::Pairs(list) => Fields::Pairs(seek(list, index * 2)),
            Self::Triples(list) => Fields::Triples(seek(list, index * 3)),
            Self::Tree(hash) => Fields::Tree(hash.tree.iter_from(index as u64)),
        }
    }

    /// All fields, those whose time is over too.
    #[inline]
    fn all(&self) -> Fields<'a> {
        match *self {
            Self::Pairs(list) => Fields::Pairs(list.iter()),
            Self::Triples(list) => Fields::Triples(list.iter()),
            Self::Tree(hash) => Fields::Tree(hash.tree.iter()),
        }
    }

    /// All fields.
    #[inline]
    pub fn iter(&self, now: i64) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.all().filter(move |field| !field.is_expired(now))
    }

    /// Visits about `count` fields from a cursor on (see [`HashTree::scan`](super::large::HashTree::scan)); all of a small
    /// hash. Returns the cursor to go on with.
    pub fn scan(&self, cursor: u64, count: usize, now: i64, mut visit: impl FnMut(Field<'a>)) -> u64 {
        let Self::Tree(hash) = self else {
            self.iter(now).for_each(visit);
            return 0;
        };
        hash.tree.scan(cursor, count, |element| {
            let value = element.value.unwrap_or(StringRef::Bytes(&[]));
            let field = Field { name: element.name(), value, expires_at: element.expires_at };
            if !field.is_expired(now) {
                visit(field);
            }
        })
    }

    /// The field of that number among all, those whose time is over too; `None` for one of these, and past the end.
    pub fn at(&self, index: usize, now: i64) -> Option<Field<'a>> {
        let field = match self {
            Self::Pairs(list) => Fields::Pairs(list.iter_from(list.seek(index * 2)?)).next()?,
            Self::Triples(list) => Fields::Triples(list.iter_from(list.seek(index * 3)?)).next()?,
            Self::Tree(hash) => Fields::Tree(hash.tree.iter_from(index as u64)).next()?,
        };
        (!field.is_expired(now)).then_some(field)
    }
}

enum Fields<'a> {
    Pairs(listpack::Iter<'a>),
    Triples(listpack::Iter<'a>),
    Tree(HashIter<'a>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Self::Pairs(elements) => {
                let (name, value) = (elements.next()?.into(), elements.next()?.into());
                Some(Field { name, value, expires_at: None })
            }
            Self::Triples(elements) => {
                let (name, value) = (elements.next()?.into(), elements.next()?.into());
                Some(Field { name, value, expires_at: elements.next().and_then(time_of) })
            }
            Self::Tree(elements) => elements.next().map(Field::of),
        }
    }
}

/// Sets a field; whether it is new. Fields that are due have been removed before.
#[inline]
pub fn set(
    hash: &mut impl Collection,
    name: &[u8],
    value: &[u8],
    expiry: FieldExpiry,
    limits: &Encodings,
    hasher: &MemberHasher,
) -> bool {
    if hash.object().is_none() {
        let longest = name.len().max(value.len()) as u64;
        let has_room = listpack::has_room(hash.bytes(), name.len() + value.len());
        if longest > limits.hash_listpack_value_bytes_max || !has_room {
            become_tree(hash, hasher);
        } else if hash.form() == Form::HASH && !matches!(expiry, FieldExpiry::At(_)) {
            return set_pair(hash, name, value, limits, hasher);
        } else {
            become_triples(hash);
            return set_triple(hash, name, value, expiry, limits, hasher);
        }
    }
    set_in_tree(hash, name, value, expiry)
}

fn set_pair(hash: &mut impl Collection, name: &[u8], value: &[u8], limits: &Encodings, hasher: &MemberHasher) -> bool {
    let field = Encoded::new(name);
    let list = Listpack::new(hash.bytes());
    if let Some(at) = list.find_from(HEADER_BYTES, &field, 2) {
        let value_at = list.next(at);
        listpack::replace(hash, value_at, &Encoded::new(value));
        return false;
    }
    if (list.len() / 2) as u64 >= limits.hash_listpack_entries_max {
        become_tree(hash, hasher);
        return set_in_tree(hash, name, value, FieldExpiry::Clear);
    }
    listpack::append(hash, &[field, Encoded::new(value)]);
    true
}

fn set_triple(
    hash: &mut impl Collection,
    name: &[u8],
    value: &[u8],
    expiry: FieldExpiry,
    limits: &Encodings,
    hasher: &MemberHasher,
) -> bool {
    let list = Listpack::new(hash.bytes());
    let found = list.find_from(HEADER_BYTES, &Encoded::new(name), 3);
    if let Some(at) = found {
        let value_at = list.next(at);
        let before = time_of(list.get(list.next(value_at)));
        let after = expiry.resolve(before);
        if before == after {
            listpack::replace(hash, value_at, &Encoded::new(value));
        } else {
            listpack::remove(hash, at, 3);
            insert_triple(hash, name, value, after);
        }
    } else if (list.len() / 3) as u64 >= limits.hash_listpack_entries_max {
        become_tree(hash, hasher);
        return set_in_tree(hash, name, value, expiry);
    } else {
        insert_triple(hash, name, value, expiry.resolve(None));
    }
    found.is_none()
}

/// Puts a triple where it belongs by its time.
fn insert_triple(hash: &mut impl Collection, name: &[u8], value: &[u8], expires_at: Option<i64>) {
    let list = Listpack::new(hash.bytes());
    let mut at = list.end();
    if let Some(time) = expires_at {
        let mut next = HEADER_BYTES;
        while next < list.end() {
            let time_at = list.next(list.next(next));
            if time_of(list.get(time_at)).is_none_or(|other| other > time) {
                at = next;
                break;
            }
            next = list.next(time_at);
        }
    }
    let time = Encoded::integer(expires_at.unwrap_or(0));
    listpack::insert(hash, at, &[Encoded::new(name), Encoded::new(value), time]);
}

fn change_tree<R>(hash: &mut impl Collection, change: impl FnOnce(&mut LargeHash) -> R) -> Option<R> {
    hash.change_object(|object| if let Object::Hash(hash) = object { Some(change(hash)) } else { None }).flatten()
}

fn set_in_tree(hash: &mut impl Collection, name: &[u8], value: &[u8], expiry: FieldExpiry) -> bool {
    change_tree(hash, |hash| {
        if hash.times.is_empty() && !matches!(expiry, FieldExpiry::At(_)) {
            return hash.tree.set(name, value, None);
        }
        let before = hash.tree.get(name).and_then(|element| element.expires_at);
        let after = expiry.resolve(before);
        hash.times.change(name, before, after);
        hash.tree.set(name, value, after)
    })
    .unwrap_or(false)
}

/// Gives a field of a large hash the value that `change` makes of its old one, and leaves its expiry; none if the hash is
/// small. Fields that are due have been removed before.
#[inline]
pub fn update<V: AsRef<[u8]>, E>(
    hash: &mut impl Collection,
    name: &[u8],
    change: impl FnOnce(Option<StringRef<'_>>) -> Result<V, E>,
) -> Option<Result<(), E>> {
    hash.object()?;
    change_tree(hash, |hash| hash.tree.update(name, change))
}

/// Gives a field an expiry or takes it away; the field is there.
pub fn set_expiry(hash: &mut impl Collection, name: &[u8], expires_at: Option<i64>) {
    if hash.object().is_some() {
        change_tree(hash, |hash| {
            let before = hash.tree.get(name).and_then(|element| element.expires_at);
            hash.times.change(name, before, expires_at);
            hash.tree.set_expiry(name, expires_at);
        });
        return;
    }
    if expires_at.is_some() {
        become_triples(hash);
    }
    let list = Listpack::new(hash.bytes());
    let found =
        (hash.form() == Form::HASH_WITH_TIMES).then(|| list.find_from(HEADER_BYTES, &Encoded::new(name), 3)).flatten();
    if let Some(at) = found {
        let value = list.get(list.next(at)).to_bytes().into_owned();
        listpack::remove(hash, at, 3);
        insert_triple(hash, name, &value, expires_at);
    }
}

/// Removes a field; whether it was there.
#[inline]
pub fn remove(hash: &mut impl Collection, name: &[u8]) -> bool {
    let width = match HashRef::of(hash) {
        HashRef::Pairs(_) => 2,
        HashRef::Triples(_) => 3,
        HashRef::Tree(_) => {
            return change_tree(hash, |hash| match hash.tree.take(name) {
                Some(taken) => {
                    hash.times.change(name, taken.expires_at, None);
                    true
                }
                None => false,
            })
            .unwrap_or(false);
        }
    };
    let Some(at) = Listpack::new(hash.bytes()).find_from(HEADER_BYTES, &Encoded::new(name), width) else {
        return false;
    };
    listpack::remove(hash, at, width);
    true
}

/// Removes up to `max` fields whose time is over and hands their names over; returns how many.
pub fn remove_due(hash: &mut impl Collection, now: i64, max: usize, mut removed: impl FnMut(&[u8])) -> usize {
    let mut count = 0;
    while count < max && HashRef::of(hash).earliest().is_some_and(|at| now > at) {
        let name: Vec<u8> = match HashRef::of(hash) {
            HashRef::Tree(hash) => hash.times.first_due(now).unwrap_or_default().to_vec(),
            small => small.all().next().map(|field| field.name.to_bytes().into_owned()).unwrap_or_default(),
        };
        if !remove(hash, &name) {
            break;
        }
        removed(&name);
        count += 1;
    }
    count
}

/// Makes pairs triples; leaves other forms alone.
fn become_triples(hash: &mut impl Collection) {
    if hash.form() != Form::HASH || hash.object().is_some() {
        return;
    }
    let pairs = Listpack::new(hash.bytes()).pairs();
    let bytes = listpack::build(pairs.flat_map(|(name, value)| [name, value, Element::Integer(0)]));
    hash.become_packed(&bytes, Form::HASH_WITH_TIMES);
}

/// Makes a packed hash a tree.
#[cold]
fn become_tree(hash: &mut impl Collection, hasher: &MemberHasher) {
    let mut large = LargeHash::new(hasher.clone());
    for field in HashRef::of(hash).all() {
        field.name.with_bytes(|name| {
            field.value.with_bytes(|value| large.tree.set(name, value, field.expires_at));
            large.times.change(name, None, field.expires_at);
        });
    }
    hash.become_object(Object::Hash(large));
}

#[cfg(test)]
mod tests {
    use super::super::NewCollection;
    use super::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn fields(hash: &NewCollection, now: i64) -> Model {
        let view = HashRef::of(hash);
        let fields: Model = view
            .iter(now)
            .map(|field| (field.name.to_bytes().into_owned(), (field.value.to_bytes().into_owned(), field.expires_at)))
            .collect();
        assert_eq!(fields.len(), view.len(now));
        fields
    }

    #[test]
    fn forms_change_upward_and_fields_stay() {
        let limits =
            Encodings { hash_listpack_entries_max: 12, hash_listpack_value_bytes_max: 10, ..Encodings::default() };
        let hasher = MemberHasher::with_seed(1);
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..2000 {
            let mut hash = NewCollection::packed(&listpack::EMPTY, Form::HASH);
            let (mut model, mut now) = (Model::new(), 1000);
            for _ in 0..random.usize(..60) {
                let name = random.i64(..if round % 2 == 0 { 10 } else { 30 }).to_string().into_bytes();
                let length_max = if random.u32(..30) == 0 { 30 } else { 8 };
                let value = vec![b'v'; random.usize(..length_max)];
                let at = now + random.i64(0..100);
                match random.u32(..if round % 3 == 0 { 5 } else { 12 }) {
                    0..3 => {
                        let is_new = set(&mut hash, &name, &value, FieldExpiry::Clear, &limits, &hasher);
                        assert_eq!(is_new, model.insert(name, (value, None)).is_none());
                    }
                    3 => {
                        let before = model.get(&name).and_then(|(_, at)| *at);
                        set(&mut hash, &name, &value, FieldExpiry::Keep, &limits, &hasher);
                        model.insert(name, (value, before));
                    }
                    4 => assert_eq!(remove(&mut hash, &name), model.remove(&name).is_some()),
                    5 => {
                        set(&mut hash, &name, &value, FieldExpiry::At(at), &limits, &hasher);
                        model.insert(name, (value, Some(at)));
                    }
                    6 | 7 => {
                        if let Some((_, time)) = model.get_mut(&name) {
                            *time = random.bool().then_some(at);
                            set_expiry(&mut hash, &name, *time);
                        }
                    }
                    _ => {
                        now += random.i64(0..30);
                        model.retain(|_, (_, at)| at.is_none_or(|at| now <= at));
                        assert_eq!(fields(&hash, now), model);
                        remove_due(&mut hash, now, usize::MAX, |_| ());
                        assert_eq!(HashRef::of(&hash).len_with_due(), model.len());
                    }
                }
                let earliest = model.values().filter_map(|(_, at)| *at).min();
                assert_eq!(HashRef::of(&hash).earliest(), earliest);
                for name in [b"0", b"5"] {
                    let found = HashRef::of(&hash).get(name, now).map(|field| field.value.to_bytes().into_owned());
                    assert_eq!(found, model.get(&name[..]).map(|(value, _)| value.clone()));
                }
            }
            assert_eq!(fields(&hash, now), model);
        }
    }
}
