//! What one connection listens to.

use super::super::tracking::Tracking;
use std::collections::BTreeSet;
use torc_engine::audience::Topic;

/// Names in order, so that leaving them all has one order.
type Names = BTreeSet<Box<[u8]>>;

/// What a name takes beside its text, in the set of its connection and in the table of its shard.
const NAME_BYTES: usize = 128;

/// What a connection wants to hear of beside the replies to its commands. Few connections have any.
#[derive(Debug, Default)]
pub struct Interests {
    channels: Names,
    shard_channels: Names,
    patterns: Names,
    /// CLIENT TRACKING.
    pub tracking: Option<Box<Tracking>>,
    /// MONITOR.
    pub is_monitor: bool,
    /// What others track is told here.
    pub is_redirected_to: bool,
    /// What names take, here and in the tables of listeners.
    name_bytes: usize,
}

impl Interests {
    fn names(&self, topic: Topic) -> &Names {
        match topic {
            Topic::Channel => &self.channels,
            Topic::ShardChannel => &self.shard_channels,
            Topic::Pattern => &self.patterns,
            Topic::Prefix | Topic::Monitor => unreachable!("no subscriptions"),
        }
    }

    fn names_mut(&mut self, topic: Topic) -> &mut Names {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::ShardChannel => &mut self.shard_channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Prefix | Topic::Monitor => unreachable!("no subscriptions"),
        }
    }

    /// Whether the name is new.
    pub(super) fn insert(&mut self, topic: Topic, name: &[u8]) -> bool {
        let is_new = self.names_mut(topic).insert(name.into());
        self.name_bytes += if is_new { NAME_BYTES + name.len() } else { 0 };
        is_new
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, topic: Topic, name: &[u8]) -> bool {
        let was_there = self.names_mut(topic).remove(name);
        self.name_bytes -= if was_there { NAME_BYTES + name.len() } else { 0 };
        was_there
    }

    pub(super) fn take_names(&mut self) -> Vec<(Topic, Box<[u8]>)> {
        self.name_bytes = 0;
        let topics = [Topic::Channel, Topic::ShardChannel, Topic::Pattern];
        let names =
            topics.map(|topic| std::mem::take(self.names_mut(topic)).into_iter().map(move |name| (topic, name)));
        names.into_iter().flatten().collect()
    }

    /// The memory that they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.name_bytes + self.tracking.as_ref().map_or(0, |tracking| tracking.memory_bytes())
    }

    /// The names of a kind, in order.
    pub fn listed(&self, topic: Topic) -> Vec<Box<[u8]>> {
        self.names(topic).iter().cloned().collect()
    }

    /// How many names of a kind.
    pub fn count(&self, topic: Topic) -> usize {
        self.names(topic).len()
    }

    /// Whether it has subscribed to anything.
    pub fn is_subscriber(&self) -> bool {
        !(self.channels.is_empty() && self.shard_channels.is_empty() && self.patterns.is_empty())
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        !self.is_subscriber() && self.tracking.is_none() && !self.is_redirected_to && !self.is_monitor
    }
}
