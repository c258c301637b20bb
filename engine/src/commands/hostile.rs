//! Arguments that nobody would send in good faith: every command of the table, on keys of all types, on one to three
//! shards. Whatever comes, there is exactly one well-formed reply, an error has changed nothing, and the keyspace is whole.
//!
//! Words are those of sample lines, changed a little, or drawn from what parsers stumble over: borders of integers and
//! doubles, IDs and ranges of streams, bounds, types of bit fields, corners of polygons, texts that are none.
//!
//! `TORC_HOSTILE_COMMANDS` sets how many there are, `TORC_HOSTILE_SEED` their seed.

use super::all;
use super::replay::joined::Cluster;
use super::replay::told;
use crate::command::{Arity, Command, Spec, Table};
use crate::reply::Protocol;
use crate::shard::ClientContext;

/// Lines that read, one at least for each command that told of no effect; the rest is in [`told::SAMPLES`].
const READS: &[&str] = &[
    "BITCOUNT s 0 -1 BIT",
    "BITFIELD s GET u4 0 OVERFLOW SAT INCRBY i63 #1 3",
    "BITFIELD_RO s GET u63 #2",
    "BITPOS s 1 2 -1 BYTE",
    "EXPIRETIME v",
    "GEODIST geo Palermo Catania km",
    "GEOHASH geo Palermo Catania",
    "GEOPOS geo Palermo none",
    "GEORADIUS_RO geo 15 37 200 km WITHDIST WITHCOORD COUNT 1 ANY",
    "GEORADIUSBYMEMBER_RO geo Palermo 100 mi ASC",
    "GEOSEARCH geo FROMLONLAT 15 37 BYBOX 400 400 km DESC COUNT 3 WITHHASH",
    "GEOSEARCH geo BYPOLYGON 4 12 37 16 37 16 38.5 12 38 WITHDIST",
    "GETRANGE s 1 -2",
    "HGETALL h",
    "HMGET h f g none",
    "HRANDFIELD h -5 WITHVALUES",
    "HSCAN h 0 MATCH * COUNT 5 NOVALUES",
    "HPTTL h FIELDS 2 f x",
    "HSTRLEN h f",
    "HEXPIRETIME h FIELDS 1 x",
    "HPEXPIRETIME h FIELDS 2 x f",
    "HTTL h FIELDS 1 x",
    "LCS s other IDX MINMATCHLEN 1 WITHMATCHLEN",
    "LINDEX l -1",
    "LPOS l a RANK -1 COUNT 0 MAXLEN 2",
    "LRANGE l 0 -1",
    "MGET s n none l",
    "OBJECT ENCODING l",
    "OBJECT FREQ s",
    "PFCOUNT hll hll2 none",
    "SCAN 0 MATCH * COUNT 3 TYPE set",
    "SDIFF set set2",
    "SDIFFCARD 2 set set2",
    "SUNIONCARD 2 set set2 LIMIT 1",
    "SINTERCARD 2 set set2 LIMIT 1",
    "SMISMEMBER set a z",
    "SORT_RO l ALPHA LIMIT 0 2 DESC GET # GET n*",
    "SRANDMEMBER set -7",
    "SSCAN set 0 COUNT 1",
    "SUBSTR s 0 1",
    "SUNION set set2 none",
    "XINFO STREAM st FULL COUNT 1",
    "XINFO GROUPS st",
    "XINFO CONSUMERS st g",
    "XPENDING st g IDLE 0 - + 10 alice",
    "XRANGE st (1-1 + COUNT 2",
    "XREAD COUNT 2 STREAMS st st 0 1-1",
    "XREVRANGE st + - COUNT 1",
    "ZCOUNT z (1 +inf",
    "ZDIFF 2 z z2 WITHSCORES",
    "ZINTER 2 z z2 WEIGHTS 2 3 AGGREGATE MAX WITHSCORES",
    "ZINTERCARD 2 z z2 LIMIT 1",
    "ZLEXCOUNT names [a (c",
    "ZMSCORE z a none",
    "ZRANDMEMBER z -4 WITHSCORES",
    "ZRANGE z (1 3 BYSCORE LIMIT 0 2 WITHSCORES",
    "ZRANGE names [a [c BYLEX REV",
    "ZRANGEBYLEX names - + LIMIT 1 1",
    "ZRANGEBYSCORE z -inf (3",
    "ZRANK z a WITHSCORE",
    "ZREVRANGE z 0 -1 WITHSCORES",
    "ZREVRANK z a WITHSCORE",
    "ZREVRANGEBYLEX names + [b",
    "ZREVRANGEBYSCORE z 3 1 WITHSCORES LIMIT 0 1",
    "ZSCAN z 0 COUNT 2",
    "ZUNION 2 z set WEIGHTS 1 -inf",
];

/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"",
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"2",
    b"5",
    b"+1",
    b"01",
    b" 1",
    b"1 ",
    b"1.5",
    b"127",
    b"128",
    b"-129",
    b"65536",
    b"2147483647",
    b"-2147483648",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9007199254740993",
    b"4611686018427387904",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-18446744073709551616",
    b"1e3",
    b"1e308",
    b"1e309",
    b"-1e400",
    b"1e-400",
    b"nan",
    b"-nan",
    b"inf",
    b"-inf",
    b"+inf",
    b"infinity",
    b"0x10",
    b"0x1p-1074",
    b"(1",
    b"(inf",
    b"(nan",
    b"(",
    b"[",
    b"[a",
    b"(b",
    b"[\xff",
    b"-",
    b"+",
    b"$",
    b">",
    b"*",
    b"~",
    b"=",
    b"0-0",
    b"0-1",
    b"1-1",
    b"5-*",
    b"-5",
    b"5-",
    b"-",
    b"1-1-1",
    b"(1-1",
    b"(18446744073709551615-18446744073709551615",
    b"18446744073709551615-18446744073709551615",
    b"18446744073709551615-*",
    b"18446744073709551616-0",
    b"u8",
    b"i64",
    b"u63",
    b"u64",
    b"i65",
    b"u0",
    b"i",
    b"#0",
    b"#1",
    b"#-1",
    b"#",
    b"#2305843009213693952",
    b"#9223372036854775807",
    b"13.361389",
    b"-180.0001",
    b"85.05112878",
    b"-85.06",
    b"180",
    b"m",
    b"km",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"a",
    b"f",
    b"key*",
    b"*->f",
    b"[^a-]*",
    b"\\",
    b"[",
    b"COUNT",
    b"LIMIT",
    b"MATCH",
    b"FIELDS",
    b"STREAMS",
    b"GROUP",
    b"STORE",
    b"BY",
    b"GET",
    b"WEIGHTS",
    b"AGGREGATE",
    b"NX",
    b"XX",
    b"GT",
    b"EX",
    b"PXAT",
    b"KEEPTTL",
    b"MAXLEN",
    b"MINID",
    b"BYPOLYGON",
    b"FROMLONLAT",
    b"BYBOX",
    b"REPLACE",
    b"DB",
    b"WITHSCORES",
    b"ANY",
    b"REV",
    b"BYLEX",
    b"BYSCORE",
];

/// Keys of the samples, and one that is not there.
const KEYS: &[&[u8]] = &[
    b"s",
    b"n",
    b"v",
    b"l",
    b"l2",
    b"set",
    b"set2",
    b"h",
    b"z",
    b"z2",
    b"names",
    b"hll",
    b"hll2",
    b"geo",
    b"st",
    b"idempotent",
    b"new",
    b"none",
    b"other",
];

struct Writer {
    random: fastrand::Rng,
    samples: Vec<Vec<Vec<u8>>>,
    names: Vec<&'static Command>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let lines = told::SAMPLES.iter().chain(READS);
        let samples =
            lines.map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>()).collect();
        Self { random: fastrand::Rng::with_seed(seed), samples, names: all().collect() }
    }

    fn pick<'a>(&mut self, words: &[&'a [u8]]) -> &'a [u8] {
        words[self.random.usize(..words.len())]
    }

    fn word(&mut self) -> Vec<u8> {
        match self.random.u32(..24) {
            0..14 => self.pick(WORDS).to_vec(),
            14..20 => self.pick(KEYS).to_vec(),
            20 => (0..self.random.usize(..12)).map(|_| self.random.u8(..)).collect(),
            21 => vec![self.random.u8(..); self.random.usize(60..6000)],
            22 => self.random.i64(..).to_string().into_bytes(),
            _ => {
                let samples = self.random.usize(..self.samples.len());
                let word = self.random.usize(..self.samples[samples].len());
                self.samples[samples][word].clone()
            }
        }
    }

    /// A sample with some words changed, left out, doubled or swapped; or any words behind any name.
    fn line(&mut self) -> Vec<Vec<u8>> {
        if self.random.u32(..6) == 0 {
            let Command { spec, .. } = self.names[self.random.usize(..self.names.len())];
            let mut line = vec![spec.name.as_bytes().to_vec()];
            if !spec.subcommands.is_empty() {
                line.push(spec.subcommands[self.random.usize(..spec.subcommands.len())].name.as_bytes().to_vec());
            }
            let (Arity::Exact(count) | Arity::AtLeast(count)) = spec.arity;
            let more = if matches!(spec.arity, Arity::Exact(_)) { 0 } else { self.random.usize(..6) };
            while line.len() < count as usize + more {
                let word = if line.len() == 1 { self.pick(KEYS).to_vec() } else { self.word() };
                line.push(word);
            }
            return line;
        }
        let mut line = self.samples[self.random.usize(..self.samples.len())].clone();
        for _ in 0..self.random.usize(..4) {
            let (at, other) = (self.random.usize(1..=line.len()), self.random.usize(1..=line.len()));
            match self.random.u32(..8) {
                0..4 if at < line.len() => line[at] = self.word(),
                4 if at < line.len() => drop(line.remove(at)),
                5 if at.max(other) < line.len() => line.swap(at, other),
                6 if at < line.len() => line.insert(at, line[at].clone()),
                _ => {
                    let word = self.word();
                    line.insert(at, word);
                }
            }
            if line.len() == 1 {
                break;
            }
        }
        line
    }
}

/// Whether a line asks for as many elements as a number says, again and again: that is what it gets.
fn asks_for_too_much(line: &[Vec<u8>]) -> bool {
    let name = line[0].to_ascii_uppercase();
    let is_random = [&b"SRANDMEMBER"[..], b"HRANDFIELD", b"ZRANDMEMBER"].contains(&&name[..]);
    let is_huge = |word: &Vec<u8>| crate::command::parse_integer(word).is_some_and(|count| count < -10_000);
    is_random && line.iter().any(is_huge)
}

/// The length of the reply at the front, if it is one.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, mut used) = (&bytes[..end], end + 2);
    let number = || std::str::from_utf8(&line[1..]).ok()?.parse::<i64>().ok();
    match line.first()? {
        b'+' | b'-' | b':' | b',' | b'(' | b'_' | b'#' => {}
        b'$' | b'=' => {
            if let Ok(length) = usize::try_from(number()?) {
                used += length + 2;
                (bytes.get(used - 2..used)? == b"\r\n").then_some(())?;
            }
        }
        kind @ (b'*' | b'%' | b'~' | b'>') => {
            let count = number()?.max(0) * if *kind == b'%' { 2 } else { 1 };
            for _ in 0..count {
                used += reply_length(&bytes[used..])?;
            }
        }
        _ => return None,
    }
    (used <= bytes.len()).then_some(used)
}

fn attack(seed: u64, shards: usize, commands: u64) {
    let table = Table::new(all().map(|command| (&command.spec, command)));
    let mut writer = Writer::new(seed);
    let mut cluster = Cluster::new(shards);
    for shard in &mut cluster.shards {
        // No megabytes of zeros for a number.
        shard.options.string_length_max = 1 << 18;
        shard.options.units_at_once = if seed.is_multiple_of(2) { 0 } else { shard.options.units_at_once };
    }
    let mut errors = 0;
    for number in 0..commands {
        let line = match (number % 300) as usize {
            // Now and then all there was, again.
            number if number < told::BEFORE.len() => {
                told::BEFORE[number].split(' ').map(|word| word.as_bytes().to_vec()).collect()
            }
            _ => writer.line(),
        };
        let arguments: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
        let Ok((spec, command)) = table.resolve(&arguments) else { continue };
        if asks_for_too_much(&line) {
            continue;
        }
        let protocol = if writer.random.bool() { Protocol::Resp2 } else { Protocol::Resp3 };
        let client = ClientContext { database: writer.random.u32(..8) / 7, protocol, ..ClientContext::default() };
        let shown = || {
            let words: Vec<_> = line.iter().map(|word| word[..word.len().min(80)].escape_ascii().to_string()).collect();
            format!("seed {seed}, {shards} shards, {number}: {}", words.join(" "))
        };
        if std::env::var_os("TORC_HOSTILE_SHOW").is_some() {
            println!("{}", shown());
        }
        let dirty = cluster.dirty();
        let reply = cluster.execute(spec, command, &arguments, client);
        assert_eq!(reply_length(&reply), Some(reply.len()), "{}: {}", shown(), reply.escape_ascii());
        if reply.starts_with(b"-") {
            errors += 1;
            assert_eq!(cluster.dirty(), dirty, "an error after a change: {}", shown());
        }
        cluster.now += writer.random.i64(0..3);
        cluster.forget();
        if number % 50 == 0 {
            cluster.shards.iter().for_each(|shard| shard.keyspace.audit());
        }
    }
    cluster.shards.iter().for_each(|shard| shard.keyspace.audit());
    assert!(errors > commands / 10 && errors < commands * 9 / 10, "{errors} errors of {commands} commands");
}

#[test]
fn whatever_is_sent_is_answered_and_breaks_nothing() {
    let environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let commands = environment("TORC_HOSTILE_COMMANDS").unwrap_or(60_000);
    let seed = environment("TORC_HOSTILE_SEED").unwrap_or(1);
    for part in 0..12 {
        attack(seed * 1000 + part, 1 + part as usize % 3, commands / 12);
    }
}

#[test]
fn every_command_has_a_sample() {
    let writer = Writer::new(0);
    let is_sampled = |name: &str| writer.samples.iter().any(|line| line[0].eq_ignore_ascii_case(name.as_bytes()));
    // The others have a fixed number of arguments, or need none but keys.
    let is_simple = |spec: &Spec| matches!(spec.arity, Arity::Exact(_)) || spec.arity.accepts(2);
    let missing: Vec<&str> = all()
        .map(|command| &command.spec)
        .filter(|spec| !is_sampled(spec.name) && !is_simple(spec))
        .map(|spec| spec.name)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
