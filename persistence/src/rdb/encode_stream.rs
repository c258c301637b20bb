//! Streams; the drawing is in [`decode_stream`](super::decode_stream).

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

pub(super) fn stream(stream: &Stream, kind: u8, out: &mut Output<'_>) {
    let entries = stream.entries();
    out.number(entries.node_count());
    for node in entries.nodes() {
        out.plain_text(&node.first_id().to_bytes());
        out.plain_text(node.list().as_bytes());
    }
    out.number(entries.len());
    let log = stream.log();
    for known in [log.last_id(), log.first_id(), log.deleted_id_max()] {
        id(known, out);
    }
    out.number(log.entries_added());
    let groups = stream.groups();
    out.number(groups.len() as u64);
    for (name, one) in groups {
        out.text(name);
        group(one, kind, out);
    }
    if kind >= kinds::STREAM_4 {
        match stream.idempotency() {
            Some(idempotency) => producers(idempotency, out),
            None => producers(&Idempotency::default(), out),
        }
    }
}

fn id(id: StreamId, out: &mut Output<'_>) {
    out.number(id.ms);
    out.number(id.sequence);
}

fn group(group: &Group, kind: u8, out: &mut Output<'_>) {
    id(group.last_id(), out);
    out.number(group.entries_read().unwrap_or(-1) as u64);
    out.number(group.pending_count());
    for (id, pending) in group.pending_from(StreamId::MIN) {
        out.raw(&id.to_bytes());
        out.i64(pending.delivered_at);
        out.number(pending.deliveries);
    }
    out.number(group.consumer_count() as u64);
    for (number, consumer) in group.consumers() {
        out.text(consumer.name());
        out.i64(consumer.seen_at);
        if kind >= kinds::STREAM_3 {
            out.i64(consumer.seen_at);
        }
        out.number(consumer.held_count());
        for (id, _) in group.held_from(number, StreamId::MIN) {
            out.raw(&id.to_bytes());
        }
    }
    if kind >= kinds::STREAM_5 {
        let given_back =
            || group.pending_from(StreamId::MIN).filter(|(_, pending)| pending.consumer.is_none()).map(|(id, _)| id);
        out.number(given_back().count() as u64);
        given_back().for_each(|id| out.raw(&id.to_bytes()));
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
