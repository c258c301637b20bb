//! Starts a stock `redis-server`, where one is installed, and holds our CONFIG GET against its: the names it knows, the
//! defaults, and how it shows what was set.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use torc_server::config::{Config, Machine, Start};

/// A `redis-server` on a port of its own that ends with the test.
struct RealServer {
    process: Child,
    stream: BufReader<TcpStream>,
}

impl RealServer {
    /// `None` where there is no such program.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                return Some(Self { process, stream: BufReader::new(stream) });
            }
            let alive = process.try_wait().is_ok_and(|status| status.is_none());
            assert!(alive && Instant::now() < deadline, "redis-server does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send(&mut self, words: &[&str]) {
        let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let request = format!("*{}\r\n{}", words.len(), bulks.collect::<String>());
        self.stream.get_mut().write_all(request.as_bytes()).expect("sent");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The status or the error without its mark.
    fn set(&mut self, name: &str, value: &str) -> String {
        self.send(&["CONFIG", "SET", name, value]);
        self.line()[1..].to_owned()
    }

    fn get(&mut self, pattern: &str) -> BTreeMap<String, String> {
        self.send(&["CONFIG", "GET", pattern]);
        let count: usize = self.line()[1..].parse().expect("a count");
        let mut words = Vec::new();
        for _ in 0..count {
            let length: usize = self.line()[1..].parse().expect("a length");
            let mut word = vec![0; length + 2];
            self.stream.read_exact(&mut word).expect("a word");
            words.push(String::from_utf8_lossy(&word[..length]).into_owned());
        }
        words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn torc() -> Config {
    let arguments = ["torc-server", "--save", "", "--bind", "127.0.0.1"].map(str::to_owned);
    match Config::load(&arguments, &mut Machine) {
        Ok(Start::Serve(loaded)) => loaded.config,
        other => panic!("{other:?}"),
    }
}

fn shown(config: &Config, pattern: &str) -> BTreeMap<String, String> {
    let found = config.get(&[pattern.as_bytes()]).into_iter();
    found.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect()
}

#[test]
fn every_name_and_default_of_the_real_server() {
    let Some(mut real) = RealServer::start() else {
        return eprintln!("skipped: no redis-server is installed");
    };
    // What differs because the two processes differ, or on purpose.
    let apart = ["port", "dir", "aof-disable-auto-gc"];
    let ours = shown(&torc(), "*");
    for (name, value) in real.get("*") {
        if apart.contains(&name.as_str()) {
            continue;
        }
        assert_eq!(ours.get(&name), Some(&value), "{name}");
    }
}

#[test]
fn values_and_errors_are_those_of_the_real_server() {
    let Some(mut real) = RealServer::start() else {
        return eprintln!("skipped: no redis-server is installed");
    };
    let mut config = torc();
    let words = [
        "",
        " ",
        "0",
        "1",
        "5",
        "-1",
        "05",
        "+5",
        "5 ",
        "abc",
        "yes",
        "NO",
        "1k",
        "1KB",
        "3mb",
        "1gb",
        "10x",
        "99999",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "50%",
        "101%",
        "-5%",
        "1 2",
        "10 1 20 2",
        "10",
        "a b c",
        "KEA",
        "Elg$",
        "foo",
        "normal 0 0 0",
        "slave 1mb 2k 60",
        "replica 1 2",
        "master 1 2 3",
        "default",
        "save nosave",
        "NoSave now",
        "50 99.9",
        "100.0 0",
        "101",
        "1 2 3",
        "1 2 3000",
        "volatile-lru",
        "{title}",
    ];
    // Left out: what acts on the real process (port, bind) or on our client there (maxmemory-clients).
    let names = [
        "timeout",
        "maxmemory-samples",
        "maxmemory",
        "maxmemory-policy",
        "maxmemory-eviction-tenacity",
        "save",
        "client-output-buffer-limit",
        "notify-keyspace-events",
        "shutdown-on-sigint",
        "oom-score-adj-values",
        "latency-tracking-info-percentiles",
        "hz",
        "dynamic-hz",
        "protected-mode",
        "slowlog-log-slower-than",
        "slowlog-max-len",
        "hash-max-listpack-entries",
        "hash-max-ziplist-value",
        "list-max-ziplist-size",
        "proto-max-bulk-len",
        "client-query-buffer-limit",
        "active-expire-effort",
        "databases",
        "dbfilename",
        "proc-title-template",
        "lua-time-limit",
        "min-slaves-to-write",
        "nosuch",
        "tcp-backlog",
        "unixsocketperm",
        "lfu-log-factor",
        "latency-tracking",
        "stream-node-max-bytes",
        "lazyfree-lazy-expire",
        "replica-priority",
        "cluster-announce-hostname",
        "acl-pubsub-default",
        "appendfsync",
    ];
    for name in names {
        for value in words {
            // The real server reads an empty word among several as 0; we refuse it.
            if value.ends_with(' ') {
                continue;
            }
            // The policies that came with Redis 8.6 stand behind those of the real server.
            let theirs = real.set(name, value).replace(", noeviction", ", noeviction, volatile-lrm, allkeys-lrm");
            let pair: [(&[u8], &[u8]); 1] = [(name.as_bytes(), value.as_bytes())];
            let ours = match config.set(&pair, true, &mut Machine) {
                Ok(_) => "OK".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(ours, theirs, "CONFIG SET {name} {value:?}");
            assert_eq!(shown(&config, name), real.get(name), "CONFIG GET {name} after {value:?}");
        }
    }
}
