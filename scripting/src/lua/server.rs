//! The table `redis`, and `os`.

use super::answer::{Fault, Values, as_text, define, define_packed, error_table, fixed};
use super::native::{self, Ask};
use super::number::{to_int, truncated};
use super::{LuaLink, Purpose, convert};
use crate::exchange::{Protocol, Request};
use crate::fiber::Verdict;
use crate::machine::Settings;
use crate::reply::{Reader, Token};
use crate::scripts::Sha;
use mlua::{Lua, Table, Value};
use std::rc::Rc;

/// Levels of the log, by name.
const LOG_LEVELS: &[(&str, i64)] = &[("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)];

/// What may be told of writes, by name.
const REPLICATION: &[(&str, i64)] =
    &[("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

/// The table `redis` of a running script or function.
pub(super) fn table(lua: &Lua, link: &Rc<LuaLink>, purpose: Purpose, settings: &Settings) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let reader = convert::reader(lua, link)?;
    for (name, kind) in [("call", Ask::Call), ("pcall", Ask::ProtectedCall), ("acl_check_cmd", Ask::AclCheck)] {
        table.raw_set(name, native::command(lua, link, reader.clone(), kind)?)?;
    }
    for (name, value) in REPLICATION {
        table.raw_set(*name, *value)?;
    }
    shared(lua, link, &table, settings)?;
    replies(lua, &table)?;
    states(lua, link, &table)?;
    if purpose == Purpose::Scripts {
        define(lua, &table, "replicate_commands", 0, |_, _| Ok(Value::Boolean(true).into()))?;
        // Without a debugger these do nothing.
        define(lua, &table, "breakpoint", 0, |_, _| Ok(Value::Boolean(false).into()))?;
        define(lua, &table, "debug", 0, |_, _| Ok(Values::None))?;
    }
    Ok(table)
}

/// What a library has while it is loaded, too.
pub(super) fn shared(lua: &Lua, link: &Rc<LuaLink>, table: &Table, settings: &Settings) -> mlua::Result<()> {
    for (name, value) in LOG_LEVELS {
        table.raw_set(*name, *value)?;
    }
    table.raw_set("REDIS_VERSION", settings.redis_version)?;
    table.raw_set("REDIS_VERSION_NUM", settings.redis_version_number())?;
    let link = link.clone();
    define_packed(lua, table, "log", move |lua, arguments, count| {
        let refuse = |line: &str| Err(Fault::error_table(lua, line));
        if count < 2 {
            return refuse("ERR redis.log() requires two arguments or more.");
        }
        let Some(level) = super::answer::as_number(Some(&arguments.raw_get(1)?)) else {
            return refuse("ERR First argument must be a number (log level).");
        };
        let Some(level) = native::log_level(i64::from(to_int(level))) else {
            return refuse("ERR Invalid debug level.");
        };
        let mut line = Vec::new();
        for at in 2..=count {
            if let Some(text) = as_text(Some(&arguments.raw_get(at)?)) {
                if at != 2 {
                    line.push(b' ');
                }
                line.extend_from_slice(&text);
            }
        }
        ask(&link, Request::Log(level), &line)?;
        Ok(Values::None)
    })
}

fn replies(lua: &Lua, table: &Table) -> mlua::Result<()> {
    const WRONG: &[u8] = b"ERR wrong number or type of arguments";
    define(lua, table, "error_reply", 1, |lua, given| {
        let line = match (given.count(), given.get(1)) {
            (1, Some(Value::String(text))) => text.as_bytes().iter().copied().take_while(|byte| *byte != 0).collect(),
            _ => return Ok(Value::Table(error_table(lua, WRONG)?).into()),
        };
        Ok(Value::Table(error_table(lua, &error_line(line))?).into())
    })?;
    define(lua, table, "status_reply", 1, |lua, given| {
        let (1, Some(text @ Value::String(_))) = (given.count(), given.get(1)) else {
            return Ok(Value::Table(error_table(lua, WRONG)?).into());
        };
        let reply = lua.create_table_with_capacity(0, 1)?;
        reply.raw_set("ok", text)?;
        Ok(Value::Table(reply).into())
    })?;
    define(lua, table, "sha1hex", 1, |lua, given| {
        if given.count() != 1 {
            return Err(Fault::error_table(lua, "ERR wrong number of arguments"));
        }
        let text = as_text(given.get(1)).unwrap_or_default();
        Ok(Value::String(lua.create_string(Sha::of(&text).as_bytes())?).into())
    })
}

/// An error with a code before it: the first word, if there is more than one.
fn error_line(text: Vec<u8>) -> Vec<u8> {
    let text = text.strip_prefix(b"-").map(<[u8]>::to_vec).unwrap_or(text);
    let (code, message) = match text.iter().position(|byte| *byte == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (&b"ERR"[..], &text[..]),
    };
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let from = message.iter().position(|byte| !is_end(byte)).unwrap_or(message.len());
    let to = message.iter().rposition(|byte| !is_end(byte)).map_or(from, |at| at + 1);
    [code, b" ", &message[from..to]].concat()
}

fn states(lua: &Lua, link: &Rc<LuaLink>, table: &Table) -> mlua::Result<()> {
    let shared = link.clone();
    define(lua, table, "setresp", 1, move |lua, given| {
        if given.count() != 1 {
            return Err(Fault::error_table(lua, "ERR redis.setresp() requires one argument."));
        }
        let version = super::answer::as_number(given.get(1)).map_or(0, truncated);
        shared.exchange.borrow_mut().protocol = match version {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(Fault::error_table(lua, "ERR RESP version must be 2 or 3.")),
        };
        Ok(Values::None)
    })?;
    let shared = link.clone();
    define(lua, table, "set_repl", 1, move |lua, given| {
        if given.count() != 1 {
            return Err(Fault::error_table(lua, "ERR redis.set_repl() requires two arguments."));
        }
        let flags = super::answer::as_number(given.get(1)).map_or(0, truncated);
        if flags & !3 != 0 {
            let line = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
            return Err(Fault::error_table(lua, line));
        }
        ask(&shared, Request::SetReplication(flags as u8), &[])?;
        Ok(Values::None)
    })
}

/// The table `os`: a clock and nothing else.
pub(super) fn os_table(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let link = link.clone();
    let clock = fixed(lua, 0, move |_, _| {
        ask(&link, Request::Clock, &[])?;
        match Reader::new(&link.exchange.borrow().reply).next() {
            Some(Token::Integer(micros)) => Ok(Value::Number(micros as f64 / 1e6).into()),
            _ => Ok(Value::Number(0.0).into()),
        }
    })?;
    table.raw_set("clock", clock)?;
    Ok(table)
}

/// Asks the shard something with one argument.
fn ask(link: &LuaLink, request: Request, argument: &[u8]) -> Result<(), Fault> {
    {
        let mut exchange = link.exchange.borrow_mut();
        exchange.request = request;
        exchange.arguments.clear();
        exchange.arguments.push(argument);
    }
    match link.call() {
        Verdict::Go => Ok(()),
        Verdict::Kill(error) => Err(Fault::text(error)),
    }
}
