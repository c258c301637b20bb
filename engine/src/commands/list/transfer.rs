//! Elements from one list to another: LMOVE, RPOPLPUSH, LMOVEM, and BLMOVE and BRPOPLPUSH, which may wait for one.
//!
//! ```text
//!   source   p1 p2 p3 ...                        all are taken off first, p1, p2, ... in this order
//!   OBO      destination LEFT   p2 p1 | ...      and pushed one by one,
//!   BULK     destination LEFT   p1 p2 | ...      or put there as they stood
//! ```
//! Source and destination may be one list, which then is never empty in between for anyone to see.

use super::super::blocking::{nothing, timeout_ms};
use super::super::errors::{above_zero, is, syntax};
use super::{push_to, remove_if_empty, report};
use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::values::Type;
use crate::values::list::{self, End, ListRef};
use smallvec::SmallVec;

/// An element on its way.
type Text = SmallVec<[u8; 64]>;

/// Elements in the order in which they are pushed.
type Texts = SmallVec<[Text; 1]>;

/// What is moved, and where to.
struct Transfer<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    from: End,
    to: End,
    count: u64,
    /// All of them or nothing.
    is_exact: bool,
    /// The elements stay in the order that they have.
    is_bulk: bool,
}

/// What has been moved.
struct Moved {
    texts: Texts,
    is_source_gone: bool,
}

impl<'a> Transfer<'a> {
    /// Of one element.
    fn one(source: &'a [u8], destination: &'a [u8], from: End, to: End) -> Self {
        Self { source, destination, from, to, count: 1, is_exact: false, is_bulk: false }
    }

    fn is_within_one_list(&self) -> bool {
        self.source == self.destination
    }

    /// Moves the elements and counts that; `None` if there is no source, or it has too few of them.
    fn run(&self, execution: &mut Execution<'_>) -> Result<Option<Moved>, CommandError> {
        let Execution { keyspace, database, now, options, .. } = &mut *execution;
        let (source, destination) = (keyspace.key(self.source), keyspace.key(self.destination));
        if keyspace.peek_typed(*database, &source, *now, Type::List)?.is_none() {
            return Ok(None);
        }
        keyspace.peek_typed(*database, &destination, *now, Type::List)?;
        let Some(mut entry) = keyspace.edit(*database, &source, Type::List, *now)? else { return Ok(None) };
        let list = ListRef::of(&entry);
        if self.is_exact && list.len() < self.count {
            return Ok(None);
        }
        let indexes = list.end(self.from, self.count);
        let mut texts: Texts = SmallVec::new();
        let elements = list.range(indexes.clone(), self.from);
        texts.extend(elements.map(|element| element.with_bytes(Text::from_slice)));
        if self.is_bulk && self.from == self.to {
            texts.reverse();
        }
        entry.changed(texts.len() as u64);
        list::remove(&mut entry, indexes, &options.encodings);
        if self.is_within_one_list() {
            list::push(&mut entry, self.to, &texts, &options.encodings);
            return Ok(Some(Moved { texts, is_source_gone: false }));
        }
        let is_source_gone = remove_if_empty(entry);
        push_to(execution, self.destination, self.to, &texts)?;
        Ok(Some(Moved { texts, is_source_gone }))
    }

    /// Reports the events: to the destination first, as the real server does.
    fn report_events(&self, execution: &mut Execution<'_>, moved: &Moved) {
        execution.event(EventClass::List, self.to.push_name(), self.destination);
        report(execution, self.from.pop_name(), self.source, moved.is_source_gone);
    }

    /// Reports the effects of several elements' move in terms of commands that any version knows. A list that is source
    /// and destination keeps an element meanwhile, and its expiry thereby.
    fn report_effects(&self, execution: &mut Execution<'_>, moved: &Moved, length: u64) {
        if !execution.keyspace.journal.wants_effects() {
            return;
        }
        let count = moved.texts.len();
        let pop = |execution: &mut Execution<'_>, end: End, count: usize| {
            let mut digits = itoa::Buffer::new();
            execution.effect(&[end.pop_name().as_bytes(), self.source, digits.format(count).as_bytes()]);
        };
        let push = |execution: &mut Execution<'_>, texts: &[Text]| {
            let head = [self.to.push_name().as_bytes(), self.destination];
            let arguments: Vec<&[u8]> = head.into_iter().chain(texts.iter().map(AsRef::as_ref)).collect();
            execution.effect(&arguments);
        };
        if !self.is_within_one_list() {
            pop(execution, self.from, count);
            push(execution, &moved.texts);
        } else if self.from != self.to {
            push(execution, &moved.texts);
            pop(execution, self.from, count);
        } else if self.is_bulk || count == 1 {
            // All is as it was.
        } else if (count as u64) < length {
            pop(execution, self.from, count);
            push(execution, &moved.texts);
        } else {
            // The whole list is turned round: the first to be pushed may as well stay.
            let other_end = if self.from == End::Left { End::Right } else { End::Left };
            pop(execution, other_end, count - 1);
            push(execution, &moved.texts[1..]);
        }
    }
}

/// Moves one element, replies with it and reports the command that does so; false if there is none.
fn move_one(execution: &mut Execution<'_>, effect: &[&[u8]], from: End, to: End) -> Result<bool, CommandError> {
    let transfer = Transfer::one(effect[1], effect[2], from, to);
    let moved = transfer.run(execution)?;
    match &moved {
        None => execution.reply.null(),
        Some(moved) => {
            moved.texts.iter().for_each(|text| execution.reply.bulk(text));
            execution.effect(effect);
            transfer.report_events(execution, moved);
        }
    }
    Ok(moved.is_some())
}

/// `LMOVE source destination LEFT | RIGHT LEFT | RIGHT`
pub(super) fn lmove(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (from, to) = (End::parse(arguments[3])?, End::parse(arguments[4])?);
    move_one(execution, arguments, from, to)?;
    Ok(())
}

/// `BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout`
pub(super) fn blmove(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (from, to) = (End::parse(arguments[3])?, End::parse(arguments[4])?);
    timeout_ms(arguments[5])?;
    let effect: [&[u8]; 5] = [b"LMOVE", arguments[1], arguments[2], arguments[3], arguments[4]];
    if !move_one(execution, &effect, from, to)? {
        nothing(execution);
    }
    Ok(())
}

/// `BRPOPLPUSH source destination timeout`
pub(super) fn brpoplpush(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    timeout_ms(arguments[3])?;
    let effect: [&[u8]; 3] = [b"RPOPLPUSH", arguments[1], arguments[2]];
    if !move_one(execution, &effect, End::Right, End::Left)? {
        nothing(execution);
    }
    Ok(())
}

/// `RPOPLPUSH source destination`
pub(super) fn rpoplpush(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    move_one(execution, arguments, End::Right, End::Left)?;
    Ok(())
}

fn parse<'a>(arguments: &[&'a [u8]]) -> Result<Transfer<'a>, CommandError> {
    let (from, to) = (End::parse(arguments[3])?, End::parse(arguments[4])?);
    let mut transfer = Transfer::one(arguments[1], arguments[2], from, to);
    match arguments[5..] {
        [] => {}
        [selector, count, order] => {
            transfer.is_exact = is(selector, "EXACTLY");
            transfer.is_bulk = is(order, "BULK");
            if !(transfer.is_exact || is(selector, "COUNT")) || !(transfer.is_bulk || is(order, "OBO")) {
                return Err(syntax());
            }
            transfer.count = above_zero(count, "ERR count should be greater than 0")?;
        }
        _ => return Err(syntax()),
    }
    Ok(transfer)
}

/// `LMOVEM source destination LEFT | RIGHT LEFT | RIGHT [COUNT count | EXACTLY count OBO | BULK]`
pub(super) fn lmovem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let transfer = parse(arguments)?;
    let key = execution.keyspace.key(transfer.source);
    let length = execution.keyspace.peek_typed(execution.database, &key, execution.now, Type::List)?;
    let length = length.map_or(0, |entry| super::list_of(entry).len());
    let Some(moved) = transfer.run(execution)? else {
        if transfer.is_exact {
            execution.reply.null_array();
        } else {
            execution.reply.array(0);
        }
        return Ok(());
    };
    // In the order in which they stand in the destination.
    execution.reply.array(moved.texts.len());
    match transfer.to {
        End::Left => moved.texts.iter().rev().for_each(|text| execution.reply.bulk(text)),
        End::Right => moved.texts.iter().for_each(|text| execution.reply.bulk(text)),
    }
    transfer.report_effects(execution, &moved, length);
    transfer.report_events(execution, &moved);
    Ok(())
}
