//! Snapshots and loading: files exchanged with the real server, cuts while clients write, failures, the end of the process.
//!
//! ```text
//!   ours ──> SAVE ──> the real server, ours on another number of shards, DEBUG RELOAD    ──> DEBUG DIGEST: the same
//!   clients that write what belongs together, on keys of all shards ──> BGSAVE ──> the file: all of it or nothing
//!   no directory, a broken file, keys twice ──> a clear error; what was there before stays
//! ```

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::server::{TORC, free_port, new_directory, run_to_end};
use support::values::{arguments, fill};
use support::{Client, Reply, Server, encode, eventually, key_of_each_shard};
use torc_persistence::rdb::file::{Item, Scanner};

/// A server that keeps its files in a directory.
fn torc(shards: usize, directory: &Path, others: &[&str]) -> Server {
    Server::torc(shards, &with_directory(directory, others))
}

fn with_directory<'a>(directory: &'a Path, others: &[&'a str]) -> Vec<&'a str> {
    ["--dir", directory.to_str().expect("text")].into_iter().chain(others.iter().copied()).collect()
}

/// A hash whose file form is longer than what is kept while its length is unknown, and a text that is written in steps.
fn fill_large(client: &mut Client) {
    for first in (0..150_000).step_by(5000) {
        let pairs = (first..first + 5000)
            .flat_map(|field| [format!("field {field}"), format!("{field:0>60}")])
            .collect::<Vec<_>>();
        let mut words = vec!["HSET".to_owned(), "huge".to_owned()];
        words.extend(pairs);
        client.send(&encode(&words));
        assert_eq!(client.reply().integer(), 5000);
    }
    assert_eq!(client.ask("SETRANGE wide:text 3000000 end"), ":3000003");
    assert_eq!(client.ask("SELECT 9"), "+OK");
    assert_eq!(client.ask("SET here too EX 100000"), "+OK");
    assert_eq!(client.ask("SELECT 0"), "+OK");
}

#[test]
fn files_are_exchanged_with_the_real_server() {
    for (shards, is_low) in [(1, false), (2, true), (5, false)] {
        let directory = new_directory();
        let ours = torc(shards, &directory, &arguments(is_low));
        let mut client = ours.client();
        fill(&mut client);
        fill_large(&mut client);
        let library = b"#!lua name=lib\nredis.register_function('f', function() return 7 end)".as_slice();
        assert_eq!(client.call_bytes(&[b"FUNCTION", b"LOAD", library]).text(), "lib");
        assert_eq!(client.ask("SAVE"), "+OK");
        let digest = client.ask("DEBUG DIGEST");
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 0);
        assert_eq!(client.ask("DEBUG RELOAD"), "+OK");
        assert_eq!(client.ask("DEBUG DIGEST"), digest, "after DEBUG RELOAD on {shards} shards");
        assert_eq!(client.ask("FCALL f 0"), ":7");
        drop(ours);
        let again = torc(6 - shards, &directory, &arguments(is_low));
        let mut client = again.client();
        assert_eq!(client.ask("DEBUG DIGEST"), digest, "on {} shards", 6 - shards);
        assert_eq!(client.ask("FCALL f 0"), ":7");
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 0);
        drop(again);
        let Some(real) = Server::real(&with_directory(&directory, &arguments(is_low))) else { continue };
        let mut client = real.client();
        assert_eq!(client.ask("DEBUG DIGEST"), digest, "in the real server");
        assert_eq!(client.ask("FCALL f 0"), ":7");
        // And what that one writes comes back.
        assert_eq!(client.ask("SET other 1"), "+OK");
        assert_eq!(client.ask("SAVE"), "+OK");
        let digest = client.ask("DEBUG DIGEST");
        drop(real);
        let back = torc(shards, &directory, &arguments(is_low));
        assert_eq!(back.client().ask("DEBUG DIGEST"), digest, "from the real server, on {shards} shards");
        fs::remove_dir_all(&directory).expect("its directory");
    }
}

/// All keys of a file with their values, which are short texts; whole to its end.
fn texts(file: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = fs::read(file).expect("a file");
    let mut scanner = Scanner::new(true);
    scanner.feed(&bytes);
    let mut texts = Vec::new();
    loop {
        match scanner.next(true).expect("a good file").expect("an end") {
            Item::End => return texts,
            Item::Entry(entry) => {
                let text = torc_persistence::rdb::input::Input::new(entry.value).text().expect("a text").into_owned();
                texts.push((entry.key.into_owned(), text));
            }
            _ => {}
        }
    }
}

#[test]
fn a_transaction_is_in_a_snapshot_whole_or_not_at_all() {
    for shards in [1, 2, 5] {
        let directory = new_directory();
        let server = torc(shards, &directory, &arguments(false));
        let mut client = server.client();
        let mut keys = key_of_each_shard(&mut client, shards);
        keys.push("{tag}".to_owned());
        assert_eq!(client.ask("DEBUG POPULATE 20000 filler 20"), "+OK");
        let is_over = Arc::new(AtomicBool::new(false));
        assert_eq!(client.ask(&format!("SET {}:4 token", keys[1])), "+OK");
        let writers: Vec<_> = (0..5)
            .map(|writer| {
                let (is_over, keys, mut client) = (is_over.clone(), keys.clone(), server.client());
                std::thread::spawn(move || {
                    let names: Vec<String> = keys.iter().map(|key| format!("{key}:{writer}")).collect();
                    let mut number = 0_usize;
                    while !is_over.load(Ordering::Relaxed) {
                        number += 1;
                        if writer == 4 {
                            // From one shard to another and back: several hops, and never two of it, nor none.
                            let (from, to) = (&names[number % 2], &names[(number + 1) % 2]);
                            assert!(!client.call(&format!("RENAME {from} {to}")).is_error());
                            continue;
                        }
                        let values = names.iter().map(|name| format!("{name} {number}")).collect::<Vec<_>>().join(" ");
                        let sets = names.iter().map(|name| format!("SET {name} {number}"));
                        match writer % 2 {
                            0 => assert_eq!(client.ask(&format!("MSET {values}")), "+OK"),
                            _ => {
                                let lines = ["MULTI".to_owned()].into_iter().chain(sets).chain(["EXEC".to_owned()]);
                                lines.for_each(|line| assert!(!client.call(&line).is_error()));
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            assert_eq!(client.ask("BGSAVE"), "+Background saving started");
            eventually("the save ends", || client.info_number("rdb_bgsave_in_progress") == 0);
            assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
            let texts = texts(&directory.join("dump.rdb"));
            assert!(texts.len() >= 20_000);
            let tokens = texts.iter().filter(|(key, _)| key.ends_with(b"}:4")).count();
            assert_eq!(tokens, 1, "{shards} shards");
            for writer in 0..4 {
                let own = texts.iter().filter(|(key, _)| key.ends_with(format!("}}:{writer}").as_bytes()));
                let values: Vec<_> = own.map(|(_, value)| value).collect();
                assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{shards} shards: {values:?}");
                assert!(values.is_empty() || values.len() == keys.len(), "{shards} shards: {values:?}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        fs::remove_dir_all(&directory).expect("its directory");
    }
}

#[test]
fn a_save_that_fails_leaves_the_file_before_and_writes_are_refused_until_one_does_not() {
    for shards in [1, 3] {
        let directory = new_directory();
        let server = torc(shards, &directory, &["--save", "3600 1000000"]);
        let mut client = server.client();
        assert_eq!(client.ask("SET before 1"), "+OK");
        assert_eq!(client.ask("SAVE"), "+OK");
        let file = directory.join("dump.rdb");
        let whole = fs::read(&file).expect("a file");
        let (kept, taken) = (directory.with_extension("kept"), directory.clone());
        fs::rename(&taken, &kept).expect("it can be moved");
        assert_eq!(client.ask("SET behind 1"), "+OK");
        assert_eq!(client.ask("BGSAVE"), "+Background saving started");
        eventually("the save fails", || client.info("rdb_last_bgsave_status") == "err");
        let refusal = client.ask("SET behind 2");
        assert!(refusal.starts_with("-MISCONF Redis is configured to save RDB snapshots"), "{refusal}");
        assert_eq!(client.ask("GET behind"), "\"1\"");
        assert_eq!(client.ask("SAVE"), "-ERR");
        let log = server.log();
        assert!(log.contains("Failed opening the temp RDB file") && log.contains("No such file"), "{log}");
        fs::rename(&kept, &taken).expect("it can be moved back");
        assert_eq!(fs::read(&file).expect("the file before"), whole);
        assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 1, "nothing else is left");
        assert_eq!(client.ask("SAVE"), "+OK");
        assert_eq!(client.ask("SET behind 3"), "+OK");
        assert_ne!(fs::read(&file).expect("the new file"), whole);
        drop(server);
        fs::remove_dir_all(&directory).expect("its directory");
    }
}

#[test]
fn a_save_can_be_cancelled_and_only_one_runs_at_a_time() {
    let directory = new_directory();
    let server = torc(2, &directory, &arguments(false));
    let mut client = server.client();
    assert_eq!(client.ask("BGSAVE CANCEL"), "-ERR Background saving is currently not in progress or scheduled");
    assert_eq!(client.ask("BGSAVE what"), "-ERR syntax error");
    assert_eq!(client.ask("DEBUG POPULATE 300000 key 100"), "+OK");
    client.send(b"BGSAVE\r\nBGSAVE\r\nSAVE\r\nBGSAVE CANCEL\r\n");
    assert_eq!(client.reply().text(), "Background saving started");
    for _ in 0..2 {
        assert_eq!(client.reply().to_string(), "-ERR Background save already in progress");
    }
    assert_eq!(client.reply().text(), "Background saving cancelled");
    eventually("it ends", || client.info_number("rdb_bgsave_in_progress") == 0);
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok", "a save that is ended on request has not failed");
    eventually("nothing is left", || fs::read_dir(&directory).expect("the directory").count() == 0);
    // What EXEC writes is in the save that it asks for.
    client.send(b"MULTI\r\nBGSAVE\r\nSET last 1\r\nEXEC\r\n");
    let replies: Vec<Reply> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies[3].elements()[0].text(), "Background saving scheduled");
    eventually("it is done", || client.info_number("rdb_saves") == 1);
    assert!(texts(&directory.join("dump.rdb")).iter().any(|(key, _)| key == b"last"));
    drop(server);
    fs::remove_dir_all(&directory).expect("its directory");
}

/// Slow enough that what a test does next is done before the walk is over.
const SLOW: &str = "CONFIG SET rdb-key-save-delay 1000000";
const FAST: &str = "CONFIG SET rdb-key-save-delay 0";

#[test]
fn what_writers_change_ahead_of_the_disk_is_spilled_and_stays_as_it_was() {
    for shards in [1, 2, 5] {
        let directory = new_directory();
        let server = torc(
            shards,
            &directory,
            &["--save", "", "--snapshot-buffer-limit", "1mb", "--enable-debug-command", "local"],
        );
        let mut client = server.client();
        fill_large(&mut client);
        // The last slot: the walk comes there late.
        assert_eq!(client.ask("RENAME huge {last:48176}huge"), "+OK");
        assert_eq!(client.ask("DEBUG POPULATE 3000 filler 100"), "+OK");
        let digest = client.ask("DEBUG DIGEST");
        assert_eq!(client.ask(SLOW), "+OK");
        assert_eq!(client.ask("BGSAVE"), "+Background saving started");
        eventually("the cut is made", || client.info_number("current_save_keys_total") > 0);
        client.send(b"HSET {last:48176}huge more 1\r\nAPPEND wide:text more\r\n");
        assert_eq!((client.reply().integer(), client.reply().integer()), (1, 3_000_007));
        assert_eq!(client.ask(FAST), "+OK");
        eventually("the save ends", || client.info_number("rdb_bgsave_in_progress") == 0);
        assert_eq!(client.info("rdb_last_bgsave_status"), "ok", "{}", server.log());
        assert!(client.info_number("snapshot_spilled_bytes") > 2 << 20, "{shards} shards: what is large was spilled");
        assert!(client.info_number("snapshot_buffered_bytes_peak") < shards as u64 * (2 << 20), "{shards} shards");
        assert_eq!((client.info_number("snapshot_buffered_bytes"), client.info_number("snapshot_view_bytes")), (0, 0));
        assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 1, "nothing is left");
        drop(server);
        let again = torc(6 - shards, &directory, &arguments(false));
        assert_eq!(again.client().ask("DEBUG DIGEST"), digest, "as it was at the cut, {shards} shards");
        drop(again);
        fs::remove_dir_all(&directory).expect("its directory");
    }
}

#[test]
fn flushall_ends_a_background_save_and_saves_at_once_where_there_are_save_points() {
    for shards in [1, 2, 5] {
        let directory = new_directory();
        let server = torc(shards, &directory, &["--save", "", "--enable-debug-command", "local"]);
        let (mut client, mut other) = (server.client(), server.client());
        let file = directory.join("dump.rdb");
        assert_eq!(client.ask(SLOW), "+OK");
        let begin = |client: &mut Client| {
            assert_eq!(client.ask("DEBUG POPULATE 20000 filler 10"), "+OK");
            assert_eq!(client.ask("BGSAVE"), "+Background saving started");
            assert_eq!(client.info_number("rdb_bgsave_in_progress"), 1);
        };
        begin(&mut client);
        assert_eq!(client.ask("FLUSHALL"), "+OK");
        eventually("it ends", || client.info_number("rdb_bgsave_in_progress") == 0);
        assert_eq!((client.info("rdb_last_bgsave_status"), client.info_number("rdb_saves")), ("ok".to_owned(), 0));
        assert!(client.info_number("rdb_changes_since_last_save") >= 20_000);
        assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 0, "nothing is there, nothing is left");
        // With save points the reply comes when the empty databases are on disk, as the real server's does.
        assert_eq!(client.ask("CONFIG SET save \"3600 1\""), "+OK");
        assert_eq!(client.ask("SET key value"), "+OK");
        assert_eq!(client.ask("FLUSHALL ASYNC"), "+OK");
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 0, "{shards} shards: it waited for the file");
        assert_eq!(texts(&file).len(), 0);
        fs::remove_file(&file).expect("a file");
        begin(&mut client);
        // Two at once, on connections of which one goes on with other commands.
        client.send(b"FLUSHALL\r\nSET key value\r\n");
        assert_eq!(other.ask("FLUSHALL"), "+OK");
        assert_eq!((client.reply().text(), client.reply().text()), ("OK".to_owned(), "OK".to_owned()));
        assert!(file.exists(), "{shards} shards: both waited for it");
        assert!(texts(&file).len() <= 1, "{shards} shards: at most what came behind it");
        eventually("none is under way", || client.info_number("rdb_bgsave_in_progress") == 0);
        assert_eq!(client.info_number("rdb_saves"), 0, "no background save was good");
        // In a transaction nobody waits for the file, which comes soon.
        client.send(b"MULTI\r\nSET key value\r\nFLUSHALL\r\nEXEC\r\n");
        let replies: Vec<Reply> = (0..4).map(|_| client.reply()).collect();
        assert_eq!(replies[3].elements().len(), 2);
        eventually("it is saved", || client.info_number("rdb_changes_since_last_save") == 0);
        // A save that a client waits for is not ended. Another of what was flushed before may be under way.
        assert_eq!(client.ask(FAST), "+OK");
        let reply = std::iter::repeat_with(|| {
            assert_eq!(client.ask("DEBUG POPULATE 1000 filler 10"), "+OK");
            client.send(b"SAVE\r\n");
            assert_eq!(other.ask("FLUSHALL"), "+OK");
            client.reply().text()
        });
        let reply = reply.take(100).find(|reply| !reply.contains("already in progress"));
        assert_eq!(reply.as_deref(), Some("OK"));
        eventually("it is saved", || client.info_number("rdb_changes_since_last_save") == 0);
        assert_eq!(texts(&file).len(), 0);
        drop(server);
        fs::remove_dir_all(&directory).expect("its directory");
    }
}

/// Sets a key and ends the server in a way; what the next one has of it.
fn after_the_end(save: &str, end: impl FnOnce(&mut Server, &mut Client)) -> String {
    let directory = new_directory();
    let mut server = torc(2, &directory, &["--save", save]);
    let mut client = server.client();
    assert_eq!(client.ask("SET key value"), "+OK");
    end(&mut server, &mut client);
    assert!(server.wait().success(), "{}", server.log());
    let next = torc(3, &directory, &[]);
    let value = next.client().ask("GET key");
    drop(next);
    fs::remove_dir_all(&directory).expect("its directory");
    value
}

#[test]
fn what_is_there_at_the_end_is_saved_if_that_is_wanted() {
    const NOTHING: &str = "nil";
    let asks = |line: &'static str| move |_: &mut Server, client: &mut Client| client.send(line.as_bytes());
    assert_eq!(after_the_end("", asks("SHUTDOWN SAVE\r\n")), "\"value\"");
    assert_eq!(after_the_end("", asks("SHUTDOWN\r\n")), NOTHING);
    assert_eq!(after_the_end("3600 1", asks("SHUTDOWN\r\n")), "\"value\"");
    assert_eq!(after_the_end("3600 1", asks("SHUTDOWN NOSAVE\r\n")), NOTHING);
    assert_eq!(after_the_end("3600 1", |server, _| server.signal("TERM")), "\"value\"");
    assert_eq!(after_the_end("", |server, _| server.signal("TERM")), NOTHING);
}

#[test]
fn a_server_that_cannot_save_goes_on_unless_it_is_forced_to_end() {
    let directory = new_directory();
    let mut server = torc(2, &directory, &["--save", "3600 1"]);
    let mut client = server.client();
    assert_eq!(client.ask("SET key value"), "+OK");
    fs::remove_dir_all(&directory).expect("its directory");
    assert_eq!(client.ask("SHUTDOWN"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(client.ask("CONFIG SET stop-writes-on-bgsave-error no"), "+OK");
    assert_eq!(client.ask("SET key other"), "+OK", "writes that waited for the end go on");
    client.send(b"SHUTDOWN FORCE\r\n");
    assert!(server.wait().success());
    assert!(server.log().contains("Exit anyway"), "{}", server.log());
}

#[test]
fn save_points_save_by_themselves() {
    let directory = new_directory();
    let server = torc(2, &directory, &["--save", "1 3"]);
    let mut client = server.client();
    assert_eq!(client.ask("MSET a 1 b 2 c 3 d 4"), "+OK");
    eventually("it saves", || client.info_number("rdb_saves") == 1);
    assert_eq!(texts(&directory.join("dump.rdb")).len(), 4);
    drop(server);
    fs::remove_dir_all(&directory).expect("its directory");
}

/// How a server with this file ends, and what it says.
fn ends_with(file: &[u8]) -> (Option<i32>, String) {
    let directory: PathBuf = new_directory();
    fs::write(directory.join("dump.rdb"), file).expect("a file");
    let mut command = std::process::Command::new(TORC);
    command.args(["--port", &free_port().to_string(), "--bind", "127.0.0.1", "--shards", "2", "--save", ""]);
    command.args(["--dir", directory.to_str().expect("text")]);
    let outcome = run_to_end(&mut command);
    assert_eq!(fs::read(directory.join("dump.rdb")).expect("the file"), file, "it is left as it is");
    fs::remove_dir_all(&directory).expect("its directory");
    outcome
}

#[test]
fn a_broken_file_is_refused_with_its_place() {
    let directory = new_directory();
    let server = torc(2, &directory, &arguments(false));
    fill(&mut server.client());
    assert_eq!(server.client().ask("SAVE"), "+OK");
    let good = fs::read(directory.join("dump.rdb")).expect("a file");
    drop(server);
    fs::remove_dir_all(&directory).expect("its directory");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let end = good.len() - 9;
    // The last key once more, with its checksum left out.
    let twice = [&good[..end], b"\xfe\x00\x00\x03key\x011\x00\x03key\x011\xff\0\0\0\0\0\0\0\0"].concat();
    let elsewhere = [&good[..end], b"\xfe\x40\xff\x00\x03key\x011\xff\0\0\0\0\0\0\0\0"].concat();
    for (what, file, said) in [
        ("cut", &good[..good.len() / 2], "ends in the middle"),
        ("cut in front of its checksum", &good[..good.len() - 8], "ends in the middle"),
        ("a bit flipped", &flipped, "offset"),
        ("no file of ours", b"GARBAGE that is long enough", "does not begin as a file"),
        ("a version to come", b"REDIS0099 and so on", "version"),
        ("a key twice", &twice, "duplicated key 'key' in DB 0"),
        ("a database too many", &elsewhere, "more than 16 databases"),
    ] {
        let (status, output) = ends_with(file);
        assert_eq!(status, Some(1), "{what}: {output}");
        assert!(output.contains(said) && output.contains("dump.rdb"), "{what}: {output}");
    }
}
