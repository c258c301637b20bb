//! A position in the global order of keys.
//!
//! ```text
//!   63            50 49                                  0
//!   ┌───────────────┬─────────────────────────────────────┐
//!   │ slot: 14 bits │ first 50 bits of the key's position │
//!   └───────────────┴─────────────────────────────────────┘
//! ```
//!
//! Keys are ordered by slot, then by *position*, which is their hash with its bits reversed. Pages of a slot's table hold
//! intervals of positions and a walk stops only between pages, so it never splits keys that are equal in 50 bits. The
//! number says nothing of shards or table sizes: a cursor stays good whatever grows, shrinks or moves. Zero is both the
//! start and, as an answer, the end.

use super::slot::SLOTS;

const PREFIX_BITS: u32 = 50;

/// Where a SCAN goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ScanCursor(u64);

impl ScanCursor {
    /// The start; as an answer, the end.
    pub const START: Self = Self(0);

    /// From the number a client sent. Every number is a valid position.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number to send to a client.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The slot in which the walk goes on.
    pub const fn slot(self) -> u16 {
        (self.0 >> PREFIX_BITS) as u16
    }

    /// The beginning of a slot; past the last one this is the end.
    pub const fn at_slot(slot: usize) -> Self {
        if slot >= SLOTS { Self::START } else { Self((slot as u64) << PREFIX_BITS) }
    }

    /// The cursor of a position in a slot.
    pub(super) const fn new(slot: u16, position: u64) -> Self {
        Self((slot as u64) << PREFIX_BITS | position >> (64 - PREFIX_BITS))
    }

    /// The lowest position of keys still to come in [`ScanCursor::slot`].
    pub(super) const fn position(self) -> u64 {
        self.0 << (64 - PREFIX_BITS)
    }
}
