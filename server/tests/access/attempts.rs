//! Passwords that are guessed: an address that fails too often is refused on all shards, others and this machine are not.

use crate::support::server::new_directory;
use crate::support::{Client, PATIENCE, Server, encode};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const TOO_MANY: &str = "-ERR Too many failed authentications from this address: try again in ";

/// An address of this machine that is no loopback: the one that a packet to somewhere else would carry.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: connecting a datagram socket only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// A server that wants a password, and where it is reached from outside; none, with a printed reason, without such an address.
fn guarded(shards: usize, limit: &str) -> Option<(Server, IpAddr)> {
    let Some(address) = outside_address() else {
        println!("skipped: this machine has no address beside the loopback");
        return None;
    };
    let shown = address.to_string();
    let arguments = ["--bind", "127.0.0.1", &shown, "--requirepass", "right", "--auth-failure-limit", limit];
    Some((Server::torc(shards, &arguments), address))
}

fn admin(server: &Server) -> Client {
    let mut admin = server.client();
    assert_eq!(admin.ask("AUTH right"), "+OK");
    admin
}

#[test]
fn an_address_that_fails_too_often_is_refused_on_all_shards() {
    for shards in [1, 2, 5] {
        let Some((server, address)) = guarded(shards, "20") else { return };
        let connect = || Client::connect_to(address, server.port);
        let mut before = connect();
        assert_eq!(before.ask("AUTH right"), "+OK");
        let mut waiting: Vec<Client> = (0..2 * shards).map(|_| connect()).collect();
        // Each connection fails in turn, so every shard counts some of it.
        let mut guessers: Vec<Client> = (0..2 * shards).map(|_| connect()).collect();
        for guess in 0..20 {
            let guesser = &mut guessers[guess % (2 * shards)];
            assert_eq!(guesser.ask(if guess % 2 == 0 { "AUTH wrong" } else { "HELLO 3 AUTH nobody wrong" }), WRONG);
        }
        // The password is right, and nobody looks at it; what is sent behind it is not run.
        for client in &mut waiting {
            client.send(&[encode(&["AUTH", "right"]), encode(&["SET", "a", "1"])].concat());
            let reply = client.reply().to_string();
            assert!(reply.starts_with(TOO_MANY) && reply.ends_with(" seconds"), "{reply}");
            assert!(client.is_closed_by_server());
        }
        for mut client in [connect(), guessers.remove(0)] {
            assert!(client.ask("HELLO 3 AUTH default right").starts_with(TOO_MANY));
            assert!(client.is_closed_by_server());
        }
        // Who is in stays in, and may become another.
        assert_eq!(before.ask("GET a"), "nil");
        let mut admin = admin(&server);
        let refused = 2 * shards as u64 + 2;
        assert_eq!(admin.info_number("auth_attempts_refused"), refused);
        assert_eq!(admin.info_number("auth_addresses_refused"), 1);
        assert_eq!(admin.info_number("acl_access_denied_auth"), 20, "what nobody looked at was not denied");
        assert_eq!(admin.ask("CONFIG RESETSTAT"), "+OK");
        assert_eq!(admin.info_number("auth_attempts_refused"), 0);
        assert!(connect().ask("AUTH right").starts_with(TOO_MANY), "statistics do not let anybody in");
        let told = format!("20 authentications from {address} have failed");
        assert_eq!(server.log().matches(&told).count(), 1, "{}", server.log());
        assert!(!server.log().contains("wrong"));
    }
}

#[test]
fn this_machine_is_not_refused() {
    let directory = new_directory();
    let path = directory.join("torc.sock");
    let arguments =
        ["--requirepass", "right", "--auth-failure-limit", "5", "--unixsocket", path.to_str().expect("text")];
    let server = Server::torc(3, &arguments);
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    for _ in 0..10 {
        assert_eq!(server.client().ask("AUTH wrong"), WRONG);
        stream.write_all(b"AUTH wrong\r\n").expect("sent");
        let mut reply = vec![0; WRONG.len() + 2];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(reply.trim_ascii_end(), WRONG.as_bytes());
    }
    assert_eq!(admin(&server).info_number("auth_attempts_refused"), 0);
    drop(server);
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn the_limit_changes_while_it_runs_and_a_window_ends() {
    let Some((server, address)) = guarded(2, "0") else { return };
    let mut admin = admin(&server);
    let connect = || Client::connect_to(address, server.port);
    (0..200).for_each(|_| assert_eq!(connect().ask("AUTH wrong"), WRONG));
    assert_eq!(connect().ask("AUTH right"), "+OK", "0 is no limit");
    assert_eq!(admin.ask("CONFIG SET auth-failure-limit 3 auth-failure-window 1"), "+OK");
    // However long it takes until three are in one window.
    let mut guesses = 0;
    while !connect().ask("AUTH wrong").starts_with(TOO_MANY) {
        guesses += 1;
    }
    assert!(guesses >= 3, "{guesses}");
    crate::support::eventually("it is heard again", || connect().ask("AUTH right") == "+OK");
    assert_eq!(
        admin.ask("CONFIG SET auth-failure-window 0"),
        "-ERR CONFIG SET failed (possibly related to argument \
                'auth-failure-window') - argument must be between 1 and 86400 inclusive"
    );
}

#[test]
fn guesses_in_a_transaction_count() {
    let Some((server, address)) = guarded(2, "3") else { return };
    let mut client = Client::connect_to(address, server.port);
    assert_eq!(client.ask("AUTH right"), "+OK");
    assert_eq!(client.ask("MULTI"), "+OK");
    for _ in 0..5 {
        assert_eq!(client.ask("AUTH wrong"), "+QUEUED");
    }
    let replies: Vec<String> = client.call("EXEC").elements().iter().map(ToString::to_string).collect();
    assert!(replies[..3].iter().all(|reply| reply == WRONG), "{replies:?}");
    assert!(replies[3..].iter().all(|reply| reply.starts_with(TOO_MANY)), "{replies:?}");
    assert!(client.is_closed_by_server());
    // As a stranger does it: a half command, and the end.
    let mut stream = TcpStream::connect((address, server.port)).expect("a connection");
    stream.write_all(b"*2\r\n$4\r\nAUTH\r\n$5\r\nri").expect("sent");
    drop(stream);
    assert_eq!(admin(&server).ask("PING"), "+PONG");
}
