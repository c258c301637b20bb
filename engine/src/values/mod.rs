//! Data structures of values; they know no protocol. The one place of the engine, with the inbox, that uses `unsafe`.
//!
//! ```text
//!   Table ──> Directory ──> Page ──> packed entries ──> Blob (long texts and long keys)
//! ```

pub mod blob;
mod directory;
pub mod large;
pub mod packed;
pub mod page;
pub mod prefetch;
pub mod string;
pub mod table;

pub use blob::Blob;
pub use packed::{Content, Draft, INLINE_BYTES_MAX, PackedEntry};
pub use page::{Ledger, NEVER_S, Page};
pub use string::{OwnedString, StringRef};
pub use table::{Place, Table};
