//! Scripts that run for long, functions in JavaScript, and what all shards know of both: on one shard and on several.

mod support;

use std::time::Duration;
use support::{Client, Server, eventually, key_of_each_shard};

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

/// Writes to a computed key of each shard, and reads all of them.
const ROUND: &str = "local sum = 0 for i = 0, 19 do sum = sum + redis.call('incr', 'x' .. i) end return sum";

#[test]
fn keys_that_are_not_declared_are_found_on_any_shard() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        text(
            &mut client,
            &["FUNCTION", "LOAD", &format!("#!lua name=l\nredis.register_function('round', function() {ROUND} end)")],
        );
        let sha = text(&mut client, &["SCRIPT", "LOAD", ROUND]).trim_matches('"').to_owned();
        let mut round = 0;
        let mut next = || {
            round += 20;
            format!(":{round}")
        };
        // More often than it takes to be remembered.
        for _ in 0..5 {
            assert_eq!(text(&mut client, &["EVAL", ROUND, "0"]), next(), "{shards} shards");
            assert_eq!(text(&mut client, &["EVAL", ROUND, "1", "key:1"]), next());
            assert_eq!(text(&mut client, &["EVAL", ROUND, "2", "key:1", "key:2"]), next());
            assert_eq!(text(&mut client, &["EVALSHA", &sha, "0"]), next());
            assert_eq!(text(&mut client, &["FCALL", "round", "1", "key:3"]), next());
            text(&mut client, &["MULTI"]);
            text(&mut client, &["INCR", "in:exec"]);
            text(&mut client, &["EVAL", ROUND, "0"]);
            text(&mut client, &["GET", "x3"]);
            let replies = text(&mut client, &["EXEC"]);
            let expected = next();
            assert!(replies.contains(&expected), "{replies} {expected}");
        }
        let mut others: Vec<Client> = (0..2 * shards).map(|_| server.client()).collect();
        for other in &mut others {
            assert_eq!(text(other, &["EVAL", ROUND, "0"]), next());
        }
        assert_eq!(text(&mut client, &["DBSIZE"]), ":21");
    }
}

#[test]
fn a_pipeline_behind_a_script_that_begins_again_comes_behind_it() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let script = "redis.call('set', KEYS[1], 'script') for i = 0, 9 do redis.call('set', 'y' .. i, 'script') end";
        for home in keys(10) {
            let mut client = server.client();
            let mut pipeline = support::encode(&[b"EVAL".as_slice(), script.as_bytes(), b"1", home.as_bytes()]);
            for number in 0..10 {
                pipeline.extend(support::encode(&["SET", &format!("y{number}"), "client"]));
            }
            client.send(&pipeline);
            for _ in 0..11 {
                client.reply();
            }
            let mut words = vec!["MGET".to_owned()];
            words.extend((0..10).map(|number| format!("y{number}")));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(text(&mut client, &words), format!("[{}]", ["\"client\""; 10].join(" ")), "{shards} shards");
        }
    }
}

#[test]
fn commands_over_all_shards_see_and_do_all_in_a_script() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        for (script, expected) in [
            ("for i = 1, 100 do redis.call('set', 'k' .. i, i) end return redis.call('dbsize')", ":100"),
            ("return #redis.call('keys', 'k*')", ":100"),
            (
                "local n, c = 0, '0' repeat local r = redis.call('scan', c) c = r[1] n = n + #r[2] until c == '0' return n",
                ":100",
            ),
            ("return string.sub(redis.call('randomkey'), 1, 1)", "\"k\""),
            (
                "redis.call('mset', 'a', 1, 'b', 2, 'c', 3, 'd', 4) return redis.call('mget', 'd', 'a', 'none')",
                "[\"4\" \"1\" nil]",
            ),
            ("return redis.call('del', 'a', 'b', 'c', 'd', 'none')", ":4"),
            ("redis.call('rename', 'k1', 'other') return redis.call('get', 'other')", "\"1\""),
            (
                "redis.call('sadd', 's', 'k2', 'k3') return redis.call('sort', 's', 'by', '*', 'desc', 'get', '*')",
                "[\"3\" \"2\"]",
            ),
            ("redis.call('sadd', 't', 'k3', 'x') return redis.call('sunionstore', 'u', 's', 't')", ":3"),
            ("redis.call('select', 3) redis.call('set', 'k5', 'three') return redis.call('dbsize')", ":1"),
            ("redis.call('swapdb', 0, 3) return redis.call('dbsize')", ":1"),
            ("redis.call('swapdb', 0, 3) return redis.call('get', 'k5')", "\"5\""),
            ("redis.call('flushdb') return redis.call('dbsize')", ":0"),
            (
                "redis.call('set', 'k', 1) redis.call('flushall') redis.call('set', 'l', 1) return redis.call('keys', '*')",
                "[\"l\"]",
            ),
            ("return redis.call('publish', 'channel', 'message')", ":0"),
        ] {
            assert_eq!(text(&mut client, &["EVAL", script, "0"]), expected, "{shards} shards: {script}");
        }
    }
}

#[test]
fn what_is_begun_again_leaves_no_trace() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--notify-keyspace-events", "KEA"]);
        let mut client = server.client();
        let script = "redis.call('incr', KEYS[1]) redis.call('publish', 'news', 'once') redis.call('get', 'none') \
            redis.pcall('lpush', KEYS[1], 1) for i = 0, 9 do redis.call('set', 'y' .. i, 1) end";
        let mut listener = server.client();
        listener.call("HELLO 3");
        listener.call("SUBSCRIBE news __keyevent@0__:incrby __keyevent@0__:set");
        listener.reply();
        listener.reply();
        text(&mut client, &["CONFIG", "RESETSTAT"]);
        for key in keys(5) {
            text(&mut client, &["EVAL", script, "1", &key]);
        }
        // A mark behind all of them.
        text(&mut client, &["PUBLISH", "news", "end"]);
        let mut heard = Vec::new();
        loop {
            let message = listener.reply().to_string();
            if message.contains("end") {
                break;
            }
            heard.push(message);
        }
        let count = |word: &str| heard.iter().filter(|message| message.contains(word)).count();
        assert_eq!((count("once"), count("incrby"), count(":set")), (5, 5, 50), "{shards} shards: {heard:?}");
        let stats = text(&mut client, &["INFO", "commandstats"]);
        for (command, calls) in [("incr", 5), ("publish", 6), ("lpush", 5), ("set", 50), ("eval", 5)] {
            assert!(
                stats.contains(&format!("cmdstat_{command}:calls={calls},")),
                "{shards}: {command} {calls}: {stats}"
            );
        }
        let errors = text(&mut client, &["INFO", "errorstats"]);
        assert!(errors.contains("errorstat_WRONGTYPE:count=5"), "{errors}");
        assert!(text(&mut client, &["INFO", "stats"]).contains("keyspace_misses:5"));
    }
}

#[test]
fn who_watches_commands_sees_what_scripts_call_once() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let (mut watcher, mut client) = (server.client(), server.client());
        assert_eq!(text(&mut watcher, &["MONITOR"]), "+OK");
        let script = "redis.call('set', KEYS[1], 1) for i = 0, 4 do redis.call('get', 'y' .. i) end";
        text(&mut client, &["EVAL", script, "1", "key:1"]);
        text(&mut client, &["PING"]);
        let mut lines = Vec::new();
        loop {
            let line = watcher.reply().to_string().replace("\\\"", "\"");
            lines.push(line.split_once('[').map_or(String::new(), |(_, rest)| rest.to_owned()));
            if line.contains("PING") {
                break;
            }
        }
        let of_scripts: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("0 lua] ")).collect();
        let expected = [
            "\"set\" \"key:1\" \"1\"",
            "\"get\" \"y0\"",
            "\"get\" \"y1\"",
            "\"get\" \"y2\"",
            "\"get\" \"y3\"",
            "\"get\" \"y4\"",
        ];
        assert_eq!(of_scripts, expected, "{shards} shards: {lines:?}");
        assert!(lines[0].contains("EVAL"), "{lines:?}");
    }
}

#[test]
fn a_script_that_has_written_is_killed_and_undone_where_that_is_wanted() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--busy-reply-threshold", "50", "--script-kill-undo", "yes"]);
        let mut killer = server.client();
        for key in keys(10) {
            text(&mut killer, &["SET", &key, "before"]);
        }
        text(&mut killer, &["SET", "y3", "before"]);
        let everywhere = "for i = 0, 9 do redis.call('set', 'y' .. i, 'half') end";
        for more in ["", everywhere, "redis.call('flushall') redis.call('set', 'new', 1)"] {
            let script =
                format!("for _, k in ipairs(KEYS) do redis.call('set', k, 'half') end {more} while true do end");
            for declared in [1, 10] {
                let mut words = vec!["EVAL".to_owned(), script.clone(), declared.to_string()];
                words.extend(keys(declared));
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                let mut looping = server.client();
                looping.send(&support::encode(&words));
                eventually("it is killed", || text(&mut killer, &["SCRIPT", "KILL"]) == "+OK");
                let reply = looping.reply().to_string();
                assert!(reply.contains("killed by user with SCRIPT KILL"), "{reply}");
                let mut after = server.client();
                eventually("it serves again", || text(&mut after, &["PING"]) == "+PONG");
                for key in keys(10) {
                    assert_eq!(text(&mut after, &["GET", &key]), "\"before\"", "{shards} shards, {declared}: {script}");
                }
                assert_eq!(text(&mut after, &["GET", "y3"]), "\"before\"");
                assert_eq!(text(&mut after, &["DBSIZE"]), ":11");
            }
        }
    }
}

#[test]
fn a_script_over_all_shards_that_never_ends_is_killed_and_all_hear_of_it() {
    for shards in SHARDS {
        for in_exec in [false, true] {
            let server = Server::torc(shards, &["--busy-reply-threshold", "50"]);
            let mut looping = server.client();
            let script = "for i = 0, 9 do redis.call('get', 'y' .. i) end while true do end";
            let command = support::encode(&["EVAL", script, "0"]);
            if in_exec {
                text(&mut looping, &["MULTI"]);
                text(&mut looping, &["EVAL", script, "0"]);
                text(&mut looping, &["SET", "behind", "1"]);
                looping.send(&support::encode(&["EXEC"]));
            } else {
                looping.send(&command);
            }
            let mut killer = server.client();
            eventually("it runs", || text(&mut killer, &["FUNCTION", "STATS"]).contains("duration_ms"));
            let mut others: Vec<Client> = (0..2 * shards).map(|_| server.client()).collect();
            eventually("all hear of it", || others.iter_mut().all(|other| text(other, &["PING"]).starts_with("-BUSY")));
            assert_eq!(text(&mut killer, &["SCRIPT", "KILL"]), "+OK");
            let reply = looping.reply().to_string();
            assert!(reply.contains("killed by user with SCRIPT KILL"), "{reply}");
            eventually("all serve again", || others.iter_mut().all(|other| text(other, &["PING"]) == "+PONG"));
            let behind = text(&mut others[0], &["GET", "behind"]);
            assert_eq!(behind, if in_exec { "\"1\"" } else { "nil" });
        }
    }
}

/// Its own shard's clients hear it there; of others, who needs something of that shard.
#[test]
fn whoever_needs_a_shard_that_a_script_holds_hears_of_it_wherever_it_is() {
    for shards in [2, 5] {
        let server = Server::torc(shards, &["--busy-reply-threshold", "50"]);
        let mut killer = server.client();
        let keys = key_of_each_shard(&mut killer, shards);
        let mut looping = server.client();
        looping.send(&support::encode(&["EVAL", "while true do end", "1", &keys[1]]));
        eventually("it runs", || text(&mut killer, &["FUNCTION", "STATS"]).contains("duration_ms"));
        // Connections go to each shard in turn; these are on shards that serve.
        let mut others: Vec<Client> = (0..2 * shards).map(|_| server.client()).collect();
        eventually("one hears of it", || others.iter_mut().any(|other| text(other, &["PING"]).starts_with("-BUSY")));
        others.retain_mut(|other| text(other, &["PING"]) == "+PONG");
        let until_all_know = || std::thread::sleep(Duration::from_millis(60));
        until_all_know();
        assert!(!others.is_empty());
        for other in &mut others {
            assert_eq!(text(other, &["SET", &keys[0], "1"]), "+OK", "what needs only others runs");
            for needs in [
                &["GET", &keys[1]][..],
                &["MGET", &keys[0], &keys[1]],
                &["RENAME", &keys[0], &keys[1]],
                &["BLPOP", &keys[1], "0"],
                &["EVAL", "return 1", "2", &keys[0], &keys[1]],
                &["DBSIZE"],
            ] {
                assert!(text(other, needs).starts_with("-BUSY"), "{needs:?}, {shards} shards");
            }
            assert_eq!(text(other, &["MULTI"]), "+OK");
            assert_eq!(text(other, &["SET", &keys[0], "2"]), "+QUEUED");
            assert!(text(other, &["SET", &keys[1], "2"]).starts_with("-BUSY"));
            assert!(text(other, &["EXEC"]).starts_with("-EXECABORT"));
            assert_eq!(text(other, &["GET", &keys[0]]), "\"1\"");
        }
        assert_eq!(text(&mut killer, &["SCRIPT", "KILL"]), "+OK");
        looping.reply();
        // What was queued before.
        let mut other = others.swap_remove(0);
        assert_eq!(text(&mut other, &["MULTI"]), "+OK");
        assert_eq!(text(&mut other, &["SET", &keys[1], "2"]), "+QUEUED");
        looping.send(&support::encode(&["EVAL", "while true do end", "1", &keys[1]]));
        eventually("it runs again", || text(&mut killer, &["FUNCTION", "STATS"]).contains("duration_ms"));
        until_all_know();
        assert!(text(&mut other, &["EXEC"]).starts_with("-EXECABORT Transaction discarded because of: BUSY"));
        assert_eq!(text(&mut killer, &["SCRIPT", "KILL"]), "+OK");
        looping.reply();
        assert_eq!(text(&mut other, &["MGET", &keys[0], &keys[1]]), "[\"1\" nil]");
    }
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

#[test]
fn whoever_waits_watches_or_listens_notices_what_scripts_do_on_other_shards() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--notify-keyspace-events", "KEA"]);
        let mut client = server.client();
        // What is declared comes with the locks, what is not is fetched; the second time all shards are had at once.
        for (round, declared) in [10, 0, 0, 0, 10].into_iter().enumerate() {
            let names: Vec<String> = (0..10).map(|number| format!("round:{round}:{number}")).collect();
            let mut waiting: Vec<Client> = names.iter().map(|_| server.client()).collect();
            for (waiter, name) in waiting.iter_mut().zip(&names) {
                waiter.send(&support::encode(&["BLPOP", &format!("{name}:list"), "0"]));
            }
            eventually("they wait", || client.info_number("blocked_clients") == 10);
            let mut watchers: Vec<Client> = names.iter().map(|_| server.client()).collect();
            for (watcher, name) in watchers.iter_mut().zip(&names) {
                watcher.call(&format!("WATCH {name}:changed {name}:read"));
            }
            let mut listener = server.client();
            listener.call("HELLO 3");
            listener.call("PSUBSCRIBE __keyspace@0__:round:*");
            let script = "for _, name in ipairs(ARGV) do redis.call('get', name .. ':read') \
                redis.call('rpush', name .. ':list', 'first', 'second') redis.call('set', name .. ':changed', 1) \
                redis.call('sadd', name .. ':set', 1) redis.call('sadd', name .. ':set', 1) end return 'done'";
            let declared = declared.to_string();
            let mut words = vec!["EVAL", script, &declared];
            words.extend(names.iter().map(String::as_str).take(if declared == "0" { 0 } else { 10 }));
            words.extend(names.iter().map(String::as_str));
            assert_eq!(text(&mut client, &words), "\"done\"");
            for (waiter, name) in waiting.iter_mut().zip(&names) {
                assert_eq!(waiter.reply().to_string(), format!("[\"{name}:list\" \"first\"]"), "{shards} shards");
            }
            for (index, (watcher, name)) in watchers.iter_mut().zip(&names).enumerate() {
                let own = if index % 2 == 0 { "changed" } else { "read" };
                watcher.call("UNWATCH");
                assert_eq!(text(watcher, &["LRANGE", &format!("{name}:list"), "0", "-1"]), "[\"second\"]", "{own}");
            }
            // A mark behind all of them, from the shard of each name.
            let mut events = Vec::new();
            for name in &names {
                text(&mut client, &["SET", &format!("{name}:mark"), "1"]);
            }
            while events.iter().filter(|event: &&String| event.contains(":mark")).count() < names.len() {
                let event = listener.reply().to_string();
                if event.contains("\"rpush\"") || event.contains("\"set\"") || event.contains("\"sadd\"") {
                    events.push(event);
                }
            }
            for (kind, count) in [("rpush", 10), ("sadd", 10), (":changed", 10)] {
                let told = events.iter().filter(|event| event.contains(kind)).count();
                assert_eq!(told, count, "{shards} shards, {kind}: {events:?}");
            }
        }
    }
}

#[test]
fn what_is_watched_changes_with_a_script_on_other_shards_and_what_it_reads_does_not() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let (mut client, mut writer) = (server.client(), server.client());
        for round in 0..4 {
            for number in 0..10 {
                for (key, is_changed) in [("changed", true), ("read", false), ("same", false)] {
                    client.call(&format!("SET same:{number} x"));
                    client.call(&format!("WATCH {key}:{number}"));
                    let script = "for i = 0, 9 do redis.call('get', 'read:' .. i) redis.call('incr', 'changed:' .. i) \
                        redis.call('setnx', 'same:' .. i, 'y') end";
                    text(&mut writer, &["EVAL", script, "0"]);
                    client.call("MULTI");
                    client.call("PING");
                    let expected = if is_changed { "nil*" } else { "[+PONG]" };
                    assert_eq!(client.ask("EXEC"), expected, "{key}, {shards} shards, round {round}");
                }
            }
        }
    }
}

#[test]
fn what_a_script_keeps_from_the_log_is_not_in_it() {
    const SCRIPT: &str = "for _, name in ipairs(ARGV) do \
        for mode, flags in pairs({none = redis.REPL_NONE, log = redis.REPL_AOF, others = redis.REPL_REPLICA, \
            all = redis.REPL_ALL}) do redis.set_repl(flags) redis.call('set', name .. mode, mode) end end return #ARGV";
    let names = keys(10);
    let words = [&["EVAL", SCRIPT, "0"][..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    for shards in SHARDS {
        let options = ["--appendonly", "yes", "--appendfsync", "always"];
        let server = Server::torc(shards, &options);
        let mut client = server.client();
        assert_eq!(text(&mut client, &words), ":10");
        for mode in ["none", "log", "others", "all"] {
            assert_eq!(text(&mut client, &["GET", &format!("key:7{mode}")]), format!("{mode:?}"));
        }
        let server = Server::torc_on(server.kill(), shards, &options);
        let mut client = server.client();
        for name in &names {
            for (mode, is_logged) in [("none", false), ("log", true), ("others", false), ("all", true)] {
                let expected = if is_logged { format!("{mode:?}") } else { "nil".to_owned() };
                assert_eq!(text(&mut client, &["GET", &format!("{name}{mode}")]), expected, "{shards} shards");
            }
        }
    }
}

#[test]
fn what_scripts_and_functions_take_is_told() {
    const LIBRARY: &str = "#!lua name=l\nredis.register_function('one', function() return 1 end)\n\
        redis.register_function('two', function() return 2 end)";
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        let fields = ["number_of_cached_scripts", "number_of_functions", "number_of_libraries"];
        let told = |client: &mut Client| fields.map(|field| client.info_number(field));
        assert_eq!(told(&mut client), [0, 0, 0]);
        for field in ["used_memory_scripts", "used_memory_vm_eval", "used_memory_vm_total"] {
            assert_eq!(client.info_number(field), 0, "nobody has asked for an interpreter");
        }
        for key in keys(10) {
            text(&mut client, &["EVAL", "return redis.call('incr', KEYS[1])", "1", &key]);
        }
        text(&mut client, &["SCRIPT", "LOAD", "return 2"]);
        text(&mut client, &["FUNCTION", "LOAD", LIBRARY]);
        text(&mut client, &["FCALL", "one", "0"]);
        assert_eq!(told(&mut client), [2, 2, 1], "{shards} shards");
        for field in ["used_memory_scripts", "used_memory_vm_eval", "used_memory_vm_functions", "used_memory_functions"]
        {
            assert!(client.info_number(field) > 0, "{field}, {shards} shards");
        }
        text(&mut client, &["SCRIPT", "FLUSH"]);
        text(&mut client, &["FUNCTION", "FLUSH"]);
        assert_eq!(told(&mut client), [0, 0, 0], "{shards} shards");
    }
}

/// Microseconds and calls of a command, by the statistics.
fn took(client: &mut Client, name: &str) -> (u64, u64) {
    let told = client.call("INFO commandstats").text();
    let line = told.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:"))).unwrap_or_default().to_owned();
    let field = |field: &str| {
        let value = line.split([':', ',']).find_map(|pair| pair.strip_prefix(&format!("{field}=")));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    (field("usec"), field("calls"))
}

#[test]
fn the_time_that_commands_take_is_counted_wherever_they_run() {
    const LOOP: &str = "for i = 1, 300000 do end return redis.call('incr', KEYS[1])";
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut client = server.client();
        for round in 1..=10 {
            let before = took(&mut client, "eval").0;
            assert_eq!(text(&mut client, &["EVAL", LOOP, "1", &format!("key:{round}")]), ":1");
            let (took_us, calls) = took(&mut client, "eval");
            assert_eq!(calls, round);
            assert!(took_us > before, "{took_us} us, {shards} shards");
        }
        assert_eq!(took(&mut client, "incr").1, 10, "calls of scripts count, too");
        client.call("CONFIG RESETSTAT");
        assert_eq!(took(&mut client, "eval"), (0, 0));
    }
}
