//! SORT of a large collection in slices, where nothing but its own elements decides and is shown.
//!
//! ```text
//!   reading    elements of the frozen view are copied, with their weights; each ROWS_A_RUN of them are sorted: a run
//!   merging    the WAYS oldest runs into one, some rows a step, until one run is left
//!   showing    the rows that LIMIT selects
//! ```
//!
//! * No run is longer than LIMIT reaches: what stands behind that in its run stands behind it in the result.
//! * Texts and runs lie in chunks, and a merge frees the chunks it has used up: nothing large is moved or freed at once.
//! * Many ways, since the texts at the heads of the runs stay in the caches: a text is fetched once a merge, not once a
//!   comparison.

use super::super::double;
use super::{Order, Request};
use crate::command::Execution;
use crate::keyspace::{Entry, Value};
use crate::long::{LongWork, STEP_BYTES_MAX, Step};
use crate::values::list::{End, ListRef};
use crate::values::set::SetRef;
use crate::values::sorted_set::SortedSetRef;
use crate::values::{StringRef, Type};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

/// Rows that are sorted at once; some 50 us.
const ROWS_A_RUN: usize = 256;

/// Runs that are merged at a time.
const WAYS: usize = 32;

/// Rows of a chunk of a run.
const ROWS_A_CHUNK: usize = 512;

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

/// The elements as they come, from a place to another: SORT BY nosort.
pub(super) struct Listing {
    pub(super) value: Value,
    pub(super) places: Range<u64>,
    pub(super) backwards: bool,
}

impl LongWork for Listing {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let reply = &mut execution.reply;
        let bytes = reply.buffer().len();
        let count = budget.min(self.places.end - self.places.start);
        for element in elements(&self.value, self.places.start, self.backwards).take(count as usize) {
            super::reply_string(reply, element);
            self.places.start += 1;
            if reply.buffer().len() - bytes > STEP_BYTES_MAX {
                break;
            }
        }
        if self.places.is_empty() { Step::Done } else { Step::More }
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

/// An element and what it weighs; nothing where the text decides.
#[derive(Clone, Copy, Debug)]
struct Row {
    text: Place,
    weight: f64,
}

fn compare(order: Order, texts: &Texts, a: &Row, b: &Row) -> Ordering {
    let by_value = if order.as_text {
        order.collate(texts.get(a.text), texts.get(b.text))
    } else {
        let by_weight = a.weight.partial_cmp(&b.weight).unwrap_or(Ordering::Equal);
        by_weight.then_with(|| texts.get(a.text).cmp(texts.get(b.text)))
    };
    let by_value = if order.downward { by_value.reverse() } else { by_value };
    by_value.then_with(|| a.text.cmp(&b.text))
}

/// Sorted rows, in chunks; the first `used` of the first one are gone. No chunk is empty.
#[derive(Default)]
struct Run {
    chunks: VecDeque<Vec<Row>>,
    used: usize,
    length: usize,
}

impl Run {
    fn push(&mut self, row: Row) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == ROWS_A_CHUNK) {
            self.chunks.push_back(Vec::with_capacity(ROWS_A_CHUNK));
        }
        self.chunks.back_mut().expect("one was there or added").push(row);
        self.length += 1;
    }

    fn head(&self) -> Option<&Row> {
        self.chunks.front().map(|chunk| &chunk[self.used])
    }

    fn pop(&mut self) -> Option<Row> {
        let row = *self.head()?;
        self.used += 1;
        self.length -= 1;
        if self.used == self.chunks[0].len() {
            self.chunks.pop_front();
            self.used = 0;
        }
        Some(row)
    }
}

/// Runs on their way into one: a heap whose top has the least head. None of them is empty.
struct Merge {
    heap: Vec<Run>,
    merged: Run,
}

impl Merge {
    fn of(runs: impl Iterator<Item = Run>, order: Order, texts: &Texts) -> Self {
        let mut merge = Self { heap: runs.filter(|run| run.length > 0).collect(), merged: Run::default() };
        for place in (0..merge.heap.len() / 2).rev() {
            merge.sink(place, order, texts);
        }
        merge
    }

    fn sink(&mut self, mut place: usize, order: Order, texts: &Texts) {
        let is_less = |a: &Run, b: &Run| match (a.head(), b.head()) {
            (Some(a), Some(b)) => compare(order, texts, a, b) == Ordering::Less,
            _ => false,
        };
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && is_less(&self.heap[child], &self.heap[least]) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }

    /// Moves one row; false if there is none.
    fn step(&mut self, order: Order, texts: &Texts) -> bool {
        let Some(row) = self.heap.first_mut().and_then(Run::pop) else { return false };
        self.merged.push(row);
        if self.heap[0].length == 0 {
            self.heap.swap_remove(0);
        }
        self.sink(0, order, texts);
        true
    }
}

enum Stage {
    /// The next element to read, and the rows of the run to come.
    Reading(u64, Vec<Row>),
    Merging(Option<Merge>),
    /// So many rows of the last run have been shown, or were in front of those that are.
    Showing(usize),
}

/// A SORT whose elements decide, and are shown.
pub(super) struct Sorting {
    value: Value,
    length: u64,
    order: Order,
    /// Rows of the result that are shown.
    selected: Range<usize>,
    /// How often each is.
    shown: Vec<Shown>,
    texts: Texts,
    runs: VecDeque<Run>,
    stage: Stage,
}

/// What is shown of an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// It.
    Element,
    /// A null, of a GET that names nothing.
    Nothing,
}

impl Sorting {
    pub(super) fn new(value: Value, length: u64, request: &Request<'_>, shown: Vec<Shown>) -> Self {
        let selected = request.selected(length as usize);
        let (order, stage) = (request.order(), Stage::Reading(0, Vec::with_capacity(ROWS_A_RUN)));
        Self { value, length, order, selected, shown, texts: Texts::default(), runs: VecDeque::new(), stage }
    }

    fn end_run(&mut self, mut rows: Vec<Row>) {
        rows.sort_unstable_by(|a, b| compare(self.order, &self.texts, a, b));
        rows.truncate(self.selected.end);
        if !rows.is_empty() {
            self.runs.push_back(Run { length: rows.len(), chunks: VecDeque::from([rows]), used: 0 });
        }
    }

    /// Whether all have been read; nothing if one of them has no weight.
    fn read(&mut self, budget: u64) -> Option<bool> {
        let Stage::Reading(from, rows) = &mut self.stage else { return Some(true) };
        let (from, mut rows) = (*from, std::mem::take(rows));
        let mut scratch = itoa::Buffer::new();
        let mut read = 0;
        for element in elements(&self.value, from, false).take(budget as usize) {
            let text = element.as_bytes(&mut scratch);
            let weight = if self.order.as_text { 0.0 } else { double::parse_weight(text)? };
            rows.push(Row { text: self.texts.push(text), weight });
            read += 1;
            if rows.len() == ROWS_A_RUN {
                break;
            }
        }
        let is_all = from + read == self.length;
        if is_all || rows.len() == ROWS_A_RUN {
            self.end_run(std::mem::replace(&mut rows, Vec::with_capacity(ROWS_A_RUN)));
        }
        self.stage = Stage::Reading(from + read, rows);
        Some(is_all)
    }

    /// Whether all is merged.
    fn merge(&mut self, budget: u64) -> bool {
        let Stage::Merging(merge) = &mut self.stage else { return true };
        if merge.is_none() && self.runs.len() <= 1 {
            return true;
        }
        let ways = self.runs.len().min(WAYS);
        let under_way = merge.get_or_insert_with(|| Merge::of(self.runs.drain(..ways), self.order, &self.texts));
        for _ in 0..budget {
            if under_way.merged.length == self.selected.end || !under_way.step(self.order, &self.texts) {
                self.runs.push_back(std::mem::take(&mut under_way.merged));
                *merge = None;
                break;
            }
        }
        false
    }

    /// Whether all is shown.
    fn show(&mut self, execution: &mut Execution<'_>, budget: u64) -> bool {
        let Stage::Showing(place) = &mut self.stage else { return true };
        let reply = &mut execution.reply;
        let bytes = reply.buffer().len();
        for _ in 0..budget {
            if *place >= self.selected.end || reply.buffer().len() - bytes > STEP_BYTES_MAX {
                break;
            }
            let Some(row) = self.runs.front_mut().and_then(Run::pop) else { return true };
            if *place >= self.selected.start {
                for shown in &self.shown {
                    match shown {
                        Shown::Element => reply.bulk(self.texts.get(row.text)),
                        Shown::Nothing => reply.null(),
                    }
                }
            }
            *place += 1;
        }
        *place >= self.selected.end
    }
}

impl LongWork for Sorting {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.stage {
            Stage::Reading(..) => match self.read(budget) {
                None => return Step::Failed(super::NO_WEIGHT),
                Some(true) => self.stage = Stage::Merging(None),
                Some(false) => {}
            },
            Stage::Merging(_) => {
                if self.merge(budget) {
                    execution.reply.array(self.selected.len() * self.shown.len());
                    self.stage = Stage::Showing(0);
                }
            }
            Stage::Showing(_) => {
                if self.show(execution, budget) {
                    return Step::Done;
                }
            }
        }
        Step::More
    }
}
