//! ACL: users and their rules, and what was denied (`crate::access`).
//!
//! A change makes the next snapshot of all users under a lock, and is answered when every shard has it. Files are read and
//! written by tasks, one at a time over all shards; the connection waits, and nobody else.

use super::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::access::file::{self, Lines};
use crate::access::{Denial, Entry, Requested, Rule, RuleError, User, Users, WordsError, parse_all};
use crate::control::ControlRequest;
use crate::core::session::{Session, SessionResult};
use crate::shared::Shared;
use crate::tasks::Tasks;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use torc_engine::command::argument::{integer, one_of, string, word};
use torc_engine::command::{Arity, Categories, CommandError, Flags, Spec, parse_integer, wrong_arity};
use torc_engine::reply::Reply;

const ROW: Spec =
    Spec { group: "server", since: "6.0.0", flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE), ..Spec::BASE };

/// Subcommands about users, which not everybody may see.
const ADMIN: Spec = Spec { flags: ROW.flags.or(Flags::ADMIN), ..ROW };

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[SessionCommand {
    spec: Spec {
        name: "acl",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        complexity: "Depends on the subcommand",
        summary: "Tells who may do what",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
}];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);

static SUBCOMMANDS: [SessionCommand; 13] = [
    SessionCommand {
        spec: Spec {
            name: "cat",
            arity: Arity::AtLeast(2),
            complexity: "O(1)",
            summary: "Gives the categories, or one's commands",
            arguments: &[string("categoryname").optional()],
            ..ROW
        },
        syntax: "[category]",
        run: categories,
    },
    SessionCommand {
        spec: Spec {
            name: "deluser",
            arity: Arity::AtLeast(3),
            complexity: "O(N) in the number of users",
            summary: "Removes users, and closes their connections",
            arguments: &[string("username").multiple()],
            ..ADMIN
        },
        syntax: "username [username ...]",
        run: delete,
    },
    SessionCommand {
        spec: Spec {
            name: "dryrun",
            arity: Arity::AtLeast(4),
            since: "7.0.0",
            summary: "Says whether a user may run a command",
            arguments: &[string("username"), string("command"), string("arg").optional().multiple()],
            ..ADMIN
        },
        syntax: "username command [argument ...]",
        run: try_out,
    },
    SessionCommand {
        spec: Spec {
            name: "genpass",
            arity: Arity::AtLeast(2),
            summary: "Makes up a password",
            arguments: &[integer("bits").optional()],
            ..ROW
        },
        syntax: "[bits]",
        run: make_up_password,
    },
    SessionCommand {
        spec: Spec {
            name: "getuser",
            arity: Arity::Exact(3),
            complexity: "O(N) in the number of rules",
            summary: "Gives the rules of a user",
            arguments: &[string("username")],
            history: &[
                ("6.2.0", "Shows the channels."),
                ("7.0.0", "Shows selectors and the directions of key patterns."),
            ],
            ..ADMIN
        },
        syntax: "username",
        run: describe,
    },
    SessionCommand {
        spec: Spec {
            name: "help",
            arity: Arity::Exact(2),
            flags: Flags::LOADING.or(Flags::STALE),
            summary: "Lists the subcommands",
            ..ROW
        },
        syntax: "",
        run: |session, _| help("ACL", &SUBCOMMANDS, session),
    },
    SessionCommand {
        spec: Spec {
            name: "list",
            arity: Arity::Exact(2),
            complexity: "O(N) in the number of users",
            summary: "Gives the rules of all users",
            ..ADMIN
        },
        syntax: "",
        run: |session, _| list(session, User::line),
    },
    SessionCommand {
        spec: Spec {
            name: "load",
            arity: Arity::Exact(2),
            complexity: "O(N) in the number of users",
            summary: "Reads the users from their file",
            ..ADMIN
        },
        syntax: "",
        run: load,
    },
    SessionCommand {
        spec: Spec {
            name: "log",
            arity: Arity::AtLeast(2),
            complexity: "O(N) in the number of entries",
            summary: "Gives what was denied lately",
            arguments: &[one_of("operation", &[integer("count"), word("RESET")]).optional()],
            history: &[("7.2.0", "Tells numbers of entries, and times.")],
            ..ADMIN
        },
        syntax: "[count | RESET]",
        run: denied,
    },
    SessionCommand {
        spec: Spec {
            name: "save",
            arity: Arity::Exact(2),
            complexity: "O(N) in the number of users",
            summary: "Writes the users into their file",
            ..ADMIN
        },
        syntax: "",
        run: save,
    },
    SessionCommand {
        spec: Spec {
            name: "setuser",
            arity: Arity::AtLeast(3),
            complexity: "O(N) in the number of rules",
            summary: "Creates a user or changes its rules",
            arguments: &[string("username"), string("rule").optional().multiple()],
            history: &[("6.2.0", "Rules about channels."), ("7.0.0", "Selectors and directions of key patterns.")],
            ..ADMIN
        },
        syntax: "username [rule ...]",
        run: set,
    },
    SessionCommand {
        spec: Spec {
            name: "users",
            arity: Arity::Exact(2),
            complexity: "O(N) in the number of users",
            summary: "Gives the names of all users",
            ..ADMIN
        },
        syntax: "",
        run: |session, _| list(session, |user| user.name.to_vec()),
    },
    SessionCommand {
        spec: Spec { name: "whoami", arity: Arity::Exact(2), summary: "Gives the connection's user", ..ROW },
        syntax: "",
        run: |session, _| {
            let user = session.connection.session.access.user().clone();
            session.reply().bulk(&user.name);
            Ok(())
        },
    },
];

/// More arguments than a subcommand of up to one takes.
fn at_most_one(arguments: &[&[u8]]) -> Result<(), CommandError> {
    if arguments.len() <= 3 {
        return Ok(());
    }
    let after = "'. Try ACL HELP.";
    Err(CommandError::echo("ERR unknown subcommand or wrong number of arguments for '", arguments[1], after))
}

fn categories(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    at_most_one(arguments)?;
    let names: Vec<String> = match arguments[2..] {
        [name, ..] => {
            let Some(category) = Categories::from_name(&String::from_utf8_lossy(name)) else {
                return Err(CommandError::echo("ERR Unknown category '", &name[..name.len().min(128)], "'"));
            };
            let all = session.core.shared.table.all();
            let inside = all.filter(|entry| entry.spec.categories().has(category));
            inside.map(|entry| entry.full_name.clone()).collect()
        }
        [] => Categories::all_names().map(str::to_owned).collect(),
    };
    let mut reply = session.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// The next snapshot is the newest, and goes to all shards. The lock is held until it is on its way, unless a transaction or a task
/// sends it later; shards tell older ones by their version.
fn publish(session: &mut Session<'_>, mut newest: MutexGuard<'_, Arc<Users>>, next: Users) {
    *newest = Arc::new(next);
    let users = newest.clone();
    let request = ControlRequest::Users { users, own_id: session.connection.id };
    session.ask_all(request, all_done());
}

fn set(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (name, words) = (arguments[2], &arguments[3..]);
    if name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b)) {
        return Err("ERR Usernames can't contain spaces or null characters".into());
    }
    let wrong = |word: &[u8], error: RuleError| {
        CommandError::echo("ERR Error in ACL SETUSER modifier '", word, &format!("': {}", error.text()))
    };
    let rules = parse_all(words).map_err(|error| match error {
        WordsError::Unmatched(word) => {
            CommandError::echo("ERR Unmatched parenthesis in acl selector starting at '", &word, "'.")
        }
        WordsError::Wrong(word, error) => wrong(&word, error),
    })?;
    let (words, rules): (Vec<_>, Vec<Rule>) = rules.into_iter().unzip();
    let shared = session.core.shared.clone();
    let settings = shared.config().security.access_settings();
    let newest = shared.access.change();
    let next = newest
        .with_rules(name, &rules, &shared.table, settings)
        .map_err(|(place, error)| wrong(&words[place], error))?;
    publish(session, newest, next);
    Ok(())
}

fn delete(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let names = &arguments[2..];
    if names.contains(&User::DEFAULT_NAME) {
        return Err("ERR The 'default' user cannot be removed".into());
    }
    let shared = session.core.shared.clone();
    let mut newest = shared.access.change();
    let (next, removed) = newest.without(names);
    *newest = Arc::new(next);
    let request = ControlRequest::Users { users: newest.clone(), own_id: session.connection.id };
    session.ask_all(request, Box::new(move |_, _, reply| reply.integer(removed as i64)));
    Ok(())
}

fn describe(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let Some(user) = session.core.users.find(arguments[2]).cloned() else {
        session.reply().null();
        return Ok(());
    };
    let mut reply = session.reply();
    reply.map(3 + user.permissions().field_count());
    let flags: Vec<&str> = user.flags().collect();
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().iter().for_each(|hash| reply.bulk(hash.to_string().as_bytes()));
    user.permissions().reply_fields(&mut reply);
    reply.bulk(b"selectors");
    reply.array(user.selectors().len());
    for selector in user.selectors() {
        reply.map(selector.field_count());
        selector.reply_fields(&mut reply);
    }
    Ok(())
}

fn list(session: &mut Session<'_>, tell: fn(&User) -> Vec<u8>) -> SessionResult {
    let users = session.core.users.clone();
    let mut reply = session.reply();
    reply.array(users.iter().len());
    users.iter().for_each(|user| reply.bulk(&tell(user)));
    Ok(())
}

fn try_out(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (name, line) = (arguments[2], &arguments[3..]);
    let users = session.core.users.clone();
    let user = users.find(name).ok_or_else(|| CommandError::echo("ERR User '", name, "' not found"))?;
    let unknown = || CommandError::echo("ERR Command '", line[0], "' not found");
    let mut entry = session.core.shared.table.find(line[0]).ok_or_else(unknown)?;
    if let (false, Some(subcommand)) = (entry.subcommands.is_empty(), line.get(1)) {
        entry = entry.subcommand(subcommand).ok_or_else(unknown)?;
    }
    if !entry.spec.arity.accepts(line.len()) {
        return Err(wrong_arity(&entry.full_name, None));
    }
    let database = session.connection.session.client.database;
    let (before, word, after) = match user.check(&Requested { entry, arguments: line, database }) {
        Ok(()) => {
            session.reply().ok();
            return Ok(());
        }
        Err(Denial::Command) => ("run the '", entry.full_name.as_bytes(), "' command"),
        Err(Denial::Key(index)) => ("access the '", line[index], "' key"),
        Err(Denial::Channel(index)) => ("access the '", line[index], "' channel"),
        Err(Denial::Database(index)) => ("access database ", line[index], ""),
    };
    let text = [b"This user has no permissions to ", before.as_bytes(), word, after.as_bytes()].concat();
    session.reply().bulk(&text);
    Ok(())
}

fn make_up_password(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    const BITS_MAX: i64 = 4096;
    at_most_one(arguments)?;
    let bits = match arguments.get(2) {
        Some(text) => parse_integer(text).ok_or("ERR value is not an integer or out of range")?,
        None => 256,
    };
    if !(1..=BITS_MAX).contains(&bits) {
        let text =
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to";
        return Err(format!("{text} {BITS_MAX}").into());
    }
    let digits = (bits as usize).div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(|error| format!("ERR the system's source of random numbers cannot be read: {error}"))?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    session.reply().bulk(&text.as_bytes()[..digits]);
    Ok(())
}

fn denied(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    const SHOWN: usize = 10;
    at_most_one(arguments)?;
    let shared = session.core.shared.clone();
    let now_ms = session.core.clock.wall_ms;
    let count = match arguments.get(2) {
        None => SHOWN,
        Some(text) if text.eq_ignore_ascii_case(b"reset") => {
            shared.access.denied().clear();
            session.reply().ok();
            return Ok(());
        }
        Some(text) => {
            let count = parse_integer(text).ok_or("ERR value is not an integer or out of range")?;
            usize::try_from(count).unwrap_or(0)
        }
    };
    let log = shared.access.denied();
    let entries = log.newest(count);
    let mut reply = session.reply();
    reply.array(entries.len());
    entries.for_each(|entry| tell_denied(entry, now_ms, &mut reply));
    Ok(())
}

fn tell_denied(entry: &Entry, now_ms: i64, reply: &mut Reply<'_>) {
    reply.map(10);
    reply.bulk(b"count");
    reply.integer(entry.count as i64);
    let denied = &entry.denied;
    for (name, text) in [
        ("reason", denied.reason.name().as_bytes()),
        ("context", denied.context.name().as_bytes()),
        ("object", &denied.object),
        ("username", &denied.user),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
    reply.bulk(b"age-seconds");
    reply.double((now_ms - entry.updated_ms).max(0) as f64 / 1000.0);
    reply.bulk(b"client-info");
    reply.bulk(&entry.client);
    let numbers = [
        ("entry-id", entry.id as i64),
        ("timestamp-created", entry.created_ms),
        ("timestamp-last-updated", entry.updated_ms),
    ];
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    }
}

/// The file of users, or the error where there is none.
fn users_file(shared: &Shared) -> Result<PathBuf, CommandError> {
    const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
                           the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration \
                           file set) in order to store users in the Redis configuration.";
    Ok(shared.config().security.users_file.clone().ok_or(NO_FILE)?)
}

/// The file is read and understood by a task, so that no shard waits for the disk, or for a file of thousands of users.
fn load(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let shared = session.core.shared.clone();
    let path = users_file(&shared)?;
    let (tasks, own_id) = (session.core.tasks.clone(), session.connection.id);
    session.ask_all_by_task(async move {
        let users = read_users(&tasks, &shared, &path).await.map_err(|errors| format!("ERR {errors}").into_bytes())?;
        let settings = shared.config().security.access_settings();
        let mut newest = shared.access.change();
        *newest = Arc::new(newest.replaced_by(users, &shared.table, settings));
        Ok(ControlRequest::Users { users: newest.clone(), own_id })
    });
    Ok(())
}

/// The users of a file, or all that is wrong with it.
async fn read_users(tasks: &Tasks, shared: &Shared, path: &Path) -> Result<Vec<User>, String> {
    let _turn = shared.file_turns.wait(&tasks.executor).await;
    let text = tasks.operations.read_whole(path).await.map_err(|error| file::unreadable(path, &error))?;
    let (name, settings) = (path.display().to_string(), shared.config().security.access_settings());
    let mut lines = Lines::new(&text, &name, settings);
    while lines.parse_some(&shared.table) {
        tasks.next_turn().await;
    }
    lines.end()
}

fn save(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    const NEW_FILE_MODE: u32 = 0o666;
    let shared = session.core.shared.clone();
    let path = users_file(&shared)?;
    let failed = |path: &Path, error: io::Error| {
        tracing::warn!("Writing the ACL file {} for ACL SAVE: {error}", path.display());
        "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
    };
    let beside = shared.file_turns.name_beside(&path);
    let tasks = session.core.tasks.clone();
    session.answer_by_task(async move {
        let _turn = shared.file_turns.wait(&tasks.executor).await;
        let text = shared.access.users().to_text();
        let written = tasks.operations.replace_whole(&path, &beside, text, NEW_FILE_MODE).await;
        written.map_err(|error| failed(&path, error).as_bytes().to_vec())?;
        Ok(|reply: &mut Reply<'_>| reply.ok())
    });
    Ok(())
}
