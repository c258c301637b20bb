//! The library `cmsgpack`: values to MessagePack and back.
//!
//! Tables whose keys are 1 to n are arrays, others maps; tables more than 16 deep are nil. A reader never goes deeper than
//! its stack allows.

use super::LuaLink;
use super::answer::{Fault, Given, Values, as_text, define, define_packed};
use super::number::truncated;
use mlua::{Lua, Table, Value};
use std::rc::Rc;

/// Tables within tables that are written.
const NESTING_MAX: usize = 16;

/// Values written at once: Lua's stack has room for twice as many.
const ARGUMENTS_MAX: usize = 4000;

/// Tables within tables that are read: Lua could hold no more references to them.
const READ_NESTING_MAX: usize = 1500;

/// The library.
pub(super) fn table(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    define_packed(lua, &table, "pack", |lua, arguments, count| {
        if count == 0 {
            return Err(Fault::Argument(0, "MessagePack pack needs input.".to_owned()));
        }
        if count > ARGUMENTS_MAX {
            return Err(Fault::Argument(0, "Too many arguments for MessagePack pack.".to_owned()));
        }
        let mut out = Vec::new();
        for at in 1..=count {
            encode(&mut out, &arguments.raw_get(at)?, 0)?;
        }
        Ok(Value::String(lua.create_string(out)?).into())
    })?;
    let shared = link.clone();
    define(lua, &table, "unpack", 1, move |lua, given| unpack(lua, &shared, &given, None, 0))?;
    let shared = link.clone();
    define(lua, &table, "unpack_one", 2, move |lua, given| {
        let offset = integer_or(&given, 2, 0)?;
        unpack(lua, &shared, &given, Some(1), offset)
    })?;
    let shared = link.clone();
    define(lua, &table, "unpack_limit", 3, move |lua, given| {
        let limit = truncated(given.number(2)?);
        let offset = integer_or(&given, 3, 0)?;
        unpack(lua, &shared, &given, Some(limit), offset)
    })?;
    Ok(table)
}

fn integer_or(given: &Given<'_>, number: usize, default: i64) -> Result<i64, Fault> {
    if given.is_nil(number) { Ok(default) } else { Ok(truncated(given.number(number)?)) }
}

fn encode(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            match text.len() {
                length @ 0..32 => out.push(0xa0 | length as u8),
                length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
                length @ 0x100..=0xffff => big(out, 0xda, &(length as u16).to_be_bytes()),
                length => big(out, 0xdb, &(length as u32).to_be_bytes()),
            }
            out.extend_from_slice(&text);
        }
        Value::Boolean(boolean) => out.push(if *boolean { 0xc3 } else { 0xc2 }),
        Value::Integer(integer) => encode_integer(out, *integer),
        Value::Number(number) if truncated(*number) as f64 == *number => encode_integer(out, truncated(*number)),
        Value::Number(number) => {
            let short = *number as f32;
            if f64::from(short) == *number {
                big(out, 0xca, &short.to_be_bytes());
            } else {
                big(out, 0xcb, &number.to_be_bytes());
            }
        }
        Value::Table(table) if depth < NESTING_MAX => encode_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn big(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

fn encode_integer(out: &mut Vec<u8>, integer: i64) {
    match integer {
        0..=127 => out.push(integer as u8),
        128..=0xff => big(out, 0xcc, &[integer as u8]),
        0x100..=0xffff => big(out, 0xcd, &(integer as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => big(out, 0xce, &(integer as u32).to_be_bytes()),
        0x1_0000_0000.. => big(out, 0xcf, &integer.to_be_bytes()),
        -32..=-1 => out.push(integer as u8),
        -128..=-33 => big(out, 0xd0, &[integer as u8]),
        -0x8000..=-129 => big(out, 0xd1, &(integer as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => big(out, 0xd2, &(integer as i32).to_be_bytes()),
        _ => big(out, 0xd3, &integer.to_be_bytes()),
    }
}

fn head(out: &mut Vec<u8>, length: usize, fixed: u8, short: u8) {
    match length {
        0..16 => out.push(fixed | length as u8),
        16..=0xffff => big(out, short, &(length as u16).to_be_bytes()),
        _ => big(out, short + 1, &(length as u32).to_be_bytes()),
    }
}

fn encode_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), Fault> {
    let (mut count, mut largest, mut is_array) = (0_usize, 0.0_f64, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        let number = match pair?.0 {
            Value::Integer(integer) => integer as f64,
            Value::Number(number) => number,
            _ => 0.0,
        };
        is_array &= number > 0.0 && number.fract() == 0.0 && number <= f64::from(i32::MAX);
        largest = largest.max(number);
    }
    if is_array && largest == count as f64 {
        head(out, count, 0x90, 0xdc);
        for at in 1..=count {
            encode(out, &table.raw_get(at)?, depth + 1)?;
        }
        return Ok(());
    }
    head(out, count, 0x80, 0xde);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(out, &key, depth + 1)?;
        encode(out, &value, depth + 1)?;
    }
    Ok(())
}

fn unpack(lua: &Lua, link: &LuaLink, given: &Given<'_>, limit: Option<i64>, offset: i64) -> Result<Values, Fault> {
    let text = as_text(given.get(1)).ok_or_else(|| Fault::type_of(1, "string", given.get(1)))?;
    // As in Redis, which shows the length where it means the limit, and takes nothing and nowhere for everything.
    let limit = limit.filter(|limit| *limit != 0 || offset != 0);
    let is_all = limit.is_none();
    let limit = limit.unwrap_or(i64::from(i32::MAX));
    if offset < 0 || limit < 0 {
        let line =
            format!("Invalid request to unpack with offset of {} and limit of {}.", offset as i32, text.len() as i32);
        return Err(Fault::text(line));
    }
    let Some(rest) = text.get(offset as usize..) else {
        let line = format!("Start offset {} greater than input length {}.", offset as i32, text.len() as i32);
        return Err(Fault::text(line));
    };
    let mut reader = Reader { lua, link, rest };
    let results = lua.create_table()?;
    let first = usize::from(!is_all);
    let mut count = first;
    while !reader.rest.is_empty() && ((count - first) as i64) < limit {
        count += 1;
        results.raw_set(count, reader.value(0)?)?;
    }
    if !is_all {
        let next = if reader.rest.is_empty() { -1 } else { (text.len() - reader.rest.len()) as i64 };
        results.raw_set(1, next)?;
    }
    Ok(Values::Many(results, count))
}

struct Reader<'a> {
    lua: &'a Lua,
    link: &'a LuaLink,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| Fault::text("Missing bytes in input."))?;
        self.rest = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> Result<u64, Fault> {
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: usize) -> Result<Value, Fault> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(length)?)?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth > READ_NESTING_MAX || self.link.is_stack_low() {
            let line = "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
            return Err(Fault::text(line));
        }
        let kind = self.take(1)?[0];
        Ok(match kind {
            0x00..=0x7f => Value::Number(f64::from(kind)),
            0x80..=0x8f => self.map(usize::from(kind & 0xf), depth)?,
            0x90..=0x9f => self.array(usize::from(kind & 0xf), depth)?,
            0xa0..=0xbf => self.text(usize::from(kind & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(kind == 0xc3),
            0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc => Value::Number(self.unsigned(1)? as f64),
            0xcd => Value::Number(self.unsigned(2)? as f64),
            0xce => Value::Number(self.unsigned(4)? as f64),
            0xcf => Value::Number(self.unsigned(8)? as f64),
            0xd0 => Value::Number(f64::from(self.unsigned(1)? as i8)),
            0xd1 => Value::Number(f64::from(self.unsigned(2)? as i16)),
            0xd2 => Value::Number(f64::from(self.unsigned(4)? as i32)),
            0xd3 => Value::Number(self.unsigned(8)? as i64 as f64),
            0xd9 => {
                let length = self.unsigned(1)? as usize;
                self.text(length)?
            }
            0xda => {
                let length = self.unsigned(2)? as usize;
                self.text(length)?
            }
            0xdb => {
                let length = self.unsigned(4)? as usize;
                self.text(length)?
            }
            0xdc => {
                let length = self.unsigned(2)? as usize;
                self.array(length, depth)?
            }
            0xdd => {
                let length = self.unsigned(4)? as usize;
                self.array(length, depth)?
            }
            0xde => {
                let length = self.unsigned(2)? as usize;
                self.map(length, depth)?
            }
            0xdf => {
                let length = self.unsigned(4)? as usize;
                self.map(length, depth)?
            }
            0xe0..=0xff => Value::Number(f64::from(kind as i8)),
            _ => return Err(Fault::text("Bad data format in input.")),
        })
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        for at in 1..=length {
            table.raw_set(at, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    /// Lua says it without a place where it has none.
    fn bad_key(&self, line: &str) -> Fault {
        self.lua.create_string(line).map_or(Fault::Memory, |line| Fault::Value(Value::String(line)))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(self.bad_key("table index is nil")),
                Value::Number(number) if number.is_nan() => return Err(self.bad_key("table index is NaN")),
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
