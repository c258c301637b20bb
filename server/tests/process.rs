//! The process as the system and its supervisors see it: directory, pid file, background, signals, systemd. What the real
//! server does too is checked on both.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::server::{TORC, free_port, new_directory, run_to_end};
use support::{Client, PATIENCE, Server, eventually};

const REAL: &str = "/usr/bin/redis-server";

/// Ours and, where there is one, the real one.
fn programs() -> impl Iterator<Item = &'static str> {
    [TORC, REAL].into_iter().filter(|program| Path::new(program).exists())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A start of this program with a directory of its own, on a port that is returned.
fn command(program: &str, directory: &Path) -> (Command, u16) {
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.current_dir(directory).stdin(Stdio::null());
    (command, port)
}

/// A child that ends with the test, also one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn everything_relative_is_in_dir() {
    for program in programs() {
        let (elsewhere, home) = (new_directory(), new_directory());
        let (mut command, port) = command(program, &elsewhere);
        command.args(["--dir", text(&home), "--unixsocket", "socket", "--pidfile", "pid", "--logfile", "lines"]);
        let mut child = Running(command.stdout(Stdio::null()).spawn().expect("it starts"));
        eventually("it serves", || Client::try_connect(port).is_ok());
        let mut client = Client::connect(port);
        assert_eq!(client.call("CONFIG GET dir").elements()[1].text(), text(&home));
        assert!(home.join("socket").exists() && home.join("lines").exists(), "{program}");
        assert_eq!(fs::read_to_string(home.join("pid")).expect("a pid file"), format!("{}\n", child.0.id()));
        assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 0);
        assert_eq!(client.ask("CONFIG SET dir /no/such/directory"), PROTECTED);
        client.send(b"SHUTDOWN NOSAVE\r\n");
        assert!(child.0.wait().expect("it ends").success());
        assert!(!home.join("pid").exists() && !home.join("socket").exists(), "{program} leaves something behind");
        for directory in [elsewhere, home] {
            fs::remove_dir_all(directory).expect("a directory");
        }
    }
}

const PROTECTED: &str = "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config";

#[test]
fn dir_changes_while_it_runs() {
    let home = new_directory();
    for server in [Some(Server::torc(2, ALLOW)), Server::real(ALLOW)].into_iter().flatten() {
        let mut client = server.client();
        assert_eq!(
            client.ask("CONFIG SET dir /no/such/directory"),
            "-ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or directory"
        );
        assert_eq!(client.ask(&format!("CONFIG SET dir {}", text(&home))), "+OK");
        let entered = fs::read_link(format!("/proc/{}/cwd", server.process_id())).expect("a running process");
        assert_eq!(entered, home);
        assert_eq!(client.ask("CONFIG GET dir"), format!("[\"dir\" \"{}\"]", text(&home)));
    }
    fs::remove_dir_all(home).expect("a directory");
}

const ALLOW: &[&str] = &["--enable-protected-configs", "yes"];

#[test]
fn a_directory_that_cannot_be_entered_ends_the_start() {
    let file = new_directory().join("file");
    fs::write(&file, "").expect("a file");
    for path in [Path::new("/no/such/directory"), &file] {
        let (code, said) = run_to_end(Command::new(TORC).args(["--port", "0", "--dir", text(path)]));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("directory"), "{said}");
    }
    fs::remove_dir_all(file.parent().expect("a directory")).expect("a directory");
}

#[test]
fn a_pid_file_that_cannot_be_written_stops_nothing() {
    let server = Server::torc(1, &["--pidfile", "/no/such/directory/pid"]);
    assert!(server.log().contains("Failed to write PID file"), "{}", server.log());
}

#[test]
fn a_start_that_fails_leaves_the_pid_file_of_another_alone() {
    let directory = new_directory();
    let pid_file = directory.join("pid");
    let server = Server::torc(1, &["--pidfile", text(&pid_file)]);
    let (mut second, _) = command(TORC, &directory);
    second.args(["--port", &server.port.to_string(), "--pidfile", text(&pid_file)]);
    let (code, said) = run_to_end(&mut second);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(fs::read_to_string(&pid_file).expect("a pid file"), format!("{}\n", server.process_id()));
    drop(server);
    fs::remove_dir_all(directory).expect("a directory");
}

/// A server in the background, known by its pid file; ends with the test.
struct Background {
    pid: u32,
    directory: PathBuf,
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.pid.to_string()]).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn in_the_background_it_serves_and_its_caller_goes_on() {
    for program in programs() {
        let directory = new_directory();
        let (mut start, port) = command(program, &directory);
        start.args(["--daemonize", "yes", "--pidfile", "pid", "--logfile", "lines"]);
        let (code, said) = run_to_end(&mut start);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{program}");
        let pid_file = directory.join("pid");
        eventually("it writes its pid file", || fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')));
        let pid: u32 = fs::read_to_string(&pid_file).expect("a pid file").trim().parse().expect("a number");
        let server = Background { pid, directory };
        // Ours is there when the caller is told so; the real one leaves that open.
        eventually("it serves", || program == TORC || Client::try_connect(port).is_ok());
        let mut client = Client::connect(port);
        assert_eq!(client.info_number("process_id"), u64::from(pid));
        assert_eq!(client.call("CONFIG GET daemonize").elements()[1].text(), "yes");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
        let session = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(3).expect("a session");
        assert_eq!(session, pid.to_string(), "{program}: a session of its own");
        for stream in 0..3 {
            let target = fs::read_link(format!("/proc/{pid}/fd/{stream}")).expect("a stream");
            assert_eq!(target, Path::new("/dev/null"), "{program}");
        }
        client.send(b"SHUTDOWN NOSAVE\r\n");
        eventually("it ends", || !pid_file.exists() && Client::try_connect(port).is_err());
        let lines = fs::read_to_string(server.directory.join("lines")).expect("a log");
        assert!(lines.contains("Ready to accept connections"), "{program}: {lines}");
    }
}

#[test]
fn a_start_in_the_background_that_fails_is_heard_of() {
    let (directory, server) = (new_directory(), Server::torc(1, &[]));
    let (mut start, _) = command(TORC, &directory);
    start.args(["--port", &server.port.to_string(), "--daemonize", "yes", "--pidfile", "pid", "--logfile", "lines"]);
    let (code, said) = run_to_end(&mut start);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Address already in use"), "{said}");
    assert!(!directory.join("pid").exists());
    fs::remove_dir_all(directory).expect("a directory");
}

#[test]
fn systemd_is_told() {
    let directory = new_directory();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    // Under a supervisor it stays in the foreground, whatever `daemonize` says.
    let (mut start, port) = command(TORC, &directory);
    start.args(["--supervised", "auto", "--daemonize", "yes"]).env("NOTIFY_SOCKET", &path).stdout(Stdio::null());
    let mut child = Running(start.spawn().expect("it starts"));
    let hear = || {
        let mut words = [0; 4096];
        let length = socket.recv(&mut words).expect("a word");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let word = hear();
    assert!(word.contains("READY=1\n") && word.contains("STATUS=Ready to accept connections\n"), "{word}");
    let mut client = Client::connect(port);
    assert_eq!(client.info_number("process_id"), u64::from(child.0.id()));
    assert_eq!(client.info("process_supervised"), "systemd");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(hear().contains("STOPPING=1\n"));
    assert!(child.0.wait().expect("it ends").success());
    fs::remove_dir_all(directory).expect("a directory");
}

#[test]
fn a_supervisor_that_is_not_there_is_missed_in_the_log() {
    for mut server in [Some(Server::torc(1, MISSING)), Server::real(MISSING)].into_iter().flatten() {
        assert!(server.log().contains("systemd supervision error: NOTIFY_SOCKET not found!"), "{}", server.log());
        assert_eq!(server.client().info("process_supervised"), "no");
        assert!(server.is_running());
    }
}

const MISSING: &[&str] = &["--supervised", "systemd"];

#[test]
fn a_hangup_is_no_reason_to_end_and_a_signal_is() {
    for mut server in [Some(Server::torc(2, &[])), Server::real(&[])].into_iter().flatten() {
        server.signal("HUP");
        server.signal("PIPE");
        assert_eq!(server.client().ask("PING"), "+PONG");
        assert!(server.is_running());
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "{}", server.name);
        assert!(server.log().contains("bye bye"), "{}", server.log());
    }
}

#[test]
fn the_title_says_where_the_server_listens_unless_it_is_not_to() {
    let command_line = |server: &Server| {
        let bytes = fs::read(format!("/proc/{}/cmdline", server.process_id())).expect("a running process");
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    };
    let server = Server::torc(2, &[]);
    assert_eq!(command_line(&server), format!("torc-server 127.0.0.1:{}", server.port));
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET bind \"127.0.0.2 127.0.0.1\""), "+OK");
    assert_eq!(command_line(&server), format!("torc-server 127.0.0.2:{}", server.port));
    assert_eq!(client.ask("CONFIG SET proc-title-template \"{title} on {port}\""), "+OK");
    assert_eq!(command_line(&server), format!("torc-server on {}", server.port));
    // Longer than the command line was: it goes on where the environment stood.
    let template = "{title} {listen-addr} ".to_owned() + &"x".repeat(400);
    let server = Server::torc(1, &["--proc-title-template", &template]);
    let title = command_line(&server);
    assert!(title.starts_with(&format!("torc-server 127.0.0.1:{} xxx", server.port)), "{title}");
    let server = Server::torc(1, &["--set-proc-title", "no"]);
    assert!(command_line(&server).contains("--set-proc-title\0no"), "{}", command_line(&server));
}

#[test]
fn the_score_for_when_memory_runs_out_follows_the_configuration() {
    let score = |server: &Server| {
        let text = fs::read_to_string(format!("/proc/{}/oom_score_adj", server.process_id())).expect("a process");
        text.trim().parse::<i32>().expect("a number")
    };
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").expect("ours").trim().parse().expect("a number");
    let server = Server::torc(2, &["--oom-score-adj", "relative", "--oom-score-adj-values", "30 200 800"]);
    assert_eq!(score(&server), own + 30);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET oom-score-adj-values \"40 200 800\""), "+OK");
    assert_eq!(score(&server), own + 40);
    assert_eq!(client.ask("CONFIG SET oom-score-adj no"), "+OK");
    assert_eq!(score(&server), own);
    // Whatever the system says to less than there is: both servers hear and tell it.
    let told = |server: Server| {
        let mut client = server.client();
        let mut told = vec![client.ask("CONFIG SET oom-score-adj-values \"-1000 -1000 -1000\"")];
        told.push(client.ask("CONFIG SET oom-score-adj yes maxmemory-samples 7"));
        told.push(client.ask("CONFIG GET oom-score-adj"));
        told.push(client.ask("CONFIG GET maxmemory-samples"));
        told
    };
    if let Some(real) = Server::real(&[]) {
        assert_eq!(told(Server::torc(3, &[])), told(real));
    }
}
