//! What a shard has to tell connections of others, gathered for each until something else leaves.
//!
//! ```text
//!   tell ──> [ notices to 1 ][ notices to 2 ] ──flush──> one destination:  a push
//!                                                        several:          one multicast
//!   receiver ──> waits for the multicast's flag ──> tells its connections ──> the node goes home with the credit
//! ```
//!
//! Why several are a multicast: a subscriber on shard 1 that answers a message with one of its own must not reach a
//! subscriber on shard 2 before the message does. The receiver spins for the flag, which is a few pushes away, instead of
//! waiting in the schedule: what the same shard sends next must not overtake it.

use super::super::Core;
use super::super::connection::ConnectionKey;
use super::super::tracking::{Address, Invalid};
use crate::mailbox::Message;
use bytes::Bytes;
use std::sync::Arc;
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::interleave::spin;
use torc_engine::transaction::multicast::Multicast;

/// Something to be told to connections of another shard.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A message on a channel.
    Published {
        /// Whether for the subscribers of a shard channel.
        is_sharded: bool,
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
    },
    /// What a connection has read has changed.
    Invalidated {
        /// That connection.
        connection: ConnectionKey,
        /// The key.
        key: Bytes,
        /// Whether it has changed it itself.
        is_own: bool,
    },
    /// A key has changed that begins with a prefix which connections listen to.
    Changed {
        /// The key.
        key: Bytes,
        /// Who has changed it.
        by: Option<Address>,
    },
    /// What another connection has read is no longer valid, which this one is to be told.
    Redirected {
        /// Who is to be told.
        connection: ConnectionKey,
        /// Who has read it.
        tracker: Address,
        /// What.
        invalid: Invalid,
    },
    /// A command, for those who watch.
    Monitored {
        /// The line.
        line: Bytes,
    },
    /// The connection that this one's invalidations are redirected to is gone.
    Broken {
        /// This one.
        connection: ConnectionKey,
    },
}

impl Notice {
    /// What it counts for, in bytes.
    fn weight(&self) -> usize {
        match self {
            Self::Published { channel, message, .. } => size_of::<Self>() + channel.len() + message.len(),
            Self::Invalidated { key, .. } | Self::Changed { key, .. } => size_of::<Self>() + key.len(),
            Self::Redirected { invalid: Invalid::Keys(keys), .. } => {
                size_of::<Self>() + keys.iter().map(|key| size_of::<Bytes>() + key.len()).sum::<usize>()
            }
            Self::Monitored { line } => size_of::<Self>() + line.len(),
            Self::Redirected { .. } | Self::Broken { .. } => size_of::<Self>(),
        }
    }
}

/// Notices on their way; when they are told, the same goes home empty.
#[derive(Debug)]
pub struct Notices {
    /// Where they come from.
    pub origin: usize,
    /// Where they go.
    pub owner: usize,
    /// What they count for.
    pub bytes: usize,
    /// In order.
    pub notices: Vec<Notice>,
    /// Set if other shards are told the same.
    pub header: Option<Arc<Multicast>>,
}

/// What has not been sent, by destination.
#[derive(Default)]
pub(super) struct Outgoing {
    open: Vec<Option<Box<Notices>>>,
    /// How many destinations have something.
    destinations: usize,
}

/// Notices this heavy are sent before the turn ends, in bytes.
const NOTICES_BYTES_MAX: usize = 256 * 1024;

impl Outgoing {
    pub(super) fn new(shards: usize) -> Self {
        Self { open: (0..shards).map(|_| None).collect(), destinations: 0 }
    }
}

impl Core {
    /// A notice for connections of another shard.
    pub(in crate::core) fn notify(&mut self, owner: usize, notice: Notice) {
        self.notify_each(std::iter::once(owner), &notice);
    }

    /// The same notice for connections of several shards, who get it together.
    pub(super) fn notify_each(&mut self, owners: impl Iterator<Item = usize>, notice: &Notice) {
        let origin = self.index;
        let mut is_full = false;
        for owner in owners {
            let outgoing = &mut self.pubsub.outgoing;
            let notices = outgoing.open[owner].get_or_insert_with(|| {
                outgoing.destinations += 1;
                Box::new(Notices { origin, owner, bytes: 0, notices: Vec::new(), header: None })
            });
            let weight = notice.weight();
            notices.bytes += weight;
            notices.notices.push(notice.clone());
            is_full |= notices.bytes > NOTICES_BYTES_MAX;
            self.in_flight_bytes[owner] += weight;
        }
        if is_full {
            self.send_notices();
        }
    }

    /// Whatever the shard's commands had to tell goes ahead of what leaves next.
    #[inline]
    pub fn tell_before_leaving(&mut self) {
        self.hand_over_effects();
        self.tell_changes(None);
        self.tell();
        if self.pubsub.outgoing.destinations > 0 {
            self.send_notices();
        }
    }

    #[cold]
    fn send_notices(&mut self) {
        self.hand_over_effects();
        let open = std::mem::take(&mut self.pubsub.outgoing.open);
        let several = std::mem::take(&mut self.pubsub.outgoing.destinations) > 1;
        let header = several.then(Multicast::new);
        let mut involved = smallvec::SmallVec::<[usize; 8]>::new();
        let mut parts = Vec::new();
        for notices in open.into_iter().flatten() {
            let owner = notices.owner;
            involved.push(owner);
            parts.push((owner, Node::new(Message::Notices(Box::new(Notices { header: header.clone(), ..*notices })))));
        }
        self.pubsub.outgoing.open.resize_with(self.shared.shards(), || None);
        if let Some(header) = header {
            return self.push_multicast(&header, parts, &involved);
        }
        for (owner, node) in parts {
            self.counters.messages_sent += u64::from(owner != self.index);
            self.shared.mailboxes.push_home(owner, node);
            self.wake_if_asleep(owner);
        }
    }

    /// Notices of another shard.
    pub(in crate::core) fn take_notices(&mut self, mut notices: Box<Notices>) {
        if let Some(header) = notices.header.take() {
            let mut turns = 0;
            while !header.is_enqueued() {
                spin(&mut turns);
            }
        }
        // What ran here before comes before.
        self.tell();
        for notice in notices.notices.drain(..) {
            self.take_notice(notice);
        }
        let origin = notices.origin;
        self.send_home(origin, Node::new(Message::NoticesTold(notices)));
    }

    fn take_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Published { is_sharded, channel, message } => {
                self.tell_subscribers(is_sharded, &channel, &message);
            }
            Notice::Invalidated { connection, key, is_own } => self.invalid_for(connection, key, is_own),
            Notice::Changed { key, by } => self.key_changed(&key, by),
            Notice::Redirected { connection, tracker, invalid } => {
                if !self.redirected(connection, &invalid) {
                    self.notify(tracker.shard as usize, Notice::Broken { connection: tracker.connection });
                }
            }
            Notice::Monitored { line } => self.tell_monitors(&line),
            Notice::Broken { connection } => {
                self.with_connection(connection, |core, connection| core.redirection_is_broken(connection));
            }
        }
    }

    /// They have been told: there is room for more.
    pub(in crate::core) fn notices_told(&mut self, notices: &Notices) {
        self.in_flight_bytes[notices.owner] -= notices.bytes;
    }

    /// Whether so much is under way to some shard that nothing more is to be published.
    pub(in crate::core) fn is_behind_with_notices(&self) -> bool {
        let most = self.settings.in_flight_bytes_max;
        self.in_flight_bytes.iter().any(|bytes| *bytes > most)
    }
}
