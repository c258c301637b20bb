//! `/metrics` in Prometheus's format, beside what the stock redis_exporter makes of the same server, and the dashboard.

use super::http::get;
use super::server;
use crate::support::server::free_port;
use crate::support::{PATIENCE, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};

const EXPORTER: &str = "/usr/bin/prometheus-redis-exporter";

/// Metrics of the exporter that are about itself, or that it asks CONFIG for.
const OF_THE_EXPORTER: [&str; 7] = [
    // It takes a line of INFO keysizes for the figures of a database, and tells its last number.
    "redis_db0_distrib_",
    "redis_exporter_",
    "redis_target_",
    "redis_config_",
    "redis_last_key_groups_",
    "redis_last_slow_execution_",
    "redis_slowlog_",
];

/// Names and kinds of a page, which is checked on the way: each line a sample of the metric whose head is above it.
fn kinds(page: &str) -> BTreeMap<String, String> {
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeSet::new());
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(kinds.insert(name.to_string(), kind.to_string()).is_none(), "{name} twice");
            current = name.to_string();
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            assert!(name.starts_with(&current) && !current.is_empty(), "{line} under {current}");
            assert!(sample.contains('{') == sample.ends_with('}'), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample.to_string()), "{sample} twice");
        }
    }
    kinds
}

fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().expect("a number")
}

#[test]
fn metrics_tell_what_has_happened() {
    for shards in [1, 2, 5] {
        let (server, admin) = server(shards, &[]);
        let mut client = server.client();
        for index in 0..60 {
            assert_eq!(client.ask(&format!("SET key:{index} value EX 1000")), "+OK");
        }
        assert_eq!(client.ask("GET key:1"), "\"value\"");
        assert_eq!(client.ask("GET nosuch"), "nil");
        assert!(client.ask("LPUSH key:1 x").starts_with("-WRONGTYPE"));
        assert_eq!(client.ask("SELECT 3"), "+OK");
        assert_eq!(client.ask("SET other value"), "+OK");
        let page = get(admin, "/metrics").body;
        let kinds = kinds(&page);
        assert_eq!(kinds["redis_commands_total"], "counter");
        for (name, value) in [
            ("redis_up", 1.0),
            ("redis_connected_clients", 1.0),
            ("redis_commands_total{cmd=\"set\"}", 61.0),
            ("redis_commands_failed_calls_total{cmd=\"lpush\"}", 1.0),
            ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
            ("redis_db_keys{db=\"db0\"}", 60.0),
            ("redis_db_keys{db=\"db3\"}", 1.0),
            ("redis_db_keys{db=\"db15\"}", 0.0),
            ("redis_db_keys_expiring{db=\"db0\"}", 60.0),
            ("redis_keyspace_hits_total", 1.0),
            ("redis_keyspace_misses_total", 1.0),
            ("redis_rdb_last_bgsave_status", 1.0),
            ("torc_shards", shards as f64),
        ] {
            assert!((sample(&page, name) - value).abs() < 1e-9, "{name} is {}", sample(&page, name));
        }
        assert!(sample(&page, "redis_memory_used_bytes") > 10_000.0);
        let of_shards = |name: &str| -> f64 {
            (0..shards).map(|shard| sample(&page, &format!("torc_shard_{name}{{shard=\"{shard}\"}}"))).sum()
        };
        assert!((of_shards("keys") - 61.0).abs() < 1e-9);
        assert!((of_shards("connections") - 1.0).abs() < 1e-9);
        assert!(of_shards("commands_total") >= 64.0 && of_shards("turns_total") > 0.0);
        assert!(of_shards("stale").abs() < 1e-9 && of_shards("figures_age_seconds") < 60.0);
    }
}

/// A child that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the exporter says of a server.
fn exported(port: u16) -> Option<String> {
    if !std::path::Path::new(EXPORTER).exists() {
        println!("not compared with redis_exporter: there is no {EXPORTER}");
        return None;
    }
    let listens = free_port();
    let mut start = Command::new(EXPORTER);
    start.args(["-redis.addr", &format!("redis://127.0.0.1:{port}")]);
    start.args(["-web.listen-address", &format!("127.0.0.1:{listens}")]);
    start.stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(start.spawn().expect("it starts"));
    eventually("the exporter listens", || std::net::TcpStream::connect(("127.0.0.1", listens)).is_ok());
    // It sends its answer in chunks of unknown length: until it closes.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", listens)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.0\r\n\r\n").expect("it takes bytes");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).expect("an answer");
    Some(text.split_once("\r\n\r\n").expect("a body").1.to_string())
}

#[test]
fn the_stock_exporter_works_and_our_names_are_its_names() {
    let (server, admin) = server(3, &[]);
    let mut client = server.client();
    assert_eq!(client.ask("SET key value"), "+OK");
    assert_eq!(client.ask("GET key"), "\"value\"");
    assert!(client.ask("NOSUCH").starts_with("-ERR"));
    let Some(theirs) = exported(server.port) else { return };
    for (name, value) in [
        ("redis_up", 1.0),
        ("redis_exporter_last_scrape_error{err=\"\"}", 0.0),
        ("redis_db_keys{db=\"db0\"}", 1.0),
        ("redis_commands_total{cmd=\"set\"}", 1.0),
        ("redis_keyspace_hits_total", 1.0),
    ] {
        assert!((sample(&theirs, name) - value).abs() < 1e-9, "{name} in:\n{theirs}");
    }
    let ours = kinds(&get(admin, "/metrics").body);
    for (name, kind) in theirs.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        if !name.starts_with("redis_") || OF_THE_EXPORTER.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        assert_eq!(ours.get(name).map(String::as_str), Some(kind), "{name}");
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let text = include_str!("../../grafana/torc.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let expressions: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().expect("an expression"))
        .collect();
    assert!(expressions.len() > 10);
    let (server, admin) = server(2, &["--latency-tracking", "yes"]);
    server.client().ask("NOSUCH");
    let kinds = kinds(&get(admin, "/metrics").body);
    for expression in expressions {
        let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let names: Vec<&str> = words.filter(|word| word.starts_with("redis_") || word.starts_with("torc_")).collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let kind = kinds.get(name).unwrap_or_else(|| panic!("{name} of {expression} is no metric"));
            assert_eq!(expression.contains("rate("), kind == "counter", "{expression}");
        }
    }
}
