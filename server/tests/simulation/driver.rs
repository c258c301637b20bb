//! The simulated driver, with a `turn` that sleeps as the ring's does: by giving the thread to others.
//!
//! A shard that gathers sleeps through whatever is less than it waits for, and nobody wakes it: its time does.

use super::coroutine::{Pause, pause};
use std::io;
use std::os::fd::OwnedFd;
use torc_server::reactor::driver::{
    Address, BufferId, Clock, DetachedSocket, Driver, Ends, Event, FileOperation, Notice, Segment, Socket,
    SocketOptions, Tag, Wait,
};
use torc_server::reactor::simulated::SimulatedDriver;

/// A driver inside a coroutine.
pub struct SleepingDriver {
    /// The world as the shard sees it.
    pub inner: SimulatedDriver,
    /// A bug on purpose: wakes of other shards get lost.
    pub loses_wakes: bool,
}

impl Driver for SleepingDriver {
    fn clock(&self) -> Clock {
        self.inner.clock()
    }

    fn busy_ns(&self) -> u64 {
        self.inner.busy_ns()
    }

    fn listen(&mut self, address: &Address, backlog: u32, reuse_port: bool, tag: Tag) -> io::Result<Socket> {
        self.inner.listen(address, backlog, reuse_port, tag)
    }

    fn accept_on(&mut self, listener: OwnedFd, address: &Address, tag: Tag) -> Socket {
        self.inner.accept_on(listener, address, tag)
    }

    fn configure(&mut self, socket: Socket, options: SocketOptions) {
        self.inner.configure(socket, options);
    }

    fn ends(&self, socket: Socket) -> Ends {
        self.inner.ends(socket)
    }

    fn start_receiving(&mut self, socket: Socket, tag: Tag) {
        self.inner.start_receiving(socket, tag);
    }

    fn stop_receiving(&mut self, socket: Socket, tag: Tag) {
        self.inner.stop_receiving(socket, tag);
    }

    fn received(&self, buffer: BufferId) -> &[u8] {
        self.inner.received(buffer)
    }

    fn recycle(&mut self, buffer: BufferId) {
        self.inner.recycle(buffer);
    }

    fn send(&mut self, socket: Socket, segments: Vec<Segment>, tag: Tag, notice: Notice) {
        self.inner.send(socket, segments, tag, notice);
    }

    fn shutdown(&mut self, socket: Socket) {
        self.inner.shutdown(socket);
    }

    fn close(&mut self, socket: Socket) {
        self.inner.close(socket);
    }

    fn connect(&mut self, address: &Address, tag: Tag) {
        self.inner.connect(address, tag);
    }

    fn detach(&mut self, socket: Socket) -> DetachedSocket {
        self.inner.detach(socket)
    }

    fn attach(&mut self, socket: DetachedSocket) -> Socket {
        self.inner.attach(socket)
    }

    fn file(&mut self, operation: FileOperation, tag: Tag) {
        self.inner.file(operation, tag);
    }

    fn wake(&mut self, shard: usize) {
        if !self.loses_wakes {
            self.inner.wake(shard);
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        let now_ns = self.inner.clock().monotonic_ns;
        let (until_ns, wanted) = match wait {
            Wait::Not => (now_ns, 0),
            Wait::Until(time_ns) => (time_ns, 1),
            Wait::Gather { events, at_most_ns } => (now_ns + at_most_ns, events as usize),
            Wait::Forever => (u64::MAX, 1),
        };
        let is_gathering = matches!(wait, Wait::Gather { .. });
        loop {
            self.inner.turn(wait, events)?;
            let counts = |event: &&Event| !(is_gathering && matches!(event, Event::Sent { .. }));
            if self.inner.clock().monotonic_ns >= until_ns || events.iter().filter(counts).count() >= wanted {
                return Ok(());
            }
            pause(if is_gathering { Pause::Gathering { until_ns } } else { Pause::Asleep });
        }
    }
}
