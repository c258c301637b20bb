//! Publish and subscribe over shards: who hears what, in which order, and what becomes of those who do not read or go.

mod support;

use support::{Client, Reply, Server, encode, eventually};

const SHARDS: [usize; 3] = [1, 2, 5];

fn texts(reply: &Reply) -> Vec<String> {
    reply.elements().iter().map(Reply::text).collect()
}

/// Subscribes; the answers are told nobody.
fn subscribe(client: &mut Client, line: &str) {
    let names = line.split(' ').count() - 1;
    client.call(line);
    (1..names).for_each(|_| drop(client.reply()));
}

#[test]
fn every_subscriber_hears_each_publisher_in_order_wherever_they_are() {
    const MESSAGES: usize = 600;
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut subscribers: Vec<Client> = (0..12).map(|_| server.client()).collect();
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            match index % 3 {
                0 => subscribe(subscriber, "SUBSCRIBE news other"),
                1 => subscribe(subscriber, "PSUBSCRIBE n?ws"),
                _ => {
                    subscriber.call("HELLO 3");
                    subscribe(subscriber, "SUBSCRIBE news");
                }
            }
        }
        let mut publishers: Vec<Client> = (0..5).map(|_| server.client()).collect();
        for round in 0..MESSAGES / 100 {
            for (index, publisher) in publishers.iter_mut().enumerate() {
                let mut pipeline = Vec::new();
                for number in round * 100..(round + 1) * 100 {
                    // Keys of all shards between them, so that some of it waits for other shards.
                    pipeline.extend(encode(&["SET", &format!("key:{number}"), "value"]));
                    pipeline.extend(encode(&["PUBLISH", "news", &format!("{index} {number}")]));
                }
                publisher.send(&pipeline);
            }
        }
        for publisher in &mut publishers {
            for _ in 0..MESSAGES {
                assert_eq!(publisher.reply().to_string(), "+OK");
                assert_eq!(publisher.reply().to_string(), ":12", "{shards} shards");
            }
        }
        for subscriber in &mut subscribers {
            let mut next = [0; 5];
            for _ in 0..MESSAGES * 5 {
                let message = texts(&subscriber.reply());
                let (index, number) = message.last().and_then(|text| text.split_once(' ')).expect("a message");
                let index: usize = index.parse().expect("a number");
                assert_eq!(number, next[index].to_string(), "{shards} shards");
                next[index] += 1;
            }
            assert_eq!(next, [MESSAGES; 5]);
        }
    }
}

#[test]
fn whoever_hears_a_message_sees_what_its_publisher_did_before() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let (mut publisher, mut reader, mut subscriber) = (server.client(), server.client(), server.client());
        subscribe(&mut subscriber, "SUBSCRIBE ready");
        let mut pipeline = Vec::new();
        for number in 0..400 {
            let key = format!("key:{}", number % 7);
            pipeline.extend(encode(&["SET", &key, &number.to_string()]));
            pipeline.extend(encode(&["PUBLISH", "ready", &format!("{key} {number}")]));
        }
        publisher.send(&pipeline);
        for _ in 0..400 {
            let message = texts(&subscriber.reply());
            let (key, number) = message[2].split_once(' ').expect("a message");
            let seen: i64 = reader.call(&format!("GET {key}")).text().parse().expect("a number");
            assert!(seen >= number.parse().expect("a number"), "{shards} shards: {seen} after {number}");
        }
    }
}

#[test]
fn a_message_is_ahead_of_the_reply_that_tells_of_it() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut publishers: Vec<Client> = (0..shards).map(|_| server.client()).collect();
        let mut subscribers: Vec<Client> = (0..shards).map(|_| server.client()).collect();
        subscribers.iter_mut().for_each(|subscriber| subscribe(subscriber, "SUBSCRIBE ready"));
        for round in 0..200 {
            let publisher = &mut publishers[round % shards];
            assert_eq!(publisher.ask(&format!("PUBLISH ready {round}")), format!(":{shards}"));
            // What the subscriber says now comes behind the message.
            for subscriber in &mut subscribers {
                subscriber.send(&encode(&["PING"]));
                assert_eq!(subscriber.reply().elements()[2].text(), round.to_string());
                assert_eq!(subscriber.reply().to_string(), "[\"pong\" \"\"]");
            }
        }
    }
}

#[test]
fn who_is_gone_is_not_counted_however_it_went() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut witness = server.client();
        for end in ["close", "QUIT", "RESET", "UNSUBSCRIBE", "kill"] {
            let mut clients: Vec<Client> = (0..7).map(|_| server.client()).collect();
            for client in &mut clients {
                subscribe(client, "SUBSCRIBE one two");
                subscribe(client, "PSUBSCRIBE o*");
                subscribe(client, "SSUBSCRIBE one");
            }
            assert_eq!(witness.ask("PUBLISH one x"), ":14");
            assert_eq!(witness.ask("SPUBLISH one x"), ":7");
            assert_eq!(witness.info_number("pubsub_clients"), 7);
            assert_eq!(witness.info_number("pubsub_channels"), 2);
            assert_eq!(witness.info_number("pubsub_patterns"), 1);
            assert_eq!(witness.info_number("pubsubshard_channels"), 1);
            match end {
                "close" => drop(clients),
                // They hear nothing any more when that is answered, whatever their shards still have to close.
                "kill" => {
                    assert_eq!(witness.ask("CLIENT KILL TYPE pubsub"), ":7");
                    assert_eq!(witness.ask("PUBLISH one x"), ":0");
                    assert_eq!(witness.ask("SPUBLISH one x"), ":0");
                }
                line => clients.iter_mut().for_each(|client| client.send(&encode(&[line]))),
            }
            eventually("they have left", || witness.ask("PUBSUB NUMSUB two") == "[\"two\" :0]");
            if end == "UNSUBSCRIBE" {
                assert_eq!(witness.ask("PUBLISH one x"), ":7");
                continue;
            }
            eventually("all of them", || witness.info_number("pubsub_clients") == 0);
            assert_eq!(witness.ask("PUBLISH one x"), ":0");
            assert_eq!(witness.ask("SPUBLISH one x"), ":0");
            assert_eq!(witness.ask("PUBSUB NUMPAT"), ":0");
        }
    }
}

#[test]
fn what_nobody_listens_to_costs_no_message() {
    let server = Server::torc(5, &["--notify-keyspace-events", "KEA"]);
    let (mut publisher, mut subscriber) = (server.client(), server.client());
    subscribe(&mut subscriber, "SUBSCRIBE other");
    let messages = |client: &mut Client| client.info_number("cross_shard_messages");
    let idle = messages(&mut publisher);
    let asking = messages(&mut publisher) - idle;
    let before = messages(&mut publisher);
    for _ in 0..500 {
        assert_eq!(publisher.ask("PUBLISH news x"), ":0");
        assert_eq!(publisher.ask("SPUBLISH news x"), ":0");
    }
    assert_eq!(messages(&mut publisher) - before, asking);
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_and_the_others_hear_everything() {
    for shards in SHARDS {
        for limit in ["pubsub 1mb 0 0", "pubsub 0 200kb 1"] {
            let server = Server::torc(shards, &["--client-output-buffer-limit", limit]);
            let (mut publisher, mut reader) = (server.client(), server.client());
            let mut deaf: Vec<Client> = (0..shards * 2).map(|_| server.client()).collect();
            deaf.iter_mut().for_each(|client| subscribe(client, "SUBSCRIBE news"));
            subscribe(&mut reader, "SUBSCRIBE news");
            let message = "x".repeat(20_000);
            let before = server.resident_bytes();
            eventually("they are cut off", || {
                for _ in 0..40 {
                    publisher.call(&format!("PUBLISH news {message}"));
                    assert_eq!(reader.reply().elements()[2].bytes().len(), message.len());
                }
                publisher.ask("PUBSUB NUMSUB news") == "[\"news\" :1]"
            });
            let grown = server.resident_bytes().saturating_sub(before);
            // The limit bounds what each takes; the kernel's buffers are not ours.
            assert!(limit.ends_with('1') || grown < 64 << 20, "{shards} shards: {grown} bytes");
            assert_eq!(publisher.ask("PUBLISH news last"), ":1");
        }
    }
}

#[test]
fn one_burst_takes_no_more_memory_than_the_limit() {
    let server = Server::torc(2, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let (mut publisher, mut witness) = (server.client(), server.client());
    let mut deaf: Vec<Client> = (0..20).map(|_| server.client()).collect();
    deaf.iter_mut().for_each(|client| subscribe(client, "SUBSCRIBE news"));
    let message = "x".repeat(10_000);
    let pipeline: Vec<u8> = (0..2000).flat_map(|_| encode(&["PUBLISH", "news", &message])).collect();
    let before = server.resident_bytes();
    publisher.send(&pipeline);
    (0..2000).for_each(|_| drop(publisher.reply()));
    // 20 MB for each of 20 subscribers would be 400 MB.
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes");
    eventually("they are cut off", || witness.ask("PUBSUB NUMSUB news") == "[\"news\" :0]");
}

#[test]
fn a_subscriber_stays_where_it_is_and_hears_everything() {
    let server = Server::torc(3, &[]);
    let (mut publisher, mut subscriber) = (server.client(), server.client());
    subscriber.call("HELLO 3");
    subscribe(&mut subscriber, "SUBSCRIBE news");
    let moved = publisher.info_number("connections_moved");
    for round in 0..3000 {
        // All its commands go to one shard, which it would follow.
        assert_eq!(subscriber.ask("INCR {tag}"), format!(":{}", round + 1));
        if round % 100 == 0 {
            assert_eq!(publisher.ask("PUBLISH news x"), ":1");
            assert_eq!(subscriber.reply().to_string(), ">[\"message\" \"news\" \"x\"]");
        }
    }
    assert_eq!(publisher.info_number("connections_moved"), moved);
    subscriber.call("UNSUBSCRIBE");
    for _ in 0..3000 {
        subscriber.call("INCR {tag}");
    }
}
