//! Data structures of values; they know no protocol.

pub mod blob;
pub mod string;

pub use blob::Blob;
pub use string::{OwnedString, StringRef};
