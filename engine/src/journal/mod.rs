//! What commands report of the changes they make: effects, which make the same change wherever they are replayed, and
//! events, which tell subscribers of it.
//!
//! ```text
//!   handler ──> execution.effect(&[b"SREM", key, member])              replayed by a log, a replica: canonical form
//!          └──> execution.event(EventClass::SET, "srem", key)          keyspace notifications
//!          └──> journal.publish(..)                                     a message, behind the events before it
//!   expiry  ──> DEL and `expired`, by the keyspace itself
//! ```
//!
//! An effect is a command in the syntax of Redis 7.0 (field expiry excepted), with what was random or relative to the
//! clock resolved: SPOP reports SREM, EXPIRE reports PEXPIREAT. Replaying the effects in order into an empty keyspace gives
//! the same data. Where nobody listens a report costs a look at one flag; so arguments that must be built are built under
//! [`Journal::wants_effects`].
//!
//! A unit that ran on several shards is told once, in the journal of the shard that owns the first key it may write; the
//! others that gave it values hear that it was there. So journals can be joined to one order:
//!
//! ```text
//!   shard 0:  e1  ────  unit 7 of 2: -                 ────  e4          joined: e1 e2 e3 e4, or e2 e1 e3 e4:
//!   shard 1:        e2  unit 7 of 2: SUNIONSTORE ... (e3)                e4 waits for both of unit 7
//! ```
//!
//! All shards meet such units in the same order (`transaction/multicast.rs`), so nothing waits in a circle. A shard that let a
//! unit's keys go before its end (SORT with patterns reads as of an instant) does not hear of it: it has met others since.
//!
//! A transaction is one unit, also where it ran on one shard: its effects are a share with nobody else in it. Where several
//! shards have each their part of it, each effect says which of the transaction's commands made it ([`Share::places`]).
//!
//! Events are also how watched keys are noticed to change ([`Watches`]): there is one for every change, heard or not.

mod effects;

use crate::audience::SharedAudience;
use crate::keyspace::{Held, Watches};
pub use effects::{Effect, Effects, write_command};

/// What a unit on several shards did, as one of these shards hears of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Which unit: the shard that coordinated it, and that shard's number for it.
    pub unit: (usize, u64),
    /// How many shards hear of it.
    pub shares: usize,
    /// Its effects: all in one of the shares, unless they have places.
    pub effects: Effects,
    /// For each effect, which of the unit's commands made it: shares are merged in this order. Empty if one share has all.
    pub places: Vec<u32>,
    /// Each shard has done its part where it met the unit, at the place of its share among its other records. Else the unit
    /// has one place in the history of all shards.
    pub is_apart: bool,
}

/// Puts the effects of a unit's shares in order.
pub fn merge_shares<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Effects {
    let placed = shares.into_iter().flat_map(|share| {
        let places = share.places.iter().copied().chain(std::iter::repeat(0));
        places.zip(share.effects.iter())
    });
    let mut placed: Vec<(u32, (usize, &[u8]))> = placed.collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut merged = Effects::default();
    placed.into_iter().for_each(|(_, (database, command))| merged.push_written(database, command));
    merged
}

/// One step of a shard's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Changes on this shard alone.
    Effects(Effects),
    /// A change on several.
    Share(Share),
}

/// A keyspace notification; or, in its place among these, a message that a client has published
/// ([`EventClass::Published`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The database of the key.
    pub database: usize,
    /// Which subscribers hear of it.
    pub class: EventClass,
    /// What happened.
    pub name: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// The parts of its value that were changed, such as fields, where somebody wants to know them.
    pub subkeys: Vec<Vec<u8>>,
}

/// Classes of events, named by the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EventClass {
    /// `g`: commands on keys of any type.
    Generic = 1,
    /// `$`
    String = 1 << 1,
    /// `l`
    List = 1 << 2,
    /// `s`
    Set = 1 << 3,
    /// `h`
    Hash = 1 << 4,
    /// `z`
    SortedSet = 1 << 5,
    /// `x`: a key expired.
    Expired = 1 << 6,
    /// `e`: a key was evicted.
    Evicted = 1 << 7,
    /// `t`
    Stream = 1 << 8,
    /// `m`: a key was looked for in vain.
    Miss = 1 << 9,
    /// `n`: a key is new.
    New = 1 << 10,
    /// `o`: a key's value was replaced whole.
    Overwritten = 1 << 11,
    /// `c`: by one of another type.
    TypeChanged = 1 << 12,
    /// No event of a key: what PUBLISH says. The channel stands in the place of the key, the message in that of the only
    /// subkey; the name is the kind of message, as subscribers are told it.
    Published = 1 << 13,
}

/// The kind of a message on a channel.
pub const MESSAGE: &str = "message";
/// The kind of a message on a shard channel.
pub const SHARD_MESSAGE: &str = "smessage";

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(u16);

impl EventClasses {
    /// These.
    pub fn of(classes: &[EventClass]) -> Self {
        Self(classes.iter().fold(0, |bits, class| bits | *class as u16))
    }

    /// Whether the class is one of them.
    #[inline]
    pub fn has(self, class: EventClass) -> bool {
        self.0 & class as u16 != 0
    }

    /// With one more.
    pub fn with(self, class: EventClass) -> Self {
        Self(self.0 | class as u16)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Every class.
    const ALL: Self = Self(u16::MAX);
}

/// Collects the reports of one shard until its owner takes them.
#[derive(Debug, Default)]
pub struct Journal {
    wants_effects: bool,
    /// The classes that somebody listens to.
    wanted_events: EventClasses,
    /// These, or all while keys are watched.
    heard_events: EventClasses,
    /// Keys whose changes somebody waits for.
    pub(crate) watches: Watches,
    /// Whether somebody wants to know the parts of values that events are about.
    wants_subkeys: bool,
    /// Who has subscribed to what.
    audience: SharedAudience,
    /// What came before the effects that are the end of the history.
    records: Vec<Record>,
    /// How many effects and shares these are.
    recorded: usize,
    effects: Effects,
    /// A unit is under way whose effects are not to be taken yet.
    is_in_unit: bool,
    events: Vec<Event>,
    /// Set while what is done may be undone.
    pub(crate) held: Option<Box<Held>>,
}

impl Journal {
    /// An empty journal that nobody listens to.
    pub(crate) fn with_watches(watches: Watches) -> Self {
        let mut journal = Self { watches, ..Self::default() };
        journal.note_watches();
        journal
    }

    /// An empty journal with the listeners of this one, but for those who watch.
    pub(crate) fn empty_like(&self, watches: Watches) -> Self {
        let mut journal = Self {
            wants_effects: self.wants_effects,
            wanted_events: self.wanted_events,
            wants_subkeys: self.wants_subkeys,
            audience: self.audience.clone(),
            ..Self::default()
        };
        journal.watches = watches;
        journal.note_watches();
        journal
    }

    /// Keys are watched from now on, or no more.
    pub(crate) fn note_watches(&mut self) {
        self.heard_events = if self.watches.is_empty() { self.wanted_events } else { EventClasses::ALL };
    }

    /// A key has changed without an event.
    #[inline]
    pub(crate) fn touch(&mut self, database: usize, key: &[u8]) {
        if !self.watches.is_empty() {
            self.watches.touch(database, key, self.held.as_deref_mut());
        }
    }

    /// Says who listens: whether to effects, and to which classes of events.
    pub fn listen(&mut self, effects: bool, events: &[EventClass]) {
        self.wants_effects = effects;
        self.listen_to_events(EventClasses::of(events), false);
    }

    /// Says whether somebody listens to effects.
    pub fn listen_to_effects(&mut self, wanted: bool) {
        self.wants_effects = wanted;
    }

    /// Says which classes of events somebody listens to, and whether their subkeys are wanted.
    pub fn listen_to_events(&mut self, classes: EventClasses, subkeys: bool) {
        self.wanted_events = classes;
        self.wants_subkeys = subkeys;
        self.note_watches();
    }

    /// Whether events of a class are collected.
    #[inline]
    pub fn wants_event(&self, class: EventClass) -> bool {
        self.wanted_events.has(class)
    }

    /// Whether events of a class are collected with the parts of values that they are about.
    #[inline]
    pub fn wants_subkeys(&self, class: EventClass) -> bool {
        self.wants_subkeys && self.wanted_events.has(class)
    }

    /// Whether effects are collected.
    #[inline]
    pub fn wants_effects(&self) -> bool {
        self.wants_effects
    }

    /// Whether anything is collected.
    #[inline]
    pub fn is_listening(&self) -> bool {
        self.wants_effects || !self.heard_events.is_empty()
    }

    /// Reports an effect.
    #[inline]
    pub fn effect(&mut self, database: usize, arguments: &[&[u8]]) {
        if self.wants_effects {
            self.push_effect(database, arguments);
        }
    }

    /// The same of arguments that were built for it.
    pub fn effect_owned(&mut self, database: usize, arguments: Vec<Vec<u8>>) {
        if self.wants_effects {
            self.effects.push(database, &arguments);
        }
    }

    #[cold]
    fn push_effect(&mut self, database: usize, arguments: &[&[u8]]) {
        self.effects.push(database, arguments);
    }

    /// Reports effects that were taken back before.
    pub fn effects(&mut self, effects: &Effects) {
        if self.wants_effects {
            self.effects.append(effects);
        }
    }

    /// Reports an event.
    #[inline]
    pub fn event(&mut self, database: usize, class: EventClass, name: &'static str, key: &[u8]) {
        if self.heard_events.has(class) {
            self.push_event(database, class, name, key, Vec::new());
        }
    }

    /// Reports an event with the parts of the value that it is about.
    #[inline]
    pub fn event_of_parts<'a>(
        &mut self,
        database: usize,
        class: EventClass,
        name: &'static str,
        key: &[u8],
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) {
        if self.heard_events.has(class) {
            let parts = if self.wants_subkeys { parts.into_iter().map(<[u8]>::to_vec).collect() } else { Vec::new() };
            self.push_event(database, class, name, key, parts);
        }
    }

    #[cold]
    fn push_event(
        &mut self,
        database: usize,
        class: EventClass,
        name: &'static str,
        key: &[u8],
        subkeys: Vec<Vec<u8>>,
    ) {
        // That a key was missed is no change, that its time was over is noticed otherwise, and what the groups of a stream know
        // is not the stream.
        let is_beside = name.starts_with("xgroup-") || name == "xsetid";
        if !matches!(class, EventClass::Miss | EventClass::Expired) && !is_beside {
            self.touch(database, key);
        } else if is_beside {
            self.watches.note(database, key);
        }
        if self.wanted_events.has(class) {
            self.report(Event { database, class, name, key: key.to_vec(), subkeys });
        }
    }

    fn report(&mut self, event: Event) {
        match &mut self.held {
            Some(held) => held.events.push(event),
            None => self.events.push(event),
        }
    }

    /// Who has subscribed to what.
    pub fn audience(&self) -> &SharedAudience {
        &self.audience
    }

    /// Reports a message, if anybody may hear it; how many are counted, and will.
    pub fn publish(&mut self, is_sharded: bool, channel: &[u8], message: &[u8]) -> u64 {
        let receivers = self.audience.borrow().receivers(is_sharded, channel);
        if receivers.shards != 0 {
            let name = if is_sharded { SHARD_MESSAGE } else { MESSAGE };
            let (class, key, subkeys) = (EventClass::Published, channel.to_vec(), vec![message.to_vec()]);
            self.report(Event { database: 0, class, name, key, subkeys });
        }
        receivers.count
    }

    /// Takes the events since the last time, and leaves the effects.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether events wait to be taken.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Reports that a key went because its time was over.
    pub(crate) fn expired(&mut self, database: usize, key: &[u8]) {
        self.effect(database, &[b"DEL", key]);
        self.event(database, EventClass::Expired, "expired", key);
    }

    /// Reports that a key went because memory was short.
    pub(crate) fn evicted(&mut self, database: usize, key: &[u8]) {
        self.effect(database, &[b"DEL", key]);
        self.event(database, EventClass::Evicted, "evicted", key);
    }

    /// Adds what a unit on several shards has done, at the place where its writes take effect.
    pub fn add(&mut self, share: Option<Share>, events: Vec<Event>) {
        share.into_iter().for_each(|share| self.add_share(share));
        match &mut self.held {
            Some(held) => held.events.extend(events),
            None => self.events.extend(events),
        }
    }

    /// Adds a unit at its end.
    pub fn add_share(&mut self, share: Share) {
        self.close_effects();
        self.records.push(Record::Share(share));
        self.recorded += 1;
    }

    fn close_effects(&mut self) {
        if !self.effects.is_empty() {
            self.recorded += self.effects.len();
            self.records.push(Record::Effects(std::mem::take(&mut self.effects)));
        }
    }

    /// How long the history is that nobody has taken: so many effects and shares.
    pub fn len(&self) -> usize {
        self.recorded + self.effects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes what was reported since the history had a length a share of a unit that every shard runs, such as FLUSHALL:
    /// told by one of them, and by the others that it was there.
    pub fn share_since(&mut self, length: usize, unit: (usize, u64), shares: usize, tells: bool) {
        if self.len() <= length {
            return;
        }
        let effects = self.take_since(length);
        let effects = if tells { effects } else { Effects::default() };
        self.add_share(Share { unit, shares, effects, ..Share::default() });
    }

    /// Makes it the share of one of several shards that each do their part of a command: this shard's is in this place.
    pub fn share_part(&mut self, length: usize, unit: (usize, u64), shares: usize, place: usize) {
        if self.wants_effects {
            let effects = self.take_since(length);
            let places = vec![place as u32; effects.len()];
            self.add_share(Share { unit, shares, effects, places, is_apart: true });
        }
    }

    /// Takes back what was reported since the history had a length: for a unit that is told when it ends.
    pub fn take_since(&mut self, length: usize) -> Effects {
        if length >= self.recorded {
            return self.effects.split_off(length - self.recorded);
        }
        self.close_effects();
        let mut taken = Effects::default();
        let mut position = 0;
        let mut kept = Vec::new();
        for record in std::mem::take(&mut self.records) {
            let count = record.len();
            match record {
                record if position + count <= length => kept.push(record),
                Record::Share(share) => taken.append(&share.effects),
                Record::Effects(mut effects) => {
                    taken.append(&effects.split_off(length.saturating_sub(position)));
                    kept.extend((!effects.is_empty()).then_some(Record::Effects(effects)));
                }
            }
            position += count;
        }
        self.records = kept;
        self.recorded = self.records.iter().map(Record::len).sum();
        taken
    }

    /// Whether there are effects to be taken: not in the middle of a unit.
    #[inline]
    pub fn has_effects(&self) -> bool {
        !self.is_empty() && !self.is_in_unit
    }

    /// A unit begins: what is told from now on is taken when it has ended. How long the history is.
    pub fn begin_unit(&mut self) -> usize {
        self.is_in_unit = true;
        self.len()
    }

    /// It has ended, and is told as one, if it told anything.
    pub fn end_unit(&mut self, length: usize, unit: (usize, u64)) {
        self.is_in_unit = false;
        if self.len() > length {
            let effects = self.take_since(length);
            self.add_share(Share { unit, shares: 1, effects, ..Share::default() });
        }
    }

    /// Takes the effects since the last time, and leaves the events.
    pub fn take_effects(&mut self) -> Vec<Record> {
        self.close_effects();
        self.recorded = 0;
        std::mem::take(&mut self.records)
    }

    /// Takes the history since the last time.
    pub fn take_records(&mut self) -> (Vec<Record>, Vec<Event>) {
        (self.take_effects(), std::mem::take(&mut self.events))
    }

    /// As [`Journal::take_records`], where this shard is the only one: effects in order.
    pub fn take(&mut self) -> (Vec<Effect>, Vec<Event>) {
        (self.take_since(0).to_words(), std::mem::take(&mut self.events))
    }
}

impl Record {
    /// How many bytes its effects are.
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Effects(effects) => effects.bytes().len(),
            Self::Share(share) => share.effects.bytes().len(),
        }
    }

    /// How many effects and shares it is.
    fn len(&self) -> usize {
        match self {
            Self::Effects(effects) => effects.len(),
            Self::Share(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_kept() {
        let mut journal = Journal::default();
        journal.effect(0, &[b"DEL", b"key"]);
        journal.event(0, EventClass::Set, "sadd", b"key");
        assert_eq!(journal.take(), (vec![], vec![]));
        journal.listen(true, &[EventClass::Expired]);
        journal.event(0, EventClass::Set, "sadd", b"key");
        journal.expired(3, b"key");
        let (effects, events) = journal.take();
        assert_eq!(effects, [Effect { database: 3, arguments: vec![b"DEL".to_vec(), b"key".to_vec()] }]);
        assert_eq!((events.len(), events[0].name), (1, "expired"));
    }
}
