//! Sorted sets: the command rows and the reads of one sorted set by member. By topic: [`write`] (ZADD, ZREM), [`range`] (what
//! is asked by rank, score or name), [`pop`] (ZPOPMIN, ZMPOP, ZRANDMEMBER), [`removal`] (of many members), [`algebra`]
//! (ZUNION and the like).

mod algebra;
mod bounds;
mod combination;
mod pop;
mod range;
mod removal;
mod rows;
mod write;

pub use rows::COMMANDS;

pub(super) use algebra::{store_made, store_result};
pub(super) use write::{AddOptions, add_scored};

use super::double::{DoubleText, reply_double};
use super::element_scan;
use super::errors::{is, syntax};
use super::string::reply_string;
use crate::command::{CommandResult, Execution, wrong_arity};
use crate::journal::EventClass;
use crate::keyspace::{Entry, EntryMut, Key, WrongType};
use crate::long::{LongWork, ViewWalk};
use crate::reply::{Protocol, Reply};
use crate::values::Type;
use crate::values::large::{Scored, SortedTree};
use crate::values::sorted_set::SortedSetRef;
use std::ops::Range;

/// The sorted set of an entry that is one.
pub(super) fn sorted_set_of(entry: Entry<'_>) -> SortedSetRef<'_> {
    SortedSetRef::new(entry.packed_bytes(), entry.object())
}

/// Looks a sorted set up as a read of the client, and hands out the reply beside it.
pub(super) fn find<'e, 'r>(
    execution: &'e mut Execution<'r>,
    key: &[u8],
) -> Result<(Option<SortedSetRef<'e>>, &'e mut Reply<'r>), WrongType> {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(key);
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::SortedSet)?;
    Ok((entry.map(sorted_set_of), reply))
}

/// Looks a sorted set up to change it.
fn edit<'e>(execution: &'e mut Execution<'_>, key: &Key<'_>) -> Result<Option<EntryMut<'e>>, WrongType> {
    execution.keyspace.edit(execution.database, key, Type::SortedSet, execution.now)
}

/// Removes the key if the sorted set has become empty; whether it has.
fn remove_if_empty(entry: EntryMut<'_>) -> bool {
    let is_empty = SortedSetRef::of(&entry).is_empty();
    if is_empty {
        entry.remove();
    }
    is_empty
}

/// Reports a removal of members, and that of the key if it has gone with them.
fn report_removal(execution: &mut Execution<'_>, event: &'static str, key: &[u8], is_empty: bool) {
    execution.event(EventClass::SortedSet, event, key);
    if is_empty {
        execution.event(EventClass::Generic, "del", key);
    }
}

/// How members are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// Members only.
    Members,
    /// Members and scores in turn; in RESP3 pair by pair.
    WithScores,
    /// Pair by pair in both protocols.
    Pairs,
    /// Members and scores in turn in both protocols.
    FlatPairs,
    /// The same, in an array that is open already.
    Bare,
}

impl Listing {
    fn with_scores(with_scores: bool) -> Self {
        if with_scores { Self::WithScores } else { Self::Members }
    }

    /// Opens an array of `count` members.
    fn open(self, reply: &mut Reply<'_>, count: usize) {
        if self == Self::Bare {
            return;
        }
        let is_flat = self == Self::FlatPairs || self == Self::WithScores && reply.protocol() == Protocol::Resp2;
        reply.array(if is_flat { count * 2 } else { count });
    }

    /// Encodes one of them.
    fn reply(self, reply: &mut Reply<'_>, scored: Scored<'_>) {
        if self == Self::Pairs || self == Self::WithScores && reply.protocol() == Protocol::Resp3 {
            reply.array(2);
        }
        reply_string(reply, scored.member);
        if self != Self::Members {
            reply_double(reply, scored.score);
        }
    }

    /// Encodes them all.
    fn reply_all<'a>(self, reply: &mut Reply<'_>, members: impl ExactSizeIterator<Item = Scored<'a>>) {
        self.open(reply, members.len());
        members.for_each(|scored| self.reply(reply, scored));
    }
}

/// Members of some ranks, slice by slice, behind a header that has been encoded.
fn walk(tree: &SortedTree, ranks: Range<u64>, downward: bool, listing: Listing) -> impl LongWork + 'static {
    ViewWalk::new(tree.clone(), ranks.clone(), move |tree: &SortedTree, Range { start, end }, reply| {
        // A walk goes upwards: what it counts from the first rank is counted from the last where the listing goes down.
        let mirrored = |rank: u64| ranks.end - (rank - ranks.start);
        let run = if downward { mirrored(end)..mirrored(start) } else { start..end };
        SortedSetRef::Tree(tree).range(run, downward).for_each(|scored| listing.reply(reply, scored));
    })
}

/// `ZCARD key`
fn zcard(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (set, reply) = find(execution, arguments[1])?;
    reply.integer(set.map_or(0, |set| set.len()) as i64);
    Ok(())
}

fn reply_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply_double(reply, score),
        None => reply.null(),
    }
}

/// `ZSCORE key member`
fn zscore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (set, reply) = find(execution, arguments[1])?;
    reply_score(reply, set.and_then(|set| set.score(arguments[2])));
    Ok(())
}

/// `ZMSCORE key member [member ...]`
fn zmscore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (set, reply) = find(execution, arguments[1])?;
    let members = &arguments[2..];
    reply.array(members.len());
    members.iter().for_each(|member| reply_score(reply, set.and_then(|set| set.score(member))));
    Ok(())
}

fn reply_rank(execution: &mut Execution<'_>, arguments: &[&[u8]], downward: bool, name: &str) -> CommandResult {
    let with_score = match arguments[3..] {
        [] => false,
        [word] if is(word, "WITHSCORE") => true,
        [_] => return Err(syntax()),
        _ => return Err(wrong_arity(name, None)),
    };
    let (set, reply) = find(execution, arguments[1])?;
    let found = set.and_then(|set| set.rank(arguments[2]).map(|(rank, score)| (rank, score, set.len())));
    let Some((rank, score, length)) = found else {
        if with_score {
            reply.null_array();
        } else {
            reply.null();
        }
        return Ok(());
    };
    if with_score {
        reply.array(2);
    }
    reply.integer(if downward { length - 1 - rank } else { rank } as i64);
    if with_score {
        reply_double(reply, score);
    }
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`
fn zrank(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_rank(execution, arguments, false, "zrank")
}

/// `ZREVRANK key member [WITHSCORE]`
fn zrevrank(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    reply_rank(execution, arguments, true, "zrevrank")
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]`
fn zscan(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let access = execution.access();
    let Execution { keyspace, reply, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let cursor = element_scan::cursor(arguments)?;
    let entry = keyspace.find_typed(*database, &key, *now, access, Type::SortedSet)?;
    element_scan::reply_scan(reply, arguments, Some("NOSCORES"), entry, |entry, scan, reply| {
        let mut count = 0;
        let mut visit = |scored: Scored<'_>| {
            if scored.member.with_bytes(|name| scan.wants(name)) {
                reply_string(reply, scored.member);
                count += 1;
                if !scan.without_values {
                    reply.bulk(DoubleText::new(scored.score).as_str().as_bytes());
                    count += 1;
                }
            }
        };
        let next = match sorted_set_of(entry) {
            SortedSetRef::Tree(tree) => tree.scan(cursor, scan.count, visit),
            small @ SortedSetRef::Listpack(_) => {
                small.iter().for_each(&mut visit);
                0
            }
        };
        (next, count)
    })
}
