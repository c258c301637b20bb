//! Under the names of the stock tools: the same words and the same exit codes as theirs, over sound, cut and changed files.

mod real;

use real::{Folder, Said, Server, fill, is_there, said};
use std::path::Path;

/// What the real tool says, and what ours does under its name.
fn both(folder: &Folder, tool: &str, arguments: &[&str], answer: &str) -> (Said, Said) {
    let theirs = said(Path::new(tool), &folder.0, arguments, answer);
    let ours = said(&folder.linked(tool), &folder.0, arguments, answer);
    (theirs, ours)
}

#[track_caller]
fn same(folder: &Folder, tool: &str, arguments: &[&str], answer: &str) -> Said {
    let (theirs, ours) = both(folder, tool, arguments, answer);
    assert_eq!(ours, theirs, "{tool} {arguments:?}");
    ours
}

/// A small file of a real server, and one with everything.
fn rdb_files(folder: &Folder) -> [Vec<u8>; 2] {
    let mut server = Server::start(&folder.0, &["--rdbcompression", "no"]);
    let save = |server: &mut Server| {
        server.done("SAVE");
        std::fs::read(folder.path("dump.rdb")).expect("it was saved")
    };
    for line in
        ["SET a 1", "SET soon 1 PXAT 33000000000000", "RPUSH list a b c", "HSET hash a 1", "SELECT 2", "SADD set x"]
    {
        server.done(line);
    }
    let small = save(&mut server);
    server.done("SELECT 0");
    fill(&mut server);
    [small, save(&mut server)]
}

/// Where a word stands.
fn find(bytes: &[u8], word: &[u8]) -> usize {
    bytes.windows(word.len()).position(|window| window == word).expect("the word")
}

#[test]
fn rdb_files_are_told_of_in_the_same_words() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let [small, full] = rdb_files(&folder);
    let same = |name: &str, bytes: &[u8]| {
        folder.put(name, bytes);
        same(&folder, "redis-check-rdb", &[name], "")
    };
    assert_eq!(same("full.rdb", &full).0, Some(0));
    assert_eq!(same("small.rdb", &small).0, Some(0));
    assert_eq!(same("empty.rdb", b"").0, Some(1));
    assert_eq!(same("words.rdb", b"something else").0, Some(1));
    assert_eq!(same("behind.rdb", &[&small[..], b"behind"].concat()).0, Some(0));
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = small.clone();
        change(&mut bytes);
        same(name, &bytes).0
    };
    let end = small.len();
    assert_eq!(changed("sum.rdb", &|bytes| bytes[end - 1] ^= 1), Some(1));
    assert_eq!(changed("bit.rdb", &|bytes| bytes[find(&small, b"soon")] ^= 1), Some(1));
    assert_eq!(changed("unsummed.rdb", &|bytes| bytes[end - 8..].fill(0)), Some(0));
    assert_eq!(changed("future.rdb", &|bytes| bytes[5..9].copy_from_slice(b"0999")), Some(1));
    assert_eq!(changed("kind.rdb", &|bytes| bytes[find(&small, b"\x04list") - 1] = 200), Some(1));
    for arguments in [&["none.rdb"][..], &[], &["small.rdb", "more"], &["-v", "more"]] {
        let (theirs, ours) = both(&folder, "redis-check-rdb", arguments, "");
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}

#[test]
fn rdb_files_cut_anywhere_are_told_of_alike() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let [small, full] = rdb_files(&folder);
    let kept = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| {
            let is_word = ["--- ", "[info] ", "[additional info] While", "[additional info] Reading key"];
            is_word.iter().any(|word| line.starts_with(word))
                || line.contains("Selecting DB")
                || line.contains("AUX FIELD")
        });
        lines.map(str::to_owned).collect()
    };
    for (bytes, step) in [(&small, 1), (&full, full.len() / 40)] {
        for length in (0..bytes.len()).step_by(step) {
            folder.put("cut.rdb", &bytes[..length]);
            let (theirs, ours) = both(&folder, "redis-check-rdb", &["cut.rdb"], "");
            assert_eq!(ours.0, theirs.0, "{length}");
            assert_eq!(kept(&ours.1), kept(&theirs.1), "cut to {length}: {} {}", ours.1, theirs.1);
        }
    }
}

/// A log: two transactions, times, and values with lines in them.
fn log() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |words: &[&str]| {
        bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        words.iter().for_each(|word| bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes()));
    };
    add(&["SELECT", "0"]);
    add(&["SET", "a", "1\r\n2"]);
    add(&["MULTI"]);
    add(&["INCR", "n"]);
    add(&["rpush", "l", "a", "b"]);
    add(&["EXEC"]);
    add(&["SET", "b", "2"]);
    bytes
}

#[test]
fn logs_cut_anywhere_are_told_of_and_repaired_alike() {
    if !is_there() {
        return;
    }
    let (folder, other) = (Folder::new(), Folder::new());
    let log = log();
    for length in 0..=log.len() {
        for (arguments, answer) in [(&["a.aof"][..], ""), (&["--fix", "a.aof"], "n\n"), (&["--fix", "a.aof"], "y\n")] {
            folder.put("a.aof", &log[..length]);
            other.put("a.aof", &log[..length]);
            let theirs = said(Path::new("redis-check-aof"), &other.0, arguments, answer);
            let ours = said(&folder.linked("redis-check-aof"), &folder.0, arguments, answer);
            // Of a line that ends at once, the real tool shows what its buffer had before.
            let shown = |(code, text): &Said| {
                let mut parts = text.split("got: 00");
                let first = parts.next().unwrap_or_default().to_owned();
                (*code, parts.fold(first, |text, part| text + "got: 00.." + part.get(2..).unwrap_or_default()))
            };
            assert_eq!(shown(&ours), shown(&theirs), "cut to {length}, {arguments:?}");
            let [ours, theirs] = [&folder, &other].map(|folder| std::fs::read(folder.path("a.aof")).expect("a file"));
            assert_eq!(ours, theirs, "cut to {length}");
        }
    }
}

#[test]
fn logs_with_changed_bytes_get_the_same_verdict() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let log = log();
    let verdict = |text: &str| text.lines().filter(|line| line.starts_with("AOF")).collect::<Vec<_>>().join("\n");
    for at in 0..log.len() {
        for other in [b'x', b'\r', b'9'] {
            let mut bytes = log.clone();
            bytes[at] = other;
            folder.put("a.aof", &bytes);
            let (theirs, ours) = both(&folder, "redis-check-aof", &["a.aof"], "");
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            // Where a length has a letter in it, the tools say what they took it for in their own ways.
            assert_eq!(ours.0, theirs.0, "{at}: {shown:?}\n{}\n{}", ours.1, theirs.1);
            let up_to =
                |text: &str| text.split("ok_up_to=").nth(1).and_then(|rest| rest.split(',').next().map(str::to_owned));
            assert_eq!(
                up_to(&verdict(&ours.1)),
                up_to(&verdict(&theirs.1)),
                "{at}: {shown:?}\n{}\n{}",
                ours.1,
                theirs.1
            );
        }
    }
}

#[test]
fn logs_of_several_files_are_told_of_alike() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let mut server = Server::start(&folder.0, &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
    fill(&mut server);
    drop(server);
    let log_folder = Folder(folder.path("appendonlydir"));
    let manifest = "appendonly.aof.manifest";
    let check = |arguments: &[&str], answer: &str| same(&log_folder, "redis-check-aof", arguments, answer);
    assert_eq!(check(&[manifest], "").0, Some(0));
    let incremental = log_folder.path("appendonly.aof.1.incr.aof");
    let bytes = std::fs::read(&incremental).expect("a file");
    std::fs::write(&incremental, &bytes[..bytes.len() - 5]).expect("a file");
    assert_eq!(check(&[manifest], "").0, Some(1));
    // One of them mends it, the other finds it whole.
    assert_eq!(said(&log_folder.linked("redis-check-aof"), &log_folder.0, &["--fix", manifest], "y\n").0, Some(0));
    assert_eq!(check(&[manifest], "").0, Some(0));
    assert_eq!(check(&["--truncate-to-timestamp", "99999999999", manifest], "").0, Some(0));
    assert_eq!(check(&["--truncate-to-timestamp", "x", manifest], "").0, Some(1));
    assert_eq!(check(&["--other", manifest], "").0, Some(1));
    // Nothing but the first line is from before that time.
    let (theirs, ours) = both(&log_folder, "redis-check-aof", &["--truncate-to-timestamp", "1", manifest], "");
    assert_eq!(ours.0, theirs.0, "{} {}", ours.1, theirs.1);
    // A base that cannot be read, a manifest without a file.
    let base = log_folder.path("appendonly.aof.1.base.rdb");
    let mut broken = std::fs::read(&base).expect("a file");
    let last = broken.len() - 1;
    broken[last] ^= 1;
    std::fs::write(&base, &broken).expect("a file");
    assert_eq!(check(&[manifest], "").0, Some(1));
    std::fs::remove_file(&base).expect("a file");
    let (theirs, ours) = both(&log_folder, "redis-check-aof", &[manifest], "");
    assert_eq!((ours.0, theirs.0), (Some(1), Some(1)), "{} {}", ours.1, theirs.1);
}

#[test]
fn an_rdb_file_may_stand_in_front_of_a_log() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let [small, _] = rdb_files(&folder);
    let log = log();
    let whole = [&small[..], &log].concat();
    folder.put("a.aof", &whole);
    assert_eq!(same(&folder, "redis-check-aof", &["a.aof"], "").0, Some(0));
    folder.put("a.aof", &whole[..whole.len() - 3]);
    assert_eq!(same(&folder, "redis-check-aof", &["a.aof"], "").0, Some(1));
    assert_eq!(said(&folder.linked("redis-check-aof"), &folder.0, &["--fix", "a.aof"], "y\n").0, Some(0));
    assert_eq!(same(&folder, "redis-check-aof", &["a.aof"], "").0, Some(0));
}
