//! Expiry times as clients write them: seconds or milliseconds, from now or since the epoch.

use super::errors::{NOT_INTEGER, is};
use crate::command::{CommandError, Milliseconds, parse_integer};

/// How the number of an expiry option is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    seconds: bool,
    absolute: bool,
}

impl Unit {
    /// Seconds from now.
    pub(crate) const EX: Self = Self { seconds: true, absolute: false };
    /// Milliseconds from now.
    pub(crate) const PX: Self = Self { seconds: false, absolute: false };
    /// Seconds since the epoch.
    pub(crate) const EXAT: Self = Self { seconds: true, absolute: true };
    /// Milliseconds since the epoch.
    pub(crate) const PXAT: Self = Self { seconds: false, absolute: true };

    /// The unit that an option's word names.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        [("EX", Self::EX), ("PX", Self::PX), ("EXAT", Self::EXAT), ("PXAT", Self::PXAT)]
            .into_iter()
            .find_map(|(name, unit)| is(word, name).then_some(unit))
    }
}

/// An expiry time that has not been checked: commands give its errors late, after those of the other options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawTime<'a> {
    /// How the number is meant.
    pub(crate) unit: Unit,
    /// The number.
    pub(crate) text: &'a [u8],
}

impl RawTime<'_> {
    /// The time as milliseconds since the epoch, for commands that refuse zero and below (SET, GETEX, MSETEX, INCREX).
    pub(crate) fn positive(self, now: Milliseconds, command: &str) -> Result<Milliseconds, CommandError> {
        let number = parse_integer(self.text).ok_or(CommandError::from(NOT_INTEGER))?;
        if number <= 0 {
            return Err(invalid(command));
        }
        self.scale(number, now).ok_or_else(|| invalid(command))
    }

    /// The same for EXPIRE and its kin, where a time that is over removes the key.
    pub(crate) fn any(self, now: Milliseconds, command: &str) -> Result<Milliseconds, CommandError> {
        let number = parse_integer(self.text).ok_or(CommandError::from(NOT_INTEGER))?;
        self.scale(number, now).ok_or_else(|| invalid(command))
    }

    fn scale(self, number: i64, now: Milliseconds) -> Option<Milliseconds> {
        let milliseconds = if self.unit.seconds { number.checked_mul(1000)? } else { number };
        if self.unit.absolute { Some(milliseconds) } else { milliseconds.checked_add(now) }
    }
}

#[cold]
fn invalid(command: &str) -> CommandError {
    format!("ERR invalid expire time in '{command}' command").into()
}
