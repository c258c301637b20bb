//! A world from a seed: virtual clock, network and disk, behind the same trait as the ring.
//!
//! ```text
//!   test:   world.connect(..) ── ClientEnd ──┐                        ┌── SimulatedDriver of shard 0 <── its core loop
//!           world.advance(t)                 │      State             ├── SimulatedDriver of shard 1
//!                 │                          ├── network, disk, rng ──┤
//!                 └── runs ─> schedule: {(time, sequence): Action} ───┘
//! ```
//!
//! 1. Whatever anybody does becomes an [`Action`] at a later time: its delay comes from the seed.
//! 2. `world.advance(t)` runs the actions up to `t`, in order of time, then of creation.
//! 3. A driver's `turn` never blocks: it hands over what was called since the last turn (as a submit does) and returns what
//!    is due. Who drives the shards decides which one runs next: one with [`SimulatedDriver::has_events`], or whose last
//!    `Wait` has passed; if there is none, the clock moves to [`World::next_event_time`] or to the nearest `Wait`.
//!
//! The same seed and the same calls give the same run: ordered maps, one generator, no clock, no addresses.
//! The driver panics where its caller breaks a rule of the trait: that is a bug that the kernel might have hidden.

mod client;
mod disk;
mod driver;
mod network;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use client::{ClientEnd, ListenerEnd};
pub use driver::SimulatedDriver;

use super::driver::{Address, Waker};
use disk::Disk;
use driver::ShardState;
use network::{Arrival, Network};

/// The wall clock at time 0: a round date in 2023.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// How the world misbehaves. Rates are in millionths of the events that they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The least and the most that a segment takes to its other end.
    pub network_delay_ns: (u64, u64),
    /// The longest segment; each is of a random length up to it.
    pub segment_bytes_max: usize,
    /// What a direction of a connection holds between its writer and its reader.
    pub window_bytes: usize,
    /// A segment that breaks its connection.
    pub reset_per_million: u32,
    /// An accept that fails for want of descriptors.
    pub accept_failure_per_million: u32,
    /// A connect that is refused though somebody listens.
    pub connect_failure_per_million: u32,
    /// How long a wake takes.
    pub wake_delay_ns: (u64, u64),
    /// Receive buffers of a driver, and their size.
    pub receive_buffers: usize,
    pub receive_buffer_bytes: usize,
    /// How long a file operation takes.
    pub disk_delay_ns: (u64, u64),
    /// A read or write that moves less than asked.
    pub short_transfer_per_million: u32,
    /// A file operation that fails with EIO; a failed sync forgets what it should have written.
    pub io_error_per_million: u32,
    /// A write that fails with ENOSPC.
    pub no_space_per_million: u32,
    /// The size of the disk.
    pub disk_bytes_max: u64,
}

impl Faults {
    /// Delays, but nothing goes wrong.
    pub const fn calm() -> Self {
        Self {
            network_delay_ns: (10_000, 100_000),
            segment_bytes_max: 16 << 10,
            window_bytes: 256 << 10,
            reset_per_million: 0,
            accept_failure_per_million: 0,
            connect_failure_per_million: 0,
            wake_delay_ns: (500, 5_000),
            receive_buffers: 64,
            receive_buffer_bytes: 16 << 10,
            disk_delay_ns: (20_000, 2_000_000),
            short_transfer_per_million: 0,
            io_error_per_million: 0,
            no_space_per_million: 0,
            disk_bytes_max: 1 << 32,
        }
    }

    /// Everything goes wrong now and then, in small pieces.
    pub const fn rough() -> Self {
        Self {
            network_delay_ns: (1_000, 5_000_000),
            segment_bytes_max: 50,
            window_bytes: 300,
            reset_per_million: 1_000,
            accept_failure_per_million: 50_000,
            connect_failure_per_million: 50_000,
            wake_delay_ns: (100, 200_000),
            receive_buffers: 3,
            receive_buffer_bytes: 32,
            disk_delay_ns: (1_000, 50_000_000),
            short_transfer_per_million: 200_000,
            io_error_per_million: 20_000,
            no_space_per_million: 20_000,
            disk_bytes_max: 1 << 32,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::calm()
    }
}

/// Something that will happen.
enum Action {
    /// Something reaches an end of a connection.
    Arrive(network::EndId, Arrival),
    /// A connection reaches the front of a listener's queue.
    Accept { listener: u64, connection: u64 },
    /// A shard's connect gets its answer.
    Connect { shard: usize, life: u64, address: Address, tag: u64 },
    /// A shard's send was taken in full, or failed.
    Sent { shard: usize, number: u32, uid: u64 },
    /// A shard's receive stream is to stop.
    StopReceiving { shard: usize, number: u32, uid: u64 },
    /// A file operation takes effect and completes.
    File { shard: usize, life: u64, operation: Box<super::driver::FileOperation>, tag: u64 },
    /// A wake arrives.
    Wake { shard: usize },
}

/// Everything there is.
struct State {
    now_ns: u64,
    wall_offset_ms: i64,
    random: fastrand::Rng,
    faults: Faults,
    schedule: BTreeMap<(u64, u64), Action>,
    next_sequence: u64,
    network: Network,
    disk: Disk,
    shards: Vec<ShardState>,
}

impl State {
    fn uid(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    fn schedule_at(&mut self, time_ns: u64, action: Action) {
        let sequence = self.uid();
        self.schedule.insert((time_ns, sequence), action);
    }

    fn schedule_after(&mut self, delay_ns: (u64, u64), action: Action) {
        let delay_ns = self.random.u64(delay_ns.0..=delay_ns.1);
        self.schedule_at(self.now_ns + delay_ns, action);
    }

    fn happens(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.random.u32(0..1_000_000) < per_million
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Arrive(end, arrival) => self.arrive(end, arrival),
            Action::Accept { listener, connection } => self.accept(listener, connection),
            Action::Connect { shard, life, address, tag } => self.finish_connect(shard, life, &address, tag),
            Action::Sent { shard, number, uid } => self.finish_send(shard, number, uid),
            Action::StopReceiving { shard, number, uid } => self.finish_receiving(shard, number, uid),
            Action::File { shard, life, operation, tag } => self.finish_file(shard, life, *operation, tag),
            Action::Wake { shard } => self.shards[shard].is_woken = true,
        }
    }
}

/// The world; clones are the same one.
#[derive(Clone)]
pub struct World {
    state: Rc<RefCell<State>>,
}

impl World {
    /// A world for so many shards.
    pub fn new(seed: u64, shards: usize, faults: Faults) -> Self {
        let state = State {
            now_ns: 1,
            wall_offset_ms: 0,
            random: fastrand::Rng::with_seed(seed),
            faults,
            schedule: BTreeMap::new(),
            next_sequence: 0,
            network: Network::default(),
            disk: Disk::default(),
            shards: (0..shards).map(|_| ShardState::default()).collect(),
        };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// The driver of a shard; one at a time. Dropping it is the death of the process on that shard.
    pub fn driver(&self, shard: usize) -> SimulatedDriver {
        SimulatedDriver::new(Rc::clone(&self.state), shard)
    }

    /// The time.
    pub fn now_ns(&self) -> u64 {
        self.state.borrow().now_ns
    }

    /// A random number from the world's generator, for the test's own decisions.
    pub fn random(&self, range: std::ops::Range<u64>) -> u64 {
        self.state.borrow_mut().random.u64(range)
    }

    /// Changes how the world misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Steps the wall clock, as an administrator might.
    pub fn step_wall_clock(&self, milliseconds: i64) {
        self.state.borrow_mut().wall_offset_ms += milliseconds;
    }

    /// When the next action is due; `None` if nothing will happen by itself.
    pub fn next_event_time(&self) -> Option<u64> {
        self.state.borrow().schedule.first_key_value().map(|(&(time_ns, _), _)| time_ns)
    }

    /// Moves the clock (never back), running everything that is due by then.
    pub fn advance(&self, to_ns: u64) {
        let mut state = self.state.borrow_mut();
        while let Some(entry) = state.schedule.first_entry() {
            let (time_ns, _) = *entry.key();
            if time_ns > to_ns {
                break;
            }
            let action = entry.remove();
            state.now_ns = state.now_ns.max(time_ns);
            state.run(action);
        }
        state.now_ns = state.now_ns.max(to_ns);
    }

    /// Moves the clock to the next action and runs what is due then; whether there was any.
    pub fn step(&self) -> bool {
        let next = self.next_event_time();
        if let Some(time_ns) = next {
            self.advance(time_ns);
        }
        next.is_some()
    }

    /// A client that connects; the shard accepts it later, or the client finds itself refused.
    pub fn connect(&self, address: &Address) -> ClientEnd {
        ClientEnd::connect(&self.state, address)
    }

    /// A server outside of the shards, for what they connect to.
    pub fn listen(&self, address: &Address) -> ListenerEnd {
        ListenerEnd::new(&self.state, address)
    }

    /// A waker as other threads would have it.
    pub fn waker(&self, shard: usize) -> SimulatedWaker {
        SimulatedWaker { is_woken: Arc::clone(&self.state.borrow().shards[shard].is_woken_from_outside) }
    }

    /// Power loss: what was not synced is lost, torn, or survives by luck; open files are gone. Drop the drivers first.
    pub fn crash_disk(&self) {
        let state = &mut *self.state.borrow_mut();
        state.schedule.retain(|_, action| !matches!(action, Action::File { .. }));
        state.disk.crash(&mut state.random);
    }

    /// What a file holds now.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state.borrow().disk.read_whole(path.as_ref())
    }

    /// Puts a file there, durably.
    pub fn write_file(&self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.state.borrow_mut().disk.write_whole(path.into(), bytes);
    }

    /// All files there are now.
    pub fn file_names(&self) -> Vec<PathBuf> {
        self.state.borrow().disk.names()
    }
}

/// Wakes a simulated shard.
pub struct SimulatedWaker {
    is_woken: Arc<AtomicBool>,
}

impl Waker for SimulatedWaker {
    fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
    }
}
