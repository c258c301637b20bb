//! COMMAND, over the whole table.

use super::SessionCommand;

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[];
