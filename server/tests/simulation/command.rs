//! What clients send and get, and what one server without shards would answer: the sequential model.

use super::collections::{Collection, pack, unpack};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A key: its index in the plan's list of names.
pub type Key = u16;
/// A value; those that clients write are unique in a run.
pub type Value = Rc<[u8]>;
/// Runs commands that its arguments list, each behind the number of its words.
const SCRIPT: &str = "local out, at = {}, 1 while ARGV[at] do local words = tonumber(ARGV[at]) \
    out[#out + 1] = redis.pcall(unpack(ARGV, at + 1, at + words)) at = at + words + 1 end return out";
/// How numbers end that clients write; INCR does not get that far.
pub const ROUND: &str = "000000";

/// A decoded reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+`
    Status(String),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Value),
    /// `$-1`
    Nil,
    /// `*`, or in RESP3 the pairs of `%`
    Array(Vec<Reply>),
    /// RESP3 `>`: it answers nothing
    Push(Vec<Reply>),
}

impl Reply {
    /// The OK status.
    pub fn ok() -> Self {
        Self::Status("OK".into())
    }

    /// Decodes the first reply; `Ok(None)` if it is not whole yet.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[1..end.saturating_sub(1)]).map_err(|error| error.to_string())?;
        let number = || line.parse::<i64>().map_err(|_| format!("not a number: {line:?}"));
        let after = end + 1;
        Ok(Some(match bytes[0] {
            b'+' => (Self::Status(line.into()), after),
            b'-' => (Self::Error(line.into()), after),
            b':' => (Self::Integer(number()?), after),
            b'$' if number()? < 0 => (Self::Nil, after),
            b'$' => {
                let end = after + number()? as usize;
                let Some(body) = bytes.get(after..end + 2) else { return Ok(None) };
                if &body[body.len() - 2..] != b"\r\n" {
                    return Err("a bulk string without its line end".into());
                }
                (Self::Bulk(bytes[after..end].into()), end + 2)
            }
            b'_' => (Self::Nil, after),
            kind @ (b'*' | b'>' | b'%') => {
                let mut position = after;
                let mut elements = Vec::new();
                for _ in 0..number()? * if kind == b'%' { 2 } else { 1 } {
                    let Some((element, used)) = Self::decode(&bytes[position..])? else { return Ok(None) };
                    elements.push(element);
                    position += used;
                }
                (if kind == b'>' { Self::Push(elements) } else { Self::Array(elements) }, position)
            }
            other => return Err(format!("no reply begins with {:?}", other as char)),
        }))
    }
}

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Get(Key),
    GetDel(Key),
    Strlen(Key),
    Incr(Key),
    ExpireTime(Key),
    Persist(Key),
    Set {
        key: Key,
        value: Value,
        expires_at: Option<i64>,
        if_absent: bool,
        get: bool,
    },
    Append(Key, Value),
    ExpireAt(Key, i64),
    Exists(Vec<Key>),
    Touch(Vec<Key>),
    Del(Vec<Key>),
    Unlink(Vec<Key>),
    MGet(Vec<Key>),
    MSet(Vec<(Key, Value)>),
    MSetNx(Vec<(Key, Value)>),
    /// MSETEX, with the one instant at which all of them end.
    MSetEx(Vec<(Key, Value)>, i64),
    Rename(Key, Key),
    RenameNx(Key, Key),
    Copy {
        from: Key,
        to: Key,
        database: usize,
        replace: bool,
    },
    Move {
        key: Key,
        database: usize,
    },
    /// BITOP OR of one source: a copy without a time, which may be made in slices.
    Duplicate {
        from: Key,
        to: Key,
    },
    /// A place named like a string key comes into a sorted set: GEOADD.
    Place {
        key: Key,
        member: Key,
    },
    /// The first members go, up to that rank: ZREMRANGEBYRANK.
    Cut {
        key: Key,
        last: i64,
    },
    /// ZRANGE
    Members(Key),
    /// A sorted set becomes what another one holds: GEOSEARCHSTORE around the world.
    Near {
        from: Key,
        to: Key,
    },
    /// A list becomes the values of the string keys (all of which are below `keys`) that a sorted set names, in their
    /// order: SORT BY GET STORE.
    SortInto {
        from: Key,
        to: Key,
        keys: Key,
    },
    /// LRANGE
    Elements(Key),
    /// On a key of its own.
    On(Collection),
    /// MULTI, these, EXEC: one command to the checker, whose reply is that of EXEC.
    Exec(Vec<Command>),
    /// WATCH of a key, a GET of it, MULTI, the others, EXEC. If that succeeds nothing has come in between: it is one command.
    /// If not it was a GET.
    Watched(Vec<Command>),
    /// EVAL of a script that runs these and answers with all replies; some of their keys are declared.
    Script {
        declared: Vec<Key>,
        commands: Vec<Command>,
    },
    DbSize,
    Keys,
    FlushAll,
    FlushDb,
    SwapDb(usize, usize),
    /// The rest promise nothing about order; their replies are checked where they arrive.
    RandomKey,
    Select(usize),
    Ping,
    Scan {
        cursor: u64,
        count: usize,
    },
    /// Writes to keys that no other command looks at.
    Fill {
        name: Vec<u8>,
        remove: bool,
    },
    /// Anything, on keys that no other command looks at; whose script looks at the reply.
    Words(Vec<Vec<u8>>),
}

/// Which keys a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footprint {
    Keys(Vec<Key>),
    Everything,
    Nothing,
}

impl Footprint {
    /// Whether commands with these keep their order within a connection.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => false,
            (Self::Everything, _) | (_, Self::Everything) => true,
            (Self::Keys(own), Self::Keys(others)) => own.iter().any(|key| others.contains(key)),
        }
    }
}

impl Command {
    /// The unconditional SET.
    pub fn set(key: Key, value: Value) -> Self {
        Self::Set { key, value, expires_at: None, if_absent: false, get: false }
    }

    /// Its keys.
    pub fn footprint(&self) -> Footprint {
        Footprint::Keys(match self {
            Self::Get(key)
            | Self::GetDel(key)
            | Self::Strlen(key)
            | Self::Incr(key)
            | Self::ExpireTime(key)
            | Self::Persist(key)
            | Self::Append(key, _)
            | Self::ExpireAt(key, _)
            | Self::Set { key, .. }
            | Self::Place { key, .. }
            | Self::Cut { key, .. }
            | Self::Members(key)
            | Self::Elements(key)
            | Self::Move { key, .. } => vec![*key],
            Self::SortInto { from, to, keys } => (0..*keys).chain([*from, *to]).collect(),
            Self::Exists(keys) | Self::Touch(keys) | Self::Del(keys) | Self::Unlink(keys) | Self::MGet(keys) => {
                keys.clone()
            }
            Self::MSet(pairs) | Self::MSetNx(pairs) | Self::MSetEx(pairs, _) => {
                pairs.iter().map(|(key, _)| *key).collect()
            }
            Self::Rename(from, to)
            | Self::RenameNx(from, to)
            | Self::Copy { from, to, .. }
            | Self::Near { from, to }
            | Self::Duplicate { from, to } => vec![*from, *to],
            Self::On(command) => command.keys(),
            Self::Exec(commands) | Self::Watched(commands) | Self::Script { commands, .. } => {
                let footprints = commands.iter().map(Self::footprint);
                return footprints.fold(Footprint::Keys(Vec::new()), |all, own| match (all, own) {
                    (Footprint::Keys(mut keys), Footprint::Keys(own)) => {
                        keys.extend(own);
                        Footprint::Keys(keys)
                    }
                    (all, Footprint::Nothing) => all,
                    _ => Footprint::Everything,
                });
            }
            Self::DbSize | Self::Keys | Self::FlushAll | Self::FlushDb | Self::SwapDb(..) => {
                return Footprint::Everything;
            }
            Self::RandomKey | Self::Select(_) | Self::Ping | Self::Scan { .. } | Self::Fill { .. } | Self::Words(_) => {
                return Footprint::Nothing;
            }
        })
    }

    /// Whether it may change something.
    pub fn is_write(&self) -> bool {
        if let Self::On(command) = self {
            return command.is_write();
        }
        if let Self::Exec(commands) | Self::Watched(commands) | Self::Script { commands, .. } = self {
            return commands.iter().any(Self::is_write);
        }
        !matches!(
            self,
            Self::Get(_)
                | Self::Strlen(_)
                | Self::ExpireTime(_)
                | Self::Exists(_)
                | Self::Touch(_)
                | Self::MGet(_)
                | Self::Members(_)
                | Self::Elements(_)
                | Self::DbSize
                | Self::Keys
        )
    }

    /// The instant at which it lets its keys end.
    pub fn expires_at(&self) -> Option<i64> {
        match self {
            Self::Set { expires_at, .. } => *expires_at,
            Self::ExpireAt(_, at) | Self::MSetEx(_, at) => Some(*at),
            _ => None,
        }
    }

    /// Whether, having answered this, it has changed nothing.
    pub fn had_no_effect(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (_, Reply::Error(_)) => true,
            (Self::On(command), reply) => command.had_no_effect(reply),
            (Self::Exec(commands) | Self::Script { commands, .. }, Reply::Array(replies)) => {
                commands.iter().zip(replies).all(|(command, reply)| command.had_no_effect(reply))
            }
            (Self::GetDel(_) | Self::Set { if_absent: true, .. }, Reply::Nil) => true,
            (
                Self::Del(_)
                | Self::Unlink(_)
                | Self::MSetNx(_)
                | Self::RenameNx(..)
                | Self::Copy { .. }
                | Self::Move { .. }
                | Self::Persist(_)
                | Self::Place { .. }
                | Self::Cut { .. }
                | Self::ExpireAt(..),
                Reply::Integer(0),
            ) => true,
            _ => !self.is_write(),
        }
    }

    /// Whether it has a place in the one order of everything.
    pub fn is_ordered(&self) -> bool {
        self.footprint() != Footprint::Nothing
    }

    /// As it travels, with a tag that the server does not mind: the case of the name's letters.
    pub fn encode(&self, names: &[Vec<u8>], tag: usize) -> Vec<u8> {
        let word = |word: &str| Self::Words(vec![word.into()]).encode(names, 0);
        if let Self::Watched(commands) = self
            && let Some((Self::Get(key), others)) = commands.split_first()
        {
            let watch = Self::Words(vec!["WATCH".into(), names[*key as usize].clone()]).encode(names, 0);
            let get = commands[0].encode(names, tag);
            let others = others.iter().flat_map(|command| command.encode(names, 0));
            return watch.into_iter().chain(get).chain(word("MULTI")).chain(others).chain(word("EXEC")).collect();
        }
        if let Self::Exec(commands) = self {
            let tags = std::iter::once(tag).chain(std::iter::repeat(0));
            let commands = commands.iter().zip(tags).flat_map(|(command, tag)| command.encode(names, tag));
            return word("MULTI").into_iter().chain(commands).chain(word("EXEC")).collect();
        }
        let words = self.words_sent(names, tag);
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(&word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    fn words_sent(&self, names: &[Vec<u8>], tag: usize) -> Vec<Vec<u8>> {
        let Self::Script { declared, commands } = self else { return self.words(names, tag) };
        let mut words: Vec<Vec<u8>> = vec!["EVAL".into(), SCRIPT.into(), declared.len().to_string().into()];
        words.extend(declared.iter().map(|key| names[*key as usize].clone()));
        for (command, tag) in commands.iter().zip(std::iter::once(tag).chain(std::iter::repeat(0))) {
            let call = command.words(names, tag);
            words.push(call.len().to_string().into());
            words.extend(call);
        }
        words
    }

    /// Name and arguments, with a tag.
    pub fn words(&self, names: &[Vec<u8>], tag: usize) -> Vec<Vec<u8>> {
        let mut words = self.plain_words(names);
        for (_, letter) in words[0].iter_mut().enumerate().filter(|(bit, _)| tag >> bit & 1 == 1) {
            letter.make_ascii_lowercase();
        }
        words
    }

    fn plain_words(&self, names: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let name = |key: &Key| names[*key as usize].clone();
        let one = |verb: &str, key: &Key| vec![verb.into(), name(key)];
        let two = |verb: &str, a: &Key, b: &Key| vec![verb.into(), name(a), name(b)];
        let many = |verb: &str, keys: &[Key]| std::iter::once(verb.into()).chain(keys.iter().map(name)).collect();
        let text = |number: i64| number.to_string().into_bytes();
        let pairs = |verb: &str, pairs: &[(Key, Value)]| {
            let words = pairs.iter().flat_map(|(key, value)| [name(key), value.to_vec()]);
            std::iter::once(verb.into()).chain(words).collect()
        };
        match self {
            Self::Get(key) => one("GET", key),
            Self::GetDel(key) => one("GETDEL", key),
            Self::Strlen(key) => one("STRLEN", key),
            Self::Incr(key) => one("INCR", key),
            Self::ExpireTime(key) => one("PEXPIRETIME", key),
            Self::Persist(key) => one("PERSIST", key),
            Self::Set { key, value, expires_at, if_absent, get } => {
                let mut words = vec!["SET".into(), name(key), value.to_vec()];
                if let Some(at) = expires_at {
                    words.extend(["PXAT".into(), text(*at)]);
                }
                words.extend(if_absent.then(|| "NX".into()));
                words.extend(get.then(|| "GET".into()));
                words
            }
            Self::Append(key, value) => vec!["APPEND".into(), name(key), value.to_vec()],
            Self::ExpireAt(key, at) => vec!["PEXPIREAT".into(), name(key), text(*at)],
            Self::Exists(keys) => many("EXISTS", keys),
            Self::Touch(keys) => many("TOUCH", keys),
            Self::Del(keys) => many("DEL", keys),
            Self::Unlink(keys) => many("UNLINK", keys),
            Self::MGet(keys) => many("MGET", keys),
            Self::MSet(list) => pairs("MSET", list),
            Self::MSetNx(list) => pairs("MSETNX", list),
            Self::MSetEx(list, at) => {
                let mut words: Vec<Vec<u8>> = pairs("MSETEX", list);
                words.insert(1, text(list.len() as i64));
                words.extend(["PXAT".into(), text(*at)]);
                words
            }
            Self::Rename(from, to) => two("RENAME", from, to),
            Self::RenameNx(from, to) => two("RENAMENX", from, to),
            Self::Copy { from, to, database, replace } => {
                let mut words = vec!["COPY".into(), name(from), name(to), "DB".into(), text(*database as i64)];
                words.extend(replace.then(|| "REPLACE".into()));
                words
            }
            Self::Move { key, database } => vec!["MOVE".into(), name(key), text(*database as i64)],
            Self::Duplicate { from, to } => vec!["BITOP".into(), "OR".into(), name(to), name(from)],
            Self::Place { key, member } => {
                vec!["GEOADD".into(), name(key), text(i64::from(*member)), "0".into(), name(member)]
            }
            Self::Cut { key, last } => vec!["ZREMRANGEBYRANK".into(), name(key), "0".into(), text(*last)],
            Self::Members(key) => vec!["ZRANGE".into(), name(key), "0".into(), "-1".into()],
            Self::Elements(key) => vec!["LRANGE".into(), name(key), "0".into(), "-1".into()],
            Self::Near { from, to } => {
                let mut words = two("GEOSEARCHSTORE", to, from);
                words.extend(["FROMLONLAT", "0", "0", "BYRADIUS", "20020", "km"].map(Into::into));
                words
            }
            Self::SortInto { from, to, .. } => {
                let mut words = one("SORT", from);
                words.extend(["BY", "*", "ALPHA", "GET", "*", "STORE"].map(Into::into));
                words.push(name(to));
                words
            }
            Self::On(command) => command.words(|key| name(&key)),
            Self::Exec(commands) | Self::Watched(commands) | Self::Script { commands, .. } => {
                commands.first().map_or(vec!["EXEC".into()], |first| first.plain_words(names))
            }
            Self::Words(words) => words.clone(),
            Self::DbSize => vec!["DBSIZE".into()],
            Self::Keys => vec!["KEYS".into(), "*".into()],
            Self::FlushAll => vec!["FLUSHALL".into()],
            Self::FlushDb => vec!["FLUSHDB".into()],
            Self::SwapDb(a, b) => vec!["SWAPDB".into(), text(*a as i64), text(*b as i64)],
            Self::RandomKey => vec!["RANDOMKEY".into()],
            Self::Select(database) => vec!["SELECT".into(), text(*database as i64)],
            Self::Ping => vec!["PING".into()],
            Self::Scan { cursor, count } => {
                vec!["SCAN".into(), cursor.to_string().into(), "COUNT".into(), text(*count as i64)]
            }
            Self::Fill { name, remove: false } => vec!["SET".into(), name.clone(), "filled".into()],
            Self::Fill { name, remove: true } => vec!["DEL".into(), name.clone()],
        }
    }

    /// Whether a reply to an unordered command makes sense.
    pub fn accepts_unordered(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::RandomKey, Reply::Nil | Reply::Bulk(_)) => true,
            (Self::Select(_) | Self::Fill { remove: false, .. }, Reply::Status(text)) => text == "OK",
            (Self::Fill { remove: true, .. }, Reply::Integer(0 | 1)) => true,
            (Self::Ping, Reply::Status(text)) => text == "PONG",
            (Self::Words(_), _) => true,
            (Self::Scan { .. }, Reply::Array(parts)) => {
                matches!(parts.as_slice(), [Reply::Bulk(_), Reply::Array(_)])
            }
            _ => false,
        }
    }
}

/// What the model allows as a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this.
    Reply(Reply),
    /// An integer in this range: DBSIZE counts expired keys or not.
    Between(i64, i64),
    /// These names in any order.
    Names(BTreeSet<Value>),
    /// So many of these, or all.
    Some(usize, BTreeSet<Value>),
    /// An array of such.
    Each(Vec<Expected>),
}

impl Expected {
    /// Whether the reply is one of these.
    pub fn accepts(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Reply(expected), reply) => expected == reply,
            (Self::Between(least, most), Reply::Integer(number)) => (least..=most).contains(&number),
            (Self::Names(names), Reply::Array(elements)) => {
                let bulk = |element: &Reply| if let Reply::Bulk(name) = element { Some(name.clone()) } else { None };
                elements.len() == names.len() && elements.iter().filter_map(bulk).collect::<BTreeSet<_>>() == *names
            }
            (Self::Some(count, names), Reply::Array(elements)) => {
                let bulk = |element: &Reply| if let Reply::Bulk(name) = element { Some(name.clone()) } else { None };
                let told: BTreeSet<Value> = elements.iter().filter_map(bulk).collect();
                elements.len() == names.len().min(*count) && told.len() == elements.len() && told.is_subset(names)
            }
            (Self::Each(expected), Reply::Array(elements)) => {
                // An absent array is an absent value, where a script has seen it.
                let is_absent = |expected: &Self, element: &Reply| {
                    matches!(expected, Self::Reply(Reply::Array(all)) if all.is_empty()) && *element == Reply::Nil
                };
                let accepts =
                    |(expected, element): (&Self, &Reply)| expected.accepts(element) || is_absent(expected, element);
                expected.len() == elements.len() && expected.iter().zip(elements).all(accepts)
            }
            _ => false,
        }
    }
}

/// A value and its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it holds.
    pub value: Value,
    /// Over when the time is past this.
    pub expires_at: Option<i64>,
    /// It is a list: of texts, one behind the other.
    pub is_list: bool,
    /// Somebody has found it expired: from then on it is gone, whatever the time.
    pub is_over: bool,
}

/// Several texts as one value: each behind its length.
fn joined(texts: &[Value]) -> Value {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text].concat()).collect()
}

/// The same, taken apart.
fn parts(value: &[u8]) -> Vec<Value> {
    let mut rest = value;
    let mut texts = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (text, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        texts.push(text.into());
        rest = behind;
    }
    texts
}

impl Entry {
    /// Whether a reply about it may show a value.
    pub fn shows(&self, value: &Value) -> bool {
        self.value == *value || self.is_list && parts(&self.value).contains(value)
    }
}

/// The sequential server. Expired keys stay until something takes their place: nobody sees the difference but DBSIZE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    /// By database and key.
    pub entries: BTreeMap<(usize, Key), Entry>,
}

impl Model {
    fn alive(&self, database: usize, key: Key, now: i64) -> Option<&Entry> {
        let entry = self.entries.get(&(database, key))?;
        (!entry.is_over && entry.expires_at.is_none_or(|at| now <= at)).then_some(entry)
    }

    fn put(&mut self, database: usize, key: Key, value: &Value, expires_at: Option<i64>) {
        let (value, is_list, is_over) = (value.clone(), false, false);
        self.entries.insert((database, key), Entry { value, expires_at, is_list, is_over });
    }

    /// A time that is over already leaves nothing, not even for the rest of its millisecond.
    fn put_until(&mut self, database: usize, key: Key, value: &Value, expires_at: Option<i64>, now: i64) {
        self.entries.remove(&(database, key));
        if expires_at.is_none_or(|at| at > now) {
            self.put(database, key, value, expires_at);
        }
    }

    fn count(&self, database: usize, keys: &[Key], now: i64) -> i64 {
        keys.iter().filter(|key| self.alive(database, **key, now).is_some()).count() as i64
    }

    fn remove(&mut self, database: usize, key: Key, now: i64) -> Option<Entry> {
        let entry = self.alive(database, key, now).cloned()?;
        self.entries.remove(&(database, key));
        Some(entry)
    }

    /// What a command looks at and finds expired is over; whether there was any. None if something is over that would not
    /// be at this time: a key's time does not go back.
    fn find_expired(&mut self, database: usize, command: &Command, now: i64) -> Option<bool> {
        let footprint = command.footprint();
        let is_met = |of: usize, key: Key| match &footprint {
            Footprint::Keys(keys) => {
                keys.contains(&key)
                    && (of == database || matches!(command, Command::Copy { .. } | Command::Move { .. }))
            }
            Footprint::Everything => *command == Command::Keys && of == database,
            Footprint::Nothing => false,
        };
        let mut any = false;
        for ((of, key), entry) in &mut self.entries {
            let Some(at) = entry.expires_at else { continue };
            if entry.is_over != (now > at) && is_met(*of, *key) {
                if entry.is_over {
                    return None;
                }
                entry.is_over = true;
                any = true;
            }
        }
        Some(any)
    }

    /// Runs one command; with what it allows as a reply, whether it found something expired. None if it cannot run at
    /// this time.
    pub fn apply(
        &mut self,
        database: usize,
        command: &Command,
        now: i64,
        names: &[Vec<u8>],
    ) -> Option<(Expected, bool)> {
        if let Command::Exec(commands) | Command::Watched(commands) | Command::Script { commands, .. } = command {
            let mut any_expired = false;
            let mut each = Vec::with_capacity(commands.len());
            for command in commands {
                let (expected, expired) = self.apply(database, command, now, names)?;
                any_expired |= expired;
                each.push(expected);
            }
            return Some((Expected::Each(each), any_expired));
        }
        let any_expired = self.find_expired(database, command, now)?;
        Some((self.expected(database, command, now, names), any_expired))
    }

    fn expected(&mut self, database: usize, command: &Command, now: i64, names: &[Vec<u8>]) -> Expected {
        let bulk = |entry: Option<&Entry>| entry.map_or(Reply::Nil, |entry| Reply::Bulk(entry.value.clone()));
        let number = Reply::Integer;
        Expected::Reply(match command {
            Command::Get(key) => bulk(self.alive(database, *key, now)),
            Command::Strlen(key) => number(self.alive(database, *key, now).map_or(0, |entry| entry.value.len() as i64)),
            Command::MGet(keys) => Reply::Array(keys.iter().map(|key| bulk(self.alive(database, *key, now))).collect()),
            Command::Exists(keys) | Command::Touch(keys) => number(self.count(database, keys, now)),
            Command::ExpireTime(key) => {
                number(self.alive(database, *key, now).map_or(-2, |entry| entry.expires_at.unwrap_or(-1)))
            }
            Command::Members(key) => {
                let members = self.alive(database, *key, now).map_or(Vec::new(), |entry| entry.value.to_vec());
                let name = |member: &u8| Reply::Bulk(names[usize::from(*member)].as_slice().into());
                Reply::Array(members.iter().map(name).collect())
            }
            Command::Elements(key) => {
                let elements = self.alive(database, *key, now).map_or(Vec::new(), |entry| parts(&entry.value));
                Reply::Array(elements.into_iter().map(Reply::Bulk).collect())
            }
            Command::DbSize => {
                let of_this = || self.entries.keys().filter(|(of, _)| *of == database);
                let alive = of_this().filter(|(_, key)| self.alive(database, *key, now).is_some());
                return Expected::Between(alive.count() as i64, of_this().count() as i64);
            }
            Command::Keys => {
                let keys =
                    self.entries.keys().filter(|(of, key)| *of == database && self.alive(*of, *key, now).is_some());
                return Expected::Names(keys.map(|(_, key)| names[*key as usize].as_slice().into()).collect());
            }
            Command::On(command) => return self.apply_to_collection(database, command, now),
            _ => self.apply_write(database, command, now),
        })
    }

    fn apply_to_collection(&mut self, database: usize, command: &Collection, now: i64) -> Expected {
        let keys = command.keys();
        let held = |key: &Key| self.alive(database, *key, now).map(|entry| unpack(&entry.value));
        let held: Vec<_> = keys.iter().map(held).collect();
        let (expected, new) = command.apply(&held);
        match new {
            None => {}
            Some(None) => drop(self.remove(database, keys[0], now)),
            Some(Some(items)) => self.put(database, keys[0], &pack(&items), None),
        }
        expected
    }

    /// What a command took that only its reply tells.
    pub fn take_told(&mut self, database: usize, command: &Command, now: i64, reply: &Reply) {
        let (Command::On(Collection::PopAny(key, _)), Reply::Array(told)) = (command, reply) else { return };
        let Some(entry) = self.remove(database, *key, now) else { return };
        let items: Vec<Value> = unpack(&entry.value);
        let left: Vec<Value> = items.into_iter().filter(|item| !told.contains(&Reply::Bulk(item.clone()))).collect();
        if !left.is_empty() {
            self.put(database, *key, &pack(&left), None);
        }
    }

    fn apply_write(&mut self, database: usize, command: &Command, now: i64) -> Reply {
        match command {
            Command::Set { key, value, expires_at, if_absent, get } => {
                let old = self.alive(database, *key, now).map(|entry| entry.value.clone());
                if *if_absent && old.is_some() {
                    return Reply::Nil;
                }
                self.put_until(database, *key, value, *expires_at, now);
                if *get { old.map_or(Reply::Nil, Reply::Bulk) } else { Reply::ok() }
            }
            Command::GetDel(key) => {
                self.remove(database, *key, now).map_or(Reply::Nil, |entry| Reply::Bulk(entry.value))
            }
            Command::Incr(key) => self.increment(database, *key, now),
            Command::Append(key, value) => {
                let old = self.remove(database, *key, now);
                let expires_at = old.as_ref().and_then(|entry| entry.expires_at);
                let mut text = old.map_or_else(Vec::new, |entry| entry.value.to_vec());
                text.extend_from_slice(value);
                let length = text.len();
                self.put(database, *key, &text.into(), expires_at);
                Reply::Integer(length as i64)
            }
            Command::Persist(key) => match self.remove(database, *key, now) {
                Some(entry) => {
                    self.put(database, *key, &entry.value, None);
                    Reply::Integer(i64::from(entry.expires_at.is_some()))
                }
                None => Reply::Integer(0),
            },
            Command::ExpireAt(key, at) => match self.remove(database, *key, now) {
                Some(entry) => {
                    self.put_until(database, *key, &entry.value, Some(*at), now);
                    Reply::Integer(1)
                }
                None => Reply::Integer(0),
            },
            Command::Del(keys) | Command::Unlink(keys) => {
                Reply::Integer(keys.iter().filter(|key| self.remove(database, **key, now).is_some()).count() as i64)
            }
            Command::MSet(pairs) => {
                pairs.iter().for_each(|(key, value)| self.put(database, *key, value, None));
                Reply::ok()
            }
            Command::MSetNx(pairs) => {
                let keys: Vec<Key> = pairs.iter().map(|(key, _)| *key).collect();
                let is_free = self.count(database, &keys, now) == 0;
                if is_free {
                    pairs.iter().for_each(|(key, value)| self.put(database, *key, value, None));
                }
                Reply::Integer(i64::from(is_free))
            }
            Command::MSetEx(pairs, at) => {
                for (key, value) in pairs {
                    self.put_until(database, *key, value, Some(*at), now);
                }
                Reply::Integer(1)
            }
            Command::Place { .. } | Command::Cut { .. } | Command::Near { .. } | Command::SortInto { .. } => {
                Reply::Integer(self.apply_to_sorted(database, command, now) as i64)
            }
            _ => self.relocate(database, command, now),
        }
    }

    /// Writes to sorted sets, whose members are kept as a byte each, and to lists; the number that the reply tells.
    fn apply_to_sorted(&mut self, database: usize, command: &Command, now: i64) -> usize {
        let members = |model: &Self, key: &Key| -> Vec<u8> {
            model.alive(database, *key, now).map_or(Vec::new(), |entry| entry.value.to_vec())
        };
        let (key, new, count, is_list) = match command {
            Command::Place { key, member } => {
                let (mut all, member) = (members(self, key), *member as u8);
                let is_new = !all.contains(&member);
                all.extend(is_new.then_some(member));
                all.sort_unstable();
                (key, all, usize::from(is_new), false)
            }
            Command::Cut { key, last } => {
                let mut all = members(self, key);
                let count = all.len().min(*last as usize + 1);
                all.drain(..count);
                (key, all, count, false)
            }
            Command::Near { from, to } => {
                let all = members(self, from);
                let count = all.len();
                (to, all, count, false)
            }
            Command::SortInto { from, to, .. } => {
                let value = |member: u8| self.alive(database, Key::from(member), now).map(|entry| entry.value.clone());
                let mut values: Vec<_> = members(self, from).into_iter().map(value).collect();
                values.sort();
                let values: Vec<Value> =
                    values.into_iter().map(|value| value.unwrap_or_else(|| b""[..].into())).collect();
                (to, joined(&values).to_vec(), values.len(), true)
            }
            _ => unreachable!("no write to a collection"),
        };
        self.entries.remove(&(database, *key));
        if !new.is_empty() {
            self.put(database, *key, &new.into(), None);
            self.entries.entry((database, *key)).and_modify(|entry| entry.is_list = is_list);
        }
        count
    }

    fn increment(&mut self, database: usize, key: Key, now: i64) -> Reply {
        let old = self.alive(database, key, now).cloned();
        let (text, expires_at) = match &old {
            Some(entry) => (std::str::from_utf8(&entry.value).unwrap_or("no"), entry.expires_at),
            None => ("0", None),
        };
        let Ok(number) = text.parse::<i64>() else {
            return Reply::Error("ERR value is not an integer or out of range".into());
        };
        self.put(database, key, &(number + 1).to_string().as_bytes().into(), expires_at);
        Reply::Integer(number + 1)
    }

    /// What moves whole keys.
    fn relocate(&mut self, database: usize, command: &Command, now: i64) -> Reply {
        let is_same = match command {
            Command::Copy { from, to, database: into, .. } => from == to && database == *into,
            Command::Move { database: into, .. } => database == *into,
            _ => false,
        };
        if is_same {
            return Reply::Error("ERR source and destination objects are the same".into());
        }
        match command {
            Command::Rename(from, to) | Command::RenameNx(from, to) => {
                let Some(entry) = self.alive(database, *from, now).cloned() else {
                    return Reply::Error("ERR no such key".into());
                };
                let only_new = matches!(command, Command::RenameNx(..));
                if only_new && self.alive(database, *to, now).is_some() {
                    return Reply::Integer(0);
                }
                self.entries.remove(&(database, *from));
                self.entries.insert((database, *to), entry);
                if only_new { Reply::Integer(1) } else { Reply::ok() }
            }
            Command::Copy { from, to, database: into, replace } => {
                let Some(entry) = self.alive(database, *from, now).cloned() else { return Reply::Integer(0) };
                if !replace && self.alive(*into, *to, now).is_some() {
                    return Reply::Integer(0);
                }
                self.entries.insert((*into, *to), entry);
                Reply::Integer(1)
            }
            Command::Duplicate { from, to } => {
                let value = self.alive(database, *from, now).map(|entry| entry.value.clone());
                self.entries.remove(&(database, *to));
                if let Some(value) = &value {
                    self.put(database, *to, value, None);
                }
                Reply::Integer(value.map_or(0, |value| value.len() as i64))
            }
            Command::Move { key, database: into } => {
                let Some(entry) = self.alive(database, *key, now).cloned() else { return Reply::Integer(0) };
                if self.alive(*into, *key, now).is_some() {
                    return Reply::Integer(0);
                }
                self.entries.remove(&(database, *key));
                self.entries.insert((*into, *key), entry);
                Reply::Integer(1)
            }
            Command::FlushAll => {
                self.entries.clear();
                Reply::ok()
            }
            Command::FlushDb => {
                self.entries.retain(|(of, _), _| *of != database);
                Reply::ok()
            }
            Command::SwapDb(a, b) => {
                let swapped = |of: usize| {
                    if of == *a {
                        *b
                    } else if of == *b {
                        *a
                    } else {
                        of
                    }
                };
                let entries = std::mem::take(&mut self.entries);
                self.entries = entries.into_iter().map(|((of, key), entry)| ((swapped(of), key), entry)).collect();
                Reply::ok()
            }
            _ => unreachable!("an unordered command has no place in the model"),
        }
    }
}
