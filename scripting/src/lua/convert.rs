//! Replies to values of Lua, and values of Lua to replies, as Redis converts them.
//!
//! | reply | value | | value | reply |
//! |---|---|---|---|---|
//! | integer | number | | number | integer, truncated |
//! | bulk, null (RESP2) | string, `false` | | string | bulk |
//! | status, error | `{ok=}`, `{err=}` | | `{ok=}`, `{err=}` | status, error |
//! | array | list | | table | array up to the first nil |
//! | map, set (RESP3) | `{map=}`, `{set=}` | | `{map=}`, `{set=}` | map, set |
//! | double, big number, verbatim | `{double=}`, `{big_number=}`, `{verbatim_string={format=, string=}}` | | the same | the same |
//! | boolean, null (RESP3) | boolean, nil | | `true`, `false` | 1, null; booleans after `setresp(3)` |
//! | | | | nil, others | null |

use super::LuaLink;
use super::answer::error_table;
use super::native::tag;
use super::number::truncated;
use crate::exchange::{Protocol, Request};
use crate::reply::{Reader, Reply, Token, one_line};
use mlua::{Function, IntoLua, Lua, Table, Value};
use std::rc::Rc;

/// Tables within tables that a reply may have; Lua could hold no more references to them.
const NESTING_MAX: usize = 1000;

/// Replies within replies that are read.
const REPLY_NESTING_MAX: usize = 200;

/// A function that makes a value of the reply in the exchange, behind a tag that says whether it is an error.
pub(super) fn reader(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Function> {
    let link = link.clone();
    lua.create_function(move |lua, (): ()| {
        let exchange = link.exchange.borrow();
        let mut reader = Reader::new(&exchange.reply);
        let first = reader.next();
        if exchange.request == Request::AclCheck {
            return match first {
                Some(Token::Integer(allowed)) => Ok((tag::RETURN, Value::Boolean(allowed == 1))),
                _ => {
                    let line = b"ERR Invalid command passed to redis.acl_check_cmd()";
                    Ok((tag::RAISE, Value::Table(error_table(lua, line)?)))
                }
            };
        }
        match first {
            Some(Token::Error(_)) => Ok((tag::RAISE, to_value(lua, &mut reader, first, 0)?)),
            _ => Ok((tag::RETURN, to_value(lua, &mut reader, first, 0)?)),
        }
    })
}

/// The value of a reply whose first piece has been read.
fn to_value(lua: &Lua, reader: &mut Reader<'_>, token: Option<Token<'_>>, depth: usize) -> mlua::Result<Value> {
    let text = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    let single = |name: &str, value: Value| -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    if depth > REPLY_NESTING_MAX {
        return Ok(Value::Nil);
    }
    match token {
        Some(Token::Integer(integer)) => Ok(Value::Number(integer as f64)),
        Some(Token::Bulk(bytes)) => text(bytes),
        Some(Token::Nil) => Ok(Value::Boolean(false)),
        Some(Token::Boolean(boolean)) => Ok(Value::Boolean(boolean)),
        Some(Token::Status(line)) => single("ok", text(line)?),
        Some(Token::Double(number)) => single("double", Value::Number(number)),
        Some(Token::BigNumber(digits)) => single("big_number", text(digits)?),
        Some(Token::Error(line)) => {
            let table = error_table(lua, line)?;
            table.raw_set("ignore_error_stats_update", true)?;
            Ok(Value::Table(table))
        }
        Some(Token::Verbatim { format, text: content }) => {
            let table = lua.create_table_with_capacity(0, 2)?;
            table.raw_set("format", text(format)?)?;
            table.raw_set("string", text(content)?)?;
            single("verbatim_string", Value::Table(table))
        }
        Some(Token::Array(length)) => {
            let table = lua.create_table_with_capacity(length, 0)?;
            for at in 1..=length {
                let next = reader.next();
                table.raw_set(at, to_value(lua, reader, next, depth + 1)?)?;
            }
            Ok(Value::Table(table))
        }
        Some(Token::Map(length)) => {
            let table = lua.create_table_with_capacity(0, length)?;
            for _ in 0..length {
                let next = reader.next();
                let key = to_value(lua, reader, next, depth + 1)?;
                let next = reader.next();
                let value = to_value(lua, reader, next, depth + 1)?;
                set_if_key(&table, key, value)?;
            }
            single("map", Value::Table(table))
        }
        Some(Token::Set(length)) => {
            let table = lua.create_table_with_capacity(0, length)?;
            for _ in 0..length {
                let next = reader.next();
                let key = to_value(lua, reader, next, depth + 1)?;
                set_if_key(&table, key, Value::Boolean(true))?;
            }
            single("set", Value::Table(table))
        }
        Some(Token::Null) | None => Ok(Value::Nil),
    }
}

/// Nil and what is not a number cannot be keys.
fn set_if_key(table: &Table, key: Value, value: Value) -> mlua::Result<()> {
    match key {
        Value::Nil => Ok(()),
        Value::Number(number) if number.is_nan() => Ok(()),
        key => table.raw_set(key, value),
    }
}

/// The reply that a run's value is.
pub(super) fn to_reply(value: &Value, protocol: Protocol, bytes_max: usize) -> Reply {
    let mut answer = Answer { protocol, bytes_left: bytes_max };
    answer.convert(value, 0).unwrap_or_else(|_| Reply::error("ERR not enough memory"))
}

struct Answer {
    protocol: Protocol,
    /// What the reply may still take: tables that hold each other many times are small, their replies are not.
    bytes_left: usize,
}

impl Answer {
    fn take(&mut self, bytes: usize) -> mlua::Result<()> {
        let cost = bytes + size_of::<Reply>();
        self.bytes_left = self.bytes_left.checked_sub(cost).ok_or(mlua::Error::MemoryError(String::new()))?;
        Ok(())
    }

    fn convert(&mut self, value: &Value, depth: usize) -> mlua::Result<Reply> {
        self.take(0)?;
        if depth > NESTING_MAX {
            return Ok(Reply::error("ERR reached lua stack limit"));
        }
        Ok(match value {
            Value::String(text) => {
                self.take(text.as_bytes().len())?;
                Reply::Bulk(text.as_bytes().to_vec())
            }
            Value::Boolean(boolean) if self.protocol == Protocol::Resp3 => Reply::Boolean(*boolean),
            Value::Boolean(true) => Reply::Integer(1),
            Value::Integer(integer) => Reply::Integer(*integer),
            Value::Number(number) => Reply::Integer(truncated(*number)),
            Value::Table(table) => self.table(table, depth)?,
            _ => Reply::Null,
        })
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        if let Value::String(_) = table.raw_get("err")? {
            return Ok(error_of(table));
        }
        if let Value::String(line) = table.raw_get("ok")? {
            return Ok(Reply::Status(one_line(until_nul(&line.as_bytes()))));
        }
        match table.raw_get("double")? {
            Value::Integer(number) => return Ok(Reply::Double(number as f64)),
            Value::Number(number) => return Ok(Reply::Double(number)),
            _ => {}
        }
        if let Value::String(digits) = table.raw_get("big_number")? {
            return Ok(Reply::BigNumber(one_line(digits.as_bytes().to_vec())));
        }
        if let Value::Table(parts) = table.raw_get("verbatim_string")?
            && let (Value::String(format), Value::String(text)) = (parts.raw_get("format")?, parts.raw_get("string")?)
        {
            return Ok(verbatim(&format.as_bytes(), &text.as_bytes()));
        }
        if let Value::Table(map) = table.raw_get("map")? {
            let mut pairs = Vec::new();
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                pairs.push(self.convert(&key, depth + 1)?);
                pairs.push(self.convert(&value, depth + 1)?);
            }
            return Ok(Reply::Map(pairs));
        }
        if let Value::Table(set) = table.raw_get("set")? {
            let mut members = Vec::new();
            for pair in set.pairs::<Value, Value>() {
                members.push(self.convert(&pair?.0, depth + 1)?);
            }
            return Ok(Reply::Set(members));
        }
        let mut elements = Vec::new();
        for at in 1.. {
            match table.raw_get(at)? {
                Value::Nil => break,
                value => elements.push(self.convert(&value, depth + 1)?),
            }
        }
        Ok(Reply::Array(elements))
    }
}

fn verbatim(format: &[u8], text: &[u8]) -> Reply {
    let mut letters = *b"   ";
    letters.iter_mut().zip(format).for_each(|(letter, given)| *letter = *given);
    Reply::Verbatim { format: letters, text: text.to_vec() }
}

/// C texts end at the first zero byte.
fn until_nul(text: &[u8]) -> Vec<u8> {
    text.iter().copied().take_while(|byte| *byte != 0).collect()
}

/// The parts of an error that Lua raised.
struct Problem {
    line: Vec<u8>,
    place: Option<(Vec<u8>, Vec<u8>)>,
    is_counted: bool,
}

fn text_field(table: &Table, name: &str) -> Option<Vec<u8>> {
    match table.raw_get(name).ok()? {
        Value::String(text) => Some(until_nul(&text.as_bytes())),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(super::number::general(number, 14).into_bytes()),
        _ => None,
    }
}

fn problem_of(error: &Value, killed: Option<&str>) -> Problem {
    let unknown = || match killed {
        Some(killed) => format!("ERR {killed}").into_bytes(),
        None => b"ERR execution failure".to_vec(),
    };
    match error {
        Value::Table(table) => Problem {
            line: text_field(table, "err").unwrap_or_else(unknown),
            place: text_field(table, "source").zip(text_field(table, "line")),
            is_counted: matches!(table.raw_get("ignore_error_stats_update"), Ok(Value::Boolean(true))),
        },
        Value::String(text) => {
            Problem { line: [b"ERR ", &until_nul(&text.as_bytes())[..]].concat(), place: None, is_counted: false }
        }
        _ => Problem { line: unknown(), place: None, is_counted: false },
    }
}

fn trimmed(line: Vec<u8>) -> Vec<u8> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let from = line.iter().position(|byte| !is_end(byte)).unwrap_or(line.len());
    let to = line.iter().rposition(|byte| !is_end(byte)).map_or(from, |at| at + 1);
    one_line(line[from..to].to_vec())
}

/// The reply that a returned error table is.
fn error_of(table: &Table) -> Reply {
    let problem = problem_of(&Value::Table(table.clone()), None);
    Reply::Error { line: trimmed(problem.line), is_counted: problem.is_counted }
}

/// The line of an error that ended a run, without its place.
pub(super) fn error_line(error: &Value, killed: Option<&str>) -> Vec<u8> {
    trimmed(problem_of(error, killed).line)
}

/// The reply to a run that ended with an error: the line, what ran, and where.
pub(super) fn to_error(error: &Value, name: &str, killed: Option<&str>) -> Reply {
    let problem = problem_of(error, killed);
    let mut line = problem.line;
    if let Some((source, number)) = problem.place {
        line.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        line.extend_from_slice(&source);
        line.push(b':');
        line.extend_from_slice(&number);
        line.push(b'.');
    }
    Reply::Error { line: trimmed(line), is_counted: problem.is_counted }
}

/// What catches errors where they are raised: a table with the line, the source and the number of the line.
pub(super) fn error_handler(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Function> {
    let link = link.clone();
    let to_string: Function = lua.globals().raw_get("tostring")?;
    lua.create_function(move |lua, error: Value| {
        let place = [1, 2].into_iter().find_map(|level| {
            lua.inspect_stack(level, |debug| {
                let source = debug.source();
                // A function of C raised it: its caller is where it was.
                (source.what != "C" || level == 2).then(|| {
                    (
                        source.source.unwrap_or_default().into_owned(),
                        debug.current_line().map_or(-1, |line| line as i64),
                    )
                })
            })
            .flatten()
        });
        let table = match error {
            Value::Table(table) => table,
            Value::Error(_) => {
                let text = link.killed().unwrap_or("not enough memory");
                error_table(lua, format!("ERR {text}").as_bytes())?
            }
            other => {
                let text: mlua::String = to_string.call(other)?;
                error_table(lua, &[b"ERR ", &text.as_bytes()[..]].concat())?
            }
        };
        if let Some((source, line)) = place {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
        }
        table.into_lua(lua)
    })
}
