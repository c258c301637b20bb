//! What command tests run on: one shard, one clock, replies as text.

use super::all;
use crate::command::{CommandError, EngineOptions, Execution, Handler, Milliseconds, Table};
use crate::keyspace::{KeyHasher, Keyspace};
use crate::long::{Later, LongWork, Step};
use crate::reply::{Protocol, Reply, ReplyBuffer};

/// A shard with 16 databases.
pub(crate) struct Shard {
    pub(crate) keyspace: Keyspace,
    pub(crate) database: usize,
    /// The clock: stands still unless a test moves it.
    pub(crate) now: Milliseconds,
    pub(crate) options: EngineOptions,
    /// How much a step of a long command may do.
    pub(crate) units_a_step: u64,
    /// How many commands had something left to do.
    pub(crate) long_commands: usize,
    /// What somebody else does between steps of the next long command, after so many of them.
    pub(crate) between_steps: Option<(usize, &'static str)>,
    random: fastrand::Rng,
    table: Table<Handler>,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            keyspace: Keyspace::new(16, KeyHasher::with_seed(1)),
            database: 0,
            now: 1_700_000_000_000,
            options: EngineOptions::default(),
            units_a_step: 1000,
            long_commands: 0,
            between_steps: None,
            random: fastrand::Rng::with_seed(1),
            table: Table::new(all().map(|command| (&command.spec, command.run))),
        }
    }
}

impl Shard {
    /// Runs the arguments as the server would and returns the encoded reply.
    pub(crate) fn execute(&mut self, protocol: Protocol, arguments: &[&[u8]]) -> Vec<u8> {
        let mut buffer = ReplyBuffer::default();
        let dirty = self.keyspace.dirty;
        let result = self.table.resolve(arguments).and_then(|(_, run)| {
            let mut execution = Execution {
                keyspace: &mut self.keyspace,
                reply: Reply::new(&mut buffer, protocol),
                database: self.database,
                now: self.now,
                random: &mut self.random,
                options: &self.options,
                no_touch: false,
                next_shard_cursor: 0,
                later: Later::default(),
                companion: None,
                in_script: false,
            };
            run(&mut execution, arguments)?;
            Ok(execution.later.take())
        });
        let result = result.and_then(|work| work.map_or(Ok(()), |work| self.finish(work, protocol, &mut buffer)));
        if let Err(error) = result {
            assert!(buffer.is_empty(), "an error after a reply");
            assert_eq!(self.keyspace.dirty, dirty, "an error after a change");
            Reply::new(&mut buffer, protocol).error_bytes(&error.0);
        }
        buffer.flatten()
    }

    /// Steps of a long command, to its end.
    fn finish(
        &mut self,
        mut work: Box<dyn LongWork>,
        protocol: Protocol,
        buffer: &mut ReplyBuffer,
    ) -> Result<(), CommandError> {
        self.long_commands += 1;
        for number in 0.. {
            if let Some((_, line)) = self.between_steps.take_if(|(after, _)| *after == number) {
                self.run(line);
            }
            let mut execution = Execution {
                keyspace: &mut self.keyspace,
                reply: Reply::new(buffer, protocol),
                database: self.database,
                now: self.now,
                random: &mut self.random,
                options: &self.options,
                no_touch: false,
                next_shard_cursor: 0,
                later: Later::default(),
                companion: None,
                in_script: false,
            };
            match work.step(&mut execution, self.units_a_step) {
                Step::More => {}
                Step::Done => break,
                Step::Failed(text) => return Err(text.into()),
            }
        }
        Ok(())
    }

    /// Runs a line in RESP2. Words are separated by one space; `'...'` holds one with spaces, or an empty one.
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.run_with(Protocol::Resp2, line)
    }

    fn run_with(&mut self, protocol: Protocol, line: &str) -> String {
        let mut words: Vec<&str> = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part);
            } else {
                words.extend(part.split(' ').filter(|word| !word.is_empty()));
            }
        }
        let arguments: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        String::from_utf8_lossy(&self.execute(protocol, &arguments)).into_owned()
    }

    /// Runs a line in RESP2 and compares the reply.
    #[track_caller]
    pub(crate) fn check(&mut self, line: &str, expected: &str) {
        assert_eq!(self.run(line), expected, "{line}");
    }

    /// Runs a line in RESP3 and compares the reply.
    #[track_caller]
    pub(crate) fn check_resp3(&mut self, line: &str, expected: &str) {
        assert_eq!(self.run_with(Protocol::Resp3, line), expected, "{line}");
    }
}
