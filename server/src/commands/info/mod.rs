//! INFO: every shard's figures, added, and what the system says of the process. Only numbers that are measured; a field
//! that Torc cannot fill is absent.

mod process;
mod sections;

pub(super) use process::ProcessFigures;
pub(super) use sections::{MemoryFigures, percent};

use super::SessionCommand;
use crate::control::{ControlReply, ControlRequest, ShardFigures};
use crate::core::session::{Session, SessionResult};
use crate::shared::Shared;
use sections::{Report, Sections};
use torc_engine::command::argument::string;
use torc_engine::command::{Categories, Flags, Spec};

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "info",
        flags: Flags::LOADING.or(Flags::STALE),
        own_categories: Categories::DANGEROUS,
        group: "server",
        summary: "Gives figures of the server, by section",
        arguments: &[string("section").optional().multiple()],
        history: &[("7.0.0", "Takes several sections.")],
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        ..Spec::BASE
    },
    syntax: "[section ...]",
    run: info,
}];

/// All sections of these figures: for whoever asks for them elsewhere than by a command.
pub(crate) fn whole_report(shared: &Shared, shards: &[ShardFigures], now_us: i64) -> String {
    Report::new(shared, shards, now_us).write(&Sections::parse(&[b"everything"]))
}

fn info(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let sections = Sections::parse(&arguments[1..]);
    let question = if sections.is_detailed() { ControlRequest::DetailedFigures } else { ControlRequest::Figures };
    session.ask_all(
        question,
        Box::new(move |core, answers, reply| {
            let shards = answers.into_iter().filter_map(|answer| match answer {
                ControlReply::Figures(figures) => Some(*figures),
                _ => None,
            });
            let shards: Vec<ShardFigures> = shards.collect();
            let report = Report::new(&core.shared, &shards, core.wall_us());
            reply.verbatim(*b"txt", report.write(&sections).as_bytes());
        }),
    );
    Ok(())
}
