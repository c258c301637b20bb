//! Clients that send what they should not, or go silent, or vanish.

use crate::assert_serves;
use crate::support::{Client, PATIENCE, Server, encode, eventually};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn broken_frames_end_their_connection_alone() {
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    assert_eq!(witness.ask("SET kept 1"), "+OK");
    for bytes in [
        &b"*x\r\n"[..],
        b"*99999999999999999999\r\n",
        b"*2147483648\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$-5\r\n",
        b"*2\r\n$3\r\nGET\r\n:1\r\n",
        b"*3\r\n$3\r\nDEL\r\n$4\r\nkept\r\n$x\r\n",
        b"SET kept \"open\r\n",
    ] {
        let mut client = server.client();
        client.send(bytes);
        client.finish_sending();
        while let Some(reply) = client.receive() {
            assert!(reply.is_error(), "{} got {reply}", bytes.escape_ascii());
        }
        assert_eq!(witness.ask("GET kept"), "\"1\"", "after {}", bytes.escape_ascii());
    }
    assert_serves(&server);
}

#[test]
fn random_bytes_harm_nobody() {
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    assert_eq!(witness.ask("SET kept 1"), "+OK");
    // A small generator of our own: the same bytes in every run.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: &[&[u8]] =
        &[b"*", b"$", b"\r\n", b"1", b"3", b"-", b"GET", b"\0", b"\xff", b"\"", b"'", b" ", b":", b"9999999999"];
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..next() % 40).flat_map(|_| pieces[next() as usize % pieces.len()].to_vec()).collect();
        let mut client = server.client();
        // The server may have closed before all is sent.
        let _ = client.stream.write_all(&bytes);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        assert!(client.is_closed_by_server());
    }
    assert_eq!(witness.ask("GET kept"), "\"1\"");
    assert_serves(&server);
}

#[test]
fn every_byte_may_stand_in_keys_values_and_names() {
    let server = Server::torc(3, &[]);
    let mut client = server.client();
    let all: Vec<u8> = (0..=255).collect();
    for key in [&b"\0"[..], b"\0\0", b"\r\n", b"a\0b", b"", &all] {
        assert_eq!(client.call_bytes(&[b"SET", key, &all]).to_string(), "+OK");
        assert_eq!(client.call_bytes(&[b"GET", key]).bytes(), all);
        assert_eq!(client.call_bytes(&[b"DEL", key]).integer(), 1);
    }
    for name in [&b"\0"[..], b"GET\0", b"G\0T", b"\r\n", b"", &all] {
        let reply = client.call_bytes(&[name, b"a"]);
        assert!(reply.text().starts_with("ERR unknown command '"), "{reply}");
    }
    assert_serves(&server);
}

#[test]
fn a_half_frame_and_silence_holds_nobody_up_and_ends_by_timeout() {
    let server = Server::torc(3, &[]);
    let halves = [&b"*"[..], b"*2\r\n$3\r\nGE", b"*2\r\n$3\r\nGET\r\n$1000000\r\nabc", b"GET a", b"*1\r\n$4\r\nPING\r"];
    let mut silent: Vec<Client> = halves
        .iter()
        .map(|half| {
            let mut client = server.client();
            client.send(half);
            client
        })
        .collect();
    assert_serves(&server);
    // Half a frame is still whole when its rest comes late.
    silent[4].send(b"\n");
    assert_eq!(silent[4].reply().to_string(), "+PONG");
    assert_eq!(server.client().ask("CONFIG SET timeout 1"), "+OK");
    for client in &mut silent {
        client.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("an open socket");
        eventually("an idle client is closed", || client.is_closed_by_server());
    }
    assert_serves(&server);
}

#[test]
fn arguments_over_the_limits_are_refused() {
    let server = Server::torc(3, &["--proto-max-bulk-len", "1mb"]);
    let mut client = server.client();
    let limit = vec![b'x'; 1 << 20];
    assert_eq!(client.call_bytes(&[b"SET", b"a", &limit]).to_string(), "+OK");
    assert_eq!(client.call_bytes(&[b"GET", b"a"]).bytes().len(), limit.len());
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n");
    assert_eq!(client.reply().to_string(), "-ERR Protocol error: invalid bulk length");
    assert_eq!(client.receive(), None);
    // Inline commands have an end within 64 KiB.
    let mut client = server.client();
    client.send(&vec![b'x'; 64 * 1024 + 1]);
    assert_eq!(client.reply().to_string(), "-ERR Protocol error: too big inline request");
    assert!(client.is_closed_by_server());
    // So do counts and lengths.
    for opening in [&b"*"[..], b"*1\r\n$"] {
        let mut client = server.client();
        client.send(&[opening, &vec![b'1'; 64 * 1024 + 1]].concat());
        let reply = client.reply().to_string();
        assert!(reply.starts_with("-ERR Protocol error: too big "), "{reply}");
        assert!(client.is_closed_by_server());
    }
    let mut client = server.client();
    client.send(b"*2147483648\r\n");
    assert_eq!(client.reply().to_string(), "-ERR Protocol error: invalid multibulk length");
    assert_serves(&server);
}

#[test]
fn a_command_of_many_arguments_is_taken() {
    let server = Server::torc(3, &[]);
    let mut client = server.client();
    let keys: Vec<String> = (0..200_000).map(|index| format!("key:{index}")).collect();
    let with_name =
        |name: &str| encode(&std::iter::once(name).chain(keys.iter().map(String::as_str)).collect::<Vec<_>>());
    client.send(&with_name("MSET"));
    assert_eq!(client.reply().to_string(), "+OK");
    client.send(&with_name("EXISTS"));
    assert_eq!(client.reply().integer(), 100_000);
    assert_eq!(client.call("DBSIZE").integer(), 100_000);
    client.send(&with_name("DEL"));
    assert_eq!(client.reply().integer(), 100_000);
    assert_serves(&server);
}

#[test]
fn a_query_over_its_limit_ends_its_client() {
    let server = Server::torc(3, &["--client-query-buffer-limit", "1mb"]);
    let mut client = server.client();
    client.send(b"*2\r\n$3\r\nGET\r\n$3000000\r\n");
    // The server stops reading at some point: what does not fit in between is not sent.
    let _ = client.stream.write_all(&vec![b'x'; 2_500_000]);
    assert!(client.is_closed_by_server());
    assert_serves(&server);
}

#[test]
fn a_million_watched_keys_are_seen_to_and_more_than_the_limit_end_their_client() {
    const KEYS: usize = 1_000_000;
    for shards in [1, 5] {
        let server = Server::torc(shards, &["--client-query-buffer-limit", "200mb"]);
        let (mut client, mut other) = (server.client(), server.client());
        let watch = |client: &mut Client, prefix: &str, keys: std::ops::Range<usize>| {
            let words = keys.map(|number| format!("{prefix}:{number}"));
            let words: Vec<String> = std::iter::once("WATCH".to_owned()).chain(words).collect();
            if client.sends(&encode(&words)) { client.receive() } else { None }
        };
        let total = |client: &mut Client| client.call("CLIENT INFO").text().contains(&format!(" watch={KEYS} "));
        for half in [0..KEYS / 2, KEYS / 4..KEYS] {
            assert_eq!(watch(&mut client, "key", half).expect("a reply").to_string(), "+OK");
        }
        assert!(total(&mut client), "{shards} shards");
        // The last of them has changed.
        assert_eq!(other.ask(&format!("SET key:{} 1", KEYS - 1)), "+OK");
        assert_eq!([client.ask("MULTI"), client.ask("SET a 1"), client.ask("EXEC")], ["+OK", "+QUEUED", "nil*"]);
        assert!(client.call("CLIENT INFO").text().contains(" watch=0 "));
        // Now none has.
        assert_eq!(watch(&mut client, "key", 0..KEYS).expect("a reply").to_string(), "+OK");
        assert_eq!([client.ask("MULTI"), client.ask("SET a 1"), client.ask("EXEC")], ["+OK", "+QUEUED", "[+OK]"]);
        // Without end: closed, and forgotten everywhere.
        let closed = (0..20).any(|round| watch(&mut client, &format!("round:{round}"), 0..KEYS / 4).is_none());
        assert!(closed, "{shards} shards: it watches without a limit");
        eventually("it is gone", || other.info_number("connected_clients") == 1);
        eventually("its keys, too", || other.info_number("total_watched_keys") == 0);
        assert_serves(&server);
    }
}

#[test]
fn clients_that_vanish_leave_no_lock_behind() {
    let server = Server::torc(5, &[]);
    let mut witness = server.client();
    for round in 0..200 {
        let mut client = server.client();
        let (a, b) = (format!("a{}", round % 7), format!("b{}", round % 5));
        let pipeline: Vec<u8> = [
            &["MSETNX", &a, "1", &b, "2"][..],
            &["RENAME", &a, &b],
            &["MSET", &a, "1", &b, "2", "c", "3"],
            &["COPY", &b, &a, "REPLACE"],
            &["RENAMENX", &b, "c"],
            &["DEL", &a, &b, "c"],
        ]
        .into_iter()
        .cycle()
        .take(1 + round % 17)
        .flat_map(encode)
        .collect();
        // Cut off anywhere, also in the middle of a frame, with replies unread: the kernel answers with a reset.
        let cut = pipeline.len() - round % 11;
        client.send(&pipeline[..cut]);
        drop(client);
        if round % 20 == 0 {
            assert_eq!(witness.ask("MSET a0 x b0 y c z"), "+OK");
        }
    }
    // What they sent whole may still run until they are gone, and would take the keys away again.
    eventually("all are gone", || witness.info_number("connected_clients") == 1);
    for index in 0..7 {
        assert_eq!(witness.ask(&format!("MSET a{index} 1 b{index} 2 c 3")), "+OK");
        assert_eq!(witness.ask(&format!("RENAME a{index} b{index}")), "+OK");
        assert_eq!(witness.ask(&format!("GET b{index}")), "\"1\"");
    }
    assert_eq!(witness.ask("FLUSHALL"), "+OK");
}

/// What is written in slices is done, and its keys are free, though the client that asked for it takes no replies.
#[test]
fn who_reads_nothing_holds_no_key_back() {
    const VALUE_BYTES: usize = 150_000;
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    assert_eq!(witness.ask(&format!("SET value {}", "x".repeat(VALUE_BYTES))), "+OK");
    // On one shard and on several.
    for [a, b, union] in [["{t}a", "{t}b", "{t}union"], ["a", "b", "union"]] {
        for from in (0..8000).step_by(1000) {
            let members: Vec<String> = (from..from + 1000).map(|member| format!("m{member}")).collect();
            let key = if from < 4000 { a } else { b };
            assert_eq!(witness.ask(&format!("SADD {key} {}", members.join(" "))), ":1000");
        }
        let mut silent = server.client();
        // Far more than sockets take; the server stops reading on the way.
        let pipeline = [encode(&["GET", "value"]), encode(&["SUNIONSTORE", union, a, b])].concat().repeat(300);
        silent.send(&pipeline);
        eventually("the first one is done", || witness.ask(&format!("SCARD {union}")) == ":8000");
        eventually("the server has stopped reading", || {
            let before = witness.info_number("total_commands_processed");
            std::thread::sleep(Duration::from_millis(200));
            witness.info_number("total_commands_processed") - before < 5
        });
        assert_eq!(witness.ask(&format!("SCARD {union}")), ":8000");
        assert_eq!(witness.ask(&format!("DEL {union}")), ":1");
        drop(silent);
    }
    assert_serves(&server);
}

/// What was taken off is gone at once, whoever is slow to hear of it.
#[test]
fn who_is_slow_to_take_what_was_popped_holds_no_key_back() {
    const ELEMENTS: usize = 8000;
    const POPPED: usize = 7000;
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    let filling = "x".repeat(1500);
    for (add, pop, length) in [("RPUSH", "LPOP", "LLEN"), ("SADD", "SPOP", "SCARD")] {
        // On three shards, so also on one that is not the client's.
        for key in ["a", "b", "c"] {
            for from in (0..ELEMENTS).step_by(100) {
                let elements: Vec<String> = (from..from + 100).map(|number| format!("{number}{filling}")).collect();
                assert!(!witness.call(&format!("{add} {key} {}", elements.join(" "))).is_error());
            }
            let mut slow = server.client();
            slow.send(&encode(&[pop, key, &POPPED.to_string()]));
            eventually("they are gone", || witness.ask(&format!("{length} {key}")) == ":1000");
            assert!(!witness.call(&format!("{add} {key} more")).is_error());
            assert_eq!(witness.ask(&format!("{length} {key}")), ":1001");
            assert_eq!(slow.reply().elements().len(), POPPED);
            assert_eq!(witness.ask(&format!("DEL {key}")), ":1");
        }
    }
    assert_serves(&server);
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    let mut descriptors = Vec::new();
    for round in 0..4 {
        let mut clients: Vec<Client> = (0..500).map(|_| server.client()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            match (index + round) % 4 {
                0 => assert_eq!(client.ask("PING"), "+PONG"),
                1 => client.send(b"*2\r\n$3\r\nGET\r\n"),
                2 => client.send(&encode(&["MGET", "a", "b", "c"])),
                _ => {}
            }
        }
        drop(clients);
        eventually("all but one are gone", || witness.info_number("connected_clients") == 1);
        descriptors.push(server.descriptors());
    }
    // Each round leaves as many as the first: what the server opens late for itself is open by then.
    eventually("their descriptors are given back", || server.descriptors() <= descriptors[0]);
    assert_eq!(witness.call("CLIENT LIST").text().lines().count(), 1);
    assert_serves(&server);
}

#[test]
fn idle_clients_are_closed_and_busy_ones_are_not() {
    let server = Server::torc(3, &["--timeout", "2"]);
    let mut idle = server.client();
    idle.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("an open socket");
    let mut busy = server.client();
    let mut spoke = Instant::now();
    eventually("the idle client is closed", || {
        busy.send(&encode(&["PING"]));
        if busy.receive().is_none() {
            // Only a machine that stood still may have made it look idle.
            assert!(spoke.elapsed() >= Duration::from_secs(2), "a busy client was closed");
            busy = server.client();
        }
        spoke = Instant::now();
        idle.is_closed_by_server()
    });
}

#[test]
fn a_password_keeps_everyone_else_out() {
    let server = Server::torc(3, &["--requirepass", "secret"]);
    let mut client = server.client();
    for command in
        ["GET a", "SET a 1", "MSET a 1 b 2 c 3", "FLUSHALL", "CONFIG GET *", "INFO", "CLIENT LIST", "DEBUG SLEEP 0"]
    {
        assert_eq!(client.ask(command), "-NOAUTH Authentication required.", "{command}");
    }
    // A pipeline is looked at command by command.
    client.send(&[encode(&["SET", "a", "1"]), encode(&["AUTH", "secret"]), encode(&["GET", "a"])].concat());
    assert_eq!(client.reply().to_string(), "-NOAUTH Authentication required.");
    assert_eq!(client.reply().to_string(), "+OK");
    assert_eq!(client.reply().to_string(), "nil");
}

#[test]
fn a_unix_socket_serves_with_the_permission_asked_for() {
    let directory = crate::support::server::new_directory();
    let path = directory.join("torc.sock");
    let server = Server::torc(3, &["--unixsocket", path.to_str().expect("text"), "--unixsocketperm", "700"]);
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    stream.write_all(b"SET a 1\r\nGET a\r\n").expect("sent");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).expect("replies");
    assert_eq!(&reply, b"+OK\r\n$1\r\n1\r\n");
    assert!(server.client().call("CLIENT LIST").text().contains("torc.sock:0"));
    drop(server);
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn protected_mode_refuses_those_who_come_from_outside() {
    let Some(address) = outside_address() else {
        println!("skipped: this machine has no address beside the loopback");
        return;
    };
    // The later `--bind` holds.
    let server = Server::torc(3, &["--bind", "127.0.0.1", &address.to_string()]);
    let connect = || {
        let stream = std::net::TcpStream::connect((address, server.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        stream
    };
    let mut text = String::new();
    connect().read_to_string(&mut text).expect("a refusal");
    assert!(text.starts_with("-DENIED "), "{text}");
    assert_eq!(server.client().ask("CONFIG SET protected-mode no"), "+OK");
    let mut stream = connect();
    stream.write_all(b"PING\r\n").expect("sent");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
}

/// An address of this machine that is no loopback: the one that a packet to somewhere else would carry.
fn outside_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: connecting a datagram socket only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
