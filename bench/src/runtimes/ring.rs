//! The bare loop on io_uring, with every option that the comparison turns.

use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{CONNECTIONS, Cpu, Meter, Phase, Responder, SERVER_CORE, Workload, load, pin};

/// When the kernel runs completions' work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRun {
    /// At any return to user space, by interrupt if need be.
    Default,
    /// At any return to user space.
    Cooperative,
    /// In our own enter.
    Deferred,
}

/// How replies go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendBy {
    /// All replies of a turn in one buffer.
    Send,
    /// A buffer a reply, one sendmsg a turn.
    SendMsg,
    /// A buffer a reply in a ring of the connection's own, one bundle a turn.
    Bundle,
    /// As `Send`, each reply from where it is, with SEND_ZC.
    ZeroCopy,
    /// As `ZeroCopy`, but with plain SEND: what it is compared with.
    InPlace,
}

/// What is turned.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    pub multishot_receive: bool,
    pub direct_descriptors: bool,
    pub task_run: TaskRun,
    pub registered_ring: bool,
    pub submission_array: bool,
    pub send_by: SendBy,
    pub buffers: u16,
    pub buffer_bytes: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            multishot_receive: true,
            direct_descriptors: false,
            task_run: TaskRun::Deferred,
            registered_ring: true,
            submission_array: false,
            send_by: SendBy::Send,
            buffers: 256,
            buffer_bytes: 16 << 10,
        }
    }
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
/// The group of receive buffers; connection `i` sends bundles from group `i + 1`.
const RECEIVE_GROUP: u16 = 0;
const BUNDLE_BUFFERS: u16 = 64;

/// A ring of buffers that the kernel picks from. Leaked on purpose: a round is one thread's life, and the kernel may hold on
/// to it until its ring is gone.
struct BufferRing {
    entries: *mut BufRingEntry,
    count: u16,
    tail: u16,
}

impl BufferRing {
    fn new(submitter: &Submitter<'_>, group: u16, count: u16) -> Self {
        let layout =
            Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), 4096).expect("a small ring");
        // SAFETY: the layout is not empty and page-aligned; the memory is never freed, so it outlives the ring.
        #[allow(clippy::cast_ptr_alignment)]
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        assert!(!entries.is_null());
        // SAFETY: as above; it holds `count` entries and is page-aligned.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, count, group, 0) }.expect("buffer rings");
        Self { entries, count, tail: 0 }
    }

    fn put(&mut self, id: u16, start: *const u8, bytes: u32) {
        let slot = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the slot is inside of the ring, and the kernel reads it only after the tail is published.
        unsafe {
            let entry = &mut *self.entries.add(slot);
            entry.set_addr(start as u64);
            entry.set_len(bytes);
            entry.set_bid(id);
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}

#[derive(Default)]
struct Connection {
    descriptor: i32,
    leftover: Vec<u8>,
    /// For single receives.
    input: Vec<u8>,
    /// Replies of this turn, and where each ends; under way after the turn.
    replies: Vec<u8>,
    ends: Vec<usize>,
    sending: Vec<u8>,
    vectors: Vec<libc::iovec>,
    header: Option<Box<libc::msghdr>>,
    /// Replies in place (of `value_bytes`) that are still to be sent, and completions to come.
    in_place: usize,
    under_way: usize,
    sent_bytes: usize,
    bundle: Option<BufferRing>,
    is_dirty: bool,
}

struct Server<'a> {
    options: RingOptions,
    submitter: Submitter<'a>,
    queue: SubmissionQueue<'a>,
    connections: Vec<Connection>,
    receive_ring: BufferRing,
    receive_memory: *mut u8,
    responder: Responder,
    meter: Meter,
    dirty: Vec<usize>,
    open: usize,
    accepted: usize,
}

/// Runs one round; the cost of a command.
pub fn serve(options: RingOptions, workload: Workload) -> Cpu {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("bound");
    let phase = Phase::default();
    let load = load::start(address, workload, phase.clone());
    let server = std::thread::spawn(move || {
        pin(SERVER_CORE);
        run(options, workload, &listener, phase)
    });
    load.join().expect("the load ends");
    server.join().expect("the server ends")
}

fn build(options: RingOptions) -> IoUring {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(8192).setup_single_issuer().setup_submit_all();
    match options.task_run {
        TaskRun::Default => {}
        TaskRun::Cooperative => {
            builder.setup_coop_taskrun();
        }
        TaskRun::Deferred => {
            builder.setup_defer_taskrun();
        }
    }
    if !options.submission_array {
        builder.setup_no_sqarray();
    }
    builder.build(1024).expect("io_uring")
}

fn run(options: RingOptions, workload: Workload, listener: &TcpListener, phase: Phase) -> Cpu {
    let mut ring = build(options);
    let (mut submitter, queue, mut completions) = ring.split();
    if options.registered_ring {
        submitter.register_ring_fd().expect("registered rings");
    }
    if options.direct_descriptors {
        submitter.register_files_sparse(256).expect("direct descriptors");
    }
    let receive_ring = BufferRing::new(&submitter, RECEIVE_GROUP, options.buffers);
    let bytes = usize::from(options.buffers) * options.buffer_bytes as usize;
    let receive_memory = Box::into_raw(vec![0u8; bytes].into_boxed_slice());
    let mut server = Server {
        options,
        submitter,
        queue,
        connections: Vec::new(),
        receive_ring,
        receive_memory: receive_memory.cast(),
        responder: Responder::new(workload.value_bytes),
        meter: Meter::new(phase),
        dirty: Vec::new(),
        open: 0,
        accepted: 0,
    };
    for id in 0..options.buffers {
        server.recycle(id);
    }
    let accept =
        opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(options.direct_descriptors).build();
    server.push(&accept.user_data(ACCEPT));
    while server.accepted < CONNECTIONS || server.open > 0 {
        server.queue.sync();
        server.submitter.submit_and_wait(1).expect("enter");
        server.queue.sync();
        completions.sync();
        for completion in &mut completions {
            server.handle(&completion);
        }
        completions.sync();
        server.flush();
    }
    let cost = server.meter.cost();
    drop(server);
    drop(completions);
    drop(ring);
    // SAFETY: from a box above; the ring is gone, and with it the kernel's interest.
    drop(unsafe { Box::from_raw(receive_memory) });
    cost
}

impl Server<'_> {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: receive memory is leaked; what a send names is kept by its connection until the completion.
        while unsafe { self.queue.push(entry) }.is_err() {
            self.queue.sync();
            self.submitter.submit().expect("enter");
            self.queue.sync();
        }
    }

    fn recycle(&mut self, id: u16) {
        let offset = usize::from(id) * self.options.buffer_bytes as usize;
        // SAFETY: `id` is one of the buffers.
        let start = unsafe { self.receive_memory.add(offset) };
        self.receive_ring.put(id, start, self.options.buffer_bytes);
    }

    fn handle(&mut self, completion: &cqueue::Entry) {
        let (kind, index) = (completion.user_data() & 3, (completion.user_data() >> 2) as usize);
        match kind {
            ACCEPT => self.accept(completion.result()),
            RECEIVE => self.receive(index, completion),
            _ => self.sent(index, completion),
        }
    }

    fn accept(&mut self, descriptor: i32) {
        assert!(descriptor >= 0, "accept: {}", std::io::Error::from_raw_os_error(-descriptor));
        if !self.options.direct_descriptors {
            let on: i32 = 1;
            // SAFETY: the kernel reads one integer.
            unsafe {
                libc::setsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), 4);
            }
        }
        let index = self.connections.len();
        let mut connection = Connection { descriptor, ..Connection::default() };
        if self.options.send_by == SendBy::Bundle {
            connection.bundle = Some(BufferRing::new(&self.submitter, index as u16 + 1, BUNDLE_BUFFERS));
        }
        if !self.options.multishot_receive {
            connection.input = vec![0; self.options.buffer_bytes as usize];
        }
        self.connections.push(connection);
        self.accepted += 1;
        self.open += 1;
        self.arm(index);
    }

    fn arm(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let descriptor = connection.descriptor;
        let (start, bytes) = (connection.input.as_mut_ptr(), connection.input.len() as u32);
        let entry = match (self.options.multishot_receive, self.options.direct_descriptors) {
            (true, false) => opcode::RecvMulti::new(Fd(descriptor), RECEIVE_GROUP).build(),
            (true, true) => opcode::RecvMulti::new(Fixed(descriptor as u32), RECEIVE_GROUP).build(),
            (false, false) => opcode::Recv::new(Fd(descriptor), start, bytes).build(),
            (false, true) => opcode::Recv::new(Fixed(descriptor as u32), start, bytes).build(),
        };
        self.push(&entry.user_data(RECEIVE | (index as u64) << 2));
    }

    fn receive(&mut self, index: usize, completion: &cqueue::Entry) {
        let result = completion.result();
        if result == -libc::ENOBUFS {
            return self.arm(index);
        }
        if result <= 0 {
            self.open -= 1;
            return self.meter.count(0);
        }
        let id = cqueue::buffer_select(completion.flags());
        let connection = &mut self.connections[index];
        let input = match id {
            Some(id) => {
                let offset = usize::from(id) * self.options.buffer_bytes as usize;
                // SAFETY: the kernel filled so much of the buffer and does not touch it until it is recycled.
                unsafe { std::slice::from_raw_parts(self.receive_memory.add(offset), result as usize) }
            }
            None => &connection.input[..result as usize],
        };
        let by_place = matches!(self.options.send_by, SendBy::ZeroCopy | SendBy::InPlace);
        let (replies, ends, in_place) = (&mut connection.replies, &mut connection.ends, &mut connection.in_place);
        let answer = |reply: &[u8]| {
            if by_place && reply.len() > 5 {
                *in_place += 1;
            } else {
                replies.extend_from_slice(reply);
                ends.push(replies.len());
            }
        };
        let commands = self.responder.answer_stream(&mut connection.leftover, input, answer);
        if !std::mem::replace(&mut connection.is_dirty, true) {
            self.dirty.push(index);
        }
        self.meter.count(commands);
        if let Some(id) = id {
            self.recycle(id);
        }
        if id.is_none() || !cqueue::more(completion.flags()) {
            self.arm(index);
        }
    }

    /// Sends the replies of this turn.
    fn flush(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            self.connections[index].is_dirty = false;
            self.send(index);
        }
    }

    fn send(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.under_way > 0 {
            return;
        }
        let user_data = SEND | (index as u64) << 2;
        let (flags, descriptor) = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL, connection.descriptor);
        let is_direct = self.options.direct_descriptors;
        if connection.in_place > 0 {
            connection.in_place -= 1;
            connection.under_way = 1;
            let (start, bytes) = (self.responder.value_reply.as_ptr(), self.responder.value_reply.len() as u32);
            let entry = if self.options.send_by == SendBy::ZeroCopy {
                opcode::SendZc::new(Fd(descriptor), start, bytes).flags(flags).build()
            } else {
                opcode::Send::new(Fd(descriptor), start, bytes).flags(flags).build()
            };
            return self.push(&entry.user_data(user_data));
        }
        if connection.replies.is_empty() {
            return;
        }
        connection.sending.clear();
        std::mem::swap(&mut connection.sending, &mut connection.replies);
        connection.under_way = 1;
        connection.sent_bytes = 0;
        let (start, bytes) = (connection.sending.as_ptr(), connection.sending.len() as u32);
        let entry = match self.options.send_by {
            SendBy::SendMsg => connection.message(flags),
            SendBy::Bundle => connection.fill_bundle(index, flags),
            _ if is_direct => opcode::Send::new(Fixed(descriptor as u32), start, bytes).flags(flags).build(),
            _ => opcode::Send::new(Fd(descriptor), start, bytes).flags(flags).build(),
        };
        connection.ends.clear();
        self.push(&entry.user_data(user_data));
    }

    fn sent(&mut self, index: usize, completion: &cqueue::Entry) {
        let connection = &mut self.connections[index];
        // A zero-copy send completes twice: sent, and the memory is free again.
        if cqueue::more(completion.flags()) && self.options.send_by == SendBy::ZeroCopy {
            return;
        }
        if cqueue::notif(completion.flags()) || completion.result() < 0 {
            connection.under_way = 0;
            return self.send(index);
        }
        connection.sent_bytes += completion.result() as usize;
        let is_rest_to_come =
            self.options.send_by == SendBy::Bundle && connection.sent_bytes < connection.sending.len();
        if is_rest_to_come {
            let entry = opcode::SendBundle::new(Fd(connection.descriptor), index as u16 + 1);
            let entry = entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
            return self.push(&entry.user_data(SEND | (index as u64) << 2));
        }
        connection.under_way = 0;
        self.send(index);
    }
}

impl Connection {
    /// The replies, a vector each.
    fn message(&mut self, flags: i32) -> squeue::Entry {
        self.vectors.clear();
        let mut start = 0;
        for end in &self.ends {
            let bytes = &mut self.sending[start..*end];
            self.vectors.push(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() });
            start = *end;
        }
        // SAFETY: a header of zeroes is a valid empty message.
        let header = self.header.get_or_insert_with(|| Box::new(unsafe { std::mem::zeroed() }));
        header.msg_iov = self.vectors.as_mut_ptr();
        header.msg_iovlen = self.vectors.len();
        opcode::SendMsg::new(Fd(self.descriptor), &raw const **header).flags(flags as u32).build()
    }

    /// The replies, a buffer each of the connection's ring.
    fn fill_bundle(&mut self, index: usize, flags: i32) -> squeue::Entry {
        let ring = self.bundle.as_mut().expect("made at accept");
        let mut start = 0;
        for (id, end) in self.ends.iter().enumerate() {
            let bytes = &self.sending[start..*end];
            ring.put(id as u16, bytes.as_ptr(), bytes.len() as u32);
            start = *end;
        }
        opcode::SendBundle::new(Fd(self.descriptor), index as u16 + 1).flags(flags).build()
    }
}
