//! The group *server*, as far as it is about the process.

mod append_log;
mod debug;
mod lolwut;
mod memory;
mod monitor;
mod save;

pub use debug::{Switch, populate};

use super::{SessionCommand, help, not_supported, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{block, integer, one_of, string, word};
use torc_engine::command::{Arity, Categories, Flags, Spec, parse_integer};

const ROW: Spec = Spec { group: "server", flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST), ..Spec::BASE };
const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    append_log::BGREWRITEAOF,
    save::BGSAVE,
    debug::DEBUG,
    save::LASTSAVE,
    SessionCommand {
        spec: Spec {
            name: "latency",
            arity: Arity::AtLeast(2),
            flags: Flags::NONE,
            since: "2.8.13",
            complexity: "Depends on the subcommand",
            summary: "Tells of slow events",
            subcommands: &LATENCY_SPECS,
            ..ROW
        },
        syntax: "",
        run: |session, arguments| run_subcommand(&LATENCY, session, arguments),
    },
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
    SessionCommand {
        spec: Spec {
            name: "slowlog",
            arity: Arity::AtLeast(2),
            flags: Flags::NONE,
            since: "2.2.12",
            complexity: "Depends on the subcommand",
            summary: "Tells of slow commands",
            subcommands: &SLOWLOG_SPECS,
            ..ROW
        },
        syntax: "",
        run: |session, arguments| run_subcommand(&SLOWLOG, session, arguments),
    },
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
    append_log::WAITAOF,
];

/// A subcommand that there is no machinery for yet.
pub(super) const fn absent(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
) -> SessionCommand {
    SessionCommand { spec: Spec { name, arity, since, summary, flags, ..ROW }, syntax: "", run: not_supported }
}

/// The row of a container's HELP.
const fn help_row(since: &'static str, run: crate::core::session::SessionHandler) -> SessionCommand {
    let flags = Flags::LOADING.or(Flags::STALE);
    let spec = Spec { name: "help", arity: Arity::Exact(2), since, summary: "Lists the subcommands", flags, ..ROW };
    SessionCommand { spec, syntax: "", run }
}

const OF_ALL_NODES: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
const DONE_BY_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

static LATENCY_SPECS: [&Spec; LATENCY.len()] = specs(&LATENCY);
static LATENCY: [SessionCommand; 7] = [
    absent("doctor", Arity::Exact(2), ADMIN, "2.8.13", "Explains what made the server slow").tipped(OF_ALL_NODES),
    absent("graph", Arity::Exact(3), ADMIN, "2.8.13", "Draws an event's latency")
        .taking(&[string("event")])
        .tipped(OF_ALL_NODES),
    help_row("2.8.13", |session, _| help("LATENCY", &LATENCY, session)),
    absent("histogram", Arity::AtLeast(2), ADMIN, "7.0.0", "Gives the distribution of commands' latencies")
        .taking(&[string("command").optional().multiple()])
        .tipped(OF_ALL_NODES),
    absent("history", Arity::Exact(3), ADMIN, "2.8.13", "Gives an event's latencies over time")
        .taking(&[string("event")])
        .tipped(OF_ALL_NODES),
    absent("latest", Arity::Exact(2), ADMIN, "2.8.13", "Gives the latest latency of all events").tipped(OF_ALL_NODES),
    absent("reset", Arity::AtLeast(2), ADMIN, "2.8.13", "Forgets events")
        .taking(&[string("event").optional().multiple()])
        .tipped(DONE_BY_ALL_NODES),
];

const SLOWLOG_FLAGS: Flags = Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE);
static SLOWLOG_SPECS: [&Spec; SLOWLOG.len()] = specs(&SLOWLOG);
static SLOWLOG: [SessionCommand; 4] = [
    absent("get", Arity::AtLeast(2), SLOWLOG_FLAGS, "2.2.12", "Gives the latest slow commands")
        .taking(&[integer("count").optional()])
        .tipped(&["request_policy:all_nodes", "nondeterministic_output"])
        .changed(&[("4.0.0", "New in the reply: the client's address and name.")]),
    help_row("6.2.0", |session, _| help("SLOWLOG", &SLOWLOG, session)),
    absent("len", Arity::Exact(2), SLOWLOG_FLAGS, "2.2.12", "Counts the slow commands kept").tipped(&[
        "request_policy:all_nodes",
        "response_policy:agg_sum",
        "nondeterministic_output",
    ]),
    absent("reset", Arity::Exact(2), SLOWLOG_FLAGS, "2.2.12", "Forgets the slow commands").tipped(DONE_BY_ALL_NODES),
];

static MODULE_SPECS: [&Spec; MODULE.len()] = specs(&MODULE);
static MODULE: [SessionCommand; 2] = [
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
];

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
