//! The union of several: PFCOUNT of many keys, PFMERGE. Many are worked off in slices.
//!
//! 1. All keys are looked up, and their values frozen: the command's one instant.
//! 2. Register by register the highest rank of all is found. Runs that are corrupt are found on the way.
//! 3. PFCOUNT estimates from that. PFMERGE raises the registers of a copy of the destination, which then takes its place: the
//!    destination is locked until then.

use super::sparse::Corrupt;
use super::{
    CORRUPT, EMPTY, Encoding, Histogram, NOT_ONE, REGISTERS, Sketch, make_dense, raise, set_stale, sparse_bytes_max,
};
use crate::command::{CommandResult, Execution};
use crate::commands::errors::WRONG_TYPE;
use crate::journal::EventClass;
use crate::keyspace::{Value, WrongType};
use crate::long::{Locked, LongWork, Step};
use crate::values::{Collection, Form, NewCollection, Packed, Type};

/// Bytes of a value that are merged in about the time of a unit.
const UNIT_BYTES: u64 = 64;
/// Registers that are raised in about the time of a unit, where there are bytes for all: and runs are looked through for
/// each.
const UNIT_REGISTERS: usize = 4;

/// The highest ranks of some values.
struct Union {
    values: Vec<Value>,
    /// How many of them have been merged.
    merged: usize,
    /// What is the matter with the key behind them.
    failure: Option<&'static str>,
    registers: Box<[u8; REGISTERS]>,
    any_dense: bool,
}

/// The bytes of a string.
fn with_bytes<R>(value: &Value, act: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Value::String(string) => string.as_ref().with_bytes(act),
        _ => act(&[]),
    }
}

impl Union {
    /// Looks keys up as reads of the client, up to one that is wrong.
    fn new(execution: &mut Execution<'_>, keys: &[&[u8]]) -> Self {
        let access = execution.access();
        let (mut values, mut failure) = (Vec::new(), None);
        for key in keys {
            let key = execution.keyspace.key(key);
            let found = execution.keyspace.find_typed(execution.database, &key, execution.now, access, Type::String);
            let value = match found {
                Ok(None) => continue,
                Ok(Some(entry)) => entry.to_owned().value,
                Err(WrongType) => {
                    failure = Some(WRONG_TYPE);
                    break;
                }
            };
            if with_bytes(&value, |bytes| Encoding::of(bytes).is_err()) {
                failure = Some(NOT_ONE);
                break;
            }
            values.push(value);
        }
        Self { values, merged: 0, failure, registers: Box::new([0; REGISTERS]), any_dense: false }
    }

    fn units(value: &Value) -> u64 {
        with_bytes(value, |bytes| 1 + bytes.len() as u64 / UNIT_BYTES)
    }

    /// Merges about so many units' worth of values; whether those were the last.
    fn merge(&mut self, budget: u64) -> Result<bool, &'static str> {
        let mut left = budget;
        while left > 0
            && let Some(value) = self.values.get(self.merged)
        {
            left = left.saturating_sub(Self::units(value));
            let (registers, any_dense) = (&mut self.registers, &mut self.any_dense);
            with_bytes(value, |bytes| {
                let sketch = Sketch::parse(bytes).map_err(|_| Corrupt)?;
                *any_dense |= sketch.encoding == Encoding::Dense;
                sketch.merge(registers)
            })
            .map_err(|Corrupt| CORRUPT)?;
            self.merged += 1;
        }
        match self.failure {
            _ if self.merged < self.values.len() => Ok(false),
            Some(failure) => Err(failure),
            None => Ok(true),
        }
    }
}

/// PFCOUNT of several keys.
struct Count(Union);

impl LongWork for Count {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match self.0.merge(budget) {
            Err(failure) => return Step::Failed(failure),
            Ok(false) => return Step::More,
            Ok(true) => {}
        }
        let mut histogram = Histogram::new();
        self.0.registers.iter().for_each(|rank| histogram.add(*rank, 1));
        execution.reply.integer(histogram.estimate());
        Step::Done
    }

    fn only_reads(&self) -> bool {
        true
    }
}

/// PFMERGE.
struct Merge {
    key: Locked,
    /// The command, where it is done at once and so is an effect. Done later it is told by what it came to: its sources may
    /// have changed by then.
    effect: Option<Vec<Vec<u8>>>,
    union: Union,
    /// The destination as it was.
    old: Option<Value>,
    raising: Option<Raising>,
}

/// The copy of the destination.
struct Raising {
    target: NewCollection,
    encoding: Encoding,
    /// The register that comes next.
    next: usize,
}

impl Merge {
    /// The copy of the destination: made beside it, since each register may move the runs behind it.
    fn begin_to_raise(&self) -> Result<Raising, &'static str> {
        let mut target = match &self.old {
            Some(old) => with_bytes(old, |bytes| NewCollection::packed(bytes, Form::RAW_STRING)),
            None => NewCollection::packed(&EMPTY, Form::RAW_STRING),
        };
        if self.union.any_dense {
            make_dense(&mut target).map_err(|_| CORRUPT)?;
        }
        let encoding = Encoding::of(target.bytes()).map_err(|_| NOT_ONE)?;
        Ok(Raising { target, encoding, next: 0 })
    }

    /// Raises about so many units' worth of registers; whether those were the last.
    fn raise(&mut self, raising: &mut Raising, budget: u64, bytes_max: usize) -> Result<bool, &'static str> {
        let mut left = budget;
        while left > 0 && raising.next < REGISTERS {
            let is_sparse = raising.encoding == Encoding::Sparse;
            let until = REGISTERS.min(raising.next + UNIT_REGISTERS);
            for index in raising.next..until {
                let rank = self.union.registers[index];
                if rank > 0 {
                    raise(&mut raising.target, &mut raising.encoding, index, rank, bytes_max).map_err(|_| CORRUPT)?;
                    // Up to it runs have been looked through.
                    let passed = if is_sparse { raising.target.bytes().len() as u64 / UNIT_BYTES } else { 0 };
                    left = left.saturating_sub(passed);
                }
            }
            raising.next = until;
            left = left.saturating_sub(1);
        }
        Ok(raising.next == REGISTERS)
    }

    fn commit(&mut self, execution: &mut Execution<'_>, mut merged: NewCollection) -> Step {
        set_stale(&mut merged);
        execution.reply.ok();
        if !self.key.enter(execution) {
            return Step::Done;
        }
        let key = execution.keyspace.key(self.key.name());
        let Execution { keyspace, database, now, .. } = &mut *execution;
        match keyspace.edit(*database, &key, Type::String, *now) {
            Ok(Some(mut entry)) => entry.become_packed(merged.bytes(), Form::RAW_STRING),
            _ => keyspace.create(*database, &key, &mut merged, *now),
        }
        keyspace.dirty += 1;
        match self.effect.take() {
            Some(effect) => execution.keyspace.journal.effect_owned(execution.database, effect),
            None => execution.effect(&[b"SET", self.key.name(), merged.bytes(), b"KEEPTTL"]),
        }
        execution.event(EventClass::String, "pfadd", self.key.name());
        Step::Done
    }
}

impl LongWork for Merge {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let mut raising = match self.raising.take() {
            Some(raising) => raising,
            None => match self.union.merge(budget) {
                Err(failure) => return Step::Failed(failure),
                Ok(false) => return Step::More,
                Ok(true) => match self.begin_to_raise() {
                    Ok(raising) => raising,
                    Err(failure) => return Step::Failed(failure),
                },
            },
        };
        match self.raise(&mut raising, budget, sparse_bytes_max(execution)) {
            Err(failure) => Step::Failed(failure),
            Ok(true) => self.commit(execution, raising.target),
            Ok(false) => {
                self.raising = Some(raising);
                Step::More
            }
        }
    }
}

/// Does it at once if it is little to do.
fn run(execution: &mut Execution<'_>, work: impl LongWork + 'static, units: u64) -> CommandResult {
    if execution.options.is_long(units, 0) {
        execution.later.put(work);
        return Ok(());
    }
    let mut work = work;
    loop {
        match work.step(execution, u64::MAX) {
            Step::More => {}
            Step::Done => return Ok(()),
            Step::Failed(text) => return Err(text.into()),
        }
    }
}

/// `PFCOUNT key key [key ...]`
pub(super) fn pfcount(execution: &mut Execution<'_>, keys: &[&[u8]]) -> CommandResult {
    let union = Union::new(execution, keys);
    let units = union.values.iter().map(Union::units).sum();
    run(execution, Count(union), units)
}

/// `PFMERGE destination [key ...]`
pub(super) fn pfmerge(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let union = Union::new(execution, &arguments[1..]);
    let is_dense = |value: &Value| with_bytes(value, |bytes| Encoding::of(bytes) == Ok(Encoding::Dense));
    let mut units = union.values.iter().map(Union::units).sum();
    if !union.values.iter().any(is_dense) {
        // Runs are looked through for each register that is raised, and each is of about three bytes.
        let bytes: u64 = union.values.iter().map(|value| with_bytes(value, |bytes| bytes.len() as u64)).sum();
        units += bytes.saturating_mul(bytes) / 256;
    }
    let key = execution.keyspace.key(arguments[1]);
    let old = execution.keyspace.peek(execution.database, &key, execution.now);
    let is_effect = !execution.options.is_long(units, 0);
    let work = Merge {
        key: Locked::new(execution, arguments[1]),
        effect: is_effect.then(|| arguments.iter().map(|argument| argument.to_vec()).collect()),
        old: old.map(|entry| entry.to_owned().value),
        union,
        raising: None,
    };
    run(execution, work, units)
}
