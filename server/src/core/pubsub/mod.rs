//! Publish and subscribe: who of this shard's connections listens to what, and what they are told.
//!
//! ```text
//!   SUBSCRIBE ──> table of this shard ──> audience of every shard (a multicast) ──> answered when all have it
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
//! * *Encoded once* a shard and protocol; subscribers copy the short ones and share the long ones.
//! * *A connection that listens does not move:* other shards know where it is.
//! * *Bounds:* what waits for a subscriber counts against `client-output-buffer-limit pubsub`, looked at as it is added.
//!   What is under way to another shard counts against the credit of that pair; who would publish beyond it is not read.

mod interests;
mod notices;
mod tell;

pub use interests::Interests;
pub use notices::{Notice, Notices};

use super::Core;
use super::connection::{Connection, ConnectionKey};
use crate::control::ControlRequest;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use torc_engine::audience::Topic;
use torc_engine::reply::ReplyBuffer;

/// The connections of one shard that listen to one name. In order, so that a run can be repeated.
type Subscribers = BTreeSet<ConnectionKey>;

/// One change of what a shard's connections listen to: by how many more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudienceChange {
    /// What kind of name.
    pub topic: Topic,
    /// The name.
    pub name: Box<[u8]>,
    /// How many more, or fewer.
    pub by: i32,
}

/// The part of a shard that tells.
#[derive(Default)]
pub(super) struct PubSub {
    channels: HashMap<Box<[u8]>, Subscribers>,
    shard_channels: HashMap<Box<[u8]>, Subscribers>,
    patterns: BTreeMap<Box<[u8]>, Subscribers>,
    /// Connections of this shard that listen to something.
    subscribers: usize,
    outgoing: notices::Outgoing,
    /// Pushes for the connection whose command runs, in each protocol: its place in the slab is empty until that is over.
    held: Vec<(ConnectionKey, [Bytes; 2])>,
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
        };
        subscribers.insert(key);
    }

    fn remove(&mut self, topic: Topic, name: &[u8], key: ConnectionKey) {
        let without = |subscribers: &mut Subscribers| {
            subscribers.remove(&key);
            subscribers.is_empty()
        };
        match topic {
            Topic::Channel => {
                if self.channels.get_mut(name).is_some_and(without) {
                    self.channels.remove(name);
                }
            }
            Topic::ShardChannel => {
                if self.shard_channels.get_mut(name).is_some_and(without) {
                    self.shard_channels.remove(name);
                }
            }
            Topic::Pattern => {
                if self.patterns.get_mut(name).is_some_and(without) {
                    self.patterns.remove(name);
                }
            }
        }
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
        Some(AudienceChange { topic, name: name.into(), by: 1 })
    }

    /// A connection listens to a name no longer, if it did.
    pub fn unsubscribe(&mut self, connection: &mut Connection, topic: Topic, name: &[u8]) -> Option<AudienceChange> {
        let interests = connection.interests.as_deref_mut()?;
        if !interests.remove(topic, name) {
            return None;
        }
        self.pubsub.subscribers -= usize::from(!interests.is_subscriber());
        self.pubsub.remove(topic, name, connection.key);
        connection.forget_interests();
        Some(AudienceChange { topic, name: name.into(), by: -1 })
    }

    /// A connection listens to nothing any more: RESET, or its end.
    pub fn unsubscribe_all(&mut self, connection: &mut Connection) {
        let Some(interests) = connection.interests.as_deref_mut() else { return };
        let names = interests.take_names();
        if names.is_empty() {
            return;
        }
        self.pubsub.subscribers -= 1;
        let changes = names.into_iter().map(|(topic, name)| {
            self.pubsub.remove(topic, &name, connection.key);
            AudienceChange { topic, name, by: -1 }
        });
        let changes = changes.collect();
        connection.forget_interests();
        self.announce(changes, None);
    }

    /// Tells all shards what has changed; the reply, if one is owed, follows when all have heard.
    pub fn announce(&mut self, changes: Vec<AudienceChange>, reply: Option<(&mut Connection, ReplyBuffer)>) {
        self.hear_of_subscribers(self.index, &changes);
        if self.shared.shards() > 1 && !changes.is_empty() {
            let request = ControlRequest::Subscribers { shard: self.index, changes };
            return self.start_announcement(request, reply);
        }
        if let Some((connection, mut reply)) = reply {
            connection.output.tail().append(&mut reply);
        }
    }

    /// What connections of a shard listen to has changed.
    pub fn hear_of_subscribers(&mut self, shard: usize, changes: &[AudienceChange]) {
        {
            let mut audience = self.shard.keyspace.journal.audience().borrow_mut();
            for AudienceChange { topic, name, by } in changes {
                audience.change(*topic, name, shard, *by);
            }
        }
        self.listen_to_events();
    }

    /// A connection is gone: nobody is to look for it.
    pub(super) fn forget_listener(&mut self, key: ConnectionKey) {
        let is_listener = |connection: &Connection| connection.interests.is_some();
        if !self.connection_mut(key).is_some_and(|connection| is_listener(connection)) {
            return;
        }
        let Some(mut connection) = self.take_connection(key) else { return };
        self.unsubscribe_all(&mut connection);
        self.put_connection(connection);
    }
}
