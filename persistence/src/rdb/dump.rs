//! The payload of DUMP and RESTORE: a value by itself, sealed.
//!
//! ```text
//!   kind: 1   value   version: 2, little endian   CRC-64 of all before: 8, little endian
//! ```

use super::decode::{self, Decoded, Target};
use super::encode::{self, Readers, View};
use super::input::Input;
use super::output::Output;
use super::{Dialect, Malformed, Result, Version};
use crate::crc64;
use crate::lzf::Compressor;
use torc_engine::keyspace::Value;

/// Bytes behind the value.
const FOOTER_BYTES: usize = 2 + 8;

/// A value as DUMP answers it.
pub fn write(value: &Value, readers: Readers, compressor: Option<&mut Compressor>) -> Vec<u8> {
    let view = View::of(value);
    let plan = encode::plan(view, readers);
    let mut bytes = vec![plan.kind];
    encode::value(view, plan, &mut Output { bytes: &mut bytes, compressor });
    seal(&mut bytes, plan.version.max(readers.version));
    bytes
}

/// Puts version and checksum behind what a payload is about.
pub(super) fn seal(bytes: &mut Vec<u8>, version: Version) {
    bytes.extend_from_slice(&version.0.to_le_bytes());
    let sum = crc64::of(bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// What a payload is about, and who wrote it; none if version or checksum are wrong.
pub(super) fn open(payload: &[u8]) -> Option<(&[u8], Dialect)> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER_BYTES)?)?;
    let version = Version(u16::from_le_bytes(*footer.first_chunk()?));
    let sum = u64::from_le_bytes(*footer.last_chunk()?);
    let dialect = match version {
        Version(1..) if version <= Version::REDIS_MAX => Dialect::Redis,
        _ if version >= Version::VALKEY_MIN && version <= Version::VALKEY_MAX => Dialect::Valkey,
        _ => return None,
    };
    (crc64::is_skipped() || sum == crc64::of(&payload[..payload.len() - 8])).then_some((body, dialect))
}

/// The value of a payload; none if version or checksum are wrong.
pub fn read(payload: &[u8], target: Target<'_>) -> Option<Result<Decoded>> {
    let (body, dialect) = open(payload)?;
    Some(value(body, Target { dialect, ..target }))
}

fn value(body: &[u8], target: Target<'_>) -> Result<Decoded> {
    let mut input = Input::new(body);
    let kind = input.byte()?;
    let decoded = decode::value(kind, &mut input, target)?;
    if input.left() > 0 {
        return Err(Malformed::Invalid("bytes behind the value"));
    }
    Ok(decoded)
}
