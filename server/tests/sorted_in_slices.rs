//! Sorted sets, places and SORT with so many elements that the work is done in slices: the same replies, in both protocols, as
//! those of the real server.

mod support;

use support::Server;
use support::client::{encode, words};

/// Elements of each collection.
const MANY: u32 = 4000;

/// What is asked, on connections of both protocols in turn.
const LINES: &[&str] = &[
    "ZRANGE z 0 -1 WITHSCORES",
    "ZRANGE z (100 900 BYSCORE LIMIT 50 2500",
    "ZREVRANGEBYSCORE z 900 (100 WITHSCORES LIMIT 1 2000",
    "ZRANGEBYLEX equals [member:10 (member:9",
    "ZREVRANGE z 5 -5",
    "ZCOUNT z 100 (900",
    "ZLEXCOUNT equals - +",
    "ZUNION 3 z z2 set WEIGHTS 2 -1 3 WITHSCORES",
    "ZUNION 2 z2 z AGGREGATE MIN",
    "ZINTER 2 z z2 AGGREGATE MAX WITHSCORES",
    "ZDIFF 2 z z2 WITHSCORES",
    "ZINTERCARD 2 z z2",
    "ZINTERCARD 2 z z2 LIMIT 1500",
    "ZUNIONSTORE stored 2 z z2 WEIGHTS 0.1 1e300",
    "ZRANGE stored 0 -1 WITHSCORES",
    "ZSCORE stored member:17",
    "ZRANK stored member:3017",
    "ZADD stored 5 member:17 -7 new 3 member:5990",
    "ZINTERSTORE stored2 2 stored z2",
    "ZRANGE stored2 0 -1 WITHSCORES",
    "ZDIFFSTORE stored2 2 stored z2",
    "ZRANGESTORE stored3 stored 10 -10",
    "ZRANGESTORE stored4 stored 100 1300 REV",
    "ZRANGE stored3 0 -1 WITHSCORES",
    "ZRANGE stored4 0 -1 WITHSCORES",
    "ZMSCORE stored3 member:1 member:17 new none member:4001",
    "ZREMRANGEBYRANK stored 1000 -1000",
    "ZRANGE stored 0 -1 WITHSCORES",
    "ZMSCORE stored member:1 member:17 new none member:4001",
    "ZREMRANGEBYSCORE stored3 -inf 400",
    "ZREMRANGEBYRANK stored3 100 1400",
    "ZRANGE stored3 0 -1 WITHSCORES",
    "ZREMRANGEBYLEX equals [member:10 (member:9",
    "ZRANGE equals 0 -1",
    "ZPOPMIN z2 1500",
    "ZMPOP 2 none z2 MAX COUNT 1300",
    "ZPOPMAX z2 5000",
    "EXISTS z2 equals stored3",
    "GEOSEARCH places FROMLONLAT 0 0 BYRADIUS 4000 km ASC WITHDIST",
    "GEOSEARCH places FROMLONLAT 0 0 BYRADIUS 4000 km",
    "GEOSEARCH places FROMLONLAT 10 10 BYBOX 9000 5000 mi DESC WITHCOORD WITHHASH",
    "GEOSEARCH places FROMMEMBER member:7 BYRADIUS 20000 km COUNT 1500 WITHDIST",
    "GEOSEARCH places FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 2000 DESC",
    "GEOSEARCH places FROMLONLAT 0 0 BYRADIUS 20000 km COUNT 1200 ANY",
    "GEORADIUS places 10 10 6000 km WITHDIST ASC",
    "GEOSEARCHSTORE near places FROMLONLAT 0 0 BYRADIUS 7000 km",
    "ZRANGE near 0 -1 WITHSCORES",
    "GEOSEARCHSTORE near places FROMLONLAT 0 0 BYRADIUS 7000 mi STOREDIST",
    "ZRANGE near 0 -1 WITHSCORES",
    "GEORADIUS places 0 0 9000 km COUNT 1100 STORE near",
    "ZRANGE near 0 -1",
    "SORT numbers",
    "SORT numbers DESC LIMIT 500 3000",
    "SORT numbers BY w_* GET # GET w_*",
    "SORT numbers BY wh_*->f DESC GET wh_*->f LIMIT 10 2500",
    "SORT numbers BY nosort GET w_* GET #",
    "SORT z BY nosort DESC GET # LIMIT 3 3000",
    "SORT z ALPHA DESC",
    "SORT numbers BY w_* GET # GET w_* STORE sorted",
    "LRANGE sorted 0 -1",
    "SORT set ALPHA STORE sorted",
    "LRANGE sorted 0 -1",
    "SORT set BY w_*",
    "SORT z STORE sorted",
    "LLEN sorted",
    "SORT numbers LIMIT 9000 5 STORE sorted",
    "EXISTS sorted",
];

fn answers(server: &Server) -> Vec<String> {
    let mut clients = [server.client(), server.client()];
    assert!(!clients[1].call("HELLO 3").is_error());
    let filler = &mut clients[0];
    assert_eq!(filler.ask("FLUSHALL"), "+OK");
    for number in 0..MANY {
        let mixed = number.wrapping_mul(2_654_435_761) % 99_991;
        let (longitude, latitude) = (f64::from(mixed % 3600) / 10.0 - 179.95, f64::from(mixed % 1601) / 10.0 - 80.0);
        for line in [
            format!("ZADD z {} member:{number}", mixed % 1000),
            format!("ZADD z2 {}.5 member:{}", mixed % 977, number + MANY / 2),
            format!("ZADD equals 1 member:{number}"),
            format!("SADD set a-longer-member-of-a-set:{number} member:{number}"),
            format!("GEOADD places {longitude} {latitude} member:{number}"),
            format!("RPUSH numbers {number}"),
            format!("SET w_{number} {mixed}"),
            format!("HSET wh_{} f {mixed}", number * 2),
        ] {
            assert!(!filler.call(&line).is_error(), "{line}");
        }
    }
    let answer = |(number, line): (usize, &&str)| format!("{line} -> {}", clients[number % 2].call(line));
    LINES.iter().enumerate().map(answer).collect()
}

#[test]
fn what_is_worked_off_in_slices_is_answered_like_the_real_servers() {
    let Some(real) = Server::real(&[]) else { return };
    let expected = answers(&real);
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        for (expected, line) in expected.iter().zip(answers(&server)) {
            let at = expected.bytes().zip(line.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(80);
            let shown = |text: &str| text.bytes().skip(at).take(300).map(char::from).collect::<String>();
            let command = line.split(" -> ").next().unwrap_or_default();
            assert!(
                *expected == line,
                "{}, {command}:\n  real {}\n  ours {}",
                server.name,
                shown(expected),
                shown(&line)
            );
        }
    }
}

/// SORT stands in line behind another client's union, which writes what it reads; the key that an element names is written
/// behind it.
#[test]
fn what_a_client_writes_behind_a_sort_is_not_in_it() {
    const ELEMENTS: u32 = 200_000;
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let (mut other, mut client) = (server.client(), server.client());
        for from in (0..ELEMENTS).step_by(1000) {
            let elements: String = (from..from + 1000).map(|number| format!(" {number} e{number}")).collect();
            assert_eq!(client.ask(&format!("ZADD z{elements}")), ":1000");
        }
        client.call("ZUNIONSTORE all 1 z");
        for is_transaction in [false, true] {
            client.call("DEL name_e0 result");
            let sort = ["SORT all BY nosort GET name_* LIMIT 0 1 STORE result"];
            let transaction = ["MULTI", sort[0], "EXEC"];
            let sort = if is_transaction { &transaction[..] } else { &sort[..] };
            let lines = [sort, &["SET name_e0 late", "LRANGE result 0 -1"]].concat();
            other.send(&encode(&words("ZUNIONSTORE all 1 z")));
            client.send(&lines.iter().flat_map(|line| encode(&words(line))).collect::<Vec<u8>>());
            let replies: Vec<String> = lines.iter().map(|_| client.reply().to_string()).collect();
            let [.., set, result] = &replies[..] else { panic!("{replies:?}") };
            assert_eq!([set, result], ["+OK", "[\"\"]"], "{shards} shards, {lines:?}");
            assert_eq!(other.reply().to_string(), format!(":{ELEMENTS}"));
        }
    }
}
