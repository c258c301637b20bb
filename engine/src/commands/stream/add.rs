//! What is added to a stream, and how it is set up: XADD, XTRIM, XSETID, XCFGSET, XIDMPRECORD.

use super::super::errors::{NO_SUCH_KEY, integer, is, syntax};
use super::arguments::{AddOrTrim, Naming};
use super::sliced::{LongTrim, REFERENCE_UNITS};
use super::{change, create, decimal, effects_of_trimmed, ids, peek, reply_id, report_trimmed};
use crate::command::{CommandError, CommandResult, Execution, wrong_arity};
use crate::journal::EventClass;
use crate::long::Locked;
use crate::values::Encodings;
use crate::values::stream::{IdempotencyLimits, Log, NewId, Refused, Seen, Stream, StreamId, Trim, Trimmed, Trimming};
use twox_hash::XxHash3_64;

const NOT_HIGHER: &str = "ERR The ID specified in XADD is equal or smaller than the target stream top item";

/// An entry to add, all of its arguments being read.
struct Addition<'a> {
    wish: NewId,
    fields: &'a [&'a [u8]],
    trim: Option<Trim>,
    /// Of the producer, and of the entry.
    name: Option<(&'a [u8], Vec<u8>)>,
}

/// What XADD has done.
enum Outcome {
    /// Entries are still to be trimmed.
    Added(StreamId),
    /// It was there already.
    Known(StreamId),
}

impl Addition<'_> {
    /// Adds the entry; changes nothing if that cannot be.
    fn run(&self, stream: &mut Stream, now: i64, limits: &Encodings) -> Result<Outcome, CommandError> {
        if let Some((producer, name)) = &self.name
            && let Some(Seen(id)) = stream.idempotency().and_then(|known| known.find(producer, name, now))
        {
            stream.idempotency_mut().duplicates += 1;
            return Ok(Outcome::Known(id));
        }
        if stream.log().last_id() == StreamId::MAX {
            return Err("ERR The stream has exhausted the last possible ID, unable to add more items".into());
        }
        let id = stream.log().id_for(self.wish, now.max(0) as u64).ok_or(CommandError::from(NOT_HIGHER))?;
        stream.log_mut().append(id, self.fields, limits).map_err(|refused| {
            CommandError::from(match refused {
                Refused::NotHigher => NOT_HIGHER,
                Refused::TooLarge => "ERR Elements are too large to be stored",
            })
        })?;
        if let Some((producer, name)) = &self.name {
            let known = stream.idempotency_mut();
            known.added += 1;
            known.forget_due(now);
            known.note(producer, name, id, now);
        }
        Ok(Outcome::Added(id))
    }

    fn trim(&self, stream: &mut Stream) -> Trimmed {
        self.trim.as_ref().map_or_else(Trimmed::default, |trim| stream.trim(trim))
    }

    /// What is to be told of it.
    fn added(&self, execution: &Execution<'_>, id: StreamId) -> Added {
        let is_told = execution.keyspace.journal.wants_effects();
        let fields = if is_told { self.fields.iter().map(|text| text.to_vec()).collect() } else { Vec::new() };
        let name = self.name.as_ref().map(|(producer, name)| (producer.to_vec(), name.clone()));
        Added { id, fields, name }
    }
}

/// An entry that was added.
pub(super) struct Added {
    pub(super) id: StreamId,
    /// Where somebody wants to know them.
    fields: Vec<Vec<u8>>,
    name: Option<(Vec<u8>, Vec<u8>)>,
}

/// The name of an entry by what it holds: two hashes of 64 bits that differ in their seeds. It stands in logs, so it stays
/// what it is.
fn name_by_content(fields: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    for text in fields {
        content.extend_from_slice(&(text.len() as u64).to_le_bytes());
        content.extend_from_slice(text);
    }
    [1, 2].iter().flat_map(|seed| XxHash3_64::oneshot_with_seed(*seed, &content).to_le_bytes()).collect()
}

/// `XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer | IDMP producer name]
/// [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value [field value ...]`
pub(super) fn xadd(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let limits = &execution.options.encodings;
    let parsed = AddOrTrim::of_add(arguments, limits)?;
    let Some((wish, id_at)) = parsed.id else { return Err(wrong_arity("xadd", None)) };
    let fields = &arguments[id_at + 1..];
    if fields.is_empty() || !fields.len().is_multiple_of(2) {
        return Err(wrong_arity("xadd", None));
    }
    if wish == NewId::Given(StreamId::MIN) {
        return Err("ERR The ID specified in XADD must be greater than 0-0".into());
    }
    let name = parsed.naming.map(|naming| match naming {
        Naming::Given(producer, name) => (producer, name.to_vec()),
        Naming::ByContent(producer) => (producer, name_by_content(fields)),
    });
    let addition = Addition { wish, fields, trim: parsed.trim, name };
    let (key, now) = (arguments[1], execution.now);
    if let Some(trim) = &addition.trim
        && let Some(stream) = peek(execution, key)?
        && is_long(execution, stream, trim)
    {
        let mut changed = stream.clone();
        // What is known is told at once, as below.
        if let Outcome::Added(id) = addition.run(&mut changed, now, limits)? {
            let trimming = Trimming::new(&mut changed, trim, execution.keyspace.journal.wants_effects());
            let added = addition.added(execution, id);
            let work = LongTrim::new(Locked::new(execution, key), changed, trimming, Some(added));
            execution.later.put(work);
            return Ok(());
        }
    }
    let run = |stream: &mut Stream| {
        let outcome = addition.run(stream, now, limits)?;
        let trimmed = if matches!(outcome, Outcome::Added(_)) { addition.trim(stream) } else { Trimmed::default() };
        Ok::<_, CommandError>((outcome, trimmed))
    };
    let (outcome, trimmed) = match change(execution, key, |stream, _| run(stream))? {
        Some(outcome) => outcome?,
        None if parsed.is_only_if_exists => {
            execution.reply.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::default();
            let outcome = run(&mut stream)?;
            create(execution, key, stream);
            outcome
        }
    };
    match outcome {
        Outcome::Known(id) => reply_id(&mut execution.reply, id),
        Outcome::Added(id) => {
            reply_id(&mut execution.reply, id);
            execution.keyspace.dirty += 1;
            addition.added(execution, id).report(execution, key, &trimmed);
        }
    }
    Ok(())
}

/// Whether a trim is too much to be done at once.
fn is_long(execution: &Execution<'_>, stream: &Stream, trim: &Trim) -> bool {
    let references = Trimming::looks_at(stream, trim).saturating_mul(stream.groups().len() as u64);
    references > 0 && execution.options.is_long(references.saturating_mul(REFERENCE_UNITS), 0)
}

impl Added {
    /// Tells of the entry, and of those that went for it.
    pub(super) fn report(&self, execution: &mut Execution<'_>, key: &[u8], trimmed: &Trimmed) {
        execution.event(EventClass::Stream, "xadd", key);
        if trimmed.count > 0 {
            execution.event(EventClass::Stream, "xtrim", key);
        }
        if !execution.keyspace.journal.wants_effects() {
            return;
        }
        let Ok(Some(entries)) = peek(execution, key).map(|stream| stream.map(Stream::entries)) else { return };
        let (id_text, length) = (self.id.text(), decimal(entries.len()));
        let is_there = entries.get(self.id).is_some();
        let mut effect: Vec<&[u8]> = vec![b"XADD", key];
        if trimmed.count > 0 && !trimmed.is_scattered {
            effect.extend([&b"MAXLEN"[..], b"=", &length]);
        }
        effect.push(&id_text);
        effect.extend(self.fields.iter().map(Vec::as_slice));
        execution.effect(&effect);
        if let Some((producer, name)) = &self.name
            && is_there
        {
            execution.effect(&[b"XIDMPRECORD", key, producer, name, &id_text]);
        }
        effects_of_trimmed(execution, key, trimmed);
    }
}

/// `XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]`
pub(super) fn xtrim(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let parsed = AddOrTrim::of_trim(arguments, &execution.options.encodings)?;
    let key = arguments[1];
    if let Some(stream) = peek(execution, key)?
        && let Some(trim) = &parsed.trim
        && is_long(execution, stream, trim)
    {
        let mut changed = stream.clone();
        let trimming = Trimming::new(&mut changed, trim, execution.keyspace.journal.wants_effects());
        let work = LongTrim::new(Locked::new(execution, key), changed, trimming, None);
        execution.later.put(work);
        return Ok(());
    }
    let trimmed = change(execution, key, |stream, _| {
        let trimmed = parsed.trim.as_ref().map_or_else(Trimmed::default, |trim| stream.trim(trim));
        (trimmed, stream.entries().len())
    })?;
    let Some((trimmed, length)) = trimmed else {
        execution.reply.integer(0);
        return Ok(());
    };
    execution.reply.integer(trimmed.count as i64);
    if trimmed.count == 0 {
        return Ok(());
    }
    execution.keyspace.dirty += trimmed.count;
    report_trimmed(execution, key, &trimmed, length);
    Ok(())
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
pub(super) fn xsetid(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let id = ids::strict(arguments[2])?;
    let (mut entries_added, mut deleted_id_max) = (None, None);
    let mut rest = &arguments[3..];
    while let [word, behind @ ..] = rest {
        match behind {
            [count, behind @ ..] if is(word, "ENTRIESADDED") => {
                let count = u64::try_from(integer(count)?);
                entries_added = Some(count.map_err(|_| CommandError::from("ERR entries_added must be positive"))?);
                rest = behind;
            }
            [deleted, behind @ ..] if is(word, "MAXDELETEDID") => {
                let deleted = ids::strict(deleted)?;
                if id < deleted {
                    let text = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
                    return Err(text.into());
                }
                deleted_id_max = Some(deleted).filter(|deleted| *deleted != StreamId::MIN);
                rest = behind;
            }
            _ => return Err(syntax()),
        }
    }
    let set = change(execution, arguments[1], |stream, _| {
        let log = stream.log_mut();
        check_last_id(log, id, entries_added)?;
        log.set_last_id(id, entries_added, deleted_id_max);
        Ok::<_, CommandError>(())
    })?;
    set.ok_or(CommandError::from(NO_SUCH_KEY))??;
    execution.reply.ok();
    execution.keyspace.dirty += 1;
    execution.effect(arguments);
    execution.event(EventClass::Stream, "xsetid", arguments[1]);
    Ok(())
}

/// Whether the last ID may be this one.
fn check_last_id(log: &Log, id: StreamId, entries_added: Option<u64>) -> CommandResult {
    let Some(last) = log.last_present_id() else { return Ok(()) };
    if id < last {
        return Err("ERR The ID specified in XSETID is smaller than the target stream top item".into());
    }
    if entries_added.is_some_and(|added| log.entries().len() > added) {
        return Err("ERR The entries_added specified in XSETID is smaller than the target stream length".into());
    }
    Ok(())
}

/// `XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE count]`
pub(super) fn xcfgset(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (mut duration_s, mut count_max) = (None, None);
    let mut rest = &arguments[2..];
    while let [word, value, behind @ ..] = rest {
        let within = |max: i64| integer(value).map(|value| Some(value as u32).filter(|_| (1..=max).contains(&value)));
        if is(word, "IDMP-DURATION") {
            let value = within(86_400)?;
            duration_s = Some(value.ok_or("ERR IDMP-DURATION must be between 1 and 86400 seconds")?);
        } else if is(word, "IDMP-MAXSIZE") {
            let value = within(10_000)?;
            count_max = Some(value.ok_or("ERR IDMP-MAXSIZE must be between 1 and 10000 entries")?);
        } else {
            return Err(syntax());
        }
        rest = behind;
    }
    if !rest.is_empty() || duration_s.is_none() && count_max.is_none() {
        return Err(syntax());
    }
    let limits = change(execution, arguments[1], |stream, _| {
        let known = stream.idempotency_mut();
        let before = known.limits();
        known.set_limits(IdempotencyLimits {
            duration_s: duration_s.unwrap_or(before.duration_s),
            count_max: count_max.unwrap_or(before.count_max),
        });
    })?;
    limits.ok_or(CommandError::from(NO_SUCH_KEY))?;
    execution.reply.ok();
    execution.keyspace.dirty += 1;
    execution.effect(arguments);
    Ok(())
}

/// `XIDMPRECORD key producer name id`
pub(super) fn xidmprecord(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let &[_, key, producer, name, id] = arguments else { return Err(wrong_arity("xidmprecord", None)) };
    let id = ids::strict(id)?;
    if producer.is_empty() || name.is_empty() {
        return Err("ERR producer ID and idempotent ID must not be empty".into());
    }
    let now = execution.now;
    let noted = change(execution, key, |stream, _| {
        if stream.entries().get(id).is_none() {
            return Err(CommandError::from("ERR no such entry in the stream"));
        }
        match stream.idempotency().and_then(|known| known.find(producer, name, now)) {
            Some(Seen(known)) if known == id => Ok(false),
            // A log is read faster than names are forgotten: a later entry takes the name.
            Some(Seen(known)) if known > id => Err("ERR the idempotent ID belongs to another entry".into()),
            _ => {
                let known = stream.idempotency_mut();
                known.added += 1;
                known.note(producer, name, id, now);
                Ok(true)
            }
        }
    })?;
    let is_new = noted.ok_or(CommandError::from(NO_SUCH_KEY))??;
    execution.reply.ok();
    if is_new {
        execution.keyspace.dirty += 1;
        execution.effect(arguments);
    }
    Ok(())
}
