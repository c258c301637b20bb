//! The process: from a configuration to running shards, and back down in order.
//!
//! ```text
//!   main thread      configuration, log, limits, probe ── spawn ──> waits for signals ──> stopping ── join ──> exit 0
//!   shard threads    pinned, one ring each; shard 0 listens           (DESIGN: data plane)
//!   control thread   a glommio executor: pulse of the shards, HTTP     (control plane)
//! ```

use crate::allocator;
use crate::append_log::{self, Plan};
use crate::command_table::CommandTable;
use crate::commands;
use crate::config::{Config, Loaded};
use crate::control_plane::ControlPlane;
use crate::core::Core;
use crate::core_loop::CoreLoop;
use crate::crash;
use crate::insight;
use crate::leftovers;
use crate::loading::{self, Source};
use crate::log::Log;
use crate::reactor::driver::{Driver, Waker};
use crate::reactor::probe;
use crate::reactor::uring::{Options, Peers, UringDriver};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tls::{self, handshakes::Handshakes};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use torc_engine::transaction::rules::Rules;

/// Why the process does not start; shown as it is.
#[derive(Debug)]
pub struct StartFailure(pub String);

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    control: ControlPlane,
    signals: signal_hook::iterator::Handle,
    loaded: mpsc::Receiver<Result<(), String>>,
}

impl Server {
    /// Starts every thread; returns when connections are accepted. `announce` is called when every address is bound and
    /// nobody is served yet.
    pub fn start(loaded: Loaded, log: &Log, announce: impl FnOnce()) -> Result<Self, StartFailure> {
        loaded.without_effect_notices().for_each(|notice| tracing::info!("{notice}"));
        let mut config = loaded.config;
        raise_file_limit(&mut config)?;
        let shards = usize::from(config.shards).clamp(1, crate::shared::SHARDS_MAX);
        let ring_options = Options::default();
        probe::probe(shards, &ring_options).map_err(|obstacle| StartFailure(obstacle.to_string()))?;
        let settings = Arc::new(Settings::from(&config));
        let table = CommandTable::new(commands::rows()).renamed(&config.security.renamings);
        let seed = fastrand::u64(..);
        let beginning = Beginning::of(&config);
        let shared = Arc::new(Shared::new(shards, config, table, seed, Rules::default(), log.clone()));
        crash::ask_shards(&shared);
        prepare_users(&shared)?;
        let peers =
            Peers::new(shards).map_err(|error| StartFailure(format!("Cannot create the wake-up events: {error}")))?;
        start_group_commit(&shared, &peers)?;
        start_handshakes(&shared, &peers)?;
        insight::clock::start();
        let (report, reports) = mpsc::channel();
        let (load, loaded) = mpsc::channel();
        beginning.prepare(&shared)?;
        leftovers::remove(&shared.config(), matches!(beginning, Beginning::Log(_)));
        let mut load = Some((beginning, load));
        let ready = Arc::new(Barrier::new(shards + 1));
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        if shared.listening.change(&shared.config()).map_err(|error| StartFailure(error.to_string()))? == 0 {
            return Err(StartFailure("Configured to not listen anywhere, exiting.".to_owned()));
        }
        let threads = (0..shards)
            .map(|index| {
                let start = ShardStart {
                    index,
                    shared: shared.clone(),
                    settings: settings.clone(),
                    peers: peers.clone(),
                    core: cores.get(index).copied(),
                    seed: seed.wrapping_add(index as u64 + 1),
                    ready: ready.clone(),
                    load: load.take(),
                };
                let report = report.clone();
                let thread = std::thread::Builder::new().name(format!("shard-{index}"));
                thread
                    .spawn(move || start.run(&report))
                    .map_err(|error| StartFailure(format!("Cannot start a thread: {error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        for _ in 0..shards {
            if let Ok(Err(text)) = reports.recv() {
                failure.get_or_insert(text);
            }
        }
        if let Some(text) = failure {
            return Err(StartFailure(text));
        }
        let control = ControlPlane::start(shared.clone(), wakers(&peers))?;
        let signals = Signals::new([SIGTERM, SIGINT])
            .map_err(|error| StartFailure(format!("Signals cannot be waited for: {error}")))?;
        announce();
        ready.wait();
        tracing::info!("Server initialized");
        let server = Self { signals: signals.handle(), shared, peers, shards: threads, control, loaded };
        server.heed(signals).map_err(|error| StartFailure(format!("Cannot start a thread: {error}")))?;
        Ok(server)
    }

    /// Waits until the data are there, if there are any to be loaded. A server that is told to stop meanwhile has none.
    pub fn wait_until_loaded(&self) -> Result<(), StartFailure> {
        match self.loaded.recv() {
            Ok(Ok(())) => tracing::info!("Ready to accept connections"),
            Ok(Err(reason)) => return Err(StartFailure(reason)),
            Err(_) => {}
        }
        Ok(())
    }

    /// Signals come to the shards.
    fn heed(&self, mut signals: Signals) -> io::Result<()> {
        let (shared, peers) = (self.shared.clone(), self.peers.clone());
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                let is_second =
                    shared.shutting_down.load(Ordering::SeqCst) || shared.signal.load(Ordering::SeqCst) != 0;
                if is_second && signal == SIGINT {
                    tracing::warn!("You insist... exiting now.");
                    std::process::exit(1);
                }
                tracing::warn!("Received {name} scheduling shutdown...");
                shared.signal.store(signal, Ordering::SeqCst);
                (0..shared.shards()).for_each(|shard| peers.waker(shard).wake());
            }
        })?;
        Ok(())
    }

    /// Waits for SIGTERM, SIGINT or SHUTDOWN, then stops in order: no new connections, replies out, threads joined.
    pub fn wait(self) -> io::Result<()> {
        let mut outcome = Ok(());
        for shard in self.shards {
            match shard.join() {
                Ok(result) => outcome = outcome.and(result),
                Err(_) => outcome = Err(io::Error::other("a shard thread panicked")),
            }
        }
        self.signals.close();
        self.control.stop();
        self.shared.tls.handshakes.stop();
        // A save that was under way has ended with its shard.
        leftovers::remove(&self.shared.config(), false);
        outcome
    }
}

/// Which data the server begins with.
enum Beginning {
    /// None.
    Nothing,
    /// Those of a snapshot.
    File(Source),
    /// Those of the log, which goes on.
    Log(Plan),
}

impl Beginning {
    fn of(config: &Config) -> Self {
        if !config.persistence.append_only {
            return loading::source(config).map_or(Self::Nothing, Self::File);
        }
        Self::Log(Plan::of(config))
    }

    /// Before the shards begin: from now on the data count as being loaded, if there are any.
    fn prepare(&self, shared: &Shared) -> Result<(), StartFailure> {
        match self {
            Self::Nothing => {}
            Self::File(source) => shared.loading.begin(source.bytes, wall_clock_ms()),
            Self::Log(plan) => {
                shared.append_log.claim_directory(plan).map_err(StartFailure)?;
                shared.append_log.set_replayed(true);
                shared.loading.begin(append_log::bytes_to_load(plan), wall_clock_ms());
            }
        }
        Ok(())
    }
}

/// Users of the configuration's lines, or of their file.
fn prepare_users(shared: &Shared) -> Result<(), StartFailure> {
    let security = shared.config().security.clone();
    let settings = security.access_settings();
    let mut users = shared.access.change();
    let next = match &security.users_file {
        Some(path) => users.from_file(path, &shared.table, settings),
        None => users.with_lines(&security.users, &shared.table, settings),
    };
    let next = next.map_err(|errors| StartFailure(format!("Aborting Torc startup because of ACL errors: {errors}")))?;
    for user in next.iter().filter(|user| !user.is_enabled) {
        let name = String::from_utf8_lossy(&user.name);
        tracing::info!("The user '{name}' is disabled: no rule of it says 'on'. Make sure that this is meant.");
    }
    *users = Arc::new(next);
    Ok(())
}

/// Starts the thread of the log.
fn start_group_commit(shared: &Shared, peers: &Arc<Peers>) -> Result<(), StartFailure> {
    let started = shared.append_log.start_group_commit(wakers(peers));
    started.map_err(|error| StartFailure(format!("Cannot start a thread: {error}")))
}

/// One a shard, for a thread that is none.
fn wakers(peers: &Arc<Peers>) -> Vec<Box<dyn Waker>> {
    (0..peers.len()).map(|shard| Box::new(peers.waker(shard)) as Box<dyn Waker>).collect()
}

/// Reads the files of TLS and starts its thread, where anything is to be encrypted.
fn start_handshakes(shared: &Arc<Shared>, peers: &Arc<Peers>) -> Result<(), StartFailure> {
    let wakers = (0..shared.shards()).map(|shard| Box::new(peers.waker(shard)) as Box<dyn Waker>).collect();
    shared.tls.handshakes.prepare(wakers);
    let config = shared.config().clone();
    if !config.tls.is_used() {
        return Ok(());
    }
    tls::configure_at_start(&shared.tls, &config)
        .map_err(|reason| StartFailure(format!("Failed to configure TLS: {reason}")))?;
    Handshakes::start(shared).map_err(|error| StartFailure(format!("Cannot start a thread: {error}")))
}

/// What a shard thread needs to begin.
struct ShardStart {
    index: usize,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    peers: Arc<Peers>,
    core: Option<core_affinity::CoreId>,
    seed: u64,
    ready: Arc<Barrier>,
    /// What it is to load, and whom it tells of that, if it is the one that does.
    load: Option<(Beginning, mpsc::Sender<Result<(), String>>)>,
}

impl ShardStart {
    fn run(self, report: &mpsc::Sender<Result<(), String>>) -> io::Result<()> {
        if let Some(core) = self.core {
            core_affinity::set_for_current(core);
        }
        let driver = match UringDriver::new(self.index, self.peers.clone(), &Options::default()) {
            Ok(driver) => driver,
            Err(error) => {
                let _ = report.send(Err(format!("io_uring cannot be set up: {error}")));
                return Err(error);
            }
        };
        let clock = driver.clock();
        let read_clock = Box::new(wall_clock_ms);
        let core = Core::new(self.index, self.shared.clone(), self.settings, self.seed, read_clock);
        let mut core_loop = CoreLoop::new(driver, core);
        core_loop.core.read_precise_clock = Some(wall_clock_us);
        core_loop.core.measure_commands();
        core_loop.core.count_memory_by_allocator();
        core_loop.core.shard.keyspace.forget_pages_by(allocator::forget_pages);
        core_loop.core.begin_turn(clock);
        if self.index == 0 {
            core_loop.take_listeners();
        }
        let _ = report.send(Ok(()));
        // A ring must be known to its peers before the first wake: nobody turns before all are there, and nobody is
        // served before the process has announced itself.
        self.ready.wait();
        if core_loop.core.index == 0 {
            core_loop.core.note_startup_memory();
        }
        let core = &mut core_loop.core;
        core.gate.set_loading(self.shared.loading.is_loading.load(Ordering::SeqCst));
        match self.load {
            Some((Beginning::Log(plan), outcome)) => {
                core.tasks.spawn(append_log::begin(core.tasks.clone(), self.shared.clone(), plan, outcome));
            }
            Some((Beginning::File(source), outcome)) => {
                core.tasks.spawn(loading::begin(core.tasks.clone(), self.shared.clone(), source, outcome));
            }
            Some((Beginning::Nothing, outcome)) => drop(outcome.send(Ok(()))),
            None => {}
        }
        core_loop.run()
    }
}

fn wall_clock_us() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_micros() as i64)
}

fn wall_clock_ms() -> i64 {
    wall_clock_us() / 1000
}

/// How many clients can be served, at most `wanted`: every client needs a descriptor. Raises the limit of open files as
/// far as the system lets us.
pub fn clients_possible(wanted: u32, shards: u16) -> io::Result<u32> {
    const RESERVED: u64 = 64;
    let besides_clients = RESERVED + 8 * u64::from(shards);
    let needed = u64::from(wanted) + besides_clients;
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    let raised = || {
        let mut limits = [needed, hard.min(needed)].into_iter();
        limits.find(|&limit| rlimit::Resource::NOFILE.set(limit, hard.max(limit)).is_ok())
    };
    let reached = if soft >= needed { needed } else { raised().unwrap_or(soft) };
    Ok(reached.saturating_sub(besides_clients) as u32)
}

/// Makes room for all clients, or serves fewer and says so.
fn raise_file_limit(config: &mut Config) -> Result<(), StartFailure> {
    let wanted = config.clients.count_max;
    let possible = clients_possible(wanted, config.shards)
        .map_err(|error| StartFailure(format!("The limit of open files cannot be read: {error}")))?;
    if possible == 0 {
        return Err(StartFailure(
            "The limit of open files is too low to serve a single client. Raise it (ulimit -n, or LimitNOFILE in the \
             systemd unit) to somewhat more than 'maxclients'."
                .to_owned(),
        ));
    }
    if possible < wanted {
        tracing::warn!(
            "You requested maxclients of {wanted}, which needs more files than this process may open. maxclients has been \
             reduced to {possible} to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
        );
        config.clients.count_max = possible;
    }
    Ok(())
}
