//! The protocol between shards: what lets many shards act as one, as state machines without I/O.
//!
//! ```text
//!   coordinator (any shard thread)                          owner of some keys (each shard)
//!   ──────────────────────────────                          ───────────────────────────────
//!   Mailboxes::multicast: lock inboxes ascending,           Inbox::drain takes all, in push order
//!     draw number, push parts, time, FLAG, unlock  ──────>  Schedule::enter: key intents at this position
//!                                                           runs when intents are granted and the FLAG is set
//!   one hop:     parts come home, replies are merged <────  reply of the part
//!   several hops: values come home, run on an overlay <───  values read under the held locks
//!                multicast of the writes ────────────────>  applied, locks released, next in line runs
//! ```
//!
//! * [`inbox`]: the one queue into a shard, and the sleep protocol.
//! * [`multicast`]: the one primitive of order.
//! * [`schedule`]: key locks by position, on one shard.
//! * [`overlay`]: running a command whose keys are on several shards on one temporary keyspace.
//! * [`interleave`]: the points at which the simulation may let another shard run.
//! * [`rules`]: the rules that keep the promise, each of which a test can switch off to see its counterexample.

pub mod inbox;
pub mod interleave;
pub mod multicast;
pub mod overlay;
pub mod rules;
pub mod schedule;
