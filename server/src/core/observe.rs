//! What commands are looked at for: how long each took, and whether it was long enough, or its reply large enough, to be
//! remembered (`insight`).
//!
//! ```text
//!   where it ran                                   who observes it
//!   inline, for a connection at hand               run_commands, between two looks at the clock: `observe_at_hand`
//!   in a batch, or late, for any connection        the shard of its key: the batch's loop, `run_deferred`, `serve`
//!   in slices                                      the shard that worked it off, when it is over
//!   on several shards                              its coordinator: what the longest of its parts took
//!   in EXEC                                        each where it ran; EXEC, and a script over several shards, by the coordinator
//!   in a script                                    the script, kept until that is over
//! ```
//! * A command that is counted is observed once. `runs_here` names the one that was counted last, until somebody takes it elsewhere.
//! * Off costs a look at a flag a command. On, the end of one command is the beginning of the next.
//! * The shard of the connection adds the client's name and address, so what other shards note goes home first, ahead of the reply.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use super::tracking::Address;
use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use crate::insight::clock::now_ns;
use crate::insight::command_log::{EntryLimits, Noted, Reason, shortened};
use crate::insight::histograms::Recorder;
use crate::insight::hot_keys::{Cost, Costliest, Tally};
use crate::mailbox::{Message, PackedArguments, Request};
use crate::settings::ObservationSettings;
use crate::shared::Shared;
use smallvec::SmallVec;
use torc_engine::command::Flags;
use torc_engine::keyspace::slot_of;
use torc_engine::reply::ReplyBuffer;
use torc_engine::transaction::inbox::Node;

/// What there was to see of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How long it took.
    pub(crate) took_ns: u64,
    /// How long its reply was.
    pub(crate) reply_bytes: usize,
}

/// What has been taking time since when; stands still where nothing is measured.
pub(super) struct Stopwatch {
    is_running: bool,
    since_ns: u64,
}

impl Stopwatch {
    /// The time since the last look.
    #[inline]
    pub(super) fn split(&mut self) -> u64 {
        if !self.is_running {
            return 0;
        }
        let before_ns = std::mem::replace(&mut self.since_ns, now_ns());
        self.since_ns.saturating_sub(before_ns)
    }
}

/// What a shard looks at commands for.
pub(super) struct Observer {
    /// Whether each command is looked at by itself.
    pub(super) is_on: bool,
    settings: ObservationSettings,
    /// What takes so long is noted for one reason or another.
    notable_ns: u64,
    /// How long commands took, if that is kept.
    pub(super) histograms: Recorder,
    /// The command that was counted last, unless it has gone elsewhere.
    pub(super) runs_here: Option<&'static CommandEntry>,
    /// The transaction that it has become.
    pub(super) started: Option<u64>,
    /// What keys have cost, while somebody wants to know, or has not forgotten.
    hot_keys: Option<Box<Tally>>,
    counts_keys: bool,
    /// Of connections that are at hand. Gone when their turn is over.
    pending: Vec<(ConnectionKey, Noted)>,
}

impl Observer {
    /// Of so many commands.
    pub(super) fn new(settings: ObservationSettings, ids: usize) -> Self {
        let mut observer = Self {
            is_on: false,
            settings,
            notable_ns: 0,
            histograms: Recorder::new(ids),
            runs_here: None,
            started: None,
            hot_keys: None,
            counts_keys: false,
            pending: Vec::new(),
        };
        observer.apply(settings);
        observer
    }

    pub(super) fn apply(&mut self, settings: ObservationSettings) {
        self.settings = settings;
        (self.runs_here, self.started) = (None, None);
        self.notable_ns = settings.slow_ns.min(settings.spike_ns);
        let looks_at_size = settings.request_bytes_min.min(settings.reply_bytes_min) < usize::MAX;
        self.is_on = settings.tracks_latency || self.notable_ns < u64::MAX || looks_at_size || self.counts_keys;
    }

    /// What is kept of a command's arguments until it is known how long it takes, if anybody will want to know.
    #[inline]
    pub(super) fn keep(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Option<Box<PackedArguments>> {
        let may_be_noted =
            self.settings.slow_ns.min(self.settings.spike_ns) < u64::MAX || self.settings.reply_bytes_min < usize::MAX;
        may_be_noted.then(|| Box::new(kept(entry, arguments, self.settings.entry_limits)))
    }
}

#[cold]
fn kept(entry: &CommandEntry, arguments: &[&[u8]], limits: EntryLimits) -> PackedArguments {
    let words = shortened(entry, arguments, limits);
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    PackedArguments::new(&words)
}

/// The bytes of a reply between two positions in a buffer.
#[inline]
pub(super) fn reply_bytes(buffer: &ReplyBuffer, from: (usize, usize), to: (usize, usize)) -> usize {
    let bytes = to.0.saturating_sub(from.0);
    if to.1 <= from.1 {
        return bytes;
    }
    bytes + buffer.shared[from.1..to.1].iter().map(|(_, value)| value.len()).sum::<usize>()
}

/// A command that was slow, or whose reply was large: what is to be remembered of it. The latency monitor hears of it at once.
#[cold]
pub(crate) fn notes_of(
    settings: &ObservationSettings,
    shared: &Shared,
    entry: &CommandEntry,
    seen: Seen,
    arguments: &[&[u8]],
    now_ms: i64,
) -> Vec<Noted> {
    let at_s = now_ms.div_euclid(1000);
    if seen.took_ns >= settings.spike_ns {
        let event = if entry.spec.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        shared.insight.latency().add(event, at_s, seen.took_ns / 1_000_000);
    }
    let mut notes = Vec::new();
    let mut note = |reason, value| {
        // EXEC is what its commands are.
        if entry.spec.name != "exec" {
            let arguments = shortened(entry, arguments, settings.entry_limits);
            notes.push(Noted { reason, value, at_s, arguments });
        }
    };
    if seen.took_ns >= settings.slow_ns {
        note(Reason::Slow, seen.took_ns / 1000);
    }
    if seen.reply_bytes >= settings.reply_bytes_min {
        note(Reason::LargeReply, seen.reply_bytes as u64);
    }
    notes
}

impl Core {
    /// Begins to measure commands. Where each is not looked at by itself, the clock is read where a command follows one of
    /// another kind: a pipeline of one kind is one measurement.
    #[inline]
    pub(super) fn stopwatch(&self) -> Stopwatch {
        Stopwatch { is_running: self.measures, since_ns: if self.measures { now_ns() } else { 0 } }
    }

    /// The time since the last look was this command's, and its likes'.
    #[inline]
    pub(super) fn lap(&mut self, stopwatch: &mut Stopwatch, id: usize) {
        let took_ns = stopwatch.split();
        self.counters.calls.add_time(id, took_ns);
    }

    /// A command has run.
    #[inline]
    pub(super) fn observe(&mut self, entry: &CommandEntry, seen: Seen, arguments: &[&[u8]], by: Address) {
        if self.observer.counts_keys {
            self.count_keys(entry, seen, arguments);
        }
        self.observe_as_one(entry, seen, arguments, by);
    }

    /// The same without a look at its keys.
    #[inline]
    fn observe_as_one(&mut self, entry: &CommandEntry, seen: Seen, arguments: &[&[u8]], by: Address) {
        self.counters.calls.add_time(entry.id, seen.took_ns);
        let observer = &mut self.observer;
        if observer.settings.tracks_latency {
            observer.histograms.record(entry.id, seen.took_ns);
        }
        let is_notable = seen.took_ns >= observer.notable_ns || seen.reply_bytes >= observer.settings.reply_bytes_min;
        if is_notable || entry.is_script {
            self.note(entry, seen, arguments, by);
        }
    }

    /// What a command has cost is that of its keys, of which all are this shard's.
    #[cold]
    fn count_keys(&mut self, entry: &CommandEntry, seen: Seen, arguments: &[&[u8]]) {
        let now_ms = self.clock.wall_ms;
        let Some(tally) = self.observer.hot_keys.as_deref_mut() else { return };
        if now_ms >= tally.settings.until_ms {
            return;
        }
        // Each argument with its length in front of it, as it came.
        let request_bytes: usize = arguments.iter().map(|argument| argument.len() + 8).sum();
        let cost = Cost { took_ns: seen.took_ns, bytes: (request_bytes + seen.reply_bytes) as u64 };
        if !tally.begin(cost) {
            return;
        }
        let mut keys: SmallVec<[usize; 4]> = SmallVec::new();
        let _ = entry.spec.visit_keys(arguments, |index, _| keys.push(index));
        for index in &keys {
            if self.shared.shard_of(slot_of(arguments[*index])) == self.index {
                tally.count(arguments[*index], keys.len() as u64, cost);
            }
        }
    }

    /// The costliest keys of this shard, if HOTKEYS has counted any.
    pub(crate) fn costliest_keys(&self, count: usize) -> Option<Costliest> {
        self.observer.hot_keys.as_deref().map(|tally| tally.costliest(count))
    }

    /// HOTKEYS, on this shard.
    pub(crate) fn answer_about_keys(&mut self, request: &ControlRequest) -> ControlReply {
        match request {
            ControlRequest::CountKeys(settings) => {
                self.observer.counts_keys = settings.is_some();
                if let Some(settings) = settings {
                    self.observer.hot_keys = Some(Box::new(Tally::new(*settings)));
                }
                self.apply_observation();
            }
            ControlRequest::CountedKeys => {
                return ControlReply::CountedKeys(self.observer.hot_keys.clone().unwrap_or_default());
            }
            _ => self.observer.hot_keys = None,
        }
        ControlReply::Done
    }

    #[cold]
    fn note(&mut self, entry: &CommandEntry, seen: Seen, arguments: &[&[u8]], by: Address) {
        if entry.is_script {
            let notes = std::mem::take(&mut *self.scripting.notes.borrow_mut());
            notes.into_iter().for_each(|noted| self.send_note(noted, by));
        }
        let notes = notes_of(&self.observer.settings, &self.shared, entry, seen, arguments, self.clock.wall_ms);
        notes.into_iter().for_each(|noted| self.send_note(noted, by));
    }

    fn send_note(&mut self, noted: Noted, by: Address) {
        if by.shard as usize == self.index {
            return self.log_note(by.connection, noted);
        }
        self.send_home(by.shard as usize, Node::new(Message::Noted(Box::new((by.connection, noted)))));
    }

    /// Something is to be remembered of a connection of ours; behind what waits to be, as the command that has served a client
    /// comes before the client's.
    pub(super) fn log_note(&mut self, key: ConnectionKey, noted: Noted) {
        let shared = self.shared.clone();
        let entries_max = self.observer.settings.entries_max;
        if !self.observer.pending.is_empty() {
            self.observer.pending.push((key, noted));
            return;
        }
        match self.connection_mut(key) {
            Some(connection) => log(&shared, connection, noted, entries_max),
            None => self.observer.pending.push((key, noted)),
        }
    }

    /// The same of what has waited for a connection that was at hand.
    #[inline]
    pub(super) fn log_pending(&mut self, at_hand: Option<&Connection>) {
        if !self.observer.pending.is_empty() {
            self.log_all_pending(at_hand);
        }
    }

    #[cold]
    fn log_all_pending(&mut self, at_hand: Option<&Connection>) {
        let entries_max = self.observer.settings.entries_max;
        let shared = self.shared.clone();
        for (key, noted) in std::mem::take(&mut self.observer.pending) {
            let of_hand = at_hand.filter(|connection| connection.key == key);
            match of_hand.or_else(|| self.connection_mut(key).map(|connection| &*connection)) {
                Some(connection) => log(&shared, connection, noted, entries_max),
                None if at_hand.is_some() => self.observer.pending.push((key, noted)),
                // Gone meanwhile.
                None => log_of(&shared, noted, ("", b""), entries_max),
            }
        }
    }

    /// A command of a connection at hand has been dispatched; it may have gone elsewhere.
    #[inline]
    pub(super) fn observe_at_hand(
        &mut self,
        connection: &mut Connection,
        arguments: &[&[u8]],
        request_bytes: usize,
        replied_from: (usize, usize),
        took_ns: u64,
    ) {
        if request_bytes >= self.observer.settings.request_bytes_min {
            self.note_request(connection, arguments, request_bytes);
        }
        if let Some(entry) = self.observer.runs_here.take() {
            let out = connection.output.tail();
            let replied_to = (out.bytes.len(), out.shared.len());
            let seen = Seen { took_ns, reply_bytes: reply_bytes(out, replied_from, replied_to) };
            let by = Address { shard: self.index as u32, connection: connection.key };
            self.observe(entry, seen, arguments, by);
        } else {
            if let Some(last) = connection.figures.last_command {
                self.counters.calls.add_time(last.id, took_ns);
            }
            if let (Some(id), Some(entry)) = (self.observer.started.take(), connection.figures.last_command) {
                let arguments = self.observer.keep(entry, arguments);
                self.remember_arguments(id, arguments);
            }
        }
        self.log_pending(Some(connection));
    }

    #[cold]
    fn note_request(&mut self, connection: &Connection, arguments: &[&[u8]], request_bytes: usize) {
        let Some(entry) = connection.figures.last_command else { return };
        let noted = Noted {
            reason: Reason::LargeRequest,
            value: request_bytes as u64,
            at_s: self.clock.wall_ms.div_euclid(1000),
            arguments: shortened(entry, arguments, self.observer.settings.entry_limits),
        };
        log(&self.shared, connection, noted, self.observer.settings.entries_max);
    }

    /// A command whose reply comes later is over.
    #[inline]
    pub(super) fn observe_late(&mut self, request: &Request, seen: Seen, arguments: Option<&PackedArguments>) {
        if self.observer.is_on {
            let by = Address { shard: self.index as u32, connection: request.connection };
            let arguments = arguments.map(PackedArguments::slices).unwrap_or_default();
            self.observe_as_one(request.entry, seen, &arguments, by);
        }
    }

    /// Measures something that may be an event, if these are looked for.
    #[inline]
    pub(super) fn stopwatch_of_events(&self) -> Option<Stopwatch> {
        (self.observer.settings.spike_ns < u64::MAX).then(|| self.stopwatch())
    }

    /// It has ended.
    #[inline]
    pub(super) fn note_event(&self, event: &'static str, stopwatch: Option<Stopwatch>) {
        let took_ns = stopwatch.map_or(0, |mut stopwatch| stopwatch.split());
        if took_ns >= self.observer.settings.spike_ns {
            self.add_event(event, took_ns);
        }
    }

    #[cold]
    fn add_event(&self, event: &'static str, took_ns: u64) {
        self.shared.insight.latency().add(event, self.clock.wall_ms.div_euclid(1000), took_ns / 1_000_000);
    }

    /// Hears of writes of the log that took long; one shard does.
    pub fn observation_cron(&self) {
        if self.index == 0
            && let Some(took_ns) = self.shared.append_log.take_slowest_write()
        {
            self.add_event("aof-fsync-always", took_ns);
        }
    }

    /// Scripts look at what they call for the same reasons.
    pub(super) fn apply_observation(&mut self) {
        let settings = self.settings.observation;
        self.observer.apply(settings);
        let read: Option<fn() -> u64> = (self.measures && self.observer.is_on).then_some(now_ns);
        self.scripting.observation.set((settings, read));
    }

    /// From now on commands are measured, by the machine's clock.
    pub fn measure_commands(&mut self) {
        self.measures = true;
        self.apply_observation();
    }
}

fn log(shared: &Shared, connection: &Connection, noted: Noted, entries_max: [usize; 3]) {
    if !connection.is_own() {
        log_of(shared, noted, (&connection.ends.peer, &connection.session.name), entries_max);
    }
}

fn log_of(shared: &Shared, noted: Noted, (address, name): (&str, &[u8]), entries_max: [usize; 3]) {
    let reason = noted.reason;
    shared.insight.commands().of(reason).add(noted, address, name, entries_max[reason as usize]);
}
