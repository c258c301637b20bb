//! The simulated driver, with a `turn` that sleeps as the ring's does: by giving the thread to others.

use super::coroutine::{Pause, pause};
use std::io;
use torc_server::reactor::driver::{
    Address, BufferId, Clock, DetachedSocket, Driver, Ends, Event, FileOperation, Segment, Socket, SocketOptions, Tag,
    Wait,
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

    fn send(&mut self, socket: Socket, segments: Vec<Segment>, tag: Tag) {
        self.inner.send(socket, segments, tag);
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
        let wait = match wait {
            // It ends with the first event, which is one of the ways that the real one may end.
            Wait::Gather { at_most_ns, .. } => Wait::Until(self.inner.clock().monotonic_ns + at_most_ns),
            other => other,
        };
        loop {
            self.inner.turn(wait, events)?;
            let is_over = match wait {
                Wait::Not => true,
                Wait::Until(time_ns) => self.inner.clock().monotonic_ns >= time_ns,
                Wait::Forever | Wait::Gather { .. } => false,
            };
            if is_over || !events.is_empty() {
                return Ok(());
            }
            pause(Pause::Asleep(wait));
        }
    }
}
