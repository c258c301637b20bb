//! Streams: nodes of entries, then what is known of the stream, its groups, its producers.
//!
//! ```text
//!   nodes    count, (16 bytes: ID that the node's are relative to, listpack) ...
//!   stream   length, last ID                      [STREAM_2 and on:] first ID, highest deleted ID, entries ever added
//!   groups   count, (name, last ID                [STREAM_2 and on:] entries read
//!              pending    count, (16 bytes: ID, time, deliveries) ...
//!              consumers  count, (name, seen at   [STREAM_3 and on:] active at
//!                                 count, (16 bytes: ID) ...)
//!                                                 [STREAM_5:] count, (16 bytes: ID) ... given back) ...
//!   producers                                     [STREAM_4 and on:] seconds, most, count,
//!                                                   (name, count, (text, ID) ...) ..., added, duplicates
//! ```
//!
//! IDs are 16 bytes, big endian, where it says so, else two numbers. Entries are added one by one to a stream of ours, as
//! its nodes are cut by its own thresholds, and so each is looked at.

use super::input::Input;
use super::{Malformed, Result, kinds};
use torc_engine::values::stream::{Group, Idempotency, IdempotencyLimits, Log, Pending, Stream, StreamId};
use torc_engine::values::{Element, Encodings, Listpack};

const BROKEN_NODE: Malformed = Malformed::Invalid("a node of a stream that is none");
const BROKEN_GROUP: Malformed = Malformed::Invalid("a group of a stream that contradicts itself");
const TWICE: Malformed = Malformed::Invalid("Duplicate stream consumer detected");
/// Flags of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// When a consumer was given an entry that never was given one.
pub(super) const NEVER: i64 = -1;

pub(super) fn stream(kind: u8, input: &mut Input<'_>, limits: &Encodings) -> Result<Stream> {
    let mut stream = Stream::default();
    for _ in 0..input.count(2)? {
        let id: [u8; StreamId::BYTES] = input.text()?.as_ref().try_into().map_err(|_| BROKEN_NODE)?;
        let list = input.text()?;
        node(StreamId::from_bytes(id), &list, &mut stream, limits)?;
    }
    let length = input.number()?;
    if length != stream.entries().len() {
        return Err(Malformed::Invalid("a stream of another length than it says"));
    }
    let last_id = id(input)?;
    if last_id < stream.log().last_id() {
        return Err(Malformed::Invalid("a stream whose last ID is before its last entry"));
    }
    let (mut deleted_id_max, mut entries_added) = (StreamId::MIN, length);
    if kind != kinds::STREAM {
        // The first ID follows from the entries.
        id(input)?;
        deleted_id_max = id(input)?;
        entries_added = input.number()?;
    }
    stream.log_mut().set_last_id(last_id, Some(entries_added), Some(deleted_id_max));
    for _ in 0..input.count(2)? {
        let name = input.text()?;
        let group = group(kind, input, stream.log())?;
        if !stream.add_group(&name, group) {
            return Err(BROKEN_GROUP);
        }
    }
    if kind >= kinds::STREAM_4 {
        producers(input, &mut stream)?;
    }
    Ok(stream)
}

fn id(input: &mut Input<'_>) -> Result<StreamId> {
    Ok(StreamId::new(input.number()?, input.number()?))
}

/// The numbers and texts of a node, in order.
struct Reader<'a, I>(I, std::marker::PhantomData<&'a ()>);

impl<'a, I: Iterator<Item = Element<'a>>> Reader<'a, I> {
    fn element(&mut self) -> Result<Element<'a>> {
        self.0.next().ok_or(BROKEN_NODE)
    }

    fn number(&mut self) -> Result<i64> {
        self.element()?.as_integer().ok_or(BROKEN_NODE)
    }

    fn count(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| BROKEN_NODE)
    }
}

/// How nodes of ours are cut while the entries of a foreign one are added.
///
/// Entries that share their fields name them once a node. Fields with names so long that each of our nodes would hold few entries
/// would be repeated without bound; such entries stay in one node, as they came.
struct NodeLimits<'l> {
    limits: &'l Encodings,
    /// Whether this is such a node, and whether it has begun.
    keeps: Option<bool>,
}

impl<'l> NodeLimits<'l> {
    /// Of a node whose fields would take `repeated` bytes if each entry named them.
    fn of(repeated: u64, node_bytes: u64, limits: &'l Encodings) -> Self {
        const FACTOR_MAX: u64 = 16;
        Self { limits, keeps: (repeated > node_bytes.saturating_mul(FACTOR_MAX)).then_some(false) }
    }

    /// For the next entry.
    fn next(&mut self) -> Encodings {
        match self.keeps.replace(true) {
            None => {
                self.keeps = None;
                *self.limits
            }
            // A node of ours that has one is full: so a new one begins.
            Some(false) => Encodings { stream_node_entries_max: 1, ..*self.limits },
            Some(true) => Encodings { stream_node_entries_max: 0, stream_node_bytes_max: 0, ..*self.limits },
        }
    }
}

/// Adds the entries of a node.
fn node(first: StreamId, bytes: &[u8], stream: &mut Stream, limits: &Encodings) -> Result<()> {
    let list = Listpack::validate(bytes).ok_or(BROKEN_NODE)?;
    let mut reader = Reader(list.iter(), std::marker::PhantomData);
    let entries = reader.number()?.checked_add(reader.number()?).ok_or(BROKEN_NODE)?;
    let fields: Result<Vec<_>> = (0..reader.count()?).map(|_| Ok(reader.element()?.to_bytes())).collect();
    let fields = fields?;
    if reader.number()? != 0 {
        return Err(BROKEN_NODE);
    }
    let shared_bytes: u64 = fields.iter().map(|field| field.len() as u64).sum();
    let mut limits = NodeLimits::of(shared_bytes.saturating_mul(entries.unsigned_abs()), bytes.len() as u64, limits);
    for _ in 0..entries {
        let flags = reader.number()?;
        let [ms, sequence] = [reader.number()?, reader.number()?];
        // Differences are signed in the listpack and wrap around in the ID.
        let id = StreamId::new(first.ms.wrapping_add(ms as u64), first.sequence.wrapping_add(sequence as u64));
        let mut texts = Vec::new();
        if flags & SAME_FIELDS != 0 {
            for field in &fields {
                texts.extend([field.clone(), reader.element()?.to_bytes()]);
            }
        } else {
            for _ in 0..reader.count()? {
                texts.extend([reader.element()?.to_bytes(), reader.element()?.to_bytes()]);
            }
        }
        // How far it is to go back: for those who read from the end.
        reader.number()?;
        if flags & DELETED == 0 {
            let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
            if texts.is_empty() {
                return Err(BROKEN_NODE);
            }
            stream.log_mut().append(id, &texts, &limits.next()).map_err(|_| BROKEN_NODE)?;
        }
    }
    if reader.0.next().is_some() { Err(BROKEN_NODE) } else { Ok(()) }
}

fn group(kind: u8, input: &mut Input<'_>, log: &Log) -> Result<Group> {
    let last_id = id(input)?;
    let entries_read = match kind {
        // Told by the ID, if at all.
        kinds::STREAM => log.count_up_to(last_id),
        // -1 says that it is not known.
        _ => Some(input.number()? as i64).filter(|read| *read >= 0),
    };
    let mut group = Group::new(last_id, entries_read);
    let pending = input.count(StreamId::BYTES + 8 + 1)?;
    for _ in 0..pending {
        let id = StreamId::from_bytes(input.array()?);
        let delivered_at = input.i64()?;
        let deliveries = input.number()?;
        if group.pending(id).is_some() {
            return Err(BROKEN_GROUP);
        }
        group.set_pending(id, Pending { consumer: None, delivered_at, deliveries });
    }
    let mut owned = 0;
    for _ in 0..input.count(1 + 8 + 1)? {
        let name = input.text()?;
        let seen_at = input.i64()?;
        // Older files do not tell: it is taken for the same.
        let active_at = if kind >= kinds::STREAM_3 { input.i64()? } else { seen_at };
        let number = group.add_consumer(&name, seen_at).ok_or(TWICE)?;
        group.note_active(number, Some(active_at).filter(|at| *at > NEVER));
        for _ in 0..input.count(StreamId::BYTES)? {
            let id = StreamId::from_bytes(input.array()?);
            let pending = group.pending(id).filter(|pending| pending.consumer.is_none()).ok_or(BROKEN_GROUP)?;
            group.set_pending(id, Pending { consumer: Some(number), ..pending });
            owned += 1;
        }
    }
    if kind >= kinds::STREAM_5 {
        for _ in 0..input.count(StreamId::BYTES)? {
            let id = StreamId::from_bytes(input.array()?);
            if group.pending(id).is_none_or(|pending| pending.consumer.is_some()) {
                return Err(BROKEN_GROUP);
            }
            owned += 1;
        }
    }
    // What is pending belongs to somebody, or was given back.
    if owned == pending { Ok(group) } else { Err(BROKEN_GROUP) }
}

fn producers(input: &mut Input<'_>, stream: &mut Stream) -> Result<()> {
    let small = |number: u64| u32::try_from(number).map_err(|_| Malformed::Invalid("a limit that is too high"));
    let limits = IdempotencyLimits { duration_s: small(input.number()?)?, count_max: small(input.number()?)? };
    let mut idempotency = Idempotency::default();
    idempotency.set_limits(limits);
    for _ in 0..input.count(2)? {
        let producer = input.text()?;
        for _ in 0..input.count(3)? {
            let name = input.text()?;
            let id = id(input)?;
            // It is forgotten some time after it was added, which its ID tells.
            let added_at = i64::try_from(id.ms).unwrap_or(i64::MAX);
            if idempotency.find(&producer, &name, i64::MIN).is_some() {
                return Err(Malformed::Invalid("a name that a producer has given twice"));
            }
            idempotency.note(&producer, &name, id, added_at);
        }
    }
    idempotency.added = input.number()?;
    idempotency.duplicates = input.number()?;
    if idempotency.is_of_note() {
        *stream.idempotency_mut() = idempotency;
    }
    Ok(())
}
