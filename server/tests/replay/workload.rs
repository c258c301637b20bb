//! Random commands of every family, most of which change something.
//!
//! A pattern is a command whose words that begin with `%` are filled in: by a key of a type (now and then of another), an
//! element, a number, a time around now. The commands that are not known to Redis 7.0 as such, but whose effects are,
//! stand among the others; those with effects of their own ([`NEWER`]) are apart.

use super::cluster::Words;
use proptest::prelude::*;

/// One command of a workload.
#[derive(Clone, Debug)]
pub struct Choice {
    pub connection: usize,
    pub pattern: u32,
    pub dice: u64,
    /// How many turns are taken before the next.
    pub turns: usize,
    pub wait_ms: u64,
}

/// A workload.
pub fn choices(connections: usize) -> impl Strategy<Value = Vec<Choice>> {
    let wait_ms = prop_oneof![20 => Just(0), 4 => 1..5u64, 1 => 5..300u64];
    let turns = prop_oneof![3 => Just(0usize), 2 => 1..8usize, 1 => 8..60usize];
    let choice = (0..connections, any::<u32>(), any::<u64>(), turns, wait_ms)
        .prop_map(|(connection, pattern, dice, turns, wait_ms)| Choice { connection, pattern, dice, turns, wait_ms });
    prop::collection::vec(choice, 1..400)
}

/// Names of keys, by type; each has so many.
const KEYS_A_TYPE: u32 = 5;

const TYPES: &[u8] = b"snbplthzgxy";

/// Every name that a key may have.
pub fn names() -> impl Iterator<Item = Vec<u8>> {
    TYPES
        .iter()
        .flat_map(|letter| (0..KEYS_A_TYPE).map(|number| format!("{}{number}", char::from(*letter)).into_bytes()))
}

/// Commands whose effects are of Redis 7.0.
const PATTERNS: &[&str] = &[
    // Strings.
    "SET %s %v",
    "SET %s %v PX %d",
    "SET %s %v EX %e NX",
    "SET %s %v XX GET KEEPTTL",
    "SET %s %v PXAT %a",
    "SET %n %i",
    "SETEX %s %e %v",
    "PSETEX %s %d %v",
    "SETNX %s %v",
    "GETSET %s %v",
    "GETDEL %s",
    "GETEX %s PX %d",
    "GETEX %s PXAT %a",
    "GETEX %s PERSIST",
    "APPEND %s %v",
    "SETRANGE %s %o %v",
    "INCR %n",
    "DECR %n",
    "INCRBY %n %i",
    "DECRBY %n %i",
    "INCRBYFLOAT %n %r",
    "INCREX %n BYINT %i EX %e",
    "INCREX %n BYFLOAT %r",
    "MSET %s %v %n %i %s %v",
    "MSETNX %s %v %n %i",
    "MSETEX 2 %s %v %s %v PX %d",
    "MSETEX 3 %s %v %n %i %s %v KEEPTTL",
    "MSETEX 2 %s %v %s %v XX",
    "DELEX %s IFEQ %v",
    "DELEX %s",
    "DELIFEQ %s %v",
    "GET %k",
    // Bits.
    "SETBIT %b %o 1",
    "SETBIT %b %o 0",
    "BITFIELD %b SET u8 %o %i INCRBY i5 #%c %i",
    "BITFIELD %b OVERFLOW FAIL INCRBY u4 %o %i",
    "BITOP AND %b %b %b",
    "BITOP XOR %b %b %s %b",
    "BITOP NOT %b %b",
    "BITOP DIFF %b %b %b",
    "BITOP ONE %b %b %b %b",
    // Cardinalities.
    "PFADD %p %f %f %f",
    "PFADD %p %v %i %v",
    "PFADD %p",
    "PFCOUNT %p",
    "PFCOUNT %p %p",
    "PFMERGE %p %p %p",
    "PFDEBUG TODENSE %p",
    // Keys.
    "DEL %k %k %k",
    "DEL %k",
    "UNLINK %k %k",
    "EXPIRE %k %e",
    "PEXPIRE %k %d",
    "PEXPIRE %k %d GT",
    "PEXPIRE %k %d NX",
    "PEXPIREAT %k %a",
    "EXPIREAT %k %A",
    "PERSIST %k",
    "RENAME %k %k",
    "RENAMENX %k %k",
    "COPY %k %k",
    "COPY %k %k REPLACE",
    "COPY %k %k DB 1 REPLACE",
    "MOVE %k 1",
    "TOUCH %k %k",
    "SELECT %d1",
    "SELECT 0",
    "TYPE %k",
    // Lists.
    "RPUSH %l %f %f %v",
    "LPUSH %l %f %i",
    "RPUSH %l %v %v %f %f %f %i",
    "LPUSHX %l %f",
    "RPUSHX %l %f %f",
    "LPOP %l",
    "RPOP %l %c",
    "LSET %l %c %v",
    "LINSERT %l BEFORE %f %v",
    "LINSERT %l AFTER %f %f",
    "LREM %l %c %f",
    "LREM %l -1 %f",
    "LTRIM %l %c -%c",
    "LTRIM %l 0 20",
    "LMOVE %l %l LEFT RIGHT",
    "LMOVE %l %l RIGHT LEFT",
    "RPOPLPUSH %l %l",
    "LMPOP 2 %l %l LEFT COUNT %c",
    "LMOVEM %l %l LEFT LEFT COUNT 3 OBO",
    "LMOVEM %l %l RIGHT RIGHT COUNT 100 BULK",
    // Sets.
    "SADD %t %f %f %f",
    "SADD %t %i %i",
    "SADD %t %v %i %f",
    "SREM %t %f %f %i",
    "SPOP %t",
    "SPOP %t %c",
    "SMOVE %t %t %f",
    "SINTERSTORE %t %t %t",
    "SUNIONSTORE %t %t %t %t",
    "SUNIONSTORE %t %t %t",
    "SDIFFSTORE %t %t %t",
    // Hashes.
    "HSET %h %f %v %f %i",
    "HSET %h %f %f %f %f %f %f",
    "HMSET %h %f %v %v %f",
    "HSETNX %h %f %v",
    "HDEL %h %f %f %f",
    "HINCRBY %h %f %i",
    "HINCRBYFLOAT %h %f %r",
    "HGETDEL %h FIELDS 2 %f %f",
    // Sorted sets.
    "ZADD %z %r %f %r %f %r %v",
    "ZADD %z %i %f %r %f",
    "ZADD %z NX CH %r %f %i %f",
    "ZADD %z XX GT %i %f %i %f",
    "ZADD %z INCR %r %f",
    "ZINCRBY %z %r %f",
    "ZREM %z %f %f",
    "ZPOPMIN %z %c",
    "ZPOPMAX %z",
    "ZMPOP 2 %z %z MAX COUNT %c",
    "ZREMRANGEBYRANK %z %c -3",
    "ZREMRANGEBYSCORE %z 10 %i",
    "ZREMRANGEBYLEX %z [f1 [f3",
    "ZUNIONSTORE %z 2 %z %z WEIGHTS 2 %r",
    "ZUNIONSTORE %z 3 %z %t %g AGGREGATE MIN",
    "ZINTERSTORE %z 2 %z %t AGGREGATE MAX",
    "ZDIFFSTORE %z 2 %z %z",
    "ZRANGESTORE %z %z 0 %c",
    "ZRANGESTORE %z %z -inf 50 BYSCORE LIMIT 1 5",
    // Places.
    "GEOADD %g 13.361389 38.115556 %f 15.087269 37.502669 %f",
    "GEOADD %g CH 2.5 -%c.25 %f",
    "GEOSEARCHSTORE %g %g FROMLONLAT 15 37 BYRADIUS 200 km",
    "GEOSEARCHSTORE %g %g FROMMEMBER %f BYBOX 400 400 km STOREDIST COUNT 3",
    "GEORADIUS %g 15 37 300 km STORE %g",
    "GEORADIUSBYMEMBER %g %f 100 km STOREDIST %z",
    "ZREM %g %f",
    // Sorting.
    "SORT %l ALPHA STORE %l",
    "SORT %l ALPHA DESC LIMIT 1 4 STORE %l",
    "SORT %t ALPHA STORE %l",
    "SORT %z BY nosort STORE %l",
    "SORT %t BY s* GET # GET n* ALPHA STORE %l",
    // Streams.
    "XADD %x * %f %v",
    "XADD %x * %f %v %f %f",
    "XADD %x %I %f %v",
    "XADD %x MAXLEN %c * %f %f",
    "XADD %x MAXLEN ~ 5 * %f %f",
    "XADD %x NOMKSTREAM MINID = %I * %f %f",
    "XADD %y %J %f %v",
    "XADD %y %J %f %f %v %v",
    "XADD %y %J %f %f %v %v",
    "XTRIM %y MAXLEN %c",
    "XTRIM %y MINID %I",
    "XTRIM %y MAXLEN ~ 3 LIMIT 2",
    "XDEL %y %I %I %I",
    "XDELEX %y DELREF IDS 2 %I %I",
    "XDELEX %y ACKED IDS 2 %I %I",
    "XACKDEL %y %G DELREF IDS 2 %I %I",
    "XACKDEL %y %G IDS 2 %I %I",
    "XSETID %y %J",
    "XSETID %y %J ENTRIESADDED 900 MAXDELETEDID %I",
    "XGROUP CREATE %y %G 0 MKSTREAM",
    "XGROUP CREATE %x %G $",
    "XGROUP CREATE %y %G %I ENTRIESREAD 3",
    "XGROUP SETID %y %G %I",
    "XGROUP SETID %y %G $ ENTRIESREAD 7",
    "XGROUP DESTROY %y %G",
    "XGROUP CREATECONSUMER %y %G %C",
    "XGROUP DELCONSUMER %y %G %C",
    "XREADGROUP GROUP %G %C COUNT %c STREAMS %y >",
    "XREADGROUP GROUP %G %C STREAMS %y %x > >",
    "XREADGROUP GROUP %G %C COUNT 2 NOACK STREAMS %y >",
    "XREADGROUP GROUP %G %C STREAMS %y %I",
    "XACK %y %G %I %I %I",
    "XCLAIM %y %G %C 0 %I %I",
    "XCLAIM %y %G %C 0 %I FORCE IDLE 10 RETRYCOUNT 4",
    "XCLAIM %y %G %C 0 %I JUSTID LASTID %I",
    "XAUTOCLAIM %y %G %C 0 0",
    "XAUTOCLAIM %y %G %C 5 %I COUNT 2 JUSTID",
];

/// Whole databases: seldom, or nothing would ever be left.
const SWEEPING: &[&str] = &["FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "FLUSHALL ASYNC", "SWAPDB 1 2"];

/// Commands whose effects Redis 7.0 does not know: times of fields, idempotent entries, entries given back.
const NEWER: &[&str] = &[
    "HEXPIRE %h %e FIELDS 2 %f %f",
    "HPEXPIRE %h %d FIELDS 2 %f %f",
    "HPEXPIREAT %h %a FIELDS 3 %f %f %f",
    "HEXPIREAT %h %A FIELDS 1 %f",
    "HPEXPIRE %h %d GT FIELDS 2 %f %f",
    "HPERSIST %h FIELDS 2 %f %f",
    "HGETEX %h PX %d FIELDS 2 %f %f",
    "HGETEX %h PERSIST FIELDS 2 %f %f",
    "HSETEX %h PX %d FIELDS 2 %f %v %f %v",
    "HSETEX %h KEEPTTL FIELDS 2 %f %v %f %v",
    "HSETEX %h FNX EX %e FIELDS 1 %f %v",
    "HSET %h %f %v %f %v",
    "HDEL %h %f %f",
    "HINCRBY %h %f %i",
    "XADD %y IDMP %C %f * %f %v",
    "XADD %y IDMPAUTO %C * %f %f",
    "XCFGSET %y IDMP-DURATION 10 IDMP-MAXSIZE 3",
    "XNACK %y %G FAIL IDS 2 %I %I",
    "XNACK %y %G SILENT IDS 2 %I %I",
    "XNACK %y %G FATAL IDS 1 %I FORCE",
];

/// The command that a choice stands for. `count` is its number in the workload.
pub fn words(choice: &Choice, count: usize, now_ms: i64, with_newer: bool) -> Words {
    let mut random = fastrand::Rng::with_seed(choice.dice);
    let pattern = if random.u32(..150) == 0 {
        SWEEPING[choice.pattern as usize % SWEEPING.len()]
    } else if with_newer && random.u32(..3) == 0 {
        NEWER[choice.pattern as usize % NEWER.len()]
    } else {
        PATTERNS[choice.pattern as usize % PATTERNS.len()]
    };
    pattern.split(' ').map(|word| fill(word, &mut random, count, now_ms)).collect()
}

fn fill(word: &str, random: &mut fastrand::Rng, count: usize, now_ms: i64) -> Vec<u8> {
    let Some((before, name)) = word.split_once('%') else { return word.as_bytes().to_vec() };
    let letter = name.as_bytes()[0];
    let rest = &name[1..];
    let key = |random: &mut fastrand::Rng, letter: u8| {
        let other = TYPES[random.usize(..TYPES.len())];
        let letter = if letter == b'k' || random.u32(..60) == 0 { other } else { letter };
        format!("{}{}", char::from(letter), random.u32(..KEYS_A_TYPE)).into_bytes()
    };
    // Streams whose IDs are given have small ones, which are known.
    let newest = 1 + count as u64 / 4;
    let text = match letter {
        b'd' if rest == "1" => random.u32(..3).to_string(),
        b's' | b'n' | b'b' | b'p' | b'l' | b't' | b'h' | b'z' | b'g' | b'x' | b'y' | b'k' => {
            return key(random, letter);
        }
        b'v' => return value(random),
        b'f' => format!("f{}", random.u32(..14)),
        b'i' => random.i32(-300..300).to_string(),
        b'r' => [random.i32(-50..50).to_string(), format!("{:.3}", random.f64() * 100.0 - 50.0), "1e-3".to_owned()]
            [random.usize(..3)]
        .clone(),
        b'c' => random.u32(..5).to_string(),
        b'o' => random.u32(..900).to_string(),
        b'd' => random.i64(1..2_000).to_string(),
        b'e' => random.u32(1..5).to_string(),
        b'a' => (now_ms + random.i64(-20..1_000)).to_string(),
        b'A' => (now_ms / 1000 + random.i64(-1..3)).to_string(),
        b'I' => format!("{}-{}", random.u64(..=newest), random.u32(..2)),
        b'J' => format!("{newest}-*"),
        b'G' => format!("g{}", random.u32(..2)),
        b'C' => format!("c{}", random.u32(..3)),
        _ => unreachable!("no such word: {word}"),
    };
    format!("{before}{text}").into_bytes()
}

/// A text of any kind: short, long, a number, not text at all.
fn value(random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u32(..12) {
        0 => Vec::new(),
        1 => random.i64(..).to_string().into_bytes(),
        2 => vec![b'l'; random.usize(40..120)],
        3 => vec![random.alphanumeric() as u8; random.usize(300..3000)],
        4 => (0..random.usize(..20)).map(|_| random.u8(..)).collect(),
        5 => b"\r\n$3\r\n\0\xff".to_vec(),
        6 => random.f64().to_string().into_bytes(),
        _ => format!("v{}", random.u32(..30)).into_bytes(),
    }
}
