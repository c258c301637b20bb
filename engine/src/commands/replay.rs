//! Effects make the same data again: random commands on one shard, or on several, and the effects replayed into another.

use super::harness::Shard;
use crate::reply::Protocol;
use std::fmt::Write as _;

pub(super) mod joined;
pub(super) mod told;

/// Everything a server holds, as text.
fn digest(mut run: impl FnMut(&str) -> String) -> String {
    let mut text = String::new();
    for number in 0..KEYS {
        let key = format!("key:{number}");
        let kind = run(&format!("TYPE {key}"));
        let lines = match kind.as_str() {
            "+set\r\n" => run(&format!("SMEMBERS {key}")),
            "+hash\r\n" => run(&format!("HGETALL {key}")),
            "+zset\r\n" => run(&format!("ZRANGE {key} 0 -1 WITHSCORES")),
            "+list\r\n" => run(&format!("LRANGE {key} 0 -1")),
            _ => run(&format!("GET {key}")),
        };
        let mut words: Vec<&str> = lines.split("\r\n").collect();
        if kind != "+list\r\n" {
            words.sort_unstable();
        }
        let times = if kind == "+list\r\n" {
            // Whether it expires: when is told otherwise by some tests.
            (run(&format!("PEXPIRETIME {key}")) == ":-1\r\n").to_string()
        } else if kind == "+hash\r\n" {
            let fields = (0..FIELDS).map(|field| format!("f{field}")).collect::<Vec<_>>().join(" ");
            run(&format!("HPEXPIRETIME {key} FIELDS {FIELDS} {fields}"))
        } else {
            String::new()
        };
        writeln!(text, "{key} {kind} {words:?} {times}").expect("memory");
    }
    text
}

const KEYS: usize = 6;
const FIELDS: usize = 12;

/// Commands of sets and hashes.
const PATTERNS: &[&str] = &[
    "SADD K F F F",
    "SADD K F F F",
    "SADD K 1 2 3 N",
    "SREM K F F",
    "SPOP K",
    "SPOP K 3",
    "SMOVE K K F",
    "SINTERSTORE K K K",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "HSET K F N F text",
    "HSET K F N F text",
    "HSETNX K F N",
    "HDEL K F F F",
    "HINCRBY K F N",
    "HINCRBYFLOAT K F 1.5",
    "HPEXPIRE K N FIELDS 2 F F",
    "HPEXPIREAT K T FIELDS 2 F F",
    "HPERSIST K FIELDS 2 F F",
    "HGETDEL K FIELDS 2 F F",
    "HGETEX K PX N FIELDS 2 F F",
    "HGETEX K PERSIST FIELDS 1 F",
    "HSETEX K PXAT T FIELDS 2 F 1 F 2",
    "HSETEX K KEEPTTL FIELDS 2 F 1 F 2",
    "HSETEX K FNX FIELDS 1 F 3",
];

/// Commands of lists.
const LIST_PATTERNS: &[&str] = &[
    "RPUSH K F F F N",
    "RPUSH K F F",
    "LPUSH K F N",
    "LPUSHX K F F",
    "RPUSHX K N",
    "LPOP K",
    "RPOP K 3",
    "LSET K 1 F",
    "LINSERT K BEFORE F N",
    "LINSERT K AFTER F N",
    "LREM K 0 F",
    "LREM K -1 F",
    "LTRIM K 1 -2",
    "LTRIM K 0 8",
    "LMOVE K K LEFT RIGHT",
    "LMOVE K K RIGHT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 3 K K K RIGHT COUNT 2",
    "LMOVEM K K LEFT LEFT",
    "LMOVEM K K LEFT LEFT COUNT 3 OBO",
    "LMOVEM K K RIGHT RIGHT COUNT 100 OBO",
    "LMOVEM K K LEFT LEFT COUNT 3 BULK",
    "LMOVEM K K LEFT RIGHT COUNT 100 BULK",
    "LMOVEM K K RIGHT LEFT EXACTLY 2 OBO",
    "PEXPIREAT K 99999999999999",
    "PERSIST K",
    "RENAME K K",
    "COPY K K REPLACE",
];

fn random_line(random: &mut fastrand::Rng, patterns: &[&str], now: i64) -> String {
    let pattern = patterns[random.usize(..patterns.len())];
    let words = pattern.split(' ').map(|word| match word {
        "K" => format!("key:{}", random.usize(..KEYS)),
        "F" => format!("f{}", random.usize(..FIELDS)),
        "N" => random.i32(..200).unsigned_abs().to_string(),
        "T" => (now + random.i64(-20..300)).to_string(),
        word => word.to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn effects_make_the_same_data_again() {
    replay(PATTERNS, 1024);
}

#[test]
fn effects_of_what_is_done_in_slices_make_the_same_data_again() {
    replay(PATTERNS, 0);
    replay(LIST_PATTERNS, 0);
}

#[test]
fn effects_of_lists_make_the_same_lists_again() {
    replay(LIST_PATTERNS, 1024);
}

fn replay(patterns: &[&str], units_at_once: u64) {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut shard, mut copy) = (Shard::default(), Shard::default());
    shard.options.encodings.hash_listpack_entries_max = 6;
    shard.options.encodings.set_listpack_entries_max = 6;
    shard.options.encodings.list_listpack_size_max = 6;
    (shard.options.units_at_once, shard.units_a_step) = (units_at_once, 3);
    shard.keyspace.journal.listen(true, &[]);
    for step in 0..20_000 {
        let line = random_line(&mut random, patterns, shard.now);
        shard.run(&line);
        if random.u32(..4) == 0 {
            shard.now += random.i64(0..40);
            shard.keyspace.expire_step(shard.now, random.usize(..100));
        }
        // A log knows no clock: what expires says so itself.
        let (effects, _) = shard.keyspace.journal.take();
        for effect in effects {
            let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
            let reply = copy.execute(Protocol::Resp2, &arguments);
            assert!(!reply.starts_with(b"-"), "{line}: {}", reply.escape_ascii());
        }
        if step % 100 == 0 {
            // All that is due goes now, in both, so that only what stays is compared.
            for number in 0..KEYS {
                shard.run(&format!("HDEL key:{number} none"));
            }
            for effect in shard.keyspace.journal.take().0 {
                let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
                copy.execute(Protocol::Resp2, &arguments);
            }
            assert_eq!(digest(|line| shard.run(line)), digest(|line| copy.run(line)), "after {line}");
        }
    }
    assert!(shard.keyspace.dirty > 5000);
}
