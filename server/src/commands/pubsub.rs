//! SUBSCRIBE, UNSUBSCRIBE and their like: what a connection listens to. Each name is answered by a push of its own.

use super::SessionCommand;
use crate::core::session::{Session, SessionResult};
use torc_engine::audience::Topic;
use torc_engine::command::argument::{block, pattern, string};
use torc_engine::command::{Arity, Channels, Flags, KeyFlags, KeySpec, Spec};
use torc_engine::reply::{Reply, ReplyBuffer};

const ROW: Spec = Spec {
    group: "pubsub",
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    since: "2.0.0",
    ..Spec::BASE
};
const SUBSCRIBE: Spec = Spec { arity: Arity::AtLeast(2), complexity: "O(N) in the number of names", ..ROW };
const UNSUBSCRIBE: Spec = Spec { complexity: "O(N) in the number of names", ..ROW };
const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::range(KeyFlags::NOT_KEY, 1, -1, 1)];

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    SessionCommand {
        spec: Spec {
            name: "psubscribe",
            channels: Channels::Patterns,
            summary: "Listens to all channels that fit a pattern",
            arguments: &[block("pattern", &[pattern("pattern")]).multiple()],
            ..SUBSCRIBE
        },
        syntax: "pattern [pattern ...]",
        run: |session, arguments| subscribe(session, arguments, Topic::Pattern, "psubscribe"),
    },
    SessionCommand {
        spec: Spec {
            name: "punsubscribe",
            summary: "Stops listening by patterns: by these, or by all",
            arguments: &[pattern("pattern").optional().multiple()],
            ..UNSUBSCRIBE
        },
        syntax: "[pattern ...]",
        run: |session, arguments| unsubscribe(session, arguments, Topic::Pattern, "punsubscribe"),
    },
    SessionCommand {
        spec: Spec {
            name: "ssubscribe",
            channels: Channels::All,
            keys: SHARD_CHANNELS,
            since: "7.0.0",
            summary: "Listens to shard channels",
            arguments: &[string("shardchannel").multiple()],
            ..SUBSCRIBE
        },
        syntax: "shardchannel [shardchannel ...]",
        run: |session, arguments| subscribe(session, arguments, Topic::ShardChannel, "ssubscribe"),
    },
    SessionCommand {
        spec: Spec {
            name: "subscribe",
            channels: Channels::All,
            summary: "Listens to channels",
            arguments: &[string("channel").multiple()],
            ..SUBSCRIBE
        },
        syntax: "channel [channel ...]",
        run: |session, arguments| subscribe(session, arguments, Topic::Channel, "subscribe"),
    },
    SessionCommand {
        spec: Spec {
            name: "sunsubscribe",
            keys: SHARD_CHANNELS,
            since: "7.0.0",
            summary: "Stops listening to shard channels: to these, or to all",
            arguments: &[string("shardchannel").optional().multiple()],
            ..UNSUBSCRIBE
        },
        syntax: "[shardchannel ...]",
        run: |session, arguments| unsubscribe(session, arguments, Topic::ShardChannel, "sunsubscribe"),
    },
    SessionCommand {
        spec: Spec {
            name: "unsubscribe",
            summary: "Stops listening to channels: to these, or to all",
            arguments: &[string("channel").optional().multiple()],
            ..UNSUBSCRIBE
        },
        syntax: "[channel ...]",
        run: |session, arguments| unsubscribe(session, arguments, Topic::Channel, "unsubscribe"),
    },
];

/// How many names the connection listens to, as replies about this kind tell it.
fn count(session: &Session<'_>, topic: Topic) -> i64 {
    let Some(interests) = &session.connection.interests else { return 0 };
    match topic {
        Topic::ShardChannel => interests.count(topic) as i64,
        _ => (interests.count(Topic::Channel) + interests.count(Topic::Pattern)) as i64,
    }
}

/// One name's answer; nothing to listen to any more is told as no name.
fn tell(session: &Session<'_>, out: &mut ReplyBuffer, kind: &str, topic: Topic, name: Option<&[u8]>) {
    let mut reply = Reply::new(out, session.connection.protocol());
    reply.push(3);
    reply.bulk(kind.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count(session, topic));
}

fn subscribe(session: &mut Session<'_>, arguments: &[&[u8]], topic: Topic, kind: &str) -> SessionResult {
    let (mut changes, mut out) = (Vec::new(), ReplyBuffer::default());
    for name in &arguments[1..] {
        changes.extend(session.core.subscribe(session.connection, topic, name));
        tell(session, &mut out, kind, topic, Some(name));
    }
    session.core.announce(changes, Some((session.connection, out)));
    Ok(())
}

fn unsubscribe(session: &mut Session<'_>, arguments: &[&[u8]], topic: Topic, kind: &str) -> SessionResult {
    let all = || session.connection.interests.as_ref().map_or(Vec::new(), |interests| interests.listed(topic));
    let names = if arguments.len() > 1 { arguments[1..].iter().map(|name| Box::from(*name)).collect() } else { all() };
    let (mut changes, mut out) = (Vec::new(), ReplyBuffer::default());
    for name in &names {
        changes.extend(session.core.unsubscribe(session.connection, topic, name));
        tell(session, &mut out, kind, topic, Some(name));
    }
    if names.is_empty() {
        tell(session, &mut out, kind, topic, None);
    }
    session.core.announce(changes, Some((session.connection, out)));
    Ok(())
}
