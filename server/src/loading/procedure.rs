//! A load from top to bottom, as the shard that was asked for it sees it.

use super::{Batch, Source};
use crate::commands::load_libraries;
use crate::reactor::operations::FileHandle;
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use torc_engine::keyspace::slot_of;
use torc_persistence::rdb::Dialect;
use torc_persistence::rdb::file::{Entry, Item, Scanner};
use torc_persistence::rdb::functions::OWN_FIELD;

/// Bytes that are read at a time, and how many such pieces ahead.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;
/// A batch this full is sent.
const BATCH_BYTES: usize = 64 << 10;
/// Batches of a shard that are under way.
const AHEAD: usize = 4;

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

/// What the shards say of the batches that they were sent.
struct Shards {
    /// Batches under way to each.
    under_way: Vec<AtomicUsize>,
    is_failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Shards {
    fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.is_failed.store(true, Ordering::SeqCst);
    }

    fn take_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The open batches, and where they go.
struct Router {
    tasks: Tasks,
    shared: Arc<Shared>,
    shards: Arc<Shards>,
    open: Vec<Batch>,
    /// By which the cutter waits for batches to come home.
    name: u64,
}

/// Loads a file of keys and values.
pub async fn load(tasks: Tasks, shared: Arc<Shared>, source: Source) -> Result<Loaded, LoadFailure> {
    let file = match tasks.operations.open(&source.path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LoadFailure::Absent),
        Err(error) => return Err(LoadFailure::Unreadable(error)),
    };
    let pieces = Rc::new(Read { name: tasks.take_name(), ..Read::default() });
    let reader = tasks.executor.spawn(read_pieces(tasks.clone(), file, pieces.clone())).cancel_on_drop();
    let outcome = cut(&tasks, &shared, &source, &pieces).await;
    drop(reader);
    outcome
}

/// What was read of a file and not looked at.
#[derive(Default)]
struct Read {
    pieces: RefCell<VecDeque<io::Result<Vec<u8>>>>,
    spare: RefCell<Vec<Vec<u8>>>,
    is_over: Cell<bool>,
    name: u64,
}

async fn read_pieces(tasks: Tasks, file: FileHandle, read: Rc<Read>) {
    let mut offset = 0;
    while !read.is_over.get() {
        let buffer = read.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        let piece = file.read_at(offset, buffer).await.map_err(io::Error::from);
        let length = piece.as_ref().map_or(0, Vec::len);
        offset += length as u64;
        read.pieces.borrow_mut().push_back(piece);
        if length == 0 {
            read.is_over.set(true);
        }
        tasks.wake(read.name);
        tasks.until(read.name, || read.pieces.borrow().len() < PIECES_AHEAD).await;
    }
}

impl Read {
    /// The next piece; empty at the end.
    async fn next(&self, tasks: &Tasks) -> io::Result<Vec<u8>> {
        tasks.until(self.name, || !self.pieces.borrow().is_empty()).await;
        let piece = self.pieces.borrow_mut().pop_front();
        tasks.wake(self.name);
        piece.unwrap_or_else(|| Ok(Vec::new()))
    }

    fn give_back(&self, mut piece: Vec<u8>) {
        piece.clear();
        self.spare.borrow_mut().push(piece);
    }
}

/// What is known of the file so far.
#[derive(Default)]
struct Cutter {
    database: usize,
    loaded: Loaded,
    libraries: Vec<Vec<u8>>,
}

async fn cut(tasks: &Tasks, shared: &Arc<Shared>, source: &Source, read: &Read) -> Result<Loaded, LoadFailure> {
    let mut scanner = Scanner::new(shared.config().persistence.sums);
    let mut router = Router::new(tasks, shared, source);
    let mut cutter = Cutter::default();
    let begun_at = shared.loading.bytes_done.load(Ordering::Relaxed);
    loop {
        let piece = read.next(tasks).await.map_err(LoadFailure::Unreadable)?;
        let is_all = piece.is_empty();
        scanner.feed(&piece);
        read.give_back(piece);
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
        let shards = Shards {
            under_way: (0..shared.shards()).map(|_| AtomicUsize::new(0)).collect(),
            is_failed: AtomicBool::new(false),
            failure: Mutex::default(),
        };
        Self {
            open: (0..shared.shards()).map(|_| batch()).collect(),
            tasks: tasks.clone(),
            shared: shared.clone(),
            shards: Arc::new(shards),
            name: tasks.take_name(),
        }
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
        let shards = self.shards.clone();
        self.tasks
            .until(self.name, || {
                shards.under_way[shard].load(Ordering::SeqCst) < AHEAD || shards.is_failed.load(Ordering::SeqCst)
            })
            .await;
        if let Some(failure) = shards.take_failure() {
            return Err(failure);
        }
        shards.under_way[shard].fetch_add(1, Ordering::SeqCst);
        let name = self.name;
        self.tasks
            .on_core(move |core| {
                let home = core.index;
                core.run_on(shard, move |core| {
                    if let Err(reason) = batch.put(core) {
                        shards.fail(reason);
                    }
                    shards.under_way[shard].fetch_sub(1, Ordering::SeqCst);
                    core.run_on(home, move |core| core.tasks.wake(name));
                });
            })
            .await;
        Ok(())
    }

    /// Sends what is left, and waits until all of it is where it belongs.
    async fn finish(&mut self, at: u64) -> Result<(), LoadFailure> {
        for shard in 0..self.open.len() {
            if !self.open[shard].is_empty() {
                self.send(shard).await.map_err(|what| LoadFailure::Broken(at, what))?;
            }
        }
        let shards = self.shards.clone();
        let is_home = || shards.under_way.iter().all(|count| count.load(Ordering::SeqCst) == 0);
        self.tasks.until(self.name, is_home).await;
        match self.shards.take_failure() {
            Some(what) => Err(LoadFailure::Broken(at, what)),
            None => Ok(()),
        }
    }
}
