//! The group *connection*: who the client is, and how it wants to be talked to.

use super::SessionCommand;
use crate::access::{Context, Denied, PasswordHash, Reason, User};
use crate::core::connection::{Phase, ReplyMode};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{block, integer, string};
use torc_engine::command::{Arity, Categories, CommandError, Flags, Spec, parse_integer};
use torc_engine::reply::Protocol;

const ROW: Spec = Spec {
    group: "connection",
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    own_categories: Categories::CONNECTION,
    ..Spec::BASE
};
/// Flags of commands that are allowed before authentication.
const OPEN: Flags = ROW.flags.or(Flags::NOSCRIPT).or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    SessionCommand {
        spec: Spec {
            name: "auth",
            arity: Arity::AtLeast(2),
            flags: OPEN,
            complexity: "O(N) in the number of the user's passwords",
            summary: "Authenticates the connection",
            arguments: &[string("username").optional().since("6.0.0"), string("password")],
            history: &[("6.0.0", "Takes a user's name too.")],
            ..ROW
        },
        syntax: "[username] password",
        run: auth,
    },
    SessionCommand {
        spec: Spec {
            name: "echo",
            arity: Arity::Exact(2),
            summary: "Answers with its argument",
            arguments: &[string("message")],
            ..ROW
        },
        syntax: "message",
        run: echo,
    },
    SessionCommand {
        spec: Spec {
            name: "hello",
            flags: OPEN,
            since: "6.0.0",
            summary: "Chooses the protocol, with authentication and a name if wanted, and introduces the server",
            arguments: &[block(
                "arguments",
                &[
                    integer("protover"),
                    block("username_password", &[string("username"), string("password")]).token("AUTH").optional(),
                    string("clientname").token("SETNAME").optional(),
                ],
            )
            .optional()],
            history: &[("6.2.0", "The protocol may be left out, to ask only about the connection.")],
            ..ROW
        },
        syntax: "[protocol [AUTH username password] [SETNAME name]]",
        run: hello,
    },
    SessionCommand {
        spec: Spec {
            name: "ping",
            flags: Flags::FAST,
            summary: "Answers PONG, or with its argument",
            arguments: &[string("message").optional()],
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            ..ROW
        },
        syntax: "[message]",
        run: ping,
    },
    SessionCommand {
        spec: Spec {
            name: "quit",
            flags: OPEN.or(Flags::RUNS_IN_MULTI),
            summary: "Closes the connection after an OK",
            ..ROW
        },
        syntax: "",
        run: quit,
    },
    SessionCommand {
        spec: Spec {
            name: "reset",
            arity: Arity::Exact(1),
            flags: OPEN.or(Flags::RUNS_IN_MULTI),
            since: "6.2.0",
            summary: "Puts the connection back into the state of a new one",
            ..ROW
        },
        syntax: "",
        run: reset,
    },
    SessionCommand {
        spec: Spec {
            name: "select",
            arity: Arity::Exact(2),
            summary: "Chooses the database",
            arguments: &[integer("index")],
            ..ROW
        },
        syntax: "index",
        run: select,
    },
];

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// Checks a user's password; on success the connection is that user's. `command` is how the client called it.
fn authenticate(session: &mut Session<'_>, command: &[u8], name: &[u8], password: &[u8]) -> Result<(), CommandError> {
    session.core.check_attempts(session.connection)?;
    // Hashed whether or not there is such a user: the time is to tell nothing.
    let hash = PasswordHash::of(password);
    let found = session.core.users.find(name).cloned();
    let Some(user) = found.filter(|user| user.accepts(hash)) else {
        let context = if session.connection.transaction.is_open() { Context::Multi } else { Context::TopLevel };
        let denied = Denied { reason: Reason::Authentication, context, object: command.to_vec(), user: name.into() };
        session.core.note_failed_attempt(session.connection, denied);
        return Err(WRONG_PASSWORD.into());
    };
    session.core.log_in(session.connection, user);
    Ok(())
}

fn auth(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (user, password) = match arguments {
        [_, password] => {
            if session.core.users.default_user().has_no_password {
                return Err(
                    "ERR AUTH <password> called without any password configured for the default user. Are you \
                            sure your configuration is correct?"
                        .into(),
                );
            }
            (User::DEFAULT_NAME, *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err("ERR syntax error".into()),
    };
    authenticate(session, arguments[0], user, password)?;
    session.reply().ok();
    Ok(())
}

fn echo(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    session.reply().bulk(arguments[1]);
    Ok(())
}

/// What HELLO asks for.
#[derive(Default)]
struct Hello<'a> {
    protocol: Option<Protocol>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    fn parse(arguments: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut hello = Self::default();
        let Some(version) = arguments.get(1) else { return Ok(hello) };
        hello.protocol = Some(match parse_integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        });
        let mut rest = &arguments[2..];
        while let [option, values @ ..] = rest {
            rest = if option.eq_ignore_ascii_case(b"auth") && values.len() >= 2 {
                hello.credentials = Some((values[0], values[1]));
                &values[2..]
            } else if option.eq_ignore_ascii_case(b"setname") && !values.is_empty() {
                check_name(values[0])?;
                hello.name = Some(values[0]);
                &values[1..]
            } else {
                return Err(CommandError::echo("ERR Syntax error in HELLO option '", option, "'"));
            };
        }
        Ok(hello)
    }
}

fn hello(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let hello = Hello::parse(arguments)?;
    if let Some((user, password)) = hello.credentials {
        authenticate(session, arguments[0], user, password)?;
    }
    if !session.connection.session.access.is_admitted() {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                    <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                    the same time"
            .into());
    }
    if let Some(name) = hello.name {
        session.connection.session.name = name.into();
    }
    if let Some(protocol) = hello.protocol {
        session.connection.session.client.protocol = protocol;
    }
    let (id, protocol) = (session.connection.id, session.connection.protocol());
    let version = session.core.shared.config().redis_version.clone();
    let mut reply = session.reply();
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", version.as_str())] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// Names may be printed in lines with spaces between fields.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
}

fn ping(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    if session.connection.only_listens() && arguments.len() <= 2 {
        let mut reply = session.reply();
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(arguments.get(1).copied().unwrap_or_default());
        return Ok(());
    }
    match arguments {
        [_] => session.reply().status("PONG"),
        [_, message] => session.reply().bulk(message),
        _ => return Err(torc_engine::command::wrong_arity("ping", None)),
    }
    Ok(())
}

fn quit(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    session.reply().ok();
    session.connection.phase = Phase::Closing;
    Ok(())
}

fn reset(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let access = session.core.new_access();
    session.core.lose_interest(session.connection);
    let state = &mut session.connection.session;
    state.client = torc_engine::shard::ClientContext::default();
    state.access = access;
    state.name = Box::default();
    state.reply_mode = ReplyMode::On;
    state.no_evict = false;
    state.import_source = false;
    state.redirect_capable = false;
    session.core.discard(session.connection);
    session.reply().status("RESET");
    Ok(())
}

fn select(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let index = match parse_integer(arguments[1]) {
        None => return Err("ERR value is not an integer or out of range".into()),
        Some(index) => i32::try_from(index).map_err(|_| {
            CommandError::from("ERR value is out of range, value must between -2147483648 and 2147483647")
        })?,
    };
    let database = usize::try_from(index).ok().filter(|index| *index < session.core.shared.databases);
    session.connection.session.client.database = database.ok_or("ERR DB index is out of range")? as u32;
    session.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let arguments: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match Hello::parse(&arguments) {
            Ok(Hello { protocol, credentials, name }) => Ok(format!(
                "{protocol:?} {:?} {:?}",
                credentials.map(|(user, password)| (text(user), text(password))),
                name.map(text)
            )),
            Err(error) => Err(error.to_text().into_owned()),
        }
    }

    #[test]
    fn hello_options_in_any_order() {
        assert_eq!(parse("hello"), Ok("None None None".into()));
        assert_eq!(parse("hello 3 SetName n AUTH u p"), Ok(r#"Some(Resp3) Some(("u", "p")) Some("n")"#.into()));
        for (text, error) in [
            ("hello 4", "NOPROTO unsupported protocol version"),
            ("hello 3x", "ERR Protocol version is not an integer or out of range"),
            ("hello 2 auth a", "ERR Syntax error in HELLO option 'auth'"),
            ("hello 2 setname", "ERR Syntax error in HELLO option 'setname'"),
            ("hello 2 setname a\nb", "ERR Client names cannot contain spaces, newlines or special characters."),
        ] {
            assert_eq!(parse(text), Err(error.to_string()), "{text}");
        }
    }
}
