//! DEBUG LOADAOF: all data go, and come back from the log, as at a start.
//!
//! ```text
//!   clients wait ──> what was changed is written ──> nothing is logged, time stands at 0, everything is removed
//!                    ──> clients hear -LOADING ──> the files, as at the start ──> time and log go on ──> clients go on
//! ```
//! A log that cannot be loaded ends the process, as in the real server: what is in memory then is no state that has ever been.

use super::opening::{Plan, load_files};
use super::rewrite::read_manifest;
use crate::control::ControlRequest;
use crate::core::shutdown::Shutdown;
use crate::loading;
use crate::mailbox::Request;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::sync::Arc;
use std::time::Duration;

/// How often the log, and a rewrite that is under way, are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Does it, and answers.
pub async fn reload(tasks: Tasks, shared: Arc<Shared>, plan: Plan, request: Request) {
    tasks.ask_all(ControlRequest::Pause { until_ns: u64::MAX, only_writes: false }).await;
    let outcome = reload_paused(&tasks, &shared, &plan).await;
    if let Err(reason) = outcome {
        tracing::warn!("The log cannot be loaded again: {reason}. The process ends, and leaves the files as they are");
        let shutdown = Shutdown { saves: Some(false), is_forced: true };
        return tasks.on_core(move |core| core.begin_shutdown(shutdown, Some(request))).await;
    }
    tasks.on_core(move |core| core.answer_later(request, |reply| reply.ok())).await;
}

async fn reload_paused(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) -> Result<(), String> {
    let log = &shared.append_log;
    while log.rewrites().running_since_ms.is_some() {
        tasks.executor.sleep(LOOK_AGAIN).await;
    }
    let is_logging = log.is_on();
    tasks.ask_all(ControlRequest::Log(false)).await;
    let ticket = log.pushed();
    while is_logging && log.written() < ticket {
        if log.refuses() {
            return Err("what was changed last cannot be written".to_owned());
        }
        tasks.executor.sleep(LOOK_AGAIN).await;
    }
    let manifest = read_manifest(tasks, plan).await?;
    let now_ms = tasks.on_core(|core| core.clock.wall_ms).await;
    log.set_replayed(true);
    tasks.ask_all(ControlRequest::Empty).await;
    tasks.ask_all(ControlRequest::Rewind).await;
    shared.loading.begin(super::bytes_to_load(plan), now_ms);
    tasks.ask_all(ControlRequest::Loading(true)).await;
    tasks.ask_all(ControlRequest::Unpause).await;
    let loaded = load_files(tasks, shared, plan, &manifest).await;
    if is_logging {
        tasks.ask_all(ControlRequest::Log(true)).await;
    }
    log.set_replayed(false);
    if loaded.is_ok() {
        loading::end(tasks, shared).await;
    }
    loaded.map(drop)
}
