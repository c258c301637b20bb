//! What clients do all day, over TLS, on several shards.

use super::peer::{Certificates, TlsClient};
use crate::Encrypted;
use crate::support::server::free_port;
use crate::support::{Client, Reply, Server, encode, eventually, key_of_each_shard};
use std::io::Write;

const SHARDS: [usize; 3] = [1, 2, 5];

#[test]
fn commands_of_all_shards_in_pipelines_of_any_pieces() {
    for shards in SHARDS {
        let served = Encrypted::torc(shards, &[]);
        let mut client = served.client();
        let mut bytes = Vec::new();
        let count = 3000;
        for index in 0..count {
            bytes.extend(encode(&["SET", &format!("key:{index}"), &"v".repeat(index % 300)]));
            bytes.extend(encode(&["STRLEN", &format!("key:{index}")]));
        }
        for (index, piece) in bytes.chunks(1237).enumerate() {
            client.stream.write_all(piece).expect("taken");
            if index % 7 == 0 {
                client.stream.flush().expect("taken");
            }
        }
        client.stream.flush().expect("taken");
        for index in 0..count {
            assert_eq!(client.reply().to_string(), "+OK");
            assert_eq!(client.reply().integer(), (index % 300) as i64);
        }
        assert_eq!(client.call("DBSIZE").integer(), count as i64);
        // The same data without TLS.
        assert_eq!(served.server.client().call("STRLEN key:299").integer(), 299);
        for line in ["MULTI", "INCR n", "EXEC"] {
            assert!(!client.call(line).is_error());
        }
        assert_eq!(client.ask("EVAL \"return redis.call('INCRBY', KEYS[1], 5)\" 1 n"), ":6");
        eventually("it is alone", || client.call("INFO clients").text().contains("connected_clients:1\r\n"));
    }
}

#[test]
fn the_port_comes_moves_and_changes_places_with_the_other() {
    for shards in SHARDS {
        let (certificates, port, moved) = (Certificates::new(), free_port(), free_port());
        let arguments = certificates.arguments(0, &[]);
        let server = Server::torc(shards, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let encrypted = |port| TlsClient::connect(port, &certificates.client(Some("client"))).ask("PING") == "+PONG";
        let plain = |port| Client::connect(port).ask("PING") == "+PONG";
        let mut client = server.client();
        assert_eq!(client.ask(&format!("CONFIG SET tls-port {port}")), "+OK");
        assert!(encrypted(port) && plain(server.port));
        assert_eq!(client.ask(&format!("CONFIG SET tls-port {moved}")), "+OK");
        assert!(encrypted(moved) && plain(server.port));
        assert_eq!(client.ask(&format!("CONFIG SET tls-port {} port {moved}", server.port)), "+OK");
        assert!(encrypted(server.port) && plain(moved));
        assert_eq!(client.ask("CONFIG SET tls-port 0"), "+OK");
        assert!(plain(moved));
    }
}

#[test]
fn large_values_go_both_ways() {
    let served = Encrypted::torc(2, &[]);
    let mut client = served.client();
    let value: Vec<u8> = (0..20_000_000_u32).map(|index| (index % 251) as u8).collect();
    assert_eq!(client.call_bytes(&[b"SET", b"large", &value]).to_string(), "+OK");
    for _ in 0..3 {
        let Reply::Bulk(found) = client.call("GET large") else { panic!("no text") };
        assert!(found == value);
    }
    // Many values of the size that is sent from where it is stored, among small ones.
    for index in 0..40 {
        let length = if index % 2 == 0 { 16 << 10 } else { 10 };
        assert_eq!(client.call_bytes(&[b"SET", format!("k{index}").as_bytes(), &value[..length]]).to_string(), "+OK");
    }
    let names: Vec<String> = (0..40).map(|index| format!("k{index}")).collect();
    for _ in 0..20 {
        client.stream.write_all(&encode(&[vec!["MGET".to_owned()], names.clone()].concat())).expect("taken");
    }
    client.stream.flush().expect("taken");
    for _ in 0..20 {
        let found = client.reply();
        let lengths: Vec<usize> = found.elements().iter().map(|element| element.text().chars().count()).collect();
        assert_eq!(lengths.len(), 40);
        assert!(found.elements().iter().enumerate().all(|(index, element)| {
            let length = if index % 2 == 0 { 16 << 10 } else { 10 };
            *element == Reply::Bulk(value[..length].to_vec())
        }));
    }
}

#[test]
fn a_connection_takes_its_tls_along_when_it_moves() {
    let shards = 3;
    let served = Encrypted::torc(shards, &[]);
    let mut witness = served.server.client();
    let keys = key_of_each_shard(&mut witness, shards);
    let mut client = served.client();
    assert_eq!(client.ask("CLIENT SETNAME traveller"), "+OK");
    let before = witness.info_number("connections_moved");
    for round in 0..6 {
        let key = &keys[round % shards];
        let mut counted = 0;
        let moves = witness.info_number("connections_moved");
        // One that is at home already has not to move.
        for _ in 0..5 {
            let command = encode(&["INCR", &format!("{key}:{round}")]).repeat(500);
            for piece in command.chunks(3001) {
                client.send(piece);
            }
            for _ in 0..500 {
                counted += 1;
                assert_eq!(client.reply().integer(), counted);
            }
            if witness.info_number("connections_moved") > moves {
                break;
            }
        }
        assert_eq!(client.ask("CLIENT GETNAME"), "\"traveller\"");
    }
    assert!(witness.info_number("connections_moved") >= before + 4);
}

#[test]
fn what_comes_unasked_and_what_is_waited_for() {
    for shards in SHARDS {
        let served = Encrypted::torc(shards, &[]);
        let (mut subscriber, mut waiting, mut tracker) = (served.client(), served.client(), served.client());
        let (mut monitor, mut witness) = (served.client(), served.server.client());
        assert_eq!(subscriber.ask("SUBSCRIBE news"), "[\"subscribe\" \"news\" :1]");
        assert_eq!(monitor.ask("MONITOR"), "+OK");
        tracker.call("HELLO 3");
        assert_eq!(tracker.ask("CLIENT TRACKING ON"), "+OK");
        assert_eq!(tracker.ask("GET seen"), "_");
        waiting.send(&encode(&["BLPOP", "queue", "0"]));
        eventually("it waits", || witness.info_number("blocked_clients") == 1);
        assert_eq!(witness.ask("SET seen 1"), "+OK");
        assert_eq!(witness.ask("RPUSH queue a"), ":1");
        assert_eq!(witness.ask("PUBLISH news hello"), ":1");
        assert_eq!(subscriber.reply().to_string(), "[\"message\" \"news\" \"hello\"]");
        assert_eq!(waiting.reply().to_string(), "[\"queue\" \"a\"]");
        assert!(tracker.reply().to_string().contains("invalidate"));
        assert!((0..30).any(|_| monitor.reply().to_string().contains("hello")), "MONITOR shows the message");
        // Who waits and goes is forgotten.
        waiting.send(&encode(&["BLPOP", "queue", "0"]));
        eventually("it waits", || witness.info_number("blocked_clients") == 1);
        waiting.stream.conn.send_close_notify();
        waiting.stream.flush().expect("taken");
        eventually("it is gone", || witness.info_number("blocked_clients") == 0);
        drop(waiting);
        let list = witness.call("CLIENT LIST").text();
        assert!(list.contains(&format!("laddr=127.0.0.1:{}", served.port)), "{list}");
        assert_eq!(witness.call(&format!("CLIENT KILL LADDR 127.0.0.1:{}", served.port)).integer(), 3);
        assert!((0..30).any(|_| subscriber.receive().is_none()), "it has been closed");
    }
}

#[test]
fn commands_behind_the_handshake_and_an_end_at_once() {
    // A client that sends its commands together with the end of its handshake, and its end, is answered whole.
    let served = Encrypted::torc(2, &[]);
    for round in 0..20 {
        let mut client = served.client();
        let count = 1 + round * 40;
        client.stream.write_all(&encode(&["INCR", "n"]).repeat(count)).expect("taken");
        client.stream.conn.send_close_notify();
        client.stream.flush().expect("taken");
        client.stream.sock.shutdown(std::net::Shutdown::Write).expect("open");
        for _ in 0..count {
            assert!(matches!(client.reply(), Reply::Integer(_)));
        }
        assert!(client.receive().is_none());
    }
    let expected: usize = (0..20).map(|round| 1 + round * 40).sum();
    assert_eq!(served.client().ask("GET n"), format!("\"{expected}\""));
}

#[test]
fn limits_hold_as_without_tls() {
    let served = Encrypted::torc(2, &["--client-query-buffer-limit", "5mb"]);
    let mut witness = served.server.client();
    // A request that grows beyond the limit.
    let mut client = served.client();
    client.send(b"*2\r\n$4\r\nPING\r\n$9000000\r\n");
    // A server that has closed does not read the rest, and the kernel tells a writer of that when it likes.
    client.stream.sock.set_write_timeout(Some(std::time::Duration::from_secs(2))).expect("an open socket");
    let sent = (0..800).all(|_| {
        let sent = client.stream.write_all(&[b'x'; 10_000]).and_then(|()| client.stream.flush());
        sent.is_ok()
    });
    assert!(!sent || client.receive().is_none());
    eventually("it is gone", || witness.info_number("connected_clients") == 1);
    // Replies that nobody reads.
    assert_eq!(witness.ask("CONFIG SET client-output-buffer-limit \"normal 2000000 0 0\""), "+OK");
    assert_eq!(witness.call_bytes(&[b"SET", b"large", &[b'x'; 3_000_000]]).to_string(), "+OK");
    let mut client = served.client();
    client.stream.write_all(&encode(&["GET", "large"]).repeat(8)).expect("taken");
    client.stream.flush().expect("taken");
    eventually("it is gone", || witness.info_number("connected_clients") == 1);
    drop(client);
    // As many as may come.
    assert_eq!(witness.ask("CONFIG SET maxclients 2"), "+OK");
    let one = served.client();
    assert!(!served.is_served(Some("client")));
    drop(one);
    eventually("there is room", || served.is_served(Some("client")));
}

#[test]
fn a_client_that_does_not_read_is_bounded() {
    let served = Encrypted::torc(2, &[]);
    let mut witness = served.server.client();
    assert_eq!(witness.call_bytes(&[b"SET", b"value", &[b'x'; 100_000]]).to_string(), "+OK");
    let before = served.server.resident_bytes();
    let mut client = served.client();
    let count = 2000;
    let requests = encode(&["GET", "value"]).repeat(count);
    client.stream.write_all(&requests).expect("taken");
    client.stream.flush().expect("taken");
    for _ in 0..20 {
        served.assert_serves();
        let growth = served.server.resident_bytes().saturating_sub(before);
        assert!(growth < 100 << 20, "a client that does not read costs {growth} bytes");
    }
    for _ in 0..count {
        assert_eq!(client.reply().text().len(), 100_000);
    }
}

#[test]
fn without_a_plain_port_there_is_only_tls() {
    let (certificates, port) = (super::peer::Certificates::new(), crate::support::server::free_port());
    let arguments =
        certificates.arguments(port, &["--port", "0", "--shards", "2", "--bind", "127.0.0.1", "--save", ""]);
    let mut child = std::process::Command::new(crate::support::server::TORC)
        .args(&arguments)
        .current_dir(&certificates.directory)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let config = certificates.client(Some("client"));
    eventually("it serves", || TlsClient::is_served(port, &config));
    let mut client = TlsClient::connect(port, &config);
    assert_eq!(client.ask("CONFIG GET port"), "[\"port\" \"0\"]");
    assert_eq!(client.ask("SET a 1"), "+OK");
    client.send(&encode(&["SHUTDOWN", "NOSAVE"]));
    assert!(client.receive().is_none());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn replies_wait_for_the_disk_over_tls_too() {
    let served = Encrypted::torc(2, &["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = served.client();
    client.send(&(0..500).flat_map(|index| encode(&["SET", &format!("k{index}"), "v"])).collect::<Vec<u8>>());
    assert!((0..500).all(|_| client.reply().to_string() == "+OK"));
    drop(client);
    let Encrypted { server, .. } = served;
    let server = Server::torc_on(server.kill(), 2, &["--appendonly", "yes"]);
    assert_eq!(server.client().call("DBSIZE").integer(), 500);
}
