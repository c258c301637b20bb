//! A sorted set of many members at once, in slices: no member is looked for in a tree.
//!
//! ```text
//!   push     member and score ──> some that wait ──> one of many buckets, by the member's hash    in any order
//!   join     each bucket in the order of the hashes; equal members become one          ──> rows: score, place
//!   sort     the rows by score and name
//!   tree     leaf after leaf; members whose score others have, too, are marked
//!   index    bucket after bucket, leaf after leaf
//! ```
//!
//! Nothing but the buckets is written at random. Their ends are in no cache, and each in a page of its own; so members wait
//! for others, and go to their buckets by the dozen ([`Waiting`]): what they need comes from memory at once, not one after
//! the other, which halves the time of ten million members.

use super::super::hash_build::HashBuilder;
use super::super::hash_leaf::{Draft, Field, INLINE_BYTES_MAX};
use super::super::hasher::{Hash, MemberHasher};
use super::super::sorted_leaf::{Scored, SortedLeaf, member_bytes};
use super::super::tree::TreeBuilder;
use super::super::{discard_each, hash_tree::HashTree};
use super::{SortedTree, wants_name};
use crate::merge_sort::Sorter;
use crate::values::{Blob, StringRef};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::hint::black_box;

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

/// Writes a record. `text` is shorter than 256 bytes.
fn write_record(records: &mut Vec<u8>, marks: u8, hash: Hash, score: f64, text: &[u8]) {
    records.extend_from_slice(&[marks, hash.tag]);
    records.extend_from_slice(&hash.position.to_le_bytes());
    records.extend_from_slice(&score.to_le_bytes());
    records.push(text.len() as u8);
    records.extend_from_slice(text);
}

impl Bucket {
    fn push(&mut self, record: &[u8]) {
        if self.records.capacity() - self.records.len() < record.len() {
            let next = Vec::with_capacity(CHUNK_BYTES.max(record.len()));
            let full = std::mem::replace(&mut self.records, next);
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        self.records.extend_from_slice(record);
    }

    /// A member that is too long for a leaf.
    fn push_large(&mut self, hash: Hash, score: f64, member: StringRef<'_>) {
        let number = self.blobs.len() as u32;
        self.blobs.push(match member {
            StringRef::Shared(blob) => blob.clone(),
            member => member.with_bytes(Blob::new),
        });
        let mut record = Vec::with_capacity(TEXT_AT + size_of::<u32>());
        write_record(&mut record, LARGE, hash, score, &number.to_le_bytes());
        self.push(&record);
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

/// Members on their way to their buckets. Equal ones get there in the order in which they came.
#[derive(Default)]
struct Waiting {
    records: Vec<u8>,
    /// Of each the bucket, and where its record ends.
    places: Vec<(u32, u32)>,
}

/// So many go to their buckets at once.
const WAITING_MAX: usize = 64;

impl Waiting {
    fn go(&mut self, buckets: &mut [Bucket]) {
        // What is read here depends on nothing, so the processor has many of these reads under way; then the writes find
        // all that they need in its caches.
        let filled = self.places.iter().map(|(bucket, _)| buckets[*bucket as usize].records.as_slice());
        let filled: SmallVec<[&[u8]; WAITING_MAX]> = filled.collect();
        black_box(filled.iter().filter_map(|records| records.last()).fold(0, |sum, byte| sum ^ byte));
        drop(filled);
        let mut from = 0;
        for (bucket, end) in self.places.drain(..) {
            buckets[bucket as usize].push(&self.records[from..end as usize]);
            from = end as usize;
        }
        self.records.clear();
    }
}

/// A member of the set: its score, its bucket, and where it stands there.
#[derive(Clone, Copy)]
struct Row {
    score: f64,
    /// [`abbreviation`] of the name: the name itself lies where no cache has it.
    name: u64,
    bucket: u32,
    at: u32,
}

/// Names that differ in this order as these do; those with equal ones have to be looked at. They are the bytes behind what
/// all names begin with.
fn abbreviation(name: &[u8], common: usize) -> u64 {
    let mut bytes = [0; size_of::<u64>()];
    let rest = &name[common..];
    let length = rest.len().min(bytes.len());
    bytes[..length].copy_from_slice(&rest[..length]);
    u64::from_be_bytes(bytes)
}

fn compare(buckets: &[Bucket], a: &Row, b: &Row) -> Ordering {
    let by_score = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
    by_score.then(a.name.cmp(&b.name)).then_with(|| {
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
    waiting: Waiting,
    /// What all members begin with; none before the first.
    common: Option<Vec<u8>>,
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
            waiting: Waiting::default(),
            common: None,
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
        let name = member_bytes(&member);
        let common = self.common.get_or_insert_with(|| name.into());
        if !name.starts_with(common) {
            common.truncate(common.iter().zip(name).take_while(|(a, b)| a == b).count());
        }
        let hash = self.hasher.hash(name);
        let bucket = hash.position.checked_shr(u32::BITS - self.bits).unwrap_or(0);
        if member.len() > INLINE_BYTES_MAX {
            return self.buckets[bucket as usize].push_large(hash, score, member);
        }
        let Waiting { records, places } = &mut self.waiting;
        write_record(records, 0, hash, score, name);
        places.push((bucket, records.len() as u32));
        if places.len() == WAITING_MAX {
            self.waiting.go(&mut self.buckets);
        }
    }

    /// Units of a push.
    pub const UNITS_A_PUSH: u64 = UNITS_A_MEMBER;

    /// Does about `budget` units when all members have been added; whether that was all. `join` makes one of the scores of
    /// a member that was added again.
    pub fn step(&mut self, budget: u64, join: impl Fn(f64, f64) -> f64) -> bool {
        let mut left = (budget / UNITS_A_MEMBER).max(1);
        self.waiting.go(&mut self.buckets);
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
        let common = self.common.as_ref().map_or(0, Vec::len);
        let mut count = 1;
        for at in buckets[number].places() {
            let name = abbreviation(member_bytes(&buckets[number].member(at)), common);
            let row = Row { score: buckets[number].score(at), name, bucket: number as u32, at: at as u32 };
            rows.push(row, |a, b| compare(buckets, a, b));
            count += 1;
        }
        count
    }

    /// Some members; how many.
    fn add_to_tree(&mut self) -> u64 {
        let (buckets, rows) = (&self.buckets, &mut self.rows);
        let next = std::iter::from_fn(|| rows.next(|a, b| compare(buckets, a, b)));
        let next: SmallVec<[Row; WAITING_MAX]> = next.take(WAITING_MAX).collect();
        // All of them are on their way from memory at once, as in [`Waiting::go`].
        let marks = next.iter().map(|row| buckets[row.bucket as usize].records[row.at as usize]);
        black_box(marks.fold(0, |sum, byte| sum ^ byte));
        if next.is_empty() {
            self.close_leaf(SortedLeaf::roomy());
            self.stage = Stage::Index(0);
        }
        for row in &next {
            self.append(*row);
        }
        next.len() as u64
    }

    /// The next member of the tree.
    fn append(&mut self, row: Row) {
        let buckets = &self.buckets;
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
