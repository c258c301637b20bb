//! Files of users and of the configuration: no shard waits for them, each is whole at any time, and what cannot be read or written
//! changes nothing.

use crate::support::server::new_directory;
use crate::support::{self, Client, Server, encode, words};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory with a file of users, and a server that has it; the file of its configuration lies beside.
struct Served {
    server: Server,
    directory: PathBuf,
    acl: PathBuf,
    conf: PathBuf,
}

const FIRST: &str = "user ann on nopass +@all ~* &*\nuser default on nopass +@all ~* &*\n";

impl Served {
    fn on(shards: usize) -> Self {
        let directory = new_directory();
        let (acl, conf) = (directory.join("users.acl"), directory.join("torc.conf"));
        std::fs::write(&acl, FIRST).expect("a file");
        std::fs::write(&conf, format!("# mine\nshards {shards}\naclfile {}\n", acl.display())).expect("a file");
        Self { server: Server::torc_with_file(&conf), directory, acl, conf }
    }

    fn has_open(&self, path: &Path) -> bool {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.server.process_id())).expect("a process");
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// In the place of a file a pipe, whose text ends when what is given here goes: until then who reads waits.
fn make_pipe(path: &Path) -> File {
    std::fs::remove_file(path).expect("it was there");
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    File::options().read(true).write(true).open(path).expect("a pipe")
}

#[test]
fn no_shard_waits_for_a_file() {
    for shards in [1, 3] {
        let served = Served::on(shards);
        let mut others: Vec<Client> = (0..2 * shards).map(|_| served.server.client()).collect();
        for (command, path, text) in
            [("ACL LOAD", &served.acl, "user bob on nopass +@all ~*\n"), ("CONFIG REWRITE", &served.conf, "# other\n")]
        {
            let mut pipe = make_pipe(path);
            let mut admin = served.server.client();
            // What stands behind waits for it, and runs.
            admin.send(&[encode(&words(command)), encode(&["PING"])].concat());
            for round in 0..20 {
                for client in &mut others {
                    assert_eq!(client.ask(&format!("SET k{round} {round}")), "+OK", "{command}");
                }
            }
            pipe.write_all(text.as_bytes()).expect("the server reads it");
            drop(pipe);
            assert_eq!(admin.reply().to_string(), "+OK", "{command}");
            assert_eq!(admin.reply().to_string(), "+PONG", "{command}");
            assert_eq!(admin.ask("ACL USERS"), "[\"bob\" \"default\"]", "{command}");
        }
        let conf = std::fs::read_to_string(&served.conf).expect("a file");
        assert!(conf.starts_with("# other\n") && conf.contains("aclfile "), "{conf}");
    }
}

#[test]
fn many_save_at_once_and_the_last_has_all() {
    let served = Served::on(5);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let savers: Vec<_> = (0..10)
            .map(|number| {
                let mut client = served.server.client();
                scope.spawn(move || {
                    for round in 0..15 {
                        // In one pipeline: the file has what was said before.
                        let lines = [format!("ACL SETUSER u{number}-{round} on ~a{round}"), "ACL SAVE".to_owned()];
                        client.send(&lines.map(|line| encode(&words(&line))).concat());
                        assert_eq!(client.reply().to_string(), "+OK");
                        assert_eq!(client.reply().to_string(), "+OK");
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&served.acl).expect("it is always there");
                assert!(text.ends_with('\n') && text.contains("user default on "), "{text}");
                assert!(text.lines().all(|line| line.starts_with("user ")), "{text}");
            }
        });
        savers.into_iter().for_each(|saver| saver.join().expect("all was saved"));
        is_over.store(true, Ordering::Relaxed);
    });
    let text = std::fs::read_to_string(&served.acl).expect("a file");
    assert_eq!(text.lines().count(), 2 + 10 * 15);
    let mut admin = served.server.client();
    assert_eq!(admin.ask("ACL LOAD"), "+OK");
    assert_eq!(admin.call("ACL USERS").elements().len(), 2 + 10 * 15);
    let left = std::fs::read_dir(&served.directory).expect("a directory").count();
    assert_eq!(left, 2, "nothing is left beside the files");
}

#[test]
fn in_a_transaction_it_is_done_at_its_place() {
    for shards in [1, 3] {
        let served = Served::on(shards);
        let mut admin = served.server.client();
        for line in ["MULTI", "ACL SETUSER carl on", "SET a 1", "ACL SAVE", "CONFIG REWRITE", "ACL LOAD"] {
            assert!(!admin.call(line).is_error(), "{line}");
        }
        assert_eq!(admin.ask("EXEC"), "[+OK +OK +OK +OK +OK]");
        assert!(admin.ask("ACL USERS").contains("carl"));
        assert_eq!(admin.ask("ACL WHOAMI"), "\"default\"");
    }
}

#[test]
fn a_transaction_that_waits_for_a_file_holds_its_keys_and_no_shard() {
    for shards in [1, 3] {
        for first in ["SET mine 1", "EVAL \"return redis.call('SET', 'mine', 1)\" 0"] {
            let served = Served::on(shards);
            let (mut admin, mut asks) = (served.server.client(), served.server.client());
            let mut others: Vec<Client> = (0..2 * shards).map(|_| served.server.client()).collect();
            let mut pipe = make_pipe(&served.acl);
            for line in ["MULTI", first, "ACL LOAD", "APPEND mine 2", "ACL USERS"] {
                assert!(!admin.call(line).is_error(), "{line}");
            }
            admin.send(&encode(&["EXEC"]));
            support::eventually("it waits for the file", || served.has_open(&served.acl));
            // Who asks for its keys waits with it; a script may touch any.
            let is_about_any_key = first.starts_with("EVAL");
            asks.send(&encode(&["GET", "mine"]));
            for round in 0..20 {
                for client in &mut others {
                    assert_eq!(client.ask("PING"), "+PONG", "{first}");
                    assert!(is_about_any_key || client.ask(&format!("SET k{round} {round}")) == "+OK");
                }
            }
            pipe.write_all(b"user bob on nopass +@all ~*\n").expect("the server reads it");
            drop(pipe);
            assert_eq!(admin.reply().to_string(), "[+OK +OK :2 [\"bob\" \"default\"]]", "{first}");
            assert_eq!(asks.reply().to_string(), "\"12\"");
            assert_eq!(admin.ask("DBSIZE"), if is_about_any_key { ":1" } else { ":21" });
        }
    }
}

#[test]
fn modes_stay() {
    let served = Served::on(2);
    let mut admin = served.server.client();
    for (command, path) in [("ACL SAVE", &served.acl), ("CONFIG REWRITE", &served.conf)] {
        for mode in [0o600, 0o640, 0o666] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is there");
            assert_eq!(admin.ask(command), "+OK");
            assert_eq!(std::fs::metadata(path).expect("a file").permissions().mode() & 0o7777, mode, "{command}");
        }
        std::fs::remove_file(path).expect("it was there");
        assert_eq!(admin.ask(command), "+OK", "one that is gone is made");
        assert!(path.exists());
    }
}

/// Texts that are no users, and what is said of each, behind the file's name.
const WRONG: &[(&str, &str)] = &[
    ("ann on\n", ":1 should start with user keyword followed by the username. "),
    ("\n\nuser\n", ":3 should start with user keyword followed by the username. "),
    ("user ann on\n# a remark\n", ":2 should start with user keyword followed by the username. "),
    ("user ann on ~a (+get\n", ":1: Unmatched parenthesis in selector definition."),
    (
        "user a on\nuser b on +nope\n",
        ":2: Error in applying operation '+nope': Unknown command or category name in ACL. ",
    ),
    ("user a on\n\nuser b on #12\n", ":3: "),
    ("user a on\nuser b on nonsense\n", ":2: Syntax error. "),
    ("user a on\nuser b on %Q~a\n", ":2: Syntax error. "),
    (
        "user a\x01b on ~\x02 \u{fffd}\n*3\r\n$3\r\nGET\n",
        ":2 should start with user keyword followed by the username. ",
    ),
];

#[test]
fn what_is_wrong_is_named_with_its_line_and_changes_nothing() {
    for shards in [1, 3] {
        let served = Served::on(shards);
        let mut admin = served.server.client();
        let mut users: Vec<Client> = (0..2 * shards).map(|_| served.server.client()).collect();
        users.iter_mut().for_each(|client| assert_eq!(client.ask("AUTH ann x"), "+OK"));
        let before = admin.ask("ACL LIST");
        let mut stays = |admin: &mut Client, what: &str| {
            assert_eq!(admin.ask("ACL LIST"), before, "{what}");
            users.iter_mut().for_each(|client| assert_eq!(client.ask("ACL WHOAMI"), "\"ann\"", "{what}"));
        };
        let name = served.acl.display().to_string();
        for (text, says) in WRONG {
            std::fs::write(&served.acl, text).expect("a file");
            let error = admin.ask("ACL LOAD");
            assert!(error.starts_with("-ERR ") && error.contains(&format!("{name}{says}")), "{text:?}: {error}");
            assert!(error.ends_with("no change to the previously active ACL rules was performed"), "{error}");
            stays(&mut admin, text);
        }
        // A kilobyte of each byte.
        let garbage: Vec<u8> = (0..=255_u8).flat_map(|byte| [byte; 1024]).collect();
        std::fs::write(&served.acl, garbage).expect("a file");
        assert!(admin.ask("ACL LOAD").contains("should start with user keyword"));
        stays(&mut admin, "garbage");
        std::fs::remove_file(&served.acl).expect("it was there");
        let gone = format!("-ERR Error loading ACLs, opening file '{name}': No such file or directory");
        assert_eq!(admin.ask("ACL LOAD"), gone);
        stays(&mut admin, "no file");
        // Neither can it be written where a directory has its name.
        std::fs::create_dir(&served.acl).expect("a directory");
        let cannot =
            "-ERR There was an error trying to save the ACLs. Please check the server logs for more information";
        assert_eq!(admin.ask("ACL SAVE"), cannot);
        assert!(served.server.log().contains(&format!("Writing the ACL file {name} for ACL SAVE: ")));
        let directory = format!("-ERR Error loading ACLs, opening file '{name}': Is a directory");
        assert_eq!(admin.ask("ACL LOAD"), directory);
        stays(&mut admin, "a directory");
        std::fs::remove_file(&served.conf).expect("it was there");
        std::fs::create_dir(&served.conf).expect("a directory");
        assert_eq!(admin.ask("CONFIG REWRITE"), "-ERR Rewriting config file: Is a directory");
        assert_eq!(admin.ask("MULTI"), "+OK");
        for line in ["ACL SAVE", "ACL LOAD", "CONFIG REWRITE"] {
            assert_eq!(admin.ask(line), "+QUEUED");
        }
        let rewriting = "-ERR Rewriting config file: Is a directory";
        assert_eq!(admin.ask("EXEC"), format!("[{cannot} {directory} {rewriting}]"));
        stays(&mut admin, "in a transaction");
        assert_eq!(std::fs::read_dir(&served.directory).expect("a directory").count(), 2, "nothing lies beside them");
    }
}
