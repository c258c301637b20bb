//! A set in whichever of its forms: an integer set, a listpack, or a tree.
//!
//! A set of integers is an integer set up to `set-max-intset-entries`, any other a listpack up to
//! `set-max-listpack-entries` members of at most `set-max-listpack-value` bytes; past that it is a tree. It never goes
//! back.

use super::collection::Collection;
use super::large::{HashIter, HashTree, MemberHasher};
use super::listpack::{self, Encoded};
use super::string::stored_integer;
use super::{Element, Encodings, Form, IntegerSet, Listpack, Object, StringRef, intset};

/// An integer set does not count further, whatever the directive says.
const INTEGER_SET_ENTRIES_MAX: u64 = 1 << 30;

/// A set to read.
#[derive(Clone, Copy)]
pub enum SetRef<'a> {
    /// Of integers.
    Integers(IntegerSet<'a>),
    /// Small.
    Listpack(Listpack<'a>),
    /// Large.
    Tree(&'a HashTree),
}

impl<'a> SetRef<'a> {
    /// The set that an entry or a collection holds.
    #[inline]
    pub fn new(form: Form, bytes: Option<&'a [u8]>, object: Option<&'a Object>) -> Self {
        match (object, bytes) {
            (Some(Object::Set(tree)), _) => Self::Tree(tree),
            (_, Some(bytes)) if form == Form::INTEGER_SET => Self::Integers(IntegerSet::new(bytes)),
            (_, Some(bytes)) => Self::Listpack(Listpack::new(bytes)),
            (_, None) => Self::Listpack(Listpack::new(&listpack::EMPTY)),
        }
    }

    /// The set that a collection holds.
    #[inline]
    pub fn of(collection: &'a impl Collection) -> Self {
        Self::new(collection.form(), Some(collection.bytes()), collection.object())
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(set) => set.len(),
            Self::Listpack(list) => list.len(),
            Self::Tree(tree) => tree.len() as usize,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a text is a member.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Self::Integers(set) => stored_integer(member).is_some_and(|value| set.contains(value)),
            Self::Listpack(list) => list.find(&Encoded::new(member)).is_some(),
            Self::Tree(tree) => tree.contains(member),
        }
    }

    /// Whether a member of another set is one of this.
    #[inline]
    pub fn contains_ref(&self, member: StringRef<'_>) -> bool {
        match (self, member) {
            (Self::Integers(set), StringRef::Integer(value)) => set.contains(value),
            (Self::Listpack(list), StringRef::Integer(value)) => list.find(&Encoded::integer(value)).is_some(),
            _ => member.with_bytes(|member| self.contains(member)),
        }
    }

    /// The member of that number; they are numbered from 0 on, until the next change.
    pub fn at(&self, index: usize) -> Option<StringRef<'a>> {
        match self {
            Self::Integers(set) => (index < set.len()).then(|| StringRef::Integer(set.get(index))),
            Self::Listpack(list) => list.seek(index).map(|at| list.get(at).into()),
            Self::Tree(tree) => tree.at(index as u64).map(|element| element.name()),
        }
    }

    /// All members.
    pub fn iter(&self) -> SetIter<'a> {
        self.iter_from(0)
    }

    /// The members from a number on (see [`SetRef::at`]).
    pub fn iter_from(&self, index: usize) -> SetIter<'a> {
        match *self {
            Self::Integers(set) => SetIter::Integers(set, index),
            Self::Listpack(list) => SetIter::Listpack(list.iter_from(list.seek(index).unwrap_or(list.end()))),
            Self::Tree(tree) => SetIter::Tree(tree.iter_from(index as u64)),
        }
    }
}

/// The members of a set.
pub enum SetIter<'a> {
    /// The set and the next rank.
    Integers(IntegerSet<'a>, usize),
    /// Of a small one.
    Listpack(listpack::Iter<'a>),
    /// Of a large one.
    Tree(HashIter<'a>),
}

impl<'a> Iterator for SetIter<'a> {
    type Item = StringRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<StringRef<'a>> {
        match self {
            Self::Integers(set, rank) => {
                *rank += 1;
                (*rank <= set.len()).then(|| StringRef::Integer(set.get(*rank - 1)))
            }
            Self::Listpack(elements) => elements.next().map(StringRef::from),
            Self::Tree(elements) => elements.next().map(|element| element.name()),
        }
    }
}

/// Packed bytes and form of an empty set whose first member is this one, of about so many to come; `None` if it is to be
/// a tree.
#[inline]
pub fn empty_form(first: Element<'_>, expected: usize, limits: &Encodings) -> Option<(&'static [u8], Form)> {
    let is_integer = first.as_integer().is_some();
    if is_integer && expected as u64 <= limits.set_intset_entries_max.min(INTEGER_SET_ENTRIES_MAX) {
        Some((&intset::EMPTY, Form::INTEGER_SET))
    } else if expected as u64 <= limits.set_listpack_entries_max {
        Some((&listpack::EMPTY, Form::SET))
    } else {
        None
    }
}

/// Adds a member; whether it is new.
#[inline]
pub fn add(set: &mut impl Collection, member: Element<'_>, limits: &Encodings, hasher: &MemberHasher) -> bool {
    if set.object().is_some() {
        return add_to_tree(set, member);
    }
    match (set.form(), member) {
        (Form::INTEGER_SET, Element::Integer(value)) => {
            let added = intset::insert(set, value);
            let entries_max = limits.set_intset_entries_max.min(INTEGER_SET_ENTRIES_MAX);
            if added && IntegerSet::new(set.bytes()).len() as u64 > entries_max {
                become_tree(set, hasher);
            }
            added
        }
        (Form::INTEGER_SET, Element::Text(text)) => {
            leave_integers(set, text, limits, hasher);
            true
        }
        _ => {
            let encoded = Encoded::of(member);
            let list = Listpack::new(set.bytes());
            if list.find_new(&encoded).is_some() {
                return false;
            }
            if fits(list.len(), member.text_len(), limits) && listpack::has_room(set.bytes(), encoded.len()) {
                listpack::append(set, &[encoded]);
            } else {
                become_tree(set, hasher);
                add_to_tree(set, member);
            }
            true
        }
    }
}

/// Whether a listpack of so many members takes one more of that length.
fn fits(members: usize, text_len: usize, limits: &Encodings) -> bool {
    (members as u64) < limits.set_listpack_entries_max && text_len as u64 <= limits.set_listpack_value_bytes_max
}

/// A set of integers gets a member that is none.
#[cold]
fn leave_integers(set: &mut impl Collection, text: &[u8], limits: &Encodings, hasher: &MemberHasher) {
    let integers = IntegerSet::new(set.bytes());
    let count = integers.len();
    let ends = [0, count.saturating_sub(1)].map(|rank| if count == 0 { 0 } else { integers.get(rank) });
    let longest = ends.map(|value| Element::Integer(value).text_len()).into_iter().max().unwrap_or(0);
    if fits(count, text.len().max(longest), limits) {
        let mut bytes = listpack::build(integers.iter().map(Element::Integer));
        listpack::append(&mut bytes, &[Encoded::new(text)]);
        set.become_packed(&bytes, Form::SET);
    } else {
        become_tree(set, hasher);
        add_to_tree(set, Element::Text(text));
    }
}

fn add_to_tree(set: &mut impl Collection, member: Element<'_>) -> bool {
    let mut scratch = itoa::Buffer::new();
    let text = member.as_bytes(&mut scratch);
    set.change_object(|object| if let Object::Set(tree) = object { tree.add(text) } else { false }).unwrap_or(false)
}

/// Makes a packed set a tree.
#[cold]
pub fn become_tree(set: &mut impl Collection, hasher: &MemberHasher) {
    let mut tree = HashTree::new(hasher.clone());
    for member in SetRef::of(set).iter() {
        member.with_bytes(|member| tree.add(member));
    }
    set.become_object(Object::Set(tree));
}

/// Removes a member; whether it was there.
#[inline]
pub fn remove(set: &mut impl Collection, member: &[u8]) -> bool {
    match SetRef::of(set) {
        SetRef::Tree(_) => set
            .change_object(|object| if let Object::Set(tree) = object { tree.remove(member) } else { false })
            .unwrap_or(false),
        SetRef::Integers(_) => stored_integer(member).is_some_and(|value| intset::remove(set, value)),
        SetRef::Listpack(list) => match list.find(&Encoded::new(member)) {
            Some(at) => {
                listpack::remove(set, at, 1);
                true
            }
            None => false,
        },
    }
}

/// Removes the member of a number (see [`SetRef::at`]).
pub fn remove_at(set: &mut impl Collection, index: usize) {
    match SetRef::of(set) {
        SetRef::Tree(_) => {
            set.change_object(|object| if let Object::Set(tree) = object { tree.take_at(index as u64) } else { None });
        }
        SetRef::Integers(_) => intset::remove_at(set, index),
        SetRef::Listpack(list) => {
            if let Some(at) = list.seek(index) {
                listpack::remove(set, at, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewCollection;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn forms_change_upward_and_members_stay() {
        let limits = Encodings {
            set_intset_entries_max: 20,
            set_listpack_entries_max: 10,
            set_listpack_value_bytes_max: 8,
            ..Encodings::default()
        };
        let hasher = MemberHasher::with_seed(1);
        let mut random = fastrand::Rng::with_seed(5);
        let mut seen = BTreeSet::new();
        for _ in 0..3000 {
            let integers_only = random.bool();
            let mut set = NewCollection::packed(&intset::EMPTY, Form::INTEGER_SET);
            let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
            for _ in 0..random.usize(..60) {
                let text = match random.u32(..10) {
                    0..6 => random.i64(-30..30).to_string().into_bytes(),
                    _ if integers_only => random.i64(..).to_string().into_bytes(),
                    6 => vec![b'x'; random.usize(..12)],
                    _ => vec![random.lowercase() as u8; 2],
                };
                if random.u32(..4) == 0 {
                    assert_eq!(remove(&mut set, &text), model.remove(&text));
                } else {
                    assert_eq!(add(&mut set, Element::of(&text), &limits, &hasher), model.insert(text));
                }
                if random.u32(..20) == 0 && !model.is_empty() {
                    let index = random.usize(..model.len());
                    let member = SetRef::of(&set).at(index).map(|member| member.to_bytes().into_owned());
                    remove_at(&mut set, index);
                    assert!(model.remove(&member.expect("a member")));
                }
            }
            let view = SetRef::of(&set);
            let members: BTreeSet<Vec<u8>> = view.iter().map(|member| member.to_bytes().into_owned()).collect();
            assert_eq!((members, view.len()), (model.clone(), model.len()));
            assert!(model.iter().all(|member| view.contains(member)) && !view.contains(b"none"));
            assert!(view.iter().all(|member| view.contains_ref(member)));
            seen.insert(match view {
                SetRef::Integers(_) => 0,
                SetRef::Listpack(_) => 1,
                SetRef::Tree(_) => 2,
            });
        }
        assert_eq!(seen.len(), 3);
    }
}
