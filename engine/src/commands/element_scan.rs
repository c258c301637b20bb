//! What SSCAN, HSCAN and ZSCAN have in common: their arguments and the frame of their reply.
//!
//! A packed collection comes whole in the first call. A large one is walked by the positions of its elements' hashes, so
//! that whatever is there from the first call to the last is seen.

use super::errors::{integer, is, syntax};
use super::generic::scan::{COUNT_DEFAULT, parse_cursor};
use super::glob::{self, Case};
use crate::command::{CommandError, CommandResult};
use crate::keyspace::Entry;
use crate::reply::{Reply, ReplyBuffer};

/// The options of a call.
#[derive(Clone, Debug)]
pub(super) struct ElementScan<'a> {
    /// About how many elements to look at.
    pub(super) count: usize,
    pattern: Option<&'a [u8]>,
    /// HSCAN NOVALUES, ZSCAN NOSCORES.
    pub(super) without_values: bool,
}

impl<'a> ElementScan<'a> {
    fn parse(arguments: &[&'a [u8]], without_values: Option<&str>) -> Result<Self, CommandError> {
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
                scan.pattern = (*operand != b"*").then_some(*operand);
            } else {
                return Err(syntax());
            }
        }
        Ok(scan)
    }

    /// Whether the name of an element is asked for.
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive))
    }
}

/// Where a call goes on: `name key cursor ...`. Errors come in the real server's order: cursor, type, options.
pub(super) fn cursor(arguments: &[&[u8]]) -> Result<u64, CommandError> {
    parse_cursor(arguments[2]).ok_or_else(|| "ERR invalid cursor".into())
}

/// Replies to a call; `without_values` is the word for names only, where there is one. Nobody looks at the options of a call for an absent key. `visit` encodes the elements and returns the
/// next cursor and how many replies it has encoded.
pub(super) fn reply_scan<'e>(
    reply: &mut Reply<'_>,
    arguments: &[&[u8]],
    without_values: Option<&str>,
    entry: Option<Entry<'e>>,
    visit: impl FnOnce(Entry<'e>, &ElementScan<'_>, &mut Reply<'_>) -> (u64, usize),
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
