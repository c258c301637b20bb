//! What is whole of an RDB file, in a new one.
//!
//! ```text
//!   header, items without a finding, as they stand ──> temporary file ──> END, checksum, fsync
//!   the old file becomes NAME.broken, the new one NAME
//! ```

use crate::rdb::{self, Options};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use torc_persistence::crc64;
use torc_persistence::rdb::file::Item;
use torc_persistence::rdb::opcodes;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// Keys in the new file.
    pub(crate) keys: u64,
    /// Keys that were whole as bytes and are left out.
    pub(crate) left_out: u64,
    /// Where the old file is now.
    pub(crate) old: PathBuf,
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Writes a file's sound items anew, in its place.
pub(crate) fn repair(path: &Path) -> io::Result<Repaired> {
    let (temporary, old) = (beside(path, ".repairing"), beside(path, ".broken"));
    let mut repaired = Repaired { old: old.clone(), ..Repaired::default() };
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&temporary)?);
    let written = write(path, &mut out, &mut repaired);
    let written = written.and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    if let Err(error) = written {
        drop(std::fs::remove_file(&temporary));
        return Err(error);
    }
    // A link, not a name that moves: at no moment is there no file.
    std::fs::hard_link(path, &old)?;
    std::fs::rename(&temporary, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()?;
    Ok(repaired)
}

fn write(path: &Path, out: &mut impl Write, repaired: &mut Repaired) -> io::Result<()> {
    let mut sum = 0;
    let mut put = |bytes: &[u8]| {
        sum = crc64::update(sum, bytes);
        out.write_all(bytes)
    };
    let outcome =
        rdb::walk(path, Options { decodes: true, is_preamble: false, stops: false }, &mut |place, item| match item {
            Item::End => Ok(()),
            Item::Entry(_) if place.is_bad => {
                repaired.left_out += 1;
                Ok(())
            }
            item => {
                repaired.keys += u64::from(matches!(item, Item::Entry(_)));
                put(place.bytes)
            }
        })?;
    let Some((version, _)) = outcome.header else {
        return Err(io::Error::other("nothing of this file can be kept"));
    };
    put(&[opcodes::END])?;
    if version.0 >= 5 { out.write_all(&sum.to_le_bytes()) } else { Ok(()) }
}
