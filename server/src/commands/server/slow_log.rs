//! SLOWLOG and COMMANDLOG: two names for the same logs (`insight::command_log`), which are read without asking any shard.

use super::{ADMIN_ROW, DONE_BY_ALL_NODES, ROW, help_row};
use crate::commands::{SessionCommand, help, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use crate::insight::command_log::{CommandLog, Entry, Reason};
use torc_engine::command::argument::{integer, one_of, word};
use torc_engine::command::{Argument, Arity, CommandError, Flags, Spec, parse_integer};

/// How the real server ends the error about too many arguments.
const HELP_OF_SLOWLOG: &str = "'. Try SLOWLOG HELP.";

/// Entries that are given without being asked for a number.
const COUNT: usize = 10;

const AGGREGATED: &[&str] = &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const LISTED: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const TYPE: Argument = one_of("type", &[word("SLOW"), word("LARGE-REQUEST"), word("LARGE-REPLY")]);

/// The row of SLOWLOG.
pub(super) const SLOWLOG: SessionCommand = SessionCommand {
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
    run: |session, arguments| run_subcommand(&SLOWLOG_SUBCOMMANDS, session, arguments),
};

static SLOWLOG_SPECS: [&Spec; SLOWLOG_SUBCOMMANDS.len()] = specs(&SLOWLOG_SUBCOMMANDS);
static SLOWLOG_SUBCOMMANDS: [SessionCommand; 4] = [
    SessionCommand {
        spec: Spec {
            name: "get",
            arity: Arity::AtLeast(2),
            since: "2.2.12",
            complexity: "O(N) in the number of entries",
            summary: "Gives the latest slow commands",
            arguments: &[integer("count").optional()],
            history: &[("4.0.0", "New in the reply: the client's address and name.")],
            tips: LISTED,
            ..ADMIN_ROW
        },
        syntax: "[count]",
        run: |session, arguments| match arguments {
            [_, _] => get(session, None, Reason::Slow),
            [_, _, count] => get(session, Some(count), Reason::Slow),
            [_, word, ..] => Err(CommandError::echo(
                "ERR unknown subcommand or wrong number of arguments for '",
                word,
                HELP_OF_SLOWLOG,
            )),
            _ => unreachable!("the arity is two at least"),
        },
    },
    help_row("6.2.0", |session, _| help("SLOWLOG", &SLOWLOG_SUBCOMMANDS, session)),
    SessionCommand {
        spec: Spec {
            name: "len",
            arity: Arity::Exact(2),
            since: "2.2.12",
            summary: "Counts the slow commands kept",
            tips: AGGREGATED,
            ..ADMIN_ROW
        },
        syntax: "",
        run: |session, _| len(session, Reason::Slow),
    },
    SessionCommand {
        spec: Spec {
            name: "reset",
            arity: Arity::Exact(2),
            since: "2.2.12",
            complexity: "O(N) in the number of entries",
            summary: "Forgets the slow commands",
            tips: DONE_BY_ALL_NODES,
            ..ADMIN_ROW
        },
        syntax: "",
        run: |session, _| reset(session, Reason::Slow),
    },
];

/// The row of COMMANDLOG.
pub(super) const COMMANDLOG: SessionCommand = SessionCommand {
    spec: Spec {
        name: "commandlog",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        since: "8.1.0",
        complexity: "Depends on the subcommand",
        summary: "Tells of commands that were slow or large",
        subcommands: &COMMANDLOG_SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&COMMANDLOG_SUBCOMMANDS, session, arguments),
};

static COMMANDLOG_SPECS: [&Spec; COMMANDLOG_SUBCOMMANDS.len()] = specs(&COMMANDLOG_SUBCOMMANDS);
static COMMANDLOG_SUBCOMMANDS: [SessionCommand; 4] = [
    SessionCommand {
        spec: Spec {
            name: "get",
            arity: Arity::Exact(4),
            since: "8.1.0",
            complexity: "O(N) in the number of entries",
            summary: "Gives the latest entries of one of the logs",
            arguments: &[integer("count"), TYPE],
            tips: LISTED,
            ..ADMIN_ROW
        },
        syntax: "count SLOW | LARGE-REQUEST | LARGE-REPLY",
        run: |session, arguments| {
            let reason = reason(arguments[3])?;
            get(session, Some(arguments[2]), reason)
        },
    },
    help_row("8.1.0", |session, _| help("COMMANDLOG", &COMMANDLOG_SUBCOMMANDS, session)),
    SessionCommand {
        spec: Spec {
            name: "len",
            arity: Arity::Exact(3),
            since: "8.1.0",
            summary: "Counts the entries of one of the logs",
            arguments: &[TYPE],
            tips: AGGREGATED,
            ..ADMIN_ROW
        },
        syntax: "SLOW | LARGE-REQUEST | LARGE-REPLY",
        run: |session, arguments| len(session, reason(arguments[2])?),
    },
    SessionCommand {
        spec: Spec {
            name: "reset",
            arity: Arity::Exact(3),
            since: "8.1.0",
            complexity: "O(N) in the number of entries",
            summary: "Forgets one of the logs",
            arguments: &[TYPE],
            tips: DONE_BY_ALL_NODES,
            ..ADMIN_ROW
        },
        syntax: "SLOW | LARGE-REQUEST | LARGE-REPLY",
        run: |session, arguments| reset(session, reason(arguments[2])?),
    },
];

fn reason(word: &[u8]) -> Result<Reason, CommandError> {
    Reason::parse(word)
        .ok_or_else(|| "ERR type should be one of the following: slow, large-request, large-reply".into())
}

fn get(session: &mut Session<'_>, count: Option<&[u8]>, reason: Reason) -> SessionResult {
    let count = match count.map(parse_integer) {
        None => COUNT,
        Some(Some(-1)) => usize::MAX,
        Some(count) => {
            let count = count.and_then(|count| usize::try_from(count).ok());
            count.ok_or("ERR count should be greater than or equal to -1")?
        }
    };
    let shared = session.core.shared.clone();
    let mut logs = shared.insight.commands();
    let log: &CommandLog = logs.of(reason);
    let mut reply = session.reply();
    reply.array(count.min(log.len()));
    for Entry { id, noted, address, name } in log.entries().take(count) {
        reply.array(6);
        reply.integer(*id as i64);
        reply.integer(noted.at_s);
        reply.integer(noted.value as i64);
        reply.array(noted.arguments.len());
        noted.arguments.iter().for_each(|argument| reply.bulk(argument));
        reply.bulk(address.as_bytes());
        reply.bulk(name);
    }
    Ok(())
}

fn len(session: &mut Session<'_>, reason: Reason) -> SessionResult {
    let length = session.core.shared.insight.commands().of(reason).len();
    session.reply().integer(length as i64);
    Ok(())
}

fn reset(session: &mut Session<'_>, reason: Reason) -> SessionResult {
    session.core.shared.insight.commands().of(reason).reset();
    session.reply().ok();
    Ok(())
}
