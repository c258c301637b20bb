//! The control plane: one thread with a glommio executor, beside the shards and never waited for by them. It feels their
//! pulse, feeds systemd's watchdog, and answers HTTP on the admin port, so it tells which shard hangs while that shard hangs.
//!
//! ```text
//!   shards                                     control thread (glommio, no core of its own)
//!     Gauges: turns, command begun  <── reads ── pulse     every 100 ms: who turns? wakes who has not turned for a while
//!     scripts that run for long     <── reads ──   │ hangs: which shard, for how long, on what
//!                                                  ├──> log lines, `watchdog` ──> systemd (WATCHDOG=1 while nobody hangs)
//!     inbox  <── Assignment, waker ── figures      │
//!       └─ ShardFigures, in a place ──>  │ waits 20 ms at the most, then the last known ones count, marked stale
//!                                        ▼         ▼
//!   admin port ── visitors ── http ──> pages: /health /ready /metrics /api/status and / (console.html)
//!                 sockets     bytes            metrics: INFO's fields under Prometheus's names
//! ```
//!
//! Invariants:
//! 1. Nothing here waits for a shard beyond [`figures::PATIENCE`], and no shard ever waits for anything here.
//! 2. Figures are those of INFO: a metric is one of its fields, or one of [`crate::control::ShardFigures`]. Nothing is counted twice.
//! 3. Every visitor is bounded: bytes of a head, time for one, time to take an answer, visitors at once; one question to a
//!    shard is under way at a time.
//! 4. No page changes anything, and none shows arguments of commands that run. Of those that have run the slow log's are
//!    shown, and names of hot keys, unless `hide-user-data-from-log` is set.

mod figures;
pub mod http;
mod metrics;
mod pages;
mod pulse;
mod remembered;
mod report;
mod status;
mod visitors;
mod watchdog;

use crate::reactor::driver::Waker;
use crate::server::StartFailure;
use crate::shared::Shared;
use figures::Figures;
use glommio::net::TcpListener;
use pages::Pages;
use pulse::Pulses;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

/// The running thread.
pub struct ControlPlane {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One waker a shard.
pub type Wakers = Vec<Box<dyn Waker>>;

impl ControlPlane {
    /// Starts the thread; returns when it listens, where it is to.
    pub fn start(shared: Arc<Shared>, wakers: Wakers) -> Result<Self, StartFailure> {
        let addresses = addresses(&shared)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let failed = |error: io::Error| StartFailure(format!("The control plane does not start: {error}"));
        let (report, reports) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("control".into());
        let thread = thread.spawn(move || {
            let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
                .name("control")
                .io_memory(1 << 20)
                .ring_depth(128)
                .make();
            match executor {
                Ok(executor) => executor.run(async move {
                    match listen(&addresses) {
                        Ok(listeners) => {
                            let _ = report.send(Ok(()));
                            live(shared, wakers.into(), listeners, told).await;
                        }
                        Err(failure) => drop(report.send(Err(failure))),
                    }
                }),
                Err(error) => drop(report.send(Err(failed(io::Error::other(error.to_string()))))),
            }
        });
        let thread = thread.map_err(failed)?;
        match reports.recv() {
            Ok(result) => result.map(|()| Self { stop, thread: Some(thread) }),
            Err(_) => Err(failed(io::Error::other("its thread ended at once"))),
        }
    }

    /// Ends the thread.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where it is to listen, and whether a failure there may be passed over.
fn addresses(shared: &Shared) -> Result<Vec<(SocketAddr, bool)>, StartFailure> {
    let admin = shared.config().admin.clone();
    if admin.port == 0 {
        return Ok(Vec::new());
    }
    let mut addresses = Vec::new();
    for bind in &admin.bind {
        match bind.resolve(admin.port) {
            Ok(found) => addresses.extend(found.into_iter().map(|address| (address, bind.optional))),
            Err(_) if bind.optional => {}
            Err(error) => return Err(StartFailure(format!("'admin-bind {bind}': {error}"))),
        }
    }
    Ok(addresses)
}

fn listen(addresses: &[(SocketAddr, bool)]) -> Result<Vec<TcpListener>, StartFailure> {
    let mut listeners = Vec::new();
    for (address, is_optional) in addresses {
        match listen_on(*address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if *is_optional => tracing::warn!("The admin port does not listen on {address}: {error}"),
            Err(error) => {
                return Err(StartFailure(format!(
                    "The admin port cannot listen on {address}: {error}. Choose another 'admin-port' or 'admin-bind'."
                )));
            }
        }
    }
    if !addresses.is_empty() && listeners.is_empty() {
        return Err(StartFailure("The admin port cannot listen on any address of 'admin-bind'.".to_owned()));
    }
    Ok(listeners)
}

/// glommio shares ports between listeners: that somebody else has this one already is found out by calling there.
fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    const SOON: Duration = Duration::from_millis(200);
    if TcpStream::connect_timeout(&address, SOON).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "Address already in use"));
    }
    TcpListener::bind(address).map_err(|error| io::Error::other(error.to_string()))
}

/// All that it does, until it is to stop.
async fn live(shared: Arc<Shared>, wakers: Rc<[Box<dyn Waker>]>, listeners: Vec<TcpListener>, stop: Arc<AtomicBool>) {
    let pulses = Rc::new(RefCell::new(Pulses::new(shared.shards(), Instant::now())));
    let figures = Figures::new(shared.clone(), wakers.clone());
    let pages = Rc::new(Pages::new(shared.clone(), pulses.clone(), figures));
    let doors: Vec<_> = listeners
        .into_iter()
        .map(|listener| glommio::spawn_local(visitors::receive(listener, pages.clone())))
        .collect();
    let mut watchdog = Watchdog::of(&shared);
    let period = watchdog.as_ref().map_or(pulse::PERIOD, |watchdog| pulse::PERIOD.min(watchdog.period()));
    while !stop.load(Ordering::Relaxed) {
        glommio::timer::sleep(period).await;
        let now = Instant::now();
        let mut pulses = pulses.borrow_mut();
        pulses.feel(&shared, now).iter().for_each(|line| tracing::warn!("{line}"));
        pulses.quiet(now, period * 3).for_each(|shard| wakers[shard].wake());
        if let Some(watchdog) = &mut watchdog {
            watchdog.look(&pulses.hangs(&shared, now, watchdog.limit()));
        }
    }
    drop(doors);
}
