//! CLIENT: the connection's own affairs at once; LIST, KILL and PAUSE by asking all shards.

mod filter;
mod line;
mod tracking;

use filter::Asker;
pub use filter::{ClientFilter, ClientKind};
pub use line::client_line;

use super::connection::check_name;
use super::{SessionCommand, help, run_subcommand, specs};
use crate::control::{ControlReply, ControlRequest};
use crate::core::blocked::Over;
use crate::core::connection::ReplyMode;
use crate::core::session::{Session, SessionResult};
use std::collections::{BTreeMap, BTreeSet};
use torc_engine::command::argument::{block, integer, one_of, string, word};
use torc_engine::command::{Argument, Arity, Categories, CommandError, Flags, Spec, parse_integer};

const ROW: Spec = Spec {
    group: "connection",
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    own_categories: Categories::CONNECTION,
    ..Spec::BASE
};
const ADMIN: Flags = ROW.flags.or(Flags::ADMIN);
const ON_OR_OFF: Argument = one_of("enabled", &[word("ON"), word("OFF")]);
/// The filters that a subcommand has had for long, and behind them those that LIST and KILL have in common.
macro_rules! filters {
    ($($before:expr),+ $(,)?) => {
        &[
            $($before,)+
            string("name").token("NAME").optional().since("9.0.0"),
            integer("idle").token("IDLE").optional().since("9.0.0"),
            string("flags").token("FLAGS").optional().since("9.0.0"),
            string("lib-name").token("LIB-NAME").optional().since("9.0.0"),
            string("lib-ver").token("LIB-VER").optional().since("9.0.0"),
            integer("db").token("DB").optional().since("9.0.0"),
            string("capa").token("CAPA").optional().since("9.0.0"),
            string("ip").token("IP").optional().since("9.0.0"),
            block("not-id", &[integer("not-client-id").multiple()]).token("NOT-ID").optional().since("9.0.0"),
            one_of("not-client-type", NOT_KINDS).token("NOT-TYPE").optional().since("9.0.0"),
            string("not-username").token("NOT-USER").optional().since("9.0.0"),
            string("not-ip:port").token("NOT-ADDR").optional().since("9.0.0"),
            string("not-ip:port").token("NOT-LADDR").optional().since("9.0.0"),
            string("not-name").token("NOT-NAME").optional().since("9.0.0"),
            string("not-flags").token("NOT-FLAGS").optional().since("9.0.0"),
            string("not-lib-name").token("NOT-LIB-NAME").optional().since("9.0.0"),
            string("not-lib-ver").token("NOT-LIB-VER").optional().since("9.0.0"),
            integer("not-db").token("NOT-DB").optional().since("9.0.0"),
            string("not-capa").token("NOT-CAPA").optional().since("9.0.0"),
            string("not-ip").token("NOT-IP").optional().since("9.0.0"),
        ]
    };
}
const NOT_KINDS: &[Argument] = &[word("NORMAL"), word("PRIMARY"), word("REPLICA"), word("PUBSUB")];
#[rustfmt::skip]
const KILL_FILTERS: &[Argument] = filters![
    integer("client-id").token("ID").optional().since("2.8.12"),
    one_of("normal_master_slave_pubsub", &[
        word("NORMAL"), word("MASTER").since("3.2.0"), word("SLAVE"), word("REPLICA").since("5.0.0"), word("PUBSUB"),
    ]).token("TYPE").optional().since("2.8.12"),
    string("username").token("USER").optional(),
    string("ip:port").token("ADDR").optional(),
    string("ip:port").token("LADDR").optional().since("6.2.0"),
    string("yes/no").token("SKIPME").optional(),
    integer("maxage").token("MAXAGE").optional().since("7.4.0"),
];
#[rustfmt::skip]
const LIST_FILTERS: &[Argument] = filters![
    one_of("normal_master_replica_pubsub", &[word("NORMAL"), word("MASTER"), word("REPLICA"), word("PUBSUB")])
        .token("TYPE").optional().since("5.0.0"),
    block("id", &[integer("client-id").multiple()]).token("ID").optional().since("6.2.0"),
    string("username").token("USER").optional().since("8.1.0"),
    string("ip:port").token("ADDR").optional().since("8.1.0"),
    string("ip:port").token("LADDR").optional().since("8.1.0"),
    string("yes/no").token("SKIPME").optional().since("8.1.0"),
    integer("maxage").token("MAXAGE").optional().since("8.1.0"),
];

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "client",
        arity: Arity::AtLeast(2),
        since: "2.4.0",
        group: "connection",
        complexity: "Depends on the subcommand",
        summary: "Commands about client connections",
        subcommands: &SPECS,
        ..Spec::BASE
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
}];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);

static SUBCOMMANDS: [SessionCommand; 20] = [
    SessionCommand {
        spec: Spec {
            name: "caching",
            arity: Arity::Exact(3),
            since: "6.0.0",
            summary: "Says whether the keys of the next command are tracked, where tracking asks for it",
            arguments: &[one_of("mode", &[word("YES"), word("NO")])],
            ..ROW
        },
        syntax: "YES|NO",
        run: tracking::caching,
    },
    SessionCommand {
        spec: Spec {
            name: "capa",
            arity: Arity::AtLeast(3),
            since: "8.0.0",
            summary: "Says what the client is able to do; unknown abilities are ignored",
            arguments: &[string("capability").multiple()],
            ..ROW
        },
        syntax: "capability [capability ...]",
        run: capa,
    },
    SessionCommand {
        spec: Spec { name: "getname", arity: Arity::Exact(2), since: "2.6.9", summary: "The connection's name", ..ROW },
        syntax: "",
        run: get_name,
    },
    SessionCommand {
        spec: Spec {
            name: "getredir",
            arity: Arity::Exact(2),
            since: "6.0.0",
            summary: "The client that invalidations of this one are sent to",
            ..ROW
        },
        syntax: "",
        run: tracking::get_redirection,
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
        run: |session, _| help("CLIENT", &SUBCOMMANDS, session),
    },
    SessionCommand {
        spec: Spec { name: "id", arity: Arity::Exact(2), since: "5.0.0", summary: "The connection's id", ..ROW },
        syntax: "",
        run: |session, _| {
            let id = session.connection.id as i64;
            session.reply().integer(id);
            Ok(())
        },
    },
    SessionCommand {
        spec: Spec {
            name: "import-source",
            arity: Arity::Exact(3),
            since: "8.1.0",
            summary: "Marks the connection as one that imports data from another server",
            arguments: &[ON_OR_OFF],
            ..ROW
        },
        syntax: "ON|OFF",
        run: import_source,
    },
    SessionCommand {
        spec: Spec {
            name: "info",
            arity: Arity::Exact(2),
            since: "6.2.0",
            summary: "The connection's line of CLIENT LIST",
            tips: &["nondeterministic_output"],
            ..ROW
        },
        syntax: "",
        run: info,
    },
    SessionCommand {
        spec: Spec {
            name: "kill",
            arity: Arity::AtLeast(3),
            flags: ADMIN,
            since: "2.4.0",
            complexity: "O(N) in the number of connections",
            summary: "Closes connections: the one from an address, or all that fit every filter",
            arguments: &[one_of(
                "filter",
                &[string("ip:port").deprecated("2.8.12"), one_of("new-format", KILL_FILTERS).multiple()],
            )],
            history: &[
                ("2.8.12", "The form with filters."),
                ("2.8.12", "New filter: `ID`."),
                ("3.2.0", "`TYPE` knows `master`."),
                ("5.0.0", "`TYPE` knows `replica` beside `slave`."),
                ("6.2.0", "New filter: `LADDR`."),
                ("7.4.0", "New filter: `MAXAGE`."),
                ("8.1.0", "`ID` takes several."),
                (
                    "9.0.0",
                    "New filters: `NAME`, `IDLE`, `FLAGS`, `LIB-NAME`, `LIB-VER`, `DB`, `CAPA`, `IP`, and `NOT-` before most.",
                ),
            ],
            ..ROW
        },
        syntax: "ip:port | [[NOT-]ID id ...] [[NOT-]TYPE t] [[NOT-]ADDR a] [SKIPME yes|no] [MAXAGE s] [other filters]",
        run: kill,
    },
    SessionCommand {
        spec: Spec {
            name: "list",
            arity: Arity::AtLeast(2),
            flags: ADMIN,
            since: "2.4.0",
            complexity: "O(N) in the number of connections",
            summary: "One line a connection, of all or of those that fit every filter",
            arguments: LIST_FILTERS,
            history: &[
                ("2.8.12", "New field: `id`."),
                ("5.0.0", "New filter: `TYPE`."),
                ("6.0.0", "New field: `user`."),
                ("6.2.0", "New fields: `argv-mem`, `tot-mem`, `laddr` and `redir`; new filter: `ID`."),
                ("7.0.0", "New fields: `resp`, `multi-mem`, `rbs` and `rbp`."),
                ("7.0.3", "New field: `ssub`."),
                ("7.2.0", "New fields: `lib-name` and `lib-ver`."),
                ("8.1.0", "The filters of `CLIENT KILL`."),
                ("9.0.0", "New filters, as of `CLIENT KILL`."),
            ],
            tips: &["nondeterministic_output"],
            ..ROW
        },
        syntax: "[[NOT-]ID id ...] [[NOT-]TYPE t] [[NOT-]ADDR a] [SKIPME yes|no] [MAXAGE s] [other filters]",
        run: list,
    },
    SessionCommand {
        spec: Spec {
            name: "no-evict",
            arity: Arity::Exact(3),
            flags: ADMIN,
            since: "7.0.0",
            summary: "Exempts the connection from being closed for memory",
            arguments: &[ON_OR_OFF],
            ..ROW
        },
        syntax: "ON|OFF",
        run: no_evict,
    },
    SessionCommand {
        spec: Spec {
            name: "no-touch",
            arity: Arity::Exact(3),
            since: "7.2.0",
            summary: "Says whether the connection's reads count as uses of their keys",
            arguments: &[ON_OR_OFF],
            ..ROW
        },
        syntax: "ON|OFF",
        run: no_touch,
    },
    SessionCommand {
        spec: Spec {
            name: "pause",
            arity: Arity::AtLeast(3),
            flags: ADMIN,
            since: "2.9.50",
            summary: "Lets the commands of all clients wait, or only those that write",
            arguments: &[integer("timeout"), one_of("mode", &[word("WRITE"), word("ALL")]).optional().since("6.2.0")],
            history: &[("6.2.0", "New option: the mode.")],
            ..ROW
        },
        syntax: "milliseconds [WRITE|ALL]",
        run: pause,
    },
    SessionCommand {
        spec: Spec {
            name: "reply",
            arity: Arity::Exact(3),
            since: "3.2.0",
            summary: "Says whether replies are sent",
            arguments: &[one_of("on_off_skip", &[word("ON"), word("OFF"), word("SKIP")])],
            ..ROW
        },
        syntax: "ON|OFF|SKIP",
        run: reply_mode,
    },
    SessionCommand {
        spec: Spec {
            name: "setinfo",
            arity: Arity::Exact(4),
            since: "7.2.0",
            summary: "Names the client library and its version",
            arguments: &[one_of("attr", &[string("libname").token("LIB-NAME"), string("libver").token("LIB-VER")])],
            ..ROW
        },
        syntax: "LIB-NAME name | LIB-VER version",
        run: set_info,
    },
    SessionCommand {
        spec: Spec {
            name: "setname",
            arity: Arity::Exact(3),
            since: "2.6.9",
            summary: "Names the connection",
            arguments: &[string("connection-name")],
            ..ROW
        },
        syntax: "name",
        run: set_name,
    },
    SessionCommand {
        spec: Spec {
            name: "tracking",
            arity: Arity::AtLeast(3),
            since: "6.0.0",
            summary: "Switches invalidation messages on or off",
            arguments: &[
                one_of("status", &[word("ON"), word("OFF")]),
                integer("client-id").token("REDIRECT").optional(),
                string("prefix").token("PREFIX").optional().multiple_with_token(),
                word("BCAST").optional(),
                word("OPTIN").optional(),
                word("OPTOUT").optional(),
                word("NOLOOP").optional(),
            ],
            ..ROW
        },
        syntax: "ON|OFF [option ...]",
        run: tracking::tracking,
    },
    SessionCommand {
        spec: Spec {
            name: "trackinginfo",
            arity: Arity::Exact(2),
            since: "6.2.0",
            summary: "How invalidation messages are set up",
            ..ROW
        },
        syntax: "",
        run: tracking::tracking_info,
    },
    SessionCommand {
        spec: Spec {
            name: "unblock",
            arity: Arity::AtLeast(3),
            flags: ADMIN,
            since: "5.0.0",
            complexity: "O(log N) in the number of connections",
            summary: "Ends the wait of a client in a blocking command",
            arguments: &[integer("client-id"), one_of("timeout_error", &[word("TIMEOUT"), word("ERROR")]).optional()],
            ..ROW
        },
        syntax: "id [TIMEOUT|ERROR]",
        run: unblock,
    },
    SessionCommand {
        spec: Spec {
            name: "unpause",
            arity: Arity::Exact(2),
            flags: ADMIN,
            since: "6.2.0",
            complexity: "O(N) in the number of paused clients",
            summary: "Ends a CLIENT PAUSE",
            ..ROW
        },
        syntax: "",
        run: unpause,
    },
];

const SYNTAX_ERROR: &str = "ERR syntax error";

/// The error of a subcommand that takes fewer arguments than it got.
fn too_many(arguments: &[&[u8]]) -> CommandError {
    let before = "ERR unknown subcommand or wrong number of arguments for '";
    CommandError::echo(before, arguments[1], "'. Try CLIENT HELP.")
}

/// ON or OFF.
fn on_or_off(argument: &[u8]) -> Result<bool, CommandError> {
    match argument {
        _ if argument.eq_ignore_ascii_case(b"on") => Ok(true),
        _ if argument.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(SYNTAX_ERROR.into()),
    }
}

fn capa(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let redirects = arguments[2..].iter().any(|ability| ability.eq_ignore_ascii_case(b"redirect"));
    session.connection.session.redirect_capable |= redirects;
    session.reply().ok();
    Ok(())
}

fn get_name(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let name = session.connection.session.name.clone();
    let mut reply = session.reply();
    match &*name {
        b"" => reply.null(),
        name => reply.bulk(name),
    }
    Ok(())
}

fn import_source(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    if on_or_off(arguments[2])? {
        return Err("ERR Server is not in import mode".into());
    }
    session.connection.session.import_source = false;
    session.reply().ok();
    Ok(())
}

fn info(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let line = client_line(session.connection, session.core.index, session.core.clock.monotonic_ns);
    session.reply().verbatim(*b"txt", &line);
    Ok(())
}

fn no_evict(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.connection.session.no_evict = on_or_off(arguments[2])?;
    session.reply().ok();
    Ok(())
}

fn no_touch(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.connection.session.client.no_touch = on_or_off(arguments[2])?;
    session.reply().ok();
    Ok(())
}

fn reply_mode(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let state = &mut session.connection.session;
    match arguments[2] {
        word if word.eq_ignore_ascii_case(b"on") => {
            state.reply_mode = ReplyMode::On;
            session.reply().ok();
        }
        word if word.eq_ignore_ascii_case(b"off") => state.reply_mode = ReplyMode::Off,
        word if word.eq_ignore_ascii_case(b"skip") => {
            if state.reply_mode != ReplyMode::Off {
                state.reply_mode = ReplyMode::SkipNext;
            }
        }
        _ => return Err(SYNTAX_ERROR.into()),
    }
    Ok(())
}

fn set_info(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (attribute, value) = (arguments[2], arguments[3]);
    let state = &mut session.connection.session;
    let field = match attribute {
        _ if attribute.eq_ignore_ascii_case(b"lib-name") => &mut state.library_name,
        _ if attribute.eq_ignore_ascii_case(b"lib-ver") => &mut state.library_version,
        _ => return Err(CommandError::echo("ERR Unrecognized option '", attribute, "'")),
    };
    if !value.iter().all(u8::is_ascii_graphic) {
        let after = " cannot contain spaces, newlines or special characters.";
        return Err(CommandError::echo("ERR ", attribute, after));
    }
    *field = value.into();
    session.reply().ok();
    Ok(())
}

fn set_name(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    check_name(arguments[2])?;
    session.connection.session.name = arguments[2].into();
    session.reply().ok();
    Ok(())
}

fn unblock(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let over = match arguments[3..] {
        [] => Over::TimedOut,
        [reason] if reason.eq_ignore_ascii_case(b"timeout") => Over::TimedOut,
        [reason] if reason.eq_ignore_ascii_case(b"error") => Over::Unblocked,
        [_] => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
        _ => return Err(too_many(arguments)),
    };
    let id = parse_integer(arguments[2]).ok_or("ERR value is not an integer or out of range")?;
    session.ask_all(
        ControlRequest::Unblock { id: u64::try_from(id).unwrap_or(0), over },
        Box::new(|_, answers, reply| {
            let counts =
                answers.into_iter().map(|answer| if let ControlReply::Count(count) = answer { count } else { 0 });
            reply.integer(counts.sum::<usize>() as i64);
        }),
    );
    Ok(())
}

/// What is known of who asks; `is_user` tells names of users.
fn asker<'a>(session: &Session<'_>, is_user: &'a dyn Fn(&[u8]) -> bool) -> Asker<'a> {
    Asker { id: session.connection.id, databases: session.core.shared.databases, is_user }
}

fn list(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let users = session.core.users.clone();
    let is_user = |name: &[u8]| users.find(name).is_some();
    let filter = ClientFilter::parse_list(&arguments[2..], asker(session, &is_user))?;
    session.ask_all(
        ControlRequest::Clients(filter),
        Box::new(|_, answers, reply| {
            let lines = answers.into_iter().flat_map(|answer| match answer {
                ControlReply::Clients(lines) => lines,
                _ => Vec::new(),
            });
            let lines: BTreeMap<u64, Vec<u8>> = lines.collect();
            let text: Vec<u8> = lines.into_values().flatten().collect();
            reply.verbatim(*b"txt", &text);
        }),
    );
    Ok(())
}

fn kill(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let own_id = session.connection.id;
    // One argument is an address: the old form, which answers OK or an error instead of a count.
    let is_old_form = arguments.len() == 3;
    let users = session.core.users.clone();
    let is_user = |name: &[u8]| users.find(name).is_some();
    let filter = if is_old_form {
        ClientFilter::of_address(arguments[2])
    } else {
        ClientFilter::parse_kill(&arguments[2..], asker(session, &is_user))?
    };
    session.ask_all(
        ControlRequest::KillClients { filter, own_id },
        Box::new(move |_, answers, reply| {
            let killed = answers.into_iter().flat_map(|answer| match answer {
                ControlReply::Killed(ids) => ids,
                _ => Vec::new(),
            });
            let killed: BTreeSet<u64> = killed.collect();
            match (is_old_form, killed.len()) {
                (true, 0) => reply.error("ERR No such client"),
                (true, _) => reply.ok(),
                (false, killed) => reply.integer(killed as i64),
            }
        }),
    );
    Ok(())
}

fn pause(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let only_writes = match arguments[3..] {
        [] => false,
        [mode] if mode.eq_ignore_ascii_case(b"write") => true,
        [mode] if mode.eq_ignore_ascii_case(b"all") => false,
        [_] => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
        _ => return Err(too_many(arguments)),
    };
    let milliseconds = parse_integer(arguments[2]).ok_or("ERR timeout is not an integer or out of range")?;
    let milliseconds = u64::try_from(milliseconds).map_err(|_| CommandError::from("ERR timeout is negative"))?;
    let until_ns = session.core.clock.monotonic_ns.saturating_add(milliseconds.saturating_mul(1_000_000));
    session.ask_all(ControlRequest::Pause { until_ns, only_writes }, super::all_done());
    Ok(())
}

fn unpause(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    session.ask_all(ControlRequest::Unpause, super::all_done());
    Ok(())
}
