//! What `redis-check-rdb` and `valkey-check-rdb` say of a file, and how they exit.
//!
//! The walk looks at more than they do: values are decoded whole, and a key that stands twice is an error here, as such a file
//! stops the server that loads it.

use crate::rdb::{self, Finding, Options, Outcome, What};
use crate::statistics::{Statistics, kind_name};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use torc_persistence::rdb::file::Item;

/// With that tool's arguments.
pub(crate) fn main(name: &str, arguments: &[OsString]) -> ExitCode {
    match arguments {
        [only] if only == "-v" || only == "--version" => {
            println!("{name} {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [path] => {
            if check(Path::new(path), Options { decodes: true, is_preamble: false, stops: true }).is_some() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        _ => {
            eprintln!("Usage: {name} <rdb-file-name>");
            ExitCode::FAILURE
        }
    }
}

/// The time, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Tells of a file; how many bytes it has if it is sound.
pub(crate) fn check(path: &Path, options: Options) -> Option<u64> {
    println!("[offset 0] Checking RDB file {}", path.display());
    let mut statistics = Statistics::default();
    let now = now();
    let outcome = rdb::walk(path, options, &mut |place, item| {
        match item {
            Item::Aux { field, value } => println!(
                "[offset {}] AUX FIELD {} = '{}'",
                place.end,
                String::from_utf8_lossy(field),
                String::from_utf8_lossy(value)
            ),
            Item::Select(number) => println!("[offset {}] Selecting DB ID {number}", place.end),
            Item::Module(name) => println!("[offset {}] MODULE AUX for: {name}", place.end),
            Item::Entry(entry) => {
                statistics.add(place.database, &entry.key, entry.kind, entry.value.len() as u64, entry.expires_at, now);
            }
            _ => {}
        }
        Ok(())
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound || error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            return None;
        }
        Err(_) => {
            let mut failed = Outcome::default();
            failed.findings.push(Finding {
                offset: 0,
                stage: rdb::Stage::Start,
                key: None,
                kind: Some(0),
                what: What::Truncated,
            });
            failed
        }
    };
    conclude(&outcome, &statistics)
}

fn conclude(outcome: &Outcome, statistics: &Statistics) -> Option<u64> {
    // Bytes behind the end are nothing to that tool.
    let finding = outcome.findings.iter().find(|finding| !matches!(finding.what, What::Behind(_)));
    let mut total = statistics.total();
    match finding {
        Some(finding) => {
            // A key counts when its name has been read.
            total.count += u64::from(finding.key.is_some() && !finding.what.is_passable());
            // Before the first key it takes itself to be at one of type 0.
            tell(finding, finding.kind.or((total.count == 0).then_some(0)));
        }
        None => {
            let sum = if outcome.is_summed {
                "Checksum OK"
            } else {
                "RDB file was saved with checksum disabled: no check performed."
            };
            println!("[offset {}] {sum}", outcome.bytes);
            println!("[offset {}] \\o/ RDB looks OK! \\o/", outcome.bytes);
        }
    }
    println!("[info] {} keys read", total.count);
    println!("[info] {} expires", total.expiring);
    println!("[info] {} already expired", total.expired);
    if finding.is_none() { Some(outcome.bytes) } else { None }
}

fn tell(finding: &Finding, kind: Option<u8>) {
    let what = match &finding.what {
        What::NoMagic => "Wrong signature trying to load DB from file".to_owned(),
        What::FutureVersion(version) => {
            let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
            format!("Can't handle RDB format version {}", digits.parse::<u32>().unwrap_or(0))
        }
        What::Truncated => "Unexpected EOF reading RDB file".to_owned(),
        What::UnknownKind(kind) => format!("Invalid object type: {kind}"),
        What::WrongSum => "RDB CRC error".to_owned(),
        other => other.told().0,
    };
    println!("--- RDB ERROR DETECTED ---");
    println!("[offset {}] {what}", finding.offset);
    println!("[additional info] While doing: {}", finding.stage.name());
    if let Some(key) = &finding.key {
        println!("[additional info] Reading key '{}'", String::from_utf8_lossy(key));
    }
    if let Some(kind) = kind {
        println!("[additional info] Reading type {kind} ({})", kind_name(kind));
    }
}
