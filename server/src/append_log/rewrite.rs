//! A new base in the place of what has gathered, and a log that begins while the server runs.
//!
//! ```text
//!   shards:   ... e1 e2 │cut: fence│ e3 e4 ...                    at the cut of a snapshot each shard's history is divided
//!   leader:   old file  │ new file, manifest names it │ e3 e4     everything before is on disk when the new file is written to
//!   snapshot:           └──────> base ──────> on disk ──> leader: manifest names it, older files are history ──> removed
//! ```
//!
//! Whenever the process ends, the manifest names files that make the same data: the old base with both files, or the new base
//! with the new one. Nobody waits for the snapshot; writes wait for the moment in which the files are switched.
//!
//! A log that begins at run time is written into a file that no manifest names until the base is there.

use super::command_base;
use super::opening::Plan;
use super::writer::{CurrentFile, Place, Writer};
use super::{AppendLog, Pushed};
use crate::config::Config;
use crate::control::ControlRequest;
use crate::core::Core;
use crate::shared::Shared;
use crate::snapshot::procedure::{self, Saved};
use crate::snapshot::{Order, Snapshot};
use crate::tasks::Tasks;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use torc_persistence::aof::manifest::{LogFile, Manifest};

/// After a failure the next attempt waits for so long.
const RETRY_MS: i64 = 5_000;
/// What waits for the leader looks again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a snapshot has to do with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCut {
    /// The log goes on in another file: a fence of this number.
    Fence(u64),
    /// The log begins.
    Begins,
}

/// A base that is on disk.
#[derive(Debug)]
pub struct Rebased {
    /// The file.
    pub base: LogFile,
    /// How long it is.
    pub bytes: u64,
    /// What came before: incremental files up to this number, with it.
    pub covers: i64,
    /// Whether a manifest that names it may be there after a crash: from then on it stays, whatever fails.
    pub may_be_named: bool,
}

/// Rewrites, so far.
#[derive(Clone, Debug)]
pub struct Rewrites {
    /// Since when one is under way, wall milliseconds.
    pub running_since_ms: Option<i64>,
    /// Its snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// One is to follow.
    pub is_scheduled: bool,
    /// Whether the last one succeeded.
    pub is_last_good: bool,
    /// How long it took, in seconds.
    pub last_took_s: Option<i64>,
    /// When the last one was tried.
    pub tried_ms: i64,
    /// How many there have been.
    pub count: u64,
    /// How many failed one after the other.
    pub failures: u64,
}

impl Default for Rewrites {
    fn default() -> Self {
        Self {
            running_since_ms: None,
            snapshot: None,
            is_scheduled: false,
            is_last_good: true,
            last_took_s: None,
            tried_ms: 0,
            count: 0,
            failures: 0,
        }
    }
}

impl Core {
    /// BGREWRITEAOF: begins a rewrite, or says why not.
    pub fn begin_rewrite(&mut self) -> Result<&'static str, &'static str> {
        let log = self.shared.append_log.clone();
        if self.shared.saves.figures().running.is_some() {
            log.rewrites().is_scheduled = true;
            return Ok("Background append only file rewriting scheduled");
        }
        {
            let mut rewrites = log.rewrites();
            if rewrites.running_since_ms.is_some() {
                return Err("ERR Background append only file rewriting already in progress");
            }
            rewrites.running_since_ms = Some(self.clock.wall_ms);
            rewrites.tried_ms = self.clock.wall_ms;
            rewrites.is_scheduled = false;
            rewrites.count += 1;
        }
        tracing::info!("Background append only file rewriting started by pid {}", std::process::id());
        let (tasks, shared) = (self.tasks.clone(), self.shared.clone());
        let plan = Plan::of(&shared.config());
        self.tasks.spawn(async move {
            let outcome = rewrite(&tasks, &shared, &plan).await;
            finish(&tasks, &shared.append_log, outcome).await;
        });
        Ok("Background append only file rewriting started")
    }

    /// From time to time, on one shard: a rewrite that was scheduled, or that the growth of the log asks for.
    pub fn rewrites_cron(&mut self) {
        let log = self.shared.append_log.clone();
        if self.index != 0 || self.gate.is_loading() || self.shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let (is_running, is_scheduled, tried_ms, is_good) = {
            let rewrites = log.rewrites();
            (rewrites.running_since_ms.is_some(), rewrites.is_scheduled, rewrites.tried_ms, rewrites.is_last_good)
        };
        if is_running || self.shared.saves.figures().running.is_some() {
            return;
        }
        if is_scheduled {
            let _ = self.begin_rewrite();
        } else if log.is_on() && (is_good || self.clock.wall_ms - tried_ms > RETRY_MS) {
            let (percentage, bytes_min) = {
                let config = self.shared.config();
                (config.persistence.append_log.rewrite_percentage, config.persistence.append_log.rewrite_bytes_min)
            };
            let (size, base) = {
                let figures = log.figures();
                (figures.size, figures.base_size.max(1))
            };
            let growth = size.saturating_mul(100) / base;
            if percentage > 0 && size > bytes_min && growth >= 100 + u64::from(percentage) {
                tracing::info!("Starting automatic rewriting of AOF on {}% growth", growth - 100);
                let _ = self.begin_rewrite();
            }
        }
    }

    /// `appendonly` is to be as this configuration says, which becomes the server's if the log can be where it says.
    pub fn switch_log(&mut self, config: &Config) -> Result<(), String> {
        let log = self.shared.append_log.clone();
        let is_on = config.persistence.append_only;
        if is_on == log.is_on() {
            return Ok(());
        }
        let (tasks, shared) = (self.tasks.clone(), self.shared.clone());
        if !is_on {
            if let Some(snapshot) = &log.rewrites().snapshot {
                tracing::info!("Killing running AOF rewrite child: it is a snapshot of this process, which ends");
                snapshot.fail("the log was switched off".to_owned());
            }
            self.wake_all();
            self.tasks.spawn(async move {
                tasks.ask_all(ControlRequest::Log(false)).await;
                shared.append_log.push_entry(0, Pushed::Close);
            });
            return Ok(());
        }
        let plan = Plan::of(config);
        self.shared.append_log.claim_directory(&plan)?;
        self.tasks.spawn(async move { begin_log(&tasks, &shared, &plan).await });
        Ok(())
    }

    /// What the log has to do with a snapshot's cut.
    pub fn log_at_cut(&mut self, at_cut: Option<AtCut>) {
        match at_cut {
            None => {}
            Some(AtCut::Fence(number)) => {
                self.hand_over_effects();
                self.shared.append_log.push_fence(self.index, number);
            }
            Some(AtCut::Begins) => {
                self.hand_over_effects();
                self.shard.keyspace.journal.listen_to_effects(true);
            }
        }
    }
}

async fn finish(tasks: &Tasks, log: &AppendLog, outcome: Result<(), String>) {
    let now_ms = tasks.on_core(|core| core.clock.wall_ms).await;
    let mut rewrites = log.rewrites();
    let began_ms = rewrites.running_since_ms.take().unwrap_or(now_ms);
    rewrites.snapshot = None;
    rewrites.last_took_s = Some((now_ms - began_ms).max(0) / 1000);
    rewrites.is_last_good = outcome.is_ok();
    match outcome {
        Ok(()) => {
            rewrites.failures = 0;
            tracing::info!("Background AOF rewrite finished successfully");
        }
        Err(reason) => {
            rewrites.failures += 1;
            tracing::warn!("Background AOF rewrite terminated with an error: {reason}");
        }
    }
}

/// A new base for the log that is there; without one, a base alone.
async fn rewrite(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) -> Result<(), String> {
    let log = &shared.append_log;
    if !log.is_open() {
        return write_base_alone(tasks, shared, plan).await;
    }
    let number = log.next_fence();
    log.put_off_syncs(shared.config().persistence.append_log.puts_off_syncs);
    let outcome = rebase(tasks, shared, plan, AtCut::Fence(number)).await;
    log.put_off_syncs(false);
    outcome
}

/// Where the log is off: a base without anything behind it, for whoever switches it on.
async fn write_base_alone(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) -> Result<(), String> {
    shared.append_log.claim_directory(plan)?;
    let mut manifest = read_manifest(tasks, plan).await?;
    let base = manifest.begin_base(&plan.place.name, plan.base_is_rdb);
    take_base(tasks, shared, plan, &base, None).await?;
    manifest.retire_before(i64::MAX);
    let history = std::mem::take(&mut manifest.history);
    let written = plan.place.write_manifest(&tasks.operations, &manifest).await;
    written.map_err(|failure| std::io::Error::from(failure).to_string())?;
    for old in history {
        drop(tasks.operations.unlink(&plan.place.path(&old.name)).await);
    }
    Ok(())
}

pub(super) async fn read_manifest(tasks: &Tasks, plan: &Plan) -> Result<Manifest, String> {
    match super::opening::read_file(&tasks.operations, &plan.place.manifest_path()).await {
        Ok(text) => Manifest::parse(&text).map_err(|bad| bad.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Manifest::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes a snapshot that is a base.
async fn take_base(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    plan: &Plan,
    base: &LogFile,
    at_cut: Option<AtCut>,
) -> Result<Saved, String> {
    let number = shared.take_snapshot_number();
    let temporary = plan.place.directory.join(format!("temp-rewriteaof-bg-{}-{number}.aof", std::process::id()));
    let file = if plan.base_is_rdb { plan.place.path(&base.name) } else { temporary.with_extension("rdb") };
    let order = Order {
        temporary,
        file: file.clone(),
        directory: plan.place.directory.clone(),
        is_base: true,
        at_cut,
        ..Order::new(&shared.config())
    };
    let waits = tasks.on_core(|core| (core.index, core.tasks.take_name())).await;
    let snapshot = Arc::new(Snapshot::new(number, order, shared.shards(), waits));
    shared.append_log.rewrites().snapshot = Some(snapshot.clone());
    let saved = procedure::take(tasks.clone(), snapshot).await?;
    if plan.base_is_rdb {
        return Ok(saved);
    }
    let bytes = command_base::turn(tasks, shared, file, plan.place.path(&base.name)).await?;
    Ok(Saved { bytes, ..saved })
}

/// Takes the snapshot, and gives it to the leader as the base.
async fn rebase(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan, at_cut: AtCut) -> Result<(), String> {
    let log = &shared.append_log;
    let base = log.manifest().clone().begin_base(&plan.place.name, plan.base_is_rdb);
    let taken = take_base(tasks, shared, plan, &base, Some(at_cut)).await;
    let covers = match at_cut {
        AtCut::Begins => i64::MAX,
        AtCut::Fence(number) => loop {
            // The leader comes to the fence when all shards have: long ago, nearly always.
            match log.passed_fence(number) {
                Some(Ok(sequence)) => break sequence,
                Some(Err(reason)) => {
                    if taken.is_ok() {
                        drop(tasks.operations.unlink(&plan.place.path(&base.name)).await);
                    }
                    return Err(reason);
                }
                None if !log.is_on() => return Err("the log was switched off".to_owned()),
                None => tasks.executor.sleep(LOOK_AGAIN).await,
            }
        },
    };
    let saved = taken?;
    let shown = plan.place.path(&base.name);
    log.push_entry(0, Pushed::Base(Rebased { base, bytes: saved.bytes, covers, may_be_named: false }));
    loop {
        let outcome = log.rebased.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome {
            Some(Ok(history)) => return remove(tasks, &plan.place, log, history).await,
            Some(Err(reason)) => {
                drop(tasks.operations.unlink(&shown).await);
                return Err(reason);
            }
            None if !log.is_open() => return Err("the log was switched off".to_owned()),
            None => tasks.executor.sleep(LOOK_AGAIN).await,
        }
    }
}

/// What is no longer needed goes. The manifest names it until then, so that another start finds what this one left.
async fn remove(tasks: &Tasks, place: &Place, log: &AppendLog, history: Vec<LogFile>) -> Result<(), String> {
    for old in history {
        tracing::debug!("Removing the history file {} in the background", String::from_utf8_lossy(&old.name));
        drop(tasks.operations.unlink(&place.path(&old.name)).await);
    }
    log.push_entry(0, Pushed::Removed);
    Ok(())
}

/// CONFIG SET appendonly yes.
async fn begin_log(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) {
    loop {
        let began_ms = tasks.on_core(|core| core.clock.wall_ms).await;
        {
            let mut rewrites = shared.append_log.rewrites();
            if rewrites.running_since_ms.is_none() {
                rewrites.running_since_ms = Some(began_ms);
                rewrites.tried_ms = began_ms;
                rewrites.count += 1;
                break;
            }
        }
        tasks.executor.sleep(LOOK_AGAIN).await;
    }
    let mut outcome = try_begin_log(tasks, shared, plan).await;
    while outcome.is_err() && shared.config().persistence.append_only && !shared.stopping.load(Ordering::SeqCst) {
        let reason = outcome.as_ref().err().cloned().unwrap_or_default();
        tracing::warn!("The log cannot begin: {reason}. It is tried again");
        tasks.executor.sleep(Duration::from_millis(RETRY_MS as u64)).await;
        outcome = try_begin_log(tasks, shared, plan).await;
    }
    finish(tasks, &shared.append_log, outcome).await;
}

async fn try_begin_log(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) -> Result<(), String> {
    let log = &shared.append_log;
    let operations = &tasks.operations;
    if !log.is_open() {
        let manifest = read_manifest(tasks, plan).await?;
        let path = plan.place.directory.join(format!("temp-{}.incr", plan.place.name));
        super::opening::write_new(operations, &path, Vec::new()).await.map_err(|error| error.to_string())?;
        let generation = log.next_generation();
        let file = CurrentFile { generation, sequence: 0, path, length: 0, synced_length: 0 };
        log.open(Box::new(Writer::new(shared.shards(), plan.place.clone(), manifest, file, Vec::new())));
    }
    rebase(tasks, shared, plan, AtCut::Begins).await
}
