//! What the server says of itself is true, and named as the real server names it: INFO, TIME, CLIENT LIST.

mod support;

use std::collections::BTreeSet;
use support::reply::Reply;
use support::{Client, Server};

/// Fields of the real server's INFO that we leave out, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("redis_git_sha1", "of another program"),
    ("redis_git_dirty", "of another program"),
    ("redis_build_id", "of another program"),
    ("atomicvar_api", "of another program"),
    ("gcc_version", "no C compiler was used"),
    ("expired_stale_perc", "expiry goes by an index and finds no stale keys by chance"),
    ("reply_buffer_shrinks", "reply buffers are reused, not resized"),
    ("reply_buffer_expands", "reply buffers are reused, not resized"),
    ("used_cpu_sys_main_thread", "the main thread waits, shards work"),
    ("used_cpu_user_main_thread", "the main thread waits, shards work"),
];

/// The same of Valkey's, beyond those.
const LEFT_OUT_OF_VALKEY: &[(&str, &str)] = &[
    ("server_name", "of another program"),
    ("valkey_version", "of another program"),
    ("availability_zone", "accepted without effect"),
    ("allocator_muzzy", "of another allocator"),
    ("io_threaded_freed_objects", "no thread works for another"),
    ("io_threaded_poll_processed", "no thread works for another"),
    ("io_threaded_total_prefetch_batches", "no thread works for another"),
    ("io_threaded_total_prefetch_entries", "no thread works for another"),
    ("replicas_repl_buffer_size", "there are no replicas"),
    ("replicas_repl_buffer_peak", "there are no replicas"),
    ("replicas_waiting_psync", "there are no replicas"),
    ("used_active_time_io_thread", "no thread works for another"),
];

/// The names of all fields, of whatever section, but for those that name a command, an error or a database.
fn fields(client: &mut Client) -> BTreeSet<String> {
    let report = client.call("INFO everything").text();
    let names = report.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_string());
    let named = ["cmdstat_", "errorstat_", "latency_percentiles_", "io_thread_", "shard", "db0"];
    names.filter(|name| !named.iter().any(|beginning| name.starts_with(beginning))).collect()
}

#[test]
fn info_has_the_fields_of_the_real_server() {
    let Some(real) = Server::real(&[]) else { return };
    let server = Server::torc(3, &[]);
    let (ours, theirs) = (fields(&mut server.client()), fields(&mut real.client()));
    let missing: BTreeSet<&str> = theirs.difference(&ours).map(String::as_str).collect();
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    assert_eq!(missing, left_out);
}

#[test]
fn info_has_the_fields_of_valkey() {
    let Some(valkey) = Server::valkey(None, &[]) else { return };
    let server = Server::torc(3, &[]);
    let (ours, theirs) = (fields(&mut server.client()), fields(&mut valkey.client()));
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().chain(LEFT_OUT_OF_VALKEY).map(|(name, _)| *name).collect();
    let missing = theirs.difference(&ours).map(String::as_str);
    assert_eq!(missing.filter(|name| !left_out.contains(name)).collect::<Vec<_>>(), [""; 0]);
}

/// The names of all figures of MEMORY STATS, those of databases among them, and what those of texts look like.
fn memory_figures(client: &mut Client) -> BTreeSet<(String, &'static str)> {
    fn collect(reply: &Reply, into: &mut BTreeSet<(String, &'static str)>) {
        for pair in reply.elements().chunks(2) {
            let kind = match &pair[1] {
                Reply::Integer(_) => "number",
                Reply::Bulk(_) | Reply::Number(..) => "ratio",
                nested => {
                    collect(nested, into);
                    "figures"
                }
            };
            into.insert((pair[0].text(), kind));
        }
    }
    let mut figures = BTreeSet::new();
    collect(&client.call("MEMORY STATS"), &mut figures);
    figures
}

#[test]
fn memory_stats_has_the_figures_of_the_real_servers() {
    const LEFT_OUT: [&str; 2] = ["overhead.hashtable.slot-to-keys", "allocator.muzzy"];
    let server = Server::torc(3, &[]);
    let mut client = server.client();
    let ready = |client: &mut Client| {
        for line in ["SET a b", "SELECT 7", "SET c d EX 1000"] {
            assert_eq!(client.ask(line), "+OK");
        }
    };
    ready(&mut client);
    let ours = memory_figures(&mut client);
    for real in [Server::real(&[]), Server::valkey(None, &[])].into_iter().flatten() {
        let mut client = real.client();
        ready(&mut client);
        let theirs = memory_figures(&mut client);
        let missing = theirs.difference(&ours).filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
        assert_eq!(missing.collect::<Vec<_>>(), [] as [&(String, &str); 0]);
    }
    // As doubles to those who know these, too, and with tables that belong to the keys.
    client.call("HELLO 3");
    let stats = client.call("MEMORY STATS");
    let figure = |name: &str| stats.get(name).unwrap_or_else(|| panic!("{name}")).clone();
    assert!(matches!(figure("peak.percentage"), Reply::Number(',', _)));
    let tables = |name: &str| figure(name).get("overhead.hashtable.main").expect("tables").integer();
    assert!(tables("db.0") > 0 && tables("db.7") > 0 && stats.get("db.1").is_none());
    assert_eq!(figure("overhead.db.hashtable.lut").integer(), tables("db.0") + tables("db.7"));
    assert_eq!(figure("keys.count").integer(), 2);
}

/// The lines of INFO keysizes behind its title.
fn key_sizes(client: &mut Client) -> String {
    let report = client.call("INFO keysizes").text();
    report.strip_prefix("# Keysizes").expect("the title").trim().replace("\r\n", "; ").replace("_distrib", "")
}

#[test]
fn sizes_of_values_are_counted_over_all_shards() {
    let server = Server::torc(3, &["--enable-debug-command", "yes"]);
    let mut client = server.client();
    assert_eq!(key_sizes(&mut client), "");
    for index in 0..20 {
        assert_eq!(client.ask(&format!("SET text:{index} \"{}\"", "x".repeat(index))), "+OK");
        assert_eq!(client.ask(&format!("RPUSH list:{index}{} x", " y".repeat(index))), format!(":{}", index + 1));
    }
    let texts = "db0_strings_sizes:0=1,1=1,2=2,4=4,8=8,16=4";
    assert_eq!(key_sizes(&mut client), format!("{texts}; db0_lists_items:1=1,2=2,4=4,8=8,16=5"));
    // Commands on several shards, in transactions and in scripts, from one database to another.
    for line in ["MULTI", "DEL list:0 list:1 list:2", "SADD set a b c"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "[:3 :3]");
    let script = "redis.call('SADD', 'set', 'd', 'e'); redis.call('SUNIONSTORE', 'other', 'set')";
    assert_eq!(client.ask(&format!("EVAL \"{script}\" 0")), "nil");
    assert_eq!(client.ask("MOVE other 2"), ":1");
    assert_eq!(
        key_sizes(&mut client),
        format!("{texts}; db0_lists_items:4=4,8=8,16=5; db0_sets_items:4=1; db2_sets_items:4=1")
    );
    assert_eq!(client.ask("SWAPDB 0 2"), "+OK");
    assert_eq!(client.ask("FLUSHDB"), "+OK");
    assert_eq!(
        key_sizes(&mut client),
        format!("{}; db2_lists_items:4=4,8=8,16=5; db2_sets_items:4=1", texts.replace("db0", "db2"))
    );
    // They survive a restart's way of coming in, and an expiry takes them away.
    assert_eq!(client.ask("SELECT 2"), "+OK");
    assert_eq!(client.ask("SAVE"), "+OK");
    let before = key_sizes(&mut client);
    assert_eq!(client.ask("DEBUG RELOAD"), "+OK");
    assert_eq!(key_sizes(&mut client), before);
    for line in ["INFO", "INFO default"] {
        assert!(!client.call(line).text().contains("# Keysizes"));
    }
    for line in ["INFO all", "INFO everything"] {
        assert!(client.call(line).text().contains("db2_distrib_sets_items:4=1"));
    }
    let names: Vec<String> = (0..20).map(|index| format!("text:{index}")).collect();
    for name in &names {
        assert_eq!(client.ask(&format!("PEXPIRE {name} 1")), ":1");
    }
    support::eventually("what has expired is counted no more", || !key_sizes(&mut client).contains("strings"));
}

#[test]
fn errors_are_told_apart_by_kind_as_long_as_there_are_not_too_many() {
    let server = Server::torc(1, &[]);
    let mut client = server.client();
    let made_up = "EVAL \"return redis.error_reply(ARGV[1] .. ' made up')\" 0";
    for index in 0..200 {
        assert_eq!(client.ask(&format!("{made_up} KIND{index}")), format!("-KIND{index} made up"));
    }
    let together = client.info("errorstat_ERRORSTATS_OVERFLOW");
    assert_eq!(together, "count=72");
    assert!(client.ask("GET").starts_with("-ERR"));
    assert_eq!(client.ask(&format!("{made_up} KIND5")), "-KIND5 made up");
    assert_eq!((client.info("errorstat_ERR"), client.info("errorstat_KIND5")), ("count=1".into(), "count=2".into()));
    assert_eq!(client.info("errorstat_ERRORSTATS_OVERFLOW"), together);
    assert_eq!(client.info_number("total_error_replies"), 202);
}

#[test]
fn a_wait_that_ends_by_an_error_counts_as_a_failed_call() {
    for shards in [1, 3] {
        let server = Server::torc(shards, &[]);
        let (mut client, mut waiting) = (server.client(), server.client());
        let id = waiting.call("CLIENT ID").integer();
        waiting.send(&support::encode(&support::words("BLPOP list 0")));
        support::eventually("it waits", || client.info_number("blocked_clients") == 1);
        assert_eq!(client.ask(&format!("CLIENT UNBLOCK {id} ERROR")), ":1");
        assert_eq!(waiting.reply().to_string(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
        assert_eq!(client.info("errorstat_UNBLOCKED"), "count=1");
        let told = client.info("cmdstat_blpop");
        assert!(told.starts_with("calls=1,") && told.ends_with("rejected_calls=0,failed_calls=1"), "{told}");
    }
}

#[test]
fn disconnections_by_limits_are_counted() {
    let server = Server::torc(3, &[]);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET client-query-buffer-limit 1mb"), "+OK");
    let mut talker = server.client();
    talker.sends(&[b"*1\r\n$2000000\r\n", &vec![b'x'; 1_100_000][..]].concat());
    assert!(talker.is_closed_by_server());
    assert_eq!(client.info_number("client_query_buffer_limit_disconnections"), 1);
    // A whole command that is too long is not run, however little of it comes last.
    let mut talker = server.client();
    talker.sends(&support::encode(&["SET", "long", &"x".repeat(1 << 20)]));
    assert!(talker.is_closed_by_server());
    assert_eq!(client.info_number("client_query_buffer_limit_disconnections"), 2);
    assert_eq!(client.ask("EXISTS long"), ":0");
    assert_eq!(client.ask(&format!("SET long {}", "x".repeat(100_000))), "+OK");
    let mut reader = server.client();
    // What fits into the buffer that each client has is within any limit.
    assert_eq!(client.ask("CONFIG SET client-output-buffer-limit \"normal 10 0 0\""), "+OK");
    assert_eq!(client.ask(&format!("SET short {}", "x".repeat(10_000))), "+OK");
    assert_eq!(client.call("GET short").bytes().len(), 10_000);
    assert_eq!(client.ask("CONFIG SET client-output-buffer-limit \"normal 50000 0 0\""), "+OK");
    reader.send(&support::encode(&["GET", "long"]));
    assert!(reader.is_closed_by_server());
    assert_eq!(client.ask("CONFIG SET client-output-buffer-limit \"normal 0 0 0\""), "+OK");
    assert_eq!(client.info_number("client_output_buffer_limit_disconnections"), 1);
}

#[test]
fn turns_and_what_they_take_are_counted() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    let names = ["eventloop_cycles", "eventloop_duration_sum", "eventloop_duration_cmd_sum"];
    let before = names.map(|name| client.info_number(name));
    let words = support::words("EVAL \"local n = 0; for i = 1, 300000 do n = n + i end; return n\" 0");
    client.call_bytes(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    support::eventually("all have grown", || {
        let after = names.map(|name| client.info_number(name));
        after.iter().zip(before).all(|(after, before)| *after > before)
    });
    support::eventually("rates are known", || client.info_number("instantaneous_eventloop_cycles_per_sec") > 0);
}

#[test]
fn what_turns_are_made_of_is_told_to_those_who_ask_for_it() {
    let server = Server::torc(2, &[]);
    let mut client = server.client();
    for line in ["INFO", "INFO all", "INFO everything"] {
        assert!(!client.call(line).text().contains("eventloop_cmd_per_cycle_max"));
    }
    let figure = |client: &mut Client, name: &str| {
        let report = client.call("INFO debug").text();
        let value = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{name} in {report}")).parse::<u64>().expect("a number")
    };
    let took = figure(&mut client, "eventloop_duration_cron_sum");
    support::eventually("regular work takes time", || figure(&mut client, "eventloop_duration_cron_sum") > took);
    assert_eq!(figure(&mut client, "eventloop_duration_aof_sum"), 0);
    assert!(figure(&mut client, "eventloop_duration_max") > 0);
    // Commands that come at once run in one turn.
    client.send(&support::encode(&["PING"]).repeat(20));
    (0..20).for_each(|_| assert_eq!(client.reply().text(), "PONG"));
    support::eventually("it is seen", || figure(&mut client, "eventloop_cmd_per_cycle_max") >= 20);
    assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
    assert!(figure(&mut client, "eventloop_cmd_per_cycle_max") < 20);
}

#[test]
fn statistics_count_what_happens() {
    let server = Server::torc(3, &[]);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
    let names = ["total_reads_processed", "total_writes_processed", "total_net_input_bytes", "total_net_output_bytes"];
    let before = names.map(|name| client.info_number(name));
    for index in 0..50 {
        assert_eq!(client.ask(&format!("SET key:{index} value")), "+OK");
    }
    let after = names.map(|name| client.info_number(name));
    for (name, (before, after)) in names.iter().zip(before.into_iter().zip(after)) {
        assert!(after >= before + 50, "{name}: {before} and then {after}");
    }
}

#[test]
fn the_configuration_file_is_told() {
    let directory = support::server::new_directory();
    let path = directory.join("torc.conf");
    std::fs::write(&path, "timeout 0\n").expect("a file");
    // The first argument is the file; what follows are directives of the start.
    for server in [Some(Server::torc_with_file(&path)), Server::real_with_file(&path)].into_iter().flatten() {
        assert_eq!(server.client().info("config_file"), path.to_str().expect("text"), "{}", server.name);
    }
    assert_eq!(Server::torc(1, &[]).client().info("config_file"), "");
    std::fs::remove_dir_all(directory).expect("a directory");
}

#[test]
fn time_has_microseconds_and_never_goes_back() {
    for server in [Some(Server::torc(2, &[])), Server::real(&[])].into_iter().flatten() {
        let mut client = server.client();
        let mut now = || {
            let reply = client.call("TIME");
            let part = |index: usize| reply.elements()[index].text().parse::<u64>().expect("a number");
            assert!(part(1) < 1_000_000, "{reply}");
            part(0) * 1_000_000 + part(1)
        };
        let times: Vec<u64> = (0..200).map(|_| now()).collect();
        assert!(times.is_sorted(), "{}: {times:?}", server.name);
        assert!(times.iter().any(|time| time % 1000 != 0), "{}: whole milliseconds only", server.name);
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        // Hours, so that only another clock is found out.
        assert!(times[0].abs_diff(since_epoch.as_micros() as u64) < 3_600_000_000, "{}", server.name);
    }
}

#[test]
fn client_list_names_true_descriptors() {
    for server in [Some(Server::torc(3, &[])), Server::real(&[])].into_iter().flatten() {
        let mut clients: Vec<Client> = (0..9).map(|_| server.client()).collect();
        assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
        let list = clients[0].call("CLIENT LIST").text();
        let mut seen = BTreeSet::new();
        for client in &clients {
            let own = client.stream.local_addr().expect("an address");
            let line = list.lines().find(|line| line.contains(&format!(" addr={own} "))).expect("its line");
            let number = line.split_whitespace().find_map(|field| field.strip_prefix("fd=")).expect("its descriptor");
            assert!(seen.insert(number.to_string()), "{number} twice:\n{list}");
            let target =
                std::fs::read_link(format!("/proc/{}/fd/{number}", server.process_id())).expect("an open file");
            assert!(target.to_string_lossy().starts_with("socket:"), "{}: {number} is {target:?}", server.name);
        }
    }
}
