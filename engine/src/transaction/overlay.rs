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
//! (`dirty` stands still) nothing is written.

use crate::command::{Handler, KeyFlags, Milliseconds, Spec, parse_integer};
use crate::keyspace::{KeyHasher, OwnedEntry, TravellingEntry, Value};
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
    pub entry: Option<TravellingEntry>,
}

/// The values of a part's keys, in the order of its [`KeyRead`]s; none where a key is absent.
#[derive(Debug, Default)]
pub struct Gathered(pub Vec<Option<TravellingEntry>>);

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
        let entry = if read.stub {
            OwnedEntry::new(Value::String(OwnedString::Integer(0)), entry.expires_at())
        } else {
            entry.to_owned()
        };
        Some(entry.into())
    };
    Gathered(keys.iter().map(read).collect())
}

/// Last hop, on each shard.
pub fn apply(shard: &mut Shard, writes: Vec<KeyWrite>, now: Milliseconds) {
    for KeyWrite { database, key, entry } in writes {
        let key = shard.keyspace.key(&key);
        match entry {
            Some(entry) => shard.keyspace.put(database, &key, entry.into(), now),
            None => drop(shard.keyspace.remove(database, &key, now)),
        }
    }
}

/// On the coordinator: runs the command on the gathered values. The writes are in the order of `keys`; none where the
/// command changed nothing.
pub fn run(
    handler: Handler,
    arguments: &[&[u8]],
    client: ClientContext,
    keys: &[KeyRead],
    values: Vec<Option<TravellingEntry>>,
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
            temporary.keyspace.put(read.database, &key, value.into(), now);
        }
    }
    temporary.keyspace.dirty = 0;
    temporary.execute(handler, arguments, client, now, out);
    if temporary.keyspace.dirty == 0 {
        return Vec::new();
    }
    let written = keys.iter().enumerate().filter(|(_, read)| read.writes);
    written
        .map(|(index, read)| {
            let key = temporary.keyspace.key(&read.key);
            let entry = temporary.keyspace.take(read.database, &key, now).map(TravellingEntry::from);
            (index, KeyWrite { database: read.database, key: read.key.clone(), entry })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

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
