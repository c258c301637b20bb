//! `aof-use-rdb-preamble no`: a base of commands, for those who read their log.
//!
//! ```text
//!   snapshot ──> temp-….rdb ── a thread of its own: one value at a time ──> temp-….aof ──> fsync ──> the base
//! ```
//! The snapshot is the one that every base is; what becomes of it costs a second pass over the disk, and no shard any time. A value that no
//! commands make again (a stream that remembers its producers) leaves the base what it is without this option: every server
//! reads either, whatever the file is called.

use crate::shared::Shared;
use crate::tasks::Tasks;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::time::Duration;
use torc_engine::values::Encodings;
use torc_engine::values::large::MemberHasher;
use torc_persistence::aof::text::{write_command, write_select, write_time};
use torc_persistence::rdb::Dialect;
use torc_persistence::rdb::decode::{self, Decoded, Target};
use torc_persistence::rdb::file::{Item, Scanner};
use torc_persistence::rdb::functions::OWN_FIELD;
use torc_persistence::rdb::input::Input;
use torc_persistence::rebuild;

/// Read, and written, at a time.
const PIECE_BYTES: usize = 1 << 20;
/// How often the task looks whether the thread is through.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What values are decoded with.
struct About {
    limits: Encodings,
    hasher: MemberHasher,
    /// `aof-timestamp-enabled`: when the base was made.
    made_s: Option<i64>,
}

/// Turns a snapshot into a file of commands at `to`, and gives its length; the snapshot's file is gone then.
pub(super) async fn turn(tasks: &Tasks, shared: &Arc<Shared>, snapshot: PathBuf, to: PathBuf) -> Result<u64, String> {
    let hasher = tasks.on_core(|core| core.shard.keyspace.member_hasher().clone()).await;
    let (limits, stamps) = {
        let config = shared.config();
        (config.encodings, config.persistence.append_log.stamps)
    };
    let made_s = tasks.on_core(|core| core.clock.wall_ms / 1000).await;
    let about = About { limits, hasher, made_s: stamps.then_some(made_s) };
    let (sender, receiver) = sync_channel(1);
    let work = move || {
        let outcome = turn_file(&snapshot, &to, &about);
        if outcome.is_err() {
            drop(std::fs::remove_file(&snapshot));
        }
        // The process may be about to end.
        let _ = sender.send(outcome.map_err(|error| format!("a base of commands cannot be written: {error}")));
    };
    std::thread::Builder::new().name("log-base".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    loop {
        match receiver.try_recv() {
            Ok(outcome) => return outcome,
            Err(TryRecvError::Disconnected) => return Err("the thread that writes the base has ended".to_owned()),
            Err(TryRecvError::Empty) => tasks.executor.sleep(LOOK_AGAIN).await,
        }
    }
}

fn turn_file(from: &Path, to: &Path, about: &About) -> io::Result<u64> {
    let temporary = from.with_extension("aof");
    let written = File::create(&temporary).and_then(|file| {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, file);
        let is_all_told = write(&mut File::open(from)?, &mut out, about)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(is_all_told)
    });
    let (kept, other) = match written {
        Ok(true) => (temporary.as_path(), from),
        Ok(false) => (from, temporary.as_path()),
        Err(error) => {
            drop(std::fs::remove_file(&temporary));
            return Err(error);
        }
    };
    std::fs::rename(kept, to)?;
    std::fs::remove_file(other)?;
    if let Some(directory) = to.parent() {
        File::open(directory)?.sync_all()?;
    }
    std::fs::metadata(to).map(|metadata| metadata.len())
}

/// Whether commands tell all that is in the file.
fn write(from: &mut File, out: &mut impl Write, about: &About) -> io::Result<bool> {
    let About { limits, hasher, made_s } = about;
    let mut scanner = Scanner::new(false);
    let (mut piece, mut commands) = (vec![0; PIECE_BYTES], Vec::new());
    let (mut database, mut selected) = (0, None);
    if let Some(made_s) = made_s {
        write_time(&mut commands, *made_s);
    }
    loop {
        let length = from.read(&mut piece)?;
        scanner.feed(&piece[..length]);
        loop {
            let dialect = scanner.header().map_or(Dialect::Redis, |(_, dialect)| dialect);
            match scanner.next(length == 0).map_err(|malformed| io::Error::other(malformed.to_string()))? {
                None => break,
                Some(Item::End) => return Ok(true),
                Some(Item::Select(number)) => database = number as usize,
                Some(Item::Function(code)) => write_command(&mut commands, &[b"FUNCTION".as_slice(), b"LOAD", &code]),
                Some(Item::Aux { field, value }) if *field == *OWN_FIELD => {
                    write_command(&mut commands, &[b"FUNCTION".as_slice(), b"LOAD", &value]);
                }
                Some(Item::Entry(entry)) => {
                    let decoded =
                        decode::value(entry.kind, &mut Input::new(entry.value), Target { limits, hasher, dialect });
                    let decoded = decoded.map_err(|malformed| io::Error::other(malformed.to_string()))?;
                    let Decoded::Value(value) = decoded else { continue };
                    if !rebuild::is_all_told(&value) {
                        return Ok(false);
                    }
                    if selected.replace(database) != Some(database) {
                        write_select(&mut commands, database);
                    }
                    rebuild::value(&entry.key, &value, entry.expires_at, &mut |words| {
                        write_command(&mut commands, words);
                    });
                }
                Some(_) => {}
            }
            out.write_all(&commands)?;
            commands.clear();
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
