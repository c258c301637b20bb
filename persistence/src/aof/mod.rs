//! The append-only file: a directory of files that a manifest names, and commands in them.
//!
//! ```text
//!   appendonlydir/
//!     appendonly.aof.manifest           which files, in which order                 manifest
//!     appendonly.aof.3.base.rdb         everything up to a moment (rdb), or commands (aof)
//!     appendonly.aof.7.incr.aof         commands since, as clients send them        frames, text
//!     appendonly.aof.8.incr.aof
//! ```
//!
//! `manifest` reads and writes what Redis 7 and Valkey do, with their checks and words. `frames` finds commands in bytes that come in
//! pieces, and where the last whole one ends: a transaction counts as a whole. `text` writes what is not a command of a client:
//! SELECT, MULTI, EXEC, times.

pub mod frames;
pub mod manifest;
pub mod text;
