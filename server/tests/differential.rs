//! Random commands against the real server, and against ours on one, two and five shards: every reply must be the same,
//! to the byte. Few keys, so that commands meet; pipelines, so that order matters; both protocols; several connections.
//!
//! ```text
//!   case = batches;  batch = (connection 0..3, commands sent in one write, between MULTI and EXEC or not)
//!   each server: FLUSHALL, then batch by batch: send all, read all replies
//! ```
//! What differs from run to run is left out (RANDOMKEY, times that count down are seen as "some"), and what has no order
//! is sorted (KEYS). A case that fails is made smaller; `PROPTEST_CASES` asks for more of them.

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use support::{Client, Reply, Server, encode};

type Command = Vec<Vec<u8>>;

/// Connections of a case; odd ones speak RESP3.
const CONNECTIONS: usize = 3;

#[derive(Clone)]
struct Batch {
    connection: usize,
    /// It is a transaction, and watches these keys.
    watched: Option<Vec<String>>,
    commands: Vec<Command>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.commands.iter().map(shown).collect();
        let watched = self.watched.as_ref().map_or(String::new(), |keys| format!("MULTI, watching {keys:?}: "));
        write!(f, "connection {}: {watched}{}", self.connection, lines.join("; "))
    }
}

/// A command on one line.
fn shown(command: &Command) -> String {
    command.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect::<Vec<_>>().join(" ")
}

/// Keys that live on different shards, and two that share one by their hashtag.
const KEYS: &[&str] = &["a", "b", "c", "d", "{a}x", "{a}y", "key:1", "key:2"];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "10",
    "9223372036854775807",
    "-9223372036854775808",
    "3.25",
    "1e3",
    "text",
    "ohmytext",
    "mynewtext",
    "a somewhat longer value that fits no small room of any kind",
    "\0\r\n",
    "007",
    " 1",
];
/// Members and fields: few, so that collections meet; numbers of every width; texts that a packed collection does not take.
const MEMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "-7",
    "300",
    "70000",
    "9223372036854775807",
    "9223372036854775808",
    "01",
    "",
    "a",
    "b",
    "text",
    "a somewhat longer member that fits no small room of any kind, nor a packed set",
];
const NUMBERS: &[&str] =
    &["0", "1", "-1", "2", "5", "-3", "100", "9223372036854775807", "-9223372036854775808", "x", "1.5", ""];
const SCORES: &[&str] = &["0", "1", "2", "2", "-1", "1.5", "1e3", "inf", "-inf", "x", "nan", "9007199254740993"];
/// Degrees: few, so that places meet, and some at the borders.
const LONGITUDES: &[&str] = &["0", "13.361389", "15.087269", "-0.1", "180", "-180", "179.999"];
const LATITUDES: &[&str] = &["0", "38.115556", "37.502669", "0.1", "85.05112878", "-85.05112878", "-84"];
/// Seconds that are far away, so that no clock is met; and one that is long past.
const MOMENTS: &[&str] = &["33177117420", "33177117421", "33177117999"];

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_string)
}

fn key() -> impl Strategy<Value = String> {
    word(KEYS)
}

/// A command from a pattern: `K` a key, `K+` some keys, `P+` some pairs, `V` a value, `M` a member, `M+` some members, `F+`
/// some members with values, `P2` longitude and latitude, `S` a score, `S+` some members behind their scores, `N` a number,
/// `I` an entry's ID, `T` a moment, `D` a database, `[...]` one of these or nothing; anything else stands for itself.
fn command(pattern: &'static str) -> BoxedStrategy<Vec<String>> {
    let pieces = pattern.split(' ').map(|piece| -> BoxedStrategy<Vec<String>> {
        let one = |strategy: BoxedStrategy<String>| strategy.prop_map(|word| vec![word]).boxed();
        match piece {
            "K" => one(key().boxed()),
            "V" => one(word(VALUES).boxed()),
            "M" => one(word(MEMBERS).boxed()),
            "M+" => proptest::collection::vec(word(MEMBERS), 1..6).boxed(),
            "F+" => proptest::collection::vec((word(MEMBERS), word(VALUES)), 1..5)
                .prop_map(|pairs| pairs.into_iter().flat_map(|(field, value)| [field, value]).collect())
                .boxed(),
            "S" => one(word(SCORES).boxed()),
            "S+" => proptest::collection::vec((word(&SCORES[..9]), word(MEMBERS)), 1..6)
                .prop_map(|pairs| pairs.into_iter().flat_map(|(score, member)| [score, member]).collect())
                .boxed(),
            "P2" => (word(LONGITUDES), word(LATITUDES)).prop_map(|(x, y)| vec![x, y]).boxed(),
            "N" => one(word(NUMBERS).boxed()),
            "I" => one((0..60u32, 0..3u32).prop_map(|(ms, sequence)| format!("{ms}-{sequence}")).boxed()),
            "T" => one(word(MOMENTS).boxed()),
            "D" => one(word(&["0", "1", "2", "15", "16", "x"]).boxed()),
            "K+" => proptest::collection::vec(key(), 1..5).boxed(),
            "P+" => proptest::collection::vec((key(), word(VALUES)), 1..5)
                .prop_map(|pairs| pairs.into_iter().flat_map(|(key, value)| [key, value]).collect())
                .boxed(),
            _ => match piece.strip_prefix('[').and_then(|piece| piece.strip_suffix(']')) {
                Some(choices) => {
                    let choices: Vec<Vec<String>> = choices
                        .split('|')
                        .map(|choice| choice.split('_').filter(|word| !word.is_empty()).map(str::to_string).collect())
                        .collect();
                    proptest::sample::select(choices).boxed()
                }
                None => Just(vec![piece.to_string()]).boxed(),
            },
        }
    });
    pieces.collect::<Vec<_>>().prop_map(|words| words.concat()).boxed()
}

const PATTERNS: &[(u32, &str)] = &[
    (4, "SET K V"),
    (3, "SET K V [|NX|XX|GET|NX_GET|XX_GET|KEEPTTL|NX_XX|FOO|EXAT_33177117420|PXAT_33177117420500_GET|EX_0|EX_100000]"),
    (4, "GET K"),
    (2, "GETEX K [|PERSIST|EXAT_33177117422|PXAT_33177117423001|EX_100000|EX_0|EX_x|FOO]"),
    (1, "GETDEL K"),
    (1, "GETSET K V"),
    (1, "SETNX K V"),
    (1, "SETEX K [100000|0|-1|x] V"),
    (1, "PSETEX K 100000000 V"),
    (2, "APPEND K V"),
    (1, "STRLEN K"),
    (2, "GETRANGE K N N"),
    (1, "SETRANGE K [0|1|5|20|-1|x] V"),
    (2, "INCR K"),
    (1, "DECR K"),
    (2, "INCRBY K N"),
    (1, "DECRBY K N"),
    (1, "INCRBYFLOAT K [0.1|-0.1|1.5|1e3|inf|x|3.0]"),
    (4, "MSET P+"),
    (4, "MSETNX P+"),
    (1, "MSETNX K V K"),
    (4, "MGET K+"),
    (3, "DEL K+"),
    (1, "UNLINK K+"),
    (2, "EXISTS K+"),
    (1, "TOUCH K+"),
    (4, "RENAME K K"),
    (2, "RENAMENX K K"),
    (3, "COPY K K [|REPLACE|DB_1|DB_1_REPLACE|DB_0|DB_16|DB_1_DB_2_REPLACE|FOO]"),
    (2, "MOVE K D"),
    (1, "LCS K K [|LEN|IDX|IDX_WITHMATCHLEN|IDX_MINMATCHLEN_3|IDX_LEN]"),
    (1, "SELECT D"),
    (1, "SWAPDB D D"),
    (1, "FLUSHDB"),
    (1, "FLUSHALL [|ASYNC|SYNC]"),
    (1, "DBSIZE"),
    (2, "KEYS [*|a|key:*|?|nothing]"),
    (2, "EXPIREAT K T [|NX|XX|GT|LT|NX_XX]"),
    (1, "PEXPIREAT K 33177117420999 [|NX|XX|GT|LT]"),
    (1, "EXPIREAT K [1|-1|x]"),
    (1, "EXPIRE K [100000|-1|0|x|9223372036854775807]"),
    (1, "PERSIST K"),
    (2, "TTL K"),
    (1, "PTTL K"),
    (2, "EXPIRETIME K"),
    (2, "PEXPIRETIME K"),
    (1, "TYPE K"),
    (2, "OBJECT ENCODING K"),
    (3, "SETBIT K [0|1|7|8|15|100|2000|-1|4294967296|x] [0|1|1|2|x]"),
    (2, "GETBIT K [0|1|7|8|15|100|2000|-1|4294967296|x]"),
    (2, "BITCOUNT K [|0_-1|1_2|-3_-2|-2_-3|5_30_BIT|-9_-2_BIT|0_3_BYTE]"),
    (2, "BITPOS K [0|1|0_1|1_1|0_0_-1|1_-2_-1|0_3_30_BIT|1_9_-4_BIT|2|x]"),
    (4, "BITOP [AND|OR|XOR|AND|OR|XOR|NAND] K K+"),
    (2, "BITOP NOT K K"),
    (1, "BITOP NOT K K+"),
    (
        3,
        "BITFIELD K [|GET_u8_0|GET_i64_3_GET_u1_7|SET_u8_0_77|INCRBY_i5_100_-3|OVERFLOW_FAIL|OVERFLOW_SAT] [|INCRBY_u2_#3_3|SET_i8_3_200|GET_u64_0|SET_u8|INCRBY_u63_1_9223372036854775807|OVERFLOW_FAIL_INCRBY_i3_1_3]",
    ),
    (1, "BITFIELD_RO K [|GET_u8_0|GET_i64_3_GET_u1_7|SET_u8_0_1|GET_u4_100000]"),
    (4, "PFADD K M+"),
    (1, "PFADD K"),
    (3, "PFCOUNT K"),
    (2, "PFCOUNT K+"),
    (3, "PFMERGE K K+"),
    (1, "PFMERGE K"),
    (1, "PFDEBUG [ENCODING|DECODE|TODENSE|FOO] K"),
    (12, "RPUSH K M+"),
    (8, "LPUSH K M+"),
    (2, "LPUSHX K M+"),
    (2, "RPUSHX K M+"),
    (3, "LPOP K [|0|1|2|100|-1|x|9223372036854775808|1_1]"),
    (3, "RPOP K [|0|1|2|100|-1|x]"),
    (2, "LLEN K"),
    (3, "LINDEX K N"),
    (4, "LRANGE K 0 -1"),
    (3, "LRANGE K N N"),
    (3, "LSET K N M"),
    (3, "LINSERT K [BEFORE|AFTER|BEFORE|AFTER|FOO] M M"),
    (3, "LREM K [0|1|-1|2|-3|9223372036854775807|-9223372036854775808|x] M"),
    (2, "LTRIM K [0|1|-5|-2|x] [-1|-2|3|5|-9]"),
    (
        4,
        "LPOS K M [|RANK_1|RANK_-1|RANK_2|RANK_-2|RANK_0|RANK_x] [|COUNT_0|COUNT_2|COUNT_-1|MAXLEN_3|MAXLEN_0_COUNT_1|MAXLEN_-1|COUNT|FOO_1]",
    ),
    (5, "LMOVE K K [LEFT|RIGHT] [LEFT|RIGHT]"),
    (1, "LMOVE K K [LEFT|FOO] [FOO|RIGHT]"),
    (3, "RPOPLPUSH K K"),
    (3, "LMPOP 3 K K K [LEFT|RIGHT] [|COUNT_1|COUNT_3|COUNT_100|COUNT_0|COUNT_x|COUNT|COUNT_1_COUNT_2|FOO_1]"),
    (1, "LMPOP [0|1|-1|x|3|9223372036854775807] K K [LEFT|RIGHT|FOO]"),
    (16, "SADD K M+"),
    (4, "SREM K M+"),
    (2, "SCARD K"),
    (2, "SISMEMBER K M"),
    (2, "SMISMEMBER K M+"),
    (4, "SMEMBERS K"),
    (5, "SMOVE K K M"),
    (1, "SPOP K [100|0|-1|x|9223372036854775808|100_1]"),
    (1, "SPOP nothing"),
    (1, "SRANDMEMBER K [|100|0|x|-9223372036854775808|1_1]"),
    (3, "SINTER K+"),
    (3, "SUNION K+"),
    (2, "SUNION K K K K+"),
    (3, "SDIFF K+"),
    (3, "SINTERSTORE K K+"),
    (3, "SUNIONSTORE K K+"),
    (3, "SDIFFSTORE K K+"),
    (2, "SINTERCARD 2 K K [|LIMIT_1|LIMIT_0|LIMIT_-1|LIMIT_x|LIMIT|FOO_1|LIMIT_1_LIMIT_2]"),
    (1, "SINTERCARD [0|1|-1|x|3|9223372036854775807] K K"),
    (2, "SSCAN K [0|x|+0] [|COUNT_1000|MATCH_*0*_COUNT_1000|COUNT_0|COUNT_x|TYPE_set|MATCH|NOVALUES]"),
    (14, "HSET K F+"),
    (1, "HSET K M V M"),
    (1, "HMSET K F+"),
    (2, "HSETNX K M V"),
    (3, "HGET K M"),
    (3, "HMGET K M+"),
    (4, "HGETALL K"),
    (1, "HKEYS K"),
    (1, "HVALS K"),
    (2, "HLEN K"),
    (1, "HEXISTS K M"),
    (1, "HSTRLEN K M"),
    (4, "HDEL K M+"),
    (3, "HINCRBY K M N"),
    (3, "HINCRBYFLOAT K M [0.1|-0.1|1.5|1e3|inf|nan|x|3.0]"),
    (
        1,
        "HRANDFIELD K [|100|0|x|-9223372036854775808|1_1|100_WITHVALUES|0_WITHVALUES|1_FOO|4611686018427387904_WITHVALUES]",
    ),
    (2, "HSCAN K [0|x|+0] [|COUNT_1000|MATCH_*0*_COUNT_1000|COUNT_0|COUNT_x|TYPE_hash|MATCH]"),
    (16, "ZADD K S+"),
    (4, "ZADD K [NX|XX|GT|LT|CH|GT_CH|NX_GT|GT_LT|XX_INCR|NX_CH|INCR] S+"),
    (3, "ZADD K INCR S M"),
    (1, "ZADD K S M S"),
    (3, "ZINCRBY K S M"),
    (4, "ZREM K M+"),
    (2, "ZCARD K"),
    (2, "ZSCORE K M"),
    (2, "ZMSCORE K M+"),
    (2, "ZRANK K M"),
    (2, "ZREVRANK K M"),
    (2, "ZCOUNT K S S"),
    // By name only where all scores are the same: what else it gives is nowhere said.
    (4, "ZADD equals 0 M"),
    (1, "ZLEXCOUNT equals [-|(a|[b|+|x] [+|[text|(b|-]"),
    (4, "ZRANGE K N N [|WITHSCORES|REV|REV_WITHSCORES|LIMIT_0_1|FOO|REV_REV]"),
    (3, "ZRANGE K S S BYSCORE [|REV|WITHSCORES|LIMIT_1_2|REV_LIMIT_0_-1|LIMIT_-1_2_WITHSCORES|BYLEX]"),
    (2, "ZRANGE equals [-|(a|[b|+] [+|[text|(b|-] BYLEX [|REV|LIMIT_1_2|WITHSCORES]"),
    (2, "ZRANGEBYSCORE K [(1|-inf|2|x] [+inf|(2|1e3|(x] [|WITHSCORES|LIMIT_1_1]"),
    (1, "ZREVRANGEBYSCORE K [+inf|(2|1e3] [(1|-inf|2] [|WITHSCORES|LIMIT_1_1]"),
    (1, "ZREVRANGE K N N"),
    (1, "ZRANGEBYLEX equals [-|(a] [+|[text]"),
    (1, "ZREVRANGEBYLEX equals [+|[text] [-|(a]"),
    (2, "ZRANGESTORE K K N N [|REV]"),
    (2, "ZRANGESTORE K K S S BYSCORE [|REV|LIMIT_1_2]"),
    (1, "ZREMRANGEBYRANK K N N"),
    (1, "ZREMRANGEBYSCORE K S S"),
    (1, "ZREMRANGEBYLEX equals [-|(a|[b] [+|[text|(b]"),
    (2, "ZPOPMIN K [|1|2|0|-1|x]"),
    (2, "ZPOPMAX K [|1|2|0|-1|x]"),
    (2, "ZMPOP 2 K K [MIN|MAX|MIN_COUNT_2|MAX_COUNT_0|FOO|MIN_COUNT_1_COUNT_1]"),
    (2, "ZUNION 2 K K [|WITHSCORES|WEIGHTS_2_-1|AGGREGATE_MIN_WITHSCORES|WEIGHTS_1|AGGREGATE_FOO]"),
    (2, "ZINTER 2 K K [|WITHSCORES|WEIGHTS_2_-1|AGGREGATE_MAX_WITHSCORES]"),
    (2, "ZDIFF 2 K K [|WITHSCORES|WEIGHTS_1_1]"),
    (3, "ZUNIONSTORE K 2 K K [|WEIGHTS_2_-1|AGGREGATE_MIN|WEIGHTS_x_1|WITHSCORES]"),
    (3, "ZINTERSTORE K 2 K K [|WEIGHTS_2_-1|AGGREGATE_MAX|WEIGHTS_inf_1]"),
    (3, "ZDIFFSTORE K 2 K K"),
    (1, "ZUNIONSTORE K [0|1|-1|x|3|9223372036854775807] K K"),
    (2, "ZINTERCARD 2 K K [|LIMIT_1|LIMIT_0|LIMIT_-1|LIMIT_x|LIMIT]"),
    (1, "ZRANDMEMBER K [|100|0|x|-9223372036854775808|1_1|100_WITHSCORES|0_WITHSCORES|1_FOO]"),
    (2, "ZSCAN K [0|x] [|COUNT_1000|MATCH_*0*_COUNT_1000|COUNT_0|COUNT_x|MATCH]"),
    (6, "GEOADD K [|CH|NX|XX|NX_CH] P2 M"),
    (6, "GEOADD K P2 M P2 M P2 M"),
    (1, "GEOADD K [181|x] 0 M"),
    (2, "GEOPOS K M+"),
    (1, "GEOHASH K M+"),
    (2, "GEODIST K M M [|km|MI|x]"),
    (
        4,
        "GEOSEARCH K [FROMLONLAT_0_0|FROMLONLAT_13_38|FROMMEMBER_a|FROMMEMBER_0] [BYRADIUS_200_km|BYBOX_300_500_mi|BYRADIUS_20000_km|BYBOX_1_0_m] [|ASC|DESC|COUNT_2|COUNT_2_ANY|COUNT_0] [|WITHDIST|WITHCOORD_WITHHASH]",
    ),
    (
        4,
        "GEOSEARCHSTORE K K [FROMLONLAT_0_0|FROMMEMBER_a] [BYRADIUS_20000_km|BYBOX_300_500_mi] [|COUNT_2|STOREDIST|WITHDIST]",
    ),
    (2, "GEORADIUS K [0|179] [0|x|80] [200|20000] km [|ASC|COUNT_2|WITHDIST] [|STORE|STOREDIST] K"),
    (2, "GEORADIUSBYMEMBER K M [200|20000] km [STORE|STOREDIST] K"),
    (1, "GEORADIUSBYMEMBER_RO K M 20000 km [|WITHCOORD|DESC]"),
    (4, "SORT K ALPHA [|DESC|LIMIT_1_2|GET_#_GET_*]"),
    (3, "SORT K [|DESC|LIMIT_0_2|LIMIT_x_1|FOO]"),
    // By which all elements differ or are equal, so that the order is that of one list.
    (3, "SORT_RO K BY [*|key:*|*x|*->a|nothing_*] [|GET_*|GET_key:*_GET_*->1]"),
    (4, "SORT K ALPHA STORE K"),
    (3, "SORT K BY [*|nosort|*->0] [|GET_*|GET_*->a] STORE K"),
    (
        10,
        "XADD K [|NOMKSTREAM|MAXLEN_3|MAXLEN_=_5|MAXLEN_~_2|MINID_20|MINID_~_9-1|MAXLEN_~_1_LIMIT_2|LIMIT_3|MAXLEN_-1] I M V",
    ),
    (3, "XADD K I M V M V"),
    (1, "XADD K [10-*|5-*|0-0|x] M V"),
    (2, "XLEN K"),
    (3, "XRANGE K [-|0|7|(5-1] [+|20|(30-2|x] [|COUNT_3|COUNT_0|COUNT_-1|COUNT]"),
    (2, "XREVRANGE K [+|20|(30-2] [-|0|7|(5-1] [|COUNT_2]"),
    (3, "XDEL K I I"),
    (2, "XTRIM K [MAXLEN_2|MAXLEN_~_2|MINID_10|MINID_~_20-1|MAXLEN_~_0_LIMIT_1|MAXLEN|FOO]"),
    (2, "XSETID K I [|ENTRIESADDED_30|MAXDELETEDID_4-0|ENTRIESADDED_-1|FOO]"),
    (3, "XREAD [|COUNT_2|COUNT_-1] STREAMS K K [0|5-1|$] [0|7]"),
    (1, "XREAD [COUNT_x|BLOCK_-1|BLOCK_x|GROUP_g_a|NOACK|FOO] STREAMS K 0"),
    (1, "XREAD STREAMS K K [0|>]"),
    (8, "XGROUP CREATE K [g|h] [0|$|7-1|x] [|MKSTREAM|MKSTREAM_ENTRIESREAD_3|ENTRIESREAD_-2|FOO]"),
    (2, "XGROUP SETID K [g|h] [0|$|9-9|+] [|ENTRIESREAD_5]"),
    (1, "XGROUP DESTROY K [g|h]"),
    (2, "XGROUP [CREATECONSUMER|DELCONSUMER] K [g|h] [a|b]"),
    (1, "XGROUP FOO K g a"),
    (8, "XREADGROUP GROUP [g|h] [a|b] [|COUNT_1|NOACK] STREAMS K [>|0|5-1]"),
    (4, "XREADGROUP GROUP g [a|b|c] [|COUNT_2] STREAMS K K [>|0] [>|>|$]"),
    (3, "XACK K [g|h] I I I"),
    (
        3,
        "XCLAIM K [g|h] [a|b] [0|100000000|x] I I [|FORCE|JUSTID|RETRYCOUNT_3|TIME_1000|IDLE_9|LASTID_9-9|FORCE_JUSTID|FOO|TIME]",
    ),
    (2, "XAUTOCLAIM K [g|h] [a|b] [0|100000000|x] [-|0|7|(3-1] [|COUNT_2|JUSTID|COUNT_0|FOO]"),
    (3, "XPENDING K [g|h] [|-_+_9|-_+_9_a|5_20_2|IDLE_0_-_+_9|IDLE_100000000_-_+_9_b|-|IDLE_5_-_+]"),
    (3, "XINFO [STREAM|GROUPS|FOO] K"),
    (1, "XINFO CONSUMERS K none"),
    (2, "EXPIREAT K T"),
    (1, "HELLO 2"),
    (1, "ECHO V"),
    (1, "PING"),
    (1, "NOSUCH K V"),
    (1, "GET K K"),
    (1, "CLIENT REPLY SKIP"),
];

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let commands = PATTERNS.iter().map(|(weight, pattern)| (*weight, command(pattern)));
    let command = proptest::strategy::Union::new_weighted(commands.collect());
    let command = command.prop_map(|words| words.into_iter().map(String::into_bytes).collect::<Command>());
    let watched = proptest::option::weighted(0.25, proptest::collection::vec(key(), 0..3));
    let batch = (0..CONNECTIONS, watched, proptest::collection::vec(command, 1..24));
    let batch = batch.prop_map(|(connection, watched, mut commands)| {
        if watched.is_some() {
            // In the middle of a reply it leaves no reply at all.
            commands.retain(|command| command[0] != b"CLIENT");
        }
        Batch { connection, watched, commands }
    });
    proptest::collection::vec(batch, 1..10)
}

/// A reply without what differs from run to run.
fn comparable(command: &Command, reply: Reply) -> String {
    let name = command[0].to_ascii_uppercase();
    match (name.as_slice(), &reply) {
        (b"TTL" | b"PTTL", Reply::Integer(left)) if *left > 0 => "some time".to_string(),
        // Moments that a relative time made are near; those of a command that names them are not.
        (b"EXPIRETIME", Reply::Integer(moment)) if (1..30_000_000_000).contains(moment) => "a near moment".to_string(),
        (b"PEXPIRETIME", Reply::Integer(moment)) if (1..30_000_000_000_000).contains(moment) => {
            "a near moment".to_string()
        }
        (b"KEYS" | b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF" | b"SPOP", _) => reply.sorted().to_string(),
        (b"HGETALL", Reply::Array(words)) => Reply::Map(words.clone()).sorted().to_string(),
        (b"HGETALL" | b"HKEYS" | b"HVALS", _) => reply.sorted().to_string(),
        (b"SRANDMEMBER" | b"HRANDFIELD" | b"ZRANDMEMBER", Reply::Bulk(_)) => "an element".to_string(),
        (b"SRANDMEMBER" | b"HRANDFIELD" | b"ZRANDMEMBER", _) => reply.sorted().to_string(),
        (b"SSCAN" | b"HSCAN" | b"ZSCAN", Reply::Array(parts)) => {
            parts.iter().map(|part| part.clone().sorted().to_string()).collect::<Vec<_>>().join(" ")
        }
        // Sets and lists have a packed form there since 7.2 only, as has a look ahead at how many members a set is about to
        // get; and SORT unpacks a sorted set that it reads.
        (b"OBJECT", Reply::Bulk(name))
            if [&b"intset"[..], b"listpack", b"hashtable", b"quicklist", b"skiplist"].contains(&&name[..]) =>
        {
            "an encoding of collections".to_string()
        }
        // For how long entries have been pending is left out.
        (b"XPENDING", Reply::Array(rows)) if command.len() > 3 => {
            let rows = rows.iter().map(Reply::elements);
            rows.map(|row| format!("{} {} {}", row[0], row[1], row[3])).collect::<Vec<_>>().join(", ")
        }
        // A consumer that asks is one since 7.2, whether or not it was given anything: how many there are is left out.
        (b"XGROUP", Reply::Integer(_)) if command[1] == b"CREATECONSUMER" => "a consumer, new or not".to_string(),
        (b"XINFO", Reply::Array(groups)) if command[1] == b"GROUPS" => {
            let without_consumers = |group: &Reply| {
                let facts = group.elements().iter().enumerate().filter(|(at, _)| *at != 3);
                facts.map(|(_, fact)| fact.to_string()).collect::<Vec<_>>().join(" ")
            };
            groups.iter().map(without_consumers).collect::<Vec<_>>().join(", ")
        }
        (b"HELLO", Reply::Array(_) | Reply::Map(_)) => reply.to_string()[..1].to_string(),
        _ => reply.to_string(),
    }
}

/// The same of a transaction. What it watches is mostly not changed: others send nothing meanwhile.
fn play_transaction(client: &mut Client, watched: &[String], commands: &[Command]) -> Vec<String> {
    let mut bytes = Vec::new();
    if !watched.is_empty() {
        bytes.extend(encode(&[&["WATCH".to_string()], watched].concat()));
        if watched.len() == 2 {
            bytes.extend(encode(&["PERSIST", &watched[0]]));
        }
    }
    let before = watched.len().min(2);
    bytes.extend(encode(&["MULTI"]));
    bytes.extend(commands.iter().flat_map(|command| encode(command)));
    bytes.extend(encode(&["EXEC"]));
    client.send(&bytes);
    let mut lines: Vec<String> = (0..=before).map(|_| client.reply().to_string()).collect();
    let mut queued = Vec::new();
    for command in commands {
        let reply = client.reply().to_string();
        queued.extend((reply == "+QUEUED").then_some(command));
        lines.push(format!("{} -> {reply}", shown(command)));
    }
    match client.reply() {
        Reply::Array(replies) => {
            let replies = queued.into_iter().zip(replies);
            let replies =
                replies.map(|(command, reply)| format!("{} -> {}", shown(command), comparable(command, reply)));
            lines.extend(replies);
        }
        other => lines.push(other.to_string()),
    }
    lines
}

/// One line for each reply.
fn play(server: &Server, batches: &[Batch]) -> Vec<String> {
    assert_eq!(server.client().ask("FLUSHALL"), "+OK");
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.client()).collect();
    clients.iter_mut().skip(1).step_by(2).for_each(|client| assert!(!client.call("HELLO 3").is_error()));
    let mut lines = Vec::new();
    for Batch { connection, watched, commands } in batches {
        let client = &mut clients[*connection];
        if let Some(watched) = watched {
            lines.extend(play_transaction(client, watched, commands));
            continue;
        }
        let mut bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        bytes.extend(encode(&["CLIENT", "REPLY", "ON"]));
        bytes.extend(encode(&["ECHO", "end of the batch"]));
        client.send(&bytes);
        // A reply that CLIENT REPLY SKIP swallows must not be waited for.
        let mut is_skipped = false;
        for command in commands {
            let skips = command[0] == b"CLIENT";
            if !std::mem::replace(&mut is_skipped, skips) && !skips {
                let reply = client.reply();
                lines.push(format!("{connection}: {} -> {}", shown(command), comparable(command, reply)));
            }
        }
        assert_eq!(client.reply().to_string(), "+OK");
        assert_eq!(client.reply().to_string(), "\"end of the batch\"", "replies and commands do not match");
    }
    lines
}

#[test]
fn random_commands_get_the_replies_of_the_real_server() {
    compare(&[], &[]);
}

/// The same with thresholds so low that collections are large in no time.
#[test]
fn large_collections_answer_like_the_real_servers() {
    let real =
        ["--hash-max-listpack-entries", "3", "--set-max-intset-entries", "3", "--zset-max-listpack-entries", "3"];
    let ours = [&real[..], &["--set-max-listpack-entries", "3", "--list-max-listpack-size", "3"]].concat();
    compare(&real, &ours);
}

fn compare(real_arguments: &[&str], our_arguments: &[&str]) {
    let Some(real) = Server::real(real_arguments) else { return };
    let servers = [1, 2, 5].map(|shards| Server::torc(shards, our_arguments));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    let config = Config { cases, max_shrink_iters: 2000, failure_persistence: None, ..Config::default() };
    let replies = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&batches(), |batches| {
        let expected = play(&real, &batches);
        replies.set(replies.get() + expected.len());
        for server in &servers {
            let lines = play(server, &batches);
            let differing = expected.iter().zip(&lines).find(|(expected, line)| expected != line);
            if let Some((expected, line)) = differing {
                return Err(TestCaseError::fail(format!("{}:\n  real {expected}\n  ours {line}", server.name)));
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    println!("{} replies were the same on 1, 2 and 5 shards", replies.get());
}

/// All keys that a SCAN from 0 to 0 gives, and how often each came.
fn scan(client: &mut Client, options: &str) -> std::collections::BTreeMap<String, usize> {
    let mut found = std::collections::BTreeMap::new();
    let mut cursor = "0".to_string();
    loop {
        let reply = client.call(&format!("SCAN {cursor} {options}"));
        for key in reply.elements()[1].elements() {
            *found.entry(key.text()).or_default() += 1;
        }
        cursor = reply.elements()[0].text();
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn a_scan_gives_what_keys_gives() {
    let servers = [1, 2, 5].map(|shards| Server::torc(shards, &[]));
    for server in servers.iter().chain(&Server::real(&[])) {
        let mut client = server.client();
        for count in [0, 1, 7, 1000] {
            assert_eq!(client.ask("FLUSHALL"), "+OK");
            for index in 0..count {
                assert_eq!(client.ask(&format!("SET key:{index} {index}")), "+OK");
            }
            for (options, pattern) in [
                ("COUNT 10", "*"),
                ("COUNT 1", "*"),
                ("COUNT 100000", "*"),
                ("MATCH key:*1*", "key:*1*"),
                ("TYPE string MATCH *7", "*7"),
                ("MATCH nothing", "nothing"),
            ] {
                let keys: Vec<String> =
                    client.call(&format!("KEYS {pattern}")).sorted().elements().iter().map(Reply::text).collect();
                let found = scan(&mut client, options);
                assert_eq!(found.keys().cloned().collect::<Vec<_>>(), keys, "{}: SCAN {options}", server.name);
                // Nothing changes meanwhile: ours gives nothing twice.
                let is_ours = server.name.starts_with("torc");
                assert!(!is_ours || found.values().all(|times| *times == 1), "{}: SCAN {options}", server.name);
            }
            assert!(scan(&mut client, "TYPE hash").is_empty());
        }
    }
}

/// So many elements that commands on them are worked off in slices.
const MANY: usize = 4000;

/// What is asked of much, on connections of both protocols in turn.
const OF_MUCH: &[&str] = &[
    "XRANGE stream - +",
    "XREVRANGE stream + 500 COUNT 3000",
    "XREAD STREAMS stream other 0 1000-0",
    "XREAD COUNT 2500 STREAMS other none stream 0 0 0",
    "XREADGROUP GROUP g alice COUNT 2100 STREAMS stream other > >",
    "XREADGROUP GROUP g bob STREAMS stream >",
    "XREADGROUP GROUP g bob NOACK STREAMS other >",
    "XREADGROUP GROUP g alice STREAMS stream other 0 100",
    "XREADGROUP GROUP g bob STREAMS stream other > >",
    "XPENDING stream g - + 5000",
    "XPENDING stream g - + 5000 bob",
    "XPENDING stream g",
    "XTRIM other MAXLEN 1500",
    "XREADGROUP GROUP g alice STREAMS other 0",
    "XAUTOCLAIM other g carol 0 0 COUNT 3000",
    "XAUTOCLAIM stream g carol 0 100-0 COUNT 3000 JUSTID",
    "XPENDING stream g",
    "XPENDING other g",
    "XGROUP DELCONSUMER stream g carol",
    "XPENDING stream g",
    "XTRIM stream MINID 3500",
    "XLEN stream",
    "XRANGE stream - + COUNT 3",
    "LPOS list e7 COUNT 0",
    "LINSERT list BEFORE e3999 before",
    "LINSERT list AFTER none after",
    "LREM list 0 odd",
    "LREM list -150 even",
    "LRANGE list 0 -1",
    "LPOP list 1100",
    "LMPOP 2 none list RIGHT COUNT 1200",
    "RPOP list 50",
    "LLEN list",
    "RPUSH list2 a b",
    "LTRIM list 10 -1000",
    "LRANGE list 0 -1",
    "LPOP list 100000",
    "EXISTS list",
    "PFCOUNT {sketches}",
    "PFCOUNT {sketches} list2",
    "PFMERGE merged {sketches}",
    "PFCOUNT merged",
    "GET merged",
    "PFMERGE sketch:1 sketch:2 sketch:3",
    "GET sketch:1",
    "LCS text text2",
    "LCS text text2 LEN",
    "LCS text2 text IDX MINMATCHLEN 4 WITHMATCHLEN",
    "SETRANGE long 2500000 inserted",
    "APPEND long appended",
    "SETBIT long 8000001 1",
    "BITFIELD long INCRBY u8 9000000 3 GET u16 9000000",
    "GETRANGE long 2499990 -1",
    "GETRANGE long 999990 1000010",
    "GETRANGE long 1124990 1125010",
    "STRLEN long",
];

/// Fills a server with much, and tells what it answers then.
fn ask_of_much(server: &Server) -> Vec<String> {
    let mut clients = [server.client(), server.client()];
    assert!(!clients[1].call("HELLO 3").is_error());
    let filler = &mut clients[0];
    assert_eq!(filler.ask("FLUSHALL"), "+OK");
    let mut random = fastrand::Rng::with_seed(3);
    for number in 1..=MANY {
        for stream in ["stream", "other"] {
            assert!(!filler.call(&format!("XADD {stream} {number}-1 field {} n {number}", number % 77)).is_error());
        }
        let text = if number % 9 == 0 {
            "odd".into()
        } else if number % 10 == 0 {
            "even".into()
        } else {
            format!("e{number}")
        };
        assert!(!filler.call(&format!("RPUSH list {text}")).is_error());
        let names: Vec<String> = (0..8).map(|_| random.u32(..100_000).to_string()).collect();
        assert!(!filler.call(&format!("PFADD sketch:{} {}", number % 90, names.join(" "))).is_error());
    }
    for stream in ["stream", "other"] {
        assert_eq!(filler.ask(&format!("XGROUP CREATE {stream} g 0")), "+OK");
    }
    for key in ["text", "text2"] {
        let text: String = (0..1500).map(|_| random.char('a'..='f')).collect();
        assert_eq!(filler.ask(&format!("SET {key} {text}")), "+OK");
    }
    assert_eq!(filler.ask(&format!("SET long {}", "0123456789".repeat(250_000))), "+OK");
    let sketches: String = (0..90).map(|number| format!("sketch:{number} ")).collect();
    let ask = |(number, line): (usize, &&str)| {
        let command: Command =
            line.replace("{sketches}", sketches.trim_end()).split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let client = &mut clients[number % 2];
        client.send(&encode(&command));
        format!("{line} -> {}", comparable(&command, client.reply()))
    };
    OF_MUCH.iter().enumerate().map(ask).collect()
}

#[test]
fn what_is_worked_off_in_slices_is_answered_like_the_real_servers() {
    let Some(real) = Server::real(&[]) else { return };
    let expected = ask_of_much(&real);
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        for (expected, line) in expected.iter().zip(ask_of_much(&server)) {
            let at = expected.bytes().zip(line.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(60);
            let shown = |text: &str| text.bytes().skip(at).take(300).map(char::from).collect::<String>();
            assert!(
                *expected == line,
                "{}: {}\n  real {}\n  ours {}",
                server.name,
                &line[..40],
                shown(expected),
                shown(&line)
            );
        }
    }
}
