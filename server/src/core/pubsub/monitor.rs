//! MONITOR: every command that runs, as a line to the connections that watch.
//!
//! A command is told by its connection's shard, once, when it has been sent on its way: behind its reply if it ran here, and
//! before anything that another client does because of it. Where several shards have connections that watch, a line goes to
//! all of them, our own included, as one multicast; so all watch one order. The lines of one shard's watchers need none.

use super::super::Core;
use super::super::batches::shards_of;
use super::super::connection::{Connection, Phase};
use super::Notice;
use crate::command_table::CommandEntry;
use crate::insight::secrets::{REDACTED, is_secret};
use bytes::Bytes;
use std::io::Write;
use torc_engine::command::Flags;

impl Core {
    /// Tells a command to those who watch.
    #[cold]
    pub(in crate::core) fn monitor(
        &mut self,
        connection: &Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) {
        let is_skipped = entry.spec.flags.has(Flags::SKIP_MONITOR) && !entry.is_script;
        if entry.spec.flags.has(Flags::ADMIN) || is_skipped {
            return;
        }
        let line = self.monitor_line(connection, entry, arguments);
        self.tell_line(line);
    }

    fn monitor_line(&self, connection: &Connection, entry: &CommandEntry, arguments: &[&[u8]]) -> Vec<u8> {
        let mut line = self.line_head(connection.session.client.database, &connection.ends.peer);
        for (index, argument) in arguments.iter().enumerate() {
            line.push(b' ');
            if is_secret(entry, arguments, index) {
                quote(&mut line, REDACTED);
            } else {
                quote(&mut line, argument);
            }
        }
        line.extend_from_slice(b"\r\n");
        line
    }

    /// Tells what scripts have called, in the name of the language.
    #[cold]
    pub(in crate::core) fn monitor_script_lines(&mut self) {
        for (database, arguments) in self.scripting.lines.take() {
            let mut line = self.line_head(database, "lua");
            for argument in arguments.slices() {
                line.push(b' ');
                quote(&mut line, argument);
            }
            line.extend_from_slice(b"\r\n");
            self.tell_line(line);
        }
    }

    fn tell_line(&mut self, line: Vec<u8>) {
        let line = Bytes::from(line);
        let shards = self.shard.keyspace.journal.audience().borrow().monitors();
        if shards == 1 << self.index {
            return self.tell_monitors(&line);
        }
        self.notify_each(shards_of(shards), &Notice::Monitored { line });
    }

    fn line_head(&self, database: u32, by: impl std::fmt::Display) -> Vec<u8> {
        let now_us = self.wall_us();
        let (seconds, micros) = (now_us.div_euclid(1_000_000), now_us.rem_euclid(1_000_000));
        let mut line = Vec::with_capacity(128);
        // Writing to a vector cannot fail.
        let _ = write!(line, "+{seconds}.{micros:06} [{database} {by}]");
        line
    }

    /// A line, to the connections of this shard that watch.
    pub(in crate::core) fn tell_monitors(&mut self, line: &Bytes) {
        for key in self.pubsub.monitors.clone() {
            let line = line.clone();
            self.with_connection(key, move |core, connection| {
                if matches!(connection.phase, Phase::Open | Phase::Moving(_)) {
                    core.push(connection, &line);
                }
            });
        }
    }
}

/// In double quotes, as the real server quotes.
fn quote(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(byte),
            _ => {
                // Writing to a vector cannot fail.
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_so_that_a_line_stays_a_line() {
        let mut line = Vec::new();
        quote(&mut line, b"a \"b\"\\\n\r\t\x07\x08\x00\xff~");
        assert_eq!(line, br#""a \"b\"\\\n\r\t\a\b\x00\xff~""#);
    }
}
