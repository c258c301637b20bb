//! The table of sockets: what the driver knows of each, under a number that is given out again only when nothing of the
//! socket is under way.
//!
//! ```text
//!             ┌── Listener ──close──> Closing (accept under way) ──┐
//!   Free ─────┼── Connecting ──> Connection ──close/detach─────────┼──> Free, generation + 1
//!             └── Connection ──close too early──> Closing ─────────┘
//! ```
//!
//! A submission's user data carries kind, generation and index. The rule above already keeps completions of one owner
//! from the next; the generation is the second lock on that door, for the kinds whose completions nobody waits for.

use socket2::SockAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use super::super::driver::{Socket, Tag};
use super::sends::Sending;

/// What a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nobody waits for it.
    Ignored = 0,
    Accept,
    Receive,
    Send,
    Connect,
    File,
    /// Our eventfd was read.
    Event,
    /// A peer's MSG_RING.
    Woken,
    /// Our own MSG_RING failed; the index is the shard's.
    WakeFailed,
    /// A cancellation found nothing; the index is the socket's.
    CancelFailed,
    /// A send that is tried once: it completes only where not all was taken.
    TriedSend,
}

const GENERATION_BITS: u32 = 24;

impl Kind {
    const ALL: [Self; 11] = [
        Self::Ignored,
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Connect,
        Self::File,
        Self::Event,
        Self::Woken,
        Self::WakeFailed,
        Self::CancelFailed,
        Self::TriedSend,
    ];

    /// The user data of a submission.
    pub(super) fn user_data(self, index: u32, generation: u32) -> u64 {
        (self as u64) << 56 | u64::from(generation) << 32 | u64::from(index)
    }

    /// Kind, index and generation.
    pub(super) fn of(user_data: u64) -> (Self, u32, u32) {
        let kind = Self::ALL.get((user_data >> 56) as usize).copied().unwrap_or(Self::Ignored);
        (kind, user_data as u32, (user_data >> 32) as u32 & ((1 << GENERATION_BITS) - 1))
    }

    /// Whether the submission completes without `more` exactly once, and the driver waits for that.
    pub(super) fn is_awaited(self) -> bool {
        matches!(self, Self::Accept | Self::Receive | Self::Send | Self::Connect | Self::File | Self::Event)
    }
}

/// A listener's state.
pub(super) struct Listener {
    pub(super) tag: Tag,
    /// Whether an accept is in the ring.
    pub(super) is_accepting: bool,
    /// Whether the last accept failed and that was told.
    pub(super) is_failing: bool,
    /// When to try again, where it is not accepting.
    pub(super) retry_at_ns: u64,
    /// The file of a Unix socket, removed on close.
    pub(super) path: Option<PathBuf>,
}

/// What a slot is used for.
pub(super) enum Role {
    Free,
    Listener(Box<Listener>),
    /// The address is what the submission points to.
    Connecting {
        tag: Tag,
        _address: Box<SockAddr>,
    },
    Connection,
    /// Closed by its owner; waits for the last completion.
    Closing,
}

/// The receive stream's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// There is none.
    Idle,
    /// In the ring, with provided buffers.
    Multishot,
    /// In the ring, once, into this spare buffer.
    Spare(u16),
    /// Not in the ring: there was no buffer.
    Starved,
}

impl Receive {
    /// Whether a completion is to come.
    pub(super) fn is_in_ring(self) -> bool {
        matches!(self, Self::Multishot | Self::Spare(_))
    }
}

/// One socket.
pub(super) struct Slot {
    pub(super) descriptor: Option<OwnedFd>,
    pub(super) generation: u32,
    pub(super) role: Role,
    pub(super) receive: Receive,
    /// Whether the stream was told to stop.
    pub(super) is_stopping: bool,
    pub(super) receive_tag: Tag,
    pub(super) sending: Option<Box<Sending>>,
}

impl Slot {
    /// The descriptor's number; -1 (which the kernel refuses) where there is none.
    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether a completion is to come.
    pub(super) fn is_busy(&self) -> bool {
        let accepts = matches!(&self.role, Role::Listener(listener) if listener.is_accepting);
        accepts || matches!(self.role, Role::Connecting { .. }) || self.receive.is_in_ring() || self.sending.is_some()
    }
}

/// All sockets of a driver, in chunks that stay where they are: growth copies nothing, and takes no more than it needs.
#[derive(Default)]
pub(super) struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
}

/// Slots of a chunk.
const CHUNK_SLOTS: usize = 64;

impl Slots {
    pub(super) fn insert(&mut self, descriptor: OwnedFd, role: Role) -> u32 {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.chunks[index as usize / CHUNK_SLOTS][index as usize % CHUNK_SLOTS];
            slot.descriptor = Some(descriptor);
            slot.role = role;
            return index;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_SLOTS) {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        let chunks = self.chunks.len();
        let chunk = &mut self.chunks[chunks - 1];
        chunk.push(Slot {
            descriptor: Some(descriptor),
            generation: 0,
            role,
            receive: Receive::Idle,
            is_stopping: false,
            receive_tag: 0,
            sending: None,
        });
        ((chunks - 1) * CHUNK_SLOTS + chunk.len() - 1) as u32
    }

    /// Frees a slot of which nothing is under way; its descriptor, if it still has one.
    pub(super) fn remove(&mut self, index: u32) -> Option<OwnedFd> {
        let slot = self.get_mut(index)?;
        slot.role = Role::Free;
        slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        slot.receive = Receive::Idle;
        slot.is_stopping = false;
        let descriptor = slot.descriptor.take();
        self.free.push(index);
        descriptor
    }

    /// The slot, if it is in use.
    pub(super) fn get(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(index as usize / CHUNK_SLOTS)?;
        chunk.get(index as usize % CHUNK_SLOTS).filter(|slot| !matches!(slot.role, Role::Free))
    }

    /// The slot, if it is in use.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(index as usize / CHUNK_SLOTS)?;
        chunk.get_mut(index as usize % CHUNK_SLOTS).filter(|slot| !matches!(slot.role, Role::Free))
    }

    /// The slot that a completion is for.
    pub(super) fn of_completion(&mut self, index: u32, generation: u32) -> Option<&mut Slot> {
        self.get_mut(index).filter(|slot| slot.generation == generation)
    }

    /// The connection behind a socket.
    pub(super) fn descriptor(&self, socket: Socket) -> Option<&OwnedFd> {
        self.get(socket.0)?.descriptor.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_carries_kind_index_and_generation() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.user_data(u32::MAX, 0xFF_FFFF)), (kind, u32::MAX, 0xFF_FFFF));
            assert_eq!(Kind::of(kind.user_data(5, 6)), (kind, 5, 6));
        }
        assert_eq!(Kind::of(u64::MAX).0, Kind::Ignored);
    }

    #[test]
    fn a_freed_slot_is_reused_under_another_generation() {
        let descriptor = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut slots = Slots::default();
        let first = slots.insert(descriptor(), Role::Connection);
        assert!(slots.of_completion(first, 0).is_some());
        assert!(slots.remove(first).is_some());
        assert!(slots.remove(first).is_none());
        assert!(slots.get(first).is_none());
        let second = slots.insert(descriptor(), Role::Connection);
        assert_eq!(first, second);
        assert!(slots.of_completion(second, 0).is_none());
        assert!(slots.of_completion(second, 1).is_some());
    }

    #[test]
    fn slots_of_all_chunks_are_found_again() {
        let mut slots = Slots::default();
        let count = CHUNK_SLOTS as u32 * 2 + 1;
        for expected in 0..count {
            let descriptor = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            assert_eq!(slots.insert(descriptor, Role::Connection), expected);
            slots.get_mut(expected).expect("in use").receive_tag = expected as Tag;
        }
        assert!((0..count).all(|index| slots.get(index).is_some_and(|slot| slot.receive_tag == index as Tag)));
        assert!(slots.get(count).is_none() && slots.get(u32::MAX).is_none());
    }
}
