//! SAVE, BGSAVE, LASTSAVE and SHUTDOWN (Redis documentation, "Redis persistence"). What they do is in `snapshot/`.

use super::{ADMIN, ROW};
use crate::commands::SessionCommand;
use crate::core::session::{Session, SessionResult};
use crate::core::shutdown::Shutdown;
use crate::core::snapshot::{SaveKind, WhenSaved};
use torc_engine::command::argument::{one_of, word};
use torc_engine::command::{Arity, Categories, CommandError, Flags, Spec};

const SAVES: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING);

pub(super) const SAVE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "save",
        arity: Arity::Exact(1),
        flags: SAVES.or(Flags::NO_MULTI),
        complexity: "O(N) in the number of keys",
        summary: "Writes all data into a file, and answers when it is there",
        ..ROW
    },
    syntax: "",
    run: save,
};

pub(super) const BGSAVE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "bgsave",
        arity: Arity::AtLeast(1),
        flags: SAVES,
        summary: "Begins to write all data into a file",
        arguments: &[one_of("operation", &[word("SCHEDULE").since("3.2.2"), word("CANCEL").since("8.1.0")]).optional()],
        history: &[("3.2.2", "Takes SCHEDULE."), ("8.1.0", "Takes CANCEL.")],
        ..ROW
    },
    syntax: "[SCHEDULE|CANCEL]",
    run: background_save,
};

pub(super) const LASTSAVE: SessionCommand = SessionCommand {
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
};

pub(super) const SHUTDOWN: SessionCommand = SessionCommand {
    spec: Spec {
        name: "shutdown",
        flags: ADMIN.or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY),
        summary: "Stops the server in order",
        arguments: &[
            one_of("nosave_save", &[word("NOSAVE"), word("SAVE")]).optional(),
            word("NOW").optional().since("7.0.0"),
            word("FORCE").optional().since("7.0.0"),
            word("ABORT").optional().since("7.0.0"),
            word("SAFE").optional().since("9.0.0"),
        ],
        history: &[("7.0.0", "New options: `NOW`, `FORCE` and `ABORT`."), ("9.0.0", "New option: `SAFE`.")],
        ..ROW
    },
    syntax: "[NOSAVE|SAVE] [NOW] [FORCE] [SAFE] [ABORT]",
    run: shutdown,
};

fn save(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    session.core.may_begin_save()?;
    let request = session.core.owe_answer(session.connection, session.entry);
    let answered: WhenSaved = Box::new(move |core, outcome| {
        core.answer_later(request, |reply| match outcome {
            Ok(()) => reply.ok(),
            Err(_) => reply.error("ERR"),
        });
    });
    session.core.begin_save(SaveKind::Awaited, answered);
    Ok(())
}

fn background_save(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    match &arguments[1..] {
        [] => {}
        [word] if word.eq_ignore_ascii_case(b"schedule") => {}
        [word] if word.eq_ignore_ascii_case(b"cancel") => {
            let done = session.core.cancel_save();
            let done = done.ok_or("ERR Background saving is currently not in progress or scheduled")?;
            session.reply().status(done);
            return Ok(());
        }
        _ => return Err("ERR syntax error".into()),
    }
    session.core.may_begin_save()?;
    if session.core.is_in_unit() {
        // What the transaction writes is to be in it.
        session.core.shared.saves.figures().is_scheduled = true;
        session.reply().status("Background saving scheduled");
        return Ok(());
    }
    session.core.begin_save(SaveKind::Background, Box::new(|_, _| ()));
    session.reply().status("Background saving started");
    Ok(())
}

fn last_save(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let last_s = session.core.shared.saves.figures().last_s;
    session.reply().integer(last_s);
    Ok(())
}

/// The options of SHUTDOWN.
fn parse(options: &[&[u8]]) -> Result<(Shutdown, bool), CommandError> {
    let (mut saves, mut saves_not, mut aborts, mut hurries) = (false, false, false, false);
    let mut shutdown = Shutdown::default();
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"save" => saves = true,
            b"nosave" => saves_not = true,
            b"abort" => aborts = true,
            // Without replicas there is nobody to wait for.
            b"now" | b"safe" => hurries = true,
            b"force" => shutdown.is_forced = true,
            _ => return Err("ERR syntax error".into()),
        }
    }
    if saves && saves_not || aborts && (saves || saves_not || hurries || shutdown.is_forced) {
        return Err("ERR syntax error".into());
    }
    shutdown.saves = (saves || saves_not).then_some(saves);
    Ok((shutdown, aborts))
}

fn shutdown(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (shutdown, aborts) = parse(&arguments[1..])?;
    if aborts {
        if !session.core.abort_shutdown() {
            return Err("ERR No shutdown in progress.".into());
        }
        tracing::info!("Shutdown manually aborted.");
        session.reply().ok();
        return Ok(());
    }
    tracing::warn!("User requested shutdown...");
    // Success has no reply: the connection ends.
    let request = session.core.owe_answer(session.connection, session.entry);
    session.core.begin_shutdown(shutdown, Some(request));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_options_that_contradict_each_other() {
        let parse = |text: &str| {
            let options: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
            parse(&options)
        };
        assert_eq!(parse(""), Ok((Shutdown::default(), false)));
        assert_eq!(parse("NOSAVE now"), Ok((Shutdown { saves: Some(false), is_forced: false }, false)));
        assert_eq!(parse("save FORCE"), Ok((Shutdown { saves: Some(true), is_forced: true }, false)));
        assert_eq!(parse("abort"), Ok((Shutdown::default(), true)));
        for text in ["foo", "save nosave", "abort now", "save abort", "nosave x", "abort force"] {
            assert_eq!(parse(text), Err("ERR syntax error".into()), "{text}");
        }
    }
}
