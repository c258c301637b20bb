//! Clients that send without reading, and limits that end them; a stop while all are busy.

use crate::assert_serves;
use crate::support::{Client, PATIENCE, Reply, Server, encode, eventually};
use std::io::{ErrorKind, Write};
use std::time::Duration;

const VALUE_BYTES: usize = 100_000;

/// Sends the request until the server takes no more (or `count_max` are sent); returns how many whole requests are out
/// and what is left of the last one.
fn flood(client: &mut Client, request: &[u8], count_max: usize) -> (usize, Vec<u8>) {
    client.stream.set_write_timeout(Some(Duration::from_secs(3))).expect("an open socket");
    for count in 0..count_max {
        let mut rest = request;
        while !rest.is_empty() {
            match client.stream.write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return (count + 1, rest.to_vec());
                }
                Err(error) => panic!("after {count} requests: {error}"),
            }
        }
    }
    (count_max, Vec::new())
}

/// Sends pipelined commands with large replies, does not read, looks at the memory, then reads everything.
fn pipeline_without_reading(request: &[u8], reply_bytes: usize, is_right: impl Fn(&str) -> bool) {
    const GROWTH_BYTES_MAX: u64 = 200 << 20;
    let server = Server::torc(3, &[]);
    let mut witness = server.client();
    let value = "v".repeat(VALUE_BYTES);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(witness.ask(&format!("SET {key} {value}")), "+OK");
    }
    let before = server.resident_bytes();
    let mut client = server.client();
    // Enough that the replies would be well over a gigabyte.
    let wanted = (5 << 28) / reply_bytes;
    let chunk: Vec<u8> = request.repeat(64);
    let (mut chunks, rest) = flood(&mut client, &chunk, wanted / 64);
    for _ in 0..50 {
        assert_serves(&server);
        let growth = server.resident_bytes().saturating_sub(before);
        assert!(growth < GROWTH_BYTES_MAX, "a client that does not read costs {growth} bytes");
    }
    // Now it reads: every reply is there, in order, none twice.
    client.stream.set_write_timeout(Some(PATIENCE)).expect("an open socket");
    let mut sender = client.stream.try_clone().expect("a descriptor");
    let sending = std::thread::spawn(move || {
        sender.write_all(&rest).expect("the rest is taken");
        sender.write_all(b"*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n").expect("the end is taken");
    });
    chunks *= 64;
    for index in 0..chunks {
        let reply = client.reply();
        let bytes = match &reply {
            Reply::Array(elements) => elements[0].text(),
            other => other.text(),
        };
        assert!(is_right(&bytes), "reply {index} of {chunks}: {} bytes", bytes.len());
    }
    assert_eq!(client.reply().to_string(), "\"end\"");
    sending.join().expect("all is sent");
    println!("{chunks} replies of {reply_bytes} bytes were read late");
}

#[test]
fn large_values_pipelined_without_reading_cost_bounded_memory() {
    for key in ["a", "b"] {
        pipeline_without_reading(&encode(&["GET", key]), VALUE_BYTES, |reply| reply.len() == VALUE_BYTES);
    }
}

#[test]
fn reads_of_several_shards_pipelined_without_reading_cost_bounded_memory() {
    let request = encode(&["MGET", "a", "b", "c", "d"]);
    pipeline_without_reading(&request, 4 * VALUE_BYTES, |reply| reply.len() == VALUE_BYTES);
}

#[test]
fn echoes_pipelined_without_reading_cost_bounded_memory() {
    let text = "e".repeat(VALUE_BYTES);
    pipeline_without_reading(&encode(&["ECHO", &text]), 30 * VALUE_BYTES, |reply| reply == text);
}

#[test]
fn a_hard_output_limit_closes_its_client_alone() {
    let server = Server::torc(3, &["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut witness = server.client();
    let value = "v".repeat(4 << 20);
    assert_eq!(witness.ask(&format!("SET large {value}")), "+OK");
    assert_eq!(witness.ask("SET small 1"), "+OK");
    let mut client = server.client();
    // More than any socket buffer takes.
    for _ in 0..16 {
        // It may be closed before all are sent.
        let _ = client.stream.write_all(&encode(&["GET", "large"]));
    }
    assert!(client.is_closed_by_server());
    assert_eq!(witness.ask("GET small"), "\"1\"");
    assert_serves(&server);
    assert!(server.log().contains("output buffer limits"), "{}", server.log());
}

#[test]
fn clients_over_the_maximum_are_told_so() {
    let server = Server::torc(3, &["--maxclients", "10"]);
    let mut clients: Vec<Client> = Vec::new();
    eventually("the connection of the start is gone", || {
        clients.clear();
        clients.extend((0..10).map(|_| server.client()));
        clients.iter_mut().all(|client| {
            client.send(&encode(&["PING"]));
            client.receive().is_some_and(|reply| reply.to_string() == "+PONG")
        })
    });
    for _ in 0..5 {
        let mut client = server.client();
        assert_eq!(client.reply().to_string(), "-ERR max number of clients reached");
        assert!(client.is_closed_by_server());
    }
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    assert!(clients[0].info_number("rejected_connections") >= 5);
    clients.pop();
    eventually("a place is free again", || {
        let mut client = server.client();
        client.send(&encode(&["PING"]));
        client.receive().is_some_and(|reply| reply.to_string() == "+PONG")
    });
    assert_eq!(clients[0].ask("CONFIG SET maxclients 11"), "+OK");
}

#[test]
fn a_stop_answers_what_was_sent_and_ends_with_zero() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::torc(3, &[]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
        let value = "v".repeat(1000);
        for client in &mut clients {
            client.send(&encode(&["MSET", "a", &value, "b", &value, "c", &value]));
            assert_eq!(client.reply().to_string(), "+OK");
        }
        let busy: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(index, mut client)| {
                std::thread::spawn(move || {
                    let key = format!("key:{index}");
                    let pipeline: Vec<u8> = [
                        encode(&["INCR", &key]),
                        encode(&["MGET", "a", "b", "c"]),
                        encode(&["RENAME", &key, &format!("{key}:other")]),
                        encode(&["RENAME", &format!("{key}:other"), &key]),
                    ]
                    .concat();
                    let mut answered = 0;
                    // Until the server closes; whatever it answers is whole and right.
                    while client.stream.write_all(&pipeline).is_ok() {
                        for expected in 0..4 {
                            let Some(reply) = client.receive() else { return answered };
                            match expected {
                                0 => assert_eq!(reply.integer(), answered + 1),
                                1 => assert_eq!(reply.elements().len(), 3),
                                _ => assert_eq!(reply.to_string(), "+OK"),
                            }
                        }
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        server.signal(signal);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        let answered: i64 = busy.into_iter().map(|thread| thread.join().expect("right replies")).sum();
        println!("{answered} pipelines were answered before {signal}");
        assert!(Client::try_connect(server.port).is_err(), "nobody listens any more");
    }
}
