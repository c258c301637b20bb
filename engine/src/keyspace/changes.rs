//! Which keys have changed: for those who keep copies of values, in whatever way these change.
//!
//! Every change passes [`Keyspace::before_change`], a removal, or a flush; where nobody wants to know, that is a look at one
//! flag. Some changes are announced before it is clear that there will be one (SADD of a member that is there): these count
//! once `dirty` has risen, which is decided when they are taken, after each command.

use super::Keyspace;

/// What has changed since the last time.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    is_wanted: bool,
    keys: Vec<Box<[u8]>>,
    /// How many of the keys, from the beginning, are known to have changed.
    certain: usize,
    /// `dirty` when changes were taken the last time.
    dirty_before: u64,
    is_flushed: bool,
}

impl Changes {
    /// Whether anybody wants to know.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// A key is about to change, if it does.
    #[cold]
    pub(super) fn expect(&mut self, key: &[u8]) {
        if self.keys.last().is_none_or(|last| **last != *key) {
            self.keys.push(key.into());
        }
    }

    /// A key has gone by itself.
    #[cold]
    pub(super) fn gone(&mut self, key: &[u8]) {
        self.keys.insert(self.certain, key.into());
        self.certain += 1;
    }

    /// A database has been emptied.
    pub(super) fn flushed(&mut self) {
        self.is_flushed |= self.is_wanted;
    }
}

impl Keyspace {
    /// Says whether anybody wants to know which keys change.
    pub fn want_changes(&mut self, wanted: bool) {
        if wanted != self.changes.is_wanted {
            self.changes = Changes { is_wanted: wanted, dirty_before: self.dirty, ..Changes::default() };
        }
    }

    /// Whether there may be changes to take.
    #[inline]
    pub fn has_changes(&self) -> bool {
        (!self.changes.keys.is_empty() || self.changes.is_flushed) && self.undo.is_none()
    }

    /// All changes so far are certain, whatever `dirty` says.
    pub(crate) fn confirm_changes(&mut self) {
        self.changes.certain = self.changes.keys.len();
    }

    /// The keys that have changed since the last time, in any database, and whether a database has been emptied.
    pub fn take_changes(&mut self) -> (Vec<Box<[u8]>>, bool) {
        if self.undo.is_some() {
            // Nobody hears of what may be undone.
            return (Vec::new(), false);
        }
        let changes = &mut self.changes;
        let mut keys = std::mem::take(&mut changes.keys);
        let certain = std::mem::take(&mut changes.certain);
        if self.dirty == changes.dirty_before {
            keys.truncate(certain);
        }
        changes.dirty_before = self.dirty;
        (keys, std::mem::take(&mut changes.is_flushed))
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::harness::Shard;
    use crate::reply::Protocol;

    fn run(shard: &mut Shard, line: &str) -> Vec<String> {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        shard.execute(Protocol::Resp2, &arguments);
        let (keys, is_flushed) = shard.keyspace.take_changes();
        let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
        keys.chain(is_flushed.then(|| "(flushed)".to_owned())).collect()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut shard = Shard::default();
        assert!(run(&mut shard, "set a 1").is_empty(), "nobody wants to know");
        shard.keyspace.want_changes(true);
        for (line, changed) in [
            ("set a 1", vec!["a"]),
            ("get a", vec![]),
            ("get none", vec![]),
            ("incr a", vec!["a"]),
            ("append a x", vec!["a"]),
            ("expire a 100", vec!["a"]),
            ("expire none 100", vec![]),
            ("persist a", vec!["a"]),
            ("persist a", vec![]),
            ("sadd s m", vec!["s"]),
            ("sadd s m", vec![]),
            ("srem s none", vec![]),
            ("smembers s", vec![]),
            ("srem s m", vec!["s"]),
            ("rpush l 1 2 3", vec!["l"]),
            ("lrem l 0 none", vec![]),
            ("lpop l", vec!["l"]),
            ("hset h f v", vec!["h"]),
            ("hdel h none", vec![]),
            ("hget h f", vec![]),
            ("zadd z 1 m", vec!["z"]),
            ("zadd z nx 2 m", vec![]),
            ("zincrby z 2 m", vec!["z"]),
            ("xadd x 1-1 f v", vec!["x"]),
            ("lmove l l2 left right", vec!["l2", "l"]),
            ("rename l2 l3", vec!["l2", "l3"]),
            ("copy l3 l4", vec!["l4"]),
            ("mset m1 1 m2 2", vec!["m1", "m2"]),
            ("del m1 none m2", vec!["m1", "m2"]),
            ("setbit b 7 1", vec!["b"]),
            ("pfadd p a", vec!["p"]),
            ("set short 1 px 10", vec!["short"]),
            ("flushdb", vec!["(flushed)"]),
        ] {
            let mut told = run(&mut shard, line);
            let mut expected = changed;
            told.sort();
            expected.sort_unstable();
            assert_eq!(told, expected, "{line}");
        }
    }

    #[test]
    fn what_expires_is_told_whoever_finds_it() {
        for finder in ["get a", "exists a", "set a 2", "cycle"] {
            let mut shard = Shard::default();
            shard.keyspace.want_changes(true);
            run(&mut shard, "set a 1 px 10");
            shard.now += 2000;
            if finder == "cycle" {
                shard.keyspace.expire_step(shard.now, 1000);
                assert_eq!(shard.keyspace.take_changes().0, [Box::from(*b"a")]);
            } else {
                assert_eq!(run(&mut shard, finder)[0], "a", "{finder}");
            }
        }
    }
}
