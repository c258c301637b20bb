//! Which shards a command's keys are on.

use crate::command_table::CommandEntry;
use crate::shared::Shared;
use std::collections::BTreeMap;
use torc_engine::command::FindKeys;
use torc_engine::keyspace::slot_of;

/// Where keys are that a command's specs find in its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// All on one shard.
    One(usize),
    /// On several; or values may name further ones, which may be anywhere.
    Several,
    /// The arguments do not fit the specs, or there are none.
    Nobody,
}

/// For each shard the arguments that belong there, and the places of their keys among all.
pub(crate) type Groups<'a> = BTreeMap<usize, (Vec<&'a [u8]>, Vec<usize>)>;

impl Shared {
    /// Where all keys of a command are.
    pub(crate) fn owner_of_keys(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Owner {
        if entry.discovery(arguments).is_some() {
            return Owner::Several;
        }
        let mut owner = None;
        let mut several = false;
        let fits = entry.spec.visit_keys(arguments, |index, _| {
            let shard = self.shard_of(slot_of(arguments[index]));
            several |= *owner.get_or_insert(shard) != shard;
        });
        match owner {
            Some(_) if fits && several => Owner::Several,
            Some(owner) if fits => Owner::One(owner),
            _ => Owner::Nobody,
        }
    }

    /// A command of one hop, cut up: for each shard the arguments that belong there, and the places of their keys among all.
    /// None if a key is without its value.
    pub(crate) fn split<'a>(&self, entry: &CommandEntry, arguments: &[&'a [u8]]) -> Option<Groups<'a>> {
        let step = match entry.spec.keys[0].find {
            FindKeys::Range { step, .. } | FindKeys::Count { step, .. } => step,
            FindKeys::Unknown => 1,
        };
        let mut groups = Groups::new();
        let mut place = 0;
        let mut fits = true;
        entry.spec.visit_keys(arguments, |index, _| {
            let Some(chunk) = arguments.get(index..index + step) else {
                fits = false;
                return;
            };
            let shard = self.shard_of(slot_of(arguments[index]));
            let group = groups.entry(shard).or_insert_with(|| (vec![arguments[0]], Vec::new()));
            group.0.extend_from_slice(chunk);
            group.1.push(place);
            place += 1;
        });
        fits.then_some(groups)
    }
}
