//! Scripts and functions: EVAL and FCALL run where their keys are; SCRIPT and FUNCTION keep what they run.
//!
//! ```text
//!   runs.rs       EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO   handlers of the engine's kind
//!   scripts.rs    SCRIPT *     known to all shards by a table under a lock, looked at once a shard
//!   functions.rs  FUNCTION *   one registry, replaced by a multicast to all shards
//! ```

mod functions;
mod runs;
mod scripts;

pub(crate) use functions::{keep_libraries, load_libraries};
pub(super) use runs::RUNS;

use super::SessionCommand;
use torc_engine::command::{Arity, Categories, Flags, Spec};

const ROW: Spec = Spec {
    group: "scripting",
    since: "7.0.0",
    flags: Flags::NOSCRIPT,
    own_categories: Categories::SCRIPTING,
    ..Spec::BASE
};
const CONTAINER: Spec = Spec {
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    own_categories: Categories::NONE,
    complexity: "Depends on the subcommand",
    ..ROW
};
const HELP: Spec = Spec {
    name: "help",
    arity: Arity::Exact(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Lists the subcommands",
    ..ROW
};

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[functions::FUNCTION, scripts::SCRIPT];

/// Whether what follows FLUSH is nothing, or one of its modes.
fn is_flush_mode(words: &[&[u8]]) -> bool {
    match words {
        [] => true,
        [mode] => mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync"),
        _ => false,
    }
}
