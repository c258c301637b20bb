//! Payloads of FUNCTION RESTORE.

use crate::memory::bounded;
use crate::value::sealed;
use torc_persistence::rdb::functions;

/// Reads what stands in front of version and checksum; what is accepted is written, and read as the same.
pub fn check(body: &[u8]) {
    let payload = sealed(body);
    let Ok(codes) = bounded(payload.len(), || functions::read(&payload)) else { return };
    let again = functions::write(codes.iter().map(Vec::as_slice), std::iter::empty());
    assert_eq!(functions::read(&again), Ok(codes), "libraries do not come back");
}
