//! How soon the kernel ends this process when memory runs out (proc(5), `/proc/PID/oom_score_adj`; `oom-score-adj`).
//!
//! What there is when it is switched on is remembered: `relative` adds to that, and `no` goes back to it. While it is off nothing is
//! touched.

use crate::config::{OomScoreAdj, Process};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const FILE: &str = "/proc/self/oom_score_adj";
/// The kernel takes no more, either way.
const MOST: i32 = 1000;

/// What there was before it was switched on; none while it is off.
static BEFORE: Mutex<Option<i32>> = Mutex::new(None);

/// Does as the configuration says.
pub fn apply(process: &Process) -> io::Result<()> {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    change(Path::new(FILE), process.oom_score_adj, process.oom_scores[0], &mut before)
}

fn change(file: &Path, mode: OomScoreAdj, score: i32, before: &mut Option<i32>) -> io::Result<()> {
    let (wanted, base) = match (mode, *before) {
        (OomScoreAdj::No, None) => return Ok(()),
        (OomScoreAdj::No, Some(base)) => (base, None),
        (OomScoreAdj::Absolute | OomScoreAdj::Yes | OomScoreAdj::Relative, _) => {
            let base = match *before {
                Some(base) => base,
                None => std::fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?,
            };
            (if mode == OomScoreAdj::Absolute { score } else { base + score }, Some(base))
        }
    };
    std::fs::write(file, wanted.clamp(-MOST, MOST).to_string())?;
    *before = base;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_relative_to_the_start_and_go_back_to_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "22\n").expect("written");
        let mut before = None;
        let mut after = |mode, score| {
            change(file.path(), mode, score, &mut before).expect("changed");
            std::fs::read_to_string(file.path()).expect("read").trim().to_owned()
        };
        assert_eq!(after(OomScoreAdj::No, 800), "22");
        assert_eq!(after(OomScoreAdj::Absolute, 100), "100");
        assert_eq!(after(OomScoreAdj::Relative, 100), "122");
        assert_eq!(after(OomScoreAdj::Yes, 200), "222");
        assert_eq!(after(OomScoreAdj::Relative, 1500), "1000");
        assert_eq!(after(OomScoreAdj::No, 1500), "22");
        // Somebody else's while it is off.
        std::fs::write(file.path(), "33\n").expect("written");
        assert_eq!(after(OomScoreAdj::No, 1500), "33");
        assert_eq!(after(OomScoreAdj::Relative, 9), "42");
        assert_eq!(after(OomScoreAdj::No, 9), "33");
    }
}
