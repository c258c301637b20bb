//! A sorted set in whichever of its forms: a listpack, or a tree.
//!
//! ```text
//!   listpack   member, score, member, score ...     in the order of score, then member
//!   tree       SortedTree, past `zset-max-listpack-entries` members or a member over `zset-max-listpack-value` bytes
//! ```
//!
//! * What is asked by score, by name or by rank is a range of ranks first ([`SortedSetRef::rank_of_score`],
//!   [`SortedSetRef::rank_of_member`]); reading and removing know ranks only.
//! * A score in a listpack is an integer where it is one of at most 62 bits, so that minus zero becomes zero there, as in
//!   the real server; any other is the shortest text that reads back as the same number.
//! * A changed member never makes a tree a listpack; only a whole result is packed anew ([`from_ordered`]).

use super::collection::Collection;
use super::large::{MemberHasher, Scored, SortedIter, SortedIterBack, SortedTree};
use super::listpack::{self, Encoded, HEADER_BYTES};
use super::{Element, Encodings, Form, Listpack, NewCollection, Object, StringRef};
use std::cmp::Ordering;
use std::io::Write as _;
use std::ops::Range;

/// Whole scores below this are packed as integers.
const INTEGER_SCORE_MAX: f64 = (1i64 << 62) as f64;

/// The longest text of a packed score, in bytes.
const SCORE_TEXT_BYTES_MAX: usize = 32;

/// A score as a listpack keeps it.
struct PackedScore {
    text: [u8; SCORE_TEXT_BYTES_MAX],
    length: usize,
    integer: Option<i64>,
}

impl PackedScore {
    fn new(score: f64) -> Self {
        let (mut text, mut length, mut integer) = ([0; SCORE_TEXT_BYTES_MAX], 0, None);
        if score.trunc() == score && score.abs() < INTEGER_SCORE_MAX {
            integer = Some(score as i64);
        } else {
            let mut rest = &mut text[..];
            // The plain form is short only where the number is neither large nor small.
            let written = if score.is_infinite() || (1e-5..1e17).contains(&score.abs()) {
                write!(rest, "{score}")
            } else {
                write!(rest, "{score:e}")
            };
            debug_assert!(written.is_ok());
            let left = rest.len();
            length = SCORE_TEXT_BYTES_MAX - left;
        }
        Self { text, length, integer }
    }

    fn encoded(&self) -> Encoded<'_> {
        self.integer.map_or_else(|| Encoded::new(&self.text[..self.length]), Encoded::integer)
    }
}

fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(value) => value as f64,
        Element::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0),
    }
}

fn compare_member(element: Element<'_>, member: &[u8]) -> Ordering {
    element.as_bytes(&mut itoa::Buffer::new()).cmp(member)
}

/// Whether a packed element is before a score and a member.
fn is_before(element: (Element<'_>, Element<'_>), score: f64, member: &[u8]) -> bool {
    let own = score_of(element.1);
    own < score || own == score && compare_member(element.0, member) == Ordering::Less
}

/// Where a member is in a listpack.
fn find(list: Listpack<'_>, member: &[u8]) -> Option<usize> {
    list.find_from(HEADER_BYTES, &Encoded::new(member), 2)
}

/// A sorted set to read.
#[derive(Clone, Copy)]
pub enum SortedSetRef<'a> {
    /// Small.
    Listpack(Listpack<'a>),
    /// Large.
    Tree(&'a SortedTree),
}

impl<'a> SortedSetRef<'a> {
    /// The sorted set that an entry or a collection holds.
    #[inline]
    pub fn new(bytes: Option<&'a [u8]>, object: Option<&'a Object>) -> Self {
        match object {
            Some(Object::SortedSet(tree)) => Self::Tree(tree),
            _ => Self::Listpack(Listpack::new(bytes.unwrap_or(&listpack::EMPTY))),
        }
    }

    /// The sorted set that a collection holds.
    #[inline]
    pub fn of(collection: &'a impl Collection) -> Self {
        Self::new(Some(collection.bytes()), collection.object())
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> u64 {
        match self {
            Self::Listpack(list) => list.len() as u64 / 2,
            Self::Tree(tree) => tree.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Listpack(list) => find(*list, member).map(|at| score_of(list.get(list.next(at)))),
            Self::Tree(tree) => tree.score(member),
        }
    }

    /// The rank of a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        match self {
            Self::Listpack(list) => {
                let wanted = find(*list, member)?;
                let (mut at, mut rank) = (HEADER_BYTES, 0);
                while at < wanted {
                    at = list.next(list.next(at));
                    rank += 1;
                }
                Some((rank, score_of(list.get(list.next(at)))))
            }
            Self::Tree(tree) => tree.rank(member),
        }
    }

    /// The member of a rank.
    pub fn at(&self, rank: u64) -> Option<Scored<'a>> {
        self.range(rank..rank + 1, false).next()
    }

    /// How many members have a score below this one, or not above it.
    pub fn rank_of_score(&self, score: f64, or_equal: bool) -> u64 {
        match self {
            Self::Listpack(list) => {
                let is_in_front = |own: f64| own < score || or_equal && own == score;
                list.pairs().take_while(|(_, own)| is_in_front(score_of(*own))).count() as u64
            }
            Self::Tree(tree) => tree.rank_of_score(score, or_equal),
        }
    }

    /// How many members are in front of this one, or not behind it, in a set whose members have all the same score.
    pub fn rank_of_member(&self, member: &[u8], or_equal: bool) -> u64 {
        match self {
            Self::Listpack(list) => {
                let is_in_front = |own| match compare_member(own, member) {
                    Ordering::Less => true,
                    Ordering::Equal => or_equal,
                    Ordering::Greater => false,
                };
                list.pairs().take_while(|(own, _)| is_in_front(*own)).count() as u64
            }
            Self::Tree(tree) => tree.rank_of_member(member, or_equal),
        }
    }

    /// All members, upwards.
    pub fn iter(&self) -> SortedSetIter<'a> {
        self.range(0..self.len(), false)
    }

    /// The members of some ranks, upwards or, if so told, from the last of these ranks downwards.
    pub fn range(&self, ranks: Range<u64>, downward: bool) -> SortedSetIter<'a> {
        let end = ranks.end.min(self.len());
        let left = end.saturating_sub(ranks.start);
        let position = |list: Listpack<'_>, rank: u64| list.seek(rank as usize * 2).unwrap_or(list.end());
        let walk = match (*self, downward) {
            (Self::Listpack(list), false) => Walk::Up(list.iter_from(position(list, ranks.start))),
            (Self::Listpack(list), true) => Walk::Down(list, position(list, end)),
            (Self::Tree(tree), false) => Walk::TreeUp(tree.iter_from(ranks.start)),
            (Self::Tree(tree), true) => Walk::TreeDown(tree.iter_back_from(end)),
        };
        SortedSetIter { walk, left }
    }
}

enum Walk<'a> {
    Up(listpack::Iter<'a>),
    /// And the position behind the member that comes next.
    Down(Listpack<'a>, usize),
    TreeUp(SortedIter<'a>),
    TreeDown(SortedIterBack<'a>),
}

/// Members and scores of some ranks.
pub struct SortedSetIter<'a> {
    walk: Walk<'a>,
    left: u64,
}

impl<'a> Iterator for SortedSetIter<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Up(elements) => {
                let member = elements.next()?;
                Some(Scored { score: score_of(elements.next()?), member: member.into() })
            }
            Walk::Down(list, at) => {
                let score_at = list.previous(*at);
                *at = list.previous(score_at);
                Some(Scored { score: score_of(list.get(score_at)), member: list.get(*at).into() })
            }
            Walk::TreeUp(members) => members.next(),
            Walk::TreeDown(members) => members.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for SortedSetIter<'_> {}

/// A sorted set without members.
pub fn empty() -> NewCollection {
    NewCollection::packed(&listpack::EMPTY, Form::SORTED_SET)
}

/// A sorted set of members that are in order and different: packed, if they fit.
pub fn from_ordered(members: &[(f64, impl AsRef<[u8]>)], limits: &Encodings, hasher: &MemberHasher) -> NewCollection {
    let longest = members.iter().map(|(_, member)| member.as_ref().len()).max().unwrap_or(0);
    let mut set = empty();
    if fits(members.len().saturating_sub(1), longest, limits) {
        for (score, member) in members {
            let score = PackedScore::new(*score);
            listpack::append(&mut set, &[Encoded::new(member.as_ref()), score.encoded()]);
        }
        return set;
    }
    let mut tree = SortedTree::new(hasher.clone());
    for (score, member) in members {
        tree.insert(member.as_ref(), *score);
    }
    NewCollection::object(Object::SortedSet(tree))
}

/// What has been made in slices, packed if it fits.
pub fn made(set: SortedTree, limits: &Encodings, hasher: &MemberHasher) -> NewCollection {
    let all = SortedSetRef::Tree(&set);
    if all.len() > limits.sorted_set_listpack_entries_max {
        return NewCollection::object(Object::SortedSet(set));
    }
    let members: Vec<_> = all.iter().map(|scored| (scored.score, scored.member.to_bytes())).collect();
    from_ordered(&members, limits, hasher)
}

/// Whether a listpack of so many members takes one more of that length.
fn fits(members: usize, text_len: usize, limits: &Encodings) -> bool {
    (members as u64) < limits.sorted_set_listpack_entries_max
        && text_len as u64 <= limits.sorted_set_listpack_value_bytes_max
}

/// Sets the score of a member, which must not be NaN; the old one.
#[inline]
pub fn insert(
    set: &mut impl Collection,
    member: &[u8],
    score: f64,
    limits: &Encodings,
    hasher: &MemberHasher,
) -> Option<f64> {
    if set.object().is_some() {
        return insert_into_tree(set, member, score);
    }
    let list = Listpack::new(set.bytes());
    if let Some(at) = find(list, member) {
        let old = score_of(list.get(list.next(at)));
        if old != score {
            move_packed(set, at, member, score);
        }
        return Some(old);
    }
    let (name, packed_score) = (Encoded::new(member), PackedScore::new(score));
    let encoded_score = packed_score.encoded();
    let room = name.len() + encoded_score.len();
    if fits(list.len() / 2, member.len(), limits) && listpack::has_room(set.bytes(), room) {
        let at = place_of(list, score, member);
        listpack::insert(set, at, &[name, encoded_score]);
        None
    } else {
        become_tree(set, hasher);
        insert_into_tree(set, member, score)
    }
}

/// Where a member that is not there belongs in a listpack.
fn place_of(list: Listpack<'_>, score: f64, member: &[u8]) -> usize {
    let (mut at, end) = (HEADER_BYTES, list.end());
    while at < end {
        let score_at = list.next(at);
        if !is_before((list.get(at), list.get(score_at)), score, member) {
            break;
        }
        at = list.next(score_at);
    }
    at
}

/// Gives the member at a position another score.
fn move_packed(set: &mut impl Collection, at: usize, member: &[u8], score: f64) {
    let list = Listpack::new(set.bytes());
    let packed_score = PackedScore::new(score);
    let score_at = list.next(at);
    let behind = list.next(score_at);
    let stays_behind = at == HEADER_BYTES || {
        let before = list.previous(at);
        is_before((list.get(list.previous(before)), list.get(before)), score, member)
    };
    let stays_in_front =
        behind == list.end() || !is_before((list.get(behind), list.get(list.next(behind))), score, member);
    if stays_behind && stays_in_front {
        return listpack::replace(set, score_at, &packed_score.encoded());
    }
    listpack::remove(set, at, 2);
    let at = place_of(Listpack::new(set.bytes()), score, member);
    listpack::insert(set, at, &[Encoded::new(member), packed_score.encoded()]);
}

fn insert_into_tree(set: &mut impl Collection, member: &[u8], score: f64) -> Option<f64> {
    let change = |object: &mut Object| {
        let Object::SortedSet(tree) = object else { return None };
        // Zero is not overwritten with minus zero, which equals it.
        if score == 0.0
            && let Some(old) = tree.score(member).filter(|old| *old == score)
        {
            return Some(old);
        }
        tree.insert(member, score)
    };
    set.change_object(change).flatten()
}

/// Makes a packed sorted set a tree.
#[cold]
fn become_tree(set: &mut impl Collection, hasher: &MemberHasher) {
    let mut tree = SortedTree::new(hasher.clone());
    for Scored { score, member } in SortedSetRef::of(set).iter() {
        member.with_bytes(|member| tree.insert(member, score));
    }
    set.become_object(Object::SortedSet(tree));
}

/// Removes a member; its score.
#[inline]
pub fn remove(set: &mut impl Collection, member: &[u8]) -> Option<f64> {
    match SortedSetRef::of(set) {
        SortedSetRef::Listpack(list) => {
            let at = find(list, member)?;
            let score = score_of(list.get(list.next(at)));
            listpack::remove(set, at, 2);
            Some(score)
        }
        SortedSetRef::Tree(_) => set
            .change_object(|object| if let Object::SortedSet(tree) = object { tree.remove(member) } else { None })
            .flatten(),
    }
}

/// Removes the members of some ranks, which must be there.
pub fn remove_range(set: &mut impl Collection, ranks: Range<u64>) {
    let count = ranks.end.saturating_sub(ranks.start);
    if let SortedSetRef::Listpack(list) = SortedSetRef::of(set) {
        if let (Some(at), 1..) = (list.seek(ranks.start as usize * 2), count) {
            listpack::remove(set, at, count as usize * 2);
        }
        return;
    }
    set.change_object(|object| {
        if let Object::SortedSet(tree) = object {
            tree.remove_range(ranks);
        }
    });
}

impl<'a> From<Scored<'a>> for (f64, StringRef<'a>) {
    fn from(scored: Scored<'a>) -> Self {
        (scored.score, scored.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Model = Vec<(f64, Vec<u8>)>;

    fn members(view: SortedSetRef<'_>, ranks: Range<u64>, downward: bool) -> Model {
        view.range(ranks, downward).map(|scored| (scored.score, scored.member.to_bytes().into_owned())).collect()
    }

    fn sort(model: &mut Model) {
        model.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    }

    /// Compares everything that can be read.
    fn compare(set: &NewCollection, model: &Model, random: &mut fastrand::Rng) {
        let (view, length) = (SortedSetRef::of(set), model.len() as u64);
        assert_eq!((members(view, 0..length, false), view.len()), (model.clone(), length));
        let (start, end) = (random.u64(0..=length), random.u64(0..=length + 2));
        let part: Model = model.iter().take(end as usize).skip(start as usize).cloned().collect();
        assert_eq!(members(view, start..end, false), part);
        assert_eq!(members(view, start..end, true), part.into_iter().rev().collect::<Model>());
        for (rank, (score, member)) in model.iter().enumerate() {
            assert_eq!(view.rank(member), Some((rank as u64, *score)));
            assert_eq!(view.score(member), Some(*score));
            let below = model.iter().filter(|other| other.0 < *score).count() as u64;
            let up_to = model.iter().filter(|other| other.0 <= *score).count() as u64;
            assert_eq!((view.rank_of_score(*score, false), view.rank_of_score(*score, true)), (below, up_to));
        }
        assert_eq!((view.score(b"none"), view.rank(b"none")), (None, None));
    }

    #[test]
    fn both_forms_do_what_a_sorted_vector_does() {
        let limits = Encodings {
            sorted_set_listpack_entries_max: 12,
            sorted_set_listpack_value_bytes_max: 8,
            ..Encodings::default()
        };
        let hasher = MemberHasher::with_seed(1);
        let mut random = fastrand::Rng::with_seed(9);
        let mut trees = 0;
        for _ in 0..600 {
            let (mut set, mut model) = (empty(), Model::new());
            for _ in 0..random.usize(..40) {
                let member = match random.u32(..8) {
                    0..5 => random.u32(..30).to_string().into_bytes(),
                    5 => vec![b'x'; random.usize(..10)],
                    _ => vec![random.lowercase() as u8; 2],
                };
                let scores = [1.0, 2.0, -3.5, 0.1, 1e300, -5e-324, f64::INFINITY, f64::NEG_INFINITY, 9e15, 1e20];
                let score = scores[random.usize(..scores.len())];
                let known = model.iter().position(|(_, other)| *other == member);
                match random.u32(..10) {
                    0 | 1 => {
                        let old = known.map(|index| model.remove(index).0);
                        assert_eq!(remove(&mut set, &member), old);
                    }
                    2 if !model.is_empty() => {
                        let start = random.usize(..model.len());
                        let end = random.usize(start..=model.len());
                        model.drain(start..end);
                        remove_range(&mut set, start as u64..end as u64);
                    }
                    _ => {
                        let old = known.map(|index| model.remove(index).0);
                        model.push((score, member.clone()));
                        sort(&mut model);
                        assert_eq!(insert(&mut set, &member, score, &limits, &hasher), old);
                    }
                }
            }
            compare(&set, &model, &mut random);
            compare(&from_ordered(&model, &limits, &hasher), &model, &mut random);
            trees += u32::from(set.object().is_some());
        }
        assert!((100..500).contains(&trees), "{trees}");
    }

    #[test]
    fn names_of_equal_scores_are_in_order() {
        let hasher = MemberHasher::with_seed(1);
        for entries_max in [0, 128] {
            let limits = Encodings { sorted_set_listpack_entries_max: entries_max, ..Encodings::default() };
            let mut set = empty();
            for member in [&b"b"[..], b"10", b"a", b"", b"c"] {
                insert(&mut set, member, 1.0, &limits, &hasher);
            }
            let view = SortedSetRef::of(&set);
            let ranks: Vec<u64> = [&b""[..], b"1", b"a", b"bb", b"d"]
                .iter()
                .flat_map(|member| [view.rank_of_member(member, false), view.rank_of_member(member, true)])
                .collect();
            assert_eq!(ranks, [0, 1, 1, 1, 2, 3, 4, 4, 5, 5]);
        }
    }

    #[test]
    fn zero_and_minus_zero() {
        let hasher = MemberHasher::with_seed(1);
        for (entries_max, expected) in [(128, 0.0f64), (0, -0.0)] {
            let limits = Encodings { sorted_set_listpack_entries_max: entries_max, ..Encodings::default() };
            let mut set = empty();
            insert(&mut set, b"a", -0.0, &limits, &hasher);
            insert(&mut set, b"a", 0.0, &limits, &hasher);
            let score = SortedSetRef::of(&set).score(b"a").expect("a member");
            assert_eq!(score.to_bits(), expected.to_bits());
        }
    }
}
