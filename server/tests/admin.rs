//! The admin port: what it answers to whom, also while a shard hangs, and to what is no HTTP; systemd's watchdog; what
//! Prometheus and its exporters make of the server; the console in a browser.

#[path = "admin/console.rs"]
mod console;
#[path = "admin/hangs.rs"]
mod hangs;
#[path = "admin/hostile.rs"]
mod hostile;
#[path = "admin/http.rs"]
mod http;
#[path = "admin/metrics.rs"]
mod metrics;
mod support;
#[path = "admin/watchdog.rs"]
mod watchdog;

use http::{Caller, get};
use serde_json::Value;
use std::process::Command;
use support::Server;
use support::server::{TORC, free_port, run_to_end};

/// A server with an admin port, and that.
fn server(shards: usize, arguments: &[&str]) -> (Server, u16) {
    let admin = free_port();
    let port = admin.to_string();
    let arguments: Vec<&str> = ["--admin-port", &port].into_iter().chain(arguments.iter().copied()).collect();
    (Server::torc(shards, &arguments), admin)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn slow_commands_and_hot_keys_are_told_unless_user_data_are_hidden() {
    for shards in [1, 4] {
        let (server, admin) = server(shards, &["--slowlog-log-slower-than", "0", "--slowlog-max-len", "50"]);
        let mut client = server.client();
        let status = || json(&get(admin, "/api/status").body);
        assert_eq!(status()["hot_keys"], Value::Null);
        assert_eq!(client.ask("CLIENT SETNAME teller"), "+OK");
        assert_eq!(client.ask("HOTKEYS START METRICS 2 CPU NET COUNT 10"), "+OK");
        let large = "x".repeat(2000);
        for number in 0..100 {
            assert_eq!(client.ask(&format!("SET cold:{number} 1")), "+OK");
            assert_eq!(client.ask(&format!("SET hot:{} {large}", number % 3)), "+OK");
        }
        assert_eq!(client.ask("AUTH default secret"), "+OK");
        let told = status();
        let (log, hot) = (&told["slow_log"], &told["hot_keys"]);
        assert_eq!((&log["threshold_usec"], &log["length"]), (&Value::from(0), &Value::from(50)), "{log}");
        let latest = log["latest"].as_array().expect("entries");
        assert_eq!(latest.len(), 16);
        let ids: Vec<u64> = latest.iter().map(|entry| entry["id"].as_u64().expect("a number")).collect();
        assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
        assert_eq!(latest[0]["command"], "AUTH (redacted) (redacted)");
        assert!(latest[0]["usec"].is_u64() && latest[0]["at_s"].as_i64() > Some(1_600_000_000), "{}", latest[0]);
        assert!(latest[0]["client"].as_str().expect("text").starts_with("127.0.0.1:"));
        assert_eq!(latest[0]["client_name"], "teller");
        let set = latest[1]["command"].as_str().expect("text");
        assert!(set.starts_with("SET hot:") && set.chars().count() < 200, "{set}");
        let keys = hot["keys"].as_array().expect("keys");
        assert!(hot["is_active"] == true && keys.len() == 16, "{hot}");
        let bytes = |key: &str| keys.iter().find(|told| told["key"] == key).and_then(|told| told["bytes"].as_u64());
        for number in 0..3 {
            assert!(bytes(&format!("hot:{number}")) > Some(60_000), "{hot}");
        }
        assert!(hot["bytes"].as_u64() > Some(200_000) && hot["usec"].is_u64(), "{hot}");
        assert_eq!(client.ask("HOTKEYS STOP"), "+OK");
        assert_eq!(status()["hot_keys"]["is_active"], false);
        assert_eq!(client.ask("CONFIG SET hide-user-data-from-log yes"), "+OK");
        let told = status();
        assert_eq!((&told["slow_log"], &told["hot_keys"]), (&Value::Null, &Value::Null));
        assert_eq!(told["hides_user_data"], true);
    }
}

#[test]
fn every_page_on_any_number_of_shards() {
    for shards in [1, 2, 5] {
        let (server, admin) = server(shards, &[]);
        let mut client = server.client();
        for index in 0..100 {
            assert_eq!(client.ask(&format!("SET key:{index} value")), "+OK");
        }
        let health = get(admin, "/health");
        assert_eq!((health.status, json(&health.body)["alive"].as_bool()), (200, Some(true)));
        let ready = get(admin, "/ready");
        assert_eq!((ready.status, &json(&ready.body)["shards"]), (200, &Value::from(shards)), "{}", ready.body);
        let page = get(admin, "/");
        assert_eq!(page.status, 200);
        assert!(page.body.starts_with("<!doctype html>") && page.head.contains("text/html"), "{}", page.head);
        let status = json(&get(admin, "/api/status").body);
        assert_eq!(status["ready"]["ready"], true);
        assert_eq!(status["databases"][0]["keys"], 100);
        let of_shards = status["shards"].as_array().expect("shards");
        assert_eq!(of_shards.iter().map(|shard| shard["keys"].as_u64().expect("a number")).sum::<u64>(), 100);
        assert!(of_shards.len() == shards && of_shards.iter().all(|shard| shard["is_stale"] == false));
        let set = status["commands"].as_array().expect("commands").iter().find(|command| command["name"] == "set");
        assert_eq!(set.expect("it was called")["calls"], 100);
        assert_eq!(get(admin, "/nosuch").status, 404);
    }
}

#[test]
fn a_connection_stays_for_more_and_head_has_no_body() {
    let (_server, admin) = server(2, &[]);
    let mut caller = Caller::new(admin);
    // Three at once, in order.
    caller.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    caller.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(caller.answer(false).expect("an answer").body.contains("alive"));
    let head = caller.answer(true).expect("an answer");
    assert!(head.status == 200 && head.head.contains("Content-Length: ") && head.body.is_empty());
    assert!(caller.answer(false).expect("an answer").body.contains("redis_up 1\n"));
    // In pieces.
    for piece in [b"GET /hea".as_slice(), b"lth HTTP/1.1\r\nHo", b"st: localhost\r\nConnection: close\r\n\r", b"\n"] {
        caller.send(piece);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(caller.answer(false).expect("an answer").head.contains("Connection: close"));
    assert!(caller.is_closed());
    let mut old = Caller::new(admin);
    old.send(b"GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer(false).expect("an answer").status, 200);
    assert!(old.is_closed());
}

#[test]
fn a_token_is_asked_for_where_there_is_data() {
    let (server, admin) = server(2, &["--admin-token", "s3cret"]);
    for path in ["/", "/health"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    let with = |path: &str, field: &str| {
        let mut caller = Caller::new(admin);
        caller
            .send(format!("GET {path} HTTP/1.1\r\nHost: torc.example\r\n{field}Connection: close\r\n\r\n").as_bytes());
        caller.answer(false).expect("an answer")
    };
    for path in ["/ready", "/metrics", "/api/status"] {
        for field in [
            "",
            "Authorization: Bearer s3creT\r\n",
            "Authorization: Bearer s3cre\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic s3cret\r\n",
        ] {
            let refused = with(path, field);
            assert_eq!(refused.status, 401, "{path} {field}");
            assert!(refused.head.contains("WWW-Authenticate: Bearer") && !refused.body.contains("s3cret"));
        }
        assert_eq!(with(path, "Authorization: Bearer s3cret\r\n").status, 200, "{path}");
    }
    assert!(!server.log().contains("s3cret"), "{}", server.log());
}

#[test]
fn without_a_token_it_is_this_machine_alone_and_by_its_own_names() {
    let start = |arguments: &[&str]| run_to_end(Command::new(TORC).args(["--port", "0"]).args(arguments));
    for bind in ["0.0.0.0", "127.0.0.1 *", "::", "example.com"] {
        let (code, said) = start(&["--admin-port", "1", "--admin-bind", bind]);
        assert_eq!(code, Some(1), "{bind}: {said}");
        assert!(said.contains("'admin-token'"), "{bind}: {said}");
    }
    let (code, said) = start(&["--admin-port", "1", "--admin-bind", ""]);
    assert!(code == Some(1) && said.contains("names no address"), "{said}");
    let (code, said) = start(&["--admin-token", "two words"]);
    assert!(code == Some(1) && said.contains("visible"), "{said}");
    let (server, admin) = server(1, &[]);
    let taken = admin.to_string();
    let (code, said) =
        run_to_end(Command::new(TORC).args(["--port", &free_port().to_string(), "--admin-port", &taken]));
    assert!(code == Some(1) && said.contains("The admin port cannot listen"), "{said}");
    let of_host = |host: &str| {
        let mut caller = Caller::new(admin);
        caller.send(format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        caller.answer(false).expect("an answer").status
    };
    for (host, status) in [("evil.example", 421), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200)] {
        assert_eq!(of_host(host), status, "{host}");
    }
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG GET admin-bind"), "[\"admin-bind\" \"127.0.0.1 -::1\"]");
    assert!(client.ask("CONFIG SET admin-port 1").contains("can't set immutable config"));
}

#[test]
fn with_a_token_others_may_ask() {
    let (_server, admin) = server(1, &["--admin-bind", "0.0.0.0", "--admin-token", "x"]);
    assert_eq!(get(admin, "/health").status, 200);
    assert_eq!(get(admin, "/metrics").status, 401);
}

#[test]
fn there_is_none_unless_it_is_asked_for_and_the_server_ends_with_visitors() {
    let mut plain = Server::torc(2, &[]);
    assert_eq!(plain.client().ask("CONFIG GET admin-port"), "[\"admin-port\" \"0\"]");
    plain.signal("TERM");
    assert!(plain.wait().success());
    let (mut visited, admin) = server(2, &[]);
    let mut idle = Caller::new(admin);
    let mut half = Caller::new(admin);
    half.send(b"GET /hea");
    let mut used = Caller::new(admin);
    used.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(used.answer(false).expect("an answer").status, 200);
    visited.signal("TERM");
    assert!(visited.wait().success(), "{}", visited.log());
    assert!(idle.is_closed() && half.is_closed() && used.is_closed());
}
