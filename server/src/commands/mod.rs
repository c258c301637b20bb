//! The server's own command families: what is about connections, configuration and the process rather than about keys.
//!
//! ```text
//!   connection   PING, HELLO, SELECT ...      the connection's own shard, at once
//!   client       CLIENT                       the same; LIST, KILL and PAUSE ask all shards
//!   config       CONFIG                       one configuration under a lock, then a multicast to all shards
//!   info         INFO                         all shards' figures, added
//!   command      COMMAND                      the table itself, told by the engine's introspection
//!   server       TIME, DEBUG, MEMORY, SHUTDOWN ...
//!   transactions MULTI, EXEC, WATCH            the connection's queue; EXEC is a unit over all shards
//!   pubsub       SUBSCRIBE ...                the connection's own shard, which tells all others
//!   migrate      MIGRATE: a task, which is a client of ours and of another server
//!   acl          what is true of one user
//!   scripting    EVAL, FCALL (where their keys are), SCRIPT, FUNCTION
//!   serialization DUMP, RESTORE: values as bytes of files
//! ```
//! A family is a table of rows as in the engine, with handlers that have the connection at hand.

mod acl;
pub mod client;
mod cluster;
mod config;
mod connection;
mod info;
mod migrate;
mod pubsub;
mod scripting;
mod serialization;
pub mod server;
mod transactions;

pub(crate) use info::whole_report;
pub(crate) use scripting::{keep_libraries, load_libraries};

use crate::command_table::Target;
use crate::core::session::{Conclude, Session, SessionHandler, SessionResult};
use torc_engine::command::{Argument, Spec};
use torc_engine::commands::introspection;

/// A row with its handler.
#[derive(Debug)]
pub struct SessionCommand {
    /// The facts.
    pub spec: Spec,
    /// What follows the name of a subcommand, for its container's HELP.
    pub syntax: &'static str,
    /// The function.
    pub run: SessionHandler,
}

impl SessionCommand {
    /// With these arguments.
    const fn taking(mut self, arguments: &'static [Argument]) -> Self {
        self.spec.arguments = arguments;
        self
    }
}

/// All commands of this process: the engine's and the server's own.
pub fn rows() -> impl Iterator<Item = (&'static Spec, Target)> {
    let families = [
        connection::COMMANDS,
        client::COMMANDS,
        cluster::COMMANDS,
        config::COMMANDS,
        info::COMMANDS,
        migrate::COMMANDS,
        pubsub::COMMANDS,
        acl::COMMANDS,
        scripting::COMMANDS,
        server::COMMANDS,
        transactions::COMMANDS,
    ];
    let own = families.into_iter().flatten().map(|row| (&row.spec, Target::Session(row.run)));
    let engine = torc_engine::commands::all().chain(&scripting::RUNS).chain(&serialization::RUNS);
    let engine = engine.map(|command| (&command.spec, Target::Engine(command.run)));
    engine.chain(own).chain([(&introspection::COMMAND, Target::Session(command as SessionHandler))])
}

/// The specs of a container's rows, for its `subcommands`.
const fn specs<const N: usize>(rows: &'static [SessionCommand; N]) -> [&'static Spec; N] {
    let mut specs = [&rows[0].spec; N];
    let mut index = 1;
    while index < N {
        specs[index] = &rows[index].spec;
        index += 1;
    }
    specs
}

/// Runs the subcommand that the table has found among a container's rows.
fn run_subcommand(rows: &'static [SessionCommand], session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let found = rows.iter().find(|row| std::ptr::eq(&raw const row.spec, session.entry.spec));
    let row = found.expect("the container's specs are those of its rows");
    (row.run)(session, arguments)
}

/// A container's HELP: each subcommand's syntax and summary.
fn help(container: &str, rows: &'static [SessionCommand], session: &mut Session<'_>) -> SessionResult {
    let mut reply = session.reply();
    reply.array(1 + rows.len() * 2);
    reply.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for row in rows {
        let name = row.spec.name.to_ascii_uppercase();
        reply.status(format!("{name} {}", row.syntax).trim_end());
        reply.status(&format!("    {}.", row.spec.summary));
    }
    Ok(())
}

/// Answers OK when all shards have answered.
fn all_done() -> Conclude {
    Box::new(|_, _, reply| reply.ok())
}

/// COMMAND, over the whole table.
fn command(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let shared = session.core.shared.clone();
    introspection::command(shared.table.rows(), &mut session.reply(), arguments)
}

/// For commands whose machinery does not exist yet.
fn not_supported(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let name = session.entry.full_name.replace('|', " ").to_ascii_uppercase();
    Err(format!("ERR {name} is not supported in this version").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_table::CommandTable;
    use torc_engine::command::Arity;

    #[test]
    fn every_row_is_told_of_and_has_a_name_of_its_own() {
        // The table refuses two rows of one name.
        let table = CommandTable::new(rows());
        for entry in table.all() {
            let spec = entry.spec;
            assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}", entry.full_name);
            assert!(spec.name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte)), "{}", spec.name);
            let subcommands = spec.subcommands.iter().map(|subcommand| subcommand.name);
            assert!(subcommands.is_sorted(), "{}", entry.full_name);
            let is_container = !spec.subcommands.is_empty() && spec.name != "command";
            assert!(!is_container || spec.arity == Arity::AtLeast(2), "{}", entry.full_name);
        }
    }

    #[test]
    fn every_container_has_help() {
        for (spec, _) in rows() {
            let has_help = spec.subcommands.iter().any(|subcommand| subcommand.name == "help");
            assert!(spec.subcommands.is_empty() || has_help, "{}", spec.name);
        }
    }
}
