//! Starts that cannot go well: one clear line, exit code 1, and nothing left behind.

use crate::assert_serves;
use crate::support::server::{TORC, free_port, new_directory, run_to_end};
use crate::support::{Client, PATIENCE, Server};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Starts with these arguments, which must fail, and checks that the text says these things.
fn assert_refused(arguments: &[&str], says: &[&str]) {
    let (code, text) = run_to_end(Command::new(TORC).args(arguments));
    assert_eq!(code, Some(1), "{arguments:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{arguments:?} does not say {part:?}:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_port_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    for shards in ["1", "3"] {
        assert_refused(
            &["--port", &port, "--bind", "127.0.0.1", "--shards", shards],
            &["Address already in use", &format!("127.0.0.1:{port}")],
        );
    }
    // The one who was first goes on.
    let server = Server::torc(3, &[]);
    let port = server.port.to_string();
    assert_refused(&["--port", &port, "--bind", "127.0.0.1", "--shards", "3"], &["Address already in use", &port]);
    assert_serves(&server);
}

#[test]
fn an_address_of_another_machine() {
    let port = free_port().to_string();
    assert_refused(&["--port", &port, "--bind", "192.0.2.1"], &["192.0.2.1"]);
    assert_refused(&["--port", &port, "--bind", "no.such.host.invalid"], &["no.such.host.invalid"]);
    // With a dash it may be missing.
    let server = Server::torc(3, &["--bind", "127.0.0.1", "-192.0.2.1"]);
    assert_serves(&server);
}

#[test]
fn a_configuration_that_cannot_be_read() {
    assert_refused(&["/no/such/file.conf"], &["/no/such/file.conf", "No such file"]);
    let directory = new_directory();
    assert_refused(&[directory.to_str().expect("text")], &[directory.to_str().expect("text"), "directory"]);
    let path = directory.join("includes.conf");
    std::fs::write(&path, "port 0\ninclude missing.conf\n").expect("a file");
    assert_refused(&[path.to_str().expect("text")], &["missing.conf", "No such file"]);
    std::fs::remove_dir_all(directory).expect("a directory");
}

#[test]
fn a_configuration_that_is_wrong() {
    let directory = new_directory();
    for (number, (line, reason)) in [
        ("prot 6379", "Bad directive or wrong number of arguments"),
        ("port seventy", "argument couldn't be parsed into an integer"),
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ("port", "wrong number of arguments"),
        ("appendonly maybe", "argument must be 'yes' or 'no'"),
        ("maxmemory 1parsec", "argument must be a memory value"),
        ("appendfsync sometimes", "argument(s) must be one of the following: everysec, always, no"),
        ("requirepass \"open", "Unbalanced quotes in configuration line"),
        ("dir /no/such/directory", "No such file or directory"),
        ("loadmodule some.so", "modules cannot be loaded"),
        ("shards 0", "argument must be between 1 and"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.join(format!("{number}.conf"));
        std::fs::write(&path, format!("# a comment\ntimeout 0\n{line}\ntcp-keepalive 10\n")).expect("a file");
        let path = path.to_str().expect("text");
        assert_refused(&[path], &[path, "line 3", line, reason]);
    }
    assert_refused(&["--no-such-directive", "1"], &["no-such-directive"]);
    assert_refused(&["--port", "x"], &["port"]);
    std::fs::remove_dir_all(directory).expect("a directory");
}

/// Starts under a limit of open files.
fn under_file_limit(limit: u32, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" {arguments}"), TORC]);
    command
}

#[test]
fn too_few_descriptors() {
    let arguments = format!("--port {} --bind 127.0.0.1 --shards 3", free_port());
    let (code, text) = run_to_end(&mut under_file_limit(20, &arguments));
    assert_eq!(code, Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(text.contains("open files") || text.contains("ulimit"), "{text}");
}

#[test]
fn few_descriptors_serve_fewer_clients() {
    let port = free_port();
    let arguments = format!("--port {port} --bind 127.0.0.1 --shards 3");
    let mut child = under_file_limit(150, &arguments).stdout(Stdio::null()).spawn().expect("a shell");
    let began = Instant::now();
    let mut first = loop {
        if let Ok(client) = Client::try_connect(port) {
            break client;
        }
        assert!(began.elapsed() < PATIENCE && child.try_wait().expect("a child").is_none(), "does not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let most: usize = first.call("CONFIG GET maxclients").elements()[1].text().parse().expect("a number");
    assert!((1..150).contains(&most), "maxclients {most}");
    // As many as it says are served, the next is told why it is not.
    let mut others: Vec<Client> = (1..most).map(|_| Client::connect(port)).collect();
    assert!(others.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    for _ in 0..20 {
        assert_eq!(Client::connect(port).reply().to_string(), "-ERR max number of clients reached");
    }
    assert_eq!(first.ask("PING"), "+PONG");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
