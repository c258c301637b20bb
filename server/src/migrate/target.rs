//! Connections to servers that keys are sent to, and those that are kept for the next MIGRATE.
//!
//! ```text
//!   to(order) ──> one that is kept, and still open ──> begin: AUTH, SELECT ──> write, line ... ──> keep ──> TARGETS_MAX at the most,
//!            └──> a new one                                                                                 IDLE_NS each
//! ```
//! One that fails in any way is closed.

use super::{Order, name};
use crate::reactor::driver::Address;
use crate::reactor::executor::Handle;
use crate::reactor::streams::Stream;
use crate::tasks::Tasks;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use torc_engine::command::parse_integer;
use torc_engine::journal::write_command;

/// How long one is kept, in nanoseconds.
const IDLE_NS: u64 = 10_000_000_000;
/// Kept by a shard at the most.
const TARGETS_MAX: usize = 64;
/// Each piece may take the whole time limit.
const PIECE_BYTES: usize = 64 << 10;
/// The longest answer.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What went wrong, on the way there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such host.
    Unknown,
    Writing {
        is_timeout: bool,
    },
    Reading {
        is_timeout: bool,
    },
}

impl Failure {
    /// Whether the other server has been silent for too long. A connection that could not be made counts as that: it is not
    /// tried again.
    pub(super) const fn is_timeout(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Writing { is_timeout } | Self::Reading { is_timeout } => is_timeout,
        }
    }

    /// The error.
    pub(super) fn text(self) -> Vec<u8> {
        let text = match self {
            Self::Unknown => "IOERR error or timeout connecting to the client",
            Self::Writing { .. } => "IOERR error or timeout writing to target instance",
            Self::Reading { .. } => "IOERR error or timeout reading to target instance",
        };
        text.as_bytes().to_vec()
    }
}

/// A connection to another server.
pub(super) struct Target {
    host: Vec<u8>,
    port: Vec<u8>,
    stream: Stream,
    timers: Handle,
    timeout: Duration,
    /// The selected database, where that is known.
    database: Option<i64>,
    input: Vec<u8>,
    spare: Vec<u8>,
    used_ns: u64,
}

/// Those that are kept; clones share one state.
#[derive(Clone, Default)]
pub struct Targets(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    /// The oldest first.
    targets: Vec<Target>,
    /// A task closes those that nobody wants any more.
    is_swept: bool,
}

impl Target {
    /// One that is kept, or a new one.
    pub(super) async fn to(tasks: &Tasks, order: &Order) -> Result<Self, Failure> {
        if let Some(mut kept) = tasks.targets.take(order) {
            kept.timeout = order.timeout;
            return Ok(kept);
        }
        let made = tasks.executor.timeout(order.timeout, connect(tasks, order)).await;
        let stream = made.map_err(|_| Failure::Writing { is_timeout: true })??;
        Ok(Self {
            host: order.host.clone(),
            port: order.port.clone(),
            stream,
            timers: tasks.executor.clone(),
            timeout: order.timeout,
            database: None,
            input: Vec::new(),
            spare: Vec::new(),
            used_ns: 0,
        })
    }

    /// Says who we are and which database we mean; what the other server has against it.
    pub(super) async fn begin(&mut self, order: &Order) -> Result<Option<Vec<u8>>, Failure> {
        let (mut commands, mut count) = (Vec::new(), 0);
        if let Some((user, password)) = &order.credentials {
            match user {
                Some(user) => write_command(&mut commands, &[b"AUTH".as_slice(), user, password]),
                None => write_command(&mut commands, &[b"AUTH".as_slice(), password]),
            }
            count += 1;
        }
        if self.database != Some(order.to) {
            write_command(&mut commands, &[b"SELECT".as_slice(), itoa::Buffer::new().format(order.to).as_bytes()]);
            count += 1;
        }
        if count > 0 {
            self.write(&commands).await?;
        }
        let mut refusal = None;
        for _ in 0..count {
            let line = self.line().await?;
            if let Some(text) = line.strip_prefix(b"-") {
                refusal.get_or_insert_with(|| text.to_vec());
            }
        }
        Ok(refusal)
    }

    /// Sends.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for piece in bytes.chunks(PIECE_BYTES) {
            let mut buffer = std::mem::take(&mut self.spare);
            buffer.extend_from_slice(piece);
            let sent = self.timers.timeout(self.timeout, self.stream.send(buffer)).await;
            let sent = sent.map_err(|_| Failure::Writing { is_timeout: true })?;
            self.spare = sent.map_err(|_| Failure::Writing { is_timeout: false })?;
        }
        Ok(())
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.truncate(end - usize::from(end > 0 && line[end - 1] == b'\r'));
                return Ok(line);
            }
            if self.input.len() > LINE_BYTES_MAX {
                return Err(Failure::Reading { is_timeout: false });
            }
            let received = self.timers.timeout(self.timeout, self.stream.receive(&mut self.input)).await;
            let received = received.map_err(|_| Failure::Reading { is_timeout: true })?;
            received.map_err(|_| Failure::Reading { is_timeout: false })?;
        }
    }

    /// Leaves it for the next one who wants to go there.
    pub(super) fn keep(mut self, tasks: &Tasks, database: Option<i64>) {
        (self.database, self.used_ns) = (database, tasks.executor.now_ns());
        let mut kept = tasks.targets.0.borrow_mut();
        if kept.targets.len() >= TARGETS_MAX {
            kept.targets.remove(0);
        }
        kept.targets.push(self);
        if !std::mem::replace(&mut kept.is_swept, true) {
            tasks.spawn(sweep(tasks.executor.clone(), tasks.targets.clone()));
        }
    }
}

/// Tries the host's addresses one after the other. That nobody listens there is found out, in the real server, by writing.
async fn connect(tasks: &Tasks, order: &Order) -> Result<Stream, Failure> {
    let port = parse_integer(&order.port).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let addresses = name::addresses(tasks, &order.host, port).await;
    if addresses.is_empty() {
        return Err(Failure::Unknown);
    }
    for address in addresses {
        if let Ok(stream) = tasks.operations.connect(Address::Tcp(address)).await {
            return Ok(stream);
        }
    }
    Err(Failure::Writing { is_timeout: true })
}

impl Targets {
    fn take(&self, order: &Order) -> Option<Target> {
        let mut kept = self.0.borrow_mut();
        let is_wanted = |target: &Target| target.host == order.host && target.port == order.port;
        let target = kept.targets.iter().rposition(is_wanted).map(|place| kept.targets.remove(place))?;
        (target.stream.is_idle() && target.input.is_empty()).then_some(target)
    }

    /// Closes those that have been idle until then.
    fn close_old(&self, now_ns: u64) -> bool {
        let mut kept = self.0.borrow_mut();
        kept.targets.retain(|target| target.stream.is_idle() && now_ns < target.used_ns.saturating_add(IDLE_NS));
        kept.is_swept = !kept.targets.is_empty();
        kept.is_swept
    }
}

/// Once a second, as long as there are any.
async fn sweep(timers: Handle, targets: Targets) {
    loop {
        timers.sleep(Duration::from_secs(1)).await;
        if !targets.close_old(timers.now_ns()) {
            return;
        }
    }
}
