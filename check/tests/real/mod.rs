//! The real server and its tools, and ours under their names.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this module")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Whether the real server and its tools are installed.
pub fn is_there() -> bool {
    ["redis-server", "redis-check-rdb", "redis-check-aof"]
        .iter()
        .all(|tool| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok())
}

/// A directory of the test's own.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("torc-check-").tempdir().expect("a directory").keep())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// Our tool under a name.
    pub fn linked(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if !path.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_torc-check"), &path).expect("a link");
        }
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Exit code, and all that was said.
pub type Said = (Option<i32>, String);

/// Runs a tool in a directory with what it is answered.
pub fn said(tool: &Path, directory: &Path, arguments: &[&str], answer: &str) -> Said {
    let mut child = Command::new(tool)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a tool");
    // A tool that does not ask does not read.
    drop(child.stdin.take().expect("its input").write_all(answer.as_bytes()));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// Our tool under its own name.
pub fn ours(directory: &Path, arguments: &[&str]) -> Said {
    said(Path::new(env!("CARGO_BIN_EXE_torc-check")), directory, arguments, "")
}

/// A real server on a socket in a directory.
pub struct Server {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Server {
    pub fn start(directory: &Path, more: &[&str]) -> Self {
        let socket = directory.join("socket");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("a server");
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut server = Self { child, stream: BufReader::new(stream) };
        while server.line("PING").starts_with("-LOADING") {
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Sends words; the first line of the reply, or the text of a bulk.
    pub fn call(&mut self, words: &[&[u8]]) -> String {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes).expect("it listens");
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it answers");
        let line = line.trim_end().to_owned();
        match line.as_bytes().first() {
            Some(b'$') if line != "$-1" => {
                let mut bytes = vec![0; line[1..].parse::<usize>().expect("a length") + 2];
                self.stream.read_exact(&mut bytes).expect("it answers");
                bytes.truncate(bytes.len() - 2);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Some(b'*') => {
                let count = line[1..].parse::<i64>().expect("a count").max(0);
                (0..count).map(|_| self.reply()).collect::<Vec<_>>().join(" ")
            }
            _ => line,
        }
    }

    /// Sends a line.
    pub fn line(&mut self, line: &str) -> String {
        self.call(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Sends a line that must not fail.
    #[track_caller]
    pub fn done(&mut self, line: &str) -> String {
        let reply = self.line(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        reply
    }

    /// All of its data, as a few digits.
    pub fn digest(&mut self) -> String {
        self.done("DEBUG DIGEST")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lines that make values of all types, which 7.0 knows.
pub const LINES: &[&str] = &[
    "SET int 12345",
    "SET text hello",
    "SET expiring soon PXAT 33000000000000",
    "SETRANGE bits 3000 x",
    "RPUSH list a b 3 -40000 5000000000 c",
    "SADD integers 1 -2 70000 5000000000",
    "SADD few a b 3",
    "ZADD scores 1 a -1.5 b inf c -inf d 0.1 e 1e300 f 3 g 3 aa 3.0000000000000004 near",
    "HSET fields a 1 b two c 3000000",
    "PFADD sketch a b c d e f",
    "XADD stream 1-1 a 1 b 2",
    "XADD stream 1-2 a 3 b 4",
    "XADD stream 2-0 c text",
    "XADD stream 2-5 a 5 b 6",
    "XADD stream 9-0 a 5 b 6",
    "XGROUP CREATE stream g 0",
    "XGROUP CREATE stream h 2-0 ENTRIESREAD 2",
    "XGROUP CREATECONSUMER stream h idle",
    "XREADGROUP GROUP g first COUNT 2 STREAMS stream >",
    "XREADGROUP GROUP g second COUNT 2 STREAMS stream >",
    "XACK stream g 1-1",
    "XDEL stream 1-2",
    "XDEL stream 2-5",
    "XGROUP CREATE bare g $ MKSTREAM",
    "XADD gone 5-5 a b",
    "XDEL gone 5-5",
    "SELECT 3",
    "SET other 1",
    "PEXPIREAT other 33000000000000",
];

/// Gives a server values of all types, small and large.
pub fn fill(server: &mut Server) {
    for line in LINES {
        server.done(line);
    }
    server.done("SELECT 0");
    for first in (0..600).step_by(200) {
        let numbers = first..first + 200;
        let mut add = |head: &str, words: &dyn Fn(u32) -> String| {
            let words: Vec<String> = numbers.clone().map(words).collect();
            server.done(&format!("{head} {}", words.join(" ")));
        };
        add("RPUSH many", &|number| format!("element:{number}"));
        add("SADD members", &|number| format!("member:{number}"));
        add("SADD numbers", &|number| (number * number).to_string());
        add("HSET hash", &|number| format!("field:{number} {number}"));
        add("ZADD sorted", &|number| format!("{} member:{number}", f64::from(number) / 7.0));
        for number in numbers.clone() {
            server.done(&format!("XADD log {}-1 a {number} b x", number + 1));
        }
    }
    let code = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(server.call(&[b"FUNCTION", b"LOAD", code]), "lib");
}
