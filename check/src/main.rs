//! `torc-check`: looks at RDB files and append-only files before somebody relies on them.
//!
//! ```text
//!   torc-check verify PATH [--fix]          what kind of file it is, is told by its first bytes
//!   torc-check print PATH [--values]
//!   torc-check convert FROM TO              RDB file <──> append-only file or directory
//!
//!   cli ──> rdb        walks through an RDB file, with a finding for whatever is wrong
//!       ├─> aof        walks through the files of a log
//!       ├─> repair     writes what is whole of an RDB file into a new one
//!       ├─> convert ── replay    an engine without a server, in which the commands of a log are run
//!       └─> stock_rdb, stock_aof     the same walks, told as redis-check-rdb and redis-check-aof tell them
//! ```
//!
//! Called by the name of one of those tools (a link is enough) it takes that tool's arguments, and says and exits as it does.
//! What it finds names the file, the offset, what is wrong, and what to do about it. Memory: an item of a file at a time, and
//! eight bytes and a little for each key, by which a key that stands twice is found. A conversion to RDB holds the data.

mod aof;
mod cli;
mod convert;
mod progress;
mod rdb;
mod repair;
mod replay;
mod statistics;
mod stock_aof;
mod stock_rdb;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// What stock tools call themselves.
fn stock_name(program: Option<&OsString>) -> Option<&'static str> {
    let name = Path::new(program?).file_name()?.to_str()?;
    ["redis-check-rdb", "valkey-check-rdb", "redis-check-aof", "valkey-check-aof"]
        .into_iter()
        .find(|stock| *stock == name)
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match stock_name(arguments.first()) {
        Some(name) if name.ends_with("rdb") => stock_rdb::main(name, &arguments[1..]),
        Some(name) => stock_aof::main(name, &arguments[1..]),
        None => cli::main(),
    }
}
