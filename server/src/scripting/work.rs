//! A script or function that has begun: to its end if that is soon, else as work in slices that holds its shard.

use super::host::{Host, Reach};
use super::{Running, ShardScripting};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use torc_engine::command::{CommandError, CommandResult, Execution, parse_integer};
use torc_engine::keyspace::slot_of;
use torc_engine::long::{LongWork, Step};
use torc_engine::reply::Reply;
use torc_scripting::{FunctionFlags, Run, Script};

/// Looks at a script, some 20,000 instructions apart, before it is a long command.
const TICKS_INLINE: u32 = 16;

/// Looks in one slice.
const TICKS_A_SLICE: u32 = 2;

const KILLED_SCRIPT: &str = "Script killed by user with SCRIPT KILL.";
const KILLED_FUNCTION: &str = "Script killed by user with FUNCTION KILL.";
const WRITES: &str = "ERR Can not execute a script with write flag using *_ro command.";
const OUT_OF_MEMORY: &str =
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";

/// Keys and arguments as EVAL and FCALL take them: `name script numkeys [key ...] [argument ...]`.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    command: &'a [&'a [u8]],
    keys: usize,
}

impl<'a> Inputs<'a> {
    /// Reads the number of keys; `bad_number` is what is said of one that is none.
    pub fn parse(command: &'a [&'a [u8]], bad_number: &'static str) -> Result<Self, CommandError> {
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

/// Begins a script.
pub fn begin_script(
    execution: &mut Execution<'_>,
    scripting: &Rc<ShardScripting>,
    script: &Arc<Script>,
    inputs: Inputs<'_>,
    is_read_only: bool,
) -> CommandResult {
    let run = scripting.interpreters.script(script, inputs.keys(), inputs.arguments());
    let run = run.map_err(|refusal| refused(refusal.reply()))?;
    let host = host(execution, scripting, inputs, script.flags, is_read_only)?;
    begin(execution, ScriptWork { run, host, function: None, running: None, scripting: scripting.clone() }, inputs)
}

/// Begins a function.
pub fn begin_function(
    execution: &mut Execution<'_>,
    scripting: &Rc<ShardScripting>,
    name: &[u8],
    inputs: Inputs<'_>,
    is_read_only: bool,
) -> CommandResult {
    let (library, flags) = scripting.library_of(name).ok_or("ERR Function not found")?;
    let host = host(execution, scripting, inputs, Some(flags), is_read_only)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let run = scripting.interpreters.function(&library, &name, inputs.keys(), inputs.arguments());
    let run = run.map_err(|refusal| refused(refusal.reply()))?;
    let work = ScriptWork { run, host, function: Some(name), running: None, scripting: scripting.clone() };
    begin(execution, work, inputs)
}

fn refused(reply: torc_scripting::Reply) -> CommandError {
    match reply {
        torc_scripting::Reply::Error { line, .. } => line.into(),
        _ => "ERR not enough memory".into(),
    }
}

/// What the run may do, by its flags; or why it may not run.
fn host(
    execution: &Execution<'_>,
    scripting: &ShardScripting,
    inputs: Inputs<'_>,
    flags: Option<FunctionFlags>,
    is_read_only: bool,
) -> Result<Host, CommandError> {
    let says_no_writes = flags.is_some_and(FunctionFlags::no_writes);
    let allows_oom = flags.is_some_and(|flags| flags.allow_oom() || flags.no_writes());
    if is_read_only && flags.is_some() && !says_no_writes {
        return Err(WRITES.into());
    }
    if flags.is_some() && !allows_oom && !is_read_only && scripting.is_memory_out.get() {
        return Err(OUT_OF_MEMORY.into());
    }
    let shared = &scripting.shared;
    let mut shards = inputs.keys().map(|key| shared.shard_of(slot_of(key)));
    let first = shards.next();
    let reach = if shards.all(|shard| Some(shard) == first) {
        Reach::Shard
    } else {
        Reach::Declared(inputs.keys().map(<[u8]>::to_vec).collect())
    };
    Ok(Host {
        is_read_only: is_read_only || says_no_writes,
        allows_oom,
        reach,
        database: execution.database,
        has_written: false,
        begun: Instant::now(),
    })
}

/// Runs to the end, or far enough to know that it is long.
fn begin(execution: &mut Execution<'_>, mut work: ScriptWork, inputs: Inputs<'_>) -> CommandResult {
    match work.go_on(execution, TICKS_INLINE) {
        Some(torc_scripting::Reply::Error { line, is_counted: false }) => Err(line.into()),
        Some(reply) => {
            encode(&reply, &mut execution.reply);
            Ok(())
        }
        None => {
            work.is_long(execution, inputs);
            execution.later.put(work);
            Ok(())
        }
    }
}

/// A run and its host.
struct ScriptWork {
    run: Run,
    host: Host,
    function: Option<String>,
    /// Set once it is long.
    running: Option<Arc<Running>>,
    scripting: Rc<ShardScripting>,
}

impl ScriptWork {
    /// Goes on for so many looks; the reply, if it is over.
    fn go_on(&mut self, execution: &mut Execution<'_>, ticks: u32) -> Option<torc_scripting::Reply> {
        let mut left = ticks;
        let mut step = self.run.step();
        loop {
            step = match step {
                torc_scripting::Step::Done(reply) => return Some(reply),
                torc_scripting::Step::Call => {
                    self.host.answer(&mut self.run.exchange(), execution, &self.scripting);
                    self.run.step()
                }
                torc_scripting::Step::Tick => {
                    if let Some(running) = &self.running {
                        running.has_written.fetch_or(self.host.has_written, Ordering::Relaxed);
                        let is_stopping = self.scripting.shared.stopping.load(Ordering::Relaxed);
                        if is_stopping || running.is_to_end.load(Ordering::Relaxed) {
                            let killed = if self.function.is_some() { KILLED_FUNCTION } else { KILLED_SCRIPT };
                            step = self.run.kill(killed);
                            continue;
                        }
                    }
                    left -= 1;
                    if left == 0 {
                        return None;
                    }
                    self.run.step()
                }
            }
        }
    }

    /// From now on others hear of it, and may end it.
    fn is_long(&mut self, execution: &Execution<'_>, inputs: Inputs<'_>) {
        const COMMAND_WORDS_MAX: usize = 64;
        let running = Arc::new(Running {
            shard: self.scripting.index,
            function: self.function.clone(),
            command: inputs.command.iter().take(COMMAND_WORDS_MAX).map(|word| word.to_vec()).collect(),
            started_ms: execution.now,
            has_written: AtomicBool::new(self.host.has_written),
            is_to_end: AtomicBool::new(false),
        });
        self.scripting.shared.scripting.has_become_long(&running);
        self.running = Some(running);
    }
}

impl LongWork for ScriptWork {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        // In a unit that must not be interrupted there is no slice to end.
        let ticks = if budget > u64::from(u32::MAX) { u32::MAX } else { TICKS_A_SLICE };
        let Some(reply) = self.go_on(execution, ticks) else { return Step::More };
        if let torc_scripting::Reply::Error { line, is_counted: false } = &reply {
            self.scripting.errors.borrow_mut().count(line);
        }
        encode(&reply, &mut execution.reply);
        Step::Done
    }

    fn holds_shard(&self) -> bool {
        matches!(self.host.reach, Reach::Shard)
    }
}

impl Drop for ScriptWork {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            self.scripting.shared.scripting.is_over(running);
        }
    }
}

/// Encodes what a script has answered.
fn encode(reply: &torc_scripting::Reply, out: &mut Reply<'_>) {
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
