//! What the commands reply and report; the real server's replies, byte for byte, are in the server's transcripts.

use super::super::harness::Shard;
use crate::command::EngineOptions;
use crate::journal::EventClass;
use crate::reply::Protocol;

/// Events and counted changes of a line, as text.
fn told(shard: &mut Shard, line: &str) -> String {
    let before = shard.keyspace.dirty;
    shard.run(line);
    let (_, events) = shard.keyspace.journal.take();
    let names = events.iter().map(|event| format!("{} {}", event.name, event.key.escape_ascii()));
    format!("{} {}", shard.keyspace.dirty - before, names.collect::<Vec<_>>().join(", "))
}

/// Effects of a line, as text.
fn effects(shard: &mut Shard, line: &str) -> Vec<String> {
    let reply = shard.run(line);
    assert!(!reply.starts_with('-'), "{line}: {reply}");
    let (effects, _) = shard.keyspace.journal.take();
    effects.iter().map(|effect| String::from_utf8_lossy(&effect.arguments.join(&b' ')).into_owned()).collect()
}

#[test]
fn events_and_changes_are_those_of_the_real_server() {
    let shard = &mut Shard::default();
    shard.keyspace.journal.listen(false, &[EventClass::Stream, EventClass::Generic]);
    for (line, expected) in [
        ("XADD s 1-1 f v", "1 xadd s"),
        ("XADD s 1-1 f v", "0 "),
        ("XADD none NOMKSTREAM * f v", "0 "),
        ("XADD s MAXLEN 1 2-1 f v", "1 xadd s, xtrim s"),
        ("XADD s MAXLEN 5 3-1 f v", "1 xadd s"),
        ("XGROUP CREATE s g 0", "1 xgroup-create s"),
        ("XGROUP CREATE t g $ MKSTREAM", "1 xgroup-create t"),
        ("XGROUP SETID s g 0", "1 xgroup-setid s"),
        ("XGROUP CREATECONSUMER s g a", "1 xgroup-createconsumer s"),
        ("XGROUP CREATECONSUMER s g a", "0 "),
        ("XREADGROUP GROUP g b STREAMS s >", "2 xgroup-createconsumer s"),
        ("XREADGROUP GROUP g b STREAMS s >", "0 "),
        ("XACK s g 2-1 9-9", "1 "),
        ("XCLAIM s g c 0 3-1", "2 xgroup-createconsumer s"),
        ("XREADGROUP GROUP g d STREAMS s >", "1 xgroup-createconsumer s"),
        ("XREADGROUP GROUP g d STREAMS s >", "0 "),
        ("XCLAIM s g e 0 9-9", "1 xgroup-createconsumer s"),
        ("XAUTOCLAIM s g f 9999 0", "1 xgroup-createconsumer s"),
        ("XAUTOCLAIM s g f 9999 0", "0 "),
        ("XGROUP DELCONSUMER s g c", "1 xgroup-delconsumer s"),
        ("XGROUP DELCONSUMER s g c", "0 "),
        ("XGROUP DESTROY s g", "1 xgroup-destroy s"),
        ("XGROUP DESTROY s g", "0 "),
        ("XSETID s 9-9", "1 xsetid s"),
        ("XDEL s 7-7", "0 "),
        ("XDEL s 2-1 3-1", "2 xdel s"),
        ("XTRIM s MAXLEN 0", "0 "),
        ("XADD s 10-1 f v", "1 xadd s"),
        ("XTRIM s MAXLEN 0", "1 xtrim s"),
    ] {
        assert_eq!(told(shard, line), expected, "{line}");
    }
}

#[test]
fn effects_are_in_canonical_form() {
    let shard = &mut Shard::default();
    shard.options.encodings.stream_node_entries_max = 2;
    shard.keyspace.journal.listen(true, &[]);
    let now = shard.now;
    let claim = |id: &str, consumer: &str, count: u32, last: &str| {
        format!("XCLAIM s g {consumer} 0 {id} TIME {now} RETRYCOUNT {count} FORCE JUSTID LASTID {last}")
    };
    let cases: [(&str, Vec<String>); 14] = [
        ("XADD s * f v", vec![format!("XADD s {now}-0 f v")]),
        ("XADD s * f v", vec![format!("XADD s {now}-1 f v")]),
        ("XADD s * f v", vec![format!("XADD s {now}-2 f v")]),
        ("XADD s MAXLEN ~ 2 9999999999999-* f v", vec!["XADD s MAXLEN = 2 9999999999999-0 f v".into()]),
        ("XGROUP CREATE s g 0", vec!["XGROUP CREATE s g 0-0 ENTRIESREAD -1".into()]),
        (
            "XREADGROUP GROUP g a COUNT 1 STREAMS s >",
            vec![
                "XGROUP CREATECONSUMER s g a".into(),
                claim(&format!("{now}-2"), "a", 1, &format!("{now}-2")),
                format!("XGROUP SETID s g {now}-2 ENTRIESREAD 3"),
            ],
        ),
        ("XREADGROUP GROUP g a NOACK STREAMS s >", vec!["XGROUP SETID s g 9999999999999-0 ENTRIESREAD 4".into()]),
        ("XREADGROUP GROUP g a STREAMS s 0", vec![claim(&format!("{now}-2"), "a", 2, "9999999999999-0")]),
        (
            "XAUTOCLAIM s g b 0 - COUNT 1",
            vec!["XGROUP CREATECONSUMER s g b".into(), claim(&format!("{now}-2"), "b", 3, "9999999999999-0")],
        ),
        (
            "XNACK s g FAIL IDS 1 1700000000000-2",
            vec!["XNACK s g FAIL IDS 1 1700000000000-2 RETRYCOUNT 3 FORCE".into()],
        ),
        (
            "XDELEX s DELREF IDS 1 1700000000000-2",
            vec!["XDEL s 1700000000000-2".into(), "XACK s g 1700000000000-2".into()],
        ),
        ("XTRIM s MAXLEN ~ 0", vec!["XTRIM s MAXLEN = 0".into()]),
        (
            "XADD s IDMP p 1 * f v",
            vec!["XADD s 9999999999999-1 f v".into(), "XIDMPRECORD s p 1 9999999999999-1".into()],
        ),
        ("XADD s IDMP p 1 * f v", vec![]),
    ];
    for (line, expected) in cases {
        assert_eq!(effects(shard, line), expected, "{line}");
    }
}

#[test]
fn references_are_kept_or_go_with_their_entries() {
    let shard = &mut Shard::default();
    for id in 1..=4 {
        shard.run(&format!("XADD s {id}-0 f v"));
    }
    shard.check("XDELEX s ACKED IDS 1 1-0", "*1\r\n:2\r\n");
    shard.check("XGROUP CREATE s g 0", "+OK\r\n");
    shard.check("XGROUP CREATE s h 0", "+OK\r\n");
    shard.run("XREADGROUP GROUP g a STREAMS s >");
    shard.run("XREADGROUP GROUP h a NOACK STREAMS s >");
    shard.check("XDELEX s ACKED IDS 2 1-0 9-0", "*2\r\n:2\r\n:-1\r\n");
    shard.check("XACKDEL s g ACKED IDS 2 1-0 9-0", "*2\r\n:1\r\n:-1\r\n");
    shard.check("XACKDEL s none ACKED IDS 1 2-0", "*1\r\n:-1\r\n");
    shard.check("XACKDEL none g IDS 2 2-0 1-0", "*2\r\n:-1\r\n:-1\r\n");
    shard.check("XDELEX s KEEPREF IDS 1 2-0", "*1\r\n:1\r\n");
    shard.check("XPENDING s g", "*4\r\n:3\r\n$3\r\n2-0\r\n$3\r\n4-0\r\n*1\r\n*2\r\n$1\r\na\r\n$1\r\n3\r\n");
    shard.check("XDELEX s IDS 1 2-0 DELREF", "*1\r\n:-1\r\n");
    shard.check("XTRIM s MAXLEN 0 ACKED", ":0\r\n");
    shard.check("XACK s g 4-0", ":1\r\n");
    shard.check("XTRIM s ACKED MAXLEN 1", ":1\r\n");
    shard.check("XRANGE s - +", "*1\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    shard.check("XTRIM s MAXLEN 0 DELREF", ":1\r\n");
    shard.check("XPENDING s g", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    shard.check("XDELEX s IDS 2 1-0", "-ERR The `numids` parameter must match the number of arguments\r\n");
    shard.check("XDELEX s IDS 0 1-0", "-ERR Number of IDs must be a positive integer\r\n");
    shard.check("XDELEX s KEEPREF ACKED IDS 1 1-0", "-ERR syntax error\r\n");
}

#[test]
fn entries_are_given_back_and_claimed_while_reading() {
    let shard = &mut Shard::default();
    for id in 1..=3 {
        shard.run(&format!("XADD s {id}-0 f v"));
    }
    shard.run("XGROUP CREATE s g 0");
    shard.run("XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    shard.now += 50;
    shard.check("XNACK s g SILENT IDS 2 2-0 9-0", ":1\r\n");
    shard.check(
        "XPENDING s g - + 9",
        "*2\r\n*4\r\n$3\r\n1-0\r\n$1\r\na\r\n:50\r\n:1\r\n*4\r\n$3\r\n2-0\r\n$0\r\n\r\n:-1\r\n:0\r\n",
    );
    let entry = |id: u32, idle: i64, count: u32| {
        format!("*4\r\n$3\r\n{id}-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n:{idle}\r\n:{count}\r\n")
    };
    let now = shard.now;
    let (given_back, idle, new) = (entry(2, now, 0), entry(1, 50, 1), entry(3, 0, 0));
    shard.check(
        "XREADGROUP GROUP g b CLAIM 50 STREAMS s >",
        &format!("*1\r\n*2\r\n$1\r\ns\r\n*3\r\n{given_back}{idle}{new}"),
    );
    shard.check("XREADGROUP GROUP g c CLAIM 50 STREAMS s >", "*-1\r\n");
    shard.check("XNACK s g FATAL IDS 1 1-0", ":1\r\n");
    shard.check("XPENDING s g 1 1 9", "*1\r\n*4\r\n$3\r\n1-0\r\n$0\r\n\r\n:-1\r\n:9223372036854775807\r\n");
    shard.check("XCLAIM s g c 9999 1-0 RETRYCOUNT 4 JUSTID", "*1\r\n$3\r\n1-0\r\n");
    shard.check("XACK s g 3-0", ":1\r\n");
    shard.check("XNACK s g FAIL IDS 1 3-0", ":0\r\n");
    shard.check("XNACK s g FAIL IDS 1 3-0 FORCE RETRYCOUNT 7", ":1\r\n");
    shard.check("XNACK s none FAIL IDS 1 3-0", "-NOGROUP No such key 's' or consumer group 'none'\r\n");
    shard.check("XNACK s g WHAT IDS 1 3-0", "-ERR syntax error\r\n");
}

/// At once and in slices.
#[test]
fn a_consumer_is_seen_when_it_asks_and_active_when_it_is_given_an_entry() {
    for units_at_once in [EngineOptions::default().units_at_once, 0] {
        let shard = &mut Shard::default();
        shard.options.units_at_once = units_at_once;
        let told = |shard: &mut Shard, line: &str, ids: &str| {
            let reply = shard.run(line);
            let given: Vec<&str> = reply.split("\r\n").filter(|line| line.ends_with("-0")).collect();
            assert_eq!(given.join(" "), ids, "{line}");
            shard.now += 10;
        };
        for id in 1..=3 {
            shard.run(&format!("XADD s {id}-0 f v"));
        }
        shard.run("XGROUP CREATE s g 2-0");
        shard.run("XGROUP CREATECONSUMER s g asleep");
        told(shard, "XREADGROUP GROUP g a STREAMS s >", "3-0");
        told(shard, "XREADGROUP GROUP g a STREAMS s >", "");
        told(shard, "XREADGROUP GROUP g b STREAMS s >", "");
        told(shard, "XREADGROUP GROUP g b STREAMS s 0", "");
        told(shard, "XREADGROUP GROUP g a STREAMS s 0", "3-0");
        told(shard, "XAUTOCLAIM s g c 9999 0", "0-0");
        told(shard, "XAUTOCLAIM s g d 0 0", "0-0 3-0");
        told(shard, "XCLAIM s g e 9999 3-0", "");
        told(shard, "XGROUP SETID s g 0", "");
        told(shard, "XREADGROUP GROUP g f NOACK STREAMS s >", "1-0 2-0 3-0");
        let row = |name: &str, pending: u32, idle: u32, inactive: i32| {
            format!(
                "*8\r\n$4\r\nname\r\n${}\r\n{name}\r\n$7\r\npending\r\n:{pending}\r\n\
                 $4\r\nidle\r\n:{idle}\r\n$8\r\ninactive\r\n:{inactive}\r\n",
                name.len()
            )
        };
        let rows = [
            row("a", 0, 60, 100),
            row("asleep", 0, 100, -1),
            row("b", 0, 70, -1),
            row("c", 0, 50, -1),
            row("d", 1, 40, 40),
            row("e", 0, 30, -1),
            row("f", 0, 10, -1),
        ];
        shard.check("XINFO CONSUMERS s g", &format!("*7\r\n{}", rows.concat()));
        let full = shard.run("XINFO STREAM s FULL");
        let (seen, active) = (shard.now - 60, shard.now - 100);
        assert!(full.contains(&format!("$9\r\nseen-time\r\n:{seen}\r\n$11\r\nactive-time\r\n:{active}\r\n")));
        assert!(full.contains("$11\r\nactive-time\r\n:-1\r\n"));
    }
}

#[test]
fn what_a_producer_sends_twice_is_added_once() {
    let shard = &mut Shard::default();
    shard.now = 1000;
    shard.check("XADD s IDMP p 1 * f v", "$6\r\n1000-0\r\n");
    shard.check("XADD s IDMP p 1 * f other", "$6\r\n1000-0\r\n");
    shard.check("XADD s IDMP q 1 * f v", "$6\r\n1000-1\r\n");
    shard.check("XADD s IDMPAUTO p * f v", "$6\r\n1000-2\r\n");
    shard.check("XADD s IDMPAUTO p * f v", "$6\r\n1000-2\r\n");
    shard.check("XADD s IDMPAUTO p * f w", "$6\r\n1000-3\r\n");
    shard.check("XADD s IDMP p 1 5-5 f v", "-ERR IDMP/IDMPAUTO can be used only with auto-generated IDs\r\n");
    shard.check("XADD s IDMP p 1 IDMPAUTO q * f v", "-ERR IDMP/IDMPAUTO specified multiple times\r\n");
    shard.check("XCFGSET s IDMP-DURATION 1 IDMP-MAXSIZE 2", "+OK\r\n");
    shard.check("XCFGSET s IDMP-DURATION 0", "-ERR IDMP-DURATION must be between 1 and 86400 seconds\r\n");
    shard.check("XCFGSET s IDMP-MAXSIZE 10001", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries\r\n");
    shard.check("XCFGSET s", "-ERR syntax error\r\n");
    shard.check("XCFGSET none IDMP-MAXSIZE 1", "-ERR no such key\r\n");
    shard.check("XADD s IDMP p 1 * f v", "$6\r\n1000-4\r\n");
    shard.now += 1000;
    shard.check("XADD s IDMP p 1 * f v", "$6\r\n2000-0\r\n");
    shard.check("XIDMPRECORD s p 1 2000-0", "+OK\r\n");
    assert!(shard.run("XIDMPRECORD s p 1 1000-0").starts_with("-ERR"));
    assert!(shard.run("XINFO STREAM s").contains("$12\r\nidmp-maxsize\r\n:2\r\n"));
}

#[test]
fn limits_of_a_reply_count_over_all_streams() {
    let shard = &mut Shard::default();
    for (key, id) in [("s", 1), ("s", 2), ("t", 1), ("t", 2)] {
        shard.run(&format!("XADD {key} {id}-0 f v"));
    }
    let entry = |id: u32| format!("*2\r\n$3\r\n{id}-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    let stream = |key: &str, ids: &[u32]| {
        let entries: String = ids.iter().map(|id| entry(*id)).collect();
        format!("*2\r\n$1\r\n{key}\r\n*{}\r\n{entries}", ids.len())
    };
    let both = format!("*2\r\n{}{}", stream("s", &[1, 2]), stream("t", &[1]));
    shard.check("XREAD MAXCOUNT 3 STREAMS s t 0 0", &both);
    shard.check("XREAD MAXCOUNT 1 COUNT 2 STREAMS s t 0 0", &format!("*1\r\n{}", stream("s", &[1])));
    shard.check("XREAD MAXSIZE 1 STREAMS s t 0 0", &format!("*1\r\n{}", stream("s", &[1])));
    shard.check("XREAD STREAMS s t + 1", &format!("*2\r\n{}{}", stream("s", &[2]), stream("t", &[2])));
    shard.check("XREAD BLOCK 0 STREAMS s $", "*-1\r\n");
    shard.check_resp3("XREAD COUNT 1 STREAMS s 0", &format!("%1\r\n$1\r\ns\r\n*1\r\n{}", entry(1)));
    shard.check_resp3("XREAD BLOCK 9 STREAMS s $", "_\r\n");
    shard.run("XGROUP CREATE s g 0");
    shard.run("XGROUP CREATE t g 0");
    shard.check("XREADGROUP GROUP g a MAXCOUNT 3 STREAMS s t > >", &both);
}

#[test]
fn a_copy_is_frozen_and_other_types_are_refused() {
    let shard = &mut Shard::default();
    shard.run("XADD s 1-0 f v");
    shard.check("TYPE s", "+stream\r\n");
    shard.check("OBJECT ENCODING s", "$6\r\nstream\r\n");
    shard.run("XGROUP CREATE s g 0");
    shard.check("COPY s t", ":1\r\n");
    shard.run("XADD s 2-0 f v");
    shard.run("XREADGROUP GROUP g a STREAMS s >");
    shard.check("XLEN t", ":1\r\n");
    shard.check("XPENDING t g", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    shard.check("RENAME t u", "+OK\r\n");
    shard.check("XLEN u", ":1\r\n");
    shard.check("SCAN 0 TYPE stream COUNT 100", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\ns\r\n$1\r\nu\r\n");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    shard.run("SET x y");
    for line in [
        "XADD x * f v",
        "XLEN x",
        "XRANGE x - +",
        "XDEL x 1",
        "XDELEX x IDS 1 1",
        "XTRIM x MAXLEN 1",
        "XSETID x 1-1",
        "XREAD STREAMS s x 0 0",
        "XREADGROUP GROUP g a STREAMS x >",
        "XACK x g 1",
        "XACKDEL x g IDS 1 1",
        "XNACK x g FAIL IDS 1 1",
        "XCLAIM x g a 0 1",
        "XAUTOCLAIM x g a 0 0",
        "XPENDING x g",
        "XINFO STREAM x",
        "XGROUP CREATE x g 0",
        "XGROUP DESTROY x g",
        "XCFGSET x IDMP-MAXSIZE 1",
        "XIDMPRECORD x p i 1-1",
    ] {
        shard.check(line, wrong);
    }
    shard.check("LPUSH s a", wrong);
    shard.check("GET s", wrong);
}

const KEYS: [&str; 3] = ["s", "t", "u"];

/// Commands on streams: `K` a key, `I` an entry's ID, `G` a group, `C` a consumer.
const PATTERNS: &[&str] = &[
    "XADD K * f v g w",
    "XADD K * f v",
    "XADD K * other 12",
    "XADD K MAXLEN ~ 7 * f v",
    "XADD K MAXLEN 9 DELREF * f v",
    "XADD K MINID ~ I ACKED * f v",
    "XADD K IDMP p 1 * f v",
    "XADD K IDMPAUTO q * f v",
    "XCFGSET K IDMP-DURATION 3 IDMP-MAXSIZE 4",
    "XTRIM K MINID ~ I",
    "XTRIM K MAXLEN 6 ACKED",
    "XTRIM K MAXLEN ~ 3 DELREF",
    "XDEL K I I",
    "XDELEX K DELREF IDS 2 I I",
    "XDELEX K ACKED IDS 2 I I",
    "XACKDEL K G ACKED IDS 2 I I",
    "XSETID K 1700000100000-0",
    "XGROUP CREATE K G 0",
    "XGROUP CREATE K G $ MKSTREAM",
    "XGROUP SETID K G I",
    "XGROUP DESTROY K G",
    "XGROUP CREATECONSUMER K G C",
    "XGROUP DELCONSUMER K G C",
    "XREADGROUP GROUP G C COUNT 3 STREAMS K >",
    "XREADGROUP GROUP G C STREAMS K >",
    "XREADGROUP GROUP G C NOACK COUNT 2 STREAMS K >",
    "XREADGROUP GROUP G C COUNT 2 STREAMS K 0",
    "XREADGROUP GROUP G C CLAIM 20 COUNT 4 STREAMS K >",
    "XACK K G I I I",
    "XCLAIM K G C 0 I I FORCE",
    "XCLAIM K G C 10 I I RETRYCOUNT 4 IDLE 7",
    "XCLAIM K G C 0 I LASTID I",
    "XAUTOCLAIM K G C 10 - COUNT 3",
    "XNACK K G SILENT IDS 2 I I",
    "XNACK K G FATAL IDS 1 I FORCE",
    "COPY K K REPLACE",
    "RENAME K K",
];

/// All that a stream is, but for when consumers were last seen and active, and how entries are put together.
fn digest(shard: &mut Shard) -> String {
    let mut text = String::new();
    for key in KEYS {
        let told = shard.run(&format!("XINFO STREAM {key} FULL COUNT 0"));
        let mut lines = told.split("\r\n");
        while let Some(line) = lines.next() {
            let left_out = [
                "seen-time",
                "active-time",
                "radix-tree-keys",
                "radix-tree-nodes",
                "iids-duplicates",
                "iids-tracked",
                "pids-tracked",
            ];
            if left_out.contains(&line) {
                lines.next();
            } else {
                text.push_str(line);
                text.push(' ');
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn effects_make_the_same_streams_again() {
    let mut random = fastrand::Rng::with_seed(3);
    let (mut shard, mut copy) = (Shard::default(), Shard::default());
    shard.options.encodings.stream_node_entries_max = 4;
    shard.keyspace.journal.listen(true, &[]);
    // Behind all times that effects tell.
    copy.now += 1_000_000_000;
    let mut ids = vec![String::from("0-1")];
    for step in 0..30_000 {
        shard.now += random.i64(0..20);
        let pattern = PATTERNS[random.usize(..PATTERNS.len())];
        let words = pattern.split(' ').map(|word| match word {
            "K" => KEYS[random.usize(..KEYS.len())].to_string(),
            "I" => ids[ids.len() - 1 - random.usize(..ids.len().min(25))].clone(),
            "G" => format!("g{}", random.u32(..2)),
            "C" => format!("c{}", random.u32(..3)),
            word => word.to_string(),
        });
        let line = words.collect::<Vec<_>>().join(" ");
        let reply = shard.run(&line);
        if let (true, Some(id)) = (line.starts_with("XADD"), reply.split("\r\n").nth(1)) {
            ids.push(id.to_string());
        }
        for effect in shard.keyspace.journal.take().0 {
            let arguments: Vec<&[u8]> = effect.arguments.iter().map(Vec::as_slice).collect();
            let reply = copy.execute(Protocol::Resp2, &arguments);
            let shown = arguments.join(&b' ');
            assert!(!reply.starts_with(b"-"), "{line}: {}: {}", shown.escape_ascii(), reply.escape_ascii());
        }
        if step % 20 == 0 {
            assert_eq!(digest(&mut shard), digest(&mut copy), "after {line}");
        }
    }
    assert!(shard.keyspace.dirty > 10_000);
}
