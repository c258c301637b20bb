//! What was denied lately: ACL LOG.
//!
//! The newest first. What is denied again within a minute for the same reason, in the same context, to the same user and
//! about the same object is counted in its entry, which becomes the newest, if it is one of the last ten.
//!
//! Bounds: `acllog-max-len` entries, each of short texts; a longer one is cut.

use super::permissions::Denial;
use super::users::SharedAccess;
use std::collections::VecDeque;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A wrong password, or no such user.
    Authentication,
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// A database.
    Database,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Authentication, Self::Command, Self::Key, Self::Channel, Self::Database];

    /// As ACL LOG and INFO call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "auth",
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Database => "database",
        }
    }

    /// Of a denial.
    pub fn of(denial: Denial) -> Self {
        match denial {
            Denial::Command => Self::Command,
            Denial::Key(_) => Self::Key,
            Denial::Channel(_) => Self::Channel,
            Denial::Database(_) => Self::Database,
        }
    }
}

/// Where something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Outside of everything.
    TopLevel,
    /// Between MULTI and EXEC, or by EXEC.
    Multi,
    /// A script or function.
    Script,
}

impl Context {
    /// As ACL LOG calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Script => "lua",
        }
    }
}

/// Something that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// What: a command, a key, a channel.
    pub object: Vec<u8>,
    /// To whom.
    pub user: Box<[u8]>,
}

/// What is told of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was denied.
    pub denied: Denied,
    /// How often.
    pub count: u64,
    /// Its number, rising.
    pub id: u64,
    /// The last client, as CLIENT LIST shows it, without the line end.
    pub client: Vec<u8>,
    /// When first, wall milliseconds.
    pub created_ms: i64,
    /// When last.
    pub updated_ms: i64,
}

/// Entries, the newest first.
#[derive(Debug, Default)]
pub struct DeniedLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// Entries that are looked at for one of the same kind.
const LOOKED_AT_MAX: usize = 10;
/// Those that are older than this are not counted up.
const SAME_MS_MAX: i64 = 60_000;
/// What is longer is cut.
const TEXT_BYTES_MAX: usize = 1024;

impl DeniedLog {
    fn add(&mut self, mut denied: Denied, client: Vec<u8>, now_ms: i64, entries_max: usize) {
        if entries_max > 0 {
            denied.object.truncate(TEXT_BYTES_MAX);
            if denied.user.len() > TEXT_BYTES_MAX {
                denied.user = denied.user[..TEXT_BYTES_MAX].into();
            }
            let is_same = |entry: &Entry| entry.denied == denied && (entry.updated_ms - now_ms).abs() <= SAME_MS_MAX;
            let same = self.entries.iter().take(LOOKED_AT_MAX).position(is_same);
            let entry = match same.and_then(|place| self.entries.remove(place)) {
                Some(entry) => Entry { count: entry.count + 1, client, updated_ms: now_ms, ..entry },
                None => {
                    self.next_id += 1;
                    let id = self.next_id - 1;
                    Entry { denied, count: 1, id, client, created_ms: now_ms, updated_ms: now_ms }
                }
            };
            self.entries.push_front(entry);
        }
        self.entries.truncate(entries_max);
    }

    /// The newest, so many.
    pub fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter().take(count)
    }

    /// ACL LOG RESET.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

impl SharedAccess {
    /// Counts and tells what was denied. `client` is the client's line.
    pub fn note_denied(&self, denied: Denied, mut client: Vec<u8>, now_ms: i64, entries_max: u64) {
        self.count_denied(denied.reason);
        if client.last() == Some(&b'\n') {
            client.pop();
        }
        self.denied().add(denied, client, now_ms, usize::try_from(entries_max).unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(object: &str) -> Denied {
        Denied { reason: Reason::Key, context: Context::TopLevel, object: object.into(), user: Box::from(&b"u"[..]) }
    }

    fn shown(log: &DeniedLog) -> Vec<(u64, u64, String)> {
        let text = |entry: &Entry| String::from_utf8_lossy(&entry.denied.object).into_owned();
        log.newest(100).map(|entry| (entry.id, entry.count, text(entry))).collect()
    }

    #[test]
    fn equals_are_counted_up_and_become_the_newest() {
        let mut log = DeniedLog::default();
        for (object, now_ms) in [("a", 0), ("b", 1), ("a", 60_000)] {
            log.add(denied(object), Vec::new(), now_ms, 128);
        }
        assert_eq!(shown(&log), [(0, 2, "a".to_owned()), (1, 1, "b".to_owned())]);
        log.add(denied("a"), Vec::new(), 120_001, 128);
        assert_eq!(shown(&log)[0], (2, 1, "a".to_owned()));
        (0..10).for_each(|n| log.add(denied(&n.to_string()), Vec::new(), 120_001, 128));
        log.add(denied("a"), Vec::new(), 120_001, 128);
        assert_eq!(shown(&log)[0], (13, 1, "a".to_owned()), "it was not among the last ten");
    }

    #[test]
    fn it_is_as_long_as_it_may_be_and_its_texts_are_short() {
        let mut log = DeniedLog::default();
        (0..10).for_each(|n| log.add(denied(&n.to_string()), Vec::new(), 0, 4));
        assert_eq!(log.newest(100).len(), 4);
        log.add(denied(&"x".repeat(5000)), Vec::new(), 0, 4);
        assert_eq!(log.newest(1).map(|entry| entry.denied.object.len()).sum::<usize>(), TEXT_BYTES_MAX);
        log.add(denied("y"), Vec::new(), 0, 0);
        assert_eq!(log.newest(100).len(), 0);
    }
}
