//! What takes a unit back that may have to: a script that finds in its middle that it needs another shard, or is killed.
//!
//! ```text
//!   begin_undoable ──> changes ──> keep_changes           as if nothing had been written down
//!                        │  └────> undo_changes           as if nothing had been done
//!                        └ before the first change of a key: what it held (a large value is shared, not copied)
//! ```
//!
//! * Steps are undone from the last to the first, so a key that changes twice, or whose database is exchanged or emptied in
//!   between, comes to what it was.
//! * Events, messages and changed keys are held back: nobody hears of what may not have been. The records of effects are its
//!   owner's, who takes them after each command.
//! * What those who watch keys have heard and statistics go back; what readers have left in access clocks stays.
//! * Nothing else runs on the shard meanwhile: its owner has it alone. So one unit at a time is enough.
//! * Memory is bounded by what the unit writes, a name and an old value for each key.

use super::Watcher;
use super::changes::Changes;
use super::database::Database;
use super::{Key, Keyspace, OwnedEntry, Statistics};
use crate::command::Milliseconds;
use crate::journal::{Event, Journal};
use std::collections::HashSet;

/// One change, with what it takes to undo it.
enum Step {
    /// A key was to be changed.
    Key { database: usize, key: Box<[u8]>, before: Option<OwnedEntry> },
    /// A database was emptied.
    Emptied { database: usize, before: Box<Database> },
    /// Two databases were exchanged.
    Exchanged(usize, usize),
}

/// A unit that may be undone.
pub(super) struct Undo {
    steps: Vec<Step>,
    /// The keys among the steps since databases last changed places.
    known: HashSet<(usize, u64)>,
    /// A walk holds what was emptied: it cannot be had back.
    is_lost: bool,
    dirty: u64,
    statistics: Statistics,
    changes: Changes,
}

/// What is held back while a unit may be undone, for [`Journal`].
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What has been reported.
    pub(crate) events: Vec<Event>,
    /// Who watches keys and has heard of a first change.
    pub(crate) told: Vec<Watcher>,
}

impl Keyspace {
    /// From now on what is changed can be undone, until [`Keyspace::keep_changes`] or [`Keyspace::undo_changes`].
    pub fn begin_undoable(&mut self) {
        debug_assert!(self.undo.is_none(), "a unit has the shard alone");
        self.undo = Some(Box::new(Undo {
            steps: Vec::new(),
            known: HashSet::new(),
            is_lost: false,
            dirty: self.dirty,
            statistics: self.statistics,
            changes: self.changes.clone(),
        }));
        self.journal.hold_back();
    }

    /// Whether what is changed now can be undone.
    pub fn is_undoable(&self) -> bool {
        self.undo.as_ref().is_some_and(|undo| !undo.is_lost)
    }

    /// What has been changed stays, and is told.
    pub fn keep_changes(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for step in undo.steps {
            if let Step::Emptied { before, .. } = step {
                self.garbage.discard_database(*before);
            }
        }
        self.journal.let_out();
    }

    /// All is as it was.
    pub fn undo_changes(&mut self, now: Milliseconds) {
        let Some(undo) = self.undo.take() else { return };
        debug_assert!(!undo.is_lost, "its owner has asked");
        let wanted = std::mem::take(&mut self.changes).is_wanted();
        let mut journal = std::mem::take(&mut self.journal);
        for step in undo.steps.into_iter().rev() {
            match step {
                Step::Key { database, key, before } => self.put_back(database, &key, before, now),
                Step::Emptied { database, before } => {
                    self.abandon_expiry_walk();
                    let since = std::mem::replace(&mut self.databases[database], *before);
                    if let Some(since) = self.walks.detach(since) {
                        self.garbage.discard_database(since);
                    }
                }
                Step::Exchanged(first, second) => {
                    self.abandon_expiry_walk();
                    self.databases.swap(first, second);
                }
            }
        }
        journal.take_back();
        self.journal = journal;
        (self.dirty, self.statistics, self.changes) = (undo.dirty, undo.statistics, undo.changes);
        self.want_changes(wanted);
    }

    /// A key as it was.
    fn put_back(&mut self, database: usize, key: &[u8], before: Option<OwnedEntry>, now: Milliseconds) {
        let key = Key::new(key, &self.hasher);
        match before {
            Some(entry) => self.put(database, &key, entry, now),
            None => drop(self.remove_uncounted(database, &key, now)),
        }
    }

    /// A key is about to be changed.
    #[cold]
    pub(super) fn note_for_undo(&mut self, database: usize, key: &[u8], hash: u64) {
        let Some(undo) = &mut self.undo else { return };
        if !undo.known.insert((database, hash)) {
            return;
        }
        let key = Key { hash, ..Key::new(key, &self.hasher) };
        let found = self.databases[database].find(&key);
        let packed = found.and_then(|place| self.databases[database].entry(key.slot, place));
        let before = packed.map(|packed| super::Entry::new(packed, self.access_policy).to_owned());
        undo.steps.push(Step::Key { database, key: key.bytes.into(), before });
    }

    /// A database has been emptied. What it held goes to the garbage, if it is not to be had back.
    pub(super) fn note_emptied(&mut self, database: usize, before: Database) {
        let before = self.walks.detach(before);
        match (&mut self.undo, before) {
            (Some(undo), Some(before)) => {
                undo.known.clear();
                undo.steps.push(Step::Emptied { database, before: Box::new(before) });
            }
            (Some(undo), None) => undo.is_lost = true,
            (None, Some(before)) => self.garbage.discard_database(before),
            (None, None) => {}
        }
    }

    /// Two databases have been exchanged.
    pub(super) fn note_exchanged(&mut self, first: usize, second: usize) {
        if let Some(undo) = &mut self.undo {
            undo.known.clear();
            undo.steps.push(Step::Exchanged(first, second));
        }
    }
}

impl Journal {
    fn hold_back(&mut self) {
        self.held = Some(Box::default());
    }

    /// What was held back is told.
    fn let_out(&mut self) {
        if let Some(held) = self.held.take() {
            self.add(None, held.events);
        }
    }

    /// What was held back has not been.
    fn take_back(&mut self) {
        if let Some(held) = self.held.take() {
            self.watches.restore(held.told);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::harness::Shard;
    use crate::journal::{Event, EventClass};
    use crate::keyspace::Watcher;
    use crate::reply::Protocol;

    fn run(shard: &mut Shard, line: &str) -> String {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&shard.execute(Protocol::Resp2, &arguments)).into_owned()
    }

    fn filled() -> Shard {
        let mut shard = Shard::default();
        let members: Vec<String> = (0..2000).map(|number| format!("member:{number}")).collect();
        run(&mut shard, &format!("sadd large {}", members.join(" ")));
        let long = "x".repeat(100_000);
        for line in [
            "set number 5",
            "set text hello px 100000",
            &format!("set long {long}"),
            "rpush list a b c",
            "hset hash f v g w",
            "zadd scores 1 a 2 b",
            "sadd few a b c",
            "xadd stream 1-1 f v",
        ] {
            run(&mut shard, line);
        }
        shard
    }

    fn digest(shard: &mut Shard) -> String {
        let keys = ["number", "text", "long", "list", "hash", "scores", "few", "stream", "large", "new", "other"];
        let mut all = vec![run(shard, "dbsize")];
        for key in keys {
            let read = match run(shard, &format!("type {key}")).trim_end() {
                "+string" => format!("get {key}"),
                "+list" => format!("lrange {key} 0 -1"),
                "+hash" => format!("hgetall {key}"),
                "+zset" => format!("zrange {key} 0 -1 withscores"),
                "+set" => format!("smembers {key}"),
                "+stream" => format!("xrange {key} - +"),
                _ => format!("exists {key}"),
            };
            all.push(run(shard, &read));
            all.push(run(shard, &format!("pttl {key}")));
            all.push(run(shard, &format!("object encoding {key}")));
        }
        all.join("\n")
    }

    const LINES: &[&str] = &[
        "incr number",
        "append text more",
        "expire text 10",
        "persist text",
        "append long more",
        "setrange long 5 abc",
        "rpush list d",
        "lpop list 2",
        "del list",
        "hset hash f other h x",
        "hdel hash f g h",
        "zadd scores 9 c",
        "zremrangebyrank scores 0 -1",
        "srem few a b c",
        "sadd few x",
        "xadd stream 2-1 g w",
        "xtrim stream maxlen 0",
        "sadd large one more",
        "srem large member:7 member:8",
        "set new value",
        "rename new other",
        "copy large new",
        "flushdb",
        "set number 7",
        "swapdb 0 1",
        "set number 8",
        "swapdb 0 1",
        "flushall",
        "set text anew",
    ];

    #[test]
    fn whatever_is_done_is_undone() {
        for count in 1..=LINES.len() {
            let mut shard = filled();
            let before = digest(&mut shard);
            shard.keyspace.begin_undoable();
            let dirty = shard.keyspace.dirty;
            LINES[..count].iter().for_each(|line| drop(run(&mut shard, line)));
            shard.keyspace.undo_changes(shard.now);
            assert_eq!(shard.keyspace.dirty, dirty);
            assert_eq!(digest(&mut shard), before, "{:?}", &LINES[..count]);
            shard.keyspace.audit();
            let mut kept = filled();
            let mut plain = filled();
            kept.keyspace.begin_undoable();
            for line in &LINES[..count] {
                assert_eq!(run(&mut kept, line), run(&mut plain, line), "{line}");
            }
            kept.keyspace.keep_changes();
            assert_eq!(digest(&mut kept), digest(&mut plain));
            kept.keyspace.audit();
        }
    }

    #[test]
    fn each_line_alone_is_undone() {
        for line in LINES {
            let mut shard = filled();
            let before = digest(&mut shard);
            shard.keyspace.begin_undoable();
            run(&mut shard, line);
            shard.keyspace.undo_changes(shard.now);
            assert_eq!(digest(&mut shard), before, "{line}");
            shard.keyspace.audit();
        }
    }

    #[test]
    fn nobody_hears_of_what_is_undone() {
        let mut shard = filled();
        shard.keyspace.journal.listen(false, &[EventClass::String, EventClass::Generic, EventClass::New]);
        shard.keyspace.want_changes(true);
        let watcher = Watcher(1);
        shard.keyspace.watch(watcher, 0, b"number", shard.now);
        let misses = shard.keyspace.statistics.misses;
        shard.keyspace.begin_undoable();
        for line in ["incr number", "get none", "set new 1", "flushall"] {
            run(&mut shard, line);
        }
        assert!(!shard.keyspace.journal.has_events() && !shard.keyspace.has_changes(), "held back");
        shard.keyspace.undo_changes(shard.now);
        assert!(shard.keyspace.journal.take_events().is_empty());
        let (changed, is_flushed) = shard.keyspace.take_changes();
        assert!(changed.is_empty() && !is_flushed);
        assert_eq!(shard.keyspace.statistics.misses, misses);
        assert!(shard.keyspace.is_as_seen(watcher, shard.now), "unchanged");

        shard.keyspace.begin_undoable();
        run(&mut shard, "incr number");
        shard.keyspace.keep_changes();
        let names = |events: Vec<Event>| events.iter().map(|event| event.name).collect::<Vec<_>>();
        assert_eq!(names(shard.keyspace.journal.take_events()), ["incrby"]);
        assert_eq!(shard.keyspace.take_changes().0, [Box::from(*b"number")]);
        assert!(!shard.keyspace.is_as_seen(watcher, shard.now));
    }

    #[test]
    fn what_had_expired_is_there_again_to_expire() {
        let mut shard = filled();
        run(&mut shard, "set short v px 10");
        shard.now += 1000;
        shard.keyspace.begin_undoable();
        run(&mut shard, "get short");
        run(&mut shard, "set short other");
        shard.keyspace.undo_changes(shard.now);
        assert_eq!(run(&mut shard, "get short"), "$-1\r\n");
        shard.keyspace.audit();
    }
}
