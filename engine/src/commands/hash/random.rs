//! Fields at random: HRANDFIELD.

use super::super::errors::{OUT_OF_RANGE, is, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::hash_of;
use crate::command::{CommandResult, Execution, Milliseconds, parse_integer};
use crate::reply::{Protocol, Reply};
use crate::values::Type;
use crate::values::hash::{Field, HashRef, fields_in};
use crate::values::large::HashTree;
use crate::values::object::LargeHash;

/// Fields to be drawn by number: all of a hash, or those whose time is not over.
enum Drawn<'a> {
    All(HashRef<'a>, usize),
    Live(Vec<Field<'a>>),
}

impl<'a> Drawn<'a> {
    fn new(hash: HashRef<'a>, now: Milliseconds) -> Self {
        if hash.due_count(now) > 0 { Self::Live(hash.iter(now).collect()) } else { Self::All(hash, hash.len(now)) }
    }

    fn len(&self) -> usize {
        match self {
            Self::All(_, length) => *length,
            Self::Live(fields) => fields.len(),
        }
    }

    fn at(&self, index: usize, now: Milliseconds) -> Option<Field<'a>> {
        match self {
            Self::All(hash, _) => hash.at(index, now),
            Self::Live(fields) => fields.get(index).copied(),
        }
    }
}

fn reply_field(reply: &mut Reply<'_>, field: Field<'_>, with_values: bool) {
    if with_values && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply_string(reply, field.name);
    if with_values {
        reply_string(reply, field.value);
    }
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub(super) fn hrandfield(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let choice = arguments.get(2).map(|count| Choice::parse(count)).transpose()?;
    let with_values = match arguments.get(3..) {
        None | Some([]) => false,
        Some([word]) if is(word, "WITHVALUES") => true,
        _ => return Err(syntax()),
    };
    // The number of replies has to fit the real server's counter.
    let is_huge = parse_integer(arguments.get(2).unwrap_or(&&b"0"[..]))
        .is_some_and(|count| count.unsigned_abs() > i64::MAX as u64 / 2);
    if with_values && is_huge {
        return Err(OUT_OF_RANGE.into());
    }
    let access = execution.access();
    let Execution { keyspace, reply, database, now, random, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let hash = keyspace.find_typed(*database, &key, *now, access, Type::Hash)?.map(hash_of);
    let is_flat = with_values && reply.protocol() == Protocol::Resp2;
    if let (Some(HashRef::Tree(LargeHash { tree, .. })), Some(choice), Some(0)) =
        (hash, choice, hash.map(|hash| hash.due_count(*now)))
        && options.is_long_part(choice.count(tree.len() as usize) as u64, tree.len(), tree.bytes())
    {
        let (length, now) = (tree.len() as usize, *now);
        reply.array(choice.count(length) * if is_flat { 2 } else { 1 });
        later.put_boxed(choose(tree.clone(), length, choice, random.fork(), move |tree: &HashTree, number, reply| {
            fields_in(tree, number..number + 1, now).for_each(|field| reply_field(reply, field, with_values));
        }));
        return Ok(());
    }
    let fields = hash.map(|hash| Drawn::new(hash, *now)).filter(|fields| fields.len() > 0);
    let Some(fields) = fields else {
        if choice.is_some() {
            reply.array(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let numbers = match choice {
        None => {
            let field = fields.at(random.usize(..fields.len()), *now);
            field.into_iter().for_each(|field| reply_string(reply, field.name));
            return Ok(());
        }
        Some(Choice::Repeated(count)) => (0..count).map(|_| random.usize(..fields.len())).collect(),
        Some(Choice::Distinct(count)) => distinct(count.min(fields.len()), fields.len(), random),
    };
    reply.array(numbers.len() * if is_flat { 2 } else { 1 });
    for number in numbers {
        fields.at(number, *now).into_iter().for_each(|field| reply_field(reply, field, with_values));
    }
    Ok(())
}
