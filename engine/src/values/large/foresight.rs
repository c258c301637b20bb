//! Look-ups of a batch that go down their trees side by side, for nothing but the cache lines that they will need.
//!
//! ```text
//!   one after the other     a: root ··· branch ··· leaf ··· entry     b: root ··· branch ··· leaf ··· entry    each ··· waits for memory
//!   a step of each in turn  a, b, c, ...: root    a, b, c, ...: branch    a, b, c, ...: leaf    a, b, c, ...: entry
//! ```
//! A step reads what the one before it has asked for, and asks for what the next one will read; by the time that its turn
//! comes again the memory has had the steps of all others to answer. Nothing is changed, and nothing is decided: the commands
//! look up again, in lines that are there.

use super::hash_leaf::HashLeaf;
use super::hash_tree::{Interpolation, Target};
use super::tree::{Branch, Descent};
use crate::values::Blob;
use smallvec::SmallVec;

/// A look-up on its way.
pub(super) struct Foreseen<'t> {
    target: Target,
    between: Interpolation,
    descent: Option<Descent<'t, HashLeaf>>,
}

impl<'t> Foreseen<'t> {
    pub(super) fn new(target: Target, descent: Option<Descent<'t, HashLeaf>>) -> Self {
        Self { target, between: Interpolation::of(target.position()), descent }
    }

    /// One step; whether there is another.
    #[inline]
    fn step(&mut self) -> bool {
        let Some(descent) = self.descent.take() else { return false };
        let between = &mut self.between;
        match descent.step(|branch: &Branch<HashLeaf>| between.child(branch)) {
            Ok(next) => self.descent = Some(next),
            Err(leaf) => self.target.prefetch_in(leaf),
        }
        self.descent.is_some()
    }
}

/// Look-ups that are to go down side by side. One in a packed value has two steps: its beginning, and the rest.
#[derive(Default)]
pub struct Foresight<'t> {
    look_ups: SmallVec<[Foreseen<'t>; 32]>,
    packed: SmallVec<[&'t Blob; 32]>,
}

impl<'t> Foresight<'t> {
    /// Takes one in.
    #[inline]
    pub(super) fn push(&mut self, look_up: Foreseen<'t>) {
        self.look_ups.push(look_up);
    }

    /// Takes one in that reads a packed value from its beginning; once, where several in a row read the same.
    #[inline]
    pub fn push_packed(&mut self, blob: &'t Blob) {
        if self.packed.last().is_none_or(|last| !std::ptr::eq(*last, blob)) {
            blob.prefetch();
            self.packed.push(blob);
        }
    }

    /// Asks for everything that they need.
    pub fn run(mut self) {
        self.packed.iter().for_each(|blob| blob.prefetch_rest());
        let mut goes_on = self.look_ups.len() > 1;
        while goes_on {
            goes_on = false;
            for look_up in &mut self.look_ups {
                goes_on |= look_up.step();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::large::tree::Leaf;
    use crate::values::large::{HashTree, MemberHasher};

    fn name(number: usize) -> Vec<u8> {
        format!("member:{number}").into_bytes()
    }

    /// Trees of every height: all look-ups end, together, at the leaves where the elements are or would be.
    #[test]
    fn look_ups_in_steps_end_where_those_at_once_do() {
        for count in [0, 1, 40, 500, 5_000, 50_000] {
            let mut tree = HashTree::new(MemberHasher::with_seed(7));
            (0..count).for_each(|number| assert!(tree.add(&name(number))));
            let mut foresight = Foresight::default();
            let numbers: Vec<usize> = (0..64).map(|step| step * count.max(1) / 48).collect();
            numbers.iter().for_each(|number| tree.foresee(&name(*number), &mut foresight));
            let mut leaves = vec![None; numbers.len()];
            for (look_up, leaf) in foresight.look_ups.iter_mut().zip(&mut leaves) {
                while let Some(descent) = look_up.descent.take() {
                    match descent.step(|branch| look_up.between.child(branch)) {
                        Ok(next) => look_up.descent = Some(next),
                        Err(end) => *leaf = Some(end.address()),
                    }
                }
            }
            let expected = numbers.iter().map(|number| tree.leaf_of(&name(*number)).map(Leaf::address));
            assert_eq!(leaves, expected.collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn a_run_ends_whatever_is_looked_for() {
        let (mut small, mut large) =
            (HashTree::new(MemberHasher::with_seed(1)), HashTree::new(MemberHasher::with_seed(2)));
        small.add(b"one");
        (0..3_000).for_each(|number| assert!(large.add(&name(number))));
        let (empty, blob) = (HashTree::new(MemberHasher::with_seed(3)), Blob::new(&[7; 5_000]));
        for trees in [vec![&small], vec![&empty, &large], vec![&large, &small, &empty, &large]] {
            let mut foresight = Foresight::default();
            for tree in trees {
                [&b""[..], b"one", &name(5), &[0; 1_000]]
                    .iter()
                    .for_each(|element| tree.foresee(element, &mut foresight));
                foresight.push_packed(&blob);
            }
            foresight.run();
        }
    }
}
