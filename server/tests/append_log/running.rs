//! The log while the server runs.

use super::support::server::{TORC, free_port, run_to_end};
use super::support::{Server, eventually};
use super::{ALWAYS, EVERY_SECOND, digest, fill};
use std::fs;
use std::process::Command;

fn manifest(server: &Server) -> String {
    fs::read_to_string(server.directory.join("appendonlydir/appendonly.aof.manifest")).unwrap_or_default()
}

fn is_rewritten(server: &Server, manifest_then: &str) -> bool {
    server.client().info("aof_rewrite_in_progress") == "0" && manifest(server) == manifest_then
}

#[test]
fn a_new_log_begins_as_the_real_servers_does() {
    let server = Server::torc(2, EVERY_SECOND);
    let expected = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&server), expected);
    let mut client = server.client();
    assert_eq!(client.info("aof_enabled"), "1");
    client.ask("SET a 1");
    client.ask("MULTI");
    client.ask("SET {1}a 1");
    client.ask("SET {1}b 1");
    client.ask("EXEC");
    assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
    let text = fs::read_to_string(server.directory.join("appendonlydir/appendonly.aof.1.incr.aof")).expect("the file");
    let expected = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$5\r\nMULTI\r\n\
                    *3\r\n$3\r\nSET\r\n$4\r\n{1}a\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$4\r\n{1}b\r\n$1\r\n1\r\n*1\r\n$4\r\nEXEC\r\n";
    assert_eq!(text, expected);
}

#[test]
fn a_rewrite_puts_a_base_in_the_place_of_what_has_gathered() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, ALWAYS);
        fill(&mut server.client());
        assert_eq!(server.client().ask("BGREWRITEAOF"), "+Background append only file rewriting started");
        let expected = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        eventually("the base is there", || is_rewritten(&server, expected));
        assert_eq!(server.client().info("aof_last_bgrewrite_status"), "ok");
        server.client().ask("SET later 1");
        let before = digest(&server);
        let mut names: Vec<_> = fs::read_dir(server.directory.join("appendonlydir"))
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]);
        let again = Server::torc_on(server.kill(), shards, ALWAYS);
        assert_eq!(digest(&again), before);
    }
}

#[test]
fn a_log_begins_and_ends_at_run_time() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &["--enable-debug-command", "yes", "--appendfsync", "always"]);
        let mut client = server.client();
        fill(&mut client);
        assert_eq!(client.ask("CONFIG SET appendonly yes"), "+OK");
        let expected = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
        eventually("the base is there", || is_rewritten(&server, expected));
        client.ask("SET later 1");
        let before = digest(&server);
        let server = Server::torc_on(server.kill(), shards, ALWAYS);
        assert_eq!(digest(&server), before, "{shards} shards");
        let mut client = server.client();
        assert_eq!(client.ask("CONFIG SET appendonly no"), "+OK");
        eventually("the log is off", || client.info("aof_enabled") == "0");
        client.ask("SET unlogged 1");
        assert_eq!(client.ask("CONFIG SET appendonly yes"), "+OK");
        eventually("another base is there", || {
            client.info("aof_rewrite_in_progress") == "0" && manifest(&server).contains("2.base")
        });
        let before = digest(&server);
        let server = Server::torc_on(server.kill(), shards, ALWAYS);
        assert_eq!(digest(&server), before, "{shards} shards");
    }
}

#[test]
fn nothing_expires_while_a_log_is_loaded() {
    let server = Server::torc(2, ALWAYS);
    let mut client = server.client();
    client.ask("SET short 1 PX 50");
    client.ask("RPUSH list a");
    client.ask("PEXPIRE list 50");
    client.ask("PERSIST list");
    eventually("it is over", || client.ask("GET short") == "nil");
    let server = Server::torc_on(server.kill(), 2, ALWAYS);
    let mut client = server.client();
    assert_eq!(client.ask("GET short"), "nil");
    assert_eq!(client.ask("LRANGE list 0 -1"), "[\"a\"]");
}

#[test]
fn two_processes_do_not_write_into_one_directory() {
    let server = Server::torc(2, ALWAYS);
    let directory = server.directory.display().to_string();
    let mut second = Command::new(TORC);
    second.args([
        "--port",
        &free_port().to_string(),
        "--bind",
        "127.0.0.1",
        "--dir",
        &directory,
        "--appendonly",
        "yes",
    ]);
    let (status, output) = run_to_end(&mut second);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("Another process writes its log into") && output.contains("appendonlydir"), "{output}");
    assert_eq!(server.client().ask("SET a 1"), "+OK");
    // With the first one gone the directory is free.
    let again = Server::torc_on(server.kill(), 2, ALWAYS);
    assert_eq!(again.client().ask("GET a"), "\"1\"");
}
