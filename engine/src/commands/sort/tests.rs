//! Tests of SORT: results against a simple sort, effects and events, and what it does with bad weights.

use crate::commands::harness::Shard;
use crate::journal::EventClass;

#[test]
fn orders() {
    let mut shard = Shard::default();
    shard.check("RPUSH l 3 10 2 1.5 -1", ":5\r\n");
    let list = |words: &[&str]| {
        let items: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{items}", words.len())
    };
    shard.check("SORT l", &list(&["-1", "1.5", "2", "3", "10"]));
    shard.check("SORT l DESC", &list(&["10", "3", "2", "1.5", "-1"]));
    shard.check("SORT l ALPHA", &list(&["-1", "1.5", "10", "2", "3"]));
    shard.check("SORT l LIMIT 1 2", &list(&["1.5", "2"]));
    shard.check("SORT l LIMIT -5 2 DESC", &list(&["10", "3"]));
    shard.check("SORT l LIMIT 4 -1", &list(&["10"]));
    shard.check("SORT l LIMIT 5 1", "*0\r\n");
    shard.check("SORT l LIMIT 9223372036854775807 9223372036854775807", "*0\r\n");
    shard.check("SORT l BY nosort", &list(&["3", "10", "2", "1.5", "-1"]));
    shard.check("SORT l BY nosort DESC LIMIT 0 2", &list(&["-1", "1.5"]));
    shard.check("MSET w_3 0 w_10 5 w_2 5 w_-1 x", "+OK\r\n");
    shard.check("SORT l BY w_*", "-ERR One or more scores can't be converted into double\r\n");
    shard.check("SORT l BY w_* ALPHA", &list(&["1.5", "3", "10", "2", "-1"]));
    shard.check("SET w_-1 9", "+OK\r\n");
    shard.check("SORT l BY w_*", &list(&["1.5", "3", "10", "2", "-1"]));
    shard.check("SORT l BY w_* GET # GET w_* LIMIT 3 2", &list(&["2", "5", "-1", "9"]));
    shard.check("SORT l BY w_* GET w_* LIMIT 0 1", "*1\r\n$-1\r\n");
    shard.check("SORT none", "*0\r\n");
    shard.check("SORT w_3", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    shard.check("SORT_RO l STORE d", "-ERR syntax error\r\n");
    shard.check("HSET h:2 name two", ":1\r\n");
    shard.check("SORT l GET h:*->name GET h:* LIMIT 2 1", "*2\r\n$3\r\ntwo\r\n$-1\r\n");
    shard.check("SORT l GET nothing LIMIT 0 1", "*1\r\n$-1\r\n");
}

#[test]
fn a_stored_result_is_told_as_a_list() {
    let mut shard = Shard::default();
    shard.run("SADD s b a c");
    shard.run("RPUSH l x");
    shard.keyspace.journal.listen(true, &[EventClass::List, EventClass::Generic]);
    for (line, reply, effects, events) in [
        ("SORT s BY nosort STORE d", ":3\r\n", "DEL d; RPUSH d a b c", "sortstore d"),
        ("SORT s ALPHA DESC GET w_* GET # STORE d LIMIT 0 1", ":2\r\n", "DEL d; RPUSH d  c", "sortstore d"),
        ("SORT s ALPHA LIMIT 0 0 STORE d", ":0\r\n", "DEL d", "del d"),
        ("SORT none STORE d", ":0\r\n", "", ""),
        ("SORT l STORE d", "-ERR One or more scores can't be converted into double\r\n", "", ""),
    ] {
        let dirty = shard.keyspace.dirty;
        shard.check(line, reply);
        let (told, heard) = shard.keyspace.journal.take();
        let told: Vec<String> =
            told.iter().map(|effect| String::from_utf8_lossy(&effect.arguments.join(&b' ')).into_owned()).collect();
        let heard: Vec<String> =
            heard.iter().map(|event| format!("{} {}", event.name, String::from_utf8_lossy(&event.key))).collect();
        assert_eq!((told.join("; ").as_str(), heard.join("; ").as_str()), (effects, events), "{line}");
        assert_eq!(shard.keyspace.dirty > dirty, !effects.is_empty(), "{line}");
    }
}

#[test]
fn limits_give_a_part_of_the_whole_order() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut shard = Shard::default();
    let elements: Vec<String> = (0..300).map(|_| random.i32(-50..50).to_string()).collect();
    shard.run(&format!("RPUSH l {}", elements.join(" ")));
    for element in -50..50 {
        if random.bool() {
            shard.run(&format!("SET w_{element} {}", random.u8(..10)));
        }
    }
    for options in ["", "DESC", "ALPHA", "BY w_*", "BY w_* DESC", "BY w_* ALPHA", "BY x DESC", "BY x"] {
        let whole = shard.run(&format!("SORT l {options}"));
        let whole: Vec<&str> = whole.lines().skip(1).collect();
        assert_eq!(whole.len(), 600);
        for _ in 0..20 {
            let (offset, count) = (random.usize(..310), random.usize(..310));
            let part = shard.run(&format!("SORT l {options} LIMIT {offset} {count}"));
            let part: Vec<&str> = part.lines().skip(1).collect();
            let start = offset.min(300);
            assert_eq!(part, whole[2 * start..2 * (start + count).min(300)], "{options} {offset} {count}");
        }
    }
}
