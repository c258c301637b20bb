//! MIGRATE: to and from the real server, and between servers of ours; targets that leave, are silent or refuse; keys that change
//! while they are sent.
//!
//! ```text
//!   ours on 1, 2, 5 shards ──> real, ours     real ──> ours       all kinds of values: DEBUG DIGEST-VALUE the same
//!   ours, real ──> a target that the test plays                   the same errors, and every key is still here
//!   clients that count on keys that go over and over ──> not one count is lost
//! ```

#[path = "support/mod.rs"]
mod support;

use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::values::{arguments, fill};
use support::{Client, Reply, Server, digest_of, key_of_each_shard, keys};

/// What is asked of every source.
fn sources() -> Vec<Server> {
    let ours = [1, 2, 5].map(|shards| Server::torc(shards, &arguments(false)));
    ours.into_iter().chain(Server::real(&arguments(false))).collect()
}

fn migrate(client: &mut Client, port: u16, rest: &str) -> String {
    client.ask(&format!("MIGRATE 127.0.0.1 {port} {rest}"))
}

#[test]
fn values_of_all_kinds_go_over_with_their_times() {
    let targets: Vec<Server> = [1, 2].map(|shards| Server::torc(shards, &arguments(false))).into_iter().collect();
    let targets: Vec<Server> = targets.into_iter().chain(Server::real(&arguments(false))).collect();
    for source in sources() {
        for target in &targets {
            let case = format!("{} to {}", source.name, target.name);
            let (mut from, mut to) = (source.client(), target.client());
            assert_eq!((from.ask("FLUSHALL"), to.ask("FLUSHALL")), ("+OK".to_owned(), "+OK".to_owned()));
            fill(&mut from);
            let names = keys(&mut from);
            let digests: Vec<String> = names.iter().map(|name| digest_of(&mut from, name)).collect();
            let (first, others) = names.split_first().expect("there are keys");
            assert_eq!(migrate(&mut from, target.port, &format!("{first} 3 30000")), "+OK", "{case}");
            let list = others.join(" ");
            assert_eq!(
                migrate(&mut from, target.port, &format!("\"\" 3 30000 COPY KEYS {list}")),
                "+OK",
                "{case}: a copy"
            );
            assert_eq!(keys(&mut from), others, "{case}: a copy leaves them");
            let refused = migrate(&mut from, target.port, &format!("\"\" 3 30000 KEYS {list}"));
            assert_eq!(refused, "-ERR Target instance replied with error: BUSYKEY Target key name already exists.");
            assert_eq!(
                migrate(&mut from, target.port, &format!("\"\" 3 30000 REPLACE KEYS {list} none")),
                "+OK",
                "{case}: all"
            );
            assert_eq!((from.ask("DBSIZE"), to.ask("SELECT 3")), (":0".to_owned(), "+OK".to_owned()), "{case}");
            assert_eq!(keys(&mut to), names, "{case}");
            for (name, digest) in names.iter().zip(&digests) {
                assert_eq!(digest_of(&mut to, name), *digest, "{case}: {name}");
            }
            // What has no time gets none; what has one keeps it.
            assert_eq!((from.ask("SET timed 1 PX 100000"), from.ask("SET untimed 1")), ("+OK".into(), "+OK".into()));
            assert_eq!(migrate(&mut from, target.port, "\"\" 3 30000 KEYS timed untimed"), "+OK");
            let left = to.call("PTTL timed").integer();
            assert!((1..=100_000).contains(&left), "{case}: {left}");
            assert_eq!(to.ask("PTTL untimed"), ":-1", "{case}");
        }
    }
}

#[test]
fn errors_are_those_of_the_real_server() {
    let target = Server::torc(2, &["--requirepass", "secret"]);
    let open = Server::torc(1, &[]);
    // Nobody listens there, and nobody else may.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let closed = bound.local_addr().expect("bound").as_socket().expect("of TCP").port();
    let mut expected: Option<Vec<String>> = None;
    for source in sources().into_iter().rev() {
        let mut client = source.client();
        let mut told = Vec::new();
        assert_eq!((client.ask("MSET a 1 b 2 c 3"), client.ask("SELECT 0")), ("+OK".into(), "+OK".into()));
        let port = target.port;
        for command in [
            format!("MIGRATE 127.0.0.1 {port} a 0 1000 foo"),
            format!("MIGRATE 127.0.0.1 {port} a 0 1000 AUTH"),
            format!("MIGRATE 127.0.0.1 {port} a 0 1000 AUTH2 x"),
            format!("MIGRATE 127.0.0.1 {port} a 0 1000 KEYS b"),
            format!("MIGRATE 127.0.0.1 {port} a x 1000"),
            format!("MIGRATE 127.0.0.1 {port} a 0 x"),
            format!("MIGRATE 127.0.0.1 {port} a 0"),
            format!("MIGRATE 127.0.0.1 {port} none 0 1000"),
            "MIGRATE 127.0.0.1 abc none 0 1000".to_owned(),
            format!("MIGRATE 127.0.0.1 {port} \"\" 0 1000 KEYS none nor"),
            format!("MIGRATE 127.0.0.1 {port} \"\" 0 1000 KEYS"),
            format!("MIGRATE 127.0.0.1 {port} a 0 10000"),
            format!("MIGRATE 127.0.0.1 {port} a 0 10000 AUTH wrong"),
            format!("MIGRATE 127.0.0.1 {port} a 0 10000 AUTH2 nobody secret"),
            format!("MIGRATE 127.0.0.1 {port} a 0 10000 AUTH secret"),
            format!("MIGRATE 127.0.0.1 {port} b 0 10000 AUTH2 default secret REPLACE"),
            format!("MIGRATE 127.0.0.1 {port} b 0 10000 AUTH secret"),
            format!("MIGRATE 127.0.0.1 {port} c 0 10000 COPY REPLACE AUTH secret"),
            format!("MIGRATE 127.0.0.1 {} c 999 10000", open.port),
            format!("MIGRATE 127.0.0.1 {closed} c 0 10000"),
            "MIGRATE 127.0.0.1 abc c 0 10000".to_owned(),
            "MIGRATE no.such.host.invalid 1 c 0 10000".to_owned(),
            "EXISTS a b c".to_owned(),
            format!("COMMAND GETKEYS MIGRATE 127.0.0.1 {port} \"\" 0 1 AUTH2 keys keys KEYS x y"),
            format!("COMMAND GETKEYS MIGRATE 127.0.0.1 {port} x 0 1 COPY"),
        ] {
            told.push(format!("{command} -> {}", client.ask(&command)));
        }
        assert_eq!(target.client().ask("AUTH secret"), "+OK");
        match &expected {
            None => expected = Some(told),
            Some(expected) => assert_eq!(told, *expected, "{}", source.name),
        }
        let mut cleaner = target.client();
        assert_eq!((cleaner.ask("AUTH secret"), cleaner.ask("FLUSHALL")), ("+OK".into(), "+OK".into()));
        assert_eq!(open.client().ask("FLUSHALL"), "+OK");
    }
}

/// How a target that the test plays behaves.
#[derive(Clone, Copy)]
enum Play {
    /// Takes everything and says nothing.
    Silent,
    /// Closes when it has heard something.
    Closes,
    /// Answers the first two commands well, then closes.
    ClosesAfterTwo,
    /// Refuses everything.
    Refuses,
    /// Answers with what nobody asked for, without an end.
    Babbles,
}

fn play(play: Play) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || play_to(play, stream));
        }
    });
    port
}

fn play_to(play: Play, mut stream: TcpStream) {
    let mut bytes = [0; 65_536];
    let mut heard = Vec::new();
    let mut answered = 0;
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        heard.extend_from_slice(&bytes[..length]);
        let commands =
            heard.windows(3).filter(|bytes| bytes == b"\r\n*").count() + usize::from(heard.starts_with(b"*"));
        let written = match play {
            Play::Silent => Ok(()),
            Play::Closes => return,
            Play::ClosesAfterTwo if answered + commands > 2 => {
                let _ = stream.write_all(b"+OK\r\n".repeat(2usize.saturating_sub(answered)).as_slice());
                return;
            }
            Play::ClosesAfterTwo => stream.write_all(b"+OK\r\n".repeat(commands).as_slice()),
            Play::Refuses => stream.write_all(b"-NOPE not here\r\n".repeat(commands).as_slice()),
            Play::Babbles => loop {
                if stream.write_all(&[b'x'; 65_536]).is_err() {
                    return;
                }
            },
        };
        if written.is_err() {
            return;
        }
        answered += commands;
        heard.clear();
    }
}

#[test]
fn a_target_that_leaves_is_silent_or_refuses_costs_no_key() {
    for source in sources() {
        let mut client = source.client();
        let mut other = source.client();
        for (acting, timeout_ms, expected) in [
            (Play::Silent, 300, "-IOERR error or timeout reading to target instance"),
            (Play::Closes, 30_000, "-IOERR error or timeout reading to target instance"),
            (Play::Refuses, 30_000, "-ERR Target instance replied with error: NOPE not here"),
        ] {
            assert_eq!(client.ask("MSET k:a 1 k:b 2 k:c 3"), "+OK");
            let port = play(acting);
            for rest in ["k:a", "\"\""] {
                let tail = if rest == "k:a" { "" } else { " KEYS k:a k:b k:c" };
                let told = migrate(&mut client, port, &format!("{rest} 0 {timeout_ms}{tail}"));
                assert_eq!(told, expected, "{}", source.name);
                assert_eq!(client.ask("EXISTS k:a k:b k:c"), ":3", "{}", source.name);
            }
        }
        // SELECT and one RESTORE are answered: that key is gone, if the answer has come through; the others are here.
        let port = play(Play::ClosesAfterTwo);
        let told = migrate(&mut client, port, "\"\" 0 30000 KEYS k:a k:b k:c");
        assert!(told.starts_with("-IOERR error or timeout "), "{}: {told}", source.name);
        assert_eq!(client.ask("EXISTS k:b k:c"), ":2", "{}", source.name);
        assert_eq!(other.ask("PING"), "+PONG");
    }
    let source = Server::torc(2, &[]);
    let mut client = source.client();
    assert_eq!(client.ask("SET k 1"), "+OK");
    let told = migrate(&mut client, play(Play::Babbles), "k 0 30000");
    assert_eq!(told, "-IOERR error or timeout reading to target instance");
    assert_eq!(client.ask("EXISTS k"), ":1");
}

#[test]
fn others_go_on_while_a_target_is_silent() {
    for shards in [1, 2, 5] {
        let source = Server::torc(shards, &[]);
        let (mut client, mut other) = (source.client(), source.client());
        assert_eq!(client.ask("SET k 1"), "+OK");
        let port = play(Play::Silent);
        client.send(&support::encode(&["MIGRATE", "127.0.0.1", &port.to_string(), "k", "0", "100000"]));
        client.send(&support::encode(&["PING"]));
        support::eventually("the command is under way", || {
            other.ask("INFO commandstats").contains("cmdstat_migrate:calls=1")
        });
        for number in 0..20 {
            assert_eq!(other.ask(&format!("SET k {number}")), "+OK");
            assert_eq!(other.ask("GET k"), format!("\"{number}\""));
        }
        // The client that migrates waits for it, and nobody sees the server's own client.
        let lines = other.call("CLIENT LIST").text();
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert_eq!(other.info("connected_clients"), "2");
        let told = other.ask("MULTI");
        assert_eq!(told, "+OK");
        assert_eq!(other.ask(&format!("MIGRATE 127.0.0.1 {port} k 0 1000")), "+QUEUED");
        assert!(other.ask("EXEC").contains("may not"), "{}", source.log());
    }
}

#[test]
fn what_is_written_meanwhile_is_not_lost() {
    for (shards, at_target) in [(1, 2), (2, 1), (5, 2)] {
        let (here, there) = (Server::torc(shards, &[]), Server::torc(at_target, &[]));
        let mut names = key_of_each_shard(&mut here.client(), shards);
        names.push("one:more".to_owned());
        let is_over = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (mut client, names, is_over) = (here.client(), names.clone(), is_over.clone());
                std::thread::spawn(move || {
                    let mut counts = vec![0; names.len()];
                    while !is_over.load(Ordering::Relaxed) {
                        for (name, count) in names.iter().zip(&mut counts) {
                            client.call(&format!("INCR {name}"));
                            *count += 1;
                        }
                    }
                    counts
                })
            })
            .collect();
        let (mut client, mut target) = (here.client(), there.client());
        let mut totals = vec![0; names.len()];
        let mut rounds = 0;
        let list = names.join(" ");
        while rounds < 12 {
            let told = migrate(&mut client, there.port, &format!("\"\" 0 30000 REPLACE KEYS {list}"));
            if told == "+NOKEY" {
                continue;
            }
            assert_eq!(told, "+OK", "on {shards} shards");
            rounds += 1;
            // What has come is counted here, and begins anew there.
            for (name, total) in names.iter().zip(&mut totals) {
                if let Reply::Bulk(count) = target.call(&format!("GETDEL {name}")) {
                    *total += String::from_utf8(count).expect("digits").parse::<i64>().expect("a number");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let counts: Vec<Vec<i64>> = writers.into_iter().map(|writer| writer.join().expect("it counts")).collect();
        for (index, name) in names.iter().enumerate() {
            let left = match client.call(&format!("GET {name}")) {
                Reply::Bulk(count) => String::from_utf8(count).expect("digits").parse().expect("a number"),
                _ => 0,
            };
            let counted: i64 = counts.iter().map(|counts| counts[index]).sum();
            assert_eq!(totals[index] + left, counted, "{name} on {shards} shards");
        }
    }
}

#[test]
fn connections_are_kept_for_a_while_and_made_anew_where_they_have_ended() {
    let source = Server::torc(1, &[]);
    let target = Server::torc(1, &[]);
    let (mut client, mut other) = (source.client(), target.client());
    for number in 0..5 {
        assert_eq!(client.ask(&format!("SET k {number}")), "+OK");
        assert_eq!(migrate(&mut client, target.port, "k 0 30000 REPLACE"), "+OK");
    }
    let connections = other.info_number("total_connections_received");
    assert_eq!(client.ask("SET k last"), "+OK");
    assert_eq!(migrate(&mut client, target.port, "k 0 30000 REPLACE"), "+OK");
    assert_eq!(other.info_number("total_connections_received"), connections, "one was there");
    assert_eq!(other.ask("CLIENT KILL TYPE normal SKIPME yes"), ":1");
    assert_eq!(client.ask("SET k again"), "+OK");
    assert_eq!(migrate(&mut client, target.port, "k 0 30000 REPLACE"), "+OK");
    assert_eq!(other.ask("GET k"), "\"again\"");
}
