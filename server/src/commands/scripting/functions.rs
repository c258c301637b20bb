//! FUNCTION. A change makes a new registry, which a multicast brings to all shards; the lock on it is held until that is on
//! its way, so all shards see changes in one order.

use super::{CONTAINER, HELP, ROW, is_flush_mode};
use crate::commands::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::control::ControlRequest;
use crate::core::Core;
use crate::core::session::{Session, SessionResult};
use std::sync::Arc;
use std::time::{Duration, Instant};
use torc_engine::command::argument::{one_of, string, word};
use torc_engine::command::{Arity, CommandError, Flags, Spec};
use torc_engine::commands::glob::{self, Case};
use torc_persistence::rdb::functions as payload;
use torc_scripting::libraries::{Engine, Library, Policy, Registry};
use torc_scripting::{Exchange, GoOn, Host, LogLevel, Request};

pub(super) const FUNCTION: SessionCommand = SessionCommand {
    spec: Spec { name: "function", summary: "Keeps functions", subcommands: &SPECS, ..CONTAINER },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
};

/// What loading a library may take.
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

const WRITE: Flags = Flags::WRITE.or(Flags::NOSCRIPT);
const TO_ALL: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const fn row(name: &'static str, arity: Arity, flags: Flags, summary: &'static str) -> Spec {
    Spec { name, arity, flags, summary, ..ROW }
}

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 9] = [
    SessionCommand {
        spec: Spec {
            arguments: &[string("library-name")],
            tips: TO_ALL,
            ..row("delete", Arity::Exact(3), WRITE, "Removes a library and its functions")
        },
        syntax: "library",
        run: delete,
    },
    SessionCommand {
        spec: Spec {
            complexity: "O(N) in the number of libraries",
            ..row("dump", Arity::Exact(2), Flags::NOSCRIPT, "Gives all libraries in bytes")
        },
        syntax: "",
        run: dump,
    },
    SessionCommand {
        spec: Spec {
            complexity: "O(N) in the number of functions",
            arguments: &[one_of("async", &[word("ASYNC"), word("SYNC")]).optional()],
            tips: TO_ALL,
            ..row("flush", Arity::AtLeast(2), WRITE, "Removes all libraries")
        },
        syntax: "[ASYNC|SYNC]",
        run: flush,
    },
    SessionCommand { spec: HELP, syntax: "", run: |session, _| help("FUNCTION", &SUBCOMMANDS, session) },
    SessionCommand {
        spec: Spec {
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            ..row(
                "kill",
                Arity::Exact(2),
                Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
                "Ends the function that runs for long",
            )
        },
        syntax: "",
        run: |session, _| {
            session.core.shared.scripting.kill(true)?;
            session.reply().ok();
            Ok(())
        },
    },
    SessionCommand {
        spec: Spec {
            complexity: "O(N) in the number of functions",
            arguments: &[string("library-name-pattern").token("LIBRARYNAME").optional(), word("WITHCODE").optional()],
            tips: &["nondeterministic_output_order"],
            ..row("list", Arity::AtLeast(2), Flags::NOSCRIPT, "Gives the libraries")
        },
        syntax: "[LIBRARYNAME pattern] [WITHCODE]",
        run: list,
    },
    SessionCommand {
        spec: Spec {
            complexity: "O(1), apart from what the library does when it is loaded",
            arguments: &[word("REPLACE").optional(), string("function-code")],
            tips: TO_ALL,
            ..row("load", Arity::AtLeast(3), WRITE.or(Flags::DENYOOM), "Adds a library")
        },
        syntax: "[REPLACE] code",
        run: load,
    },
    SessionCommand {
        spec: Spec {
            complexity: "O(N) in the number of functions",
            arguments: &[
                string("serialized-value"),
                one_of("policy", &[word("FLUSH"), word("APPEND"), word("REPLACE")]).optional(),
            ],
            tips: TO_ALL,
            ..row("restore", Arity::AtLeast(3), WRITE.or(Flags::DENYOOM), "Adds the libraries of a dump")
        },
        syntax: "payload [FLUSH|APPEND|REPLACE]",
        run: restore,
    },
    SessionCommand {
        spec: Spec {
            tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
            ..row(
                "stats",
                Arity::Exact(2),
                Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
                "Tells of the function that runs, and of the languages",
            )
        },
        syntax: "",
        run: stats,
    },
];

/// Loading is bounded in time, and may write to the log.
struct Loading(Instant);

impl Host for Loading {
    fn call(&mut self, exchange: &mut Exchange) {
        let line = String::from_utf8_lossy(exchange.arguments.get(0)).into_owned();
        match exchange.request {
            Request::Log(LogLevel::Debug) => tracing::trace!("{line}"),
            Request::Log(LogLevel::Verbose) => tracing::debug!("{line}"),
            Request::Log(LogLevel::Notice) => tracing::info!("{line}"),
            Request::Log(LogLevel::Warning) => tracing::warn!("{line}"),
            _ => {}
        }
    }

    fn tick(&mut self) -> GoOn {
        if self.0.elapsed() > LOAD_TIME_MAX { GoOn::Kill("FUNCTION LOAD timeout") } else { GoOn::Yes }
    }
}

/// The library of this code, with its functions.
fn loaded(core: &Core, code: &[u8], is_known: impl Fn(&str) -> SessionResult) -> Result<Arc<Library>, CommandError> {
    let library = Arc::new(Library::parse(code)?);
    is_known(&library.name)?;
    core.scripting.interpreters.load(&library, &mut Loading(Instant::now()))?;
    Ok(library)
}

/// Makes a change by a command, and tells all shards of it.
fn change(
    session: &mut Session<'_>,
    command: &[&[u8]],
    to: impl FnOnce(&Registry) -> Result<Registry, Vec<u8>>,
    conclude: crate::core::session::Conclude,
) -> SessionResult {
    let shared = session.core.shared.clone();
    let mut functions = shared.scripting.change_functions();
    let changed = Arc::new(to(&functions)?);
    *functions = changed.clone();
    let command = command.iter().map(|word| word.to_vec()).collect();
    session.ask_all(ControlRequest::Functions(changed, Some(command)), conclude);
    Ok(())
}

/// The libraries of a file, which come in the place of those that are there: what is to be told to all shards.
pub(crate) fn load_libraries(core: &Core, codes: &[Vec<u8>]) -> Result<ControlRequest, CommandError> {
    let mut registry = Registry::default();
    for code in codes {
        let library = loaded(core, code, |name| Ok(registry.check_name(name, false)?))?;
        registry = registry.with(&library)?;
    }
    let changed = Arc::new(registry);
    *core.shared.scripting.change_functions() = changed.clone();
    Ok(ControlRequest::Functions(changed, None))
}

/// After a file was loaded beside the libraries that were there: both, which is to be told to all shards. Where two have one
/// name that of the file counts, or what was there stays as it was, and the reason is told.
pub(crate) fn keep_libraries(
    core: &Core,
    before: &Arc<Registry>,
    is_replacing: bool,
) -> (ControlRequest, Option<CommandError>) {
    let mut functions = core.shared.scripting.change_functions();
    let policy = if is_replacing { Policy::Replace } else { Policy::Append };
    let (kept, refusal) = match before.joined(&functions, policy) {
        Ok(joined) => (Arc::new(joined), None),
        Err(error) => (before.clone(), Some(error.into())),
    };
    *functions = kept.clone();
    (ControlRequest::Functions(kept, None), refusal)
}

fn load(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (code, options) = arguments[2..].split_last().expect("arity is checked");
    let mut is_replacing = false;
    for option in options {
        if !option.eq_ignore_ascii_case(b"replace") {
            return Err(CommandError::echo("ERR Unknown option given: ", option, ""));
        }
        is_replacing = true;
    }
    let functions = session.core.shared.scripting.functions();
    let library = loaded(session.core, code, |name| Ok(functions.check_name(name, is_replacing)?))?;
    let name = library.name.clone();
    let to = |functions: &Registry| {
        functions.check_name(&library.name, is_replacing)?;
        functions.with(&library)
    };
    change(session, arguments, to, Box::new(move |_, _, reply| reply.bulk(name.as_bytes())))
}

fn delete(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    change(session, arguments, |functions| functions.without(arguments[2]), all_done())
}

/// The error about arguments that the table's arity lets pass.
fn too_many(name: &[u8]) -> CommandError {
    let before = "ERR unknown subcommand or wrong number of arguments for '";
    CommandError::echo(before, name, "'. Try FUNCTION HELP.")
}

fn flush(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    if arguments.len() > 3 {
        return Err(too_many(arguments[1]));
    }
    if !is_flush_mode(&arguments[2..]) {
        return Err("ERR FUNCTION FLUSH only supports SYNC|ASYNC option".into());
    }
    change(session, arguments, |_| Ok(Registry::default()), all_done())
}

fn dump(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let functions = session.core.shared.scripting.functions();
    let codes = |is_stock: bool| {
        let libraries = functions.libraries().filter(move |library| (library.engine == Engine::Lua) == is_stock);
        libraries.map(|library| &library.code[..])
    };
    session.reply().bulk(&payload::write(codes(true), codes(false)));
    Ok(())
}

fn restore(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    const BAD_POLICY: &str = "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
    let policy = match &arguments[3..] {
        [] => Policy::Append,
        [word] => match word.to_ascii_lowercase().as_slice() {
            b"flush" => Policy::Flush,
            b"append" => Policy::Append,
            b"replace" => Policy::Replace,
            _ => return Err(BAD_POLICY.into()),
        },
        _ => return Err(too_many(arguments[1])),
    };
    let mut restored = Registry::default();
    for code in payload::read(arguments[2])? {
        let library = loaded(session.core, &code, |name| Ok(restored.check_name(name, false)?))?;
        restored = restored.with(&library)?;
    }
    change(session, arguments, |functions| functions.joined(&restored, policy), all_done())
}

fn list(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = arguments[2..].iter();
    while let Some(option) = words.next() {
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            pattern = Some(*words.next().ok_or("ERR library name argument was not given")?);
        } else {
            return Err(CommandError::echo("ERR Unknown argument ", option, ""));
        }
    }
    let functions = session.core.shared.scripting.functions();
    let fits = |library: &&Arc<Library>| {
        pattern.is_none_or(|pattern| glob::matches(pattern, library.name.as_bytes(), Case::Insensitive))
    };
    let libraries: Vec<&Arc<Library>> = functions.libraries().filter(fits).collect();
    let mut reply = session.reply();
    reply.array(libraries.len());
    for library in libraries {
        reply.map(3 + usize::from(with_code));
        reply.bulk(b"library_name");
        reply.bulk(library.name.as_bytes());
        reply.bulk(b"engine");
        reply.bulk(library.engine.name().as_bytes());
        reply.bulk(b"functions");
        reply.array(library.functions().len());
        for function in library.functions() {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(function.name.as_bytes());
            reply.bulk(b"description");
            match &function.description {
                Some(description) => reply.bulk(description.as_bytes()),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            reply.set(function.flags.names().count());
            function.flags.names().for_each(|flag| reply.status(flag));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

fn stats(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let functions = session.core.shared.scripting.functions();
    let running = session.core.shared.scripting.running();
    let now_ms = session.core.clock.wall_ms;
    let mut reply = session.reply();
    reply.map(2);
    reply.bulk(b"running_script");
    match running.first() {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.function.as_deref().unwrap_or_default().as_bytes());
            reply.bulk(b"command");
            reply.array(running.command.len());
            running.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer((now_ms - running.started_ms).max(0));
        }
    }
    reply.bulk(b"engines");
    // Where there is no JavaScript there is but one language, and tools count on it.
    let engines = Engine::ALL.into_iter().filter(|engine| *engine == Engine::Lua || functions.counts(*engine).0 > 0);
    let engines: Vec<Engine> = engines.collect();
    reply.map(engines.len());
    for engine in engines {
        let (libraries, functions) = functions.counts(engine);
        reply.bulk(engine.name().as_bytes());
        reply.map(2);
        reply.bulk(b"libraries_count");
        reply.integer(libraries as i64);
        reply.bulk(b"functions_count");
        reply.integer(functions as i64);
    }
    Ok(())
}
