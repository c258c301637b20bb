//! What commands of several families report of their changes (see [`journal`](crate::journal)).

use crate::command::{Execution, Milliseconds};
use crate::journal::EventClass;
use crate::keyspace::Expiry;

/// A key was removed by a command.
#[inline]
pub(crate) fn removed(execution: &mut Execution<'_>, key: &[u8]) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"DEL", key]);
        execution.event(EventClass::Generic, "del", key);
    }
}

/// A key has an expiry now, or another one.
#[inline]
pub(crate) fn expiry_set(execution: &mut Execution<'_>, key: &[u8], at: Milliseconds) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
        execution.event(EventClass::Generic, "expire", key);
    }
}

/// A key has no expiry any more.
#[inline]
pub(crate) fn expiry_taken(execution: &mut Execution<'_>, key: &[u8]) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"PERSIST", key]);
        execution.event(EventClass::Generic, "persist", key);
    }
}

/// A key holds a string now, whatever was there; `event` says how that came about.
#[inline]
pub(crate) fn string_set(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry, event: &'static str) {
    if execution.keyspace.journal.is_listening() {
        report_string(execution, key, value, expiry, event);
    }
}

#[cold]
fn report_string(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry, event: &'static str) {
    execution.event(EventClass::String, event, key);
    match expiry {
        Expiry::Clear => execution.effect(&[b"SET", key, value]),
        Expiry::Keep => execution.effect(&[b"SET", key, value, b"KEEPTTL"]),
        Expiry::At(at) => {
            execution.effect(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]);
            execution.event(EventClass::Generic, "expire", key);
        }
    }
}
