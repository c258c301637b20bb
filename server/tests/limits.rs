//! Directives about connections, seen from outside: where the server listens, and how it keeps a connection alive.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use support::server::{TORC, free_port, run_to_end};
use support::{Client, PATIENCE, Server, eventually};

/// The timer of the server's end of a connection, from the kernel's table: `02` keeps it alive, `00` is none.
fn timer_of(client: &Client) -> String {
    let ours = client.stream.local_addr().expect("an address").port();
    let theirs = client.stream.peer_addr().expect("an address").port();
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let ends_with = |field: &str, port: u16| field.ends_with(&format!(":{port:04X}"));
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut line = line.filter(|fields| fields.len() > 5 && ends_with(fields[1], theirs) && ends_with(fields[2], ours));
    line.next().expect("the connection")[5][..2].to_string()
}

#[test]
fn keepalive_is_switched_on_and_off() {
    for server in [Some(Server::torc(3, &[])), Server::real(&[])].into_iter().flatten() {
        let check = |wanted: &str| {
            let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
            for client in &mut clients {
                assert_eq!(client.ask("PING"), "+PONG");
                // Another timer runs for as long as bytes are not confirmed.
                eventually("the timer is as told", || timer_of(client) == wanted);
            }
        };
        check("02");
        assert_eq!(server.client().ask("CONFIG SET tcp-keepalive 0"), "+OK");
        check("00");
        assert_eq!(server.client().ask("CONFIG SET tcp-keepalive 60"), "+OK");
        check("02");
    }
}

/// Whether this machine has IPv6 on its loopback interface.
fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn ping(address: &str, port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(SocketAddr::new(address.parse().expect("an address"), port)) else {
        return false;
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    stream.write_all(b"PING\r\n").expect("sent");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).is_ok() && &reply == b"+PONG\r\n"
}

#[test]
fn it_listens_on_every_address_of_bind_and_on_no_other() {
    // A word of the last `--bind` holds; all of 127/8 is this machine.
    for bind in [&["127.0.0.1", "127.0.0.7"][..], &["127.0.0.1", "-192.0.2.1", "-::1", "127.0.0.7"]] {
        let arguments: Vec<&str> = ["--bind"].into_iter().chain(bind.iter().copied()).collect();
        for server in [Some(Server::torc(2, &arguments)), Server::real(&arguments)].into_iter().flatten() {
            assert!(ping("127.0.0.1", server.port) && ping("127.0.0.7", server.port), "{}", server.name);
            assert!(!ping("127.0.0.8", server.port), "{}", server.name);
            let is_asked_for = bind.contains(&"-::1");
            assert_eq!(ping("::1", server.port), is_asked_for && has_ipv6(), "{}", server.name);
        }
    }
}

#[test]
fn an_ipv6_client_is_served_and_shown() {
    if !has_ipv6() {
        return println!("skipped: no IPv6 here");
    }
    for server in [Some(Server::torc(2, IPV6)), Server::real(IPV6)].into_iter().flatten() {
        assert!(ping("::1", server.port), "{}", server.name);
        let stream = TcpStream::connect(format!("[::1]:{}", server.port)).expect("a connection");
        let own = stream.local_addr().expect("an address");
        let mut client = server.client();
        eventually("it is shown", || client.call("CLIENT LIST").text().contains(&format!(" addr={own} ")));
        assert!(client.call("CLIENT LIST").text().contains(&format!(" laddr=[::1]:{} ", server.port)));
    }
}

const IPV6: &[&str] = &["--bind", "127.0.0.1", "::1"];

#[test]
fn nowhere_to_listen_is_no_start() {
    let (code, said) = run_to_end(Command::new(TORC).args(["--port", "0"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Configured to not listen anywhere, exiting."), "{said}");
    // Addresses that may all be missing, and are.
    let (code, said) =
        run_to_end(Command::new(TORC).args(["--port", &free_port().to_string(), "--bind", "-192.0.2.1"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Failed listening on"), "{said}");
}

#[test]
fn fewer_clients_than_asked_for_is_said() {
    for program in [TORC, "/usr/bin/redis-server"] {
        if !std::path::Path::new(program).exists() {
            continue;
        }
        let port = free_port();
        let start = format!("ulimit -n 200; exec {program} --port {port} --bind 127.0.0.1 --save ''");
        let directory = support::server::new_directory();
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        let mut command = Command::new("sh");
        command.args(["-c", &start]).current_dir(&directory).stdout(log).stdin(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        eventually("it serves", || Client::try_connect(port).is_ok());
        let most = Client::connect(port).call("CONFIG GET maxclients").elements()[1].text();
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let said = std::fs::read_to_string(directory.join("log")).expect("a log");
        assert!(said.contains("You requested maxclients of 10000"), "{said}");
        let line = format!("maxclients has been reduced to {most} to compensate for low ulimit");
        assert!(said.contains(&line), "{program}: {said}");
        std::fs::remove_dir_all(directory).expect("a directory");
    }
}
