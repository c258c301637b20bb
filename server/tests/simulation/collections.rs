//! Commands on collections that may be worked off in slices, and what a server without shards would answer to them.
//!
//! The model keeps a collection as the items in it: elements of a list, members of a set, what a HyperLogLog was told of,
//! entries of a stream behind the last ID that it gave. Each kind has keys of its own, so no type is ever wrong.

use super::client::Dice;
use super::command::{Expected, Key, Reply, Value};
use std::collections::BTreeSet;

/// How many keys there are of each kind, in this order: lists, sets, HyperLogLogs, streams.
const LISTS: Key = 2;
const SETS: Key = 2;
const SKETCHES: Key = 3;
const STREAMS: Key = 2;
/// Of all kinds.
pub const KEYS: Key = LISTS + SETS + SKETCHES + STREAMS;

/// Elements of HyperLogLogs: few enough that their registers differ, so that estimates are exact.
const ELEMENTS: u8 = 12;

/// A command on collections; the first key is the one that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    Push(Key, Vec<Value>),
    Elements(Key),
    Trim(Key, i64, i64),
    RemoveEqual(Key, i64, Value),
    InsertBefore(Key, Value, Value),
    Pop(Key, usize),
    Add(Key, Vec<Value>),
    Members(Key),
    /// SPOP: what it takes is known from its reply alone, so nobody sends it who may not get it.
    PopAny(Key, usize),
    Tell(Key, u8),
    Estimate(Vec<Key>),
    Merge(Vec<Key>),
    Append(Key, u64),
    Entries(Key),
    TrimEntries(Key, usize),
}

/// What a key holds from now on: as before, nothing, or these items.
pub type New = Option<Option<Vec<Value>>>;

impl Collection {
    /// A random one; the keys begin at `first`.
    pub fn random(dice: &mut Dice, first: Key, pops: bool) -> Self {
        let list = first + dice.random.u16(..LISTS);
        let set = first + LISTS + dice.random.u16(..SETS);
        let mut sketch = || first + LISTS + SETS + dice.random.u16(..SKETCHES);
        let sketches = [sketch(), sketch(), sketch()];
        let stream = first + LISTS + SETS + SKETCHES + dice.random.u16(..STREAMS);
        match dice.random.u8(..20) {
            0..3 => Self::Push(list, (0..dice.random.usize(1..12)).map(|_| element(dice)).collect()),
            3..5 => Self::Elements(list),
            5 => Self::Trim(list, dice.random.i64(-12..6), dice.random.i64(-6..12)),
            6 => Self::RemoveEqual(list, dice.random.i64(-3..3), element(dice)),
            7 => Self::InsertBefore(list, element(dice), element(dice)),
            8 => Self::Pop(list, dice.random.usize(1..8)),
            9..11 => Self::Add(set, (0..dice.random.usize(1..12)).map(|_| dice.suffix()).collect()),
            11 => Self::Members(set),
            12 if pops => Self::PopAny(set, dice.random.usize(1..12)),
            12 => Self::Members(set),
            13..15 => Self::Tell(sketches[0], dice.random.u8(..ELEMENTS)),
            15 => Self::Estimate(sketches[..dice.random.usize(2..=3)].to_vec()),
            16 => Self::Merge(sketches[..dice.random.usize(1..=3)].to_vec()),
            17 => Self::Append(stream, dice.number()),
            18 => Self::Entries(stream),
            _ => Self::TrimEntries(stream, dice.random.usize(..6)),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Push(key, _)
            | Self::Elements(key)
            | Self::Trim(key, ..)
            | Self::RemoveEqual(key, ..)
            | Self::InsertBefore(key, ..)
            | Self::Pop(key, _)
            | Self::Add(key, _)
            | Self::Members(key)
            | Self::PopAny(key, _)
            | Self::Tell(key, _)
            | Self::Append(key, _)
            | Self::Entries(key)
            | Self::TrimEntries(key, _) => vec![*key],
            Self::Estimate(keys) | Self::Merge(keys) => keys.clone(),
        }
    }

    /// Whether it may change something.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Elements(_) | Self::Members(_) | Self::Estimate(_) | Self::Entries(_))
    }

    /// Whether, having answered this, it has changed nothing.
    pub fn had_no_effect(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::RemoveEqual(..) | Self::Add(..) | Self::TrimEntries(..), Reply::Integer(0)) => true,
            (Self::InsertBefore(..), Reply::Integer(..=0)) => true,
            (Self::Pop(..) | Self::PopAny(..), Reply::Array(elements)) => elements.is_empty(),
            // A new key, or an element: nobody sees which.
            (Self::Tell(..), Reply::Integer(number)) => *number == 0,
            _ => !self.is_write(),
        }
    }

    /// Name and arguments.
    pub fn words(&self, name: impl Fn(Key) -> Vec<u8>) -> Vec<Vec<u8>> {
        let text = |number: i64| number.to_string().into_bytes();
        let of = |verb: &str, key: &Key| vec![verb.into(), name(*key)];
        let with = |verb: &str, key: &Key, more: &[Vec<u8>]| [&of(verb, key)[..], more].concat();
        let values = |values: &[Value]| values.iter().map(|value| value.to_vec()).collect::<Vec<_>>();
        let all = |verb: &str, keys: &[Key]| {
            let names = keys.iter().map(|key| name(*key));
            std::iter::once(verb.into()).chain(names).collect::<Vec<Vec<u8>>>()
        };
        match self {
            Self::Push(key, elements) => with("RPUSH", key, &values(elements)),
            Self::Elements(key) => with("LRANGE", key, &[text(0), text(-1)]),
            Self::Trim(key, first, last) => with("LTRIM", key, &[text(*first), text(*last)]),
            Self::RemoveEqual(key, count, element) => with("LREM", key, &[text(*count), element.to_vec()]),
            Self::InsertBefore(key, pivot, element) => {
                with("LINSERT", key, &["BEFORE".into(), pivot.to_vec(), element.to_vec()])
            }
            Self::Pop(key, count) => with("LPOP", key, &[text(*count as i64)]),
            Self::Add(key, members) => with("SADD", key, &values(members)),
            Self::Members(key) => of("SMEMBERS", key),
            Self::PopAny(key, count) => with("SPOP", key, &[text(*count as i64)]),
            Self::Tell(key, element) => with("PFADD", key, &[format!("e{element}").into()]),
            Self::Estimate(keys) => all("PFCOUNT", keys),
            Self::Merge(keys) => all("PFMERGE", keys),
            Self::Append(key, id) => with("XADD", key, &[format!("{id}-1").into(), "f".into(), "v".into()]),
            Self::Entries(key) => with("XRANGE", key, &["-".into(), "+".into()]),
            Self::TrimEntries(key, length) => with("XTRIM", key, &["MAXLEN".into(), text(*length as i64)]),
        }
    }

    /// What is allowed as a reply, by what its keys hold, and what the first key holds then.
    pub fn apply(&self, held: &[Option<Vec<Value>>]) -> (Expected, New) {
        let old = held[0].as_deref().unwrap_or_default();
        let (reply, new) = match self {
            Self::PopAny(_, count) => return (Expected::Some(*count, old.iter().cloned().collect()), None),
            Self::Members(_) => return (Expected::Names(old.iter().cloned().collect()), None),
            Self::Tell(..) | Self::Estimate(_) | Self::Merge(_) => self.apply_to_sketches(held),
            Self::Append(..) | Self::Entries(_) | Self::TrimEntries(..) => self.apply_to_stream(held[0].as_deref()),
            Self::Add(_, members) => {
                let new: BTreeSet<Value> = old.iter().chain(members).cloned().collect();
                (Reply::Integer((new.len() - old.len()) as i64), Some(Some(new.into_iter().collect())))
            }
            _ => self.apply_to_list(held[0].is_some(), old.to_vec()),
        };
        (Expected::Reply(reply), new)
    }

    fn apply_to_list(&self, exists: bool, mut list: Vec<Value>) -> (Reply, New) {
        let length = list.len() as i64;
        let reply = match self {
            Self::Push(_, elements) => {
                list.extend_from_slice(elements);
                Reply::Integer(list.len() as i64)
            }
            Self::Trim(_, first, last) => {
                let place = |index: i64| if index < 0 { index + length } else { index };
                let (first, end) = (place(*first).max(0), (place(*last) + 1).clamp(0, length));
                list = list.get(first as usize..end as usize).unwrap_or_default().to_vec();
                Reply::ok()
            }
            Self::RemoveEqual(_, count, wanted) => {
                let mut left = if *count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
                if *count < 0 {
                    list.reverse();
                }
                list.retain(|element| {
                    let goes = element == wanted && left > 0;
                    left -= usize::from(goes);
                    !goes
                });
                if *count < 0 {
                    list.reverse();
                }
                Reply::Integer(length - list.len() as i64)
            }
            Self::InsertBefore(_, pivot, element) => match list.iter().position(|other| other == pivot) {
                Some(place) => {
                    list.insert(place, element.clone());
                    Reply::Integer(list.len() as i64)
                }
                None => Reply::Integer(if exists { -1 } else { 0 }),
            },
            Self::Pop(_, count) => {
                let rest = list.split_off(list.len().min(*count));
                Reply::Array(std::mem::replace(&mut list, rest).into_iter().map(Reply::Bulk).collect())
            }
            _ => return (Reply::Array(list.into_iter().map(Reply::Bulk).collect()), None),
        };
        (reply, Some((!list.is_empty()).then_some(list)))
    }

    fn apply_to_sketches(&self, held: &[Option<Vec<Value>>]) -> (Reply, New) {
        let mut union: BTreeSet<Value> = held.iter().flatten().flatten().cloned().collect();
        match self {
            Self::Estimate(_) => (Reply::Integer(union.len() as i64), None),
            Self::Merge(_) => (Reply::ok(), Some(Some(union.into_iter().collect()))),
            Self::Tell(_, element) => {
                let is_new = union.insert(format!("e{element}").into_bytes().into()) || held[0].is_none();
                (Reply::Integer(i64::from(is_new)), Some(Some(union.into_iter().collect())))
            }
            _ => unreachable!("not about HyperLogLogs"),
        }
    }

    /// Of a stream the last ID is kept in front, then the IDs of the entries.
    fn apply_to_stream(&self, held: Option<&[Value]>) -> (Reply, New) {
        let number =
            |text: &Value| std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let text = |id: u64| Value::from(id.to_string().into_bytes());
        let mut numbers: Vec<u64> = held.unwrap_or_default().iter().map(number).collect();
        let mut ids = if numbers.is_empty() { Vec::new() } else { numbers.split_off(1) };
        let last = numbers.first().copied().unwrap_or(0);
        let told = |id: u64| Reply::Bulk(format!("{id}-1").into_bytes().into());
        match self {
            Self::Entries(_) => {
                let fields = || Reply::Array(vec![Reply::Bulk(b"f"[..].into()), Reply::Bulk(b"v"[..].into())]);
                let entries = ids.iter().map(|id| Reply::Array(vec![told(*id), fields()]));
                (Reply::Array(entries.collect()), None)
            }
            Self::Append(_, id) if *id <= last => {
                let error = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
                (Reply::Error(error.into()), None)
            }
            Self::Append(_, id) => {
                ids.push(*id);
                let new = std::iter::once(*id).chain(ids).map(text).collect();
                (told(*id), Some(Some(new)))
            }
            Self::TrimEntries(_, length) => {
                let gone = ids.len().saturating_sub(*length);
                ids.drain(..gone);
                let new = held.is_some().then(|| std::iter::once(last).chain(ids).map(text).collect());
                (Reply::Integer(gone as i64), Some(new))
            }
            _ => unreachable!("not about streams"),
        }
    }
}

/// An element of a list: often one that is there already.
fn element(dice: &mut Dice) -> Value {
    if dice.percent(60) { [b"x", b"y"][dice.random.usize(..2)][..].into() } else { dice.suffix() }
}

/// How the model keeps the items of a collection.
pub fn pack(items: &[Value]) -> Value {
    let mut bytes = b"items".to_vec();
    for item in items {
        bytes.push(b'\n');
        bytes.extend_from_slice(item);
    }
    bytes.into()
}

/// The other way.
pub fn unpack(packed: &Value) -> Vec<Value> {
    packed.split(|byte| *byte == b'\n').skip(1).map(Value::from).collect()
}
