//! What a caller sees of a key's value, and how it travels.

use super::clock::{AccessPolicy, idle_seconds};
use crate::command::Milliseconds;
use crate::values::string::EMBEDDED_BYTES_MAX;
use crate::values::{OwnedString, PackedEntry, StringRef};

/// A value outside of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    String(OwnedString),
}

impl Value {
    /// A string as SET stores it.
    pub fn string(text: &[u8]) -> Self {
        Self::String(OwnedString::new(text))
    }
}

/// A value with what belongs to it, outside of a table. `Send`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEntry {
    /// The value.
    pub value: Value,
    /// When it expires.
    pub expires_at: Option<Milliseconds>,
    /// The access clock it had, if it comes from a table.
    pub(super) clock: Option<u32>,
}

impl OwnedEntry {
    /// A new value.
    pub fn new(value: Value, expires_at: Option<Milliseconds>) -> Self {
        Self { value, expires_at, clock: None }
    }
}

/// A key's value in its table.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    packed: PackedEntry<'a>,
    policy: AccessPolicy,
}

impl<'a> Entry<'a> {
    #[inline]
    pub(super) fn new(packed: PackedEntry<'a>, policy: AccessPolicy) -> Self {
        Self { packed, policy }
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(&self) -> Option<StringRef<'a>> {
        Some(self.packed.string())
    }

    /// When it expires.
    #[inline]
    pub fn expires_at(&self) -> Option<Milliseconds> {
        self.packed.expires_at()
    }

    /// The answer of TYPE.
    pub fn type_name(&self) -> &'static str {
        "string"
    }

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        match self.packed.string() {
            StringRef::Integer(_) => "int",
            StringRef::Bytes(bytes) if bytes.len() <= EMBEDDED_BYTES_MAX && !self.packed.is_raw() => "embstr",
            StringRef::Bytes(_) | StringRef::Shared(_) => "raw",
        }
    }

    /// Whole seconds since the last access that counted as one.
    pub fn idle_seconds(&self, now: Milliseconds) -> u64 {
        idle_seconds(self.packed.clock(), now)
    }

    /// The logarithmic access counter, as OBJECT FREQ shows it; means something under [`AccessPolicy::Frequency`] only.
    pub fn frequency(&self, now: Milliseconds) -> u8 {
        self.policy.counter(self.packed.clock(), now)
    }

    /// The value for another place; a large one is shared, not copied.
    pub fn to_owned(&self) -> OwnedEntry {
        OwnedEntry {
            value: Value::String(self.packed.to_owned_string()),
            expires_at: self.packed.expires_at(),
            clock: Some(self.packed.clock()),
        }
    }

    /// The memory that key and value take, in bytes (MEMORY USAGE): its share of the page and what lies outside.
    pub fn memory_bytes(&self) -> usize {
        // Tag and distance, and the mean share of header, page pointer and rounding.
        const SHARE_BYTES: usize = 3 + 7;
        self.packed.packed_len() + SHARE_BYTES + self.packed.heap_bytes()
    }
}
