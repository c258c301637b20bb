//! One value: from the bytes of a file to what the engine keeps.
//!
//! Every form that a value was ever written in comes down to elements in order, and these to the form that the engine would
//! have given them itself, by its own thresholds: packed bytes if they are few and short, else a tree. Nothing foreign is
//! taken over unseen: packed bytes are walked through, members that stand twice refused, sorted sets sorted anew.
//!
//! An empty collection is [`Decoded::Empty`]: old servers have written such; a loader leaves them out, RESTORE refuses them.

use super::input::{Input, parse_f64};
use super::{Dialect, Malformed, Result, decode_stream, kinds, legacy, module_name};
use std::borrow::Cow;
use std::cmp::Ordering;
use torc_engine::keyspace::Value;
use torc_engine::values::hash::FieldExpiry;
use torc_engine::values::large::{HashTree, MemberHasher, SortedTree};
use torc_engine::values::list::End;
use torc_engine::values::{
    Element, Encodings, Form, IntegerSet, Listpack, NewCollection, Object, OwnedString, hash, intset, list, listpack,
    sorted_set,
};

/// A text of a file.
type Text<'a> = Cow<'a, [u8]>;

/// What a value is made for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// When a collection leaves its packed form.
    pub limits: &'a Encodings,
    /// The hash of its members.
    pub hasher: &'a MemberHasher,
    /// Who wrote it.
    pub dialect: Dialect,
}

/// What bytes stand for.
#[derive(Debug)]
pub enum Decoded {
    /// A value.
    Value(Value),
    /// A collection without elements.
    Empty,
}

impl Decoded {
    fn of(collection: NewCollection, is_empty: bool) -> Self {
        if is_empty { Self::Empty } else { Self::Value(collection.into()) }
    }
}

/// Elements of a list that are added at once.
const LIST_STEP: usize = 1024;

const TWICE: Malformed = Malformed::Invalid("an element that stands twice");
const BROKEN_LISTPACK: Malformed = Malformed::Invalid("a listpack that is none");
const ODD: Malformed = Malformed::Invalid("a field without a value");
const NAN: Malformed = Malformed::Invalid("a score that is no number");

/// The value of a kind ([`kinds`]).
pub fn value(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    match kind {
        kinds::STRING => Ok(Decoded::Value(Value::String(OwnedString::new(&input.text()?)))),
        kinds::LIST | kinds::LIST_ZIPLIST | kinds::LIST_QUICKLIST | kinds::LIST_QUICKLIST_2 => {
            a_list(kind, input, target)
        }
        kinds::SET | kinds::SET_INTSET | kinds::SET_LISTPACK => a_set(kind, input, target),
        kinds::SORTED_SET | kinds::SORTED_SET_2 | kinds::SORTED_SET_ZIPLIST | kinds::SORTED_SET_LISTPACK => {
            a_sorted_set(kind, input, target)
        }
        kinds::HASH | kinds::HASH_ZIPMAP | kinds::HASH_ZIPLIST | kinds::HASH_LISTPACK => a_hash(kind, input, target),
        kinds::HASH_WITH_TIMES
        | kinds::HASH_WITH_TIMES_2
        | kinds::HASH_LISTPACK_WITH_TIMES
        | kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE => a_hash_with_times(kind, input, target),
        kinds::STREAM | kinds::STREAM_2 | kinds::STREAM_3 | kinds::STREAM_4 | kinds::STREAM_5 => {
            decode_stream::stream(kind, input, target.limits)
                .map(|stream| Decoded::Value(Value::Object(Box::new(Object::Stream(Box::new(stream))))))
        }
        kinds::MODULE | kinds::MODULE_BEFORE_RELEASE => Err(Malformed::Module(module_name(input.number()?))),
        _ => Err(Malformed::UnknownKind(kind)),
    }
}

/// The elements of a listpack, all of which have been looked at.
fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>> {
    let list = Listpack::validate(bytes).ok_or(BROKEN_LISTPACK)?;
    let mut elements = Vec::with_capacity(list.len());
    elements.extend(list.iter());
    Ok(elements)
}

/// Whether no text stands twice.
fn are_different<'t>(texts: impl Iterator<Item = &'t Element<'t>> + Clone) -> bool {
    // Those of one kind are equal if they stand for the same text: numbers are always kept as numbers.
    const FEW: usize = 16;
    let sort_key = |element: &&Element<'t>| match element {
        Element::Integer(number) => (0, *number, &b""[..]),
        Element::Text(text) => (1, 0, *text),
    };
    if texts.clone().nth(FEW).is_none() {
        let keys = || texts.clone().map(|element| sort_key(&element));
        return keys().enumerate().all(|(at, key)| keys().take(at).all(|other| other != key));
    }
    let mut sorted: Vec<_> = texts.collect();
    sorted.sort_unstable_by_key(sort_key);
    sorted.windows(2).all(|pair| sort_key(&pair[0]) != sort_key(&pair[1]))
}

/// Texts, as packed forms keep them.
fn packed<'t>(texts: &'t [Text<'_>]) -> Vec<Element<'t>> {
    texts.iter().map(|text| Element::of(text)).collect()
}

fn texts<'a>(input: &mut Input<'a>, each: usize) -> Result<Vec<Text<'a>>> {
    let count = input.count(each)?;
    (0..count * each).map(|_| input.text()).collect()
}

fn longest<'e>(elements: impl Iterator<Item = &'e Element<'e>>) -> u64 {
    elements.map(Element::text_len).max().unwrap_or(0) as u64
}

fn a_list(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    let mut made = NewCollection::packed(&listpack::EMPTY, Form::LIST);
    let mut is_empty = true;
    // Some at a time: what is made on the way does not grow with the list.
    let mut push = |elements: &mut dyn Iterator<Item = Element<'_>>| {
        loop {
            let texts: Vec<Text<'_>> = (&mut *elements).take(LIST_STEP).map(|element| element.to_bytes()).collect();
            is_empty &= texts.is_empty();
            list::push(&mut made, End::Right, &texts, target.limits);
            if texts.len() < LIST_STEP {
                break;
            }
        }
    };
    match kind {
        kinds::LIST_ZIPLIST => push(&mut legacy::ziplist(&input.text()?)?.into_iter()),
        kinds::LIST => {
            let texts = texts(input, 1)?;
            push(&mut texts.iter().map(|text| Element::of(text)));
        }
        kinds::LIST_QUICKLIST => {
            for _ in 0..input.count(1)? {
                push(&mut legacy::ziplist(&input.text()?)?.into_iter());
            }
        }
        _ => {
            for _ in 0..input.count(2)? {
                let container = input.number()?;
                let text = input.text()?;
                if text.is_empty() {
                    return Err(Malformed::Invalid("a node of a list without any bytes"));
                }
                match container {
                    1 => push(&mut std::iter::once(Element::Text(&text))),
                    2 => push(&mut Listpack::validate(&text).ok_or(BROKEN_LISTPACK)?.iter()),
                    _ => return Err(Malformed::Invalid("a node of a list of no known form")),
                }
            }
        }
    }
    Ok(Decoded::of(made, is_empty))
}

fn a_set(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    let limits = target.limits;
    match kind {
        kinds::SET_INTSET => {
            let bytes = input.text()?;
            let integers = IntegerSet::validate(&bytes).ok_or(Malformed::Invalid("an intset that is none"))?;
            if integers.len() as u64 <= limits.set_intset_entries_max {
                return Ok(Decoded::of(NewCollection::packed(&bytes, Form::INTEGER_SET), integers.is_empty()));
            }
            let members: Vec<Element<'_>> = integers.iter().map(Element::Integer).collect();
            set_of(&members, target)
        }
        kinds::SET_LISTPACK => set_of(&elements(&input.text()?)?, target),
        _ => set_of(&packed(&texts(input, 1)?), target),
    }
}

fn set_of(members: &[Element<'_>], target: Target<'_>) -> Result<Decoded> {
    let limits = target.limits;
    let count = members.len() as u64;
    let is_integers = members.iter().all(|member| member.as_integer().is_some());
    let is_small = is_integers && count <= limits.set_intset_entries_max
        || count <= limits.set_listpack_entries_max && longest(members.iter()) <= limits.set_listpack_value_bytes_max;
    if !is_small {
        let mut tree = HashTree::new(target.hasher.clone());
        let mut scratch = itoa::Buffer::new();
        let are_new = members.iter().all(|member| tree.add(member.as_bytes(&mut scratch)));
        return if are_new { Ok(Decoded::of(NewCollection::object(Object::Set(tree)), false)) } else { Err(TWICE) };
    }
    if !are_different(members.iter()) {
        return Err(TWICE);
    }
    let made = if is_integers && count <= limits.set_intset_entries_max {
        let mut numbers: Vec<i64> = members.iter().filter_map(Element::as_integer).collect();
        numbers.sort_unstable();
        NewCollection::packed(&intset::build(numbers.iter().copied()), Form::INTEGER_SET)
    } else {
        NewCollection::packed(&listpack::build(members.iter().copied()), Form::SET)
    };
    Ok(Decoded::of(made, members.is_empty()))
}

fn a_sorted_set(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    let score = |element: &Element<'_>| match element {
        Element::Integer(number) => Ok(*number as f64),
        Element::Text(text) => parse_f64(text),
    };
    match kind {
        kinds::SORTED_SET_ZIPLIST | kinds::SORTED_SET_LISTPACK => {
            let bytes = input.text()?;
            let elements = if kind == kinds::SORTED_SET_ZIPLIST { legacy::ziplist(&bytes)? } else { elements(&bytes)? };
            let (pairs, rest) = elements.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(ODD);
            }
            let scored: Result<Vec<_>> =
                pairs.iter().map(|[member, text]| Ok((score(text)?, member.to_bytes()))).collect();
            sorted_set_of(scored?, target)
        }
        _ => {
            let count = input.count(2)?;
            let scored: Result<Vec<_>> = (0..count)
                .map(|_| {
                    let member = input.text()?;
                    let score = if kind == kinds::SORTED_SET { input.f64_text()? } else { input.f64()? };
                    Ok((score, member))
                })
                .collect();
            sorted_set_of(scored?, target)
        }
    }
}

fn sorted_set_of(mut scored: Vec<(f64, Text<'_>)>, target: Target<'_>) -> Result<Decoded> {
    if scored.iter().any(|(score, _)| score.is_nan()) {
        return Err(NAN);
    }
    let limits = target.limits;
    let longest = scored.iter().map(|(_, member)| member.len()).max().unwrap_or(0) as u64;
    let is_small = scored.len() as u64 <= limits.sorted_set_listpack_entries_max
        && longest <= limits.sorted_set_listpack_value_bytes_max;
    if is_small {
        let members: Vec<Element<'_>> = scored.iter().map(|(_, member)| Element::of(member)).collect();
        if !are_different(members.iter()) {
            return Err(TWICE);
        }
    }
    // Ascending, which is how a tree is filled best, too; -0 and 0 are one score.
    scored.sort_unstable_by(|one, other| {
        one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal).then_with(|| one.1.cmp(&other.1))
    });
    if is_small {
        let made = sorted_set::from_ordered(&scored, limits, target.hasher);
        return Ok(Decoded::of(made, scored.is_empty()));
    }
    let mut tree = SortedTree::new(target.hasher.clone());
    if !scored.iter().all(|(score, member)| tree.insert(member, *score).is_none()) {
        return Err(TWICE);
    }
    Ok(Decoded::of(NewCollection::object(Object::SortedSet(tree)), false))
}

fn a_hash(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    match kind {
        kinds::HASH_ZIPLIST => hash_of(&legacy::ziplist(&input.text()?)?, target),
        kinds::HASH_LISTPACK => hash_of(&elements(&input.text()?)?, target),
        kinds::HASH_ZIPMAP => hash_of(&packed(&legacy::zipmap(&input.text()?)?), target),
        _ => hash_of(&packed(&texts(input, 2)?), target),
    }
}

/// Of fields and values in turn.
fn hash_of(elements: &[Element<'_>], target: Target<'_>) -> Result<Decoded> {
    let limits = target.limits;
    let (pairs, rest) = elements.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ODD);
    }
    let is_small = pairs.len() as u64 <= limits.hash_listpack_entries_max
        && longest(elements.iter()) <= limits.hash_listpack_value_bytes_max;
    if is_small {
        if !are_different(pairs.iter().map(|[field, _]| field)) {
            return Err(TWICE);
        }
        let made = NewCollection::packed(&listpack::build(elements.iter().copied()), Form::HASH);
        return Ok(Decoded::of(made, pairs.is_empty()));
    }
    let fields = pairs.iter().map(|[field, value]| (field.to_bytes(), value.to_bytes(), None));
    tree_of(fields, target)
}

fn tree_of<'t>(fields: impl Iterator<Item = (Text<'t>, Text<'t>, Option<i64>)>, target: Target<'_>) -> Result<Decoded> {
    let mut made =
        NewCollection::object(Object::Hash(torc_engine::values::object::LargeHash::new(target.hasher.clone())));
    let mut is_empty = true;
    for (field, value, expires_at) in fields {
        is_empty = false;
        let expiry = expires_at.map_or(FieldExpiry::Clear, FieldExpiry::At);
        if !hash::set(&mut made, &field, &value, expiry, target.limits, target.hasher) {
            return Err(TWICE);
        }
    }
    Ok(Decoded::of(made, is_empty))
}

fn a_hash_with_times(kind: u8, input: &mut Input<'_>, target: Target<'_>) -> Result<Decoded> {
    let is_packed = matches!(kind, kinds::HASH_LISTPACK_WITH_TIMES | kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE);
    // The time that others are relative to.
    let earliest =
        if matches!(kind, kinds::HASH_WITH_TIMES | kinds::HASH_LISTPACK_WITH_TIMES) { input.i64()? } else { 1 };
    let time = |number: i64| if number > 0 { Some(number) } else { None };
    if is_packed {
        let bytes = input.text()?;
        let elements = elements(&bytes)?;
        let (triples, rest) = elements.as_chunks::<3>();
        if !rest.is_empty() {
            return Err(ODD);
        }
        let fields: Result<Vec<_>> = triples
            .iter()
            .map(|[field, value, at]| {
                let at = at.as_integer().ok_or(Malformed::Invalid("a time that is no number"))?;
                Ok((field.to_bytes(), value.to_bytes(), time(at)))
            })
            .collect();
        return hash_with_times(fields?, target);
    }
    let count = input.count(3)?;
    let is_valkeys = kind == kinds::HASH_WITH_TIMES_2 && target.dialect == Dialect::Valkey;
    let fields: Result<Vec<_>> = (0..count)
        .map(|_| {
            if is_valkeys {
                let (field, value) = (input.text()?, input.text()?);
                return Ok((field, value, time(input.i64()?)));
            }
            let number = i64::try_from(input.number()?).map_err(|_| Malformed::Invalid("a time that is too late"))?;
            let at = if number == 0 { None } else { time(earliest.saturating_add(number - 1)) };
            Ok((input.text()?, input.text()?, at))
        })
        .collect();
    hash_with_times(fields?, target)
}

fn hash_with_times(fields: Vec<(Text<'_>, Text<'_>, Option<i64>)>, target: Target<'_>) -> Result<Decoded> {
    let limits = target.limits;
    if fields.iter().all(|(_, _, at)| at.is_none()) {
        let texts: Vec<Text<'_>> = fields.into_iter().flat_map(|(field, value, _)| [field, value]).collect();
        return hash_of(&packed(&texts), target);
    }
    let longest = fields.iter().map(|(field, value, _)| field.len().max(value.len())).max().unwrap_or(0) as u64;
    if fields.len() as u64 > limits.hash_listpack_entries_max || longest > limits.hash_listpack_value_bytes_max {
        return tree_of(fields.into_iter(), target);
    }
    let names: Vec<Element<'_>> = fields.iter().map(|(field, ..)| Element::of(field)).collect();
    if !are_different(names.iter()) {
        return Err(TWICE);
    }
    // Those that expire first stand in front, those that do not at the end.
    let mut order: Vec<&(Text<'_>, Text<'_>, Option<i64>)> = fields.iter().collect();
    order.sort_by_key(|(_, _, at)| at.unwrap_or(i64::MAX));
    let triples = order
        .into_iter()
        .flat_map(|(field, value, at)| [Element::of(field), Element::of(value), Element::Integer(at.unwrap_or(0))]);
    let made = NewCollection::packed(&listpack::build(triples), Form::HASH_WITH_TIMES);
    Ok(Decoded::of(made, fields.is_empty()))
}
