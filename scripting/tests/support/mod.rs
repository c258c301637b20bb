//! A real server beside us: it answers what scripts ask, and runs the same scripts itself.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use torc_scripting::{Exchange, GoOn, Host, Protocol, Reply, Request};

/// A `redis-server` of its own, ended when dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Nothing where none is installed.
    pub fn start() -> Option<Self> {
        // Another process may take the port between us and the server: then it ends, and another is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut server = Self { child, port };
            let patience = Instant::now() + Duration::from_secs(30);
            while Instant::now() < patience {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(server);
                }
                if server.child.try_wait().ok()?.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        None
    }

    /// A connection.
    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Connection { stream: BufReader::new(stream) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that shows replies as bytes.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Sends a command and returns the bytes of its reply.
    pub fn ask<'a>(&mut self, arguments: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let arguments: Vec<&[u8]> = arguments.into_iter().collect();
        let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            out.extend_from_slice(argument);
            out.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&out).unwrap();
        let mut reply = Vec::new();
        self.read(&mut reply);
        reply
    }

    /// The same with texts.
    pub fn say(&mut self, arguments: &[&str]) -> Vec<u8> {
        self.ask(arguments.iter().map(|argument| argument.as_bytes()))
    }

    fn read(&mut self, reply: &mut Vec<u8>) {
        let mut left = 1;
        while left > 0 {
            left -= 1;
            let from = reply.len();
            self.stream.read_until(b'\n', reply).unwrap();
            let line = String::from_utf8_lossy(&reply[from..]).into_owned();
            assert!(!line.is_empty(), "the server has closed the connection");
            let number = || line[1..].trim_end().parse::<i64>().unwrap_or(0);
            match line.as_bytes()[0] {
                b'$' | b'=' if number() >= 0 => {
                    let begin = reply.len();
                    reply.resize(begin + number() as usize + 2, 0);
                    self.stream.read_exact(&mut reply[begin..]).unwrap();
                }
                b'*' | b'~' | b'>' => left += number().max(0),
                b'%' => left += 2 * number().max(0),
                _ => {}
            }
        }
    }
}

/// Answers scripts by asking the server, with the words that a server has for scripts.
pub struct Forwarding {
    resp2: Connection,
    resp3: Connection,
    /// Looks that a run may have; then it is killed.
    pub ticks_max: usize,
    pub ticks: usize,
    pub log: Vec<Vec<u8>>,
}

impl Forwarding {
    pub fn new(server: &Server) -> Self {
        let mut resp3 = server.connect();
        resp3.say(&["HELLO", "3"]);
        Self { resp2: server.connect(), resp3, ticks_max: usize::MAX, ticks: 0, log: Vec::new() }
    }
}

impl Host for Forwarding {
    fn call(&mut self, exchange: &mut Exchange) {
        let arguments = exchange.arguments.iter();
        exchange.reply = match exchange.request {
            Request::Command => {
                let name = exchange.arguments.get(0).to_ascii_lowercase();
                if matches!(&name[..], b"eval" | b"multi" | b"subscribe" | b"hello" | b"fcall" | b"blpop" | b"debug") {
                    b"-ERR This Redis command is not allowed from script\r\n".to_vec()
                } else {
                    let connection =
                        if exchange.protocol == Protocol::Resp3 { &mut self.resp3 } else { &mut self.resp2 };
                    let reply = connection.ask(arguments);
                    if reply.starts_with(b"-ERR unknown command") {
                        b"-ERR Unknown Redis command called from script\r\n".to_vec()
                    } else if reply.starts_with(b"-ERR wrong number of arguments for") {
                        b"-ERR Wrong number of args calling Redis command from script\r\n".to_vec()
                    } else {
                        reply
                    }
                }
            }
            Request::AclCheck => {
                let dry_run = [&b"ACL"[..], b"DRYRUN", b"default"].into_iter().chain(arguments);
                let reply = self.resp2.ask(dry_run);
                match &reply[..] {
                    b"+OK\r\n" => b":1\r\n".to_vec(),
                    _ => reply,
                }
            }
            Request::Log(_) => {
                self.log.push(exchange.arguments.get(0).to_vec());
                Vec::new()
            }
            Request::Clock => b":1500000\r\n".to_vec(),
            Request::SetReplication(_) => Vec::new(),
        };
    }

    fn tick(&mut self) -> GoOn {
        self.ticks += 1;
        if self.ticks > self.ticks_max { GoOn::Kill("Script killed by user with SCRIPT KILL.") } else { GoOn::Yes }
    }
}

/// A reply as a server encodes it.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, kind: u8, text: &[u8]| {
        out.push(kind);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    let bulk = |out: &mut Vec<u8>, kind: u8, text: &[u8]| {
        line(out, kind, text.len().to_string().as_bytes());
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    let is_new = protocol == Protocol::Resp3;
    match reply {
        Reply::Null if is_new => out.extend_from_slice(b"_\r\n"),
        Reply::Null => out.extend_from_slice(b"$-1\r\n"),
        Reply::Integer(integer) => line(out, b':', integer.to_string().as_bytes()),
        Reply::Bulk(text) => bulk(out, b'$', text),
        Reply::Status(text) => line(out, b'+', text),
        Reply::Error { line: text, .. } => line(out, b'-', text),
        Reply::Array(elements) => {
            line(out, b'*', elements.len().to_string().as_bytes());
            elements.iter().for_each(|element| encode(element, protocol, out));
        }
        Reply::Map(pairs) => {
            let (kind, count) = if is_new { (b'%', pairs.len() / 2) } else { (b'*', pairs.len()) };
            line(out, kind, count.to_string().as_bytes());
            pairs.iter().for_each(|element| encode(element, protocol, out));
        }
        Reply::Set(members) => {
            line(out, if is_new { b'~' } else { b'*' }, members.len().to_string().as_bytes());
            members.iter().for_each(|element| encode(element, protocol, out));
        }
        Reply::Double(number) if is_new => line(out, b',', number.to_string().as_bytes()),
        Reply::Double(number) => bulk(out, b'$', number.to_string().as_bytes()),
        Reply::Boolean(boolean) if is_new => line(out, b'#', if *boolean { b"t" } else { b"f" }),
        Reply::Boolean(boolean) => line(out, b':', if *boolean { b"1" } else { b"0" }),
        Reply::BigNumber(digits) if is_new => line(out, b'(', digits),
        Reply::BigNumber(digits) => bulk(out, b'$', digits),
        Reply::Verbatim { format, text } if is_new => bulk(out, b'=', &[&format[..], b":", text].concat()),
        Reply::Verbatim { text, .. } => bulk(out, b'$', text),
    }
}
