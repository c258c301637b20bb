//! What SSCAN, HSCAN and ZSCAN have in common: their arguments and the frame of their reply.
//!
//! A packed collection comes whole in the first call. A large one is walked by the positions of its elements' hashes, so
//! that whatever is there from the first call to the last is seen. A call that looks at many of its elements is a
//! [`LongScan`].

use super::errors::{integer, is, syntax};
use super::generic::scan::{COUNT_DEFAULT, parse_cursor};
use super::glob::{self, Case};
use super::string::reply_string;
use crate::command::{CommandError, CommandResult, EngineOptions, Execution};
use crate::keyspace::Entry;
use crate::long::{LongWork, STEP_BYTES_MAX, Step};
use crate::reply::{Reply, ReplyBuffer};
use crate::values::StringRef;

/// The options of a call.
#[derive(Clone, Debug)]
pub(super) struct ElementScan {
    /// About how many elements to look at.
    pub(super) count: usize,
    pattern: Option<Vec<u8>>,
    /// HSCAN NOVALUES, ZSCAN NOSCORES.
    pub(super) without_values: bool,
}

impl ElementScan {
    fn parse(arguments: &[&[u8]], without_values: Option<&str>) -> Result<Self, CommandError> {
        let mut scan = Self { count: COUNT_DEFAULT, pattern: None, without_values: false };
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = more;
            if without_values.is_some_and(|names_only| is(word, names_only)) {
                scan.without_values = true;
                continue;
            }
            let [operand, more @ ..] = rest else { return Err(syntax()) };
            rest = more;
            if is(word, "COUNT") {
                scan.count = usize::try_from(integer(operand)?).ok().filter(|count| *count > 0).ok_or_else(syntax)?;
            } else if is(word, "MATCH") {
                scan.pattern = (*operand != b"*").then(|| operand.to_vec());
            } else {
                return Err(syntax());
            }
        }
        Ok(scan)
    }

    /// Whether the name of an element is asked for.
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive))
    }
}

/// Where a call goes on: `name key cursor ...`. Errors come in the real server's order: cursor, type, options.
pub(super) fn cursor(arguments: &[&[u8]]) -> Result<u64, CommandError> {
    parse_cursor(arguments[2]).ok_or_else(|| "ERR invalid cursor".into())
}

/// Replies to a call; `without_values` is the word for names only, where there is one. Nobody looks at the options of a
/// call for an absent key. `visit` encodes the elements and returns the next cursor and how many replies it has encoded.
pub(super) fn reply_scan<'e>(
    reply: &mut Reply<'_>,
    arguments: &[&[u8]],
    without_values: Option<&str>,
    entry: Option<Entry<'e>>,
    visit: impl FnOnce(Entry<'e>, &ElementScan, &mut Reply<'_>) -> (u64, usize),
) -> CommandResult {
    let (mut next, mut count, mut elements) = (0, 0, ReplyBuffer::default());
    if let Some(entry) = entry {
        let scan = ElementScan::parse(&arguments[3..], without_values)?;
        (next, count) = visit(entry, &scan, &mut Reply::new(&mut elements, reply.protocol()));
    }
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(count);
    reply.buffer().append(&mut elements);
    Ok(())
}

/// An element that a walk comes by: its name and, where there is one, its value. None is one that is not to be seen.
pub(super) type Seen<'a> = Option<(StringRef<'a>, Option<StringRef<'a>>)>;

/// Walks about so many elements of a view from a cursor on, shows each, and returns the next cursor.
type Walk<V> = dyn Fn(&V, u64, usize, &mut dyn FnMut(Seen<'_>)) -> u64;

/// A call that looks at many elements of a large collection: once to count those that are wanted, once to list them.
pub(super) struct LongScan<V> {
    view: V,
    scan: ElementScan,
    start: u64,
    cursor: u64,
    /// How many elements are still to be looked at in this round.
    left: usize,
    replies: usize,
    is_listing: bool,
    walk: Box<Walk<V>>,
}

impl<V> LongScan<V> {
    /// The work of a call on a collection of so many elements and bytes, if it is much.
    pub(super) fn begin(
        arguments: &[&[u8]],
        without_values: Option<&str>,
        options: &EngineOptions,
        (length, bytes): (u64, usize),
        view: impl FnOnce() -> V,
        walk: impl Fn(&V, u64, usize, &mut dyn FnMut(Seen<'_>)) -> u64 + 'static,
    ) -> Result<Option<Self>, CommandError> {
        let (start, scan) = (cursor(arguments)?, ElementScan::parse(&arguments[3..], without_values)?);
        if !options.is_long_part(length.min(scan.count as u64), length, bytes) {
            return Ok(None);
        }
        let (left, walk) = (scan.count, Box::new(walk));
        Ok(Some(Self { view: view(), scan, start, cursor: start, left, replies: 0, is_listing: false, walk }))
    }
}

impl<V> LongWork for LongScan<V> {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        /// Elements between two looks at how much has been encoded.
        const RUN: usize = 64;
        let reply = &mut execution.reply;
        let before = reply.buffer().len();
        let mut budget = usize::try_from(budget).unwrap_or(usize::MAX).max(1);
        loop {
            let (mut seen, mut replies) = (0, 0);
            let run = budget.min(RUN).min(self.left);
            self.cursor = (self.walk)(&self.view, self.cursor, run, &mut |element| {
                seen += 1;
                let Some((name, value)) = element else { return };
                if !name.with_bytes(|name| self.scan.wants(name)) {
                    return;
                }
                let value = value.filter(|_| !self.scan.without_values);
                replies += 1 + usize::from(value.is_some());
                if self.is_listing {
                    reply_string(reply, name);
                    value.into_iter().for_each(|value| reply_string(reply, value));
                }
            });
            self.left = self.left.saturating_sub(seen);
            budget = budget.saturating_sub(seen.max(1));
            self.replies += replies;
            if self.cursor == 0 || self.left == 0 {
                break;
            }
            if budget == 0 || reply.buffer().len() - before > STEP_BYTES_MAX {
                return Step::More;
            }
        }
        if self.is_listing {
            return Step::Done;
        }
        reply.array(2);
        reply.bulk(itoa::Buffer::new().format(self.cursor).as_bytes());
        reply.array(self.replies);
        (self.cursor, self.left, self.is_listing) = (self.start, self.scan.count, true);
        Step::More
    }

    fn only_reads(&self) -> bool {
        true
    }
}
