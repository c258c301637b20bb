//! A script that runs for long: the shard is its own meanwhile, and who asks for something hears so after a time.

use super::Core;
use crate::command_table::CommandEntry;
use crate::mailbox::Request;
use torc_engine::command::Flags;

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
        const SCRIPT: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        const FUNCTION: &str =
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
        let since_ns = self.script_hold.since_ns?;
        let after_ns = self.settings.busy_after_ns;
        let is_busy = after_ns > 0 && self.clock.monotonic_ns.saturating_sub(since_ns) >= after_ns;
        if !is_busy || entry.spec.flags.has(Flags::ALLOW_BUSY) {
            return None;
        }
        let running = self.shared.scripting.running();
        let is_function =
            running.iter().any(|running| running.shards & 1 << self.index != 0 && running.function.is_some());
        Some(if is_function { FUNCTION } else { SCRIPT })
    }

    /// Before a script begins: whether memory is out is decided once for all that it does.
    #[inline]
    pub(super) fn prepare_script(&mut self, entry: &CommandEntry) {
        if entry.is_script {
            let is_out = !self.has_room();
            self.scripting.is_memory_out.set(is_out);
        }
    }
}
