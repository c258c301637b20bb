//! A sorted set of many members at once, in slices: no member is looked for in a tree.
//!
//! ```text
//!   push     member and score ──> one of many buckets, by the member's hash           in any order
//!   join     each bucket in the order of the hashes; equal members become one          ──> rows: score, place
//!   sort     the rows by score and name
//!   tree     leaf after leaf; members whose score others have, too, are marked
//!   index    bucket after bucket, leaf after leaf
//! ```
//!
//! Nothing but the buckets is written at random, and they are few enough for their ends to stay in the caches; so ten
//! million members take a fifth of the time that as many insertions do.

use super::super::hash_build::HashBuilder;
use super::super::hash_leaf::{Draft, Field, INLINE_BYTES_MAX};
use super::super::hasher::{Hash, MemberHasher};
use super::super::sorted_leaf::{Scored, SortedLeaf, member_bytes};
use super::super::tree::TreeBuilder;
use super::super::{discard_each, hash_tree::HashTree};
use super::{SortedTree, wants_name};
use crate::merge_sort::Sorter;
use crate::values::{Blob, StringRef};
use std::cmp::Ordering;

/// About so many members a bucket.
const BUCKET_MEMBERS: u64 = 512;
const BUCKET_BITS_MAX: u32 = 15;
/// A chunk of a bucket, in bytes.
const CHUNK_BYTES: usize = 2 << 10;

/// Rows that are sorted at once.
const RUN_ROWS: usize = 1024;

/// Units of a member in each of the stages.
const UNITS_A_MEMBER: u64 = 4;

/// Another one has the same score.
const TIED: u8 = 1;
/// What stands instead of the text is the number of a blob.
const LARGE: u8 = 2;

/// Members with equal parts of their hashes. While they come, in chunks: buckets fill alike, so if each moved what it has when it
/// needs more room, thousands would at about the same time.
///
/// ```text
///   ┌ marks: 1 ┬ tag: 1 ┬ position: 4 ┬ score: 8 ┬ length: 1 ┬ text ┐ ...
/// ```
#[derive(Default)]
struct Bucket {
    /// Chunks that are full, before `records`; none once it is joined.
    full: Vec<Vec<u8>>,
    records: Vec<u8>,
    /// Texts that are too long for a leaf.
    blobs: Vec<Blob>,
}

const TAG_AT: usize = 1;
const POSITION_AT: usize = 2;
const SCORE_AT: usize = 6;
const LENGTH_AT: usize = 14;
const TEXT_AT: usize = 15;

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("records are whole")
}

impl Bucket {
    fn push(&mut self, hash: Hash, score: f64, member: StringRef<'_>) {
        let large;
        let (marks, text) = if member.len() > INLINE_BYTES_MAX {
            large = (self.blobs.len() as u32).to_le_bytes();
            self.blobs.push(match member {
                StringRef::Shared(blob) => blob.clone(),
                member => member.with_bytes(Blob::new),
            });
            (LARGE, &large[..])
        } else {
            (0, member_bytes(&member))
        };
        let needed = TEXT_AT + text.len();
        if self.records.capacity() - self.records.len() < needed {
            let next = Vec::with_capacity(CHUNK_BYTES.max(needed));
            let full = std::mem::replace(&mut self.records, next);
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        self.records.extend_from_slice(&[marks, hash.tag]);
        self.records.extend_from_slice(&hash.position.to_le_bytes());
        self.records.extend_from_slice(&score.to_le_bytes());
        self.records.push(text.len() as u8);
        self.records.extend_from_slice(text);
    }

    fn hash(&self, at: usize) -> Hash {
        Hash { position: u32::from_le_bytes(array(&self.records, at + POSITION_AT)), tag: self.records[at + TAG_AT] }
    }

    fn score(&self, at: usize) -> f64 {
        f64::from_le_bytes(array(&self.records, at + SCORE_AT))
    }

    fn end(&self, at: usize) -> usize {
        at + TEXT_AT + self.records[at + LENGTH_AT] as usize
    }

    fn member(&self, at: usize) -> StringRef<'_> {
        let text = &self.records[at + TEXT_AT..self.end(at)];
        if self.records[at] & LARGE == 0 {
            return StringRef::Bytes(text);
        }
        StringRef::Shared(&self.blobs[u32::from_le_bytes(array(text, 0)) as usize])
    }

    fn member_cmp(&self, a: usize, b: usize) -> Ordering {
        member_bytes(&self.member(a)).cmp(member_bytes(&self.member(b)))
    }

    /// Where the records begin.
    fn places(&self) -> impl Iterator<Item = usize> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let at = next;
            (at < self.records.len()).then(|| {
                next = self.end(at);
                at
            })
        })
    }

    /// The records in the order of their hashes; equal members are one, with their scores joined in the order in which they
    /// came.
    fn joined(mut self, join: impl Fn(f64, f64) -> f64) -> Self {
        if !self.full.is_empty() {
            let last = std::mem::take(&mut self.records);
            self.full.push(last);
            self.records = std::mem::take(&mut self.full).concat();
        }
        let mut order: Vec<(u32, usize)> = self.places().map(|at| (self.hash(at).position, at)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.member_cmp(a.1, b.1)).then(a.1.cmp(&b.1)));
        let mut records = Vec::with_capacity(self.records.len());
        let mut last: Option<(usize, usize)> = None;
        for (_, at) in order {
            if let Some((known, to)) = last
                && self.hash(known) == self.hash(at)
                && self.member_cmp(known, at) == Ordering::Equal
            {
                let score = join(f64::from_le_bytes(array(&records, to + SCORE_AT)), self.score(at));
                records[to + SCORE_AT..to + LENGTH_AT].copy_from_slice(&score.to_le_bytes());
                continue;
            }
            last = Some((at, records.len()));
            records.extend_from_slice(&self.records[at..self.end(at)]);
        }
        Self { full: Vec::new(), records, blobs: self.blobs }
    }
}

/// A member of the set: its score, its bucket, and where it stands there.
#[derive(Clone, Copy)]
struct Row {
    score: f64,
    bucket: u32,
    at: u32,
}

fn compare(buckets: &[Bucket], a: &Row, b: &Row) -> Ordering {
    let by_score = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
    by_score.then_with(|| {
        let (first, second) =
            (buckets[a.bucket as usize].member(a.at as usize), buckets[b.bucket as usize].member(b.at as usize));
        member_bytes(&first).cmp(member_bytes(&second))
    })
}

/// What comes next, and the next bucket where it is about buckets.
enum Stage {
    Join(usize),
    Sort,
    Tree,
    Index(usize),
    Done,
}

/// A sorted set in the making.
pub struct SortedBuilder {
    hasher: MemberHasher,
    /// By the first bits of their positions.
    buckets: Vec<Bucket>,
    bits: u32,
    stage: Stage,
    rows: Sorter<Row>,
    leaves: TreeBuilder<SortedLeaf>,
    open: SortedLeaf,
    /// The last member of the tree.
    last: Option<Row>,
    index: HashBuilder,
    shared_bytes: usize,
    made: Option<SortedTree>,
}

impl SortedBuilder {
    /// For about so many members.
    pub fn new(members: u64, hasher: MemberHasher) -> Self {
        let bits = (members / BUCKET_MEMBERS).checked_ilog2().map_or(0, |bits| (bits + 1).min(BUCKET_BITS_MAX));
        let mut buckets = Vec::new();
        buckets.resize_with(1 << bits, Bucket::default);
        Self {
            hasher,
            buckets,
            bits,
            stage: Stage::Join(0),
            rows: Sorter::new(usize::MAX, RUN_ROWS),
            leaves: TreeBuilder::new(),
            open: SortedLeaf::roomy(),
            last: None,
            index: HashBuilder::new(),
            shared_bytes: 0,
            made: None,
        }
    }

    /// Adds a member, whose score must not be NaN. It may have been added already. Costs about
    /// [`SortedBuilder::UNITS_A_PUSH`] units.
    pub fn push(&mut self, Scored { score, member }: Scored<'_>) {
        debug_assert!(!score.is_nan());
        if let StringRef::Integer(_) = member {
            return member.with_bytes(|text| self.push(Scored { score, member: StringRef::Bytes(text) }));
        }
        let hash = self.hasher.hash(member_bytes(&member));
        let bucket = hash.position.checked_shr(u32::BITS - self.bits).unwrap_or(0);
        self.buckets[bucket as usize].push(hash, score, member);
    }

    /// Units of a push.
    pub const UNITS_A_PUSH: u64 = UNITS_A_MEMBER;

    /// Does about `budget` units when all members have been added; whether that was all. `join` makes one of the scores of
    /// a member that was added again.
    pub fn step(&mut self, budget: u64, join: impl Fn(f64, f64) -> f64) -> bool {
        let mut left = (budget / UNITS_A_MEMBER).max(1);
        while left > 0 {
            match self.stage {
                Stage::Join(bucket) => left = left.saturating_sub(self.join(bucket, &join)),
                Stage::Sort => {
                    let buckets = &self.buckets;
                    if !self.rows.merge(left, |a, b| compare(buckets, a, b)) {
                        return false;
                    }
                    self.stage = Stage::Tree;
                }
                Stage::Tree => left = left.saturating_sub(self.add_to_tree()),
                Stage::Index(bucket) => left = left.saturating_sub(self.add_to_index(bucket)),
                Stage::Done => return true,
            }
        }
        matches!(self.stage, Stage::Done)
    }

    /// One bucket; how many members it has.
    fn join(&mut self, number: usize, join: impl Fn(f64, f64) -> f64) -> u64 {
        if number == self.buckets.len() {
            self.stage = Stage::Sort;
            return 0;
        }
        self.stage = Stage::Join(number + 1);
        let joined = std::mem::take(&mut self.buckets[number]).joined(join);
        self.buckets[number] = joined;
        let (buckets, rows) = (&self.buckets, &mut self.rows);
        let mut count = 1;
        for at in buckets[number].places() {
            let row = Row { score: buckets[number].score(at), bucket: number as u32, at: at as u32 };
            rows.push(row, |a, b| compare(buckets, a, b));
            count += 1;
        }
        count
    }

    /// One member.
    fn add_to_tree(&mut self) -> u64 {
        let buckets = &self.buckets;
        let Some(row) = self.rows.next(|a, b| compare(buckets, a, b)) else {
            self.close_leaf(SortedLeaf::roomy());
            self.stage = Stage::Index(0);
            return 0;
        };
        let scored = Scored { score: row.score, member: buckets[row.bucket as usize].member(row.at as usize) };
        if !self.open.append(&scored) {
            let mut next = SortedLeaf::roomy();
            let fits = next.append(&scored);
            debug_assert!(fits, "an empty leaf takes any member");
            self.close_leaf(next);
        }
        if let Some(last) = self.last.replace(row)
            && last.score == row.score
        {
            for Row { bucket, at, .. } in [last, row] {
                self.buckets[bucket as usize].records[at as usize] |= TIED;
            }
        }
        1
    }

    fn close_leaf(&mut self, next: SortedLeaf) {
        let mut leaf = std::mem::replace(&mut self.open, next);
        if leaf.len() > 0 {
            leaf.fit();
            self.leaves.push(leaf.key(), leaf);
        }
    }

    /// One bucket; how many members it has.
    fn add_to_index(&mut self, number: usize) -> u64 {
        if number == self.buckets.len() {
            let index: HashTree = self.index.finish(&self.hasher);
            self.made = Some(SortedTree { tree: self.leaves.finish(), index, shared_bytes: self.shared_bytes });
            self.stage = Stage::Done;
            return 0;
        }
        self.stage = Stage::Index(number + 1);
        let bucket = std::mem::take(&mut self.buckets[number]);
        let mut count = 1;
        for at in bucket.places() {
            let (hash, member) = (bucket.hash(at), bucket.member(at));
            let is_named = wants_name(member_bytes(&member), bucket.records[at] & TIED != 0);
            let field = if is_named { Field::Text(member) } else { Field::Position(hash.position) };
            if let Field::Text(StringRef::Shared(blob)) = field {
                self.shared_bytes += blob.heap_bytes();
            }
            let value = bucket.score(at).to_le_bytes();
            self.index.append(hash, &Draft { field, value: Some(StringRef::Bytes(&value)), expires_at: None });
            count += 1;
        }
        count
    }

    /// The set, once all is done.
    pub fn into_set(mut self) -> SortedTree {
        self.made.take().unwrap_or_else(|| SortedTree::new(self.hasher.clone()))
    }
}

impl Drop for SortedBuilder {
    fn drop(&mut self) {
        let bytes_of = |bucket: &Bucket| bucket.full.len() * CHUNK_BYTES + bucket.records.capacity();
        let bytes = self.buckets.last().map_or(0, bytes_of);
        discard_each(std::mem::take(&mut self.buckets), bytes);
    }
}
