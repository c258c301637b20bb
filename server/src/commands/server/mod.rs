//! The group *server*, as far as it is about the process.

mod append_log;
mod debug;
mod hot_keys;
mod latency;
mod lolwut;
mod memory;
mod monitor;
mod save;
mod slow_log;
mod wait;

pub use debug::{Switch, populate, sample, seconds_of};

use super::{SessionCommand, help, not_supported, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{block, integer, one_of, string, word};
use torc_engine::command::{Arity, Categories, Flags, Spec, parse_integer};

const ROW: Spec = Spec { group: "server", flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST), ..Spec::BASE };
const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);

/// The same of what tells administrators of the server.
const ADMIN_ROW: Spec = Spec { flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE), ..ROW };

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    append_log::BGREWRITEAOF,
    save::BGSAVE,
    debug::DEBUG,
    hot_keys::HOTKEYS,
    save::LASTSAVE,
    latency::LATENCY,
    lolwut::LOLWUT,
    memory::MEMORY,
    monitor::MONITOR,
    SessionCommand {
        spec: Spec {
            name: "module",
            arity: Arity::AtLeast(2),
            flags: Flags::NONE,
            since: "4.0.0",
            complexity: "Depends on the subcommand",
            summary: "Tells of loaded modules",
            subcommands: &MODULE_SPECS,
            ..ROW
        },
        syntax: "",
        run: |session, arguments| run_subcommand(&MODULE, session, arguments),
    },
    SessionCommand {
        spec: Spec {
            name: "replicaof",
            arity: Arity::Exact(3),
            flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE).or(Flags::NO_ASYNC_LOADING),
            since: "5.0.0",
            summary: "Follows another server, or none",
            arguments: &[one_of(
                "args",
                &[block("host-port", &[string("host"), integer("port")]), block("no-one", &[word("NO"), word("ONE")])],
            )],
            ..ROW
        },
        syntax: "host port | NO ONE",
        run: replica_of,
    },
    SessionCommand {
        spec: Spec {
            name: "role",
            arity: Arity::Exact(1),
            flags: ROW.flags.or(Flags::NOSCRIPT),
            own_categories: Categories::ADMIN.or(Categories::DANGEROUS),
            since: "2.8.12",
            summary: "Gives the part that this server plays in replication",
            ..ROW
        },
        syntax: "",
        run: role,
    },
    save::SAVE,
    save::SHUTDOWN,
    slow_log::COMMANDLOG,
    slow_log::SLOWLOG,
    SessionCommand {
        spec: Spec {
            name: "time",
            arity: Arity::Exact(1),
            since: "2.6.0",
            summary: "Gives the server's time in seconds and microseconds",
            tips: &["nondeterministic_output"],
            ..ROW
        },
        syntax: "",
        run: time,
    },
    wait::WAIT,
    append_log::WAITAOF,
];

/// The row of a container's HELP.
const fn help_row(since: &'static str, run: crate::core::session::SessionHandler) -> SessionCommand {
    let flags = Flags::LOADING.or(Flags::STALE);
    let spec = Spec { name: "help", arity: Arity::Exact(2), since, summary: "Lists the subcommands", flags, ..ROW };
    SessionCommand { spec, syntax: "", run }
}

const OF_ALL_NODES: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
const DONE_BY_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

static MODULE_SPECS: [&Spec; MODULE.len()] = specs(&MODULE);
static MODULE: [SessionCommand; 5] = [
    help_row("5.0.0", |session, _| help("MODULE", &MODULE, session)),
    SessionCommand {
        spec: Spec {
            name: "list",
            arity: Arity::Exact(2),
            flags: Flags::ADMIN.or(Flags::NOSCRIPT),
            since: "4.0.0",
            summary: "Gives the loaded modules: there are none",
            tips: &["nondeterministic_output_order"],
            ..ROW
        },
        syntax: "",
        run: |session, _| {
            session.reply().array(0);
            Ok(())
        },
    },
    no_module("load", Arity::AtLeast(3), "4.0.0", "path [arg ...]")
        .taking(&[string("path"), string("arg").optional().multiple()]),
    no_module("loadex", Arity::AtLeast(3), "7.0.0", "path [CONFIG name value ...] [ARGS arg ...]").taking(&[
        string("path"),
        block("configs", &[string("name"), string("value")]).token("CONFIG").optional().multiple_with_token(),
        block("args", &[string("arg")]).token("ARGS").optional().multiple(),
    ]),
    no_module("unload", Arity::Exact(3), "4.0.0", "name").taking(&[string("name")]),
];

/// Modules are C libraries that expect to be inside of the real server.
const fn no_module(name: &'static str, arity: Arity, since: &'static str, syntax: &'static str) -> SessionCommand {
    let flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING);
    let summary = "Refuses: there are no modules";
    let spec = Spec { name, arity, since, flags, summary, ..ROW };
    SessionCommand {
        spec,
        syntax,
        run: |_, _| Err("ERR Modules are not supported: this server is no host for native libraries".into()),
    }
}

fn replica_of(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (host, port) = (arguments[1], arguments[2]);
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        session.reply().ok();
        return Ok(());
    }
    if !parse_integer(port).is_some_and(|port| (0..=65_535).contains(&port)) {
        return Err("ERR Invalid master port".into());
    }
    not_supported(session, arguments)
}

fn role(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let mut reply = session.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

fn time(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let now_us = session.core.wall_us();
    let mut reply = session.reply();
    reply.array(2);
    reply.bulk_integer(now_us.div_euclid(1_000_000));
    reply.bulk_integer(now_us.rem_euclid(1_000_000));
    Ok(())
}
