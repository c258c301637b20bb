//! The modes of `redis-cli` that people look at a server with, as Debian ships it: what they print of Torc.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use support::server::Server;

const CLI: &str = "/usr/bin/redis-cli";

/// What `redis-cli` prints, given this input; one that goes on for ever is ended once it has printed `enough`.
fn run(server: &Server, arguments: &[&str], input: &[u8], enough: Option<&str>) -> String {
    let mut command = Command::new(CLI);
    command.args(["-p", &server.port.to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("redis-cli starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let mut text = Vec::new();
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut chunk = [0; 4096];
    loop {
        let count = stdout.read(&mut chunk).expect("a pipe");
        text.extend_from_slice(&chunk[..count]);
        let is_enough = enough.is_some_and(|enough| String::from_utf8_lossy(&text).contains(enough));
        if count == 0 || is_enough {
            break;
        }
    }
    if enough.is_some() {
        child.kill().expect("it ran");
    }
    let status = child.wait().expect("it ends");
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(status.success() || enough.is_some(), "{arguments:?}: {text}");
    text
}

/// A server with keys of all types, on so many shards.
fn filled(shards: usize) -> Server {
    let server = Server::torc(shards, &["--maxmemory-policy", "allkeys-lfu", "--maxmemory", "1gb"]);
    let mut lines = String::new();
    for number in 0..300 {
        lines += &format!("SET string:{number} {}\n", "x".repeat(number + 1));
    }
    for number in 0..40 {
        lines += &format!(
            "RPUSH list {number}\nSADD set {number}\nZADD zset {number} {number}\nHSET hash {number} {number}\nXADD stream * n {number}\n"
        );
    }
    lines += &"GET string:7\n".repeat(300);
    let replies = run(&server, &[], lines.as_bytes(), None);
    assert!(replies.contains("OK"), "{replies}");
    server
}

#[test]
fn the_modes_of_redis_cli_work() {
    if !Path::new(CLI).exists() {
        println!("not tested: there is no {CLI}");
        return;
    }
    for shards in [1, 2, 5] {
        let server = filled(shards);
        let text = run(&server, &["--bigkeys"], b"", None);
        for part in [
            "Sampled 305 keys in the keyspace!",
            "Biggest string found '\"string:299\"' has 300 bytes",
            "Biggest   list found '\"list\"' has 40 items",
            "Biggest stream found '\"stream\"' has 40 entries",
            "1 zsets with 40 members",
        ] {
            assert!(text.contains(part), "{shards} shards: no {part}: {text}");
        }
        let text = run(&server, &["--memkeys"], b"", None);
        assert!(text.contains("Sampled 305 keys in the keyspace!") && text.contains("Biggest   hash found"), "{text}");
        let text = run(&server, &["--hotkeys"], b"", None);
        assert!(text.contains("hot key found with counter") && text.contains("\"string:7\""), "{text}");
        let text = run(&server, &["--scan", "--pattern", "string:1?"], b"", None);
        assert_eq!(text.lines().count(), 10, "{text}");
        let commands = "*3\r\n$3\r\nSET\r\n$5\r\npiped\r\n$1\r\n1\r\n".repeat(1000);
        let text = run(&server, &["--pipe"], commands.as_bytes(), None);
        assert!(text.contains("errors: 0, replies: 1000"), "{text}");
        let text = run(&server, &["--stat", "-i", "0.01"], b"", Some("306"));
        assert!(text.contains("------- data ------") && text.contains("keys       mem      clients"), "{text}");
        // Four numbers: least, most, mean, samples.
        let text = run(&server, &["--latency", "--raw"], b"", None);
        assert_eq!(text.lines().next().map(|line| line.split_whitespace().count()), Some(4), "{text}");
        run(&server, &["--latency-dist", "-i", "0.1"], b"", Some("from 1 to 9"));
        let text = run(&server, &["--intrinsic-latency", "1"], b"", None);
        assert!(text.contains("total runs"), "{text}");
    }
}

#[test]
fn help_of_commands_comes_from_the_table() {
    if !Path::new(CLI).exists() {
        println!("not tested: there is no {CLI}");
        return;
    }
    let server = Server::torc(2, &[]);
    let text = run(&server, &["COMMAND", "DOCS", "zadd"], b"", None);
    assert!(text.contains("sorted-set") && text.contains("arguments"), "{text}");
}
