//! Users over shards: a change is felt by connections everywhere when it is answered, and files of users.

mod support;
mod access {
    mod attempts;
    mod files;
}

use std::process::Command;
use support::server::{TORC, new_directory, run_to_end};
use support::{Client, Server, key_of_each_shard};

const SHARDS: [usize; 3] = [1, 2, 5];
const NO_COMMAND: &str = "-NOPERM this user has no permissions to run the 'get' command";

/// So many connections, which are on all shards, of a user.
fn connections(server: &Server, count: usize, user: &str) -> Vec<Client> {
    let mut all: Vec<Client> = (0..count).map(|_| server.client()).collect();
    for client in &mut all {
        assert_eq!(client.ask(&format!("AUTH {user} x")), "+OK");
    }
    all
}

#[test]
fn connections_on_all_shards_feel_a_change_when_it_is_answered() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut admin = server.client();
        assert_eq!(admin.ask("ACL SETUSER u on nopass +@all ~* &*"), "+OK");
        let mut clients = connections(&server, 2 * shards, "u");
        for round in 0..20 {
            assert_eq!(admin.ask("ACL SETUSER u -get"), "+OK");
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("GET a"), NO_COMMAND, "{round}"));
            assert_eq!(admin.ask("ACL SETUSER u +get"), "+OK");
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("GET a"), "nil", "{round}"));
        }
        assert_eq!(admin.ask("ACL DELUSER u"), ":1");
        // One who is made anew is another: nobody is him.
        assert_eq!(admin.ask("ACL SETUSER u on nopass +@all ~* &*"), "+OK");
        clients.iter_mut().for_each(|client| assert!(client.is_closed_by_server()));
        assert_eq!(admin.ask("ACL WHOAMI"), "\"default\"");
    }
}

#[test]
fn a_connection_that_moves_takes_its_rules_with_it() {
    let server = Server::torc(2, &[]);
    let mut admin = server.client();
    assert_eq!(admin.ask("ACL SETUSER u on nopass +@all ~* &*"), "+OK");
    let keys = key_of_each_shard(&mut admin, 2);
    let mut client = connections(&server, 1, "u").remove(0);
    for round in 0..6 {
        // More commands than a window, all to one shard: the connection follows.
        let key = &keys[round % 2];
        for _ in 0..1200 {
            assert!(!client.call(&format!("TYPE {key}")).is_error());
        }
        assert_eq!(admin.ask("ACL SETUSER u -get"), "+OK");
        assert_eq!(client.ask(&format!("GET {key}")), NO_COMMAND);
        assert_eq!(admin.ask("ACL SETUSER u +get"), "+OK");
    }
}

#[test]
fn scripts_ask_for_their_client_wherever_they_run() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut admin = server.client();
        let keys = key_of_each_shard(&mut admin, shards);
        for key in &keys {
            admin.call(&format!("SET {key} 1"));
        }
        assert_eq!(admin.ask("ACL SETUSER u on nopass +@all -set ~* &*"), "+OK");
        let mut client = connections(&server, 1, "u").remove(0);
        let denied = "-ERR The user executing the script can't run this command or subcommand";
        admin.call("ACL LOG RESET");
        for key in &keys {
            let script = "return redis.pcall('set',KEYS[1],2)";
            assert_eq!(client.ask(&format!("EVAL \"{script}\" 1 {key}")), denied);
            // Undeclared: begun again where it turns out to belong.
            assert_eq!(client.ask(&format!("EVAL \"return redis.pcall('set','{key}',2)\" 0")), denied);
            let both = format!("redis.call('get','{key}'); return redis.pcall('set','{key}',2)");
            assert_eq!(client.ask(&format!("EVAL \"{both}\" 0")), denied);
            assert_eq!(client.ask(&format!("EVAL \"return redis.call('get',KEYS[1])\" 1 {key}")), "\"1\"");
        }
        // What was denied far from the connection is told with its client.
        let wanted = (3 * keys.len()).to_string();
        support::eventually("all denials are told", || {
            let log = admin.call("ACL LOG").to_string();
            log.matches("\"lua\"").count() == 1
                && log.contains(&format!("\"count\" :{wanted} "))
                && log.contains("cmd=eval user=u")
        });
        client.call("MULTI");
        keys.iter().for_each(|key| drop(client.call(&format!("EVAL \"return redis.pcall('set',KEYS[1],2)\" 1 {key}"))));
        let reply = client.call("EXEC");
        assert!(reply.elements().iter().all(|reply| reply.to_string() == denied), "{reply}");
    }
}

#[test]
fn who_waits_for_what_is_forbidden_is_told_so() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut admin = server.client();
        assert_eq!(admin.ask("ACL SETUSER u on nopass +@all ~*"), "+OK");
        let keys = key_of_each_shard(&mut admin, shards);
        let mut waiting = connections(&server, keys.len(), "u");
        for (client, key) in waiting.iter_mut().zip(&keys) {
            client.send(&support::encode(&["BLPOP", &format!("{key}list"), "0"]));
        }
        support::eventually("all wait", || admin.info_number("blocked_clients") == keys.len() as u64);
        assert_eq!(admin.ask("ACL SETUSER u resetkeys"), "+OK");
        for client in &mut waiting {
            assert_eq!(client.reply().to_string(), "-NOPERM No permissions to access a key");
            assert_eq!(client.ask("PING"), "+PONG");
        }
        assert_eq!(admin.info_number("acl_access_denied_key"), keys.len() as u64);
    }
}

#[test]
fn databases_that_are_allowed() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut admin = server.client();
        assert_eq!(admin.ask("ACL SETUSER u on nopass +@all ~* db=1,2"), "+OK");
        let mut client = connections(&server, 1, "u").remove(0);
        let denied = "-NOPERM No permissions to access database";
        for (line, reply) in [
            ("GET a", denied),
            ("SELECT 3", denied),
            ("PING", "+PONG"),
            ("SELECT 1", "+OK"),
            ("SET a 1", "+OK"),
            ("MOVE a 0", denied),
            ("COPY a b DB 3", denied),
            ("COPY a b DB 2", ":1"),
            ("FLUSHALL", denied),
            (
                "EVAL \"redis.call('select',0); return redis.pcall('get','a')\" 0",
                "-ERR The user executing the script can't access the database script: *",
            ),
        ] {
            let found = client.ask(line);
            let fits = reply.strip_suffix('*').map_or(found == reply, |start| found.starts_with(start));
            assert!(fits, "{line}: {found}");
        }
        assert_eq!(admin.ask("ACL DRYRUN u SELECT 5"), "\"This user has no permissions to access database 5\"");
    }
}

#[test]
fn a_file_of_users_is_read_whole_or_not_at_all() {
    let directory = new_directory();
    let path = directory.join("users.acl");
    let file = path.to_str().expect("text");
    std::fs::write(&path, "user ann on nopass +@all ~*\n\nuser default on nopass +@all ~* &*\n").expect("a file");
    let server = Server::torc(2, &["--aclfile", file]);
    let mut admin = server.client();
    let mut ann = connections(&server, 1, "ann").remove(0);
    std::fs::write(&path, "user bob on +nope\nuser bob on\n").expect("a file");
    let error = admin.ask("ACL LOAD");
    let expected = format!(
        "-ERR {file}:1: Error in applying operation '+nope': Unknown command or category name in ACL. WARNING: Duplicate user \
         'bob' found on line 2. WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(error, expected);
    assert_eq!(admin.ask("ACL USERS"), "[\"ann\" \"default\"]");
    assert_eq!(ann.ask("PING"), "+PONG");
    // Who is there before and after stays connected, by the new rules.
    std::fs::write(&path, "user ann on nopass +@all -get ~*\nuser bob on nopass +ping").expect("a file");
    let mut other = server.client();
    assert_eq!(admin.ask("ACL LOAD"), "+OK");
    assert_eq!(ann.ask("GET a"), NO_COMMAND);
    assert_eq!(other.ask("PING"), "+PONG");
    assert_eq!(admin.ask("ACL SETUSER carl on >pw (+get ~x)"), "+OK");
    assert_eq!(admin.ask("ACL SAVE"), "+OK");
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(!text.contains("pw") && text.lines().count() == 4, "{text}");
    assert_eq!(admin.ask("ACL LOAD"), "+OK");
    let list = admin.ask("ACL LIST");
    assert!(
        list.contains("user carl on sanitize-payload #") && list.contains("(~x resetchannels -@all +get)"),
        "{list}"
    );
    std::fs::write(&path, "user ann on nopass\n").expect("a file");
    assert_eq!(admin.ask("ACL LOAD"), "+OK");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn who_is_not_in_the_new_file_is_closed() {
    let directory = new_directory();
    let path = directory.join("users.acl");
    std::fs::write(&path, "user ann on nopass +@all ~*\nuser bob on nopass +@all ~*").expect("a file");
    let server = Server::torc(2, &["--aclfile", path.to_str().expect("text")]);
    let mut admin = server.client();
    let mut clients = connections(&server, 4, "ann");
    let mut others = connections(&server, 4, "bob");
    std::fs::write(&path, "user bob on nopass +@all ~*").expect("a file");
    assert_eq!(admin.ask("ACL LOAD"), "+OK");
    clients.iter_mut().for_each(|client| assert!(client.is_closed_by_server()));
    others.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "+PONG"));
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn a_start_with_wrong_users_ends_and_says_where() {
    let directory = new_directory();
    let (acl, conf) = (directory.join("users.acl"), directory.join("torc.conf"));
    std::fs::write(&acl, "user ann on\nuser bob on ~a (+get\n").expect("a file");
    std::fs::write(&conf, "user ann on\n").expect("a file");
    let acl = acl.to_str().expect("text");
    let fails = |arguments: &[&str]| {
        let port = support::server::free_port().to_string();
        let (code, text) =
            run_to_end(Command::new(TORC).args(arguments).args(["--port", &port, "--bind", "127.0.0.1"]));
        assert_eq!(code, Some(1), "{text}");
        text
    };
    assert!(fails(&["--aclfile", acl]).contains(&format!("{acl}:2: Unmatched parenthesis in selector definition.")));
    assert!(fails(&["--aclfile", "/nonexistent/users.acl"]).contains("No such file or directory"));
    let conf = conf.to_str().expect("text");
    assert!(fails(&[conf, "--aclfile", acl]).contains("but not both"));
    assert!(fails(&["--user", "ann", "on", "+nope"]).contains("Error in user declaration '+nope'"));
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn passwords_are_not_shown() {
    let server = Server::torc(2, &["--loglevel", "debug"]);
    let mut admin = server.client();
    let mut monitor = server.client();
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    for line in [
        "ACL SETUSER u on >hunter2 +@all ~*",
        "AUTH u hunter2",
        "AUTH default hunter2",
        "HELLO 2 AUTH u hunter2",
        "CONFIG SET masterauth hunter2",
        "MIGRATE 127.0.0.1 1 k 0 1 AUTH hunter2",
        "MIGRATE 127.0.0.1 1 k 0 1 AUTH2 u hunter2",
        "ACL LOG",
        "ACL LIST",
    ] {
        let reply = admin.ask(line);
        assert!(!reply.contains("hunter2"), "{line}: {reply}");
    }
    admin.call("ECHO end");
    let mut seen = String::new();
    while !seen.contains("\"end\"") {
        seen += &monitor.reply().text();
    }
    assert!(seen.contains("(redacted)") && !seen.contains("hunter2"), "{seen}");
    assert!(!server.log().contains("hunter2"));
}
