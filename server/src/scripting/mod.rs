//! Scripts and functions on a shard: what the interpreters of `torc-scripting` are to a command.
//!
//! ```text
//!   EVAL, FCALL        handlers of the engine's kind, run where their keys are (commands/scripting)
//!     ShardScripting   beside each shard: its interpreters, the scripts and libraries that it has seen
//!     ScriptRun        a run that has begun: its calls become commands of the same unit (`host.rs`)
//!        short         to its end, inline
//!        long          in slices (core/long.rs); the shard is held whole meanwhile, so nothing comes between
//!        elsewhere     it asks for what another shard has: undone, and begun again as a unit (core/script_step.rs)
//!   Shared             scripts and libraries for all shards, and who runs for long (SCRIPT KILL)
//! ```
//!
//! - Keys of one shard: the script runs there, as one message if it came from another. Its claim is the whole shard, since
//!   it may touch keys that it has not declared.
//! - Keys of several shards, declared or not: a unit that has these shards alone, and whose steps the script decides.
//! - A script is one unit: one time, no other command between its calls, its writes kept when it ends with an error, its
//!   effects told as one. What is undone has never been, for anybody.

mod host;
mod reach;
mod work;

pub use host::Place;
pub use reach::{Habits, all_shards, shards_of_command};
pub use work::{ScriptRun, TICKS_A_SLICE, TICKS_INLINE, Went, begin, encode};

use crate::access::{Denied, User};
use crate::core::{CallCounts, ShardSet};
use crate::insight::command_log::Noted;
use crate::insight::histograms::Recorder;
use crate::mailbox::PackedArguments;
use crate::settings::ObservationSettings;
use crate::shared::Shared;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use torc_engine::command::{Companion, Execution};
use torc_engine::error_counts::ErrorCounts;
use torc_engine::shard::ClientContext;
use torc_scripting::libraries::{Library, Registry};
use torc_scripting::{FunctionFlags, Interpreters, Script, Scripts, Settings, Sha};

/// What commands are looked at for, and the clock that they are measured with, if they are.
pub type Observation = (ObservationSettings, Option<fn() -> u64>);

/// Scripts and libraries beside one shard.
pub struct ShardScripting {
    /// What all share.
    pub shared: Arc<Shared>,
    /// Which shard this is.
    pub index: usize,
    /// Its interpreters.
    pub interpreters: Interpreters,
    scripts: RefCell<Scripts>,
    functions: RefCell<Arc<Registry>>,
    /// Whether memory was out when the last script began.
    pub is_memory_out: Cell<bool>,
    /// Errors of commands inside scripts.
    pub errors: RefCell<ErrorCounts>,
    /// What became of commands inside scripts, by their ids.
    pub calls: RefCell<CallCounts>,
    /// Of commands inside scripts.
    pub observation: Cell<Observation>,
    /// How long commands inside scripts took.
    pub histograms: RefCell<Recorder>,
    /// Those of the script that has just ended that are to be remembered.
    pub notes: RefCell<Vec<Noted>>,
    /// Commands that scripts have called, for those who watch: with their databases.
    pub lines: RefCell<Vec<(u32, PackedArguments)>>,
    /// For whom the next script runs.
    pub client: Cell<ClientContext>,
    /// The user that the next script runs for; none is asked nothing.
    pub user: RefCell<Option<Arc<User>>>,
    /// Commands that the script has run that was the last to end here.
    pub commands_run: Cell<u64>,
    /// What scripts were denied.
    pub denied: RefCell<Vec<Denied>>,
    /// Keys that scripts have read for such clients in the step that runs.
    pub reads: RefCell<BTreeSet<Box<[u8]>>>,
    /// What the script that has just been undone needs.
    pub missed: RefCell<Option<Missed>>,
    /// Which scripts are known to need more than they say.
    pub habits: RefCell<Habits>,
    /// Whether a script that has written can be killed, and undone.
    pub undoes_killed: Cell<bool>,
    units: Cell<u64>,
    /// Where `os.clock` begins.
    begun: Instant,
}

/// A script that needs other shards than it had.
#[derive(Debug)]
pub struct Missed {
    /// All that it is known to need.
    pub shards: ShardSet,
    /// The whole command, where it was worked off in slices.
    pub arguments: Option<PackedArguments>,
}

/// Numbers of runs that are units by themselves, apart from those that a coordinator gives.
const UNIT_NUMBERS: u64 = 1 << 63;

impl ShardScripting {
    /// For a shard. Interpreters are made when they are first needed.
    pub fn new(shared: &Arc<Shared>, index: usize) -> Self {
        Self {
            index,
            interpreters: Interpreters::new(&Settings::default()),
            scripts: RefCell::default(),
            functions: RefCell::new(shared.scripting.functions()),
            is_memory_out: Cell::new(false),
            errors: RefCell::default(),
            calls: RefCell::new(CallCounts::new(shared.table.ids)),
            observation: Cell::default(),
            histograms: RefCell::new(Recorder::new(shared.table.ids)),
            notes: RefCell::default(),
            lines: RefCell::default(),
            client: Cell::default(),
            user: RefCell::default(),
            commands_run: Cell::new(0),
            denied: RefCell::default(),
            reads: RefCell::default(),
            missed: RefCell::default(),
            habits: RefCell::default(),
            undoes_killed: Cell::new(false),
            units: Cell::new(UNIT_NUMBERS),
            begun: Instant::now(),
            shared: shared.clone(),
        }
    }

    /// The one beside the shard that a handler runs on.
    pub fn of(execution: &Execution<'_>) -> Option<Rc<Self>> {
        execution.companion.cloned().and_then(|companion: Companion| companion.downcast::<Self>().ok())
    }

    fn take_unit_number(&self) -> u64 {
        self.units.replace(self.units.get() + 1)
    }

    /// The script, from here or from any shard.
    pub fn script(&self, sha: &Sha) -> Option<Arc<Script>> {
        if let Some(script) = self.scripts.borrow_mut().get(sha) {
            return Some(script);
        }
        let script = self.shared.scripting.scripts().get(sha)?;
        self.scripts.borrow_mut().insert(script.clone(), false);
        Some(script)
    }

    /// The script of this text, kept for EVALSHA; or the line of the error.
    pub fn keep(&self, source: &[u8], is_loaded: bool) -> Result<Arc<Script>, Vec<u8>> {
        let sha = Sha::of(source);
        let known = self.script(&sha);
        let script = match known {
            Some(script) if !is_loaded => return Ok(script),
            Some(script) => script,
            None => {
                let script = Arc::new(Script::new(source)?);
                self.interpreters.check(&script)?;
                script
            }
        };
        self.shared.scripting.scripts().insert(script.clone(), is_loaded);
        self.scripts.borrow_mut().insert(script.clone(), is_loaded);
        Ok(script)
    }

    /// Whether any shard knows it.
    pub fn has_script(&self, sha: &Sha) -> bool {
        self.scripts.borrow().has(sha) || self.shared.scripting.scripts().has(sha)
    }

    /// SCRIPT FLUSH, on each shard.
    pub fn flush_scripts(&self) {
        self.scripts.borrow_mut().flush();
        self.interpreters.flush_scripts();
    }

    /// New libraries, on each shard.
    pub fn set_functions(&self, functions: &Arc<Registry>) {
        if functions.libraries().len() == 0 {
            self.interpreters.flush_functions();
        }
        *self.functions.borrow_mut() = functions.clone();
    }

    /// What a command that runs a script says of itself, by its name: nothing if there is no such script, or if it says
    /// nothing.
    pub fn flags_of(&self, name: &str, arguments: &[&[u8]]) -> Option<FunctionFlags> {
        let called = arguments.get(1)?;
        if name.starts_with("fcall") {
            return self.library_of(called).map(|(.., flags)| flags);
        }
        let script =
            if name.starts_with("evalsha") { self.script(&Sha::parse(called)?) } else { self.keep(called, false).ok() };
        script?.flags
    }

    /// The libraries that are in force here.
    pub fn functions(&self) -> Arc<Registry> {
        self.functions.borrow().clone()
    }

    /// The library that has a function, if there is one, and what that is called there.
    pub fn library_of(&self, function: &[u8]) -> Option<(Arc<Library>, String, FunctionFlags)> {
        let functions = self.functions.borrow();
        functions.function(function).map(|(library, spec)| (library.clone(), spec.name.to_string(), spec.flags))
    }
}

/// A script or function that runs for long.
#[derive(Debug)]
pub struct Running {
    /// The shards that it holds.
    pub shards: ShardSet,
    /// The function's name; nothing of a script.
    pub function: Option<String>,
    /// The command as it was sent.
    pub command: Vec<Vec<u8>>,
    /// Since when, wall milliseconds.
    pub started_ms: i64,
    /// It has written something.
    pub has_written: AtomicBool,
    /// It is to end.
    pub is_to_end: AtomicBool,
    /// What it has written would be undone then.
    pub may_be_undone: bool,
}

/// Scripts and libraries of all shards.
#[derive(Debug, Default)]
pub struct SharedScripting {
    scripts: Mutex<Scripts>,
    functions: Mutex<Arc<Registry>>,
    running: Mutex<Vec<Arc<Running>>>,
    /// Scripts may call commands that are not allowed from scripts; only DEBUG says so.
    pub denies_nothing: AtomicBool,
    /// As many as `running` has: read before each command, so it is a number without a lock.
    long_scripts: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedScripting {
    /// Scripts that some shard has seen. Held for moments only.
    pub fn scripts(&self) -> MutexGuard<'_, Scripts> {
        lock(&self.scripts)
    }

    /// The libraries in force.
    pub fn functions(&self) -> Arc<Registry> {
        lock(&self.functions).clone()
    }

    /// Changes the libraries. Held until the change is on its way to all shards: they see changes in one order.
    pub fn change_functions(&self) -> MutexGuard<'_, Arc<Registry>> {
        lock(&self.functions)
    }

    /// What runs for long.
    pub fn running(&self) -> Vec<Arc<Running>> {
        lock(&self.running).clone()
    }

    /// Whether anything runs for long on any shard.
    #[inline]
    pub fn has_long_scripts(&self) -> bool {
        self.long_scripts.load(Ordering::Relaxed) > 0
    }

    fn has_become_long(&self, running: &Arc<Running>) {
        let mut all = lock(&self.running);
        all.push(running.clone());
        self.long_scripts.store(all.len(), Ordering::Relaxed);
    }

    fn is_over(&self, running: &Arc<Running>) {
        let mut all = lock(&self.running);
        all.retain(|other| !Arc::ptr_eq(other, running));
        self.long_scripts.store(all.len(), Ordering::Relaxed);
    }

    /// SCRIPT KILL or FUNCTION KILL: ends what runs for long and has not written, or can be undone; or the error.
    pub fn kill(&self, of_function: bool) -> Result<(), &'static str> {
        const OTHER_SCRIPT: &str =
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
        const OTHER_FUNCTION: &str =
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
        const WROTE: &str = "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.";
        let running = self.running();
        let ours: Vec<_> = running.iter().filter(|running| running.function.is_some() == of_function).collect();
        if ours.is_empty() {
            return Err(match running.is_empty() {
                true => "NOTBUSY No scripts in execution right now.",
                false if of_function => OTHER_SCRIPT,
                false => OTHER_FUNCTION,
            });
        }
        let is_killable = |running: &Running| running.may_be_undone || !running.has_written.load(Ordering::Relaxed);
        let killable = || ours.iter().filter(|running| is_killable(running));
        if killable().count() == 0 {
            return Err(WROTE);
        }
        killable().for_each(|running| running.is_to_end.store(true, Ordering::Relaxed));
        Ok(())
    }
}
