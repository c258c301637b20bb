//! Files that cannot be read, or not to their end.

use super::ALWAYS;
use super::support::server::{TORC, free_port, new_directory, run_to_end};
use super::support::{Server, encode};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with a manifest and files.
fn written(manifest: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let directory = new_directory();
    let log = directory.join("appendonlydir");
    fs::create_dir(&log).expect("a directory");
    fs::write(log.join("appendonly.aof.manifest"), manifest).expect("a manifest");
    for (name, content) in files {
        fs::write(log.join(name), content).expect("a file");
    }
    directory
}

fn commands(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect()
}

/// What a start on it says that fails.
fn refused(directory: &Path, more: &[&str]) -> String {
    let mut command = Command::new(TORC);
    command.args(["--port", &free_port().to_string(), "--shards", "2", "--dir"]).arg(directory).args(ALWAYS).args(more);
    let (code, text) = run_to_end(&mut command);
    assert_eq!(code, Some(1), "{text}");
    text
}

const TWO: &str = "file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";

#[test]
fn manifests_that_cannot_be_read_end_the_start() {
    for (manifest, expected) in [
        ("", "Found an empty AOF manifest"),
        ("file a seq 1 type x\n", "Unknown AOF file type"),
        ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
        ("file appendonly.aof.9.incr.aof seq 9 type i\n", "No such file or directory"),
    ] {
        let directory = written(manifest, &[]);
        let text = refused(&directory, &[]);
        assert!(text.contains(expected), "{manifest}: {text}");
        drop(fs::remove_dir_all(directory));
    }
}

#[test]
fn files_are_loaded_in_order_and_the_last_one_goes_on() {
    let first = commands(&["SELECT 0", "SET a 1", "SET b 1"]);
    let second = commands(&["SELECT 0", "SET b 2"]);
    let manifest = "#a remark\nfile appendonly.aof.1.incr.aof seq 1 type i newkey newvalue\nfile appendonly.aof.3.incr.aof seq 3 type i\n";
    let directory = written(manifest, &[("appendonly.aof.1.incr.aof", first), ("appendonly.aof.3.incr.aof", second)]);
    let server = Server::torc_on(directory, 2, ALWAYS);
    assert_eq!(server.client().ask("MGET a b"), "[\"1\" \"2\"]");
    server.client().ask("SET c 3");
    let last = fs::read(server.directory.join("appendonlydir/appendonly.aof.3.incr.aof")).expect("the last file");
    assert!(last.ends_with(&commands(&["SELECT 0", "SET c 3"])), "{}", last.escape_ascii());
}

#[test]
fn a_tail_that_is_cut_is_cut_off_and_one_in_the_middle_is_not() {
    let whole = commands(&["SELECT 0", "SET a 1"]);
    for (tail, mentions) in [
        (b"*3\r\n$3\r\nSET\r\n$1\r\nb".to_vec(), "short read while loading"),
        (commands(&["MULTI", "SET b 2"]), "Revert incomplete MULTI/EXEC"),
        ([commands(&["MULTI", "SET b 2"]), b"*1\r\n$4\r\nEX".to_vec()].concat(), "short read while loading"),
    ] {
        let cut = [whole.clone(), tail].concat();
        let last = [("appendonly.aof.1.incr.aof", whole.clone()), ("appendonly.aof.2.incr.aof", cut.clone())];
        let directory = written(TWO, &last);
        let text = refused(&directory, &["--aof-load-truncated", "no"]);
        assert!(text.contains("Unexpected end of file reading the append only file"), "{text}");
        let server = Server::torc_on(directory, 2, ALWAYS);
        assert_eq!(server.client().ask("MGET a b"), "[\"1\" nil]");
        assert!(server.log().contains(mentions), "{}", server.log());
        let kept = fs::read(server.directory.join("appendonlydir/appendonly.aof.2.incr.aof")).expect("the file");
        assert_eq!(kept, whole);
        let first = [("appendonly.aof.1.incr.aof", cut), ("appendonly.aof.2.incr.aof", whole.clone())];
        let directory = written(TWO, &first);
        let text = refused(&directory, &[]);
        assert!(text.contains("the truncated file is not the last file"), "{text}");
        drop(fs::remove_dir_all(directory));
    }
}

#[test]
fn what_is_no_command_ends_the_start_unless_a_tail_of_that_size_may_be_lost() {
    let whole = commands(&["SELECT 0", "SET a 1"]);
    let broken = [whole.clone(), b"*3\r\n$3\r\nSET\r\n$1\r\nbXX$1\r\n2\r\n".to_vec()].concat();
    let files = [("appendonly.aof.1.incr.aof", whole.clone()), ("appendonly.aof.2.incr.aof", broken)];
    let directory = written(TWO, &files);
    let text = refused(&directory, &["--aof-load-corrupt-tail-max-size", "10"]);
    assert!(text.contains("Bad file format reading the append only file") && text.contains("at offset 68"), "{text}");
    let server = Server::torc_on(directory, 2, &[ALWAYS, &["--aof-load-corrupt-tail-max-size", "100"]].concat());
    assert_eq!(server.client().ask("MGET a b"), "[\"1\" nil]");
    drop(server);
    let unknown = [whole, commands(&["NOSUCH x"])].concat();
    let directory = written("file appendonly.aof.1.incr.aof seq 1 type i\n", &[("appendonly.aof.1.incr.aof", unknown)]);
    let text = refused(&directory, &[]);
    assert!(text.contains("Unknown command 'NOSUCH' reading the append only file"), "{text}");
    drop(fs::remove_dir_all(directory));
}
