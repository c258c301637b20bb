//! What a server holds, in a form that can be compared: a digest of all, and for each key what the digest does not tell.

use crate::cluster::Words;
use crate::support::Reply;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Databases that workloads use.
pub const DATABASES: usize = 4;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub kind: String,
    /// DEBUG DIGEST-VALUE.
    pub digest: String,
    /// PEXPIRETIME.
    pub expires_at: i64,
    /// Groups, consumers, what is pending, and IDs of a stream.
    pub stream: String,
    /// Times of fields.
    pub field_times: String,
    pub encoding: String,
}

/// What a server holds.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub digest: String,
    pub items: BTreeMap<(usize, Vec<u8>), Item>,
}

/// Takes an inventory; `ask` sends commands in one pipeline. Times of fields are asked for where they are known.
pub fn take(ask: &mut dyn FnMut(&[Words]) -> Vec<Reply>, knows_field_times: bool) -> Inventory {
    let words = |line: &[&[u8]]| -> Words { line.iter().map(|word| word.to_vec()).collect() };
    let select = |database: usize| words(&[b"SELECT", database.to_string().as_bytes()]);
    let listing = (0..DATABASES).flat_map(|database| [select(database), words(&[b"KEYS", b"*"])]);
    let listing: Vec<Words> = std::iter::once(words(&[b"DEBUG", b"DIGEST"])).chain(listing).collect();
    let replies = ask(&listing);
    let mut inventory = Inventory { digest: replies[0].text(), items: BTreeMap::new() };
    for database in 0..DATABASES {
        let keys = replies[2 + 2 * database].elements();
        let lines = keys.iter().map(Reply::bytes).flat_map(|key| {
            [&b"TYPE"[..], b"PEXPIRETIME"]
                .map(|command| words(&[command, key]))
                .into_iter()
                .chain([words(&[b"DEBUG", b"DIGEST-VALUE", key]), words(&[b"OBJECT", b"ENCODING", key])])
        });
        let lines: Vec<Words> = std::iter::once(select(database)).chain(lines).collect();
        for (key, replies) in keys.iter().zip(ask(&lines)[1..].chunks(4)) {
            let [kind, expires_at, digest, encoding] = replies else { unreachable!("four questions") };
            let item = Item {
                kind: kind.text(),
                digest: digest.elements()[0].text(),
                expires_at: expires_at.integer(),
                stream: String::new(),
                field_times: String::new(),
                encoding: encoding.text(),
            };
            inventory.items.insert((database, key.bytes().to_vec()), item);
        }
        let of_database = inventory.items.iter_mut().filter(|((of, _), _)| *of == database);
        for ((_, key), item) in of_database {
            if item.kind == "stream" {
                item.stream = stream_of(&ask(&[words(&[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"])])[0]);
            } else if item.kind == "hash" && knows_field_times {
                item.field_times = field_times(ask, key);
            }
        }
    }
    inventory
}

fn field_times(ask: &mut dyn FnMut(&[Words]) -> Vec<Reply>, key: &[u8]) -> String {
    let names = ask(&[vec![b"HKEYS".to_vec(), key.to_vec()]]).remove(0).sorted();
    let names: Words = names.elements().iter().map(|name| name.bytes().to_vec()).collect();
    let line = [b"HPEXPIRETIME", key, b"FIELDS", names.len().to_string().as_bytes()].map(<[u8]>::to_vec);
    let times = ask(&[[line.to_vec(), names.clone()].concat()]).remove(0);
    let mut text = String::new();
    for (name, time) in names.iter().zip(times.elements()) {
        write!(text, "{} {time}; ", name.escape_ascii()).expect("memory");
    }
    text
}

/// What makes a stream the same: not when consumers were last seen, nor how it is laid out in memory.
fn stream_of(full: &Reply) -> String {
    let mut text = String::new();
    for name in ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"] {
        write!(text, "{name} {}; ", full.get(name).expect("a field")).expect("memory");
    }
    for group in full.get("groups").expect("groups").elements() {
        for name in ["name", "last-delivered-id", "entries-read", "lag"] {
            write!(text, "{name} {}; ", group.get(name).expect("a field")).expect("memory");
        }
        let pending = group.get("pel").or(group.get("pending")).expect("what is pending");
        write!(text, "pending {}; ", without_times(pending)).expect("memory");
        for consumer in group.get("consumers").expect("consumers").elements() {
            let pending = consumer.get("pel").or(consumer.get("pending")).expect("what is pending");
            let name = consumer.get("name").expect("a name");
            write!(text, "{name} {}; ", without_times(pending)).expect("memory");
        }
    }
    text
}

/// What is pending, without the times of delivery, which stand before the counts: XCLAIM takes a time ahead of the clock for
/// now, and the clocks of those that the effects are told to are behind, so that nothing expires there.
fn without_times(pending: &Reply) -> String {
    let entry = |entry: &Reply| {
        let fields = entry.elements();
        let kept = fields.iter().enumerate().filter(|(index, _)| index + 2 != fields.len());
        kept.map(|(_, field)| format!("{field} ")).collect::<String>()
    };
    pending.elements().iter().map(|of| format!("[{}]", entry(of).trim_end())).collect()
}

/// Why two encodings of the same data differ, where it is known; none if they should not.
pub fn reason(ours: &Item, real: &Item) -> Option<&'static str> {
    match (ours.kind.as_str(), ours.encoding.as_str(), real.encoding.as_str()) {
        _ if ours.encoding == real.encoding => Some("the same"),
        ("list", "listpack", "quicklist") => Some("7.0 has lists of one node, which it calls quicklist"),
        ("set", "listpack", "hashtable") => Some("7.0 has no small sets of texts"),
        ("string", "raw", "embstr" | "int") => Some("what BITOP makes is told as SET"),
        ("string", "embstr", "int") => Some("the sum of INCRBYFLOAT is told as SET"),
        _ => None,
    }
}

/// The keys that differ, with both sides; empty if none do. Encodings are another matter.
pub fn differences(ours: &Inventory, theirs: &Inventory, with_field_times: bool) -> String {
    let mut text = String::new();
    let keys: BTreeSet<_> = ours.items.keys().chain(theirs.items.keys()).collect();
    for key in keys {
        let (mine, other) = (ours.items.get(key), theirs.items.get(key));
        let is_same = mine.zip(other).is_some_and(|(mine, other)| {
            let mut alike = Item { encoding: mine.encoding.clone(), ..other.clone() };
            if !with_field_times {
                alike.field_times.clone_from(&mine.field_times);
            }
            *mine == alike
        });
        if !is_same {
            let (database, name) = key;
            writeln!(text, "  {database} {}:\n    {mine:?}\n    {other:?}", name.escape_ascii()).expect("memory");
        }
    }
    text
}
