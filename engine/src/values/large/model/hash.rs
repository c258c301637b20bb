//! [`HashTree`] against a map.

use super::super::{HashTree, MemberHasher};
use super::{Pair, environment, run, run_long, text};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
struct ModelValue {
    value: Option<Vec<u8>>,
    expires_at: Option<i64>,
}

type Model = BTreeMap<Vec<u8>, ModelValue>;

struct HashPair {
    tree: HashTree,
    model: Model,
    views: Vec<(HashTree, Model)>,
    random: fastrand::Rng,
    /// Fields that operations may name.
    fields: u64,
    /// Lengths that texts may have.
    lengths: &'static [usize],
    /// Of a hundred operations, how many remove.
    removals: u32,
}

impl HashPair {
    fn field(&mut self) -> Vec<u8> {
        let number = self.random.u64(..self.fields);
        // The length is a function of the field.
        text(number, self.lengths[number as usize % self.lengths.len()])
    }

    fn value(&mut self) -> Vec<u8> {
        let length = self.lengths[self.random.usize(..self.lengths.len())];
        text(self.random.u64(..1000), length)
    }

    fn write(&mut self) {
        let (field, value) = (self.field(), self.value());
        let expires_at = (self.random.u8(..8) == 0).then(|| self.random.i64(..));
        match self.random.u8(..10) {
            0..5 => {
                let is_new = self.tree.set(&field, &value, expires_at);
                let old = self.model.insert(field, ModelValue { value: Some(value), expires_at });
                assert_eq!(is_new, old.is_none());
            }
            5..7 => {
                let old = self.tree.replace(&field, &value, expires_at).map(|old| old.as_bytes().to_vec());
                let model = self.model.insert(field, ModelValue { value: Some(value), expires_at });
                assert_eq!(old, model.and_then(|old| old.value));
            }
            7..9 => {
                let is_new = self.tree.add(&field);
                assert_eq!(is_new, !self.model.contains_key(&field));
                self.model.entry(field).or_insert(ModelValue { value: None, expires_at: None });
            }
            _ => {
                let there = self.tree.set_expiry(&field, expires_at);
                assert_eq!(there, self.model.contains_key(&field));
                if let Some(model) = self.model.get_mut(&field).filter(|model| model.value.is_some()) {
                    model.expires_at = expires_at;
                }
            }
        }
    }

    fn remove(&mut self) {
        let field = self.field();
        match self.random.u8(..3) {
            0 => assert_eq!(self.tree.remove(&field), self.model.remove(&field).is_some()),
            1 => {
                let taken = self.tree.take(&field);
                let model = self.model.remove(&field);
                assert_eq!(taken.is_some(), model.is_some());
                if let (Some(taken), Some(model)) = (taken, model) {
                    assert_eq!(taken.name.as_bytes(), field);
                    assert_eq!(taken.value.map(|value| value.as_bytes().to_vec()), model.value);
                    assert_eq!(taken.expires_at, model.expires_at);
                }
            }
            _ => {
                let rank = self.random.u64(..=self.tree.len());
                let taken = self.tree.take_at(rank);
                assert_eq!(taken.is_none(), rank == self.model.len() as u64);
                if let Some(taken) = taken {
                    assert!(self.model.remove(taken.name.as_bytes()).is_some());
                }
            }
        }
    }

    fn freeze(&mut self) {
        if self.views.len() > 3 || self.random.bool() && !self.views.is_empty() {
            let (mut view, model) = self.views.swap_remove(self.random.usize(..self.views.len()));
            check(&view, &model);
            if self.random.bool() {
                while view.drop_slice(7) {}
            }
        } else if self.random.u8(..4) == 0 {
            // The value goes on as one of its own views, as after an undo.
            let copy = self.tree.clone();
            self.views.push((std::mem::replace(&mut self.tree, copy), self.model.clone()));
        } else {
            self.views.push((self.tree.clone(), self.model.clone()));
        }
    }
}

fn owned(element: super::super::Element<'_>) -> (Vec<u8>, ModelValue) {
    let value = element.value.map(|value| value.to_bytes().to_vec());
    (element.name().to_bytes().to_vec(), ModelValue { value, expires_at: element.expires_at })
}

fn check(tree: &HashTree, model: &Model) {
    tree.audit();
    assert_eq!(tree.len(), model.len() as u64);
    let all: Vec<_> = tree.iter().map(owned).collect();
    assert_eq!(all.len(), model.len());
    assert_eq!(&all.iter().cloned().collect::<Model>(), model);
    // In slices, stopped anywhere.
    let (mut rank, mut sliced) = (0, Vec::new());
    while rank < tree.len() {
        let mut part = tree.iter_from(rank);
        sliced.extend(part.by_ref().take(1 + rank as usize % 100).map(owned));
        assert_eq!(part.rank(), sliced.len() as u64);
        rank = part.rank();
    }
    assert_eq!(sliced, all);
    let (mut cursor, mut scanned) = (0, Vec::new());
    loop {
        let next = tree.scan(cursor, 10, |element| scanned.push(owned(element)));
        if next == 0 {
            break;
        }
        assert!(next > cursor);
        cursor = next;
    }
    assert_eq!(scanned, all);
    for (rank, (field, value)) in all.iter().enumerate().step_by(7) {
        assert_eq!(&owned(tree.get(field).unwrap()), &(field.clone(), value.clone()));
        assert_eq!(&owned(tree.at(rank as u64).unwrap()).0, field);
    }
    assert!(tree.at(tree.len()).is_none() && !tree.contains(b"no such field"));
}

impl Pair for HashPair {
    fn new(seed: u64, profile: u64) -> Self {
        let lengths: [&[usize]; 4] =
            [&[0, 8, 16, 16, 20], &[3], &[1, 10, 60, 122, 123, 124, 200, 250, 251, 300], &[5, 5, 5, 5, 2000]];
        Self {
            tree: HashTree::new(MemberHasher::with_seed(seed)),
            model: Model::new(),
            views: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            fields: [5000, 100, 1000, 20_000][(profile / 4 % 4) as usize],
            lengths: lengths[(profile % 4) as usize],
            removals: 30,
        }
    }

    fn step(&mut self) {
        match self.random.u32(..1000) {
            // Now it grows, now it shrinks.
            0 => self.removals = [10, 30, 50, 80][self.random.usize(..4)],
            1..5 => self.freeze(),
            roll if roll % 100 < self.removals => self.remove(),
            _ => self.write(),
        }
    }

    fn check(&self) {
        check(&self.tree, &self.model);
        self.views.iter().for_each(|(view, model)| check(view, model));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn equals_a_map(seed in any::<u64>(), profile in 0..16u64, operations in 0..4000u64) {
        run::<HashPair>(seed, profile, operations);
    }
}

#[test]
fn equals_a_map_for_long() {
    run_long::<HashPair>();
    run::<HashPair>(environment("TORC_LARGE_SEED", 1), 12, environment("TORC_LARGE_OPERATIONS", 40_000));
}
