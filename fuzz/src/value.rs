//! Values: the payload of RESTORE, and every command on what was accepted.
//!
//! ```text
//!   payload ──> decode ──> digest ──> DUMP, decode: the same digest, groups, producers
//!                 │
//!                 └──> reads, writes, in an order that the bytes decide; with elements that are there ──> DUMP, decode: the same
//! ```

use crate::memory::bounded;
use std::cell::RefCell;
use torc_engine::command::{EngineOptions, Handler, Table};
use torc_engine::digest::digest_values;
use torc_engine::keyspace::{KeyHasher, OwnedEntry, Value};
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::{ClientContext, Shard};
use torc_engine::values::sorted_set::SortedSetRef;
use torc_engine::values::{Encodings, Type};
use torc_persistence::crc64;
use torc_persistence::rdb::decode::{Decoded, Target};
use torc_persistence::rdb::encode::Readers;
use torc_persistence::rdb::{Dialect, Version, dump};

const NOW: i64 = 1_700_000_000_000;

/// Puts version and checksum behind a kind and a value.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    // Both families, as they disagree about a kind.
    let version = if body.len() % 4 == 3 { Version::VALKEY_MIN } else { Version::REDIS_MAX };
    let mut payload = [body, &version.0.to_le_bytes()].concat();
    let sum = crc64::of(&payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

/// Lines for values of any type. `K` is the key, `M` an element that is there, `N` a number.
const ANY: &[&str] = &[
    "TYPE K",
    "OBJECT ENCODING K",
    "OBJECT IDLETIME K",
    "TTL K",
    "EXISTS K",
    "COPY K copy REPLACE",
    "RENAME K other",
    "RENAME other K",
    "PEXPIRE K 100000",
    "PERSIST K",
    "SORT K ALPHA LIMIT 0 5",
    "SORT K BY nosort GET # STORE sorted",
    "GETRANGE K 0 5",
    "SCAN 0 COUNT 10",
];

const STRINGS: &[&str] = &[
    "GET K",
    "STRLEN K",
    "GETRANGE K -5 N",
    "BITCOUNT K 0 -1",
    "BITPOS K 1",
    "BITFIELD K GET u7 3 SET i9 N 5",
    "PFCOUNT K",
    "PFCOUNT K copy",
    "PFADD K a b c",
    "PFMERGE merged K",
    "PFMERGE K merged",
    "APPEND K abc",
    "SETRANGE K 3 xyz",
    "SETBIT K N 1",
    "INCR K",
    "INCRBYFLOAT K 1.5",
    "LCS K copy LEN",
    "BITOP NOT turned K",
    "GETEX K PERSIST",
    "PFADD K d e f g",
    "PFCOUNT K",
];

const LISTS: &[&str] = &[
    "LLEN K",
    "LRANGE K 0 -1",
    "LINDEX K N",
    "LINDEX K -N",
    "LPOS K M COUNT 0",
    "LINSERT K BEFORE M x",
    "LINSERT K AFTER M 12345",
    "LSET K 0 changed",
    "LSET K N changed",
    "LREM K 1 M",
    "LREM K -2 M",
    "LPUSH K a 1 -1",
    "RPUSH K b 2 99999999999",
    "LMOVE K K LEFT RIGHT",
    "LMOVE K copy RIGHT LEFT",
    "LMPOP 1 K LEFT COUNT 2",
    "RPOP K 2",
    "LPOP K",
    "LTRIM K 1 -2",
    "LRANGE K N -1",
];

const SETS: &[&str] = &[
    "SCARD K",
    "SMEMBERS K",
    "SISMEMBER K M",
    "SMISMEMBER K M 5 none",
    "SRANDMEMBER K -5",
    "SRANDMEMBER K 3",
    "SSCAN K 0 COUNT 10",
    "SINTER K copy",
    "SUNION K copy",
    "SDIFFSTORE rest K copy",
    "SINTERCARD 2 K copy",
    "SADD K M N new -7",
    "SMOVE K moved M",
    "SREM K M none",
    "SPOP K",
    "SPOP K 2",
    "SADD K 5000000000 text",
    "SMEMBERS K",
];

const SORTED_SETS: &[&str] = &[
    "ZCARD K",
    "ZRANGE K 0 -1 WITHSCORES",
    "ZRANGE K N -1 REV",
    "ZSCORE K M",
    "ZRANK K M WITHSCORE",
    "ZREVRANK K M",
    "ZRANGEBYSCORE K -inf +inf WITHSCORES LIMIT 0 9",
    "ZRANGE K [a + BYLEX",
    "ZLEXCOUNT K - +",
    "ZCOUNT K (0 N",
    "ZRANDMEMBER K -4 WITHSCORES",
    "ZSCAN K 0 COUNT 10",
    "GEOSEARCH K FROMLONLAT 1 1 BYRADIUS 30000 km COUNT 4 WITHCOORD WITHDIST",
    "GEOPOS K M",
    "GEOHASH K M",
    "ZUNIONSTORE union 2 K copy WEIGHTS 1 -1",
    "ZINTER 2 K copy WITHSCORES",
    "ZDIFF 2 K union",
    "ZADD K N M 3 new",
    "ZADD K GT CH 7 M",
    "ZINCRBY K 1.5 M",
    "ZINCRBY K -inf M",
    "ZREM K M none",
    "ZPOPMIN K 2",
    "ZPOPMAX K",
    "ZREMRANGEBYRANK K 1 2",
    "ZREMRANGEBYSCORE K (0 1",
    "ZREMRANGEBYLEX K [b [c",
    "ZRANGE K 0 -1 WITHSCORES",
];

const HASHES: &[&str] = &[
    "HLEN K",
    "HGETALL K",
    "HKEYS K",
    "HVALS K",
    "HGET K M",
    "HMGET K M none",
    "HEXISTS K M",
    "HSTRLEN K M",
    "HRANDFIELD K -3 WITHVALUES",
    "HSCAN K 0 COUNT 10",
    "HPTTL K FIELDS 2 M none",
    "HEXPIRE K 100 FIELDS 1 M",
    "HPEXPIREAT K 1 FIELDS 1 none",
    "HSET K M N new value",
    "HSETNX K M 1",
    "HINCRBY K M 3",
    "HINCRBYFLOAT K M 1.5",
    "HGETEX K PX 5000 FIELDS 1 M",
    "HPERSIST K FIELDS 1 M",
    "HGETDEL K FIELDS 1 M",
    "HDEL K M none",
    "HGETALL K",
];

const STREAMS: &[&str] = &[
    "XLEN K",
    "XRANGE K - +",
    "XREVRANGE K + - COUNT 5",
    "XREAD COUNT 3 STREAMS K 0",
    "XINFO STREAM K",
    "XINFO STREAM K FULL",
    "XINFO GROUPS K",
    "XINFO CONSUMERS K G",
    "XPENDING K G",
    "XPENDING K G - + 10",
    "XREADGROUP GROUP G c1 COUNT 2 STREAMS K >",
    "XREADGROUP GROUP G c1 STREAMS K 0",
    "XCLAIM K G c2 0 M",
    "XAUTOCLAIM K G c3 0 0 COUNT 5",
    "XACK K G M",
    "XGROUP CREATE K made 0",
    "XGROUP SETID K G $",
    "XGROUP CREATECONSUMER K G late",
    "XGROUP DELCONSUMER K G c1",
    "XNACK K G FAIL IDS 1 M",
    "XADD K * f 1 g 2",
    "XADD K IDMP producer one * f 1",
    "XDEL K M",
    "XDELEX K ACKED IDS 1 M",
    "XACKDEL K G KEEPREF IDS 1 M",
    "XTRIM K MAXLEN 3",
    "XSETID K 18446744073709551615-18446744073709551614",
    "XADD K * f 1",
    "XADD K MAXLEN = 1 * f 1",
    "XGROUP DESTROY K G",
    "XINFO STREAM K FULL COUNT 0",
];

/// What a digest does not show.
const ASIDE: &[&str] = &["XINFO GROUPS K", CONSUMERS, "XPENDING K G - + 1000", "HPTTL K FIELDS 1 M", "XLEN K"];
const CONSUMERS: &str = "XINFO CONSUMERS K G";

/// A reply to [`CONSUMERS`] without how long each was inactive.
fn without_activity(reply: &[u8]) -> Vec<u8> {
    let mut lines = reply.split(|byte| *byte == b'\n');
    let mut told = Vec::new();
    while let Some(line) = lines.next() {
        told.push(line);
        if line == b"inactive\r" {
            lines.next();
        }
    }
    told.join(&b'\n')
}

/// A shard with a table of commands, and one key of interest.
pub struct Room {
    shard: RefCell<Shard>,
    table: Table<Handler>,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(Encodings::default())
    }
}

impl Room {
    /// With these thresholds.
    pub fn new(encodings: Encodings) -> Self {
        let options = EngineOptions { encodings, ..EngineOptions::default() };
        let mut shard = Shard::new(1, KeyHasher::with_seed(1), options, 1);
        shard.advance_time(NOW);
        let table = Table::new(torc_engine::commands::all().map(|command| (&command.spec, command.run)));
        Self { shard: RefCell::new(shard), table }
    }

    /// Runs a command; its reply.
    pub fn run(&self, words: &[&[u8]]) -> Vec<u8> {
        let mut out = ReplyBuffer::default();
        match self.table.resolve(words) {
            Err(error) => panic!("{:?}: {}", words[0].escape_ascii().to_string(), error.to_text()),
            Ok((_, run)) => {
                self.shard.borrow_mut().execute(*run, words, ClientContext::default(), NOW, &mut out);
            }
        }
        assert!(!out.is_empty(), "{} has no reply", words[0].escape_ascii());
        out.flatten()
    }

    /// Runs a line of words.
    pub fn line(&self, line: &str) -> Vec<u8> {
        self.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// What a key has.
    pub fn entry(&self, key: &[u8]) -> Option<OwnedEntry> {
        let shard = self.shard.borrow();
        let key = shard.keyspace.key(key);
        shard.keyspace.peek(0, &key, NOW).map(|entry| entry.to_owned())
    }

    fn read(&self, payload: &[u8]) -> Option<Value> {
        let shard = self.shard.borrow();
        let target = Target {
            limits: &shard.options.encodings,
            hasher: shard.keyspace.member_hasher(),
            dialect: Dialect::Redis,
        };
        match bounded(payload.len(), || dump::read(payload, target)) {
            Some(Ok(Decoded::Value(value))) => Some(value),
            Some(Ok(Decoded::Empty) | Err(_)) | None => None,
        }
    }

    fn put(&self, key: &[u8], value: Value, expires_at: Option<i64>) {
        let mut shard = self.shard.borrow_mut();
        let key = shard.keyspace.key(key);
        shard.keyspace.arrive(0, &key, OwnedEntry::new(value, expires_at), NOW);
    }

    fn digest(&self, key: &[u8]) -> Vec<u8> {
        let mut out = ReplyBuffer::default();
        self.shard.borrow_mut().execute(digest_values, &[b"digest", key], ClientContext::default(), NOW, &mut out);
        out.flatten()
    }

    /// A value of a file: whether it was accepted.
    pub fn decode(&self, kind: u8, value: &[u8]) -> bool {
        self.read(&sealed(&[&[kind], value].concat())).is_some()
    }

    /// What is there comes back from bytes as it was, but for -0: a small sorted set knows none, in the real server neither, so one that
    /// was large forgets the sign as it comes back.
    fn comes_back(&self, words: &Words<'_>) {
        for readers in [Readers::default(), Readers { version: Version::VALKEY_MIN, dialect: Dialect::Valkey }] {
            let Some(OwnedEntry { value, expires_at, .. }) = self.entry(KEY) else { return };
            if has_negative_zero(&value) {
                return;
            }
            let payload = dump::write(&value, readers, None);
            let again = self.read(&payload).expect("what was written is read");
            assert_eq!(again.kind(), value.kind());
            self.put(b"again", again, expires_at);
            let [was, is] = [KEY, b"again"].map(|key| String::from_utf8_lossy(&self.digest(key)).into_owned());
            assert_eq!(is, was, "another value comes back: {}", payload.escape_ascii());
            let of_valkey = readers.dialect == Dialect::Valkey;
            for line in if of_valkey { &[CONSUMERS][..] } else { ASIDE } {
                let told = |key: &[u8]| {
                    let reply = self.run(&words.of(line, key));
                    // Older versions do not keep when consumers were active.
                    if *line == CONSUMERS && !of_valkey { without_activity(&reply) } else { reply }
                };
                let [was, is] = [KEY, b"again"].map(told);
                // Errors name the key.
                if was.starts_with(b"-") && is.starts_with(b"-") {
                    continue;
                }
                assert_eq!(was, is, "{line}: {} {}", was.escape_ascii(), is.escape_ascii());
            }
        }
    }
}

const KEY: &[u8] = b"key";

/// What stands for what in a line.
struct Words<'a> {
    elements: &'a [Vec<u8>],
    group: Vec<u8>,
    number: String,
    turn: usize,
}

impl<'a> Words<'a> {
    fn of(&'a self, line: &'a str, key: &'a [u8]) -> Vec<&'a [u8]> {
        line.split(' ')
            .map(|word| match word {
                "K" => key,
                "M" if self.elements.is_empty() => b"1-1",
                "M" => &self.elements[self.turn % self.elements.len()],
                "G" => &self.group,
                "N" => self.number.as_bytes(),
                "-N" => b"-2",
                word => word.as_bytes(),
            })
            .collect()
    }
}

/// The texts of a reply, some of them.
fn texts(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = reply;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        rest = &rest[at + 1..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\r') else { break };
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| digits.parse::<usize>().ok());
        if let Some(text) = length.and_then(|length| rest.get(end + 2..)?.get(..length)) {
            found.push(text.to_vec());
            rest = &rest[end + 2 + text.len()..];
        }
        if found.len() == 16 {
            break;
        }
    }
    found
}

/// How elements are asked for, and the lines of a type.
fn lines_of(kind: Type) -> (&'static str, &'static [&'static str]) {
    match kind {
        Type::String => ("STRLEN key", STRINGS),
        Type::List => ("LRANGE key 0 20", LISTS),
        Type::Set => ("SRANDMEMBER key 20", SETS),
        Type::SortedSet => ("ZRANGE key 0 20", SORTED_SETS),
        Type::Hash => ("HKEYS key", HASHES),
        Type::Stream => ("XRANGE key - + COUNT 8", STREAMS),
    }
}

fn has_negative_zero(value: &Value) -> bool {
    let is_negative_zero = |score: f64| score == 0.0 && score.is_sign_negative();
    value.kind() == Type::SortedSet
        && SortedSetRef::new(value.packed_bytes(), value.object()).iter().any(|one| is_negative_zero(one.score))
}

/// Small nodes and trees, so that few elements reach them.
fn low() -> Encodings {
    Encodings {
        hash_listpack_entries_max: 4,
        set_listpack_entries_max: 4,
        set_intset_entries_max: 4,
        sorted_set_listpack_entries_max: 4,
        list_listpack_size_max: 3,
        stream_node_entries_max: 3,
        ..Encodings::default()
    }
}

/// Reads a kind and a value; uses what was accepted.
pub fn check(body: &[u8]) {
    let room = Room::new(if body.len().is_multiple_of(2) { Encodings::default() } else { low() });
    let Some(value) = room.read(&sealed(body)) else { return };
    let kind = value.kind();
    room.put(KEY, value, None);
    let (ask, lines) = lines_of(kind);
    let elements = texts(&room.line(ask));
    let group = texts(&room.run(&[b"XINFO", b"GROUPS", KEY])).get(1).cloned().unwrap_or_else(|| b"made".to_vec());
    let mut random = fastrand::Rng::with_seed(crc64::of(body));
    let mut words = Words { elements: &elements, group, number: random.i32(-3..200).to_string(), turn: 0 };
    room.comes_back(&words);
    // As they stand first, then as it comes.
    let in_turn = lines.iter().chain(ANY);
    let order: Vec<&str> = if random.bool() {
        in_turn.copied().collect()
    } else {
        let all: Vec<&str> = in_turn.copied().collect();
        (0..all.len()).map(|_| all[random.usize(..all.len())]).collect()
    };
    for line in order {
        words.turn += random.usize(..3);
        room.run(&words.of(line, KEY));
    }
    room.comes_back(&words);
    // Whatever is left goes.
    room.run(&[b"DEL", KEY, b"copy", b"again"]);
    while room.shard.borrow_mut().keyspace.collect_garbage(1 << 20) {}
}
