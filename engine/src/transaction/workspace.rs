//! Running many commands, one after the other, whose keys are on several shards: the values come to them, once each.
//!
//! ```text
//!   every shard, held whole:   fetch(keys named beforehand)  ──> values (large ones by reference)
//!   coordinator:               a temporary keyspace; commands run on it, each on keys that are there
//!                                  a key that is not  ──> fetch, lay_out, again
//!                              take_writes ──> what each key has become ──> its owner, in the last hop
//! ```
//!
//! * A script asks for one thing at a time, and most of what it asks is about the same few keys. So what it costs between
//!   shards is one hop for what is named beforehand, one for each key found on the way, and the last: not one for each command.
//! * Every key that a command may have changed is written back; that it has not is no harm. What large values hold is shared
//!   with their owners meanwhile, so a write copies the chunks on its path.
//! * Each owner tells the events of its own keys; effects are told as one, in order, by the coordinator.
//! * Nothing that was done here has been until it is written back: to undo it is to let go of it.
//! * A command that may touch keys without naming them has no place here ([`Workspace::missing`]): what was done before it is
//!   written back first.

use super::overlay::{Gathered, KeyRead, KeyWrite, keys_of};
use super::schedule::Mode;
use crate::command::{CommandError, CommandResult, Handler, Milliseconds, Spec, Spread};
use crate::journal::{Effects, Event};
use crate::keyspace::Watches;
use crate::reply::ReplyBuffer;
use crate::shard::{ClientContext, Shard};
use std::collections::{HashMap, HashSet};

/// The values that a unit has fetched, and what it has made of them.
pub struct Workspace {
    shard: Shard,
    /// Keys that are here, or known to be absent: by name, the databases.
    held: HashMap<Box<[u8]>, Vec<usize>>,
    /// Names of keys that may have changed.
    changed: HashSet<Box<[u8]>>,
    now: Milliseconds,
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Workspace").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// What a command lacks.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: it may run.
    Nothing,
    /// These keys.
    Keys(Vec<KeyRead>),
    /// It may touch other keys than those that it names.
    Whole,
}

/// What a unit has done in its workspace.
#[derive(Debug, Default)]
pub struct Written {
    /// What keys have become.
    pub writes: Vec<KeyWrite>,
    /// Events in order.
    pub events: Vec<Event>,
    /// How many changes.
    pub dirty: u64,
}

impl Written {
    /// Whether there is nothing to write or tell.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty()
    }
}

/// How a script's key is fetched: it may be written, so one whose time is over goes at once.
pub fn key_read(database: usize, key: &[u8]) -> KeyRead {
    KeyRead { database, key: key.to_vec(), stub: false, mode: Mode::Write }
}

/// On each shard: reads the keys, as a client that touches them or not.
pub fn fetch(shard: &mut Shard, keys: &[KeyRead], now: Milliseconds, is_noticed: bool) -> Gathered {
    if is_noticed {
        for KeyRead { database, key, .. } in keys {
            if *database < shard.keyspace.database_count() {
                let key = shard.keyspace.key(key);
                shard.keyspace.note_access(*database, &key, now);
            }
        }
    }
    super::overlay::gather(shard, keys, now)
}

impl Workspace {
    /// An empty one beside the coordinator's shard, at the time of the unit.
    pub fn new(beside: &mut Shard, now: Milliseconds) -> Self {
        let seed = beside.random().u64(..);
        let hasher = beside.keyspace.hasher().clone();
        let databases = beside.keyspace.database_count();
        let mut shard = Shard::new(databases, hasher, beside.options.clone(), seed);
        let watches = Watches::collecting(shard.keyspace.hasher().clone());
        shard.keyspace.journal = beside.keyspace.journal.empty_like(watches);
        shard.keyspace.want_changes(true);
        shard.companion.clone_from(&beside.companion);
        Self { shard, held: HashMap::new(), changed: HashSet::new(), now }
    }

    /// How many databases there are.
    pub fn database_count(&self) -> usize {
        self.shard.keyspace.database_count()
    }

    /// Puts down what has been fetched.
    pub fn lay_out<'a>(&mut self, reads: impl IntoIterator<Item = &'a KeyRead>, Gathered(values): Gathered) {
        let keyspace = &mut self.shard.keyspace;
        // Nobody is told of values that were there before.
        let journal = std::mem::take(&mut keyspace.journal);
        keyspace.want_changes(false);
        let dirty = keyspace.dirty;
        for (KeyRead { database, key, .. }, value) in reads.into_iter().zip(values) {
            let databases = self.held.entry(key.as_slice().into()).or_default();
            if databases.contains(database) {
                continue;
            }
            databases.push(*database);
            if let Some(value) = value {
                let key = keyspace.key(key);
                keyspace.put(*database, &key, value, self.now);
            }
        }
        keyspace.dirty = dirty;
        keyspace.want_changes(true);
        keyspace.journal = journal;
    }

    /// What a command lacks that is to run in a database; `finds_keys` if values may name it further ones.
    pub fn missing(&self, spec: &Spec, arguments: &[&[u8]], database: usize, finds_keys: bool) -> Missing {
        let touches_unnamed = match spec.spread {
            Spread::Single => finds_keys || spec.name == "move",
            _ => finds_keys || spec.keys.is_empty(),
        };
        if touches_unnamed {
            return Missing::Whole;
        }
        // Arguments that do not fit come to an error, wherever the command runs.
        let mut missing: Vec<KeyRead> = Vec::new();
        if spec.name == "copy" {
            missing = keys_of(spec, arguments, database).unwrap_or_default();
            missing.retain(|read| read.database < self.database_count() && !self.holds(read.database, &read.key));
        } else {
            let _ = spec.visit_keys(arguments, |index, _| {
                let key = arguments[index];
                if !self.holds(database, key) && missing.iter().all(|read| read.key != key) {
                    missing.push(key_read(database, key));
                }
            });
        }
        if missing.is_empty() { Missing::Nothing } else { Missing::Keys(missing) }
    }

    fn holds(&self, database: usize, key: &[u8]) -> bool {
        self.held.get(key).is_some_and(|databases| databases.contains(&database))
    }

    /// Runs a command that lacks nothing, to its end. One reply is appended to `out`; an error is returned, too, since
    /// nobody has counted it. Its effects come with it.
    pub fn run(
        &mut self,
        handler: Handler,
        arguments: &[&[u8]],
        client: ClientContext,
        out: &mut ReplyBuffer,
    ) -> (CommandResult, Effects) {
        let mut execution = self.shard.execution(client, self.now, out);
        execution.in_script = true;
        let result = handler(&mut execution, arguments).and_then(|()| execution.finish());
        if let Err(CommandError(text)) = &result {
            execution.reply.error_bytes(text);
        }
        let keyspace = &mut self.shard.keyspace;
        keyspace.take_announced(&mut self.changed);
        (result, keyspace.journal.take_since(0))
    }

    /// Whether nothing has been changed, nor told.
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty() && !self.shard.keyspace.journal.has_events()
    }

    /// What has been done, to be written back; the workspace is used up. What was counted goes to `beside`.
    pub fn into_writes(mut self, beside: &mut Shard) -> Written {
        beside.count_for(&self.shard);
        let keyspace = &mut self.shard.keyspace;
        let dirty = keyspace.dirty;
        let told = keyspace.journal.watches.take_collected();
        let events = keyspace.journal.take_events();
        let mut writes = Vec::new();
        for name in &self.changed {
            let key = keyspace.key(name);
            for &database in self.held.get(name).into_iter().flatten() {
                let is_changed = told.contains(&(database as u32, key.hash));
                let entry = keyspace.take(database, &key, self.now);
                writes.push(KeyWrite { database, key: name.to_vec(), entry, is_changed });
            }
        }
        // In one order wherever this runs.
        writes.sort_unstable_by(|one, other| (&one.key, one.database).cmp(&(&other.key, other.database)));
        Written { writes, events, dirty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::EngineOptions;
    use crate::commands;
    use crate::keyspace::{Access, KeyHasher};
    use crate::transaction::overlay::{Finish, apply};

    const NOW: Milliseconds = 1000;

    fn shard() -> Shard {
        Shard::new(2, KeyHasher::with_seed(1), EngineOptions::default(), 1)
    }

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    fn command(name: &[u8]) -> &'static crate::command::Command {
        commands::all().find(|command| command.spec.name.as_bytes() == name).expect("a command")
    }

    fn run_on(shard: &mut Shard, line: &str) -> String {
        let arguments = words(line);
        let mut out = ReplyBuffer::default();
        shard.execute(command(arguments[0]).run, &arguments, ClientContext::default(), NOW, &mut out);
        String::from_utf8_lossy(&out.flatten()).into_owned()
    }

    /// The same lines at their owner, and in a workspace that is written back in the end.
    fn compare(filling: &[&str], lines: &[&str], questions: &[&str]) {
        let (mut plain, mut owner, mut beside) = (shard(), shard(), shard());
        for line in filling {
            run_on(&mut plain, line);
            run_on(&mut owner, line);
        }
        let mut workspace = Workspace::new(&mut beside, NOW);
        for line in lines {
            let arguments = words(line);
            let command = command(arguments[0]);
            if let Missing::Keys(reads) = workspace.missing(&command.spec, &arguments, 0, false) {
                let values = fetch(&mut owner, &reads, NOW, true);
                workspace.lay_out(&reads, values);
            }
            assert_eq!(workspace.missing(&command.spec, &arguments, 0, false), Missing::Nothing, "{line}");
            let mut out = ReplyBuffer::default();
            let _ = workspace.run(command.run, &arguments, ClientContext::default(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out.flatten()), run_on(&mut plain, line), "{line}");
        }
        let Written { writes, dirty, .. } = workspace.into_writes(&mut beside);
        apply(&mut owner, Finish { now: NOW, writes, dirty, ..Finish::default() });
        for line in questions {
            assert_eq!(run_on(&mut owner, line), run_on(&mut plain, line), "{line}");
        }
        owner.keyspace.audit();
        assert_eq!(owner.keyspace.dirty, plain.keyspace.dirty);
    }

    #[test]
    fn what_is_done_with_values_is_done_with_keys() {
        let many: Vec<String> = (0..2000).map(|number| format!("member:{number}")).collect();
        let many = many.join(" ");
        let filling = [
            "set text hello px 100000",
            "set gone x px 5000",
            "set number 5",
            &format!("sadd large {many}"),
            &format!("rpush line {many}"),
            "zadd scores 1 a 2 b",
            "hset hash f v",
            "xadd stream 1-1 f v",
            "xgroup create stream g 0",
        ];
        let lines = [
            "incr number",
            "append text more",
            "get text",
            "del gone none",
            "get gone",
            "set gone new",
            "srem large member:7",
            "sadd large new",
            "sadd large new",
            "rpoplpush line other",
            "lpush other x",
            "zincrby scores 5 a",
            "zadd none nx 1 a",
            "hdel hash f",
            "hget hash f",
            "xadd stream 2-1 f v",
            "xreadgroup group g c streams stream >",
            "pfadd pf a b",
            "pfcount pf",
            "rename number renamed",
            "copy renamed number",
            "copy renamed renamed db 1",
            "getset text anew",
            "wrong number",
            "hset text f v",
            "exists text none hash",
        ];
        let lines: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with("wrong")).collect();
        let questions = [
            "get number",
            "get renamed",
            "get text",
            "pttl text",
            "get gone",
            "pttl gone",
            "scard large",
            "sismember large member:7",
            "llen line",
            "lrange other 0 -1",
            "zrange scores 0 -1 withscores",
            "exists hash",
            "xlen stream",
            "xpending stream g",
            "pfcount pf",
            "object encoding large",
            "dbsize",
        ];
        for count in 0..=lines.len() {
            compare(&filling, &lines[..count], &questions);
        }
    }

    #[test]
    fn commands_on_keys_that_they_do_not_name_have_no_place() {
        let workspace = Workspace::new(&mut shard(), NOW);
        for line in ["dbsize", "flushall", "keys *", "scan 0", "randomkey", "swapdb 0 1", "move k 1"] {
            let arguments = words(line);
            let missing = workspace.missing(&command(arguments[0]).spec, &arguments, 0, false);
            assert_eq!(missing, Missing::Whole, "{line}");
        }
        let sort = words("sort k by w_*");
        assert_eq!(workspace.missing(&command(b"sort").spec, &sort, 0, true), Missing::Whole);
        for line in ["publish c m", "set k"] {
            let arguments = words(line);
            let missing = workspace.missing(&command(arguments[0]).spec, &arguments, 0, false);
            assert_eq!(missing, Missing::Nothing, "{line}");
        }
        let arguments = words("mget a b a");
        let missing = workspace.missing(&command(b"mget").spec, &arguments, 1, false);
        assert_eq!(missing, Missing::Keys(vec![key_read(1, b"a"), key_read(1, b"b")]));
    }

    #[test]
    fn who_only_reads_writes_nothing_back() {
        let (mut owner, mut beside) = (shard(), shard());
        run_on(&mut owner, "set k v");
        let mut workspace = Workspace::new(&mut beside, NOW);
        let reads = [key_read(0, b"k"), key_read(0, b"none")];
        let values = fetch(&mut owner, &reads, NOW, true);
        workspace.lay_out(&reads, values);
        for line in ["get k", "get none", "strlen k", "exists k none", "type k"] {
            let arguments = words(line);
            let mut out = ReplyBuffer::default();
            let _ = workspace.run(command(arguments[0]).run, &arguments, ClientContext::default(), &mut out);
        }
        assert!(workspace.is_clean());
        assert!(workspace.into_writes(&mut beside).is_empty());
        assert_eq!(beside.keyspace.statistics.hits, 1, "counted where the script runs");
    }

    #[test]
    fn what_is_fetched_counts_as_used() {
        let mut owner = shard();
        run_on(&mut owner, "set k v");
        let name = b"k".to_vec();
        let key = owner.keyspace.key(&name);
        let idle = |owner: &mut Shard| owner.keyspace.peek(0, &key, NOW).map(|entry| entry.idle_seconds(NOW + 50_000));
        assert_eq!(idle(&mut owner), Some(50));
        fetch(&mut owner, &[key_read(0, b"k")], NOW + 20_000, false);
        assert_eq!(idle(&mut owner), Some(50));
        fetch(&mut owner, &[key_read(0, b"k")], NOW + 20_000, true);
        assert_eq!(idle(&mut owner), Some(30));
        let _ = owner.keyspace.find(0, &key, NOW, Access::NoTouch);
    }
}
