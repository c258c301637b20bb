//! CONFIG. There is one [`crate::config::Config`]; shards have a copy of what the data path looks at, replaced by a
//! multicast. The lock on the configuration is held until that multicast is pushed: two changes reach every shard in the
//! order in which they were made.

use super::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::config::{ConfigSetError, Machine};
use crate::control::ControlRequest;
use crate::core::session::{Session, SessionResult};
use crate::server::clients_possible;
use crate::settings::Settings;
use std::sync::Arc;
use torc_engine::command::argument::{block, string};
use torc_engine::command::{Arity, CommandError, Flags, Spec};

const ROW: Spec = Spec {
    group: "server",
    since: "2.0.0",
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    ..Spec::BASE
};

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "config",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        complexity: "Depends on the subcommand",
        summary: "Commands about the server's configuration",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
}];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);

static SUBCOMMANDS: [SessionCommand; 5] = [
    SessionCommand {
        spec: Spec {
            name: "get",
            arity: Arity::AtLeast(3),
            complexity: "O(N) in the number of patterns",
            summary: "Directives that fit a pattern, with their values",
            arguments: &[block("parameter", &[string("parameter")]).multiple()],
            history: &[("7.0.0", "Takes several patterns.")],
            ..ROW
        },
        syntax: "pattern [pattern ...]",
        run: get,
    },
    SessionCommand {
        spec: Spec {
            name: "help",
            arity: Arity::Exact(2),
            flags: Flags::LOADING.or(Flags::STALE),
            since: "5.0.0",
            summary: "Lists the subcommands",
            ..ROW
        },
        syntax: "",
        run: |session, _| help("CONFIG", &SUBCOMMANDS, session),
    },
    SessionCommand {
        spec: Spec { name: "resetstat", arity: Arity::Exact(2), summary: "Sets the counters of INFO to zero", ..ROW },
        syntax: "",
        run: |session, _| {
            session.ask_all(ControlRequest::ResetFigures, all_done());
            Ok(())
        },
    },
    SessionCommand {
        spec: Spec {
            name: "rewrite",
            arity: Arity::Exact(2),
            since: "2.8.0",
            summary: "Writes the configuration in force into its file",
            ..ROW
        },
        syntax: "",
        run: rewrite,
    },
    SessionCommand {
        spec: Spec {
            name: "set",
            arity: Arity::AtLeast(4),
            complexity: "O(N) in the number of directives",
            summary: "Changes directives, all of those named or none",
            arguments: &[block("parameter_value", &[string("parameter"), string("value")]).multiple()],
            history: &[("7.0.0", "Takes several directives.")],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "directive value [directive value ...]",
        run: set,
    },
];

/// Directives that decide where the server listens: their change needs new listeners.
const FIXED_WHILE_RUNNING: [&str; 2] = ["port", "bind"];

fn get(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let found = session.core.shared.config().get(&arguments[2..]);
    let mut reply = session.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(&value);
    }
    Ok(())
}

fn set(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let words = &arguments[2..];
    if !words.len().is_multiple_of(2) {
        return Err("ERR syntax error".into());
    }
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let shared = session.core.shared.clone();
    let is_local = session.connection.ends.is_loopback;
    let mut config = shared.config();
    let failed = |error: ConfigSetError| CommandError::from(error);
    let change = config.change(&pairs, is_local, &mut Machine).map_err(failed)?;
    if let Some(name) = change.names.iter().find(|name| FIXED_WHILE_RUNNING.contains(*name)) {
        return Err(failed(ConfigSetError::failed(
            name,
            "it cannot change while this version runs: set it at the start",
        )));
    }
    let wanted = change.config.clients.count_max;
    if wanted > config.clients.count_max {
        let possible = clients_possible(wanted, config.shards).unwrap_or(wanted);
        if possible < wanted {
            let reason = format!(
                "The operating system is not able to handle the specified number of clients, try with {possible}"
            );
            return Err(failed(ConfigSetError::failed("maxclients", &reason)));
        }
    }
    if change.config.process.directory != config.process.directory {
        std::env::set_current_dir(&change.config.process.directory)
            .map_err(|error| failed(ConfigSetError::failed("dir", &error.to_string())))?;
    }
    let (limit, used) = (change.config.memory.bytes_max, shared.used_bytes());
    if limit != config.memory.bytes_max && limit > 0 && used > i64::try_from(limit).unwrap_or(i64::MAX) {
        tracing::warn!(
            "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory usage \
             ({used}). This will result in key eviction and/or the inability to accept new write commands depending on \
             the maxmemory-policy."
        );
    }
    shared.log.reconfigure(&change.config.log);
    let is_on = change.config.persistence.append_only;
    let log_changes = is_on != config.persistence.append_only;
    *config = change.config;
    if log_changes {
        drop(config);
        let switched = session.core.switch_log(is_on);
        config = shared.config();
        if let Err(reason) = switched {
            config.persistence.append_only = !is_on;
            return Err(failed(ConfigSetError::failed("appendonly", &reason)));
        }
    }
    let settings = Arc::new(Settings::from(&*config));
    session.ask_all(ControlRequest::Apply(settings), all_done());
    Ok(())
}

fn rewrite(_: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    Err("ERR CONFIG REWRITE is not supported in this version".into())
}
