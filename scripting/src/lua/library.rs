//! `redis`, or `server`, while a library is loaded: `register_function` and little else. Errors say what the library has
//! called it.

use super::answer::{Fault, Values, as_text, define};
use super::{LuaLink, server};
use crate::libraries::{FunctionFlags, FunctionSpec, is_name};
use crate::machine::Settings;
use mlua::{Function, Lua, RegistryKey, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// Where registered functions are collected, while a library is loaded: none at other times, when a function may have kept
/// what was to be had then.
#[derive(Clone, Default)]
pub(super) struct Registration(Rc<RefCell<Option<Vec<Registered>>>>);

/// A function, and where its code is.
type Registered = (FunctionSpec, RegistryKey);

impl Registration {
    /// A library is loaded from now on.
    pub(super) fn begin(&self) {
        *self.0.borrow_mut() = Some(Vec::new());
    }

    /// What it has registered.
    pub(super) fn take(&self) -> Vec<Registered> {
        self.0.borrow_mut().take().unwrap_or_default()
    }
}

/// Functions that one library may have.
const FUNCTIONS_MAX: usize = 100_000;

/// The table, under one of its names.
pub(super) fn table(
    lua: &Lua,
    link: &Rc<LuaLink>,
    registration: &Registration,
    settings: &Settings,
    api: &'static str,
) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    server::shared(lua, link, &table, settings)?;
    let registration = registration.clone();
    define(lua, &table, "register_function", 2, move |lua, given| {
        if registration.0.borrow().is_none() {
            return Err(refuse(lua, &format!("{api}.register_function can only be called on FUNCTION LOAD command")));
        }
        let (spec, callback) = match (given.count(), given.get(1), given.get(2)) {
            (1, Some(Value::Table(named)), _) => named_arguments(lua, named, api),
            (1, ..) => Err(refuse(
                lua,
                &format!(
                    "calling {api}.register_function with a single argument is only applicable to Lua table (representing named arguments)."
                ),
            )),
            (2, Some(name), Some(callback)) => positional(lua, name, callback, api),
            _ => Err(refuse(lua, &format!("wrong number of arguments to {api}.register_function"))),
        }?;
        if !is_name(spec.name.as_bytes()) {
            let line = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";
            return Err(refuse(lua, line));
        }
        let mut registered = registration.0.borrow_mut();
        let registered = registered.get_or_insert_default();
        if registered.iter().any(|(known, _)| known.name == spec.name) {
            return Err(refuse(lua, "Function already exists in the library"));
        }
        if registered.len() >= FUNCTIONS_MAX {
            return Err(refuse(lua, "too many functions in the library"));
        }
        registered.push((spec, lua.create_registry_value(callback)?));
        Ok(Values::None)
    })?;
    Ok(table)
}

fn refuse(lua: &Lua, line: &str) -> Fault {
    Fault::error_table(lua, format!("ERR {line}"))
}

/// A name that is no text is no name; what cannot be part of one is found by [`is_name`].
fn text_of(value: &Value) -> Option<String> {
    as_text(Some(value)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn positional(lua: &Lua, name: &Value, callback: &Value, api: &str) -> Result<(FunctionSpec, Function), Fault> {
    let name = text_of(name)
        .ok_or_else(|| refuse(lua, &format!("first argument to {api}.register_function must be a string")))?;
    let Value::Function(callback) = callback else {
        return Err(refuse(lua, &format!("second argument to {api}.register_function must be a function")));
    };
    Ok((FunctionSpec { name: name.into(), description: None, flags: FunctionFlags::default() }, callback.clone()))
}

fn named_arguments(lua: &Lua, named: &Table, api: &str) -> Result<(FunctionSpec, Function), Fault> {
    let (mut name, mut callback, mut description, mut flags) = (None, None, None, FunctionFlags::default());
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = key else {
            let line = match key {
                Value::Integer(_) | Value::Number(_) => format!("unknown argument given to {api}.register_function"),
                _ => format!("named argument key given to {api}.register_function is not a string"),
            };
            return Err(refuse(lua, &line));
        };
        match &key.as_bytes().to_ascii_lowercase()[..] {
            b"function_name" => {
                name = Some(text_of(&value).ok_or_else(|| {
                    refuse(lua, &format!("function_name argument given to {api}.register_function must be a string"))
                })?);
            }
            b"description" => {
                description = Some(text_of(&value).ok_or_else(|| {
                    refuse(lua, &format!("description argument given to {api}.register_function must be a string"))
                })?);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(refuse(
                        lua,
                        &format!("callback argument given to {api}.register_function must be a function"),
                    ));
                }
            },
            b"flags" => match value {
                Value::Table(table) => flags = read_flags(lua, &table)?,
                _ => {
                    let line = &format!(
                        "flags argument to {api}.register_function must be a table representing function flags"
                    );
                    return Err(refuse(lua, line));
                }
            },
            _ => return Err(refuse(lua, &format!("unknown argument given to {api}.register_function"))),
        }
    }
    let name =
        name.ok_or_else(|| refuse(lua, &format!("{api}.register_function must get a function name argument")))?;
    let callback =
        callback.ok_or_else(|| refuse(lua, &format!("{api}.register_function must get a callback argument")))?;
    Ok((FunctionSpec { name: name.into(), description: description.map(Into::into), flags }, callback))
}

fn read_flags(lua: &Lua, table: &Table) -> Result<FunctionFlags, Fault> {
    let mut flags = FunctionFlags::default();
    for at in 1.. {
        match table.raw_get(at)? {
            Value::Nil => break,
            Value::String(name) if flags.set(&name.as_bytes()) => {}
            _ => return Err(refuse(lua, "unknown flag given")),
        }
    }
    Ok(flags)
}
