//! Where connections live: spread over the shards when they come, and following their keys, with nothing lost on the way.

mod support;

use std::io::{Read, Write};
use support::{Client, Server, encode, eventually, figures, key_of_each_shard};

const SHARDS: usize = 3;

#[test]
fn new_connections_are_spread_evenly() {
    let server = Server::torc(SHARDS, &[]);
    let mut clients: Vec<Client> = (0..SHARDS * 20).map(|_| server.client()).collect();
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    eventually("the connection of the start is gone", || {
        figures(&mut clients[0], "connections").iter().all(|count| *count == 20)
    });
    // Places that become free are filled again.
    clients.truncate(SHARDS * 20 - 15);
    eventually("they are gone", || clients[0].info_number("connected_clients") == SHARDS as u64 * 20 - 15);
    clients.extend((0..15).map(|_| server.client()));
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    let counts = figures(&mut clients[0], "connections");
    assert!(counts.iter().all(|count| count.abs_diff(20) <= 1), "{counts:?}");
}

#[test]
fn a_connection_follows_its_keys_again_and_again() {
    let server = Server::torc(SHARDS, &[]);
    let mut witness = server.client();
    let keys = key_of_each_shard(&mut witness, SHARDS);
    let mut client = server.client();
    assert_eq!(client.ask("CLIENT SETNAME traveller"), "+OK");
    assert_eq!(client.ask("SELECT 3"), "+OK");
    let id = client.call("CLIENT ID").integer();
    let moves_before = witness.info_number("connections_moved");
    for round in 0..6 {
        let key = &keys[round % SHARDS];
        let mut counted = 0;
        eventually("its commands cost no messages any more", || {
            let requests = witness.info_number("cross_shard_requests");
            for _ in 0..400 {
                counted += 1;
                assert_eq!(client.call(&format!("INCR {key}:{round}")).integer(), counted);
            }
            witness.info_number("cross_shard_requests") < requests + 50
        });
        // What the client has told the server goes with it.
        assert_eq!(client.ask("CLIENT GETNAME"), "\"traveller\"");
        assert_eq!(client.call("CLIENT ID").integer(), id);
        assert_eq!(client.ask(&format!("GET {key}:{round}")), format!("\"{counted}\""));
    }
    let moves = witness.info_number("connections_moved") - moves_before;
    assert!(moves >= 5, "it moved {moves} times");
    assert_eq!(client.ask("SELECT 0"), "+OK");
    assert_eq!(client.call("DBSIZE").integer(), 0);
    assert_eq!(witness.info_number("connected_clients"), 2);
}

#[test]
fn a_pipeline_in_flight_loses_nothing_when_its_connection_moves() {
    let server = Server::torc(SHARDS, &[]);
    let mut witness = server.client();
    let keys = key_of_each_shard(&mut witness, SHARDS);
    let travellers: Vec<_> = (0..6)
        .map(|number: usize| {
            let (mut client, keys) = (server.client(), keys.clone());
            std::thread::spawn(move || {
                if number % 2 == 1 {
                    assert!(!client.call("HELLO 3").is_error());
                }
                let mut sender = client.stream.try_clone().expect("a descriptor");
                let rounds = 12;
                let commands_a_round = 2000;
                let all = keys.clone();
                let sending = std::thread::spawn(move || {
                    for round in 0..rounds {
                        let key = format!("{}:{number}:{round}", all[(number + round) % SHARDS]);
                        let mut bytes = Vec::new();
                        for index in 0..commands_a_round {
                            match index % 50 {
                                0 => bytes.extend(encode(&["MGET", &all[0], &all[1], &all[2]])),
                                1 => bytes.extend(encode(&["ECHO", &key])),
                                _ => bytes.extend(encode(&["INCR", &key])),
                            }
                        }
                        // In pieces that end anywhere: a move finds half a frame in its hands.
                        for piece in bytes.chunks(1357) {
                            sender.write_all(piece).expect("taken");
                        }
                    }
                });
                for round in 0..rounds {
                    let key = format!("{}:{number}:{round}", keys[(number + round) % SHARDS]);
                    let mut counted = 0;
                    for index in 0..commands_a_round {
                        let reply = client.reply();
                        match index % 50 {
                            0 => assert_eq!(reply.elements().len(), 3),
                            1 => assert_eq!(reply.text(), key),
                            _ => {
                                counted += 1;
                                assert_eq!(reply.integer(), counted);
                            }
                        }
                    }
                }
                sending.join().expect("all is sent");
                assert_eq!(client.ask("PING"), "+PONG");
            })
        })
        .collect();
    for traveller in travellers {
        traveller.join().expect("every reply, in order");
    }
    let moves = witness.info_number("connections_moved");
    println!("{moves} moves");
    assert!(moves >= 6, "only {moves} moves");
    eventually("all are gone", || witness.info_number("connected_clients") == 1);
}

/// Clients that have most of their commands on one shard, then on the next, and so on until they are told to stop or
/// closed: they are always on their way.
fn travellers(server: &Server, keys: &[String], count: usize) -> Vec<(i64, std::thread::JoinHandle<bool>)> {
    let start = |number: usize| {
        let (mut client, keys) = (server.client(), keys.to_vec());
        assert_eq!(client.ask(&format!("CLIENT SETNAME traveller{number}")), "+OK");
        let id = client.call("CLIENT ID").integer();
        let travels = move || {
            let mut bytes = [0; 16 * 1024];
            for round in 0.. {
                let get = encode(&["GET", &keys[(number + round) % SHARDS]]);
                let commands = get.repeat(600);
                if client.stream.write_all(&commands).is_err() {
                    return true;
                }
                let mut lines = 0;
                while lines < 600 {
                    // Whoever is closed may be in the middle of a reply.
                    let Ok(length @ 1..) = client.stream.read(&mut bytes) else { return true };
                    if bytes[..length].windows(4).any(|word| word == b"stop") {
                        return false;
                    }
                    lines += memchr::memchr_iter(b'\n', &bytes[..length]).count();
                }
            }
            false
        };
        (id, std::thread::spawn(travels))
    };
    (0..count).map(start).collect()
}

#[test]
fn who_is_on_the_way_to_another_shard_is_listed_once() {
    const TRAVELLERS: usize = 12;
    let server = Server::torc(SHARDS, &[]);
    let mut witness = server.client();
    let keys = key_of_each_shard(&mut witness, SHARDS);
    let travellers = travellers(&server, &keys, TRAVELLERS);
    let expected: Vec<i64> = travellers.iter().map(|(id, _)| *id).collect();
    let mut lists = 0;
    eventually("they have moved a thousand times", || {
        for _ in 0..50 {
            let listed = witness.call("CLIENT LIST SKIPME YES").text();
            let id = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse::<i64>().ok();
            let ids: Vec<i64> = listed.lines().filter_map(id).collect();
            assert_eq!(ids, expected, "list {lists}:\n{listed}");
            lists += 1;
        }
        witness.info_number("connections_moved") > 1000
    });
    for key in keys {
        assert_eq!(witness.ask(&format!("SET {key} stop")), "+OK");
    }
    for (_, traveller) in travellers {
        assert!(!traveller.join().expect("it ended"), "nobody was closed");
    }
}

#[test]
fn who_is_on_the_way_to_another_shard_is_closed_when_asked_for() {
    let server = Server::torc(SHARDS, &[]);
    let mut witness = server.client();
    let keys = key_of_each_shard(&mut witness, SHARDS);
    for round in 0..40 {
        let travellers = travellers(&server, &keys, 6);
        let moved = witness.info_number("connections_moved");
        eventually("they move", || witness.info_number("connections_moved") > moved + 6);
        if round % 2 == 0 {
            for (id, _) in &travellers {
                assert_eq!(witness.ask(&format!("CLIENT KILL ID {id}")), ":1");
            }
        } else {
            assert_eq!(witness.ask("CLIENT KILL TYPE normal"), ":6");
        }
        for (_, traveller) in travellers {
            assert!(traveller.join().expect("it ended"), "it was closed");
        }
        eventually("they are gone", || witness.info_number("connected_clients") == 1);
    }
}

#[test]
fn invalidations_may_be_redirected_to_who_is_on_the_way_to_another_shard() {
    let server = Server::torc(SHARDS, &[]);
    let mut witness = server.client();
    let keys = key_of_each_shard(&mut witness, SHARDS);
    for _ in 0..30 {
        let travellers = travellers(&server, &keys, 6);
        let moved = witness.info_number("connections_moved");
        eventually("they move", || witness.info_number("connections_moved") > moved + 6);
        for (id, _) in &travellers {
            assert_eq!(witness.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK");
            assert_eq!(witness.ask("CLIENT TRACKING OFF"), "+OK");
        }
        assert_eq!(witness.ask("CLIENT KILL TYPE normal"), ":6");
        for (_, traveller) in travellers {
            assert!(traveller.join().expect("it ended"), "it was closed");
        }
    }
}
