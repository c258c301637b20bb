//! The points between two atomic steps at which the simulation may let another shard run.
//!
//! In the server nothing is installed and a point costs one thread-local load; in the simulation every shard runs in a
//! coroutine of one thread, and the hook suspends it. So each push of a multicast, each flag, each wake and each drain
//! is an event of its own in a seeded history.

use std::cell::Cell;

/// Which atomic step comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message is about to be pushed.
    Push,
    /// A multicast lock is about to be taken, or was found taken.
    Lock,
    /// The "all enqueued" flag is about to be set.
    Flag,
    /// The inbox is about to be drained.
    Drain,
    /// The shard is about to announce that it sleeps, or to check once more.
    Sleep,
}

thread_local! {
    static HOOK: Cell<Option<fn(Step)>> = const { Cell::new(None) };
}

/// Called before each atomic step.
#[inline]
pub fn point(step: Step) {
    if let Some(hook) = HOOK.get() {
        hook(step);
    }
}

/// Called while spinning for another shard: in the simulation that shard has to run; on hardware it is running.
#[inline]
pub fn spin(turns: &mut u32) {
    if let Some(hook) = HOOK.get() {
        hook(Step::Lock);
        return;
    }
    *turns += 1;
    if *turns < 64 {
        std::hint::spin_loop();
    } else {
        // The holder has lost its core: let it have ours.
        std::thread::yield_now();
    }
}

/// Installs or removes this thread's hook.
pub fn install(hook: Option<fn(Step)>) {
    HOOK.set(hook);
}
