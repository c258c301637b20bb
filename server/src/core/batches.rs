//! The batches that are being filled, one for each shard, and what their connections ask of the order in which they are
//! pushed.
//!
//! ```text
//!   connection 1:  GET a@1   SET b@0          batch 1 before batch 0     pushed: 1, 0
//!   connection 2:  SET c@0   GET d@1          nothing: a read may run before an earlier write on another key
//!   connection 3:  SET e@0   SET f@1          batch 0 before batch 1: against connection 1, so both are pushed now,
//!                                             1 before 0, and f begins another batch
//! ```
//! A write is pushed after everything that its connection sent before it. So long as the wishes of all connections fit one
//! order, that costs no message: at the end of the turn each batch goes behind those that must precede it.

use crate::mailbox::Envelope;

/// A set of shards, a bit each.
pub(crate) type ShardSet = u128;

/// The shards of a set, ascending.
pub(super) fn shards_of(mut set: ShardSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let shard = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(shard)
    })
}

/// See above.
#[derive(Debug)]
pub(super) struct OpenBatches {
    batches: Vec<Option<Envelope>>,
    /// For each batch those that go before it; closed under "before", free of cycles.
    before: Vec<ShardSet>,
}

impl OpenBatches {
    /// Nothing open.
    pub(super) fn new(shards: usize) -> Self {
        Self { batches: (0..shards).map(|_| None).collect(), before: vec![0; shards] }
    }

    /// The open batch to a shard, to be put back.
    #[inline]
    pub(super) fn take(&mut self, owner: usize) -> Option<Envelope> {
        self.batches[owner].take()
    }

    /// Puts it back.
    #[inline]
    pub(super) fn put(&mut self, owner: usize, envelope: Envelope) {
        self.batches[owner] = Some(envelope);
    }

    /// Asks that the batches `first` are pushed before the one to `then`. False, and nothing is changed, if one of them has
    /// to wait for that.
    pub(super) fn order(&mut self, first: ShardSet, then: usize) -> bool {
        let missing = first & !self.before[then];
        if missing == 0 {
            return true;
        }
        if shards_of(missing).any(|shard| self.before[shard] & (1 << then) != 0) {
            return false;
        }
        let closure = shards_of(missing).fold(missing, |set, shard| set | self.before[shard]);
        for (shard, before) in self.before.iter_mut().enumerate() {
            if shard == then || *before & (1 << then) != 0 {
                *before |= closure;
            }
        }
        true
    }

    /// The batches to be pushed so that those of `wanted` are, each behind what goes before it.
    pub(super) fn take_in_order(&mut self, wanted: ShardSet, mut push: impl FnMut(usize, Envelope)) {
        let mut left = shards_of(wanted).fold(wanted, |set, shard| set | self.before[shard]);
        let all = left;
        while left != 0 {
            let next = shards_of(left).find(|shard| self.before[*shard] & left == 0);
            let next = next.expect("the order has no cycle");
            left &= !(1 << next);
            if let Some(envelope) = self.batches[next].take() {
                push(next, envelope);
            }
            self.before[next] = 0;
        }
        for before in &mut self.before {
            *before &= !all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Batch, Message};
    use torc_engine::transaction::inbox::Node;

    fn open(shards: usize) -> OpenBatches {
        let mut batches = OpenBatches::new(shards);
        for shard in 0..shards {
            batches.put(shard, Node::new(Message::Requests(Batch::new(0, shard))));
        }
        batches
    }

    fn pushed(batches: &mut OpenBatches, wanted: ShardSet) -> Vec<usize> {
        let mut order = Vec::new();
        batches.take_in_order(wanted, |shard, _| order.push(shard));
        order
    }

    #[test]
    fn batches_are_pushed_in_the_order_asked_for() {
        let mut batches = open(4);
        assert!(batches.order(1 << 3, 1));
        assert!(batches.order(1 << 1, 0));
        assert!(batches.order(1 << 1 | 1 << 3, 0), "known already");
        assert_eq!(pushed(&mut batches, 0b1111), [2, 3, 1, 0]);
    }

    #[test]
    fn an_order_against_the_one_that_is_there_is_refused_over_any_number_of_steps() {
        let mut batches = open(4);
        assert!(batches.order(1 << 0, 1));
        assert!(batches.order(1 << 1, 2));
        assert!(!batches.order(1 << 2, 0));
        assert!(!batches.order(1 << 2 | 1 << 3, 1));
        assert!(batches.order(1 << 3, 0), "what comes first of all binds those behind it");
        assert!(!batches.order(1 << 2, 3));
    }

    #[test]
    fn what_is_pushed_early_takes_along_what_goes_before_it_and_is_bound_no_more() {
        let mut batches = open(3);
        assert!(batches.order(1 << 2, 1));
        assert_eq!(pushed(&mut batches, 1 << 1), [2, 1]);
        assert!(batches.order(1 << 1, 2), "these are other batches");
        assert_eq!(pushed(&mut batches, 0b111), [0], "those have nothing yet");
    }

    /// Against all orders tried: an edge is refused only where it would close a circle.
    #[test]
    fn random_wishes_are_refused_only_if_they_go_round_in_a_circle() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let shards = random.usize(2..7);
            let mut batches = open(shards);
            let mut edges: Vec<(usize, usize)> = Vec::new();
            for _ in 0..12 {
                let (first, then) = (random.usize(..shards), random.usize(..shards));
                if first == then {
                    continue;
                }
                let mut reached: ShardSet = 1 << then;
                for _ in 0..shards {
                    let step = edges.iter().filter(|(from, _)| reached & (1 << from) != 0);
                    reached |= step.fold(0, |set, (_, to)| set | 1 << to);
                }
                let closes_circle = reached & (1 << first) != 0;
                assert_eq!(batches.order(1 << first, then), !closes_circle, "seed {seed}");
                if !closes_circle {
                    edges.push((first, then));
                }
            }
            let order = pushed(&mut batches, (1 << shards) - 1);
            let place = |shard: usize| order.iter().position(|at| *at == shard);
            assert!(edges.iter().all(|(first, then)| place(*first) < place(*then)), "seed {seed}: {order:?}");
        }
    }
}
