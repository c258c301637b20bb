//! SCRIPT.

use super::{CONTAINER, HELP, ROW, is_flush_mode};
use crate::commands::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::control::ControlRequest;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{one_of, string, word};
use torc_engine::command::{Arity, Flags, Spec};
use torc_scripting::Sha;

pub(super) const SCRIPT: SessionCommand = SessionCommand {
    spec: Spec { name: "script", since: "2.6.0", summary: "Keeps scripts", subcommands: &SPECS, ..CONTAINER },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
};

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 7] = [
    SessionCommand {
        spec: Spec {
            name: "debug",
            arity: Arity::Exact(3),
            since: "3.2.0",
            summary: "Would debug scripts: there is no debugger",
            arguments: &[one_of("mode", &[word("YES"), word("SYNC"), word("NO")])],
            ..ROW
        },
        syntax: "YES|SYNC|NO",
        run: debug,
    },
    SessionCommand {
        spec: Spec {
            name: "exists",
            arity: Arity::AtLeast(3),
            since: "2.6.0",
            complexity: "O(N) in the number of digests",
            summary: "Says which scripts are kept",
            arguments: &[string("sha1").multiple()],
            tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
            ..ROW
        },
        syntax: "sha1 [sha1 ...]",
        run: exists,
    },
    SessionCommand {
        spec: Spec {
            name: "flush",
            arity: Arity::AtLeast(2),
            since: "2.6.0",
            complexity: "O(N) in the number of scripts",
            summary: "Forgets all scripts",
            arguments: &[one_of("async", &[word("ASYNC"), word("SYNC")]).optional().since("6.2.0")],
            history: &[("6.2.0", "New options: `ASYNC` and `SYNC`.")],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "[ASYNC|SYNC]",
        run: flush,
    },
    SessionCommand {
        spec: Spec { since: "5.0.0", ..HELP },
        syntax: "",
        run: |session, _| help("SCRIPT", &SUBCOMMANDS, session),
    },
    SessionCommand {
        spec: Spec {
            name: "kill",
            arity: Arity::Exact(2),
            flags: ROW.flags.or(Flags::ALLOW_BUSY),
            since: "2.6.0",
            summary: "Ends the script that runs for long",
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            ..ROW
        },
        syntax: "",
        run: |session, _| {
            session.core.shared.scripting.kill(false)?;
            session.reply().ok();
            Ok(())
        },
    },
    SessionCommand {
        spec: Spec {
            name: "load",
            arity: Arity::Exact(3),
            flags: ROW.flags.or(Flags::STALE),
            since: "2.6.0",
            complexity: "O(N) in the length of the script",
            summary: "Keeps a script for EVALSHA",
            arguments: &[string("script")],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "script",
        run: load,
    },
    SessionCommand {
        spec: Spec {
            name: "show",
            arity: Arity::Exact(3),
            since: "8.0.0",
            summary: "Gives the text of a script",
            arguments: &[string("sha1")],
            ..ROW
        },
        syntax: "sha1",
        run: show,
    },
];

fn debug(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    match arguments[2].to_ascii_lowercase().as_slice() {
        b"no" => {
            session.reply().ok();
            Ok(())
        }
        b"yes" | b"sync" => Err("ERR SCRIPT DEBUG is not supported in this version".into()),
        _ => Err("ERR Use SCRIPT DEBUG YES/SYNC/NO".into()),
    }
}

fn exists(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let scripting = session.core.scripting.clone();
    let mut reply = session.reply();
    reply.array(arguments.len() - 2);
    for digits in &arguments[2..] {
        let is_known = Sha::parse(digits).is_some_and(|sha| scripting.has_script(&sha));
        reply.integer(i64::from(is_known));
    }
    Ok(())
}

fn flush(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    if !is_flush_mode(&arguments[2..]) {
        return Err("ERR SCRIPT FLUSH only support SYNC|ASYNC option".into());
    }
    session.core.shared.scripting.scripts().flush();
    session.ask_all(ControlRequest::FlushScripts, all_done());
    Ok(())
}

fn load(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let script = session.core.scripting.clone().keep(arguments[2], true)?;
    session.reply().bulk(script.sha.as_bytes());
    Ok(())
}

fn show(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let sha = Sha::parse(arguments[2]);
    let script = sha.and_then(|sha| session.core.scripting.script(&sha));
    let script = script.ok_or("NOSCRIPT No matching script.")?;
    session.reply().bulk(&script.source);
    Ok(())
}
