//! The limit of memory (`maxmemory`): one for all shards, kept by each.
//!
//! ```text
//!   every turn      a shard publishes what its thread has taken (`Gauges`)                       a store to a line of its own
//!   threshold       how far its own count may rise before it looks at the others' again          a comparison a write
//!   above it        publish, add all up; still room: a new threshold, half of this shard's part of what is left
//!                   no room: who pays?  the shard whose best candidate should clearly go before ours; else we do
//!                      ours:    evict, in slices (`maxmemory-eviction-tenacity`)
//!                      theirs:  note the bytes as owed by it, send it a message; go on, a little above the limit
//!                   no key may go anywhere: OOM
//! ```
//!
//! So nobody writes to a line that others write to, save to ask for eviction, and no shard has a quota. What the shards
//! together may overshoot without noticing is the least threshold step of each: [`SLACK_PART`] of the limit in all; eviction
//! goes as far below the limit. While others owe, writers go on up to [`PATIENCE_PART`] above the limit; then clients
//! wait, and what has come from another shard already, and cannot wait, has keys of this one evicted.
//!
//! Keys that a lock holds stay. A pause of clients stops eviction.
//!
//! Who tracks keys is told which have gone, and may be told far more bytes than have gone. What has been told in the last
//! [`TOLD_NS`] is about to be sent, and does not count: else it would have more keys evicted, of which more would be told, until none
//! is left.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use crate::allocator;
use crate::mailbox::Message;
use crate::settings::Settings;
use crate::shared::Shared;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use torc_engine::command::Milliseconds;
use torc_engine::keyspace::{Eviction, EvictionPolicy};
use torc_engine::transaction::inbox::Node;

/// This part of the limit may be overshot unnoticed, and is freed below it.
const SLACK_PART: i64 = 8192;
/// This part of the limit may be overshot while other shards evict.
const PATIENCE_PART: i64 = 128;
/// At least this part of the limit is asked for at once, so that the other shard runs ahead of the writer.
const REQUEST_PART: i64 = 256;
/// For so long, and at most twice that, what clients are told about keys is taken for what is about to be sent.
const TOLD_NS: u64 = 5_000_000;
/// What messages and replies under way may take a shard without costing keys, in bytes, where no command asks for room.
const TRANSIENT_BYTES: i64 = 8 << 10;
/// Units of garbage collected before each look at what that gave back.
const GARBAGE_BUDGET: usize = 64;

/// What such a command is answered when there is none to be had.
pub(super) const OUT_OF_MEMORY: &[u8] = b"OOM command not allowed when used memory > 'maxmemory'.";

/// What a command hears that would take memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It may run.
    Enough,
    /// Other shards are making room; it waits where it can.
    Soon,
    /// There is none.
    None,
}

/// The limit, as one shard keeps it.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    /// None is no limit.
    bytes_max: Option<i64>,
    /// `noeviction` is none.
    policy: Option<EvictionPolicy>,
    /// Keys evicted in one go, at most.
    slice_keys: usize,
    /// Up to this count of its own the shard need not look at the others'.
    threshold: i64,
    /// More is to be evicted at once.
    is_behind: bool,
    /// A shard has been asked for room, and what it evicted for that need not have been heard of here when the turn began.
    is_promised: bool,
    waiting: Vec<ConnectionKey>,
    /// What clients have been told about keys, in bytes of memory: since `told_since_ns`, and in the [`TOLD_NS`] before that.
    told_bytes: [i64; 2],
    told_since_ns: u64,
}

impl MemoryLimit {
    pub(super) fn new(settings: &Settings) -> Self {
        let bytes_max = i64::try_from(settings.memory.bytes_max).unwrap_or(i64::MAX);
        Self {
            bytes_max: (bytes_max > 0).then_some(bytes_max),
            policy: settings.memory.policy,
            slice_keys: slice_keys(settings.memory.eviction_tenacity),
            threshold: i64::MIN,
            is_behind: false,
            is_promised: false,
            waiting: Vec::new(),
            told_bytes: [0, 0],
            told_since_ns: 0,
        }
    }
}

impl MemoryLimit {
    /// Whether clients have just been told of keys that went: what that took goes back when it is sent.
    #[inline]
    pub(super) fn has_told(&self) -> bool {
        self.told_bytes != [0, 0]
    }
}

/// How much may be evicted before clients have their turn again: the real server's time limits, at a microsecond a key.
fn slice_keys(tenacity: u32) -> usize {
    const LEAST: usize = 16;
    match tenacity {
        0..=10 => LEAST.max(50 * tenacity as usize),
        11..=99 => (500.0 * 1.15f64.powi(tenacity as i32 - 10)) as usize,
        _ => usize::MAX,
    }
}

impl Shared {
    /// Bytes that all threads have taken, as the shards last published it.
    pub fn used_bytes(&self) -> i64 {
        let published: i64 = self.gauges.iter().map(|gauges| gauges.allocated_bytes.load(Relaxed)).sum();
        published + self.unpublished_bytes.load(Relaxed)
    }

    /// Notes the most that was ever taken.
    fn note_peak(&self, used: i64) {
        if used > self.peak_bytes.load(Relaxed) {
            self.peak_bytes.fetch_max(used, Relaxed);
        }
    }

    /// Notes whether memory is above its limit, for INFO.
    fn note_exceeded(&self, is_exceeded: bool, now: Milliseconds) {
        let since = self.exceeded_since_ms.load(Relaxed);
        if is_exceeded && since == 0 {
            self.exceeded_since_ms.store(now.max(1), Relaxed);
        } else if !is_exceeded && since != 0 && self.exceeded_since_ms.swap(0, Relaxed) != 0 {
            self.exceeded_total_ms.fetch_add((now - since).max(0), Relaxed);
        }
    }
}

impl Core {
    /// From now on the allocator says what this shard's thread has taken: if it is the process's allocator.
    pub fn count_memory_by_allocator(&mut self) {
        if allocator::total_bytes() != 0 {
            allocator::publish_myself();
            self.measure_bytes = |_| allocator::thread_bytes();
            self.read_unpublished_bytes = allocator::unpublished_bytes;
        }
    }

    /// MEMORY PURGE: in tests this is not the process's allocator, and keeps what it has.
    pub fn purge_memory(&self) {
        if allocator::total_bytes() != 0 {
            allocator::purge();
        }
    }

    /// What the process takes before it serves anybody.
    pub fn note_startup_memory(&self) {
        let bytes = allocator::total_bytes();
        self.shared.startup_bytes.store(bytes, Relaxed);
        self.shared.peak_bytes.fetch_max(bytes, Relaxed);
        self.shared.unpublished_bytes.store((self.read_unpublished_bytes)(), Relaxed);
    }

    /// What is held against the limit.
    fn counted_bytes(&self) -> i64 {
        // In this order: what is counted as clients' meanwhile is in both.
        let to_come = self.bytes_of_clients_to_come();
        let told: i64 = self.shared.gauges.iter().map(|gauges| gauges.told_bytes.load(Relaxed)).sum();
        self.shared.used_bytes() - to_come - told
    }

    fn used_beside_told(&self) -> i64 {
        self.used_here() - self.memory.told_bytes.iter().sum::<i64>()
    }

    /// Tells a client about a key that has changed, or another shard whose client is to be told.
    #[inline]
    pub(super) fn telling(&mut self, tell: impl FnOnce(&mut Self)) {
        if self.memory.bytes_max.is_none() {
            return tell(self);
        }
        let before = self.used_here();
        tell(self);
        self.memory.told_bytes[0] += (self.used_here() - before).max(0);
        self.publish_told();
    }

    fn forget_told(&mut self) {
        let (now_ns, memory) = (self.clock.monotonic_ns, &mut self.memory);
        if !memory.has_told() {
            memory.told_since_ns = now_ns;
        } else if now_ns.saturating_sub(memory.told_since_ns) >= TOLD_NS {
            memory.told_bytes = [0, memory.told_bytes[0]];
            memory.told_since_ns = now_ns;
            self.publish_told();
        }
    }

    fn publish_told(&self) {
        self.shared.gauges[self.index].told_bytes.store(self.memory.told_bytes.iter().sum(), Relaxed);
    }

    fn used_here(&self) -> i64 {
        (self.measure_bytes)(&self.shard)
    }

    /// Tells the other shards what this one has taken.
    #[inline]
    pub(super) fn publish_memory(&self) {
        self.shared.gauges[self.index].allocated_bytes.store(self.used_here(), Relaxed);
        if self.memory.bytes_max.is_some() {
            self.publish_candidates();
        }
    }

    fn publish_candidates(&self) {
        let Some(policy) = self.memory.policy else { return };
        let (gauges, keyspace) = (&self.shared.gauges[self.index], &self.shard.keyspace);
        gauges.evictable.store(keyspace.evictable(policy), Relaxed);
        gauges.urgency.store(keyspace.eviction_urgency(policy), Relaxed);
    }

    /// Before a command that takes memory and can wait for it: makes room if need be.
    #[inline]
    pub(super) fn room(&mut self) -> Room {
        if self.memory.bytes_max.is_none() || self.used_here() <= self.memory.threshold {
            return Room::Enough;
        }
        self.make_room(true)
    }

    /// The same for one that cannot wait; false where there is none.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.memory.bytes_max.is_none()
            || self.gate.is_loading()
            || self.used_here() <= self.memory.threshold
            || self.make_room(false) != Room::None
    }

    /// Once a turn: brings memory back under its limit, whatever has made it grow.
    #[inline]
    pub fn keep_memory_limit(&mut self) {
        if !self.is_about_at_limit() && !self.gate.is_loading() {
            self.room();
        }
        if !self.memory.waiting.is_empty() && self.make_room(true) != Room::Soon {
            self.resumable.append(&mut self.memory.waiting);
        }
    }

    /// Whether what is above the limit may be no more than messages on their way, which one shard counts as taken before
    /// another has told that it gave them back. Who writes next looks closer.
    fn is_about_at_limit(&mut self) -> bool {
        let Some(bytes_max) = self.memory.bytes_max else { return true };
        if self.used_here() <= self.memory.threshold {
            return true;
        }
        self.publish_memory();
        let excess = self.counted_bytes() - bytes_max;
        let tolerated = (TRANSIENT_BYTES * self.shared.shards() as i64).min(bytes_max / PATIENCE_PART);
        if excess <= 0 || excess > tolerated {
            return false;
        }
        self.memory.is_behind = false;
        self.shared.note_exceeded(false, self.clock.wall_ms);
        true
    }

    /// Whether eviction is to go on at once.
    pub fn is_behind_with_memory(&self) -> bool {
        self.memory.bytes_max.is_some()
            && (self.memory.is_behind
                || !self.memory.waiting.is_empty()
                || self.shared.gauges[self.index].owed_bytes.load(Relaxed) > 0)
    }

    /// Before a turn hears of what others have done: whether they have evicted what they were asked for. They tell of that
    /// before they call it paid, so whoever sees no debt now hears of all of it in this turn. What was told a while ago counts again.
    #[inline]
    pub(super) fn look_at_debts(&mut self) {
        if self.memory.bytes_max.is_some() {
            self.memory.is_promised = self.has_trackers() && self.promised_bytes() > 0;
            self.forget_told();
        }
    }

    /// A client that is told which keys have gone waits for what other shards evict before it is answered, as long as somebody
    /// is above the limit: with one shard, too, room is made before a command runs.
    #[inline]
    pub(super) fn waits_for_evictions(&mut self, connection: &mut Connection) -> bool {
        let waits = self.memory.is_promised && connection.tracking().is_some();
        if waits {
            connection.paused = true;
            self.wait_for_memory(connection.key);
        }
        waits
    }

    /// The connection stops reading until there is room, or none to be had.
    pub(super) fn wait_for_memory(&mut self, key: ConnectionKey) {
        self.memory.waiting.push(key);
    }

    /// New settings.
    pub(super) fn apply_memory_settings(&mut self) {
        let waiting = std::mem::take(&mut self.memory.waiting);
        self.memory = MemoryLimit { waiting, ..MemoryLimit::new(&self.settings) };
        self.publish_told();
        self.publish_memory();
    }

    #[cold]
    fn make_room(&mut self, may_wait: bool) -> Room {
        let Some(bytes_max) = self.memory.bytes_max else { return Room::Enough };
        self.publish_memory();
        self.memory.is_behind = false;
        self.shared.note_peak(self.shared.used_bytes());
        let mut used = self.counted_bytes();
        if used > bytes_max
            && let Some(policy) = self.memory.policy
            && !self.is_paused()
        {
            self.evict_or_ask(policy, bytes_max, used, may_wait);
            self.publish_memory();
            used = self.counted_bytes();
        }
        self.shared.note_exceeded(used > bytes_max, self.clock.wall_ms);
        let step = (bytes_max / SLACK_PART / self.shared.shards() as i64).max(1);
        let here = self.used_here();
        if used <= bytes_max {
            let part = (bytes_max - used) / (2 * self.shared.shards() as i64);
            self.memory.threshold = here.saturating_add(part.max(step));
            return Room::Enough;
        }
        self.memory.threshold = i64::MIN;
        if self.is_paused() {
            return Room::Enough;
        }
        if self.memory.policy.is_none() || self.evictable_anywhere() == 0 {
            return Room::None;
        }
        if used - self.promised_bytes() <= bytes_max {
            // As far as others are about to give, nothing is to be done here.
            self.memory.threshold = here.saturating_add(step);
            return if used > bytes_max + bytes_max / PATIENCE_PART { Room::Soon } else { Room::Enough };
        }
        self.memory.is_behind = true;
        Room::Enough
    }

    fn evictable_anywhere(&self) -> usize {
        self.shared.gauges.iter().map(|gauges| gauges.evictable.load(Relaxed)).sum()
    }

    /// What other shards have been asked to free and have not yet.
    fn promised_bytes(&self) -> i64 {
        let others = self.shared.gauges.iter().enumerate().filter(|(shard, _)| *shard != self.index);
        others.map(|(_, gauges)| gauges.owed_bytes.load(Acquire)).sum()
    }

    fn evict_or_ask(&mut self, policy: EvictionPolicy, bytes_max: i64, used: i64, may_wait: bool) {
        let excess = used - (bytes_max - bytes_max / SLACK_PART);
        let missing = excess - self.promised_bytes();
        if missing > 0
            && let Some(payer) = self.clearly_better_payer(policy)
        {
            self.ask_for_eviction(payer, missing.max(bytes_max / REQUEST_PART));
        }
        let promised = self.promised_bytes();
        let is_patient = may_wait || used <= bytes_max + bytes_max / PATIENCE_PART;
        if used - promised > bytes_max {
            self.evict_here(policy, excess - promised);
        } else if !is_patient {
            self.evict_here(policy, excess);
        }
    }

    /// Frees so many bytes, or as many as one slice does; whether keys are left that may go. Nobody has changed these keys:
    /// that is told before the command that had to have room.
    fn evict_here(&mut self, policy: EvictionPolicy, bytes: i64) -> bool {
        let stopwatch = self.stopwatch_of_events();
        let has_more = self.evict_slice(policy, bytes);
        self.note_event("eviction-cycle", stopwatch);
        self.tell_changes(None);
        has_more
    }

    fn evict_slice(&mut self, policy: EvictionPolicy, bytes: i64) -> bool {
        let goal = self.used_beside_told() - bytes;
        let now = self.shard.now();
        for _ in 0..self.memory.slice_keys {
            // What is remembered of the keys that went, and of who has read them, counts as long as they have not been told.
            self.tell_changes(None);
            let before = self.used_beside_told();
            if before <= goal {
                break;
            }
            // What has been let go before comes back first.
            self.shard.keyspace.collect_garbage(GARBAGE_BUDGET);
            if self.used_beside_told() < before {
                continue;
            }
            let schedule = &self.schedule;
            match self.shard.keyspace.evict(policy, now, |hash| schedule.is_locked(hash)) {
                Eviction::Removed => {}
                Eviction::NotFound => break,
                Eviction::Impossible => return false,
            }
        }
        true
    }

    /// Another shard whose best candidate should clearly go before ours.
    fn clearly_better_payer(&mut self, policy: EvictionPolicy) -> Option<usize> {
        if self.shared.shards() == 1 {
            return None;
        }
        let now = self.shard.now();
        self.shard.keyspace.sample_for_eviction(policy, now);
        let ours = self.shard.keyspace.eviction_urgency(policy);
        let has_none = self.shard.keyspace.evictable(policy) == 0;
        let others = self
            .shared
            .gauges
            .iter()
            .enumerate()
            .filter(|(shard, gauges)| *shard != self.index && gauges.evictable.load(Relaxed) > 0);
        let (payer, theirs) =
            others.map(|(shard, gauges)| (shard, gauges.urgency.load(Relaxed))).max_by_key(|(_, urgency)| *urgency)?;
        (has_none || policy.is_clearly_before(theirs, ours, now)).then_some(payer)
    }

    fn ask_for_eviction(&mut self, payer: usize, bytes: i64) {
        self.memory.is_promised = self.has_trackers();
        if self.shared.gauges[payer].owed_bytes.fetch_add(bytes, Relaxed) == 0 {
            self.counters.messages_sent += 1;
            self.shared.mailboxes.push(payer, Node::new(Message::Evict));
            self.wake_if_asleep(payer);
        }
    }

    /// Frees a slice of what other shards have asked for.
    pub(super) fn pay_owed_memory(&mut self) {
        let owed = self.shared.gauges[self.index].owed_bytes.load(Relaxed);
        if owed <= 0 {
            return;
        }
        let before = self.used_beside_told();
        let can_pay = match self.memory.policy {
            Some(policy) if !self.is_paused() && self.memory.bytes_max.is_some() => self.evict_here(policy, owed),
            _ => false,
        };
        // Who finds it paid has been told which keys are gone.
        self.tell_before_leaving();
        self.publish_memory();
        let paid = (before - self.used_beside_told()).clamp(0, owed);
        // A slice without any gain ends the debt, too: keys may be locked, and who asked will ask again.
        let settled = if can_pay && paid > 0 { paid } else { owed };
        self.shared.gauges[self.index].owed_bytes.fetch_sub(settled, Release);
    }

    /// Regularly: keeps the candidates that others are told of true, and the figures of INFO.
    pub fn memory_cron(&mut self) {
        if self.index == 0 {
            let read = self.read_unpublished_bytes;
            self.shared.unpublished_bytes.store(read(), Relaxed);
            self.shared.peak_bytes.fetch_max(self.shared.used_bytes(), Relaxed);
        }
        if let (Some(bytes_max), Some(policy)) = (self.memory.bytes_max, self.memory.policy)
            && self.shared.used_bytes() > bytes_max - bytes_max / 8
        {
            let now = self.shard.now();
            self.shard.keyspace.rescore_candidates(policy, now);
            self.shard.keyspace.sample_for_eviction(policy, now);
            self.publish_candidates();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_gives_the_real_servers_times() {
        assert_eq!([0, 1, 10, 11, 20].map(slice_keys), [16, 50, 500, 575, 2022]);
        assert!(slice_keys(99) > 100_000_000);
        assert_eq!(slice_keys(100), usize::MAX);
    }
}
