//! The test's ends: clients of the shards, and servers that shards connect to.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::driver::Address;
use super::State;
use super::network::{Acceptor, EndId, Holder};

/// A connection held by a test. It reads only when told: a client that does not call [`Self::receive`] is one that
/// stalls. Dropping it closes.
pub struct ClientEnd {
    state: Rc<RefCell<State>>,
    /// `None`: nobody listened.
    end: Option<EndId>,
}

impl ClientEnd {
    pub(super) fn connect(state: &Rc<RefCell<State>>, address: &Address) -> Self {
        let end = state.borrow_mut().open(address, Holder::Client);
        Self { state: Rc::clone(state), end }
    }

    /// Whether nobody listened.
    pub fn is_refused(&self) -> bool {
        self.end.is_none()
    }

    /// Writes; what the window does not take follows by itself.
    pub fn send(&self, bytes: &[u8]) {
        let Some(id) = self.end else { return };
        let mut state = self.state.borrow_mut();
        if let Some(end) = state.network.end(id)
            && !end.is_finished
            && !end.is_reset
        {
            end.outgoing.extend(bytes);
            state.pump(id);
        }
    }

    /// How much of what was sent has not left.
    pub fn unsent_bytes(&self) -> usize {
        let mut state = self.state.borrow_mut();
        self.end.and_then(|id| state.network.end(id)).map_or(0, |end| end.outgoing.len())
    }

    /// Reads everything that is there.
    pub fn receive(&self) -> Vec<u8> {
        self.receive_up_to(usize::MAX)
    }

    /// Reads at most so much.
    pub fn receive_up_to(&self, bytes_max: usize) -> Vec<u8> {
        self.end.map_or_else(Vec::new, |id| self.state.borrow_mut().take_arrived(id, bytes_max))
    }

    /// Whether everything was read and the other side has ended its stream.
    pub fn is_ended(&self) -> bool {
        let mut state = self.state.borrow_mut();
        self.end
            .and_then(|id| state.network.end(id))
            .is_none_or(|end| end.arrived.is_empty() && (end.has_end_arrived || end.is_reset))
    }

    /// Whether the connection was reset.
    pub fn is_reset(&self) -> bool {
        let mut state = self.state.borrow_mut();
        self.end.and_then(|id| state.network.end(id)).is_some_and(|end| end.is_reset)
    }

    /// Ends its own direction, behind what was sent, and can still read.
    pub fn finish_sending(&self) {
        let Some(id) = self.end else { return };
        let mut state = self.state.borrow_mut();
        if let Some(end) = state.network.end(id) {
            end.is_finished = true;
            state.pump(id);
        }
    }

    /// Closes as a process does that ends in order.
    pub fn close(self) {
        drop(self);
    }

    /// Closes as a machine does that loses its power.
    pub fn reset(mut self) {
        if let Some(id) = self.end.take() {
            self.state.borrow_mut().close_end(id, true);
        }
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        if let Some(id) = self.end {
            self.state.borrow_mut().close_end(id, false);
        }
    }
}

/// A listener held by a test.
pub struct ListenerEnd {
    state: Rc<RefCell<State>>,
    uid: u64,
}

impl ListenerEnd {
    pub(super) fn new(state: &Rc<RefCell<State>>, address: &Address) -> Self {
        let uid = state.borrow_mut().listen(address, Acceptor::Test, false).expect("the test's address is free");
        Self { state: Rc::clone(state), uid }
    }

    /// The next connection, if one is there.
    pub fn accept(&self) -> Option<ClientEnd> {
        let end = self.state.borrow_mut().network.take_from_queue(self.uid)?;
        Some(ClientEnd { state: Rc::clone(&self.state), end: Some(end) })
    }
}

impl Drop for ListenerEnd {
    fn drop(&mut self) {
        self.state.borrow_mut().network.remove_listener(self.uid);
    }
}
