//! The one primitive of order: a message to several shards that meets every other such message in the same order
//! wherever they meet.
//!
//! ```text
//!   1. take the multicast locks of the inboxes involved, ascending
//!   2. draw a number
//!   3. push one part to each inbox
//!   4. read the time; publish it; set the flag "all enqueued"
//!   5. release the locks
//!   6. wake those that sleep
//! ```
//!
//! Between 3 and 4 a shard may already meet its part: it takes the part's key locks at that position and goes on with other
//! keys; the part runs when the flag is set. A connection that has something unanswered waits, before it pushes to a
//! shard, for the release of that shard's lock ([`Mailboxes::push`]); everyone else pushes freely.

use super::inbox::{Drained, Inbox, Node};
use super::interleave::{Step, point, spin};
use super::rules::Rules;
use crate::command::Milliseconds;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// What all parts of one multicast share.
#[derive(Debug, Default)]
pub struct Multicast {
    number: AtomicU64,
    now: AtomicI64,
    all_enqueued: AtomicBool,
}

impl Multicast {
    /// A multicast that has not been sent.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Whether every part is in its inbox. Once true, [`Multicast::now`] and [`Multicast::number`] are final.
    pub fn is_enqueued(&self) -> bool {
        self.all_enqueued.load(Ordering::SeqCst)
    }

    /// The one time of all parts; meaningful once enqueued.
    pub fn now(&self) -> Milliseconds {
        self.now.load(Ordering::Acquire)
    }

    /// Its place among all multicasts; meaningful once enqueued.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }
}

/// A lock of one bit that shard threads spin for: held for a few pushes only.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SpinLock(AtomicBool);

impl SpinLock {
    fn lock(&self) {
        let mut turns = 0;
        point(Step::Lock);
        while self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin(&mut turns);
            #[cfg(loom)]
            loom::thread::yield_now();
        }
    }

    fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn wait_released(&self) {
        let mut turns = 0;
        // SeqCst: the caller's earlier pushes come before this look (the gate's argument needs that order).
        while self.0.load(Ordering::SeqCst) {
            spin(&mut turns);
        }
    }
}

/// The inboxes of all shards, and what orders messages to several of them.
#[derive(Debug)]
pub struct Mailboxes<T> {
    inboxes: Box<[Inbox<T>]>,
    locks: Box<[SpinLock]>,
    numbers: AtomicU64,
    rules: Rules,
    /// Messages in each inbox; counted only where the rule that a push never blocks is switched off.
    lengths: Box<[AtomicUsize]>,
}

/// What an inbox holds where pushes block, which only tests want.
const BLOCKING_INBOX_MESSAGES_MAX: usize = 4;

impl<T> Mailboxes<T> {
    /// Inboxes for `shards` shards.
    pub fn new(shards: usize, rules: Rules) -> Self {
        Self {
            inboxes: (0..shards).map(|_| Inbox::default()).collect(),
            locks: (0..shards).map(|_| SpinLock::default()).collect(),
            numbers: AtomicU64::new(1),
            rules,
            lengths: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// The rules in force.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Takes everything out of a shard's inbox. Only that shard calls this.
    pub fn drain(&self, shard: usize) -> Drained<T> {
        let drained = self.inboxes[shard].drain();
        if !self.rules.unbounded_push {
            self.lengths[shard].store(0, Ordering::SeqCst);
        }
        drained
    }

    fn push_into(&self, shard: usize, node: Box<Node<T>>) {
        if !self.rules.unbounded_push {
            let mut turns = 0;
            while self.lengths[shard].load(Ordering::SeqCst) >= BLOCKING_INBOX_MESSAGES_MAX {
                spin(&mut turns);
            }
            self.lengths[shard].fetch_add(1, Ordering::SeqCst);
        }
        self.inboxes[shard].push(node);
    }

    /// Whether a shard's inbox is empty.
    pub fn is_empty(&self, shard: usize) -> bool {
        self.inboxes[shard].is_empty()
    }

    /// See [`Inbox::announce_sleep`].
    pub fn announce_sleep(&self, shard: usize) -> bool {
        self.inboxes[shard].announce_sleep()
    }

    /// See [`Inbox::wake_up`].
    pub fn wake_up(&self, shard: usize) {
        self.inboxes[shard].wake_up();
    }

    /// Whether a shard that got a message sleeps and the caller is the one to wake it.
    pub fn take_sleeper(&self, shard: usize) -> bool {
        self.inboxes[shard].take_sleeper()
    }

    /// Pushes work of connections to a shard, after the release of a multicast that holds that shard's lock: the gate.
    /// Replies and grants go by [`Mailboxes::push_home`]. The caller wakes the shard.
    pub fn push(&self, shard: usize, node: Box<Node<T>>) {
        if self.rules.gate {
            self.locks[shard].wait_released();
        }
        self.push_into(shard, node);
    }

    /// Pushes an answer home.
    pub fn push_home(&self, shard: usize, node: Box<Node<T>>) {
        self.push_into(shard, node);
    }

    /// Sends one part to each of several shards as one ordered multicast: `parts` ascending by shard, each shard once.
    /// `clock` is read after the last push. The caller wakes the shards afterwards. Returns the multicast's number.
    pub fn multicast(
        &self,
        header: &Multicast,
        parts: impl IntoIterator<Item = (usize, Box<Node<T>>)>,
        involved: &[usize],
        clock: impl FnOnce() -> Milliseconds,
    ) -> u64 {
        debug_assert!(involved.is_sorted_by(|a, b| a < b));
        for &shard in involved {
            self.locks[shard].lock();
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        header.number.store(number, Ordering::Release);
        for (shard, node) in parts {
            debug_assert!(involved.contains(&shard));
            self.push_into(shard, node);
        }
        header.now.store(clock(), Ordering::Release);
        point(Step::Flag);
        header.all_enqueued.store(true, Ordering::SeqCst);
        for &shard in involved {
            self.locks[shard].unlock();
        }
        number
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn any_two_multicasts_meet_in_the_same_order_everywhere() {
        let mailboxes = Arc::new(Mailboxes::<u64>::new(3, Rules::default()));
        let senders: Vec<_> = (0..3u64)
            .map(|sender| {
                let mailboxes = mailboxes.clone();
                std::thread::spawn(move || {
                    for round in 0..500 {
                        let involved: &[usize] = [&[0, 1][..], &[1, 2], &[0, 1, 2]][(round + sender) as usize % 3];
                        let parts = involved.iter().map(|&shard| (shard, Node::new(sender << 32 | round)));
                        mailboxes.multicast(&Multicast::default(), parts, involved, || 0);
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.join().expect("sender");
        }
        let orders: Vec<Vec<u64>> =
            (0..3).map(|shard| mailboxes.drain(shard).map(|node| node.message).collect()).collect();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let common = |of: usize, with: usize| {
                orders[of].iter().filter(|id| orders[with].contains(id)).copied().collect::<Vec<_>>()
            };
            assert_eq!(common(a, b), common(b, a), "shards {a} and {b}");
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;

    /// Two multicasts to the same two shards: both shards see them in one order, and a shard that has drained a part
    /// with the flag set finds every other part pushed.
    #[test]
    fn order_and_flag() {
        loom::model(|| {
            let mailboxes = Arc::new(Mailboxes::<(usize, Arc<Multicast>)>::new(2, Rules::default()));
            let senders: Vec<_> = (0..2)
                .map(|sender| {
                    let mailboxes = mailboxes.clone();
                    loom::thread::spawn(move || {
                        let header = Multicast::new();
                        let parts = (0..2).map(|shard| (shard, Node::new((sender, header.clone()))));
                        mailboxes.multicast(&header.clone(), parts, &[0, 1], || 5);
                    })
                })
                .collect();
            let seen: Vec<_> = mailboxes.drain(0).map(|node| node.message).collect();
            for (sender, header) in &seen {
                if header.is_enqueued() {
                    assert_eq!(header.now(), 5);
                    assert!(!mailboxes.is_empty(1), "part of {sender} missing on shard 1");
                }
            }
            for sender in senders {
                sender.join().expect("sender");
            }
            let mut first: Vec<_> = seen.iter().map(|(sender, _)| *sender).collect();
            first.extend(mailboxes.drain(0).map(|node| node.message.0));
            let second: Vec<_> = mailboxes.drain(1).map(|node| node.message.0).collect();
            assert_eq!(first, second);
        });
    }
}
