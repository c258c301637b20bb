//! Streams; the drawing is in [`decode_stream`](super::decode_stream).

use super::decode_stream::NEVER;
use super::encode::{Plan, Readers};
use super::output::Output;
use super::{Version, kinds};
use torc_engine::values::stream::{Group, Idempotency, Stream, StreamId};

pub(super) fn plan(stream: &Stream, readers: Readers) -> Plan {
    let was_given_back = stream
        .groups()
        .any(|(_, group)| group.pending_from(StreamId::MIN).any(|(_, pending)| pending.consumer.is_none()));
    let (kind, version) = if was_given_back {
        (kinds::STREAM_5, Version::GIVEN_BACK)
    } else if stream.idempotency().is_some_and(Idempotency::is_of_note) {
        (kinds::STREAM_4, Version::PRODUCERS)
    } else if readers.version >= Version::PACKED_SETS {
        (kinds::STREAM_3, Version::PACKED_SETS)
    } else {
        (kinds::STREAM_2, Version::LISTPACKS)
    };
    Plan { kind, version }
}

/// How far a stream has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StreamPlace {
    #[default]
    Head,
    /// Its nodes, from the one of an ID on.
    Nodes(StreamId),
    Log,
    /// A group: what it has not acknowledged, from an ID on.
    Pending(usize, Option<StreamId>),
    /// A consumer of a group: what it holds, from an ID on.
    Held(usize, usize, Option<StreamId>),
    /// What is given back, from an ID on.
    GivenBack(usize, Option<StreamId>),
    Producers,
    Done,
}

impl StreamPlace {
    /// Appends about `budget` entries more; whether that was all.
    pub(super) fn step(&mut self, stream: &Stream, kind: u8, budget: usize, out: &mut Output<'_>) -> bool {
        let mut left = budget;
        while left > 0 && *self != Self::Done {
            *self = match *self {
                Self::Head => {
                    out.number(stream.entries().node_count());
                    stream.entries().first_node().map_or(Self::Log, |node| Self::Nodes(node.first_id()))
                }
                Self::Nodes(from) => nodes(stream, from, &mut left, out),
                Self::Log => {
                    log(stream, out);
                    Self::Pending(0, None)
                }
                Self::Pending(at, from) => pending(stream, (at, from), kind, &mut left, out),
                Self::Held(at, consumer, from) => held(stream, (at, consumer, from), kind, &mut left, out),
                Self::GivenBack(at, from) => given_back(stream, (at, from), &mut left, out),
                Self::Producers => {
                    if kind >= kinds::STREAM_4 {
                        match stream.idempotency() {
                            Some(idempotency) => producers(idempotency, out),
                            None => producers(&Idempotency::default(), out),
                        }
                    }
                    Self::Done
                }
                Self::Done => Self::Done,
            };
            left = left.saturating_sub(1);
        }
        *self == Self::Done
    }
}

/// Appends what a part of many consists of, up to where the budget ends; where it goes on, if it does.
fn some_of<T>(
    items: impl Iterator<Item = (StreamId, T)>,
    left: &mut usize,
    mut write: impl FnMut(StreamId, T),
) -> Option<StreamId> {
    for (id, item) in items {
        if *left == 0 {
            return Some(id);
        }
        *left -= 1;
        write(id, item);
    }
    None
}

fn nodes(stream: &Stream, from: StreamId, left: &mut usize, out: &mut Output<'_>) -> StreamPlace {
    for node in stream.entries().nodes_from(from) {
        if *left == 0 {
            return StreamPlace::Nodes(node.first_id());
        }
        out.plain_text(&node.first_id().to_bytes());
        out.plain_text(node.list().as_bytes());
        *left = left.saturating_sub(node.list().len() / ELEMENTS_AN_ENTRY);
    }
    StreamPlace::Log
}

/// Elements that an entry takes in a node at the least.
const ELEMENTS_AN_ENTRY: usize = 4;

fn log(stream: &Stream, out: &mut Output<'_>) {
    let log = stream.log();
    out.number(stream.entries().len());
    for known in [log.last_id(), log.first_id(), log.deleted_id_max()] {
        id(known, out);
    }
    out.number(log.entries_added());
    out.number(stream.groups().len() as u64);
}

fn id(id: StreamId, out: &mut Output<'_>) {
    out.number(id.ms);
    out.number(id.sequence);
}

fn pending(
    stream: &Stream,
    (at, from): (usize, Option<StreamId>),
    kind: u8,
    left: &mut usize,
    out: &mut Output<'_>,
) -> StreamPlace {
    let Some((name, group)) = stream.groups().nth(at) else { return StreamPlace::Producers };
    if from.is_none() {
        out.text(name);
        id(group.last_id(), out);
        out.number(group.entries_read().unwrap_or(-1) as u64);
        out.number(group.pending_count());
    }
    let rest = some_of(group.pending_from(from.unwrap_or(StreamId::MIN)), left, |id, pending| {
        out.raw(&id.to_bytes());
        out.i64(pending.delivered_at);
        out.number(pending.deliveries);
    });
    if let Some(next) = rest {
        return StreamPlace::Pending(at, Some(next));
    }
    out.number(group.consumer_count() as u64);
    after_consumer(group, at, 0, kind)
}

/// Where a group goes on behind so many of its consumers.
fn after_consumer(group: &Group, at: usize, consumers: usize, kind: u8) -> StreamPlace {
    if consumers < group.consumer_count() {
        StreamPlace::Held(at, consumers, None)
    } else if kind >= kinds::STREAM_5 {
        StreamPlace::GivenBack(at, None)
    } else {
        StreamPlace::Pending(at + 1, None)
    }
}

fn held(
    stream: &Stream,
    (at, index, from): (usize, usize, Option<StreamId>),
    kind: u8,
    left: &mut usize,
    out: &mut Output<'_>,
) -> StreamPlace {
    let Some((_, group)) = stream.groups().nth(at) else { return StreamPlace::Producers };
    let Some((number, consumer)) = group.consumers().nth(index) else {
        return after_consumer(group, at, group.consumer_count(), kind);
    };
    if from.is_none() {
        out.text(consumer.name());
        out.i64(consumer.seen_at);
        if kind >= kinds::STREAM_3 {
            out.i64(consumer.active_at.unwrap_or(NEVER));
        }
        out.number(consumer.held_count());
    }
    let held = group.held_from(number, from.unwrap_or(StreamId::MIN));
    match some_of(held, left, |id, _| out.raw(&id.to_bytes())) {
        Some(next) => StreamPlace::Held(at, index, Some(next)),
        None => after_consumer(group, at, index + 1, kind),
    }
}

fn given_back(
    stream: &Stream,
    (at, from): (usize, Option<StreamId>),
    left: &mut usize,
    out: &mut Output<'_>,
) -> StreamPlace {
    let Some((_, group)) = stream.groups().nth(at) else { return StreamPlace::Producers };
    let given_back = |from| group.pending_from(from).filter(|(_, pending)| pending.consumer.is_none());
    if from.is_none() {
        out.number(given_back(StreamId::MIN).count() as u64);
    }
    match some_of(given_back(from.unwrap_or(StreamId::MIN)), left, |id, _| out.raw(&id.to_bytes())) {
        Some(next) => StreamPlace::GivenBack(at, Some(next)),
        None => StreamPlace::Pending(at + 1, None),
    }
}

fn producers(idempotency: &Idempotency, out: &mut Output<'_>) {
    let limits = idempotency.limits();
    out.number(u64::from(limits.duration_s));
    out.number(u64::from(limits.count_max));
    let producers = idempotency.producers();
    out.number(producers.len() as u64);
    for (name, entries) in producers {
        out.text(name);
        out.number(entries.len() as u64);
        for (name, added) in entries {
            out.text(name);
            id(added, out);
        }
    }
    out.number(idempotency.added);
    out.number(idempotency.duplicates);
}
