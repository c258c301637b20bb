//! MULTI: what a connection keeps of a transaction until EXEC. Nothing of it is known anywhere else, but for the keys that
//! it watches: a client that sleeps in the middle holds nothing.
//!
//! ```text
//!   MULTI ──> open; each command is checked and copied into the queue        WATCH ──> what is seen of each key
//!     an error while queueing: broken, EXEC will refuse                         (`core::watch`)
//!   EXEC ──> queue and keys are taken, the connection is as before MULTI ──> `core::exec`
//! ```
//!
//! The arguments of all commands lie in one run of bytes, which counts like input that has not been run
//! (`client-query-buffer-limit`), as do the keys that are watched. Its memory is used again by the next transaction, unless
//! it was unusually much.

use super::Core;
use super::batches::ShardSet;
use super::connection::Connection;
use super::dispatch::Flow;
use super::memory::{OUT_OF_MEMORY, Room};
use crate::command_table::CommandEntry;
use crate::mailbox::{KnownKey, PackedArguments};
use torc_engine::command::{CommandError, Flags};
use torc_engine::keyspace::Watcher;
use torc_engine::reply::Reply;

/// A command that waits for EXEC.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// What.
    pub entry: &'static CommandEntry,
    /// Its only key.
    pub key: KnownKey,
    /// Where its arguments begin.
    pub offset: usize,
}

/// Commands in order.
#[derive(Debug, Default)]
pub struct Queue {
    /// The commands.
    pub commands: Vec<Queued>,
    /// Their arguments.
    pub arguments: PackedArguments,
    /// Whether any may change keys.
    pub is_write: bool,
    /// Whether any waits for the end of a pause of writes.
    may_write: bool,
    /// Whether any is refused when memory is short.
    takes_memory: bool,
    /// Whether any is a script.
    pub has_script: bool,
    /// Whether any may touch keys that it does not name: EXEC will take every shard alone.
    is_about_any_key: bool,
}

/// What so many commands took is kept for the next transaction.
const QUEUE_KEPT_COMMANDS: usize = 64;
const QUEUE_KEPT_BYTES: usize = 4096;

impl Queue {
    /// Of one command.
    pub fn one(entry: &'static CommandEntry, arguments: &[&[u8]]) -> Self {
        let mut queue = Self::default();
        queue.add(entry, arguments, None, entry.is_write);
        queue
    }

    fn add(&mut self, entry: &'static CommandEntry, arguments: &[&[u8]], key: Option<(u16, u64)>, may_write: bool) {
        let offset = self.arguments.len();
        self.arguments.add(arguments);
        self.commands.push(Queued { entry, key: key.into(), offset });
        self.is_write |= entry.is_write;
        self.may_write |= may_write;
        self.takes_memory |= entry.takes_memory;
        self.has_script |= entry.is_script;
    }

    /// Replaces commands by an entry that gives an error, where `refuse` has one for them.
    pub(super) fn replace(
        &mut self,
        refusal: &'static CommandEntry,
        mut refuse: impl FnMut(&'static CommandEntry, &[&[u8]]) -> Option<CommandError>,
    ) {
        let errors: Vec<Option<CommandError>> = self
            .commands
            .iter()
            .zip(self.arguments.commands())
            .map(|(queued, arguments)| refuse(queued.entry, &arguments))
            .collect();
        if errors.iter().all(Option::is_none) {
            return;
        }
        let (commands, packed) = (std::mem::take(&mut self.commands), std::mem::take(&mut self.arguments));
        for ((queued, arguments), error) in commands.into_iter().zip(packed.commands()).zip(errors) {
            match error {
                None => self.add(queued.entry, &arguments, queued.key.get(), false),
                Some(CommandError(text)) => self.add(refusal, &[refusal.full_name.as_bytes(), &text], None, false),
            }
        }
    }

    fn reset(&mut self) {
        self.commands.clear();
        self.commands.shrink_to(QUEUE_KEPT_COMMANDS);
        self.arguments.clear();
        (self.is_write, self.may_write) = (false, false);
        (self.takes_memory, self.has_script, self.is_about_any_key) = (false, false, false);
    }
}

/// Under which name a connection watches keys, and on which shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The name.
    pub watcher: Watcher,
    /// The shards of the keys.
    pub shards: ShardSet,
}

/// A connection's transaction.
#[derive(Debug, Default)]
pub struct Transaction {
    is_open: bool,
    /// A command could not be queued: EXEC will refuse.
    is_broken: bool,
    queue: Option<Box<Queue>>,
    watching: Option<Watching>,
    watched_keys: usize,
    /// What the watched keys take at their owners.
    watched_bytes: usize,
}

/// What a watched key takes beside its text.
const WATCHED_KEY_BYTES: usize = 128;

impl Transaction {
    /// Whether what is queued changes data, or may.
    pub fn may_write(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.may_write)
    }

    /// Whether MULTI has been said.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// MULTI.
    pub fn open(&mut self) {
        self.is_open = true;
        self.queue.get_or_insert_default();
    }

    /// Whether EXEC will refuse.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// A command could not be queued.
    pub fn note_error(&mut self) {
        self.is_broken |= self.is_open;
    }

    /// How many commands wait; none outside MULTI.
    pub fn queued(&self) -> Option<usize> {
        self.is_open.then(|| self.queue.as_ref().map_or(0, |queue| queue.commands.len()))
    }

    /// Bytes of their arguments.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.arguments.len())
    }

    /// Bytes of what a client has let wait for EXEC: commands and watched keys.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.queued_bytes() + self.watched_bytes
    }

    /// How many keys are watched.
    pub fn watched_keys(&self) -> usize {
        self.watched_keys
    }

    /// Ends it: its commands, to be given back, and as whom it watched.
    pub fn take(&mut self) -> (Box<Queue>, Option<Watching>) {
        (self.is_open, self.is_broken) = (false, false);
        (self.queue.take().unwrap_or_default(), self.take_watching())
    }

    /// The memory of a queue, to be used again.
    pub fn give_back(&mut self, mut queue: Box<Queue>) {
        queue.reset();
        self.queue = Some(queue);
    }

    /// As whom it watches.
    pub fn watching(&self) -> Option<Watching> {
        self.watching
    }

    /// The same; from now on it watches nothing.
    pub fn take_watching(&mut self) -> Option<Watching> {
        (self.watched_keys, self.watched_bytes) = (0, 0);
        self.watching.take()
    }

    /// So many keys more are watched, on these shards; their texts take so many bytes.
    pub fn watch(&mut self, watching: Watching, keys: usize, bytes: usize) {
        debug_assert!(self.watching.is_none_or(|before| before.watcher == watching.watcher), "one name a transaction");
        let before = self.watching.map_or(0, |before| before.shards);
        self.watching = Some(Watching { shards: watching.shards | before, ..watching });
        self.watched_keys += keys;
        self.watched_bytes += keys * WATCHED_KEY_BYTES + bytes;
    }

    /// Gives back what an idle client does not need.
    pub fn trim(&mut self) {
        if !self.is_open || self.queued_bytes() == 0 {
            let kept = self.queue.take_if(|queue| !self.is_open || queue.arguments.len() > QUEUE_KEPT_BYTES);
            drop(kept);
            if self.is_open {
                self.queue.get_or_insert_default();
            }
        }
    }
}

impl Core {
    /// A command that has been checked, between MULTI and EXEC.
    #[inline(never)]
    pub(super) fn in_multi(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        key: Option<(u16, u64)>,
    ) -> Flow {
        if let Some(busy) = self.busy_with_script(entry).or_else(|| self.busy_elsewhere(entry, arguments)) {
            self.reject(connection, Some(entry), &busy.into());
            return Flow::Next;
        }
        if !entry.is_queued {
            let refusal =
                if self.gate.is_open() || connection.is_own() { None } else { self.refused_at_gate(connection, entry) };
            if let Some(refusal) = refusal {
                self.reject(connection, Some(entry), &refusal);
                return Flow::Next;
            }
            if entry.spec.name == "exec"
                && let Some(flow) = self.exec_has_to_wait(connection)
            {
                return flow;
            }
            return self.route(connection, entry, arguments, key);
        }
        if entry.spec.flags.has(Flags::NO_MULTI) {
            self.reject(connection, Some(entry), &"ERR Command not allowed inside a transaction".into());
            return Flow::Next;
        }
        if !self.gate.is_open()
            && !connection.is_own()
            && let Some(refusal) = self.refused_at_gate(connection, entry)
        {
            self.reject(connection, Some(entry), &refusal);
            return Flow::Next;
        }
        // Where memory is short nothing is queued, whatever it does.
        match self.room() {
            _ if connection.is_own() => {}
            Room::None => {
                self.reject(connection, Some(entry), &CommandError(OUT_OF_MEMORY.into()));
                return Flow::Next;
            }
            Room::Soon if entry.takes_memory => return self.without_room(connection).unwrap_or(Flow::NotRun),
            Room::Soon | Room::Enough => {}
        }
        let may_write = self.may_write(entry, arguments);
        if self.waits_for_pause(connection, |_| may_write) {
            return Flow::NotRun;
        }
        let queue = connection.transaction.queue.get_or_insert_default();
        queue.add(entry, arguments, key, may_write);
        queue.is_about_any_key |= self.is_about_any_key(entry, arguments);
        connection.figures.last_command = Some(entry);
        Reply::new(connection.output.tail(), connection.session.client.protocol).status("QUEUED");
        Flow::Next
    }

    /// Whether EXEC is to wait for memory, the end of a pause or of long units, or is refused for want of memory.
    fn exec_has_to_wait(&mut self, connection: &mut Connection) -> Option<Flow> {
        let queue = connection.transaction.queue.get_or_insert_default();
        let (takes_memory, may_write, is_about_any_key) = (queue.takes_memory, queue.may_write, queue.is_about_any_key);
        let mut needed = 0;
        if self.shared.scripting.has_long_scripts() {
            for (queued, arguments) in queue.commands.iter().zip(queue.arguments.commands()) {
                needed |= self.shards_needed(queued.entry, &arguments);
            }
        }
        if needed != 0
            && !connection.is_own()
            && !connection.transaction.is_broken
            && let Some(busy) = self.busy_on(needed)
        {
            self.abort(connection, busy.as_bytes());
            return Some(Flow::Next);
        }
        if takes_memory && !connection.transaction.is_broken {
            match self.room() {
                Room::Enough => {}
                Room::Soon => return self.without_room(connection),
                Room::None => {
                    self.abort(connection, OUT_OF_MEMORY);
                    return Some(Flow::Next);
                }
            }
        }
        let waits = self.waits_for_pause(connection, |_| may_write)
            || is_about_any_key && !connection.transaction.is_broken && self.waits_for_units(connection);
        waits.then_some(Flow::NotRun)
    }

    /// A command that cannot be run, nor queued; an EXEC of this kind ends its transaction, if there is one.
    #[cold]
    pub(super) fn reject(
        &mut self,
        connection: &mut Connection,
        entry: Option<&'static CommandEntry>,
        error: &CommandError,
    ) {
        connection.transaction.note_error();
        if let Some(entry) = entry {
            self.counters.calls.rejected[entry.id] += 1;
        }
        if entry.is_some_and(|entry| entry.spec.name == "exec") {
            return self.abort(connection, &error.0);
        }
        self.fail(connection, error);
    }

    /// EXEC is refused for this reason: the transaction is over.
    fn abort(&mut self, connection: &mut Connection, reason: &[u8]) {
        let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
        let text = [b"EXECABORT Transaction discarded because of: ", reason].concat();
        self.fail(connection, &CommandError(text.into()));
        self.discard(connection);
    }

    /// DISCARD, and whatever comes to the same: nothing is queued or watched any more.
    pub fn discard(&mut self, connection: &mut Connection) {
        let (queue, watching) = connection.transaction.take();
        connection.transaction.give_back(queue);
        self.unwatch(watching);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_keys_and_their_shards_add_up_until_the_end() {
        let mut transaction = Transaction::default();
        let watcher = Watcher(7);
        transaction.watch(Watching { watcher, shards: 1 << 3 }, 2, 10);
        transaction.watch(Watching { watcher, shards: 1 << 1 }, 0, 0);
        assert_eq!((transaction.watched_keys(), transaction.bytes()), (2, 2 * WATCHED_KEY_BYTES + 10));
        assert_eq!(transaction.take_watching(), Some(Watching { watcher, shards: 0b1010 }));
        assert_eq!((transaction.watched_keys(), transaction.bytes()), (0, 0));
    }

    #[test]
    fn a_queue_is_given_back_empty_and_unusual_memory_is_not_kept() {
        let mut transaction = Transaction::default();
        transaction.note_error();
        assert!(!transaction.is_broken(), "outside of MULTI an error breaks nothing");
        transaction.open();
        transaction.note_error();
        assert_eq!((transaction.queued(), transaction.is_broken()), (Some(0), true));
        let queue = transaction.queue.as_mut().expect("open");
        queue.arguments.add(&[b"SET", &vec![0; 1 << 20]]);
        let (queue, _) = transaction.take();
        transaction.give_back(queue);
        assert_eq!((transaction.queued(), transaction.queued_bytes(), transaction.is_broken()), (None, 0, false));
        transaction.trim();
        assert!(transaction.queue.is_none());
    }
}
