//! The limit of clients' memory (`maxmemory-clients`): one for all shards; the largest clients go first.
//!
//! ```text
//!   settle    each connection that something happened to in this turn is measured; what has changed goes into its shard's
//!             share: the sum, and the bytes of those that may go by classes of size          stores to lines of its own
//!   threshold how far its own sum may rise before a shard adds up all shares                 a comparison a turn
//!   above it  add up. Still room: a new threshold, half of this shard's part of what is left
//!             no room: under a lock, from the largest class downwards over all shards, who owes how much
//!                        ours:    its largest clients go until that is paid
//!                        theirs:  noted as owed by that shard, and a message
//! ```
//!
//! * *Without a limit nothing is measured:* a look at a flag each time that a turn is settled.
//! * *Nobody goes for the same bytes twice.* Decisions are made one at a time, and what is owed counts as gone. Only the last shard
//!   that a decision is about owes a part of a class, so what goes beyond the need is less than one client.
//! * *A limit comes into force when every shard counts* ([`Core::put_client_limit_in_force`]): else the shard that hears of it first
//!   would take its own clients for the largest.
//! * *Whoever asks for CLIENT LIST finds the limit kept:* a decision's messages leave before the answer to what has caused it, and a
//!   shard measures before it lists.
//! * *Clients go before keys:* where clients are measured, the limit of memory leaves out replies that no client has been charged with
//!   yet, as they are on their way between shards ([`Core::bytes_of_clients_to_come`]), and what clients owe. Else whoever reads much from
//!   other shards and sends it nowhere would have keys evicted before it counts.
//! * *Limits of single clients come first:* who is closed for its own unsent replies takes nobody along.
//!
//! Sizes are told apart by quarters of powers of two between shards, and exactly on one. What counts: the session, unread input,
//! commands that wait for EXEC, names that are listened to or watched, unsent replies (values that are sent from where they are stored
//! among them: they stay as long as the client has not read them). Replies of up to 16 KiB, and a buffer that a client has at hand
//! for the next ones, are the shard's.
//!
//! A client that has said CLIENT NO-EVICT counts, and stays. Clients of the server's own, those that are between two shards, and those
//! that are closed do not count.

use super::Core;
use super::connection::{Connection, ConnectionKey, Output, Phase};
use super::query_buffer::QueryBuffer;
use crate::commands::client::client_line;
use crate::mailbox::Message;
use crate::settings::Settings;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use torc_engine::transaction::inbox::Node;

/// Classes of size: four for each power of two from [`SMALLEST_BITS`] on.
const CLASSES: usize = 96;
/// All clients of less than twice so many bits of bytes are alike.
const SMALLEST_BITS: u32 = 12;

/// Replies of up to so many bytes lie in a buffer that the shard lends: a short reply does not bring a client over the limit.
const LENT_BYTES: usize = 16 << 10;

/// The class of a client of so many bytes.
fn class_of(bytes: i64) -> usize {
    let bytes = bytes.max(1 << SMALLEST_BITS) as u64;
    let quarter = (bytes >> (bytes.ilog2() - 2)) as usize & 3;
    ((bytes.ilog2() - SMALLEST_BITS) as usize * 4 + quarter).min(CLASSES - 1)
}

/// What the clients of one shard take, as it was settled last. Written by that shard, but for its debt.
#[derive(Debug)]
#[repr(align(128))]
struct Share {
    /// All that count.
    bytes: AtomicI64,
    /// What its largest clients are to give up.
    owed_bytes: AtomicI64,
    /// Of those that are closed: replies that the kernel still has to let go of.
    leaving_bytes: AtomicI64,
    /// Those that may go, by classes.
    evictable_bytes: [AtomicI64; CLASSES],
}

impl Default for Share {
    fn default() -> Self {
        Self {
            bytes: AtomicI64::new(0),
            owed_bytes: AtomicI64::new(0),
            leaving_bytes: AtomicI64::new(0),
            evictable_bytes: [const { AtomicI64::new(0) }; CLASSES],
        }
    }
}

/// One thread writes, so no instruction that locks the line is needed.
fn add(figure: &AtomicI64, bytes: i64) {
    figure.store(figure.load(Relaxed) + bytes, Relaxed);
}

/// The same; whoever sees it sees what was written before.
fn add_to(figure: &AtomicU64, bytes: u64) {
    figure.store(figure.load(Relaxed) + bytes, Release);
}

/// What all shards know of their clients' memory.
#[derive(Debug)]
pub struct ClientShares {
    /// The limit in force; 0 is none.
    bytes_max: AtomicU64,
    shares: Box<[Share]>,
    /// Held while it is decided who goes.
    decision: Mutex<()>,
}

impl ClientShares {
    /// Of so many shards that all count from their first client on.
    pub fn new(shards: usize, bytes_max: u64) -> Self {
        Self {
            bytes_max: AtomicU64::new(bytes_max),
            shares: (0..shards).map(|_| Share::default()).collect(),
            decision: Mutex::new(()),
        }
    }

    /// What clients are about to give up.
    fn owed_bytes(&self) -> i64 {
        self.shares.iter().map(|share| share.owed_bytes.load(Relaxed)).sum()
    }

    /// What the kernel still has of those that are closed.
    fn leaving_bytes(&self) -> i64 {
        self.shares.iter().map(|share| share.leaving_bytes.load(Relaxed)).sum()
    }

    /// What all clients take, without those that are about to go.
    fn bytes(&self) -> i64 {
        self.shares.iter().map(|share| share.bytes.load(Relaxed) - share.owed_bytes.load(Relaxed)).sum()
    }

    /// Who owes how much if so much is to go: from the largest class downwards, without what is owed already. And what no
    /// client is left to give up.
    fn debts(&self, excess: i64) -> (Vec<i64>, i64) {
        let mut missing = excess;
        let mut owed: Vec<i64> = self.shares.iter().map(|share| share.owed_bytes.load(Relaxed)).collect();
        let mut debts = vec![0; self.shares.len()];
        for class in (0..CLASSES).rev() {
            for (shard, share) in self.shares.iter().enumerate() {
                let there = share.evictable_bytes[class].load(Relaxed);
                let promised = owed[shard].min(there);
                owed[shard] -= promised;
                let debt = (there - promised).min(missing).max(0);
                debts[shard] += debt;
                missing -= debt;
            }
        }
        (debts, missing)
    }
}

/// How a connection has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    bytes: i64,
    /// Of a closed one: replies that the kernel still has to let go of.
    leaving_bytes: i64,
    may_go: bool,
}

/// The limit, as one shard keeps it.
#[derive(Debug, Default)]
pub(super) struct ClientLimit {
    /// Whether clients are measured.
    is_on: bool,
    /// Up to this sum of its own the shard need not look at the others', ...
    threshold: i64,
    /// ... if this is the limit.
    bytes_max: u64,
    /// It has been told that nobody is left who may go.
    is_told: bool,
    /// Replies that have come in this turn and are not measured yet, in bytes.
    came_bytes: u64,
}

impl Output {
    /// Bytes that replies wait in.
    fn memory_bytes(&self) -> usize {
        let unused = if self.ready.bytes.is_empty() { 0 } else { self.ready.bytes.capacity() - self.ready.bytes.len() };
        self.len() + unused
    }
}

impl Connection {
    /// The memory that it takes, in bytes: what the limit of clients' memory counts.
    pub fn memory_bytes(&self) -> usize {
        let session = &self.session;
        let names = session.name.len() + session.library_name.len() + session.library_version.len();
        let interests = self.interests.as_ref().map_or(0, |interests| interests.memory_bytes());
        let replies = self.output.memory_bytes() + self.sending_bytes;
        let replies = if replies > LENT_BYTES { replies } else { 0 };
        let input = self.query_buffer.capacity() + self.transport.memory_bytes();
        size_of::<Self>() + names + interests + replies + input + self.transaction.bytes()
    }

    fn to_be_counted(&self) -> Counted {
        if self.has_left() || self.is_own() {
            return Counted::default();
        }
        if self.phase == Phase::Dead {
            return Counted { leaving_bytes: self.sending_bytes as i64, ..Counted::default() };
        }
        Counted { bytes: self.memory_bytes() as i64, may_go: !self.session.no_evict, ..Counted::default() }
    }
}

impl Core {
    /// New settings: from now on clients are measured, or no more.
    pub(super) fn apply_client_limit(&mut self, settings: &Settings) {
        let is_on = settings.client_bytes_max > 0;
        if std::mem::replace(&mut self.client_limit.is_on, is_on) == is_on {
            return;
        }
        for key in self.connection_keys() {
            self.count_client(key, is_on);
        }
    }

    /// All shards have the settings that this one has: what they say of the limit holds from now on.
    pub fn put_client_limit_in_force(&mut self) {
        self.shared.clients.bytes_max.store(self.settings.client_bytes_max, Relaxed);
        self.keep_client_limit();
    }

    /// Measures the clients that something happened to, and keeps the limit.
    #[inline]
    pub fn keep_client_limit(&mut self) {
        if self.client_limit.is_on {
            self.count_and_keep();
        }
    }

    fn count_and_keep(&mut self) {
        for index in 0..self.dirty.len() {
            let key = self.dirty[index];
            self.check_output_limit(key);
            self.count_client(key, true);
        }
        let clients = &self.shared.clients;
        let (limit, bytes_max) = (&self.client_limit, clients.bytes_max.load(Relaxed));
        let is_known = limit.bytes_max == bytes_max;
        if bytes_max > 0 && !(is_known && clients.shares[self.index].bytes.load(Relaxed) <= limit.threshold) {
            self.look_at_clients(bytes_max);
        }
    }

    /// Brings what is counted of a connection up to date, or counts it no more.
    #[inline]
    pub(super) fn count_client(&mut self, key: ConnectionKey, counts: bool) {
        let Some(connection) = self.connection_mut(key) else { return };
        let counted = if counts { connection.to_be_counted() } else { Counted::default() };
        let before = std::mem::replace(&mut connection.counted, counted);
        if before != counted {
            self.recount(before, counted);
        }
    }

    /// The same, if clients are measured.
    pub(super) fn recount_client(&mut self, key: ConnectionKey) {
        if self.client_limit.is_on {
            self.count_client(key, true);
        }
    }

    /// A connection is here no more.
    pub(super) fn uncount_client(&mut self, counted: Counted) {
        if counted != Counted::default() {
            self.recount(counted, Counted::default());
        }
    }

    fn recount(&mut self, before: Counted, counted: Counted) {
        let share = &self.shared.clients.shares[self.index];
        add(&share.bytes, counted.bytes - before.bytes);
        if counted.leaving_bytes < before.leaving_bytes {
            self.publish_memory();
        }
        add(&share.leaving_bytes, counted.leaving_bytes - before.leaving_bytes);
        for (counted, sign) in [(before, -1), (counted, 1)] {
            if counted.may_go {
                add(&share.evictable_bytes[class_of(counted.bytes)], sign * counted.bytes);
            }
        }
        if counted.may_go && !before.may_go {
            // It may be what was missing while nobody was left to go.
            self.client_limit.threshold = i64::MIN;
        }
    }

    /// Adds up what all clients take, and decides who goes if that is too much.
    #[cold]
    fn look_at_clients(&mut self, bytes_max: u64) {
        let shared = self.shared.clone();
        let clients = &shared.clients;
        let debts = {
            let _decides = clients.decision.lock().unwrap_or_else(PoisonError::into_inner);
            let excess = clients.bytes() - i64::try_from(bytes_max).unwrap_or(i64::MAX);
            self.client_limit.bytes_max = bytes_max;
            if excess <= 0 {
                let part = -excess / (2 * clients.shares.len() as i64);
                self.client_limit.threshold = clients.shares[self.index].bytes.load(Relaxed).saturating_add(part);
                self.client_limit.is_told = false;
                return;
            }
            self.client_limit.threshold = i64::MIN;
            let (debts, missing) = clients.debts(excess);
            if missing > 0 && !std::mem::replace(&mut self.client_limit.is_told, true) {
                tracing::warn!("Over client maxmemory after evicting all evictable clients");
            }
            for (share, debt) in clients.shares.iter().zip(&debts).filter(|(_, debt)| **debt > 0) {
                share.owed_bytes.fetch_add(*debt, Relaxed);
            }
            debts
        };
        let here = self.index;
        for shard in (0..debts.len()).filter(|shard| debts[*shard] > 0 && *shard != here) {
            self.counters.messages_sent += 1;
            shared.mailboxes.push(shard, Node::new(Message::EvictClients));
            self.wake_if_asleep(shard);
        }
        self.evict_owed_clients();
    }

    /// The largest clients of this shard go, until what it owes is paid.
    pub(super) fn evict_owed_clients(&mut self) {
        let owed = self.shared.clients.shares[self.index].owed_bytes.load(Relaxed);
        if owed <= 0 {
            return;
        }
        let candidates = self.connections().filter(|connection| connection.counted.may_go);
        let candidates: Vec<_> = candidates.map(|connection| (connection.counted.bytes, connection.key)).collect();
        let mut candidates = BinaryHeap::from(candidates);
        let mut paid = 0;
        while paid < owed
            && let Some((bytes, key)) = candidates.pop()
        {
            self.evict_client(key);
            paid += bytes;
        }
        // Who hears that it is paid finds the memory given back. Who is not there any more has paid, too.
        self.publish_memory();
        self.shared.clients.shares[self.index].owed_bytes.fetch_sub(owed, Relaxed);
    }

    /// Replies that were made here are on their way to their clients.
    #[inline]
    pub(super) fn replies_leave(&mut self, bytes: usize) {
        if bytes > LENT_BYTES {
            add_to(&self.shared.gauges[self.index].replies_made_bytes, bytes as u64);
        }
    }

    /// Such replies have come.
    #[inline]
    pub(super) fn replies_come(&mut self, bytes: usize) {
        if bytes > LENT_BYTES {
            self.client_limit.came_bytes += bytes as u64;
        }
    }

    /// What has come is counted as its clients'.
    #[inline]
    pub(super) fn replies_are_counted(&mut self) {
        if self.client_limit.came_bytes > 0 {
            self.publish_memory();
            let came_bytes = std::mem::take(&mut self.client_limit.came_bytes);
            add_to(&self.shared.gauges[self.index].replies_taken_bytes, came_bytes);
        }
    }

    /// Where clients are measured: memory that they will be charged with, and what they are about to give up.
    pub(super) fn bytes_of_clients_to_come(&self) -> i64 {
        if !self.client_limit.is_on {
            return 0;
        }
        let gauges = &self.shared.gauges;
        let taken: u64 = gauges.iter().map(|gauges| gauges.replies_taken_bytes.load(Acquire)).sum();
        let made: u64 = gauges.iter().map(|gauges| gauges.replies_made_bytes.load(Acquire)).sum();
        let to_come = made.saturating_sub(taken) as i64;
        let clients = &self.shared.clients;
        to_come + clients.leaving_bytes() + clients.owed_bytes()
    }

    fn evict_client(&mut self, key: ConnectionKey) {
        let (shard, now_ns) = (self.index, self.clock.monotonic_ns);
        let Some(connection) = self.connection_mut(key) else { return };
        let line = client_line(connection, shard, now_ns);
        tracing::info!("Evicting client: {}", String::from_utf8_lossy(&line).trim_end());
        // Its memory comes back now: the limit of memory is not to find it taken.
        connection.query_buffer = QueryBuffer::default();
        connection.output.give_up();
        connection.phase = Phase::Dead;
        self.counters.evicted_clients += 1;
        self.count_client(key, true);
        self.mark_dirty_key(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(evictable: &[&[i64]], owed: &[i64]) -> ClientShares {
        let clients = ClientShares::new(evictable.len(), 1);
        for (share, (sizes, owed)) in clients.shares.iter().zip(evictable.iter().zip(owed)) {
            for bytes in *sizes {
                add(&share.bytes, *bytes);
                add(&share.evictable_bytes[class_of(*bytes)], *bytes);
            }
            share.owed_bytes.store(*owed, Relaxed);
        }
        clients
    }

    #[test]
    fn classes_rise_with_sizes_and_tell_quarters_apart() {
        assert_eq!([0, 1, 4096, 5119, 5120, 7168, 8192].map(class_of), [0, 0, 0, 0, 1, 3, 4]);
        let all: Vec<usize> = (0..=60).flat_map(|bits| [4, 5, 6, 7].map(|part| class_of((part << bits) / 4))).collect();
        assert!(all.is_sorted());
        assert_eq!(all.last(), Some(&(CLASSES - 1)));
    }

    #[test]
    fn the_largest_owe_first_wherever_they_are() {
        let clients = shares(&[&[10_000, 1_000_000], &[2_000_000, 10_000]], &[0, 0]);
        assert_eq!(clients.debts(1), (vec![0, 1], 0));
        assert_eq!(clients.debts(2_000_001), (vec![1, 2_000_000], 0));
        assert_eq!(clients.debts(3_000_001), (vec![1_000_001, 2_000_000], 0));
        assert_eq!(clients.debts(4_000_000), (vec![1_010_000, 2_010_000], 980_000));
    }

    #[test]
    fn what_is_owed_already_is_not_asked_for_again() {
        let clients = shares(&[&[10_000, 1_000_000], &[2_000_000, 10_000]], &[0, 2_000_000]);
        assert_eq!(clients.bytes(), 1_020_000);
        assert_eq!(clients.debts(1), (vec![1, 0], 0));
        let clients = shares(&[&[10_000, 1_000_000], &[2_000_000, 10_000]], &[0, 500_000]);
        assert_eq!(clients.debts(1), (vec![0, 1], 0), "in the middle of a class");
    }
}
