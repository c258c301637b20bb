//! What a client has sent and the server has not run yet: the start of a command that is still arriving, or whole
//! commands that wait for a pause to end. Everything else runs straight from the driver's buffers and never comes here.
//!
//! ```text
//!              a rest is kept                more arrives, or a long argument is announced
//!   no memory ----------------> 16 KiB -------------------------------------------------> more
//!       ^                         | ^                                                      |
//!       '------- silent 2 s ------' '----- less than half of it used between two ticks ----'
//! ```
//! A client whose commands arrive in pieces does so again and again, so its memory stays while it is active.
//!
//! Invariant: the length is what the client has sent; the capacity exceeds 16 KiB and twice that length by what a client
//! merely claims by no more than [`ANNOUNCED_BYTES_MAX`].

use std::time::Duration;

/// The least that is allocated for an active client, as in the real server, whose tests look at it.
const ACTIVE_BYTES_MIN: usize = 16 * 1024;
/// Up to here an active client's memory is left alone.
const TRIMMED_BYTES_MIN: usize = 32 * 1024;
/// Reserved at most for an argument that was announced and has not arrived; a longer one grows as it arrives.
const ANNOUNCED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A client silent for longer holds only what it sent.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// A client's unconsumed bytes.
#[derive(Debug, Default)]
pub struct QueryBuffer {
    bytes: Vec<u8>,
    /// Most that was needed since the last trim.
    peak_bytes: usize,
}

impl QueryBuffer {
    /// Whether the client has sent nothing that was not run.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes sent and not run.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends what is not run now.
    pub fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.capacity() < ACTIVE_BYTES_MIN {
            self.bytes.reserve_exact(ACTIVE_BYTES_MIN - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        self.peak_bytes = self.peak_bytes.max(self.bytes.len());
    }

    /// Hands the bytes out to be run; [`QueryBuffer::put_back`] ends that.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes the bytes back, without those that were run.
    pub fn put_back(&mut self, mut bytes: Vec<u8>, consumed: usize) {
        bytes.drain(..consumed);
        self.bytes = bytes;
    }

    /// The command that the bytes begin with will have at least this length. Without memory to spare it grows as it
    /// arrives.
    pub fn announce(&mut self, frame_bytes: usize) {
        let wanted = frame_bytes.min(ANNOUNCED_BYTES_MAX);
        self.peak_bytes = self.peak_bytes.max(wanted);
        if wanted > self.bytes.capacity() {
            let _ = self.bytes.try_reserve_exact(wanted - self.bytes.len());
        }
    }

    /// Gives back what a client silent since `silent` does not need, at each tick. `frame_bytes`: as announced last.
    pub fn trim(&mut self, silent: Duration, frame_bytes: usize) {
        if silent > IDLE_AFTER {
            self.bytes.shrink_to_fit();
        } else if self.bytes.capacity() > TRIMMED_BYTES_MIN && self.peak_bytes < self.bytes.capacity() / 2 {
            self.bytes.shrink_to(self.peak_bytes.max(ACTIVE_BYTES_MIN));
        }
        self.peak_bytes = self.bytes.len().max(frame_bytes.min(ANNOUNCED_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: Duration = Duration::from_millis(10);
    const SILENT: Duration = Duration::from_secs(3);

    fn run_all(buffer: &mut QueryBuffer) {
        let bytes = buffer.take();
        let consumed = bytes.len();
        buffer.put_back(bytes, consumed);
    }

    #[test]
    fn an_active_client_keeps_its_memory_and_a_silent_one_none() {
        let mut buffer = QueryBuffer::default();
        buffer.keep(b"");
        assert_eq!(buffer.capacity(), 0);
        buffer.keep(b"*1\r\n$4\r\nPI");
        assert_eq!((buffer.len(), buffer.capacity()), (10, ACTIVE_BYTES_MIN));
        run_all(&mut buffer);
        buffer.trim(ACTIVE, 0);
        assert_eq!((buffer.len(), buffer.capacity()), (0, ACTIVE_BYTES_MIN));
        buffer.trim(SILENT, 0);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn one_large_command_does_not_cost_memory_for_ever() {
        let mut buffer = QueryBuffer::default();
        buffer.keep(&[b'x'; 400_000]);
        run_all(&mut buffer);
        buffer.trim(ACTIVE, 0);
        assert!(buffer.capacity() >= 400_000, "it was used since the tick before");
        buffer.trim(ACTIVE, 0);
        assert_eq!(buffer.capacity(), ACTIVE_BYTES_MIN);
    }

    #[test]
    fn an_announced_argument_is_reserved_once_while_the_client_is_active() {
        let mut buffer = QueryBuffer::default();
        buffer.keep(b"*1\r\n$1000000\r\n");
        buffer.announce(1_000_016);
        for _ in 0..3 {
            buffer.trim(ACTIVE, 1_000_016);
            assert_eq!(buffer.capacity(), 1_000_016);
        }
        buffer.trim(SILENT, 1_000_016);
        assert_eq!(buffer.capacity(), buffer.len());
        buffer.keep(b"a");
        buffer.announce(1_000_016);
        assert_eq!((buffer.len(), buffer.capacity()), (15, 1_000_016));
    }

    #[test]
    fn a_claim_alone_reserves_little() {
        let mut buffer = QueryBuffer::default();
        buffer.keep(b"*1\r\n$500000000\r\n");
        buffer.announce(usize::MAX);
        assert_eq!(buffer.capacity(), ANNOUNCED_BYTES_MAX);
    }

    #[test]
    fn what_was_not_run_stays_in_front() {
        let mut buffer = QueryBuffer::default();
        buffer.keep(b"abcdef");
        let bytes = buffer.take();
        buffer.put_back(bytes, 4);
        buffer.keep(b"gh");
        assert_eq!(buffer.take(), b"efgh");
    }
}
