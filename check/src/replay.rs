//! An engine without a server: one shard in which the commands of a log are run, and from which a file is written.
//!
//! The clock stands at the beginning of 1970, so nothing expires: a log says itself when something goes. What a server does
//! outside of its shards is done here: databases, libraries of functions, RESTORE. Scripts are not run; a log that Redis 7 or Torc
//! wrote has none.

use crate::rdb::Decoder;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;
use torc_engine::command::{EngineOptions, Handler, Table};
use torc_engine::keyspace::{Entry, KeyHasher, OwnedEntry, SharedSink, Value, WalkSink};
use torc_engine::reply::ReplyBuffer;
use torc_engine::shard::{ClientContext, Shard};
use torc_persistence::crc64;
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::decode::{Decoded, Target};
use torc_persistence::rdb::encode::{self, Readers, View};
use torc_persistence::rdb::file::{self, Use};
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version, dump, functions};

const NOW: i64 = 0;
const ALWAYS: i64 = i64::MIN;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A shard, and what a server has beside it.
pub(crate) struct Replay {
    shard: Shard,
    table: Table<Handler>,
    database: u32,
    libraries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How many commands were run.
    pub(crate) commands: u64,
}

/// What is called with the database, name and value of each key.
type Visit<'v> = &'v mut dyn FnMut(usize, &[u8], &Entry<'_>) -> io::Result<()>;

impl Replay {
    /// With so many databases.
    pub(crate) fn new(databases: usize) -> Self {
        let hasher = KeyHasher::with_seed(fastrand::u64(..));
        Self {
            shard: Shard::new(databases, hasher, EngineOptions::default(), fastrand::u64(..)),
            table: Table::new(torc_engine::commands::all().map(|command| (&command.spec, command.run))),
            database: 0,
            libraries: BTreeMap::new(),
            commands: 0,
        }
    }

    /// Puts a value into a database.
    pub(crate) fn put(
        &mut self,
        database: u64,
        key: &[u8],
        value: Value,
        expires_at: Option<i64>,
    ) -> Result<(), String> {
        let database = self.known(database)?;
        let key = self.shard.keyspace.key(key);
        self.shard.keyspace.arrive(database, &key, OwnedEntry::new(value, expires_at), NOW);
        Ok(())
    }

    fn known(&self, database: u64) -> Result<usize, String> {
        let count = self.shard.keyspace.database_count();
        let number = usize::try_from(database).ok().filter(|number| *number < count);
        number.ok_or(format!("database {database} is out of range: `--databases` says how many there are, now {count}"))
    }

    /// A library that an RDB file or a command has.
    pub(crate) fn load_library(&mut self, code: &[u8], replaces: bool) -> Result<(), String> {
        let name = library_name(code).ok_or("a library of functions without a name in its first line")?;
        if !replaces && self.libraries.contains_key(&name) {
            return Err(format!("the library '{}' is there already", name.escape_ascii()));
        }
        self.libraries.insert(name, code.to_vec());
        Ok(())
    }

    /// Runs a command of a log.
    pub(crate) fn run(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let is = |at: usize, text: &str| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(text.as_bytes()));
        self.commands += 1;
        match words {
            [_] if is(0, "MULTI") || is(0, "EXEC") || is(0, "PING") => Ok(()),
            [_, number] if is(0, "SELECT") => {
                let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
                self.database = self.known(number.ok_or("SELECT of what is no number")?)? as u32;
                Ok(())
            }
            [_, _, rest @ ..] if is(0, "FUNCTION") => self.function(words[1], rest),
            [_, _] if is(0, "FUNCTION") => self.function(words[1], &[]),
            [_, key, ttl, payload, ..] if is(0, "RESTORE") => {
                let is_absolute = words[4..].iter().any(|word| word.eq_ignore_ascii_case(b"ABSTTL"));
                self.restore(key, ttl, payload, is_absolute)
            }
            _ if is(0, "EVAL") || is(0, "EVALSHA") || is(0, "FCALL") || is(0, "SCRIPT") => {
                Err("a script: what it does is not known here; let a server load this log and rewrite it".into())
            }
            _ => self.command(words),
        }
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let (_, run) = self.table.resolve(words).map_err(|error| error.to_text().into_owned())?;
        let mut out = ReplyBuffer::default();
        let client = ClientContext { database: self.database, ..ClientContext::default() };
        self.shard.execute(*run, words, client, NOW, &mut out);
        // What was unlinked is given back now and then.
        if self.commands.is_multiple_of(1024) {
            self.shard.keyspace.collect_garbage(BUFFER_BYTES);
        }
        match out.bytes.strip_prefix(b"-") {
            None => Ok(()),
            Some(error) => Err(String::from_utf8_lossy(error).trim_end().to_owned()),
        }
    }

    fn function(&mut self, what: &[u8], rest: &[&[u8]]) -> Result<(), String> {
        let what = what.to_ascii_uppercase();
        match (&what[..], rest) {
            (b"LOAD", [code]) => self.load_library(code, false),
            (b"LOAD", [_, code]) => self.load_library(code, true),
            (b"DELETE", [name]) => self.libraries.remove(*name).map(drop).ok_or("no such library".into()),
            (b"FLUSH", _) => {
                self.libraries.clear();
                Ok(())
            }
            (b"RESTORE", [payload, policy @ ..]) => {
                let policy = policy.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
                if policy == b"FLUSH" {
                    self.libraries.clear();
                }
                let codes = functions::read(payload)?;
                codes.iter().try_for_each(|code| self.load_library(code, policy == b"REPLACE"))
            }
            _ => Err(format!("FUNCTION {} is not of a log", what.escape_ascii())),
        }
    }

    fn restore(&mut self, key: &[u8], ttl: &[u8], payload: &[u8], is_absolute: bool) -> Result<(), String> {
        let ttl: i64 =
            std::str::from_utf8(ttl).ok().and_then(|digits| digits.parse().ok()).ok_or("a time that is no number")?;
        if ttl != 0 && !is_absolute {
            return Err("RESTORE with a time that is relative to when it was sent".into());
        }
        let target = Target {
            limits: &self.shard.options.encodings,
            hasher: self.shard.keyspace.member_hasher(),
            dialect: Dialect::Redis,
        };
        let value = match dump::read(payload, target) {
            Some(Ok(Decoded::Value(value))) => value,
            Some(Ok(Decoded::Empty)) => return Err("a payload of a collection without elements".into()),
            Some(Err(malformed)) => return Err(format!("the payload: {malformed}")),
            None => return Err("a payload of an unknown version, or with a wrong checksum".into()),
        };
        self.put(u64::from(self.database), key, value, (ttl != 0).then_some(ttl))
    }

    /// Writes all as an RDB file of the lowest version that can hold it; that version, and how many keys.
    pub(crate) fn write(&mut self, to: &mut dyn Write, ctime: i64) -> io::Result<(Version, u64)> {
        let mut version = Version::LISTPACKS;
        let mut counts = BTreeMap::new();
        self.each(&mut |database, _, entry| {
            version = version.max(encode::plan(View::of_entry(entry), Readers::default()).version);
            let (keys, expiring) = counts.entry(database).or_insert((0u64, 0u64));
            *keys += 1;
            *expiring += u64::from(entry.expires_at().is_some());
            Ok(())
        })?;
        let mut writer = Writer { to, bytes: Vec::new(), sum: 0, compressor: Compressor::default() };
        file::write_header(version, Dialect::Redis, &mut writer.output());
        let ctime = ctime.to_string();
        for (field, text) in [("redis-ver", "7.0.15"), ("redis-bits", "64"), ("ctime", &ctime), ("aof-base", "0")] {
            file::write_aux(field.as_bytes(), text.as_bytes(), &mut writer.output());
        }
        for code in self.libraries.values() {
            if is_of_lua(code) {
                file::write_function(code, &mut writer.output());
            } else {
                file::write_aux(functions::OWN_FIELD, code, &mut writer.output());
            }
        }
        let mut selected = None;
        self.each(&mut |database, key, entry| {
            let mut out = writer.output();
            if selected.replace(database) != Some(database) {
                let (keys, expiring) = counts.get(&database).copied().unwrap_or_default();
                file::write_select(database as u64, &mut out);
                file::write_resize(keys, expiring, &mut out);
            }
            let view = View::of_entry(entry);
            let plan = encode::plan(view, Readers::default());
            file::write_key(key, plan.kind, entry.expires_at(), Use::Unknown, &mut out);
            encode::value(view, plan, &mut out);
            writer.flush(BUFFER_BYTES)
        })?;
        writer.end()?;
        Ok((version, counts.values().map(|(keys, _)| keys).sum()))
    }

    /// Every key of every database.
    fn each(&mut self, visit: Visit<'_>) -> io::Result<()> {
        for database in 0..self.shard.keyspace.database_count() {
            let names = Rc::new(RefCell::new(Names::default()));
            let sink: SharedSink = names.clone();
            let walk = self.shard.keyspace.begin_walk(database, ALWAYS, &sink);
            let mut is_more = true;
            while is_more {
                is_more = self.shard.keyspace.step_walk(walk, 64);
                for name in names.borrow_mut().0.drain(..) {
                    let key = self.shard.keyspace.key(&name);
                    if let Some(entry) = self.shard.keyspace.peek(database, &key, ALWAYS) {
                        visit(database, &name, &entry)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Keys that a walk came by.
#[derive(Default)]
struct Names(Vec<Vec<u8>>);

impl WalkSink for Names {
    fn key(&mut self, key: &[u8], _: &Entry<'_>) {
        self.0.push(key.to_vec());
    }
}

/// Sums up what it writes.
struct Writer<'w> {
    to: &'w mut dyn Write,
    bytes: Vec<u8>,
    sum: u64,
    compressor: Compressor,
}

impl Writer<'_> {
    fn output(&mut self) -> Output<'_> {
        Output { bytes: &mut self.bytes, compressor: Some(&mut self.compressor) }
    }

    /// Writes what there is, if it is at least so much.
    fn flush(&mut self, bytes_min: usize) -> io::Result<()> {
        if self.bytes.len() >= bytes_min {
            self.sum = crc64::update(self.sum, &self.bytes);
            self.to.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        file::write_end(&mut self.output());
        self.flush(0)?;
        self.to.write_all(&self.sum.to_le_bytes())
    }
}

/// What is written of the name in the first line: `#!lua name=lib`.
pub(crate) fn library_name(code: &[u8]) -> Option<Vec<u8>> {
    let line = code.split(|byte| *byte == b'\n').next()?.strip_prefix(b"#!")?;
    let name = line.split(u8::is_ascii_whitespace).find_map(|word| word.strip_prefix(b"name="))?;
    (!name.is_empty()).then(|| name.to_vec())
}

fn is_of_lua(code: &[u8]) -> bool {
    code.get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"#!lua "))
}

/// A value of an RDB file comes to the same keyspace: made with its hasher.
impl Replay {
    /// What makes values for this engine.
    pub(crate) fn decoder(&self) -> Decoder {
        Decoder::with_hasher(self.shard.keyspace.hasher().clone())
    }
}
