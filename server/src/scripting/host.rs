//! What a script asks, answered by the unit that it is part of: its calls run on the same keyspace, at the same time.

use super::ShardScripting;
use crate::command_table::{CommandEntry, KeyPlan, Target};
use smallvec::SmallVec;
use std::time::Instant;
use torc_engine::command::{CommandError, Execution, Flags, parse_integer};
use torc_engine::keyspace::slot_of;
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};
use torc_scripting::{Exchange, LogLevel, Request};

/// Where a script may look for keys.
#[derive(Debug)]
pub(super) enum Reach {
    /// Anywhere on this shard.
    Shard,
    /// The values of these keys have come to it, and no others.
    Declared(Vec<Vec<u8>>),
}

/// What a run knows of itself.
#[derive(Debug)]
pub(super) struct Host {
    /// It may not write.
    pub(super) is_read_only: bool,
    /// It may write where memory is out.
    pub(super) allows_oom: bool,
    /// Where it may look.
    pub(super) reach: Reach,
    /// Its database, which SELECT changes.
    pub(super) database: usize,
    /// It has run a command that writes.
    pub(super) has_written: bool,
    /// When it began.
    pub(super) begun: Instant,
}

const UNKNOWN: &str = "ERR Unknown Redis command called from script";
const ARITY: &str = "ERR Wrong number of args calling Redis command from script";
const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";
const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const OF_THE_SERVER: &str = "ERR This command is not supported in scripts in this version";
const OF_ALL_SHARDS: &str =
    "ERR A script cannot run a command on the keys of all shards in this version: use one shard";
const UNDECLARED: &str = "ERR Script attempted to access a key of another shard that it did not declare: this is not supported in this version";

impl Host {
    /// Answers what the exchange asks.
    pub(super) fn answer(
        &mut self,
        exchange: &mut Exchange,
        execution: &mut Execution<'_>,
        scripting: &ShardScripting,
    ) {
        exchange.reply.clear();
        match exchange.request {
            Request::Command => self.command(exchange, execution, scripting),
            Request::AclCheck => {
                let arguments: SmallVec<[&[u8]; 8]> = exchange.arguments.iter().collect();
                let answer: &[u8] = match find(scripting, &arguments) {
                    Some(_) => b":1\r\n",
                    None => b"-ERR Invalid command\r\n",
                };
                exchange.reply.extend_from_slice(answer);
            }
            Request::Log(level) => {
                let line = String::from_utf8_lossy(exchange.arguments.get(0)).into_owned();
                match level {
                    LogLevel::Debug => tracing::trace!("{line}"),
                    LogLevel::Verbose => tracing::debug!("{line}"),
                    LogLevel::Notice => tracing::info!("{line}"),
                    LogLevel::Warning => tracing::warn!("{line}"),
                }
            }
            // Nothing consumes effects yet whose telling could be switched off.
            Request::SetReplication(_) => {}
            Request::Clock => {
                let micros = self.begun.elapsed().as_micros();
                exchange.reply.extend_from_slice(format!(":{micros}\r\n").as_bytes());
            }
        }
    }

    fn command(&mut self, exchange: &mut Exchange, execution: &mut Execution<'_>, scripting: &ShardScripting) {
        let protocol = match exchange.protocol {
            torc_scripting::Protocol::Resp2 => Protocol::Resp2,
            torc_scripting::Protocol::Resp3 => Protocol::Resp3,
        };
        let arguments: SmallVec<[&[u8]; 8]> = exchange.arguments.iter().collect();
        let mut out = ReplyBuffer { bytes: std::mem::take(&mut exchange.reply), ..ReplyBuffer::default() };
        let result = match self.allowed(&arguments, scripting) {
            Ok(entry) => {
                scripting.calls.borrow_mut()[entry.id] += 1;
                self.has_written |= entry.is_write;
                self.run(entry, &arguments, execution, (protocol, &mut out), scripting)
            }
            Err(error) => {
                Reply::new(&mut out, protocol).error_bytes(&error.0);
                Err(error)
            }
        };
        if let Err(CommandError(text)) = result {
            scripting.errors.borrow_mut().count(&text);
        }
        exchange.reply = if out.shared.is_empty() { out.bytes } else { out.flatten() };
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

    fn run(
        &mut self,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
        execution: &mut Execution<'_>,
        (protocol, out): (Protocol, &mut ReplyBuffer),
        scripting: &ShardScripting,
    ) -> Result<(), CommandError> {
        let result = match entry.target {
            Target::Session(_) => self.of_the_server(entry, arguments, execution, &mut Reply::new(out, protocol)),
            Target::Engine(handler) => match self.reaches(entry, arguments, execution, scripting) {
                Ok(()) => {
                    let database = std::mem::replace(&mut execution.database, self.database);
                    let result = execution.run_part(handler, arguments, protocol, out);
                    execution.database = database;
                    return result;
                }
                Err(error) => Err(error),
            },
        };
        if let Err(CommandError(text)) = &result {
            Reply::new(out, protocol).error_bytes(text);
        }
        result
    }

    /// Whether all that the command looks at is here.
    fn reaches(
        &self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        execution: &Execution<'_>,
        scripting: &ShardScripting,
    ) -> Result<(), CommandError> {
        let shared = &scripting.shared;
        if shared.shards() == 1 {
            return Ok(());
        }
        let looks_everywhere = entry.keys == KeyPlan::None && entry.spec.spread != torc_engine::command::Spread::Single;
        if looks_everywhere || entry.finds_keys(arguments) {
            return Err(OF_ALL_SHARDS.into());
        }
        let mut is_here = true;
        let _ = entry.spec.visit_keys(arguments, |index, _| {
            is_here &= match &self.reach {
                Reach::Shard => shared.shard_of(slot_of(arguments[index])) == scripting.index,
                Reach::Declared(keys) => {
                    self.database == execution.database && keys.iter().any(|key| key == arguments[index])
                }
            };
        });
        if is_here { Ok(()) } else { Err(UNDECLARED.into()) }
    }

    /// The few of the server's own commands that scripts have use for.
    fn of_the_server(
        &mut self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        execution: &mut Execution<'_>,
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
                reply.array(2);
                reply.bulk_integer(execution.now.div_euclid(1000));
                reply.bulk_integer(execution.now.rem_euclid(1000) * 1000);
            }
            "select" => {
                let number = parse_integer(arguments[1]).ok_or("ERR value is not an integer or out of range")?;
                let count = execution.keyspace.database_count();
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
