//! Every command that can be worked off in slices, against the same command done at once: same replies, same data, same
//! events, same effects; and what comes between its slices is not seen.

use super::harness::Shard;
use crate::journal::EventClass;
use crate::reply::Protocol;
use std::collections::BTreeSet;

/// Two shards with the same data: on one, everything that may be worked off in slices is, in the smallest steps.
fn pair() -> [Shard; 2] {
    let mut shards = [Shard::default(), Shard::default()];
    shards[0].options.units_at_once = u64::MAX;
    shards[1].options.units_at_once = 0;
    for shard in &mut shards {
        // Trees for all but the smallest.
        shard.options.encodings.set_intset_entries_max = 2;
        shard.options.encodings.set_listpack_entries_max = 2;
        shard.options.encodings.hash_listpack_entries_max = 2;
        shard.options.encodings.sorted_set_listpack_entries_max = 2;
        shard.options.encodings.list_listpack_size_max = 2;
        let classes = [EventClass::Generic, EventClass::Set, EventClass::Hash, EventClass::SortedSet, EventClass::List];
        let more = [EventClass::String, EventClass::Stream, EventClass::Expired];
        shard.keyspace.journal.listen(true, &[&classes[..], &more].concat());
        // Several nodes for few entries.
        shard.options.encodings.stream_node_entries_max = 5;
    }
    shards
}

fn word(random: &mut fastrand::Rng) -> String {
    random.u32(..60).to_string()
}

fn fill(random: &mut fastrand::Rng) -> Vec<String> {
    let mut lines = vec!["RPUSH texts 3 1 2x 4".to_owned(), "RPUSH texts b a".to_owned()];
    for _ in 0..40 {
        lines.push(format!("SET w_{} {}", word(random), random.i32(-9..9)));
        lines.push(format!("HSET wh_{} f {}", word(random), random.i32(-9..9)));
    }
    for name in ["t1", "t2"] {
        let text: String = (0..random.usize(..60)).map(|_| random.char('a'..='d')).collect();
        lines.push(format!("SET {name} '{text}'"));
    }
    for name in ["1", "2", "3", "4", "5"] {
        for _ in 0..random.usize(..60) {
            lines.push(format!("SADD s{name} {}", word(random)));
            lines.push(format!("ZADD z{name} {} {}", random.i32(-5..5), word(random)));
            lines.push(format!("HSET h{name} {} {}", word(random), word(random)));
            lines.push(format!("RPUSH l{name} {}", word(random)));
            lines.push(format!("SETRANGE b{name} {} {}", random.u32(..9000), word(random)));
            // Some at the same place.
            let (longitude, latitude) = (random.i32(-9..9), random.i32(-9..9));
            lines.push(format!("GEOADD g{name} {longitude} {latitude} {}", word(random)));
        }
        lines.push(format!("XGROUP CREATE x{name} g 0 MKSTREAM"));
        lines.push(format!("XGROUP CREATE x{name} other 7 MKSTREAM"));
        for number in 1..=random.usize(..60) {
            lines.push(format!("XADD x{name} {number}-0 f {} g {}", word(random), word(random)));
            lines.push(format!("PFADD p{name} {}", word(random)));
            match random.u32(..20) {
                0 => lines.push(format!("XREADGROUP GROUP g c{} STREAMS x{name} >", random.u32(..3))),
                1 => lines.push(format!("XDEL x{name} {}", random.usize(1..=number))),
                2 => lines.push(format!("XACK x{name} other {}", random.usize(1..=number))),
                3 => lines.push(format!("XREADGROUP GROUP other c0 COUNT 3 STREAMS x{name} >")),
                _ => {}
            }
        }
        if random.u32(..4) == 0 {
            lines.push(format!("PFDEBUG TODENSE p{name}"));
        }
        if random.u32(..4) == 0 {
            lines.push(format!("HPEXPIRE h{name} 1000 FIELDS 2 {} {}", word(random), word(random)));
        }
        if random.u32(..8) == 0 {
            lines.push(format!("PEXPIRE s{name} 1000"));
        }
    }
    lines
}

const READS: &[&str] = &[
    "SMEMBERS s1",
    "HGETALL h1",
    "HKEYS h2",
    "HVALS h3",
    "LRANGE l1 0 -1",
    "LRANGE l2 3 -4",
    "LPOS l1 7",
    "LPOS l1 7 COUNT 0",
    "LPOS l1 7 RANK -1 COUNT 2 MAXLEN 20",
    "LPOS l1 7 RANK 2",
    "ZRANGE z1 0 -1 WITHSCORES",
    "ZRANGE z1 2 9",
    "ZRANGE z2 3 -2 REV WITHSCORES",
    "ZREVRANGEBYSCORE z3 3 -2 WITHSCORES LIMIT 1 7",
    "ZRANGEBYLEX z1 - +",
    "SINTER s1 s2",
    "SINTER s1 s2 s3",
    "SUNION s1 s2",
    "SUNION s1 s2 s3 s4 s5 none",
    "SDIFF s1 s2 none s3",
    "SINTERCARD 2 s1 s2",
    "SINTERCARD 2 s1 s2 LIMIT 2",
    "ZUNION 3 z1 z2 s3 WEIGHTS 2 -1 3 WITHSCORES",
    "ZUNION 2 z1 z2 AGGREGATE MIN",
    "ZINTER 2 z1 z2 AGGREGATE MAX WITHSCORES",
    "ZINTER 2 z1 none",
    "ZDIFF 3 z1 z2 s3 WITHSCORES",
    "ZINTERCARD 2 z1 z2 LIMIT 3",
    "ZCOUNT z1 -2 3",
    "ZREVRANGEBYLEX z1 + - LIMIT 5 10",
    "ZRANGE z1 -inf +inf BYSCORE LIMIT 30 5",
    "GEOSEARCH g1 FROMLONLAT 0 0 BYRADIUS 900 km",
    "GEOSEARCH g1 FROMLONLAT 0 0 BYRADIUS 900 km ASC WITHDIST WITHCOORD WITHHASH",
    "GEOSEARCH g2 FROMLONLAT 1 1 BYBOX 1000 800 mi DESC WITHDIST",
    "GEOSEARCH g1 FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 7",
    "GEOSEARCH g1 FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 30 DESC WITHDIST",
    "GEOSEARCH g2 FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 5 ANY",
    "GEOSEARCH g2 FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 5 ANY ASC",
    "GEOSEARCH g2 BYPOLYGON 4 -9 -9 9 -9 5 5 -9 9 ASC WITHCOORD",
    "GEORADIUS g3 0 0 700 km WITHDIST ASC",
    "GEORADIUS_RO g3 0 0 1 m",
    "GEORADIUS g3 0 0 2000 km COUNT 4",
    "BITCOUNT b1",
    "BITCOUNT b1 100 -3",
    "BITCOUNT b2 13 -100 BIT",
    "BITPOS b1 1",
    "BITPOS b3 0 5",
    "KEYS *",
    "KEYS z?",
    "SINTER s1 l1",
    "ZUNION 2 z1 l1",
    "SORT l1",
    "SORT z1 DESC",
    "SORT s1 ALPHA",
    "SORT l2 ALPHA DESC LIMIT 3 9",
    "SORT_RO l1 LIMIT 50 100 GET # GET nothing GET #",
    "SORT l3 LIMIT 9 0",
    "SORT l1 BY nosort LIMIT 2 -1 DESC",
    "SORT z1 BY nosort DESC",
    "SORT texts",
    "SORT texts ALPHA",
    "SORT l1 BY w_*",
    "SORT z1 BY w_* DESC GET # GET w_* GET wh_*->f GET nothing",
    "SORT l2 BY w_* ALPHA GET w_*",
    "SORT l2 BY nosort GET w_* LIMIT 3 9",
    "SORT z1 BY nosort GET # GET wh_*->f DESC",
    "SORT l1 GET wh_*->f LIMIT 2 7",
    "SORT_RO z2 BY wh_*->f ALPHA DESC LIMIT 5 9",
    "SORT l1 BY texts*",
    "SORT b1 BY w_*",
    "SORT none BY w_*",
    "XRANGE x1 - +",
    "XRANGE x1 9 (30 COUNT 12",
    "XREVRANGE x2 + -",
    "XREVRANGE x2 31 7 COUNT 5",
    "XREAD STREAMS x1 x2 x3 0 20 0",
    "XREAD COUNT 7 STREAMS x1 none x2 5 0 0",
    "XREAD MAXCOUNT 20 STREAMS x1 x2 x1 5 0 0",
    "XREAD MAXSIZE 300 STREAMS x1 x2 x3 0 0 0",
    "XREAD COUNT 9 MAXSIZE 700 STREAMS x1 x2 5 0",
    "XREAD STREAMS x1 x2 + $",
    "XREAD STREAMS x4 999",
    "XPENDING x1 g - + 100",
    "XPENDING x1 g IDLE 1 - + 7",
    "XPENDING x2 g 3 (20 9 c1",
    "XPENDING x2 g IDLE 5000 - + 9 c1",
    "XPENDING x2 g",
    "XINFO STREAM x1 FULL",
    "XINFO STREAM x2 FULL COUNT 0",
    "XINFO STREAM x3 FULL COUNT 3",
    "PFCOUNT p1 p2",
    "PFCOUNT p1 p2 none p3 p4 p5",
    "PFCOUNT p1 b1",
    "PFCOUNT p1 l1",
    "SSCAN s4 0 COUNT 1000",
    "SSCAN s4 0 COUNT 20",
    "SSCAN s5 0 MATCH 1* COUNT 30",
    "HSCAN h1 0 COUNT 1000",
    "HSCAN h2 0 COUNT 10 MATCH *2*",
    "HSCAN h3 0 COUNT 50 NOVALUES",
    "DIGEST b1",
    "DIGEST none",
    "LCS b1 b2",
    "LCS t1 t2",
    "LCS t1 t2 LEN",
    "LCS t2 t1 IDX MINMATCHLEN 2 WITHMATCHLEN",
];

const WRITES: &[&str] = &[
    "SORT l1 STORE d",
    "SORT l2 ALPHA DESC LIMIT 3 9 STORE l2",
    "SORT s1 BY nosort STORE d",
    "SORT z1 BY w_* GET # GET w_* GET nothing STORE d",
    "SORT l3 BY w_* ALPHA STORE l1",
    "SORT l1 BY nosort GET w_* STORE d",
    "SORT none BY w_* STORE d",
    "SORT l1 LIMIT 500 9 STORE d",
    "SORT texts STORE d",
    "SINTERSTORE d s1 s2",
    "SUNIONSTORE s1 s1 s2 s3",
    "SUNIONSTORE d s1 s2 s3 s4 s5",
    "SDIFFSTORE d s1 s2",
    "SINTERSTORE s1 s1 none",
    "ZUNIONSTORE d 2 z1 z2 WEIGHTS 0.5 3",
    "ZINTERSTORE z2 2 z1 z2",
    "ZDIFFSTORE d 2 z1 z3",
    "ZDIFFSTORE d 2 z1 z1",
    "ZRANGESTORE d z1 2 -3",
    "ZRANGESTORE d z1 2 -3 REV",
    "ZRANGESTORE z1 z1 -inf +inf BYSCORE LIMIT 1 9",
    "ZREMRANGEBYRANK z1 0 2",
    "ZREMRANGEBYRANK z1 3 -4",
    "ZREMRANGEBYRANK z2 1 -1",
    "ZREMRANGEBYRANK z2 0 -1",
    "ZREMRANGEBYRANK z3 50 90",
    "ZREMRANGEBYSCORE z1 (0 3",
    "ZREMRANGEBYSCORE z3 -inf +inf",
    "ZREMRANGEBYLEX z1 [1 (3",
    "ZPOPMIN z1",
    "ZPOPMIN z1 5",
    "ZPOPMAX z1 30",
    "ZPOPMAX z2 100",
    "ZMPOP 2 none z3 MIN COUNT 20",
    "ZMPOP 2 z1 z3 MAX COUNT 9",
    "GEOSEARCHSTORE d g1 FROMLONLAT 0 0 BYRADIUS 900 km",
    "GEOSEARCHSTORE d g1 FROMLONLAT 0 0 BYRADIUS 900 km STOREDIST",
    "GEOSEARCHSTORE g2 g2 FROMLONLAT 0 0 BYRADIUS 900 km COUNT 9",
    "GEOSEARCHSTORE d g2 FROMLONLAT 60 60 BYRADIUS 1 m",
    "GEOSEARCHSTORE d g3 BYPOLYGON 4 -9 -9 9 -9 5 5 -9 9",
    "GEOSEARCHSTORE d g3 BYPOLYGON 3 60 60 61 60 60 61",
    "GEORADIUS g1 0 0 800 mi STOREDIST d",
    "GEORADIUS g1 0 0 800 mi COUNT 3 DESC STORE d",
    "BITOP AND d b1 b2",
    "BITOP OR b1 b1 b2 b3",
    "BITOP NOT d b1",
    "BITOP ONE d b1 b2 b3",
    "LPOP l1 3",
    "LPOP l2 100",
    "RPOP l3 5",
    "LMPOP 3 none l2 l1 RIGHT COUNT 4",
    "LMPOP 2 none l4 LEFT COUNT 400",
    "RPUSH l1 7 8 9 7 7 8",
    "LMOVEM l1 l2 LEFT RIGHT COUNT 20 OBO",
    "LMOVEM l2 l1 RIGHT RIGHT COUNT 15 OBO",
    "LMOVEM l3 l1 RIGHT RIGHT COUNT 9 BULK",
    "LMOVEM l4 d LEFT LEFT EXACTLY 30 BULK",
    "LMOVEM l4 l3 LEFT LEFT COUNT 1000 OBO",
    "LMOVEM l1 l1 LEFT RIGHT COUNT 7 OBO",
    "LMOVEM l2 l2 LEFT LEFT COUNT 1000 OBO",
    "LMOVEM l2 l2 RIGHT RIGHT COUNT 11 OBO",
    "LMOVEM l1 l1 RIGHT RIGHT COUNT 11 BULK",
    "LMOVEM l3 s1 LEFT LEFT COUNT 5 BULK",
    "LTRIM l1 3 -3",
    "LREM l1 0 7",
    "LREM l2 2 8",
    "LREM l3 -2 9",
    "LREM l4 -100 8",
    "LREM l4 0 none",
    "LINSERT l1 BEFORE 7 before",
    "LINSERT l2 AFTER 8 after",
    "LINSERT l3 AFTER none text",
    "SPOP s3 1000",
    "XADD x1 * f v g w",
    "XADD x2 * f v",
    "XADD x3 * f v",
    "XREADGROUP GROUP g c1 STREAMS x1 >",
    "XREADGROUP GROUP g c7 COUNT 5 STREAMS x1 x2 x3 > > >",
    "XREADGROUP GROUP g c2 NOACK STREAMS x2 >",
    "XREADGROUP GROUP g c1 STREAMS x1 0",
    "XREADGROUP GROUP g c2 COUNT 4 STREAMS x1 x2 3 >",
    "XREADGROUP GROUP g c1 MAXCOUNT 6 STREAMS x1 x2 x3 0 > 0",
    "XREADGROUP GROUP g c1 MAXSIZE 250 STREAMS x3 x1 > 0",
    "XREADGROUP GROUP g c3 CLAIM 0 STREAMS x1 x3 > >",
    "XREADGROUP GROUP g c4 COUNT 3 CLAIM 1 STREAMS x2 >",
    "XREADGROUP GROUP g c1 STREAMS x1 x1 > >",
    "XREADGROUP GROUP none c1 STREAMS x1 >",
    "XAUTOCLAIM x1 g c3 0 0",
    "XAUTOCLAIM x2 g c8 0 5 COUNT 3",
    "XAUTOCLAIM x3 g c1 1 - COUNT 100 JUSTID",
    "XTRIM x1 MAXLEN 20",
    "XTRIM x2 MAXLEN ~ 9",
    "XTRIM x3 MINID 9",
    "XTRIM x1 MAXLEN 9 ACKED",
    "XTRIM x2 MAXLEN ~ 5 ACKED",
    "XTRIM x2 MINID 12 DELREF",
    "XTRIM x3 MAXLEN 9 DELREF",
    "XADD x1 MAXLEN = 7 ACKED * f v",
    "XADD x3 MAXLEN 11 DELREF * f v",
    "XGROUP DELCONSUMER x1 g c1",
    "XGROUP DELCONSUMER x2 g c2",
    "XGROUP DESTROY x3 other",
    "XGROUP CREATE x3 other 9",
    "PFMERGE d p1 p2",
    "PFMERGE p3 p4 p5 p1",
    "PFMERGE p2",
    "PFMERGE p1 b1",
    "APPEND b4 more",
    "SETRANGE b4 10000 text",
    "SETBIT b5 7 1",
    "BITFIELD b5 SET u8 100 77 GET u8 0",
    "COPY b4 b5 REPLACE",
];

/// Elements of a reply in a certain order, where the forms may list them differently.
fn in_order(line: &str, reply: Vec<u8>) -> Vec<u8> {
    if !(line.starts_with("SINTER ") || line.starts_with("SUNION ") || line.starts_with("SDIFF ")) {
        return reply;
    }
    let mut lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.join(&b'\n')
}

#[test]
fn what_is_worked_off_in_slices_comes_to_the_same() {
    let mut long_commands = 0;
    for seed in 0..80 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shards = pair();
        for line in fill(&mut random) {
            shards.iter_mut().for_each(|shard| drop(shard.run(&line)));
        }
        shards.iter_mut().for_each(|shard| shard.now += i64::from(seed % 2 == 0) * 2000);
        for _ in 0..30 {
            let lines = if random.bool() { READS } else { WRITES };
            let line = lines[random.usize(..lines.len())];
            shards[1].units_a_step = random.u64(1..30);
            let protocol = if random.bool() { Protocol::Resp2 } else { Protocol::Resp3 };
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let [short, long] = &mut shards;
            let replies = [short, long].map(|shard| {
                let reply = in_order(line, shard.execute(protocol, &words));
                let (effects, events) = shard.keyspace.journal.take();
                (reply, shard.keyspace.dirty, shard.keyspace.statistics, effects, events)
            });
            let [short, long] = replies;
            let told = |effects: &[crate::journal::Effect]| {
                // What was stored ahead of its result is told as the command, also where nothing came of it.
                effects.iter().filter(|effect| effect.arguments[0] != b"DEL").cloned().collect::<Vec<_>>()
            };
            let is_empty_store = short.0 == b":0\r\n";
            assert_eq!(short.0.escape_ascii().to_string(), long.0.escape_ascii().to_string(), "seed {seed}: {line}");
            assert_eq!((short.1, short.2), (long.1, long.2), "seed {seed}: {line}");
            assert_eq!(short.4, long.4, "seed {seed}: {line}");
            // And PFMERGE by what it came to.
            if !is_empty_store && !line.starts_with("PFMERGE") {
                assert_eq!(told(&short.3), told(&long.3), "seed {seed}: {line}");
            }
        }
        let keys = ["d", "s1", "z1", "z2", "z3", "b1", "b4", "b5", "g2", "l1", "l2", "x1", "p1", "p2", "p3"];
        let [short, long] = &mut shards;
        for key in keys {
            let lines = ["TYPE *", "OBJECT ENCODING *", "GET *", "ZRANGE * 0 -1 WITHSCORES", "LRANGE * 0 -1", "PTTL *"];
            for line in lines.map(|line| line.replace('*', key)) {
                assert_eq!(short.run(&line), long.run(&line), "seed {seed}: {line}");
            }
        }
        for line in
            ["LRANGE l1 0 -1", "LRANGE l2 0 -1", "LRANGE l3 0 -1", "XINFO STREAM x1 FULL", "XINFO STREAM x2 FULL"]
        {
            assert_eq!(short.run(line), long.run(line), "seed {seed}: {line}");
        }
        long_commands += shards[1].long_commands;
        assert_eq!(shards[0].long_commands, 0);
    }
    assert!(long_commands > 1500, "{long_commands}");
}

#[test]
fn many_elements_are_sorted_in_several_merges() {
    let [short, long] = &mut pair();
    // More than one merge takes runs, several times over.
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        let words: Vec<String> = (0..100).map(|_| random.i32(-9000..9000).to_string()).collect();
        for shard in [&mut *short, &mut *long] {
            shard.run(&format!("RPUSH l {}", words.join(" ")));
        }
    }
    for units in [1, 700, 1_000_000] {
        long.units_a_step = units;
        for line in
            ["SORT l", "SORT l ALPHA DESC", "SORT l LIMIT 0 10", "SORT l LIMIT 39990 100 DESC", "SORT l LIMIT 300 900"]
        {
            assert_eq!(short.run(line), long.run(line), "{line}");
        }
    }
    assert_eq!(long.long_commands, 15);
}

#[test]
fn large_random_choices_have_their_number() {
    let [_, shard] = &mut pair();
    shard.units_a_step = 7;
    let members: Vec<String> = (0..500).map(|number| format!("m{number}")).collect();
    shard.run(&format!("SADD s {}", members.join(" ")));
    let pairs: Vec<String> = (0..500).map(|number| format!("{number} m{number}")).collect();
    shard.run(&format!("ZADD z {}", pairs.join(" ")));
    shard.run(&format!("HSET h {}", pairs.join(" ")));
    for (command, key) in [("SRANDMEMBER", "s"), ("ZRANDMEMBER", "z"), ("HRANDFIELD", "h")] {
        for (count, expected, is_distinct) in
            [("100", 100, true), ("499", 499, true), ("900", 500, true), ("-900", 900, false)]
        {
            let reply = shard.run(&format!("{command} {key} {count}"));
            let mut names: Vec<&str> = reply.split("\r\n").skip(2).step_by(2).collect();
            assert_eq!(names.len(), expected, "{command} {count}");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len() == expected, is_distinct, "{command} {count}");
        }
    }
    assert_eq!(shard.long_commands, 12);
}

#[test]
fn popped_members_are_told_once_and_gone() {
    for seed in 0..60 {
        let [_, shard] = &mut pair();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut copy = Shard::default();
        let members: Vec<String> = (0..random.usize(3..3000)).map(|number| format!("m{number}")).collect();
        shard.run(&format!("SADD s {}", members.join(" ")));
        let (mut told, mut left) = (Vec::new(), members.len());
        while left > 0 {
            shard.units_a_step = random.u64(1..200);
            let count = random.usize(1..members.len() + 9);
            let reply = shard.run(&format!("SPOP s {count}"));
            let popped = count.min(left);
            left -= popped;
            assert!(reply.starts_with(&format!("*{popped}\r\n")), "seed {seed}");
            told.extend(reply.split("\r\n").filter(|line| line.starts_with('m')).map(ToOwned::to_owned));
            assert_eq!(told.len(), members.len() - left, "seed {seed}");
            shard.check("SCARD s", &format!(":{left}\r\n"));
            for effect in shard.keyspace.journal.take().0 {
                let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
                assert!(arguments.len() <= 2 + 1024 || arguments[0] == b"SADD");
                copy.execute(Protocol::Resp2, &arguments);
            }
            let names = |reply: String| reply.split("\r\n").map(ToOwned::to_owned).collect::<BTreeSet<String>>();
            assert_eq!(names(shard.run("SMEMBERS s")), names(copy.run("SMEMBERS s")), "seed {seed}");
        }
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), members.len(), "seed {seed}");
        shard.check("EXISTS s", ":0\r\n");
    }
}

#[test]
fn many_members_are_popped_fairly() {
    let mut counts = [0; 100];
    let [_, shard] = &mut pair();
    let members: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    for _ in 0..400 {
        shard.run(&format!("SADD s {}", members.join(" ")));
        let reply = shard.run("SPOP s 30");
        let numbers = reply.split("\r\n").filter_map(|line| line.strip_prefix('m')?.parse::<usize>().ok());
        numbers.for_each(|number| counts[number] += 1);
    }
    // 120 of 400 each in the mean, six times the standard deviation of 9 to either side.
    assert!(counts.iter().all(|count| (66..174).contains(count)), "{counts:?}");
}

#[test]
fn fields_that_are_due_are_not_drawn() {
    for live in [1, 40, 290] {
        let [_, shard] = &mut pair();
        shard.units_a_step = 7;
        let pairs: Vec<String> = (0..300).map(|number| format!("f{number} {number}")).collect();
        shard.run(&format!("HSET h {}", pairs.join(" ")));
        let due: Vec<String> = (live..300).map(|number| format!("f{number}")).collect();
        shard.run(&format!("HPEXPIRE h 10 FIELDS {} {}", due.len(), due.join(" ")));
        shard.now += 11;
        for (count, expected) in [("500", live), ("7", live.min(7)), ("-700", 700)] {
            let reply = shard.run(&format!("HRANDFIELD h {count}"));
            let names = reply.split("\r\n").filter_map(|line| line.strip_prefix('f')?.parse::<usize>().ok());
            let mut names: Vec<usize> = names.collect();
            assert!(names.len() == expected && names.iter().all(|number| *number < live), "{live}: {count}");
            names.sort_unstable();
            names.dedup();
            assert!(count.starts_with('-') || names.len() == expected);
        }
        assert_eq!(shard.long_commands, 3);
    }
}

#[test]
fn many_keys_are_scanned_in_slices() {
    let [short, long] = &mut pair();
    long.units_a_step = 13;
    for number in 0..400 {
        for shard in [&mut *short, &mut *long] {
            shard.run(&format!("SET key:{number} 1"));
        }
    }
    for line in ["SCAN 0 COUNT 1000", "SCAN 0 COUNT 1000 MATCH *7", "SCAN 0 COUNT 1000 TYPE list"] {
        assert_eq!(short.run(line), long.run(line), "{line}");
    }
    let (mut cursor, mut seen, mut calls) = ("0".to_owned(), 0, 0);
    loop {
        let reply = long.run(&format!("SCAN {cursor} COUNT 60"));
        let lines: Vec<&str> = reply.split("\r\n").collect();
        seen += lines.iter().filter(|line| line.starts_with("key:")).count();
        cursor = lines[2].to_owned();
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!(seen == 400 && (2..8).contains(&calls), "{seen} keys in {calls} calls");
}

#[test]
fn what_was_flushed_meanwhile_is_not_made_again() {
    let lines = [
        "LREM l 0 7",
        "LINSERT l BEFORE 50 x",
        "SPOP s 20",
        "PFMERGE p q",
        "XREADGROUP GROUP g c STREAMS x >",
        "XAUTOCLAIM x g c 0 0",
        "XTRIM x MAXLEN 3 ACKED",
        "XGROUP DELCONSUMER x g a",
        "APPEND b more",
    ];
    for line in lines {
        for step in 0..3 {
            let [_, shard] = &mut pair();
            for number in 0..60 {
                shard.run(&format!("RPUSH l {number}"));
                shard.run(&format!("SADD s {number}"));
                shard.run(&format!("PFADD p {number}"));
                shard.run(&format!("PFADD q x{number}"));
                shard.run(&format!("XADD x {}-1 f v", number + 1));
            }
            shard.run("XGROUP CREATE x g 0");
            shard.run("XREADGROUP GROUP g a COUNT 30 STREAMS x >");
            shard.run(&format!("SETRANGE b 5000 {line}"));
            shard.run("COPY b held");
            shard.units_a_step = 5;
            shard.keyspace.journal.take();
            shard.between_steps = Some((step, "FLUSHALL"));
            let reply = shard.run(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
            if shard.between_steps.is_none() {
                shard.check("DBSIZE", if line.starts_with("APPEND") { ":1\r\n" } else { ":0\r\n" });
            }
        }
    }
}
