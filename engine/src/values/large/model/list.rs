//! [`ListTree`] against a deque.

use super::super::{ListElement, ListTree};
use super::{Pair, run, run_long, text};
use proptest::prelude::*;
use std::collections::VecDeque;

type Model = VecDeque<Vec<u8>>;

struct ListPair {
    tree: ListTree,
    model: Model,
    views: Vec<(ListTree, Model)>,
    random: fastrand::Rng,
    profile: u64,
    removals: u32,
}

fn owned(element: ListElement<'_>) -> Vec<u8> {
    element.as_string().to_bytes().into_owned()
}

impl ListPair {
    fn text(&mut self) -> Vec<u8> {
        let number = self.random.u64(..2000);
        let lengths: &[usize] =
            [&[0, 8, 30][..], &[16], &[100, 900, 1000, 1001, 5000], &[1, 1, 1, 9000]][(self.profile % 4) as usize];
        text(number, lengths[number as usize % lengths.len()])
    }

    fn index(&mut self) -> u64 {
        self.random.u64(..=self.tree.len())
    }

    fn write(&mut self) {
        let text = self.text();
        match self.random.u8(..10) {
            0..3 => {
                self.tree.push_back(&text);
                self.model.push_back(text);
            }
            3..6 => {
                self.tree.push_front(&text);
                self.model.push_front(text);
            }
            6..8 => {
                let index = self.index();
                self.tree.insert(index, &text);
                self.model.insert(index as usize, text);
            }
            _ => {
                let index = self.index();
                assert_eq!(self.tree.set(index, &text), index < self.model.len() as u64);
                if let Some(element) = self.model.get_mut(index as usize) {
                    *element = text;
                }
            }
        }
    }

    fn remove(&mut self) {
        let index = self.index();
        match self.random.u8(..20) {
            0..6 => assert_eq!(self.tree.pop_front().map(|old| old.as_bytes().to_vec()), self.model.pop_front()),
            6..12 => assert_eq!(self.tree.pop_back().map(|old| old.as_bytes().to_vec()), self.model.pop_back()),
            12..18 => {
                let taken = self.tree.take(index).map(|old| old.as_bytes().to_vec());
                assert_eq!(taken, self.model.remove(index as usize));
            }
            _ => {
                let count = self.random.u64(..300);
                self.tree.remove(index, count);
                self.model.drain(index as usize..self.model.len().min((index + count) as usize));
            }
        }
    }

    fn freeze(&mut self) {
        if self.views.len() > 3 || self.random.bool() && !self.views.is_empty() {
            let (view, model) = self.views.swap_remove(self.random.usize(..self.views.len()));
            check(&view, &model);
        } else {
            self.views.push((self.tree.clone(), self.model.clone()));
        }
    }
}

fn check(tree: &ListTree, model: &Model) {
    tree.audit();
    assert_eq!(tree.len(), model.len() as u64);
    assert!(tree.iter().map(owned).eq(model.iter().cloned()));
    assert!(tree.iter_back_from(tree.len()).map(owned).eq(model.iter().rev().cloned()));
    for index in (0..model.len()).step_by(11) {
        assert_eq!(owned(tree.get(index as u64).unwrap()), model[index]);
        let mut forward = tree.iter_from(index as u64);
        assert!(forward.by_ref().take(5).map(owned).eq(model.iter().skip(index).take(5).cloned()));
        assert_eq!(forward.index(), model.len().min(index + 5) as u64);
        let back = tree.iter_back_from(index as u64).take(5).map(owned);
        assert!(back.eq(model.iter().take(index).rev().take(5).cloned()));
    }
    assert!(tree.get(tree.len()).is_none());
}

impl Pair for ListPair {
    fn new(seed: u64, profile: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { tree: ListTree::new(), model: Model::new(), views: Vec::new(), random, profile, removals: 30 }
    }

    fn step(&mut self) {
        match self.random.u32(..1000) {
            0 => self.removals = [10, 30, 50, 80][self.random.usize(..4)],
            1..5 => self.freeze(),
            roll if roll % 100 < self.removals || self.model.len() > 20_000 => self.remove(),
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
    fn equals_a_deque(seed in any::<u64>(), profile in 0..4u64, operations in 0..3000u64) {
        run::<ListPair>(seed, profile, operations);
    }
}

#[test]
fn equals_a_deque_for_long() {
    run_long::<ListPair>();
}
