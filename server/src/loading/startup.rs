//! What a server begins with; and DEBUG RELOAD, which begins again.

use super::{LoadFailure, Loaded, Source, Twice, load};
use crate::commands::keep_libraries;
use crate::config::Config;
use crate::control::{ControlReply, ControlRequest};
use crate::core::Core;
use crate::core::snapshot::SaveKind;
use crate::mailbox::Request;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// The file that saves go to.
fn database_file(config: &Config) -> PathBuf {
    config.process.directory.join(std::ffi::OsStr::from_bytes(&config.persistence.database_file))
}

/// What a server with this configuration is to load, if it is there.
pub fn source(config: &Config) -> Option<Source> {
    let path = database_file(config);
    let bytes = std::fs::metadata(&path).ok()?.len();
    Some(Source { path, bytes, is_base: false, twice: Twice::Refused })
}

/// Loads what the server begins with, and says when it is there, or why the server cannot begin.
pub async fn begin(tasks: Tasks, shared: Arc<Shared>, source: Source, outcome: Sender<Result<(), String>>) {
    let path = source.path.clone();
    let began_ns = tasks.executor.now_ns();
    let loaded = match load(tasks.clone(), shared.clone(), source).await {
        // Somebody has moved it since it was looked for.
        Err(LoadFailure::Absent) => Ok(Loaded::default()),
        other => other,
    };
    let said = match loaded {
        Ok(loaded) => {
            tell(&shared, &loaded, tasks.executor.now_ns() - began_ns, tasks.on_core(|core| core.clock.wall_ms).await);
            end(&tasks, &shared).await;
            Ok(())
        }
        Err(failure) => Err(format!(
            "Loading {} failed: {failure}. Terminating server after rdb file reading failure. Nothing was changed. Look at \
             it with torc-check, restore it from a backup, or move it away to begin without data",
            path.display()
        )),
    };
    // Nobody listens any more if the server is on its way out.
    drop(outcome.send(said));
}

fn tell(shared: &Shared, loaded: &Loaded, took_ns: u64, now_ms: i64) {
    let maker = loaded.made_by.as_deref().unwrap_or("unknown");
    tracing::info!("Loading RDB produced by version {maker}");
    if let Some(made_s) = loaded.made_s {
        tracing::info!("RDB age {} seconds", now_ms / 1000 - made_s);
    }
    let figures = &shared.loading;
    let (keys, expired) = (figures.keys.load(Ordering::Relaxed), figures.keys_expired.load(Ordering::Relaxed));
    tracing::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}.");
    let empty = figures.keys_empty.load(Ordering::Relaxed);
    if empty > 0 {
        tracing::info!("Done loading RDB, empty keys skipped: {empty}.");
    }
    tracing::info!("DB loaded from disk: {:.3} seconds", took_ns as f64 / 1e9);
}

/// Commands run from now on, and what they change counts as unsaved.
pub async fn end(tasks: &Tasks, shared: &Shared) {
    let replies = tasks.ask_all(ControlRequest::Loading(false)).await;
    let dirty = |reply| if let ControlReply::Count(dirty) = reply { dirty as u64 } else { 0 };
    shared.saves.figures().dirty_at_last = replies.into_iter().map(dirty).sum();
    shared.loading.end();
}

/// What DEBUG RELOAD leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Nothing is saved: the file is as it is.
    pub saves_not: bool,
    /// What is there stays.
    pub flushes_not: bool,
    /// What is there and in the file is replaced.
    pub merges: bool,
}

/// DEBUG RELOAD: all data go to the file and come back from it, while all clients wait.
pub async fn reload(tasks: Tasks, shared: Arc<Shared>, reload: Reload, request: Request) {
    tasks.ask_all(ControlRequest::Pause { until_ns: u64::MAX, only_writes: false }).await;
    let outcome = reload_paused(&tasks, &shared, reload).await;
    tasks.ask_all(ControlRequest::Unpause).await;
    tasks
        .on_core(move |core| {
            core.answer_later(request, |reply| match outcome {
                Ok(()) => reply.ok(),
                Err(reason) => {
                    reply.error(&format!("ERR Error trying to load the RDB dump, check server logs: {reason}"))
                }
            });
        })
        .await;
}

async fn reload_paused(tasks: &Tasks, shared: &Arc<Shared>, reload: Reload) -> Result<(), String> {
    if !reload.saves_not {
        save(tasks).await?;
    }
    if !reload.flushes_not {
        tasks.ask_all(ControlRequest::Empty).await;
    }
    let twice = if reload.merges { Twice::Replaces } else { Twice::Refused };
    let path = database_file(&shared.config());
    let source = Source { path, bytes: 0, is_base: false, twice };
    let now_ms = tasks.on_core(|core| core.clock.wall_ms).await;
    shared.loading.begin(0, now_ms);
    let before = shared.scripting.functions();
    let mut loaded = load(tasks.clone(), shared.clone(), source).await.map(drop).map_err(|failure| failure.to_string());
    if reload.flushes_not && !Arc::ptr_eq(&before, &shared.scripting.functions()) {
        let (kept, refusal) = tasks.on_core(move |core| keep_libraries(core, &before, reload.merges)).await;
        tasks.ask_all(kept).await;
        loaded = loaded.and(refusal.map_or(Ok(()), |error| Err(String::from_utf8_lossy(&error.0).into_owned())));
    }
    end(tasks, shared).await;
    loaded
}

/// A save that is awaited.
async fn save(tasks: &Tasks) -> Result<(), String> {
    let name = tasks.take_name();
    let outcome: std::rc::Rc<std::cell::RefCell<Option<Result<(), String>>>> = std::rc::Rc::default();
    let begun = {
        let outcome = outcome.clone();
        move |core: &mut Core| {
            let when_saved = move |core: &mut Core, saved| {
                *outcome.borrow_mut() = Some(saved);
                core.tasks.wake(name);
            };
            core.begin_save(SaveKind::Awaited, Box::new(when_saved))
        }
    };
    if !tasks.on_core(begun).await {
        return Err("a background save is in progress".to_owned());
    }
    tasks.until(name, || outcome.borrow().is_some()).await;
    outcome.borrow_mut().take().unwrap_or(Ok(()))
}
