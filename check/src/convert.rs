//! From an RDB file to a log, and from a log to an RDB file.
//!
//! ```text
//!   RDB ──walk──> value ──> commands that build it again (`rebuild`) ──> one file, or a directory with a manifest
//!   log ──walk──> commands, values of an RDB base ──> replay ──> an RDB file of the lowest version that can hold it
//! ```
//!
//! A value is as large as it is; beyond one the first holds nothing. The second holds the whole data set.

use crate::aof::{self, Kind, Part};
use crate::rdb::{self, Options};
use crate::replay::Replay;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use torc_persistence::aof::frames::Frame;
use torc_persistence::aof::manifest::{Manifest, manifest_name};
use torc_persistence::aof::text::{write_command, write_select};
use torc_persistence::rdb::file::Item;
use torc_persistence::rdb::functions;
use torc_persistence::rebuild;

/// The log that a directory is made for.
const LOG_NAME: &str = "appendonly.aof";

/// What came of it, as lines.
pub(crate) type Told = io::Result<Vec<String>>;

fn refuse<T>(text: impl Into<String>) -> io::Result<T> {
    Err(io::Error::other(text.into()))
}

/// A new file, which is there under its name only when it is whole.
fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    if path.exists() {
        return refuse(format!("{} is there already", path.display()));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".converting");
    let temporary = path.with_file_name(name);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
    let filled = fill(&mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    match filled {
        Ok(()) => std::fs::rename(&temporary, path),
        Err(error) => {
            drop(std::fs::remove_file(&temporary));
            Err(error)
        }
    }
}

/// Converts; what to is told by what from is.
pub(crate) fn convert(from: &Path, to: &Path, databases: usize) -> Told {
    match aof::kind(from)? {
        Kind::Manifest(manifest) => to_rdb(&aof::parts(&manifest)?, to, databases),
        Kind::Commands => to_rdb(&[aof::single(from)?], to, databases),
        Kind::Rdb => {
            let mut length = 0;
            let outcome =
                rdb::walk(from, Options { decodes: false, is_preamble: true, stops: false }, &mut |place, _| {
                    length = place.end;
                    Ok(())
                })?;
            if outcome.is_over && std::fs::metadata(from)?.len() > length {
                return to_rdb(&[aof::single(from)?], to, databases);
            }
            if to.is_dir() || to.as_os_str().as_encoded_bytes().ends_with(b"/") {
                to_directory(from, to)
            } else {
                to_file(from, to)
            }
        }
    }
}

fn to_directory(from: &Path, to: &Path) -> Told {
    std::fs::create_dir_all(to)?;
    let mut manifest = Manifest::default();
    let base = manifest.begin_base(LOG_NAME, false);
    let path = to.join(manifest_name(LOG_NAME));
    if path.exists() {
        return refuse(format!("{} is there already", path.display()));
    }
    let told = to_file(from, &to.join(String::from_utf8_lossy(&base.name).as_ref()))?;
    write_whole(&path, |out| out.write_all(&manifest.text()))?;
    Ok(told)
}

fn to_file(from: &Path, to: &Path) -> Told {
    let mut told = Vec::new();
    let (mut keys, mut commands, mut selected) = (0u64, 0u64, None);
    write_whole(to, |out| {
        let mut bytes = Vec::new();
        let outcome =
            rdb::walk(from, Options { decodes: true, is_preamble: false, stops: false }, &mut |place, item| {
                match item {
                    Item::Function(code) => write_command(&mut bytes, &[b"FUNCTION", &b"LOAD"[..], code]),
                    Item::Aux { field, value } if **field == *functions::OWN_FIELD => {
                        told.push(
                            "a library that is not of Lua is in the log: stock servers refuse the log with it"
                                .to_owned(),
                        );
                        write_command(&mut bytes, &[b"FUNCTION", &b"LOAD"[..], value]);
                    }
                    Item::Entry(entry) => {
                        let Some(value) = place.value.filter(|_| !place.is_bad) else { return Ok(()) };
                        if selected.replace(place.database) != Some(place.database) {
                            write_select(&mut bytes, place.database as usize);
                        }
                        keys += 1;
                        if !rebuild::is_all_told(value) {
                            let key = entry.key.escape_ascii();
                            told.push(format!(
                                "stream \"{key}\": what its producers sent, or what was given back, is not carried over"
                            ));
                        }
                        rebuild::value(&entry.key, value, entry.expires_at, &mut |words| {
                            commands += 1;
                            write_command(&mut bytes, words);
                        });
                    }
                    _ => {}
                }
                out.write_all(&bytes)?;
                bytes.clear();
                Ok(())
            })?;
        match outcome
            .findings
            .iter()
            .find(|finding| !matches!(finding.what, rdb::What::Behind(_) | rdb::What::EmptyValue))
        {
            None => Ok(()),
            Some(finding) => refuse(told_finding(from, finding)),
        }
    })?;
    told.push(format!("{keys} keys in {commands} commands"));
    Ok(told)
}

/// A finding in a sentence.
pub(crate) fn told_finding(path: &Path, finding: &rdb::Finding) -> String {
    let (what, advice) = finding.what.told();
    let key = finding.key.as_ref().map(|key| format!(" key \"{}\":", key.escape_ascii())).unwrap_or_default();
    format!("{}: offset {}:{key} {what}; {advice}", path.display(), finding.offset)
}

fn to_rdb(parts: &[Part], to: &Path, databases: usize) -> Told {
    let mut replay = Replay::new(databases);
    for part in parts {
        let path = &part.path;
        let mut from = 0;
        if part.is_rdb {
            from = load(path, &mut replay)?;
        }
        let mut open: Option<Vec<Vec<Vec<u8>>>> = None;
        let ending = aof::walk(path, from, &mut |frame| {
            let Frame::Command(command) = frame else { return Ok(true) };
            let words: Vec<&[u8]> = command.arguments().collect();
            let run = |replay: &mut Replay, words: &[&[u8]]| {
                replay
                    .run(words)
                    .or_else(|error| refuse(format!("{}: offset {}: {error}", path.display(), command.offset)))
            };
            if words.len() == 1 && words[0].eq_ignore_ascii_case(b"MULTI") {
                open = Some(Vec::new());
            } else if words.len() == 1 && words[0].eq_ignore_ascii_case(b"EXEC") {
                // A transaction that has no end has not been.
                for words in open.take().unwrap_or_default() {
                    run(&mut replay, &words.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                }
            } else if let Some(queued) = &mut open {
                queued.push(words.iter().map(|word| word.to_vec()).collect());
            } else {
                run(&mut replay, &words)?;
            }
            Ok(true)
        })?;
        if !ending.is_whole() {
            let (what, advice) = ending.told(part.is_last);
            return refuse(format!("{}: {what}; {advice}", path.display()));
        }
    }
    let now = crate::stock_rdb::now() / 1000;
    let mut told = Vec::new();
    write_whole(to, |out| {
        let (version, keys) = replay.write(out, now)?;
        told.push(format!("{keys} keys of {} commands, RDB version {}", replay.commands, version.0));
        Ok(())
    })?;
    Ok(told)
}

/// Loads an RDB file; where it ends.
fn load(path: &Path, replay: &mut Replay) -> io::Result<u64> {
    let decoder = replay.decoder();
    let outcome = rdb::walk_with(
        path,
        Options { decodes: true, is_preamble: true, stops: false },
        decoder,
        &mut |place, item| {
            let done = match item {
                Item::Function(code) => replay.load_library(code, true),
                Item::Aux { field, value } if **field == *functions::OWN_FIELD => replay.load_library(value, true),
                Item::Entry(entry) => match place.value {
                    Some(value) if !place.is_bad => {
                        replay.put(place.database, &entry.key, value.clone(), entry.expires_at)
                    }
                    _ => Ok(()),
                },
                _ => Ok(()),
            };
            done.or_else(|error| refuse(format!("{}: offset {}: {error}", path.display(), place.begin)))
        },
    )?;
    match outcome.findings.iter().find(|finding| finding.what != rdb::What::EmptyValue) {
        None => Ok(outcome.bytes),
        Some(finding) => refuse(told_finding(path, finding)),
    }
}
