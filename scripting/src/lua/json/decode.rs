//! JSON to values.

use super::scan::{Kind, Scanner, Token};
use super::{NESTING_MAX, Options};
use crate::lua::LuaLink;
use crate::lua::answer::Fault;
use mlua::{LightUserData, Lua, Table, Value};

/// The value of a text.
pub(super) fn decode(lua: &Lua, text: &[u8], options: &Options, stack: &LuaLink) -> Result<Value, Fault> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Fault::text("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser { lua, scanner: Scanner::new(text, options.is_invalid_decoded), options, stack, depth: 0 };
    let first = parser.scanner.next();
    let value = parser.value(first)?;
    let end = parser.scanner.next();
    if end.kind != Kind::End {
        return Err(unexpected("the end", &end));
    }
    Ok(value)
}

struct Parser<'a> {
    lua: &'a Lua,
    scanner: Scanner<'a>,
    options: &'a Options,
    stack: &'a LuaLink,
    depth: usize,
}

fn unexpected(expected: &str, token: &Token) -> Fault {
    Fault::text(format!("Expected {expected} but found {} at character {}", token.kind.name(), token.index + 1))
}

impl Parser<'_> {
    fn value(&mut self, token: Token) -> Result<Value, Fault> {
        Ok(match token.kind {
            Kind::String => self.text()?,
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(boolean) => Value::Boolean(boolean),
            Kind::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
            Kind::ObjectBegin => Value::Table(self.object()?),
            Kind::ArrayBegin => Value::Table(self.array()?),
            _ => return Err(unexpected("value", &token)),
        })
    }

    fn text(&self) -> Result<Value, Fault> {
        Ok(Value::String(self.lua.create_string(self.scanner.text())?))
    }

    fn descend(&mut self) -> Result<Table, Fault> {
        self.depth += 1;
        let is_deep = self.depth > self.options.decode_depth_max as usize || self.depth > NESTING_MAX;
        if is_deep || self.stack.is_stack_low() {
            let (depth, at) = (self.depth, self.scanner.position());
            return Err(Fault::text(format!("Found too many nested data structures ({depth}) at character {at}")));
        }
        Ok(self.lua.create_table()?)
    }

    fn object(&mut self) -> Result<Table, Fault> {
        let table = self.descend()?;
        let mut token = self.scanner.next();
        if token.kind == Kind::ObjectEnd {
            self.depth -= 1;
            return Ok(table);
        }
        loop {
            if token.kind != Kind::String {
                return Err(unexpected("object key string", &token));
            }
            let key = self.text()?;
            token = self.scanner.next();
            if token.kind != Kind::Colon {
                return Err(unexpected("colon", &token));
            }
            token = self.scanner.next();
            let value = self.value(token)?;
            table.raw_set(key, value)?;
            token = self.scanner.next();
            match token.kind {
                Kind::ObjectEnd => {
                    self.depth -= 1;
                    return Ok(table);
                }
                Kind::Comma => token = self.scanner.next(),
                _ => return Err(unexpected("comma or object end", &token)),
            }
        }
    }

    fn array(&mut self) -> Result<Table, Fault> {
        let table = self.descend()?;
        let mut token = self.scanner.next();
        if token.kind == Kind::ArrayEnd {
            self.depth -= 1;
            return Ok(table);
        }
        loop {
            let value = self.value(token)?;
            table.raw_push(value)?;
            token = self.scanner.next();
            match token.kind {
                Kind::ArrayEnd => {
                    self.depth -= 1;
                    return Ok(table);
                }
                Kind::Comma => token = self.scanner.next(),
                _ => return Err(unexpected("comma or array end", &token)),
            }
        }
    }
}
