//! Who listens to what, over all shards: how many connections of each shard have subscribed to a channel or a pattern.
//!
//! ```text
//!   channel "news"   shard 0: 12   shard 3: 1          PUBLISH news: 13 receivers, a message to shards 0 and 3
//!   pattern "n*"     shard 1: 5                                      + 5, and to shard 1
//! ```
//!
//! Each shard has a copy. A shard tells all others of its own subscribers in two rounds, and answers a subscription after both:
//! when all send it messages it hears, and when it hears it is counted. So whoever is counted hears the message, what is
//! published after the answer finds the subscriber, wherever that is, and between its first message and its end there is no gap.
//! What nobody listens to costs no message.

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

/// By how many more, or fewer, a shard's connections listen to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Those that are sent messages.
    pub listening: i32,
    /// Those that publishers count.
    pub counted: i32,
}

impl Change {
    /// One is sent messages from now on.
    pub const LISTENS: Self = Self { listening: 1, counted: 0 };
    /// One that is sent messages is counted from now on.
    pub const COUNTS: Self = Self { listening: 0, counted: 1 };
    /// One listens no longer that was not counted, or not yet.
    pub const ENDS_UNCOUNTED: Self = Self { listening: -1, counted: 0 };
    /// One listens no longer that was counted.
    pub const ENDS: Self = Self { listening: -1, counted: -1 };
}

/// Those of one shard that listen to one name.
#[derive(Debug)]
struct Listening {
    shard: u8,
    /// Never 0.
    listening: u32,
    counted: u32,
}

/// The subscribers of one name, by shard. Never empty.
type Listeners = smallvec::SmallVec<[Listening; 2]>;

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
        self.count += counted(listeners);
        self.shards |= shards_of(listeners);
    }
}

fn counted(listeners: &Listeners) -> u64 {
    listeners.iter().map(|listening| u64::from(listening.counted)).sum()
}

fn shards_of(listeners: &Listeners) -> Shards {
    listeners.iter().fold(0, |shards, listening| shards | 1 << listening.shard)
}

/// What channels of keyspace notifications begin with.
const KEY_CHANNELS: [&[u8]; 2] = [b"__key", b"__subkey"];

impl Audience {
    /// More connections of a shard, or fewer, listen to a name.
    pub fn change(&mut self, topic: Topic, name: &[u8], shard: usize, by: Change) {
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
        fitting.fold(0, |shards, (_, listeners)| shards | shards_of(listeners))
    }

    /// The shards that have connections which watch all commands.
    pub fn monitors(&self) -> Shards {
        shards_of(&self.monitors)
    }

    /// Whether anybody might hear of keyspace events.
    pub fn may_hear_of_keys(&self) -> bool {
        self.key_channels > 0 || !self.patterns.is_empty()
    }

    /// How many names have subscribers, counted or not yet.
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
        table.iter().filter(|(_, listeners)| counted(listeners) > 0).map(|(name, _)| &**name)
    }

    /// How many connections have subscribed to a channel, those by pattern not counted.
    pub fn subscribers(&self, is_sharded: bool, channel: &[u8]) -> u64 {
        let table = if is_sharded { &self.shard_channels } else { &self.channels };
        table.get(channel).map_or(0, counted)
    }
}

/// Counts; whether nobody is left.
fn count(listeners: &mut Listeners, shard: usize, by: Change) -> bool {
    let place = listeners.iter().position(|other| usize::from(other.shard) == shard).unwrap_or_else(|| {
        listeners.push(Listening { shard: shard as u8, listening: 0, counted: 0 });
        listeners.len() - 1
    });
    let Listening { listening, counted, .. } = &mut listeners[place];
    *listening = listening.saturating_add_signed(by.listening);
    *counted = counted.saturating_add_signed(by.counted);
    if *listening == 0 {
        listeners.swap_remove(place);
    }
    listeners.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(by: i32) -> Change {
        Change { listening: by, counted: by }
    }

    #[test]
    fn who_is_sent_messages_is_counted_only_when_all_send_them() {
        let mut audience = Audience::default();
        let heard = |audience: &Audience| (audience.receivers(false, b"a"), audience.channels(false).count());
        audience.change(Topic::Channel, b"a", 2, Change::LISTENS);
        assert_eq!(heard(&audience), (Receivers { count: 0, shards: 1 << 2 }, 0));
        audience.change(Topic::Channel, b"a", 2, Change::COUNTS);
        assert_eq!(heard(&audience), (Receivers { count: 1, shards: 1 << 2 }, 1));
        audience.change(Topic::Channel, b"a", 2, Change::LISTENS);
        audience.change(Topic::Channel, b"a", 2, Change::ENDS_UNCOUNTED);
        assert_eq!(heard(&audience), (Receivers { count: 1, shards: 1 << 2 }, 1));
        audience.change(Topic::Channel, b"a", 2, Change::ENDS);
        assert!(audience.is_empty());
    }

    #[test]
    fn a_message_finds_subscribers_by_name_and_by_pattern_and_forgets_those_that_left() {
        let mut audience = Audience::default();
        assert!(audience.is_empty());
        audience.change(Topic::Channel, b"news", 0, both(1));
        audience.change(Topic::Channel, b"news", 0, both(2));
        audience.change(Topic::Channel, b"news", 3, both(1));
        audience.change(Topic::Pattern, b"n*", 127, both(5));
        audience.change(Topic::ShardChannel, b"news", 2, both(1));
        assert_eq!(audience.receivers(false, b"news"), Receivers { count: 9, shards: 1 | 1 << 3 | 1 << 127 });
        assert_eq!(audience.receivers(true, b"news"), Receivers { count: 1, shards: 1 << 2 });
        assert_eq!(audience.receivers(false, b"new"), Receivers { count: 5, shards: 1 << 127 });
        audience.change(Topic::Prefix, b"ne", 5, Change::LISTENS);
        audience.change(Topic::Prefix, b"", 6, Change::LISTENS);
        assert_eq!(
            (audience.listeners_of_prefixes(b"news"), audience.listeners_of_prefixes(b"x")),
            (1 << 5 | 1 << 6, 1 << 6)
        );
        audience.change(Topic::Prefix, b"ne", 5, Change::ENDS_UNCOUNTED);
        audience.change(Topic::Prefix, b"", 6, Change::ENDS_UNCOUNTED);
        assert_eq!((audience.subscribers(false, b"news"), audience.subscribers(true, b"news")), (4, 1));
        audience.change(Topic::Channel, b"news", 0, both(-3));
        audience.change(Topic::Pattern, b"n*", 127, both(-5));
        assert_eq!(audience.receivers(false, b"news"), Receivers { count: 1, shards: 1 << 3 });
        audience.change(Topic::Channel, b"news", 3, both(-1));
        audience.change(Topic::ShardChannel, b"news", 2, both(-1));
        assert!(audience.is_empty());
    }

    #[test]
    fn keyspace_events_are_for_their_channels_and_for_patterns() {
        let mut audience = Audience::default();
        audience.change(Topic::Channel, b"news", 0, both(1));
        audience.change(Topic::ShardChannel, b"__keyevent@0__:set", 0, both(1));
        assert!(!audience.may_hear_of_keys());
        for (topic, name) in [
            (Topic::Channel, &b"__keyevent@0__:set"[..]),
            (Topic::Channel, b"__subkeyspace@0__:a"),
            (Topic::Pattern, b"*"),
        ] {
            audience.change(topic, name, 1, Change::LISTENS);
            assert!(audience.may_hear_of_keys());
            audience.change(topic, name, 1, Change::ENDS_UNCOUNTED);
            assert!(!audience.may_hear_of_keys());
        }
    }
}
