//! One shard's logic: commands, values, keyspace, expiry, and the protocol between shards as state machines.
//!
//! ```text
//!   arguments ──> commands::<family>::<command> ──> keyspace ──> values
//!                        │                             │
//!                        ├──> reply (encoded once)     └──> expiry, scan order, lazy free
//!                        └──> journal (effects and events)
//!   transaction/   inbox, multicast, locks, overlay: what lets many shards act as one
//! ```
//!
//! Nothing here opens a socket or a file, starts a thread, reads a clock or draws a seed of its own: time and randomness
//! are arguments. The same code therefore runs in the server, in the seeded simulation and under a model checker.

#[allow(unsafe_code)]
pub mod values;

pub mod audience;
pub mod command;
pub mod commands;
pub mod digest;
pub mod error_counts;
pub mod journal;
pub mod keyspace;
pub mod long;
mod merge_sort;
pub mod reply;
pub mod shard;
pub mod transaction;
