//! Waking a sleeping shard: MSG_RING against an eventfd whose read is under way in the sleeper's ring.
//!
//! Two threads on two cores wake each other in turn; both sleep in between, as shards without load do. Shown is the CPU time
//! of both threads for one wake (sending it, being woken, going to sleep again), and the time from wake to wake.

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::{LOAD_CORE, SERVER_CORE, median, pin, thread_cpu};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    MessageRing,
    /// The waker writes with a submission.
    EventSubmission,
    /// The waker writes with a system call.
    EventCall,
}

const WOKEN: u64 = 1;
const READ: u64 = 2;

/// One of the two threads.
struct Player {
    by: By,
    own_event: RawFd,
    peer_event: RawFd,
    to_peer: Sender<RawFd>,
    from_peer: Receiver<RawFd>,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_us: f64,
    latency_us: f64,
}

/// Measures all ways in alternating rounds and prints the table.
pub fn compare_wakes(rounds: usize, measured: Duration) {
    let ways = [
        ("MSG_RING", By::MessageRing),
        ("eventfd, written by the ring", By::EventSubmission),
        ("eventfd, written by a system call", By::EventCall),
    ];
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (index, (_, by)) in ways.iter().enumerate() {
            costs[index].push(play(*by, measured));
        }
    }
    println!("\n### wake\n\n| variant | CPU us of both threads a wake | us from wake to wake |\n|---|---|---|");
    for ((name, _), costs) in ways.iter().zip(&costs) {
        let cpu_us = median(costs.iter().map(|cost| cost.cpu_us));
        let latency_us = median(costs.iter().map(|cost| cost.latency_us));
        println!("| {name} | {cpu_us:.2} | {latency_us:.2} |");
    }
    println!();
}

fn play(by: By, measured: Duration) -> Cost {
    // SAFETY: no memory is involved; the descriptors are checked.
    let events = unsafe { [libc::eventfd(0, libc::EFD_CLOEXEC), libc::eventfd(0, libc::EFD_CLOEXEC)] };
    assert!(events.iter().all(|event| *event >= 0), "eventfd: {}", std::io::Error::last_os_error());
    // One end for both: who is woken by the last wake must see that the time is over, too.
    let end = Instant::now() + measured;
    let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
    let first = Player { by, own_event: events[0], peer_event: events[1], to_peer: to_second, from_peer: from_second };
    let second = Player { by, own_event: events[1], peer_event: events[0], to_peer: to_first, from_peer: from_first };
    let second = std::thread::spawn(move || {
        pin(LOAD_CORE);
        second.run(false, end)
    });
    let first = std::thread::spawn(move || {
        pin(SERVER_CORE);
        first.run(true, end)
    });
    let (first, second) = (first.join().expect("plays"), second.join().expect("plays"));
    for event in events {
        // SAFETY: our own descriptors, closed once.
        unsafe { libc::close(event) };
    }
    // Each of the two sent `wakes` wakes.
    let wakes = (first.wakes + second.wakes).max(1) as f64;
    Cost { cpu_us: (first.cpu_us + second.cpu_us) / wakes, latency_us: first.elapsed.as_secs_f64() * 1e6 / wakes }
}

struct Score {
    wakes: u64,
    cpu_us: f64,
    elapsed: Duration,
}

impl Player {
    /// Wakes and is woken until the time is over; who starts also ends, with a wake that the other does not answer.
    fn run(&self, starts: bool, end: Instant) -> Score {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_no_sqarray();
        let mut ring = builder.build(64).expect("io_uring");
        let descriptor = ring.as_raw_fd();
        let (mut submitter, mut queue, mut completions) = ring.split();
        submitter.register_ring_fd().expect("registered rings");
        let counter: &'static mut u64 = Box::leak(Box::new(0));
        let counter: *mut u64 = counter;
        let one: &'static u64 = Box::leak(Box::new(1));
        let read = opcode::Read::new(Fd(self.own_event), counter.cast(), 8).build().user_data(READ);
        let mut push = |entry: &squeue::Entry| {
            // SAFETY: what the entries name is leaked.
            unsafe { queue.push(entry) }.expect("room");
            queue.sync();
        };
        if self.by != By::MessageRing {
            push(&read);
            submitter.submit().expect("enter");
        }
        self.to_peer.send(descriptor).expect("the peer is there");
        let peer = self.from_peer.recv().expect("the peer is there");
        let wake = match self.by {
            By::MessageRing => Some(opcode::MsgRingData::new(Fd(peer), 0, WOKEN, None).build()),
            By::EventSubmission => {
                Some(opcode::Write::new(Fd(self.peer_event), std::ptr::from_ref(one).cast(), 8).build())
            }
            By::EventCall => None,
        };
        let wake = wake.map(|entry| entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(0));
        let (start, cpu_start, mut wakes) = (Instant::now(), thread_cpu(), 0);
        let mut must_wake = starts;
        loop {
            let is_over = Instant::now() > end;
            if must_wake {
                wakes += 1;
                match &wake {
                    // A write by the ring is finished only in a later enter, so the last wake of all is a call.
                    Some(entry) if !is_over || self.by == By::MessageRing => push(entry),
                    // SAFETY: writes 8 bytes from a live u64.
                    _ => unsafe {
                        libc::write(self.peer_event, std::ptr::from_ref(one).cast(), 8);
                    },
                }
            }
            // Who is past the time has just sent the last wake.
            if must_wake && is_over {
                submitter.submit().expect("enter");
                break;
            }
            submitter.submit_and_wait(1).expect("enter");
            completions.sync();
            must_wake = false;
            for completion in &mut completions {
                must_wake = true;
                if completion.user_data() == READ {
                    push(&read);
                }
            }
            completions.sync();
        }
        let cpu = thread_cpu();
        // The ring must stay until the peer's last wake has gone out.
        let _ = self.to_peer.send(0);
        let _ = self.from_peer.recv_timeout(Duration::from_secs(5));
        let cpu_us = cpu.user_us - cpu_start.user_us + cpu.system_us - cpu_start.system_us;
        Score { wakes, cpu_us, elapsed: start.elapsed() }
    }
}
