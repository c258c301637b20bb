//! Scripts of requests and replies, played against any server. One line, one thing:
//!
//! ```text
//!   # text            a comment
//!   --- title         a new part: empty databases, new connections
//!   @start --a b      this part's servers are started with these arguments
//!   @name             goes on over another connection, opened when first named; a part begins with `@first`
//!   @resp3  @resp2    switches the protocol
//!   > SET a 1         a request; words may stand in double quotes with \r \n \xHH
//!   + GET a           a request that is held back and sent in one write with the next `>` or `!`
//!   ! "*1\r\n..."     bytes, sent as they are
//!   >8.4 DIGEST a     a request that is not sent to a server older than this version; nothing is to be held back before it
//!   < +OK             the next reply, written as `Reply` shows it, byte for byte; `(closed)`: the connection ends
//!   % ["a" "b"]       the same for a reply without an order: elements are sorted on both sides
//!   ? :*              the same for a reply that differs from run to run: `*` is any text
//!   <real -ERR text   after a reply: what the real server says instead, where we differ on purpose
//! ```
//!
//! A script is played against our server on one shard and on three, and against the real server, where there is one.
//! Since one text stands for one sequence of bytes, servers that agree with the script agree with each other to the byte.
//!
//! With `TORC_TRANSCRIPTS=record` a file is rewritten with the real server's replies (ours where it knows none); the
//! difference is then read by a person, as any other change.

use super::{Reply, Server, encode, words};
use crate::support::Client;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Version of the real server that transcripts speak of.
const REAL_VERSION: (u32, u32) = (7, 0);

/// How a reply is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exact,
    Unordered,
    Pattern,
}

#[derive(Clone, Debug)]
enum Line {
    /// Comments and empty lines.
    Text,
    Part(String),
    Start(Vec<String>),
    Connection(String),
    Protocol(u8),
    /// Bytes; whether they wait for the next; the version that knows them.
    Request {
        bytes: Vec<u8>,
        is_held: bool,
        since: (u32, u32),
    },
    Expect(Comparison, String),
    /// What the real server says instead.
    ExpectReal(String),
}

/// A parsed script.
pub struct Transcript {
    name: String,
    lines: Vec<(String, Line)>,
}

/// Plays `tests/wire/<name>.transcript` against all servers.
pub fn check(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/{name}.transcript"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if std::env::var("TORC_TRANSCRIPTS").is_ok_and(|wish| wish == "record") {
        let recorded = Transcript::parse(name, &text).record();
        std::fs::write(&path, recorded).expect("a writable transcript");
        return;
    }
    check_text(name, &text);
}

/// Plays a script against all servers.
pub fn check_text(name: &str, text: &str) {
    let transcript = Transcript::parse(name, text);
    let mut complaints = String::new();
    for shards in [1, 3] {
        transcript.play(|arguments| Some(Server::torc(shards, arguments)), false, &mut complaints);
    }
    let compared = transcript.play(Server::real, true, &mut complaints);
    println!("{name}: {} requests; {compared} replies compared with the real server", transcript.requests());
    assert!(complaints.is_empty(), "\n{complaints}");
}

impl Transcript {
    /// Panics at lines that are none of the format's.
    pub fn parse(name: &str, text: &str) -> Self {
        let lines = text.lines().enumerate().map(|(index, line)| {
            let parsed = parse_line(line).unwrap_or_else(|| panic!("{name}:{}: not a line of a transcript", index + 1));
            (line.to_string(), parsed)
        });
        Self { name: name.to_string(), lines: lines.collect() }
    }

    fn requests(&self) -> usize {
        self.lines.iter().filter(|(_, line)| matches!(line, Line::Request { .. })).count()
    }

    /// Plays all lines; returns how many replies were compared.
    fn play(&self, start: impl Fn(&[&str]) -> Option<Server>, is_real: bool, complaints: &mut String) -> usize {
        let mut stage = Stage::new(start, is_real);
        let mut compared = 0;
        for (index, (_, line)) in self.lines.iter().enumerate() {
            if !stage.play(line) {
                return 0;
            }
            let Line::Expect(mut comparison, mut expected) = line.clone() else { continue };
            if let (true, Some((_, Line::ExpectReal(instead)))) = (is_real, self.lines.get(index + 1)) {
                (comparison, expected) =
                    (if instead.contains('*') { Comparison::Pattern } else { comparison }, instead.clone());
            }
            let Some(reply) = stage.reply(comparison) else { continue };
            compared += 1;
            let fits = match comparison {
                Comparison::Pattern => fits(&expected, &reply),
                _ => expected == reply,
            };
            if !fits {
                let request = self.lines[..index].iter().rev().find(|(_, line)| matches!(line, Line::Request { .. }));
                let request = request.map_or("", |(text, _)| text);
                let (name, who, line) = (&self.name, stage.name(), index + 1);
                writeln!(complaints, "{name}:{line}: {who}: {request}\n  expected {expected}\n  received {reply}")
                    .expect("memory");
            }
        }
        compared
    }

    /// The script with the replies that the servers give.
    fn record(&self) -> String {
        let mut real = Stage::new(Server::real, true);
        let mut ours = Stage::new(|arguments| Some(Server::torc(3, arguments)), false);
        let mut text = String::new();
        // Replies to the last requests, which the script does not show yet.
        let mut awaited = 0;
        let end = (String::new(), Line::Part(String::new()));
        for (index, (line_text, line)) in self.lines.iter().chain([&end]).enumerate() {
            let is_shown = matches!(line, Line::Expect(..) | Line::ExpectReal(_));
            let is_held = !real.held.is_empty();
            if !is_shown && !is_held {
                for _ in 0..std::mem::take(&mut awaited) {
                    let reply = (real.reply(Comparison::Exact), ours.reply(Comparison::Exact));
                    writeln!(text, "< {}", reply.0.or(reply.1).expect("a reply")).expect("memory");
                }
            }
            if index == self.lines.len() {
                break;
            }
            if let Line::Expect(comparison, expected) = line {
                awaited = 0;
                let replies = (real.reply(*comparison), ours.reply(*comparison));
                let differs = matches!(self.lines.get(index + 1), Some((_, Line::ExpectReal(_))));
                let kept = *comparison == Comparison::Pattern;
                let recorded = if differs { replies.1 } else { replies.0.or(replies.1) };
                let recorded = if kept { expected.clone() } else { recorded.expect("a reply") };
                writeln!(text, "{} {recorded}", &line_text[..1]).expect("memory");
                continue;
            }
            assert!(real.play(line) && ours.play(line), "recording needs the real server");
            if let Line::Request { .. } = line {
                awaited += 1;
            }
            writeln!(text, "{line_text}").expect("memory");
        }
        text
    }
}

fn parse_line(line: &str) -> Option<Line> {
    let (marker, rest) = line.split_once(' ').unwrap_or((line, ""));
    let request = |bytes, is_held, since| Some(Line::Request { bytes, is_held, since });
    match marker {
        "" | "#" => Some(Line::Text),
        "---" => Some(Line::Part(rest.to_string())),
        "@start" => {
            Some(Line::Start(words(rest).into_iter().map(|word| String::from_utf8(word).expect("text")).collect()))
        }
        "@resp2" => Some(Line::Protocol(2)),
        "@resp3" => Some(Line::Protocol(3)),
        ">" => request(encode(&words(rest)), false, (0, 0)),
        "+" => request(encode(&words(rest)), true, (0, 0)),
        "!" => request(words(rest).concat(), false, (0, 0)),
        "<" => Some(Line::Expect(Comparison::Exact, rest.to_string())),
        "%" => Some(Line::Expect(Comparison::Unordered, rest.to_string())),
        "?" => Some(Line::Expect(Comparison::Pattern, rest.to_string())),
        "<real" => Some(Line::ExpectReal(rest.to_string())),
        _ => {
            if let Some(name) = marker.strip_prefix('@') {
                return Some(Line::Connection(name.to_string()));
            }
            let (major, minor) = marker.strip_prefix('>')?.split_once('.')?;
            request(encode(&words(rest)), false, (major.parse().ok()?, minor.parse().ok()?))
        }
    }
}

/// A server and the connections that a script has opened to it.
struct Stage<S> {
    start: S,
    is_real: bool,
    arguments: Vec<String>,
    servers: BTreeMap<Vec<String>, Server>,
    connections: BTreeMap<String, Client>,
    connection: String,
    held: Vec<u8>,
    /// The last request was not sent: its replies are passed over.
    is_skipping: bool,
}

impl<S: Fn(&[&str]) -> Option<Server>> Stage<S> {
    fn new(start: S, is_real: bool) -> Self {
        Self {
            start,
            is_real,
            arguments: Vec::new(),
            servers: BTreeMap::new(),
            connections: BTreeMap::new(),
            connection: "first".to_string(),
            held: Vec::new(),
            is_skipping: false,
        }
    }

    fn name(&self) -> &str {
        &self.servers[&self.arguments].name
    }

    /// Carries out a line that is no reply; false if there is no such server.
    fn play(&mut self, line: &Line) -> bool {
        match line {
            Line::Part(_) => {
                self.connections.clear();
                self.connection = "first".to_string();
                self.arguments.clear();
                assert!(self.held.is_empty(), "held back to the end of a part");
                if let Some(server) = self.servers.get(&self.arguments) {
                    assert_eq!(server.client().ask("FLUSHALL"), "+OK");
                }
            }
            Line::Start(arguments) => self.arguments.clone_from(arguments),
            Line::Connection(name) => self.connection.clone_from(name),
            Line::Protocol(version) => {
                let Some(client) = self.client() else { return false };
                assert!(!client.call(&format!("HELLO {version}")).is_error());
            }
            Line::Request { bytes, is_held, since } => {
                self.is_skipping = self.is_real && *since > REAL_VERSION;
                if self.is_skipping {
                    return true;
                }
                self.held.extend_from_slice(bytes);
                if !is_held {
                    let bytes = std::mem::take(&mut self.held);
                    let Some(client) = self.client() else { return false };
                    client.send(&bytes);
                }
            }
            Line::Text | Line::Expect(..) | Line::ExpectReal(_) => {}
        }
        true
    }

    /// The next reply as text; none if its request was not sent here.
    fn reply(&mut self, comparison: Comparison) -> Option<String> {
        if self.is_skipping {
            return None;
        }
        let reply = self.client()?.receive();
        let reply = if comparison == Comparison::Unordered { reply.map(Reply::sorted) } else { reply };
        Some(reply.map_or("(closed)".to_string(), |reply| reply.to_string()))
    }

    fn client(&mut self) -> Option<&mut Client> {
        if !self.servers.contains_key(&self.arguments) {
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            self.servers.insert(self.arguments.clone(), (self.start)(&arguments)?);
        }
        let server = &self.servers[&self.arguments];
        Some(self.connections.entry(self.connection.clone()).or_insert_with(|| server.client()))
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}
