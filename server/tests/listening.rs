//! CONFIG SET of `port` and `bind`: the server listens there from the answer on, and there only; who is in stays in; and what
//! cannot be done changes nothing.
//!
//! A port that a server has left may be somebody else's a moment later, also in a run of other tests: so tests have addresses of
//! their own.
#![allow(unreachable_pub, reason = "a test has no users: `pub` says what another file of it uses")]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use support::{Client, Server, eventually};

/// Addresses of this machine's own that no other test uses: what is free there stays so. Each test has its number.
fn here(test: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 71, test).into()
}

/// Others like these.
fn beside(test: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 72, test).into()
}

/// A port that is free at an address.
fn free_port_at(address: IpAddr) -> u16 {
    TcpListener::bind((address, 0)).expect("a port").local_addr().expect("a socket").port()
}

/// Binds a server to one address, on a port that is free there; a client that was there before, and the port.
fn move_to(server: &Server, address: IpAddr) -> (Client, u16) {
    let (mut client, port) = (server.client(), free_port_at(address));
    assert_eq!(client.ask(&format!("CONFIG SET bind {address} port {port}")), "+OK", "{}", server.name);
    (client, port)
}

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
    let here = here(1);
    for mut server in servers(&[]) {
        let (mut client, old) = move_to(&server, here);
        let mut idle = Client::connect_to(here, old);
        assert_eq!(idle.ask("SET k v"), "+OK");
        let new = free_port_at(here);
        assert_eq!(client.ask(&format!("CONFIG SET port {new}")), "+OK", "{}", server.name);
        assert!(answers(here, new), "{}", server.name);
        assert_shut(here, old);
        assert_eq!(client.ask("CONFIG GET port"), format!("[\"port\" \"{new}\"]"));
        assert_eq!(client.info("tcp_port"), new.to_string());
        assert_eq!(idle.ask("GET k"), "\"v\"");
        // And back: the port is free again.
        assert_eq!(client.ask(&format!("CONFIG SET port {old}")), "+OK", "{}", server.name);
        assert!(answers(here, old));
        assert_shut(here, new);
        assert_eq!(idle.ask("GET k"), "\"v\"");
        assert!(server.is_running());
    }
}

#[test]
fn without_a_port_nobody_new_gets_in() {
    let here = here(2);
    for server in servers(&[]) {
        let (mut client, port) = move_to(&server, here);
        assert_eq!(client.ask("CONFIG SET port 0"), "+OK", "{}", server.name);
        assert_shut(here, port);
        assert_eq!(client.ask("PING"), "+PONG");
        assert_eq!(client.ask(&format!("CONFIG SET port {port}")), "+OK", "{}", server.name);
        assert!(answers(here, port));
    }
}

#[test]
fn addresses_come_and_go() {
    for server in servers(&[]) {
        let (name, port, mut client) = (&server.name, server.port, server.client());
        let (here, beside) = (here(3), beside(3));
        assert_shut(here, port);
        // One more: the one that is there stays.
        assert_eq!(client.ask(&format!("CONFIG SET bind \"127.0.0.1 {here}\"")), "+OK", "{name}");
        assert!(answers(Ipv4Addr::LOCALHOST.into(), port) && answers(here, port), "{name}");
        assert_shut(beside, port);
        // All of them in the place of some, which have their port.
        assert_eq!(client.ask("CONFIG SET bind *"), "+OK", "{name}");
        assert!(answers(here, port) && answers(beside, port), "{name}");
        // And one in the place of all.
        assert_eq!(client.ask(&format!("CONFIG SET bind {here}")), "+OK", "{name}");
        assert!(answers(here, port), "{name}");
        assert_shut(beside, port);
        assert_eq!(client.ask("CONFIG GET bind"), format!("[\"bind\" \"{here}\"]"));
        // None.
        assert_eq!(client.ask("CONFIG SET bind \"\""), "+OK", "{name}");
        assert_shut(here, port);
        // An address that the machine may not have can be done without.
        assert_eq!(client.ask(&format!("CONFIG SET bind \"{here} -192.0.2.7\"")), "+OK", "{name}");
        assert!(answers(here, port), "{name}");
        assert_eq!(client.ask("PING"), "+PONG");
    }
}

#[test]
fn what_cannot_be_had_changes_nothing() {
    let here = Ipv4Addr::LOCALHOST.into();
    let taken = TcpListener::bind((here, 0)).expect("a port");
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
            assert!(answers(here, port), "{name}: {change}\n{}", server.log());
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
    let more = format!("CONFIG SET bind \"127.0.0.1 {}\"", here(4));
    std::thread::scope(|scope| {
        let visitor = scope.spawn(move || (0..300).all(|_| answers(Ipv4Addr::LOCALHOST.into(), port)));
        for _ in 0..20 {
            assert_eq!(client.ask(&more), "+OK");
            assert_eq!(client.ask("CONFIG SET bind 127.0.0.1"), "+OK");
        }
        assert!(visitor.join().expect("the visitor"));
    });
    let descriptors = || server.descriptors();
    let before = descriptors();
    for _ in 0..10 {
        assert_eq!(client.ask(&more), "+OK");
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
        return assert!(answers(here(5), server.port));
    }
    assert_eq!(client.ask("CONFIG SET bind \"* -::*\""), "+OK");
    assert!(answers(here(5), server.port) && answers(Ipv6Addr::LOCALHOST.into(), server.port));
    assert_eq!(client.ask("CONFIG SET bind ::1"), "+OK");
    assert!(answers(Ipv6Addr::LOCALHOST.into(), server.port));
    assert_shut(here(5), server.port);
}

#[test]
fn a_server_that_stops_has_shut_all_its_doors() {
    let mut server = Server::torc(2, &[]);
    let (here, beside) = (here(6), beside(6));
    let (mut client, port) = move_to(&server, here);
    assert_eq!(client.ask(&format!("CONFIG SET bind \"{here} {beside}\"")), "+OK");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(server.wait().success());
    for address in [here, beside] {
        assert!(TcpListener::bind((address, port)).is_ok(), "{address}");
    }
}
