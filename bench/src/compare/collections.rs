//! The data types under load: one command a case, on many small values and on one large one, and the memory of each type.
//!
//! ```text
//!   fill ──> 50 connections, in turn: read 16 replies, send the next 16 commands ──> CPU of the server, a command
//! ```
//! The load is this program's own: the same bytes in the same order for both servers, from a seed. It waits for one
//! connection after the other, so fifty bursts are under way at a time, and a server finds as much to do in each turn as it
//! can take. Replies are counted, not kept; an error ends the measurement, as it would otherwise be a fast command.

use super::load::{Connection, Numbers, encode};
use super::server::{Contender, Server};
use super::workloads::{BYTES, CPU, OPS, Recorder, USER};
use super::{Failure, Outcome};
use std::io::Write;
use std::time::Instant;

/// Connections that send the load.
const CONNECTIONS: usize = 50;
/// Bursts that are prepared and then sent again and again.
const BURSTS: usize = 8_192;
/// Small values of each type.
const SMALL_KEYS: u64 = 10_000;
/// Elements of a small list, set or sorted set, below every type's threshold.
const SMALL_ELEMENTS: u64 = 100;
/// Elements of the large value.
const LARGE_ELEMENTS: u64 = 1_000_000;
/// Fields of a small hash: those that HGETALL gives.
const FIELDS: u64 = 20;
/// Elements of the values of which memory is measured.
const MEMORY_ELEMENTS: u64 = 5_000_000;
/// Commands that a server has run before memory is measured.
const WARMING_COMMANDS: u64 = 1_000_000;
/// Hashes of ten fields of which memory is measured.
const MEMORY_HASHES: u64 = 1_000_000;

/// What the value is that a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// One of many packed ones.
    Small,
    /// The one of [`LARGE_ELEMENTS`].
    Large,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    fn keys(self) -> u64 {
        if self == Self::Small { SMALL_KEYS } else { 1 }
    }
}

/// The types by the commands that fill them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hash,
    List,
    Set,
    Sorted,
    Stream,
    HyperLogLog,
    Bitmap,
    Geo,
}

impl Kind {
    /// The words that put element `number` into `key`.
    fn add(self, key: &str, number: u64) -> Vec<String> {
        let member = format!("element:{number:012}");
        let words: Vec<String> = match self {
            Self::Hash => vec!["HSET".into(), key.into(), member, number.to_string()],
            Self::List => vec!["RPUSH".into(), key.into(), member],
            Self::Set => vec!["SADD".into(), key.into(), member],
            Self::Sorted => vec!["ZADD".into(), key.into(), scattered(number).to_string(), member],
            Self::Stream => vec!["XADD".into(), key.into(), format!("{}-1", number + 1), "field".into(), member],
            Self::HyperLogLog => vec!["PFADD".into(), key.into(), member],
            Self::Bitmap => vec!["SETBIT".into(), key.into(), number.to_string(), "1".into()],
            Self::Geo => {
                let at = scattered(number);
                let (longitude, latitude) =
                    ((at % 3600) as f64 / 10.0 - 180.0, (at / 3600 % 1700) as f64 / 10.0 - 85.0);
                vec!["GEOADD".into(), key.into(), longitude.to_string(), latitude.to_string(), member]
            }
        };
        words
    }

    /// Elements of a value of that size.
    fn elements(self, size: Size) -> u64 {
        match (size, self) {
            (Size::Large, _) => LARGE_ELEMENTS,
            (Size::Small, Self::Hash) => FIELDS,
            (Size::Small, _) => SMALL_ELEMENTS,
        }
    }
}

/// A score that has nothing to do with the order of arrival.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

/// One measured command.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    kind: Kind,
    /// The words after the key, from an element that is there and one that is not.
    words: fn(there: u64, new: u64) -> Vec<String>,
    /// The command makes the value shorter, so there must be enough in it.
    consumes: bool,
}

fn member(number: u64) -> String {
    format!("element:{number:012}")
}

/// In the order of the README's table.
const CASES: &[Case] = &[
    Case { name: "LPUSH", kind: Kind::List, words: |_, new| vec![member(new)], consumes: false },
    Case { name: "LPOP", kind: Kind::List, words: |_, _| vec![], consumes: true },
    Case { name: "LRANGE 100", kind: Kind::List, words: |_, _| vec!["0".into(), "99".into()], consumes: false },
    Case { name: "SADD", kind: Kind::Set, words: |_, new| vec![member(new)], consumes: false },
    Case { name: "SPOP", kind: Kind::Set, words: |_, _| vec![], consumes: true },
    Case { name: "SISMEMBER", kind: Kind::Set, words: |there, _| vec![member(there)], consumes: false },
    Case { name: "HSET", kind: Kind::Hash, words: |there, new| vec![member(there), new.to_string()], consumes: false },
    Case { name: "HGET", kind: Kind::Hash, words: |there, _| vec![member(there)], consumes: false },
    Case { name: "HINCRBY", kind: Kind::Hash, words: |there, _| vec![member(there), "7".into()], consumes: false },
    Case { name: "HGETALL 20", kind: Kind::Hash, words: |_, _| vec![], consumes: false },
    Case {
        name: "ZADD",
        kind: Kind::Sorted,
        words: |there, new| vec![scattered(new).to_string(), member(there)],
        consumes: false,
    },
    Case { name: "ZRANGE 100", kind: Kind::Sorted, words: |_, _| vec!["0".into(), "99".into()], consumes: false },
    Case { name: "ZRANK", kind: Kind::Sorted, words: |there, _| vec![member(there)], consumes: false },
    Case { name: "ZINCRBY", kind: Kind::Sorted, words: |there, _| vec!["3".into(), member(there)], consumes: false },
    Case {
        name: "XADD",
        kind: Kind::Stream,
        words: |_, new| vec!["*".into(), "field".into(), member(new)],
        consumes: false,
    },
    Case {
        name: "XRANGE 10",
        kind: Kind::Stream,
        words: |there, _| vec![format!("{there}-0"), "+".into(), "COUNT".into(), "10".into()],
        consumes: false,
    },
    Case { name: "PFADD", kind: Kind::HyperLogLog, words: |_, new| vec![member(new)], consumes: false },
    Case {
        name: "SETBIT",
        kind: Kind::Bitmap,
        words: |there, new| vec![there.to_string(), (new % 2).to_string()],
        consumes: false,
    },
    Case {
        name: "GEOADD",
        kind: Kind::Geo,
        words: |there, new| Kind::Geo.add("", new).into_iter().skip(2).take(2).chain([member(there)]).collect(),
        consumes: false,
    },
];

/// One round of every command: CPU of the server, a command. All contenders run beside each other and take turns with each
/// case: a machine that gets faster or slower within minutes would otherwise decide it.
pub fn run_commands(
    contenders: &[Contender],
    only: &[String],
    depth: u64,
    commands: u64,
    to: &mut Recorder<'_>,
) -> Outcome<()> {
    for size in [Size::Small, Size::Large] {
        let servers = contenders.iter().map(Server::start).collect::<Outcome<Vec<Server>>>()?;
        let mut filled: Vec<Kind> = Vec::new();
        for case in CASES {
            let wanted = only.is_empty() || only.iter().any(|name| case.name.eq_ignore_ascii_case(name));
            // HGETALL of a million fields is no command to send a million times.
            if !wanted || (size == Size::Large && case.name.starts_with("HGETALL")) {
                continue;
            }
            if !filled.contains(&case.kind) || case.consumes {
                filled.push(case.kind);
                servers.iter().try_for_each(|server| fill(server, case.kind, size))?;
            }
            for (position, server) in servers.iter().enumerate() {
                to.contender = position;
                measure(server, case, size, depth, commands, to)?;
            }
        }
    }
    Ok(())
}

fn key_of(kind: Kind, number: u64) -> String {
    format!("{kind:?}:{number:06}").to_lowercase()
}

fn fill(server: &Server, kind: Kind, size: Size) -> Outcome<()> {
    let mut connection = Connection::open(server.address)?;
    let (keys, elements) = (size.keys(), kind.elements(size));
    let commands = (0..keys).flat_map(|key| {
        let name = key_of(kind, key);
        (0..elements).map(move |number| kind.add(&name, number))
    });
    for key in 0..keys {
        connection.send_all(std::iter::once(vec!["DEL".to_owned(), key_of(kind, key)]))?;
    }
    connection.send_all(commands)
}

fn measure(server: &Server, case: &Case, size: Size, depth: u64, commands: u64, to: &mut Recorder<'_>) -> Outcome<()> {
    let elements = case.kind.elements(size);
    // A command that consumes gets half of what is there.
    let commands = if case.consumes { commands.min(size.keys() * elements / 2) } else { commands };
    let word = case.name.split(' ').next().unwrap_or_default();
    let mut numbers = Numbers(0x0DDB_1A5E_5BAD_5EED);
    let mut new = elements;
    let bursts: Vec<Vec<u8>> = (0..BURSTS)
        .map(|_| {
            let mut burst = Vec::new();
            for _ in 0..depth {
                new += 1;
                let key = key_of(case.kind, numbers.below(size.keys()));
                let rest = (case.words)(numbers.below(elements), new);
                let words: Vec<&[u8]> =
                    [word.as_bytes(), key.as_bytes()].into_iter().chain(rest.iter().map(String::as_bytes)).collect();
                encode(&words, &mut burst);
            }
            burst
        })
        .collect();
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(server.address)).collect::<Outcome<Vec<_>>>()?;
    let (before, started) = (server.cpu()?, Instant::now());
    let rounds = (commands / depth) as usize;
    for number in 0..rounds + CONNECTIONS {
        let connection = &mut connections[number % CONNECTIONS];
        if number >= CONNECTIONS {
            connection.expect(depth)?;
        }
        if number < rounds {
            connection.stream.write_all(&bursts[number % BURSTS])?;
        } else if number >= rounds && number < CONNECTIONS {
            return Err(Failure("fewer commands than connections".to_owned()));
        }
    }
    let (used, seconds) = (server.cpu()?.since(before), started.elapsed().as_secs_f64());
    let count = rounds as f64 * depth as f64;
    let name = format!("{}, {}", case.name, size.name());
    let cpu_us = used.total_s * 1e6 / count;
    to.add(&name, OPS, count / seconds);
    to.add(&name, CPU, cpu_us);
    to.add(&name, USER, used.user_s * 1e6 / count);
    eprintln!("    {name}: {cpu_us:.3} us of server CPU a command, {:.0} ops/s", count / seconds);
    Ok(())
}

/// Memory of one value of each type, and of many small hashes: resident bytes an element (a hash).
pub fn run_memory(start: impl Fn() -> Outcome<Server>, only: &[String], to: &mut Recorder<'_>) -> Outcome<()> {
    let mut measured = |case: &str, commands: &mut dyn Iterator<Item = Vec<String>>, count: u64| -> Outcome<()> {
        if !only.is_empty() && !only.iter().any(|name| case.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let server = start()?;
        // What a first client takes once, whatever the data: buffers for its bytes, pages of the program.
        let idle = server.resident_bytes()?;
        let mut warming =
            (0..WARMING_COMMANDS).map(|_| vec!["SET".into(), "large".into(), "a text of some bytes".into()]);
        let mut connection = Connection::open(server.address)?;
        connection.send_all(&mut warming)?;
        connection.send_all(&mut std::iter::once(vec!["DEL".to_owned(), "large".into()]))?;
        let before = server.resident_bytes()?;
        eprintln!("    {case}: the first client took {:.1} MB", (before - idle) / 1e6);
        Connection::open(server.address)?.send_all(commands)?;
        let bytes = (server.resident_bytes()? - before) / count as f64;
        to.add(case, BYTES, bytes);
        eprintln!("    {case}: {bytes:.1} resident bytes each");
        Ok(())
    };
    let mut hashes = (0..MEMORY_HASHES).map(|number| {
        let mut words = vec!["HSET".to_owned(), format!("user:{number:012}")];
        for field in 0..10 {
            words.extend([format!("field:{field}"), format!("value:{:08}", scattered(number + field))]);
        }
        words
    });
    measured("a small hash of 10 fields", &mut hashes, MEMORY_HASHES)?;
    for (case, kind) in [
        ("a field of one hash", Kind::Hash),
        ("a member of one set", Kind::Set),
        ("a member of one sorted set", Kind::Sorted),
        ("an element of one list", Kind::List),
        ("an entry of one stream", Kind::Stream),
    ] {
        let mut commands = (0..MEMORY_ELEMENTS).map(|number| kind.add("large", number));
        measured(case, &mut commands, MEMORY_ELEMENTS)?;
    }
    Ok(())
}
