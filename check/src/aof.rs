//! The files of a log, and the commands in them.
//!
//! ```text
//!   appendonlydir/, or its manifest ──> base (RDB or commands), incremental files in order
//!   one file                        ──> commands, or an RDB file with commands behind its end
//! ```
//!
//! Only the last file may end too early: that is what a crash leaves, and what `--fix` cuts off.

use crate::progress::Source;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use torc_persistence::aof::frames::{BadFrame, End, Frame, Frames};
use torc_persistence::aof::manifest::Manifest;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file that begins as an RDB file does.
    Rdb,
    /// A file of commands.
    Commands,
    /// A list of files.
    Manifest(PathBuf),
}

/// A file of a log.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its name in the manifest, or the path that was given.
    pub(crate) name: String,
    /// Whether it begins as an RDB file.
    pub(crate) is_rdb: bool,
    /// Whether all others are read before it.
    pub(crate) is_last: bool,
    /// Whether it is the base.
    pub(crate) is_base: bool,
}

/// Whether a file begins as an RDB file does.
pub(crate) fn is_rdb(path: &Path) -> io::Result<bool> {
    let mut first = [0; 6];
    let read = File::open(path)?.read(&mut first)?;
    Ok(first[..read].starts_with(b"REDIS") || first[..read] == *b"VALKEY")
}

/// Whether a file names files, in the first line that is no remark.
fn is_manifest(path: &Path) -> io::Result<bool> {
    const LINE_BYTES_MAX: u64 = 1025;
    let mut reader = BufReader::new(File::open(path)?);
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        if line[0] != b'#' {
            return Ok(line.starts_with(b"file"));
        }
    }
}

/// What a path leads to. Of a directory, the manifest in it.
pub(crate) fn kind(path: &Path) -> io::Result<Kind> {
    if path.is_dir() {
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?.path();
            let is_temporary = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"temp-"));
            if entry.extension().is_some_and(|ending| ending == "manifest") && !is_temporary {
                found.push(entry);
            }
        }
        return match found.len() {
            1 => Ok(Kind::Manifest(found.swap_remove(0))),
            0 => Err(io::Error::other("there is no manifest in this directory; name the file that is meant")),
            _ => Err(io::Error::other("there is more than one manifest in this directory; name the one that is meant")),
        };
    }
    Ok(if is_rdb(path)? {
        Kind::Rdb
    } else if is_manifest(path)? {
        Kind::Manifest(path.to_path_buf())
    } else {
        Kind::Commands
    })
}

/// The files that a manifest names, as far as they have data.
pub(crate) fn parts(path: &Path) -> io::Result<Vec<Part>> {
    let manifest = Manifest::parse(&std::fs::read(path)?).map_err(|bad| io::Error::other(bad.to_string()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let count = usize::from(manifest.base.is_some()) + manifest.incremental.len();
    let base = manifest.base.iter().map(|file| (file, true));
    let files = base.chain(manifest.incremental.iter().map(|file| (file, false)));
    files
        .enumerate()
        .map(|(at, (file, is_base))| {
            let name = String::from_utf8_lossy(&file.name).into_owned();
            let path = directory.join(&name);
            let is_rdb =
                is_rdb(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            Ok(Part { path, name, is_rdb, is_last: at + 1 == count, is_base })
        })
        .collect()
}

/// The one file of a log in the old way.
pub(crate) fn single(path: &Path) -> io::Result<Part> {
    let name = path.display().to_string();
    Ok(Part { path: path.to_path_buf(), name, is_rdb: is_rdb(path)?, is_last: true, is_base: true })
}

/// How a file of commands ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Up to here there are whole commands and whole transactions.
    pub(crate) whole_up_to: u64,
    /// Where the frame begins that was not read to its end.
    pub(crate) frame: u64,
    /// What is behind that, if the file itself is as it should be.
    pub(crate) end: End,
    /// What cannot be read.
    pub(crate) bad: Option<BadFrame>,
}

impl Ending {
    /// Whether nothing is wrong.
    pub(crate) fn is_whole(&self) -> bool {
        self.bad.is_none() && self.end == End::Whole && self.whole_up_to == self.bytes
    }

    /// What is wrong and what to do.
    pub(crate) fn told(&self, is_last: bool) -> (String, String) {
        let what = match (&self.bad, self.end) {
            (Some(bad), _) => bad.to_string(),
            (None, End::InTransaction) => {
                format!("the file ends in a transaction that begins at offset {}", self.whole_up_to)
            }
            (None, _) => format!("the file ends in the middle of what begins at offset {}", self.frame),
        };
        let advice = if is_last {
            format!(
                "`torc-check verify --fix` cuts the file at offset {}, {} bytes go",
                self.whole_up_to,
                self.bytes - self.whole_up_to
            )
        } else {
            "only the last file may be cut: prefer another copy, or take the files behind it out of the manifest"
                .to_owned()
        };
        (what, advice)
    }
}

/// Goes through the commands of a file from an offset on. `visit` says whether to go on.
pub(crate) fn walk(path: &Path, from: u64, visit: &mut dyn FnMut(Frame<'_>) -> io::Result<bool>) -> io::Result<Ending> {
    let mut source = Source::open(path)?;
    source.skip_to(from)?;
    let bytes = source.bytes;
    let mut frames = Frames::new(from, bytes);
    let stop = |frames: &Frames, bad| Ending {
        bytes,
        whole_up_to: frames.whole_up_to(),
        frame: frames.offset(),
        end: frames.end(),
        bad,
    };
    loop {
        let piece = source.next()?;
        if piece.is_empty() {
            return Ok(stop(&frames, None));
        }
        frames.push(piece);
        loop {
            match frames.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if !visit(frame)? {
                        return Ok(stop(&frames, None));
                    }
                }
                Err(bad) => return Ok(stop(&frames, Some(bad))),
            }
        }
    }
}

/// Cuts a file, and makes sure that it stays cut.
pub(crate) fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// What stock tools say of a frame that cannot be read, and how many lines of it they had read.
pub(crate) fn trouble(path: &Path, frame: u64) -> io::Result<(Option<String>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    reader.seek(SeekFrom::Start(frame))?;
    let mut at = Trouble { reader, lines: 0 };
    let text = match at.frame()? {
        Ok(()) => None,
        Err(text) => text,
    };
    Ok((text, at.lines))
}

struct Trouble {
    reader: BufReader<File>,
    lines: u64,
}

/// What is said; nothing at the end of the file.
type Said<T> = io::Result<Result<T, Option<String>>>;

impl Trouble {
    fn frame(&mut self) -> Said<()> {
        let count = match self.number(b'*')? {
            Ok(count) => count,
            Err(said) => return Ok(Err(said)),
        };
        for _ in 0..count {
            let length = match self.number(b'$')? {
                Ok(length) => length,
                Err(said) => return Ok(Err(said)),
            };
            let at = self.reader.stream_position()?;
            let said = |text: String| Ok(Err(Some(format!("0x{at:16x}: {text}"))));
            if !(0..=i64::MAX - 2).contains(&length) {
                return said(format!("Expected to read string of {length} bytes, which is not in the suitable range"));
            }
            let wanted = length as u64 + 2;
            let mut last = [0; 2];
            let read = io::copy(&mut self.reader.by_ref().take(length as u64), &mut io::sink())?;
            let end = self.reader.by_ref().take(2).read(&mut last)? as u64;
            let end = if end == 1 { end + self.reader.by_ref().take(1).read(&mut last[1..])? as u64 } else { end };
            if read + end < wanted {
                return said(format!("Expected to read {wanted} bytes, got {} bytes", read + end));
            }
            if last != *b"\r\n" {
                return said(format!("Expected \\r\\n, got: {:02x}{:02x}", last[0], last[1]));
            }
            self.lines += 1;
        }
        Ok(Ok(()))
    }

    fn number(&mut self, prefix: u8) -> Said<i64> {
        const LINE_BYTES_MAX: u64 = 127;
        let at = self.reader.stream_position()?;
        let mut line = Vec::new();
        if self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(Err(None));
        }
        let said = |text: String| Ok(Err(Some(format!("0x{at:16x}: {text}"))));
        if line[0] != prefix {
            return said(format!("Expected prefix '{}', got: '{}'", prefix as char, line[0] as char));
        }
        let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        let number = std::str::from_utf8(&line[1..=digits]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let rest = &line[1 + digits..];
        if rest != b"\r\n" {
            let byte = |at: usize| rest.get(at).copied().unwrap_or(0);
            return said(format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1)));
        }
        self.lines += 1;
        Ok(Ok(number))
    }
}
