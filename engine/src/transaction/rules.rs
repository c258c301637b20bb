//! The rules of order, as switches.
//!
//! Without any one of them there is a history that breaks the promise of `server/ARCHITECTURE.md`, "Order and atomicity".
//! They are always on; only tests switch one off, to show that the simulation finds its counterexample.

/// Which rules are kept. `Default` keeps all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A part of a multicast runs only when all its parts are enqueued.
    pub flag: bool,
    /// A turn drains its inbox after reaping completions and before it runs local commands.
    pub turn_order: bool,
    /// A connection with something unanswered elsewhere sends local commands through the inbox, and waits for a
    /// multicast that holds the destination's lock.
    pub gate: bool,
    /// Before a write, the connection's open batches to other shards are pushed.
    pub batches: bool,
    /// An all-shard message waits for what came before it and holds back what comes after.
    pub cuts: bool,
    /// Work from the inbox runs at the time of its message, a multicast's parts at the multicast's one time.
    pub clocks: bool,
    /// A push never blocks: bounds are kept at the source.
    pub unbounded_push: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { flag: true, turn_order: true, gate: true, batches: true, cuts: true, clocks: true, unbounded_push: true }
    }
}
