//! HyperLogLog: estimates how many different elements were added, within about 0.8 %, in at most 12 KiB. The values are
//! strings, byte for byte those of the real server, which users read and write as such.
//!
//! ```text
//!   ┌ "HYLL" ┬ encoding: 1 ┬ zero: 3 ┬ estimate: 8, little endian ┬ registers │ runs ┐
//!   └────────┴─────────────┴─────────┴────────────────────────────┴──────────────────┘
//!              0: dense (registers)     highest bit set: out of date
//!              1: sparse (runs)
//!
//!   registers   hash, rank, estimate        dense, sparse   the two encodings
//!   union       PFCOUNT of several, PFMERGE
//!   debug       PFDEBUG PFSELFTEST
//! ```
//!
//! One begins sparse and becomes dense when a rank is too high for a run or `hll-sparse-max-bytes` would be passed; never
//! back. Foreign bytes are checked where they are read: the header always, runs as far as a command reads them.

mod debug;
mod dense;
mod registers;
mod rows;
mod sparse;
mod union;

#[cfg(test)]
pub(super) use registers::place;
pub use rows::COMMANDS;

use crate::command::{CommandError, CommandResult, Execution};
use crate::journal::EventClass;
use crate::keyspace::EntryMut;
use crate::values::{Collection, Form, INLINE_BYTES_MAX, NewCollection, Packed, Type};
use dense::DENSE_BYTES;
use registers::{Histogram, REGISTERS};
use smallvec::SmallVec;
use sparse::{Corrupt, Raised};

const HEADER_BYTES: usize = 16;
const ENCODING_AT: usize = 4;
const ESTIMATE_AT: usize = 8;
/// The byte with the bit that says that the estimate is out of date.
const STALE_AT: usize = HEADER_BYTES - 1;
const STALE: u8 = 0x80;

/// One without elements.
const EMPTY: [u8; HEADER_BYTES + sparse::EMPTY.len()] = {
    let [first, second] = sparse::EMPTY;
    [b'H', b'Y', b'L', b'L', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, first, second]
};

const NOT_ONE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Dense,
    Sparse,
}

impl Encoding {
    /// What the header says, if the bytes can be a HyperLogLog at all.
    fn of(bytes: &[u8]) -> Result<Self, CommandError> {
        match (bytes.get(ENCODING_AT), bytes.len()) {
            (Some(0), length) if length == HEADER_BYTES + DENSE_BYTES && bytes.starts_with(b"HYLL") => Ok(Self::Dense),
            (Some(1), HEADER_BYTES..) if bytes.starts_with(b"HYLL") => Ok(Self::Sparse),
            _ => Err(NOT_ONE.into()),
        }
    }
}

impl From<Corrupt> for CommandError {
    #[cold]
    fn from(_: Corrupt) -> Self {
        CORRUPT.into()
    }
}

/// A HyperLogLog as its readers see it.
#[derive(Clone, Copy)]
struct Sketch<'a> {
    encoding: Encoding,
    header: &'a [u8; HEADER_BYTES],
    body: &'a [u8],
}

impl<'a> Sketch<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let encoding = Encoding::of(bytes)?;
        let (header, body) = bytes.split_first_chunk().ok_or(Corrupt)?;
        Ok(Self { encoding, header, body })
    }

    /// The estimate that is kept, unless it is out of date.
    fn kept_estimate(&self) -> Option<i64> {
        let estimate = self.header.last_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        estimate.filter(|_| self.header[STALE_AT] & STALE == 0)
    }

    fn estimate(&self) -> Result<i64, Corrupt> {
        let histogram = match self.encoding {
            Encoding::Dense => dense::histogram(self.body),
            Encoding::Sparse => sparse::histogram(self.body)?,
        };
        Ok(histogram.estimate())
    }

    fn merge(&self, union: &mut [u8; REGISTERS]) -> Result<(), Corrupt> {
        match self.encoding {
            Encoding::Dense => dense::merge(self.body, union),
            Encoding::Sparse => sparse::merge(self.body, union)?,
        }
        Ok(())
    }

    /// The bytes of the same one with all registers.
    fn to_dense(self) -> Result<Vec<u8>, Corrupt> {
        let mut bytes = vec![0; HEADER_BYTES + DENSE_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(self.header);
        bytes[ENCODING_AT] = 0;
        let registers = &mut bytes[HEADER_BYTES..];
        sparse::visit(self.body, |first, run| {
            if run.rank > 0 {
                for index in first..first + run.length {
                    dense::raise(registers, index, run.rank);
                }
            }
        })?;
        Ok(bytes)
    }
}

/// Makes a sparse one dense, and does nothing to a dense one.
fn make_dense(target: &mut impl Collection) -> CommandResult {
    let sketch = Sketch::parse(target.bytes())?;
    if sketch.encoding == Encoding::Sparse {
        let bytes = sketch.to_dense()?;
        target.become_packed(&bytes, Form::RAW_STRING);
    }
    Ok(())
}

/// Sets a register to `rank` if that is more than it has; whether it was.
fn raise(
    target: &mut impl Collection,
    encoding: &mut Encoding,
    index: usize,
    rank: u8,
    sparse_bytes_max: usize,
) -> Result<bool, CommandError> {
    if *encoding == Encoding::Sparse {
        match sparse::raise(target, HEADER_BYTES, index, rank, sparse_bytes_max)? {
            Raised::No => return Ok(false),
            Raised::Yes => return Ok(true),
            Raised::TooLarge => {
                make_dense(target)?;
                *encoding = Encoding::Dense;
            }
        }
    }
    Ok(dense::raise(&mut target.bytes_mut()[HEADER_BYTES..], index, rank))
}

fn set_stale(target: &mut impl Packed) {
    if let Some(byte) = target.bytes_mut().get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

/// A short string that a client has set is called `raw` as soon as it is worked on as a HyperLogLog.
fn make_raw(entry: &mut EntryMut<'_>) {
    if entry.form() != Form::RAW_STRING && entry.bytes().len() <= INLINE_BYTES_MAX {
        let bytes: SmallVec<[u8; INLINE_BYTES_MAX]> = entry.bytes().into();
        entry.become_packed(&bytes, Form::RAW_STRING);
    }
}

/// Adds elements; how many of them changed anything.
fn add(target: &mut impl Collection, elements: &[&[u8]], sparse_bytes_max: usize) -> Result<u64, CommandError> {
    let sketch = Sketch::parse(target.bytes())?;
    let encoding = sketch.encoding;
    if encoding == Encoding::Sparse && elements.len() > 1 {
        // What is corrupt behind the registers that are changed is no error, as in the real server; but the second element
        // must not find out what the first has changed already.
        let is_corrupt = sparse::visit(sketch.body, |_, _| {}).is_err();
        if is_corrupt {
            let mut trial = NewCollection::packed(target.bytes(), Form::RAW_STRING);
            raise_all(&mut trial, Encoding::Sparse, elements, sparse_bytes_max)?;
        }
    }
    raise_all(target, encoding, elements, sparse_bytes_max)
}

fn raise_all(
    target: &mut impl Collection,
    mut encoding: Encoding,
    elements: &[&[u8]],
    sparse_bytes_max: usize,
) -> Result<u64, CommandError> {
    let mut changes = 0;
    for element in elements {
        let (index, rank) = registers::place(element);
        changes += u64::from(raise(target, &mut encoding, index, rank, sparse_bytes_max)?);
    }
    Ok(changes)
}

fn sparse_bytes_max(execution: &Execution<'_>) -> usize {
    usize::try_from(execution.options.encodings.hyperloglog_sparse_bytes_max).unwrap_or(usize::MAX)
}

/// `PFADD key [element ...]`
fn pfadd(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (elements, bytes_max) = (&arguments[2..], sparse_bytes_max(execution));
    let Execution { keyspace, database, now, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let changes = match keyspace.edit(*database, &key, Type::String, *now)? {
        Some(mut entry) => {
            let changes = add(&mut entry, elements, bytes_max)?;
            make_raw(&mut entry);
            if changes > 0 {
                set_stale(&mut entry);
            }
            changes
        }
        None => {
            let mut new = NewCollection::packed(&EMPTY, Form::RAW_STRING);
            let changes = add(&mut new, elements, bytes_max)?;
            set_stale(&mut new);
            keyspace.create(*database, &key, &mut new, *now);
            changes + 1
        }
    };
    if changes > 0 {
        keyspace.dirty += changes;
        execution.effect(arguments);
        execution.event(EventClass::String, "pfadd", arguments[1]);
    }
    execution.reply.integer(i64::from(changes > 0));
    Ok(())
}

/// Looks a HyperLogLog up as a read of the client; `None` if the key is absent.
fn read<R>(
    execution: &mut Execution<'_>,
    key: &[u8],
    look: impl FnOnce(Sketch<'_>) -> Result<R, CommandError>,
) -> Result<Option<R>, CommandError> {
    let access = execution.access();
    let key = execution.keyspace.key(key);
    let entry = execution.keyspace.find_typed(execution.database, &key, execution.now, access, Type::String)?;
    let string = entry.and_then(|entry| entry.string());
    string.map(|string| string.with_bytes(|bytes| look(Sketch::parse(bytes)?))).transpose()
}

/// `PFCOUNT key [key ...]`
fn pfcount(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let [_, key] = arguments else { return union::pfcount(execution, &arguments[1..]) };
    let found = read(execution, key, |sketch| {
        let kept = sketch.kept_estimate();
        Ok((kept.is_some(), kept.map_or_else(|| sketch.estimate(), Ok)?))
    })?;
    let (is_kept, estimate) = found.unwrap_or((true, 0));
    if !is_kept {
        keep_estimate(execution, key, estimate)?;
    }
    execution.reply.integer(estimate);
    Ok(())
}

/// Writes the estimate into the value: a change like any other.
fn keep_estimate(execution: &mut Execution<'_>, key: &[u8], estimate: i64) -> CommandResult {
    let Execution { keyspace, database, now, .. } = execution;
    let hashed = keyspace.key(key);
    if let Some(mut entry) = keyspace.edit(*database, &hashed, Type::String, *now)? {
        make_raw(&mut entry);
        if let Some(place) = entry.bytes_mut().get_mut(ESTIMATE_AT..HEADER_BYTES) {
            place.copy_from_slice(&estimate.to_le_bytes());
        }
        entry.changed(1);
        execution.effect(&[b"PFCOUNT", key]);
        execution.keyspace.journal.touch(execution.database, key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;
    use super::*;
    use crate::reply::Protocol;
    use proptest::prelude::*;

    fn get(shard: &mut Shard, key: &str) -> Vec<u8> {
        let reply = shard.execute(Protocol::Resp2, &[b"GET", key.as_bytes()]);
        let start = reply.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    #[test]
    fn bytes_behind_the_registers_that_change_are_nobody_s_concern() {
        let shard = &mut Shard::default();
        shard.check("PFADD k", ":1\r\n");
        shard.check("APPEND k 0", ":19\r\n");
        shard.check("PFADD k a b", ":1\r\n");
        shard.check("PFADD k a b", ":0\r\n");
        shard.check("PFCOUNT k", "-INVALIDOBJ Corrupted HLL object detected\r\n");
    }

    #[test]
    fn elements_are_counted() {
        let shard = &mut Shard::default();
        shard.check("PFADD k a b c d e f g", ":1\r\n");
        shard.check("PFADD k a g", ":0\r\n");
        shard.check("PFCOUNT k", ":7\r\n");
        shard.check("PFADD k", ":0\r\n");
        shard.check("PFADD empty", ":1\r\n");
        shard.check("PFADD empty", ":0\r\n");
        shard.check("PFCOUNT empty none", ":0\r\n");
        shard.check("PFADD other e f g h", ":1\r\n");
        shard.check("PFCOUNT k other none", ":8\r\n");
        shard.check("PFMERGE k other none", "+OK\r\n");
        shard.check("PFCOUNT k", ":8\r\n");
        shard.check("PFMERGE new", "+OK\r\n");
        shard.check("PFCOUNT new", ":0\r\n");
        shard.check("OBJECT ENCODING new", "$3\r\nraw\r\n");
        shard.check("PFDEBUG ENCODING k", "+sparse\r\n");
    }

    #[test]
    fn both_encodings_give_the_same_estimates() {
        let shard = &mut Shard::default();
        shard.options.encodings.hyperloglog_sparse_bytes_max = 20_000;
        for number in 0..3000 {
            let added = shard.run(&format!("PFADD sparse {number}"));
            shard.check(&format!("PFADD dense {number}"), &added);
            if number == 0 {
                shard.check("PFDEBUG TODENSE dense", ":1\r\n");
            }
            if number % 100 == 0 {
                let estimate = shard.run("PFCOUNT sparse");
                shard.check("PFCOUNT dense", &estimate);
                shard.check("PFCOUNT dense sparse", &estimate);
            }
        }
        shard.check("PFDEBUG ENCODING sparse", "+sparse\r\n");
        shard.check("PFMERGE union sparse", "+OK\r\n");
        assert_eq!(Sketch::parse(&get(shard, "union")).ok().map(|sketch| sketch.encoding), Some(Encoding::Sparse));
        shard.check("PFMERGE union dense", "+OK\r\n");
        assert_eq!(get(shard, "union")[HEADER_BYTES..], get(shard, "dense")[HEADER_BYTES..]);
        shard.check("PFDEBUG TODENSE sparse", ":1\r\n");
        assert_eq!(get(shard, "sparse")[HEADER_BYTES..], get(shard, "dense")[HEADER_BYTES..]);
    }

    #[test]
    fn the_limit_of_the_sparse_encoding_is_kept() {
        let shard = &mut Shard::default();
        shard.options.encodings.hyperloglog_sparse_bytes_max = 100;
        let mut longest = 0;
        for number in 0..100 {
            shard.run(&format!("PFADD k {number}"));
            let length = get(shard, "k").len();
            longest = longest.max(if length < 12_000 { length } else { 0 });
        }
        assert!((95..=100).contains(&longest), "{longest}");
        shard.check("STRLEN k", ":12304\r\n");
    }

    #[test]
    fn changes_are_reported_as_the_real_server_does() {
        let shard = &mut Shard::default();
        shard.keyspace.journal.listen(true, &[EventClass::String]);
        let dirty = shard.keyspace.dirty;
        for line in ["PFADD k a b", "PFADD k a", "PFCOUNT k", "PFCOUNT k", "PFCOUNT k k", "PFMERGE k k", "PFCOUNT k"] {
            shard.run(line);
        }
        let (effects, events) = shard.keyspace.journal.take();
        let effects: Vec<_> = effects.iter().map(|effect| effect.arguments.join(&b' ')).collect();
        assert_eq!(effects, [&b"PFADD k a b"[..], b"PFCOUNT k", b"PFMERGE k k", b"PFCOUNT k"]);
        assert_eq!(events.iter().map(|event| event.name).collect::<Vec<_>>(), ["pfadd", "pfadd"]);
        assert_eq!(shard.keyspace.dirty - dirty, 6);
    }

    /// Bytes that look like a HyperLogLog from afar.
    fn foreign() -> impl Strategy<Value = Vec<u8>> {
        let body = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            Just(vec![0x7f, 0xff]),
            Just(vec![0x7f, 0xff, 0x7f, 0xff]),
            Just(vec![0xff; DENSE_BYTES]),
            Just(vec![0x7f]),
            proptest::collection::vec(any::<u8>(), DENSE_BYTES..DENSE_BYTES + 2),
        ];
        (0u8..3, any::<[u8; 8]>(), body)
            .prop_map(|(encoding, estimate, body)| [&b"HYLL"[..], &[encoding, 0, 0, 0], &estimate, &body].concat())
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(a in foreign(), b in foreign(), cut in 0..30usize) {
            let shard = &mut Shard::default();
            shard.execute(Protocol::Resp2, &[b"SET", b"a", &a]);
            shard.execute(Protocol::Resp2, &[b"SET", b"b", &b]);
            shard.execute(Protocol::Resp2, &[b"SET", b"cut", &a[..cut.min(a.len())]]);
            for line in [
                "PFCOUNT a", "PFCOUNT cut", "PFCOUNT a b", "PFADD a x", "PFADD a x y z", "PFADD cut x", "PFMERGE c a",
                "PFMERGE a b", "PFDEBUG DECODE a", "PFDEBUG ENCODING cut", "PFDEBUG GETREG b", "PFDEBUG TODENSE a",
                "PFADD a 1 2 3 4 5 6 7 8 9", "PFCOUNT a b cut",
            ] {
                shard.run(line);
            }
        }
    }
}
