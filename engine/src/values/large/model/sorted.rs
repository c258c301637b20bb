//! [`SortedTree`] against two maps.

use super::super::{MemberHasher, Scored, SortedBuilder, SortedCut, SortedTree};
use super::{Pair, environment, run, run_long, text};
use crate::values::StringRef;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A number that sorts like a score; minus zero and zero have the same.
fn sortable(score: f64) -> i64 {
    let bits = (score + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[derive(Clone, Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(i64, Vec<u8>)>,
}

impl Model {
    fn insert(&mut self, member: Vec<u8>, score: f64) -> Option<f64> {
        let old = self.remove(&member);
        self.order.insert((sortable(score), member.clone()));
        self.scores.insert(member, score);
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        assert!(self.order.remove(&(sortable(old), member.to_vec())));
        Some(old)
    }

    fn pairs(&self) -> Vec<(Vec<u8>, u64)> {
        self.order.iter().map(|(_, member)| (member.clone(), self.scores[member].to_bits())).collect()
    }
}

struct SortedPair {
    tree: SortedTree,
    model: Model,
    views: Vec<(SortedTree, Model)>,
    random: fastrand::Rng,
    profile: u64,
    members: u64,
    removals: u32,
    next_score: f64,
}

fn bits(score: Option<f64>) -> Option<u64> {
    score.map(f64::to_bits)
}

fn owned(scored: Scored<'_>) -> (Vec<u8>, u64) {
    (scored.member.to_bytes().to_vec(), scored.score.to_bits())
}

impl SortedPair {
    fn member(&mut self) -> Vec<u8> {
        let number = self.random.u64(..self.members);
        let lengths: &[usize] = [&[17][..], &[1, 20, 250, 251, 400], &[8, 16, 17]][(self.profile % 3) as usize];
        text(number, lengths[number as usize % lengths.len()])
    }

    fn score(&mut self) -> f64 {
        self.next_score += 1.0;
        match self.profile / 3 % 5 {
            0 => self.random.f64() * 1e6,
            1 => [0.0, -0.0, 1.0, -1.5, f64::INFINITY, f64::NEG_INFINITY][self.random.usize(..6)],
            2 => f64::from(self.random.i32(-300..300)),
            3 => self.next_score,
            _ => 7.0,
        }
    }

    fn write(&mut self) {
        let (member, mut score) = (self.member(), self.score());
        if self.random.u8(..20) == 0 {
            score = self.model.scores.get(&member).copied().unwrap_or(score);
        }
        let old = self.tree.insert(&member, score);
        assert_eq!(bits(old), bits(self.model.insert(member, score)));
    }

    fn remove(&mut self) {
        if self.random.u8(..10) > 0 {
            let member = self.member();
            assert_eq!(bits(self.tree.remove(&member)), bits(self.model.remove(&member)));
            return;
        }
        let rank = self.random.u64(..=self.tree.len());
        let taken = self.tree.take_at(rank).map(|(member, score)| (member.as_bytes().to_vec(), score.to_bits()));
        let expected = self.model.order.iter().nth(rank as usize).map(|(_, member)| member.clone());
        let expected = expected.map(|member| {
            let score = self.model.remove(&member);
            (member, score.unwrap().to_bits())
        });
        assert_eq!(taken, expected);
    }

    /// Many members go, or all others do, at once or in slices.
    fn cut(&mut self) {
        let length = self.tree.len();
        let longest = [5, length / 20 + 1, length][self.random.usize(..3)];
        let start = self.random.u64(..=length);
        let ranks = start..length.min(start + self.random.u64(..=longest));
        let before = self.model.pairs();
        let way = self.random.u32(..4);
        if way == 0 {
            self.tree.remove_range(ranks.clone());
        } else {
            let removes = way < 3 || ranks.is_empty();
            let make = if removes { SortedCut::removal } else { SortedCut::part };
            let mut cut = make(self.tree.clone(), ranks.clone());
            while !cut.step(self.random.u64(1..300)) {}
            self.tree = cut.into_set();
            if !removes {
                let (low, high) = (ranks.start as usize, ranks.end as usize);
                before[..low].iter().chain(&before[high..]).for_each(|(member, _)| {
                    self.model.remove(member);
                });
                return;
            }
        }
        for (member, _) in &before[ranks.start as usize..ranks.end as usize] {
            self.model.remove(member);
        }
    }

    /// The same set, built anew from members in any order, some of them twice.
    fn build(&mut self) {
        let mut members = self.model.pairs();
        self.random.shuffle(&mut members);
        let hint = self.random.u64(..=2 * members.len() as u64);
        let mut builder = SortedBuilder::new(hint, self.tree.hasher().clone());
        for (member, score) in &members {
            let member = StringRef::Bytes(member);
            if self.random.u8(..10) == 0 {
                builder.push(Scored { score: self.random.f64(), member });
            }
            builder.push(Scored { score: f64::from_bits(*score), member });
        }
        while !builder.step(self.random.u64(1..3000), |_, last| last) {}
        self.tree = builder.into_set();
    }

    fn freeze(&mut self) {
        if self.views.len() > 3 || self.random.bool() && !self.views.is_empty() {
            let (mut view, model) = self.views.swap_remove(self.random.usize(..self.views.len()));
            check(&view, &model);
            if self.random.bool() {
                while view.drop_slice(7) {}
            }
        } else {
            self.views.push((self.tree.clone(), self.model.clone()));
        }
    }
}

fn check(tree: &SortedTree, model: &Model) {
    tree.audit();
    let expected = model.pairs();
    let len = tree.len();
    assert_eq!(len, expected.len() as u64);
    assert_eq!(tree.iter().map(owned).collect::<Vec<_>>(), expected);
    let mut back: Vec<_> = tree.iter_back_from(len).map(owned).collect();
    back.reverse();
    assert_eq!(back, expected);
    for (rank, (member, score)) in expected.iter().enumerate().step_by(5) {
        let score = f64::from_bits(*score);
        assert_eq!(bits(tree.score(member)), Some(score.to_bits()));
        assert_eq!(tree.rank(member).map(|found| found.0), Some(rank as u64));
        assert_eq!(&owned(tree.at(rank as u64).unwrap()).0, member);
        let counts = [false, true].map(|or_equal| tree.rank_of_score(score, or_equal));
        let below = expected.partition_point(|other| f64::from_bits(other.1) < score);
        let not_above = expected.partition_point(|other| f64::from_bits(other.1) <= score);
        assert_eq!(counts, [below as u64, not_above as u64]);
        let missing = [&member[..], b"+"].concat();
        assert_eq!(tree.score(&missing), None);
        let rank_of_missing = expected
            .partition_point(|other| (sortable(f64::from_bits(other.1)), &other.0) < (sortable(score), &missing));
        assert_eq!(tree.rank_in_order(score, &missing, true), rank_of_missing as u64);
        assert_eq!(
            tree.iter_from(rank as u64).take(3).map(owned).collect::<Vec<_>>(),
            expected[rank..].iter().take(3).cloned().collect::<Vec<_>>()
        );
    }
    let (mut cursor, mut scanned) = (0, BTreeMap::new());
    loop {
        cursor = tree.scan(cursor, 20, |scored| {
            let (member, score) = owned(scored);
            assert_eq!(scanned.insert(member, score), None, "no leaf is seen twice while nothing changes");
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, expected.into_iter().collect());
}

impl Pair for SortedPair {
    fn new(seed: u64, profile: u64) -> Self {
        Self {
            tree: SortedTree::new(MemberHasher::with_seed(seed)),
            model: Model::default(),
            views: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            profile,
            members: [3000, 60, 10_000][(seed % 3) as usize],
            removals: 30,
            next_score: 0.0,
        }
    }

    fn step(&mut self) {
        match self.random.u32(..1000) {
            0 => self.removals = [10, 30, 50, 80][self.random.usize(..4)],
            1..5 => self.freeze(),
            5 => self.cut(),
            6 => self.build(),
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
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn equals_two_maps(seed in any::<u64>(), profile in 0..15u64, operations in 0..3000u64) {
        run::<SortedPair>(seed, profile, operations);
    }
}

#[test]
fn equals_two_maps_for_long() {
    run_long::<SortedPair>();
    for profile in [6, 9, 12] {
        run::<SortedPair>(2, profile, environment("TORC_LARGE_OPERATIONS", 40_000) / 4);
    }
}
