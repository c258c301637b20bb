//! Values made up, so that their parts are whole even where what they say together is not: listpacks of drawn elements in
//! every kind that has one, counts that nearly fit, streams whose groups hold what is not theirs.

use torc_engine::values::{Element, intset, listpack};
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version, kinds};

use crate::seeds;

const TEXTS: &[&[u8]] = &[
    b"",
    b"a",
    b"b",
    b"c",
    b"0",
    b"-0",
    b"1",
    b"2",
    b"nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"0x10",
    b"3.5",
    b"00",
    b" 1",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80",
    b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const NUMBERS: &[i64] =
    &[0, 1, 2, 3, 63, 64, -1, -2, 127, 128, 4095, 4096, 65_536, i32::MAX as i64, i64::MAX, i64::MIN, 1 << 40];

fn text(random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u8(..4) {
        0 => random.choice(TEXTS).map(|text| text.to_vec()).unwrap_or_default(),
        1 => number(random).to_string().into_bytes(),
        _ => {
            let length = if random.u8(..10) == 0 { random.usize(..300) } else { random.usize(..4) };
            (0..length).map(|_| b'a' + random.u8(..3)).collect()
        }
    }
}

fn number(random: &mut fastrand::Rng) -> i64 {
    match random.u8(..3) {
        0 => *random.choice(NUMBERS).unwrap_or(&0),
        _ => random.i64(-3..20),
    }
}

/// About so many.
fn nearly(count: usize, random: &mut fastrand::Rng) -> u64 {
    match random.u8(..12) {
        0 => count as u64 + 1,
        1 => (count as u64).saturating_sub(1),
        2 => *random.choice(NUMBERS).unwrap_or(&0) as u64,
        _ => count as u64,
    }
}

fn few(random: &mut fastrand::Rng) -> usize {
    if random.u8(..12) == 0 { random.usize(..200) } else { random.usize(..8) }
}

fn list_of(texts: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = listpack::build(texts.iter().map(|text| Element::of(text)));
    spoil_header(&mut bytes, 4, random);
    bytes
}

/// Says another count of elements, at times.
fn spoil_header(bytes: &mut [u8], at: usize, random: &mut fastrand::Rng) {
    if random.u8(..16) == 0 {
        bytes[at] = bytes[at].wrapping_add_signed(random.i8(-1..=1));
    }
    if random.u8(..30) == 0 {
        bytes[at..at + 2].fill(0xff);
    }
}

/// A ziplist of texts and numbers.
pub fn ziplist(texts: &[Vec<u8>]) -> Vec<u8> {
    let (mut entries, mut before, mut last) = (Vec::new(), 0usize, 10);
    for text in texts {
        last = 10 + entries.len();
        let start = entries.len();
        if before < 254 {
            entries.push(before as u8);
        } else {
            entries.push(0xfe);
            entries.extend_from_slice(&(before as u32).to_le_bytes());
        }
        match Element::of(text) {
            Element::Integer(number @ 0..=12) => entries.push(0xf1 + number as u8),
            Element::Integer(number) => {
                entries.push(0xe0);
                entries.extend_from_slice(&number.to_le_bytes());
            }
            Element::Text(text) if text.len() < 64 => {
                entries.push(text.len() as u8);
                entries.extend_from_slice(text);
            }
            Element::Text(text) => {
                entries.push(0x80);
                entries.extend_from_slice(&(text.len() as u32).to_be_bytes());
                entries.extend_from_slice(text);
            }
        }
        before = entries.len() - start;
    }
    let mut bytes = ((entries.len() + 11) as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(last as u32).to_le_bytes());
    bytes.extend_from_slice(&(texts.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&entries);
    bytes.push(0xff);
    bytes
}

/// A zipmap of fields and values.
pub fn zipmap(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![(texts.len() / 2).min(254) as u8];
    for (at, text) in texts.iter().enumerate() {
        if text.len() < 254 {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        if at % 2 == 1 {
            bytes.push(0);
        }
        bytes.extend_from_slice(text);
    }
    bytes.push(0xff);
    bytes
}

/// One of each form that is only read.
pub fn packed_forms_of_old_servers() -> Vec<Vec<u8>> {
    let texts: Vec<Vec<u8>> =
        ["a", "1", "b", "-70000", "cc", "3", "d", "2.5"].map(|text| text.as_bytes().to_vec()).into();
    let of = |kind: u8, parts: &[&[u8]], count: Option<u64>| {
        let mut bytes = vec![kind];
        let mut out = Output::plain(&mut bytes);
        count.into_iter().for_each(|count| out.number(count));
        parts.iter().for_each(|part| out.plain_text(part));
        bytes
    };
    let packed = ziplist(&texts);
    let mut old_scores = vec![kinds::SORTED_SET];
    let mut out = Output::plain(&mut old_scores);
    out.number(2);
    out.raw(b"\x01a\x033.5\x01b\xfe");
    vec![
        of(kinds::LIST_ZIPLIST, &[&packed], None),
        of(kinds::SORTED_SET_ZIPLIST, &[&packed], None),
        of(kinds::HASH_ZIPLIST, &[&packed], None),
        of(kinds::HASH_ZIPMAP, &[&zipmap(&texts)], None),
        of(kinds::LIST_QUICKLIST, &[&packed, &packed], Some(2)),
        of(kinds::LIST, &[b"a", b"12", b"c"], Some(3)),
        old_scores,
    ]
}

/// A kind and a value of it.
pub fn value(random: &mut fastrand::Rng) -> Vec<u8> {
    let kind = random.u8(..28);
    let mut bytes = vec![kind];
    let mut compressor = Compressor::default();
    let compressor = random.bool().then_some(&mut compressor);
    body(kind, &mut Output { bytes: &mut bytes, compressor }, random);
    bytes
}

fn body(kind: u8, out: &mut Output<'_>, random: &mut fastrand::Rng) {
    let count = few(random);
    let each = match kind {
        kinds::LIST_ZIPLIST | kinds::LIST | kinds::SET | kinds::SET_LISTPACK => 1,
        kinds::HASH_LISTPACK_WITH_TIMES | kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE => 3,
        _ => 2,
    };
    let mut texts: Vec<Vec<u8>> = (0..count * each + usize::from(random.u8(..20) == 0)).map(|_| text(random)).collect();
    if kind == kinds::SORTED_SET_LISTPACK || kind == kinds::SORTED_SET_ZIPLIST {
        texts.iter_mut().skip(1).step_by(2).for_each(|score| *score = number(random).to_string().into_bytes());
    }
    if each == 3 {
        texts.iter_mut().skip(2).step_by(3).for_each(|time| *time = number(random).to_string().into_bytes());
    }
    match kind {
        kinds::STRING => out.text(&text(random)),
        kinds::LIST | kinds::SET | kinds::HASH => {
            out.number(nearly(count, random));
            texts.iter().for_each(|text| out.text(text));
        }
        kinds::SORTED_SET | kinds::SORTED_SET_2 => scored(kind, count, out, random),
        kinds::HASH_ZIPMAP => out.plain_text(&zipmap(&texts)),
        kinds::LIST_ZIPLIST | kinds::SORTED_SET_ZIPLIST | kinds::HASH_ZIPLIST => {
            let mut list = ziplist(&texts);
            spoil_header(&mut list, 8, random);
            out.plain_text(&list);
        }
        kinds::SET_INTSET => {
            let mut numbers: Vec<i64> = (0..count).map(|_| number(random)).collect();
            numbers.sort_unstable();
            if random.u8(..4) != 0 {
                numbers.dedup();
            }
            let mut set = intset::build(numbers.into_iter());
            spoil_header(&mut set, 4, random);
            out.plain_text(&set);
        }
        kinds::LIST_QUICKLIST => {
            out.number(nearly(2, random));
            out.plain_text(&ziplist(&texts));
            out.plain_text(&ziplist(&[]));
        }
        kinds::HASH_LISTPACK | kinds::SORTED_SET_LISTPACK | kinds::SET_LISTPACK => {
            out.plain_text(&list_of(&texts, random))
        }
        kinds::LIST_QUICKLIST_2 => {
            let nodes = random.usize(..4);
            out.number(nearly(nodes, random));
            for _ in 0..nodes {
                let is_plain = random.u8(..4) == 0;
                out.number(if is_plain { 1 } else { 2 });
                out.plain_text(&if is_plain { text(random) } else { list_of(&texts, random) });
            }
        }
        kinds::HASH_WITH_TIMES | kinds::HASH_WITH_TIMES_2 => timed(kind, count, out, random),
        kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE => out.plain_text(&list_of(&texts, random)),
        kinds::HASH_LISTPACK_WITH_TIMES => {
            out.i64(number(random));
            out.plain_text(&list_of(&texts, random));
        }
        kinds::STREAM..=kinds::STREAM_5 => stream(kind, out, random),
        _ => texts.iter().for_each(|text| out.text(text)),
    }
}

/// Members and scores, one by one.
fn scored(kind: u8, count: usize, out: &mut Output<'_>, random: &mut fastrand::Rng) {
    const TEXTS: [&[u8]; 5] = [b"\x011", b"\xfd", b"\xfe", b"\xff", b"\x041e99"];
    const SCORES: [f64; 7] = [0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300];
    out.number(nearly(count, random));
    for _ in 0..count {
        out.text(&text(random));
        if kind == kinds::SORTED_SET {
            out.raw(TEXTS[random.usize(..TEXTS.len())]);
        } else {
            let score = if random.bool() { SCORES[random.usize(..SCORES.len())] } else { f64::from(random.i8(..)) };
            out.raw(&score.to_le_bytes());
        }
    }
}

/// Fields, values and times, one by one, in both families' forms of one number.
fn timed(kind: u8, count: usize, out: &mut Output<'_>, random: &mut fastrand::Rng) {
    let is_valkeys = kind == kinds::HASH_WITH_TIMES_2 && random.bool();
    if kind == kinds::HASH_WITH_TIMES {
        out.i64(number(random));
    }
    out.number(nearly(count, random));
    for _ in 0..count {
        if !is_valkeys {
            out.number(number(random) as u64);
        }
        out.text(&text(random));
        out.text(&text(random));
        if is_valkeys {
            out.i64(number(random));
        }
    }
}

fn id(random: &mut fastrand::Rng) -> [u8; 16] {
    let (ms, sequence) = match random.u8(..12) {
        0 => (u64::MAX, u64::MAX),
        1 => (0, 0),
        _ => (random.u64(..6), random.u64(..3)),
    };
    ((u128::from(ms) << 64) | u128::from(sequence)).to_be_bytes()
}

/// A node of a stream: entries that mostly rise.
fn node(first: u64, entries: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let fields = random.usize(..4);
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let put = |parts: &mut Vec<Vec<u8>>, number: i64| parts.push(number.to_string().into_bytes());
    let deleted: Vec<bool> = (0..entries).map(|_| random.u8(..5) == 0).collect();
    let gone = deleted.iter().filter(|gone| **gone).count();
    put(&mut parts, nearly(entries - gone, random) as i64);
    put(&mut parts, gone as i64);
    put(&mut parts, nearly(fields, random) as i64);
    parts.extend((0..fields).map(|_| text(random)));
    put(&mut parts, i64::from(random.u8(..30) == 0));
    for (at, gone) in deleted.iter().enumerate() {
        let is_same = random.bool();
        put(&mut parts, i64::from(*gone) | i64::from(is_same) << 1);
        put(&mut parts, if random.u8(..20) == 0 { number(random) } else { at as i64 });
        put(&mut parts, if random.u8(..20) == 0 { number(random) } else { first as i64 });
        let count = if is_same { fields } else { random.usize(1..3) };
        if !is_same {
            put(&mut parts, nearly(count, random) as i64);
        }
        let texts = if is_same { count } else { 2 * count };
        parts.extend((0..texts).map(|_| text(random)));
        put(&mut parts, (texts + 3 + usize::from(!is_same)) as i64);
    }
    list_of(&parts, random)
}

fn stream(kind: u8, out: &mut Output<'_>, random: &mut fastrand::Rng) {
    let nodes = random.usize(..3);
    out.number(nearly(nodes, random));
    let mut length = 0;
    for at in 0..nodes {
        let entries = random.usize(..5);
        length += entries;
        out.plain_text(&((u128::from(at as u64 * 10) << 64) | 1).to_be_bytes());
        out.plain_text(&node(at as u64, entries, random));
    }
    out.number(nearly(length, random));
    out.number(if random.u8(..8) == 0 { random.u64(..) } else { 40 });
    out.number(random.u64(..9));
    if kind != kinds::STREAM {
        for _ in 0..4 {
            out.number(random.u64(..9));
        }
        out.number(number(random) as u64);
    }
    let groups = random.usize(..3);
    out.number(nearly(groups, random));
    for number in 0..groups {
        out.text(&[b'g', number as u8]);
        group(kind, out, random);
    }
    if kind >= kinds::STREAM_4 {
        out.number(random.u64(..100_000));
        out.number(random.u64(..10_000));
        out.number(1);
        out.text(b"producer");
        out.number(nearly(2, random));
        for name in [b"one", b"two"] {
            out.text(name);
            out.number(random.u64(..9));
            out.number(random.u64(..9));
        }
        out.number(2);
        out.number(0);
    }
}

fn group(kind: u8, out: &mut Output<'_>, random: &mut fastrand::Rng) {
    let mut ids: Vec<[u8; 16]> = (0..random.usize(..5)).map(|_| id(random)).collect();
    if random.u8(..4) != 0 {
        ids.sort_unstable();
        ids.dedup();
    }
    out.number(random.u64(..9));
    out.number(0);
    if kind != kinds::STREAM {
        out.number(number(random) as u64);
    }
    out.number(nearly(ids.len(), random));
    for id in &ids {
        out.raw(id);
        out.i64(number(random));
        out.number(random.u64(..3));
    }
    let split = random.usize(..=ids.len());
    let (first, second) = ids.split_at(split);
    // Of a stream with what was given back, the second part may be that.
    let is_given = kind >= kinds::STREAM_5 && random.bool();
    out.number(2);
    for (name, own) in [(b"c1", first), (b"c2", if is_given { &[] } else { second })] {
        out.text(if random.u8(..16) == 0 { b"c1" } else { name });
        out.i64(number(random));
        if kind >= kinds::STREAM_3 {
            out.i64(number(random));
        }
        out.number(nearly(own.len(), random));
        own.iter().for_each(|id| out.raw(id));
    }
    if kind >= kinds::STREAM_5 {
        out.number(if is_given { second.len() as u64 } else { 0 });
        if is_given {
            second.iter().for_each(|id| out.raw(id));
        }
    }
}

/// A file of made-up values.
pub fn file(random: &mut fastrand::Rng) -> Vec<u8> {
    let values: Vec<Vec<u8>> = (0..random.usize(..4)).map(|_| value(random)).collect();
    if random.u8(..4) == 0 {
        seeds::file_of(Version::VALKEY_MIN, Dialect::Valkey, values.iter())
    } else {
        seeds::file_of(Version(random.u16(1..17)), Dialect::Redis, values.iter())
    }
}

/// Codes of libraries.
pub fn functions(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    for _ in 0..random.usize(..4) {
        out.byte([245, 250, 246, 0][random.usize(..4)]);
        out.text(if random.bool() { b"torc-library" } else { b"#!lua name=x" });
        out.text(&text(random));
    }
    bytes
}
