//! While a shard does not serve, the admin port does, and says which one, for how long, on what.

use super::http::{Caller, get};
use super::{json, server};
use crate::support::{Server, eventually, key_of_each_shard};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The bar for an answer beside a shard that hangs.
const SOON: Duration = Duration::from_millis(50);
const ENDLESS: &str = "EVAL \"while true do end\" 1";
/// As SHA1 of the script's text.
const SHA: &str = "694a5fe1ddb97a4c6a1bf299d9537c7d3d0f84e7";

/// All pages are told soon: a look that a busy machine held up is repeated, a wait for the shard would be one each time.
fn answers_soon(admin: u16) {
    for path in ["/health", "/ready", "/metrics", "/api/status"] {
        eventually(&format!("{path} within {SOON:?}"), || {
            let began = Instant::now();
            get(admin, path);
            began.elapsed() < SOON
        });
    }
}

fn hang_of(admin: u16) -> Option<Value> {
    let ready = get(admin, "/ready");
    let body = json(&ready.body);
    assert_eq!(ready.status, if body["ready"] == true { 200 } else { 503 }, "{body}");
    body["hangs"].get(0).cloned()
}

fn metric(admin: u16, name: &str) -> f64 {
    let page = get(admin, "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().expect("a number")
}

#[test]
fn a_shard_in_an_endless_script() {
    for shards in [1, 2, 5] {
        let (server, admin) = server(shards, &["--busy-reply-threshold", "100"]);
        let keys = key_of_each_shard(&mut server.client(), shards);
        let held = shards - 1;
        // A script that only reads ends with its client.
        let mut client = server.client();
        client.send(format!("{ENDLESS} {}\r\n", keys[held]).as_bytes());
        eventually("it is not ready", || hang_of(admin).is_some());
        let hang = hang_of(admin).expect("it hangs");
        assert_eq!(
            (hang["shard"].as_u64(), hang["state"].as_str()),
            (Some(held as u64), Some("runs a script")),
            "{hang}"
        );
        assert_eq!((hang["command"].as_str(), hang["script"].as_str()), (Some("eval"), Some(SHA)), "{hang}");
        assert!(hang["for_ms"].as_u64().expect("a number") >= 1000, "{hang}");
        answers_soon(admin);
        assert!(metric(admin, &format!("torc_shard_hanging_seconds{{shard=\"{held}\"}}")) >= 1.0);
        for other in 0..held {
            assert!(metric(admin, &format!("torc_shard_hanging_seconds{{shard=\"{other}\"}}")).abs() < f64::EPSILON);
        }
        assert_eq!(json(&get(admin, "/api/status").body)["shards"][held]["hang"]["command"], "eval");
        // Others are served.
        if shards > 1 {
            // A new connection may be the held shard's, which says that it is busy.
            eventually("others serve", || server.client().ask(&format!("GET {}", keys[0])) == "nil");
        }
        eventually("it is killed", || server.client().ask("SCRIPT KILL") == "+OK");
        eventually("it is ready", || get(admin, "/ready").status == 200);
    }
}

#[test]
fn shards_that_do_not_turn() {
    for shards in [1, 2, 5] {
        let (server, admin) = server(shards, &["--enable-debug-command", "yes"]);
        let mut client = server.client();
        assert_eq!(client.ask("SET key value"), "+OK");
        assert!(metric(admin, "redis_db_keys{db=\"db0\"}") > 0.0);
        assert!(metric(admin, "torc_shard_stale{shard=\"0\"}").abs() < f64::EPSILON);
        // It ends with the server.
        client.send(b"DEBUG SLEEP 100000\r\n");
        eventually("it is not ready", || hang_of(admin).is_some());
        let hang = hang_of(admin).expect("it hangs");
        assert_eq!(
            (hang["state"].as_str(), hang["command"].as_str()),
            (Some("does not turn"), Some("debug")),
            "{hang}"
        );
        answers_soon(admin);
        // What was known is told, as what it is.
        for shard in 0..shards {
            assert!(metric(admin, &format!("torc_shard_stale{{shard=\"{shard}\"}}")) > 0.0);
            assert!(metric(admin, &format!("torc_shard_heartbeat_age_seconds{{shard=\"{shard}\"}}")) >= 1.0);
        }
        assert!(metric(admin, "redis_db_keys{db=\"db0\"}") > 0.0);
        eventually("the log has it", || server.log().contains("Shard 0 has not turned for 2"));
        assert!(server.log().contains("a long debug"), "{}", server.log());
    }
}

#[test]
fn the_longest_turn_is_told_and_forgotten() {
    let (server, admin) = server(2, &["--enable-debug-command", "yes"]);
    let mut client = server.client();
    assert_eq!(client.ask("DEBUG POPULATE 300000"), "+OK");
    let longest = |shard: usize| metric(admin, &format!("torc_shard_longest_turn_seconds{{shard=\"{shard}\"}}"));
    let populated = [longest(0), longest(1)];
    assert!(populated.iter().all(|seconds| *seconds > 0.001), "{populated:?}");
    eventually("a time without a long turn", || {
        assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
        longest(1) < populated[1]
    });
}

#[test]
fn idle_shards_are_ready_however_seldom_they_turn() {
    let (_server, admin) = server(5, &["--hz", "1"]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(get(admin, "/ready").status, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_that_loads_is_not_ready() {
    let first = Server::torc(2, &["--enable-debug-command", "yes"]);
    let mut client = first.client();
    assert_eq!(client.ask("DEBUG POPULATE 20000"), "+OK");
    assert_eq!(client.ask("SAVE"), "+OK");
    let directory = first.kill();
    let (port, admin) = (crate::support::server::free_port().to_string(), crate::support::server::free_port());
    let mut start = std::process::Command::new(crate::support::server::TORC);
    start.args(["--port", &port, "--admin-port", &admin.to_string(), "--shards", "2", "--key-load-delay", "10000"]);
    start.current_dir(&directory).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = start.spawn().expect("it starts");
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", admin)).is_ok());
    let mut caller = Caller::new(admin);
    caller.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let ready = caller.answer(false).expect("an answer");
    let health = get(admin, "/health").status;
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    std::fs::remove_dir_all(directory).expect("a directory");
    let body = json(&ready.body);
    assert_eq!((ready.status, health, body["reason"].as_str()), (503, 200, Some("loading")), "{body}");
    assert!(body["loading"]["bytes"].as_u64() > Some(0), "{body}");
}
