//! A list in whichever of its forms: a listpack, or a tree of listpacks.
//!
//! ```text
//!   listpack ── would pass list-max-listpack-size with the elements to come ──> tree
//!            <── has shrunk to half of that ───────────────────────────────────
//! ```
//!
//! * `list-max-listpack-size`: -1 to -5 allow 4, 8, 16, 32, 64 KiB of listpack; a positive number allows as many elements,
//!   in 8 KiB at most. Whether elements still fit is reckoned by the lengths of their texts, as in the real server.
//! * The two limits are apart by half, so that a list which grows and shrinks by a few elements does not change its form
//!   each time.
//! * How a tree cuts its listpacks is its own affair ([`super::large`]): neither that directive nor `list-compress-depth`
//!   is about it.

use super::collection::Collection;
use super::large::{ListIter, ListIterBack, ListTree};
use super::listpack::{self, Element, Encoded, HEADER_BYTES, Listpack};
use super::{Encodings, Form, NewCollection, Object, StringRef};
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes of the listpack for each of the negative limits.
const SIZES_BYTES: [u64; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// Bytes of the listpack where elements are limited.
const COUNTED_BYTES_MAX: u64 = 8192;

/// What a listpack may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    entries: u64,
    bytes: u64,
}

impl Limit {
    /// The limit that the directive sets.
    fn of(limits: &Encodings) -> Self {
        match limits.list_listpack_size_max {
            size @ ..0 => {
                let row = (size.unsigned_abs() as usize).min(SIZES_BYTES.len()) - 1;
                Self { entries: u64::MAX, bytes: SIZES_BYTES[row] }
            }
            entries => Self { entries: entries.max(1) as u64, bytes: COUNTED_BYTES_MAX },
        }
    }

    /// The limit below which a tree becomes a listpack again.
    fn half(self) -> Self {
        Self { entries: self.entries / 2, bytes: self.bytes / 2 }
    }

    fn allows(self, entries: u64, bytes: u64) -> bool {
        entries <= self.entries && bytes <= self.bytes
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first element.
    Left,
    /// The last one.
    Right,
}

/// A list to read.
#[derive(Clone, Copy)]
pub enum ListRef<'a> {
    /// Small.
    Listpack(Listpack<'a>),
    /// Large.
    Tree(&'a ListTree),
}

impl<'a> ListRef<'a> {
    /// The list that an entry or a collection holds.
    #[inline]
    pub fn new(bytes: Option<&'a [u8]>, object: Option<&'a Object>) -> Self {
        match object {
            Some(Object::List(tree)) => Self::Tree(tree),
            _ => Self::Listpack(Listpack::new(bytes.unwrap_or(&listpack::EMPTY))),
        }
    }

    /// The list that a collection holds.
    #[inline]
    pub fn of(collection: &'a impl Collection) -> Self {
        match collection.object() {
            Some(Object::List(tree)) => Self::Tree(tree),
            _ => Self::new(Some(collection.bytes()), None),
        }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> u64 {
        match self {
            Self::Listpack(list) => list.len() as u64,
            Self::Tree(tree) => tree.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index that a client means, who counts from the end with negative numbers; `None` outside of the list.
    pub fn index(&self, index: i64) -> Option<u64> {
        let length = self.len();
        let index = if index < 0 { length.checked_sub(index.unsigned_abs())? } else { index as u64 };
        (index < length).then_some(index)
    }

    /// The indexes from one to another, both included, as clients mean them: what is outside of the list is left out.
    pub fn indexes(&self, first: i64, last: i64) -> Range<u64> {
        let length = self.len() as i64;
        let from_front = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
        let first = from_front(first).max(0);
        let end = from_front(last).saturating_add(1).min(length);
        if first < end { first as u64..end as u64 } else { 0..0 }
    }

    /// The element of an index.
    #[inline]
    pub fn get(&self, index: u64) -> Option<StringRef<'a>> {
        match self {
            Self::Listpack(list) => list.seek(index as usize).map(|at| list.get(at).into()),
            Self::Tree(tree) => tree.get(index).map(|element| element.as_string()),
        }
    }

    /// The indexes of up to `count` elements at an end.
    pub fn end(&self, end: End, count: u64) -> Range<u64> {
        let (length, count) = (self.len(), count.min(self.len()));
        if end == End::Left { 0..count } else { length - count..length }
    }

    /// All elements, beginning with that of an end.
    pub fn iter(&self, from: End) -> ListElements<'a> {
        self.range(0..self.len(), from)
    }

    /// The elements of some indexes, beginning with that of an end.
    pub fn range(&self, indexes: Range<u64>, from: End) -> ListElements<'a> {
        let end = indexes.end.min(self.len());
        let left = end.saturating_sub(indexes.start);
        let position = |list: Listpack<'_>, index: u64| list.seek(index as usize).unwrap_or(list.end());
        let walk = match (*self, from) {
            (Self::Listpack(list), End::Left) => Walk::Forward(list.iter_from(position(list, indexes.start))),
            (Self::Listpack(list), End::Right) => Walk::Backward(list, position(list, end)),
            (Self::Tree(tree), End::Left) => Walk::TreeForward(tree.iter_from(indexes.start)),
            (Self::Tree(tree), End::Right) => Walk::TreeBackward(tree.iter_back_from(end)),
        };
        ListElements { walk, left }
    }

    /// The indexes of elements that are equal to one, looking from an end.
    pub fn find(&self, wanted: Element<'a>, from: End) -> impl Iterator<Item = u64> + use<'a> {
        let last = self.len().saturating_sub(1);
        let matches = self.iter(from).enumerate().filter(move |(_, element)| equals(*element, wanted));
        matches.map(move |(number, _)| if from == End::Left { number as u64 } else { last - number as u64 })
    }
}

/// Whether a stored text is this one.
#[inline]
pub fn equals(stored: StringRef<'_>, wanted: Element<'_>) -> bool {
    match (stored, wanted) {
        (StringRef::Integer(value), Element::Integer(wanted)) => value == wanted,
        (StringRef::Bytes(text), Element::Text(wanted)) => text == wanted,
        (StringRef::Shared(blob), Element::Text(wanted)) => blob.as_slice() == wanted,
        // What could be a number is kept as one.
        _ => false,
    }
}

enum Walk<'a> {
    Forward(listpack::Iter<'a>),
    /// And the position behind the element that comes next.
    Backward(Listpack<'a>, usize),
    TreeForward(ListIter<'a>),
    TreeBackward(ListIterBack<'a>),
}

/// Elements of some indexes.
pub struct ListElements<'a> {
    walk: Walk<'a>,
    left: u64,
}

impl<'a> Iterator for ListElements<'a> {
    type Item = StringRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<StringRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Forward(elements) => elements.next().map(StringRef::from),
            Walk::Backward(list, at) => {
                *at = list.previous(*at);
                Some(list.get(*at).into())
            }
            Walk::TreeForward(elements) => elements.next().map(|element| element.as_string()),
            Walk::TreeBackward(elements) => elements.next().map(|element| element.as_string()),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for ListElements<'_> {}

/// A list without elements.
#[inline]
pub fn empty() -> NewCollection {
    NewCollection::packed(&listpack::EMPTY, Form::LIST)
}

/// Makes a listpack a tree if these elements do not fit in any more.
#[inline]
fn make_room<T: AsRef<[u8]>>(list: &mut impl Collection, texts: &[T], limits: &Encodings) {
    if list.object().is_some() {
        return;
    }
    let added_bytes: usize = texts.iter().map(|text| text.as_ref().len()).sum();
    let packed = Listpack::new(list.bytes());
    let entries = (packed.len() + texts.len()) as u64;
    if !Limit::of(limits).allows(entries, (list.bytes().len() + added_bytes) as u64) {
        become_tree(list);
    }
}

/// Makes a listpack a tree.
#[cold]
fn become_tree(list: &mut impl Collection) {
    let tree = ListTree::from_listpack(Listpack::new(list.bytes()));
    list.become_object(Object::List(tree));
}

/// Whether a tree may have become so small that it is to be a listpack.
#[inline]
fn may_shrink(tree: &ListTree, limits: &Encodings) -> bool {
    let half = Limit::of(limits).half();
    // The blocks of a tree take more than its elements do, but not by much.
    tree.bytes() as u64 <= half.bytes.saturating_mul(2) && tree.len() <= half.entries
}

/// Makes a tree a listpack if it has become so small.
#[inline]
pub fn shrink(list: &mut impl Collection, limits: &Encodings) {
    if let ListRef::Tree(tree) = ListRef::of(list)
        && may_shrink(tree, limits)
    {
        become_listpack(list, limits);
    }
}

#[cold]
fn become_listpack(list: &mut impl Collection, limits: &Encodings) {
    let ListRef::Tree(tree) = ListRef::of(list) else { return };
    let half = Limit::of(limits).half();
    let bytes = listpack::build(tree.iter().map(|element| element.as_string().into()));
    if half.allows(0, bytes.len() as u64) {
        list.become_packed(&bytes, Form::LIST);
    }
}

/// Changes a list that is a tree; nothing if it is not.
#[inline]
fn change_tree<R>(list: &mut impl Collection, change: impl FnOnce(&mut ListTree) -> R) -> Option<R> {
    list.change_object(|object| match object {
        Object::List(tree) => Some(change(tree)),
        _ => None,
    })?
}

/// Adds elements at an end, one after the other: at the left one, the last of them comes to be the first of the list. The length then.
#[inline]
pub fn push<T: AsRef<[u8]>>(list: &mut impl Collection, end: End, texts: &[T], limits: &Encodings) -> u64 {
    if let Some(length) = change_tree(list, |tree| push_to_tree(tree, end, texts)) {
        return length;
    }
    make_room(list, texts, limits);
    if let Some(length) = change_tree(list, |tree| push_to_tree(tree, end, texts)) {
        return length;
    }
    let mut elements: SmallVec<[Encoded<'_>; 4]> = texts.iter().map(|text| Encoded::new(text.as_ref())).collect();
    match end {
        End::Left => {
            elements.reverse();
            listpack::insert(list, HEADER_BYTES, &elements);
        }
        End::Right => listpack::append(list, &elements),
    }
    Listpack::new(list.bytes()).len() as u64
}

fn push_to_tree<T: AsRef<[u8]>>(tree: &mut ListTree, end: End, texts: &[T]) -> u64 {
    let texts = texts.iter().map(AsRef::as_ref);
    match end {
        End::Left => texts.for_each(|text| tree.push_front(text)),
        End::Right => texts.for_each(|text| tree.push_back(text)),
    }
    tree.len()
}

/// Puts an element in front of that of an index, or behind all.
pub fn insert(list: &mut impl Collection, index: u64, text: &[u8], limits: &Encodings) {
    make_room(list, &[text], limits);
    if change_tree(list, |tree| tree.insert(index, text)).is_some() {
        return;
    }
    let packed = Listpack::new(list.bytes());
    let at = packed.seek(index as usize).unwrap_or(packed.end());
    listpack::insert(list, at, &[Encoded::new(text)]);
}

/// Gives the element of an index, which must be in the list, another text.
pub fn set(list: &mut impl Collection, index: u64, text: &[u8], limits: &Encodings) {
    make_room(list, &[text], limits);
    if list.object().is_some() {
        change_tree(list, |tree| {
            tree.set(index, text);
        });
        shrink(list, limits);
    } else if let Some(at) = Listpack::new(list.bytes()).seek(index as usize) {
        listpack::replace(list, at, &Encoded::new(text));
    }
}

/// Removes the elements of some indexes.
#[inline]
pub fn remove(list: &mut impl Collection, indexes: Range<u64>, limits: &Encodings) {
    let count = indexes.end.saturating_sub(indexes.start);
    if count == 0 {
        return;
    }
    if change_tree(list, |tree| tree.remove(indexes.start, count)).is_some() {
        shrink(list, limits);
    } else if let Some(at) = Listpack::new(list.bytes()).seek(indexes.start as usize) {
        listpack::remove(list, at, count as usize);
    }
}

/// Removes one element at an end of a tree that has others, and shows it before: one way down. Nothing of that, and false, if it is
/// no tree, or the element its last.
#[inline]
pub fn pop_from_tree(
    list: &mut impl Collection,
    end: End,
    limits: &Encodings,
    show: impl FnOnce(StringRef<'_>),
) -> bool {
    let may_shrink = change_tree(list, |tree| {
        if tree.len() < 2 {
            return None;
        }
        match end {
            End::Left => tree.remove_front(show),
            End::Right => tree.remove_back(show),
        }
        Some(may_shrink(tree, limits))
    })
    .flatten();
    if may_shrink == Some(true) {
        become_listpack(list, limits);
    }
    may_shrink.is_some()
}

/// Keeps the elements of some indexes only.
pub fn keep(list: &mut impl Collection, indexes: Range<u64>, limits: &Encodings) {
    remove(list, indexes.end..ListRef::of(list).len(), limits);
    remove(list, 0..indexes.start, limits);
}

/// Removes the elements equal to a text, up to `count` of them, looking from an end; how many they were.
pub fn remove_equal(list: &mut impl Collection, text: &[u8], from: End, count: u64, limits: &Encodings) -> u64 {
    let view = ListRef::of(list);
    // Neighbours go together.
    let mut runs: SmallVec<[Range<u64>; 8]> = SmallVec::new();
    let mut removed = 0;
    for index in view.find(Element::of(text), from).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        removed += 1;
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            Some(run) if run.start == index + 1 => run.start = index,
            _ => runs.push(index..index + 1),
        }
    }
    if from == End::Right {
        runs.reverse();
    }
    match (&runs[..], view) {
        ([], _) => {}
        ([run], _) => remove(list, run.clone(), limits),
        (runs, ListRef::Tree(_)) => {
            change_tree(list, |tree| runs.iter().rev().for_each(|run| tree.remove(run.start, run.end - run.start)));
            shrink(list, limits);
        }
        (runs, ListRef::Listpack(packed)) => {
            // All are moved once, instead of once for each run.
            let mut runs = runs.iter().peekable();
            let kept = packed.iter().zip(0u64..).filter(|(_, index)| {
                while runs.next_if(|run| run.end <= *index).is_some() {}
                runs.peek().is_none_or(|run| *index < run.start)
            });
            let bytes = listpack::build(kept.map(|(element, _)| element));
            list.become_packed(&bytes, Form::LIST);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn limits_are_those_of_the_directive() {
        let limit = |size| Limit::of(&Encodings { list_listpack_size_max: size, ..Encodings::default() });
        for (size, entries, bytes) in [
            (-1, u64::MAX, 4096),
            (-2, u64::MAX, 8192),
            (-5, u64::MAX, 65_536),
            (-6, u64::MAX, 65_536),
            (i32::MIN, u64::MAX, 65_536),
            (0, 1, 8192),
            (1, 1, 8192),
            (i32::MAX, i32::MAX as u64, 8192),
        ] {
            assert_eq!(limit(size), Limit { entries, bytes }, "{size}");
        }
    }

    #[test]
    fn a_list_becomes_a_tree_and_a_listpack_again() {
        let limits = Encodings { list_listpack_size_max: 8, ..Encodings::default() };
        let mut list = empty();
        let is_tree = |list: &NewCollection| list.object().is_some();
        for number in 0..8 {
            push(&mut list, End::Right, &[number.to_string()], &limits);
            assert!(!is_tree(&list));
        }
        push(&mut list, End::Left, &["first"], &limits);
        assert!(is_tree(&list));
        remove(&mut list, 0..4, &limits);
        assert!(is_tree(&list) && ListRef::of(&list).len() == 5);
        remove(&mut list, 4..5, &limits);
        assert!(!is_tree(&list) && ListRef::of(&list).len() == 4);
        // By bytes: 8,192 of them, of which the element's text counts, not what stands around it.
        let limits = Encodings::default();
        let mut list = empty();
        push(&mut list, End::Right, &[vec![b'x'; 8185]], &limits);
        assert!(!is_tree(&list));
        let mut list = empty();
        push(&mut list, End::Right, &[vec![b'x'; 8186]], &limits);
        assert!(is_tree(&list));
        set(&mut list, 0, b"small", &limits);
        assert!(!is_tree(&list));
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Push(End, Vec<Vec<u8>>),
        Pop(End, u64),
        Insert(f64, Vec<u8>),
        Set(f64, Vec<u8>),
        Keep(i64, i64),
        RemoveEqual(Vec<u8>, End, u64),
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => (-9i64..200).prop_map(|number| number.to_string().into_bytes()),
            4 => proptest::collection::vec(b'a'..b'd', 0..3),
            2 => (60usize..140).prop_map(|length| vec![b'x'; length]),
            1 => prop_oneof![Just(1000usize), Just(1001), Just(4096), Just(9000)].prop_map(|length| vec![b'z'; length]),
        ]
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let end = || prop_oneof![Just(End::Left), Just(End::Right)];
        prop_oneof![
            6 => (end(), proptest::collection::vec(text(), 1..6)).prop_map(|(end, texts)| Operation::Push(end, texts)),
            3 => (end(), 0u64..5).prop_map(|(end, count)| Operation::Pop(end, count)),
            3 => (0.0..1.0, text()).prop_map(|(place, text)| Operation::Insert(place, text)),
            3 => (0.0..1.0, text()).prop_map(|(place, text)| Operation::Set(place, text)),
            1 => (-40i64..40, -40i64..40).prop_map(|(first, last)| Operation::Keep(first, last)),
            2 => (text(), end(), prop_oneof![0u64..4, Just(u64::MAX)])
                .prop_map(|(text, from, count)| Operation::RemoveEqual(text, from, count)),
        ]
    }

    fn apply_to_model(operation: &Operation, model: &mut VecDeque<Vec<u8>>, index: usize) -> u64 {
        match operation {
            Operation::Push(End::Left, texts) => texts.iter().for_each(|text| model.push_front(text.clone())),
            Operation::Push(End::Right, texts) => model.extend(texts.iter().cloned()),
            Operation::Pop(End::Left, count) => drop(model.drain(..(*count as usize).min(model.len()))),
            Operation::Pop(End::Right, count) => model.truncate(model.len().saturating_sub(*count as usize)),
            Operation::Insert(_, text) => model.insert(index, text.clone()),
            Operation::Set(_, text) => {
                if let Some(element) = model.get_mut(index) {
                    element.clone_from(text);
                }
            }
            Operation::Keep(first, last) => {
                let length = model.len() as i64;
                let from_front = |index: i64| if index < 0 { index + length } else { index };
                let mut index = 0;
                model.retain(|_| {
                    index += 1;
                    (from_front(*first)..=from_front(*last)).contains(&(index - 1))
                });
            }
            Operation::RemoveEqual(text, from, count) => {
                let before = model.len();
                for _ in 0..(*count).min(before as u64) {
                    let found = match from {
                        End::Left => model.iter().position(|element| element == text),
                        End::Right => model.iter().rposition(|element| element == text),
                    };
                    found.and_then(|index| model.remove(index));
                }
                return (before - model.len()) as u64;
            }
        }
        0
    }

    fn apply(operation: &Operation, list: &mut NewCollection, index: usize, limits: &Encodings) -> u64 {
        match operation {
            Operation::Push(end, texts) => {
                let length = push(list, *end, texts, limits);
                assert_eq!(length, ListRef::of(list).len());
            }
            Operation::Pop(end, count) => {
                let indexes = ListRef::of(list).end(*end, *count);
                remove(list, indexes, limits);
            }
            Operation::Insert(_, text) => insert(list, index as u64, text, limits),
            Operation::Set(_, text) => {
                if (index as u64) < ListRef::of(list).len() {
                    set(list, index as u64, text, limits);
                }
            }
            Operation::Keep(first, last) => {
                let indexes = ListRef::of(list).indexes(*first, *last);
                keep(list, indexes, limits);
            }
            Operation::RemoveEqual(text, from, count) => return remove_equal(list, text, *from, *count, limits),
        }
        0
    }

    fn texts<'a>(elements: impl Iterator<Item = StringRef<'a>>) -> Vec<Vec<u8>> {
        elements.map(|element| element.to_bytes().into_owned()).collect()
    }

    fn play(operations: &[Operation], limits: &Encodings) -> usize {
        let (mut list, mut model, mut changes) = (empty(), VecDeque::new(), 0);
        for operation in operations {
            let (Operation::Insert(place, _) | Operation::Set(place, _)) = operation else {
                let was_tree = list.object().is_some();
                let removed = apply(operation, &mut list, 0, limits);
                assert_eq!(removed, apply_to_model(operation, &mut model, 0));
                changes += usize::from(was_tree != list.object().is_some());
                check(&list, &model);
                continue;
            };
            let index = (place * (model.len() + 1) as f64) as usize;
            apply(operation, &mut list, index, limits);
            apply_to_model(operation, &mut model, index);
            check(&list, &model);
        }
        changes
    }

    fn check(list: &NewCollection, model: &VecDeque<Vec<u8>>) {
        let view = ListRef::of(list);
        let expected: Vec<Vec<u8>> = model.iter().cloned().collect();
        assert_eq!((view.len(), texts(view.iter(End::Left))), (expected.len() as u64, expected.clone()));
        let backward: Vec<Vec<u8>> = expected.iter().rev().cloned().collect();
        assert_eq!(texts(view.iter(End::Right)), backward);
        for (index, text) in expected.iter().enumerate() {
            assert_eq!(view.get(index as u64).map(|element| element.to_bytes().into_owned()).as_ref(), Some(text));
        }
        assert_eq!((view.index(-1), view.index(view.len() as i64)), (view.len().checked_sub(1), None));
        if let Some(text) = expected.get(expected.len() / 2) {
            let found: Vec<u64> = view.find(Element::of(text), End::Left).collect();
            let positions = expected.iter().zip(0u64..).filter(|(element, _)| *element == text);
            assert_eq!(found, positions.map(|(_, index)| index).collect::<Vec<_>>());
            let mut backward: Vec<u64> = view.find(Element::of(text), End::Right).collect();
            backward.reverse();
            assert_eq!(found, backward);
            let middle = view.indexes(1, -2);
            assert_eq!(
                texts(view.range(middle.clone(), End::Left)),
                expected[middle.start as usize..middle.end as usize]
            );
        }
        if let Some(Object::List(tree)) = list.object() {
            tree.audit();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_are_those_of_a_deque(
            operations in proptest::collection::vec(operation(), 1..80),
            size in prop_oneof![Just(-2i32), Just(-1), Just(5), Just(20), Just(1)],
        ) {
            play(&operations, &Encodings { list_listpack_size_max: size, ..Encodings::default() });
        }
    }

    #[test]
    fn the_form_changes_often_in_such_plays() {
        let limits = Encodings { list_listpack_size_max: 10, ..Encodings::default() };
        let operations: Vec<Operation> = (0..200)
            .map(|step| {
                let texts = vec![step.to_string().into_bytes(); 3];
                if step % 20 < 10 { Operation::Push(End::Left, texts) } else { Operation::Pop(End::Right, 3) }
            })
            .collect();
        assert!(play(&operations, &limits) >= 18);
    }
}
