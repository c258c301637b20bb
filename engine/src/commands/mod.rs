//! The command families. A family is a file, or a folder past some size: its rows of the command table, then the
//! functions that the rows name, then their tests.
//!
//! ```text
//!   string/     GET SET INCR MGET LCS ...        generic/    DEL EXPIRE RENAME COPY SCAN OBJECT ...
//!   set/        SADD SINTER SPOP ...             hash/       HSET HGETALL HEXPIRE ...
//!   zset/       ZADD ZRANGE ZUNION ...           list/       LPUSH LRANGE LMOVE ...
//!   stream/     XADD XREAD XREADGROUP ...
//!   bitmap/     SETBIT BITCOUNT BITOP ...        hyperloglog/   PFADD PFCOUNT PFMERGE ...
//!   geo/        GEOADD GEOSEARCH ...             sort/       SORT
//!   database    DBSIZE FLUSHALL SWAPDB           introspection   COMMAND, for any table
//!   blocking    what BLPOP and its like have in common
//!   pubsub      PUBLISH PUBSUB
//!   double      scores and coordinates
//!   element_scan   what SSCAN, HSCAN and ZSCAN have in common
//!   glob        patterns                         long_double     the arithmetic of INCRBYFLOAT
//!   partial_sort   the nearest of many places       chunks   what long commands collect
//!   expire_time, errors, report   what several families parse, say and report alike
//! ```
//!
//! A new command is one row, one function and one test.

pub mod bitmap;
pub mod blocking;
mod chunks;
pub mod database;
pub(crate) mod double;
mod element_scan;
mod errors;
mod expire_time;
#[cfg(test)]
mod frozen;
pub mod generic;
pub mod geo;
pub mod glob;
#[cfg(test)]
pub(crate) mod harness;
pub mod hash;
#[cfg(test)]
mod hostile;
pub mod hyperloglog;
pub mod introspection;
pub mod list;
pub mod long_double;
#[cfg(test)]
mod long_forms;
mod partial_sort;
pub mod pubsub;
mod random_choice;
#[cfg(test)]
mod replay;
mod report;
pub mod set;
pub mod sort;
pub mod stream;
pub mod string;
pub mod zset;

pub(crate) use double::DoubleText;
pub(crate) use errors::wrong_type;
pub(crate) use hash::remove_due;

use crate::command::Command;

/// Every command of the engine.
pub fn all() -> impl Iterator<Item = &'static Command> {
    let strings = [string::COMMANDS, bitmap::COMMANDS, hyperloglog::COMMANDS];
    let collections = [list::COMMANDS, set::COMMANDS, hash::COMMANDS, zset::COMMANDS, stream::COMMANDS, geo::COMMANDS];
    strings
        .into_iter()
        .chain(collections)
        .chain([generic::COMMANDS, sort::COMMANDS, database::COMMANDS, pubsub::COMMANDS])
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Arity, Flags};

    #[test]
    fn every_row_is_told_of_and_makes_sense() {
        for Command { spec, .. } in all() {
            for spec in std::iter::once(spec).chain(spec.subcommands.iter().copied()) {
                let name = spec.name;
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
                assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{name}");
                assert!(!(spec.flags.has(Flags::WRITE) && spec.flags.has(Flags::READONLY)), "{name}");
                let writes = spec.keys.iter().any(|keys| keys.flags.writes());
                // PFCOUNT keeps its estimate in the value.
                let may_write = spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE);
                assert!(!writes || may_write, "{name} writes keys");
            }
        }
    }

    #[test]
    fn every_wrong_arity_is_refused() {
        let shard = &mut harness::Shard::default();
        for Command { spec, .. } in all() {
            let counts = match spec.arity {
                Arity::Exact(count) => vec![count as usize - 1, count as usize + 1],
                Arity::AtLeast(count) => vec![count as usize - 1],
            };
            for count in counts.into_iter().filter(|count| *count > 0) {
                let mut line = vec![spec.name.as_bytes()];
                line.resize(count, b"x");
                let reply = shard.execute(crate::reply::Protocol::Resp2, &line);
                let expected = format!("-ERR wrong number of arguments for '{}' command\r\n", spec.name);
                assert_eq!(String::from_utf8_lossy(&reply), expected);
            }
        }
    }
}
