//! The driver over io_uring.
//!
//! ```text
//!   calls of the shard                 a turn                                     events
//!   start_receiving ┐      ┌─ re-arm: starved receives, paused accepts ┐
//!   send, connect   ├──SQ──┤                                           │
//!   file, close     │      ├─ enter: submit all, wait ── the kernel ───┤
//!   wake (MSG_RING) ┘      └─ reap: one handler a kind ────────────────┴──> Accepted Received Sent FileDone Woken ...
//! ```
//!
//! Who owns the memory that the kernel uses, and until when:
//!
//! | memory | owner | the kernel is done with it |
//! |---|---|---|
//! | provided buffers, spares | [`buffers`] | when the completion names the buffer; it is then lent until `recycle` |
//! | segments, vectors, header of a send | [`sends`], boxed in the socket's slot | at the send's completion; of one that is tried, when it is submitted |
//! | paths and buffers of file operations | [`files`], one task each | at the completion of the task's step |
//! | the address of a connect | the slot's role, boxed | at the connect's completion |
//! | the eventfd's counter | the driver, boxed | at the read's completion, after which it is armed again |
//!
//! A slot is freed only when no completion is to come for it, and the driver's `Drop` cancels everything and waits for the
//! last completion (or, if the kernel keeps something for too long, leaks what it may still use). This module and its
//! children are one of the three places of the project that may use `unsafe`.

#![allow(unsafe_code)]

mod buffers;
mod files;
mod peers;
mod ring;
mod sends;
mod slots;
mod sockets;
#[cfg(test)]
mod tests;
mod trial;

use io_uring::{opcode, squeue, types};
use std::cell::UnsafeCell;
use std::io;
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

pub use peers::{Peers, RingWaker};
pub use sockets::listening_socket;
pub use trial::{Failure, Step, try_out};

use super::driver::{
    Address, BufferId, Clock, DetachedSocket, Driver, Ends, Event, FileOperation, Notice, Segment, Socket,
    SocketOptions, Tag, Wait,
};
use buffers::Buffers;
use files::{Files, Next};
use ring::{Completion, Patience, Ring};
use sends::Sending;
use slots::{Kind, Listener, Receive, Role, Slots};

/// After a failed accept (too few descriptors), how long until the next try.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;
/// Sends that are kept for reuse.
const SENDINGS_KEPT: usize = 256;
/// How often `Drop` looks for the last completions, and how long each time.
const DROP_ROUNDS: u32 = 50;
const DROP_ROUND: Duration = Duration::from_millis(100);

/// Sizes of a driver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Submissions that fit in the queue; more make an extra system call.
    pub submission_entries: u32,
    /// Completions that fit; more wait in the kernel.
    pub completion_entries: u32,
    /// Provided receive buffers; a power of two.
    pub receive_buffers: u16,
    /// The size of each.
    pub receive_buffer_bytes: u32,
    /// Receive buffers outside of the ring, for sockets that find it empty turn after turn.
    pub spare_buffers_max: u16,
    /// Whether to register the ring's descriptor.
    pub register_ring_descriptor: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            completion_entries: 8192,
            receive_buffers: 256,
            receive_buffer_bytes: 16 << 10,
            spare_buffers_max: 1024,
            register_ring_descriptor: true,
        }
    }
}

/// The driver of one shard. Made and used on the shard's thread.
pub struct UringDriver {
    shard: usize,
    peers: Arc<Peers>,
    ring: Ring,
    /// Dropped by hand, after the kernel is done with them.
    buffers: ManuallyDrop<Buffers>,
    slots: ManuallyDrop<Slots>,
    files: ManuallyDrop<Files>,
    /// Written by the kernel while the eventfd's read is under way; never read.
    event_counter: ManuallyDrop<Box<UnsafeCell<u64>>>,
    /// Submissions whose last completion is to come.
    in_flight_count: usize,
    /// Events that came up outside of `turn`.
    ready: Vec<Event>,
    /// Sockets whose receive stream found no buffer.
    starved: Vec<u32>,
    /// Listeners that pause.
    paused: Vec<u32>,
    /// For each shard, the ring's submit count when a wake for it was queued: while that is the present count, the wake is
    /// still to go out, and a second one adds nothing.
    wake_queued_at: Vec<u64>,
    /// Whether the kernel tells of a send that is tried what it took of it.
    tries_sends: bool,
    /// Sockets whose sends are tried with the next submit.
    tried: Vec<u32>,
    /// Scratch of `turn`.
    completions: Vec<Completion>,
    #[allow(clippy::vec_box)] // boxed where they are used, and moved there as they are
    sendings_free: Vec<Box<Sending>>,
}

impl UringDriver {
    /// Makes the driver of a shard and tells its peers where its ring is.
    pub fn new(shard: usize, peers: Arc<Peers>, options: &Options) -> io::Result<Self> {
        let buffers = Buffers::new(options.receive_buffers, options.receive_buffer_bytes, options.spare_buffers_max)?;
        let mut ring = Ring::new(options)?;
        let tries_sends = trial::tells_of_sends_that_are_tried(&mut ring)?;
        buffers.register(&ring.submitter())?;
        let mut probe = io_uring::Probe::new();
        let can_truncate =
            ring.submitter().register_probe(&mut probe).is_ok() && probe.is_supported(opcode::Ftruncate::CODE);
        let shards = peers.len();
        let mut this = Self {
            shard,
            peers,
            ring,
            buffers: ManuallyDrop::new(buffers),
            slots: ManuallyDrop::new(Slots::default()),
            files: ManuallyDrop::new(Files::new(can_truncate)),
            event_counter: ManuallyDrop::new(Box::new(UnsafeCell::new(0))),
            in_flight_count: 0,
            ready: Vec::new(),
            starved: Vec::new(),
            paused: Vec::new(),
            wake_queued_at: vec![u64::MAX; shards],
            tries_sends,
            tried: Vec::new(),
            completions: Vec::new(),
            sendings_free: Vec::new(),
        };
        this.read_event();
        this.peers.set_ring(shard, this.ring.descriptor());
        Ok(this)
    }

    /// Queues a submission.
    ///
    /// # Safety
    /// As [`Ring::push`]: the entry's memory must stay as it is until the last completion of this user data.
    unsafe fn push(&mut self, entry: squeue::Entry, kind: Kind, index: u32, generation: u32) {
        let mut entry = entry.user_data(kind.user_data(index, generation));
        if kind.is_awaited() {
            self.in_flight_count += 1;
        } else {
            entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        }
        // SAFETY: the caller vouches for it.
        unsafe { self.ring.push(entry) }
    }

    /// Waits for wakes from threads without a ring.
    fn read_event(&mut self) {
        let descriptor = self.peers.event(self.shard).as_raw_fd();
        let entry = opcode::Read::new(types::Fd(descriptor), self.event_counter.get().cast(), 8).build();
        // SAFETY: the counter is boxed, never read, and outlives the completion; one read is under way at a time.
        unsafe { self.push(entry, Kind::Event, 0, 0) }
    }

    /// Closes behind everything queued: a plain close would free the number while queued submissions still name it, and
    /// the next socket to get that number would get those submissions.
    fn close_descriptor(&mut self, descriptor: OwnedFd) {
        let entry = opcode::Close::new(types::Fd(descriptor.into_raw_fd())).build();
        // SAFETY: no memory is named; the descriptor was ours and is now the submission's.
        unsafe { self.push(entry, Kind::Ignored, 0, 0) }
    }

    /// Cancels the accept or the receive of a slot.
    fn cancel(&mut self, kind: Kind, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let generation = slot.generation;
        let entry = opcode::AsyncCancel::new(kind.user_data(index, generation)).build();
        // SAFETY: no memory is named.
        unsafe { self.push(entry, Kind::CancelFailed, index, generation) }
    }

    /// A cancellation found nothing: the operation either just ended, and its completion is on its way, or was on the
    /// move inside the kernel; then it must be cancelled again, or it would go on.
    fn on_cancel_failed(&mut self, index: u32, generation: u32) {
        let Some(slot) = self.slots.of_completion(index, generation) else { return };
        if slot.receive.is_in_ring() && slot.is_stopping {
            self.cancel(Kind::Receive, index);
        } else if matches!(&slot.role, Role::Listener(listener) if listener.is_accepting) {
            self.cancel(Kind::Accept, index);
        }
    }

    /// Frees a slot whose owner closed it once its last completion is there.
    fn finish_closing(&mut self, index: u32) {
        let is_over = self.slots.get(index).is_some_and(|slot| matches!(slot.role, Role::Closing) && !slot.is_busy());
        if is_over && let Some(descriptor) = self.slots.remove(index) {
            self.close_descriptor(descriptor);
        }
    }
}

/// Accepting and connecting.
impl UringDriver {
    fn arm_accept(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Role::Listener(listener) = &mut slot.role else { return };
        listener.is_accepting = true;
        let generation = slot.generation;
        let entry = opcode::AcceptMulti::new(types::Fd(slot.raw())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: no memory is named.
        unsafe { self.push(entry, Kind::Accept, index, generation) }
    }

    fn on_accept(&mut self, index: u32, generation: u32, completion: Completion, events: &mut Vec<Event>) {
        // SAFETY: a descriptor that the kernel just made for us; nobody else knows it.
        let accepted = (completion.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(completion.result) });
        let Some(slot) = self.slots.of_completion(index, generation) else { return };
        let Role::Listener(listener) = &mut slot.role else { return };
        listener.is_accepting = completion.has_more();
        let is_closed = slot.descriptor.is_none();
        let tag = listener.tag;
        if is_closed {
            // Who connected in the last moment gets the connection closed when `accepted` is dropped.
            if !completion.has_more() {
                self.slots.remove(index);
            }
            return;
        }
        if let Some(accepted) = accepted {
            listener.is_failing = false;
            let socket = Socket(self.slots.insert(accepted, Role::Connection));
            events.push(Event::Accepted { tag, socket });
        } else if completion.result == -libc::EINVAL {
            // It listens no more: somebody has shut it, and will close it.
            return;
        } else if !is_accept_error_of_one_connection(-completion.result) {
            if !listener.is_failing {
                listener.is_failing = true;
                events.push(Event::AcceptFailed { tag, error: io::Error::from_raw_os_error(-completion.result) });
            }
            listener.retry_at_ns = clock_ns(libc::CLOCK_MONOTONIC) + ACCEPT_PAUSE_NS;
            self.paused.push(index);
            return;
        }
        if !completion.has_more() {
            self.arm_accept(index);
        }
    }

    /// Starts paused listeners whose time has come; when the next one's comes.
    fn retry_accepts(&mut self) -> Option<u64> {
        if self.paused.is_empty() {
            return None;
        }
        let now_ns = clock_ns(libc::CLOCK_MONOTONIC);
        let mut next_ns: Option<u64> = None;
        for index in std::mem::take(&mut self.paused) {
            let Some(slot) = self.slots.get(index) else { continue };
            let Role::Listener(listener) = &slot.role else { continue };
            if listener.is_accepting || slot.descriptor.is_none() {
                continue;
            }
            let retry_at_ns = listener.retry_at_ns;
            if retry_at_ns <= now_ns {
                self.arm_accept(index);
            } else {
                self.paused.push(index);
                next_ns = Some(next_ns.map_or(retry_at_ns, |next_ns| next_ns.min(retry_at_ns)));
            }
        }
        next_ns
    }

    fn close_listener(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Role::Listener(listener) = &mut slot.role else { return };
        let is_accepting = listener.is_accepting;
        if let Some(path) = listener.path.take() {
            let _ = std::fs::remove_file(path);
        }
        let descriptor = slot.descriptor.take();
        if is_accepting {
            self.cancel(Kind::Accept, index);
        } else {
            self.slots.remove(index);
        }
        if let Some(descriptor) = descriptor {
            // The accept under way holds the socket; this ends listening, and frees the port, now.
            let _ = socket2::SockRef::from(&descriptor).shutdown(Shutdown::Both);
            self.close_descriptor(descriptor);
        }
    }

    fn start_connecting(&mut self, address: &Address, tag: Tag) -> io::Result<()> {
        let (descriptor, address) = sockets::outgoing(address)?;
        let raw = descriptor.as_raw_fd();
        let address = Box::new(address);
        let (start, bytes) = (address.as_ptr(), address.len());
        let index = self.slots.insert(descriptor, Role::Connecting { tag, _address: address });
        let generation = self.slots.get(index).map_or(0, |slot| slot.generation);
        let entry = opcode::Connect::new(types::Fd(raw), start.cast(), bytes).build();
        // SAFETY: the address is boxed in the slot's role, which stays until the completion.
        unsafe { self.push(entry, Kind::Connect, index, generation) }
        Ok(())
    }

    fn on_connect(&mut self, index: u32, generation: u32, result: i32, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.of_completion(index, generation) else { return };
        let Role::Connecting { tag, .. } = slot.role else { return };
        slot.role = Role::Connection;
        let result = if result >= 0 {
            Ok(Socket(index))
        } else {
            drop(self.slots.remove(index));
            Err(io::Error::from_raw_os_error(-result))
        };
        events.push(Event::Connected { tag, result });
    }
}

/// Receiving.
impl UringDriver {
    fn arm_receive(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.receive = Receive::Multishot;
        let generation = slot.generation;
        let entry = opcode::RecvMulti::new(types::Fd(slot.raw()), Buffers::GROUP).build();
        // SAFETY: the memory is the provided buffers', registered until the ring's end.
        unsafe { self.push(entry, Kind::Receive, index, generation) }
    }

    fn arm_receive_into_spare(&mut self, index: u32) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return true };
        let Some((id, start, bytes)) = self.buffers.take_spare() else { return false };
        slot.receive = Receive::Spare(id);
        let generation = slot.generation;
        let entry = opcode::Recv::new(types::Fd(slot.raw()), start, bytes).build();
        // SAFETY: the spare is this receive's alone until its completion.
        unsafe { self.push(entry, Kind::Receive, index, generation) }
        true
    }

    /// Starts starved receives again: with the ring's buffers if some came back, else with a spare; else they wait.
    fn rearm_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let mut in_ring_count = self.buffers.in_ring_count();
        for index in std::mem::take(&mut self.starved) {
            if self.slots.get(index).is_none_or(|slot| slot.receive != Receive::Starved) {
                continue;
            }
            if in_ring_count > 0 {
                in_ring_count -= 1;
                self.arm_receive(index);
            } else if !self.arm_receive_into_spare(index) {
                self.starved.push(index);
            }
        }
    }

    fn starve(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.receive = Receive::Starved;
            self.starved.push(index);
        }
    }

    fn on_receive(&mut self, index: u32, generation: u32, completion: Completion, events: &mut Vec<Event>) {
        let from_ring = io_uring::cqueue::buffer_select(completion.flags);
        let Some(slot) = self.slots.of_completion(index, generation) else {
            from_ring.inspect(|id| self.buffers.return_unused(*id));
            return;
        };
        let buffer = match slot.receive {
            Receive::Spare(id) => Some(id),
            _ => from_ring,
        };
        let (tag, is_stopping, has_more) = (slot.receive_tag, slot.is_stopping, completion.has_more());
        if let Some(id) = buffer {
            if completion.result > 0 {
                let buffer = self.buffers.lend(id, completion.result as u32);
                events.push(Event::Received { tag, buffer });
            } else {
                self.buffers.return_unused(id);
            }
        }
        if has_more {
            return;
        }
        let is_multishot = slot.receive == Receive::Multishot;
        let result = match -completion.result {
            0 => Ok(()),
            _ if is_stopping => Err(io::ErrorKind::Interrupted.into()),
            libc::ECANCELED => Err(io::ErrorKind::Interrupted.into()),
            // The kernel ends a multishot for reasons of its own, too.
            error if error < 0 && is_multishot => return self.arm_receive(index),
            error if error < 0 => return self.starve(index),
            libc::ENOBUFS => return self.starve(index),
            libc::EINTR | libc::EAGAIN => return self.arm_receive(index),
            error => Err(io::Error::from_raw_os_error(error)),
        };
        slot.receive = Receive::Idle;
        slot.is_stopping = false;
        events.push(Event::ReceiveEnded { tag, result });
        self.finish_closing(index);
    }
}

/// Sending, files, waking.
impl UringDriver {
    fn submit_send(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let (raw, generation) = (slot.raw(), slot.generation);
        let Some(sending) = &mut slot.sending else { return };
        let entry = sending.submission(raw);
        let kind = if sending.is_tried { Kind::TriedSend } else { Kind::Send };
        // SAFETY: the segments, vectors and header are in the slot's boxed `Sending`, untouched until the completion, or for one that
        // is tried until the kernel has taken the submission, after which it refers to nothing.
        unsafe { self.push(entry, kind, index, generation) }
        if kind == Kind::TriedSend {
            self.tried.push(index);
        }
    }

    /// Sends that were tried, and that nothing was heard of, are over: all of them was taken.
    fn end_tried(&mut self, events: &mut Vec<Event>) {
        if self.tried.is_empty() || self.ring.has_queued() {
            return;
        }
        let mut tried = std::mem::take(&mut self.tried);
        for index in tried.drain(..) {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if let Some(mut sending) = slot.sending.take_if(|sending| sending.is_tried) {
                events.push(Event::Sent { tag: sending.tag, segments: sending.take_segments(), result: Ok(()) });
                self.keep_sending(sending);
                self.finish_closing(index);
            }
        }
        self.tried = tried;
    }

    fn on_send(&mut self, index: u32, generation: u32, result: i32, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.of_completion(index, generation) else { return };
        let Some(sending) = &mut slot.sending else { return };
        // What is left of one that was tried waits for room.
        sending.is_tried = false;
        let result = match -result {
            libc::EINTR | libc::EAGAIN => return self.submit_send(index),
            error if error > 0 => Err(io::Error::from_raw_os_error(error)),
            _ => sending.advance(result as usize),
        };
        if result.is_ok() && !sending.is_complete() {
            return self.submit_send(index);
        }
        let Some(mut sending) = slot.sending.take() else { return };
        events.push(Event::Sent { tag: sending.tag, segments: sending.take_segments(), result });
        self.keep_sending(sending);
        self.finish_closing(index);
    }

    fn keep_sending(&mut self, sending: Box<Sending>) {
        if self.sendings_free.len() < SENDINGS_KEPT {
            self.sendings_free.push(sending);
        }
    }

    fn go_on_with_file(&mut self, index: u32, next: Next, events: Option<&mut Vec<Event>>) {
        match next {
            // SAFETY: paths and buffers are in the file table's task, untouched until the completion.
            Next::Submit(entry) => unsafe { self.push(entry, Kind::File, index, 0) },
            Next::Done(tag, result) => events.unwrap_or(&mut self.ready).push(Event::FileDone { tag, result }),
        }
    }

    fn handle(&mut self, completion: Completion, woken: &mut bool, events: &mut Vec<Event>) {
        let (kind, index, generation) = Kind::of(completion.user_data);
        if kind.is_awaited() && !completion.has_more() {
            self.in_flight_count -= 1;
        }
        match kind {
            Kind::Ignored => {}
            Kind::Accept => self.on_accept(index, generation, completion, events),
            Kind::Receive => self.on_receive(index, generation, completion, events),
            Kind::Send | Kind::TriedSend => self.on_send(index, generation, completion.result, events),
            Kind::Connect => self.on_connect(index, generation, completion.result, events),
            Kind::File => {
                let next = self.files.complete(index, completion.result);
                self.go_on_with_file(index, next, Some(events));
            }
            Kind::Event => {
                *woken = true;
                self.read_event();
            }
            Kind::Woken => *woken = true,
            Kind::WakeFailed => self.peers.signal(index as usize),
            Kind::CancelFailed => self.on_cancel_failed(index, generation),
        }
    }

    /// Handles all completions that are there; those that overflowed the queue too.
    fn reap(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut woken = false;
        loop {
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.reap(&mut completions);
            for completion in completions.drain(..) {
                self.handle(completion, &mut woken, events);
            }
            self.completions = completions;
            if !self.ring.has_overflow() {
                break;
            }
            self.ring.enter(Patience::None, 1)?;
        }
        self.end_tried(events);
        if woken {
            events.push(Event::Woken);
        }
        Ok(())
    }

    /// How long `enter` may wait.
    fn patience(wait: Wait, next_retry_ns: Option<u64>) -> Patience {
        let deadline_ns = match (wait, next_retry_ns) {
            (Wait::Not, _) => return Patience::None,
            (Wait::Forever, None) => return Patience::Unlimited,
            (Wait::Forever, Some(retry_ns)) => retry_ns,
            (Wait::Gather { at_most_ns, .. }, _) => return Patience::AtMost(Duration::from_nanos(at_most_ns)),
            (Wait::Until(deadline_ns), retry_ns) => deadline_ns.min(retry_ns.unwrap_or(u64::MAX)),
        };
        let left_ns = deadline_ns.saturating_sub(clock_ns(libc::CLOCK_MONOTONIC));
        if left_ns == 0 { Patience::None } else { Patience::AtMost(Duration::from_nanos(left_ns)) }
    }
}

impl Driver for UringDriver {
    fn clock(&self) -> Clock {
        let wall_ns = clock_ns(libc::CLOCK_REALTIME);
        Clock { monotonic_ns: clock_ns(libc::CLOCK_MONOTONIC), wall_ms: (wall_ns / 1_000_000) as i64 }
    }

    fn busy_ns(&self) -> u64 {
        clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    fn listen(&mut self, address: &Address, backlog: u32, reuse_port: bool, tag: Tag) -> io::Result<Socket> {
        let listener = sockets::listen(address, backlog, reuse_port)?;
        Ok(self.accept_on(listener, address, tag))
    }

    fn accept_on(&mut self, listener: OwnedFd, address: &Address, tag: Tag) -> Socket {
        let path = match address {
            Address::Unix { path, .. } => Some(path.clone()),
            Address::Tcp(_) => None,
        };
        let state = Listener { tag, is_accepting: false, is_failing: false, retry_at_ns: 0, path };
        let index = self.slots.insert(listener, Role::Listener(Box::new(state)));
        self.arm_accept(index);
        Socket(index)
    }

    fn configure(&mut self, socket: Socket, options: SocketOptions) {
        if let Some(descriptor) = self.slots.descriptor(socket) {
            sockets::configure(descriptor, options);
        }
    }

    fn ends(&self, socket: Socket) -> Ends {
        self.slots.descriptor(socket).map(sockets::ends).unwrap_or_default()
    }

    fn start_receiving(&mut self, socket: Socket, tag: Tag) {
        let Some(slot) = self.slots.get_mut(socket.0) else { return };
        debug_assert_eq!(slot.receive, Receive::Idle, "one receive stream per socket");
        if slot.receive != Receive::Idle {
            return;
        }
        slot.receive_tag = tag;
        slot.is_stopping = false;
        self.arm_receive(socket.0);
    }

    fn stop_receiving(&mut self, socket: Socket, tag: Tag) {
        let Some(slot) = self.slots.get_mut(socket.0) else { return };
        debug_assert!(slot.receive == Receive::Idle || slot.receive_tag == tag, "another stream's tag");
        match slot.receive {
            Receive::Idle => {}
            Receive::Starved => {
                slot.receive = Receive::Idle;
                self.ready.push(Event::ReceiveEnded { tag, result: Err(io::ErrorKind::Interrupted.into()) });
            }
            Receive::Multishot | Receive::Spare(_) if slot.is_stopping => {}
            Receive::Multishot | Receive::Spare(_) => {
                slot.is_stopping = true;
                self.cancel(Kind::Receive, socket.0);
            }
        }
    }

    fn received(&self, buffer: BufferId) -> &[u8] {
        self.buffers.received(buffer)
    }

    fn recycle(&mut self, buffer: BufferId) {
        self.buffers.recycle(buffer);
    }

    fn send(&mut self, socket: Socket, segments: Vec<Segment>, tag: Tag, notice: Notice) {
        let Some(slot) = self.slots.get_mut(socket.0).filter(|slot| slot.sending.is_none()) else {
            debug_assert!(false, "one send per socket");
            let result = Err(io::Error::from_raw_os_error(libc::EBADF));
            self.ready.push(Event::Sent { tag, segments, result });
            return;
        };
        let mut sending = self.sendings_free.pop().unwrap_or_else(|| Box::new(Sending::new()));
        sending.reset(tag, segments, notice == Notice::WithNext && self.tries_sends);
        if sending.is_complete() {
            self.ready.push(Event::Sent { tag, segments: sending.take_segments(), result: Ok(()) });
            self.keep_sending(sending);
            return;
        }
        slot.sending = Some(sending);
        self.submit_send(socket.0);
    }

    fn shutdown(&mut self, socket: Socket) {
        // Not for reading, too: what is received afterwards opens the window no more, and a peer in the middle of a large request would
        // hear of the end when its probes are no longer answered, a minute later.
        if let Some(descriptor) = self.slots.descriptor(socket) {
            // Fails only where the other side was quicker.
            let _ = socket2::SockRef::from(descriptor).shutdown(Shutdown::Write);
        }
        if let Some(tag) = self.slots.get(socket.0).map(|slot| slot.receive_tag) {
            self.stop_receiving(socket, tag);
        }
    }

    fn close(&mut self, socket: Socket) {
        let Some(slot) = self.slots.get_mut(socket.0) else { return };
        if matches!(slot.role, Role::Listener(_)) {
            return self.close_listener(socket.0);
        }
        debug_assert!(!slot.is_busy(), "closed with something under way");
        let receive = slot.receive;
        slot.role = Role::Closing;
        if slot.is_busy() || receive != Receive::Idle {
            self.shutdown(socket);
        }
        self.finish_closing(socket.0);
    }

    fn connect(&mut self, address: &Address, tag: Tag) {
        if let Err(error) = self.start_connecting(address, tag) {
            self.ready.push(Event::Connected { tag, result: Err(error) });
        }
    }

    fn detach(&mut self, socket: Socket) -> DetachedSocket {
        let is_busy = self.slots.get(socket.0).is_none_or(|slot| slot.is_busy() || slot.receive != Receive::Idle);
        assert!(!is_busy, "detached with something under way");
        let descriptor = self.slots.remove(socket.0);
        DetachedSocket(descriptor.map_or(-1, |descriptor| i64::from(descriptor.into_raw_fd())))
    }

    fn attach(&mut self, socket: DetachedSocket) -> Socket {
        let descriptor = socket.0 as RawFd;
        assert!(descriptor >= 0, "attached what was not detached");
        // SAFETY: `detach` gave the descriptor's ownership to the `DetachedSocket`, which cannot be copied.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Socket(self.slots.insert(descriptor, Role::Connection))
    }

    fn file(&mut self, operation: FileOperation, tag: Tag) {
        let (index, next) = self.files.start(operation, tag);
        self.go_on_with_file(index, next, None);
    }

    fn wake(&mut self, shard: usize) {
        if shard == self.shard {
            self.ready.push(Event::Woken);
            return;
        }
        if self.wake_queued_at[shard] == self.ring.submit_count() {
            return;
        }
        let Some(descriptor) = self.peers.ring(shard) else { return self.peers.signal(shard) };
        let user_data = Kind::Woken.user_data(0, 0);
        let entry = opcode::MsgRingData::new(types::Fd(descriptor), 0, user_data, None).build();
        // SAFETY: no memory is named.
        unsafe { self.push(entry, Kind::WakeFailed, shard as u32, 0) }
        // After the push, which may have submitted.
        self.wake_queued_at[shard] = self.ring.submit_count();
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.rearm_starved();
        let next_retry_ns = self.retry_accepts();
        let patience = if self.ready.is_empty() { Self::patience(wait, next_retry_ns) } else { Patience::None };
        events.append(&mut self.ready);
        // A turn that does not wait, with nothing to submit and no work announced, needs no system call.
        if patience != Patience::None || self.ring.has_work() {
            let want = if let Wait::Gather { events, .. } = wait { events } else { 1 };
            self.ring.enter(patience, want)?;
        }
        self.reap(events)
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        self.peers.clear_ring(self.shard);
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: no memory is named.
        unsafe { self.push(entry, Kind::Ignored, 0, 0) }
        for _ in 0..DROP_ROUNDS {
            if self.in_flight_count == 0 && !self.ring.has_work() {
                break;
            }
            let patience = if self.in_flight_count > 0 { Patience::AtMost(DROP_ROUND) } else { Patience::None };
            if self.ring.enter(patience, 1).is_err() {
                break;
            }
            self.ring.reap(&mut self.completions);
            for completion in self.completions.drain(..) {
                let (kind, ..) = Kind::of(completion.user_data);
                if kind.is_awaited() && !completion.has_more() {
                    self.in_flight_count -= 1;
                }
                if kind == Kind::Accept && completion.result >= 0 {
                    // SAFETY: a descriptor that the kernel just made for us.
                    drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
                }
            }
        }
        if self.in_flight_count == 0 {
            // SAFETY: the kernel is done with all of it; none is used again.
            unsafe {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.slots);
                ManuallyDrop::drop(&mut self.files);
                ManuallyDrop::drop(&mut self.event_counter);
            }
        }
    }
}

/// Errors of accept that belong to the connection that was to come, not to us.
fn is_accept_error_of_one_connection(error: i32) -> bool {
    matches!(
        error,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EAGAIN
            | libc::EPROTO
            | libc::EPERM
            | libc::ECANCELED
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
    )
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one `timespec`; the clocks that we ask for always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
