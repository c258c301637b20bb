//! What a server with a log begins with: the manifest's files are loaded in order, then the last one is written to.
//!
//! ```text
//!   manifest there     base (rdb or commands) ──> incremental files in order ──> the last one goes on
//!   old single file    moves into the directory as the base of a new manifest, then as above
//!   neither            an empty base, a first file
//! ```
//!
//! Only the last file may end too early: there `aof-load-truncated` cuts it back to its last whole command or transaction. Anything
//! else that cannot be read ends the start with the file, the place and what to do; nothing is changed then.

use super::AppendLog;
use super::feed::{Fed, FeedFailure, Stopped, feed};
use super::leader::error_text;
use super::writer::{CurrentFile, Place, Writer};
use crate::config::Config;
use crate::control::ControlRequest;
use crate::loading::{self, Source, Twice};
use crate::reactor::operations::{FileHandle, Operations};
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use torc_persistence::aof::manifest::{LogFile, Manifest, is_rdb_name};
use torc_persistence::crc64;
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version, file};

/// What the configuration says about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it is.
    pub place: Place,
    /// `dir`: where the single file of an old server would be.
    pub server_directory: PathBuf,
    /// `aof-load-truncated`.
    pub loads_truncated: bool,
    /// `aof-load-corrupt-tail-max-size`: a tail of so many bytes that cannot be read is cut off, too.
    pub corrupt_tail_max: u64,
    /// `aof-use-rdb-preamble`.
    pub base_is_rdb: bool,
}

impl Plan {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let log = &config.persistence.append_log;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let directory = config.process.directory.join(text(&log.directory));
        Self {
            place: Place { directory, name: text(&log.file) },
            server_directory: config.process.directory.clone(),
            loads_truncated: log.loads_truncated,
            corrupt_tail_max: log.corrupt_tail_max,
            base_is_rdb: log.base_is_rdb,
        }
    }
}

/// Loads the log and goes on with it; says when it is there, or why the server cannot begin.
pub async fn begin(tasks: Tasks, shared: Arc<Shared>, plan: Plan, outcome: Sender<Result<(), String>>) {
    let said = open(&tasks, &shared, &plan).await;
    drop(outcome.send(said));
}

/// Loads the log, opens it, and lets commands run.
pub async fn open(tasks: &Tasks, shared: &Arc<Shared>, plan: &Plan) -> Result<(), String> {
    let manifest = match read_file(&tasks.operations, &plan.place.manifest_path()).await {
        Ok(text) => Manifest::parse(&text).map_err(|bad| bad_manifest(plan, &bad))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => adopt_old_file(tasks, plan).await?,
        Err(error) => {
            let path = plan.place.manifest_path();
            return Err(format!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                path.display(),
                error_text(&error)
            ));
        }
    };
    let lengths = load_files(tasks, shared, plan, &manifest).await?;
    let writer = go_on(tasks, shared, plan, manifest, &lengths).await?;
    {
        let mut figures = shared.append_log.figures();
        figures.size = writer.size();
        figures.base_size = writer.size();
    }
    shared.append_log.open(Box::new(writer));
    tasks.ask_all(ControlRequest::Log(true)).await;
    shared.append_log.set_replayed(false);
    loading::end(tasks, shared).await;
    Ok(())
}

/// Loads all files of a log; how long each is then.
pub(super) async fn load_files(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    plan: &Plan,
    manifest: &Manifest,
) -> Result<Vec<u64>, String> {
    let began_ns = tasks.executor.now_ns();
    let mut lengths = Vec::new();
    let files: Vec<&LogFile> = manifest.base.iter().chain(&manifest.incremental).collect();
    for (index, log_file) in files.iter().enumerate() {
        let is_base = index == 0 && manifest.base.is_some();
        lengths.push(load_file(tasks, shared, plan, log_file, is_base, index + 1 == files.len()).await?);
    }
    if !files.is_empty() {
        let seconds = (tasks.executor.now_ns() - began_ns) as f64 / 1e9;
        tracing::info!("DB loaded from append only file: {seconds:.3} seconds");
    }
    Ok(lengths)
}

/// Makes the directory of the log, if it is not there, and keeps it from other processes as long as the file is open that is returned.
fn claimed(plan: &Plan) -> Result<File, String> {
    let directory = &plan.place.directory;
    let failed = |reason: &str| {
        format!(
            "Can't open or create append-only dir {}: {reason}. Look at the rights of the directory above it ('dir', \
             'appenddirname')",
            directory.display()
        )
    };
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error_text(&error))),
        _ if !directory.is_dir() => return Err(failed("Not a directory")),
        _ => {}
    }
    let opened = File::open(directory).map_err(|error| failed(&error_text(&error)))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(format!(
            "Another process writes its log into {}. Stop it, or choose another 'dir' or 'appenddirname'",
            directory.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(&error_text(&error))),
    }
}

impl AppendLog {
    /// Makes the directory of the log its own for the life of the process.
    pub fn claim_directory(&self, plan: &Plan) -> Result<(), String> {
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if claim.is_none() {
            *claim = Some(claimed(plan)?);
        }
        Ok(())
    }
}

/// How long all files of the log are, for the progress of the load.
pub fn bytes_to_load(plan: &Plan) -> u64 {
    let entries = std::fs::read_dir(&plan.place.directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn bad_manifest(plan: &Plan, bad: &torc_persistence::aof::manifest::BadManifest) -> String {
    tracing::warn!("*** FATAL AOF MANIFEST FILE ERROR ***");
    if let Some((number, line)) = &bad.line {
        tracing::warn!("Reading the manifest file, at line {number}");
        tracing::warn!(">>> '{}'", String::from_utf8_lossy(line));
    }
    format!("The manifest {} cannot be read: {}", plan.place.manifest_path().display(), bad.reason)
}

pub(super) async fn read_file(operations: &Operations, path: &Path) -> io::Result<Vec<u8>> {
    const PIECE_BYTES: usize = 64 << 10;
    let file = operations.open(path).await?;
    let mut text = Vec::new();
    loop {
        let piece = file.read_at(text.len() as u64, Vec::with_capacity(PIECE_BYTES)).await?;
        if piece.is_empty() {
            return Ok(text);
        }
        text.extend_from_slice(&piece);
    }
}

/// Without a manifest: the single file of an old server, if there is one, becomes the base of a new log.
async fn adopt_old_file(tasks: &Tasks, plan: &Plan) -> Result<Manifest, String> {
    let (operations, name) = (&tasks.operations, plan.place.name.as_bytes());
    let (old, new) = (plan.server_directory.join(&plan.place.name), plan.place.path(name));
    let mut manifest = Manifest::default();
    let is_moved = operations.open(&new).await.is_ok();
    if !is_moved && operations.open(&old).await.is_err() {
        return Ok(manifest);
    }
    tracing::info!("Starting upgrading from an old-style AOF {} to an AOF directory.", plan.place.name);
    manifest.base = Some(LogFile { name: name.to_vec(), sequence: 1 });
    manifest.last_base = 1;
    let failed = |error: io::Error| {
        format!("Error trying to move {} into the AOF directory: {}", old.display(), error_text(&error))
    };
    // The manifest first: a crash between the two leaves a file that is not there yet, which is looked for at the old place.
    plan.place.write_manifest(operations, &manifest).await.map_err(|failure| failed(failure.into()))?;
    if !is_moved {
        operations.rename(&old, &new).await.map_err(failed)?;
        operations.sync_directory(&plan.place.directory).await.map_err(failed)?;
        operations.sync_directory(&plan.server_directory).await.map_err(failed)?;
    }
    tracing::info!(
        "Successfully migrated an old-style AOF configuration ({}) into the AOF directory ({}).",
        plan.place.name,
        plan.place.directory.display()
    );
    Ok(manifest)
}

/// Loads one file; how long it is then.
async fn load_file(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    plan: &Plan,
    log_file: &LogFile,
    is_base: bool,
    is_last: bool,
) -> Result<u64, String> {
    let path = plan.place.path(&log_file.name);
    let shown = path.display().to_string();
    let unreadable = |error: io::Error| {
        let reason = error_text(&error);
        if error.kind() == io::ErrorKind::NotFound {
            let name = String::from_utf8_lossy(&log_file.name);
            let place = plan.place.directory.display();
            return format!(
                "Unable to obtain the AOF file {name} length. stat: {reason}. The manifest names it in {place}"
            );
        }
        format!("Fatal error: can't open the append log file {shown} for reading: {reason}")
    };
    let handle = match tasks.operations.open_for_writing(&path).await {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && is_base && log_file.name == plan.place.name.as_bytes() =>
        {
            // An upgrade that was cut short: it is where the old server left it.
            let old = plan.server_directory.join(&plan.place.name);
            tasks.operations.rename(&old, &path).await.map_err(unreadable)?;
            tasks.operations.open_for_writing(&path).await.map_err(unreadable)?
        }
        other => other.map_err(unreadable)?,
    };
    let handle = Rc::new(handle);
    let length = length_of(&handle).await.map_err(unreadable)?;
    let began_ns = tasks.executor.now_ns();
    let mut start = 0;
    let head = handle.read_at(0, Vec::with_capacity(6)).await.map_err(|failure| unreadable(failure.error))?;
    if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") {
        if !is_rdb_name(&log_file.name) {
            tracing::info!("Reading RDB preamble from AOF file...");
        }
        let source = Source { path: path.clone(), bytes: length, is_base: true, twice: Twice::Refused };
        let loaded = loading::load(tasks.clone(), shared.clone(), source).await;
        start = loaded.map_err(|failure| format!("Error reading the RDB preamble of the AOF file {shown}, AOF loading aborted: {failure}. Look at it with torc-check"))?.bytes;
    }
    let fed = feed(tasks, shared, &handle, (start, length)).await.map_err(|failure| match failure {
        FeedFailure::Unreadable(error) => {
            format!("Unrecoverable error reading the append only file {shown}: {}", error_text(&error))
        }
        FeedFailure::Unknown(name, offset) => format!(
            "Unknown command '{}' reading the append only file {shown} (offset {offset})",
            String::from_utf8_lossy(&name)
        ),
    })?;
    let length = see_to_tail(plan, &handle, &shown, fed, length, is_last).await?;
    let kind = if is_base { "base" } else { "incr" };
    let seconds = (tasks.executor.now_ns() - began_ns) as f64 / 1e9;
    tracing::info!("DB loaded from {kind} file {}: {seconds:.3} seconds", String::from_utf8_lossy(&log_file.name));
    Ok(length)
}

/// What to do about the end of a file that is not whole. How long the file is then.
async fn see_to_tail(
    plan: &Plan,
    handle: &FileHandle,
    shown: &str,
    fed: Fed,
    length: u64,
    is_last: bool,
) -> Result<u64, String> {
    const ADVICE: &str =
        "Make a backup of the file, then use torc-check --fix (or redis-check-aof --fix) on the manifest";
    let Some(stopped) = fed.stopped else { return Ok(length) };
    let lost = length - fed.whole;
    let name = shown.rsplit('/').next().unwrap_or(shown);
    let is_small_enough = match &stopped {
        Stopped::InCommand | Stopped::InTransaction => plan.loads_truncated,
        Stopped::Bad(_) => plan.corrupt_tail_max > 0 && lost <= plan.corrupt_tail_max,
    };
    if matches!(stopped, Stopped::InTransaction) {
        tracing::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
    }
    if !is_last || !is_small_enough {
        return Err(match stopped {
            Stopped::Bad(bad) => format!(
                "Bad file format reading the append only file {shown}: {bad}. All before offset {} is whole. {ADVICE}",
                fed.whole
            ),
            _ if !is_last => format!(
                "Fatal error: the truncated file is not the last file: {shown} is whole up to offset {} of {length}. {ADVICE}",
                fed.whole
            ),
            _ => format!(
                "Unexpected end of file reading the append only file {shown} (offset {} of {length}). You can: 1) {ADVICE}. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server.",
                fed.whole
            ),
        });
    }
    match stopped {
        Stopped::Bad(bad) => {
            tracing::warn!("!!! Warning: corrupt tail of {lost} bytes of the AOF file {name}: {bad} !!!")
        }
        _ => tracing::warn!("!!! Warning: short read while loading the AOF file {name}!!!"),
    }
    tracing::warn!("!!! Truncating the AOF {name} at offset {} !!!", fed.whole);
    let cut = async {
        handle.truncate(fed.whole).await?;
        handle.sync(false).await
    };
    cut.await.map_err(|error| format!("Error truncating the AOF file {shown}: {}", error_text(&error)))?;
    tracing::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled ({lost} bytes were cut off)");
    Ok(fed.whole)
}

/// How long a file is: by looking for its end, since the driver only reads.
async fn length_of(handle: &FileHandle) -> io::Result<u64> {
    let is_there = async |offset: u64| {
        let piece = handle.read_at(offset, Vec::with_capacity(1)).await.map_err(io::Error::from);
        piece.map(|piece| !piece.is_empty())
    };
    let mut above = 1u64;
    while above < 1 << 62 && is_there(above - 1).await? {
        above *= 2;
    }
    let mut below = above / 2;
    // The byte before `below` is there, the one before `above` is not.
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if is_there(middle - 1).await? { below = middle } else { above = middle }
    }
    Ok(below)
}

/// Opens the last file, or begins the first; a log that is new gets a base.
async fn go_on(
    tasks: &Tasks,
    shared: &Arc<Shared>,
    plan: &Plan,
    mut manifest: Manifest,
    lengths: &[u64],
) -> Result<Writer, String> {
    let operations = &tasks.operations;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("Can't {what}: {}", error_text(&error))
    };
    let mut lengths = lengths.to_vec();
    let before = manifest.clone();
    if manifest.is_empty() {
        let base = manifest.begin_base(&plan.place.name, plan.base_is_rdb);
        let shown = String::from_utf8_lossy(&base.name).into_owned();
        tracing::info!("Creating AOF base file {shown} on server start");
        let bytes = if plan.base_is_rdb { empty_base(shared, tasks).await } else { Vec::new() };
        lengths.push(bytes.len() as u64);
        let written = write_new(operations, &plan.place.path(&base.name), bytes).await;
        written.map_err(failed("create the AOF base file"))?;
    }
    let current = match manifest.incremental.last() {
        Some(last) => last.clone(),
        None => {
            let first = manifest.begin_incremental(&plan.place.name);
            let shown = String::from_utf8_lossy(&first.name).into_owned();
            tracing::info!("Creating AOF incr file {shown} on server start");
            write_new(operations, &plan.place.path(&first.name), Vec::new())
                .await
                .map_err(failed("create the AOF file"))?;
            lengths.push(0);
            first
        }
    };
    let history = std::mem::take(&mut manifest.history);
    if manifest != before {
        let written = plan.place.write_manifest(operations, &manifest).await;
        written.map_err(|failure| failed("write the AOF manifest")(failure.into()))?;
    }
    for old in history {
        tracing::info!("Removing the history file {} in the background", String::from_utf8_lossy(&old.name));
        drop(operations.unlink(&plan.place.path(&old.name)).await);
    }
    let length = lengths.pop().unwrap_or(0);
    let (generation, sequence) = (shared.append_log.next_generation(), current.sequence);
    let path = plan.place.path(&current.name);
    let file = CurrentFile { generation, sequence, path, length, synced_length: length };
    let has_base = manifest.base.iter().map(|_| 0);
    let sequences = has_base.chain(manifest.incremental.iter().map(|log_file| log_file.sequence));
    let others = sequences.zip(lengths).collect();
    Ok(Writer::new(shared.shards(), plan.place.clone(), manifest, file, others))
}

/// Makes a file whose content is on disk when this ends.
pub(super) async fn write_new(operations: &Operations, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
    let file = operations.create(path, 0o644).await?;
    file.write_all_at(0, bytes).await?;
    file.sync(false).await?;
    file.close().await
}

async fn empty_base(shared: &Arc<Shared>, tasks: &Tasks) -> Vec<u8> {
    let now_s = tasks.on_core(|core| core.clock.wall_ms / 1000).await;
    let (version, sums) = {
        let config = shared.config();
        (config.redis_version.clone(), config.persistence.sums)
    };
    let mut bytes = Vec::new();
    let mut out = Output::plain(&mut bytes);
    file::write_header(Version::LISTPACKS, Dialect::Redis, &mut out);
    let used = shared.used_bytes().to_string();
    for (field, value) in [
        ("redis-ver", version.as_str()),
        ("redis-bits", "64"),
        ("ctime", &now_s.to_string()),
        ("used-mem", &used),
        ("aof-base", "1"),
    ] {
        file::write_aux(field.as_bytes(), value.as_bytes(), &mut out);
    }
    file::write_end(&mut out);
    let sum = if sums { crc64::of(&bytes) } else { 0 };
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}
