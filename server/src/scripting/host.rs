//! What a script asks, answered: by the shard that it runs on, or by the unit that it decides about.
//!
//! ```text
//!   redis.call ──> allowed? ──> ping, select, time ...            answered here
//!                          ├──> Place::Here: all of it is here    run on the shard that the script has alone
//!                          │                 else                 Elsewhere: the run is undone, and begins again as a unit
//!                          └──> Place::Unit                       Asks: the unit runs it where it belongs (core::script_step)
//! ```
//!
//! What a run leaves beside the data (counts, errors, lines of MONITOR and of the log) is kept until it ends, as it may be undone.

use super::ShardScripting;
use super::reach::shards_of_command;
use crate::command_table::{CommandEntry, Target};
use crate::core::ShardSet;
use crate::mailbox::PackedArguments;
use smallvec::SmallVec;
use torc_engine::command::{CommandError, Execution, Flags, Milliseconds, parse_integer};
use torc_engine::error_counts::ErrorCounts;
use torc_engine::journal::{Effects, Journal, Share};
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};
use torc_scripting::{Exchange, LogLevel, Request};

/// Where a run's calls are answered.
pub enum Place<'a, 'b> {
    /// On this shard, which the run has alone.
    Here(&'a mut Execution<'b>),
    /// By a unit, at its time; so many databases there are.
    Unit { now: Milliseconds, databases: usize },
}

impl Place<'_, '_> {
    fn now(&self) -> Milliseconds {
        match self {
            Self::Here(execution) => execution.now,
            Self::Unit { now, .. } => *now,
        }
    }

    fn databases(&self) -> usize {
        match self {
            Self::Here(execution) => execution.keyspace.database_count(),
            Self::Unit { databases, .. } => *databases,
        }
    }
}

/// What became of a question.
pub(super) enum Answered {
    /// The answer is in the exchange.
    Yes,
    /// It is about these shards, too.
    Elsewhere(ShardSet),
    /// The unit is to run it.
    Asks(&'static CommandEntry),
}

/// What a run knows of itself.
#[derive(Debug)]
pub(super) struct Host {
    /// It may not write.
    pub(super) is_read_only: bool,
    /// It may write where memory is out.
    pub(super) allows_oom: bool,
    /// Its database, which SELECT changes.
    pub(super) database: usize,
    /// It has run a command that writes.
    pub(super) has_written: bool,
    /// Whether somebody watches commands.
    pub(super) is_monitored: bool,
    /// Whether its effects are told.
    pub(super) tells_effects: bool,
    effects: Effects,
    /// How often it has called which command.
    calls: SmallVec<[(usize, u64); 4]>,
    errors: ErrorCounts,
    lines: Vec<(u32, PackedArguments)>,
    log: Vec<(LogLevel, String)>,
}

/// So many lines of the log, or of MONITOR, wait for the end of a run; more come as they are.
const LINES_HELD_MAX: usize = 1000;

const UNKNOWN: &str = "ERR Unknown Redis command called from script";
const ARITY: &str = "ERR Wrong number of args calling Redis command from script";
const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";
const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const OF_THE_SERVER: &str = "ERR This command is not supported in scripts in this version";

impl Host {
    pub(super) fn new(database: usize, is_read_only: bool, allows_oom: bool) -> Self {
        Self {
            is_read_only,
            allows_oom,
            database,
            has_written: false,
            is_monitored: false,
            tells_effects: true,
            effects: Effects::default(),
            calls: SmallVec::new(),
            errors: ErrorCounts::default(),
            lines: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Answers what the exchange asks.
    pub(super) fn answer(
        &mut self,
        exchange: &mut Exchange,
        place: &mut Place<'_, '_>,
        scripting: &ShardScripting,
    ) -> Answered {
        exchange.reply.clear();
        match exchange.request {
            Request::Command => return self.command(exchange, place, scripting),
            Request::AclCheck => {
                let arguments: SmallVec<[&[u8]; 8]> = exchange.arguments.iter().collect();
                let answer: &[u8] = match find(scripting, &arguments) {
                    Some(_) => b":1\r\n",
                    None => b"-ERR Invalid command\r\n",
                };
                exchange.reply.extend_from_slice(answer);
            }
            Request::Log(level) => {
                self.log.push((level, String::from_utf8_lossy(exchange.arguments.get(0)).into_owned()));
                if self.log.len() > LINES_HELD_MAX {
                    self.write_log();
                }
            }
            Request::SetReplication(receivers) => self.tells_effects = receivers != 0,
            Request::Clock => {
                let micros = scripting.begun.elapsed().as_micros();
                exchange.reply.extend_from_slice(format!(":{micros}\r\n").as_bytes());
            }
        }
        Answered::Yes
    }

    fn command(&mut self, exchange: &mut Exchange, place: &mut Place<'_, '_>, scripting: &ShardScripting) -> Answered {
        let protocol = match exchange.protocol {
            torc_scripting::Protocol::Resp2 => Protocol::Resp2,
            torc_scripting::Protocol::Resp3 => Protocol::Resp3,
        };
        let arguments: SmallVec<[&[u8]; 8]> = exchange.arguments.iter().collect();
        let mut out = ReplyBuffer { bytes: std::mem::take(&mut exchange.reply), ..ReplyBuffer::default() };
        let result = match self.allowed(&arguments, scripting) {
            Ok(entry) => {
                if let (Target::Engine(_), Place::Here(_)) = (entry.target, &place) {
                    let shards = shards_of_command(&scripting.shared, scripting.index, entry, &arguments);
                    if shards & !(1 << scripting.index) != 0 {
                        return Answered::Elsewhere(shards);
                    }
                }
                self.count(entry.id);
                self.show(&arguments);
                self.has_written |= entry.is_write;
                match (entry.target, place) {
                    (Target::Engine(handler), Place::Here(execution)) => {
                        let history = execution.keyspace.journal.len();
                        let database = std::mem::replace(&mut execution.database, self.database);
                        let result = execution.run_part(handler, &arguments, protocol, &mut out);
                        execution.database = database;
                        self.take_effects(&mut execution.keyspace.journal, history);
                        result
                    }
                    (Target::Engine(_), Place::Unit { .. }) => return Answered::Asks(entry),
                    (Target::Session(_), place) => {
                        self.of_the_server(entry, &arguments, place, &mut Reply::new(&mut out, protocol))
                    }
                }
            }
            Err(error) => Err(error),
        };
        if let Err(CommandError(text)) = &result {
            if out.bytes.is_empty() {
                Reply::new(&mut out, protocol).error_bytes(text);
            }
            self.errors.count(text);
        }
        exchange.reply = if out.shared.is_empty() { out.bytes } else { out.flatten() };
        Answered::Yes
    }

    /// The command, if a script may run it now.
    fn allowed(&self, arguments: &[&[u8]], scripting: &ShardScripting) -> Result<&'static CommandEntry, CommandError> {
        let Some(entry) = find(scripting, arguments) else { return Err(UNKNOWN.into()) };
        let flags = entry.spec.flags;
        if !entry.spec.arity.accepts(arguments.len()) {
            return Err(ARITY.into());
        }
        if flags.has(Flags::NOSCRIPT) {
            return Err(NOT_ALLOWED.into());
        }
        if self.is_read_only && (flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)) {
            return Err(READ_ONLY.into());
        }
        if entry.takes_memory && scripting.is_memory_out.get() && !self.allows_oom {
            return Err(OUT_OF_MEMORY.into());
        }
        Ok(entry)
    }

    #[inline]
    fn count(&mut self, id: usize) {
        match self.calls.iter_mut().find(|(known, _)| *known == id) {
            Some((_, calls)) => *calls += 1,
            None => self.calls.push((id, 1)),
        }
    }

    fn show(&mut self, arguments: &[&[u8]]) {
        if self.is_monitored && self.lines.len() < LINES_HELD_MAX {
            self.lines.push((self.database as u32, PackedArguments::new(arguments)));
        }
    }

    /// What a call has reported is the run's.
    #[inline]
    fn take_effects(&mut self, journal: &mut Journal, history: usize) {
        if journal.len() > history {
            let effects = journal.take_since(history);
            if self.tells_effects {
                self.effects.append(&effects);
            }
        }
    }

    fn write_log(&mut self) {
        for (level, line) in self.log.drain(..) {
            match level {
                LogLevel::Debug => tracing::trace!("{line}"),
                LogLevel::Verbose => tracing::debug!("{line}"),
                LogLevel::Notice => tracing::info!("{line}"),
                LogLevel::Warning => tracing::warn!("{line}"),
            }
        }
    }

    /// The run is over and stays: its effects are told as one, and its counts count.
    pub(super) fn settle(&mut self, journal: Option<&mut Journal>, scripting: &ShardScripting) {
        if let (Some(journal), false) = (journal, self.effects.is_empty()) {
            let effects = std::mem::take(&mut self.effects);
            if effects.len() > 1 {
                let unit = (scripting.index, scripting.take_unit_number());
                journal.add_share(Share { unit, shares: 1, effects, ..Share::default() });
            } else {
                journal.effects(&effects);
            }
        }
        {
            let mut calls = scripting.calls.borrow_mut();
            self.calls.drain(..).for_each(|(id, count)| calls[id] += count);
        }
        if self.errors.total() > 0 {
            scripting.errors.borrow_mut().add(&std::mem::take(&mut self.errors));
        }
        if !self.lines.is_empty() {
            scripting.lines.borrow_mut().append(&mut self.lines);
        }
        self.write_log();
    }

    /// The few of the server's own commands that scripts have use for.
    fn of_the_server(
        &mut self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        place: &Place<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        match entry.full_name.as_str() {
            "ping" => match arguments {
                [_] => reply.status("PONG"),
                [_, text] => reply.bulk(text),
                _ => return Err(ARITY.into()),
            },
            "echo" => reply.bulk(arguments[1]),
            "time" => {
                let now = place.now();
                reply.array(2);
                reply.bulk_integer(now.div_euclid(1000));
                reply.bulk_integer(now.rem_euclid(1000) * 1000);
            }
            "select" => {
                let number = parse_integer(arguments[1]).ok_or("ERR value is not an integer or out of range")?;
                let count = place.databases();
                let number = usize::try_from(number).ok().filter(|number| *number < count);
                self.database = number.ok_or("ERR DB index is out of range")?;
                reply.ok();
            }
            _ => return Err(OF_THE_SERVER.into()),
        }
        Ok(())
    }
}

/// The command, or its subcommand.
fn find(scripting: &ShardScripting, arguments: &[&[u8]]) -> Option<&'static CommandEntry> {
    let entry = scripting.shared.table.find(arguments.first()?)?;
    match arguments.get(1) {
        Some(word) if !entry.subcommands.is_empty() => entry.subcommand(word),
        _ => Some(entry),
    }
}
