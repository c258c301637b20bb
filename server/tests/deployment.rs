//! What operators install: the unit of systemd, the script that installs, the check of health, the files of containers; and the
//! everyday backup.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::server::{Server, TORC, new_directory};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a program says, and whether it ended well; none, with a printed reason, where the machine has it not.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("not tested: {program}: {error}");
            None
        }
    }
}

#[test]
fn systemd_understands_the_unit_and_finds_it_little_exposed() {
    let directory = new_directory();
    let unit = directory.join("torc.service");
    let text = fs::read_to_string(file("systemd/torc.service")).expect("the unit");
    fs::write(&unit, text.replace("/usr/bin/torc-server", TORC)).expect("a copy");
    let unit = unit.to_str().expect("text");
    if let Some(output) = run("systemd-analyze", &["verify", unit]) {
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }
    // Exposure of 2.0 at the most, of 10: by systemd 252 it has 1.2, and 2.9 with all capabilities.
    if let Some(output) = run("systemd-analyze", &["security", "--no-pager", "--offline=yes", "--threshold=20", unit]) {
        assert!(output.status.success(), "{}", said(&output));
    }
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        if let Some(output) = run("systemd-analyze", &["syscall-filter", "@aio"]) {
            assert!(said(&output).contains(call), "the unit counts on @aio for {call}");
        }
    }
    assert!(text.contains("Type=notify") && text.contains("WatchdogSec=") && text.contains("Restart=on-failure"));
    fs::remove_dir_all(directory).expect("removed");
}

/// The manifest, with the files of the Debian package.
const PACKAGED: &str = include_str!("../Cargo.toml");

/// Where a file of the package goes, by its line there; what is packaged is there, but for what is built.
fn installed_as(line: &str) -> Option<String> {
    let mut words = line.trim().strip_prefix("[\"")?.split("\", \"");
    let (from, to) = (words.next()?, words.next()?);
    assert!(from.starts_with("target/") || file(from).exists(), "{from}");
    let name = Path::new(from).file_name()?.to_str()?;
    Some(if to.ends_with('/') { format!("{to}{name}") } else { to.to_owned() })
}

#[test]
fn the_script_installs_keeps_what_operators_wrote_and_removes_only_its_own() {
    let (root, built) = (new_directory(), new_directory());
    for program in ["torc-server", "torc-check"] {
        fs::copy(TORC, built.join(program)).expect("a program");
    }
    let (root_text, built_text) = (root.to_str().expect("text"), built.to_str().expect("text"));
    let script = file("systemd/install");
    let install = |arguments: &[&str]| {
        let output = Command::new(&script).args(["--root", root_text]).args(arguments).output().expect("bash is there");
        (output.status.success(), said(&output))
    };
    let (is_good, text) = install(&["--from", built_text]);
    assert!(is_good, "{text}");
    for installed in PACKAGED.lines().filter_map(installed_as).filter(|path| !path.contains("/doc/")) {
        assert!(root.join(&installed).exists(), "{installed} of the Debian package is not installed by the script");
    }
    let configuration = root.join("etc/torc/torc.conf");
    fs::write(&configuration, "maxmemory 1gb\n").expect("an operator's own");
    assert!(install(&["--from", built_text]).0);
    assert_eq!(fs::read_to_string(&configuration).expect("there"), "maxmemory 1gb\n");
    assert!(install(&["--remove"]).0);
    assert!(!root.join("usr/bin/torc-server").exists() && configuration.exists());
    let (is_good, text) = install(&["--from", "/nowhere"]);
    assert!(!is_good && text.contains("there is no /nowhere/torc-server"), "{text}");
    assert!(!install(&["--unknown"]).0);
    for directory in [root, built] {
        fs::remove_dir_all(directory).expect("removed");
    }
}

#[test]
fn the_check_of_health_takes_a_password_that_is_asked_for_as_health() {
    let health =
        |port: u16| Command::new(file("container/health")).arg(port.to_string()).output().expect("bash is there");
    for arguments in [&[][..], &["--requirepass", "secret"]] {
        let server = Server::torc(2, arguments);
        let output = health(server.port);
        assert!(output.status.success(), "{}", said(&output));
        let port = server.port;
        drop(server);
        assert!(!health(port).status.success());
    }
}

#[test]
fn containers_may_do_what_the_server_does_and_not_much_else() {
    let text = fs::read_to_string(file("container/seccomp.json")).expect("the profile");
    let names: Vec<&str> = text.split('"').collect();
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register", "pwritev2", "membarrier", "rt_sigaction"] {
        assert!(names.contains(&call), "{call}");
    }
    for call in ["ptrace", "mount", "bpf", "keyctl", "unshare", "setns", "reboot", "init_module", "perf_event_open"] {
        assert!(!names.contains(&call), "{call}");
    }
    if let Some(output) = run("python3", &["-m", "json.tool", file("container/seccomp.json").to_str().expect("text")]) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Every file of a directory to another, as `cp -r` does it: one after the other, while they change.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn a_backup_by_the_everyday_script_under_load_has_all_that_was_there_before_it() {
    for shards in [1, 2, 5] {
        let (home, backup) = (new_directory(), new_directory());
        let options = ["--dir", home.to_str().expect("text"), "--appendonly", "yes", "--appendfsync", "everysec"];
        let server = Server::torc(shards, &options);
        let mut client = server.client();
        for number in 0..500 {
            assert_eq!(client.ask(&format!("SET before:{number} {number}")), "+OK");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (mut client, stop) = (server.client(), stop.clone());
            std::thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.ask(&format!("MSET during:{number} x other:{number} x"));
                    number += 1;
                }
            })
        };
        // The script of the README: no rewrite while the log is copied; a snapshot, waited for.
        assert_eq!(client.ask("CONFIG SET auto-aof-rewrite-percentage 0"), "+OK");
        support::eventually("no rewrite is under way", || client.info_number("aof_rewrite_in_progress") == 0);
        let before = client.ask("LASTSAVE");
        support::eventually("a second has passed, and the snapshot is there", || {
            client.ask("BGSAVE");
            support::eventually("it is over", || client.info_number("rdb_bgsave_in_progress") == 0);
            client.ask("LASTSAVE") != before
        });
        fs::copy(home.join("dump.rdb"), backup.join("dump.rdb")).expect("the snapshot");
        copy(&home.join("appendonlydir"), &backup.join("appendonlydir"));
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("it wrote");
        drop(server);
        for append_only in ["yes", "no"] {
            let options = ["--dir", backup.to_str().expect("text"), "--appendonly", append_only];
            let restored = Server::torc(shards % 3 + 1, &options);
            let mut client = restored.client();
            support::eventually("it is loaded", || client.ask("PING") == "+PONG");
            for number in [0, 250, 499] {
                assert_eq!(
                    client.ask(&format!("GET before:{number}")),
                    format!("\"{number}\""),
                    "appendonly {append_only}"
                );
            }
            let keys = |client: &mut support::client::Client, pattern: &str| {
                client.ask(&format!("EVAL \"return #redis.call('keys', ARGV[1])\" 0 {pattern}"))
            };
            assert_eq!(keys(&mut client, "during:*"), keys(&mut client, "other:*"), "no half of an MSET");
        }
        for directory in [home, backup] {
            let _ = fs::remove_dir_all(directory);
        }
    }
}
