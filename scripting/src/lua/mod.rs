//! Lua 5.1 as Redis has it: a virtual machine for scripts (`EVAL`) or for libraries of functions.
//!
//! ```text
//!   sandbox.rs    globals: what there is, what may not be changed          native.rs   what speaks Lua's C interface
//!   server.rs     redis.call and its kin                                   answer.rs   how functions of ours answer
//!   convert.rs    replies -> values, values -> replies                     library.rs  redis.register_function
//!   json/ msgpack.rs structs.rs bits.rs   the libraries that scripts have  random.rs   math.random of Redis
//! ```
//!
//! - A script is compiled once for each machine and kept by its SHA. KEYS and ARGV are made anew for each run: what a
//!   script leaves in them must not be seen by the next.
//! - Stock Lua knows no read-only tables. Each protected table is an empty one before its contents: reads fall through,
//!   writes are refused, and what could tell the difference (`rawset`, `next`, `pairs` ...) is guarded.
//! - Errors are tables `{err, source, line}` from where they are raised, as in Redis.
//! - Memory beyond the limit is an error that scripts can catch; the collector runs after such a run.

mod answer;
mod bits;
mod convert;
mod json;
mod library;
mod msgpack;
mod native;
mod number;
mod random;
mod sandbox;
mod server;
mod structs;

use crate::exchange::Protocol;
use crate::fiber::{LinkOf, Machine, Verdict};
use crate::libraries::{FunctionSpec, Library};
use crate::machine::{Done, Job, Settings};
use crate::reply::Reply;
use crate::scripts::Script;
use mlua::{Function, HookTriggers, Lua, LuaOptions, RegistryKey, StdLib, Table, Value, VmState};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// The end of a Lua machine that callbacks hold.
type LuaLink = LinkOf<LuaMachine>;

/// Compiled scripts kept by one machine.
const COMPILED_SCRIPTS_MAX: usize = 2048;

/// Memory from which on a run is followed by a whole collection, in bytes; or a quarter of the limit, if that is less.
const COLLECT_BYTES_MIN: usize = 64 * 1024 * 1024;

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `EVAL` and its kin.
    Scripts,
    /// Libraries of functions.
    Functions,
}

/// A library as one machine has it.
struct LoadedLibrary {
    library: Weak<Library>,
    functions: HashMap<Box<[u8]>, RegistryKey>,
}

/// One virtual machine.
pub(crate) struct LuaMachine {
    link: Rc<LuaLink>,
    purpose: Purpose,
    sandbox: sandbox::Sandbox,
    runner: Function,
    script_runner: Function,
    /// Compiled scripts, by the numbers that follow.
    compiled: Table,
    scripts: HashMap<[u8; 40], i32>,
    /// The one that ran last, with its number.
    last: Option<(Arc<Script>, i32)>,
    libraries: HashMap<Box<str>, LoadedLibrary>,
    settings: Settings,
    // Last, since it is dropped last: the others refer to it.
    lua: Lua,
}

impl LuaMachine {
    /// A machine in its sandbox.
    pub(crate) fn new(link: Rc<LuaLink>, purpose: Purpose, settings: &Settings) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(true))?;
        lua.set_memory_limit(settings.memory_bytes_max)?;
        let sandbox = sandbox::Sandbox::build(&lua, &link, purpose, settings)?;
        let runner = native::runner(&lua, sandbox.error_handler.clone())?;
        let (handler, compiled) = (sandbox.error_handler.clone(), lua.create_table()?);
        let script_runner = native::script_runner(&lua, &link, handler, compiled.clone(), sandbox.contents())?;
        let machine = Self {
            lua,
            link,
            purpose,
            sandbox,
            runner,
            script_runner,
            compiled,
            scripts: HashMap::new(),
            last: None,
            libraries: HashMap::new(),
            settings: settings.clone(),
        };
        machine.set_hook()?;
        Ok(machine)
    }

    /// Every so many instructions the shard is asked whether to go on; once it says no, every instruction is the last.
    fn set_hook(&self) -> mlua::Result<()> {
        let link = self.link.clone();
        let every = HookTriggers::new().every_nth_instruction(self.settings.tick_instructions);
        self.lua.set_global_hook(every, move |lua, _| match link.tick() {
            Verdict::Go => Ok(VmState::Continue),
            Verdict::Kill(error) => {
                let _ = lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), move |_, _| {
                    Err(mlua::Error::runtime(error))
                });
                Err(mlua::Error::runtime(error))
            }
        })
    }

    /// What a run leaves behind is put in order.
    fn rest(&mut self) {
        let was_killed = self.link.killed().is_some();
        if was_killed {
            let _ = self.set_hook();
        }
        if self.lua.used_memory() > COLLECT_BYTES_MIN.min(self.settings.memory_bytes_max / 4) {
            self.lua.gc_restart();
            let _ = self.lua.gc_collect();
        }
        self.lua.expire_registry_values();
        self.link.exchange.borrow_mut().memory_bytes = self.lua.used_memory();
    }

    fn compile(&self, code: &[u8], chunk: &str) -> Result<Function, Vec<u8>> {
        let chunk = self.lua.load(code).set_name(chunk).set_mode(mlua::ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
            _ => b"not enough memory".to_vec(),
        })
    }

    /// The number of a script among the compiled ones.
    fn script(&mut self, script: &Arc<Script>) -> Result<i32, Vec<u8>> {
        if let Some((last, number)) = &self.last
            && Arc::ptr_eq(last, script)
        {
            return Ok(*number);
        }
        let number = match self.scripts.get(script.sha.as_bytes()) {
            Some(number) => *number,
            None => self.compile_script(script)?,
        };
        self.last = Some((script.clone(), number));
        Ok(number)
    }

    fn compile_script(&mut self, script: &Script) -> Result<i32, Vec<u8>> {
        let function = self
            .compile(script.code(), "@user_script")
            .map_err(|problem| [b"ERR Error compiling script (new function): ".as_slice(), &problem].concat())?;
        let no_memory = |_| b"ERR not enough memory".to_vec();
        if self.scripts.len() >= COMPILED_SCRIPTS_MAX {
            self.scripts.clear();
            self.compiled.clear().map_err(no_memory)?;
        }
        let number = self.scripts.len() as i32 + 1;
        self.compiled.raw_set(number, function).map_err(no_memory)?;
        self.scripts.insert(*script.sha.as_bytes(), number);
        Ok(number)
    }

    fn inputs(&self) -> mlua::Result<(Table, Table)> {
        let exchange = self.link.exchange.borrow();
        let (keys, inputs) = (exchange.keys, &exchange.inputs);
        let list = |from: usize, to: usize| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(to - from, 0)?;
            for at in from..to {
                table.raw_push(self.lua.create_string(inputs.get(at))?)?;
            }
            Ok(table)
        };
        Ok((list(0, keys)?, list(keys, inputs.len())?))
    }

    fn run_script(&mut self, script: &Arc<Script>) -> Reply {
        let number = match self.script(script) {
            Ok(number) => number,
            Err(line) => return Reply::error(line),
        };
        let result = self.script_runner.call::<(bool, Value)>(number);
        self.answer(result, script.sha.as_str())
    }

    fn run_function(&mut self, library: &Arc<Library>, name: &str) -> Reply {
        if let Err(line) = self.ensure_loaded(library) {
            return Reply::error(line);
        }
        let function = self.libraries.get(&*library.name).and_then(|loaded| loaded.functions.get(name.as_bytes()));
        let Some(function) = function.and_then(|key| self.lua.registry_value::<Function>(key).ok()) else {
            return Reply::error("ERR Function not found");
        };
        let result =
            self.inputs().and_then(|(keys, arguments)| self.runner.call::<(bool, Value)>((function, keys, arguments)));
        self.answer(result, name)
    }

    /// The reply of a run that ended so.
    fn answer(&mut self, result: mlua::Result<(bool, Value)>, name: &str) -> Reply {
        let protocol = self.link.exchange.borrow().protocol;
        match result {
            Ok((true, value)) => convert::to_reply(&value, protocol, self.settings.memory_bytes_max),
            Ok((false, error)) => convert::to_error(&error, name, self.link.killed()),
            Err(_) => Reply::error(format!("ERR Error running script {name}, not enough memory")),
        }
    }

    fn ensure_loaded(&mut self, library: &Arc<Library>) -> Result<(), Vec<u8>> {
        if let Some(loaded) = self.libraries.get(&*library.name)
            && std::ptr::eq(loaded.library.as_ptr(), Arc::as_ptr(library))
        {
            return Ok(());
        }
        self.load(library).map(|_| ())
    }

    /// Runs a library's code and keeps what it registers.
    fn load(&mut self, library: &Arc<Library>) -> Result<Vec<FunctionSpec>, Vec<u8>> {
        // Libraries that are gone everywhere else go here, too.
        self.libraries.retain(|_, loaded| loaded.library.strong_count() > 0);
        let function = self
            .compile(library.body(), "@user_function")
            .map_err(|problem| [b"ERR Error compiling function: ".as_slice(), &problem].concat())?;
        let result = self.sandbox.loading(|| self.runner.call::<(bool, Value)>(function));
        let registered = self.sandbox.take_registered();
        match result {
            Ok((true, _)) => {}
            Ok((false, error)) => {
                let line = convert::error_line(&error, self.link.killed());
                return Err([b"ERR Error registering functions: ".as_slice(), &line].concat());
            }
            Err(_) => return Err(b"ERR Error registering functions: ERR not enough memory".to_vec()),
        }
        if registered.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        let mut functions = HashMap::new();
        let mut specs = Vec::new();
        for (spec, callback) in registered {
            functions.insert(spec.name.as_bytes().into(), callback);
            specs.push(spec);
        }
        self.libraries.insert(library.name.clone(), LoadedLibrary { library: Arc::downgrade(library), functions });
        Ok(specs)
    }
}

impl Machine for LuaMachine {
    type Job = Job;
    type Done = Done;

    fn perform(&mut self, job: Job) -> Done {
        self.link.exchange.borrow_mut().protocol = Protocol::Resp2;
        let done = match job {
            Job::Check(script) => Done::Checked(self.script(&script).map(|_| ())),
            Job::Script(script) => Done::Reply(self.run_script(&script)),
            Job::Load(library) => Done::Loaded(self.load(&library)),
            Job::Call(library, name) => Done::Reply(self.run_function(&library, &name)),
        };
        debug_assert!(self.purpose == Purpose::Functions || !matches!(done, Done::Loaded(_)));
        self.rest();
        done
    }
}
