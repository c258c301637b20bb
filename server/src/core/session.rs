//! Commands that run on the connection's own shard, with the connection at hand.

use super::Core;
use super::connection::Connection;
use super::unit::Captured;
use super::unit_tasks::Came;
use crate::command_table::CommandEntry;
use crate::control::{ControlReply, ControlRequest};
use std::time::Duration;
use torc_engine::command::CommandError;
use torc_engine::reply::Reply;

/// What a session command works with.
pub struct Session<'a> {
    /// The shard.
    pub core: &'a mut Core,
    /// The connection, taken out of the shard's slab while its command runs.
    pub connection: &'a mut Connection,
    /// The command.
    pub entry: &'static CommandEntry,
}

/// Exactly one reply has been encoded, or its place was left by [`Session::ask_all`]; or an error is to be encoded.
pub type SessionResult = Result<(), CommandError>;

/// A session command. Arity has been checked.
pub type SessionHandler = fn(&mut Session<'_>, &[&[u8]]) -> SessionResult;

/// Makes one reply of what all shards answered, in the order of the shards.
pub type Conclude = Box<dyn FnOnce(&mut Core, Vec<ControlReply>, &mut Reply<'_>)>;

impl Session<'_> {
    /// The encoder of this command's reply.
    pub fn reply(&mut self) -> Reply<'_> {
        let protocol = self.connection.protocol();
        Reply::new(self.connection.output.tail(), protocol)
    }

    /// Asks every shard; the reply follows when all have answered.
    pub fn ask_all(&mut self, request: ControlRequest, conclude: Conclude) {
        self.core.start_control(self.connection, request, conclude);
    }

    /// The reply is what a task comes to: what is filled in, or an error. It begins when all that the connection has sent before is
    /// answered, and the connection runs nothing before it has ended. In a unit it begins when what comes before it in the queue is
    /// done; the unit's keys stay locked meanwhile, so nothing that clients decide about may be waited for there.
    pub fn answer_by_task<F: FnOnce(&mut Reply<'_>) + 'static>(
        &mut self,
        task: impl Future<Output = Result<F, Vec<u8>>> + 'static,
    ) {
        if let Some(captured) = &mut self.core.capture {
            *captured = Captured::Task(Box::pin(async move { task.await.map(|fill| Came::Reply(Box::new(fill))) }));
            return;
        }
        let key = self.connection.key;
        let request = self.core.owe_answer_alone(self.connection, self.entry);
        let tasks = self.core.tasks.clone();
        self.core.tasks.spawn(async move {
            while tasks.on_core(move |core| core.has_others_under_way(key)).await {
                tasks.executor.sleep(Duration::ZERO).await;
            }
            let answer = task.await;
            tasks.on_core(move |core| core.answer_alone(request, answer)).await;
        });
    }

    /// The same for what all shards are asked when the task has ended; the reply is OK when all have answered.
    pub fn ask_all_by_task(&mut self, task: impl Future<Output = Result<ControlRequest, Vec<u8>>> + 'static) {
        if let Some(captured) = &mut self.core.capture {
            let all_done = |_: &mut Core, _, reply: &mut Reply<'_>| reply.ok();
            let task = async move { task.await.map(|question| Came::Question(question, Box::new(all_done))) };
            *captured = Captured::Task(Box::pin(task));
            return;
        }
        let tasks = self.core.tasks.clone();
        self.answer_by_task(async move {
            tasks.ask_all(task.await?).await;
            Ok(|reply: &mut Reply<'_>| reply.ok())
        });
    }

    /// Runs a command of the engine that no client can name, where its keys are; its reply is this command's.
    pub fn forward(&mut self, entry: &'static CommandEntry, arguments: &[&[u8]]) {
        self.core.forward(self.connection, entry, arguments);
    }
}
