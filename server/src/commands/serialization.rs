//! DUMP and RESTORE: a value as the bytes that files have of it, with version and checksum
//! (Redis documentation, "RESTORE").
//!
//! Both see one key, so they run where it is, like the engine's own commands; they stand here because the engine knows no files.
//! A payload is read to its end before anything changes. Whatever is wrong with it is one error to the client.

use torc_engine::command::argument::{integer, key, string, word};
use torc_engine::command::{
    Arity, Categories, Command, CommandError, CommandResult, Execution, Flags, KeyFlags, KeySpec, Milliseconds, Spec,
    parse_integer,
};
use torc_engine::journal::EventClass;
use torc_engine::keyspace::{OwnedEntry, Value};
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::decode::{Decoded, Target};
use torc_persistence::rdb::encode::Readers;
use torc_persistence::rdb::{Dialect, dump as payload, packed_form};

const ROW: Spec = Spec { group: "generic", since: "2.6.0", own_categories: Categories::KEYSPACE, ..Spec::BASE };

const RESTORE: Spec = Spec {
    name: "restore",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    own_categories: Categories::KEYSPACE.or(Categories::DANGEROUS),
    keys: &[KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 1, 1, 1)],
    complexity: "O(N) in the size of the value, O(N log N) for sorted sets",
    summary: "Makes a value from what DUMP has given",
    arguments: &[
        key("key"),
        integer("ttl"),
        string("serialized-value"),
        word("REPLACE").optional().since("3.0.0"),
        word("ABSTTL").optional().since("5.0.0"),
        integer("seconds").token("IDLETIME").optional().since("5.0.0"),
        integer("frequency").token("FREQ").optional().since("5.0.0"),
    ],
    history: &[("3.0.0", "Takes REPLACE."), ("5.0.0", "Takes ABSTTL."), ("5.0.0", "Takes IDLETIME and FREQ.")],
    ..ROW
};

/// The rows.
pub(super) static RUNS: [Command; 3] = [
    Command {
        spec: Spec {
            name: "dump",
            arity: Arity::Exact(2),
            flags: Flags::READONLY,
            keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)],
            complexity: "O(N) in the size of the value",
            summary: "Gives a value as bytes, for RESTORE",
            arguments: &[key("key")],
            tips: &["nondeterministic_output"],
            ..ROW
        },
        run: dump,
    },
    Command { spec: RESTORE, run: restore },
    Command {
        spec: Spec {
            name: "restore-asking",
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ASKING),
            group: "server",
            since: "3.0.0",
            summary: "The same between the nodes of a cluster",
            is_internal: true,
            ..RESTORE
        },
        run: restore,
    },
];

fn dump(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (database, now, access) = (execution.database, execution.now, execution.access());
    let key = execution.keyspace.key(arguments[1]);
    match execution.keyspace.find(database, &key, now, access).map(|entry| entry.to_owned()) {
        None => execution.reply.null(),
        Some(entry) => {
            let mut compressor = Compressor::default();
            execution.reply.bulk(&payload::write(&entry.value, Readers::default(), Some(&mut compressor)));
        }
    }
    Ok(())
}

/// What stands behind the payload.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

fn options(words: &[&[u8]]) -> Result<Options, CommandError> {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let number =
        |word: &[u8]| parse_integer(word).ok_or(CommandError::from("ERR value is not an integer or out of range"));
    let mut options = Options::default();
    let mut rest = words;
    while let [word, more @ ..] = rest {
        rest = more;
        match more {
            _ if is(word, "REPLACE") => options.replaces = true,
            _ if is(word, "ABSTTL") => options.is_absolute = true,
            [seconds, more @ ..] if is(word, "IDLETIME") && options.frequency.is_none() => {
                let seconds = u64::try_from(number(seconds)?);
                options.idle_s = Some(seconds.map_err(|_| "ERR Invalid IDLETIME value, must be >= 0")?);
                rest = more;
            }
            [counter, more @ ..] if is(word, "FREQ") && options.idle_s.is_none() => {
                let counter = u8::try_from(number(counter)?);
                options.frequency = Some(counter.map_err(|_| "ERR Invalid FREQ value, must be >= 0 and <= 255")?);
                rest = more;
            }
            _ => return Err("ERR syntax error".into()),
        }
    }
    Ok(options)
}

fn restore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let options = options(&arguments[4..])?;
    let (database, now) = (execution.database, execution.now);
    let (name, serialized) = (arguments[1], arguments[3]);
    let key = execution.keyspace.key(name);
    if !options.replaces && execution.keyspace.exists(database, &key, now) {
        return Err("BUSYKEY Target key name already exists.".into());
    }
    let expires_at = expiry(arguments[2], options.is_absolute, now)?;
    let value = value(execution, serialized)?;
    let keyspace = &mut *execution.keyspace;
    if expires_at.is_some_and(|at| at <= now) {
        // It would be gone at once.
        if options.replaces && keyspace.remove(database, &key, now) {
            execution.effect(&[b"DEL", name]);
            execution.event(EventClass::Generic, "del", name);
        }
        execution.reply.ok();
        return Ok(());
    }
    let entry = keyspace.told_use(OwnedEntry::new(value, expires_at), options.idle_s, options.frequency, now);
    keyspace.arrive(database, &key, entry, now);
    report(execution, name, serialized, expires_at);
    execution.reply.ok();
    Ok(())
}

/// When it expires; none if it does not.
fn expiry(text: &[u8], is_absolute: bool, now: Milliseconds) -> Result<Option<Milliseconds>, CommandError> {
    const INVALID: &str = "ERR Invalid TTL value, must be >= 0";
    match parse_integer(text).ok_or("ERR value is not an integer or out of range")? {
        ..0 => Err(INVALID.into()),
        0 => Ok(None),
        at if is_absolute => Ok(Some(at)),
        ttl => Ok(Some(now.checked_add(ttl).ok_or(INVALID)?)),
    }
}

const BAD_FORMAT: &str = "ERR Bad data format";

fn value(execution: &Execution<'_>, serialized: &[u8]) -> Result<Value, CommandError> {
    let target = Target {
        limits: &execution.options.encodings,
        hasher: execution.keyspace.member_hasher(),
        dialect: Dialect::Redis,
    };
    let refused = match payload::read(serialized, target) {
        None => return Err("ERR DUMP payload version or checksum are wrong".into()),
        Some(Ok(Decoded::Value(value))) => return Ok(value),
        Some(Ok(Decoded::Empty)) => "nothing is in it".to_owned(),
        Some(Err(malformed)) => malformed.to_string(),
    };
    let form = packed_form(serialized.first().copied().unwrap_or(0));
    tracing::debug!("A payload was refused: {form} integrity check failed: {refused}");
    Err(BAD_FORMAT.into())
}

fn report(execution: &mut Execution<'_>, name: &[u8], serialized: &[u8], expires_at: Option<Milliseconds>) {
    let mut scratch = itoa::Buffer::new();
    let at = scratch.format(expires_at.unwrap_or(0)).as_bytes();
    execution.effect(&[b"RESTORE", name, at, serialized, b"ABSTTL", b"REPLACE"]);
    execution.event(EventClass::Generic, "restore", name);
}
