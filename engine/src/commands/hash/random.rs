//! Fields at random: HRANDFIELD.

use super::super::errors::{OUT_OF_RANGE, is, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::hash_of;
use crate::command::{CommandResult, Execution, Milliseconds, parse_integer};
use crate::long::{LongWork, STEP_BYTES_MAX, Step, ViewWalk};
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

/// So many different fields of those that live: one after the other, each with the chance of those still wanted among those
/// still to come.
fn choose_live(
    tree: &HashTree,
    live: usize,
    count: usize,
    random: fastrand::Rng,
    (now, with_values): (Milliseconds, bool),
) -> Box<dyn LongWork> {
    let (mut live, mut wanted, mut random) = (live as u64, count as u64, random);
    Box::new(ViewWalk::new(tree.clone(), 0..tree.len(), move |tree: &HashTree, ranks, reply| {
        for field in fields_in(tree, ranks, now) {
            if random.u64(..live) < wanted {
                wanted -= 1;
                reply_field(reply, field, with_values);
            }
            live -= 1;
        }
    }))
}

/// So many fields of those that live, the same one perhaps again: some in a row are drawn until one lives; if that takes
/// long, since few do, the numbers of those are found first.
struct Repeated {
    tree: HashTree,
    left: usize,
    random: fastrand::Rng,
    now: Milliseconds,
    with_values: bool,
    /// Numbers of live fields, and up to where they have been looked for: where most are due.
    live: Option<(Vec<u64>, u64)>,
}

impl Repeated {
    fn new(tree: &HashTree, count: usize, random: fastrand::Rng, (now, with_values): (Milliseconds, bool)) -> Self {
        Self { tree: tree.clone(), left: count, random, now, with_values, live: None }
    }

    /// A number of a live field; none if several draws have not met one.
    fn draw(&mut self) -> Option<u64> {
        const DRAWS_MAX: usize = 64;
        if let Some((live, _)) = &self.live {
            return Some(live[self.random.usize(..live.len())]);
        }
        let (tree, now) = (&self.tree, self.now);
        let numbers = (0..DRAWS_MAX).map(|_| self.random.u64(..tree.len()));
        let mut lives = numbers.filter(|number| fields_in(tree, *number..number + 1, now).next().is_some());
        lives.next()
    }
}

impl LongWork for Repeated {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let (reply, length) = (&mut execution.reply, self.tree.len());
        if let Some((live, looked_at)) = &mut self.live
            && *looked_at < length
        {
            let until = length.min(looked_at.saturating_add(budget));
            let lives = |number: &u64| fields_in(&self.tree, *number..number + 1, self.now).next().is_some();
            live.extend((*looked_at..until).filter(lives));
            *looked_at = until;
            return Step::More;
        }
        let before = reply.buffer().len();
        let mut left = budget;
        while self.left > 0 && left > 0 && reply.buffer().len() - before < STEP_BYTES_MAX {
            let Some(number) = self.draw() else {
                self.live = Some((Vec::new(), 0));
                return Step::More;
            };
            fields_in(&self.tree, number..number + 1, self.now)
                .for_each(|field| reply_field(reply, field, self.with_values));
            (self.left, left) = (self.left - 1, left - 1);
        }
        if self.left == 0 { Step::Done } else { Step::More }
    }

    fn only_reads(&self) -> bool {
        true
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
    if let (Some(HashRef::Tree(LargeHash { tree, .. })), Some(choice)) = (hash, choice) {
        let (length, now) = (tree.len() as usize, *now);
        let due = hash.map_or(0, |hash| hash.due_count(now));
        let count = choice.count(length - due);
        // Where some are due all are looked at, whether they are.
        let units = if due == 0 { count } else { length.max(count) } as u64;
        if due < length && options.is_long_part(units, tree.len(), tree.bytes()) {
            reply.array(count * if is_flat { 2 } else { 1 });
            let random = random.fork();
            let show = move |tree: &HashTree, number: u64, reply: &mut Reply<'_>| {
                fields_in(tree, number..number + 1, now).for_each(|field| reply_field(reply, field, with_values));
            };
            later.put_boxed(match choice {
                _ if due == 0 => choose(tree.clone(), length, choice, random, show),
                Choice::Distinct(_) => choose_live(tree, length - due, count, random, (now, with_values)),
                Choice::Repeated(_) => Box::new(Repeated::new(tree, count, random, (now, with_values))),
            });
            return Ok(());
        }
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
