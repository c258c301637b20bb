//! A hash with values, a set without, or the index of a sorted set: elements in the order of their seeded hash.
//!
//! A SCAN cursor is a position, zero the start and, as an answer, the end. A call goes on from leaf to leaf until it has
//! seen as many elements as were asked for, and answers where the next leaf begins. Leaves split and join between calls
//! without harm: what is at or behind the cursor has not been seen, and nothing that stays moves across it.

use super::foresight::{Foreseen, Foresight};
use super::hash_leaf::{Draft, Element, Field, HashLeaf, Old};
use super::hasher::{Hash, MemberHasher};
use super::tree::{Branch, Path, Tree, Walk};
use crate::values::StringRef;

/// A hash or a set; cloning it gives a frozen view and copies nothing.
#[derive(Clone)]
pub struct HashTree {
    tree: Tree<HashLeaf>,
    hasher: MemberHasher,
}

/// Where an element is, until the next change of its tree.
#[derive(Clone, Copy)]
pub(super) struct Place {
    path: Path,
    index: usize,
}

/// Chooses the child that holds a position. Hashes are spread evenly, so where a position lies between the ends of a branch
/// tells where it lies among the children, but for a few: a search from there touches one cache line of the keys.
pub(super) struct Interpolation {
    position: u32,
    /// Where the branch begins and ends.
    low: u64,
    high: u64,
}

impl Interpolation {
    pub(super) fn of(position: u32) -> Self {
        Self { position, low: 0, high: 1 << 32 }
    }

    /// The child of that branch; the next branch is it.
    #[inline]
    pub(super) fn child(&mut self, branch: &Branch<HashLeaf>) -> usize {
        let (position, keys) = (self.position, branch.later_keys());
        let guess = ((u64::from(position) - self.low) * branch.len() as u64 / (self.high - self.low)) as usize;
        let mut child = guess.min(keys.len());
        branch.prefetch_child(child);
        while child > 0 && keys[child - 1] > position {
            child -= 1;
        }
        while child < keys.len() && keys[child] <= position {
            child += 1;
        }
        if child > 0 {
            self.low = u64::from(keys[child - 1]);
        }
        if let Some(key) = keys.get(child) {
            self.high = u64::from(*key);
        }
        child
    }
}

#[inline]
fn child_of(position: u32) -> impl FnMut(&Branch<HashLeaf>) -> usize {
    let mut between = Interpolation::of(position);
    move |branch| between.child(branch)
}

/// What a look-up looks for.
#[derive(Clone, Copy)]
pub(super) struct Target(Hash);

impl Target {
    pub(super) fn position(self) -> u32 {
        self.0.position
    }

    /// Asks for the entry in its leaf.
    #[inline]
    pub(super) fn prefetch_in(self, leaf: &HashLeaf) {
        leaf.prefetch_entry(self.0);
    }
}

impl HashTree {
    /// An empty one.
    pub fn new(hasher: MemberHasher) -> Self {
        Self { tree: Tree::default(), hasher }
    }

    pub(super) fn of_tree(tree: Tree<HashLeaf>, hasher: MemberHasher) -> Self {
        Self { tree, hasher }
    }

    /// The leaves from the one on that holds a rank.
    pub(super) fn leaves_from(&self, rank: u64) -> Walk<'_, HashLeaf> {
        let mut rest = rank;
        self.tree.walk(|branch| branch.child_of_rank(&mut rest))
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap, what views share included.
    pub fn bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// The hasher it was made with.
    pub fn hasher(&self) -> &MemberHasher {
        &self.hasher
    }

    /// The element with that field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        let hash = self.hasher.hash(field);
        let leaf = self.tree.leaf(child_of(hash.position))?;
        Some(leaf.element(leaf.find(hash, field, |_| false)?))
    }

    /// Looks an element up beside others, see [`Foresight`].
    #[inline]
    pub fn foresee<'t>(&'t self, field: &[u8], others: &mut Foresight<'t>) {
        others.push(Foreseen::new(Target(self.hasher.hash(field)), self.tree.descent()));
    }

    /// Whether there is such a field or member.
    #[inline]
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Adds a member to a set; whether it is new.
    pub fn add(&mut self, member: &[u8]) -> bool {
        let hash = self.hasher.hash(member);
        let Err(vacancy) = self.locate(hash, member, |_| false) else { return false };
        let field = Field::Text(StringRef::Bytes(member));
        self.insert_at(vacancy, hash, &Draft { field, value: None, expires_at: None });
        true
    }

    /// Sets a field of a hash, which from then on has that expiry (in milliseconds since 1970) or none; whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], expires_at: Option<i64>) -> bool {
        self.put(field, value, expires_at, |_| ()).is_none()
    }

    /// As [`HashTree::set`]; the old value.
    pub fn replace(&mut self, field: &[u8], value: &[u8], expires_at: Option<i64>) -> Option<Old> {
        self.put(field, value, expires_at, |old| old.value.map(Old::new)).flatten()
    }

    fn put<R>(
        &mut self,
        field: &[u8],
        value: &[u8],
        expires_at: Option<i64>,
        read_old: impl FnOnce(Element<'_>) -> R,
    ) -> Option<R> {
        let hash = self.hasher.hash(field);
        let name = Field::Text(StringRef::Bytes(field));
        let draft = Draft { field: name, value: Some(StringRef::Bytes(value)), expires_at };
        match self.locate(hash, field, |_| false) {
            Ok((place, old)) => {
                let old = read_old(old);
                self.set_value_at(place, &draft);
                Some(old)
            }
            Err(vacancy) => {
                self.insert_at(vacancy, hash, &draft);
                None
            }
        }
    }

    /// Gives a field the value that `change` makes of its old one; its expiry stays. One way down, not two.
    pub fn update<V: AsRef<[u8]>, E>(
        &mut self,
        field: &[u8],
        change: impl FnOnce(Option<StringRef<'_>>) -> Result<V, E>,
    ) -> Result<(), E> {
        let hash = self.hasher.hash(field);
        let draft = |value, expires_at| {
            let field = Field::Text(StringRef::Bytes(field));
            Draft { field, value: Some(StringRef::Bytes(value)), expires_at }
        };
        match self.locate(hash, field, |_| false) {
            Ok((place, old)) => {
                let (expires_at, value) = (old.expires_at, change(old.value)?);
                self.set_value_at(place, &draft(value.as_ref(), expires_at));
            }
            Err(vacancy) => {
                let value = change(None)?;
                self.insert_at(vacancy, hash, &draft(value.as_ref(), None));
            }
        }
        Ok(())
    }

    /// Gives a field of a hash an expiry, or takes it away; whether there is such a field.
    pub fn set_expiry(&mut self, field: &[u8], expires_at: Option<i64>) -> bool {
        let hash = self.hasher.hash(field);
        let Ok((place, element)) = self.locate(hash, field, |_| false) else { return false };
        if element.expires_at != expires_at {
            let Some(value) = element.value.map(Old::new) else { return true };
            self.set_value_at(place, &Draft { field: Field::Position(0), value: Some(value.as_ref()), expires_at });
        }
        true
    }

    /// Removes an element; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Ok((place, _)) = self.locate(self.hasher.hash(field), field, |_| false) else { return false };
        self.remove_place(place);
        true
    }

    /// Removes an element and hands it over.
    pub fn take(&mut self, field: &[u8]) -> Option<Taken> {
        let (place, element) = self.locate(self.hasher.hash(field), field, |_| false).ok()?;
        let taken = Taken::new(element);
        self.remove_place(place);
        Some(taken)
    }

    /// The element of a rank, which means something only until the next change: for those who pick at random, and those
    /// who go on in a view.
    pub fn at(&self, rank: u64) -> Option<Element<'_>> {
        let mut rest = rank;
        let leaf = self.tree.leaf(|branch| branch.child_of_rank(&mut rest))?;
        (rank < self.len()).then(|| leaf.element(rest as usize))
    }

    /// Removes the element of a rank and hands it over.
    pub fn take_at(&mut self, rank: u64) -> Option<Taken> {
        if rank >= self.len() {
            return None;
        }
        let mut rest = rank;
        let (path, leaf) = self.tree.locate(|branch| branch.child_of_rank(&mut rest))?;
        let index = rest as usize;
        let taken = Taken::new(leaf.element(index));
        self.remove_place(Place { path, index });
        Some(taken)
    }

    /// An element at random, each as likely as every other.
    pub fn random(&self, random: &mut fastrand::Rng) -> Option<Element<'_>> {
        if self.is_empty() { None } else { self.at(random.u64(..self.len())) }
    }

    /// All elements from a rank on. A walk of a view may stop anywhere and go on from [`HashIter::rank`].
    pub fn iter_from(&self, rank: u64) -> HashIter<'_> {
        let mut rest = rank;
        let walk = self.tree.walk(|branch| branch.child_of_rank(&mut rest));
        HashIter { walk, index: rest as usize, rank: rank.min(self.len()), len: self.len() }
    }

    /// All elements.
    pub fn iter(&self) -> HashIter<'_> {
        self.iter_from(0)
    }

    /// Visits at least `count` elements from a cursor on, if there are so many, and at most a leaf more. The cursor to go
    /// on with; zero at the end.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'a>)) -> u64 {
        let Ok(position) = u32::try_from(cursor) else { return 0 };
        let mut walk = self.tree.walk(child_of(position));
        let mut seen = 0;
        while let Some(leaf) = walk.leaf() {
            leaf.elements().for_each(&mut visit);
            seen += leaf.len();
            if seen >= count {
                return walk.next_key().map_or(0, u64::from);
            }
            walk.next();
        }
        0
    }

    /// Frees about `budget` blocks; whether something is left. After the first call there is nothing else to be done with
    /// the tree.
    pub fn drop_slice(&mut self, budget: usize) -> bool {
        self.tree.drop_slice(budget)
    }

    /// The place of a field, or the way to the leaf where it belongs.
    pub(super) fn locate(
        &self,
        hash: Hash,
        field: &[u8],
        accept: impl Fn(StringRef<'_>) -> bool,
    ) -> Result<(Place, Element<'_>), Option<Path>> {
        let Some((path, leaf)) = self.tree.locate(child_of(hash.position)) else { return Err(None) };
        match leaf.find(hash, field, accept) {
            Some(index) => Ok((Place { path, index }, leaf.element(index))),
            None => Err(Some(path)),
        }
    }

    /// The element at a place.
    pub(super) fn element_at(&self, place: Place) -> Element<'_> {
        self.tree.leaf_at(&place.path).element(place.index)
    }

    /// The way to the leaf where a new element belongs; none in an empty tree.
    pub(super) fn vacancy(&self, hash: Hash) -> Option<Path> {
        self.tree.locate(child_of(hash.position)).map(|(path, _)| path)
    }

    /// Adds an element that is not there yet.
    pub(super) fn insert_at(&mut self, vacancy: Option<Path>, hash: Hash, draft: &Draft<'_>) {
        let Some(path) = vacancy else {
            let mut leaf = HashLeaf::with_room(draft.packed_len());
            leaf.insert(hash.tag, draft, &mut 0);
            return self.tree.plant(leaf);
        };
        let hasher = &self.hasher;
        self.tree.edit(&path, |leaf, bytes| {
            if !leaf.is_full_for(draft.packed_len()) {
                leaf.insert(hash.tag, draft, bytes);
                return ((), None);
            }
            let mut split = leaf.split(hasher, bytes);
            match &mut split {
                Some((key, right)) if *key <= hash.position => right.insert(hash.tag, draft, bytes),
                _ => leaf.insert(hash.tag, draft, bytes),
            }
            ((), split)
        });
    }

    /// Gives an element the value and expiry of a draft, whose field does not matter.
    pub(super) fn set_value_at(&mut self, place: Place, draft: &Draft<'_>) {
        let hasher = &self.hasher;
        self.tree.edit(&place.path, |leaf, bytes| {
            leaf.set_value(place.index, draft, bytes);
            // The value may have become longer.
            ((), if leaf.is_full_for(0) { leaf.split(hasher, bytes) } else { None })
        });
    }

    /// Removes the element at a place.
    pub(super) fn remove_place(&mut self, place: Place) {
        self.tree.edit(&place.path, |leaf, bytes| (leaf.remove(place.index, bytes), None));
    }
}

impl<'a> IntoIterator for &'a HashTree {
    type Item = Element<'a>;
    type IntoIter = HashIter<'a>;

    fn into_iter(self) -> HashIter<'a> {
        self.iter()
    }
}

/// An element that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The field or member.
    pub name: Old,
    /// The value; a set has none.
    pub value: Option<Old>,
    /// When the field would have expired, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

impl Taken {
    fn new(element: Element<'_>) -> Self {
        Self { name: Old::new(element.name()), value: element.value.map(Old::new), expires_at: element.expires_at }
    }
}

/// A walk over the elements of a tree.
#[derive(Clone)]
pub struct HashIter<'a> {
    walk: Walk<'a, HashLeaf>,
    index: usize,
    rank: u64,
    len: u64,
}

impl HashIter<'_> {
    /// The rank of the element that comes next, to go on with in the same view.
    pub fn rank(&self) -> u64 {
        self.rank
    }
}

impl<'a> Iterator for HashIter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let mut leaf = self.walk.leaf()?;
        if self.index >= leaf.len() {
            self.index = 0;
            leaf = self.walk.next()?;
        }
        let element = leaf.element(self.index);
        self.index += 1;
        self.rank += 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.rank) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for HashIter<'_> {}

#[cfg(test)]
impl HashTree {
    /// The leaf where an element is, or would be.
    pub(super) fn leaf_of(&self, field: &[u8]) -> Option<&HashLeaf> {
        self.tree.leaf(child_of(self.hasher.hash(field).position))
    }

    /// Counts everything anew and checks that all elements are where they belong.
    pub(in crate::values) fn audit(&self) {
        let mut from = 0;
        self.tree.audit(|key, leaf| {
            let key = key.unwrap_or(0);
            assert!(key >= from);
            from = key;
            for element in leaf.elements() {
                let position = match element.field {
                    Field::Text(text) => text.with_bytes(|text| self.hasher.hash(text).position),
                    Field::Position(position) => position,
                };
                assert!(position >= from);
                from = from.max(key);
            }
            leaf.audit();
        });
    }
}
