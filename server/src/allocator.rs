//! The process's allocator: mimalloc, with a count of the bytes that each thread has taken and not given back.
//!
//! ```text
//!   thread    ── takes, gives ──>  its own counter, a cache line (two, for the prefetcher) of its own, a plain addition
//!   anybody   ── adds all up ──>   used_memory; what one thread took and another gave back cancels out
//! ```
//!
//! What counts is what mimalloc really sets aside: the size class, found by arithmetic. To ask the allocator for it would
//! read the page's header at each call.
//!
//! A counter stays when its thread ends, as what the thread took may live on. Threads beyond [`COUNTERS`] share one.
//!
//! This is a room of `unsafe` code (`ARCHITECTURE.md`): an allocator cannot be written without.
#![allow(unsafe_code)]

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// Threads with a counter of their own: all shards that there may be, and those beside them.
const COUNTERS: usize = 192;

/// Blocks above this are whole pieces of the system's memory.
const LARGE_BYTES_MIN: usize = 512 << 10;
/// In such steps.
const LARGE_STEP_BYTES: usize = 64 << 10;

#[derive(Debug)]
#[repr(align(128))]
struct Counter {
    bytes: AtomicI64,
    /// A shard tells others of it itself.
    is_published: AtomicBool,
}

impl Counter {
    const fn new() -> Self {
        Self { bytes: AtomicI64::new(0), is_published: AtomicBool::new(false) }
    }
}

static OWN: [Counter; COUNTERS] = [const { Counter::new() }; COUNTERS];
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static SHARED: Counter = Counter::new();

thread_local! {
    // Without a destructor, so that it is there as long as the thread.
    static COUNTER: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

/// The allocator, to be named as the global one.
#[derive(Debug)]
pub struct CountingAllocator;

#[inline]
fn count(bytes: i64) {
    COUNTER.with(|counter| match counter.get() {
        // Only this thread writes here: no need for an atomic addition.
        Some(own) => own.bytes.store(own.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed),
        None => count_as_newcomer(counter, bytes),
    });
}

#[cold]
fn count_as_newcomer(counter: &Cell<Option<&'static Counter>>, bytes: i64) {
    let own = OWN.get(TAKEN.fetch_add(1, Ordering::Relaxed));
    if own.is_none() {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
    counter.set(own);
    own.unwrap_or(&SHARED).bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// The bytes that the allocator sets aside for such a block.
#[inline]
fn block_bytes(size: usize, alignment: usize) -> i64 {
    // Words, and powers of two, come out aligned by themselves; others are asked for with room to be moved.
    let is_natural = alignment <= size_of::<usize>() || size.is_power_of_two() && size >= alignment;
    let needed = if is_natural { size } else { size + alignment - 1 };
    let class = if needed <= 8 {
        8
    } else if needed <= 128 {
        needed.next_multiple_of(16)
    } else if needed < LARGE_BYTES_MIN {
        // Four steps to each power of two.
        needed.next_multiple_of(1 << (usize::BITS - 3 - (needed - 1).leading_zeros()))
    } else {
        needed.next_multiple_of(LARGE_STEP_BYTES)
    };
    class as i64
}

// SAFETY: all calls go on to an allocator that keeps the contract; counting changes nothing of what it returns, and
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(block_bytes(layout.size(), layout.align()));
        // SAFETY: the caller's promises are those that mimalloc asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(block_bytes(layout.size(), layout.align()));
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-block_bytes(layout.size(), layout.align()));
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { MiMalloc.realloc(block, layout, new_size) };
        if !moved.is_null() {
            count(block_bytes(new_size, layout.align()) - block_bytes(layout.size(), layout.align()));
        }
        moved
    }
}

/// `mi_option_purge_delay` of mimalloc's header, which the binding does not name; in milliseconds.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Makes mimalloc give each page back to the system as it falls free: 64 KiB take 12 us, and 4 MiB, the most that one block
/// of up to 512 KiB can be the last of, 0.5 ms. So whoever frees sees on the clock what it takes. After a delay it would give back
/// at once all that fell free meanwhile, in the middle of a turn, and that has no bound: values do not go in the order in which
/// they came, so most pages of a large one fall free in the last moments (`bench/stalls.md`). To be called before there are threads.
pub fn give_memory_back_at_once() {
    // SAFETY: sets a number that mimalloc reads when a page falls free; nobody else does so now.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
}

/// Gives pages back to the system that lie whole within these bytes, which are zero then: so a block of many pages goes bit by
/// bit before it is freed.
pub fn forget_pages(bytes: &mut [u8]) {
    /// A multiple of whatever size pages have.
    const PAGES_BYTES: usize = 64 << 10;
    let skipped = bytes.as_ptr().align_offset(PAGES_BYTES);
    let length = bytes.len().saturating_sub(skipped) / PAGES_BYTES * PAGES_BYTES;
    if length > 0 {
        let whole = &mut bytes[skipped..skipped + length];
        // SAFETY: the bytes are ours alone, of the heap, which is private and anonymous memory: they read as zeros afterwards. If
        // the call fails they are what they were.
        unsafe { libc::madvise(whole.as_mut_ptr().cast(), length, libc::MADV_DONTNEED) };
    }
}

/// Gives back to the system whatever lies free among this thread's pages. Takes as long as there is to give back.
pub fn purge() {
    // SAFETY: works on the heap of the calling thread alone.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// What this thread has taken and not given back; negative where it gave back what others took.
#[inline]
pub fn thread_bytes() -> i64 {
    COUNTER.with(|counter| counter.get().map_or(0, |own| own.bytes.load(Ordering::Relaxed)))
}

/// Leaves this thread out of [`unpublished_bytes`]: it tells others itself.
pub fn publish_myself() {
    COUNTER.with(|counter| {
        if let Some(own) = counter.get() {
            own.is_published.store(true, Ordering::Relaxed);
        }
    });
}

/// Of all threads that do not tell others themselves.
pub fn unpublished_bytes() -> i64 {
    let own = OWN.iter().take(TAKEN.load(Ordering::Relaxed)).filter(|own| !own.is_published.load(Ordering::Relaxed));
    own.chain([&SHARED]).map(|counter| counter.bytes.load(Ordering::Relaxed)).sum()
}

/// Of all threads.
pub fn total_bytes() -> i64 {
    OWN.iter().chain([&SHARED]).map(|counter| counter.bytes.load(Ordering::Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_as_the_allocator_makes_them() {
        let allocator = CountingAllocator;
        let sizes = (1..3000).chain((3000..200_000).step_by(97)).chain([
            300_000,
            520_000,
            530_000,
            1 << 20,
            (3 << 20) + 1,
            20 << 20,
        ]);
        // With wider alignments it depends on the block at hand whether one of the next class is taken.
        for (size, alignment) in sizes.map(|size| (size, 1)) {
            let layout = Layout::from_size_align(size, alignment).expect("a layout");
            // SAFETY: the layout has a size; the block is given back with it.
            let usable = unsafe {
                let block = allocator.alloc(layout);
                let usable = MiMalloc.usable_size(block);
                allocator.dealloc(block, layout);
                usable
            };
            let counted = block_bytes(size, alignment) as usize;
            // Whole pieces of the system's memory have heads and tails of their own.
            let percent = if size < LARGE_BYTES_MIN { 1 } else { 8 };
            let close = counted.abs_diff(usable) * 100 <= usable * percent;
            assert!(close, "{size} bytes aligned to {alignment}: counted {counted}, usable {usable}");
        }
    }

    #[test]
    fn the_option_is_the_one_that_it_is_taken_for() {
        // SAFETY: as in `give_memory_back_at_once`; tests run in processes of their own.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "the default of a second, which no other option has");
        give_memory_back_at_once();
        assert_eq!(delay(), 0);
    }

    /// How many pages of the system are there of some bytes.
    fn resident_pages(from: usize, pages: usize) -> usize {
        let mut is_there = vec![0_u8; pages];
        let from = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the kernel writes a byte a page, and looks at nothing that is not mapped.
        let result = unsafe { libc::mincore(from, pages << 12, is_there.as_mut_ptr()) };
        assert_eq!(result, 0);
        is_there.iter().filter(|flags| **flags & 1 == 1).count()
    }

    #[test]
    fn a_page_goes_back_when_it_falls_free_and_not_with_others() {
        /// What mimalloc makes small blocks of, and of the system's pages.
        const PAGE_BYTES: usize = 64 << 10;
        const SYSTEM_PAGES: usize = PAGE_BYTES >> 12;
        give_memory_back_at_once();
        let allocator = CountingAllocator;
        let layout = Layout::from_size_align(112, 8).expect("a layout");
        let free = |address: usize| {
            // SAFETY: each block is given back once, with its layout.
            unsafe { allocator.dealloc(std::ptr::with_exposed_provenance_mut(address), layout) }
        };
        let mut blocks_of: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
        for _ in 0..100_000 {
            // SAFETY: the layout has a size.
            let address = unsafe { allocator.alloc_zeroed(layout) }.expose_provenance();
            blocks_of.entry(address / PAGE_BYTES).or_default().push(address);
        }
        // All but the last block of each page: none falls free.
        let last: Vec<usize> = blocks_of.values_mut().filter_map(Vec::pop).collect();
        blocks_of.values().flatten().for_each(|address| free(*address));
        let there = || last.iter().map(|at| resident_pages(at / PAGE_BYTES * PAGE_BYTES, SYSTEM_PAGES)).sum::<usize>();
        let begun = there();
        assert!(begun >= (last.len() - 2) * SYSTEM_PAGES, "{begun} of {}", last.len());
        let mut before = begun;
        for address in &last {
            free(*address);
            let now = there();
            assert!(
                before.saturating_sub(now) <= 2 * SYSTEM_PAGES,
                "{before} {now}: more than a page, and one that was kept for a while"
            );
            before = now;
        }
        // Some wait with others of their arena, more or fewer as the kernel pleases.
        assert!(before < begun / 2, "{before} of {begun} are left");
    }

    #[test]
    fn pages_that_are_forgotten_are_zero_and_those_around_them_stay() {
        let mut bytes = vec![7_u8; 300 << 10];
        forget_pages(&mut bytes[1..200 << 10]);
        assert!(bytes[200 << 10..].iter().chain(&bytes[..1]).all(|byte| *byte == 7));
        let count = |bytes: &[u8]| bytes.iter().map(|byte| usize::from(*byte == 0)).sum::<usize>();
        let zeros = count(&bytes);
        assert!(zeros >= 64 << 10 && zeros.is_multiple_of(64 << 10), "{zeros}");
        forget_pages(&mut bytes[..1000]);
        assert_eq!(count(&bytes), zeros);
    }

    #[test]
    fn what_one_thread_takes_and_another_gives_back_cancels_out() {
        let allocator = CountingAllocator;
        let layout = Layout::from_size_align(4096, 8).expect("a layout");
        let before = thread_bytes();
        // SAFETY: the layout has a size.
        let block = unsafe { allocator.alloc(layout) };
        let address = block.expose_provenance();
        assert_eq!(thread_bytes() - before, 4096);
        let there = std::thread::spawn(move || {
            let before = thread_bytes();
            // SAFETY: the block comes from this allocator and is given back once, with its layout.
            unsafe { CountingAllocator.dealloc(std::ptr::with_exposed_provenance_mut(address), layout) };
            thread_bytes() - before
        });
        assert_eq!(there.join().expect("no panic"), -4096);
        // SAFETY: as above; the block grows twice.
        unsafe {
            let block = allocator.alloc_zeroed(layout);
            let block = allocator.realloc(block, layout, 8192);
            assert_eq!(thread_bytes() - before, 4096 + 8192);
            allocator.dealloc(block, Layout::from_size_align(8192, 8).expect("a layout"));
        }
        assert_eq!(thread_bytes() - before, 4096);
    }
}
