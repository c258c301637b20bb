//! A run of a script or function, and what drives it.
//!
//! ```text
//!   ScriptRun::prepare ──> go_on ──> Done, Paused, Elsewhere, Asks
//!     begin        by a handler, on the shard of its keys: to its end if that is soon, else as work in slices that
//!                  holds its shard; Elsewhere: undone, and noted in ShardScripting::missed for the core
//!     a unit       core::script_step, which runs what it asks where it belongs
//! ```

use super::host::{Answered, Host, Place};
use super::{Missed, Running, ShardScripting};
use crate::command_table::CommandEntry;
use crate::core::ShardSet;
use crate::mailbox::PackedArguments;
use std::cell::RefMut;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torc_engine::command::{CommandError, CommandResult, Execution, Milliseconds, parse_integer};
use torc_engine::long::{LongWork, Step};
use torc_engine::reply::Reply;
use torc_scripting::{Exchange, FunctionFlags, Run, Sha};

/// Looks at a script, some 20,000 instructions apart, before it is a long command.
pub const TICKS_INLINE: u32 = 16;

/// Looks in one slice.
pub const TICKS_A_SLICE: u32 = 2;

const KILLED_SCRIPT: &str = "Script killed by user with SCRIPT KILL.";
const KILLED_FUNCTION: &str = "Script killed by user with FUNCTION KILL.";
const WRITES: &str = "ERR Can not execute a script with write flag using *_ro command.";
const OUT_OF_MEMORY: &str =
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const UNKNOWN_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
const UNKNOWN_FUNCTION: &str = "ERR Function not found";

/// Keys and arguments as EVAL and FCALL take them: `name script numkeys [key ...] [argument ...]`.
#[derive(Debug, Clone, Copy)]
struct Inputs<'a> {
    command: &'a [&'a [u8]],
    keys: usize,
}

impl<'a> Inputs<'a> {
    /// Reads the number of keys; `bad_number` is what is said of one that is none.
    fn parse(command: &'a [&'a [u8]], bad_number: &'static str) -> Result<Self, CommandError> {
        let number = parse_integer(command[2]).ok_or(bad_number)?;
        if number > (command.len() - 3) as i64 {
            return Err("ERR Number of keys can't be greater than number of args".into());
        }
        let keys = usize::try_from(number).map_err(|_| "ERR Number of keys can't be negative")?;
        Ok(Self { command, keys })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.command[3..3 + self.keys].iter().copied()
    }

    fn arguments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.command[3 + self.keys..].iter().copied()
    }
}

/// A script or function that is about to run, or runs.
pub struct ScriptRun {
    run: Run,
    host: Host,
    function: Option<String>,
    /// Set once it is long.
    running: Option<Arc<Running>>,
    scripting: Rc<ShardScripting>,
    /// It was killed, and what it has written is not to stay.
    is_to_undo: bool,
}

/// How far a run has come.
pub enum Went {
    /// To its end.
    Done(torc_scripting::Reply),
    /// It is not through.
    Paused,
    /// It looks at these shards, too, where it cannot.
    Elsewhere(ShardSet),
    /// The unit is to run this: the arguments are in the exchange.
    Asks(&'static CommandEntry),
}

impl ScriptRun {
    /// What a command is about to run, in a database: by its name EVAL, EVALSHA, FCALL or one of their kin.
    pub fn prepare(
        scripting: &Rc<ShardScripting>,
        name: &str,
        arguments: &[&[u8]],
        database: usize,
    ) -> Result<Self, CommandError> {
        let is_read_only = name.ends_with("_ro");
        let (run, host, function) = if name.starts_with("fcall") {
            let (library, name, flags) = scripting.library_of(arguments[1]).ok_or(UNKNOWN_FUNCTION)?;
            let inputs = Inputs::parse(arguments, "ERR Bad number of keys provided")?;
            let host = host(scripting, Some(flags), is_read_only, database)?;
            (scripting.interpreters.function(&library, &name, inputs.keys(), inputs.arguments()), host, Some(name))
        } else {
            let (script, inputs) = if name.starts_with("evalsha") {
                // The digest is looked at before the number of keys, as in the real server.
                let script = Sha::parse(arguments[1]).and_then(|sha| scripting.script(&sha));
                let inputs = Inputs::parse(arguments, NOT_A_NUMBER)?;
                (script.ok_or(UNKNOWN_SCRIPT)?, inputs)
            } else {
                let inputs = Inputs::parse(arguments, NOT_A_NUMBER)?;
                (scripting.keep(arguments[1], false)?, inputs)
            };
            let host = host(scripting, script.flags, is_read_only, database)?;
            (scripting.interpreters.script(&script, inputs.keys(), inputs.arguments()), host, None)
        };
        let run = run.map_err(|refusal| refused(refusal.reply()))?;
        Ok(Self { run, host, function, running: None, scripting: scripting.clone(), is_to_undo: false })
    }

    /// Goes on for so many looks, or up to what it asks the unit.
    pub fn go_on(&mut self, place: &mut Place<'_, '_>, ticks: u32) -> Went {
        let mut left = ticks;
        let mut step = self.run.step();
        loop {
            step = match step {
                torc_scripting::Step::Done(reply) => return Went::Done(reply),
                torc_scripting::Step::Call => {
                    let answered = self.host.answer(&mut self.run.exchange(), place, &self.scripting);
                    match answered {
                        Answered::Yes => self.run.step(),
                        Answered::Elsewhere(shards) => return Went::Elsewhere(shards),
                        Answered::Asks(entry) => return Went::Asks(entry),
                    }
                }
                torc_scripting::Step::Tick => {
                    if let Some(killed) = self.is_killed(place) {
                        step = self.run.kill(killed);
                        continue;
                    }
                    left -= 1;
                    if left == 0 {
                        return Went::Paused;
                    }
                    self.run.step()
                }
            }
        }
    }

    /// Whether somebody has ended it, as what it is told.
    fn is_killed(&mut self, place: &Place<'_, '_>) -> Option<&'static str> {
        let running = self.running.as_ref()?;
        running.has_written.fetch_or(self.host.has_written, Ordering::Relaxed);
        let is_stopping = self.scripting.shared.stopping.load(Ordering::Relaxed);
        if !is_stopping && !running.is_to_end.load(Ordering::Relaxed) {
            return None;
        }
        if self.host.has_written && !is_stopping {
            let can_undo = match place {
                Place::Here(execution) => running.may_be_undone && execution.keyspace.is_undoable(),
                Place::Unit { .. } => running.may_be_undone,
            };
            if !can_undo {
                // It has written since it was to be ended: half of it is not to stay.
                running.is_to_end.store(false, Ordering::Relaxed);
                return None;
            }
            self.is_to_undo = true;
        }
        Some(if self.function.is_some() { KILLED_FUNCTION } else { KILLED_SCRIPT })
    }

    /// Whether what it has written is not to stay.
    pub fn is_to_undo(&self) -> bool {
        self.is_to_undo
    }

    /// From now on others hear of it, on these shards, and may end it.
    pub fn is_long(&mut self, arguments: &[&[u8]], now: Milliseconds, shards: ShardSet, may_be_undone: bool) {
        const COMMAND_WORDS_MAX: usize = 64;
        if self.running.is_some() {
            return;
        }
        let running = Arc::new(Running {
            shards,
            function: self.function.clone(),
            command: arguments.iter().take(COMMAND_WORDS_MAX).map(|word| word.to_vec()).collect(),
            started_ms: now,
            has_written: AtomicBool::new(self.host.has_written),
            is_to_end: AtomicBool::new(false),
            may_be_undone,
        });
        self.scripting.shared.scripting.has_become_long(&running);
        self.running = Some(running);
    }

    /// What it asks, and where the answer goes.
    pub fn exchange(&self) -> RefMut<'_, Exchange> {
        self.run.exchange()
    }

    /// Its database, which SELECT changes.
    pub fn database(&self) -> usize {
        self.host.database
    }

    /// Whether the effects of what it asks are told.
    pub fn tells_effects(&self) -> bool {
        self.host.tells_effects
    }

    /// Says whether somebody watches commands.
    pub fn is_monitored(&mut self, monitored: bool) {
        self.host.is_monitored = monitored;
    }

    /// It is over, in a unit that has its effects, and is not undone.
    pub fn settle(&mut self) {
        self.host.settle(None, &self.scripting);
    }

    /// It is over, on its own shard; whether what it has done stays.
    fn end(&mut self, execution: &mut Execution<'_>) {
        let keyspace = &mut *execution.keyspace;
        if self.is_to_undo {
            return keyspace.undo_changes(execution.now);
        }
        keyspace.keep_changes();
        self.host.settle(Some(&mut keyspace.journal), &self.scripting);
    }

    /// It needs other shards: nothing of it has been.
    fn give_up(&self, execution: &mut Execution<'_>, shards: ShardSet, arguments: Option<PackedArguments>) {
        execution.keyspace.undo_changes(execution.now);
        self.scripting.missed.replace(Some(Missed { shards: shards | 1 << self.scripting.index, arguments }));
    }
}

impl Drop for ScriptRun {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            self.scripting.shared.scripting.is_over(running);
        }
    }
}

fn refused(reply: torc_scripting::Reply) -> CommandError {
    match reply {
        torc_scripting::Reply::Error { line, .. } => line.into(),
        _ => "ERR not enough memory".into(),
    }
}

/// What a run may do, by its flags; or why it may not run.
fn host(
    scripting: &ShardScripting,
    flags: Option<FunctionFlags>,
    is_read_only: bool,
    database: usize,
) -> Result<Host, CommandError> {
    let says_no_writes = flags.is_some_and(FunctionFlags::no_writes);
    let allows_oom = flags.is_some_and(|flags| flags.allow_oom() || flags.no_writes());
    if is_read_only && flags.is_some() && !says_no_writes {
        return Err(WRITES.into());
    }
    if flags.is_some() && !allows_oom && !is_read_only && scripting.is_memory_out.get() {
        return Err(OUT_OF_MEMORY.into());
    }
    let user = scripting.user.borrow().clone();
    Ok(Host::new(database, is_read_only || says_no_writes, allows_oom, (scripting.client.get(), user)))
}

/// Runs to the end, or far enough to know that it is long; or undoes it, where it needs other shards.
pub fn begin(execution: &mut Execution<'_>, mut run: ScriptRun, arguments: &[&[u8]]) -> CommandResult {
    let scripting = run.scripting.clone();
    run.is_monitored(execution.keyspace.journal.audience().borrow().monitors() != 0);
    if scripting.shared.shards() > 1 || scripting.undoes_killed.get() {
        execution.keyspace.begin_undoable();
    }
    match run.go_on(&mut Place::Here(execution), TICKS_INLINE) {
        Went::Done(reply) => {
            run.end(execution);
            match reply {
                torc_scripting::Reply::Error { line, is_counted: false } => return Err(line.into()),
                reply => encode(&reply, &mut execution.reply),
            }
        }
        Went::Elsewhere(shards) => run.give_up(execution, shards, None),
        Went::Paused | Went::Asks(_) => {
            run.is_long(arguments, execution.now, 1 << scripting.index, scripting.undoes_killed.get());
            execution.later.put(ScriptWork { run, arguments: PackedArguments::new(arguments) });
        }
    }
    Ok(())
}

/// A run that is worked off in slices.
struct ScriptWork {
    run: ScriptRun,
    /// The whole command.
    arguments: PackedArguments,
}

impl LongWork for ScriptWork {
    fn step(&mut self, execution: &mut Execution<'_>, _budget: u64) -> Step {
        match self.run.go_on(&mut Place::Here(execution), TICKS_A_SLICE) {
            Went::Paused | Went::Asks(_) => return Step::More,
            Went::Elsewhere(shards) => {
                self.run.give_up(execution, shards, Some(std::mem::take(&mut self.arguments)));
            }
            Went::Done(reply) => {
                self.run.end(execution);
                if let torc_scripting::Reply::Error { line, is_counted: false } = &reply {
                    self.run.scripting.errors.borrow_mut().count(line);
                }
                encode(&reply, &mut execution.reply);
            }
        }
        Step::Done
    }

    fn holds_shard(&self) -> bool {
        true
    }
}

/// Encodes what a script has answered.
pub fn encode(reply: &torc_scripting::Reply, out: &mut Reply<'_>) {
    use torc_scripting::Reply as Answer;
    let all = |elements: &[Answer], out: &mut Reply<'_>| elements.iter().for_each(|element| encode(element, out));
    match reply {
        Answer::Null => out.null(),
        Answer::Integer(integer) => out.integer(*integer),
        Answer::Bulk(text) => out.bulk(text),
        Answer::Status(line) => out.status_bytes(line),
        Answer::Error { line, .. } => out.error_bytes(line),
        Answer::Array(elements) => {
            out.array(elements.len());
            all(elements, out);
        }
        Answer::Map(pairs) => {
            out.map(pairs.len() / 2);
            all(pairs, out);
        }
        Answer::Set(members) => {
            out.set(members.len());
            all(members, out);
        }
        Answer::Double(number) => out.double(*number),
        Answer::Boolean(boolean) => out.boolean(*boolean),
        Answer::BigNumber(digits) => out.big_number(digits),
        Answer::Verbatim { format, text } => out.verbatim(*format, text),
    }
}
