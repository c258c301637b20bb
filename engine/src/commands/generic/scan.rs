//! SCAN and KEYS. What one shard does stands here for both the handlers, which see one shard, and the server's walk over
//! all of them: parse a [`ScanRequest`], run [`ScanRequest::step`] on the shard of the cursor's slot, reply.

use super::super::errors::{integer, is, syntax};
use super::super::glob::{self, Case};
use crate::command::{CommandError, CommandResult, Execution, Milliseconds};
use crate::keyspace::{DatabaseId, Entry, Keyspace, ScanCursor, SharedSink, WalkId, WalkSink};
use crate::long::{Collected, LongWork, Step};
use crate::reply::{Protocol, Reply};
use crate::values::Type;
use std::cell::RefCell;
use std::rc::Rc;

/// How many keys a call looks at where the client does not say.
pub(crate) const COUNT_DEFAULT: usize = 10;

/// Keys of a shard that are looked at without a rest where all shards are asked at once.
const FEW_KEYS: usize = 4096;

/// A SCAN call: where it goes on, and what it wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRequest {
    /// Where it goes on.
    pub cursor: ScanCursor,
    /// About how many keys to look at.
    pub count: usize,
    pattern: Option<Vec<u8>>,
    kind: Option<Type>,
}

impl ScanRequest {
    /// From `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
    pub fn parse(arguments: &[&[u8]]) -> Result<Self, CommandError> {
        let [_, cursor, options @ ..] = arguments else { return Err(syntax()) };
        let cursor = parse_cursor(cursor).ok_or(CommandError::from("ERR invalid cursor"))?;
        let mut request =
            Self { cursor: ScanCursor::from_u64(cursor), count: COUNT_DEFAULT, pattern: None, kind: None };
        let mut rest = options;
        while let [word, operand, more @ ..] = rest {
            if is(word, "COUNT") {
                let count = integer(operand)?;
                request.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(syntax)?;
            } else if is(word, "MATCH") {
                request.pattern = (*operand != b"*").then(|| operand.to_vec());
            } else if is(word, "TYPE") {
                let kind = Type::ALL.into_iter().find(|kind| is(operand, kind.name()));
                request.kind = Some(kind.ok_or_else(|| CommandError::echo("ERR unknown type name '", operand, "'"))?);
            } else {
                return Err(syntax());
            }
            rest = more;
        }
        if rest.is_empty() { Ok(request) } else { Err(syntax()) }
    }

    /// Whether it begins, and so few keys are here that all shards may look at theirs in one call.
    pub fn is_of_few(&self, keys_here: usize) -> bool {
        self.cursor == ScanCursor::START && keys_here <= self.count_of_few()
    }

    /// How many keys each shard looks at then.
    pub fn count_of_few(&self) -> usize {
        self.count.min(FEW_KEYS)
    }

    fn wants(&self, key: &[u8], entry: Entry<'_>) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| glob::matches(pattern, key, Case::Sensitive))
            && self.kind.is_none_or(|kind| kind == entry.kind())
    }

    /// Looks at about `budget` keys from `cursor` on, calls `found` with those that are wanted, and returns where to go
    /// on in this keyspace.
    pub fn step(
        &self,
        keyspace: &Keyspace,
        database: usize,
        cursor: ScanCursor,
        budget: usize,
        now: Milliseconds,
        found: &mut dyn FnMut(&[u8]),
    ) -> ScanCursor {
        keyspace.scan(database, cursor, budget, now, &mut |key, entry| {
            if self.wants(key, *entry) {
                found(key);
            }
        })
    }
}

/// A cursor as C's `strtoul` reads it: a sign is allowed, and minus counts down from 2^64.
pub(crate) fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// The reply of SCAN.
pub fn reply_scan<'k>(reply: &mut Reply<'_>, cursor: ScanCursor, keys: impl ExactSizeIterator<Item = &'k [u8]>) {
    reply.array(2);
    reply.bulk(cursor.to_u64().to_string().as_bytes());
    reply.array(keys.len());
    for key in keys {
        reply.bulk(key);
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`, on this shard; at its end it goes on with the next shard's
/// first position.
pub(super) fn scan(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let request = ScanRequest::parse(arguments)?;
    let length = execution.keyspace.len(execution.database);
    if execution.options.is_long(request.count.min(length) as u64, 0) {
        let database = execution.keyspace.database_id(execution.database);
        let (cursor, left) = (request.cursor, request.count);
        let work = LongScan { request, database, cursor: Some(cursor), left, collected: Collected::default() };
        execution.later.put(work);
        return Ok(());
    }
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let (database, now) = (execution.database, execution.now);
    let next = request.step(execution.keyspace, database, request.cursor, request.count, now, &mut |key| {
        keys.push(key.to_vec());
    });
    let next = if next == ScanCursor::START { ScanCursor::from_u64(execution.next_shard_cursor) } else { next };
    reply_scan(&mut execution.reply, next, keys.iter().map(Vec::as_slice));
    Ok(())
}

/// A SCAN call that looks at many keys. What it has found waits for the cursor, which stands in front: so a call ends
/// early where its names take much memory, and the client goes on from there.
struct LongScan {
    request: ScanRequest,
    database: DatabaseId,
    /// None when the cursor has been told.
    cursor: Option<ScanCursor>,
    left: usize,
    collected: Collected,
}

impl LongScan {
    /// About how many bytes of names a call finds at the most.
    const FOUND_BYTES_MAX: usize = 16 << 20;
}

impl LongWork for LongScan {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let Some(cursor) = self.cursor else { return self.collected.hand_out(&mut execution.reply) };
        let protocol = execution.reply.protocol();
        let run = usize::try_from(budget).unwrap_or(usize::MAX).min(self.left);
        // A database that was flushed meanwhile is at its end.
        let next = execution.keyspace.database_of(self.database).map_or(ScanCursor::START, |database| {
            let collected = &mut self.collected;
            self.request.step(execution.keyspace, database, cursor, run, execution.now, &mut |key| {
                collected.add(protocol, |reply| reply.bulk(key));
            })
        });
        self.left -= run;
        if next != ScanCursor::START && self.left > 0 && self.collected.bytes() < Self::FOUND_BYTES_MAX {
            self.cursor = Some(next);
            return Step::More;
        }
        let next = if next == ScanCursor::START { execution.next_shard_cursor } else { next.to_u64() };
        self.cursor = None;
        self.collected.close();
        let reply = &mut execution.reply;
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(self.collected.len());
        Step::More
    }
}

fn is_wanted(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || glob::matches(pattern, key, Case::Sensitive)
}

/// Keys that KEYS has found so far.
struct Found {
    pattern: Vec<u8>,
    protocol: Protocol,
    collected: Collected,
}

impl WalkSink for Found {
    fn key(&mut self, key: &[u8], _: &Entry<'_>) {
        if is_wanted(&self.pattern, key) {
            self.collected.add(self.protocol, |reply| reply.bulk(key));
        }
    }
}

/// KEYS in a large database: how many there are is known when all have been found.
struct LongKeys {
    found: Rc<RefCell<Found>>,
    walk: Option<WalkId>,
}

impl LongWork for LongKeys {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        if let Some(walk) = self.walk {
            if execution.keyspace.step_walk(walk, budget) {
                return Step::More;
            }
            self.walk = None;
            let collected = &mut self.found.borrow_mut().collected;
            collected.close();
            execution.reply.array(collected.len());
        }
        self.found.borrow_mut().collected.hand_out(&mut execution.reply)
    }
}

/// `KEYS pattern`, on this shard
pub(super) fn keys(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let pattern = arguments[1];
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    if options.is_long(keyspace.len(*database) as u64, 0) {
        let (pattern, protocol, collected) = (pattern.to_vec(), reply.protocol(), Collected::default());
        let found = Rc::new(RefCell::new(Found { pattern, protocol, collected }));
        let sink: SharedSink = found.clone();
        let walk = Some(keyspace.begin_walk(*database, *now, &sink));
        later.put(LongKeys { found, walk });
        return Ok(());
    }
    let mut keys: Vec<Vec<u8>> = Vec::new();
    execution.keyspace.keys(execution.database, execution.now, &mut |key, _| {
        if is_wanted(pattern, key) {
            keys.push(key.to_vec());
        }
    });
    execution.reply.array(keys.len());
    for key in &keys {
        execution.reply.bulk(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_walk_sees_every_key() {
        let shard = &mut Shard::default();
        for number in 0..500 {
            shard.check(&format!("SET key:{number} 1"), "+OK\r\n");
        }
        let (mut cursor, mut seen, mut calls) = ("0".to_string(), BTreeSet::new(), 0);
        loop {
            let reply = shard.run(&format!("SCAN {cursor} COUNT 7"));
            let lines: Vec<&str> = reply.split("\r\n").collect();
            seen.extend(lines.iter().filter(|line| line.starts_with("key:")).map(ToString::to_string));
            cursor = lines[2].to_string();
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
        assert!(calls > 10, "{calls}");
    }

    #[test]
    fn filters_and_errors() {
        let shard = &mut Shard::default();
        shard.check("MSET abc 1 abd 2 xyz 3", "+OK\r\n");
        shard.check("SCAN 0 MATCH x* COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nxyz\r\n");
        shard.check("SCAN 0 MATCH xyz TYPE STRING COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nxyz\r\n");
        shard.check("SCAN 0 TYPE list COUNT 100", "*2\r\n$1\r\n0\r\n*0\r\n");
        shard.check("SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n");
        shard.check("SCAN 0 TYPE nosuch", "-ERR unknown type name 'nosuch'\r\n");
        for cursor in ["x", "18446744073709551616", "' 1'", "1x", "-"] {
            shard.check(&format!("SCAN {cursor}"), "-ERR invalid cursor\r\n");
        }
        for options in ["FOO", "MATCH", "COUNT 0", "COUNT -1", "COUNT 10 FOO x", "COUNT 10 COUNT"] {
            shard.check(&format!("SCAN 0 {options}"), "-ERR syntax error\r\n");
        }
        shard.check("SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n");
        shard.check("KEYS x?z", "*1\r\n$3\r\nxyz\r\n");
        assert!(shard.run("KEYS ab[cd]").starts_with("*2\r\n"));
        assert!(shard.run("KEYS *").starts_with("*3\r\n"));
    }

    #[test]
    fn cursors_as_the_real_server_reads_them() {
        for (text, cursor) in [("", Some(0)), ("+5", Some(5)), ("-1", Some(u64::MAX)), ("007", Some(7)), ("+", None)] {
            assert_eq!(parse_cursor(text.as_bytes()), cursor, "{text}");
        }
    }

    #[test]
    fn expired_keys_are_hidden() {
        let shard = &mut Shard::default();
        shard.check("SET a 1 PX 10", "+OK\r\n");
        shard.now += 11;
        shard.check("SCAN 0 COUNT 100", "*2\r\n$1\r\n0\r\n*0\r\n");
        shard.check("KEYS *", "*0\r\n");
        shard.check("RANDOMKEY", "$-1\r\n");
    }
}
