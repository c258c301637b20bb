//! Scripts that run for long, functions in JavaScript, and what all shards know of both: on one shard and on several.

mod support;

use support::{Client, Server, eventually};

const SHARDS: [usize; 3] = [1, 2, 5];

/// Keys of as many shards as there are.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key:{number}")).collect()
}

fn text(client: &mut Client, arguments: &[&str]) -> String {
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    client.call_bytes(&arguments).to_string()
}

#[test]
fn a_script_that_never_ends_is_killed_and_others_hear_of_it() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--busy-reply-threshold", "50"]);
        for (begin, kill, other) in [
            (&["EVAL", "while true do end", "1", "a"][..], "SCRIPT", "FUNCTION"),
            (&["FCALL", "endless", "1", "a"][..], "FUNCTION", "SCRIPT"),
            (&["FCALL", "endless_js", "1", "a"][..], "FUNCTION", "SCRIPT"),
        ] {
            let mut client = server.client();
            text(
                &mut client,
                &[
                    "FUNCTION",
                    "LOAD",
                    "REPLACE",
                    "#!lua name=l\nredis.register_function('endless', function() while true do end end)",
                ],
            );
            text(
                &mut client,
                &[
                    "FUNCTION",
                    "LOAD",
                    "REPLACE",
                    "#!js name=j\nredis.registerFunction('endless_js', () => { for (;;) {} })",
                ],
            );
            assert_eq!(text(&mut client, &[kill, "KILL"]), "-NOTBUSY No scripts in execution right now.");
            let mut looping = server.client();
            let words: Vec<&[u8]> = begin.iter().map(|word| word.as_bytes()).collect();
            looping.send(&support::encode(&words));
            let mut killer = server.client();
            eventually("it runs", || text(&mut killer, &["FUNCTION", "STATS"]).contains("duration_ms"));
            assert!(text(&mut killer, &[other, "KILL"]).starts_with("-BUSY"));
            // Connections that stay go to each shard in turn, so one comes to the shard that is busy.
            let mut others: Vec<Client> = (0..2 * shards).map(|_| server.client()).collect();
            let mut answers = || others.iter_mut().map(|other| text(other, &["PING"])).collect::<Vec<_>>();
            eventually("others hear of it", || answers().iter().any(|answer| answer.starts_with("-BUSY")));
            assert_eq!(answers().iter().any(|answer| answer == "+PONG"), shards > 1, "other shards serve");
            assert_eq!(text(&mut killer, &[kill, "KILL"]), "+OK");
            let reply = looping.reply().to_string();
            assert!(reply.contains(&format!("killed by user with {kill} KILL")), "{reply}");
            let mut after = server.client();
            eventually("it serves again", || text(&mut after, &["SET", "a", "1"]) == "+OK");
        }
    }
}

#[test]
fn a_script_that_has_written_is_not_killed() {
    let server = Server::torc(2, &["--busy-reply-threshold", "50"]);
    let mut looping = server.client();
    let script = "redis.call('set', KEYS[1], 1) while true do end";
    looping.send(&support::encode(&[b"EVAL".as_slice(), script.as_bytes(), b"1", b"a"]));
    let mut killer = server.client();
    eventually("it is not to be killed", || text(&mut killer, &["SCRIPT", "KILL"]).starts_with("-UNKILLABLE"));
    killer.send(&support::encode(&["SHUTDOWN", "NOSAVE"]));
    assert!(looping.reply().to_string().contains("killed by user"), "the server ends it when it stops");
}

#[test]
fn long_scripts_on_keys_of_all_shards_are_one_unit() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let keys = keys(8);
        let mut words = vec!["EVAL".to_owned(), "for i, k in ipairs(KEYS) do redis.call('incr', k) for n = 1, 1e6 do end end return redis.call('mget', unpack(KEYS))".to_owned(), "8".to_owned()];
        words.extend(keys.iter().cloned());
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(&support::encode(&words));
        }
        let mut seen: Vec<String> = clients.iter_mut().map(|client| client.reply().to_string()).collect();
        seen.sort();
        let expected: Vec<String> =
            (1..=4).map(|number| format!("[{}]", vec![format!("\"{number}\""); 8].join(" "))).collect();
        assert_eq!(seen, expected, "{shards} shards");
    }
}

#[test]
fn javascript_functions_run_on_any_shard() {
    const CODE: &str = "#!js name=mylib\nredis.registerFunction('atomic_counter_expire', function(client, key, increment, ttl) { let current = client.call('GET', key) || '0'; let newValue = parseInt(current) + parseInt(increment); client.call('SETEX', key, ttl, newValue.toString()); return newValue; });";
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        assert_eq!(text(&mut client, &["FUNCTION", "LOAD", CODE]), "\"mylib\"");
        for key in keys(20) {
            assert_eq!(text(&mut client, &["FCALL", "atomic_counter_expire", "1", &key, "1", "3600"]), ":1");
            assert_eq!(text(&mut client, &["FCALL", "atomic_counter_expire", "1", &key, "5", "3600"]), ":6");
            assert_eq!(text(&mut client, &["GET", &key]), "\"6\"");
        }
        assert!(text(&mut client, &["FUNCTION", "STATS"]).contains("JS"));
        let dump = client.call_bytes(&[b"FUNCTION", b"DUMP"]);
        assert_eq!(text(&mut client, &["FUNCTION", "FLUSH"]), "+OK");
        let restored = client.call_bytes(&[b"FUNCTION", b"RESTORE", dump.bytes()]).to_string();
        assert_eq!(restored, "+OK");
        assert_eq!(text(&mut client, &["FCALL", "atomic_counter_expire", "1", "key:0", "1", "3600"]), ":7");
    }
}

#[test]
fn what_one_shard_has_learnt_all_know() {
    let server = Server::torc(5, &[]);
    let mut first = server.client();
    let sha = text(&mut first, &["SCRIPT", "LOAD", "return redis.call('incr', KEYS[1])"]);
    let sha = sha.trim_matches('"').to_owned();
    for key in keys(20) {
        let mut client = server.client();
        assert_eq!(text(&mut client, &["EVALSHA", &sha, "1", &key]), ":1");
    }
    assert_eq!(text(&mut first, &["SCRIPT", "FLUSH"]), "+OK");
    for key in keys(20) {
        let mut client = server.client();
        assert!(text(&mut client, &["EVALSHA", &sha, "1", &key]).starts_with("-NOSCRIPT"), "{key}");
    }
}

#[test]
fn keys_that_are_not_declared_are_told_of() {
    let server = Server::torc(5, &[]);
    let mut client = server.client();
    let script = "local n = 0 for i = 1, 50 do local r = redis.pcall('set', 'x' .. i, i) if r.err then n = n + 1 end end return n";
    let refused: i64 = client.call_bytes(&[b"EVAL", script.as_bytes(), b"0"]).integer();
    assert!((1..50).contains(&refused), "{refused} of 50");
    let script = "return redis.call('dbsize')";
    assert!(
        text(&mut client, &["EVAL", script, "0"]).starts_with("-ERR A script cannot run a command on the keys of all")
    );
    let server = Server::torc(1, &[]);
    let mut client = server.client();
    assert_eq!(text(&mut client, &["EVAL", "redis.call('set', 'any', 1) return redis.call('dbsize')", "0"]), ":1");
}

#[test]
fn memory_is_decided_once_for_a_script() {
    let server = Server::torc(2, &["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    let write = "return redis.call('set', KEYS[1], ARGV[1])";
    for (script, expected) in [
        (write.to_owned(), "-OOM command not allowed"),
        (format!("#!lua\n{write}"), "-OOM allow-oom flag is not set"),
        (format!("#!lua flags=allow-oom\n{write}"), "+OK"),
        ("#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])".to_owned(), "\"x\""),
        ("return redis.call('del', KEYS[1])".to_owned(), ":"),
    ] {
        let reply = text(&mut client, &["EVAL", &script, "1", "nothing", "x"]);
        assert!(reply.starts_with(expected), "{script}: {reply}");
    }
}
