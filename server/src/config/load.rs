//! From the command line to a [`Config`].
//!
//! ```text
//!   torc-server [file] [--directive value ...] [-]
//!
//!   1. defaults of the table
//!   2. the file, line by line; `include` reads another file in its place
//!   3. standard input, where `-` is the first or last argument
//!   4. the command line: `--port 6380` is the line `port "6380"` after all of these
//! ```
//! The last word wins, but for `save`, which adds up, and `client-output-buffer-limit`, which is one value a class. Lines
//! are counted through 2 to 4 as the real server counts them. The first line that is wrong ends the start.

use super::directive::{Context, Effect, Reason};
use super::special::plain_text;
use super::table::{DIRECTIVES, REFUSED, RETIRED};
use super::{Config, directive, glob, quote, special, split_words, without_effect};
use crate::access::RuleError;
use crate::access::file::UserLine;
use crate::command_table::CommandTable;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{fmt, io};

/// Names that rules and new names are about.
static KNOWN_COMMANDS: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(crate::commands::rows()));

/// Includes within includes; deeper than any real configuration, so that a file that includes itself is an error.
const INCLUDE_DEPTH_MAX: usize = 32;

/// What of the machine a start looks at; a seam, so that tests need no files.
pub trait Host {
    /// The content of a file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// Names in a directory; the empty path is where relative paths begin.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<OsString>>;
    /// Everything from standard input.
    fn stdin(&mut self) -> io::Result<Vec<u8>>;
    /// The absolute path of a directory that the process may enter.
    fn directory(&mut self, path: &Path) -> io::Result<PathBuf>;
    /// Whether a file can be opened for appending; creates it.
    fn can_append(&mut self, path: &Path) -> io::Result<()>;
    /// Cores that this process may run on.
    fn cores(&self) -> usize;
}

/// The machine that the process runs on.
#[derive(Debug, Default)]
pub struct Machine;

impl Host for Machine {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&mut self, directory: &Path) -> io::Result<Vec<OsString>> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn stdin(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::stdin(), &mut text)?;
        Ok(text)
    }

    fn directory(&mut self, path: &Path) -> io::Result<PathBuf> {
        // The dot makes a file of that name, and a directory that may not be entered, an error.
        path.join(".").canonicalize()
    }

    fn can_append(&mut self, path: &Path) -> io::Result<()> {
        std::fs::OpenOptions::new().append(true).create(true).open(path).map(drop)
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Start {
    /// Serve.
    Serve(Box<Loaded>),
    /// Print this and end with success: `--version`, `--check-config`.
    Print(String),
    /// Look at the machine: `--check-system`.
    CheckSystem,
}

/// A configuration, and what else the lines said.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file they come from, absolute.
    pub file: Option<PathBuf>,
    /// Directives set to something else than their default that nothing acts on yet.
    pub without_effect: Vec<&'static str>,
}

impl Loaded {
    /// The lines for the log that tell which directives were accepted in vain, and why.
    pub fn without_effect_notices(&self) -> impl Iterator<Item = String> {
        self.without_effect.iter().map(|name| format!("'{name}' has no effect here: {}", without_effect::reason(name)))
    }
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOrigin {
    /// A path, or what else it came from.
    pub source: String,
    /// From one.
    pub line: usize,
    /// The line without the spaces around it.
    pub text: String,
}

/// Why the server does not start. Shown as the text for standard error; the exit status is 1.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// A line is wrong.
    Line {
        /// Where.
        origin: LineOrigin,
        /// What is wrong.
        reason: String,
    },
    /// Every line is right, but not together.
    Whole {
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    File {
        /// As it was named.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The command line asks for something that is no start.
    Usage {
        /// What to print.
        text: String,
    },
}

impl StartError {
    fn at(origin: &LineOrigin, reason: impl Into<String>) -> Self {
        Self::Line { origin: origin.clone(), reason: reason.into() }
    }

    fn file(path: &Path, error: &io::Error) -> Self {
        Self::File { path: path.display().to_string(), reason: plain_text(error) }
    }
}

impl StartError {
    /// In one line: where, and what.
    fn line(&self) -> String {
        match self {
            Self::Line { origin: LineOrigin { source, line, text }, reason } => {
                format!("{source}:{line}: {reason}: {text}")
            }
            Self::Whole { reason } => reason.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = concat!("\n*** FATAL CONFIG FILE ERROR (Torc ", env!("CARGO_PKG_VERSION"), ") ***");
        match self {
            Self::Line { origin: LineOrigin { source, line, text }, reason } => {
                writeln!(f, "{heading}\nReading the configuration file, at line {line}\n>>> '{text}'")?;
                write!(f, "{reason}\n({source})")
            }
            Self::Whole { reason } => write!(f, "{heading}\n{reason}"),
            Self::File { path, reason } => write!(f, "Fatal error, can't open config file '{path}': {reason}"),
            Self::Usage { text } => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

impl Config {
    /// The configuration that a command line asks for; `arguments[0]` is the name the program was started under.
    pub fn load(arguments: &[String], host: &mut dyn Host) -> Result<Start, StartError> {
        let command_line = match parse_command_line(arguments)? {
            Request::Print(text) => return Ok(Start::Print(text)),
            Request::CheckSystem => return Ok(Start::CheckSystem),
            Request::Load(command_line) => command_line,
        };
        let mut loader = Loader::new(host);
        if command_line.check_only {
            return loader.check(&command_line).map(Start::Print);
        }
        Ok(Start::Serve(Box::new(loader.run(&command_line)?)))
    }

    /// What an empty file gives.
    pub(super) fn defaults(host: &mut dyn Host) -> Self {
        Loader::new(host).config
    }
}

/// A command line, taken apart.
#[derive(Debug, Default)]
struct CommandLine {
    file: Option<String>,
    reads_stdin: bool,
    check_only: bool,
    /// One `directive "value" ...` a line.
    lines: Vec<u8>,
}

enum Request {
    Print(String),
    CheckSystem,
    Load(CommandLine),
}

fn parse_command_line(arguments: &[String]) -> Result<Request, StartError> {
    let program = arguments.first().map_or("torc-server", String::as_str);
    let mut rest = arguments.get(1..).unwrap_or_default();
    match rest {
        [only] if only == "-v" || only == "--version" => return Ok(Request::Print(version(program))),
        [only] if only == "-h" || only == "--help" => return Err(StartError::Usage { text: usage(program) }),
        [first, ..] if first == "--test-memory" => {
            let text = format!("{first} is not part of Torc: use a tool of the system, such as memtester.");
            return Err(StartError::Usage { text });
        }
        [only] if only == "--check-system" => return Ok(Request::CheckSystem),
        _ => {}
    }
    let mut command_line = CommandLine::default();
    if let [first, after @ ..] = rest
        && first == "--check-config"
    {
        command_line.check_only = true;
        rest = after;
    }
    if let [first, after @ ..] = rest
        && !first.starts_with('-')
    {
        command_line.file = Some(first.clone());
        rest = after;
    }
    let stdin_may_come_first = command_line.file.is_none();
    // A directive without a value yet: the next argument is its value even if it begins with dashes.
    let mut wants_value = false;
    for (at, argument) in rest.iter().enumerate() {
        let next = rest.get(at + 1);
        let lines = &mut command_line.lines;
        match argument.strip_prefix("--") {
            _ if argument == "-" && (next.is_none() || (at == 0 && stdin_may_come_first)) => {
                command_line.reads_stdin = true;
            }
            _ if argument == "--check-config" && !wants_value => command_line.check_only = true,
            Some(directive) if !wants_value => {
                begin_line(lines, directive);
                let has_value = split_words(argument.as_bytes()).is_some_and(|words| words.len() > 1);
                let is_last = next.is_none_or(|next| next.starts_with("--"));
                if argument.eq_ignore_ascii_case("--save") && is_last {
                    // What a program writes that builds a command line from an empty list of save points.
                    lines.extend_from_slice(b"\"\"");
                } else {
                    wants_value = !has_value;
                }
            }
            _ => {
                lines.extend_from_slice(&quote(argument.as_bytes()));
                lines.push(b' ');
                wants_value = false;
            }
        }
    }
    Ok(Request::Load(command_line))
}

fn begin_line(lines: &mut Vec<u8>, directive: &str) {
    if !lines.is_empty() {
        lines.push(b'\n');
    }
    lines.extend_from_slice(directive.as_bytes());
    lines.push(b' ');
}

/// Under the name of another server, the line that programs written for it take apart.
fn version(program: &str) -> String {
    let torc = env!("CARGO_PKG_VERSION");
    let program = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let clients_see = DEFAULT_REDIS_VERSION;
    if program.starts_with("redis") {
        format!("Redis server v={clients_see} sha=00000000:0 malloc=mimalloc bits=64 build=torc-{torc}")
    } else if program.starts_with("valkey") {
        format!("Valkey server v={clients_see} sha=00000000:0 malloc=mimalloc bits=64 build=torc-{torc}")
    } else {
        format!("Torc server v={torc} redis={clients_see} malloc=mimalloc bits=64")
    }
}

/// The version that clients see unless `redis-version` says another.
pub(super) const DEFAULT_REDIS_VERSION: &str = "8.0.0";

fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [/path/to/redis.conf] [--directive value ...] [-]
       {program} -                     read the configuration from standard input
       {program} -v, --version
       {program} -h, --help
       {program} --check-config [...]  read the configuration, say everything that is wrong with it, and end
       {program} --check-system        look at the machine, say what to change, and end

Examples:
       {program}                       serve on port 6379
       {program} --port 7777 --shards 2
       {program} /etc/redis/redis.conf --loglevel verbose
       echo 'maxclients 100' | {program} -"
    )
}

/// One start.
struct Loader<'a> {
    config: Config,
    host: &'a mut dyn Host,
    first_save: bool,
    depth: usize,
    /// What is wrong so far, where all of it is to be told instead of the first.
    errors: Option<Vec<StartError>>,
}

impl<'a> Loader<'a> {
    fn new(host: &'a mut dyn Host) -> Self {
        let mut config = Config::default();
        config.process.directory = special::start_directory(host);
        let shards = host.cores().clamp(1, crate::shared::SHARDS_MAX) as u16;
        let mut context = Context { host: &mut *host, first_save: true, at_run_time: false };
        for row in DIRECTIVES {
            row.set_default(&mut config, &mut context);
        }
        config.shards = shards;
        Self { config, host, first_save: true, depth: 0, errors: None }
    }

    /// `--check-config`: whether it is valid, what of it has no effect; or everything that is wrong.
    fn check(&mut self, command_line: &CommandLine) -> Result<String, StartError> {
        self.errors = Some(Vec::new());
        let outcome = self.run(command_line);
        let mut errors = self.errors.take().unwrap_or_default();
        match outcome {
            Ok(loaded) if errors.is_empty() => {
                let mut text = "The configuration is valid.".to_owned();
                loaded.without_effect_notices().for_each(|notice| text.push_str(&format!("\nNote: {notice}")));
                return Ok(text);
            }
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
        let count = errors.len();
        let mut text = errors.iter().map(StartError::line).collect::<Vec<_>>().join("\n");
        text.push_str(&format!(
            "\nThe configuration is not valid: {count} error{}.",
            if count == 1 { "" } else { "s" }
        ));
        Err(StartError::Usage { text })
    }

    fn run(&mut self, command_line: &CommandLine) -> Result<Loaded, StartError> {
        let defaults = self.config.clone();
        let mut lines_before = 0;
        let file = command_line.file.as_ref().map(|file| self.config.process.directory.join(file));
        if let Some(path) = &file {
            lines_before += self.read_file(path)?;
        }
        if command_line.reads_stdin {
            let text = self.host.stdin().map_err(|error| StartError::file(Path::new("-"), &error))?;
            lines_before += self.read_text("standard input", lines_before, &text)?;
        }
        if !command_line.lines.is_empty() {
            self.read_text("command line", lines_before + 1, &command_line.lines)?;
        }
        self.config.process.config_file.clone_from(&file);
        self.check_whole()?;
        let in_vain = DIRECTIVES.iter().filter(|row| row.effect == Effect::None);
        let without_effect = in_vain.filter(|row| row.get(&self.config) != row.get(&defaults)).map(|row| row.name);
        Ok(Loaded { without_effect: without_effect.collect(), config: std::mem::take(&mut self.config), file })
    }

    /// What no line can tell alone.
    fn check_whole(&mut self) -> Result<(), StartError> {
        if let Some(file) = &self.config.log.file {
            let path = self.config.process.directory.join(file);
            self.host.can_append(&path).map_err(|error| StartError::Whole {
                reason: format!("Can't open the log file: {}", plain_text(&error)),
            })?;
        }
        let kept = |name: &str| self.config.kept.get(name).map(Vec::as_slice).unwrap_or_default();
        if self.config.security.users_file.is_some() && !self.config.security.users.is_empty() {
            let reason = "Configuring Torc with users defined in its configuration file and at the same setting an ACL file \
                          path is invalid. This setup is very likely to lead to configuration errors and security holes, \
                          please define either an ACL file or declare users directly in your configuration file, but not both.";
            return Err(StartError::Whole { reason: reason.to_owned() });
        }
        if kept("cluster-enabled") == b"yes" && !kept("replicaof").is_empty() {
            return Err(StartError::Whole { reason: "replicaof directive not allowed in cluster mode".to_owned() });
        }
        self.config.admin.check().map_err(|reason| StartError::Whole { reason })
    }

    /// Reads a file; returns how many line ends it has.
    fn read_file(&mut self, path: &Path) -> Result<usize, StartError> {
        let found = self.config.process.directory.join(path);
        let text = self.host.read(&found).map_err(|error| StartError::file(path, &error))?;
        self.read_text(&found.display().to_string(), 0, &text)
    }

    /// Reads lines, numbered after those before; returns how many line ends there are.
    fn read_text(&mut self, source: &str, lines_before: usize, text: &[u8]) -> Result<usize, StartError> {
        let mut lines = 0;
        for line in text.split(|&byte| byte == b'\n') {
            lines += 1;
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let origin = LineOrigin {
                source: source.to_owned(),
                line: lines_before + lines,
                text: String::from_utf8_lossy(line).into_owned(),
            };
            let words =
                split_words(line).ok_or_else(|| StartError::at(&origin, "Unbalanced quotes in configuration line"));
            let words = match words {
                Ok(words) => words,
                Err(error) => {
                    self.note_error(error)?;
                    continue;
                }
            };
            if let [name, values @ ..] = words.as_slice()
                && let Err(error) = self.read_line(&origin, name, values)
            {
                self.note_error(error)?;
            }
        }
        Ok(lines - 1)
    }

    /// A line is wrong: the end of the start, unless all errors are wanted.
    fn note_error(&mut self, error: StartError) -> Result<(), StartError> {
        match &mut self.errors {
            Some(errors) => errors.push(error),
            None => return Err(error),
        }
        Ok(())
    }

    fn read_line(&mut self, origin: &LineOrigin, name: &[u8], values: &[Vec<u8>]) -> Result<(), StartError> {
        let refuse = |reason: &str| Err(StartError::at(origin, reason));
        if let Some((row, _)) = directive(name) {
            let mut context = Context { host: self.host, first_save: self.first_save, at_run_time: false };
            let outcome = match values {
                // `--save "60 1 300 10"` is one argument that holds several words.
                [only] if row.takes_many_words() && !only.is_empty() => split_words(only)
                    .ok_or(Reason::Borrowed("Unbalanced quotes in configuration line"))
                    .and_then(|words| row.set(&mut self.config, &words, &mut context)),
                _ => row.set(&mut self.config, values, &mut context),
            };
            self.first_save = context.first_save;
            return outcome.map_err(|reason| StartError::at(origin, reason));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name)
            && !values.is_empty()
        {
            return refuse(reason);
        }
        match (name.as_str(), values) {
            ("include", [pattern]) => self.include(origin, Path::new(OsStr::from_bytes(pattern))),
            ("rename-command", [old, new]) => self.rename(old, new).map_err(|reason| StartError::at(origin, reason)),
            ("user", [_, ..]) => self.add_user(values).map_err(|reason| StartError::at(origin, reason)),
            (retired, [_]) if RETIRED.contains(&retired) => Ok(()),
            (of_module, []) if of_module.contains('.') => refuse("Module config specified without value"),
            (of_module, _) if of_module.contains('.') => refuse("modules cannot be loaded into Torc"),
            _ => refuse("Bad directive or wrong number of arguments"),
        }
    }

    /// `rename-command`: an empty name takes the command from clients.
    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), &'static str> {
        let (old, new) = (old.to_ascii_lowercase(), new.to_ascii_lowercase());
        let renamings = &mut self.config.security.renamings;
        let is_there = |name: &[u8]| match renamings.iter().rev().find(|(old, new)| name == old || name == new) {
            Some((_, renamed)) => name == renamed && !name.is_empty(),
            None => KNOWN_COMMANDS.find(name).is_some(),
        };
        if !is_there(&old) {
            return Err("No such command in rename-command");
        }
        if is_there(&new) {
            return Err("Target command name already exists");
        }
        renamings.push((old, new));
        Ok(())
    }

    /// `user name rules`.
    fn add_user(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let told = |word: &[u8], reason: &str| {
            format!("Error in user declaration '{}': {reason}", String::from_utf8_lossy(word))
        };
        let line = UserLine::parse(words, &KNOWN_COMMANDS).map_err(|(word, reason)| told(&word, &reason))?;
        if self.config.security.users.iter().any(|other| other.name == line.name) {
            return Err(told(&line.name, RuleError::DuplicateUser.text()));
        }
        self.config.security.users.push(line);
        Ok(())
    }

    /// Reads the file, or every file that fits the pattern; a pattern that nothing fits is no error.
    fn include(&mut self, origin: &LineOrigin, path: &Path) -> Result<(), StartError> {
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(StartError::at(origin, "Too many includes within includes"));
        }
        let files = if glob::is_pattern(path.as_os_str().as_bytes()) {
            let pattern = self.config.process.directory.join(path);
            glob::files(&pattern, self.host)
        } else {
            vec![path.to_owned()]
        };
        self.depth += 1;
        for file in files {
            self.read_file(&file)?;
        }
        self.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Files by path, standard input, and three cores. Every directory exists but `/nonexistent`.
    #[derive(Default)]
    pub(in super::super) struct FakeMachine {
        pub(in super::super) files: BTreeMap<PathBuf, Vec<u8>>,
        pub(in super::super) stdin: Vec<u8>,
    }

    impl FakeMachine {
        fn with(files: &[(&str, &str)]) -> Self {
            let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
            Self { files: files.collect(), stdin: Vec::new() }
        }
    }

    impl Host for FakeMachine {
        fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
            self.files.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
        }

        fn list(&mut self, directory: &Path) -> io::Result<Vec<OsString>> {
            let inside = self.files.keys().filter_map(|path| path.strip_prefix(directory).ok());
            Ok(inside.filter_map(|path| path.iter().next()).map(OsStr::to_owned).collect())
        }

        fn stdin(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.stdin.clone())
        }

        fn directory(&mut self, path: &Path) -> io::Result<PathBuf> {
            if path.starts_with("/nonexistent") {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            }
            Ok(Path::new("/start").join(path).components().filter(|part| part.as_os_str() != ".").collect())
        }

        fn can_append(&mut self, path: &Path) -> io::Result<()> {
            self.directory(path).map(drop)
        }

        fn cores(&self) -> usize {
            3
        }
    }

    fn try_load(arguments: &[&str], host: &mut FakeMachine) -> Result<Start, StartError> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Config::load(&arguments, host)
    }

    /// The outcome of a start that must succeed.
    pub(in super::super) fn load(arguments: &[&str]) -> Loaded {
        load_on(arguments, &mut FakeMachine::default())
    }

    /// The same with these files.
    pub(in super::super) fn load_with(arguments: &[&str], files: &[(&str, &str)]) -> Loaded {
        load_on(arguments, &mut FakeMachine::with(files))
    }

    fn load_on(arguments: &[&str], host: &mut FakeMachine) -> Loaded {
        match try_load(arguments, host) {
            Ok(Start::Serve(loaded)) => *loaded,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    /// Checks where a start fails, and why.
    fn check_refusal(arguments: &[&str], host: &mut FakeMachine, line: usize, text: &str, reason: &str) {
        match try_load(arguments, host) {
            Err(StartError::Line { origin, reason: found }) => {
                assert_eq!((origin.line, origin.text.as_str(), found.as_str()), (line, text, reason), "{arguments:?}");
            }
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let config = load(&["torc-server"]).config;
        assert_eq!((config.network.port, config.shards, config.keyspace.databases), (6379, 3, 16));
        assert_eq!(config.persistence.save.len(), 3);
        assert_eq!(config.process.directory, Path::new("/start"));
        assert!(load(&["torc-server"]).without_effect.is_empty());
    }

    #[test]
    fn the_command_line_is_lines_after_the_file() {
        let mut host = FakeMachine::with(&[("/start/a.conf", "port 1\ntimeout 7\n")]);
        host.stdin = b"timeout 8\nhz 20".to_vec();
        let loaded =
            load_on(&["torc-server", "a.conf", "--port", "2", "--save", "5 1 6 2", "--hz", "30", "-"], &mut host);
        let config = loaded.config;
        assert_eq!((config.network.port, config.clients.idle_timeout_s, config.process.hz), (2, 8, 30));
        assert_eq!(config.persistence.save.len(), 2);
        assert_eq!(loaded.file, Some(PathBuf::from("/start/a.conf")));
    }

    #[test]
    fn an_empty_save_may_stand_anywhere() {
        for arguments in [
            &["s", "--save", "", "--port", "5"][..],
            &["s", "--save", "--port", "5"],
            &["s", "--port", "5", "--save"],
            &["s", "--port 5", "--save", ""],
        ] {
            let config = load(arguments).config;
            assert_eq!((config.persistence.save.len(), config.network.port), (0, 5), "{arguments:?}");
        }
    }

    #[test]
    fn repeated_saves_add_up_and_replace_the_default() {
        let mut host = FakeMachine::with(&[
            ("/start/a.conf", "save 10 1\nsave 20 2 30 3\n"),
            ("/start/b.conf", "save 1 1\nsave \"\"\nsave 2 2"),
        ]);
        assert_eq!(load_on(&["s", "a.conf"], &mut host).config.persistence.save.len(), 3);
        assert_eq!(load_on(&["s", "b.conf"], &mut host).config.persistence.save.len(), 1);
    }

    #[test]
    fn includes_stand_in_place_and_may_be_patterns() {
        let mut host = FakeMachine::with(&[
            ("/start/a.conf", "port 1\ninclude conf.d/*.conf\ninclude none/*.conf\ntimeout 9\ninclude /etc/last"),
            ("/start/conf.d/1.conf", "port 2\ntimeout 2"),
            ("/start/conf.d/2.conf", "port 3"),
            ("/start/conf.d/.hidden.conf", "port 4"),
            ("/etc/last", "hz 77"),
        ]);
        let config = load_on(&["s", "a.conf"], &mut host).config;
        assert_eq!((config.network.port, config.clients.idle_timeout_s, config.process.hz), (3, 9, 77));
    }

    #[test]
    fn a_file_that_includes_itself_is_an_error() {
        let mut host = FakeMachine::with(&[("/start/a.conf", "include a.conf")]);
        check_refusal(&["s", "a.conf"], &mut host, 1, "include a.conf", "Too many includes within includes");
    }

    #[test]
    fn dir_moves_what_relative_paths_begin_at() {
        let mut host =
            FakeMachine::with(&[("/start/a.conf", "dir sub\ninclude b.conf"), ("/start/sub/b.conf", "port 5")]);
        let config = load_on(&["s", "a.conf"], &mut host).config;
        assert_eq!((config.network.port, config.process.directory.as_path()), (5, Path::new("/start/sub")));
    }

    #[test]
    fn wrong_lines_stop_the_start() {
        let bad = "Bad directive or wrong number of arguments";
        for (content, line, text, reason) in [
            ("# c\nport 17312\n  \nfoo bar\n", 4, "foo bar", bad),
            ("port \"17312", 1, "port \"17312", "Unbalanced quotes in configuration line"),
            ("port 1 2", 1, "port 1 2", "wrong number of arguments"),
            ("port", 1, "port", "wrong number of arguments"),
            ("PORT 1\nHZ z", 2, "HZ z", "argument couldn't be parsed into an integer"),
            ("save 1", 1, "save 1", "Invalid save parameters"),
            ("dir /nonexistent", 1, "dir /nonexistent", "No such file or directory"),
            ("unixsocketperm 99", 1, "unixsocketperm 99", "argument couldn't be parsed as an octal number"),
            ("unixsocketperm 1777", 1, "unixsocketperm 1777", "argument must be between 0 and 777 inclusive"),
            ("include a b", 1, "include a b", bad),
            ("rename-command a", 1, "rename-command a", bad),
            ("user", 1, "user", bad),
            ("a.b", 1, "a.b", "Module config specified without value"),
            ("list-max-ziplist-entries 1 3", 1, "list-max-ziplist-entries 1 3", bad),
            ("slaveof a b", 1, "slaveof a b", "Invalid master port"),
            (
                "user bob on +get\nuser ann off +nope",
                2,
                "user ann off +nope",
                "Error in user declaration '+nope': Unknown command or category name in ACL",
            ),
            (
                "user bob on\nuser bob off",
                2,
                "user bob off",
                "Error in user declaration 'bob': Duplicate user found. A user can only be defined once in config files",
            ),
            ("rename-command nope x", 1, "rename-command nope x", "No such command in rename-command"),
            ("rename-command get SET", 1, "rename-command get SET", "Target command name already exists"),
            (
                "rename-command get a\nrename-command get b",
                2,
                "rename-command get b",
                "No such command in rename-command",
            ),
            ("tls-port x", 1, "tls-port x", "argument couldn't be parsed into an integer"),
        ] {
            check_refusal(&["s", "/c"], &mut FakeMachine::with(&[("/c", content)]), line, text, reason);
        }
    }

    #[test]
    fn users_and_new_names_of_commands() {
        let text =
            "user bob on >pw (+get\nrename-command get g\nrename-command SET \"\"\nrename-command g Get\nuser ann";
        let mut host = FakeMachine::with(&[("/c", &text.replace("(+get", "( +get )"))]);
        let security = load_on(&["s", "/c"], &mut host).config.security;
        let names: Vec<&[u8]> = security.users.iter().map(|user| user.name.as_slice()).collect();
        assert_eq!(names, [&b"bob"[..], b"ann"]);
        assert!(!format!("{:?}", security.users).contains("pw"));
        let expected =
            [("get", "g"), ("set", ""), ("g", "get")].map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec()));
        assert_eq!(security.renamings, expected);
    }

    #[test]
    fn users_are_in_one_place() {
        let mut host = FakeMachine::with(&[("/c", "user bob on\naclfile /users.acl")]);
        let error = try_load(&["s", "/c"], &mut host).expect_err("two places");
        assert!(error.to_string().contains("but not both"), "{error}");
    }

    #[test]
    fn wrong_arguments_stop_the_start_under_the_line_they_become() {
        let integer = "argument couldn't be parsed into an integer";
        let count = "wrong number of arguments";
        for (arguments, line, text, reason) in [
            (&["s", "--port"][..], 2, "port", count),
            (&["s", "--port", "--hz", "5"], 2, "port \"--hz\" \"5\"", count),
            (&["s", "--port", "1", "--hz", "--5"], 3, "hz \"--5\"", integer),
            (&["s", "--port", "1 5"], 2, "port \"1 5\"", integer),
            (&["s", "--save", "--hz", "x"], 3, "hz \"x\"", integer),
            (&["s", "-x"], 2, "\"-x\"", "Bad directive or wrong number of arguments"),
            (&["s", "/two-lines", "--hz", "x"], 4, "hz \"x\"", integer),
            (&["s", "--port", "1", "-", "--hz", "5"], 2, "port \"1\" \"-\"", count),
        ] {
            let mut host = FakeMachine::with(&[("/two-lines", "port 1\nport 2\n")]);
            check_refusal(arguments, &mut host, line, text, reason);
        }
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        for (arguments, path) in [(&["s", "gone.conf"][..], "/start/gone.conf"), (&["s", "/a"], "gone")] {
            let mut host = FakeMachine::with(&[("/a", "include gone")]);
            let error = try_load(arguments, &mut host).expect_err("no such file");
            let expected = format!("Fatal error, can't open config file '{path}': No such file or directory");
            assert_eq!(error.to_string(), expected);
        }
        let error =
            try_load(&["s", "--logfile", "/nonexistent/x"], &mut FakeMachine::default()).expect_err("no such file");
        assert!(error.to_string().ends_with("***\nCan't open the log file: No such file or directory"), "{error}");
    }

    #[test]
    fn an_error_names_version_line_reason_and_file() {
        let error = try_load(&["s", "/c"], &mut FakeMachine::with(&[("/c", "\nfoo")])).expect_err("no directive");
        let expected = concat!(
            "\n*** FATAL CONFIG FILE ERROR (Torc ",
            env!("CARGO_PKG_VERSION"),
            ") ***\nReading the configuration file, at line 2\n>>> 'foo'\nBad directive or wrong number of arguments\n(/c)"
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn directives_without_effect_are_told_when_they_differ_from_the_default() {
        let arguments = ["s", "--appendonly", "yes", "--rdbcompression", "yes", "--activedefrag", "yes", "--port", "5"];
        let loaded = load(&arguments);
        assert_eq!(loaded.without_effect, ["activedefrag"]);
        let notices: Vec<_> = loaded.without_effect_notices().collect();
        assert!(notices.len() == 1 && notices[0].starts_with("'activedefrag' has no effect here: "), "{notices:?}");
    }

    #[test]
    fn what_only_prints() {
        for (arguments, expected) in [
            (&["/usr/bin/redis-server", "-v"][..], "Redis server v=8.0.0 "),
            (&["torc-server", "--version"], concat!("Torc server v=", env!("CARGO_PKG_VERSION"))),
            (&["torc-server", "--port", "5", "--check-config"], "The configuration is valid."),
        ] {
            match try_load(arguments, &mut FakeMachine::default()) {
                Ok(Start::Print(text)) => assert!(text.starts_with(expected), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        let file = "port x\nbad\ntimeout 5\nhz\nio-threads 4\n";
        let mut host = FakeMachine::with(&[("/c", file), ("/d", "io-threads 4\n")]);
        let Err(StartError::Usage { text }) = try_load(&["s", "--check-config", "/c"], &mut host) else {
            panic!("three errors")
        };
        let places: Vec<&str> = text.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(places, ["/c:1", "/c:2", "/c:4", "The configuration is not valid"], "{text}");
        match try_load(&["s", "/d", "--check-config"], &mut host) {
            Ok(Start::Print(text)) => assert!(text.contains("\nNote: 'io-threads' has no effect here: "), "{text}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(try_load(&["s", "--check-system"], &mut host), Ok(Start::CheckSystem)));
        for arguments in [["s", "-h"], ["s", "--test-memory"]] {
            assert!(matches!(try_load(&arguments, &mut FakeMachine::default()), Err(StartError::Usage { .. })));
        }
    }
}
