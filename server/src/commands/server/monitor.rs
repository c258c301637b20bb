//! MONITOR: the connection watches the commands of all others.

use super::super::SessionCommand;
use super::ADMIN;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::{Arity, Spec};
use torc_engine::reply::ReplyBuffer;

/// The row.
pub(super) const MONITOR: SessionCommand = SessionCommand {
    spec: Spec {
        name: "monitor",
        arity: Arity::Exact(1),
        flags: ADMIN,
        group: "server",
        summary: "Shows every command that runs from now on",
        ..Spec::BASE
    },
    syntax: "",
    run: monitor,
};

/// Who watches already is not answered, as in the real server.
fn monitor(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let Some(change) = session.core.begin_monitoring(session.connection) else { return Ok(()) };
    let mut out = ReplyBuffer::default();
    out.bytes.extend_from_slice(b"+OK\r\n");
    session.core.announce(vec![change], Some((session.connection, out)));
    Ok(())
}
