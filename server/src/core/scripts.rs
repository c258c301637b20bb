//! A script that runs for long: the shard is its own meanwhile, and who asks for something hears so after a time.

use super::Core;
use super::batches::ShardSet;
use crate::command_table::{CommandEntry, KeyPlan};
use crate::mailbox::Request;
use crate::scripting::{Running, shards_of_command};
use torc_engine::command::Flags;
use torc_engine::shard::ClientContext;
use torc_scripting::FunctionFlags;

const BUSY_SCRIPT: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

/// Since when a script holds the shard, in nanoseconds; 0 if none does.
#[derive(Debug, Default)]
pub(super) struct ScriptHold {
    since_ns: Option<u64>,
}

impl Core {
    /// Whether the script that has just run here was undone for want of other shards: then it is on its way again, and what
    /// others call it is told.
    pub(super) fn script_has_missed(&mut self, origin: usize, request: Request, arguments: &[&[u8]]) -> bool {
        self.tell_script_lines();
        self.tell_script_denials(origin, request.connection);
        let missed = self.scripting.missed.take();
        let has_missed = missed.is_some();
        if let Some(missed) = missed {
            self.run_script_again(origin, request, missed, arguments);
        }
        has_missed
    }

    /// A script goes on in slices, and holds the shard.
    pub(super) fn script_begins(&mut self) {
        self.script_hold.since_ns = Some(self.clock.monotonic_ns);
    }

    /// It is over.
    pub(super) fn script_is_over(&mut self) {
        self.script_hold.since_ns = None;
    }

    /// What a command is told while a script has run for longer than clients should wait. Before that, it waits in line.
    #[inline]
    pub(super) fn busy_with_script(&self, entry: &CommandEntry) -> Option<&'static str> {
        let since_ns = self.script_hold.since_ns?;
        let after_ns = self.settings.busy_after_ns;
        let is_busy = after_ns > 0 && self.clock.monotonic_ns.saturating_sub(since_ns) >= after_ns;
        if !is_busy || entry.spec.flags.has(Flags::ALLOW_BUSY) {
            return None;
        }
        let running = self.shared.scripting.running();
        let is_function =
            running.iter().any(|running| running.shards & 1 << self.index != 0 && running.function.is_some());
        Some(if is_function { BUSY_FUNCTION } else { BUSY_SCRIPT })
    }

    /// The same of a command that needs another shard, which a script has held for so long. Said here, before any part of the
    /// command is on its way: what is for several shards could not be taken back.
    #[inline]
    pub(super) fn busy_elsewhere(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Option<&'static str> {
        if !self.shared.scripting.has_long_scripts() || entry.spec.flags.has(Flags::ALLOW_BUSY) {
            return None;
        }
        self.busy_on(self.shards_needed(entry, arguments))
    }

    /// The shards whose keys a command looks at.
    pub(super) fn shards_needed(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> ShardSet {
        let is_about_keys = entry.keys != KeyPlan::None || entry.spec.spread.is_on_all_shards();
        if is_about_keys { shards_of_command(&self.shared, self.index, entry, arguments) } else { 0 }
    }

    /// What is said of shards of which a script has held one for longer than clients should wait.
    pub(super) fn busy_on(&self, shards: ShardSet) -> Option<&'static str> {
        let after_ms = (self.settings.busy_after_ns / 1_000_000) as i64;
        let running = self.shared.scripting.running();
        let is_long = |running: &Running| after_ms > 0 && self.clock.wall_ms - running.started_ms >= after_ms;
        let holder = running.iter().find(|running| running.shards & shards != 0 && is_long(running))?;
        Some(if holder.function.is_some() { BUSY_FUNCTION } else { BUSY_SCRIPT })
    }

    /// Before a script begins: whether memory is out is decided once for all that it does, and for whom it runs.
    #[inline]
    pub(super) fn prepare_script(&mut self, entry: &CommandEntry, client: ClientContext, user: u64) {
        if entry.is_script {
            self.scripting.user.replace(self.user_of_id(user));
            let is_out = !self.has_room();
            self.scripting.is_memory_out.set(is_out);
            self.scripting.commands_run.set(0);
            self.scripting.client.set(client);
            if client.tracks {
                // It may change what it has read before anybody knows of that.
                self.shard.keyspace.want_changes(true);
            }
        }
    }

    /// Whether a command waits for the end of a pause of writes. Scripts may say that they only read.
    #[inline]
    pub(super) fn may_write(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        let may_write = entry.is_write || entry.spec.flags.has(Flags::MAY_REPLICATE);
        may_write && !(entry.is_script && self.says_no_writes(entry, arguments))
    }

    #[cold]
    fn says_no_writes(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        self.scripting.flags_of(entry.spec.name, arguments).is_some_and(FunctionFlags::no_writes)
    }
}
