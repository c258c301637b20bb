//! Entries by ID that go: XDEL, XDELEX, XACKDEL.

use super::super::errors::is;
use super::super::errors::{positive, syntax};
use super::arguments::references;
use super::{change, effect_of_release, effect_on_ids, effects_of_released, ids};
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::values::stream::{References, Stream, StreamId};
use std::sync::Arc;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// There was none.
    Absent = -1,
    /// It went.
    Deleted = 1,
    /// Groups still refer to it.
    Kept = 2,
}

/// What is to be reported of a deletion.
#[derive(Default)]
struct Deletion {
    fates: Vec<Fate>,
    /// IDs of which something changed in the stream.
    deleted: Vec<StreamId>,
    acknowledged: Vec<StreamId>,
    released: Vec<(Arc<[u8]>, StreamId)>,
}

impl Deletion {
    /// Deletes an entry, as far as groups' references allow.
    fn delete(&mut self, stream: &mut Stream, id: StreamId, references: References) -> Fate {
        if references == References::Acknowledged {
            if stream.entries().get(id).is_none() {
                return Fate::Absent;
            }
            if stream.groups().len() == 0 || stream.is_referenced(id) {
                return Fate::Kept;
            }
        }
        if references == References::Delete {
            let names = stream.release_everywhere(id);
            self.released.extend(names.into_iter().map(|name| (name, id)));
        }
        if !stream.log_mut().delete(id) {
            return Fate::Absent;
        }
        self.deleted.push(id);
        Fate::Deleted
    }

    /// Counts and reports.
    fn report(&self, execution: &mut Execution<'_>, key: &[u8], group: &[u8]) {
        let changes = self.deleted.len() + self.acknowledged.len() + self.released.len();
        execution.keyspace.dirty += changes as u64;
        effect_of_release(execution, key, group, &self.acknowledged);
        effect_on_ids(execution, &[b"XDEL", key], &self.deleted);
        effects_of_released(execution, key, &self.released);
        if !self.deleted.is_empty() {
            execution.event(EventClass::Stream, "xdel", key);
        }
    }
}

/// `XDEL key id [id ...]`
pub(super) fn xdel(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    // The type is looked at before the IDs are.
    let is_absent = super::peek(execution, arguments[1])?.is_none();
    if is_absent {
        execution.reply.integer(0);
        return Ok(());
    }
    let ids = ids::all(&arguments[2..])?;
    let deletion = change(execution, arguments[1], |stream, _| {
        let mut deletion = Deletion::default();
        for id in ids {
            deletion.delete(stream, id, References::Keep);
        }
        deletion
    })?;
    let deletion = deletion.unwrap_or_default();
    execution.reply.integer(deletion.deleted.len() as i64);
    deletion.report(execution, arguments[1], b"");
    Ok(())
}

/// `[KEEPREF | DELREF | ACKED] IDS count id [id ...]`, in either order.
fn policy_and_ids(arguments: &[&[u8]]) -> Result<(References, Vec<StreamId>), CommandError> {
    let (mut policy, mut found) = (None, None);
    let mut rest = arguments;
    while let [word, behind @ ..] = rest {
        rest = behind;
        if let Some(references) = references(word) {
            if policy.replace(references).is_some() {
                return Err(syntax());
            }
        } else if is(word, "IDS") && found.is_none() {
            let (ids, behind) = counted_ids(behind)?;
            found = Some(ids);
            rest = behind;
        } else {
            return Err(syntax());
        }
    }
    Ok((policy.unwrap_or_default(), found.ok_or_else(syntax)?))
}

/// `count id [id ...]`, and what stands behind.
pub(super) fn counted_ids<'a, 'b>(arguments: &'a [&'b [u8]]) -> Result<(Vec<StreamId>, &'a [&'b [u8]]), CommandError> {
    let [count, behind @ ..] = arguments else { return Err(syntax()) };
    let count = positive(count).ok().filter(|count| *count > 0);
    let count = count.ok_or(CommandError::from("ERR Number of IDs must be a positive integer"))?;
    let Some((texts, behind)) = behind.split_at_checked(count) else {
        return Err("ERR The `numids` parameter must match the number of arguments".into());
    };
    Ok((ids::all(texts)?, behind))
}

fn reply_fates(execution: &mut Execution<'_>, count: usize, fates: &[Fate]) {
    execution.reply.array(count);
    for index in 0..count {
        execution.reply.integer(fates.get(index).copied().unwrap_or(Fate::Absent) as i64);
    }
}

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS count id [id ...]`
pub(super) fn xdelex(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (policy, ids) = policy_and_ids(&arguments[2..])?;
    let deletion = change(execution, arguments[1], |stream, _| {
        let mut deletion = Deletion::default();
        for &id in &ids {
            let fate = deletion.delete(stream, id, policy);
            deletion.fates.push(fate);
        }
        deletion
    })?;
    let deletion = deletion.unwrap_or_default();
    reply_fates(execution, ids.len(), &deletion.fates);
    deletion.report(execution, arguments[1], b"");
    Ok(())
}

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS count id [id ...]`
pub(super) fn xackdel(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (policy, ids) = policy_and_ids(&arguments[3..])?;
    let (key, group) = (arguments[1], arguments[2]);
    let deletion = change(execution, key, |stream, _| {
        let mut deletion = Deletion::default();
        for &id in &ids {
            let is_released = stream.change_group(group, |_, group| group.release(id)).unwrap_or(false);
            if is_released {
                deletion.acknowledged.push(id);
                let fate = deletion.delete(stream, id, policy);
                deletion.fates.push(fate);
            } else {
                deletion.fates.push(Fate::Absent);
            }
        }
        deletion
    })?;
    let deletion = deletion.unwrap_or_default();
    reply_fates(execution, ids.len(), &deletion.fates);
    deletion.report(execution, key, group);
    Ok(())
}
