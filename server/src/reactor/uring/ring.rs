//! One io_uring instance: set-up, the queue of submissions, the one system call of a turn.
//!
//! ```text
//!  push ──> submission queue ──┐                          ┌──> completion queue ──> reap
//!             (full: enter)    ├── enter(submit, wait) ───┤
//!  backlog (kernel refused) ───┘                          └──> overflow list (flushed by the next enter)
//! ```
//!
//! `SINGLE_ISSUER | DEFER_TASKRUN`: completions are made by the kernel inside our own `enter`, on our own thread, so they
//! neither interrupt the shard nor touch another core. `TASKRUN_FLAG` tells whether there is such work without a call.
//! A submission that finds the queue full goes out at once with a submit of its own; one that the kernel refuses
//! (out of memory) waits in the backlog, in order. Nothing is ever lost: the kernel has `FEAT_NODROP`.

use io_uring::{EnterFlags, IoUring, cqueue, squeue, types};
use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::Options;

/// A completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the same submission will complete again.
    pub(super) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }
}

/// How long `enter` waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    AtMost(Duration),
    Unlimited,
}

/// `struct io_uring_rsrc_update` of the kernel's interface.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `IORING_REGISTER_RING_FDS`.
const REGISTER_RING_DESCRIPTORS: libc::c_uint = 20;

/// The ring and what is queued for it.
pub(super) struct Ring {
    ring: IoUring,
    /// Where `enter` goes: the ring's descriptor, or its index among the registered ones.
    enter_descriptor: RawFd,
    /// Flags of every `enter`.
    enter_flags: EnterFlags,
    /// How many times the queue was handed to the kernel.
    submit_count: u64,
    /// Submissions that found no room, in order. Empty but under kernel memory pressure.
    backlog: VecDeque<squeue::Entry>,
}

impl Ring {
    /// Makes the ring. Must run on the thread that will use it.
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let ring = build(options, true).or_else(|error| match error.raw_os_error() {
            // NO_SQARRAY is from Linux 6.6; the rest of what we ask for from 6.1.
            Some(libc::EINVAL) => build(options, false),
            _ => Err(error),
        })?;
        let mut enter_flags = EnterFlags::GETEVENTS;
        if ring.params().is_feature_no_iowait() {
            // An idle shard must not look like one that waits for a disk.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let mut this =
            Self { enter_descriptor: ring.as_raw_fd(), ring, enter_flags, submit_count: 0, backlog: VecDeque::new() };
        if options.register_ring_descriptor
            && let Ok(index) = this.register_descriptor()
        {
            this.enter_descriptor = index;
            this.enter_flags |= EnterFlags::REGISTERED_RING;
        }
        Ok(this)
    }

    /// Saves the look-up of the descriptor in every `enter`.
    fn register_descriptor(&self) -> io::Result<RawFd> {
        let descriptor = self.ring.as_raw_fd();
        let mut update = ResourceUpdate { offset: u32::MAX, reserved: 0, data: descriptor as u64 };
        // SAFETY: the kernel reads and writes one `ResourceUpdate`, which outlives the call.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_register, descriptor, REGISTER_RING_DESCRIPTORS, &raw mut update, 1u32)
        };
        if result == 1 { Ok(update.offset as RawFd) } else { Err(io::Error::last_os_error()) }
    }

    /// The ring's descriptor, to which peers send their wakes.
    pub(super) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Changes whenever what was queued may have gone out.
    pub(super) fn submit_count(&self) -> u64 {
        self.submit_count
    }

    /// The calls for set-up and registration.
    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Whether something is queued that the kernel has not taken yet.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty() || !self.backlog.is_empty()
    }

    /// Queues a submission for the next `enter`.
    ///
    /// # Safety
    /// All memory that the entry names must stay valid, and unaliased where the kernel writes, until its last completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(entry);
            return;
        }
        // SAFETY: the caller vouches for the entry's memory.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return;
        }
        // Full: submit what is there and go on. A failure leaves the queue full, and the entry goes to the backlog.
        let _ = self.submit_only();
        // SAFETY: as above.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    fn submit_only(&mut self) -> io::Result<()> {
        let flags = self.enter_flags - EnterFlags::GETEVENTS;
        self.enter_with(flags, 0, None)
    }

    /// Moves the backlog into the queue as far as there is room.
    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: whoever pushed the entry vouched for its memory until its completion.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Whether an `enter` that does not wait would do anything: submissions, deferred work, overflown completions.
    pub(super) fn has_work(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow() || !self.backlog.is_empty()
    }

    /// Whether completions wait in the kernel for room in the queue.
    pub(super) fn has_overflow(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// The one system call: submits everything, runs deferred work, and waits as told for `wanted` completions. Returns early on a
    /// signal.
    pub(super) fn enter(&mut self, patience: Patience, wanted: u32) -> io::Result<()> {
        self.drain_backlog();
        // With a backlog there is more to submit right after: do not sleep on it.
        let patience = if self.backlog.is_empty() { patience } else { Patience::None };
        let result = match patience {
            Patience::None => self.enter_with(self.enter_flags, 0, None),
            Patience::Unlimited => self.enter_with(self.enter_flags, wanted, None),
            Patience::AtMost(limit) => self.enter_with(self.enter_flags, wanted, Some(types::Timespec::from(limit))),
        };
        match result {
            Err(error) if is_passing(&error) => Ok(()),
            other => other,
        }
    }

    fn enter_with(&mut self, flags: EnterFlags, want: u32, limit: Option<types::Timespec>) -> io::Result<()> {
        let to_submit = self.ring.submission().len() as u32;
        self.submit_count += 1;
        let arguments = limit.as_ref().map(|limit| types::SubmitArgs::new().timespec(limit));
        let (flags, address, bytes) = match &arguments {
            Some(arguments) => {
                let address = std::ptr::from_ref(arguments).cast::<libc::c_void>();
                (flags | EnterFlags::EXT_ARG, address, size_of::<types::SubmitArgs<'_, '_>>())
            }
            None => (flags, std::ptr::null(), 0),
        };
        // SAFETY: the kernel reads `bytes` bytes of arguments, which outlive the call; the memory of the submissions was
        // vouched for when they were pushed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_descriptor,
                to_submit,
                want,
                flags.bits(),
                address,
                bytes,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes all completions out of the queue.
    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        completions.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

/// Errors of `enter` after which everything is still in its place: timeout, signal, no memory or no room right now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

fn build(options: &Options, no_submission_array: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(options.completion_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag();
    if no_submission_array {
        builder.setup_no_sqarray();
    }
    builder.build(options.submission_entries)
}
