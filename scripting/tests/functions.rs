//! Libraries on a real server and here: the same code, the same answers; and JavaScript, which only we have.

mod support;

use std::sync::Arc;
use support::{Forwarding, Server, encode};
use torc_scripting::libraries::{Library, Policy, Registry};
use torc_scripting::{GoOn, Host, Interpreters, Protocol, Reply, Settings};

/// Libraries as a server keeps them.
struct Functions {
    interpreters: Interpreters,
    registry: Registry,
}

impl Functions {
    fn new() -> Self {
        Self { interpreters: Interpreters::new(&Settings::default()), registry: Registry::default() }
    }

    fn load(&mut self, code: &str, is_replacing: bool, host: &mut dyn Host) -> Result<String, String> {
        let line = |line: Vec<u8>| String::from_utf8(line).unwrap();
        let library = Arc::new(Library::parse(code.as_bytes()).map_err(line)?);
        self.registry.check_name(&library.name, is_replacing).map_err(line)?;
        self.interpreters.load(&library, host).map_err(line)?;
        self.registry = self.registry.with(&library).map_err(line)?;
        Ok(library.name.to_string())
    }

    fn call(&self, name: &str, inputs: &[&str], keys: usize, host: &mut dyn Host) -> Reply {
        let Some((library, _)) = self.registry.function(name.as_bytes()) else {
            return Reply::error("ERR Function not found");
        };
        let inputs = inputs.iter().map(|input| input.as_bytes());
        let run = self.interpreters.function(library, name, inputs.clone().take(keys), inputs.skip(keys)).unwrap();
        run.drive(host)
    }
}

fn text(result: Result<String, String>) -> Vec<u8> {
    match result {
        Ok(name) => format!("${}\r\n{name}\r\n", name.len()).into_bytes(),
        Err(line) => format!("-{line}\r\n").into_bytes(),
    }
}

/// A host without a server: it counts what it is asked, and answers with nothing.
struct Alone {
    ticks: usize,
    ticks_max: usize,
    calls: Vec<Vec<Vec<u8>>>,
    reply: Vec<u8>,
}

impl Default for Alone {
    fn default() -> Self {
        Self { ticks: 0, ticks_max: 100, calls: Vec::new(), reply: Vec::new() }
    }
}

impl Host for Alone {
    fn call(&mut self, exchange: &mut torc_scripting::Exchange) {
        self.calls.push(exchange.arguments.iter().map(<[u8]>::to_vec).collect());
        exchange.reply = if self.reply.is_empty() { b"_\r\n".to_vec() } else { self.reply.clone() };
    }

    fn tick(&mut self) -> GoOn {
        self.ticks += 1;
        if self.ticks > self.ticks_max { GoOn::Kill("FUNCTION LOAD timeout") } else { GoOn::Yes }
    }
}

#[test]
fn loading_is_as_on_the_real_server() {
    let Some(server) = Server::start() else { return };
    let mut theirs = server.connect();
    let mut host = Forwarding::new(&server);
    let mut ours = Functions::new();
    let mut differences = Vec::new();
    for code in include_str!("scripts/libraries.txt").split("\n----\n") {
        let expected = theirs.say(&["FUNCTION", "LOAD", "REPLACE", code]);
        let found = text(ours.load(code, true, &mut host));
        if found != expected {
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            differences.push(format!("{code}\n  theirs {}\n  ours   {}", show(&expected), show(&found)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn calling_is_as_on_the_real_server() {
    const CODE: &str = include_str!("scripts/functions.lua");
    let Some(server) = Server::start() else { return };
    let mut host = Forwarding::new(&server);
    let mut ours = Functions::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut theirs = server.connect();
        if protocol == Protocol::Resp3 {
            theirs.say(&["HELLO", "3"]);
        }
        theirs.say(&["FUNCTION", "LOAD", "REPLACE", CODE]);
        ours.load(CODE, true, &mut host).unwrap();
        let names: Vec<String> =
            ours.registry.library(b"all").unwrap().functions().iter().map(|spec| spec.name.to_string()).collect();
        assert!(names.len() > 20, "{}", names.len());
        for name in names {
            theirs.say(&["FLUSHALL"]);
            let expected = theirs.say(&["FCALL", &name, "1", "key", "argument", "7"]);
            theirs.say(&["FLUSHALL"]);
            let mut found = Vec::new();
            encode(&ours.call(&name, &["key", "argument", "7"], 1, &mut host), protocol, &mut found);
            assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "{name}");
        }
    }
}

#[test]
fn restoring_loads_and_joins() {
    let mut ours = Functions::new();
    ours.load("#!lua name=a\nredis.register_function('f', function() return 1 end)", false, &mut Alone::default())
        .unwrap();
    ours.load("#!js name=b\nredis.registerFunction('g', () => 2)", false, &mut Alone::default()).unwrap();
    let mut other = Functions::new();
    for library in ours.registry.libraries() {
        other.load(std::str::from_utf8(&library.code).unwrap(), false, &mut Alone::default()).unwrap();
    }
    assert_eq!(other.call("f", &[], 0, &mut Alone::default()), Reply::Integer(1));
    assert_eq!(other.call("g", &[], 0, &mut Alone::default()), Reply::Integer(2));
    assert!(other.registry.joined(&ours.registry, Policy::Append).is_err());
}

#[test]
fn a_library_that_never_ends_is_stopped_while_loading() {
    for (code, begin) in [
        ("#!lua name=a\nwhile true do end", "ERR Error registering functions: ERR FUNCTION LOAD timeout"),
        ("#!js name=a\nwhile (true) {}", "ERR Error registering functions: ERR FUNCTION LOAD timeout"),
    ] {
        let mut functions = Functions::new();
        let mut host = Alone { ticks_max: 3, ..Alone::default() };
        assert_eq!(functions.load(code, false, &mut host).unwrap_err(), begin);
        assert!(
            functions
                .load("#!lua name=b\nredis.register_function('f', function() return 1 end)", false, &mut host)
                .is_ok()
        );
    }
}

#[test]
fn a_replaced_library_is_loaded_anew() {
    let mut functions = Functions::new();
    for engine in ["lua", "js"] {
        for number in 1..5 {
            let code = match engine {
                "lua" => format!("#!lua name=a\nredis.register_function('f', function() return {number} end)"),
                _ => format!("#!js name=a\nredis.registerFunction('f', () => {number})"),
            };
            functions.load(&code, true, &mut Alone::default()).unwrap();
            assert_eq!(functions.call("f", &[], 0, &mut Alone::default()), Reply::Integer(number));
        }
    }
    functions.interpreters.flush_functions();
    assert_eq!(functions.call("f", &[], 0, &mut Alone::default()), Reply::Integer(4), "loaded again when called");
}

#[test]
fn the_counter_in_javascript() {
    const CODE: &str = "#!js name=mylib\nredis.registerFunction('atomic_counter_expire', function(client, key, increment, ttl) { let current = client.call('GET', key) || '0'; let newValue = parseInt(current) + parseInt(increment); client.call('SETEX', key, ttl, newValue.toString()); return newValue; });";
    let mut functions = Functions::new();
    assert_eq!(functions.load(CODE, false, &mut Alone::default()).unwrap(), "mylib");
    let mut host = Alone::default();
    let reply = functions.call("atomic_counter_expire", &["user:1001:requests", "1", "3600"], 1, &mut host);
    assert_eq!(reply, Reply::Integer(1));
    let calls: Vec<String> = host
        .calls
        .iter()
        .map(|call| call.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(calls, ["GET user:1001:requests", "SETEX user:1001:requests 3600 1"]);
}

#[test]
fn javascript_values_and_replies() {
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let error = |line: &str| Reply::Error { line: line.into(), is_counted: false };
    let table: Vec<(&str, &str, Reply)> = vec![
        ("return 1", "", Reply::Integer(1)),
        ("return -1.5", "", Reply::Double(-1.5)),
        ("return 12345678901234567890n", "", Reply::BigNumber(b"12345678901234567890".to_vec())),
        ("return 5n", "", Reply::Integer(5)),
        ("return 'é'", "", bulk("é")),
        ("return true", "", Reply::Boolean(true)),
        ("return null", "", Reply::Null),
        ("", "", Reply::Null),
        (
            "return [1, 'a', [null]]",
            "",
            Reply::Array(vec![Reply::Integer(1), bulk("a"), Reply::Array(vec![Reply::Null])]),
        ),
        ("return {a: 1}", "", Reply::Map(vec![bulk("a"), Reply::Integer(1)])),
        ("return new Uint8Array([255, 0])", "", Reply::Bulk(vec![255, 0])),
        ("return new Error('bad\\nthing')", "", error("ERR bad thing")),
        ("return () => 1", "", error("ERR a function is no reply script: f")),
        ("return Promise.resolve(3)", "", Reply::Integer(3)),
        ("return new Promise(() => {})", "", error("ERR the promise of the function never settles script: f")),
        ("return client.call('x')", ":5\r\n", Reply::Integer(5)),
        ("return typeof client.call('x')", ":9007199254740993\r\n", bulk("bigint")),
        ("return client.call('x')", ":9007199254740993\r\n", Reply::Integer(9_007_199_254_740_993)),
        ("return client.call('x')", "$2\r\nab\r\n", bulk("ab")),
        ("return client.call('x')", "+OK\r\n", bulk("OK")),
        ("return client.call('x')", "*2\r\n:1\r\n_\r\n", Reply::Array(vec![Reply::Integer(1), Reply::Null])),
        ("return client.call('x').a", "%1\r\n$1\r\na\r\n:7\r\n", Reply::Integer(7)),
        ("return client.call('x') * 2", ",1.5\r\n", Reply::Integer(3)),
        ("return client.call('x')", "#f\r\n", Reply::Boolean(false)),
        ("return client.call('x')", "~1\r\n:1\r\n", Reply::Array(vec![Reply::Integer(1)])),
        ("return typeof client.call('x')", "(123\r\n", bulk("bigint")),
        ("return client.call('x')", "=6\r\ntxt:ab\r\n", bulk("ab")),
        (
            "try { client.call('x') } catch (e) { return e.name + ' ' + e.message }",
            "-WRONGTYPE x\r\n",
            bulk("ReplyError WRONGTYPE x"),
        ),
        ("return eval('1 + 1')", "", Reply::Integer(2)),
        (
            "return typeof globalThis.process + typeof globalThis.std + typeof globalThis.os",
            "",
            bulk("undefinedundefinedundefined"),
        ),
    ];
    for (body, reply, expected) in table {
        let mut functions = Functions::new();
        let code = format!("#!js name=a\nredis.registerFunction('f', function(client, ...given) {{ {body} }})");
        functions.load(&code, false, &mut Alone::default()).unwrap();
        let mut host = Alone { reply: reply.as_bytes().to_vec(), ..Alone::default() };
        let found = functions.call("f", &["k", "v"], 1, &mut host);
        match (&found, &expected) {
            // Where it was depends on the engine's words for it.
            (Reply::Error { line: found, .. }, Reply::Error { line: expected, .. }) => {
                assert!(found.starts_with(expected), "{body}: {}", String::from_utf8_lossy(found));
            }
            _ => assert_eq!(found, expected, "{body}"),
        }
    }
}

#[test]
fn javascript_errors_say_where() {
    let mut functions = Functions::new();
    let code = "#!js name=a\nredis.registerFunction('f', function() {\n  throw new Error('bad');\n});\nredis.registerFunction('g', (client) => client.call('x'));\nredis.registerFunction('h', () => { throw 'text' })";
    functions.load(code, false, &mut Alone::default()).unwrap();
    let mut host = Alone { reply: b"-WRONGTYPE no\r\n".to_vec(), ..Alone::default() };
    let line = |reply| match reply {
        Reply::Error { line, is_counted } => (String::from_utf8(line).unwrap(), is_counted),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        line(functions.call("f", &[], 0, &mut host)),
        ("ERR bad script: f, on @user_function:3.".to_owned(), false)
    );
    assert_eq!(
        line(functions.call("g", &[], 0, &mut host)),
        ("WRONGTYPE no script: g, on @user_function:5.".to_owned(), true)
    );
    assert_eq!(line(functions.call("h", &[], 0, &mut host)), ("ERR text script: h".to_owned(), false));
    for (code, expected) in [
        ("#!js name=b\nlet x = ;", "ERR Error compiling function: user_function:2: "),
        ("#!js name=b\nnosuch()", "ERR Error registering functions: ERR nosuch is not defined"),
        ("#!js name=b\n1", "ERR No functions registered"),
        (
            "#!js name=b\nredis.registerFunction('a b', () => 1)",
            "ERR Error registering functions: ERR Function names can only",
        ),
        ("#!js name=b\nredis.registerFunction('a')", "ERR Error registering functions: ERR wrong number of arguments"),
        ("#!js name=b\nredis.registerFunction('a', 1)", "ERR Error registering functions: ERR the callback"),
        (
            "#!js name=b\nredis.registerFunction('a', () => 1, {flags: ['x']})",
            "ERR Error registering functions: ERR unknown flag given",
        ),
        ("#!js name=b\nredis.call('ping')", "ERR Error registering functions: ERR not a function"),
        ("#!js name=b\nredis.registerFunction = 1", "ERR Error registering functions: ERR "),
    ] {
        let found = functions.load(code, false, &mut Alone::default()).unwrap_err();
        assert!(found.starts_with(expected), "{code}: {found}");
    }
}

#[test]
fn javascript_functions_say_what_they_do() {
    let mut functions = Functions::new();
    let code = "#!js name=a\nredis.registerFunction('f', () => 1, {flags: ['no-writes'], description: 'one'});\nredis.registerFunction({name: 'g', callback: () => 2, flags: ['allow-oom']})";
    functions.load(code, false, &mut Alone::default()).unwrap();
    let (_, f) = functions.registry.function(b"f").unwrap();
    assert!(f.flags.no_writes() && f.description.as_deref() == Some("one"));
    let (_, g) = functions.registry.function(b"g").unwrap();
    assert!(g.flags.allow_oom() && !g.flags.no_writes());
}

#[test]
fn libraries_cannot_change_each_other() {
    let mut functions = Functions::new();
    functions.load("#!js name=a\nArray.prototype.map = 1; globalThis.x = 1; redis.registerFunction('f', () => typeof Array.prototype.map)", false, &mut Alone::default()).unwrap();
    functions
        .load(
            "#!js name=b\nredis.registerFunction('g', () => typeof Array.prototype.map + typeof globalThis.x)",
            false,
            &mut Alone::default(),
        )
        .unwrap();
    assert_eq!(functions.call("f", &[], 0, &mut Alone::default()), Reply::Bulk(b"number".to_vec()));
    assert_eq!(functions.call("g", &[], 0, &mut Alone::default()), Reply::Bulk(b"functionundefined".to_vec()));
}
