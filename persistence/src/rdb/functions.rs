//! The payload of FUNCTION DUMP and RESTORE: libraries of functions, sealed as a value is.
//!
//! ```text
//!   { 0xF5 code }*  { 0xFA "torc-library" code }*  version (2 bytes)  CRC-64 (8 bytes)
//!     of languages that every server has      of others: an AUX field
//! ```
//!
//! Where a library's language is not known, a payload with it is refused as a whole, and says so; without one it is
//! what stock servers write and read.

use super::dump::{open, seal};
use super::input::Input;
use super::output::Output;
use super::{Version, opcodes};

/// The AUX field in which libraries travel that stock servers do not know.
pub const OWN_FIELD: &[u8] = b"torc-library";

const FAILED: &str = "ERR Failed loading library code";

/// Libraries as bytes: those that stock servers know, and others. Codes are not compressed, which is allowed.
pub fn write<'a>(stock: impl Iterator<Item = &'a [u8]>, own: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    for code in stock {
        out.byte(opcodes::FUNCTION);
        out.plain_text(code);
    }
    for code in own {
        out.byte(opcodes::AUX);
        out.plain_text(OWN_FIELD);
        out.plain_text(code);
    }
    seal(&mut bytes, Version::LISTPACKS);
    bytes
}

/// The codes of the libraries in a payload; else the client's error.
pub fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let (body, _) = open(payload).ok_or("ERR DUMP payload version or checksum are wrong")?;
    let mut input = Input::new(body);
    let mut codes = Vec::new();
    while let Ok(kind) = input.byte() {
        match kind {
            opcodes::FUNCTION => {}
            opcodes::AUX => {
                if input.text().map_err(|_| FAILED)? != OWN_FIELD {
                    return Err("ERR given type is not a function");
                }
            }
            opcodes::FUNCTION_BEFORE_RELEASE => return Err("ERR Pre-GA function format not supported"),
            _ => return Err("ERR given type is not a function"),
        }
        codes.push(input.text().map_err(|_| FAILED)?.into_owned());
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        seal(&mut body, Version::LISTPACKS);
        body
    }

    #[test]
    fn libraries_come_back_as_they_went() {
        let code = |name: &str, length: usize| format!("#!{name}\n{}", "x".repeat(length)).into_bytes();
        let (stock, own) = ([code("lua", 10), code("lua", 100), code("lua", 70_000)], [code("js", 20_000)]);
        let payload = write(stock.iter().map(|code| &code[..]), own.iter().map(|code| &code[..]));
        assert_eq!(read(&payload).unwrap(), [&stock[..], &own].concat());
        assert_eq!(read(&write([].into_iter(), [].into_iter())).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn compressed_texts_are_read() {
        let packed = [2, b'#', b'!', b'x', 0x60, 0];
        let payload = sealed([&[opcodes::FUNCTION, 0xc3, packed.len() as u8, 8][..], &packed].concat());
        assert_eq!(read(&payload).unwrap(), [b"#!xxxxxx".to_vec()]);
    }

    #[test]
    fn broken_payloads_are_refused() {
        for payload in [&b""[..], b"abc", &sealed(Vec::new())[1..]] {
            assert_eq!(read(payload), Err("ERR DUMP payload version or checksum are wrong"));
        }
        assert_eq!(read(&sealed(vec![7])), Err("ERR given type is not a function"));
        assert_eq!(read(&sealed(vec![opcodes::AUX, 1, b'a'])), Err("ERR given type is not a function"));
        assert_eq!(read(&sealed(vec![0xf6])), Err("ERR Pre-GA function format not supported"));
        for body in [&[0xf5][..], &[0xf5, 5, b'a'], &[0xf5, 0x82], &[0xf5, 0xc3, 1, 9, 0x20], &[0xfa, 2, b'a']] {
            assert_eq!(read(&sealed(body.to_vec())), Err(FAILED), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_input_is_borne(body in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&body));
            drop(read(&sealed([&[opcodes::FUNCTION][..], &body].concat())));
            drop(read(&sealed([&[opcodes::FUNCTION, 0xc3][..], &body].concat())));
            drop(read(&sealed(body)));
        }
    }
}
