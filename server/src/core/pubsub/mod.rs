//! Publish and subscribe: who of this shard's connections listens to what, and what they are told.
//!
//! ```text
//!   SUBSCRIBE ──> table of this shard ──> every shard sends (a multicast) ──> it hears ──> every shard counts it ──> answered
//!
//!   PUBLISH, events of keys ──> journal ──tell──> our subscribers' outputs, behind every reply that has a place there
//!                                          └────> a notice to each shard that has subscribers, and to no other
//! ```
//!
//! * *Order.* Messages lie in the journal among the events of keys, in the order in which commands ran. [`Core::tell`]
//!   works it off before anything else leaves the shard: requests, answers, replies. So whoever learns of a command, by its
//!   reply or by what it did, finds that its messages are ahead of him on the way to every subscriber.
//! * *Its own messages* reach a connection behind the reply of the command that caused them, as any push behind the replies
//!   that were awaited when it came.
//! * *Whoever is counted hears.* A subscription hears nothing until all shards send it messages, for it would hear with gaps;
//!   and no shard counts it before it hears.
//! * *Encoded once* a shard and protocol; subscribers copy the short ones and share the long ones.
//! * *A connection that listens does not move:* other shards know where it is.
//! * *Bounds:* what waits for a subscriber counts against `client-output-buffer-limit pubsub`, looked at as it is added.
//!   What is under way to another shard counts against the credit of that pair; who would publish beyond it is not read.

mod interests;
mod monitor;
mod notices;
mod tell;

pub use interests::Interests;
pub use notices::{Notice, Notices};
pub(super) use tell::Later;

use super::Core;
use super::connection::{Connection, ConnectionKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use torc_engine::audience::{Change, Topic};
use torc_engine::reply::ReplyBuffer;

/// The connections of one shard that listen to one name. In order, so that a run can be repeated.
type Subscribers = BTreeMap<ConnectionKey, Known>;

/// Whether all shards know of a subscription, so that it hears and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Here,
    Everywhere,
}

/// One change of what a shard's connections listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudienceChange {
    /// What kind of name.
    pub topic: Topic,
    /// The name.
    pub name: Box<[u8]>,
    /// By how many more, or fewer.
    pub by: Change,
}

/// The part of a shard that tells.
#[derive(Default)]
pub(super) struct PubSub {
    channels: HashMap<Box<[u8]>, Subscribers>,
    shard_channels: HashMap<Box<[u8]>, Subscribers>,
    patterns: BTreeMap<Box<[u8]>, Subscribers>,
    /// Connections of this shard that have subscribed.
    subscribers: usize,
    /// Connections of this shard that watch all commands.
    monitors: BTreeSet<ConnectionKey>,
    /// Whether any connection of any shard does.
    pub(super) is_monitored: bool,
    outgoing: notices::Outgoing,
    /// What is for the connection whose command runs: its place in the slab is empty until that is over.
    held: Vec<(ConnectionKey, Later)>,
}

impl PubSub {
    /// For one of so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { outgoing: notices::Outgoing::new(shards), ..Self::default() }
    }

    /// Whether something waits for the end of a command.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many connections listen.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers
    }

    fn add(&mut self, topic: Topic, name: &[u8], key: ConnectionKey) {
        let subscribers = match topic {
            Topic::Channel => self.channels.entry(name.into()).or_default(),
            Topic::ShardChannel => self.shard_channels.entry(name.into()).or_default(),
            Topic::Pattern => self.patterns.entry(name.into()).or_default(),
            Topic::Prefix | Topic::Monitor => return,
        };
        subscribers.insert(key, Known::Here);
    }

    /// All shards send now what a connection listens to, if it still does: it hears, and they are to count it.
    fn confirm(&mut self, key: ConnectionKey, changes: &[AudienceChange]) -> Vec<AudienceChange> {
        let mut counted = Vec::new();
        for AudienceChange { topic, name, .. } in changes {
            let subscribers = match topic {
                Topic::Channel => self.channels.get_mut(name),
                Topic::ShardChannel => self.shard_channels.get_mut(name),
                Topic::Pattern => self.patterns.get_mut(name),
                Topic::Prefix | Topic::Monitor => None,
            };
            if let Some(known) = subscribers.and_then(|subscribers| subscribers.get_mut(&key))
                && std::mem::replace(known, Known::Everywhere) == Known::Here
            {
                counted.push(AudienceChange { topic: *topic, name: name.clone(), by: Change::COUNTS });
            }
        }
        counted
    }

    /// What the end of a subscription changes.
    fn remove(&mut self, topic: Topic, name: Box<[u8]>, key: ConnectionKey) -> AudienceChange {
        let mut known = None;
        let without = |subscribers: &mut Subscribers| {
            known = subscribers.remove(&key);
            subscribers.is_empty()
        };
        match topic {
            Topic::Channel => {
                if self.channels.get_mut(&name).is_some_and(without) {
                    self.channels.remove(&name);
                }
            }
            Topic::ShardChannel => {
                if self.shard_channels.get_mut(&name).is_some_and(without) {
                    self.shard_channels.remove(&name);
                }
            }
            Topic::Pattern => {
                if self.patterns.get_mut(&name).is_some_and(without) {
                    self.patterns.remove(&name);
                }
            }
            Topic::Prefix | Topic::Monitor => {}
        }
        let by = if known == Some(Known::Everywhere) { Change::ENDS } else { Change::ENDS_UNCOUNTED };
        AudienceChange { topic, name, by }
    }
}

impl Core {
    /// A connection begins to listen to these names; each is new to it or not. What all shards are to hear of it.
    pub fn subscribe(&mut self, connection: &mut Connection, topic: Topic, name: &[u8]) -> Option<AudienceChange> {
        let interests = connection.interests.get_or_insert_default();
        let was_subscriber = interests.is_subscriber();
        if !interests.insert(topic, name) {
            return None;
        }
        self.pubsub.subscribers += usize::from(!was_subscriber);
        self.pubsub.add(topic, name, connection.key);
        Some(AudienceChange { topic, name: name.into(), by: Change::LISTENS })
    }

    /// A connection listens to a name no longer, if it did.
    pub fn unsubscribe(&mut self, connection: &mut Connection, topic: Topic, name: &[u8]) -> Option<AudienceChange> {
        let interests = connection.interests.as_deref_mut()?;
        if !interests.remove(topic, name) {
            return None;
        }
        self.pubsub.subscribers -= usize::from(!interests.is_subscriber());
        let change = self.pubsub.remove(topic, name.into(), connection.key);
        connection.forget_interests();
        Some(change)
    }

    /// A connection listens to nothing any more: RESET, or its end.
    pub fn lose_interest(&mut self, connection: &mut Connection) {
        let mut changes = self.end_tracking(connection);
        changes.extend(self.end_monitoring(connection));
        let Some(interests) = connection.interests.as_deref_mut() else { return self.announce(changes, None) };
        self.pubsub.subscribers -= usize::from(interests.is_subscriber());
        for (topic, name) in interests.take_names() {
            changes.push(self.pubsub.remove(topic, name, connection.key));
        }
        connection.forget_interests();
        self.announce(changes, None);
    }

    /// A connection watches all commands from now on; none if it does already.
    pub fn begin_monitoring(&mut self, connection: &mut Connection) -> Option<AudienceChange> {
        let interests = connection.interests.get_or_insert_default();
        if std::mem::replace(&mut interests.is_monitor, true) {
            return None;
        }
        self.pubsub.monitors.insert(connection.key);
        Some(AudienceChange { topic: Topic::Monitor, name: Box::default(), by: Change::LISTENS })
    }

    fn end_monitoring(&mut self, connection: &mut Connection) -> Option<AudienceChange> {
        let interests = connection.interests.as_deref_mut()?;
        if !std::mem::take(&mut interests.is_monitor) {
            return None;
        }
        self.pubsub.monitors.remove(&connection.key);
        connection.forget_interests();
        Some(AudienceChange { topic: Topic::Monitor, name: Box::default(), by: Change::ENDS_UNCOUNTED })
    }

    /// Tells all shards what has changed; the reply, if one is owed, follows when all have heard. Whoever listens to more
    /// sends nothing meanwhile that might be about it.
    pub fn announce(&mut self, changes: Vec<AudienceChange>, reply: Option<(&mut Connection, ReplyBuffer)>) {
        if !changes.is_empty() {
            self.hear_of_subscribers(self.index, &changes);
        }
        if self.shared.shards() > 1 && !changes.is_empty() {
            let reply = reply.map(|(connection, reply)| {
                connection.waits_for_answers |= changes.iter().any(|change| change.by.listening > 0);
                (connection, reply)
            });
            return self.start_announcement(changes, reply);
        }
        if let Some((connection, mut reply)) = reply {
            self.count_listener(connection.key, &changes);
            connection.output.tail().append(&mut reply);
        }
    }

    /// All shards send now what a connection has begun to listen to: what they are told before it is answered.
    pub(super) fn count_listener(&mut self, key: ConnectionKey, changes: &[AudienceChange]) -> Vec<AudienceChange> {
        let counted = self.pubsub.confirm(key, changes);
        if !counted.is_empty() {
            self.hear_of_subscribers(self.index, &counted);
        }
        counted
    }

    /// What connections of a shard listen to has changed.
    pub fn hear_of_subscribers(&mut self, shard: usize, changes: &[AudienceChange]) {
        {
            let mut audience = self.shard.keyspace.journal.audience().borrow_mut();
            for AudienceChange { topic, name, by } in changes {
                audience.change(*topic, name, shard, *by);
            }
            self.pubsub.is_monitored = audience.monitors() != 0;
        }
        self.listen_to_events();
        self.want_changes();
    }

    /// A connection is gone: nobody is to look for it.
    pub(super) fn forget_listener(&mut self, key: ConnectionKey) {
        if self.connection_mut(key).is_some_and(|connection| connection.interests.is_some()) {
            self.with_connection(key, |core, connection| core.lose_interest(connection));
        }
    }
}
