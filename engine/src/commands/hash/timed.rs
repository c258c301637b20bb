//! Reads and writes that change the expiry of fields, or remove what they read: HGETEX, HGETDEL, HSETEX.

use super::super::errors::{NOT_INTEGER, is};
use super::expiry::{NOT_POSITIVE, TimeUnit, parse_fields, report_expiry};
use super::{edit, finish_removal, hash_of, reply_value, write_fields};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds, parse_integer, wrong_arity};
use crate::journal::EventClass;
use crate::values::Type;
use crate::values::hash::{self, FieldExpiry, HashRef};

/// The time that an option's word and the number behind it name.
fn parse_time(
    word: &[u8],
    text: Option<&&[u8]>,
    now: Milliseconds,
    command: &str,
) -> Result<Option<i64>, CommandError> {
    let units = [("EX", true, false), ("PX", false, false), ("EXAT", true, true), ("PXAT", false, true)];
    let Some((_, seconds, absolute)) = units.into_iter().find(|(name, ..)| is(word, name)) else { return Ok(None) };
    let text = text.ok_or(CommandError::from(NOT_INTEGER))?;
    TimeUnit { seconds, absolute }.parse(text, now, command).map(Some)
}

/// `HGETDEL key FIELDS numfields field [field ...]`
pub(super) fn hgetdel(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    keyspace.peek_typed(*database, &key, *now, Type::Hash)?;
    let fields = parse_fields(&arguments[2..], NOT_POSITIVE)?;
    let entry = edit(keyspace, *database, &key, *now)?;
    reply.array(fields.len());
    let Some(mut entry) = entry else {
        fields.iter().for_each(|_| reply.null());
        return Ok(());
    };
    let mut removed: Vec<&[u8]> = Vec::new();
    for name in fields {
        reply_value(reply, HashRef::of(&entry).get(name, *now));
        if hash::remove(&mut entry, name) {
            removed.push(name);
        }
    }
    entry.changed(removed.len() as u64);
    if !removed.is_empty() {
        let effect = [&b"HDEL"[..], arguments[1]].into_iter().chain(removed.iter().copied());
        entry.effect(&effect.collect::<Vec<_>>());
    }
    finish_removal(entry, arguments[1], &removed);
    Ok(())
}

/// `HGETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST] FIELDS numfields field [...]`
pub(super) fn hgetex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    keyspace.peek_typed(*database, &key, *now, Type::Hash)?;
    let (expiry, rest) = if is(arguments[2], "PERSIST") {
        (FieldExpiry::Clear, &arguments[3..])
    } else {
        match parse_time(arguments[2], arguments.get(3), *now, "hgetex")? {
            Some(at) => (FieldExpiry::At(at), &arguments[4..]),
            None => (FieldExpiry::Keep, &arguments[2..]),
        }
    };
    let fields = parse_fields(rest, NOT_POSITIVE)?;
    let entry = edit(keyspace, *database, &key, *now)?;
    reply.array(fields.len());
    let Some(mut entry) = entry else {
        fields.iter().for_each(|_| reply.null());
        return Ok(());
    };
    let mut changed: Vec<&[u8]> = Vec::new();
    for name in fields {
        let field = HashRef::of(&entry).get(name, *now);
        reply_value(reply, field);
        let Some(present) = field.map(|field| field.expires_at) else { continue };
        match expiry {
            FieldExpiry::At(at) if at <= *now => {
                hash::remove(&mut entry, name);
            }
            FieldExpiry::At(at) => hash::set_expiry(&mut entry, name, Some(at)),
            FieldExpiry::Clear if present.is_some() => hash::set_expiry(&mut entry, name, None),
            FieldExpiry::Clear | FieldExpiry::Keep => continue,
        }
        changed.push(name);
    }
    entry.changed(changed.len() as u64);
    if changed.is_empty() {
        return Ok(());
    }
    match expiry {
        FieldExpiry::At(at) if at <= *now => {
            let effect = [&b"HDEL"[..], arguments[1]].into_iter().chain(changed.iter().copied());
            entry.effect(&effect.collect::<Vec<_>>());
            finish_removal(entry, arguments[1], &changed);
        }
        FieldExpiry::At(at) => {
            entry.note_due(at);
            report_expiry(&mut entry, arguments[1], at, &changed);
            entry.event_of_parts(EventClass::Hash, "hexpire", arguments[1], changed);
        }
        _ => {
            let count = changed.len().to_string();
            let head = [b"HPERSIST", arguments[1], b"FIELDS", count.as_bytes()];
            entry.effect(&head.into_iter().chain(changed.iter().copied()).collect::<Vec<_>>());
            entry.event_of_parts(EventClass::Hash, "hpersist", arguments[1], changed);
        }
    }
    Ok(())
}

/// HSETEX: its options as they were given.
struct SetOptions<'a, 'b> {
    /// FNX: false, FXX: true.
    wanted_presence: Option<bool>,
    /// NX of the key: false, XX: true (Valkey's).
    wanted_key: Option<bool>,
    expiry: FieldExpiry,
    pairs: &'b [[&'a [u8]; 2]],
}

impl<'a, 'b> SetOptions<'a, 'b> {
    fn parse(arguments: &'b [&'a [u8]], now: Milliseconds) -> Result<Self, CommandError> {
        let mut options = Self { wanted_presence: None, wanted_key: None, expiry: FieldExpiry::Clear, pairs: &[] };
        let (mut has_expiry, mut rest) = (false, arguments);
        while let [word, more @ ..] = rest {
            rest = more;
            if is(word, "FIELDS") {
                options.pairs = Self::parse_pairs(rest)?;
                return Ok(options);
            }
            if is(word, "FNX") || is(word, "FXX") {
                if options.wanted_presence.replace(is(word, "FXX")).is_some() {
                    return Err("ERR Only one of FXX or FNX arguments can be specified".into());
                }
                continue;
            }
            if is(word, "NX") || is(word, "XX") {
                if options.wanted_key.replace(is(word, "XX")).is_some() {
                    return Err("ERR Only one of NX or XX arguments can be specified".into());
                }
                continue;
            }
            let is_time = ["EX", "PX", "EXAT", "PXAT"].iter().any(|name| is(word, name));
            if !is_time && !is(word, "KEEPTTL") {
                return Err(CommandError::echo("ERR unknown argument: ", word, ""));
            }
            if std::mem::replace(&mut has_expiry, true) {
                return Err("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified".into());
            }
            options.expiry = match parse_time(word, rest.first(), now, "hsetex")? {
                Some(at) => {
                    rest = &rest[1..];
                    FieldExpiry::At(at)
                }
                None => FieldExpiry::Keep,
            };
        }
        Err("ERR missing FIELDS argument".into())
    }

    /// `numfields field value [field value ...]`
    fn parse_pairs(words: &'b [&'a [u8]]) -> Result<&'b [[&'a [u8]; 2]], CommandError> {
        let invalid = || CommandError::from("ERR invalid number of fields");
        let [count, pairs @ ..] = words else { return Err(wrong_arity("hsetex", None)) };
        let count = parse_integer(count).filter(|count| *count > 0).ok_or_else(invalid)?;
        match pairs.as_chunks() {
            (pairs, []) if pairs.len() as i64 == count => Ok(pairs),
            _ => Err(wrong_arity("hsetex", None)),
        }
    }
}

/// `HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL] FIELDS numfields
/// field value [field value ...]`
pub(super) fn hsetex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let SetOptions { wanted_presence, wanted_key, expiry, pairs } = SetOptions::parse(&arguments[2..], execution.now)?;
    let (key, now) = (execution.keyspace.key(arguments[1]), execution.now);
    let entry = execution.keyspace.peek_typed(execution.database, &key, now, Type::Hash)?;
    let hash = entry.map(hash_of);
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.get(name, now).is_some());
    let is_allowed = wanted_presence.is_none_or(|present| pairs.iter().all(|[name, _]| is_there(name) == present))
        && wanted_key.is_none_or(|present| hash.is_some() == present);
    if !is_allowed {
        execution.reply.integer(0);
        return Ok(());
    }
    execution.reply.integer(1);
    let names: Vec<&[u8]> = pairs.iter().map(|[name, _]| *name).collect();
    if let FieldExpiry::At(at) = expiry
        && at <= now
    {
        return remove_fields(execution, arguments[1], &names);
    }
    write_fields(execution, arguments[1], pairs, expiry)?;
    if execution.keyspace.journal.wants_effects() {
        report_write(execution, arguments[1], pairs, expiry)?;
    }
    execution.event_of_parts(EventClass::Hash, "hset", arguments[1], names.iter().copied());
    if matches!(expiry, FieldExpiry::At(_)) {
        execution.event_of_parts(EventClass::Hash, "hexpire", arguments[1], names);
    }
    Ok(())
}

/// Reports fields that were written. HSET takes their expiry away, so what they have now is reported after it.
pub(super) fn report_write(
    execution: &mut Execution<'_>,
    key_name: &[u8],
    pairs: &[[&[u8]; 2]],
    expiry: FieldExpiry,
) -> CommandResult {
    let effect = [&b"HSET"[..], key_name].into_iter().chain(pairs.iter().flatten().copied());
    execution.effect(&effect.collect::<Vec<_>>());
    if expiry == FieldExpiry::Clear {
        return Ok(());
    }
    let Execution { keyspace, database, now, .. } = execution;
    let key = keyspace.key(key_name);
    if let Some(mut entry) = edit(keyspace, *database, &key, *now)? {
        for [name, _] in pairs {
            let at = HashRef::of(&entry).get(name, *now).and_then(|field| field.expires_at);
            if let Some(at) = at {
                report_expiry(&mut entry, key_name, at, &[name]);
            }
        }
    }
    Ok(())
}

/// Fields that were to be written with a time that is over: what is there of them goes.
fn remove_fields(execution: &mut Execution<'_>, key_name: &[u8], names: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, database, now, .. } = execution;
    let key = keyspace.key(key_name);
    if let Some(mut entry) = edit(keyspace, *database, &key, *now)? {
        let removed: Vec<&[u8]> = names.iter().copied().filter(|name| hash::remove(&mut entry, name)).collect();
        entry.changed(removed.len() as u64);
        let effect = [&b"HDEL"[..], key_name].into_iter().chain(names.iter().copied());
        if !removed.is_empty() {
            entry.effect(&effect.collect::<Vec<_>>());
        }
        finish_removal(entry, key_name, &removed);
    }
    Ok(())
}
