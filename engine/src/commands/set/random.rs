//! Members at random: SRANDMEMBER and SPOP.

use super::super::errors::{positive, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::set_of;
use crate::command::{CommandResult, Execution};
use crate::journal::EventClass;
use crate::values::Type;
use crate::values::large::HashTree;
use crate::values::set::{self, SetRef};

/// `SRANDMEMBER key [count]`
pub(super) fn srandmember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let choice = match arguments[2..] {
        [] => None,
        [count] => Some(Choice::parse(count)?),
        _ => return Err(syntax()),
    };
    let access = execution.access();
    let Execution { keyspace, reply, database, now, random, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let set = keyspace.find_typed(*database, &key, *now, access, Type::Set)?.map(set_of);
    if let (Some(SetRef::Tree(tree)), Some(choice)) = (set, choice)
        && options.is_long_part(choice.count(tree.len() as usize) as u64, tree.len(), tree.bytes())
    {
        let length = tree.len() as usize;
        reply.array(choice.count(length));
        later.put_boxed(choose(tree.clone(), length, choice, random.fork(), |tree: &HashTree, number, reply| {
            tree.at(number).into_iter().for_each(|element| reply_string(reply, element.name()));
        }));
        return Ok(());
    }
    match (set, choice) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => {
            let member = set.at(random.usize(..set.len()));
            member.into_iter().for_each(|member| reply_string(reply, member));
        }
        (Some(set), Some(Choice::Repeated(count))) => {
            reply.array(count);
            for _ in 0..count {
                let member = set.at(random.usize(..set.len()));
                member.into_iter().for_each(|member| reply_string(reply, member));
            }
        }
        (Some(set), Some(Choice::Distinct(count))) if count >= set.len() => {
            reply.array(set.len());
            set.iter().for_each(|member| reply_string(reply, member));
        }
        (Some(set), Some(Choice::Distinct(count))) => {
            reply.array(count);
            let members = distinct(count, set.len(), random).into_iter().filter_map(|index| set.at(index));
            members.for_each(|member| reply_string(reply, member));
        }
    }
    Ok(())
}

/// `SPOP key [count]`
pub(super) fn spop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let count = match arguments[2..] {
        [] => None,
        [count] => Some(positive(count)?),
        _ => return Err(syntax()),
    };
    let Execution { keyspace, reply, database, now, random, .. } = execution;
    let wants_effects = keyspace.journal.wants_effects();
    let key = keyspace.key(arguments[1]);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::Set, *now)? else {
        if count.is_some() {
            reply.set(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let length = SetRef::of(&entry).len();
    let popped = count.unwrap_or(1).min(length);
    if count.is_some() {
        reply.set(popped);
    }
    let mut members: Vec<Vec<u8>> = Vec::new();
    if popped == length {
        SetRef::of(&entry).iter().for_each(|member| reply_string(reply, member));
        entry.changed(popped as u64);
        entry.remove();
    } else {
        // From the last on, so that the numbers of those still to go stay what they are.
        let chosen = if popped == 1 { vec![random.usize(..length)] } else { distinct(popped, length, random) };
        for index in chosen.into_iter().rev() {
            if let Some(member) = SetRef::of(&entry).at(index) {
                reply_string(reply, member);
                members.extend(wants_effects.then(|| member.to_bytes().into_owned()));
            }
            set::remove_at(&mut entry, index);
        }
        entry.changed(popped as u64);
    }
    if popped == 0 {
        return Ok(());
    }
    execution.event(EventClass::Set, "spop", arguments[1]);
    if popped == length {
        execution.effect(&[b"DEL", arguments[1]]);
        execution.event(EventClass::Generic, "del", arguments[1]);
    } else if wants_effects {
        let removal = [b"SREM", arguments[1]].into_iter().chain(members.iter().map(Vec::as_slice));
        execution.effect(&removal.collect::<Vec<_>>());
    }
    Ok(())
}
