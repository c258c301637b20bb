//! The library `cjson`, in its version 2.1.0 as Redis ships it: options, outputs and the words of errors.
//!
//! Each table of functions (`cjson`, and what `cjson.new()` gives) has options of its own, which last as long as the
//! machine does.

mod decode;
mod encode;
mod scan;

use super::LuaLink;
use super::answer::{Fault, Given, Values, define};
use super::number::to_int;
use mlua::{LightUserData, Lua, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// Tables within tables, whatever the options say: Lua could hold no more references to them.
const NESTING_MAX: usize = 1200;

/// The options, with their defaults.
struct Options {
    is_sparse_converted: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth_max: i32,
    decode_depth_max: i32,
    /// 0: refused, 1: written, 2: null.
    encode_invalid_numbers: i32,
    is_invalid_decoded: bool,
    is_buffer_kept: bool,
    precision: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            is_sparse_converted: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            encode_invalid_numbers: 0,
            is_invalid_decoded: true,
            is_buffer_kept: true,
            precision: 14,
        }
    }
}

type Shared = Rc<RefCell<Options>>;

/// The library.
pub(super) fn table(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Table> {
    let options = Shared::default();
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    table.raw_set("null", LightUserData(std::ptr::null_mut()))?;
    let (shared, stack) = (options.clone(), link.clone());
    define(lua, &table, "encode", 1, move |lua, given| {
        one_argument(&given)?;
        let text = encode::encode(given.get(1).unwrap_or(&Value::Nil), &shared.borrow(), &stack)?;
        Ok(Value::String(lua.create_string(text)?).into())
    })?;
    let (shared, stack) = (options.clone(), link.clone());
    define(lua, &table, "decode", 1, move |lua, given| {
        one_argument(&given)?;
        let number;
        let text = match given.get(1) {
            Some(Value::String(text)) => text.as_bytes(),
            other => {
                let Some(text) = super::answer::as_text(other) else { return Err(Fault::type_of(1, "string", other)) };
                number = lua.create_string(text)?;
                number.as_bytes()
            }
        };
        Ok(decode::decode(lua, &text, &shared.borrow(), &stack)?.into())
    })?;
    let stack = link.clone();
    define(lua, &table, "new", 0, move |lua, _| Ok(Value::Table(self::table(lua, &stack)?).into()))?;
    settings(lua, &table, &options)?;
    Ok(table)
}

fn one_argument(given: &Given<'_>) -> Result<(), Fault> {
    if given.count() == 1 { Ok(()) } else { Err(Fault::Argument(1, "expected 1 argument".to_owned())) }
}

fn settings(lua: &Lua, table: &Table, options: &Shared) -> mlua::Result<()> {
    let shared = options.clone();
    define(lua, table, "encode_sparse_array", 3, move |lua, given| {
        at_most(&given, 3)?;
        let options = &mut *shared.borrow_mut();
        set_switch(&given, 1, &mut options.is_sparse_converted)?;
        set_integer(&given, 2, &mut options.sparse_ratio, 0, i32::MAX)?;
        set_integer(&given, 3, &mut options.sparse_safe, 0, i32::MAX)?;
        let results = lua.create_table()?;
        results.raw_set(1, options.is_sparse_converted)?;
        results.raw_set(2, options.sparse_ratio)?;
        results.raw_set(3, options.sparse_safe)?;
        Ok(Values::Many(results, 3))
    })?;
    type Field = fn(&mut Options) -> &mut i32;
    let integers: [(&str, i32, Field); 3] = [
        ("encode_max_depth", i32::MAX, |options| &mut options.encode_depth_max),
        ("decode_max_depth", i32::MAX, |options| &mut options.decode_depth_max),
        ("encode_number_precision", 14, |options| &mut options.precision),
    ];
    for (name, max, field) in integers {
        let shared = options.clone();
        define(lua, table, name, 1, move |_, given| {
            at_most(&given, 1)?;
            let mut options = shared.borrow_mut();
            let field = field(&mut options);
            set_integer(&given, 1, field, 1, max)?;
            Ok(Value::Integer(i64::from(*field)).into())
        })?;
    }
    type Switch = fn(&mut Options) -> &mut bool;
    let switches: [(&str, Switch); 2] = [
        ("encode_keep_buffer", |options| &mut options.is_buffer_kept),
        ("decode_invalid_numbers", |options| &mut options.is_invalid_decoded),
    ];
    for (name, field) in switches {
        let shared = options.clone();
        define(lua, table, name, 1, move |_, given| {
            at_most(&given, 1)?;
            let mut options = shared.borrow_mut();
            let field = field(&mut options);
            set_switch(&given, 1, field)?;
            Ok(Value::Boolean(*field).into())
        })?;
    }
    let shared = options.clone();
    define(lua, table, "encode_invalid_numbers", 1, move |lua, given| {
        at_most(&given, 1)?;
        let setting = &mut shared.borrow_mut().encode_invalid_numbers;
        match given.get(1) {
            None | Some(Value::Nil) => {}
            Some(Value::Boolean(boolean)) => *setting = i32::from(*boolean),
            Some(_) => *setting = choice(&given, 1, &["off", "on", "null"])? as i32,
        }
        match *setting {
            2 => Ok(Value::String(lua.create_string("null")?).into()),
            setting => Ok(Value::Boolean(setting == 1).into()),
        }
    })
}

fn at_most(given: &Given<'_>, count: usize) -> Result<(), Fault> {
    if given.count() <= count { Ok(()) } else { Err(Fault::Argument(count + 1, "found too many arguments".to_owned())) }
}

fn set_integer(given: &Given<'_>, number: usize, setting: &mut i32, min: i32, max: i32) -> Result<(), Fault> {
    if given.is_nil(number) {
        return Ok(());
    }
    let value = to_int(given.number(number)?);
    if !(min..=max).contains(&value) {
        return Err(Fault::Argument(1, format!("expected integer between {min} and {max}")));
    }
    *setting = value;
    Ok(())
}

fn set_switch(given: &Given<'_>, number: usize, setting: &mut bool) -> Result<(), Fault> {
    match given.get(number) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(boolean)) => *setting = *boolean,
        Some(_) => *setting = choice(given, number, &["off", "on"])? == 1,
    }
    Ok(())
}

fn choice(given: &Given<'_>, number: usize, options: &[&str]) -> Result<usize, Fault> {
    let Some(text) = super::answer::as_text(given.get(number)) else {
        return Err(Fault::type_of(number, "string", given.get(number)));
    };
    options
        .iter()
        .position(|option| option.as_bytes() == text)
        .ok_or_else(|| Fault::Argument(number, format!("invalid option '{}'", String::from_utf8_lossy(&text))))
}
