//! A shard as a coroutine: it runs until its next atomic step, and another may run before it goes on.
//!
//! ```text
//!   scheduler ── resume ──> shard's stack: core loop ... inbox.push ── point(Step) ──┐
//!             <──────────── Pause::Step, Pause::Asleep ──────────────── pause() <────┘
//! ```
//!
//! The engine's hook is a plain function, so which coroutine runs is kept in a thread-local: set while it runs, and cleared
//! behind it, also by a panic. A coroutine that is dropped half-way unwinds its stack without pausing: nothing runs then.
//! This is the one file of the simulation with `unsafe` in it.

#![allow(unsafe_code)]

use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;
use torc_engine::transaction::interleave::{Step, install};
use torc_server::reactor::driver::Wait;

/// Why a shard stopped for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// An atomic step is next.
    Step(Step),
    /// It sleeps in its driver.
    Asleep(Wait),
}

type Switch = Yielder<(), Pause>;

thread_local! {
    static RUNNING: Cell<*const Switch> = const { Cell::new(ptr::null()) };
}

/// Gives the thread back to the scheduler; nothing outside of a coroutine.
pub fn pause(pause: Pause) {
    let running = RUNNING.get();
    // A stack that is being unwound runs its destructors in one go.
    if running.is_null() || std::thread::panicking() {
        return;
    }
    // SAFETY: the pointer is set only while its coroutine runs on this thread, so its body, and the yielder that was lent
    // to it, are alive; and it is this coroutine that suspends itself.
    unsafe { (*running).suspend(pause) };
}

/// While it lives, `pause` knows which coroutine runs.
struct Turn;

impl Turn {
    fn of(switch: *const Switch) -> Self {
        RUNNING.set(switch);
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.set(ptr::null());
    }
}

/// One shard's stack.
pub struct ShardCoroutine<R> {
    coroutine: Coroutine<(), Pause, R>,
    switch: Rc<Cell<*const Switch>>,
}

impl<R: 'static> ShardCoroutine<R> {
    /// Begins `body` with the first [`Self::resume`].
    pub fn new(body: impl FnOnce() -> R + 'static) -> Self {
        install(Some(|step| pause(Pause::Step(step))));
        let switch = Rc::new(Cell::new(ptr::null()));
        let shared = switch.clone();
        // What a coroutine begins with is moved onto its stack, where there is room for 1 KiB: a shard stays on the heap.
        let body: Box<dyn FnOnce() -> R> = Box::new(body);
        let coroutine = Coroutine::new(move |yielder: &Switch, ()| {
            shared.set(ptr::from_ref(yielder));
            RUNNING.set(shared.get());
            body()
        });
        Self { coroutine, switch }
    }

    /// Runs it to its next pause, or to its end.
    pub fn resume(&mut self) -> Result<Pause, R> {
        let _turn = Turn::of(self.switch.get());
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(pause) => Ok(pause),
            CoroutineResult::Return(value) => Err(value),
        }
    }
}
