//! SORT of a large collection in slices, and of any one whose elements name keys that are elsewhere.
//!
//! ```text
//!   reading    elements of the frozen view are copied, with their weights      (not where nothing is sorted)
//!   merging    runs of rows into one order, some rows a step
//!   showing    the rows that LIMIT selects: to the client, or into a list that takes the destination's place
//! ```
//!
//! * Keys that elements name are looked up as they were at the command's instant, some at a time: here, or wherever they
//!   are, and then the work waits for the answers ([`Source`]).
//! * Texts lie in chunks that never move.

use super::super::double;
use super::super::report::Remade;
use super::pattern::{OwnedPattern, Pattern};
use super::{By, Order, Request};
use crate::command::Execution;
use crate::journal::EventClass;
use crate::keyspace::{DatabaseId, Entry, Instant, OwnedEntry, Value};
use crate::long::{LongWork, STEP_BYTES_MAX, Step};
use crate::merge_sort::Sorter;
use crate::values::large::discard_each;
use crate::values::list::{self, End, ListRef};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::{NewCollection, StringRef, Type};
use std::cmp::Ordering;
use std::ops::Range;

/// Rows that are sorted at once; some 50 us.
const ROWS_A_RUN: usize = 256;

/// Units of a look-up of a key.
pub(super) const UNITS_A_LOOK_UP: u64 = 8;

/// Keys that are looked up at a time.
const LOOK_UPS_MAX: usize = 256;

/// How many elements a list, a set or a sorted set has.
pub(super) fn length_of(entry: Entry<'_>) -> u64 {
    let (bytes, object) = (entry.packed_bytes(), entry.object());
    match entry.kind() {
        Type::List => ListRef::new(bytes, object).len(),
        Type::Set => SetRef::new(entry.form(), bytes, object).len() as u64,
        _ => SortedSetRef::new(bytes, object).len(),
    }
}

/// Its elements in its own order, or backwards if it has one, from a place on.
fn elements(value: &Value, from: u64, backwards: bool) -> Box<dyn Iterator<Item = StringRef<'_>> + '_> {
    let (bytes, object) = (value.packed_bytes(), value.object());
    match value.kind() {
        Type::List => {
            let list = ListRef::new(bytes, object);
            let (length, end) = (list.len(), if backwards { End::Right } else { End::Left });
            let left = if backwards { 0..length.saturating_sub(from) } else { from.min(length)..length };
            Box::new(list.range(left, end))
        }
        Type::Set => Box::new(SetRef::new(value.form(), bytes, object).iter_from(from as usize)),
        _ => {
            let set = SortedSetRef::new(bytes, object);
            let length = set.len();
            let left = if backwards { 0..length.saturating_sub(from) } else { from.min(length)..length };
            Box::new(set.range(left, backwards).map(|scored| scored.member))
        }
    }
}

/// Where a text lies: chunk and offset. Later texts have greater places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u32, u32);

/// Texts, each behind its length, in chunks that never move.
#[derive(Default)]
struct Texts {
    chunks: Vec<Vec<u8>>,
}

impl Drop for Texts {
    /// Many go in slices.
    fn drop(&mut self) {
        discard_each(std::mem::take(&mut self.chunks), Self::CHUNK_BYTES);
    }
}

impl Texts {
    const CHUNK_BYTES: usize = 64 << 10;
    const LENGTH_BYTES: usize = size_of::<usize>();

    fn push(&mut self, text: &[u8]) -> Place {
        let needed = Self::LENGTH_BYTES + text.len();
        if self.chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < needed) {
            self.chunks.push(Vec::with_capacity(needed.max(Self::CHUNK_BYTES)));
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let place = Place(index as u32, chunk.len() as u32);
        chunk.extend_from_slice(&text.len().to_ne_bytes());
        chunk.extend_from_slice(text);
        place
    }

    fn get(&self, Place(chunk, offset): Place) -> &[u8] {
        let rest = &self.chunks[chunk as usize][offset as usize..];
        let (length, rest) = rest.split_first_chunk().expect("a length in front of each text");
        &rest[..usize::from_ne_bytes(*length)]
    }
}

/// An element and what decides where it goes.
#[derive(Clone, Copy, Debug)]
struct Row {
    text: Place,
    weight: f64,
    /// The text of its weight, if that is one.
    by: Option<Place>,
}

fn compare(order: Order, sorts: Sorts, texts: &Texts, a: &Row, b: &Row) -> Ordering {
    let by_value = match sorts {
        Sorts::Text => order.collate(texts.get(a.text), texts.get(b.text)),
        // A missing weight is less than any.
        Sorts::ByText => match (a.by, b.by) {
            (Some(a), Some(b)) => order.collate(texts.get(a), texts.get(b)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        },
        Sorts::Number | Sorts::ByNumber | Sorts::Nothing => {
            let by_weight = a.weight.partial_cmp(&b.weight).unwrap_or(Ordering::Equal);
            by_weight.then_with(|| texts.get(a.text).cmp(texts.get(b.text)))
        }
    };
    let by_value = if order.downward { by_value.reverse() } else { by_value };
    by_value.then_with(|| a.text.cmp(&b.text))
}

/// What decides the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sorts {
    Nothing,
    Text,
    Number,
    ByText,
    ByNumber,
}

/// Where the values are that elements name.
pub(super) enum Source {
    /// None are asked for.
    Nowhere,
    /// In the keyspace.
    Here(Instant),
    /// Elsewhere: what is asked for, and what has been answered.
    Elsewhere { questions: Vec<Vec<u8>>, answers: Option<Vec<Option<OwnedEntry>>> },
}

impl Source {
    pub(super) fn elsewhere() -> Self {
        Self::Elsewhere { questions: Vec::new(), answers: None }
    }
}

/// Rows whose keys are looked up.
#[derive(Default)]
struct Batch {
    rows: Vec<Place>,
    /// The keys of each of them in turn.
    names: Vec<Vec<u8>>,
    is_asked: bool,
    /// Units of what it took to find them.
    units: u64,
}

/// A result that is stored.
pub(super) struct Stored {
    pub(super) list: NewCollection,
    pub(super) length: u64,
    pub(super) database: DatabaseId,
    pub(super) destination: Vec<u8>,
    pub(super) told: Option<Remade>,
}

enum Stage {
    /// The next element to read.
    Reading(u64),
    Merging,
    /// So many rows have been shown, or were in front of those that are.
    Showing(usize),
}

/// A SORT.
pub(super) struct Sorting {
    value: Value,
    length: u64,
    order: Order,
    sorts: Sorts,
    by: OwnedPattern,
    gets: Vec<OwnedPattern>,
    /// Rows of the result that are shown.
    selected: Range<usize>,
    source: Source,
    stored: Option<Stored>,
    texts: Texts,
    sorter: Sorter<Row>,
    batch: Option<Batch>,
    stage: Stage,
    /// Whether the reply has begun.
    is_open: bool,
}

impl Sorting {
    pub(super) fn new(
        value: Value,
        length: u64,
        request: &Request<'_>,
        source: Source,
        stored: Option<Stored>,
    ) -> Self {
        let (sorts, by) = match request.by {
            By::Nothing => (Sorts::Nothing, Pattern::Nothing),
            By::Element => (if request.as_text { Sorts::Text } else { Sorts::Number }, Pattern::Element),
            By::Pattern(pattern) => (if request.as_text { Sorts::ByText } else { Sorts::ByNumber }, pattern),
        };
        let by = by.owned();
        let gets = request.gets.iter().map(|pattern| pattern.owned());
        let gets = if request.gets.is_empty() { vec![OwnedPattern::Element] } else { gets.collect() };
        let selected = request.selected(length as usize);
        let sorter = Sorter::new(selected.end, ROWS_A_RUN);
        let stage = if sorts == Sorts::Nothing { Stage::Showing(selected.start) } else { Stage::Reading(0) };
        let (order, texts) = (request.order(), Texts::default());
        Self {
            value,
            length,
            order,
            sorts,
            by,
            gets,
            selected,
            source,
            stored,
            texts,
            sorter,
            batch: None,
            stage,
            is_open: false,
        }
    }

    /// The values of a batch's keys, if they are there.
    fn look_up(&mut self, execution: &mut Execution<'_>, batch: &mut Batch) -> Option<Vec<Option<OwnedEntry>>> {
        let values = match &mut self.source {
            _ if batch.names.is_empty() => return Some(Vec::new()),
            Source::Nowhere => return Some(Vec::new()),
            Source::Here(instant) => {
                let keyspace = &execution.keyspace;
                batch.names.iter().map(|name| keyspace.look_up_at(instant, &keyspace.key(name))).collect()
            }
            Source::Elsewhere { questions, answers } => {
                let Some(values) = answers.take() else {
                    if !std::mem::replace(&mut batch.is_asked, true) {
                        questions.clone_from(&batch.names);
                    }
                    return None;
                };
                values
            }
        };
        let (database, access) = (execution.database, execution.access());
        for (name, value) in batch.names.iter().zip(&values) {
            execution.keyspace.count_read(database, name, value.is_some(), access);
        }
        Some(values)
    }

    /// How many rows with so many look-ups each make a batch.
    fn batch_rows(look_ups: usize, budget: u64) -> usize {
        if look_ups == 0 {
            return (budget as usize).clamp(1, LOOK_UPS_MAX);
        }
        let rows = budget as usize / (look_ups * UNITS_A_LOOK_UP as usize);
        rows.clamp(1, (LOOK_UPS_MAX / look_ups).max(1))
    }

    /// The next elements, with the keys that decide on them.
    fn next_elements(&mut self, budget: u64) -> Batch {
        let Stage::Reading(from) = &mut self.stage else { return Batch::default() };
        let mut batch = Batch::default();
        let by = self.by.as_ref();
        let rows = Self::batch_rows(usize::from(by.names_keys()), budget);
        let (mut scratch, mut name) = (itoa::Buffer::new(), Vec::new());
        for element in elements(&self.value, *from, false).take(rows) {
            let text = element.as_bytes(&mut scratch);
            if let Pattern::Key(key) = by {
                key.write(text, &mut name);
                batch.names.push(name.clone());
            }
            batch.rows.push(self.texts.push(text));
        }
        *from += batch.rows.len() as u64;
        batch
    }

    /// Reads a batch of elements; how many, or none if answers are waited for, or an element has no weight.
    fn read(&mut self, execution: &mut Execution<'_>, budget: u64) -> Result<usize, Step> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.next_elements(budget),
        };
        let Some(values) = self.look_up(execution, &mut batch) else {
            self.batch = Some(batch);
            return Err(Step::More);
        };
        let now = execution.now;
        for (index, text) in batch.rows.iter().enumerate() {
            let value = values.get(index).and_then(Option::as_ref);
            let value = match self.by.as_ref() {
                Pattern::Key(name) => value.and_then(|entry| name.value_of(&entry.value, now)),
                _ => None,
            };
            let mut row = Row { text: *text, weight: 0.0, by: None };
            match self.sorts {
                Sorts::Nothing | Sorts::Text => {}
                Sorts::Number => {
                    let weight = double::parse_weight(self.texts.get(*text));
                    row.weight = weight.ok_or(Step::Failed(super::NO_WEIGHT))?;
                }
                Sorts::ByText => row.by = value.map(|value| value.with_bytes(|value| self.texts.push(value))),
                Sorts::ByNumber => {
                    // A missing weight is zero.
                    let weight = value.map_or(Some(0.0), |value| value.with_bytes(double::parse_weight));
                    row.weight = weight.ok_or(Step::Failed(super::NO_WEIGHT))?;
                }
            }
            let (order, sorts, texts) = (self.order, self.sorts, &self.texts);
            self.sorter.push(row, |a, b| compare(order, sorts, texts, a, b));
        }
        Ok(batch.rows.len())
    }

    /// The next rows that are shown, with the keys that they show values of.
    fn next_rows(&mut self, budget: u64) -> Batch {
        let Stage::Showing(place) = &mut self.stage else { return Batch::default() };
        let look_ups = self.gets.iter().filter(|pattern| pattern.as_ref().names_keys()).count();
        let rows = Self::batch_rows(look_ups, budget);
        let mut batch = Batch::default();
        if self.sorts == Sorts::Nothing {
            // Nothing else needs the texts of those before.
            self.texts = Texts::default();
            let wanted = rows.min(self.selected.end - *place);
            let mut scratch = itoa::Buffer::new();
            for element in elements(&self.value, *place as u64, self.order.downward).take(wanted) {
                batch.rows.push(self.texts.push(element.as_bytes(&mut scratch)));
            }
            *place += wanted;
        } else {
            let (order, sorts, texts) = (self.order, self.sorts, &self.texts);
            for _ in 0..rows {
                let Some(row) = self.sorter.next(|a, b| compare(order, sorts, texts, a, b)) else {
                    *place = self.selected.end;
                    break;
                };
                if *place >= self.selected.start {
                    batch.rows.push(row.text);
                }
                *place += 1;
                batch.units += 1;
            }
        }
        let mut name = Vec::new();
        for row in &batch.rows {
            for pattern in &self.gets {
                if let Pattern::Key(key) = pattern.as_ref() {
                    key.write(self.texts.get(*row), &mut name);
                    batch.names.push(name.clone());
                }
            }
        }
        batch
    }

    /// Shows a batch of rows; how many units that took, or none if answers are waited for.
    fn show(&mut self, execution: &mut Execution<'_>, budget: u64) -> Option<u64> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.next_rows(budget),
        };
        let Some(values) = self.look_up(execution, &mut batch) else {
            self.batch = Some(batch);
            return None;
        };
        let (now, limits) = (execution.now, &execution.options.encodings);
        let mut values = values.iter();
        for row in &batch.rows {
            for pattern in &self.gets {
                let text = match pattern.as_ref() {
                    Pattern::Element => Some(StringRef::Bytes(self.texts.get(*row))),
                    Pattern::Nothing => None,
                    Pattern::Key(name) => {
                        let entry = values.next().and_then(Option::as_ref);
                        entry.and_then(|entry| name.value_of(&entry.value, now))
                    }
                };
                match (&mut self.stored, text) {
                    (None, Some(text)) => super::reply_string(&mut execution.reply, text),
                    (None, None) => execution.reply.null(),
                    (Some(stored), text) => text.unwrap_or(StringRef::Bytes(b"")).with_bytes(|text| {
                        list::push(&mut stored.list, End::Right, &[text], limits);
                        stored.length += 1;
                        if let Some(told) = &mut stored.told {
                            told.add(&[text]);
                        }
                    }),
                }
            }
        }
        Some(1 + batch.units + batch.rows.len() as u64 + batch.names.len() as u64 * UNITS_A_LOOK_UP)
    }

    /// All is shown, or what was to be stored is made.
    fn conclude(&mut self, execution: &mut Execution<'_>) {
        let Some(Stored { mut list, length, database, destination, told }) = self.stored.take() else { return };
        if let Some(database) = execution.keyspace.database_of(database) {
            execution.database = database;
            let key = execution.keyspace.key(&destination);
            if length > 0 {
                execution.keyspace.settle_expired(database, &key, execution.now, true);
                execution.keyspace.create(database, &key, &mut list, execution.now);
                execution.keyspace.dirty += length;
                if let Some(told) = told {
                    told.tell(execution);
                }
                execution.event(EventClass::List, "sortstore", &destination);
            } else if execution.keyspace.remove(database, &key, execution.now) {
                execution.effect(&[b"DEL", &destination]);
                execution.event(EventClass::Generic, "del", &destination);
            }
        }
        execution.reply.integer(length as i64);
    }
}

impl LongWork for Sorting {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.stage {
            Stage::Reading(_) => {
                let mut left = budget;
                while left > 0 {
                    let Stage::Reading(from) = self.stage else { break };
                    if from == self.length && self.batch.is_none() {
                        self.stage = Stage::Merging;
                        break;
                    }
                    let each = if self.by.as_ref().names_keys() { UNITS_A_LOOK_UP } else { 1 };
                    match self.read(execution, left) {
                        Ok(count) => left = left.saturating_sub(each * count.max(1) as u64),
                        Err(step) => return step,
                    }
                }
            }
            Stage::Merging => {
                let (order, sorts, texts) = (self.order, self.sorts, &self.texts);
                if self.sorter.merge(budget, |a, b| compare(order, sorts, texts, a, b)) {
                    self.stage = Stage::Showing(0);
                }
            }
            Stage::Showing(_) => {
                if !std::mem::replace(&mut self.is_open, true) && self.stored.is_none() {
                    execution.reply.array(self.selected.len() * self.gets.len());
                }
                let (mut left, bytes) = (budget, execution.reply.buffer().len());
                while left > 0 && execution.reply.buffer().len() - bytes <= STEP_BYTES_MAX {
                    let Stage::Showing(place) = self.stage else { break };
                    if place >= self.selected.end && self.batch.is_none() {
                        self.conclude(execution);
                        return Step::Done;
                    }
                    match self.show(execution, left) {
                        Some(units) => left = left.saturating_sub(units),
                        None => return Step::More,
                    }
                }
            }
        }
        Step::More
    }

    fn questions(&mut self) -> Vec<Vec<u8>> {
        match &mut self.source {
            Source::Elsewhere { questions, .. } => std::mem::take(questions),
            _ => Vec::new(),
        }
    }

    fn answers(&mut self, values: Vec<Option<OwnedEntry>>) {
        if let Source::Elsewhere { answers, .. } = &mut self.source {
            *answers = Some(values);
        }
    }

    fn awaits_answers(&self) -> bool {
        let is_asked = self.batch.as_ref().is_some_and(|batch| batch.is_asked);
        is_asked && matches!(self.source, Source::Elsewhere { answers: None, .. })
    }
}
