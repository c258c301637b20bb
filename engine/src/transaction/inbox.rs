//! The one queue into a shard: many producers, one consumer, first in first out.
//!
//! ```text
//!   push:  node.next = head; CAS head -> node          one atomic step, never blocks, never fails
//!   drain: take = swap(head, null); reverse(take)      everything pushed before the swap, in push order
//! ```
//!
//! Invariants:
//! 1. A node is owned by exactly one of: the producer before its push, the stack, the consumer after its swap.
//! 2. There is no half-finished push: a node is reachable from the head, or not pushed.
//! 3. Sleep: the consumer sets `asleep`, fences, looks at the head again; a producer pushes, fences, looks at `asleep`.
//!    Both sides are SeqCst, so at least one sees the other (checked with loom below).

#![allow(unsafe_code)]

use super::interleave::{Step, point};
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};
use std::ptr;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

/// A message and its link. It is allocated once: the answer travels home in the node of the question.
#[derive(Debug)]
pub struct Node<T> {
    next: *mut Node<T>,
    /// The message.
    pub message: T,
}

// SAFETY: `next` is only touched by the owner of the node (invariant 1), so a node may go wherever its message may.
unsafe impl<T: Send> Send for Node<T> {}

impl<T> Node<T> {
    /// A node that is not in any inbox.
    pub fn new(message: T) -> Box<Self> {
        Box::new(Self { next: ptr::null_mut(), message })
    }
}

/// The inbox of one shard. Aligned so that two shards' heads never share a cache line (or its prefetched neighbour).
#[derive(Debug)]
#[repr(align(128))]
pub struct Inbox<T> {
    head: AtomicPtr<Node<T>>,
    asleep: AtomicBool,
}

// SAFETY: nodes are handed over whole (invariant 1); the atomics order the hand-over (release push, acquire swap).
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above; shared access is only through atomics.
unsafe impl<T: Send> Sync for Inbox<T> {}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), asleep: AtomicBool::new(false) }
    }
}

impl<T> Inbox<T> {
    /// Adds a message. Whoever pushes then calls [`Inbox::take_sleeper`] and wakes the shard if it says so.
    pub fn push(&self, node: Box<Node<T>>) {
        point(Step::Push);
        let node = Box::into_raw(node);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the node is ours until the exchange succeeds (invariant 1).
            unsafe { (*node).next = head };
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything pushed so far, oldest first. Only the owning shard calls this.
    pub fn drain(&self) -> Drained<T> {
        point(Step::Drain);
        if self.head.load(Ordering::Relaxed).is_null() {
            return Drained { next: ptr::null_mut() };
        }
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest: *mut Node<T> = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: after the swap the whole chain is ours alone (invariant 1).
            unsafe {
                let older = (*newest).next;
                (*newest).next = oldest;
                oldest = newest;
                newest = older;
            }
        }
        Drained { next: oldest }
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// The owner announces that it will sleep. False if a message is there: then it does not sleep. After true the
    /// owner checks whatever else could have been meant for it (flags), and calls [`Inbox::wake_up`] when it is awake.
    pub fn announce_sleep(&self) -> bool {
        point(Step::Sleep);
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        point(Step::Sleep);
        if self.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// The owner is awake.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// After a push (or after setting a flag): whether the owner sleeps and the caller is the one to wake it.
    pub fn take_sleeper(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst)
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

/// What a drain took, oldest first.
#[derive(Debug)]
pub struct Drained<T> {
    next: *mut Node<T>,
}

impl<T> Iterator for Drained<T> {
    type Item = Box<Node<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the chain is ours (invariant 1) and every node in it came from a Box.
        let mut node = unsafe { Box::from_raw(self.next) };
        self.next = std::mem::replace(&mut node.next, ptr::null_mut());
        Some(node)
    }
}

impl<T> Drop for Drained<T> {
    fn drop(&mut self) {
        for node in self.by_ref() {
            drop(node);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_the_order_of_their_pushes() {
        let inbox = Inbox::default();
        for number in 0..5 {
            inbox.push(Node::new(number));
        }
        let taken: Vec<i32> = inbox.drain().map(|node| node.message).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_is_not_taken_is_freed() {
        let witness = std::sync::Arc::new(());
        let inbox = Inbox::default();
        for _ in 0..3 {
            inbox.push(Node::new(witness.clone()));
        }
        drop(inbox.drain().next());
        inbox.push(Node::new(witness.clone()));
        drop(inbox);
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    #[test]
    fn each_producer_keeps_its_order() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let inbox = inbox.clone();
                std::thread::spawn(move || (0..1000).for_each(|number| inbox.push(Node::new((producer, number)))))
            })
            .collect();
        let mut next = [0; 4];
        while next.iter().sum::<i32>() < 4000 {
            for node in inbox.drain() {
                let (producer, number): (usize, i32) = node.message;
                assert_eq!(number, next[producer]);
                next[producer] += 1;
            }
        }
        for producer in producers {
            producer.join().expect("producer");
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_message_is_lost_or_reordered() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::default());
            let producer = {
                let inbox = inbox.clone();
                loom::thread::spawn(move || {
                    inbox.push(Node::new(1));
                    inbox.push(Node::new(2));
                })
            };
            let mut taken: Vec<i32> = inbox.drain().map(|node| node.message).collect();
            producer.join().expect("producer");
            taken.extend(inbox.drain().map(|node| node.message));
            assert_eq!(taken, [1, 2]);
        });
    }

    /// A consumer that goes to sleep and a producer that pushes: never both "asleep" and "not woken" with a message.
    #[test]
    fn no_wake_up_is_lost() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::default());
            let producer = {
                let inbox = inbox.clone();
                loom::thread::spawn(move || {
                    inbox.push(Node::new(7));
                    inbox.take_sleeper()
                })
            };
            let sleeps = inbox.announce_sleep();
            let woken = producer.join().expect("producer");
            if sleeps {
                assert!(woken, "asleep with a message and nobody wakes it");
            }
        });
    }
}
