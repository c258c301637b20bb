//! Client-side caching: who has read what, and who is told when that changes.
//!
//! ```text
//!   client of shard 0:  GET k ──> owner of k runs it, remembers: k was read by (shard 0, connection)
//!   anybody:            SET k ──> owner: k has changed (`keyspace/changes.rs`) ──> forgets, and sends an invalidation
//!                                                                                    │
//!   shard 0:  the connection's mode decides: itself, a redirection, or nobody <──────┘
//! ```
//!
//! * *Where.* A key's readers are known where the key is; a connection's mode where the connection is. A connection that
//!   tracks, or is redirected to, does not move.
//! * *What changes* is told by the keyspace, at one place for all commands, expiry, eviction and flushes; after each command
//!   it is looked at here, with who sent it at hand.
//! * *Order.* An invalidation is pushed behind all replies that are awaited when it comes. A reply with the older value was
//!   awaited then, so no client keeps what it was told is no more; it leaves this shard before anything that ran later. Only
//!   that of a command that waits for a key is passed: it has not read yet.
//! * *Broadcasts.* All shards know which prefixes are listened to on which (`Audience`). The owner tells these shards of a
//!   changed key, and they tell their connections once a turn, all keys of a prefix together.
//! * *Several hops.* The last one of RENAME, or of a union that is stored, is answered by nobody, and who has copies is told where it writes. So where
//!   anybody tracks, the reply of such a command waits until all shards have come past it: who learns of it has heard what is invalid.
//! * *Flushes* are multicasts: each shard tells its own connections, and forgets its keys.
//! * *Bounds.* `tracking-table-max-keys` is shared out evenly among the shards; beyond it keys are forgotten, and their readers
//!   told so.

mod mode;
mod readers;

pub use mode::{Address, Choice, Redirection, Tracking};

use super::Core;
use super::connection::{Connection, ConnectionKey, Phase};
use super::pubsub::{AudienceChange, Notice};
use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use crate::mailbox::Request;
use bytes::Bytes;
use readers::Readers;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use torc_engine::audience::{Change, Topic};
use torc_engine::command::Flags;
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};

/// The channel on which connections of RESP2 hear of invalidations.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// What is no longer valid: some keys, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// These.
    Keys(SmallVec<[Bytes; 1]>),
    /// All of them; how the protocol of the connection that tracks says so.
    All(Protocol),
}

/// Keys that have changed, each with who changed it last.
type Changed = BTreeMap<Bytes, Option<Address>>;

/// One shard's share of all that.
#[derive(Default)]
pub(super) struct TrackingTable {
    /// Keys of this shard, and who has read them since they changed.
    readers: Readers,
    /// Connections of this shard that track.
    clients: BTreeSet<ConnectionKey>,
    /// Connections of this shard that listen to prefixes.
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<ConnectionKey>>,
    /// What these have not been told yet.
    broadcasts: BTreeMap<Box<[u8]>, Changed>,
}

impl TrackingTable {
    /// Connections that track, keys that have been read, and how often.
    pub(super) fn figures(&self) -> [usize; 3] {
        [self.clients.len(), self.readers.len(), self.readers.items()]
    }
}

impl Core {
    /// Whether a read of this command is to be remembered for a connection. The choice of CLIENT CACHING is spent, by a
    /// transaction as a whole; one in it is for the rest of it.
    #[cold]
    pub(super) fn decide_tracking(&self, connection: &mut Connection, entry: &CommandEntry) {
        let keeps_choice = entry.full_name.starts_with("client|") || entry.spec.name == "multi";
        let is_transaction_over = connection.figures.last_command.is_some_and(|last| last.spec.name == "exec");
        let tracks = connection.tracking_mut().is_some_and(|tracking| {
            tracking.is_next_chosen &= !is_transaction_over;
            let remembers = tracking.remembers();
            tracking.is_next_chosen &= keeps_choice;
            remembers
        });
        connection.session.client.tracks = tracks;
    }

    /// A command that reads has run here for a connection that tracks.
    #[cold]
    pub(super) fn remember(&mut self, entry: &CommandEntry, arguments: &[&[u8]], reader: Address) {
        // A script has read what it has read, whatever it declares.
        if !entry.spec.flags.has(Flags::READONLY) || entry.is_script {
            return;
        }
        let mut keys: SmallVec<[&[u8]; 4]> = SmallVec::new();
        let _ = entry.spec.visit_keys(arguments, |index, _| keys.push(arguments[index]));
        keys.into_iter().for_each(|key| self.remember_key(key, reader));
    }

    /// What the script has read that has just run here. Its own changes are told behind that: whatever it has answered
    /// may be older.
    #[cold]
    pub(super) fn remember_script_reads(&mut self, reader: Address) {
        let keys = self.scripting.reads.take();
        keys.iter().for_each(|key| self.remember_key(key, reader));
    }

    /// One key that has been read.
    pub(super) fn remember_key(&mut self, key: &[u8], reader: Address) {
        if !self.tracking.readers.contains(key) {
            self.make_place_for_a_key();
        }
        self.tracking.readers.add(key, reader);
        if self.tracking.readers.len() == 1 {
            self.want_changes();
        }
    }

    /// Gives up a key for one that comes when there are as many as may be; some more where the limit has been lowered.
    fn make_place_for_a_key(&mut self) {
        self.give_up_keys(self.tracking.readers.len() + 1);
    }

    /// Comes down to a limit that has been lowered, and gives back some memory of what a flush has made forget. Whether
    /// more is left to do.
    pub(super) fn tidy_readers(&mut self) -> bool {
        let is_above = self.give_up_keys(self.tracking.readers.len());
        self.tracking.readers.free_some() || is_above
    }

    /// Of so many keys, what is more than this shard's part of the limit, in steps. Whether more is left.
    fn give_up_keys(&mut self, keys: usize) -> bool {
        const KEYS_A_STEP: usize = 32;
        let (most, shards) = (self.settings.tracked_keys_max as usize, self.shared.shards());
        if keys <= most / shards || most == 0 {
            return false;
        }
        // All parts together come to the limit.
        let part = most / shards + usize::from(self.index < most % shards);
        let too_many = keys.saturating_sub(part);
        for _ in 0..too_many.min(KEYS_A_STEP) {
            if let Some((key, readers)) = self.tracking.readers.take_next() {
                self.invalidate_for(&key, readers, None);
            }
        }
        too_many > KEYS_A_STEP
    }

    /// Whether a connection of this shard tracks.
    pub(super) fn has_trackers(&self) -> bool {
        !self.tracking.clients.is_empty()
    }

    /// Says whether the keyspace is to tell of changes.
    pub(super) fn want_changes(&mut self) {
        let has_prefixes = self.shard.keyspace.journal.audience().borrow().len(Topic::Prefix) > 0;
        let table = &self.tracking;
        let wanted = has_prefixes || !table.readers.is_empty() || !table.clients.is_empty();
        self.shard.keyspace.want_changes(wanted);
    }

    /// Tells whoever has copies of what has changed since the last time, by a command of this connection or by nobody.
    #[inline]
    pub(super) fn tell_changes(&mut self, by: Option<Address>) {
        if self.shard.keyspace.has_changes() {
            self.invalidate(by);
        }
    }

    #[cold]
    pub(super) fn invalidate(&mut self, by: Option<Address>) {
        let (keys, is_flushed) = self.shard.keyspace.take_changes();
        for key in keys {
            self.invalidate_key(&key, by);
            self.broadcast(&key, by);
        }
        if is_flushed {
            self.tracking.readers.clear();
            for key in self.tracking.clients.clone() {
                self.with_connection(key, |core, connection| {
                    core.tell_invalid(connection, &Invalid::All(connection.protocol()));
                });
            }
        }
        if self.tracking.readers.is_empty() {
            self.want_changes();
        }
    }

    /// A reply that says that something is written, perhaps on shards that have not come to it yet.
    pub(super) fn deliver_when_told(&mut self, request: Request, mut reply: ReplyBuffer) {
        if self.shared.trackers.load(Ordering::Acquire) == 0 {
            return self.deliver(request, |place| place.append(&mut reply));
        }
        let conclude =
            move |core: &mut Self, _, _: &mut Reply<'_>| core.deliver(request, |place| place.append(&mut reply));
        self.ask_all(ControlRequest::Follow, Box::new(conclude));
    }

    fn invalidate_key(&mut self, key: &[u8], by: Option<Address>) {
        if let Some(readers) = self.tracking.readers.take(key) {
            self.invalidate_for(key, readers, by);
        }
    }

    fn invalidate_for(&mut self, key: &[u8], readers: SmallVec<[Address; 1]>, by: Option<Address>) {
        let key = Bytes::copy_from_slice(key);
        for reader in readers {
            let is_own = by == Some(reader);
            if reader.shard as usize == self.index {
                self.invalid_for(reader.connection, key.clone(), is_own);
            } else {
                let (connection, key) = (reader.connection, key.clone());
                let notice = Notice::Invalidated { connection, key, is_own };
                self.telling(|core| core.notify(reader.shard as usize, notice));
            }
        }
    }

    /// What a connection of this shard has read is no longer valid.
    pub(super) fn invalid_for(&mut self, connection: ConnectionKey, key: Bytes, is_own: bool) {
        self.with_connection(connection, move |core, connection| {
            let tracking = connection.tracking();
            let hears = |tracking: &Tracking| !(tracking.is_broadcast || (is_own && tracking.no_loop));
            if tracking.is_some_and(hears) {
                // What it hears of its own command, which has waited, comes behind the reply.
                let lets_pass = connection.lets_pass;
                connection.lets_pass &= !is_own;
                core.tell_invalid(connection, &Invalid::Keys(SmallVec::from_iter([key])));
                connection.lets_pass = lets_pass;
            }
        });
    }

    /// A key has changed: connections that listen to its prefix hear of it, on whatever shards.
    fn broadcast(&mut self, key: &[u8], by: Option<Address>) {
        let shards = self.shard.keyspace.journal.audience().borrow().listeners_of_prefixes(key);
        if shards == 0 {
            return;
        }
        let key = Bytes::copy_from_slice(key);
        for shard in super::batches::shards_of(shards) {
            if shard == self.index {
                self.key_changed(&key, by);
            } else {
                self.telling(|core| core.notify(shard, Notice::Changed { key: key.clone(), by }));
            }
        }
    }

    /// Notes a changed key for the connections of this shard that listen to its prefix.
    pub(super) fn key_changed(&mut self, key: &Bytes, by: Option<Address>) {
        let table = &mut self.tracking;
        for prefix in table.prefixes.keys().filter(|prefix| key.starts_with(prefix)) {
            table.broadcasts.entry(prefix.clone()).or_default().insert(key.clone(), by);
        }
    }

    /// At the end of a turn: tells what has been noted.
    #[inline]
    pub fn tell_broadcasts(&mut self) {
        if !self.tracking.broadcasts.is_empty() {
            self.tell_noted_broadcasts();
        }
    }

    #[cold]
    fn tell_noted_broadcasts(&mut self) {
        for (prefix, changed) in std::mem::take(&mut self.tracking.broadcasts) {
            let Some(listeners) = self.tracking.prefixes.get(&prefix).cloned() else { continue };
            for key in listeners {
                let own = Some(Address { shard: self.index as u32, connection: key });
                let tracking = self.connection_mut(key).and_then(|connection| connection.tracking());
                let no_loop = tracking.is_some_and(|tracking| tracking.no_loop);
                let heard = changed.iter().filter(|(_, by)| !(no_loop && **by == own));
                let keys: SmallVec<[Bytes; 1]> = heard.map(|(key, _)| key.clone()).collect();
                if !keys.is_empty() {
                    self.with_connection(key, |core, connection| {
                        core.tell_invalid(connection, &Invalid::Keys(keys));
                    });
                }
            }
        }
        // Some of it was for connections of other shards.
        self.tell_before_leaving();
    }

    /// Tells a connection that tracks, or whom it has named.
    fn tell_invalid(&mut self, connection: &mut Connection, invalid: &Invalid) {
        let Some(tracking) = connection.tracking() else { return };
        let Some(Redirection { target, .. }) = tracking.redirection else {
            return self.push_invalid(connection, invalid);
        };
        let tracker = Address { shard: self.index as u32, connection: connection.key };
        if target.shard as usize != self.index {
            let invalid = invalid.clone();
            self.notify(target.shard as usize, Notice::Redirected { connection: target.connection, tracker, invalid });
        } else if target.connection == connection.key {
            self.push_invalid(connection, invalid);
        } else if !self.redirected(target.connection, invalid) {
            self.redirection_is_broken(connection);
        }
    }

    /// Tells a connection what another one has read; false if it is gone, or as good as that: whoever has read the answer
    /// to its QUIT counts on it.
    pub(super) fn redirected(&mut self, target: ConnectionKey, invalid: &Invalid) -> bool {
        if self.connection_mut(target).is_some_and(|at| matches!(at.phase, Phase::Closing | Phase::Dead)) {
            return false;
        }
        let invalid = invalid.clone();
        self.with_connection(target, move |core, connection| core.push_invalid(connection, &invalid))
    }

    /// RESP3 has messages of that kind; in RESP2 it is a message on a channel, to who has subscribed.
    fn push_invalid(&mut self, connection: &mut Connection, invalid: &Invalid) {
        let protocol = connection.protocol();
        if protocol == Protocol::Resp2 && !connection.is_subscriber() {
            return;
        }
        let mut out = ReplyBuffer::default();
        let mut reply = Reply::new(&mut out, protocol);
        if protocol == Protocol::Resp3 {
            reply.push(2);
            reply.bulk(b"invalidate");
        } else {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
        }
        match invalid {
            Invalid::Keys(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
            Invalid::All(protocol) => Reply::new(&mut out, *protocol).null(),
        }
        let message = out.bytes.into();
        self.telling(|core| core.push(connection, &message));
    }

    /// The connection that a tracking one has named is gone.
    pub(super) fn redirection_is_broken(&mut self, connection: &mut Connection) {
        let protocol = connection.protocol();
        let Some(tracking) = connection.tracking_mut() else { return };
        let Some(Redirection { id, .. }) = tracking.redirection else { return };
        tracking.is_broken = true;
        if protocol == Protocol::Resp3 {
            let mut out = ReplyBuffer::default();
            let mut reply = Reply::new(&mut out, protocol);
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.integer(id as i64);
            self.push(connection, &out.bytes.into());
        }
    }

    /// Puts tracking in force for a connection, anew if it was; prefixes are added to those that it had.
    pub fn begin_tracking(&mut self, connection: &mut Connection, mut tracking: Tracking) -> Vec<AudienceChange> {
        let key = connection.key;
        let before = connection.interests.get_or_insert_default().tracking.take();
        let mut changes = Vec::new();
        for prefix in &tracking.prefixes {
            self.tracking.prefixes.entry(prefix.clone()).or_default().insert(key);
            changes.push(AudienceChange { topic: Topic::Prefix, name: prefix.clone(), by: Change::LISTENS });
        }
        tracking.add_prefixes(before.map(|before| before.prefixes).unwrap_or_default());
        connection.interests.get_or_insert_default().tracking = Some(Box::new(tracking));
        if self.tracking.clients.insert(key) {
            self.shared.trackers.fetch_add(1, Ordering::AcqRel);
        }
        self.want_changes();
        changes
    }

    /// Ends a connection's tracking, if it has any.
    pub fn end_tracking(&mut self, connection: &mut Connection) -> Vec<AudienceChange> {
        let interests = connection.interests.as_deref_mut();
        let Some(tracking) = interests.and_then(|interests| interests.tracking.take()) else { return Vec::new() };
        connection.session.client.tracks = false;
        if self.tracking.clients.remove(&connection.key) {
            self.shared.trackers.fetch_sub(1, Ordering::AcqRel);
        }
        let changes = tracking.prefixes.into_iter().map(|prefix| {
            if let Some(listeners) = self.tracking.prefixes.get_mut(&prefix) {
                listeners.remove(&connection.key);
                if listeners.is_empty() {
                    self.tracking.prefixes.remove(&prefix);
                }
            }
            AudienceChange { topic: Topic::Prefix, name: prefix, by: Change::ENDS_UNCOUNTED }
        });
        let changes = changes.collect();
        connection.forget_interests();
        self.want_changes();
        changes
    }

    /// The connection of an id, if it is here; from now on it stays, since others are redirected to it.
    pub fn find_redirection(&mut self, id: u64) -> ControlReply {
        let mut connections = self.connections.iter_mut().filter_map(|slot| slot.connection.as_deref_mut());
        let Some(connection) = connections.find(|connection| connection.id == id) else {
            return ControlReply::Redirection(None);
        };
        match connection.phase {
            Phase::Moving(_) if connection.has_left() => return ControlReply::OnItsWay,
            Phase::Open => {}
            // It has not gone yet.
            Phase::Moving(_) => {
                connection.phase = Phase::Open;
                self.resumable.push(connection.key);
            }
            Phase::Closing | Phase::Dead => return ControlReply::Redirection(None),
        }
        connection.interests.get_or_insert_default().is_redirected_to = true;
        let target = Address { shard: self.index as u32, connection: connection.key };
        ControlReply::Redirection(Some(Redirection { id, target }))
    }
}
