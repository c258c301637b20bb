//! Under its own name: what it finds that others do not, what it keeps of a broken file, and data that is converted.

mod real;

use real::{Folder, Server, fill, is_there, ours};
use torc_persistence::crc64;
use torc_persistence::rdb::file::{self, Use};
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version, kinds, opcodes};

/// A file of strings.
fn file_of(keys: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    file::write_header(Version::LISTPACKS, Dialect::Redis, &mut out);
    file::write_select(0, &mut out);
    for (key, value) in keys {
        file::write_key(key.as_bytes(), kinds::STRING, None, Use::Unknown, &mut out);
        out.text(value.as_bytes());
    }
    file::write_end(&mut out);
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc64::of(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn a_key_that_stands_twice_is_found_and_left_out() {
    let folder = Folder::new();
    let bytes = file_of(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
    folder.put("twice.rdb", &bytes);
    let (code, text) = ours(&folder.0, &["verify", "twice.rdb"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("key \"a\": the key stands twice in database 0"), "{text}");
    let (code, text) = ours(&folder.0, &["verify", "--fix", "--yes", "twice.rdb"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 keys are kept, 1 left out"), "{text}");
    assert_eq!(std::fs::read(folder.path("twice.rdb.broken")).expect("the old file"), bytes);
    let kept = std::fs::read(folder.path("twice.rdb")).expect("the new file");
    assert_eq!(kept, file_of(&[("a", "1"), ("b", "2"), ("c", "4")]));
    assert_eq!(ours(&folder.0, &["verify", "twice.rdb"]).0, Some(0));
}

#[test]
fn what_is_wrong_is_said_with_file_offset_key_and_advice() {
    let folder = Folder::new();
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    file::write_header(Version::LISTPACKS, Dialect::Redis, &mut out);
    file::write_key(b"set", kinds::SET_INTSET, None, Use::Unknown, &mut out);
    // Two members that stand in the wrong order.
    out.plain_text(&[2, 0, 0, 0, 2, 0, 0, 0, 9, 0, 1, 0]);
    file::write_key(b"of a module", kinds::MODULE, None, Use::Unknown, &mut out);
    out.number(0x8123_4567_89ab_cc01);
    out.number(0);
    file::write_key(b"sound", kinds::STRING, None, Use::Unknown, &mut out);
    out.text(b"1");
    out.byte(opcodes::END);
    folder.put("a.rdb", &sealed(bytes));
    let (code, text) = ours(&folder.0, &["verify", "a.rdb"]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("a.rdb: offset 27: key \"set\": the value: an intset that is none; `torc-check verify --fix`"),
        "{text}"
    );
    assert!(text.contains("key \"of a module\": a value of the module '"), "{text}");
    let (code, text) = ours(&folder.0, &["verify", "--fix", "--yes", "a.rdb"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 keys are kept, 2 left out"), "{text}");
    let (code, text) = ours(&folder.0, &["print", "--values", "a.rdb"]);
    assert_eq!((code, &text[..]), (Some(0), "# database 0, \"sound\": string, 2 bytes, never expires\nSET sound 1\n"));
    for (name, bytes, expected) in [
        ("future.rdb", &b"REDIS0099\xff"[..], "a file of version 0099, which is not known here"),
        (
            "cut.rdb",
            b"REDIS0010\x00\x01a\x05abc",
            "cut.rdb: offset 16: key \"a\": the file ends in the middle of an item",
        ),
        ("kind.rdb", b"REDIS0010\xc8\x01a\x05abc", "no item begins with byte 200"),
    ] {
        folder.put(name, bytes);
        let (code, text) = ours(&folder.0, &["verify", name]);
        assert_eq!(code, Some(1));
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(ours(&folder.0, &["verify", "none.rdb"]).0, Some(2));
}

#[test]
fn a_cut_file_keeps_what_is_in_front() {
    let folder = Folder::new();
    let bytes = file_of(&[("a", "1"), ("b", "22222222"), ("c", "3")]);
    let whole = [9, 11, 16, 24, 29];
    for length in 9..bytes.len() {
        folder.put("cut.rdb", &bytes[..length]);
        drop(std::fs::remove_file(folder.path("cut.rdb.broken")));
        let (code, text) = ours(&folder.0, &["verify", "--fix", "--yes", "cut.rdb"]);
        assert_eq!(code, Some(0), "{length}: {text}");
        let kept = *whole.iter().rfind(|whole| **whole <= length).expect("the header");
        let expected = sealed([&bytes[..kept], &[opcodes::END]].concat());
        assert_eq!(std::fs::read(folder.path("cut.rdb")).expect("the new file"), expected, "{length}");
    }
}

/// Data of a real server as a file, and its digest.
fn real_file(folder: &Folder, more: &[&str]) -> String {
    let mut server = Server::start(&folder.0, more);
    fill(&mut server);
    let digest = server.digest();
    server.done("SAVE");
    digest
}

#[test]
fn a_file_becomes_a_log_and_a_file_again() {
    if !is_there() {
        return;
    }
    for more in [
        &[][..],
        &["--hash-max-listpack-entries", "2", "--set-max-intset-entries", "2", "--stream-node-max-entries", "3"],
    ] {
        let folder = Folder::new();
        let digest = real_file(&folder, more);
        let pending = |server: &mut Server| {
            [
                "XPENDING stream g",
                "XINFO GROUPS stream",
                "XINFO GROUPS bare",
                "XINFO STREAM stream",
                "XINFO STREAM gone",
            ]
            .map(|line| server.done(line))
        };
        let (code, text) = ours(&folder.0, &["convert", "dump.rdb", "appendonlydir/"]);
        assert_eq!(code, Some(0), "{text}");
        let expected = {
            let mut server = Server::start(&folder.0, &[]);
            pending(&mut server)
        };
        let mut server = Server::start(&folder.0, &["--appendonly", "yes"]);
        assert_eq!(server.digest(), digest);
        assert_eq!(pending(&mut server)[..3], expected[..3]);
        assert_eq!(server.done("FCALL f 0"), ":1");
        drop(server);
        // And back, from the log that the server has gone on with.
        let (code, text) = ours(&folder.0, &["convert", "appendonlydir", "again.rdb"]);
        assert_eq!(code, Some(0), "{text}");
        let mut server = Server::start(&folder.0, &["--dbfilename", "again.rdb"]);
        assert_eq!(server.digest(), digest);
        assert_eq!(pending(&mut server)[..3], expected[..3]);
        assert_eq!(server.done("FCALL f 0"), ":1");
    }
}

#[test]
fn a_log_of_commands_becomes_a_file() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let mut server = Server::start(&folder.0, &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
    fill(&mut server);
    for line in [
        "MULTI",
        "INCR counter",
        "LPUSH list z",
        "EXEC",
        "RENAME text renamed",
        "SELECT 5",
        "SET five 5",
        "SWAPDB 5 6",
        "SELECT 0",
        "MOVE few 7",
        "COPY hash copied DB 8",
        "SPOP members 5",
        "EXPIRE hash 100000",
        "LTRIM many 3 -4",
        "DEL sketch",
        "GETEX int EX 100000",
        "ZPOPMIN sorted 3",
        "XTRIM log MAXLEN 100",
        "XAUTOCLAIM stream g third 0 0",
        "SELECT 9",
        "SET nine 9",
        "FLUSHDB",
        "SELECT 0",
    ] {
        server.done(line);
    }
    let payload = server.call(&[b"DEBUG", b"DIGEST"]);
    assert_eq!(payload.len(), 41);
    drop(server);
    let (code, text) = ours(&folder.0, &["convert", "appendonlydir/appendonly.aof.manifest", "made.rdb"]);
    assert_eq!(code, Some(0), "{text}");
    let digest = Server::start(&folder.0, &["--appendonly", "yes"]).digest();
    let mut server = Server::start(&folder.0, &["--dbfilename", "made.rdb"]);
    assert_eq!(server.digest(), digest);
    assert_eq!(server.done("FCALL f 0"), ":1");
}
