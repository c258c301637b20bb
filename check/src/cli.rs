//! The tool under its own name.

use crate::aof::{self, Kind, Part};
use crate::convert::{convert, told_finding};
use crate::rdb::{self, Options, Place, What};
use crate::repair;
use crate::statistics::{Statistics, type_name};
use crate::stock_aof::asked;
use crate::stock_rdb::now;
use clap::{Parser, Subcommand};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use torc_persistence::aof::frames::Frame;
use torc_persistence::rdb::file::{Entry, Item};
use torc_persistence::{rebuild, words};

#[derive(Parser)]
#[command(
    name = "torc-check",
    version,
    about = "Looks at RDB files and append-only files: verifies, prints, repairs and converts them.",
    after_help = "Called redis-check-rdb or redis-check-aof (also valkey-...), it takes that tool's arguments."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads every item and every value of a file, or of all files of a log.
    Verify {
        /// An RDB file, an append-only file, a manifest or its directory.
        path: PathBuf,
        /// Repairs: of an RDB file all sound items are kept, the old file beside it; the last file of a log is cut.
        #[arg(long)]
        fix: bool,
        /// Does not ask before it repairs.
        #[arg(long, requires = "fix")]
        yes: bool,
    },
    /// Lists keys with types, sizes and expiries, or the commands of a log.
    Print {
        /// An RDB file, an append-only file, a manifest or its directory.
        path: PathBuf,
        /// Values, too, as the commands that make them.
        #[arg(long)]
        values: bool,
    },
    /// Makes a log of an RDB file, or an RDB file of a log.
    Convert {
        /// An RDB file, an append-only file, a manifest or its directory.
        from: PathBuf,
        /// A file that is not there yet; a directory (with a slash at the end) for a log with a manifest.
        to: PathBuf,
        /// How many databases a log may use.
        #[arg(long, default_value_t = 16)]
        databases: usize,
    },
}

/// With its own arguments: 0 if all is well, 1 if something was found, 2 if nothing could be done.
pub(crate) fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Verify { path, fix, yes } => verify(&path, fix, yes).map_err(|error| (path, error)),
        Command::Print { path, values } => print(&path, values).map_err(|error| (path, error)),
        Command::Convert { from, to, databases } => convert(&from, &to, databases)
            .map(|told| {
                told.iter().for_each(|line| println!("{line}"));
                true
            })
            .map_err(|error| (from, error)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err((_, error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err((path, error)) => {
            eprintln!("torc-check: {}: {error}", path.display());
            ExitCode::from(2)
        }
    }
}

fn verify(path: &Path, fix: bool, yes: bool) -> io::Result<bool> {
    match aof::kind(path)? {
        Kind::Rdb => verify_rdb(path, fix, yes),
        Kind::Commands => verify_part(&aof::single(path)?, fix, yes),
        Kind::Manifest(manifest) => {
            let parts = aof::parts(&manifest)?;
            let mut is_sound = true;
            for part in &parts {
                is_sound &= verify_part(part, fix, yes)?;
            }
            println!("{}: {} files, {}", manifest.display(), parts.len(), verdict(is_sound));
            Ok(is_sound)
        }
    }
}

fn verdict(is_sound: bool) -> &'static str {
    if is_sound { "OK" } else { "NOT OK" }
}

fn count(statistics: &mut Statistics, place: &Place<'_>, entry: &Entry<'_>, now: i64) {
    let bytes = entry.value.len() as u64;
    statistics.add(place.database, &entry.key, entry.kind, bytes, entry.expires_at, now);
}

fn survey(path: &Path, is_preamble: bool) -> io::Result<rdb::Outcome> {
    let (mut statistics, now) = (Statistics::default(), now());
    let mut about = Vec::new();
    let outcome = rdb::walk(path, Options { decodes: true, is_preamble, stops: false }, &mut |place, item| {
        match item {
            Item::Aux { field, value } if about.len() < 32 => {
                about.push(format!("{}: {}", field.escape_ascii(), value.get(..200).unwrap_or(value).escape_ascii()));
            }
            Item::Function(_) => statistics.libraries += 1,
            Item::Module(name) => println!("what the module '{name}' keeps beside the keys, at offset {}", place.begin),
            Item::Entry(entry) => count(&mut statistics, place, entry, now),
            _ => {}
        }
        Ok(())
    })?;
    let version =
        outcome.header.map_or("unknown".to_owned(), |(version, dialect)| format!("{} of {dialect:?}", version.0));
    println!("{}: RDB, version {version}, {} bytes read", path.display(), outcome.bytes);
    about.iter().chain(&statistics.lines()).for_each(|line| println!("  {line}"));
    if outcome.is_over {
        let is_wrong = outcome.findings.iter().any(|finding| finding.what == What::WrongSum);
        let sum = match (is_wrong, outcome.is_summed) {
            (true, _) => "wrong",
            (false, true) => "right",
            (false, false) => "none was made",
        };
        println!("  checksum: {sum}");
    }
    for finding in &outcome.findings {
        println!("{}", told_finding(path, finding));
    }
    if outcome.findings_left_off > 0 {
        println!("{}: {} more findings", path.display(), outcome.findings_left_off);
    }
    Ok(outcome)
}

fn verify_rdb(path: &Path, fix: bool, yes: bool) -> io::Result<bool> {
    let length = std::fs::metadata(path)?.len();
    let mut outcome = survey(path, false)?;
    // Commands behind the end: an append-only file in the old way.
    if let Some(What::Behind(_)) = outcome.findings.last().map(|finding| &finding.what)
        && starts_commands(path, outcome.bytes)?
    {
        outcome.findings.pop();
        let is_sound = outcome.findings.is_empty();
        return Ok(verify_commands(&aof::single(path)?, outcome.bytes, fix, yes)? && is_sound);
    }
    let is_sound = outcome.findings.is_empty();
    println!("{}: {}", path.display(), verdict(is_sound));
    if is_sound || !fix {
        return Ok(is_sound);
    }
    println!(
        "Of {length} bytes, {} are read; what is sound is written into a new file, the old one is kept beside it.",
        outcome.bytes
    );
    if !yes && !asked("Continue? [y/N]: ") {
        println!("Nothing is changed.");
        return Ok(false);
    }
    let repaired = repair::repair(path)?;
    println!(
        "{}: {} keys are kept, {} left out; the old file is {}",
        path.display(),
        repaired.keys,
        repaired.left_out,
        repaired.old.display()
    );
    Ok(true)
}

fn starts_commands(path: &Path, offset: u64) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut byte = [0];
    Ok(file.read(&mut byte)? == 1 && matches!(byte[0], b'*' | b'#'))
}

fn verify_part(part: &Part, fix: bool, yes: bool) -> io::Result<bool> {
    let mut from = 0;
    if part.is_rdb {
        let outcome = survey(&part.path, true)?;
        if !outcome.findings.is_empty() {
            println!("{}: {}", part.path.display(), verdict(false));
            return Ok(false);
        }
        from = outcome.bytes;
    }
    verify_commands(part, from, fix, yes)
}

fn verify_commands(part: &Part, from: u64, fix: bool, yes: bool) -> io::Result<bool> {
    let path = &part.path;
    let (mut commands, mut transactions) = (0u64, 0u64);
    let ending = aof::walk(path, from, &mut |frame| {
        if let Frame::Command(command) = frame {
            commands += 1;
            transactions += u64::from(command.name().eq_ignore_ascii_case(b"MULTI"));
        }
        Ok(true)
    })?;
    println!("{}: {commands} commands, {transactions} transactions, {} bytes", path.display(), ending.bytes);
    if ending.is_whole() {
        println!("{}: {}", path.display(), verdict(true));
        return Ok(true);
    }
    let (what, advice) = ending.told(part.is_last);
    println!("{}: {what}; {advice}", path.display());
    if !fix || !part.is_last {
        println!("{}: {}", path.display(), verdict(false));
        return Ok(false);
    }
    if !yes && !asked("Continue? [y/N]: ") {
        println!("Nothing is changed.");
        return Ok(false);
    }
    aof::truncate(path, ending.whole_up_to)?;
    println!("{}: cut at offset {}", path.display(), ending.whole_up_to);
    Ok(true)
}

fn print(path: &Path, values: bool) -> io::Result<bool> {
    let out = &mut BufWriter::new(io::stdout().lock());
    let is_sound = match aof::kind(path)? {
        Kind::Rdb => print_part(&aof::single(path)?, values, out)?,
        Kind::Commands => print_part(&aof::single(path)?, values, out)?,
        Kind::Manifest(manifest) => {
            let mut is_sound = true;
            for part in aof::parts(&manifest)? {
                writeln!(out, "# {}", part.name)?;
                is_sound &= print_part(&part, values, out)?;
            }
            is_sound
        }
    };
    out.flush()?;
    Ok(is_sound)
}

fn print_part(part: &Part, values: bool, out: &mut dyn Write) -> io::Result<bool> {
    let path = &part.path;
    let mut from = 0;
    if part.is_rdb {
        let outcome =
            rdb::walk(path, Options { decodes: true, is_preamble: true, stops: false }, &mut |place, item| {
                if let Item::Entry(entry) = item {
                    print_entry(place, entry, values, out)?;
                }
                Ok(())
            })?;
        outcome.findings.iter().for_each(|finding| eprintln!("torc-check: {}", told_finding(path, finding)));
        if !outcome.findings.is_empty() {
            return Ok(false);
        }
        from = outcome.bytes;
    }
    let ending = aof::walk(path, from, &mut |frame| {
        match frame {
            Frame::Remark { seconds, .. } => {
                if let Some(seconds) = seconds {
                    writeln!(out, "# at {seconds}")?;
                }
            }
            Frame::Command(command) => print_words(&command.arguments().collect::<Vec<_>>(), out)?,
        }
        Ok(true)
    })?;
    if !ending.is_whole() {
        let (what, advice) = ending.told(part.is_last);
        eprintln!("torc-check: {}: {what}; {advice}", path.display());
    }
    Ok(ending.is_whole())
}

fn print_entry(place: &Place<'_>, entry: &Entry<'_>, values: bool, out: &mut dyn Write) -> io::Result<()> {
    let expiry = entry.expires_at.map_or("never expires".to_owned(), |at| format!("expires at {at} ms"));
    let (key, kind, bytes) = (entry.key.escape_ascii(), type_name(entry.kind), entry.value.len());
    let mark = if place.is_bad { ", BROKEN" } else { "" };
    writeln!(out, "# database {}, \"{key}\": {kind}, {bytes} bytes, {expiry}{mark}", place.database)?;
    let Some(value) = place.value.filter(|_| values) else { return Ok(()) };
    let mut done = Ok(());
    rebuild::value(&entry.key, value, entry.expires_at, &mut |words| {
        if done.is_ok() {
            done = print_words(words, out);
        }
    });
    done
}

/// A command as redis-cli takes it.
fn print_words(words: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            out.write_all(b" ")?;
        }
        let is_plain = !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
        if is_plain { out.write_all(word)? } else { out.write_all(&words::quote(word))? }
    }
    out.write_all(b"\n")
}
