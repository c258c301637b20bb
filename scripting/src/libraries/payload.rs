//! `FUNCTION DUMP` and `RESTORE`: libraries as bytes, in the format of Redis.
//!
//! ```text
//!   { 0xF5 code }*  { 0xFA "torc-library" code }*  version (2 bytes)  CRC-64 (8 bytes)
//!     Lua: FUNCTION2      JavaScript: an AUX field
//! ```
//!
//! Where JavaScript is not known, a payload with such a library is refused as a whole, and says so; without one it is
//! what stock servers write and read.

use super::{Engine, Registry, lzf};

/// Version of the format that is written, and the highest that is read.
const VERSION: u16 = 10;

const FUNCTION: u8 = 0xF5;
const FUNCTION_BEFORE_RELEASE: u8 = 0xF6;
const AUX: u8 = 0xFA;
const JS_FIELD: &[u8] = b"torc-library";

/// What one compressed text may grow to, in bytes.
const CODE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// All libraries as bytes.
pub fn dump(registry: &Registry) -> Vec<u8> {
    let mut out = Vec::new();
    for library in registry.libraries().filter(|library| library.engine == Engine::Lua) {
        out.push(FUNCTION);
        append_text(&mut out, &library.code);
    }
    for library in registry.libraries().filter(|library| library.engine == Engine::Js) {
        out.push(AUX);
        append_text(&mut out, JS_FIELD);
        append_text(&mut out, &library.code);
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&crc64(&out).to_le_bytes());
    out
}

/// The codes of the libraries in a payload.
pub fn codes(payload: &[u8]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut rest = checked(payload).ok_or(b"ERR DUMP payload version or checksum are wrong".to_vec())?;
    let mut codes = Vec::new();
    let failed = || b"ERR Failed loading library code".to_vec();
    while let Some((&kind, behind)) = rest.split_first() {
        rest = behind;
        match kind {
            FUNCTION => codes.push(text(&mut rest).ok_or_else(failed)?),
            AUX => {
                let field = text(&mut rest).ok_or_else(failed)?;
                let code = text(&mut rest).ok_or_else(failed)?;
                if field != JS_FIELD {
                    return Err(b"ERR given type is not a function".to_vec());
                }
                codes.push(code);
            }
            FUNCTION_BEFORE_RELEASE => return Err(b"ERR Pre-GA function format not supported".to_vec()),
            _ => return Err(b"ERR given type is not a function".to_vec()),
        }
    }
    Ok(codes)
}

/// What is before the version and the checksum, if both are right.
fn checked(payload: &[u8]) -> Option<&[u8]> {
    let (body, sum) = payload.split_last_chunk::<8>()?;
    let (libraries, version) = body.split_last_chunk::<2>()?;
    let is_right = u16::from_le_bytes(*version) <= VERSION && crc64(body) == u64::from_le_bytes(*sum);
    is_right.then_some(libraries)
}

fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..64 => out.push(length as u8),
        length @ 64..16384 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        length if u32::try_from(length).is_ok() => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        length => {
            out.push(0x81);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// A length, or the encoding of what follows.
enum Length {
    Bytes(usize),
    Encoded(u8),
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn length(rest: &mut &[u8]) -> Option<Length> {
    let first = take(rest, 1)?[0];
    let bytes = match first >> 6 {
        0 => usize::from(first & 0x3f),
        1 => usize::from(first & 0x3f) << 8 | usize::from(take(rest, 1)?[0]),
        2 if first == 0x80 => u32::from_be_bytes(take(rest, 4)?.try_into().ok()?) as usize,
        2 if first == 0x81 => usize::try_from(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?)).ok()?,
        3 => return Some(Length::Encoded(first & 0x3f)),
        _ => return None,
    };
    Some(Length::Bytes(bytes))
}

fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    match length(rest)? {
        Length::Bytes(bytes) => take(rest, bytes).map(<[u8]>::to_vec),
        Length::Encoded(0) => Some(i8::from_le_bytes(take(rest, 1)?.try_into().ok()?).to_string().into_bytes()),
        Length::Encoded(1) => Some(i16::from_le_bytes(take(rest, 2)?.try_into().ok()?).to_string().into_bytes()),
        Length::Encoded(2) => Some(i32::from_le_bytes(take(rest, 4)?.try_into().ok()?).to_string().into_bytes()),
        Length::Encoded(3) => {
            let (Length::Bytes(packed), Length::Bytes(plain)) = (length(rest)?, length(rest)?) else { return None };
            if plain > CODE_BYTES_MAX {
                return None;
            }
            lzf::unpack(take(rest, packed)?, plain)
        }
        Length::Encoded(_) => None,
    }
}

/// CRC-64 with the polynomial of Jones, bits reflected, as RDB files end with it.
fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = table();
    bytes.iter().fold(0, |sum, byte| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8))
}

const fn table() -> [u64; 256] {
    const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9;
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL.reverse_bits() } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::Library;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        body.extend_from_slice(&VERSION.to_le_bytes());
        let sum = crc64(&body);
        body.extend_from_slice(&sum.to_le_bytes());
        body
    }

    fn error(payload: &[u8]) -> String {
        String::from_utf8(codes(payload).unwrap_err()).unwrap()
    }

    #[test]
    fn checksum_is_that_of_rdb() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn libraries_come_back_as_they_went() {
        let mut registry = Registry::default();
        let mut expected = Vec::new();
        for (name, engine, length) in [("a", "lua", 10), ("b", "lua", 100), ("c", "lua", 70_000), ("d", "js", 20_000)] {
            let code = format!("#!{engine} name={name}\n{}", "x".repeat(length)).into_bytes();
            registry = registry.with(&Arc::new(Library::parse(&code).unwrap())).unwrap();
            expected.push(code);
        }
        assert_eq!(codes(&dump(&registry)).unwrap(), expected);
    }

    #[test]
    fn compressed_texts_are_read() {
        let packed = [2, b'#', b'!', b'x', 0x60, 0];
        let payload = sealed([&[FUNCTION, 0xc3, packed.len() as u8, 8][..], &packed].concat());
        assert_eq!(codes(&payload).unwrap(), [b"#!xxxxxx".to_vec()]);
    }

    #[test]
    fn broken_payloads_are_refused() {
        for payload in [&b""[..], b"abc", &dump(&Registry::default())[1..]] {
            assert_eq!(error(payload), "ERR DUMP payload version or checksum are wrong");
        }
        assert_eq!(error(&sealed(vec![7])), "ERR given type is not a function");
        assert_eq!(error(&sealed(vec![0xF6])), "ERR Pre-GA function format not supported");
        for body in
            [&[FUNCTION][..], &[FUNCTION, 5, b'a'], &[FUNCTION, 0x82], &[FUNCTION, 0xc3, 1, 9, 0x20], &[AUX, 1, b'a']]
        {
            assert_eq!(error(&sealed(body.to_vec())), "ERR Failed loading library code");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = codes(&body);
            let _ = codes(&sealed([&[FUNCTION][..], &body].concat()));
            let _ = codes(&sealed([&[FUNCTION, 0xc3][..], &body].concat()));
            let _ = codes(&sealed(body));
        }
    }
}
