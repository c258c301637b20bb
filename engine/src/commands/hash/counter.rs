//! Numbers in fields: HINCRBY, HINCRBYFLOAT.

use super::super::errors::{NOT_FINITE, NOT_FLOAT, OVERFLOW, integer};
use super::super::long_double::{LongDouble, NotFinite};
use super::timed::report_write;
use super::{edit, hash_of, write_fields};
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::values::hash::{self, FieldExpiry};
use crate::values::{StringRef, Type};
use smallvec::SmallVec;

/// The text of an integer.
type Digits = SmallVec<[u8; 20]>;

/// What `read` makes of a field's value; `None` for no field.
fn current<R>(
    execution: &Execution<'_>,
    arguments: &[&[u8]],
    read: impl FnOnce(StringRef<'_>) -> Result<R, CommandError>,
) -> Result<Option<R>, CommandError> {
    let key = execution.keyspace.key(arguments[1]);
    let entry = execution.keyspace.peek_typed(execution.database, &key, execution.now, Type::Hash)?;
    let field = entry.and_then(|entry| hash_of(entry).get(arguments[2], execution.now));
    field.map(|field| read(field.value)).transpose()
}

/// What HINCRBY makes of a value.
fn increased(old: Option<StringRef<'_>>, delta: i64) -> Result<i64, CommandError> {
    let old = match old {
        Some(value) => value.as_integer().ok_or(CommandError::from("ERR hash value is not an integer"))?,
        None => 0,
    };
    old.checked_add(delta).ok_or(CommandError::from(OVERFLOW))
}

/// `HINCRBY key field increment`
pub(super) fn hincrby(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let delta = integer(arguments[3])?;
    let mut new = 0;
    let in_tree = {
        let Execution { keyspace, database, now, .. } = &mut *execution;
        let key = keyspace.key(arguments[1]);
        let entry = edit(keyspace, *database, &key, *now)?;
        entry.and_then(|mut entry| {
            let result = hash::update(&mut entry, arguments[2], |old| {
                new = increased(old, delta)?;
                Ok::<_, CommandError>(Digits::from_slice(itoa::Buffer::new().format(new).as_bytes()))
            });
            entry.changed(u64::from(matches!(result, Some(Ok(())))));
            result
        })
    };
    match in_tree {
        Some(result) => result?,
        None => {
            new = current(execution, arguments, |value| increased(Some(value), delta))?.unwrap_or(delta);
            let mut scratch = itoa::Buffer::new();
            let text = scratch.format(new).as_bytes();
            write_fields(execution, arguments[1], &[[arguments[2], text]], FieldExpiry::Keep)?;
        }
    }
    execution.effect(arguments);
    execution.event_of_parts(EventClass::Hash, "hincrby", arguments[1], [arguments[2]]);
    execution.reply.integer(new);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
pub(super) fn hincrbyfloat(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let delta = match LongDouble::parse(arguments[3]) {
        Ok(delta) => delta,
        Err(NotFinite::Infinite) => return Err("ERR value is NaN or Infinity".into()),
        Err(NotFinite::Invalid) => return Err(NOT_FLOAT.into()),
    };
    let old = current(execution, arguments, |value| match value {
        StringRef::Integer(value) => Ok(Some(LongDouble::from(value))),
        value => value.with_bytes(|text| match LongDouble::parse(text) {
            Ok(number) => Ok(Some(number)),
            Err(NotFinite::Infinite) => Ok(None),
            Err(NotFinite::Invalid) => Err("ERR hash value is not a float".into()),
        }),
    })?;
    let sum = old.unwrap_or(Some(LongDouble::ZERO)).and_then(|old| old.plus(delta));
    let text = sum.ok_or(CommandError::from(NOT_FINITE))?.format();
    let pairs = [[arguments[2], text.as_bytes()]];
    write_fields(execution, arguments[1], &pairs, FieldExpiry::Keep)?;
    if execution.keyspace.journal.wants_effects() {
        report_write(execution, arguments[1], &pairs, FieldExpiry::Keep)?;
    }
    execution.event_of_parts(EventClass::Hash, "hincrbyfloat", arguments[1], [arguments[2]]);
    execution.reply.bulk(text.as_bytes());
    Ok(())
}
