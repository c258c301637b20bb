//! The packed forms of old servers, read only.
//!
//! ```text
//!   ziplist  ┌ bytes: 4 ┬ offset of the last: 4 ┬ count: 2 ┬ entry ... ┬ 0xff       all little endian
//!   entry    length of the one before: 1, or 0xfe and 4    head    content
//!   head       00LLLLLL, 01LLLLLL L, 10...... LLLL (big endian)          a text of that length
//!              c0 d0 e0 f0 fe                                            a number of 2, 4, 8, 3, 1 bytes
//!              f1 .. fd                                                  0 .. 12
//!
//!   zipmap   ┌ count: 1 ┬ length, field, length, free: 1, value, free bytes ... ┬ 0xff
//!   length     1 byte up to 253, or 0xfe and 4
//! ```

use super::{Malformed, Result};
use std::borrow::Cow;
use torc_engine::values::Element;

const ZIPLIST_HEADER_BYTES: usize = 10;
const BROKEN_ZIPLIST: Malformed = Malformed::Invalid("a ziplist that is none");
const BROKEN_ZIPMAP: Malformed = Malformed::Invalid("a zipmap that is none");

/// The elements of a ziplist, all of which are looked at before the first is used.
pub fn ziplist(bytes: &[u8]) -> Result<Vec<Element<'_>>> {
    let header = bytes.first_chunk::<ZIPLIST_HEADER_BYTES>().ok_or(BROKEN_ZIPLIST)?;
    let said_bytes = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let said_count = u16::from_le_bytes([header[8], header[9]]);
    if said_bytes as usize != bytes.len() || bytes.last() != Some(&0xff) || bytes.len() <= ZIPLIST_HEADER_BYTES {
        return Err(BROKEN_ZIPLIST);
    }
    let mut rest = &bytes[ZIPLIST_HEADER_BYTES..bytes.len() - 1];
    let (mut elements, mut before) = (Vec::new(), 0);
    while !rest.is_empty() {
        let length = rest.len();
        let said_before = match take(&mut rest, 1).ok_or(BROKEN_ZIPLIST)?[0] {
            0xfe => u32::from_le_bytes(array(&mut rest).ok_or(BROKEN_ZIPLIST)?) as usize,
            0xff => return Err(BROKEN_ZIPLIST),
            short => usize::from(short),
        };
        if said_before != before {
            return Err(BROKEN_ZIPLIST);
        }
        elements.push(ziplist_element(&mut rest).ok_or(BROKEN_ZIPLIST)?);
        before = length - rest.len();
    }
    // More than that are not counted.
    if said_count != u16::MAX && usize::from(said_count) != elements.len() {
        return Err(BROKEN_ZIPLIST);
    }
    Ok(elements)
}

fn ziplist_element<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    let head = take(rest, 1)?[0];
    let length = match head {
        0x00..=0x3f => usize::from(head),
        0x40..=0x7f => usize::from(head & 0x3f) << 8 | usize::from(take(rest, 1)?[0]),
        0x80 => u32::from_be_bytes(array(rest)?) as usize,
        0xc0 => return Some(Element::Integer(i64::from(i16::from_le_bytes(array(rest)?)))),
        0xd0 => return Some(Element::Integer(i64::from(i32::from_le_bytes(array(rest)?)))),
        0xe0 => return Some(Element::Integer(i64::from_le_bytes(array(rest)?))),
        0xf0 => {
            let [low, middle, high] = array(rest)?;
            return Some(Element::Integer(i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)));
        }
        0xfe => return Some(Element::Integer(i64::from(i8::from_le_bytes(array(rest)?)))),
        0xf1..=0xfd => return Some(Element::Integer(i64::from(head & 0x0f) - 1)),
        _ => return None,
    };
    Some(Element::of(take(rest, length)?))
}

/// Fields and values of a zipmap, in turn.
pub fn zipmap(bytes: &[u8]) -> Result<Vec<Cow<'_, [u8]>>> {
    let mut rest = bytes.get(1..).ok_or(BROKEN_ZIPMAP)?;
    let mut texts = Vec::new();
    while let Some(field) = zipmap_length(&mut rest)? {
        texts.push(Cow::Borrowed(take(&mut rest, field).ok_or(BROKEN_ZIPMAP)?));
        let value = zipmap_length(&mut rest)?.ok_or(BROKEN_ZIPMAP)?;
        let free = usize::from(take(&mut rest, 1).ok_or(BROKEN_ZIPMAP)?[0]);
        texts.push(Cow::Borrowed(take(&mut rest, value).ok_or(BROKEN_ZIPMAP)?));
        take(&mut rest, free).ok_or(BROKEN_ZIPMAP)?;
    }
    let (said, count) = (bytes[0], texts.len() / 2);
    let is_whole = rest.is_empty() && (said >= 254 || usize::from(said) == count);
    if is_whole { Ok(texts) } else { Err(BROKEN_ZIPMAP) }
}

/// None at the end.
fn zipmap_length(rest: &mut &[u8]) -> Result<Option<usize>> {
    match take(rest, 1).ok_or(BROKEN_ZIPMAP)?[0] {
        0xff => Ok(None),
        0xfe => Ok(Some(u32::from_le_bytes(array(rest).ok_or(BROKEN_ZIPMAP)?) as usize)),
        length => Ok(Some(usize::from(length))),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn array<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    take(rest, COUNT)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ziplist of one text, one number of each width, one small number.
    fn example() -> Vec<u8> {
        let contents: [&[u8]; 7] = [
            b"\x05hello",
            b"\xfe\x85",
            b"\xc0\x39\x30",
            b"\xf0\xff\xff\x7f",
            b"\xd0\x15\xcd\x5b\x07",
            b"\xe0\x00\x00\x00\x00\x00\x00\x00\x80",
            b"\xfd",
        ];
        let (mut entries, mut before, mut last) = (Vec::new(), 0u8, 0);
        for content in contents {
            last = ZIPLIST_HEADER_BYTES + entries.len();
            entries.push(before);
            entries.extend_from_slice(content);
            before = content.len() as u8 + 1;
        }
        let mut bytes = ((ZIPLIST_HEADER_BYTES + entries.len() + 1) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(last as u32).to_le_bytes());
        bytes.extend_from_slice(&(contents.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&entries);
        bytes.push(0xff);
        bytes
    }

    #[test]
    fn a_ziplist_with_everything() {
        let bytes = example();
        let texts: Vec<_> = ziplist(&bytes).unwrap().iter().map(|element| element.to_bytes().into_owned()).collect();
        let expected: [&[u8]; 7] =
            [b"hello", b"-123", b"12345", b"8388607", b"123456789", b"-9223372036854775808", b"12"];
        assert_eq!(texts, expected);
        for end in 0..bytes.len() {
            assert!(ziplist(&bytes[..end]).is_err());
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x55;
            drop(ziplist(&other));
        }
    }

    #[test]
    fn a_zipmap() {
        let bytes = b"\x02\x01a\x02\x00vv\x02bc\x01\x03wfff\xff";
        assert_eq!(zipmap(bytes).unwrap(), [&b"a"[..], b"vv", b"bc", b"w"]);
        for end in 0..bytes.len() {
            assert!(zipmap(&bytes[..end]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_input_is_borne(mut bytes: Vec<u8>) {
            drop(zipmap(&bytes));
            drop(ziplist(&bytes));
            if bytes.len() > 11 {
                let length = bytes.len() as u32;
                bytes[..4].copy_from_slice(&length.to_le_bytes());
                bytes[8..10].fill(0xff);
                *bytes.last_mut().unwrap() = 0xff;
                drop(ziplist(&bytes));
            }
        }
    }
}
