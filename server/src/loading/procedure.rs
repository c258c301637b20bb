//! A load from top to bottom, as the shard that was asked for it sees it.

use super::delivery::{Delivery, Receipt};
use super::{Batch, Pieces, Source};
use crate::commands::load_libraries;
use crate::core::Core;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_engine::keyspace::slot_of;
use torc_persistence::rdb::Dialect;
use torc_persistence::rdb::file::{Entry, Item, Scanner};
use torc_persistence::rdb::functions::OWN_FIELD;

/// A batch this full is sent.
const BATCH_BYTES: usize = 64 << 10;

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What the file says of its maker, if it does.
    pub made_by: Option<String>,
    /// When it says it was made, in seconds.
    pub made_s: Option<i64>,
    /// How long it is, with its checksum.
    pub bytes: u64,
}

/// Why a file could not be loaded.
#[derive(Debug)]
pub enum LoadFailure {
    /// It is not there.
    Absent,
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not what it should be: at an offset.
    Broken(u64, String),
}

impl std::fmt::Display for LoadFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => write!(formatter, "it is not there"),
            Self::Unreadable(error) => write!(formatter, "it cannot be read: {error}"),
            Self::Broken(offset, what) => write!(formatter, "offset {offset}: {what}"),
        }
    }
}

/// The open batches, and where they go.
struct Router {
    shared: Arc<Shared>,
    delivery: Delivery,
    open: Vec<Batch>,
}

/// Loads a file of keys and values.
pub async fn load(tasks: Tasks, shared: Arc<Shared>, source: Source) -> Result<Loaded, LoadFailure> {
    let file = match tasks.operations.open(&source.path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LoadFailure::Absent),
        Err(error) => return Err(LoadFailure::Unreadable(error)),
    };
    cut(&tasks, &shared, &source, &Pieces::of(&tasks, Rc::new(file), 0)).await
}

/// `key-load-delay`, for tests.
#[derive(Default)]
struct Delay {
    is_set: bool,
    /// Keys that have not been waited for.
    keys: u32,
}

impl Delay {
    /// Waits for as long as the setting says now; it may be changed meanwhile.
    async fn wait(&mut self, tasks: &Tasks, shared: &Arc<Shared>) {
        const STEP: Duration = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        loop {
            let delay_us = shared.config().persistence.key_load_delay_us.max(0) as u64;
            let left = (Duration::from_micros(delay_us) * self.keys).saturating_sub(waited);
            // A timer is not worth less than that.
            if left < Duration::from_millis(1) {
                if !waited.is_zero() || delay_us == 0 {
                    self.keys = 0;
                }
                return;
            }
            tasks.executor.sleep(left.min(STEP)).await;
            waited += left.min(STEP);
        }
    }
}

/// What is known of the file so far.
#[derive(Default)]
struct Cutter {
    database: usize,
    loaded: Loaded,
    libraries: Vec<Vec<u8>>,
}

async fn cut(tasks: &Tasks, shared: &Arc<Shared>, source: &Source, pieces: &Pieces) -> Result<Loaded, LoadFailure> {
    let mut scanner = Scanner::new(shared.config().persistence.sums);
    let mut router = Router::new(tasks, shared, source);
    let mut cutter = Cutter::default();
    let mut delay = Delay { is_set: shared.config().persistence.key_load_delay_us > 0, ..Delay::default() };
    let begun_at = shared.loading.bytes_done.load(Ordering::Relaxed);
    loop {
        let piece = pieces.next().await.map_err(LoadFailure::Unreadable)?;
        let is_all = piece.is_empty();
        scanner.feed(&piece);
        pieces.give_back(piece);
        loop {
            let (at, dialect) = (scanner.position(), scanner.header().map_or(Dialect::Redis, |(_, dialect)| dialect));
            match scanner.next(is_all) {
                Ok(None) => break,
                Ok(Some(Item::End)) => {
                    cutter.loaded.bytes = scanner.position();
                    shared.loading.bytes_done.store(begun_at + scanner.position(), Ordering::Relaxed);
                    router.finish(at).await?;
                    load_functions(tasks, std::mem::take(&mut cutter.libraries), at).await?;
                    return Ok(cutter.loaded);
                }
                Ok(Some(item)) => {
                    let entry = cutter.item(item, shared.databases).map_err(|what| LoadFailure::Broken(at, what))?;
                    if let Some(entry) = entry {
                        router.add(dialect, cutter.database, &entry);
                        delay.keys += 1;
                    }
                    if delay.is_set {
                        delay.wait(tasks, shared).await;
                    }
                }
                Err(malformed) => return Err(LoadFailure::Broken(at, malformed.to_string())),
            }
        }
        if is_all {
            return Err(LoadFailure::Broken(scanner.position(), "the file ends before its end".to_owned()));
        }
        shared.loading.bytes_done.store(begun_at + scanner.position(), Ordering::Relaxed);
        router.send_full().await.map_err(|what| LoadFailure::Broken(scanner.position(), what))?;
    }
}

impl Cutter {
    /// Notes what an item says; the key, if it is one.
    fn item<'a>(&mut self, item: Item<'a>, databases: usize) -> Result<Option<Entry<'a>>, String> {
        match item {
            Item::Entry(entry) => return Ok(Some(entry)),
            Item::Select(number) => {
                self.database = usize::try_from(number).ok().filter(|number| *number < databases).ok_or_else(|| {
                    format!(
                        "FATAL: Data file was created with a server configured to handle more than {databases} databases. \
                         Exiting (database {number}; raise 'databases')"
                    )
                })?;
            }
            Item::Function(code) => self.libraries.push(code.into_owned()),
            Item::Aux { field, value } => {
                let text = || String::from_utf8_lossy(&value).into_owned();
                match &*field {
                    b"redis-ver" | b"valkey-ver" => self.loaded.made_by = Some(text()),
                    b"ctime" => self.loaded.made_s = text().parse().ok(),
                    OWN_FIELD => self.libraries.push(value.into_owned()),
                    _ => {}
                }
            }
            Item::Module(name) => return Err(format!("data of the module '{name}', which is not there")),
            Item::Resize { .. } | Item::Ignored | Item::End => {}
        }
        Ok(None)
    }
}

async fn load_functions(tasks: &Tasks, codes: Vec<Vec<u8>>, at: u64) -> Result<(), LoadFailure> {
    if codes.is_empty() {
        return Ok(());
    }
    let changed = tasks.on_core(move |core| load_libraries(core, &codes)).await;
    let changed = changed.map_err(|error| {
        let text = String::from_utf8_lossy(&error.0).into_owned();
        LoadFailure::Broken(at, format!("a library of functions: {text}"))
    })?;
    tasks.ask_all(changed).await;
    Ok(())
}

impl Router {
    fn new(tasks: &Tasks, shared: &Arc<Shared>, source: &Source) -> Self {
        let batch = || Batch::new(source.is_base, source.twice);
        let open = (0..shared.shards()).map(|_| batch()).collect();
        Self { shared: shared.clone(), delivery: Delivery::new(tasks, shared.shards()), open }
    }

    fn add(&mut self, dialect: Dialect, database: usize, entry: &Entry<'_>) {
        let owner = self.shared.shard_of(slot_of(&entry.key));
        self.open[owner].add(dialect, database, entry);
    }

    /// Sends what is worth it.
    async fn send_full(&mut self) -> Result<(), String> {
        for shard in 0..self.open.len() {
            if self.open[shard].len() >= BATCH_BYTES {
                self.send(shard).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, shard: usize) -> Result<(), String> {
        let fresh = self.open[shard].fresh();
        let batch = std::mem::replace(&mut self.open[shard], fresh);
        let put = move |core: &mut Core, receipt: Receipt| {
            let outcome = batch.put(core);
            receipt.give_back(core, outcome);
        };
        self.delivery.send(shard, put).await
    }

    /// Sends what is left, and waits until all of it is where it belongs.
    async fn finish(&mut self, at: u64) -> Result<(), LoadFailure> {
        let broken = |what| LoadFailure::Broken(at, what);
        for shard in 0..self.open.len() {
            if !self.open[shard].is_empty() {
                self.send(shard).await.map_err(broken)?;
            }
        }
        self.delivery.settle().await.map_err(broken)
    }
}
