//! Error texts that several families share, as the real server words them.

use crate::command::CommandError;

pub(crate) const SYNTAX: &str = "ERR syntax error";
pub(crate) const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const NOT_FLOAT: &str = "ERR value is not a valid float";
pub(crate) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const OVERFLOW: &str = "ERR increment or decrement would overflow";
pub(crate) const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
pub(crate) const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
pub(crate) const OFFSET_RANGE: &str = "ERR offset is out of range";
pub(crate) const DATABASE_RANGE: &str = "ERR DB index is out of range";
pub(crate) const NO_SUCH_KEY: &str = "ERR no such key";
pub(crate) const SAME_OBJECT: &str = "ERR source and destination objects are the same";

pub(crate) fn syntax() -> CommandError {
    SYNTAX.into()
}

pub(crate) fn wrong_type() -> CommandError {
    WRONG_TYPE.into()
}

pub(crate) const OUT_OF_RANGE: &str = "ERR value is out of range";

/// A count that may not be negative.
pub(crate) fn positive(text: &[u8]) -> Result<usize, CommandError> {
    let outside = || CommandError::from("ERR value is out of range, must be positive");
    let count = crate::command::parse_integer(text).ok_or_else(outside)?;
    usize::try_from(count).map_err(|_| outside())
}

/// A count that is more than zero; otherwise that error.
pub(crate) fn above_zero(text: &[u8], error: &'static str) -> Result<u64, CommandError> {
    let count = crate::command::parse_integer(text).and_then(|count| u64::try_from(count).ok());
    count.filter(|count| *count > 0).ok_or(CommandError::from(error))
}

/// How many elements LMPOP and ZMPOP take, from what follows their end: `[COUNT count]`.
pub(crate) fn pop_count(options: &[&[u8]]) -> Result<u64, CommandError> {
    match options {
        [] => Ok(1),
        [word, count, rest @ ..] if is(word, "COUNT") => {
            let count = above_zero(count, "ERR count should be greater than 0")?;
            if rest.is_empty() { Ok(count) } else { Err(syntax()) }
        }
        _ => Err(syntax()),
    }
}

/// A decimal i64 argument.
pub(crate) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    crate::command::parse_integer(text).ok_or(CommandError::from(NOT_INTEGER))
}

/// Whether an argument is this word, in any case.
pub(crate) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// The number of a database that exists.
pub(crate) fn database(text: &[u8], count: usize) -> Result<usize, CommandError> {
    let number = integer(text)?;
    if i32::try_from(number).is_err() {
        let (min, max) = (i32::MIN, i32::MAX);
        return Err(format!("ERR value is out of range, value must between {min} and {max}").into());
    }
    usize::try_from(number).ok().filter(|number| *number < count).ok_or_else(|| DATABASE_RANGE.into())
}
