//! The library `bit`: operations on 32 bits. A number is taken modulo 2^32, rounded to even.

use super::answer::{Fault, Values, as_number, define, define_packed};
use mlua::{Lua, Table, Value};

/// Added to a number, it leaves the number's low bits at the end of the mantissa: 2^52 + 2^51.
const SHIFT: f64 = 6_755_399_441_055_744.0;

type Operation = fn(u32, u32) -> u32;

fn bits(number: usize, value: Option<&Value>) -> Result<u32, Fault> {
    as_number(value)
        .map(|given| (given + SHIFT).to_bits() as u32)
        .ok_or_else(|| Fault::type_of(number, "number", value))
}

fn answer(bits: u32) -> Values {
    Value::Number(f64::from(bits as i32)).into()
}

/// The library.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    define(lua, &table, "tobit", 1, |_, given| Ok(answer(bits(1, given.get(1))?)))?;
    define(lua, &table, "bnot", 1, |_, given| Ok(answer(!bits(1, given.get(1))?)))?;
    define(lua, &table, "bswap", 1, |_, given| Ok(answer(bits(1, given.get(1))?.swap_bytes())))?;
    let pairwise: [(&str, Operation); 5] = [
        ("lshift", |bits, by| bits << (by & 31)),
        ("rshift", |bits, by| bits >> (by & 31)),
        ("arshift", |bits, by| ((bits as i32) >> (by & 31)) as u32),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, operation) in pairwise {
        define(lua, &table, name, 2, move |_, given| {
            Ok(answer(operation(bits(1, given.get(1))?, bits(2, given.get(2))?)))
        })?;
    }
    let folds: [(&str, Operation); 3] =
        [("band", |one, other| one & other), ("bor", |one, other| one | other), ("bxor", |one, other| one ^ other)];
    for (name, operation) in folds {
        define_packed(lua, &table, name, move |_, arguments, count| {
            let at = |number: usize| -> Result<u32, Fault> {
                if number > count {
                    return bits(number, None);
                }
                bits(number, Some(&arguments.raw_get(number)?))
            };
            let mut result = at(1)?;
            for number in (2..=count).rev() {
                result = operation(result, at(number)?);
            }
            Ok(answer(result))
        })?;
    }
    define(lua, &table, "tohex", 2, |lua, given| {
        let value = bits(1, given.get(1))?;
        let width = if given.count() < 2 { 8 } else { (bits(2, given.get(2))? as i32).max(-i32::MAX) };
        let digits = width.unsigned_abs().min(8) as usize;
        let text = if width < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
        Ok(Value::String(lua.create_string(&text[8 - digits..])?).into())
    })?;
    Ok(table)
}
