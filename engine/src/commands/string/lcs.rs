//! LCS: the longest common subsequence of two strings.
//!
//! The textbook table, `length[i][j]` for the first i bytes of one and the first j of the other, walked back from its
//! end; on a tie the walk steps back in the second string, as the real server's does, so that the same one of several
//! longest subsequences comes out. Only LEN does without the table.

use super::super::errors::{integer, is, syntax};
use super::read;
use crate::command::{CommandError, CommandResult, Execution};
use crate::long::{LongWork, Step};
use crate::reply::Reply;
use crate::values::{Blob, StringRef};

/// What LCS is to tell.
#[derive(Clone, Copy, Debug, Default)]
struct LcsOptions {
    length_only: bool,
    ranges: bool,
    range_length_min: i64,
    with_range_lengths: bool,
}

impl LcsOptions {
    fn parse(arguments: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut rest = arguments;
        while let [word, more @ ..] = rest {
            rest = more;
            if is(word, "IDX") {
                options.ranges = true;
            } else if is(word, "LEN") {
                options.length_only = true;
            } else if is(word, "WITHMATCHLEN") {
                options.with_range_lengths = true;
            } else if is(word, "MINMATCHLEN")
                && let [length, more @ ..] = rest
            {
                options.range_length_min = integer(length)?.max(0);
                rest = more;
            } else {
                return Err(syntax());
            }
        }
        if options.ranges && options.length_only {
            return Err("ERR If you want both the length and indexes, please just use IDX.".into());
        }
        Ok(options)
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub(super) fn lcs(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let mut text = |key: &[u8]| -> Result<Blob, CommandError> {
        let value = read(execution, key)
            .map_err(|_| CommandError::from("ERR The specified keys must contain string values"))?;
        Ok(match value {
            Some(StringRef::Shared(blob)) => blob.clone(),
            Some(value) => value.with_bytes(Blob::new),
            None => Blob::new(&[]),
        })
    };
    // Both are looked up before the error, so that both count as read.
    let (a, b) = (text(arguments[1]), text(arguments[2]));
    let (a, b) = (a?, b?);
    let options = LcsOptions::parse(&arguments[3..])?;
    // The bound of the table's memory bounds the time too, so it holds for LEN as well.
    let cells = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1);
    if cells.saturating_mul(4) > execution.options.string_length_max {
        return Err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len".into());
    }
    let mut table = Table::new(a, b, options);
    if execution.options.is_long(cells / UNIT_CELLS, 0) {
        execution.later.put(table);
    } else {
        while table.step(execution, u64::MAX) == Step::More {}
    }
    Ok(())
}

/// Cells of the table that are filled in about the time of a unit.
const UNIT_CELLS: u64 = 64;

/// The table, in two rows if only the length is wanted: the row in hand and the one above.
struct Table {
    a: Blob,
    b: Blob,
    options: LcsOptions,
    rows: usize,
    lengths: Vec<u32>,
    /// How many bytes of the first string have been done, and of the second in the row in hand.
    filled: (usize, usize),
    /// Where the walk back stands.
    back: (usize, usize),
    /// The matching runs, from the last to the first.
    ranges: Vec<Range>,
}

/// A run of bytes that match in both strings: where it begins in each, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    in_a: usize,
    in_b: usize,
    length: usize,
}

impl Table {
    fn new(a: Blob, b: Blob, options: LcsOptions) -> Self {
        let rows = if options.length_only { 2 } else { a.len() + 1 };
        let lengths = vec![0; rows * (b.len() + 1)];
        let back = (a.len(), b.len());
        Self { a, b, options, rows, lengths, filled: (0, 0), back, ranges: Vec::new() }
    }

    /// Where the row for so many bytes of the first string begins.
    fn row(&self, i: usize) -> usize {
        i % self.rows * (self.b.len() + 1)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[self.row(i) + j]
    }

    fn length(&self) -> u32 {
        self.at(self.a.len(), self.b.len())
    }

    /// Fills so many cells more; whether those were the last.
    fn fill(&mut self, cells: u64) -> bool {
        let (width, mut left) = (self.b.len() + 1, usize::try_from(cells).unwrap_or(usize::MAX));
        while self.filled.0 < self.a.len() && left > 0 {
            let (i, from) = self.filled;
            let until = self.b.len().min(from.saturating_add(left));
            let (above_at, row_at) = (self.row(i), self.row(i + 1));
            let (above, row) = if above_at < row_at {
                let (head, tail) = self.lengths.split_at_mut(row_at);
                (&head[above_at..above_at + width], &mut tail[..width])
            } else {
                let (head, tail) = self.lengths.split_at_mut(above_at);
                (&tail[..width], &mut head[row_at..row_at + width])
            };
            let x = self.a.as_slice()[i];
            for (j, y) in (from..until).zip(&self.b.as_slice()[from..until]) {
                row[j + 1] = if x == *y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
            left = left.saturating_sub((until - from).max(1));
            self.filled = if until == self.b.len() { (i + 1, 0) } else { (i, until) };
        }
        self.filled.0 == self.a.len()
    }

    /// Goes so many steps back more, from the end; whether it is through.
    fn walk_back(&mut self, steps: u64) -> bool {
        let (mut i, mut j) = self.back;
        let mut left = steps;
        while i > 0 && j > 0 && left > 0 {
            left -= 1;
            if self.a.as_slice()[i - 1] == self.b.as_slice()[j - 1] {
                (i, j) = (i - 1, j - 1);
                match self.ranges.last_mut() {
                    Some(range) if range.in_a == i + 1 && range.in_b == j + 1 => {
                        *range = Range { in_a: i, in_b: j, length: range.length + 1 };
                    }
                    _ => self.ranges.push(Range { in_a: i, in_b: j, length: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        self.back = (i, j);
        i == 0 || j == 0
    }

    fn subsequence(&self) -> Vec<u8> {
        let runs = self.ranges.iter().rev().map(|range| &self.a.as_slice()[range.in_a..range.in_a + range.length]);
        runs.collect::<Vec<_>>().concat()
    }
}

impl LongWork for Table {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let budget = budget.saturating_mul(UNIT_CELLS);
        if self.filled.0 < self.a.len() && !self.fill(budget) {
            return Step::More;
        }
        let reply = &mut execution.reply;
        if self.options.length_only {
            reply.integer(i64::from(self.length()));
            return Step::Done;
        }
        if !self.walk_back(budget / 4) {
            return Step::More;
        }
        if self.options.ranges {
            reply_ranges(reply, &self.ranges, self.length(), self.options);
        } else {
            reply.bulk(&self.subsequence());
        }
        Step::Done
    }

    fn only_reads(&self) -> bool {
        true
    }
}

fn reply_ranges(reply: &mut Reply<'_>, ranges: &[Range], length: u32, options: LcsOptions) {
    let shown = || ranges.iter().filter(|range| range.length as i64 >= options.range_length_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(shown().count());
    for range in shown() {
        reply.array(if options.with_range_lengths { 3 } else { 2 });
        for start in [range.in_a, range.in_b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + range.length - 1) as i64);
        }
        if options.with_range_lengths {
            reply.integer(range.length as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(length));
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_answers() {
        let shard = &mut Shard::default();
        shard.check("MSET a ohmytext b mynewtext", "+OK\r\n");
        shard.check("LCS a b", "$6\r\nmytext\r\n");
        shard.check("LCS a b LEN", ":6\r\n");
        let first = "*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n";
        let second = "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n";
        let all = format!("$7\r\nmatches\r\n*2\r\n{first}{second}$3\r\nlen\r\n:6\r\n");
        shard.check("LCS a b IDX", &format!("*4\r\n{all}"));
        shard.check_resp3("LCS a b IDX", &format!("%2\r\n{all}"));
        shard.check("LCS a b IDX MINMATCHLEN -1", &format!("*4\r\n{all}"));
        shard.check(
            "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
            "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n",
        );
        shard.check("LCS none b", "$0\r\n\r\n");
        shard.check("LCS none b IDX", "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
        let both = "-ERR If you want both the length and indexes, please just use IDX.\r\n";
        shard.check("LCS a b LEN IDX", both);
        shard.check("LCS a b FOO", "-ERR syntax error\r\n");
        shard.check("LCS a b MINMATCHLEN", "-ERR syntax error\r\n");
        shard.check("LCS a b MINMATCHLEN x", "-ERR value is not an integer or out of range\r\n");
    }

    proptest! {
        #[test]
        fn what_comes_out_is_common_and_as_long_as_it_says(
            a in "[abc]{0,20}", b in "[abc]{0,20}", cells in 1..30u64,
        ) {
            let table = |cells, length_only| {
                let options = LcsOptions { length_only, ..LcsOptions::default() };
                let mut table = Table::new(Blob::new(a.as_bytes()), Blob::new(b.as_bytes()), options);
                while !table.fill(cells) {}
                while !length_only && !table.walk_back(cells) {}
                table
            };
            let (short, table, two_rows) = (table(u64::MAX, false), table(cells, false), table(cells, true));
            prop_assert_eq!(&short.ranges, &table.ranges);
            let common = table.subsequence();
            let in_order = |text: &str| {
                let mut rest = text.bytes();
                common.iter().all(|byte| rest.any(|other| other == *byte))
            };
            prop_assert!(in_order(&a) && in_order(&b));
            prop_assert_eq!(common.len() as u32, two_rows.length());
            let total: usize = table.ranges.iter().map(|range| range.length).sum();
            prop_assert_eq!(total, common.len());
        }
    }
}
