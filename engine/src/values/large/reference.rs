//! References to blobs among the bytes of a leaf.
//!
//! A [`Blob`] is a pointer of alignment one: it may stand at any byte. Who writes one into bytes gives its reference to
//! them; each copy of the bytes must count ([`retain`]), and each end of bytes give up ([`release`]), every reference in
//! them once.

use crate::values::{Blob, StringRef};

/// Bytes that a reference takes.
pub(super) const REFERENCE_BYTES: usize = size_of::<Blob>();

/// Puts a reference into bytes.
pub(super) fn write(blob: Blob, into: &mut [u8]) {
    assert!(into.len() >= REFERENCE_BYTES);
    // SAFETY: there is room, and a blob needs no alignment.
    unsafe { into.as_mut_ptr().cast::<Blob>().write(blob) };
}

/// Puts a text into a block of its own, unless it has one, and a reference into bytes; the heap bytes of the block.
pub(super) fn write_text(text: StringRef<'_>, into: &mut [u8]) -> usize {
    let blob = match text {
        StringRef::Shared(blob) => blob.clone(),
        text => text.with_bytes(Blob::new),
    };
    let heap_bytes = blob.heap_bytes();
    write(blob, into);
    heap_bytes
}

/// The blob that bytes refer to.
///
/// # Safety
/// The bytes begin with a reference that was put there and has not been released.
#[inline]
pub(super) unsafe fn read(from: &[u8]) -> &Blob {
    assert!(from.len() >= REFERENCE_BYTES);
    // SAFETY: by the caller's promise; a blob needs no alignment.
    unsafe { &*from.as_ptr().cast::<Blob>() }
}

/// Counts the reference in bytes that were copied.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn retain(copied: &[u8]) {
    // SAFETY: by the caller's promise.
    std::mem::forget(unsafe { read(copied) }.clone());
}

/// Takes the reference out of bytes, which must not be used for one afterwards.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn take(from: &[u8]) -> Blob {
    assert!(from.len() >= REFERENCE_BYTES);
    // SAFETY: by the caller's promise; a blob needs no alignment.
    unsafe { from.as_ptr().cast::<Blob>().read() }
}
