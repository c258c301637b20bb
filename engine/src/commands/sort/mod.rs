//! SORT and SORT_RO: the elements of a list, a set or a sorted set in another order, or values that they name.
//!
//! ```text
//!   SORT friends BY weight_* LIMIT 0 2 GET # GET name_*->first
//!
//!   elements ──> rows: (element, weight)  ──> sorted, cut to the limit ──> for each row its GETs ──> reply, or a list
//!   of `friends`        value of weight_<element>                         value of name_<element>, field `first`
//! ```
//!
//! * Equal weights are put in the order of their elements, so that a sort by numbers has one result.
//! * Text is compared byte by byte, as in the C locale.
//! * The keys that patterns name are known only when the elements are. On one shard they are just looked up. Where there
//!   are several, each of them remembers from one instant on what such keys hold, and the command asks them for it in
//!   slices ([`KEYS`], and the coordinator).
//! * A stored result is told to logs as the list that it is: DEL and RPUSH.
//! * Many elements are read, put in order and shown or stored in slices ([`sliced`]).

mod elements;
mod pattern;
mod rows;
mod sliced;

pub use rows::COMMANDS;

use super::double;
use super::errors::{integer, is, syntax, wrong_type};
use super::report::{EFFECT_ELEMENTS_MAX, Remade};
use super::string::reply_string;
use crate::command::{CommandError, CommandResult, Discovery, Execution, KeyFinder, KeyFlags, Milliseconds};
use crate::journal::EventClass;
use crate::keyspace::{Access, KeyFilter, Keyspace};
use crate::long::LongWork;
use crate::values::list::{self, End};
use crate::values::{StringRef, Type};
use elements::Elements;
use pattern::{OwnedPattern, Pattern};
use std::cmp::Ordering;

/// An element, or a value that it names, is no number.
const NO_WEIGHT: &str = "ERR One or more scores can't be converted into double";

/// What decides the order.
#[derive(Clone, Copy, Debug, Default)]
enum By<'a> {
    /// The elements themselves.
    #[default]
    Element,
    /// The values that they name.
    Pattern(Pattern<'a>),
    /// Nothing: a pattern without a place for the element, which would give the same for all.
    Nothing,
}

/// What a client asks for.
#[derive(Clone, Debug)]
struct Request<'a> {
    by: By<'a>,
    offset: i64,
    /// Negative: no limit.
    count: i64,
    gets: Vec<Pattern<'a>>,
    downward: bool,
    as_text: bool,
    destination: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(arguments: &[&'a [u8]], may_store: bool) -> Result<Self, CommandError> {
        let mut request = Self {
            by: By::Element,
            offset: 0,
            count: -1,
            gets: Vec::new(),
            downward: false,
            as_text: false,
            destination: None,
        };
        let mut rest = &arguments[2..];
        while let [word, more @ ..] = rest {
            rest = more;
            match rest {
                _ if is(word, "ASC") => request.downward = false,
                _ if is(word, "DESC") => request.downward = true,
                _ if is(word, "ALPHA") => request.as_text = true,
                [offset, count, more @ ..] if is(word, "LIMIT") => {
                    (request.offset, request.count) = (integer(offset)?, integer(count)?);
                    rest = more;
                }
                [key, more @ ..] if may_store && is(word, "STORE") => {
                    request.destination = Some(key);
                    rest = more;
                }
                [pattern, more @ ..] if is(word, "BY") => {
                    // Once nothing decides, no later pattern does.
                    if !matches!(request.by, By::Nothing) {
                        request.by = Pattern::with_place(pattern).map_or(By::Nothing, By::Pattern);
                    }
                    rest = more;
                }
                [pattern, more @ ..] if is(word, "GET") => {
                    request.gets.push(Pattern::parse(pattern));
                    rest = more;
                }
                _ => return Err(syntax()),
            }
        }
        Ok(request)
    }

    fn order(&self) -> Order {
        Order { downward: self.downward, stores: self.destination.is_some() }
    }

    /// A stored result must be the same wherever the command is replayed, and so must what a script makes of it.
    fn settle_order(&mut self, kind: Type, in_script: bool) {
        if matches!(self.by, By::Nothing) && kind == Type::Set && (self.destination.is_some() || in_script) {
            (self.by, self.as_text) = (By::Element, true);
        }
    }

    /// Which keys elements may name.
    fn filter(&self) -> KeyFilter {
        let by = if let By::Pattern(pattern) = self.by { Some(pattern) } else { None };
        let patterns: Vec<OwnedPattern> = by.iter().chain(&self.gets).map(|pattern| pattern.owned()).collect();
        Box::new(move |key| {
            let names = |pattern: &OwnedPattern| matches!(pattern.as_ref(), Pattern::Key(name) if name.may_name(key));
            patterns.iter().any(names)
        })
    }

    /// Whether the values of keys that nobody has named are asked for.
    fn looks_up(&self) -> bool {
        matches!(self.by, By::Pattern(_)) || self.gets.iter().any(|pattern| pattern.names_keys())
    }

    /// The rows that are wanted, of so many.
    fn selected(&self, rows: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset.max(0)).unwrap_or(usize::MAX).min(rows);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(rows - start);
        start..start + count
    }
}

/// A look into the keyspace on behalf of one client.
struct Reader<'k> {
    keyspace: &'k mut Keyspace,
    database: usize,
    now: Milliseconds,
    access: Access,
    /// Where names of keys are put together.
    key: Vec<u8>,
}

impl<'k> Reader<'k> {
    fn new(execution: &'k mut Execution<'_>) -> Self {
        let access = execution.access();
        let Execution { keyspace, database, now, .. } = execution;
        Reader { keyspace, database: *database, now: *now, access, key: Vec::new() }
    }

    /// Hands out what a pattern gives for an element.
    fn value<R>(&mut self, pattern: Pattern<'_>, element: &[u8], answer: impl FnOnce(Option<StringRef<'_>>) -> R) -> R {
        match pattern {
            Pattern::Element => answer(Some(StringRef::Bytes(element))),
            Pattern::Nothing => answer(None),
            Pattern::Key(name) => {
                name.write(element, &mut self.key);
                let key = self.keyspace.key(&self.key);
                let entry = self.keyspace.find(self.database, &key, self.now, self.access);
                answer(entry.and_then(|entry| name.value_in(entry, self.now)))
            }
        }
    }
}

/// An element and what it weighs.
#[derive(Clone, Copy, Debug)]
struct Row<W> {
    element: usize,
    weight: W,
}

/// The elements that are wanted, in order.
fn sorted(
    execution: &mut Execution<'_>,
    request: &Request<'_>,
    elements: &Elements,
) -> Result<Vec<usize>, CommandError> {
    let mut reader = Reader::new(execution);
    match request.by {
        By::Nothing => Ok(request.selected(elements.len()).collect()),
        By::Element if request.as_text => {
            let rows = (0..elements.len()).map(|element| Row { element, weight: () }).collect();
            Ok(select(request, rows, |a, b| request.order().collate(&elements[a.element], &elements[b.element])))
        }
        By::Pattern(pattern) if request.as_text => {
            let mut weights = Elements::default();
            let mut rows = Vec::with_capacity(elements.len());
            for (element, text) in elements.iter().enumerate() {
                let is_there = reader.value(pattern, text, |value| value.map(|value| weights.push(value)).is_some());
                rows.push(Row { element, weight: is_there.then(|| weights.len() - 1) });
            }
            // A missing weight is less than any.
            let text = |row: &Row<Option<usize>>| row.weight.map(|weight| &weights[weight]);
            Ok(select(request, rows, |a, b| match (text(a), text(b)) {
                (Some(a), Some(b)) => request.order().collate(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            }))
        }
        By::Element | By::Pattern(_) => {
            let mut rows = Vec::with_capacity(elements.len());
            for (element, text) in elements.iter().enumerate() {
                let weight = match request.by {
                    By::Pattern(pattern) => reader.value(pattern, text, |value| {
                        // A missing weight is zero.
                        value.map_or(Some(0.0), |value| value.with_bytes(double::parse_weight))
                    }),
                    _ => double::parse_weight(text),
                };
                let weight = weight.ok_or(CommandError::from(NO_WEIGHT))?;
                rows.push(Row { element, weight });
            }
            Ok(select(request, rows, |a, b| {
                let order = a.weight.partial_cmp(&b.weight).unwrap_or(Ordering::Equal);
                order.then_with(|| elements[a.element].cmp(&elements[b.element]))
            }))
        }
    }
}

/// How rows are put in order.
#[derive(Clone, Copy, Debug)]
struct Order {
    downward: bool,
    stores: bool,
}

impl Order {
    /// The order of texts: up to a zero byte, where C's end, unless the result is to be stored.
    fn collate(self, a: &[u8], b: &[u8]) -> Ordering {
        if self.stores {
            return a.cmp(b);
        }
        let shown = |text: &[u8]| text[..memchr::memchr(0, text).unwrap_or(text.len())].len();
        a[..shown(a)].cmp(&b[..shown(b)])
    }
}

/// The rows that are wanted, in order; equal ones stay as they came.
fn select<W>(
    request: &Request<'_>,
    mut rows: Vec<Row<W>>,
    compare: impl Fn(&Row<W>, &Row<W>) -> Ordering,
) -> Vec<usize> {
    let compare = |a: &Row<W>, b: &Row<W>| {
        let order = compare(a, b);
        let order = if request.downward { order.reverse() } else { order };
        order.then_with(|| a.element.cmp(&b.element))
    };
    let selected = request.selected(rows.len());
    if selected.end < rows.len() {
        // Only what comes in front of the end need be sorted.
        rows.select_nth_unstable_by(selected.end, compare);
        rows.truncate(selected.end);
    }
    rows.sort_unstable_by(compare);
    rows[selected].iter().map(|row| row.element).collect()
}

/// Reads the elements and puts those that are wanted in order.
fn read(execution: &mut Execution<'_>, key: &[u8], request: &mut Request<'_>) -> Result<Elements, CommandError> {
    let (access, in_script) = (execution.access(), execution.in_script);
    let Execution { keyspace, database, now, .. } = execution;
    let Some(entry) = keyspace.find(*database, &keyspace.key(key), *now, access) else {
        return Ok(Elements::default());
    };
    if !matches!(entry.kind(), Type::List | Type::Set | Type::SortedSet) {
        return Err(wrong_type());
    }
    request.settle_order(entry.kind(), in_script);
    Ok(Elements::of(entry, matches!(request.by, By::Nothing) && request.downward))
}

/// The work on many elements, or on few where the keys that they name are elsewhere.
fn in_slices(execution: &mut Execution<'_>, key: &[u8], request: &mut Request<'_>) -> Option<Box<dyn LongWork>> {
    let (access, in_script) = (execution.access(), execution.in_script);
    let Execution { keyspace, database, now, options, .. } = &mut *execution;
    let entry = keyspace.peek(*database, &keyspace.key(key), *now)?;
    if !matches!(entry.kind(), Type::List | Type::Set | Type::SortedSet) {
        return None;
    }
    request.settle_order(entry.kind(), in_script);
    let length = sliced::length_of(entry);
    let read = if matches!(request.by, By::Nothing) { request.selected(length as usize).len() as u64 } else { length };
    let units = read.saturating_mul(if request.looks_up() { sliced::UNITS_A_LOOK_UP } else { 1 });
    let is_elsewhere = keyspace.is_partial && request.looks_up();
    if !is_elsewhere && !options.is_long(units, 0) {
        return None;
    }
    let value = keyspace.find(*database, &keyspace.key(key), *now, access)?.to_owned().value;
    let source = match request.looks_up() {
        true if is_elsewhere => sliced::Source::elsewhere(),
        true => sliced::Source::Here(keyspace.begin_instant(*database, *now, request.filter())),
        false => sliced::Source::Nowhere,
    };
    let stored = request.destination.map(|destination| {
        let told = keyspace.journal.wants_effects().then(|| Remade::new(b"RPUSH", destination));
        sliced::Stored {
            list: list::empty(),
            length: 0,
            database: keyspace.database_id(*database),
            destination: destination.into(),
            told,
        }
    });
    Some(Box::new(sliced::Sorting::new(value, length, request, source, stored)))
}

fn run(execution: &mut Execution<'_>, arguments: &[&[u8]], may_store: bool) -> CommandResult {
    let mut request = Request::parse(arguments, may_store)?;
    if let Some(work) = in_slices(execution, arguments[1], &mut request) {
        execution.later.put_boxed(work);
        return Ok(());
    }
    let elements = read(execution, arguments[1], &mut request)?;
    let rows = sorted(execution, &request, &elements)?;
    if let Some(destination) = request.destination {
        store(execution, destination, &request, &elements, &rows);
        return Ok(());
    }
    execution.reply.array(rows.len() * request.gets.len().max(1));
    for row in rows {
        let element = &elements[row];
        if request.gets.is_empty() {
            execution.reply.bulk(element);
        }
        for pattern in &request.gets {
            reply_value(execution, *pattern, element);
        }
    }
    Ok(())
}

fn reply_value(execution: &mut Execution<'_>, pattern: Pattern<'_>, element: &[u8]) {
    let access = execution.access();
    let Execution { keyspace, database, now, reply, .. } = execution;
    let mut reader = Reader { keyspace, database: *database, now: *now, access, key: Vec::new() };
    reader.value(pattern, element, |value| match value {
        Some(value) => reply_string(reply, value),
        None => reply.null(),
    });
}

/// Makes the result a list. A value that is missing is an empty element.
fn store(
    execution: &mut Execution<'_>,
    destination: &[u8],
    request: &Request<'_>,
    elements: &Elements,
    rows: &[usize],
) {
    let mut result = Elements::default();
    let mut reader = Reader::new(execution);
    for row in rows {
        let element = &elements[*row];
        if request.gets.is_empty() {
            result.push(StringRef::Bytes(element));
        }
        for pattern in &request.gets {
            reader.value(*pattern, element, |value| result.push(value.unwrap_or(StringRef::Bytes(b""))));
        }
    }
    let Execution { keyspace, database, now, options, .. } = execution;
    let key = keyspace.key(destination);
    if result.is_empty() {
        if keyspace.remove(*database, &key, *now) {
            execution.effect(&[b"DEL", destination]);
            execution.event(EventClass::Generic, "del", destination);
        }
    } else {
        let mut new = list::empty();
        let texts: Vec<&[u8]> = result.iter().collect();
        list::push(&mut new, End::Right, &texts, &options.encodings);
        keyspace.create(*database, &key, &mut new, *now);
        keyspace.dirty += result.len() as u64;
        report(execution, destination, &texts);
    }
    execution.reply.integer(result.len() as i64);
}

fn report(execution: &mut Execution<'_>, destination: &[u8], texts: &[&[u8]]) {
    if execution.keyspace.journal.wants_effects() {
        execution.effect(&[b"DEL", destination]);
        for texts in texts.chunks(EFFECT_ELEMENTS_MAX) {
            execution.effect(&[&[&b"RPUSH"[..], destination], texts].concat());
        }
    }
    execution.event(EventClass::List, "sortstore", destination);
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]`
fn sort(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, true)
}

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]`
fn sort_ro(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, false)
}

/// Where SORT's keys are: the destination stands behind the last STORE that is no other option's argument.
static KEYS: KeyFinder = KeyFinder {
    named: |arguments, visit| {
        visit(1, KeyFlags::RO.or(KeyFlags::ACCESS));
        let (mut index, mut destination) = (2, None);
        while let Some(word) = arguments.get(index) {
            index += match word {
                _ if is(word, "LIMIT") => 3,
                _ if is(word, "GET") || is(word, "BY") => 2,
                _ if is(word, "STORE") && index + 1 < arguments.len() => {
                    destination = Some(index + 1);
                    2
                }
                _ => 1,
            };
        }
        if let Some(index) = destination {
            visit(index, KeyFlags::OW.or(KeyFlags::UPDATE));
        }
        true
    },
    discovery: Some(DISCOVERY),
};

static KEYS_READ_ONLY: KeyFinder = KeyFinder {
    named: |_, visit| {
        visit(1, KeyFlags::RO.or(KeyFlags::ACCESS));
        true
    },
    discovery: Some(DISCOVERY),
};

const DISCOVERY: Discovery = Discovery {
    is_needed: |arguments| Request::parse(arguments, true).is_ok_and(|request| request.looks_up()),
    filter: |arguments| match Request::parse(arguments, true) {
        Ok(request) => request.filter(),
        Err(_) => Box::new(|_| false),
    },
};

#[cfg(test)]
mod tests;
