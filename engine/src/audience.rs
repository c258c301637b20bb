//! Who listens to what, over all shards: how many connections of each shard have subscribed to a channel or a pattern.
//!
//! ```text
//!   channel "news"   shard 0: 12   shard 3: 1          PUBLISH news: 13 receivers, a message to shards 0 and 3
//!   pattern "n*"     shard 1: 5                                      + 5, and to shard 1
//! ```
//!
//! Each shard has a copy. A shard tells all others of its own subscribers, and answers a subscription when all have heard
//! of it; so what is published afterwards finds it, wherever that is. What nobody listens to costs no message.

use crate::commands::glob::{Case, matches};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// A channel.
    Channel,
    /// Every channel whose name fits a pattern.
    Pattern,
    /// A channel of those that belong to slots; their messages are for their subscribers only.
    ShardChannel,
    /// Keys that begin with a prefix: who keeps copies of their values hears that they change.
    Prefix,
    /// Every command; it has no name.
    Monitor,
}

/// Which shards, a bit each.
pub type Shards = u128;

/// The subscribers of one name: how many there are on which shard. Never empty.
type Listeners = smallvec::SmallVec<[(u8, u32); 2]>;

/// A copy of the whole. Tables are walked for what PUBSUB answers only, so their order is of no matter.
#[derive(Debug, Default)]
pub struct Audience {
    channels: HashMap<Box<[u8]>, Listeners>,
    shard_channels: HashMap<Box<[u8]>, Listeners>,
    patterns: BTreeMap<Box<[u8]>, Listeners>,
    prefixes: BTreeMap<Box<[u8]>, Listeners>,
    monitors: Listeners,
    /// Channels of keyspace notifications among the channels.
    key_channels: usize,
}

/// One a shard; commands that run on a temporary keyspace look at the same.
pub type SharedAudience = Rc<RefCell<Audience>>;

/// How many hear of a message, and on which shards they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receivers {
    /// Who subscribed twice counts twice.
    pub count: u64,
    /// Where they are.
    pub shards: Shards,
}

impl Receivers {
    fn add(&mut self, listeners: &Listeners) {
        for &(shard, count) in listeners {
            self.count += u64::from(count);
            self.shards |= 1 << shard;
        }
    }
}

/// What channels of keyspace notifications begin with.
const KEY_CHANNELS: [&[u8]; 2] = [b"__key", b"__subkey"];

impl Audience {
    /// So many connections more, or fewer, of a shard have subscribed.
    pub fn change(&mut self, topic: Topic, name: &[u8], shard: usize, by: i32) {
        match topic {
            Topic::Monitor => {
                count(&mut self.monitors, shard, by);
            }
            Topic::Pattern | Topic::Prefix => {
                let table = if topic == Topic::Pattern { &mut self.patterns } else { &mut self.prefixes };
                if !table.contains_key(name) {
                    table.insert(name.into(), Listeners::new());
                }
                if table.get_mut(name).is_some_and(|listeners| count(listeners, shard, by)) {
                    table.remove(name);
                }
            }
            Topic::Channel | Topic::ShardChannel => {
                let is_key_channel = topic == Topic::Channel && KEY_CHANNELS.iter().any(|head| name.starts_with(head));
                let table = if topic == Topic::Channel { &mut self.channels } else { &mut self.shard_channels };
                if !table.contains_key(name) {
                    table.insert(name.into(), Listeners::new());
                    self.key_channels += usize::from(is_key_channel);
                }
                if table.get_mut(name).is_some_and(|listeners| count(listeners, shard, by)) {
                    table.remove(name);
                    self.key_channels -= usize::from(is_key_channel);
                }
            }
        }
    }

    /// Who hears of a message on a channel.
    pub fn receivers(&self, is_sharded: bool, channel: &[u8]) -> Receivers {
        let mut receivers = Receivers::default();
        if is_sharded {
            self.shard_channels.get(channel).into_iter().for_each(|listeners| receivers.add(listeners));
            return receivers;
        }
        self.channels.get(channel).into_iter().for_each(|listeners| receivers.add(listeners));
        for (pattern, listeners) in &self.patterns {
            if matches(pattern, channel, Case::Sensitive) {
                receivers.add(listeners);
            }
        }
        receivers
    }

    /// The shards that listen to prefixes of a key.
    pub fn listeners_of_prefixes(&self, key: &[u8]) -> Shards {
        let fitting = self.prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix));
        fitting.flat_map(|(_, listeners)| listeners).fold(0, |shards, (shard, _)| shards | 1 << shard)
    }

    /// The shards that have connections which watch all commands.
    pub fn monitors(&self) -> Shards {
        self.monitors.iter().fold(0, |shards, (shard, _)| shards | 1 << shard)
    }

    /// Whether anybody might hear of keyspace events.
    pub fn may_hear_of_keys(&self) -> bool {
        self.key_channels > 0 || !self.patterns.is_empty()
    }

    /// How many names have subscribers.
    pub fn len(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel => self.channels.len(),
            Topic::Pattern => self.patterns.len(),
            Topic::ShardChannel => self.shard_channels.len(),
            Topic::Prefix => self.prefixes.len(),
            Topic::Monitor => self.monitors.len(),
        }
    }

    /// Whether nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        let topics = [Topic::Channel, Topic::Pattern, Topic::ShardChannel, Topic::Prefix, Topic::Monitor];
        topics.iter().all(|topic| self.len(*topic) == 0)
    }

    /// The channels that have subscribers, in no order; subscribers by pattern do not count.
    pub fn channels(&self, is_sharded: bool) -> impl Iterator<Item = &[u8]> {
        let table = if is_sharded { &self.shard_channels } else { &self.channels };
        table.keys().map(|name| &**name)
    }

    /// How many connections have subscribed to a channel, those by pattern not counted.
    pub fn subscribers(&self, is_sharded: bool, channel: &[u8]) -> u64 {
        let table = if is_sharded { &self.shard_channels } else { &self.channels };
        table.get(channel).map_or(0, |listeners| listeners.iter().map(|(_, count)| u64::from(*count)).sum())
    }
}

/// Counts; whether nobody is left.
fn count(listeners: &mut Listeners, shard: usize, by: i32) -> bool {
    let place = listeners.iter().position(|(other, _)| usize::from(*other) == shard).unwrap_or_else(|| {
        listeners.push((shard as u8, 0));
        listeners.len() - 1
    });
    let count = &mut listeners[place].1;
    *count = count.saturating_add_signed(by);
    if *count == 0 {
        listeners.swap_remove(place);
    }
    listeners.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_finds_subscribers_by_name_and_by_pattern_and_forgets_those_that_left() {
        let mut audience = Audience::default();
        assert!(audience.is_empty());
        audience.change(Topic::Channel, b"news", 0, 1);
        audience.change(Topic::Channel, b"news", 0, 2);
        audience.change(Topic::Channel, b"news", 3, 1);
        audience.change(Topic::Pattern, b"n*", 127, 5);
        audience.change(Topic::ShardChannel, b"news", 2, 1);
        assert_eq!(audience.receivers(false, b"news"), Receivers { count: 9, shards: 1 | 1 << 3 | 1 << 127 });
        assert_eq!(audience.receivers(true, b"news"), Receivers { count: 1, shards: 1 << 2 });
        assert_eq!(audience.receivers(false, b"new"), Receivers { count: 5, shards: 1 << 127 });
        audience.change(Topic::Prefix, b"ne", 5, 1);
        audience.change(Topic::Prefix, b"", 6, 1);
        assert_eq!(
            (audience.listeners_of_prefixes(b"news"), audience.listeners_of_prefixes(b"x")),
            (1 << 5 | 1 << 6, 1 << 6)
        );
        audience.change(Topic::Prefix, b"ne", 5, -1);
        audience.change(Topic::Prefix, b"", 6, -1);
        assert_eq!((audience.subscribers(false, b"news"), audience.subscribers(true, b"news")), (4, 1));
        audience.change(Topic::Channel, b"news", 0, -3);
        audience.change(Topic::Pattern, b"n*", 127, -5);
        assert_eq!(audience.receivers(false, b"news"), Receivers { count: 1, shards: 1 << 3 });
        audience.change(Topic::Channel, b"news", 3, -1);
        audience.change(Topic::ShardChannel, b"news", 2, -1);
        assert!(audience.is_empty());
    }

    #[test]
    fn keyspace_events_are_for_their_channels_and_for_patterns() {
        let mut audience = Audience::default();
        audience.change(Topic::Channel, b"news", 0, 1);
        audience.change(Topic::ShardChannel, b"__keyevent@0__:set", 0, 1);
        assert!(!audience.may_hear_of_keys());
        for (topic, name) in [
            (Topic::Channel, &b"__keyevent@0__:set"[..]),
            (Topic::Channel, b"__subkeyspace@0__:a"),
            (Topic::Pattern, b"*"),
        ] {
            audience.change(topic, name, 1, 1);
            assert!(audience.may_hear_of_keys());
            audience.change(topic, name, 1, -1);
            assert!(!audience.may_hear_of_keys());
        }
    }
}
