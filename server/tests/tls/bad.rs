//! Those who break the rules of TLS, or speak something else: each ends with a line in the log, and alone.

use super::peer::TlsClient;
use crate::Encrypted;
use crate::support::{Client, encode, eventually};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::Write;
use std::time::Duration;

/// What a client says first.
fn hello(served: &Encrypted) -> Vec<u8> {
    let config = served.certificates.client(Some("client"));
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(config, name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("memory");
    bytes
}

fn says(served: &Encrypted, what: &str) {
    eventually(what, || served.server.log().contains(what));
}

#[test]
fn plain_text_on_the_port_for_tls() {
    for shards in [1, 2, 5] {
        let served = Encrypted::torc(shards, &[]);
        for bytes in
            [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 5000], &[0; 100]]
        {
            let mut client = Client::connect(served.port);
            client.send(bytes);
            assert!(client.is_closed_by_server(), "{}", bytes.escape_ascii());
        }
        says(
            &served,
            "Error accepting a client connection: it does not speak TLS, and this is a port for TLS (addr=127.0.0.1:",
        );
        served.assert_serves();
    }
}

#[test]
fn tls_on_the_plain_port() {
    for shards in [1, 2, 5] {
        let served = Encrypted::torc(shards, &[]);
        let config = served.certificates.client(Some("client"));
        for _ in 0..5 {
            assert!(TlsClient::try_connect(served.server.port, &config).is_err());
        }
        let mut client = served.server.client();
        client.send(&hello(&served));
        assert_eq!(client.reply().to_string(), "-ERR Protocol error: TLS on a port without TLS");
        assert!(client.receive().is_none());
        says(&served, "A client speaks TLS on a port without it (addr=127.0.0.1:");
        served.assert_serves();
    }
}

#[test]
fn half_a_handshake_and_then_silence() {
    let served = Encrypted::torc(2, &[]);
    let whole = hello(&served);
    let open = |bytes: &[u8]| {
        let mut client = Client::connect(served.port);
        client.send(bytes);
        client
    };
    let mut clients = Vec::new();
    for length in [0, 1, 5, 40, whole.len() - 1, whole.len()] {
        clients.extend((0..10).map(|_| open(&whole[..length])));
    }
    // One that sends a byte now and then is no better.
    let mut slow = open(&whole[..20]);
    let rest = whole.clone();
    let dripping = std::thread::spawn(move || {
        let gone = rest[20..].iter().cycle().take(2000).any(|byte| {
            std::thread::sleep(Duration::from_millis(100));
            slow.stream.write_all(&[*byte]).is_err()
        });
        assert!(gone, "it is sent away");
    });
    for _ in 0..5 {
        served.assert_serves();
    }
    assert!(clients.iter_mut().all(Client::is_closed_by_server));
    says(&served, "no handshake within 10 seconds");
    dripping.join().expect("it is gone");
    // Who goes in the middle is forgotten at once.
    let mut witness = served.server.client();
    let before = witness.info_number("total_connections_received");
    for length in [0, 3, 100, whole.len()] {
        drop(open(&whole[..length]));
        open(&whole[..length]).finish_sending();
    }
    eventually("they were there", || witness.info_number("total_connections_received") >= before + 8);
    eventually("they are gone", || witness.info_number("connected_clients") == 1);
    served.assert_serves();
}

#[test]
fn nonsense_in_the_middle() {
    let served = Encrypted::torc(2, &[]);
    for garbage in [
        &[0_u8; 64][..],
        &[0xff; 300],
        b"PING\r\n",
        &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    ] {
        let mut client = served.client();
        assert_eq!(client.ask("SET a 1"), "+OK");
        client.stream.sock.write_all(garbage).expect("taken");
        assert!(client.receive().is_none(), "{}", garbage.escape_ascii());
    }
    says(&served, "Closing a client connection: ");
    // A record in which one bit is not as it was sent, behind one that is whole.
    for position in [3, 5, 12, 30] {
        let mut client = served.client();
        // What comes with the end of the handshake is not run if it does not end well.
        assert_eq!(client.ask("PING"), "+PONG");
        let mut bytes = Vec::new();
        for command in ["SET whole 1", "SET broken 1"] {
            client.stream.conn.writer().write_all(&encode(&crate::support::words(command))).expect("memory");
            let from = bytes.len();
            client.stream.conn.write_tls(&mut bytes).expect("memory");
            if command.contains("broken") {
                bytes[from + position] ^= 1;
            }
        }
        client.stream.sock.write_all(&bytes).expect("taken");
        client.stream.sock.shutdown(std::net::Shutdown::Write).expect("open");
        while client.receive().is_some() {}
        let mut witness = served.server.client();
        eventually("it is gone", || witness.info_number("connected_clients") == 1);
        assert_eq!(witness.ask("MGET whole broken"), "[\"1\" nil]");
        assert_eq!(witness.ask("DEL whole"), ":1");
    }
    served.assert_serves();
}

#[test]
fn an_end_without_a_word() {
    let served = Encrypted::torc(2, &[]);
    let mut witness = served.server.client();
    for round in 0..6 {
        let mut client = served.client();
        let command = encode(&["INCR", "n"]).repeat(100);
        // The last one is cut off in its middle.
        client.send(&command[..command.len() - 3]);
        if round % 2 == 0 {
            client.stream.sock.shutdown(std::net::Shutdown::Write).expect("open");
            for _ in 0..99 {
                assert!(!client.reply().is_error());
            }
            assert!(client.receive().is_none());
        } else {
            for _ in 0..99 {
                assert!(!client.reply().is_error());
            }
        }
    }
    eventually("all are gone", || witness.info_number("connected_clients") == 1);
    assert_eq!(witness.ask("GET n"), format!("\"{}\"", 6 * 99));
    served.assert_serves();
}

#[test]
fn handshakes_of_any_size() {
    let served = Encrypted::torc(2, &[]);
    let before = served.server.resident_bytes();
    // A message of 16 MB, as far as it says, in records that are whole.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.extend(vec![0; 0x4000 - 4]);
    let mut next = vec![22, 3, 1, 0x40, 0];
    next.extend(vec![0; 0x4000]);
    let endless: Vec<u8> = record.iter().copied().chain(next.repeat(500)).collect();
    // A record longer than any may be, and one of nothing, again and again.
    let long: Vec<u8> = [22, 3, 1, 0xff, 0xff].into_iter().chain(vec![0; 70_000]).collect();
    let empty = [22, 3, 1, 0, 0].repeat(100_000);
    let alerts = [21, 3, 1, 0, 2, 1, 90].repeat(50_000);
    for bytes in [endless, long, empty, alerts] {
        for _ in 0..3 {
            let mut client = Client::connect(served.port);
            // A server that has closed does not read the rest, and the kernel tells a writer of that when it likes.
            client.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("an open socket");
            client.sends(&bytes);
            assert!(client.is_closed_by_server());
        }
        served.assert_serves();
    }
    let growth = served.server.resident_bytes().saturating_sub(before);
    assert!(growth < 60 << 20, "they cost {growth} bytes");
}

#[test]
fn many_come_at_once_and_those_who_are_there_go_on() {
    for shards in [1, 2, 5] {
        let served = Encrypted::torc(shards, &["--tls-session-caching", "no"]);
        let (mut one, mut other) = (served.client(), served.server.client());
        let (port, config) = (served.port, served.certificates.client(Some("client")));
        let stranger = served.certificates.client(Some("stranger"));
        let coming: Vec<_> = (0..4)
            .map(|number| {
                let (config, stranger) = (config.clone(), stranger.clone());
                std::thread::spawn(move || {
                    for _ in 0..40 {
                        assert!(TlsClient::is_served(port, &config));
                        assert!(number % 2 == 0 || !TlsClient::is_served(port, &stranger));
                    }
                })
            })
            .collect();
        let mut count = 0;
        while coming.iter().any(|thread| !thread.is_finished()) {
            count += 1;
            assert_eq!(one.call("INCR n").integer(), count * 2 - 1);
            assert_eq!(other.call("INCR n").integer(), count * 2);
        }
        coming.into_iter().for_each(|thread| thread.join().expect("all were served"));
        eventually("they are gone", || other.info_number("connected_clients") == 2);
    }
}
