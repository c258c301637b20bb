//! The server's own command families. Stand-in until they land: the engine's families and PING.

use crate::command_table::Target;
use crate::core::session::{Session, SessionResult};
use torc_engine::command::{Arity, Flags, Spec};

fn ping(session: &mut Session<'_>, _arguments: &[&[u8]]) -> SessionResult {
    session.reply().status("PONG");
    Ok(())
}

static PING: Spec = Spec { name: "ping", arity: Arity::AtLeast(1), flags: Flags::FAST, ..Spec::BASE };

/// Every command of the process.
pub fn rows() -> impl Iterator<Item = (&'static Spec, Target)> {
    let engine = torc_engine::commands::all().map(|command| (&command.spec, Target::Engine(command.run)));
    engine.chain([(&PING, Target::Session(ping as _))])
}
