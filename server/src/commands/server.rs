//! The group *server*, as far as it is about the process.

use super::SessionCommand;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::{Arity, Categories, Flags, Spec};

const ROW: Spec =
    Spec { group: "server", flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST), ..Spec::BASE };

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    SessionCommand {
        spec: Spec {
            name: "lastsave",
            arity: Arity::Exact(1),
            own_categories: Categories::ADMIN.or(Categories::DANGEROUS),
            summary: "Gives the time of the last snapshot, or of the start where there was none",
            tips: &["nondeterministic_output"],
            ..ROW
        },
        syntax: "",
        run: last_save,
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
];

fn last_save(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let started_s = session.core.shared.started_ms / 1000;
    session.reply().integer(started_s);
    Ok(())
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
    // Microseconds are those within the turn's clock: a shard has one time, in milliseconds.
    let now_ms = session.core.clock.wall_ms;
    let mut reply = session.reply();
    reply.array(2);
    reply.bulk_integer(now_ms.div_euclid(1000));
    reply.bulk_integer(now_ms.rem_euclid(1000) * 1000);
    Ok(())
}
