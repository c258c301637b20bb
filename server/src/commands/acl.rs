//! ACL, as far as it makes sense with one user, `default`, who may do everything.

use super::{SessionCommand, help, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::{Arity, Categories, Flags, Spec};

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
static SUBCOMMANDS: [SessionCommand; 4] = [
    SessionCommand {
        spec: Spec { name: "cat", arity: Arity::AtLeast(2), summary: "Gives the categories, or one's commands", ..ROW },
        syntax: "[category]",
        run: categories,
    },
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
            let shown = String::from_utf8_lossy(name);
            let Some(category) = Categories::from_name(&shown) else {
                return Err(format!("ERR Unknown category '{shown}'").into());
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
