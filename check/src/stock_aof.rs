//! What `redis-check-aof` and `valkey-check-aof` say of a log, what they ask, and how they exit.

use crate::aof::{self, Ending, Kind, Part};
use crate::{rdb, stock_rdb};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use torc_persistence::aof::frames::{End, Frame};

/// The tool has said why it stops.
struct Stopped;

/// What it stops with, or what a file came to.
type Outcome<T> = Result<T, Stopped>;

/// What a file came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Valid,
    Empty,
    Truncated,
    TruncatedToTime,
}

/// What is asked for.
#[derive(Clone, Copy, Default)]
struct Options {
    fixes: bool,
    to_time: Option<i64>,
}

/// With that tool's arguments.
pub(crate) fn main(name: &str, arguments: &[OsString]) -> ExitCode {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let options = match words[..] {
        ["-v" | "--version"] => {
            println!("{name} {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        [_] => Options::default(),
        ["--fix", _] => Options { fixes: true, ..Options::default() },
        ["--truncate-to-timestamp", seconds, _] => match seconds.parse() {
            // Zero asks for nothing.
            Ok(seconds) => Options { to_time: Some(seconds).filter(|seconds| *seconds != 0), ..Options::default() },
            Err(_) => {
                println!("Invalid timestamp, aborting...");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            println!("Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>");
            return ExitCode::FAILURE;
        }
    };
    let path = arguments.last().map_or(Path::new(""), Path::new);
    if check(path, options).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(path: &Path, options: Options) -> Outcome<()> {
    if let Err(error) = File::open(path) {
        println!("Cannot open file {}: {}", path.display(), reason(&error));
        return Err(Stopped);
    }
    let kind = aof::kind(path).map_err(|error| {
        println!("Cannot read file: {}: {}", path.display(), reason(&error));
        Stopped
    })?;
    match kind {
        Kind::Manifest(manifest) => check_parts(&manifest, options),
        Kind::Rdb | Kind::Commands => {
            println!("Start checking Old-Style AOF");
            let part = aof::single(path).map_err(|error| cannot_open(path, &error))?;
            let verdict = check_part(&part, options)?;
            tell(verdict, "AOF", &part.name, options);
            Ok(())
        }
    }
}

fn reason(error: &io::Error) -> String {
    // As C's `strerror` has it.
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn cannot_open(path: &Path, error: &io::Error) -> Stopped {
    println!("Cannot open file {}: {}, aborting...", path.display(), reason(error));
    Stopped
}

fn check_parts(manifest: &Path, options: Options) -> Outcome<()> {
    println!("Start checking Multi Part AOF");
    let parts = aof::parts(manifest).map_err(|error| {
        println!("{}", reason(&error));
        Stopped
    })?;
    let mut is_first = true;
    for part in &parts {
        if part.is_base {
            println!("Start to check BASE AOF ({} format).", if part.is_rdb { "RDB" } else { "RESP" });
        } else if std::mem::replace(&mut is_first, false) {
            println!("Start to check INCR files.");
        }
        let verdict = check_part(part, options)?;
        tell(verdict, if part.is_base { "BASE AOF" } else { "INCR AOF" }, &part.name, options);
    }
    println!("All AOF files and manifest are valid");
    Ok(())
}

fn tell(verdict: Verdict, kind: &str, name: &str, options: Options) {
    match verdict {
        Verdict::Valid => println!("{kind} {name} is valid"),
        Verdict::Empty => println!("{kind} {name} is empty"),
        Verdict::TruncatedToTime => {
            println!("Successfully truncated AOF {name} to timestamp {}", options.to_time.unwrap_or(0));
        }
        Verdict::Truncated => println!("Successfully truncated AOF {name}"),
    }
}

/// What a walk met before its end.
#[derive(Default)]
struct Met {
    lines: u64,
    is_in_transaction: bool,
    /// Where the last argument of the last command begins.
    last_argument: u64,
    /// A command that cannot stand there, with its place.
    misplaced: Option<String>,
    /// Where what is later than the time begins.
    too_late: Option<u64>,
}

impl Met {
    /// Whether to go on behind a frame.
    fn see(&mut self, frame: Frame<'_>, path: &Path, to_time: Option<i64>) -> bool {
        match frame {
            Frame::Remark { offset, seconds } => {
                if let (Some(to_time), Some(seconds)) = (to_time, seconds)
                    && seconds > to_time
                {
                    self.too_late = Some(offset);
                    return false;
                }
            }
            Frame::Command(command) => {
                let name = command.name();
                let (begins, ends) = (name.eq_ignore_ascii_case(b"multi"), name.eq_ignore_ascii_case(b"exec"));
                self.lines += 1 + 2 * command.len() as u64;
                let place =
                    |word: &[u8]| command.offset + (word.as_ptr() as usize - command.bytes.as_ptr() as usize) as u64;
                self.last_argument = place(command.arguments().last().unwrap_or(name));
                if begins && self.is_in_transaction || ends && !self.is_in_transaction {
                    let place = place(name);
                    let name = if begins { "MULTI" } else { "EXEC" };
                    self.misplaced = Some(format!("0x{place:16x}: Unexpected {name} in AOF {}", path.display()));
                    return false;
                }
                self.is_in_transaction = begins || self.is_in_transaction && !ends;
            }
        }
        true
    }
}

fn check_part(part: &Part, options: Options) -> Outcome<Verdict> {
    let path = &part.path;
    let bytes = std::fs::metadata(path).map_err(|error| cannot_open(path, &error))?.len();
    if bytes == 0 {
        return Ok(Verdict::Empty);
    }
    let mut from = 0;
    if part.is_rdb {
        let walk = rdb::Options { decodes: true, is_preamble: true, stops: true };
        let Some(end) = stock_rdb::check(path, walk) else {
            println!("RDB preamble of AOF file is not sane, aborting.");
            return Err(Stopped);
        };
        println!("RDB preamble is OK, proceeding with AOF tail...");
        from = end;
    }
    let mut met = Met { lines: 1, ..Met::default() };
    let mut begins = from;
    let ending = aof::walk(path, from, &mut |frame| {
        if let Frame::Command(command) = &frame {
            begins = command.offset;
        }
        Ok(met.see(frame, path, options.to_time))
    });
    let ending = ending.map_err(|error| cannot_open(path, &error))?;
    if let (Some(offset), Some(time)) = (met.too_late, options.to_time) {
        return truncate_to_time(part, offset, time);
    }
    conclude(part, options, &ending, met, begins)
}

fn truncate_to_time(part: &Part, offset: u64, time: i64) -> Outcome<Verdict> {
    let name = &part.name;
    if offset == 0 {
        println!("AOF {} has nothing before timestamp {time}, aborting...", part.path.display());
        return Err(Stopped);
    }
    if !part.is_last {
        println!(
            "Failed to truncate AOF {} to timestamp {time} to offset {offset} because it is not the last file.",
            part.path.display()
        );
        println!(
            "If you insist, please delete all files after this file according to the manifest file and delete the corresponding \
             records in manifest file manually. Then re-run redis-check-aof."
        );
        return Err(Stopped);
    }
    match aof::truncate(&part.path, offset) {
        Ok(()) => Ok(Verdict::TruncatedToTime),
        Err(_) => {
            println!("Failed to truncate AOF {name} to timestamp {time}");
            Err(Stopped)
        }
    }
}

fn conclude(part: &Part, options: Options, ending: &Ending, met: Met, begins: u64) -> Outcome<Verdict> {
    let name = &part.name;
    let mut lines = met.lines;
    let mut up_to = ending.whole_up_to;
    let mut error = met.misplaced.clone();
    if met.misplaced.is_some() {
        up_to = if met.is_in_transaction { ending.whole_up_to } else { begins };
    } else if ending.bad.is_some() || ending.end == End::InFrame {
        let first = first_byte(&part.path, ending.frame);
        if first == Some(b'*') {
            let (said, read) =
                aof::trouble(&part.path, ending.frame).map_err(|error| cannot_open(&part.path, &error))?;
            lines += read;
            error = said;
        } else if first != Some(b'#') {
            println!("AOF {name} format error");
        }
    }
    if error.is_none() && met.is_in_transaction && ending.bad.is_none() {
        let place = if ending.end == End::InFrame { ending.bytes } else { met.last_argument };
        error = Some(format!("0x{place:16x}: Reached EOF before reading EXEC for MULTI"));
    }
    if let Some(error) = error {
        println!("{error}");
    }
    let behind = ending.bytes - up_to;
    if behind == 0
        && let Some(time) = options.to_time
    {
        println!("Truncate nothing in AOF {name} to timestamp {time}");
        return Ok(Verdict::Valid);
    }
    println!(
        "AOF analyzed: filename={name}, size={}, ok_up_to={up_to}, ok_up_to_line={lines}, diff={behind}",
        ending.bytes
    );
    if behind == 0 {
        return Ok(Verdict::Valid);
    }
    if !options.fixes {
        println!("AOF {name} is not valid. Use the --fix option to try fixing it.");
        return Err(Stopped);
    }
    if !part.is_last {
        println!("Failed to truncate AOF {name} because it is not the last file");
        return Err(Stopped);
    }
    println!("This will shrink the AOF {name} from {} bytes, with {behind} bytes, to {up_to} bytes", ending.bytes);
    if !asked("Continue? [y/N]: ") {
        println!("Aborting...");
        return Err(Stopped);
    }
    match aof::truncate(&part.path, up_to) {
        Ok(()) => Ok(Verdict::Truncated),
        Err(_) => {
            println!("Failed to truncate AOF {name}");
            Err(Stopped)
        }
    }
}

fn first_byte(path: &Path, offset: u64) -> Option<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut byte = [0];
    (file.read(&mut byte).ok()? == 1).then_some(byte[0])
}

/// Asks on the terminal.
pub(crate) fn asked(question: &str) -> bool {
    use std::io::Write;
    print!("{question}");
    drop(io::stdout().flush());
    let mut answer = String::new();
    drop(io::stdin().lock().read_line(&mut answer));
    answer.starts_with(['y', 'Y'])
}
