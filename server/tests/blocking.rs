//! Clients that wait, beside the real server: scenes of several connections, with every reply.
//!
//! ```text
//!   a> BLPOP k 0      sent, not answered yet           ?2    until so many clients wait
//!   b> RPUSH k x      sent                             a<    the next reply of a connection goes into the record
//!                                                      a~    it does not: it is another one for each server
//! ```
//! A scene is played on one, two and five shards, with keys anywhere, and on the real server: the records must be equal.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Client, Server, encode, words};

/// Ends a hung test.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for_blocked(server: &Server, count: usize) {
    let mut client = server.client();
    let begun = Instant::now();
    while client.info_number("blocked_clients") != count as u64 {
        assert!(begun.elapsed() < PATIENCE, "{}: not {count} clients wait", server.name);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every reply that the scene reads, with the connection that got it.
fn play(server: &Server, scene: &str) -> Vec<String> {
    assert_eq!(server.client().ask("FLUSHALL"), "+OK");
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut ids: BTreeMap<char, String> = BTreeMap::new();
    let mut record = Vec::new();
    for line in scene.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(count) = line.strip_prefix('?') {
            wait_for_blocked(server, count.parse().expect("a number"));
            continue;
        }
        let name = line.chars().next().expect("a connection");
        if line == format!("{name}!") {
            clients.remove(&name);
            continue;
        }
        let client = clients.entry(name).or_insert_with(|| server.client());
        ids.entry(name).or_insert_with(|| client.call("CLIENT ID").to_string().trim_start_matches(':').to_string());
        match &line[1..] {
            "<" => record.push(format!("{name} {}", client.reply())),
            "~" => drop(client.reply()),
            rest => {
                let line = rest.strip_prefix("> ").expect("a request");
                let line = ids.iter().fold(line.to_string(), |line, (name, id)| line.replace(&format!("${name}"), id));
                client.send(&encode(&words(&line)));
            }
        }
    }
    record
}

fn compare(scenes: &[&str]) {
    let servers = [1, 2, 5].map(|shards| Server::torc(shards, &[]));
    let real = Server::real(&[]);
    for scene in scenes {
        let records: Vec<_> = servers.iter().map(|server| play(server, scene)).collect();
        let expected = real.as_ref().map_or_else(|| records[0].clone(), |real| play(real, scene));
        for (server, record) in servers.iter().zip(&records) {
            assert_eq!(record, &expected, "{}: {scene}", server.name);
        }
        servers.iter().for_each(|server| wait_for_blocked(server, 0));
    }
}

#[test]
fn lists_are_waited_for() {
    compare(&[
        "a> BLPOP k 0
         ?1
         b> RPUSH k x y
         b<
         a<
         b> LRANGE k 0 -1
         b<",
        "a> BRPOP k l m n o 0
         ?1
         b> RPUSH n x y
         b<
         a<
         a> PING
         a<",
        // Longest waiting first; one element each.
        "a> BLPOP k 0
         ?1
         c> BRPOP k 0
         ?2
         d> BLPOP l k 0
         ?3
         b> RPUSH k 1 2 3 4
         b<
         a<
         c<
         d<
         b> LRANGE k 0 -1
         b<",
        "a> BLMPOP 0 3 k l m LEFT COUNT 2
         ?1
         b> RPUSH m 1 2 3
         b<
         a<",
        // What a transaction made and took away again was never there.
        "a> BLPOP k 0
         ?1
         b> MULTI
         b<
         b> RPUSH k x
         b<
         b> DEL k
         b<
         b> EXEC
         b<
         ?1
         b> MULTI
         b<
         b> RPUSH k y
         b<
         b> LPUSH k z
         b<
         b> EXEC
         b<
         a<",
        // Another type leaves it waiting.
        "a> BLPOP k 0
         ?1
         b> SET k text
         b<
         b> DEL k
         b<
         b> ZADD k 1 a
         b<
         b> RPUSH l x
         b<
         ?1
         b> RENAME l k
         b<
         a<",
        "a> BLPOP k 0
         ?1
         b> RPUSH l x
         b<
         b> COPY l k
         b<
         a<
         a> BLPOP k 0
         ?1
         b> SORT l ALPHA STORE k
         b<
         a<",
        // Databases.
        "a> SELECT 1
         a<
         a> BLPOP k 0
         ?1
         b> RPUSH k x
         b<
         b> MOVE k 1
         b<
         a<
         a> BLPOP k 0
         ?1
         b> RPUSH k y
         b<
         b> SWAPDB 0 1
         b<
         a<",
        // Two names of one key; what was sent behind it waits.
        "a> BLPOP k k 0
         a> PING
         a> LPUSH k z
         ?1
         b> RPUSH k x
         b<
         a<
         a<
         a<",
        "a> BLPOP k 0
         ?1
         b> MULTI
         b<
         b> BLPOP k 0
         b<
         b> BLMOVE k l LEFT LEFT 0
         b<
         b> BZPOPMIN k 0
         b<
         b> BLMPOP 0 1 k LEFT
         b<
         b> EXEC
         b<
         b> RPUSH k x
         b<
         a<",
    ]);
}

#[test]
fn elements_move_as_soon_as_there_are_some() {
    compare(&[
        "a> BLMOVE k l LEFT RIGHT 0
         ?1
         b> RPUSH k x
         b<
         a<
         b> LRANGE l 0 -1
         b<",
        "a> BRPOPLPUSH k k 0
         ?1
         b> RPUSH k x y
         b<
         a<
         b> LRANGE k 0 -1
         b<",
        // A chain of moves, and who waits at its end.
        "a> BLMOVE k l LEFT RIGHT 0
         ?1
         c> BLMOVE l m LEFT RIGHT 0
         ?2
         d> BLPOP m 0
         ?3
         b> RPUSH k x
         b<
         a<
         c<
         d<
         b> EXISTS k l m
         b<",
        "a> BLMOVE {k}1 {k}2 LEFT RIGHT 0
         ?1
         c> BLMOVE {k}2 {k}1 LEFT RIGHT 0
         ?2
         b> RPUSH {k}1 x
         b<
         a<
         c<
         b> LRANGE {k}1 0 -1
         b<",
        // A destination of another type is an error, and the element stays.
        "a> BLMOVE k l LEFT RIGHT 0
         ?1
         b> SET l text
         b<
         b> RPUSH k x
         b<
         a<
         b> LRANGE k 0 -1
         b<",
        // Then it is the next one's.
        "a> BLMOVE k l LEFT RIGHT 0
         ?1
         c> BLPOP k 0
         ?2
         b> SET l text
         b<
         b> RPUSH k x
         b<
         a<
         c<",
    ]);
}

#[test]
fn sorted_sets_are_waited_for() {
    compare(&[
        "a> BZPOPMIN k l m 0
         ?1
         c> BZPOPMAX l 0
         ?2
         b> ZADD l 1 a 2 b 3 c
         b<
         a<
         c<
         b> ZRANGE l 0 -1
         b<",
        "a> BZMPOP 0 2 k l MAX COUNT 2
         ?1
         b> RPUSH k x
         b<
         b> GEOADD l 1 1 a 2 2 b 3 3 c
         b<
         a<",
        "a> HELLO 3
         a> BZPOPMIN k 0
         ?1
         b> ZADD z 1.5 a
         b<
         b> ZUNIONSTORE k 1 z
         b<
         a> BZPOPMIN k 0.01
         ?0
         b> EXISTS k
         b<",
    ]);
}

#[test]
fn several_elements_are_waited_for() {
    // The real server is too old for it.
    let scenes: [(&str, &[&str]); 4] = [
        (
            "a> BLMOVEM k l LEFT RIGHT 0
             ?1
             b> RPUSH k 1 2 3
             b<
             a<
             a> BLMOVEM k l RIGHT LEFT 0 COUNT 5 BULK
             a<
             b> LRANGE l 0 -1
             b<",
            &["b :3", "a [\"1\"]", "a [\"2\" \"3\"]", "b [\"2\" \"3\" \"1\"]"],
        ),
        // Whoever wants less is served meanwhile; who wants more than there is goes on waiting.
        (
            "a> BLMOVEM k l LEFT RIGHT 0 EXACTLY 3 OBO
             ?1
             b> RPUSH k 1 2
             b<
             c> BLPOP k 0
             c<
             b> RPUSH k 3
             b<
             ?1
             b> RPUSH k 4
             b<
             a<
             b> LRANGE l 0 -1
             b<",
            &["b :2", "c [\"k\" \"1\"]", "b :2", "b :3", "a [\"2\" \"3\" \"4\"]", "b [\"2\" \"3\" \"4\"]"],
        ),
        // One feeds the next.
        (
            "a> BLMOVEM l m LEFT RIGHT 0 EXACTLY 2 BULK
             ?1
             c> BLMOVEM k l LEFT RIGHT 0 COUNT 4 BULK
             ?2
             d> BLPOP m 0
             ?3
             b> RPUSH k 1 2 3
             b<
             c<
             a<
             d<
             b> LRANGE l 0 -1
             b<
             b> LRANGE m 0 -1
             b<",
            &["b :3", "c [\"1\" \"2\" \"3\"]", "a [\"1\" \"2\"]", "d [\"m\" \"1\"]", "b [\"3\"]", "b [\"2\"]"],
        ),
        // Nobody waits in a transaction.
        (
            "a> BLMOVEM k l LEFT RIGHT 0.01 EXACTLY 2 BULK
             a<
             a> MULTI
             a<
             a> BLMOVEM k l LEFT RIGHT 0
             a<
             a> EXEC
             a<
             a> BLMOVEM k l LEFT RIGHT 0
             ?1
             b> CLIENT UNBLOCK $a
             b<
             a<
             b> SET l text
             b<
             b> RPUSH k 1
             b<
             a> BLMOVEM k l LEFT RIGHT 0
             a<
             a> BLMOVEM k m LEFT RIGHT x
             a<",
            &[
                "a nil*",
                "a +OK",
                "a +QUEUED",
                "a [nil*]",
                "b :1",
                "a nil*",
                "b +OK",
                "b :1",
                "a -WRONGTYPE Operation against a key holding the wrong kind of value",
                "a -ERR timeout is not a float or out of range",
            ],
        ),
    ];
    for server in [1, 2, 5].map(|shards| Server::torc(shards, &[])) {
        for (scene, expected) in scenes {
            assert_eq!(play(&server, scene), expected, "{}: {scene}", server.name);
        }
        wait_for_blocked(&server, 0);
    }
}

#[test]
fn who_waits_hears_at_once_what_is_not_a_reply() {
    compare(&[
        "a> HELLO 3
         a~
         a> SUBSCRIBE c
         a<
         a> BLPOP k l m 0
         ?1
         b> PUBLISH c 1
         b<
         a<
         b> PUBLISH c 2
         b<
         a<
         b> RPUSH l x
         b<
         a<
         a> PING
         a<
         b> PUBLISH c 3
         b<
         a<",
        "a> HELLO 3
         a~
         a> CLIENT TRACKING ON
         a<
         a> MGET t u v w
         a<
         a> BZPOPMIN k l m 0
         ?1
         b> SET t 1
         b<
         a<
         b> DEL t
         b<
         b> SET u 1
         b<
         a<
         b> ZADD m 1 x
         b<
         a<
         b> SET w 1
         b<
         a<",
        "a> HELLO 3
         a~
         a> CLIENT TRACKING ON
         a<
         a> GET w
         a<
         a> BLMOVE k l LEFT LEFT 0
         ?1
         b> FLUSHALL
         b<
         a<
         a> GET w
         b> RPUSH k x
         b<
         a<
         a<",
    ]);
}

#[test]
fn streams_are_waited_for() {
    compare(&[
        "a> XREAD BLOCK 0 STREAMS k l m $ $ 0
         ?1
         c> XREAD COUNT 1 BLOCK 0 STREAMS l 0
         ?2
         b> XADD l 1-1 f v
         b<
         a<
         c<
         a> XREAD BLOCK 0 STREAMS k l $ $
         ?1
         b> XADD l 2-1 f v
         b<
         a<
         a> XREAD BLOCK 10 STREAMS k l $ $
         a<",
        "a> XREAD BLOCK 0 STREAMS k $
         ?1
         b> MULTI
         b<
         b> XADD k 1-1 f v
         b<
         b> XADD k 1-2 f w
         b<
         b> EXEC
         b<
         a<",
        "b> XGROUP CREATE k g $ MKSTREAM
         b<
         a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS k >
         ?1
         c> XREADGROUP GROUP g c2 COUNT 1 BLOCK 0 STREAMS k >
         ?2
         b> XADD k 1-1 f v
         b<
         a<
         b> XADD k 2-1 f v
         b<
         c<
         b> XPENDING k g
         b<",
        "a> XREAD BLOCK 0 STREAMS k $
         ?1
         b> DEL k
         b<
         b> SET k x
         b<
         b> DEL k
         b<
         b> XADD k 1-1 f v
         b<
         a<",
    ]);
}

/// As later versions than the real server here say it: what the command would be told now.
#[test]
fn who_reads_in_a_group_hears_of_its_end() {
    const GONE: &str = "a -NOGROUP No such key 'k' or consumer group 'g' in XREADGROUP with GROUP option";
    const OTHER: &str = "a -WRONGTYPE Operation against a key holding the wrong kind of value";
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        for (end, expected) in [
            ("DEL k", GONE),
            ("XGROUP DESTROY k g", GONE),
            ("SET k text", OTHER),
            ("FLUSHALL", GONE),
            ("SWAPDB 0 1", GONE),
        ] {
            let scene = format!(
                "b> XGROUP CREATE k g $ MKSTREAM
                 b<
                 a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS k >
                 ?1
                 b> {end}
                 b<
                 a<"
            );
            assert_eq!(play(&server, &scene).last().map(String::as_str), Some(expected), "{end}, {shards} shards");
        }
    }
}

#[test]
fn keys_that_are_waited_for_are_counted() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &[]);
        let (mut witness, mut pops, mut reads) = (server.client(), server.client(), server.client());
        let mut counted =
            || ["total_blocking_keys", "total_blocking_keys_on_nokey"].map(|name| witness.info_number(name));
        assert_eq!(counted(), [0, 0]);
        pops.send(&encode(&["BLPOP", "k", "l", "m", "0"]));
        wait_for_blocked(&server, 1);
        assert_eq!(counted(), [3, 0], "{shards} shards");
        assert_eq!(server.client().ask("XGROUP CREATE k g $ MKSTREAM"), "+OK");
        reads.send(&encode(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "k", ">"]));
        wait_for_blocked(&server, 2);
        assert_eq!(counted(), [3, 1], "{shards} shards");
        drop((pops, reads));
        wait_for_blocked(&server, 0);
        support::eventually("nobody waits", || counted() == [0, 0]);
    }
}

#[test]
fn a_wait_ends_by_time_by_order_and_with_its_client() {
    compare(&[
        "a> BLPOP k l m 0.02
         a<
         a> BLMOVE k l LEFT LEFT 0.02
         a<
         a> BZPOPMIN k 0.01
         a<
         a> BLMPOP 0.01 2 k l LEFT
         a<
         a> BRPOPLPUSH k l 0.01
         a<
         b> RPUSH k x
         b<
         b> LRANGE k 0 -1
         b<",
        "a> BLPOP k l m 0
         ?1
         b> CLIENT UNBLOCK $a
         b<
         a<
         a> BLPOP k l m 0
         ?1
         b> CLIENT UNBLOCK $a ERROR
         b<
         a<
         b> CLIENT UNBLOCK $a TIMEOUT
         b<
         b> RPUSH k x
         b<
         a> LPOP k
         a<",
        "a> BLPOP k l m 0
         ?1
         c> BLPOP m 0
         ?2
         b> CLIENT KILL ID $a
         b<
         ?1
         b> RPUSH m x y
         b<
         c<
         b> LRANGE m 0 -1
         b<",
        "a> BLPOP k l m 0
         ?1
         a!
         ?0
         b> RPUSH k x
         b<
         b> LRANGE k 0 -1
         b<",
        "a> BLPOP k x
         a<
         a> BLPOP k -1
         a<
         a> BLMOVE k l foo LEFT x
         a<
         a> BLMOVE k l LEFT LEFT x
         a<
         a> BLMPOP x 0 k LEFT
         a<
         a> BLMPOP 0 2 k LEFT
         a<
         a> BLMPOP x 1 k LEFT
         a<
         a> BZMPOP x 1 k MIN
         a<
         a> BZMPOP 0 1 k FOO
         a<
         a> SET k text
         a<
         a> BLPOP none k 0
         a<
         a> BLPOP k none 0
         a<
         a> BZPOPMIN none k 0
         a<
         a> BLMOVE k l LEFT LEFT 0
         a<",
    ]);
}
