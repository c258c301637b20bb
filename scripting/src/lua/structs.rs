//! The library `struct`: values to bytes and back, by a format.
//!
//! `<` `>` order of bytes; `!n` alignment; `x` a byte of padding; `b B h H l L T i[n] I[n]` integers, lower case signed;
//! `f d` floats; `s` a text up to a zero byte; `c[n]` n bytes, `c0` as many as the number before says.

use super::answer::{Fault, Values, as_number, as_text, define_packed};
use super::number::truncated;
use mlua::{Lua, Table, Value};

/// Bytes of the longest integer.
const INTEGER_BYTES_MAX: usize = 32;
/// What `!` alone aligns to.
const NATIVE_ALIGNMENT: usize = 8;
/// What a format may pad or take in one step, in bytes.
const RESULT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Where a format is read, and what it has said so far.
struct Format<'a> {
    rest: std::slice::Iter<'a, u8>,
    is_big: bool,
    alignment: usize,
}

impl<'a> Format<'a> {
    fn new(format: &'a [u8]) -> Self {
        let end = format.iter().position(|byte| *byte == 0).unwrap_or(format.len());
        Self { rest: format[..end].iter(), is_big: false, alignment: 1 }
    }

    fn number(&mut self, default: usize) -> Result<usize, Fault> {
        if !self.rest.as_slice().first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number = 0_i32;
        while let Some(digit) = self.rest.as_slice().first().filter(|byte| byte.is_ascii_digit()) {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(i32::from(digit - b'0')))
                .ok_or_else(|| Fault::text("integral size overflow"))?;
            self.rest.next();
        }
        Ok(number as usize)
    }

    /// The next option and its size.
    fn next(&mut self) -> Result<Option<(u8, usize)>, Fault> {
        let Some(&option) = self.rest.next() else { return Ok(None) };
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_BYTES_MAX {
                    let limit = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(Fault::text(limit));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    /// Bytes before an element of `size` at `position`.
    fn padding(&self, position: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.alignment);
        size.wrapping_sub(position & (size - 1)) & (size - 1)
    }

    fn control(&mut self, option: u8) -> Result<(), Fault> {
        match option {
            b' ' => {}
            b'>' => self.is_big = true,
            b'<' => self.is_big = false,
            b'!' => {
                let alignment = self.number(NATIVE_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Fault::text(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ => return Err(Fault::Argument(1, format!("invalid format option '{}'", option as char))),
        }
        Ok(())
    }
}

/// Arguments in a table.
struct Packed<'a> {
    table: &'a Table,
    count: usize,
    /// How one argument too many looks: `pack` has put a nil there.
    is_nil_behind: bool,
}

impl Packed<'_> {
    fn get(&self, number: usize) -> Result<Option<Value>, Fault> {
        if number > self.count && !(self.is_nil_behind && number > 1 && number == self.count + 1) {
            return Ok(None);
        }
        Ok(Some(self.table.raw_get(number)?))
    }

    fn text(&self, number: usize) -> Result<Vec<u8>, Fault> {
        let value = self.get(number)?;
        as_text(value.as_ref()).ok_or_else(|| Fault::type_of(number, "string", value.as_ref()))
    }

    fn number(&self, number: usize) -> Result<f64, Fault> {
        let value = self.get(number)?;
        as_number(value.as_ref()).ok_or_else(|| Fault::type_of(number, "number", value.as_ref()))
    }
}

/// The library.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    define_packed(lua, &table, "pack", |lua, arguments, count| {
        let bytes = pack(&Packed { table: &arguments, count, is_nil_behind: true })?;
        Ok(Value::String(lua.create_string(bytes)?).into())
    })?;
    define_packed(lua, &table, "unpack", |lua, arguments, count| {
        unpack(lua, &Packed { table: &arguments, count, is_nil_behind: false })
    })?;
    define_packed(lua, &table, "size", |_, arguments, count| {
        let format = Packed { table: &arguments, count, is_nil_behind: false }.text(1)?;
        let mut format = Format::new(&format);
        let mut position = 0_usize;
        while let Some((option, size)) = format.next()? {
            position = position.wrapping_add(format.padding(position, option, size));
            match (option, size) {
                (b's', _) => return Err(Fault::Argument(1, "option 's' has no fixed size".to_owned())),
                (b'c', 0) => return Err(Fault::Argument(1, "option 'c0' has no fixed size".to_owned())),
                _ => {}
            }
            if !option.is_ascii_alphanumeric() {
                format.control(option)?;
            }
            position = position.wrapping_add(size);
        }
        Ok(Value::Number(position as f64).into())
    })?;
    Ok(table)
}

fn pack(arguments: &Packed<'_>) -> Result<Vec<u8>, Fault> {
    let format = arguments.text(1)?;
    let mut format = Format::new(&format);
    let mut out = Vec::new();
    let mut argument = 2;
    // Elements of a size that is told are counted with it, texts with what they take: so is the alignment.
    while let Some((option, size)) = format.next()? {
        let padding = format.padding(out.len(), option, size);
        if out.len() + padding + size > RESULT_BYTES_MAX {
            return Err(Fault::Memory);
        }
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = to_unsigned(arguments.number(argument)?);
                argument += 1;
                append(&mut out, value, size, format.is_big);
            }
            b'x' => out.push(0),
            b'f' => {
                let value = arguments.number(argument)? as f32;
                argument += 1;
                out.extend_from_slice(&if format.is_big { value.to_be_bytes() } else { value.to_le_bytes() });
            }
            b'd' => {
                let value = arguments.number(argument)?;
                argument += 1;
                out.extend_from_slice(&if format.is_big { value.to_be_bytes() } else { value.to_le_bytes() });
            }
            b'c' | b's' => {
                let text = arguments.text(argument)?;
                argument += 1;
                let taken = if size == 0 { text.len() } else { size };
                let Some(text) = text.get(..taken) else {
                    return Err(Fault::Argument(argument, "string too short".to_owned()));
                };
                out.extend_from_slice(text);
                if option == b's' {
                    out.push(0);
                }
            }
            _ => format.control(option)?,
        }
    }
    Ok(out)
}

/// A C cast of a double to an unsigned integer of 64 bits.
fn to_unsigned(number: f64) -> u64 {
    const TOP: f64 = 9_223_372_036_854_775_808.0;
    if number >= TOP { ((truncated(number - TOP)) as u64) ^ (1 << 63) } else { truncated(number) as u64 }
}

fn append(out: &mut Vec<u8>, value: u64, size: usize, is_big: bool) {
    let byte = |at: usize| if at < 8 { (value >> (8 * at)) as u8 } else { 0 };
    if is_big {
        out.extend((0..size).rev().map(byte));
    } else {
        out.extend((0..size).map(byte));
    }
}

fn integer(bytes: &[u8], is_big: bool, is_signed: bool) -> f64 {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if is_big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) };
    if !is_signed {
        return value as f64;
    }
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
    (if value & mask == 0 { value } else { value | mask }) as i64 as f64
}

fn unpack(lua: &Lua, arguments: &Packed<'_>) -> Result<Values, Fault> {
    let format = arguments.text(1)?;
    let data = arguments.text(2)?;
    let begin = match arguments.get(3)? {
        None | Some(Value::Nil) => 1,
        Some(_) => truncated(arguments.number(3)?),
    };
    // A negative place is a huge one, where nothing is.
    let Some(mut position) = (begin as u64).checked_sub(1).map(|place| usize::try_from(place).unwrap_or(usize::MAX))
    else {
        return Err(Fault::Argument(3, "offset must be 1 or greater".to_owned()));
    };
    let too_short = || Fault::Argument(2, "data string too short".to_owned());
    let mut format = Format::new(&format);
    let results = lua.create_table()?;
    let mut count = 0;
    let mut last = None;
    while let Some((option, mut size)) = format.next()? {
        position = position.saturating_add(format.padding(position, option, size));
        let mut bytes = position.checked_add(size).and_then(|end| data.get(position..end)).ok_or_else(too_short)?;
        let mut result = None;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                result = Some(Value::Number(integer(bytes, format.is_big, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => result = Some(Value::Number(f64::from(float(bytes, format.is_big)))),
            b'd' => result = Some(Value::Number(double(bytes, format.is_big))),
            b'c' => {
                if size == 0 {
                    let Some(length) = last.take().and_then(|value: Value| as_number(Some(&value))) else {
                        return Err(Fault::text("format 'c0' needs a previous size"));
                    };
                    count -= 1;
                    size = usize::try_from(truncated(length)).map_err(|_| too_short())?;
                    bytes = position.checked_add(size).and_then(|end| data.get(position..end)).ok_or_else(too_short)?;
                }
                result = Some(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let rest = &data[position..];
                let Some(length) = rest.iter().position(|byte| *byte == 0) else {
                    return Err(Fault::text("unfinished string in data"));
                };
                size = length + 1;
                result = Some(Value::String(lua.create_string(&rest[..length])?));
            }
            _ => format.control(option)?,
        }
        if let Some(value) = result {
            count += 1;
            results.raw_set(count, &value)?;
            last = Some(value);
        }
        position += size;
    }
    results.raw_set(count + 1, (position + 1) as f64)?;
    Ok(Values::Many(results, count + 1))
}

fn float(bytes: &[u8], is_big: bool) -> f32 {
    let bytes = bytes.try_into().unwrap_or_default();
    if is_big { f32::from_be_bytes(bytes) } else { f32::from_le_bytes(bytes) }
}

fn double(bytes: &[u8], is_big: bool) -> f64 {
    let bytes = bytes.try_into().unwrap_or_default();
    if is_big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) }
}
