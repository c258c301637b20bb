//! Every row that writes tells of what it has done: a sample of each command is run, its effects are replayed into a copy,
//! which then holds the same; somebody who listens has heard an event; and a walk that began before shows nothing of it.

use super::super::all;
use super::super::harness::Shard;
use crate::command::Flags;
use crate::journal::EventClass;
use crate::keyspace::{Entry, OwnedEntry, SharedSink, WalkSink};
use crate::reply::Protocol;
use crate::values::Encodings;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const EVENTS: &[EventClass] = &[
    EventClass::Generic,
    EventClass::String,
    EventClass::List,
    EventClass::Set,
    EventClass::Hash,
    EventClass::SortedSet,
    EventClass::Stream,
    EventClass::Expired,
];

/// Keys of every type, for all samples. A sample's own command changes something of it.
pub(in crate::commands) const BEFORE: &[&str] = &[
    "MSET s text n 5 other value",
    "SET v volatile PX 100000",
    "RPUSH l c a b a",
    "RPUSH l2 z",
    "SADD set a b c",
    "SADD set2 b c d",
    "HSET h f 1 g 2 x 3",
    "HPEXPIRE h 100000 FIELDS 1 x",
    "ZADD z 1 a 2 b 3 c",
    "ZADD z2 5 b 6 d",
    "ZADD names 0 a 0 b 0 c",
    "PFADD hll a b c",
    "PFADD hll2 c d",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "XADD idempotent IDMP p1 one * f 1",
    "XADD st 1-1 f 1",
    "XADD st 2-1 f 2",
    "XADD st 3-1 f 3",
    "XGROUP CREATE st g 0",
    "XGROUP CREATE st g2 0",
    "XGROUP CREATECONSUMER st g alice",
    "XGROUP CREATECONSUMER st g bob",
    "XGROUP CREATECONSUMER st g2 bob",
    "XREADGROUP GROUP g alice COUNT 2 STREAMS st >",
];

/// At least one line for each command that writes.
pub(in crate::commands) const SAMPLES: &[&str] = &[
    "APPEND s more",
    "APPEND new text",
    "BITFIELD s SET u8 0 1",
    "BITOP XOR new s other",
    "BITOP AND s none none",
    "COPY s new",
    "COPY v s REPLACE",
    "DECR n",
    "DECRBY n 3",
    "DEL s l none",
    "UNLINK set h none",
    "DELEX s",
    "DELEX s IFEQ text",
    "DELIFEQ s text",
    "EXPIRE s 100",
    "EXPIRE l -1",
    "EXPIREAT h 99999999999",
    "PEXPIRE z 100000",
    "PEXPIREAT s 1",
    "PERSIST v",
    "FLUSHALL",
    "FLUSHDB",
    "GEOADD geo 1 1 here",
    "GEORADIUS geo 15 37 200 km STORE new",
    "GEORADIUS geo 1 1 1 m STORE z",
    "GEORADIUSBYMEMBER geo Palermo 1 km STOREDIST z",
    "GEOSEARCHSTORE new geo FROMMEMBER Palermo BYRADIUS 200 km",
    "GEOSEARCHSTORE new geo BYPOLYGON 3 12 37 16 37 16 38.5 STOREDIST",
    "GETDEL s",
    "GETEX s EX 100",
    "GETEX v PERSIST",
    "GETEX s PXAT 1",
    "GETSET s other",
    "HDEL h f g",
    "HDEL h f g x",
    "HEXPIRE h 100 FIELDS 1 f",
    "HEXPIREAT h 9999999999 FIELDS 1 f",
    "HPEXPIRE h 0 FIELDS 1 f",
    "HPEXPIREAT h 9999999999000 FIELDS 2 f g",
    "HPERSIST h FIELDS 1 x",
    "HGETDEL h FIELDS 1 f",
    "HGETEX h EX 100 FIELDS 1 f",
    "HGETEX h PERSIST FIELDS 1 x",
    "HINCRBY h f 3",
    "HINCRBYFLOAT h f 1.5",
    "HMSET h f 9",
    "HSET h new 1",
    "HSETEX h EX 100 FIELDS 1 f 2",
    "HSETNX h new 1",
    "INCR n",
    "INCR new",
    "INCRBY n 3",
    "INCRBYFLOAT n 1.5",
    "INCREX n BYINT 3 EX 100",
    "INCREX n BYFLOAT 0.5",
    "LINSERT l BEFORE a x",
    "BLMOVE l l2 LEFT RIGHT 0",
    "BLMOVEM l l2 LEFT RIGHT 0 COUNT 2 BULK",
    "BLMPOP 0 2 none l LEFT COUNT 2",
    "BLPOP none l 0",
    "BRPOP l none 0",
    "BRPOPLPUSH l l2 0",
    "LMOVE l l2 LEFT RIGHT",
    "LMOVEM l l2 LEFT LEFT COUNT 2 OBO",
    "LMPOP 2 none l LEFT COUNT 2",
    "LPOP l",
    "LPUSH l x y",
    "LPUSHX l x",
    "LREM l 0 a",
    "LSET l 0 x",
    "LTRIM l 1 2",
    "LTRIM l 9 9",
    "MOVE s 1",
    "MSET s 1 new 2",
    "MSETEX 2 s 1 new 2 EX 100",
    "MSETEX 2 v 1 new 2 KEEPTTL",
    "MSETNX new 1 new2 2",
    "PFADD hll x y z",
    "PFADD new",
    "PFCOUNT hll",
    "PFDEBUG TODENSE hll",
    "PFDEBUG GETREG hll",
    "PFMERGE hll hll2",
    "PSETEX s 100000 x",
    "SETEX s 100 x",
    "RENAME v s",
    "RENAMENX s new",
    "RPOP l 2",
    "RPOP l2",
    "RPOPLPUSH l l2",
    "RPUSH l x",
    "RPUSHX l x",
    "SADD set x",
    "SDIFFSTORE new set set2",
    "SDIFFSTORE z none set2",
    "SET s x",
    "SET s x EX 100 GET",
    "SET v x KEEPTTL",
    "SET s x PXAT 1",
    "SETBIT s 4 1",
    "SETNX new x",
    "SETRANGE s 2 xx",
    "SINTERSTORE new set set2",
    "SMOVE set set2 a",
    "SORT l ALPHA STORE new",
    "SORT none STORE l",
    "SPOP set",
    "SPOP set 2",
    "SPOP set 9",
    "SREM set a",
    "SUNIONSTORE new set set2",
    "SWAPDB 0 1",
    "XACK st g 1-1",
    "XACKDEL st g IDS 1 2-1",
    "XACKDEL st g DELREF IDS 2 1-1 2-1",
    "XADD st 9-1 f 9",
    "XADD st MAXLEN 2 * f 9",
    "XADD st MINID 3 DELREF 9-1 f 9",
    "XADD idempotent IDMP p2 two * f 9",
    "XADD idempotent IDMPAUTO p1 * f 9",
    "XADD new * f 1",
    "XAUTOCLAIM st g bob 0 0",
    "XAUTOCLAIM st g bob 0 0 COUNT 1 JUSTID",
    "XCFGSET st IDMP-DURATION 10 IDMP-MAXSIZE 20",
    "XCLAIM st g bob 0 1-1 2-1",
    "XCLAIM st g bob 0 3-1 FORCE IDLE 10 RETRYCOUNT 4 LASTID 3-1",
    "XDEL st 1-1 9-9",
    "XDEL st 1-1 2-1 3-1",
    "XDELEX st DELREF IDS 2 1-1 3-1",
    "XGROUP CREATE st new $ ENTRIESREAD 3",
    "XGROUP CREATE new g $ MKSTREAM",
    "XGROUP CREATECONSUMER st g carol",
    "XGROUP DELCONSUMER st g alice",
    "XGROUP DESTROY st g",
    "XGROUP SETID st g 1-1 ENTRIESREAD 1",
    "XIDMPRECORD st p2 two 3-1",
    "XNACK st g FAIL IDS 1 1-1",
    "XNACK st g SILENT IDS 2 1-1 2-1",
    "XNACK st g FATAL IDS 1 3-1 FORCE",
    "XREADGROUP GROUP g bob STREAMS st >",
    "XREADGROUP GROUP g bob NOACK STREAMS st >",
    "XREADGROUP GROUP g2 bob COUNT 1 STREAMS st >",
    "XSETID st 9-1 ENTRIESADDED 20 MAXDELETEDID 4-0",
    "XTRIM st MAXLEN 1",
    "XTRIM st MINID 2-1 DELREF",
    "ZADD z 9 a",
    "ZADD z INCR 9 a",
    "ZDIFFSTORE new 2 z z2",
    "ZINCRBY z 2 a",
    "ZINTERSTORE new 2 z z2",
    "BZMPOP 0 2 none z MIN COUNT 2",
    "BZPOPMAX none z 0",
    "BZPOPMIN z none 0",
    "ZMPOP 2 none z MIN COUNT 2",
    "ZPOPMAX z",
    "ZPOPMIN z 9",
    "ZRANGESTORE new z 0 1",
    "ZREM z a",
    "ZREMRANGEBYLEX names [a [b",
    "ZREMRANGEBYRANK z 0 0",
    "ZREMRANGEBYSCORE z 2 3",
    "ZUNIONSTORE new 2 z z2",
];

/// Those of which nobody hears: they are about whole databases, or change how a value is kept, or what a group was told of.
const SILENT: &[&str] = &[
    "flushall",
    "flushdb",
    "swapdb",
    "pfcount",
    "pfdebug",
    "xack",
    "xautoclaim",
    "xcfgset",
    "xclaim",
    "xidmprecord",
    "xnack",
    "xreadgroup",
];

fn words(reply: &str) -> Vec<String> {
    reply.split("\r\n").filter(|line| !line.starts_with(['$', '*'])).map(str::to_owned).collect()
}

/// Everything in the first databases.
fn digest(shard: &mut Shard) -> BTreeMap<(usize, String), Vec<String>> {
    let mut all = BTreeMap::new();
    for database in 0..3 {
        shard.database = database;
        for key in words(&shard.run("KEYS *")) {
            if key.is_empty() {
                continue;
            }
            let kind = shard.run(&format!("TYPE {key}"));
            let mut value = match kind.trim_end() {
                "+set" => words(&shard.run(&format!("SMEMBERS {key}"))),
                "+list" => words(&shard.run(&format!("LRANGE {key} 0 -1"))),
                "+zset" => words(&shard.run(&format!("ZRANGE {key} 0 -1 WITHSCORES"))),
                "+stream" => words(&shard.run(&format!("XINFO STREAM {key} FULL"))),
                "+hash" => {
                    let names = words(&shard.run(&format!("HKEYS {key}")));
                    let fields = names.iter().filter(|name| !name.is_empty());
                    fields
                        .map(|field| {
                            shard.run(&format!("HGET {key} {field}"))
                                + field
                                + &shard.run(&format!("HPEXPIRETIME {key} FIELDS 1 {field}"))
                        })
                        .collect()
                }
                _ => words(&shard.run(&format!("GET {key}"))),
            };
            if kind.starts_with("+set") || kind.starts_with("+hash") {
                value.sort();
            }
            value.push(kind);
            value.push(shard.run(&format!("PEXPIRETIME {key}")));
            all.insert((database, key), value);
        }
    }
    shard.database = 0;
    all
}

/// Values in pages, and trees; the latter worked on at once, and in slices.
fn forms() -> [(Encodings, u64); 3] {
    let trees = Encodings {
        hash_listpack_entries_max: 1,
        set_intset_entries_max: 1,
        set_listpack_entries_max: 1,
        sorted_set_listpack_entries_max: 1,
        list_listpack_size_max: 1,
        ..Encodings::default()
    };
    [(Encodings::default(), 1024), (trees, 1024), (trees, 0)]
}

fn prepared_with(encodings: Encodings) -> Shard {
    let mut shard = Shard::default();
    shard.options.encodings = encodings;
    for line in BEFORE {
        let reply = shard.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    shard
}

#[test]
fn every_write_is_told_and_heard() {
    for (line, (encodings, units_at_once)) in SAMPLES.iter().flat_map(|line| forms().map(|form| (line, form))) {
        let (mut shard, mut copy) = (prepared_with(encodings), prepared_with(encodings));
        (shard.options.units_at_once, shard.units_a_step) = (units_at_once, 1);
        let before = digest(&mut shard);
        shard.keyspace.journal.listen(true, EVENTS);
        let dirty = shard.keyspace.dirty;
        let reply = shard.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let (effects, events) = shard.keyspace.journal.take();
        assert!(!effects.is_empty() || line.starts_with("PFDEBUG GETREG"), "{line} has told nothing");
        assert!(shard.keyspace.dirty > dirty || effects.is_empty() || line.contains("DB"), "{line} does not count");
        for effect in &effects {
            copy.database = effect.database;
            let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
            let reply = copy.execute(Protocol::Resp2, &arguments);
            assert!(!reply.starts_with(b"-"), "{line}: {effect:?} -> {}", reply.escape_ascii());
        }
        let after = digest(&mut shard);
        assert_eq!(digest(&mut copy), after, "{line}: {effects:?}");
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let is_silent = SILENT.contains(&name.as_str());
        assert!(is_silent || before != after, "{line} has changed nothing");
        assert_eq!(events.is_empty(), is_silent, "{line}: {events:?}");
    }
}

/// Keeps what a walk shows.
#[derive(Default)]
struct Shown(Vec<(Vec<u8>, OwnedEntry)>);

impl WalkSink for Shown {
    fn key(&mut self, key: &[u8], entry: &Entry<'_>) {
        self.0.push((key.to_vec(), entry.to_owned()));
    }
}

/// Whatever a command changes, a walk that began before shows it as it was: values in pages, and trees.
#[test]
fn no_write_is_seen_by_a_walk_that_began_before() {
    for line in SAMPLES {
        for (encodings, units_at_once) in forms() {
            let mut shard = prepared_with(encodings);
            (shard.options.units_at_once, shard.units_a_step) = (units_at_once, 1);
            let before = digest(&mut shard);
            let walks: Vec<_> = (0..3)
                .map(|database| {
                    let shown = Rc::new(RefCell::new(Shown::default()));
                    let sink: SharedSink = shown.clone();
                    (shard.keyspace.begin_walk(database, shard.now, &sink), shown, sink)
                })
                .collect();
            let reply = shard.run(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
            let mut copy = Shard::default();
            for (database, (id, shown, _sink)) in walks.into_iter().enumerate() {
                while shard.keyspace.step_walk(id, 3) {}
                for (name, entry) in shown.take().0 {
                    let key = copy.keyspace.key(&name);
                    assert!(!copy.keyspace.exists(database, &key, copy.now), "{line}: shown twice");
                    copy.keyspace.put(database, &key, entry, copy.now);
                }
            }
            assert_eq!(digest(&mut copy), before, "{line}");
        }
    }
}

#[test]
fn every_command_that_writes_has_a_sample() {
    let sampled: BTreeSet<String> =
        SAMPLES.iter().filter_map(|line| line.split(' ').next()).map(str::to_ascii_lowercase).collect();
    let missing: Vec<&str> = all()
        .map(|command| &command.spec)
        .filter(|spec| spec.flags.has(Flags::WRITE) && !sampled.contains(spec.name))
        .map(|spec| spec.name)
        .collect();
    assert!(missing.is_empty(), "commands that nobody has tried: {missing:?}");
}
