//! What the tests over TCP share.
//!
//! ```text
//!   server      starts a server of its own on a loopback port, ours or the real one, and ends it
//!   client      a blocking client that sends bytes and reads one reply at a time
//!   reply       replies as a tree and as text, one text for each sequence of bytes
//!   values      commands that make values of all types and forms
//!   transcript  a script of requests and replies, played against any server
//! ```

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part of this module")]

pub mod client;
pub mod reply;
pub mod server;
pub mod transcript;
pub mod values;

pub use client::{Client, Replies, encode, words};
pub use reply::Reply;
pub use server::Server;

use std::time::{Duration, Instant};

/// Ends a test that hangs; far beyond what anything here needs, also on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Asks again and again until the answer is yes.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The keys of the selected database, in order.
pub fn keys(client: &mut Client) -> Vec<String> {
    let mut keys: Vec<String> = client.call("KEYS *").elements().iter().map(Reply::text).collect();
    keys.sort_unstable();
    keys
}

/// What a key's value is, as one text.
pub fn digest_of(client: &mut Client, key: &str) -> String {
    client.call(&format!("DEBUG DIGEST-VALUE {key}")).elements()[0].text()
}

/// A figure of each shard's line in INFO.
pub fn figures(client: &mut Client, name: &str) -> Vec<u64> {
    let shards = client.info_number("shards") as usize;
    let line = |shard: usize, client: &mut Client| client.info(&format!("shard{shard}"));
    let figure = |line: String| {
        let found = line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_string));
        found.unwrap_or_else(|| panic!("no {name} in {line}")).parse().expect("a number")
    };
    (0..shards).map(|shard| figure(line(shard, client))).collect()
}

/// A key that lives alone on each shard: found by writing keys and looking at the shards' counts of keys.
pub fn key_of_each_shard(client: &mut Client, shards: usize) -> Vec<String> {
    let mut keys = vec![None; shards];
    for index in 0.. {
        assert_eq!(client.ask("FLUSHALL"), "+OK");
        let key = format!("{{tag{index}}}");
        assert_eq!(client.ask(&format!("SET {key} 1")), "+OK");
        let shard = figures(client, "keys").iter().position(|keys| *keys == 1).expect("a shard has it");
        keys[shard].get_or_insert(key);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    keys.into_iter().flatten().collect()
}
