//! Directories of logs, ours to the real server and back.

use super::support::server::new_directory;
use super::support::{Server, encode};
use super::{ALWAYS, EVERY_SECOND, digest, fill};
use std::fs;

const REAL: &[&str] = &["--appendonly", "yes", "--enable-debug-command", "yes"];

#[test]
fn what_we_log_the_real_server_loads_and_the_other_way_round() {
    for shards in [1, 2, 5] {
        let ours = Server::torc(shards, EVERY_SECOND);
        fill(&mut ours.client());
        let before = digest(&ours);
        let directory = ours.end();
        let Some(real) = Server::real_on(directory, REAL) else { return };
        assert_eq!(digest(&real), before, "the real server has read something else of {shards} shards");
        assert_eq!(real.client().ask("BGREWRITEAOF"), "+Background append only file rewriting started");
        fill(&mut real.client());
        let before = digest(&real);
        let directory = real.end();
        let ours = Server::torc_on(directory, shards, ALWAYS);
        assert_eq!(digest(&ours), before, "we have read something else on {shards} shards");
        // And once more, by what we log then.
        fill(&mut ours.client());
        let before = digest(&ours);
        let directory = ours.kill();
        let other = Server::torc_on(directory, 7 - shards, ALWAYS);
        assert_eq!(digest(&other), before);
    }
}

#[test]
fn the_single_file_of_an_old_server_moves_into_the_directory() {
    let directory = new_directory();
    let commands: [&[&str]; 4] = [&["SELECT", "0"], &["SET", "a", "1"], &["SELECT", "2"], &["RPUSH", "l", "x", "y"]];
    let text: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
    fs::write(directory.join("appendonly.aof"), text).expect("a file");
    let server = Server::torc_on(directory, 2, ALWAYS);
    let mut client = server.client();
    assert_eq!(client.ask("GET a"), "\"1\"");
    client.ask("SELECT 2");
    assert_eq!(client.ask("LRANGE l 0 -1"), "[\"x\" \"y\"]");
    client.ask("SET later 1");
    assert!(!server.directory.join("appendonly.aof").exists());
    let manifest =
        fs::read_to_string(server.directory.join("appendonlydir/appendonly.aof.manifest")).expect("a manifest");
    assert_eq!(manifest, "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n");
    let directory = server.kill();
    let server = Server::torc_on(directory, 1, ALWAYS);
    let mut client = server.client();
    client.ask("SELECT 2");
    assert_eq!(client.ask("GET later"), "\"1\"");
}
