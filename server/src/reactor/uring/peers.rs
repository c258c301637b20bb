//! How shards reach each other's rings.
//!
//! ```text
//!  shard 0 ── wake(1) ──> MSG_RING in shard 0's next submit ──> a completion in shard 1's ring
//!                                  └─ refused (no ring yet, ring gone) ──> eventfd of shard 1
//!  signal thread, control plane ── Waker::wake ──> eventfd of shard 1 ──> its read completes in shard 1's ring
//! ```
//!
//! The eventfds are there from the start, so a wake is never lost: one that comes before the ring does is still in the
//! eventfd's counter when the driver starts to read it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::super::driver::Waker;

/// No ring (yet, or any more).
const NO_RING: RawFd = -1;

struct Peer {
    ring: AtomicI32,
    event: OwnedFd,
}

/// The ring descriptors and eventfds of all shards.
pub struct Peers {
    peers: Box<[Peer]>,
}

impl Peers {
    /// A table for so many shards.
    pub fn new(shards: usize) -> io::Result<Arc<Self>> {
        let peers: io::Result<Box<[Peer]>> =
            (0..shards).map(|_| Ok(Peer { ring: AtomicI32::new(NO_RING), event: new_eventfd()? })).collect();
        Ok(Arc::new(Self { peers: peers? }))
    }

    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// A waker of a shard for any thread.
    pub fn waker(self: &Arc<Self>, shard: usize) -> RingWaker {
        assert!(shard < self.len(), "shard {shard} of {}", self.len());
        RingWaker { peers: Arc::clone(self), shard }
    }

    pub(super) fn set_ring(&self, shard: usize, descriptor: RawFd) {
        self.peers[shard].ring.store(descriptor, Ordering::Release);
    }

    pub(super) fn clear_ring(&self, shard: usize) {
        self.peers[shard].ring.store(NO_RING, Ordering::Release);
    }

    /// The shard's ring, if it has one.
    pub(super) fn ring(&self, shard: usize) -> Option<RawFd> {
        let descriptor = self.peers[shard].ring.load(Ordering::Acquire);
        (descriptor != NO_RING).then_some(descriptor)
    }

    pub(super) fn event(&self, shard: usize) -> BorrowedFd<'_> {
        self.peers[shard].event.as_fd()
    }

    /// Wakes by the eventfd. Cannot fail but by a full counter, and then the shard is about to wake anyway.
    pub(super) fn signal(&self, shard: usize) {
        let one = 1u64;
        let descriptor = self.event(shard).as_raw_fd();
        // SAFETY: writes 8 bytes from a live u64 to a descriptor that `self` owns.
        unsafe { libc::write(descriptor, (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// Wakes a shard from any thread.
pub struct RingWaker {
    peers: Arc<Peers>,
    shard: usize,
}

impl Waker for RingWaker {
    fn wake(&self) {
        self.peers.signal(self.shard);
    }
}

fn new_eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the descriptor is checked and then owned by nobody else.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh, valid descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
