//! The log while the server runs.

use super::support::server::{TORC, free_port, run_to_end};
use super::support::{Server, encode, eventually, values};
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
fn a_base_is_of_commands_where_that_is_wanted() {
    for shards in [1, 2, 5] {
        let arguments = [ALWAYS, &["--aof-use-rdb-preamble", "no"]].concat();
        let server = Server::torc(shards, &arguments);
        let mut client = server.client();
        fill(&mut client);
        assert_eq!(client.ask("SELECT 5"), "+OK");
        values::fill(&mut client);
        let library = b"#!lua name=lib\nredis.register_function('f', function() return 7 end)".as_slice();
        assert_eq!(client.call_bytes(&[b"FUNCTION", b"LOAD", library]).text(), "lib");
        assert_eq!(client.ask("BGREWRITEAOF"), "+Background append only file rewriting started");
        let expected = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        eventually("the base is there", || is_rewritten(&server, expected));
        let base = fs::read(server.directory.join("appendonlydir/appendonly.aof.2.base.aof")).expect("the base");
        assert!(base.starts_with(b"*"), "commands: {}", base[..20].escape_ascii());
        let names = fs::read_dir(server.directory.join("appendonlydir")).expect("the directory");
        assert_eq!(names.count(), 3, "nothing else is left");
        client.ask("SET later 1");
        let before = digest(&server);
        let again = Server::torc_on(server.kill(), 6 - shards, &arguments);
        assert_eq!((digest(&again), again.client().ask("FCALL f 0")), (before.clone(), ":7".to_owned()));
        let real = ["--appendonly", "yes", "--enable-debug-command", "yes"];
        let Some(real) = Server::real_on(again.end(), &real) else { continue };
        assert_eq!((digest(&real), real.client().ask("FCALL f 0")), (before, ":7".to_owned()));
    }
}

#[test]
fn a_base_that_commands_cannot_tell_stays_what_it_is() {
    let arguments = [ALWAYS, &["--aof-use-rdb-preamble", "no"]].concat();
    let server = Server::torc(2, &arguments);
    let mut client = server.client();
    assert!(!client.call("XADD stream IDMP producer 1 * a 1").is_error());
    assert_eq!(client.ask("BGREWRITEAOF"), "+Background append only file rewriting started");
    let expected = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    eventually("the base is there", || is_rewritten(&server, expected));
    let before = digest(&server);
    let again = Server::torc_on(server.kill(), 1, &arguments);
    assert_eq!(digest(&again), before);
    let mut client = again.client();
    client.ask("XADD stream IDMP producer 1 * a 1");
    assert_eq!(client.ask("XLEN stream"), ":1", "the producer is remembered");
}

#[test]
fn the_log_is_loaded_again_on_request() {
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, EVERY_SECOND);
        let mut client = server.client();
        let mut other = server.client();
        for round in 0..3 {
            fill(&mut client);
            client.ask(&format!("SET {{x}}round {round} PX 3600000"));
            client.ask("SET short 1 PX 1");
            eventually("its time is over", || client.ask("EXISTS short") == ":0");
            let before = digest(&server);
            assert_eq!(client.ask("DEBUG LOADAOF"), "+OK");
            assert_eq!(digest(&server), before, "on {shards} shards");
            assert_eq!(other.ask("GET {x}round"), format!("\"{round}\""));
            assert!((3_500_000..=3_600_000).contains(&other.call("PTTL {x}round").integer()));
            assert_eq!(other.ask("GET short"), "nil");
        }
        // It goes on behind that.
        client.ask("SET later 1");
        let before = digest(&server);
        let again = Server::torc_on(server.end(), shards, EVERY_SECOND);
        assert_eq!(digest(&again), before, "on {shards} shards");
    }
    let server = Server::torc(2, &["--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("SET a 1");
    assert_eq!((client.ask("DEBUG LOADAOF"), client.ask("DBSIZE")), ("+OK".to_owned(), ":0".to_owned()));
}

#[test]
fn a_file_that_takes_a_part_of_a_write_refuses_writes_and_loses_nothing() {
    for shards in [1, 2] {
        let server = Server::torc_with_short_files(64, shards, ALWAYS);
        let mut client = server.client();
        assert_eq!(client.ask("SET first 1"), "+OK");
        // Nobody is told that these are there.
        let value = "x".repeat(1000);
        let burst: Vec<u8> = (0..100).flat_map(|index| encode(&["SET", &format!("k{index}"), &value])).collect();
        let mut writer = server.client();
        writer.send(&burst);
        // What is answered before that waits for what cannot be written.
        eventually("writes are refused", || server.log().contains("Writes are refused"));
        assert_eq!(client.info("aof_last_write_status"), "err");
        assert!(client.ask("SET second 1").starts_with("-MISCONF"), "{}", server.log());
        assert_eq!(client.ask("GET first"), "\"1\"");
        let again = Server::torc_on(server.kill(), 3 - shards, ALWAYS);
        assert_eq!(again.client().ask("MGET first second"), "[\"1\" nil]");
        assert_eq!(again.client().ask("SET second 1"), "+OK");
    }
}

#[test]
fn what_a_crash_has_left_is_removed_at_the_start() {
    let server = Server::torc(2, ALWAYS);
    let mut client = server.client();
    client.ask("SET a 1");
    let directory = server.kill();
    let left =
        ["temp-4194305.rdb", "appendonlydir/temp-rewriteaof-bg-7-1.aof", "appendonlydir/temp-appendonly.aof.incr"];
    for name in left {
        fs::write(directory.join(name), "REDIS").expect("written");
    }
    fs::write(directory.join("temp-mine.rdb"), "").expect("written");
    let again = Server::torc_on(directory, 2, ALWAYS);
    assert_eq!(again.client().ask("GET a"), "\"1\"");
    assert_eq!(left.map(|name| again.directory.join(name).exists()), [false; 3]);
    assert!(again.directory.join("temp-mine.rdb").exists(), "not of this server's making");
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
fn what_is_set_with_a_log_that_cannot_begin_stays_as_it_was() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    // Where the log's directory would be.
    fs::write(server.directory.join("appendonlydir"), "").expect("written");
    let before = client.ask("CONFIG GET port");
    let refused = client.ask(&format!("CONFIG SET maxmemory 9mb port {} appendonly yes", free_port()));
    assert!(refused.starts_with("-ERR CONFIG SET failed (possibly related to argument 'appendonly')"), "{refused}");
    assert_eq!(client.ask("CONFIG GET port"), before);
    assert_eq!(client.ask("CONFIG GET maxmemory"), "[\"maxmemory\" \"0\"]");
    assert_eq!(client.ask("CONFIG GET appendonly"), "[\"appendonly\" \"no\"]");
    assert_eq!(server.client().ask("PING"), "+PONG", "it listens where it did");
    fs::remove_file(server.directory.join("appendonlydir")).expect("removed");
    assert_eq!(client.ask("CONFIG SET maxmemory 99mb appendonly yes"), "+OK");
    assert_eq!(client.ask("CONFIG GET maxmemory"), "[\"maxmemory\" \"103809024\"]");
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
