//! Files that a process which ended too early has left: what was never given its name. A start removes them.
//!
//! ```text
//!   dir             temp-<pid>.rdb                                 unless a process of that number runs: `dir` may be shared
//!   appenddirname   temp-rewriteaof-bg-<pid>-<number>.{aof,rdb}    the directory is ours alone
//!   both            the same with .spill-<number>-<number>         has no name as soon as it is open
//!                   temp-<name>*.incr, temp-<name>.manifest
//! ```
//! The end of a process removes its own, of a save that ended with it.

use crate::append_log::{Place, Plan};
use crate::config::Config;
use std::path::Path;

/// Removes what is left of snapshots, and of the log, if its directory is this process's own.
pub fn remove(config: &Config, owns_log: bool) {
    remove_from(&config.process.directory, |name| {
        let of: u32 = of_snapshot(name.strip_prefix("temp-")?)?.parse().ok()?;
        (of == std::process::id() || !Path::new("/proc").join(of.to_string()).exists()).then_some(())
    });
    if owns_log {
        let Place { directory, name: log_name } = Plan::of(config).place;
        let (begun, manifest) = (format!("temp-{log_name}"), format!("temp-{log_name}.manifest"));
        remove_from(&directory, |name| {
            let is_of_rewrite = || {
                let of = name.strip_prefix("temp-rewriteaof-bg-")?;
                numbers(of.strip_suffix(".aof").or_else(|| of_snapshot(of))?)
            };
            let is_begun = || name.strip_suffix(".incr").is_some_and(|name| name.starts_with(&begun));
            (name == manifest || is_begun() || is_of_rewrite().is_some()).then_some(())
        });
    }
}

/// The name of a snapshot's file, or of what it spilled, without its end.
fn of_snapshot(name: &str) -> Option<&str> {
    name.strip_suffix(".rdb").or_else(|| {
        let (name, spill) = name.split_once(".spill-")?;
        numbers(spill).map(|_| name)
    })
}

/// The first of two numbers with a hyphen between them.
fn numbers(text: &str) -> Option<u32> {
    let (process, number) = text.split_once('-')?;
    number.parse::<u64>().ok()?;
    process.parse().ok()
}

fn remove_from(directory: &Path, is_left: impl Fn(&str) -> Option<()>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(&is_left).is_none() {
            continue;
        }
        let path = entry.path();
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!("Removed {}, which a process that has ended left unfinished", path.display()),
            Err(error) => tracing::warn!("{} is unfinished, and cannot be removed: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_is_removed() {
        let directory = tempfile::Builder::new().prefix("torc-leftovers-").tempdir().expect("made").keep();
        let log = directory.join("appendonlydir");
        std::fs::create_dir_all(&log).expect("made");
        let own = format!("temp-{}.rdb", std::process::id());
        // A number that no process has.
        let gone = "temp-4194305.rdb";
        let spilled = "temp-4194305.spill-3-1";
        let (kept, others) = (
            ["dump.rdb", "temp-1.rdb", "temp-1.spill-3-1", "temp-4194305.spill-x", "temp-x.rdb", "temp-12-1.rdb"],
            [own.as_str(), gone, spilled],
        );
        let (log_kept, log_others) = (
            ["appendonly.aof.1.base.rdb", "appendonly.aof.manifest", "temp-rewriteaof-bg-x.aof"],
            [
                "temp-rewriteaof-bg-1-2.aof",
                "temp-rewriteaof-bg-7-2.rdb",
                "temp-rewriteaof-bg-7-2.spill-1-0",
                "temp-appendonly.aof.incr",
                "temp-appendonly.aof.manifest",
            ],
        );
        for name in kept.iter().chain(&others) {
            std::fs::write(directory.join(name), "").expect("written");
        }
        for name in log_kept.iter().chain(&log_others) {
            std::fs::write(log.join(name), "").expect("written");
        }
        let names = |directory: &Path| {
            let entries = std::fs::read_dir(directory).expect("there").flatten();
            let mut names: Vec<String> = entries
                .filter(|entry| entry.path().is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let mut config = Config::default();
        config.process.directory.clone_from(&directory);
        config.persistence.append_log.directory = b"appendonlydir".to_vec();
        config.persistence.append_log.file = b"appendonly.aof".to_vec();
        remove(&config, false);
        assert_eq!(names(&log).len(), log_kept.len() + log_others.len());
        remove(&config, true);
        let sorted = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!((names(&directory), names(&log)), (sorted(&kept), sorted(&log_kept)));
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
