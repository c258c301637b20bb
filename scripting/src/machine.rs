//! What an interpreter is asked to do, whatever its language.

use crate::libraries::{FunctionSpec, Library};
use crate::reply::Reply;
use crate::scripts::Script;
use std::sync::Arc;

/// One thing to do. Keys and arguments of a run are in the exchange.
pub(crate) enum Job {
    /// Does the script compile?
    Check(Arc<Script>),
    /// Run a script.
    Script(Arc<Script>),
    /// Run a library's code, to learn what it registers.
    Load(Arc<Library>),
    /// Run a function of a library.
    Call(Arc<Library>, Box<str>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// A run's answer.
    Reply(Reply),
    /// Whether it compiles, or the error line.
    Checked(Result<(), Vec<u8>>),
    /// What was registered, or the error line.
    Loaded(Result<Vec<FunctionSpec>, Vec<u8>>),
}

/// What interpreters are made with; the same for all shards.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `redis.REDIS_VERSION` says.
    pub redis_version: &'static str,
    /// What one interpreter may hold, in bytes; scripts get an error beyond it.
    pub memory_bytes_max: usize,
    /// Instructions between two looks whether a script may go on.
    pub tick_instructions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { redis_version: "7.0.15", memory_bytes_max: 512 * 1024 * 1024, tick_instructions: 20_000 }
    }
}

impl Settings {
    /// The version as a number: a byte for each part.
    pub(crate) fn redis_version_number(&self) -> i64 {
        self.redis_version.split('.').fold(0, |number, part| number << 8 | part.parse::<i64>().unwrap_or(0))
    }
}
