//! Small files that tasks read and replace whole, without their shard waiting for the disk.
//!
//! ```text
//!   read_whole(path)         open, read piece by piece, close
//!   replace_whole(path)      a file beside it ── written, on disk ──> takes its place ──> its directory, too
//! ```
//! Invariant: whoever looks finds the old text or the new one, also after a power loss; once it is replaced, the new one.

use super::executor::Handle;
use super::operations::Operations;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const PIECE_BYTES: usize = 64 * 1024;
/// Nothing that is read whole is as long as that.
const WHOLE_BYTES_MAX: u64 = 256 << 20;
/// When a turn that another has is asked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Whose turn it is: files of the configuration are replaced by one at a time, over all shards, or what was true earlier could
/// come last.
#[derive(Debug, Default)]
pub struct FileTurns {
    is_taken: AtomicBool,
    /// Texts that were put beside a file: each has a name of its own.
    written: AtomicU64,
}

/// A turn; over when dropped.
pub struct FileTurn<'a>(&'a FileTurns);

impl Drop for FileTurn<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

impl FileTurns {
    /// Waits for a turn.
    pub async fn wait(&self, executor: &Handle) -> FileTurn<'_> {
        while self.is_taken.swap(true, Ordering::Acquire) {
            executor.sleep(LOOK_AGAIN).await;
        }
        FileTurn(self)
    }

    /// A name beside a file's that nothing else of this process has.
    pub fn name_beside(&self, path: &Path) -> PathBuf {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".tmp-{}-{number}", std::process::id()));
        name.into()
    }
}

/// Where a file's name stands.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Operations {
    /// All that is in a file.
    pub async fn read_whole(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path).await?;
        let (mut whole, mut piece) = (Vec::new(), Vec::with_capacity(PIECE_BYTES));
        loop {
            piece = file.read_at(whole.len() as u64, piece).await?;
            if piece.is_empty() {
                file.close().await?;
                return Ok(whole);
            }
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > WHOLE_BYTES_MAX {
                return Err(io::Error::other(format!("it is longer than {WHOLE_BYTES_MAX} bytes")));
            }
            piece.clear();
        }
    }

    /// Puts a text in the place of a file's, which keeps its mode; a new one has what the umask leaves of `mode`. `beside` is the
    /// name of the text until then.
    pub async fn replace_whole(&self, path: &Path, beside: &Path, text: Vec<u8>, mode: u32) -> io::Result<()> {
        let written = self.write_beside(path, beside, text, mode).await;
        if written.is_err() {
            // What is left of it is of no use.
            let _ = self.unlink(beside).await;
        }
        written?;
        self.sync_directory(directory_of(path)).await
    }

    async fn write_beside(&self, path: &Path, beside: &Path, text: Vec<u8>, mode: u32) -> io::Result<()> {
        // What a file is like is known without the disk once it has been opened.
        drop(self.open(path).await);
        let old = old_mode(path)?;
        let wanted = old.as_ref().map_or(mode, |old| old.mode() & 0o7777);
        let file = self.create(beside, wanted).await?;
        if let Some(old) = old {
            std::fs::set_permissions(beside, old)?;
        }
        file.write_all_at(0, text).await?;
        file.sync(false).await?;
        file.close().await?;
        self.rename(beside, path).await
    }
}

/// None where there is no file.
fn old_mode(path: &Path) -> io::Result<Option<Permissions>> {
    match std::fs::metadata(path) {
        Ok(old) => Ok(Some(old.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All that is in a file; nothing, where there is none.
pub fn or_empty(read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    read.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) })
}
