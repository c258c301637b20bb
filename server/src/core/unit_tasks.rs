//! A command of a transaction that waits for a task (`core::session`): ACL SAVE, ACL LOAD, CONFIG REWRITE.
//!
//! ```text
//!   all before it is done ──> the unit waits, its keys stay locked; the shard turns
//!   the task has ended    ──> its reply, or a question to all shards as the next stage ──> the commands behind it
//! ```
//! * What is captured of the command has done nothing yet: it begins when what comes before it in the queue is answered.
//! * A unit that waits counts as a long one: commands on every shard wait where they are dispatched (`core::whole`), and hold back
//!   nobody. What asks for its keys waits for the disk.
//! * A task may not ask all shards itself, and wait: where the unit has whole shards such a question would wait for the unit.

use super::Core;
use super::exec::Asking;
use super::session::Conclude;
use super::tracking::Address;
use super::unit::UnitRun;
use crate::control::ControlRequest;
use crate::mailbox::Request;
use std::pin::Pin;
use torc_engine::reply::Reply;
use torc_engine::shard::ClientContext;

/// What a task comes to.
pub(super) enum Came {
    /// The command's reply.
    Reply(Box<dyn FnOnce(&mut Reply<'_>)>),
    /// What all shards are asked before it is answered.
    Question(ControlRequest, Conclude),
}

/// What a command waits for; it may come to the text of an error.
pub(super) type UnitTask = Pin<Box<dyn Future<Output = Result<Came, Vec<u8>>>>>;

/// A unit that waits for a task.
struct Waiting {
    run: UnitRun,
    id: u64,
    client: ClientContext,
    request: Option<Request>,
}

impl Core {
    /// The task of a unit's command begins; the unit goes on when it has ended.
    pub(super) fn wait_for_task(
        &mut self,
        (asking, task): (Asking, UnitTask),
        run: UnitRun,
        id: u64,
        client: ClientContext,
        request: Option<Request>,
    ) {
        let waiting = Waiting { run, id, client, request };
        let mut counted = self.count_unit();
        self.count_as_long(&mut counted);
        let began_ns = self.clock.monotonic_ns;
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            let came = task.await;
            let go_on = move |core: &mut Self| {
                core.uncount(&mut counted);
                let took_ns = core.clock.monotonic_ns.saturating_sub(began_ns);
                core.unit_task_done(waiting, asking, came, took_ns);
            };
            tasks.on_core(go_on).await;
        });
    }

    fn unit_task_done(&mut self, waiting: Waiting, asking: Asking, came: Result<Came, Vec<u8>>, took_ns: u64) {
        let Waiting { mut run, id, client, request } = waiting;
        let mut reply = Reply::new(run.exec.own_reply(asking.place), client.protocol);
        match came {
            Ok(Came::Question(question, conclude)) => {
                run.exec.ask(asking, question, conclude);
                return self.go_on_with_unit(run, id, client, request);
            }
            Ok(Came::Reply(fill)) => fill(&mut reply),
            Err(text) => {
                self.counters.errors.count(&text);
                self.counters.calls.failed[asking.entry.id] += 1;
                reply.error_bytes(&text);
            }
        }
        let by = Address { shard: self.index as u32, connection: run.exec.connection };
        self.observe_asked(&asking, took_ns, run.exec.own_reply(asking.place).len(), by);
        self.go_on_with_unit(run, id, client, request);
    }
}
