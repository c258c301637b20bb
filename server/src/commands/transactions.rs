//! The group *transactions*: MULTI, EXEC, DISCARD, WATCH, UNWATCH. What is between them is queued where commands are
//! dispatched (`core::multi`).

use super::SessionCommand;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::key;
use torc_engine::command::{Arity, Categories, Flags, KeyFlags, KeySpec, Spec};

const OPEN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);

const ROW: Spec = Spec {
    group: "transactions",
    arity: Arity::Exact(1),
    flags: OPEN.or(Flags::FAST).or(Flags::ALLOW_BUSY).or(Flags::RUNS_IN_MULTI),
    own_categories: Categories::TRANSACTION,
    ..Spec::BASE
};

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    SessionCommand {
        spec: Spec {
            name: "discard",
            since: "2.0.0",
            complexity: "O(N) in the number of commands in the queue",
            summary: "Forgets the transaction that MULTI began",
            ..ROW
        },
        syntax: "",
        run: discard,
    },
    SessionCommand {
        spec: Spec {
            name: "exec",
            since: "1.2.0",
            flags: OPEN.or(Flags::SKIP_SLOWLOG).or(Flags::RUNS_IN_MULTI),
            complexity: "That of the commands in the queue",
            summary: "Runs the commands of the transaction as one",
            ..ROW
        },
        syntax: "",
        run: exec,
    },
    SessionCommand {
        spec: Spec { name: "multi", since: "1.2.0", summary: "Begins a transaction", ..ROW },
        syntax: "",
        run: multi,
    },
    SessionCommand {
        spec: Spec {
            name: "unwatch",
            flags: OPEN.or(Flags::FAST).or(Flags::ALLOW_BUSY),
            since: "2.2.0",
            complexity: "O(N) in the number of watched keys",
            summary: "Watches no key any more",
            ..ROW
        },
        syntax: "",
        run: unwatch,
    },
    SessionCommand {
        spec: Spec {
            name: "watch",
            arity: Arity::AtLeast(2),
            since: "2.2.0",
            complexity: "O(1) for each key",
            summary: "Lets the next EXEC do nothing if one of these keys has changed by then",
            keys: &[KeySpec::range(KeyFlags::RO, 1, -1, 1)],
            arguments: &[key("key").multiple()],
            ..ROW
        },
        syntax: "key [key ...]",
        run: watch,
    },
];

fn multi(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    if session.connection.transaction.is_open() {
        return Err("ERR MULTI calls can not be nested".into());
    }
    session.connection.transaction.open();
    session.reply().ok();
    Ok(())
}

fn exec(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let Session { core, connection, entry } = session;
    if !connection.transaction.is_open() {
        return Err("ERR EXEC without MULTI".into());
    }
    if connection.transaction.is_broken() {
        core.discard(connection);
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    core.exec(connection, entry, arguments[0]);
    Ok(())
}

fn discard(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    if !session.connection.transaction.is_open() {
        return Err("ERR DISCARD without MULTI".into());
    }
    session.core.discard(session.connection);
    session.reply().ok();
    Ok(())
}

fn watch(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    if session.connection.transaction.is_open() {
        return Err("ERR WATCH inside MULTI is not allowed".into());
    }
    session.core.watch(session.connection, session.entry, &arguments[1..]);
    Ok(())
}

fn unwatch(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let watching = session.connection.transaction.take_watching();
    session.core.unwatch(watching);
    session.reply().ok();
    Ok(())
}
