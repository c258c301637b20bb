//! A snapshot from top to bottom, as the shard that was asked for it sees it; and when the server takes one by itself.

use super::{Extent, Order, Snapshot};
use crate::control::{ControlReply, ControlRequest};
use crate::core::Core;
use crate::reactor::operations::FileHandle;
use crate::tasks::Tasks;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torc_persistence::crc64;
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Version, file, functions};
use torc_scripting::libraries::{Engine, Registry};

/// What a shard had at the cut.
#[derive(Debug)]
pub struct Cut {
    /// Of each database: how many keys it has, and how many of these expire.
    pub databases: Vec<(u64, u64)>,
    /// Changes so far.
    pub dirty: u64,
    /// The libraries of functions.
    pub functions: Arc<Registry>,
}

/// A file that is there.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    /// Changes of all shards at the cut.
    pub dirty: u64,
    /// Keys in it.
    pub keys: u64,
    /// How long it is.
    pub bytes: u64,
}

/// When units that hold keys of several shards are looked at again.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// Takes a snapshot, to its end.
pub async fn take(tasks: Tasks, snapshot: Arc<Snapshot>) -> Result<Saved, String> {
    let question = ControlRequest::BeginSnapshot(snapshot.clone());
    // As commands on every shard do: to get in line behind such units would hold up everybody.
    let since_ns = tasks.on_core(|core| core.clock.monotonic_ns).await;
    while tasks.on_core(move |core| core.has_to_wait_for_units(since_ns)).await {
        tasks.executor.sleep(LOOK_AGAIN).await;
    }
    let replies = tasks.ask_all(question).await;
    let cuts =
        replies.into_iter().filter_map(|reply| if let ControlReply::Cut(cut) = reply { Some(cut) } else { None });
    let cuts: Vec<Box<Cut>> = cuts.collect();
    let dirty = cuts.iter().map(|cut| cut.dirty).sum();
    let keys = cuts.iter().flat_map(|cut| &cut.databases).map(|(keys, _)| *keys).sum();
    snapshot.keys.store(keys, Ordering::Relaxed);
    let about = tasks.on_core(About::of).await;
    let temporary = snapshot.order.temporary.clone();
    let header = |version| header(&snapshot.order, version, &about, &cuts);
    let file = match tasks.operations.create(temporary.clone(), FILE_MODE).await {
        Ok(file) => Some(file),
        Err(error) => {
            let directory = snapshot.order.directory.display();
            let name = temporary.file_name().unwrap_or_default().display();
            snapshot.fail(format!(
                "Failed opening the temp RDB file {name} (in server root dir {directory}) for saving: {error}"
            ));
            None
        }
    };
    snapshot.begin_at(header(snapshot.version()).len() as u64);
    tasks.on_core(Core::wake_all).await;
    tasks.until(snapshot.waits.1, || snapshot.is_done()).await;
    let outcome = match (snapshot.failure(), file) {
        (None, Some(file)) => end(&tasks, &snapshot, file, header(snapshot.version())).await,
        (failure, _) => Err(failure.unwrap_or_default()),
    };
    match outcome {
        Ok(bytes) => Ok(Saved { dirty, keys, bytes }),
        Err(reason) => {
            // It may not be there.
            drop(tasks.operations.unlink(&temporary).await);
            Err(reason)
        }
    }
}

const FILE_MODE: u32 = 0o644;

/// Header, END, checksum; then the file gets its name. Its length.
async fn end(tasks: &Tasks, snapshot: &Snapshot, file: FileHandle, header: Vec<u8>) -> Result<u64, String> {
    let order = &snapshot.order;
    let said = |what: &str, path: &Path, error: std::io::Error| format!("{what} {} failed: {error}", path.display());
    let mut trailer = Vec::new();
    file::write_end(&mut Output::plain(&mut trailer));
    let first = Extent { offset: 0, bytes: header.len() as u64, sum: crc64::of(&header) };
    let mut extents = snapshot.take_extents();
    extents.insert(0, first);
    let end = snapshot.take_extent(0);
    extents.push(Extent { offset: end, bytes: trailer.len() as u64, sum: crc64::of(&trailer) });
    debug_assert!(extents.windows(2).all(|pair| pair[0].offset + pair[0].bytes == pair[1].offset));
    let combined = |sum, extent: &Extent| crc64::combine(sum, extent.sum, extent.bytes);
    let sum = if order.sums { extents.iter().fold(0, combined) } else { 0 };
    trailer.extend_from_slice(&sum.to_le_bytes());
    let bytes = end + trailer.len() as u64;
    for (offset, piece) in [(0, header), (end, trailer)] {
        let written = file.write_all_at(offset, piece).await;
        written.map_err(|failure| said("writing", &order.temporary, failure.error))?;
    }
    file.sync(false).await.map_err(|error| said("fsync of", &order.temporary, error))?;
    file.close().await.map_err(|error| said("closing", &order.temporary, error))?;
    let renamed = tasks.operations.rename(&order.temporary, &order.file).await;
    renamed.map_err(|error| said("renaming to", &order.file, error))?;
    let synced = tasks.operations.sync_directory(&order.directory).await;
    synced.map_err(|error| said("fsync of", &order.directory, error))?;
    Ok(bytes)
}

/// What the header says about the server.
struct About {
    version: String,
    now_s: i64,
    used_bytes: i64,
}

impl About {
    fn of(core: &mut Core) -> Self {
        Self {
            version: core.shared.config().redis_version.clone(),
            now_s: core.clock.wall_ms / 1000,
            used_bytes: core.shared.used_bytes(),
        }
    }
}

/// Everything in front of the keys. It has the same length whatever the version.
fn header(order: &Order, version: Version, about: &About, cuts: &[Box<Cut>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    file::write_header(version, order.readers.dialect, &mut out);
    let mut aux = |field: &str, value: &str| file::write_aux(field.as_bytes(), value.as_bytes(), &mut out);
    aux("redis-ver", &about.version);
    aux("redis-bits", "64");
    aux("ctime", &about.now_s.to_string());
    aux("used-mem", &about.used_bytes.to_string());
    aux("aof-base", if order.is_base { "1" } else { "0" });
    let functions = cuts.first().map(|cut| cut.functions.clone());
    for library in functions.iter().flat_map(|functions| functions.libraries()) {
        match library.engine {
            Engine::Lua => file::write_function(&library.code, &mut out),
            Engine::Js => file::write_aux(functions::OWN_FIELD, &library.code, &mut out),
        }
    }
    let databases = cuts.iter().map(|cut| cut.databases.len()).max().unwrap_or(0);
    for database in 0..databases {
        let parts = cuts.iter().filter_map(|cut| cut.databases.get(database));
        let (keys, expiring) = parts.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        if keys > 0 {
            file::write_select(database as u64, &mut out);
            file::write_resize(keys, expiring, &mut out);
        }
    }
    bytes
}
