//! DEBUG: what tests and the curious need. One command with a table of its own, as in the real server, and behind the
//! permission `enable-debug-command`.

use super::{ADMIN, ROW};
use crate::append_log;
use crate::command_table::{CommandEntry, KeyPlan, Target, UNCOUNTED};
use crate::commands::{SessionCommand, all_done, config};
use crate::control::ControlRequest;
use crate::core::Core;
use crate::core::session::{Session, SessionHandler, SessionResult};
use crate::loading::{self, Reload};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_engine::command::{
    Arity, CommandError, CommandResult, Execution, Flags, KeyFlags, KeySpec, Spec, Spread, parse_integer,
};
use torc_engine::digest::{digest_dataset, digest_values};
use torc_engine::keyspace::{Entry, Expiry, Key, slot_of};
use torc_engine::reply::{Protocol, Reply};
use torc_persistence::crc64;

/// The row.
pub(super) const DEBUG: SessionCommand = SessionCommand {
    spec: Spec {
        name: "debug",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        complexity: "Depends on the subcommand",
        summary: "Looks at internals and changes them",
        is_internal: true,
        ..ROW
    },
    syntax: "",
    run: debug,
};

/// A subcommand of DEBUG. They are no subcommands to COMMAND, in the real server neither.
struct Subcommand {
    name: &'static str,
    /// How many arguments may follow the name.
    arguments: RangeInclusive<usize>,
    syntax: &'static str,
    summary: &'static str,
    run: SessionHandler,
}

const ANY: usize = usize::MAX;

#[rustfmt::skip]
static SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "aof-flush-sleep", arguments: 1..=1, syntax: "<microseconds>", run: aof_flush_sleep,
        summary: "Each write of the append-only file waits for so long first" },
    Subcommand { name: "assert", arguments: 0..=0, syntax: "", run: |_, _| panic!("DEBUG ASSERT, as asked for"),
        summary: "Crashes the server by an assertion" },
    Subcommand { name: "config-rewrite-force-all", arguments: 0..=0, syntax: "", run: config::rewrite_whole,
        summary: "CONFIG REWRITE that writes all directives, also those that have their default" },
    Subcommand { name: "dict-resizing", arguments: 1..=1, syntax: "<0|1>", run: nothing_to_switch,
        summary: "Accepted: tables here grow in small steps and never at once" },
    Subcommand { name: "digest", arguments: 0..=0, syntax: "", run: digest,
        summary: "Digits that two servers share if their data are the same" },
    Subcommand { name: "digest-value", arguments: 0..=ANY, syntax: "[<key> ...]", run: digest_value,
        summary: "The same for the values of keys" },
    Subcommand { name: "error", arguments: 1..=1, syntax: "<text>", run: error,
        summary: "Answers with this error" },
    Subcommand { name: "help", arguments: 0..=0, syntax: "", run: help,
        summary: "Lists the subcommands" },
    Subcommand { name: "loadaof", arguments: 0..=0, syntax: "", run: load_log,
        summary: "Removes all data and loads them again from the append-only file" },
    Subcommand { name: "log", arguments: 1..=1, syntax: "<text>", run: log,
        summary: "Writes a line into the log" },
    Subcommand { name: "object", arguments: 1..=1, syntax: "<key>", run: object,
        summary: "How a value is stored" },
    Subcommand { name: "panic", arguments: 0..=0, syntax: "", run: |_, _| panic!("DEBUG PANIC, as asked for"),
        summary: "Crashes the server by a panic" },
    Subcommand { name: "pause-cron", arguments: 1..=1, syntax: "<0|1>", run: pause_cron,
        summary: "Stops regular background work" },
    Subcommand { name: "populate", arguments: 1..=3, syntax: "<count> [<prefix>] [<size>]", run: populate_all,
        summary: "Creates string keys prefix:0, prefix:1 ..., except those that are there" },
    Subcommand { name: "protocol", arguments: 1..=1, syntax: "<type>", run: protocol,
        summary: "A sample reply of a type" },
    Subcommand { name: "quicklist-packed-threshold", arguments: 1..=1, syntax: "<size>", run: nothing_to_switch,
        summary: "Accepted: there are no quicklists" },
    Subcommand { name: "reload", arguments: 0..=3, syntax: "[option ...]", run: reload_all,
        summary: "Saves all data and loads them again; NOSAVE, NOFLUSH and MERGE leave parts of that out" },
    Subcommand { name: "replybuffer", arguments: 2..=2, syntax: "<PEAK-RESET-TIME|RESIZING> <value>", run: reply_buffer,
        summary: "Accepted: a reply buffer is as large as what waits in it" },
    Subcommand { name: "segfault", arguments: 0..=0, syntax: "", run: segfault,
        summary: "Crashes the server by an access to memory that is not there" },
    Subcommand { name: "set-active-expire", arguments: 1..=1, syntax: "<0|1>", run: set_active_expire,
        summary: "Says whether expired keys are removed without being asked for" },
    Subcommand { name: "set-disable-deny-scripts", arguments: 1..=1, syntax: "<0|1>", run: set_deny_scripts,
        summary: "Says whether scripts may call what they may not" },
    Subcommand { name: "set-skip-checksum-validation", arguments: 1..=1, syntax: "<0|1>", run: set_skips_sums,
        summary: "Says whether checksums of payloads and files are left unread" },
    Subcommand { name: "shard", arguments: 1..=1, syntax: "<key>", run: shard,
        summary: "The key's slot, the shard that owns it, and the shard of this connection" },
    Subcommand { name: "sleep", arguments: 1..=1, syntax: "<seconds>", run: sleep,
        summary: "Stops all shards for so long; decimals are allowed" },
];

const UNKNOWN: &str = "ERR unknown subcommand or wrong number of arguments for '";
const HINT: &str = "'. Try DEBUG HELP.";

/// Known by name, so that the error is better than "unknown".
const ABSENT: &[&str] = &["change-repl-id", "htstats", "htstats-key", "jmap"];

fn debug(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let permission = session.core.shared.config().security.debug_command;
    if !permission.allows(session.connection.ends.is_loopback) {
        return Err(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
                    it from a local connection, otherwise you need to set this option in the configuration file, and \
                    then restart the server."
                .into(),
        );
    }
    let name = arguments[1];
    let is = |known: &&str| known.as_bytes().eq_ignore_ascii_case(name);
    let found = SUBCOMMANDS
        .iter()
        .find(|subcommand| is(&subcommand.name) && subcommand.arguments.contains(&(arguments.len() - 2)));
    match found {
        Some(subcommand) => (subcommand.run)(session, arguments),
        None if ABSENT.iter().any(is) => {
            Err(CommandError::echo("ERR DEBUG ", &name.to_ascii_uppercase(), " is not supported in this version"))
        }
        None => Err(CommandError::echo(UNKNOWN, name, HINT)),
    }
}

fn help(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let mut reply = session.reply();
    reply.array(1 + SUBCOMMANDS.len() * 2);
    reply.status("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for subcommand in SUBCOMMANDS {
        let name = subcommand.name.to_ascii_uppercase();
        reply.status(format!("{name} {}", subcommand.syntax).trim_end());
        reply.status(&format!("    {}.", subcommand.summary));
    }
    Ok(())
}

fn nothing_to_switch(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    session.reply().ok();
    Ok(())
}

/// `NEVER`, `RESET` and times of PEAK-RESET-TIME, 0 and 1 of RESIZING.
fn reply_buffer(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (what, value) = (arguments[2], arguments[3]);
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        let is_word = value.eq_ignore_ascii_case(b"never") || value.eq_ignore_ascii_case(b"reset");
        if !is_word && parse_integer(value).is_none() {
            return Err("ERR value is not an integer or out of range".into());
        }
    } else if !what.eq_ignore_ascii_case(b"resizing") {
        return Err(CommandError::echo(UNKNOWN, arguments[1], HINT));
    }
    nothing_to_switch(session, arguments)
}

fn segfault(_: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let raised = signal_hook::low_level::raise(signal_hook::consts::SIGSEGV);
    Err(format!("ERR the signal cannot be raised: {raised:?}").into_bytes().into())
}

fn error(_: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    Err(arguments[2].to_vec().into())
}

fn log(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    // A line stays a line, whatever is in the text.
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(arguments[2]).replace(['\r', '\n'], " "));
    session.reply().ok();
    Ok(())
}

/// What DEBUG switches on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Expired keys are removed without being asked for.
    ActiveExpire,
    /// The cron runs, and with it active expiry.
    Cron,
}

fn set_active_expire(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let is_on = leading_integer(arguments[2]) != 0;
    session.ask_all(ControlRequest::Switch(Switch::ActiveExpire, is_on), all_done());
    Ok(())
}

fn pause_cron(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let is_on = leading_integer(arguments[2]) == 0;
    session.ask_all(ControlRequest::Switch(Switch::Cron, is_on), all_done());
    Ok(())
}

/// The number that a text begins with, 0 where there is none.
fn leading_integer(text: &[u8]) -> i64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn set_deny_scripts(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.core.shared.scripting.denies_nothing.store(leading_integer(arguments[2]) != 0, Ordering::Relaxed);
    session.reply().ok();
    Ok(())
}

fn sleep(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.ask_all(ControlRequest::Sleep(seconds_of(arguments[2])), all_done());
    Ok(())
}

/// So many seconds, with decimals; none where it is no number.
pub fn seconds_of(text: &[u8]) -> Duration {
    let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

fn shard(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let slot = slot_of(arguments[2]);
    let (owner, here) = (session.core.shared.shard_of(slot), session.core.index);
    let mut reply = session.reply();
    reply.map(3);
    for (name, number) in [("slot", slot as i64), ("shard", owner as i64), ("connection-shard", here as i64)] {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    }
    Ok(())
}

fn protocol(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let protocol = session.connection.protocol();
    sample(arguments[2], protocol, &mut session.reply())
}

/// A reply of each type, as DEBUG PROTOCOL gives it.
pub fn sample(kind: &[u8], protocol: Protocol, reply: &mut Reply<'_>) -> SessionResult {
    const ATTRIBUTE: &[u8] = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n";
    const BIG_NUMBER: &[u8] = b"1234567999999999999999999999999999999";
    let is_resp3 = protocol == Protocol::Resp3;
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12_345),
        b"double" if is_resp3 => reply.buffer().bytes.extend_from_slice(b",3.141\r\n"),
        b"double" => reply.bulk(b"3.141"),
        b"null" => reply.null(),
        kind @ (b"array" | b"set") => {
            match kind {
                b"set" => reply.set(3),
                _ => reply.array(3),
            }
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if is_resp3 {
                reply.buffer().bytes.extend_from_slice(ATTRIBUTE);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if is_resp3 => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"push" => return Err("ERR RESP2 is not supported by this command".into()),
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" if is_resp3 => {
            let out = &mut reply.buffer().bytes;
            out.push(b'(');
            out.extend_from_slice(BIG_NUMBER);
            out.extend_from_slice(b"\r\n");
        }
        b"bignum" => reply.bulk(BIG_NUMBER),
        _ => {
            return Err("ERR Wrong protocol type name. Please use one of the following: \
                        string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
                .into());
        }
    }
    Ok(())
}

fn reload_all(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let mut reload = Reload::default();
    for option in &arguments[2..] {
        match option.to_ascii_lowercase().as_slice() {
            b"merge" => reload.merges = true,
            b"noflush" => reload.flushes_not = true,
            b"nosave" => reload.saves_not = true,
            _ => return Err("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.".into()),
        }
    }
    let request = session.core.owe_answer(session.connection, session.entry);
    let (tasks, shared) = (session.core.tasks.clone(), session.core.shared.clone());
    session.core.tasks.spawn(loading::reload(tasks, shared, reload, request));
    Ok(())
}

fn load_log(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let request = session.core.owe_answer(session.connection, session.entry);
    let (tasks, shared) = (session.core.tasks.clone(), session.core.shared.clone());
    let plan = append_log::Plan::of(&shared.config());
    session.core.tasks.spawn(append_log::reload(tasks, shared, plan, request));
    Ok(())
}

fn aof_flush_sleep(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let delay = Duration::from_micros(leading_integer(arguments[2]).unsigned_abs());
    session.core.shared.append_log.set_write_delay(delay);
    session.reply().ok();
    Ok(())
}

fn set_skips_sums(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    crc64::skip(leading_integer(arguments[2]) != 0);
    session.reply().ok();
    Ok(())
}

fn populate_all(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    const REFUSAL: &str = "ERR value is out of range, must be positive";
    let positive = |text: &[u8]| parse_integer(text).and_then(|number| u64::try_from(number).ok()).ok_or(REFUSAL);
    let request = ControlRequest::Populate {
        database: session.connection.session.client.database as usize,
        count: positive(arguments[2])?,
        prefix: arguments.get(3).map_or_else(|| b"key".to_vec(), |prefix| prefix.to_vec()),
        value_bytes: arguments.get(4).map(|size| positive(size).map(|size| size as usize)).transpose()?,
    };
    session.ask_all(request, all_done());
    Ok(())
}

/// Creates those of the keys that this shard owns and does not have.
pub fn populate(core: &mut Core, database: usize, count: u64, prefix: &[u8], value_bytes: Option<usize>) {
    let now = core.shard.now();
    for number in 0..count {
        let name = [prefix, format!(":{number}").as_bytes()].concat();
        let key = Key::new(&name, &core.shared.hasher);
        if core.shared.shard_of(key.slot) != core.index || core.shard.keyspace.exists(database, &key, now) {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if let Some(bytes) = value_bytes {
            value.resize(bytes, 0);
        }
        core.shard.keyspace.set_string(database, &key, &value, Expiry::Clear, now);
    }
}

/// A part of DEBUG that runs where its keys are.
const KEYED: Spec = Spec { name: "debug", flags: Flags::READONLY, ..ROW };

static OBJECT_SPEC: Spec = Spec { keys: &[KeySpec::range(KeyFlags::RO, 2, 2, 1)], ..KEYED };
static OBJECT: CommandEntry = CommandEntry {
    spec: &OBJECT_SPEC,
    full_name: String::new(),
    target: Target::Engine(object_here),
    keys: KeyPlan::One(2),
    is_write: false,
    keeps_order: false,
    takes_memory: false,
    is_queued: true,
    may_wait: false,
    is_script: false,
    id: UNCOUNTED,
    subcommands: Vec::new(),
};

fn object(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.forward(&OBJECT, arguments);
    Ok(())
}

/// `at` is the key's position in the order of its table: values have no address that stays. A key whose time is over is there
/// until somebody comes for it.
fn object_here(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key = execution.keyspace.key(arguments[2]);
    let now = execution.now;
    let Some(entry) = execution.keyspace.peek(execution.database, &key, 0) else {
        return Err("ERR no such key".into());
    };
    let idle_s = entry.idle_seconds(now);
    let line = format!(
        "Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle_s}",
        key.hash,
        entry.encoding_name(),
        serialized_bytes(&entry),
        (now / 1000 - idle_s as i64) & 0x00ff_ffff,
    );
    execution.reply.status(&line);
    Ok(())
}

/// What a string takes in a dump without compression.
fn serialized_bytes(entry: &Entry<'_>) -> usize {
    let Some(value) = entry.string() else { return 0 };
    match (value.as_integer(), value.len()) {
        (Some(number), 1..=11) if i8::try_from(number).is_ok() => 2,
        (Some(number), 1..=11) if i16::try_from(number).is_ok() => 3,
        (Some(number), 1..=11) if i32::try_from(number).is_ok() => 5,
        (_, length @ ..64) => 1 + length,
        (_, length @ ..16_384) => 2 + length,
        (_, length) => 5 + length,
    }
}

static DIGEST_SPEC: Spec = Spec { spread: Spread::AllShardsDigest, ..KEYED };
static DIGEST: CommandEntry = CommandEntry {
    spec: &DIGEST_SPEC,
    full_name: String::new(),
    target: Target::Engine(digest_dataset),
    keys: KeyPlan::None,
    is_write: false,
    keeps_order: false,
    takes_memory: false,
    is_queued: true,
    may_wait: false,
    is_script: false,
    id: UNCOUNTED,
    subcommands: Vec::new(),
};

fn digest(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.forward(&DIGEST, arguments);
    Ok(())
}

static DIGEST_VALUE_SPEC: Spec =
    Spec { keys: &[KeySpec::range(KeyFlags::RO, 1, -1, 1)], spread: Spread::Gather, ..KEYED };
static DIGEST_VALUE: CommandEntry = CommandEntry {
    spec: &DIGEST_VALUE_SPEC,
    full_name: String::new(),
    target: Target::Engine(digest_values),
    keys: KeyPlan::Many,
    is_write: false,
    keeps_order: false,
    takes_memory: false,
    is_queued: true,
    may_wait: false,
    is_script: false,
    id: UNCOUNTED,
    subcommands: Vec::new(),
};

fn digest_value(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    // As a command of its own, whose name is followed by keys only: parts on several shards are made of them.
    session.forward(&DIGEST_VALUE, &arguments[1..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_lenient_as_the_real_server_s() {
        for (text, number) in [("1", 1), ("0", 0), ("x", 0), ("", 0), ("12x", 12)] {
            assert_eq!(leading_integer(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(SUBCOMMANDS.is_sorted_by_key(|subcommand| subcommand.name));
        assert!(ABSENT.iter().all(|name| SUBCOMMANDS.iter().all(|subcommand| subcommand.name != *name)));
    }
}
