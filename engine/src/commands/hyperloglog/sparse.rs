//! Registers as runs, for as long as most of them are empty.
//!
//! ```text
//!   00llllll            ZERO    l + 1 empty registers, up to 64
//!   01llllll llllllll   XZERO   l + 1 empty registers, up to 16,384
//!   1vvvvvll            VAL     l + 1 registers of rank v + 1, up to 4 of rank up to 32
//! ```
//!
//! A change replaces one run by up to three and then joins neighbours, looking only a few runs far, exactly as the real
//! server does: the bytes depend on it. Runs come from foreign bytes, too: they are [`Corrupt`] if one is cut off or if
//! they are not of just as many registers as there are.

use super::registers::{Histogram, REGISTERS};
use crate::values::Packed;
use smallvec::SmallVec;

const EXTENDED: u8 = 0x40;
const VALUE: u8 = 0x80;
const ZERO_LENGTH_MAX: usize = 64;
const VALUE_LENGTH_MAX: usize = 4;
const RANK_MAX: u8 = 32;

/// How many runs are looked at to join neighbours, from the one before the change on.
const JOIN_STEPS: usize = 5;
/// At least as many bytes as those runs have behind the change.
const JOIN_BYTES: usize = 2 * JOIN_STEPS + 2;

/// The runs of an empty one.
pub(super) const EMPTY: [u8; 2] = [EXTENDED | ((REGISTERS - 1) >> 8) as u8, ((REGISTERS - 1) & 0xff) as u8];

/// The bytes are no sparse registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// Some registers in a row of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// 0: empty.
    pub(super) rank: u8,
    /// Number of registers.
    pub(super) length: usize,
    /// Number of bytes that it is written in.
    pub(super) bytes: usize,
}

impl Run {
    /// Reads the run at the beginning of some bytes.
    fn read(bytes: &[u8]) -> Result<Self, Corrupt> {
        match *bytes {
            [first, ..] if first & VALUE != 0 => {
                Ok(Self { rank: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1, bytes: 1 })
            }
            [first, ..] if first & EXTENDED == 0 => Ok(Self { rank: 0, length: usize::from(first) + 1, bytes: 1 }),
            [first, second, ..] => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(second);
                Ok(Self { rank: 0, length: length + 1, bytes: 2 })
            }
            _ => Err(Corrupt),
        }
    }

    /// Whether it has registers, and a second byte for their number.
    pub(super) fn is_extended(self) -> bool {
        self.bytes == 2
    }
}

/// Writes `length` registers of a rank, none or as many as one run may have.
fn push(out: &mut SmallVec<[u8; 24]>, rank: u8, length: usize) {
    match (rank, length) {
        (_, 0) => {}
        (0, 1..=ZERO_LENGTH_MAX) => out.push((length - 1) as u8),
        (0, _) => out.extend_from_slice(&[EXTENDED | ((length - 1) >> 8) as u8, ((length - 1) & 0xff) as u8]),
        _ => out.push(VALUE | (rank - 1) << 2 | (length - 1) as u8),
    }
}

/// The runs in order, up to one that is cut off.
pub(super) fn runs(mut bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    std::iter::from_fn(move || {
        let run = (!bytes.is_empty()).then(|| Run::read(bytes))?;
        bytes = run.map_or(&[][..], |run| &bytes[run.bytes..]);
        Some(run)
    })
}

/// Calls `visit` with the first register of each run and the run; finds out whether they are well formed.
pub(super) fn visit(bytes: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut first = 0;
    for run in runs(bytes) {
        let run = run?;
        if first + run.length > REGISTERS {
            return Err(Corrupt);
        }
        visit(first, run);
        first += run.length;
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Raises each of `union` to the rank here. It may have been changed when they are found corrupt.
pub(super) fn merge(bytes: &[u8], union: &mut [u8; REGISTERS]) -> Result<(), Corrupt> {
    visit(bytes, |first, run| {
        if run.rank > 0 {
            union[first..first + run.length].iter_mut().for_each(|highest| *highest = run.rank.max(*highest));
        }
    })
}

pub(super) fn histogram(bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let mut histogram = Histogram::new();
    visit(bytes, |_, run| histogram.add(run.rank, run.length))?;
    Ok(histogram)
}

/// What came of raising a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// It has this rank or a higher one.
    No,
    /// Done.
    Yes,
    /// The rank cannot be written here, or there would be too many bytes: nothing was changed.
    TooLarge,
}

/// Where a register's run is.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    at: usize,
    /// Where the run before it is.
    before: Option<usize>,
    /// Its first register.
    first: usize,
    run: Run,
}

/// The run of a register. Those behind it are not looked at.
fn find(runs: &[u8], index: usize) -> Result<Found, Corrupt> {
    find_from(runs, skip(runs, index), index)
}

/// The same, one run after the other from a place and its first register on.
fn find_from(runs: &[u8], (mut at, mut first): (usize, usize), index: usize) -> Result<Found, Corrupt> {
    let mut before = None;
    loop {
        let run = Run::read(&runs[at..])?;
        if index < first + run.length {
            return if first + run.length > REGISTERS { Err(Corrupt) } else { Ok(Found { at, before, first, run }) };
        }
        before = Some(at);
        at += run.bytes;
        first += run.length;
    }
}

/// A place from which on the run of a register is to be looked for, and the first register there: the very beginning, or at
/// least one run in front of the one that is looked for.
///
/// Which runs have a second byte is as good as random, so a processor that takes one run after the other guesses wrong at each
/// few. Eight bytes are counted without a guess.
fn skip(runs: &[u8], index: usize) -> (usize, usize) {
    let (mut older, mut newer) = ((0, 0), (0, 0));
    let (mut at, mut first, mut is_amid) = (0, 0, false);
    for word in runs.as_chunks::<{ size_of::<u64>() }>().0 {
        if !is_amid {
            (older, newer) = (newer, (at, first));
        }
        let Some(counted) = Counted::of(u64::from_le_bytes(*word), is_amid) else { break };
        if index < first + counted.registers {
            break;
        }
        at += size_of::<u64>();
        first += counted.registers;
        is_amid = counted.ends_amid;
    }
    older
}

/// Eight bytes of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    /// Registers that they stand for; what a second byte stands for is counted with that byte.
    registers: usize,
    /// Whether the last one has a second byte, which is not among them.
    ends_amid: bool,
}

impl Counted {
    /// Counts them, each in its lane; `begins_amid` if the first is a second byte. None if three in a row look as if each had a
    /// second byte, which only foreign ones do: then it takes one after the other to tell.
    fn of(word: u64, begins_amid: bool) -> Option<Self> {
        const LOWEST: u64 = 0x0101_0101_0101_0101;
        /// All bits of the lanes whose lowest one is set.
        fn filled(lowest: u64) -> u64 {
            lowest * 0xff
        }
        /// The sum of all lanes.
        fn sum(lanes: u64) -> u64 {
            const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
            (((lanes & EVEN) + (lanes >> 8 & EVEN)).wrapping_mul(0x0001_0001_0001_0001)) >> 48
        }
        let values = word >> 7 & LOWEST;
        let looks_extended = word >> 6 & LOWEST & !values & !u64::from(begins_amid);
        if looks_extended & looks_extended << 8 & looks_extended << 16 != 0 {
            return None;
        }
        let extended = looks_extended & !(looks_extended << 8);
        let second = extended << 8 | u64::from(begins_amid);
        let zeros = LOWEST & !(values | second | extended);
        let in_low = word & filled(second);
        let in_short = word & (filled(values & !second) & (0x03 * LOWEST) | filled(zeros) & (0x3f * LOWEST));
        let in_high = word & filled(extended) & (0x3f * LOWEST);
        let begun = sum(LOWEST & !second);
        let registers = begun + sum(in_low | in_short) + (sum(in_high) << 8);
        Some(Self { registers: registers as usize, ends_amid: extended >> 56 != 0 })
    }
}

/// Sets a register to `rank` if that is more than it has. The runs stand behind the first `header` bytes of `target`,
/// which is to have no more than `bytes_max` bytes in all.
pub(super) fn raise(
    target: &mut impl Packed,
    header: usize,
    index: usize,
    rank: u8,
    bytes_max: usize,
) -> Result<Raised, Corrupt> {
    if rank > RANK_MAX {
        return Ok(Raised::TooLarge);
    }
    let all = target.bytes();
    let bytes = &all[header..];
    let Found { at, before, first, run } = find(bytes, index)?;
    if run.rank >= rank {
        return Ok(Raised::No);
    }
    // The run before, the run split in up to three, and as many bytes behind them as joining may look at.
    let start = before.unwrap_or(at);
    let behind = at + run.bytes;
    let end = bytes.len().min(behind + JOIN_BYTES);
    let mut window: SmallVec<[u8; 24]> = SmallVec::from_slice(&bytes[start..at]);
    push(&mut window, run.rank, index - first);
    push(&mut window, rank, 1);
    push(&mut window, run.rank, first + run.length - 1 - index);
    let growth = (window.len() - (at - start)).saturating_sub(run.bytes);
    if growth > 0 && all.len() + growth > bytes_max {
        return Ok(Raised::TooLarge);
    }
    window.extend_from_slice(&bytes[behind..end]);
    join(&mut window);
    if window.len() == end - start {
        target.bytes_mut()[header + start..header + end].copy_from_slice(&window);
    } else {
        target.splice(header + start..header + end, &[&window]);
    }
    Ok(Raised::Yes)
}

/// Makes one run of neighbours with the same rank, at the beginning of these runs.
fn join(runs: &mut SmallVec<[u8; 24]>) {
    let mut at = 0;
    for _ in 0..JOIN_STEPS {
        let Some(Ok(run)) = runs.get(at..).filter(|rest| !rest.is_empty()).map(Run::read) else { return };
        let next = runs.get(at + run.bytes..).filter(|rest| !rest.is_empty()).map(Run::read);
        match next {
            Some(Ok(next)) if run.rank > 0 && next.rank == run.rank && run.length + next.length <= VALUE_LENGTH_MAX => {
                runs[at + 1] = VALUE | (run.rank - 1) << 2 | (run.length + next.length - 1) as u8;
                runs.remove(at);
            }
            _ => at += run.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Form, NewCollection};
    use proptest::prelude::*;

    fn ranks(bytes: &[u8]) -> Vec<u8> {
        let mut union = Box::new([0; REGISTERS]);
        merge(bytes, &mut union).expect("well formed");
        union.to_vec()
    }

    #[test]
    fn runs_keep_what_a_list_of_ranks_keeps() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut target = NewCollection::packed(&EMPTY, Form::RAW_STRING);
            let mut model = vec![0; REGISTERS];
            // Near each other, so that runs split and join.
            let range = if seed % 2 == 0 { REGISTERS } else { 300 };
            for _ in 0..600 {
                let (index, rank) = (REGISTERS - 1 - random.usize(..range), random.u8(1..6));
                let expected = if rank > model[index] { Raised::Yes } else { Raised::No };
                assert_eq!(raise(&mut target, 0, index, rank, 5000), Ok(expected));
                model[index] = rank.max(model[index]);
            }
            assert_eq!(ranks(target.bytes()), model);
        }
    }

    #[test]
    fn what_is_too_large_changes_nothing() {
        let mut target = NewCollection::packed(&EMPTY, Form::RAW_STRING);
        assert_eq!(raise(&mut target, 0, 5, 33, 5000), Ok(Raised::TooLarge));
        assert_eq!(raise(&mut target, 0, 5, 32, 3), Ok(Raised::TooLarge));
        assert_eq!(target.bytes(), EMPTY);
        assert_eq!(raise(&mut target, 0, 5, 32, 4), Ok(Raised::Yes));
        assert_eq!(target.bytes(), [4, 0xfc, EXTENDED | 0x3f, 0xf9]);
    }

    /// Each register's run is found where one run after the other leads to.
    fn finds_as_a_walk_does(runs: &[u8]) -> Result<(), TestCaseError> {
        for index in 0..REGISTERS {
            prop_assert_eq!(find(runs, index), find_from(runs, (0, 0), index), "register {}", index);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn registers_are_found_among_ours(
            raised in proptest::collection::vec((0..REGISTERS, 1u8..6), 0..300), range_log in 8u32..=14,
        ) {
            let mut target = NewCollection::packed(&EMPTY, Form::RAW_STRING);
            for (index, rank) in raised {
                let _ = raise(&mut target, 0, index & ((1 << range_log) - 1), rank, 5000);
            }
            finds_as_a_walk_does(target.bytes())?;
        }

        #[test]
        fn registers_are_found_among_foreign_bytes(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x40u8..0x44, 0x80u8..], 0..100),
        ) {
            finds_as_a_walk_does(&bytes)?;
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), index in 0..REGISTERS, rank in 0u8..64,
        ) {
            let mut target = NewCollection::packed(&bytes, Form::RAW_STRING);
            let was_whole = visit(&bytes, |_, _| {}).is_ok();
            let result = raise(&mut target, 0, index, rank, 5000);
            prop_assert!(!was_whole || result.is_ok());
            prop_assert!(result == Ok(Raised::Yes) || target.bytes() == bytes);
            let _ = histogram(&bytes);
        }
    }
}
