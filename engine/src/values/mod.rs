//! Data structures of values; they know no protocol. The one place of the engine, with the inbox, that uses `unsafe`.
//!
//! ```text
//!   Table ──> Directory ──> Page ──> packed entries ──> Blob    long texts, long keys, packed collections
//!                                         │       └───> Object  large collections: trees of chunks (large)
//!                                         └ texts and small packed collections stand in the page itself
//!   packed formats of collections: listpack, intset
//! ```

pub mod blob;
pub mod collection;
mod directory;
pub mod encodings;
pub mod field_times;
pub mod hash;
pub mod intset;
pub mod large;
pub mod list;
pub mod listpack;
pub mod object;
pub mod packed;
pub mod page;
pub mod prefetch;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod table;

pub use blob::Blob;
pub use collection::{Collection, NewCollection};
pub use encodings::Encodings;
pub use intset::IntegerSet;
pub use listpack::{Element, Encoded, Listpack, Packed};
pub use object::Object;
pub use packed::{Content, Draft, Form, INLINE_BYTES_MAX, INLINE_COLLECTION_BYTES_MAX, Leftover, PackedEntry, Type};
pub use page::{Ledger, NEVER_S, Page};
pub use string::{OwnedString, StringRef};
pub use table::{Place, Table};
