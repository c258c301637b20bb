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
use crate::access::{Context, Denial, Denied, Requested, User};
use crate::command_table::{CommandEntry, Target};
use crate::commands::server::{sample, seconds_of};
use crate::core::observe::{Seen, notes_of};
use crate::core::{ShardSet, check_found_keys};
use crate::insight::command_log::Noted;
use crate::mailbox::PackedArguments;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use torc_engine::command::{CommandError, Execution, Flags, Milliseconds, parse_integer};
use torc_engine::error_counts::ErrorCounts;
use torc_engine::journal::{Effects, Journal, Share};
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};
use torc_engine::shard::ClientContext;
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
    /// For whom it runs; none is asked nothing.
    user: Option<Arc<User>>,
    /// What it was denied.
    denied: Vec<Denied>,
    /// Its database, which SELECT changes.
    pub(super) database: usize,
    /// It has run a command that writes.
    pub(super) has_written: bool,
    /// Whether somebody watches commands.
    pub(super) is_monitored: bool,
    /// Whether what it reads is remembered for its client.
    pub(super) remembers_reads: bool,
    /// Whether its effects are told.
    pub(super) tells_effects: bool,
    effects: Effects,
    /// How often it has called which command, and how long that took.
    calls: SmallVec<[(usize, u64, u64); 4]>,
    /// Calls that are to be remembered.
    notes: Vec<Noted>,
    /// Commands that were not called, or answered with an error: which, and whether they ran.
    failures: Vec<(usize, bool)>,
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

/// `redis.REPL_AOF`. There are no other receivers than the log: what is for replicas alone is for nobody.
const TO_THE_LOG: u8 = 1;

impl Host {
    pub(super) fn new(
        database: usize,
        is_read_only: bool,
        allows_oom: bool,
        (client, user): (ClientContext, Option<Arc<User>>),
    ) -> Self {
        Self {
            is_read_only,
            allows_oom,
            user,
            denied: Vec::new(),
            database,
            has_written: false,
            is_monitored: false,
            remembers_reads: client.tracks,
            tells_effects: true,
            effects: Effects::default(),
            calls: SmallVec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
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
                    Some(entry) if self.check_access(entry, &arguments).is_err() => b":0\r\n",
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
            Request::SetReplication(receivers) => self.tells_effects = receivers & TO_THE_LOG != 0,
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
        let mut has_run = false;
        let result = match self.allowed(&arguments, scripting) {
            Ok(entry) => {
                if let (Target::Engine(_), Place::Here(_)) = (entry.target, &place) {
                    let shards = shards_of_command(&scripting.shared, scripting.index, entry, &arguments);
                    if shards & !(1 << scripting.index) != 0 {
                        return Answered::Elsewhere(shards);
                    }
                }
                has_run = true;
                let clock = scripting.observation.get().1;
                let began_ns = clock.map_or(0, |read| read());
                self.count(entry.id);
                self.show(&arguments);
                self.has_written |= entry.is_write;
                let result = match (entry.target, &mut *place) {
                    (Target::Engine(handler), Place::Here(execution)) => {
                        let history = execution.keyspace.journal.len();
                        let database = std::mem::replace(&mut execution.database, self.database);
                        let result = execution.run_part(handler, &arguments, protocol, &mut out);
                        execution.database = database;
                        self.take_effects(&mut execution.keyspace.journal, history);
                        self.note_reads(entry, &arguments, scripting);
                        result
                    }
                    (Target::Engine(_), Place::Unit { .. }) => return Answered::Asks(entry),
                    (Target::Session(_), place) => {
                        self.of_the_server(entry, &arguments, place, &mut Reply::new(&mut out, protocol))
                    }
                };
                if let Some(read) = clock {
                    let seen = Seen { took_ns: read().saturating_sub(began_ns), reply_bytes: out.len() };
                    self.observe(entry, seen, &arguments, place.now(), scripting);
                }
                result
            }
            Err(error) => Err(error),
        };
        if let Err(CommandError(text)) = &result {
            if out.bytes.is_empty() {
                Reply::new(&mut out, protocol).error_bytes(text);
            }
            self.errors.count(text);
            self.note_failure(find(scripting, &arguments), has_run);
        }
        exchange.reply = if out.shared.is_empty() { out.bytes } else { out.flatten() };
        Answered::Yes
    }

    /// Whether its user may run a command.
    fn check_access(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> Result<(), Denial> {
        let requested = Requested { entry, arguments, database: self.database as u32 };
        self.user.as_ref().map_or(Ok(()), |user| user.check(&requested))
    }

    /// The same of a call, with what it is told.
    #[inline]
    fn ask_access(&mut self, entry: &CommandEntry, arguments: &[&[u8]]) -> Result<(), CommandError> {
        let Some(user) = &self.user else { return Ok(()) };
        let requested = Requested { entry, arguments, database: self.database as u32 };
        match user.check(&requested) {
            Ok(()) => check_found_keys(user, &requested),
            Err(denial) => {
                if self.denied.len() < LINES_HELD_MAX {
                    self.denied.push(Denied::of(denial, &requested, Context::Script, user));
                }
                Err(match denial {
                    Denial::Command => "ERR The user executing the script can't run this command or subcommand",
                    Denial::Key(_) => {
                        "ERR The user executing the script can't access at least one of the keys mentioned in the \
                         command arguments"
                    }
                    Denial::Channel(_) => {
                        "ERR The user executing the script can't publish to the channel mentioned in the command"
                    }
                    Denial::Database(_) => "ERR The user executing the script can't access the database",
                }
                .into())
            }
        }
    }

    /// The command, if a script may run it now.
    fn allowed(
        &mut self,
        arguments: &[&[u8]],
        scripting: &ShardScripting,
    ) -> Result<&'static CommandEntry, CommandError> {
        let Some(entry) = find(scripting, arguments) else { return Err(UNKNOWN.into()) };
        let flags = entry.spec.flags;
        if !entry.spec.arity.accepts(arguments.len()) {
            return Err(ARITY.into());
        }
        if flags.has(Flags::NOSCRIPT) && !scripting.shared.scripting.denies_nothing.load(Ordering::Relaxed) {
            return Err(NOT_ALLOWED.into());
        }
        self.ask_access(entry, arguments)?;
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
        match self.calls.iter_mut().find(|(known, ..)| *known == id) {
            Some((_, calls, _)) => *calls += 1,
            None => self.calls.push((id, 1, 0)),
        }
    }

    /// A call has come back. Its time counts even if the run is undone: it was spent.
    #[inline]
    fn observe(
        &mut self,
        entry: &CommandEntry,
        seen: Seen,
        arguments: &[&[u8]],
        now_ms: i64,
        scripting: &ShardScripting,
    ) {
        let (settings, _) = scripting.observation.get();
        if let Some((_, _, took_ns)) = self.calls.iter_mut().find(|(known, ..)| *known == entry.id) {
            *took_ns += seen.took_ns;
        }
        if settings.tracks_latency {
            scripting.histograms.borrow_mut().record(entry.id, seen.took_ns);
        }
        let is_notable = seen.took_ns >= settings.slow_ns.min(settings.spike_ns);
        if (is_notable || seen.reply_bytes >= settings.reply_bytes_min) && self.notes.len() < LINES_HELD_MAX {
            self.notes.extend(notes_of(&settings, &scripting.shared, entry, seen, arguments, now_ms));
        }
    }

    #[cold]
    fn note_failure(&mut self, entry: Option<&CommandEntry>, has_run: bool) {
        const FAILURES_MAX: usize = 100_000;
        if let Some(entry) = entry.filter(|_| self.failures.len() < FAILURES_MAX) {
            self.failures.push((entry.id, has_run));
        }
    }

    fn show(&mut self, arguments: &[&[u8]]) {
        if self.is_monitored && self.lines.len() < LINES_HELD_MAX {
            self.lines.push((self.database as u32, PackedArguments::new(arguments)));
        }
    }

    /// What a client has been shown of a key is told when it changes, also if the run that read it is undone.
    #[inline]
    fn note_reads(&self, entry: &CommandEntry, arguments: &[&[u8]], scripting: &ShardScripting) {
        if self.remembers_reads && entry.spec.flags.has(Flags::READONLY) {
            let mut reads = scripting.reads.borrow_mut();
            let _ = entry.spec.visit_keys(arguments, |index, _| {
                if !reads.contains(arguments[index]) {
                    reads.insert(arguments[index].into());
                }
            });
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
            for (id, count, took_ns) in self.calls.drain(..) {
                calls.calls[id] += count;
                scripting.commands_run.update(|commands| commands + count);
                calls.add_time(id, took_ns);
            }
            for (id, has_run) in self.failures.drain(..) {
                let counts = if has_run { &mut calls.failed } else { &mut calls.rejected };
                counts[id] += 1;
            }
        }
        if !self.denied.is_empty() {
            scripting.denied.borrow_mut().append(&mut self.denied);
        }
        if self.errors.total() > 0 {
            scripting.errors.borrow_mut().add(&std::mem::take(&mut self.errors));
        }
        if !self.notes.is_empty() {
            scripting.notes.borrow_mut().append(&mut self.notes);
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
            // Where DEBUG has let it.
            "debug" => match arguments {
                [_, name, seconds] if name.eq_ignore_ascii_case(b"sleep") => {
                    std::thread::sleep(seconds_of(seconds));
                    reply.ok();
                }
                [_, name, kind] if name.eq_ignore_ascii_case(b"protocol") => {
                    let protocol = reply.protocol();
                    sample(kind, protocol, reply)?;
                }
                _ => return Err(OF_THE_SERVER.into()),
            },
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
