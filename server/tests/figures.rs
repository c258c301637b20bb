//! What the server says of itself is true, and named as the real server names it: INFO, TIME, CLIENT LIST.

mod support;

use std::collections::BTreeSet;
use support::{Client, Server};

/// Fields of the real server's INFO that we leave out, and why. Sections that are not compared: persistence and
/// replication come with what they tell of.
const LEFT_OUT: &[(&str, &str)] = &[
    ("redis_git_sha1", "of another program"),
    ("redis_git_dirty", "of another program"),
    ("redis_build_id", "of another program"),
    ("atomicvar_api", "of another program"),
    ("gcc_version", "no C compiler was used"),
    ("client_recent_max_input_buffer", "not kept"),
    ("client_recent_max_output_buffer", "not kept"),
    ("expired_stale_perc", "expiry goes by an index and finds no stale keys by chance"),
    ("expired_time_cap_reached_count", "expiry has a budget of entries, not of time"),
    ("expire_cycle_cpu_milliseconds", "not measured"),
    ("reply_buffer_shrinks", "reply buffers are reused, not resized"),
    ("reply_buffer_expands", "reply buffers are reused, not resized"),
    ("used_cpu_sys_main_thread", "the main thread waits, shards work"),
    ("used_cpu_user_main_thread", "the main thread waits, shards work"),
];

const COMPARED: &str = "INFO server clients memory stats cpu cluster";

fn fields(client: &mut Client) -> BTreeSet<String> {
    let report = client.call(COMPARED).text();
    report.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_string()).collect()
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
