//! What a server remembers of its own work, for those who ask why it was slow.
//!
//! ```text
//!   each shard, for itself                     all shards, under a lock
//!   ──────────────────────                     ────────────────────────
//!   one look at the clock a command  ──past a threshold──>  CommandLogs    SLOWLOG, COMMANDLOG
//!        │                           ──past a threshold──>  LatencyEvents  LATENCY LATEST, HISTORY, GRAPH, DOCTOR
//!        └──> Histograms, counts, Tally of keys: asked for by a multicast   LATENCY HISTOGRAM, INFO, HOTKEYS
//! ```
//!
//! * The end of one command is the beginning of the next: with slow log and histograms on, a command costs one look at the clock
//!   and one count in a line of memory that only its shard writes.
//! * A lock is taken for what passes a threshold only. So numbers rise in one order over all shards, lengths are exact, and the logs
//!   can be read while a shard hangs, which is when they are wanted.
//! * Whatever is remembered has a bound: entries of a log by its directive, their arguments by number and length, samples of an
//!   event by number, events by being a few names.
//! * Passwords are taken out before anything is remembered ([`secrets`]).

pub mod clock;
pub mod command_log;
pub mod histograms;
pub mod hot_keys;
pub mod latency;
pub mod secrets;

use command_log::CommandLogs;
use hot_keys::HotKeysSession;
use latency::LatencyEvents;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What all shards remember together.
#[derive(Debug, Default)]
pub struct Insight {
    commands: Mutex<CommandLogs>,
    latency: Mutex<LatencyEvents>,
    hot_keys: Mutex<Option<HotKeysSession>>,
}

impl Insight {
    /// The logs of commands. Held for moments only.
    pub fn commands(&self) -> MutexGuard<'_, CommandLogs> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of HOTKEYS, if there is one. Held for moments only.
    pub fn hot_keys(&self) -> MutexGuard<'_, Option<HotKeysSession>> {
        self.hot_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events of the latency monitor. Held for moments only.
    pub fn latency(&self) -> MutexGuard<'_, LatencyEvents> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
