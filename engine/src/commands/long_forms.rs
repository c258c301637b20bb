//! Every command that can be worked off in slices, against the same command done at once: same replies, same data, same
//! events, same effects; and what comes between its slices is not seen.

use super::harness::Shard;
use crate::journal::EventClass;
use crate::reply::Protocol;

/// Two shards with the same data: on one, everything that may be worked off in slices is, in the smallest steps.
fn pair() -> [Shard; 2] {
    let mut shards = [Shard::default(), Shard::default()];
    shards[1].options.units_at_once = 0;
    for shard in &mut shards {
        // Trees for all but the smallest.
        shard.options.encodings.set_intset_entries_max = 2;
        shard.options.encodings.set_listpack_entries_max = 2;
        shard.options.encodings.hash_listpack_entries_max = 2;
        shard.options.encodings.sorted_set_listpack_entries_max = 2;
        shard.options.encodings.list_listpack_size_max = 2;
        let classes = [EventClass::Generic, EventClass::Set, EventClass::Hash, EventClass::SortedSet, EventClass::List];
        shard.keyspace.journal.listen(true, &[&classes[..], &[EventClass::String, EventClass::Expired]].concat());
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
    for seed in 0..150 {
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
            if !is_empty_store {
                assert_eq!(told(&short.3), told(&long.3), "seed {seed}: {line}");
            }
        }
        for key in ["d", "s1", "z1", "z2", "z3", "b1", "g2", "l1", "l2"] {
            let [short, long] = &mut shards;
            let lines = ["TYPE *", "OBJECT ENCODING *", "GET *", "ZRANGE * 0 -1 WITHSCORES", "LRANGE * 0 -1", "PTTL *"];
            for line in lines.map(|line| line.replace('*', key)) {
                assert_eq!(short.run(&line), long.run(&line), "seed {seed}: {line}");
            }
        }
        long_commands += shards[1].long_commands;
        assert_eq!(shards[0].long_commands, 0);
    }
    assert!(long_commands > 2000, "{long_commands}");
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
