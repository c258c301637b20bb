//! Strings: the command rows and the plain readers and writers. Commands with options or arithmetic have files of their
//! own: [`set`] (SET and its kin), [`condition`] (IFEQ and its kin, DELEX, DIGEST), [`counter`], [`several`] (MSET and
//! its kin), [`range`], [`lcs`]. Room in long ones is made in [`room`].

mod condition;
mod counter;
mod lcs;
mod range;
pub(super) mod room;
mod rows;
mod set;
mod several;

pub use rows::COMMANDS;

use super::errors::{TOO_LONG, wrong_type};
use super::report;
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::keyspace::{Entry, Expiry};
use crate::reply::Reply;
use crate::values::StringRef;

/// Writes a stored string as a bulk reply; a large one is shared, not copied.
pub(crate) fn reply_string(reply: &mut Reply<'_>, value: StringRef<'_>) {
    match value {
        StringRef::Integer(value) => reply.bulk_integer(value),
        StringRef::Bytes(bytes) => reply.bulk(bytes),
        StringRef::Shared(blob) if blob.len() >= crate::reply::SHARE_BYTES_MIN => reply.bulk_shared(blob.to_bytes()),
        StringRef::Shared(blob) => reply.bulk(blob.as_slice()),
    }
}

/// The entry's string, or the error for another type.
fn string_of(entry: Entry<'_>) -> Result<StringRef<'_>, CommandError> {
    entry.string().ok_or_else(wrong_type)
}

/// Looks a string up as a read of the client: counted, and touched unless the client asked not to.
fn read<'e>(execution: &'e mut Execution<'_>, key: &[u8]) -> Result<Option<StringRef<'e>>, CommandError> {
    let access = execution.access();
    let key = execution.keyspace.key(key);
    execution.keyspace.find(execution.database, &key, execution.now, access).map(string_of).transpose()
}

/// Looks a string up for a write: not counted as a read.
fn peek<'e>(execution: &'e Execution<'_>, key: &[u8]) -> Result<Option<StringRef<'e>>, CommandError> {
    let key = execution.keyspace.key(key);
    execution.keyspace.peek(execution.database, &key, execution.now).map(string_of).transpose()
}

/// Replies with the string under a key, or null.
fn reply_value(execution: &mut Execution<'_>, key: &[u8]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    match keyspace.find(*database, &key, *now, access) {
        None => reply.null(),
        Some(entry) => reply_string(reply, string_of(entry)?),
    }
    Ok(())
}

/// Stores a string and reports it.
fn set_string(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    set_string_untold(execution, key, value, expiry);
    report::string_set(execution, key, value, expiry, "set");
}

/// Stores a string; the caller reports it.
fn set_string_untold(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    let key = execution.keyspace.key(key);
    execution.keyspace.set_string(execution.database, &key, value, expiry, execution.now);
}

fn exists(execution: &mut Execution<'_>, key: &[u8]) -> bool {
    let key = execution.keyspace.key(key);
    execution.keyspace.exists(execution.database, &key, execution.now)
}

/// Removes a key and reports it; false if it is absent.
fn remove(execution: &mut Execution<'_>, key: &[u8]) -> bool {
    let hashed = execution.keyspace.key(key);
    let removed = execution.keyspace.remove(execution.database, &hashed, execution.now);
    if removed {
        report::removed(execution, key);
    }
    removed
}

/// The error for a string that would grow past `proto-max-bulk-len`.
fn check_length(execution: &Execution<'_>, length: u64) -> CommandResult {
    if length > execution.options.string_length_max { Err(TOO_LONG.into()) } else { Ok(()) }
}

/// `GET key`
fn get(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_value(execution, arguments[1])
}

/// `APPEND key value`
fn append(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (key, suffix) = (arguments[1], arguments[2]);
    let length = peek(execution, key)?.map_or(0, |value| value.len());
    // A key that is created takes the argument whole: its length has been checked when it came in.
    if length > 0 {
        check_length(execution, (length + suffix.len()) as u64)?;
        if room::is_made_first(execution, (append, arguments), key, length + suffix.len()) {
            return Ok(());
        }
    }
    let key = execution.keyspace.key(key);
    let length = execution.keyspace.append(execution.database, &key, suffix, execution.now);
    execution.effect(arguments);
    execution.event(EventClass::String, "append", arguments[1]);
    execution.reply.integer(length as i64);
    Ok(())
}

/// `GETSET key value`
fn getset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_value(execution, arguments[1])?;
    set_string(execution, arguments[1], arguments[2], Expiry::Clear);
    Ok(())
}

/// `GETDEL key`
fn getdel(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_value(execution, arguments[1])?;
    remove(execution, arguments[1]);
    Ok(())
}

/// Looks a key up without its access counting for anything, for checks before a write.
fn find_quietly<'e>(execution: &'e Execution<'_>, key: &[u8]) -> Option<Entry<'e>> {
    let key = execution.keyspace.key(key);
    execution.keyspace.peek(execution.database, &key, execution.now)
}
