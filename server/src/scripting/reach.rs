//! Which shards a call looks at, and what scripts are known to look at more than they say.

use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::core::ShardSet;
use crate::shared::Shared;
use std::collections::HashMap;
use torc_engine::command::Spread;
use torc_engine::keyspace::{ScanCursor, slot_of};

/// All shards.
pub fn all_shards(shared: &Shared) -> ShardSet {
    ShardSet::MAX >> (ShardSet::BITS as usize - shared.shards())
}

/// The shards that a command looks at, where `home` does what is nowhere else to be done.
pub fn shards_of_command(shared: &Shared, home: usize, entry: &CommandEntry, arguments: &[&[u8]]) -> ShardSet {
    if shared.shards() == 1 || matches!(entry.target, Target::Session(_)) {
        return 1 << home;
    }
    let shard_of = |key: &[u8]| 1 << shared.shard_of(slot_of(key));
    match (entry.keys, entry.spec.spread) {
        (KeyPlan::None, Spread::Walk) if entry.spec.name == "scan" => {
            let cursor = arguments.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
            match cursor.map(ScanCursor::from_u64) {
                None => 1 << home,
                // Where there are few keys, all are asked at once (`core::walks`).
                Some(ScanCursor::START) => all_shards(shared),
                Some(cursor) => 1 << shared.shard_of(cursor.slot()),
            }
        }
        (KeyPlan::None, Spread::Single) => 1 << home,
        (KeyPlan::None, _) => all_shards(shared),
        (KeyPlan::One(index), _) => arguments.get(index).map_or(1 << home, |key| shard_of(key)),
        (KeyPlan::Many, _) if entry.discovery(arguments).is_some() => all_shards(shared),
        (KeyPlan::Many, _) => {
            let mut shards = 0;
            let fits = entry.spec.visit_keys(arguments, |index, _| shards |= shard_of(arguments[index]));
            // Arguments that do not fit come to an error, anywhere.
            if fits && shards != 0 { shards } else { 1 << home }
        }
    }
}

/// How often scripts have been found to need shards that their keys do not name: by what the client calls them, a text, a
/// digest or a function's name. A shard learns this for itself.
#[derive(Debug, Default)]
pub struct Habits {
    misses: HashMap<u64, u8>,
}

/// Who has missed so often is given all shards from the beginning.
const MISSES_MAX: u8 = 2;
/// Where more scripts than that have missed, all is learnt anew.
const HABITS_MAX: usize = 4096;

impl Habits {
    /// Whether it is to have all shards at once.
    #[inline]
    pub fn is_wide(&self, name: impl FnOnce() -> u64) -> bool {
        !self.misses.is_empty() && self.misses.get(&name()).is_some_and(|misses| *misses >= MISSES_MAX)
    }

    /// It has been undone.
    pub fn note_miss(&mut self, name: u64) {
        if self.misses.len() >= HABITS_MAX {
            self.misses.clear();
        }
        let misses = self.misses.entry(name).or_default();
        *misses = (*misses + 1).min(MISSES_MAX);
    }

    /// It had all shards, and what it declares would have been enough.
    pub fn note_needless(&mut self, name: u64) {
        if let Some(misses) = self.misses.get_mut(&name) {
            *misses -= 1;
            if *misses == 0 {
                self.misses.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_misses_often_has_all_until_it_is_needless() {
        let mut habits = Habits::default();
        assert!(!habits.is_wide(|| 7));
        for wide in [false, true, true] {
            habits.note_miss(7);
            assert_eq!(habits.is_wide(|| 7), wide);
        }
        assert!(!habits.is_wide(|| 8));
        habits.note_needless(7);
        assert!(!habits.is_wide(|| 7));
        habits.note_needless(7);
        assert!(habits.misses.is_empty());
        (0..=HABITS_MAX as u64).for_each(|name| habits.note_miss(name));
        assert!(habits.misses.len() <= HABITS_MAX);
    }
}
