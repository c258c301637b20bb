//! What tasks have the core do (`tasks`), and what it owes clients meanwhile.

use super::Core;
use super::connection::{Connection, ConnectionKey};
use crate::command_table::CommandEntry;
use crate::mailbox::{Message, Request};
use crate::tasks::Assignment;
use torc_engine::reply::Reply;
use torc_engine::transaction::inbox::Node;

impl Core {
    /// Does what tasks want done.
    pub fn run_errands(&mut self) {
        while let Some(errand) = self.tasks.take_errand() {
            errand(self);
        }
    }

    /// Has a shard's core do something, in its turn; ours at once.
    pub fn run_on(&mut self, shard: usize, act: impl FnOnce(&mut Self) + Send + 'static) {
        if shard == self.index {
            return act(self);
        }
        self.send_home(shard, Node::new(Message::Assignment(Assignment(Box::new(act)))));
    }

    /// Every shard turns.
    pub fn wake_all(&mut self) {
        (0..self.shared.shards()).for_each(|shard| self.run_on(shard, |_| ()));
    }

    /// A command that is answered by a task: [`Self::answer_later`] gives the reply.
    pub fn owe_answer(&mut self, connection: &mut Connection, entry: &'static CommandEntry) -> Request {
        Self::expect_reply(connection, entry, true)
    }

    /// The same; its connection runs nothing before it is answered, by [`Self::answer_alone`].
    pub fn owe_answer_alone(&mut self, connection: &mut Connection, entry: &'static CommandEntry) -> Request {
        connection.is_waiting = true;
        self.tasks.awaited_answers.update(|count| count + 1);
        self.owe_answer(connection, entry)
    }

    /// Whether a connection that owes one command's answer alone has sent others before that are still under way.
    pub fn has_others_under_way(&mut self, key: ConnectionKey) -> bool {
        self.connection_mut(key).is_some_and(|connection| connection.outstanding() > 1)
    }

    /// The reply to a command that its connection has waited for: an error, or what is filled in.
    pub fn answer_alone(&mut self, request: Request, answer: Result<impl FnOnce(&mut Reply<'_>), Vec<u8>>) {
        self.tasks.awaited_answers.update(|count| count - 1);
        if let Some(connection) = self.connection_mut(request.connection) {
            connection.is_waiting = false;
        }
        match answer {
            Ok(fill) => self.answer_later(request, fill),
            Err(text) => {
                self.counters.errors.count(&text);
                self.counters.calls.failed[request.entry.id] += 1;
                self.answer_later(request, |reply| reply.error_bytes(&text));
            }
        }
    }

    /// Whether a command of the server's own runs as a part of a unit.
    pub fn is_in_unit(&self) -> bool {
        self.capture.is_some()
    }

    /// The reply to a command that waited for a task.
    pub fn answer_later(&mut self, request: Request, fill: impl FnOnce(&mut Reply<'_>)) {
        let protocol = request.client.protocol;
        self.deliver(request, |out| fill(&mut Reply::new(out, protocol)));
    }
}
