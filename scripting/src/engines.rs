//! The interpreters of one shard, and runs of scripts and functions on them.
//!
//! ```text
//!   Interpreters ── start ──> Run ── step ──> Call: the shard answers in the exchange ── step ──> ...
//!     idle ones, by kind       │              Tick: it has run for a while; go on, or kill it
//!     <── given back ──────────┘              Done: the reply
//! ```
//!
//! - Made when first needed: a shard that runs no scripts has none.
//! - A run has its interpreter for itself. A run that begins while another is suspended takes another interpreter; of
//!   idle ones a few are kept.
//! - A library's own variables are per interpreter: they survive between calls on one shard, as long as nobody flushes,
//!   but are not shared by shards. Data belongs into keys.

use crate::exchange::{Exchange, Request};
use crate::fiber::{Event, Fiber, Machine};
use crate::js::JsMachine;
use crate::libraries::{Engine, FunctionSpec, Library};
use crate::lua::{LuaMachine, Purpose};
use crate::machine::{Done, Job, Settings};
use crate::reply::Reply;
use crate::scripts::Script;
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

/// Idle interpreters kept for each kind.
const IDLE_MAX: usize = 4;

/// How often a run that is given up is asked to end before its interpreter goes with it.
const KILLS_MAX: u32 = 16;

const GIVEN_UP: &str = "Script ended: nobody waits for it";

/// Interpreters of one kind that may be at work at once: what suspended scripts may hold is bounded by it.
const BUSY_MAX: usize = 256;

type Worker = Fiber<Job, Done>;

/// The kinds of interpreters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scripts,
    LuaFunctions,
    JsFunctions,
}

impl Kind {
    fn of(engine: Engine) -> Self {
        match engine {
            Engine::Lua => Self::LuaFunctions,
            Engine::Js => Self::JsFunctions,
        }
    }
}

/// Interpreters of one kind.
struct Pool {
    kind: Kind,
    settings: Settings,
    idle: RefCell<Vec<Worker>>,
    busy: Cell<usize>,
    /// Counts flushes: interpreters from before are not taken back.
    generation: Cell<u64>,
}

impl Pool {
    fn new(kind: Kind, settings: &Settings) -> Rc<Self> {
        let settings = settings.clone();
        Rc::new(Self { kind, settings, idle: RefCell::default(), busy: Cell::new(0), generation: Cell::new(0) })
    }

    fn take(self: &Rc<Self>) -> Result<Lease, Refusal> {
        if self.busy.get() >= BUSY_MAX {
            return Err(Refusal::Busy);
        }
        let idle = self.idle.borrow_mut().pop();
        let worker = match idle {
            Some(worker) => worker,
            None => self.make().map_err(|_| Refusal::NoMemory)?,
        };
        self.busy.set(self.busy.get() + 1);
        Ok(Lease { worker: Some(worker), pool: self.clone(), generation: self.generation.get() })
    }

    fn make(&self) -> std::io::Result<Worker> {
        let settings = self.settings.clone();
        match self.kind {
            Kind::Scripts => Fiber::new(move |link| Made(LuaMachine::new(link, Purpose::Scripts, &settings).ok())),
            Kind::LuaFunctions => {
                Fiber::new(move |link| Made(LuaMachine::new(link, Purpose::Functions, &settings).ok()))
            }
            Kind::JsFunctions => Fiber::new(move |link| Made(JsMachine::new(link, &settings).ok())),
        }
    }

    /// Bytes that those have taken which are at rest.
    fn memory_bytes(&self) -> usize {
        self.idle.borrow().iter().map(|worker| worker.exchange().borrow().memory_bytes).sum()
    }

    fn flush(&self) {
        self.generation.set(self.generation.get() + 1);
        self.idle.borrow_mut().clear();
    }
}

/// A machine, unless there was no memory to make one.
struct Made<M>(Option<M>);

impl<M: Machine<Job = Job, Done = Done>> Machine for Made<M> {
    type Job = Job;
    type Done = Done;

    fn perform(&mut self, job: Job) -> Done {
        const NO_MEMORY: &[u8] = b"ERR not enough memory for an interpreter";
        match (&mut self.0, job) {
            (Some(machine), job) => machine.perform(job),
            (None, Job::Check(_)) => Done::Checked(Err(NO_MEMORY.to_vec())),
            (None, Job::Load(_)) => Done::Loaded(Err(NO_MEMORY.to_vec())),
            (None, Job::Script(_) | Job::Call(..)) => Done::Reply(Reply::error(NO_MEMORY)),
        }
    }
}

/// An interpreter at work; given back when dropped.
struct Lease {
    worker: Option<Worker>,
    pool: Rc<Pool>,
    generation: u64,
}

impl Lease {
    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("a lease has its worker until it is dropped")
    }

    fn exchange(&self) -> RefMut<'_, Exchange> {
        self.worker.as_ref().expect("a lease has its worker until it is dropped").exchange().borrow_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.busy.set(self.pool.busy.get() - 1);
        let Some(mut worker) = self.worker.take() else { return };
        // A run that nobody wants to its end.
        let mut kills = 0;
        while worker.is_busy() && kills < KILLS_MAX {
            worker.kill(GIVEN_UP);
            kills += 1;
        }
        let mut idle = self.pool.idle.borrow_mut();
        // What is still under way ends with the worker.
        if !worker.is_busy() && self.generation == self.pool.generation.get() && idle.len() < IDLE_MAX {
            worker.exchange().borrow_mut().rest();
            idle.push(worker);
        }
    }
}

/// Why no run could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many runs are suspended.
    Busy,
    /// There is no memory for another interpreter.
    NoMemory,
}

impl Refusal {
    /// As a reply.
    pub fn reply(self) -> Reply {
        Reply::error(match self {
            Self::Busy => "BUSY Redis is busy running a script. Too many scripts wait for other shards.",
            Self::NoMemory => "ERR not enough memory for an interpreter",
        })
    }
}

/// Why a run stopped.
#[derive(Debug)]
pub enum Step {
    /// It asks something: answer in [`Run::exchange`], and step.
    Call,
    /// It has run for a while: step, or [`Run::kill`] it.
    Tick,
    /// It is over.
    Done(Reply),
}

/// Whether a run may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    /// It may.
    Yes,
    /// It ends with this error, which has no code: `Script killed by user with SCRIPT KILL.`
    Kill(&'static str),
}

/// Who answers a run at once.
pub trait Host {
    /// Answers what the exchange asks, in its `reply`.
    fn call(&mut self, exchange: &mut Exchange);

    /// The run has gone on for a while.
    fn tick(&mut self) -> GoOn;
}

/// A script or function that has begun, or will with the first step.
pub struct Run {
    lease: Lease,
    job: Option<Job>,
}

impl Run {
    /// Begins, or goes on after an answer.
    pub fn step(&mut self) -> Step {
        let worker = self.lease.worker();
        let event = match self.job.take() {
            Some(job) => worker.start(job),
            None => worker.resume(),
        };
        step(event)
    }

    /// Ends it: what it was about to ask is not answered, and each further instruction is an error.
    pub fn kill(&mut self, error: &'static str) -> Step {
        step(self.lease.worker().kill(error))
    }

    /// What it asks, and where the answer goes.
    pub fn exchange(&self) -> RefMut<'_, Exchange> {
        self.lease.exchange()
    }

    /// Runs to its end with a host that answers at once.
    pub fn drive(mut self, host: &mut dyn Host) -> Reply {
        let mut next = self.step();
        loop {
            next = match next {
                Step::Done(reply) => return reply,
                Step::Call => {
                    host.call(&mut self.exchange());
                    self.step()
                }
                Step::Tick => match host.tick() {
                    GoOn::Yes => self.step(),
                    GoOn::Kill(error) => self.kill(error),
                },
            }
        }
    }
}

fn step(event: Event<Done>) -> Step {
    match event {
        Event::Call => Step::Call,
        Event::Tick => Step::Tick,
        Event::Done(Done::Reply(reply)) => Step::Done(reply),
        Event::Done(Done::Checked(_) | Done::Loaded(_)) => unreachable!("a run's job ends with a reply"),
    }
}

/// All interpreters of a shard.
pub struct Interpreters {
    scripts: Rc<Pool>,
    lua_functions: Rc<Pool>,
    js_functions: Rc<Pool>,
}

impl Interpreters {
    /// None yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            scripts: Pool::new(Kind::Scripts, settings),
            lua_functions: Pool::new(Kind::LuaFunctions, settings),
            js_functions: Pool::new(Kind::JsFunctions, settings),
        }
    }

    fn pool(&self, kind: Kind) -> &Rc<Pool> {
        match kind {
            Kind::Scripts => &self.scripts,
            Kind::LuaFunctions => &self.lua_functions,
            Kind::JsFunctions => &self.js_functions,
        }
    }

    /// Whether a script compiles, or the line of the error.
    pub fn check(&self, script: &Arc<Script>) -> Result<(), Vec<u8>> {
        let mut lease = self.scripts.take().map_err(refused)?;
        match lease.worker().start(Job::Check(script.clone())) {
            Event::Done(Done::Checked(result)) => result,
            _ => Err(b"ERR Error compiling script".to_vec()),
        }
    }

    /// A run of a script.
    pub fn script<'a>(
        &self,
        script: &Arc<Script>,
        keys: impl IntoIterator<Item = &'a [u8]>,
        arguments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Run, Refusal> {
        self.run(Kind::Scripts, Job::Script(script.clone()), keys, arguments)
    }

    /// A run of a library's function.
    pub fn function<'a>(
        &self,
        library: &Arc<Library>,
        name: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
        arguments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Run, Refusal> {
        self.run(Kind::of(library.engine), Job::Call(library.clone(), name.into()), keys, arguments)
    }

    fn run<'a>(
        &self,
        kind: Kind,
        job: Job,
        keys: impl IntoIterator<Item = &'a [u8]>,
        arguments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Run, Refusal> {
        let lease = self.pool(kind).take()?;
        {
            let mut exchange = lease.exchange();
            exchange.inputs.clear();
            keys.into_iter().for_each(|key| exchange.inputs.push(key));
            exchange.keys = exchange.inputs.len();
            arguments.into_iter().for_each(|argument| exchange.inputs.push(argument));
        }
        Ok(Run { lease, job: Some(job) })
    }

    /// Runs a library's code, and sets its functions; or the line of the error. While it is loaded a library may only
    /// write to the log, so the host is asked for nothing else.
    pub fn load(&self, library: &Arc<Library>, host: &mut dyn Host) -> Result<Vec<FunctionSpec>, Vec<u8>> {
        let mut lease = self.pool(Kind::of(library.engine)).take().map_err(refused)?;
        let mut event = lease.worker().start(Job::Load(library.clone()));
        loop {
            event = match event {
                Event::Done(Done::Loaded(result)) => {
                    let functions = result?;
                    library.set_functions(functions.clone());
                    return Ok(functions);
                }
                Event::Done(_) => return Err(b"ERR Error registering functions".to_vec()),
                Event::Call => {
                    {
                        let exchange = &mut *lease.exchange();
                        exchange.reply.clear();
                        if matches!(exchange.request, Request::Log(_)) {
                            host.call(exchange);
                        }
                    }
                    lease.worker().resume()
                }
                Event::Tick => match host.tick() {
                    GoOn::Yes => lease.worker().resume(),
                    GoOn::Kill(error) => lease.worker().kill(error),
                },
            }
        }
    }

    /// Bytes that interpreters of scripts have taken, and those of functions; of JavaScript's that is not known.
    pub fn memory_bytes(&self) -> [usize; 2] {
        [self.scripts.memory_bytes(), self.lua_functions.memory_bytes()]
    }

    /// Forgets compiled scripts.
    pub fn flush_scripts(&self) {
        self.scripts.flush();
    }

    /// Forgets loaded libraries.
    pub fn flush_functions(&self) {
        self.lua_functions.flush();
        self.js_functions.flush();
    }
}

fn refused(refusal: Refusal) -> Vec<u8> {
    match refusal.reply() {
        Reply::Error { line, .. } => line,
        _ => Vec::new(),
    }
}
