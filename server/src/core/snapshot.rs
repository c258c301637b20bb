//! What a shard has to do with snapshots, and with the tasks that take them (`snapshot/`).

use super::Core;
use super::flushes::{FlushWaiter, OVERTAKEN};
use crate::config::SavePoint;
use crate::control::{ControlReply, ControlRequest};
use crate::settings::Settings;
use crate::snapshot::part::{Pace, Part};
use crate::snapshot::procedure::{self, Cut, Saved};
use crate::snapshot::{Order, Snapshot};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a slice takes, in nanoseconds, and what while clients are served.
const SLICE_NS: u64 = 250_000;
const SLICE_AMONG_COMMANDS_NS: u64 = 100_000;
/// So many times as long as it took, a slice among commands is followed by none: whoever shares the processor has it meanwhile.
const RESTS_A_SLICE: u64 = 5;
/// Clients count as being served if there were so many commands in so many nanoseconds.
const SERVING_COMMANDS: u64 = 10;
const SERVING_NS: u64 = 10_000_000;

/// After a save that failed, the save points wait for so long, in milliseconds.
const RETRY_MS: i64 = 5_000;

/// The parts of snapshots under way.
#[derive(Default)]
pub(super) struct Snapshots {
    parts: Vec<Part>,
    rest: Rest,
    /// Replies to FLUSHALL that wait for a save; on shard 0.
    pub(super) flush_waiters: Vec<FlushWaiter>,
}

/// When snapshots rest, since clients are served.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    /// The next slice is due then.
    until_ns: u64,
    /// Whether they are.
    is_serving: bool,
    /// So many commands had run when that was looked at, ...
    commands: u64,
    /// ... which was then.
    looked_ns: u64,
}

/// What is to be done when a save is over.
pub type WhenSaved = Box<dyn FnOnce(&mut Core, Result<(), String>)>;

/// How a save is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveKind {
    /// SAVE: its client waits for the end.
    Awaited,
    /// BGSAVE and the save points.
    Background,
    /// In front of the end of the process: nothing is written behind the cut.
    Last,
    /// Of empty databases, behind FLUSHALL.
    Flushed,
}

/// A shard's part.
impl Core {
    /// The cut, on this shard: it holds everything.
    pub fn begin_snapshot(&mut self, snapshot: &Arc<Snapshot>) -> ControlReply {
        if snapshot.order.pauses_writes {
            self.pause_clients(u64::MAX, true);
        }
        self.log_at_cut(snapshot.order.at_cut);
        if self.index == 0 {
            snapshot.flushes_at_cut.store(self.shard.keyspace.all_flushes, Ordering::Relaxed);
        }
        let now = self.shard.now();
        let keyspace = &mut self.shard.keyspace;
        let databases = 0..keyspace.database_count();
        let cut = Cut {
            databases: databases.map(|at| (keyspace.len(at) as u64, keyspace.volatile_len(at) as u64)).collect(),
            dirty: keyspace.dirty,
            functions: self.scripting.functions(),
        };
        self.snapshots.parts.push(Part::begin(snapshot, keyspace, now, &self.tasks));
        ControlReply::Cut(Box::new(cut))
    }

    /// Whether a slice of a snapshot is due.
    pub fn has_snapshot_work(&self) -> bool {
        let is_rested = self.snapshots.rest.until_ns <= self.clock.monotonic_ns || self.has_failed_part();
        is_rested && self.snapshots.parts.iter().any(Part::has_work)
    }

    fn has_failed_part(&self) -> bool {
        self.snapshots.parts.iter().any(Part::is_failed)
    }

    /// When the next slice is due, if that is later, monotonic nanoseconds.
    pub fn next_snapshot_ns(&self) -> Option<u64> {
        let rests = !self.snapshots.parts.is_empty() && self.snapshots.rest.until_ns > self.clock.monotonic_ns;
        rests.then_some(self.snapshots.rest.until_ns)
    }

    /// A slice of each snapshot under way. `clock` is in nanoseconds.
    #[inline]
    pub fn snapshot_slice(&mut self, clock: impl Fn() -> u64) {
        if !self.snapshots.parts.is_empty() {
            self.slice_of_snapshots(&clock);
        }
    }

    fn slice_of_snapshots(&mut self, clock: &impl Fn() -> u64) {
        let began_ns = clock();
        let rest = &mut self.snapshots.rest;
        if began_ns.saturating_sub(rest.looked_ns) >= SERVING_NS {
            rest.is_serving = self.counters.commands.saturating_sub(rest.commands) >= SERVING_COMMANDS;
            (rest.commands, rest.looked_ns) = (self.counters.commands, began_ns);
        }
        let is_serving = rest.is_serving;
        if rest.until_ns > began_ns && !self.has_failed_part() {
            return;
        }
        let slice_ns = if is_serving { SLICE_AMONG_COMMANDS_NS } else { SLICE_NS };
        let pace = Pace { slice_ns, key_delay_ns: self.settings.key_save_delay_ns };
        for part in &mut self.snapshots.parts {
            part.slice(&mut self.shard.keyspace, &self.tasks, pace, clock);
        }
        if is_serving && !self.snapshots.parts.iter().any(Part::is_pressed) {
            let now_ns = clock();
            self.snapshots.rest.until_ns = now_ns + RESTS_A_SLICE * (now_ns - began_ns);
        }
        let resume_ns = self.snapshots.parts.iter().map(Part::resume_ns).max().unwrap_or(0);
        if resume_ns > began_ns && pace.key_delay_ns > 0 {
            self.snapshots.rest.until_ns = resume_ns;
        }
    }

    /// A part has been written, or given up.
    pub fn end_snapshot_part(&mut self, number: u64) {
        self.snapshots.parts.retain(|part| part.number() != number);
    }
}

/// Saves.
impl Core {
    /// Whether none is under way.
    pub fn may_begin_save(&self) -> Result<(), &'static str> {
        let is_running = self.shared.saves.figures().running.is_some();
        if is_running { Err("ERR Background save already in progress") } else { Ok(()) }
    }

    /// Begins a save, unless one is under way; whether it has. `when_saved` is called when the file is there, or will not be.
    pub fn begin_save(&mut self, kind: SaveKind, when_saved: WhenSaved) -> bool {
        let shared = self.shared.clone();
        let mut figures = shared.saves.figures();
        if figures.running.is_some() {
            return false;
        }
        let number = shared.take_snapshot_number();
        let (pauses_writes, is_background) = (kind == SaveKind::Last, kind == SaveKind::Background);
        let order = Order { pauses_writes, is_background, ..Order::new(&shared.config()) };
        let waits = (self.index, self.tasks.take_name());
        let snapshot = Arc::new(Snapshot::new(number, order, shared.shards(), waits));
        let now_ms = self.clock.wall_ms;
        figures.running = Some((snapshot.clone(), now_ms));
        figures.is_scheduled = false;
        figures.tried_ms = now_ms;
        drop(figures);
        if kind == SaveKind::Background {
            tracing::info!("Background saving started by pid {}", std::process::id());
        }
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            let outcome = procedure::take(tasks.clone(), snapshot.clone()).await;
            tasks.on_core(move |core| core.save_ended(kind, &snapshot, outcome, when_saved)).await;
        });
        true
    }

    fn save_ended(
        &mut self,
        kind: SaveKind,
        snapshot: &Snapshot,
        outcome: Result<Saved, String>,
        when_saved: WhenSaved,
    ) {
        let now_ms = self.clock.wall_ms;
        let mut figures = self.shared.saves.figures();
        let began_ms = figures.running.take().map_or(now_ms, |(_, began_ms)| began_ms);
        figures.last_took_s = Some((now_ms - began_ms).max(0) / 1000);
        figures.last_kept_bytes = snapshot.kept_bytes_peak.load(Ordering::Relaxed);
        figures.last_spilled_bytes = snapshot.spilled_bytes.load(Ordering::Relaxed);
        let is_cancelled = matches!(snapshot.failure().as_deref(), Some(CANCELLED | OVERTAKEN));
        // As in the real server one of FLUSHALL that fails is told by the log alone.
        let says_nothing = is_cancelled || kind == SaveKind::Flushed;
        figures.is_last_good = outcome.is_ok() || says_nothing && figures.is_last_good;
        if let Ok(saved) = &outcome {
            figures.last_s = now_ms / 1000;
            figures.good += u64::from(kind != SaveKind::Flushed);
            figures.dirty_at_last = saved.dirty;
            figures.flushes_saved = figures.flushes_saved.max(snapshot.flushes_at_cut.load(Ordering::Relaxed));
        } else if kind == SaveKind::Flushed {
            // It is tried once; by shard 0.
            figures.flushes_saved = self.shard.keyspace.all_flushes;
        }
        drop(figures);
        match &outcome {
            Ok(saved) => {
                tracing::info!("DB saved on disk");
                let (keys, bytes) = (saved.keys, saved.bytes);
                let seconds = (now_ms - began_ms).max(0) as f64 / 1000.0;
                tracing::info!("{keys} keys in {bytes} bytes, in {seconds:.3} seconds");
                if kind == SaveKind::Background {
                    tracing::info!("Background saving terminated with success");
                }
            }
            Err(reason) if is_cancelled => tracing::warn!("Background saving {reason}"),
            Err(reason) => {
                tracing::warn!("{reason}");
                if kind == SaveKind::Background {
                    tracing::warn!("Background saving error");
                }
            }
        }
        self.instruct_all(ControlRequest::SaveEnded);
        when_saved(self, outcome.map(drop));
    }

    /// Ends the save under way, if there is one, or the one that is to follow.
    pub fn cancel_save(&mut self) -> Option<&'static str> {
        let mut figures = self.shared.saves.figures();
        if let Some((snapshot, _)) = &figures.running {
            snapshot.fail(CANCELLED.to_owned());
            drop(figures);
            self.wake_all();
            return Some("Background saving cancelled");
        }
        let was_scheduled = std::mem::take(&mut figures.is_scheduled);
        was_scheduled.then_some("Scheduled background saving cancelled")
    }

    /// Whether writes are refused since they could not be saved; looked at whenever that may have changed.
    pub fn look_at_saves(&mut self) {
        let Settings { has_save_points, refuses_unsaved, .. } = *self.settings;
        // `rdb-key-save-delay` may have changed.
        self.snapshots.rest.until_ns = 0;
        let is_bad = has_save_points && refuses_unsaved && !self.shared.saves.figures().is_last_good;
        self.gate.set_unsaved(is_bad);
        self.look_at_flushes();
    }

    /// Changes of all shards, as they last told.
    pub fn dirty_of_all(&self) -> u64 {
        self.shared.gauges.iter().map(|gauges| gauges.dirty.load(Ordering::Relaxed)).sum()
    }

    /// The save points, on the shard that looks at them.
    pub fn saves_cron(&mut self) {
        if self.index != 0 || !self.cron_runs || self.gate.is_loading() || self.shared.stopping.load(Ordering::Relaxed)
        {
            return;
        }
        self.look_at_flushes();
        let now_ms = self.clock.wall_ms;
        let figures = self.shared.saves.figures().clone();
        if figures.running.is_some() || self.shared.shutting_down.load(Ordering::Relaxed) {
            return;
        }
        let changes = self.dirty_of_all().saturating_sub(figures.dirty_at_last);
        let may_try = figures.is_last_good || now_ms - figures.tried_ms >= RETRY_MS;
        let since_s = now_ms / 1000 - figures.last_s;
        let point = {
            let config = self.shared.config();
            let points = config.persistence.save.iter();
            let is_due =
                |point: &&SavePoint| changes >= u64::from(point.changes.max(1)) && since_s > i64::from(point.seconds);
            points.copied().find(|point| is_due(&point))
        };
        if !may_try || (point.is_none() && !figures.is_scheduled) {
            return;
        }
        if let Some(point) = point {
            tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
        }
        self.begin_save(SaveKind::Background, Box::new(|_, _| ()));
    }
}

const CANCELLED: &str = "was ended on request";
