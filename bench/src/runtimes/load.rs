//! The load: one thread, one batch under way on every connection, all replies awaited before the next batch.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CONNECTIONS, LOAD_CORE, MEASURED, OVER, Phase, SET_EVERY, VALUE_BYTES, Workload, pin};

const WARM_UP: Duration = Duration::from_millis(200);
/// A batch whose replies do not come for so long: the server is broken.
const PATIENCE_MS: i32 = 10_000;

/// A batch of requests and the length of its replies.
struct Batch {
    requests: Vec<u8>,
    reply_bytes: usize,
}

struct Client {
    stream: TcpStream,
    /// Bytes of replies to come.
    awaited_bytes: usize,
    batch_index: usize,
}

/// Starts the load against a listener; it ends after the workload's time.
pub(super) fn start(address: SocketAddr, workload: Workload, phase: Phase) -> JoinHandle<()> {
    std::thread::spawn(move || {
        pin(LOAD_CORE);
        run(address, workload, &phase);
    })
}

fn run(address: SocketAddr, workload: Workload, phase: &Phase) {
    let batches: Vec<Batch> = (0..SET_EVERY).map(|index| batch(index, workload)).collect();
    let epoll = Epoll::new();
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|index| {
            let stream = TcpStream::connect(address).expect("the server listens");
            stream.set_nodelay(true).expect("TCP");
            epoll.add(stream.as_raw_fd(), index as u64);
            Client { stream, awaited_bytes: 0, batch_index: index }
        })
        .collect();
    for client in &mut clients {
        client.send(&batches);
    }
    let start = Instant::now();
    let mut scratch = vec![0; 256 << 10];
    let mut ready = Vec::new();
    loop {
        let elapsed = start.elapsed();
        if elapsed > WARM_UP + workload.measured {
            break;
        }
        if elapsed > WARM_UP {
            phase.0.store(MEASURED, Ordering::Relaxed);
        }
        epoll.wait(&mut ready);
        assert!(!ready.is_empty(), "no reply for {PATIENCE_MS} ms");
        for index in &ready {
            let client = &mut clients[*index as usize];
            let count = client.stream.read(&mut scratch).expect("the server goes on");
            assert!(count > 0 && count <= client.awaited_bytes, "{count} bytes of {}", client.awaited_bytes);
            client.awaited_bytes -= count;
            if client.awaited_bytes == 0 {
                client.send(&batches);
            }
        }
    }
    phase.0.store(OVER, Ordering::Relaxed);
}

impl Client {
    fn send(&mut self, batches: &[Batch]) {
        self.batch_index = (self.batch_index + 1) % batches.len();
        let batch = &batches[self.batch_index];
        self.awaited_bytes = batch.reply_bytes;
        self.stream.write_all(&batch.requests).expect("the server goes on");
    }
}

/// One of the batches that follow each other, so that one command in [`SET_EVERY`] is a SET.
fn batch(index: usize, workload: Workload) -> Batch {
    let (mut requests, mut reply_bytes) = (Vec::new(), 0);
    for position in 0..workload.pipeline {
        let number = index * workload.pipeline + position;
        let key = format!("key:{number:012}");
        if number.is_multiple_of(SET_EVERY) {
            let value = "v".repeat(VALUE_BYTES);
            let request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${VALUE_BYTES}\r\n{value}\r\n", key.len());
            requests.extend_from_slice(request.as_bytes());
            reply_bytes += "+OK\r\n".len();
        } else {
            requests.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes());
            reply_bytes += format!("${}\r\n\r\n", workload.value_bytes).len() + workload.value_bytes;
        }
    }
    Batch { requests, reply_bytes }
}

/// Readiness of descriptors, level-triggered.
pub(super) struct Epoll(i32);

impl Epoll {
    pub(super) fn new() -> Self {
        // SAFETY: no memory is involved.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(descriptor >= 0, "epoll_create1: {}", std::io::Error::last_os_error());
        Self(descriptor)
    }

    pub(super) fn add(&self, descriptor: i32, data: u64) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: data };
        // SAFETY: the kernel reads one event.
        let result = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) };
        assert!(result == 0, "epoll_ctl: {}", std::io::Error::last_os_error());
    }

    pub(super) fn remove(&self, descriptor: i32) {
        // SAFETY: the kernel takes no event for this.
        unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_DEL, descriptor, std::ptr::null_mut()) };
    }

    pub(super) fn wait(&self, ready: &mut Vec<u64>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, PATIENCE_MS) };
        ready.clear();
        ready.extend(events.iter().take(count.max(0) as usize).map(|event| event.u64));
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::close(self.0) };
    }
}
