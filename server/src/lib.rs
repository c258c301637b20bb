//! The Torc process.
//!
//! ```text
//!   core_loop ──> core::dispatch ──> Shard::execute ──> commands::<family>::<command> ──> values
//!       │             │    └───────> mailbox, coordinator      (torc-engine)
//!       │             └────────────> session commands
//!    reactor (io_uring or simulated)
//! ```

pub mod access;
pub mod allocator;
pub mod append_log;
pub mod check_system;
pub mod command_table;
pub mod commands;
pub mod config;
pub mod connection;
pub mod control;
pub mod control_plane;
pub mod core;
pub mod core_loop;
pub mod crash;
pub mod insight;
pub mod leftovers;
pub mod listening;
pub mod loading;
pub mod log;
pub mod longest_turn;
pub mod mailbox;
pub mod migrate;
pub mod oom_score;
pub mod pace;
pub mod process;
pub mod process_title;
pub mod reactor;
pub mod scripting;
pub mod server;
pub mod settings;
pub mod shared;
pub mod snapshot;
pub mod syslog;
pub mod tasks;
pub mod tls;
