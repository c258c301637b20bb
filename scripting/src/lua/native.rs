//! The few functions that must speak Lua's C interface themselves: those that raise values other than texts, that take
//! more arguments than references can be held to, or that must not grow the stack.
//!
//! ```text
//!   script ──> fixed / packed / command ──lua_call──> a safe function of ours: (tag, values ...)
//!                        │ <───────────────────────────────┘
//!                        └─ returns the values, or raises: a value as it is, a text with its place, a bad argument
//! ```
//!
//! Rules that make it sound:
//! - These functions own nothing that would need dropping when Lua raises (it jumps over them with `longjmp`): what they
//!   borrow, they give back before the first call that may raise.
//! - Only Lua calls them, with a valid state and with the upvalues that `Natives` gives them.

#![allow(unsafe_code)]

use super::{LuaLink, number};
use crate::exchange::{LogLevel, Request};
use crate::fiber::Verdict;
use mlua::ffi::{self, lua_State, lua_upvalueindex};
use mlua::{Function, IntoLua, LightUserData, Lua, Table, Value};
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;

/// How a safe function's first result says what is to be done with the others.
pub(super) mod tag {
    /// They are the results.
    pub(in super::super) const RETURN: i32 = 0;
    /// A table and how many results are in it.
    pub(in super::super) const SPREAD: i32 = 1;
    /// A value to be raised.
    pub(in super::super) const RAISE: i32 = 2;
    /// A text to be raised with the place of the caller.
    pub(in super::super) const ERROR: i32 = 3;
    /// Number of an argument and what is wrong with it.
    pub(in super::super) const ARGUMENT: i32 = 4;
}

/// Patterns longer than this are refused: the matcher recurses once for each of its items.
const PATTERN_BYTES_MAX: usize = 8 * 1024;

/// Marks the metatables of tables that may be read only.
static READ_ONLY: u8 = 0;

type Body = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

/// Makes a closure of a native function.
fn closure<const N: usize>(lua: &Lua, body: Body, upvalues: [Value; N]) -> mlua::Result<Function> {
    // SAFETY: the closure pushes one value, a function with the upvalues that were pushed before; mlua has made room.
    unsafe {
        lua.exec_raw(mlua::MultiValue::from_iter(upvalues), |state| ffi::lua_pushcclosure(state, body, N as c_int))
    }
}

/// A function of ours that takes up to `arguments_max` arguments, and one more so that it can count them.
pub(super) fn fixed(lua: &Lua, body: Function, arguments_max: usize) -> mlua::Result<Function> {
    closure(lua, call_fixed, [Value::Function(body), Value::Integer(arguments_max as _)])
}

/// A function of ours that gets all its arguments in a table, and their number.
pub(super) fn packed(lua: &Lua, body: Function) -> mlua::Result<Function> {
    closure(lua, call_packed, [Value::Function(body)])
}

/// `redis.call`, `redis.pcall` or `redis.acl_check_cmd`; `reader` makes a value of the reply.
pub(super) fn command(lua: &Lua, link: &Rc<LuaLink>, reader: Function, kind: Ask) -> mlua::Result<Function> {
    let link = LightUserData(Rc::as_ptr(link).cast_mut().cast::<c_void>());
    closure(lua, ask, [Value::LightUserData(link), Value::Function(reader), Value::Integer(kind as _)])
}

/// Which of the functions that ask the shard.
#[derive(Clone, Copy)]
pub(super) enum Ask {
    /// Raises errors.
    Call = 0,
    /// Returns them.
    ProtectedCall = 1,
    /// Asks for permission.
    AclCheck = 2,
}

/// A guard around a function of Lua's own.
#[derive(Clone, Copy)]
pub(super) enum Guard {
    /// Refuses a read-only table as the first argument.
    Write,
    /// Looks through a read-only table that is the first argument.
    Read,
    /// Shows of a read-only table's metatable what may be seen.
    Metatable,
    /// Refuses long patterns.
    Pattern,
    /// Of nothing any number is nothing.
    Repeat,
}

/// `original`, guarded.
pub(super) fn guarded(lua: &Lua, original: Value, guard: Guard) -> mlua::Result<Function> {
    let body: Body = match guard {
        Guard::Write => guard_write,
        Guard::Read => guard_read,
        Guard::Metatable => guard_metatable,
        Guard::Pattern => guard_pattern,
        Guard::Repeat => guard_repeat,
    };
    closure(lua, body, [original])
}

/// `pairs`, which walks read-only tables without handing them out; `next` is Lua's own, `guarded` ours.
pub(super) fn pairs(lua: &Lua, next: Value, guarded: Function) -> mlua::Result<Function> {
    closure(lua, guard_pairs, [next, Value::Function(guarded)])
}

/// `coroutine.resume` and `coroutine.wrap` that stop before the stack ends.
pub(super) fn coroutines(lua: &Lua, link: &Rc<LuaLink>, resume: Value, wrap: Value) -> mlua::Result<[Function; 2]> {
    let link = Value::LightUserData(LightUserData(Rc::as_ptr(link).cast_mut().cast::<c_void>()));
    Ok([closure(lua, resume_guarded, [link.clone(), resume])?, closure(lua, wrap_guarded, [link, wrap])?])
}

/// `loadstring` for texts only: what looks like compiled code is read as text, and refused by the parser.
pub(super) fn loadstring(lua: &Lua) -> mlua::Result<Function> {
    closure(lua, load_text, [])
}

/// `load` for texts only.
pub(super) fn load(lua: &Lua) -> mlua::Result<Function> {
    closure(lua, load_pieces, [])
}

/// `pcall`, which gives the text of an error that is a table.
pub(super) fn pcall(lua: &Lua) -> mlua::Result<Function> {
    closure(lua, protected_call, [])
}

/// `xpcall` whose handler is not asked about the end of a killed script: no hook runs while an error that a hook has raised
/// is handled, so a handler that loops could not be stopped.
pub(super) fn xpcall(lua: &Lua, link: &Rc<LuaLink>) -> mlua::Result<Function> {
    let link = LightUserData(Rc::as_ptr(link).cast_mut().cast::<c_void>());
    closure(lua, handled_call, [Value::LightUserData(link)])
}

/// Calls its first argument with the others: `(true, value)`, or `(false, what the error handler made of it)`.
pub(super) fn runner(lua: &Lua, handler: Function) -> mlua::Result<Function> {
    closure(lua, run, [Value::Function(handler)])
}

/// Runs the script of a number among the compiled ones, with the exchange's inputs as KEYS and ARGV among the globals'
/// contents; its result is that of [`runner`].
pub(super) fn script_runner(
    lua: &Lua,
    link: &Rc<LuaLink>,
    handler: Function,
    compiled: Table,
    contents: Table,
) -> mlua::Result<Function> {
    let link = Value::LightUserData(LightUserData(Rc::as_ptr(link).cast_mut().cast::<c_void>()));
    let [keys, arguments] = [lua.create_string("KEYS")?, lua.create_string("ARGV")?].map(Value::String);
    let [compiled, contents] = [compiled, contents].map(Value::Table);
    closure(lua, run_script, [link, Value::Function(handler), compiled, contents, keys, arguments])
}

/// Marks a metatable as that of a read-only table.
pub(super) fn mark_read_only(lua: &Lua, metatable: &mlua::Table) -> mlua::Result<()> {
    metatable.raw_set(1, LightUserData((&raw const READ_ONLY).cast_mut().cast::<c_void>()).into_lua(lua)?)
}

// SAFETY of the functions below: `state` is valid, as only Lua calls them; upvalues are those of the constructors above.
// Each function gets 20 free slots from Lua. Nothing that needs dropping is alive across a call that may raise.

unsafe extern "C-unwind" fn call_fixed(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the first upvalue is a function, the second a number.
    unsafe {
        let arguments_max = ffi::lua_tointeger(state, lua_upvalueindex(2)) as c_int;
        if ffi::lua_gettop(state) > arguments_max + 1 {
            ffi::lua_settop(state, arguments_max + 1);
        }
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, ffi::lua_gettop(state) - 1, ffi::LUA_MULTRET);
        finish(state)
    }
}

unsafe extern "C-unwind" fn call_packed(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the first upvalue is a function.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::lua_createtable(state, count, 0);
        if count > 0 {
            ffi::lua_insert(state, 1);
        }
        for at in (1..=count).rev() {
            ffi::lua_rawseti(state, 1, at as _);
        }
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_pushinteger(state, count as _);
        ffi::lua_call(state, 2, ffi::LUA_MULTRET);
        finish(state)
    }
}

/// Does what the tag at the bottom of the stack says.
unsafe fn finish(state: *mut lua_State) -> c_int {
    // SAFETY: the stack holds what a safe function of ours returned: a tag and what belongs to it.
    unsafe {
        match ffi::lua_tointeger(state, 1) as i32 {
            tag::RETURN => {
                ffi::lua_remove(state, 1);
                ffi::lua_gettop(state)
            }
            tag::SPREAD => {
                let count = ffi::lua_tointeger(state, 3) as c_int;
                ffi::luaL_checkstack(state, count, c"too many results to unpack".as_ptr());
                for at in 1..=count {
                    ffi::lua_rawgeti_(state, 2, at);
                }
                count
            }
            tag::RAISE => {
                ffi::lua_settop(state, 2);
                ffi::lua_error(state)
            }
            tag::ARGUMENT => {
                let number = ffi::lua_tointeger(state, 2) as c_int;
                ffi::luaL_argerror(state, number, ffi::lua_tolstring(state, 3, std::ptr::null_mut()))
            }
            _ => {
                ffi::luaL_where(state, 1);
                ffi::lua_pushvalue(state, 2);
                ffi::lua_concat(state, 2);
                ffi::lua_error(state)
            }
        }
    }
}

/// The link of a function whose first upvalue it is.
unsafe fn link_of<'a>(state: *mut lua_State) -> &'a LuaLink {
    // SAFETY: the machine keeps its link alive until its state is closed, and the upvalue is that link.
    unsafe { &*ffi::lua_touserdata(state, lua_upvalueindex(1)).cast::<LuaLink>() }
}

/// What is wrong with the arguments of a call.
const NO_ARGUMENTS: &std::ffi::CStr = c"ERR Please specify at least one argument for this redis lib call";
const BAD_ARGUMENTS: &std::ffi::CStr = c"ERR Lua redis lib command arguments must be strings or integers";

unsafe extern "C-unwind" fn ask(state: *mut lua_State) -> c_int {
    // SAFETY: see above; upvalues are the link, the reader of replies, and which function this is.
    unsafe {
        let link = link_of(state);
        let kind = ffi::lua_tointeger(state, lua_upvalueindex(3)) as i32;
        let request = if kind == Ask::AclCheck as i32 { Request::AclCheck } else { Request::Command };
        if let Some(problem) = gather(state, link, request) {
            ffi::lua_settop(state, 0);
            ffi::lua_createtable(state, 0, 1);
            ffi::lua_pushstring(state, problem.as_ptr());
            ffi::lua_setfield(state, -2, c"err".as_ptr());
            return if kind == Ask::ProtectedCall as i32 { 1 } else { ffi::lua_error(state) };
        }
        ffi::lua_settop(state, 0);
        if let Verdict::Kill(_) = link.call() {
            ffi::lua_pushboolean(state, 0);
            ffi::lua_error(state)
        }
        match short_reply(link) {
            Some(Short::Integer(integer)) => {
                ffi::lua_pushnumber(state, integer);
                return 1;
            }
            Some(Short::Nil) => {
                ffi::lua_pushboolean(state, 0);
                return 1;
            }
            Some(Short::Bulk(text, length)) => {
                ffi::lua_pushlstring_(state, text, length);
                return 1;
            }
            Some(Short::Status(text, length)) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_pushlstring_(state, text, length);
                ffi::lua_setfield(state, -2, c"ok".as_ptr());
                return 1;
            }
            None => {}
        }
        ffi::lua_pushvalue(state, lua_upvalueindex(2));
        ffi::lua_call(state, 0, 2);
        let is_error = ffi::lua_tointeger(state, 1) as i32 == tag::RAISE;
        if is_error && kind != Ask::ProtectedCall as i32 {
            ffi::lua_error(state)
        }
        1
    }
}

/// Copies the arguments on the stack into the exchange. Nothing in here raises.
unsafe fn gather(state: *mut lua_State, link: &LuaLink, request: Request) -> Option<&'static std::ffi::CStr> {
    let mut exchange = link.exchange.borrow_mut();
    exchange.request = request;
    exchange.arguments.clear();
    // SAFETY: only types and values of arguments that exist are read; strings are read where they are, and stay on the
    // stack meanwhile; numbers are not converted in place.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count == 0 {
            return Some(NO_ARGUMENTS);
        }
        for at in 1..=count {
            match ffi::lua_type(state, at) {
                ffi::LUA_TSTRING => {
                    let mut length = 0;
                    let text = ffi::lua_tolstring(state, at, &raw mut length).cast::<u8>();
                    exchange.arguments.push(std::slice::from_raw_parts(text, length));
                }
                ffi::LUA_TNUMBER => {
                    number::with_text(ffi::lua_tonumber(state, at), |text| exchange.arguments.push(text))
                }
                _ => return Some(BAD_ARGUMENTS),
            }
        }
    }
    None
}

/// A reply without others in it, which is what most calls get. Texts stay where they are, in the exchange, which nobody
/// touches before the script asks something again.
enum Short {
    Integer(f64),
    Nil,
    Bulk(*const c_char, usize),
    Status(*const c_char, usize),
}

fn short_reply(link: &LuaLink) -> Option<Short> {
    let exchange = link.exchange.borrow();
    let (kind, rest) = exchange.reply.split_first()?;
    let line = rest.strip_suffix(b"\r\n")?;
    if exchange.request == Request::AclCheck {
        return None;
    }
    let text = |bytes: &[u8]| (bytes.as_ptr().cast::<c_char>(), bytes.len());
    match kind {
        b':' if line.len() <= 15 => Some(Short::Integer(whole(line) as f64)),
        b'$' if line == b"-1" => Some(Short::Nil),
        b'$' => {
            let end = line.iter().take(16).position(|byte| *byte == b'\r')?;
            let body = line.get(end + 2..)?;
            let (body, length) = text(body);
            (whole(&line[..end]) == length as i64).then_some(Short::Bulk(body, length))
        }
        b'+' => {
            let (line, length) = text(line);
            Some(Short::Status(line, length))
        }
        _ => None,
    }
}

/// The number that a line of at most fifteen digits is.
fn whole(line: &[u8]) -> i64 {
    let (is_negative, digits) = line.strip_prefix(b"-").map_or((false, line), |digits| (true, digits));
    let value = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit.wrapping_sub(b'0')));
    if is_negative { -value } else { value }
}

unsafe extern "C-unwind" fn protected_call(state: *mut lua_State) -> c_int {
    // SAFETY: see above.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        // Without arguments there is nothing to call but the place holder, which Lua says in its own words.
        if ffi::lua_pcall(state, (count - 1).max(0), ffi::LUA_MULTRET, 0) != ffi::LUA_OK {
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                ffi::lua_pushstring(state, c"err".as_ptr());
                ffi::lua_rawget_(state, -2);
                if ffi::lua_isstring(state, -1) != 0 {
                    ffi::lua_replace(state, -2);
                } else {
                    ffi::lua_settop(state, -2);
                }
            }
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, -2);
            return 2;
        }
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn handled_call(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the upvalue is the link.
    unsafe {
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 2);
        ffi::lua_pushcclosure(state, handle, 2);
        ffi::lua_insert(state, 1);
        let status = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 1);
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn handle(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the upvalues are the link and the handler, the argument is the error.
    unsafe {
        if link_of(state).killed().is_none() {
            ffi::lua_pushvalue(state, lua_upvalueindex(2));
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, 1, 1);
        }
        1
    }
}

unsafe extern "C-unwind" fn run(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the upvalue is the error handler, the first argument what is to run.
    unsafe {
        let count = ffi::lua_gettop(state);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        let status = ffi::lua_pcall(state, count - 1, 1, 1);
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_insert(state, -2);
        2
    }
}

unsafe extern "C-unwind" fn run_script(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the upvalues are the link, the error handler, two tables and two texts, the argument a number.
    unsafe {
        let (link, number) = (link_of(state), ffi::lua_tointeger(state, 1));
        let (keys, all) = {
            let exchange = link.exchange.borrow();
            (exchange.keys, exchange.inputs.len())
        };
        ffi::lua_settop(state, 0);
        for (name, range) in [(5, 0..keys), (6, keys..all)] {
            ffi::lua_pushvalue(state, lua_upvalueindex(name));
            push_inputs(state, link, range);
            ffi::lua_rawset(state, lua_upvalueindex(4));
        }
        ffi::lua_pushvalue(state, lua_upvalueindex(2));
        ffi::lua_rawgeti_(state, lua_upvalueindex(3), number as c_int);
        let status = ffi::lua_pcall(state, 0, 1, 1);
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_insert(state, -2);
        2
    }
}

/// A list of some of the exchange's inputs, which nobody touches while a run begins.
unsafe fn push_inputs(state: *mut lua_State, link: &LuaLink, range: std::ops::Range<usize>) {
    // SAFETY: see above; no borrow is held while Lua may raise.
    unsafe {
        ffi::lua_createtable(state, range.len() as c_int, 0);
        for (place, at) in range.enumerate() {
            let (text, length) = {
                let exchange = link.exchange.borrow();
                let input = exchange.inputs.get(at);
                (input.as_ptr().cast::<c_char>(), input.len())
            };
            ffi::lua_pushlstring_(state, text, length);
            ffi::lua_rawseti_(state, -2, (place + 1) as c_int);
        }
    }
}

/// Whether the value at `index` is a read-only table; if so, its metatable's table of contents is pushed.
unsafe fn push_contents(state: *mut lua_State, index: c_int) -> bool {
    // SAFETY: see above; the stack is left as it was unless the answer is yes.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE || ffi::lua_getmetatable(state, index) == 0 {
            return false;
        }
        ffi::lua_rawgeti_(state, -1, 1);
        let mark = ffi::lua_touserdata(state, -1);
        if !std::ptr::eq(mark.cast::<u8>(), &raw const READ_ONLY) {
            ffi::lua_settop(state, -3);
            return false;
        }
        ffi::lua_rawgeti_(state, -2, 2);
        ffi::lua_insert(state, -3);
        ffi::lua_settop(state, -3);
        true
    }
}

/// Goes on in the original, in this very frame: errors name the caller and the name that it used.
unsafe fn original(state: *mut lua_State, upvalue: c_int) -> c_int {
    // SAFETY: the upvalue is a function of Lua's own library that has no upvalues itself.
    unsafe {
        match ffi::lua_tocfunction(state, lua_upvalueindex(upvalue)) {
            Some(body) => body(state),
            None => 0,
        }
    }
}

unsafe extern "C-unwind" fn guard_write(state: *mut lua_State) -> c_int {
    // SAFETY: see above.
    unsafe {
        if push_contents(state, 1) {
            ffi::lua_pushstring(state, c"Attempt to modify a readonly table".as_ptr());
            ffi::lua_error(state)
        }
        original(state, 1)
    }
}

unsafe extern "C-unwind" fn guard_read(state: *mut lua_State) -> c_int {
    // SAFETY: see above.
    unsafe {
        if push_contents(state, 1) {
            ffi::lua_replace(state, 1);
        }
        original(state, 1)
    }
}

unsafe extern "C-unwind" fn guard_metatable(state: *mut lua_State) -> c_int {
    // SAFETY: see above.
    unsafe {
        if push_contents(state, 1) {
            ffi::lua_getmetatable(state, 1);
            ffi::lua_rawgeti_(state, -1, 3);
            return 1;
        }
        original(state, 1)
    }
}

unsafe extern "C-unwind" fn guard_pattern(state: *mut lua_State) -> c_int {
    // SAFETY: see above; only the length of a string is read.
    unsafe {
        if ffi::lua_type(state, 2) == ffi::LUA_TSTRING && ffi::lua_objlen(state, 2) > PATTERN_BYTES_MAX {
            ffi::luaL_error(state, c"pattern too complex".as_ptr());
        }
        original(state, 1)
    }
}

unsafe extern "C-unwind" fn guard_repeat(state: *mut lua_State) -> c_int {
    // SAFETY: see above.
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TSTRING && ffi::lua_objlen(state, 1) == 0 {
            ffi::lua_settop(state, 1);
            return 1;
        }
        original(state, 1)
    }
}

unsafe extern "C-unwind" fn guard_pairs(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the upvalues are the plain `next` and the guarded one.
    unsafe {
        if push_contents(state, 1) {
            ffi::lua_settop(state, 1);
            ffi::lua_pushvalue(state, lua_upvalueindex(2));
            ffi::lua_insert(state, 1);
            ffi::lua_pushnil(state);
            return 3;
        }
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

unsafe fn check_depth(state: *mut lua_State) {
    // SAFETY: see above; the first upvalue is the link.
    unsafe {
        if link_of(state).is_stack_low() {
            ffi::luaL_error(state, c"C stack overflow".as_ptr());
        }
    }
}

unsafe extern "C-unwind" fn resume_guarded(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the second upvalue is `coroutine.resume`, which has no upvalues.
    unsafe {
        check_depth(state);
        original(state, 2)
    }
}

unsafe extern "C-unwind" fn wrap_guarded(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the second upvalue is `coroutine.wrap`. What it makes has the coroutine as its one upvalue and
    // looks for it at the first place: so it is at the first place of what we return, too.
    unsafe {
        original(state, 2);
        ffi::lua_getupvalue(state, -1, 1);
        ffi::lua_insert(state, -2);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_pushcclosure(state, wrapped, 3);
        1
    }
}

unsafe extern "C-unwind" fn wrapped(state: *mut lua_State) -> c_int {
    // SAFETY: see above; upvalues are the coroutine, the function that resumes it, and the link.
    unsafe {
        let link = &*ffi::lua_touserdata(state, lua_upvalueindex(3)).cast::<LuaLink>();
        if link.is_stack_low() {
            ffi::luaL_error(state, c"C stack overflow".as_ptr());
        }
        original(state, 2)
    }
}

unsafe extern "C-unwind" fn load_text(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the text stays on the stack while it is read.
    unsafe {
        let mut length = 0;
        let text = ffi::luaL_checklstring(state, 1, &raw mut length);
        let name = ffi::luaL_optlstring(state, 2, text, std::ptr::null_mut());
        let mut code = text;
        if length > 0 && *text.cast::<u8>() == 27 {
            ffi::lua_pushstring(state, c" ".as_ptr());
            ffi::lua_pushvalue(state, 1);
            ffi::lua_concat(state, 2);
            code = ffi::lua_tolstring(state, -1, &raw mut length);
        }
        if ffi::luaL_loadbuffer(state, code, length, name) == ffi::LUA_OK {
            return 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_insert(state, -2);
        2
    }
}

/// How far the reader of [`load_pieces`] is.
struct Pieces {
    is_first: bool,
    is_held_back: bool,
}

unsafe extern "C-unwind" fn load_pieces(state: *mut lua_State) -> c_int {
    // SAFETY: see above; the reader is called during the call of `lua_load` only, while `pieces` is alive.
    unsafe {
        let name = ffi::luaL_optlstring(state, 2, c"=(load)".as_ptr(), std::ptr::null_mut());
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(state, 3);
        let mut pieces = Pieces { is_first: true, is_held_back: false };
        if ffi::lua_load(state, next_piece, (&raw mut pieces).cast::<c_void>(), name) == ffi::LUA_OK {
            return 1;
        }
        ffi::lua_pushnil(state);
        ffi::lua_insert(state, -2);
        2
    }
}

/// Asks the function at the bottom of the stack for a piece, and keeps it at the third place.
unsafe extern "C-unwind" fn next_piece(state: *mut lua_State, data: *mut c_void, length: *mut usize) -> *const c_char {
    // SAFETY: called by `load_pieces` alone, with its stack and its `Pieces`; `length` is a place to write to.
    unsafe {
        let pieces = &mut *data.cast::<Pieces>();
        if pieces.is_held_back {
            pieces.is_held_back = false;
            return ffi::lua_tolstring(state, 3, length);
        }
        ffi::luaL_checkstack(state, 2, c"too many nested functions".as_ptr());
        ffi::lua_pushvalue(state, 1);
        ffi::lua_call(state, 0, 1);
        if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
            *length = 0;
            return std::ptr::null();
        }
        if ffi::lua_isstring(state, -1) == 0 {
            ffi::luaL_error(state, c"reader function must return a string".as_ptr());
        }
        ffi::lua_replace(state, 3);
        let piece = ffi::lua_tolstring(state, 3, length);
        if std::mem::take(&mut pieces.is_first) && *length > 0 && *piece.cast::<u8>() == 27 {
            pieces.is_held_back = true;
            *length = 1;
            return c" ".as_ptr();
        }
        piece
    }
}

/// The level of `redis.log` that a number means.
pub(super) fn log_level(level: i64) -> Option<LogLevel> {
    [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning].get(usize::try_from(level).ok()?).copied()
}
