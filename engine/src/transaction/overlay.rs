//! Running a command whose keys are on several shards: the values come to the command.
//!
//! ```text
//!   hop 1   every shard, under locks:  gather(keys)          -> values (large ones by reference)
//!           coordinator:               a temporary keyspace of these values; the ordinary handler runs on it
//!   hop 2   every shard:               apply(writes), locks released
//! ```
//!
//! So a command needs no code of its own to work over shards. A key that is only overwritten ([`KeyFlags::OW`] without
//! access) travels as a stub: its handler may ask whether it exists and of what type it is, never what it holds. When the handler changed nothing
//! (`dirty` stands still) nothing is written.
//!
//! What the handler reported to the temporary keyspace's journal goes, once, to the owner of the first key that the command
//! may write, in the last hop: with the writes, and between what that shard did before and after ([`Finish`]). Its count of
//! changes goes there too. What was counted for INFO (hits, errors) stays with the coordinator.
//!
//! Where values name further keys (SORT BY, GET), the first hop takes every shard whole for a moment: each remembers from
//! that [`Instant`](crate::keyspace::Instant) on what such keys hold, and goes on; only what the command may write stays locked.
//! The command asks for values some at a time, in slices, and each shard answers as of the instant.
//!
//! ```text
//!   hop 1   every shard, held whole:   gather(named keys), begin the instant; then held: what may be written
//!           coordinator:               runs the handler on the values
//!               keys, some at a time   ──>  what they held  ──>  ...
//!   hop 2   every shard:               apply(writes), released, the instant ends
//! ```
//!
//! A key whose time is over is absent for the command; a log, which knows no clock, is told so before. A key that may be
//! written is locked for this command alone and goes at once. One that is only read stays, as a reader beside this one may
//! run at an earlier time; its DEL is reported all the same.

use super::schedule::Mode;
use crate::command::{Handler, KeyFlags, Milliseconds, Spec, parse_integer};
use crate::journal::{Event, Share};
use crate::keyspace::{KeyHasher, OwnedEntry, Value, Watches};
use crate::long::Unfinished;
use crate::reply::ReplyBuffer;
use crate::shard::{ClientContext, Shard};
use std::collections::HashSet;

/// A key to be read in the first hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRead {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Only whether it exists matters.
    pub stub: bool,
    /// Whether it may be written in the last hop, or what will be written depends on it.
    pub mode: Mode,
}

impl KeyRead {
    /// Whether it may be written in the last hop.
    pub fn writes(&self) -> bool {
        self.mode == Mode::Write
    }
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
    /// Whether those who watch the key are to hear of it.
    pub is_changed: bool,
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
        let mode = Mode::of(flags.writes(), spec.may_write());
        let key = arguments[index];
        match keys.iter_mut().find(|known| known.database == database && known.key == key) {
            Some(known) => {
                known.stub &= stub;
                known.mode = known.mode.max(mode);
            }
            None => keys.push(KeyRead { database, key: key.to_vec(), stub, mode }),
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

/// What one shard is to do in the last hop.
#[derive(Debug, Default)]
pub struct Finish {
    /// The time at which the values were read.
    pub now: Milliseconds,
    /// The new values of its keys.
    pub writes: Vec<KeyWrite>,
    /// What its journal is to hold of the command.
    pub share: Option<Share>,
    /// Events, on one of the shards.
    pub events: Vec<Event>,
    /// Changes, counted on the same.
    pub dirty: u64,
}

/// First hop, on each shard: reads the keys. Absent and expired keys are none.
pub fn gather(shard: &mut Shard, keys: &[KeyRead], now: Milliseconds) -> Gathered {
    let keyspace = &mut shard.keyspace;
    let read = |read: &KeyRead| {
        if read.database >= keyspace.database_count() {
            return None;
        }
        let key = keyspace.key(&read.key);
        if read.mode != Mode::Read {
            keyspace.settle_expired(read.database, &key, now, read.writes());
        }
        let entry = keyspace.peek(read.database, &key, now)?;
        let entry =
            if read.stub { OwnedEntry::new(Value::stub(entry.kind()), entry.expires_at()) } else { entry.to_owned() };
        Some(entry)
    };
    Gathered(keys.iter().map(read).collect())
}

/// Last hop, on each shard.
pub fn apply(shard: &mut Shard, finish: Finish) {
    let Finish { now, writes, share, events, dirty } = finish;
    let keyspace = &mut shard.keyspace;
    let dirty_before = keyspace.dirty;
    // The command has reported already what it did.
    let mut journal = std::mem::take(&mut keyspace.journal);
    for KeyWrite { database, key, entry, is_changed } in writes {
        if is_changed {
            journal.touch(database, &key);
        }
        let key = keyspace.key(&key);
        match entry {
            Some(entry) => keyspace.put(database, &key, entry, now),
            None => drop(keyspace.remove(database, &key, now)),
        }
    }
    keyspace.dirty = dirty_before + dirty;
    keyspace.confirm_changes();
    keyspace.journal = journal;
    keyspace.journal.add(share, events);
}

/// A command between its hops: its keys, and which of them each part has read.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// The function.
    pub handler: Handler,
    /// Name and arguments.
    pub arguments: &'a [&'a [u8]],
    /// For whom.
    pub client: ClientContext,
    /// All keys ([`keys_of`]).
    pub keys: &'a [KeyRead],
    /// For each part, the places of its keys among them.
    pub parts: &'a [Vec<usize>],
    /// How journals name it (see [`Share::unit`]).
    pub unit: (usize, u64),
    /// Its one time.
    pub now: Milliseconds,
    /// Whether what is only read was free again after the first hop: the parts that write nothing have gone on then.
    pub has_let_go: bool,
}

impl Overlay<'_> {
    /// On the coordinator: runs the command on the values that the parts have gathered, in their order, and returns the
    /// temporary shard where it did, and what it has left to do there. Of keys that values name it may ask the values.
    pub fn begin(
        &self,
        gathered: Vec<Gathered>,
        may_ask: bool,
        shard: &Shard,
        out: &mut ReplyBuffer,
    ) -> (Shard, Option<Unfinished>) {
        let mut temporary = self.temporary(shard);
        temporary.keyspace.is_partial = may_ask;
        self.lay_out(gathered, &mut temporary);
        let unfinished = temporary.begin(self.handler, self.arguments, self.client, self.now, out);
        (temporary, unfinished)
    }

    /// All of it at once: for units in whose middle nothing else may happen.
    pub fn run(&self, gathered: Vec<Gathered>, shard: &mut Shard, out: &mut ReplyBuffer) -> Vec<Finish> {
        let (mut temporary, unfinished) = self.begin(gathered, false, shard, out);
        if let Some(unfinished) = unfinished {
            unfinished.run_to_end(&mut temporary, out);
        }
        self.finish(temporary, shard)
    }

    /// Whether it may write at all.
    pub fn writes(&self) -> bool {
        self.keys.iter().any(KeyRead::writes)
    }

    /// What each part has to do to be rid of a command that writes nothing.
    pub fn releases(&self) -> Vec<Finish> {
        self.parts.iter().map(|_| Finish { now: self.now, ..Finish::default() }).collect()
    }

    /// What is to be written where the command has ended, in the order of the parts. What it counted goes to `shard`.
    pub fn finish(&self, mut temporary: Shard, shard: &mut Shard) -> Vec<Finish> {
        shard.count_for(&temporary);
        let dirty = temporary.keyspace.dirty;
        let changed = temporary.keyspace.journal.watches.take_collected();
        let effects = temporary.keyspace.journal.take_since(0);
        let events = temporary.keyspace.journal.take_events();
        let mut finishes = self.releases();
        if !effects.is_empty() {
            // A part that has gone on knows of units that came later: it does not hear of this one, which is told by what
            // it came to.
            let hears = |places: &[usize]| !self.has_let_go || places.iter().any(|&place| self.keys[place].writes());
            let shares = self.parts.iter().filter(|places| hears(places)).count();
            for (finish, _) in finishes.iter_mut().zip(self.parts).filter(|(_, places)| hears(places)) {
                finish.share = Some(Share { unit: self.unit, shares, ..Share::default() });
            }
        }
        if let Some(teller) = finishes.get_mut(self.teller()) {
            (teller.events, teller.dirty) = (events, dirty);
            if let Some(share) = &mut teller.share {
                share.effects = effects;
            }
        }
        if dirty > 0 {
            for (finish, places) in finishes.iter_mut().zip(self.parts) {
                let written = places.iter().map(|&place| &self.keys[place]).filter(|read| read.writes());
                finish.writes = written.map(|read| taken(&mut temporary, read, self.now, &changed)).collect();
            }
        }
        finishes
    }

    /// An empty shard like the coordinator's.
    fn temporary(&self, shard: &Shard) -> Shard {
        let hasher: KeyHasher = shard.keyspace.hasher().clone();
        let databases = shard.keyspace.database_count();
        let mut temporary = Shard::new(databases, hasher, shard.options.clone(), self.now as u64);
        let watches = Watches::collecting(temporary.keyspace.hasher().clone());
        temporary.keyspace.journal = shard.keyspace.journal.empty_like(watches);
        temporary.companion.clone_from(&shard.companion);
        temporary
    }

    /// Puts values into a temporary shard.
    fn lay_out(&self, gathered: Vec<Gathered>, temporary: &mut Shard) {
        // Nobody is told of values that were there before.
        let journal = std::mem::take(&mut temporary.keyspace.journal);
        for (Gathered(values), places) in gathered.into_iter().zip(self.parts) {
            for (value, &place) in values.into_iter().zip(places) {
                if let Some(value) = value {
                    let KeyRead { database, key, .. } = &self.keys[place];
                    let key = temporary.keyspace.key(key);
                    temporary.keyspace.put(*database, &key, value, self.now);
                }
            }
        }
        temporary.keyspace.dirty = 0;
        temporary.keyspace.journal = journal;
    }

    /// The part that owns the first key which the command may write: where its journal entries go.
    fn teller(&self) -> usize {
        let place = self.keys.iter().position(KeyRead::writes).unwrap_or(0);
        self.parts.iter().position(|places| places.contains(&place)).unwrap_or(0)
    }
}

/// What has become of a key.
fn taken(temporary: &mut Shard, read: &KeyRead, now: Milliseconds, changed: &HashSet<(u32, u64)>) -> KeyWrite {
    let key = temporary.keyspace.key(&read.key);
    let is_changed = changed.contains(&(read.database as u32, key.hash));
    let entry = temporary.keyspace.take(read.database, &key, now);
    KeyWrite { database: read.database, key: read.key.clone(), entry, is_changed }
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
        let gathered = vec![gather(shard, &keys, now)];
        let parts = [(0..keys.len()).collect()];
        let mut out = ReplyBuffer::default();
        let client = ClientContext::default();
        let overlay = Overlay {
            handler: command.run,
            arguments: &arguments,
            client,
            keys: &keys,
            parts: &parts,
            unit: (0, 1),
            now,
            has_let_go: false,
        };
        for finish in overlay.run(gathered, shard, &mut out) {
            apply(shard, finish);
        }
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
