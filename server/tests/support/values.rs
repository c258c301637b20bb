//! Values of all types and forms, made by commands that 7.0 knows.

use super::{Client, encode, words};

/// Thresholds under which small values are large.
const LOW: &[&str] = &[
    "--hash-max-listpack-entries",
    "3",
    "--set-max-intset-entries",
    "3",
    "--zset-max-listpack-entries",
    "3",
    "--list-max-listpack-size",
    "3",
    "--stream-node-max-entries",
    "3",
    "--hll-sparse-max-bytes",
    "100",
];

pub fn arguments(is_low: bool) -> Vec<&'static str> {
    let debug = ["--enable-debug-command", "yes"];
    debug.into_iter().chain(LOW.iter().copied().filter(|_| is_low)).collect()
}

/// Commands that make values of all types and forms, each named by its key. 7.0 knows all of them.
pub fn commands() -> Vec<Vec<Vec<u8>>> {
    let mut lines: Vec<Vec<Vec<u8>>> = [
        "SET int 12345",
        "SET negative -129",
        "SET wide 9223372036854775807",
        "SET digits 00123",
        "SET empty ''",
        "APPEND raw short",
        "SET expiring soon PXAT 33000000000000",
        "RPUSH list a b 3 -40000 5000000000 c",
        "SADD integers 1 -2 70000 5000000000",
        "SADD few a b 3",
        "ZADD scores 1 a -1.5 b inf c -inf d 0.1 e 1e300 f 3 g 3 aa -0 zero",
        "ZADD one 1 a",
        "HSET fields a 1 b two c 3000000",
        "HSET field a 1",
        "PFADD sketch a b c d e f",
        "SETBIT bits 70000 1",
        "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "XADD stream 1-1 a 1 b 2",
        "XADD stream 1-2 a 3 b 4",
        "XADD stream 2-0 c text",
        "XADD stream 2-5 a 5 b 6",
        "XADD stream 9-0 a 5 b 6",
        "XDEL stream 1-2",
        "XGROUP CREATE stream g 0",
        "XGROUP CREATE stream h 2-0 ENTRIESREAD 2",
        "XGROUP CREATECONSUMER stream h idle",
        "XREADGROUP GROUP g first COUNT 2 STREAMS stream >",
        "XREADGROUP GROUP g second STREAMS stream >",
        "XACK stream g 1-1",
        "XGROUP CREATE bare g $ MKSTREAM",
        "XADD gone 5-5 a b",
        "XDEL gone 5-5",
    ]
    .iter()
    .map(|line| words(line))
    .collect();
    let repeated = b"abcdefgh".repeat(4000);
    let noise: Vec<u8> = (0..100_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, text) in [("repeated", &repeated), ("noise", &noise)] {
        lines.push(vec![b"SET".to_vec(), name.into(), text.clone()]);
        lines.push(vec![b"RPUSH".to_vec(), b"long".to_vec(), b"before".to_vec(), text.clone(), b"behind".to_vec()]);
        lines.push(vec![b"HSET".to_vec(), b"large".to_vec(), name.into(), text.clone()]);
        lines.push(vec![b"SADD".to_vec(), b"texts".to_vec(), text.clone()]);
    }
    for first in (0..3000).step_by(500) {
        let numbers = first..first + 500;
        let add = |name: &str, key: &str, words: &dyn Fn(u32) -> Vec<Vec<u8>>| {
            let head = [name.as_bytes().to_vec(), key.as_bytes().to_vec()];
            head.into_iter().chain(numbers.clone().flat_map(words)).collect::<Vec<_>>()
        };
        lines.push(add("RPUSH", "many", &|number| vec![format!("element {number}").into_bytes()]));
        lines.push(add("SADD", "members", &|number| vec![format!("member {number}").into_bytes()]));
        lines.push(add("SADD", "numbers", &|number| vec![(number * number).to_string().into_bytes()]));
        lines.push(add("HSET", "hash", &|number| {
            vec![format!("field {number}").into_bytes(), number.to_string().into_bytes()]
        }));
        lines.push(add("ZADD", "sorted", &|number| {
            vec![format!("{}", f64::from(number) / 7.0).into_bytes(), format!("member {number}").into_bytes()]
        }));
        lines.push(add("PFADD", "dense", &|number| vec![number.to_string().into_bytes()]));
        lines.extend(numbers.map(|number| words(&format!("XADD log {}-1 a {number} b x", number + 1))));
    }
    lines
}

pub fn fill(client: &mut Client) {
    for words in commands() {
        client.send(&encode(&words));
        let reply = client.reply();
        assert!(!reply.is_error(), "{}: {reply}", words[0].escape_ascii());
    }
}
