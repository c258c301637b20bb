//! A connection as a line of CLIENT LIST. Fields that Torc does not measure are absent.

use super::tracking::redirection;
use crate::core::connection::{Connection, Phase, Receiving};
use std::io::Write;
use torc_engine::audience::Topic;
use torc_engine::reply::Protocol;

/// The line, with its line end.
pub fn client_line(connection: &Connection, shard: usize, now_ns: u64) -> Vec<u8> {
    let mut line = Vec::with_capacity(384);
    // Writing to a vector cannot fail.
    let _ = write_line(&mut line, connection, shard, now_ns);
    line
}

fn write_line(line: &mut Vec<u8>, connection: &Connection, shard: usize, now_ns: u64) -> std::io::Result<()> {
    let seconds_since = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000_000;
    let Connection { id, ends, session, figures, output, .. } = connection;
    let (query_bytes, query_capacity) = (connection.query_buffer.len(), connection.query_buffer.capacity());
    let (bytes_read, argument_bytes) = connection.parser.frame_bytes_read();
    let (output_bytes, output_capacity) = (connection.output_bytes(), output.ready.bytes.capacity());
    let total_bytes = connection.memory_bytes();
    write!(line, "id={id} addr={} laddr={} fd={} name=", ends.peer, ends.local, ends.descriptor.unwrap_or(-1))?;
    line.extend_from_slice(&session.name);
    write!(line, " age={} idle={}", seconds_since(figures.created_ns), seconds_since(figures.active_ns))?;
    write!(line, " flags={} db={}", flags(connection), session.client.database)?;
    let names = |topic| connection.interests.as_ref().map_or(0, |interests| interests.count(topic));
    let (sub, psub, ssub) = (names(Topic::Channel), names(Topic::Pattern), names(Topic::ShardChannel));
    let transaction = &connection.transaction;
    let multi = transaction.queued().map_or(-1, |count| count as i64);
    write!(line, " sub={sub} psub={psub} ssub={ssub} multi={multi}")?;
    write!(line, " watch={} qbuf={}", transaction.watched_keys(), query_bytes.saturating_sub(bytes_read))?;
    write!(line, " qbuf-free={} argv-mem={argument_bytes}", query_capacity - query_bytes)?;
    write!(line, " multi-mem={}", transaction.queued_bytes())?;
    // The buffer only grows while replies wait in it: its size is its peak.
    write!(line, " rbs={output_capacity} rbp={output_capacity}")?;
    write!(line, " obl={} oll={}", output.ready.bytes.len(), output.ready.shared.len())?;
    write!(line, " omem={output_bytes} tot-mem={total_bytes} events={}", events(connection))?;
    write!(line, " cmd={}", figures.last_command.map_or("NULL", |entry| &entry.full_name))?;
    line.extend_from_slice(b" user=");
    line.extend_from_slice(&session.access.user().name);
    write!(line, " redir={}", redirection(connection))?;
    write!(line, " resp={}", if session.client.protocol == Protocol::Resp3 { 3 } else { 2 })?;
    line.extend_from_slice(b" lib-name=");
    line.extend_from_slice(&session.library_name);
    line.extend_from_slice(b" lib-ver=");
    line.extend_from_slice(&session.library_version);
    write!(line, " tot-net-in={} tot-net-out={}", figures.received_bytes, figures.sent_bytes)?;
    writeln!(line, " tot-cmds={} capa={} shard={shard}", figures.commands, capabilities(connection))
}

/// The letters that clients may ask for; some stand for what no connection of this version can be.
pub(super) const FLAGS: &str = "AbBcdeiIMNOPrRStTuUx";
/// What clients may say of their abilities (CLIENT CAPA).
pub(super) const CAPABILITIES: &str = "r";

/// What the client has said that it is able to do.
pub(super) fn capabilities(connection: &Connection) -> &'static str {
    if connection.session.redirect_capable { "r" } else { "" }
}

/// One letter a property, N for none.
pub(super) fn flags(connection: &Connection) -> String {
    let session = &connection.session;
    let letters = [
        ('O', connection.is_monitor()),
        ('P', connection.is_subscriber()),
        ('t', connection.tracking().is_some()),
        ('R', connection.tracking().is_some_and(|tracking| tracking.is_broken)),
        ('B', connection.tracking().is_some_and(|tracking| tracking.is_broadcast)),
        ('c', connection.phase == Phase::Closing),
        ('A', connection.phase == Phase::Dead),
        ('b', connection.blocked_on.is_some()),
        ('x', connection.transaction.is_open()),
        ('U', connection.ends.is_unix),
        ('e', session.no_evict),
        ('I', session.import_source),
        ('T', session.client.no_touch),
    ];
    let set: String = letters.into_iter().filter(|(_, is_set)| *is_set).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// What the connection waits for from its socket.
fn events(connection: &Connection) -> &'static str {
    match (connection.receiving == Receiving::On, connection.is_sending) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "",
    }
}
