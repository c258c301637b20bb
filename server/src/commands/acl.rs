//! ACL, as far as it makes sense with one user, `default`, who may do everything.

use super::server::absent;
use super::{SessionCommand, help, not_supported, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{integer, one_of, string, word};
use torc_engine::command::{Arity, Categories, CommandError, Flags, Spec};

const ROW: Spec =
    Spec { group: "server", since: "6.0.0", flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE), ..Spec::BASE };

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "acl",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        complexity: "Depends on the subcommand",
        summary: "Tells who may do what",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
}];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);

/// A subcommand that needs more than one user.
const fn not_yet(name: &'static str, arity: Arity, summary: &'static str) -> SessionCommand {
    absent(name, arity, ROW.flags.or(Flags::ADMIN), ROW.since, summary)
}

static SUBCOMMANDS: [SessionCommand; 13] = [
    SessionCommand {
        spec: Spec {
            name: "cat",
            arity: Arity::AtLeast(2),
            summary: "Gives the categories, or one's commands",
            arguments: &[string("categoryname").optional()],
            ..ROW
        },
        syntax: "[category]",
        run: categories,
    },
    not_yet("deluser", Arity::AtLeast(3), "Removes users").taking(&[string("username").multiple()]),
    not_yet("dryrun", Arity::AtLeast(4), "Says whether a user may run a command").since("7.0.0").taking(&[
        string("username"),
        string("command"),
        string("arg").optional().multiple(),
    ]),
    SessionCommand {
        spec: Spec { name: "genpass", arity: Arity::AtLeast(2), summary: "Makes up a password", ..ROW },
        syntax: "[bits]",
        run: not_supported,
    }
    .taking(&[integer("bits").optional()]),
    not_yet("getuser", Arity::Exact(3), "Gives the rules of a user")
        .taking(&[string("username")])
        .changed(&[("6.2.0", "Shows the channels."), ("7.0.0", "Shows selectors and the directions of key patterns.")]),
    SessionCommand {
        spec: Spec {
            name: "help",
            arity: Arity::Exact(2),
            flags: Flags::LOADING.or(Flags::STALE),
            summary: "Lists the subcommands",
            ..ROW
        },
        syntax: "",
        run: |session, _| help("ACL", &SUBCOMMANDS, session),
    },
    not_yet("list", Arity::Exact(2), "Gives the rules of all users"),
    not_yet("load", Arity::Exact(2), "Reads the users from their file"),
    not_yet("log", Arity::AtLeast(2), "Gives what was denied lately").taking(&[one_of(
        "operation",
        &[integer("count"), word("RESET")],
    )
    .optional()]),
    not_yet("save", Arity::Exact(2), "Writes the users into their file"),
    not_yet("setuser", Arity::AtLeast(3), "Creates a user or changes its rules")
        .taking(&[string("username"), string("rule").optional().multiple()])
        .changed(&[("6.2.0", "Rules about channels."), ("7.0.0", "Selectors and directions of key patterns.")]),
    SessionCommand {
        spec: Spec {
            name: "users",
            arity: Arity::Exact(2),
            flags: ROW.flags.or(Flags::ADMIN),
            complexity: "O(N) in the number of users",
            summary: "Gives the names of all users",
            ..ROW
        },
        syntax: "",
        run: |session, _| {
            let mut reply = session.reply();
            reply.array(1);
            reply.bulk(b"default");
            Ok(())
        },
    },
    SessionCommand {
        spec: Spec { name: "whoami", arity: Arity::Exact(2), summary: "Gives the connection's user", ..ROW },
        syntax: "",
        run: |session, _| {
            session.reply().bulk(b"default");
            Ok(())
        },
    },
];

fn categories(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let names: Vec<String> = match arguments[2..] {
        [] => Categories::all_names().map(str::to_owned).collect(),
        [name] => {
            let Some(category) = Categories::from_name(&String::from_utf8_lossy(name)) else {
                return Err(CommandError::echo("ERR Unknown category '", name, "'"));
            };
            let all = session.core.shared.table.all();
            let inside = all.filter(|entry| entry.spec.categories().has(category));
            inside.map(|entry| entry.full_name.clone()).collect()
        }
        _ => return Err("ERR unknown subcommand or wrong number of arguments for 'cat'. Try ACL HELP.".into()),
    };
    let mut reply = session.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}
