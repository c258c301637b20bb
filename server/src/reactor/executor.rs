//! A small single-threaded executor: for everything of a shard that waits in the middle of its work (persistence,
//! replication, background walks). Commands do not run on it; they run to completion in the shard's loop.
//!
//! ```text
//!              spawn                      run_ready: poll each ready task once, first come, first served
//!   Handle ──────────> tasks (slab) <────────────────────────────── ready (task numbers)
//!                        │  Pending: stays, its waker is held                  ^
//!                        └─ Ready / cancelled: future dropped       Waker::wake┘  (at most once until polled)
//! ```
//!
//! * No thread-locals and no globals: a simulation runs any number of executors on one thread. Code gets a [`Handle`].
//! * Wakers are safe from any thread (the ready queue is a channel), but a wake from another thread does not interrupt a
//!   sleeping driver: for that there is [`super::driver::Waker`].
//! * Neither polling nor dropping a future happens while anything of the executor is borrowed, so tasks may spawn, cancel
//!   and wake from wherever they are, also from a `Drop`.
//! * Dropping the [`Executor`] drops all tasks, and with them the cycles of tasks that hold a `Handle`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::timer::{Elapsed, Sleep, Timers};

/// Which task; the generation tells a slot's tasks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskId {
    index: usize,
    generation: u64,
}

/// What a task's waker holds.
struct TaskWaker {
    id: TaskId,
    /// Set while the number is in the ready queue.
    is_queued: AtomicBool,
    ready: Sender<TaskId>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            // Fails only where the executor is gone, and the task with it.
            let _ = self.ready.send(self.id);
        }
    }
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Taken out while it is polled.
    future: Option<TaskFuture>,
    waker: Arc<TaskWaker>,
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Option<Task>>,
    free: Vec<usize>,
    next_generation: u64,
}

impl Tasks {
    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.slots.get_mut(id.index)?.as_mut().filter(|task| task.waker.id == id)
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        self.get_mut(id)?;
        self.free.push(id.index);
        self.slots[id.index].take()
    }
}

struct Shared {
    tasks: RefCell<Tasks>,
    ready_sender: Sender<TaskId>,
    ready: Receiver<TaskId>,
    /// A task number that was received to look whether there is one.
    peeked: Cell<Option<TaskId>>,
    timers: Rc<Timers>,
}

/// The executor; owned by the loop that drives it.
pub struct Executor {
    shared: Rc<Shared>,
}

/// Spawns and sleeps, from inside or outside of tasks.
#[derive(Clone)]
pub struct Handle {
    shared: Rc<Shared>,
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// An executor without tasks, its clock at 0.
    pub fn new() -> Self {
        let (ready_sender, ready) = channel();
        let (tasks, timers) = (RefCell::default(), Rc::default());
        Self { shared: Rc::new(Shared { tasks, ready_sender, ready, peeked: Cell::new(None), timers }) }
    }

    /// A handle to give to tasks.
    pub fn handle(&self) -> Handle {
        Handle { shared: Rc::clone(&self.shared) }
    }

    /// Moves the clock and wakes the sleeps that end by it.
    pub fn advance(&self, now_ns: u64) {
        self.shared.timers.advance(now_ns);
    }

    /// When the next sleep ends: how long the driver may wait, if no task is ready.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.shared.timers.next_deadline_ns()
    }

    /// Whether a task is ready: then the driver must not wait.
    pub fn has_ready(&self) -> bool {
        let next = self.shared.next_ready();
        self.shared.peeked.set(next);
        next.is_some()
    }

    /// Polls ready tasks, at most so many; how many it polled.
    pub fn run_ready(&self, polls_max: usize) -> usize {
        let mut polls = 0;
        while polls < polls_max
            && let Some(id) = self.shared.next_ready()
        {
            polls += usize::from(self.shared.poll(id));
        }
        polls
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        let tasks = self.shared.tasks.borrow();
        tasks.slots.len() - tasks.free.len()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // A task's drop may spawn another.
        loop {
            let tasks = std::mem::take(&mut *self.shared.tasks.borrow_mut());
            if tasks.slots.is_empty() {
                break;
            }
            drop(tasks);
        }
    }
}

impl Shared {
    fn next_ready(&self) -> Option<TaskId> {
        self.peeked.take().or_else(|| self.ready.try_recv().ok())
    }

    /// Polls the task if it still exists; whether it did.
    fn poll(&self, id: TaskId) -> bool {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(id) else { return false };
            let Some(future) = task.future.take() else { return false };
            (future, Arc::clone(&task.waker))
        };
        // Before the poll: a wake during it must queue the task again.
        waker.is_queued.store(false, Ordering::Release);
        let waker = Waker::from(waker);
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let task = self.tasks.borrow_mut().remove(id);
            drop(task);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(id) {
            task.future = Some(future);
            return true;
        }
        // Over, or cancelled while it ran: dropped here, outside of any borrow.
        drop(future);
        true
    }

    fn spawn(&self, future: TaskFuture) -> TaskId {
        let waker = {
            let mut tasks = self.tasks.borrow_mut();
            let index = tasks.free.pop().unwrap_or(tasks.slots.len());
            let id = TaskId { index, generation: tasks.next_generation };
            tasks.next_generation += 1;
            let is_queued = AtomicBool::new(false);
            let waker = Arc::new(TaskWaker { id, is_queued, ready: self.ready_sender.clone() });
            let task = Some(Task { future: Some(future), waker: Arc::clone(&waker) });
            if index == tasks.slots.len() {
                tasks.slots.push(task);
            } else {
                tasks.slots[index] = task;
            }
            waker
        };
        waker.wake_by_ref();
        waker.id
    }
}

impl Handle {
    /// Starts a task. It goes on without its handle; see [`JoinHandle::cancel_on_drop`] for the other way.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let outcome = Rc::new(Outcome { result: Cell::new(None), waker: Cell::new(None), is_over: Cell::new(false) });
        let guard = FinishOnDrop(Rc::clone(&outcome));
        let id = self.shared.spawn(Box::pin(async move {
            let value = future.await;
            guard.0.result.set(Some(value));
            // `guard` drops: tells who joins, here and also where the task is cancelled.
        }));
        JoinHandle { id, shared: Rc::downgrade(&self.shared), outcome }
    }

    /// The time of this turn.
    pub fn now_ns(&self) -> u64 {
        self.shared.timers.now_ns()
    }

    /// Sleeps until the clock reaches a time.
    pub fn sleep_until(&self, deadline_ns: u64) -> Sleep {
        self.shared.timers.sleep_until(deadline_ns)
    }

    /// Sleeps for a while, from this turn's time.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.shared.timers.sleep(duration)
    }

    /// Runs a future for at most so long, then drops it.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        self.shared.timers.timeout(limit, future).await
    }
}

/// Lets the other ready tasks run first.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Where a task leaves its result.
struct Outcome<T> {
    result: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    is_over: Cell<bool>,
}

struct FinishOnDrop<T>(Rc<Outcome<T>>);

impl<T> Drop for FinishOnDrop<T> {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// The task was cancelled, or its executor dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the task was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// A task's end, to await or to cancel.
pub struct JoinHandle<T> {
    id: TaskId,
    shared: Weak<Shared>,
    outcome: Rc<Outcome<T>>,
}

impl<T> JoinHandle<T> {
    /// Drops the task's future at once (after its poll, if it is the one that calls). No effect on one that is over.
    pub fn cancel(&self) {
        if let Some(shared) = self.shared.upgrade() {
            let task = shared.tasks.borrow_mut().remove(self.id);
            drop(task);
        }
    }

    /// Whether the task is over.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_over.get()
    }

    /// Ties the task's life to the returned value's.
    #[must_use = "dropping it cancels the task"]
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop(self)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.outcome.is_over.get() {
            return Poll::Ready(self.outcome.result.take().ok_or(Cancelled));
        }
        self.outcome.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// A [`JoinHandle`] that cancels its task when dropped.
pub struct CancelOnDrop<T>(JoinHandle<T>);

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<T> Future for CancelOnDrop<T> {
    type Output = Result<T, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Rc<RefCell<Vec<u32>>> {
        Rc::default()
    }

    /// Runs until no task is ready and nothing sleeps.
    fn run(executor: &Executor) {
        loop {
            while executor.run_ready(100) > 0 {}
            match executor.next_deadline_ns() {
                Some(deadline_ns) => executor.advance(deadline_ns),
                None => return,
            }
        }
    }

    #[test]
    fn tasks_run_in_turn_and_give_their_results() {
        let (executor, log) = (Executor::new(), log());
        let mut joins = Vec::new();
        for task in 0..3u32 {
            let log = Rc::clone(&log);
            joins.push(executor.handle().spawn(async move {
                for round in 0..2 {
                    log.borrow_mut().push(round * 10 + task);
                    yield_now().await;
                }
                task
            }));
        }
        let sum = executor.handle().spawn(async move {
            let mut sum = 0;
            for join in joins {
                sum += join.await.unwrap();
            }
            sum
        });
        run(&executor);
        assert_eq!(*log.borrow(), [0, 1, 2, 10, 11, 12]);
        assert!(sum.is_finished());
        assert_eq!(sum.outcome.result.take(), Some(3));
        assert_eq!(executor.task_count(), 0);
    }

    #[test]
    fn a_poll_budget_is_kept() {
        let executor = Executor::new();
        for _ in 0..10 {
            executor.handle().spawn(async {});
        }
        assert!(executor.has_ready());
        assert_eq!(executor.run_ready(3), 3);
        assert_eq!(executor.task_count(), 7);
        assert_eq!(executor.run_ready(100), 7);
        assert!(!executor.has_ready());
    }

    #[test]
    fn sleeps_follow_the_given_clock() {
        let (executor, log) = (Executor::new(), log());
        let handle = executor.handle();
        for milliseconds in [30u32, 10, 20] {
            let (log, sleeper) = (Rc::clone(&log), handle.clone());
            handle.spawn(async move {
                sleeper.sleep(Duration::from_millis(u64::from(milliseconds))).await;
                log.borrow_mut().push(milliseconds);
            });
        }
        run(&executor);
        assert_eq!(*log.borrow(), [10, 20, 30]);
        assert_eq!(handle.now_ns(), 30_000_000);
    }

    /// Says when it is dropped.
    struct Tell(Rc<RefCell<Vec<u32>>>, u32);

    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1);
        }
    }

    #[test]
    fn cancellation_at_every_await_drops_everything_once() {
        const AWAITS: u32 = 6;
        for cancel_after_polls in 0..=AWAITS + 1 {
            let (executor, log) = (Executor::new(), log());
            let handle = executor.handle();
            let (inner_log, inner) = (Rc::clone(&log), handle.clone());
            let task = handle.spawn(async move {
                let _outer = Tell(Rc::clone(&inner_log), 1);
                for step in 0..AWAITS / 3 {
                    let _step = Tell(Rc::clone(&inner_log), 100 + step);
                    yield_now().await;
                    inner.sleep(Duration::from_nanos(5)).await;
                    let _ = inner.spawn(async { 5 }).await;
                }
            });
            for _ in 0..cancel_after_polls {
                if executor.run_ready(1) == 0 {
                    executor.advance(handle.now_ns() + 5);
                }
            }
            let was_finished = task.is_finished();
            task.cancel();
            task.cancel();
            assert!(task.is_finished());
            let waiter = handle.spawn(task);
            run(&executor);
            assert_eq!(waiter.outcome.result.take(), Some(if was_finished { Ok(()) } else { Err(Cancelled) }));
            assert_eq!(executor.task_count(), 0);
            assert_eq!(executor.next_deadline_ns(), None);
            let log = log.borrow();
            let mut seen: Vec<u32> = log.clone();
            seen.dedup();
            assert!(seen.len() == log.len() && (cancel_after_polls == 0 || log.contains(&1)), "{log:?}");
        }
    }

    #[test]
    fn a_task_may_cancel_itself() {
        let (executor, log) = (Executor::new(), log());
        let cell: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (own, tell) = (Rc::clone(&cell), Tell(Rc::clone(&log), 9));
        let join = executor.handle().spawn(async move {
            let _tell = tell;
            own.borrow().as_ref().unwrap().cancel();
            yield_now().await;
            unreachable!("went on after its cancellation");
        });
        *cell.borrow_mut() = Some(join);
        run(&executor);
        assert_eq!(*log.borrow(), [9]);
        assert!(cell.borrow().as_ref().unwrap().is_finished());
    }

    #[test]
    fn a_dropped_guard_cancels_and_a_dropped_handle_does_not() {
        let (executor, log) = (Executor::new(), log());
        let spawn = |number| {
            let log = Rc::clone(&log);
            executor.handle().spawn(async move {
                yield_now().await;
                log.borrow_mut().push(number);
            })
        };
        drop(spawn(1));
        drop(spawn(2).cancel_on_drop());
        let kept = spawn(3).cancel_on_drop();
        run(&executor);
        assert_eq!(*log.borrow(), [1, 3]);
        assert!(kept.0.is_finished());
    }

    #[test]
    fn stale_wakers_do_not_reach_the_next_task_of_a_slot() {
        let executor = Executor::new();
        let stolen: Rc<RefCell<Option<Waker>>> = Rc::default();
        let thief = Rc::clone(&stolen);
        let first = executor.handle().spawn(poll_fn(move |context| {
            *thief.borrow_mut() = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        run(&executor);
        first.cancel();
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        executor.handle().spawn(poll_fn(move |_| {
            counted.set(counted.get() + 1);
            Poll::<()>::Pending
        }));
        run(&executor);
        stolen.borrow_mut().take().unwrap().wake();
        run(&executor);
        assert_eq!(polls.get(), 1);
    }

    #[test]
    fn wakers_work_from_another_thread() {
        let executor = Executor::new();
        let (sender, receiver) = channel::<Waker>();
        let mut is_woken = false;
        let join = executor.handle().spawn(poll_fn(move |context| {
            if is_woken {
                return Poll::Ready(());
            }
            is_woken = true;
            sender.send(context.waker().clone()).unwrap();
            Poll::Pending
        }));
        run(&executor);
        std::thread::spawn(move || receiver.recv().unwrap().wake()).join().unwrap();
        run(&executor);
        assert!(join.is_finished());
    }

    #[test]
    fn dropping_the_executor_drops_tasks_that_hold_its_handle() {
        let (executor, log) = (Executor::new(), log());
        let handle = executor.handle();
        let (tell, inner) = (Tell(Rc::clone(&log), 4), handle.clone());
        let join = handle.spawn(async move {
            let _tell = tell;
            inner.sleep(Duration::from_secs(1)).await;
        });
        executor.run_ready(1);
        drop(executor);
        assert_eq!(*log.borrow(), [4]);
        assert!(join.is_finished());
        // A handle that outlived its executor is harmless.
        join.cancel();
        assert!(!handle.spawn(async {}).is_finished());
    }
}
