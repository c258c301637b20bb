//! A collection too large for one run of bytes: a tree of chunks, shared by reference count within its thread.
//!
//! Each variant answers the same few questions, so that the keyspace handles all of them alike: what it is called, how
//! many bytes of heap it takes (kept up to date by the tree itself), how it is freed in bounded steps, and how it travels
//! to another thread. A clone is a frozen view of the whole, made in constant time; the next change of either copies only
//! the chunks on its path.

use super::packed::Type;

/// A large collection. A further one is a variant here and an arm in each method below.
#[derive(Clone, Debug)]
pub enum Object {}

impl Object {
    /// The type.
    pub fn kind(&self) -> Type {
        match *self {}
    }

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        match *self {}
    }

    /// Bytes of heap that it takes, its own box not counted.
    pub fn heap_bytes(&self) -> usize {
        match *self {}
    }

    /// Frees about `budget` elements of it; whether nothing is left. Chunks that others share are only let go.
    pub fn free_slice(&mut self, _budget: usize) -> bool {
        match *self {}
    }

    /// The whole in a form that may go to another thread.
    pub fn to_travelling(&self) -> Travelling {
        match *self {}
    }
}

/// An [`Object`] on its way to another thread: nothing in it is shared.
#[derive(Clone, Debug)]
pub enum Travelling {}

impl Travelling {
    /// The collection again.
    pub fn arrive(self) -> Object {
        match self {}
    }
}
