//! CONFIG. There is one [`crate::config::Config`]; shards have a copy of what the data path looks at, replaced by a
//! multicast. The lock on the configuration is held until that multicast is pushed: two changes reach every shard in the
//! order in which they were made.

use super::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::config::{Config, ConfigSetError, Machine, plain_text};
use crate::control::ControlRequest;
use crate::core::session::{Conclude, Session, SessionResult};
use crate::oom_score;
use crate::process_title;
use crate::reactor::whole_files::or_empty;
use crate::server::clients_possible;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tls::Acceptor;
use crate::tls::handshakes::Handshakes;
use std::io;
use std::sync::Arc;
use torc_engine::command::argument::{block, string};
use torc_engine::command::{Arity, CommandError, Flags, Spec};
use torc_engine::reply::Reply;

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

/// Directives that decide where the server listens, with what is said if it cannot listen there.
const DOORS: [(&str, &str); 3] = [
    ("port", "Unable to listen on this port. Check server logs."),
    ("tls-port", "Unable to listen on this port. Check server logs."),
    ("bind", "Failed to bind to specified addresses."),
];

/// Directives about how soon the kernel ends the process.
const SCORES: [&str; 2] = ["oom-score-adj", "oom-score-adj-values"];

/// Directives that the process's title tells.
const IN_TITLE: [&str; 4] = ["port", "tls-port", "bind", "proc-title-template"];

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
    may_serve(change.config.clients.count_max, &config).map_err(failed)?;
    let acceptor = new_acceptor(&pairs, &change.config)?;
    let door = DOORS.iter().find(|(name, _)| change.names.contains(name));
    act_or_go_back(session, (&config, &change.config), &change.names, door).map_err(failed)?;
    if change.config.persistence.append_only != config.persistence.append_only
        && let Err(reason) = session.core.switch_log(&change.config)
    {
        act_or_go_back(session, (&change.config, &config), &change.names, door).map_err(failed)?;
        if door.is_some() {
            session.core.instruct_all(ControlRequest::Listen);
        }
        return Err(failed(ConfigSetError::failed("appendonly", &reason)));
    }
    let old = std::mem::replace(&mut *config, change.config);
    if config.memory.bytes_max != old.memory.bytes_max {
        warn_of_small_limit(config.memory.bytes_max, shared.used_bytes());
    }
    if let Some(acceptor) = acceptor {
        shared.tls.serve_with(acceptor);
        if let Err(error) = Handshakes::start(&shared) {
            tracing::warn!("Connections that are encrypted are not served: {error}");
        }
    }
    if door.is_some() {
        // Not before they can be served.
        session.core.instruct_all(ControlRequest::Listen);
    }
    shared.log.reconfigure(&config.log);
    crate::crash::reconfigure(&config.log);
    let tells_title = change.names.iter().any(|name| IN_TITLE.contains(name));
    let password_changes = change.names.contains(&"requirepass");
    if password_changes {
        let mut newest = shared.access.change();
        *newest = Arc::new(newest.with_password(config.security.password.as_deref()));
        let users = newest.clone();
        // In front of the settings, whose answer is awaited.
        session.core.instruct_all(ControlRequest::Users { users, own_id: session.connection.id });
    }
    if tells_title {
        process_title::show(&config);
    }
    let settings = Arc::new(Settings::from(&*config));
    session.ask_all(ControlRequest::Apply(settings), all_apply());
    Ok(())
}

/// Does what the system may refuse, all of it or nothing, from an old configuration to a new one.
fn act_or_go_back(
    session: &mut Session<'_>,
    (old, new): (&Config, &Config),
    names: &[&str],
    door: Option<&(&str, &str)>,
) -> Result<(), ConfigSetError> {
    let mut act = || {
        if new.process.directory != old.process.directory {
            std::env::set_current_dir(&new.process.directory)
                .map_err(|error| ConfigSetError::failed("dir", &error.to_string()))?;
        }
        if let Some(name) = SCORES.iter().find(|name| names.contains(name)) {
            oom_score::apply(&new.process).map_err(|error| {
                tracing::warn!("Unable to write oom_score_adj: {error}");
                ConfigSetError::failed(name, "Failed to set current oom_score_adj. Check server logs.")
            })?;
        }
        door.map_or(Ok(()), |door| listen_as(session, *door, new))
    };
    act().inspect_err(|_| {
        // All of it was so a moment ago.
        let _ = std::env::set_current_dir(&old.process.directory);
        let _ = oom_score::apply(&old.process);
    })
}

/// Whether so many clients can be served.
fn may_serve(wanted: u32, config: &Config) -> Result<(), ConfigSetError> {
    if wanted <= config.clients.count_max {
        return Ok(());
    }
    match clients_possible(wanted, config.shards).unwrap_or(wanted) {
        possible if possible < wanted => Err(ConfigSetError::failed(
            "maxclients",
            &format!("The operating system is not able to handle the specified number of clients, try with {possible}"),
        )),
        _ => Ok(()),
    }
}

/// Listens where the new configuration says, or where it did; with the directive that decides, and what is said if that fails.
fn listen_as(session: &mut Session<'_>, (name, text): (&str, &str), config: &Config) -> Result<(), ConfigSetError> {
    let changed = session.core.shared.listening.change(config);
    changed.map(|_| ()).map_err(|error| {
        tracing::warn!("Failed applying new configuration. {error}");
        // What had to be shut for it is open again.
        session.core.instruct_all(ControlRequest::Listen);
        ConfigSetError::failed(name, text)
    })
}

/// New settings hold on all shards.
fn all_apply() -> Conclude {
    Box::new(|core, _, reply| {
        core.put_client_limit_in_force();
        reply.ok();
    })
}

fn warn_of_small_limit(limit: u64, used: i64) {
    if limit > 0 && used > i64::try_from(limit).unwrap_or(i64::MAX) {
        tracing::warn!(
            "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory usage \
             ({used}). This will result in key eviction and/or the inability to accept new write commands depending on \
             the maxmemory-policy."
        );
    }
}

/// Whatever is said of TLS, its files are read again: under the same names there may be others. New connections are served with
/// them, or nothing of the change happens.
fn new_acceptor(pairs: &[(&[u8], &[u8])], config: &Config) -> Result<Option<Acceptor>, CommandError> {
    let mut names = pairs.iter().map(|(name, _)| String::from_utf8_lossy(name).to_ascii_lowercase());
    let named = names.rfind(|name| name.starts_with("tls-")).filter(|_| config.tls.is_used());
    let Some(name) = named else { return Ok(None) };
    Acceptor::new(&config.tls).map(Some).map_err(|reason| {
        tracing::warn!("TLS stays as it is: {reason}");
        ConfigSetError::failed(&name, "Unable to update TLS configuration. Check server logs.").into()
    })
}

/// The new file takes the place of the old one in one step: whoever reads it meanwhile reads one or the other. A file that is
/// gone counts as empty.
fn rewrite(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    rewrite_as(session, rewritten)
}

/// DEBUG CONFIG-REWRITE-FORCE-ALL: the file says all there is, whatever its value.
pub(super) fn rewrite_whole(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    rewrite_as(session, rewritten_whole)
}

fn rewrite_as(session: &mut Session<'_>, rewritten: fn(&Shared, &[u8]) -> Vec<u8>) -> SessionResult {
    const NEW_FILE_MODE: u32 = 0o666;
    let shared = session.core.shared.clone();
    let file = shared.config().process.config_file.clone();
    let file = file.ok_or("ERR The server is running without a config file")?;
    let beside = shared.file_turns.name_beside(&file);
    let tasks = session.core.tasks.clone();
    session.answer_by_task(async move {
        let _turn = shared.file_turns.wait(&tasks.executor).await;
        let replace = async {
            let old = or_empty(tasks.operations.read_whole(&file).await)?;
            let text = rewritten(&shared, &old);
            tasks.operations.replace_whole(&file, &beside, text, NEW_FILE_MODE).await
        };
        replace.await.map_err(|error| rewrite_failed(error).into_bytes())?;
        tracing::info!("CONFIG REWRITE executed with success.");
        Ok(|reply: &mut Reply<'_>| reply.ok())
    });
    Ok(())
}

/// The text of a configuration's file, with what is in force now.
fn rewritten(shared: &Shared, old: &[u8]) -> Vec<u8> {
    let config = shared.config().clone();
    with_users(shared, &config, config.rewritten(old, &mut Machine))
}

fn rewritten_whole(shared: &Shared, old: &[u8]) -> Vec<u8> {
    let config = shared.config().clone();
    with_users(shared, &config, config.rewritten_whole(old))
}

fn with_users(shared: &Shared, config: &Config, text: Vec<u8>) -> Vec<u8> {
    if config.security.users_file.is_some() { text } else { shared.access.users().rewritten_in(&text) }
}

fn rewrite_failed(error: io::Error) -> String {
    tracing::warn!("CONFIG REWRITE failed: {error}");
    format!("ERR Rewriting config file: {}", plain_text(&error))
}
