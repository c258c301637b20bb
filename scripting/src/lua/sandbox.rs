//! The globals of a machine: what scripts see, and that they can change none of it.
//!
//! ```text
//!   globals: empty, read-only ── __index ──> contents: string, redis, KEYS ... ── __index ──> "nonexistent global"
//!                                └ while a library is loaded: contents with `redis` alone
//!   redis: empty, read-only ──── __index ──> its functions
//! ```
//!
//! A read-only table's metatable holds, besides what Lua reads: `[1]` a mark, `[2]` the contents, `[3]` what `getmetatable`
//! shows. Nothing that scripts reach hands the contents out.

use super::answer::{Fault, Values, fixed};
use super::library::Registration;
use super::native::{self, Guard};
use super::{LuaLink, Purpose, bits, convert, json, library, msgpack, random, server, structs};
use crate::libraries::FunctionSpec;
use crate::machine::Settings;
use mlua::{Function, Lua, RegistryKey, Table, Value};
use std::rc::Rc;

/// What of Lua's own globals scripts see, with the guard that some need.
const GLOBALS: &[(&str, Option<Guard>)] = &[
    ("_VERSION", None),
    ("assert", None),
    ("collectgarbage", None),
    ("error", None),
    ("gcinfo", None),
    ("getmetatable", Some(Guard::Metatable)),
    ("ipairs", None),
    ("next", Some(Guard::Read)),
    ("rawequal", None),
    ("rawget", Some(Guard::Read)),
    ("rawset", Some(Guard::Write)),
    ("select", None),
    ("setmetatable", Some(Guard::Write)),
    ("tonumber", None),
    ("tostring", None),
    ("type", None),
    ("unpack", None),
];

/// Functions of Lua's libraries that are guarded.
const GUARDS: &[(&str, &str, Guard)] = &[
    ("table", "insert", Guard::Write),
    ("table", "foreach", Guard::Read),
    ("string", "find", Guard::Pattern),
    ("string", "match", Guard::Pattern),
    ("string", "gmatch", Guard::Pattern),
    ("string", "gfind", Guard::Pattern),
    ("string", "gsub", Guard::Pattern),
    ("string", "rep", Guard::Repeat),
];

/// The globals of one machine.
pub(super) struct Sandbox {
    contents: Table,
    metatable: Table,
    loading: Option<(Table, Registration)>,
    /// Makes tables of errors.
    pub(super) error_handler: Function,
    deny: Function,
}

impl Sandbox {
    /// Builds them and puts them in place.
    pub(super) fn build(lua: &Lua, link: &Rc<LuaLink>, purpose: Purpose, settings: &Settings) -> mlua::Result<Self> {
        let error_handler = convert::error_handler(lua, link)?;
        let deny = fixed(lua, 3, |_, _| Err(Fault::text("Attempt to modify a readonly table")))?;
        let contents = lua.create_table()?;
        let metatable = read_only_metatable(lua, &contents, &deny)?;
        let mut sandbox = Self { contents, metatable, loading: None, error_handler, deny };
        sandbox.base(lua, link)?;
        sandbox.libraries(lua, link)?;
        let api = server::table(lua, link, purpose, settings)?;
        let api = sandbox.protect(lua, api)?;
        sandbox.contents.raw_set("redis", &api)?;
        sandbox.contents.raw_set("server", api)?;
        let missing = missing(lua)?;
        set_missing(lua, &sandbox.contents, &missing)?;
        match purpose {
            Purpose::Scripts => {
                sandbox.contents.raw_set("__redis__err__handler", &sandbox.error_handler)?;
                sandbox.contents.raw_set("KEYS", lua.create_table()?)?;
                sandbox.contents.raw_set("ARGV", lua.create_table()?)?;
            }
            Purpose::Functions => {
                let registration = Registration::default();
                let loading = lua.create_table()?;
                for name in ["redis", "server"] {
                    let api = library::table(lua, link, &registration, settings, name)?;
                    set_missing(lua, &api, &missing)?;
                    loading.raw_set(name, sandbox.protect(lua, api)?)?;
                }
                set_missing(lua, &loading, &missing)?;
                sandbox.loading = Some((loading, registration));
            }
        }
        let globals = lua.create_table()?;
        globals.set_metatable(Some(sandbox.metatable.clone()))?;
        let shown = lua.create_table()?;
        shown.raw_set("__index", missing)?;
        sandbox.metatable.raw_set(3, sandbox.protect(lua, shown)?)?;
        sandbox.contents.raw_set("_G", &globals)?;
        lua.set_globals(globals)?;
        Ok(sandbox)
    }

    /// Where the globals are, KEYS and ARGV of a script among them.
    pub(super) fn contents(&self) -> Table {
        self.contents.clone()
    }

    /// Runs `then` with the globals that a library sees while it is loaded.
    pub(super) fn loading<R>(&self, then: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
        let Some((loading, registration)) = &self.loading else { return then() };
        registration.begin();
        self.show(loading)?;
        let result = then();
        self.show(&self.contents)?;
        result
    }

    /// What has been registered since loading began.
    pub(super) fn take_registered(&self) -> Vec<(FunctionSpec, RegistryKey)> {
        self.loading.as_ref().map(|(_, registration)| registration.take()).unwrap_or_default()
    }

    fn show(&self, contents: &Table) -> mlua::Result<()> {
        self.metatable.raw_set("__index", contents)?;
        self.metatable.raw_set(2, contents)
    }

    /// An empty read-only table before `contents`.
    fn protect(&self, lua: &Lua, contents: Table) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.set_metatable(Some(read_only_metatable(lua, &contents, &self.deny)?))?;
        Ok(table)
    }

    fn base(&self, lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<()> {
        let globals = lua.globals();
        for (name, guard) in GLOBALS {
            let value: Value = globals.raw_get(*name)?;
            match guard {
                Some(guard) => self.contents.raw_set(*name, native::guarded(lua, value, *guard)?)?,
                None => self.contents.raw_set(*name, value)?,
            }
        }
        let next: Function = self.contents.raw_get("next")?;
        self.contents.raw_set("pairs", native::pairs(lua, globals.raw_get("next")?, next)?)?;
        self.contents.raw_set("pcall", native::pcall(lua)?)?;
        self.contents.raw_set("xpcall", native::xpcall(lua, link)?)?;
        self.contents.raw_set("loadstring", native::loadstring(lua)?)?;
        self.contents.raw_set("load", native::load(lua)?)
    }

    fn libraries(&self, lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<()> {
        let globals = lua.globals();
        for (library, name, guard) in GUARDS {
            let table: Table = globals.raw_get(*library)?;
            let original: Value = table.raw_get(*name)?;
            table.raw_set(*name, native::guarded(lua, original, *guard)?)?;
        }
        let coroutine: Table = globals.raw_get("coroutine")?;
        let [resume, wrap] = native::coroutines(lua, link, coroutine.raw_get("resume")?, coroutine.raw_get("wrap")?)?;
        coroutine.raw_set("resume", resume)?;
        coroutine.raw_set("wrap", wrap)?;
        let math: Table = globals.raw_get("math")?;
        random::install(lua, &math)?;
        let string: Table = globals.raw_get("string")?;
        let ours = [
            ("cjson", json::table(lua, link)?),
            ("cmsgpack", msgpack::table(lua, link)?),
            ("struct", structs::table(lua)?),
            ("bit", bits::table(lua)?),
            ("os", server::os_table(lua, link)?),
            ("coroutine", coroutine),
            ("math", math),
            ("string", string.clone()),
            ("table", globals.raw_get("table")?),
        ];
        for (name, table) in ours {
            self.contents.raw_set(name, self.protect(lua, table)?)?;
        }
        // Methods of strings are found directly; what `getmetatable("")` shows may be read only.
        let shown = lua.create_table()?;
        shown.raw_set("__index", self.contents.raw_get::<Table>("string")?)?;
        let metatable = lua.create_table()?;
        metatable.raw_set("__index", string)?;
        metatable.raw_set("__metatable", self.protect(lua, shown)?)?;
        lua.set_type_metatable::<mlua::String>(Some(metatable));
        Ok(())
    }
}

fn read_only_metatable(lua: &Lua, contents: &Table, deny: &Function) -> mlua::Result<Table> {
    let metatable = lua.create_table()?;
    native::mark_read_only(lua, &metatable)?;
    metatable.raw_set(2, contents)?;
    metatable.raw_set("__index", contents)?;
    metatable.raw_set("__newindex", deny)?;
    Ok(metatable)
}

/// What is not in `contents` is an error.
fn set_missing(lua: &Lua, contents: &Table, missing: &Function) -> mlua::Result<()> {
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", missing)?;
    contents.set_metatable(Some(metatable))
}

fn missing(lua: &Lua) -> mlua::Result<Function> {
    fixed(lua, 2, |_, given| -> Result<Values, Fault> {
        if given.count() != 2 {
            return Err(Fault::text("Wrong number of arguments to luaProtectedTableError"));
        }
        let Some(name) = super::answer::as_text(given.get(2)) else {
            return Err(Fault::text("Second argument to luaProtectedTableError must be a string or number"));
        };
        Err(Fault::Text([b"Script attempted to access nonexistent global variable '", &name[..], b"'"].concat()))
    })
}
