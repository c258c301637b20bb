//! A hint to the processor to bring a cache line near while other work goes on.

/// Asks for the cache line of `target`'s first byte.
#[inline(always)]
pub fn line<T: ?Sized>(target: &T) {
    address(std::ptr::from_ref(target).cast());
}

/// Asks for the cache line of an address; nothing is read, so any address will do.
#[inline(always)]
pub fn address(target: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can see, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(target.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
