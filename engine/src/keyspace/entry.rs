//! What a caller sees of a key's value, and how it travels.

use crate::command::Milliseconds;
use crate::values::string::EMBEDDED_BYTES_MAX;
use crate::values::{OwnedString, StringRef};

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

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) value: OwnedString,
    pub(super) expires_at: Option<Milliseconds>,
    pub(super) clock: u32,
}

/// A key's value in its table.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub(super) record: &'a Record,
}

impl<'a> Entry<'a> {
    /// The string, if it is one.
    pub fn string(&self) -> Option<StringRef<'a>> {
        Some(self.record.value.as_ref())
    }

    /// When it expires.
    pub fn expires_at(&self) -> Option<Milliseconds> {
        self.record.expires_at
    }

    /// The answer of TYPE.
    pub fn type_name(&self) -> &'static str {
        "string"
    }

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        match &self.record.value {
            OwnedString::Integer(_) => "int",
            OwnedString::Small { bytes, raw: false } if bytes.len() <= EMBEDDED_BYTES_MAX => "embstr",
            OwnedString::Small { .. } | OwnedString::Large(_) => "raw",
        }
    }

    /// Whole seconds since the last access that counted as one.
    pub fn idle_seconds(&self, now: Milliseconds) -> u64 {
        (((now / 1000) as u32).wrapping_sub(self.record.clock) & 0xff_ffff) as u64
    }

    /// The logarithmic access counter, as OBJECT FREQ shows it.
    pub fn frequency(&self, _now: Milliseconds) -> u8 {
        0
    }

    /// The value for another place; a large one is shared.
    pub fn to_owned(&self) -> OwnedEntry {
        OwnedEntry {
            value: Value::String(self.record.value.clone()),
            expires_at: self.record.expires_at,
            clock: Some(self.record.clock),
        }
    }

    /// Estimate of the memory that key and value take, in bytes (MEMORY USAGE).
    pub fn memory_bytes(&self) -> usize {
        self.record.value.as_ref().len() + 16
    }
}
