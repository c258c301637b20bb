//! A file that is read in pieces, with a bar on a terminal that shows how far it is.

use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 20;

/// A file, piece by piece.
pub(crate) struct Source {
    /// How long it was when it was opened.
    pub(crate) bytes: u64,
    file: File,
    piece: Vec<u8>,
    bar: ProgressBar,
}

impl Source {
    /// Opens a file. The bar is seen on a terminal only.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let bar = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        bar.set_message(path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned());
        Ok(Self { bytes, file, piece: vec![0; PIECE_BYTES.min(bytes.max(1) as usize)], bar })
    }

    /// Goes on from an offset.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.bar.set_position(offset);
        Ok(())
    }

    /// The next piece: empty at the end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let mut filled = 0;
        while filled < self.piece.len() {
            match self.file.read(&mut self.piece[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bar.inc(filled as u64);
        Ok(&self.piece[..filled])
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
