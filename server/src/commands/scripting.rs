//! FUNCTION and SCRIPT, as far as they make sense without scripts: there are none to list, and a flush finds nothing.
//! Test suites and tools flush before they begin.

use super::{SessionCommand, help, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{one_of, string, word};
use torc_engine::command::{Arity, Categories, CommandError, Flags, Spec};

const ROW: Spec = Spec {
    group: "scripting",
    since: "7.0.0",
    flags: Flags::NOSCRIPT,
    own_categories: Categories::SCRIPTING,
    ..Spec::BASE
};
const CONTAINER: Spec = Spec {
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    own_categories: Categories::NONE,
    complexity: "Depends on the subcommand",
    ..ROW
};
const HELP: Spec = Spec {
    name: "help",
    arity: Arity::Exact(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Lists the subcommands",
    ..ROW
};

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    SessionCommand {
        spec: Spec { name: "function", summary: "Keeps functions", subcommands: &FUNCTION_SPECS, ..CONTAINER },
        syntax: "",
        run: |session, arguments| run_subcommand(&FUNCTION, session, arguments),
    },
    SessionCommand {
        spec: Spec {
            name: "script",
            since: "2.6.0",
            summary: "Keeps scripts",
            subcommands: &SCRIPT_SPECS,
            ..CONTAINER
        },
        syntax: "",
        run: |session, arguments| run_subcommand(&SCRIPT, session, arguments),
    },
];

static FUNCTION_SPECS: [&Spec; FUNCTION.len()] = specs(&FUNCTION);
static FUNCTION: [SessionCommand; 3] = [
    SessionCommand {
        spec: Spec {
            name: "flush",
            arity: Arity::AtLeast(2),
            flags: Flags::WRITE.or(Flags::NOSCRIPT),
            summary: "Removes all functions",
            arguments: &[one_of("async", &[word("ASYNC"), word("SYNC")]).optional()],
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "[ASYNC|SYNC]",
        run: |session, arguments| flush(session, arguments, "FUNCTION"),
    },
    SessionCommand { spec: HELP, syntax: "", run: |session, _| help("FUNCTION", &FUNCTION, session) },
    SessionCommand {
        spec: Spec {
            name: "list",
            arity: Arity::AtLeast(2),
            summary: "Gives the libraries: there are none",
            arguments: &[string("library-name-pattern").token("LIBRARYNAME").optional(), word("WITHCODE").optional()],
            tips: &["nondeterministic_output_order"],
            ..ROW
        },
        syntax: "[LIBRARYNAME pattern] [WITHCODE]",
        run: |session, _| {
            session.reply().array(0);
            Ok(())
        },
    },
];

static SCRIPT_SPECS: [&Spec; SCRIPT.len()] = specs(&SCRIPT);
static SCRIPT: [SessionCommand; 3] = [
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
            summary: "Forgets all scripts",
            arguments: &[one_of("async", &[word("ASYNC"), word("SYNC")]).optional().since("6.2.0")],
            history: &[("6.2.0", "New options: `ASYNC` and `SYNC`.")],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "[ASYNC|SYNC]",
        run: |session, arguments| flush(session, arguments, "SCRIPT"),
    },
    SessionCommand {
        spec: Spec { since: "5.0.0", ..HELP },
        syntax: "",
        run: |session, _| help("SCRIPT", &SCRIPT, session),
    },
];

fn flush(session: &mut Session<'_>, arguments: &[&[u8]], container: &str) -> SessionResult {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    match arguments[2..] {
        [] => {}
        [mode] if is_mode(mode) => {}
        _ => return Err(CommandError::from(format!("ERR {container} FLUSH only supports SYNC|ASYNC option"))),
    }
    session.reply().ok();
    Ok(())
}

fn exists(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let mut reply = session.reply();
    reply.array(arguments.len() - 2);
    (2..arguments.len()).for_each(|_| reply.integer(0));
    Ok(())
}
