//! How functions of ours answer Lua, and how they are made known to it.

use super::native::{self, tag};
use mlua::{Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};

/// Why a function of ours does not return.
pub(super) enum Fault {
    /// A text, raised with the place of the caller before it.
    Text(Vec<u8>),
    /// A value, raised as it is.
    Value(Value),
    /// An argument, counted from one, and what is wrong with it.
    Argument(usize, String),
    /// Memory is out.
    Memory,
}

impl From<mlua::Error> for Fault {
    fn from(_: mlua::Error) -> Self {
        Self::Memory
    }
}

impl Fault {
    /// A text.
    pub(super) fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }

    /// The argument is of another type.
    pub(super) fn type_of(number: usize, expected: &str, got: Option<&Value>) -> Self {
        Self::Argument(number, format!("{expected} expected, got {}", got.map_or("no value", type_name)))
    }

    /// A table whose `err` is `line`, as `redis.call` raises it.
    pub(super) fn error_table(lua: &Lua, line: impl AsRef<[u8]>) -> Self {
        error_table(lua, line.as_ref()).map_or(Self::Memory, |table| Self::Value(Value::Table(table)))
    }
}

/// `{err = line}`.
pub(super) fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(table)
}

/// The name of a value's type, as Lua has it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// What a function of ours returns.
pub(super) enum Values {
    /// Nothing.
    None,
    /// One value.
    One(Value),
    /// A table of values, and how many.
    Many(Table, usize),
}

impl From<Value> for Values {
    fn from(value: Value) -> Self {
        Self::One(value)
    }
}

/// Arguments of a function with a fixed number of them.
pub(super) struct Given<'a>(pub(super) &'a [Value]);

impl Given<'_> {
    /// How many there are, of which one too many is the last that is seen.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The one with this number, counted from one.
    pub(super) fn get(&self, number: usize) -> Option<&Value> {
        self.0.get(number - 1)
    }

    /// A number, or a text that is one.
    pub(super) fn number(&self, number: usize) -> Result<f64, Fault> {
        as_number(self.get(number)).ok_or_else(|| Fault::type_of(number, "number", self.get(number)))
    }

    /// Whether there is nothing but nil.
    pub(super) fn is_nil(&self, number: usize) -> bool {
        matches!(self.get(number), None | Some(Value::Nil))
    }
}

/// The number that a value is or is the text of.
pub(super) fn as_number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => super::number::from_text(&text.as_bytes()),
        _ => None,
    }
}

/// The text that a value is, numbers included.
pub(super) fn as_text(value: Option<&Value>) -> Option<Vec<u8>> {
    match value? {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(integer) => Some(super::number::general(*integer as f64, 14).into_bytes()),
        Value::Number(number) => Some(super::number::general(*number, 14).into_bytes()),
        _ => None,
    }
}

/// Puts a function that takes a few arguments into `table`.
pub(super) fn define(
    lua: &Lua,
    table: &Table,
    name: &str,
    arguments_max: usize,
    body: impl Fn(&Lua, Given<'_>) -> Result<Values, Fault> + 'static,
) -> mlua::Result<()> {
    let function = fixed(lua, arguments_max, body)?;
    table.raw_set(name, function)
}

/// A function that takes a few arguments.
pub(super) fn fixed(
    lua: &Lua,
    arguments_max: usize,
    body: impl Fn(&Lua, Given<'_>) -> Result<Values, Fault> + 'static,
) -> mlua::Result<Function> {
    let inner = lua.create_function(move |lua, arguments: MultiValue| {
        let arguments: Vec<Value> = arguments.into_iter().collect();
        tagged(lua, body(lua, Given(&arguments)))
    })?;
    native::fixed(lua, inner, arguments_max)
}

/// Puts a function that takes any number of arguments, in a table with their number, into `table`.
pub(super) fn define_packed(
    lua: &Lua,
    table: &Table,
    name: &str,
    body: impl Fn(&Lua, Table, usize) -> Result<Values, Fault> + 'static,
) -> mlua::Result<()> {
    let inner =
        lua.create_function(move |lua, (arguments, count): (Table, usize)| tagged(lua, body(lua, arguments, count)))?;
    table.raw_set(name, native::packed(lua, inner)?)
}

/// The answer with the tag that `native` reads.
fn tagged(lua: &Lua, result: Result<Values, Fault>) -> mlua::Result<MultiValue> {
    let fault = match result {
        Ok(Values::None) => return tag::RETURN.into_lua_multi(lua),
        Ok(Values::One(value)) => return (tag::RETURN, value).into_lua_multi(lua),
        Ok(Values::Many(table, count)) => return (tag::SPREAD, table, count).into_lua_multi(lua),
        Err(fault) => fault,
    };
    match fault {
        Fault::Text(text) => (tag::ERROR, lua.create_string(text)?).into_lua_multi(lua),
        Fault::Value(value) => (tag::RAISE, value).into_lua_multi(lua),
        Fault::Argument(number, text) => (tag::ARGUMENT, number, text.into_lua(lua)?).into_lua_multi(lua),
        Fault::Memory => (tag::RAISE, lua.create_string("not enough memory")?).into_lua_multi(lua),
    }
}
