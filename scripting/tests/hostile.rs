//! Scripts that would harm the server: each ends with an error, in bounded memory, and the next script works.

mod support;

use std::sync::Arc;
use torc_scripting::libraries::Library;
use torc_scripting::{Exchange, GoOn, Host, Interpreters, Reply, Script, Settings, Step};

const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Answers with nothing, and lets a script go on for so many ticks.
struct Patience(usize);

impl Host for Patience {
    fn call(&mut self, exchange: &mut Exchange) {
        exchange.reply = b"+OK\r\n".to_vec();
    }

    fn tick(&mut self) -> GoOn {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                GoOn::Yes
            }
            None => GoOn::Kill("Script killed by user with SCRIPT KILL."),
        }
    }
}

fn interpreters() -> Interpreters {
    Interpreters::new(&Settings { memory_bytes_max: MEMORY_BYTES_MAX, ..Settings::default() })
}

fn script(source: &str) -> Arc<Script> {
    Arc::new(Script::new(source.as_bytes()).unwrap())
}

fn run(interpreters: &Interpreters, source: &str, patience: usize) -> Reply {
    interpreters.script(&script(source), [], []).unwrap().drive(&mut Patience(patience))
}

fn line(reply: &Reply) -> String {
    match reply {
        Reply::Error { line, .. } => String::from_utf8_lossy(line).into_owned(),
        other => format!("{other:?}").chars().take(200).collect(),
    }
}

/// Whether a reply is or holds an error.
fn errors(reply: &Reply) -> usize {
    match reply {
        Reply::Error { .. } => 1,
        Reply::Array(elements) | Reply::Map(elements) | Reply::Set(elements) => elements.iter().map(errors).sum(),
        _ => 0,
    }
}

#[test]
fn each_ends_with_an_error() {
    let table = [
        ("local function f() return f() + 1 end f()", "stack overflow"),
        ("local function f() return pcall(f) end f() error('end')", "end"),
        ("local function f() string.gsub('x', 'x', f) end f()", "stack overflow"),
        ("local function f() table.sort({1, 2}, f) end f()", "stack overflow"),
        ("local function f() coroutine.wrap(f)() end f()", "C stack overflow"),
        (
            "local function f() local ok, e = coroutine.resume(coroutine.create(f)) if not ok then error(e, 0) end end f()",
            "C stack overflow",
        ),
        (
            "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
            "stack overflow",
        ),
        ("local t = {} t = setmetatable(t, {__index = t}) return t.x", "loop in gettable"),
        ("local t = {} while true do t[#t + 1] = string.rep('x', 100000) .. #t end", "not enough memory"),
        ("return string.rep('x', 2^31 - 1)", "not enough memory"),
        ("local s = 'x' while true do s = s .. s end", "not enough memory"),
        ("local t = {} for i = 1, 1e9 do t[i] = i end", "not enough memory"),
        ("local t = {} while true do t[#t + 1] = coroutine.create(function() end) end", "not enough memory"),
        ("local t = {} for i = 1, 100 do t = {t, t} end return t", "not enough memory"),
        ("return cmsgpack.unpack('\\221\\255\\255\\255\\255' .. string.rep('\\192', 10))", "Missing bytes"),
        ("return cmsgpack.unpack(string.rep('\\145', 1000000))", "stack overflow"),
        ("return cjson.decode(string.rep('[', 1000000))", "too many nested"),
        ("cjson.decode_max_depth(2^30) return cjson.decode(string.rep('[', 1000000))", "too many nested"),
        (
            "cjson.encode_max_depth(2^30) local t = {} for i = 1, 100000 do t = {t} end return cjson.encode(t)",
            "excessive nesting",
        ),
        ("return string.find(string.rep('a', 300000), string.rep('a?', 300000) .. 'b')", "pattern too complex"),
        ("return struct.pack('c2147483647', 'x')", "not enough memory"),
        ("return struct.unpack(string.rep('b', 100000), string.rep('x', 100000))", "too many results"),
        ("return unpack({}, 1, 1e7)", "too many results"),
        ("return ('x'):rep(1e7):gsub('x', string.rep('y', 1e6))", "not enough memory"),
        ("return table.concat(setmetatable({}, {}), 'x', 1, 1e9)", "invalid value"),
        ("return loadstring('return ' .. string.rep('(', 100000))()", "attempt to call"),
        ("return loadstring(string.rep('x = 1 ', 1e6))() or error('end')", "readonly"),
        ("return load(function() return 'x = x ' end)() or error('end')", "attempt to call"),
        ("error(setmetatable({}, {__tostring = function() while true do end end}))", "ERR"),
        ("error({})", "ERR"),
        ("error({err = {}})", "ERR"),
        ("error(function() end)", "ERR"),
        ("return {err = string.rep('x', 1e6)}", "xxx"),
        ("while true do end", "killed"),
        ("while true do pcall(function() while true do end end) end", "killed"),
        ("while true do pcall(redis.call, 'x') end", "killed"),
        ("while true do redis.pcall('x') end", "killed"),
        ("while true do coroutine.wrap(function() while true do end end)() end", "killed"),
        ("while true do xpcall(function() while true do end end, function() while true do end end) end", "killed"),
        ("local f f = function() return pcall(f) end while true do f() end", "killed"),
        ("collectgarbage('stop') while true do local t = {} end", "not enough memory"),
        ("return string.rep('', 2^31 - 1) .. (1 + {})", "arithmetic"),
    ];
    let interpreters = interpreters();
    for (source, expected) in table {
        let reply = run(&interpreters, source, 300);
        assert!(matches!(reply, Reply::Error { .. }), "{source}: {}", line(&reply));
        assert!(line(&reply).contains(expected), "{source}: {}", line(&reply).chars().take(300).collect::<String>());
        assert_eq!(run(&interpreters, "return 1", 10), Reply::Integer(1), "after {source}");
        assert_eq!(
            run(&interpreters, "local t = {} for i = 1, 1000 do t[i] = tostring(i) end return #t", 10),
            Reply::Integer(1000),
            "after {source}"
        );
    }
}

#[test]
fn tables_without_end_end() {
    let interpreters = interpreters();
    for source in [
        "local t = {} t[1] = t return t",
        "local a = {} local b = {a} a[1] = b return a",
        "local t = {} for i = 1, 50000 do t = {t} end return t",
        "local t = {map = {}} t.map.x = t return t",
        "local t = {set = {}} t.set[t] = true return t",
    ] {
        let reply = run(&interpreters, source, 100);
        assert!(errors(&reply) > 0, "{source}");
    }
}

#[test]
fn nothing_is_left_for_the_next_script() {
    let interpreters = interpreters();
    for (source, look) in [
        ("KEYS.x = 1", "return KEYS.x"),
        ("KEYS[5] = 1", "return KEYS[5]"),
        ("rawset(KEYS, 'x', 1) setmetatable(KEYS, {__index = function() return 1 end})", "return KEYS.x"),
        ("pcall(rawset, _G, 'x', 1)", "return rawget(_G, 'x')"),
        ("pcall(table.insert, redis, 1)", "return redis[1]"),
        ("pcall(setmetatable, string, {})", "return string.x"),
        ("redis.setresp(3)", "return type(redis.call('x')) == 'boolean' or nil"),
        (
            "for _, t in pairs({redis, string, math, _G}) do local f, s = pairs(t) pcall(rawset, s, 'x', 1) end",
            "return redis.x or string.x or math.x or rawget(_G, 'x')",
        ),
        (
            "local m = getmetatable('') pcall(rawset, m, '__index', nil) pcall(function() m.__index.x = 1 end)",
            "return ('x').x",
        ),
    ] {
        run(&interpreters, source, 100);
        assert_eq!(run(&interpreters, look, 100), Reply::Null, "{source}");
    }
}

#[test]
fn a_memory_error_can_be_caught() {
    let reply = run(&interpreters(), "local ok, e = pcall(string.rep, 'x', 2^30) return {ok, e}", 100);
    assert_eq!(reply, Reply::Array(vec![Reply::Null, Reply::Bulk(b"not enough memory".to_vec())]));
}

#[test]
fn two_suspended_scripts_do_not_meet() {
    let interpreters = interpreters();
    let source =
        script("local sum = 0 for i = 1, 3 do sum = sum + redis.call('x', KEYS[1]) end return sum * tonumber(ARGV[1])");
    let mut runs: Vec<_> = (1..=5_i64)
        .map(|number| {
            let key = format!("key{number}");
            (number, interpreters.script(&source, [key.as_bytes()], [number.to_string().as_bytes()]).unwrap())
        })
        .collect();
    for _ in 0..3 {
        for (number, run) in &mut runs {
            assert!(matches!(run.step(), Step::Call));
            let mut exchange = run.exchange();
            assert_eq!(exchange.arguments.get(1), format!("key{number}").as_bytes());
            exchange.reply = format!(":{number}\r\n").into_bytes();
        }
    }
    for (number, run) in runs.iter_mut().rev() {
        assert!(matches!(run.step(), Step::Done(Reply::Integer(sum)) if sum == 3 * *number * *number));
    }
}

#[test]
fn a_dropped_run_leaves_nothing() {
    let interpreters = interpreters();
    for source in ["redis.call('x') while true do end", "while true do pcall(redis.call, 'x') end", "while true do end"]
    {
        for _ in 0..3 {
            let mut run = interpreters.script(&script(source), [], []).unwrap();
            assert!(!matches!(run.step(), Step::Done(_)));
            drop(run);
        }
        assert_eq!(run(&interpreters, "return 1", 10), Reply::Integer(1));
    }
    let never = interpreters.script(&script("return 1"), [], []).unwrap();
    drop(never);
}

#[test]
fn suspended_runs_have_a_bound() {
    let interpreters = interpreters();
    let source = script("redis.call('x') return 1");
    let mut runs = Vec::new();
    let refusal = loop {
        match interpreters.script(&source, [], []) {
            Ok(mut run) => {
                assert!(matches!(run.step(), Step::Call));
                runs.push(run);
            }
            Err(refusal) => break refusal,
        }
        assert!(runs.len() < 10_000);
    };
    assert!(line(&refusal.reply()).starts_with("BUSY"));
    runs.pop();
    assert!(interpreters.script(&source, [], []).is_ok());
}

#[test]
fn javascript_is_bounded_too() {
    let interpreters = interpreters();
    for (body, expected) in [
        ("while (true) {}", "killed"),
        ("while (true) { try { while (true) {} } catch (e) {} }", "killed"),
        ("for (;;) { try { client.call('x') } catch (e) {} }", "killed"),
        ("const f = () => f(); f()", "stack"),
        ("const a = []; for (;;) a.push('x'.repeat(100000) + a.length)", "memory"),
        ("return 'x'.repeat(2 ** 29)", "ERR"),
        ("const a = []; a[0] = a; return a", "nested"),
        ("const a = {}; a.a = a; return a", "nested"),
        ("let a = [1]; for (let i = 0; i < 60; i++) a = [a, a]; return a", "too large"),
        ("return /^(a+)+$/.test('a'.repeat(40) + 'b') + nosuch", "ERR"),
        ("return JSON.parse('['.repeat(1000000))", "ERR"),
        ("return new Array(2 ** 32 - 1).fill(0)", "ERR"),
        ("throw {toString() { while (true) {} }}", "ERR"),
        ("return (async () => { for (;;) await null })()", "killed"),
        ("return new Proxy({}, {ownKeys() { while (true) {} }})", "killed"),
        ("client.call({toString() { while (true) {} }})", "must be strings"),
        ("const f = async () => { await null; return f() }; return f()", "ERR"),
    ] {
        let code = format!("#!js name=a\nredis.registerFunction('f', (client) => {{ {body} }})");
        let library = Arc::new(Library::parse(code.as_bytes()).unwrap());
        interpreters.load(&library, &mut Patience(100)).unwrap();
        let reply = interpreters.function(&library, "f", [], []).unwrap().drive(&mut Patience(300));
        assert!(matches!(reply, Reply::Error { .. }), "{body}: {}", line(&reply));
        assert!(line(&reply).contains(expected), "{body}: {}", line(&reply));
    }
}
