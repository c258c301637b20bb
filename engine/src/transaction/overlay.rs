//! Running a command whose keys are on several shards: the values come to the command.
//!
//! ```text
//!   hop 1   every shard, under locks:  gather(keys)          -> values (large ones by reference)
//!           coordinator:               a temporary keyspace of these values; the ordinary handler runs on it
//!   hop 2   every shard:               apply(writes), locks released
//! ```
//!
//! So a command needs no code of its own to work over shards. A key that is only overwritten ([`KeyFlags::OW`] without
//! access) travels as a stub: its handler may ask whether it exists, never what it holds. When the handler changed nothing
//! (`dirty` stands still) no value is written. What is absent then is removed all the same: on its shard it may lie there
//! expired, and a command that writes leaves no such key behind, on one shard as on many.

use crate::command::{Handler, KeyFlags, Milliseconds, Spec, parse_integer};
use crate::keyspace::{KeyHasher, OwnedEntry, Value};
use crate::reply::ReplyBuffer;
use crate::shard::{ClientContext, Shard};
use crate::values::string::OwnedString;

/// A key to be read in the first hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRead {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Only whether it exists matters.
    pub stub: bool,
    /// It may be written in the last hop.
    pub writes: bool,
}

/// What a key is to become.
#[derive(Debug)]
pub struct KeyWrite {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
    /// The new value; none removes the key.
    pub entry: Option<OwnedEntry>,
}

/// The values of a part's keys, in the order of its [`KeyRead`]s; none where a key is absent.
#[derive(Debug, Default)]
pub struct Gathered(pub Vec<Option<OwnedEntry>>);

/// The keys of a command with the databases they are in, in argument order, each once.
///
/// COPY is the one command that names a second database: its destination's.
pub fn keys_of(spec: &Spec, arguments: &[&[u8]], database: usize) -> Option<Vec<KeyRead>> {
    let mut keys: Vec<KeyRead> = Vec::new();
    let destination = if spec.name == "copy" { copy_destination(arguments).unwrap_or(database) } else { database };
    let fits = spec.visit_keys(arguments, |index, flags| {
        let database = if flags.writes() { destination } else { database };
        let stub = flags.has(KeyFlags::OW) && !flags.has(KeyFlags::ACCESS);
        let key = arguments[index];
        match keys.iter_mut().find(|known| known.database == database && known.key == key) {
            Some(known) => {
                known.stub &= stub;
                known.writes |= flags.writes();
            }
            None => keys.push(KeyRead { database, key: key.to_vec(), stub, writes: flags.writes() }),
        }
    });
    fits.then_some(keys)
}

/// The database that the command will write to: as in its handler, the last DB counts.
fn copy_destination(arguments: &[&[u8]]) -> Option<usize> {
    let mut words = arguments.iter().skip(3);
    let mut number = None;
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"db") {
            number = words.next();
        }
    }
    usize::try_from(parse_integer(number?)?).ok()
}

/// First hop, on each shard: reads the keys. Absent and expired keys are none.
pub fn gather(shard: &Shard, keys: &[KeyRead], now: Milliseconds) -> Gathered {
    let keyspace = &shard.keyspace;
    let read = |read: &KeyRead| {
        if read.database >= keyspace.database_count() {
            return None;
        }
        let entry = keyspace.peek(read.database, &keyspace.key(&read.key), now)?;
        Some(if read.stub {
            OwnedEntry::new(Value::String(OwnedString::Integer(0)), entry.expires_at())
        } else {
            entry.to_owned()
        })
    };
    Gathered(keys.iter().map(read).collect())
}

/// Last hop, on each shard.
pub fn apply(shard: &mut Shard, writes: Vec<KeyWrite>, now: Milliseconds) {
    for KeyWrite { database, key, entry } in writes {
        let key = shard.keyspace.key(&key);
        match entry {
            Some(entry) => shard.keyspace.put(database, &key, entry, now),
            None => drop(shard.keyspace.remove(database, &key, now)),
        }
    }
}

/// On the coordinator: runs the command on the gathered values. The writes are in the order of `keys`; where the command
/// changed nothing, only removals of what is absent.
pub fn run(
    handler: Handler,
    arguments: &[&[u8]],
    client: ClientContext,
    keys: &[KeyRead],
    values: Vec<Option<OwnedEntry>>,
    template: &Shard,
    now: Milliseconds,
    out: &mut ReplyBuffer,
) -> Vec<(usize, KeyWrite)> {
    let databases = template.keyspace.database_count();
    let hasher: KeyHasher = template.keyspace.hasher().clone();
    let mut temporary = Shard::new(databases, hasher, template.options.clone(), now as u64);
    for (read, value) in keys.iter().zip(values) {
        if let Some(value) = value {
            let key = temporary.keyspace.key(&read.key);
            temporary.keyspace.put(read.database, &key, value, now);
        }
    }
    temporary.keyspace.dirty = 0;
    temporary.execute(handler, arguments, client, now, out);
    let has_changed = temporary.keyspace.dirty > 0;
    let mut writes = Vec::new();
    for (index, read) in keys.iter().enumerate().filter(|(_, read)| read.writes && read.database < databases) {
        let key = temporary.keyspace.key(&read.key);
        if has_changed || temporary.keyspace.peek(read.database, &key, now).is_none() {
            let entry = temporary.keyspace.take(read.database, &key, now);
            writes.push((index, KeyWrite { database: read.database, key: read.key.clone(), entry }));
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::EngineOptions;
    use crate::commands;
    use crate::keyspace::Expiry;

    /// Both hops of a command whose keys are all on one shard; its reply.
    fn run_on(shard: &mut Shard, line: &str, now: Milliseconds) -> String {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let command = commands::all().find(|command| command.spec.name.as_bytes() == arguments[0]).expect("a command");
        let keys = keys_of(&command.spec, &arguments, 0).expect("keys");
        let Gathered(values) = gather(shard, &keys, now);
        let mut out = ReplyBuffer::default();
        let client = ClientContext::default();
        let writes = run(command.run, &arguments, client, &keys, values, shard, now, &mut out);
        apply(shard, writes.into_iter().map(|(_, write)| write).collect(), now);
        String::from_utf8_lossy(&out.flatten()).trim_end().to_owned()
    }

    #[test]
    fn an_expired_key_that_was_to_be_written_is_gone_though_the_command_has_changed_nothing() {
        for (line, reply, left) in [
            ("msetex 2 over x none y PXAT 1000", ":1", 1),
            ("msetnx over x lives y", ":0", 1),
            ("rename over none", "-ERR no such key", 1),
            ("renamenx lives over", ":1", 1),
            ("copy lives over db 9", "-ERR DB index is out of range", 2),
            ("copy over none", ":0", 2),
            ("lcs over lives", "$0", 2),
        ] {
            let mut shard = Shard::new(2, KeyHasher::with_seed(1), EngineOptions::default(), 1);
            for (name, expiry) in [("over", Expiry::At(1000)), ("lives", Expiry::Clear)] {
                let name = name.as_bytes().to_vec();
                let key = shard.keyspace.key(&name);
                shard.keyspace.set_string(0, &key, b"value", expiry, 0);
            }
            assert_eq!(run_on(&mut shard, line, 2000), reply, "{line}");
            assert_eq!(shard.keyspace.len(0), left, "{line}");
        }
    }

    #[test]
    fn the_destination_of_a_copy_is_in_the_database_of_the_last_option() {
        let copy = commands::all().find(|command| command.spec.name == "copy").expect("a command");
        for (line, destination) in [
            ("copy a b", 5),
            ("copy a b replace", 5),
            ("copy a b db 1", 1),
            ("copy a b replace DB 1", 1),
            ("copy a b db 1 db 2", 2),
            ("copy a b db 1 replace db 3", 3),
            ("copy a b db x", 5),
            ("copy a b db", 5),
        ] {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let keys = keys_of(&copy.spec, &arguments, 5).expect("keys");
            let places: Vec<_> = keys.iter().map(|key| (key.key.as_slice(), key.database)).collect();
            assert_eq!(places, [(&b"a"[..], 5), (b"b", destination)], "{line}");
        }
    }
}
