//! Receive buffers that the kernel picks from when data is there, so that an idle connection holds none.
//!
//! ```text
//!  one mapping:  | ring of {address, length, id} | buffer 0 | buffer 1 | ... | buffer count-1 |
//!
//!      in the ring ──(kernel fills one)──> lent, by BufferId ──(recycle)──> in the ring
//!
//!  ids from count on are spares: ordinary allocations for a receive that found the ring empty
//!      free ──(take_spare)──> armed ──(kernel fills it)──> lent ──(recycle)──> free
//! ```
//!
//! Invariants:
//! 1. A buffer is in exactly one state. Only the kernel writes to one that is in the ring or armed; nobody writes to one
//!    that is lent. So `received` may hand out a shared slice of a lent buffer, and of no other.
//! 2. `length_by_id[id]` is `NOT_LENT` but while the buffer is lent; then it is how much of it the kernel filled.
//! 3. The mapping and the spares live until the ring is gone and nothing is under way (the driver's `Drop` sees to it).

use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use super::super::driver::BufferId;

/// In `length_by_id`: the buffer is not lent.
const NOT_LENT: u32 = u32::MAX;
/// Spare allocations that are kept when they come back; more are freed.
const SPARES_KEPT: usize = 8;
const PAGE_BYTES: usize = 4096;

/// Memory of the ring and its buffers. Straight from the system, as the ring itself: it is no memory that data takes, and
/// does not count for `maxmemory`.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Zeroed, and on a page's boundary.
    fn new(bytes: usize) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping wherever the kernel likes touches nothing that is there.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }
}

impl Mapping {
    /// The ring of entries, which is where the mapping starts.
    #[allow(clippy::cast_ptr_alignment)] // the mapping is page-aligned
    fn ring(&self) -> *mut BufRingEntry {
        self.start.as_ptr().cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `new`; invariant 3 says that the kernel is done with it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The buffers of one driver.
pub(super) struct Buffers {
    mapping: Mapping,
    /// How many buffers the ring has; a power of two.
    count: u16,
    buffer_bytes: u32,
    /// The ring's tail as we last published it.
    tail: u16,
    /// How many are in the ring, as far as we have seen.
    in_ring_count: u16,
    length_by_id: Vec<u32>,
    /// The spare with id `count + i` is at `i`.
    spares: Vec<Option<Box<[u8]>>>,
    spares_free: Vec<u16>,
    spares_max: u16,
}

impl Buffers {
    /// The group that receives name.
    pub(super) const GROUP: u16 = 0;

    /// Allocates the buffers and puts all of them into the ring; the kernel learns of it with [`Self::register`].
    pub(super) fn new(count: u16, buffer_bytes: u32, spares_max: u16) -> io::Result<Self> {
        let has_room = count.checked_add(spares_max).is_some();
        if !count.is_power_of_two() || count > 1 << 15 || buffer_bytes == 0 || !has_room {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "receive buffers: count must be a power of two"));
        }
        let mapping = Mapping::new(ring_bytes(count) + usize::from(count) * buffer_bytes as usize)?;
        let mut this = Self {
            mapping,
            count,
            buffer_bytes,
            tail: 0,
            in_ring_count: 0,
            length_by_id: vec![NOT_LENT; usize::from(count)],
            spares: Vec::new(),
            spares_free: Vec::new(),
            spares_max,
        };
        for id in 0..count {
            this.put_into_ring(id);
        }
        Ok(this)
    }

    /// Tells the kernel.
    pub(super) fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        let address = self.mapping.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, holds `count` entries, and outlives the ring (invariant 3).
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, Self::GROUP, 0) }
    }

    fn buffer_start(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count);
        let offset = ring_bytes(self.count) + usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: `id < count`, so the offset is inside of the mapping.
        unsafe { self.mapping.start.as_ptr().add(offset) }
    }

    fn put_into_ring(&mut self, id: u16) {
        let entries = self.mapping.ring();
        let slot = usize::from(self.tail & (self.count - 1));
        let address = self.buffer_start(id) as u64;
        self.tail = self.tail.wrapping_add(1);
        self.in_ring_count += 1;
        // SAFETY: `slot < count` entries of the mapping. The kernel reads entries only up to the tail, and at most
        // `count` buffers exist, so it is not reading this one; the tail is published after the entry is written. The
        // tail shares memory with a reserved field of entry 0, which we never write but through it.
        unsafe {
            let entry = &mut *entries.add(slot);
            entry.set_addr(address);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// How many buffers the kernel still has.
    pub(super) fn in_ring_count(&self) -> u16 {
        self.in_ring_count
    }

    /// The kernel put `length` bytes into the buffer: it is lent now.
    pub(super) fn lend(&mut self, id: u16, length: u32) -> BufferId {
        debug_assert_eq!(self.length_by_id[usize::from(id)], NOT_LENT);
        if id < self.count {
            self.in_ring_count -= 1;
        }
        self.length_by_id[usize::from(id)] = length.min(self.buffer_bytes);
        BufferId(id)
    }

    /// The kernel gave a buffer back without data in it.
    pub(super) fn return_unused(&mut self, id: u16) {
        if id < self.count {
            self.in_ring_count -= 1;
            self.put_into_ring(id);
        } else {
            self.free_spare(id);
        }
    }

    /// The filled part of a lent buffer.
    pub(super) fn received(&self, buffer: BufferId) -> &[u8] {
        let id = buffer.0;
        let length = self.length_by_id.get(usize::from(id)).copied().unwrap_or(NOT_LENT);
        debug_assert_ne!(length, NOT_LENT, "a buffer that is not lent");
        if length == NOT_LENT {
            return &[];
        }
        if id < self.count {
            // SAFETY: the buffer is lent, so nobody writes to it (invariant 1) until `recycle`, which needs `&mut self`;
            // its memory was zeroed at allocation, and `length` is at most its size.
            return unsafe { std::slice::from_raw_parts(self.buffer_start(id), length as usize) };
        }
        match &self.spares[usize::from(id - self.count)] {
            Some(spare) => &spare[..length as usize],
            None => &[],
        }
    }

    /// Takes a lent buffer back.
    pub(super) fn recycle(&mut self, buffer: BufferId) {
        let Some(length) = self.length_by_id.get_mut(usize::from(buffer.0)) else { return };
        debug_assert_ne!(*length, NOT_LENT, "recycled twice");
        if *length == NOT_LENT {
            return;
        }
        *length = NOT_LENT;
        if buffer.0 < self.count {
            self.put_into_ring(buffer.0);
        } else {
            self.free_spare(buffer.0);
        }
    }

    /// A buffer outside of the ring for one receive, and where it is; `None` at the limit.
    pub(super) fn take_spare(&mut self) -> Option<(u16, *mut u8, u32)> {
        let index = match self.spares_free.pop() {
            Some(index) => index,
            None if self.spares.len() < usize::from(self.spares_max) => {
                self.spares.push(None);
                self.length_by_id.push(NOT_LENT);
                self.spares.len() as u16 - 1
            }
            None => return None,
        };
        let bytes = self.buffer_bytes as usize;
        let spare = self.spares[usize::from(index)].get_or_insert_with(|| vec![0; bytes].into_boxed_slice());
        Some((self.count + index, spare.as_mut_ptr(), self.buffer_bytes))
    }

    fn free_spare(&mut self, id: u16) {
        let index = id - self.count;
        if usize::from(index) >= SPARES_KEPT {
            self.spares[usize::from(index)] = None;
        }
        self.spares_free.push(index);
    }
}

/// The ring's part of the mapping, in whole pages.
fn ring_bytes(count: u16) -> usize {
    (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_and_come_back() {
        let mut buffers = Buffers::new(4, 64, 2).unwrap();
        assert_eq!(buffers.in_ring_count(), 4);
        let lent = buffers.lend(2, 10);
        assert_eq!(buffers.in_ring_count(), 3);
        assert_eq!(buffers.received(lent), &[0; 10]);
        buffers.recycle(lent);
        assert_eq!(buffers.in_ring_count(), 4);
    }

    #[test]
    fn spares_are_bounded_and_reused() {
        let mut buffers = Buffers::new(4, 64, 2).unwrap();
        let (first, ..) = buffers.take_spare().unwrap();
        let (second, ..) = buffers.take_spare().unwrap();
        assert_eq!((first, second), (4, 5));
        assert!(buffers.take_spare().is_none());
        let lent = buffers.lend(second, 64);
        assert_eq!(buffers.received(lent).len(), 64);
        buffers.recycle(lent);
        assert_eq!(buffers.take_spare().unwrap().0, second);
        buffers.return_unused(first);
        assert_eq!(buffers.take_spare().unwrap().0, first);
    }

    #[test]
    fn bad_counts_are_refused() {
        assert!(Buffers::new(3, 64, 2).is_err());
        assert!(Buffers::new(0, 64, 2).is_err());
        assert!(Buffers::new(4, 0, 2).is_err());
        assert!(Buffers::new(1 << 15, 64, 1 << 15).is_err());
    }
}
