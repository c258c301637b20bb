//! The Torc process.
//!
//! ```text
//!   core_loop ──> core::dispatch ──> Shard::execute ──> commands::<family>::<command> ──> values
//!       │             │    └───────> mailbox, coordinator      (torc-engine)
//!       │             └────────────> session commands
//!    reactor (io_uring or simulated)
//! ```

pub mod allocator;
pub mod append_log;
pub mod command_table;
pub mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod control_plane;
pub mod core;
pub mod core_loop;
pub mod log;
pub mod mailbox;
pub mod pace;
pub mod process;
pub mod reactor;
pub mod scripting;
pub mod server;
pub mod settings;
pub mod shared;
pub mod snapshot;
pub mod tasks;
