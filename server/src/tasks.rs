//! What waits in the middle of its work, and what it needs of the core meanwhile.
//!
//! ```text
//!   task (executor)                                core (the loop of the shard)
//!     on_core(|core| ..).await   ── errand ──>     runs it in this turn, between commands
//!                                <── answer ──
//!     ask_all(question).await    ── errand ──>     multicast ──> every shard ──> answers
//!     on_shard(shard, |core| ..).await               the same on another shard
//!     until(name, condition).await                 wake(name), from here or by Core::run_on of another shard
//!     operations.open(..).await                    the driver's files and connections
//! ```
//!
//! Tasks never hold the core: they leave it a closure and wait. So all long procedures (a snapshot, a load) read from top to
//! bottom, and what they do to the data happens at a place in the shard's order.

use crate::control::{ControlReply, ControlRequest};
use crate::core::Core;
use crate::core::own_client::OwnClients;
use crate::core::session::Conclude;
use crate::migrate::Targets;
use crate::reactor::executor::{Executor, Handle};
use crate::reactor::operations::Operations;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Something that the core does for a task.
pub type Errand = Box<dyn FnOnce(&mut Core)>;

/// Something that another shard's core is to do.
pub struct Assignment(pub Box<dyn FnOnce(&mut Core) + Send>);

impl std::fmt::Debug for Assignment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Assignment")
    }
}

/// What tasks of a shard work with. Clones share one state.
#[derive(Clone)]
pub struct Tasks {
    /// Spawns and sleeps.
    pub executor: Handle,
    /// Files and connections.
    pub operations: Operations,
    /// Clients of the server's own.
    pub own_clients: OwnClients,
    /// How many connections run nothing before a task has answered them.
    pub awaited_answers: Rc<Cell<usize>>,
    /// Connections to servers that keys were sent to.
    pub targets: Targets,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    errands: RefCell<VecDeque<Errand>>,
    /// Tasks that wait for something by name.
    waiting: RefCell<HashMap<u64, Vec<Waker>>>,
    next_name: Cell<u64>,
}

impl Default for Tasks {
    /// Of an executor that nobody runs.
    fn default() -> Self {
        Self::new(Executor::new().handle(), Operations::default())
    }
}

impl Tasks {
    /// For an executor and its operations.
    pub fn new(executor: Handle, operations: Operations) -> Self {
        let (own_clients, awaited_answers, targets) = (OwnClients::default(), Rc::default(), Targets::default());
        Self { executor, operations, own_clients, awaited_answers, targets, state: Rc::default() }
    }

    /// Has the core do something, and gives what came of it.
    pub async fn on_core<T: 'static>(&self, act: impl FnOnce(&mut Core) -> T + 'static) -> T {
        let (answer, asked) = answer();
        self.leave(Box::new(move |core| answer.give(act(core))));
        asked.await
    }

    /// Goes on in the next turn: what clients want comes in between.
    pub async fn next_turn(&self) {
        self.on_core(|_| ()).await;
    }

    /// Asks every shard; the answers are in the order of the shards.
    pub async fn ask_all(&self, question: ControlRequest) -> Vec<ControlReply> {
        self.ask_all_by(|core, conclude| core.ask_all(question, conclude)).await
    }

    /// The same, by what the core does to ask.
    pub async fn ask_all_by(&self, ask: impl FnOnce(&mut Core, Conclude) + 'static) -> Vec<ControlReply> {
        let (answer, asked) = answer();
        self.leave(Box::new(move |core| ask(core, Box::new(move |_, replies, _| answer.give(replies)))));
        asked.await
    }

    /// Has the core of a shard do something, and gives what came of it.
    pub async fn on_shard<T: Send + 'static>(
        &self,
        shard: usize,
        act: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> T {
        let (name, came) = (self.take_name(), Arc::new(Mutex::new(None)));
        let place = came.clone();
        self.on_core(move |core| {
            let home = core.index;
            core.run_on(shard, move |core| {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(act(core));
                core.run_on(home, move |core| core.tasks.wake(name));
            });
        })
        .await;
        let take = || came.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut value = None;
        self.until(name, || {
            value = take();
            value.is_some()
        })
        .await;
        value.expect("waited for")
    }

    /// Waits for a condition that is looked at whenever the name is woken.
    pub async fn until(&self, name: u64, mut condition: impl FnMut() -> bool) {
        poll_fn(|context| {
            if condition() {
                return Poll::Ready(());
            }
            self.state.waiting.borrow_mut().entry(name).or_default().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Those who wait by that name look again.
    pub fn wake(&self, name: u64) {
        let waiting = self.state.waiting.borrow_mut().remove(&name);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// A name for [`Self::until`] that nothing else on this shard has.
    pub fn take_name(&self) -> u64 {
        self.state.next_name.replace(self.state.next_name.get() + 1)
    }

    /// Begins something that ends by itself.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(self.executor.spawn(task));
    }

    /// Has the core do something; nobody waits for it.
    pub fn leave(&self, errand: Errand) {
        self.state.errands.borrow_mut().push_back(errand);
    }

    /// The oldest errand that has not been run.
    pub fn take_errand(&self) -> Option<Errand> {
        self.state.errands.borrow_mut().pop_front()
    }

    /// Whether there is one.
    pub fn has_errands(&self) -> bool {
        !self.state.errands.borrow().is_empty()
    }
}

/// Where an answer goes, once.
struct Answer<T>(Rc<Asked<T>>);

/// Who waits for it.
struct Asked<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

fn answer<T>() -> (Answer<T>, impl Future<Output = T>) {
    let asked = Rc::new(Asked { value: Cell::new(None), waker: Cell::new(None) });
    let answer = Answer(asked.clone());
    let waits = poll_fn(move |context| match asked.value.take() {
        Some(value) => Poll::Ready(value),
        None => {
            asked.waker.set(Some(context.waker().clone()));
            Poll::Pending
        }
    });
    (answer, waits)
}

impl<T> Answer<T> {
    fn give(self, value: T) {
        self.0.value.set(Some(value));
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}
