//! Reading several streams from where the client has left off: XREAD, XREADGROUP.
//!
//! 1. Options are read; then keys, groups and IDs, all of which must be right before anything changes.
//! 2. Each stream that has something for the client is served, in the order given. A group remembers what it hands out.
//! 3. If there is nothing at all, the client may wish to wait: [`nothing_to_read`], the one place to begin waiting from.

use super::super::blocking::nothing;
use super::super::errors::{integer, is, syntax};
use super::sliced_read::{LongRead, NOTED_UNITS};
use super::{
    PendingEffects, change, effect_of_position, effect_of_release, find, ids, no_group, peek, reply_fields, reply_id,
};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::journal::EventClass;
use crate::reply::{Reply, ReplyBuffer};
use crate::values::large::StreamTree;
use crate::values::stream::{ConsumerNumber, Group, Log, Pending, Stream, StreamId};

/// Up to so many entries are looked for before it is known how many there are.
const FEW: u64 = 16;

/// Who reads on behalf of a group.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) group: &'a [u8],
    pub(super) consumer: &'a [u8],
}

/// The options of a read.
#[derive(Default)]
pub(super) struct Options<'a> {
    /// How long the client would wait, in ms.
    pub(super) block_ms: Option<i64>,
    /// The most entries of each stream.
    pub(super) count_max: Option<u64>,
    /// The most entries in all.
    pub(super) total_max: Option<u64>,
    /// Bytes of reply after which no further entry is added.
    pub(super) reply_bytes_max: Option<usize>,
    /// Pending entries that were delivered so many ms ago are handed out first.
    pub(super) claim_idle_ms: Option<i64>,
    pub(super) reader: Option<Reader<'a>>,
    pub(super) is_acknowledged: bool,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

/// A limit of a number of entries: none, if it is not more than nothing.
fn entries_max(text: &[u8]) -> Result<Option<u64>, CommandError> {
    Ok(u64::try_from(integer(text)?).ok().filter(|count| *count > 0))
}

/// How long to wait, in ms.
fn timeout_ms(text: &[u8], now: i64) -> Result<i64, CommandError> {
    let timeout = parse_integer(text).ok_or(CommandError::from("ERR timeout is not an integer or out of range"))?;
    match timeout {
        ..0 => Err("ERR timeout is negative".into()),
        _ if timeout.checked_add(now).is_none() => Err("ERR timeout is out of range".into()),
        _ => Ok(timeout),
    }
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [&'a [u8]], of_group: bool, now: i64) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut rest = &arguments[1..];
        while let [word, behind @ ..] = rest {
            rest = behind;
            match behind {
                [value, behind @ ..] if options.takes_value(word, value, of_group, now)? => rest = behind,
                [_, ..] if is(word, "STREAMS") => {
                    if !behind.len().is_multiple_of(2) {
                        let unbalanced = "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be \
                                          specified.";
                        return Err(unbalanced.into());
                    }
                    (options.keys, options.ids) = behind.split_at(behind.len() / 2);
                    break;
                }
                [group, consumer, behind @ ..] if is(word, "GROUP") => {
                    if !of_group {
                        return Err(only_of_group("GROUP"));
                    }
                    options.reader = Some(Reader { group, consumer });
                    rest = behind;
                }
                _ if is(word, "NOACK") => {
                    if !of_group {
                        return Err(only_of_group("NOACK"));
                    }
                    options.is_acknowledged = true;
                }
                _ => return Err(syntax()),
            }
        }
        if options.keys.is_empty() {
            return Err(syntax());
        }
        if of_group && options.reader.is_none() {
            return Err("ERR Missing GROUP option for XREADGROUP".into());
        }
        Ok(options)
    }

    /// Reads an option of one value; false if it is none.
    fn takes_value(&mut self, word: &[u8], value: &[u8], of_group: bool, now: i64) -> Result<bool, CommandError> {
        match word {
            _ if is(word, "BLOCK") => self.block_ms = Some(timeout_ms(value, now)?),
            _ if is(word, "COUNT") => self.count_max = entries_max(value)?,
            _ if is(word, "MAXCOUNT") => self.total_max = entries_max(value)?,
            _ if is(word, "MAXSIZE") => self.reply_bytes_max = entries_max(value)?.map(|bytes| bytes as usize),
            _ if of_group && is(word, "CLAIM") => {
                let idle_ms = integer(value)?;
                if idle_ms < 0 {
                    return Err("ERR min-idle-time must be a positive integer".into());
                }
                self.claim_idle_ms = Some(idle_ms);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cold]
fn only_of_group(option: &str) -> CommandError {
    format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.").into()
}

/// From where a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// What comes behind an ID.
    Behind(StreamId),
    /// The last entry.
    Last,
    /// What the group was not told of yet: `>`.
    New,
    /// What the consumer has not acknowledged, behind an ID.
    History(StreamId),
}

/// Looks at one stream: whether group and ID are right.
fn resolve(execution: &mut Execution<'_>, options: &Options<'_>, key: &[u8], id: &[u8]) -> Result<From, CommandError> {
    const GROUP_DOLLAR: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
         this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an \
         empty result set.";
    let (stream, _) = find(execution, key)?;
    if let Some(Reader { group, .. }) = options.reader
        && stream.and_then(|stream| stream.group(group)).is_none()
    {
        return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
    }
    let is_group = options.reader.is_some();
    match id {
        b"$" if is_group => Err(GROUP_DOLLAR.into()),
        b"$" => Ok(From::Behind(stream.map_or(StreamId::MIN, |stream| stream.log().last_id()))),
        b"+" if !is_group => Ok(From::Last),
        b">" if is_group => Ok(From::New),
        b">" => {
            Err("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
                .into())
        }
        _ if is_group => match ids::strict(id)? {
            // What `>` stands for in the real server.
            StreamId::MAX => Ok(From::New),
            id => Ok(From::History(id)),
        },
        _ => Ok(From::Behind(ids::strict(id)?)),
    }
}

/// Whether one entry more may be told, after so many in so many bytes. The first one always may.
pub(super) fn has_room_for_more(entries_left: u64, entries: u64, bytes: usize, bytes_max: usize) -> bool {
    entries_left > 0 && (entries == 0 || bytes < bytes_max)
}

/// What is left of the limits, and the reply as far as it is written.
struct Output<'b> {
    buffer: &'b mut ReplyBuffer,
    protocol: crate::reply::Protocol,
    entries_left: u64,
    reply_bytes_max: usize,
    entries: u64,
}

impl Output<'_> {
    fn reply(&mut self) -> Reply<'_> {
        Reply::new(self.buffer, self.protocol)
    }

    /// Whether one entry more may be written.
    fn has_room(&self) -> bool {
        has_room_for_more(self.entries_left, self.entries, self.buffer.len(), self.reply_bytes_max)
    }

    fn wrote_entry(&mut self) {
        self.entries += 1;
        self.entries_left -= 1;
    }

    /// Writes a stream's key and what `write` adds to it, if that is anything: the number of entries is known only then.
    fn stream(&mut self, key: &[u8], write: impl FnOnce(&mut Output<'_>) -> Option<usize>) -> bool {
        let mut body = ReplyBuffer::default();
        let mut inner = Output { buffer: &mut body, protocol: self.protocol, ..*self };
        // What was written before counts as well.
        inner.reply_bytes_max = self.reply_bytes_max.saturating_sub(self.buffer.len());
        let written = write(&mut inner);
        (self.entries, self.entries_left) = (inner.entries, inner.entries_left);
        let Some(count) = written else { return false };
        let mut reply = self.reply();
        if reply.protocol() == crate::reply::Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
        reply.array(count);
        self.buffer.append(&mut body);
        true
    }
}

/// Serves a client without a group; the number of entries, none if there is nothing.
fn read_plain(entries: &StreamTree, from: From, count_max: u64, output: &mut Output<'_>) -> Option<usize> {
    let start = match from {
        From::Last => entries.last()?.id,
        From::Behind(id) => id.next()?,
        From::New | From::History(_) => return None,
    };
    let mut count = 0;
    for entry in entries.range(start, StreamId::MAX) {
        if count as u64 == count_max || !output.has_room() {
            break;
        }
        super::reply_entry(&mut output.reply(), &entry);
        output.wrote_entry();
        count += 1;
    }
    (count > 0).then_some(count)
}

/// What a read has changed in a group.
#[derive(Default)]
struct Changes {
    is_new_consumer: bool,
    pending: Vec<(StreamId, Pending)>,
    /// Pending entries that are in the stream no more.
    released: Vec<StreamId>,
    has_moved: bool,
}

/// A read of one stream by a member of a group.
struct GroupRead<'g, 'o, 'b> {
    log: &'g Log,
    group: &'g mut Group,
    consumer: ConsumerNumber,
    count_max: u64,
    is_acknowledged: bool,
    /// Entries are told with when and how often they were delivered.
    tells_deliveries: bool,
    now: i64,
    output: &'o mut Output<'b>,
    changes: Changes,
    count: usize,
}

impl GroupRead<'_, '_, '_> {
    fn has_room(&self) -> bool {
        (self.count as u64) < self.count_max && self.output.has_room()
    }

    fn wrote_entry(&mut self) {
        self.output.wrote_entry();
        self.count += 1;
    }

    fn hand_out(&mut self, id: StreamId, deliveries: u64) {
        let pending = Pending { consumer: Some(self.consumer), delivered_at: self.now, deliveries };
        self.group.set_pending(id, pending);
        self.changes.pending.push((id, pending));
    }

    /// What the consumer has, again.
    fn history(&mut self, behind: StreamId) {
        let Some(from) = behind.next() else { return };
        let held: Vec<(StreamId, Pending)> = self
            .group
            .held_from(self.consumer, from)
            .take(usize::try_from(self.count_max).unwrap_or(usize::MAX))
            .collect();
        for (id, pending) in held {
            if !self.has_room() {
                break;
            }
            let mut reply = self.output.reply();
            reply.array(2);
            reply_id(&mut reply, id);
            match self.log.entries().get(id) {
                Some(entry) => {
                    reply_fields(&mut reply, &entry);
                    self.hand_out(id, pending.deliveries_with_this());
                }
                None => reply.null_array(),
            }
            self.wrote_entry();
        }
    }

    /// Pending entries of any consumer that have been idle for so long, the longest first.
    fn claim(&mut self, idle_ms: i64) {
        let idle = self.group.pending_from(StreamId::MIN).filter(|(_, pending)| is_idle(pending, self.now, idle_ms));
        let mut idle: Vec<(i64, StreamId)> = idle.map(|(id, pending)| (pending.delivered_at, id)).collect();
        idle.sort_unstable();
        for (_, id) in idle {
            if !self.has_room() {
                break;
            }
            let Some(pending) = self.group.pending(id) else { continue };
            let Some(entry) = self.log.entries().get(id) else {
                self.group.release(id);
                self.changes.released.push(id);
                continue;
            };
            let mut reply = self.output.reply();
            reply.array(4);
            reply_id(&mut reply, id);
            reply_fields(&mut reply, &entry);
            reply.integer(pending.idle_ms(self.now));
            reply.integer(pending.deliveries as i64);
            self.hand_out(id, pending.deliveries_with_this());
            self.wrote_entry();
        }
    }

    /// What the group was not told of yet.
    fn new_entries(&mut self) {
        let Some(from) = self.group.last_id().next() else { return };
        for entry in self.log.entries().range(from, StreamId::MAX) {
            if !self.has_room() {
                break;
            }
            let read = self.log.entries_read_after(self.group, entry.id);
            self.group.set_position(entry.id, read);
            self.changes.has_moved = true;
            let mut reply = self.output.reply();
            reply.array(if self.tells_deliveries { 4 } else { 2 });
            reply_id(&mut reply, entry.id);
            reply_fields(&mut reply, &entry);
            if self.tells_deliveries {
                reply.integer(0);
                reply.integer(0);
            }
            if !self.is_acknowledged {
                self.hand_out(entry.id, 1);
            }
            self.wrote_entry();
        }
    }
}

pub(super) fn is_idle(pending: &Pending, now: i64, idle_ms: i64) -> bool {
    pending.consumer.is_none() || now.saturating_sub(pending.delivered_at) >= idle_ms
}

/// Whether a member of a group would be served.
fn has_something(stream: &Stream, group: &Group, from: From, options: &Options<'_>, now: i64) -> bool {
    let is_claimable = || {
        let idle_ms = options.claim_idle_ms?;
        group
            .pending_from(StreamId::MIN)
            .find(|(id, pending)| is_idle(pending, now, idle_ms) && stream.entries().get(*id).is_some())
    };
    match from {
        From::History(_) => true,
        _ => stream.log().last_present_id().is_some_and(|last| last > group.last_id()) || is_claimable().is_some(),
    }
}

/// Serves a member of a group; whether there was something.
fn serve_group(
    execution: &mut Execution<'_>,
    options: &Options<'_>,
    Reader { group: group_name, consumer: name }: Reader<'_>,
    key: &[u8],
    from: From,
    output: &mut Output<'_>,
) -> Result<bool, CommandError> {
    let now = execution.now;
    let is_served = peek(execution, key)?.is_some_and(|stream| {
        stream.group(group_name).is_some_and(|group| has_something(stream, group, from, options, now))
    });
    let is_history = matches!(from, From::History(_));
    let is_served = is_served && (is_history || output.has_room());
    let done = change(execution, key, |stream, _| {
        stream.change_group(group_name, |log, group| {
            // Who asks is heard of, whether or not there is something.
            let (consumer, is_new_consumer) = group.see_consumer(name, now)?;
            let mut changes = Changes { is_new_consumer, ..Changes::default() };
            if !is_served {
                return Some((changes, group.last_id(), group.entries_read()));
            }
            output.stream(key, |output| {
                let mut read = GroupRead {
                    log,
                    group,
                    consumer,
                    count_max: options.count_max.unwrap_or(u64::MAX),
                    is_acknowledged: options.is_acknowledged,
                    tells_deliveries: options.claim_idle_ms.is_some(),
                    now,
                    output,
                    changes: Changes { is_new_consumer, ..Changes::default() },
                    count: 0,
                };
                match (from, options.claim_idle_ms) {
                    (From::History(behind), _) => read.history(behind),
                    (_, Some(idle_ms)) => {
                        read.claim(idle_ms);
                        read.new_entries();
                    }
                    _ => read.new_entries(),
                }
                changes = read.changes;
                Some(read.count)
            });
            if !is_history && !changes.pending.is_empty() {
                group.note_active(consumer, Some(now));
            }
            Some((changes, group.last_id(), group.entries_read()))
        })
    })?;
    if let Some((changes, last_id, read)) = done.flatten().flatten() {
        execution.keyspace.dirty += u64::from(is_served) + u64::from(changes.is_new_consumer);
        report(execution, key, Reader { group: group_name, consumer: name }, &changes, (last_id, read));
    }
    Ok(is_served)
}

/// Tells of what a read has changed.
fn report(
    execution: &mut Execution<'_>,
    key: &[u8],
    Reader { group, consumer }: Reader<'_>,
    changes: &Changes,
    (last_id, read): (StreamId, Option<i64>),
) {
    if changes.is_new_consumer {
        execution.event(EventClass::Stream, "xgroup-createconsumer", key);
    }
    if !execution.keyspace.journal.wants_effects() {
        return;
    }
    if changes.is_new_consumer {
        execution.effect(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }
    effect_of_release(execution, key, group, &changes.released);
    let mut effects = PendingEffects::new(true, key, group, consumer);
    changes.pending.iter().for_each(|(id, pending)| effects.add(*id, *pending));
    effects.report(execution, last_id);
    if changes.has_moved {
        effect_of_position(execution, key, group, last_id, read);
    }
}

/// There is nothing to read. A client that gave BLOCK may wait until one of the streams has something, or until its time is
/// over.
pub(super) fn nothing_to_read(execution: &mut Execution<'_>, block_ms: Option<i64>) {
    if block_ms.is_some() {
        nothing(execution);
    }
    execution.reply.null_array();
}

/// Hands over a read of much.
fn is_begun_later(
    execution: &mut Execution<'_>,
    options: &Options<'_>,
    sources: &[From],
) -> Result<bool, CommandError> {
    let (mut units, mut bytes) = (0_u64, 0_u64);
    let count_max = options.count_max.unwrap_or(u64::MAX).min(options.total_max.unwrap_or(u64::MAX));
    for (key, from) in options.keys.iter().zip(sources) {
        let Some(stream) = peek(execution, key)? else { continue };
        let entries = stream.entries();
        let group = options.reader.and_then(|reader| stream.group(reader.group));
        // A small limit is as good as the number, which is dearer.
        let behind = |id: StreamId| match count_max {
            ..=FEW => count_max.min(entries.len()),
            _ => id.next().map_or(0, |from| entries.count(from, StreamId::MAX)),
        };
        let count = match (from, group) {
            (From::Behind(id), _) => behind(*id),
            (From::New, Some(group)) => behind(group.last_id()),
            (From::History(_), Some(group)) => group.pending_count(),
            _ => 1,
        };
        let count = count.min(count_max);
        let looked_at = group.filter(|_| options.claim_idle_ms.is_some()).map_or(0, Group::pending_count);
        units += count * if group.is_some() { NOTED_UNITS } else { 1 } + looked_at;
        bytes += (entries.bytes() as u64 / entries.len().max(1)).saturating_mul(count);
    }
    // A group that reads a stream twice is told of its entries once: only the other way sees that.
    let is_twice = |(index, key): (usize, &&[u8])| options.keys[..index].contains(key);
    if !execution.options.is_long(units, bytes)
        || options.reader.is_some() && options.keys.iter().enumerate().any(is_twice)
    {
        return Ok(false);
    }
    let mut work = LongRead::new(options, execution);
    for (key, from) in options.keys.iter().zip(sources) {
        if let Some(stream) = peek(execution, key)? {
            work.add(execution, key, stream, *from);
        }
    }
    execution.later.put(work);
    Ok(true)
}

fn read(execution: &mut Execution<'_>, arguments: &[&[u8]], of_group: bool) -> CommandResult {
    let options = Options::parse(arguments, of_group, execution.now)?;
    let mut sources = Vec::with_capacity(options.keys.len());
    for (key, id) in options.keys.iter().zip(options.ids) {
        sources.push(resolve(execution, &options, key, id)?);
    }
    if is_begun_later(execution, &options, &sources)? {
        return Ok(());
    }
    let mut buffer = ReplyBuffer::default();
    let mut output = Output {
        buffer: &mut buffer,
        protocol: execution.reply.protocol(),
        entries_left: options.total_max.unwrap_or(u64::MAX),
        reply_bytes_max: options.reply_bytes_max.unwrap_or(usize::MAX),
        entries: 0,
    };
    let mut served = 0;
    for (key, from) in options.keys.iter().zip(sources) {
        let is_served = match options.reader {
            Some(reader) => serve_group(execution, &options, reader, key, from, &mut output)?,
            None => peek(execution, key)?.is_some_and(|stream| {
                let count_max = options.count_max.unwrap_or(u64::MAX);
                output.stream(key, |output| read_plain(stream.entries(), from, count_max, output))
            }),
        };
        served += usize::from(is_served);
    }
    if served == 0 {
        nothing_to_read(execution, options.block_ms);
        return Ok(());
    }
    match execution.reply.protocol() {
        crate::reply::Protocol::Resp2 => execution.reply.array(served),
        crate::reply::Protocol::Resp3 => execution.reply.map(served),
    }
    execution.reply.buffer().append(&mut buffer);
    Ok(())
}

/// `XREAD [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub(super) fn xread(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments, false)
}

/// `XREADGROUP GROUP group consumer [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds]
/// [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]`
pub(super) fn xreadgroup(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    read(execution, arguments, true)
}
