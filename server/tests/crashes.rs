//! A process that crashes: what its log says, and how it ends.

mod support;

use std::os::unix::process::ExitStatusExt;
use support::server::Server;

/// Lets a server crash and gives the signal that ended it and its log.
fn crash(shards: usize, command: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut server = Server::torc(shards, &[&["--enable-debug-command", "local"], arguments].concat());
    let mut client = server.client();
    client.send(b"SET key:1 secret-value\r\n");
    client.reply();
    client.send(format!("{command}\r\n").as_bytes());
    assert!(client.receive().is_none(), "nothing answers");
    let status = server.wait();
    (status.signal(), server.log())
}

#[test]
fn a_crash_leaves_a_report_that_names_shard_command_and_functions() {
    for shards in [1, 2, 5] {
        for (command, signal, said) in [
            ("DEBUG SEGFAULT", libc::SIGSEGV, "crashed by signal: 11 (SIGSEGV)"),
            ("DEBUG PANIC", libc::SIGABRT, "DEBUG PANIC, as asked for"),
        ] {
            let (ended_by, log) = crash(shards, command, &[]);
            assert_eq!(ended_by, Some(signal), "{log}");
            let parts =
                ["BUG REPORT START", "BUG REPORT END", "Thread: shard-", "Command: debug", "torc_server::", said];
            for part in parts {
                assert!(log.contains(part), "{command}, {shards} shards: no {part}: {log}");
            }
            assert!(!log.contains("secret-value"), "{log}");
        }
    }
}

#[test]
fn reports_can_be_switched_off_and_kept_free_of_what_panics_quote() {
    let (ended_by, log) = crash(2, "DEBUG SEGFAULT", &["--crash-log-enabled", "no"]);
    assert_eq!(ended_by, Some(libc::SIGSEGV), "{log}");
    assert!(!log.contains("BUG REPORT"), "{log}");
    let (ended_by, log) = crash(2, "DEBUG PANIC", &["--hide-user-data-from-log", "yes"]);
    assert_eq!(ended_by, Some(libc::SIGABRT), "{log}");
    assert!(log.contains("Panic at") && log.contains("BUG REPORT START") && !log.contains("as asked for"), "{log}");
}
