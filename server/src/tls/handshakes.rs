//! The thread for handshakes.
//!
//! ```text
//!   shard: bytes of a client that is not known yet ── session ──> thread: keys, signatures, certificates
//!     ^                                                              │
//!     └───────── in the shard's inbox: the session, and what it has come to <──┘
//! ```
//! A handshake takes a core 0.6 ms (ECDSA) to 1.4 ms (RSA) where both sides have certificates, a command a thousandth of that. On a shard,
//! even one a turn would be most of what the shard does while many clients come; here it takes what cores have to spare, at a lower priority than shards, and
//! ten thousand of them make those who come wait, not those who are there.
//!
//! Invariants: a connection has one session, so one job at a time: jobs are bounded by clients. The thread never waits for a shard.

use super::acceptor::state_of_files;
use super::session::{Failure, Progress, Session};
use crate::core::Core;
use crate::core::connection::ConnectionKey;
use crate::mailbox::Message;
use crate::reactor::driver::Waker;
use crate::shared::Shared;
use crate::tasks::Assignment;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use torc_engine::transaction::inbox::Node;

/// How much the thread gives way to shards.
const NICENESS: i32 = 10;
/// How often it looks at the clock while there is nothing to do.
const TICK: Duration = Duration::from_secs(1);

/// A session whose next step is due.
struct Job {
    shard: usize,
    key: ConnectionKey,
    session: Box<Session>,
}

/// A session that has made its step.
pub struct Step {
    /// It.
    pub session: Box<Session>,
    /// How far it has come.
    pub outcome: Result<Progress, Failure>,
    /// What the client has sent behind its handshake.
    pub plain: Vec<u8>,
}

impl Step {
    /// Makes the step.
    pub fn of(mut session: Box<Session>) -> Self {
        let mut plain = Vec::new();
        let outcome = session.read(&mut plain);
        session.trim();
        Self { session, outcome, plain }
    }
}

/// The thread, as shards know it.
#[derive(Debug, Default)]
pub struct Handshakes {
    jobs: Mutex<Option<Sender<Job>>>,
    /// Of each shard, until the thread begins, which has them then.
    wakers: Mutex<Option<Wakers>>,
}

struct Wakers(Vec<Box<dyn Waker>>);

impl fmt::Debug for Wakers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} wakers", self.0.len())
    }
}

impl Handshakes {
    fn jobs(&self) -> MutexGuard<'_, Option<Sender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it wakes the shards with, when it is wanted.
    pub fn prepare(&self, wakers: Vec<Box<dyn Waker>>) {
        *self.wakers.lock().unwrap_or_else(PoisonError::into_inner) = Some(Wakers(wakers));
    }

    /// Starts it, unless it has been.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
        let wakers = shared.tls.handshakes.wakers.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Wakers(wakers)) = wakers else { return Ok(()) };
        let (jobs, received) = mpsc::channel();
        *shared.tls.handshakes.jobs() = Some(jobs);
        let shared = shared.clone();
        std::thread::Builder::new().name("handshakes".to_owned()).spawn(move || {
            // Without the right to it, it competes as an equal.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            run(&shared, &received, &wakers);
        })?;
        Ok(())
    }

    /// Gives it a session; false if it has ended, or never began.
    pub fn give(&self, shard: usize, key: ConnectionKey, session: Box<Session>) -> bool {
        self.jobs().as_ref().is_some_and(|jobs| jobs.send(Job { shard, key, session }).is_ok())
    }

    /// Ends it when it has done what it was given.
    pub fn stop(&self) {
        *self.jobs() = None;
    }
}

fn run(shared: &Shared, jobs: &Receiver<Job>, wakers: &[Box<dyn Waker>]) {
    let mut files = Files { looked: Instant::now(), state: state_of_files(&shared.config().tls) };
    loop {
        match jobs.recv_timeout(TICK) {
            Ok(Job { shard, key, session }) => {
                let step = Step::of(session);
                let act = move |core: &mut Core| core.handshake_made_a_step(key, step);
                shared.mailboxes.push_home(shard, Node::new(Message::Assignment(Assignment(Box::new(act)))));
                if shared.mailboxes.take_sleeper(shard) {
                    wakers[shard].wake();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        files.look(shared);
    }
}

/// `tls-auto-reload-interval`.
struct Files {
    looked: Instant,
    state: Vec<Option<(u64, std::time::SystemTime)>>,
}

impl Files {
    /// Reads them again if they have changed since the last look.
    fn look(&mut self, shared: &Shared) {
        if self.looked.elapsed() < TICK {
            return;
        }
        let config = shared.config().tls.clone();
        let interval = Duration::from_secs(u64::from(config.reload_interval_s));
        if interval.is_zero() || !config.is_used() || self.looked.elapsed() < interval {
            return;
        }
        self.looked = Instant::now();
        let state = state_of_files(&config);
        if state == self.state {
            return;
        }
        self.state = state;
        match shared.tls.configure(&config) {
            Ok(()) => tracing::info!("The files of TLS have changed: new connections are served with them"),
            Err(reason) => {
                tracing::warn!("The files of TLS have changed, and those before stay in use: {reason}");
            }
        }
    }
}
