//! Elements from one list to another: LMOVE, RPOPLPUSH, LMOVEM, and BLMOVE, BRPOPLPUSH and BLMOVEM, which may wait for them.
//!
//! ```text
//!   source   p1 p2 p3 ...                        all are taken off first, p1, p2, ... in this order
//!   OBO      destination LEFT   p2 p1 | ...      and pushed one by one,
//!   BULK     destination LEFT   p1 p2 | ...      or put there as they stood
//! ```
//! Source and destination may be one list, which then is never empty in between for anyone to see. Many elements are moved in
//! slices (`sliced_transfer`).

use super::super::blocking::{nothing, timeout_ms};
use super::super::errors::{above_zero, is, syntax};
use super::super::report::Remade;
use super::sliced_transfer::LongTransfer;
use super::{list_of, push_to, remove_if_empty, report};
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
pub(super) struct Transfer<'a> {
    pub(super) source: &'a [u8],
    pub(super) destination: &'a [u8],
    pub(super) from: End,
    pub(super) to: End,
    pub(super) count: u64,
    /// All of them or nothing.
    pub(super) is_exact: bool,
    /// The elements stay in the order that they have.
    pub(super) is_bulk: bool,
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

    pub(super) fn is_within_one_list(&self) -> bool {
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
    fn report_events(&self, execution: &mut Execution<'_>, is_source_gone: bool) {
        execution.event(EventClass::List, self.to.push_name(), self.destination);
        report(execution, self.from.pop_name(), self.source, is_source_gone);
    }

    /// Whether a list of that length is turned round as a whole: then the first element to be pushed may as well stay.
    pub(super) fn turns_round(&self, count: u64, length: u64) -> bool {
        self.is_within_one_list() && self.from == self.to && !self.is_bulk && count == length
    }

    /// The effects of pushing elements, to which these are added in the order in which they are pushed.
    pub(super) fn push_effects(&self) -> Remade {
        Remade::added(self.to.push_name().as_bytes(), self.destination)
    }

    /// Reports that several elements have been moved; the source had a length before. `pushes` are the effects that push them,
    /// but for a first one that [stays](Transfer::turns_round), where somebody wants to know.
    pub(super) fn report(
        &self,
        execution: &mut Execution<'_>,
        pushes: Option<Remade>,
        count: u64,
        is_source_gone: bool,
        length: u64,
    ) {
        if let Some(pushes) = pushes {
            self.report_effects(execution, pushes, count, length);
        }
        self.report_events(execution, is_source_gone);
    }

    /// Reports the effects of several elements' move in terms of commands that any version knows. A list that is source
    /// and destination keeps an element meanwhile, and its expiry thereby.
    fn report_effects(&self, execution: &mut Execution<'_>, pushes: Remade, count: u64, length: u64) {
        let pop = |execution: &mut Execution<'_>, end: End, count: u64| {
            let mut digits = itoa::Buffer::new();
            execution.effect(&[end.pop_name().as_bytes(), self.source, digits.format(count).as_bytes()]);
        };
        if !self.is_within_one_list() {
            pop(execution, self.from, count);
            pushes.tell(execution);
        } else if self.from != self.to {
            pushes.tell(execution);
            pop(execution, self.from, count);
        } else if self.is_bulk || count == 1 {
            // All is as it was.
        } else if self.turns_round(count, length) {
            pop(execution, self.from.other(), count - 1);
            pushes.tell(execution);
        } else {
            pop(execution, self.from, count);
            pushes.tell(execution);
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
            transfer.report_events(execution, moved.is_source_gone);
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

/// What LMOVEM moves, or BLMOVEM; `how_many` is what they take behind everything else.
fn parse<'a>(arguments: &[&'a [u8]], how_many: &[&[u8]]) -> Result<Transfer<'a>, CommandError> {
    let (from, to) = (End::parse(arguments[3])?, End::parse(arguments[4])?);
    let mut transfer = Transfer::one(arguments[1], arguments[2], from, to);
    match *how_many {
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

/// How many elements there must be for a BLMOVEM that need not wait: one, or all that it wants.
pub(in crate::commands) fn elements_needed(how_many: &[&[u8]]) -> Option<u64> {
    match *how_many {
        [selector, count, _] if is(selector, "EXACTLY") => crate::command::parse_integer(count)?.try_into().ok(),
        _ => Some(1),
    }
}

/// `LMOVEM source destination LEFT | RIGHT LEFT | RIGHT [COUNT count | EXACTLY count OBO | BULK]`
pub(super) fn lmovem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let transfer = parse(arguments, &arguments[5..])?;
    if !move_several(execution, &transfer)? {
        if transfer.is_exact {
            execution.reply.null_array();
        } else {
            execution.reply.array(0);
        }
    }
    Ok(())
}

/// `BLMOVEM source destination LEFT | RIGHT LEFT | RIGHT timeout [COUNT count | EXACTLY count OBO | BULK]`
pub(super) fn blmovem(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let transfer = parse(arguments, &arguments[6..])?;
    timeout_ms(arguments[5])?;
    if !move_several(execution, &transfer)? {
        execution.reply.null_array();
        nothing(execution);
    }
    Ok(())
}

/// Moves elements, now or in slices, and replies with them; false if there are none, or too few.
fn move_several(execution: &mut Execution<'_>, transfer: &Transfer<'_>) -> Result<bool, CommandError> {
    let (source, destination) = (execution.keyspace.key(transfer.source), execution.keyspace.key(transfer.destination));
    let Execution { keyspace, database, now, options, .. } = &*execution;
    let list = keyspace.peek_typed(*database, &source, *now, Type::List)?.map(list_of);
    let length = list.map_or(0, |list| list.len());
    if let Some(list @ ListRef::Tree(tree)) = list
        && options.is_long_part(transfer.count.min(length), length, tree.bytes())
        && !(transfer.is_exact && length < transfer.count)
    {
        let destination = keyspace.peek_typed(*database, &destination, *now, Type::List)?;
        let moved = list.end(transfer.from, transfer.count);
        let work = LongTransfer::new(execution, transfer, tree, moved, destination);
        execution.later.put(work);
        return Ok(true);
    }
    let Some(moved) = transfer.run(execution)? else { return Ok(false) };
    // In the order in which they stand in the destination.
    execution.reply.array(moved.texts.len());
    match transfer.to {
        End::Left => moved.texts.iter().rev().for_each(|text| execution.reply.bulk(text)),
        End::Right => moved.texts.iter().for_each(|text| execution.reply.bulk(text)),
    }
    let count = moved.texts.len() as u64;
    let pushes = execution.keyspace.journal.wants_effects().then(|| {
        let mut pushes = transfer.push_effects();
        let staying = usize::from(transfer.turns_round(count, length));
        moved.texts.iter().skip(staying).for_each(|text| pushes.add(&[text]));
        pushes
    });
    transfer.report(execution, pushes, count, moved.is_source_gone, length);
    Ok(true)
}
