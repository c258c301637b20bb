//! SLOWLOG and COMMANDLOG: the latest commands that were slow, or large in what they asked or answered.
//!
//! An entry is put together where the command ran, and is completed where its connection is, which knows the client's address and
//! name. It holds so many arguments, and of each so many bytes, as [`EntryLimits`] say.

use super::secrets::{REDACTED, is_secret};
use crate::command_table::CommandEntry;
use std::collections::VecDeque;

/// What an entry keeps of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLimits {
    /// Arguments; the last one says how many more there were.
    pub arguments_max: usize,
    /// Bytes of each.
    pub argument_bytes_max: usize,
}

impl Default for EntryLimits {
    fn default() -> Self {
        Self { arguments_max: 32, argument_bytes_max: 128 }
    }
}

/// Why a command is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It took long: microseconds.
    Slow,
    /// It was long: bytes.
    LargeRequest,
    /// Its reply was long: bytes.
    LargeReply,
}

impl Reason {
    /// All, with the words that COMMANDLOG knows them by.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Slow, "slow"), (Self::LargeRequest, "large-request"), (Self::LargeReply, "large-reply")];

    /// By its word.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word)).map(|(reason, _)| *reason)
    }
}

/// A command that is to be remembered, without its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Why.
    pub reason: Reason,
    /// Microseconds, or bytes.
    pub value: u64,
    /// When it was over, wall seconds.
    pub at_s: i64,
    /// Shortened, and without secrets.
    pub arguments: Vec<Vec<u8>>,
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rises in each log.
    pub id: u64,
    /// What and when.
    pub noted: Noted,
    /// The client's address.
    pub address: String,
    /// The client's name.
    pub name: Box<[u8]>,
}

/// The latest entries, the newest first.
#[derive(Debug, Default)]
pub struct CommandLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl CommandLog {
    /// Adds an entry; the oldest go that are too many.
    pub fn add(&mut self, noted: Noted, address: &str, name: &[u8], entries_max: usize) {
        if entries_max > 0 {
            let id = self.next_id;
            self.next_id += 1;
            self.entries.push_front(Entry { id, noted, address: address.to_owned(), name: name.into() });
        }
        self.entries.truncate(entries_max);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest ones first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all; numbers go on.
    pub fn reset(&mut self) {
        self.entries = VecDeque::new();
    }
}

/// One log a reason.
#[derive(Debug, Default)]
pub struct CommandLogs([CommandLog; 3]);

impl CommandLogs {
    /// The log of that reason.
    pub fn of(&mut self, reason: Reason) -> &mut CommandLog {
        &mut self.0[reason as usize]
    }
}

/// What is kept of a command's arguments.
pub fn shortened(entry: &CommandEntry, arguments: &[&[u8]], limits: EntryLimits) -> Vec<Vec<u8>> {
    let EntryLimits { arguments_max, argument_bytes_max } = limits;
    let count = arguments.len();
    let kept = if count > arguments_max { arguments_max - 1 } else { count };
    let mut words: Vec<Vec<u8>> = Vec::with_capacity(count.min(arguments_max));
    for (index, argument) in arguments[..kept].iter().enumerate() {
        words.push(match argument.len().checked_sub(argument_bytes_max) {
            _ if is_secret(entry, arguments, index) => REDACTED.to_vec(),
            None | Some(0) => argument.to_vec(),
            Some(more) => {
                let mut word = argument[..argument_bytes_max].to_vec();
                word.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
                word
            }
        });
    }
    if kept < count {
        words.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_table::CommandTable;
    use crate::commands;

    fn noted(value: u64) -> Noted {
        Noted { reason: Reason::Slow, value, at_s: 7, arguments: Vec::new() }
    }

    #[test]
    fn a_log_keeps_the_newest_and_its_numbers_rise() {
        let mut log = CommandLog::default();
        (0..5).for_each(|value| log.add(noted(value), "a:1", b"n", 3));
        let ids = |log: &CommandLog| log.entries().map(|entry| (entry.id, entry.noted.value)).collect::<Vec<_>>();
        assert_eq!(ids(&log), [(4, 4), (3, 3), (2, 2)]);
        log.reset();
        log.add(noted(9), "a:1", b"", 3);
        assert_eq!(ids(&log), [(5, 9)]);
        log.add(noted(10), "a:1", b"", 0);
        assert!(log.is_empty());
    }

    #[test]
    fn arguments_are_shortened_in_number_and_length() {
        let table = CommandTable::new(commands::rows());
        let set = table.find(b"sadd").expect("a command");
        let long = [b'a'; 129];
        let limits = EntryLimits::default();
        let words = shortened(set, &[b"sadd", &long, &long[..128]], limits);
        assert_eq!(words[1], [&long[..128], b"... (1 more bytes)"].concat());
        assert_eq!(words[2], long[..128]);
        let many: Vec<&[u8]> = [b"x".as_slice()].repeat(33);
        assert_eq!(shortened(set, &many[..32], limits).len(), 32);
        let words = shortened(set, &many, limits);
        assert_eq!((words.len(), words[31].as_slice()), (32, b"... (2 more arguments)".as_slice()));
        let auth = table.find(b"auth").expect("a command");
        assert_eq!(shortened(auth, &[b"auth", b"pw"], limits), [b"auth".as_slice(), REDACTED]);
        let few = EntryLimits { arguments_max: 2, argument_bytes_max: 1 };
        let words = shortened(set, &[b"sadd", b"key", b"member"], few);
        assert_eq!(words, [b"s... (3 more bytes)".as_slice(), b"... (2 more arguments)"]);
    }
}
