//! JavaScript (QuickJS) for libraries of functions: `#!js name=mylib`.
//!
//! ```text
//!   redis.registerFunction('name', function(client, ...keysAndArguments) { ... }, {flags: ['no-writes'], description: ''})
//!   redis.registerFunction({name: 'name', callback: function(client, ...) { ... }, flags: [...], description: ''})
//! ```
//!
//! A function gets `client`, then the keys, then the arguments of `FCALL`, as strings. `client.call(command, ...)` runs a
//! command and returns its reply; an error reply is thrown. `redis.log(redis.LOG_NOTICE, ...)` writes to the log.
//!
//! | given to `client.call` | | reply of a command | is | | returned | is the reply |
//! |---|---|---|---|---|---|---|
//! | string | its bytes in UTF-8 | string | string, or `Uint8Array` if it is not UTF-8 | | string, `Uint8Array` | string |
//! | number, bigint | its text | integer | number; bigint from 2^53 on | | whole number, bigint | integer |
//! | `Uint8Array` | its bytes | double | number | | other number | double |
//! | anything else | an error | boolean, null | boolean, `null` | | boolean, null, undefined | boolean, null, null |
//! | | | status, verbatim | string | | `Error` | error |
//! | | | big number | bigint | | array | array |
//! | | | array, set | array | | object | map of its own properties |
//! | | | map | object | | promise | what it settles to, if it does without waiting |
//! | | | error | thrown: an `Error` named `ReplyError` whose message is the line | | function, symbol | an error |
//!
//! - Replies are those of RESP3. Numbers are written as JavaScript writes them.
//! - What is thrown and not caught is the reply: `ERR <message> script: <function>, on @user_function:<line>.`; a reply
//!   error keeps its own code.
//! - Each library has globals of its own, which no other library can change. There are no modules, no files, no timers.
//! - Memory is limited as Lua's is; every ten thousand jumps the shard is asked whether the function may go on, and a
//!   function that is killed cannot catch it.

mod convert;

use crate::exchange::{LogLevel, Protocol, Request};
use crate::fiber::{LinkOf, Machine, Verdict};
use crate::libraries::{FunctionFlags, FunctionSpec, Library, is_name};
use crate::machine::{Done, Job, Settings};
use crate::reply::Reply;
use rquickjs::context::intrinsic;
use rquickjs::function::{Args, Rest};
use rquickjs::{Context, Ctx, Error, Exception, Function, Object, Persistent, Runtime, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

type JsLink = LinkOf<JsMachine>;

/// What a library may use of the language's own objects.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
    intrinsic::BigInt,
);

/// Bytes of the interpreter's stack that the engine may use.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Functions that one library may have.
const FUNCTIONS_MAX: usize = 100_000;

type Callback = Persistent<Function<'static>>;

/// What a library's code has registered so far; nothing outside of loading.
type Registration = Rc<RefCell<Option<Vec<(FunctionSpec, Callback)>>>>;

/// A library as one machine has it. The functions go before their globals.
struct LoadedLibrary {
    library: Weak<Library>,
    functions: HashMap<Box<str>, Callback>,
    client: Persistent<Object<'static>>,
    context: Context,
}

/// One runtime, with globals for each library.
pub(crate) struct JsMachine {
    link: Rc<JsLink>,
    libraries: HashMap<Box<str>, LoadedLibrary>,
    settings: Settings,
    runtime: Runtime,
}

/// The code of a library runs before the first line's end: lines keep their numbers.
impl JsMachine {
    /// A runtime with its limits.
    pub(crate) fn new(link: Rc<JsLink>, settings: &Settings) -> Result<Self, Error> {
        let runtime = Runtime::new()?;
        runtime.set_memory_limit(settings.memory_bytes_max);
        runtime.set_max_stack_size(STACK_BYTES);
        let shared = link.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || shared.tick() != Verdict::Go)));
        Ok(Self { link, libraries: HashMap::new(), settings: settings.clone(), runtime })
    }

    fn load(&mut self, library: &Arc<Library>) -> Result<Vec<FunctionSpec>, Vec<u8>> {
        self.libraries.retain(|_, loaded| loaded.library.strong_count() > 0);
        let no_memory = |_| b"ERR Error registering functions: ERR not enough memory".to_vec();
        let context = Context::custom::<Intrinsics>(&self.runtime).map_err(no_memory)?;
        let registration = Registration::new(RefCell::new(Some(Vec::new())));
        let link = self.link.clone();
        let loaded = context.with(|ctx| {
            let client = prepare(&ctx, &link, &registration, &self.settings).map_err(no_memory)?;
            if let Err(error) = ctx.eval::<Value, _>(library.body()) {
                let problem = convert::problem(&ctx, error, link.killed());
                let begin: &[u8] = if problem.is_syntax {
                    b"ERR Error compiling function: "
                } else {
                    b"ERR Error registering functions: "
                };
                let line = if problem.is_syntax { problem.with_place() } else { problem.line };
                return Err([begin, &line].concat());
            }
            Ok(Persistent::save(&ctx, client))
        });
        let registered = registration.borrow_mut().take().unwrap_or_default();
        let client = loaded?;
        if registered.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        let specs = registered.iter().map(|(spec, _)| spec.clone()).collect();
        let functions = registered.into_iter().map(|(spec, callback)| (spec.name, callback)).collect();
        let loaded = LoadedLibrary { library: Arc::downgrade(library), functions, client, context };
        self.libraries.insert(library.name.clone(), loaded);
        Ok(specs)
    }

    fn call(&mut self, library: &Arc<Library>, name: &str) -> Reply {
        let is_loaded = self
            .libraries
            .get(&*library.name)
            .is_some_and(|loaded| std::ptr::eq(loaded.library.as_ptr(), Arc::as_ptr(library)));
        if !is_loaded && let Err(line) = self.load(library) {
            return Reply::error(line);
        }
        let Some(loaded) = self.libraries.get(&*library.name) else { return Reply::error("ERR Function not found") };
        let Some(function) = loaded.functions.get(name) else { return Reply::error("ERR Function not found") };
        let bytes_max = self.settings.memory_bytes_max;
        loaded.context.with(|ctx| {
            let result = self.invoke(&ctx, loaded, function.clone());
            match result.and_then(|value| settled(&ctx, value, &self.link)) {
                Ok(value) => convert::to_reply(&ctx, &value, bytes_max)
                    .unwrap_or_else(|error| convert::problem(&ctx, error, self.link.killed()).reply(name)),
                Err(error) => convert::problem(&ctx, error, self.link.killed()).reply(name),
            }
        })
    }

    fn invoke<'js>(&self, ctx: &Ctx<'js>, loaded: &LoadedLibrary, function: Callback) -> Result<Value<'js>, Error> {
        let function = function.restore(ctx)?;
        let exchange = self.link.exchange.borrow();
        let mut arguments = Args::new(ctx.clone(), exchange.inputs.len() + 1);
        arguments.push_arg(loaded.client.clone().restore(ctx)?)?;
        for input in exchange.inputs.iter() {
            arguments.push_arg(convert::text_or_bytes(ctx, input)?)?;
        }
        drop(exchange);
        function.call_arg(arguments)
    }
}

/// The value that a promise has, once everything that waits for nothing has run.
fn settled<'js>(ctx: &Ctx<'js>, value: Value<'js>, link: &JsLink) -> Result<Value<'js>, Error> {
    while link.killed().is_none() && ctx.execute_pending_job() {}
    match value.as_promise() {
        None => Ok(value),
        Some(promise) => match promise.result() {
            Some(result) => result,
            None => Err(Exception::throw_message(ctx, "the promise of the function never settles")),
        },
    }
}

impl Machine for JsMachine {
    type Job = Job;
    type Done = Done;

    fn perform(&mut self, job: Job) -> Done {
        self.link.exchange.borrow_mut().protocol = Protocol::Resp3;
        match job {
            Job::Load(library) => Done::Loaded(self.load(&library)),
            Job::Call(library, name) => Done::Reply(self.call(&library, &name)),
            Job::Check(_) => Done::Checked(Err(b"ERR scripts are in Lua".to_vec())),
            Job::Script(_) => Done::Reply(Reply::error("ERR scripts are in Lua")),
        }
    }
}

/// Puts `redis` into the globals, and returns `client`.
fn prepare<'js>(
    ctx: &Ctx<'js>,
    link: &Rc<JsLink>,
    registration: &Registration,
    settings: &Settings,
) -> Result<Object<'js>, Error> {
    let redis = Object::new(ctx.clone())?;
    let shared = registration.clone();
    let register = move |ctx: Ctx<'js>, Rest(given): Rest<Value<'js>>| register(&ctx, &shared, &given);
    redis.set("registerFunction", Function::new(ctx.clone(), register)?)?;
    redis.set("register_function", redis.get::<_, Value>("registerFunction")?)?;
    let shared = link.clone();
    let log = move |ctx: Ctx<'js>, Rest(given): Rest<Value<'js>>| log(&ctx, &shared, &given);
    redis.set("log", Function::new(ctx.clone(), log)?)?;
    for (name, level) in [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)] {
        redis.set(name, level)?;
    }
    redis.set("REDIS_VERSION", settings.redis_version)?;
    let client = Object::new(ctx.clone())?;
    let shared = link.clone();
    let call = move |ctx: Ctx<'js>, Rest(given): Rest<Value<'js>>| call(&ctx, &shared, &given);
    client.set("call", Function::new(ctx.clone(), call)?)?;
    let freeze: Function = ctx.globals().get::<_, Object>("Object")?.get("freeze")?;
    freeze.call::<_, Value>((redis.clone(),))?;
    freeze.call::<_, Value>((client.clone(),))?;
    ctx.globals().set("server", redis.clone())?;
    ctx.globals().set("redis", redis)?;
    Ok(client)
}

fn call<'js>(ctx: &Ctx<'js>, link: &JsLink, given: &[Value<'js>]) -> Result<Value<'js>, Error> {
    if given.is_empty() {
        return Err(convert::reply_error(ctx, "ERR Please specify at least one argument for this call"));
    }
    // An argument's own code runs when it becomes a text, so the exchange is not held meanwhile.
    let mut texts = Vec::with_capacity(given.len());
    for argument in given {
        texts.push(convert::to_argument(ctx, argument)?);
    }
    {
        let mut exchange = link.exchange.borrow_mut();
        exchange.request = Request::Command;
        exchange.arguments.clear();
        texts.iter().for_each(|text| exchange.arguments.push(text));
    }
    match link.call() {
        Verdict::Go => convert::from_reply(ctx, &link.exchange.borrow().reply),
        Verdict::Kill(error) => Err(Exception::throw_message(ctx, error)),
    }
}

fn log<'js>(ctx: &Ctx<'js>, link: &JsLink, given: &[Value<'js>]) -> Result<(), Error> {
    const LEVELS: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];
    let [level, words @ ..] = given else {
        return Err(Exception::throw_message(ctx, "redis.log() requires two arguments or more."));
    };
    let Some(level) = level.as_int().and_then(|level| LEVELS.get(usize::try_from(level).ok()?)) else {
        return Err(Exception::throw_message(ctx, "Invalid log level."));
    };
    let mut line = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(convert::text_of(word)?.as_bytes());
    }
    {
        let mut exchange = link.exchange.borrow_mut();
        exchange.request = Request::Log(*level);
        exchange.arguments.clear();
        exchange.arguments.push(&line);
    }
    match link.call() {
        Verdict::Go => Ok(()),
        Verdict::Kill(error) => Err(Exception::throw_message(ctx, error)),
    }
}

/// `redis.registerFunction` in both forms.
fn register<'js>(ctx: &Ctx<'js>, registration: &Registration, given: &[Value<'js>]) -> Result<(), Error> {
    let refuse = |line: &str| Exception::throw_message(ctx, line);
    if registration.borrow().is_none() {
        return Err(refuse("redis.registerFunction can only be called on FUNCTION LOAD command"));
    }
    let (name, callback, options) = match given {
        [named] if named.is_object() && !named.is_function() => {
            let named = named.as_object().cloned().ok_or_else(|| refuse("named arguments must be an object"))?;
            (named.get::<_, Value>("name")?, named.get::<_, Value>("callback")?, Some(named))
        }
        [name, callback] => (name.clone(), callback.clone(), None),
        [name, callback, options] => (name.clone(), callback.clone(), options.as_object().cloned()),
        _ => return Err(refuse("wrong number of arguments to redis.registerFunction")),
    };
    let Some(name) = name.as_string() else {
        return Err(refuse("the name given to redis.registerFunction must be a string"));
    };
    let name = name.to_string()?;
    let Some(callback) = callback.as_function() else {
        return Err(refuse("the callback given to redis.registerFunction must be a function"));
    };
    if !is_name(name.as_bytes()) {
        return Err(refuse(
            "Function names can only contain letters, numbers, or underscores(_) and must be at least one character long",
        ));
    }
    let (flags, description) = match options {
        Some(options) => read_options(ctx, &options)?,
        None => (FunctionFlags::default(), None),
    };
    let spec = FunctionSpec { name: name.into(), description, flags };
    let mut registered = registration.borrow_mut();
    let Some(registered) = registered.as_mut() else { return Ok(()) };
    if registered.iter().any(|(known, _)| known.name == spec.name) {
        return Err(refuse("Function already exists in the library"));
    }
    if registered.len() >= FUNCTIONS_MAX {
        return Err(refuse("too many functions in the library"));
    }
    registered.push((spec, Persistent::save(ctx, callback.clone())));
    Ok(())
}

fn read_options<'js>(ctx: &Ctx<'js>, options: &Object<'js>) -> Result<(FunctionFlags, Option<Box<str>>), Error> {
    let mut flags = FunctionFlags::default();
    let given: Value = options.get("flags")?;
    if let Some(names) = given.as_array() {
        for name in names.iter::<Value>() {
            let name = convert::text_of(&name?)?;
            if !flags.set(name.as_bytes()) {
                return Err(Exception::throw_message(ctx, "unknown flag given"));
            }
        }
    } else if !given.is_undefined() && !given.is_null() {
        return Err(Exception::throw_message(ctx, "flags given to redis.registerFunction must be an array"));
    }
    let description: Value = options.get("description")?;
    let description = match description.as_string() {
        Some(text) => Some(text.to_string()?.into()),
        None => None,
    };
    Ok((flags, description))
}
