//! CONFIG SET of `port` and `bind`: the server listens there from the answer on, and there only; who is in stays in; and what
//! cannot be done changes nothing.
#![allow(unreachable_pub, reason = "a test has no users: `pub` says what another file of it uses")]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use support::server::free_port;
use support::{Client, Server, eventually};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine's own.
const BESIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Whether somebody answers there.
fn answers(address: IpAddr, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok() && Client::connect_to(address, port).ask("PING") == "+PONG"
}

/// Nobody is let in there. What the kernel has let in on its own before is closed without a word.
fn assert_shut(address: IpAddr, port: u16) {
    assert!(TcpStream::connect((address, port)).is_err(), "{address}:{port} is open");
}

/// A server of each kind: what they say is to be alike.
fn servers(arguments: &[&str]) -> Vec<Server> {
    let torc = [1, 2, 5].map(|shards| Server::torc(shards, arguments));
    torc.into_iter().chain(Server::real(arguments)).collect()
}

#[test]
fn the_port_moves_and_clients_stay() {
    for mut server in servers(&[]) {
        let (mut client, mut idle) = (server.client(), server.client());
        assert_eq!(idle.ask("SET k v"), "+OK");
        let (old, new) = (server.port, free_port());
        assert_eq!(client.ask(&format!("CONFIG SET port {new}")), "+OK", "{}", server.name);
        assert!(answers(HERE, new), "{}", server.name);
        assert_shut(HERE, old);
        assert_eq!(client.ask("CONFIG GET port"), format!("[\"port\" \"{new}\"]"));
        assert_eq!(client.info("tcp_port"), new.to_string());
        assert_eq!(idle.ask("GET k"), "\"v\"");
        // And back: the port is free again.
        assert_eq!(client.ask(&format!("CONFIG SET port {old}")), "+OK", "{}", server.name);
        assert!(answers(HERE, old));
        assert_shut(HERE, new);
        assert_eq!(idle.ask("GET k"), "\"v\"");
        assert!(server.is_running());
    }
}

#[test]
fn without_a_port_nobody_new_gets_in() {
    for server in servers(&[]) {
        let mut client = server.client();
        assert_eq!(client.ask("CONFIG SET port 0"), "+OK", "{}", server.name);
        assert_shut(HERE, server.port);
        assert_eq!(client.ask("PING"), "+PONG");
        assert_eq!(client.ask(&format!("CONFIG SET port {}", server.port)), "+OK", "{}", server.name);
        assert!(answers(HERE, server.port));
    }
}

#[test]
fn addresses_come_and_go() {
    for server in servers(&[]) {
        let (name, port, mut client) = (&server.name, server.port, server.client());
        assert_shut(BESIDE, port);
        // One more: the one that is there stays.
        assert_eq!(client.ask("CONFIG SET bind \"127.0.0.1 127.0.0.2\""), "+OK", "{name}");
        assert!(answers(HERE, port) && answers(BESIDE, port), "{name}");
        // All of them in the place of some, which have their port.
        assert_eq!(client.ask("CONFIG SET bind *"), "+OK", "{name}");
        assert!(answers(HERE, port) && answers(BESIDE, port), "{name}");
        // And one in the place of all.
        assert_eq!(client.ask("CONFIG SET bind 127.0.0.2"), "+OK", "{name}");
        assert!(answers(BESIDE, port), "{name}");
        assert_shut(HERE, port);
        assert_eq!(client.ask("CONFIG GET bind"), "[\"bind\" \"127.0.0.2\"]");
        // None.
        assert_eq!(client.ask("CONFIG SET bind \"\""), "+OK", "{name}");
        assert_shut(BESIDE, port);
        // An address that the machine may not have can be done without.
        assert_eq!(client.ask("CONFIG SET bind \"127.0.0.1 -192.0.2.7\""), "+OK", "{name}");
        assert!(answers(HERE, port), "{name}");
        assert_eq!(client.ask("PING"), "+PONG");
    }
}

#[test]
fn what_cannot_be_had_changes_nothing() {
    let taken = TcpListener::bind((HERE, 0)).expect("a port");
    let taken_port = taken.local_addr().expect("a socket").port();
    for server in servers(&[]) {
        let (name, port, mut client) = (&server.name, server.port, server.client());
        for (change, blamed) in [
            (format!("port {taken_port}"), "port"),
            ("bind 192.0.2.7".to_owned(), "bind"),
            ("bind \"127.0.0.1 192.0.2.7\"".to_owned(), "bind"),
            ("bind \"* 192.0.2.7\"".to_owned(), "bind"),
            ("bind no-such-host.invalid".to_owned(), "bind"),
            (format!("maxmemory-samples 9 port {taken_port}"), "port"),
        ] {
            let told = client.ask(&format!("CONFIG SET {change}"));
            let text = if blamed == "port" {
                "Unable to listen on this port. Check server logs."
            } else {
                "Failed to bind to specified addresses."
            };
            let expected = format!("-ERR CONFIG SET failed (possibly related to argument '{blamed}') - {text}");
            assert_eq!(told, expected, "{name}: {change}");
            assert!(answers(HERE, port), "{name}: {change}\n{}", server.log());
            assert_eq!(client.ask("CONFIG GET bind"), "[\"bind\" \"127.0.0.1\"]", "{name}: {change}");
            assert_eq!(client.ask("CONFIG GET port"), format!("[\"port\" \"{port}\"]"), "{name}: {change}");
            assert_eq!(client.ask("CONFIG GET maxmemory-samples"), "[\"maxmemory-samples\" \"5\"]", "{name}");
        }
        assert!(client.ask("CONFIG SET port 70000").starts_with("-ERR CONFIG SET failed"), "{name}");
    }
}

/// Somebody connects all the time, and is let in each time, wherever the server listens at that moment.
#[test]
fn nobody_is_turned_away_by_a_change_that_is_not_about_them() {
    let server = Server::torc(3, &[]);
    let (port, mut client) = (server.port, server.client());
    std::thread::scope(|scope| {
        let visitor = scope.spawn(move || (0..300).all(|_| answers(HERE, port)));
        for _ in 0..20 {
            assert_eq!(client.ask("CONFIG SET bind \"127.0.0.1 127.0.0.2\""), "+OK");
            assert_eq!(client.ask("CONFIG SET bind 127.0.0.1"), "+OK");
        }
        assert!(visitor.join().expect("the visitor"));
    });
    let descriptors = || server.descriptors();
    let before = descriptors();
    for _ in 0..10 {
        assert_eq!(client.ask("CONFIG SET bind \"127.0.0.1 127.0.0.2\""), "+OK");
        assert_eq!(client.ask("CONFIG SET bind 127.0.0.1"), "+OK");
    }
    eventually("descriptors are given back", || descriptors() <= before);
    assert!(!server.log().contains("Accepting a connection failed"), "{}", server.log());
}

#[test]
fn both_families_on_one_port() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // Here is no IPv6: that it is done without is what there is to see.
        assert_eq!(client.ask("CONFIG SET bind \"* -::*\""), "+OK");
        return assert!(answers(HERE, server.port));
    }
    assert_eq!(client.ask("CONFIG SET bind \"* -::*\""), "+OK");
    assert!(answers(HERE, server.port) && answers(Ipv6Addr::LOCALHOST.into(), server.port));
    assert_eq!(client.ask("CONFIG SET bind ::1"), "+OK");
    assert!(answers(Ipv6Addr::LOCALHOST.into(), server.port));
    assert_shut(HERE, server.port);
}

#[test]
fn a_server_that_stops_has_shut_all_its_doors() {
    let mut server = Server::torc(2, &[]);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET bind \"127.0.0.1 127.0.0.2\""), "+OK");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(server.wait().success());
    for address in [HERE, BESIDE] {
        assert!(TcpListener::bind((address, server.port)).is_ok(), "{address}");
    }
}
