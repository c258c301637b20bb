//! Key locks by position, on one shard.
//!
//! Work meets a shard in one order: that of its inbox, then its local commands. Each unit takes intents on its keys at
//! its position; an intent is granted when nothing before it in that key's line conflicts. A unit runs when all its
//! intents are granted and, for a part of a multicast, when the flag "all enqueued" is set. A unit of one hop releases when
//! it has run; a unit of several hops holds until its last hop.
//!
//! ```text
//!   key a:  [T1 excl granted] [T4 shared] [T7 excl]          T1 holds a and b
//!   key b:  [T1 excl granted] [T2 excl]                      T2 waits for T1 only
//!   whole:  T8 waits for every unit before it; T9, T10 ... wait behind T8 in `behind`
//! ```
//!
//! Time keeps the order of positions on every key, and what waits runs at the time of its position, not at the time at which
//! its turn comes: a multicast behind it may have an earlier one. That of a multicast is known with its flag. Only the last
//! that arrived can have its flag unset (it holds this inbox's multicast lock until then), so whatever comes into line
//! meanwhile waits for that flag too, and runs no earlier than that multicast ([`Schedule::not_before`]).
//!
//! A command that works in slices goes on holding what it will write ([`Schedule::hold_on`]) and lets go of the rest. Units
//! that want these keys wait for it; a whole-shard unit does not, since what it would wait for has changed nothing yet: it
//! comes before that commit. (Whoever waits for such a key is waited for as ever.) A transaction that may touch any key, and
//! more than once, waits for these, too: it is alone.
//!
//! Time changes keys, too: of two commands that read a key and write what they read elsewhere, one may find it alive and the
//! other expired. Journals must then hear of the first, of the key's end, of the second, in this order; but the first
//! tells what it did at its last hop. So sources of writers keep each other off a key that may expire, while readers, of
//! whom nobody is told, pass ([`Mode::Source`]).
//!
//! Invariants:
//! 1. Waiting goes to earlier positions only, and multicasts meet everywhere in one order: no cycle, no deadlock.
//! 2. With no ticket in the schedule every unit runs at once and leaves no trace: the common case pays one length check.
//! 3. Keys are named by a 64-bit fingerprint of their bytes, the same in every database: two keys that collide, or one
//!    key in two databases, only wait for each other.

use super::multicast::Multicast;
use crate::command::Milliseconds;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// What a unit does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It reads it, and writes nothing that depends on it.
    Read,
    /// It reads it, and changes another key accordingly.
    Source,
    /// It may change it.
    Write,
}

impl Mode {
    /// What a command does with a key that it may or may not write.
    pub fn of(writes_key: bool, is_write: bool) -> Self {
        match (writes_key, is_write) {
            (true, _) => Self::Write,
            (false, true) => Self::Source,
            (false, false) => Self::Read,
        }
    }

    /// Whether two units cannot have one key at the same time.
    pub fn conflicts(self, other: Self) -> bool {
        self == Self::Write || other == Self::Write || (self == Self::Source && other == Self::Source)
    }
}

/// What a unit wants of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The key's hash.
    pub fingerprint: u64,
    /// Its slot.
    pub slot: u16,
    /// What for.
    pub mode: Mode,
}

/// What a unit wants of the shard.
#[derive(Clone, Debug)]
pub enum Claim {
    /// These keys. A key that is named twice counts with its strongest intent.
    Keys(SmallVec<[Intent; 4]>),
    /// Everything: waits for all before it, holds back all behind it.
    Whole,
    /// The same, and waits for those that hold on, too.
    Alone,
    /// Nothing, but its place in the line of whole-shard units.
    Place,
}

/// A unit's number on its shard, ascending by position.
pub type Ticket = u64;

/// Whether a unit may run now.
#[derive(Debug)]
pub enum Entry<B> {
    /// Run it. With a ticket, release that ticket when done.
    Run(B, Option<Ticket>),
    /// It is in line; it will come out of [`Schedule::next_ready`].
    Queued(Ticket),
}

#[derive(Debug)]
struct Unit<B> {
    claim: Claim,
    /// Intents that are not granted yet; a whole-shard unit counts 1 until it is alone.
    missing: usize,
    admitted: bool,
    /// It has run, and only goes on holding: whole-shard units pass it.
    is_holding_on: bool,
    flag: Option<Arc<Multicast>>,
    not_before: Milliseconds,
    body: Option<B>,
}

impl<B> Unit<B> {
    fn is_flagged(&mut self) -> bool {
        if let Some(flag) = self.flag.take_if(|flag| flag.is_enqueued()) {
            self.not_before = flag.now();
        }
        self.flag.is_none()
    }
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 fingerprints are hashed");
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// One that is in front of a key.
#[derive(Clone, Copy, Debug)]
struct Stand {
    ticket: Ticket,
    mode: Mode,
    is_granted: bool,
}

/// The line in front of one key.
#[derive(Debug, Default)]
struct Line {
    stands: VecDeque<Stand>,
    tally: Tally,
}

/// How many of which mode.
#[derive(Debug, Default)]
struct Tally {
    reads: usize,
    sources: usize,
    writes: usize,
}

impl Tally {
    fn of(&mut self, mode: Mode) -> &mut usize {
        match mode {
            Mode::Read => &mut self.reads,
            Mode::Source => &mut self.sources,
            Mode::Write => &mut self.writes,
        }
    }

    /// Whether one of these keeps one that comes behind them from the key.
    fn conflicts(&self, mode: Mode) -> bool {
        match mode {
            Mode::Read => self.writes > 0,
            Mode::Source => self.sources + self.writes > 0,
            Mode::Write => self.reads + self.sources + self.writes > 0,
        }
    }
}

impl Line {
    /// One more at its end; whether it is granted at once.
    fn join(&mut self, ticket: Ticket, mode: Mode) -> bool {
        let is_granted = !self.tally.conflicts(mode);
        *self.tally.of(mode) += 1;
        self.stands.push_back(Stand { ticket, mode, is_granted });
        is_granted
    }

    /// One leaves; those that are granted by that.
    fn leave(&mut self, ticket: Ticket) -> SmallVec<[Ticket; 8]> {
        let mut newly_granted = SmallVec::new();
        let Some(position) = self.stands.iter().position(|stand| stand.ticket == ticket) else { return newly_granted };
        let Some(gone) = self.stands.remove(position) else { return newly_granted };
        *self.tally.of(gone.mode) -= 1;
        let mut before = Tally::default();
        for stand in &mut self.stands {
            if !stand.is_granted && !before.conflicts(stand.mode) {
                stand.is_granted = true;
                newly_granted.push(stand.ticket);
            }
            *before.of(stand.mode) += 1;
            if stand.mode == Mode::Write {
                // Everybody behind it waits for it.
                break;
            }
        }
        newly_granted
    }
}

/// The key locks of one shard. `B` is whatever the caller wants back when the unit's turn comes.
#[derive(Debug)]
pub struct Schedule<B> {
    units: BTreeMap<Ticket, Unit<B>>,
    lines: HashMap<u64, Line, BuildHasherDefault<Identity>>,
    /// The whole-shard unit that runs or waits for those before it.
    whole: Option<Ticket>,
    /// Units that arrived after `whole`.
    behind: VecDeque<Ticket>,
    /// Admitted units in the schedule that do not hold on, `whole` not counted.
    admitted: usize,
    /// Units that hold on.
    holding_on: usize,
    ready: VecDeque<Ticket>,
    /// Granted, but their flag is unset.
    parked: Vec<Ticket>,
    /// The multicast that arrived last, until its flag is found set.
    unflagged: Option<Arc<Multicast>>,
    next_ticket: Ticket,
    waits: u64,
}

impl<B> Default for Schedule<B> {
    fn default() -> Self {
        Self {
            units: BTreeMap::new(),
            lines: HashMap::default(),
            whole: None,
            behind: VecDeque::new(),
            admitted: 0,
            holding_on: 0,
            ready: VecDeque::new(),
            parked: Vec::new(),
            unflagged: None,
            next_ticket: 1,
            waits: 0,
        }
    }
}

impl<B> Schedule<B> {
    /// Whether nothing is held or waiting: then any command may run at once.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.units.is_empty()
    }

    /// Whether a unit with this claim would run at once and leave no trace.
    pub fn may_run(&self, claim: &Claim) -> bool {
        !self.conflicts(claim)
    }

    /// How many units had to wait for a lock so far.
    pub fn waits(&self) -> u64 {
        self.waits
    }

    /// How many units hold or wait.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether nothing is held or waiting.
    pub fn is_empty(&self) -> bool {
        self.is_idle()
    }

    /// Whether a unit that has begun, and is not through, has this key.
    pub fn is_held(&self, fingerprint: u64) -> bool {
        let has_begun = |ticket: &Ticket| self.units.get(ticket).is_some_and(|unit| unit.body.is_none());
        let is_whole_held = self.whole.as_ref().is_some_and(has_begun);
        let line = self.lines.get(&fingerprint);
        is_whole_held
            || line.is_some_and(|line| line.stands.iter().any(|stand| stand.is_granted && has_begun(&stand.ticket)))
    }

    /// Whether a unit that is not through may change this key.
    pub fn may_change(&self, fingerprint: u64) -> bool {
        self.whole.is_some() || self.lines.get(&fingerprint).is_some_and(|line| line.tally.writes > 0)
    }

    /// Whether expiry and eviction must leave this key alone.
    pub fn is_locked(&self, fingerprint: u64) -> bool {
        !self.is_idle() && (self.whole.is_some() || self.lines.contains_key(&fingerprint))
    }

    /// A unit arrives at its position. With `hold` it keeps its locks after it has run, until [`Schedule::release`].
    pub fn enter(&mut self, claim: Claim, flag: Option<&Arc<Multicast>>, hold: bool, body: B) -> Entry<B> {
        if !hold && flag.is_none_or(|flag| flag.is_enqueued()) && !self.conflicts(&claim) {
            return Entry::Run(body, None);
        }
        let ticket = self.line_up(claim, flag, body);
        let unit = self.units.get_mut(&ticket).expect("just inserted");
        if unit.admitted && unit.missing == 0 && unit.flag.is_none() {
            // Granted at once: it need not go through the ready line.
            let body = unit.body.take().expect("just inserted");
            self.ready.retain(|other| *other != ticket);
            return Entry::Run(body, Some(ticket));
        }
        Entry::Queued(ticket)
    }

    /// A unit arrives that must not run before the caller has come back to its loop, whatever it finds: it comes out of
    /// [`Schedule::next_ready`], if need be at once.
    pub fn queue(&mut self, claim: Claim, body: B) {
        self.line_up(claim, None, body);
    }

    fn line_up(&mut self, claim: Claim, flag: Option<&Arc<Multicast>>, body: B) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if flag.is_some() {
            self.unflagged = flag.cloned();
        }
        let flag = self.unflagged.clone();
        let not_before = Milliseconds::MIN;
        let (body, is_holding_on) = (Some(body), false);
        self.units.insert(ticket, Unit { claim, missing: 0, admitted: false, is_holding_on, flag, not_before, body });
        if self.whole.is_some() {
            self.behind.push_back(ticket);
            self.waits += 1;
            return ticket;
        }
        self.admit(ticket);
        self.waits += u64::from(self.units[&ticket].missing > 0);
        ticket
    }

    /// Gives back what a unit holds and lets the next in line run.
    pub fn release(&mut self, ticket: Ticket) {
        let Some(unit) = self.units.remove(&ticket) else { return };
        debug_assert!(unit.admitted);
        match unit.claim {
            Claim::Keys(intents) => {
                let count = if unit.is_holding_on { &mut self.holding_on } else { &mut self.admitted };
                *count -= 1;
                for intent in intents {
                    self.leave_line(intent.fingerprint, ticket);
                }
            }
            Claim::Place => self.admitted -= 1,
            Claim::Whole | Claim::Alone => self.admit_behind_whole(),
        }
        self.grant_whole();
    }

    /// A unit that runs right now goes on holding these keys, which it had, until [`Schedule::release`]; what else it had
    /// is free. Without a ticket it has run without leaving a trace until now.
    pub fn hold_on(&mut self, ticket: Option<Ticket>, kept: SmallVec<[Intent; 4]>) -> Ticket {
        let mut kept = kept;
        merge_duplicates(&mut kept);
        if let Some(ticket) = ticket
            && let Some(unit) = self.units.get_mut(&ticket)
        {
            debug_assert!(unit.admitted && unit.missing == 0);
            debug_assert!(!unit.is_holding_on);
            unit.is_holding_on = true;
            self.holding_on += 1;
            let before = std::mem::replace(&mut unit.claim, Claim::Keys(kept.clone()));
            self.admitted -= 1;
            if let Claim::Keys(before) = before {
                let is_kept = |intent: &Intent| kept.iter().any(|kept| kept.fingerprint == intent.fingerprint);
                for intent in before.iter().filter(|intent| !is_kept(intent)) {
                    self.leave_line(intent.fingerprint, ticket);
                }
            }
            self.grant_whole();
            return ticket;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        for intent in &kept {
            let is_granted = self.lines.entry(intent.fingerprint).or_default().join(ticket, intent.mode);
            debug_assert!(is_granted, "it could run: nothing is in front of it");
        }
        self.holding_on += 1;
        let unit = Unit {
            claim: Claim::Keys(kept),
            missing: 0,
            admitted: true,
            is_holding_on: true,
            flag: None,
            not_before: Milliseconds::MIN,
            body: None,
        };
        self.units.insert(ticket, unit);
        ticket
    }

    /// A unit that runs right now, and that was the whole shard's or might have been, goes on holding all of it until
    /// [`Schedule::release`].
    pub fn hold_whole(&mut self, ticket: Option<Ticket>) -> Ticket {
        if let Some(ticket) = ticket {
            debug_assert_eq!(self.whole, Some(ticket), "it ran as the whole shard's");
            return ticket;
        }
        debug_assert!(self.whole.is_none() && self.admitted == 0, "it could run: nothing is in front of it");
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let unit = Unit {
            claim: Claim::Whole,
            missing: 0,
            admitted: true,
            is_holding_on: false,
            flag: None,
            not_before: Milliseconds::MIN,
            body: None,
        };
        self.units.insert(ticket, unit);
        self.whole = Some(ticket);
        ticket
    }

    /// A whole-shard unit that runs right now goes on holding these keys only, until [`Schedule::release`]. Who holds on to
    /// one of them already is in front of it: then it may not write yet ([`Schedule::wait_to_write`]).
    pub fn narrow(&mut self, ticket: Ticket, kept: SmallVec<[Intent; 4]>) {
        let mut kept = kept;
        merge_duplicates(&mut kept);
        let Some(unit) = self.units.get_mut(&ticket) else { return };
        let was_whole = matches!(unit.claim, Claim::Whole);
        if kept.is_empty() {
            return self.release(ticket);
        }
        for intent in &kept {
            let is_granted = self.lines.entry(intent.fingerprint).or_default().join(ticket, intent.mode);
            unit.missing += usize::from(!is_granted);
        }
        unit.claim = Claim::Keys(kept);
        if was_whole {
            self.admitted += 1;
            self.admit_behind_whole();
        }
    }

    /// A unit whose claim was [narrowed](Schedule::narrow) is about to write: whether it must wait, and comes out of
    /// [`Schedule::next_ready`] then; the body, if not.
    pub fn wait_to_write(&mut self, ticket: Ticket, body: B) -> Option<B> {
        match self.units.get_mut(&ticket) {
            Some(unit) if unit.missing > 0 => {
                unit.body = Some(body);
                None
            }
            _ => Some(body),
        }
    }

    fn admit_behind_whole(&mut self) {
        self.whole = None;
        while self.whole.is_none() {
            let Some(next) = self.behind.pop_front() else { break };
            self.admit(next);
        }
    }

    /// The time of the multicast that arrived last, once, when its flag is found set; whatever comes from now on runs no
    /// earlier. Call it before each [`Schedule::may_run`] and [`Schedule::enter`].
    pub fn newly_flagged(&mut self) -> Option<Milliseconds> {
        self.unflagged.take_if(|flag| flag.is_enqueued()).map(|flag| flag.now())
    }

    /// The time of the multicast whose flag a unit has waited for.
    pub fn not_before(&self, ticket: Ticket) -> Milliseconds {
        self.units.get(&ticket).map_or(Milliseconds::MIN, |unit| unit.not_before)
    }

    /// Looks again at the flags of parked units: call it once a turn, after the drain.
    pub fn poll_flags(&mut self) {
        let mut index = 0;
        while index < self.parked.len() {
            let ticket = self.parked[index];
            let unit = self.units.get_mut(&ticket).expect("a parked unit is in the schedule");
            if unit.is_flagged() {
                self.parked.remove(index);
                self.ready.push_back(ticket);
            } else {
                index += 1;
            }
        }
    }

    /// Whether a parked unit's flag has been set since the last look: a shard must not sleep then.
    pub fn has_flagged(&self) -> bool {
        !self.ready.is_empty()
            || self.parked.iter().any(|ticket| self.units[ticket].flag.as_ref().is_none_or(|flag| flag.is_enqueued()))
    }

    /// The next unit whose turn has come. Release its ticket when it has run, or at its last hop.
    pub fn next_ready(&mut self) -> Option<(Ticket, B)> {
        let ticket = self.ready.pop_front()?;
        let body = self.units.get_mut(&ticket).and_then(|unit| unit.body.take());
        Some((ticket, body.expect("a ready unit has not run")))
    }

    fn conflicts(&self, claim: &Claim) -> bool {
        if self.is_idle() {
            return false;
        }
        if self.whole.is_some() {
            return true;
        }
        match claim {
            // What only holds on is passed, as in `grant_whole`.
            Claim::Whole => self.admitted > 0,
            Claim::Alone => true,
            Claim::Place => false,
            Claim::Keys(intents) => intents.iter().any(|intent| {
                let Some(line) = self.lines.get(&intent.fingerprint) else { return false };
                // Reads run side by side, but not before the time of those in front of them is known.
                self.unflagged.is_some() || line.tally.conflicts(intent.mode)
            }),
        }
    }

    /// Lets a unit into the lines of its keys (or makes it the whole-shard unit).
    fn admit(&mut self, ticket: Ticket) {
        let unit = self.units.get_mut(&ticket).expect("admitted units are in the schedule");
        unit.admitted = true;
        match &mut unit.claim {
            Claim::Whole | Claim::Alone => {
                unit.missing = 1;
                self.whole = Some(ticket);
                self.grant_whole();
                return;
            }
            Claim::Place => {}
            Claim::Keys(intents) => {
                merge_duplicates(intents);
                for intent in intents.iter() {
                    let is_granted = self.lines.entry(intent.fingerprint).or_default().join(ticket, intent.mode);
                    unit.missing += usize::from(!is_granted);
                }
            }
        }
        self.admitted += 1;
        if unit.missing == 0 {
            self.granted(ticket);
        }
    }

    /// All intents are there: it is ready, or parked until its flag is set.
    fn granted(&mut self, ticket: Ticket) {
        let unit = self.units.get_mut(&ticket).expect("a granted unit is in the schedule");
        if unit.body.is_none() {
            // It holds on, and has nothing to do yet.
            return;
        }
        if unit.is_flagged() {
            self.ready.push_back(ticket);
        } else {
            self.parked.push(ticket);
        }
    }

    fn grant_whole(&mut self) {
        if self.admitted > 0 {
            return;
        }
        let Some(ticket) = self.whole else { return };
        let unit = self.units.get_mut(&ticket).expect("the whole-shard unit is in the schedule");
        let is_alone = self.holding_on == 0 || !matches!(unit.claim, Claim::Alone);
        if unit.missing == 1 && is_alone {
            unit.missing = 0;
            self.granted(ticket);
        }
    }

    fn leave_line(&mut self, fingerprint: u64, ticket: Ticket) {
        let Some(line) = self.lines.get_mut(&fingerprint) else { return };
        let newly_granted = line.leave(ticket);
        if line.stands.is_empty() {
            self.lines.remove(&fingerprint);
        }
        for next in newly_granted {
            let unit = self.units.get_mut(&next).expect("a unit in a line is in the schedule");
            unit.missing -= 1;
            if unit.missing == 0 {
                self.granted(next);
            }
        }
    }
}

fn merge_duplicates(intents: &mut SmallVec<[Intent; 4]>) {
    if intents.len() < 2 {
        return;
    }
    intents.sort_unstable_by_key(|intent| (intent.fingerprint, std::cmp::Reverse(intent.mode)));
    intents.dedup_by_key(|intent| intent.fingerprint);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::inbox::Node;
    use super::super::multicast::Mailboxes;
    use super::super::rules::Rules;
    use super::*;

    fn intent(fingerprint: u64, mode: Mode) -> Intent {
        Intent { fingerprint, slot: 0, mode }
    }

    fn write(fingerprint: u64) -> SmallVec<[Intent; 4]> {
        SmallVec::from_iter([intent(fingerprint, Mode::Write)])
    }

    fn keys(intents: &[(u64, bool)]) -> Claim {
        Claim::Keys(intents.iter().map(|&(key, writes)| intent(key, Mode::of(writes, false))).collect())
    }

    fn ready(schedule: &mut Schedule<&'static str>) -> Vec<(Ticket, &'static str)> {
        std::iter::from_fn(|| schedule.next_ready()).collect()
    }

    fn must_run(entry: Entry<&'static str>) -> Option<Ticket> {
        match entry {
            Entry::Run(_, ticket) => ticket,
            Entry::Queued(_) => panic!("queued"),
        }
    }

    fn must_queue(entry: Entry<&'static str>) -> Ticket {
        match entry {
            Entry::Queued(ticket) => ticket,
            Entry::Run(..) => panic!("ran"),
        }
    }

    fn set(header: &Multicast) {
        Mailboxes::<()>::new(1, Rules::default()).multicast(header, [(0, Node::new(()))], &[0], || 0);
    }

    #[test]
    fn a_unit_without_conflict_leaves_no_trace() {
        let mut schedule = Schedule::default();
        assert!(must_run(schedule.enter(keys(&[(1, true)]), None, false, "set")).is_none());
        assert!(schedule.is_idle());
    }

    #[test]
    fn a_held_key_makes_others_wait_in_order_and_leaves_other_keys_alone() {
        let mut schedule = Schedule::default();
        let held = must_run(schedule.enter(keys(&[(1, true), (2, false)]), None, true, "rename")).expect("ticket");
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set 1"));
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1 again"));
        assert!(must_run(schedule.enter(keys(&[(2, false)]), None, false, "get 2")).is_none());
        assert!(must_run(schedule.enter(keys(&[(3, true)]), None, false, "set 3")).is_none());
        must_queue(schedule.enter(keys(&[(2, true)]), None, false, "set 2"));
        assert!(ready(&mut schedule).is_empty());
        schedule.release(held);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["get 1", "set 2"]);
        schedule.release(run[0].0);
        let run_next = ready(&mut schedule);
        assert_eq!(run_next.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["set 1"]);
        schedule.release(run[1].0);
        schedule.release(run_next[0].0);
        let last = ready(&mut schedule);
        assert_eq!(last[0].1, "get 1 again");
        schedule.release(last[0].0);
        assert!(schedule.is_idle());
    }

    #[test]
    fn who_is_alone_waits_for_those_that_hold_on_as_nobody_else_does() {
        let mut schedule = Schedule::default();
        let held = schedule.hold_on(None, write(1));
        assert!(must_run(schedule.enter(Claim::Whole, None, false, "keys")).is_none());
        must_queue(schedule.enter(Claim::Alone, None, false, "exec"));
        must_queue(schedule.enter(keys(&[(2, true)]), None, false, "set 2"));
        assert!(ready(&mut schedule).is_empty());
        schedule.release(held);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["exec"]);
        schedule.release(run[0].0);
        assert_eq!(ready(&mut schedule)[0].1, "set 2");
    }

    #[test]
    fn who_goes_on_holding_the_whole_shard_lets_nobody_by() {
        let mut schedule = Schedule::default();
        let held = schedule.hold_whole(None);
        assert!(!schedule.may_run(&Claim::Place) && !schedule.may_run(&keys(&[(1, false)])));
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set"));
        must_queue(schedule.enter(Claim::Whole, None, false, "script"));
        assert!(ready(&mut schedule).is_empty());
        schedule.release(held);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["set"]);
        schedule.release(run[0].0);
        let run = ready(&mut schedule);
        let held = schedule.hold_whole(Some(run[0].0));
        assert!(!schedule.may_run(&keys(&[(1, false)])), "the script that was next goes on, too");
        schedule.release(held);
        assert!(schedule.is_idle());
    }

    #[test]
    fn shared_intents_are_granted_together() {
        let mut schedule = Schedule::default();
        let first = must_run(schedule.enter(keys(&[(1, false)]), None, true, "a")).expect("ticket");
        let second = must_run(schedule.enter(keys(&[(1, false)]), None, true, "b")).expect("ticket");
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set"));
        schedule.release(first);
        assert!(ready(&mut schedule).is_empty());
        schedule.release(second);
        assert_eq!(ready(&mut schedule).len(), 1);
    }

    #[test]
    fn sources_keep_each_other_off_a_key_that_readers_share() {
        let mut schedule = Schedule::default();
        let source = || Claim::Keys(SmallVec::from_iter([intent(1, Mode::Source)]));
        let first = must_run(schedule.enter(source(), None, true, "union")).expect("ticket");
        assert!(must_run(schedule.enter(keys(&[(1, false)]), None, false, "get")).is_none());
        let second = must_queue(schedule.enter(source(), None, true, "inter"));
        assert!(must_run(schedule.enter(keys(&[(1, false)]), None, false, "get, too")).is_none());
        assert!(!schedule.may_change(1));
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set"));
        assert!(schedule.may_change(1));
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get behind it"));
        schedule.release(first);
        assert_eq!(ready(&mut schedule), [(second, "inter")]);
        schedule.release(second);
        let run = ready(&mut schedule);
        assert_eq!(run[0].1, "set");
        schedule.release(run[0].0);
        assert_eq!(ready(&mut schedule)[0].1, "get behind it");
    }

    #[test]
    fn a_key_named_twice_does_not_wait_for_itself() {
        let mut schedule = Schedule::default();
        let held = must_run(schedule.enter(keys(&[(1, false), (1, true)]), None, true, "rename a a")).expect("ticket");
        schedule.release(held);
        assert!(schedule.is_idle());
    }

    #[test]
    fn a_part_waits_for_its_flag_and_holds_its_place() {
        let mut schedule = Schedule::default();
        let header = Multicast::new();
        must_queue(schedule.enter(keys(&[(1, true)]), Some(&header), false, "mset part"));
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        assert!(must_run(schedule.enter(keys(&[(2, false)]), None, false, "get 2")).is_none());
        schedule.poll_flags();
        assert!(ready(&mut schedule).is_empty() && !schedule.has_flagged());
        set(&header);
        assert!(schedule.has_flagged());
        schedule.poll_flags();
        let run = ready(&mut schedule);
        assert_eq!(run[0].1, "mset part");
        schedule.release(run[0].0);
        assert_eq!(ready(&mut schedule)[0].1, "get 1");
    }

    #[test]
    fn a_whole_shard_unit_waits_for_all_before_and_holds_back_all_behind() {
        let mut schedule = Schedule::default();
        let held = must_run(schedule.enter(keys(&[(1, true)]), None, true, "rename")).expect("ticket");
        must_queue(schedule.enter(Claim::Whole, None, false, "flushall"));
        must_queue(schedule.enter(keys(&[(9, false)]), None, false, "get 9"));
        must_queue(schedule.enter(Claim::Whole, None, false, "dbsize"));
        must_queue(schedule.enter(keys(&[(9, false)]), None, false, "get 9 again"));
        assert!(ready(&mut schedule).is_empty());
        let mut order = Vec::new();
        schedule.release(held);
        while let Some((ticket, name)) = schedule.next_ready() {
            order.push(name);
            schedule.release(ticket);
        }
        assert_eq!(order, ["flushall", "get 9", "dbsize", "get 9 again"]);
        assert!(schedule.is_idle());
    }

    #[test]
    fn what_goes_on_holding_is_waited_for_by_key_and_passed_by_whole_shard_units() {
        let mut schedule = Schedule::default();
        let kept = || write(1);
        let held = must_run(schedule.enter(keys(&[(1, true), (2, false)]), None, true, "union")).expect("ticket");
        must_queue(schedule.enter(keys(&[(2, true)]), None, false, "set 2"));
        must_queue(schedule.enter(Claim::Whole, None, false, "flushall"));
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        assert_eq!(schedule.hold_on(Some(held), kept()), held);
        let (set, name) = schedule.next_ready().expect("what it only read is free");
        assert_eq!((name, ready(&mut schedule).len()), ("set 2", 0));
        schedule.release(set);
        let (flush, name) = schedule.next_ready().expect("nothing is in front of it but what holds on");
        assert_eq!(name, "flushall");
        schedule.release(flush);
        assert!(ready(&mut schedule).is_empty() && !schedule.may_run(&keys(&[(1, false)])));
        schedule.release(held);
        let (get, name) = schedule.next_ready().expect("the key is free");
        assert_eq!(name, "get 1");
        schedule.release(get);
        assert!(schedule.is_idle());
        // One that has run without a trace.
        let held = schedule.hold_on(None, kept());
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set 1"));
        assert!(must_run(schedule.enter(keys(&[(2, true)]), None, false, "set 2")).is_none());
        assert!(!schedule.may_run(&Claim::Whole), "behind the one that waits");
        schedule.release(held);
        assert_eq!(ready(&mut schedule).len(), 1);
    }

    #[test]
    fn a_whole_shard_unit_beside_what_only_holds_on_leaves_no_trace() {
        let mut schedule = Schedule::default();
        let held = schedule.hold_on(None, write(1));
        assert!(schedule.may_run(&Claim::Whole));
        assert!(must_run(schedule.enter(Claim::Whole, None, false, "flushall")).is_none());
        must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set 1"));
        schedule.release(held);
        assert_eq!(ready(&mut schedule).len(), 1);
    }

    #[test]
    fn what_is_queued_waits_for_the_loop_even_if_nothing_is_in_its_way() {
        let mut schedule = Schedule::default();
        for claim in [keys(&[(1, true)]), Claim::Whole] {
            schedule.queue(claim, "unit");
            assert!(schedule.has_flagged(), "the shard must not sleep");
            let (ticket, _) = schedule.next_ready().expect("its turn");
            schedule.release(ticket);
            assert!(schedule.is_idle());
        }
    }

    #[test]
    fn what_comes_behind_an_unset_flag_waits_for_its_time() {
        let mut schedule = Schedule::default();
        let header = Multicast::new();
        let part = must_queue(schedule.enter(keys(&[(1, false)]), Some(&header), false, "mget part"));
        assert!(!schedule.may_run(&keys(&[(1, false)])), "a read beside it, of a time that may be earlier");
        assert!(schedule.may_run(&keys(&[(2, false)])));
        let read = must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        let write = must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set 1"));
        assert_eq!((schedule.newly_flagged(), ready(&mut schedule)), (None, vec![]));
        Mailboxes::<()>::new(1, Rules::default()).multicast(&header, [(0, Node::new(()))], &[0], || 7);
        assert_eq!((schedule.newly_flagged(), schedule.newly_flagged()), (Some(7), None));
        schedule.poll_flags();
        assert_eq!(ready(&mut schedule), [(part, "mget part"), (read, "get 1")]);
        let late = must_queue(schedule.enter(keys(&[(1, true)]), None, false, "set 1 again"));
        schedule.release(part);
        schedule.release(read);
        assert_eq!(ready(&mut schedule), [(write, "set 1")]);
        assert_eq!((schedule.not_before(write), schedule.not_before(late)), (7, Milliseconds::MIN));
    }

    /// Random units against the definition: a unit runs only when no earlier conflicting unit is unreleased, and every
    /// unit runs in the end.
    #[test]
    fn random_histories_against_the_definition() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut schedule: Schedule<usize> = Schedule::default();
            let mut claims: Vec<Option<Vec<(u64, Mode)>>> = Vec::new();
            let mut unreleased = std::collections::BTreeSet::new();
            let mut running: Vec<(Ticket, usize)> = Vec::new();
            let conflict = |a: &Option<Vec<(u64, Mode)>>, b: &Option<Vec<(u64, Mode)>>| match (a, b) {
                (Some(a), Some(b)) => a.iter().any(|x| b.iter().any(|y| x.0 == y.0 && x.1.conflicts(y.1))),
                _ => true,
            };
            let check_may_run = |index: usize,
                                 claims: &[Option<Vec<(u64, Mode)>>],
                                 unreleased: &std::collections::BTreeSet<usize>| {
                for &earlier in unreleased.range(..index) {
                    assert!(!conflict(&claims[earlier], &claims[index]), "seed {seed}: {index} ran before {earlier}");
                }
            };
            let mut ran = 0;
            for _ in 0..200 {
                if random.bool() {
                    let claim = if random.u8(..10) == 0 {
                        None
                    } else {
                        let modes = [Mode::Read, Mode::Source, Mode::Write];
                        Some((0..random.usize(1..4)).map(|_| (random.u64(..5), modes[random.usize(..3)])).collect())
                    };
                    let index = claims.len();
                    claims.push(claim.clone());
                    let engine_claim = claim.as_ref().map_or(Claim::Whole, |claim: &Vec<(u64, Mode)>| {
                        Claim::Keys(claim.iter().map(|&(key, mode)| intent(key, mode)).collect())
                    });
                    let hold = random.bool();
                    unreleased.insert(index);
                    match schedule.enter(engine_claim, None, hold, index) {
                        Entry::Run(_, ticket) => {
                            check_may_run(index, &claims, &unreleased);
                            ran += 1;
                            match ticket {
                                Some(ticket) => running.push((ticket, index)),
                                None => drop(unreleased.remove(&index)),
                            }
                        }
                        Entry::Queued(_) => {}
                    }
                } else if !running.is_empty() {
                    let (ticket, index) = running.swap_remove(random.usize(..running.len()));
                    unreleased.remove(&index);
                    schedule.release(ticket);
                }
                while let Some((ticket, index)) = schedule.next_ready() {
                    check_may_run(index, &claims, &unreleased);
                    ran += 1;
                    running.push((ticket, index));
                }
            }
            while let Some((ticket, index)) = running.pop() {
                unreleased.remove(&index);
                schedule.release(ticket);
                while let Some((ticket, index)) = schedule.next_ready() {
                    check_may_run(index, &claims, &unreleased);
                    ran += 1;
                    running.push((ticket, index));
                }
            }
            assert_eq!(ran, claims.len(), "seed {seed}: a unit never ran");
            assert!(schedule.is_idle(), "seed {seed}");
        }
    }

    #[test]
    fn a_whole_shard_unit_may_keep_some_keys_and_free_the_rest() {
        let mut schedule = Schedule::default();
        let kept = write(1);
        let ticket = must_run(schedule.enter(Claim::Whole, None, true, "sort")).expect("ticket");
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        must_queue(schedule.enter(keys(&[(2, true)]), None, false, "set 2"));
        schedule.narrow(ticket, kept.clone());
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["set 2"]);
        schedule.release(run[0].0);
        must_queue(schedule.enter(Claim::Whole, None, false, "flush"));
        assert!(ready(&mut schedule).is_empty());
        assert_eq!(schedule.wait_to_write(ticket, "write"), Some("write"));
        schedule.release(ticket);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["get 1"]);
        schedule.release(run[0].0);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["flush"]);
        schedule.release(run[0].0);
        assert!(schedule.is_idle());
    }

    #[test]
    fn who_passed_one_that_holds_on_waits_for_it_before_it_writes() {
        let mut schedule = Schedule::default();
        let kept = write(1);
        let long = schedule.hold_on(None, kept.clone());
        let ticket = must_run(schedule.enter(Claim::Whole, None, true, "sort")).expect("ticket");
        schedule.narrow(ticket, kept);
        must_queue(schedule.enter(keys(&[(1, false)]), None, false, "get 1"));
        assert_eq!(schedule.wait_to_write(ticket, "write"), None);
        assert!(ready(&mut schedule).is_empty());
        schedule.release(long);
        assert_eq!(ready(&mut schedule), [(ticket, "write")]);
        schedule.release(ticket);
        let run = ready(&mut schedule);
        assert_eq!(run.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["get 1"]);
        schedule.release(run[0].0);
        assert!(schedule.is_idle());
    }
}
