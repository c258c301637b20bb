//! Bytes on disk: how values, and whole data sets, are written so that Redis and Valkey read them, and read as they write them.
//!
//! ```text
//!   crc64, lzf ──> rdb::{input, output}     lengths, texts, numbers
//!                        │
//!                        ├──> rdb::decode, rdb::encode     one value  <──> the engine's
//!                        │        └── rdb::legacy          the packed forms of old servers
//!                        ├──> rdb::extent                  where a value ends, without decoding it
//!                        ├──> rdb::dump                    one value with version and checksum: DUMP, RESTORE
//!                        ├──> rdb::functions               libraries by themselves: FUNCTION DUMP, RESTORE
//!                        ├──> rebuild                      the commands that make one value again
//!                        └──> rdb::file                    a whole file: read piece by piece, written piece by piece
//!
//!   words ──> aof::manifest                     which files a log consists of
//!             aof::frames, aof::text            commands in them: found in pieces, written
//! ```
//!
//! Nothing here opens a file, reads a clock or knows a socket. Whatever comes from outside is looked at before it is believed: a
//! length is held against the bytes that are there before anything is allocated for it, and no input makes this code panic.
//! The format itself is told in `FORMAT.md`.

pub mod aof;
pub mod crc64;
pub mod lzf;
pub mod rdb;
pub mod rebuild;
pub mod words;
