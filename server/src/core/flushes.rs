//! FLUSHALL and saves: one that runs in the background with what is no longer there ends, and where there are save points the
//! empty databases are saved at once.
//!
//! ```text
//!   FLUSHALL, when all shards have run it ──> shard 0: look_at_flushes ──> a background save of before is ended
//!      its reply waits <──────────────────────────────────────────────└──> a save, as soon as none is under way
//!   in EXEC, in a script ──> the cron: the same, and no reply waits
//! ```
//!
//! * Whoever has been told that all is gone does not find it again after a crash: so the reply waits for the file; the real server's
//!   does in EXEC and in scripts, too.
//! * Shard 0 counts for all: each runs every FLUSHALL. A save has the count at its cut, so it is known which is older.
//! * The save is tried once. If it fails, the log says so, and the save points go on as ever.

use super::Core;
use super::snapshot::SaveKind;
use crate::mailbox::Request;
use crate::snapshot::Snapshot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torc_engine::reply::ReplyBuffer;

/// Why a save ends that FLUSHALL has overtaken.
pub(super) const OVERTAKEN: &str = "was ended, since all data were flushed";

/// A reply that waits for the save: where its task is, and by what name it waits.
pub(super) struct FlushWaiter {
    shard: usize,
    name: u64,
    is_over: Arc<AtomicBool>,
}

impl Core {
    /// FLUSHALL has run on all shards: its reply.
    pub(super) fn answer_flush(&mut self, request: Request, mut reply: ReplyBuffer) {
        if self.gate.is_loading() || !self.settings.has_save_points || reply.bytes.first() == Some(&b'-') {
            self.run_on(0, Self::look_at_flushes);
            return self.deliver(request, |place| place.append(&mut reply));
        }
        let (name, is_over) = (self.tasks.take_name(), Arc::new(AtomicBool::new(false)));
        let waiter = FlushWaiter { shard: self.index, name, is_over: is_over.clone() };
        self.run_on(0, move |core| {
            core.snapshots.flush_waiters.push(waiter);
            core.look_at_flushes();
        });
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            tasks.until(name, || is_over.load(Ordering::Acquire)).await;
            tasks.on_core(move |core| core.deliver(request, |place| place.append(&mut reply))).await;
        });
    }

    /// On shard 0, whenever a FLUSHALL may have run or a save has ended.
    pub(super) fn look_at_flushes(&mut self) {
        if self.index != 0 {
            return;
        }
        let flushes = self.shard.keyspace.all_flushes;
        let (is_due, is_free, has_ended_one) = {
            let mut figures = self.shared.saves.figures();
            if self.gate.is_loading() || !self.settings.has_save_points {
                figures.flushes_saved = flushes;
            }
            let running = figures.running.as_ref().map(|(snapshot, _)| snapshot);
            let is_older = |snapshot: &&Arc<Snapshot>| snapshot.flushes_at_cut.load(Ordering::Relaxed) < flushes;
            let overtaken = running.filter(|snapshot| snapshot.order.is_background && !snapshot.is_failed());
            let overtaken = overtaken.filter(is_older);
            overtaken.iter().for_each(|snapshot| snapshot.fail(OVERTAKEN.to_owned()));
            (figures.flushes_saved < flushes, figures.running.is_none(), overtaken.is_some())
        };
        if has_ended_one {
            self.wake_all();
        }
        if is_due && is_free {
            self.begin_save(SaveKind::Flushed, Box::new(|_, _| ()));
        }
        if !is_due {
            for FlushWaiter { shard, name, is_over } in std::mem::take(&mut self.snapshots.flush_waiters) {
                is_over.store(true, Ordering::Release);
                self.run_on(shard, move |core| core.tasks.wake(name));
            }
        }
    }

    /// What a log that was loaded has flushed is nobody's.
    pub fn forget_flushes(&mut self) {
        if self.index == 0 {
            self.shared.saves.figures().flushes_saved = self.shard.keyspace.all_flushes;
        }
    }
}
