//! How much memory reading takes, held against the length of what is read.
//!
//! A text may stand compressed, and LZF makes at most 88 bytes of one; elements of packed bytes have two bytes at least, and
//! what is made of them is some dozen bytes each. So the bound is a large factor of the input, and a constant; but it is one.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that a reader may take for each byte that it reads.
pub const FACTOR: usize = 88 * 32;
/// Bytes that it may take for nothing.
pub const CONSTANT: usize = 1 << 20;

/// Runs a reader, and looks at what it took.
pub fn bounded<T>(input_bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = read();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let allowed = input_bytes * FACTOR + CONSTANT;
    assert!(taken <= allowed, "{taken} bytes of memory for {input_bytes} bytes of input, more than {allowed}");
    result
}
