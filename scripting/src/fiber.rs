//! An interpreter on a stack of its own, so that a script can stop in the middle of a call.
//!
//! ```text
//!   shard's stack                                interpreter's stack (8 MiB reserved, a guard page below)
//!     Run::resume ── Wake::Job, Go, Kill ──────>   vm.perform(job)
//!                                                    script ─> redis.call ─> Link::call
//!     Step::Call, Tick, Done <── Event ───────────<──────────────────────────┘ suspend
//! ```
//!
//! - The virtual machine is made, used and dropped on this stack, by this coroutine only: neither Lua nor QuickJS ever
//!   sees a second stack, and their jumps (`longjmp`) stay within it.
//! - One coroutine runs one script at a time. A second script on the same shard while one is suspended gets another
//!   interpreter from the pool (`engines.rs`), so no two runs share a virtual machine half-way.
//! - Nothing unwinds through it: who drops a suspended run kills the script first (every further instruction of it raises
//!   an error), and an idle coroutine is asked to return.
//! - Memory of the stack is committed as it is touched. Deep recursion is refused by [`Link::is_stack_low`] well before
//!   the guard page.
//!
//! `unsafe` stands here for one reason: callbacks of the virtual machines must be `'static`, and find the switch back by
//! a pointer.

#![allow(unsafe_code)]

use crate::exchange::Exchange;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;

/// Address space of an interpreter's stack, in bytes: Lua's 200 nested C calls take some 2 MiB at worst, the rest is
/// for nested tables.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What must be left of it for a recursion to go on, in bytes.
const STACK_RESERVE_BYTES: usize = 512 * 1024;

/// What makes an interpreter go on.
pub(crate) enum Wake<J> {
    /// Do this.
    Job(J),
    /// The reply is there, or: go on.
    Go,
    /// End the script with this error.
    Kill(&'static str),
    /// Return; nothing is under way.
    Quit,
}

/// Why an interpreter stopped.
pub(crate) enum Event<D> {
    /// It asks something: see the exchange.
    Call,
    /// It has run for a while.
    Tick,
    /// The job is done.
    Done(D),
}

/// Whether a script may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Yes.
    Go,
    /// It is to end with this error, and will be told so at each turn from now on.
    Kill(&'static str),
}

type Switch<J, D> = Yielder<Wake<J>, Event<D>>;

/// The interpreter's end: how its callbacks reach the shard.
pub(crate) struct Link<J, D> {
    switch: Cell<*const Switch<J, D>>,
    killed: Cell<Option<&'static str>>,
    floor: Cell<usize>,
    /// What passes between script and shard.
    pub(crate) exchange: RefCell<Exchange>,
}

impl<J, D> Link<J, D> {
    /// The shard answers what the exchange asks.
    pub(crate) fn call(&self) -> Verdict {
        self.pause(Event::Call)
    }

    /// The shard looks whether the script may go on.
    pub(crate) fn tick(&self) -> Verdict {
        self.pause(Event::Tick)
    }

    /// Why the script was killed, if it was.
    pub(crate) fn killed(&self) -> Option<&'static str> {
        self.killed.get()
    }

    /// Whether what is left of the stack is for leaving, not for going deeper.
    pub(crate) fn is_stack_low(&self) -> bool {
        here() < self.floor.get()
    }

    fn pause(&self, event: Event<D>) -> Verdict {
        if let Some(error) = self.killed.get() {
            return Verdict::Kill(error);
        }
        let switch = self.switch.get();
        debug_assert!(!switch.is_null(), "only a running interpreter asks");
        // SAFETY: the pointer was set by the body of the coroutine that owns the yielder, and the body does not return
        // while its virtual machine can call back; only code on that coroutine's stack holds this link's callbacks.
        match unsafe { (*switch).suspend(event) } {
            Wake::Kill(error) => {
                self.killed.set(Some(error));
                Verdict::Kill(error)
            }
            Wake::Go | Wake::Job(_) | Wake::Quit => Verdict::Go,
        }
    }
}

/// Where the stack is just now.
#[inline(never)]
fn here() -> usize {
    let mark = 0_u8;
    ptr::from_ref(std::hint::black_box(&mark)).addr()
}

/// An interpreter that does jobs, one at a time.
pub(crate) trait Machine {
    /// What it is asked to do.
    type Job;
    /// What comes of it.
    type Done;

    /// Does one job.
    fn perform(&mut self, job: Self::Job) -> Self::Done;
}

/// How a machine's callbacks reach its shard.
pub(crate) type LinkOf<M> = Link<<M as Machine>::Job, <M as Machine>::Done>;

/// The shard's end.
pub(crate) struct Fiber<J: 'static, D: 'static> {
    coroutine: Coroutine<Wake<J>, Event<D>, ()>,
    link: Rc<Link<J, D>>,
    busy: bool,
}

impl<J: 'static, D: 'static> Fiber<J, D> {
    /// A stack on which `build` makes the machine when its first job comes.
    pub(crate) fn new<M>(build: impl FnOnce(Rc<Link<J, D>>) -> M + 'static) -> std::io::Result<Self>
    where
        M: Machine<Job = J, Done = D>,
    {
        let link = Rc::new(Link {
            switch: Cell::new(ptr::null()),
            killed: Cell::new(None),
            floor: Cell::new(0),
            exchange: RefCell::default(),
        });
        let shared = link.clone();
        let build = Box::new(build);
        let stack = DefaultStack::new(STACK_BYTES)?;
        let coroutine = Coroutine::with_stack(stack, move |switch: &Switch<J, D>, mut wake| {
            shared.switch.set(ptr::from_ref(switch));
            shared.floor.set(here() - STACK_BYTES + STACK_RESERVE_BYTES);
            let mut machine = None;
            let mut build = Some((build, shared));
            while let Wake::Job(job) = wake {
                if let Some((build, link)) = build.take() {
                    machine = Some(build(link));
                }
                let Some(machine) = &mut machine else { break };
                wake = switch.suspend(Event::Done(machine.perform(job)));
            }
        });
        Ok(Self { coroutine, link, busy: false })
    }

    /// What passes between script and shard.
    pub(crate) fn exchange(&self) -> &RefCell<Exchange> {
        &self.link.exchange
    }

    /// Whether a job is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a job; none is under way.
    pub(crate) fn start(&mut self, job: J) -> Event<D> {
        assert!(!self.busy, "one job at a time");
        self.link.killed.set(None);
        self.busy = true;
        self.switch(Wake::Job(job))
    }

    /// Goes on with a job that stopped.
    pub(crate) fn resume(&mut self) -> Event<D> {
        assert!(self.busy, "a job is under way");
        self.switch(Wake::Go)
    }

    /// Ends a job that stopped: it is done when this returns.
    pub(crate) fn kill(&mut self, error: &'static str) -> Event<D> {
        assert!(self.busy, "a job is under way");
        self.switch(Wake::Kill(error))
    }

    fn switch(&mut self, wake: Wake<J>) -> Event<D> {
        match self.coroutine.resume(wake) {
            CoroutineResult::Yield(event) => {
                self.busy = !matches!(event, Event::Done(_));
                event
            }
            CoroutineResult::Return(()) => unreachable!("a machine returns when it is told to quit"),
        }
    }
}

impl<J: 'static, D: 'static> Drop for Fiber<J, D> {
    fn drop(&mut self) {
        while self.busy && !self.coroutine.done() {
            self.kill("Script ended: its client is gone");
        }
        if !self.coroutine.done() {
            let _ = self.coroutine.resume(Wake::Quit);
        }
    }
}
