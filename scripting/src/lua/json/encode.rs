//! Values to JSON.

use super::{NESTING_MAX, Options};
use crate::lua::LuaLink;
use crate::lua::answer::{Fault, type_name};
use crate::lua::number::append_general;
use mlua::{Table, Value};

/// The text of a value.
pub(super) fn encode(value: &Value, options: &Options, stack: &LuaLink) -> Result<Vec<u8>, Fault> {
    let mut writer = Writer { out: Vec::new(), options, stack };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: Vec<u8>,
    options: &'a Options,
    stack: &'a LuaLink,
}

fn refuse(type_name: &str, reason: &str) -> Fault {
    Fault::text(format!("Cannot serialise {type_name}: {reason}"))
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Fault> {
        match value {
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Table(table) => self.table(table, depth + 1)?,
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            other => return Err(refuse(type_name(other), "type not supported")),
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for &byte in text {
            match byte {
                b'"' | b'\\' | b'/' => self.out.extend_from_slice(&[b'\\', byte]),
                8 => self.out.extend_from_slice(b"\\b"),
                9 => self.out.extend_from_slice(b"\\t"),
                10 => self.out.extend_from_slice(b"\\n"),
                12 => self.out.extend_from_slice(b"\\f"),
                13 => self.out.extend_from_slice(b"\\r"),
                0..32 | 127 => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }

    fn number(&mut self, number: f64) -> Result<(), Fault> {
        match self.options.encode_invalid_numbers {
            0 if !number.is_finite() => return Err(refuse("number", "must not be NaN or Inf")),
            1 if number.is_nan() => self.out.extend_from_slice(b"nan"),
            2 if !number.is_finite() => self.out.extend_from_slice(b"null"),
            _ => append_general(&mut self.out, number, self.options.precision as usize),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        let is_deep = depth > self.options.encode_depth_max as usize || depth > NESTING_MAX;
        if is_deep || self.stack.is_stack_low() {
            return Err(Fault::text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_length(table)? {
            Some(length) if length > 0 => self.array(table, length, depth),
            _ => self.object(table, depth),
        }
    }

    /// The largest index if all keys are indices.
    fn array_length(&self, table: &Table) -> Result<Option<usize>, Fault> {
        let (mut largest, mut count) = (0_i64, 0_i64);
        for pair in table.pairs::<Value, Value>() {
            let key = match pair?.0 {
                Value::Integer(key) if key >= 1 => key.min(i64::from(i32::MAX)),
                _ => return Ok(None),
            };
            largest = largest.max(key);
            count += 1;
        }
        let options = self.options;
        let ratio = i64::from(options.sparse_ratio);
        if ratio > 0 && largest > count.saturating_mul(ratio) && largest > i64::from(options.sparse_safe) {
            if !options.is_sparse_converted {
                return Err(refuse("table", "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(largest as usize))
    }

    fn array(&mut self, table: &Table, length: usize, depth: usize) -> Result<(), Fault> {
        self.out.push(b'[');
        for at in 1..=length {
            if at > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(at)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        self.out.push(b'{');
        for (at, pair) in table.pairs::<Value, Value>().enumerate() {
            let (key, value) = pair?;
            if at > 0 {
                self.out.push(b',');
            }
            match &key {
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                Value::String(text) => self.text(&text.as_bytes()),
                other => return Err(refuse(type_name(other), "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}
