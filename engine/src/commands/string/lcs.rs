//! LCS: the longest common subsequence of two strings.
//!
//! The textbook table, `length[i][j]` for the first i bytes of one and the first j of the other, walked back from its
//! end; on a tie the walk steps back in the second string, as the real server's does, so that the same one of several
//! longest subsequences comes out. Only LEN does without the table.

use super::super::errors::{integer, is, syntax};
use super::read;
use crate::command::{CommandError, CommandResult, Execution};
use crate::reply::Reply;

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
    let mut text = |key: &[u8]| -> Result<Vec<u8>, CommandError> {
        let value = read(execution, key)
            .map_err(|_| CommandError::from("ERR The specified keys must contain string values"))?;
        Ok(value.map(|value| value.to_bytes().into_owned()).unwrap_or_default())
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
    if options.length_only {
        execution.reply.integer(i64::from(length(&a, &b)));
        return Ok(());
    }
    let table = Table::new(&a, &b);
    if options.ranges {
        reply_ranges(&mut execution.reply, &table.ranges(), table.length(), options);
    } else {
        execution.reply.bulk(&table.subsequence());
    }
    Ok(())
}

/// The length alone, with two rows.
fn length(a: &[u8], b: &[u8]) -> u32 {
    let mut above = vec![0; b.len() + 1];
    let mut row = above.clone();
    for x in a {
        for (j, y) in b.iter().enumerate() {
            row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    lengths: Vec<u32>,
}

/// A run of bytes that match in both strings: where it begins in each, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    in_a: usize,
    in_b: usize,
    length: usize,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8]) -> Self {
        let width = b.len() + 1;
        let mut lengths = vec![0; (a.len() + 1) * width];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = lengths[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Self { a, b, lengths }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * (self.b.len() + 1) + j]
    }

    fn length(&self) -> u32 {
        self.at(self.a.len(), self.b.len())
    }

    /// Positions of the matching bytes, from the last to the first.
    fn walk_back(&self, mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                i -= 1;
                j -= 1;
                visit(i, j);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.length() as usize);
        self.walk_back(|i, _| text.push(self.a[i]));
        text.reverse();
        text
    }

    /// The matching runs, from the last to the first.
    fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        self.walk_back(|in_a, in_b| match ranges.last_mut() {
            Some(range) if range.in_a == in_a + 1 && range.in_b == in_b + 1 => {
                *range = Range { in_a, in_b, length: range.length + 1 };
            }
            _ => ranges.push(Range { in_a, in_b, length: 1 }),
        });
        ranges
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
        fn what_comes_out_is_common_and_as_long_as_it_says(a in "[abc]{0,20}", b in "[abc]{0,20}") {
            let table = Table::new(a.as_bytes(), b.as_bytes());
            let common = table.subsequence();
            let in_order = |text: &str| {
                let mut rest = text.bytes();
                common.iter().all(|byte| rest.any(|other| other == *byte))
            };
            prop_assert!(in_order(&a) && in_order(&b));
            prop_assert_eq!(common.len() as u32, length(a.as_bytes(), b.as_bytes()));
            let total: usize = table.ranges().iter().map(|range| range.length).sum();
            prop_assert_eq!(total, common.len());
        }
    }
}
