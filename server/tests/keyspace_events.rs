//! The events that commands report: their names, keys, databases and order, against what the real server publishes.
//!
//! ```text
//!   random lines ──> the real server, notify-keyspace-events EAmn ──> a subscriber         one list of events a line
//!              ├───> our server on 1, 2 and 5 shards ──────────────────> a subscriber         another
//!              └───> our engine on 1 and 3 shards, by the ways that the server has ──> journals   another
//! ```
//!
//! A line whose parts run on several shards beside each other (MSET, DEL) has events in no order between these shards;
//! there, and only there, they are sorted.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Client, Server, encode};
use torc_engine::command::{Command, EngineOptions, Spread};
use torc_engine::commands;
use torc_engine::journal::EventClass;
use torc_engine::keyspace::{KeyHasher, slot_of};
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::{ClientContext, Shard};
use torc_engine::transaction::overlay::{self, KeyRead, Overlay};

const EVENTS: [EventClass; 11] = [
    EventClass::Generic,
    EventClass::String,
    EventClass::List,
    EventClass::Set,
    EventClass::Hash,
    EventClass::SortedSet,
    EventClass::Expired,
    EventClass::Evicted,
    EventClass::Stream,
    EventClass::Miss,
    EventClass::New,
];

/// Shards without a server around them.
struct Engine {
    shards: Vec<Shard>,
    units: u64,
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_millis() as i64
}

impl Engine {
    fn new(shards: usize) -> Self {
        let shard = |seed| {
            let mut shard = Shard::new(16, KeyHasher::with_seed(1), EngineOptions::default(), seed);
            shard.keyspace.journal.listen(false, &EVENTS);
            shard
        };
        Self { shards: (0..shards as u64).map(shard).collect(), units: 0 }
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        usize::from(slot_of(key)) % self.shards.len()
    }

    /// Runs a line as the server would, and gives its events.
    fn run(&mut self, commands: &HashMap<&str, &'static Command>, arguments: &[&[u8]]) -> Vec<String> {
        let name = String::from_utf8_lossy(arguments[0]).to_ascii_lowercase();
        let command = commands[name.as_str()];
        let now = now_ms();
        let keys = overlay::keys_of(&command.spec, arguments, 0).unwrap_or_default();
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, read) in keys.iter().enumerate() {
            parts.entry(self.shard_of(&read.key)).or_default().push(place);
        }
        let is_one_hop = matches!(command.spec.spread, Spread::Sum | Spread::AllOk | Spread::Gather);
        let several = parts.len() > 1;
        if !several {
            let shard = parts.keys().next().copied().unwrap_or(0);
            let mut out = ReplyBuffer::default();
            self.shards[shard].execute(command.run, arguments, ClientContext::default(), now, &mut out);
        } else if is_one_hop {
            self.run_parts(command, arguments, now);
        } else {
            self.run_overlay(command, arguments, &keys, parts.into_iter().collect(), now);
        }
        let events = self.shards.iter_mut().flat_map(|shard| shard.keyspace.journal.take_events());
        let shown = events.map(|event| format!("{} {} {}", event.database, event.name, event.key.escape_ascii()));
        let mut shown: Vec<String> = shown.collect();
        if several && is_one_hop {
            shown.sort();
        }
        shown
    }

    fn run_parts(&mut self, command: &Command, arguments: &[&[u8]], now: i64) {
        let step = if command.spec.name == "mset" { 2 } else { 1 };
        let mut groups: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for chunk in arguments[1..].chunks(step) {
            groups.entry(self.shard_of(chunk[0])).or_insert_with(|| vec![arguments[0]]).extend(chunk);
        }
        for (shard, arguments) in groups {
            let mut out = ReplyBuffer::default();
            self.shards[shard].execute(command.run, &arguments, ClientContext::default(), now, &mut out);
        }
    }

    fn run_overlay(
        &mut self,
        command: &Command,
        arguments: &[&[u8]],
        keys: &[KeyRead],
        parts: Vec<(usize, Vec<usize>)>,
        now: i64,
    ) {
        self.units += 1;
        let (owners, places): (Vec<usize>, Vec<Vec<usize>>) = parts.into_iter().unzip();
        let gathered = owners.iter().zip(&places).map(|(&owner, places)| {
            let reads: Vec<KeyRead> = places.iter().map(|&place| keys[place].clone()).collect();
            overlay::gather(&mut self.shards[owner], &reads, now)
        });
        let gathered = gathered.collect();
        let coordinator = self.units as usize % self.shards.len();
        let overlay = Overlay {
            handler: command.run,
            arguments,
            client: ClientContext::default(),
            keys,
            parts: &places,
            unit: (coordinator, self.units),
            now,
            has_let_go: false,
        };
        let finishes = overlay.run(gathered, &mut self.shards[coordinator], &mut ReplyBuffer::default());
        for (owner, finish) in owners.into_iter().zip(finishes) {
            overlay::apply(&mut self.shards[owner], finish);
        }
    }
}

/// A server with somebody who listens.
struct Heard {
    server: Server,
    client: Client,
    subscriber: Client,
}

const ARGUMENTS: &[&str] = &["--notify-keyspace-events", "EAmn", "--enable-debug-command", "yes", "--hz", "1"];

impl Heard {
    fn real() -> Option<Self> {
        Server::real(ARGUMENTS).map(Self::of)
    }

    fn of(server: Server) -> Self {
        let (mut client, mut subscriber) = (server.client(), server.client());
        // What expires is found by who looks for it, as in an engine whose expiry cycle nobody runs.
        assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK");
        subscriber.call("PSUBSCRIBE __keyevent@*");
        Self { server, client, subscriber }
    }

    fn run(&mut self, arguments: &[&[u8]]) -> (String, Vec<String>) {
        let reply = self.client.call_bytes(arguments).to_string();
        self.client.send(&encode(&["PUBLISH", "__keyevent@0__:fence", "fence"]));
        self.client.reply();
        let mut events = Vec::new();
        loop {
            let message = self.subscriber.reply();
            let parts: Vec<String> = message.elements().iter().map(support::Reply::text).collect();
            let (channel, key) = (&parts[2], &parts[3]);
            let (database, name) = channel.split_once("__:").expect("a channel of events");
            if name == "fence" {
                return (reply, events);
            }
            let database = database.trim_start_matches("__keyevent@");
            events.push(format!("{database} {name} {}", key.as_bytes().escape_ascii()));
        }
    }
}

/// How many lines are sent to servers of ours.
const SERVER_LINES: usize = 4_000;

const PATTERNS: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K V EX 1000",
    "SET K V NX",
    "SET K V XX GET",
    "SET K V KEEPTTL",
    "SETNX K V",
    "SETEX K 1000 V",
    "PSETEX K 100000 V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K",
    "GETEX K EX 1000",
    "GETEX K PERSIST",
    "GETEX K PXAT 1",
    "GET K",
    "APPEND K V",
    "SETRANGE K 2 V",
    "SETRANGE K 2 ''",
    "GETRANGE K 0 -1",
    "STRLEN K",
    "INCR K",
    "INCRBY K N",
    "DECR K",
    "DECRBY K N",
    "INCRBYFLOAT K 1.5",
    "MSET K V K V K V",
    "MSETNX K V K V",
    "MGET K K K",
    "LCS K K",
    "DEL K",
    "DEL K K K",
    "UNLINK K K",
    "EXISTS K K",
    "TOUCH K K",
    "TYPE K",
    "TTL K",
    "OBJECT ENCODING K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "COPY K K DB 3 REPLACE",
    "MOVE K 2",
    "EXPIRE K 1000",
    "EXPIRE K 1000 NX",
    "PEXPIREAT K 1",
    "PERSIST K",
    "EXPIRE K -1",
    "EXPIREAT K 33177117420",
    "SETBIT K 9 1",
    "GETBIT K 3",
    "BITCOUNT K",
    "BITPOS K 1",
    "BITOP OR K K K",
    "BITOP NOT K K",
    "BITFIELD K SET u8 0 7",
    "BITFIELD K GET u8 0",
    "BITFIELD_RO K GET u8 0",
    "PFADD K F F",
    "PFCOUNT K",
    "PFMERGE K K K",
    "RPUSH K F F N",
    "LPUSH K F",
    "LPUSHX K F",
    "RPUSHX K F",
    "LPOP K",
    "RPOP K 2",
    "LPOP K 100",
    "LSET K 0 F",
    "LINSERT K BEFORE F N",
    "LREM K 0 F",
    "LTRIM K 1 -1",
    "LTRIM K 5 2",
    "LRANGE K 0 -1",
    "LINDEX K 0",
    "LPOS K F",
    "LLEN K",
    "LMOVE K K LEFT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 2 K K LEFT COUNT 2",
    "SADD K F F N",
    "SADD K F",
    "SREM K F F",
    "SMOVE K K F",
    "SPOP K 100",
    "SPOP K 0",
    "SMEMBERS K",
    "SISMEMBER K F",
    "SCARD K",
    "SINTERSTORE K K K",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "SINTER K K",
    "SUNION K K",
    "SINTERCARD 2 K K",
    "SRANDMEMBER K 0",
    "HSET K F N F V",
    "HSET K F V",
    "HSETNX K F V",
    "HMSET K F V",
    "HDEL K F F",
    "HINCRBY K F N",
    "HINCRBYFLOAT K F 1.5",
    "HGET K F",
    "HMGET K F F",
    "HGETALL K",
    "HLEN K",
    "HEXISTS K F",
    "HSTRLEN K F",
    "ZADD K N F N F",
    "ZADD K N F",
    "ZADD K XX N F",
    "ZADD K NX N F",
    "ZADD K GT CH N F",
    "ZADD K INCR N F",
    "ZINCRBY K N F",
    "ZREM K F F",
    "ZPOPMIN K",
    "ZPOPMAX K 100",
    "ZMPOP 2 K K MIN",
    "ZREMRANGEBYRANK K 0 0",
    "ZREMRANGEBYSCORE K 0 50",
    "ZREMRANGEBYLEX K - (f3",
    "ZRANGESTORE K K 0 1",
    "ZUNIONSTORE K 2 K K",
    "ZINTERSTORE K 2 K K",
    "ZDIFFSTORE K 2 K K",
    "ZSCORE K F",
    "ZRANGE K 0 -1",
    "ZRANK K F",
    "ZCARD K",
    "ZUNION 2 K K",
    "ZINTERCARD 2 K K",
    // Each type by itself, so that wrong types are not all there is.
    "DEL K",
    "DEL K",
    "DEL K K",
];

fn line(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let pattern = PATTERNS[random.usize(..PATTERNS.len())];
    let word = |word: &str| match word {
        "K" => format!("key:{}", random.usize(..7)),
        "F" => format!("f{}", random.usize(..5)),
        "V" => ["", "text", "12", "3.5"][random.usize(..4)].to_string(),
        "N" => random.u32(..100).to_string(),
        "''" => String::new(),
        word => word.to_string(),
    };
    pattern.split(' ').map(word).map(String::into_bytes).collect()
}

fn shown(arguments: &[Vec<u8>]) -> String {
    arguments.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn events_are_those_of_the_real_server() {
    let Some(mut real) = Heard::real() else { return };
    let mut servers = [1, 2, 5].map(|shards| Heard::of(Server::torc(shards, ARGUMENTS)));
    let commands: HashMap<&str, &'static Command> =
        commands::all().map(|command| (command.spec.name, command)).collect();
    let seed = std::env::var("EVENTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut engines = [1, 3].map(Engine::new);
    let mut differing: BTreeMap<String, String> = BTreeMap::new();
    let mut events_seen = 0;
    for line in 0..12_000 {
        let arguments = self::line(&mut random);
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let (reply, expected) = real.run(&slices);
        events_seen += expected.len();
        let mut compare = |who: &str, shards: usize, events: Vec<String>| {
            if events != expected {
                let mut unordered = expected.clone();
                unordered.sort();
                let is_unordered = ["MSET", "DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"]
                    .iter()
                    .any(|name| slices[0] == name.as_bytes());
                let mut sorted = events.clone();
                sorted.sort();
                if !(is_unordered && shards > 1 && sorted == unordered) {
                    let name = format!("{} on {who}", shown(&arguments[..1]));
                    differing.entry(name).or_insert_with(|| {
                        format!("{} -> {reply}\n    real {expected:?}\n    ours {events:?}", shown(&arguments))
                    });
                }
            }
        };
        for engine in &mut engines {
            let events = engine.run(&commands, &slices);
            compare(&format!("an engine of {} shards", engine.shards.len()), engine.shards.len(), events);
        }
        // A server is asked less often than an engine.
        if line < SERVER_LINES {
            for (server, shards) in servers.iter_mut().zip([1, 2, 5]) {
                let (_, events) = server.run(&slices);
                let name = server.server.name.clone();
                compare(&name, shards, events);
            }
        }
    }
    println!("{events_seen} events of the real server");
    assert!(events_seen > 5000);
    let report: Vec<String> = differing.into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
    assert!(report.is_empty(), "seed {seed}:\n{}", report.join("\n"));
}

#[test]
fn a_key_that_expires_says_so_when_somebody_looks() {
    let Some(mut real) = Heard::real() else { return };
    let commands: HashMap<&str, &'static Command> =
        commands::all().map(|command| (command.spec.name, command)).collect();
    let mut engines = [1, 3].map(Engine::new);
    for second in [
        "GET a",
        "SET a 2",
        "INCR a",
        "APPEND a 1",
        "RPUSH a 1",
        "DEL a",
        "RENAME b a",
        "SUNIONSTORE a b",
        "MSET a 1 b 2 c 3",
    ] {
        for first in ["DEL a b", "SADD b 1", "SET a 1 PX 1", second] {
            let slices: Vec<&[u8]> = first.split(' ').map(str::as_bytes).collect();
            let (_, mut expected) = real.run(&slices);
            expected.sort();
            for engine in &mut engines {
                let mut events = engine.run(&commands, &slices);
                events.sort();
                assert_eq!(events, expected, "{first} on {} shards", engine.shards.len());
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

/// The parts of values that events are about have channels of their own, in four forms.
#[test]
fn fields_of_hashes_are_told_on_the_channels_of_subkeys() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &["--notify-keyspace-events", "hgKSTIV"]);
        let (mut client, mut subscriber) = (server.client(), server.client());
        subscriber.call("PSUBSCRIBE __*");
        client.call("HSET key one 1 three 3");
        client.call("HDEL key one none");
        client.call_bytes(&[b"HSET", b"a\nb", b"f", b"1"]);
        client.call("DEL key");
        client.call("PUBLISH __end x");
        let mut told = Vec::new();
        loop {
            let message = subscriber.reply();
            let parts: Vec<String> = message.elements()[2..].iter().map(support::Reply::text).collect();
            if parts[0] == "__end" {
                break;
            }
            told.push(parts.join(" = ").trim_start_matches("__").replace("@0__", "").escape_debug().to_string());
        }
        let expected = [
            "keyspace:key = hset",
            "subkeyspace:key = hset|3:one,5:three",
            "subkeyevent:hset = 3:key|3:one,5:three",
            "subkeyspaceitem:key\\none = hset",
            "subkeyspaceitem:key\\nthree = hset",
            "subkeyspaceevent:hset|key = 3:one,5:three",
            "keyspace:key = hdel",
            "subkeyspace:key = hdel|3:one",
            "subkeyevent:hdel = 3:key|3:one",
            "subkeyspaceitem:key\\none = hdel",
            "subkeyspaceevent:hdel|key = 3:one",
            "keyspace:a\\nb = hset",
            "subkeyspace:a\\nb = hset|1:f",
            "subkeyevent:hset = 3:a\\nb|1:f",
            "subkeyspaceevent:hset|a\\nb = 1:f",
            "keyspace:key = del",
        ];
        assert_eq!(told, expected, "{shards} shards");
    }
}

/// Nothing is collected for nobody.
#[test]
fn events_are_counted_only_while_somebody_may_hear_them() {
    let server = Server::torc(2, &["--notify-keyspace-events", "KEA"]);
    let (mut client, mut subscriber) = (server.client(), server.client());
    client.call("SET a 1");
    subscriber.call("SUBSCRIBE news");
    client.call("SET a 1");
    assert_eq!(client.ask("PUBLISH __keyspace@0__:a set"), ":0");
    subscriber.call("SUBSCRIBE __keyspace@0__:a");
    client.call("SET a 1");
    assert_eq!(subscriber.reply().to_string(), "[\"message\" \"__keyspace@0__:a\" \"set\"]");
}
