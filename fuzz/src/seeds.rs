//! Bytes that are read without complaint: values of all types and forms, and files of them.

use crate::generate;
use crate::value::Room;
use torc_engine::values::Encodings;
use torc_persistence::crc64;
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::encode::{self, Readers, View};
use torc_persistence::rdb::file::{self, Use};
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version, functions as libraries};

/// What the values are made of.
const LINES: &[&str] = &[
    "SET int 12345",
    "SET text hello",
    "SETRANGE long 300 x",
    "SETBIT bits 7000 1",
    "PFADD sketch a b c d e f",
    "RPUSH list a b 3 -40000 5000000000 c aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "SADD integers 1 -2 70000 5000000000",
    "SADD few a b 3",
    "ZADD scores 1 a -1.5 b inf c -inf d 0.1 e 1e300 f 3 g 3 aa -0 zero",
    "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "HSET fields a 1 b two c 3000000 d 4 e 5 f 6",
    "HSET times a 1 b 2 c 3",
    "HPEXPIREAT times 33000000000000 FIELDS 2 a b",
    "HSET largetimes a 1 b 2 c 3 d 4 e 5 f 6 g 7",
    "HPEXPIREAT largetimes 33000000000000 FIELDS 2 a f",
    "XADD stream 1-1 a 1 b 2",
    "XADD stream 1-2 a 3 b 4",
    "XADD stream 2-0 c text",
    "XADD stream 2-5 a 5 b 6",
    "XDEL stream 1-2",
    "XGROUP CREATE stream g 0",
    "XGROUP CREATE stream h 2-0 ENTRIESREAD 2",
    "XGROUP CREATECONSUMER stream h idle",
    "XREADGROUP GROUP g first COUNT 2 STREAMS stream >",
    "XREADGROUP GROUP g second STREAMS stream >",
    "XADD given 1-1 a 1",
    "XADD given 2-1 a 1",
    "XGROUP CREATE given g 0",
    "XREADGROUP GROUP g c STREAMS given >",
    "XNACK given g FAIL IDS 1 1-1",
    "XADD sent IDMP producer first * a 1",
    "XADD sent IDMP producer second * a 1",
    "XADD sent IDMP other first * a 1",
];

const KEYS: &[&str] = &[
    "int",
    "text",
    "long",
    "bits",
    "sketch",
    "list",
    "integers",
    "few",
    "scores",
    "places",
    "fields",
    "times",
    "largetimes",
    "stream",
    "given",
    "sent",
];

/// What readers may be told to understand.
fn readers() -> [Readers; 3] {
    let of = |version, dialect| Readers { version, dialect };
    [Readers::default(), of(Version::REDIS_MAX, Dialect::Redis), of(Version::VALKEY_MIN, Dialect::Valkey)]
}

/// A room with all values, with high or low thresholds.
fn room(is_low: bool) -> Room {
    let low = Encodings {
        hash_listpack_entries_max: 3,
        set_listpack_entries_max: 2,
        set_intset_entries_max: 2,
        sorted_set_listpack_entries_max: 2,
        list_listpack_size_max: 2,
        stream_node_entries_max: 2,
        hyperloglog_sparse_bytes_max: 10,
        ..Encodings::default()
    };
    let room = Room::new(if is_low { low } else { Encodings::default() });
    for line in LINES {
        let reply = room.line(line);
        assert!(!reply.starts_with(b"-"), "{line}: {}", reply.escape_ascii());
    }
    room
}

/// Kinds and values.
pub fn values() -> Vec<Vec<u8>> {
    let mut found = generate::packed_forms_of_old_servers();
    for (is_low, readers) in [false, true].into_iter().flat_map(|is_low| readers().map(|readers| (is_low, readers))) {
        let room = room(is_low);
        for key in KEYS {
            let value = room.entry(key.as_bytes()).expect("a seed").value;
            let plan = encode::plan(View::of(&value), readers);
            for is_compressed in [false, true] {
                let (mut bytes, mut compressor) = (vec![plan.kind], Compressor::default());
                let compressor = is_compressed.then_some(&mut compressor);
                encode::value(View::of(&value), plan, &mut Output { bytes: &mut bytes, compressor });
                found.push(bytes);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A file of such values.
pub fn file_of<'v>(version: Version, dialect: Dialect, values: impl Iterator<Item = &'v Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    file::write_header(version, dialect, &mut out);
    file::write_aux(b"redis-ver", b"7.0.15", &mut out);
    file::write_aux(b"ctime", b"1700000000", &mut out);
    file::write_function(b"#!lua name=l\nredis.register_function('f', function() end)", &mut out);
    file::write_select(0, &mut out);
    file::write_resize(3, 1, &mut out);
    for (number, value) in values.enumerate() {
        let (at, used) = match number % 3 {
            0 => (Some(33_000_000_000_000), Use::Unknown),
            1 => (None, Use::IdleSeconds(70)),
            _ => (None, Use::Frequency(5)),
        };
        file::write_key(format!("key:{number}").as_bytes(), value[0], at, used, &mut out);
        out.raw(&value[1..]);
        if number == 2 {
            file::write_select(1, &mut out);
        }
    }
    file::write_end(&mut out);
    let sum = crc64::of(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Files: one of each value, and one with many.
pub fn files() -> Vec<Vec<u8>> {
    let values = values();
    let mut found: Vec<_> =
        values.iter().map(|value| file_of(Version::REDIS_MAX, Dialect::Redis, [value].into_iter())).collect();
    found.push(file_of(Version::REDIS_MAX, Dialect::Redis, values.iter()));
    found.push(file_of(Version::VALKEY_MIN, Dialect::Valkey, values.iter().filter(|value| value[0] < 24)));
    found.push(file_of(Version(3), Dialect::Redis, values.iter().filter(|value| value[0] < 4)));
    found
}

/// Libraries.
pub fn functions() -> Vec<Vec<u8>> {
    let long = [&b"#!lua name=long\n"[..], &b"-- abcabcabc\n".repeat(40)].concat();
    let codes: [&[u8]; 2] = [b"#!lua name=short\nredis.register_function('s', function() end)", &long];
    let payload = libraries::write(codes.into_iter(), [&b"#!js name=own\n"[..]].into_iter());
    let mut plain = payload;
    // Version and checksum are put behind it anew.
    plain.truncate(plain.len() - 10);
    vec![plain, Vec::new()]
}
