//! A send under way: its segments, how far the kernel has come, and the message header it reads from.
//!
//! One segment goes out as a plain send, several as a sendmsg over at most [`SEGMENTS_PER_CALL_MAX`] of them; both with
//! MSG_WAITALL, so that the kernel itself goes on after a partial write. A short result is followed by a send of the
//! rest, which either moves on or says what is wrong.
//!
//! ```text
//!   Notice::WithNext ──> tried: MSG_DONTWAIT, a completion only of what fails ──> all taken: no completion; it is over when the
//!                          │                                                        enter that submitted it returns
//!                          └──> a part taken, or nothing: a completion with that ──┐
//!   Notice::Prompt ──────────────────────────────────────────────────────────────>  sent: MSG_WAITALL, a completion
//! ```
//! Nearly every reply is taken while it is submitted. A completion for it would end the very wait that it goes out with: the shard
//! would turn once more for nothing, for each reply of a client that waits for it.
//!
//! Invariant: from the submission to its completion, or for a send that is tried to the end of the enter that submits it,
//! neither the segments' bytes nor the header and its vectors are touched. A `Sending` is boxed, so that the header stays where it is
//! when the table of sockets grows.

use io_uring::{opcode, squeue, types};
use std::io;
use std::os::fd::RawFd;

use super::super::driver::{Segment, Tag};

/// `UIO_MAXIOV`: more in one sendmsg is refused.
const SEGMENTS_PER_CALL_MAX: usize = 1024;
/// The kernel moves a little less than 2 GiB in one call.
const BYTES_PER_CALL_MAX: usize = 1 << 30;

/// A send under way.
pub(super) struct Sending {
    pub(super) tag: Tag,
    /// Submitted to be tried, and nothing is known of it yet.
    pub(super) is_tried: bool,
    segments: Vec<Segment>,
    /// The first segment that is not sent in full, and how much of it is.
    segment_index: usize,
    segment_sent_bytes: usize,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Sending {
    pub(super) fn new() -> Self {
        Self {
            tag: 0,
            is_tried: false,
            segments: Vec::new(),
            segment_index: 0,
            segment_sent_bytes: 0,
            vectors: Vec::new(),
            // SAFETY: a header of zeroes is a valid empty message.
            header: unsafe { std::mem::zeroed() },
        }
    }

    /// Starts over with other segments.
    pub(super) fn reset(&mut self, tag: Tag, segments: Vec<Segment>, is_tried: bool) {
        self.tag = tag;
        // One call must be able to take it all: what is not heard of is over.
        let bytes: usize = segments.iter().map(|segment| segment.as_slice().len()).sum();
        self.is_tried = is_tried && segments.len() <= SEGMENTS_PER_CALL_MAX && bytes <= BYTES_PER_CALL_MAX;
        self.segments = segments;
        self.segment_index = 0;
        self.segment_sent_bytes = 0;
        self.skip_finished();
    }

    pub(super) fn is_complete(&self) -> bool {
        self.segment_index == self.segments.len()
    }

    pub(super) fn take_segments(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments)
    }

    /// Steps over segments that have nothing left to send, empty ones too.
    fn skip_finished(&mut self) {
        while let Some(segment) = self.segments.get(self.segment_index)
            && segment.as_slice().len() == self.segment_sent_bytes
        {
            self.segment_index += 1;
            self.segment_sent_bytes = 0;
        }
    }

    /// The kernel took so many bytes. An error where it claims none or more than there are.
    pub(super) fn advance(&mut self, mut sent_bytes: usize) -> io::Result<()> {
        if sent_bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while sent_bytes > 0 {
            let Some(segment) = self.segments.get(self.segment_index) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let step = sent_bytes.min(segment.as_slice().len() - self.segment_sent_bytes);
            self.segment_sent_bytes += step;
            sent_bytes -= step;
            self.skip_finished();
        }
        Ok(())
    }

    /// The submission for what is left; there must be something.
    pub(super) fn submission(&mut self, descriptor: RawFd) -> squeue::Entry {
        let waits = if self.is_tried { libc::MSG_DONTWAIT } else { 0 };
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL | waits;
        let first = &self.segments[self.segment_index].as_slice()[self.segment_sent_bytes..];
        let rest = &self.segments[self.segment_index + 1..];
        if rest.is_empty() || first.len() >= BYTES_PER_CALL_MAX {
            let length = first.len().min(BYTES_PER_CALL_MAX) as u32;
            return opcode::Send::new(types::Fd(descriptor), first.as_ptr(), length).flags(flags).build();
        }
        self.vectors.clear();
        let mut left = BYTES_PER_CALL_MAX;
        for bytes in std::iter::once(first).chain(rest.iter().map(Segment::as_slice)).take(SEGMENTS_PER_CALL_MAX) {
            let length = bytes.len().min(left);
            self.vectors.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: length });
            left -= length;
            if left == 0 {
                break;
            }
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        opcode::SendMsg::new(types::Fd(descriptor), &raw const self.header).flags(flags as u32).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(parts: &[&[u8]]) -> Sending {
        let mut sending = Sending::new();
        sending.reset(7, parts.iter().map(|part| Segment::Owned(part.to_vec())).collect(), false);
        sending
    }

    #[test]
    fn progress_crosses_segments_and_skips_empty_ones() {
        let mut sending = sending(&[b"", b"abc", b"", b"de", b""]);
        assert!(!sending.is_complete());
        sending.advance(2).unwrap();
        assert_eq!((sending.segment_index, sending.segment_sent_bytes), (1, 2));
        sending.advance(2).unwrap();
        assert_eq!((sending.segment_index, sending.segment_sent_bytes), (3, 1));
        sending.advance(1).unwrap();
        assert!(sending.is_complete());
        assert_eq!(sending.take_segments().len(), 5);
    }

    #[test]
    fn nothing_to_send_is_complete_at_once() {
        assert!(sending(&[]).is_complete());
        assert!(sending(&[b"", b""]).is_complete());
    }

    #[test]
    fn impossible_progress_is_an_error() {
        assert!(sending(&[b"abc"]).advance(0).is_err());
        assert!(sending(&[b"abc"]).advance(4).is_err());
    }

    #[test]
    fn many_segments_go_out_in_calls_that_the_kernel_takes() {
        let parts: Vec<&[u8]> = vec![b"x"; 3000];
        let mut sending = sending(&parts);
        let _ = sending.submission(0);
        assert_eq!(sending.vectors.len(), SEGMENTS_PER_CALL_MAX);
        sending.advance(SEGMENTS_PER_CALL_MAX).unwrap();
        let _ = sending.submission(0);
        assert_eq!(sending.segments.len() - sending.segment_index, 3000 - SEGMENTS_PER_CALL_MAX);
    }
}
