//! Where a value ends, without making anything of it: so one reader can cut a file up and leave the rest to many.
//!
//! Most kinds are some texts and numbers, repeated; a table says which.

use super::input::Input;
use super::{Dialect, Malformed, Result, kinds, module_name};
use torc_engine::values::stream::StreamId;

/// A part of an element.
#[derive(Clone, Copy)]
enum Part {
    Text,
    Number,
    /// So many bytes.
    Bytes(usize),
    /// A score as text.
    Score,
}

use Part::{Bytes, Number, Score, Text};

/// Goes past a value of that kind.
pub fn skip(kind: u8, input: &mut Input<'_>, dialect: Dialect) -> Result<()> {
    match kind {
        kinds::STRING
        | kinds::HASH_ZIPMAP
        | kinds::LIST_ZIPLIST
        | kinds::SET_INTSET
        | kinds::SORTED_SET_ZIPLIST
        | kinds::HASH_ZIPLIST
        | kinds::HASH_LISTPACK
        | kinds::SORTED_SET_LISTPACK
        | kinds::SET_LISTPACK
        | kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE => input.skip_text(),
        kinds::LIST | kinds::SET | kinds::LIST_QUICKLIST => repeated(input, &[Text]),
        kinds::HASH => repeated(input, &[Text, Text]),
        kinds::SORTED_SET => repeated(input, &[Text, Score]),
        kinds::SORTED_SET_2 => repeated(input, &[Text, Bytes(8)]),
        kinds::LIST_QUICKLIST_2 => repeated(input, &[Number, Text]),
        kinds::HASH_WITH_TIMES => {
            input.take(8)?;
            repeated(input, &[Number, Text, Text])
        }
        kinds::HASH_WITH_TIMES_2 if dialect == Dialect::Valkey => repeated(input, &[Text, Text, Bytes(8)]),
        kinds::HASH_WITH_TIMES_2 => repeated(input, &[Number, Text, Text]),
        kinds::HASH_LISTPACK_WITH_TIMES => {
            input.take(8)?;
            input.skip_text()
        }
        kinds::STREAM | kinds::STREAM_2 | kinds::STREAM_3 | kinds::STREAM_4 | kinds::STREAM_5 => stream(kind, input),
        kinds::MODULE => module(input),
        kinds::MODULE_BEFORE_RELEASE => Err(Malformed::Module(module_name(input.number()?))),
        _ => Err(Malformed::UnknownKind(kind)),
    }
}

fn repeated(input: &mut Input<'_>, parts: &[Part]) -> Result<()> {
    for _ in 0..input.number()? {
        for part in parts {
            match part {
                Text => input.skip_text()?,
                Number => drop(input.number()?),
                Bytes(count) => drop(input.take(*count)?),
                Score => input.skip_f64_text()?,
            }
        }
    }
    Ok(())
}

fn numbers(input: &mut Input<'_>, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| input.number().map(drop))
}

fn stream(kind: u8, input: &mut Input<'_>) -> Result<()> {
    const ID: Part = Bytes(StreamId::BYTES);
    repeated(input, &[Text, Text])?;
    numbers(input, if kind == kinds::STREAM { 3 } else { 8 })?;
    for _ in 0..input.number()? {
        input.skip_text()?;
        numbers(input, if kind == kinds::STREAM { 2 } else { 3 })?;
        repeated(input, &[ID, Bytes(8), Number])?;
        for _ in 0..input.number()? {
            input.skip_text()?;
            input.take(if kind >= kinds::STREAM_3 { 16 } else { 8 })?;
            repeated(input, &[ID])?;
        }
        if kind >= kinds::STREAM_5 {
            repeated(input, &[ID])?;
        }
    }
    if kind >= kinds::STREAM_4 {
        numbers(input, 2)?;
        for _ in 0..input.number()? {
            input.skip_text()?;
            repeated(input, &[Text, Number, Number])?;
        }
        numbers(input, 2)?;
    }
    Ok(())
}

/// Goes past what a module has written: its number, then parts that each say what they are.
pub fn module(input: &mut Input<'_>) -> Result<()> {
    input.number()?;
    module_parts(input)
}

/// The parts alone.
pub fn module_parts(input: &mut Input<'_>) -> Result<()> {
    loop {
        match input.number()? {
            0 => return Ok(()),
            1 | 2 => drop(input.number()?),
            3 => drop(input.take(4)?),
            4 => drop(input.take(8)?),
            5 => input.skip_text()?,
            _ => return Err(Malformed::Invalid("a part of a module's value of no known form")),
        }
    }
}
