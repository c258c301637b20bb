//! The same scripts on a real server and here: the replies must be the same bytes, in both protocols.
//!
//! Skipped where no `redis-server` is installed. What a script calls is asked of the real server in both cases. Scripts
//! are in `scripts/*.lua`, one a line or divided by lines of dashes.
//!
//! Known to differ, and so not in there: what enumerates the server's own tables otherwise than by `pairs`, `next` and
//! `foreach` (`cjson.encode(redis)` is `{}`); tables nested more than 1,000 deep, where stock Lua gives up at 8,000;
//! `os.clock`, which Redis 7.0 has not; patterns longer than 8 KiB; and errors that are tables without `err`, which end
//! the real server.

mod support;

use std::sync::Arc;
use support::{Forwarding, Server, encode};
use torc_scripting::{Interpreters, Protocol, Script, Settings};

fn ours(
    interpreters: &Interpreters,
    source: &str,
    inputs: &[&str],
    protocol: Protocol,
    host: &mut Forwarding,
) -> Vec<u8> {
    let mut out = Vec::new();
    let script = match Script::new(source.as_bytes()) {
        Ok(script) => Arc::new(script),
        Err(line) => return [b"-", &line[..], b"\r\n"].concat(),
    };
    let inputs = inputs.iter().map(|input| input.as_bytes());
    let run = interpreters.script(&script, inputs.clone().take(1), inputs.skip(1)).unwrap();
    encode(&run.drive(host), protocol, &mut out);
    out
}

fn compare(file: &str, scripts: &str) {
    let Some(server) = Server::start() else {
        eprintln!("no redis-server: nothing compared");
        return;
    };
    let interpreters = Interpreters::new(&Settings::default());
    let mut host = Forwarding::new(&server);
    let mut differences = Vec::new();
    let mut count = 0;
    let inputs = ["key", "argument", "7"];
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut theirs = server.connect();
        if protocol == Protocol::Resp3 {
            theirs.say(&["HELLO", "3"]);
        }
        for script in scripts.split("\n----\n").flat_map(|part| {
            // A file of one-line scripts needs no dividers.
            if scripts.contains("\n----\n") { vec![part.trim_end_matches('\n')] } else { part.lines().collect() }
        }) {
            if script.is_empty() {
                continue;
            }
            count += 1;
            theirs.say(&["FLUSHALL"]);
            let expected = theirs.say(&["EVAL", script, "1", inputs[0], inputs[1], inputs[2]]);
            theirs.say(&["FLUSHALL"]);
            let found = ours(&interpreters, script, &inputs, protocol, &mut host);
            if found != expected {
                let show =
                    |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).replace("\r\n", " | ");
                differences.push(format!(
                    "{protocol:?} {script}\n  theirs {}\n  ours   {}",
                    show(&expected),
                    show(&found)
                ));
            }
        }
    }
    assert!(count > 0, "{file} is empty");
    assert!(differences.is_empty(), "{} of {count} differ in {file}:\n{}", differences.len(), differences.join("\n"));
}

macro_rules! files {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            compare(stringify!($name), include_str!(concat!("scripts/", stringify!($name), ".lua")));
        }
    )*};
}

files!(api, bits, conversions, errors, json, language, msgpack, sandbox, shebang, structs);
