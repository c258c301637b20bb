//! What `ps` shows: the title of the process, in the place of its command line.
//!
//! ```text
//!   before   torc-server\0/etc/torc/torc.conf\0PATH=...\0HOME=...\0
//!   after    torc-server 127.0.0.1:6379\0\0\0\0\0\0\0\0\0\0\0\0\0\0        the environment has moved to the heap
//!            └ argument block ─┘└ environment ─┘
//! ```
//! Linux reads the command line from where the process was given it (proc(5), `/proc/PID/cmdline`), and goes on into the environment
//! behind it if the last byte is no NUL any more. So the environment moves away first, and a title may be as long as both were.
#![allow(unsafe_code)]

use crate::config::Config;
use std::ffi::{CStr, c_char};
use std::io;
use std::sync::{Mutex, PoisonError};

unsafe extern "C" {
    /// The environment as C keeps it (environ(7)): pointers to texts, the last one null.
    static mut environ: *mut *mut c_char;
}

/// The title that a configuration asks for: `proc-title-template` with its names filled in.
pub fn title(config: &Config, program: &str) -> String {
    let network = &config.network;
    let first = network.bind.first().map_or("*", |address| address.host.as_str());
    let host = if matches!(first, "*" | "::*" | "0.0.0.0") { "*" } else { first };
    let socket = network.unix_socket.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let listens = match config.main_port() {
        0 => socket.clone(),
        port => format!("{host}:{port}"),
    };
    let file = config.process.config_file.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let template = String::from_utf8_lossy(&config.process.title_template).into_owned();
    let filled = [
        ("{title}", program),
        ("{listen-addr}", &listens),
        ("{server-mode}", ""),
        ("{port}", &network.port.to_string()),
        ("{tls-port}", &config.tls.port.to_string()),
        ("{unixsocket}", &socket),
        ("{config-file}", &file),
    ];
    filled.into_iter().fold(template, |text, (name, value)| text.replace(name, value)).trim_end().to_owned()
}

/// Where the arguments begin, where they end, and where the environment ends that follows them (proc(5), `/proc/PID/stat`, fields 48, 49
/// and 51; 50 is where it begins).
fn blocks() -> io::Result<[usize; 4]> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The first field behind the name is the third.
    let field = |number: usize| after_name.split_whitespace().nth(number - 3)?.parse::<usize>().ok();
    let found = [48, 49, 50, 51].map(field);
    match found {
        [Some(a), Some(b), Some(c), Some(d)] if a > 0 && a < b && b <= c && c <= d => Ok([a, b, c, d]),
        _ => Err(io::Error::other("the kernel does not tell where the command line is")),
    }
}

/// Where the title is and how many bytes it may have, once the place is the title's.
static ROOM: Mutex<Option<(usize, usize)>> = Mutex::new(None);

/// Makes the place of the command line the title's, and shows the one that a configuration asks for. To be called once, while
/// there is one thread.
pub fn take_place(config: &Config) -> io::Result<()> {
    let [begin, arguments_end, environment, environment_end] = blocks()?;
    // Where the two do not meet, only the arguments' place is shown.
    let end = if environment == arguments_end { environment_end } else { arguments_end };
    move_environment();
    *ROOM.lock().unwrap_or_else(PoisonError::into_inner) = Some((begin, end - begin));
    show(config);
    Ok(())
}

/// Shows the title that a configuration asks for, or as much of it as there is room for; nothing where the place was not taken.
pub fn show(config: &Config) {
    let room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((begin, bytes)) = *room else { return };
    let title = title(config, "torc-server");
    let length = title.len().min(bytes - 1);
    // SAFETY: the block is writable memory of the process that nothing refers to any more: whoever asked for the arguments has a copy,
    // and the environment has moved. Who writes there holds the lock.
    unsafe {
        let block = begin as *mut u8;
        std::ptr::copy_nonoverlapping(title.as_ptr(), block, length);
        std::ptr::write_bytes(block.add(length), 0, bytes - length);
    }
}

/// Gives each variable a place on the heap, for as long as the process lives.
fn move_environment() {
    // SAFETY: C's environment is a list that ends with null, and nobody changes it now: there is one thread.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            *entry = CStr::from_ptr(*entry).to_owned().into_raw();
            entry = entry.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Machine, Start};

    fn of(arguments: &[&str]) -> String {
        let arguments: Vec<String> = ["torc-server"].iter().chain(arguments).map(ToString::to_string).collect();
        match Config::load(&arguments, &mut Machine) {
            Ok(Start::Serve(loaded)) => title(&loaded.config, "torc-server"),
            _ => panic!("{arguments:?} is no configuration"),
        }
    }

    #[test]
    fn titles_say_where_the_server_listens() {
        assert_eq!(of(&[]), "torc-server *:6379");
        assert_eq!(of(&["--bind", "127.0.0.1 -::1"]), "torc-server 127.0.0.1:6379");
        assert_eq!(of(&["--bind", "* -::*", "--port", "7000"]), "torc-server *:7000");
        assert_eq!(of(&["--port", "0", "--unixsocket", "/run/socket"]), "torc-server /run/socket");
        assert_eq!(of(&["--port", "0", "--tls-port", "7001"]), "torc-server *:7001");
        let ports = ["--port", "7000", "--tls-port", "7001"];
        assert_eq!(of(&ports), "torc-server *:7000");
        let both = [&["--proc-title-template", "{port} {tls-port}"], &ports[..]].concat();
        assert_eq!(of(&both), "7000 7001");
        let template = "{title}: {port} {server-mode}{config-file}";
        assert_eq!(of(&["--proc-title-template", template]), "torc-server: 6379");
    }
}
