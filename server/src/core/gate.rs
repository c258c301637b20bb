//! What keeps all commands of a kind from running, whoever sends them.

use crate::command_table::CommandEntry;
use torc_engine::command::Flags;

/// What keeps commands from running, other than themselves. Nothing nearly always: then it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate(u8);

impl Gate {
    const LOADING: u8 = 1;
    const UNSAVED: u8 = 2;
    const UNLOGGED: u8 = 4;

    /// Whether nothing does.
    #[inline]
    pub fn is_open(self) -> bool {
        self.0 == 0
    }

    fn set(&mut self, bit: u8, is_set: bool) {
        self.0 = if is_set { self.0 | bit } else { self.0 & !bit };
    }

    /// The data are being loaded.
    pub fn set_loading(&mut self, is_loading: bool) {
        self.set(Self::LOADING, is_loading);
    }

    /// Whether they are.
    pub fn is_loading(self) -> bool {
        self.0 & Self::LOADING != 0
    }

    /// What is written could not be saved.
    pub fn set_unsaved(&mut self, is_unsaved: bool) {
        self.set(Self::UNSAVED, is_unsaved);
    }

    /// What is written cannot be logged.
    #[inline]
    pub fn set_unlogged(&mut self, is_unlogged: bool) {
        self.set(Self::UNLOGGED, is_unlogged);
    }

    /// Whether it cannot, and the command may write.
    pub fn refuses_unlogged(self, entry: &CommandEntry) -> bool {
        let may_write = entry.is_write || entry.is_script || entry.spec.flags.has(Flags::MAY_REPLICATE);
        self.0 & Self::UNLOGGED != 0 && may_write
    }

    /// The error of a command that may not run.
    #[cold]
    pub fn refusal(self, entry: &CommandEntry) -> Option<&'static str> {
        const LOADING: &str = "LOADING Redis is loading the dataset in memory";
        const UNSAVED: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.";
        if self.is_loading() && !entry.spec.flags.has(Flags::LOADING) {
            return Some(LOADING);
        }
        let may_write = entry.is_write || entry.is_script || entry.spec.flags.has(Flags::MAY_REPLICATE);
        (self.0 & Self::UNSAVED != 0 && may_write).then_some(UNSAVED)
    }
}
