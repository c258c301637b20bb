//! The end of the process: what is to be saved is, then every shard stops.
//!
//! ```text
//!   SHUTDOWN, SIGTERM ──> writes wait on all shards ──> a snapshot, if one is wanted ──> stopping
//!                              └──────────── they go on <── it failed, or SHUTDOWN ABORT
//! ```
//! Nothing is acknowledged behind the cut of the last snapshot: what a client has been told is written is in the file.

use super::Core;
use super::snapshot::SaveKind;
use crate::config::ShutdownOptions;
use crate::control::ControlRequest;
use crate::mailbox::Request;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How the process is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether the data are saved; none if the save points decide.
    pub saves: Option<bool>,
    /// Whether it ends even if they cannot be.
    pub is_forced: bool,
}

impl From<ShutdownOptions> for Shutdown {
    fn from(options: ShutdownOptions) -> Self {
        let saves = if options.has("save") { Some(true) } else { options.has("nosave").then_some(false) };
        Self { saves, is_forced: options.has("force") }
    }
}

/// When a save that is under way is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Core {
    /// The process is to end; `request` is whose command that is, if it is one.
    pub fn begin_shutdown(&mut self, shutdown: Shutdown, request: Option<Request>) {
        let saves = shutdown.saves.unwrap_or(self.settings.has_save_points) && !self.gate.is_loading();
        if self.shared.shutting_down.swap(true, Ordering::SeqCst) && saves {
            // Whoever came first ends both.
            return;
        }
        let tasks = self.tasks.clone();
        if !saves {
            self.cancel_save();
            // Not before the connection that asks is back in its place.
            return self.tasks.spawn(async move { tasks.on_core(move |core| core.stop(request)).await });
        }
        self.tasks.spawn(async move {
            tasks.ask_all(ControlRequest::Pause { until_ns: u64::MAX, only_writes: true }).await;
            tasks.on_core(|core| core.cancel_save()).await;
            tracing::warn!("Saving the final RDB snapshot before exiting.");
            while !tasks.on_core(move |core| core.begin_last_save(shutdown, request)).await {
                tasks.executor.sleep(LOOK_AGAIN).await;
            }
        });
    }

    fn begin_last_save(&mut self, shutdown: Shutdown, request: Option<Request>) -> bool {
        let when_saved = move |core: &mut Self, outcome: Result<(), String>| match outcome {
            Ok(()) => core.stop(request),
            Err(_) if shutdown.is_forced => {
                tracing::warn!("Error trying to save the DB. Exit anyway.");
                core.stop(request);
            }
            Err(_) => {
                tracing::warn!("Error trying to save the DB, can't exit.");
                core.shared.shutting_down.store(false, Ordering::SeqCst);
                core.instruct_all(ControlRequest::Unpause);
                if let Some(request) = request {
                    core.answer_later(request, |reply| reply.error("ERR Errors trying to SHUTDOWN. Check logs."));
                }
            }
        };
        self.begin_save(SaveKind::Last, Box::new(when_saved))
    }

    /// No more connections, replies out, threads joined. A command that asked for it has no reply: its connection ends.
    fn stop(&mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.deliver(request, |_| ());
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// SHUTDOWN ABORT; whether there was one that could be.
    pub fn abort_shutdown(&mut self) -> bool {
        // A signal that nobody has looked at yet.
        if self.shared.signal.swap(0, Ordering::Relaxed) != 0 {
            return true;
        }
        let is_under_way =
            self.shared.shutting_down.load(Ordering::SeqCst) && !self.shared.stopping.load(Ordering::SeqCst);
        is_under_way && self.cancel_save().is_some()
    }

    /// A signal has asked for it; looked at by one shard.
    pub fn look_at_signals(&mut self) {
        let signal = self.shared.signal.swap(0, Ordering::Relaxed);
        if signal != 0 && self.shared.shutting_down.load(Ordering::SeqCst) {
            return;
        }
        let process = &self.shared.config().process.clone();
        match signal {
            0 => {}
            signal_hook::consts::SIGINT => self.begin_shutdown(process.on_sigint.into(), None),
            _ => self.begin_shutdown(process.on_sigterm.into(), None),
        }
    }
}
