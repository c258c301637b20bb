//! From the journal to the outputs of subscribers.

use super::super::Core;
use super::super::batches::shards_of;
use super::super::connection::{Connection, ConnectionKey, Phase};
use super::super::tracking::Address;
use super::{Known, Notice, Subscribers};
use crate::settings::OutputLimit;
use bytes::Bytes;
use torc_engine::commands::glob::{Case, matches};
use torc_engine::journal::{Event, EventClass, MESSAGE, SHARD_MESSAGE};
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};

/// The subscribers that all know of.
fn hearing(subscribers: &Subscribers) -> impl Iterator<Item = ConnectionKey> {
    subscribers.iter().filter(|(_, known)| **known == Known::Everywhere).map(|(key, _)| *key)
}

/// Something that waits for the end of a connection's command.
pub(in crate::core) struct Later(Box<Deed>);

type Deed = dyn FnOnce(&mut Core, &mut Connection);

/// Names as messages list them: `3:one,5:three`.
fn listed(names: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(name.len().to_string().as_bytes());
        text.push(b':');
        text.extend_from_slice(name);
    }
    text
}

/// A push message, encoded when the first subscriber of a protocol is met.
struct Push<'a> {
    parts: &'a [&'a [u8]],
    encoded: [Option<Bytes>; 2],
}

impl<'a> Push<'a> {
    fn new(parts: &'a [&'a [u8]]) -> Self {
        Self { parts, encoded: [None, None] }
    }

    fn encoded(&mut self, protocol: Protocol) -> &Bytes {
        self.encoded[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut out = ReplyBuffer::default();
            let mut reply = Reply::new(&mut out, protocol);
            reply.push(self.parts.len());
            self.parts.iter().for_each(|part| reply.bulk(part));
            out.bytes.into()
        })
    }
}

impl Connection {
    /// Adds a push behind every reply that has a place, but for that of a command that waits for a key. A connection above
    /// its limit is cut off at once, so that a burst of messages takes no more memory than the limit allows.
    pub(in crate::core) fn push(&mut self, encoded: &Bytes, limit: OutputLimit) {
        if !matches!(self.phase, Phase::Open | Phase::Moving(_)) {
            return;
        }
        let out = self.output.tail();
        let protocol = self.session.client.protocol;
        Reply::new(out, protocol).splice_shared(encoded);
        // Only who has much unsent is weighed.
        let is_long = out.bytes.len() as u64 > limit.hard_bytes / 2 || !out.shared.is_empty();
        if self.lets_pass {
            self.output.let_pass();
        }
        if limit.hard_bytes > 0 && is_long && self.output_bytes() as u64 >= limit.hard_bytes {
            tracing::warn!(id = self.id, "Client closed for overcoming of output buffer limits.");
            self.phase = Phase::Dead;
        }
    }
}

impl Core {
    /// Works off what commands have reported for subscribers, in order.
    #[inline]
    pub fn tell(&mut self) {
        if self.shard.keyspace.journal.has_events() {
            self.tell_events();
        }
    }

    #[cold]
    fn tell_events(&mut self) {
        for event in self.shard.keyspace.journal.take_events() {
            if event.class == EventClass::Published {
                let is_sharded = event.name == SHARD_MESSAGE;
                let message = event.subkeys.into_iter().next().unwrap_or_default();
                self.tell_all(is_sharded, event.key.into(), message.into());
            } else {
                self.counters.events += 1;
                self.tell_event(&event);
            }
        }
    }

    /// A message, to subscribers on all shards.
    fn tell_all(&mut self, is_sharded: bool, channel: Bytes, message: Bytes) {
        if self.shared.shards() > 1 {
            let receivers = self.shard.keyspace.journal.audience().borrow().receivers(is_sharded, &channel);
            let others = receivers.shards & !(1 << self.index);
            if others != 0 {
                let (channel, message) = (channel.clone(), message.clone());
                self.notify_each(shards_of(others), &Notice::Published { is_sharded, channel, message });
            }
        }
        self.tell_subscribers(is_sharded, &channel, &message);
    }

    /// An event, on each channel that `notify-keyspace-events` asks for.
    fn tell_event(&mut self, event: &Event) {
        let (wanted, Event { database, name, key, subkeys, .. }) = (self.settings.events, event);
        let name = name.as_bytes();
        let channel = |kind: &str, parts: &[&[u8]]| {
            let head = format!("__{kind}@{database}__:");
            Bytes::from([head.as_bytes(), &parts.concat()].concat())
        };
        if wanted.has(b'K') {
            self.tell_all(false, channel("keyspace", &[key]), Bytes::from_static(name));
        }
        if wanted.has(b'E') {
            self.tell_all(false, channel("keyevent", &[name]), Bytes::copy_from_slice(key));
        }
        if subkeys.is_empty() || !wanted.has_subkeys() {
            return;
        }
        let listed = listed(subkeys);
        if wanted.has(b'S') {
            self.tell_all(false, channel("subkeyspace", &[key]), [name, b"|", &listed].concat().into());
        }
        if wanted.has(b'T') {
            let message = [&self::listed(std::slice::from_ref(key)), &b"|"[..], &listed].concat();
            self.tell_all(false, channel("subkeyevent", &[name]), message.into());
        }
        // Its channels end the key's name with a line end.
        if wanted.has(b'I') && !key.contains(&b'\n') {
            for subkey in subkeys {
                let channel = channel("subkeyspaceitem", &[key, b"\n", subkey]);
                self.tell_all(false, channel, Bytes::from_static(name));
            }
        }
        if wanted.has(b'V') {
            self.tell_all(false, channel("subkeyspaceevent", &[name, b"|", key]), listed.into());
        }
    }

    /// A message, to the subscribers of this shard.
    pub(super) fn tell_subscribers(&mut self, is_sharded: bool, channel: &[u8], message: &[u8]) {
        let pubsub = std::mem::take(&mut self.pubsub);
        if is_sharded {
            if let Some(subscribers) = pubsub.shard_channels.get(channel) {
                let parts = [SHARD_MESSAGE.as_bytes(), channel, message];
                self.push_to_each(hearing(subscribers), &mut Push::new(&parts));
            }
        } else {
            if let Some(subscribers) = pubsub.channels.get(channel) {
                let parts = [MESSAGE.as_bytes(), channel, message];
                self.push_to_each(hearing(subscribers), &mut Push::new(&parts));
            }
            for (pattern, subscribers) in &pubsub.patterns {
                if matches(pattern, channel, Case::Sensitive) {
                    let parts = [b"pmessage", &**pattern, channel, message];
                    self.push_to_each(hearing(subscribers), &mut Push::new(&parts));
                }
            }
        }
        let held = std::mem::replace(&mut self.pubsub, pubsub).held;
        self.pubsub.held.extend(held);
    }

    fn push_to_each(&mut self, keys: impl Iterator<Item = ConnectionKey>, push: &mut Push<'_>) {
        let limit = self.settings.output_limit_pubsub;
        for key in keys {
            let slot = &mut self.connections[key.index as usize];
            if slot.generation != key.generation {
                continue;
            }
            let Some(connection) = slot.connection.as_deref_mut() else {
                let encoded = [Protocol::Resp2, Protocol::Resp3].map(|protocol| push.encoded(protocol).clone());
                self.hold(key, move |core, connection| {
                    core.push(connection, &encoded[usize::from(connection.protocol() == Protocol::Resp3)]);
                });
                continue;
            };
            let encoded = push.encoded(connection.session.client.protocol);
            connection.push(encoded, limit);
            if !connection.is_dirty {
                connection.is_dirty = true;
                self.dirty.push(key);
            }
        }
    }

    /// Adds a push to a connection's output.
    pub(in crate::core) fn push(&mut self, connection: &mut Connection, encoded: &Bytes) {
        let settings = &self.settings;
        let limit = if connection.is_listener() { settings.output_limit_pubsub } else { settings.output_limit };
        connection.push(encoded, limit);
        self.mark_dirty(connection);
    }

    /// Does something with a connection, now or, if its command is under way, when that is over; false if it is gone.
    pub fn with_connection(
        &mut self,
        key: ConnectionKey,
        act: impl FnOnce(&mut Self, &mut Connection) + 'static,
    ) -> bool {
        if self.connections.get(key.index as usize).is_none_or(|slot| slot.generation != key.generation) {
            return false;
        }
        if let Some(mut connection) = self.take_connection(key) {
            act(self, &mut connection);
            self.mark_dirty(&mut connection);
            self.put_connection(connection);
        } else {
            self.hold(key, act);
        }
        true
    }

    /// A command of this connection is under way.
    #[cold]
    fn hold(&mut self, key: ConnectionKey, act: impl FnOnce(&mut Self, &mut Connection) + 'static) {
        self.pubsub.held.push((key, Later(Box::new(act))));
    }

    /// Tells what a command has reported and changed, with the connection that sent it at hand.
    #[cold]
    pub(in crate::core) fn tell_behind(&mut self, connection: &mut Connection) {
        let by = Address { shard: self.index as u32, connection: connection.key };
        self.invalidate(Some(by));
        self.tell();
        self.do_held(connection);
    }

    /// Does what waited for the end of a connection's command.
    fn do_held(&mut self, connection: &mut Connection) {
        for (key, Later(act)) in std::mem::take(&mut self.pubsub.held) {
            if key == connection.key {
                act(self, connection);
            } else {
                self.pubsub.held.push((key, Later(act)));
            }
        }
    }

    /// A connection is back in its place: does what waited for that.
    #[cold]
    pub(in crate::core) fn push_held(&mut self, key: ConnectionKey) {
        if let Some(mut connection) = self.take_connection(key) {
            self.do_held(&mut connection);
            self.connections[key.index as usize].connection = Some(connection);
            self.mark_dirty_key(key);
        }
    }
}
