//! Timers of one executor: sleeps ordered by deadline, on a clock that its owner moves.
//!
//! ```text
//!   sleep_until(d) ──first poll──> waiting: {(deadline, sequence): waker} ──advance(now >= d)──> woken, in order
//!                  <──drop──────── removed
//! ```
//!
//! The clock moves only in [`Timers::advance`], so that everything in one turn sees one time, and a simulation can own it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Deadline, then order of creation: equal deadlines fire first come, first served.
type Key = (u64, u64);

/// The timers and the clock that they know.
#[derive(Debug, Default)]
pub struct Timers {
    now_ns: Cell<u64>,
    next_sequence: Cell<u64>,
    /// Sleeps that have been polled and are not over.
    waiting: RefCell<BTreeMap<Key, Waker>>,
}

impl Timers {
    /// The time of this turn.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Moves the clock (never back) and wakes every sleep whose deadline has come.
    pub fn advance(&self, now_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(now_ns));
        let due = {
            let mut waiting = self.waiting.borrow_mut();
            match waiting.first_key_value() {
                Some((&(deadline_ns, _), _)) if deadline_ns <= self.now_ns.get() => {}
                _ => return,
            }
            let later = waiting.split_off(&(self.now_ns.get() + 1, 0));
            std::mem::replace(&mut *waiting, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// When the next sleep ends.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.waiting.borrow().first_key_value().map(|(&(deadline_ns, _), _)| deadline_ns)
    }

    /// Sleeps until the clock reaches a time.
    pub fn sleep_until(self: &Rc<Self>, deadline_ns: u64) -> Sleep {
        let sequence = self.next_sequence.get();
        self.next_sequence.set(sequence + 1);
        Sleep { timers: Rc::clone(self), key: (deadline_ns, sequence) }
    }

    /// Sleeps for a while, from this turn's time.
    pub fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sleep_until(self.now_ns().saturating_add(duration_ns))
    }

    /// Runs a future for at most so long, then drops it.
    pub async fn timeout<T>(self: &Rc<Self>, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut sleep = self.sleep(limit);
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }
}

/// The time limit of [`Timers::timeout`] was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the time limit was reached")
    }
}

impl std::error::Error for Elapsed {}

/// A future that is ready when the clock has reached its deadline.
#[derive(Debug)]
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    timers: Rc<Timers>,
    key: Key,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.key.0 <= self.timers.now_ns() {
            return Poll::Ready(());
        }
        self.timers.waiting.borrow_mut().insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // The waker is dropped after the borrow ends: it may be the last hold on something that sleeps, too.
        let waker = self.timers.waiting.borrow_mut().remove(&self.key);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn sleeps_end_at_their_deadline_and_not_before() {
        let (timers, count) = (Rc::new(Timers::default()), Arc::new(Count::default()));
        let mut sleep = timers.sleep_until(100);
        assert!(poll(&mut sleep, &count).is_pending());
        assert_eq!(timers.next_deadline_ns(), Some(100));
        timers.advance(99);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        timers.advance(100);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll(&mut sleep, &count).is_ready());
        assert_eq!(timers.next_deadline_ns(), None);
        timers.advance(50);
        assert_eq!(timers.now_ns(), 100);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing() {
        let (timers, count) = (Rc::new(Timers::default()), Arc::new(Count::default()));
        let mut first = timers.sleep(Duration::from_nanos(10));
        let mut second = timers.sleep(Duration::from_nanos(10));
        assert!(poll(&mut first, &count).is_pending() && poll(&mut second, &count).is_pending());
        drop(first);
        assert_eq!(timers.next_deadline_ns(), Some(10));
        timers.advance(10);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(timers.next_deadline_ns(), None);
    }

    #[test]
    fn a_timeout_returns_what_comes_first() {
        let (timers, count) = (Rc::new(Timers::default()), Arc::new(Count::default()));
        let limit = Duration::from_nanos(10);
        let mut quick = Box::pin(timers.timeout(limit, async { 5 }));
        assert_eq!(poll(&mut quick, &count), Poll::Ready(Ok(5)));
        let mut slow = Box::pin(timers.timeout(limit, std::future::pending::<()>()));
        assert!(poll(&mut slow, &count).is_pending());
        timers.advance(10);
        assert_eq!(poll(&mut slow, &count), Poll::Ready(Err(Elapsed)));
    }
}
